"""Tail probabilities of the generalized t, and their derivatives, against mpmath."""

import itertools

import mpmath as mp
import pytest
import torch

from alcl._tails import MOST, _fraction, _fraction_in_place, _steps, edge, in_numbers, log_survival

F32, F64 = torch.float32, torch.float64
TAILS = [(2, 1), (1.001, 1.003), (1.5, 1), (50, 1), (2, 0.55), (2, 5), (2, 50), (50, 50), (50, 0.021), (7, 0.2)]
PLACES = [-1e30, -3.0, -0.9, -0.1, -1e-6, 0.0, 1e-6, 0.05, 0.3, 0.8, 2.0, 30.0, 1e20]


def exact(x, alpha, beta, kappa):
    """log P(residual > x) to 40 digits."""
    u, a = x / beta, 1 / alpha
    t, b = abs(u) ** alpha, kappa - a
    tail = (
        mp.betainc(b, a, 0, 1 / (1 + t), regularized=True)
        if t > 1
        else 1 - mp.betainc(a, b, 0, t / (1 + t), regularized=True)
    )
    return mp.log(tail / 2) if u >= 0 else mp.log1p(-tail / 2)


@pytest.mark.parametrize(("dtype", "tolerance"), [(F64, 1e-12), (F32, 1e-4)])
@pytest.mark.parametrize(("alpha", "kappa"), TAILS)
def test_tail_and_its_derivatives_are_mpmaths(alpha, kappa, dtype, tolerance):
    alpha, kappa, beta = (torch.tensor(v, dtype=dtype).item() for v in (alpha, kappa, 0.5))
    x = torch.tensor(PLACES, dtype=dtype, requires_grad=True)
    parameters = [torch.tensor(v, dtype=dtype, requires_grad=True) for v in (alpha, beta, kappa)]
    rows = []
    for place in x:
        value = log_survival(place, *parameters[:2], parameters[2] - 1 / parameters[0])
        rows.append([value.item(), *(g.item() for g in torch.autograd.grad(value, [place, *parameters]))])
    with mp.workdps(40):
        for place, row in zip(x.tolist(), rows, strict=True):
            at = [mp.mpf(v) for v in (place, alpha, beta, kappa)]
            truth = [exact(*at)]
            for i, v in enumerate(at):
                step = mp.mpf(10) ** -13 * (abs(v) or 1)
                up, down = (exact(*at[:i], v + s, *at[i + 1 :]) for s in (step, -step))
                truth.append((up - down) / (2 * step))
            for i, (got, true) in enumerate(zip(row, truth, strict=True)):
                scale = float(abs(true)) + (1 if i != 1 else 1e-20)
                # 40 digits of log(1 - tail) leave few for the difference where the tail is 1e-20
                bound = max(tolerance, 1e-5 if i == 1 and abs(true) < 1e-15 else 0)
                assert abs(got - float(true)) <= bound * scale, (place, i, got, float(true))


# In float32 and up to kappa = MOST, a polynomial; else the continued fraction.
@pytest.mark.parametrize(("dtype", "tolerance"), [(F64, 2e-12), (F32, 1e-5)])
@pytest.mark.parametrize(("alpha", "kappa"), [*TAILS, (1.05, 1), (1.2, MOST), (4, 1.7), (50, MOST), (2, MOST + 1e-3)])
def test_tail_in_numbers_is_that_in_tensors(alpha, kappa, dtype, tolerance):
    alpha, beta, kappa = (torch.tensor(v, dtype=dtype).item() for v in (alpha, 0.5, kappa))
    x = torch.tensor([*PLACES, 0.45, 0.5, 0.55], dtype=dtype)
    beyond = x.abs() >= edge(dtype, alpha, beta, kappa)
    assert 0 < beyond.sum() < len(x)
    order = beyond.argsort(descending=True, stable=True)
    got = [row.double() for row in in_numbers(x[order], int(beyond.sum()), alpha, beta, kappa, True)]

    arguments = [x[order].double(), *(torch.full_like(x, v, dtype=F64) for v in (beta, alpha, kappa))]
    for argument in arguments:
        argument.requires_grad_()
    at, b, a, k = arguments
    tolerance *= 10 if kappa > 10 else 1  # a difference of log-gammas
    value = log_survival(at, a, b, k - 1 / a)
    for i, (found, true) in enumerate(zip(got, (value, *torch.autograd.grad(value.sum(), arguments)), strict=True)):
        close = tolerance * (true.abs() + (1 if i != 1 else 1e-20))
        # the smallest hazards are below what float32 holds
        assert ((found - true).abs() <= close + (1e-37 if i == 1 else 0)).all(), (i, found, true)
    fewer = in_numbers(x[order], int(beyond.sum()), alpha, beta, kappa, False)
    torch.testing.assert_close(fewer, [row.to(dtype) for row in got[:4]], rtol=1e-6, atol=1e-6)


def test_the_fraction_stands_still_at_the_worst_place():
    for dtype, (alpha, kappa) in itertools.product((F32, F64), [*TAILS, (2, 500), (2, 5000)]):
        a, b = 1 / alpha, kappa - 1 / alpha
        for p, q in ((b, a), (a, b)):
            worst = torch.tensor([(p + 1) / (p + q + 2)], dtype=F64)
            short, long = (_fraction_in_place(worst, p, q, n) for n in (_steps(dtype, kappa), 500))
            eps = torch.finfo(dtype).eps
            torch.testing.assert_close(short[0], long[0], rtol=4 * eps if dtype == F32 else 1e-12, atol=0)
            p_, q_ = torch.tensor(p, dtype=F64), torch.tensor(q, dtype=F64)
            torch.testing.assert_close(_fraction(worst, p_, q_, 500, True), long, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("alpha", "kappa"), [(2.0, 1.0), (1.3, 2.0), (5.0, 0.3)])
def test_tail_gradgradcheck(alpha, kappa):
    x = torch.tensor([-3.0, -0.2, 0.1, 0.6, 4.0], dtype=F64, requires_grad=True)
    rest = [torch.tensor(v, dtype=F64, requires_grad=True) for v in (alpha, 0.5, kappa - 1 / alpha)]
    assert torch.autograd.gradcheck(log_survival, (x, *rest))
    assert torch.autograd.gradgradcheck(log_survival, (x, *rest))
