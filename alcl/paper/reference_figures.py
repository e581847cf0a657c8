"""The figures of notebook 06, from the tables of `alcl.experiments.reference`: medians, and ALCL beside every rival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..experiments.datasets import DATASETS
from ..experiments.multiverse import HEADLINE_SENSORS, SETS
from ..experiments.reference import LEVELS, MEASURES, NO_LOSS, RIVALS, conditions
from .figures import (
    COLORS,
    DATASET_MARKERS,
    LABELS,
    LEVEL_COLORS,
    MARKERS,
    condition_legend,
    difference_dots,
    headline,
    style,
)

__all__ = [
    "MEASURE_NAMES",
    "NAMES",
    "differences_figure",
    "headline_figure",
    "in_short",
    "medians_figure",
]

MEASURE_NAMES = {"psnr": "PSNR, dB", "ssim": "SSIM, hundredths", "restored": "restored, points"}
NAMES = LABELS | {
    "mse_clamped": "MSE, targets clamped",
    "gcl_one": "GCL, one setting for all",
    "gcl_noisy": "GCL, tuned on noisy images",
    "gcl_public": "GCL, public default",
    "noisy_images": "noisy images",
    "pca": "PCA",
    "untrained": "untrained network",
}
_AGAINST = {"mse": "MSE", "gcl": "tuned GCL", "pca": "PCA, no loss at all"}
_LINES = ("mse", "gcl_kept", "gcl", "alcl")
_NOISY = {"color": "0.45", "linestyle": (0, (1, 1.5)), "linewidth": 1.2, "label": NAMES["noisy_images"]}


def medians_figure(table: pd.DataFrame, sensor: str) -> Figure:
    """Medians by level: a row a measure, a panel a data set. table: of `reference.medians`.

    A line for MSE, ALCL, tuned and kept GCL, and the noisy images themselves; every other loss is a gray point, and PCA
    a gray bar. What is not run is not drawn.
    """
    table = table[table["sensor"] == sensor]
    figure, axes = plt.subplots(len(MEASURES), len(SETS), figsize=(7.0, 6.2), sharex=True)
    for row, measure in zip(axes, MEASURES, strict=True):
        for ax, dataset in zip(row, SETS, strict=True):
            part = table[(table["measure"] == measure) & (table["dataset"] == dataset)]
            _draw_medians(ax, part.pivot(index="level", columns="method", values="median").reindex(list(LEVELS)))
        row[0].set_ylabel(MEASURE_NAMES[measure])
    for ax, dataset in zip(axes[0], SETS, strict=True):
        ax.set_title(dataset, fontsize=9.5)
    handles = [Line2D([], [], marker=MARKERS[m], **style(m)) for m in _LINES[::-1]]
    handles += [Line2D([], [], **_NOISY), Line2D([], [], marker="_", ms=8, lw=0, color="0.45", label=NAMES["pca"])]
    handles.append(Line2D([], [], marker=".", lw=0, color="0.7", label="each other loss"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    headline(figure, f"Sensor {sensor}: {_how_far(table)}")
    return figure


def _draw_medians(ax: Axes, wide: pd.DataFrame) -> None:
    x = range(len(LEVELS))
    for method in (method for method in wide if method in RIVALS and method not in _LINES):
        ax.plot(x, wide[method], ".", color="0.7", zorder=1)
    if "noisy_images" in wide:
        ax.plot(x, wide["noisy_images"], **_NOISY | {"marker": ".", "ms": 3})
    if "pca" in wide:
        ax.plot(x, wide["pca"], "_", ms=8, color="0.45")
    for method in (method for method in _LINES if method in wide):
        ax.plot(x, wide[method], marker=MARKERS[method], ms=4.5, **style(method))
    ax.set_xticks(x, list(LEVELS), rotation=35, ha="right", rotation_mode="anchor")
    ax.set_xlim(-0.3, len(LEVELS) - 0.7)
    if not len(wide.columns):
        ax.set_yticks([])
        ax.annotate("not run yet", (0.5, 0.5), xycoords="axes fraction", ha="center", va="center", color="0.5")


def _how_far(table: pd.DataFrame) -> str:
    """How far MSE's medians of restored accuracy lie below ALCL's at the worst, and ALCL's below tuned GCL's."""
    wide = table[table["measure"] == "restored"].pivot(index=["dataset", "level"], columns="method", values="median")
    if not {"mse", "gcl", "alcl"} <= set(wide) or wide[["mse", "gcl", "alcl"]].dropna().empty:
        return "medians of what is run"
    mse, gcl = (max((wide[a] - wide[b]).max(), 0) for a, b in (("alcl", "mse"), ("gcl", "alcl")))
    return f"in restored accuracy MSE is up to {mse:.1f} points behind ALCL, ALCL up to {gcl:.1f} behind tuned GCL"


def differences_figure(compared: pd.DataFrame) -> Figure:
    """ALCL minus every rival: panels by sensor and measure, a point a condition, filled where p_holm is at most 5 %.

    compared: of `reference.compare`.
    """
    known = compared.assign(name=compared["rival"], sure=compared["p_holm"] <= 0.05)
    rows = {rival: NAMES[rival] for rival in (*RIVALS, *NO_LOSS[:-1])}
    figure, axes = plt.subplots(len(HEADLINE_SENSORS), len(MEASURES), figsize=(7.0, 8.4), sharey=True)
    for line, sensor in zip(axes, HEADLINE_SENSORS, strict=True):
        for ax, measure in zip(line, MEASURES, strict=True):
            part = known[(known["sensor"] == sensor) & (known["measure"] == measure)]
            difference_dots(ax, part, rows, LEVEL_COLORS, by="level", label=MEASURE_NAMES[measure])
            ax.set_xlabel(f"{MEASURE_NAMES[measure]}\n(> 0: ALCL is ahead)" if sensor == HEADLINE_SENSORS[-1] else "")
            marks = [mark for mark in (-10, -1, 0, 1, 10) if ax.get_xlim()[0] <= mark <= ax.get_xlim()[1]]
            ax.set_xticks(marks, [f"{mark:+d}" if mark else "0" for mark in marks])
        line[0].set_title(sensor, fontsize=9.5)
    condition_legend(figure, SETS, {level: LEVEL_COLORS[level] for level in LEVELS}, "not significant")
    headline(figure, _counted(known[known["difference"].notna()]))
    return figure


def _counted(known: pd.DataFrame) -> str:
    if not len(known):
        return "ALCL minus its rivals: nothing is run yet"
    texts = []
    for rival, name in (("mse", "MSE"), ("gcl", "tuned GCL")):
        part = known[known["rival"] == rival]
        signs = part["difference"].where(part["sure"], 0)
        texts.append(f"of {name} in {(signs > 0).sum()} and behind in {(signs < 0).sum()} of {len(part)}")
    return f"ALCL is significantly ahead {texts[0]} comparisons, {texts[1]}"


def headline_figure(compared: pd.DataFrame, claimed: Mapping[str, float]) -> Figure:
    """ALCL minus MSE and minus tuned GCL in restored accuracy, by level: a row a sensor, gray images left, RGB right.

    compared: of `reference.compare`. claimed: the gains that the abstract reports, in points, of "gray" and "rgb",
    drawn over high and extreme. A point has its interval, and is hollow where that holds 0; for PCA it has none.
    """
    known = compared[(compared["measure"] == "restored") & compared["rival"].isin(_AGAINST)]
    known = known[known["difference"].notna()]
    figure, axes = plt.subplots(len(HEADLINE_SENSORS), len(claimed), figsize=(7.0, 5.4), sharex=True, sharey=True)
    for line, sensor in zip(axes, HEADLINE_SENSORS, strict=True):
        for ax, (colour, number) in zip(line, claimed.items(), strict=True):
            names = [name for name in SETS if ("gray" if len(DATASETS[name].image_shape) == 2 else "rgb") == colour]
            _draw_gains(ax, known[(known["sensor"] == sensor) & known["dataset"].isin(names)], names)
            ax.hlines(number, 0.55, 2.45, color="black", lw=2, zorder=1.5)
            ax.set_title(f"{'RGB' if colour == 'rgb' else colour} images, {sensor}", fontsize=9.5)
        line[0].set_ylabel("ALCL minus its rival,\nrestored accuracy in points")
    handles = [
        Line2D([], [], color=COLORS.get(rival, "0.5"), lw=2, label=f"ALCL minus {name}")
        for rival, name in _AGAINST.items()
    ]
    handles += [Line2D([], [], marker=DATASET_MARKERS[name], color="0.3", lw=0, label=name) for name in SETS]
    # in the legend: wherever it stands in a panel, points of some level lie under the words
    numbers = ", ".join(f"+{number:.2f} {'RGB' if name == 'rgb' else name}" for name, number in claimed.items())
    handles.append(Line2D([], [], color="black", lw=2, label=f"abstract: up to\n{numbers}"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    spans = known.groupby("rival")["difference"].agg(["min", "max"])
    named = {"mse": "points over MSE", "gcl": "over tuned GCL"}
    texts = [
        f"{spans['min'][r]:+.1f} to {spans['max'][r]:+.1f} {words}" for r, words in named.items() if r in spans.index
    ]
    headline(figure, f"In restored accuracy ALCL gains {', '.join(texts)}" if texts else "No gain is measured yet")
    return figure


def _draw_gains(ax: Axes, part: pd.DataFrame, names: Sequence[str]) -> None:
    series = [(name, rival) for rival in _AGAINST for name in names]
    for i, (name, rival) in enumerate(series):
        rows = part[(part["dataset"] == name) & (part["rival"] == rival)]
        for row in rows.itertuples():
            x = LEVELS.index(row.level) + 0.14 * (i - (len(series) - 1) / 2)
            color = COLORS.get(rival, "0.5")
            if np.isfinite([row.low, row.high]).all():
                ax.vlines(x, row.low, row.high, color=color, lw=1.3)
            face = "white" if row.low <= 0 <= row.high else color
            ax.plot(x, row.difference, DATASET_MARKERS[name], color=color, mfc=face, ms=5, zorder=3)
    for x, level in enumerate(LEVELS):
        if level not in set(part["level"]):
            ax.annotate("not run", (x, 0.06), xycoords=("data", "axes fraction"), ha="center", color="0.5", fontsize=8)
    ax.axhline(0, color="0.3", lw=0.8)
    ax.set_yscale("symlog", linthresh=10, linscale=1.5)
    marks = (-30, -10, 0, 10, 30, 60)
    ax.set_yticks(marks, [f"{mark:+d}" if mark else "0" for mark in marks])
    ax.minorticks_off()
    ax.set(xticks=range(len(LEVELS)), xticklabels=list(LEVELS), xlim=(-0.5, len(LEVELS) - 0.5))


def in_short(compared: pd.DataFrame) -> str:
    """What notebook 06 says first: counts and spans of ALCL's differences from MSE and tuned GCL, per measure."""
    known = compared[compared["difference"].notna()]
    keys = ["sensor", "level", "dataset"]
    parts, all_run = [], True
    for rival, name in (("mse", "MSE"), ("gcl", "GCL tuned by an oracle")):
        here, texts = known[known["rival"] == rival], []
        for measure, unit in (("psnr", "dB"), ("ssim", "hundredths of SSIM"), ("restored", "points of accuracy")):
            gaps = here.loc[here["measure"] == measure, "difference"]
            if len(gaps):
                texts.append(f"{gaps.min():+.1f} to {gaps.max():+.1f} {unit}")
        number = len(here[keys].drop_duplicates())
        all_run &= number == len(conditions())
        if texts:
            parts.append(f"from {name}, in {number} of {len(conditions())} conditions, by {', '.join(texts)}")
    if not parts:
        return "**So far** neither MSE nor tuned GCL is run in any condition."
    what = "In short" if all_run else "So far"
    return f"**{what}** ALCL differs {'; '.join(parts)}. Above zero ALCL is ahead.{_beside_no_loss(known)}"


def _beside_no_loss(compared: pd.DataFrame) -> str:
    """A sentence: in how many conditions what ALCL restores is read better than noisy images as they are, than PCA's
    reconstructions; by medians. Empty while neither is run."""
    read = compared[(compared["measure"] == "restored") & compared["difference"].notna()]
    gaps = read.groupby("rival")["difference"]
    better, of = gaps.agg(lambda found: (found > 0).sum()), gaps.size()
    names = {"noisy_images": "noisy images as they are", "pca": "PCA's reconstructions"}
    parts = [f"than {name} in {better[rival]} of {of[rival]}" for rival, name in names.items() if rival in of]
    return f" What it restores is read better {', '.join(parts)}." if parts else ""
