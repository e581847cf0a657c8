"""The loss kernels: value, residual gradient and parameter gradients in one pass, with an analytic backward.

Both correntropy losses are functions of t = |e/beta|^alpha = exp(alpha log|e/beta|) only:

    log-correntropy   phi(t) = kappa log(1 + t)      t phi'(t) = kappa t / (1 + t)
    correntropy       phi(t) = 1 - exp(-t)           t phi'(t) = t exp(-t)

and with h = t phi'(t) every first derivative is an elementary multiple of h:

    d/d e = alpha h / e        d/d alpha = h log|e/beta|        d/d beta = -alpha h / beta

There are two roads. `elementwise` is the formula in differentiable operations, right at zero and far out; it serves
derivatives of any kind and order, on any device: every transform of `torch.func`, forward mode, a second derivative.
`Whole` is one pass on the CPU, which is how most training runs: the sum from input and target, with its gradients ready
when the value is, through pieces that stay in the processor's cache. `_replace` works on a piece with one alpha, beta
and kappa, as Python numbers (so that their part costs microseconds instead of a dozen tensor operations), and
`_replace_rows` on a table whose columns have an alpha and a beta each: `alcl._rows` makes such tables for parameters of
every shape, and serves `torch.compile`. Both roads are checked in tests/test_kernels.py.

Accuracy, measured there against 50-digit arithmetic. Values and gradients are finite for every finite residual and
alpha >= 1. (For alpha < 1 the slope has no bound as e -> 0. It is 0 at 0, and may overflow where |e| is less than
kappa alpha times the smallest normal number. A subnormal |e| counts as that number where the slope is divided by it;
`elementwise` gives it the slope 0.)
With eps the machine epsilon of the dtype and
c = 1 + max(alpha, 1) (|log|e|| + |log beta|), which is how far the rounding of the logarithms is magnified in t, the
error is at most

    2 eps c  relative to the truth: both values, and the log-correntropy gradients in e, beta and kappa;
    2 eps c  relative to the truth plus h: the log-correntropy gradient in alpha, which passes through 0 at |e| = beta;
    2 eps c  with h replaced by 1: the correntropy gradients, whose h falls like exp(-t) and is good to 2 eps c itself.

For |e| and beta in [1e-7, 1e7] and alpha in [1, 10], 2 eps c is below 8e-5 in float32 and 2e-13 in float64; for the
paper's alpha = 2, beta = 1 and |e| in [1e-3, 10] it is 4e-6 and 7e-15. A sum takes t below the smallest
normal number for 0 or loses digits of it.
"""

from __future__ import annotations

import math
import operator
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

LOG_CORRENTROPY, CORRENTROPY = "log_correntropy", "correntropy"
_LN2 = math.log(2.0)
# Residuals of a piece, for every thread: few enough for the cache, enough to outweigh the calls. As measured.
_PIECE = 131_072
# Bytes of memory to work in that a thread keeps.
_KEPT = 32 * 2**20
# log2|e| at e = 0: so low that t = 0 for every alpha, and finite, so that t log2|e| is 0 too. (The logarithm of 0
# itself takes ten times longer, and 0 times it is NaN.)
_LOG2_OF_ZERO = -1e30


def elementwise(kind: str, residual: Tensor, alpha: Tensor, beta: Tensor, kappa: Tensor) -> Tensor:
    """phi(|e/beta|^alpha) for every residual, in differentiable operations, for derivatives of any kind and order."""
    size, zero = residual.abs(), residual == 0
    # A subnormal residual has its value, and the derivatives of 0: what is divided by it overflows.
    fixed = torch.where(zero, 1.0, size.detach())
    logit = alpha * (torch.where(size < torch.finfo(size.dtype).tiny, fixed, size).log() - beta.log())
    if kind == LOG_CORRENTROPY:
        phi = kappa * softplus(logit)
    else:
        kappa, t = torch.ones_like(kappa), logit.clamp(max=50.0).exp()
        phi = torch.where(t < 1, -torch.expm1(-t), 1 - torch.exp(-t))  # far out, expm1's derivative has no digits
    # At 0 a parabola, whose slope is 0 and whose curvature is 2 kappa / beta^2 for alpha = 2. It is 0 for larger alpha,
    # and infinite for smaller, where 0 keeps a Hessian finite.
    curved = torch.where(alpha == 2, kappa, torch.zeros_like(kappa))
    return torch.where(zero, curved * (torch.where(zero, residual, 0.0) / beta).square(), phi)


