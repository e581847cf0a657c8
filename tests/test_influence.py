"""alcl.influence against oracles of other kinds: mpmath, scipy quadrature, published constants, simulation."""

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats
from textbook import Tukey
from torch.distributions import Laplace, Normal, StudentT, Uniform

from alcl.base import ResidualLoss
from alcl.catalogue import LOSSES
from alcl.comparators import BarronLoss, StudentTLoss
from alcl.distributions import GeneralizedT
from alcl.functional import log_correntropy
from alcl.influence import Influence, curvature, peak, psi, weight
from alcl.losses import ALCLoss, CauchyLoss, GeneralizedCorrentropyLoss, HuberLoss, L1Loss, MSELoss
from alcl.paper.influence_table import contaminated_normal, default_losses, table
from alcl.paper.smoothness import lipschitz

F64 = torch.float64
NORMAL = Normal(torch.tensor(0.0, dtype=F64), torch.tensor(1.0, dtype=F64))
LAPLACE = Laplace(torch.tensor(0.0, dtype=F64), torch.tensor(1.0, dtype=F64))

alphas = st.floats(1.0, 20.0, exclude_min=True)
betas = st.floats(-4, 4).map(lambda x: 10**x)
ratios = st.floats(-6, 6).map(lambda x: 10**x)  # |e| / beta
# kappa in (1/alpha, 50], drawn as a position within it
positions = st.floats(0.001, 1.0)


def tail_weight(alpha, position):
    return 1 / alpha + position * (50 - 1 / alpha)


def tensor(x):
    return torch.tensor(x, dtype=F64)


class Lopsided(ResidualLoss):
    def rho(self, residual):
        return residual.square() * (1 + 0.5 * residual.sign())


# --- closed forms ---------------------------------------------------------------------------------------------------


@given(alphas, betas, positions, ratios, st.sampled_from([-1.0, 1.0]))
def test_closed_forms_match_mpmath_derivatives(alpha, beta, position, ratio, sign):
    kappa, e = tail_weight(alpha, position), sign * ratio * beta
    with mp.workdps(200):
        a, b, k, x = mp.mpf(alpha), mp.mpf(beta), mp.mpf(kappa), mp.mpf(e)
        rho = lambda t: k * mp.log(1 + (abs(t) / b) ** a)  # noqa: E731
        step = abs(x) * mp.mpf(10) ** -12
        up, middle, down = rho(x + step), rho(x), rho(x - step)
        first, second = (up - down) / (2 * step), (up - 2 * middle + down) / step**2
        # the second derivative changes sign at the peak: its error is measured against the size of its two parts
        size = abs(a * first / x)
    assert float(psi(tensor(e), alpha, beta, kappa)) == pytest.approx(float(first), rel=1e-11)
    assert float(weight(tensor(e), alpha, beta, kappa)) == pytest.approx(float(first / x), rel=1e-11)
    assert abs(float(curvature(tensor(e), alpha, beta, kappa)) - float(second)) <= 1e-11 * float(size)


@given(alphas, betas, positions, ratios)
def test_psi_is_the_gradient_of_the_loss(alpha, beta, position, ratio):
    """Against autograd through a plain softplus of a logarithm, and through the library's fused loss."""
    kappa = tail_weight(alpha, position)
    e = tensor([ratio * beta, -ratio * beta]).requires_grad_()
    plain = kappa * torch.logaddexp(torch.zeros(2, dtype=F64), alpha * (e.abs().log() - math.log(beta)))
    for rho in (plain, log_correntropy(e, alpha, beta, kappa)):
        (gradient,) = torch.autograd.grad(rho.sum(), e)
        torch.testing.assert_close(psi(e.detach(), alpha, beta, kappa), gradient, rtol=1e-9, atol=0)


@given(alphas, betas, positions, st.lists(ratios, min_size=1, max_size=30))
def test_peak_is_never_exceeded_and_is_attained(alpha, beta, position, us):
    kappa = tail_weight(alpha, position)
    location, value = peak(alpha, beta, kappa)
    assert (psi(tensor(us) * beta, alpha, beta, kappa).abs() <= value * (1 + 1e-12)).all()
    # nor in its close neighbourhood, where a wrong location would show
    assert (psi(location * tensor([0.9, 0.99, 1.01, 1.1]), alpha, beta, kappa) < value).all() or alpha - 1 < 1e-6
    torch.testing.assert_close(psi(location, alpha, beta, kappa), value, rtol=1e-10, atol=0)


