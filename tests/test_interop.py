"""ALCL inside the rest of torch: compile, torch.func, reduced precision, saving, optimizers."""

import copy
import io
import pickle
import shutil

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jacrev, stack_module_state, vmap

from alcl.comparators import BarronLoss, StudentTLoss
from alcl.distributions import GeneralizedT
from alcl.losses import ALCLoss, CauchyLoss, GeneralizedCorrentropyLoss, optimizer_groups

F64 = torch.float64
CRITERIA = {
    "alcl": ALCLoss,
    "alcl_channels": lambda **o: ALCLoss(
        parameter_shape=(3, 1, 1), beta=torch.tensor([0.1, 1.0, 4.0])[:, None, None], **o
    ),
    "alcl_kappa": lambda **o: ALCLoss(kappa=1.5, learn=("alpha", "beta", "kappa"), **o),
    "alcl_static": lambda **o: ALCLoss(learn=(), **o),
    "student_t": StudentTLoss,
    "barron": BarronLoss,
    "gcl": GeneralizedCorrentropyLoss,
    "cauchy": CauchyLoss,
}
criteria = pytest.mark.parametrize("make", CRITERIA.values(), ids=CRITERIA)


def images(number=4, seed=0, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(number, 3, 6, 5, generator=g).to(dtype), torch.randn(number, 3, 6, 5, generator=g).to(dtype)


def value_and_gradients(criterion, input, target):
    input = input.detach().clone().requires_grad_()
    value = criterion(input, target)
    # unevenly weighted where it is elementwise, so that every element counts
    weight = torch.linspace(1.0, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape)
    return value.detach(), torch.autograd.grad((value * weight).sum(), [input, *criterion.parameters()])


# --- torch.compile --------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh_compiler():
    """No graph of another test; and torch.distributions as it was: the compiler switches its checks off for good."""
    checks = torch.distributions.Distribution._validate_args
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    torch.distributions.Distribution.set_default_validate_args(checks)


COMPILED = [*((n, "mean") for n in CRITERIA if n not in ("alcl_static", "cauchy")), ("alcl", "none")]


@pytest.mark.parametrize(("name", "reduction"), COMPILED)
def test_compile_whole_graph_with_backward(name, reduction, fresh_compiler):
    criterion = CRITERIA[name](reduction=reduction)
    compiled = torch.compile(copy.deepcopy(criterion), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(value_and_gradients(compiled, *images()), value_and_gradients(criterion, *images()))


@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="inductor needs a compiler")
def test_compile_to_machine_code(fresh_compiler):
    criterion = ALCLoss(kappa=1.5, learn=("alpha", "beta", "kappa"))
    compiled = torch.compile(copy.deepcopy(criterion), fullgraph=True, backend="inductor")
    torch.testing.assert_close(value_and_gradients(compiled, *images()), value_and_gradients(criterion, *images()))


def test_training_compiles_once(fresh_compiler):
    """Parameters that move, and the counter behind the not-learning warning, must not trigger recompilation."""
    graphs = []

    def counting(graph, example_inputs):
        graphs.append(graph)
        return graph

    criterion = ALCLoss()
    compiled = torch.compile(criterion, fullgraph=True, backend=counting)
    optimizer = torch.optim.SGD(criterion.parameters(), lr=0.1)
    before = criterion.beta.item()
    for _ in range(5):
        optimizer.zero_grad()
        compiled(*images()).backward()
        optimizer.step()
    assert len(graphs) == 1
    assert criterion.beta.item() != before


# --- torch.func -----------------------------------------------------------------------------------------------------


@criteria
def test_functional_call_and_grad_equal_autograd(make):
    criterion = make()
    values = {name: p.detach() for name, p in criterion.named_parameters()}
    input, target = images()

    def loss(values, input):
        return functional_call(criterion, values, (input, target))

    by_parameter, by_input = grad(loss, argnums=(0, 1))(values, input)
    _, expected = value_and_gradients(criterion, input, target)
    torch.testing.assert_close([by_input, *by_parameter.values()], list(expected))


@criteria
def test_vmap_over_examples_equals_a_loop(make):
    criterion = make()
    input, target = images()
    got = vmap(criterion)(input, target)
    expected = torch.stack([criterion(i, t) for i, t in zip(input, target, strict=True)])
    torch.testing.assert_close(got, expected)
    got = vmap(grad(criterion))(input, target)
    expected = torch.stack([grad(criterion)(i, t) for i, t in zip(input, target, strict=True)])
    torch.testing.assert_close(got, expected)


def ensemble(make, number=3):
    members = [make() for _ in range(number)]
    for k, member in enumerate(members):
        for p in member.parameters():
            p.data.add_(0.3 * k)
    return members


@pytest.mark.parametrize("make", [m for n, m in CRITERIA.items() if n not in ("gcl", "cauchy")])  # they hold no tensor
def test_an_ensemble_of_criteria_in_one_call(make):
    """Stacked loss parameters under vmap: values and gradients are those of the members one by one."""
    members = ensemble(make)
    parameters, buffers = stack_module_state(members)
    base = make()
    input, target = images()

    def loss(parameters, buffers):
        return functional_call(base, (parameters, buffers), (input, target))

    torch.testing.assert_close(vmap(loss)(parameters, buffers), torch.stack([m(input, target) for m in members]))
    if parameters:
        gradients = vmap(grad(loss))({k: v.detach() for k, v in parameters.items()}, buffers)
        for k, member in enumerate(members):
            expected = torch.autograd.grad(member(input, target), list(member.parameters()))
            torch.testing.assert_close([gradients[name][k] for name, _ in member.named_parameters()], list(expected))


def test_an_ensemble_may_differ_in_what_is_fixed():
    """A fixed kappa of 1 takes a cheaper path to log Z and to alpha's floor, which other members must not take."""
    members = [ALCLoss(kappa=k) for k in (1.0, 0.8, 3.0)]
    parameters, buffers = stack_module_state(members)
    input, target = images()
    got = vmap(lambda p, b: functional_call(members[0], (p, b), (input, target)))(parameters, buffers)
    torch.testing.assert_close(got, torch.stack([m(input, target) for m in members]))


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_hessian_in_the_parameters_is_the_observed_information(reduction):
    """jacrev of jacrev (the kernels have no forward mode), which on many draws approaches Fisher's information."""
    truth = [torch.tensor(v, dtype=F64) for v in (1.8, 0.6, 1.4)]
    torch.manual_seed(0)
    e = GeneralizedT(*truth).sample((20_000,))
    static = ALCLoss(1.8, 0.6, 1.4, learn=(), reduction=reduction).double()

    def loss(alpha, beta, kappa):
        values = {"fixed_alpha": alpha, "fixed_beta": beta, "fixed_kappa": kappa}
        return functional_call(static, values, (e, torch.zeros_like(e))).sum() / len(e)

    every = (0, 1, 2)
    observed = torch.stack([torch.stack(row) for row in jacrev(jacrev(loss, every), every)(*truth)])
    torch.testing.assert_close(observed, GeneralizedT(*truth).fisher_information()[1:, 1:], rtol=0.03, atol=0.01)


# --- reduced precision ----------------------------------------------------------------------------------------------


@criteria
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_are_computed_in_float32(make, dtype):
    criterion = make()
    input, target = images(dtype=dtype)
    value, (slope, *of_parameters) = value_and_gradients(criterion, input, target)
    expected, (expected_slope, *expected_of_parameters) = value_and_gradients(criterion, input.float(), target.float())
    assert value.dtype == torch.float32
    assert torch.equal(value, expected)
    torch.testing.assert_close(of_parameters, expected_of_parameters, rtol=0, atol=0)
    assert slope.dtype == dtype
    torch.testing.assert_close(slope, expected_slope.to(dtype), rtol=0, atol=0)


@criteria
def test_a_difference_that_overflows_float16_does_not(make):
    input, target = torch.tensor([6e4, 1.0], dtype=torch.float16), torch.tensor([-6e4, 0.0], dtype=torch.float16)
    shape = (1, 3, 1, 2) if make is CRITERIA["alcl_channels"] else (2,)
    value, gradients = value_and_gradients(make(), input.expand(shape), target.expand(shape))
    assert value.isfinite()
    assert all(g.isfinite().all() for g in gradients)


@criteria
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_criterion_in_half_precision(make, dtype):
    """Its stored parameters are rounded; what is computed from them is not: float32 again."""
    criterion = make().to(dtype)
    value, gradients = value_and_gradients(criterion, *images(dtype=dtype))
    expected, _ = value_and_gradients(make(), *images(dtype=dtype))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected, rtol=0.02, atol=0.02)
    assert all(g.isfinite().all() for g in gradients)


