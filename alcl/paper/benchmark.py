"""The figures of appendix A5, from their tables.

Each function draws one, with its message as title, and returns it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..experiments.analysis import CONDITION, SEEDS, in_both_measures
from ..experiments.levels import LEVELS
from ..experiments.protocol import BENCHMARK, EMBEDDED, MEASURES
from .figures import COLORS, LABELS, LEVEL_COLORS, MARKERS, condition_legend, difference_dots, headline, style

__all__ = [
    "CORE",
    "MEASURE_LABELS",
    "causes_figure",
    "costs_figure",
    "differences_figure",
    "medians_figure",
    "others_figure",
    "pivoted",
    "settings_figure",
    "shares_figure",
    "tuning_figure",
]

#: The methods that the abstract compares.
CORE = ("mse", "gcl", "gcl_kept", "alcl")
#: (measure, factor from its unit in the records to that of figures, label of an axis).
MEASURE_LABELS = (("accuracy", 100, "accuracy, points"), ("psnr", 1, "PSNR, dB"))
_LINES = ("clean", "mse", "gcl_kept", "gcl", "alcl")


def pivoted(table: pd.DataFrame, measure: str, methods: Iterable[str]) -> pd.DataFrame:
    """Medians of `analysis.summary`: a row a condition, in the order of figures, a column a method, by its label."""
    medians = table[table["measure"] == measure].pivot(index=CONDITION, columns="method", values="median")
    index = [condition for condition in itertools.product(_datasets(table), LEVELS) if condition in medians.index]
    columns = [method for method in methods if method in medians]
    return medians.reindex(index=pd.MultiIndex.from_tuples(index, names=CONDITION), columns=columns).rename(
        columns=LABELS
    )


def _datasets(table: pd.DataFrame) -> list[str]:
    return [name for name in (*EMBEDDED, *BENCHMARK) if name in set(table["dataset"])]


def _order(methods: Iterable[str]) -> list[str]:
    there = set(methods)
    return [method for method in LABELS if method in there]


def medians_figure(table: pd.DataFrame, measure: str, factor: float, label: str, unit: str) -> Figure:
    """Medians by level, a panel a data set: a line for each of the abstract's methods and clean targets, open markers
    where seeds are missing; the other losses are gray points. table: of `analysis.summary`."""
    order, shown = _order(table["method"]), _datasets(table)
    rows = -(-len(shown) // 3)
    figure, axes = plt.subplots(rows, 3, figsize=(7.0, 1.3 + 1.9 * rows), sharex=True, squeeze=False)
    for ax, dataset in zip(axes.flat, shown, strict=False):
        _draw_medians(ax, table[(table["dataset"] == dataset) & (table["measure"] == measure)], order, factor)
        ax.set_title(dataset)
    for ax in axes.flat[len(shown) :]:
        ax.set_visible(False)
    for ax in axes[:, 0]:
        ax.set_ylabel(label)
    handles = [Line2D([], [], marker=MARKERS[m], **style(m)) for m in _LINES[::-1] if m in order]
    handles.append(Line2D([], [], marker=".", lw=0, color="0.7", label="each other loss"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles) // 2)
    headline(figure, _how_far_behind(table, measure, factor, unit))
    return figure


def _draw_medians(ax: Axes, rows: pd.DataFrame, order: Sequence[str], factor: float) -> None:
    for method in (method for method in order if method not in _LINES):
        part = rows[rows["method"] == method]
        ax.plot(part["level"].map(list(LEVELS).index), factor * part["median"], ".", color="0.7", zorder=1)
    for method in (method for method in _LINES if method in order):
        line = rows[rows["method"] == method].set_index("level").reindex(list(LEVELS))
        ax.plot(range(len(LEVELS)), factor * line["median"], **style(method))
        for x, row in enumerate(line.itertuples()):
            face = COLORS[method] if row.seeds >= len(SEEDS) else "white"
            ax.plot(x, factor * row.median, MARKERS[method], color=COLORS[method], mfc=face, ms=4.5, zorder=4)
    ax.set_xticks(range(len(LEVELS)), list(LEVELS), rotation=35, ha="right", rotation_mode="anchor")


def _how_far_behind(table: pd.DataFrame, measure: str, factor: float, unit: str) -> str:
    """How far medians of MSE lie below ALCL's at the worst, and ALCL's below tuned GCL's, over all that is drawn."""
    medians = table[table["measure"] == measure].pivot(index=CONDITION, columns="method", values="median")
    if not {"mse", "gcl", "alcl"} <= set(medians):
        return f"{'Probe accuracy' if measure == 'accuracy' else 'PSNR'} by noise level"
    behind = [factor * (medians[a] - medians[b]).max() for a, b in (("alcl", "mse"), ("gcl", "alcl"))]
    mse, alcl = (max(gap, 0) for gap in behind)
    return f"MSE is up to {mse:.1f} {unit} behind ALCL, ALCL at most {alcl:.1f} behind tuned GCL"


