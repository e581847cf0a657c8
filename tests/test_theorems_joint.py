"""One guard a theorem of appendix A1, with other parameters and another oracle than the notebook's own check."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import sympy
import torch
from scipy import integrate, optimize, stats

from alcl.distributions import GeneralizedT
from alcl.functional import alcl_loss, log_correntropy
from alcl.losses import ALCLoss
from alcl.paper.smoothness import weak_convexity

F64 = torch.float64


def tensor(x):
    return torch.as_tensor(x, dtype=F64)


def loss(e, alpha, beta, kappa=1.0):
    """The library's mean loss, normaliser included."""
    e = tensor(e)
    return float(alcl_loss(e, torch.zeros_like(e), alpha, beta, kappa))


def minimise(x, start, alpha, kappa=1.0):
    """Location and log-scale of a local minimum, by torch's gradient and SciPy's BFGS."""
    x = tensor(x)

    def objective(p):
        p = torch.tensor(p, dtype=F64, requires_grad=True)
        value = alcl_loss(p[0].expand_as(x), x, alpha, p[1].exp(), kappa)
        value.backward()
        return value.item(), p.grad.numpy()

    return optimize.minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-9}).x


# --- J1: no global maximum --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "kappa", "n"), [(1.6, 1.0, 16), (2.0, 1.25, 10), (4.0, 1.0, 8)])
def test_J1_slopes_towards_scale_zero_by_the_number_of_exact_fits(alpha, kappa, n):
    """Integers, so that the exact fits are exact zeros in floating point; the loss of the library."""
    for k in range(1, n):
        e = np.append(np.zeros(k), np.arange(1, n - k + 1))
        fall = (loss(e, alpha, 1e-100, kappa) - loss(e, alpha, 1e-60, kappa)) / (40 * math.log(10))
        excess = k / n - (1 - 1 / (kappa * alpha))
        assert fall == pytest.approx(-kappa * alpha * excess, abs=1e-9)
        assert (fall < -1e-9) == (excess > 1e-12)


def test_J1_any_sample_beats_its_interior_minimum_at_a_datum():
    x = stats.cauchy.rvs(size=5, random_state=2)
    inside = min(loss(x - np.median(x), a, b) for a in (1.2, 1.5, 2, 4, 9) for b in np.geomspace(0.05, 20, 40))
    assert loss(x - x[3], 1.05, 1e-250) < inside - 50  # 1.05 < 5 / 4


def test_J1_floor_on_the_shape_bounds_lines_through_eight_points():
    """c by Chebyshev's theorem: the best maximal error of a line over three points, smallest over all triples."""
    rng, n, d = np.random.default_rng(4), 8, 2
    x, y = rng.normal(size=n), rng.standard_cauchy(n)
    c = math.inf
    for triple in itertools.combinations(range(n), 3):
        i, j, k = sorted(triple, key=lambda index: x[index])
        share = (x[j] - x[i]) / (x[k] - x[i])
        c = min(c, abs(y[j] - (1 - share) * y[i] - share * y[k]) / 2)
    for kappa in (1.0, 0.8):
        alpha_min = 1 / kappa / (1 - d / n)
        bound = math.log(c) + (1 - kappa) * math.log(2)
        for i, j in itertools.combinations(range(n), 2):  # through two points: as many exact fits as there can be
            slope = (y[j] - y[i]) / (x[j] - x[i])
            e = y - y[i] - slope * (x - x[i])
            e[[i, j]] = 0.0
            for alpha, beta in itertools.product(alpha_min * np.array([1, 1.01, 1.5]), (1e-200, 1e-12, c, 1.0)):
                assert loss(e, alpha, beta, kappa) >= bound - 1e-9
            assert loss(e, 0.97 * alpha_min, 1e-300, kappa) < loss(e, 0.97 * alpha_min, 1e-200, kappa) - 1


# --- J2: bounded sets -------------------------------------------------------------------------------------------------


