"""The goal of the sensor's losses, condition by condition: at or above GCL tuned by an oracle, with one setting.

Declared before any of the runs it reads was made. In each of 16 conditions (four sets, two sensors, high and extreme),
by PSNR, SSIM and restored accuracy, over ten seeds, paired by seed:

    against GCL   tuned for the measure by its own oracle: the median difference is at least 0
    against L1    the median difference is above 0
    against ALCL  the median difference is at least -0.1 dB in PSNR and -0.5 points in accuracy; SSIM has no bound

The interval is exact for a median (`analysis.median_interval`). "met" and "missed" go by the median; they are *sure*
where the whole interval lies on the same side of the bound. A condition that lacks a run of either side has no verdict.
The other rules for GCL, and the noise's own likelihood as the ceiling, stand beside them without a verdict.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from . import sensor_runs
from .analysis import differences, median_interval
from .multiverse import FEW, HEADLINE_SENSORS, REFERENCE, SEEDS, SETS, Condition
from .specification import CONDITION, OWN_ORACLE, observations
from .worth_runs import oracle_ssim

__all__ = ["BOUNDS", "LEVELS", "MEASURES", "against_oracle", "beside", "goal", "observed", "summary"]

LEVELS = ("high", "extreme")
#: Measure -> the factor to its usual unit: dB, SSIM, points.
MEASURES = {"psnr": 1.0, "ssim": 1.0, "restored": 100.0}
#: Rival -> {measure: the least median difference}; a difference from L1 must be above it.
BOUNDS: dict[str, dict[str, float]] = {
    "gcl": dict.fromkeys(MEASURES, 0.0),
    "l1": dict.fromkeys(MEASURES, 0.0),
    "alcl": {"psnr": -0.1, "restored": -0.5},
}
_COLUMNS = [*CONDITION, "method", "rival", "measure", "seeds", "value", "difference", "low", "high", "verdict"]


def conditions() -> list[Condition]:
    """The 16 conditions of the goal."""
    return [Condition(d, sensor, level) for level in LEVELS for sensor in HEADLINE_SENSORS for d in SETS]


def observed(
    records: Iterable[Mapping[str, Any]],
    chosen: Mapping[str, Mapping[str, Any]] | None,
    worth: Iterable[Mapping[str, Any]] = (),
) -> pd.DataFrame:
    """`specification.observations` of the goal's conditions; the sensor's losses and the ceiling are methods of it too.

    records: of the multiverse's stores. chosen: of `sensor_runs.choice`; None while development is not recorded, and
    the sensor's losses are then missing. worth: records of `worth_runs`, for methods "known_noise" and, at extreme,
    "gcl:oracle_ssim".
    """
    records = list(records)
    there = {record["digest"]: record["metrics"] for record in (*records, *worth)}
    rows = []
    for condition in conditions():
        key = (condition.sensor, condition.level, condition.dataset)
        runs = [("known_noise", seed, condition.run("known_noise", seed).digest) for seed in FEW]
        if condition.level == "extreme":
            runs += [("gcl:oracle_ssim", seed, digest) for seed, digest in _by_ssim(records, condition).items()]
        for method, sensors in sensor_runs.SENSORS.items():
            for seed in SEEDS if condition.sensor in sensors else ():
                digest = "" if chosen is None else _digest(method, chosen[method], condition, seed)
                runs.append((method, seed, digest))
        for method, seed, digest in runs:
            found = there.get(digest)
            missing = "tuning" if not digest else "run" if found is None else ""
            for measure in MEASURES:
                value = math.nan if found is None else found[measure]
                value = -math.inf if value is None else value
                rows.append((*key, method, seed, measure, value, digest, missing))
    base = observations(records, conditions())
    return pd.concat([base[base["measure"].isin(MEASURES)], pd.DataFrame(rows, columns=base.columns)])


def _by_ssim(records: list[Mapping[str, Any]], condition: Condition) -> dict[int, str]:
    """{seed: digest} of GCL at its oracle by SSIM; "" while tuning is not recorded."""
    try:
        return {run.seed: run.digest for _, run in oracle_ssim(records, condition)}
    except LookupError:
        return dict.fromkeys(SEEDS, "")


def _digest(method: str, options: Mapping[str, Any], condition: Condition, seed: int) -> str:
    run = sensor_runs.sensor_run(method, options, condition.dataset, condition.level, condition.sensor, seed)
    return run.digest


def goal(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each condition, loss of the sensor, rival of `BOUNDS` and measure that the goal speaks of.

    frame: of `observed`. Columns: sensor, level, dataset, method, rival, measure, seeds (pairs), value (the method's
    median), difference (median of method minus rival, in dB, SSIM or points), low, high, verdict ("met", "surely met",
    "missed", "surely missed", or "not yet measured").
    """
    rows = []
    for condition in conditions():
        part = _condition(frame, condition)
        for method, sensors in sensor_runs.SENSORS.items():
            for rival, bounds in BOUNDS.items() if condition.sensor in sensors else ():
                for measure, bound in bounds.items():
                    name = f"gcl:{OWN_ORACLE[measure]}" if rival == "gcl" else rival
                    row = _compare(part, method, name, measure)
                    key = (condition.sensor, condition.level, condition.dataset, method, rival, measure)
                    rows.append((*key, *row, _verdict(*row[2:], bound, strict=rival == "l1")))
    return pd.DataFrame(rows, columns=_COLUMNS)


