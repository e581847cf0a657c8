"""The kernels against three oracles: plain autograd of the plain formula, 50-digit arithmetic, finite differences.

Every test runs over both losses (`kind`) and both functions: `elementwise`, in differentiable operations, and `summed`,
one pass with its gradients ready, which takes the operations of the first where there is no such pass.
"""

import copy
import itertools
import math
import random

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import forward_ad
from torch.func import hessian, jacfwd, jacrev, vmap

from alcl import _kernels as kernels
from alcl import _rows
from alcl._kernels import CORRENTROPY, LOG_CORRENTROPY, Setting, Whole, elementwise

F32, F64 = torch.float32, torch.float64
KINDS = (LOG_CORRENTROPY, CORRENTROPY)
NAMES = ("residual", "alpha", "beta", "kappa")

kinds = pytest.mark.parametrize("kind", KINDS)
functions = pytest.mark.parametrize("function", ["elementwise", "each", "summed"])
dtypes = pytest.mark.parametrize("dtype", [F32, F64])


def plain(kind, residual, alpha, beta, kappa):
    """The formula as one writes it down; good enough in float64 for ordinary numbers."""
    t = (residual.abs() / beta) ** alpha
    return kappa * torch.log1p(t) if kind == LOG_CORRENTROPY else (1 - torch.exp(-t)) * torch.ones_like(kappa)


def each(kind, *arguments):
    """As the functions of the library do: one pass for log-correntropy."""
    return _rows.each(*arguments) if kind == LOG_CORRENTROPY else elementwise(kind, *arguments)


def total(function, kind, *arguments):
    """The sum over all elements, by either function."""
    residual, *parameters = arguments
    if function != "summed":
        return {"elementwise": elementwise, "each": each}[function](kind, *arguments).sum()
    if not _rows.fit(residual, None, *parameters):  # as the functional losses do
        shape = torch.broadcast_shapes(*(a.shape for a in arguments))
        residual = residual.expand(shape)
    if not _rows.fit(residual, None, *parameters):
        return elementwise(kind, residual, *parameters).sum()
    return _rows.reduced(kind, residual, None, *parameters)


def leaves(*values, dtype=F64):
    return [torch.as_tensor(v, dtype=dtype).clone().requires_grad_() for v in values]


def derivatives(function, kind, arguments, create_graph=False):
    value = total(function, kind, *arguments)
    gradients = torch.autograd.grad(value, arguments, create_graph=create_graph, materialize_grads=True)
    return value, gradients


# Residual (2, 3, 4) against scalars, channels, pixels, full tensors; and parameters that enlarge the residual.
SHAPES = {
    "scalars": ((2, 3, 4), (), (), ()),
    "channels": ((2, 3, 4), (3, 1), (3, 1), (3, 1)),
    "mixed": ((2, 3, 4), (3, 1), (), (4,)),
    "full": ((2, 3, 4), (2, 3, 4), (2, 3, 4), (2, 3, 4)),
    "vector": ((5,), (), (1,), ()),
    "single": ((), (), (), ()),
    "enlarging": ((3,), (2, 1), (4, 1, 1), ()),
}
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def ordinary(shape, seed=0):
    """Residuals on both sides of beta, away from 0; alpha in (1.2, 4.2), beta in (0.3, 2.3), kappa in (0.4, 3.4)."""
    g = torch.Generator().manual_seed(seed)
    residual = torch.empty(shape[0], dtype=F64).uniform_(0.2, 3.0, generator=g)
    residual = residual * (torch.randint(2, shape[0], generator=g) * 2 - 1)
    ranges = ((1.2, 4.2), (0.3, 2.3), (0.4, 3.4))
    parameters = [torch.empty(s, dtype=F64).uniform_(*r, generator=g) for s, r in zip(shape[1:], ranges, strict=True)]
    return leaves(residual, *parameters)


# --- against autograd of the plain formula --------------------------------------------------------------------------


@kinds
@shapes
def test_elementwise_equals_the_plain_formula(kind, shape):
    arguments = ordinary(shape)
    torch.testing.assert_close(elementwise(kind, *arguments), plain(kind, *arguments), rtol=1e-12, atol=0)


@functions
@kinds
@shapes
def test_sum_and_gradients_equal_autograd_of_the_plain_formula(function, kind, shape):
    arguments = ordinary(shape)
    value, gradients = derivatives(function, kind, arguments)
    expected = plain(kind, *arguments).sum()
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    # absolute where h = t exp(-t) has nearly vanished (see the accuracy stated in kernels.py)
    torch.testing.assert_close(
        gradients, torch.autograd.grad(expected, arguments, materialize_grads=True), rtol=1e-11, atol=1e-13
    )


