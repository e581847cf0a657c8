"""Adaptive log-correntropy loss (ALCL): the loss, its rivals, its density and its influence function.

    criterion = alcl.ALCLoss()  # shape and scale are learned
    optimizer = torch.optim.Adam(alcl.optimizer_groups(model, criterion, lr=1e-3))  # the line people forget

The library needs torch, numpy and scipy. What the companion's notebooks run stands beside it: `alcl.experiments`,
`alcl.related` and `alcl.paper`, which need the extra `companion`.
"""

from . import (
    catalogue,
    censored,
    comparators,
    contaminated,
    diagnostics,
    distributions,
    functional,
    influence,
    losses,
    noise,
)
from .barron import BarronLoss
from .base import AdaptiveLoss, ResidualLoss
from .catalogue import make_loss, register_loss
from .censored import CensoredALCLoss, TobitLoss
from .comparators import StudentTLoss
from .contaminated import ContaminatedALCLoss, ContaminatedT
from .diagnostics import diagnose
from .distributions import GeneralizedT
from .functional import alcl_loss, correntropy_loss, generalized_correntropy_loss, log_correntropy
from .influence import Influence, psi
from .losses import (
    ALCLoss,
    CauchyLoss,
    GeneralizedCorrentropyLoss,
    HuberLoss,
    L1Loss,
    MSELoss,
    optimizer_groups,
)
from .noise import MixedNoise

__version__ = "0.1.0"
__all__ = [
    "ALCLoss",
    "AdaptiveLoss",
    "BarronLoss",
    "CauchyLoss",
    "CensoredALCLoss",
    "ContaminatedALCLoss",
    "ContaminatedT",
    "GeneralizedCorrentropyLoss",
    "GeneralizedT",
    "HuberLoss",
    "Influence",
    "L1Loss",
    "MSELoss",
    "MixedNoise",
    "ResidualLoss",
    "StudentTLoss",
    "TobitLoss",
    "alcl_loss",
    "catalogue",
    "censored",
    "comparators",
    "contaminated",
    "correntropy_loss",
    "diagnose",
    "diagnostics",
    "distributions",
    "functional",
    "generalized_correntropy_loss",
    "influence",
    "log_correntropy",
    "losses",
    "make_loss",
    "noise",
    "optimizer_groups",
    "psi",
    "register_loss",
]