def _functions_fail() -> bool:
    """Whether derivatives are taken in which a Function has no part: forward mode, or a compiled torch.func."""
    if torch.compiler.is_compiling():
        return torch._C._are_functorch_transforms_active()
    return getattr(forward_ad, "_current_level", -1) >= 0


class Setting(NamedTuple):
    """Everything a loss with scalar parameters needs, as plain numbers."""

    kind: str
    alpha: float
    beta: float
    kappa: float
    log_z: float = 0.0
    log_z_slopes: tuple[float, float, float] = (0.0, 0.0, 0.0)  # in alpha, beta and kappa
    chain: Sequence[tuple[float, float, float]] = ()  # (alpha, beta, kappa) differentiated by each raw parameter
    strict: bool = False  # residuals that are not finite make the value NaN, also where phi is bounded

    def whole(self, input: Tensor, target: Tensor, mean: bool) -> tuple[float, Tensor, list[float]]:
        """The value, its gradient in the input, and its derivatives in what `chain` lists."""
        return _whole(input, target, mean, self)


class Whole(torch.autograd.Function):
    """Mean or sum of kappa phi(|e/beta|^alpha) + log Z over e = input - target, at a `Setting`; eager, on the CPU.

    apply(input, target, mean, setting, again, *raw): `raw` are the parameters behind the setting, in the order of its
    chain. Their gradients, and the residual's, are ready when the value is. `again(input, target, *raw)` is the same
    value in differentiable operations, for whoever asks for a second derivative.
    """

    @staticmethod
    def forward(
        ctx, input: Tensor, target: Tensor, mean: bool, setting: Setting, again: Callable[..., Tensor], *raw: Tensor
    ) -> Tensor:
        value, ctx.slope, slopes = setting.whole(input, target, mean)
        chain = setting.chain
        ctx.of_raw = slopes if chain is None else [sum(map(operator.mul, slopes, link)) for link in chain]
        ctx.mean, ctx.setting, ctx.again = mean, setting, again
        ctx.save_for_backward(input, target, *raw)
        return ctx.slope.new_full((), value)

    @staticmethod
    def backward(ctx, grad: Tensor):
        input, target, *raw = ctx.saved_tensors
        needed = ctx.needs_input_grad
        if torch.is_grad_enabled():  # a second derivative is wanted
            # Views: a parameter that the input also depends on must not be counted twice.
            arguments = [x if x is None else x.view_as(x) for x in (input, target, *raw)]
            wanted = [x for x, need in zip(arguments, (*needed[:2], *needed[5:]), strict=True) if need]
            found = iter(torch.autograd.grad(ctx.again(*arguments), wanted, create_graph=True, materialize_grads=True))
            return tuple(grad * next(found) if need else None for need in needed)
        # The slope's memory goes to the caller, who may write into it: a leaf's gradient then costs no copy. Whoever
        # walks the graph once more has it worked out once more.
        slope, ctx.slope = ctx.slope, None
        if slope is None and any(needed[:2]):
            _, slope, _ = ctx.setting.whole(input, target, ctx.mean)
        number = _number(grad)
        d_target = -grad * slope if needed[1] else None
        # Often the loss itself is what is differentiated: then no pass and no memory.
        d_input = (slope if number == 1 else grad * slope) if needed[0] else None
        tensors = number is None or ctx.setting.chain is None
        d_raw = [grad * s if tensors else grad.new_full((), number * s) for s in ctx.of_raw]
        d_raw = (d if need else None for d, need in zip(d_raw, needed[5:], strict=True))
        return d_input, d_target, None, None, None, *d_raw


def _whole(input: Tensor, target: Tensor, mean: bool, setting: Setting) -> tuple[float, Tensor, list[float]]:
    """The value, its gradient in the input, and its derivatives in alpha, beta and kappa."""
    slope = input - target  # in memory of our own, in whatever layout, without gaps: see it as one row
    count = slope.numel()
    row = slope.as_strided((count,), (1,))
    size = min(count, _PIECE * torch.get_num_threads())
    buffers = spare_memory(slope, 3, size)
    unit = 1 / count if mean else 1.0
    sums = [_replace(piece, setting, unit, buffers) for piece in (row.split(size) if size < count else (row,))]
    phi, *of_sum = (math.fsum(column) for column in zip(*sums, strict=True))
    slopes = [unit * (s + count * z) for s, z in zip((*of_sum, phi), setting.log_z_slopes, strict=True)]
    return unit * (setting.kappa * phi + count * setting.log_z), slope, slopes


