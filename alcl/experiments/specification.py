"""The specification curve: what the multiverse's records say under every reading at once, and a joint test.

Simonsohn, Simmons and Nelson, "Specification curve analysis", Nature Human Behaviour 4 (2020). Everything below was
declared when one of the 32 conditions of the curve was nearly run (mnist, clipped, high) and none of it was analysed.

Specifications
    Sensor x level x data set x rule for GCL x reading x statistic, as `multiverse.declared` has them: 4 sensors, 2
    levels, 4 sets, 5 readings (accuracies); points or relative; against MSE, against GCL by each rule, against the
    better of both. Against MSE there is no rule: such a specification stands once. PSNR and SSIM stand in the table
    beside them and not on the curve, as they are no accuracies.
Complete or missing
    A specification counts when *all* declared seeds of ALCL and its rivals are recorded, and the tuning that decides
    the rival's setting. Before that it is missing, says what it lacks, and has no estimate: a curve of part of the
    seeds could be looked at until it pleases.
Estimate
    The median over seeds of the paired difference, ALCL minus its rival (`analysis.paired_differences`, as in the
    ledger): the abstract speaks of medians. Points: 100 (a - r). Relative: 100 (a - r) / r, per cent, seed by seed. A
    run that diverged is the worst there is. The better of both is that of MSE and GCL whose median is higher; choosing
    by the same runs is against ALCL, by about half a standard error where both are equally good.
Interval
    Two order statistics of the differences: exact for a median, whatever the distribution. Ten seeds: the second
    smallest and largest, 97.9 %; five: the extremes, 93.75 %, the most that five can give. A specification is *ahead*
    (*behind*) when its interval lies above (below) zero. The joint interval holds at 95 % for the whole family of what
    one choice of sensor, level, rule, unit and rival says: 4 sets x (5 readings and PSNR) = 24 comparisons
    (Bonferroni). Ten seeds are just enough for it, [smallest, largest]; fewer have none.
Joint test
    Specifications share runs, noise and images, so their number says nothing by itself. If ALCL and its rival were the
    same, exchanging the two in all runs of one seed would change no distribution. All exchanges, in every set of seeds
    (2^10 = 1,024, exact; above `EXACT_SEEDS` seeds a fixed random sample of `RESAMPLES`), are applied to *all
    specifications together*, as noise of one seed is shared across data sets, levels and sensors too. Statistics of a
    group: the share with the abstract's sign (estimate above 0), the median estimate, how many are ahead and how many
    behind. p_ahead is the share of exchanges with at least the value that was observed, p_behind with at most that; the
    one for `behind` is read the other way. Groups are by unit and rival, since exchanging ALCL with one of them is a
    hypothesis about that one; with several rules of GCL in a group it is joint symmetry of the differences.
    (scipy's permutation_test exchanges one pair of samples; the tests use it as the oracle of this one.)

>>> from alcl.experiments.specification import observations, specifications
>>> specs = specifications(observations([]))  # no records yet
>>> len(specs.table), int(specs.table["complete"].sum())
(7488, 0)
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from .analysis import CONFIDENCE, differences, fewest_seeds
from .configs import one_of
from .datasets import DATASETS
from .multiverse import FEW, LEVELS, RULES, SEEDS, SETS, Condition, Setting, declared, multiverse_store, setting_of
from .readings import READINGS

__all__ = [
    "AXES",
    "MEASURES",
    "NO_RULE",
    "OWN_ORACLE",
    "Specifications",
    "coverage",
    "declared_seeds",
    "exchanged",
    "exchanges",
    "interval_rank",
    "joint_tests",
    "measured",
    "observations",
    "read_records",
    "specifications",
]

CONDITION = ["sensor", "level", "dataset"]
AXES = [*CONDITION, "rule", "reading", "unit", "against"]
#: Of the table: the accuracies, which are the curve, then what stands beside it.
MEASURES = (*READINGS, "psnr", "ssim")
AGAINST = ("mse", "gcl", "better of both")
NO_RULE = "none"
#: Readings have two units, the others one: measure -> {unit: factor, or None for per cent of the rival's value}.
UNITS: dict[str, dict[str, float | None]] = {
    **{reading: {"points": 100.0, "relative": None} for reading in READINGS},
    "psnr": {"dB": 1.0},
    "ssim": {"SSIM": 1.0},
}
#: The rule that "optimally tuned" means for a measure: the oracle that is judged by it (or by the mean of codes).
OWN_ORACLE = {
    **dict.fromkeys(READINGS, "oracle_codes"),
    **{measure: f"oracle_{measure}" for measure in ("restored", "psnr", "ssim")},
}
#: Comparisons that a joint interval holds for: all sets, all readings, and PSNR.
FAMILY = len(SETS) * (len(READINGS) + 1)
EXACT_SEEDS, RESAMPLES = 12, 9999
STATISTICS = ("share positive", "median", "ahead", "behind")

# --- from records to observations -----------------------------------------------------------------------------------


def read_records(folder: str | Path) -> dict[str, list[dict[str, Any]]]:
    """{study: records} of the multiverse's stores in `folder`; data sets that have none yet are left out."""
    found = {f"multiverse_{name}": multiverse_store(folder, name).read() for name in SETS}
    return {study: records for study, records in found.items() if records}


