"""Joint maximum likelihood of location, shape and scale (kappa = 1), for many samples or distributions at once.

A sample is a row of residuals; a distribution is its quadrature weights on `NODES` (`node_weights`), so that one
function solves both: `joint_estimates`, by Fisher scoring. Contaminate the weights a little and solve again, and the
difference is the influence function by definition (notebook 03, Theorems A7 and A8).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..distributions import GeneralizedT

__all__ = ["NODES", "STEP", "joint_estimates", "node_weights"]

# Double-exponential nodes on either half-line, e = exp(pi/2 sinh t): exact to rounding for power-law tails. An integral
# of g over the line is (g(NODES) * STEP).sum().
_T = torch.linspace(-3.4, 3.4, 545, dtype=torch.float64)
_HALF = torch.exp(math.pi / 2 * _T.sinh())
NODES = torch.cat([-_HALF.flip(0), _HALF])
STEP = torch.cat([(_HALF * _T.cosh()).flip(0), _HALF * _T.cosh()]) * (math.pi / 2) * float(_T[1] - _T[0])
_NAMES = ("location", "alpha", "beta")


@functools.cache
def node_weights(density: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """Quadrature weights of a distribution on `NODES`, which sum to 1.

    Args:
        density: its density, from arrays to arrays. Results are kept, so pass the same object again.

    Raises ValueError if the weights miss a thousandth of the mass or more: no density, or one too narrow for the nodes.
    """
    with np.errstate(over="ignore", under="ignore"):
        weight = torch.as_tensor(density(NODES.numpy())) * STEP
    total = float(weight.sum())
    if not abs(total - 1) < 1e-3:
        raise ValueError(f"density: its integral over the nodes is {total:.4g}, not 1")
    return weight / weight.sum()


def joint_estimates(
    e: Tensor,
    weight: Tensor | None = None,
    learn: Sequence[str] = _NAMES,
    start: Sequence[float | Tensor] = (0.0, 2.0, 1.0),
    tolerance: float = 1e-13,
) -> Tensor:
    """Roots of the likelihood equations of GeneralizedT with kappa = 1, one for each row, by Fisher scoring.

    Args:
        e: residuals (rows, n), float64.
        weight: their weights, (rows, n) or (n,), each row summing to 1; by default 1/n.
        learn: which of "location", "alpha", "beta" to solve for; the others stay at `start`.
        start: location, alpha, beta; numbers, or tensors of one value a row.
        tolerance: on every mean score, in units of beta (location, beta) and of alpha - 1.

    Returns (rows, 3): location, alpha, beta. The root is the one that the start leads to.
    Raises ValueError for an unknown name in `learn`, RuntimeError if a row does not converge in 300 steps.
    """
    if not learn or set(learn) - set(_NAMES):
        raise ValueError(f"learn: must name some of {', '.join(_NAMES)}, got {learn!r}")
    weight = torch.full_like(e, 1 / e.shape[1]) if weight is None else weight.expand_as(e)
    keep = [_NAMES.index(name) for name in learn]
    theta = torch.stack([torch.as_tensor(x, dtype=e.dtype).expand(len(e)) for x in start], 1).clone()
    todo = torch.arange(len(e))  # rows whose equations are not solved yet
    for iteration in range(300):
        location, alpha, beta = theta[todo].T[..., None]
        model = GeneralizedT(alpha, beta, torch.ones_like(alpha), validate_args=False)
        score = (model.score(e[todo] - location)[..., keep] * weight[todo, :, None]).sum(1)
        step = torch.zeros(len(todo), 3, dtype=e.dtype)
        step[:, keep] = torch.linalg.solve(model.fisher_information()[:, 0][:, keep][:, :, keep], score)
        unit = torch.cat([beta, alpha - 1, beta], 1)
        # No step leaves the legal range; rows that overshoot for long are damped.
        by = (step / unit).clamp(-1, 1).T[..., None] * (1 if iteration < 30 else 0.3)
        theta[todo] = torch.cat([location + by[0] * beta, 1 + (alpha - 1) * by[1].exp(), beta * by[2].exp()], 1)
        todo = todo[(score * unit[:, keep]).abs().amax(1) > tolerance]
        if not len(todo):
            return theta
    raise RuntimeError(f"{len(todo)} of {len(e)} rows did not converge")
