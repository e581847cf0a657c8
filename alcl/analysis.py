"""What the records say: one tidy table, paired statistics, costs, and a verdict on every claim of the abstract.

Pure functions from records (dicts, as `RecordStore.read` gives them) to tables. Nothing here trains or draws, and no
verdict is typed: `claims_ledger` computes them by rules that were fixed before the grid was run.

A *cell* is a data set at a noise level. All comparisons are paired: the runs of one seed share noise, initialisation
and batches, so their difference is the loss's doing.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from .datasets import DATASETS
from .experiments import (
    BENCHMARK,
    EMBEDDED,
    GCL_ALPHAS,
    GCL_BETAS,
    KEPT_LEVEL,
    MEASURES,
    PROFILES,
    TUNING_SEEDS,
    method_of,
    method_run,
    oracle,
)
from .noise import LEVELS
from .theorems import find_theorems

__all__ = [
    "benchmark_frame",
    "bootstrap_interval",
    "claims_ledger",
    "complete_cells",
    "fewest_seeds",
    "holm",
    "in_both_measures",
    "ledger_markdown",
    "load_claims",
    "median_interval",
    "paired_differences",
    "repair_share",
    "signed_rank_p",
    "single_settings",
    "sort_records",
    "summary",
    "theorem_index",
    "training_runs",
    "tuning_landscape",
    "variance_ratio_interval",
    "variance_ratios",
]

CONFIDENCE = 0.95
RESAMPLES = 9999
#: The seeds of the full grid; a cell with fewer is incomplete.
SEEDS = PROFILES["paper"].seeds
#: What a run is judged by -> what GCL was tuned by. SSIM, which has no tuning of its own, takes PSNR's.
TUNED_BY = {"accuracy": "accuracy", "psnr": "psnr", "ssim": "psnr"}

_CELL = ["dataset", "level"]
_COLUMNS = [*_CELL, "method", "seed", "measure", "value", "seconds", "alpha", "beta", "digest"]

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
            method, judged_on = method_of(config), config["evaluate_on"]
            cell = (config["dataset"], config["level"], config["seed"])
            options = tuple(config["options"].items()) if method == "gcl" else ()
            if (
                method != "other"
                and cell[1] in LEVELS
                and _digest(method, *cell, judged_on, options) == record["digest"]
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


def _tuning_records(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """GCL's tuning runs: the declared grid, the declared seeds, clean validation images."""
    grid = set(itertools.product(GCL_ALPHAS, GCL_BETAS, TUNING_SEEDS))
    found = []
    for record in sort_records(records)["validation"]:
        config = record["config"]
        options = config["options"]
        if method_of(config) == "gcl" and (options["alpha"], options["beta"], config["seed"]) in grid:
            found.append(record)
    return found