def declared_seeds() -> dict[Condition, dict[str, tuple[int, ...]]]:
    """{condition: {method: seeds}} of all declared evaluation runs at the usual length of training.

    Methods are names of `reconstruction.METHODS`; GCL by a rule is "gcl:<rule>", the public default "gcl:public".
    """
    found: dict[Condition, dict[str, set[int]]] = {}
    for step in declared():
        if step.kind != "evaluation" or step.epochs is not None:
            continue
        methods = found.setdefault(step.condition, {})
        for method in (*step.methods, *(f"gcl:{rule}" for rule in step.rules)):
            methods.setdefault("gcl:public" if method == "gcl_public" else method, set()).update(step.seeds)
        for method in step.few:
            methods.setdefault(method, set()).update({*step.seeds} & {*FEW})
    return {
        condition: {m: tuple(sorted(seeds)) for m, seeds in methods.items()} for condition, methods in found.items()
    }


def observations(records: Iterable[Mapping[str, Any]], conditions: Iterable[Condition] | None = None) -> pd.DataFrame:
    """One row for every declared condition, method, seed and measure, recorded or not.

    conditions: only these; None for all that are declared. Columns: sensor, level, dataset, method (`declared_seeds`),
    seed, measure (of `MEASURES`), value (accuracies in [0, 1], PSNR in dB; -inf for a run that diverged, NaN for one
    that is not there), digest ("" while tuning decides), missing ("", "run", or "tuning").
    """
    metrics: dict[str, Mapping[str, Any]] = {}
    by_set: dict[str, list[Mapping[str, Any]]] = {name: [] for name in SETS}
    for record in records:
        metrics[record["digest"]] = record["metrics"]
        by_set.setdefault(record["config"]["dataset"], []).append(record)
    everything = declared_seeds()
    rows = []
    for condition in everything if conditions is None else conditions:
        for method, seeds in everything[condition].items():
            setting, undecided = None, False
            if method.startswith("gcl:"):
                try:
                    setting = setting_of(method.removeprefix("gcl:"), by_set[condition.dataset], condition)
                except LookupError:
                    undecided = True
            for seed in seeds:
                digest = "" if undecided else _digest(condition, method, setting, seed)
                found = metrics.get(digest)
                missing = "tuning" if undecided else "run" if found is None else ""
                key = (condition.sensor, condition.level, condition.dataset, method, seed)
                rows += [(*key, measure, measured(found, measure), digest, missing) for measure in MEASURES]
    return pd.DataFrame(rows, columns=[*CONDITION, "method", "seed", "measure", "value", "digest", "missing"])


@functools.cache
def _digest(condition: Condition, method: str, setting: Setting | None, seed: int) -> str:
    return (condition.run(method, seed) if setting is None else condition.gcl(setting, seed)).digest


def measured(metrics: Mapping[str, float | None] | None, measure: str) -> float:
    """A measure of a run: NaN if the run is not there, -inf if the measure is not finite."""
    if metrics is None:
        return math.nan
    value = metrics.get(measure)
    return -math.inf if value is None or not math.isfinite(value) else float(value)


