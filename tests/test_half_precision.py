"""Half precision in full: every finite float16 and bfloat16 residual, and training under autocast."""

import itertools

import pytest
import torch
from torch import nn

from alcl.functional import alcl_loss, log_correntropy
from alcl.losses import ALCLoss, optimizer_groups

HALVES = (torch.float16, torch.bfloat16)
ALPHAS = (1 + 1e-6, 1.5, 2.0, 7.0, 50.0)
BETAS = (1e-3, 0.1, 1.0, 1e3, 1e6)
halves = pytest.mark.parametrize("dtype", HALVES, ids=["float16", "bfloat16"])


def every_finite(dtype):
    """All of the type's finite numbers: 63,488 of float16, 65,280 of bfloat16; subnormals and both zeros included."""
    numbers = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    return numbers[numbers.isfinite()]


@halves
def test_all_of_them(dtype):
    assert len(every_finite(dtype)) == {torch.float16: 63_488, torch.bfloat16: 65_280}[dtype]


@halves
@pytest.mark.parametrize("kappa", [0.6, 1.0, 3.0])
def test_value_is_that_of_float64_to_float32s_accuracy(dtype, kappa):
    """The accuracy that `log_correntropy` states, 2 eps (1 + alpha (|log|e|| + |log beta|)) with float32's eps, on
    every number there is: half precision costs nothing beyond what the numbers themselves have lost."""
    e = every_finite(dtype)
    for alpha, beta in itertools.product(ALPHAS, BETAS):
        got = log_correntropy(e, alpha, beta, kappa)
        assert got.dtype == torch.float32
        # the float32 roundings of the parameters are the caller's
        alpha32, beta32, kappa32 = (torch.tensor(v, dtype=torch.float32).double() for v in (alpha, beta, kappa))
        truth = log_correntropy(e.double(), alpha32, beta32, kappa32)
        away = e != 0
        c = 1 + alpha32 * (e.double().abs().log().abs() + beta32.log().abs())
        bound = 2 * torch.finfo(torch.float32).eps * c * truth + 4 * torch.finfo(torch.float32).tiny
        assert ((got.double() - truth).abs() <= bound)[away].all(), (alpha, beta)
        assert (got[~away] == 0).all()


@halves
@pytest.mark.parametrize("learn", [("alpha", "beta"), ("alpha", "beta", "kappa")], ids=["two", "three"])
def test_loss_and_every_gradient_are_finite_under_autocast(dtype, learn):
    residual = every_finite(dtype).requires_grad_()
    for alpha, beta, kappa in itertools.product((1 + 3e-6, *ALPHAS[1:]), (1.1e-3, *BETAS[1:]), (1.0, 4.0)):
        criterion = ALCLoss(alpha, beta, kappa, learn=learn)
        residual.grad = None
        with torch.autocast("cpu", dtype=dtype):
            value = criterion(residual, torch.zeros_like(residual))
        value.backward()
        assert value.dtype == torch.float32
        assert value.isfinite()
        assert residual.grad.dtype == dtype
        assert residual.grad.isfinite().all(), (alpha, beta, kappa)
        assert all(p.grad.isfinite() for p in criterion.parameters()), (alpha, beta, kappa)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_and_every_gradient_are_finite_from_subnormals_to_the_largest(dtype):
    """The module, normaliser included: alpha in [1 + 1e-6, 50], beta from the floor to 1e6, 1e-38 to 1e38, zeros."""
    info = torch.finfo(dtype)
    size = torch.logspace(-45, 38, 400, dtype=torch.float64).to(dtype)
    residual = torch.cat([size, -size, torch.tensor([0.0, -0.0, info.max, -info.max, info.tiny], dtype=dtype)])
    residual.requires_grad_()
    for alpha, beta, kappa in itertools.product((1 + 3e-6, *ALPHAS[1:]), (1.1e-3, *BETAS[1:]), (1.0, 1.7, 20.0)):
        criterion = ALCLoss(alpha, beta, kappa, learn=("alpha", "beta", "kappa"), reduction="sum").to(dtype)
        for reduction in ("mean", "none"):
            criterion.reduction, residual.grad = reduction, None
            value = criterion(residual, torch.zeros_like(residual))
            value.sum().backward()
            assert value.isfinite().all()
            assert residual.grad.isfinite().all(), (alpha, beta, kappa, reduction)
            assert all(p.grad.isfinite() for p in criterion.parameters()), (alpha, beta, kappa, reduction)


@halves
def test_a_network_learns_under_autocast_with_a_gradient_scaler(dtype):
    """The whole recipe: autocast, GradScaler, a convolution in channels_last, gradients accumulated over batches."""
    torch.manual_seed(0)
    model = nn.Conv2d(1, 1, 3, padding=1).to(memory_format=torch.channels_last)
    criterion = ALCLoss()
    x = torch.randn(8, 1, 8, 8).contiguous(memory_format=torch.channels_last)
    y = 2 * x + 0.05 * torch.randn(8, 1, 8, 8)
    y[:, :, 0, :2] = 50.0  # outliers
    optimizer = torch.optim.Adam(optimizer_groups(model, criterion, lr=0.02))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    values = []
    for _ in range(150):
        optimizer.zero_grad()
        for a, b in zip(x.split(4), y.split(4), strict=True):
            with torch.autocast("cpu", dtype=dtype):
                loss = criterion(model(a), b) / 2
            scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        values.append(loss.item())
    assert values[-1] < values[0] - 0.5
    assert model.weight[0, 0, 1, 1].item() == pytest.approx(2.0, abs=0.05)
    assert 0.01 < criterion.beta.item() < 0.2


def test_memory_layout_of_module_and_target_may_differ():
    torch.manual_seed(0)
    input, target = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    criterion = ALCLoss(parameter_shape=(3, 1, 1))
    expected = torch.autograd.grad(criterion(input, target), list(criterion.parameters()))
    for a, b in itertools.product((input, input.contiguous(memory_format=torch.channels_last)), repeat=2):
        t = target if b is input else target.contiguous(memory_format=torch.channels_last)
        got = torch.autograd.grad(criterion(a, t), list(criterion.parameters()))
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)
    assert alcl_loss(input[0, 0, 0, 0], target[0, 0, 0, 0], 2.0, 1.0).ndim == 0
