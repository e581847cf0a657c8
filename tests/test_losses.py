"""The losses against torch's own, scipy, quadrature and closed forms; what they promise while they learn; and a proof
that these oracles notice mistakes.

`test_every_mutant_is_noticed` puts some sixty mistakes, one at a time, into the source of _kernels.py, losses.py,
barron.py, comparators.py and others, and demands that a compact battery of independent checks rejects each (and accepts
the original); every check of the battery must be what rejects some mutant. `MUTANTS` is the table of mistakes and of
the checks expected to notice them.
"""

import copy
import inspect
import io
import math
import pickle
import sys
import types
import warnings
from functools import partial
from pathlib import Path
from unittest import mock

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import integrate, special, stats
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.func import functional_call, hessian, jacfwd, jacrev, vmap

from alcl import _kernels as kernels
from alcl import _rows as rows
from alcl import barron, base, comparators, functional, losses
from alcl.base import LOOKS, PATIENCE, AdaptiveLoss
from alcl.catalogue import LOSSES, make_loss
from alcl.censored import CensoredALCLoss
from alcl.comparators import BarronLoss, StudentTLoss
from alcl.contaminated import ContaminatedALCLoss
from alcl.distributions import GeneralizedT
from alcl.functional import alcl_loss, correntropy_loss, generalized_correntropy_loss, log_correntropy
from alcl.losses import ALCLoss, CauchyLoss, GeneralizedCorrentropyLoss, HuberLoss, L1Loss, MSELoss, optimizer_groups

F64 = torch.float64
REDUCTIONS = ("none", "mean", "sum")
LEARNED = {
    "alcl": ALCLoss,
    "alcl_kappa": partial(ALCLoss, kappa=2.0, learn=("alpha", "beta", "kappa")),
    "student_t": StudentTLoss,
    "barron": BarronLoss,
}
learned = pytest.mark.parametrize("make", LEARNED.values(), ids=LEARNED)
every_loss = pytest.mark.parametrize("name", LOSSES)
ADAPTIVE = [name for name in LOSSES if isinstance(make_loss(name), AdaptiveLoss)]


def tensor(x):
    return torch.as_tensor(x, dtype=F64)


def pair(*shape, seed=0, dtype=F64):
    g = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=g, dtype=F64).to(dtype) for _ in range(2))


def zero_target(residual):
    return residual, torch.zeros_like(residual)


RESIDUALS = tensor([-1e4, -30.0, -3.0, -1.0, -0.4, -1e-3, 0.0, 1e-8, 0.2, 0.9, 2.5, 17.0, 1e6])


# --- arguments ------------------------------------------------------------------------------------------------------

ILLEGAL = [
    (ALCLoss, {"alpha": 1.0}, r"alpha must exceed 1/kappa.*alpha > 1 for kappa = 1.*alpha=1, kappa=1"),
    (ALCLoss, {"alpha": 0.5}, "alpha must exceed 1/kappa"),
    (ALCLoss, {"alpha": 1.5, "kappa": 0.6}, r"alpha must exceed 1/kappa.*alpha=1.5, kappa=0.6"),
    (ALCLoss, {"alpha": 2.0, "kappa": 0.5, "learn": ("kappa",)}, "alpha must exceed 1/kappa"),
    (ALCLoss, {"alpha": 2.0, "kappa": 0.5 + 1e-7, "learn": "kappa"}, "kappa must exceed 1/alpha"),
    (ALCLoss, {"alpha": 1.4, "alpha_min": 1.5}, r"alpha must exceed alpha_min=1.5 when it is learned; got alpha=1.4"),
    (ALCLoss, {"alpha": 1.0, "kappa": 3.0}, r"alpha must exceed alpha_min=1 when it is learned"),
    (ALCLoss, {"alpha": 0.9, "normalized": False}, r"alpha must exceed alpha_min=1 when it is learned"),
    (ALCLoss, {"alpha": -2.0}, "alpha must be positive and finite; got -2"),
    (ALCLoss, {"alpha": 0.0}, "alpha must be positive and finite; got 0"),
    (ALCLoss, {"alpha": math.nan}, "alpha must be positive and finite; got nan"),
    (ALCLoss, {"alpha": math.inf}, "alpha must be positive and finite; got inf"),
    (ALCLoss, {"alpha": "two"}, "alpha must be a positive number or a tensor of them; got 'two'"),
    (ALCLoss, {"alpha": None}, "alpha must be a positive number or a tensor of them; got None"),
    (ALCLoss, {"alpha": [2.0, 3.0]}, r"alpha must be a single number; got shape \(2,\)"),
    (ALCLoss, {"alpha": [2.0, -3.0], "parameter_shape": (2,)}, r"alpha must be positive and finite; got \[-3 .. 2\]"),
    (ALCLoss, {"beta": 0.0}, "beta must be positive and finite; got 0"),
    (ALCLoss, {"beta": 1e-3}, r"beta must exceed beta_min=0.001 when it is learned; got beta=0.001"),
    (ALCLoss, {"beta": 1.0, "beta_min": 2.0}, r"beta must exceed beta_min=2 when it is learned; got beta=1"),
    (ALCLoss, {"beta": torch.ones(3), "parameter_shape": (2,)}, r"beta does not fit parameter_shape=\(2,\).*\(3,\)"),
    (ALCLoss, {"kappa": -1.0}, "kappa must be positive and finite; got -1"),
    (ALCLoss, {"alpha_min": 0.0}, "alpha_min must be positive and finite; got 0"),
    (ALCLoss, {"alpha_min": None}, "alpha_min must be positive and finite; got None"),
    (ALCLoss, {"beta_min": -1e-3}, "beta_min must be positive and finite; got -0.001"),
    (ALCLoss, {"beta_min": "small"}, "beta_min must be positive and finite; got 'small'"),
    (ALCLoss, {"learn": ("alpha", "gamma")}, "learn may name alpha, beta, kappa; got 'gamma'"),
    (ALCLoss, {"learn": "dof"}, "learn may name alpha, beta, kappa; got 'dof'"),
    (ALCLoss, {"learn": None}, "learn may name alpha, beta, kappa; got None"),
    (ALCLoss, {"parameter_shape": 3}, "parameter_shape must be a sequence of positive integers.*got 3"),
    (ALCLoss, {"parameter_shape": (3, 0)}, r"parameter_shape must be a sequence of positive integers.*got \(3, 0\)"),
    (ALCLoss, {"parameter_shape": (-1,)}, "parameter_shape must be a sequence of positive integers"),
    (ALCLoss, {"parameter_shape": (1.5,)}, "parameter_shape must be a sequence of positive integers"),
    (ALCLoss, {"reduction": "avg"}, "reduction must be one of none, mean, sum; got 'avg'"),
    (MSELoss, {"reduction": None}, "reduction must be one of none, mean, sum; got None"),
    (L1Loss, {"reduction": "average"}, "reduction must be one of"),
    (HuberLoss, {"delta": 0.0}, "delta must be positive and finite; got 0.0"),
    (HuberLoss, {"delta": torch.ones(2)}, "delta must be positive and finite"),
    (CauchyLoss, {"scale": -1.0}, "scale must be positive and finite; got -1.0"),
    (GeneralizedCorrentropyLoss, {"alpha": math.inf}, "alpha must be positive and finite; got inf"),
    (GeneralizedCorrentropyLoss, {"beta": 0}, "beta must be positive and finite; got 0"),
]


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    ILLEGAL,
    ids=[f"{c.__name__}-{'-'.join(o)}-{i}" for i, (c, o, _) in enumerate(ILLEGAL)],
)
def test_illegal_argument_is_named_with_its_legal_values(loss, options, message):
    with pytest.raises(ValueError, match=message):
        loss(**options)


LEGAL = [
    {},
    {"alpha": 1.0 + 1e-5},
    {"alpha": 50.0, "beta": 1e4},
    {"alpha": 1.0, "kappa": 3.0, "learn": "beta"},
    {"alpha": 0.7, "kappa": 2.0, "alpha_min": 0.6},
    {"alpha": 0.5, "normalized": False, "learn": ()},
    {"alpha": 0.5, "normalized": False, "alpha_min": 0.1},
    {"beta": 1e-3, "learn": "alpha"},
    {"beta": 1e-9, "learn": ()},
    {"beta": 1.001e-3},
    {"kappa": 0.51},
    {"kappa": 0.51, "learn": ["kappa"]},
    {"kappa": 40.0, "learn": ("kappa", "alpha", "beta")},
    {"parameter_shape": [3, 1, 1], "alpha": 3.0},
    {"parameter_shape": torch.Size([2]), "alpha": [1.5, 2.5], "beta": torch.tensor([0.1, 9.0])},
    {"parameter_shape": (2, 3), "beta": np.array([0.1, 1.0, 9.0])},
]


@pytest.mark.parametrize("options", LEGAL, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_legal_arguments_give_back_their_values(options, reduction):
    loss = ALCLoss(**options, reduction=reduction)
    shape = tuple(options.get("parameter_shape", ()))
    for name, default in (("alpha", 2.0), ("beta", 1.0), ("kappa", 1.0)):
        value = getattr(loss, name)
        assert value.shape == shape
        expected = torch.as_tensor(options.get(name, default), dtype=torch.float32).expand(shape)
        torch.testing.assert_close(value.detach(), expected, rtol=3e-6, atol=0)
        learn = options.get("learn", ("alpha", "beta"))
        assert (f"raw_{name}" in dict(loss.named_parameters())) == (
            name in ([learn] if isinstance(learn, str) else learn)
        )
    value = loss(torch.randn(4, *shape), torch.zeros(4, *shape))
    assert value.isfinite().all()
    assert value.shape == ((4, *shape) if reduction == "none" else ())


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_parameters_take_the_default_type(dtype):
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        assert {p.dtype for p in ALCLoss(alpha=torch.tensor(2.5, dtype=F64)).parameters()} == {dtype}
    finally:
        torch.set_default_dtype(before)


def test_values_given_as_tensors_are_copied():
    beta = torch.ones(3)
    loss = ALCLoss(beta=beta, parameter_shape=(3,), learn=())
    beta.zero_()
    assert (loss.beta == 1).all()


@every_loss
def test_input_and_target_must_have_one_shape(name):
    with pytest.raises(ValueError, match=r"input and target must have one shape; got \(3, 1\) and \(3,\)"):
        make_loss(name)(torch.zeros(3, 1), torch.zeros(3))


@pytest.mark.parametrize("shape", [(2, 4, 5, 5), (3, 5), (5,), ()])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_parameter_shape_must_fit_the_input(shape, reduction):
    loss = ALCLoss(parameter_shape=(3, 1, 1), reduction=reduction)
    with pytest.raises(ValueError, match=r"parameter_shape=\(3, 1, 1\) must broadcast against the input"):
        loss(torch.zeros(shape), torch.zeros(shape))


@pytest.mark.parametrize("function", [alcl_loss, generalized_correntropy_loss])
def test_functional_forms_check_the_reduction_and_the_shapes(function):
    with pytest.raises(ValueError, match="reduction must be one of none, mean, sum; got 'max'"):
        function(torch.zeros(2), torch.zeros(2), 2.0, 1.0, reduction="max")
    with pytest.raises(ValueError, match="input and target must have one shape"):
        function(torch.zeros(2), torch.zeros(1), 2.0, 1.0)


# --- values: torch's own, scipy, closed forms -----------------------------------------------------------------------


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    ("ours", "torchs"),
    [
        (MSELoss, nn.MSELoss),
        (L1Loss, nn.L1Loss),
        (partial(HuberLoss, delta=0.7), partial(nn.HuberLoss, delta=0.7)),
        (HuberLoss, nn.HuberLoss),
    ],
)
def test_mse_l1_and_huber_are_torchs(ours, torchs, reduction):
    input, target = pair(4, 5)
    one, two = input.clone().requires_grad_(), input.clone().requires_grad_()
    a, b = ours(reduction=reduction)(one, target), torchs(reduction=reduction)(two, target)
    torch.testing.assert_close(a, b, rtol=1e-14, atol=0)
    a.sum().backward()
    b.sum().backward()
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-14, atol=0)


@pytest.mark.parametrize("scale", [0.03, 1.0, 40.0])
def test_cauchy_is_its_closed_form(scale):
    expected = torch.log1p((RESIDUALS / scale) ** 2)
    got = CauchyLoss(scale, reduction="none")(*zero_target(RESIDUALS))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-25)
    got = CauchyLoss(scale)(*zero_target(RESIDUALS))
    torch.testing.assert_close(got, expected.mean(), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 1.0), (1.0, 0.2), (4.0, 30.0)])
