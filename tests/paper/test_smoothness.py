"""Constants of descent against the steepest slope on a grid, and values by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alcl.influence import curvature
from alcl.paper.smoothness import lipschitz, weak_convexity

F64 = torch.float64
betas = st.floats(-4, 4).map(lambda x: 10**x)
positions = st.floats(0.001, 1.0)  # of kappa in (1/alpha, 50]


def tail_weight(alpha, position):
    return 1 / alpha + position * (50 - 1 / alpha)


@given(st.floats(2.0, 20.0), betas, positions)
@settings(max_examples=30)
def test_lipschitz_constant_is_the_largest_slope(alpha, beta, position):
    kappa = tail_weight(alpha, position)
    u = torch.logspace(-4, 1, 40001, dtype=F64)
    steepest = curvature(u * beta, alpha, beta, kappa).abs().max()
    constant = lipschitz(alpha, beta, kappa)
    assert steepest <= constant * (1 + 1e-12)
    assert steepest >= constant * (1 - 3e-5)


def test_lipschitz_constant_at_special_shapes():
    assert lipschitz(2.0, 3.0, 2.0) == pytest.approx(2 * 2 / 9)
    assert math.isinf(lipschitz(1.999, 1.0))
    assert lipschitz(2.0 + 1e-9, 1.0) == pytest.approx(2.0, rel=1e-6)


@given(st.floats(1.001, 20.0), betas, positions)
@settings(max_examples=30)
def test_weak_convexity_is_the_steepest_fall(alpha, beta, position):
    kappa = tail_weight(alpha, position)
    u = torch.logspace(-4, 2, 60001, dtype=F64)
    steepest = (-curvature(u * beta, alpha, beta, kappa)).max()
    constant = weak_convexity(alpha, beta, kappa)
    assert steepest <= constant * (1 + 1e-12)
    assert steepest >= constant * (1 - 3e-5)


def test_weak_convexity_at_special_shapes():
    assert weak_convexity(1.0, 3.0, 2.0) == pytest.approx(2 / 9)
    assert weak_convexity(1 + 1e-12, 3.0, 2.0) == pytest.approx(2 / 9, rel=1e-4)
    assert weak_convexity(2.0, 3.0, 2.0) == pytest.approx(2 / 36)
    assert math.isinf(weak_convexity(0.999, 3.0))
    assert weak_convexity(torch.tensor([1.0, 1.5, 2.0]), torch.tensor([[1.0], [2.0]])).shape == (2, 3)
    with pytest.raises(ValueError, match="beta"):
        weak_convexity(1.5, -1.0)
