"""One guard a theorem of appendix A6, with other parameters and another oracle than the notebook's own check."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate, optimize, special, stats
from textbook import descend

from alcl import ALCLoss, CensoredALCLoss, ContaminatedALCLoss, GeneralizedT, TobitLoss
from alcl.contaminated import ContaminatedT

F64 = torch.float64


pytestmark = pytest.mark.usefixtures("double_precision")


SETTINGS = [(2.0, 1.0, 1.0), (1.2, 0.3, 1.0), (5.0, 0.1, 1.0), (2.0, 0.5, 0.7), (1.6, 2.0, 3.0)]


def tensor(x):
    return torch.as_tensor(x, dtype=F64)


def student(kappa, beta):
    """SciPy's own Student t: the generalized t at alpha = 2."""
    nu = 2 * kappa - 1
    return stats.t(nu, scale=beta / math.sqrt(nu))


def density(e, alpha, beta, kappa):
    """The generalized t with SciPy's Beta function, no logarithms."""
    z = 2 * beta / alpha * special.beta(1 / alpha, kappa - 1 / alpha)
    with np.errstate(over="ignore"):  # far out the density is 0
        return (1 + np.abs(np.asarray(e) / beta) ** alpha) ** -kappa / z


def psi(e, alpha, beta, kappa):
    return kappa * alpha * abs(e) ** alpha / (beta**alpha + abs(e) ** alpha) / e


def survival(d, alpha, beta, kappa):
    """P(E >= d) by quadrature of the density, in log d, so that far tails keep their digits."""
    if d < 0:
        return 1 - survival(-d, alpha, beta, kappa)
    low = math.log(max(d, 1e-12))
    steps = [low, low + 3, low + 30, low + 250]
    pieces = [
        integrate.quad(lambda t: math.exp(t) * density(math.exp(t), alpha, beta, kappa), *ends, limit=200)[0]
        for ends in itertools.pairwise(steps)
    ]
    return math.fsum(pieces) + (density(0.0, alpha, beta, kappa) * (1e-12 - d) if d < 1e-12 else 0.0)


# --- S1: the scores ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kappa", [0.8, 1.0, 2.5])
def test_S1_scores_at_alpha_2_are_those_of_scipys_t_times_the_weight(kappa):
    """Central differences of a mixture made of scipy.stats.t, in every parameter that t has."""
    beta, eps, u, h = 0.4, 0.15, 0.3, 1e-5

    log_beta, of_eps = math.log(beta), math.log(eps / (1 - eps))

    def log_p(e, s=log_beta, logit=of_eps):
        share = 1 / (1 + math.exp(-logit))
        return np.log((1 - share) * student(kappa, math.exp(s)).pdf(e) + share * u)

    for e in (0.01, -0.5, 3.0, 40.0):
        q = student(kappa, beta).pdf(e)
        w = (1 - eps) * q / ((1 - eps) * q + eps * u)
        v = (e / beta) ** 2 / (1 + (e / beta) ** 2)
        own = 1 / (2 * h)
        assert (log_p(e - h) - log_p(e + h)) * own == pytest.approx(w * psi(e, 2.0, beta, kappa), rel=1e-5, abs=1e-9)
        found = (log_p(e, s=log_beta + h) - log_p(e, s=log_beta - h)) * own
        assert found == pytest.approx(w * (2 * kappa * v - 1), rel=1e-4, abs=1e-9)
        found = (log_p(e, logit=of_eps + h) - log_p(e, logit=of_eps - h)) * own
        assert found == pytest.approx(1 - w - eps, rel=1e-6, abs=1e-9)
        loss = ContaminatedALCLoss(2.0, beta, kappa, eps, density=u, learn=()).double()
        assert 1 - loss.posterior(tensor([e]), tensor([0.0])).item() == pytest.approx(w, rel=1e-6)


