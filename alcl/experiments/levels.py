"""The noise of the experiments: five levels, the studies' kinds of noise, and what the network sees of a noisy image.

As all of `alcl.noise`, seeded by the caller's generator; by the closed forms of Chambers, Mallows and Stuck and of the
inverse distribution function.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from torch import Tensor

from ..noise import MixedNoise, Noise, _check_number, _check_scale, _normal

__all__ = [
    "LEVELS",
    "NETWORK_RANGE",
    "STUDY_NOISE",
    "AlphaStableNoise",
    "ChannelNoise",
    "ContaminatedGaussianNoise",
    "DriftingNoise",
    "LaplaceNoise",
    "clamp_for_network",
    "get_level",
    "signal_to_noise",
]


@dataclass(frozen=True)
class AlphaStableNoise(Noise):
    """y = x + scale * S, with S alpha-stable in the parametrization S1 (that of `scipy.stats.levy_stable`).

    Sampled by Chambers, Mallows and Stuck (JASA 71, 1976), with the corrected constants of Weron (1996).
    Variance is infinite for stability < 2 and the mean does not exist for stability <= 1.

    Args:
        stability: in [0.01, 2]. 2 is Gaussian with standard deviation sqrt(2) * scale; 1 with no skewness is
            Cauchy; samples of a stability below 0.01 would mostly overflow.
        scale: at least 0, in pixel units.
        skewness: in [-1, 1]; 0 (the default) is symmetric. S1 keeps the mean at 0 where there is one; with
            skewness other than 0 its mode runs off to infinity as stability tends to 1.

    >>> AlphaStableNoise(stability=1.5, scale=0.2)(torch.zeros(2, 3), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3])
    """

    stability: float
    scale: float
    skewness: float = 0.0

    uniforms: ClassVar[int] = 2

    def __post_init__(self) -> None:
        _check_number("stability", self.stability, 0.01, 2.0, "in [0.01, 2]")
        _check_scale("scale", self.scale)
        _check_number("skewness", self.skewness, -1.0, 1.0, "in [-1, 1]")

    def contaminate(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        if self.scale == 0:
            return x
        angle, w = math.pi * (v - 0.5), -u.log()
        # -log u vanishes only at u = 1, which a uniform in [0, 1) is not.
        if self.stability == 1:
            right_angle = 0.5 * math.pi
            tilted = right_angle + self.skewness * angle
            stable = tilted * angle.tan() - self.skewness * (right_angle * w * angle.cos() / tilted).log()
            # S1 at stability 1 is not closed under scaling: this shift makes `scale` mean what scipy means.
            stable = (stable + self.skewness * math.log(self.scale)) / right_angle
        else:
            tilt = self.skewness * math.tan(0.5 * math.pi * self.stability)
            turned = self.stability * angle + math.atan(tilt)
            size = (1 + tilt * tilt) ** (0.5 / self.stability)
            power = (1 - self.stability) / self.stability
            # Magnitude through logs: a small stability saturates (and is clamped), and is never 0 * inf.
            log_ratio = (angle - turned).cos().clamp(min=1e-300).log() - w.log()
            magnitude = (power * log_ratio - angle.cos().log() / self.stability).clamp(-700.0, 700.0).exp()
            stable = size * turned.sin() * magnitude
        return x + self.scale * stable


@dataclass(frozen=True)
class LaplaceNoise(Noise):
    """y = x + Laplace noise with density exp(-|e| / scale) / (2 scale); `scale` at least 0, in pixel units.

    Standard deviation sqrt(2) * scale. The magnitude is exponential by inverse CDF, with a random sign.

    >>> noise = LaplaceNoise(scale=0.1)(torch.zeros(100_000), torch.Generator().manual_seed(0))
    >>> round(noise.abs().mean().item(), 2)
    0.1
    """

    scale: float

    uniforms: ClassVar[int] = 2

    def __post_init__(self) -> None:
        _check_scale("scale", self.scale)

    def contaminate(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return x - self.scale * u.log() * torch.where(v < 0.5, -1.0, 1.0)


@dataclass(frozen=True)
class ContaminatedGaussianNoise(Noise):
    """Tukey's gross-error model: y = x + e, with e Gaussian of one scale or, for outliers, of another.

    e ~ (1 - fraction) N(0, scale^2) + fraction N(0, outlier_scale^2)

    Args:
        fraction: share of outliers, a probability in [0, 1].
        scale, outlier_scale: standard deviations, at least 0, in pixel units.

    >>> noise = ContaminatedGaussianNoise(fraction=0.1, scale=0.0, outlier_scale=1.0)
    >>> round((noise(torch.zeros(100_000), torch.Generator().manual_seed(0)) != 0).double().mean().item(), 2)
    0.1
    """

    fraction: float
    scale: float
    outlier_scale: float

    uniforms: ClassVar[int] = 3

    def __post_init__(self) -> None:
        _check_number("fraction", self.fraction, 0.0, 1.0, "a probability in [0, 1]")
        _check_scale("scale", self.scale)
        _check_scale("outlier_scale", self.outlier_scale)

    def contaminate(self, x: Tensor, hit: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return x + torch.where(hit < self.fraction, self.outlier_scale, self.scale) * _normal(u, v)


def _interpolate(name: str, start: float | None, end: float | None, t: float) -> float | None:
    if name != "dof":
        return (1 - t) * start + t * end
    # A level without additive noise has no tail of its own: the other level's tail fades in with its scale.
    start, end = start or end, end or start
    if start is None or start == end:
        return start
    # 1/dof is the extreme-value (tail) index; linear in it, Gaussian noise (index 0) is a legal end.
    index = (1 - t) / start + t / end
    return 1 / index if index > 0 else math.inf


@dataclass(frozen=True)
class DriftingNoise:
    """A level that drifts: at time t in [0, 1], the noise between `start` (t = 0) and `end` (t = 1).

    The parameters of the two are interpolated linearly, except degrees of freedom, which are interpolated
    linearly in 1 / dof. `start` and `end` must be of one class. Call as ``drift(x, generator, t)``.

    >>> drift = DriftingNoise(LEVELS["low"], LEVELS["extreme"])
    >>> drift.at(0.5)
    MixedNoise(impulse=0.225, scale=0.11, dof=1.5)
    """

    start: Noise
    end: Noise

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            if not isinstance(getattr(self, name), Noise):
                raise TypeError(f"{name} must be noise such as MixedNoise; got {getattr(self, name)!r}")
        if type(self.start) is not type(self.end):
            kinds = f"{type(self.start).__name__} and {type(self.end).__name__}"
            raise TypeError(f"start and end must be of one class of noise; got {kinds}")

    def at(self, t: float) -> Noise:
        """The noise at time `t` in [0, 1]; ValueError outside it."""
        _check_number("t", t, 0.0, 1.0, "a time in [0, 1]")
        if t in (0, 1):
            return self.end if t else self.start
        pairs = {f.name: (getattr(self.start, f.name), getattr(self.end, f.name)) for f in fields(self.start)}
        return type(self.start)(**{name: _interpolate(name, *pair, float(t)) for name, pair in pairs.items()})

    def __call__(self, x: Tensor, generator: torch.Generator, t: float) -> Tensor:
        """Contaminate `x` by the noise at time `t` in [0, 1]; otherwise as `Noise.__call__`."""
        return self.at(t)(x, generator)


@dataclass(frozen=True)
class ChannelNoise:
    """Another noise for every channel of images (N, C, H, W): `channels[c]` contaminates channel c.

    Call as ``noise(x, generator)``. ValueError where the images do not have one channel for each.

    >>> noise = ChannelNoise((LaplaceNoise(0.0), LaplaceNoise(0.1)))
    >>> y = noise(torch.zeros(1, 2, 4, 4), torch.Generator().manual_seed(0))
    >>> [bool((y[:, c] != 0).any()) for c in (0, 1)]
    [False, True]
    """

    channels: tuple[Noise, ...]

    def __post_init__(self) -> None:
        if not self.channels or not all(isinstance(noise, Noise) for noise in self.channels):
            raise TypeError(f"channels must be one noise for each channel; got {self.channels!r}")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if x.ndim != 4 or x.shape[1] != len(self.channels):
            raise ValueError(
                f"x must have shape (N, {len(self.channels)}, H, W), one channel for each noise of `channels`; "
                f"got {tuple(x.shape)}"
            )
        return torch.stack([noise(x[:, c], generator) for c, noise in enumerate(self.channels)], 1)


# The levels of the experiment: impulse probability, scale, degrees of freedom. Ours (notebook 04).
LEVELS: dict[str, MixedNoise] = {
    "none": MixedNoise(0.0, 0.0, None),
    "low": MixedNoise(0.05, 0.02, 3),
    "moderate": MixedNoise(0.2, 0.1, 2),
    "high": MixedNoise(0.3, 0.1, 1),
    "extreme": MixedNoise(0.4, 0.2, 1),
}


# Noise of the studies (notebook 10), declared before they were run; no method was developed on it, but on "severe". The
# first three are about as harmful as "high"; a drift goes over the course of training.
STUDY_NOISE: dict[str, Noise | ChannelNoise | DriftingNoise] = {
    "stable": AlphaStableNoise(stability=1.5, scale=0.2),
    "laplace": LaplaceNoise(scale=0.25),
    "contaminated": ContaminatedGaussianNoise(fraction=0.3, scale=0.1, outlier_scale=1.0),
    "channels": ChannelNoise((LEVELS["low"], LEVELS["moderate"], LEVELS["extreme"])),
    # halfway from moderate, where MSE loses nothing, to high, where it loses everything (the multiverse)
    "between": MixedNoise(0.25, 0.1, 1.5),
    # halfway from high to extreme (a round of development of the sensor's losses; no method is evaluated at it)
    "severe": MixedNoise(0.35, 0.15, 1),
    "drift_up": DriftingNoise(LEVELS["low"], LEVELS["extreme"]),
    "drift_down": DriftingNoise(LEVELS["extreme"], LEVELS["low"]),
}


def get_level(name: str) -> Noise | ChannelNoise | DriftingNoise:
    """The noise of a named level or study; ValueError, with the legal names, for any other name.

    >>> get_level("high")
    MixedNoise(impulse=0.3, scale=0.1, dof=1)
    """
    legal = {**LEVELS, **STUDY_NOISE}
    if not isinstance(name, str) or name not in legal:
        raise ValueError(f"level must be one of {', '.join(legal)}; got {name!r}")
    return legal[name]


# What the network is shown, in pixel units: [0, 1] and a margin of one full range below and above it.
NETWORK_RANGE = (-1.0, 2.0)


def clamp_for_network(y: Tensor) -> Tensor:
    """clamp(y, -1, 2): the network's input for a noisy image `y`, of any shape.

    A single Cauchy pixel can be 1e5; as an input it would blow up every activation behind it, which would
    test the network rather than the loss. The target stays `y` itself: clipped to [0, 1] it would hold point
    masses at 0 and 1, so residuals that are exactly zero, and a likelihood that is unbounded as the scale
    shrinks (notebook 03). The margin keeps most of the additive noise visible: clamping is no denoiser.

    >>> clamp_for_network(torch.tensor([-1e5, 0.3, 7.0]))
    tensor([-1.0000,  0.3000,  2.0000])
    """
    return y.clamp(*NETWORK_RANGE)


def signal_to_noise(x: Tensor, y: Tensor) -> Tensor:
    """Signal-to-noise ratio in dB of each noisy image: 10 log10(sum x^2 / sum (y - x)^2).

    Args:
        x, y: clean and noisy images, shape (N, ...), the same for both.

    Returns:
        float64 tensor, shape (N,); +inf for an image without noise, NaN only for a black image without noise.

    >>> x = torch.ones(1, 4)
    >>> signal_to_noise(x, x + 0.1).round(decimals=3)
    tensor([20.], dtype=torch.float64)
    """
    if not isinstance(x, Tensor) or not isinstance(y, Tensor) or x.shape != y.shape or x.ndim < 2:
        raise ValueError("x and y must be tensors of one shape (N, ...), clean and noisy images")
    x, noise = x.double().flatten(1), (y.double() - x.double()).flatten(1)
    return 10 * torch.log10(x.square().sum(1) / noise.square().sum(1))
