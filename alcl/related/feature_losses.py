"""Robustness to noisy *inputs*: the discriminative loss with Gaussian noise injection, its rivals, and curvature.

The loss (arXiv 2405.18499) shapes the penultimate features f of a classifier: features of clean and of noisy views are
pulled to running class means of the clean ones, and the means are pushed away from the decision hyperplanes of the
last layer. Notebook 09 derives it and tests its claim, under the perturbations listed here. `input_hessians` and its
neighbours measure how curved a loss is in its input, exactly and by random projections.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..noise import MixedNoise, StudentTNoise
from .label_runs import Classifier

__all__ = [
    "PERTURBATIONS",
    "PUBLISHED",
    "TRAININGS",
    "DiscriminativeLoss",
    "finite_difference_curvature",
    "fit_classifier",
    "hutchinson_trace",
    "input_hessians",
    "perturb",
    "plane_distances",
]


def plane_distances(means: Tensor, head: nn.Linear) -> Tensor:
    """Signed distance of each class's mean to each of its decision hyperplanes, positive on its own side.

    means: (C, D), one a class, in the order of the head's rows. Returns (C, C): entry (c, j) is
    ((w_c - w_j)^T m_c + b_c - b_j) / ||w_c - w_j||, and inf for j = c.
    """
    w, b = head.weight, head.bias
    difference = w[:, None] - w[None]  # (c, j, D)
    gap = torch.einsum("cjd,cd->cj", difference, means) + b[:, None] - b[None]
    same = torch.eye(len(w), dtype=torch.bool, device=w.device)
    # the norm's gradient is undefined at 0: the diagonal is replaced before the root, not after
    length = difference.square().sum(-1).masked_fill(same, 1.0).sqrt()
    return (gap / length).masked_fill(same, math.inf)


class DiscriminativeLoss(nn.Module):
    """L_var + L_mar + center * mean_c ||m_c|| on penultimate features (arXiv 2405.18499).

    m_c = (1 - mu) * (mean of the batch's clean features of class c) + mu * (its previous value, held constant);

    L_var: mean over the batch's classes of the mean over its clean and noisy samples of
    max(0, ||f - m_c|| - delta_v)^2.
    L_mar: mean over the batch's classes of max over j != c of max(0, delta_d - distance of the batch mean to the plane
    between c and j), see `plane_distances`.

    A class's running mean starts as its first batch mean. (The paper does not say; our choice.)

    Args:
        classes, width: C and D of the features. delta_v, delta_d >= 0: radius of a class, margin. mu in [0, 1).
        center: weight of the means' norms, >= 0.
    """

    def __init__(
        self,
        classes: int,
        width: int,
        delta_v: float = 0.5,
        delta_d: float = 5.0,
        mu: float = 0.99,
        center: float = 0.001,
    ):
        super().__init__()
        for name, value in (("delta_v", delta_v), ("delta_d", delta_d), ("center", center)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite; got {value!r}")
        if not 0 <= mu < 1:
            raise ValueError(f"mu must lie in [0, 1); got {mu!r}")
        self.delta_v, self.delta_d, self.mu, self.center = delta_v, delta_d, mu, center
        self.register_buffer("means", torch.zeros(classes, width))
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.bool))

    def forward(self, clean: Tensor, noisy: Tensor, labels: Tensor, head: nn.Linear) -> Tensor:
        """clean, noisy: features (N, D) of the two views; labels (N,); head: the last layer, C rows."""
        if clean.shape != noisy.shape or clean.ndim != 2 or len(labels) != len(clean):
            raise ValueError(
                "clean and noisy must be features of one shape (N, D), with N labels; "
                f"got {tuple(clean.shape)}, {tuple(noisy.shape)} and {len(labels)}"
            )
        member = F.one_hot(labels, len(self.means)).to(clean.dtype)  # (N, C)
        count = member.sum(0)
        present = count > 0
        batch = (member.T @ clean) / count.clamp(min=1)[:, None]
        previous = torch.where(self.seen[:, None], self.means, batch.detach())
        means = (1 - self.mu) * batch + self.mu * previous
        if self.training:
            with torch.no_grad():
                self.means[present] = means[present].to(self.means.dtype)
                self.seen |= present
        outside = [F.relu(_norm(f - means[labels]) - self.delta_v).square() for f in (clean, noisy)]
        spread = (member.T @ (outside[0] + outside[1]) / (2 * count.clamp(min=1)))[present].mean()
        margin = F.relu(self.delta_d - plane_distances(batch, head).amin(1))[present].mean()
        return spread + margin + self.center * _norm(means[present]).mean()


def _norm(x: Tensor) -> Tensor:
    """Euclidean norm over the last dimension, with gradient 0 (not NaN) at 0."""
    square = x.square().sum(-1)
    return torch.where(square > 0, square.clamp(min=1e-30).sqrt(), torch.zeros_like(square))


# --- training -------------------------------------------------------------------------------------------------------

#: clean: cross-entropy on clean images. noisy: on noisy ones. both: on both. stability: on clean ones, plus the mean
#: distance of the two views' features (Zheng et al., CVPR 2016, as compared in the paper). discriminative: on clean
#: ones, plus `DiscriminativeLoss`.
TRAININGS = ("clean", "noisy", "both", "stability", "discriminative")


def fit_classifier(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    training: str,
    *,
    sigma: float,
    epochs: int,
    batch_size: int = 64,
    lr: float = 1e-3,
    weight: float = 1.0,
    warm_up: int = 0,
    generator: torch.Generator,
    auxiliary: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> list[float]:
    """Train a classifier against noisy inputs with Adam; every step sees fresh noise. Returns the mean loss by epoch.

    Args:
        model: images -> logits, with `features` and `head`. images: (N, C, H, W) in [0, 1]; labels (N,).
        training: one of `TRAININGS`. sigma: standard deviation of the injected Gaussian noise, > 0; noisy views are
            clipped to [0, 1]. weight: of the second term of stability and discriminative, from epoch `warm_up` on.
        generator: draws batches and noise.
        auxiliary: (features of the noisy view, index of the batch) -> a further loss to add, or None.
    """
    if training not in TRAININGS:
        raise ValueError(f"training must be one of {', '.join(TRAININGS)}; got {training!r}")
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma must be positive and finite; got {sigma!r}")
    criterion = DiscriminativeLoss(model.head.out_features, model.head.in_features)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    if isinstance(auxiliary, nn.Module):
        optimizer.add_param_group({"params": list(auxiliary.parameters())})
    history = []
    model.train()
    for epoch in range(epochs):
        total, second = 0.0, weight if epoch >= warm_up else 0.0
        for index in torch.randperm(len(images), generator=generator).split(batch_size):
            x, y = images[index], labels[index]
            noisy = (x + sigma * torch.randn(x.shape, generator=generator)).clamp(0, 1)
            # each view by itself, and only if it is used: nothing of the noise may reach a clean-only network
            f = model.features(x) if training != "noisy" else None
            g = model.features(noisy) if training != "clean" or auxiliary is not None else None
            if training == "both":
                loss = 0.5 * (F.cross_entropy(model.head(f), y) + F.cross_entropy(model.head(g), y))
            else:
                loss = F.cross_entropy(model.head(g if training == "noisy" else f), y)
            if training == "stability":
                loss = loss + second * _norm(f - g).mean()
            if training == "discriminative":
                loss = loss + second * criterion(f, g, y, model.head)
            if auxiliary is not None:
                loss = loss + auxiliary(g, index)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(index)
        history.append(total / len(images))
    model.eval()
    return history


# --- curvature in the input -----------------------------------------------------------------------------------------


def _gradient(model: nn.Module, images: Tensor, labels: Tensor, create_graph: bool = False) -> tuple[Tensor, Tensor]:
    x = images.detach().requires_grad_()
    # The sum over examples: in evaluation mode each gradient is its own example's.
    loss = F.cross_entropy(model(x), labels, reduction="sum")
    return x, torch.autograd.grad(loss, x, create_graph=create_graph)[0]


def input_hessians(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Hessian of each example's cross-entropy in its own input, exact, (N, P, P) with P = C H W; for small P.

    The model must be in evaluation mode: with batch statistics one example's loss depends on another's input.
    """
    if model.training:
        raise ValueError("model must be in evaluation mode (model.eval()): batch statistics couple the examples")
    x, gradient = _gradient(model, images, labels, create_graph=True)
    flat = gradient.flatten(1).sum(0)
    rows = []
    for k in range(len(flat)):
        (row,) = torch.autograd.grad(flat[k], x, retain_graph=True, allow_unused=True)
        rows.append(torch.zeros_like(images) if row is None else row)
    return torch.stack([row.flatten(1) for row in rows], 1).detach()


