"""Losses with a value of alpha, beta and kappa for every channel or pixel, or of each residual: one pass on the CPU.

The residuals are seen as a table. Its columns are what the parameters span, its rows what they are broadcast over: for
parameters of shape (784,) a batch of 128 images is a table of 128 rows and 784 columns. `alcl._kernels` goes through
pieces of it that stay in the processor's cache, and puts in the place of every residual its derivative, so that one
buffer of the residuals' size is all the memory that is needed. Under `torch.compile`, `Fused` leaves it to a compiler.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from . import _kernels as kernels

# Fewer columns than this are repeated side by side, so that a row is worth a call; where so many residuals share their
# parameters, they are numbers. As measured.
_WIDTH, _SHARED = 2048, 16_384
_PLAIN = (Tensor, nn.Parameter)


def fit(input: Tensor, target: Tensor | None, *parameters: Tensor) -> bool:
    """Whether `reduced` takes them: of one type, with parameters that broadcast, outside torch.func; and eagerly only
    plain tensors on the CPU."""
    traced, tensors = _traced(), (input, input if target is None else target, *parameters)
    if not (traced or kernels.numbers_can_be_read()) or input.numel() == 0:
        return False
    dtype, shape = input.dtype, input.shape
    for x in tensors:
        if x.dtype != dtype or not (traced or (x.is_cpu and type(x) in _PLAIN)):
            return False
    for p in parameters:
        own = p.shape
        if len(own) > len(shape) or any(n not in (1, m) for n, m in zip(own[::-1], shape[::-1], strict=False)):
            return False
    return True


def _traced() -> bool:
    """Whether a compiler traces, and nothing of torch.func, in whose derivatives a Function has no part there."""
    return torch.compiler.is_compiling() and not torch._C._are_functorch_transforms_active()


def reduced(
    kind: str, input: Tensor, target: Tensor | None, alpha: Tensor, beta: Tensor, kappa: Tensor, mean: bool = False
) -> Tensor:
    """The sum, or mean, over all elements of kappa phi(|e/beta|^alpha), where e is input - target, or input, and the
    arguments `fit`; differentiable twice in all of them."""

    def again(input: Tensor, target: Tensor | None, *parameters: Tensor) -> Tensor:
        value = kernels.elementwise(kind, input if target is None else input - target, *parameters)
        return value.mean() if mean else value.sum()

    if kind == kernels.LOG_CORRENTROPY and _traced():
        value = Fused.apply(input if target is None else input - target, alpha, beta, kappa)
        return value / input.numel() if mean else value
    if _traced():
        return again(input, target, alpha, beta, kappa)
    rows = Rows(kind, alpha.detach(), beta.detach(), kappa.detach())
    return kernels.Whole.apply(input, target, mean, rows, again, alpha, beta, kappa)


def each(residual: Tensor, alpha: Tensor, beta: Tensor, kappa: Tensor) -> Tensor:
    """`kernels.elementwise` of log-correntropy, in one pass where the arguments `fit` and no compiler is at work. (Not
    so for correntropy, whose slope far out, exp(-t), would be lost beside 1.)"""
    if not fit(residual, None, alpha, beta, kappa) or _traced():
        return kernels.elementwise(kernels.LOG_CORRENTROPY, residual, alpha, beta, kappa)
    return Each.apply(residual, alpha, beta, kappa)


class Each(torch.autograd.Function):
    """kappa log(1 + |e/beta|^alpha) for every residual, with its derivative in the residual; on the CPU.

    The others follow from that derivative times e, which is kappa alpha h.
    """

    @staticmethod
    def forward(ctx, residual: Tensor, alpha: Tensor, beta: Tensor, kappa: Tensor) -> Tensor:
        slope, values = residual.clone(), torch.empty_like(residual, memory_format=torch.preserve_format)
        if values.stride() != slope.stride():  # a residual with gaps
            values = torch.empty_like(slope)
        Rows(kernels.LOG_CORRENTROPY, alpha, beta, kappa).into(slope, 1.0, values)
        values = values if kappa.numel() == 1 and kappa.item() == 1 else values.mul_(kappa)
        ctx.save_for_backward(residual, alpha, beta, kappa, slope, values)
        return values

    @staticmethod
    def backward(ctx, grad: Tensor):
        needed = ctx.needs_input_grad
        *inputs, slope, values = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            arguments = [x.view_as(x) for x in inputs]
            wanted = [x for x, need in zip(arguments, needed, strict=True) if need]
            value = kernels.elementwise(kernels.LOG_CORRENTROPY, *arguments)
            found = iter(torch.autograd.grad(value, wanted, grad, create_graph=True, materialize_grads=True))
            return tuple(next(found) if need else None for need in needed)
        residual, alpha, beta, kappa = inputs
        d_residual, d_alpha, d_beta, d_kappa = grad * slope, None, None, None
        if needed[1] or needed[2]:
            size = residual.abs()
            # what the slope was divided by; it is 0 at 0
            flow = d_residual * size.clamp_min(torch.finfo(size.dtype).tiny).copysign_(residual)
        if needed[2]:
            d_beta = flow.sum_to_size(beta.shape) / -beta
        if needed[1]:
            log2_u = kernels._in_place("log2", size.add_(size == 0)).sub_(beta.log2())
            d_alpha = (flow * log2_u).sum_to_size(alpha.shape) * kernels._LN2 / alpha
        if needed[3]:
            d_kappa = (grad * values).sum_to_size(kappa.shape) / kappa
        return d_residual, d_alpha, d_beta, d_kappa


class Fused(torch.autograd.Function):
    """The sum of kappa log(1 + |e/beta|^alpha) for a compiler, to which one loop is one pass: with the derivatives
    written out, forward and backward are a loop each. Subnormal residuals count as 0."""

    @staticmethod
    def forward(ctx, e: Tensor, alpha: Tensor, beta: Tensor, kappa: Tensor) -> Tensor:
        zero = e.abs() < torch.finfo(e.dtype).tiny
        e = torch.where(zero, 1.0, e)
        log2_u = torch.where(zero, kernels._LOG2_OF_ZERO, e.abs().log2()) - beta.log2()
        logit = alpha * log2_u
        t = torch.exp2(-logit.abs())  # or its reciprocal, whichever is at most 1
        phi = logit.clamp_min(0.0) * kernels._LN2 + _log1p(t)
        share = 1 / (1 + t)
        h = torch.where(logit > 0, share, t * share)
        slope = h / e * (kappa * alpha)
        of_alpha = (h * log2_u * kappa).sum_to_size(alpha.shape) * kernels._LN2
        of_beta = (-kappa * alpha / beta * h).sum_to_size(beta.shape)
        ctx.save_for_backward(slope, of_alpha, of_beta, phi.sum_to_size(kappa.shape))
        return (kappa * phi).sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        return tuple(grad * slope for slope in ctx.saved_tensors)


def _log1p(t: Tensor) -> Tensor:
    """log(1 + t), 0 <= t <= 1: the series of 2 artanh(t / (2 + t)). A compiler's own takes as long as all else."""
    z = t / (2 + t)
    square, terms = z * z, 9 if t.dtype == torch.float32 else 18  # (1/9)^terms is below the rounding
    total = square / (2 * terms - 1)
    for k in range(terms - 2, 0, -1):
        total = (total + 1 / (2 * k + 1)) * square
    return 2 * z * (1 + total)


