"""The likelihood that knows the noise: what a loss could win at most, where the noise is known and nothing is learned.

A target is y = sensor(x', + scale t_dof), x' being the pixel x or, with probability p / 2 each, 0 or 1
(`noise.MixedNoise`). With q the density of scale t_dof and m the prediction, the density of y given x = m is

    p(y | m) = (1 - p) q(y - m) + (p / 2) (q(y) + q(y - 1)),

and at a limit of the sensor, densities become the probabilities of what lies beyond it. The second part does not depend
on m: it is a contamination of known fraction and known density, and `ContaminatedALCLoss` guesses at both.

A ceiling it is only where training finds its optimum, and from scratch it does not: the noise is narrow beside the
first residuals, and on MNIST the network's outputs saturate at one, mostly black, image for every input. So `start`
lets the density begin wide and narrow down to the noise's own; what decides that it helped is the loss on training
targets, which falls lower.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

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
        level: of `alcl.experiments.levels`, mixed noise with impulses and Student-t noise.
        sensor: of `LIMITS`.
        start: None, or the scale of q(y - m) as training begins, > 0; it goes to the noise's own geometrically,
            and is there after the share `until` of all steps, in (0, 1]. Training calls `advance`.

    Raises:
        ValueError: naming the argument and its legal values.

        >>> KnownNoiseLoss("high", "clipped")(torch.tensor([0.2, 0.9]), torch.tensor([0.0, 0.9])).round(decimals=3)
        tensor(0.3960)
    """

    def __init__(self, level: str, sensor: str = "unclipped", start: float | None = None, until: float = 0.5):
        super().__init__()
        mixed = get_level(level)
        whole = isinstance(mixed, MixedNoise) and 0 < mixed.impulse < 1 and mixed.scale > 0 and mixed.dof < math.inf
        if not whole:
            raise ValueError(f"level must be mixed noise with impulses and Student-t noise; got {level!r}: {mixed}")
        one_of("sensor", sensor, LIMITS)
        if start is not None and not 0 < start < math.inf:
            raise ValueError(f"start must be positive and finite; got {start!r}")
        if not 0 < until <= 1:
            raise ValueError(f"until must be positive and at most 1; got {until!r}")
        self.noise, self.lower, self.upper = mixed, *LIMITS[sensor]
        self.start, self.until = start, until
        self.scale = mixed.scale if start is None else start  # of q(y - m), now

    def advance(self, t: float) -> None:
        """Set the scale of q(y - m) for the share t of training, in [0, 1]."""
        if self.start is not None:
            self.scale = self.noise.scale * (self.start / self.noise.scale) ** max(0.0, 1 - t / self.until)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The mean over all elements; input and target of one shape."""
        return -self.log_prob(input, target).mean()

    def log_prob(self, input: Tensor, target: Tensor) -> Tensor:
        """log p(target | input), elementwise: of the density between the limits, of the probability at them."""
        impulses = [self._log_part(target.new_tensor(pixel), target, self.noise.scale) for pixel in (0.0, 1.0)]
        impulse = torch.logaddexp(*impulses) + math.log(self.noise.impulse / 2)
        return torch.logaddexp(self._log_core(input, target), impulse)

    def posterior(self, input: Tensor, target: Tensor) -> Tensor:
        """P(impulse | target, input), elementwise."""
        return -torch.expm1(self._log_core(input, target) - self.log_prob(input, target))

    def _log_core(self, input: Tensor, target: Tensor) -> Tensor:
        return self._log_part(input, target, self.scale) + math.log1p(-self.noise.impulse)

    def _log_part(self, pixel: Tensor, target: Tensor, scale: float) -> Tensor:
        """log of q(target - pixel), or of the probability beyond the limit at which the target is; one pixel or all."""
        density = self._log_density(target - pixel, scale)
        if math.isinf(self.lower):
            return density
        below, above = target <= self.lower, target >= self.upper
        wrong = torch.where(below, pixel - self.lower, self.upper - pixel)
        return torch.where(below | above, self._log_survival(wrong, scale), density)

    def _log_density(self, x: Tensor, scale: float) -> Tensor:
        """Of the Student-t, in two lines: `alcl_loss` is made for every shape, and much slower."""
        dof = self.noise.dof
        width = x.new_tensor(scale * math.sqrt(dof))
        at_0 = math.lgamma((dof + 1) / 2) - math.lgamma(dof / 2) - math.log(math.pi * dof) / 2 - math.log(scale)
        return at_0 - (dof + 1) * (torch.hypot(x, width).log() - width.log())

    def _log_survival(self, x: Tensor, scale: float) -> Tensor:
        dof = self.noise.dof
        if dof == 1:  # high and extreme, and much the cheapest
            return (torch.atan2(torch.full_like(x, scale), x) / math.pi).log()
        shape = (2.0, scale * math.sqrt(dof), dof / 2)  # alpha, beta and kappa - 1 / alpha
        return log_survival(x, *(torch.tensor(value, dtype=x.dtype) for value in shape))

    def extra_repr(self) -> str:
        wide = "" if self.start is None else f", start={self.start:g}, until={self.until:g}"
        return f"{self.noise}, limits=({self.lower:g}, {self.upper:g}){wide}"