@functions
@kinds
@shapes
def test_second_derivatives_equal_autograd_of_the_plain_formula(function, kind, shape):
    arguments = ordinary(shape)
    g = torch.Generator().manual_seed(1)
    direction = [torch.randn(a.shape, dtype=F64, generator=g) for a in arguments]

    def hessian_times_direction(value):
        gradients = torch.autograd.grad(value, arguments, create_graph=True, materialize_grads=True)
        along = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))
        return torch.autograd.grad(along, arguments, materialize_grads=True)

    torch.testing.assert_close(
        hessian_times_direction(total(function, kind, *arguments)),
        hessian_times_direction(plain(kind, *arguments).sum()),
        rtol=1e-9,
        atol=1e-12,
    )


@kinds
def test_an_incoming_gradient_weights_every_element(kind):
    arguments = ordinary(SHAPES["mixed"])
    weight = torch.linspace(-1, 2, 24, dtype=F64).reshape(2, 3, 4)
    got = torch.autograd.grad(elementwise(kind, *arguments), arguments, weight, materialize_grads=True)
    expected = torch.autograd.grad(plain(kind, *arguments), arguments, weight, materialize_grads=True)
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-14)
    half = torch.autograd.grad(-0.5 * total("summed", kind, *arguments), arguments, materialize_grads=True)
    whole = torch.autograd.grad(total("summed", kind, *arguments), arguments, materialize_grads=True)
    torch.testing.assert_close(half, tuple(-0.5 * g for g in whole), rtol=1e-14, atol=0)


@functions
@kinds
@pytest.mark.parametrize("wanted", range(4), ids=NAMES)
def test_one_gradient_alone_is_the_same_as_among_all(function, kind, wanted):
    if kind == CORRENTROPY and wanted == 3:
        return  # kappa has no part in it
    arguments = ordinary(SHAPES["mixed"])
    _, gradients = derivatives(function, kind, arguments)
    alone = [a.detach().requires_grad_(i == wanted) for i, a in enumerate(arguments)]
    (got,) = torch.autograd.grad(total(function, kind, *alone), [alone[wanted]])
    torch.testing.assert_close(got, gradients[wanted], rtol=0, atol=0)


# --- finite differences ---------------------------------------------------------------------------------------------


