"""Contaminated and censored ALCL and the Tobit control, against mpmath, scipy, finite differences and simulation."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate, stats

from alcl import ALCLoss, CensoredALCLoss, ContaminatedALCLoss, GeneralizedT, TobitLoss
from alcl._tails import log_survival
from alcl.contaminated import ContaminatedT

F64 = torch.float64
SETTINGS = [(2.0, 1.0, 1.0), (1.05, 0.2, 1.0), (1.5, 0.05, 1.0), (4.0, 3.0, 1.0), (2.0, 0.3, 0.6), (1.7, 0.4, 3.0)]
RESIDUALS = [0.0, 1e-6, 0.03, -0.4, 1.0, -7.5, 300.0, -1e6]


def log_density(e, alpha, beta, kappa):
    """log q by mpmath."""
    alpha, beta, kappa = map(mpmath.mpf, (alpha, beta, kappa))
    log_z = mpmath.log(2 * beta / alpha) + mpmath.log(mpmath.beta(1 / alpha, kappa - 1 / alpha))
    return -kappa * mpmath.log1p((abs(mpmath.mpf(e)) / beta) ** alpha) - log_z


def log_tail(x, alpha, beta, kappa):
    """log P(residual > x) by mpmath's own incomplete beta function."""
    alpha, beta, kappa, x = map(mpmath.mpf, (alpha, beta, kappa, x))
    t = (abs(x) / beta) ** alpha
    if t < 1:  # 1 / (1 + t) could round to 1
        half = (1 - mpmath.betainc(1 / alpha, kappa - 1 / alpha, 0, t / (1 + t), regularized=True)) / 2
    else:
        half = mpmath.betainc(kappa - 1 / alpha, 1 / alpha, 0, 1 / (1 + t), regularized=True) / 2
    return mpmath.log(half if x >= 0 else 1 - half)


def make(kind, alpha, beta, kappa, **options):
    learn = options.pop("learn", ("alpha", "beta", "kappa", *(() if options.get("eps", 1) is None else ("eps",))))
    floors = {"alpha_min": 0.5 / kappa, "beta_min": 1e-4}
    loss = kind(alpha, beta, kappa, learn=learn, **floors, **options).double()
    return loss


def values_of(loss):
    return {name: getattr(loss, name).item() for name in loss._shown}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("eps", [1e-4, 0.1, 0.7])
def test_contaminated_is_the_log_of_the_mixture(setting, eps):
    loss = make(ContaminatedALCLoss, *setting, eps=eps, density=0.5, reduction="none")
    e = torch.tensor(RESIDUALS, dtype=F64)
    own = values_of(loss)
    found = loss(e, torch.zeros_like(e)).detach()
    posterior = loss.posterior(e, torch.zeros_like(e))
    with mpmath.workdps(30):
        for i, residual in enumerate(RESIDUALS):
            core = (1 - mpmath.mpf(own["eps"])) * mpmath.exp(
                log_density(residual, own["alpha"], own["beta"], own["kappa"])
            )
            other = mpmath.mpf(own["eps"]) / 2
            assert found[i].item() == pytest.approx(float(-mpmath.log(core + other)), rel=1e-11, abs=1e-11)
            assert posterior[i].item() == pytest.approx(float(other / (core + other)), rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("limits", [(0.0, 1.0), (None, 1.0), (0.0, None)])
def test_censored_targets_enter_by_their_tails_and_others_by_their_density(setting, limits):
    loss = make(CensoredALCLoss, *setting, limits=limits, eps=None, reduction="none")
    input = torch.tensor([-1e4, -2.0, -0.3, 0.0, 0.2, 0.9, 1.0, 1.4, 50.0], dtype=F64)
    own = values_of(loss)
    parameters = own["alpha"], own["beta"], own["kappa"]
    for target in (-0.5, 0.0, 0.3, 1.0, 2.0):
        found = loss(input, torch.full_like(input, target)).detach()
        with mpmath.workdps(40):
            for prediction, value in zip(input.tolist(), found.tolist(), strict=True):
                if limits[0] is not None and target <= limits[0]:
                    expected = -log_tail(prediction - limits[0], *parameters)
                elif limits[1] is not None and target >= limits[1]:
                    expected = -log_tail(limits[1] - prediction, *parameters)
                else:
                    expected = -log_density(mpmath.mpf(prediction) - mpmath.mpf(target), *parameters)
                assert value == pytest.approx(float(expected), rel=1e-9, abs=1e-11)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 2e-12), (torch.float32, 4e-6)])