def hutchinson_trace(
    model: nn.Module, images: Tensor, labels: Tensor, draws: int, generator: torch.Generator
) -> Tensor:
    """Estimate of tr H for each example: mean over `draws` of v^T H v with random signs v (Hutchinson 1990); (N,)."""
    x, gradient = _gradient(model, images, labels, create_graph=True)
    total = torch.zeros(len(images), dtype=images.dtype)
    for _ in range(draws):
        v = (torch.rand(images.shape, generator=generator) < 0.5).to(images.dtype) * 2 - 1
        (product,) = torch.autograd.grad((gradient * v).sum(), x, retain_graph=True)
        total += (product * v).flatten(1).sum(1)
    return total / draws


def finite_difference_curvature(
    model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator, h: float = 0.01, draws: int = 20
) -> Tensor:
    """The published measure: mean over `draws` Gaussian g of ||(grad(x + h g) - grad(x)) / h||^2, (N,).

    It estimates tr(H^2), not tr H, up to O(h) (notebook 09, Theorem D2).
    """
    _, start = _gradient(model, images, labels)
    total = torch.zeros(len(images), dtype=images.dtype)
    for _ in range(draws):
        g = torch.randn(images.shape, generator=generator, dtype=images.dtype)
        _, there = _gradient(model, images + h * g, labels)
        total += ((there - start) / h).flatten(1).square().sum(1)
    return total / draws


