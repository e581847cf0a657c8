"""Contaminated and censored losses: one value on every road, from the smallest numbers to the largest."""

import copy
import io
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from scipy import stats
from torch.func import functional_call, grad, jacrev, stack_module_state, vmap

from alcl import _kernels as kernels
from alcl.censored import CensoredALCLoss, TobitLoss
from alcl.contaminated import ContaminatedALCLoss
from alcl.losses import ALCLoss, optimizer_groups

F32, F64 = torch.float32, torch.float64
ALL = ("alpha", "beta", "kappa", "eps")
MADE = {
    "contaminated": lambda **o: ContaminatedALCLoss(beta=0.4, **o),
    "contaminated_kappa": lambda **o: ContaminatedALCLoss(1.7, 0.3, 1.5, 0.2, learn=ALL, **o),
    "contaminated_static": lambda **o: ContaminatedALCLoss(beta=0.4, learn=(), **o),
    "contaminated_channels": lambda **o: ContaminatedALCLoss(
        beta=torch.tensor([0.1, 0.5, 2.0])[:, None, None], parameter_shape=(3, 1, 1), **o
    ),
    "censored": lambda **o: CensoredALCLoss(beta=0.4, **o),
    "censored_cauchy": lambda **o: CensoredALCLoss(beta=0.4, learn="beta", **o),
    "censored_eps": lambda **o: CensoredALCLoss(2.5, 0.3, 1.2, 0.3, learn=ALL, atom=0.2, **o),
    "censored_lower": lambda **o: CensoredALCLoss(eps=0.1, limits=(0, None), density=0.2, **o),
    "censored_channels": lambda **o: CensoredALCLoss(
        eps=0.2, beta=torch.tensor([0.1, 0.5, 2.0])[:, None, None], parameter_shape=(3, 1, 1), **o
    ),
    "tobit": lambda **o: TobitLoss(0.4, **o),
}
made = pytest.mark.parametrize("make", MADE.values(), ids=MADE)
adaptive = pytest.mark.parametrize("make", [m for n, m in MADE.items() if n != "contaminated_static"])


def batch(dtype=F32, number=4, seed=0):
    """Predictions, and targets as a sensor gives them, a fifth of them at a limit."""
    g = torch.Generator().manual_seed(seed)
    input = torch.rand(number, 3, 6, 5, generator=g, dtype=F64)
    target = (input + 0.3 * torch.randn(input.shape, generator=g, dtype=F64)).clamp(0, 1)
    return input.to(dtype), target.to(dtype)


def value_and_gradients(criterion, input, target):
    input = input.detach().clone().requires_grad_()
    value = criterion(input, target)
    weight = torch.linspace(1.0, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape)
    return value.detach(), torch.autograd.grad((value * weight).sum(), [input, *criterion.parameters()])


# --- values against independent ones ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("dof", "eps", "atom"), [(1.0, None, 0.0), (3.0, 0.2, 0.0), (2.4, 0.3, 0.4)])
def test_censored_value_is_scipys_students_t(dof, eps, atom):
    """alpha = 2 is Student's t, whose tails scipy knows."""
    kappa, scale = (dof + 1) / 2, 0.2
    criterion = CensoredALCLoss(
        2.0, scale * math.sqrt(dof), kappa, eps, limits=(-1, 2), atom=atom, reduction="none"
    ).double()
    criterion.fixed_kappa.fill_(kappa)
    input = torch.linspace(-2, 3, 11, dtype=F64)
    t, share = stats.t(dof, scale=criterion.beta.item() / math.sqrt(dof)), criterion.eps.item()
    lower, upper = t.cdf(-1 - input.numpy()), t.sf(2 - input.numpy())
    inside = t.pdf(0.3 - input.numpy())
    for target, core, other in ((-1.0, lower, atom), (2.0, upper, atom), (0.3, inside, (1 - 2 * atom) / 3)):
        expected = (1 - share) * core + share * other
        got = criterion(input, torch.full_like(input, target)).detach().numpy()
        np.testing.assert_allclose(got, -np.log(expected), rtol=1e-7)
        posterior = criterion.posterior(input, torch.full_like(input, target)).numpy()
        np.testing.assert_allclose(posterior, share * other / expected, rtol=1e-6, atol=1e-12)
    beyond = criterion(input, torch.full_like(input, 7.0))
    assert torch.equal(beyond, criterion(input, torch.full_like(input, 2.0)))


