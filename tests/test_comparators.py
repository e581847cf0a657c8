"""The comparators against closed forms in mpmath, quadrature and scipy; gradients; learning; bad input."""

import math
import pickle

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy import integrate, stats

from alcl.catalogue import LOSSES
from alcl.comparators import (
    GaussianNLLLoss,
    GeneralizedCauchyLoss,
    LMLSLoss,
    LogCoshLoss,
    PseudoHuberLoss,
    ScheduledPseudoHuberLoss,
)
from alcl.influence import Influence
from alcl.losses import CauchyLoss

COMPARATORS = [name for name, loss in LOSSES.items() if loss.__module__ == "alcl.comparators"]
F64 = torch.float64
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


@pytest.mark.parametrize("learned", [GaussianNLLLoss(0.7), GeneralizedCauchyLoss(1.3, 0.7)])
def test_gradients_of_learned_parameters(learned):
    learned = learned.double()
    e = torch.tensor([-3.0, -0.4, 0.2, 1.7], dtype=F64)
    names = [name for name, _ in learned.named_parameters()]

    def value(*raw):
        return torch.func.functional_call(learned, dict(zip(names, raw, strict=True)), (e, torch.zeros_like(e)))

    assert torch.autograd.gradcheck(value, tuple(learned.parameters()))


@pytest.mark.parametrize("loss", [GaussianNLLLoss(0.3), GeneralizedCauchyLoss(1.2, 2.0), GeneralizedCauchyLoss(4.0)])
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
        (lambda: GaussianNLLLoss(0.0), "scale must be positive and finite; got 0.0"),
        (lambda: GaussianNLLLoss(1e-4), "scale must exceed 0.001 when it is learned"),
        (lambda: GaussianNLLLoss(learn=("beta",)), "learn may name scale; got 'beta'"),
        (lambda: GeneralizedCauchyLoss(alpha=0.05), "alpha must exceed 0.1"),
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
