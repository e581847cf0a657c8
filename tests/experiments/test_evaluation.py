"""PSNR, SSIM and the probe against their definitions in numpy, scipy and scikit-learn."""

import warnings

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from sklearn.linear_model import LogisticRegression
from torch import nn

from alcl.experiments.evaluation import in_batches, probe_accuracy, psnr, ssim


def pair(*shape, seed=0, noise=0.1):
    g = torch.Generator().manual_seed(seed)
    clean = torch.rand(shape, generator=g)
    return (clean + noise * torch.randn(shape, generator=g)).clamp(0, 1), clean


# --- PSNR -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (5, 3, 16, 12), (4, 1, 28, 28)])
def test_psnr_is_the_mean_of_the_images_decibels(shape):
    images, clean = pair(*shape)
    images[0] = clean[0] * 0.5  # images of very different quality: a mean of decibels, not of errors
    squared = ((images.double() - clean.double()) ** 2).numpy().mean((1, 2, 3))
    assert psnr(images, clean) == pytest.approx((10 * np.log10(1 / squared)).mean(), rel=1e-5)


def test_psnr_of_known_errors():
    clean = torch.zeros(2, 1, 8, 8)
    assert psnr(clean + 0.1, clean) == pytest.approx(20.0, abs=1e-4)
    assert psnr(torch.stack([clean[0] + 0.1, clean[0] + 0.001]), clean) == pytest.approx(40.0, abs=1e-3)
    assert psnr(clean, clean) == np.inf


def test_psnr_falls_with_the_noise():
    values = [psnr(*pair(4, 1, 16, 16, noise=noise)) for noise in (0.02, 0.1, 0.3)]
    assert values == sorted(values, reverse=True)


# --- SSIM -----------------------------------------------------------------------------------------------------------


def reference_ssim(x, y, sigma, radius):
    """Wang et al. (2004), eq. 13, averaged over all pixels, the image reflected at its borders; population moments."""
    t = np.arange(-radius, radius + 1)
    window = np.exp(-(t**2) / (2 * sigma**2))
    window /= window.sum()

    def mean(image):
        return correlate1d(correlate1d(image, window, axis=-1, mode="mirror"), window, axis=-2, mode="mirror")

    x, y = x.double().numpy(), y.double().numpy()
    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return (((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()


@pytest.mark.parametrize(
    ("shape", "sigma", "radius"),
    [
        ((3, 1, 28, 28), 1.5, 5),
        ((2, 3, 32, 24), 1.5, 5),
        ((2, 1, 16, 16), 1.5, 5),
        ((4, 1, 8, 8), 0.5, 2),
        ((4, 3, 8, 20), 0.5, 2),
        ((2, 1, 15, 32), 0.5, 2),
    ],
)
@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_ssim_is_the_published_formula(shape, sigma, radius, noise):
    images, clean = pair(*shape, noise=noise)
    expected = np.mean([reference_ssim(i, c, sigma, radius) for i, c in zip(images, clean, strict=True)])
    assert ssim(images, clean) == pytest.approx(expected, abs=2e-4)


def test_ssim_at_its_ends():
    images, clean = pair(3, 1, 28, 28)
    assert ssim(clean, clean) == pytest.approx(1.0, abs=1e-6)
    assert ssim(1 - clean, clean) < 0 < ssim(images, clean) < 1


def test_ssim_in_parts_equals_the_mean_over_images():
    """More than a thousand images are computed in parts; the last part is smaller."""
    images, clean = pair(1203, 1, 8, 8)
    images[:1000] = clean[:1000]
    parts = 1000 * 1.0 + 203 * ssim(images[1000:], clean[1000:])
    assert ssim(images, clean) == pytest.approx(parts / 1203, rel=1e-6)


@pytest.mark.parametrize("measure", [psnr, ssim])
@pytest.mark.parametrize("shapes", [((2, 1, 8, 8), (1, 1, 8, 8)), ((1, 8, 8), (1, 8, 8)), ((0, 1, 8, 8), (0, 1, 8, 8))])
def test_wrong_shapes_are_named(measure, shapes):
    with pytest.raises(ValueError, match=r"images and clean must have one shape \(N, C, H, W\) with N >= 1; got"):
        measure(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


# --- the probe ------------------------------------------------------------------------------------------------------


def codes(number, seed, classes=4, spread=1.0):
    """Clouds around corners, in units that differ wildly between coordinates."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (number,), generator=g)
    centres = 2 * torch.eye(classes)[:, :3]
    points = centres[labels] + spread * torch.randn(number, 3, generator=g)
    return points * torch.tensor([1.0, 1e4, 1e-4]) + 5, labels


def test_the_probe_is_logistic_regression_on_standardised_codes():
    train, test = codes(300, 0), codes(200, 1)
    mean, std = train[0].double().mean(0), train[0].double().std(0, correction=0)
    direct = LogisticRegression(max_iter=1000)
    direct.fit(((train[0].double() - mean) / std).numpy(), train[1].numpy())
    predicted = direct.predict(((test[0].double() - mean) / std).numpy())
    expected = (predicted == test[1].numpy()).mean()
    assert probe_accuracy(*train, *test) == pytest.approx(expected, abs=1e-12)
    assert 0.5 < expected < 0.95  # neither trivial nor hopeless


def test_the_probe_finds_what_is_there_and_nothing_else():
    train, test = codes(300, 0, spread=0.05), codes(200, 1, spread=0.05)
    assert probe_accuracy(*train, *test) == 1.0
    g = torch.Generator().manual_seed(2)
    assert probe_accuracy(torch.randn(300, 3, generator=g), train[1], torch.randn(200, 3, generator=g), test[1]) < 0.4


def test_the_probe_does_not_mind_the_units():
    train, test = codes(300, 0), codes(200, 1)
    scale = torch.tensor([1e3, 1e-3, 10.0])
    assert probe_accuracy(train[0] * scale, train[1], test[0] * scale, test[1]) == probe_accuracy(*train, *test)


def test_the_probe_is_deterministic():
    train, test = codes(300, 0), codes(200, 1)
    assert len({probe_accuracy(*train, *test) for _ in range(3)}) == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["train", "test"])
def test_codes_that_are_not_finite_score_nothing(bad, where):
    (train, train_labels), (test, test_labels) = codes(300, 0), codes(200, 1)
    (train if where == "train" else test)[7, 1] = bad
    assert probe_accuracy(train, train_labels, test, test_labels) == 0.0


def test_constant_codes_do_no_better_than_the_largest_class():
    labels = torch.tensor([0] * 60 + [1] * 40)
    assert probe_accuracy(torch.ones(100, 3), labels, torch.ones(100, 3), labels) == pytest.approx(0.6)


def test_stopping_early_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probe_accuracy(*codes(300, 0), *codes(200, 1), max_iter=2)


# --- in batches -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 20, 1000])
def test_in_batches_equals_the_whole(batch_size):
    torch.manual_seed(0)
    function = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Tanh())
    images = torch.rand(20, 1, 8, 8)
    got = in_batches(function, images, batch_size)
    torch.testing.assert_close(got, function(images).detach(), rtol=1e-6, atol=1e-7)
    assert not got.requires_grad


def test_in_batches_calls_with_at_most_a_batch():
    sizes = []

    def function(part):
        sizes.append(len(part))
        return part

    in_batches(function, torch.zeros(20, 2), 8)
    assert sizes == [8, 8, 4]
