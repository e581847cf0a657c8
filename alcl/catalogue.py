"""Every residual loss by its name: what experiments, and anyone's own comparison, choose from."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from . import comparators, losses
from .losses import ResidualLoss

Loss = TypeVar("Loss")

LOSSES: dict[str, Callable[..., ResidualLoss]] = {
    "mse": losses.MSELoss,
    "l1": losses.L1Loss,
    "huber": losses.HuberLoss,
    "cauchy": losses.CauchyLoss,
    "gcl": losses.GeneralizedCorrentropyLoss,
    "student_t": comparators.StudentTLoss,
    "barron": comparators.BarronLoss,
    "alcl": losses.ALCLoss,
    "gaussian": comparators.GaussianNLLLoss,
    "generalized_cauchy": comparators.GeneralizedCauchyLoss,
    "pseudo_huber": comparators.PseudoHuberLoss,
    "scheduled_pseudo_huber": comparators.ScheduledPseudoHuberLoss,
    "lmls": comparators.LMLSLoss,
    "log_cosh": comparators.LogCoshLoss,
}


def make_loss(name: str, **options) -> ResidualLoss:
    """The loss called `name` (a key of `LOSSES`) with its constructor's options.

    Raises:
        ValueError: unknown name, or an option that this loss does not take, or an illegal value.
    """
    return chosen(LOSSES, name, options)


def chosen(catalogue: Mapping[str, Callable[..., Loss]], name: str, options: Mapping[str, Any]) -> Loss:
    """catalogue[name](**options). Raises ValueError, naming what there is, for a name or option that does not exist."""
    if name not in catalogue:
        raise ValueError(f"loss must be one of {', '.join(catalogue)}; got {name!r}")
    legal = inspect.signature(catalogue[name]).parameters
    unknown = [option for option in options if option not in legal]
    if unknown:
        raise ValueError(f"loss {name!r} takes {', '.join(legal)}; got {', '.join(unknown)}")
    return catalogue[name](**options)
