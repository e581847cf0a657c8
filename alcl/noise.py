"""Seeded contaminations of images: impulses and heavy-tailed additive noise.

Every kind of noise is a small frozen dataclass, called as ``noise(x, generator)``. All randomness comes from the
``torch.Generator`` that the caller passes in, through one primitive: each element of ``x`` consumes a fixed
number of float64 uniforms, turned into noise by closed forms. From this follow, on a CPU generator:

* the same seed gives the same noise, for any number of threads and on any device ``x`` lives on;
* a data set contaminated batch by batch, in order, equals the data set contaminated at once;
* the same seed at two levels of one distribution uses the same uniforms (common random numbers), so a pixel hit by an
  impulse at one level is hit by the same impulse at every higher level.

Nothing is clipped to [0, 1]: see notebook 04 for the reason. The levels of the experiments, and the other kinds of
noise that the notebooks compare, are `alcl.experiments.levels`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

import torch
from torch import Tensor

__all__ = ["MixedNoise", "Noise", "StudentTNoise"]

# Elements worked on at a time. It bounds the float64 workspace (a few tens of MB) and changes no value.
CHUNK = 1 << 20
# A float64 uniform is a multiple of 2**-53 in [0, 1). Zero, whose log is infinite, becomes 2**-54.
SMALLEST_UNIFORM = 2.0**-54


def _check_number(name: str, value: object, low: float, high: float, legal: str, *, open_low: bool = False) -> None:
    """Raise unless `value` is a number in [low, high], or (low, high] where `open_low`; NaN never is."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, {legal}; got {value!r}")
    if not (low < value <= high if open_low else low <= value <= high):
        raise ValueError(f"{name} must be {legal}; got {value!r}")


def _check_scale(name: str, value: object) -> None:
    _check_number(name, value, 0.0, 1e30, "a finite noise level of at least 0 (and at most 1e30)")


def _check_dof(value: object) -> None:
    legal = "positive degrees of freedom (math.inf for Gaussian noise)"
    if value is None:
        raise ValueError(f"dof must be {legal}; None is legal only in MixedNoise with scale=0")
    _check_number("dof", value, 0.0, math.inf, legal, open_low=True)


def _normal(u: Tensor, v: Tensor) -> Tensor:
    """Standard Gaussian from two uniforms (Box and Muller 1958)."""
    return torch.sqrt(-2.0 * u.log()) * torch.cos(2.0 * math.pi * v)


def _student_t(u: Tensor, v: Tensor, dof: float) -> Tensor:
    """Student-t from two uniforms, exact for every dof > 0 (Bailey, Math. Comp. 62(206), 1994).

    t = sqrt(dof (u^(-2/dof) - 1)) cos(2 pi v); dof -> inf is Box-Muller, dof = 1 is Cauchy.
    """
    if math.isinf(dof):
        return _normal(u, v)
    # expm1: for many degrees of freedom u^(-2/dof) is close to 1 and the difference would cancel.
    return torch.sqrt(dof * torch.expm1(-2.0 / dof * u.log())) * torch.cos(2.0 * math.pi * v)


