"""The density against oracles that share no formula with it: mpmath, quadrature, Monte Carlo, scipy, autograd.

Expectations are integrated after the substitution ``log|e/beta| = sinh(x) / alpha``, under which every integrand
used here decays doubly exponentially on both sides, so that the trapezoidal rule is exact to rounding for tails
as heavy as one likes. The normaliser used in those integrals is itself integrated, never the closed form.
"""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import optimize, special, stats

from alcl.distributions import PARAMETERS, GeneralizedT, log_normalizer, log_normalizer_in_numbers

ALPHAS = st.one_of(
    st.floats(1, 20, exclude_min=True), st.floats(-14, 0).map(lambda x: 1 + 10**x), st.sampled_from([2.0, 20.0])
)
BETAS = st.floats(-4, 4).map(lambda x: 10**x)


@st.composite
def triples(draw, smallest_margin=1e-15):
    """(alpha, beta, kappa) over the whole legal range; kappa - 1/alpha is log-uniform down to its margin."""
    alpha, beta = draw(ALPHAS), draw(BETAS)
    exponent = draw(st.floats(np.log10(smallest_margin), np.log10(50)))
    kappa = draw(st.sampled_from([1.0, min(50.0, 1 / alpha + 10**exponent)]))
    assume(mpmath.mpf(kappa) - 1 / mpmath.mpf(alpha) >= smallest_margin)
    return alpha, beta, kappa


ORDINARY = triples(smallest_margin=1e-3)

#: Two dozen fixed triples: the paper's kappa = 1, light and heavy tails, peaked and flat, tiny and huge scales.
FIXED = [
    (2.0, 1.0, 1.0), (1.05, 0.1, 1.0), (1.2, 1.0, 1.0), (1.5, 1e-3, 1.0), (3.0, 50.0, 1.0), (8.0, 1.0, 1.0),
    (20.0, 1e3, 1.0), (2.0, 1.0, 0.6), (2.0, 3.0, 2.0), (2.0, 1.0, 10.0), (1.1, 1.0, 2.0), (1.1, 0.01, 20.0),
    (1.3, 10.0, 5.0), (4.0, 1.0, 0.3), (4.0, 1.0, 0.5), (6.0, 0.2, 2.0), (10.0, 1.0, 0.15), (10.0, 1.0, 30.0),
    (15.0, 1e-4, 0.5), (20.0, 1e4, 0.06), (20.0, 1.0, 50.0), (1.01, 1.0, 50.0), (1.6, 1.0, 1.4), (2.5, 0.7, 0.8),
]  # fmt: skip


def double(*values):
    return tuple(torch.tensor(v, dtype=torch.float64) for v in values)


def distribution(alpha, beta, kappa):
    return GeneralizedT(*double(alpha, beta, kappa))


class Quadrature:
    """Expectations under the density on the half-line ``e > 0`` (doubled), by the double-exponential rule."""

    def __init__(self, alpha, beta, kappa, step=0.01):
        margin = float(mpmath.mpf(kappa) - 1 / mpmath.mpf(alpha))
        # 25: far enough out for moments up to 0.95 of the tail index
        x = np.arange(-np.arcsinh(750 * alpha), np.arcsinh(25 * 750 / margin), step)
        self.t = np.sinh(x)  # logit(v) = alpha log|u|
        self.log_u = self.t / alpha
        self.growth = np.logaddexp(0, self.t)  # log(1 + |u|^alpha)
        # log of (1 + |u|^alpha)^-kappa |u| cosh(x), arranged so that a huge t cannot cancel
        grows = np.where(self.t > 0, -margin * self.t, self.log_u) - kappa * np.logaddexp(0, -np.abs(self.t))
        self.log_mass = grows + np.log(np.cosh(x) * step / alpha)
        mass = np.exp(self.log_mass)
        self.log_z = np.log(2 * beta * mass.sum())
        self.weight = mass / mass.sum()
        self.alpha, self.beta, self.kappa = alpha, beta, kappa

    def mean(self, values):
        return float((self.weight * values).sum())

    def covariance(self, rows):
        rows = np.stack(rows)
        centred = rows - (rows * self.weight).sum(1, keepdims=True)
        return (centred * self.weight) @ centred.T

    def moment(self, m):
        terms = np.exp(self.log_mass + m * self.log_u)  # in one exponential: |u|^m alone may overflow
        return self.beta**m * 2 * self.beta * terms.sum() / np.exp(self.log_z)


# -- normaliser --------------------------------------------------------------------------------------------


@given(triples())
def test_normaliser_matches_mpmath(triple):
    with mpmath.workdps(40):
        alpha, beta, kappa = map(mpmath.mpf, triple)
        exact = 2 * beta / alpha * mpmath.beta(1 / alpha, kappa - 1 / alpha)
        tensors = log_normalizer(*double(*triple))
        scalar_kappa = log_normalizer(*double(*triple[:2]), triple[2])
        for value in (tensors, scalar_kappa):
            assert abs(mpmath.exp(mpmath.mpf(float(value))) / exact - 1) < 1e-10


