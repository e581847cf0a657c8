"""`diagnose` on losses that learned, and on every way of failing that it is meant to name."""

import math

import matplotlib
import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from alcl.comparators import BarronLoss, StudentTLoss
from alcl.diagnostics import LEVEL, diagnose
from alcl.distributions import GeneralizedT
from alcl.experiments.training import fit
from alcl.losses import ALCLoss

matplotlib.use("Agg")


def draws(alpha, beta, kappa=1.0, number=4000, seed=0):
    torch.manual_seed(seed)
    return GeneralizedT(torch.tensor(alpha, dtype=torch.float64), beta, kappa).sample((number,))


def learn(criterion, e, steps=40):
    """Fit the loss alone to residuals; returns its trajectories, one entry a step (of a few iterations of L-BFGS)."""
    optimizer = torch.optim.LBFGS(criterion.parameters(), max_iter=4, line_search_fn="strong_wolfe")
    names = [n for n in ("alpha", "beta", "kappa", "dof", "scale") if hasattr(criterion, n)]
    path = {name: [getattr(criterion, name).mean().item()] for name in names}
    e, zero = e.float(), torch.zeros(e.shape)

    def closure():
        optimizer.zero_grad()
        loss = criterion(e, zero)
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
        for name in names:
            path[name].append(getattr(criterion, name).mean().item())
    return path


def looks(found):
    return {finding.topic for finding in found.findings if not finding.good}


# --- where all is well ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "law"),
    [
        (lambda: ALCLoss(), (1.6, 0.2, 1.0)),
        (lambda: ALCLoss(kappa=2.0, learn=("alpha", "beta", "kappa")), (2.0, 0.5, 1.5)),
        (lambda: StudentTLoss(), (2.0, 0.4, 2.0)),
    ],
    ids=["alcl", "alcl_kappa", "student_t"],
)
def test_a_loss_that_learned_gets_no_complaint(make, law):
    criterion, e = make(), draws(*law)
    history = learn(criterion, e)
    found = diagnose(criterion, e, history)
    assert found.good, str(found)
    assert "not rejected" in found.finding("fit").text
    assert "moved, and settled" in found.finding("learning").text
    assert "LOOK" not in str(found)


def test_what_fit_returns_is_a_history():
    torch.manual_seed(0)
    x = torch.randn(512, 2)
    noise = draws(1.6, 0.1, number=1024).reshape(512, 2).float()
    model, criterion = nn.Linear(2, 2), ALCLoss()
    y = x @ torch.tensor([[1.0, -1.0], [0.5, 2.0]]) + noise
    history = fit(model, criterion, x, y, epochs=60, batch_size=64, lr=0.02)
    found = diagnose(criterion, (model(x) - y).detach(), history)
    assert found.good, str(found)


def test_the_test_of_fit_rejects_what_is_right_no_more_often_than_it_says():
    """At the true parameters: 1 % in the long run. Fitted to the residuals themselves: hardly ever."""
    runs, right, fitted = 200, 0, 0
    for seed in range(runs):
        e = draws(1.8, 0.3, number=400, seed=seed)
        right += not diagnose(ALCLoss(1.8, 0.3, learn=()), e).finding("fit").good
        if seed < 30:
            best = GeneralizedT.fit(e, learn=("alpha", "beta"))
            fitted += not diagnose(ALCLoss(best.alpha.item(), best.beta.item(), learn=()), e).finding("fit").good
    assert right <= stats.binom.isf(1e-4, runs, LEVEL)
    assert fitted == 0


# --- where it is not ------------------------------------------------------------------------------------------------


def test_parameters_in_no_optimizer():
    e = draws(1.7, 0.2)
    found = diagnose(ALCLoss(), e, {"alpha": [2.0] * 5, "beta": [1.0] * 5})
    assert looks(found) == {"fit", "learning"}
    assert "alpha, beta never moved: give them to the optimizer" in found.finding("learning").text
    # the second fit says that the family is right, and where the loss should be
    assert "The family does fit" in found.finding("fit").text
    assert found.refitted.beta.item() == pytest.approx(0.2, rel=0.1)
    assert found.refitted_distance < found.critical < found.distance


def test_a_scale_that_collapsed_onto_exact_zeros():
    e = draws(2.0, 0.3)
    e[: int(0.7 * len(e))] = 0
    criterion = ALCLoss()
    found = diagnose(criterion, e, learn(criterion, e))
    assert {"scale", "zeros", "fit"} <= looks(found)
    assert "sits at its floor 0.001" in found.finding("scale").text
    assert found.zeros == pytest.approx(0.7, abs=1e-3)
    assert found.zero_limit == pytest.approx(1 - 1 / criterion.alpha.item())
    assert found.zeros > found.zero_limit
    assert "no best fit" in found.finding("fit").text