def test_generalized_correntropy_is_its_closed_form(alpha, beta):
    expected = -torch.expm1(-((RESIDUALS.abs() / beta) ** alpha))
    module = GeneralizedCorrentropyLoss(alpha, beta, reduction="none")
    torch.testing.assert_close(module(*zero_target(RESIDUALS)), expected, rtol=1e-11, atol=1e-25)
    for reduction, value in (("none", expected), ("mean", expected.mean()), ("sum", expected.sum())):
        got = generalized_correntropy_loss(*zero_target(RESIDUALS), alpha, beta, reduction)
        torch.testing.assert_close(got, value, rtol=1e-11, atol=1e-25)


def test_alcl_at_alpha_2_and_kappa_1_is_the_cauchy_likelihood():
    for beta in (0.01, 1.0, 25.0):
        got = alcl_loss(*zero_target(RESIDUALS), 2.0, beta, reduction="none")
        torch.testing.assert_close(
            got, -torch.distributions.Cauchy(tensor(0.0), beta).log_prob(RESIDUALS), rtol=1e-12, atol=1e-12
        )
        torch.testing.assert_close(got, -tensor(stats.cauchy.logpdf(RESIDUALS, scale=beta)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("alpha", "beta", "kappa"), [(2.0, 1.0, 1.0), (1.1, 0.2, 1.0), (3.0, 5.0, 0.5), (1.5, 0.7, 12.0)]
)
@pytest.mark.parametrize("learn", [(), ("alpha", "beta"), ("alpha", "beta", "kappa")])
def test_alcl_is_the_likelihood_of_the_generalized_t(alpha, beta, kappa, learn):
    loss = ALCLoss(alpha, beta, kappa, learn=learn, reduction="none").double()
    density = GeneralizedT(loss.alpha.detach(), loss.beta.detach(), loss.kappa.detach())
    torch.testing.assert_close(
        loss(*zero_target(RESIDUALS)).detach(), -density.log_prob(RESIDUALS), rtol=1e-11, atol=1e-11
    )


@pytest.mark.parametrize(
    "loss",
    [
        ALCLoss(2.0, 0.5),
        ALCLoss(1.3, 0.5),
        ALCLoss(3.0, 2.0, 0.6),
        ALCLoss(1.5, 1.0, 4.0, learn=("alpha", "beta", "kappa")),
    ],
    ids=repr,
)
def test_exp_of_minus_a_likelihood_integrates_to_one(loss):
    loss = loss.double()
    loss.reduction = "none"

    def mass(log_e):  # on a log scale, where the heaviest of these tails decays exponentially
        e = tensor([math.exp(log_e)])
        return 2 * math.exp(log_e - loss(*zero_target(e)).item())

    with torch.no_grad():
        total, _ = integrate.quad(mass, -80, 250, points=[-5, 0, 5], limit=500, epsabs=1e-10)
    assert total == pytest.approx(1.0, abs=1e-7)


def test_a_likelihood_may_be_negative():
    assert ALCLoss(beta=0.01)(torch.zeros(5), torch.zeros(5)) < 0


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("shape", [(), (5,), (3, 1, 1), (4, 3, 1, 1), (4, 3, 5, 5)])
def test_reductions_follow_from_the_elementwise_loss(shape, reduction):
    g = torch.Generator().manual_seed(1)
    options = {"alpha": 1.2 + 3 * torch.rand(shape, generator=g), "beta": 0.1 + torch.rand(shape, generator=g)}
    input, target = pair(4, 3, 5, 5)
    for learn, kappa in ((("alpha", "beta"), 1.0), (("alpha", "beta", "kappa"), 1.7)):
        loss = ALCLoss(**options, kappa=kappa, learn=learn, parameter_shape=shape, reduction=reduction).double()
        elementwise = copy.deepcopy(loss)
        elementwise.reduction = "none"
        e = input.clone().requires_grad_()
        expected = getattr(elementwise(e, target), reduction)()
        got = loss(input.requires_grad_(), target)
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)
        theirs = torch.autograd.grad(expected, [e, *elementwise.parameters()])
        ours = torch.autograd.grad(got, [input, *loss.parameters()])
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@every_loss
def test_reductions_of_every_loss(name):
    input, target = pair(3, 4)
    values = {r: make_loss(name, reduction=r).double()(input, target) for r in REDUCTIONS}
    assert values["none"].shape == (3, 4)
    torch.testing.assert_close(values["none"].sum(), values["sum"], rtol=1e-12, atol=0)
    torch.testing.assert_close(values["none"].mean(), values["mean"], rtol=1e-12, atol=0)


@pytest.mark.parametrize("function", [partial(alcl_loss, kappa=1.3), generalized_correntropy_loss])
def test_functional_parameters_may_enlarge_the_residual(function):
    """A grid of alpha by beta against one residual vector: a mean is over the whole grid."""
    input, target = pair(5)
    alpha, beta = tensor([1.2, 2.0, 3.0])[:, None, None], tensor([0.3, 1.0])[:, None]
    elementwise = function(input, target, alpha=alpha, beta=beta, reduction="none")
    assert elementwise.shape == (3, 2, 5)
    for reduction in ("mean", "sum"):
        expected = getattr(elementwise, reduction)()
        got = function(input, target, alpha=alpha, beta=beta, reduction=reduction)
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)


def test_module_and_functional_form_agree():
    input, target = pair(6, 2)
    loss = ALCLoss(1.7, 0.4, 1.5).double()
    got = alcl_loss(input, target, loss.alpha, loss.beta, loss.kappa)
    torch.testing.assert_close(loss(input, target), got, rtol=1e-14, atol=0)
    loss.normalized = False
    got = alcl_loss(input, target, loss.alpha, loss.beta, loss.kappa, normalized=False)
    torch.testing.assert_close(loss(input, target), got, rtol=1e-14, atol=0)


NUMBERS = {
    torch.float32: [0.0, -0.0, 1e-45, -1e-40, 1.1754944e-38, -1e-20, 1e-6, 1.0, -1e20, 3.4028234e38],
    F64: [0.0, -0.0, 5e-324, -1e-310, 2.2250738585072014e-308, 1e-160, 1e-6, 1.0, -1e160, 1.7976931348623157e308],
}


@st.composite
def legal(draw):
    """An ALCLoss anywhere in its domain: kappa alpha from a millionth above 1, alpha from 0.01, learned parameters
    anywhere above their floors."""
    dtype = draw(st.sampled_from([torch.float32, F64]))
    kappa, excess, beta = (10 ** draw(st.floats(low, high)) for low, high in ((-1.3, 2), (-5, 3), (-5, 5)))
    alpha = min((1 + excess) / kappa, 50.0)
    alpha_min, beta_min = (value * (1 - 10 ** draw(st.floats(-5, -0.1))) for value in (alpha, beta))
    learn = draw(
        st.sampled_from([(), ("alpha",), ("beta",), ("kappa",), ("alpha", "beta"), ("alpha", "beta", "kappa")])
    )
    shape = draw(st.sampled_from([(), (2, 1)]))
    assume(kappa * alpha > 1 + 4e-6)
    loss = ALCLoss(alpha, beta, kappa, learn, shape, alpha_min, beta_min).to(dtype)
    for p in loss.parameters():
        if draw(st.booleans()):
            p.data.fill_(draw(st.floats(-30, 8)))
    return loss


def sums(loss, e):
    """For each reduction the sum over all elements, and its gradients in e and in the parameters."""
    for reduction in REDUCTIONS:
        loss.reduction = reduction
        input = e.clone().requires_grad_()
        value = loss(*zero_target(input))
        total = value.sum() if reduction == "none" else value * (e.numel() if reduction == "mean" else 1)
        yield total.detach(), torch.autograd.grad(total, [input, *loss.parameters()], allow_unused=True)