_SPARE = threading.local()


def spare_memory(like: Tensor, number: int, size: int) -> Tensor:
    """Rows to work in, kept for the next call: fresh pages of the system cost a tenth of the loss at 128 x 784."""
    kept = getattr(_SPARE, "kept", None)
    if kept is None or kept.dtype != like.dtype or len(kept) < number * size:
        with torch.inference_mode(False):  # what is made under it cannot be written to outside
            kept = torch.empty(number * size, dtype=like.dtype, device="cpu")
        _SPARE.kept = kept if kept.nbytes <= _KEPT else None
    return kept[: number * size].view(number, size)


def numbers_can_be_read() -> bool:
    """Whether tensors hold plain numbers here: not while a graph is traced, nor under the transforms of torch.func, nor
    where they carry forward-mode derivatives."""
    return not (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
        or _functions_fail()
    )


def _number(grad: Tensor) -> float | None:
    """What a scalar holds; None for a batch of gradients, or where numbers cannot be read."""
    try:
        return grad.item() if numbers_can_be_read() else None
    except RuntimeError:
        return None


def _replace(e: Tensor, setting: Setting, unit: float, buffers: Tensor) -> tuple[float, float, float]:
    """Sum of phi over a row of residuals, and the derivatives of kappa phi in alpha and beta, as numbers. Puts in the
    place of every residual its own derivative, times `unit`."""
    kind, alpha, beta, kappa, *_ = setting
    tiny, log2_beta = torch.finfo(e.dtype).tiny, math.log2(beta)
    log2_e, t, spare = buffers.narrow(1, 0, e.numel()).unbind()
    ordinary = torch.abs(e, out=log2_e).amin().item() >= tiny
    if ordinary or alpha * (math.log2(tiny) - log2_beta) <= math.log2(tiny):
        # 0 may be taken for the smallest normal number, whose t is below that: what it adds is lost in any sum
        _in_place("log2", log2_e if ordinary else log2_e.clamp_min_(tiny))
    else:
        zero = torch.eq(e, 0, out=spare)
        _in_place("log2", log2_e.add_(zero)).add_(zero, alpha=_LOG2_OF_ZERO)
    torch.add(e.new_full((), -alpha * log2_beta), log2_e, alpha=alpha, out=t).exp2_()
    if kind == LOG_CORRENTROPY:
        phi = _sum_of_log1p(t, spare)
        h = t.div_(torch.add(t, 1, out=spare))
    else:
        _in_place("expm1", torch.neg(t, out=spare))
        phi = -spare.sum().item()
        h = t.mul_(spare.add_(1))
    h_sum, h_log = h.sum().item(), torch.dot(h, log2_e).item()
    if not math.isfinite(phi + h_sum + h_log):  # a residual so far out that t overflows, or not finite at all
        broken = setting.strict and not e.isfinite().all()
        one = (e.new_full((1,), x) for x in (alpha, -alpha * log2_beta, unit * kappa * alpha))
        phi, h_sum, h_log = (x.item() for x in _replace_rows(kind, e.unsqueeze(-1), *one, buffers, careful=True))
        phi = math.nan if broken else phi
        return phi, kappa * _LN2 * (h_log - log2_beta * h_sum), -kappa * alpha / beta * h_sum
    if not ordinary:
        h.mul_(torch.sgn(e, out=spare))  # 0 at 0, where the gradient is 0
        e.abs_().clamp_min_(tiny)
    torch.addcdiv(e.new_zeros(()), h, e, value=unit * kappa * alpha, out=e)
    return phi, kappa * _LN2 * (h_log - log2_beta * h_sum), -kappa * alpha / beta * h_sum


