"""The records of `label_runs` as tables: a row a run, medians with intervals, paired differences of two losses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..experiments.analysis import bootstrap_interval
from . import label_runs

__all__ = ["COMPARED", "frame", "medians", "paired", "told", "verdict", "votes"]

_CONDITION = ["dataset", "noise", "rate", "decay", "seed"]
_METRICS = ["accuracy", "memorised"]
COMPARED = ["dataset", "condition", "seeds", "difference", "low", "high", "ahead", "verdict"]


def frame(records: Iterable[Mapping[str, Any]], profiles: Sequence[str] = tuple(label_runs.PROFILES)) -> pd.DataFrame:
    """One row a run that one of these profiles declares: its condition, method, metrics, history and digest.

    Records of another protocol, and runs that no profile declares, are left out. `condition` is noise and rate.

        >>> frame([]).shape
        (0, 13)
    """
    declared = {run.digest for profile in profiles for run in label_runs.PROFILES[profile]()}
    rows = []
    for record in records:
        if record["digest"] in declared:
            config, metrics = record["config"], record["metrics"]
            row = {name: config[name] for name in _CONDITION} | {name: metrics[name] for name in _METRICS}
            row |= {name: record[name] for name in ("digest", "history", "data")}
            row |= {"method": label_runs.method_of(config), "epochs": config["epochs"]}
            rows.append(row | {"condition": f"{config['noise']} {config['rate']}"})
    columns = [*_CONDITION, "method", *_METRICS, "digest", "history", "epochs", "data", "condition"]
    return pd.DataFrame(rows, columns=columns)


def medians(grouped: Any) -> pd.DataFrame:
    """Number of seeds, median and its bootstrap interval, a row a group of a pandas SeriesGroupBy.

    >>> medians(pd.Series([1.0, 2.0, 3.0], index=["a", "a", "a"]).groupby(level=0)).loc["a"].tolist()
    [3.0, 2.0, 1.0, 3.0]
    """
    ends = {"low": lambda v: bootstrap_interval(v.to_numpy())[0], "high": lambda v: bootstrap_interval(v.to_numpy())[1]}
    return grouped.agg(seeds="count", median="median", **ends)


def paired(runs: pd.DataFrame, one: tuple[str, str], other: tuple[str, str]) -> pd.DataFrame:
    """Accuracy of `one` minus `other`, (method, decay) each, in points, paired by seed; a row a data set and condition.

    Columns `COMPARED`: the median difference, its bootstrap interval, in how many seeds `one` is ahead, and `verdict`.
    Conditions without a common seed have no row.

        >>> paired(frame([]), ("jal_ce", "l2"), ("ce", "l2")).columns.tolist() == COMPARED
        True
    """
    sides = [runs[(runs["method"] == method) & (runs["decay"] == decay)] for method, decay in (one, other)]
    sides = [side.set_index(["dataset", "condition", "seed"])["accuracy"] for side in sides]
    rows = []
    for (dataset, condition), part in (100 * (sides[0] - sides[1])).dropna().groupby(level=[0, 1]):
        values = part.to_numpy(float)
        low, high = bootstrap_interval(values)
        found = [len(values), float(np.median(values)), low, high, int((values > 0).sum())]
        rows.append([dataset, condition, *found, verdict(len(values), low, high)])
    return pd.DataFrame(rows, columns=COMPARED)


def verdict(seeds: int, low: float, high: float) -> str:
    """ "ahead" or "behind" where the interval of a difference is above or below 0, else "undecided".

    >>> verdict(5, 0.2, 3.0), verdict(5, -1.0, 3.0), verdict(3, 0.2, 3.0)
    ('ahead', 'undecided', 'too few seeds')
    """
    if seeds < len(label_runs.SEEDS):
        return "too few seeds"
    return "ahead" if low > 0 else "behind" if high < 0 else "undecided"


def told(row: Any) -> str:
    """A row of a `paired` table in words; row: of its itertuples().

    >>> told(next(pd.DataFrame([[1.24, -0.5, 3.0, 5, "undecided"]], columns=COMPARED[3:6] + ["seeds", "verdict"])
    ...     .itertuples()))
    '+1.2 points [-0.5, +3.0], undecided, 5 seeds'
    """
    return f"{row.difference:+.1f} points [{row.low:+.1f}, {row.high:+.1f}], {row.verdict}, {row.seeds} seeds"


def votes(table: pd.DataFrame) -> dict[str, int]:
    """How many rows of a `paired` table are ahead, undecided and behind; those with too few seeds count as none."""
    return {side: int((table["verdict"] == side).sum()) for side in ("ahead", "undecided", "behind")}
