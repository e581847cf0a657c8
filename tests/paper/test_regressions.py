"""Linear fits against statsmodels' robust regression and against closed forms; the data sets are what they are said."""

import numpy as np
import pytest
import torch
from torch import nn

from alcl import ALCLoss, L1Loss
from alcl.batch_scaled import HuberMADLoss, WelschMADLoss
from alcl.paper.regressions import CLASSICS, fit_linear, load_classic

robust = pytest.importorskip("statsmodels.robust", reason="statsmodels comes with the companion's extra")


@pytest.mark.parametrize("name", CLASSICS)
def test_data_are_in_the_units_that_are_said(name):
    data = load_classic(name)
    assert len(data.y) == len(data.labels) == {"stackloss": 21, "statecrime": 51, "engel": 235}[name]
    assert torch.equal(data.x[:, 0], torch.ones_like(data.y))
    torch.testing.assert_close(data.x[:, 1:].std(0, correction=0), torch.ones_like(data.x[0, 1:]))
    assert np.median(np.abs(data.y.numpy())) == pytest.approx(1 / 1.4826, rel=1e-4)
    assert tuple(data.labels[i] for i in data.known) == CLASSICS[name][2]


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="name must be one of stackloss"):
        load_classic("iris")


@pytest.mark.parametrize("name", CLASSICS)
def test_huber_with_mad_is_statsmodels_own(name):
    data = load_classic(name)
    theirs = robust.robust_linear_model.RLM(data.y.numpy(), data.x.numpy(), M=robust.norms.HuberT(1.345))
    theirs = theirs.fit(maxiter=1000, tol=1e-13).params
    start = torch.tensor(theirs + 0.02)
    ours = fit_linear(data.x, data.y, HuberMADLoss(scale_min=1e-9), start)
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_squared_error_is_least_squares_and_starts_matter_not():
    data = load_classic("statecrime")
    expected = np.linalg.lstsq(data.x.numpy(), data.y.numpy(), rcond=None)[0]
    for start in (None, torch.full((5,), 3.0, dtype=torch.float64)):
        np.testing.assert_allclose(fit_linear(data.x, data.y, nn.MSELoss(), start), expected, atol=1e-6)


def test_what_is_left_is_a_minimum_in_the_losses_parameters_too():
    data = load_classic("engel")
    criterion = ALCLoss(beta=0.5).double()
    weights = fit_linear(data.x, data.y, criterion)
    output, best = data.x @ weights, criterion(data.x @ weights, data.y).item()
    for change in np.random.default_rng(0).normal(0, 0.01, (50, 2)):
        near = ALCLoss(criterion.alpha.item() + change[0], criterion.beta.item() + change[1], learn=()).double()
        assert near(output, data.y).item() > best


def test_a_width_from_the_batch_is_solved_and_a_corner_is_reported():
    data = load_classic("stackloss")
    criterion = WelschMADLoss()
    weights = fit_linear(data.x, data.y, criterion).requires_grad_()
    criterion(data.x @ weights, data.y).backward()
    assert weights.grad.abs().max() < 1e-5
    with pytest.raises(RuntimeError, match="L1Loss: no minimum was found"):
        fit_linear(data.x, data.y, L1Loss())
