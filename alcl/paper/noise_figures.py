"""The figures of notebook 04. Each function draws one, with its message as title, and returns it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy import stats
from torch import Tensor

from ..experiments.levels import NETWORK_RANGE, clamp_for_network
from .figures import COLORS, LEVEL_COLORS, direct_label, headline

__all__ = [
    "clipping_figure",
    "drift_figure",
    "fit_figure",
    "input_figure",
    "moments_figure",
    "quantiles_figure",
    "tails_figure",
]


def quantiles_figure(samples: Mapping[str, np.ndarray], references: Mapping[str, stats.rv_continuous]) -> Figure:
    """Upper quantiles of |sample| over those of |reference|, which is symmetric about 0; a panel a name.

    The exceedance probability of the k-th largest of n draws is Beta(k, n + 1 - k): the gray band holds 95 % of exact
    samples at each k.
    """
    figure, axes = plt.subplots(1, len(samples), figsize=(7.0, 2.6), sharey=True)
    for ax, (name, sample) in zip(axes, samples.items(), strict=True):
        n, exact = len(sample), references[name]
        k = np.unique(np.geomspace(3, 0.9 * n, 60).astype(int))
        exceedance = k / (n + 1)
        bounds = stats.beta.ppf([[0.975], [0.025]], k, n + 1 - k)
        reference, low, high = (exact.isf(q / 2) for q in (exceedance, *bounds))
        ax.fill_between(exceedance, low / reference, high / reference, color="0.85", lw=0)
        ax.semilogx(exceedance, np.sort(np.abs(sample))[::-1][k - 1] / reference, color=COLORS["alcl"])
        ax.set(title=name, xlim=(1, 3 / n), yscale="log", ylim=(0.4, 2.5))
    axes[0].set_yticks([0.5, 1, 2], labels=["0.5", "1", "2"])
    axes[0].minorticks_off()
    axes[0].set_ylabel("quantile, sample / scipy")
    figure.supxlabel("exceedance probability", fontsize=9.5)
    headline(figure, "Samples follow their distribution into the tail")
    return figure


def tails_figure(residuals: Mapping[str, np.ndarray], asymptotes: Mapping[str, tuple[float, float]]) -> Figure:
    """P(|residual| > a) by level, from samples (solid), and C a^-dof (dotted). asymptotes: level -> (dof, C)."""
    figure, ax = plt.subplots(figsize=(7.0, 3.6))
    a = np.geomspace(1, 1e4, 200)
    for name, e in residuals.items():
        (dof, constant), color, n = asymptotes[name], LEVEL_COLORS[name], len(e)
        rank = np.unique(np.geomspace(1, n, 300).astype(int))
        ax.loglog(np.sort(np.abs(e))[::-1][rank - 1], rank / n, color=color, label=f"_{name}", lw=2)
        asymptote = constant * a**-dof
        shown = asymptote > 5e-8
        ax.loglog(a[shown], asymptote[shown], ":", color=color, lw=1.3, label=f"{name}: slope −{dof}")
    a = np.geomspace(1e-2, 1.1, 200)
    ax.loglog(a, 2 * stats.norm.sf(a, scale=0.2), color="0.6", label="_Gaussian")
    ax.text(0.13, 1e-6, "Gaussian,\nscale 0.2", color="0.4")
    ax.set(xlim=(1e-2, 1e4), ylim=(1e-8, 1.5), xlabel="residual size a", ylabel="P(|residual| > a)")
    ax.set_title("Impulses end at 1; beyond, tails fall as a power")
    direct_label(ax)
    return figure


def moments_figure(kurtosis: pd.DataFrame, cauchy: Sequence[np.ndarray], light: np.ndarray) -> Figure:
    """Left: sample kurtosis by sample size (index), a column a level. Right: running means of samples of one length."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.0, 3.4))
    for name in kurtosis:
        dashed = (0, (4, 3)) if name == "extreme" else "-"  # it lies on top of high
        look = {"color": LEVEL_COLORS[name], "ls": dashed, "marker": "o", "ms": 3}
        left.loglog(kurtosis.index, kurtosis[name], label=name, **look)
    left.set(xlabel="sample size n", ylabel="sample kurtosis (median of 30)")
    n = np.unique(np.geomspace(1, len(light), 1000).astype(int))
    for sample in cauchy:
        right.semilogx(n, sample.cumsum()[n - 1] / n, color=LEVEL_COLORS["extreme"], lw=1.0, alpha=0.85)
    right.semilogx(n, light.cumsum()[n - 1] / n, color=LEVEL_COLORS["low"], lw=1.8)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1}
    right.text(1.2, 6.8, "four Cauchy samples", color=LEVEL_COLORS["extreme"], bbox=box)
    right.text(1.2, -7.4, "one sample with 3 df", color=LEVEL_COLORS["low"], bbox=box)
    right.set(ylim=(-8, 8), xlabel="sample size n", ylabel="running mean")
    headline(figure, "From high noise on, which is Cauchy, neither kurtosis nor mean settles")
    direct_label(left)
    return figure


