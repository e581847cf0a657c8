"""What every loss on logits and labels has in common: `ClassificationLoss`, and checks of arguments."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

REDUCTIONS = ("none", "mean", "sum")


class ClassificationLoss(nn.Module):
    """A loss on logits. Subclasses give `per_example(log_p, labels)`, or `of_logits` where p is not enough.

    forward(logits, labels): logits (N, K), floating point (half precisions are computed in float32), K >= 2; labels
    (N,) int64 in [0, K). Returns a scalar for reduction "mean" or "sum", shape (N,) for "none".
    """

    def __init__(self, reduction: str = "mean"):
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}; got {reduction!r}")
        self.reduction = reduction

    def per_example(self, log_p: Tensor, labels: Tensor) -> Tensor:
        """Loss of each example, (N,), from log-probabilities (N, K) and labels (N,)."""
        raise NotImplementedError

    def of_logits(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of each example, (N,), from logits (N, K) of float32 or float64 and labels (N,)."""
        return self.per_example(logits.log_softmax(1), labels)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        _check(logits, labels)
        logits = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
        loss = self.of_logits(logits, labels)
        return loss if self.reduction == "none" else getattr(loss, self.reduction)()


def _at(values: Tensor, labels: Tensor) -> Tensor:
    return values.gather(1, labels[:, None]).squeeze(1)


def _wrong(log_p: Tensor, labels: Tensor) -> Tensor:
    """1 - p_y."""
    return -torch.expm1(_at(log_p, labels))


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or logits.shape[1] < 2 or not logits.is_floating_point():
        raise ValueError(
            f"logits must be floating point of shape (N, K), K >= 2; got {logits.dtype} {tuple(logits.shape)}"
        )
    if labels.dtype != torch.int64 or labels.shape != logits.shape[:1]:
        found = f"{labels.dtype} {tuple(labels.shape)}"
        raise ValueError(f"labels must be int64 of shape ({len(logits)},), as logits have rows; got {found}")


def _number(name: str, value: float, low: float, high: float = math.inf, open_low: bool = False) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (low < number if open_low else low <= number) or not number <= high or math.isinf(number):
        legal = f"{'above' if open_low else 'at least'} {low:g}" + (f" and at most {high:g}" if high < math.inf else "")
        raise ValueError(f"{name} must be finite, {legal}; got {value!r}")
    return number