@functions
@kinds
@pytest.mark.parametrize("shape", [SHAPES["scalars"], SHAPES["channels"], SHAPES["enlarging"]])
def test_gradcheck_and_gradgradcheck(function, kind, shape):
    shape = tuple(s[-2:] for s in shape)  # two dimensions suffice, and keep the number of differences small
    arguments = ordinary(shape, seed=1)

    def f(*a):
        return total(function, kind, *a)

    assert torch.autograd.gradcheck(f, arguments, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(f, arguments, check_batched_grad=True)


@functions
@kinds
def test_hessian_by_jacrev_of_jacrev(function, kind):
    arguments = tuple(a.detach() for a in ordinary(SHAPES["mixed"]))
    every = tuple(range(4))
    got = jacrev(jacrev(lambda *a: total(function, kind, *a), every), every)(*arguments)
    expected = jacrev(jacrev(lambda *a: plain(kind, *a).sum(), every), every)(*arguments)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


# --- at zero --------------------------------------------------------------------------------------------------------


@functions
@kinds
@dtypes
@pytest.mark.parametrize("alpha", [1e-6, 0.02, 0.5, 1.0, 1.000001, 1.5, 2.0, 3.0, 50.0])
@pytest.mark.parametrize("beta", [0.3, 1e-30, 1e-38])
def test_at_zero_value_and_gradients_vanish(function, kind, dtype, alpha, beta):
    """Exactly, for every alpha: the smallest normal number, which once stood for 0, has a t of 0.17 at alpha = 0.02.
    And where the curvature there, 2 kappa / beta^2, is too large for a number: its product with 0 was NaN."""
    if beta != 0.3 and alpha < 1:
        return  # of so small a scale, the smallest residual has a t of its own
    arguments = leaves([0.0, -0.0, 0.0], alpha, beta, 1.7, dtype=dtype)
    value, gradients = derivatives(function, kind, arguments)
    assert value == 0
    for name, gradient in zip(NAMES, gradients, strict=True):
        assert (gradient == 0).all(), name


@kinds
@dtypes
@pytest.mark.parametrize("alpha", [1e-6, 0.02, 0.5, 1.0, 2.0, 50.0])
def test_at_zero_the_scalar_shortcut_vanishes(kind, dtype, alpha, road):
    arguments = leaves([0.0, -0.0, 0.0], alpha, 0.3, 1.7, dtype=dtype)
    value = whole(kind, *arguments)
    gradients = torch.autograd.grad(value, arguments, materialize_grads=True)
    # it may take 0 for the smallest normal number where that one's own t is below it
    bound = 0 if alpha < 0.9 else 2e4 * torch.finfo(dtype).tiny
    assert value <= bound
    assert (gradients[0] == 0).all()
    assert all(abs(g) <= bound for g in gradients[1:])


@functions
@kinds
@pytest.mark.parametrize(("beta", "kappa"), [(1.0, 1.0), (0.01, 1.0), (30.0, 2.5)])
def test_curvature_at_zero(function, kind, beta, kappa):
    """2 kappa / beta^2 for alpha = 2 (Theorem I7); 0 above; below, where it is infinite, the finite stand-in 0."""
    weight = kappa if kind == LOG_CORRENTROPY else 1.0
    for alpha, expected in ((2.0, 2 * weight / beta**2), (3.0, 0.0), (1.5, 0.0)):
        arguments = leaves(0.0, alpha, beta, kappa)
        _, (first, *_) = derivatives(function, kind, arguments, create_graph=True)
        (second,) = torch.autograd.grad(first, arguments[0], materialize_grads=True)
        assert second.item() == pytest.approx(expected, rel=1e-14)
    near = leaves(1e-9 * beta, 2.0, beta, kappa)  # and alpha = 2 is continuous there
    _, (first, *_) = derivatives(function, kind, near, create_graph=True)
    assert torch.autograd.grad(first, near[0])[0].item() == pytest.approx(2 * weight / beta**2, rel=1e-9)


# --- finite for every finite residual -------------------------------------------------------------------------------

ALPHAS = st.one_of(st.floats(1 + 1e-6, 50), st.floats(-6, 0).map(lambda x: 1 + 10**x))
BETAS = st.floats(-3, 6).map(lambda x: 10**x)
KAPPAS = st.floats(-1.3, 1.7).map(lambda x: 10**x)
SPECIAL = {
    F32: [0.0, -0.0, 1e-45, -1e-45, 1.1754942e-38, 1.1754944e-38, 1e-38, -1e-20, 1.0, 1e20, -1e38, 3.4028234e38],
    F64: [0.0, -0.0, 5e-324, -5e-324, 2.225073858507201e-308, 1e-160, 1.0, 1e38, -1e160, 1.7976931348623157e308],
}


#: And down to where |e|^alpha hardly depends on e.
ALL_ALPHAS = st.one_of(ALPHAS, st.floats(-2, 0).map(lambda x: 10**x))


def residuals(width):
    return st.lists(st.floats(width=width, allow_nan=False, allow_infinity=False), min_size=1, max_size=8)


@functions
@kinds
@dtypes
@given(data=st.data(), alpha=ALPHAS, beta=BETAS, kappa=KAPPAS)
def test_value_and_gradients_are_finite_for_every_finite_residual(function, kind, dtype, data, alpha, beta, kappa):
    drawn = data.draw(residuals(32 if dtype == F32 else 64))
    arguments = leaves(SPECIAL[dtype] + drawn, alpha, beta, kappa, dtype=dtype)
    value, gradients = derivatives(function, kind, arguments)
    assert value.isfinite()
    assert value >= 0
    for name, gradient in zip(NAMES, gradients, strict=True):
        assert gradient.isfinite().all(), name
    residual, slope = arguments[0].detach(), gradients[0]
    assert (slope * residual.sign() >= 0).all()  # uphill is away from zero
    # the peak of |psi| is at most kappa alpha / beta; a subnormal t, over |e| = tiny, is good to eps of 1
    reach = alpha * (kappa if kind == LOG_CORRENTROPY else 1.0)
    peak = reach * ((1 + 1e-3) / beta + 2 * torch.finfo(dtype).eps)
    subnormal = residual.abs() < torch.finfo(dtype).tiny  # of which both t and |e| may have a single digit
    assert slope[~subnormal].abs().max() <= peak
    assert slope[subnormal].abs().max() <= 2.1 * peak


@functions
@kinds
@dtypes
def test_second_derivatives_are_finite_for_residuals_of_every_size(function, kind, dtype):
    """From where the curvature itself, of order |e|^(alpha - 2), is representable. It once was NaN far out."""
    arguments = leaves([v for v in SPECIAL[dtype] if v == 0 or abs(v) > 1e-30], 1.5, 0.5, 2.0, dtype=dtype)
    for alpha in (1.2, 2.0, 3.0, 20.0):
        arguments[1] = torch.tensor(alpha, dtype=dtype, requires_grad=True)
        _, gradients = derivatives(function, kind, arguments, create_graph=True)
        for (name, gradient), argument in itertools.product(zip(NAMES, gradients, strict=True), arguments):
            if gradient.requires_grad:
                (second,) = torch.autograd.grad(gradient.sum(), argument, retain_graph=True, materialize_grads=True)
                assert second.isfinite().all(), (alpha, name)


@functions
@kinds
def test_infinite_and_nan_residuals_are_not_hidden(function, kind):
    """Only finite residuals are promised finite results; a NaN must come through, so that training is seen to fail."""
    assert total(function, kind, *leaves([1.0, math.nan], 2.0, 1.0, 1.0)).isnan()
    infinite = total(function, kind, *leaves([math.inf], 2.0, 1.0, 1.0))
    assert infinite == (math.inf if kind == LOG_CORRENTROPY else 1.0)


# --- against 50-digit arithmetic ------------------------------------------------------------------------------------


def truth(kind, e, alpha, beta, kappa):
    """(value, d/de, d/dalpha, d/dbeta, d/dkappa), h, log|e/beta|, from the formula; the derivatives by mpmath's own
    numerical differentiation, so that no derivative formula of the kernels is repeated here."""
    e, alpha, beta, kappa = map(mpmath.mpf, (e, alpha, beta, kappa))

    def rho(le, a, lb, k):  # in log|e| and log(beta): relative steps, whatever the magnitudes
        t = mpmath.exp(a * (le - lb))
        return k * mpmath.log1p(t) if kind == LOG_CORRENTROPY else -mpmath.expm1(-t)

    at = (mpmath.log(abs(e)), alpha, mpmath.log(beta), kappa)
    value = rho(*at)
    d_le, d_alpha, d_lb, d_kappa = (mpmath.diff(rho, at, tuple(int(i == j) for j in range(4))) for i in range(4))
    return (value, d_le / e, d_alpha, d_lb / beta, d_kappa), d_le / alpha, at[0] - at[2]


def samples(dtype, number=120):
    """Residuals from subnormal-free tiny to huge, half of them within 10^4 of beta; alpha near 1 and up to 50."""
    rng = random.Random(20)
    reach = 30 if dtype == F32 else 200
    rows = []
    for i in range(number):
        beta = 10 ** rng.uniform(-3, 6)
        exponent = math.log10(beta) + rng.uniform(-4, 4) if i % 2 else rng.uniform(-reach, reach)
        alpha = rng.choice([1 + 10 ** rng.uniform(-6, 0), rng.uniform(1, 10), rng.uniform(1, 50)])
        rows.append([rng.choice([-1, 1]) * 10**exponent, alpha, beta, 10 ** rng.uniform(-1, 1.5)])
    rows += [[1.0, 2.0, 1.0, 1.0], [0.3, 1.5, 0.3, 2.0], [1e-3, 2.0, 1.0, 1.0], [-10.0, 2.0, 1.0, 1.0]]
    return torch.tensor(rows, dtype=F64).to(dtype).T


@functions
@kinds
@dtypes
def test_accuracy_stated_in_the_docstring(function, kind, dtype):
    columns = [c.clone().requires_grad_() for c in samples(dtype)]
    _, gradients = derivatives(function, kind, columns)
    if function == "summed":  # one sum for every column of arguments
        rows = zip(*(c.detach() for c in columns), strict=True)
        values = torch.stack([total(function, kind, *row) for row in rows])
    else:
        values = {"elementwise": elementwise, "each": each}[function](kind, *columns).detach()
    tiny, eps = torch.finfo(dtype).tiny, torch.finfo(dtype).eps
    for i, row in enumerate(torch.stack([c.detach() for c in columns], 1).tolist()):
        e, alpha, beta, kappa = row
        exact, h, log_u = truth(kind, *row)
        weight = kappa if kind == LOG_CORRENTROPY else 1.0
        c = 1 + alpha * (abs(math.log(abs(e))) + abs(math.log(beta)))
        # what multiplies weight * h in each entry
        factors = (1.0, alpha / abs(e), abs(log_u), alpha / beta, 1 / weight)
        computed = (values[i].item(), *(g[i].item() for g in gradients))
        for j, (got, want, factor) in enumerate(zip(computed, exact, factors, strict=True)):
            scale = abs(want)
            if j == 2:
                scale += abs(h)
            if kind == CORRENTROPY and j in (1, 2, 3):
                scale = factor + (1 if j == 2 else 0)
            underflow = 4 * tiny * (weight * factor + 1)
            assert abs(got - want) <= 2 * eps * c * scale + underflow, (("value", *NAMES)[j], row)


@dtypes
@functions
def test_accuracy_at_the_papers_setting(dtype, function):
    """alpha = 2, beta = 1, |e| in [1e-3, 10]: 4e-6 and 7e-15, relative (kernels.py)."""
    e = torch.logspace(-3, 1, 200, dtype=dtype).requires_grad_()
    _, (slope, *_) = derivatives(function, LOG_CORRENTROPY, [e, *leaves(2.0, 1.0, 1.0, dtype=dtype)])
    want = 2 * e.detach().double() / (1 + e.detach().double() ** 2)
    assert ((slope.double() - want).abs() / want).max() <= (4e-6 if dtype == F32 else 7e-15)


def test_correntropy_keeps_the_digits_of_a_small_residual():
    """1 - exp(-u^2) at u = 1e-4 is 1e-8, which float32 loses entirely unless expm1 is used."""
    small = torch.tensor([1e-4], dtype=F32)
    one = torch.ones((), dtype=F32)
    arguments = (small, 2 * one, one, one)
    for value in (elementwise(CORRENTROPY, *arguments), total("summed", CORRENTROPY, *arguments)):
        assert value.item() == pytest.approx(1e-8, rel=1e-4)


# --- the two functions against each other ---------------------------------------------------------------------------


@kinds
@given(e=residuals(64), alpha=ALL_ALPHAS, beta=BETAS, kappa=KAPPAS)
def test_summed_is_the_sum_of_elementwise(kind, e, alpha, beta, kappa):
    """Value and gradients, to rounding; zeros and subnormal residuals included."""
    e = [*e, 0.0, -5e-324, 1e-310]
    arguments = leaves(e, alpha, beta, kappa)
    one, first = derivatives("elementwise", kind, arguments)
    two, second = derivatives("summed", kind, arguments)
    eps = torch.finfo(F64).eps
    c = 1 + alpha * (750 + abs(math.log(beta)))
    torch.testing.assert_close(one, two, rtol=4 * eps * c, atol=1e-300)
    weight = kappa if kind == LOG_CORRENTROPY else 1.0
    for name, g, k in zip(NAMES, first, second, strict=True):
        scale = {"residual": alpha / beta, "alpha": 800.0, "beta": alpha / beta, "kappa": 800.0}[name] * len(e) * weight
        if name == "residual":  # log|e| is rounded too; and a subnormal t, over |e| = tiny, is good to eps of 1
            rtol, scale = 4 * eps * (c + 750), scale + alpha * weight
            counted = (arguments[0] == 0) | (arguments[0].abs() >= torch.finfo(F64).tiny)  # but for subnormal ones
            g, k = g[counted], k[counted]
        else:
            rtol = 4 * eps * c
        torch.testing.assert_close(g, k, rtol=rtol, atol=4 * eps * c * scale, msg=name)


@kinds
@shapes
def test_summed_has_its_gradients_ready(kind, shape):
    """In every form of parameters that a loss has; and nothing differentiates through them by mistake."""
    arguments = ordinary(shape)
    value = total("summed", kind, *arguments)
    assert type(value.grad_fn).__name__ == "WholeBackward"
    assert not value.grad_fn.slope.requires_grad
    assert not any(s.requires_grad for s in value.grad_fn.of_raw)


# --- forward mode ---------------------------------------------------------------------------------------------------


def direct(function, kind):
    return lambda *a: total(function, kind, *a)


@functions
@kinds
@pytest.mark.parametrize(
    "second", [hessian, lambda f, n: jacrev(jacfwd(f, n), n), lambda f, n: jacfwd(jacfwd(f, n), n)],
    ids=["hessian", "reverse over forward", "forward over forward"],
)  # fmt: skip
def test_every_way_to_a_second_derivative_agrees(function, kind, second):
    arguments, every = tuple(a.detach() for a in ordinary(SHAPES["mixed"])), tuple(range(4))
    expected = jacrev(jacrev(lambda *a: plain(kind, *a).sum(), every), every)(*arguments)
    torch.testing.assert_close(second(direct(function, kind), every)(*arguments), expected, rtol=1e-9, atol=1e-12)


@functions
@kinds
def test_forward_mode_is_reverse_mode_at_zero_and_far_out(function, kind):
    for alpha in (1.2, 2.0, 3.0):
        e, *parameters = (a.detach() for a in leaves([0.0, 1e-300, -1e-20, 0.3, -1e30, 1e300], alpha, 0.5, 1.5))
        f = direct(function, kind)
        got = jacfwd(f, (0, 1, 2, 3))(e, *parameters)
        torch.testing.assert_close(got, jacrev(f, (0, 1, 2, 3))(e, *parameters), rtol=1e-12, atol=1e-15)
        some = e[[0, 2, 3, 4, 5]]  # the curvature of alpha = 1.2 at 1e-300 is 1e240: each way has its own rounding
        got = hessian(f)(some, *parameters)
        torch.testing.assert_close(got, jacrev(jacrev(f))(some, *parameters), rtol=1e-9, atol=1e-12)
        assert got.isfinite().all()


@functions
@kinds
def test_forward_mode_of_the_older_interface(function, kind):
    arguments = [a.detach() for a in ordinary(SHAPES["vector"])]
    tangents = [torch.linspace(0.5, 1.5, a.numel(), dtype=F64).view_as(a) for a in arguments]
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(a, t) for a, t in zip(arguments, tangents, strict=True)]
        got = forward_ad.unpack_dual(direct(function, kind)(*duals)).tangent
    gradients = jacrev(lambda *a: plain(kind, *a).sum(), (0, 1, 2, 3))(*arguments)
    torch.testing.assert_close(got, sum((g * t).sum() for g, t in zip(gradients, tangents, strict=True)))


