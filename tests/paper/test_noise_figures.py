"""The figures of notebook 04 show what they are given."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from scipy import stats

from alcl.experiments.levels import NETWORK_RANGE
from alcl.paper import noise_figures
from alcl.paper.figures import LEVEL_COLORS


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def data(line):
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)


def test_quantiles_are_the_samples_over_the_exact_ones_and_the_band_holds_exact_samples():
    n, exact = 2000, stats.norm.isf(np.arange(1, 2001) / 2001 / 2)  # the sample that is its distribution
    figure = noise_figures.quantiles_figure(
        {"same": exact, "double": 2 * exact}, dict.fromkeys(("same", "double"), stats.norm)
    )
    for ax, factor in zip(figure.axes, (1, 2), strict=True):
        x, y = data(ax.lines[0])
        assert np.allclose(y, factor)
        assert math.isclose(x[0], 3 / (n + 1))
    # of samples that are drawn from the distribution, 95 % lie in the band at each rank: here at one of them
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    at = band[np.isclose(band[:, 0], x[10])][:, 1]
    k = round(x[10] * (n + 1))
    drawn = np.sort(np.abs(np.random.default_rng(0).normal(size=(400, n))), axis=1)[:, -k] / stats.norm.isf(x[10] / 2)
    assert abs(((drawn > at.min()) & (drawn < at.max())).mean() - 0.95) < 0.03


def test_tails_are_empirical_and_their_asymptotes_straight():
    e = np.array([0.1, -0.4, 2.0, -8.0])
    (ax,) = noise_figures.tails_figure({"high": e}, {"high": (2, 0.5)}).axes
    sample, asymptote = ax.lines[:2]
    assert to_hex(sample.get_color()) == to_hex(LEVEL_COLORS["high"])
    x, y = data(sample)
    assert list(x) == [8.0, 2.0, 0.4, 0.1]
    assert list(y) == [0.25, 0.5, 0.75, 1.0]
    x, y = data(asymptote)
    assert np.allclose(y, 0.5 / x**2)
    assert asymptote.get_label() == "high: slope −2"


def test_moments_are_a_line_a_level_and_running_means():
    table = pd.DataFrame({"low": [3.0, 3.0], "high": [9.0, 90.0]}, index=[10, 100])
    light = np.arange(1.0, 5.0)
    left, right = noise_figures.moments_figure(table, [light[::-1]], light).axes
    assert [list(data(line)[1]) for line in left.lines[:2]] == [[3.0, 3.0], [9.0, 90.0]]
    x, y = data(right.lines[-1])
    assert list(x) == [1, 2, 3, 4]
    assert list(y) == [1.0, 1.5, 2.0, 2.5]
    assert list(data(right.lines[0])[1]) == [4.0, 3.5, 3.0, 2.5]


def test_the_minimum_is_marked_where_there_is_one():
    betas = np.array([0.01, 0.1, 1.0])
    (ax,) = noise_figures.clipping_figure(betas, np.array([3.0, 1.0, 2.0]), np.array([-2.0, 0.0, 1.0])).axes
    assert [list(part) for part in data(ax.lines[1])] == [[0.1], [1.0]]
    assert list(data(ax.lines[2])[1]) == [-2.0, 0.0, 1.0]


def test_the_network_is_shown_the_target_within_its_range():
    image, y = torch.tensor([[0.0, 0.5], [1.0, 0.2]]), torch.tensor([[-50.0, 0.4], [1.5, 90.0]])
    (ax,) = noise_figures.input_figure(image, y).axes
    clean, target, shown = (list(data(line)[1]) for line in ax.lines)
    assert np.allclose(clean, image.flatten())
    assert np.allclose(target, y.flatten())
    assert np.allclose(shown, [NETWORK_RANGE[0], 0.4, 1.5, NETWORK_RANGE[1]])


def test_fits_are_drawn_over_the_histogram_of_their_level():
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 0.5)
    e = np.random.default_rng(0).normal(scale=0.5, size=1000)
    figure = noise_figures.fit_figure(
        {"low": e, "high": 2 * e}, {"low": {"mse": normal}, "high": {}}, {"mse": "Gaussian"}
    )
    first, second = figure.axes
    x, y = data(first.lines[0])
    assert np.allclose(y, stats.norm.pdf(x, scale=0.5))
    assert not second.lines
    heights, edges, _ = first.patches[0].get_data()
    assert math.isclose(np.nansum(heights * np.diff(edges)), 1, rel_tol=1e-9)


def test_a_drift_is_its_median_in_its_band():
    times, path = np.array([0.0, 1.0]), np.array([[10.0, 20.0, 30.0], [-30.0, -10.0, 0.0]])
    (ax,) = noise_figures.drift_figure(times, path).axes
    assert list(data(ax.lines[0])[1]) == [20.0, -10.0]
    band = ax.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (-30.0, 30.0)
