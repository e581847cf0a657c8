"""Guards of the theorems of notebook 09, by oracles that share no formula with the library."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from alcl.related.curvature import feature_change, head_bend, safe_radius
from alcl.related.feature_losses import finite_difference_curvature, hutchinson_trace, input_hessians, plane_distances
from alcl.related.label_runs import make_classifier


def smooth(inputs=2, seed=1):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, 6), nn.Tanh(), nn.Linear(6, 3)).double().eval()


def gaussian_mean(model, x, label, sigma, nodes=24):
    """E loss(x + sigma g) in two dimensions by Gauss-Hermite quadrature."""
    t, w = np.polynomial.hermite_e.hermegauss(nodes)
    points = torch.tensor(list(itertools.product(t, t)), dtype=torch.float64)
    weights = torch.tensor([a * b for a, b in itertools.product(w, w)], dtype=torch.float64) / (2 * np.pi)
    losses = F.cross_entropy(model(x + sigma * points), torch.full((len(points),), label), reduction="none")
    return (weights * losses).sum().item()


@pytest.mark.parametrize("label", [0, 1, 2])
def test_D1_injected_noise_adds_half_the_trace(label):
    """The remainder, by quadrature, falls sixteenfold when sigma is halved."""
    model, x = smooth(), torch.tensor([[0.3, -0.8]], dtype=torch.float64)
    y = torch.tensor([label])
    trace = torch.func.hessian(lambda v: F.cross_entropy(model(v[None]), y))(x[0]).trace().item()
    base = F.cross_entropy(model(x), y).item()
    rest = [gaussian_mean(model, x, label, s) - base - s**2 / 2 * trace for s in (0.2, 0.1, 0.05)]
    assert rest[0] / rest[1] == pytest.approx(16, rel=0.15)
    assert rest[1] / rest[2] == pytest.approx(16, rel=0.1)


def test_D2_the_published_measure_estimates_the_trace_of_the_square():
    """For a quadratic the difference quotient is H g exactly, whatever h: its mean square over draws is tr(H^2)."""

    class Quadratic(nn.Module):
        """Two logits (z, 0) whose cross-entropy for label 0 is log(1 + exp(-z)); z makes that equal to x'Ax/2."""

        def __init__(self):
            super().__init__()
            self.matrix = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)

        def forward(self, x):
            value = 0.5 * torch.einsum("ni,ij,nj->n", x, self.matrix, x) + 1
            return torch.stack([-value.expm1().log(), torch.zeros_like(value)], 1)

    model, x, y = Quadratic().eval(), torch.tensor([[0.7, -0.4]], dtype=torch.float64), torch.tensor([0])
    torch.testing.assert_close(input_hessians(model, x, y)[0], model.matrix)
    many, labels = x.expand(5_000, 2), y.expand(5_000)  # copies of one point: their draws are independent
    for h in (0.5, 0.01):
        found = finite_difference_curvature(model, many, labels, torch.Generator().manual_seed(0), h=h, draws=4)
        found = found.mean().item()
        assert found == pytest.approx(np.square(np.linalg.eigvalsh(model.matrix.numpy())).sum(), rel=0.03)
        assert found != pytest.approx(model.matrix.trace().item(), rel=0.3)


def test_D3_hutchinson_is_unbiased_with_the_stated_variance():
    """All 2^4 sign vectors, enumerated: the mean is the trace, the variance twice the squares off the diagonal."""
    model, x, y = smooth(4), torch.randn(1, 4, dtype=torch.float64), torch.tensor([1])
    h = torch.func.hessian(lambda v: F.cross_entropy(model(v[None]), y))(x[0]).detach()
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=4)), dtype=torch.float64)
    values = torch.einsum("vi,ij,vj->v", signs, h, signs).numpy()
    assert np.mean(values) == pytest.approx(h.trace().item())
    assert np.var(values) == pytest.approx(2 * (h.square().sum() - h.diagonal().square().sum()).item())
    draws = [hutchinson_trace(model, x, y, 1, torch.Generator().manual_seed(s)).item() for s in range(300)]
    assert np.std(draws) == pytest.approx(np.std(values), rel=0.15)


