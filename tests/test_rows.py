"""One pass for parameters of every shape, against float64 autograd of the plain formula; what it needs of memory; and
what a compiler is given, against 50-digit arithmetic. (tests/test_kernels.py holds what all roads have in common.)"""

import math

import mpmath
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from alcl import ALCLoss, StudentTLoss, _rows, alcl_loss
from alcl import _kernels as kernels
from alcl._kernels import CORRENTROPY, LOG_CORRENTROPY
from alcl.functional import correntropy_loss

F32, F64 = torch.float32, torch.float64
kinds = pytest.mark.parametrize("kind", [LOG_CORRENTROPY, CORRENTROPY])


def plain(kind, e, alpha, beta, kappa):
    t = (e.abs() / beta) ** alpha
    return kappa * torch.log1p(t) if kind == LOG_CORRENTROPY else -torch.expm1(-t)


def arguments_of(shape, own, dtype=F64, order=None):
    """Input, target (with an exact fit in every third place of its memory), and positive parameters of the shapes."""
    g = torch.Generator().manual_seed(1)
    memory = shape if order is None else [shape[d] for d in order]
    input, target = (torch.empty(memory, dtype=dtype).cauchy_(sigma=0.3, generator=g) for _ in range(2))
    target.view(-1)[::3] = input.view(-1)[::3]
    if order is not None:
        input, target = (x.permute([order.index(d) for d in range(len(shape))]) for x in (input, target))
    ranges = ((1.2, 4.2), (0.3, 2.3), (0.4, 3.4))
    parameters = [torch.empty(s, dtype=dtype).uniform_(*r, generator=g) for s, r in zip(own, ranges, strict=True)]
    return [x.requires_grad_() for x in (input, target, *parameters)]


# Shape of the residuals, of alpha, beta and kappa, and the order of the dimensions in memory.
CASES = {
    "channels": ((6, 3, 40, 50), ((3, 1, 1),) * 3, None),
    "channels last": ((6, 3, 40, 50), ((3, 1, 1),) * 3, (0, 2, 3, 1)),
    "pixels": ((21, 97), ((97,),) * 3, None),
    "pixels, more than a piece": ((9, 3, 60, 50), ((3, 60, 50), (3, 1, 1), ()), None),
    "samples": ((40, 300), ((40, 1),) * 3, None),
    "samples first and last": ((7, 30, 11), ((7, 1, 1), (11,), (7, 1, 11)), None),
    "mixed": ((20, 5, 40, 3), ((5, 1, 3), (3,), (5, 1, 1)), None),
    "leading and trailing": ((9, 8, 5, 6, 7), ((5, 1, 7), (5, 1, 1), (7,)), None),
    "transposed": ((12, 30, 8), ((30, 1), (8,), ()), (2, 0, 1)),
    "few columns": ((5001, 2), ((2,),) * 3, None),
    "each": ((30, 400), ((30, 400), (), (30, 1)), None),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@pytest.fixture(params=["one piece", "many pieces", "shared parameters are numbers"])
def cut(request, monkeypatch):
    """In one piece or in many, with the parameters in rows or as numbers."""
    monkeypatch.setattr(_rows, "_SHARED", 1e9 if "piece" in request.param else 50)
    if request.param != "one piece":
        monkeypatch.setattr(kernels, "_PIECE", 2500)
        monkeypatch.setattr(_rows, "_WIDTH", 60)


@kinds
@cases
def test_every_shape_and_layout_equals_the_plain_formula(kind, case, cut):
    shape, own, order = case
    for dtype, bounds in ((F64, {"rtol": 1e-10, "atol": 1e-12}), (F32, {"rtol": 2e-4, "atol": 2e-4})):
        given = arguments_of(shape, own, dtype, order)
        before = [x.detach().clone() for x in given]
        input, target, *parameters = given
        for mean in (False, True):
            value = _rows.reduced(kind, input, target, *parameters, mean=mean)
            got = torch.autograd.grad(value, given, materialize_grads=True)
            wide = [x.detach().double().requires_grad_() for x in given]
            # at zero the formula has no derivatives; the kernels have 0
            e = torch.where(wide[0] == wide[1], 1.0, wide[0] - wide[1])
            each = torch.where(wide[0] == wide[1], 0.0, plain(kind, e, *wide[2:]))
            expected = each.mean() if mean else each.sum()
            torch.testing.assert_close(value.double(), expected, **bounds)
            want = torch.autograd.grad(expected, wide, materialize_grads=True)
            torch.testing.assert_close([g.double() for g in got], list(want), **bounds)
        assert all(map(torch.equal, given, before))  # nothing is written into the arguments


@cases
def test_values_of_each_and_their_weighted_gradients(case, cut):
    kind = LOG_CORRENTROPY
    shape, own, order = case
    input, target, *parameters = arguments_of(shape, own, F64, order)
    residual = (input - target).detach().requires_grad_()
    weight = torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(2))
    value = _rows.each(residual, *parameters)
    assert type(value.grad_fn).__name__ == "EachBackward"
    expected = kernels.elementwise(kind, residual, *parameters)
    torch.testing.assert_close(value, expected, rtol=1e-11, atol=1e-14)
    wanted = (residual, *parameters)
    got = torch.autograd.grad(value, wanted, weight, materialize_grads=True)
    torch.testing.assert_close(
        got, torch.autograd.grad(expected, wanted, weight, materialize_grads=True), rtol=1e-9, atol=1e-11
    )


