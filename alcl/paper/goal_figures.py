"""The goal of the sensor's losses as a figure: every condition beside GCL tuned for the measure by its oracle."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..experiments.goal import MEASURES, together
from ..experiments.sensor_runs import LATER
from .figures import COLORS, LABELS, headline, use_theme

__all__ = ["draw_goal"]

METHODS = ("contaminated_alcl", "censored_alcl", "tobit", "l1", "alcl")
AXES = {"psnr": "PSNR, dB", "ssim": "SSIM", "restored": "restored accuracy, points"}


def draw_goal(table: pd.DataFrame) -> Figure:
    """Median differences to GCL with intervals: a row a condition, a panel a measure, right of 0 the loss is ahead.

    A loss with settings of several rounds of development has a full dot for the last and hollow ones for those before.

    table: `goal.against_oracle`. Conditions without any complete comparison are left out. The title counts,
    of each loss at its last setting, the conditions in which all three measures are complete.
    """
    use_theme()
    drawn = table[table["difference"].notna()]
    keys = ["sensor", "level", "dataset"]
    rows = list(drawn[keys].drop_duplicates().itertuples(index=False))
    figure = Figure(figsize=(7.0, 1.6 + 0.42 * max(len(rows), 1)))
    axes = figure.subplots(1, len(MEASURES), sharey=True)
    settings = {loss: _settings(drawn, loss) for loss in METHODS}
    for ax, measure in zip(axes, MEASURES, strict=True):
        for loss, offset in zip(METHODS, np.linspace(-0.3, 0.3, len(METHODS)), strict=True):
            for method in settings[loss]:
                last = method == settings[loss][-1]
                own = drawn[(drawn["measure"] == measure) & (drawn["method"] == method)]
                y = [rows.index(tuple(row)) + offset for row in own[keys].itertuples(index=False)]
                if last:
                    low, high = own["low"].clip(-1e6, 1e6), own["high"].clip(-1e6, 1e6)
                    ax.hlines(y, low, high, color=COLORS[loss], lw=1.2)
                look = {"mfc": COLORS[loss] if last else "white", "label": LABELS[loss] if last else None}
                ax.plot(own["difference"], y, "o", ms=4, color=COLORS[loss], mew=0.9, **look)
        ax.axvline(0, color="0.3", lw=0.8)
        ax.set(xlabel=AXES[measure])
    axes[0].set_yticks(range(len(rows)), [f"{row.dataset}\n{row.level}, {row.sensor}" for row in rows])
    axes[0].set_ylim(len(rows) - 0.5 if rows else 0.5, -0.5)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=3)
    headline(figure, _message(drawn, len(table[keys].drop_duplicates())))
    return figure


def _settings(drawn: pd.DataFrame, loss: str) -> list[str]:
    """The methods of a loss that are drawn, in the order of their rounds."""
    there = set(drawn["method"])
    return [method for method in (loss, *(loss + ending for ending in LATER)) if method in there]


def _message(drawn: pd.DataFrame, declared: int) -> str:
    last = {found[-1]: loss for loss in METHODS[:2] if (found := _settings(drawn, loss))}
    if not last:
        return "Against GCL tuned by an oracle: no loss of the sensor has all its runs yet"
    counted = together(drawn[drawn["method"].isin(last)])
    counts = [f"{LABELS[last[row.method]]} in {row.reached} of {row.conditions}" for row in counted.itertuples()]
    return f"At or above GCL's oracles in all three measures: {', '.join(counts)} conditions run ({declared} declared)"
