"""How much runs differ, and why: over seeds (the abstract's "less variance across runs"), by loss, and by reading.

Functions of `specification.observations`; what lacks declared seeds has no row. Accuracies are in points here, PSNR in
dB. The rules are those of the specification curve, and were written when one of its 32 conditions had been seen (mnist,
clipped, high): a comparison of variances has a 95 % interval of its own, and a joint one for the 24 comparisons of one
sensor, level and rival.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from .analysis import CONFIDENCE, variance_ratios
from .readings import READINGS
from .specification import CONDITION, FAMILY, MEASURES, NO_RULE

__all__ = ["TRAINED", "complete_runs", "deviation_interval", "sources", "spread", "variance_comparisons"]

#: Methods whose differences are "due to the loss": trained alike, on noisy targets, with settings that no measure
#: decides alone. Those of them are compared that a condition has with all its seeds.
TRAINED = ("mse", "l1", "huber_mad", "welsch_mad", "gcl:public", "gcl:one", "alcl", "alcl_kappa")
_FACTORS = {measure: 100.0 if measure in READINGS else 1.0 for measure in MEASURES}


def complete_runs(observed: pd.DataFrame) -> pd.DataFrame:
    """The rows of methods that have all their declared seeds in a condition; values in points, dB, SSIM."""
    done = observed.groupby([*CONDITION, "method"])["missing"].transform(lambda m: (m == "").all()).astype(bool)
    found = observed[done].copy()
    found["value"] *= found["measure"].map(_FACTORS)
    return found


def deviation_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Jackknife interval of a standard deviation, by its logarithm (Miller, Ann. Math. Stat. 39(2), 1968).

    It does not assume normality, as the chi-squared interval does. (NaN, NaN) for fewer than 3 values, for values that
    are not finite, and for those that do not vary.

    >>> low, high = deviation_interval([1.0, 2.0, 3.0, 4.0, 5.5])
    >>> low < 1.75 < high
    True
    """
    x = np.asarray(values, dtype=float)
    n = len(x)
    if n < 3 or not np.isfinite(x).all():
        return math.nan, math.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.log(x.std(ddof=1))
        pseudo = n * whole - (n - 1) * np.log([np.delete(x, i).std(ddof=1) for i in range(n)])
    if not np.isfinite(pseudo).all():
        return math.nan, math.nan
    half = stats.t.ppf(0.5 + confidence / 2, n - 1) * pseudo.std(ddof=1) / math.sqrt(n)
    return float(np.exp(pseudo.mean() - half)), float(np.exp(pseudo.mean() + half))


def spread(observed: pd.DataFrame) -> pd.DataFrame:
    """Per condition, measure and method: seeds, median, sd over seeds, low and high (`deviation_interval`)."""
    rows = []
    for key, part in complete_runs(observed).groupby([*CONDITION, "measure", "method"], sort=False):
        x = part["value"].to_numpy()
        sd = float(x.std(ddof=1)) if np.isfinite(x).all() else math.nan
        rows.append([*key, len(x), float(np.median(x)), sd, *deviation_interval(x)])
    return pd.DataFrame(rows, columns=[*CONDITION, "measure", "method", "seeds", "median", "sd", "low", "high"])


def variance_comparisons(observed: pd.DataFrame) -> pd.DataFrame:
    """ALCL's variance over seeds divided by that of MSE, and of GCL by every rule: `analysis.variance_ratios`.

    Columns: sensor, level, dataset, reading (of `MEASURES`), against ("mse" or "gcl"), rule ("none" for MSE), seeds,
    sd_alcl, sd_rival, ratio (of variances), low and high, p (Pitman and Morgan), low_all and high_all (joint interval).
    """
    runs, tables = complete_runs(observed), []
    for (sensor, measure), part in runs.groupby(["sensor", "measure"], sort=False):
        for rival in dict.fromkeys(m for m in part["method"] if m == "mse" or m.startswith("gcl:")):
            found = variance_ratios(part, "alcl", rival, measure)
            joint = _wider(found, 1 - (1 - CONFIDENCE) / FAMILY)
            against, _, rule = rival.partition(":")
            names = {"sensor": sensor, "reading": measure, "against": against, "rule": rule or NO_RULE}
            tables.append(found.assign(**names, low_all=joint["low"], high_all=joint["high"]))
    order = [*CONDITION, "reading", "against", "rule", "seeds", "sd_alcl", "sd_rival", "ratio", "low", "high", "p"]
    order += ["low_all", "high_all"]
    if not tables:
        return pd.DataFrame(columns=order)
    return pd.concat(tables, ignore_index=True).rename(columns={"sd_a": "sd_alcl", "sd_b": "sd_rival"})[order]


