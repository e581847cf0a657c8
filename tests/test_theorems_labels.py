"""Guards of the theorems of notebook 08, by oracles that share no formula with the library."""

import numpy as np
import pytest
import torch
from scipy import optimize, special

from alcl.related.label_losses import amse_minimiser, asymmetry_condition, make_classification_loss, smallest_height


def simplex_grid(classes, steps):
    """All points of the simplex whose coordinates are multiples of 1/steps."""
    if classes == 1:
        return np.full((1, 1), steps)
    parts = [
        np.hstack([np.full((len(rest), 1), first), rest])
        for first in range(steps + 1)
        for rest in [simplex_grid(classes - 1, steps - first)]
    ]
    return np.vstack(parts)


GRID = simplex_grid(4, 40) / 40
VERTICES = GRID.max(1) == 1


def risk(weights, a, q, p):
    """sum_i w_i ||a e_i - p||_q^q, by its definition, for points p (n, K)."""
    eye = np.eye(len(weights))
    return sum(w * (np.abs(a * eye[i] - p) ** q).sum(1) for i, w in enumerate(weights))


@pytest.mark.parametrize("q", [1.2, 1.5, 2.0, 3.0])
def test_C1_condition_by_brute_force_over_the_simplex(q):
    """Random weights, a grid of the simplex: the vertex of the largest weight is the best point iff the condition holds
    (cases close to the border are left out: a grid, and steps in floating point, cannot decide them)."""
    rng = np.random.default_rng(int(10 * q))
    seen = {True: 0, False: 0}
    for _ in range(400):
        weights, a = rng.dirichlet(np.full(4, 0.6)), rng.uniform(1.05, 12)
        condition = asymmetry_condition(torch.tensor(weights), a, q)
        margin = (condition.ratio / condition.threshold).item()
        if abs(margin - 1) < (1e-3 if q >= 1.5 else 0.1):
            continue
        best = GRID[risk(weights, a, q, GRID).argmin()]
        vertex = np.eye(4)[weights.argmax()]
        if margin > 1:
            assert (best == vertex).all()
        else:
            # the minimiser is elsewhere, perhaps between grid points: step from the vertex towards every other one
            lengths = np.logspace(-10, -2, 9)[:, None, None]
            steps = (vertex + lengths * (np.eye(4) - vertex)).reshape(-1, 4)
            assert risk(weights, a, q, steps).min() < risk(weights, a, q, vertex[None])[0]
        seen[bool(condition.holds)] += 1
    assert min(seen.values()) > 50


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_C1_minimiser_by_a_general_solver(classes):
    rng = np.random.default_rng(classes)
    for _ in range(20):
        weights, a = rng.dirichlet(np.ones(classes)), rng.uniform(1, 15)
        own = amse_minimiser(torch.tensor(weights), a).numpy()
        found = optimize.minimize(
            lambda p, w=weights, a=a: risk(w, a, 2, p[None])[0],
            np.full(classes, 1 / classes),
            bounds=[(0, 1)] * classes,
            constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-13, "maxiter": 300},
        )
        assert risk(weights, a, 2, own[None])[0] <= found.fun + 1e-7
        np.testing.assert_allclose(own, found.x, atol=2e-3)


@pytest.mark.parametrize(("rate", "classes"), [(0.2, 10), (0.4, 10), (0.8, 10), (0.5, 3)])
def test_C2_smallest_height_by_bisection_on_the_minimiser(rate, classes):
    weights = np.full(classes, rate / (classes - 1))
    weights[0] = 1 - rate
    vertex, towards = np.eye(classes)[:1], np.eye(classes)[:1] * (1 - 1e-7) + 1e-7 * np.eye(classes)[1:2]

    def vertex_wins(a):
        return risk(weights, a, 2, vertex)[0] - risk(weights, a, 2, towards)[0]

    border = optimize.brentq(vertex_wins, 1.0, 1000.0)
    assert border == pytest.approx((classes - 1) / (classes - 1 - rate * classes), rel=1e-4)
    assert smallest_height(torch.tensor(weights)).item() == pytest.approx(border, rel=1e-4)


@pytest.mark.parametrize("a", [1.0, 5.0, 30.0])
def test_C3_identity_on_random_points_of_the_simplex(a):
    rng = np.random.default_rng(0)
    for classes in (2, 7, 10, 100):
        p = rng.dirichlet(np.full(classes, 0.3), size=200)
        one = np.eye(classes)[rng.integers(classes, size=200)]
        amse = ((a * one - p) ** 2).mean(1)
        mse, mae = ((one - p) ** 2).mean(1), np.abs(one - p).sum(1)
        np.testing.assert_allclose(amse, mse + (a - 1) / classes * mae + (a - 1) ** 2 / classes, rtol=1e-12)


