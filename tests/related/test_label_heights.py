"""The asymmetric condition, its heights by search over the definition, the projection by a solver, and bad input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from alcl.related.label_heights import (
    amse_minimiser,
    asymmetry_condition,
    height_for,
    simplex_projection,
    smallest_height,
)
from alcl.related.label_noise import transition_matrix


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8))
def test_projection_against_a_quadratic_solver(v):
    p = simplex_projection(torch.tensor(v, dtype=torch.float64)).numpy()
    assert p.min() >= 0
    assert p.sum() == pytest.approx(1, abs=1e-12)
    found = optimize.minimize(
        lambda x: ((x - v) ** 2).sum(),
        np.full(len(v), 1 / len(v)),
        jac=lambda x: 2 * (x - v),
        bounds=[(0, 1)] * len(v),
        constraints={"type": "eq", "fun": lambda x: x.sum() - 1, "jac": lambda x: np.ones_like(x)},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert ((p - v) ** 2).sum() <= ((found.x - v) ** 2).sum() + 1e-6


def test_projection_works_row_by_row():
    v = torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = torch.stack([simplex_projection(row) for row in v.flatten(0, 1)]).reshape(v.shape)
    torch.testing.assert_close(simplex_projection(v), rows, rtol=0, atol=0)


def test_minimiser_of_known_cases():
    torch.testing.assert_close(amse_minimiser(torch.tensor([3.0, 1.0]), 1.0), torch.tensor([0.75, 0.25]).double())
    assert amse_minimiser(torch.tensor([3.0, 1.0]), 2.0).tolist() == [1.0, 0.0]  # 2 (0.75 - 0.25) = 1: just there


def test_condition_at_its_border():
    """Two classes, 3 : 1. a = 2 is the border: (2 + 1)/(2 - 1) = 3."""
    weights = torch.tensor([3.0, 1.0])
    assert smallest_height(weights).item() == pytest.approx(2.0)
    assert asymmetry_condition(weights, 2.0).holds
    assert not asymmetry_condition(weights, 1.999).holds
    assert asymmetry_condition(weights, 2.0).threshold.item() == pytest.approx(3.0)
    assert not asymmetry_condition(torch.ones(4), 1e6).holds  # no largest weight
    assert math.isinf(smallest_height(torch.ones(4)).item())
    assert asymmetry_condition(torch.tensor([1.0, 0.0]), 1.5).holds  # no wrong labels at all


# --- heights ---------------------------------------------------------------------------------------------------------


def risk(weights, a, q, p):
    """sum_i w_i ||a e_i - p||_q^q by its definition."""
    return sum(w * (np.abs(a * row - p) ** q).sum() for w, row in zip(weights, np.eye(len(weights)), strict=True))


@pytest.mark.parametrize("q", [1.3, 1.5, 2.0, 3.0, 5.0])
@pytest.mark.parametrize("weights", [[0.5, 0.3, 0.15, 0.05], [0.6, 0.4, 0.0, 0.0], [0.4, 0.2, 0.2, 0.2]])
def test_the_smallest_height_is_where_a_constrained_solver_leaves_the_vertex(weights, q):
    """Just above it SLSQP's minimiser over the simplex is the vertex; 5 % below, something else is lower."""
    border = smallest_height(torch.tensor(weights, dtype=torch.float64), q).item()
    vertex = np.array([1.0, 0.0, 0.0, 0.0])

    def gain(a):
        """How much lower than the vertex the best point is, relative to the vertex."""
        top = risk(weights, a, q, vertex)
        found = optimize.minimize(
            lambda p: risk(weights, a, q, p) / top,
            vertex * 0.9 + 0.025,
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
            options={"ftol": 1e-15, "maxiter": 500},
        )
        return 1 - found.fun

    assert gain(1.02 * border) < 1e-9
    below = 1 + 0.9 * (border - 1)
    steps = [risk(weights, below, q, vertex + h * (np.eye(4)[1] - vertex)) for h in np.logspace(-9, -1, 60)]
    assert min(steps) < risk(weights, below, q, vertex)


def test_heights_agree_with_the_condition_and_with_each_other():
    weights = torch.tensor(np.random.default_rng(0).dirichlet(np.ones(5), 200))
    for q in (1.4, 2.0, 4.0):
        for row, a in zip(weights, smallest_height(weights, q).tolist(), strict=True):
            if a < 1e6:
                assert asymmetry_condition(row, a * (1 + 1e-6), q).holds
                assert not asymmetry_condition(row, 1 + (a - 1) * (1 - 1e-6), q).holds
    torch.testing.assert_close(smallest_height(weights, 2.0), smallest_height(weights, 2.0 + 1e-12), rtol=1e-6, atol=0)
    assert smallest_height(torch.ones(3), 3.0) == math.inf
    assert smallest_height(torch.tensor([1.0, 0.0]), 60.0) == pytest.approx(1.0)  # nothing is wrong; no overflow


def test_the_advice_for_a_transition_matrix():
    assert height_for(transition_matrix("symmetric", 0.8)) == pytest.approx(9.0)
    assert height_for(transition_matrix("asymmetric", 0.4, dataset="mnist")) == pytest.approx(5.0)
    assert height_for(transition_matrix("asymmetric", 0.5, dataset="mnist")) == math.inf
    assert height_for(torch.eye(3)) == pytest.approx(1.0)
    matrix = transition_matrix("human", 0.4)
    assert height_for(matrix, 3.0) == pytest.approx(max(smallest_height(row, 3.0).item() for row in matrix))
    assert height_for(torch.tensor([[0.4, 0.6], [0.1, 0.9]])) == math.inf  # the largest, but of the wrong label


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: asymmetry_condition(torch.tensor([1.0, -1.0]), 2.0), "weights must be of shape"),
        (lambda: asymmetry_condition(torch.tensor([1.0, 2.0]), 1.0), "a must be finite, above 1; got 1.0"),
        (lambda: asymmetry_condition(torch.tensor([1.0, 2.0]), 2.0, q=1.0), "q must be finite, above 1; got 1.0"),
        (lambda: smallest_height(torch.tensor([1.0, 2.0]), q=1.0), "q must be finite, above 1; got 1.0"),
        (lambda: height_for(torch.ones(2, 2)), r"transition must be of shape \(K, K\), K >= 2, at least 0"),
        (lambda: height_for(torch.ones(2, 3) / 3), "transition must be of shape"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
