"""Influence functions: what one residual can do to a fit, for ALCL in closed form and for every loss by one ruler.

psi = d rho / d e is the gradient that a residual sends into the network. Divided by a constant it is the influence
function of the location M-estimator (Hampel; notebook 02, Theorem I4): the effect of one observation on the estimate.
From it follow the bound on that effect (gross-error sensitivity), the weight a residual gets in iteratively reweighted
least squares, and the asymptotic efficiency, which is the price of the bound.

- `psi`, `weight`, `curvature`, `peak`: closed forms for rho(e) = kappa log(1 + |e/beta|^alpha).
- `Influence(loss)`: the same quantities, and those that depend on a distribution, for any `ResidualLoss`, by autograd
  and quadrature, so that all methods are measured with one ruler.

Everything here analyses; nothing trains. Computations run in float64 on the CPU.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy.optimize import brentq, minimize_scalar
from torch import Tensor
from torch.distributions import Distribution
from torch.nn import functional as F

from .base import ResidualLoss

# --- closed forms for ALCL ------------------------------------------------------------------------------------------
#
# With l = log|e/beta| and v = sigmoid(alpha l) = |u|^alpha / (1 + |u|^alpha), every quantity is a power of u times a
# polynomial in v; computed as exp(log v - k l), it neither overflows nor divides 0 by 0.


def psi(e: Tensor | float, alpha: Tensor | float, beta: Tensor | float, kappa: Tensor | float = 1.0) -> Tensor:
    """Derivative of the log-correntropy loss, psi(e) = kappa alpha sign(e) |e|^(alpha-1) / (beta^alpha + |e|^alpha).

    Bounded for alpha >= 1 (`peak`); falls like kappa alpha / |e| for every alpha (notebook 02, Theorems I1, I2).

    Args:
        e: residuals, any shape; a plain float is taken in float64.
        alpha, beta, kappa: shape, scale in the units of `e`, tail weight; all positive, broadcast against `e`.

    Returns:
        Tensor of the broadcast shape, in units of 1/e. At e = 0 it is 0: the value for alpha > 1, the middle of the
        jump for alpha = 1, a convention for alpha < 1, where psi is infinite on both sides.

    Raises:
        ValueError: a parameter that is not positive and finite.

    >>> psi(torch.tensor([-1.0, 0.0, 1.0, 100.0]), alpha=2.0, beta=1.0)
    tensor([-1.0000,  0.0000,  1.0000,  0.0200])
    """
    e, alpha, beta, kappa = _prepare(e, alpha, beta, kappa)
    logit, log_u, zero = _logit(e, alpha, beta)
    value = e.sign() * kappa * alpha / beta * torch.exp(F.logsigmoid(logit) - log_u)
    return torch.where(zero, torch.zeros_like(value), value)


def weight(e: Tensor | float, alpha: Tensor | float, beta: Tensor | float, kappa: Tensor | float = 1.0) -> Tensor:
    """psi(e) / e, the weight of a residual in iteratively reweighted least squares (Theorem I6).

    Non-increasing in |e| exactly for alpha <= 2. At e = 0 the limit: inf for alpha < 2, 2 kappa / beta^2 for alpha = 2,
    0 for alpha > 2. Arguments and errors as for `psi`.

    >>> weight(torch.tensor([0.0, 1.0, 3.0]), alpha=2.0, beta=1.0)
    tensor([2.0000, 1.0000, 0.2000])
    """
    e, alpha, beta, kappa = _prepare(e, alpha, beta, kappa)
    logit, log_u, zero = _logit(e, alpha, beta)
    value = kappa * alpha / beta.square() * torch.exp(F.logsigmoid(logit) - 2 * log_u)
    return torch.where(zero, _limit_at_zero(value, alpha, beta, kappa), value)


def curvature(e: Tensor | float, alpha: Tensor | float, beta: Tensor | float, kappa: Tensor | float = 1.0) -> Tensor:
    """psi'(e) = kappa alpha v (alpha (1 - v) - 1) / e^2: positive inside psi's peak, negative outside (Theorem I7).

    At e = 0 the limit of the difference quotient psi(e)/e: inf for alpha < 2 (psi rises vertically, or jumps),
    2 kappa / beta^2 for alpha = 2, 0 for alpha > 2. Arguments and errors as for `psi`.

    >>> curvature(torch.tensor([0.0, 1.0, 3.0]), alpha=2.0, beta=1.0)
    tensor([ 2.0000,  0.0000, -0.1600])
    """
    e, alpha, beta, kappa = _prepare(e, alpha, beta, kappa)
    logit, log_u, zero = _logit(e, alpha, beta)
    value = kappa * alpha / beta.square() * torch.exp(F.logsigmoid(logit) - 2 * log_u)
    value = value * (alpha * torch.sigmoid(-logit) - 1)
    return torch.where(zero, _limit_at_zero(value, alpha, beta, kappa), value)


def peak(alpha: Tensor | float, beta: Tensor | float, kappa: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
    """Where |psi| is largest, and its supremum there (Theorem I1).

    For alpha > 1 the location is beta (alpha - 1)^(1/alpha) and the value (kappa/beta) (alpha - 1)^((alpha - 1)/alpha).
    For alpha = 1 the supremum kappa/beta is the limit as e -> 0; for alpha < 1 it is inf, at 0.

    Returns:
        (location in the units of beta, value in their reciprocal), tensors of the broadcast shape.

    Raises:
        ValueError: a parameter that is not positive and finite.

    >>> location, value = peak(2.0, 0.5)
    >>> location.item(), value.item()
    (0.5, 2.0)
    """
    alpha, beta, kappa = torch.broadcast_tensors(*_prepare(None, alpha, beta, kappa)[1:])
    excess = (alpha - 1).clamp(min=0)
    location = beta * excess.pow(1 / alpha)
    value = kappa / beta * torch.exp(torch.xlogy(excess, excess) / alpha)
    return location, torch.where(alpha < 1, torch.inf, value)


# --- one ruler for every loss ---------------------------------------------------------------------------------------

# Residuals between which a loss is examined. Scales of losses and distributions between 1e-6 and 1e6 fit well inside.
_SMALLEST, _LARGEST = 1e-15, 1e15
# Exponents and relative heights that differ by less than these are called equal.
_EXPONENT_TOLERANCE, _HEIGHT_TOLERANCE = 1e-6, 1e-9


class Supremum(NamedTuple):
    """Supremum of |psi| and the smallest |e| where it is reached: 0 or inf where it is only a limit, or is infinite.

    >>> Supremum(location=1.0, value=1.0).value
    1.0
    """

    value: float
    location: float


class _Moments(NamedTuple):
    """E[psi score] = E psi', E[psi^2] and E[score^2] under one distribution: all that asymptotics needs."""

    slope: float
    square: float
    information: float

    @property
    def positive_slope(self) -> float:
        return self.slope if self.slope > 0 else math.nan

    @property
    def variance(self) -> float:
        return self.square / self.positive_slope**2

    @property
    def efficiency(self) -> float:
        return 1 / (self.variance * self.information)


