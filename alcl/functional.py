"""The losses as functions: elementwise ones of the residual, and forms with the signature of `nn.functional.mse_loss`.

They keep no state, and do not look for residuals that are inf or NaN: see `alcl.losses`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from . import _kernels as kernels
from . import _rows as rows
from .distributions import log_normalizer

REDUCTIONS = ("none", "mean", "sum")


# --- elementwise functions of the residual --------------------------------------------------------------------------


def log_correntropy(residual: Tensor, alpha, beta, kappa=1.0) -> Tensor:
    """Log-correntropy rho(e) = kappa log(1 + |e/beta|^alpha), elementwise (mathematics: Theorem L2).

    Args:
        residual: residuals e, any shape, float32 or float64 (half precisions and integers are computed in float32).
        alpha: shape > 0 (scalar or tensor that broadcasts against `residual`); above 1 the gradient is continuous.
        beta: scale > 0, in the units of the residual.
        kappa: tail weight > 0; the paper's loss is kappa = 1.

    Returns:
        rho >= 0 with the broadcast shape, finite for every finite residual, to a relative error of at most
        2 eps (1 + alpha (|log|e|| + |log beta|)), measured (see `alcl._kernels`). Differentiable twice in all four
        arguments. Its derivative is bounded for alpha >= 1 and falls like kappa alpha / |e| (Theorems I1, I2).

    >>> log_correntropy(torch.tensor([0.0, 1.0, 1e30]), alpha=2.0, beta=1.0)
    tensor([  0.0000,   0.6931, 138.1551])
    """
    return rows.each(*_arguments(residual, alpha, beta, kappa))


def correntropy_loss(residual: Tensor, alpha, beta) -> Tensor:
    """Generalized correntropy loss 1 - exp(-|e/beta|^alpha), elementwise (Chen et al., IEEE TSP 64(13), 2016).

    Computed with expm1, so a residual of 1e-4 keeps all its digits in float32. Far outside the kernel the loss is
    exactly 1 and its gradient exactly 0. Arguments as for `log_correntropy`; differentiable twice in all of them.

    >>> correntropy_loss(torch.tensor([0.0, 1e-4, 100.0]), alpha=2.0, beta=1.0)
    tensor([0.0000e+00, 1.0000e-08, 1.0000e+00])
    """
    return kernels.elementwise(kernels.CORRENTROPY, *_arguments(residual, alpha, beta, 1.0))


# --- functional forms with the signature of torch.nn.functional.mse_loss --------------------------------------------


def alcl_loss(
    input: Tensor, target: Tensor, alpha, beta, kappa=1.0, reduction: str = "mean", normalized: bool = True
) -> Tensor:
    """Adaptive log-correntropy loss: kappa log(1 + |e/beta|^alpha) + log Z(alpha, beta, kappa), reduced.

    Z = (2 beta / alpha) B(1/alpha, kappa - 1/alpha) needs kappa alpha > 1 (Theorem L3). With `normalized=False` log Z
    is left out: fine while alpha and beta are constants, degenerate when they are learned (beta grows without bound).
    The value may be negative; see the module's docstring.

    >>> input, target = torch.tensor([0.0, 3.0]), torch.zeros(2)
    >>> alcl_loss(input, target, alpha=2.0, beta=1.0, reduction="none")
    tensor([1.1447, 3.4473])
    >>> alcl_loss(input, target, alpha=2.0, beta=1.0, normalized=False)
    tensor(1.1513)
    """
    _check_reduction(reduction)
    residual, alpha, beta, kappa = _enlarged(*_arguments(_residual(input, target), alpha, beta, kappa))
    log_z = log_normalizer(alpha, beta, kappa) if normalized else None
    if reduction == "none":
        rho = log_correntropy(residual, alpha, beta, kappa)
        return rho if log_z is None else rho + log_z
    return _reduced(kernels.LOG_CORRENTROPY, residual, (alpha, beta, kappa), log_z, reduction)


def generalized_correntropy_loss(input: Tensor, target: Tensor, alpha=2.0, beta=1.0, reduction: str = "mean") -> Tensor:
    """Generalized correntropy loss of input - target, reduced; see `correntropy_loss`.

    >>> generalized_correntropy_loss(torch.tensor([0.0, 50.0]), torch.zeros(2))
    tensor(0.5000)
    """
    _check_reduction(reduction)
    residual, alpha, beta, one = _enlarged(*_arguments(_residual(input, target), alpha, beta, 1.0))
    if reduction == "none":
        return correntropy_loss(residual, alpha, beta)
    return _reduced(kernels.CORRENTROPY, residual, (alpha, beta, one), None, reduction)


# --- helpers --------------------------------------------------------------------------------------------------------


def _at_least_float32(x: Tensor) -> Tensor:
    if x.dtype in (torch.float32, torch.float64):
        return x
    if x.is_complex():
        raise TypeError("residuals must be real; take the modulus, or the two parts, of a complex one")
    return x.float()  # half precisions, and integers: a parameter must not be cut to an integer


def _like(parameter, residual: Tensor) -> Tensor:
    if isinstance(parameter, Tensor):
        return parameter
    return torch.as_tensor(parameter, dtype=residual.dtype, device=residual.device)


def _residual(input: Tensor, target: Tensor) -> Tensor:
    input, target = _pair(input, target)
    return input - target


def _pair(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if input.shape != target.shape:
        raise ValueError(f"input and target must have one shape; got {tuple(input.shape)} and {tuple(target.shape)}")
    # Half precisions are widened before the subtraction: a float16 difference can overflow.
    return _at_least_float32(input), _at_least_float32(target)


def _arguments(residual: Tensor, alpha, beta, kappa) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Residual and parameters as tensors of one floating type, at least float32."""
    residual = _at_least_float32(residual)
    parameters = [_like(p, residual) for p in (alpha, beta, kappa)]
    dtype = functools.reduce(torch.promote_types, (p.dtype for p in parameters), residual.dtype)
    return residual.to(dtype), *(p.to(dtype) for p in parameters)


def _enlarged(residual: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
    """The residual seen as one element for every value of the parameters too, so that a mean counts them all."""
    shape = torch.broadcast_shapes(residual.shape, *(p.shape for p in parameters))
    return residual.expand(shape), *parameters


def _reduced(kind: str, residual: Tensor, parameters: Sequence[Tensor], log_z: Tensor | None, reduction: str) -> Tensor:
    if rows.fit(residual, None, *parameters):
        total = rows.reduced(kind, residual, None, *parameters, reduction == "mean")
        return _plus_normalizer(total, log_z, residual.numel(), reduction)
    return _finish(kernels.elementwise(kind, residual, *parameters).sum(), log_z, residual, reduction)


def _finish(rho_sum: Tensor, log_z: Tensor | None, residual: Tensor, reduction: str) -> Tensor:
    """Mean or sum from the sum of rho. log Z broadcasts evenly over the elements: its mean over the parameters is its
    mean over the elements."""
    count = residual.numel()
    if reduction == "mean" and count == 0:  # NaN, with the gradients of a sum over nothing
        return _finish(rho_sum, log_z, residual, "sum") + math.nan
    total = rho_sum / count if reduction == "mean" else rho_sum
    return _plus_normalizer(total, log_z, count, reduction)


def _plus_normalizer(total: Tensor, log_z: Tensor | None, count: int, reduction: str) -> Tensor:
    if log_z is None:
        return total
    return total + (log_z.mean() if reduction == "mean" else count * log_z.mean())


def _check_reduction(reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}; got {reduction!r}")
