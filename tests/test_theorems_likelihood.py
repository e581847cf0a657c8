"""One guard for each theorem on the likelihood (01, appendix A2): other parameters and another oracle than there."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, optimize, special, stats

from alcl.distributions import PARAMETERS, GeneralizedT, log_normalizer
from alcl.functional import alcl_loss, correntropy_loss, generalized_correntropy_loss, log_correntropy

pytestmark = pytest.mark.usefixtures("double_precision")


def density(alpha, beta, kappa=1.0):
    return GeneralizedT(*map(torch.tensor, (float(alpha), float(beta), float(kappa))))


def log_grid(low=-120.0, high=120.0, count=40_001):
    """Residuals with a uniform logarithm, and their weights for an integral over both half-lines."""
    e = torch.linspace(low, high, count).exp()
    return e, 2 * e * (high - low) / (count - 1)


# -- L1: a learned correntropy bandwidth is degenerate -----------------------------------------------------


@given(st.floats(0.3, 6), st.floats(-2, 2), st.integers(0, 1000))
def test_L1_gradient_always_widens_the_bandwidth(alpha, log10_beta, seed):
    residuals = torch.as_tensor(stats.laplace.rvs(size=20, random_state=seed))
    beta = torch.tensor(10**log10_beta, requires_grad=True)
    generalized_correntropy_loss(residuals, torch.zeros(20), alpha, beta).backward()
    assert beta.grad < 0 or (beta.grad == 0 and residuals.abs().min() > beta)  # 0: underflow far outside the kernel
    far = generalized_correntropy_loss(residuals, torch.zeros(20), alpha, 1e30)
    assert far < 1e-6


def test_L1_no_normaliser_and_collapse_with_the_kernels_own_constant():
    e = torch.linspace(-1e4, 1e4, 20_001)
    assert correntropy_loss(e, 1.7, 3.0).neg().exp().min() >= math.exp(-1)  # bounded below: infinite integral
    others = np.array([3.0, -4.0, 8.0])

    def best(nearest, alpha=1.5):
        def objective(log_beta):
            beta = math.exp(log_beta)
            kernels = np.exp(-(np.abs(np.append(others, nearest) / beta) ** alpha))
            return -alpha / (2 * beta * special.gamma(1 / alpha)) * kernels.mean()

        center = math.log(nearest)
        return optimize.minimize_scalar(objective, bounds=(center - 3, center + 3), method="bounded").fun

    assert best(1e-3) / best(1e-2) == pytest.approx(10, rel=0.01)  # it falls like 1/|e_1|
    assert best(1e-6) / best(1e-3) == pytest.approx(1e3, rel=0.01)


# -- L2: bandwidth averaging -------------------------------------------------------------------------------


@given(st.floats(0.5, 8), st.floats(0.3, 10), st.floats(1e-3, 3))
def test_L2_by_gauss_laguerre(alpha, kappa, power):
    """Generalized Gauss-Laguerre nodes integrate against tau^(kappa-1) exp(-tau) itself."""
    nodes, weights = special.roots_genlaguerre(60, kappa - 1)
    average = (weights * np.exp(-nodes * power)).sum() / special.gamma(kappa)
    rho = log_correntropy(torch.tensor(2 * power ** (1 / alpha)), alpha, 2.0, kappa)
    assert average == pytest.approx(math.exp(-rho), rel=1e-6)


# -- L3: normaliser ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "beta", "kappa"), [(2.5, 0.3, 1.0), (1.6, 7.0, 1.0), (7.0, 1.0, 0.4), (1.1, 2.0, 3.0)]
)
def test_L3_by_quadrature_on_a_bounded_interval(alpha, beta, kappa):
    """e = beta tan(x)^(1/c): the line becomes (0, pi/2)."""

    c = min(1.0, kappa * alpha - 1)

    def integrand(x):
        t = math.tan(x)
        u = t ** (1 / c)
        return (1 + u**alpha) ** -kappa * u / (c * t * math.cos(x) ** 2)

    whole, _ = integrate.quad(integrand, 0, math.pi / 2, limit=400, epsabs=0, epsrel=1e-11)
    assert float(log_normalizer(torch.tensor(alpha), beta, kappa).exp()) == pytest.approx(2 * beta * whole, rel=1e-8)


@pytest.mark.parametrize(("alpha", "kappa"), [(1.0, 1.0), (4.0, 0.25), (0.8, 1.0)])
def test_L3_diverges_at_the_boundary_and_beyond(alpha, kappa):
    decades = [
        integrate.quad(lambda s: math.exp(s) * (1 + math.exp(alpha * s)) ** -kappa, s, s + math.log(10))[0]
        for s in (10, 20, 40)
    ]
    assert decades[2] > 0.999 * decades[1] > 0.998 * decades[0] > 1  # no decade adds less than the one before
    assert torch.isinf(log_normalizer(torch.tensor(alpha), 1.0, kappa))


# -- L4: the barrier ---------------------------------------------------------------------------------------


@given(st.floats(-9, 0), st.floats(0.2, 5), st.floats(-6, 6), st.integers(0, 1000))
def test_L4_bounds_hold_for_arbitrary_residuals(log10_gap, kappa, log10_beta, seed):
    rng = np.random.default_rng(seed)
    residuals = torch.as_tensor(rng.standard_t(rng.uniform(0.1, 3), 30) * 10 ** rng.uniform(-3, 3))
    alpha, beta = (1 + 10**log10_gap) / kappa, 10**log10_beta
    loss = alcl_loss(residuals, torch.zeros(30), torch.tensor(alpha), beta, torch.tensor(kappa))
    unit = 2 / alpha * special.beta(1 / alpha, kappa - 1 / alpha)
    assert loss >= math.log(beta * unit) - 1e-6  # (b), which allows zeros
    assert loss >= float(residuals.abs().log().mean()) + math.log(unit) - 1e-6  # (c), uniform in beta


@pytest.mark.parametrize("tail", [0.05, 0.2, 1.0])
def test_L4_gradient_descent_cannot_reach_the_limit(tail):
    """Close enough to 1, the gradient pushes alpha away, however heavy the data."""
    residuals = torch.as_tensor(stats.t(tail).rvs(1000, random_state=5))
    alpha = torch.tensor(1 + 1e-4, requires_grad=True)
    for beta in (1e-3, 1.0, 1e3):
        (slope,) = torch.autograd.grad(alcl_loss(residuals, torch.zeros(1000), alpha, beta), alpha)
        assert slope < -1e3


# -- L5: scale mixture -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "beta", "kappa"), [(1.2, 3.0, 1.0), (2.0, 0.5, 0.8), (4.0, 1.0, 1.0)])
def test_L5_two_stage_simulation(alpha, beta, kappa):
    """Both stages from gamma variates; compared in bins of equal probability under the claimed density."""
    rng, count, bins = np.random.default_rng(11), 100_000, 50
    tau = rng.gamma(kappa - 1 / alpha, size=count)
    magnitude = (rng.gamma(1 / alpha, size=count) / tau) ** (1 / alpha) * beta
    noise = magnitude * rng.choice([-1, 1], count)

    def p_value(law):
        edges = law.icdf(torch.linspace(0, 1, bins + 1)).numpy()
        return stats.chisquare(np.histogram(noise, edges)[0], np.full(bins, count / bins)).pvalue

    assert p_value(density(alpha, beta, kappa)) > 1e-3
    # the other Gamma law, that of Theorem L2, is a different mixture
    wrong = density(alpha, beta, kappa + 1 / alpha)
    inside = np.abs(noise) < 1e300
    edges = wrong.icdf(torch.linspace(0, 1, bins + 1)).numpy()
    assert stats.chisquare(np.histogram(noise[inside], edges)[0], np.full(bins, inside.sum() / bins)).pvalue < 1e-6


# -- L6: posterior precision and EM ------------------------------------------------------------------------


def test_L6_posterior_mean_by_simulation():
    alpha, beta, kappa = 2.4, 0.6, 1.5
    rng = np.random.default_rng(3)
    tau = rng.gamma(kappa - 1 / alpha, size=1_000_000)
    e = beta * (rng.gamma(1 / alpha, size=tau.size) / tau) ** (1 / alpha)
    for point in (0.05, 0.4, 1.0, 2.5):
        near = np.abs(e / point - 1) < 0.02
        expected = kappa / (1 + (point / beta) ** alpha)
        assert near.sum() > 900
        standard_error = tau[near].std() / near.sum() ** 0.5
        assert abs(tau[near].mean() - expected) < 4 * standard_error + 1e-3 * expected


def test_L6_em_for_location_and_scale_climbs_to_a_stationary_point():
    """alpha = 2: both steps in closed form; stationarity by autograd of the likelihood."""
    kappa, y = 1.25, torch.as_tensor(stats.t(1.5, loc=3.0, scale=0.4).rvs(500, random_state=8))
    location, beta, previous = torch.tensor(0.0), torch.tensor(5.0), -math.inf
    for _ in range(400):
        likelihood = float(density(2.0, beta, kappa).log_prob(y - location).mean())
        assert likelihood >= previous - 1e-13
        previous = likelihood
        weight = kappa / (1 + ((y - location) / beta) ** 2)
        location = (weight * y).sum() / weight.sum()
        beta = (2 * (weight * (y - location) ** 2).mean()).sqrt()
    at = [location.clone().requires_grad_(), beta.clone().requires_grad_()]
    gradient = torch.autograd.grad(GeneralizedT(2.0, at[1], kappa).log_prob(y - at[0]).mean(), at)
    assert max(abs(float(g)) for g in gradient) < 1e-8


# -- L7: the Beta law --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "beta", "kappa"), [(1.3, 2.0, 1.0), (3.0, 0.01, 1.0), (2.0, 1.0, 6.0)])
def test_L7_scipys_beta_variates_become_residuals(alpha, beta, kappa):
    """From v to e, and then against the density alone, integrated between bin edges."""
    v = stats.beta.rvs(1 / alpha, kappa - 1 / alpha, size=50_000, random_state=9)
    e = beta * (v / (1 - v).clip(1e-300)) ** (1 / alpha)  # v rounds to 1 far out; the last bin is open
    edges = beta * np.array([0, 0.05, 0.2, 0.5, 0.9, 1.4, 2.0])
    law = density(alpha, beta, kappa)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    probabilities = []
    for low, high in pairwise(edges):
        x = torch.as_tensor((high - low) / 2 * nodes + (high + low) / 2)
        probabilities.append(float((torch.as_tensor(weights) * law.log_prob(x).exp()).sum()) * (high - low))
    probabilities.append(1 - sum(probabilities))
    observed = np.append(np.histogram(e, edges)[0], (e > edges[-1]).sum())
    assert stats.chisquare(observed, len(e) * np.array(probabilities)).pvalue > 1e-3


@given(st.floats(1.05, 10), st.floats(0.02, 5), st.floats(-3, 3))
def test_L7_distribution_function_is_the_integral_of_the_density(alpha, b, log_u):
    kappa = 1 / alpha + b
    law = density(alpha, 1.0, kappa)
    e = torch.tensor(math.exp(log_u), requires_grad=True)
    (slope,) = torch.autograd.grad(law.cdf(e), e)
    step = 1e-4 * e.detach()
    central = (law.cdf(e.detach() + step) - law.cdf(e.detach() - step)) / (2 * step)
    torch.testing.assert_close(central, law.log_prob(e.detach()).exp(), rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(slope, law.log_prob(e.detach()).exp())


# -- L8: tail index and moments ----------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "kappa"), [(1.4, 1.0), (3.0, 1.0), (2.0, 2.0)])
def test_L8_hill_estimate_of_the_tail_index(alpha, kappa):
    """Hill's estimator from the largest of many samples; its standard error is index / sqrt(k)."""
    k = 1000
    e = density(alpha, 2.0, kappa).sample((1_000_000,)).abs().topk(k + 1).values
    hill = 1 / float((e[:k] / e[k]).log().mean())
    index = kappa * alpha - 1
    assert abs(hill - index) < 4 * index / k**0.5


