"""The reference: two sensors, four data sets, three levels, ten seeds; notebook 06 reports it.

Its runs are declared in `multiverse.declared`, where the two sensors are argued for. What is made of them, written when
two of the 24 conditions were run:

Measures
    PSNR, SSIM, and the accuracy of a classifier that was trained on clean images and sees the reconstructions: those
    that answer most to the loss, which `spread.sources` shows for these runs as well.
Methods
    Those of `METHODS`. GCL is "gcl" at the best setting by PSNR on clean validation images of the condition, in PSNR
    and SSIM, and at the best by restored accuracy in that; "gcl_one", "gcl_noisy" and "gcl_kept" by the rules of those
    names (`multiverse.RULES`), "gcl_public" at the public default. "mse_clamped" is a practitioner's first move where
    nothing is clipped: targets clamped to [-1, 2], as inputs are, then MSE. In the multiverse that is another sensor,
    with five seeds at high. So have baselines without a loss: too few for a significant difference.
Complete or missing
    A method counts in a condition with all its declared seeds, as in `specification`.
Differences
    Median over seeds of the paired difference, with an exact interval for a median (`analysis.median_interval`).
    p_holm is that of the signed-rank test, adjusted for all 24 conditions of one rival and measure, run or not: ten
    seeds are just enough for it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from .analysis import differences, holm, median_interval, signed_rank_p
from .multiverse import HEADLINE_SENSORS, SETS, Condition, declared, setting_of
from .reconstruction import Run
from .specification import CONDITION, observations

__all__ = [
    "LEVELS",
    "MEASURES",
    "METHODS",
    "NO_LOSS",
    "RIVALS",
    "compare",
    "conditions",
    "coverage",
    "longer",
    "longer_alcl",
    "medians",
    "observe",
    "pairs",
    "reference_frame",
]

LEVELS = ("low", "high", "extreme")
#: Measure -> the factor to its unit here: dB, hundredths, points.
MEASURES = {"psnr": 1.0, "ssim": 100.0, "restored": 100.0}
#: Losses that ALCL is compared with; and what stands beside them without one.
RIVALS = ("mse", "mse_clamped", "gcl", "gcl_one", "gcl_noisy", "gcl_kept", "gcl_public", "l1", "huber_mad")
RIVALS += ("welsch_mad", "alcl_kappa")
NO_LOSS = ("pca", "noisy_images", "untrained")
METHODS = ("alcl", *RIVALS, *NO_LOSS)
_RULES = {f"gcl:{rule}": f"gcl_{rule}" for rule in ("one", "noisy", "kept", "public")}
_ORACLES = {"psnr": "gcl:oracle_psnr", "ssim": "gcl:oracle_psnr", "restored": "gcl:oracle_restored"}


def conditions() -> list[Condition]:
    """The 24 conditions, in the order of figures."""
    return [Condition(d, sensor, level) for sensor in HEADLINE_SENSORS for d in SETS for level in LEVELS]


def observe(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """`specification.observations` of the reference's conditions, with "mse_clamped" of the sensor that clamps."""
    records = list(records)
    clamped = observations(records, [Condition(dataset, "clamped", "high") for dataset in SETS])
    clamped = clamped[clamped["method"] == "mse"].assign(sensor="unclipped", method="mse_clamped")
    return pd.concat([observations(records, conditions()), clamped], ignore_index=True)


def reference_frame(observed: pd.DataFrame) -> pd.DataFrame:
    """Of `observe` the rows of `METHODS` and `MEASURES`, GCL by its names here.

    Columns: sensor, level, dataset, method, seed, measure, value (accuracies in [0, 1]), digest, missing.
    """
    frame = observed[observed["measure"].isin(MEASURES)].copy()
    own = frame["method"] == frame["measure"].map(_ORACLES)
    frame["method"] = frame["method"].replace(_RULES).where(~own, "gcl")
    return frame[frame["method"].isin(METHODS)].reset_index(drop=True)


def coverage(frame: pd.DataFrame) -> pd.DataFrame:
    """How much of each condition of a `reference_frame` is there.

    Columns: sensor, dataset, level, methods_done and methods (losses of `RIVALS` and ALCL), first_missing ("" where
    nothing is).
    """
    losses = frame[frame["method"].isin(("alcl", *RIVALS)) & (frame["measure"] != "ssim")]
    rows = []
    for condition in conditions():
        part = losses[_is(losses, condition)]
        gaps = {}
        for method in ("alcl", *RIVALS):
            runs = part[part["method"] == method]
            lacking = runs[runs["missing"] != ""]
            if "tuning" in set(lacking["missing"]):
                gaps[method] = f"{method}: tuning"
            elif len(lacking):
                seeds, none = runs["seed"].nunique(), lacking["seed"].nunique()
                gaps[method] = f"{method}: {seeds - none} of {seeds} seeds"
        number = part["method"].nunique()
        place = [condition.sensor, condition.dataset, condition.level]
        rows.append([*place, number - len(gaps), number, next(iter(gaps.values()), "")])
    return pd.DataFrame(rows, columns=["sensor", "dataset", "level", "methods_done", "methods", "first_missing"])


def medians(frame: pd.DataFrame) -> pd.DataFrame:
    """Medians over seeds of all methods that a condition has with all declared seeds.

    Columns: sensor, level, dataset, method, measure, seeds, median, q1 and q3 (quartiles), diverged (runs); dB,
    hundredths of SSIM, points.
    """
    rows = []
    for key, part in frame.groupby([*CONDITION, "method", "measure"], sort=False):
        if (part["missing"] != "").any():
            continue
        x = part["value"].to_numpy(float) * MEASURES[key[-1]]
        quartiles = [float(np.quantile(x, q, method="inverted_cdf")) for q in (0.25, 0.75)]
        rows.append([*key, len(x), float(np.median(x)), *quartiles, int(np.isneginf(x).sum())])
    return pd.DataFrame(rows, columns=[*CONDITION, "method", "measure", "seeds", "median", "q1", "q3", "diverged"])