def test_the_slope_of_each_keeps_its_digits_far_out_for_correntropy():
    """exp(-25), that is: beside 1 half of its digits would be lost, and beyond t = 37 all."""
    e = torch.tensor([5.0, 6.5], dtype=F64, requires_grad=True)
    parameters = [torch.tensor(x, dtype=F64) for x in (2.0, 1.0)]
    (slope,) = torch.autograd.grad(correntropy_loss(e, *parameters).sum(), e)
    assert slope.tolist() == pytest.approx([2 * x * math.exp(-x * x) for x in (5.0, 6.5)], rel=1e-13)


def test_far_residuals_of_one_column_do_not_reach_the_others():
    e = torch.full((8, 3), 0.5)
    e[2, 1] = 1e30
    parameters = [torch.full((3,), x) for x in (3.0, 0.5, 1.0)]
    given = [x.requires_grad_() for x in (e, *parameters)]
    value = _rows.reduced(LOG_CORRENTROPY, e, None, *parameters)
    of_e, of_alpha, of_beta, _ = torch.autograd.grad(value, given)
    u = 1e30 / 0.5
    assert value.item() == pytest.approx(23 * math.log(2) + 3 * math.log(u), rel=1e-6)
    assert of_e[2, 1].item() == pytest.approx(3e-30, rel=1e-5)
    torch.testing.assert_close(of_beta, torch.tensor([-24.0, -27.0, -24.0]))  # -alpha h / beta, h = 1/2 and 1
    assert of_alpha[0] == 0
    assert of_alpha[1].item() == pytest.approx(math.log(u), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "bad"), [("input", math.nan), ("input", math.inf), ("raw_beta", math.nan), ("raw_alpha", math.inf)]
)
def test_what_is_not_finite_is_reported(name, bad):
    loss = ALCLoss(parameter_shape=(3,))
    input = torch.ones(4, 3)
    (input if name == "input" else vars(loss)["_parameters"][name].data).view(-1)[1] = bad
    with pytest.raises(ValueError, match="residuals must be finite" if name == "input" else name):
        loss(input, torch.zeros(4, 3))


class Large(TorchDispatchMode):
    """Notes memory of at least so many bytes that operations return and have not been given."""

    def __init__(self, bytes):
        super().__init__()
        self.bytes, self.places = bytes, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {
            x.untyped_storage().data_ptr() for x in (*args, *(kwargs or {}).values()) if isinstance(x, torch.Tensor)
        }
        result = func(*args, **(kwargs or {}))
        for x in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(x, torch.Tensor):
                memory = x.untyped_storage()
                if memory.nbytes() >= self.bytes and memory.data_ptr() not in given:
                    self.places.append((str(func), memory.data_ptr()))
        return result