def test_values_at_special_points():
    # alpha = 2: a half of 2 kappa u / (1 + u^2) at u = 1, by hand
    assert psi(tensor(3.0), 2.0, 3.0, 2.0) == pytest.approx(2 / 3)
    assert weight(tensor(0.0), 2.0, 3.0, 2.0) == pytest.approx(2 * 2 / 9)
    assert peak(1.0, 4.0, 2.0) == (0.0, 0.5)
    assert peak(0.7, 4.0, 2.0) == (0.0, math.inf)
    for alpha, limit in ((1.0, math.inf), (1.5, math.inf), (3.0, 0.0)):
        assert psi(tensor(0.0), alpha, 1.0) == 0
        assert weight(tensor(0.0), alpha, 1.0) == limit
        assert curvature(tensor(0.0), alpha, 1.0) == limit


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_residuals_stay_finite(dtype):
    e = torch.tensor([0.0, 1e-30, 1e-4, 1.0, 1e10, 1e30, -1e30], dtype=dtype)
    for alpha in (1.0001, 2.0, 20.0):
        for beta in (1e-4, 1e4):
            value = psi(e, alpha, beta, 50.0)
            assert value.dtype == dtype
            assert value.isfinite().all()
            assert curvature(e[1:], alpha, beta).isfinite().all() or alpha < 2


def test_shapes_dtypes_and_broadcasting():
    e, alpha = torch.randn(5, 3), torch.tensor([1.5, 2.0, 3.0], dtype=F64)
    value = psi(e, alpha, 0.5)
    assert value.shape == (5, 3)
    assert value.dtype == F64
    torch.testing.assert_close(value[:, 1], psi(e[:, 1].double(), 2.0, 0.5))
    assert psi(1.0, 2.0, 1.0).dtype == F64
    location, height = peak(alpha, 1.0, torch.tensor([[1.0], [2.0]]))
    assert location.shape == height.shape == (2, 3)


@pytest.mark.parametrize("function", [psi, weight, curvature])
@pytest.mark.parametrize(("name", "value"), [("alpha", 0.0), ("beta", -1.0), ("kappa", math.nan), ("beta", math.inf)])
def test_bad_parameters_are_named(function, name, value):
    with pytest.raises(ValueError, match=f"{name} must be positive and finite"):
        function(torch.ones(3), **({"alpha": 2.0, "beta": 1.0, "kappa": 1.0} | {name: value}))


def test_integer_residuals_are_refused():
    with pytest.raises(TypeError, match="floating point"):
        psi(torch.tensor([1, 2]), torch.tensor(2), 1.0)


# --- the ruler: shape of psi ----------------------------------------------------------------------------------------

