"""Wrong labels, drawn from a generator: symmetric, asymmetric, human and instance-dependent noise; see `alcl.noise`.

    noisy = SymmetricLabelNoise(0.4)(labels, classes=10, generator=generator)

For every label it decides whether it flips (its `rates`) and to which other class (its `alternatives`). One uniform
number a label decides each, so raising the rate only adds flips: it never takes one back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "FLIPS",
    "HUMAN",
    "KINDS",
    "AsymmetricLabelNoise",
    "ExactInstanceDependentLabelNoise",
    "HumanLabelNoise",
    "InstanceDependentLabelNoise",
    "LabelNoise",
    "SymmetricLabelNoise",
    "make_label_noise",
    "transition_matrix",
]

#: Which class is mistaken for which, where asymmetric noise is asked for by a data set's name. CIFAR-10's is the
#: published one (truck -> automobile, bird -> airplane, cat <-> dog, deer -> horse), MNIST's that of Ma et al. (ICML
#: 2020); the others are ours, in the same spirit: shapes, and clothes, that look alike.
FLIPS: dict[str, dict[int, int]] = {
    "cifar10": {9: 1, 2: 0, 3: 5, 5: 3, 4: 7},
    "mnist": {7: 1, 2: 7, 5: 6, 6: 5, 3: 8},
    "digits": {7: 1, 2: 7, 5: 6, 6: 5, 3: 8},
    "digits_rgb": {7: 1, 2: 7, 5: 6, 6: 5, 3: 8},
    "fashion_mnist": {6: 0, 2: 4, 4: 2, 5: 7, 7: 9},
}

#: CIFAR-10N (Wei et al., ICLR 2022; arXiv 2110.12088), the set "worse": for every image a wrong label of three people
#: if there was one. HUMAN[i][j] of the 5,000 training images of class i were given label j; 40.2 % are wrong. Counted
#: from data/CIFAR-10_human.pt of github.com/UCSC-REAL/cifar-10-100n (commit 49df7d8), CC BY-NC 4.0. Classes: airplane,
#: automobile, bird, cat, deer, dog, frog, horse, ship, truck.
HUMAN: tuple[tuple[int, ...], ...] = (
    (3251, 328, 359, 96, 97, 114, 94, 83, 423, 155),
    (215, 2961, 76, 132, 87, 77, 68, 68, 79, 1237),
    (277, 183, 3160, 229, 297, 238, 249, 166, 118, 83),
    (198, 172, 396, 2436, 213, 1028, 235, 119, 106, 97),
    (197, 163, 350, 201, 2441, 532, 195, 758, 105, 58),
    (165, 141, 264, 915, 202, 2901, 137, 147, 61, 67),
    (190, 191, 420, 379, 254, 288, 2968, 143, 102, 65),
    (199, 140, 121, 110, 256, 309, 115, 3608, 87, 55),
    (409, 364, 109, 72, 105, 93, 82, 109, 3417, 240),
    (208, 1410, 87, 103, 88, 88, 60, 72, 131, 2753),
)

#: The kinds of noise `make_label_noise` knows.
KINDS = ("symmetric", "asymmetric", "instance", "human", "instance_exact")


@dataclass(frozen=True)
class LabelNoise:
    """Base of all label noise: `rate` in [0, 1] is the probability that a label flips."""

    rate: float

    def __post_init__(self) -> None:
        if isinstance(self.rate, bool) or not isinstance(self.rate, Real) or not 0 <= self.rate <= 1:
            raise ValueError(f"rate must be a probability in [0, 1]; got {self.rate!r}")

    def rates(self, labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
        """Probability that each label flips, (N,) float64."""
        return torch.full(labels.shape, float(self.rate), dtype=torch.float64)

    def alternatives(self, labels: Tensor, classes: int, images: Tensor | None, generator: torch.Generator) -> Tensor:
        """Where a label goes if it flips: (N, classes) float64, rows summing to 1 with 0 at the label itself."""
        raise NotImplementedError

    def __call__(
        self, labels: Tensor, classes: int, generator: torch.Generator, images: Tensor | None = None
    ) -> Tensor:
        """A noisy copy of `labels`.

        Args:
            labels: int64 (N,), in [0, classes), on the CPU. classes: K >= 2. generator: the only randomness.
            images: (N, ...) floating point; needed by instance-dependent noise alone.

        Raises:
            ValueError: naming the argument and its legal values.
        """
        if isinstance(classes, bool) or not isinstance(classes, int) or classes < 2:
            raise ValueError(f"classes must be a whole number of at least 2; got {classes!r}")
        if labels.dtype != torch.int64 or labels.ndim != 1 or not bool(((labels >= 0) & (labels < classes)).all()):
            raise ValueError(f"labels must be int64 of shape (N,), each in [0, {classes - 1}]")
        if not isinstance(generator, torch.Generator):
            raise ValueError(f"generator must be a torch.Generator; got {type(generator).__name__}")
        hit, which = torch.rand(2, len(labels), dtype=torch.float64, generator=generator)
        rates = self.rates(labels, classes, generator)
        cumulative = self.alternatives(labels, classes, images, generator).cumsum(1)
        # a last sum of 1 - 1e-16 must not let the index run past the last class that is possible
        other = (which[:, None] * cumulative[:, -1:] >= cumulative).sum(1)
        return torch.where(hit < rates, other, labels)


@dataclass(frozen=True)
class SymmetricLabelNoise(LabelNoise):
    """With probability `rate` a label becomes one of the K - 1 others, each alike: T_ij = rate / (K - 1)."""

    def alternatives(self, labels: Tensor, classes: int, images: Tensor | None, generator: torch.Generator) -> Tensor:
        others = torch.ones(len(labels), classes, dtype=torch.float64)
        return others.scatter_(1, labels[:, None], 0.0) / (classes - 1)


@dataclass(frozen=True)
class AsymmetricLabelNoise(LabelNoise):
    """With probability `rate` a label that `flips` names becomes its partner; other labels are left alone.

    flips: (class, partner) pairs, or a mapping. So the share of wrong labels is `rate` times the share of such classes.
    """

    flips: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        pairs = tuple(sorted((int(a), int(b)) for a, b in dict(self.flips).items()))
        object.__setattr__(self, "flips", pairs)
        if not pairs or any(a == b or min(a, b) < 0 for a, b in pairs):
            raise ValueError(f"flips must map classes to other classes, at least one; got {dict(pairs)}")

    def rates(self, labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
        named = torch.isin(labels, torch.tensor([a for a, _ in self.flips]))
        return self.rate * named.to(torch.float64)

    def alternatives(self, labels: Tensor, classes: int, images: Tensor | None, generator: torch.Generator) -> Tensor:
        if max(max(pair) for pair in self.flips) >= classes:
            raise ValueError(f"flips name classes beyond the {classes} there are: {dict(self.flips)}")
        partner = torch.arange(classes).roll(-1)  # of the classes that never flip: anything but themselves
        for a, b in self.flips:
            partner[a] = b
        return torch.nn.functional.one_hot(partner[labels], classes).to(torch.float64)


@dataclass(frozen=True)
class HumanLabelNoise(LabelNoise):
    """Flips as people made them on CIFAR-10 (`HUMAN`), scaled so that `rate` is their share in balanced classes.

    At the rate 0.40208 it is the counted matrix. For ten classes; on other data than CIFAR-10 it is no more than a
    pattern: class numbers are mistaken as CIFAR-10's are. A class is mislabelled with probability 1 at the rate 0.784,
    the highest there is. Human flips depend on the image as well, which a matrix does not hold.

        >>> HumanLabelNoise(0.40208).matrix()[9, 1].item()  # trucks called automobiles
        0.282...
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        most = self._counted().sum().item() / 10 / self._counted().sum(1).max().item()
        if self.rate > most:
            raise ValueError(f"rate must be at most {most:.3f} for human noise; got {self.rate!r}")

    @staticmethod
    def _counted() -> Tensor:
        """The measured shares of wrong labels, (10, 10), zero on the diagonal."""
        shares = torch.tensor(HUMAN, dtype=torch.float64)
        return (shares / shares.sum(1, keepdim=True)).fill_diagonal_(0.0)

    def matrix(self) -> Tensor:
        """T (10, 10), float64: T_ij is the probability that class i is given label j."""
        flips = self._counted() * (self.rate / (self._counted().sum() / 10))
        return flips + torch.diag(1 - flips.sum(1))

    def rates(self, labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
        if classes != 10:
            raise ValueError(f"classes must be 10 for human noise; got {classes}")
        return 1 - self.matrix().diagonal()[labels]

    def alternatives(self, labels: Tensor, classes: int, images: Tensor | None, generator: torch.Generator) -> Tensor:
        flips = self._counted()
        return (flips / flips.sum(1, keepdim=True))[labels]


@dataclass(frozen=True)
class InstanceDependentLabelNoise(LabelNoise):
    """Flips that depend on the image (Xia et al., NeurIPS 2020, the usual synthetic recipe).

    Every image has its own flip rate, normal around `rate` with standard deviation `spread`, truncated to [0, 1]; where
    it goes is the softmax, over the other classes, of a random linear function of its (standardised) pixels, one for
    every class. Unlike the original, the mean of the truncated normal is not `rate` to the last digit near 0 and 1.
    """

    spread: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.spread, bool) or not isinstance(self.spread, Real) or not 0 < self.spread <= 1:
            raise ValueError(f"spread must be in (0, 1]; got {self.spread!r}")

    def rates(self, labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
        low, high = (
            torch.special.ndtr(torch.tensor((x - self.rate) / self.spread, dtype=torch.float64)) for x in (0, 1)
        )
        u = torch.rand(len(labels), dtype=torch.float64, generator=generator)
        return (self.rate + self.spread * torch.special.ndtri(low + u * (high - low))).clamp(0, 1)

    def alternatives(self, labels: Tensor, classes: int, images: Tensor | None, generator: torch.Generator) -> Tensor:
        if images is None or len(images) != len(labels) or not images.is_floating_point():
            raise ValueError(
                f"images must be floating point of shape ({len(labels)}, ...) for instance-dependent noise"
            )
        x = images.flatten(1).double()
        x = (x - x.mean()) / x.std().clamp(min=1e-12)
        weights = torch.randn(classes, x.shape[1], classes, dtype=torch.float64, generator=generator)
        score = torch.empty(len(x), classes, dtype=torch.float64)
        for label in range(classes):  # a class at a time: (N, K) and not (N, pixels, K)
            rows = labels == label
            score[rows] = x[rows] @ weights[label]
        return score.scatter_(1, labels[:, None], -torch.inf).softmax(1)


@dataclass(frozen=True)
class ExactInstanceDependentLabelNoise(InstanceDependentLabelNoise):
    """The same, but exactly floor(rate * N) labels flip, a uniform subset (as in the code of JAL, arXiv 2507.17692).

    So every image is as likely to be mislabelled; only where it goes depends on its pixels. `spread` has no effect.

        >>> labels, images = torch.arange(50) % 10, torch.rand(50, 4)
        >>> noisy = ExactInstanceDependentLabelNoise(0.3)(labels, 10, torch.Generator(), images=images)
        >>> (noisy != labels).sum()
        tensor(15)
    """

    def rates(self, labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
        rates = torch.zeros(len(labels), dtype=torch.float64)
        # 1e-9: 0.29 * 100 is 29, and not 28.999...
        rates[torch.randperm(len(labels), generator=generator)[: int(self.rate * len(labels) + 1e-9)]] = 1.0
        return rates


def make_label_noise(kind: str, rate: float, dataset: str | None = None) -> LabelNoise:
    """The noise called `kind`, of `KINDS`: "asymmetric" has the flips of `dataset`, see `FLIPS`.

    Raises:
        ValueError: unknown kind or rate, or a data set for which no flips are known.
    """
    kinds: Mapping[str, Any] = {
        "symmetric": SymmetricLabelNoise,
        "instance": InstanceDependentLabelNoise,
        "human": HumanLabelNoise,
        "instance_exact": ExactInstanceDependentLabelNoise,
    }
    if kind in kinds:
        return kinds[kind](rate)
    if kind != "asymmetric":
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    if dataset not in FLIPS:
        raise ValueError(f"dataset must be one of {', '.join(FLIPS)} for asymmetric noise; got {dataset!r}")
    return AsymmetricLabelNoise(rate, tuple(FLIPS[dataset].items()))


def transition_matrix(kind: str, rate: float, classes: int = 10, dataset: str | None = None) -> Tensor:
    """T (K, K), float64: T_ij is the probability that class i is given label j, for noise that depends on the class.

        >>> transition_matrix("symmetric", 0.4, 3)[0]
        tensor([0.6000, 0.2000, 0.2000], dtype=torch.float64)

    Args:
        kind: "symmetric", "asymmetric" or "human". rate, dataset: as for `make_label_noise`. classes: K, at least 2.

    Raises:
        ValueError: as `make_label_noise`, and for noise that depends on the image, which has no such matrix.
    """
    if kind not in ("symmetric", "asymmetric", "human"):
        raise ValueError(f"kind must be one of symmetric, asymmetric, human for a transition matrix; got {kind!r}")
    noise = make_label_noise(kind, rate, dataset)
    labels, generator = torch.arange(classes), torch.Generator()
    rates = noise.rates(labels, classes, generator)
    return torch.diag(1 - rates) + rates[:, None] * noise.alternatives(labels, classes, None, generator)