def clipping_figure(betas: np.ndarray, plain: np.ndarray, clipped: np.ndarray) -> Figure:
    """Negative log-likelihood by scale, of targets as they are (its minimum marked) and of clipped ones."""
    figure, ax = plt.subplots(figsize=(6.4, 3.3))
    ax.semilogx(betas, plain, color="black")
    ax.plot(betas[plain.argmin()], plain.min(), "o", color="black")
    ax.semilogx(betas, clipped, color=LEVEL_COLORS["high"])
    ax.text(1e-6, 3.1, "targets as they are: a minimum", color="black")
    ax.text(1e-6, -1.6, "targets clipped to [0, 1]: no minimum", color=LEVEL_COLORS["high"])
    ax.set(ylim=(-2.2, 5), xlabel="scale β, at shape α = 1.2", ylabel="negative log-likelihood per pixel")
    ax.set_title("Clipped targets reward a scale of zero")
    return figure


def input_figure(image: Tensor, y: Tensor) -> Figure:
    """Pixels of a clean image, of its noisy copy `y`, and of what the network is shown of that, row by row."""
    pixel = np.arange(image.numel())
    figure, ax = plt.subplots(figsize=(7.0, 3.2))
    ax.axhspan(*NETWORK_RANGE, color="0.94", zorder=0)
    ax.step(pixel, image.flatten(), where="mid", color="0.45", lw=1.0)
    ax.plot(pixel, y.flatten(), "o", color=LEVEL_COLORS["high"], ms=5, mfc="none")
    ax.plot(pixel, clamp_for_network(y).flatten(), ".", color="black", ms=4)
    ax.set_yscale("symlog", linthresh=2, linscale=2)
    ticks = [-100, -10, -1, 0, 1, 2, 10, 100]
    ax.set_yticks(ticks, labels=[f"{tick}" for tick in ticks])
    ax.set(xlabel="pixel of one image, row by row", ylabel="value", xlim=(-1, image.numel()), ylim=(-200, 200))
    rows = (("target y", LEVEL_COLORS["high"]), ("network's input", "black"), ("clean", "0.45"))
    for k, (text, color) in enumerate(rows):
        ax.text(0.01, 0.95 - 0.075 * k, text, color=color, va="center", transform=ax.transAxes)
    ax.set_title("The network sees clamped pixels; the loss sees the target as it is")
    return figure


def fit_figure(
    residuals: Mapping[str, np.ndarray],
    fits: Mapping[str, Mapping[str, torch.distributions.Distribution]],
    names: Mapping[str, str],
) -> Figure:
    """A histogram of residuals by level, and the densities fitted there. fits: level -> method -> distribution;
    names: method -> label."""
    figure, axes = plt.subplots(1, len(residuals), figsize=(7.0, 3.1), sharey=True)
    grid = torch.linspace(-3, 3, 601, dtype=torch.float64)
    for ax, (name, e) in zip(axes, residuals.items(), strict=True):
        height, edges = np.histogram(e, bins=np.linspace(-3, 3, 242))
        density = height / e.size / np.diff(edges)
        ax.stairs(np.where(density > 0, density, np.nan), edges, baseline=1e-6, fill=True, color="0.85")
        for method, fitted in fits[name].items():
            ax.semilogy(grid, fitted.log_prob(grid).exp(), color=COLORS[method], lw=1.3, label=names[method])
        ax.set(ylim=(1e-3, 30), xlabel="residual", title=name)
    axes[0].set_ylabel("density")
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4, columnspacing=1.2, handlelength=1.5)
    headline(figure, "Only the generalized t has room for both the peak and the tail")
    return figure


def drift_figure(times: np.ndarray, path: np.ndarray) -> Figure:
    """Signal-to-noise ratio over a drift. path: (times, 3), its 5 %, 50 % and 95 % quantiles over images."""
    figure, ax = plt.subplots(figsize=(5.4, 3.2))
    ax.fill_between(times, path[:, 0], path[:, 2], color=LEVEL_COLORS["moderate"], alpha=0.25, lw=0)
    ax.plot(times, path[:, 1], color=LEVEL_COLORS["extreme"], label="median")
    ax.text(0.1, -14, "band: 5 % to 95 % of images", color="0.35")
    ax.set(xlabel="time t, from level low to level extreme", ylabel="SNR (dB)")
    ax.set_title("A drifting level lowers the SNR without a jump")
    direct_label(ax)
    return figure