@pytest.mark.parametrize("make", [ALCLoss, StudentTLoss])
@pytest.mark.parametrize("own", [(3, 1, 1), (3, 20, 20)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_one_buffer_of_the_residuals_size_is_all_the_memory(make, own, layout, monkeypatch):
    monkeypatch.setattr(kernels, "_PIECE", 2500)
    loss = make(parameter_shape=own).eval()
    input, target = (torch.rand(40, 3, 20, 20).contiguous(memory_format=layout) for _ in range(2))
    input.requires_grad_()
    with Large(input.nbytes) as seen:
        loss(input, target).backward()
    assert len(seen.places) == 1, seen.places
    assert input.grad.untyped_storage().data_ptr() == seen.places[0][1]  # and it is the gradient


def test_the_memory_to_work_in_serves_every_type_and_mode():
    loss = ALCLoss(parameter_shape=(2,)).eval()
    input, target = torch.rand(50, 2), torch.rand(50, 2)
    expected = alcl_loss(input, target, 2.0, 1.0)
    with torch.inference_mode():
        torch.testing.assert_close(loss(input, target), expected)
    torch.testing.assert_close(loss(input, target), expected)
    double = ALCLoss(parameter_shape=(2,)).double()(input.double(), target.double())
    torch.testing.assert_close(double.float(), expected)
    torch.testing.assert_close(loss(input, target), expected)


# --- what a compiler is given ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [F32, F64])
def test_the_series_of_the_logarithm(dtype):
    t = torch.cat([torch.linspace(0, 1, 2001, dtype=dtype), torch.logspace(-30, 0, 500, dtype=dtype)])
    exact = [float(mpmath.log1p(mpmath.mpf(x))) for x in t.tolist()]
    error = (_rows._log1p(t).double() - torch.tensor(exact, dtype=F64)).abs()
    assert (error <= 2 * torch.finfo(dtype).eps * torch.tensor(exact, dtype=F64)).all()


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("compiled", [False, True])
def test_fused_keeps_the_accuracy_of_the_kernels(dtype, compiled):
    """As stated in `alcl._kernels`: each residual with parameters of its own, so that sums have one term."""
    from test_kernels import samples, truth

    columns = [c.clone().requires_grad_() for c in samples(dtype)]
    fused = _rows.Fused.apply
    if compiled:
        torch._dynamo.reset()
        fused = torch.compile(lambda *a: _rows.Fused.apply(*a), fullgraph=True)
    gradients = torch.autograd.grad(fused(*columns), columns)
    eps, tiny = torch.finfo(dtype).eps, torch.finfo(dtype).tiny
    total = mpmath.mpf(0)
    bound = 0.0
    for i, row in enumerate(torch.stack([c.detach() for c in columns], 1).tolist()):
        (value, *exact), h, log_u = truth(LOG_CORRENTROPY, *row)
        e, alpha, beta, kappa = row
        c = 1 + alpha * (abs(math.log(abs(e))) + abs(math.log(beta)))
        factors = (alpha / abs(e), abs(log_u), alpha / beta, 1 / kappa)
        for j, (got, want, factor) in enumerate(zip((g[i].item() for g in gradients), exact, factors, strict=True)):
            scale = abs(want) + (abs(h) if j == 1 else 0)
            assert abs(got - want) <= 2 * eps * c * scale + 4 * tiny * (kappa * factor + 1), (j, row)
        total += value
        bound += 2 * eps * c * abs(value)
    assert abs(fused(*columns).item() - total) <= bound


@pytest.mark.parametrize("own", [(), (3,), (2, 3)])
def test_a_compiled_loss_is_the_loss(own):
    torch._dynamo.reset()
    loss = ALCLoss(kappa=2.0, learn=("alpha", "beta", "kappa"), parameter_shape=own).double().eval()
    input, target, *_ = arguments_of((7, 2, 3), ((),) * 3)
    found = []
    for call in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        value = call(input, target)
        found.append([value, *torch.autograd.grad(value, [input, target, *loss.parameters()])])
    torch.testing.assert_close(found[1], found[0], rtol=1e-11, atol=1e-14)
