"""Losses of a sensor with limits: a target that reads 0 says "at or below 0", and enters by that probability.

What is recorded is clamp(truth + noise, lower, upper). The likelihood of such a target is a density between the limits
and a tail probability at them (Tobin 1958, for Gaussian noise). The density taken at a limit as if it were anywhere, as
every other loss takes it, is biased away from the limits, and exact copies of 0 collapse its scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from . import _kernels as kernels
from ._density import tail_index_of
from ._tails import PLAIN, log_survival
from .base import _check_learn, _positive
from .comparators import GaussianNLLLoss
from .contaminated import ContaminatedALCLoss
from .functional import _arguments, _finish, _pair
from .losses import ALCLoss

__all__ = ["CensoredALCLoss", "TobitLoss"]

Limits = tuple[float | None, float | None]


class CensoredALCLoss(ContaminatedALCLoss):
    """Negative log-likelihood of targets that were clipped: ALCL's density between the limits, its tails at them.

    loss = -log q(input - target) between the limits; -log P(noise >= upper - input) for a target at or beyond the upper
    limit, -log P(noise <= lower - input) at or below the lower one. A target at a limit never pulls the prediction back
    from it: its pull is that of the hazard q/P, bounded, and falls like (kappa alpha - 1)/distance (Theorem S5). Such
    targets cannot collapse the scale (Theorem S6).

        >>> criterion = CensoredALCLoss(beta=0.5, reduction="none")
        >>> criterion(torch.tensor([-3.0, 0.5, 3.0]), torch.tensor([0.0, 0.0, 0.0])).detach().round(decimals=3)
        tensor([0.0540, 1.3860, 2.9460])

    With `eps`, a fraction of the targets is taken to say nothing, as in `ContaminatedALCLoss`: anything between the
    limits, with `density`, and either limit with probability `atom`.

    Args:
        alpha, beta, kappa: initial values of ALCL's parameters, as for `ALCLoss`. alpha = 2 and kappa = 1, both fixed
            (learn="beta"), have tails in closed form and cost least.
        eps: initial fraction of contamination, in (0, 1); None: there is none.
        learn: which of "alpha", "beta", "kappa", "eps" are learned; None: alpha, beta, and eps where it is given.
        limits: (lower, upper) of the targets, lower < upper; either may be None. Targets beyond count as at the limit.
        density: of the contamination between the limits; None: what `atom` leaves, spread evenly, which needs both.
        atom: probability of a contaminated target to stand at a limit, for each limit there is; in [0, 0.5). 0, the
            default: targets at a limit are never contaminated. Dead and hot pixels (salt and pepper): near 0.5.
        parameter_shape, alpha_min, beta_min, alpha_max, reduction, nonfinite: as for `ALCLoss`.

    Raises:
        ValueError: naming the argument and its legal values; from `forward`, residuals that are inf or NaN.
    """

    def __init__(
        self,
        alpha: float | Tensor = 2.0,
        beta: float | Tensor = 1.0,
        kappa: float | Tensor = 1.0,
        eps: float | Tensor | None = None,
        learn: Iterable[str] | None = None,
        limits: Limits = (0.0, 1.0),
        density: float | None = None,
        atom: float = 0.0,
        parameter_shape: Sequence[int] = (),
        alpha_min: float = 1.0,
        beta_min: float = 1e-3,
        reduction: str = "mean",
        nonfinite: str = "raise",
        alpha_max: float | None = None,
    ):
        lower, upper = _check_limits(limits)
        if not isinstance(atom, (int, float)) or not 0 <= atom < 0.5:
            raise ValueError(f"atom must be at least 0 and below 0.5; got {atom!r}")
        if density is None and eps is not None and not math.isfinite(upper - lower):
            raise ValueError("density must be given where eps is and one of the limits is None")
        if eps is None and learn is not None and "eps" in _check_learn(learn, ("alpha", "beta", "kappa", "eps")):
            raise ValueError("eps must be given, as its initial value, where it is learned; got eps=None")
        if learn is None:
            learn = ("alpha", "beta") if eps is None else ("alpha", "beta", "eps")
        width = upper - lower
        if density is None:
            density = (1 - 2 * atom) / width if math.isfinite(width) else 1.0
        self._uncontaminated = eps is None
        super().__init__(
            alpha, beta, kappa, 0.5 if eps is None else eps, learn, _positive("density", density), parameter_shape,
            alpha_min, beta_min, reduction, nonfinite, alpha_max,
        )  # fmt: skip
        self.limits, self.atom = (lower, upper), float(atom)
        if self._uncontaminated:
            self._shown = ALCLoss._shown

    @classmethod
    def _from_sizes(cls, size: Tensor) -> dict[str, float]:
        return {}  # the density follows from the limits

    def _store_eps(self, eps: float | Tensor, learned: bool) -> None:
        if not self._uncontaminated:
            super()._store_eps(eps, learned)

    @property
    def eps(self) -> Tensor:
        """Current fraction of contamination, `parameter_shape`; 0 where there is none."""
        return torch.zeros(self.parameter_shape) if self._uncontaminated else super().eps

    def posterior(self, input: Tensor, target: Tensor) -> Tensor:
        """As of `ContaminatedALCLoss`; all 0 without eps."""
        if self._uncontaminated:
            return torch.zeros_like(_pair(input, target)[0])
        return super().posterior(input, target)

    def _log_core(self, residual: Tensor, input: Tensor, target: Tensor) -> Tensor:
        below, above, wrong = _sides(input, target, self.limits)
        at_limit = below | above
        log_q = self._log_density(torch.where(at_limit, 0.0, residual))
        (alpha, beta, kappa), tail_index = self._density()
        b = (tail_index_of(alpha, kappa) if tail_index is None else tail_index) / alpha
        if not _countable(input):
            return torch.where(at_limit, log_survival(*_arguments(wrong, alpha, beta, b)), log_q)
        at = at_limit.nonzero(as_tuple=True)  # tails are dear, and most targets need none
        own = (p.reshape(()) if p.numel() == 1 else p.expand(input.shape)[at] for p in (alpha, beta, b))
        return log_q.index_put(at, log_survival(*_arguments(wrong[at], *own)).to(log_q.dtype))

    def _log_other(self, target: Tensor) -> Tensor:
        at_limit = math.log(self.atom) if self.atom else -math.inf
        lower, upper = self.limits
        inside = torch.full_like(target, math.log(self.density))
        return torch.where((target <= lower) | (target >= upper), at_limit, inside)

    def _mixture(self, log_core: Tensor, log_other: float | Tensor) -> Tensor:
        return log_core if self._uncontaminated else super()._mixture(log_core, log_other)

    def _at_limits(self) -> dict[str, Any]:
        fixed = "raw_alpha" not in self._parameters and "raw_kappa" not in self._parameters
        cauchy = fixed and self._buffers["fixed_alpha"].item() == 2 and self._buffers["fixed_kappa"].item() == 1
        return {"atom": self.atom, "limits": self.limits, "cauchy": cauchy}

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, limits={_shown_limits(self.limits)}"


class TobitLoss(GaussianNLLLoss):
    """Gaussian negative log-likelihood with a learned scale, of targets that were clipped (Tobin 1958).

    The control of `CensoredALCLoss`: how much the limits do, and how much the tails. Between the limits the influence
    is unbounded, as the squared error's; a target at a limit pulls, on the wrong side of it, nearly as hard. (In
    float32 the value overflows where a prediction is some 1e9 scales on the wrong side.)

        >>> TobitLoss(0.5, reduction="none")(torch.tensor([-3.0, 0.5]), torch.tensor([0.0, 0.0])).detach()
        tensor([9.8659e-10, 1.8410e+00])

    Args:
        scale: initial scale, in the units of the residual; above scale_min where learned.
        limits: (lower, upper) of the targets, lower < upper; either may be None. Targets beyond count as at the limit.
        learn, reduction, nonfinite, scale_min, parameter_shape: as for `GaussianNLLLoss`.
    """

    bounded = True

    def __init__(
        self,
        scale: float | Tensor = 1.0,
        learn: Iterable[str] = ("scale",),
        limits: Limits = (0.0, 1.0),
        reduction: str = "mean",
        nonfinite: str = "raise",
        scale_min: float = 1e-3,
        parameter_shape: Sequence[int] = (),
    ):
        super().__init__(scale, learn, reduction, nonfinite, scale_min, parameter_shape)
        self.limits = _check_limits(limits)

    def _value_of(self, residual: Tensor, input: Tensor, target: Tensor) -> Tensor:
        below, above, wrong = _sides(input, target, self.limits)
        at_limit = below | above
        scale = self.scale
        value = self.rho(torch.where(at_limit, 0.0, residual)) + self.log_normalizer()
        if _countable(input):
            at = at_limit.nonzero(as_tuple=True)
            log_p = torch.special.log_ndtr((-wrong / scale)[at])
            value = value.index_put(at, -log_p.to(value.dtype))
        else:
            value = torch.where(at_limit, -torch.special.log_ndtr(torch.where(at_limit, -wrong, 0.0) / scale), value)
        return value if self.reduction == "none" else _finish(value.sum(), None, value, self.reduction)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, limits={_shown_limits(self.limits)}"


def _sides(input: Tensor, target: Tensor, limits: tuple[float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """Where the target is at the lower and at the upper limit, and how far the prediction is on the limit's wrong side;
    0 between the limits."""
    below, above = target <= limits[0], target >= limits[1]
    at_lower = input - limits[0] if math.isfinite(limits[0]) else torch.zeros_like(input)
    at_upper = limits[1] - input if math.isfinite(limits[1]) else torch.zeros_like(input)
    zero = torch.zeros_like(input)
    return below, above, torch.where(below, at_lower, torch.where(above, at_upper, zero))


def _countable(x: Tensor) -> bool:
    """Whether elements can be picked out by number: not in a graph, under torch.func, without memory, or 0-d."""
    return x.ndim > 0 and kernels.numbers_can_be_read() and type(x) in PLAIN and not x.is_meta


def _check_limits(limits: Limits) -> tuple[float, float]:
    try:
        lower, upper = limits
        lower = -math.inf if lower is None else float(lower)
        upper = math.inf if upper is None else float(upper)
    except (TypeError, ValueError):
        lower = upper = math.nan
    if not lower < upper or lower == math.inf or upper == -math.inf:
        raise ValueError(f"limits must be (lower, upper), two numbers in ascending order or None; got {limits!r}")
    if math.isinf(lower) and math.isinf(upper):
        raise ValueError("limits: one of them must be a number; without limits, take ALCLoss or ContaminatedALCLoss")
    return lower, upper


def _shown_limits(limits: tuple[float, float]) -> str:
    lower, upper = (f"{x:g}" if math.isfinite(x) else "None" for x in limits)
    return f"({lower}, {upper})"
