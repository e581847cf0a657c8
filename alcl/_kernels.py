"""The loss kernels: value, residual gradient and parameter gradients in one pass, with an analytic backward.

Both correntropy losses are functions of t = |e/beta|^alpha = exp(alpha log|e/beta|) only:

    log-correntropy   phi(t) = kappa log(1 + t)      t phi'(t) = kappa t / (1 + t)
    correntropy       phi(t) = 1 - exp(-t)           t phi'(t) = t exp(-t)

and with h = t phi'(t) every first derivative is an elementary multiple of h:

    d/d e = alpha h / e        d/d alpha = h log|e/beta|        d/d beta = -alpha h / beta

`Elementwise` returns phi for every residual; its backward is made of differentiable operations, so that second
derivatives follow from it. `Summed` returns only the sum and computes the gradients in the same pass; asked for a
second derivative it falls back to the formulas of `Elementwise`. Neither has a forward mode: torch.compile takes no
Function that defines it, and forward mode over forward mode loses a Function's part without a word, as a compiled
jacrev over jacrev does. Call them by `elementwise` and `summed`, which take `_plain` in these cases, so that every
transform of `torch.func` is served: `hessian`, `jacfwd`, `jvp` too. Both are checked against plain autograd of the
plain formula in tests/test_kernels.py.

Accuracy, measured there against 50-digit arithmetic. Values and gradients are finite for every finite residual and
alpha >= 1. (For alpha < 1 the slope has no bound as e -> 0. It is 0 at 0, and may overflow where |e| is less than
kappa alpha times the smallest normal number; a subnormal |e| counts as that number where the slope is divided by it.)
With eps the machine epsilon of the dtype and
c = 1 + max(alpha, 1) (|log|e|| + |log beta|), which is how far the rounding of the logarithms is magnified in t, the
error is at most

    2 eps c  relative to the truth: both values, and the log-correntropy gradients in e, beta and kappa;
    2 eps c  relative to the truth plus h: the log-correntropy gradient in alpha, which passes through 0 at |e| = beta;
    2 eps c  with h replaced by 1: the correntropy gradients, whose h falls like exp(-t) and is good to 2 eps c itself.

For |e| and beta in [1e-7, 1e7] and alpha in [1, 10], 2 eps c is below 8e-5 in float32 and 2e-13 in float64; for the
paper's alpha = 2, beta = 1 and |e| in [1e-3, 10] it is 4e-6 and 7e-15. `Summed` takes t below the smallest normal
number for 0 or loses digits of it.

`Whole` is the shortcut for one alpha, one beta and one kappa on the CPU, which is how most training runs: the whole
loss from input and target, with parameters that are Python numbers (so that their part costs microseconds instead of
a dozen tensor operations) and residuals in pieces that stay in the processor's cache. The same accuracy holds.
"""

from __future__ import annotations

import math
import operator
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
# log2|e| at e = 0: so low that t = 0 for every alpha, and finite, so that t log2|e| is 0 too. (The logarithm of 0
# itself takes ten times longer, and 0 times it is NaN.)
_LOG2_OF_ZERO = -1e30


def elementwise(kind: str, residual: Tensor, alpha: Tensor, beta: Tensor, kappa: Tensor) -> Tensor:
    """phi(|e/beta|^alpha) for every residual, differentiable in residual, alpha, beta and kappa."""
    return (_plain if _functions_fail() else Elementwise.apply)(kind, residual, alpha, beta, kappa)


def summed(kind: str, residual: Tensor, alpha: Tensor, beta: Tensor, kappa: Tensor) -> Tensor:
    """The sum over all elements of phi(|e/beta|^alpha), differentiable in residual, alpha, beta and kappa."""
    if _functions_fail():
        return _plain(kind, residual, alpha, beta, kappa).sum()
    return Summed.apply(kind, residual, alpha, beta, kappa)[0]


def _functions_fail() -> bool:
    """Whether derivatives are taken in which a Function has no part: forward mode, or a compiled torch.func."""
    if torch.compiler.is_compiling():
        return torch._C._are_functorch_transforms_active()
    return getattr(forward_ad, "_current_level", -1) >= 0


def _plain(kind: str, residual: Tensor, alpha: Tensor, beta: Tensor, kappa: Tensor) -> Tensor:
    """phi in differentiable operations, for derivatives of any kind and order. Subnormal residuals count as 0."""
    size = residual.abs()
    zero = size < torch.finfo(residual.dtype).tiny
    logit = alpha * (torch.where(zero, torch.ones_like(size), size).log() - beta.log())
    if kind == LOG_CORRENTROPY:
        phi = kappa * softplus(logit)
    else:
        kappa = torch.ones_like(kappa)
        phi = -torch.expm1(-logit.clamp(max=50.0).exp())
    # At 0 a parabola with the first and second derivatives of `_gradients`: 0, and 2 kappa / beta^2 for alpha = 2.
    curved = torch.where(alpha == 2, kappa, torch.zeros_like(kappa))
    return torch.where(zero, curved * (torch.where(zero, residual, torch.zeros_like(size)) / beta).square(), phi)