@given(triples(smallest_margin=1e-6))
def test_normaliser_matches_quadrature(triple):
    assert float(log_normalizer(*double(*triple))) == pytest.approx(Quadrature(*triple).log_z, abs=1e-9)


@given(st.floats(1.001, 20), BETAS)
def test_normaliser_of_the_papers_loss(alpha, beta):
    """kappa = 1: the reflection formula turns the Beta function into a sine."""
    with mpmath.workdps(30):
        exact = mpmath.log(2 * mpmath.pi * beta / (alpha * mpmath.sin(mpmath.pi / mpmath.mpf(alpha))))
        assert float(log_normalizer(*double(alpha, beta))) == pytest.approx(float(exact), abs=1e-12)


def test_normaliser_is_infinite_where_the_integral_diverges():
    alpha = torch.tensor([0.5, 1.0, 1 + 1e-12, 2.0], dtype=torch.float64)
    value = log_normalizer(alpha, 1.0)
    assert value.isinf().tolist() == [True, True, False, False]
    assert value[2] > 25  # the barrier: log(1e12) plus a little
    assert torch.isinf(log_normalizer(2.0, 1.0, 0.5))


@given(triples(smallest_margin=0.02))
def test_normaliser_derivatives(triple):
    inputs = tuple(x.requires_grad_() for x in double(*triple))
    # finite differences need room on both sides, relative to the margin and to the scale
    assume(triple[1] > 1e-2)
    assert torch.autograd.gradcheck(log_normalizer, inputs, eps=1e-7, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("triple", [(1.3, 0.4, 1.1), (2.0, 1.0, 1.0), (6.0, 3.0, 0.4), (1.7, 10.0, 8.0)])
def test_normaliser_second_derivatives(triple):
    inputs = tuple(x.requires_grad_() for x in double(*triple))
    assert torch.autograd.gradcheck(log_normalizer, inputs)
    assert torch.autograd.gradgradcheck(log_normalizer, inputs)
    assert torch.autograd.gradgradcheck(lambda a, b: log_normalizer(a, b, triple[2]), inputs[:2])


@pytest.mark.parametrize("triple", [*FIXED, (1 + 1e-6, 1.0, 1.0), (50.0, 1e-3, 0.03)])
def test_log_normalizer_in_numbers_and_its_derivatives(triple):
    """Against the Beta function and numerical differentiation in 50 digits."""

    def exact(alpha, beta, kappa):
        return mpmath.log(2 * beta / alpha * mpmath.beta(1 / alpha, kappa - 1 / alpha))

    value, slopes = log_normalizer_in_numbers(*triple)
    with mpmath.workdps(50):
        at = tuple(map(mpmath.mpf, triple))
        assert value == pytest.approx(float(exact(*at)), rel=1e-12, abs=1e-9)
        for i in range(3):
            order = tuple(int(i == j) for j in range(3))
            assert slopes[i] == pytest.approx(float(mpmath.diff(exact, at, order)), rel=1e-8, abs=1e-11)


def test_normaliser_under_vmap_and_compile():
    alpha, beta, kappa = double([1.2, 2.0, 5.0], [0.1, 1.0, 10.0], [1.0, 2.0, 0.5])
    expected = log_normalizer(alpha, beta, kappa)
    torch.testing.assert_close(torch.func.vmap(log_normalizer)(alpha, beta, kappa), expected)
    compiled = torch.compile(log_normalizer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(alpha, beta, kappa), expected)
    torch.testing.assert_close(compiled(alpha, beta, 1.0), log_normalizer(alpha, beta, torch.ones(3)))
    curvature = torch.func.vmap(torch.func.hessian(log_normalizer))(alpha, beta, kappa)
    torch.testing.assert_close(curvature, 1 / alpha**2 + second_alpha_derivative(alpha, kappa), rtol=1e-7, atol=0)


def second_alpha_derivative(alpha, kappa):
    """d2/dalpha2 of lgamma(1/alpha) + lgamma(kappa - 1/alpha), by mpmath's numerical differentiation."""

    def at(a, k):
        with mpmath.workdps(40):
            return float(mpmath.diff(lambda x: mpmath.loggamma(1 / x) + mpmath.loggamma(k - 1 / x), a, 2))

    return torch.tensor([at(mpmath.mpf(a), mpmath.mpf(k)) for a, k in zip(alpha.tolist(), kappa.tolist(), strict=True)])


def test_normaliser_dtypes():
    assert log_normalizer(2.0, 1.0).dtype == torch.get_default_dtype()
    assert log_normalizer(torch.tensor(2.0, dtype=torch.float64), 1.0, 3.0).dtype == torch.float64
    for alpha, beta, kappa in FIXED:
        single = float(log_normalizer(*(torch.tensor(x, dtype=torch.float32) for x in (alpha, beta, kappa))))
        rounded = [float(np.float32(x)) for x in (alpha, beta, kappa)]
        assert single == pytest.approx(float(log_normalizer(*double(*rounded))), abs=5e-5)


# -- density and score -------------------------------------------------------------------------------------


@given(ORDINARY, st.floats(-300, 300), st.sampled_from([-1.0, 1.0]))
def test_log_prob_matches_mpmath_for_every_size_of_residual(triple, exponent, sign):
    e = sign * 10**exponent
    with mpmath.workdps(40):
        alpha, beta, kappa = map(mpmath.mpf, triple)
        z = 2 * beta / alpha * mpmath.beta(1 / alpha, kappa - 1 / alpha)
        exact = -kappa * mpmath.log(1 + abs(mpmath.mpf(e) / beta) ** alpha) - mpmath.log(z)
        value = float(distribution(*triple).log_prob(*double(e)))
        assert value == pytest.approx(float(exact), rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("logit", [15.0, 21.0, 28.0, 38.0, 45.0])
def test_log_prob_has_no_seam_where_softplus_turns_linear(logit):
    """torch's softplus is linear beyond 20 by default, which is 2e-9 off there."""
    e = float(np.exp(logit / 1.5))
    with mpmath.workdps(30):
        growth = mpmath.log(1 + mpmath.mpf(e) ** mpmath.mpf(1.5))
    at_zero, there = distribution(1.5, 1.0, 1.0).log_prob(*double([0.0, e]))
    assert float(at_zero - there) == pytest.approx(float(growth), abs=1e-13)


@given(ORDINARY, st.floats(-6, 6))
def test_gradients_of_log_prob_match_the_score(triple, log_ratio):
    alpha, beta, kappa = (x.requires_grad_() for x in double(*triple))
    e = (beta.detach() * 10**log_ratio).requires_grad_()
    density = GeneralizedT(alpha, beta, kappa)
    by_autograd = torch.stack(torch.autograd.grad(density.log_prob(e), (e, alpha, beta, kappa)))
    by_autograd[0] *= -1  # moving the location is moving the residual backwards
    torch.testing.assert_close(density.score(e).detach(), by_autograd, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("triple", [(1.3, 0.4, 1.1), (2.0, 1.0, 1.0), (6.0, 3.0, 0.4)])
def test_log_prob_derivatives_by_finite_differences(triple):
    inputs = [x.requires_grad_() for x in double([-7.0, -0.3, 0.2, 2.0, 1e4], *triple)]
    assert torch.autograd.gradcheck(lambda e, a, b, k: GeneralizedT(a, b, k).log_prob(e), inputs)
    assert torch.autograd.gradgradcheck(lambda e, a, b, k: GeneralizedT(a, b, k).log_prob(e), inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(triple=ORDINARY)
def test_nothing_overflows(dtype, triple):
    info = torch.finfo(dtype)
    sizes = torch.tensor([0.0, info.smallest_normal / 8, info.smallest_normal, 1e-30, 1.0, 1e30, info.max], dtype=dtype)
    e = torch.cat([-sizes, sizes]).requires_grad_()
    parameters = [torch.tensor(x, dtype=dtype, requires_grad=True) for x in triple]
    assume(parameters[0].item() * parameters[2].item() > 1 + 1e-3)
    density = GeneralizedT(*parameters)
    log_p = density.log_prob(e)
    gradients = torch.autograd.grad(log_p.sum(), [e, *parameters])
    assert log_p.isfinite().all()
    assert log_p.dtype == dtype
    assert all(g.isfinite().all() for g in gradients)
    assert density.score(e).isfinite().all()
    assert gradients[0][[0, len(sizes)]].tolist() == [0, 0]  # psi(0) = 0 for alpha > 1


# -- distribution function and sampling --------------------------------------------------------------------


def upper_tail(e, alpha, beta, kappa):
    """P(residual > e), e > 0, by quadrature of the density over (e, inf)."""
    whole = Quadrature(alpha, beta, kappa)
    start = alpha * np.log(e / beta)
    margin = float(mpmath.mpf(kappa) - 1 / mpmath.mpf(alpha))
    x = np.arange(-6, np.log(750 / margin + 750 * alpha + abs(start)), 0.002)
    stretch = np.exp(x - np.exp(-x))
    t = start + stretch
    integrand = np.where(t > 0, -margin * t, t / alpha) - kappa * np.logaddexp(0, -np.abs(t))
    jacobian = stretch * (1 + np.exp(-x)) * 0.002
    return float((np.exp(integrand) * jacobian).sum() * beta / alpha / np.exp(whole.log_z))


@given(ORDINARY, st.floats(-4, 4))
def test_cdf_matches_quadrature(triple, log_ratio):
    density = distribution(*triple)
    e = triple[1] * 10**log_ratio
    tail = upper_tail(e, *triple)
    assert float(density.cdf(*double(-e))) == pytest.approx(tail, rel=1e-8, abs=1e-12)
    assert float(density.cdf(*double(e))) == pytest.approx(1 - tail, abs=1e-10)
    assert float(density.cdf(*double(0.0))) == 0.5


@given(triples(smallest_margin=0.05), st.floats(-12, np.log10(0.5)))
def test_icdf_inverts_cdf(triple, exponent):
    density = distribution(*triple)
    (lower,) = double(10**exponent)
    quantile = density.icdf(lower)
    assume(quantile.abs() < 1e300)
    torch.testing.assert_close(density.cdf(quantile), lower, rtol=1e-9, atol=0)
    torch.testing.assert_close(density.icdf(1 - lower), -density.icdf(1 - (1 - lower)), rtol=1e-9, atol=0)


def test_cdf_and_icdf_at_the_ends():
    density = distribution(1.5, 2.0, 1.0)
    torch.testing.assert_close(density.cdf(*double([-np.inf, np.inf])), *double([0.0, 1.0]))
    torch.testing.assert_close(density.icdf(*double([0.0, 0.5, 1.0])), *double([-np.inf, 0.0, np.inf]))
    with pytest.raises(ValueError, match="probabilities"):
        density.icdf(*double(1.5))
    assert density.cdf(torch.tensor(1.0, dtype=torch.float32)).dtype == torch.float64


def test_gradients_of_cdf_and_icdf():
    e, beta, p = (x.requires_grad_() for x in double([-4.0, -0.2, 0.3, 9.0], 0.7, [0.01, 0.4, 0.6, 0.999]))
    assert torch.autograd.gradcheck(lambda e, b: GeneralizedT(1.4, b, 1.3).cdf(e), (e, beta))
    assert torch.autograd.gradgradcheck(lambda e, b: GeneralizedT(1.4, b, 1.3).cdf(e), (e, beta))
    assert torch.autograd.gradcheck(lambda p, b: GeneralizedT(1.4, b, 1.3).icdf(p), (p, beta))
    parameters = [x.requires_grad_() for x in double(1.4, 0.7, [[1.3], [0.8]])]
    assert torch.autograd.gradcheck(lambda e, *own: GeneralizedT(*own).cdf(e), (e, *parameters))
    assert torch.autograd.gradgradcheck(lambda e, *own: GeneralizedT(*own).cdf(e), (e, *parameters))
    assert torch.autograd.gradcheck(lambda p, *own: GeneralizedT(*own).icdf(p), (p, *parameters))


@pytest.mark.parametrize("triple", [(2.0, 1.0, 1.0), (1.05, 0.1, 1.0), (8.0, 3.0, 0.2), (1.3, 10.0, 5.0)])
def test_derivatives_of_the_cdf_in_shape_and_tail_weight_are_mpmaths(triple):
    """Of the lower tail, relative to its size, which keeps its digits far out."""
    e = [-1e6, -30.0, -1.0, -1e-3, 0.5]
    alpha, beta, kappa = (x.requires_grad_() for x in double(*triple))

    def log_cdf(e, a, b, k):
        t = (abs(mpmath.mpf(e)) / b) ** a
        if t < 1:  # 1 / (1 + t) could round to 1
            tail = (1 - mpmath.betainc(1 / a, k - 1 / a, 0, t / (1 + t), regularized=True)) / 2
        else:
            tail = mpmath.betainc(k - 1 / a, 1 / a, 0, 1 / (1 + t), regularized=True) / 2
        return mpmath.log(tail if e < 0 else 1 - tail)

    for value in e:
        ours = torch.autograd.grad(GeneralizedT(alpha, beta, kappa).cdf(double(value)[0]).log(), (alpha, kappa))
        with mpmath.workdps(40):
            at = (mpmath.mpf(value), *map(mpmath.mpf, triple))
            theirs = [mpmath.diff(log_cdf, at, which, h=mpmath.mpf("1e-12")) for which in ((0, 1, 0, 0), (0, 0, 0, 1))]
        assert [x.item() for x in ours] == pytest.approx([float(x) for x in theirs], rel=1e-8, abs=1e-10)


@pytest.mark.parametrize("triple", FIXED)
def test_samples_follow_the_cdf(triple):
    torch.manual_seed(20160616)
    density = distribution(*triple)
    samples = density.sample((20_000,)).numpy()

    def p_value(model):
        return stats.kstest(samples, lambda e: model.cdf(torch.as_tensor(e)).numpy()).pvalue

    assert p_value(density) > 1e-3
    # and the test has teeth: a scale 20% off, or (where the law is almost flat in log|e|) a shape 15% off
    alpha, beta, kappa = triple
    wrong = [(alpha, beta * 1.2, kappa), (alpha * 1.15, beta, kappa * 1.15)]
    assert min(p_value(distribution(*w)) for w in wrong) < 1e-3


def test_sampling_never_leaves_the_tail_behind():
    """A tail index of 0.05: a Beta variate rounds to 1 for most draws, log-space sampling does not."""
    torch.manual_seed(1)
    density = distribution(1.05, 1.0, 1.0)
    samples = density.sample((50_000,)).abs()
    for threshold in (1e3, 1e12, 1e24):
        expected = 2 * float(density.cdf(*double(-threshold)))
        standard_error = np.sqrt(expected * (1 - expected) / len(samples))
        assert abs(float((samples > threshold).double().mean()) - expected) < 4 * standard_error


@pytest.mark.parametrize("triple", [(2.0, 1.0, 1.0), (1.3, 0.5, 1.5), (5.0, 2.0, 0.6)])
def test_reparameterized_gradients(triple):
    """Pathwise gradients of a bounded expectation against central differences of its quadrature."""
    torch.manual_seed(7)
    count = 200_000
    parameters = [x.expand(count).clone().requires_grad_() for x in double(*triple)]  # so: one gradient per draw
    e = GeneralizedT(*parameters).rsample()
    gradients = torch.autograd.grad((e**2 / (1 + e**2)).sum(), parameters)

    def expectation(values):
        quadrature = Quadrature(*values)
        e_squared = (values[1] * np.exp(np.minimum(quadrature.log_u, 300))) ** 2
        return quadrature.mean(e_squared / (1 + e_squared))

    for i, per_draw in enumerate(gradients):
        up, down = ([v + s * 1e-5 * (i == j) for j, v in enumerate(triple)] for s in (1, -1))
        exact = (expectation(up) - expectation(down)) / 2e-5
        standard_error = float(per_draw.std()) / count**0.5
        # 1e-3: the accuracy of torch's own implicit gamma gradients
        assert abs(float(per_draw.mean()) - exact) < 4 * standard_error + 1e-3 * abs(exact)


# -- entropy, moments, information -------------------------------------------------------------------------


@given(ORDINARY)
def test_entropy_matches_quadrature(triple):
    quadrature = Quadrature(*triple)
    exact = quadrature.log_z + quadrature.kappa * quadrature.mean(quadrature.growth)
    assert float(distribution(*triple).entropy()) == pytest.approx(exact, rel=1e-8, abs=1e-8)


@given(ORDINARY, st.floats(-0.9, 0.95))
def test_absolute_moments_match_quadrature(triple, fraction):
    density = distribution(*triple)
    order = fraction if fraction < 0 else min(fraction * float(density.tail_index), 10.0)
    assert float(density.moment(order)) == pytest.approx(Quadrature(*triple).moment(order), rel=1e-8)


def test_moments_end_at_the_tail_index():
    density = distribution(1.5, 2.0, 2.0)  # tail index 2
    assert float(density.tail_index) == 2
    assert density.moment(1.99).isfinite()
    assert density.moment(2.0).isinf()
    with pytest.raises(ValueError, match="m must exceed -1"):
        density.moment(-1.0)


def test_mean_and_variance_follow_torch_student_t():
    dof = torch.tensor([0.5, 1.0, 1.5, 2.0, 2.5, 7.0], dtype=torch.float64)
    ours = GeneralizedT(*double(2.0), 3.0 * dof.sqrt(), (dof + 1) / 2)
    torchs = torch.distributions.StudentT(dof, loc=0.0, scale=3.0)
    for name in ("mean", "variance", "mode"):
        torch.testing.assert_close(getattr(ours, name), getattr(torchs, name), equal_nan=True)


@given(ORDINARY)
def test_every_entry_of_the_fisher_information_matches_quadrature(triple):
    alpha, beta, kappa = triple
    q = Quadrature(*triple)
    v = 1 / (1 + np.exp(-np.clip(q.t, -700, 700)))
    # gradients of the kernel alone; the normaliser only centres them, and the covariance does that itself
    location = np.exp(np.log(kappa * alpha / beta) - np.logaddexp(0, -q.t) - q.log_u)
    rows = [-kappa * v * q.log_u, kappa * alpha * v / beta, -q.growth]
    expected = np.zeros((4, 4))
    expected[0, 0] = q.mean(location**2)
    expected[1:, 1:] = q.covariance(rows)  # location: odd in e, so the two half-lines cancel
    scale = np.sqrt(np.outer(expected.diagonal(), expected.diagonal()))
    actual = distribution(*triple).fisher_information().numpy()
    assert np.abs((actual - expected) / scale).max() < 1e-8


@given(ORDINARY, st.floats(-3, 3))
def test_location_score_is_odd_and_the_others_even(triple, log_ratio):
    """What makes the information block-diagonal, on the derivatives of log_prob itself."""
    alpha, beta, kappa = (x.requires_grad_() for x in double(*triple))
    location = torch.zeros((), dtype=torch.float64, requires_grad=True)
    e = (beta * 10**log_ratio).detach()
    right, left = (
        torch.stack(
            torch.autograd.grad(GeneralizedT(alpha, beta, kappa).log_prob(x - location), (location, alpha, beta, kappa))
        )
        for x in (e, -e)
    )
    torch.testing.assert_close(right, left * torch.tensor([-1.0, 1.0, 1.0, 1.0]), rtol=1e-12, atol=0)


def test_known_information_entries():
    cauchy = distribution(2.0, 3.0, 1.0).fisher_information()
    torch.testing.assert_close(cauchy[0, 0] * 9, *double(0.5))
    torch.testing.assert_close(cauchy[2, 2] * 9, *double(0.5))
    assert torch.isinf(distribution(0.5, 1.0, 3.0).fisher_information()[0, 0])
    batch = GeneralizedT(torch.tensor([[1.5], [2.0]]), torch.tensor([1.0, 2.0, 3.0])).fisher_information()
    assert batch.shape == (2, 3, 4, 4)
    assert PARAMETERS == ("location", "alpha", "beta", "kappa")


# -- maximum likelihood ------------------------------------------------------------------------------------

RECOVERY = [
    (2.0, 1.0, 1.0), (1.2, 0.05, 1.0), (1.5, 1.0, 1.0), (4.0, 20.0, 1.0), (8.0, 1.0, 0.5), (1.3, 1e-3, 1.5),
    (2.0, 1.0, 3.0), (3.0, 1e3, 0.6), (1.7, 0.3, 0.9), (6.0, 1.0, 2.0), (2.5, 1e4, 0.7), (1.1, 1.0, 2.0),
]  # fmt: skip


@pytest.mark.parametrize("triple", RECOVERY)
def test_maximum_likelihood_recovers_the_parameters(triple):
    torch.manual_seed(2606)
    truth = distribution(*triple)
    samples = truth.sample((100_000,))
    fitted = GeneralizedT.fit(samples)
    covariance = torch.linalg.inv(truth.fisher_information()[1:, 1:]) / len(samples)
    error = torch.stack([fitted.alpha, fitted.beta, fitted.kappa]) - torch.stack(double(*triple))
    assert (error.abs() < 4 * covariance.diagonal().sqrt()).all()
    # stationary: what is left of the gradient is worth a thousandth of a standard error
    gradient = fitted.score(samples).mean(0)[1:]
    assert len(samples) * gradient @ torch.linalg.solve(fitted.fisher_information()[1:, 1:], gradient) < 1e-6


@pytest.mark.parametrize("learn", [("alpha", "beta"), ("beta", "kappa"), ("alpha", "kappa"), ("beta",), "kappa", ()])
def test_partial_fits_keep_what_is_not_learned(learn):
    torch.manual_seed(3)
    truth = {"alpha": 1.6, "beta": 0.4, "kappa": 1.2}
    samples = distribution(*truth.values()).sample((20_000,))
    start = {name: value * (1.2 if name in learn else 1.0) for name, value in truth.items()}
    fitted = GeneralizedT.fit(samples, learn=learn, **start)
    best = fitted.log_prob(samples).mean()
    for name in truth:
        learned = name == learn or name in learn
        assert (float(getattr(fitted, name)) == start[name]) != learned
        for factor in (0.98, 1.02) if learned else ():
            shifted = {n: getattr(fitted, n) * (factor if n == name else 1.0) for n in truth}
            assert GeneralizedT(**shifted).log_prob(samples).mean() < best


def test_fit_says_when_there_is_no_maximum():
    torch.manual_seed(4)
    with pytest.raises(RuntimeError, match="no interior maximum"):
        GeneralizedT.fit(torch.rand(5000) * 2 - 1, max_iterations=60)
    mostly_zero = torch.cat([torch.zeros(6000), torch.randn(4000)])
    with pytest.raises(RuntimeError, match="exact zeros send beta to 0"):
        GeneralizedT.fit(mostly_zero, learn=("beta",), alpha=2.0, kappa=1.0)


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        (torch.tensor([1.0, float("nan")]), {}, "samples"),
        (torch.zeros(5), {}, "samples"),
        (torch.tensor([]), {}, "samples"),
        (torch.ones(5), {"learn": ("gamma",)}, "learn"),
        (torch.ones(5), {"learn": ("alpha", "alpha")}, "learn"),
        (torch.ones(5), {"alpha": 0.9}, "alpha must exceed 1/kappa"),
        (torch.ones(5), {"kappa": 0.5, "learn": "beta"}, "alpha must exceed 1/kappa.* alpha > 2, got 2"),
        (torch.ones(5), {"max_iterations": 0}, "max_iterations must be an integer of at least 1, got 0"),
        (torch.ones(5), {"max_iterations": 2.5}, "max_iterations must be an integer"),
        (torch.ones(5, dtype=torch.complex64), {}, "samples must be real, got torch.complex64"),
    ],
)
def test_fit_rejects(samples, options, message):
    with pytest.raises(ValueError, match=message):
        GeneralizedT.fit(samples, **options)


def test_fit_climbs_from_more_than_the_start_it_is_given():
    """Ten normal residuals, from alpha = 20, once had no maximum; against scipy's simplex from where it is."""
    found = 0
    for seed in range(8):
        e = torch.randn(10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

        def loss(x, e=e):
            alpha = np.exp(x[0]) + 1
            log_z = np.log(2 * np.exp(x[1]) * np.pi / (alpha * np.sin(np.pi / alpha)))
            return float(np.log1p(np.abs(e.numpy() / np.exp(x[1])) ** alpha).mean() + log_z)

        ends = [optimize.minimize(loss, (start, 0.0), method="Nelder-Mead") for start in (-1.0, 0.0, 1.0, 2.0)]
        best = min(ends, key=lambda end: end.fun)
        if best.x[0] > 3:
            continue  # such a sample has tails too light for any maximum
        found += 1
        near = GeneralizedT.fit(e, ("alpha", "beta"))
        far = GeneralizedT.fit(e, ("alpha", "beta"), alpha=20.0)
        for fitted in (near, far):
            assert -float(fitted.log_prob(e).mean()) == pytest.approx(best.fun, abs=1e-6)
    assert found >= 4


@pytest.mark.parametrize("margin", [1e-6, 1e-3])
def test_fit_of_a_scale_beside_a_shape_whose_quartile_overflows(margin):
    """The mean of kappa alpha v is 1 at the maximum in beta."""
    torch.manual_seed(5)
    e = distribution(1.05, 1.0, 1.0).sample((2000,))
    fitted = GeneralizedT.fit(e, "beta", alpha=1 + margin)
    with np.errstate(divide="ignore"):
        v = special.expit((1 + margin) * (np.log(np.abs(e.numpy())) - np.log(float(fitted.beta))))
    assert (1 + margin) * v.mean() == pytest.approx(1, abs=1e-5)


def test_fit_starts_where_kappa_allows():
    torch.manual_seed(5)
    e = distribution(6.0, 2.0, 0.4).sample((4000,))
    assert float(GeneralizedT.fit(e, ("alpha", "beta"), kappa=0.4).alpha) == pytest.approx(6, rel=0.2)


def test_fit_says_that_it_was_cut_short():
    torch.manual_seed(5)
    e = distribution(1.5, 1.0, 1.0).sample((500,))
    with pytest.raises(RuntimeError, match=r"max_iterations=1 steps did not reach a maximum .*allow more"):
        GeneralizedT.fit(e, max_iterations=1)


# -- special and limiting cases ----------------------------------------------------------------------------

GRID = torch.linspace(-30, 30, 241, dtype=torch.float64)


def test_cauchy():
    ours = distribution(2.0, 1.7, 1.0)
    theirs = torch.distributions.Cauchy(*double(0.0, 1.7))
    torch.testing.assert_close(ours.log_prob(GRID), theirs.log_prob(GRID))
    torch.testing.assert_close(ours.cdf(GRID), theirs.cdf(GRID))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())


@pytest.mark.parametrize("dof", [0.3, 1.0, 2.0, 5.0, 40.0])
def test_student_t(dof):
    """alpha = 2, kappa = (dof + 1)/2, beta = scale sqrt(dof)."""
    ours = distribution(2.0, 0.8 * dof**0.5, (dof + 1) / 2)
    theirs = stats.t(dof, scale=0.8)
    np.testing.assert_allclose(ours.log_prob(GRID), theirs.logpdf(GRID), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ours.cdf(GRID), theirs.cdf(GRID), rtol=1e-9)
    assert float(ours.entropy()) == pytest.approx(theirs.entropy(), rel=1e-9)
    levels = torch.linspace(0.01, 0.99, 21, dtype=torch.float64)
    np.testing.assert_allclose(ours.icdf(levels), theirs.ppf(levels), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("alpha", [1.0, 1.5, 2.0, 4.0])
def test_generalized_cauchy_of_carrillo_aysal_barner(alpha):
    """kappa = 2/alpha: their f(x) = a s (s^p + |x|^p)^(-2/p), a = p Gamma(2/p) / (2 Gamma(1/p)^2)."""
    scale = 0.6
    constant = alpha * mpmath.gamma(2 / alpha) / (2 * mpmath.gamma(1 / alpha) ** 2)
    theirs = [float(constant) * scale * (scale**alpha + abs(x) ** alpha) ** (-2 / alpha) for x in GRID.tolist()]
    ours = distribution(alpha, scale, 2 / alpha)
    np.testing.assert_allclose(ours.log_prob(GRID).exp(), theirs, rtol=1e-12)
    assert float(ours.tail_index) == pytest.approx(1.0)


@pytest.mark.parametrize(("alpha", "beta", "kappa"), FIXED)
def test_power_of_the_residual_is_beta_prime(alpha, beta, kappa):
    u = torch.logspace(-2, 2, 41, dtype=torch.float64) ** (1 / alpha)
    theirs = stats.betaprime(1 / alpha, kappa - 1 / alpha)
    np.testing.assert_allclose(
        2 * distribution(alpha, beta, kappa).cdf(-beta * u), theirs.sf(u**alpha), rtol=1e-8, atol=1e-14
    )


def test_named_relatives():
    positive = GRID[GRID > 0]
    # alpha = 1: a two-sided Lomax (Pareto II)
    ours = distribution(1.0, 1.3, 2.5).log_prob(positive)
    np.testing.assert_allclose(ours, stats.lomax(1.5, scale=1.3).logpdf(positive) - np.log(2), rtol=1e-10)
    # kappa = 1 + 1/alpha: a two-sided Burr III (Dagum)
    ours = distribution(3.0, 1.3, 1 + 1 / 3).log_prob(positive)
    np.testing.assert_allclose(ours, stats.burr(3.0, 1 / 3, scale=1.3).logpdf(positive) - np.log(2), rtol=1e-10)


@pytest.mark.parametrize("alpha", [1.0, 1.5, 2.0, 5.0])
def test_generalized_gaussian_limit(alpha):
    """kappa -> inf with beta^alpha = kappa s^alpha: error falls like 1/kappa, to gennorm (Laplace, Gaussian)."""
    e = torch.linspace(-2, 2, 41, dtype=torch.float64)
    limit = stats.gennorm(alpha, scale=0.9).logpdf(e)
    if alpha in (1.0, 2.0):
        named = stats.laplace(scale=0.9) if alpha == 1 else stats.norm(scale=0.9 / 2**0.5)
        np.testing.assert_allclose(limit, named.logpdf(e), rtol=1e-12)
    gaps = [
        np.abs(distribution(alpha, 0.9 * kappa ** (1 / alpha), kappa).log_prob(e).numpy() - limit).max()
        for kappa in (1e3, 1e4, 1e5)
    ]
    assert gaps[2] < 0.05
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.2)
    assert gaps[1] / gaps[2] == pytest.approx(10, rel=0.2)


# -- torch.distributions contract --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, 1.0), r"alpha must exceed 1/kappa.*kappa=1 legal values are alpha > 1, got 1$"),
        ((0.7, 1.0, 1.0), "alpha must exceed 1/kappa"),
        ((2.0, 1.0, 0.5), "legal values are alpha > 2"),
        ((-1.0, 1.0), "alpha must be positive"),
        ((2.0, 0.0), "beta must be positive"),
        ((2.0, float("inf")), "beta must be positive and finite"),
        ((2.0, 1.0, float("nan")), "kappa must be positive"),
        ((torch.tensor([2.0, 0.5]), 1.0), "got 0.5"),
    ],
)
def test_bad_parameters_get_one_clear_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        GeneralizedT(*arguments)
    GeneralizedT(*arguments, validate_args=False)