def test_the_tail_has_the_accuracy_that_is_claimed(dtype, bound):
    generator = np.random.default_rng(0)
    worst = 0.0
    for _ in range(150):
        alpha = 1.001 + (50 - 1.001) * generator.random() ** 3
        kappa = 1.001 / alpha + (50 - 1.001 / alpha) * generator.random() ** 3
        x = float(generator.choice([-1, 1]) * 10 ** generator.uniform(-6, 6))
        row = torch.tensor([x, alpha, 1.0, kappa - 1 / alpha], dtype=dtype)
        x, alpha, beta, b = row.tolist()
        found = log_survival(*row.unbind()).item()
        with mpmath.workdps(40):
            expected = float(log_tail(x, alpha, beta, mpmath.mpf(b) + 1 / mpmath.mpf(alpha)))
        worst = max(worst, abs(found - expected) / (1 + abs(expected)))
    assert worst <= bound


LOSSES = {
    "contaminated": lambda **k: make(ContaminatedALCLoss, 1.7, 0.4, 1.2, eps=0.2, **k),
    "contaminated at kappa = 1": lambda **k: ContaminatedALCLoss(1.7, 0.4, eps=0.2, **k).double(),
    "censored": lambda **k: make(CensoredALCLoss, 1.7, 0.4, 1.2, eps=None, **k),
    "censored Cauchy": lambda **k: CensoredALCLoss(beta=0.4, eps=None, learn="beta", **k).double(),
    "censored and contaminated": lambda **k: CensoredALCLoss(1.7, 0.4, eps=0.2, **k).double(),
    "Tobit": lambda **k: TobitLoss(0.4, **k).double(),
}


def images():
    generator = torch.Generator().manual_seed(0)
    input = torch.rand(40, generator=generator, dtype=F64) * 1.4 - 0.2
    target = (input + 0.3 * torch.randn(40, generator=generator, dtype=F64)).clamp(0, 1)
    return input, target


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_at_all_leaves_the_parameters_alone(name):
    loss = LOSSES[name]()
    value = loss(torch.zeros(0, dtype=F64, requires_grad=True), torch.zeros(0, dtype=F64))
    value.backward()
    assert all(p.grad is None or p.grad.item() == 0 for p in loss.parameters())


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_a_single_number_is_a_residual_too(name, reduction):
    loss = LOSSES[name](reduction=reduction)
    for target in (0.0, 0.4):
        number, row = (loss(x, torch.full_like(x, target)) for x in (torch.tensor(0.3), torch.tensor([0.3])))
        torch.testing.assert_close(number, row.reshape(()), check_dtype=False)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extremes_are_finite(name, dtype):
    loss = LOSSES[name](reduction="none").to(dtype)
    x = torch.tensor([-1e30, -1e9, -1.0, 0.0, 1e-30, 0.5, 1.0, 1e9, 1e30], dtype=dtype)
    if name == "Tobit":
        x = x.clamp(-1e4, 1e4)  # a square, which overflows
    for target in (0.0, 0.5, 1.0):
        input = x.clone().requires_grad_()
        value = loss(input, torch.full_like(x, target))
        value.sum().backward()
        assert value.isfinite().all()
        assert input.grad.isfinite().all()
        assert all(p.grad.isfinite().all() for p in loss.parameters())


def test_a_target_at_a_limit_never_pulls_back_and_redescends():
    """the gradient in the prediction, by autograd, has one sign, is bounded, and falls like 1/distance."""
    for alpha, kappa in ((2.0, 1.0), (1.5, 1.0), (3.0, 1.4)):
        loss = CensoredALCLoss(alpha, 0.3, kappa, eps=None, learn=(), reduction="sum").double()
        x = torch.cat([-torch.logspace(-3, 5, 60), torch.logspace(-3, 5, 60)]).double().requires_grad_()
        (pull,) = torch.autograd.grad(loss(x, torch.zeros_like(x)), x)  # at the lower limit
        assert (pull >= 0).all()  # descent moves the prediction down, to where the target says it is
        assert pull.max() < 20
        far = x.detach() > 1e4
        for product in (pull * x.detach())[far].tolist():
            assert product == pytest.approx(kappa * alpha - 1, rel=1e-3)


def test_every_score_of_the_mixture_redescends():
    """by autograd at residuals that grow: location, shape, scale go to 0, and the fraction's to eps - 1."""
    loss = ContaminatedALCLoss(1.8, 0.3, eps=0.2, reduction="none").double()
    sizes = torch.logspace(0, 8, 9, dtype=F64)
    rows = []
    for size in sizes:
        x = size.clone().requires_grad_()
        grads = torch.autograd.grad(loss(x, torch.zeros_like(x)), [x, *loss.parameters()])
        rows.append([g.item() for g in grads])
    rows = np.abs(np.array(rows))
    names = ["location", *(name for name, _ in loss.named_parameters())]
    for i, name in enumerate(names):
        if name == "raw_eps":
            assert rows[-1, i] == pytest.approx(0.8, rel=1e-6)
        else:
            assert rows[-1, i] < 1e-8
            assert rows[:, i].max() < 10
    plain = ALCLoss(1.8, 0.3, reduction="none").double()
    last = [torch.autograd.grad(plain(s, torch.zeros_like(s)), plain.raw_alpha)[0].abs().item() for s in sizes]
    assert last[-1] > last[4] > last[1] > 0.5  # ALCL's own shape score grows without bound