def test_J2_uniform_convergence_to_a_closed_form():
    """For Cauchy data and alpha = 2 the expected loss is log((mu^2 + (1 + beta)^2) / beta) + log pi."""
    grid = list(itertools.product((-3.0, 0.0, 0.5, 20.0), (1e-3, 0.2, 1.0, 50.0)))
    expected = [math.log(math.pi * (mu**2 + (1 + beta) ** 2) / beta) for mu, beta in grid]
    distance = []
    for n in (100, 10_000):
        x = stats.cauchy.rvs(size=(10, n), random_state=n)
        found = np.array([[loss(row - mu, 2.0, beta) for mu, beta in grid] for row in x])
        distance.append(np.abs(found - expected).max(1).mean())
    assert distance[1] < 0.2 * distance[0]
    assert distance[1] < 0.1


def test_J2_the_floor_bounds_the_loss():
    rng = np.random.default_rng(0)
    for _ in range(300):
        kappa, floor = rng.uniform(0.3, 4), 10 ** rng.uniform(-6, 1)
        alpha, beta = (1 + rng.exponential(2)) / kappa, floor * (1 + rng.exponential())
        e = np.zeros(3) if rng.random() < 0.5 else rng.normal(size=3) * 10 ** rng.uniform(-8, 3)
        assert loss(e, alpha, beta, kappa) >= math.log(floor) + (1 - kappa) * math.log(2) - 1e-9


# --- J3: one maximum --------------------------------------------------------------------------------------------------


def stationary_points(x):
    """All real (mu, beta^2 > 0) at which the Cauchy likelihood of rational data is stationary: exact elimination."""
    mu, square = sympy.symbols("mu square", real=True)
    e = [sympy.Rational(v) - mu for v in x]
    first = sympy.numer(sympy.together(sum(r / (square + r**2) for r in e)))
    second = sympy.numer(sympy.together(sum((square - r**2) / (square + r**2) for r in e)))
    candidates = sympy.Poly(sympy.resultant(first, second, square), mu).real_roots()
    points = []
    for root in set(candidates):
        value = sympy.N(root, 40)
        for solution in sympy.Poly(second.subs(mu, value), square).nroots(n=30, maxsteps=200):
            real = abs(sympy.im(solution)) < 1e-15 and sympy.re(solution) > 1e-12
            if real and abs(first.subs({mu: value, square: sympy.re(solution)})) < 1e-12:
                points.append((float(value), float(sympy.re(solution))))
    return points


def test_J3_exactly_one_stationary_point_by_elimination():
    for x in ((0, 1, 5), (-2, 0, 30)):
        points = stationary_points(x)
        assert len(points) == 1
        found = minimise([float(v) for v in x], [float(x[2]), 0.0], 2.0)
        assert points[0] == pytest.approx((found[0], math.exp(2 * found[1])), rel=1e-5)
    assert stationary_points((0, 0, 1)) == []  # two thirds in one place


def test_J3_the_minimum_moves_with_moebius_maps():
    """Only the Cauchy likelihood: the estimate of g(x) is g of the estimate, on the half-plane."""
    x = stats.cauchy.rvs(size=9, random_state=5)
    mu, s = minimise(x, [np.median(x), 0.0], 2.0)
    for a, b, c, d in ((2.0, 1.0, 1.0, 1.0), (0.0, -1.0, 1.0, 0.3)):
        w = (a * complex(mu, math.exp(s)) + b) / (c * complex(mu, math.exp(s)) + d)
        image = (a * x + b) / (c * x + d)
        moved = minimise(image, [np.median(image), 0.0], 2.0)
        assert complex(moved[0], math.exp(moved[1])) == pytest.approx(w, rel=1e-4)


