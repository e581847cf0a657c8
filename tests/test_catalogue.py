"""Losses by name: every name makes its loss, and what is illegal is named."""

import pytest

from alcl.base import ResidualLoss
from alcl.catalogue import LOSSES, make_loss


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("alc", {}, "loss must be one of mse, l1, huber, .*, log_cosh, .*, tobit; got 'alc'"),
        ("mse", {"delta": 1.0}, "loss 'mse' takes reduction, nonfinite; got delta"),
        ("gcl", {"kappa": 1.0}, "loss 'gcl' takes alpha, beta, reduction, nonfinite; got kappa"),
        ("alcl", {"alpha": 1.0}, "alpha must exceed 1/kappa"),
        ("huber", {"delta": "x"}, "delta must be positive"),
    ],
)
def test_make_loss_names_what_is_wrong(name, options, message):
    with pytest.raises(ValueError, match=message):
        make_loss(name, **options)


@pytest.mark.parametrize("name", LOSSES)
def test_make_loss_makes_each_with_its_defaults(name):
    loss = make_loss(name, reduction="sum")
    assert type(loss) is LOSSES[name]
    assert isinstance(loss, ResidualLoss)
    assert loss.reduction == "sum"


def test_make_loss_passes_the_options_on():
    assert make_loss("huber", delta=0.3).delta == 0.3
    assert make_loss("alcl", learn=(), beta=0.5).beta == 0.5