def compare(frame: pd.DataFrame, rivals: Iterable[str] = (*RIVALS, *NO_LOSS), method: str = "alcl") -> pd.DataFrame:
    """A method minus its rivals in every condition, paired by seed; NaN where a run of either is missing.

    Columns: sensor, level, dataset, rival, measure, seeds (pairs), difference (median), low, high, p (signed-rank),
    p_holm; dB, hundredths of SSIM, points.
    """
    rows, rivals = [], list(rivals)
    for condition in conditions():
        part = frame[_is(frame, condition)]
        key = [condition.sensor, condition.level, condition.dataset]
        for rival, measure in itertools.product(rivals, MEASURES):
            gaps = differences(*(pairs(part, method, rival, measure) * MEASURES[measure]).T)
            known = len(gaps) > 0 and not np.isnan(gaps).any()
            found = [float(np.median(gaps)), *median_interval(gaps), signed_rank_p(gaps)] if known else [math.nan] * 4
            rows.append([*key, rival, measure, len(gaps), *found])
    names = ["rival", "measure", "seeds", "difference", "low", "high", "p"]
    table = pd.DataFrame(rows, columns=[*CONDITION, *names])
    # What is not run counts in the adjustment as undecided: more records never make less of those that are there.
    table["p_holm"] = table.groupby(["rival", "measure"])["p"].transform(lambda p: holm(p.fillna(1.0)))
    table.loc[table["p"].isna(), "p_holm"] = math.nan
    return table


def pairs(part: pd.DataFrame, method: str, rival: str, measure: str) -> np.ndarray:
    """Values of two methods, shape (seeds, 2), at the seeds that both are declared at; NaN where a run is missing.

    part: the rows of one condition.
    """
    part = part[part["measure"] == measure].drop_duplicates(["method", "seed"])
    columns = [part[part["method"] == name].set_index("seed")["value"] for name in (method, rival)]
    return pd.concat(columns, axis=1, join="inner").to_numpy(dtype=float)


def longer(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """ALCL minus its rivals in PSNR where training was also run three times as long: is a deficit undertraining?

    records: of the multiverse's stores. Columns: sensor, level, dataset, rival, epochs, longer_epochs, difference,
    longer_difference (medians over the seeds that are declared, dB); NaN where a run is missing.
    """
    values = {record["digest"]: record["metrics"]["psnr"] for record in records}
    rows = []
    for step in (step for step in declared() if step.epochs is not None):
        condition, rivals = step.condition, [method for method in step.methods if method != "alcl"]
        own = [record for record in records if record["config"]["dataset"] == condition.dataset]
        runs = {name: [condition.run(name, seed) for seed in step.seeds] for name in ("alcl", *rivals)}
        try:
            setting = setting_of(step.rules[0], own, condition)
            runs["gcl"] = [condition.gcl(setting, seed) for seed in step.seeds]
        except LookupError:
            runs["gcl"] = []
        usual = runs["alcl"][0].epochs
        for rival in (*rivals, "gcl"):
            found = [_median_gap(values, runs["alcl"], runs[rival], epochs) for epochs in (usual, step.epochs)]
            rows.append([condition.sensor, condition.level, condition.dataset, rival, usual, step.epochs, *found])
    names = ["rival", "epochs", "longer_epochs", "difference", "longer_difference"]
    return pd.DataFrame(rows, columns=[*CONDITION, *names])


def longer_alcl(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """ALCL itself in the comparisons of `longer`: medians over their seeds, a row a length that has all its runs.

    records: of the multiverse's stores. Columns: sensor, level, dataset, epochs, psnr, ssim and restored (dB,
    hundredths, points), alpha and beta (as training ends); a measure that is not finite does not count.
    """
    there, rows = {record["digest"]: record for record in records}, []
    for step in (step for step in declared() if step.epochs is not None):
        runs = [step.condition.run("alcl", seed) for seed in step.seeds]
        for epochs in (runs[0].epochs, step.epochs):
            found = [there.get(replace(run, epochs=epochs).digest) for run in runs]
            if None in found:
                continue
            values = pd.DataFrame([record["metrics"] for record in found], columns=[*MEASURES], dtype=float).mul(
                MEASURES
            )
            ends = [np.median([record["history"][name][-1] for record in found]) for name in ("alpha", "beta")]
            key = [step.condition.sensor, step.condition.level, step.condition.dataset]
            rows.append([*key, epochs, *values.median(), *ends])
    return pd.DataFrame(rows, columns=[*CONDITION, "epochs", *MEASURES, "alpha", "beta"])


def _median_gap(values: Mapping[str, float | None], ours: Sequence[Run], theirs: Sequence[Run], epochs: int) -> float:
    """Median of ours minus theirs, trained so long; NaN where a run of either is missing."""
    digests = [[replace(run, epochs=epochs).digest for run in runs] for runs in (ours, theirs)]
    if not theirs or not all(digest in values for runs in digests for digest in runs):
        return math.nan
    a, b = (np.array([-math.inf if values[d] is None else values[d] for d in runs]) for runs in digests)
    return float(np.median(differences(a, b)))


def _is(frame: pd.DataFrame, condition: Condition) -> pd.Series:
    key = pd.Series([condition.sensor, condition.level, condition.dataset], CONDITION)
    return (frame[CONDITION] == key).all(axis=1)
