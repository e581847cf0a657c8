"""One guard for each theorem on influence (notebook 02, appendix A3): other parameters, another oracle than there."""

import math

import mpmath as mp
import numpy as np
import pytest
import sympy
import torch
from scipy import integrate, optimize, special, stats

from alcl.comparators import StudentTLoss
from alcl.distributions import GeneralizedT
from alcl.experiments.location import location_estimate
from alcl.functional import alcl_loss, log_correntropy
from alcl.influence import Influence, peak, psi
from alcl.losses import ALCLoss, GeneralizedCorrentropyLoss, HuberLoss, L1Loss, MSELoss
from alcl.paper.influence_table import contaminated_normal
from alcl.paper.smoothness import lipschitz

F64 = torch.float64


def tensor(x):
    return torch.tensor(x, dtype=F64)


pytestmark = pytest.mark.usefixtures("double_precision")


def fixed(alpha, beta=1.0, kappa=1.0):
    return ALCLoss(alpha, beta, kappa, learn=())


def rho_mp(e, alpha, beta, kappa):
    return kappa * mp.log(1 + (abs(e) / beta) ** alpha)


def psi_np(e, alpha, beta, kappa=1.0):
    """The definition, in numpy, without logarithms."""
    e = np.asarray(e, dtype=float)
    return kappa * alpha * np.sign(e) * np.abs(e) ** (alpha - 1) / (beta**alpha + np.abs(e) ** alpha)


@pytest.mark.parametrize(
    ("alpha", "beta", "kappa"), [(1.05, 3.0, 2.0), (1.7, 0.02, 1.0), (2.5, 40.0, 0.7), (15.0, 1.0, 9.0)]
)
def test_I1_bound_and_place_by_solving_for_the_stationary_point(alpha, beta, kappa):
    """Arbitrary precision: the root of a numerical second derivative of rho, and the first derivative there."""
    with mp.workdps(40):
        a, b, k = mp.mpf(alpha), mp.mpf(beta), mp.mpf(kappa)
        rho = lambda e: rho_mp(e, a, b, k)  # noqa: E731
        guess = b * (a - 1) ** (1 / a)
        bracket = (guess * mp.mpf("0.8"), guess * mp.mpf("1.3"))
        place = mp.findroot(lambda e: mp.diff(rho, e, 2), bracket, solver="anderson", verify=False)
        height = mp.diff(rho, place)
        assert all(mp.diff(rho, place * f) < height for f in (0.01, 0.5, 0.9, 1.1, 2, 100))
    location, value = peak(alpha, beta, kappa)
    assert float(location) == pytest.approx(float(place), rel=1e-10)
    assert float(value) == pytest.approx(float(height), rel=1e-10)
    assert float(height) <= kappa * alpha / beta


def test_I1_condition_is_sharp():
    near = np.logspace(-12, -1, 50)
    assert psi_np(near, 1.0, 2.0).max() < 0.5  # alpha = 1: below kappa/beta, approached
    assert psi_np(near, 1.0, 2.0)[0] == pytest.approx(0.5)
    assert psi_np(near, 0.95, 2.0)[0] > 1.7  # alpha < 1: beyond it, and growing without end
    assert (np.diff(psi_np(near, 0.95, 2.0)) < 0).all()
    assert math.isinf(float(peak(0.95, 2.0)[1]))