def benchmark_frame(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One row for every data set, level, method, seed and measure of the grid's evaluation runs.

    GCL's runs become two methods, each at the setting tuned *for that measure* (see `TUNED_BY`): "gcl", tuned in the
    cell itself, and "gcl_kept", tuned at `KEPT_LEVEL` and used everywhere. Where the tuning runs are not recorded, the
    rows are absent, and `complete_cells` says so.

    Columns: dataset, level, method, seed, measure ("accuracy" in [0, 1], "psnr" in dB, "ssim"), value, seconds (of
    training), alpha and beta (GCL's setting, else NaN), digest. A measure that is not finite (a run that diverged)
    counts as -inf, the worst there is; it is not left out.
    """
    kinds = sort_records(records)
    rows, gcl = [], {}
    for record in kinds["evaluation"]:
        config = record["config"]
        method = method_of(config)
        if method == "gcl":
            setting = (config["options"]["alpha"], config["options"]["beta"])
            gcl.setdefault((config["dataset"], config["level"], *setting), []).append(record)
        else:
            rows += [_row(record, method, measure) for measure in TUNED_BY]
    tuned: dict[tuple[str, str, str], tuple[float, float] | None] = {}
    for dataset, level in dict.fromkeys(cell[:2] for cell in gcl):
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
    cell = [config["dataset"], config["level"], method, config["seed"], measure]
    return [*cell, value, record["seconds"]["fit"], alpha, beta, record["digest"]]


def _tuned(records: Sequence[Mapping[str, Any]], dataset: str, level: str, measure: str) -> tuple[float, float] | None:
    try:
        setting = oracle(records, dataset, level, measure)
    except LookupError:
        return None
    return setting["alpha"], setting["beta"]


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows in the order of data sets and levels everywhere used, other columns by their values."""
    orders = {"dataset": list(DATASETS), "level": list(LEVELS)}
    by = [name for name in (*_CELL, "method", "measure", "seed") if name in frame]
    key = lambda column: column.map(orders[column.name].index) if column.name in orders else column  # noqa: E731
    return frame.sort_values(by, key=key, kind="stable", ignore_index=True)


def complete_cells(
    frame: pd.DataFrame,
    datasets: Iterable[str],
    levels: Iterable[str],
    methods: Iterable[str],
    seeds: Iterable[int] = SEEDS,
    measure: str = "accuracy",
) -> pd.DataFrame:
    """One row for every cell asked for, recorded or not: dataset, level, complete (bool), and missing, which names each
    method that lacks seeds: "gcl: none; l1: 3 of 10 seeds"."""
    methods, seeds, rows = list(methods), set(seeds), []
    groups = frame[frame["measure"] == measure].groupby([*_CELL, "method"])["seed"]
    there = {key: len(seeds & set(group)) for key, group in groups}
    for dataset, level in itertools.product(datasets, levels):
        counts = {method: there.get((dataset, level, method), 0) for method in methods}
        gaps = {method: n for method, n in counts.items() if n < len(seeds)}
        if set(gaps) == set(methods) and not any(gaps.values()):
            missing = "no records"
        else:
            missing = "; ".join(f"{m}: {f'{n} of {len(seeds)} seeds' if n else 'none'}" for m, n in gaps.items())
        rows.append([dataset, level, not gaps, missing])
    return pd.DataFrame(rows, columns=[*_CELL, "complete", "missing"])


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Per cell, method and measure: seeds (how many), median, quartiles q1 and q3, sd, diverged (how many runs)."""
    groups = frame.groupby([*_CELL, "method", "measure"])["value"]
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
    table = frame[frame["measure"] == measure].set_index([*_CELL, "seed"])
    columns = {name: table.loc[table["method"] == method, "value"] for name, method in (("a", a), ("b", b))}
    return pd.DataFrame(columns).dropna().sort_index()


def _differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0.0, np.asarray(a) - np.asarray(b))  # also where both diverged


def _by_cell(pairs: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    keys = _sorted(pairs.reset_index()[_CELL].drop_duplicates())
    return [((d, level), pairs.loc[(d, level)]) for d, level in keys.itertuples(index=False)]


def paired_differences(
    frame: pd.DataFrame, a: str, b: str, measure: str, confidence: float = CONFIDENCE
) -> pd.DataFrame:
    """Per cell, method `a` minus method `b` over the seeds that both have.

    Columns: dataset, level, seeds, median_a, median_b, difference (median of the paired differences), low and high (its
    bootstrap interval), ahead, behind, tied (seeds), p (Wilcoxon signed-rank), p_holm (adjusted over the cells of this
    table), note. The note says where the seeds are too few for the adjusted p-value ever to fall to 1 - confidence.
    Cells without a pair are absent: `complete_cells` names them.
    """
    rows = []
    for cell, pair in _by_cell(_pairs(frame, a, b, measure)):
        d = _differences(pair["a"].to_numpy(), pair["b"].to_numpy())
        low, high = bootstrap_interval(d, confidence)
        counts = [int((d > 0).sum()), int((d < 0).sum()), int((d == 0).sum())]
        medians = [pair["a"].median(), pair["b"].median(), float(np.median(d))]
        rows.append([*cell, len(d), *medians, low, high, *counts, signed_rank_p(d)])
    names = ["seeds", "median_a", "median_b", "difference", "low", "high", "ahead", "behind", "tied", "p"]
    table = pd.DataFrame(rows, columns=[*_CELL, *names])
    table["p_holm"] = holm(table["p"])
    needed = fewest_seeds(max(len(table), 1), confidence)
    table["note"] = [f"needs {needed} seeds to be significant" if n < needed else "" for n in table["seeds"]]
    return table


def _variance_ratio(samples: np.ndarray) -> np.ndarray:
    """Geometric mean over cells of the ratio of variances; samples (..., n, cells, 2) to (...)."""
    with np.errstate(all="ignore"):
        variances = samples.var(axis=-3, ddof=1)
        return np.exp(np.mean(np.log(variances[..., 0] / variances[..., 1]), axis=-1))


def variance_ratio_interval(samples: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Jackknife interval of the geometric mean over cells of var(a)/var(b) (Miller, Ann. Math. Stat. 39(2), 1968).

    samples: shape (n, cells, 2), finite; a seed's row is left out as a whole. With ten seeds it covers as it should,
    where the percentile bootstrap of a variance ratio covers 90 % instead of 95 %. (NaN, NaN) for n < 3 or where a
    method does not vary.
    """
    samples = np.asarray(samples, dtype=float)
    n = len(samples)
    if n < 3:
        return math.nan, math.nan
    with np.errstate(all="ignore"):
        whole = np.log(_variance_ratio(samples))
        without = np.log(_variance_ratio(np.stack([np.delete(samples, i, axis=0) for i in range(n)])))
        pseudo = n * whole - (n - 1) * without
        half = stats.t.ppf(0.5 + confidence / 2, n - 1) * pseudo.std(ddof=1) / math.sqrt(n)
        low, high = np.exp(pseudo.mean() - half), np.exp(pseudo.mean() + half)
    return (float(low), float(high)) if np.isfinite(pseudo).all() else (math.nan, math.nan)


def variance_ratios(frame: pd.DataFrame, a: str, b: str, measure: str, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Per cell, the variance over seeds of method `a` divided by that of method `b`.

    Columns: dataset, level, seeds, sd_a, sd_b, ratio, low and high (`variance_ratio_interval`), p (Pitman 1939 and
    Morgan 1939: sum and difference of a pair are uncorrelated iff the variances are equal; assumes normality) and
    p_holm. Cells with fewer than 3 pairs, or with a diverged run, have NaN.
    """
    rows = []
    for cell, pair in _by_cell(_pairs(frame, a, b, measure)):
        x = pair[["a", "b"]].to_numpy()
        row = [*cell, len(x), _deviation(x[:, 0]), _deviation(x[:, 1]), *[math.nan] * 4]
        if len(x) >= 3 and np.isfinite(x).all():
            row[5:8] = float(_variance_ratio(x[:, None])), *variance_ratio_interval(x[:, None], confidence)
            if np.ptp(x, axis=0).all():
                row[8] = stats.pearsonr(x.sum(axis=1), x[:, 0] - x[:, 1]).pvalue
        rows.append(row)
    table = pd.DataFrame(rows, columns=[*_CELL, "seeds", "sd_a", "sd_b", "ratio", "low", "high", "p"])
    table["p_holm"] = holm(table["p"])
    return table


def repair_share(frame: pd.DataFrame, method: str, measure: str, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """How much of the damage that noise does to MSE a method repairs, per cell:

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
    for cell, group in _by_cell(both.join(clean, how="inner")):
        x = group.to_numpy()
        damage = float(np.median(x[:, 2]) - np.median(x[:, 1]))
        rows.append([*cell, len(x), damage, float(share(x)), *bootstrap_interval(x, confidence, share)])
    return pd.DataFrame(rows, columns=[*_CELL, "seeds", "damage", "share", "low", "high"])


def training_runs(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """What one trained network at every recorded level costs, tuning included, per data set and method.

    Columns: dataset, method, levels (how many), tuning (runs), runs (tuning + one a level), seconds_per_run (median
    over evaluation runs), seconds (of all tuning runs, and of one median run a level). GCL is the one tuned for
    accuracy; the methods that are never tuned need one run a level. Seconds are of training, one thread, on the machine
    of the records.
    """
    records = list(records)
    tuning: dict[tuple[str, str], list[float]] = {}
    for record in _tuning_records(records):
        cell = (record["config"]["dataset"], record["config"]["level"])
        tuning.setdefault(cell, []).append(record["seconds"]["fit"])
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
    """GCL's tuning runs in a cell: the measure on clean validation images, mean over tuning seeds. Index: alpha,
    columns: beta; NaN where a setting is not recorded or has diverged; empty if nothing is."""
    rows = [
        (*(record["config"]["options"][name] for name in ("alpha", "beta")), record["metrics"].get(measure))
        for record in _tuning_records(records)
        if (record["config"]["dataset"], record["config"]["level"]) == (dataset, level)
    ]
    table = pd.DataFrame(rows, columns=["alpha", "beta", "value"]).astype(float)
    return table.pivot_table(index="alpha", columns="beta", values="value", aggfunc="mean")


def single_settings(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """GCL as a user has it, one setting for all measures, minus ALCL: differences of medians over all seeds.

    In every cell GCL's setting is the oracle's, for accuracy and then for PSNR, and both settings are judged in both
    measures. Cells where runs or tuning runs are missing are absent.

    Columns: dataset, level, tuned_by ("accuracy" or "psnr"), accuracy (a share, not points), psnr (dB).
    """
    kinds = sort_records(records)
    known = {record["digest"]: record["metrics"] for record in kinds["evaluation"]}
    cells = dict.fromkeys((r["config"]["dataset"], r["config"]["level"]) for r in kinds["evaluation"])

    def medians(cell: tuple[str, str], method: str, options: tuple = ()) -> np.ndarray | None:
        runs = [known.get(_digest(method, *cell, seed, "test", options)) for seed in SEEDS]
        if None in runs:
            return None
        return np.median([[-math.inf if run[m] is None else run[m] for m in MEASURES] for run in runs], axis=0)

    rows = []
    for cell, measure in itertools.product(cells, MEASURES):
        setting = _tuned(kinds["validation"], *cell, measure)
        ours = medians(cell, "alcl")
        theirs = None if setting is None else medians(cell, "gcl", tuple(zip(("alpha", "beta"), setting, strict=True)))
        if ours is not None and theirs is not None:
            rows.append([*cell, measure, *(theirs - ours)])
    return _sorted(pd.DataFrame(rows, columns=[*_CELL, "tuned_by", *MEASURES]))


def in_both_measures(single: pd.DataFrame) -> tuple[int, int]:
    """In how many rows of `single_settings` GCL is ahead of ALCL in both measures, and in how many behind in both."""
    sides = np.sign(single[list(MEASURES)].to_numpy(dtype=float)).sum(axis=1)
    return int((sides == len(MEASURES)).sum()), int((sides == -len(MEASURES)).sum())


# --- the claims of the abstract -------------------------------------------------------------------------------------


def load_claims() -> list[dict[str, Any]]:
    """The abstract's claims, split where one sentence makes several, with what decides each: `claims.json`."""
    return json.loads(Path(__file__).with_name("claims.json").read_text("utf-8"))


def theorem_index(folder: str | Path) -> pd.DataFrame:
    """The theorems of a folder `notebooks`: index id, columns notebook, title, checked.

    A theorem is checked if the cell that checks it (`alcl.theorems`) asserts something, and was executed without an
    error in the notebook's .ipynb, in which the cell has the same place as in the source.
    """
    rows = []
    for theorem in find_theorems(Path(folder).resolve().parent):
        path = Path(folder) / f"{theorem.notebook}.ipynb"
        checked = theorem.asserts and path.exists() and _passed(path, theorem.id, theorem.check)
        rows.append([theorem.id, theorem.notebook, theorem.title, bool(checked)])
    return pd.DataFrame(rows, columns=["id", "notebook", "title", "checked"]).set_index("id")


def _passed(path: Path, theorem: str, number: int | None) -> bool:
    """Whether an executed notebook's code cell In [number] says that it checks a theorem, and ran without an error."""
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code" and cell["execution_count"] == number:
            says = re.search(rf"^\s*# check:.*\b{theorem}\b", "".join(cell["source"]), re.MULTILINE)
            return bool(says) and not any(output["output_type"] == "error" for output in cell["outputs"])
    return False


@dataclass(frozen=True)
class _Unit:
    """One comparison that a claim requires: a cell, or a data set with its levels together.

    samples: shape (n, ...), one row a seed of `seeds`; statistic: (B, n, ...) -> (B,). The interval, by `interval_of`,
    holds jointly for all `comparisons` of the claim.
    """

    name: str
    seeds: tuple[int, ...]
    samples: np.ndarray
    statistic: Callable[[np.ndarray], np.ndarray]
    interval_of: Callable[[np.ndarray, float], tuple[float, float]]
    comparisons: int

    @property
    def measured(self) -> bool:
        return len(self.seeds) >= fewest_seeds(self.comparisons)

    @property
    def complete(self) -> bool:
        return self.measured and set(self.seeds) >= set(SEEDS)

    @functools.cached_property
    def estimate(self) -> float:
        with np.errstate(all="ignore"):
            return float(self.statistic(self.samples[None])[0])

    @functools.cached_property
    def interval(self) -> tuple[float, float]:
        return self.interval_of(self.samples, 1 - (1 - CONFIDENCE) / self.comparisons)

    def decided(self, region: tuple[float, float]) -> str:
        """Where the interval lies: inside the claimed region ("for"), outside ("against"), or across ("undecided")."""
        low, high = self.interval
        if region[0] < low and (high < region[1] or region[1] == math.inf):
            return "for"
        return "against" if high <= region[0] or low >= region[1] else "undecided"


def claims_ledger(
    records: Iterable[Mapping[str, Any]],
    theorems: pd.DataFrame | None = None,
    claims: Sequence[Mapping[str, Any]] | None = None,
) -> pd.DataFrame:
    """The verdict on every claim of the abstract, computed by these rules, which were fixed before the grid was run.

    **Theorems** (`theorems` is `theorem_index` of the notebooks). "proved": every theorem that the claim names is
    stated and checked in an executed notebook. "partly": so it is, and so is a theorem that limits the claim; the
    column `missing` says what the limit is. "not yet proved": otherwise.

    **Studies.** A claim requires one comparison per cell, over all data sets and levels it speaks of: ALCL with what
    the claim compares it with, paired by seed. A claim about variance or cost requires one per data set, over its
    levels together. Each comparison has a region in which the claim holds:

    - superiority: median difference above 0;
    - equivalence ("small differences"): median difference within the margin (accuracy: 1 percentage point);
    - variance: geometric mean over levels of var(ALCL)/var(other) below 1;
    - cost: median ratio of training times below the limit (1.1 for a run against MSE's; 1 against GCL's, where GCL's
      includes the tuning of its cell);
    - gain ("up to"): median difference to the better of MSE and tuned GCL above 0; see below.

    It has an interval: exact for medians (`median_interval`), jackknife for variances (`variance_ratio_interval`),
    bootstrap for times; all intervals of one claim hold jointly at 95 % (Bonferroni). A comparison is *for* the claim
    if its interval lies inside the region, *against* if outside, else undecided. It counts as measured from
    `fewest_seeds` on, and as complete with all `SEEDS`; the column `missing` names whatever is not complete.

    - "reproduced": all required comparisons are complete and for the claim;
    - "partly": some measured comparison is for it, but not all are, or some are not complete;
    - "not reproduced": none is for it, and one is against it, or all are complete;
    - "undecided": some are measured, none is for or against it, and not all are complete;
    - "not yet measured": none is measured.

    A gain "up to x" needs one cell only: "reproduced" if in the measured cell with the largest gain the interval lies
    above 0 and reaches x; "partly" if it lies above 0 and ends below x; else as above.

    All this is judged twice: on the benchmark data sets (two gray, two RGB), which alone decide `verdict`, and on the
    embedded ones (`embedded`, `embedded_verdict`), which are small stand-ins.

    Returns one row a claim: id, claim, kind, evidence, result, verdict, missing, embedded, embedded_verdict.
    """
    records = list(records)
    frame = benchmark_frame(records)
    tuning = _tuning_seconds(records)
    moved = _learned(records)
    rows = []
    for claim in load_claims() if claims is None else claims:
        if claim["kind"] == "theorem":
            evidence, result, verdict, missing = _judge_theorem(claim, theorems)
            result += f"; {moved}" if claim["id"] == "1" and moved else ""
            rows.append([claim["id"], claim["claim"], "theorem", evidence, result, verdict, missing, "", ""])
            continue
        judged = [_judge_study(claim, frame, tuning, datasets) for datasets in (BENCHMARK, EMBEDDED)]
        (result, verdict, missing), (embedded, embedded_verdict, gaps) = judged
        embedded += f" (missing: {gaps})" if gaps else ""
        evidence = f"{claim['study']}, {', '.join(claim['levels'])}"
        rows.append(
            [claim["id"], claim["claim"], "study", evidence, result, verdict, missing, embedded, embedded_verdict]
        )
    names = ["id", "claim", "kind", "evidence", "result", "verdict", "missing", "embedded", "embedded_verdict"]
    return pd.DataFrame(rows, columns=names)


def ledger_markdown(ledger: pd.DataFrame) -> str:
    """The ledger as a Markdown table: claim, evidence and numbers, verdict; then the embedded data sets' verdict."""
    lines = ["| | claim of the abstract | what we find | verdict | on the embedded sets |", "|---|---|---|---|---|"]
    for row in ledger.itertuples(index=False):
        found = row.result + (f" *Missing or limited:* {row.missing}." if row.missing else "")
        embedded = f"**{row.embedded_verdict}**: {row.embedded}" if row.embedded_verdict else ""
        cells = [row.id, row.claim, f"{row.evidence}: {found}", f"**{row.verdict}**", embedded]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _judge_theorem(claim: Mapping[str, Any], theorems: pd.DataFrame | None) -> tuple[str, str, str, str]:
    named = [*claim["theorems"], *claim.get("limits", [])]
    checked = {} if theorems is None else theorems.loc[theorems["checked"], "notebook"].to_dict()
    open_ = [name for name in named if name not in checked]
    evidence = "Theorems " + ", ".join(claim["theorems"])
    if claim.get("limits"):
        evidence += f", limited by {', '.join(claim['limits'])}"
    books = ", ".join(sorted({checked[name] for name in named if name in checked}))
    result = f"stated, proved and checked in {books}" if books else "no executed proof found"
    if open_:
        return evidence, result, "not yet proved", f"no executed check of {', '.join(open_)}"
    return evidence, result, "partly" if claim.get("limits") else "proved", claim.get("limit", "")


def _judge_study(
    claim: Mapping[str, Any], frame: pd.DataFrame, tuning: Mapping[tuple[str, str], float], datasets: Sequence[str]
) -> tuple[str, str, str]:
    """(result, verdict, missing) of one claim on these data sets."""
    channels = {"gray": 2, "rgb": 3}.get(claim["datasets"])
    chosen = [d for d in datasets if channels in (None, len(DATASETS[d].image_shape))]
    units = _units(claim, frame, tuning, chosen)
    measured = [unit for unit in units if unit.measured]
    missing = _missing(units)
    if not measured:
        return _so_far(claim, units), "not yet measured", missing
    if claim["study"] == "gain":
        return *_judge_gain(claim, units, measured), missing
    region = {
        "superiority": (0.0, math.inf),
        "equivalence": (-claim.get("margin", 0.0), claim.get("margin", 0.0)),
        "variance": (-math.inf, 1.0),
        "cost": (-math.inf, claim.get("limit", 1.0)),
    }[claim["study"]]
    votes: dict[str, list[str]] = {"for": [], "against": [], "undecided": []}
    for unit in measured:
        votes[unit.decided(region)].append(unit.name)
    complete = all(unit.complete for unit in units)
    if votes["for"]:
        verdict = "reproduced" if complete and len(votes["for"]) == len(units) else "partly"
    else:
        verdict = "not reproduced" if votes["against"] or complete else "undecided"
    return f"{_mean(claim, measured)}; {_tally(votes)}", verdict, missing


def _judge_gain(claim: Mapping[str, Any], units: Sequence[_Unit], measured: Sequence[_Unit]) -> tuple[str, str]:
    best = max(measured, key=lambda unit: unit.estimate)
    low, high = best.interval
    if low > 0:
        verdict = "reproduced" if high >= claim["number"] else "partly"
    else:
        decided = any(unit.interval[1] <= 0 for unit in measured) or all(unit.complete for unit in units)
        verdict = "not reproduced" if decided else "undecided"
    return f"largest gain {_shown(claim, best.estimate, low, high)}, at {best.name}", verdict


def _units(
    claim: Mapping[str, Any], frame: pd.DataFrame, tuning: Mapping[tuple[str, str], float], datasets: Sequence[str]
) -> list[_Unit]:
    """What a claim requires, recorded or not: one comparison a cell, or one a data set for variance and cost."""
    table = frame[frame["measure"] == claim["measure"]]
    values = table.pivot(index=[*_CELL, "seed"], columns="method", values="value")
    seconds = table.pivot(index=[*_CELL, "seed"], columns="method", values="seconds")
    levels = list(claim["levels"])

    def cell(wide: pd.DataFrame, dataset: str, level: str, methods: Sequence[str]) -> pd.DataFrame:
        """Columns `methods`, one row for each seed that all of them have."""
        wide = wide.reindex(columns=list(methods))
        there = (dataset, level) in wide.index.droplevel("seed")
        return wide.loc[(dataset, level)].dropna() if there else wide.iloc[:0].droplevel(_CELL)

    def difference(dataset: str, level: str) -> tuple[str, pd.DataFrame, np.ndarray]:
        name = f"{dataset}/{level}"
        if claim["study"] != "gain":
            pair = cell(values, dataset, level, ["alcl", claim["against"]])
            return name, pair, _differences(pair["alcl"].to_numpy(), pair[claim["against"]].to_numpy())
        three = cell(values, dataset, level, ["alcl", "mse", "gcl"])
        rival = "gcl" if three["gcl"].median() >= three["mse"].median() else "mse"
        found = _differences(three["alcl"].to_numpy(), three[rival].to_numpy())
        return f"{name} over {rival}", three, found

    def together(dataset: str) -> tuple[str, pd.DataFrame, np.ndarray]:
        """Samples (n, levels, 2) of values or seconds, of ALCL and of the other, at the seeds that every level has."""
        wide = values if claim["study"] == "variance" else seconds
        parts = [cell(wide, dataset, level, ["alcl", claim["against"]]) for level in levels]
        seeds = sorted(set.intersection(*(set(part.index) for part in parts)))
        samples = np.stack([part.loc[seeds].to_numpy() for part in parts], axis=1)
        if claim["study"] == "cost" and claim["against"] == "gcl":
            samples[..., 1] += [tuning.get((dataset, level), 0.0) for level in levels]
        return dataset, pd.DataFrame(index=seeds), samples

    if claim["study"] in ("variance", "cost"):
        found = [together(dataset) for dataset in datasets]
    else:
        found = [difference(dataset, level) for dataset in datasets for level in levels]
    how = {"variance": (_variance_ratio, variance_ratio_interval), "cost": (_time_ratio, _time_ratio_interval)}
    chosen = how.get(claim["study"], (_median, median_interval))
    return [_Unit(name, tuple(seeds.index), samples, *chosen, len(found)) for name, seeds, samples in found]


def _median(samples: np.ndarray) -> np.ndarray:
    return np.median(samples, axis=1)


def _time_ratio(samples: np.ndarray) -> np.ndarray:
    """Median over seeds and levels of ALCL's time divided by the other's; samples (B, n, levels, 2) to (B,)."""
    return np.median(samples[..., 0] / samples[..., 1], axis=(1, 2))


def _time_ratio_interval(samples: np.ndarray, confidence: float) -> tuple[float, float]:
    return bootstrap_interval(samples, confidence, _time_ratio)


def _mean(claim: Mapping[str, Any], measured: Sequence[_Unit]) -> str:
    """The mean of the comparisons with its 95 % interval; the seeds that all of them have are resampled together,
    because the levels of a data set share their random numbers."""
    seeds = sorted(set.intersection(*(set(unit.seeds) for unit in measured)))
    chosen = [unit.samples[[unit.seeds.index(seed) for seed in seeds]] for unit in measured]

    def mean(rows: np.ndarray) -> np.ndarray:
        rows = rows.astype(int)
        return np.mean([unit.statistic(x[rows]) for unit, x in zip(measured, chosen, strict=True)], axis=0)

    if len(seeds) < fewest_seeds():
        estimate = _center(claim, [unit.estimate for unit in measured])
        return f"mean {_shown(claim, estimate)} (no interval: too few common seeds)"
    if claim["study"] == "variance":
        cells = np.concatenate(chosen, axis=1)
        shown = _shown(claim, float(_variance_ratio(cells)), *variance_ratio_interval(cells))
    else:
        every = np.arange(len(seeds))
        shown = _shown(claim, float(mean(every[None])[0]), *bootstrap_interval(every, CONFIDENCE, mean))
    return shown if len(measured) == 1 else f"mean {shown}"


def _shown(claim: Mapping[str, Any], value: float, *interval: float) -> str:
    """A number in the unit of its claim: points of accuracy, dB, or times."""
    if claim["study"] in ("variance", "cost"):
        form, unit = (lambda v: f"{v:.2f}" if v >= 0.1 else f"{v:.2g}"), "times"
    elif claim["measure"] == "accuracy":
        form, unit = (lambda v: f"{100 * v:+.2f}"), "points"
    else:
        form, unit = (lambda v: f"{v:+.2f}"), "dB"
    return f"{form(value)} {unit}" + (f" [{', '.join(map(form, interval))}]" if interval else "")


def _tally(votes: Mapping[str, Sequence[str]]) -> str:
    total = sum(map(len, votes.values()))
    named = {
        side: f" ({', '.join(names)})" if 0 < len(names) <= 4 and side != "for" else "" for side, names in votes.items()
    }
    return ", ".join(f"{side} {len(names)} of {total}{named[side]}" for side, names in votes.items() if names)


def _so_far(claim: Mapping[str, Any], units: Sequence[_Unit]) -> str:
    """What is there where nothing has enough seeds: a number, without an interval and without a verdict."""
    begun = [unit for unit in units if len(unit.seeds) > 1 and math.isfinite(unit.estimate)]
    if not begun:
        return "too few seeds" if any(unit.seeds for unit in units) else "no records"
    estimates = [unit.estimate for unit in begun]
    if claim["study"] == "gain":
        number = f"largest gain {_shown(claim, max(estimates))}"
    else:
        number = f"mean {_shown(claim, _center(claim, estimates))}"
    return f"too few seeds; so far {number}, over {len(begun)} of {len(units)} comparisons"


def _center(claim: Mapping[str, Any], estimates: Sequence[float]) -> float:
    """The mean; of ratios of variances the geometric mean."""
    with np.errstate(all="ignore"):
        mean = np.exp(np.mean(np.log(estimates))) if claim["study"] == "variance" else np.mean(estimates)
    return float(mean)


def _missing(units: Sequence[_Unit]) -> str:
    """What is not complete, by name; data sets together where all their cells lack the same."""
    of: dict[str, dict[str, int]] = {}
    for unit in units:
        name = unit.name.split(" ")[0]
        of.setdefault(name.split("/")[0], {})[name] = len(unit.seeds) if not unit.complete else len(SEEDS)
    alike: dict[int, list[str]] = {}
    for dataset, seeds in of.items():
        whole = len(set(seeds.values())) == 1
        for name, n in ({dataset: next(iter(seeds.values()))} if whole else seeds).items():
            alike.setdefault(n, []).append(name)
    lack = {n: f"{n} of {len(SEEDS)} seeds" if n else "no complete pairs of runs" for n in alike if n < len(SEEDS)}
    return "; ".join(f"{', '.join(alike[n])}: {text}" for n, text in sorted(lack.items(), reverse=True))


def _tuning_seconds(records: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """Training seconds of all of GCL's recorded tuning runs, by (dataset, level)."""
    total: dict[tuple[str, str], float] = {}
    for record in _tuning_records(records):
        cell = (record["config"]["dataset"], record["config"]["level"])
        total[cell] = total.get(cell, 0.0) + record["seconds"]["fit"]
    return total


def _learned(records: Iterable[Mapping[str, Any]]) -> str:
    """In how many of the recorded ALCL runs shape and scale both moved; empty without such a run."""
    runs = [r["history"] for r in sort_records(records)["evaluation"] if method_of(r["config"]) == "alcl"]
    moved = sum(all(len(set(run.get(name, []))) > 1 for name in ("alpha", "beta")) for run in runs)
    return f"shape and scale both moved in {moved} of {len(runs)} recorded runs" if runs else ""
