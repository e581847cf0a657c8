"""Every residual loss by its name: what experiments, and anyone's own comparison, choose from.

A loss of one's own becomes one of them by one call:

    from alcl.catalogue import register_loss
    register_loss("smooth_l1", torch.nn.SmoothL1Loss, {"beta": 0.1}, label="smooth L1")

From then on `make_loss("smooth_l1", beta=0.3)` makes it, `alcl.experiments` has a method of that name with these
options, and `alcl.paper.figures` draws it, in grey if no colour is given. `alcl.experiments.own_losses` brings it from
a file, and to the worker processes of a sweep.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import nn

from . import barron, batch_scaled, censored, comparators, contaminated, losses
from .base import ResidualLoss

Loss = TypeVar("Loss")

LOSSES: dict[str, Callable[..., ResidualLoss]] = {
    "mse": losses.MSELoss,
    "l1": losses.L1Loss,
    "huber": losses.HuberLoss,
    "cauchy": losses.CauchyLoss,
    "gcl": losses.GeneralizedCorrentropyLoss,
    "huber_mad": batch_scaled.HuberMADLoss,
    "welsch_mad": batch_scaled.WelschMADLoss,
    "student_t": comparators.StudentTLoss,
    "barron": barron.BarronLoss,
    "alcl": losses.ALCLoss,
    "gaussian": comparators.GaussianNLLLoss,
    "generalized_cauchy": comparators.GeneralizedCauchyLoss,
    "pseudo_huber": comparators.PseudoHuberLoss,
    "scheduled_pseudo_huber": comparators.ScheduledPseudoHuberLoss,
    "lmls": comparators.LMLSLoss,
    "log_cosh": comparators.LogCoshLoss,
    "contaminated_alcl": contaminated.ContaminatedALCLoss,
    "censored_alcl": censored.CensoredALCLoss,
    "tobit": censored.TobitLoss,
}


@dataclass(frozen=True)
class OwnLoss:
    """A loss that `register_loss` was given; its arguments.

    >>> OwnLoss("smooth_l1", nn.SmoothL1Loss, {"beta": 0.1}).options
    {'beta': 0.1}
    """

    name: str
    factory: Callable[..., nn.Module]
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str | None = None
    color: str | None = None


#: The losses that were registered, in their order.
OWN: dict[str, OwnLoss] = {}
_followers: list[Callable[[OwnLoss], None]] = []
#: Names that mean something else where methods are chosen; those that begin with "alcl" are also this package's.
_RESERVED = ("all", "clean", "gcl_kept", "gcl_public", "known_noise", "known_noise_wide", "other")
_RESERVED += ("noisy_images", "pca", "untrained")  # no losses


def register_loss(
    name: str,
    factory: Callable[..., nn.Module],
    options: Mapping[str, Any] | None = None,
    *,
    label: str | None = None,
    color: str | None = None,
) -> None:
    """Make a loss of one's own known to this catalogue, to experiments and to figures.

    Records know a loss by its name and options alone. A loss whose code has changed needs another name, or its runs
    are taken to be done.

    Args:
        name: lower-case letters, digits and "_"; no name of a loss or method that comes with this package, and none
            that begins with "alcl". To register a name of one's own again is to replace it.
        factory: factory(**options) is a module whose forward(input, target) is a scalar: most simply a class. An
            `alcl.base.ResidualLoss` needs only its `rho`.
        options: of the method called `name`; JSON values. Other ones can still be given to `make_loss` and `Run`.
        label: in figures; default: the name. color: likewise, anything that matplotlib knows; default: a grey.

    Raises:
        ValueError: an illegal or taken name, options that the factory does not take or refuses.
        TypeError: a factory that cannot be called, or makes no module.

    >>> register_loss("smooth_l1", nn.SmoothL1Loss, {"beta": 0.1}, label="smooth L1")
    >>> make_loss("smooth_l1", beta=0.3)
    SmoothL1Loss()
    """
    if not isinstance(name, str) or not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise ValueError(f"name must be lower-case letters, digits and '_', a letter first; got {name!r}")
    if name in _RESERVED or name.startswith("alcl") or (name in LOSSES and name not in OWN):
        raise ValueError(f"name: {name!r} is taken by a loss or method of this package; take another one")
    if not callable(factory):
        raise TypeError(f"factory must be a class or function that makes the loss; got {type(factory).__name__}")
    loss = chosen({name: factory}, name, options or {})
    if not isinstance(loss, nn.Module):
        raise TypeError(f"factory must make a torch.nn.Module; it made a {type(loss).__name__}")
    if color is not None:
        from matplotlib.colors import is_color_like  # here: who draws nothing needs no matplotlib

        if not is_color_like(color):
            raise ValueError(f"color must be one that matplotlib knows; got {color!r}")
    _announce(OwnLoss(name, factory, dict(options or {}), label, color))


def _announce(loss: OwnLoss) -> None:
    """Enter a loss that has been checked, here or in another process."""
    LOSSES[loss.name] = loss.factory
    OWN[loss.name] = loss
    for follower in _followers:
        follower(loss)


def follow(follower: Callable[[OwnLoss], None]) -> Callable[[OwnLoss], None]:
    """Call `follower` with every loss that is registered, now or later; a decorator.

    >>> seen = []
    >>> _ = follow(lambda loss: seen.append(loss.name))
    >>> register_loss("smooth_l1", nn.SmoothL1Loss)
    >>> seen
    ['smooth_l1']
    """
    _followers.append(follower)
    for loss in OWN.values():
        follower(loss)
    return follower


def make_loss(name: str, **options) -> ResidualLoss:
    """The loss called `name` (a key of `LOSSES`) with its constructor's options; any module, if it is one's own.

    Raises:
        ValueError: unknown name, or an option that this loss does not take, or an illegal value.

    >>> make_loss("huber", delta=0.5)
    HuberLoss(delta=0.5)
    """
    return chosen(LOSSES, name, options)


def chosen(catalogue: Mapping[str, Callable[..., Loss]], name: str, options: Mapping[str, Any]) -> Loss:
    """catalogue[name](**options). Raises ValueError, naming what there is, for a name or option that does not exist.

    >>> chosen({"l1": nn.L1Loss}, "l1", {"reduction": "sum"})
    L1Loss()
    """
    if name not in catalogue:
        raise ValueError(f"loss must be one of {', '.join(catalogue)}; got {name!r}")
    legal = inspect.signature(catalogue[name]).parameters
    unknown = [option for option in options if option not in legal]
    if unknown and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in legal.values()):
        raise ValueError(f"loss {name!r} takes {', '.join(legal)}; got {', '.join(unknown)}")
    return catalogue[name](**options)