class Influence:
    """Robustness quantities of one loss, through autograd of its `rho` and quadrature.

    The loss is copied in float64 with its parameters as they are now; later training does not change this object.
    rho must be even, and a function of the residual alone (one value for each parameter).

    What is a limit (behaviour at 0 and at infinity) is decided numerically at |e| = 1e-15 and 1e15; the answers are
    right for losses whose scale lies between about 1e-6 and 1e6 and which behave there like a power, a constant, or
    something that vanishes faster than any power. That covers every loss of this library: tests/test_influence.py
    compares each with its closed form.

        Influence(ALCLoss(alpha=3.0)).supremum()

    Raises:
        TypeError: `loss` is no `ResidualLoss`.
        ValueError: its parameters are not scalars, or rho is not even.

    >>> from alcl import ALCLoss, L1Loss
    >>> found = Influence(ALCLoss(alpha=3.0))
    >>> round(found.supremum().value, 4), found.redescends()
    (1.5874, True)
    >>> round(Influence(L1Loss()).asymptotic_efficiency(torch.distributions.Normal(0.0, 1.0)), 4)
    0.6366
    """

    def __init__(self, loss: ResidualLoss):
        if not isinstance(loss, ResidualLoss):
            raise TypeError(f"loss must be a ResidualLoss, such as ALCLoss(); got {type(loss).__name__}")
        if any(p.numel() > 1 for p in (*loss.parameters(), *loss.buffers())):
            raise ValueError("loss must have scalar parameters (parameter_shape=()); analyse one element at a time")
        self.loss = copy.deepcopy(loss).to("cpu", torch.float64).requires_grad_(False)
        e = _grid(1)
        if not torch.allclose(self.loss.rho(e), self.loss.rho(-e), rtol=1e-9):
            raise ValueError(f"loss must be even, rho(e) = rho(-e); {type(loss).__name__} is not")
        self._exponent_at_zero = self._exponent(_SMALLEST, 10 * _SMALLEST)

    # -- pointwise -----------------------------------------------------------------------------------------

    def psi(self, e: Tensor) -> Tensor:
        """d rho / d e at residuals `e` of any shape, float64. Where rho has a kink: autograd's choice, 0 for L1."""
        with torch.enable_grad():
            e = e.detach().to("cpu", torch.float64).requires_grad_()
            return torch.autograd.grad(self.loss.rho(e).sum(), e)[0]

    def curvature(self, e: Tensor) -> Tensor:
        """psi'(e), float64, at residuals of any shape other than kinks of psi."""
        with torch.enable_grad():
            e = e.detach().to("cpu", torch.float64).requires_grad_()
            (first,) = torch.autograd.grad(self.loss.rho(e).sum(), e, create_graph=True)
            (second,) = torch.autograd.grad(first.sum(), e, allow_unused=True)
            return torch.zeros_like(e).detach() if second is None else second.detach()

    def weight(self, e: Tensor) -> Tensor:
        """psi(e) / e, the IRLS weight, float64; at e = 0 its limit, inf where psi is steeper than linear there."""
        e = e.detach().to("cpu", torch.float64)
        away = e.abs().clamp(min=_SMALLEST)
        value = self.psi(away) / away
        if self._exponent_at_zero < 1 - _EXPONENT_TOLERANCE:
            value = torch.where(e == 0, torch.inf, value)
        return value

    # -- shape of psi --------------------------------------------------------------------------------------

    def tail_exponent(self) -> float:
        """p such that |psi(e)| behaves like |e|^p as |e| -> inf: 1 for MSE, 0 for L1 and Huber, -1 for ALCL.

        -inf where psi falls faster than |e|^-20, as the exponential decay of generalized correntropy does.
        Measured as the log-log slope over the decade below |e| = 1e15.
        """
        return self._exponent(_LARGEST / 10, _LARGEST)

    def _exponent(self, near: float, far: float) -> float:
        first, second = self.psi(torch.tensor([near, far], dtype=torch.float64)).abs().tolist()
        if second == 0.0:
            return -math.inf
        return math.inf if first == 0.0 else math.log(second / first) / math.log(far / near) + 0.0  # no -0.0

    def redescends(self) -> bool:
        """Whether psi tends to 0 as |e| -> inf."""
        return self.tail_exponent() < -_EXPONENT_TOLERANCE

    def supremum(self) -> Supremum:
        """sup |psi| and where it is reached: (inf, inf) if psi grows without bound, (inf, 0) if it is singular at 0.

        Where psi rises to a level and stays (Huber) or only tends to it (Charbonnier, Barron with alpha = 1), the
        location is where |psi| first comes within 1e-9 of it.
        """
        if self.tail_exponent() > _EXPONENT_TOLERANCE:
            return Supremum(math.inf, math.inf)
        if self._exponent_at_zero < -_EXPONENT_TOLERANCE:
            return Supremum(math.inf, 0.0)
        e = _grid(100)
        height = self.psi(e).abs()
        top = float(height.max())
        if height[-1] >= (1 - _HEIGHT_TOLERANCE) * top:
            return Supremum(top, self._crossing(e, height >= (1 - _HEIGHT_TOLERANCE) * top, top))
        return Supremum(*_refined_maximum(lambda x: self.psi(x).abs(), e, height))

    def _crossing(self, e: Tensor, reached: Tensor, top: float) -> float:
        """Smallest |e| at which |psi| reaches (1 - 1e-9) top, given that it does so on the grid; 0 if at once."""
        index = int(reached.int().argmax())
        if index == 0:
            return 0.0
        return self._solve(float(e[index - 1]), float(e[index]), (1 - _HEIGHT_TOLERANCE) * top)

    def _solve(self, low: float, high: float, level: float) -> float:
        """|e| in [low, high] at which |psi| = level."""

        def difference(log_e: float) -> float:
            return float(self.psi(torch.tensor(math.exp(log_e), dtype=torch.float64)).abs()) - level

        return math.exp(brentq(difference, math.log(low), math.log(high), xtol=1e-12))

    def rejection_point(self, fraction: float = 0.0) -> float:
        """|e| beyond which |psi| stays at or below `fraction` of its supremum; inf if there is no such point.

        With `fraction = 0` it is Hampel's rejection point, beyond which psi is exactly zero: finite only for psi of
        compact support (Tukey's biweight). A psi that merely underflows in float64, such as GCL's, is told from that
        by its height just inside, and gets inf. `fraction = 0.01` gives an effective rejection point; beyond
        |e| = 1e15 it is extrapolated by the power law of the tail.

        Raises:
            ValueError: `fraction` outside [0, 1).
        """
        if not 0 <= fraction < 1:
            raise ValueError(f"fraction must lie in [0, 1); got {fraction}")
        supremum = self.supremum()
        if not self.redescends() or math.isinf(supremum.value):
            return math.inf
        e = _grid(100)
        height = self.psi(e).abs()
        last = int((height > fraction * supremum.value).nonzero().max())
        if fraction == 0:
            return self._end_of_support(e, last, supremum.value)
        if last < len(e) - 1:
            return self._solve(float(e[last]), float(e[last + 1]), fraction * supremum.value)
        log_ratio = math.log(float(height[-1]) / (fraction * supremum.value))
        return _LARGEST * math.exp(min(log_ratio / -self.tail_exponent(), 600.0))

    def _end_of_support(self, e: Tensor, last: int, top: float) -> float:
        if last == len(e) - 1:
            return math.inf
        low, high = float(e[last]), float(e[last + 1])
        while high - low > 1e-12 * high:
            middle = 0.5 * (low + high)
            if float(self.psi(torch.tensor(middle, dtype=torch.float64))) == 0.0:
                high = middle
            else:
                low = middle
        inside = float(self.psi(torch.tensor(high * (1 - 1e-9), dtype=torch.float64)).abs())
        # exp(-x) is about 1e-320 just before it underflows; (r - e)^k is 1e-9k there, for any sensible k far larger.
        return high if inside > 1e-200 * top else math.inf

    def lipschitz(self) -> float:
        """sup |psi'|, the Lipschitz constant of the gradient; inf where psi jumps or rises vertically at 0."""
        if self._exponent_at_zero < 1 - _EXPONENT_TOLERANCE or self.tail_exponent() > 1 + _EXPONENT_TOLERANCE:
            return math.inf
        e = _grid(100)
        return _refined_maximum(lambda x: self.curvature(x).abs(), e, self.curvature(e).abs())[0]

    # -- under a distribution of residuals -----------------------------------------------------------------

    def asymptotic_variance(self, distribution: Distribution) -> float:
        """E psi^2 / (E psi')^2: n times the variance of the location M-estimate of n residuals, as n -> inf.

        E psi' is computed as E[psi * score], score = -(log f)'. The two are equal by integration by parts, and the
        second also holds where psi jumps (L1). inf where E psi^2 diverges; nan where E psi' <= 0, so that the
        centre of the distribution is no minimum of the expected loss.

        Args:
            distribution: scalar, symmetric about 0, with a density that is differentiable but at 0; any of
                torch.distributions (Normal, Laplace, StudentT, `contaminated_normal`) or `GeneralizedT`.

        Raises:
            ValueError: the distribution is not scalar, or not symmetric about 0.
        """
        return self._moments(distribution).variance

    def asymptotic_efficiency(self, distribution: Distribution) -> float:
        """(E psi')^2 / (E psi^2 I), with I the Fisher information about location: 1 for the maximum likelihood score.

        In [0, 1] by Cauchy and Schwarz (Theorem I5). Argument, errors and nan as for `asymptotic_variance`.
        """
        return self._moments(distribution).efficiency

    def gross_error_sensitivity(self, distribution: Distribution) -> float:
        """sup |psi| / E psi', the largest influence a single observation can have; in the units of the residual.

        Argument, errors and nan as for `asymptotic_variance`.
        """
        return self.supremum().value / self._moments(distribution).positive_slope

    def _moments(self, distribution: Distribution) -> _Moments:
        e = _grid(1000)
        log_density, score = _log_density_and_score(distribution, e)
        density, psi = 2 * log_density.exp(), self.psi(e)
        products = (psi * score, psi.square(), score.square())
        return _Moments(*(_integral_over_log(e, e * density * g) for g in products))


