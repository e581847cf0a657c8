"""One guard for each theorem on adaptation (notebook 03, appendix A4): other parameters, another oracle than there."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate, optimize, special, stats

from alcl.distributions import GeneralizedT
from alcl.functional import log_correntropy
from alcl.losses import ALCLoss


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def model(alpha, beta=1.0, kappa=1.0):
    return GeneralizedT(*tensor(alpha, beta, kappa))


def expectation(function, log_density):
    """Integral of function(e) exp(log_density(e)) over the line, by the double-exponential rule on either side of 0."""
    t = np.linspace(-5, 5, 4001)
    e = np.exp(np.pi / 2 * np.sinh(t))
    measure = e * np.pi / 2 * np.cosh(t) * (t[1] - t[0])
    return sum((function(x) * np.exp(log_density(x)) * measure).sum(-1) for x in (e, -e))


# --- L11: the scores, and their information ---------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "beta", "kappa"), [(1.2, 3.0, 1.0), (2.5, 0.04, 0.9), (4.0, 1.0, 2.5)])
def test_L11_scores_have_mean_zero_and_integrate_to_differences_of_the_log_density(alpha, beta, kappa):
    e = tensor(0.3, -1.7, 25.0) * beta
    start, end = np.array([alpha, beta, kappa]), np.array([1.3 * alpha, 0.7 * beta, 1.2 * kappa])

    def speed(t, k):
        score = model(*(start + t * (end - start))).score(e[k])[1:].numpy()
        return score @ (end - start)

    for k in range(3):  # the fundamental theorem of calculus along a line in parameter space
        total, _ = integrate.quad(speed, 0, 1, args=(k,), epsabs=1e-12)
        assert total == pytest.approx(float(model(*end).log_prob(e[k]) - model(*start).log_prob(e[k])), abs=1e-9)
    moved, _ = integrate.quad(lambda m: float(model(alpha, beta, kappa).score(e[0] - m)[0]), 0, 0.2 * beta)
    law = model(alpha, beta, kappa)
    assert moved == pytest.approx(float(law.log_prob(e[0] - 0.2 * beta) - law.log_prob(e[0])), abs=1e-9)
    mean = expectation(lambda x: law.score(torch.tensor(x)).T.numpy(), lambda x: law.log_prob(torch.tensor(x)).numpy())
    assert mean == pytest.approx(np.zeros(4), abs=1e-6)


# --- A2: which are bounded --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "beta", "kappa"), [(1.05, 0.01, 1.0), (2.7, 4.0, 1.3), (9.0, 1.0, 0.4)])
def test_A2_extremes_of_the_scores_found_by_an_optimizer(alpha, beta, kappa):
    law, scale = model(alpha, beta, kappa), np.array([1, 1, beta, 1])

    def score(log_u, k):
        return float(law.score(tensor(beta * math.exp(log_u)))[0, k]) * scale[k]

    def highest(k):
        found = [
            optimize.minimize_scalar(
                lambda x: -score(x, k), bounds=(low, low + 8), method="bounded", options={"xatol": 1e-10}
            )
            for low in np.arange(-40, 32, 4.0)
        ]
        return max(-f.fun for f in found)

    assert highest(0) == pytest.approx(kappa / beta * (alpha - 1) ** ((alpha - 1) / alpha), rel=1e-6)
    assert -1 <= score(-300, 2) < score(300 / alpha, 2) <= kappa * alpha - 1
    assert score(300 / alpha, 2) == pytest.approx(kappa * alpha - 1)
    a, b = 1 / alpha, kappa - 1 / alpha
    omega = float(mpmath.lambertw(mpmath.exp(-1)))
    constant = float(mpmath.digamma(a + 1) - mpmath.digamma(b)) / alpha**2
    assert highest(1) == pytest.approx(omega * kappa / alpha + constant, rel=1e-6)
    for k, slope in ((1, -kappa), (3, -alpha)):  # in log|e|, without end
        assert (score(600, k) - score(300, k)) / 300 == pytest.approx(slope, rel=1e-6)
    assert highest(3) <= special.digamma(kappa) - special.digamma(b) + 1e-12


@pytest.mark.parametrize(("alpha", "beta", "kappa"), [(2.2, 0.5, 2.0), (1.9, 1.0, 1.0), (6.0, 7.0, 0.4)])
def test_L11_information_is_the_mean_outer_product_of_complex_step_scores(alpha, beta, kappa):
    theta = np.array([0.0, alpha, math.log(beta), kappa], dtype=complex)

    def log_p(e, location, a, log_beta, k):
        power = np.exp(a * (np.log(np.sign(e) * (e - location)) - log_beta))
        log_z = np.log(2) + log_beta + special.loggamma(1 + 1 / a) + special.loggamma(k - 1 / a) - special.loggamma(k)
        return -k * np.log(1 + power) - log_z

    def products(e):
        score = np.stack([log_p(e, *(theta + step)).imag / 1e-100 for step in 1e-100j * np.eye(4)])
        return score[:, None] * score

    found = expectation(products, lambda e: log_p(e, *theta.real))
    unit = tensor(1.0, 1.0, beta, 1.0)
    closed = model(alpha, beta, kappa).fisher_information() * unit[:, None] * unit
    assert found == pytest.approx(closed.numpy(), rel=1e-6, abs=1e-8)


def test_L11_shape_and_scale_are_never_orthogonal_at_kappa_one():
    alpha = 1 + np.geomspace(1e-6, 1e3, 200)
    entry = model(2.0).expand(torch.Size([200]))  # beta = kappa = 1
    entry = GeneralizedT(torch.tensor(alpha), entry.beta, entry.kappa).fisher_information()[:, 1, 2]
    a = 1 / alpha
    assert (entry < 0).all()
    assert entry.numpy() == pytest.approx(-a / 2 * (1 + (1 - a) * (1 / a - np.pi / np.tan(np.pi * a))), rel=1e-6)


# --- A4: collapse -----------------------------------------------------------------------------------------------------


def zeros_and_laplace(zeros, others):
    quantiles = stats.laplace.ppf((np.arange(others) + 0.5) / others)
    return torch.tensor(np.append(np.zeros(zeros), quantiles))


@pytest.mark.parametrize(("alpha", "kappa"), [(1.6, 1.0), (2.5, 1.0), (2.0, 0.75)])
def test_A4_the_scale_has_a_floor_below_the_threshold_and_none_above(alpha, kappa):
    """The root of the score in log-scale, which the theorem says exists exactly below the threshold."""
    threshold = 1 - 1 / (kappa * alpha)

    def slope(log_beta, e):
        return -float(model(alpha, math.exp(log_beta), kappa).score(e)[:, 2].mean()) * math.exp(log_beta)

    for side in (-1, 1):
        zeros = math.floor(1000 * threshold) + (10 if side > 0 else -10)
        e = zeros_and_laplace(zeros, 1000 - zeros)
        values = [slope(s, e) for s in np.linspace(-100, 20, 60)]
        assert (np.diff(values) >= -1e-12).all()  # convex
        assert values[-1] == pytest.approx(1, abs=1e-6)
        assert values[0] == pytest.approx(1 - kappa * alpha * float((e != 0).double().mean()), abs=1e-9)
        assert (values[0] > 0) == (side > 0)


@pytest.mark.parametrize("above", [False, True])
def test_A4_gradient_descent_obeys_the_threshold(above):
    zeros = 132 if above else 108  # threshold at alpha = 2.5: 0.6, of 200
    e = zeros_and_laplace(zeros, 200 - zeros)
    criterion = ALCLoss(alpha=2.5, learn=("beta",), beta_min=1e-5)
    optimizer = torch.optim.Adam(criterion.parameters(), lr=0.2)
    for _ in range(250):
        optimizer.zero_grad()
        criterion(e, torch.zeros_like(e)).backward()
        optimizer.step()
    assert (criterion.beta.item() < 1e-4) == above


def test_A4_any_zeros_at_all_leave_the_joint_loss_without_a_bound():
    e = zeros_and_laplace(4, 196)  # two in a hundred
    values = [float(-GeneralizedT(*tensor(1.01, math.exp(s), 1.0)).log_prob(e).mean()) for s in (-100, -300, -600)]
    assert values[0] > values[1] > values[2]
    assert (values[1] - values[2]) / 300 == pytest.approx(1 - 1.01 * 0.98 - 0.0, abs=1e-3)
    nonzero = e[e != 0].abs().log().mean()
    generator = torch.Generator().manual_seed(0)  # and with the shape kept above 1 / (1 - z) it has one
    alpha = 1 / 0.98 + torch.rand(500, 1, generator=generator, dtype=torch.float64) ** 4 * 50
    beta = torch.exp(torch.empty(500, 1, dtype=torch.float64).uniform_(-80, 5, generator=generator))
    assert (-GeneralizedT(alpha, beta, torch.ones_like(beta)).log_prob(e).mean(1)).min() >= nonzero


@pytest.mark.parametrize(("alpha", "kappa", "z"), [(1.6, 1.0, 0.5), (3.0, 0.8, 0.9)])
def test_A11_the_scale_falls_in_proportion_to_near_zeros(alpha, kappa, z):
    """The root of the library's score in log-scale, against the limit solved for in v."""
    others = zeros_and_laplace(0, round(1000 * (1 - z)))
    v0 = optimize.brentq(lambda v: kappa * alpha * (z * v + 1 - z) - 1, 0, 1)
    ratios = []
    for delta in (1e-3, 1e-6, 1e-9):
        e = torch.cat([torch.full((round(1000 * z),), delta, dtype=torch.float64), others])
        root = optimize.brentq(lambda s, e=e: float(model(alpha, math.exp(s), kappa).score(e)[:, 2].mean()), -40, 5)
        ratios.append(math.exp(root) / delta)
    limit = (1 / v0 - 1) ** (1 / alpha)
    assert abs(ratios[-1] / limit - 1) < 1e-3
    assert abs(ratios[1] - limit) < abs(ratios[0] - limit)