def coverage(observed: pd.DataFrame) -> pd.DataFrame:
    """How far the evaluation runs are: one row for each sensor and level of `observed`.

    Columns: sensor, level, methods_done and methods (a method in one data set counts once, and is done with all its
    seeds; GCL counts once for every rule), runs_done and runs (networks, known so far; a network that several rules
    choose counts once), untuned (methods whose setting is not decided).
    """
    one = observed[observed["measure"] == MEASURES[0]]
    per = one.groupby([*CONDITION, "method"], sort=False)["missing"].agg(done=lambda m: (m == "").all(), why="first")
    rows = []
    for (sensor, level), part in per.groupby(["sensor", "level"], sort=False):
        runs = one[(one["sensor"] == sensor) & (one["level"] == level) & (one["digest"] != "")]
        runs = runs.drop_duplicates("digest")
        untuned = int((part["why"] == "tuning").sum())
        done = [int(part["done"].sum()), len(part), int((runs["missing"] == "").sum()), len(runs)]
        rows.append([sensor, level, *done, untuned])
    return pd.DataFrame(rows, columns=[*CONDITION[:2], "methods_done", "methods", "runs_done", "runs", "untuned"])


# --- specifications -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Specifications:
    """All declared specifications.

    table: a row each; columns `AXES`, colour ("gray" or "rgb"), rival (the method that ALCL is compared with, "" while
    missing), seeds (declared), complete, missing (what it lacks, in words), estimate, low, high, confidence (of low and
    high), low_all and high_all (joint interval), digests (of its runs, sorted, once complete). pairs: shape (rows,
    len(SEEDS), 2), what every seed gives, and what it gives with the two methods exchanged; NaN where there is none.
    """

    table: pd.DataFrame
    pairs: np.ndarray

    def on_curve(self) -> np.ndarray:
        """Which rows are on the curve now: accuracies, complete."""
        return (self.table["complete"] & self.table["reading"].isin(READINGS)).to_numpy()


def specifications(observed: pd.DataFrame) -> Specifications:
    """Every specification that `observed` (see `observations`) declares, with estimate and intervals where complete."""
    observed = observed[observed["level"].isin(LEVELS)]
    rows, pairs = [], []
    for condition, part in observed.groupby(CONDITION, sort=False):
        values, lacking, runs = _by_method(part)
        rules = [method.removeprefix("gcl:") for method, m in values if method.startswith("gcl:") and m == MEASURES[0]]
        rules = [rule for rule in RULES if rule in rules]
        for measure, against in itertools.product(MEASURES, AGAINST):
            for rule in [NO_RULE] if against == "mse" else rules:
                rivals = {"mse": ["mse"], "gcl": [f"gcl:{rule}"]}.get(against, ["mse", f"gcl:{rule}"])
                several = [values[method, measure] for method in ("alcl", *rivals)]
                seeds = np.logical_and.reduce([there for _, there in several])
                gaps = "; ".join(lacking[m] for m in ("alcl", *rivals) if lacking[m])
                ours, *theirs = (np.where(seeds, value, np.nan) for value, _ in several)
                best = len(theirs) - 1  # of equals GCL, as in the ledger
                if best and not gaps and np.median(theirs[0][seeds]) > np.median(theirs[1][seeds]):
                    best = 0
                used = "" if gaps else " ".join(sorted({d for m in ("alcl", *rivals) for d in runs[m]}))
                for unit, factor in UNITS[measure].items():
                    key = [*condition, rule, measure, unit, against, "" if gaps else rivals[best], int(seeds.sum())]
                    rows.append([*key, not gaps, gaps, used])
                    pairs.append(_statistic(ours, theirs[best], factor, bool(gaps)))
    table = pd.DataFrame(rows, columns=[*AXES, "rival", "seeds", "complete", "missing", "digests"])
    channels = {name: "rgb" if len(DATASETS[name].image_shape) == 3 else "gray" for name in set(table["dataset"])}
    table.insert(len(AXES), "colour", table["dataset"].map(channels))
    stacked = np.array(pairs) if pairs else np.empty((0, len(SEEDS), 2))
    return Specifications(table.join(_estimates(stacked, table)), stacked)