def both(graph, inputs):
    """A backend that gives what "aot_eager" does, after looking that "eager" gives the same: one tracing for both."""
    from torch._dynamo.backends.debugging import aot_eager

    compiled = aot_eager(copy.deepcopy(graph), inputs)

    def call(*arguments):
        got = compiled(*arguments)
        torch.testing.assert_close(graph(*arguments), got, rtol=1e-12, atol=1e-14)
        return got

    return call


@functions
@kinds
def test_derivatives_by_torch_func_where_compiled(function, kind):
    """jacrev over jacrev of a Function once compiled to 0, and hessian did not compile."""
    checks = torch.distributions.Distribution._validate_args
    arguments = tuple(a.detach() for a in ordinary(SHAPES["vector"]))
    f = direct(function, kind)
    for derivative in (jacrev(f), jacrev(jacrev(f)), hessian(f), jacfwd(f)):
        torch._dynamo.reset()
        got = torch.compile(derivative, fullgraph=True, backend=both)(*arguments)
        torch.testing.assert_close(got, derivative(*arguments), rtol=1e-12, atol=1e-14)
        assert got.abs().sum() > 0
    torch._dynamo.reset()
    torch.distributions.Distribution.set_default_validate_args(checks)  # the compiler switches them off for good


# --- vmap -----------------------------------------------------------------------------------------------------------