# --- A5: what runs to infinity ----------------------------------------------------------------------------------------


def test_A5_without_the_normaliser_the_scale_only_grows():
    e = torch.linspace(-3, 5, 81, dtype=torch.float64)
    beta = torch.logspace(-6, 6, 200, dtype=torch.float64)[:, None]
    loss = log_correntropy(e, 1.4, beta, 0.9).mean(1)
    assert (loss.diff() < 0).all()
    assert loss[-1] < 1e-7
    y, power = 1.0, (e.abs() ** 1.4).numpy()  # y = beta^alpha under gradient flow in log beta, by Euler's rule in log t
    times = np.geomspace(1e-3, 1e6, 40_000)
    for dt in np.diff(times):
        y += dt * 0.9 * 1.4**2 * (y * power / (y + power)).mean()
    assert y / times[-1] == pytest.approx(0.9 * 1.4**2 * power.mean(), rel=1e-2)


def test_A5_a_box_holds_everything_and_pulls_on_nothing():
    e = tensor(-0.7, -0.2, 0.1, 0.69).requires_grad_()
    values, pulls = [], []
    for alpha in (5.0, 50.0, 500.0):
        loss = ALCLoss(alpha=alpha, beta=0.75, learn=()).double()(e, torch.zeros_like(e))
        values.append(loss.item())
        pulls.append(torch.autograd.grad(loss, e)[0].abs().max().item())
    assert values[-1] == pytest.approx(math.log(1.5), abs=1e-4)
    assert pulls[0] > pulls[1] > pulls[2]
    assert pulls[2] < 1e-10