def _by_method(part: pd.DataFrame) -> tuple[dict, dict[str, str], dict[str, list[str]]]:
    """Of one condition: {(method, measure): (values, declared), each over SEEDS}; {method: what it lacks}; digests."""
    values = {}
    for (method, measure), group in part.groupby(["method", "measure"], sort=False):
        value, there = np.full(len(SEEDS), np.nan), np.zeros(len(SEEDS), dtype=bool)
        places = [SEEDS.index(seed) for seed in group["seed"]]
        value[places], there[places] = group["value"], True
        values[method, measure] = (value, there)
    lacking, runs = {}, {}
    for method, group in part[part["measure"] == MEASURES[0]].groupby("method", sort=False):
        done = int((group["missing"] == "").sum())
        text = "" if done == len(group) else f"{method}: {done} of {len(group)} seeds"
        lacking[method] = f"{method}: not tuned" if (group["missing"] == "tuning").any() else text
        runs[method] = list(group["digest"])
    return values, lacking, runs


def _statistic(ours: np.ndarray, theirs: np.ndarray, factor: float | None, missing: bool) -> np.ndarray:
    """Shape (seeds, 2): the statistic of every seed, and with the two methods exchanged."""
    if missing:
        return np.full((len(ours), 2), np.nan)
    return np.stack([_gain(ours, theirs, factor), _gain(theirs, ours, factor)], axis=-1)


def _gain(a: np.ndarray, r: np.ndarray, factor: float | None) -> np.ndarray:
    d = differences(a, r)
    if factor is not None:
        return factor * d
    with np.errstate(all="ignore"):
        share = np.where(np.isneginf(r), d, 100 * d / np.abs(r))  # ahead of a run that diverged: +inf
    return np.where(d == 0, 0.0, share)


def interval_rank(seeds: int, confidence: float = CONFIDENCE) -> tuple[int, float]:
    """(k, coverage): the interval from the k-th smallest to the k-th largest (from 0) of so many values is exact for
    their median. k is as large as `confidence` allows; if even 0 is too large, it is 0, and the coverage says so.

    >>> interval_rank(10), interval_rank(5)
    ((1, 0.978515625), (0, 0.9375))
    """
    k = max(0, int(stats.binom.ppf((1 - confidence) / 2, seeds, 0.5)) - 1)
    return k, float(1 - 2 * stats.binom.cdf(k, seeds, 0.5))