@pytest.mark.parametrize("eps", [None, 0.25])
def test_probabilities_of_the_censored_model_sum_to_one(eps):
    criterion = CensoredALCLoss(1.6, 0.2, 1.4, eps, atom=0.15, reduction="none").double()
    y = torch.linspace(0, 1, 200_001, dtype=F64)
    for x in (-0.4, 0.3, 0.99):
        p = torch.exp(-criterion(torch.full_like(y, x), y)).detach()
        inside = torch.trapezoid(torch.cat([p[1:2], p[1:-1], p[-2:-1]]), y)
        assert (inside + p[0] + p[-1]).item() == pytest.approx(1.0, abs=2e-6)


def test_no_limit_in_reach_is_plain_alcl_and_no_contamination_too():
    input, target = batch(F64)
    plain = value_and_gradients(ALCLoss(beta=0.4).double(), input, target)
    far = value_and_gradients(CensoredALCLoss(beta=0.4, limits=(-9, 9)).double(), input, target)
    torch.testing.assert_close(far, plain)
    tiny = value_and_gradients(ContaminatedALCLoss(beta=0.4, eps=1e-13).double(), input, target)
    torch.testing.assert_close(tiny[0], plain[0])
    torch.testing.assert_close(tiny[1][:3], plain[1])


# --- one value, whatever the road ------------------------------------------------------------------------------------


@made
@pytest.mark.parametrize("dtype", [F32, F64])
def test_reductions_agree_and_so_do_their_gradients(make, dtype):
    """Sum and mean go through numbers where there is one of each; "none" through tensors."""
    input, target = batch(dtype)
    results = {}
    for reduction in ("none", "mean", "sum"):
        criterion = make(reduction=reduction).to(dtype)
        x = input.clone().requires_grad_()
        value = criterion(x, target)
        total = value.sum() * (value.new_tensor(input.numel()) if reduction == "mean" else 1)
        results[reduction] = [total.detach(), *torch.autograd.grad(total, [x, *criterion.parameters()])]
    tolerance = {"rtol": 1e-10, "atol": 1e-9} if dtype == F64 else {"rtol": 2e-4, "atol": 2e-3}
    torch.testing.assert_close(results["sum"], results["none"], **tolerance)
    torch.testing.assert_close(results["mean"], results["none"], **tolerance)


@pytest.mark.parametrize("name", [n for n in MADE if n not in ("tobit", "contaminated_channels", "censored_channels")])
def test_the_road_through_numbers_is_taken(name, monkeypatch):
    criterion, used = MADE[name](), []
    whole = kernels.Whole.apply
    monkeypatch.setattr(kernels.Whole, "apply", lambda *a: used.append(1) or whole(*a))
    criterion(*batch())
    assert used


@pytest.mark.parametrize("size", [3, kernels._PIECE + 8])
def test_pieces_add_up(size):
    g = torch.Generator().manual_seed(1)
    input = torch.rand(size, generator=g, dtype=F64)
    target = (input + 0.3 * torch.empty(size, dtype=F64).cauchy_(generator=g)).clamp(0, 1)
    for name in ("contaminated", "contaminated_kappa", "censored", "censored_eps"):
        criterion = MADE[name]().double()
        value, gradients = value_and_gradients(criterion, input, target)
        whole = MADE[name](reduction="none").double()
        x = input.clone().requires_grad_()
        mean = whole(x, target).mean()
        expected = torch.autograd.grad(mean, [x, *whole.parameters()])
        torch.testing.assert_close(value, mean.detach())
        torch.testing.assert_close(list(gradients), list(expected), rtol=1e-8, atol=1e-13)


@made
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_gradcheck_twice(make, reduction):
    criterion = make(reduction=reduction).double()
    g = torch.Generator().manual_seed(3)
    input = torch.rand(2, 3, 1, 1, generator=g, dtype=F64) * 1.6 - 0.3
    target = torch.tensor([0.0, 0.4, 1.0, 0.6, 1.0, 0.0], dtype=F64).reshape(2, 3, 1, 1)
    own = {name: p.detach().clone().requires_grad_() for name, p in criterion.named_parameters()}

    def loss(input, *values):
        return functional_call(criterion, dict(zip(own, values, strict=True)), (input, target))

    arguments = (input.requires_grad_(), *own.values())
    assert torch.autograd.gradcheck(loss, arguments)
    assert torch.autograd.gradgradcheck(loss, arguments)