@pytest.mark.parametrize(
    ("alpha", "kappa", "m"), [(6.0, 1.0, 2.0), (1.8, 2.0, 1.0), (1.8, 1.0, 0.25), (3.0, 0.5, -0.3)]
)
def test_L8_moments_by_monte_carlo(alpha, kappa, m):
    """2m < tail index, so that the average has a standard error."""
    law = density(alpha, 0.3, kappa)
    terms = law.sample((400_000,)).abs() ** m
    assert abs(terms.mean() - law.moment(m)) < 4 * terms.std() / len(terms) ** 0.5
    assert torch.isinf(law.moment(kappa * alpha - 1))


# -- L9: entropy -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "beta", "kappa"), [(2.0, 0.05, 1.0), (4.0, 30.0, 1.0), (1.5, 1.0, 3.0)])
def test_L9_entropy_by_sample_spacings(alpha, beta, kappa):
    """SciPy's spacing estimator knows nothing of any density."""
    law = density(alpha, beta, kappa)
    e = law.sample((100_000,))
    estimate = stats.differential_entropy(e.numpy(), method="ebrahimi")
    assert estimate == pytest.approx(float(law.entropy()), abs=0.05)
    assert float(law.entropy() - density(alpha, 1.0, kappa).entropy()) == pytest.approx(math.log(beta))
    at_zero = density(alpha, float((-density(alpha, 1.0, kappa).entropy()).exp()), kappa)
    assert abs(at_zero.entropy()) < 1e-12
    for factors in ((1.2, 1, 1), (1, 1.2, 1), (1, 1, 1.2), (0.9, 0.8, 1.3)):  # Gibbs: the truth is best
        other = density(*(f * x for f, x in zip(factors, (alpha, beta, kappa), strict=True)))
        assert other.log_prob(e).mean() < law.log_prob(e).mean()