def _summaries(values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Median, k-th smallest and k-th largest over the last axis; the lower middle where its two have no mean."""
    ordered = np.sort(values, axis=-1)
    n = ordered.shape[-1]
    below, above = ordered[..., (n - 1) // 2], ordered[..., n // 2]
    with np.errstate(invalid="ignore"):
        middle = np.where(below == above, below, (below + above) / 2)
    return np.where(np.isnan(middle), below, middle), ordered[..., k], ordered[..., n - 1 - k]


def _estimates(pairs: np.ndarray, table: pd.DataFrame) -> pd.DataFrame:
    found = pd.DataFrame(index=table.index, columns=["estimate", "low", "high", "confidence", "low_all", "high_all"])
    found = found.astype(float)
    for places, seeds in _alike(pairs):
        values, n = pairs[places][:, seeds, 0], int(seeds.sum())
        k, confidence = interval_rank(n)
        estimate, low, high = _summaries(values, k)
        enough = n >= fewest_seeds(FAMILY)
        ends = (values.min(axis=1), values.max(axis=1)) if enough else (-np.inf, np.inf)
        for name, column in zip(found, (estimate, low, high, confidence, *ends), strict=True):
            found.loc[found.index[places], name] = column
    return found


def _alike(pairs: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows with the same seeds: (which rows, which seeds); rows without any are left out."""
    there = ~np.isnan(pairs[..., 0])
    kinds, kind = np.unique(there, axis=0, return_inverse=True)
    return [(np.flatnonzero(kind.ravel() == i), seeds) for i, seeds in enumerate(kinds) if seeds.any()]


# --- the joint test -------------------------------------------------------------------------------------------------


def exchanges(seeds: int, seed: int = 0) -> np.ndarray:
    """Which seeds have ALCL and its rival exchanged: boolean, shape (B, seeds), the first row none.

    All 2^seeds up to `EXACT_SEEDS`; above, none and `RESAMPLES` random ones, always the same for a `seed`.
    """
    if seeds <= EXACT_SEEDS:
        return np.array(list(itertools.product((False, True), repeat=seeds)), dtype=bool).reshape(2**seeds, seeds)
    drawn = np.random.default_rng(seed).random((RESAMPLES, seeds)) < 0.5
    return np.concatenate([np.zeros((1, seeds), dtype=bool), drawn])


def exchanged(pairs: np.ndarray, how: np.ndarray, size: int = 4_000_000) -> dict[str, np.ndarray]:
    """What every specification would be under every exchange of `how` (`exchanges`), shape (B, seeds).

    pairs: shape (rows, seeds, 2), as in `Specifications`, complete rows. size: how many values are in memory at once.
    Returns {"estimate", "ahead", "behind"}, each of shape (B, rows); the latter two boolean.
    """
    shape = (len(how), len(pairs))
    found = {"estimate": np.empty(shape), "ahead": np.empty(shape, bool), "behind": np.empty(shape, bool)}
    for places, seeds in _alike(pairs):
        patterns, which = np.unique(how[:, seeds], axis=0, return_inverse=True)
        k, _ = interval_rank(int(seeds.sum()))
        step = max(1, size // patterns.size)
        for some in (places[i : i + step] for i in range(0, len(places), step)):
            as_is, other = (pairs[some][:, None, seeds, i] for i in (0, 1))
            estimate, low, high = _summaries(np.where(patterns, other, as_is), k)  # (rows, patterns)
            for name, value in (("estimate", estimate), ("ahead", low > 0), ("behind", high < 0)):
                found[name][:, some] = value.T[which.ravel()]
    return found


def joint_tests(
    specs: Specifications, groups: Sequence[Sequence[str]] = (("unit", "against"),), null_seed: int = 0
) -> pd.DataFrame:
    """The curve's statistics with their distribution under exchanges, for groups of complete specifications.

    groups: lists of columns of `AXES` (or colour); each makes a group of every combination of their values. The first
    is the declared test; finer ones show where it comes from and are not adjusted for their number. null_seed: see
    `exchanges`. Raises ValueError for another column.

    Columns: group (in words), specifications, distinct (rules of GCL that chose the same networks say one thing),
    statistic (of `STATISTICS`), observed, null_low and null_high (2.5 and 97.5 % quantiles under exchange), p_ahead,
    p_behind (of "behind": that ALCL is behind at least as often).
    """
    for column in {column for group in groups for column in group}:
        one_of("groups", column, [*AXES, "colour"])
    kept = specs.on_curve()
    table = specs.table[kept].reset_index(drop=True)
    rows: list[list[Any]] = []
    if len(table):
        null = exchanged(specs.pairs[kept], exchanges(len(SEEDS), null_seed))
        for by in groups:
            for key, places in table.groupby(list(by), sort=False).indices.items():
                words = ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)
                distinct = len(np.unique(specs.pairs[kept][places], axis=0, equal_nan=True))
                rows += [[words, len(places), distinct, *line] for line in _tested(null, places)]
    names = ["observed", "null_low", "null_high", "p_ahead", "p_behind"]
    return pd.DataFrame(rows, columns=["group", "specifications", "distinct", "statistic", *names])


def _tested(null: Mapping[str, np.ndarray], places: np.ndarray) -> list[list[Any]]:
    estimates = null["estimate"][:, places]
    found = {
        "share positive": (estimates > 0).mean(axis=1),
        "median": _summaries(estimates, 0)[0],
        "ahead": null["ahead"][:, places].sum(axis=1).astype(float),
        "behind": null["behind"][:, places].sum(axis=1).astype(float),
    }
    lines = []
    for name in STATISTICS:
        value, near = found[name], 1e-9
        low, high = np.quantile(value, [0.025, 0.975], method="inverted_cdf")
        at_least, at_most = (float(np.mean(sign * value >= sign * value[0] - near)) for sign in (1, -1))
        ahead, behind = (at_most, at_least) if name == "behind" else (at_least, at_most)
        lines.append([name, float(value[0]), float(low), float(high), ahead, behind])
    return lines
