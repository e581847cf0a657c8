"""The functions that notebook 11 and appendix A6 minimise, against SciPy's distributions and quadrature."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from alcl import CensoredALCLoss
from alcl.paper.sensor import clipped, least_expected, mixture_loss

pytestmark = pytest.mark.usefixtures("double_precision")


@pytest.mark.parametrize(("beta", "eps", "c"), [(0.3, 0.2, 0.5), (2.0, 0.01, 3.0)])
def test_at_alpha_2_the_mixture_is_scipys_cauchy_and_a_constant(beta, eps, c):
    e, weight = np.array([1e-3, 0.2, 1.0, 40.0]), np.array([0.1, 0.2, 0.3, 0.4])
    p = [0.0, math.log(beta), math.log(eps / (1 - eps))]
    q = stats.cauchy(scale=beta).pdf(e)
    assert math.isclose(mixture_loss(p, np.log(e), weight, c), -weight @ np.log((1 - eps) * q + eps * c))
    assert math.isclose(mixture_loss(p, np.log(e), weight, 0.0), -weight @ np.log(q))


def test_the_density_of_the_mixture_integrates_to_one_at_another_shape():
    p = [math.log(0.7), 0.4, 0.0]  # alpha 1.7
    density = lambda t: math.exp(t - mixture_loss(p, np.array([t]), np.ones(1), 0.0))  # noqa: E731
    assert math.isclose(2 * integrate.quad(density, -40, 60, limit=200)[0], 1, rel_tol=1e-7)


def test_a_residual_beyond_the_largest_number_costs_the_constant():
    assert math.isclose(mixture_loss([0.0, 0.0, 0.0], np.array([900.0]), np.ones(1), 0.5), -math.log(0.25))


@pytest.mark.parametrize("place", [0.0, 0.15, 0.6, 1.0])
def test_means_under_clipping_are_those_of_a_million_draws(place):
    noise = stats.cauchy(scale=0.1)
    y, mass = clipped(place, noise)
    draws = np.clip(place + noise.rvs(10**6, random_state=0), 0, 1)
    assert math.isclose(mass.sum().item(), 1, rel_tol=1e-9)
    for g in (np.square, np.sqrt, lambda v: v == 0, lambda v: v == 1):
        assert abs(float(mass @ torch.as_tensor(g(y.numpy())).double()) - g(draws).mean()) < 4e-3


def test_a_place_outside_the_limits_is_refused():
    with pytest.raises(ValueError, match=r"place must be in \[0, 1\]; got -0.1"):
        clipped(-0.1, stats.norm())


def test_the_prediction_of_least_expected_square_is_the_mean():
    y, mass = clipped(0.2, stats.norm(scale=0.3))
    found = least_expected(torch.nn.MSELoss(reduction="none"), y, mass, 0.9)
    assert math.isclose(found, float(mass @ y), rel_tol=1e-6)


def test_what_the_criterion_learns_is_learned():
    y, mass = clipped(0.4, stats.cauchy(scale=0.1))
    criterion = CensoredALCLoss(beta=0.4, learn="beta", reduction="none")
    assert math.isclose(least_expected(criterion, y, mass, 0.6), 0.4, rel_tol=1e-3)
    assert math.isclose(criterion.beta.item(), 0.1, rel_tol=1e-2)
