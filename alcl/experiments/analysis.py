"""What the records say: one tidy table, paired statistics, costs. The verdicts are in `alcl.paper.claims`.

Pure functions from records (dicts, as `RecordStore.read` gives them) to tables. Nothing here trains or draws.

A *condition* is a data set at a noise level. All comparisons are paired: the runs of one seed share noise,
initialisation and batches, so their difference is the loss's doing.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from .datasets import DATASETS
from .levels import LEVELS
from .protocol import GCL_ALPHAS, GCL_BETAS, KEPT_LEVEL, MEASURES, PROFILES, TUNING_SEEDS, oracle
from .reconstruction import method_in, method_run

__all__ = [
    "CONDITION",
    "CONFIDENCE",
    "SEEDS",
    "TUNED_BY",
    "benchmark_frame",
    "bootstrap_interval",
    "complete_conditions",
    "differences",
    "fewest_seeds",
    "holm",
    "in_both_measures",
    "median_interval",
    "paired_differences",
    "repair_share",
    "sides",
    "signed_rank_p",
    "single_settings",
    "sort_records",
    "summary",
    "training_runs",
    "tuning_landscape",
    "tuning_records",
    "variance_ratio",
    "variance_ratio_interval",
    "variance_ratios",
]

CONFIDENCE = 0.95
RESAMPLES = 9999
#: The seeds of the full grid; a condition with fewer is incomplete.
SEEDS = PROFILES["paper"].seeds
#: What a run is judged by -> what GCL was tuned by. SSIM, which has no tuning of its own, takes PSNR's.
TUNED_BY = {"accuracy": "accuracy", "psnr": "psnr", "ssim": "psnr"}

#: The columns that name a condition.
CONDITION = ["dataset", "level"]
_COLUMNS = [*CONDITION, "method", "seed", "measure", "value", "seconds", "alpha", "beta", "digest"]

# --- from records to one table --------------------------------------------------------------------------------------


def sort_records(records: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Records by what they are for: "evaluation" (judged on test images), "validation" (judged on clean validation
    images: GCL's tuning, and other methods' runs beside it), both with the grid's training settings, and "other"
    (other settings, an older protocol, an unknown method). Of records with one digest the first counts; every other
    record is in exactly one list."""
    sorted_: dict[str, list[Mapping[str, Any]]] = {"evaluation": [], "validation": [], "other": []}
    for record in {record["digest"]: record for record in reversed(list(records))}.values():
        config = record["config"]
        kind = "other"
        try:
            method, judged_on = method_in(record), config["evaluate_on"]
            condition = (config["dataset"], config["level"], config["seed"])
            options = tuple(config["options"].items()) if method == "gcl" else ()
            if (
                method != "other"
                and condition[1] in LEVELS
                and _digest(method, *condition, judged_on, options) == record["digest"]
            ):
                kind = "evaluation" if judged_on == "test" else "validation"
        except (KeyError, TypeError, ValueError):
            pass  # a config of another time: not of this grid
        sorted_[kind].append(record)
    return {kind: found[::-1] for kind, found in sorted_.items()}  # in the order given


@functools.cache
def _digest(method: str, dataset: str, level: str, seed: int, evaluate_on: str, options: tuple) -> str:
    """The digest of a run with the grid's settings."""
    return method_run(method, dataset, level, seed, evaluate_on=evaluate_on, **dict(options)).digest


