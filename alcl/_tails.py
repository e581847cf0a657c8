"""Tail probabilities of the generalized t, with their derivatives.

With u = x / beta, v = |u|^alpha / (1 + |u|^alpha), a = 1/alpha and b = kappa - 1/alpha, the two-sided tail is a
regularised incomplete beta function (appendix A2, Theorem L7),

    P(|residual| > |x|) = I_{1-v}(b, a) = 1 - I_v(a, b),

and of I the continued fraction of Abramowitz and Stegun (26.5.8) is taken, on the side of v = (a + 1) / (kappa + 2) on
which it converges fast. Its derivatives in a and b, which have no closed form, follow from the recurrence of the
fraction term by term; those in x and beta from the density. Every operation is a torch operation, so that second
derivatives are autograd's. `log_survival` is for tensors of any kind; `alcl._mixtures` calls `_log_survival` with one
alpha, beta and b as Python numbers, which costs a tenth.

Accuracy, measured in tests/test_tails.py against mpmath, relative to 1 + |value|: 1e-12 in float64; 1e-4
in float32 at kappa = 50 (a difference of log-gammas) and better below; for alpha in [1.001, 50] and kappa alpha at
least 1.004. The far tail costs no digits: its logarithm is what is worked out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import special
from torch import Tensor

from . import _kernels as kernels

Number = Tensor | float


def log_survival(x: Tensor, alpha: Tensor, beta: Tensor, b: Tensor) -> Tensor:
    """log P(residual > x), elementwise, for x of either sign; differentiable twice in all arguments.

    `b` is kappa - 1/alpha, positive. Value and derivatives are finite for every finite x.
    """
    if kernels._functions_fail():
        return _log_survival(x, alpha, beta, b, _steps(x.dtype, None), slopes=False)[0]
    return _LogSurvival.apply(x, alpha, beta, b)[0]


class _LogSurvival(torch.autograd.Function):
    """(log S, its derivatives in x, alpha, beta, b), elementwise; only the first is differentiable."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, alpha: Tensor, beta: Tensor, b: Tensor):
        return _log_survival(x, alpha, beta, b, _steps(x.dtype, _largest(alpha, b)))

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*inputs, *output[1:])

    @staticmethod
    def backward(ctx, grad: Tensor, *_):
        inputs, slopes = ctx.saved_tensors[:4], ctx.saved_tensors[4:]
        if torch.is_grad_enabled():  # a second derivative is wanted: the saved slopes are constants to autograd
            slopes = _log_survival(*inputs, _steps(inputs[0].dtype, _largest(inputs[1], inputs[3])))[1:]
        return tuple(
            (grad * slope).sum_to_size(x.shape) if need else None
            for slope, x, need in zip(slopes, inputs, ctx.needs_input_grad, strict=True)
        )


def _largest(alpha: Tensor, b: Tensor) -> float | None:
    """The largest kappa, where it can be seen; the fraction needs more terms for it."""
    if not kernels.numbers_can_be_read() or b.numel() == 0 or b.device.type != "cpu" or type(b) not in PLAIN:
        return None
    return (b + 1 / alpha).amax().item()


PLAIN = (Tensor, torch.nn.Parameter)


def _steps(dtype: torch.dtype, kappa: float | None) -> int:
    """Terms of the continued fraction after which it stands still, at the worst v; as tried out up to kappa = 5000."""
    base, growth, most = (26, 8.0, 92) if dtype == torch.float64 else (14, 3.5, 40)
    if kappa is None or not kappa < 1e4:
        return most
    return min(most, base + int(growth * math.sqrt(max(kappa - 1, 0.0))))


def _log_survival(x: Tensor, alpha: Number, beta: Number, b: Number, steps: int, slopes: bool = True):
    """log S, and its derivatives in x, alpha, beta and b. With alpha, beta and b as numbers, only the branch of the
    fraction that an element needs is worked out."""
    a = 1 / alpha
    kappa = a + b
    log_beta = math.log(beta) if isinstance(beta, float) else beta.log()
    log_u = x.abs().clamp(min=torch.finfo(x.dtype).tiny).log() - log_beta
    logit = alpha * log_u
    growth, log_v = kernels.softplus(logit), -kernels.softplus(-logit)
    far = log_v > _log((a + 1) / (kappa + 2))
    if isinstance(alpha, float):
        log_tail, of_logit, of_a, of_b = _by_branch(far, growth, log_v, a, b, steps)
    else:
        one = _outside(torch.where(far, (-growth).exp(), 0.0), growth, log_v, a, b, steps, slopes)
        other = _inside(torch.where(far, 0.0, log_v.exp()), growth, log_v, a, b, steps, slopes, far)
        log_tail, of_logit, of_a, of_b = (torch.where(far, *pair) for pair in zip(one, other, strict=True))
    below = x < 0
    half = torch.where(below, log_tail, -1.0).exp() / 2
    value = torch.where(below, torch.log1p(-half), log_tail - math.log(2.0))
    if not slopes:
        return (value,)
    share = torch.where(below, -half / (1 - half), 1.0)  # d value / d log_tail
    log_z = log_beta + math.log(2.0) + _log(a) + _lgamma(a) + _lgamma(b) - _lgamma(kappa)
    # x times the hazard q / S: from the fraction, which keeps its digits however far. Near 0, x would divide itself.
    of_log_beta = -alpha * share * of_logit
    near = torch.exp(-kappa * growth - log_z - value)
    hazard = torch.where(far, of_log_beta / torch.where(far, x, 1.0), near)
    of_alpha = share * (of_logit * log_u - a * a * of_a)
    return value, -hazard, of_alpha, of_log_beta / beta, share * of_b