@pytest.mark.parametrize(("alpha", "beta", "kappa"), SETTINGS)
def test_S1_far_out_the_loss_pulls_with_the_constant_of_the_theorem(alpha, beta, kappa):
    eps, u = 0.2, 0.5
    z = 2 * beta / alpha * special.beta(1 / alpha, kappa - 1 / alpha)
    loss = ContaminatedALCLoss(alpha, beta, kappa, eps, density=u, learn=(), reduction="sum").double()
    e = tensor(1e6).requires_grad_()
    (pull,) = torch.autograd.grad(loss(e, tensor(0.0)), e)
    constant = kappa * alpha * (1 - eps) * beta ** (kappa * alpha) / (eps * u * z)
    assert pull.item() * 1e6 ** (1 + kappa * alpha) == pytest.approx(constant, rel=2e-2)


# --- S2: far outliers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "beta", "kappa"), [*SETTINGS, (1.0001, 1e-3, 1.0), (60.0, 1.0, 1.0)])
def test_S2_bounds_on_the_density(alpha, beta, kappa):
    with mpmath.workdps(30):
        z = 2 * mpmath.mpf(beta) / alpha * mpmath.beta(1 / mpmath.mpf(alpha), kappa - 1 / mpmath.mpf(alpha))
        for e in np.geomspace(1e-6, 1e12, 60):
            held = e * (1 + (mpmath.mpf(e) / beta) ** alpha) ** -kappa / z
            assert held <= 0.5
            if e > beta:
                assert held <= math.exp(kappa) / (2 * math.log(e / beta))
        assert 1 / z <= mpmath.mpf(2) ** (kappa - 1) / beta


def test_S2_learned_fraction_counts_the_far_residuals():
    """Descent on the library's loss, whatever shape and scale it goes to; residuals of no model at all."""
    rng = np.random.default_rng(3)
    for share, radius, u in ((0.05, 1e3, 0.02), (0.3, 50.0, 0.1), (0.6, 1e6, 0.01)):
        n = 400
        bad = round(share * n)
        e = tensor(
            np.append(rng.laplace(size=n - bad) ** 3, radius * rng.uniform(1, 9, bad) * rng.choice([-1, 1], bad))
        )
        e = e[(e.abs() >= radius) | (e.abs() < 30)]
        loss = ContaminatedALCLoss(density=u).double()
        descend(loss, e)
        assert loss.eps.item() >= (e.abs() >= radius).double().mean().item() - 1 / (2 * u * radius) - 1e-3


def test_S2_scale_does_not_follow_the_outliers_and_that_of_alcl_does():
    good = stats.logistic.ppf((np.arange(90) + 0.5) / 90)
    ends = {}
    for power in (3, 8, 30):
        e = tensor(np.append(good, np.full(10, 10.0**power)))
        for name, loss in (("plain", ALCLoss()), ("contaminated", ContaminatedALCLoss(density=0.01))):
            loss = loss.double()
            descend(loss, e)
            ends[name, power] = loss.alpha.item(), loss.beta.item()
    assert ends["contaminated", 8] == pytest.approx(ends["contaminated", 30], rel=1e-3)
    assert ends["plain", 30][1] < 0.3 * ends["plain", 3][1]
    assert ends["plain", 30][0] < 1.15


# --- S3: identifiability ----------------------------------------------------------------------------------------------


def test_S3_two_different_parameters_never_give_the_same_density():
    """The nearest imitation of a mixture at any other, fixed, fraction keeps a distance; at its own it has none."""
    x = np.linspace(0.0, 1.0, 400)
    truth = 0.8 * density(x, 2.0, 0.1, 1.0) + 0.2 * 0.5

    def gap(eps):
        def off(p):
            alpha, beta = 1 + math.exp(p[0]), math.exp(p[1])
            kappa = 1 / alpha + math.exp(p[2])
            return (1 - eps) * density(x, alpha, beta, kappa) + eps * 0.5 - truth

        start = [0.3, math.log(0.12), math.log(0.6)]
        return np.abs(optimize.least_squares(off, start, xtol=1e-14, ftol=1e-14, gtol=1e-14).fun).max()

    assert gap(0.2) < 1e-6
    gaps = [gap(eps) for eps in (0.1, 0.15, 0.25, 0.3)]
    assert min(gaps) > 1e-3