@made
def test_every_way_to_a_hessian(make):
    criterion = make().double()
    input, target = (x[:2, :, :1, 0] for x in batch(F64))
    if "channels" in str(criterion.parameters) or criterion.parameter_shape:
        input, target = input[..., None], target[..., None]
    loss = lambda x: criterion(x, target)  # noqa: E731
    reverse = jacrev(jacrev(loss))(input)
    torch.testing.assert_close(torch.func.hessian(loss)(input), reverse, rtol=1e-8, atol=1e-9)


@made
def test_vmap_over_examples_and_ensembles(make):
    criterion = make()
    input, target = batch()
    torch.testing.assert_close(vmap(criterion)(input, target), torch.stack([*map(criterion, input, target)]))
    got = vmap(grad(criterion))(input, target)
    torch.testing.assert_close(got, torch.stack([*map(grad(criterion), input, target)]), rtol=2e-4, atol=1e-6)
    members = [make(), make()]
    for p in members[1].parameters():
        p.data.add_(0.3)
    stacked, buffers = stack_module_state(members)
    got = vmap(lambda p, b: functional_call(criterion, (p, b), (input, target)))(stacked, buffers)
    torch.testing.assert_close(got, torch.stack([m(input, target) for m in members]))


@pytest.mark.parametrize("name", ["contaminated", "contaminated_channels", "censored", "tobit"])
def test_compile_whole_graph_with_backward(name):
    checks = torch.distributions.Distribution._validate_args
    torch._dynamo.reset()
    criterion = MADE[name]()
    compiled = torch.compile(copy.deepcopy(criterion), fullgraph=True, backend="aot_eager")
    got, expected = value_and_gradients(compiled, *batch()), value_and_gradients(criterion, *batch())
    torch.testing.assert_close(got, expected, rtol=2e-4, atol=1e-6)
    torch._dynamo.reset()
    torch.distributions.Distribution.set_default_validate_args(checks)


# --- extremes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, F32, F64])
@pytest.mark.parametrize("limit", [None, 0.0, 1.0])
def test_finite_from_subnormals_to_the_largest(dtype, limit):
    """Value and every gradient, of every finite residual there is to meet, over the legal parameters."""
    info, wide = torch.finfo(dtype), dtype if dtype in (F32, F64) else F32
    size = torch.logspace(-45, 38, 60, dtype=F64).clamp(max=info.max / 4).to(dtype)
    x = torch.cat([size, -size, torch.tensor([0.0, -0.0, info.max / 2, -info.max / 2, info.tiny], dtype=dtype)])
    target = torch.full_like(x, 0.5 if limit is None else limit)
    for alpha, beta, kappa in itertools.product((1.00001, 1.5, 2.0, 7.0, 50.0), (1.1e-3, 0.1, 1e6), (1.0, 1.7, 20.0)):
        for make in (
            lambda **o: ContaminatedALCLoss(alpha, beta, kappa, learn=ALL, **o),  # noqa: B023
            lambda **o: CensoredALCLoss(alpha, beta, kappa, learn=ALL[:3], **o),  # noqa: B023
            lambda **o: CensoredALCLoss(alpha, beta, kappa, 1e-3, learn=ALL, atom=0.1, **o),  # noqa: B023
        ):
            for reduction in ("mean", "none"):
                criterion = make(reduction=reduction).to(wide)
                input = x.clone().requires_grad_()
                value = criterion(input, target)
                value.mean().backward()  # in half precision, their sum may be beyond the largest number
                where = (alpha, beta, kappa, reduction, type(criterion).__name__)
                assert value.isfinite().all(), where
                assert value.dtype == wide
                assert input.grad.isfinite().all(), where
                assert all(p.grad.isfinite() for p in criterion.parameters()), where


@pytest.mark.parametrize("eps", [1e-7, 0.5, 1 - 1e-6])
@pytest.mark.parametrize("beta", [1e-15, 1e-3, 1e30])
def test_mixtures_of_any_proportion_keep_their_digits(eps, beta):
    """Where factors would leave float32's range, logarithms take over; both as float64 has it."""
    e = torch.tensor([0.0, 1e-31, 1e-3, 0.3, 7.0, 1e30])
    single = ContaminatedALCLoss(2.0, beta, eps=eps, beta_min=beta / 2, learn=("beta", "eps"))
    double = copy.deepcopy(single).double()
    value, gradients = value_and_gradients(single, e, torch.zeros(6))
    true_value, true_gradients = value_and_gradients(double, e.double(), torch.zeros(6, dtype=F64))
    torch.testing.assert_close(value.double(), true_value, rtol=1e-5, atol=1e-6)
    for got, true in zip(gradients, true_gradients, strict=True):
        atol = 1e-6 * true.abs().max().item() + torch.finfo(F32).tiny
        torch.testing.assert_close(got.double(), true, rtol=1e-3, atol=atol)


