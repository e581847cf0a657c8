"""The goal of the sensor's losses as a figure: every condition beside GCL tuned for the measure by its oracle."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..experiments.goal import MEASURES
from .figures import COLORS, LABELS, headline, use_theme

__all__ = ["draw_goal"]

METHODS = ("contaminated_alcl", "censored_alcl", "censored_alcl_second", "tobit", "l1", "alcl")
_TITLE = METHODS[:3]
AXES = {"psnr": "PSNR, dB", "ssim": "SSIM", "restored": "restored accuracy, points"}


def draw_goal(table: pd.DataFrame) -> Figure:
    """Median differences to GCL with intervals: a row a condition, a panel a measure, right of 0 the loss is ahead.

    table: `goal.against_oracle`. Conditions without any complete comparison are left out, and counted in the title.
    """
    use_theme()
    drawn = table[table["difference"].notna()]
    keys = ["sensor", "level", "dataset"]
    rows = list(drawn[keys].drop_duplicates().itertuples(index=False))
    figure = Figure(figsize=(7.0, 1.6 + 0.42 * max(len(rows), 1)))
    axes = figure.subplots(1, len(MEASURES), sharey=True)
    for ax, measure in zip(axes, MEASURES, strict=True):
        for method, offset in zip(METHODS, np.linspace(-0.3, 0.3, len(METHODS)), strict=True):
            own = drawn[(drawn["measure"] == measure) & (drawn["method"] == method)]
            y = [rows.index(tuple(row)) + offset for row in own[keys].itertuples(index=False)]
            low, high = own["low"].clip(-1e6, 1e6), own["high"].clip(-1e6, 1e6)
            ax.hlines(y, low, high, color=COLORS[method], lw=1.2)
            ax.plot(own["difference"], y, "o", ms=4, color=COLORS[method], label=LABELS[method])
        ax.axvline(0, color="0.3", lw=0.8)
        ax.set(xlabel=AXES[measure])
    axes[0].set_yticks(range(len(rows)), [f"{row.dataset}\n{row.level}, {row.sensor}" for row in rows])
    axes[0].set_ylim(len(rows) - 0.5 if rows else 0.5, -0.5)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=3)
    headline(figure, _message(drawn, len(table[keys].drop_duplicates())))
    return figure


def _message(drawn: pd.DataFrame, declared: int) -> str:
    own = drawn[drawn["method"].isin(_TITLE)]
    if own.empty:
        return "Against GCL tuned by an oracle: no loss of the sensor has all its runs yet"
    wide = own.pivot_table(index=["sensor", "level", "dataset", "method"], columns="measure", values="difference")
    wide = wide.reindex(columns=list(MEASURES))
    counts = []
    for method in _TITLE:
        part = wide[wide.index.get_level_values("method") == method]
        if len(part):
            level = int((part.dropna() >= 0).all(axis=1).sum())
            counts.append(f"{LABELS[method]} in {level} of {len(part)}")
    return f"At or above GCL's oracles in all three measures: {', '.join(counts)} conditions run ({declared} declared)"