def _replace_rows(
    kind: str,
    e: Tensor,
    alpha: Tensor,
    shift: Tensor,
    weight: Tensor,
    buffers: Tensor,
    values: Tensor | None = None,
    careful: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """`_replace` for a table of residuals whose columns have an alpha, a shift = -alpha log2(beta) and a weight each:
    the sums of phi, h and h log2|e| in every column. In the place of every residual comes weight h / e; phi itself goes
    into `values`, where they are asked for, as they are of log-correntropy alone."""
    info = torch.finfo(e.dtype)
    log2_e, t, spare = (buffer[: e.numel()].view(e.shape) for buffer in buffers[:3])
    ordinary = torch.abs(e, out=log2_e).amin().item() >= info.tiny
    lost = values is None and (alpha * math.log2(info.tiny)).add_(shift).amax().item() <= math.log2(info.tiny)
    if ordinary or lost:  # as in `_replace`; but the value of each is 0 at 0
        _in_place("log2", log2_e if ordinary else log2_e.clamp_min_(info.tiny))
    else:
        zero = torch.eq(e, 0, out=spare)
        _in_place("log2", log2_e.add_(zero)).add_(zero, alpha=_LOG2_OF_ZERO)
    torch.mul(log2_e, alpha, out=t).add_(shift)
    if careful:  # lest 1 + t = inf; well below, since some builds of log1p give inf from 1e307 on
        logit = t.clone()
        t.clamp_max_(math.log2(info.max) - 5)
    t.exp2_()
    faint = None
    if values is not None and t.amin().item() < info.tiny:  # too small for its digits, where t / e may well have them
        faint = (t < info.tiny).logical_and_(e != 0)
        slope = torch.mul(log2_e, alpha - 1).add_(shift).exp2_().mul_(torch.sgn(e)).mul_(weight)
    if kind == LOG_CORRENTROPY:
        of_each = _in_place("log1p", spare.copy_(t))
        of_each = of_each.maximum(logit.mul_(_LN2)) if careful else of_each
        phi = of_each.sum(0)
        if values is not None:
            values.copy_(of_each)
        h = t.div_(torch.add(t, 1, out=spare))
    else:
        _in_place("expm1", torch.neg(t, out=spare))
        phi = spare.sum(0).neg_()
        h = t.mul_(spare.add_(1))
    h_sum, h_log = h.sum(0), torch.mul(h, log2_e, out=log2_e).sum(0)
    if not careful and not math.isfinite((phi + h_sum + h_log).sum().item()):
        return _replace_rows(kind, e, alpha, shift, weight, buffers, values, careful=True)
    if not ordinary:
        h.mul_(torch.sgn(e, out=spare))  # 0 at 0, where the gradient is 0
        e.abs_().clamp_min_(info.tiny)
    torch.div(h, e, out=e).mul_(weight)
    if faint is not None:
        torch.where(faint, slope, e, out=e)
    return phi, h_sum, h_log


def _numpy_is_fast() -> bool:
    """Whether numpy runs AVX-512 code here: a quarter of the time of torch's log2; its other code takes longer."""
    try:
        known = np.lib.introspect.opt_func_info(func_name="^(log2|log1p|expm1)$")
        targets = [known[name][kind]["current"] for name in ("log2", "log1p", "expm1") for kind in ("ff", "dd")]
        return all(str(target).startswith(("X86_V4", "AVX512")) for target in targets)
    except (AttributeError, KeyError):  # numpy before 2.1 does not say
        return False


_NUMPY_IS_FAST = _numpy_is_fast()


def _in_place(name: str, x: Tensor) -> Tensor:
    """x.log2_(), x.log1p_() or x.expm1_()."""
    if _NUMPY_IS_FAST and torch.get_num_threads() <= 4:  # more of torch's threads make up for it; numpy has one
        array = x.numpy()
        getattr(np, name)(array, out=array)
        return x
    return getattr(x, f"{name}_")()


def _sum_of_log1p(t: Tensor, spare: Tensor) -> float:
    """Sum of log(1 + t), t >= 0. (1 + s)(1 + t) = 1 + (s + t + st): in a long row, four factors share a logarithm."""
    quarter = t.numel() // 4
    if t.numel() != 4 * quarter or quarter < 1024:
        return torch.log1p(t, out=spare).sum().item()
    s, u = t.view(2, -1).unbind()
    s, u = torch.add(s, u, out=spare[: 2 * quarter]).addcmul_(s, u).view(2, -1).unbind()
    total = s.addcmul_(s, u).add_(u).log1p_().sum().item()
    return total if math.isfinite(total) else t.log1p().sum().item()  # the product may overflow where t does not


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)) to full precision: torch's own, with its default threshold of 20, is off by 2e-9 in float64."""
    return F.softplus(x, threshold=50.0)