@given(data=st.data(), loss=legal())
def test_reductions_agree_over_the_whole_legal_domain(data, loss):
    """Values and gradients, near e = 0 and near the floors too; to rounding, which kappa alpha near 1 magnifies."""
    dtype = loss.beta.dtype
    width = 32 if dtype == torch.float32 else 64
    drawn = data.draw(st.lists(st.floats(width=width, allow_nan=False, allow_infinity=False), min_size=1, max_size=4))
    e = torch.tensor([NUMBERS[dtype] + drawn] * 2, dtype=dtype)
    (none, of_none), *others = sums(loss, e)
    eps, tiny = torch.finfo(dtype).eps, torch.finfo(dtype).tiny
    alpha, beta, kappa = (
        getattr(loss, name).detach().double().flatten()[0].item() for name in ("alpha", "beta", "kappa")
    )
    a, b = 1 / alpha, kappa - 1 / alpha
    size = e.double().abs().clamp(min=5e-324)
    log_u = size.log() - math.log(beta)
    c = 1 + max(alpha, 1) * (size.log().abs() + abs(math.log(beta)))  # how far a logarithm's rounding is magnified
    phi, h = (torch.where(e == 0, 0.0, f(alpha * log_u)) * c for f in (nn.functional.softplus, torch.sigmoid))
    product = 4e-16 / eps / (kappa * alpha - 1)  # where its digits count in double precision
    log_z = sum(abs(math.lgamma(x)) for x in (a, b, kappa)) + abs(math.log(2 * beta / alpha)) + product
    of_log_z = (1 + a * a) * (1 + sum(abs(special.digamma(x)) for x in (a, b + 1, kappa)) + product)
    slope = kappa * alpha * c * torch.exp(nn.functional.logsigmoid(alpha * log_u) - size.clamp(min=tiny).log())
    seen = (e == 0) | (e.abs() >= tiny)  # at subnormal residuals every way has its own rounding of the slope
    seen &= slope < torch.finfo(dtype).max  # which it may pass for alpha < 1
    for value, of_value in others:
        assert abs(value.double() - none.double()) <= 4 * eps * (kappa * phi.sum() + e.numel() * (1 + log_z))
        got, expected = (g[0].double()[seen] for g in (of_value, of_none))
        assert ((got - expected).abs() <= 32 * eps * (slope + alpha * kappa)[seen]).all()
        bound = 8 * eps * ((kappa * (h * (log_u.abs() + alpha) + phi)).sum() + e.numel() * of_log_z)
        for got, expected in zip(of_value[1:], of_none[1:], strict=True):
            assert abs(got.double() - expected.double()).max() <= bound


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize(("alpha", "kappa"), [(0.02, 100.0), (0.3, 4.0), (2.0, 1.0)])
def test_at_zero_every_reduction_is_the_normaliser_and_correntropy_is_zero(alpha, kappa, dtype):
    """log Z by mpmath: -65.4 for alpha = 0.02 and kappa = 100, where the mean once was -49.3."""
    with mpmath.workdps(40):
        a, k = mpmath.mpf(torch.tensor(alpha, dtype=dtype).item()), mpmath.mpf(kappa)
        log_z = float(mpmath.log(2 / a * mpmath.beta(1 / a, k - 1 / a)))
    zero = torch.zeros(3, dtype=dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for reduction, times in (("none", 1), ("mean", 1), ("sum", 3)):
        for shape in ((), (3,)):
            loss = ALCLoss(alpha, 1.0, kappa, learn=(), parameter_shape=shape, reduction=reduction).to(dtype)
            loss.fixed_alpha.fill_(alpha)  # in this type, not rounded to float32
            assert loss(zero, zero).flatten()[0].item() == pytest.approx(times * log_z, rel=tolerance)
        gcl = GeneralizedCorrentropyLoss(alpha, 1.0, reduction=reduction)
        assert (gcl(zero, zero) == 0).all()
        assert (generalized_correntropy_loss(zero, zero, alpha, 1.0, reduction) == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("kappa", [1.0, 0.7, 3.0])
@pytest.mark.parametrize("learn", [("alpha",), ("alpha", "kappa")], ids=str)
@pytest.mark.parametrize("raw", [-40.0, -12.0, -8.0, 0.0, 25.0])
def test_the_normaliser_near_the_floors_is_good_to_all_digits(raw, learn, kappa, dtype):
    """float32 once lost every digit of kappa alpha - 1 there. The truth from the raw parameters, by mpmath."""
    loss = ALCLoss(alpha=2.0 / kappa + 1, kappa=kappa, learn=learn, alpha_min=1 / 3.0).to(dtype)
    raws = {name: p.data.fill_(raw).item() for name, p in loss.named_parameters()}
    with mpmath.workdps(40):
        above = {name: mpmath.log1p(mpmath.exp(value)) for name, value in raws.items()}
        hair = mpmath.mpf("1e-6")
        if "kappa" in learn:
            a = mpmath.mpf(loss.alpha_min) + above["raw_alpha"]
            b = hair / a + above["raw_kappa"]  # kappa - 1/alpha
            k = 1 / a + b
        else:
            k = mpmath.mpf(loss.fixed_kappa.item())
            a = max((1 + hair) / k, mpmath.mpf(loss.alpha_min)) + above["raw_alpha"]
            b = k - 1 / a
        expected = float(mpmath.log(2 / a) + mpmath.loggamma(1 / a) + mpmath.loggamma(b) - mpmath.loggamma(k))
        parts = sum(float(abs(mpmath.loggamma(x))) for x in (1 / a, b, k)) + 1
    e = torch.zeros(2, dtype=dtype)
    for loss.reduction in REDUCTIONS:
        got = loss(e, e).detach().flatten()[0].item() / (2 if loss.reduction == "sum" else 1)
        bound = 4 * torch.finfo(dtype).eps * parts + 1e-9 * (dtype == F64)  # 1e-9: a floor of 1 + 1e-6 in double
        assert abs(got - expected) <= bound, loss.reduction


@pytest.mark.parametrize("raw", [-30.0, 19.0, 21.0, 25.0, 36.0, 60.0])
def test_learned_parameters_are_exact_in_double_precision(raw):
    """torch's softplus is the identity from 20 on, which is off by 2e-9 there."""
    truth = float(mpmath.log1p(mpmath.exp(raw)))
    loss = ALCLoss(parameter_shape=(1,)).double()
    loss.raw_beta.data.fill_(raw)
    assert loss.beta.item() == pytest.approx(0.001 + truth, rel=1e-15)
    (slope,) = torch.autograd.grad(loss.beta, loss.raw_beta)
    assert slope.item() == pytest.approx(1 / (1 + math.exp(-raw)), rel=1e-15)


@pytest.mark.parametrize("write", [lambda x: x.fill_(2.0), lambda x: x.data.fill_(2.0), lambda x: x.copy_(2 * x)])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_a_buffer_may_be_written_in_place(write, shape):
    """Once "none" kept the normaliser of kappa = 1."""
    loss, fresh = ALCLoss(parameter_shape=shape), ALCLoss(kappa=2.0, parameter_shape=shape)
    write(loss.fixed_kappa)
    fresh.load_state_dict(loss.state_dict())
    e = torch.tensor([0.3, -2.0, 0.0])
    for loss.reduction in REDUCTIONS:
        fresh.reduction = loss.reduction
        torch.testing.assert_close(loss(*zero_target(e)), fresh(*zero_target(e)), rtol=0, atol=0)
    density = GeneralizedT(loss.alpha.detach(), loss.beta.detach(), loss.kappa)
    loss.reduction = "none"
    torch.testing.assert_close(loss(*zero_target(e)).detach(), -density.log_prob(e), rtol=1e-5, atol=1e-5)


# --- nothing to learn from ------------------------------------------------------------------------------------------


@every_loss
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("way", ["module", "functional_call", "propagate"])
def test_an_empty_batch_gives_zero_gradients(name, reduction, way):
    """What pred[mask], target[mask] is when the mask holds nothing: the value is torch's, and nobody is moved."""
    loss = make_loss(name, reduction=reduction, **({"nonfinite": "propagate"} if way == "propagate" else {}))
    network = nn.Linear(3, 2)
    mask = torch.zeros(5, 2, dtype=torch.bool)
    call = loss
    if way == "functional_call":
        call = partial(functional_call, loss, dict(loss.named_parameters()))
        call = lambda input, target, call=call: call((input, target))  # noqa: E731
    pred, target = network(torch.randn(5, 3)), torch.zeros(5, 2)
    value = call(pred[mask], target[mask])
    expected = nn.MSELoss(reduction=reduction)(pred[mask], target[mask])
    torch.testing.assert_close(value, expected, rtol=0, atol=0, equal_nan=True)
    value.sum().backward()
    assert all((p.grad == 0).all() for p in loss.parameters())
    assert all((p.grad == 0).all() for p in network.parameters())
    loss(network(torch.randn(5, 3)), target).sum().backward()  # and training goes on
    assert all(p.grad.isfinite().all() for p in (*loss.parameters(), *network.parameters()))


@pytest.fixture
def fresh_compiler():
    """No graph of another test; and torch.distributions as it was: the compiler switches its checks off for good."""
    checks = torch.distributions.Distribution._validate_args
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    torch.distributions.Distribution.set_default_validate_args(checks)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_an_empty_batch_where_compiled(name, fresh_compiler):
    loss = make_loss(name)
    value = torch.compile(loss, fullgraph=True, backend="eager")(*zero_target(torch.zeros(0, 3)))
    value.backward()
    assert value.isnan()
    assert all((p.grad == 0).all() for p in loss.parameters())


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("options", [{"kappa": 1.7, "learn": "kappa"}, {"parameter_shape": (3, 1)}], ids=str)
@pytest.mark.parametrize("shape", [(0, 3, 2), (4, 3, 0)])
def test_an_empty_batch_with_other_parameters(options, shape, reduction):
    loss = ALCLoss(**options, reduction=reduction)
    loss(*zero_target(torch.zeros(shape))).sum().backward()
    assert all((p.grad == 0).all() for p in loss.parameters())


def test_an_empty_batch_of_the_functional_forms():
    parameters = [tensor(x).requires_grad_() for x in (2.0, 1.0, 1.5)]
    for function, number in ((alcl_loss, 3), (generalized_correntropy_loss, 2)):
        for reduction in REDUCTIONS:
            value = function(*zero_target(tensor([])), *parameters[:number], reduction=reduction).sum()
            assert all(g == 0 for g in torch.autograd.grad(value, parameters[:number]))


def test_an_empty_batch_among_others_leaves_no_trace():
    losses_, masks = [ALCLoss(), ALCLoss()], [[1, 1, 0], [0, 0, 0], [1, 0, 1]]
    for loss, used in zip(losses_, (masks, masks[::2]), strict=True):
        optimizer = torch.optim.SGD(loss.parameters(), lr=0.1)
        for mask in used:
            optimizer.zero_grad()
            loss(*zero_target(torch.tensor([0.2, 3.0, -1.0])[torch.tensor(mask, dtype=torch.bool)])).backward()
            optimizer.step()
    for p, q in zip(*(loss.parameters() for loss in losses_), strict=True):
        assert torch.equal(p, q)


def test_without_the_normaliser_only_a_constant_is_missing():
    input, target = pair(7)
    with_z, without = (ALCLoss(1.5, 0.3, learn=(), normalized=n).double() for n in (True, False))
    e, f = input.clone().requires_grad_(), input.clone().requires_grad_()
    difference = with_z(e, target) - without(f, target)
    # log Z for kappa = 1 (Theorem L3): 2 pi beta / (alpha sin(pi / alpha))
    log_z = math.log(2 * math.pi * 0.3 / (1.5 * math.sin(math.pi / 1.5)))
    assert difference.item() == pytest.approx(log_z, rel=1e-6)
    assert without.log_normalizer() is None
    difference.backward()
    torch.testing.assert_close(e.grad, -f.grad, rtol=1e-13, atol=0)


@pytest.mark.parametrize("normalized", [True, False])
def test_learning_beta_needs_the_normaliser(normalized):
    """Theorem A5: without log Z, beta grows for any residuals; with it, it comes to rest."""
    e = torch.distributions.Cauchy(0.0, 1.0).icdf(torch.linspace(0.005, 0.995, 100))
    loss = minimise(ALCLoss(learn="beta", normalized=normalized), e)
    assert (0.9 < loss.beta < 1.1) if normalized else (loss.beta > 1000)


@every_loss
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_every_derivative_that_torch_func_knows(name, reduction):
    """hessian (forward over reverse), forward alone, and per example, against reverse over reverse."""
    loss = make_loss(name, reduction=reduction).double()
    e = tensor([[0.3, -2.0, 17.0], [0.01, 1.0, -0.7]])
    parameters = {n: p.detach() for n, p in loss.named_parameters()}

    def f(e, parameters):
        return functional_call(loss, parameters, zero_target(e)).sum()

    for n in range(2 if parameters else 1):
        torch.testing.assert_close(
            jacfwd(f, n)(e[0], parameters), jacrev(f, n)(e[0], parameters), rtol=1e-9, atol=1e-12
        )
        reverse = jacrev(jacrev(f, n), n)
        torch.testing.assert_close(hessian(f, n)(e[0], parameters), reverse(e[0], parameters), rtol=1e-8, atol=1e-11)
    each = vmap(hessian(f), (0, None))(e, parameters)
    one_by_one = torch.stack([jacrev(jacrev(f))(row, parameters) for row in e])
    torch.testing.assert_close(each, one_by_one, rtol=1e-8, atol=1e-11)


# --- types ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool])
@every_loss
def test_integers_are_converted_not_the_parameters_cut(name, dtype):
    """log_correntropy once took alpha = 1.5 for 1 where the residual was of integers."""
    input, target = torch.tensor([3, 1, 0]).to(dtype), torch.tensor([1, 1, 2]).to(dtype)
    torch.testing.assert_close(make_loss(name)(input, target), make_loss(name)(input.float(), target.float()))


def test_integer_residuals_of_the_functional_forms():
    whole = torch.tensor([-3, 0, 2])
    torch.testing.assert_close(log_correntropy(whole, 1.5, 0.7, 1.2), log_correntropy(whole.float(), 1.5, 0.7, 1.2))
    torch.testing.assert_close(correntropy_loss(whole, 1.5, 0.7), correntropy_loss(whole.float(), 1.5, 0.7))


@every_loss
def test_complex_residuals_are_refused(name):
    with pytest.raises(TypeError, match="residuals must be real"):
        make_loss(name)(torch.zeros(2, dtype=torch.complex64), torch.zeros(2, dtype=torch.complex64))


def test_the_wider_type_decides():
    input, target = pair(4, dtype=torch.float32)
    assert ALCLoss()(input, target).dtype == torch.float32
    assert ALCLoss()(input.double(), target).dtype == F64
    assert alcl_loss(input, target, tensor(2.0), 1.0).dtype == F64


# --- robustness -----------------------------------------------------------------------------------------------------


def gcl_bound(alpha, beta):
    """sup alpha u^(alpha-1) exp(-u^alpha) / beta, at u^alpha = 1 - 1/alpha."""
    t = 1 - 1 / alpha
    return alpha / beta * t**t * math.exp(-t)


def barron_bound(alpha, scale):
    """sup of |d rho / d e| for alpha <= 1: 1/scale times ((alpha - 2)/(alpha - 1))^((alpha - 1)/2)."""
    return 1 / scale if alpha == 1 else ((alpha - 2) / (alpha - 1)) ** ((alpha - 1) / 2) / scale


BOUNDED = [
    (L1Loss(), 1.0),
    (HuberLoss(0.3), 0.3),
    (CauchyLoss(0.2), 5.0),
    (GeneralizedCorrentropyLoss(2.0, 0.5), gcl_bound(2.0, 0.5)),
    (GeneralizedCorrentropyLoss(4.0, 3.0), gcl_bound(4.0, 3.0)),
    (StudentTLoss(4.0, 0.5), 2.5 / (0.5 * 2)),  # kappa / beta at alpha = 2: (dof + 1)/2 over scale sqrt(dof)
    (BarronLoss(1.0, 0.5), barron_bound(1.0, 0.5)),
    (BarronLoss(0.4, 2.0), barron_bound(0.4, 2.0)),
    (ALCLoss(2.0, 0.25), 4.0),
    (ALCLoss(3.0, 0.5, 2.0), 2.0 / 0.5 * 2 ** (2 / 3)),
    (ALCLoss(1.2, 0.5), 1 / 0.5 * 0.2 ** (0.2 / 1.2)),
]


@pytest.mark.parametrize(("loss", "bound"), BOUNDED, ids=[repr(b[0]) for b in BOUNDED])
def test_gradient_bound_holds_and_is_reached(loss, bound):
    """One residual sends at most `bound` into the network, whatever its size (closed forms; Theorem I1 for ALCL)."""
    loss = copy.deepcopy(loss).double()
    loss.reduction = "sum"
    e = torch.cat([torch.logspace(-8, 12, 20_001, dtype=F64), tensor([1e38, 1e300])]).requires_grad_()
    loss(*zero_target(e)).backward()
    assert e.grad.max() <= bound * (1 + 1e-5)  # the parameters' floats are good to 1e-6
    assert e.grad.max() >= bound * (1 - 1e-5)
    assert e.grad.min() >= 0


@pytest.mark.parametrize("loss", [MSELoss(), BarronLoss(1.5)], ids=repr)
def test_unbounded_gradients_are_unbounded(loss):
    e = tensor([1e3, 1e6, 1e9]).requires_grad_()
    loss = copy.deepcopy(loss).double()
    loss.reduction = "sum"
    loss(*zero_target(e)).backward()
    assert (e.grad[1:] > 5 * e.grad[:-1]).all()


@pytest.mark.parametrize("name", [n for n in LOSSES if n not in ("mse", "l1", "huber", "censored_alcl", "tobit")])
@given(alpha=st.floats(1.05, 1.9), scale=st.floats(0.01, 10))
def test_losses_are_even_and_increase_with_the_residual(name, alpha, scale):
    options = {
        "cauchy": {"scale": scale},
        "gcl": {"alpha": alpha, "beta": scale},
        "student_t": {"dof": alpha, "scale": scale},
        "barron": {"alpha": alpha, "scale": scale},
        "alcl": {"alpha": alpha, "beta": scale},
        "gaussian": {"scale": scale},
        "generalized_cauchy": {"alpha": alpha, "scale": scale},
        "pseudo_huber": {"delta": scale},
        "scheduled_pseudo_huber": {"c": scale},
        "lmls": {"a": scale},
        "log_cosh": {"scale": scale},
        "huber_mad": {"factor": scale},
        "welsch_mad": {"factor": scale},
        "contaminated_alcl": {"alpha": alpha, "beta": scale},
    }[name]
    loss = make_loss(name, reduction="none", **options)
    e = torch.logspace(-6, 8, 60)
    up, down = loss(*zero_target(e)).detach(), loss(*zero_target(-e)).detach()
    assert torch.equal(up, down)
    assert (up.diff() >= -1e-6 * up[1:].abs()).all()


# --- learning -------------------------------------------------------------------------------------------------------


def minimise(loss, e, steps=60):
    optimizer = torch.optim.LBFGS(
        loss.parameters(), line_search_fn="strong_wolfe", max_iter=steps, tolerance_change=1e-12
    )

    def closure():
        optimizer.zero_grad()
        value = loss(*zero_target(e))
        value.backward()
        return value

    optimizer.step(closure)
    return loss


@pytest.mark.parametrize(
    ("learn", "true"),
    [
        (("alpha", "beta"), (1.6, 0.5, 1.0)),
        (("alpha", "beta"), (3.0, 7.0, 1.0)),
        (("beta",), (2.0, 0.02, 1.0)),
        (("alpha", "beta", "kappa"), (2.0, 0.5, 2.0)),
    ],
)
def test_training_the_loss_alone_recovers_the_density(learn, true):
    """Maximum likelihood on 20,000 draws lands within four standard errors (of the Fisher information) of the truth."""
    torch.manual_seed(3)
    density = GeneralizedT(*(tensor(t) for t in true))
    e = density.sample((20_000,))
    start = {"alpha": 2.5, "beta": 1.0, "kappa": 1.5 if "kappa" in learn else true[2]}
    start |= {name: value for name, value in zip(("alpha", "beta", "kappa"), true, strict=True) if name not in learn}
    loss = minimise(ALCLoss(**start, learn=learn).double(), e)
    index = [("location", "alpha", "beta", "kappa").index(name) for name in learn]
    covariance = torch.linalg.inv(density.fisher_information()[index][:, index]) / len(e)
    for name, variance in zip(learn, covariance.diagonal(), strict=True):
        truth = true[("alpha", "beta", "kappa").index(name)]
        assert abs(getattr(loss, name).item() - truth) < 4 * variance.sqrt().item(), name


def test_channels_learn_parameters_of_their_own():
    torch.manual_seed(4)
    scales = torch.tensor([0.05, 0.5, 5.0], dtype=F64)
    e = GeneralizedT(tensor(2.0), scales).sample((4000,)).T.reshape(1, 3, 40, 100)
    loss = minimise(ALCLoss(parameter_shape=(3, 1, 1)).double(), e)
    torch.testing.assert_close(loss.beta.detach().flatten(), scales, rtol=0.1, atol=0)
    torch.testing.assert_close(loss.alpha.detach().flatten(), torch.full((3,), 2.0, dtype=F64), rtol=0.1, atol=0)


@pytest.mark.parametrize("learn", [(), ("alpha",), ("beta",), ("kappa",), ("alpha", "kappa")], ids=str)
def test_only_what_is_to_learn_learns(learn):
    loss = ALCLoss(2.0, 1.0, 1.5, learn=learn)
    before = {name: getattr(loss, name).item() for name in ("alpha", "beta", "kappa")}
    assert {n.removeprefix("raw_") for n, _ in loss.named_parameters()} == set(learn)
    assert {n.removeprefix("fixed_") for n, _ in loss.named_buffers()} == {"alpha", "beta", "kappa"} - set(learn)
    if learn:
        optimizer = torch.optim.SGD(loss.parameters(), lr=1.0)
        loss(*zero_target(torch.tensor([0.1, 9.0, -40.0]))).backward()
        optimizer.step()
    for name, value in before.items():
        assert (getattr(loss, name).item() != value) == (name in learn), name


DATA = {
    "cubed Cauchy": lambda g: torch.empty(512).cauchy_(generator=g) ** 3,
    "zeros": lambda g: torch.zeros(512),
    "huge": lambda g: torch.full((512,), 1e30),
    "tight Gaussian": lambda g: 0.1 * torch.randn(512, generator=g),
    "uniform": lambda g: torch.rand(512, generator=g),
    "mostly zero": lambda g: torch.randn(512, generator=g) * (torch.rand(512, generator=g) < 0.1),
}


@learned
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize(("optimizer", "lr"), [("Adam", 0.1), ("Adam", 30.0), ("SGD", 30.0)])
def test_brutal_optimisation_stays_legal_and_finite(make, data, optimizer, lr):
    """Learning rates a hundred to ten thousand times too large, in float32: no NaN, no infinity, no illegal value."""
    loss = make()
    e = DATA[data](torch.Generator().manual_seed(0))
    if isinstance(loss, BarronLoss) and data in ("huge", "cubed Cauchy"):
        e = e.clamp(-1e6, 1e6)  # its gradients are not bounded for alpha > 1
    optimizer = getattr(torch.optim, optimizer)(loss.parameters(), lr=lr)
    for step in range(40):
        optimizer.zero_grad()
        value = loss(*zero_target(e))
        value.backward()
        assert value.isfinite(), step
        assert all(p.grad.isfinite().all() for p in loss.parameters()), step
        optimizer.step()
        if isinstance(loss, ALCLoss):
            assert loss.alpha >= 1
            assert loss.beta >= loss.beta_min
            assert loss.alpha.double() * loss.kappa.double() > 1
        elif isinstance(loss, StudentTLoss):
            assert loss.dof >= torch.tensor(0.1)
            assert loss.scale >= torch.tensor(1e-3)
        else:
            assert 0.0009 < loss.alpha < 1.9991
            assert loss.scale >= torch.tensor(1e-3)


@pytest.mark.parametrize("kappa", [0.3, 0.9, 1.0, 3.0])
@pytest.mark.parametrize("raw", [-1e30, -200.0, -20.0, 20.0, 1e4])
def test_the_floors_hold_wherever_the_raw_parameters_are(kappa, raw):
    for learn in (("alpha", "beta"), ("alpha", "beta", "kappa")):
        loss = ALCLoss(alpha=4.0, kappa=kappa, learn=learn)
        with torch.no_grad():
            for p in loss.parameters():
                p.fill_(raw)
        value = loss(*zero_target(torch.tensor([0.0, 0.3, -1e10])))
        value.backward()
        assert value.isfinite()
        assert all(p.grad.isfinite() for p in loss.parameters())
        assert loss.alpha.double() * loss.kappa.double() > 1


def test_exact_zeros_drive_beta_to_its_floor_and_no_further():
    """Theorem A4: more than 1 - 1/(kappa alpha) of exact zeros collapses beta; with beta_min as the last value."""
    loss = ALCLoss(learn="beta", beta_min=0.01)
    e = torch.cat([torch.zeros(900), torch.ones(100)])
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.3)
    for _ in range(200):
        optimizer.zero_grad()
        loss(*zero_target(e)).backward()
        optimizer.step()
    assert loss.beta.item() == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("kappa", [1.0, 3.0, 0.6])
@pytest.mark.parametrize("raw", [-1e10, -30.0, 0.0, 1.0, 30.0, 1e10])
def test_a_capped_shape_stays_between_floor_and_cap(kappa, raw):
    for reduction in REDUCTIONS:
        loss = ALCLoss(alpha=1.8, kappa=kappa, alpha_max=3.0, reduction=reduction)
        with torch.no_grad():
            loss.raw_alpha.fill_(raw)
        value = loss(*zero_target(torch.tensor([0.0, 0.3, -1e10]))).sum()
        value.backward()
        assert value.isfinite()
        assert loss.raw_alpha.grad.isfinite()
        assert 1 / kappa < loss.alpha.double() <= 3
        assert loss.alpha >= 1


@pytest.mark.parametrize("options", [{}, {"kappa": 2.0}, {"learn": ("alpha", "beta", "kappa")}, {"normalized": False}])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_capped_shape_has_the_right_value_and_gradients(options, reduction):
    """Value against the uncapped loss with the shape put in; gradient in raw_alpha by central differences."""
    loss = ALCLoss(1.7, 0.4, alpha_max=2.5, reduction=reduction, **options).double()
    assert loss.alpha.item() == pytest.approx(1.7, abs=1e-6)  # it was made in single precision
    e = torch.linspace(-4, 3, 29, dtype=F64)
    with torch.no_grad():
        loss.raw_alpha.add_(0.8)
    plain = ALCLoss(
        loss.alpha.detach(), 0.4, loss.kappa.detach(), (), reduction=reduction, normalized=loss.normalized
    ).double()
    for name in ("alpha", "beta", "kappa"):
        getattr(plain, f"fixed_{name}").copy_(getattr(loss, name).detach())
    torch.testing.assert_close(loss(*zero_target(e)).detach(), plain(*zero_target(e)), rtol=1e-12, atol=1e-12)
    loss(*zero_target(e)).sum().backward()
    values = []
    for step in (1e-6, -2e-6):
        with torch.no_grad():
            loss.raw_alpha.add_(step)
            values.append(loss(*zero_target(e)).sum().item())
    assert loss.raw_alpha.grad.item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-6, abs=1e-8)