def test_contaminated_t_is_a_distribution():
    density = ContaminatedT(1.8, 0.1, 1.0, eps=0.25, radius=1.0)

    def pdf(e):
        return float(density.log_prob(torch.tensor(e)).exp())

    inside = integrate.quad(pdf, -1, 1, points=[0.0], limit=200)[0]
    total = inside + 2 * integrate.quad(lambda t: pdf(math.exp(t)) * math.exp(t), 0, 40, limit=400)[0]
    assert total == pytest.approx(1, abs=1e-4)
    assert float(density.cdf(torch.tensor(1.0)) - density.cdf(torch.tensor(-1.0))) == pytest.approx(inside, abs=1e-4)
    torch.manual_seed(0)
    samples = density.sample((4000,))
    assert stats.kstest(samples.numpy(), lambda e: density.cdf(torch.as_tensor(e)).numpy()).pvalue > 0.01
    loss = ContaminatedALCLoss(1.8, 0.1, eps=0.25, density=0.5, reduction="none")
    e = torch.linspace(-1, 1, 31)
    torch.testing.assert_close(loss(e, torch.zeros_like(e)).detach(), -density.log_prob(e))


def test_tobit_against_scipy():
    loss = TobitLoss(0.4, learn=(), reduction="none").double()
    x = torch.tensor([-3.0, 0.2, 0.8, 2.0], dtype=F64)
    noise = stats.norm(scale=loss.scale.item())
    torch.testing.assert_close(loss(x, torch.zeros_like(x)).numpy(), -noise.logcdf(-x.numpy()), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(loss(x, torch.ones_like(x)).numpy(), -noise.logsf(1 - x.numpy()), rtol=1e-10, atol=1e-12)
    half = torch.full_like(x, 0.5)
    torch.testing.assert_close(loss(x, half).numpy(), -noise.logpdf(x.numpy() - 0.5), rtol=1e-10, atol=1e-12)


def test_the_fraction_of_contamination_is_learned():
    torch.manual_seed(0)
    e = torch.cat([GeneralizedT(2.0, 0.03, 1.5).sample((7000,)), 2 * torch.rand(3000) - 1])
    loss = ContaminatedALCLoss(2.0, 0.5, 1.5)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.03)
    for _ in range(500):
        optimizer.zero_grad()
        loss(e, torch.zeros_like(e)).backward()
        optimizer.step()
    assert loss.eps.item() == pytest.approx(0.3, abs=0.02)
    assert loss.beta.item() == pytest.approx(0.03, rel=0.1)


def test_clipping_biases_the_plain_likelihood_and_not_the_censored_one():
    """A location near a limit, by descent on a sample."""
    torch.manual_seed(0)
    y = (0.1 + GeneralizedT(2.0, 0.2, 1.0).sample((20_000,))).clamp(0, 1).double()
    ends = {}
    for name, loss in (
        ("plain", ALCLoss(beta=0.2, learn="beta").double()),
        ("censored", CensoredALCLoss(beta=0.2, eps=None, learn="beta").double()),
    ):
        place = torch.tensor(0.3, dtype=F64, requires_grad=True)
        optimizer = torch.optim.Adam([place, *loss.parameters()], lr=0.01)
        for _ in range(400):
            optimizer.zero_grad()
            loss(place.expand_as(y), y).backward()
            optimizer.step()
        ends[name] = place.item(), loss.beta.item()
    assert ends["censored"] == (pytest.approx(0.1, abs=0.01), pytest.approx(0.2, rel=0.05))
    assert abs(ends["plain"][0] - 0.1) > 0.03


@pytest.mark.parametrize(
    ("make_loss", "message"),
    [
        (lambda: ContaminatedALCLoss(eps=1.0), "eps must be above 0 and below 1"),
        (lambda: ContaminatedALCLoss(eps=0.0), "eps must be positive"),
        (lambda: ContaminatedALCLoss(density=-1), "density must be positive"),
        (lambda: ContaminatedALCLoss(learn="gamma"), "learn may name alpha, beta, kappa, eps"),
        (lambda: CensoredALCLoss(limits=(1, 0)), "limits must be"),
        (lambda: CensoredALCLoss(limits=(None, None)), "limits: one of them must be a number"),
        (lambda: TobitLoss(limits=3), "limits must be"),
    ],
)
def test_bad_arguments_are_named(make_loss, message):
    with pytest.raises(ValueError, match=message):
        make_loss()