class Elementwise(torch.autograd.Function):
    """phi(|e/beta|^alpha) for every residual, differentiable twice in residual, alpha, beta and kappa."""

    generate_vmap_rule = True

    @staticmethod
    def forward(kind: str, residual: Tensor, alpha: Tensor, beta: Tensor, kappa: Tensor) -> Tensor:
        # log(0) = -inf is right here: t = 0.
        logit = alpha * (residual.abs().log() - beta.log())
        if kind == LOG_CORRENTROPY:
            return kappa * softplus(logit)
        return -torch.expm1(-logit.exp())

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.kind = inputs[0]
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx, grad: Tensor):
        return None, *_gradients(ctx.kind, grad, *ctx.saved_tensors, ctx.needs_input_grad[1:])


class Summed(torch.autograd.Function):
    """The sum over all elements of phi(|e/beta|^alpha); gradients are ready when the value is.

    Returns (sum, d sum/d residual, d/d alpha, d/d beta, d/d kappa); only the first output is differentiable. kappa must
    broadcast against the other arguments without enlarging them.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(kind: str, residual: Tensor, alpha: Tensor, beta: Tensor, kappa: Tensor):
        return _one_pass(kind, residual, alpha, beta, kappa)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.kind = inputs[0]
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*inputs[1:], *output[1:])

    @staticmethod
    def backward(ctx, grad: Tensor, *_):
        inputs, ready = ctx.saved_tensors[:4], ctx.saved_tensors[4:]
        needed = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():  # a second derivative is wanted: the saved gradients are constants to autograd
            return None, *_gradients(ctx.kind, grad, *inputs, needed)
        return None, *(grad * gradient if need else None for gradient, need in zip(ready, needed, strict=True))


def _one_pass(kind: str, residual: Tensor, alpha: Tensor, beta: Tensor, kappa: Tensor) -> tuple[Tensor, ...]:
    """What `Summed` returns, in tensor operations."""
    info = torch.finfo(residual.dtype)
    # Base 2, where exp is cheapest. At e = 0 the logarithm of 1 is taken, and moved; t is clamped, lest 1 + t = inf.
    sign = residual.sgn()
    zero = torch.addcmul(sign.new_ones(()), sign, sign, value=-1)
    log2_u = residual.abs().add_(zero).log2_().add_(zero, alpha=_LOG2_OF_ZERO) - beta.log2()
    logit = alpha * log2_u
    limit = math.log2(info.max) - 5  # well below: some builds of log1p give inf from 1e307 on
    if kind == LOG_CORRENTROPY:
        t = logit.clamp_max(limit).exp2_()
        phi = t.log1p().maximum(logit.mul_(_LN2))  # log t beyond the clamp
        h = t.div_(t + 1)
        d_kappa = phi.sum_to_size(kappa.shape)
        total = (d_kappa * kappa).sum()
        weight = kappa
    else:
        t = logit.clamp_max_(limit).exp2_()
        phi = torch.expm1(-t).neg_()
        total = phi.sum()
        h = t.mul_(1 - phi)
        d_kappa, weight = torch.zeros_like(kappa), torch.ones_like(kappa)
    d_alpha = _sum_to(h * log2_u, alpha, weight * _LN2)
    d_beta = _sum_to(h, beta, (-weight * alpha / beta).clamp(min=-info.max))  # lest h = 0 make it 0 * inf
    # h is 0 at 0, where the gradient is 0; and dividing by |e| >= tiny cannot make 0/0.
    d_residual = h.div_(residual.abs().clamp_min_(info.tiny)).mul_(sign) * (weight * alpha)
    return total, d_residual.sum_to_size(residual.shape), d_alpha, d_beta, d_kappa


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
        ctx.of_raw = [sum(map(operator.mul, slopes, link)) for link in setting.chain]
        ctx.mean, ctx.setting, ctx.again = mean, setting, again
        ctx.save_for_backward(input, target, *raw)
        return ctx.slope.new_full((), value)

    @staticmethod
    def backward(ctx, grad: Tensor):
        input, target, *raw = ctx.saved_tensors
        needed = ctx.needs_input_grad
        if torch.is_grad_enabled():  # a second derivative is wanted
            # Views: a parameter that the input also depends on must not be counted twice.
            arguments = [x.view_as(x) for x in (input, target, *raw)]
            wanted = [x for x, need in zip(arguments, (*needed[:2], *needed[5:]), strict=True) if need]
            found = iter(torch.autograd.grad(ctx.again(*arguments), wanted, create_graph=True))
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
        d_raw = [grad * s if number is None else grad.new_full((), number * s) for s in ctx.of_raw]
        d_raw = (d if need else None for d, need in zip(d_raw, needed[5:], strict=True))
        return d_input, d_target, None, None, None, *d_raw


def _whole(input: Tensor, target: Tensor, mean: bool, setting: Setting) -> tuple[float, Tensor, list[float]]:
    """The value, its gradient in the input, and its derivatives in alpha, beta and kappa."""
    slope = input - target  # in memory of our own, in whatever layout, without gaps: see it as one row
    count = slope.numel()
    row = slope.as_strided((count,), (1,))
    size = min(count, _PIECE * torch.get_num_threads())
    buffers = slope.new_empty(3, size)
    unit = 1 / count if mean else 1.0
    sums = [_replace(piece, setting, unit, buffers) for piece in (row.split(size) if size < count else (row,))]
    phi, *of_sum = (math.fsum(column) for column in zip(*sums, strict=True))
    slopes = [unit * (s + count * z) for s, z in zip((*of_sum, phi), setting.log_z_slopes, strict=True)]
    return unit * (setting.kappa * phi + count * setting.log_z), slope, slopes


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
    else:  # as in Summed
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
        total, slope, d_alpha, d_beta, _ = Summed.forward(kind, e, *(e.new_full((), x) for x in (alpha, beta, kappa)))
        phi = total.item() / kappa
        if setting.strict and not e.isfinite().all():
            phi = math.nan
        torch.mul(slope, unit, out=e)
        return phi, d_alpha.item(), d_beta.item()
    if not ordinary:
        h.mul_(torch.sgn(e, out=spare))  # 0 at 0, where the gradient is 0
        e.abs_().clamp_min_(tiny)
    torch.addcdiv(e.new_zeros(()), h, e, value=unit * kappa * alpha, out=e)
    return phi, kappa * _LN2 * (h_log - log2_beta * h_sum), -kappa * alpha / beta * h_sum


def _numpy_is_fast() -> bool:
    """Whether numpy runs AVX-512 code here: a quarter of the time of torch's log2; its other code takes longer."""
    try:
        known = np.lib.introspect.opt_func_info(func_name="^(log2|expm1)$")
        targets = [known[name][kind]["current"] for name in ("log2", "expm1") for kind in ("ff", "dd")]
        return all(str(target).startswith(("X86_V4", "AVX512")) for target in targets)
    except (AttributeError, KeyError):  # numpy before 2.1 does not say
        return False