def test_a_cap_stops_the_shape_where_it_would_run_away():
    """Residuals with tails lighter than any power send the learned shape to infinity."""
    e = torch.linspace(-1, 1, 999)
    ends = {}
    for cap in (None, 2.5):
        loss = ALCLoss(alpha_max=cap)
        optimizer = torch.optim.Adam(loss.parameters(), lr=0.1)
        for _ in range(300):
            optimizer.zero_grad()
            loss(*zero_target(e)).backward()
            optimizer.step()
        ends[cap] = loss.alpha.item()
    assert ends[None] > 5 > 2.5 > ends[2.5] > 2.3


def test_a_cap_below_the_start_is_refused_before_anything_is_made():
    with pytest.raises(ValueError, match=r"alpha_max=2 must exceed the initial alpha; got alpha=2"):
        ALCLoss(alpha_max=2)
    with pytest.raises(ValueError, match="alpha_max must be positive and finite"):
        ALCLoss(alpha_max=math.inf)
    assert ALCLoss(3.0, alpha_max=2.0, learn=("beta",)).alpha_max is None  # nothing to cap


# --- state ----------------------------------------------------------------------------------------------------------

OTHER_FLOORS = [
    (partial(ALCLoss, alpha=1.5, alpha_max=4.0), partial(ALCLoss, alpha_min=1.4, alpha_max=2.5)),
    (partial(ALCLoss, alpha=1.5, beta=0.3), partial(ALCLoss, alpha_min=1.4, beta_min=0.2)),
    (partial(ALCLoss, kappa=0.8, alpha=1.7), partial(ALCLoss, kappa=3.0, alpha_min=0.5)),
    (
        partial(ALCLoss, alpha=1.1, kappa=2.0, learn=("alpha", "beta", "kappa"), alpha_min=1 / 3),
        partial(ALCLoss, learn=("alpha", "beta", "kappa")),
    ),
    (partial(ALCLoss, beta=2.0, parameter_shape=(3, 1)), partial(ALCLoss, beta_min=0.7, parameter_shape=(3, 1))),
    (partial(StudentTLoss, dof=0.5, scale=0.1), partial(StudentTLoss, dof_min=1.0, scale_min=0.3)),
    (partial(BarronLoss, scale=0.1), partial(BarronLoss, scale_min=0.3)),
]


