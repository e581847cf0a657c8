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

from .._kernels import softplus
from .._tails import log_survival
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
        level: of `alcl.experiments.levels`, mixed noise with impulses and an additive part.
        sensor: of `LIMITS`.

    Raises:
        ValueError: naming the argument and its legal values.

        >>> KnownNoiseLoss("high", "clipped")(torch.tensor([0.2, 0.9]), torch.tensor([0.0, 0.9])).round(decimals=3)
        tensor(0.3960)
    """

    def __init__(self, level: str, sensor: str = "unclipped"):
        super().__init__()
        mixed = get_level(level)
        if not isinstance(mixed, MixedNoise) or not (0 < mixed.impulse < 1 and mixed.scale > 0):
            raise ValueError(f"level must be mixed noise with impulses and an additive part; got {level!r}: {mixed}")
        one_of("sensor", sensor, LIMITS)
        self.noise, self.lower, self.upper = mixed, *LIMITS[sensor]

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
        beyond = torch.zeros_like(pixel)
        if math.isfinite(self.lower):
            wrong = torch.where(below, pixel - self.lower, torch.where(above, self.upper - pixel, 0.0))
            beyond = self._log_survival(wrong)
        residual = torch.where(below | above, 0.0, target - pixel)
        return torch.where(below | above, beyond, self._log_density(residual))

    def _log_density(self, residual: Tensor) -> Tensor:
        dof, scale = self.noise.dof, self.noise.scale
        if math.isinf(dof):
            return -0.5 * (residual / scale).square() - math.log(scale * math.sqrt(2 * math.pi))
        z = math.lgamma((dof + 1) / 2) - math.lgamma(dof / 2) - 0.5 * math.log(dof * math.pi) - math.log(scale)
        # log(1 + u^2) as a softplus of 2 log u: far residuals overflow nothing
        size = residual.abs().clamp_min(torch.finfo(residual.dtype).tiny)
        return z - 0.5 * (dof + 1) * softplus(2 * (size.log() - math.log(scale * math.sqrt(dof))))

    def _log_survival(self, x: Tensor) -> Tensor:
        dof, scale = self.noise.dof, self.noise.scale
        if math.isinf(dof):
            return torch.special.log_ndtr(-x / scale)
        if dof == 1:
            return (torch.atan2(torch.full_like(x, scale), x) / math.pi).log()
        # Student-t is a generalized t: alpha = 2, beta = scale sqrt(dof), b = dof / 2
        parameters = (2.0, scale * math.sqrt(dof), dof / 2)
        return log_survival(x, *(torch.tensor(value, dtype=x.dtype) for value in parameters))

    def extra_repr(self) -> str:
        return f"{self.noise}, limits=({self.lower:g}, {self.upper:g})"
