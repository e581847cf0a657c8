"""Location M-estimates: the estimate that a loss defines, and the scale at which it has a wanted efficiency.

What a loss does to a fit is measured by `alcl.influence`; here the fit is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from scipy.optimize import brentq
from torch import Tensor
from torch.distributions import Distribution, Normal

from ..base import ResidualLoss
from ..influence import Influence

__all__ = ["location_estimate", "standard_normal", "tuning_constant"]


def standard_normal() -> Normal:
    """In double precision."""
    return Normal(torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))


def tuning_constant(
    family: Callable[[float], ResidualLoss], efficiency: float = 0.95, distribution: Distribution | None = None
) -> float:
    """Smallest scale at which a family of losses reaches an asymptotic efficiency: the textbooks' tuning constant.

        tuning_constant(lambda delta: HuberLoss(delta))     # 1.345
        tuning_constant(lambda scale: CauchyLoss(scale))    # 2.385

    Losses tuned to one efficiency at the Gaussian can be compared fairly: each has paid the same for its robustness.

    Args:
        family: makes the loss from its scale; searched between 0.01 and 1000.
        efficiency: wanted efficiency, in (0, 1).
        distribution: where it is wanted; the standard normal if None.

    Raises:
        ValueError: `efficiency` outside (0, 1), or not reached by the family: the largest one reached is named.

    >>> from alcl import HuberLoss
    >>> round(tuning_constant(HuberLoss), 3)
    1.345
    """
    if not 0 < efficiency < 1:
        raise ValueError(f"efficiency must lie in (0, 1); got {efficiency}")
    distribution = standard_normal() if distribution is None else distribution

    def excess(log_scale: float) -> float:
        return Influence(family(math.exp(log_scale))).asymptotic_efficiency(distribution) - efficiency

    low, best = None, -math.inf
    for high in torch.linspace(math.log(0.01), math.log(1000.0), 24).tolist():
        value = excess(high)
        best = max(best, value)
        if value >= 0:
            return math.exp(high) if low is None else math.exp(brentq(excess, low, high, xtol=1e-9))
        low = high
    raise ValueError(f"efficiency={efficiency:g} is not reached by this family; its largest is {best + efficiency:.4f}")


def location_estimate(
    samples: Tensor, loss: ResidualLoss, start: float | None = None, max_iterations: int = 10_000
) -> float:
    """Location M-estimate: a t that minimizes the sum of rho(samples - t).

    Found by over-relaxed iteratively reweighted least squares: each step goes twice as far as the weighted mean with
    weights psi(e)/e, until one passes the minimum, which Brent's method then finds between the step's ends. A step
    that does not pass it but raises the sum is halved (Theorem I6 says when that can happen).

    Args:
        samples: finite values, at least one, any shape.
        loss: a loss with scalar parameters; its parameters are held fixed.
        start: where the descent begins. It ends in the minimum of that basin, or at once where the gradient has
            vanished. If None: the best of up to 256 quantiles of the samples, which in practice gives the global
            minimum that defines the estimate.
        max_iterations: a limit on the steps.

    Raises:
        ValueError: empty or non-finite samples, or a start that is not finite.
        RuntimeError: not converged after `max_iterations` steps.

    >>> from alcl import CauchyLoss, MSELoss
    >>> samples = torch.tensor([-0.1, 0.0, 0.1, 1000.0])
    >>> round(location_estimate(samples, MSELoss()), 3), round(location_estimate(samples, CauchyLoss(0.1)), 3)
    (250.0, 0.0)
    """
    influence = Influence(loss)
    x = torch.as_tensor(samples).detach().to("cpu", torch.float64).flatten()
    if x.numel() == 0 or not bool(x.isfinite().all()):
        raise ValueError("samples must be finite and at least one")
    if start is not None and not math.isfinite(start):
        raise ValueError(f"start must be finite; got {start}")

    def objective(t: float) -> float:
        return float(influence.loss.rho(x - t).sum())

    def pull(t: float) -> float:
        return float(influence.psi(x - t).sum())

    if start is None:
        order = torch.linspace(0, x.numel() - 1, min(256, x.numel()), dtype=torch.float64).round().long()
        candidates = x.sort().values[order].split(max(1, 10**6 // x.numel()))  # at most some 10 MB at a time
        sums = [influence.loss.rho(x - some[:, None]).sum(1) for some in candidates]
        start = float(torch.cat(candidates)[torch.cat(sums).argmin()])
    t, step = float(start), 0.0
    tiny = 1e-9 * (float((x - t).abs().median()) or float((x - t).abs().max()))
    for _ in range(max_iterations):
        # A residual of exactly zero may have infinite weight and would hold the estimate where it is.
        e = torch.where(x == t, tiny, x - t)
        w = influence.weight(e)
        if not 0 < float(w.sum()) < math.inf:
            return t  # no gradient is left; or all samples are here
        step = 2 * float((w * e).sum() / w.sum())
        reach = math.sqrt(float((w * e.square()).sum() / w.sum()))  # size of the residuals that count
        if abs(step) <= 1e-10 * reach:
            return t
        if pull(t + step) * step <= 0:
            return float(brentq(pull, t, t + step, xtol=1e-12 * reach)) if pull(t) * step > 0 else t
        while abs(step) > 1e-10 * reach and objective(t + step) > objective(t):
            step /= 2
        t += step
    raise RuntimeError(f"no convergence within max_iterations={max_iterations}; the last step was {abs(step):.2g}")