def through_a_file(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


LOADING = {
    "plainly": lambda loss, state: loss.load_state_dict(state),
    "from a file": lambda loss, state: loss.load_state_dict(through_a_file(state)),
    "assigned": lambda loss, state: loss.load_state_dict(state, assign=True),
    "as part of a model": lambda loss, state: nn.ModuleDict({"loss": loss}).load_state_dict(
        {f"loss.{name}": value for name, value in state.items()}
    ),
    "after a cast of what is floating": lambda loss, state: loss.load_state_dict(
        {name: value.double() if value.is_floating_point() else value for name, value in state.items()}
    ),
}


@pytest.mark.parametrize(("saved", "loading"), OTHER_FLOORS, ids=lambda make: str(make.keywords))
@pytest.mark.parametrize("way", LOADING)
def test_a_checkpoint_brings_its_floors(saved, loading, way):
    """Once `ALCLoss(alpha=1.5)` was 1.9 in an `ALCLoss(alpha_min=1.4)`."""
    saved, loading = saved(), loading()
    for p in saved.parameters():
        p.data.add_(0.3)
    e = torch.tensor([[0.2, -3.0, 0.0]]).expand(3, 3)
    expected = saved(*zero_target(e))
    LOADING[way](loading, saved.state_dict())
    for name in saved._shown:
        torch.testing.assert_close(getattr(loading, name), getattr(saved, name), rtol=0, atol=0, check_dtype=False)
    assert loading._floors() == saved._floors()
    assert torch.equal(loading(*zero_target(e)).detach(), expected.detach())
    assert set(loading.state_dict()) == set(saved.state_dict())


@pytest.mark.parametrize("strict", [True, False])
def test_a_checkpoint_from_before_keeps_the_floors_at_hand(strict):
    old = {"raw_alpha": torch.tensor(0.5), "raw_beta": torch.tensor(-1.0), "fixed_kappa": torch.tensor(1.0)}
    loss = ALCLoss(alpha_min=1.25)
    loss.load_state_dict(old, strict=strict)
    assert loss.alpha.item() == pytest.approx(1.25 + math.log1p(math.exp(0.5)), rel=1e-6)
    model = nn.ModuleList([ALCLoss(alpha_min=1.25)])
    model.load_state_dict({f"0.{name}": value for name, value in old.items()}, strict=strict)
    assert torch.equal(model[0].alpha, loss.alpha)


@pytest.mark.parametrize(
    "floors",
    [
        torch.tensor([1.0, 1e-3]),
        torch.tensor([1.0], dtype=F64).view(torch.int64),
        torch.tensor([1.0, -1.0], dtype=F64).view(torch.int64),
        torch.tensor([math.nan, 1.0], dtype=F64).view(torch.int64),
    ],
)
def test_floors_that_are_none_are_refused(floors):
    with pytest.raises(
        ValueError, match="ALCLoss: the state must hold alpha_min, beta_min as the int64 bits of positive"
    ):
        ALCLoss().load_state_dict(ALCLoss().state_dict() | {"_extra_state": floors})


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))], ids=["deepcopy", "pickle"])
def test_a_copy_has_the_floors_that_were_loaded(copied):
    loss = ALCLoss()
    loss.load_state_dict(ALCLoss(alpha_min=1.3, beta_min=0.01).state_dict())
    twin = copied(loss)
    assert (twin.alpha_min, twin.beta_min) == (1.3, 0.01)
    twin.reset_parameters()  # the copy knows how it was made, too
    assert (twin.alpha_min, twin.beta_min) == (1.0, 1e-3)


MADE = {
    **{name: partial(make_loss, name) for name in ADAPTIVE},
    "alcl_options": partial(ALCLoss, 1.3, 0.4, kappa=1.5, learn=("alpha", "kappa"), alpha_min=0.9),
    "alcl_tensor": lambda: ALCLoss(alpha=torch.tensor([1.5, 2.5]), parameter_shape=(2,)),
    "alcl_of_another": lambda: ALCLoss(alpha=ALCLoss(alpha=1.7).alpha),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_reset_parameters(make):
    loss, fresh = make(), make()
    for x in (*loss.parameters(), *loss.buffers()):
        x.data.fill_(3.0)
    copy.deepcopy(loss)  # whatever it was made with
    loss.double().reset_parameters()
    for name, value in fresh.state_dict().items():
        expected = value.double() if value.is_floating_point() else value
        torch.testing.assert_close(loss.state_dict()[name], expected, rtol=0, atol=0)


# --- the meta device ------------------------------------------------------------------------------------------------


#: All but one, which must read its clock.
TRACEABLE = {name: partial(make_loss, name) for name in LOSSES if name != "scheduled_pseudo_huber"}
WITHOUT_MEMORY = {
    **TRACEABLE,
    "alcl_options": MADE["alcl_options"],
    "alcl_pixels": partial(ALCLoss, 3.0, [[0.1, 0.2]], parameter_shape=(3, 2)),
}


@pytest.mark.parametrize("make", WITHOUT_MEMORY.values(), ids=WITHOUT_MEMORY)
def test_a_loss_without_memory(make):
    """As large models are built: on the meta device, then given memory, then reset or loaded."""
    fresh = make()
    with torch.device("meta"):
        loss = make()
    assert all(x.is_meta for x in (*loss.parameters(), *loss.buffers()))
    assert "meta" in repr(loss) or not list(loss.parameters())
    assert "meta" in repr(fresh.to("meta")) or not list(loss.parameters())
    for reduction in REDUCTIONS:
        loss.reduction = reduction
        input = torch.empty(4, 3, 2, device="meta", requires_grad=True)
        value = loss(input, torch.empty(4, 3, 2, device="meta"))
        assert value.is_meta
        assert value.shape == ((4, 3, 2) if reduction == "none" else ())
        value.sum().backward()
        assert input.grad.shape == input.shape
    loss.reduction, fresh = "mean", make()
    e = torch.tensor([[0.2, -3.0], [1.0, 0.0], [5.0, 0.7]])
    loss.to_empty(device="cpu")
    if isinstance(loss, AdaptiveLoss):
        loss.reset_parameters()
    else:
        loss.load_state_dict(fresh.state_dict())
    assert torch.equal(loss(*zero_target(e)), fresh(*zero_target(e)))
    with torch.device("meta"):
        loaded = make()
    loaded.load_state_dict(fresh.state_dict(), assign=True)
    assert torch.equal(loaded(*zero_target(e)), fresh(*zero_target(e)))


@pytest.mark.parametrize("options", [{"alpha": 0.5}, {"beta": -1.0}, {"alpha": 1.2, "alpha_min": 1.5}], ids=str)
def test_arguments_are_checked_on_the_meta_device_too(options):
    with torch.device("meta"), pytest.raises(ValueError, match=rf"{next(iter(options))} must"):
        ALCLoss(**options)


def test_values_that_are_without_memory_themselves():
    with torch.device("meta"):
        loss = ALCLoss(beta=torch.ones(3), parameter_shape=(3,))
    assert loss.beta.is_meta
    assert loss.beta.shape == (3,)


@pytest.mark.parametrize("make", TRACEABLE.values(), ids=TRACEABLE)
def test_fake_tensors(make):
    """What tools trace with that measure memory or shapes: tensors of a device, without numbers."""
    with FakeTensorMode():
        loss = make()
        for reduction in REDUCTIONS:
            loss.reduction = reduction
            value = loss(torch.randn(4, 3, requires_grad=True), torch.randn(4, 3))
            assert value.shape == ((4, 3) if reduction == "none" else ())
            value.sum().backward()


# --- optimizer groups -----------------------------------------------------------------------------------------------


def test_optimizer_groups():
    model, loss = nn.Linear(3, 2), ALCLoss()
    network, own = optimizer_groups(model, loss, lr=0.01, loss_lr=0.2, weight_decay=0.5)
    assert [id(p) for p in network["params"]] == [id(p) for p in model.parameters()]
    assert [id(p) for p in own["params"]] == [id(p) for p in loss.parameters()]
    assert (network["lr"], network["weight_decay"]) == (0.01, 0.5)
    assert (own["lr"], own["weight_decay"]) == (0.2, 0.0)
    assert optimizer_groups(model, loss, lr=0.01)[1]["lr"] == 0.01
    torch.optim.AdamW([network, own])


def test_optimizer_groups_without_loss_parameters_have_no_second_group():
    for loss in (MSELoss(), nn.MSELoss(), ALCLoss(learn=())):
        assert len(optimizer_groups(nn.Linear(2, 2), loss, lr=0.1)) == 1


def test_optimizer_groups_hold_no_parameter_twice():
    model = nn.Sequential(nn.Linear(2, 2), ALCLoss())  # the loss may be part of the model
    network, own = optimizer_groups(model, model[1], lr=0.1, weight_decay=0.1)
    assert len(network["params"]) == 2
    assert len(own["params"]) == 2
    ids = [id(p) for group in (network, own) for p in group["params"]]
    assert len(set(ids)) == len(ids)
    torch.optim.SGD([network, own])


def test_weight_decay_does_not_move_the_loss_parameters():
    model, loss = nn.Linear(1, 1), ALCLoss(alpha=3.0)
    optimizer = torch.optim.SGD(optimizer_groups(model, loss, lr=0.1, weight_decay=0.9))
    for p in (*model.parameters(), *loss.parameters()):
        p.grad = torch.zeros_like(p)
    weight = model.weight.item()
    optimizer.step()
    assert model.weight.item() == pytest.approx(weight * 0.91, rel=1e-5)
    assert loss.alpha.item() == pytest.approx(3.0, rel=1e-6)


def test_the_loss_alone_can_be_given_to_an_optimizer():
    loss = ALCLoss()
    torch.optim.Adam(optimizer_groups(nn.Identity(), loss, lr=0.1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr must be positive and finite; got 0.0"),
        ({"lr": 0.1, "loss_lr": -1.0}, "loss_lr must be positive and finite; got -1.0"),
        ({"lr": 0.1, "weight_decay": -0.1}, "weight_decay must be at least 0 and finite; got -0.1"),
        ({"lr": 0.1, "weight_decay": math.nan}, "weight_decay must be at least 0"),
    ],
)
def test_optimizer_groups_name_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        optimizer_groups(nn.Linear(1, 1), ALCLoss(), **options)


# --- the not-learning warning ---------------------------------------------------------------------------------------

E = torch.tensor([0.5, -2.0])


def warnings_of(action, about="never updated"):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
    return [w for w in caught if about in str(w.message)]


def forwards(loss, number, after=lambda: None, e=E):
    for _ in range(number):
        loss.zero_grad()
        loss(*zero_target(e)).backward()
        after()


@pytest.fixture
def patience(monkeypatch):
    """A shorter patience, to keep these tests short."""
    monkeypatch.setattr(base, "PATIENCE", 20)
    return 20


def test_the_patience_is_what_the_message_says():
    loss = ALCLoss()
    assert not warnings_of(lambda: forwards(loss, PATIENCE))
    (warning,) = warnings_of(lambda: forwards(loss, 1))
    assert f"{PATIENCE} backward passes" in str(warning.message)


@learned
def test_a_loss_that_nobody_trains_warns_once_and_says_what_to_do(make, patience):
    loss = make()
    assert not warnings_of(lambda: forwards(loss, patience))
    (warning,) = warnings_of(lambda: forwards(loss, 3 * patience))
    assert warning.category is UserWarning
    assert type(loss).__name__ in str(warning.message)
    assert "alcl.optimizer_groups(model, criterion, lr=1e-3)" in str(warning.message)
    assert "learn=()" in str(warning.message)
    assert warning.filename == __file__  # the caller's line, not a line of this library or of torch
    for name, _ in loss.named_parameters():
        assert name.removeprefix("raw_") in str(warning.message)


def step_through_data(loss):
    for p in loss.parameters():
        p.data.add_(p.grad, alpha=-1e-3)


OPTIMIZERS = {
    "Adam": lambda loss: torch.optim.Adam(loss.parameters(), lr=1e-3).step,
    "fused Adam": lambda loss: torch.optim.Adam(loss.parameters(), lr=1e-3, fused=True).step,  # leaves _version alone
    "foreach SGD": lambda loss: torch.optim.SGD(loss.parameters(), lr=1e-3, foreach=True).step,
    "through .data": lambda loss: partial(step_through_data, loss),  # as many third-party optimizers write
}


@learned
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_warning_while_an_optimizer_works(make, optimizer, patience):
    loss = make()
    assert not warnings_of(lambda: forwards(loss, 2 * patience + 10, after=OPTIMIZERS[optimizer](loss)))


@pytest.mark.parametrize("steps_of_accumulation", [256, 1000])
def test_no_warning_while_gradients_are_accumulated(steps_of_accumulation):
    """However late the update comes: an optimizer that holds the parameters is sign enough."""
    loss, network = ALCLoss(), nn.Linear(2, 2)
    optimizer = torch.optim.Adam(optimizer_groups(network, loss, lr=1e-3))

    def accumulate():
        for _ in range(steps_of_accumulation):
            (loss(network(E), E) / steps_of_accumulation).backward()
        optimizer.step()

    assert not warnings_of(accumulate)


def test_an_optimizer_of_the_network_alone_is_no_excuse(patience):
    loss, network = ALCLoss(), nn.Linear(2, 2)
    optimizer = torch.optim.Adam(network.parameters())

    def train():
        for _ in range(patience + 1):
            optimizer.zero_grad()
            loss(network(E), E).backward()
            optimizer.step()

    assert len(warnings_of(train)) == 1


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_the_warning_where_compiled(backend, patience, fresh_compiler):
    """No code of ours runs in a compiled forward pass: the gradients that arrive are counted."""
    loss, compiled, graphs = ALCLoss(), [], []
    counting = torch._dynamo.lookup_backend(backend)
    compiled = torch.compile(loss, fullgraph=True, backend=lambda *a: graphs.append(a) or counting(*a))

    def backwards(number):
        for _ in range(number):
            loss.zero_grad()
            compiled(*zero_target(E)).backward()

    assert not warnings_of(lambda: backwards(patience))
    (warning,) = warnings_of(lambda: backwards(2 * patience))
    assert warning.filename == __file__
    assert len(graphs) == 1
    trained = ALCLoss()
    step = torch.optim.Adam(trained.parameters()).step
    compiled = torch.compile(trained, fullgraph=True, backend=backend)
    loss = trained
    assert not warnings_of(lambda: [(backwards(1), step()) for _ in range(2 * patience)])
    loss.eval()
    copied = copy.deepcopy(loss)  # whose graph is another, and whose gradients are counted afresh
    compiled, loss = torch.compile(copied.train(), fullgraph=True, backend=backend), copied
    assert len(warnings_of(lambda: backwards(patience + 1))) == 1


def test_no_warning_when_updates_are_rare(patience):
    """Gradient accumulation: the first update comes late, and later ones further apart than the patience."""
    loss = ALCLoss()
    step = torch.optim.Adam(loss.parameters()).step
    assert not warnings_of(lambda: forwards(loss, patience - 1))
    step()
    assert not warnings_of(lambda: forwards(loss, 3 * patience))


@learned
def test_no_warning_where_nothing_is_to_be_learned(make, patience):
    def evaluated():
        forwards(make().eval(), 2 * patience)

    def without_gradients():
        loss = make()
        with torch.no_grad():
            for _ in range(2 * patience):
                loss(*zero_target(E))

    def frozen():
        loss = make().requires_grad_(False)
        for _ in range(2 * patience):
            loss(*zero_target(E))

    def nothing_learned():
        loss = ALCLoss(learn=())
        for _ in range(2 * patience):
            loss(*zero_target(E))

    def functional():
        loss = make()
        values = {name: p.detach().clone() for name, p in loss.named_parameters()}
        for _ in range(2 * patience):
            functional_call(loss, values, zero_target(E))

    for action in (evaluated, without_gradients, frozen, nothing_learned, functional):
        assert not warnings_of(action), action.__name__


def test_a_copy_and_another_type_count_afresh(patience):
    loss = ALCLoss()
    forwards(loss, patience)
    twin = copy.deepcopy(loss)
    assert not warnings_of(lambda: forwards(twin, patience))
    assert not warnings_of(lambda: forwards(loss.double(), patience))
    assert len(warnings_of(lambda: forwards(twin, 1))) == 1
    assert len(warnings_of(lambda: forwards(loss, 1))) == 1


# --- the warning of a scale at its floor ----------------------------------------------------------------------------

FLOORED = {
    "alcl": (partial(ALCLoss, beta_min=0.5), "beta_min=0.5"),
    "alcl_channels": (partial(ALCLoss, beta_min=0.5, parameter_shape=(2,)), "beta_min=0.5 in 1 of 2 places"),
    "student_t": (partial(StudentTLoss, scale_min=0.5), "scale_min=0.5"),
    "barron": (partial(BarronLoss, scale_min=0.5), "scale_min=0.5"),
    "gaussian": (partial(make_loss, "gaussian"), "scale_min=0.001"),
    "generalized_cauchy": (partial(make_loss, "generalized_cauchy"), "scale_min=0.001"),
}
floored = pytest.mark.parametrize(("make", "floor"), FLOORED.values(), ids=FLOORED)


@pytest.fixture
def glances(monkeypatch):
    """More frequent looks, to keep these tests short."""
    monkeypatch.setattr(base, "LOOK_EVERY", 4)
    return 4


def floor_warnings(loss, number, e=torch.tensor([0.0, 9.0]), lr=0.0):  # noqa: B008
    step = torch.optim.SGD(loss.parameters(), lr=lr).step
    return warnings_of(lambda: forwards(loss, number, after=step, e=e), about="has sunk to its floor")


def at_floor(loss, raw=-20.0):
    name = "raw_beta" if isinstance(loss, ALCLoss) else "raw_scale"
    getattr(loss, name).data.flatten()[0] = raw
    return loss


@floored
def test_a_scale_at_its_floor_is_told_once_with_what_to_do(make, floor, glances):
    loss = at_floor(make())
    assert not floor_warnings(loss, LOOKS * glances - 1)
    (warning,) = floor_warnings(loss, 3 * LOOKS * glances)
    assert warning.filename == __file__
    text = str(warning.message)
    assert text.startswith(f"{type(loss).__name__}: {floor.partition('_min')[0]} has sunk to its floor, {floor},")
    for advice in ("loss(input[mask], target[mask])", "not clipped", "raise the floor"):
        assert advice in text


@floored
def test_a_scale_that_only_passes_by_its_floor_is_not(make, floor, glances):
    loss = make()
    for _ in range(2):
        assert not floor_warnings(at_floor(loss), (LOOKS - 1) * glances)
        assert not floor_warnings(at_floor(loss, 1.0), glances)  # it has risen again
    assert not floor_warnings(at_floor(make().eval()), LOOKS * glances)
    # a tenth above it is not at it
    floor = float(floor.split("=")[1].split()[0])
    assert not floor_warnings(at_floor(make(), math.log(math.expm1(0.1 * floor))), LOOKS * glances)
    assert floor_warnings(at_floor(make(), math.log(math.expm1(0.04 * floor))), LOOKS * glances)


def test_padding_that_is_learned_from_is_told_and_a_mask_is_the_cure():
    """The story in the documentation: 60 % zeros on both sides. The residuals that count have a scale of 1."""
    g = torch.Generator().manual_seed(0)
    e = torch.randn(500, generator=g)
    mask = torch.rand(500, generator=g) < 0.4

    def trained(criterion, loss):
        optimizer = torch.optim.Adam(criterion.parameters(), lr=0.05)

        def train():
            for _ in range(700):
                optimizer.zero_grad()
                loss(criterion).backward()
                optimizer.step()

        told = len(warnings_of(train, about="has sunk to its floor"))
        return criterion.beta.item(), told

    padded, told = trained(ALCLoss(), lambda c: c(*zero_target(e * mask)))
    assert told == 1
    assert padded < 1.05e-3
    selected, told = trained(ALCLoss(), lambda c: c(*zero_target(e[mask])))
    assert told == 0
    weighted, told = trained(ALCLoss(reduction="none"), lambda c: (c(*zero_target(e * mask)) * mask).sum() / mask.sum())
    assert told == 0
    assert selected == pytest.approx(weighted, rel=1e-3)
    assert selected > 0.5


def test_no_warning_of_a_floor_where_nothing_is_learned_of_the_scale(glances):
    assert not floor_warnings(ALCLoss(beta=1e-3, learn="alpha"), LOOKS * glances)


# --- printed form ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (ALCLoss(), "ALCLoss(alpha=2, beta=1, kappa=1, learn=('alpha', 'beta'), reduction='mean')"),
        (
            ALCLoss(1.5, 0.25, 3.0, learn=(), reduction="sum"),
            "ALCLoss(alpha=1.5, beta=0.25, kappa=3, learn=(), reduction='sum')",
        ),
        (
            ALCLoss(parameter_shape=(3, 1, 1), learn="beta"),
            "ALCLoss(alpha=<3x1x1>, beta=<3x1x1>, kappa=<3x1x1>, learn=('beta',), reduction='mean')",
        ),
        (GeneralizedCorrentropyLoss(3, 0.5), "GeneralizedCorrentropyLoss(alpha=3.0, beta=0.5)"),
        (CauchyLoss(0.3), "CauchyLoss(scale=0.3)"),
        (HuberLoss(2), "HuberLoss(delta=2.0)"),
        (MSELoss(), "MSELoss()"),
        (L1Loss(), "L1Loss()"),
    ],
)
def test_printed_form_shows_current_values(loss, text):
    assert repr(loss) == text