def test_D4_tight_classes_with_margin_are_classified_correctly():
    """Random heads and means; features anywhere within the radius. Within the margin: no error, by the logits; beyond
    it an error can be made on purpose."""
    g = torch.Generator().manual_seed(0)
    for _ in range(50):
        head = nn.Linear(5, 4).double()
        with torch.no_grad():
            head.weight.copy_(torch.randn(4, 5, generator=g, dtype=torch.float64))
            means = 20 * head.weight - 20 * head.weight.mean(0)
            margin = plane_distances(means, head).min()
            if margin <= 0:
                continue
            away = F.normalize(torch.randn(2000, 5, generator=g, dtype=torch.float64), dim=1)
            for c in range(4):
                inside = head(means[c] + 0.999 * margin * away).argmax(1)
                assert (inside == c).all()
            c, j = divmod(int(plane_distances(means, head).argmin()), 4)
            step = F.normalize(head.weight[j] - head.weight[c], dim=0) * 1.001 * margin
            logits = head(means[c] + step)
            assert logits[j] > logits[c]


def test_D5_curvature_of_a_piecewise_linear_network():
    """Exact Hessians, by autograd twice, against the Jacobian of the logits and the covariance of one-hot labels."""
    model = make_classifier((1, 8, 8), 5, 4, 8, seed=0, normalise=False).double().eval()
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.arange(6) % 5
    h = input_hessians(model, x, y)
    for i in range(6):
        jacobian = torch.func.jacrev(lambda v: model(v.reshape(1, 1, 8, 8))[0])(x[i].flatten())
        p = model(x[i : i + 1]).softmax(1)[0].detach().numpy()
        rows = jacobian.detach().numpy()
        mean = p @ rows
        covariance = sum(p[k] * np.outer(rows[k] - mean, rows[k] - mean) for k in range(5))
        np.testing.assert_allclose(h[i].numpy(), covariance, atol=1e-12)
        assert np.linalg.eigvalsh(h[i].numpy()).min() > -1e-12
    # confidence alone flattens: the same boundaries, logits times 100, the examples it is sure of
    with torch.no_grad():
        model.head.weight *= 1000
        model.head.bias *= 1000
    sure = model(x).softmax(1).max(1).values > 1 - 1e-9
    flat = input_hessians(model, x, y).diagonal(dim1=1, dim2=2).sum(1)
    assert sure.any()
    assert (flat[sure] < 1e-2 * h.diagonal(dim1=1, dim2=2).sum(1)[sure]).all()


