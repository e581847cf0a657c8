"""The comparators with the one loss interface: Student-t, Barron's adaptive loss, generalized Cauchy, Gaussian with
learned scale, pseudo-Huber fixed and scheduled, the logarithmic-in-name losses LMLS and LLAD, and log-cosh.

Each is a `ResidualLoss`, so `alcl.influence` measures it as any other, and `alcl.catalogue.make_loss` makes it by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from . import _kernels as kernels
from .base import AdaptiveLoss, ResidualLoss, _check_learn, _in_numbers, _parameter, _positive
from .distributions import log_normalizer
from .functional import _at_least_float32, _like, _summed, log_correntropy

__all__ = [
    "BarronLoss",
    "GaussianNLLLoss",
    "GeneralizedCauchyLoss",
    "LMLSLoss",
    "LogCoshLoss",
    "PseudoHuberLoss",
    "ScheduledPseudoHuberLoss",
    "StudentTLoss",
    "barron_log_partition",
    "barron_rho",
]


# --- losses with their derivatives in closed form -------------------------------------------------------------------


class _Pointwise(torch.autograd.Function):
    """apply(value, slopes, residual, *parameters): value(residual, *parameters), elementwise.

    slopes(needed, residual, *parameters) gives the derivative in each argument that is needed, by closed forms of
    differentiable operations, from which second derivatives follow. The chain rule would multiply factors that overflow
    where their product is of ordinary size, and subtract numbers that are nearly equal.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(value, slopes, residual: Tensor, *parameters: Tensor) -> Tensor:
        return value(residual, *parameters)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, ctx.slopes, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx, grad: Tensor):
        tensors, needed = ctx.saved_tensors, ctx.needs_input_grad[2:]
        slopes = ctx.slopes(needed, *tensors)
        found = zip(slopes, tensors, needed, strict=True)
        return None, None, *((grad * s).sum_to_size(x.shape) if need else None for s, x, need in found)