def test_integers_are_numbers_too():
    ours, same = GeneralizedT(torch.tensor(2), torch.tensor([1, 3])), GeneralizedT(2.0, torch.tensor([1.0, 3.0]))
    for value in (torch.tensor(2), torch.tensor([True, False])):
        for name in ("log_prob", "cdf", "score"):
            torch.testing.assert_close(getattr(ours, name)(value), getattr(same, name)(value.float()))
    assert ours.log_prob(torch.tensor(2)).dtype == torch.float32
    with pytest.raises(ValueError, match=r"value must be real, got torch\.complex64"):
        same.log_prob(torch.tensor([1j]))
    with pytest.raises(ValueError, match="must be real"):
        GeneralizedT(2.0, torch.tensor(1j))


KL_PAIRS = [
    ((2.0, 1.0, 1.0), (2.0, 3.0, 1.0)), ((1.05, 0.1, 1.0), (2.0, 1.0, 1.0)), ((20.0, 1.0, 50.0), (1.2, 1e3, 1.0)),
    ((1.5, 1e-3, 1.0), (3.0, 50.0, 2.0)), ((2.0, 1.0, 0.6), (20.0, 1.0, 0.06)), ((4.0, 1.0, 0.3), (1.6, 1.0, 1.4)),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), KL_PAIRS)
