"""The comparators with the one loss interface: Student-t, Barron's adaptive loss, generalized Cauchy, Gaussian with
learned scale, pseudo-Huber fixed and scheduled, the logarithmic-in-name losses LMLS and LLAD, and log-cosh.

Each is a `ResidualLoss`, so `alcl.influence` measures it as any other, and `alcl.catalogue.make_loss` makes it by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from . import _kernels as kernels
from .base import (
    AdaptiveLoss,
    ResidualLoss,
    _any,
    _brief,
    _check_learn,
    _check_parameter_shape,
    _in_numbers,
    _parameter,
    _placed,
    _positive,
)
from .distributions import log_normalizer
from .functional import _arguments, _at_least_float32, log_correntropy

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


# --- Barron's general loss --------------------------------------------------------------------------------------------


def barron_rho(residual: Tensor, alpha, scale) -> Tensor:
    """Barron's general loss (CVPR 2019, eqs. 1 and 8), elementwise, for every real alpha and +-inf.

    rho = (b / alpha) [((e / scale)^2 / b + 1)^(alpha / 2) - 1] with b = |alpha - 2|, and its limits: with x = e / scale
    x^2 / 2 at alpha = 2, sqrt(x^2 + 1) - 1 at 1 (Charbonnier, pseudo-Huber), log(x^2 / 2 + 1) at 0 (Cauchy),
    2 x^2 / (x^2 + 4) at -2 (Geman-McClure), 1 - exp(-x^2 / 2) at -inf (Welsch), exp(x^2 / 2) - 1 at +inf. It does not
    decrease in alpha; bounded for alpha < 0, by -b / alpha.

    Args:
        residual: residuals e, any shape, float32 or float64 (half precisions and integers are computed in float32).
        alpha: shape, a number or a tensor that broadcasts against `residual`.
        scale: c > 0 in the units of the residual, likewise.

    Returns:
        rho >= 0 with the broadcast shape, and derivatives in all three, right through the limits: infinite only where
        the truth is beyond the largest number of the dtype. One is infinite itself: that in alpha at alpha = 2, which
        grows like -log b there; it is given at the distance of one rounding. Differentiable twice.

    >>> barron_rho(torch.tensor([0.0, 1.0, 10.0]), alpha=1.0, scale=1.0)
    tensor([0.0000, 0.4142, 9.0499])
    """
    residual, alpha, scale, _ = _arguments(residual, alpha, scale, 1.0)
    return _pointwise(_barron, _barron_slopes, residual, alpha, scale)


def barron_log_partition(alpha: Tensor) -> Tensor:
    """log of the integral of exp(-barron_rho(x, alpha, 1)) over the line, alpha >= 0, to 5e-9 in float64.

    The integral is sqrt(2 pi) at alpha = 2 and sqrt(2) pi at 0; it diverges for alpha < 0, where the loss is bounded:
    there the value is inf. The substitution x = sinh(t) turns the tails (a Cauchy's at alpha = 0) into exponential
    ones, where the trapezoidal rule converges geometrically. No table, no spline, differentiable in alpha.

    >>> barron_log_partition(torch.tensor([0.0, 2.0, -1.0])).exp()
    tensor([4.4429, 2.5066,    inf])
    """
    # The step: tails end sooner, and the integrand turns faster, the larger alpha is. It is even: twice one half.
    step = torch.where(alpha < 1, 0.1, torch.where(alpha < 2, 0.015, 0.0075)).to(alpha.dtype)[..., None]
    k = torch.arange(401, dtype=alpha.dtype, device=alpha.device)
    t, weight = step * k, step * torch.where(k == 0, 1, 2)
    log_integrand = (weight * t.cosh()).log() - barron_rho(t.sinh(), torch.where(alpha < 0, 0, alpha)[..., None], 1.0)
    return torch.where(alpha < 0, torch.inf, torch.logsumexp(log_integrand, -1))


def _barron_terms(e: Tensor, alpha: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
    """alpha, b, v = x / sqrt(b), log(1 + v^2), and where e is so far out that v is held but the logarithm is not."""
    eps = torch.finfo(e.dtype).eps
    alpha = alpha.clamp(-(eps**-2), eps**-2)  # beyond which nothing differs from the limit at infinity
    b = (alpha - 2).abs().clamp(min=eps)  # at alpha = 2 the value does not depend on b
    width = scale * b.sqrt()
    v = e / width
    far = v.abs() > 1 / eps
    v = v.clamp(-1 / eps, 1 / eps)
    log1p = _where(far, lambda: 2 * (torch.where(far, e, 1).abs().log() - width.log()), v.square().log1p())
    return alpha, b, v, log1p, far


def _where(condition: Tensor, rare: Callable[[], Tensor], usual: Tensor) -> Tensor:
    """torch.where, which on a CPU works out what is rare only if there is any."""
    readable = type(condition) is Tensor and condition.device.type == "cpu" and kernels.numbers_can_be_read()
    if readable and not condition.any():
        return usual
    return torch.where(condition, rare(), usual)


def _barron(e: Tensor, alpha: Tensor, scale: Tensor) -> Tensor:
    alpha, b, v, log1p, _ = _barron_terms(e, alpha, scale)
    info = torch.finfo(e.dtype)
    divisor = torch.where(alpha.abs() < info.tiny**0.5, info.tiny**0.5, alpha)  # at 0 as in the limit
    r = (0.25 * divisor * log1p).expm1()
    general = (b / divisor * r) * (r + 2)  # r (r + 2) = e^y - 1, in two factors that overflow only where rho does
    quadratic = (alpha == 2) | (b * v.square() < info.eps)
    return _where(quadratic, lambda: 0.5 * (e / scale) * (e / scale), general)


def _barron_slopes(needed, e: Tensor, alpha: Tensor, scale: Tensor):
    limit = alpha.isinf()
    alpha, b, v, log1p, far = _barron_terms(e, alpha, scale)
    y = 0.5 * alpha * log1p
    root = (0.5 * y).exp().clamp(max=torch.finfo(e.dtype).max)
    d_residual = d_alpha = d_scale = None
    # e d rho / d e = x^2 (1 + x^2 / b)^(alpha / 2 - 1), and far out b e^y, in factors that overflow only where it does
    x, bend = b.sqrt() * v, root / (1 + v.square()) * root

    def far_out(divisor: Tensor | float) -> Tensor:
        quarter = (0.25 * torch.where(far, y, 0)).exp()
        return b * quarter * quarter / divisor * quarter * quarter

    if needed[0]:
        d_residual = _where(far, lambda: far_out(torch.where(far, e, 1)), x / scale * bend)
    if needed[2]:
        d_scale = -_where(far, lambda: far_out(1.0), x * x * bend) / scale
    if needed[1]:
        d_alpha = _where(limit, lambda: torch.zeros_like(y), _barron_slope_in_alpha(b, v, log1p, y, root))
    return d_residual, d_alpha, d_scale


def _barron_slope_in_alpha(b: Tensor, v: Tensor, log1p: Tensor, y: Tensor, root: Tensor) -> Tensor:
    """d rho / d alpha = (b / 4) integral of e^(alpha l / 2) (l - 1 + e^-l) over l from 0 to L = log(1 + v^2).

    (d/d alpha of the derivative in e, integrated back.) With y = alpha L / 2 and E(y) = (e^y - 1) / y, the integral is
    L [L E'(y) - E(y) + E(y - L)]. So that no term overflows or cancels, all are divided by e^max(y, 0). root: e^(y/2).
    """
    above = root.clamp(min=1)
    decay, rise = above**-2, (root / above).square()  # e^-max(y, 0) and e^min(y, 0)
    # E' = sum y^k / (k! (k + 2)) near 0, and (e^y - E) / y away from it
    near = y.clamp(-0.5, 0.5)
    series = torch.zeros_like(y)
    for k in range(13 if y.dtype == torch.float64 else 7, -1, -1):
        series = series * near + 1 / (math.factorial(k) * (k + 2))
    size = y.abs().clamp(min=0.5)
    mean = (1 - decay * rise) / size
    slope = (rise - mean) * y / size.square()
    # torch.where, which takes ten times as long where it cannot be foreseen
    slope = torch.lerp(slope, series * decay, (y.abs() < 0.5).to(y.dtype))
    mean = rise - y * slope
    length = 0.5 * b * log1p  # |y - L|
    bracket = length * (log1p * slope - mean) - torch.maximum(decay, 1 / (1 + v.square())) * (-length).expm1()
    return 0.5 * above * bracket.clamp(min=0) * above


# --- likelihoods ------------------------------------------------------------------------------------------------------


class _Likelihood(AdaptiveLoss):
    """A negative log-likelihood with positive parameters, each learned above its floor (`<name>_min`) or fixed."""

    scale_min: float

    def _set(
        self,
        values: Mapping[str, float | Tensor],
        floors: Mapping[str, float],
        learn: Sequence[str],
        parameter_shape: Sequence[int],
    ) -> None:
        self.parameter_shape = _check_parameter_shape(parameter_shape)
        for name, value in values.items():
            value, floor = _parameter(name, value, self.parameter_shape), _positive(f"{name}_min", floors[name])
            if name in learn and bool((value <= floor).any()):
                raise ValueError(f"{name} must exceed {name}_min={floor:g} when it is learned; got {_brief(value)}")
            setattr(self, f"{name}_min", floor)
            self._store(name, value, floor if name in learn else None)

    @property
    def scale(self) -> Tensor:
        """Current scale in the units of the residual, `parameter_shape`."""
        return self._value("scale", self.scale_min)


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

    def _shown(self) -> Sequence[str]:
        return ("dof", "scale")


class BarronLoss(_Likelihood):
    """Barron's adaptive negative log-likelihood (CVPR 2019, section 3): rho + log scale + log partition(alpha).

    A learned alpha is 0.001 + 1.998 sigmoid(raw), the published range. A fixed one is any number, or +-inf: 2 is the
    Gaussian, 1 Charbonnier (pseudo-Huber), 0 Cauchy, -2 Geman-McClure, -inf Welsch (see `barron_rho`). The influence
    redescends only for alpha < 1. For alpha < 0 the loss is bounded, no density belongs to it, and the normaliser is
    left out: the plain loss, whose scale cannot be learned, because it would grow without bound.

    Args:
        alpha: initial or fixed shape.
        scale: initial or fixed scale, in the units of the residual; above scale_min where learned.
        learn: which of "alpha", "scale" are learned. A fixed alpha outside the published range needs `learn="scale"`
            or `learn=()`.
        scale_min: floor of a learned scale.
        reduction, nonfinite: as for every `ResidualLoss`.
        parameter_shape: as for `ALCLoss`. The partition function is computed by quadrature with 401 nodes for every
            alpha (`barron_log_partition`, instead of the published spline), which a shape per pixel will notice.

    Raises:
        ValueError: naming the argument and its legal values.

    >>> BarronLoss(alpha=-2.0, learn=())(torch.tensor([1.0]), torch.zeros(1))  # Geman-McClure: 2 / (1 + 4)
    tensor(0.4000)
    """

    def __init__(
        self,
        alpha: float | Tensor = 1.0,
        scale: float | Tensor = 1.0,
        learn: Iterable[str] = ("alpha", "scale"),
        scale_min: float = 1e-3,
        reduction: str = "mean",
        nonfinite: str = "raise",
        parameter_shape: Sequence[int] = (),
    ):
        super().__init__(reduction, nonfinite)
        learn = _check_learn(learn, ("alpha", "scale"))
        alpha = _parameter("alpha", alpha, _check_parameter_shape(parameter_shape), any_number=True)
        if "alpha" in learn and _any((alpha <= 0.001) | (alpha >= 1.999)):
            raise ValueError(f"alpha must lie in (0.001, 1.999) when it is learned; got {_brief(alpha)}")
        bounded = alpha < 0
        if "scale" in learn and _any(bounded):
            raise ValueError(
                "scale cannot be learned where alpha < 0: the loss is bounded there, its density has no normaliser, "
                f"and the scale would grow without bound; fix it with learn=(), or take alpha >= 0; got {_brief(alpha)}"
            )
        self.bounded, self.normalized = _any(bounded), not _any(bounded)
        if "alpha" in learn:
            self.raw_alpha = nn.Parameter(_placed(torch.logit((alpha - 0.001) / 1.998)))
        else:
            self.register_buffer("fixed_alpha", _placed(alpha))
        self._set({"scale": scale}, {"scale": scale_min}, learn, parameter_shape)

    @property
    def alpha(self) -> Tensor:
        """Current shape, `parameter_shape`; in (0.001, 1.999) where learned."""
        raw = self._parameters.get("raw_alpha")
        if raw is None:
            return _at_least_float32(self._buffers["fixed_alpha"])
        return 0.001 + 1.998 * torch.sigmoid(_at_least_float32(raw))

    def rho(self, residual: Tensor) -> Tensor:
        self._check_shape(residual)
        return barron_rho(residual, self.alpha, self.scale)

    def log_normalizer(self) -> Tensor | None:
        return self.scale.log() + barron_log_partition(self.alpha) if self.normalized else None

    def _shown(self) -> Sequence[str]:
        return ("alpha", "scale")


class GaussianNLLLoss(_Likelihood):
    """Gaussian negative log-likelihood e^2/(2 s^2) + log s + log(2 pi)/2 with a learned scale s > scale_min.

    The "scale only" control (homoscedastic; Kendall and Gal, NeurIPS 2017): whatever an adaptive loss gains over it, it
    does not owe to a learned scale. Its influence e/s^2 is unbounded. `parameter_shape` as for `ALCLoss`.

    >>> criterion = GaussianNLLLoss(scale=2.0)
    >>> round(criterion(torch.tensor([2.0]), torch.zeros(1)).item(), 4)
    2.1121
    """

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

    def _shown(self):
        return ("scale",)


class GeneralizedCauchyLoss(_Likelihood):
    """Generalized Cauchy negative log-likelihood (Carrillo, Aysal, Barner 2010): ALCL's density with kappa = 2 / alpha.

    rho = (2/alpha) log(1 + |e/s|^alpha), tails like |e|^-2 whatever the shape alpha is; alpha = 2 is Cauchy. So shape
    and tail weight are tied where ALCL ties kappa to 1. alpha > alpha_min and s > scale_min where learned;
    `parameter_shape` as for `ALCLoss`.

    >>> criterion = GeneralizedCauchyLoss(alpha=2.0)
    >>> criterion.rho(torch.tensor([1.0]))  # log 2, as Cauchy's
    tensor([0.6931], grad_fn=<EachBackward>)
    """

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

    def _shown(self):
        return ("alpha", "scale")


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
        return _pointwise(_pseudo_huber, _pseudo_huber_slopes, residual, _constant(self.delta, residual))

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
        return _pointwise(*_LMLS[self.power], residual, _constant(self.a, residual))

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
        return _pointwise(_log_cosh, _log_cosh_slopes, residual, _constant(self.scale, residual))

    def extra_repr(self) -> str:
        return f"scale={self.scale:g}"
