"""Lanczos against exact eigenvalues and against ARPACK, the factors of the bound, bad input."""

import itertools

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn
from torch.nn import functional as F

from alcl.related.curvature import feature_change, head_bend, largest_eigenvalue, safe_radius
from alcl.related.feature_losses import input_hessians
from alcl.related.label_runs import make_classifier


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def tanh_net(inputs=12):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 16), nn.Tanh(), nn.Linear(16, 4)).double().eval()


def test_lanczos_against_the_exact_hessian():
    """A smooth network, so negative eigenvalues too, and as many steps as pixels."""
    model, x, y = tanh_net(), torch.randn(6, 1, 3, 4, generator=draws(), dtype=torch.float64), torch.arange(6) % 4
    with torch.no_grad():
        model[3].weight *= 3
    exact = torch.linalg.eigvalsh(input_hessians(model, x, y))
    assert (exact[:, 0] < -0.1).any()
    torch.testing.assert_close(largest_eigenvalue(model, x, y, draws(), steps=12), exact[:, -1], rtol=1e-9, atol=1e-12)
    some = [largest_eigenvalue(model, x, y, draws(), steps=k) for k in (1, 3, 6, 99)]
    assert all((a <= b + 1e-12).all() for a, b in itertools.pairwise(some))  # it grows, from below
    assert (some[0] < 0.9 * exact[:, -1]).any()
    torch.testing.assert_close(some[-1], exact[:, -1], rtol=1e-9, atol=1e-12)


def test_lanczos_against_arpack_on_larger_images():
    """scipy's eigsh on Hessian-vector products by finite differences of the gradient: nothing is shared."""
    model = make_classifier((1, 28, 28), 10, 4, 16, seed=0, normalise=False).double().eval()
    with torch.no_grad():
        model.head.weight *= 10
    x, y = torch.rand(2, 1, 28, 28, generator=draws(), dtype=torch.float64), torch.tensor([3, 7])
    found = largest_eigenvalue(model, x, y, draws())

    def gradient(image, label):
        v = image[None].clone().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(model(v), label[None]), v)[0].flatten().numpy()

    for image, label, own in zip(x, y, found, strict=True):

        def product(v, image=image, label=label):
            step = 1e-7 * torch.from_numpy(np.ascontiguousarray(v).reshape(image.shape))
            return (gradient(image + step, label) - gradient(image - step, label)) / 2e-7

        (largest,) = eigsh(LinearOperator((784, 784), matvec=product, dtype=float), k=1, which="LA")[0]
        assert own.item() == pytest.approx(largest, rel=1e-4)


def test_a_network_that_is_flat_has_eigenvalue_zero_in_single_precision():
    model = make_classifier((1, 8, 8), 5, 4, 8, seed=0, normalise=False).eval()
    with torch.no_grad():
        model.features[-2].bias.fill_(-100.0)  # all features are off
    x = torch.rand(3, 1, 8, 8, generator=draws())
    assert largest_eigenvalue(model, x, torch.tensor([0, 1, 2]), draws()).abs().max() == 0
    assert feature_change(model, x).abs().max() == 0


def test_single_precision_agrees_with_double():
    model = make_classifier((1, 8, 8), 5, 4, 8, seed=0, normalise=False).eval()
    x, y = torch.rand(20, 1, 8, 8, generator=draws()), torch.arange(20) % 5
    single = largest_eigenvalue(model, x, y, draws())
    exact = torch.linalg.eigvalsh(input_hessians(model.double(), x.double(), y))[:, -1]
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=0)


def test_the_change_of_features_against_jacobians():
    model = make_classifier((1, 8, 8), 5, 4, 8, seed=0, normalise=False).double().eval()
    x = torch.rand(4, 1, 8, 8, generator=draws(), dtype=torch.float64)
    for image, own in zip(x, feature_change(model, x), strict=True):
        jacobian = torch.func.jacrev(lambda v: model.features(v[None])[0])(image)
        assert own.item() == pytest.approx(jacobian.square().sum().item())


def test_the_bend_of_a_head_against_the_second_derivative_of_the_loss():
    head = nn.Linear(6, 4).double()
    f = torch.randn(3, 6, generator=draws(), dtype=torch.float64)
    own = head_bend(head(f), head)
    for one, bend in zip(f, own, strict=True):
        h = torch.func.hessian(lambda v: F.cross_entropy(head(v[None]), torch.tensor([2])))(one)
        assert bend.item() == pytest.approx(torch.linalg.eigvalsh(h)[-1].item())


def test_the_radius_is_the_root():
    for loss, slope, bend in ((0.1, 0.5, 2.0), (0.0, 0.0, 1.0), (0.6, 3.0, 0.0), (0.3, 1e-9, 1e6)):
        r = safe_radius(loss, slope, bend)
        assert loss + slope * r + bend * r**2 / 2 == pytest.approx(np.log(2))
    assert safe_radius(0.1, 0.0, 0.0) == float("inf")
    assert safe_radius(0.7, 1.0, 1.0) == 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: largest_eigenvalue(tanh_net().train(), torch.zeros(1, 12), torch.tensor([0]), draws()), "evaluation"),
        (lambda: largest_eigenvalue(tanh_net(), torch.zeros(1, 12), torch.tensor([0]), draws(), 0), "steps .*; got 0"),
        (lambda: feature_change(make_classifier((1, 8, 8), 5, 4, 8, 0).train(), torch.zeros(1, 1, 8, 8)), "evaluation"),
        (lambda: safe_radius(-0.1, 0, 1), "loss must be at least 0 and finite; got -0.1"),
        (lambda: safe_radius(0.1, float("nan"), 1), "slope must be at least 0 and finite; got nan"),
        (lambda: safe_radius(0.1, 0, float("inf")), "bend must be at least 0 and finite; got inf"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