@pytest.mark.parametrize(("name", "total"), [("mae", 2 * (6 - 1)), ("nce", 1.0), ("nfl", 1.0)])
def test_C4_symmetric_losses_sum_to_a_constant(name, total):
    logits = 4 * torch.randn(300, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loss = make_classification_loss(name, reduction="none")
    sums = sum(loss(logits, torch.full((300,), k)) for k in range(6))
    torch.testing.assert_close(sums, torch.full_like(sums, total), rtol=1e-10, atol=0)
    asymmetric = make_classification_loss("amse", reduction="none")  # no symmetric loss, for contrast
    sums = sum(asymmetric(logits, torch.full((300,), k)) for k in range(6))
    assert sums.max() - sums.min() > 0.1


def test_C4_normalised_cross_entropy_does_not_need_the_right_class():
    """Two classes at one half and a third that vanishes: NCE of a label that has one half goes to 0."""
    values = []
    for depth in (10.0, 1e3, 1e6):
        logits = torch.tensor([[0.0, 0.0, -depth]], dtype=torch.float64)
        values.append(make_classification_loss("nce")(logits, torch.tensor([0])).item())
    assert values[0] > 0.05
    assert values[2] < 1e-6


def test_C4_jal_keeps_the_minimiser_of_its_passive_part():
    """Where the condition holds, no random point of the simplex beats the approach to the vertex; where it does not,
    some point does."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(60_000, 4, generator=generator, dtype=torch.float64)
    z *= torch.tensor([1.0, 4.0, 20.0]).repeat(20_000)[:, None]
    weights = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    approach = torch.tensor([[0.0, -1e4, -1e4, -1e9]], dtype=torch.float64)  # the rarest class fastest
    for a in (30.0, 1.5):
        loss = make_classification_loss("jal", kind="ce", a=a, reduction="none")

        def weighted(z, loss=loss):
            return sum(w * loss(z, torch.full((len(z),), k)) for k, w in enumerate(weights))

        wins = (weighted(z) < weighted(approach) - 1e-6).any()
        assert bool(wins) == (not asymmetry_condition(weights, a).holds)


@pytest.mark.parametrize("q", [None, 0.2, 0.7])
def test_C5_what_cross_entropy_and_gce_learn_from_noise(q):
    """Newton-like minimisation of the weighted loss over logits, against the closed form w^(1/(1-q)), normalised."""
    rng = np.random.default_rng(1)
    loss = make_classification_loss("ce" if q is None else "gce", **({} if q is None else {"q": q}), reduction="none")
    for _ in range(5):
        weights = rng.dirichlet(np.full(5, 2.0)) * 0.9 + 0.02

        def value(z, w=weights):
            z = torch.tensor(z).requires_grad_()
            total = sum(w[k] * loss(z[None], torch.tensor([k]))[0] for k in range(5))
            return total.item(), torch.autograd.grad(total, z)[0].numpy()

        z = optimize.minimize(value, np.zeros(5), jac=True, method="BFGS", options={"gtol": 1e-10}).x
        found = np.exp(z) / np.exp(z).sum()
        expected = weights ** (1 / (1 - (q or 0)))
        np.testing.assert_allclose(found, expected / expected.sum(), atol=1e-5)


def test_C6_forward_correction_for_symmetric_noise_is_a_mixture():
    """The matrix of forward correction is made from the noise's rate, the mixture from the fraction alone."""
    generator = torch.Generator().manual_seed(0)
    logits, labels = 3 * torch.randn(9, 10, dtype=torch.float64, generator=generator), torch.arange(9)
    forward = make_classification_loss("forward", noise="symmetric", rate=0.4)
    mixture = make_classification_loss("mixture", eps=0.4 * 10 / 9, learn=False)
    torch.testing.assert_close(mixture(logits, labels), forward(logits, labels), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "weights", [[0.5, 0.2, 0.2, 0.1], [0.7, 0.1, 0.1, 0.1], [0.6, 0.4, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
)
def test_C6_data_do_not_fix_the_fraction(weights):
    """The least risk over the simplex, by SLSQP: the entropy for every eps up to K min w, growing above."""
    w = np.array(weights)

    def least(eps):
        return optimize.minimize(
            lambda p: -(w * np.log((1 - eps) * p + eps / 4)).sum(),
            np.full(4, 0.25),
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
            options={"ftol": 1e-14, "maxiter": 500},
        ).fun

    entropy, edge = -special.xlogy(w, w).sum(), 4 * w.min()
    if edge:
        assert [least(eps) for eps in (0.01, 0.5 * edge, 0.999 * edge)] == pytest.approx([entropy] * 3, abs=1e-7)
    above = [least(edge + extra) for extra in (0.05, 0.1, 0.2)]
    assert entropy + 1e-5 < above[0] < above[1] < above[2]
