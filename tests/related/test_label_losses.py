"""Losses for noisy labels against the definitions in numpy, autograd against finite differences, and bad input."""

import functools
import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from alcl.related.label_losses import (
    CLASSIFICATION_LOSSES,
    AMSELoss,
    GCELoss,
    JALLoss,
    MSEMAELoss,
    NFLLoss,
    make_classification_loss,
)
from alcl.related.label_neighbours import ForwardCorrectionLoss

OWN = ("ce", "nce", "nfl", "mae", "gce", "nce_rce", "amse", "mse_mae", "jal")  # test_label_neighbours.py has the others


def batch(n=7, classes=5, seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (n,), generator=generator)


def reference(name, logits, labels, a=30.0):
    """The published definitions, written down with numpy."""
    z = logits.numpy()
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    one = np.eye(p.shape[1])[labels.numpy()]
    py = (p * one).sum(1)
    focal = (1 - p) ** 0.5 * np.log(p)
    nce = np.log(py) / np.log(p).sum(1)
    nfl = (focal * one).sum(1) / focal.sum(1)
    amse = ((a * one - p) ** 2).mean(1)
    return {
        "ce": -np.log(py),
        "nce": nce,
        "nfl": nfl,
        "mae": np.abs(one - p).sum(1),
        "gce": (1 - py**0.7) / 0.7,
        "nce_rce": nce - (p * np.log(np.clip(one, 1e-4, 1))).sum(1),
        "amse": amse,
        "mse_mae": ((one - p) ** 2).mean(1) + 2.9 * np.abs(one - p).sum(1),
        "jal": nce + amse,
    }[name]


@pytest.mark.parametrize("name", OWN)
def test_values_are_the_published_definitions(name):
    logits, labels = batch()
    loss = make_classification_loss(name, reduction="none")
    expected = reference(name, logits, labels)
    np.testing.assert_allclose(loss(logits, labels).numpy(), expected, rtol=1e-12, atol=1e-14)
    assert make_classification_loss(name)(logits, labels).item() == pytest.approx(expected.mean(), rel=1e-12)
    total = make_classification_loss(name, reduction="sum")(logits, labels)
    assert total.item() == pytest.approx(expected.sum(), rel=1e-12)


def test_jal_fl_is_its_two_parts():
    logits, labels = batch()
    expected = 5 * reference("nfl", logits, labels) + 0.1 * reference("amse", logits, labels, a=5.0)
    loss = JALLoss("fl", active=5, passive=0.1, a=5, reduction="none")
    np.testing.assert_allclose(loss(logits, labels).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in OWN if name != "nfl"])
def test_gradients_by_finite_differences(name):
    logits, labels = batch(4, 4)
    loss = make_classification_loss(name, reduction="none")
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), logits.requires_grad_())


@pytest.mark.parametrize("q", [1.0, 1.5, 3.0, 7.0])
def test_powers_of_amse_by_high_precision(q):
    """(1/K) sum_k |a [k = y] - p_k|^q, p from the logits, all in 50 digits; its gradient by finite differences."""
    logits, labels = batch(4, 5)
    loss = AMSELoss(a=3.0, q=q, reduction="none")
    with mpmath.workdps(50):
        for row, label, found in zip(logits.tolist(), labels.tolist(), loss(logits, labels).tolist(), strict=True):
            e = [mpmath.exp(z) for z in row]
            parts = [abs((3 if k == label else 0) - x / mpmath.fsum(e)) ** q for k, x in enumerate(e)]
            assert found == pytest.approx(float(mpmath.fsum(parts) / 5), rel=1e-12)
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), logits.requires_grad_())
    joint = JALLoss(a=3.0, q=q, reduction="none")(logits, labels)
    torch.testing.assert_close(joint, torch.tensor(reference("nce", logits.detach(), labels)) + loss(logits, labels))