class Rows(NamedTuple):
    """What `kernels.Whole` needs: the parameters, which broadcast against the residuals without enlarging them."""

    kind: str
    alpha: Tensor
    beta: Tensor
    kappa: Tensor
    chain: None = None

    def whole(self, input: Tensor, target: Tensor | None, mean: bool) -> tuple[float, Tensor, list[Tensor]]:
        """The value, its gradient in the input, and its gradients in alpha, beta and kappa."""
        slope = input.clone() if target is None else input - target
        return self.into(slope, 1 / slope.numel() if mean else 1.0)

    def into(self, slope: Tensor, unit: float, values: Tensor | None = None) -> tuple[float, Tensor, list[Tensor]]:
        """The same for residuals that lie in `slope`, in whose place their gradients come. `values`, if given, has the
        same layout and takes phi of each."""
        given, dims = (self.alpha, self.beta, self.kappa), slope.ndim
        # As they lie in memory, which is without gaps.
        order = sorted(range(dims), key=lambda d: slope.stride(d), reverse=True)
        wide = [p.double().reshape((1,) * (dims - p.ndim) + p.shape).permute(order) for p in given]
        alpha, beta, kappa = torch.broadcast_tensors(*wide)
        if self.kind != kernels.LOG_CORRENTROPY:
            kappa = torch.ones_like(kappa)
        sums = alpha.new_zeros(3, *alpha.shape)
        size = min(slope.numel(), kernels._PIECE * torch.get_num_threads())
        work = _Pass(self.kind, unit, kernels.spare_memory(slope, 4, size))
        of_each = (slope.permute(order),) if values is None else (slope.permute(order), values.permute(order))
        work.through(of_each, alpha, beta, kappa, *sums)
        phi, d_alpha, d_beta = sums
        d_kappa = phi if self.kind == kernels.LOG_CORRENTROPY else torch.zeros_like(phi)
        back = [order.index(d) for d in range(dims)]
        slopes = zip((d_alpha, d_beta, d_kappa), given, strict=True)
        of_given = [(unit * s).permute(back).sum_to_size(p.shape).to(p.dtype) for s, p in slopes]
        return unit * (kappa * phi).sum().item(), slope, of_given


