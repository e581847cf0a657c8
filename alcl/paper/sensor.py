"""The contaminated and the censored likelihood of notebook 11 as functions to minimise (proofs: appendix A6).

`mixture_loss` is written without the library's losses; `clipped` gives the expectation of any loss under clipped noise,
exact up to quadrature, and `least_expected` the prediction that minimises it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor, nn

__all__ = ["clipped", "least_expected", "mixture_loss"]


def mixture_loss(p: Sequence[float], log_e: np.ndarray, weight: np.ndarray, c: float) -> float:
    """Mean of -log((1 - eps) q(e) + eps c) with the generalized t of kappa = 1 as q; c = 0: of -log q.

    Args:
        p: log(alpha - 1), log beta and the logit of eps.
        log_e: logarithms of the sizes of the residuals (n,): they may be far beyond the largest number.
        weight: their weights (n,).
        c: constant density of contamination.

    >>> round(mixture_loss([0.0, 0.0, 0.0], np.zeros(1), np.ones(1), 0.0), 4)  # Cauchy at 1: log(2 pi)
    1.8379
    """
    alpha, s, logit = 1 + math.exp(p[0]), p[1], p[2]
    log_z = math.log(2 / alpha) + s + special.betaln(1 / alpha, 1 - 1 / alpha)
    log_q = -np.logaddexp(0, alpha * (log_e - s)) - log_z
    if c:
        log_q = np.logaddexp(log_q - np.logaddexp(0, logit), math.log(c) - np.logaddexp(0, -logit))
    return float(-weight @ log_q)


def clipped(place: float, noise: Any, n: int = 120) -> tuple[Tensor, Tensor]:
    """Points and weights of y = clamp(place + noise, 0, 1), so that `weights @ g(points)` is the mean of g(y).

    Args:
        place: the true value, in [0, 1].
        noise: a continuous distribution of scipy.stats, centred at 0.
        n: Gauss-Legendre nodes on either side of `place`, where the density may have a sharp peak.

    Returns two float64 tensors of one length: the two limits with their probabilities, then the nodes between them.
    Raises ValueError if `place` is not in [0, 1].
    """
    if not 0 <= place <= 1:
        raise ValueError(f"place must be in [0, 1]; got {place!r}")
    nodes, gauss = np.polynomial.legendre.leggauss(n)
    sides = list(itertools.pairwise(np.unique([0.0, place, 1.0])))
    y = np.concatenate([(b - a) / 2 * nodes + (a + b) / 2 for a, b in sides])
    mass = np.concatenate([(b - a) / 2 * gauss for a, b in sides]) * noise.pdf(y - place)
    limits = [noise.cdf(-place), noise.sf(1 - place)]
    return torch.tensor(np.append([0.0, 1.0], y)), torch.tensor(np.append(limits, mass))


def least_expected(criterion: nn.Module, y: Tensor, mass: Tensor, start: float) -> float:
    """The prediction of least expected loss over targets `y` with weights `mass`, by L-BFGS from `start`.

    criterion: reduction "none"; what it learns, it learns here, and is left with.
    """
    x = torch.tensor(start, dtype=y.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([x, *criterion.parameters()], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = (criterion(x.expand_as(y), y) * mass).sum()
        value.backward()
        return value

    optimizer.step(closure)
    return x.item()
