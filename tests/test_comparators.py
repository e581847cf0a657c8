"""The comparators against closed forms in mpmath, quadrature and scipy; gradients; learning; bad input."""

import math
import pickle
from functools import partial

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy import integrate, stats

from alcl.catalogue import LOSSES
from alcl.comparators import (
    BarronLoss,
    GaussianNLLLoss,
    GeneralizedCauchyLoss,
    LMLSLoss,
    LogCoshLoss,
    PseudoHuberLoss,
    ScheduledPseudoHuberLoss,
    StudentTLoss,
    barron_log_partition,
    barron_rho,
)
from alcl.influence import Influence
from alcl.losses import CauchyLoss

COMPARATORS = [name for name, loss in LOSSES.items() if loss.__module__ == "alcl.comparators"]
F64 = torch.float64
RESIDUALS = torch.tensor([-1e4, -30.0, -3.0, -1.0, -0.4, -1e-3, 0.0, 1e-8, 0.2, 0.9, 2.5, 17.0, 1e6], dtype=F64)
E = torch.tensor([-1e6, -30.0, -2.5, -0.3, -1e-5, 0.0, 1e-9, 0.7, 4.0, 1e3, 1e12], dtype=F64)
FIXED = {
    "gaussian": (GaussianNLLLoss(0.5, learn=()), lambda e: (e / mp.mpf("0.5")) ** 2 / 2),
    "generalized_cauchy": (
        GeneralizedCauchyLoss(1.5, 2.0, learn=()),
        lambda e: mp.mpf(2) / mp.mpf("1.5") * mp.log(1 + (abs(e) / 2) ** mp.mpf("1.5")),
    ),
    "pseudo_huber": (PseudoHuberLoss(0.3), lambda e: mp.mpf(0.3) ** 2 * (mp.sqrt(1 + (e / mp.mpf(0.3)) ** 2) - 1)),
    "lmls": (LMLSLoss(3.0), lambda e: e**2 - mp.log(1 + 3 * e**2) / 3),
    "llad": (LMLSLoss(3.0, power=1), lambda e: abs(e) - mp.log(1 + 3 * abs(e)) / 3),
    "log_cosh": (LogCoshLoss(2.0), lambda e: 4 * mp.log(mp.cosh(e / 2))),
}


def tensor(x):
    return torch.as_tensor(x, dtype=F64)


def zero_target(residual):
    return residual, torch.zeros_like(residual)


def minimise(loss, e):
    optimizer = torch.optim.LBFGS(loss.parameters(), line_search_fn="strong_wolfe", max_iter=60, tolerance_change=1e-12)

    def closure():
        optimizer.zero_grad()
        value = loss(*zero_target(e))
        value.backward()
        return value

    optimizer.step(closure)
    return loss


@pytest.mark.parametrize("name", FIXED)
def test_values_against_arbitrary_precision(name):
    loss, formula = FIXED[name]
    with mp.workdps(60):
        expected = np.array([float(formula(mp.mpf(e))) for e in E.tolist() if abs(e) < 1e5])
    own = loss.double().rho(E[E.abs() < 1e5]).numpy()
    np.testing.assert_allclose(own, expected, rtol=1e-9)
    assert torch.isfinite(loss.rho(E)).all()