class _Pass(NamedTuple):
    """One pass through the residuals. Adds the sum of phi and the derivatives of the sum of kappa phi in alpha and beta
    to sums of the parameters' shape, and puts in the place of every residual its derivative."""

    kind: str
    unit: float
    buffers: Tensor

    def through(self, of_each: tuple[Tensor, ...], *columns: Tensor) -> None:
        """`of_each`: the residuals, and where phi is asked for, the place for it. `columns`: alpha, beta, kappa and the
        sums, with as many dimensions as the residuals have, each of their length or of 1."""
        e, size, shape = of_each[0], self.buffers.shape[1], columns[0].shape
        first = next((d for d, n in enumerate(shape) if n > 1), e.ndim)
        width = math.prod(e.shape[first:])
        most = max(1, size // min(e.numel() // width, 8))  # so that sums run over several rows
        longest = next((d for d, n in enumerate(e.shape) if n > 1), 0)
        if width == 1 and len(of_each) == 1 and e.numel() <= size:
            self._one(e, *columns)
        elif width == 1 and e.numel() > size:
            self._in_parts(longest, max(1, size * e.shape[longest] // e.numel()), of_each, *columns)
        elif len(of_each) == 1 and width > 1 and e.numel() >= _SHARED * shape.numel():
            self._in_parts(first, 1, of_each, *columns)
        elif width > most:
            self._in_parts(first, max(1, most * e.shape[first] // width), of_each, *columns)
        elif first > 1 and not e.is_contiguous():  # no table
            self._in_parts(longest, 1, of_each, *columns)
        else:
            tables = (x.view(-1, width) for x in of_each)
            self._table(e.shape[first:], [x.view(shape[first:]) for x in columns], *tables)

    def _in_parts(self, dim: int, length: int, of_each: tuple[Tensor, ...], *columns: Tensor) -> None:
        whole = of_each[0].shape[dim]
        for start in range(0, whole, length):
            part = min(length, whole - start)
            own = (x if x.shape[dim] == 1 else x.narrow(dim, start, part) for x in columns)
            self.through(tuple(x.narrow(dim, start, part) for x in of_each), *own)

    def _one(self, e: Tensor, alpha: Tensor, beta: Tensor, kappa: Tensor, *sums: Tensor) -> None:
        row = e.view(-1) if e.is_contiguous() else self.buffers[3, : e.numel()].view(e.shape).copy_(e).view(-1)
        setting = kernels.Setting(self.kind, alpha.item(), beta.item(), kappa.item())
        found = kernels._replace(row, setting, self.unit, self.buffers[:3])
        if not e.is_contiguous():
            e.copy_(row.view_as(e))
        for total, part in zip(sums, found, strict=True):
            total += part

    def _table(self, shape: torch.Size, columns: list[Tensor], e: Tensor, values: Tensor | None = None) -> None:
        """`shape`: of a row of the table e, to which the columns broadcast."""
        alpha, beta, kappa, *sums = columns
        (rows, width), size = e.shape, self.buffers.shape[1]
        side = min(rows, max(1, min(_WIDTH, size) // width)) if e.is_contiguous() else 1
        log2_beta = beta.log2()
        settings = (alpha, -alpha * log2_beta, self.unit * kappa * alpha)
        settings = [x.expand(shape).reshape(-1).to(e.dtype).repeat(side) for x in settings]
        pieces = _pieces(e, side, size)
        for piece, of_piece in zip(pieces, pieces if values is None else _pieces(values, side, size), strict=True):
            own = (x[: piece.shape[1]] for x in settings)
            into = None if values is None else of_piece
            phi, h, h_log = (
                x.double().view(-1, *shape).sum_to_size(1, *alpha.shape)[0]
                for x in kernels._replace_rows(self.kind, piece, *own, self.buffers, into)
            )
            found = (phi, kappa * kernels._LN2 * (h_log - log2_beta * h), -kappa * alpha / beta * h)
            for total, part in zip(sums, found, strict=True):
                total += part


def _pieces(table: Tensor, side: int, size: int) -> list[Tensor]:
    """The table's rows, `side` of them side by side, in pieces of `size` elements; and what is left of them."""
    rows, width = table.shape
    whole = rows // side * side
    pieces = [*table[:whole].view(-1, side * width).split(max(1, size // (side * width)))]
    return pieces if whole == rows else [*pieces, table[whole:].view(1, -1)]
