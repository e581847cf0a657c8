"""What a trained autoencoder is judged by: PSNR and SSIM against clean images, and a linear probe on its codes.

PSNR and SSIM are torchmetrics', the probe is scikit-learn's; this module fixes their settings and nothing else.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

# torchmetrics and scikit-learn are imported where they are used: together they take as long to import as all the rest,
# and who draws figures from records needs neither.


def psnr(images: Tensor, clean: Tensor) -> float:
    """Mean over images of 10 log10(1 / MSE of the image), in dB; images and clean (N, C, H, W) in [0, 1]."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    _check_images(images, clean)
    value = peak_signal_noise_ratio(images, clean, data_range=1.0, dim=(1, 2, 3), reduction="elementwise_mean")
    return float(value)


def ssim(images: Tensor, clean: Tensor) -> float:
    """Mean structural similarity (Wang et al. 2004) in [-1, 1]; images and clean (N, C, H, W) in [0, 1].

    Over all pixels, channels and images; at the borders the window sees the image reflected.

    The Gaussian window is the usual one, sigma = 1.5 pixels (11 x 11), from 16 pixels on. Smaller images get
    sigma = 0.5 (5 x 5): the usual window does not fit into 8 x 8.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    _check_images(images, clean)
    sigma = 1.5 if min(images.shape[-2:]) >= 16 else 0.5
    total = 0.0
    for part, reference in zip(images.split(50), clean.split(50), strict=True):  # stays in cache: 3 times as fast
        total += float(structural_similarity_index_measure(part, reference, sigma=sigma, data_range=1.0)) * len(part)
    return total / len(images)


def probe_accuracy(
    train_codes: Tensor, train_labels: Tensor, test_codes: Tensor, test_labels: Tensor, max_iter: int = 1000
) -> float:
    """Accuracy in [0, 1] on the test codes of a logistic regression fitted to the (standardised) training codes.

    Multinomial, L2 penalty with scikit-learn's default C = 1, L-BFGS. Codes (N, code), labels (N,). Codes that are
    not finite score 0: they support no decision.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not (torch.isfinite(train_codes).all() and torch.isfinite(test_codes).all()):
        return 0.0
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=max_iter))
    with warnings.catch_warnings():
        # At max_iter the probe is within noise of its limit; the cap keeps a run's cost bounded.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(train_codes.cpu().double().numpy(), train_labels.cpu().numpy())
    return float(probe.score(test_codes.cpu().double().numpy(), test_labels.cpu().numpy()))


@torch.no_grad()
def in_batches(function: nn.Module, images: Tensor, batch_size: int = 1000) -> Tensor:
    """function(images) computed batch by batch without gradients."""
    return torch.cat([function(part) for part in images.split(batch_size)])


def _check_images(images: Tensor, clean: Tensor) -> None:
    if images.shape != clean.shape or images.ndim != 4 or len(images) == 0:
        raise ValueError(
            "images and clean must have one shape (N, C, H, W) with N >= 1; "
            f"got {tuple(images.shape)} and {tuple(clean.shape)}"
        )