@pytest.mark.parametrize("kappa", [1.0, 1.7, 4.0])
def test_J3_convex_along_geodesics(kappa):
    """Semicircles and vertical lines, sampled; the library's loss. Below kappa = 1 it fails."""
    rng, r = np.random.default_rng(1), np.linspace(-3, 3, 41)
    x = np.append(rng.normal(size=5), 1e3 * rng.normal(size=3))

    def second_differences(kappa, centre, radius):
        points = [(centre + radius * math.tanh(q), radius / math.cosh(q)) for q in r]
        values = np.array([loss(x - mu, 2.0, beta, kappa) for mu, beta in points])
        return np.diff(values, 2)

    for _ in range(25):
        assert (second_differences(kappa, rng.normal() * 30, 10 ** rng.uniform(-2, 3)) > 0).all()
    lines = np.array([loss(x, 2.0, math.exp(q), kappa) for q in r])
    assert (np.diff(lines, 2) > 0).all()
    assert min(second_differences(0.6, 0.0, 10.0**q).min() for q in (-1, 0, 1, 2, 3, 4)) < 0


def test_J3_a_learned_scale_frees_a_start_that_a_fixed_scale_strands():
    x = tensor(np.append(stats.norm.ppf((np.arange(30) + 0.5) / 30), 25 + 0.1 * np.arange(-8, 9)))
    ends = {}
    for learn in ((), ("beta",)):
        location = torch.nn.Parameter(torch.tensor([25.0], dtype=F64))
        criterion = ALCLoss(learn=learn).double()
        optimizer = torch.optim.Adam([location, *criterion.parameters()], lr=0.1)
        for _ in range(900):
            optimizer.zero_grad()
            criterion(location.expand_as(x), x).backward()
            optimizer.step()
        ends[learn] = location.item()
    assert ends[()] > 24
    assert abs(ends["beta",]) < 0.5


# --- J4: implosion ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kappa", [0.7, 1.0, 2.5])
def test_J4_rates_from_the_likelihood_equations_in_arbitrary_precision(kappa):
    """The two equations, from derivatives that mpmath takes of the loss, solved by secants; no digamma, no v."""
    good, epsilon = [mpmath.mpf(v) for v in ("0.5", "1.5", "4")], mpmath.mpf("0.3")
    kappa = mpmath.mpf(kappa)
    with mpmath.workdps(60):
        errors = []
        for log_r in (mpmath.mpf(10) ** 5, mpmath.mpf(10) ** 9):

            def value(log_delta, s, log_r=log_r):
                alpha = (1 + mpmath.exp(log_delta)) / kappa
                soft = lambda q: q + mpmath.log1p(mpmath.exp(-q)) if q > 0 else mpmath.log1p(mpmath.exp(q))  # noqa: E731
                near = sum(soft(alpha * (mpmath.log(e) - s)) for e in good) / len(good)
                far = soft(alpha * (log_r - s)) - log_r / kappa
                mass = 2 / alpha * mpmath.beta(1 / alpha, kappa - 1 / alpha)
                return kappa * ((1 - epsilon) * near + epsilon * far) + s + mpmath.log(mass)

            inverse = sum(e ** (-1 / kappa) for e in good) / len(good)
            guess = -mpmath.log(epsilon * log_r)
            start = (guess, kappa * (guess - mpmath.log((1 - epsilon) * inverse)))
            equations = [
                lambda t, s: mpmath.diff(lambda q: value(q, s), t),
                lambda t, s: mpmath.diff(lambda q: value(t, q), s) * mpmath.exp(-t),
            ]
            t, s = mpmath.findroot(equations, start, tol=1e-30, verify=False)
            delta, beta = mpmath.exp(t), mpmath.exp(s)
            rate = epsilon * log_r * delta
            scale = beta / (delta / ((1 - epsilon) * inverse)) ** kappa
            errors.append((abs(float(rate) - 1), abs(float(scale) - 1)))
    assert errors[0][0] < 3e-3
    assert errors[1][0] < 1e-6
    assert errors[1][1] < errors[0][1] < 0.02
    assert errors[1][1] < 1e-4