def test_printed_form_follows_the_learning():
    loss = ALCLoss()
    with torch.no_grad():
        loss.raw_beta.fill_(3.0)
    assert "beta=3.05" in repr(loss)  # 0.001 + softplus(3)


# --- would these oracles notice a mistake? --------------------------------------------------------------------------

GRID = np.array([-7.0, -1.3, -0.4, 0.25, 0.9, 3.0])
SETTINGS = [(1.4, 0.6, 1.0), (2.0, 1.5, 0.8), (3.2, 0.9, 2.5)]


def formula(kind, e, alpha, beta, kappa):
    t = (np.abs(e) / beta) ** alpha
    return kappa * np.log1p(t) if kind == "alcl" else 1 - np.exp(-t)


def forms(L, kind, e, alpha, beta, kappa):
    """One loss in the module `L`, summed: element by element, with scalars as tensors and as numbers, and with
    parameters for every element."""
    numbers = [x.item() for x in (alpha, beta, kappa)]
    if kind == "alcl":
        yield L.log_correntropy(e, alpha, beta, kappa).sum()
        yield L.alcl_loss(*zero_target(e), alpha, beta, kappa, reduction="sum", normalized=False)
        raw, again = (alpha, beta, kappa), partial(L.alcl_loss, reduction="sum", normalized=False)
        setting = L.kernels.Setting("log_correntropy", *numbers, chain=np.eye(3).tolist())
    else:
        yield L.correntropy_loss(e, alpha, beta).sum()
        yield L.generalized_correntropy_loss(*zero_target(e), alpha, beta, reduction="sum")
        raw, again = (alpha, beta), partial(L.generalized_correntropy_loss, reduction="sum")
        setting = L.kernels.Setting("correntropy", *numbers[:2], 1.0, chain=np.eye(3).tolist()[:2])
    yield L.kernels.Whole.apply(*zero_target(e), False, setting, again, *raw)
    yield again(*zero_target(e), *(x.expand_as(e) for x in raw))


FORMS = range(4)


def close(got, expected, rtol=1e-6, atol=1e-8):
    np.testing.assert_allclose(np.asarray(got, dtype=float), expected, rtol=rtol, atol=atol)


def each(kinds=("alcl", "gcl")):
    for kind in kinds:
        for setting in SETTINGS:
            for form in FORMS:
                arguments = [tensor(x).requires_grad_() for x in (GRID, *setting)]
                yield kind, setting, form, arguments


def value(L):
    for kind, setting, form, arguments in each():
        close(list(forms(L, kind, *arguments))[form].item(), formula(kind, GRID, *setting).sum(), rtol=1e-12)


def residual_gradient(L):
    for kind, setting, form, arguments in each():
        (got,) = torch.autograd.grad(list(forms(L, kind, *arguments))[form], arguments[:1])
        h = 1e-6
        close(got, (formula(kind, GRID + h, *setting) - formula(kind, GRID - h, *setting)) / (2 * h))


def parameter_gradients(L):
    for kind, setting, form, arguments in each():
        got = torch.autograd.grad(list(forms(L, kind, *arguments))[form], arguments[1:], materialize_grads=True)
        for i, g in enumerate(got):
            up, down = (list(setting) for _ in range(2))
            up[i] += 1e-6
            down[i] -= 1e-6
            close(g.item(), (formula(kind, GRID, *up).sum() - formula(kind, GRID, *down).sum()) / 2e-6)


