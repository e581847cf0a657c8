"""The goal of the sensor's losses, condition by condition: at or above GCL tuned by an oracle, with one setting.

Declared before any of the runs it reads was made. In each of 16 conditions (four sets, two sensors, high and extreme),
by PSNR, SSIM and restored accuracy, over ten seeds, paired by seed:

    against GCL   tuned for the measure by its own oracle: the median difference is at least 0
    against L1    the median difference is above 0
    against ALCL  the median difference is at least -0.1 dB in PSNR and -0.5 points in accuracy; SSIM has no bound

The interval is exact for a median (`analysis.median_interval`). "met" and "missed" go by the median; they are *sure*
where the whole interval lies on the same side of the bound. A condition that lacks a run of either side has no verdict.
The other rules for GCL, and the noise's own likelihood as the ceiling, stand beside them without a verdict. A setting
of a later round of development (`sensor_runs.LATER`) has verdicts of its own.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from . import sensor_runs
from .analysis import differences, median_interval
from .multiverse import FEW, HEADLINE_SENSORS, REFERENCE, SEEDS, SETS, Condition
from .reference import pairs
from .specification import CONDITION, OWN_ORACLE, observations
from .worth_runs import oracle_ssim

__all__ = [
    "BOUNDS",
    "LEVELS",
    "MEASURES",
    "MILDER",
    "against_oracle",
    "beside",
    "cells",
    "compare",
    "goal",
    "observed",
    "summary",
    "together",
]

LEVELS = ("high", "extreme")
#: Levels of which the goal does not speak; the losses are compared there too.
MILDER = ("low", "between")
#: Measure -> the factor to its usual unit: dB, SSIM, points.
MEASURES = {"psnr": 1.0, "ssim": 1.0, "restored": 100.0}
#: The noise's own likelihood, from scratch and from a wide start.
CEILINGS = ("known_noise", "known_noise_wide")
#: Rival -> {measure: the least median difference}; a difference from L1 must be above it.
BOUNDS: dict[str, dict[str, float]] = {
    "gcl": dict.fromkeys(MEASURES, 0.0),
    "l1": dict.fromkeys(MEASURES, 0.0),
    "alcl": {"psnr": -0.1, "restored": -0.5},
}
_FOUND = ["seeds", "value", "difference", "low", "high"]


def conditions(levels: Sequence[str] = LEVELS) -> list[Condition]:
    """The 16 conditions of the goal, or those of other levels."""
    return [Condition(d, sensor, level) for level in levels for sensor in HEADLINE_SENSORS for d in SETS]


def observed(
    records: Iterable[Mapping[str, Any]],
    chosen: Mapping[str, Mapping[str, Any]] | None,
    worth: Iterable[Mapping[str, Any]] = (),
) -> pd.DataFrame:
    """`specification.observations` of the goal's conditions and of milder noise, with the sensor's losses.

    records: of the multiverse's stores. chosen: of `sensor_runs.settings`; None while development is not recorded, and
    the sensor's losses are then missing. worth: records of `worth_runs`, for methods of `CEILINGS` at
    the goal's levels and "gcl:oracle_ssim" at extreme.
    """
    records = list(records)
    there = {record["digest"]: record["metrics"] for record in (*records, *worth)}
    rows, everywhere = [], conditions((*MILDER, *LEVELS))
    for condition in everywhere:
        key = (condition.sensor, condition.level, condition.dataset)
        known = CEILINGS if condition.level in LEVELS else ()
        runs = [(method, seed, condition.run(method, seed).digest) for method in known for seed in FEW]
        if condition.level == "extreme":
            runs += [("gcl:oracle_ssim", seed, digest) for seed, digest in _by_ssim(records, condition).items()]
        for method in sensor_runs.SENSORS if chosen is None else chosen:
            for seed in SEEDS if condition.sensor in sensor_runs.sensors_of(method) else ():
                digest = "" if chosen is None else _digest(method, chosen[method], condition, seed)
                runs.append((method, seed, digest))
        for method, seed, digest in runs:
            found = there.get(digest)
            missing = "tuning" if not digest else "run" if found is None else ""
            for measure in MEASURES:
                value = math.nan if found is None else found[measure]
                value = -math.inf if value is None else value
                rows.append((*key, method, seed, measure, value, digest, missing))
    base = observations(records, everywhere)
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


def compare(
    frame: pd.DataFrame, methods: Mapping[str, Sequence[str]], rivals: Iterable[str], levels: Sequence[str] = LEVELS
) -> pd.DataFrame:
    """Methods against rivals, paired by seed: one row for each condition, method of its sensor, rival and measure.

    frame: of `observed`. methods: {method: sensors}. rivals: methods of `frame`; "gcl" is GCL tuned for the measure by
    its oracle. Columns: sensor, level, dataset, method, rival, measure, seeds (pairs), value (the method's median),
    difference (median of method minus rival, in dB, SSIM or points), low, high; NaN where a run of a pair is missing.
    """
    rows, rivals = [], list(rivals)
    for condition in conditions(levels):
        key = (condition.sensor, condition.level, condition.dataset)
        part = frame[(frame[CONDITION] == pd.Series(key, CONDITION)).all(axis=1)]
        here = [method for method, sensors in methods.items() if condition.sensor in sensors]
        for method, rival, measure in itertools.product(here, rivals, MEASURES):
            name = f"gcl:{OWN_ORACLE[measure]}" if rival == "gcl" else rival
            rows.append((*key, method, rival, measure, *_pairs(part, method, name, measure)))
    return pd.DataFrame(rows, columns=[*CONDITION, "method", "rival", "measure", *_FOUND])


def goal(frame: pd.DataFrame, levels: Sequence[str] = LEVELS) -> pd.DataFrame:
    """`compare` of the sensor's losses with the rivals of `BOUNDS`, in the measures that the goal speaks of; and their
    verdict: "met", "surely met", "missed", "surely missed" or "not yet measured"."""
    table = compare(frame, _sensors(frame), BOUNDS, levels)
    asked = [measure in BOUNDS[rival] for rival, measure in zip(table["rival"], table["measure"], strict=True)]
    table = table[asked].reset_index(drop=True)
    return table.assign(verdict=[_verdict(row) for row in table.itertuples()])


def against_oracle(frame: pd.DataFrame) -> pd.DataFrame:
    """`compare` of the sensor's losses, ALCL and L1 with GCL tuned for the measure by its oracle."""
    return compare(frame, {**_sensors(frame), "alcl": HEADLINE_SENSORS, "l1": HEADLINE_SENSORS}, ["gcl"])


def beside(frame: pd.DataFrame) -> pd.DataFrame:
    """`compare` of the sensor's losses and ALCL with the other rules for GCL, and with the ceiling (on its seeds)."""
    rivals = [*(f"gcl:{rule}" for rule in REFERENCE), *CEILINGS]
    return compare(frame, {**_sensors(frame), "alcl": HEADLINE_SENSORS}, rivals)


def cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Medians of every method of `observed`, one row for each condition and method.

    Columns: sensor, level, dataset, method, seeds (declared), missing (runs, of those), psnr (dB), ssim, restored
    (points): medians over the seeds, NaN where a run is missing.
    """
    keys = [*CONDITION, "method"]
    one = frame[frame["measure"] == "psnr"].drop_duplicates([*keys, "seed"])
    counted = one.groupby(keys, sort=False)["missing"].agg(seeds="size", missing=lambda m: int((m != "").sum()))
    there = frame.assign(value=frame["value"] * frame["measure"].map(MEASURES))
    found = there.groupby([*keys, "measure"], sort=False)["value"].agg(lambda v: v.median(skipna=False)).unstack()
    table = counted.join(found[list(MEASURES)]).reset_index()
    every = [(c.sensor, c.level, c.dataset) for c in conditions((*MILDER, *LEVELS))]
    order = [every.index(key) for key in table[CONDITION].itertuples(index=False, name=None)]
    return table.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)


def _sensors(frame: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """{method: sensors} of the sensor's losses: those of later rounds in `frame` after those of the first."""
    later = [name for name in frame["method"].unique() if name.endswith(tuple(sensor_runs.LATER))]
    return {method: sensor_runs.sensors_of(method) for method in (*sensor_runs.SENSORS, *later)}


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """How many conditions of a `goal` table have each verdict: one row for each method, rival and measure."""
    verdicts = ["surely met", "met", "missed", "surely missed", "not yet measured"]
    counted = table.groupby(["method", "rival", "measure", "verdict"], sort=False).size().unstack(fill_value=0)
    return counted.reindex(columns=verdicts, fill_value=0).rename_axis(columns=None).reset_index()


def together(table: pd.DataFrame) -> pd.DataFrame:
    """In how many conditions a method is at or above a rival in every measure at once, by its median differences.

    table: of `compare`, or with its columns. One row for each method and rival, in the table's order; columns: method,
    rival, conditions (those with all runs), reached (those of them in which no measure is behind), behind (every one).
    """
    keys = ["method", "rival"]
    wide = table.pivot_table(index=[*keys, *CONDITION], columns="measure", values="difference")
    wide = wide.reindex(columns=list(MEASURES)).dropna()
    found = pd.DataFrame({"conditions": 1, "reached": (wide >= 0).all(axis=1), "behind": (wide < 0).all(axis=1)})
    counted = found.groupby(level=keys).sum()
    order = pd.MultiIndex.from_frame(table[keys].drop_duplicates())
    return counted.reindex(order, fill_value=0).astype(int).reset_index()


def _pairs(part: pd.DataFrame, method: str, rival: str, measure: str) -> tuple[int, float, float, float, float]:
    found = pairs(part, method, rival, measure) * MEASURES[measure]
    if not len(found) or np.isnan(found).any():
        return len(found), math.nan, math.nan, math.nan, math.nan
    gaps = differences(*found.T)
    return len(found), float(np.median(found[:, 0])), float(np.median(gaps)), *median_interval(gaps)


def _verdict(row: Any) -> str:
    if math.isnan(row.difference):
        return "not yet measured"
    reaches = operator.gt if row.rival == "l1" else operator.ge
    bound = BOUNDS[row.rival][row.measure]
    met = reaches(row.difference, bound)
    sure = reaches(row.low, bound) if met else row.high < bound
    return f"{'surely ' if sure else ''}{'met' if met else 'missed'}"
