"""Adaptive log-correntropy loss (ALCL): the loss, its density, its influence function, and the experiments.

from alcl import ALCLoss, optimizer_groups

criterion = ALCLoss()                                                  # shape and scale are learned
optimizer = torch.optim.Adam(optimizer_groups(model, criterion, lr=1e-3))   # the line people forget
"""

from .densities import GeneralizedT
from .losses import ALCLoss, GeneralizedCorrentropyLoss, alcl_loss, generalized_correntropy_loss, optimizer_groups

__version__ = "0.1.0"
__all__ = [
    "ALCLoss",
    "GeneralizedCorrentropyLoss",
    "GeneralizedT",
    "alcl_loss",
    "generalized_correntropy_loss",
    "optimizer_groups",
]