SUBSETS = [s for n in range(1, 5) for s in itertools.combinations(range(4), n)]


@functions
@kinds
@pytest.mark.parametrize("batched", SUBSETS, ids=["+".join(NAMES[i] for i in s) for s in SUBSETS])
def test_vmap_over_every_subset_of_arguments_equals_a_loop(function, kind, batched):
    number = 3
    arguments = [a.detach() for a in ordinary(((2, 4), (4,), (), (2, 1)))]
    dims = [None] * 4
    for i in batched:
        stretch = torch.linspace(0.8, 1.3, number, dtype=F64)
        arguments[i] = torch.stack([arguments[i] * s for s in stretch], dim=-1 if i == 0 else 0)
        dims[i] = -1 if i == 0 else 0  # the batch need not come first

    def f(*a):
        return total(function, kind, *a)

    def one(i):
        return [a if d is None else a.select(d, i) for a, d in zip(arguments, dims, strict=True)]

    torch.testing.assert_close(
        vmap(f, tuple(dims))(*arguments), torch.stack([f(*one(i)) for i in range(number)]), rtol=1e-13, atol=0
    )
    gradient = torch.func.grad(f, (0, 1, 2, 3))
    expected = [torch.stack(rows) for rows in zip(*(gradient(*one(i)) for i in range(number)), strict=True)]
    got = vmap(gradient, tuple(dims))(*arguments)
    torch.testing.assert_close(list(got), expected, rtol=1e-12, atol=1e-15)