# -- L10: special and limiting cases -----------------------------------------------------------------------


@pytest.mark.parametrize("dof", [0.6, 3.0, 12.0])
def test_L10_student_t_moments_and_quantiles(dof):
    ours, theirs = density(2.0, 1.4 * dof**0.5, (dof + 1) / 2), stats.t(dof, scale=1.4)
    levels = np.array([0.02, 0.3, 0.77, 0.999])
    np.testing.assert_allclose(ours.icdf(torch.as_tensor(levels)), theirs.ppf(levels), rtol=1e-8)
    assert float(ours.entropy()) == pytest.approx(theirs.entropy(), rel=1e-8)


@pytest.mark.parametrize("shape", [1.0, 2.0, 4.0])
def test_L10_generalized_gaussian_samples_in_the_limit(shape):
    kappa = 1e4
    samples = density(shape, 0.5 * kappa ** (1 / shape), kappa).sample((50_000,)).numpy()
    assert stats.kstest(samples, stats.gennorm(shape, scale=0.5).cdf).pvalue > 1e-3
    early = density(shape, 0.5 * 3 ** (1 / shape), 3.0).sample((50_000,)).numpy()  # and kappa = 3 is not the limit
    assert stats.kstest(early, stats.gennorm(shape, scale=0.5).cdf).pvalue < 1e-3