@pytest.mark.parametrize(("share", "good"), [(0.45, True), (0.55, False)])
def test_zeros_are_judged_by_the_threshold(share, good):
    """alpha = 2, kappa = 1: the limit is one half (Theorem A4)."""
    e = draws(2.0, 1.0)
    e[: int(share * len(e))] = 0
    found = diagnose(ALCLoss(), e)
    assert found.zero_limit == pytest.approx(0.5)
    assert found.finding("zeros").good == good
    found = diagnose(StudentTLoss(dof=1.0), e)  # the same law
    assert found.finding("zeros").good == good


def test_zeros_in_one_channel_are_found():
    e = draws(2.0, 1.0, number=3000).reshape(100, 3, 10)
    e[:, 1, :6] = 0
    found = diagnose(ALCLoss(parameter_shape=(3, 1)), e)
    assert found.zeros == pytest.approx(0.6)
    assert "in the worst channel" in found.finding("zeros").text
    assert not found.finding("zeros").good


def test_a_shape_at_its_bound():
    """Tails heavier than the shape's floor allows."""
    e, criterion = draws(1.2, 0.3), ALCLoss(alpha_min=1.5)
    learn(criterion, e)
    found = diagnose(criterion, e)
    assert "alpha = 1.5 sits at its bound 1.5" in found.finding("shape").text
    assert {"shape", "fit"} <= looks(found)
    assert "The family does fit, at alpha = 1.2" in found.finding("fit").text


def test_a_shape_that_runs_away():
    """Uniform residuals: the likelihood's box, alpha without end."""
    e = torch.rand(4000, generator=torch.Generator().manual_seed(0)) - 0.5
    criterion = ALCLoss()
    learn(criterion, e)
    found = diagnose(criterion, e)
    assert criterion.alpha > 20
    assert "lighter than this family's" in found.finding("shape").text


def test_tails_lighter_than_any_power():
    e = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    criterion = ALCLoss(alpha=2.0, beta=10.0, kappa=60.0, learn=("beta", "kappa"))
    assert "generalized Gaussian" in diagnose(criterion, e).finding("tail").text


def test_a_missing_normaliser():
    e = draws(2.0, 0.3)
    criterion = ALCLoss(normalized=False)
    learn(criterion, e)
    found = diagnose(criterion, e)
    assert "normaliser" in looks(found)
    assert "Use normalized=True" in found.finding("normaliser").text
    times = criterion.beta.item() / e.abs().median().item()
    assert times > 10
    assert f"it is {times:.3g} times the median" in found.finding("normaliser").text
    fixed = diagnose(ALCLoss(normalized=False, learn=()), e)
    assert fixed.finding("normaliser").good


def test_a_law_outside_the_family():
    """Two scales mixed: no generalized t with kappa = 1 has this peak and this tail."""
    e = torch.cat([draws(2.0, 0.01, kappa=30.0), draws(2.0, 1.0, kappa=30.0, seed=1)])
    criterion = ALCLoss(beta=0.1)
    learn(criterion, e)
    found = diagnose(criterion, e)
    assert "fit" in looks(found)
    assert "not a distribution of this family" in found.finding("fit").text


def test_more_residuals_see_a_smaller_misfit():
    """The same law, the same misfit: chance for a hundred residuals, plain for a hundred thousand."""
    criterion = ALCLoss(2.1, 0.3, learn=())
    few, many = (diagnose(criterion, draws(2.0, 0.3, number=n)) for n in (100, 100_000))
    assert few.finding("fit").good
    assert not many.finding("fit").good
    assert many.distance < few.distance
    assert many.critical == pytest.approx(1.63 / math.sqrt(100_000), rel=0.01)
    assert "A small misfit, visible because they are many" in many.finding("fit").text


def test_noise_that_is_not_symmetric():
    e = draws(2.0, 0.3).abs()
    found = diagnose(ALCLoss(), e)
    assert "symmetry" in looks(found)
    assert found.finding("symmetry").text.startswith("100.0% of the residuals are positive")


def test_a_loss_still_on_its_way():
    e = draws(1.7, 0.001)
    criterion = ALCLoss(beta=1.0)
    found = diagnose(criterion, e, learn(criterion, e, steps=2))
    assert "learning" in looks(found)
    assert "still moving over the last quarter: " in found.finding("learning").text
    assert "beta by -" in found.finding("learning").text


def test_infinite_and_nan_residuals_are_counted_and_left_out():
    e = draws(2.0, 1.0)
    clean = diagnose(ALCLoss(), e[3:])
    e[:3] = torch.tensor([math.nan, math.inf, -math.inf])
    found = diagnose(ALCLoss(), e)
    assert found.finding("residuals").text == "3 of 4000 are inf or NaN, and left out below"
    assert (found.count, found.distance) == (3997, clean.distance)
    assert not found.good