# --- A6: the floor ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kappa", [0.8, 1.0, 4.0])
def test_A6_the_floor_bounds_gradient_and_loss_wherever_the_raw_parameters_are(kappa):
    generator = torch.Generator().manual_seed(1)
    for _ in range(60):
        criterion = ALCLoss(alpha=3.0, kappa=kappa, beta_min=0.02, alpha_min=1.3).double()
        with torch.no_grad():
            for raw in criterion.parameters():
                raw.uniform_(-40, 10, generator=generator)
        e = (torch.randn(400, generator=generator, dtype=torch.float64) * 3).exp().requires_grad_()
        value = criterion(e, torch.zeros_like(e))
        (gradient,) = torch.autograd.grad(value * 400, e)
        alpha = float(criterion.alpha.detach())
        assert gradient.abs().max() <= kappa / 0.02 * (alpha - 1) ** ((alpha - 1) / alpha) * (1 + 1e-9)
        assert gradient.abs().max() <= kappa * alpha / 0.02
        assert criterion(0 * e, 0 * e) >= math.log(0.02) + (1 - kappa) * math.log(2)


# --- A7, A8: the location under symmetric and asymmetric noise --------------------------------------------------------


def solve(sample, learn_shape=True, theta=(0.0, 2.0, 1.0)):
    """Joint maximum likelihood of location, alpha, beta (kappa = 1) of one sample by a general-purpose optimizer."""
    sample = torch.as_tensor(sample)

    def objective(x):
        x = torch.tensor(x, requires_grad=True)
        alpha, beta = (1 + x[1].exp(), x[2].exp()) if learn_shape else tensor(*theta[1:])
        value = -GeneralizedT(alpha, beta, torch.ones_like(alpha), validate_args=False).log_prob(sample - x[0]).mean()
        return value.item(), torch.autograd.grad(value, x)[0].numpy()

    start = [theta[0], math.log(theta[1] - 1), math.log(theta[2])][: 3 if learn_shape else 1]
    found = optimize.minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-9})
    x = found.x
    return (x[0], 1 + math.exp(x[1]), math.exp(x[2])) if learn_shape else (x[0], *theta[1:])