def test_L10_remaining_relatives():
    e = np.linspace(-5, 5, 41)
    # generalized Cauchy with p = 2 is Cauchy; Lomax and Burr by their distribution functions
    np.testing.assert_allclose(density(2, 0.7, 1).log_prob(torch.as_tensor(e)), stats.cauchy(scale=0.7).logpdf(e))
    x = e[e > 0]
    lomax, burr = density(1.0, 2.0, 1.7), density(1.8, 2.0, 1 + 1 / 1.8)
    np.testing.assert_allclose(2 * lomax.cdf(torch.as_tensor(-x)), stats.lomax(0.7, scale=2).sf(x), rtol=1e-10)
    np.testing.assert_allclose(2 * burr.cdf(torch.as_tensor(-x)), stats.burr(1.8, 1 / 1.8, scale=2).sf(x), rtol=1e-9)
    for alpha in (1.5, 3.0):  # (d)
        wide = log_correntropy(torch.as_tensor(e), alpha, 1e6, 2.0) * 1e6**alpha / 2.0
        np.testing.assert_allclose(wide, np.abs(e) ** alpha, rtol=1e-5)


# -- L11: Fisher information -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "beta", "kappa"), [(1.5, 2.0, 1.0), (2.7, 0.1, 1.0), (3.0, 1.0, 2.0), (5.0, 4.0, 0.7)]
)
def test_L11_information_is_the_mean_curvature(alpha, beta, kappa):
    """The second Bartlett identity: minus the expected Hessian of log p, by autograd, not a product of scores."""
    e, weight = log_grid()
    signed = torch.cat([e, -e])
    theta = torch.tensor([0.0, alpha, beta, kappa])
    mass = density(alpha, beta, kappa).log_prob(signed).exp() * torch.cat([weight, weight]) / 2

    def expected(theta):
        return -(mass * GeneralizedT(*theta[1:], validate_args=False).log_prob(signed - theta[0])).sum()

    curvature = torch.autograd.functional.hessian(expected, theta)
    closed = density(alpha, beta, kappa).fisher_information()
    unit = closed.diagonal().sqrt()
    assert ((closed - curvature) / unit.outer(unit)).abs().max() < 1e-6
    assert torch.linalg.eigvalsh(closed / unit.outer(unit)).min() > 0
    assert closed[0, 1:].abs().max() == 0


