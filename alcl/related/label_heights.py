"""The asymmetric condition: which heights a of AMSE's target make the most frequent label the minimiser.

Notebook 08 proves it (Theorems C1 and C2). `height_for` is the advice that follows: a, from the noise one suspects.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ._label_base import _number


class Condition(NamedTuple):
    """ratio: w_m / w_n. threshold: what it must reach. holds: whether it does, and w_m is the only largest weight."""

    ratio: Tensor
    threshold: Tensor
    holds: Tensor


def asymmetry_condition(weights: Tensor, a: float, q: float = 2.0) -> Condition:
    """Whether (1/K) ||a e_i - p||_q^q, weighted over labels i, is minimised at the vertex of the largest weight.

    With w_m the largest weight and w_n the second, the minimiser over the simplex is e_m if and only if
    w_m / w_n >= (a^(q-1) + sum_{i != m} w_i / w_n) / (a - 1)^(q-1) (notebook 08, Theorem C1), for q > 1.

    Args:
        weights: (..., K), each >= 0, K >= 2: for one input, how often each label is given to it. a: target height > 1.
        q: exponent > 1.

    Raises:
        ValueError: naming the argument that is out of range.
    """
    weights = _weights(weights)
    a, q = _number("a", a, 1.0, open_low=True), _number("q", q, 1.0, open_low=True)
    top = weights.sort(-1, descending=True).values
    largest, second = top[..., 0], top[..., 1]
    rest = top[..., 1:].sum(-1)
    threshold = (a ** (q - 1) + rest / second) / (a - 1) ** (q - 1)
    # without the division, so that a second weight of zero is no special case
    enough = largest * (a - 1) ** (q - 1) >= second * a ** (q - 1) + rest
    return Condition(largest / second, threshold, enough & (largest > second))


def smallest_height(weights: Tensor, q: float = 2.0) -> Tensor:
    """The least a for which (1/K) ||a e_i - p||_q^q, weighted, is minimised at the largest weight (Theorem C1).

    For q = 2 it is sum(w) / (w_m - w_n), Theorem C2. Else the root of
    w_m (a - 1)^(q-1) = w_n a^(q-1) + sum_{i != m} w_i in a > 1, by bisection: divided by (a - 1)^(q-1) the right side
    falls from infinity to w_n, so there is one. Which power needs least depends on the noise: a low one if one label
    rivals the right one, a higher one if many do; towards q = 1 it grows without bound unless w_m is
    at least w_n + sum_{i != m} w_i.

        >>> smallest_height(torch.tensor([3.0, 1.0])).item(), smallest_height(torch.tensor([3.0, 1.0]), q=3.0).item()
        (2.0, 2.6...)

    Args:
        weights, q: as for `asymmetry_condition`.

    Returns: (...), float64; inf where two weights are the largest, or where a would be above 1e15.
    """
    top, q = _weights(weights).sort(-1, descending=True).values, _number("q", q, 1.0, open_low=True)
    largest, second, rest = top[..., 0], top[..., 1], top[..., 1:].sum(-1)
    if q == 2:
        return top.sum(-1) / (largest - second)
    low, high = torch.full_like(largest, -35.0), torch.full_like(largest, 35.0)  # of log(a - 1)
    for _ in range(100):
        middle = (low + high) / 2
        # in logarithms, a/(a - 1) = 1 + 1/(a - 1): nothing overflows
        rival = second.log() + (q - 1) * (-middle).exp().log1p()
        enough = largest.log() >= torch.logaddexp(rival, rest.log() - (q - 1) * middle)
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return torch.where((largest > second) & (high < 34.9), 1 + high.exp(), torch.inf)


def height_for(transition: Tensor, q: float = 2.0) -> float:
    """Advice: the least a that makes AMSE ignore noise of this transition matrix, for every class (Theorem C2).

    Row i of `transition` is how often an image of class i is given each label. inf: for some class another label is
    given as often as the right one, and no loss on single labels can tell them apart.

        >>> height_for(torch.full((10, 10), 0.8 / 9).fill_diagonal_(0.2))  # symmetric noise, 80 %: about 9
        9.0...
        >>> height_for(torch.tensor([[0.4, 0.6], [0.0, 1.0]]))
        inf

    Args:
        transition: (K, K), rows summing to 1. q: power of AMSE, above 1.

    Raises:
        ValueError: naming the argument and its legal values.
    """
    transition = check_transition(transition)
    right = transition.diagonal()
    others = (transition - torch.diag(right)).max(-1).values
    if bool((right <= others).any()):
        return torch.inf
    return smallest_height(transition, q).max().item()


def check_transition(transition: Tensor) -> Tensor:
    """`transition` as float64. Raises ValueError unless it is (K, K), K >= 2, at least 0, with rows summing to 1."""
    matrix = torch.as_tensor(transition, dtype=torch.float64)
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] >= 2
    if not square or not bool((matrix >= 0).all()) or (matrix.sum(1) - 1).abs().max() > 1e-6:
        raise ValueError(
            f"transition must be of shape (K, K), K >= 2, at least 0, its rows summing to 1; got {tuple(matrix.shape)}"
        )
    return matrix


def amse_minimiser(weights: Tensor, a: float) -> Tensor:
    """argmin over the simplex of sum_i w_i AMSE_a(p, i): the projection of a w / sum(w) onto it (Theorem C1).

    weights: (..., K), each >= 0, not all 0; a >= 1. Returns p of the same shape.
    """
    weights = _weights(weights)
    return simplex_projection(_number("a", a, 1.0) * weights / weights.sum(-1, keepdim=True))


def simplex_projection(v: Tensor) -> Tensor:
    """The point of the probability simplex nearest to v (..., K) in Euclidean distance (Held, Wolfe, Crowder 1974)."""
    u = v.sort(-1, descending=True).values
    count = torch.arange(1, v.shape[-1] + 1, dtype=v.dtype, device=v.device)
    shift = (u.cumsum(-1) - 1) / count
    support = (u > shift).sum(-1, keepdim=True)
    return (v - shift.gather(-1, support - 1)).clamp(min=0)


def _weights(weights: Tensor) -> Tensor:
    weights = torch.as_tensor(weights, dtype=torch.float64)
    if weights.ndim < 1 or weights.shape[-1] < 2 or not bool((weights >= 0).all() & (weights.sum(-1) > 0).all()):
        raise ValueError("weights must be of shape (..., K), K >= 2, each at least 0 and not all 0")
    return weights