def test_D6_stable_features_bend_the_loss_little():
    """The change of the features by simulation with small steps, the trace by autograd: bound, scale, equality."""
    model = make_classifier((1, 8, 8), 5, 4, 8, seed=0, normalise=False).double().eval()
    with torch.no_grad():
        model.head.weight *= 4
    x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    steps = 1e-6 * torch.randn(4000, *x.shape[1:], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    trace = input_hessians(model, x, torch.arange(20) % 5).diagonal(dim1=1, dim2=2).sum(1)
    with torch.no_grad():
        change = torch.stack([(model.features(v + steps) - model.features(v[None])).square().sum(1) for v in x]) / 1e-12
        p = model(x).softmax(1).numpy()
    w = model.head.weight.detach().numpy()
    bend = np.array([np.linalg.eigvalsh(w.T @ (np.diag(q) - np.outer(q, q)) @ w)[-1] for q in p])
    error = 4 * change.std(1) / len(steps) ** 0.5
    assert ((feature_change(model, x) - change.mean(1)).abs() < error).all()
    np.testing.assert_allclose(head_bend(model(x).detach(), model.head), bend)
    bound = change.mean(1).numpy() * bend
    assert (trace.numpy() <= bound + bend * error.numpy()).all()
    assert (trace.numpy() > 0.1 * bound).any()  # near enough to be of use
    centred = np.linalg.norm(w - w.mean(0), ord=2) ** 2 / 2
    assert (bend <= centred).all()
    # the same function with features ten times as large: the product stays, each factor does not
    with torch.no_grad():
        model.features[-2].weight *= 10
        model.features[-2].bias *= 10
        model.head.weight /= 10
    torch.testing.assert_close(feature_change(model, x).mean(), 100 * change.mean(), rtol=0.05, atol=0)
    np.testing.assert_allclose(head_bend(model(x).detach(), model.head), bend / 100)


def test_D6_is_an_equality_for_one_feature_and_half_the_width_for_two_sure_classes():
    """One feature, logits (3 f, -f), p = (1/2, 1/2): H is the variance of 3 and -1, times the squared slope of f."""

    class Line(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.head = nn.Sequential(nn.Linear(3, 1), nn.ReLU()), nn.Linear(1, 2)

        def forward(self, x):
            return self.head(self.features(x))

    model = Line().double().eval()
    with torch.no_grad():
        model.features[0].weight.copy_(torch.tensor([[1.0, 2.0, -2.0]]))
        model.features[0].bias.fill_(1.0)
        model.head.weight.copy_(torch.tensor([[3.0], [-1.0]]))
        model.head.bias.copy_(torch.tensor([-3.0, 1.0]))  # at f = 1 both logits are 0
    x = torch.zeros(1, 3, dtype=torch.float64)
    trace = input_hessians(model, x, torch.tensor([0]))[0].trace().item()
    assert trace == pytest.approx(4 * 9)
    assert (feature_change(model, x) * head_bend(model(x), model.head)).item() == pytest.approx(trace)
    w = model.head.weight.detach()
    assert head_bend(model(x), model.head).item() == pytest.approx(((w - w.mean(0)).norm() ** 2 / 2).item())


def test_D7_nothing_inside_the_radius_changes_class():
    """The bend is searched for on a grid of the ball itself, not taken from a formula; every class is looked up."""
    angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    circle = torch.tensor(np.stack([np.cos(angles), np.sin(angles)], 1))
    tried = 0
    for seed in range(12):
        model, x = smooth(seed=seed), torch.tensor([[0.3, -0.8]], dtype=torch.float64)
        with torch.no_grad():
            model[2].weight *= 4
        y = model(x).argmax(1)
        v = x.clone().requires_grad_()
        loss = F.cross_entropy(model(v), y)
        slope = torch.autograd.grad(loss, v)[0].norm().item()
        if loss >= np.log(2):
            continue
        bend, radius = 0.0, safe_radius(loss.item(), slope, 0.0)
        for _ in range(30):  # the largest bend of a ball, the ball of that bend, and so on: radii shrink to a fixed one
            ball = (x + torch.linspace(0, radius, 12)[:, None, None].double() * circle).reshape(-1, 2)
            found = torch.linalg.eigvalsh(input_hessians(model, ball, y.expand(len(ball))))[:, -1].max().item()
            bend, before = max(bend, 1.02 * found), radius
            radius = safe_radius(loss.item(), slope, bend)
            if abs(radius - before) < 1e-6:
                break
        assert (model(x + 0.999 * radius * circle).argmax(1) == y).all()
        assert (model(ball).argmax(1) == y).all()
        tried += 1
    assert tried >= 5


def test_D7_the_radius_is_the_largest_for_a_parabola_and_worthless_without_the_ball():
    """Two classes whose loss is 0.1 + s t + c t^2 / 2 along a line: the class changes at the radius exactly."""
    slope, bend = 0.3, 2.0
    radius = safe_radius(0.1, slope, bend)
    for t, right in ((0.9999 * radius, True), (1.0001 * radius, False)):
        assert (np.exp(-(0.1 + slope * t + bend * t**2 / 2)) > 0.5) == right
    assert safe_radius(np.log(2), 1.0, 1.0) == 0
    # a kink beside x: no slope, no curvature at x, and another class a hair away
    near = torch.tensor([[0.0], [0.02]], dtype=torch.float64)
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 2)).double().eval()
    with torch.no_grad():
        model[0].weight.fill_(1.0), model[0].bias.fill_(-0.01)
        model[2].weight.copy_(torch.tensor([[0.0], [1000.0]])), model[2].bias.copy_(torch.tensor([2.0, 0.0]))
    assert input_hessians(model, near[:1], torch.tensor([0])).abs().max() == 0
    assert model(near).argmax(1).tolist() == [0, 1]


def test_D7_the_mean_loss_under_noise_by_quadrature():
    """E loss(x + s g) stays below loss + s^2 T / 2, T the largest trace over the plane, found on a grid."""
    model, x = smooth(), torch.tensor([[0.3, -0.8]], dtype=torch.float64)
    grid = torch.cartesian_prod(*2 * [torch.linspace(-8, 8, 81, dtype=torch.float64)])
    traces = input_hessians(model, grid, torch.ones(len(grid), dtype=torch.long)).diagonal(dim1=1, dim2=2).sum(1)
    base = F.cross_entropy(model(x), torch.tensor([1])).item()
    added = [(gaussian_mean(model, x, 1, s) - base) / (s**2 / 2) for s in (0.1, 0.5, 1.0)]
    assert max(added) <= traces.max()
    assert added[0] > traces.min()
