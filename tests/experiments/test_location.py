"""Location M-estimates against published constants, a search of the whole line and simulation."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from textbook import Tukey
from torch.distributions import StudentT

from alcl.experiments.location import location_estimate, tuning_constant
from alcl.influence import Influence
from alcl.losses import ALCLoss, CauchyLoss, GeneralizedCorrentropyLoss, HuberLoss, L1Loss, MSELoss


def tensor(x):
    return torch.tensor(x, dtype=torch.float64)


def test_published_tuning_constants():
    """95% efficiency at the Gaussian, as printed in the literature (Holland and Welsch, 1977)."""
    assert tuning_constant(HuberLoss) == pytest.approx(1.345, abs=5e-5)
    assert tuning_constant(CauchyLoss) == pytest.approx(2.3849, abs=5e-5)
    assert tuning_constant(lambda c: GeneralizedCorrentropyLoss(2.0, c)) == pytest.approx(2.9846, abs=5e-5)
    assert tuning_constant(Tukey) == pytest.approx(4.6851, abs=5e-5)


def test_unreachable_efficiency_is_refused_with_the_best():
    # a wide ALCL with alpha = 1.5 is the 1.5-norm; its efficiency at the Gaussian is (E|x|^1.5)^2 / E|x| * (0.5..)
    with pytest.raises(ValueError, match=r"its largest is 0\.9"):
        tuning_constant(lambda c: ALCLoss(1.5, c, learn=()))
    with pytest.raises(ValueError, match="efficiency must lie in"):
        tuning_constant(HuberLoss, 1.0)


@pytest.mark.parametrize(
    "loss",
    [MSELoss(), HuberLoss(0.7), GeneralizedCorrentropyLoss(2.0, 1.5), ALCLoss(1.3), ALCLoss(2.0, 0.5), ALCLoss(6.0)],
    ids=["mse", "huber", "gcl", "alcl_1.3", "alcl_2", "alcl_6"],
)
def test_location_estimate_is_the_global_minimum(loss):
    x = torch.as_tensor(stats.t(2).rvs(75, random_state=3)) + 1.7
    influence = Influence(loss)
    objective = lambda t: float(influence.loss.rho(x - t).sum())  # noqa: E731
    grid = np.linspace(-3, 6, 4001)
    start = grid[influence.loss.rho(x - torch.from_numpy(grid)[:, None]).sum(1).argmin()]
    best = optimize.minimize_scalar(objective, bounds=(start - 0.01, start + 0.01), method="bounded").x
    assert location_estimate(x, loss) == pytest.approx(best, abs=1e-4)
    assert objective(location_estimate(x, loss)) <= objective(best) + 1e-9


def test_location_estimate_of_mse_and_l1():
    x = tensor([1.0, 2.0, 7.0, 9.0, 100.0])
    assert location_estimate(x, MSELoss()) == pytest.approx(23.8)
    assert location_estimate(x, L1Loss()) == pytest.approx(7.0)
    assert location_estimate(tensor([4.0]), ALCLoss()) == pytest.approx(4.0)
    assert location_estimate(torch.full((9,), 3.0), ALCLoss(1.5)) == pytest.approx(3.0)


def test_location_estimate_from_a_start_stays_in_its_basin():
    x = torch.cat([torch.zeros(30), torch.full((20,), 50.0)])
    assert location_estimate(x, ALCLoss(2.0, 1.0), start=49.0) == pytest.approx(50.0, abs=0.1)
    assert location_estimate(x, ALCLoss(2.0, 1.0)) == pytest.approx(0.0, abs=0.1)
    # no gradient reaches a point this far outside the kernels: it stays where it is
    assert location_estimate(x, GeneralizedCorrentropyLoss(2.0, 1.0), start=-500.0) == -500.0


def test_location_estimate_refuses_bad_input():
    for samples in (torch.empty(0), tensor([1.0, math.nan])):
        with pytest.raises(ValueError, match="samples must be finite"):
            location_estimate(samples, MSELoss())
    with pytest.raises(ValueError, match="start must be finite"):
        location_estimate(tensor([1.0]), MSELoss(), start=math.inf)
    with pytest.raises(RuntimeError, match="max_iterations=2"):
        location_estimate(torch.tensor([0.0, 1.0, 30.0]), HuberLoss(0.01), start=30.0, max_iterations=2)


def test_efficiency_predicts_the_variance_of_real_estimates():
    """Monte Carlo: the variance of 150 estimates from 100 samples each is the asymptotic one, to its standard error."""
    generator = np.random.default_rng(11)
    loss = ALCLoss(2.0, 1.5, learn=())
    estimates = [
        location_estimate(torch.as_tensor(generator.standard_t(3, size=100)), loss, start=0.0) for _ in range(150)
    ]
    predicted = Influence(loss).asymptotic_variance(StudentT(tensor(3.0)))
    # relative standard error of a variance from 150 draws is sqrt(2/150) = 12%
    assert 100 * np.var(estimates) == pytest.approx(predicted, rel=0.3)