@pytest.mark.parametrize(
    ("alpha", "beta", "kappa"), [(0.5, 0.3, 3.0), (1.0, 2.0, 1.0), (1.2, 10.0, 1.0), (9.0, 0.01, 0.2)]
)
def test_I2_rate_of_the_return(alpha, beta, kappa):
    """From differences of the loss: e psi(e) rises to kappa alpha, and its shortfall is 1/(1 + |u|^alpha) of that."""
    before = 0.0
    for power in range(-3, 9):
        with mp.workdps(120):
            e = mp.mpf(beta) * mp.mpf(10) ** power
            product = e * mp.diff(lambda x: rho_mp(x, mp.mpf(alpha), mp.mpf(beta), mp.mpf(kappa)), e)
            shortfall = 1 - product / (mp.mpf(kappa) * mp.mpf(alpha))
            assert before < product < mp.mpf(kappa) * mp.mpf(alpha)
            assert float(shortfall) == pytest.approx(float(1 / (1 + mp.mpf(10) ** (power * mp.mpf(alpha)))), rel=1e-9)
            before = product
        assert float(e) * float(psi(float(e), alpha, beta, kappa)) == pytest.approx(float(product), rel=1e-9)


@pytest.mark.parametrize("alpha", [1.2, 2.0, 5.0])
def test_I3_effective_rejection_points(alpha):
    """GCL's is a value of Lambert's W; ALCL's, the larger root of a polynomial equation, lies below the bound."""
    p = 1 - 1 / alpha
    for epsilon in (0.1, 0.01, 1e-6):
        # w^p exp(-w) = epsilon p^p exp(-p), on the branch w > p
        w = -p * special.lambertw(-(epsilon ** (1 / p)) / math.e, -1).real
        assert Influence(GeneralizedCorrentropyLoss(alpha, 3.0)).rejection_point(epsilon) == pytest.approx(
            3.0 * w ** (1 / alpha), rel=1e-8
        )
        top = (alpha - 1) ** ((alpha - 1) / alpha)
        bound = alpha * 3.0 / (epsilon * top)
        root = optimize.brentq(
            lambda u, level=epsilon * top: alpha * u ** (alpha - 1) - level * (1 + u**alpha), 1.01, 1e9
        )
        measured = Influence(fixed(alpha, 3.0)).rejection_point(epsilon)
        assert measured == pytest.approx(3.0 * root, rel=1e-6)
        assert measured < bound
    assert measured == pytest.approx(bound, rel=1e-3 if alpha > 1.5 else 0.05)
    assert math.isinf(Influence(fixed(alpha)).rejection_point())
    # the pull that is left at a million scales: one part in a million for ALCL, less than any float for GCL
    assert float(Influence(fixed(alpha)).psi(tensor(1e6))) > 1e-6
    assert float(Influence(GeneralizedCorrentropyLoss(alpha, 1.0)).psi(tensor(1e6))) == 0.0


@pytest.mark.parametrize(("alpha", "x"), [(1.6, 0.5), (2.0, -4.0), (3.5, 1.0)])
def test_I4_influence_function_from_a_contaminated_sample(alpha, x):
    """A sample of 20,001 Laplace quantiles stands for F; twenty more observations are put at x."""
    quantiles = torch.as_tensor(stats.laplace.ppf((np.arange(20_001) + 0.5) / 20_001))
    loss, n = fixed(alpha, 1.3), 20
    epsilon = n / (len(quantiles) + n)
    moved = location_estimate(torch.cat([quantiles, torch.full((n,), x, dtype=F64)]), loss, start=0.01) / epsilon
    square, _ = integrate.quad(
        lambda e: psi_np(e, alpha, 1.3) * math.exp(-e), 0, math.inf
    )  # E[psi sign], Laplace's score
    assert moved == pytest.approx(float(psi_np(x, alpha, 1.3)) / square, rel=0.01)
    laplace = torch.distributions.Laplace(tensor(0.0), tensor(1.0))
    highest = max(psi_np(np.linspace(0, 5, 500_001), alpha, 1.3))
    assert Influence(loss).gross_error_sensitivity(laplace) == pytest.approx(highest / square, rel=1e-6)