def _wider(table: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """The intervals of `analysis.variance_ratios` at another confidence: symmetric in the logarithm, Student's t."""
    low, high = np.log(table["low"].astype(float)), np.log(table["high"].astype(float))
    wide, given = (stats.t.ppf(0.5 + c / 2, table["seeds"] - 1) for c in (confidence, CONFIDENCE))
    middle, half = (low + high) / 2, (high - low) / 2 * wide / given
    return pd.DataFrame({"low": np.exp(middle - half), "high": np.exp(middle + half)})


def sources(observed: pd.DataFrame) -> pd.DataFrame:
    """How much of the spread is due to the loss, and how much to the reading: shares of sums of squares, per condition.

    Over the methods of `TRAINED` that are complete, at the seeds that all of them have (at least two of each; else the
    condition has no row). For each measure: `loss`, the share between methods, and `rest`, between seeds; it *responds*
    to the loss where `loss` is the larger. For "all readings", the accuracies together: `loss`, `reading`, `both` (the
    loss matters in one reading more than in another), `rest`. without_mse: `loss` again, among the other methods.
    by_chance: what `loss` is on average where methods do not differ. p: Friedman's test that they do not, paired by
    seed. NaN where a run diverged.

    Columns: sensor, level, dataset, measure, methods, seeds, loss, reading, both, rest, responds, without_mse,
    by_chance, p.
    """
    runs, rows = complete_runs(observed), []
    runs = runs[runs["method"].isin(TRAINED)]
    for condition, part in runs.groupby(CONDITION, sort=False):
        wide = part.pivot(index="seed", columns=["measure", "method"], values="value").dropna()
        methods = [method for method in TRAINED if (MEASURES[0], method) in wide]
        if len(methods) < 2 or len(wide) < 2:
            continue
        values = np.stack([wide[m][methods].to_numpy() for m in MEASURES])  # (measures, seeds, methods)
        others = [i for i, method in enumerate(methods) if method != "mse"]
        for name, y in (("all readings", values[: len(READINGS)]), *zip(MEASURES, values[:, None], strict=True)):
            shares = _shares(y)
            without = _shares(y[..., others])["loss"] if len(others) > 1 else math.nan
            degrees = (len(methods) - 1) / (len(methods) * len(wide) - 1)
            chance, p = (degrees, _friedman(y[0])) if len(y) == 1 else (math.nan, math.nan)
            rows.append(
                [
                    *condition,
                    name,
                    len(methods),
                    len(wide),
                    *shares.values(),
                    shares["loss"] > shares["rest"],
                    without,
                    chance,
                    p,
                ]
            )
    names = ["loss", "reading", "both", "rest", "responds", "without_mse", "by_chance", "p"]
    return pd.DataFrame(rows, columns=[*CONDITION, "measure", "methods", "seeds", *names])


def _shares(y: np.ndarray) -> dict[str, float]:
    """Shares of the total sum of squares of y, shape (readings, seeds, methods): a balanced design."""
    names = ("loss", "reading", "both", "rest")
    if not np.isfinite(y).all():
        return dict.fromkeys(names, math.nan)
    total = ((y - y.mean()) ** 2).sum()
    conditions = y.mean(axis=1) - y.mean()
    loss, reading = conditions.mean(axis=0), conditions.mean(axis=1)
    parts = [(loss**2).sum() * len(y) * y.shape[1], (reading**2).sum() * y.shape[1] * y.shape[2]]
    parts.append(((conditions - loss - reading[:, None]) ** 2).sum() * y.shape[1])
    if total == 0:
        return dict.fromkeys(names, math.nan)
    if len(y) == 1:  # one reading: there is nothing between readings
        return {"loss": parts[0] / total, "reading": math.nan, "both": math.nan, "rest": 1 - parts[0] / total}
    return dict(zip(names, [*(part / total for part in parts), 1 - sum(parts) / total], strict=True))


def _friedman(y: np.ndarray) -> float:
    """p of Friedman's test; y: (seeds, methods), at least three methods."""
    if y.shape[1] < 3 or not np.isfinite(y).all() or all(a == b for row in y for a, b in itertools.pairwise(row)):
        return math.nan
    return float(stats.friedmanchisquare(*y.T).pvalue)