# loss, supremum, its place, tail exponent, Lipschitz constant; worked out by hand from each definition
SHAPES = {
    "mse": (MSELoss(), math.inf, math.inf, 1.0, 2.0),
    "l1": (L1Loss(), 1.0, 0.0, 0.0, math.inf),
    "huber": (HuberLoss(0.3), 0.3, 0.3, 0.0, 1.0),
    "cauchy": (CauchyLoss(4.0), 0.25, 4.0, -1.0, 2 / 16),
    # exp(-u^2): psi = 2u exp(-u^2)/beta, peak at u = 1/sqrt 2, steepest at 0
    "gcl": (GeneralizedCorrentropyLoss(2.0, 0.5), 2 * math.sqrt(2) * math.exp(-0.5), math.sqrt(0.125), -math.inf, 8.0),
    # t: psi = (nu+1) e / (nu s^2 + e^2)
    "student_t": (StudentTLoss(3.0, 2.0, learn=()), 4 / (2 * math.sqrt(12)), math.sqrt(12), -1.0, 4 / 12),
    # Barron: psi = x (x^2/b + 1)^(alpha/2 - 1), b = 2 - alpha; peak at x^2 = b/(1 - alpha)
    "barron_0.5": (BarronLoss(0.5, 1.0, learn=()), math.sqrt(3) * 3**-0.75, math.sqrt(3), -0.5, 1.0),
    "barron_1.5": (BarronLoss(1.5, 1.0, learn=()), math.inf, math.inf, 0.5, 1.0),
    "alcl_1": (ALCLoss(1.0, 2.0, 3.0, learn=()), 1.5, 0.0, -1.0, math.inf),
    "alcl_1.5": (ALCLoss(1.5, 2.0, learn=()), 0.5 * 0.5 ** (1 / 3), 2 * 0.5 ** (2 / 3), -1.0, math.inf),
    "alcl_2": (ALCLoss(2.0, 2.0, 3.0, learn=()), 1.5, 2.0, -1.0, 1.5),
    "alcl_0.8": (ALCLoss(0.75, 1.0, 2.0, learn=()), math.inf, 0.0, -1.0, math.inf),
    "tukey": (Tukey(3.0), (6 / 9) * (3 / math.sqrt(5)) * 0.64, 3 / math.sqrt(5), -math.inf, 6 / 9),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shape_of_psi_against_hand_derived_values(name):
    loss, height, location, exponent, slope = SHAPES[name]
    influence = Influence(loss)
    assert influence.supremum() == pytest.approx((height, location), rel=1e-6)
    assert influence.supremum().value == pytest.approx(height, rel=1e-8)
    assert influence.tail_exponent() == pytest.approx(exponent, abs=1e-9)
    assert influence.redescends() == (exponent < 0)
    assert influence.lipschitz() == pytest.approx(slope, rel=1e-8)


def test_charbonnier_only_tends_to_its_bound():
    influence = Influence(BarronLoss(1.0, 2.0, learn=()))
    value, location = influence.supremum()
    assert value == pytest.approx(0.5)
    assert float(influence.psi(tensor(location))) == pytest.approx(0.5 * (1 - 1e-9), rel=1e-12)
    assert not influence.redescends()


@given(st.floats(1.01, 20.0), betas, positions)
@settings(max_examples=15)
def test_ruler_agrees_with_the_closed_forms(alpha, beta, position):
    loss = ALCLoss(alpha, beta, tail_weight(alpha, position), learn=())
    parameters = loss.alpha.double(), loss.beta.double(), loss.kappa.double()  # as stored, in float32
    assume(bool(parameters[2] * parameters[0] > 1))
    influence, e = Influence(loss), torch.logspace(-3, 3, 25, dtype=F64) * parameters[1]
    torch.testing.assert_close(influence.psi(e), psi(e, *parameters), rtol=1e-9, atol=0)
    torch.testing.assert_close(influence.weight(e), weight(e, *parameters), rtol=1e-9, atol=0)
    scale = weight(e, *parameters).max()
    torch.testing.assert_close(influence.curvature(e), curvature(e, *parameters), rtol=1e-7, atol=1e-12 * float(scale))
    location, value = peak(*parameters)
    assert influence.supremum().value == pytest.approx(float(value), rel=1e-9)
    assert influence.supremum().location == pytest.approx(float(location), rel=1e-5)
    assert influence.lipschitz() == pytest.approx(float(lipschitz(*parameters)), rel=1e-6)
    assert influence.tail_exponent() == pytest.approx(-1.0, abs=1e-6)


def test_weight_at_zero_is_the_limit():
    zero = torch.zeros(1, dtype=F64)
    for loss, limit in ((MSELoss(), 2.0), (HuberLoss(), 1.0), (ALCLoss(2.0, 2.0, learn=()), 0.5)):
        assert float(Influence(loss).weight(zero)) == pytest.approx(limit)
    assert math.isinf(Influence(L1Loss()).weight(zero))
    assert math.isinf(Influence(ALCLoss(1.5)).weight(zero))
    assert float(Influence(ALCLoss(3.0)).weight(zero)) == pytest.approx(0.0, abs=1e-14)


def test_rejection_points():
    assert Influence(Tukey(3.0)).rejection_point() == pytest.approx(3.0, rel=1e-9)
    # GCL underflows in float64, but is zero nowhere
    for loss in default_losses().values():
        assert math.isinf(Influence(loss).rejection_point())
    # Cauchy: 2u/(1+u^2) = 0.01 at u = 100 + sqrt(9999)
    assert Influence(CauchyLoss(2.0)).rejection_point(0.01) == pytest.approx(2 * (100 + math.sqrt(9999)), rel=1e-9)
    reference = optimize.brentq(lambda u: 2 * u * math.exp(-u * u) - 0.01 * math.sqrt(2 / math.e), 1, 5)
    assert Influence(GeneralizedCorrentropyLoss()).rejection_point(0.01) == pytest.approx(reference, rel=1e-9)
    assert math.isinf(Influence(HuberLoss()).rejection_point(0.01))
    assert math.isinf(Influence(MSELoss()).rejection_point(0.01))
    # beyond the grid, by the tail's power distribution: x (x^2/b)^(alpha/2-1) = 0.01 of the peak
    alpha, b = 0.9, 1.1
    height = Influence(BarronLoss(alpha, 1.0, learn=())).supremum().value
    expected = (0.01 * height / b ** (1 - alpha / 2)) ** (1 / (alpha - 1))
    assert expected > 1e15
    got = Influence(BarronLoss(alpha, 1.0, learn=())).rejection_point(0.01)
    assert math.log(got) == pytest.approx(math.log(expected), rel=1e-5)
    with pytest.raises(ValueError, match="fraction must lie in"):
        Influence(MSELoss()).rejection_point(1.0)


def test_refuses_what_it_cannot_measure():
    with pytest.raises(TypeError, match="ResidualLoss"):
        Influence(torch.nn.MSELoss())
    with pytest.raises(ValueError, match="scalar parameters"):
        Influence(ALCLoss(parameter_shape=(3, 1, 1)))
    with pytest.raises(ValueError, match="even"):
        Influence(Lopsided())


def test_is_a_snapshot_and_leaves_the_loss_alone():
    loss = ALCLoss(2.0, 1.0)
    influence = Influence(loss)
    with torch.no_grad():
        loss.raw_beta.add_(3.0)
    assert influence.supremum().value == pytest.approx(1.0, rel=1e-6)
    assert loss.raw_beta.dtype == torch.float32
    assert loss.raw_beta.requires_grad


# --- the ruler: under a distribution --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "distribution", "efficiency"),
    [
        (MSELoss(), NORMAL, 1.0),
        (L1Loss(), NORMAL, 2 / math.pi),
        (L1Loss(), LAPLACE, 1.0),
        (MSELoss(), LAPLACE, 0.5),
        # variance nu/(nu-2), information (nu+1)/(nu+3)
        (MSELoss(), StudentT(tensor(5.0)), (3 / 5) / (6 / 8)),
        (MSELoss(), StudentT(tensor(2.0)), 0.0),
        (MSELoss(), StudentT(tensor(1.0)), 0.0),
        (L1Loss(), StudentT(tensor(1.0)), 8 / math.pi**2),
        (CauchyLoss(1.0), StudentT(tensor(1.0)), 1.0),
        (StudentTLoss(3.0, 2.0, learn=()), StudentT(tensor(3.0), tensor(0.0), tensor(2.0)), 1.0),
    ],
)
def test_textbook_efficiencies(loss, distribution, efficiency):
    assert Influence(loss).asymptotic_efficiency(distribution) == pytest.approx(efficiency, rel=1e-8, abs=1e-12)