def _by_branch(far: Tensor, growth: Tensor, log_v: Tensor, a: float, b: float, steps: int) -> Sequence[Tensor]:
    out = growth.new_empty(4, *growth.shape)
    for mask, outside in ((far, True), (~far, False)):
        at = places(mask)
        if len(at) == 0:
            continue
        g, v = (growth, log_v) if len(at) == len(far) else (x.index_select(0, at) for x in (growth, log_v))
        parts = _outside((-g).exp(), g, v, a, b, steps) if outside else _inside(v.exp(), g, v, a, b, steps)
        if len(at) == len(far):
            return parts
        for row, part in zip(out, parts, strict=True):
            row.index_copy_(0, at, part)
    return out


def _outside(w: Tensor, growth: Tensor, log_v: Tensor, a: Number, b: Number, steps: int, slopes: bool = True):
    """log I_w(b, a), w = 1 - v, and its derivatives in the logit of v, a and b. growth = -log w."""
    kappa = a + b
    k, k_b, k_a = _fraction(w, b, a, steps, slopes)
    value = a * log_v - b * growth + k.log() - (_lgamma(b + 1) + _lgamma(a) - _lgamma(kappa))
    of_a = log_v + k_a / k - (_digamma(a) - _digamma(kappa))
    of_b = k_b / k - growth - (_digamma(b + 1) - _digamma(kappa))
    return value, -b / k, of_a, of_b


def _inside(
    v: Tensor, growth: Tensor, log_v: Tensor, a: Number, b: Number, steps: int, slopes: bool = True, other=None
):
    """log(1 - I_v(a, b)) and its derivatives, likewise; `other`: elements that will not be asked for."""
    kappa = a + b
    k, k_a, k_b = _fraction(v, a, b, steps, slopes)
    log_i = a * log_v - b * growth + k.log() - (_lgamma(a + 1) + _lgamma(b) - _lgamma(kappa))
    if other is not None:
        log_i = torch.where(other, -1.0, log_i)
    i = log_i.exp()
    share = -i / (1 - i)
    of_a = share * (log_v + k_a / k - (_digamma(a + 1) - _digamma(kappa)))
    of_b = share * (k_b / k - growth - (_digamma(b) - _digamma(kappa)))
    return torch.log1p(-i), share * a / k, of_a, of_b


def _fraction(x: Tensor, p: Number, q: Number, steps: int, slopes: bool) -> tuple[Tensor, Tensor, Tensor]:
    """K of I_x(p, q) = x^p (1 - x)^q K / (p B(p, q)) = 1 / (1 + d_1 x / (1 + d_2 x / ...)), and its derivatives in p
    and q, for x below (p + 1) / (p + q + 2)."""
    if isinstance(p, float):
        return _fraction_in_place(x, p, q, steps, slopes)
    k, k_p, k_q = torch.ones_like(x), torch.zeros_like(x), torch.zeros_like(x)
    for j in range(steps, 0, -1):
        d, d_p, d_q = _coefficient(j, p, q)
        new = 1 / (1 + d * x * k)
        if slopes:
            scale = -x * new * new
            k_p, k_q = scale * (d_p * k + d * k_p), scale * (d_q * k + d * k_q)
        k = new
    return k, k_p, k_q


def _fraction_in_place(x: Tensor, p: float, q: float, steps: int, slopes: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The same at numbers p and q, where no derivative of it is wanted: half the operations, no memory but its own."""
    one, (k, new, scale, k_p, k_q) = x.new_ones(()), x.new_empty(5, *x.shape).unbind()
    k.fill_(1), k_p.zero_(), k_q.zero_()
    for j in range(steps, 0, -1):
        d, d_p, d_q = _coefficient(j, p, q)
        torch.add(one, torch.mul(x, k, out=new), alpha=d, out=new).reciprocal_()
        if slopes:
            torch.mul(new, new, out=scale).mul_(x)
            k_p.mul_(-d).add_(k, alpha=-d_p).mul_(scale)
            k_q.mul_(-d).add_(k, alpha=-d_q).mul_(scale)
        k, new = new, k
    return k, k_p, k_q


def _coefficient(j: int, p: Number, q: Number) -> tuple[Number, Number, Number]:
    """d_j of the fraction and its derivatives in p and q."""
    m = j // 2
    if j == 1:
        return -(p + q) / (p + 1), -(1 - q) / ((p + 1) * (p + 1)), -1 / (p + 1)
    if j % 2:
        c = (p + 2 * m) * (p + 2 * m + 1)
        d = -(p + m) * (p + q + m) / c
        return d, -(2 * p + q + 2 * m + d * (2 * p + 4 * m + 1)) / c, -(p + m) / c
    c = (p + 2 * m - 1) * (p + 2 * m)
    d = m * (q - m) / c
    return d, -d * (2 * p + 4 * m - 1) / c, m / c


def places(mask: Tensor) -> Tensor:
    """mask.nonzero() of a row on the CPU, in a sixth of the time."""
    return torch.from_numpy(np.flatnonzero(mask.numpy()))


def _log(x: Number) -> Number:
    return x.log() if isinstance(x, Tensor) else math.log(x)


def _lgamma(x: Number) -> Number:
    return torch.lgamma(x) if isinstance(x, Tensor) else math.lgamma(x)


def _digamma(x: Number) -> Number:
    return torch.digamma(x) if isinstance(x, Tensor) else float(special.digamma(x))
