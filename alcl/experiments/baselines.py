"""Baselines without a loss, as autoencoders: whatever reads and judges a trained network reads and judges these too.

"noisy_images": the code is the noisy image as the network would see it, the reconstruction is that image clipped to
[0, 1]. "pca": the code is scikit-learn's PCA of the noisy training images, of the size that networks have; clipped to
[0, 1] where it is shown. "untrained": the network as it is initialised, which is what a loss with vanishing gradients
leaves of it (GCL with a small scale, the lower limit of its grid).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from .models import Autoencoder

BASELINES = ("noisy_images", "pca", "untrained")


class _Image(nn.Module):
    """Rows of pixels as images (N, C, H, W), clipped to [0, 1]."""

    def __init__(self, image_shape: Sequence[int]):
        super().__init__()
        self.image_shape = tuple(image_shape)

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.clamp(0.0, 1.0).reshape(-1, *self.image_shape)


def make_baseline(name: str, images: Tensor, code: int) -> Autoencoder:
    """The baseline "noisy_images" or "pca" for noisy training images (N, C, H, W); PCA to `code` components.

    Raises ValueError for another name, or more components than images or pixels allow.
    """
    shape = tuple(images.shape[1:])
    if name == "noisy_images":
        return Autoencoder(nn.Flatten(), _Image(shape)).eval()
    if name != "pca":
        raise ValueError(f"baseline must be one of noisy_images, pca; got {name!r}")
    if code > min(len(images), prod(shape)):
        raise ValueError(f"code must be at most {min(len(images), prod(shape))} for PCA of these images; got {code}")
    from sklearn.decomposition import PCA

    # The randomized solver, from a fixed seed: the exact one takes a minute on 3,072 pixels.
    pca = PCA(code, svd_solver="randomized", random_state=0).fit(images.flatten(1).cpu().numpy())
    components, mean = torch.tensor(pca.components_), torch.tensor(pca.mean_)
    encode, decode = nn.Linear(prod(shape), code), nn.Linear(code, prod(shape))
    with torch.no_grad():
        encode.weight.copy_(components)
        encode.bias.copy_(-(components @ mean))
        decode.weight.copy_(components.T)
        decode.bias.copy_(mean)
    return Autoencoder(nn.Sequential(nn.Flatten(), encode), nn.Sequential(decode, _Image(shape))).eval()
