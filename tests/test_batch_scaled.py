"""Losses with a width from the batch, against scipy's median absolute deviation and closed forms."""

import numpy as np
import pytest
import torch
from scipy.stats import median_abs_deviation

from alcl.batch_scaled import HuberMADLoss, WelschMADLoss


def residuals(shape=(31, 33), seed=0):
    e = np.random.default_rng(seed).standard_t(2, size=shape)
    return torch.tensor(e)


def mad(e):
    return median_abs_deviation(e.numpy(), axis=None, center=lambda x, axis: np.zeros(()), scale="normal")


def huber(e, width):
    return np.where(np.abs(e) <= width, e**2 / 2, width * (np.abs(e) - width / 2))


def welsch(e, width):
    return width**2 / 2 * (1 - np.exp(-((e / width) ** 2)))


CASES = [(HuberMADLoss, 1.345, huber), (WelschMADLoss, 2.985, welsch)]


@pytest.mark.parametrize(("loss", "factor", "formula"), CASES)
def test_values_and_gradients_are_the_formulas_at_a_width_of_so_many_mad(loss, factor, formula):
    e = residuals().requires_grad_()
    width = factor * mad(e.detach())
    criterion = loss()
    assert criterion.width(e).item() == pytest.approx(width, rel=1e-6)  # scipy rounds its constant
    value = criterion(e, torch.zeros_like(e))
    assert value.item() == pytest.approx(formula(e.detach().numpy(), width).mean(), rel=1e-6)
    value.backward()
    x, step = e.detach().numpy(), 1e-6  # the width is a constant to the gradient
    slope = (formula(x + step, width) - formula(x - step, width)) / (2 * step)
    np.testing.assert_allclose(e.grad.numpy() * e.numel(), slope, atol=1e-5)


@pytest.mark.parametrize(("loss", "factor", "formula"), CASES)
@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e3])
def test_the_width_follows_the_unit_and_outliers_do_not_move_it(loss, factor, formula, scale):
    e = residuals()
    usual = loss().width(e)
    assert loss().width(scale * e).item() == pytest.approx(scale * usual.item(), rel=1e-12)
    far = e.clone()
    far[e.abs() > 3] *= 1e8
    assert loss().width(far) == usual


@pytest.mark.parametrize("loss", [HuberMADLoss, WelschMADLoss])
def test_the_fast_way_and_the_general_one_agree(loss):
    for e in (residuals(), residuals((10, 10))):
        assert torch.equal(torch.vmap(loss().width)(e[None])[0], loss().width(e))


@pytest.mark.parametrize("loss", [HuberMADLoss, WelschMADLoss])
def test_a_batch_that_is_fitted_exactly_has_the_floor(loss):
    e = torch.zeros(9)
    e[0] = 1.0
    assert loss(scale_min=0.01).width(e).item() == pytest.approx(0.01 * loss().factor)
    assert torch.isfinite(loss()(e, torch.zeros(9)))
    assert loss().width(torch.zeros(0)).item() == pytest.approx(1e-3 * loss().factor)


@pytest.mark.parametrize("loss", [HuberMADLoss, WelschMADLoss])
@pytest.mark.parametrize("wrong", ["factor", "scale_min"])
def test_illegal_widths_are_named(loss, wrong):
    with pytest.raises(ValueError, match=f"{wrong} must be positive"):
        loss(**{wrong: 0.0})