@dataclass(frozen=True)
class Noise:
    """Base of all noise. Each kind says how many uniforms an element takes and what it makes of them.

    >>> issubclass(MixedNoise, Noise), MixedNoise.uniforms
    (True, 3)
    """

    uniforms: ClassVar[int] = 0

    def contaminate(self, x: Tensor, *uniforms: Tensor) -> Tensor:
        """Contaminate float64 `x`, shape (n,), given `self.uniforms` tensors of the same shape in (0, 1)."""
        raise NotImplementedError

    @torch.no_grad()
    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return a contaminated copy of `x`; `x` itself is left as it is, and no gradient is recorded.

        Args:
            x: floating-point tensor of any shape and device, every element finite. Pixels are meant to be
                in [0, 1] (impulses are 0 and 1, scales are in the same unit), which is not enforced.
            generator: the only source of randomness; it advances by `x.numel() * self.uniforms` float64
                draws, whatever the level. The work is done in float64 on the generator's device.

        Returns:
            Tensor of the shape, dtype and device of `x`, always finite: a value beyond the largest number
            of that dtype becomes that number.

        Raises:
            TypeError: `x` is not a floating-point tensor, or `generator` is not a torch.Generator.
            ValueError: `x` holds NaN or infinite pixels.
        """
        if not isinstance(x, Tensor) or not x.is_floating_point():
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"x must be a floating-point tensor of pixels; got {kind}")
        if not isinstance(generator, torch.Generator):
            raise TypeError(f"generator must be a torch.Generator; got {type(generator).__name__}")
        if not torch.isfinite(x).all():
            raise ValueError("x holds NaN or infinite pixels; every pixel must be finite")
        largest = torch.finfo(x.dtype).max
        flat, out = x.reshape(-1), torch.empty(x.numel(), dtype=x.dtype, device=x.device)
        for start in range(0, x.numel(), CHUNK):
            pixels = flat[start : start + CHUNK].to(generator.device, torch.float64)
            # One row an element: the draws of element i do not depend on how many elements follow it.
            shape = (pixels.numel(), self.uniforms)
            uniforms = torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)
            noisy = self.contaminate(pixels, *uniforms.clamp(min=SMALLEST_UNIFORM).unbind(-1))
            out[start : start + CHUNK] = noisy.clamp(-largest, largest).to(x.dtype)
        return out.reshape(x.shape)


@dataclass(frozen=True)
class MixedNoise(Noise):
    """Impulses, then heavy-tailed additive noise: y = impulse_p(x) + scale * t_dof, not clipped.

    An impulse replaces an element of `x` by 0 or by 1, each with probability `impulse` / 2 (salt and pepper);
    every element, hit or not, then receives Student-t noise. Elements are independent of one another: in an
    RGB image the three channels of a pixel are hit independently, so an impulse usually shows as a saturated
    colour, and the distribution of one element is the same for gray and colour images. (Our choice: the abstract of
    the paper does not say.)

    Args:
        impulse: probability p in [0, 1] that an element is replaced.
        scale: scale of the additive noise in pixel units, at least 0. The standard deviation is
            scale * sqrt(dof / (dof - 2)), and infinite for dof <= 2.
        dof: degrees of freedom, positive (3 has finite variance, 2 and 1 do not, 1 is Cauchy, math.inf is
            Gaussian). None or 0 say "no additive noise" and are legal only with scale = 0.

    Raises:
        TypeError, ValueError: an argument is not a number, or outside its range.

    >>> x = torch.full((1, 28, 28), 0.5)
    >>> y = MixedNoise(impulse=0.3)(x, torch.Generator().manual_seed(0))
    >>> y.unique()
    tensor([0.0000, 0.5000, 1.0000])
    >>> y = MixedNoise(impulse=0.3, scale=0.1, dof=1)(x, torch.Generator().manual_seed(0))  # not clipped
    """

    impulse: float = 0.0
    scale: float = 0.0
    dof: float | None = None

    uniforms: ClassVar[int] = 3

    def __post_init__(self) -> None:
        _check_number("impulse", self.impulse, 0.0, 1.0, "a probability in [0, 1]")
        _check_scale("scale", self.scale)
        if self.scale > 0 or self.dof not in (None, 0):
            _check_dof(self.dof)

    def contaminate(self, x: Tensor, hit: Tensor, u: Tensor, v: Tensor) -> Tensor:
        # Pepper below p/2 and salt above 1 - p/2: raising p only adds impulses, it never turns one over.
        x = x.masked_fill(hit < self.impulse / 2, 0.0).masked_fill_(hit >= 1 - self.impulse / 2, 1.0)
        return x + self.scale * _student_t(u, v, self.dof) if self.scale > 0 else x


@dataclass(frozen=True)
class StudentTNoise(Noise):
    """y = x + scale * t_dof; `scale` at least 0, in pixel units, `dof` positive (math.inf: Gaussian).

    >>> StudentTNoise(scale=0.1, dof=3)(torch.zeros(2, 3), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3])
    """

    scale: float
    dof: float

    uniforms: ClassVar[int] = 2

    def __post_init__(self) -> None:
        _check_scale("scale", self.scale)
        _check_dof(self.dof)

    def contaminate(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return x + self.scale * _student_t(u, v, self.dof) if self.scale > 0 else x
