"""Further comparators with the one loss interface: generalized Cauchy, Gaussian with learned scale, scheduled
pseudo-Huber, the logarithmic-in-name losses LMLS and LLAD, and log-cosh.

They stand beside `alcl.losses` (which has Student-t and Barron's loss). Each is a `ResidualLoss`, so `alcl.influence`
measures it as any other, and `alcl.catalogue.make_loss` makes it by name. Notebooks 02, 09 and 10 use them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from .densities import log_normalizer
from .losses import AdaptiveLoss, ResidualLoss, _positive, log_correntropy

__all__ = [
    "GaussianNLLLoss",
    "GeneralizedCauchyLoss",
    "LMLSLoss",
    "LogCoshLoss",
    "PseudoHuberLoss",
    "ScheduledPseudoHuberLoss",
]


class _Likelihood(AdaptiveLoss):
    """A negative log-likelihood with positive parameters, each learned above a floor or fixed."""

    FLOORS: dict[str, float]

    def _set(self, values: dict[str, float], learn: Iterable[str]) -> None:
        learn = (learn,) if isinstance(learn, str) else tuple(learn)
        unknown = [name for name in learn if name not in values]
        if unknown:
            raise ValueError(f"learn may name {', '.join(values)}; got {', '.join(map(repr, unknown))}")
        for name, value in values.items():
            number, floor = _positive(name, value), self.FLOORS[name]
            if name in learn and number <= floor:
                raise ValueError(f"{name} must exceed {floor:g} when it is learned; got {number:g}")
            tensor = torch.tensor(number, dtype=torch.get_default_dtype())
            self._store(name, tensor, floor if name in learn else None)

    @property
    def scale(self) -> Tensor:
        """Current scale in the units of the residual, scalar."""
        return self._value("scale", self.FLOORS["scale"])


class GaussianNLLLoss(_Likelihood):
    """Gaussian negative log-likelihood e^2/(2 s^2) + log s + log(2 pi)/2 with a learned scale s > 0.001.

    The "scale only" control (homoscedastic; Kendall and Gal, NeurIPS 2017): whatever an adaptive loss gains over it, it
    does not owe to a learned scale. Its influence e/s^2 is unbounded.
    """

    FLOORS = {"scale": 1e-3}  # noqa: RUF012

    def __init__(
        self, scale: float = 1.0, learn: Iterable[str] = ("scale",), reduction: str = "mean", nonfinite: str = "raise"
    ):
        super().__init__(reduction, nonfinite)
        self._set({"scale": scale}, learn)

    def rho(self, residual: Tensor) -> Tensor:
        return 0.5 * (residual / self.scale).square()

    def log_normalizer(self) -> Tensor:
        return self.scale.log() + 0.5 * math.log(2 * math.pi)

    def _shown(self):
        return ("scale",)


class GeneralizedCauchyLoss(_Likelihood):
    """Generalized Cauchy negative log-likelihood (Carrillo, Aysal, Barner 2010): ALCL's density with kappa = 2 / alpha.

    rho = (2/alpha) log(1 + |e/s|^alpha), tails like |e|^-2 whatever the shape alpha is; alpha = 2 is Cauchy. So shape
    and tail weight are tied where ALCL ties kappa to 1. alpha > 0.1 and s > 0.001 where learned.
    """

    FLOORS = {"alpha": 0.1, "scale": 1e-3}  # noqa: RUF012

    def __init__(
        self,
        alpha: float = 2.0,
        scale: float = 1.0,
        learn: Iterable[str] = ("alpha", "scale"),
        reduction: str = "mean",
        nonfinite: str = "raise",
    ):
        super().__init__(reduction, nonfinite)
        self._set({"alpha": alpha, "scale": scale}, learn)

    @property
    def alpha(self) -> Tensor:
        """Current shape, scalar."""
        return self._value("alpha", self.FLOORS["alpha"])

    def rho(self, residual: Tensor) -> Tensor:
        alpha = self.alpha
        return log_correntropy(residual, alpha, self.scale, 2 / alpha)

    def log_normalizer(self) -> Tensor:
        alpha = self.alpha
        return log_normalizer(alpha, self.scale, 2 / alpha)

    def _shown(self):
        return ("alpha", "scale")


class PseudoHuberLoss(ResidualLoss):
    """Pseudo-Huber delta^2 (sqrt(1 + (e/delta)^2) - 1), delta > 0: e^2/2 near zero, delta |e| far out."""

    def __init__(self, delta: float = 1.0, reduction: str = "mean", nonfinite: str = "raise"):
        super().__init__(reduction, nonfinite)
        self._delta = _positive("delta", delta)

    @property
    def delta(self) -> float:
        """The residual at which the loss turns from quadratic to linear."""
        return self._delta

    def rho(self, residual: Tensor) -> Tensor:
        u = residual / self.delta
        # sqrt(1 + u^2) - 1 without cancellation near zero, and without overflow far out
        return self.delta**2 * u * (u / (1 + torch.hypot(u, torch.ones_like(u))))

    def extra_repr(self) -> str:
        return f"delta={self.delta:g}"


class ScheduledPseudoHuberLoss(PseudoHuberLoss):
    """Pseudo-Huber whose delta shrinks by a schedule, delta(t) = c^t from 1 at t = 0 to c at t = 1 (arXiv 2403.16728).

    Adaptive by the clock and not by the data. Call `advance(t)` as training proceeds, t = step / steps in [0, 1].
    c > 0 is in the units of the residual, as is the 1 it starts from.
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
    """

    def __init__(self, a: float = 1.0, power: int = 2, reduction: str = "mean", nonfinite: str = "raise"):
        super().__init__(reduction, nonfinite)
        self.a = _positive("a", a)
        if power not in (1, 2):
            raise ValueError(f"power must be 2 (LMLS) or 1 (LLAD); got {power!r}")
        self.power = power

    def rho(self, residual: Tensor) -> Tensor:
        f = residual.square() if self.power == 2 else residual.abs()
        u = self.a * f
        # log(1 + u) = 2 artanh r with r = u / (2 + u), and u - 2r = u r: no cancellation near zero
        near = u.clamp(max=0.3)
        r = near / (2 + near)
        series = sum(r.square() ** k / (2 * k + 3) for k in range(8))
        return torch.where(u < 0.3, near * r - 2 * r**3 * series, u - torch.log1p(u)) / self.a

    def extra_repr(self) -> str:
        return f"a={self.a:g}, power={self.power}"


class LogCoshLoss(ResidualLoss):
    """s^2 log cosh(e/s), s > 0: e^2/2 near zero, s |e| far out; saturates like Huber's and does not redescend."""

    def __init__(self, scale: float = 1.0, reduction: str = "mean", nonfinite: str = "raise"):
        super().__init__(reduction, nonfinite)
        self.scale = _positive("scale", scale)

    def rho(self, residual: Tensor) -> Tensor:
        u = residual.abs() / self.scale
        # cosh overflows at 89 in float32; the form that does not loses all digits near zero
        near = torch.log1p(2 * (u.clamp(max=1) / 2).sinh().square())
        return self.scale**2 * torch.where(u < 1, near, u + F.softplus(-2 * u) - math.log(2))

    def extra_repr(self) -> str:
        return f"scale={self.scale:g}"