class _PointwiseWithForwardMode(_Pointwise):
    """With the rule for forward mode (torch.func.jvp, and hessian), which torch.compile takes in no Function."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _Pointwise.setup_context(ctx, inputs, output)
        ctx.save_for_forward(*inputs[2:])

    @staticmethod
    def jvp(ctx, _value, _slopes, *tangents: Tensor | None) -> Tensor:
        slopes = ctx.slopes((True,) * len(tangents), *ctx.saved_tensors)
        terms = zip(slopes, tangents, strict=True)
        return sum(s * tangent for s, tangent in terms if s is not None and tangent is not None)


def _pointwise(value, slopes, residual: Tensor, *parameters: Tensor) -> Tensor:
    function = _Pointwise if torch.compiler.is_compiling() else _PointwiseWithForwardMode
    return function.apply(value, slopes, residual, *parameters)


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


def barron_rho(residual: Tensor, alpha, scale) -> Tensor:
    """Barron's general loss (CVPR 2019, eq. 1) for 0 < alpha < 2.

    rho = (b / alpha) [((e / scale)^2 / b + 1)^(alpha / 2) - 1] with b = 2 - alpha.
    """
    residual = _at_least_float32(residual)
    alpha, scale = _like(alpha, residual), _like(scale, residual)
    b = 2 - alpha
    # log(1 + (e/scale)^2 / b) is a log-correntropy, which does not overflow where the square would
    return b / alpha * torch.expm1(0.5 * alpha * log_correntropy(residual, 2.0, scale * b.sqrt()))


def barron_log_partition(alpha: Tensor) -> Tensor:
    """log of the integral of exp(-barron_rho(x, alpha, 1)) over the line, 0 < alpha < 2, to 5e-9 in float64.

    The substitution x = sinh(t) turns the tails (as heavy as a Cauchy's as alpha -> 0) into exponential ones, where
    the trapezoidal rule converges geometrically. No table, no spline, differentiable in alpha.
    """
    t = torch.arange(-40.0, 40.0 + 1e-9, 0.1, dtype=alpha.dtype, device=alpha.device)
    log_integrand = -barron_rho(t.sinh(), alpha[..., None], torch.ones_like(alpha)[..., None]) + t.cosh().log()
    return torch.logsumexp(log_integrand, -1) + math.log(0.1)


class StudentTLoss(AdaptiveLoss):
    """Student-t negative log-likelihood with degrees of freedom and scale learned (a special case of ALCL's density).

    It is alpha = 2, kappa = (dof + 1) / 2, beta = scale sqrt(dof). dof > dof_min, scale > scale_min where learned.
    """

    def __init__(
        self,
        dof: float = 3.0,
        scale: float = 1.0,
        learn: Iterable[str] = ("dof", "scale"),
        dof_min: float = 0.1,
        scale_min: float = 1e-3,
        reduction: str = "mean",
        nonfinite: str = "raise",
    ):
        super().__init__(reduction, nonfinite)
        learn = _check_learn(learn, ("dof", "scale"))
        self.dof_min, self.scale_min = _positive("dof_min", dof_min), _positive("scale_min", scale_min)
        for name, value, floor in (("dof", dof, dof_min), ("scale", scale, scale_min)):
            value = _parameter(name, value, torch.Size())
            if name in learn and bool(value <= floor):
                raise ValueError(f"{name} must exceed {name}_min={floor:g} when it is learned; got {float(value):g}")
            self._store(name, value, floor if name in learn else None)

    @property
    def dof(self) -> Tensor:
        """Current degrees of freedom, scalar."""
        return self._value("dof", self.dof_min)

    @property
    def scale(self) -> Tensor:
        """Current scale in the units of the residual, scalar."""
        return self._value("scale", self.scale_min)

    def _as_generalized_t(self) -> tuple[Tensor, Tensor, Tensor]:
        dof = self.dof
        return torch.full_like(dof, 2.0), self.scale * dof.sqrt(), (dof + 1) / 2

    def rho(self, residual: Tensor) -> Tensor:
        return log_correntropy(residual, *self._as_generalized_t())

    def rho_sum(self, residual: Tensor) -> Tensor:
        return _summed(kernels.LOG_CORRENTROPY, residual, *self._as_generalized_t())

    def log_normalizer(self) -> Tensor:
        return log_normalizer(*self._as_generalized_t())

    def _setting(self) -> kernels.Setting | None:
        dof, d_dof = self._number("dof", self.dof_min)
        scale, d_scale = self._number("scale", self.scale_min)
        root = math.sqrt(dof)
        chain = {"dof": (0.0, scale / (2 * root) * d_dof, d_dof / 2), "scale": (0.0, root * d_scale, 0.0)}
        return _in_numbers(2.0, scale * root, (dof + 1) / 2, True, [chain[name[4:]] for name in self._parameters])

    def _shown(self) -> Sequence[str]:
        return ("dof", "scale")


class BarronLoss(AdaptiveLoss):
    """Barron's adaptive negative log-likelihood (CVPR 2019, section 3): rho + log scale + log partition(alpha).

    alpha = 0.001 + 1.998 sigmoid(raw) where learned (the published range), scale > scale_min. The partition function
    is computed by quadrature (`barron_log_partition`) instead of the published spline. alpha -> 2 is the Gaussian,
    alpha = 1 pseudo-Huber (Charbonnier), alpha -> 0 Cauchy. Its influence redescends only for alpha < 1.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        scale: float = 1.0,
        learn: Iterable[str] = ("alpha", "scale"),
        scale_min: float = 1e-3,
        reduction: str = "mean",
        nonfinite: str = "raise",
    ):
        super().__init__(reduction, nonfinite)
        learn = _check_learn(learn, ("alpha", "scale"))
        alpha, scale = _parameter("alpha", alpha, torch.Size()), _parameter("scale", scale, torch.Size())
        if bool((alpha <= 0.001) | (alpha >= 1.999)):
            raise ValueError(f"alpha must lie in (0.001, 1.999); got {float(alpha):g}")
        self.scale_min = _positive("scale_min", scale_min)
        if "scale" in learn and bool(scale <= scale_min):
            raise ValueError(f"scale must exceed scale_min={scale_min:g} when it is learned; got {float(scale):g}")
        if "alpha" in learn:
            self.raw_alpha = nn.Parameter(torch.logit((alpha - 0.001) / 1.998))
        else:
            self.register_buffer("fixed_alpha", alpha)
        self._store("scale", scale, self.scale_min if "scale" in learn else None)

    @property
    def alpha(self) -> Tensor:
        """Current shape in (0.001, 1.999), scalar."""
        raw = self._parameters.get("raw_alpha")
        if raw is None:
            return _at_least_float32(self._buffers["fixed_alpha"])
        return 0.001 + 1.998 * torch.sigmoid(_at_least_float32(raw))

    @property
    def scale(self) -> Tensor:
        """Current scale in the units of the residual, scalar."""
        return self._value("scale", self.scale_min)

    def rho(self, residual: Tensor) -> Tensor:
        return barron_rho(residual, self.alpha, self.scale)

    def log_normalizer(self) -> Tensor:
        return self.scale.log() + barron_log_partition(self.alpha)

    def _shown(self) -> Sequence[str]:
        return ("alpha", "scale")


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
        u = residual / self.scale
        return 0.5 * u * u  # not the square, whose derivative 2u overflows before u does

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
        return _pointwise(_pseudo_huber, _pseudo_huber_slopes, residual, _constant(self.delta, residual))

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
        return _pointwise(*_LMLS[self.power], residual, _constant(self.a, residual))

    def extra_repr(self) -> str:
        return f"a={self.a:g}, power={self.power}"


class LogCoshLoss(ResidualLoss):
    """s^2 log cosh(e/s), s > 0: e^2/2 near zero, s |e| far out; saturates like Huber's and does not redescend."""

    def __init__(self, scale: float = 1.0, reduction: str = "mean", nonfinite: str = "raise"):
        super().__init__(reduction, nonfinite)
        self.scale = _positive("scale", scale)

    def rho(self, residual: Tensor) -> Tensor:
        return _pointwise(_log_cosh, _log_cosh_slopes, residual, _constant(self.scale, residual))

    def extra_repr(self) -> str:
        return f"scale={self.scale:g}"
