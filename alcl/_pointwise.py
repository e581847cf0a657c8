"""Elementwise functions with their derivatives in closed form."""

from __future__ import annotations

import torch
from torch import Tensor


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


def pointwise(value, slopes, residual: Tensor, *parameters: Tensor) -> Tensor:
    function = _Pointwise if torch.compiler.is_compiling() else _PointwiseWithForwardMode
    return function.apply(value, slopes, residual, *parameters)