@given(st.floats(1.05, 12.0), st.floats(-2, 2).map(lambda x: 10**x), positions)
@settings(max_examples=15)
def test_maximum_likelihood_score_is_efficient_at_its_own_density(alpha, beta, position):
    kappa = tail_weight(alpha, position)
    assume(kappa * alpha > 1.05)
    loss = ALCLoss(alpha, beta, kappa, learn=())
    density = GeneralizedT(loss.alpha.double(), loss.beta.double(), loss.kappa.double())
    influence = Influence(loss)
    assert influence.asymptotic_efficiency(density) == pytest.approx(1.0, rel=1e-7)
    # and its variance is the reciprocal of the closed-form Fisher information
    information = float(density.fisher_information()[0, 0])
    assert influence.asymptotic_variance(density) * information == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("name", ["huber", "gcl", "alcl_1.5", "alcl_2", "tukey", "barron_1.5"])
@pytest.mark.parametrize("distribution", ["norm", "t5", "contaminated"])
def test_moments_match_scipy_quadrature(name, distribution):
    """E psi^2 / (E psi')^2 with E psi' as the derivative of E psi(x - t) in t, which knows nothing of scores."""
    loss = SHAPES[name][0]
    influence = Influence(loss)
    torch_distribution, pdf = {
        "norm": (NORMAL, stats.norm.pdf),
        "t5": (StudentT(tensor(5.0)), stats.t(5).pdf),
        "contaminated": (
            contaminated_normal(0.2, 5.0),
            lambda x: 0.8 * stats.norm.pdf(x) + 0.2 * stats.norm.pdf(x, scale=5),
        ),
    }[distribution]
    psi_of = lambda x: float(influence.psi(tensor(x)))  # noqa: E731
    kinks = [0.0, 0.3, 3.0]

    def expectation(g):
        pieces = [-np.inf, *sorted([-k for k in kinks if k] + kinks), np.inf]
        return sum(integrate.quad(g, a, b, epsabs=1e-10, limit=200)[0] for a, b in itertools.pairwise(pieces))

    square = expectation(lambda x: psi_of(x) ** 2 * pdf(x))
    step = 1e-3
    slope = expectation(lambda x: psi_of(x) * (pdf(x - step) - pdf(x + step)) / (2 * step))
    assert influence.asymptotic_variance(torch_distribution) == pytest.approx(square / slope**2, rel=1e-5)
    if math.isfinite(influence.supremum().value):
        expected = influence.supremum().value / slope
        assert influence.gross_error_sensitivity(torch_distribution) == pytest.approx(expected, rel=1e-5)