def test_S3_information_is_nonsingular_and_the_fraction_loses_little_to_kappa():
    """Covariance of the scores of draws from the mixture, by autograd: no quadrature."""
    torch.manual_seed(1)
    draws = ContaminatedT(tensor(2.0), tensor(0.1), tensor(1.0), tensor(0.2), tensor(1.0)).sample((40_000,))
    draws = draws[draws.abs() <= 1]
    raw = [tensor(x).expand(draws.shape).clone().requires_grad_() for x in (2.0, math.log(0.1), 1.0, 0.2)]
    q = GeneralizedT(raw[0], raw[1].exp(), raw[2], validate_args=False).log_prob(draws).exp()
    scores = torch.stack(torch.autograd.grad(((1 - raw[3]) * q + raw[3] * 0.5).log().sum(), raw), 1)
    information = scores.T @ scores / len(scores)
    inverse = torch.linalg.inv(information)
    assert torch.linalg.eigvalsh(information).min() > 1e-3
    known = torch.linalg.inv(information[[0, 1, 3]][:, [0, 1, 3]])  # kappa is known
    assert 1 < (inverse[3, 3] / known[2, 2]) ** 0.5 < 1.3


# --- S4: exact zeros --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zeros", [1, 20])
def test_S4_one_zero_is_enough_for_the_mixture(zeros):
    e = tensor(np.append(np.zeros(zeros), stats.norm.rvs(size=100 - zeros, random_state=0)))

    def loss(beta, kind=ContaminatedALCLoss, **options):
        made = kind(2.0, beta, learn=(), reduction="mean", **options).double()
        return made(e, torch.zeros_like(e)).item()

    mixture = {"eps": 0.1, "density": 0.05}
    fall = (loss(1e-30, **mixture) - loss(1e-20, **mixture)) / math.log(1e-10)
    assert fall == pytest.approx(zeros / 100, rel=1e-6)
    plain = (loss(1e-30, ALCLoss) - loss(1e-20, ALCLoss)) / math.log(1e-10)
    assert plain == pytest.approx(1 - 2 * (1 - zeros / 100), rel=1e-6)
    assert plain < 0 < fall


def test_S4_floor_bounds_the_loss_from_below():
    rng = np.random.default_rng(0)
    e = np.append(np.zeros(30), rng.standard_cauchy(70))
    bound = -0.3 * math.log(2**0 / 1e-3 + 0.5) - 0.7 * np.log(1 / (2 * np.abs(e[30:])) + 0.5).mean()
    for _ in range(300):
        alpha, beta, eps = 1 + rng.exponential(2) + 1e-6, 1e-3 + rng.exponential() ** 6, rng.uniform(1e-6, 1 - 1e-6)
        made = ContaminatedALCLoss(alpha, beta, eps=eps, density=0.5, learn=()).double()
        assert made(tensor(e), torch.zeros(100, dtype=F64)).item() >= bound


# --- S5: the pull of a target at a limit ------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "beta", "kappa"), SETTINGS)
def test_S5_hazard_by_quadrature(alpha, beta, kappa):
    loss = CensoredALCLoss(alpha, beta, kappa, learn=(), limits=(None, 1.0), reduction="sum").double()
    most = kappa / beta * (alpha - 1) ** ((alpha - 1) / alpha)
    for d in (-30.0, -1.0, -0.01, 0.02, 0.3, 5.0, 200.0):
        x = tensor(1.0 - d).requires_grad_()  # a target at the upper limit; d: how far below it the prediction is
        (slope,) = torch.autograd.grad(loss(x, tensor(1.0)), x)
        hazard = float(density(d, alpha, beta, kappa)) / survival(d, alpha, beta, kappa)
        assert -slope.item() == pytest.approx(hazard, rel=1e-6)
        assert 0 < hazard <= most
    assert 200 * hazard == pytest.approx(kappa * alpha - 1, rel=0.15)


def test_S5_hazard_rises_to_its_only_peak_and_falls():
    for kappa, beta in ((0.9, 1.0), (1.0, 0.2), (4.0, 2.0)):
        t, d = student(kappa, beta), np.concatenate([-np.geomspace(1e4, 1e-4, 4000), np.geomspace(1e-4, 1e4, 4000)])
        hazard = t.pdf(d) / t.sf(d)
        peak = hazard.argmax()
        assert (np.diff(hazard[: peak + 1]) > 0).all()
        assert (np.diff(hazard[peak:]) < 0).all()
        assert 0 < d[peak] < beta  # alpha = 2: the peak of psi is at beta
        assert hazard[peak] == pytest.approx(psi(d[peak], 2.0, beta, kappa), rel=1e-2)


