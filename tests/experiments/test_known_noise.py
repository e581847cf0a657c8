"""The noise's own likelihood, against scipy's Student-t, quadrature and the noise itself."""

import itertools

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from alcl.experiments.known_noise import LIMITS, KnownNoiseLoss
from alcl.experiments.levels import get_level

CASES = [(level, sensor) for level in ("low", "between", "high", "extreme") for sensor in LIMITS]
pytestmark = pytest.mark.usefixtures("double_precision")


def log_prob(loss, pixel, target):
    target = torch.as_tensor(target, dtype=torch.float64)
    return loss.log_prob(torch.full_like(target, pixel), target).numpy()


def reference(level, sensor, pixel, target):
    """Density, or probability at a limit, by scipy."""
    mixed, (lower, upper) = get_level(level), LIMITS[sensor]
    total = np.zeros_like(target)
    for share, centre in ((1 - mixed.impulse, pixel), (mixed.impulse / 2, 0.0), (mixed.impulse / 2, 1.0)):
        t = stats.t(mixed.dof, loc=centre, scale=mixed.scale)
        part = np.where(target <= lower, t.cdf(lower), np.where(target >= upper, t.sf(upper), t.pdf(target)))
        total += share * part
    return np.log(total)


@pytest.mark.parametrize(("level", "sensor"), CASES)
def test_agrees_with_scipy_between_the_limits_and_at_them(level, sensor):
    loss = KnownNoiseLoss(level, sensor)
    target = np.array([-1e4, -1.5, -1.0, -0.3, 0.0, 1e-9, 0.4, 1.0, 1.2, 2.0, 7.0])
    for pixel in (0.0, 0.35, 1.0, -2.0):
        np.testing.assert_allclose(
            log_prob(loss, pixel, target), reference(level, sensor, pixel, target), rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("level", ["between", "high"])
@pytest.mark.parametrize("pixel", [0.1, 1.0])
def test_all_probability_is_one(level, pixel):
    clipped = KnownNoiseLoss(level, "clipped")
    inside, _ = integrate.quad(lambda y: np.exp(log_prob(clipped, pixel, y)), 0, 1, points=[pixel], epsabs=1e-10)
    assert inside + np.exp(log_prob(clipped, pixel, [0.0, 1.0])).sum() == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("level", ["low", "extreme"])
def test_is_the_distribution_of_what_the_noise_draws(level):
    pixel, count = 0.8, 200_000
    y = get_level(level)(torch.full((count,), pixel), torch.Generator().manual_seed(0)).clamp(0, 1)
    loss = KnownNoiseLoss(level, "clipped")
    edges = np.linspace(0, 1, 6)
    for low, high in itertools.pairwise(edges):
        share, _ = integrate.quad(
            lambda v: np.exp(log_prob(loss, pixel, v)), low, high, points=[pixel] if low < pixel < high else None
        )
        seen = ((y > low) & (y < high)).double().mean().item()
        assert seen == pytest.approx(share, abs=4.5 * (share * (1 - share) / count) ** 0.5 + 1e-6)
    for limit in (0.0, 1.0):
        share = np.exp(log_prob(loss, pixel, limit))
        assert (y == limit).double().mean().item() == pytest.approx(share, abs=4.5 * (share / count) ** 0.5)


def test_the_truth_has_the_least_expected_loss():
    """Of a constant prediction for many draws of one pixel (information inequality)."""
    loss, truth = KnownNoiseLoss("high", "clipped"), 0.3
    y = get_level("high")(torch.full((50_000,), truth), torch.Generator().manual_seed(1)).clamp(0, 1)
    grid = torch.linspace(0, 1, 101)
    values = torch.stack([loss(m.expand_as(y), y) for m in grid])
    assert grid[values.argmin()].item() == pytest.approx(truth, abs=0.0101)


@pytest.mark.parametrize(("level", "sensor"), [("high", "clipped"), ("between", "clamped"), ("extreme", "unclipped")])
def test_gradients(level, sensor):
    loss = KnownNoiseLoss(level, sensor)
    target = torch.tensor([0.0, 0.2, 1.0, 0.7, 5.0, -3.0])
    input = torch.tensor([0.3, 0.3, 0.4, 0.701, 0.9, 0.1], requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: loss(m, target), (input,))


def test_float32_is_finite_and_right_for_the_farthest_target():
    loss = KnownNoiseLoss("extreme", "unclipped")
    target = torch.tensor([3e38, -3e38, 0.5], dtype=torch.float32)
    input = torch.full_like(target, 0.5).requires_grad_()
    loss(input, target).backward()
    assert torch.isfinite(loss.log_prob(input, target)).all()
    assert torch.isfinite(input.grad).all()


def test_posterior_is_bayes():
    loss, mixed = KnownNoiseLoss("high", "unclipped"), get_level("high")
    input, target = torch.tensor([0.5, 0.5]), torch.tensor([0.5, 1.0])
    core = stats.t(mixed.dof, loc=0.5, scale=mixed.scale).pdf(target.numpy()) * (1 - mixed.impulse)
    expected = 1 - core / np.exp(reference("high", "unclipped", 0.5, target.numpy()))
    np.testing.assert_allclose(loss.posterior(input, target).numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("none",), "level must be mixed noise"), (("laplace",), "level must be"), (("high", "film"), "sensor must be")],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        KnownNoiseLoss(*arguments)


def test_a_wide_start_narrows_down_to_the_noise():
    loss, own = KnownNoiseLoss("high", "clipped", start=10.0, until=0.5), KnownNoiseLoss("high", "clipped")
    scales = []
    for t in (0.0, 0.25, 0.5, 0.9):
        loss.advance(t)
        scales.append(loss.scale)
    assert scales == pytest.approx([10.0, 1.0, 0.1, 0.1])
    target = np.array([0.0, 0.3, 1.0])
    assert np.array_equal(log_prob(loss, 0.4, target), log_prob(own, 0.4, target))
    own.advance(0.0)
    assert own.scale == 0.1


def test_while_it_is_wide_all_probability_is_one():
    loss = KnownNoiseLoss("high", "clipped", start=3.0)
    inside, _ = integrate.quad(lambda y: np.exp(log_prob(loss, 0.4, y)), 0, 1, points=[0.4], epsabs=1e-10)
    assert inside + np.exp(log_prob(loss, 0.4, [0.0, 1.0])).sum() == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 0.0}, "start must be positive and finite; got 0.0"),
        ({"start": float("inf")}, "start must be positive and finite"),
        ({"until": 0.0}, "until must be positive and at most 1; got 0.0"),
    ],
)
def test_an_illegal_start_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        KnownNoiseLoss("high", "clipped", **options)