@pytest.mark.parametrize(("alpha", "beta", "kappa"), [(1.1, 2.0, 1.0), (4.0, 0.3, 1.0), (1.5, 1.0, 5.0)])
def test_I4_constant_at_the_own_density(alpha, beta, kappa):
    with mp.workdps(20):
        density = lambda u: (1 + u**alpha) ** -kappa  # noqa: E731
        pull = lambda u: kappa * alpha * u ** (alpha - 1) / (1 + u**alpha) / beta  # noqa: E731
        # substituting u = exp(t): the integrands are smooth and fall exponentially on both sides
        line = [-60, -10, 0, 10, 60, 700]
        mass = mp.quad(lambda t: density(mp.exp(t)) * mp.exp(t), line)
        square = mp.quad(lambda t: pull(mp.exp(t)) ** 2 * density(mp.exp(t)) * mp.exp(t), line) / mass
    stated = (kappa * alpha / beta) ** 2 * special.beta(2 - 1 / alpha, kappa + 1 / alpha)
    stated /= special.beta(1 / alpha, kappa - 1 / alpha)
    assert stated == pytest.approx(float(square), rel=1e-8)


def test_I5_efficiency_of_huber_in_closed_form():
    """At the Gaussian: (2 Phi(k) - 1)^2 / (2 Phi(k) - 1 - 2 k phi(k) + 2 k^2 (1 - Phi(k)))."""
    normal = torch.distributions.Normal(tensor(0.0), tensor(1.0))
    for k in (0.1, 0.8, 1.345, 2.5):
        inside = 2 * stats.norm.cdf(k) - 1
        square = inside - 2 * k * stats.norm.pdf(k) + 2 * k**2 * stats.norm.sf(k)
        assert Influence(HuberLoss(k)).asymptotic_efficiency(normal) == pytest.approx(inside**2 / square, rel=1e-6)


@pytest.mark.parametrize(("alpha", "beta", "kappa"), [(1.15, 0.5, 1.0), (2.0, 3.0, 4.0), (6.0, 1.0, 0.4)])
def test_I5_only_the_own_score_is_efficient(alpha, beta, kappa):
    own = GeneralizedT(tensor(alpha), tensor(beta), tensor(kappa))
    variance = Influence(fixed(alpha, beta, kappa)).asymptotic_variance(own)
    assert variance * float(own.fisher_information()[0, 0]) == pytest.approx(1.0, rel=1e-7)
    assert Influence(fixed(alpha, beta, 1.5 * kappa)).asymptotic_efficiency(own) == pytest.approx(1.0, rel=1e-7)
    wrong = (fixed(alpha, 1.3 * beta, kappa), fixed(1.3 * alpha, beta, kappa), L1Loss(), HuberLoss(beta), MSELoss())
    for other in wrong:
        assert Influence(other).asymptotic_efficiency(own) < 0.9995
    for law in (contaminated_normal(0.05, 10.0), torch.distributions.StudentT(tensor(4.0))):
        for loss in (fixed(alpha, beta, kappa), StudentTLoss(4.0, 1.0, learn=()), HuberLoss(beta)):
            assert Influence(loss).asymptotic_efficiency(law) <= 1 + 1e-9


def regression_path(alpha, steps=60):
    """Loss along IRLS for a linear model with outliers, by numpy's least squares."""
    generator = np.random.default_rng(8)
    design = generator.normal(size=(60, 4))
    target = design @ [1.0, -2.0, 0.5, 3.0] + 0.3 * generator.standard_cauchy(60)
    theta, path = np.zeros(4), []
    for _ in range(steps):
        e = design @ theta - target
        path.append(np.log1p(np.abs(e / 0.5) ** alpha).sum())
        root = np.sqrt(alpha * np.abs(e) ** (alpha - 2) / (0.5**alpha + np.abs(e) ** alpha))
        theta = np.linalg.lstsq(root[:, None] * design, root * target, rcond=None)[0]
    return np.array(path)


def test_I6_reweighting_descends_for_alpha_up_to_2():
    for alpha in (1.2, 1.5, 1.9, 2.0):
        path = regression_path(alpha)
        assert (np.diff(path) <= 1e-10 * path[0]).all()
        assert path[-1] < 0.6 * path[0]
    # the same reweighting of the same data, with a steep shape: it rises
    assert (np.diff(regression_path(8.0)) > 1e-6).any()


