"""The discriminative loss against loops in numpy, training's bookkeeping, curvature against torch.func, bad input."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from alcl.related.feature_losses import (
    PERTURBATIONS,
    PUBLISHED,
    TRAININGS,
    DiscriminativeLoss,
    finite_difference_curvature,
    fit_classifier,
    hutchinson_trace,
    input_hessians,
    perturb,
    plane_distances,
)
from alcl.related.label_runs import make_classifier


def features(n=12, classes=4, width=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    clean = 3 * torch.randn(n, width, generator=g, dtype=torch.float64)
    noisy = clean + torch.randn(n, width, generator=g, dtype=torch.float64)
    labels = torch.arange(n) % (classes - 1)  # the last class is absent
    head = nn.Linear(width, classes).double()
    with torch.no_grad():
        head.weight.copy_(torch.randn(classes, width, generator=g, dtype=torch.float64))
        head.bias.copy_(torch.randn(classes, generator=g, dtype=torch.float64))
    return clean, noisy, labels, head


def reference(clean, noisy, labels, head, previous, mu=0.99, delta_v=0.5, delta_d=5.0, center=0.001):
    """The published definition, class by class, with loops."""
    w, b = head.weight.detach().numpy(), head.bias.detach().numpy()
    f, g, y = clean.detach().numpy(), noisy.detach().numpy(), labels.numpy()
    spread, margin, norms = [], [], []
    for c in sorted(set(y)):
        batch = f[y == c].mean(0)
        m = (1 - mu) * batch + mu * (batch if previous is None else previous[c])
        both = np.vstack([f[y == c], g[y == c]])
        spread.append(np.mean([max(0, np.linalg.norm(v - m) - delta_v) ** 2 for v in both]))
        worst = []
        for j in range(len(w)):
            if j != c:
                gap = (w[j] - w[c]) @ batch + b[j] - b[c]
                worst.append(max(0, delta_d + gap / np.linalg.norm(w[c] - w[j])))
        margin.append(max(worst))
        norms.append(np.linalg.norm(m))
    return np.mean(spread) + np.mean(margin) + center * np.mean(norms)


@pytest.mark.parametrize("deltas", [(0.5, 5.0), (3.0, 0.5)])
def test_value_is_the_published_definition(deltas):
    clean, noisy, labels, head = features()
    loss = DiscriminativeLoss(4, 3, *deltas).double()
    first = loss(clean, noisy, labels, head).item()
    assert first == pytest.approx(reference(clean, noisy, labels, head, None, delta_v=deltas[0], delta_d=deltas[1]))
    previous = loss.means.numpy().copy()
    clean, noisy, labels, _ = features(seed=1)
    second = loss(clean, noisy, labels, head).item()
    expected = reference(clean, noisy, labels, head, previous, delta_v=deltas[0], delta_d=deltas[1])
    assert second == pytest.approx(expected)
    assert loss.seen.tolist() == [True, True, True, False]
    batch = clean[labels == 1].mean(0).numpy()
    np.testing.assert_allclose(loss.means[1].numpy(), 0.01 * batch + 0.99 * previous[1])


def test_evaluation_mode_moves_no_mean():
    clean, noisy, labels, head = features()
    loss = DiscriminativeLoss(4, 3).double().eval()
    loss(clean, noisy, labels, head)
    assert not loss.seen.any()


def test_gradients_by_finite_differences():
    clean, noisy, labels, head = features()
    loss = DiscriminativeLoss(4, 3).double()
    loss(clean, noisy, labels, head)
    loss.eval()  # else every evaluation would move the means
    w, b = head.weight.detach().requires_grad_(), head.bias.detach().requires_grad_()

    def value(clean, noisy, w, b):
        other = nn.Linear(3, 4).double()
        return torch.func.functional_call(
            _Call(loss, other, labels), {"head.weight": w, "head.bias": b}, (clean, noisy), strict=False
        )

    assert torch.autograd.gradcheck(value, (clean.requires_grad_(), noisy.requires_grad_(), w, b))


class _Call(nn.Module):
    def __init__(self, loss, head, labels):
        super().__init__()
        self.loss, self.head, self.labels = loss, head, labels

    def forward(self, clean, noisy):
        return self.loss(clean, noisy, self.labels, self.head)


def test_gradients_at_a_mean_are_finite():
    clean, _, labels, head = features()
    clean = torch.zeros_like(clean).requires_grad_()
    DiscriminativeLoss(4, 3, delta_v=0.0).double()(clean, clean, labels, head).backward()
    assert torch.isfinite(clean.grad).all()
    assert torch.isfinite(head.weight.grad).all()


def test_distances_by_walking_to_the_plane():
    _, _, _, head = features()
    means = torch.randn(4, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    distance = plane_distances(means, head)
    assert torch.isinf(distance.diagonal()).all()
    for c in range(4):
        for j in set(range(4)) - {c}:
            normal = F.normalize(head.weight[c] - head.weight[j], dim=0)
            there = head(means[c] - distance[c, j] * normal)
            assert there[c].item() == pytest.approx(there[j].item(), abs=1e-9)  # on the plane
            logits = head(means[c])
            assert (distance[c, j] > 0) == (logits[c] > logits[j])


# --- training --------------------------------------------------------------------------------------------------------


def blobs(n=200):
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 2
    images = 0.3 * torch.rand(n, 1, 8, 8, generator=g)
    images[labels == 1, :, 2:6, 2:6] += 0.5
    return images, labels


@pytest.mark.parametrize("training", TRAININGS)
def test_every_training_learns_and_repeats(training):
    images, labels = blobs()
    weights = []
    for _ in range(2):
        model = make_classifier((1, 8, 8), 2, 4, 8, seed=0, normalise=False)
        history = fit_classifier(
            model, images, labels, training, sigma=0.1, epochs=5, generator=torch.Generator().manual_seed(0), lr=5e-3
        )
        weights.append(nn.utils.parameters_to_vector(model.parameters()))
    assert torch.equal(weights[0], weights[1])
    assert history[-1] < history[0]
    assert (model(images).argmax(1) == labels).float().mean() > 0.95


def test_clean_training_is_blind_to_the_noise():
    """The same network whatever sigma is, also where batches are normalised; and noisy training is not."""
    images, labels = blobs()
    for training, same in (("clean", True), ("noisy", False)):
        found = []
        for sigma in (0.1, 0.5):
            model = make_classifier((1, 8, 8), 2, 4, 8, seed=0)
            fit_classifier(
                model, images, labels, training, sigma=sigma, epochs=1, generator=torch.Generator().manual_seed(0)
            )
            found.append(torch.cat([t.flatten().float() for t in model.state_dict().values()]))
        assert torch.equal(*found) == same


def test_an_auxiliary_loss_reaches_the_features_and_learns_itself():
    images, labels = blobs(64)

    class Auxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.decoder = nn.Linear(8, 64)

        def forward(self, f, index):
            return F.mse_loss(self.decoder(f), images[index].flatten(1))

    auxiliary = Auxiliary()
    before = auxiliary.decoder.weight.clone()
    model = make_classifier((1, 8, 8), 2, 4, 8, seed=0, normalise=False)
    fit_classifier(
        model, images, labels, "clean", sigma=0.1, epochs=1, generator=torch.Generator(), auxiliary=auxiliary
    )
    assert not torch.equal(before, auxiliary.decoder.weight)


# --- curvature -------------------------------------------------------------------------------------------------------


def smooth(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double().eval()


def test_hessians_against_torch_func():
    model, x, y = smooth(), torch.randn(4, 1, 2, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    own = input_hessians(model, x, y)
    for i in range(4):
        exact = torch.func.hessian(lambda v, i=i: F.cross_entropy(model(v.reshape(1, 1, 2, 3)), y[i : i + 1]))(
            x[i].flatten()
        )
        torch.testing.assert_close(own[i], exact, rtol=1e-9, atol=1e-12)


def test_estimators_against_the_exact_hessian():
    model, x, y = smooth(), torch.randn(5, 1, 2, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])
    h = input_hessians(model, x, y)
    trace, square = h.diagonal(dim1=1, dim2=2).sum(1), (h @ h).diagonal(dim1=1, dim2=2).sum(1)
    draws = 4000
    off = h.square().sum((1, 2)) - h.diagonal(dim1=1, dim2=2).square().sum(1)
    error = (hutchinson_trace(model, x, y, draws, torch.Generator().manual_seed(0)) - trace).abs()
    assert (error < 4 * (2 * off / draws).sqrt()).all()
    published = finite_difference_curvature(model, x, y, torch.Generator().manual_seed(0), h=1e-3, draws=draws)
    torch.testing.assert_close(published, square, rtol=0.1, atol=0)
    assert ((published - trace).abs() > 0.2 * trace.abs()).any()  # and not tr H


# --- perturbations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_perturbations_start_at_nothing_grow_and_repeat(name):
    x = 0.2 + 0.6 * torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    levels = PERTURBATIONS[name][1]
    found = [perturb(x, name, level, torch.Generator().manual_seed(1)) for level in levels]
    assert torch.equal(found[0], x)
    size = [(y - x).abs().mean().item() for y in found]
    assert all(a < b for a, b in itertools.pairwise(size))
    assert torch.equal(found[-1], perturb(x, name, levels[-1], torch.Generator().manual_seed(1)))
    assert all(((y >= 0) & (y <= 1)).all() for y in found)


def test_perturbations_are_what_their_names_say():
    x = torch.full((500, 1, 8, 8), 0.5)
    g = torch.Generator().manual_seed(0)
    assert (perturb(x, "gaussian", 0.05, g) - x).std().item() == pytest.approx(0.05, rel=0.02)
    assert (perturb(x, "uniform", 0.3, g) - x).abs().max().item() == pytest.approx(0.3, rel=0.01)
    hit = (perturb(x, "impulsive", 0.3, g) != x).float().mean().item()
    assert hit == pytest.approx(0.3, abs=0.01)
    white = torch.ones(50, 3, 8, 8)
    gray = perturb(white, "patch", 0.5, g) == 0.5
    assert (gray.sum((2, 3)) == 16).all()
    assert (gray[:, 0] == gray[:, 2]).all()
    stripes = torch.arange(8).remainder(2).float().expand(1, 1, 8, 8)
    assert perturb(stripes, "resampling", 0.5, g).std() < 0.5 * stripes.std()
    distance = (perturb(x, "heavy-tailed", 0.01, g) - x).abs()
    assert distance.median().item() == pytest.approx(0.01, rel=0.05)  # the median of a Cauchy's modulus is its scale


def test_the_published_forms():
    """Black, overlapping patches, counted; a subsampled image aliases where an antialiased one does not."""
    white = torch.ones(300, 1, 8, 8)
    black = (perturb(white, "patch", 0.125, torch.Generator().manual_seed(0), published=True) == 0).float().mean()
    assert black.item() == pytest.approx(1 - (1 - 1 / 64) ** 20, abs=0.01)  # 20 single pixels, drawn with replacement
    half = perturb(white, "patch", 0.5, torch.Generator().manual_seed(0), published=True)
    assert (half[:, :, 3:5, 3:5] == 0).float().mean() > 0.99  # every square of side 4 covers half of the middle rows
    # columns of period 3, shrunk to a third: without antialiasing only every third column is looked at
    stripes = torch.eye(3)[0].repeat(4).expand(1, 1, 12, 12)
    kept = perturb(stripes, "resampling", 2 / 3, torch.Generator(), published=True)
    assert kept.abs().max() == 0  # the middle column of each three is black
    assert perturb(stripes, "resampling", 2 / 3, torch.Generator()).mean() > 0.2
    # the small size is rounded down: 8 * (1 - 0.3) = 5.6 becomes 5
    x = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    small = F.interpolate(x, (5, 5), mode="bilinear", align_corners=False)
    expected = F.interpolate(small, (8, 8), mode="bilinear", align_corners=False)
    assert torch.equal(perturb(x, "resampling", 0.3, torch.Generator(), published=True), expected)
    for name, (_, levels) in PUBLISHED.items():
        assert torch.equal(perturb(x, name, levels[0], torch.Generator(), published=True), x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: perturb(torch.zeros(1), "blur", 0.1, None), "name must be one of gaussian, uniform"),
        (
            lambda: perturb(torch.zeros(1), "uniform", 0.1, None, True),
            "name must be one of patch, resampling; got 'unif",
        ),
        (lambda: perturb(torch.zeros(1), "gaussian", -1, None), "level must be at least 0"),
        (lambda: DiscriminativeLoss(3, 2, mu=1.0), r"mu must lie in \[0, 1\)"),
        (lambda: DiscriminativeLoss(3, 2, delta_v=-1), "delta_v must be at least 0"),
        (lambda: DiscriminativeLoss(3, 2, delta_d=math.inf), "delta_d must be at least 0 and finite"),
        (
            lambda: DiscriminativeLoss(3, 2)(torch.zeros(4, 2), torch.zeros(3, 2), torch.zeros(4).long(), None),
            "clean and noisy must be features of one shape",
        ),
        (
            lambda: fit_classifier(None, *blobs(4), "all", sigma=0.1, epochs=1, generator=None),
            "training must be one of clean, noisy, both, stability, discriminative; got 'all'",
        ),
        (
            lambda: fit_classifier(None, *blobs(4), "clean", sigma=0, epochs=1, generator=None),
            "sigma must be positive and finite; got 0",
        ),
        (lambda: input_hessians(smooth().train(), torch.zeros(1, 6), torch.zeros(1).long()), "evaluation mode"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