# --- J5: floors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "kappa"), [(1.4, 1.0), (2.0, 1.0), (2.0, 2.0)])
def test_J5_breakdown_of_a_fixed_shape_by_grid_search(alpha, kappa):
    """Contamination at zero and far out, just inside and just outside the two limits; the best scale on a grid."""
    good = stats.norm.ppf(0.5 + (np.arange(200) + 0.5) / 400)
    grid = np.geomspace(1e-30, 1e30, 601)

    def best(share, place):
        bad = round(200 * share / (1 - share))
        e = np.append(good, np.full(bad, place))
        return grid[np.argmin([loss(e, alpha, beta, kappa) for beta in grid])]

    explosion, implosion = 1 / (kappa * alpha), 1 - 1 / (kappa * alpha)
    assert best(explosion - 0.03, 1e40) < 1e3 < 1e10 < best(explosion + 0.03, 1e40)
    assert best(implosion - 0.03, 1e-40) > 1e-3 > 1e-10 > best(implosion + 0.03, 1e-40)
    assert min(explosion, implosion) <= 0.5


def test_J5_the_library_floor_stops_the_implosion():
    e = tensor(np.append(stats.norm.ppf((np.arange(180) + 0.5) / 180), np.full(20, 1e30)))
    ends = {}
    for alpha_min in (1.0, 1.25):
        criterion = ALCLoss(alpha_min=alpha_min, beta_min=1e-6).double()
        optimizer = torch.optim.Adam(criterion.parameters(), lr=0.05)
        for _ in range(1500):
            optimizer.zero_grad()
            criterion(e, torch.zeros_like(e)).backward()
            optimizer.step()
        ends[alpha_min] = criterion.alpha.item(), criterion.beta.item()
    assert ends[1.25][0] == pytest.approx(1.25, abs=0.01)

    def equation(beta):  # mean of v over the good data is (1 / 1.25 - 0.1) / 0.9
        u = np.abs(e[:180].numpy()) / beta
        return np.mean(1 / (1 + u**-1.25)) - (1 / 1.25 - 0.1) / 0.9

    assert ends[1.25][1] == pytest.approx(optimize.brentq(equation, 1e-3, 1), rel=0.05)
    assert ends[1.0][1] < 0.5 * ends[1.25][1]


# --- J6: Fisher consistency -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theta", [(0.5, 0.1, 2.0), (1.0, 1.0, 1.0), (1.7, 0.02, 1.0), (12.0, 1.0, 0.3)])
def test_J6_mixtures_of_uniforms_have_their_minimum_at_the_centre(theta):
    """The proof's own picture, by simulation-free means: averages over even grids in intervals of random widths."""
    rng = np.random.default_rng(7)
    even = (np.arange(4000) + 0.5) / 4000 * 2 - 1
    for _ in range(5):
        widths, shares = 10 ** rng.uniform(-1, 1, 4), rng.dirichlet(np.ones(4))
        steps = np.array([0.0, 0.05, 0.2, 1.0, 5.0, 40.0])
        values = [
            sum(
                p * float(log_correntropy(tensor(r * even - mu), *theta).mean())
                for r, p in zip(widths, shares, strict=True)
            )
            for mu in steps
        ]
        assert (np.diff(values) > 0).all()


def test_J6_two_peaks_need_a_learned_scale():
    x = np.concatenate([m + 0.2 * stats.norm.ppf((np.arange(100) + 0.5) / 100) for m in (-2, 2)])
    at = [loss(x - mu, 2.0, 0.2) for mu in (0.0, 1.98)]
    assert at[1] < at[0] - 0.5
    for start in ([2.0, -1.0], [-2.0, 0.0], [5.0, 1.0]):
        assert minimise(x, start, 2.0)[0] == pytest.approx(0, abs=1e-5)


# --- J7: regression ---------------------------------------------------------------------------------------------------


