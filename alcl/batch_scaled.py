"""Huber's and Welsch's loss with a width from the batch: what robust regression does between two steps of fitting.

The width is a factor times the normalised median absolute residual of the batch at hand, 1.4826 median |e|: centred at
zero, as for residuals; the lower of two middle values; consistent for Gaussian residuals. It is a constant to the
gradient, as in iteratively reweighted least squares. The factors are the textbook's, for 95 % efficiency at the
Gaussian (Huber 1981; Holland and Welsch 1977).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from . import _kernels as kernels
from .base import ResidualLoss, _positive

__all__ = ["HuberMADLoss", "WelschMADLoss"]

#: 1 / quantile(3/4) of the standard normal.
CONSISTENT = 1.482602218505602


class _MADLoss(ResidualLoss):
    """factor > 0: the width in normalised median absolute residuals. scale_min > 0: floor of these, in the units of the
    residual, for batches of which half is fitted exactly."""

    def __init__(self, factor: float, scale_min: float = 1e-3, reduction: str = "mean", nonfinite: str = "raise"):
        super().__init__(reduction, nonfinite)
        self.factor, self.scale_min = _positive("factor", factor), _positive("scale_min", scale_min)

    def width(self, residual: Tensor) -> Tensor:
        """The width for a batch of residuals, of any shape: a scalar without gradient, at least factor * scale_min."""
        size = residual.detach().abs().flatten()
        if not size.numel():
            return size.new_full((), self.factor * self.scale_min)
        if type(size) is Tensor and size.device.type == "cpu" and kernels.numbers_can_be_read():
            # numpy's selection: a tenth of the time of torch's, which is half of a training step
            half = (size.numel() - 1) // 2
            middle = size.new_tensor(np.partition(size.numpy(), half)[half])
        else:
            middle = size.median()
        return self.factor * (CONSISTENT * middle).clamp(min=self.scale_min)

    def extra_repr(self) -> str:
        return f"factor={self.factor:g}"


class HuberMADLoss(_MADLoss):
    """Huber's loss, e^2/2 up to the width and linear beyond, with width 1.345 normalised MAD of the batch.

    >>> import torch
    >>> e = torch.tensor([-1.0, 0.5, -0.5, 100.0])
    >>> loss = HuberMADLoss(reduction="none")
    >>> loss.width(e)  # 1.345 * 1.4826 * 0.5
    tensor(0.9971)
    """

    def __init__(
        self, factor: float = 1.345, scale_min: float = 1e-3, reduction: str = "mean", nonfinite: str = "raise"
    ):
        super().__init__(factor, scale_min, reduction, nonfinite)

    def rho(self, residual: Tensor) -> Tensor:
        width, size = self.width(residual), residual.abs()
        near = size.clamp(max=width)
        return near * (size - 0.5 * near)


class WelschMADLoss(_MADLoss):
    """Welsch's loss, (w^2/2) (1 - exp(-(e/w)^2)), with width w of 2.985 normalised MAD of the batch.

    GCL at alpha = 2 with a scale that follows the batch.

    >>> loss = WelschMADLoss(reduction="none")
    >>> loss(torch.tensor([0.5, -0.5, 0.5, 100.0]), torch.zeros(4))  # the last is w^2 / 2, w = 2.985 * 1.4826 * 0.5
    tensor([0.1219, 0.1219, 0.1219, 2.4482])
    """

    def __init__(
        self, factor: float = 2.985, scale_min: float = 1e-3, reduction: str = "mean", nonfinite: str = "raise"
    ):
        super().__init__(factor, scale_min, reduction, nonfinite)

    def rho(self, residual: Tensor) -> Tensor:
        width = self.width(residual)
        return -0.5 * width * (width * torch.expm1(-(residual / width).square()))