def test_I6_concavity_and_counterexample():
    s, a = sympy.symbols("s a", positive=True)
    second = sympy.diff(sympy.log(1 + s ** (a / 2)), s, 2)
    for alpha in (0.5, 1, 1.5, 2):
        assert all(second.subs({a: sympy.Rational(alpha), s: value}).evalf() < 0 for value in (1e-4, 0.3, 1, 7, 1e4))
    for alpha in (2.2, 3, 7):
        assert second.subs({a: sympy.Rational(alpha), s: 1e-6}).evalf() > 0
    # N zeros and a one, from t = 0: weights (0, ..., 0, w), so the weighted mean is 1
    for alpha, zeros in ((2.05, 2), (3.0, 5)):
        rise = zeros * math.log1p(1) - math.log1p(1)
        e = np.array([0.0] * zeros + [1.0])
        w = alpha * np.abs(e) ** (alpha - 2) / (1 + np.abs(e) ** alpha)
        t = (w * e).sum() / w.sum()
        assert t == 1.0
        assert np.log1p(np.abs(e - t) ** alpha).sum() - np.log1p(e**alpha).sum() == pytest.approx(rise)


def test_I7_curvature_and_its_extrema_symbolically():
    """The quadratic of the theorem divides the numerator of d psi'/dw; the Lipschitz constant is its value there."""
    w = sympy.symbols("w", positive=True)
    for alpha in (sympy.Rational(5, 2), sympy.Integer(3), sympy.Integer(7)):
        slope = alpha * w ** (1 - 2 / alpha) * ((alpha - 1) - w) / (1 + w) ** 2
        numerator = sympy.simplify(sympy.diff(slope, w) * (1 + w) ** 3 * w ** (2 / alpha))
        quadratic = 2 * w**2 - (alpha - 1) * (alpha + 4) * w + (alpha - 1) * (alpha - 2)
        assert sympy.simplify(numerator / quadratic).is_constant(w)
        # and psi'(e) is that function of w = e^alpha
        e = sympy.symbols("e", positive=True)
        psi_prime = sympy.diff(sympy.log(1 + e**alpha), e, 2)
        for value in (0.3, 1.1, 2.7):
            assert float(psi_prime.subs(e, value)) == pytest.approx(float(slope.subs(w, value**alpha)), rel=1e-10)


@pytest.mark.parametrize(
    ("alpha", "beta", "kappa"), [(2.0, 3.0, 0.7), (2.2, 1.0, 1.0), (3.5, 0.2, 2.0), (12.0, 5.0, 1.0)]
)
def test_I7_lipschitz_constant_bounds_every_difference_quotient(alpha, beta, kappa):
    generator = np.random.default_rng(1)
    x = beta * generator.normal(size=200_000) * 2
    y = x + beta * 10 ** generator.uniform(-6, 1, size=200_000)
    quotients = np.abs(psi_np(x, alpha, beta, kappa) - psi_np(y, alpha, beta, kappa)) / np.abs(x - y)
    constant = float(lipschitz(alpha, beta, kappa))
    assert quotients.max() <= constant * (1 + 1e-6)
    assert quotients.max() >= 0.99 * constant


def test_I7_no_lipschitz_constant_below_2_and_convexity_up_to_the_peak():
    for alpha in (1.1, 1.5, 1.95):
        steep = [(psi_np(h, alpha, 1.0) / h).item() for h in (1e-2, 1e-6, 1e-10)]
        assert steep[0] < steep[1] < steep[2]
        assert steep[2] / steep[1] == pytest.approx(10 ** (4 * (2 - alpha)), rel=0.02)
    for alpha in (1.4, 3.0):
        e = np.linspace(1e-3, 6, 20_001)
        rising = np.diff(psi_np(e, alpha, 2.0)) > 0
        assert e[1:][rising].max() == pytest.approx(2 * (alpha - 1) ** (1 / alpha), abs=1e-3)
        assert (np.diff(rising.astype(int)) <= 0).all()