def second_derivatives(L):
    for kind, setting, form, arguments in each():
        (first,) = torch.autograd.grad(list(forms(L, kind, *arguments))[form], arguments[:1], create_graph=True)
        along_e, along_alpha = torch.autograd.grad(first.sum(), arguments[:2])
        h = 1e-4
        middle = 2 * formula(kind, GRID, *setting)
        close(
            along_e, (formula(kind, GRID + h, *setting) + formula(kind, GRID - h, *setting) - middle) / h**2, 1e-4, 1e-5
        )
        alpha, *rest = setting
        mixed = sum(s * t * formula(kind, GRID + s * h, alpha + t * h, *rest).sum() for s in (-1, 1) for t in (-1, 1))
        close(along_alpha.item(), mixed / (4 * h**2), 1e-4, 1e-5)


def at_zero(L):
    for kind in ("alcl", "gcl"):
        for form in FORMS:
            arguments = [tensor(x).requires_grad_() for x in ([0.0], 2.0, 0.5, 1.5)]
            total = list(forms(L, kind, *arguments))[form]
            ready = torch.autograd.grad(total, arguments, retain_graph=True, materialize_grads=True)
            close([g.item() for g in ready], 0, atol=1e-300)
            gradients = torch.autograd.grad(total, arguments, create_graph=True, materialize_grads=True)
            (curvature,) = torch.autograd.grad(gradients[0], arguments[0])
            close([total.item(), *(g.item() for g in gradients)], 0, atol=1e-300)
            close(curvature.item(), 2 * (1.5 if kind == "alcl" else 1.0) / 0.5**2)
            arguments = [tensor(x).requires_grad_() for x in ([0.0, -0.4], 2.0, 0.5, 1.5)]  # zero among others
            (slope,) = torch.autograd.grad(list(forms(L, kind, *arguments))[form], arguments[:1])
            assert slope[0] == 0
            assert slope[1] < 0


def extremes(L):
    for kind in ("alcl", "gcl"):
        for form in FORMS:
            e = torch.tensor([1e-45, -1e-38, 1e-4, 1e30, -1e38])
            arguments = [e.requires_grad_(), *(torch.tensor(x, requires_grad=True) for x in (3.0, 0.5, 1.5))]
            total = list(forms(L, kind, *arguments))[form]
            ready = torch.autograd.grad(total, arguments, retain_graph=True, materialize_grads=True)
            gradients = torch.autograd.grad(total, arguments, create_graph=True, materialize_grads=True)
            assert all(x.isfinite().all() for x in (total, *ready, *gradients))
            close(total.item(), 1.5 * 3 * (math.log(1e30 / 0.5) + math.log(1e38 / 0.5)) if kind == "alcl" else 2, 1e-5)
            (second,) = torch.autograd.grad(gradients[0].sum(), arguments[1])
            assert second.isfinite()


def small_residuals(L):
    tiny = torch.tensor([1e-4])
    for reduction in ("none", "sum"):
        close(L.generalized_correntropy_loss(*zero_target(tiny), reduction=reduction).item(), 1e-8, 1e-4, 0)


def likelihoods(L):
    e = tensor(GRID)
    for got, law in (
        (L.ALCLoss(2.0, 0.7), stats.cauchy(scale=0.7)),
        (L.ALCLoss(2.0, 0.7 * math.sqrt(5.0), 3.0), stats.t(5.0, scale=0.7)),
        (L.ALCLoss(2.0, 0.7 * math.sqrt(5.0), 3.0, learn="kappa"), stats.t(5.0, scale=0.7)),
        (L.StudentTLoss(5.0, 0.7), stats.t(5.0, scale=0.7)),
        (L.BarronLoss(0.0, 0.7 / math.sqrt(2), learn="scale"), stats.cauchy(scale=0.7)),
        (L.BarronLoss(2.0, 0.7, learn="scale"), stats.norm(scale=0.7)),
    ):
        for reduction, expected in (("none", -law.logpdf(e)), ("mean", -law.logpdf(e).mean())):
            got.reduction = reduction
            close(got.double()(*zero_target(e)).detach(), expected, rtol=1e-5)


def reductions(L):
    input, target = pair(4, 3, 2)
    for loss in (L.ALCLoss(3.0, torch.tensor([0.1, 1.0, 5.0])[:, None], parameter_shape=(3, 1)), L.StudentTLoss()):
        values = {}
        for loss.reduction in REDUCTIONS:
            values[loss.reduction] = loss.double()(input, target).detach()
        close(values["mean"], values["none"].mean())
        close(values["sum"], values["none"].sum())


def normaliser_can_be_left_out(L):
    loss = L.ALCLoss(1.5, 0.3, normalized=False, reduction="sum").double()
    close(loss(*zero_target(tensor(GRID))).item(), formula("alcl", GRID, 1.5, 0.3, 1.0).sum(), rtol=1e-5)


def parameters_come_back(L):
    loss = L.ALCLoss(1.7, 0.4, 2.2, learn=("alpha", "beta", "kappa"))
    close([loss.alpha.item(), loss.beta.item(), loss.kappa.item()], [1.7, 0.4, 2.2], rtol=1e-5)
    student, barron = L.StudentTLoss(2.5, 0.3), L.BarronLoss(0.6, 0.3)
    close(
        [student.dof.item(), student.scale.item(), barron.alpha.item(), barron.scale.item()], [2.5, 0.3, 0.6, 0.3], 1e-5
    )


def floors(L):
    for learn, kappa in ((("alpha", "beta"), 1.0), (("alpha", "beta", "kappa"), 2.0)):
        loss = L.ALCLoss(kappa=kappa, learn=learn)
        for p in loss.parameters():
            p.data.fill_(-200.0)
        assert loss(*zero_target(torch.tensor([0.0, 1.0]))).isfinite()
        assert loss.beta >= torch.tensor(1e-3)


def half_precision(L):
    loss = L.ALCLoss()(torch.tensor([6e4], dtype=torch.float16), torch.tensor([-6e4], dtype=torch.float16))
    close(loss.item(), -stats.cauchy.logpdf(1.2e5), rtol=1e-3)


def integers(L):
    close(L.log_correntropy(torch.tensor([2]), 1.5, 0.7, 1.0), formula("alcl", np.array([2.0]), 1.5, 0.7, 1.0), 1e-5)


def groups(L):
    model, loss = nn.Linear(1, 1), L.ALCLoss()
    network, own = L.optimizer_groups(nn.Sequential(model, loss), loss, lr=0.1, loss_lr=0.3, weight_decay=0.5)
    assert (network["lr"], network["weight_decay"], own["lr"], own["weight_decay"]) == (0.1, 0.5, 0.3, 0.0)
    assert len(network["params"]) == len(own["params"]) == 2


def warning(L):
    untrained, trained = L.ALCLoss(), L.ALCLoss()
    assert len(warnings_of(lambda: forwards(untrained, 3 * L.PATIENCE))) == 1
    step = torch.optim.Adam(trained.parameters(), fused=True).step
    assert not warnings_of(lambda: forwards(trained, 2 * L.PATIENCE, after=step))
    accumulating = L.ALCLoss()
    optimizer = torch.optim.Adam(accumulating.parameters())
    assert not warnings_of(lambda: forwards(accumulating, 2 * L.PATIENCE))
    optimizer.step()


def substituted_kappa(L):
    """torch.func.functional_call with another fixed kappa."""
    got = functional_call(
        L.ALCLoss(2.0, math.sqrt(5.0)), {"fixed_kappa": torch.tensor(3.0)}, zero_target(torch.ones(1))
    )
    close(got.item(), -stats.t.logpdf(1.0, 5.0), 1e-5)


def nonfinite(L):
    """Bounded losses hide an infinite residual from the value."""
    for loss in (L.ALCLoss(), L.GeneralizedCorrentropyLoss(), L.ALCLoss(reduction="none")):
        for bad in (math.nan, math.inf):
            message = ""
            try:
                loss(torch.tensor([1.0, bad]), torch.zeros(2))
            except ValueError as error:
                message = str(error)
            assert "got 1 of 2 that are not" in message
        assert loss(torch.tensor([1.0, 3e38]), torch.zeros(2)).isfinite().all()


def agreement(L):
    """At e = 0 and at the floors."""
    for dtype, loss in (
        (F64, L.ALCLoss(0.02, 1.0, 100.0, learn=())),
        (torch.float32, L.ALCLoss(learn="alpha")),
        (torch.float32, L.ALCLoss(kappa=2.0, learn="kappa", parameter_shape=(2,))),
    ):
        for p in loss.parameters():
            p.data.fill_(-13.0)
        found = []
        for loss.reduction in ("none", "mean"):
            found.append(loss.to(dtype)(*zero_target(torch.tensor([0.0, 0.0], dtype=dtype))).mean().item())
        close(found[0], found[1], 1e-6)
    zero = tensor([0.0, 0.0])
    close(list(forms(L, "alcl", zero, tensor(0.02), tensor(1.0), tensor(100.0))), 0, atol=1e-12)


def nothing(L):
    """A batch without elements."""
    loss = L.ALCLoss(kappa=2.0, learn=("alpha", "beta", "kappa"))
    value = loss(*zero_target(torch.zeros(0)))
    value.backward()
    assert value.isnan()
    close([p.grad.item() for p in loss.parameters()], 0, atol=0)


def floors_in_the_state(L):
    loss = L.ALCLoss(alpha_min=1.4)
    loss.load_state_dict(L.ALCLoss(1.5, 0.3).state_dict())
    close([loss.alpha.item(), loss.beta.item()], [1.5, 0.3], 1e-6)


BATTERY = (
    value, residual_gradient, parameter_gradients, second_derivatives, at_zero, extremes, small_residuals, likelihoods,
    reductions, normaliser_can_be_left_out, parameters_come_back, floors, half_precision, integers, groups, warning,
    substituted_kappa, nonfinite, agreement, nothing, floors_in_the_state,
)  # fmt: skip


def library(*modules):
    """All names of the modules in one place."""
    return types.SimpleNamespace(**{name: value for module in modules for name, value in vars(module).items()})


def rejections(L, battery=BATTERY):
    """Names of the checks of `battery` that the `library` L, or a mutant of it, fails."""
    failed, shortcut = [], L.kernels.numbers_can_be_read
    for allowed in (shortcut, lambda: False):  # the scalar implementation where it applies, and without it
        L.kernels.numbers_can_be_read = allowed
        for check in battery:
            if check.__name__ in failed:
                continue
            try:
                check(L)
            except Exception:  # a mutant may fail in any way
                failed.append(check.__name__)
    L.kernels.numbers_can_be_read = shortcut
    return failed


