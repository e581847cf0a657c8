"""Every loss of the library beside every distribution of residuals: efficiency, sensitivity, rejection in one table."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
import torch
from torch.distributions import Categorical, Distribution, MixtureSameFamily, Normal

from ..base import ResidualLoss
from ..comparators import (
    BarronLoss,
    GaussianNLLLoss,
    GeneralizedCauchyLoss,
    LMLSLoss,
    LogCoshLoss,
    PseudoHuberLoss,
    StudentTLoss,
)
from ..experiments.location import standard_normal
from ..influence import Influence
from ..losses import ALCLoss, CauchyLoss, GeneralizedCorrentropyLoss, HuberLoss, L1Loss, MSELoss


def table(
    losses: Mapping[str, ResidualLoss] | None = None, distributions: Mapping[str, Distribution] | None = None
) -> pd.DataFrame:
    """Robustness of several losses, one a row, measured by `Influence`.

    Columns: supremum, location (where |psi| is largest), tail_exponent (of psi), rejection_1pc (effective rejection
    point, 1% of the supremum), lipschitz (of psi); then for each distribution its name with the prefix
    "sensitivity " (gross-error sensitivity) and "efficiency ".

    Args:
        losses: name -> loss with scalar parameters. Default: `default_losses()`, all at scale 1 but Huber (1.345).
        distributions: name -> symmetric distribution. Default: Gaussian, Laplace, t3, Cauchy, and 10% contamination.
    """
    losses = default_losses() if losses is None else losses
    distributions = default_distributions() if distributions is None else distributions
    rows = {}
    for name, loss in losses.items():
        influence = Influence(loss)
        value, location = influence.supremum()
        row = {
            "supremum": value,
            "location": location,
            "tail_exponent": influence.tail_exponent(),
            "rejection_1pc": influence.rejection_point(0.01),
            "lipschitz": influence.lipschitz(),
        }
        moments = {label: influence._moments(distribution) for label, distribution in distributions.items()}
        row |= {f"sensitivity {label}": value / m.positive_slope for label, m in moments.items()}
        row |= {f"efficiency {label}": m.efficiency for label, m in moments.items()}
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("loss")


def default_losses() -> dict[str, ResidualLoss]:
    """The losses `table` compares by default: every loss of the library, ALCL at several shapes and tail weights."""
    return {
        "MSE": MSELoss(),
        "L1": L1Loss(),
        "Huber 1.345": HuberLoss(1.345),
        "GCL a=2": GeneralizedCorrentropyLoss(2.0, 1.0),
        "Cauchy": CauchyLoss(1.0),
        "Student-t 3": StudentTLoss(3.0, 1.0),
        "Barron a=0.5": BarronLoss(0.5, 1.0),
        "Barron a=1": BarronLoss(1.0, 1.0),
        "Barron a=1.5": BarronLoss(1.5, 1.0),
        "generalized Cauchy a=1.5": GeneralizedCauchyLoss(1.5, 1.0, learn=()),
        "pseudo-Huber 1": PseudoHuberLoss(1.0),
        "log-cosh": LogCoshLoss(1.0),
        "LMLS": LMLSLoss(1.0),
        "LLAD": LMLSLoss(1.0, power=1),
        "Gaussian, any scale": GaussianNLLLoss(1.0, learn=()),
        "ALCL a=1.2": ALCLoss(1.2, 1.0, learn=()),
        "ALCL a=1.5": ALCLoss(1.5, 1.0, learn=()),
        "ALCL a=2": ALCLoss(2.0, 1.0, learn=()),
        "ALCL a=3": ALCLoss(3.0, 1.0, learn=()),
        "ALCL a=2, k=3": ALCLoss(2.0, 1.0, 3.0, learn=()),
    }


def contaminated_normal(fraction: float = 0.1, scale: float = 3.0) -> MixtureSameFamily:
    """Tukey's contaminated Gaussian: N(0, 1) with probability 1 - fraction, else N(0, scale^2).

    Args:
        fraction: probability of contamination, in (0, 1).
        scale: standard deviation of the contaminating part, positive.

    Raises:
        ValueError: an argument outside its range.

    >>> contaminated_normal(0.1, 3.0).variance  # 0.9 + 0.1 * 9
    tensor(1.8000, dtype=torch.float64)
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must lie in (0, 1); got {fraction}")
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError(f"scale must be positive and finite; got {scale}")
    probabilities = torch.tensor([1 - fraction, fraction], dtype=torch.float64)
    scales = torch.tensor([1.0, scale], dtype=torch.float64)
    return MixtureSameFamily(Categorical(probabilities), Normal(torch.zeros_like(scales), scales))


def default_distributions() -> dict[str, Distribution]:
    """The distributions `table` uses by default: from no tails to no mean."""
    zero, one = torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    return {
        "Gaussian": standard_normal(),
        "Laplace": torch.distributions.Laplace(zero, one),
        "t3": torch.distributions.StudentT(3 * one),
        "Cauchy": torch.distributions.StudentT(one),
        "10% contaminated": contaminated_normal(0.1, 3.0),
    }
