"""The comparators with the one loss interface: Student-t, generalized Cauchy, Gaussian with learned scale, pseudo-Huber
fixed and scheduled, the logarithmic-in-name losses LMLS and LLAD, and log-cosh. Barron's loss is `alcl.barron`.

Each is a `ResidualLoss`, so `alcl.influence` measures it as any other, and `alcl.catalogue.make_loss` makes it by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from . import _kernels as kernels
from ._pointwise import pointwise
from .barron import BarronLoss, barron_log_partition, barron_rho  # noqa: F401  (they are reached from here, too)
from .base import ResidualLoss, _check_learn, _in_numbers, _Likelihood, _positive
from .distributions import log_normalizer
from .functional import log_correntropy

__all__ = [
    "GaussianNLLLoss",
    "GeneralizedCauchyLoss",
    "LMLSLoss",
    "LogCoshLoss",
    "PseudoHuberLoss",
    "ScheduledPseudoHuberLoss",
    "StudentTLoss",
]


# --- fixed losses, elementwise, with their derivatives ----------------------------------------------------------------


def _constant(number: float, residual: Tensor) -> Tensor:
    """A positive number as a tensor beside `residual`, as near as its dtype comes without 0 and infinity."""
    info = torch.finfo(residual.dtype)
    return residual.new_full((), min(max(number, info.tiny), info.max))


def _far(residual: Tensor) -> float:
    """A ratio beside which 1 is lost, with a square far from overflow."""
    return 1 / torch.finfo(residual.dtype).eps


def _pseudo_huber(e: Tensor, delta: Tensor) -> Tensor:
    # delta (sqrt(1 + u^2) - 1) = e / (1 + sqrt(1 + u^2)) u without cancellation near zero; far out it is |e|
    size = e.abs()
    held = size.clamp(max=delta * _far(e))
    return size * (held / (1 + (1 + (held / delta).square()).sqrt()))


def _pseudo_huber_slopes(needed, e: Tensor, delta: Tensor):
    held = e.clamp(-delta * _far(e), delta * _far(e))
    return held / (1 + (held / delta).square()).sqrt(), None


def _log_cosh(e: Tensor, s: Tensor) -> Tensor:
    size = e.abs()
    u = size / s
    # cosh overflows at 89 in float32; the form that does not loses all digits near zero
    middle = s * (s * torch.log1p(2 * (u.clamp(max=1) / 2).sinh().square()))
    far = s * (size + s * (torch.log1p(torch.exp(-2 * u)) - math.log(2)))
    return torch.where(u * _far(e) ** 0.5 < 1, 0.5 * size * size, torch.where(u < 1, middle, far))


def _log_cosh_slopes(needed, e: Tensor, s: Tensor):
    u = e / s
    return torch.where(u.abs() * _far(e) ** 0.5 < 1, e, s * torch.tanh(u)), None


def _lmls(e: Tensor, a: Tensor, power: int) -> Tensor:
    f = e * e if power == 2 else e.abs()
    u = _lmls_argument(e, a, power)
    # log(1 + u) = 2 artanh r with r = u / (2 + u), and u - 2r = u r: no cancellation near zero
    r = u / (2 + u)
    square = r.clamp(max=0.15).square()
    series = torch.full_like(square, 1 / 17)
    for k in range(6, -1, -1):
        series = series.mul_(square).add_(1 / (2 * k + 3))
    near = f * r * (1 - 2 * r * series / (2 + u))
    return torch.where(u < 0.3, near, f - u.log1p() / a)


def _lmls_slopes(needed, e: Tensor, a: Tensor, power: int):
    u = _lmls_argument(e, a, power)
    return (2 * e if power == 2 else e.sign()) * (u / (1 + u)), None


def _lmls_argument(e: Tensor, a: Tensor, power: int) -> Tensor:
    """aF, up to where log(1 + aF) no longer counts beside it."""
    return (e * a.sqrt()).clamp(-_far(e), _far(e)).square() if power == 2 else (e.abs() * a).clamp(max=_far(e) ** 2)


_LMLS = {power: (partial(_lmls, power=power), partial(_lmls_slopes, power=power)) for power in (1, 2)}


# --- likelihoods ------------------------------------------------------------------------------------------------------


class StudentTLoss(_Likelihood):
    """Student-t negative log-likelihood with degrees of freedom and scale learned (a special case of ALCL's density).

    It is alpha = 2, kappa = (dof + 1) / 2, beta = scale sqrt(dof). dof > dof_min, scale > scale_min where learned.
    `parameter_shape` as for `ALCLoss`: (3, 1, 1) learns both per channel of (N, 3, H, W) images.

    >>> criterion = StudentTLoss(dof=3.0, scale=0.5)
    >>> criterion.dof.item(), criterion.scale.item()
    (3.0, 0.5)
    >>> round(criterion(torch.zeros(1), torch.ones(1)).item(), 4)
    2.0023
    """

    _shown = ("dof", "scale")
    dof_min: float

    def __init__(
        self,
        dof: float | Tensor = 3.0,
        scale: float | Tensor = 1.0,
        learn: Iterable[str] = ("dof", "scale"),
        dof_min: float = 0.1,
        scale_min: float = 1e-3,
        reduction: str = "mean",
        nonfinite: str = "raise",
        parameter_shape: Sequence[int] = (),
    ):
        super().__init__(reduction, nonfinite)
        learn = _check_learn(learn, ("dof", "scale"))
        self._set({"dof": dof, "scale": scale}, {"dof": dof_min, "scale": scale_min}, learn, parameter_shape)

    @property
    def dof(self) -> Tensor:
        """Current degrees of freedom, `parameter_shape`."""
        return self._value("dof", self.dof_min)

    def _as_generalized_t(self) -> tuple[Tensor, Tensor, Tensor]:
        dof = self.dof
        return torch.full_like(dof, 2.0), self.scale * dof.sqrt(), (dof + 1) / 2

    def rho(self, residual: Tensor) -> Tensor:
        self._check_shape(residual)
        return log_correntropy(residual, *self._as_generalized_t())

    def log_normalizer(self) -> Tensor:
        return log_normalizer(*self._as_generalized_t())

    def _rows(self) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        return self._as_generalized_t(), self.log_normalizer()

    def _setting(self) -> kernels.Setting | None:
        dof, d_dof = self._number("dof", self.dof_min)
        scale, d_scale = self._number("scale", self.scale_min)
        root = math.sqrt(dof)
        chain = {"dof": (0.0, scale / (2 * root) * d_dof, d_dof / 2), "scale": (0.0, root * d_scale, 0.0)}
        return _in_numbers(2.0, scale * root, (dof + 1) / 2, True, [chain[name[4:]] for name in self._parameters])


class GaussianNLLLoss(_Likelihood):
    """Gaussian negative log-likelihood e^2/(2 s^2) + log s + log(2 pi)/2 with a learned scale s > scale_min.

    The "scale only" control (homoscedastic; Kendall and Gal, NeurIPS 2017): whatever an adaptive loss gains over it, it
    does not owe to a learned scale. Its influence e/s^2 is unbounded. `parameter_shape` as for `ALCLoss`.

    >>> criterion = GaussianNLLLoss(scale=2.0)
    >>> round(criterion(torch.tensor([2.0]), torch.zeros(1)).item(), 4)
    2.1121
    """

    _shown = ("scale",)

    def __init__(
        self,
        scale: float | Tensor = 1.0,
        learn: Iterable[str] = ("scale",),
        reduction: str = "mean",
        nonfinite: str = "raise",
        scale_min: float = 1e-3,
        parameter_shape: Sequence[int] = (),
    ):
        super().__init__(reduction, nonfinite)
        self._set({"scale": scale}, {"scale": scale_min}, _check_learn(learn, ("scale",)), parameter_shape)

    def rho(self, residual: Tensor) -> Tensor:
        self._check_shape(residual)
        u = residual / self.scale
        return 0.5 * u * u  # not the square, whose derivative 2u overflows before u does

    def log_normalizer(self) -> Tensor:
        return self.scale.log() + 0.5 * math.log(2 * math.pi)


class GeneralizedCauchyLoss(_Likelihood):
    """Generalized Cauchy negative log-likelihood (Carrillo, Aysal, Barner 2010): ALCL's density with kappa = 2 / alpha.

    rho = (2/alpha) log(1 + |e/s|^alpha), tails like |e|^-2 whatever the shape alpha is; alpha = 2 is Cauchy. So shape
    and tail weight are tied where ALCL ties kappa to 1. alpha > alpha_min and s > scale_min where learned;
    `parameter_shape` as for `ALCLoss`.

    >>> criterion = GeneralizedCauchyLoss(alpha=2.0)
    >>> criterion.rho(torch.tensor([1.0]))  # log 2, as Cauchy's
    tensor([0.6931], grad_fn=<EachBackward>)
    """

    _shown = ("alpha", "scale")
    alpha_min: float

    def __init__(
        self,
        alpha: float | Tensor = 2.0,
        scale: float | Tensor = 1.0,
        learn: Iterable[str] = ("alpha", "scale"),
        reduction: str = "mean",
        nonfinite: str = "raise",
        alpha_min: float = 0.1,
        scale_min: float = 1e-3,
        parameter_shape: Sequence[int] = (),
    ):
        super().__init__(reduction, nonfinite)
        learn = _check_learn(learn, ("alpha", "scale"))
        self._set({"alpha": alpha, "scale": scale}, {"alpha": alpha_min, "scale": scale_min}, learn, parameter_shape)

    @property
    def alpha(self) -> Tensor:
        """Current shape, `parameter_shape`."""
        return self._value("alpha", self.alpha_min)

    def rho(self, residual: Tensor) -> Tensor:
        self._check_shape(residual)
        alpha = self.alpha
        return log_correntropy(residual, alpha, self.scale, 2 / alpha)

    def log_normalizer(self) -> Tensor:
        alpha = self.alpha
        return log_normalizer(alpha, self.scale, 2 / alpha)


# --- fixed losses -----------------------------------------------------------------------------------------------------


class PseudoHuberLoss(ResidualLoss):
    """Pseudo-Huber delta^2 (sqrt(1 + (e/delta)^2) - 1), delta > 0: e^2/2 near zero, delta |e| far out.

    >>> PseudoHuberLoss(delta=3.0)(torch.tensor([4.0]), torch.zeros(1))  # 9 (5 / 3 - 1)
    tensor(6.)
    """

    def __init__(self, delta: float = 1.0, reduction: str = "mean", nonfinite: str = "raise"):
        super().__init__(reduction, nonfinite)
        self._delta = _positive("delta", delta)

    @property
    def delta(self) -> float:
        """The residual at which the loss turns from quadratic to linear."""
        return self._delta

    def rho(self, residual: Tensor) -> Tensor:
        return pointwise(_pseudo_huber, _pseudo_huber_slopes, residual, _constant(self.delta, residual))

    def extra_repr(self) -> str:
        return f"delta={self.delta:g}"


class ScheduledPseudoHuberLoss(PseudoHuberLoss):
    """Pseudo-Huber whose delta shrinks by a schedule, delta(t) = c^t from 1 at t = 0 to c at t = 1 (arXiv 2403.16728).

    Adaptive by the clock and not by the data. Call `advance(t)` as training proceeds, t = step / steps in [0, 1].
    c > 0 is in the units of the residual, as is the 1 it starts from.

    >>> criterion = ScheduledPseudoHuberLoss(c=0.01)
    >>> criterion.advance(0.5)
    >>> round(criterion.delta, 4)
    0.1
    """

    def __init__(self, c: float = 0.1, reduction: str = "mean", nonfinite: str = "raise"):
        super().__init__(1.0, reduction, nonfinite)
        self.c = _positive("c", c)
        self.register_buffer("progress", torch.zeros(()))

    @property
    def delta(self) -> float:
        """delta at the present time."""
        return self.c ** self.progress.item()

    def advance(self, t: float) -> None:
        """Set the time, t in [0, 1]."""
        if not 0 <= t <= 1:
            raise ValueError(f"t must lie in [0, 1]; got {t!r}")
        self.progress.fill_(t)

    def extra_repr(self) -> str:
        return f"c={self.c:g}, delta={self.delta:g}"


class LMLSLoss(ResidualLoss):
    """F - log(1 + a F) / a (Sayin, Vanli, Kozat, IEEE TSP 62(17), 2014): with F = e^2 LMLS, with F = |e| LLAD; a > 0.

    Logarithmic in name: the logarithm softens *small* residuals. The influence F' a F / (1 + a F) grows like 2|e| for
    LMLS and tends to 1 for LLAD; neither redescends.

    >>> LMLSLoss()(torch.tensor([1.0]), torch.zeros(1))  # 1 - log 2
    tensor(0.3069)
    """

    def __init__(self, a: float = 1.0, power: int = 2, reduction: str = "mean", nonfinite: str = "raise"):
        super().__init__(reduction, nonfinite)
        self.a = _positive("a", a)
        if power not in (1, 2):
            raise ValueError(f"power must be 2 (LMLS) or 1 (LLAD); got {power!r}")
        self.power = power

    def rho(self, residual: Tensor) -> Tensor:
        return pointwise(*_LMLS[self.power], residual, _constant(self.a, residual))

    def extra_repr(self) -> str:
        return f"a={self.a:g}, power={self.power}"


class LogCoshLoss(ResidualLoss):
    """s^2 log cosh(e/s), s > 0: e^2/2 near zero, s |e| far out; saturates like Huber's and does not redescend.

    >>> LogCoshLoss()(torch.tensor([100.0]), torch.zeros(1))  # where cosh itself is inf
    tensor(99.3069)
    """

    def __init__(self, scale: float = 1.0, reduction: str = "mean", nonfinite: str = "raise"):
        super().__init__(reduction, nonfinite)
        self.scale = _positive("scale", scale)

    def rho(self, residual: Tensor) -> Tensor:
        return pointwise(_log_cosh, _log_cosh_slopes, residual, _constant(self.scale, residual))

    def extra_repr(self) -> str:
        return f"scale={self.scale:g}"