# --- helpers --------------------------------------------------------------------------------------------------------


def _prepare(e, alpha, beta, kappa) -> tuple[Tensor, ...]:
    """Tensors of one floating dtype, parameters checked; plain numbers take the dtype of the tensors among them."""
    given = [x for x in (e, alpha, beta, kappa) if isinstance(x, Tensor)]
    dtype = torch.float64
    if given:
        dtype = given[0].dtype
        for x in given[1:]:
            dtype = torch.promote_types(dtype, x.dtype)
    if not dtype.is_floating_point:
        raise TypeError(f"e and the parameters must be floating point; got {dtype}")
    device = given[0].device if given else None
    tensors = [torch.as_tensor(0.0 if x is None else x, dtype=dtype, device=device) for x in (e, alpha, beta, kappa)]
    for name, value in zip(("alpha", "beta", "kappa"), tensors[1:], strict=True):
        if not bool((value.isfinite() & (value > 0)).all()):
            worst = value[~(value.isfinite() & (value > 0))].flatten()[0].item()
            raise ValueError(f"{name} must be positive and finite; got {worst:g}")
    return tuple(tensors)


def _logit(e: Tensor, alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """alpha l, l = log|e| - log beta, and the mask of e = 0 (where |e| is replaced by 1)."""
    zero = e == 0
    log_u = torch.where(zero, torch.ones_like(e), e).abs().log() - beta.log()
    return alpha * log_u, log_u, zero


def _limit_at_zero(like: Tensor, alpha: Tensor, beta: Tensor, kappa: Tensor) -> Tensor:
    """lim psi(e)/e as e -> 0."""
    limit = torch.where(alpha == 2, 2 * kappa / beta.square(), torch.zeros_like(like))
    return torch.where(alpha < 2, torch.inf, limit)


def _grid(points_per_decade: int) -> Tensor:
    """Residuals from 1e-15 to 1e15, evenly spaced in the logarithm."""
    decades = round(math.log10(_LARGEST / _SMALLEST))
    return torch.logspace(
        math.log10(_SMALLEST), math.log10(_LARGEST), decades * points_per_decade + 1, dtype=torch.float64
    )


def _refined_maximum(function: Callable[[Tensor], Tensor], e: Tensor, height: Tensor) -> tuple[float, float]:
    """Maximum of a function of e > 0 and its place, from its values on the grid; place 0 or inf at the grid's ends."""
    index = int(height.argmax())
    if index == 0 or index == len(e) - 1:
        return float(height[index]), 0.0 if index == 0 else math.inf
    found = minimize_scalar(
        lambda log_e: -float(function(torch.tensor(math.exp(log_e), dtype=torch.float64))),
        bounds=(math.log(float(e[index - 1])), math.log(float(e[index + 1]))),
        method="bounded",
        options={"xatol": 1e-10},
    )
    # On a plateau (Huber's curvature) the grid point is as good, and bounded search may step off its edge.
    if -found.fun >= float(height[index]):
        return -float(found.fun), math.exp(found.x)
    return float(height[index]), float(e[index])


def _log_density_and_score(distribution: Distribution, e: Tensor) -> tuple[Tensor, Tensor]:
    """log f and the location score -(log f)' at e > 0; ValueError unless f is scalar and symmetric about 0."""
    if distribution.batch_shape or distribution.event_shape:
        raise ValueError("distribution must be scalar: empty batch_shape and event_shape")
    with torch.enable_grad():
        e = e.detach().requires_grad_()
        log_density = distribution.log_prob(e)
        if not (log_density.requires_grad and bool(log_density.isfinite().all())):
            raise ValueError("distribution must have a density on the whole line; its support ends")
        (slope,) = torch.autograd.grad(log_density.sum(), e)
    probe = e.detach()[:: len(e) // 100]
    if not torch.allclose(distribution.log_prob(probe), distribution.log_prob(-probe), rtol=1e-6, atol=1e-9):
        raise ValueError("distribution must be symmetric about 0")
    return log_density.detach(), -slope


def _integral_over_log(e: Tensor, integrand: Tensor) -> float:
    """Integral of `integrand` over log e from 0 to infinity, for a function that behaves like a power at both ends.

    The trapezoidal rule converges geometrically on functions analytic in log e, and as the square of the spacing at a
    kink. The two ends are added as power laws; inf if one of them diverges.
    """
    spacing = math.log(float(e[1] / e[0]))
    total = float(integrand.sum() - 0.5 * (integrand[0] + integrand[-1])) * spacing
    decade = round(math.log(10) / spacing)
    for end, inner in ((0, decade), (-1, -1 - decade)):
        outermost, inside = float(integrand[end]), float(integrand[inner])
        if outermost == 0.0:
            continue
        fall = math.log(abs(inside / outermost)) / math.log(10) if inside != 0.0 else 0.0
        if fall <= 1e-3:
            return math.inf
        total += outermost / fall
    return total
