"""The three figures of the multiverse: the specification curve, effects by reading and sensor, spread.

Each draws what is complete, and says where nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..experiments.multiverse import LEVELS, RULES, SENSORS, SETS
from ..experiments.readings import READINGS
from ..experiments.specification import AGAINST, NO_RULE, OWN_ORACLE, Specifications
from .curve import claimed
from .figures import COLORS, DATASET_MARKERS, LABELS, headline

__all__ = ["READING_NAMES", "draw_curve", "draw_effects", "draw_spread"]

READING_NAMES = {
    "accuracy": "logistic probe",
    "knn": "nearest neighbours",
    "mlp": "perceptron",
    "finetuned": "encoder fine-tuned",
    "restored": "reconstructions",
    "psnr": "PSNR",
    "ssim": "SSIM",
}
#: The first four read codes, the last one reconstructions. Steps of cividis, which is made for colour-blind readers,
#: and no method's colour.
READING_COLORS = dict(zip(READINGS, mpl.colormaps["cividis_r"]([0.12, 0.34, 0.55, 0.76, 1.0]), strict=True))
_MEASURED = {"psnr": "PSNR", "ssim": "SSIM", "restored": "reconstructions", "codes": "codes"}
_WORDS = {
    "mse": "against MSE",
    "gcl": "against GCL",
    "better of both": "against the better",
    "relative": "per cent",
    "high": "level high",
    "between": "level between",
    NO_RULE: "no GCL",
    **{f"oracle_{name}": f"GCL: best {text}" for name, text in _MEASURED.items()},
    "one": "GCL: one for all measures",
    "kept": "GCL: kept from elsewhere",
    "noisy": "GCL: tuned on noisy images",
    "alpha2": "GCL: α = 2, β tuned",
    "median": "GCL: middle of the grid",
    "public": "GCL: public default",
    **READING_NAMES,
}
#: Row groups of the dashboard: column -> its values, from top to bottom.
DASHBOARD: dict[str, Sequence[str]] = {
    "reading": READINGS,
    "against": AGAINST,
    "unit": ("points", "relative"),
    "sensor": SENSORS,
    "level": LEVELS,
    "dataset": SETS,
    "rule": (NO_RULE, *RULES),
}
_EMPTY = "nothing complete yet"
_BAND = 0.32  # half of a row's height that its points take up


def draw_curve(specs: Specifications) -> Figure:
    """All complete specifications by estimate, with their intervals; below, the choices that each is made of.

    The axis is linear from -1 to 1 and logarithmic beyond. A choice of which nothing is complete has a gray name.
    """
    table = specs.table[specs.on_curve()].sort_values("estimate", kind="stable", ignore_index=True)
    rows = sum(len(values) for values in DASHBOARD.values())
    figure, (top, below) = plt.subplots(2, 1, figsize=(7.0, 3.2 + 0.135 * rows), sharex=True, height_ratios=(2.6, 5))
    x = np.arange(len(table))
    low, high = _limits(table[["low", "high"]].to_numpy(), list(claimed().values()))
    ends = table[["low", "high"]].clip(low, high).to_numpy()
    lines = LineCollection([[(i, a), (i, b)] for i, (a, b) in enumerate(ends)], color="0.82", lw=_width(len(table)))
    top.add_collection(lines)
    colors = [READING_COLORS[name] for name in table["reading"]]
    top.scatter(x, table["estimate"].clip(low, high), s=_size(len(table)), c=colors, lw=0, zorder=3, rasterized=True)
    top.axhline(0, color="0.3", lw=0.8)
    numbers = claimed()
    for number in numbers.values():
        top.axhline(number, color="0.1", lw=0.9, ls=(0, (4, 2)), zorder=4)
    words = f"the abstract: +{numbers['gray']:g} gray, +{numbers['rgb']:g} RGB"
    box = {"color": "white", "alpha": 0.8, "pad": 0.6, "lw": 0}
    where = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "fontsize": 8, "zorder": 5}
    top.annotate(words, (0.01, max(numbers.values())), (0, 4), va="bottom", bbox=box, **where)
    _symmetric(top.yaxis, (low, high), (1, 3, 10, 30, 100, 300))
    top.set_ylim(low, high)
    top.set_ylabel("gain of ALCL,\npoints or per cent")
    _dashboard(below, table)
    number, declared = len(table), int(specs.table["reading"].isin(READINGS).sum())
    below.set_xlim(-0.01 * number - 0.5, 1.01 * number - 0.5 + (not number))
    below.set_xlabel(f"complete specifications, by gain ({number:,} of {declared:,})")
    ahead, behind = int((table["low"] > 0).sum()), int((table["high"] < 0).sum())
    counts = f"ALCL is ahead in {ahead:,}, behind in {behind:,}, unresolved in {number - ahead - behind:,}"
    which = f"all {number:,}" if number == declared else f"the {number:,} complete ones of {declared:,}"
    headline(figure, f"Of {which} specifications, {counts}" if number else "No specification has all its runs yet")
    return figure


def _dashboard(ax: Axes, table: pd.DataFrame) -> None:
    y, ticks, colors = 0.0, [], []
    for column, values in DASHBOARD.items():
        for value in values:
            places = np.flatnonzero(table[column] == value)
            color = READING_COLORS[value] if column == "reading" else "0.25"
            look = {"marker": "|", "s": 26, "lw": _width(len(table)), "color": color, "rasterized": True}
            ax.scatter(places, np.full(len(places), y), **look)
            ticks.append((y, _WORDS.get(value, value)))
            colors.append("0.1" if len(places) else "0.65")
            y += 1
        ax.axhline(y - 0.35, color="0.9", lw=0.6)
        y += 0.3
    ax.set_yticks([place for place, _ in ticks], [text for _, text in ticks], fontsize=7.5)
    for label, color in zip(ax.get_yticklabels(), colors, strict=True):
        label.set_color(color)
    ax.set_ylim(y - 0.6, -0.8)
    ax.tick_params(axis="y", length=0)


def _width(number: int) -> float:
    return float(np.clip(250 / max(number, 1), 0.15, 1.5))


def _size(number: int) -> float:
    return float(np.clip(1500 / max(number, 1), 2.0, 14.0))


def _limits(values: np.ndarray, also: Sequence[float]) -> tuple[float, float]:
    """The range of finite values and `also`, at least [-1, 1], with some room."""
    finite = values[np.isfinite(values)]
    return 1.3 * min(-1.0, *also, finite.min(initial=0)), 1.3 * max(1.0, *also, finite.max(initial=0))


def _symmetric(axis: mpl.axis.Axis, limits: tuple[float, float], positive: Sequence[int]) -> None:
    """Linear from -1 to 1, logarithmic beyond; marks with a sign."""
    axis._set_axes_scale("symlog", linthresh=1.0, linscale=0.8)
    marks = [m for m in (*(-m for m in positive), 0, *positive) if limits[0] <= m <= limits[1]]
    axis.set_ticks(marks, labels=[f"{mark:+d}" if mark else "0" for mark in marks])
    axis.set_ticks([], minor=True)


# --- panels by sensor, rows by reading --------------------------------------------------------------------------------

Draw = Callable[[Axes, float, pd.Series, dict], None]


def _panels(table: pd.DataFrame, rows: Sequence[str], draw: Draw, label: str) -> tuple[Figure, np.ndarray]:
    """A panel a sensor, a row a measure; in a row the two rivals, then levels, then data sets below one another.

    table: columns sensor, level, dataset, reading, against ("mse" or "gcl"). A point is filled at the level high.
    label: of the horizontal axes, above the legend.
    """
    figure, axes = plt.subplots(1, len(SENSORS), figsize=(7.0, 1.6 + 0.62 * len(rows)), sharex=True, sharey=True)
    lanes = [(against, level, name) for against in ("mse", "gcl") for level in LEVELS[::-1] for name in SETS]
    for ax, sensor in zip(axes, SENSORS, strict=True):
        part = table[table["sensor"] == sensor]
        for row in part.itertuples():
            lane = lanes.index((row.against, row.level, row.dataset))
            y = rows.index(row.reading) + 2 * _BAND * ((lane + 0.5) / len(lanes) - 0.5) * 1.25
            color = COLORS[row.against]
            look = {"marker": DATASET_MARKERS[row.dataset], "color": color, "ms": 4, "mew": 0.9, "zorder": 3}
            draw(ax, y, row, look | {"mfc": color if row.level == "high" else "white"})
        if not len(part):
            box = {"color": "white", "pad": 1.0, "lw": 0}
            ax.annotate(_EMPTY, (0.5, 0.5), xycoords="axes fraction", ha="center", color="0.5", bbox=box, fontsize=8)
        for edge in np.arange(len(rows) - 1) + 0.5:
            ax.axhline(edge, color="0.9", lw=0.6, zorder=0)
        ax.set_title(sensor, fontsize=9.5)
        ax.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(rows)), [READING_NAMES[name] for name in rows])
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    look = {"color": "0.35", "lw": 0, "ms": 5}
    handles = [Line2D([], [], color=COLORS[name], lw=4, label=text) for name, text in _RIVALS.items()]
    handles += [
        Line2D([], [], marker="o", label=f"level {level}", **look, mfc="0.35" if level == "high" else "white")
        for level in LEVELS[::-1]
    ]
    handles += [Line2D([], [], marker=DATASET_MARKERS[name], label=name, **look) for name in SETS]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, title=label, title_fontsize=9)
    return figure, axes


_RIVALS: Mapping[str, str] = {"mse": f"against {LABELS['mse']}", "gcl": f"against {LABELS['gcl']}"}


def _own(table: pd.DataFrame) -> pd.DataFrame:
    """Rows against MSE, and against GCL by the oracle of the measure itself."""
    return table[(table["against"] == "mse") | (table["rule"] == table["reading"].map(OWN_ORACLE))]


def draw_effects(specs: Specifications) -> Figure:
    """ALCL's gain in points by sensor and reading, against MSE and GCL (the oracle of the measure), with intervals."""
    points = specs.table["unit"].eq("points") & specs.table["reading"].isin(READINGS)
    declared = _own(specs.table[points & specs.table["against"].ne("better of both")])
    table = declared[specs.on_curve()[declared.index]]
    limits = _limits(table[["low", "high"]].to_numpy(), ())

    def draw(ax: Axes, y: float, row: pd.Series, look: dict) -> None:
        ax.plot(np.clip([row.low, row.high], *limits), [y, y], color=look["color"], lw=0.9)
        ax.plot(np.clip(row.estimate, *limits), y, lw=0, **look)

    label = "ALCL minus the rival, accuracy in points (> 0: ALCL is ahead)"
    figure, axes = _panels(table, READINGS, draw, label)
    for ax in axes:
        ax.axvline(0, color="0.3", lw=0.8)
        _symmetric(ax.xaxis, limits, (1, 10, 100))
        ax.set_xlim(limits)
    medians = table[table["against"] == "mse"].groupby("reading")["estimate"].median()
    on_codes = medians.reindex([name for name in READINGS if name != "restored"]).dropna()
    known = "restored" in medians and len(on_codes)
    message = "Gains by reading and sensor: nothing can be compared yet"
    if known:
        which = "" if len(table) == len(declared) else " in what is run"
        message = (
            f"Median gain over MSE{which}: {medians['restored']:+.1f} points on reconstructions, "
            f"{on_codes.min():+.1f} to {on_codes.max():+.1f} on codes"
        )
    headline(figure, message)
    return figure