@functions
@kinds
def test_vmap_within_vmap(function, kind):
    e, alphas, betas = (torch.tensor(v, dtype=F64) for v in ([0.3, -2.0, 5.0], [1.5, 2.0], [0.5, 1.0, 2.0, 4.0]))
    kappa = torch.tensor(1.2, dtype=F64)
    inner = vmap(lambda a, b: total(function, kind, e, a, b, kappa), (None, 0))
    got = vmap(inner, (0, None))(alphas, betas)
    expected = plain(kind, e, alphas[:, None, None], betas[:, None], kappa).sum(-1)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)


# --- memory layouts, empty input ------------------------------------------------------------------------------------


@functions
@kinds
@pytest.mark.parametrize(
    "layout",
    [
        lambda x: x.to(memory_format=torch.channels_last),
        lambda x: x.transpose(1, 3).contiguous().transpose(1, 3),
        lambda x: x.repeat_interleave(2, -1)[..., ::2],
        lambda x: x[:, :1].expand(2, 3, 4, 5),
    ],
    ids=["channels_last", "transposed", "strided", "expanded"],
)
def test_memory_layout_does_not_matter(function, kind, layout):
    residual, *parameters = ordinary(((2, 3, 4, 5), (3, 1, 1), (), ()))
    residual = layout(residual.detach())
    before = residual.clone()
    laid_out = residual.requires_grad_()
    packed = before.contiguous().requires_grad_()
    got = derivatives(function, kind, [laid_out, *parameters])
    expected = derivatives(function, kind, [packed, *parameters])
    torch.testing.assert_close(got, expected, rtol=1e-13, atol=0)
    torch.testing.assert_close(laid_out.detach(), before, rtol=0, atol=0)  # nothing is written into the input