_NUMPY_IS_FAST = _numpy_is_fast()


def _in_place(name: str, x: Tensor) -> Tensor:
    """x.log2_() or x.expm1_()."""
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


def _gradients(kind: str, grad: Tensor, residual: Tensor, alpha: Tensor, beta: Tensor, kappa: Tensor, needed):
    """First derivatives times `grad`, in differentiable operations, reduced to the shapes of the inputs."""
    zero = residual == 0
    log_e = torch.where(zero, torch.ones_like(residual), residual).abs().log()
    log_u = log_e - beta.log()
    logit = alpha * log_u
    # log h without kappa; h itself is 0 at e = 0
    # The clamp: beyond e^50, h is 0, and an infinite exp would make 0 * inf of its second derivative.
    log_h = F.logsigmoid(logit) if kind == LOG_CORRENTROPY else logit - logit.clamp(max=50.0).exp()
    weight = kappa if kind == LOG_CORRENTROPY else torch.ones_like(kappa)
    h = torch.where(zero, torch.zeros_like(log_h), log_h.exp()) * weight
    d_residual = d_alpha = d_beta = d_kappa = None
    if needed[0]:
        # h / |e| = exp(log h - log|e|): no 0/0, no overflow. At e = 0 the derivative is 0; its slope there is
        # 2 / beta^2 for alpha = 2, 0 for alpha > 2, infinite for alpha < 2, where we return 0 to keep a Hessian finite.
        least = math.log(torch.finfo(residual.dtype).tiny)  # as in Summed
        away = residual.sign() * weight * alpha * torch.exp(log_h - log_e.clamp(min=least))
        # Where it is no number any more, the largest will do: infinity times a residual of 0 would be NaN.
        steepest = 2 * weight / beta.square().clamp(min=torch.finfo(residual.dtype).tiny)
        steepest = steepest.clamp(max=torch.finfo(residual.dtype).max)
        slope = torch.where(alpha == 2, steepest, torch.zeros_like(alpha * beta * weight))
        d_residual = (grad * torch.where(zero, slope * residual, away)).sum_to_size(residual.shape)
    if needed[1]:
        d_alpha = (grad * h * log_u).sum_to_size(alpha.shape)
    if needed[2]:
        d_beta = (grad * -alpha * h / beta).sum_to_size(beta.shape)
    if needed[3]:
        log1p = torch.where(zero, torch.zeros_like(logit), softplus(logit))
        d_kappa = (grad * log1p).sum_to_size(kappa.shape) if kind == LOG_CORRENTROPY else torch.zeros_like(kappa)
    return d_residual, d_alpha, d_beta, d_kappa


def _sum_to(values: Tensor, parameter: Tensor, weight: Tensor) -> Tensor:
    """Sum of weight * values over the dimensions along which `parameter` is constant."""
    if weight.shape == parameter.shape:
        return values.sum_to_size(parameter.shape) * weight
    return (values * weight).sum_to_size(parameter.shape)


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)) to full precision: torch's own, with its default threshold of 20, is off by 2e-9 in float64."""
    return F.softplus(x, threshold=50.0)