@criteria
def test_float64_and_back(make):
    criterion = make()
    input, target = images(dtype=F64)
    value, gradients = value_and_gradients(copy.deepcopy(criterion).to(F64), input, target)
    assert value.dtype == F64
    assert {g.dtype for g in gradients} == {F64}
    back = copy.deepcopy(criterion).double().float()
    assert torch.equal(back(*images()), criterion(*images()))


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))


@criteria
def test_autocast(make):
    """A bfloat16 network under autocast: the loss is float32 and near that of the float32 network."""
    model, criterion = network(), make()
    input, target = images()
    plain = criterion(model(input), target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(input)
        assert output.dtype == torch.bfloat16
        value = criterion(output, target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, plain, rtol=0.02, atol=0.01)
    value.backward()
    assert all(p.grad.isfinite().all() for p in (*model.parameters(), *criterion.parameters()))


def test_gradient_scaling_leaves_the_step_as_it_was():
    """torch.amp.GradScaler multiplies the loss by 2^16 and divides the gradients again; the loss's own included."""
    outcomes = []
    for enabled in (False, True):
        model, criterion = network(), ALCLoss()
        optimizer = torch.optim.SGD(optimizer_groups(model, criterion, lr=0.1))
        scaler = torch.amp.GradScaler("cpu", enabled=enabled)
        for _ in range(3):
            optimizer.zero_grad()
            scaler.scale(criterion(model(images()[0]), images()[1])).backward()
            scaler.step(optimizer)
            scaler.update()
        outcomes.append([*model.parameters(), *criterion.parameters()])
    torch.testing.assert_close(*outcomes)
    assert outcomes[1][-1] != ALCLoss().raw_beta


# --- saving, copying ------------------------------------------------------------------------------------------------


def moved(make):
    criterion = make()
    with torch.no_grad():
        for k, p in enumerate(criterion.parameters()):
            p.add_(0.2 + 0.1 * k)
    return criterion


@criteria
def test_state_dict_round_trip(make, tmp_path):
    criterion = moved(make)
    torch.save(criterion.state_dict(), tmp_path / "loss.pt")
    loaded = make()
    loaded.load_state_dict(torch.load(tmp_path / "loss.pt", weights_only=True))
    assert torch.equal(loaded(*images()), criterion(*images()))
    assert repr(loaded) == repr(criterion)


def test_state_dict_keys_are_part_of_the_interface():
    """Checkpoints outlive versions: these names may not change unnoticed."""
    floors = "_extra_state"
    assert set(ALCLoss().state_dict()) == {"raw_alpha", "raw_beta", "fixed_kappa", floors}
    assert set(ALCLoss(learn="kappa", kappa=2.0).state_dict()) == {"fixed_alpha", "fixed_beta", "raw_kappa", floors}
    assert set(StudentTLoss(learn="scale").state_dict()) == {"fixed_dof", "raw_scale", floors}
    assert set(BarronLoss().state_dict()) == {"raw_alpha", "raw_scale", floors}


def test_a_state_of_another_kind_is_refused():
    with pytest.raises(RuntimeError, match="fixed_alpha"):
        ALCLoss().load_state_dict(ALCLoss(learn=()).state_dict())


@pytest.mark.parametrize(("made", "loaded"), [(1.0, 3.0), (3.0, 1.0), (1.0, 1.0), (1.0, 0.7), (0.7, 1.0)])
def test_a_fixed_kappa_is_loaded_with_its_normaliser_and_its_floor(made, loaded):
    criterion, other = ALCLoss(kappa=made), ALCLoss(kappa=loaded)
    criterion.load_state_dict(other.state_dict())
    assert torch.equal(criterion.alpha, other.alpha)
    assert torch.equal(criterion(*images()), other(*images()))


@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        lambda c: pickle.loads(pickle.dumps(c)),
        lambda c: torch.load(saved(c), weights_only=False),
    ],
    ids=["deepcopy", "pickle", "torch.save"],
)
@criteria
def test_a_copy_is_equal_and_independent(make, copied):
    criterion = moved(make)
    criterion(*images()).backward() if list(criterion.parameters()) else None
    twin = copied(criterion)
    expected = criterion(*images())
    assert torch.equal(twin(*images()), expected)
    assert repr(twin) == repr(criterion)
    with torch.no_grad():
        for p in twin.parameters():
            p.fill_(5.0)
    assert torch.equal(criterion(*images()), expected)


