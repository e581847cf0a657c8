"""The generalized t density in plain functions: normaliser, logarithm, distribution function, quantiles.

`alcl.distributions` is the face of it. Work is done in ``log|e| - log(beta)``, so no power of a residual is ever formed
and nothing overflows.
"""

from __future__ import annotations

import math
from fractions import Fraction
from numbers import Number

import numpy as np
import torch
from scipy import special
from torch import Tensor
from torch.nn import functional

from ._tails import _largest, _log_survival, _steps


def tail_index_of(alpha: Tensor, kappa: Tensor | float) -> Tensor:
    """``kappa * alpha - 1`` to full relative accuracy, however close to zero.

    The product is rounded before 1 is subtracted, so near ``kappa * alpha = 1`` the naive expression has no
    correct digit. Dekker's exact product recovers what the rounding dropped. The correction is a constant to
    autograd: the derivative of the exact product is already that of ``kappa * alpha``.
    """
    if isinstance(kappa, Number):
        if kappa == 1:
            return alpha - 1  # the paper's loss: exact, and no further work
        kappa = torch.as_tensor(kappa, dtype=alpha.dtype, device=alpha.device)
    product = kappa * alpha
    digits = round(1 - math.log2(torch.finfo(product.dtype).eps))
    splitter = 2.0 ** ((digits + 1) // 2) + 1
    with torch.no_grad():
        k, a = kappa.detach().to(product.dtype), alpha.detach().to(product.dtype)
        k_high = k * splitter - (k * splitter - k)
        a_high = a * splitter - (a * splitter - a)
        k_low, a_low = k - k_high, a - a_high
        dropped = ((k_high * a_high - product.detach()) + k_high * a_low + k_low * a_high) + k_low * a_low
    return (product - 1) + dropped


def log_normalizer(
    alpha: Tensor | float, beta: Tensor | float, kappa: Tensor | float = 1.0, tail_index: Tensor | None = None
) -> Tensor:
    """``log Z``, the logarithm of the integral of ``(1 + |e/beta|^alpha)^(-kappa)`` over the real line.

    ``log Z = log(2 beta / alpha) + log B(1/alpha, kappa - 1/alpha)`` (notebook 01, Theorem L3); for
    ``kappa = 1`` it is ``log(2 pi beta / (alpha sin(pi/alpha)))``. It grows without bound as
    ``kappa * alpha`` falls to 1, where the integral diverges; at and below 1 the value is ``+inf``.

    Args:
        alpha: shape, ``alpha > 0``.
        beta: scale in the units of the residual, ``beta > 0``.
        kappa: tail weight, ``kappa > 1/alpha``; a plain ``1.0`` takes the cheapest path.
        tail_index: ``kappa * alpha - 1``, from whoever knows it to more digits than the product has.

    Returns:
        Tensor of the broadcast shape. Twice differentiable in all three arguments; made of elementwise
        torch operations only, so that ``torch.compile(fullgraph=True)`` and ``torch.func.vmap`` take it.
        For that reason values are not checked here: ``GeneralizedT`` and ``ALCLoss`` check theirs.

    In float64 ``Z`` is good to 1e-10 for alpha in (1, 20], beta in [1e-4, 1e4], kappa in (1/alpha, 50]. In
    float32 the difference of log-gammas costs about ``1e-7 * kappa * log(kappa)``.

    >>> log_normalizer(2.0, 1.0).exp()  # Cauchy: pi
    tensor(3.1416)
    """
    tensors = [x for x in (alpha, beta, kappa) if isinstance(x, Tensor)]
    reference = tensors[0] if tensors else torch.empty(())
    alpha, beta = (
        x if isinstance(x, Tensor) else torch.as_tensor(x, dtype=reference.dtype, device=reference.device)
        for x in (alpha, beta)
    )
    b = (tail_index_of(alpha, kappa) if tail_index is None else tail_index) / alpha
    a = 1 / alpha
    value = torch.log(2 * beta * a)
    if isinstance(kappa, Number) and kappa == 1:  # a + b = 1, so that B(a, b) = pi / sin(pi a) = pi / sin(pi b)
        sine = torch.sin(math.pi * torch.where(b < a, b, a))
        return value + torch.where(b > 0, math.log(math.pi) - sine.log(), torch.inf)
    value = value + torch.lgamma(a) + torch.where(b > 0, torch.lgamma(b), torch.inf)
    return value - (math.lgamma(kappa) if isinstance(kappa, Number) else torch.lgamma(kappa))


def log_normalizer_in_numbers(
    alpha: float, beta: float, kappa: float = 1.0
) -> tuple[float, tuple[float, float, float]]:
    """``log Z`` and its derivatives in alpha, beta, kappa, of plain numbers in double precision; see `log_normalizer`.

    The derivatives are digamma functions: of B(1/alpha, kappa - 1/alpha) in its two arguments.
    """
    tail_index = kappa * alpha - 1
    if tail_index < 1e-3:  # the product was rounded before 1 was taken from it
        tail_index = float(Fraction(kappa) * Fraction(alpha) - 1)
    a, b = 1 / alpha, tail_index / alpha
    log_z = math.log(2 * beta / alpha) + math.lgamma(a) + math.lgamma(b) - math.lgamma(kappa)
    tail = float(special.digamma(b))
    return log_z, (-a + a * a * (tail - float(special.digamma(a))), 1 / beta, tail - float(special.digamma(kappa)))


def log_ratio(e: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """``log|e/beta|`` and the mask of residuals to be treated as zero (there the logarithm is replaced by 0).

    Subnormal residuals count as zero: their reciprocal overflows in the backward pass.
    """
    zero = e.abs() < torch.finfo(e.dtype).tiny
    return torch.where(zero, torch.ones_like(e), e.abs()).log() - beta.log(), zero


def log_density(value: Tensor, alpha: Tensor, beta: Tensor, kappa: Tensor | float) -> Tensor:
    """``log p`` of residuals; finite for every finite residual, with gradient 0 at ``e = 0``."""
    log_u, zero = log_ratio(value, beta)
    # threshold: torch's default of 20 drops exp(-20) = 2e-9, which float64 can see
    growth = functional.softplus(alpha * log_u, threshold=40)
    growth = torch.where(zero, torch.zeros_like(growth), growth)
    return -kappa * growth - log_normalizer(alpha, beta, kappa)


# Below this log(w), I_w(p, q) = w^p / (p B(p, q)) to machine precision, and w itself may underflow.
_SMALL = -50.0


def _log_small_constant(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return np.log(p) + special.betaln(p, q)


def _regularized_beta(log_w: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """``I_w(p, q)`` from ``log(w)``."""
    series = np.exp(np.minimum(p * log_w - _log_small_constant(p, q), 0.0))
    return np.where(log_w < _SMALL, series, special.betainc(p, q, np.exp(log_w)))


def _log_inverse_beta(probability: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """``log(w)`` such that ``I_w(p, q) = probability``."""
    with np.errstate(all="ignore"):  # 0, 1 and underflow all have their limits below
        series = (np.log(probability) + _log_small_constant(p, q)) / p
        w = special.betaincinv(p, q, probability)
        # one Newton step: betaincinv alone is good to about 1e-8
        slope = np.exp(p * np.log(w) + (q - 1) * np.log1p(-w) - special.betaln(p, q))
        step = (special.betainc(p, q, w) - probability) / slope
        log_w = np.log(w) - np.where(np.abs(step) < 1e-3, step, 0.0)
        return np.where(series < _SMALL, series, log_w)


def _as_float64(*tensors: Tensor) -> list[np.ndarray]:
    return [x.detach().to("cpu", torch.float64).numpy() for x in torch.broadcast_tensors(*tensors)]


def _beta_parameters_float64(alpha: Tensor, kappa: Tensor) -> tuple[np.ndarray, np.ndarray]:
    alpha, kappa = (x.detach().to("cpu", torch.float64) for x in (alpha, kappa))
    return (1 / alpha).numpy(), (tail_index_of(alpha, kappa) / alpha).numpy()


def _cdf_slopes(value: Tensor, alpha: Tensor, beta: Tensor, kappa: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of the distribution function in alpha and kappa: those of the tail, in float64, broadcast."""
    x, a, s, k = torch.broadcast_tensors(*(x.to("cpu", torch.float64) for x in (value, alpha, beta, kappa)))
    b = tail_index_of(a, k) / a
    log_f, _, of_alpha, _, of_b = _log_survival(-x, a, s, b, _steps(x.dtype, _largest(a, b)))  # F(e) = P(residual > -e)
    f = log_f.exp()
    return tuple(slope.to(value.device, value.dtype) for slope in (f * (of_alpha + of_b / a.square()), f * of_b))


class Cdf(torch.autograd.Function):
    """The regularized incomplete beta function, with the density as its derivative."""

    @staticmethod
    def forward(ctx, value, alpha, beta, kappa):
        ctx.save_for_backward(value, alpha, beta, kappa)
        value_, alpha_, beta_, kappa_ = torch.broadcast_tensors(value, alpha, beta, kappa)
        e, scale = _as_float64(value_, beta_)
        a, b = _beta_parameters_float64(alpha_, kappa_)
        with np.errstate(divide="ignore"):
            logit = (np.log(np.abs(e)) - np.log(scale)) / a
        # from v and from 1 - v, both by their logarithms; the first loses the tail, the second the centre
        inner = _regularized_beta(-np.logaddexp(0, -logit), a, b)
        outer = _regularized_beta(-np.logaddexp(0, logit), b, a)
        lower = np.where((inner < 0.9) & (logit < 0), 0.5 - 0.5 * inner, 0.5 * outer)
        result = np.where(e < 0, lower, 1 - lower)
        return torch.as_tensor(result).to(device=value_.device, dtype=torch.result_type(value, alpha))

    @staticmethod
    def backward(ctx, grad):
        value, alpha, beta, kappa = ctx.saved_tensors
        flow = grad * log_density(value, alpha, beta, kappa).exp()
        to_alpha = to_kappa = None
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[3]:
            of_alpha, of_kappa = _cdf_slopes(value, alpha, beta, kappa)
            to_alpha, to_kappa = (grad * of_alpha).sum_to_size(alpha.shape), (grad * of_kappa).sum_to_size(kappa.shape)
        return flow.sum_to_size(value.shape), to_alpha, (-flow * value / beta).sum_to_size(beta.shape), to_kappa


class Quantile(torch.autograd.Function):
    """Inverse of ``Cdf``; the reciprocal density as its derivative."""

    @staticmethod
    def forward(ctx, value, alpha, beta, kappa):
        value_, alpha_, beta_, kappa_ = torch.broadcast_tensors(value, alpha, beta, kappa)
        probability, scale = _as_float64(value_, beta_)
        a, b = _beta_parameters_float64(alpha_, kappa_)
        central = np.abs(2 * probability - 1)
        tail = 2 * np.minimum(probability, 1 - probability)
        with np.errstate(divide="ignore", over="ignore"):
            log_v, log_w = _log_inverse_beta(central, a, b), _log_inverse_beta(tail, b, a)
            inner, outer = log_v - np.log1p(-np.exp(log_v)), np.log1p(-np.exp(log_w)) - log_w
            # The first is ill-conditioned where v is near 1, the second where v is small; far in the tail
            # only the second still sees the probability.
            log_odds = np.where((central < 0.9) & (log_v < np.log(0.5)), inner, outer)
            result = np.sign(probability - 0.5) * np.exp(np.log(scale) + a * log_odds)
        result = torch.as_tensor(result).to(device=value_.device, dtype=torch.result_type(value, alpha))
        ctx.save_for_backward(result, value, alpha, beta, kappa)
        return result

    @staticmethod
    def backward(ctx, grad):
        result, value, alpha, beta, kappa = ctx.saved_tensors
        flow = grad / log_density(result, alpha, beta, kappa).exp()
        to_beta = (grad * result / beta).sum_to_size(beta.shape)
        to_alpha = to_kappa = None
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[3]:  # F(quantile) stays as it is
            of_alpha, of_kappa = _cdf_slopes(result, alpha, beta, kappa)
            to_alpha, to_kappa = (
                (-flow * of_alpha).sum_to_size(alpha.shape),
                (-flow * of_kappa).sum_to_size(kappa.shape),
            )
        return flow.sum_to_size(value.shape), to_alpha, to_beta, to_kappa