@pytest.mark.parametrize(("alpha", "rate"), [(1.1, 0.2), (1.4, 0.05), (1.7, 0.3)])
def test_I7_descent_ends_in_the_cycle(alpha, rate):
    e = 0.37
    for _ in range(20_000):
        e -= rate * float(psi_np(e, alpha, 1.0))
    following = e - rate * float(psi_np(e, alpha, 1.0))
    assert following == pytest.approx(-e, rel=1e-6)
    v = abs(e) ** alpha / (1 + abs(e) ** alpha)
    assert alpha * (1 - v) > 1  # the theorem's condition for attraction
    assert alpha * v / e**2 == pytest.approx(2 / rate, rel=1e-6)


def brute_force(x, rho, low, high, points=40_001):
    t = np.concatenate([np.linspace(low, high, points), x])
    return t[np.argmin([rho(x - s).sum() for s in t])]


@pytest.mark.parametrize(("alpha", "kappa"), [(1.2, 1.0), (3.0, 0.7)])
def test_I8_alcl_withstands_any_minority(alpha, kappa):
    """Global minimum by brute force, for every minority; a majority carries it away."""
    rho = lambda e: kappa * np.log1p(np.abs(e) ** alpha)  # noqa: E731
    good = stats.norm.ppf((np.arange(12) + 0.5) / 12)
    constant = kappa * (alpha - 1) * math.log(2)
    a, b = np.meshgrid(np.linspace(-50, 50, 401), np.linspace(-50, 50, 401))
    assert (rho(a + b) <= rho(a) + rho(b) + constant + 1e-12).all()
    for m in (4, 9, 11):
        bound = (2 * rho(good).sum() + (12 + m) * constant) / (12 - m)
        for y in (3.0, 1e2, 1e5):
            for bad in (np.full(m, y), y * np.linspace(0.5, 1, m)):
                t = brute_force(np.concatenate([good, bad]), rho, -5, 10, 3001)
                assert rho(t) <= bound
    for y in (1e3, 1e6):
        assert abs(brute_force(np.concatenate([good, np.full(13, y)]), rho, -5, 10, 101)) > 0.9 * y


@pytest.mark.parametrize(("alpha", "beta"), [(1.3, 0.4), (2.0, 2.0), (4.0, 1.0)])
def test_I8_gcl_breaks_at_its_kernel_sum(alpha, beta):
    good = stats.norm.ppf((np.arange(25) + 0.5) / 25)
    rho = lambda e: -np.expm1(-(np.abs(e / beta) ** alpha))  # noqa: E731
    most = max((1 - rho(good - t)).sum() for t in np.linspace(-2.5, 2.5, 5001))
    stays = brute_force(np.concatenate([good, np.full(math.ceil(most) - 1, 1e5)]), rho, -5, 5, 3001)
    goes = brute_force(np.concatenate([good, np.full(math.floor(most) + 1, 1e5)]), rho, -5, 5, 3001)
    assert abs(stays) < 3
    assert goes == 1e5
    assert most <= 25


@pytest.mark.parametrize(("alpha", "kappa"), [(1.2, 1.0), (3.0, 1.0), (2.0, 0.8), (5.0, 2.0)])
def test_I9_scale_breaks_at_the_reciprocal_of_kappa_alpha(alpha, kappa):
    """The scale by minimising the library's loss over log beta, with outliers up to 1e12 away."""
    good = torch.as_tensor(stats.logistic.ppf((np.arange(400) + 0.5) / 400))

    def scale(epsilon, distance):
        e = good.clone()
        e[: round(400 * epsilon)] = distance
        value = lambda b: float(alcl_loss(e, torch.zeros_like(e), alpha, math.exp(b), kappa))  # noqa: E731
        grid = np.linspace(-12, 40, 261)
        best = grid[np.argmin([value(b) for b in grid])]
        return math.exp(optimize.minimize_scalar(value, bounds=(best - 0.3, best + 0.3), method="bounded").x)

    limit = 1 / (kappa * alpha)
    assert scale(limit - 0.04, 1e12) < 2 * scale(limit - 0.04, 1e6)
    assert scale(limit - 0.04, 1e12) < 1e3
    assert scale(limit + 0.04, 1e12) == pytest.approx(1e6 * scale(limit + 0.04, 1e6), rel=0.1)


