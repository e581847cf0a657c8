"""Joint estimates by Fisher scoring, against optimizers and integrals that share no step with it."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, optimize, stats

from alcl.paper.scoring import NODES, joint_estimates, node_weights


def negative_log_likelihood(theta, e):
    """By its formula for kappa = 1, with powers; theta = location, log(alpha - 1), log(beta)."""
    alpha, beta = 1 + math.exp(theta[1]), math.exp(theta[2])
    return np.log1p(np.abs((e - theta[0]) / beta) ** alpha).mean() + math.log(
        2 * math.pi * beta / (alpha * math.sin(math.pi / alpha))
    )


def test_estimates_of_samples_are_those_of_a_derivative_free_optimizer():
    samples = stats.t(3, loc=2, scale=0.5).rvs((3, 200), random_state=0)
    found = joint_estimates(torch.tensor(samples), start=(torch.full((3,), 2.0), 2.0, 1.0))
    for row, (location, alpha, beta) in zip(samples, found.tolist(), strict=True):
        best = optimize.minimize(
            negative_log_likelihood,
            [2, 0, 0],
            args=(row,),
            method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-14},
        ).x
        assert [location, math.log(alpha - 1), math.log(beta)] == pytest.approx(best, abs=1e-5)


def test_what_is_not_learned_stays():
    sample = torch.tensor(stats.laplace.rvs(size=(1, 100), random_state=1))
    location, alpha, beta = joint_estimates(sample, learn=("location",), start=(0.0, 1.7, 0.4))[0].tolist()
    assert (alpha, beta) == (1.7, 0.4)
    best = optimize.minimize_scalar(
        lambda t: negative_log_likelihood([t, math.log(0.7), math.log(0.4)], sample[0].numpy()),
        bounds=(location - 0.1, location + 0.1),
        options={"xatol": 1e-10},
    ).x
    assert location == pytest.approx(best, abs=1e-6)


def test_weights_integrate_and_the_truth_is_its_own_estimate():
    weight = node_weights(stats.t(3).pdf)
    assert float(weight.sum()) == pytest.approx(1)
    mean, _ = integrate.quad(lambda e: math.log1p(e * e) * stats.t(3).pdf(e), -math.inf, math.inf)
    assert float(weight @ torch.log1p(NODES**2)) == pytest.approx(mean, rel=1e-8)
    cauchy = node_weights(stats.cauchy(scale=0.3).pdf)
    assert joint_estimates(NODES[None], cauchy)[0].tolist() == pytest.approx([0, 2, 0.3], abs=1e-9)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"density: its integral over the nodes is 2, not 1"):
        node_weights(lambda e: 2 * stats.norm.pdf(e))
    with pytest.raises(ValueError, match="learn: must name some of location, alpha, beta"):
        joint_estimates(torch.zeros(1, 3, dtype=torch.float64), learn=("kappa",))
    zeros = torch.zeros(1, 5, dtype=torch.float64)  # no maximum: beta runs to zero
    with pytest.raises(RuntimeError, match="1 of 1 rows did not converge"):
        joint_estimates(zeros, learn=("beta",))