def test_kl_divergence_matches_quadrature(one, other):
    p, q = distribution(*one), distribution(*other)
    grid = Quadrature(*one)
    alpha, beta, kappa = other
    log_q = -kappa * np.logaddexp(0, alpha * (grid.log_u + np.log(one[1] / beta))) - Quadrature(*other).log_z
    log_p = -one[2] * grid.growth - grid.log_z
    found = torch.distributions.kl_divergence(p, q).item()
    assert found == pytest.approx(grid.mean(log_p - log_q), rel=1e-9, abs=1e-11)
    assert torch.distributions.kl_divergence(p, p).item() == pytest.approx(0, abs=1e-11)


def test_kl_divergence_of_two_cauchys_and_its_derivatives():
    """log((s + t)^2 / (4 s t)): Chyzak and Nielsen (2019)."""
    p, q = GeneralizedT(2.0, torch.tensor([1.0, 0.2]).double()), GeneralizedT(2.0, torch.tensor([3.0, 7.0]).double())
    expected = ((p.beta + q.beta) ** 2 / (4 * p.beta * q.beta)).log()
    torch.testing.assert_close(torch.distributions.kl_divergence(p, q), expected, rtol=1e-9, atol=0)

    def divergence(*six):
        return torch.distributions.kl_divergence(GeneralizedT(*six[:3]), GeneralizedT(*six[3:]))

    six = [x.requires_grad_() for x in double(1.7, 0.4, 1.2, 2.6, 0.9, 0.8)]
    assert torch.autograd.gradcheck(divergence, six)


def test_shapes_broadcast_and_expand():
    density = GeneralizedT(torch.tensor([[1.5], [2.0]]), torch.tensor([1.0, 2.0, 3.0]))
    assert density.batch_shape == (2, 3)
    assert density.rsample((5,)).shape == (5, 2, 3)
    assert density.sample().shape == (2, 3)
    assert density.log_prob(torch.zeros(7, 1, 1)).shape == (7, 2, 3)
    assert density.score(torch.zeros(7, 1, 1)).shape == (7, 2, 3, 4)
    assert density.cdf(torch.zeros(7, 1, 1)).shape == (7, 2, 3)
    wide = density.expand((4, 2, 3))
    assert wide.batch_shape == (4, 2, 3)
    assert wide.sample((5,)).shape == (5, 4, 2, 3)
    torch.testing.assert_close(wide.log_prob(torch.ones(4, 2, 3))[1], density.log_prob(torch.ones(2, 3)))
    independent = torch.distributions.Independent(density, 2)
    assert independent.log_prob(torch.zeros(2, 3)).shape == ()
    with pytest.raises(ValueError, match="support"):
        density.log_prob(torch.full((2, 3), float("nan")))