def time_by_ode(pull, d, near):
    arrived = lambda t, e: e[0] - near  # noqa: E731
    arrived.terminal = True
    return integrate.solve_ivp(
        lambda t, e: -pull(e), (0, 1e9), [d], events=arrived, rtol=1e-10, atol=1e-12, method="LSODA"
    ).t_events[0][0]


@pytest.mark.parametrize(("alpha", "beta", "kappa"), [(1.3, 0.6, 1.4), (2.0, 0.5, 1.0), (3.0, 2.0, 0.5)])
def test_I10_time_to_come_home_from_the_ode(alpha, beta, kappa):
    near, times = 0.2, []
    for d in (1.0, 10.0, 1000.0):
        first = math.log(d / near) if alpha == 2 else (d ** (2 - alpha) - near ** (2 - alpha)) / (2 - alpha)
        stated = (beta**alpha * first + (d**2 - near**2) / 2) / (kappa * alpha)
        times.append(time_by_ode(lambda e: psi_np(e, alpha, beta, kappa), d, near))
        assert times[-1] == pytest.approx(stated, rel=1e-6)
    assert times[-1] == pytest.approx(1000**2 / (2 * kappa * alpha), rel=2e-3)  # whatever the scale


@pytest.mark.parametrize(("alpha", "beta"), [(1.5, 1.0), (2.0, 0.7)])
def test_I10_correntropy_takes_exponentially_long(alpha, beta):
    loss, near, times = GeneralizedCorrentropyLoss(alpha, beta).double(), 0.2, []

    def pull(e):
        residual = torch.as_tensor(e).requires_grad_()
        return torch.autograd.grad(loss.rho(residual).sum(), residual)[0].numpy()

    for u in (1.5, 2.0, 2.5):
        d = u * beta
        stated = (beta / alpha) ** 2 * integrate.quad(
            lambda w: w ** (2 / alpha - 2) * math.exp(w), (near / beta) ** alpha, u**alpha
        )[0]
        times.append(time_by_ode(pull, d, near))
        assert times[-1] == pytest.approx(stated, rel=1e-5)
    # alpha = 2: the exponential integral
    if alpha == 2:
        exact = beta**2 / 4 * (special.expi(2.5**2) - special.expi((near / beta) ** 2))
        assert times[-1] == pytest.approx(exact, rel=1e-5)
    # leading order: beta^2/alpha^2 w^(2/alpha - 2) e^w
    w = 40.0
    integral = integrate.quad(lambda x: x ** (2 / alpha - 2) * math.exp(x - w), 0.1, w)[0]
    assert integral == pytest.approx(w ** (2 / alpha - 2), rel=0.05)


def test_I10_far_residuals_keep_a_gradient_in_float32():
    """The practical content: at 100 scales ALCL still pulls, in the arithmetic of training; GCL does not."""
    e = torch.tensor([100.0], requires_grad=True)
    (log,) = torch.autograd.grad(log_correntropy(e, 2.0, 1.0).sum(), e)
    (gcl,) = torch.autograd.grad(GeneralizedCorrentropyLoss(2.0, 1.0).rho(e).sum(), e)
    assert log.item() == pytest.approx(2 * 100 / (1 + 100**2), rel=1e-5)
    assert gcl.item() == 0.0
