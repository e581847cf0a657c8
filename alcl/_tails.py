"""Tail probabilities of the generalized t, with their derivatives.

With u = x / beta, v = |u|^alpha / (1 + |u|^alpha), a = 1/alpha and b = kappa - 1/alpha, the two-sided tail is a
regularised incomplete beta function (appendix A2, Theorem L7),

    P(|residual| > |x|) = I_{1-v}(b, a) = 1 - I_v(a, b),

and of I the continued fraction of Abramowitz and Stegun (26.5.8) is taken, on the side of v = (a + 1) / (kappa + 2) on
which it converges fast. Its derivatives in a and b, which have no closed form, follow from the recurrence of the
fraction term by term; those in x and beta from the density. Every operation is a torch operation, so that second
derivatives are autograd's. `log_survival` is for tensors of any kind.

`in_numbers` is for a row of float32 or float64 and one alpha, beta and kappa as Python numbers, as in training, at a
tenth of the cost. There the fraction is a polynomial where that is enough: I_x(p, q) = x^p (1 - x)^q K / (p B(p, q))
with K = 2F1(p + q, 1; p + 1; x), whose power series (DLMF 8.17.8) is made as short as float32 allows on x <= 1/2.

Accuracy, measured in tests/test_tails.py against mpmath, relative to 1 + |value|: 1e-12 in float64; 1e-4
in float32 at kappa = 50 (a difference of log-gammas) and better below; for alpha in [1.001, 50] and kappa alpha at
least 1.004. The far tail costs no digits: its logarithm is what is worked out.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from scipy import special
from torch import Tensor

from . import _kernels as kernels

Number = Tensor | float
_LN2 = kernels._LN2


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


def _log_survival(x: Tensor, alpha: Tensor, beta: Tensor, b: Tensor, steps: int, slopes: bool = True):
    """log S, and its derivatives in x, alpha, beta and b."""
    a = 1 / alpha
    kappa = a + b
    log_beta = beta.log()
    log_u = x.abs().clamp(min=torch.finfo(x.dtype).tiny).log() - log_beta
    logit = alpha * log_u
    growth, log_v = kernels.softplus(logit), -kernels.softplus(-logit)
    far = log_v > ((a + 1) / (kappa + 2)).log()
    one = _outside(torch.where(far, (-growth).exp(), 0.0), growth, log_v, a, b, steps, slopes)
    other = _inside(torch.where(far, 0.0, log_v.exp()), growth, log_v, a, b, steps, slopes, far)
    log_tail, of_logit, of_a, of_b = (torch.where(far, *pair) for pair in zip(one, other, strict=True))
    below = x < 0
    half = torch.where(below, log_tail, -1.0).exp() / 2
    value = torch.where(below, torch.log1p(-half), log_tail - math.log(2.0))
    if not slopes:
        return (value,)
    share = torch.where(below, -half / (1 - half), 1.0)  # d value / d log_tail
    log_z = log_beta + math.log(2.0) + a.log() + torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(kappa)
    # x times the hazard q / S: from the fraction, which keeps its digits however far. Near 0, x would divide itself.
    of_log_beta = -alpha * share * of_logit
    near = torch.exp(-kappa * growth - log_z - value)
    hazard = torch.where(far, of_log_beta / torch.where(far, x, 1.0), near)
    of_alpha = share * (of_logit * log_u - a * a * of_a)
    return value, -hazard, of_alpha, of_log_beta / beta, share * of_b


def _outside(w: Tensor, growth: Tensor, log_v: Tensor, a: Tensor, b: Tensor, steps: int, slopes: bool = True):
    """log I_w(b, a), w = 1 - v, and its derivatives in the logit of v, a and b. growth = -log w."""
    kappa = a + b
    k, k_b, k_a = _fraction(w, b, a, steps, slopes)
    value = a * log_v - b * growth + k.log() - (torch.lgamma(b + 1) + torch.lgamma(a) - torch.lgamma(kappa))
    of_a = log_v + k_a / k - (torch.digamma(a) - torch.digamma(kappa))
    of_b = k_b / k - growth - (torch.digamma(b + 1) - torch.digamma(kappa))
    return value, -b / k, of_a, of_b


def _inside(
    v: Tensor, growth: Tensor, log_v: Tensor, a: Tensor, b: Tensor, steps: int, slopes: bool = True, other=None
):
    """log(1 - I_v(a, b)) and its derivatives, likewise; `other`: elements that will not be asked for."""
    kappa = a + b
    k, k_a, k_b = _fraction(v, a, b, steps, slopes)
    log_i = a * log_v - b * growth + k.log() - (torch.lgamma(a + 1) + torch.lgamma(b) - torch.lgamma(kappa))
    if other is not None:
        log_i = torch.where(other, -1.0, log_i)
    i = log_i.exp()
    share = -i / (1 - i)
    of_a = share * (log_v + k_a / k - (torch.digamma(a + 1) - torch.digamma(kappa)))
    of_b = share * (k_b / k - growth - (torch.digamma(b) - torch.digamma(kappa)))
    return torch.log1p(-i), share * a / k, of_a, of_b


def _fraction(x: Tensor, p: Tensor, q: Tensor, steps: int, slopes: bool) -> tuple[Tensor, Tensor, Tensor]:
    """K of I_x(p, q) = x^p (1 - x)^q K / (p B(p, q)) = 1 / (1 + d_1 x / (1 + d_2 x / ...)), and its derivatives in p
    and q, for x below (p + 1) / (p + q + 2)."""
    k, k_p, k_q = torch.ones_like(x), torch.zeros_like(x), torch.zeros_like(x)
    for j in range(steps, 0, -1):
        d, d_p, d_q = _coefficient(j, p, q)
        new = 1 / (1 + d * x * k)
        if slopes:
            scale = -x * new * new
            k_p, k_q = scale * (d_p * k + d * k_p), scale * (d_q * k + d * k_q)
        k = new
    return k, k_p, k_q


def _fraction_in_place(x: Tensor, p: float, q: float, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same at numbers p and q, where no derivative of it is wanted: half the operations, no memory but its own."""
    one, (k, new, scale, k_p, k_q) = x.new_ones(()), x.new_empty(5, *x.shape).unbind()
    k.fill_(1), k_p.zero_(), k_q.zero_()
    for j in range(steps, 0, -1):
        d, d_p, d_q = _coefficient(j, p, q)
        torch.add(one, torch.mul(x, k, out=new), alpha=d, out=new).reciprocal_()
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