@functions
@kinds
def test_no_argument_is_changed(function, kind):
    arguments = ordinary(SHAPES["full"])
    before = [a.detach().clone() for a in arguments]
    derivatives(function, kind, arguments)
    for a, b in zip(arguments, before, strict=True):
        assert torch.equal(a, b)


@functions
@kinds
@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0, 4)])
def test_empty_input(function, kind, shape):
    value, gradients = derivatives(function, kind, leaves(torch.zeros(shape), 2.0, 1.0, 1.0))
    assert value == 0
    assert gradients[0].shape == shape
    assert all(g == 0 for g in gradients[1:])
    assert elementwise(kind, *leaves(torch.zeros(shape), 2.0, 1.0, 1.0)).shape == shape


# --- the scalar shortcut --------------------------------------------------------------------------------------------

UNITS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def whole(kind, residual, alpha, beta, kappa, mean=False, log_z=0.0, slopes=(0.0, 0.0, 0.0)):
    """`Whole` with alpha, beta (and kappa, where it has a part) as the raw parameters."""
    raw = (alpha, beta, kappa)[: 3 if kind == LOG_CORRENTROPY else 2]
    numbers = (alpha.item(), beta.item(), kappa.item() if kind == LOG_CORRENTROPY else 1.0)

    def again(input, target, *raw):
        return elementwise(kind, input - target, *raw, *(() if len(raw) == 3 else (torch.ones_like(kappa),))).sum()

    setting = Setting(kind, *numbers, log_z, slopes, UNITS[: len(raw)])
    return Whole.apply(residual, torch.zeros_like(residual), mean, setting, again, *raw)


@pytest.fixture(params=[True, False], ids=["numpy", "torch"])
def road(request, monkeypatch):
    """Both ways to a logarithm, whichever is the faster here."""
    monkeypatch.setattr(kernels, "_NUMPY_IS_FAST", request.param)