def draw_spread(variances: pd.DataFrame) -> Figure:
    """ALCL's standard deviation over seeds divided by its rival's, by sensor and measure, with intervals.

    variances: `spread.variance_comparisons`; GCL is that of the oracle of the measure.
    """
    drawn = variances["level"].isin(LEVELS) & variances["ratio"].gt(0) & (variances["reading"] != "ssim")
    table = _own(variances[drawn])
    table = table.assign(**{name: np.sqrt(table[name].astype(float)) for name in ("ratio", "low", "high")})

    def draw(ax: Axes, y: float, row: pd.Series, look: dict) -> None:
        ax.plot([row.low, row.high], [y, y], color=look["color"], lw=0.9)
        ax.plot(row.ratio, y, lw=0, **look)

    label = "standard deviation over seeds, ALCL divided by the rival (< 1: ALCL varies less)"
    figure, axes = _panels(table, (*READINGS, "psnr"), draw, label)
    for ax in axes:
        ax.axvline(1, color="0.3", lw=0.8)
        ax.set_xscale("log")
        marks = (0.1, 0.3, 1, 3, 10)
        ax.set_xticks(marks, [f"{mark:g}" for mark in marks])
        ax.minorticks_off()
        ax.set_xlim(0.08, 12.5)
    less, more = int((table["high"] < 1).sum()), int((table["low"] > 1).sum())
    headline(
        figure,
        f"Over seeds ALCL varies less in {less} of {len(table)} comparisons, more in {more}; the others are unresolved"
        if len(table)
        else "Spread over seeds: nothing is complete yet",
    )
    return figure