# --- at numbers -----------------------------------------------------------------------------------------------------

#: Power series that serve float32 for kappa up to MOST: so many terms, made a polynomial of this degree.
TERMS, DEGREE, MOST = 30, 9, 2.0


def edge(dtype: torch.dtype, alpha: float, beta: float, kappa: float) -> float:
    """The |x| from which on `in_numbers` begins at the far end."""
    if dtype == torch.float32 and kappa <= MOST:
        return beta  # v = 1/2
    v = (1 / alpha + 1) / (kappa + 2)
    return beta * (v / (1 - v)) ** (1 / alpha)


def in_numbers(x: Tensor, far: int, alpha: float, beta: float, kappa: float, of_kappa: bool) -> list[Tensor]:
    """log P(residual > x) of a row of which the first `far` lie at or beyond `edge`, and no other; and its derivatives
    in x, beta, alpha and, `of_kappa`, kappa.

    As in `_log_survival`, I_w(b, a), w = 1 - v, for the first, and 1 - I_v(a, b) for the others. Logarithms and powers
    are to base 2, which is cheaper.
    """
    a, b = 1 / alpha, (kappa * alpha - 1) / alpha
    log2_b = (math.lgamma(a) + math.lgamma(b) - math.lgamma(kappa)) / _LN2  # of B(a, b)
    logit = kernels._in_place("log2", x.abs().clamp_min_(torch.finfo(x.dtype).tiny))
    logit.sub_(math.log2(beta)).mul_(alpha)
    t = logit.abs().neg_().exp2_()
    growth = kernels._in_place("log2", t + 1).add_(logit.clamp_min(0))  # -log2 w
    short = x.dtype == torch.float32 and kappa <= MOST
    k, along, of_b = _series(t, far, a, b) if short else _fractions(logit, far, a, b)
    tail = kernels._in_place("log2", k.clone()).add_(logit, alpha=a).sub_(growth, alpha=kappa)
    of_logit = k.reciprocal_()
    rows = [of_logit, along.mul_(of_logit).add_(logit, alpha=_LN2)]
    if of_kappa:
        rows.append(of_b.mul_(of_logit).sub_(growth, alpha=_LN2))
    for part, p, outside in ((slice(far), b, True), (slice(far, None), a, False)):
        psi_a, psi_b, psi = (float(special.digamma(z)) for z in (a + (not outside), b + outside, kappa))
        tail[part].sub_(log2_b + math.log2(p))
        for row, shift in zip(rows[1:], (psi_a - psi_b, psi_b - psi), strict=False):
            row[part].sub_(shift)
        of_logit[part].mul_(-b if outside else a)
    rows[1].mul_(-a * a)
    i = tail[far:].exp2()
    tail.mul_(_LN2)
    share = i / (i - 1)
    kernels._in_place("log1p", torch.neg(i, out=tail[far:]))
    for row in rows:
        row[far:].mul_(share)
    rows[1].addcmul_(of_logit, logit, value=a * _LN2)
    if x.amin().item() < 0:  # a prediction beyond the limit: 1 minus a tail
        below = x < 0
        half = torch.where(below, tail, -1.0).exp_().div_(2)
        tail = torch.where(below, torch.log1p(-half).add_(_LN2), tail)
        share = torch.where(below, half / (half - 1), 1.0)
        for row in rows:
            row.mul_(share)
    value = tail.sub_(_LN2)
    # The hazard q / S: far out from the fraction, which keeps its digits. Near 0, x would divide itself.
    of_x = torch.empty_like(x)
    torch.div(of_logit[:far], x[:far], out=of_x[:far]).mul_(alpha)
    torch.add(value[far:], growth[far:], alpha=kappa * _LN2, out=of_x[far:]).mul_(-1 / _LN2)
    of_x[far:].sub_(math.log2(2 * beta * a) + log2_b).exp2_().neg_()
    return [value, of_x, of_logit.mul_(-alpha / beta), *rows[1:]]