def test_S5_tobit_pulls_without_bound():
    loss = TobitLoss(0.1, learn=(), reduction="sum").double()
    for d in (10.0, 100.0):
        x = tensor(d).requires_grad_()
        (pull,) = torch.autograd.grad(loss(x, tensor(0.0)), x)
        assert pull.item() == pytest.approx(d / 0.1**2, rel=1e-3)


# --- S6: no collapse --------------------------------------------------------------------------------------------------


def test_S6_loss_of_clipped_targets_is_bounded_below():
    """Nine tenths at a limit, fitted exactly; random shapes, scales and tail weights down to scale 1e-300."""
    rng = np.random.default_rng(5)
    target = tensor(np.append(np.zeros(90), rng.uniform(0.05, 0.95, 10)))
    output = torch.cat([torch.zeros(90, dtype=F64), target[90:] + tensor(rng.normal(0, 0.1, 10))])
    bound = 0.1 * torch.log(2 * (output - target)[90:].abs()).mean().item()
    for beta in (1e-300, 1e-100, 1e-10, 1e-3, 0.1, 3.0, 1e5):
        for _ in range(10):
            alpha = 1.05 + rng.exponential(2)
            made = CensoredALCLoss(alpha, beta, learn=()).double()
            assert made(output, target).item() >= bound
    plain = ALCLoss(2.0, 1e-300, learn=()).double()
    assert plain(output, target).item() < bound - 100


# --- S7: consistency and bias ----------------------------------------------------------------------------------------


def sensor(of_inside, of_limits, place, model):
    """E of a function of y = clamp(place + noise, 0, 1), by the trapezoidal rule between the limits."""
    y = np.linspace(0, 1, 4001)
    inside = integrate.trapezoid(of_inside(y) * model.pdf(y - place), y)
    return inside + of_limits[0] * model.cdf(-place) + of_limits[1] * model.sf(1 - place)


@pytest.mark.parametrize(("kappa", "place"), [(1.0, 0.1), (2.0, 0.35)])
def test_S7_expected_censored_loss_is_least_at_the_truth(kappa, place):
    model = student(kappa, 0.15)

    def expected(p):
        other, log_beta, log_b = p
        beta, k = math.exp(log_beta), 0.5 + math.exp(log_b)
        own = student(k, beta)
        return sensor(lambda y: -own.logpdf(y - other), (-own.logcdf(-other), -own.logsf(1 - other)), place, model)

    start = [place + 0.05, math.log(0.2), math.log(kappa - 0.5) + 0.2]
    found = optimize.minimize(expected, start, method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-10}).x
    assert found[0] == pytest.approx(place, abs=1e-3)
    assert math.exp(found[1]) == pytest.approx(0.15, rel=2e-2)
    assert 0.5 + math.exp(found[2]) == pytest.approx(kappa, rel=3e-2)


@pytest.mark.parametrize(("alpha", "beta", "kappa"), SETTINGS)
def test_S7_slope_of_the_plain_loss_at_the_truth(alpha, beta, kappa):
    """Monte Carlo: the library's gradient on clipped draws, one limit."""
    torch.manual_seed(0)
    noise = GeneralizedT(tensor(alpha), tensor(beta), tensor(kappa)).sample((400_000,))
    loss = ALCLoss(alpha, beta, kappa, learn=()).double()
    for d in (0.1 * beta, 0.6 * beta, 4 * beta):
        x = tensor(d).expand(noise.shape).clone().requires_grad_()
        loss(x, (d + noise).clamp(min=0)).backward()
        slopes = x.grad * len(noise)
        s = survival(d, alpha, beta, kappa)
        predicted = s * psi(d, alpha, beta, kappa) - float(density(d, alpha, beta, kappa))
        error = 5 * slopes.std().item() / math.sqrt(len(noise))
        assert slopes.mean().item() == pytest.approx(predicted, abs=error)
        if d == 4 * beta:
            assert predicted > 0  # towards the limit
        if d == 0.1 * beta and alpha > 1.5:
            assert predicted < 0  # away from it
