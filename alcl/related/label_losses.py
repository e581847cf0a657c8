"""Losses for learning with noisy labels: joint asymmetric loss (JAL), its parts, and its neighbours.

Every loss here is a function of logits (N, K) and labels (N,), through p = softmax(logits); p_y is the probability of
the given label. They fight another corruption than the rest of the library: wrong *labels*, not wrong pixels.

Sources: JAL, arXiv 2507.17692 (ICCV 2025); asymmetric losses, Zhou et al., ICML 2021; normalised losses and NCE + RCE,
Ma et al., ICML 2020; GCE, Zhang and Sabuncu, NeurIPS 2018; MAE, Ghosh et al., AAAI 2017. Notebook 08 derives them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..catalogue import chosen

REDUCTIONS = ("none", "mean", "sum")


class ClassificationLoss(nn.Module):
    """A loss on logits. Subclasses give `per_example(log_p, labels)`.

    forward(logits, labels): logits (N, K), floating point (half precisions are computed in float32), K >= 2; labels
    (N,) int64 in [0, K). Returns a scalar for reduction "mean" or "sum", shape (N,) for "none".
    """

    def __init__(self, reduction: str = "mean"):
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}; got {reduction!r}")
        self.reduction = reduction

    def per_example(self, log_p: Tensor, labels: Tensor) -> Tensor:
        """Loss of each example, (N,), from log-probabilities (N, K) and labels (N,)."""
        raise NotImplementedError

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        _check(logits, labels)
        logits = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
        loss = self.per_example(logits.log_softmax(1), labels)
        return loss if self.reduction == "none" else getattr(loss, self.reduction)()


class CrossEntropyLoss(ClassificationLoss):
    """Cross-entropy -log p_y, as `torch.nn.CrossEntropyLoss`. Active: it looks at the given class alone."""

    def per_example(self, log_p: Tensor, labels: Tensor) -> Tensor:
        return -_at(log_p, labels)


class NCELoss(ClassificationLoss):
    """Normalised cross-entropy log p_y / sum_k log p_k, in [0, 1]. Symmetric: over all labels it sums to 1."""

    def per_example(self, log_p: Tensor, labels: Tensor) -> Tensor:
        return _at(log_p, labels) / log_p.sum(1)


class NFLLoss(ClassificationLoss):
    """Normalised focal loss, in [0, 1]: (1 - p_y)^gamma log p_y over the sum of the same for all classes.

    The focal weights (1 - p)^gamma, gamma >= 0, are held constant in the gradient, as in the authors' code.
    """

    def __init__(self, gamma: float = 0.5, reduction: str = "mean"):
        super().__init__(reduction)
        self.gamma = _number("gamma", gamma, 0.0)

    def per_example(self, log_p: Tensor, labels: Tensor) -> Tensor:
        focal = (-torch.expm1(log_p.detach())).clamp(min=0).pow(self.gamma) * log_p
        return _at(focal, labels) / focal.sum(1)

    def extra_repr(self) -> str:
        return f"gamma={self.gamma}"


class MAELoss(ClassificationLoss):
    """Mean absolute error ||e_y - p||_1 = 2 (1 - p_y), in [0, 2]. Symmetric: over all labels it sums to 2 (K - 1)."""

    def per_example(self, log_p: Tensor, labels: Tensor) -> Tensor:
        return 2 * _wrong(log_p, labels)


class GCELoss(ClassificationLoss):
    """Generalized cross-entropy (1 - p_y^q) / q, 0 < q <= 1: cross-entropy as q -> 0, half of MAE at q = 1."""

    def __init__(self, q: float = 0.7, reduction: str = "mean"):
        super().__init__(reduction)
        self.q = _number("q", q, 0.0, 1.0, open_low=True)

    def per_example(self, log_p: Tensor, labels: Tensor) -> Tensor:
        return -torch.expm1(self.q * _at(log_p, labels)) / self.q

    def extra_repr(self) -> str:
        return f"q={self.q}"


class NCERCELoss(ClassificationLoss):
    """active * NCE + passive * RCE: reverse cross-entropy -sum_k p_k log t_k, log t_k = log(floor) off the label.

    With floor = 1e-4 (the authors' code) RCE is 9.21 (1 - p_y): a multiple of MAE.
    """

    def __init__(self, active: float = 1.0, passive: float = 1.0, floor: float = 1e-4, reduction: str = "mean"):
        super().__init__(reduction)
        self.active, self.passive = _number("active", active, 0.0), _number("passive", passive, 0.0)
        self.floor = _number("floor", floor, 0.0, 1.0, open_low=True)
        self._nce = NCELoss("none")

    def per_example(self, log_p: Tensor, labels: Tensor) -> Tensor:
        rce = -math.log(self.floor) * _wrong(log_p, labels)
        return self.active * self._nce.per_example(log_p, labels) + self.passive * rce

    def extra_repr(self) -> str:
        return f"active={self.active}, passive={self.passive}"


class AMSELoss(ClassificationLoss):
    """Asymmetric mean squared error (1/K) ||a e_y - p||_2^2 with target height a >= 1 (JAL, its passive part).

    It is MSE + (2 (a - 1) / K) (1 - p_y) + (a - 1)^2 / K (notebook 08, Theorem C3): for a > 1 mostly MAE.
    """

    def __init__(self, a: float = 30.0, reduction: str = "mean"):
        super().__init__(reduction)
        self.a = _number("a", a, 1.0)

    def per_example(self, log_p: Tensor, labels: Tensor) -> Tensor:
        p = log_p.exp()
        target = self.a * F.one_hot(labels, p.shape[1]).to(p.dtype)
        return (target - p).square().mean(1)

    def extra_repr(self) -> str:
        return f"a={self.a}"


class MSEMAELoss(ClassificationLoss):
    """mse * (1/K) ||e_y - p||_2^2 + mae * ||e_y - p||_1: the plain weighted sum.

    With mse = 1 and mae = (a - 1)/K it is AMSE up to a constant (Theorem C3): the control of every study of AMSE.
    """

    def __init__(self, mse: float = 1.0, mae: float = 2.9, reduction: str = "mean"):
        super().__init__(reduction)
        self.mse, self.mae = _number("mse", mse, 0.0), _number("mae", mae, 0.0)

    def per_example(self, log_p: Tensor, labels: Tensor) -> Tensor:
        p = log_p.exp()
        squared = (F.one_hot(labels, p.shape[1]).to(p.dtype) - p).square().mean(1)
        return self.mse * squared + self.mae * 2 * _wrong(log_p, labels)

    def extra_repr(self) -> str:
        return f"mse={self.mse}, mae={self.mae}"


class JALLoss(ClassificationLoss):
    """Joint asymmetric loss active * (NCE or NFL) + passive * AMSE_a: JAL-CE and JAL-FL.

    Args:
        kind: "ce" (active part NCE) or "fl" (active part NFL, gamma = 0.5).
        active, passive: weights A, B >= 0. a: target height >= 1. The published (A, B, a): CIFAR-10 (1, 1, 30), the
            default; CIFAR-100 (5, 1, 20); WebVision (50, 1, 30); Clothing1M (5, 0.1, 5).
        control: replace AMSE by the weighted MSE + MAE that it is identical to (any K: the weight of MAE is (a-1)/K).
    """

    def __init__(
        self,
        kind: str = "ce",
        active: float = 1.0,
        passive: float = 1.0,
        a: float = 30.0,
        control: bool = False,
        reduction: str = "mean",
    ):
        super().__init__(reduction)
        if kind not in ("ce", "fl"):
            raise ValueError(f"kind must be one of ce, fl; got {kind!r}")
        self.kind, self.control = kind, bool(control)
        self.active, self.passive = _number("active", active, 0.0), _number("passive", passive, 0.0)
        self.a = _number("a", a, 1.0)
        self._active_part = NCELoss("none") if kind == "ce" else NFLLoss(0.5, "none")

    def per_example(self, log_p: Tensor, labels: Tensor) -> Tensor:
        passive = MSEMAELoss(1.0, (self.a - 1) / log_p.shape[1], "none") if self.control else AMSELoss(self.a, "none")
        return self.active * self._active_part.per_example(log_p, labels) + self.passive * passive.per_example(
            log_p, labels
        )

    def extra_repr(self) -> str:
        return f"kind={self.kind!r}, active={self.active}, passive={self.passive}, a={self.a}, control={self.control}"


CLASSIFICATION_LOSSES: dict[str, Callable[..., ClassificationLoss]] = {
    "ce": CrossEntropyLoss,
    "nce": NCELoss,
    "nfl": NFLLoss,
    "mae": MAELoss,
    "gce": GCELoss,
    "nce_rce": NCERCELoss,
    "amse": AMSELoss,
    "mse_mae": MSEMAELoss,
    "jal": JALLoss,
}


def make_classification_loss(name: str, **options) -> ClassificationLoss:
    """The loss called `name` (a key of `CLASSIFICATION_LOSSES`) with its constructor's options.

    Raises:
        ValueError: unknown name, an option that this loss does not take, or an illegal value.
    """
    return chosen(CLASSIFICATION_LOSSES, name, options)


# --- the asymmetric condition ---------------------------------------------------------------------------------------


class Condition(NamedTuple):
    """ratio: w_m / w_n. threshold: what it must reach. holds: whether it does, and w_m is the only largest weight."""

    ratio: Tensor
    threshold: Tensor
    holds: Tensor


def asymmetry_condition(weights: Tensor, a: float, q: float = 2.0) -> Condition:
    """Whether (1/K) ||a e_i - p||_q^q, weighted over labels i, is minimised at the vertex of the largest weight.

    With w_m the largest weight and w_n the second, the minimiser over the simplex is e_m if and only if
    w_m / w_n >= (a^(q-1) + sum_{i != m} w_i / w_n) / (a - 1)^(q-1) (notebook 08, Theorem C1), for q > 1.

    Args:
        weights: (..., K), each >= 0, K >= 2: for one input, how often each label is given to it. a: target height > 1.
        q: exponent > 1.

    Raises:
        ValueError: naming the argument that is out of range.
    """
    weights = _weights(weights)
    a, q = _number("a", a, 1.0, open_low=True), _number("q", q, 1.0, open_low=True)
    top = weights.sort(-1, descending=True).values
    largest, second = top[..., 0], top[..., 1]
    rest = top[..., 1:].sum(-1)
    threshold = (a ** (q - 1) + rest / second) / (a - 1) ** (q - 1)
    # without the division, so that a second weight of zero is no special case
    enough = largest * (a - 1) ** (q - 1) >= second * a ** (q - 1) + rest
    return Condition(largest / second, threshold, enough & (largest > second))


def smallest_height(weights: Tensor) -> Tensor:
    """The least a for which AMSE_a (q = 2) is minimised at the largest weight: (r + s)/(r - 1) with r = w_m/w_n and
    s = sum_{i != m} w_i/w_n; inf where two weights are the largest. Arguments as for `asymmetry_condition`."""
    top = _weights(weights).sort(-1, descending=True).values
    return top.sum(-1) / (top[..., 0] - top[..., 1])


def amse_minimiser(weights: Tensor, a: float) -> Tensor:
    """argmin over the simplex of sum_i w_i AMSE_a(p, i): the projection of a w / sum(w) onto it (Theorem C1).

    weights: (..., K), each >= 0, not all 0; a >= 1. Returns p of the same shape.
    """
    weights = _weights(weights)
    return simplex_projection(_number("a", a, 1.0) * weights / weights.sum(-1, keepdim=True))


def simplex_projection(v: Tensor) -> Tensor:
    """The point of the probability simplex nearest to v (..., K) in Euclidean distance (Held, Wolfe, Crowder 1974)."""
    u = v.sort(-1, descending=True).values
    count = torch.arange(1, v.shape[-1] + 1, dtype=v.dtype, device=v.device)
    shift = (u.cumsum(-1) - 1) / count
    support = (u > shift).sum(-1, keepdim=True)
    return (v - shift.gather(-1, support - 1)).clamp(min=0)


# --- helpers --------------------------------------------------------------------------------------------------------


def _at(values: Tensor, labels: Tensor) -> Tensor:
    return values.gather(1, labels[:, None]).squeeze(1)


def _wrong(log_p: Tensor, labels: Tensor) -> Tensor:
    """1 - p_y."""
    return -torch.expm1(_at(log_p, labels))


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or logits.shape[1] < 2 or not logits.is_floating_point():
        raise ValueError(
            f"logits must be floating point of shape (N, K), K >= 2; got {logits.dtype} {tuple(logits.shape)}"
        )
    if labels.dtype != torch.int64 or labels.shape != logits.shape[:1]:
        found = f"{labels.dtype} {tuple(labels.shape)}"
        raise ValueError(f"labels must be int64 of shape ({len(logits)},), as logits have rows; got {found}")


def _number(name: str, value: float, low: float, high: float = math.inf, open_low: bool = False) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (low < number if open_low else low <= number) or not number <= high or math.isinf(number):
        legal = f"{'above' if open_low else 'at least'} {low:g}" + (f" and at most {high:g}" if high < math.inf else "")
        raise ValueError(f"{name} must be finite, {legal}; got {value!r}")
    return number


def _weights(weights: Tensor) -> Tensor:
    weights = torch.as_tensor(weights, dtype=torch.float64)
    if weights.ndim < 1 or weights.shape[-1] < 2 or not bool((weights >= 0).all() & (weights.sum(-1) > 0).all()):
        raise ValueError("weights must be of shape (..., K), K >= 2, each at least 0 and not all 0")
    return weights
