"""What GCL's settings are worth: every run of its tuning beside ALCL at its one setting (of nine, chosen in
development), on the same validation images.

Pure functions from records to tables, as in `analysis`. All differences are ALCL minus GCL: above 0, ALCL is ahead.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from .analysis import sort_records, tuning_landscape
from .levels import LEVELS
from .protocol import KEPT_LEVEL, MEASURES, TUNING_SEEDS, oracle
from .reconstruction import Run, method_run

__all__ = ["at_one_setting", "beside_tuning", "chosen", "gaps", "wrong_bandwidth"]


def beside_tuning(dataset: str, level: str) -> Run:
    """ALCL's run that is evaluated as GCL's tuning runs are: on clean validation images, with their seed."""
    return method_run("alcl", dataset, level, TUNING_SEEDS[0], evaluate_on="validation")


def at_one_setting(records: Iterable[Mapping[str, Any]], dataset: str, level: str, measure: str) -> float | None:
    """What that run has reached; None if it is not among the records."""
    digest = beside_tuning(dataset, level).digest
    return next((record["metrics"][measure] for record in records if record["digest"] == digest), None)


def gaps(records: Iterable[Mapping[str, Any]], dataset: str, level: str, measure: str) -> pd.DataFrame:
    """ALCL minus every setting of GCL, as `analysis.tuning_landscape` has them (index alpha, columns beta), in the
    measure's own unit. Empty where GCL's tuning or ALCL's run is not recorded."""
    records = list(records)
    value, grid = at_one_setting(records, dataset, level, measure), tuning_landscape(records, dataset, level, measure)
    return grid[:0] if value is None else value - grid


def chosen(
    records: Sequence[Mapping[str, Any]], dataset: str, level: str, measure: str
) -> dict[str, Mapping[str, float]]:
    """GCL's settings that the oracle takes here ("*") and at the level of the kept one ("x"), where tuning is recorded.

    Keys are the markers of figures.
    """
    found = {}
    for marker, at in (("*", level), ("x", KEPT_LEVEL)):
        try:
            found[marker] = oracle(records, dataset, at, measure)
        except LookupError:  # not all of these tuning runs are recorded
            continue
    return found


def wrong_bandwidth(records: Iterable[Mapping[str, Any]], datasets: Iterable[str]) -> pd.DataFrame:
    """How many of GCL's settings do at least as well as ALCL, and how far ALCL is ahead of the best, the median and the
    worst, in points of accuracy and in dB; a row for each data set, level and measure where both are recorded.

    Columns: dataset, level, measure, settings, at_least_ALCL, ALCL_minus_best, minus_median, minus_worst.
    """
    validation = sort_records(records)["validation"]
    rows = []
    for condition in itertools.product(datasets, LEVELS, MEASURES):
        grid = (100 if condition[2] == "accuracy" else 1) * gaps(validation, *condition)
        if grid.size:
            gap = grid.stack()
            rows.append([*condition, grid.size, int((gap <= 0).sum()), gap.min(), gap.median(), gap.max()])
    names = ["settings", "at_least_ALCL", "ALCL_minus_best", "minus_median", "minus_worst"]
    return pd.DataFrame(rows, columns=["dataset", "level", "measure", *names])