def test_no_minimum_at_the_centre_gives_nan():
    """Two far modes and a narrow kernel: the centre is a maximum of the expected loss."""
    modes = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(tensor([0.5, 0.5])), Normal(tensor([-3.0, 3.0]), tensor([0.5, 0.5]))
    )
    influence = Influence(GeneralizedCorrentropyLoss(2.0, 2.0))
    assert math.isnan(influence.asymptotic_variance(modes))
    assert math.isnan(influence.asymptotic_efficiency(modes))
    assert math.isnan(influence.gross_error_sensitivity(modes))


@pytest.mark.parametrize(
    ("distribution", "message"),
    [
        (Normal(torch.tensor(0.5), torch.tensor(1.0)), "symmetric"),
        (Normal(torch.zeros(2), torch.ones(2)), "scalar"),
        (torch.distributions.Gumbel(tensor(0.0), tensor(1.0)), "symmetric"),
    ],
)
def test_bad_distributions_are_refused(distribution, message):
    with pytest.raises(ValueError, match=message):
        Influence(MSELoss()).asymptotic_efficiency(distribution)


def test_contaminated_normal_is_the_mixture():
    x = torch.linspace(-20, 20, 41, dtype=F64)
    expected = 0.9 * stats.norm.pdf(x) + 0.1 * stats.norm.pdf(x, scale=3)
    torch.testing.assert_close(contaminated_normal(0.1, 3.0).log_prob(x).exp(), torch.as_tensor(expected))
    with pytest.raises(ValueError, match="fraction must lie in"):
        contaminated_normal(1.0)
    with pytest.raises(ValueError, match="scale must be positive"):
        contaminated_normal(0.1, 0.0)


# --- the table ------------------------------------------------------------------------------------------------------


def test_table_reports_what_the_ruler_measures():
    losses = {"gcl": GeneralizedCorrentropyLoss(2.0, 2.0), "alcl": ALCLoss(3.0, 0.5, learn=())}
    frame = table(losses, {"Gaussian": NORMAL})
    assert list(frame.index) == ["gcl", "alcl"]
    for name, loss in losses.items():
        influence, row = Influence(loss), frame.loc[name]
        assert (row["supremum"], row["location"]) == influence.supremum()
        assert row["tail_exponent"] == influence.tail_exponent()
        assert row["rejection_1pc"] == influence.rejection_point(0.01)
        assert row["lipschitz"] == influence.lipschitz()
        assert row["sensitivity Gaussian"] == influence.gross_error_sensitivity(NORMAL)
        assert row["efficiency Gaussian"] == influence.asymptotic_efficiency(NORMAL)


def test_default_table_covers_every_loss_and_no_efficiency_exceeds_one():
    frame = table()
    efficiency = frame.filter(like="efficiency")
    assert len(frame) == len(default_losses())
    # a scheduled pseudo-Huber is, at every moment, a pseudo-Huber; those with a width from the batch are, each batch,
    # Huber's loss and GCL; the sensor's losses are no functions of the residual, or have influences of their own
    apart = ("scheduled_pseudo_huber", "huber_mad", "welsch_mad", "contaminated_alcl", "censored_alcl", "tobit")
    assert {type(loss) for loss in default_losses().values()} == {*LOSSES.values()} - {LOSSES[name] for name in apart}
    assert ((efficiency >= 0) & (efficiency <= 1 + 1e-9)).all(axis=None)
    assert frame.loc["MSE", "efficiency Gaussian"] == pytest.approx(1.0)
    assert frame.loc["Cauchy", "efficiency Cauchy"] == pytest.approx(1.0)
    # kappa alone scales psi: it changes neither efficiency nor sensitivity of the location
    scaled = frame.loc["ALCL a=2, k=3"].filter(regex="efficiency|sensitivity")
    np.testing.assert_allclose(scaled, frame.loc["ALCL a=2"].filter(regex="efficiency|sensitivity"), rtol=1e-9)


def test_uniform_has_no_score_to_integrate():
    """A density with jumps is outside the documented range; torch itself refuses residuals beyond its support."""
    with pytest.raises(ValueError, match="support"):
        Influence(MSELoss()).asymptotic_efficiency(Uniform(tensor(-1.0), tensor(1.0)))