def tuning_records(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """GCL's tuning runs: the declared grid, the declared seeds, clean validation images."""
    grid = set(itertools.product(GCL_ALPHAS, GCL_BETAS, TUNING_SEEDS))
    found = []
    for record in sort_records(records)["validation"]:
        config = record["config"]
        options = config["options"]
        if method_in(record) == "gcl" and (options["alpha"], options["beta"], config["seed"]) in grid:
            found.append(record)
    return found


def benchmark_frame(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One row for every data set, level, method, seed and measure of the grid's evaluation runs.

    GCL's runs become two methods, each at the setting tuned *for that measure* (see `TUNED_BY`): "gcl", tuned in the
    condition itself, and "gcl_kept", tuned at `KEPT_LEVEL` and used everywhere. Where the tuning runs are not recorded,
    the rows are absent, and `complete_conditions` says so.

    Columns: dataset, level, method, seed, measure ("accuracy" in [0, 1], "psnr" in dB, "ssim"), value, seconds (of
    training), alpha and beta (GCL's setting, else NaN), digest. A measure that is not finite (a run that diverged)
    counts as -inf, the worst there is; it is not left out.
    """
    kinds = sort_records(records)
    rows, gcl = [], {}
    for record in kinds["evaluation"]:
        config = record["config"]
        method = method_in(record)
        if method == "gcl":
            setting = (config["options"]["alpha"], config["options"]["beta"])
            gcl.setdefault((config["dataset"], config["level"], *setting), []).append(record)
        else:
            rows += [_row(record, method, measure) for measure in TUNED_BY]
    tuned: dict[tuple[str, str, str], tuple[float, float] | None] = {}
    for dataset, level in dict.fromkeys(condition[:2] for condition in gcl):
        for (method, at), measure in itertools.product((("gcl", level), ("gcl_kept", KEPT_LEVEL)), TUNED_BY):
            key = (dataset, at, TUNED_BY[measure])
            if key not in tuned:
                tuned[key] = _tuned(kinds["validation"], *key)
            if tuned[key] is not None:
                rows += [
                    _row(record, method, measure, *tuned[key]) for record in gcl.get((dataset, level, *tuned[key]), [])
                ]
    return _sorted(pd.DataFrame(rows, columns=_COLUMNS))


def _row(
    record: Mapping[str, Any], method: str, measure: str, alpha: float = np.nan, beta: float = np.nan
) -> list[Any]:
    config, value = record["config"], record["metrics"].get(measure)
    value = -np.inf if value is None or not np.isfinite(value) else float(value)
    condition = [config["dataset"], config["level"], method, config["seed"], measure]
    return [*condition, value, record["seconds"]["fit"], alpha, beta, record["digest"]]


def _tuned(records: Sequence[Mapping[str, Any]], dataset: str, level: str, measure: str) -> tuple[float, float] | None:
    try:
        setting = oracle(records, dataset, level, measure)
    except LookupError:
        return None
    return setting["alpha"], setting["beta"]


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows in the order of data sets and levels everywhere used, other columns by their values."""
    orders = {"dataset": list(DATASETS), "level": list(LEVELS)}
    by = [name for name in (*CONDITION, "method", "measure", "seed") if name in frame]
    for name, order in orders.items():  # data sets of one's own come last
        orders[name] = order + sorted(set(frame[name]) - set(order)) if name in frame else order
    key = lambda column: column.map(orders[column.name].index) if column.name in orders else column  # noqa: E731
    return frame.sort_values(by, key=key, kind="stable", ignore_index=True)


def complete_conditions(
    frame: pd.DataFrame,
    datasets: Iterable[str],
    levels: Iterable[str],
    methods: Iterable[str],
    seeds: Iterable[int] = SEEDS,
    measure: str = "accuracy",
) -> pd.DataFrame:
    """One row for every condition asked for, recorded or not: dataset, level, complete (bool), and missing, which names
    each method that lacks seeds: "gcl: none; l1: 3 of 10 seeds"."""
    methods, seeds, rows = list(methods), set(seeds), []
    groups = frame[frame["measure"] == measure].groupby([*CONDITION, "method"])["seed"]
    there = {key: len(seeds & set(group)) for key, group in groups}
    for dataset, level in itertools.product(datasets, levels):
        counts = {method: there.get((dataset, level, method), 0) for method in methods}
        gaps = {method: n for method, n in counts.items() if n < len(seeds)}
        if set(gaps) == set(methods) and not any(gaps.values()):
            missing = "no records"
        else:
            missing = "; ".join(f"{m}: {f'{n} of {len(seeds)} seeds' if n else 'none'}" for m, n in gaps.items())
        rows.append([dataset, level, not gaps, missing])
    return pd.DataFrame(rows, columns=[*CONDITION, "complete", "missing"])


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Per condition, method and measure: seeds (number), median, quartiles q1 and q3, sd, diverged (number of runs)."""
    groups = frame.groupby([*CONDITION, "method", "measure"])["value"]
    table = groups.agg(
        seeds="count",
        median="median",
        q1=lambda v: _quantile(v, 0.25),
        q3=lambda v: _quantile(v, 0.75),
        sd=lambda v: _deviation(v),
        diverged=lambda v: int(np.isneginf(v).sum()),
    )
    return _sorted(table.reset_index())


def _quantile(values: Sequence[float], q: float) -> float:
    # Interpolating between -inf and a number would give NaN; a diverged run must not make a median vanish.
    with np.errstate(invalid="ignore"):
        value = float(np.quantile(values, q))
    return value if not math.isnan(value) else float(np.quantile(values, q, method="lower"))


def _deviation(values: Sequence[float]) -> float:
    values = np.asarray(values, dtype=float)
    return float(values.std(ddof=1)) if len(values) > 1 and np.isfinite(values).all() else math.nan


# --- statistics -----------------------------------------------------------------------------------------------------


def bootstrap_interval(
    values: np.ndarray,
    confidence: float = CONFIDENCE,
    statistic: Callable[[np.ndarray], np.ndarray] | None = None,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval (Efron & Tibshirani 1993, chapter 13); deterministic for a seed.

    values: shape (n, ...); the n rows (seeds) are resampled together. statistic: maps an array (B, n, ...) of resamples
    to (B,); default: the median over n. Resamples for which it is NaN are dropped. Returns (low, high), or (NaN, NaN)
    for n < 2. For few seeds the interval of a median cannot be wider than [min, max], which covers with probability
    1 - 2^(1-n): compare `fewest_seeds`.
    """
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n < 2:
        return math.nan, math.nan
    statistic = statistic or (lambda resamples: np.median(resamples, axis=1))
    chosen = np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))
    with np.errstate(all="ignore"):
        found = np.asarray(statistic(values[chosen]))
    found = np.sort(found[~np.isnan(found)])
    if not len(found):
        return math.nan, math.nan
    # The k-th smallest and k-th largest with k = (B + 1)(1 - confidence)/2: no interpolation, which -inf would spoil.
    k = max(1, int((len(found) + 1) * (1 - confidence) / 2))
    return float(found[k - 1]), float(found[-k])


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Exact, distribution-free interval of a median: two order statistics (the inverted sign test, scipy's
    `quantile_test`). Covers with at least this confidence, which the percentile bootstrap does not when the confidence
    is high and the seeds are few. (-inf, inf) below `fewest_seeds`."""
    if len(values) < fewest_seeds(1, confidence):
        return -math.inf, math.inf
    interval = stats.quantile_test(np.asarray(values, dtype=float), p=0.5).confidence_interval(confidence)
    return float(interval.low), float(interval.high)


def fewest_seeds(comparisons: int = 1, confidence: float = CONFIDENCE) -> int:
    """The least n at which n differences can say anything at this confidence, over `comparisons` at once (Bonferroni):
    2^(1-n) <= (1 - confidence)/comparisons. It is the p-value of n differences of one sign in a two-sided sign test or
    signed-rank test, and the probability that a median lies outside [min, max]. fewest_seeds() = 6."""
    if comparisons < 1 or not 0 < confidence < 1:
        raise ValueError(f"comparisons must be >= 1 and confidence in (0, 1); got {comparisons} and {confidence}")
    return 1 + math.ceil(math.log2(comparisons / (1 - confidence)) - 1e-9)


def signed_rank_p(differences: Sequence[float]) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test. Zeros are dropped, ties get mean ranks; exact, over all 2^n
    signs, up to n = 12 also with ties (where tables do not hold), scipy's above. 1 if all differences are zero."""
    d = np.asarray(differences, dtype=float)
    d = d[d != 0]
    if not len(d):
        return 1.0
    if len(d) > 12:
        return float(stats.wilcoxon(d).pvalue)
    ranks = stats.rankdata(np.abs(d))
    sums = np.array(list(itertools.product((-1, 1), repeat=len(d)))) @ ranks
    return float(np.mean(np.abs(sums) >= abs(np.sign(d) @ ranks) - 1e-9))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """P-values adjusted for their number by Holm's step-down method (1979); NaN stays and is not counted."""
    p = np.asarray(p_values, dtype=float)
    adjusted = np.full(len(p), np.nan)
    order = [i for i in np.argsort(p, kind="stable") if not math.isnan(p[i])]
    if order:
        steps = np.arange(len(order), 0, -1) * p[order]
        adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def _pairs(frame: pd.DataFrame, a: str, b: str, measure: str) -> pd.DataFrame:
    """Values of two methods at the seeds that both have: index (dataset, level, seed), columns "a" and "b"."""
    table = frame[frame["measure"] == measure].set_index([*CONDITION, "seed"])
    columns = {name: table.loc[table["method"] == method, "value"] for name, method in (("a", a), ("b", b))}
    return pd.DataFrame(columns).dropna().sort_index()


def differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a - b, elementwise; 0 where both are the same infinity (two runs that diverged)."""
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0.0, np.asarray(a) - np.asarray(b))


def _by_condition(pairs: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    keys = _sorted(pairs.reset_index()[CONDITION].drop_duplicates())
    return [((d, level), pairs.loc[(d, level)]) for d, level in keys.itertuples(index=False)]


def paired_differences(
    frame: pd.DataFrame, a: str, b: str, measure: str, confidence: float = CONFIDENCE
) -> pd.DataFrame:
    """Per condition, method `a` minus method `b` over the seeds that both have.

    Columns: dataset, level, seeds, median_a, median_b, difference (median of the paired differences), low and high (its
    bootstrap interval), ahead, behind, tied (seeds), p (Wilcoxon signed-rank), p_holm (adjusted over the conditions of
    this table), note. The note says where the seeds are too few for the adjusted p-value ever to fall to 1 -
    confidence. Conditions without a pair are absent: `complete_conditions` names them.
    """
    rows = []
    for condition, pair in _by_condition(_pairs(frame, a, b, measure)):
        d = differences(pair["a"].to_numpy(), pair["b"].to_numpy())
        low, high = bootstrap_interval(d, confidence)
        counts = [int((d > 0).sum()), int((d < 0).sum()), int((d == 0).sum())]
        medians = [pair["a"].median(), pair["b"].median(), float(np.median(d))]
        rows.append([*condition, len(d), *medians, low, high, *counts, signed_rank_p(d)])
    names = ["seeds", "median_a", "median_b", "difference", "low", "high", "ahead", "behind", "tied", "p"]
    table = pd.DataFrame(rows, columns=[*CONDITION, *names])
    table["p_holm"] = holm(table["p"])
    needed = fewest_seeds(max(len(table), 1), confidence)
    table["note"] = [f"needs {needed} seeds to be significant" if n < needed else "" for n in table["seeds"]]
    return table


def sides(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """How many rows of a table of differences have their whole interval above zero, and how many below, for each group.

    table: with columns low and high, the ends of the intervals (NaN: no interval, so not resolved), and those of `by`.
    Returns one row a group, in the table's order, with columns conditions, ahead, unresolved, behind; index `by`.
    """
    counted = table.assign(conditions=1, ahead=table["low"] > 0, behind=table["high"] < 0)
    counted = counted.groupby(list(by), sort=False)[["conditions", "ahead", "behind"]].sum()
    counted.insert(2, "unresolved", counted["conditions"] - counted["ahead"] - counted["behind"])
    return counted


def variance_ratio(samples: np.ndarray) -> np.ndarray:
    """Geometric mean over conditions of the ratio of variances; samples (..., n, conditions, 2) to (...)."""
    with np.errstate(all="ignore"):
        variances = samples.var(axis=-3, ddof=1)
        return np.exp(np.mean(np.log(variances[..., 0] / variances[..., 1]), axis=-1))


def variance_ratio_interval(samples: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Jackknife interval of the geometric mean over conditions of var(a)/var(b) (Miller, Ann. Math. Stat. 39(2), 1968).

    samples: shape (n, conditions, 2), finite; a seed's row is left out as a whole. With ten seeds it covers as it
    should, where the percentile bootstrap of a variance ratio covers 90 % instead of 95 %. (NaN, NaN) for n < 3 or
    where a method does not vary.
    """
    samples = np.asarray(samples, dtype=float)
    n = len(samples)
    if n < 3:
        return math.nan, math.nan
    with np.errstate(all="ignore"):
        whole = np.log(variance_ratio(samples))
        without = np.log(variance_ratio(np.stack([np.delete(samples, i, axis=0) for i in range(n)])))
        pseudo = n * whole - (n - 1) * without
        half = stats.t.ppf(0.5 + confidence / 2, n - 1) * pseudo.std(ddof=1) / math.sqrt(n)
        low, high = np.exp(pseudo.mean() - half), np.exp(pseudo.mean() + half)
    return (float(low), float(high)) if np.isfinite(pseudo).all() else (math.nan, math.nan)


def variance_ratios(frame: pd.DataFrame, a: str, b: str, measure: str, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Per condition, the variance over seeds of method `a` divided by that of method `b`.

    Columns: dataset, level, seeds, sd_a, sd_b, ratio, low and high (`variance_ratio_interval`), p (Pitman 1939 and
    Morgan 1939: sum and difference of a pair are uncorrelated iff the variances are equal; assumes normality) and
    p_holm. Conditions with fewer than 3 pairs, or with a diverged run, have NaN.
    """
    rows = []
    for condition, pair in _by_condition(_pairs(frame, a, b, measure)):
        x = pair[["a", "b"]].to_numpy()
        row = [*condition, len(x), _deviation(x[:, 0]), _deviation(x[:, 1]), *[math.nan] * 4]
        if len(x) >= 3 and np.isfinite(x).all():
            row[5:8] = float(variance_ratio(x[:, None])), *variance_ratio_interval(x[:, None], confidence)
            if np.ptp(x, axis=0).all():
                row[8] = stats.pearsonr(x.sum(axis=1), x[:, 0] - x[:, 1]).pvalue
        rows.append(row)
    table = pd.DataFrame(rows, columns=[*CONDITION, "seeds", "sd_a", "sd_b", "ratio", "low", "high", "p"])
    table["p_holm"] = holm(table["p"])
    return table


def repair_share(frame: pd.DataFrame, method: str, measure: str, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """How much of the damage that noise does to MSE a method repairs, per condition:

        share = (median(method) - median(MSE)) / (median(MSE on clean targets) - median(MSE)).

    1: as good as training on clean targets; 0: as bad as MSE. Columns: dataset, level, seeds, damage (the denominator),
    share, low, high. NaN where the damage is not positive; where it is small, the interval says how little is known.
    """

    def share(x: np.ndarray) -> np.ndarray:  # (..., n, 3) -> (...)
        ours, mse, clean = np.moveaxis(np.median(x, axis=-2), -1, 0)
        return np.where(clean > mse, (ours - mse) / np.where(clean > mse, clean - mse, 1.0), np.nan)

    rows = []
    both = _pairs(frame, method, "mse", measure).rename(columns={"a": "ours", "b": "mse"})
    clean = _pairs(frame, "clean", "mse", measure)["a"].rename("clean")
    for condition, group in _by_condition(both.join(clean, how="inner")):
        x = group.to_numpy()
        damage = float(np.median(x[:, 2]) - np.median(x[:, 1]))
        rows.append([*condition, len(x), damage, float(share(x)), *bootstrap_interval(x, confidence, share)])
    return pd.DataFrame(rows, columns=[*CONDITION, "seeds", "damage", "share", "low", "high"])


def training_runs(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """What one trained network at every recorded level costs, tuning included, per data set and method.

    Columns: dataset, method, levels (how many), tuning (runs), runs (tuning + one a level), seconds_per_run (median
    over evaluation runs), seconds (of all tuning runs, and of one median run a level). GCL is the one tuned for
    accuracy; the methods that are never tuned need one run a level. Seconds are of training, one thread, on the machine
    of the records.
    """
    records = list(records)
    tuning: dict[tuple[str, str], list[float]] = {}
    for record in tuning_records(records):
        condition = (record["config"]["dataset"], record["config"]["level"])
        tuning.setdefault(condition, []).append(record["seconds"]["fit"])
    frame = benchmark_frame(records)
    rows = []
    for (dataset, method), group in frame[frame["measure"] == "accuracy"].groupby(["dataset", "method"]):
        levels = [level for level in LEVELS if level in set(group["level"])]
        tuned_at = {"gcl": levels, "gcl_kept": [KEPT_LEVEL]}.get(method, [])
        spent = [second for at in tuned_at for second in tuning.get((dataset, at), [])]
        per_run = group["seconds"].median()
        total = sum(spent) + group.groupby("level")["seconds"].median().sum()
        rows.append([dataset, method, len(levels), len(spent), len(spent) + len(levels), per_run, total])
    names = ["dataset", "method", "levels", "tuning", "runs", "seconds_per_run", "seconds"]
    return _sorted(pd.DataFrame(rows, columns=names))


def tuning_landscape(records: Iterable[Mapping[str, Any]], dataset: str, level: str, measure: str) -> pd.DataFrame:
    """GCL's tuning runs in a condition: the measure on clean validation images, mean over tuning seeds. Index: alpha,
    columns: beta; NaN where a setting is not recorded or has diverged; empty if nothing is."""
    rows = [
        (*(record["config"]["options"][name] for name in ("alpha", "beta")), record["metrics"].get(measure))
        for record in tuning_records(records)
        if (record["config"]["dataset"], record["config"]["level"]) == (dataset, level)
    ]
    table = pd.DataFrame(rows, columns=["alpha", "beta", "value"]).astype(float)
    return table.pivot_table(index="alpha", columns="beta", values="value", aggfunc="mean")


def single_settings(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """GCL as a user has it, one setting for all measures, minus ALCL: differences of medians over all seeds.

    In every condition GCL's setting is the oracle's, for accuracy and then for PSNR, and both settings are judged in
    both measures. Conditions where runs or tuning runs are missing are absent.

    Columns: dataset, level, tuned_by ("accuracy" or "psnr"), accuracy (a share, not points), psnr (dB).
    """
    kinds = sort_records(records)
    known = {record["digest"]: record["metrics"] for record in kinds["evaluation"]}
    conditions = dict.fromkeys((r["config"]["dataset"], r["config"]["level"]) for r in kinds["evaluation"])

    def medians(condition: tuple[str, str], method: str, options: tuple = ()) -> np.ndarray | None:
        runs = [known.get(_digest(method, *condition, seed, "test", options)) for seed in SEEDS]
        if None in runs:
            return None
        return np.median([[-math.inf if run[m] is None else run[m] for m in MEASURES] for run in runs], axis=0)

    rows = []
    for condition, measure in itertools.product(conditions, MEASURES):
        setting = _tuned(kinds["validation"], *condition, measure)
        ours = medians(condition, "alcl")
        theirs = (
            None if setting is None else medians(condition, "gcl", tuple(zip(("alpha", "beta"), setting, strict=True)))
        )
        if ours is not None and theirs is not None:
            rows.append([*condition, measure, *(theirs - ours)])
    return _sorted(pd.DataFrame(rows, columns=[*CONDITION, "tuned_by", *MEASURES]))


def in_both_measures(single: pd.DataFrame) -> tuple[int, int]:
    """In how many rows of `single_settings` GCL is ahead of ALCL in both measures, and in how many behind in both."""
    sides = np.sign(single[list(MEASURES)].to_numpy(dtype=float)).sum(axis=1)
    return int((sides == len(MEASURES)).sum()), int((sides == -len(MEASURES)).sum())
