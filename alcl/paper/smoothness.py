"""How smooth the log-correntropy loss is in its residual: two constants of the theory of descent, in closed form.

`alcl.influence.Influence` measures the first of them for any loss.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..influence import _prepare

__all__ = ["lipschitz", "weak_convexity"]


def lipschitz(alpha: Tensor | float, beta: Tensor | float, kappa: Tensor | float = 1.0) -> Tensor:
    """sup |psi'|, the Lipschitz constant of the gradient (Theorem I7).

    inf for alpha < 2, where psi rises vertically at 0 (or jumps); 2 kappa / beta^2 at alpha = 2. For alpha >= 2 the
    extrema of psi' lie where w = |u|^alpha solves 2 w^2 - (alpha - 1)(alpha + 4) w + (alpha - 1)(alpha - 2) = 0; the
    smaller root is the steepest rise, the larger the steepest fall.

    Returns:
        Tensor of the broadcast shape, in units of 1/beta^2.

    Raises:
        ValueError: a parameter that is not positive and finite.

    >>> lipschitz(2.0, 0.5).item(), lipschitz(1.5, 0.5).item()
    (8.0, inf)
    """
    _, alpha, beta, kappa = _prepare(None, alpha, beta, kappa)
    a = alpha.clamp(min=2)
    steepest_fall = _steepest_fall(a)
    smaller = (a - 1) * (a - 2) / 2 / steepest_fall  # by the product of the roots: no cancellation as alpha -> 2
    value = kappa * a / beta.square() * torch.maximum(_slope(smaller, a), -_slope(steepest_fall, a))
    return torch.where(alpha < 2, torch.inf, value)


def weak_convexity(alpha: Tensor | float, beta: Tensor | float, kappa: Tensor | float = 1.0) -> Tensor:
    """sup(-psi'), the least c for which rho(e) + c e^2 / 2 is convex (Theorem J8).

    Finite exactly for alpha >= 1, where `lipschitz` may not be: the theory of descent on weakly convex functions covers
    the shapes between 1 and 2 as well. It is kappa / beta^2 at alpha = 1, at most that up to alpha = 4.74, least
    (0.21 kappa / beta^2) at alpha = 1.51, and kappa / (4 beta^2) at alpha = 2.

    Returns:
        Tensor of the broadcast shape, in units of 1/beta^2; inf for alpha < 1.

    Raises:
        ValueError: a parameter that is not positive and finite.

    >>> weak_convexity(2.0, 0.5).item(), weak_convexity(1.0, 0.5).item()
    (1.0, 4.0)
    """
    _, alpha, beta, kappa = _prepare(None, alpha, beta, kappa)
    a = torch.where(alpha > 1, alpha, 2.0)
    value = torch.where(alpha > 1, -a * _slope(_steepest_fall(a), a), torch.ones_like(alpha))
    return torch.where(alpha < 1, torch.inf, kappa / beta.square() * value)


def _slope(w: Tensor, alpha: Tensor) -> Tensor:
    """beta^2 psi' / (kappa alpha) where |e/beta|^alpha = w."""
    return w.pow(1 - 2 / alpha) * (alpha - 1 - w) / (1 + w).square()


def _steepest_fall(alpha: Tensor) -> Tensor:
    """w = |u|^alpha where psi' is least, for alpha > 1: the larger root of the quadratic in `lipschitz`."""
    half, product = (alpha - 1) * (alpha + 4) / 2, (alpha - 1) * (alpha - 2) / 2
    return half / 2 + (half.square() / 4 - product).clamp(min=0).sqrt()