def with_outlier(base, x):
    """What an outlier at x does to the joint and to the location-only estimate, times n: a sensitivity curve."""
    joint = solve(base)
    fixed = solve(base, learn_shape=False, theta=joint)
    moved = solve(np.append(base, x), theta=joint)
    alone = solve(np.append(base, x), learn_shape=False, theta=joint)
    n = len(base) + 1
    return n * (moved[0] - joint[0]), n * (alone[0] - fixed[0]), n * (math.log(moved[2] / joint[2]))


def test_A7_an_outlier_in_a_symmetric_sample_moves_the_location_as_if_shape_and_scale_were_known():
    logistic = stats.logistic.ppf((np.arange(1000) + 0.5) / 1000)  # exactly symmetric
    for x in (1.5, 8.0):
        joint, known, _ = with_outlier(logistic, x)
        assert joint == pytest.approx(known, rel=0.02)
    joint, known, scale = with_outlier(logistic, 1e9)
    assert abs(joint) < 0.01
    assert abs(known) < 0.01
    _, _, further = with_outlier(logistic, 1e18)
    assert abs(further) > 1.3 * abs(scale) > 5  # while the scale's share has no bound


def regress(x, y, shape_and_scale=None):
    """Joint maximum likelihood of the weight of y = w x + noise, alpha and beta (or the weight alone) by BFGS."""

    def objective(raw):
        raw = torch.tensor(raw, requires_grad=True)
        known = torch.as_tensor(shape_and_scale or ())
        alpha, beta = known if len(known) else (1 + raw[1].exp(), raw[2].exp())
        law = GeneralizedT(alpha, beta, torch.ones_like(alpha), validate_args=False)
        value = -law.log_prob(y - raw[0] * x).mean()
        return value.item(), torch.autograd.grad(value, raw)[0].numpy()

    start = [1.0] if shape_and_scale else [1.0, 0.0, 0.0]
    found = optimize.minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-10}).x
    return (found[0], *(shape_and_scale or (1 + math.exp(found[1]), math.exp(found[2]))))


