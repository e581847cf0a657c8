"""Images and losses of one's own, as users may have them."""

from contextlib import ExitStack
from unittest import mock

import numpy as np
import pytest

from alcl import catalogue
from alcl.experiments import datasets, own_losses, protocol
from alcl.paper import figures

TABLES = [
    (catalogue, ("LOSSES", "OWN")),
    (protocol, ("METHODS",)),
    (figures, ("LABELS", "COLORS", "LINESTYLES", "MARKERS")),
    (datasets, ("seen",)),
]


@pytest.fixture
def nothing_stays():
    """What a test registers, and which files it shows, is forgotten after it."""
    with ExitStack() as stack:
        for module, names in TABLES:
            for name in names:
                stack.enter_context(mock.patch.dict(getattr(module, name)))
        stack.enter_context(mock.patch.object(own_losses, "_loaded", set(own_losses._loaded)))
        yield


def images(shape=(12, 16), classes=3, rows=(60, 30), seed=0):
    """Arrays of an `.npz`: blobs whose place tells their class."""
    rng, made = np.random.default_rng(seed), {}
    for part, n in zip(("train", "test"), rows, strict=True):
        y = np.arange(n) % classes
        x = rng.integers(0, 60, (n, *shape), dtype=np.uint8)
        for image, label in zip(x, y, strict=True):
            image[2 + 3 * label : 5 + 3 * label, 3:10] += 150
        made |= {f"x_{part}": x, f"y_{part}": y.astype(np.int32)}
    return made


def npz(path, save=np.savez_compressed, **changes):
    save(path, **changes if "x_train" in changes else images(**changes))
    return path


#: A file that registers two losses: one of the library's kind, one of torch's.
LOSSES = """
import torch
from alcl.catalogue import register_loss
from alcl.losses import ResidualLoss


class Welsch(ResidualLoss):
    def __init__(self, width=0.5, reduction="mean", nonfinite="raise"):
        super().__init__(reduction, nonfinite)
        self.width = width

    def rho(self, residual):
        return -torch.expm1(-((residual / self.width) ** 2) / 2)


register_loss("welsch", Welsch, {"width": 0.3}, label="Welsch, mine", color="teal")
register_loss("smooth", torch.nn.SmoothL1Loss, {"beta": 0.1})
"""