# --- against oracles, and around the edges --------------------------------------------------------------------------


def test_the_distance_is_scipys():
    e = draws(1.5, 0.7, number=999)
    found = diagnose(ALCLoss(learn=()), e)  # whose parameters are exactly 2 and 1
    expected = stats.kstest(e.numpy(), stats.cauchy.cdf)
    assert found.distance == pytest.approx(expected.statistic, abs=1e-12)
    assert (found.distance > found.critical) == (expected.pvalue < LEVEL)


def test_channels_are_judged_by_their_own_parameters():
    scale = torch.tensor([0.1, 1.0, 10.0])[:, None]
    e = draws(2.0, 1.0, number=6000).reshape(100, 3, 20) * scale
    right, wrong = ALCLoss(beta=scale, parameter_shape=(3, 1)), ALCLoss(beta=scale.flip(0), parameter_shape=(3, 1))
    assert diagnose(right, e).good
    found = diagnose(wrong, e)
    assert "Look at the channels one by one" in found.finding("fit").text
    assert "beta = 0.1 to 10" in found.finding("scale").text


def test_nothing_is_changed_and_any_type_will_do():
    criterion, e = ALCLoss().half(), draws(2.0, 1.0)
    before = criterion.state_dict()
    for residuals in (e, e.float(), e.half().requires_grad_(), e.reshape(50, 80).t(), e[:1]):
        assert isinstance(str(diagnose(criterion, residuals)), str)
    torch.testing.assert_close(criterion.state_dict(), before, rtol=0, atol=0)
    many, state = torch.randn(100_001), torch.random.get_rng_state()
    assert str(diagnose(criterion, many)) == str(diagnose(criterion, many))  # the part that is drawn is the same
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((BarronLoss(), torch.ones(3)), TypeError, "criterion must be an ALCLoss or a StudentTLoss; got BarronLoss"),
        ((ALCLoss(), [1.0]), TypeError, "residuals must be a real tensor; got list"),
        ((ALCLoss(), torch.tensor([math.nan])), ValueError, "residuals must hold at least one finite number"),
        ((ALCLoss(), torch.ones(0)), ValueError, "residuals must hold at least one finite number; got none among 0"),
        ((ALCLoss(), torch.ones(3), [1, 2]), ValueError, "history must be a mapping like"),
        ((ALCLoss(parameter_shape=(3, 1)), torch.ones(4)), ValueError, "parameter_shape"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        diagnose(*arguments)


def test_no_density_no_test():
    criterion = ALCLoss(alpha=0.8, learn=(), normalized=False)
    found = diagnose(criterion, draws(2.0, 1.0))
    assert "no density behind the loss" in found.finding("fit").text
    assert found.draw() is not None


@pytest.mark.parametrize("with_history", [False, True])
def test_the_figure_shows_the_data(with_history):
    import matplotlib.pyplot as plt
    from matplotlib.colors import to_hex

    from alcl.paper import figures

    e = draws(1.7, 0.2)
    history = {"alpha": [2.0, 2.0], "beta": [1.0, 1.0]} if with_history else None
    found = diagnose(ALCLoss(), e, history)
    figure = found.draw()
    assert len(figure.axes) == 2 + with_history
    density, qq = figure.axes[:2]
    assert (
        figure.get_suptitle() == f"The learned density is off by up to {100 * found.distance:.2g} points of probability"
    )
    if with_history:
        titles = [figure.axes[2].get_title(loc=loc) for loc in ("left", "center")]
        assert "Alpha, beta never moved" in titles
        assert [text.get_text() for text in figure.axes[2].get_legend().get_texts()] == ["alpha", "beta"]
        inks = {to_hex(line.get_color()) for line in figure.axes[2].lines}
        assert inks.isdisjoint(to_hex(colour) for colour in figures.COLORS.values())
    # the bars are a histogram of the residuals: their area is the share inside
    area = sum(bar.get_height() * bar.get_width() for bar in density.patches)
    reach = np.quantile(e.abs().numpy(), 0.95)
    assert area == pytest.approx((e.abs() <= reach).double().mean().item(), abs=1e-6)
    # the curve is the loss's density
    x, y = density.lines[0].get_data()
    torch.testing.assert_close(
        torch.as_tensor(np.asarray(y)), torch.as_tensor(stats.cauchy.pdf(np.asarray(x))), rtol=1e-6, atol=1e-9
    )
    model, observed = qq.lines[1].get_data()
    assert (np.diff(model) >= 0).all()
    assert (np.diff(observed) >= 0).all()
    plt.close(figure)