def against_oracle(frame: pd.DataFrame) -> pd.DataFrame:
    """As `goal`, without verdicts: the sensor's losses, ALCL and L1 against GCL tuned for the measure by its oracle."""
    rows = []
    for condition in conditions():
        part = _condition(frame, condition)
        for method, sensors in {**sensor_runs.SENSORS, **dict.fromkeys(("alcl", "l1"), HEADLINE_SENSORS)}.items():
            for measure in MEASURES if condition.sensor in sensors else ():
                key = (condition.sensor, condition.level, condition.dataset, method, "gcl", measure)
                rows.append((*key, *_compare(part, method, f"gcl:{OWN_ORACLE[measure]}", measure)))
    return pd.DataFrame(rows, columns=_COLUMNS[:-1])


def beside(frame: pd.DataFrame) -> pd.DataFrame:
    """As `goal`, without verdicts: against the other rules for GCL, and against the ceiling (on its five seeds)."""
    rivals = [f"gcl:{rule}" for rule in REFERENCE] + ["known_noise"]
    rows = []
    for condition in conditions():
        part = _condition(frame, condition)
        for method, sensors in {**sensor_runs.SENSORS, "alcl": HEADLINE_SENSORS}.items():
            for rival in rivals if condition.sensor in sensors else ():
                for measure in MEASURES:
                    key = (condition.sensor, condition.level, condition.dataset, method, rival, measure)
                    rows.append((*key, *_compare(part, method, rival, measure)))
    return pd.DataFrame(rows, columns=_COLUMNS[:-1])


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """How many conditions of a `goal` table have each verdict: one row for each method, rival and measure."""
    verdicts = ["surely met", "met", "missed", "surely missed", "not yet measured"]
    counted = table.groupby(["method", "rival", "measure", "verdict"], sort=False).size().unstack(fill_value=0)
    return counted.reindex(columns=verdicts, fill_value=0).rename_axis(columns=None).reset_index()


def _condition(frame: pd.DataFrame, condition: Condition) -> pd.DataFrame:
    here = (frame["sensor"] == condition.sensor) & (frame["level"] == condition.level)
    return frame[here & (frame["dataset"] == condition.dataset)]


def _compare(part: pd.DataFrame, method: str, rival: str, measure: str) -> tuple[int, float, float, float, float]:
    """(pairs, the method's median, median difference, low, high); NaN where a run of the pairs is missing."""
    part = part[part["measure"] == measure].drop_duplicates(["method", "seed"])
    columns = [part[part["method"] == name].set_index("seed")["value"] for name in (method, rival)]
    pairs = pd.concat(columns, axis=1, join="inner").to_numpy(dtype=float) * MEASURES[measure]
    if not len(pairs) or np.isnan(pairs).any():
        return len(pairs), math.nan, math.nan, math.nan, math.nan
    gaps = differences(*pairs.T)
    return len(pairs), float(np.median(pairs[:, 0])), float(np.median(gaps)), *median_interval(gaps)


def _verdict(difference: float, low: float, high: float, bound: float, strict: bool) -> str:
    if math.isnan(difference):
        return "not yet measured"
    met = difference > bound if strict else difference >= bound
    sure = (low > bound if strict else low >= bound) if met else high < bound
    return f"{'surely ' if sure else ''}{'met' if met else 'missed'}"