def test_A7_in_a_regression_the_weights_influence_is_bounded_in_the_target_and_not_in_the_input():
    noise = torch.tensor(stats.logistic.ppf((np.arange(1000) + 0.5) / 1000))  # exactly symmetric, at every input
    design = tensor(-1.5, 0.4, 1.0, 2.0)
    x = design.repeat_interleave(1000)
    y = x + noise.repeat(4)
    weight, alpha, beta = regress(x, y)
    assert weight == pytest.approx(1, abs=1e-6)
    u = (noise / beta).abs()
    slope = float((alpha * u**alpha * ((alpha - 1) - u**alpha) / (noise * (1 + u**alpha)) ** 2).mean())  # mean psi'
    n = len(x) + 1
    moved = {}
    for at, target in [(1.0, 3.0), (1.0, 1e8), (-2.0, 0.0), (8.0, 10.0)]:
        more = torch.cat([x, tensor(at)]), torch.cat([y, tensor(target)])
        joint, known = (n * (fit[0] - 1) for fit in (regress(*more), regress(*more, shape_and_scale=(alpha, beta))))
        residual = target - at
        psi = alpha * residual * abs(residual) ** (alpha - 2) / (beta**alpha + abs(residual) ** alpha)
        stated = at * psi / (slope * float((design**2).mean()))
        assert joint == pytest.approx(known, rel=0.03, abs=1e-3)
        assert joint == pytest.approx(stated, rel=0.05, abs=1e-3)
        moved[at, target] = joint
    assert abs(moved[1.0, 1e8]) < 1e-3  # a wild target
    assert moved[8.0, 10.0] > 7 * moved[1.0, 3.0]  # the same residual at a far input


def test_A7_the_information_about_shape_and_scale_makes_the_scale_unbounded_at_the_model():
    for alpha in (1.2, 2.0, 5.0):
        law = model(alpha)
        information, far = law.fisher_information()[1:3, 1:3], law.score(tensor(1e50, 1e100))[:, 1:3]
        first, second = torch.linalg.solve(information, far.T)[1].tolist()
        determinant = float(torch.linalg.det(information))
        slope = (second - first) / (50 * math.log(10))
        assert slope == pytest.approx(float(information[0, 1]) / determinant, rel=1e-6)  # -(-I/det) * kappa, kappa = 1
        assert slope < 0


def test_A8_under_skewed_noise_the_location_inherits_the_shapes_unbounded_score():
    skewed = stats.gumbel_r.ppf((np.arange(20_000) + 0.5) / 20_000)
    near, known, _ = with_outlier(skewed, 1e6)
    far, known_far, _ = with_outlier(skewed, 1e12)
    farther, _, _ = with_outlier(skewed, 1e18)
    assert abs(known) < 0.01
    assert abs(known_far) < 0.01
    assert abs(near) > 1
    assert farther - far == pytest.approx(far - near, rel=0.1)  # the same amount for every factor of a million


def test_A8_what_is_estimated_depends_on_the_scale_only_under_asymmetric_noise():
    def located(law, beta):
        sample = law.ppf((np.arange(1000) + 0.5) / 1000)
        return solve(sample, learn_shape=False, theta=(float(np.median(sample)), 2.0, beta))[0]

    assert located(stats.logistic, 0.5) == pytest.approx(located(stats.logistic, 2.0), abs=1e-6)
    assert abs(located(stats.gumbel_r, 0.5) - located(stats.gumbel_r, 2.0)) > 0.05


# --- A9: coordinates --------------------------------------------------------------------------------------------------


