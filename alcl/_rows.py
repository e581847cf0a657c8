"""A sum of losses with a value of alpha, beta and kappa for every channel or pixel: one pass on the CPU.

The residuals are seen as a table. Its columns are what the parameters span, its rows what they are broadcast over: for
parameters of shape (784,) a batch of 128 images is a table of 128 rows and 784 columns. `alcl._kernels` goes through
pieces of it that stay in the processor's cache, and puts in the place of every residual its derivative, so that one
buffer of the residuals' size is all the memory that is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
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
        if own and (len(own) > len(shape) or any(n not in (1, m) for n, m in zip(own[::-1], shape[::-1], strict=False))):
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

    if kernels.LOG_CORRENTROPY == kind and _traced():
        value = Fused.apply(input if target is None else input - target, alpha, beta, kappa)
        return value / input.numel() if mean else value
    if _traced():
        return again(input, target, alpha, beta, kappa)
    rows = Rows(kind, alpha.detach(), beta.detach(), kappa.detach())
    return kernels.Whole.apply(input, target, mean, rows, again, alpha, beta, kappa)


class Fused(torch.autograd.Function):
    """The sum of kappa log(1 + |e/beta|^alpha) for a compiler, to which one loop is one pass: with the derivatives
    written out, forward and backward are a loop each. Subnormal residuals count as 0."""

    @staticmethod
    def forward(ctx, e: Tensor, alpha: Tensor, beta: Tensor, kappa: Tensor) -> Tensor:
        size, tiny = e.abs(), torch.finfo(e.dtype).tiny
        zero, size = size < tiny, size.clamp_min(tiny)
        log2_u = size.log2() - beta.log2()
        logit = alpha * log2_u
        t = torch.exp2(-logit.abs())  # or its reciprocal, whichever is at most 1
        phi = torch.where(zero, 0.0, logit.clamp_min(0.0) * kernels._LN2 + _log1p(t))
        share = 1 / (1 + t)
        h = torch.where(zero, 0.0, torch.where(logit > 0, share, t * share))
        slope = torch.where(e < 0, -h, h) / size * (kappa * alpha)
        of_alpha = (h * log2_u * kappa).sum_to_size(alpha.shape) * kernels._LN2
        of_beta = (-kappa * alpha / beta * h).sum_to_size(beta.shape)
        ctx.save_for_backward(slope, of_alpha, of_beta, phi.sum_to_size(kappa.shape))
        return (kappa * phi).sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        return tuple(grad * slope for slope in ctx.saved_tensors)


def _log1p(t: Tensor) -> Tensor:
    """log(1 + t) for 0 <= t <= 1 by the series of 2 artanh(t / (2 + t)): the compilers' own takes as long as all else."""
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
        unit = 1 / slope.numel() if mean else 1.0
        given, dims = (self.alpha, self.beta, self.kappa), slope.ndim
        # As they lie in memory, which is without gaps.
        order = sorted(range(dims), key=lambda d: slope.stride(d), reverse=True)
        wide = [p.double().reshape((1,) * (dims - p.ndim) + p.shape).permute(order) for p in given]
        alpha, beta, kappa = torch.broadcast_tensors(*wide)
        if self.kind != kernels.LOG_CORRENTROPY:
            kappa = torch.ones_like(kappa)
        sums = alpha.new_zeros(3, *alpha.shape)
        size = min(slope.numel(), kernels._PIECE * torch.get_num_threads())
        work = _Pass(self.kind, unit, kernels.spare_memory(slope, 3, size))
        work.through(slope.permute(order), alpha, beta, kappa, *sums)
        phi, d_alpha, d_beta = sums
        d_kappa = phi if self.kind == kernels.LOG_CORRENTROPY else torch.zeros_like(phi)
        back = [order.index(d) for d in range(dims)]
        of_given = [
            (unit * s).permute(back).sum_to_size(p.shape).to(p.dtype) for s, p in zip((d_alpha, d_beta, d_kappa), given, strict=True)
        ]
        return unit * (kappa * phi).sum().item(), slope, of_given


class _Pass(NamedTuple):
    """One pass through the residuals e. Adds the sum of phi and the derivatives of the sum of kappa phi in alpha and beta
    to `sums`, of the parameters' shape, and puts in the place of every residual its derivative."""

    kind: str
    unit: float
    buffers: Tensor

    def through(self, e: Tensor, *columns: Tensor) -> None:
        """`columns`: alpha, beta, kappa and the sums, with as many dimensions as e has, each of e's length or of 1."""
        size, shape = self.buffers.shape[1], columns[0].shape
        first = next((d for d, n in enumerate(shape) if n > 1), None)
        if first is None and e.numel() <= size:
            self._one(e, *columns)
        elif first is None:
            longest = max(range(e.ndim), key=lambda d: e.shape[d])
            self._in_parts(longest, max(1, size * e.shape[longest] // e.numel()), e, *columns)
        elif e.numel() >= _SHARED * shape.numel():
            self._in_parts(first, 1, e, *columns)
        else:
            width = math.prod(e.shape[first:])
            most = size // min(e.numel() // width, 8)  # so that rows can share their logarithms
            if width > most:
                self._in_parts(first, max(1, most * e.shape[first] // width), e, *columns)
            elif first > 1 and not e.is_contiguous():  # no table
                self._in_parts(0, 1, e, *columns)
            else:
                self._table(e.view(-1, width), e.shape[first:], *(x.view(shape[first:]) for x in columns))

    def _in_parts(self, dim: int, length: int, e: Tensor, *columns: Tensor) -> None:
        for start in range(0, e.shape[dim], length):
            part = min(length, e.shape[dim] - start)
            own = (x if x.shape[dim] == 1 else x.narrow(dim, start, part) for x in columns)
            self.through(e.narrow(dim, start, part), *own)

    def _one(self, e: Tensor, alpha: Tensor, beta: Tensor, kappa: Tensor, *sums: Tensor) -> None:
        row = e.reshape(-1)
        setting = kernels.Setting(self.kind, alpha.item(), beta.item(), kappa.item())
        found = kernels._replace(row, setting, self.unit, self.buffers)
        if not e.is_contiguous():
            e.copy_(row.view_as(e))
        for total, part in zip(sums, found, strict=True):
            total += part

    def _table(
        self, table: Tensor, shape: torch.Size, alpha: Tensor, beta: Tensor, kappa: Tensor, *sums: Tensor
    ) -> None:
        (rows, width), dtype = table.shape, table.dtype
        side = min(rows, _WIDTH // width) if width < _WIDTH and table.is_contiguous() else 1
        log2_beta = beta.log2()
        settings = (alpha, -alpha * log2_beta, self.unit * kappa * alpha)
        settings = [x.expand(shape).reshape(-1).to(dtype).repeat(side) for x in settings]
        whole = rows // side * side
        pieces = [*table[:whole].view(-1, side * width).split(max(1, self.buffers.shape[1] // (side * width)))]
        if whole < rows:
            pieces.append(table[whole:].view(1, -1))
        for piece in pieces:
            own = (x[: piece.shape[1]] for x in settings)
            phi, h, h_log = (
                x.double().view(-1, *shape).sum_to_size(1, *alpha.shape)[0]
                for x in kernels._replace_rows(self.kind, piece, *own, self.buffers)
            )
            found = (phi, kappa * kernels._LN2 * (h_log - log2_beta * h), -kappa * alpha / beta * h)
            for total, part in zip(sums, found, strict=True):
                total += part