def _series(t: Tensor, far: int, a: float, b: float) -> Tensor:
    """K(x), its derivative as a grows and b falls by the same, and that in b, for x = t / (1 + t) in [0, 1/2]: with
    p = b and q = a of the first `far`, with p = a and q = b of the others."""
    powers = t.new_empty(DEGREE + 1, len(t))
    rows = powers.unbind()
    rows[0].fill_(1)
    torch.div(t, t + 1, out=rows[1]).mul_(2)
    for j in range(2, DEGREE + 1):
        torch.mul(rows[j - 1], rows[1], out=rows[j])
    n, found = np.arange(TERMS - 1), t.new_empty(3, len(t))
    up = np.append(0.0, np.cumsum(1 / (a + b + n)))
    for part, p, outside in ((slice(far), b, True), (slice(far, None), a, False)):
        c = np.cumprod(np.append(1.0, (a + b + n) / (p + 1 + n) / 2))  # by powers of 2x
        down = np.append(0.0, np.cumsum(1 / (p + 1 + n)))
        series = [c, c * down, c * (up - down)] if outside else [c, -c * down, c * up]
        coefficients = torch.from_numpy((np.array(series) @ _economy()).astype(np.float32))
        torch.mm(coefficients, powers[:, part], out=found[:, part])
    return found


def _fractions(logit2: Tensor, far: int, a: float, b: float) -> Tensor:
    """The same by the continued fraction, whatever kappa is."""
    steps, sides = _steps(logit2.dtype, a + b), []
    w, v = (torch.sigmoid(part * _LN2) for part in (-logit2[:far], logit2[far:]))
    k, k_b, k_a = _fraction_in_place(w, b, a, steps)
    sides.append(torch.stack((k, k_a - k_b, k_b)))
    k, k_a, k_b = _fraction_in_place(v, a, b, steps)
    sides.append(torch.stack((k, k_a - k_b, k_b)))
    return torch.cat(sides, dim=1)


@functools.cache
def _economy() -> np.ndarray:
    """Row n: the polynomial of degree DEGREE that is nearest to s^n on [0, 1] (its Chebyshev series, cut off), by its
    powers."""
    chebyshev = np.zeros((DEGREE + 1, DEGREE + 1))  # those of 2s - 1
    chebyshev[0, 0], chebyshev[1, :2] = 1, (-1, 2)
    for k in range(2, DEGREE + 1):
        chebyshev[k] = 4 * np.roll(chebyshev[k - 1], 1) - 2 * chebyshev[k - 1] - chebyshev[k - 2]
    n, k = np.arange(TERMS)[:, None], np.arange(DEGREE + 1)
    return special.comb(2 * n, n - k) * np.where(k, 2, 1) / 4.0**n @ chebyshev