def test_J7_influence_by_the_full_hessian_of_a_small_network():
    """Implicit function theorem on all parameters together, by automatic differentiation: nothing is assumed zero."""
    torch.manual_seed(0)
    noise = tensor(stats.t(3).ppf((np.arange(100) + 0.5) / 100))
    inputs = tensor([-1.5, -0.4, 0.3, 1.1])
    w = tensor([1.2, 0.7, -0.3])
    model = GeneralizedT.fit(noise, learn=("alpha", "beta"))
    theta = torch.cat([w, tensor([float(model.alpha), math.log(float(model.beta))])])

    def f(w, x):
        return w[0] * torch.tanh(w[1] * x + w[2])

    def cost(p, x, y):
        return alcl_loss(f(p[:3], x), y, p[3], p[4].exp(), reduction="none")

    x = inputs.repeat_interleave(100)
    y = f(w, x) + noise.repeat(4)
    hessian = torch.autograd.functional.hessian(lambda p: cost(p, x, y).mean(), theta)
    A = torch.autograd.functional.hessian(
        lambda q: log_correntropy(noise - q, *model_numbers(model)).mean(), tensor(0.0)
    )
    gradients = torch.autograd.functional.jacobian(lambda q: f(q, inputs), w)
    M = gradients.T @ gradients / 4
    for point in ((0.3, 2.0), (1.0, -40.0), (-3.0, 0.1)):
        at = (tensor([point[0]]), tensor([point[1]]))
        pull = torch.autograd.functional.jacobian(lambda p, at=at: cost(p, *at)[0], theta)
        joint = -torch.linalg.solve(hessian, pull)[:3]
        r = point[1] - float(f(w, at[0]))
        psi = float(model.score(tensor(r))[0])
        slope = torch.autograd.functional.jacobian(lambda q, at=at: f(q, at[0])[0], w)
        assert torch.allclose(joint, psi / A * torch.linalg.solve(M, slope), rtol=1e-6, atol=1e-9)
    assert hessian[:3, 3:].abs().max() < 1e-10 * hessian.abs().max()


def model_numbers(model):
    return float(model.alpha), float(model.beta), float(model.kappa)


# --- J8: weak convexity -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "beta", "kappa"), [(1.01, 1.0, 1.0), (1.35, 3.0, 2.0), (2.0, 0.1, 1.0), (5.5, 1.0, 0.4)]
)
def test_J8_constant_by_derivatives_in_arbitrary_precision(alpha, beta, kappa):
    with mpmath.workdps(50):
        rho = lambda q: kappa * mpmath.log1p((mpmath.exp(q) / beta) ** mpmath.mpf(alpha))  # noqa: E731

        def fall(q):  # -rho'' at e = exp(q), through derivatives in q
            first, second = mpmath.diff(rho, q), mpmath.diff(rho, q, 2)
            return (first - second) * mpmath.exp(-2 * q)

        places = [mpmath.log(beta) + mpmath.mpf(k) / 20 for k in range(-160, 80)]
        start = max(places, key=fall)
        bracket = (start - 0.05, start + 0.05)
        peak = mpmath.findroot(lambda q: mpmath.diff(fall, q), bracket, solver="anderson", verify=False)
        assert float(weak_convexity(alpha, beta, kappa)) == pytest.approx(float(fall(peak)), rel=1e-9)
    if 1 < alpha <= 2:
        assert fall(peak) < kappa / beta**2


def test_J8_proximal_points_are_unique_just_above_the_constant():
    """e minimises rho(e) + (c / 2)(e - y)^2 at one place above the constant, at two for some y below it."""
    e = np.linspace(-12, 12, 48_001)
    rho = log_correntropy(tensor(e), 1.5, 1.0).numpy()
    constant = float(weak_convexity(1.5, 1.0))

    def most_minima(c):
        counts = []
        for y in np.linspace(0, 8, 161):
            slope = np.diff(rho + c / 2 * (e - y) ** 2)
            counts.append(int(((slope[:-1] < 0) & (slope[1:] > 0)).sum()))
        return max(counts)

    assert most_minima(1.02 * constant) == 1
    assert most_minima(0.9 * constant) == 2


