"""Barron's general loss and its density (CVPR 2019): every shape, right through the limits, to full precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from . import _kernels as kernels
from ._pointwise import pointwise
from .base import _any, _brief, _check_learn, _check_parameter_shape, _Likelihood, _parameter, _placed
from .functional import _arguments, _at_least_float32

__all__ = ["BarronLoss", "barron_log_partition", "barron_rho"]


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

    _shown = ("alpha", "scale")

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
    return pointwise(_barron, _barron_slopes, residual, alpha, scale)


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
