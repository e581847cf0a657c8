"""The two-piece Student-t against scipy, quadrature and simulation."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from textbook import descend

from alcl import StudentTLoss
from alcl.related.skewed import SkewedStudentTLoss

pytestmark = pytest.mark.usefixtures("double_precision")


def density(e, dof, scale, skew):
    side = np.where(np.asarray(e) >= 0, skew, 1 / skew)
    return 2 / (skew + 1 / skew) * stats.t(dof, scale=scale).pdf(np.asarray(e) / side)


def value(loss, e):
    e = torch.as_tensor(e, dtype=torch.float64)
    return loss(e, torch.zeros_like(e)).detach().numpy()


@pytest.mark.parametrize("dof", [1.0, 3.0, 30.0])
@pytest.mark.parametrize("skew", [0.3, 1.0, 2.5])
def test_agrees_with_scipy_and_is_a_density(dof, skew):
    loss = SkewedStudentTLoss(dof, 0.7, skew, reduction="none")
    e = np.array([-1e6, -3.0, -0.2, 0.0, 1e-8, 0.4, 5.0, 1e6])
    np.testing.assert_allclose(value(loss, e), -np.log(density(e, dof, 0.7, skew)), rtol=1e-10)
    halves = [integrate.quad(lambda x: np.exp(-value(loss, [x])[0]), *ends)[0] for ends in ((-np.inf, 0), (0, np.inf))]
    assert sum(halves) == pytest.approx(1, abs=1e-7)
    assert halves[1] == pytest.approx(skew**2 / (1 + skew**2), abs=1e-7)


def test_without_skewness_it_is_student_t():
    e = torch.linspace(-5, 5, 31)
    plain, skewed = StudentTLoss(2.0, 0.5, reduction="none"), SkewedStudentTLoss(2.0, 0.5, reduction="none")
    torch.testing.assert_close(skewed(e, 0 * e), plain(e, 0 * e))


@pytest.mark.parametrize("shape", [(), (3,)])
def test_gradients(shape):
    loss = SkewedStudentTLoss(2.0, 0.5, 1.5, parameter_shape=shape)
    e = torch.tensor([[-2.0, 0.3, 1.0], [0.1, -0.4, 7.0]], requires_grad=True)
    names, start = zip(*loss.named_parameters(), strict=True)

    def of(e, *parameters):
        return torch.func.functional_call(loss, dict(zip(names, parameters, strict=True)), (e, torch.zeros_like(e)))

    inputs = (e, *(p.detach().clone().requires_grad_() for p in start))
    assert torch.autograd.gradcheck(of, inputs)
    assert torch.autograd.gradgradcheck(of, inputs)


def test_learns_the_skewness_of_what_is_drawn():
    g = np.random.default_rng(0)
    skew, count = 2.0, 20_000
    size = np.abs(stats.t(4).rvs(count, random_state=g))
    above = g.random(count) < skew**2 / (1 + skew**2)
    e = torch.as_tensor(np.where(above, size * skew, -size / skew))
    loss = SkewedStudentTLoss(dof=10.0, scale=3.0)
    descend(loss, e)
    assert loss.skew.item() == pytest.approx(skew, rel=0.03)
    assert loss.scale.item() == pytest.approx(1, rel=0.05)
    assert loss.dof.item() == pytest.approx(4, rel=0.15)


def test_influence_is_bounded_and_redescends_on_both_sides():
    loss = SkewedStudentTLoss(1.0, 1.0, 3.0)
    e = torch.tensor([-1e4, -1 / 3, 3.0, 1e4]).requires_grad_()
    (psi,) = torch.autograd.grad(loss.rho(e).sum(), e)
    # Cauchy's influence 2u / (1 + u^2) over its scale, 1/3 below and 3 above: at one scale it is 1 over it, its largest
    assert psi[1].item() == pytest.approx(-3)
    assert psi[2].item() == pytest.approx(1 / 3)
    assert psi.abs()[[0, 3]].max() < 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [({"skew": 0.0}, "skew must be"), ({"skew": 0.01}, "skew must exceed"), ({"learn": ("alpha",)}, "learn")],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        SkewedStudentTLoss(**options)
