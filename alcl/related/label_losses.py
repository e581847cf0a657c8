"""Losses for learning with noisy labels: joint asymmetric loss (JAL), its parts, and its neighbours.

Every loss here is a function of logits (N, K) and labels (N,), through p = softmax(logits); p_y is the probability of
the given label. They fight another corruption than the rest of the library: wrong *labels*, not wrong pixels.

Sources: JAL, arXiv 2507.17692 (ICCV 2025); asymmetric losses, Zhou et al., ICML 2021; normalised losses and NCE + RCE,
Ma et al., ICML 2020; GCE, Zhang and Sabuncu, NeurIPS 2018; MAE, Ghosh et al., AAAI 2017. Notebook 08 derives them.
`label_neighbours` has those that JAL is compared with, `label_heights` how high AMSE's target must be.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..catalogue import chosen
from . import label_neighbours as neighbours
from ._label_base import ClassificationLoss, _at, _number, _wrong
from .label_heights import Condition, amse_minimiser, asymmetry_condition, simplex_projection, smallest_height

__all__ = [
    "CLASSIFICATION_LOSSES",
    "AMSELoss",
    "ClassificationLoss",
    "Condition",
    "CrossEntropyLoss",
    "GCELoss",
    "JALLoss",
    "MAELoss",
    "MSEMAELoss",
    "NCELoss",
    "NCERCELoss",
    "NFLLoss",
    "amse_minimiser",
    "asymmetry_condition",
    "make_classification_loss",
    "simplex_projection",
    "smallest_height",
]


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
    """Asymmetric mean squared error (1/K) ||a e_y - p||_q^q with target height a >= 1 (JAL, its passive part).

    The published power is q = 2. There it is MSE + (2 (a - 1) / K) (1 - p_y) + (a - 1)^2 / K (notebook 08, Theorem C3):
    for a > 1 mostly MAE. Theorem C1 says how high a must be at any q > 1: see `label_heights`.

        >>> logits, label = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([0])
        >>> AMSELoss(a=5.0, q=3.0)(logits, label)
        tensor(28.8659)

    Args:
        a: target height, at least 1. q: power, at least 1; q = 1 is MAE up to a constant.
    """

    def __init__(self, a: float = 30.0, q: float = 2.0, reduction: str = "mean"):
        super().__init__(reduction)
        self.a, self.q = _number("a", a, 1.0), _number("q", q, 1.0)

    def per_example(self, log_p: Tensor, labels: Tensor) -> Tensor:
        p = log_p.exp()
        label = F.one_hot(labels, p.shape[1])
        target = self.a * label.to(p.dtype)
        if self.q == 2:
            return (target - p).square().mean(1)
        # off the label |0 - p|^q = exp(q log p), whose gradient is finite also where p underflows
        return torch.where(label.bool(), (target - p).clamp(min=0).pow(self.q), (self.q * log_p).exp()).mean(1)

    def extra_repr(self) -> str:
        return f"a={self.a}" + (f", q={self.q}" if self.q != 2 else "")


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
        q: power of AMSE; 2 is the published one.
        control: replace AMSE by the weighted MSE + MAE that it is identical to (any K: the weight of MAE is (a-1)/K).
    """

    def __init__(
        self,
        kind: str = "ce",
        active: float = 1.0,
        passive: float = 1.0,
        a: float = 30.0,
        control: bool = False,
        q: float = 2.0,
        reduction: str = "mean",
    ):
        super().__init__(reduction)
        if kind not in ("ce", "fl"):
            raise ValueError(f"kind must be one of ce, fl; got {kind!r}")
        self.kind, self.control = kind, bool(control)
        self.active, self.passive = _number("active", active, 0.0), _number("passive", passive, 0.0)
        self.a, self.q = _number("a", a, 1.0), _number("q", q, 1.0)
        if self.control and self.q != 2:
            raise ValueError(f"q must be 2 where control is set: the identity is of that power; got {q!r}")
        self._active_part = NCELoss("none") if kind == "ce" else NFLLoss(0.5, "none")

    def per_example(self, log_p: Tensor, labels: Tensor) -> Tensor:
        control = MSEMAELoss(1.0, (self.a - 1) / log_p.shape[1], "none")
        passive = control if self.control else AMSELoss(self.a, self.q, "none")
        return self.active * self._active_part.per_example(log_p, labels) + self.passive * passive.per_example(
            log_p, labels
        )

    def extra_repr(self) -> str:
        power = f", q={self.q}" if self.q != 2 else ""
        parts = f"active={self.active}, passive={self.passive}, a={self.a}"
        return f"kind={self.kind!r}, {parts}, control={self.control}{power}"


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
    "agce": neighbours.AGCELoss,
    "aul": neighbours.AULLoss,
    "ael": neighbours.AELLoss,
    "nce_agce": neighbours.NCEAGCELoss,
    "sce": neighbours.SCELoss,
    "aldr_kl": neighbours.ALDRKLLoss,
    "comp_sum": neighbours.CompSumLoss,
    "squentropy": neighbours.SquentropyLoss,
    "mixture": neighbours.MixtureLoss,
    "forward": neighbours.forward_for,
}


def make_classification_loss(name: str, **options) -> ClassificationLoss:
    """The loss called `name` (a key of `CLASSIFICATION_LOSSES`) with its constructor's options.

    Raises:
        ValueError: unknown name, an option that this loss does not take, or an illegal value.
    """
    return chosen(CLASSIFICATION_LOSSES, name, options)