# -- L12: maximum likelihood -------------------------------------------------------------------------------


@pytest.mark.parametrize("learn", [("beta", "kappa"), ("alpha", "beta")])
def test_L12_standard_errors_cover(learn):
    truth, n, replications = {"alpha": 2.0, "beta": 1.5, "kappa": 1.4}, 1000, 50
    rows = [PARAMETERS.index(name) for name in learn]
    z = []
    for _ in range(replications):
        fitted = GeneralizedT.fit(density(**truth).sample((n,)), learn=learn, **{"alpha": 2.0, "kappa": 1.4})
        covariance = torch.linalg.inv(n * fitted.fisher_information()[rows][:, rows])
        z.append([float(getattr(fitted, name)) - truth[name] for name in learn] / covariance.diagonal().sqrt().numpy())
    z = np.array(z)
    assert (np.abs(z.mean(0)) < 4 / replications**0.5).all()
    assert (np.abs(z.std(0) - 1) < 4 / (2 * replications) ** 0.5).all()


def test_L12_the_maximum_does_not_depend_on_the_start():
    samples = density(1.7, 0.2, 1.2).sample((5000,))
    fits = [
        GeneralizedT.fit(samples, alpha=alpha, beta=beta, kappa=kappa)
        for alpha, beta, kappa in [(2.0, None, 1.0), (5.0, 1.0, 0.5), (1.2, 10.0, 3.0), (3.0, 1e-3, 1.0)]
    ]
    for name in PARAMETERS[1:]:
        assert np.ptp([float(getattr(fit, name)) for fit in fits]) < 1e-4 * float(getattr(fits[0], name))