def saved(module):
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return buffer


# --- optimizers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_accumulated_gradients_are_those_of_the_whole_batch(reduction):
    model, criterion = network(), ALCLoss(reduction=reduction)
    input, target = images(8)
    everything = [*model.parameters(), *criterion.parameters()]
    whole = torch.autograd.grad(criterion(model(input), target), everything)
    for x, y in zip(input.split(2), target.split(2), strict=True):
        (criterion(model(x), y) / (4 if reduction == "mean" else 1)).backward()
    torch.testing.assert_close([p.grad for p in everything], list(whole), rtol=1e-4, atol=1e-5)


def lbfgs(parameters):
    return torch.optim.LBFGS(parameters, line_search_fn="strong_wolfe", max_iter=10)


OPTIMIZERS = {
    "Adam": lambda p: torch.optim.Adam(p, lr=0.03),
    "AdamW fused": lambda p: torch.optim.AdamW(p, lr=0.03, fused=True),
    "SGD with momentum": lambda p: torch.optim.SGD(p, lr=0.005, momentum=0.9),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "LBFGS": lbfgs,
}
FITS = [
    *((ALCLoss, name) for name in OPTIMIZERS),
    *((make, name) for make in (CRITERIA["alcl_kappa"], StudentTLoss, BarronLoss) for name in ("Adam", "LBFGS")),
]


@pytest.mark.parametrize(("make", "optimizer"), FITS)
def test_optimizers_reduce_the_loss_and_fit_the_line(make, optimizer):
    """A line through 30% Cauchy outliers: the fit is found, and the scale shrinks towards the noise's."""
    g = torch.Generator().manual_seed(2)
    x = torch.rand(200, 1, generator=g)
    y = 2 * x - 1 + 0.05 * torch.randn(200, 1, generator=g)
    y[:60] += torch.empty(60, 1).cauchy_(generator=g)
    torch.manual_seed(0)
    model, criterion = nn.Linear(1, 1), make()
    optimizer = OPTIMIZERS[optimizer]([*model.parameters(), *criterion.parameters()])

    def closure():
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        return loss

    before = closure().item()
    for _ in range(12 if isinstance(optimizer, torch.optim.LBFGS) else 300):
        optimizer.step(closure)
    assert closure().item() < before - 0.5
    assert model.weight.item() == pytest.approx(2.0, abs=0.1)
    assert model.bias.item() == pytest.approx(-1.0, abs=0.06)
    scale = criterion.beta if isinstance(criterion, ALCLoss) else criterion.scale
    assert 0.02 < scale.item() < 0.2