# (what is wrong, module, a check that must notice it, the text, what it becomes)
MUTANTS = [
    ("kappa ignored in the value", kernels, "value",
     "phi = kappa * softplus(logit)", "phi = softplus(logit)"),
    ("sign of the value", kernels, "value",
     "t < 1, -torch.expm1(", "t < 1, torch.expm1("),
    ("1 - exp instead of expm1", kernels, "small_residuals",
     "t < 1, -torch.expm1(-t),", "t < 0, -torch.expm1(-t),"),
    ("power 2 whatever alpha", kernels, "value",
     "logit = alpha * (torch.where(", "logit = 2 * (torch.where("),
    ("sum becomes mean", base, "reductions",
     "self.rho(residual).sum()", "self.rho(residual).mean()"),
    ("value saturates far out", kernels, "extremes",
     "of_each.maximum(logit.mul_(_LN2)) if careful else of_each", "of_each"),
    ("overflow far out", kernels, "extremes",
     "math.log2(info.max) - 5", "math.log2(info.max) + 2"),
    ("log of zero", kernels, "at_zero",
     "torch.where(zero, 1.0, size.detach())", "size.detach()"),
    ("derivatives divided by subnormal residuals", kernels, "extremes",
     "torch.where(zero, 1.0, size.detach())", "torch.where(zero, 1.0, size)"),
    ("curvature at zero halved", kernels, "at_zero",
     "curved * (torch.where(zero", "0.5 * curved * (torch.where(zero"),
    ("curvature at zero forgotten", kernels, "at_zero",
     "torch.where(zero, curved * ", "torch.where(zero, 0 * "),
    ("infinite exp in the second derivative", kernels, "extremes",
     "logit.clamp(max=50.0).exp()", "logit.exp()"),
    ("rows: sign of phi", kernels, "value",
     "phi = spare.sum(0).neg_()", "phi = spare.sum(0)"),
    ("rows: beta left out of t", rows, "value",
     "(alpha, -alpha * log2_beta, ", "(alpha, 0 * log2_beta, "),
    ("rows: alpha missing in the residual's gradient", rows, "residual_gradient",
     "self.unit * kappa * alpha)", "self.unit * kappa)"),
    ("rows: sign of d_beta", rows, "parameter_gradients",
     "-kappa * alpha / beta * h)", "kappa * alpha / beta * h)"),
    ("rows: base 2 left in d_alpha", rows, "parameter_gradients",
     "kappa * kernels._LN2 * (h_log", "kappa * (h_log"),
    ("rows: logarithm of |e|, not of |e/beta|", rows, "parameter_gradients",
     "(h_log - log2_beta * h)", "h_log"),
    ("rows: d_kappa is not the sum of log(1 + t)", rows, "parameter_gradients",
     "d_kappa = phi if", "d_kappa = 2 * phi if"),
    ("rows: kappa ignored in the value", rows, "value",
     "unit * (kappa * phi).sum()", "unit * phi.sum()"),
    ("rows: overflow far out", kernels, "extremes",
     "if not careful and not math.isfinite(", "if False and not math.isfinite("),
    ("rows: zero is the smallest normal number", kernels, "agreement",
     "if ordinary or lost:", "if True:"),
    ("each: kappa ignored in the value", rows, "value",
     "else values.mul_(kappa)", "else values"),
    ("each: saved gradients differentiated as constants", rows, "second_derivatives",
     "if torch.is_grad_enabled():  # a second derivative is wanted", "if False:"),
    ("each: d_alpha without the logarithm", rows, "parameter_gradients",
     "(flow * log2_u)", "flow"),
    ("each: sign of d_beta", rows, "parameter_gradients",
     "/ -beta", "/ beta"),
    ("each: d_kappa not divided by kappa", rows, "parameter_gradients",
     ".sum_to_size(kappa.shape) / kappa", ".sum_to_size(kappa.shape)"),
    ("scalar: phi not weighted by kappa", kernels, "value",
     "unit * (setting.kappa * phi", "unit * (phi"),
    ("scalar: sign of phi", kernels, "value",
     "phi = -spare.sum()", "phi = spare.sum()"),
    ("scalar: beta left out of t", kernels, "value",
     "-alpha * log2_beta)", "0.0)"),
    ("scalar: sign of the residual lost", kernels, "at_zero",
     "h.mul_(torch.sgn(e, out=spare))", "h"),
    ("scalar: overflow far out", kernels, "extremes",
     "if not math.isfinite(phi + h_sum + h_log):", "if False:"),
    ("scalar: h", kernels, "residual_gradient",
     "torch.add(t, 1, out=spare)", "torch.add(t, 2, out=spare)"),
    ("scalar: h of correntropy", kernels, "residual_gradient",
     "t.mul_(spare.add_(1))", "t.mul_(spare)"),
    ("scalar: alpha missing in the residual's gradient", kernels, "residual_gradient",
     "value=unit * kappa * alpha", "value=unit * kappa"),
    ("scalar: logarithm of |e|, not of |e/beta|", kernels, "parameter_gradients",
     "(h_log - log2_beta * h_sum)", "h_log"),
    ("scalar: sign of d_beta", kernels, "parameter_gradients",
     "-kappa * alpha / beta * h_sum", "kappa * alpha / beta * h_sum"),
    ("scalar: saved gradients differentiated as constants", kernels, "second_derivatives",
     "if torch.is_grad_enabled():  # a second derivative is wanted\n            #", "if False:\n            #"),
    ("scalar: normaliser missing", base, "likelihoods",
     "if not normalized:", "if True:"),
    ("scalar: normaliser counted once", kernels, "reductions",
     "count * setting.log_z", "setting.log_z"),
    ("scalar: floor forgotten", base, "likelihoods",
     "return floor + max(raw, 0.0)", "return max(raw, 0.0)"),
    ("normaliser missing", losses, "likelihoods",
     "if not self.normalized:", "if True:"),
    ("normaliser always there", losses, "normaliser_can_be_left_out",
     "if not self.normalized:", "if False:"),
    ("normaliser for kappa = 1", losses, "substituted_kappa",
     "1.0 if kappa_is_one else kappa", "1.0"),
    ("kappa thought to be 1", losses, "likelihoods",
     "return kappa.item() == 1 if", "return True if"),
    ("kappa alpha - 1 of what is rounded", losses, "agreement",
     "else kappa, tail_index)", "else kappa, None)"),
    ("zero is 1", kernels, "agreement",
     ".add_(zero, alpha=_LOG2_OF_ZERO)", ""),
    ("scalar: zero is the smallest normal number", kernels, "agreement",
     "if ordinary or alpha * (math.log2(tiny) - log2_beta) <= math.log2(tiny):", "if True:"),
    ("a mean over nothing", functional, "nothing",
     'if reduction == "mean" and count == 0:', "if False:"),
    ("floors stay behind", base, "floors_in_the_state",
     "            setattr(self, name, value)", "            pass"),
    ("mean without division", functional, "reductions",
     'rho_sum / count if reduction == "mean"', 'rho_sum if reduction == "mean"'),
    ("normaliser added once to a sum", functional, "reductions",
     "count * log_z.mean()", "log_z.mean()"),
    ("floor forgotten in what is shown", base, "parameters_come_back",
     "return floor + self._above(raw, floor, cap)", "return self._above(raw, floor, cap)"),
    ("floor forgotten", losses, "likelihoods",
     "alpha = floor + above", "alpha = above"),
    ("kappa may reach 1/alpha", losses, "floors",
     "_HAIR = 1 + 1e-6", "_HAIR = 1"),
    ("kappa of Student's t", comparators, "likelihoods",
     "(dof + 1) / 2", "dof / 2"),
    ("scale of Student's t", comparators, "likelihoods",
     "self.scale * dof.sqrt()", "self.scale"),
    ("scale missing in Barron's normaliser", barron, "likelihoods",
     "self.scale.log() + barron", "barron"),
    ("partition missing in Barron's normaliser", barron, "likelihoods",
     "self.scale.log() + barron_log_partition(self.alpha)", "self.scale.log()"),
    ("exponent of Barron's loss", barron, "likelihoods",
     "r = (0.25 * divisor", "r = (0.5 * divisor"),
    ("half precision subtracted", functional, "half_precision",
     "return _at_least_float32(input), _at_least_float32(target)", "return input, target"),
    ("integer parameters", functional, "integers",
     "    return x.float()  # half", "    return x  # half"),
    ("weight decay on the loss", losses, "groups",
     '"weight_decay": 0.0}', '"weight_decay": weight_decay}'),
    ("loss parameters twice", losses, "groups",
     "if id(p) not in known", ""),
    ("loss at the network's rate", losses, "groups",
     '"params": own, "lr": loss_lr', '"params": own, "lr": lr'),
    ("silence", base, "warning",
     "criterion is not None and criterion.training:", "False:"),
    ("false alarm while gradients are accumulated", base, "warning",
     " and not _optimized(learnable)", ""),
    ("false alarm", base, "warning",
     "all(map(torch.equal, learnable, first)) and not _optimized(learnable)", "True"),
    ("NaN let through", base, "nonfinite",
     "math.isfinite(witness.item())", "True"),
    ("infinite residuals hidden by a bounded loss", base, "nonfinite",
     "    bounded = True\n", "    bounded = False\n"),
]  # fmt: skip


def mutant(module, old, new):
    """The `library` with `old` replaced by `new` in one of its modules, or in the kernels that they use."""
    built = {}
    for original in (kernels, rows, functional, base, losses, barron, comparators):
        source = inspect.getsource(original)
        if original is module:
            assert source.count(old) >= 1, f"{module.__name__} no longer holds the text that this mutant changes"
            source = source.replace(old, new)
        built[original] = types.ModuleType(f"{original.__name__}_mutant")
        built[original].__package__ = "alcl"
        with mock.patch.dict(sys.modules, {m.__name__: mutated for m, mutated in built.items() if m is not original}):
            exec(compile(source, original.__name__, "exec", dont_inherit=True), built[original].__dict__)
        built[original].kernels = built[kernels]
        if original is not kernels:
            built[original].rows = built[rows]
    built[base].PATIENCE = 10
    return library(*(built[module] for module in (base, functional, comparators, losses)))


def test_the_battery_accepts_the_original(patience):
    assert rejections(library(base, functional, comparators, losses)) == []
    assert rejections(mutant(losses, "", "")) == []  # rebuilt from its source, too


#: Which check notices which mutant, written by `make mutants`.
TABLE = Path(__file__).with_name("mutants.md")


def mutants_table():
    """Every mutant with the checks that reject it, as Markdown."""
    rows = ["| what is wrong | in | noticed by |", "|---|---|---|"]
    for wrong, module, _, old, new in MUTANTS:
        noticed = ", ".join(rejections(mutant(module, old, new)))
        rows.append("| " + wrong.replace("|", "\\|") + f" | {module.__name__} | {noticed} |")
    head = (
        f"# {len(MUTANTS)} mutants of the loss\n\nWritten by `make mutants` from `MUTANTS` and `BATTERY` in "
        "[test_losses.py](test_losses.py): each mutant is the source with one text replaced, run against every check. "
        "A test fails when a row is no longer true.\n\n"
    )
    return head + "\n".join(rows) + "\n"


def tabled():
    rows = [line[2:-2].rsplit(" | ", 2) for line in TABLE.read_text("utf-8").splitlines()[6:]]
    return {wrong.replace("\\|", "|"): checks.split(", ") for wrong, _, checks in rows}


@pytest.mark.parametrize(("wrong", "module", "check", "old", "new"), MUTANTS, ids=[m[0] for m in MUTANTS])
def test_every_mutant_is_noticed(wrong, module, check, old, new):
    expected = {check, *tabled()[wrong]}
    noticed = rejections(mutant(module, old, new), [each for each in BATTERY if each.__name__ in expected])
    assert set(noticed) == expected, "run make mutants"


def test_the_table_lists_every_mutant():
    assert list(tabled()) == [wrong for wrong, *_ in MUTANTS], "run make mutants"


def test_every_check_is_what_some_mutant_is_listed_for():
    assert {check for _, _, check, _, _ in MUTANTS} == {check.__name__ for check in BATTERY}


class TestFromResiduals:
    """`ALCLoss.from_residuals`: a first scale from the data."""

    @pytest.mark.parametrize(("alpha", "kappa"), [(2.0, 1.0), (1.3, 1.0), (4.0, 0.7), (2.0, 5.0)])
    @pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
    def test_half_of_the_model_lies_within_the_median(self, alpha, kappa, unit):
        e = unit * torch.tensor([0.3, -0.1, 2.0, -1e5, 0.7], dtype=torch.float64)
        loss = ALCLoss.from_residuals(e, alpha=alpha, kappa=kappa)
        beta = loss.beta.item()
        z = 2 * beta / alpha * special.beta(1 / alpha, kappa - 1 / alpha)
        inside = integrate.quad(lambda x: (1 + (abs(x) / beta) ** alpha) ** -kappa / z, -0.7 * unit, 0.7 * unit)[0]
        assert inside == pytest.approx(0.5, rel=1e-5)
        assert loss.beta_min == pytest.approx(1e-3 * beta, rel=1e-5)

    def test_every_place_has_its_own(self):
        units = torch.tensor([1.0, 10.0, 100.0]).view(3, 1, 1)
        e = units * torch.randn(40, 1, 5, 5, generator=torch.Generator().manual_seed(0))
        loss = ALCLoss.from_residuals(e, parameter_shape=(3, 1, 1))
        torch.testing.assert_close(loss.beta / loss.beta[0], units)

    def test_subclasses_take_their_constants_from_the_residuals_too(self):
        e = torch.tensor([1.0, -4.0, 10.0])
        assert ContaminatedALCLoss.from_residuals(e).density == pytest.approx(1 / 20)
        assert ContaminatedALCLoss.from_residuals(e, density=0.2).density == 0.2
        assert CensoredALCLoss.from_residuals(e, eps=0.1, limits=(0, 50)).density == pytest.approx(1 / 50)

    @pytest.mark.parametrize(
        ("residual", "options", "message"),
        [
            (torch.zeros(0), {}, "residual must hold finite numbers"),
            (torch.tensor([1.0, torch.nan]), {}, "residual must hold finite numbers"),
            (torch.tensor([0.0, 0.0, 1.0]), {}, "residual must not be exactly zero"),
            (torch.ones(4), {"parameter_shape": (3,)}, "parameter_shape=.3,. must broadcast against residual"),
            (torch.ones(4), {"beta": 1.0}, "beta is what the residuals give"),
            (torch.ones(4), {"alpha": 0.5}, "alpha"),
        ],
    )
    def test_bad_input_is_named(self, residual, options, message):
        with pytest.raises(ValueError, match=message):
            ALCLoss.from_residuals(residual, **options)


if __name__ == "__main__":
    TABLE.write_text(mutants_table(), "utf-8")
