"""The likelihood that knows the noise: what a loss could win at most, where the noise is known and nothing is learned.

A target is y = sensor(x', + scale t_dof), x' being the pixel x or, with probability p / 2 each, 0 or 1
(`noise.MixedNoise`). With q the density of scale t_dof and m the prediction, the density of y given x = m is

    p(y | m) = (1 - p) q(y - m) + (p / 2) (q(y) + q(y - 1)),

and at a limit of the sensor, densities become the probabilities of what lies beyond it. The second part does not depend
on m: it is a contamination of known fraction and known density, and `ContaminatedALCLoss` guesses at both.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .._tails import log_survival
from ..functional import alcl_loss
from ..noise import MixedNoise
from .configs import one_of
from .levels import NETWORK_RANGE, get_level

#: Sensor -> (lower, upper): what is at a limit says "at or beyond".
LIMITS = {
    "unclipped": (-math.inf, math.inf),
    "clamped": NETWORK_RANGE,
    "clipped": (0.0, 1.0),
}


class KnownNoiseLoss(nn.Module):
    """Mean of -log p(target | input), with the noise's own density; nothing is learned.

    Args:
        level: of `alcl.experiments.levels`, mixed noise with impulses and Student-t noise.
        sensor: of `LIMITS`.

    Raises:
        ValueError: naming the argument and its legal values.

        >>> KnownNoiseLoss("high", "clipped")(torch.tensor([0.2, 0.9]), torch.tensor([0.0, 0.9])).round(decimals=3)
        tensor(0.3960)
    """

    def __init__(self, level: str, sensor: str = "unclipped"):
        super().__init__()
        mixed = get_level(level)
        whole = isinstance(mixed, MixedNoise) and 0 < mixed.impulse < 1 and mixed.scale > 0 and mixed.dof < math.inf
        if not whole:
            raise ValueError(f"level must be mixed noise with impulses and Student-t noise; got {level!r}: {mixed}")
        one_of("sensor", sensor, LIMITS)
        self.noise, self.lower, self.upper = mixed, *LIMITS[sensor]
        # Student-t is a generalized t: alpha, beta, kappa
        self.density = (2.0, mixed.scale * math.sqrt(mixed.dof), (mixed.dof + 1) / 2)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The mean over all elements; input and target of one shape."""
        return -self.log_prob(input, target).mean()

    def log_prob(self, input: Tensor, target: Tensor) -> Tensor:
        """log p(target | input), elementwise: of the density between the limits, of the probability at them."""
        log_impulse = math.log(self.noise.impulse / 2)
        impulses = [self._log_part(torch.full_like(target, pixel), target) + log_impulse for pixel in (0.0, 1.0)]
        other = torch.logaddexp(*impulses)
        core = self._log_part(input, target) + math.log1p(-self.noise.impulse)
        return torch.logaddexp(core, other)

    def posterior(self, input: Tensor, target: Tensor) -> Tensor:
        """P(impulse | target, input), elementwise."""
        core = self._log_part(input, target) + math.log1p(-self.noise.impulse)
        return -torch.expm1(core - self.log_prob(input, target))

    def _log_part(self, pixel: Tensor, target: Tensor) -> Tensor:
        """log of q(target - pixel), or of the probability beyond the limit at which the target is."""
        below, above = target <= self.lower, target >= self.upper
        zero = beyond = torch.zeros_like(pixel)
        if math.isfinite(self.lower):
            wrong = torch.where(below, pixel - self.lower, torch.where(above, self.upper - pixel, 0.0))
            beyond = self._log_survival(wrong)
        residual = torch.where(below | above, 0.0, target - pixel)
        return torch.where(below | above, beyond, -alcl_loss(residual, zero, *self.density, reduction="none"))

    def _log_survival(self, x: Tensor) -> Tensor:
        if self.noise.dof == 1:  # high and extreme, and much the cheapest
            return (torch.atan2(torch.full_like(x, self.noise.scale), x) / math.pi).log()
        alpha, beta, kappa = self.density
        return log_survival(x, *(torch.tensor(value, dtype=x.dtype) for value in (alpha, beta, kappa - 1 / alpha)))

    def extra_repr(self) -> str:
        return f"{self.noise}, limits=({self.lower:g}, {self.upper:g})"