@pytest.mark.parametrize("beta", [1e-29, 1e-3])
@pytest.mark.parametrize(("alpha", "kappa"), [(2.0, 1.0), (50.0, 20.0)])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_residual_given_up_costs_what_it_should_to_the_last_digit(alpha, kappa, beta, reduction):
    """However unlikely ALCL's part finds it, and where a power of it leaves float32."""
    e = torch.tensor([1e8, 1e12, 1e30])
    value = ContaminatedALCLoss(alpha, beta, kappa, 1e-7, learn=(), reduction=reduction)(10 * e, 0 * e)
    torch.testing.assert_close(value, torch.full_like(value, -math.log(1e-7 * 0.5)), rtol=1e-6, atol=0)


@made
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_target_beyond_all_limits_is_refused(make, bad):
    """Also where it would pass for a clipped one."""
    input, target = batch()
    target[1, 2, 3, 4] = bad
    for reduction in ("mean", "none"):
        with pytest.raises(ValueError, match=r"got 1 of 360 .* at \[1, 2, 3, 4\]; target has 1"):
            make(reduction=reduction)(input, target)


# --- module ----------------------------------------------------------------------------------------------------------


@made
def test_state_pickle_copies_and_reset(make):
    one, input_target = make(), batch()
    for p in one.parameters():
        p.data.sub_(0.2)
    other = make()
    other.load_state_dict(one.state_dict())
    stream = io.BytesIO()
    torch.save(one, stream)
    stream.seek(0)
    for twin in (other, copy.deepcopy(one), pickle.loads(pickle.dumps(one)), torch.load(stream, weights_only=False)):
        assert torch.equal(twin(*input_target), one(*input_target))
        assert repr(twin) == repr(one)
    other.reset_parameters()
    assert torch.equal(other(*input_target), make()(*input_target))


@adaptive
def test_learns_and_every_parameter_moves(make):
    torch.manual_seed(0)
    criterion = make()
    optimizer = torch.optim.Adam(optimizer_groups(torch.nn.Identity(), criterion, lr=0.05))
    before = [p.detach().clone() for p in criterion.parameters()]
    first = criterion(*batch()).item()
    for _ in range(20):
        optimizer.zero_grad()
        criterion(*batch()).backward()
        optimizer.step()
    assert criterion(*batch()).item() < first
    assert all((p != old).all() for p, old in zip(criterion.parameters(), before, strict=True))
    assert (criterion.scale if isinstance(criterion, TobitLoss) else criterion.beta).min() > 1e-3


def test_parameters_of_a_shape_are_losses_of_their_own():
    for name in ("contaminated_channels", "censored_channels"):
        criterion = MADE[name](reduction="none")
        input, target = batch()
        for i in range(3):
            options = {"eps": 0.2} if name == "censored_channels" else {}
            single = type(criterion)(beta=criterion.beta[i].item(), reduction="none", **options)
            torch.testing.assert_close(
                single(input[:, i], target[:, i]), criterion(input, target)[:, i], rtol=1e-4, atol=1e-5
            )
        with pytest.raises(ValueError, match="must broadcast against the input"):
            criterion(input[:, :2], target[:, :2])


def test_cap_and_floors_hold():
    for make in (ContaminatedALCLoss, CensoredALCLoss):
        criterion = make(alpha_max=3.0, beta_min=0.01, alpha_min=1.2)
        for p in criterion.parameters():
            p.data.fill_(40.0)
        assert criterion.alpha.item() == pytest.approx(3.0)
        for p in criterion.parameters():
            p.data.fill_(-40.0)
        assert criterion.alpha.item() == pytest.approx(1.2)
        assert criterion.beta.item() == pytest.approx(0.01)
        assert criterion(*batch()).isfinite()


def test_eps_is_zero_where_there_is_none():
    criterion = CensoredALCLoss()
    assert criterion.eps == 0
    assert (criterion.posterior(*batch()) == 0).all()
    assert "eps" not in repr(criterion)
    assert "limits=(0, 1)" in repr(criterion)
    assert "eps=0.1" in repr(CensoredALCLoss(eps=0.1))