def shares_figure(hard: pd.DataFrame) -> Figure:
    """Shares of MSE's damage that methods repair, a row a condition; ALCL and GCL in their colours, every other loss
    gray, open where the interval holds 0 or a seed is missing. hard: `analysis.repair_share` with columns method and
    measure, not empty."""
    places = list(dict.fromkeys(hard[CONDITION].itertuples(index=False, name=None)))
    figure, axes = plt.subplots(1, 2, figsize=(7.0, 1.4 + 0.24 * len(places)), sharey=True)
    for ax, measure in zip(axes, MEASURES, strict=True):
        for row in hard[hard["measure"] == measure].itertuples():
            ours = row.method in _LINES
            color = COLORS[row.method] if ours else "0.7"
            face = color if row.low > 0 and row.seeds >= len(SEEDS) else "white"
            look = {"color": color, "mfc": face, "ms": 5 if ours else 3.5}
            look["zorder"] = 3 + _LINES.index(row.method) if ours else 2
            ax.plot(row.share, places.index((row.dataset, row.level)), MARKERS[row.method] if ours else "o", **look)
        for x, text in ((0, "MSE"), (1, "clean targets")):
            ax.axvline(x, color="0.3", lw=0.8, zorder=0)
            ax.annotate(text, (x, 1.02), xycoords=("data", "axes fraction"), ha="center", fontsize=8.5)
        ax.set(xlabel=f"share repaired, {'PSNR' if measure == 'psnr' else measure}", xlim=(-0.1, 1.5))
    axes[0].set_yticks(range(len(places)), [", ".join(place) for place in places])
    axes[0].set_ylim(len(places) - 0.5, -0.5)
    handles = [Line2D([], [], marker=MARKERS[m], lw=0, color=COLORS[m], label=LABELS[m]) for m in _LINES[:1:-1]]
    handles.append(Line2D([], [], marker="o", ms=3.5, lw=0, color="0.7", label="each other loss"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    span = hard[hard["method"] == "alcl"].groupby("measure")["share"].agg(["min", "max"]).round(2)
    texts = [f"{span['min'][m]:.2f} to {span['max'][m]:.2f}" for m in MEASURES]
    headline(figure, f"Of what noise costs MSE, ALCL repairs a share of {texts[0]} in accuracy and {texts[1]} in PSNR")
    return figure


def differences_figure(differences: pd.DataFrame) -> Figure:
    """ALCL minus MSE and minus tuned GCL, a row a condition with its interval; filled where Holm's p-value is at most
    5 %. differences: `analysis.paired_differences` with columns rival and measure."""
    shown = _datasets(differences)
    place = {(d, level): 6 * i + j for i, d in enumerate(shown) for j, level in enumerate(LEVELS)}
    figure, axes = plt.subplots(1, 4, figsize=(7.0, 1.4 + 0.95 * len(shown)), sharey=True)
    kinds = itertools.product(MEASURE_LABELS, ("mse", "gcl"))
    for ax, ((measure, factor, label), rival) in zip(axes, kinds, strict=True):
        rows = differences[(differences["measure"] == measure) & (differences["rival"] == rival)]
        for row in rows.itertuples():
            y = place[row.dataset, row.level]
            face = COLORS[rival] if row.p_holm <= 0.05 else "white"
            ax.hlines(y, factor * row.low, factor * row.high, color=COLORS[rival], lw=1.6)
            ax.plot(factor * row.difference, y, "o", color=COLORS[rival], mfc=face, ms=4.5)
        ax.axvline(0, color="0.3", lw=0.8)
        ax.set(xlabel=f"ALCL minus\n{LABELS[rival]},\n{label}", ylim=(max(place.values()) + 0.8, -1.6))
        ax.set_yticks(list(place.values()), [level for _, level in place])
        ax.tick_params(axis="y", length=0)
    for i, dataset in enumerate(shown):
        look = {"fontweight": "bold", "fontsize": 9, "va": "center", "ha": "right"}
        axes[0].text(-0.06, 6 * i - 1, dataset, transform=axes[0].get_yaxis_transform(), **look)
    drawn = differences[differences["measure"].isin(MEASURES)]
    signs = drawn["difference"].where(drawn["p_holm"] <= 0.05, 0).groupby(drawn["rival"])
    counts = signs.agg(ahead=lambda d: (d > 0).sum(), behind=lambda d: (d < 0).sum(), conditions="size")
    counts = counts.astype(int).reindex(["mse", "gcl"], fill_value=0)
    texts = [f"ahead in {row.ahead} and behind in {row.behind} of {row.conditions}" for row in counts.itertuples()]
    headline(figure, f"Against MSE ALCL is significantly {texts[0]}, against tuned GCL {texts[1]}")
    figure.supxlabel("above 0 ALCL is ahead; filled: significant at 5 % after Holm's adjustment", fontsize=9)
    return figure


def others_figure(beside: pd.DataFrame) -> Figure:
    """ALCL minus every other loss, a point a condition. beside: as for `differences_figure`, and with a column sure."""
    rows = {method: LABELS[method] for method in _order(beside["rival"])}
    figure, axes = plt.subplots(1, 2, figsize=(7.0, 1.8 + 0.5 * len(rows)), sharey=True)
    for ax, (measure, factor, label) in zip(axes, MEASURE_LABELS, strict=True):
        part = beside[beside["measure"] == measure].rename(columns={"rival": "name"})
        part = part.assign(difference=factor * part["difference"])
        difference_dots(ax, part, rows, LEVEL_COLORS, by="level", label=label)
    condition_legend(figure, dict.fromkeys(beside["dataset"]), LEVEL_COLORS, "not resolved")
    ahead = [int((beside["sure"] & (sign * beside["difference"] > 0)).sum()) for sign in (1, -1)]
    known = f"ahead in {ahead[0]} and behind in {ahead[1]} of {len(beside)} comparisons"
    headline(figure, f"Beside the other losses ALCL is {known}")
    return figure


def tuning_figure(
    gaps: Mapping[tuple[str, str], pd.DataFrame], chosen: Mapping[tuple[str, str], Mapping[str, Mapping[str, float]]]
) -> Figure:
    """A bar for every setting of GCL, in accuracy. gaps: condition -> ALCL minus GCL (`tuning.gaps`), not empty;
    chosen: condition -> marker -> setting (`tuning.chosen`)."""
    figure, ax = plt.subplots(figsize=(7.0, 1.3 + 0.26 * len(gaps)))
    for y, (condition, gap) in enumerate(gaps.items()):
        ax.plot(100 * gap.stack(), [y] * gap.size, "|", color=COLORS["gcl"], ms=11, mew=1.2)
        for marker, best in chosen[condition].items():
            if best["alpha"] in gap.index and best["beta"] in gap.columns:  # tuning may be under way
                ax.plot(100 * gap.loc[best["alpha"], best["beta"]], y, marker, color="black", ms=7, zorder=4)
    every = 100 * pd.concat([gap.stack() for gap in gaps.values()])
    ax.axvline(0, color=COLORS["alcl"], lw=2.4, zorder=1)
    ax.set_yticks(range(len(gaps)), [", ".join(condition) for condition in gaps])
    ax.set(ylim=(len(gaps) - 0.4, -0.6))
    ax.set_xlabel("ALCL minus a setting of GCL, accuracy in points\n(> 0: ALCL is ahead; ★ the oracle's, × the kept)")
    won = f"{(every > 0).sum()} of {every.size} settings of GCL tried"
    headline(figure, f"Untuned ALCL is ahead of {won}; the worst costs {max(every.max(), 0):.0f} points")
    return figure


def costs_figure(costs: pd.DataFrame) -> Figure:
    """Runs and time of a network at one level. costs: `analysis.training_runs` with a column times_mse."""
    per_level = costs.assign(per_level=costs["runs"] / costs["levels"]).groupby("method")["per_level"].median()
    names = [method for method in _order(costs["method"])[::-1] if method != "clean"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.0, 1.1 + 0.27 * len(names)), sharey=True)
    for y, method in enumerate(names):
        number = per_level[method]
        left.barh(y, number, color=COLORS[method], height=0.7)
        left.annotate(f"{number:.0f}", (number, y), xytext=(3, 0), textcoords="offset points", va="center")
        found = costs[costs["method"] == method]
        right.plot(found["times_mse"], [y] * len(found), "o", color=COLORS[method], ms=5, alpha=0.8)
    left.set_yticks(range(len(names)), [LABELS[method] for method in names])
    left.set_xlabel("training runs per level, tuning included")
    right.set_xlabel("time of one run, times MSE's\n(one point per data set;\nonly methods run beside MSE)")
    right.set_xlim(0, 1.1 * costs["times_mse"].max())
    right.axvline(1, color="0.3", lw=0.8)
    headline(figure, "GCL needs a run for every setting tried, ALCL needs one")
    return figure


def settings_figure(single: pd.DataFrame) -> Figure:
    """ALCL minus single settings of GCL in both measures at once. single: minus what `analysis.single_settings` has."""
    figure, ax = plt.subplots(figsize=(5.6, 4))
    for measure, face in (("accuracy", COLORS["gcl"]), ("psnr", "white")):
        part = single[single["tuned_by"] == measure]
        look = {"color": COLORS["gcl"], "mfc": face, "lw": 0, "ms": 5}
        name = {"accuracy": "accuracy", "psnr": "PSNR"}[measure]
        ax.plot(100 * part["accuracy"], part["psnr"], "o", label=f"GCL tuned by {name}", **look)
    ax.axhline(0, color=COLORS["alcl"], lw=1.2)
    ax.axvline(0, color=COLORS["alcl"], lw=1.2)
    for x, y, text in ((0.98, 0.97, "ALCL ahead in both"), (0.02, 0.03, "GCL ahead in both")):
        where = {"ha": "right" if x > 0.5 else "left", "va": "top" if y > 0.5 else "bottom", "color": "0.4"}
        ax.annotate(text, (x, y), xycoords="axes fraction", fontsize=8.5, **where)
    ax.set(xlabel="ALCL minus GCL, accuracy in points", ylabel="ALCL minus GCL, PSNR in dB")
    _, both = in_both_measures(single)  # behind in both, seen from ALCL
    figure.legend(loc="outside lower center", ncols=2, fontsize=8.5)
    headline(figure, f"One setting of GCL beats ALCL in both measures in {both} of {len(single)} cases")
    return figure


def causes_figure(causes: pd.DataFrame) -> Figure:
    """Mean squared errors as variance and rest, a panel a kind of noise.

    causes: columns noise, method, variance, rest.
    """
    figure, axes = plt.subplots(1, causes["noise"].nunique(), figsize=(7.0, 2.9), sharey=True)
    for ax, (name, part) in zip(axes, causes.groupby("noise", sort=False), strict=True):
        for x, row in enumerate(part.itertuples()):
            ax.bar(x, row.rest, color=COLORS[row.method], width=0.65)
            ax.bar(x, row.variance, bottom=row.rest, color=COLORS[row.method], alpha=0.45, width=0.65)
            for y, text in ((row.rest / 2, "rest"), (row.rest + row.variance / 2, "variance")):
                ax.annotate(text, (x, y), ha="center", va="center", fontsize=8, color="0.1")
        ax.set(title=name, xticks=range(len(part)), xticklabels=[LABELS[m] for m in part["method"]])
        ax.title.set_fontsize(9.5)
    axes[0].set_ylabel("mean squared error")
    headline(figure, "Digits, extreme noise: ALCL's gap to tuned GCL comes with the impulses")
    return figure