# --- perturbations of the input -------------------------------------------------------------------------------------


def _gaussian(x: Tensor, level: float, generator: torch.Generator) -> Tensor:
    return x + level * torch.randn(x.shape, generator=generator)


def _uniform(x: Tensor, level: float, generator: torch.Generator) -> Tensor:
    return x + level * (2 * torch.rand(x.shape, generator=generator) - 1)


def _patch(x: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """A gray square at a random place; `level` is its side, in sides of the image."""
    return x.masked_fill(_squares(x, round(level * min(x.shape[-2:])), generator), 0.5)


def _squares(x: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """(N, 1, H, W), True inside one square of this side at a random place of each image."""
    rows, columns = x.shape[-2:]
    top, left = (torch.randint(n - side + 1, (len(x),), generator=generator) for n in (rows, columns))
    down = torch.arange(rows) - top[:, None]
    right = torch.arange(columns) - left[:, None]
    inside = ((down >= 0) & (down < side))[:, :, None] & ((right >= 0) & (right < side))[:, None]
    return inside[:, None]


def _resampling(x: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """Shrunk by the share `level` of its side (antialiased), and enlarged again, both bilinearly."""
    size = [max(1, round((1 - level) * n)) for n in x.shape[-2:]]
    small = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(small, x.shape[-2:], mode="bilinear", align_corners=False)


def _heavy_tailed(x: Tensor, level: float, generator: torch.Generator) -> Tensor:
    return StudentTNoise(level, 1.0)(x, generator)


def _impulses(x: Tensor, level: float, generator: torch.Generator) -> Tensor:
    return MixedNoise(level)(x, generator)


#: Name -> (function, levels). Level 0 is the clean image; every perturbed image is clipped to [0, 1].
PERTURBATIONS: dict[str, tuple[Callable[[Tensor, float, torch.Generator], Tensor], tuple[float, ...]]] = {
    "gaussian": (_gaussian, (0.0, 0.1, 0.2, 0.3, 0.4)),
    "uniform": (_uniform, (0.0, 0.2, 0.4, 0.6, 0.8)),
    "patch": (_patch, (0.0, 0.25, 0.375, 0.5, 0.625)),
    "resampling": (_resampling, (0.0, 0.25, 0.375, 0.5, 0.625)),
    "heavy-tailed": (_heavy_tailed, (0.0, 0.02, 0.05, 0.1, 0.2)),
    "impulsive": (_impulses, (0.0, 0.05, 0.1, 0.2, 0.4)),
}


def _published_patches(x: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """Twenty black squares at random places, which may overlap; `level` is their side, in sides of the image."""
    side = round(level * min(x.shape[-2:]))
    for _ in range(20):
        x = x.masked_fill(_squares(x, side, generator), 0.0)
    return x


def _published_resampling(x: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """As `_resampling`, but not antialiased, and the small size is rounded down."""
    size = [max(1, int((1 - level) * n)) for n in x.shape[-2:]]
    small = F.interpolate(x, size, mode="bilinear", align_corners=False)
    return F.interpolate(small, x.shape[-2:], mode="bilinear", align_corners=False)


#: The published forms of two of them, as the authors' code has them; levels of the patches are ours.
PUBLISHED: dict[str, tuple[Callable[[Tensor, float, torch.Generator], Tensor], tuple[float, ...]]] = {
    "patch": (_published_patches, (0.0, 0.125, 0.25)),
    "resampling": (_published_resampling, PERTURBATIONS["resampling"][1]),
}


def perturb(images: Tensor, name: str, level: float, generator: torch.Generator, published: bool = False) -> Tensor:
    """Images (N, C, H, W) under a perturbation of `PERTURBATIONS`, clipped to [0, 1]; level 0 leaves them alone.

    heavy-tailed: Cauchy noise of scale `level`; impulsive: a share `level` of pixels becomes 0 or 1 (`alcl.noise`).
    published: the form of `PUBLISHED` instead, for the names that it has.
    """
    forms = PUBLISHED if published else PERTURBATIONS
    if name not in forms:
        raise ValueError(f"name must be one of {', '.join(forms)}; got {name!r}")
    if not 0 <= level < math.inf:
        raise ValueError(f"level must be at least 0 and finite; got {level!r}")
    return forms[name][0](images, level, generator).clamp(0, 1) if level > 0 else images