@pytest.mark.parametrize("name", FIXED)
def test_gradients_by_finite_differences(name):
    loss = FIXED[name][0].double()
    e = torch.tensor([-3.0, -0.4, 0.2, 1.7], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(loss.rho, e)


POINTWISE = ("pseudo_huber", "lmls", "llad", "log_cosh")


@pytest.mark.parametrize("name", POINTWISE)
def test_second_derivatives_by_every_route(name):
    """Reverse over reverse, forward over reverse, under vmap and compiled; finite wherever the residual is."""
    loss = FIXED[name][0].double()
    e = torch.tensor([-3.0, -0.4, 0.2, 1.7], dtype=F64, requires_grad=True)
    assert torch.autograd.gradgradcheck(loss.rho, e)

    def total(e):
        return loss.rho(e).sum()

    curvature = torch.autograd.functional.hessian(total, e)
    torch.testing.assert_close(torch.func.hessian(total)(e.detach()), curvature)
    one_by_one = torch.func.vmap(torch.func.grad(torch.func.grad(total)))(e.detach())
    torch.testing.assert_close(one_by_one, curvature.diagonal())
    compiled = torch.compile(total, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(torch.autograd.grad(compiled(e), e), torch.autograd.grad(total(e), e))
    everywhere = torch.tensor(RANGE[F64][0] + [0.0], dtype=F64, requires_grad=True)
    (psi,) = torch.autograd.grad(total(everywhere), everywhere, create_graph=True)
    assert torch.autograd.grad(psi.sum(), everywhere)[0].isfinite().all()


@pytest.mark.parametrize("learned", [GaussianNLLLoss(0.7), GeneralizedCauchyLoss(1.3, 0.7)])
def test_gradients_of_learned_parameters(learned):
    learned = learned.double()
    e = torch.tensor([-3.0, -0.4, 0.2, 1.7], dtype=F64)
    names = [name for name, _ in learned.named_parameters()]

    def value(*raw):
        return torch.func.functional_call(learned, dict(zip(names, raw, strict=True)), (e, torch.zeros_like(e)))

    assert torch.autograd.gradcheck(value, tuple(learned.parameters()))


@pytest.mark.parametrize(
    "loss",
    [
        GaussianNLLLoss(0.3),
        GeneralizedCauchyLoss(1.2, 2.0),
        GeneralizedCauchyLoss(4.0),
        StudentTLoss(2.5, 0.3),
        BarronLoss(0.4, 0.3),
        BarronLoss(1.7, 2.0),
    ],
)
def test_likelihoods_are_normalised(loss):
    """The integral of exp(-loss), by quadrature over e = sinh(t), is 1."""
    loss = loss.double()

    def density(t):
        e = torch.tensor([math.sinh(t)], dtype=F64)
        with torch.no_grad():
            return math.exp(-loss(e, torch.zeros(1, dtype=F64)).item()) * math.cosh(t)

    assert integrate.quad(density, -40, 40, limit=500, points=[-1, 0, 1])[0] == pytest.approx(1, abs=1e-6)


def test_special_cases():
    e = torch.linspace(-5, 5, 41, dtype=F64)
    torch.testing.assert_close(
        GeneralizedCauchyLoss(2.0, 0.4, learn=()).double().rho(e), CauchyLoss(0.4).double().rho(e)
    )
    gaussian = GaussianNLLLoss(1.7, learn=(), reduction="none").double()(e, torch.zeros_like(e))
    np.testing.assert_allclose(gaussian.numpy(), -stats.norm(scale=1.7).logpdf(e.numpy()), rtol=1e-6)
    torch.testing.assert_close(PseudoHuberLoss(1e6).double().rho(e), e.square() / 2, rtol=1e-10, atol=1e-12)


def test_which_of_them_are_bounded_and_which_redescend():
    found = {name: Influence(loss) for name, (loss, _) in FIXED.items()}
    assert {name for name, i in found.items() if i.redescends()} == {"generalized_cauchy"}
    assert {name for name, i in found.items() if math.isinf(i.supremum().value)} == {"gaussian", "lmls"}
    assert found["llad"].supremum().value == pytest.approx(1.0, rel=1e-6)
    assert found["log_cosh"].supremum().value == pytest.approx(2.0, rel=1e-6)
    assert found["pseudo_huber"].supremum().value == pytest.approx(0.3, rel=1e-6)


def test_schedule():
    loss = ScheduledPseudoHuberLoss(0.01)
    deltas = []
    for t in (0.0, 0.5, 1.0):
        loss.advance(t)
        deltas.append(loss.delta)
        torch.testing.assert_close(loss.rho(torch.ones(1)), PseudoHuberLoss(loss.delta).rho(torch.ones(1)))
    assert deltas == pytest.approx([1.0, 0.1, 0.01])
    again = ScheduledPseudoHuberLoss(0.01)
    again.load_state_dict(loss.state_dict())
    assert again.delta == pytest.approx(0.01)


@pytest.mark.parametrize(("loss", "law"), [(GaussianNLLLoss(), stats.norm), (GeneralizedCauchyLoss(), stats.cauchy)])
def test_parameters_are_recovered(loss, law):
    e = torch.tensor(law(scale=0.3).ppf((np.arange(2000) + 0.5) / 2000), dtype=torch.float32)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.03)
    for _ in range(600):
        optimizer.zero_grad()
        loss(e, torch.zeros_like(e)).backward()
        optimizer.step()
    assert loss.scale.item() == pytest.approx(0.3, rel=0.03)
    if hasattr(loss, "alpha"):
        assert loss.alpha.item() == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("name", COMPARATORS)
def test_the_interface_of_all_losses(name):
    loss = LOSSES[name]()
    a, b = torch.randn(3, 4), torch.randn(3, 4)
    each = LOSSES[name](reduction="none")(a, b)
    assert each.shape == (3, 4)
    torch.testing.assert_close(loss(a, b), each.mean())
    torch.testing.assert_close(LOSSES[name](reduction="sum")(a, b), each.sum())
    assert repr(pickle.loads(pickle.dumps(loss))) == repr(loss)
    assert torch.isfinite(loss(torch.tensor([100.0]), torch.tensor([0.0])))
    with pytest.raises(ValueError, match="reduction must be one of"):
        LOSSES[name](reduction="avg")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianNLLLoss(0.0), "scale must be positive and finite; got 0"),
        (lambda: GaussianNLLLoss(1e-4), "scale must exceed scale_min=0.001 when it is learned"),
        (lambda: GaussianNLLLoss(learn=("beta",)), "learn may name scale; got 'beta'"),
        (lambda: GeneralizedCauchyLoss(alpha=0.05), "alpha must exceed alpha_min=0.1"),
        (lambda: PseudoHuberLoss(math.nan), "delta must be positive"),
        (lambda: ScheduledPseudoHuberLoss(-1), "c must be positive"),
        (lambda: ScheduledPseudoHuberLoss().advance(1.5), r"t must lie in \[0, 1\]; got 1.5"),
        (lambda: LMLSLoss(power=3), r"power must be 2 \(LMLS\) or 1 \(LLAD\); got 3"),
        (lambda: LMLSLoss(a=0), "a must be positive"),
        (lambda: LogCoshLoss("x"), "scale must be positive"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- from one end of the floating-point numbers to the other --------------------------------------------------------

# name: (the loss at a parameter, rho as published, the parameters)
WIDE = (1e-20, 1e-3, 1.0, 30.0, 1e20)
EVERYWHERE = {
    "pseudo_huber": (PseudoHuberLoss, lambda e, d: d**2 * (mp.sqrt(1 + (e / d) ** 2) - 1), WIDE),
    "log_cosh": (LogCoshLoss, lambda e, s: s**2 * mp.log(mp.cosh(e / s)), WIDE),
    "lmls": (LMLSLoss, lambda e, a: e**2 - mp.log(1 + a * e**2) / a, WIDE),
    "llad": (partial(LMLSLoss, power=1), lambda e, a: e - mp.log(1 + a * e) / a, WIDE),
    "gaussian": (partial(GaussianNLLLoss, learn=()), lambda e, s: (e / s) ** 2 / 2, WIDE),
    "generalized_cauchy": (
        lambda s: GeneralizedCauchyLoss(1.5, s, learn=()),
        lambda e, s: 2 / mp.mpf(1.5) * mp.log(1 + (e / s) ** mp.mpf(1.5)),
        (1e-3, 1.0, 30.0),
    ),
    "student_t": (
        lambda s: StudentTLoss(3.0, s, learn=()),
        lambda e, s: 2 * mp.log(1 + (e / s) ** 2 / 3),
        (1e-3, 1.0, 30.0),
    ),
}
# By dtype: residuals; the accuracy of the kernels where |log|e|| and |log scale| are as large as they get; the digits
# that the oracle needs so that no square is lost beside 1.
RANGE = {
    torch.float32: ([1e-45, 1e-38, 1e-20, 1e-8, 1e-3, 0.29, 1.0, 7.0, 1e4, 1e19, 3e19, 1e20, 3.4e38], 1e-4, 300),
    F64: ([5e-324, 1e-300, 1e-160, 1e-8, 1e-3, 0.29, 1.0, 7.0, 1e4, 1e154, 1e160, 1e300, 1.7e308], 1e-12, 1400),
}


def close_or_overflowed(got, truth, dtype):
    """The truth to the dtype's accuracy; inf exactly where it lies beyond the largest number of the dtype."""
    truth = [float(x) if abs(x) < 1.797e308 else math.copysign(math.inf, x) for x in truth]
    truth = torch.tensor(truth, dtype=F64).to(dtype)
    torch.testing.assert_close(got, truth, rtol=RANGE[dtype][1], atol=4 * torch.finfo(dtype).tiny)


@pytest.mark.parametrize("dtype", RANGE, ids=["float32", "float64"])
@pytest.mark.parametrize("name", EVERYWHERE)
def test_value_and_derivative_are_the_truth_for_every_residual(name, dtype):
    """Against the published formula and its numerical derivative in 1400 digits; inf only where the truth overflows."""
    make, formula, parameters = EVERYWHERE[name]
    e = torch.tensor(RANGE[dtype][0], dtype=dtype, requires_grad=True)
    with mp.workdps(RANGE[dtype][2]):
        for parameter in torch.tensor(parameters).tolist():  # as they are stored, in float32
            loss, exact = make(parameter).to(dtype), mp.mpf(parameter)
            rho = loss.rho(e)
            (psi,) = torch.autograd.grad(rho.sum(), e)
            points = [mp.mpf(x) for x in e.tolist()]
            close_or_overflowed(rho.detach(), [formula(x, exact) for x in points], dtype)
            slopes = [mp.diff(lambda e, p=exact: formula(e, p), x, relative=True) for x in points]
            # Where the shared kernel divides by a subnormal |e|, that counts as the smallest normal number.
            known = slice(2, None) if name in ("generalized_cauchy", "student_t") else slice(None)
            close_or_overflowed(psi[known], slopes[known], dtype)
            mirrored = (-e.detach()).requires_grad_()
            assert torch.equal(loss.rho(mirrored), rho)
            assert torch.equal(torch.autograd.grad(loss.rho(mirrored).sum(), mirrored)[0], -psi)
            zero = torch.zeros(2, dtype=dtype, requires_grad=True)
            at_zero = loss.rho(zero)
            assert at_zero.tolist() == torch.autograd.grad(at_zero.sum(), zero)[0].tolist() == [0, 0]


# --- Student's t ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dof", "scale"), [(3.0, 1.0), (1.0, 0.05), (30.0, 7.0), (0.5, 1.0)])
def test_student_t_is_torchs_and_scipys_likelihood(dof, scale):
    loss = StudentTLoss(dof, scale, reduction="none").double()
    nu, s = loss.dof.detach(), loss.scale.detach()
    got = loss(*zero_target(RESIDUALS)).detach()
    torch.testing.assert_close(
        got, -torch.distributions.StudentT(nu, 0.0, s).log_prob(RESIDUALS), rtol=1e-10, atol=1e-12
    )
    torch.testing.assert_close(got, -tensor(stats.t.logpdf(RESIDUALS, nu.item(), 0, s.item())), rtol=1e-10, atol=1e-12)
    assert nu.item() == pytest.approx(dof, rel=1e-6)
    assert s.item() == pytest.approx(scale, rel=1e-5)


# --- Barron's loss --------------------------------------------------------------------------------------------------

INF = math.inf
# Everything that has a name, what lies next to the removable singularities, and far away.
SHAPES = [-INF, -1e6, -100.0, -2.0, -0.5, -1e-3, -1e-10, 0.0, 1e-20, 1e-10, 1e-3, 0.5, 1.0, 1.5, 1.999, 1.999999, 2.0,
          2.001, 2.5, 4.0, 10.0, INF]  # fmt: skip


def published(e, alpha, scale):
    """Equation 8 of the paper, and its limit at +inf."""
    half = (e / scale) ** 2 / 2
    if alpha in (INF, -INF):
        return mp.sign(alpha) * mp.expm1(mp.sign(alpha) * half)
    if alpha == 0:
        return mp.log1p(half)
    b = abs(alpha - 2)
    return half if b == 0 else b / alpha * ((2 * half / b + 1) ** (alpha / 2) - 1)


@pytest.mark.parametrize("dtype", RANGE, ids=["float32", "float64"])
@pytest.mark.parametrize("alpha", SHAPES)
def test_barron_rho_and_its_derivatives_are_the_truth(alpha, dtype):
    """Against the published formula and numerical derivatives of it, through all limits, at residuals of any size.

    The derivative in alpha is right to the dtype's accuracy relative to itself plus the value.
    """
    e = torch.tensor([1e-30, 1e-12, 1e-5, 1e-3, 0.1, 1.0, 3.0, 10.0, 1e3, 1e8, 1e18, 1e25, 3e38], dtype=dtype)
    if alpha == INF:
        e = e[:9]  # mpmath itself gives up on exp(1e16)
    e.requires_grad_()
    with mp.workdps(400):
        for scale in torch.tensor([1e-3, 1.0, 50.0], dtype=dtype).tolist():
            shapes = torch.full_like(e, alpha, requires_grad=True)
            scales = torch.full_like(e, scale, requires_grad=True)
            rho = barron_rho(e, shapes, scales)
            psi, in_alpha, in_scale = torch.autograd.grad(rho.sum(), (e, shapes, scales))
            at = [(mp.mpf(x), mp.mpf(shapes[0].item()), mp.mpf(scale)) for x in e.tolist()]
            exact = [published(*p) for p in at]
            close_or_overflowed(rho.detach(), exact, dtype)
            close_or_overflowed(psi, [mp.diff(published, p, (1, 0, 0), relative=True) for p in at], dtype)
            close_or_overflowed(in_scale, [mp.diff(published, p, (0, 0, 1), relative=True) for p in at], dtype)
            if alpha in (INF, -INF):
                assert (in_alpha == 0).all()
            elif shapes[0] == 2:  # where it is infinite: that at the distance of one rounding
                near = torch.full_like(e, 2 - torch.finfo(dtype).eps, requires_grad=True)
                (expected,) = torch.autograd.grad(barron_rho(e.detach(), near, scales.detach()).sum(), near)
                torch.testing.assert_close(in_alpha, expected, rtol=RANGE[dtype][1], atol=0)
            else:
                slopes = [mp.diff(published, p, (0, 1, 0), h=mp.mpf(10) ** -100) for p in at]
                close_or_overflowed(in_alpha + rho.detach(), [s + r for s, r in zip(slopes, exact, strict=True)], dtype)
                assert (in_alpha >= 0).all()


def test_barron_special_cases():
    """The losses that the paper names, by their own formulas."""
    e, c = RESIDUALS[1:-1], 0.7
    u = e / c
    for alpha, expected in {
        2.0: u**2 / 2,
        1.0: u**2 / (1 + torch.sqrt(u**2 + 1)),
        0.0: torch.log1p(u**2 / 2),
        -2.0: 2 * u**2 / (u**2 + 4),
        -INF: -torch.expm1(-(u**2) / 2),
    }.items():
        torch.testing.assert_close(barron_rho(e, alpha, c), expected, rtol=1e-14, atol=0)
    torch.testing.assert_close(barron_rho(e, 1.0, 1.0), PseudoHuberLoss().double().rho(e), rtol=1e-14, atol=0)
    assert barron_rho(e, 2, 1).dtype == F64  # whole numbers


def test_barron_rho_increases_with_alpha():
    """Section 2 of the paper: monotone in alpha at every residual."""
    alpha = tensor(sorted([*SHAPES, -30.0, -1.0, 0.25, 3.0]))
    rho = barron_rho(tensor([1e-3, 0.5, 2.0, 5.0])[:, None], alpha, 1.0)
    assert (rho.diff() >= -1e-14 * rho[:, 1:]).all()
    assert (rho[1:].diff() > 0).sum() > 3 * len(SHAPES)


@pytest.mark.parametrize("alpha", [-2.0, 0.0, 0.3, 1.0, 1.9, 3.0])
def test_barron_second_derivatives_by_every_route(alpha):
    arguments = [x.requires_grad_() for x in (tensor([-3.0, -0.4, 0.0, 0.2, 1.7]), tensor(alpha), tensor(0.8))]
    assert torch.autograd.gradcheck(barron_rho, arguments)
    assert torch.autograd.gradgradcheck(barron_rho, arguments)

    def total(*arguments):
        return barron_rho(*arguments).sum()

    every, plain = (0, 1, 2), [x.detach() for x in arguments]
    hessian = torch.func.jacrev(torch.func.jacrev(total, every), every)(*plain)
    torch.testing.assert_close(torch.func.hessian(total, every)(*plain), hessian)
    compiled = torch.compile(total, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(
        torch.autograd.grad(compiled(*arguments), arguments), torch.autograd.grad(total(*arguments), arguments)
    )


def test_barron_takes_a_batch_of_shapes():
    alpha = tensor([-INF, -2.0, 0.0, 1.0, 2.0])
    e = RESIDUALS[:, None]
    one_by_one = torch.stack([barron_rho(RESIDUALS, a.item(), 0.7) for a in alpha], -1)
    torch.testing.assert_close(barron_rho(e, alpha, 0.7), one_by_one)
    torch.testing.assert_close(torch.func.vmap(lambda a: barron_rho(RESIDUALS, a, 0.7), out_dims=-1)(alpha), one_by_one)


@pytest.mark.parametrize(
    "alpha", [0.0, 1e-10, 1e-3, 0.3, 0.999, 1.0, 1.5, 1.9, 1.999, 1.999999, 2.0, 2.0001, 2.5, 4.0, 30.0, INF]
)
def test_barron_partition_against_quadrature(alpha):
    """mpmath on the published formula, with x = sinh(t)."""
    breaks = [0, 1e-3, 1e-2, 0.1, 0.5, 1, 1.5, 2, 2.5, *((3, 3.5) if alpha > 1 else (3, 4, 6, 10, 20, 40, 60))]
    with mp.workdps(20):
        a = mp.mpf(alpha)
        exact = mp.log(mp.quad(lambda t: 2 * mp.exp(-published(mp.sinh(t), a, 1)) * mp.cosh(t), breaks))
    assert barron_log_partition(tensor(alpha)).item() == pytest.approx(float(exact), abs=1e-12)
    assert barron_log_partition(torch.tensor(alpha)).item() == pytest.approx(float(exact), abs=1e-6)


def test_barron_partition_at_its_limits():
    """sqrt(2 pi) for the Gaussian, 2 e K_1(1) for Charbonnier, pi sqrt(2) for Cauchy; no density below 0."""
    charbonnier = math.log(2 * math.e * float(mp.besselk(1, 1)))
    exact = tensor([math.log(math.pi * math.sqrt(2)), charbonnier, math.log(2 * math.pi) / 2, INF, INF])
    torch.testing.assert_close(barron_log_partition(tensor([0.0, 1.0, 2.0, -1e-9, -INF])), exact, rtol=1e-13, atol=0)


def test_barron_partition_takes_a_batch_and_a_gradient():
    alpha = tensor([[0.3, 1.0], [1.5, 1.9], [2.1, 5.0]]).requires_grad_()
    values = barron_log_partition(alpha)
    torch.testing.assert_close(values, torch.stack([barron_log_partition(a) for a in alpha.flatten()]).reshape(3, 2))
    assert torch.autograd.gradcheck(barron_log_partition, [alpha])
    assert torch.autograd.gradgradcheck(barron_log_partition, [alpha])
    limits = tensor([-1.0, 0.0, 2.0, INF]).requires_grad_()
    (slope,) = torch.autograd.grad(barron_log_partition(limits)[1:].sum(), limits)
    (beside,) = torch.autograd.grad(barron_log_partition(beside := tensor(1e-9).requires_grad_()), beside)
    assert slope[1].item() == pytest.approx(beside.item(), rel=1e-6)
    assert slope.isfinite().all()
    assert slope[3] == 0


@pytest.mark.parametrize(
    ("alpha", "law"), [(2.0, stats.norm(scale=0.8)), (0.0, stats.cauchy(scale=0.8 * math.sqrt(2)))]
)
@pytest.mark.parametrize("learn", [(), ("scale",)])
def test_barron_is_the_gaussian_and_the_cauchy_likelihood_at_its_limits(alpha, law, learn):
    loss = BarronLoss(alpha, 0.8, learn=learn, reduction="none").double()
    torch.testing.assert_close(
        loss(*zero_target(RESIDUALS)).detach(), -tensor(law.logpdf(RESIDUALS)), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("alpha", [0.0, 2.0, 3.0, INF])
def test_the_scale_of_a_fixed_shape_is_learned(alpha):
    """At the maximum of the likelihood the scores' mean is 0: mean of x psi(x), x = e / scale, is 1."""
    e = torch.distributions.Normal(tensor(0.0), tensor(0.3)).icdf(torch.linspace(0.001, 0.999, 2001, dtype=F64))
    loss = minimise(BarronLoss(alpha, 1.0, learn="scale").double(), e)
    x = [mp.mpf(v) for v in (e / loss.scale.detach()).tolist()]
    mean = sum(v * mp.diff(lambda t: published(t, mp.mpf(alpha), 1), v) for v in x) / len(x)
    assert float(mean) == pytest.approx(1.0, abs=1e-4)
    assert loss.alpha.item() == alpha


@pytest.mark.parametrize("alpha", [-INF, -2.0, -1e-3])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_a_negative_shape_is_a_plain_bounded_loss(alpha, reduction):
    loss = BarronLoss(alpha, 0.7, learn=(), reduction=reduction).double()
    assert loss.log_normalizer() is None
    e = tensor([0.3, -4.0, 1e300])
    expected = tensor([float(published(mp.mpf(v), mp.mpf(alpha), mp.mpf(loss.scale.item()))) for v in e.tolist()])
    expected = expected if reduction == "none" else getattr(expected, reduction)()
    torch.testing.assert_close(loss(*zero_target(e)), expected)
    with pytest.raises(ValueError, match="residuals must be finite; got 1 of 2"):
        loss(*zero_target(tensor([1.0, INF])))
    again = BarronLoss(-1.0, learn=())
    again.load_state_dict(loss.state_dict())
    assert repr(again.double()) == repr(loss).replace(reduction, "mean")


def test_influence_of_geman_mcclure_and_welsch():
    """Peaks by hand: psi = 16 x / (x^2 + 4)^2 at x^2 = 4/3, and x exp(-x^2 / 2) at 1."""
    for alpha, height, place in ((-2.0, 16 * math.sqrt(4 / 3) / (16 / 3) ** 2, math.sqrt(4 / 3)), (-INF, 0.5**0.5, 1)):
        influence = Influence(BarronLoss(alpha, 1.0, learn=()))
        expected = height if alpha == -2 else math.exp(-0.5)
        assert influence.supremum() == pytest.approx((expected, place), rel=1e-6)
        assert influence.redescends()


def test_student_t_and_barron_recover_theirs():
    torch.manual_seed(5)
    e = torch.distributions.StudentT(tensor(4.0), tensor(0.0), tensor(0.3)).sample((20_000,))
    loss = minimise(StudentTLoss().double(), e)
    dof, _, scale = stats.t.fit(e.numpy(), floc=0)  # scipy's optimiser on scipy's density
    assert loss.dof.item() == pytest.approx(dof, rel=1e-3)
    assert loss.scale.item() == pytest.approx(scale, rel=1e-3)
    # Charbonnier's density by inversion of its numerically integrated distribution function
    x = torch.linspace(-40, 40, 200_001, dtype=F64)
    cumulative = torch.cumsum(torch.exp(-(torch.sqrt((x / 0.4) ** 2 + 1) - 1)), 0)
    uniform = torch.rand(20_000, dtype=F64) * cumulative[-1]
    loss = minimise(BarronLoss(0.5, 1.0).double(), x[torch.searchsorted(cumulative, uniform)])
    assert loss.alpha.item() == pytest.approx(1.0, abs=0.1)
    assert loss.scale.item() == pytest.approx(0.4, rel=0.1)


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (StudentTLoss(), "StudentTLoss(dof=3, scale=1, learn=('dof', 'scale'), reduction='mean')"),
        (BarronLoss(), "BarronLoss(alpha=1, scale=1, learn=('alpha', 'scale'), reduction='mean')"),
    ],
)
def test_printed_form_shows_current_values(loss, text):
    assert repr(loss) == text


ILLEGAL = [
    (StudentTLoss, {"dof": -1.0}, "dof must be positive and finite; got -1"),
    (StudentTLoss, {"dof": 0.1}, "dof must exceed dof_min=0.1 when it is learned; got 0.1"),
    (StudentTLoss, {"dof": torch.ones(1)}, r"dof must be a single number; got shape \(1,\)"),
    (StudentTLoss, {"scale": 1e-3}, "scale must exceed scale_min=0.001 when it is learned; got 0.001"),
    (StudentTLoss, {"learn": "alpha"}, "learn may name dof, scale; got 'alpha'"),
    (StudentTLoss, {"dof_min": 0}, "dof_min must be positive and finite"),
    (BarronLoss, {"alpha": 2.0}, r"alpha must lie in \(0.001, 1.999\) when it is learned; got 2"),
    (BarronLoss, {"alpha": 0.001}, r"alpha must lie in \(0.001, 1.999\) when it is learned; got 0.001"),
    (BarronLoss, {"alpha": -2.0}, r"alpha must lie in \(0.001, 1.999\) when it is learned; got -2"),
    (BarronLoss, {"alpha": -2.0, "learn": "scale"}, "scale cannot be learned where alpha < 0.*fix it with.*; got -2"),
    (BarronLoss, {"alpha": -INF, "learn": ("scale",)}, "scale cannot be learned where alpha < 0.*; got -inf"),
    (BarronLoss, {"alpha": math.nan, "learn": ()}, "alpha must be a number, or inf or -inf; got nan"),
    (BarronLoss, {"alpha": "two"}, "alpha must be a number or a tensor of them; got 'two'"),
    (BarronLoss, {"scale": 1e-3}, "scale must exceed scale_min=0.001 when it is learned; got 0.001"),
    (BarronLoss, {"scale": 0.0}, "scale must be positive and finite; got 0"),
    (BarronLoss, {"learn": ("dof",)}, "learn may name alpha, scale; got 'dof'"),
    (BarronLoss, {"scale_min": math.nan}, "scale_min must be positive and finite; got nan"),
]


@pytest.mark.parametrize(("loss", "options", "message"), ILLEGAL)
def test_illegal_argument_is_named_with_its_legal_values(loss, options, message):
    with pytest.raises(ValueError, match=message):
        loss(**options)


def test_integer_residuals():
    whole = torch.tensor([-3, 0, 2])
    torch.testing.assert_close(barron_rho(whole, 0.5, 0.7), barron_rho(whole.float(), 0.5, 0.7))


# --- parameters of their own per channel and per pixel --------------------------------------------------------------

SHAPED = {
    "student_t": {"dof": (2.5, 5.0, 30.0), "scale": (0.1, 1.0, 4.0)},
    "barron": {"alpha": (0.3, 1.0, 1.7), "scale": (0.1, 1.0, 4.0)},
    "gaussian": {"scale": (0.1, 1.0, 4.0)},
    "generalized_cauchy": {"alpha": (1.2, 2.0, 3.0), "scale": (0.1, 1.0, 4.0)},
}
shaped = pytest.mark.parametrize("name", SHAPED)


def per_channel(name, **options):
    values = {key: torch.tensor(value)[:, None, None] for key, value in SHAPED[name].items()}
    return LOSSES[name](**values, parameter_shape=(3, 1, 1), **options).double()


@shaped
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_parameters_per_channel_are_three_losses_side_by_side(name, reduction):
    torch.manual_seed(7)
    input, target = torch.randn(2, 4, 3, 5, 6, dtype=F64).unbind()
    loss, e = per_channel(name, reduction=reduction), input.clone().requires_grad_()
    value = loss(e, target)
    one_by_one = [
        LOSSES[name](**{key: v[i] for key, v in SHAPED[name].items()}, reduction="none").double()(
            input[:, i], target[:, i]
        )
        for i in range(3)
    ]
    expected = torch.stack(one_by_one, 1)
    torch.testing.assert_close(value, expected if reduction == "none" else getattr(expected, reduction)())
    weight = torch.linspace(1.0, 2.0, value.numel(), dtype=F64).reshape(value.shape)
    (value * weight).sum().backward()
    assert e.grad.isfinite().all()
    for parameter in loss.parameters():
        assert parameter.shape == (3, 1, 1)
        assert parameter.grad.isfinite().all()
        assert (parameter.grad != 0).all()


@shaped
def test_channels_learn_parameters_of_their_own(name):
    torch.manual_seed(8)
    scales = tensor([0.05, 0.5, 5.0])[:, None, None]
    e = scales * torch.distributions.StudentT(tensor(3.0)).sample((1, 3, 40, 100))
    loss = minimise(LOSSES[name](parameter_shape=(3, 1, 1)).double(), e)
    alone = minimise(LOSSES[name]().double(), e[:, 1] / 0.5)
    torch.testing.assert_close(loss.scale[1].squeeze(), alone.scale * 0.5, rtol=1e-2, atol=0)
    assert (loss.scale / scales).max() < 1.5 * (loss.scale / scales).min()


@shaped
def test_parameters_per_pixel(name):
    loss = LOSSES[name](parameter_shape=(1, 4, 5), reduction="sum")
    loss(torch.randn(6, 1, 4, 5), torch.zeros(6, 1, 4, 5)).backward()
    assert all(p.grad.shape == (1, 4, 5) for p in loss.parameters())
    assert "scale=<1x4x5>" in repr(loss)
    with pytest.raises(ValueError, match=r"parameter_shape=\(1, 4, 5\) must broadcast against the input"):
        loss(torch.zeros(6, 1, 5, 5), torch.zeros(6, 1, 5, 5))
    with pytest.raises(ValueError, match="parameter_shape must be a sequence of positive integers"):
        LOSSES[name](parameter_shape=(3, 0))
    with pytest.raises(ValueError, match=r"scale does not fit parameter_shape=\(2,\); got shape \(3,\)"):
        LOSSES[name](scale=torch.ones(3), parameter_shape=(2,))


def test_fixed_shapes_may_differ_per_channel():
    """Welsch, Cauchy and Gaussian in one loss: with a negative shape among them, a plain one."""
    alpha = torch.tensor([-INF, 0.0, 2.0])[:, None, None]
    loss = BarronLoss(alpha, 1.0, learn=(), parameter_shape=(3, 1, 1), reduction="none").double()
    e = torch.full((1, 3, 1, 2), 1.5, dtype=F64)
    expected = tensor([1 - math.exp(-1.125), math.log(2.125), 1.125])
    torch.testing.assert_close(loss(*zero_target(e))[0, :, 0, 0], expected)
    with pytest.raises(ValueError, match=r"scale cannot be learned where alpha < 0.*got \[-inf .. 2\]"):
        BarronLoss(alpha, learn="scale", parameter_shape=(3, 1, 1))