def rows(dtype, number, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.empty(number, dtype=dtype).cauchy_(sigma=0.5, generator=g)


@kinds
@dtypes
@pytest.mark.parametrize("number", [1, 7, 4096, 5000, 20_001])
@pytest.mark.parametrize("special", ["ordinary", "zeros", "subnormal", "far", "every kind"])
@pytest.mark.parametrize("alpha", [0.0625, 1.75])
@pytest.mark.filterwarnings("error")
def test_whole_is_summed_in_double_precision(kind, dtype, number, special, alpha, road, monkeypatch):
    """Against the sum of the elements in float64, also over several pieces, and where pieces take another road."""
    monkeypatch.setattr(kernels, "_PIECE", 6_000)
    residual = rows(dtype, number)
    if special in ("zeros", "every kind"):
        residual[::3] = 0.0
    if special in ("subnormal", "every kind"):
        residual[number // 2] = -torch.finfo(dtype).tiny / 4
    if special in ("far", "every kind"):
        residual[-1] = 1e30 if dtype == F32 else 1e250
    parameters = [torch.tensor(x, dtype=dtype) for x in (alpha, 0.5, 1.25)]
    arguments = leaves(residual, *parameters, dtype=dtype)
    value = whole(kind, *arguments)
    gradients = torch.autograd.grad(value, arguments, materialize_grads=True)
    exact = leaves(residual, *parameters)
    expected, slopes = derivatives("summed", kind, exact)
    rtol, atol = (1e-5, 1e-6) if dtype == F32 else (1e-12, 1e-13)
    torch.testing.assert_close(value.double(), expected, rtol=rtol, atol=atol)
    # for alpha < 1 the slope at a subnormal residual is that at the smallest normal number
    seen = (residual == 0) | (residual.abs() >= torch.finfo(dtype).tiny) | (alpha >= 1)
    torch.testing.assert_close(gradients[0].double()[seen], slopes[0][seen], rtol=rtol, atol=atol)
    assert gradients[0].isfinite().all()
    for got, want in zip(gradients[1:], slopes[1:], strict=True):
        torch.testing.assert_close(got.double(), want, rtol=rtol, atol=atol * number)
    assert residual.equal(arguments[0].detach())  # nothing is written into the input


@kinds
@dtypes
def test_whole_keeps_the_accuracy_stated_in_the_docstring(kind, dtype, road):
    """One residual at a time, against 50-digit arithmetic; the bounds of test_accuracy_stated_in_the_docstring."""
    tiny, eps = torch.finfo(dtype).tiny, torch.finfo(dtype).eps
    for column in samples(dtype).T:
        row = column.tolist()
        arguments = leaves(row[:1], *row[1:], dtype=dtype)
        computed = whole(kind, *arguments)
        gradients = torch.autograd.grad(computed, arguments, materialize_grads=True)
        exact, h, log_u = truth(kind, *row)
        e, alpha, beta, kappa = row
        weight = kappa if kind == LOG_CORRENTROPY else 1.0
        c = 1 + alpha * (abs(math.log(abs(e))) + abs(math.log(beta)))
        factors = (1.0, alpha / abs(e), abs(log_u), alpha / beta, 1 / weight)
        for j, (got, want, factor) in enumerate(zip((computed, *gradients), exact, factors, strict=True)):
            scale = abs(want)
            if j == 2:
                scale += abs(h)
            if kind == CORRENTROPY and j in (1, 2, 3):
                scale = factor + (1 if j == 2 else 0)
            underflow = 4 * tiny * (weight * factor + 1)
            assert abs(got.item() - want) <= 2 * eps * c * scale + underflow, (("value", *NAMES)[j], row)


@kinds
def test_whole_has_the_mean_and_the_normaliser(kind):
    arguments = ordinary(SHAPES["scalars"])
    numbers = (0.7, (0.1, -0.2, 0.3))
    value = whole(kind, *arguments, True, *numbers)
    count = arguments[0].numel()
    assert value.item() == pytest.approx(whole(kind, *arguments).item() / count + 0.7, rel=1e-14)
    gradients = torch.autograd.grad(value, arguments[1:], materialize_grads=True)
    plainly = torch.autograd.grad(whole(kind, *arguments), arguments[1:], materialize_grads=True)
    for i in range(3 if kind == LOG_CORRENTROPY else 2):
        assert gradients[i].item() == pytest.approx(plainly[i].item() / count + numbers[1][i], rel=1e-13)


@kinds
def test_whole_twice(kind):
    """Second derivatives, batched ones too, and a graph that is walked twice."""
    arguments = ordinary(((2, 4), (), (), ()))
    if kind == CORRENTROPY:
        arguments = [*arguments[:3], torch.ones((), dtype=F64)]
    wanted = arguments[: 4 if kind == LOG_CORRENTROPY else 3]

    def f(*a):
        return whole(kind, *a, *arguments[len(a) :])

    assert torch.autograd.gradcheck(f, wanted, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(f, wanted, check_batched_grad=True)
    value = f(*wanted)
    first = torch.autograd.grad(value, wanted, retain_graph=True)
    first[0].zero_()  # even if the caller writes into what it was given
    wanted[0].grad = None
    second = torch.autograd.grad(3 * f(*wanted), wanted)
    torch.testing.assert_close(second, torch.autograd.grad(3 * total("summed", kind, *arguments), wanted))


@kinds
def test_whole_does_not_share_its_gradient_with_the_caller(kind):
    residual, *parameters = ordinary(SHAPES["scalars"])
    value = whole(kind, residual, *parameters)
    value.backward(retain_graph=True)
    expected = residual.grad.clone()
    residual.grad.zero_()
    value.backward()
    torch.testing.assert_close(residual.grad, expected, rtol=0, atol=0)


@kinds
def test_the_gradient_of_a_leaf_is_no_copy(kind):
    residual, *parameters = ordinary(SHAPES["scalars"])
    value = whole(kind, residual, *parameters)
    place = value.grad_fn.slope.data_ptr()
    value.backward()
    assert residual.grad.data_ptr() == place


def test_the_target_gets_its_gradient_too():
    residual, *parameters = ordinary(SHAPES["scalars"])
    target = torch.zeros_like(residual).requires_grad_()
    setting = Setting(LOG_CORRENTROPY, *(p.item() for p in parameters))
    value = Whole.apply(residual, target, False, setting, None)
    of_input, of_target = torch.autograd.grad(value, [residual, target])
    torch.testing.assert_close(of_target, -of_input, rtol=0, atol=0)
    (alone,) = torch.autograd.grad(Whole.apply(residual.detach(), target, False, setting, None), [target])
    torch.testing.assert_close(alone, of_target, rtol=0, atol=0)


@pytest.mark.parametrize("far", [False, True])
def test_logarithms_are_shared_only_where_the_product_is_finite(far):
    t = torch.rand(8192, dtype=F32)
    if far:
        t[::2] = 1e30
    expected = t.double().log1p().sum().item()
    assert kernels._sum_of_log1p(t, torch.empty_like(t)) == pytest.approx(expected, rel=1e-6)