# --- J9: maximum entropy ----------------------------------------------------------------------------------------------


def test_J9_entropy_falls_along_every_direction_that_keeps_the_constraint():
    alpha, beta, kappa = 2.4, 0.7, 1.1
    model = GeneralizedT(*(tensor(v) for v in (alpha, beta, kappa)))
    t = np.linspace(-4, 4, 2001)
    e = np.exp(np.pi / 2 * np.sinh(t))
    mass = 2 * model.log_prob(tensor(e)).exp().numpy() * e * np.pi / 2 * np.cosh(t) * (t[1] - t[0])
    assert mass.sum() == pytest.approx(1, abs=1e-9)
    cost = np.log1p((e / beta) ** alpha)
    c = float(mpmath.digamma(kappa) - mpmath.digamma(kappa - 1 / alpha))
    assert mass @ cost == pytest.approx(c, rel=1e-8)
    density = model.log_prob(tensor(e)).numpy()
    assert -mass @ density == pytest.approx(float(model.entropy()), rel=1e-8)
    rng = np.random.default_rng(0)
    for _ in range(20):  # q = p (1 + h), h bounded, with the same mass and the same mean cost
        h = np.cos(rng.uniform(0.2, 3) * np.log(e) + rng.uniform(0, 6)) / (1 + cost)
        basis = np.stack([np.ones_like(e), 1 / (1 + cost)])
        moments = np.stack([np.ones_like(e), cost])
        h = h - np.linalg.solve((moments * mass) @ basis.T, (moments * mass) @ h) @ basis
        h *= 0.9 / np.abs(h).max()
        assert (mass * h) @ cost == pytest.approx(0, abs=1e-9)
        entropy = -(mass * (1 + h)) @ (density + np.log1p(h))
        assert entropy < float(model.entropy()) - 1e-6


def test_J9_one_tail_weight_for_every_value_of_the_constraint():
    alpha = 1.3
    kappas = 1 / alpha + np.geomspace(1e-4, 1e4, 200)
    values = np.array([float(mpmath.digamma(k) - mpmath.digamma(k - 1 / alpha)) for k in kappas])
    assert (np.diff(values) < 0).all()
    assert values[0] > 1e3
    assert values[-1] < 1e-3


# --- J10: Renyi's quadratic entropy -----------------------------------------------------------------------------------


def test_J10_quadratic_entropy_by_simulation_and_its_bound():
    e, beta = np.array([-3.0, -0.2, 0.1, 0.4, 7.0]), 0.6
    rng = np.random.default_rng(3)
    draws = rng.choice(e, 400_000) + beta / 2 * rng.standard_cauchy(400_000)
    heights = stats.cauchy(scale=beta / 2).pdf(draws[:, None] - e).mean(1)  # E p(X) under p is the integral of p^2
    costs = alcl_loss(tensor(e[:, None] - e), torch.zeros(5, 5, dtype=F64), 2.0, beta, reduction="none")
    entropy = -math.log(float(torch.exp(-costs).mean()))
    assert heights.mean() == pytest.approx(math.exp(-entropy), abs=5 * heights.std() / math.sqrt(400_000))
    assert entropy < float(costs.mean())
    same = alcl_loss(torch.zeros(4, dtype=F64), torch.zeros(4, dtype=F64), 2.0, beta, reduction="none")
    assert -math.log(float(torch.exp(-same).mean())) == pytest.approx(float(same.mean()))


def test_J10_gaussian_kernels_give_correntropy():
    e, width = np.array([0.3, 1.9]), 0.8
    square, _ = integrate.quad(lambda t: np.mean(stats.norm(scale=width).pdf(t - e)) ** 2, -12, 14, limit=200)
    pairs = np.exp(-((e[:, None] - e) ** 2) / (4 * width**2)).mean()
    assert square == pytest.approx(pairs / (2 * math.sqrt(math.pi) * width), rel=1e-9)