@pytest.mark.parametrize("q", [1.0, 1.5, 3.0])
def test_powers_of_amse_stay_finite_where_probabilities_underflow(q):
    logits = torch.tensor([[300.0, -300.0, 0.0], [-300.0, 300.0, 0.0]], requires_grad=True)
    AMSELoss(a=1.0, q=q)(logits, torch.tensor([0, 0])).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_nfl_holds_its_focal_weights_constant(gamma):
    """The gradient is that of the loss with its weights frozen: checked by finite differences of that."""
    logits, labels = batch(3, 4)
    logits.requires_grad_()
    (own,) = torch.autograd.grad(NFLLoss(gamma, "sum")(logits, labels), logits)
    frozen = (1 - logits.detach().softmax(1)) ** gamma

    def with_frozen_weights(z):
        focal = frozen * F.log_softmax(z, 1)
        return (focal.gather(1, labels[:, None]).squeeze(1) / focal.sum(1)).sum()

    steps = 1e-6 * torch.eye(logits.numel(), dtype=torch.float64).reshape(-1, *logits.shape)
    with torch.no_grad():
        numeric = [(with_frozen_weights(logits + h) - with_frozen_weights(logits - h)) / 2e-6 for h in steps]
    torch.testing.assert_close(own, torch.stack(numeric).reshape(logits.shape), rtol=1e-6, atol=1e-8)


def test_cross_entropy_is_torchs_and_gce_reaches_it():
    logits, labels = batch()
    expected = F.cross_entropy(logits, labels)
    torch.testing.assert_close(make_classification_loss("ce")(logits, labels), expected)
    torch.testing.assert_close(GCELoss(1e-7)(logits, labels), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(2 * GCELoss(1.0)(logits, labels), make_classification_loss("mae")(logits, labels))


@pytest.mark.parametrize("name", CLASSIFICATION_LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_extreme_logits_stay_finite(name, dtype):
    logits = torch.tensor(
        [[100.0, -100.0, 0.0], [-100.0, 100.0, 0.0], [0.0, 0.0, 0.0]], dtype=dtype, requires_grad=True
    )
    options = {"transition": torch.eye(3) * 0.7 + 0.1} if name == "forward" else {}
    make = ForwardCorrectionLoss if name == "forward" else functools.partial(make_classification_loss, name)
    value = make(**options)(logits, torch.tensor([0, 0, 2]))
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


@given(st.integers(2, 12), st.floats(1, 100), st.integers(0, 2**31))
def test_amse_and_the_weighted_sum_have_one_gradient(classes, a, seed):
    logits, labels = batch(5, classes, seed)
    logits.requires_grad_()
    one = torch.autograd.grad(AMSELoss(a)(logits, labels), logits)[0]
    other = torch.autograd.grad(MSEMAELoss(1.0, (a - 1) / classes)(logits, labels), logits)[0]
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_classification_loss("cee"), "loss must be one of ce, nce"),
        (lambda: make_classification_loss("gce", p=1), "loss 'gce' takes q, reduction; got p"),
        (lambda: GCELoss(0), "q must be finite, above 0 and at most 1; got 0"),
        (lambda: GCELoss(1.1), "q must be finite"),
        (lambda: AMSELoss(0.5), "a must be finite, at least 1; got 0.5"),
        (lambda: AMSELoss(math.nan), "a must be finite"),
        (lambda: AMSELoss(math.inf), "a must be finite"),
        (lambda: JALLoss("cf"), "kind must be one of ce, fl; got 'cf'"),
        (lambda: JALLoss(active=-1), "active must be finite, at least 0; got -1"),
        (lambda: AMSELoss(reduction="avg"), "reduction must be one of none, mean, sum; got 'avg'"),
        (lambda: AMSELoss()(torch.zeros(3), torch.zeros(3).long()), r"logits must be floating point of shape \(N, K\)"),
        (lambda: AMSELoss()(torch.zeros(3, 2), torch.zeros(3)), r"labels must be int64 of shape \(3,\)"),
        (lambda: AMSELoss()(torch.zeros(3, 2), torch.zeros(2).long()), r"labels must be int64 of shape \(3,\)"),
        (lambda: AMSELoss(q=0.5), "q must be finite, at least 1; got 0.5"),
        (lambda: JALLoss(control=True, q=3), "q must be 2 where control is set"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