def test_A9_no_run_of_adam_outpaces_the_speed_limit():
    for betas in ((0.9, 0.999), (0.9, 0.95), (0.5, 0.9)):
        limit = (1 - betas[0]) / math.sqrt((1 - betas[1]) * (1 - betas[0] ** 2 / betas[1]))
        criterion = ALCLoss(beta=2.0, beta_min=1e-6).double()
        optimizer = torch.optim.Adam(criterion.parameters(), lr=0.03, betas=betas)
        generator, path = torch.Generator().manual_seed(0), [math.log(2.0)]
        for step in range(150):
            e = torch.randn(20, generator=generator, dtype=torch.float64) * 10.0 ** (-step / 10)
            optimizer.zero_grad()
            criterion(e, torch.zeros_like(e)).backward()
            optimizer.step()
            path.append(math.log(criterion.beta.item()))
        assert np.abs(np.diff(path)).max() <= 0.03 * limit
        assert path[-1] < path[0] - 1  # it did go somewhere


def test_A9_raw_information_is_the_covariance_of_raw_gradients():
    n = 40_000  # one pair of parameters a residual, so that one backward pass gives every residual's own gradient
    criterion = ALCLoss(alpha=1.9, beta=0.4, beta_min=0.1, parameter_shape=(n,), reduction="sum").double()
    torch.manual_seed(0)
    e = GeneralizedT(*tensor(1.9, 0.4, 1.0)).sample((n,))
    gradients = torch.autograd.grad(criterion(e, torch.zeros_like(e)), [criterion.raw_alpha, criterion.raw_beta])
    simulated = torch.stack(gradients).cov()
    slopes = torch.diag(tensor(1 - math.exp(-0.9), 1 - math.exp(-0.3)))
    information = slopes @ model(1.9, 0.4).fisher_information()[1:3, 1:3] @ slopes
    assert simulated.numpy() == pytest.approx(information.numpy(), rel=0.05)
    log_scale = float(model(1.9, 0.4).fisher_information()[2, 2]) * 0.16
    assert information[1, 1] < log_scale


def test_A9_no_coordinatewise_change_decouples_shape_and_scale():
    information = model(1.7, 3.0).fisher_information()[1:3, 1:3]
    r = abs(float(information[0, 1])) / math.sqrt(float(information[0, 0] * information[1, 1]))
    least = optimize.minimize_scalar(
        lambda x: float(
            torch.linalg.cond(torch.diag(tensor(1.0, math.exp(x))) @ information @ torch.diag(tensor(1.0, math.exp(x))))
        )
    ).fun
    assert least == pytest.approx((1 + r) / (1 - r), rel=1e-6)


# --- A10: peak and tail -----------------------------------------------------------------------------------------------


def test_A10_learning_kappa_recovers_a_law_that_kappa_one_cannot_reach():
    v = (np.arange(20_000) + 0.5) / 20_000  # quantiles of peak exponent 1.5 and tail index 4: kappa = 10/3
    law = GeneralizedT(*tensor(1.5, 1.0, 5 / 1.5))
    sample = law.icdf(torch.tensor(v))
    free, tied = GeneralizedT.fit(sample), GeneralizedT.fit(sample, learn=("alpha", "beta"))
    assert float(free.alpha) == pytest.approx(1.5, rel=0.02)
    assert float(free.tail_index) == pytest.approx(4, rel=0.05)
    assert float(tied.tail_index) == float(tied.alpha) - 1
    gain = float((free.log_prob(sample) - tied.log_prob(sample)).mean())
    divergence = expectation(
        lambda e: (law.log_prob(torch.tensor(e)) - tied.log_prob(torch.tensor(e))).numpy(),
        lambda e: law.log_prob(torch.tensor(e)).numpy(),
    )
    assert gain == pytest.approx(divergence, rel=0.05)
    assert divergence > 1e-3


def test_A10_gaussian_noise_sends_kappa_to_infinity():
    def divergence(kappa):
        other = GeneralizedT(*tensor(2.0, math.sqrt(2 * kappa), kappa))  # beta^alpha = kappa / lambda, lambda = 1/2
        return expectation(
            lambda e: np.maximum(stats.norm.logpdf(e), -1e4) - other.log_prob(torch.tensor(e)).numpy(),
            stats.norm.logpdf,
        )

    values = [divergence(kappa) for kappa in (2.0, 20.0, 200.0)]
    assert values[0] > values[1] > values[2] > 0
    assert values[2] < 1e-4
