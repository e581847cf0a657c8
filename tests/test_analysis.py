"""Records with known answers, and statistics against oracles that share no formula with them."""

import itertools
import json
import math
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from alcl import analysis
from alcl.experiments import (
    BENCHMARK,
    EMBEDDED,
    GCL_ALPHAS,
    GCL_BETAS,
    KEPT_LEVEL,
    METHODS,
    SETTINGS,
    TUNING_SEEDS,
    method_of,
    method_run,
    tuning_runs,
)
from alcl.noise import LEVELS

# --- records that no training made ----------------------------------------------------------------------------------


@cache
def regular(method, dataset, level, seed, *changes):
    config = method_run(method, dataset, level, seed, **dict(changes))
    return config.digest, config.config()


def record(method, dataset="digits", level="high", seed=0, accuracy=0.5, psnr=10.0, ssim=0.5, seconds=1.0, **changes):
    digest, config = regular(method, dataset, level, seed, *sorted(changes.items()))
    metrics = {"accuracy": accuracy, "psnr": psnr, "ssim": ssim}
    history = {"loss": [1.0], "alpha": [2.0, 1.5], "beta": [1.0, 0.1]} if config["loss"] == "alcl" else {"loss": [1.0]}
    return {
        "digest": digest,
        "config": config,
        "metrics": metrics,
        "history": history,
        "seconds": {"fit": seconds},
    }


#: For which setting GCL's tuning is made to come out, by measure; the same in every cell except where a test says.
BEST = {"accuracy": (2.0, 0.5), "psnr": (4.0, 1.0)}


def tuning(dataset="digits", level="high", best=BEST, seconds=1.0):
    """GCL's tuning records of a cell: each measure falls with the distance from its best setting."""
    found = []
    for alpha, beta in itertools.product(GCL_ALPHAS, GCL_BETAS):
        off = {m: abs(math.log(alpha / a)) + abs(math.log(beta / b)) for m, (a, b) in best.items()}
        metrics = {"accuracy": 0.9 - 0.1 * off["accuracy"], "psnr": 20.0 - off["psnr"]}
        found.append(
            record(
                "gcl",
                dataset,
                level,
                TUNING_SEEDS[0],
                **metrics,
                seconds=seconds,
                alpha=alpha,
                beta=beta,
                evaluate_on="validation",
            )
        )
    return found


def world(
    better, datasets=BENCHMARK, seeds=range(10), methods=("mse", "alcl", "gcl"), spread=None, seconds=None, shared=0.05
):
    """A whole grid of records. better(method, dataset, level): accuracy above 0.5, which is PSNR above 10 dB in tens.

    Seeds move all methods together by up to `shared`, and each by itself by `spread[method]` (default 0.002).
    """
    spread, seconds, found = spread or {}, seconds or {}, []
    rng = np.random.default_rng(0)
    for dataset, level in itertools.product(datasets, LEVELS):
        found += tuning(dataset, level)
        common = rng.uniform(0, shared, 100)
        for method in methods:
            own = spread.get(method, 0.002) * rng.standard_normal(100)
            for seed in seeds:
                value = 0.5 + better(method, dataset, level) + common[seed] + own[seed]
                numbers = {"accuracy": value, "psnr": 10 * value, "seconds": seconds.get(method, 1.0)}
                settings = [{"alpha": a, "beta": b} for a, b in BEST.values()] if method == "gcl" else [{}]
                found += [record(method, dataset, level, seed, **numbers, **setting) for setting in settings]
    return found


def as_claimed(method, dataset, level):
    """The world that the abstract describes."""
    gain = {"none": 0.0, "low": 0.001, "moderate": 0.03, "high": 0.06, "extreme": 0.05}[level]
    return {"alcl": gain, "gcl": 0.2 * gain}.get(method, 0.0)


FEWER = {"mse": 0.002, "gcl": 0.002, "alcl": 0.0005}


def claimed_world(**changes):
    return world(as_claimed, **{"spread": FEWER, "shared": 0.001} | changes)


@pytest.fixture(scope="module")
def claimed():
    return claimed_world()


@pytest.fixture(scope="module")
def claimed_frame():
    return analysis.benchmark_frame(world(as_claimed))


def theorems(*ids, checked=True):
    table = {"id": ids, "notebook": "01_likelihood", "title": "", "checked": checked}
    return pd.DataFrame(table).set_index("id")


STUDIES = ["4a", "4b", "4c", "4d", "5", "6", "7a", "7b", "8a", "8b", "9a", "9b"]
EVERY_THEOREM = theorems(*{t for c in analysis.load_claims() for t in [*c.get("theorems", []), *c.get("limits", [])]})


def verdicts(records, index=None):
    return analysis.claims_ledger(records, index).set_index("id")["verdict"]


# --- sorting and resolving ------------------------------------------------------------------------------------------


def test_records_are_sorted_by_what_they_are_for():
    runs = [record(method) for method in METHODS]
    judged_on_validation = [record("alcl", seed=1000, evaluate_on="validation"), *tuning()]
    other_settings = [record("mse", lr=0.01), record("mse", epochs=1)]
    other_protocol = {**record("mse", seed=5), "digest": "0" * 16}
    other_loss = record("alcl", seed=6)
    other_loss["config"] = {**other_loss["config"], "options": {"alpha": 1.9}}
    unknown = {"digest": "1" * 16, "config": {"dataset": "unheard of"}}
    odd = [*other_settings, other_protocol, other_loss, unknown]
    kinds = analysis.sort_records([*runs, *judged_on_validation, *odd])
    assert kinds == {"evaluation": runs, "validation": judged_on_validation, "other": odd}


def test_of_records_with_one_digest_the_first_counts():
    first, second = record("mse", accuracy=0.1), record("mse", accuracy=0.2)
    frame = analysis.benchmark_frame([first, record("mse", seed=1), second])
    assert frame.query("measure == 'accuracy'")["value"].tolist() == [0.1, 0.5]


def test_gcl_is_resolved_to_the_setting_tuned_for_each_measure_here_and_at_the_kept_level():
    kept = {"accuracy": (1.0, 0.25), "psnr": (1.0, 2.0)}
    records = [*tuning(level="high"), *tuning(level=KEPT_LEVEL, best=kept)]
    for number, (alpha, beta) in enumerate([*BEST.values(), *kept.values(), (1.5, 0.1)]):
        value = number / 10  # the last setting was not chosen by anything
        records.append(record("gcl", alpha=alpha, beta=beta, accuracy=value, psnr=10 + value, ssim=value - 1))
    frame = analysis.benchmark_frame(records).set_index(["method", "measure"])
    assert frame["value"].to_dict() == {
        ("gcl", "accuracy"): 0.0,
        ("gcl", "psnr"): 10.1,
        ("gcl", "ssim"): -0.9,
        ("gcl_kept", "accuracy"): 0.2,
        ("gcl_kept", "psnr"): 10.3,
        ("gcl_kept", "ssim"): -0.7,
    }
    assert frame.loc[("gcl_kept", "psnr"), ["alpha", "beta"]].tolist() == [1.0, 2.0]


def test_gcl_without_its_tuning_is_absent_and_named():
    evaluation = [record("gcl", alpha=a, beta=b) for a, b in BEST.values()]
    frame = analysis.benchmark_frame([record("mse"), *evaluation, *tuning()[:-1], *tuning(level=KEPT_LEVEL)])
    assert set(frame["method"]) == {"mse", "gcl_kept"}
    cells = analysis.complete_cells(frame, ["digits"], ["high"], ["mse", "gcl"], seeds=[0])
    assert cells["missing"].tolist() == ["gcl: none"]


def test_a_run_that_diverged_is_the_worst_and_is_counted():
    runs = [record("mse", seed=s, psnr=None if s == 0 else 10.0 + s) for s in range(3)]
    frame = analysis.benchmark_frame(runs)
    row = analysis.summary(frame).set_index("measure").loc["psnr"]
    assert (row["seeds"], row["diverged"], row["median"]) == (3, 1, 11.0)
    assert row["q1"] == -math.inf or row["q1"] <= 11.0
    both = analysis.benchmark_frame([*runs, *(record("alcl", seed=s, psnr=11.0) for s in range(3))])
    difference = analysis.paired_differences(both, "alcl", "mse", "psnr").iloc[0]
    assert (difference["ahead"], difference["behind"], difference["high"]) == (1, 1, math.inf)


def test_no_records_give_empty_tables():
    frame = analysis.benchmark_frame([])
    assert frame.empty
    assert analysis.summary(frame).empty
    assert analysis.paired_differences(frame, "alcl", "mse", "psnr").empty
    assert analysis.variance_ratios(frame, "alcl", "mse", "psnr").empty
    assert analysis.repair_share(frame, "alcl", "psnr").empty
    assert analysis.training_runs([]).empty
    assert analysis.tuning_landscape([], "digits", "high", "psnr").empty


def test_incomplete_cells_are_named():
    runs = [record("mse", level=level, seed=s) for level in ("low", "high") for s in range(3)]
    runs += [record("alcl", level="low", seed=s) for s in range(2)]
    cells = analysis.complete_cells(
        analysis.benchmark_frame(runs), ["digits", "mnist"], ["low", "high"], ["mse", "alcl"], range(3)
    )
    assert cells.values.tolist() == [
        ["digits", "low", False, "alcl: 2 of 3 seeds"],
        ["digits", "high", False, "alcl: none"],
        ["mnist", "low", False, "no records"],
        ["mnist", "high", False, "no records"],
    ]
    frame = analysis.benchmark_frame(runs)
    assert analysis.complete_cells(frame, ["digits"], ["low"], ["mse"], range(3))["complete"].tolist() == [True]


def test_summary_is_numpys(claimed_frame):
    table = analysis.summary(claimed_frame)
    assert table["dataset"].drop_duplicates().tolist() == list(dict.fromkeys(d for d in SETTINGS if d in BENCHMARK))
    assert table["level"].drop_duplicates().tolist() == list(LEVELS)
    row = table.query("dataset == 'mnist' and level == 'high' and method == 'alcl' and measure == 'psnr'").iloc[0]
    values = claimed_frame.query("dataset == 'mnist' and level == 'high' and method == 'alcl' and measure == 'psnr'")
    x = values["value"].to_numpy()
    expected = [10, np.median(x), *np.percentile(x, [25, 75]), np.sqrt(((x - x.mean()) ** 2).sum() / 9)]
    assert row[["seeds", "median", "q1", "q3", "sd"]].astype(float).tolist() == pytest.approx(expected)


# --- statistics -----------------------------------------------------------------------------------------------------


def test_bootstrap_interval_is_scipys():
    x = np.random.default_rng(3).standard_normal(40)
    ours = analysis.bootstrap_interval(x, 0.9, lambda r: r.mean(axis=1))
    theirs = stats.bootstrap((x,), np.mean, confidence_level=0.9, method="percentile", n_resamples=9999, rng=1)
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=0.02)
    assert ours == analysis.bootstrap_interval(x, 0.9, lambda r: r.mean(axis=1))


@pytest.mark.parametrize(("n", "confidence"), [(5, 0.9), (11, 0.95), (21, 0.99)])
def test_bootstrap_median_has_its_exact_quantiles(n, confidence):
    # For odd n the median of a resample is at most the k-th smallest value iff more than half of the draws are among
    # the k smallest: a binomial probability. Values 1..n, so that a value is its rank.
    ranks = np.arange(1, n + 1)
    exact = stats.binom.sf(n // 2, n, ranks / n)
    tail = (1 - confidence) / 2
    low, high = analysis.bootstrap_interval(ranks.astype(float), confidence)
    assert low == ranks[exact >= tail][0]
    assert high == ranks[exact >= 1 - tail][0]


def test_bootstrap_resamples_rows_together():
    x = np.random.default_rng(0).standard_normal(10)
    pairs = np.stack([x, x + 3], axis=1)  # the difference is the same in every row, so in every resample
    low, high = analysis.bootstrap_interval(pairs, statistic=lambda r: r.mean(axis=1) @ [-1, 1])
    assert (low, high) == pytest.approx((3, 3))


def test_median_interval_is_exact():
    # The 2nd and 9th of ten values hold the median unless at most one value lies on one side of it: a binomial sum.
    x = np.random.default_rng(1).standard_normal(10)
    inner = 1 - 2 * stats.binom.cdf(1, 10, 0.5)
    assert analysis.median_interval(x, inner - 1e-6) == tuple(np.sort(x)[[1, 8]])
    assert analysis.median_interval(x, inner + 1e-6) == (x.min(), x.max())
    assert analysis.median_interval(x[:5]) == (-math.inf, math.inf)
    assert analysis.median_interval([-math.inf, 1, 2, 3, 4, 5]) == (-math.inf, 5)


def test_intervals_cover_as_the_ledger_says():
    rng, simulated = np.random.default_rng(7), 250
    hits = {"bootstrap": 0, "exact": 0, "jackknife": 0}
    for seed in range(simulated):
        x = rng.standard_normal((10, 2, 2))
        for name, (low, high), truth in (
            ("bootstrap", analysis.bootstrap_interval(x[:, 0, 0], seed=seed), 0),
            ("exact", analysis.median_interval(x[:, 0, 0], 1 - 0.05 / 12), 0),
            ("jackknife", analysis.variance_ratio_interval(x), 1),
        ):
            hits[name] += low <= truth <= high
    # within three binomial standard errors of the nominal coverage, or above it
    assert hits["bootstrap"] / simulated > 0.95 - 0.041
    assert hits["exact"] / simulated > 1 - 0.05 / 12 - 0.012
    assert 0.95 - 0.041 < hits["jackknife"] / simulated < 0.995


def test_the_jackknife_is_millers():
    # One cell: pseudo-values of log s_a^2 - log s_b^2, written out.
    a, b = np.random.default_rng(2).standard_normal((2, 7))
    logs = [math.log(a[k].var(ddof=1) / b[k].var(ddof=1)) for k in (np.arange(7) != i for i in range(7))]
    pseudo = [7 * math.log(a.var(ddof=1) / b.var(ddof=1)) - 6 * value for value in logs]
    expected = stats.ttest_1samp(pseudo, 0).confidence_interval(0.9)
    found = analysis.variance_ratio_interval(np.stack([a, b], axis=1)[:, None], 0.9)
    assert np.log(found) == pytest.approx([expected.low, expected.high])
    assert np.isnan(analysis.variance_ratio_interval(np.ones((5, 1, 2)))).all()


def test_fewest_seeds_is_where_a_sign_test_can_first_reject():
    for comparisons in (1, 2, 4, 12, 30):
        n = analysis.fewest_seeds(comparisons)
        p = [stats.binomtest(k, k).pvalue * comparisons for k in (n - 1, n)]
        assert p[0] > 0.05 >= p[1]
    assert analysis.fewest_seeds() == 6
    with pytest.raises(ValueError, match="comparisons"):
        analysis.fewest_seeds(0)


@pytest.mark.parametrize("seed", range(5))
def test_signed_rank_p_is_scipys(seed):
    rng = np.random.default_rng(seed)
    for n in (4, 10, 12, 30):
        d = rng.standard_normal(n) + 0.4
        assert analysis.signed_rank_p(d) == pytest.approx(stats.wilcoxon(d).pvalue)


def test_signed_rank_p_with_ties_is_the_permutation_test_and_zeros_are_dropped():
    d = np.array([1.0, 1.0, 2.0, -1.0, 3.0, 2.0, -2.0, 4.0])
    ranks = stats.rankdata(np.abs(d))
    oracle = stats.permutation_test(
        (d,), lambda x, axis=-1: np.sum(np.sign(x) * ranks, axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    assert analysis.signed_rank_p(d) == pytest.approx(oracle.pvalue)
    assert analysis.signed_rank_p([*d, 0.0, 0.0]) == pytest.approx(oracle.pvalue)
    assert analysis.signed_rank_p([0.0, 0.0]) == 1.0


def test_holm_is_the_closure_of_bonferroni():
    # Closed testing: a hypothesis is rejected iff every intersection that holds it is; Holm is the shortcut.
    p = [0.01, 0.04, 0.03, 0.005, 0.5]
    subsets = [s for k in range(1, 6) for s in itertools.combinations(range(5), k)]
    closed = [max(min(1.0, len(s) * min(p[j] for j in s)) for s in subsets if i in s) for i in range(5)]
    assert analysis.holm(p) == pytest.approx(closed)
    assert analysis.holm([0.02, math.nan, 0.04])[[0, 2]] == pytest.approx([0.04, 0.04])
    assert np.isnan(analysis.holm([math.nan])).all()


def test_paired_differences(claimed_frame):
    table = analysis.paired_differences(claimed_frame, "alcl", "mse", "accuracy")
    assert len(table) == len(BENCHMARK) * len(LEVELS)
    row = table.query("dataset == 'cifar10' and level == 'high'").iloc[0]
    cell = claimed_frame.query("dataset == 'cifar10' and level == 'high' and measure == 'accuracy'")
    a, b = (cell[cell["method"] == m].sort_values("seed")["value"].to_numpy() for m in ("alcl", "mse"))
    assert row["difference"] == pytest.approx(np.median(a - b))
    assert row["p"] == pytest.approx(stats.wilcoxon(a, b).pvalue)
    assert row["low"] <= row["difference"] <= row["high"]
    assert (row["ahead"], row["behind"], row["tied"]) == (10, 0, 0)
    # Pairing is what makes it sharp: seeds alone spread far more than the difference does.
    assert row["high"] - row["low"] < 0.2 * np.ptp(a)
    # 20 cells at 10 seeds can be significant: 2^-9 x 20 < 0.05. At 3 seeds nothing can, and the table says so.
    assert (table["note"] == "").all()
    few = claimed_frame[claimed_frame["seed"] < 3]
    few = analysis.paired_differences(few, "alcl", "mse", "accuracy")
    assert (few["p_holm"] > 0.05).all()
    assert (few["note"] == "needs 10 seeds to be significant").all()


def test_pairs_need_both_methods():
    runs = [record("mse", seed=s, accuracy=0.1 * s) for s in (0, 1, 2)]
    runs += [record("alcl", seed=s, accuracy=0.1 * s + 0.05) for s in (2, 1, 7)]
    row = analysis.paired_differences(analysis.benchmark_frame(runs), "alcl", "mse", "accuracy").iloc[0]
    assert row["seeds"] == 2
    assert row["difference"] == pytest.approx(0.05)
    assert row["median_b"] == pytest.approx(0.15)


def test_variance_ratios():
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((2, 10))
    runs = [record("mse", seed=s, psnr=x[s]) for s in range(10)]
    runs += [record("alcl", seed=s, psnr=5 + 0.1 * y[s]) for s in range(10)]
    runs += [record("huber", seed=s, psnr=5 + 3 * x[s]) for s in range(10)]
    frame = analysis.benchmark_frame(runs)
    row = analysis.variance_ratios(frame, "alcl", "mse", "psnr").iloc[0]
    assert row["ratio"] == pytest.approx(0.01 * np.var(y) / np.var(x))
    assert row["low"] < row["ratio"] < row["high"] < 0.1
    # Pitman and Morgan's test written as they did, with the F ratio and the correlation.
    f, r = 0.01 * np.var(y) / np.var(x), np.corrcoef(x, y)[0, 1]
    t = abs(f - 1) / 2 * math.sqrt(8 / (f * (1 - r**2)))
    assert row["p"] == pytest.approx(2 * stats.t.sf(t, 8))
    # One method three times the other, seed by seed: every resample says nine.
    exact = analysis.variance_ratios(frame, "huber", "mse", "psnr").iloc[0]
    assert exact[["ratio", "low", "high"]].astype(float).tolist() == pytest.approx([9, 9, 9])
    few = analysis.variance_ratios(frame[frame["seed"] < 2], "alcl", "mse", "psnr").iloc[0]
    assert np.isnan([few["ratio"], few["p_holm"]]).all()


def test_repair_share():
    values = {"mse": 0.4, "clean": 0.8, "alcl": 0.7, "l1": 0.4}
    runs = [record(m, seed=s, accuracy=v + 0.01 * s) for m, v in values.items() for s in range(7)]
    frame = analysis.benchmark_frame(runs)
    row = analysis.repair_share(frame, "alcl", "accuracy").iloc[0]
    assert row[["seeds", "damage"]].astype(float).tolist() == pytest.approx([7, 0.4])
    assert row[["share", "low", "high"]].astype(float).tolist() == pytest.approx([0.75] * 3)
    assert analysis.repair_share(frame, "l1", "accuracy")["share"].iloc[0] == pytest.approx(0)
    swapped = [record("clean", accuracy=0.3), record("mse", accuracy=0.4), record("alcl", accuracy=0.5)]
    row = analysis.repair_share(analysis.benchmark_frame(swapped), "alcl", "accuracy").iloc[0]
    assert row["damage"] == pytest.approx(-0.1)
    assert math.isnan(row["share"])


# --- costs and the landscape ----------------------------------------------------------------------------------------


def test_training_runs_count_the_tuning():
    grid = len(GCL_ALPHAS) * len(GCL_BETAS)
    assert grid == len(tuning_runs("digits", "high"))
    records = world(as_claimed, ["digits"], seeds=range(3), seconds={"mse": 2.0, "alcl": 3.0, "gcl": 2.5})
    table = analysis.training_runs(records).set_index("method")
    levels = len(LEVELS)
    assert table["tuning"].to_dict() == {"alcl": 0, "gcl": levels * grid, "gcl_kept": grid, "mse": 0}
    assert table["runs"].to_dict() == {
        "alcl": levels,
        "gcl": levels * grid + levels,
        "gcl_kept": grid + levels,
        "mse": levels,
    }
    assert table.loc["gcl", "seconds"] == pytest.approx(levels * grid * 1.0 + levels * 2.5)
    assert table.loc["alcl", ["seconds_per_run", "seconds"]].tolist() == pytest.approx([3.0, levels * 3.0])


def test_landscape_is_the_tuning_grid():
    records = [*tuning(), *tuning(level="low", best={"accuracy": (1.0, 2.0), "psnr": (1.0, 2.0)})]
    records += [record("gcl", alpha=2.0, beta=0.5, accuracy=0.99)]  # an evaluation, not part of it
    records += [record("alcl", seed=1000, evaluate_on="validation", accuracy=0.99)]
    table = analysis.tuning_landscape(records, "digits", "high", "accuracy")
    assert table.index.tolist() == list(GCL_ALPHAS)
    assert table.columns.tolist() == list(GCL_BETAS)
    assert table.stack().idxmax() == BEST["accuracy"]
    assert table.loc[2.0, 0.5] == pytest.approx(0.9)


def test_single_settings_judge_each_setting_of_gcl_in_both_measures():
    by_accuracy, by_psnr = BEST["accuracy"], BEST["psnr"]
    records = tuning()
    for seed in analysis.SEEDS:
        records += [
            record("alcl", seed=seed, accuracy=0.5, psnr=10.0 + seed),
            record("gcl", seed=seed, accuracy=0.6, psnr=7.0 + seed, alpha=by_accuracy[0], beta=by_accuracy[1]),
            record("gcl", seed=seed, accuracy=0.4, psnr=12.0 + seed, alpha=by_psnr[0], beta=by_psnr[1]),
        ]
    table = analysis.single_settings(records).set_index("tuned_by")
    assert table.loc["accuracy", ["accuracy", "psnr"]].tolist() == pytest.approx([0.1, -3.0])
    assert table.loc["psnr", ["accuracy", "psnr"]].tolist() == pytest.approx([-0.1, 2.0])
    assert table[["dataset", "level"]].drop_duplicates().to_numpy().tolist() == [["digits", "high"]]
    lacking = [r for r in records if r["digest"] != record("alcl", seed=3)["digest"]]
    assert analysis.single_settings(lacking).empty  # medians over fewer seeds would not be compared


# --- theorems -------------------------------------------------------------------------------------------------------


def notebook(root, name, *cells):
    """A pair of source and executed notebook, in <root>/notebooks; each cell (kind, source[, what became of it])."""
    made, lines, number = [], [], 0
    for kind, source, *outcome in cells:
        cell = {"cell_type": kind, "source": source.splitlines(keepends=True)}
        if kind == "markdown":
            lines += ["# %% [markdown]", *(f"# {line}" for line in source.splitlines())]
        else:
            ran, number = outcome[0] if outcome else "ok", number + 1
            cell["execution_count"] = None if ran == "not run" else number
            cell["outputs"] = [{"output_type": "error"}] if ran == "error" else []
            lines += ["# %%", source]
        made.append(cell)
    folder = root / "notebooks"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text("\n".join(lines) + "\n")
    (folder / f"{name}.ipynb").write_text(json.dumps({"cells": made}))
    return folder / f"{name}.ipynb"


def test_theorem_index_believes_only_executed_assertions(tmp_path):
    path = notebook(
        tmp_path,
        "01_first",
        ("markdown", "**Theorem L1** (a name,\nover two lines). Let x."),
        ("code", "# check: L1\nassert True"),
        ("markdown", "**Theorem L2** (not executed)."),
        ("code", "# check: L2\nassert True", "not run"),
        ("markdown", "**Theorem L3** (failed). See Theorem L1."),
        ("code", "# check: L3\nassert False", "error"),
        ("markdown", "**Theorem L4** (asserts nothing)."),
        ("code", "# check: L4\nprint('assertive')"),
        ("markdown", "**Theorem L5** (has no check)."),
        ("code", "assert True"),
    )
    notebook(
        tmp_path,
        "02_second",
        ("markdown", "**Theorem I1** (one)"),
        ("markdown", "**Theorem I2** (two)"),
        ("code", "# check: I1, I2\nassert 1"),
    )
    table = analysis.theorem_index(tmp_path / "notebooks")
    passed = {"L1": True, "L2": False, "L3": False, "L4": False, "L5": False, "I1": True, "I2": True}
    assert table["checked"].to_dict() == passed
    assert table.loc["L1"].tolist() == ["01_first", "A name, over two lines", True]
    # An executed notebook that is not the one of the source proves nothing, and neither does its absence.
    path.write_text(path.read_text().replace("# check: L1", "# check: L9"))
    assert not analysis.theorem_index(tmp_path / "notebooks").loc["L1", "checked"]
    path.unlink()
    assert not analysis.theorem_index(tmp_path / "notebooks").loc["L1", "checked"]


def test_theorem_claims():
    claims = [
        {"id": "1", "claim": "c", "kind": "theorem", "theorems": ["L1", "L2"]},
        {"id": "2", "claim": "d", "kind": "theorem", "theorems": ["L1"], "limits": ["A2"], "limit": "not the shape"},
    ]

    def judge(index):
        return analysis.claims_ledger([], index, claims)[["verdict", "missing"]].values.tolist()

    assert judge(theorems("L1", "L2", "A2")) == [["proved", ""], ["partly", "not the shape"]]
    assert judge(theorems("L1", "A2"))[0] == ["not yet proved", "no executed check of L2"]
    assert judge(theorems("L1", "L2"))[1] == ["not yet proved", "no executed check of A2"]
    assert {row[0] for row in judge(theorems("L1", "L2", "A2", checked=False))} == {"not yet proved"}
    assert {row[0] for row in judge(None)} == {"not yet proved"}


# --- verdicts of studies --------------------------------------------------------------------------------------------


def test_the_claims_are_the_abstracts_and_legal():
    claims = analysis.load_claims()
    assert [c["id"] for c in claims] == [*"123", *STUDIES]
    assert {c["id"]: c["number"] for c in claims if "number" in c} == {"5": 0.0475, "6": 0.0451}
    for claim in claims:
        if claim["kind"] == "theorem":
            assert claim["theorems"]
            assert bool(claim.get("limits")) == bool(claim.get("limit"))
        else:
            assert claim["study"] in ("superiority", "gain", "equivalence", "variance", "cost")
            assert set(claim["levels"]) <= set(LEVELS)
            assert claim["measure"] in analysis.TUNED_BY
            assert claim["datasets"] in ("all", "gray", "rgb")
    text = json.dumps(claims)
    assert not any(word in text for word in ("reproduced", "proved", "partly", "measured"))  # verdicts are computed


def test_without_records_nothing_is_measured_or_proved():
    assert set(verdicts([])) == {"not yet measured", "not yet proved"}
    ledger = analysis.claims_ledger([])
    assert (ledger.loc[ledger["kind"] == "study", "result"] == "no records").all()


def test_a_world_as_claimed_is_reproduced(claimed):
    found = verdicts(claimed, EVERY_THEOREM)
    assert found.drop("3").to_dict() == {
        **{"1": "proved", "2": "proved"},
        **dict.fromkeys(STUDIES, "reproduced"),
    }
    ledger = analysis.claims_ledger(claimed).set_index("id")
    assert (ledger.drop(["1", "2", "3"])["missing"] == "").all()
    assert set(ledger.drop(["1", "2", "3"])["embedded_verdict"]) == {"not yet measured"}
    # +0.03, +0.06 and +0.05 at three levels
    assert float(ledger.loc["4a", "result"].split()[1]) == pytest.approx(100 * (0.03 + 0.06 + 0.05) / 3, abs=0.1)
    assert ledger.loc["4a", "result"].endswith("for 12 of 12")
    assert "shape and scale both moved in 200 of 200" in ledger.loc["1", "result"]


def test_the_ledger_depends_on_neither_order_nor_repetition(claimed):
    shuffled = [claimed[i] for i in np.random.default_rng(0).permutation(len(claimed))]
    pd.testing.assert_frame_equal(analysis.claims_ledger(shuffled + claimed), analysis.claims_ledger(claimed))


def test_a_world_upside_down_is_not_reproduced():
    def reverse(method, dataset, level):
        return -as_claimed(method, dataset, level) - (0.05 if level == "low" and method == "alcl" else 0)

    slow = {"alcl": 30.0}
    found = verdicts(world(reverse, spread={"mse": 0.001, "gcl": 0.001, "alcl": 0.02}, seconds=slow))
    assert set(found.drop(["1", "2", "3"])) == {"not reproduced"}


def test_a_rival_that_always_diverges_is_beaten():
    records = claimed_world(datasets=EMBEDDED)
    for one in records:
        if method_of(one["config"]) == "mse":
            one["metrics"]["psnr"] = None
    ledger = analysis.claims_ledger(records).set_index("id")
    assert ledger.loc["4b", "embedded_verdict"] == "reproduced"
    assert ledger.loc["4b", "embedded"].startswith("mean +inf dB")


def test_no_difference_is_not_superiority_but_is_small():
    found = verdicts(world(lambda *cell: 0.0))
    assert set(found[["4a", "4b", "4c", "4d", "5", "6"]]) == {"not reproduced"}
    assert set(found[["7a", "7b"]]) == {"reproduced"}


def test_few_seeds_decide_nothing_and_are_named():
    records = claimed_world(seeds=range(3))
    ledger = analysis.claims_ledger(records).set_index("id")
    assert set(ledger.loc["4a":, "verdict"]) == {"not yet measured"}
    assert ledger.loc["4a", "missing"] == "mnist, cifar10, fashion_mnist, gtsrb: 3 of 10 seeds"
    # Numbers are shown, without an interval and without a verdict.
    assert ledger.loc["4a", "result"].startswith("too few seeds; so far mean +4.")
    assert ledger.loc["5", "result"].startswith("too few seeds; so far largest gain +")
    assert ledger.loc["4a", "result"].endswith("over 12 of 12 comparisons")
    assert "[" not in "".join(ledger.loc["4a":, "result"])
    one = analysis.claims_ledger(claimed_world(seeds=[0])).set_index("id").loc["4a"]
    assert (one["verdict"], one["result"]) == ("not yet measured", "too few seeds")


def test_a_missing_data_set_makes_it_partly_and_is_named():
    records = [r for r in claimed_world() if r["config"]["dataset"] != "gtsrb"]
    ledger = analysis.claims_ledger(records).set_index("id")
    assert set(ledger.loc[["4a", "4d", "7a", "8a", "9a"], "verdict"]) == {"partly"}
    assert (ledger.loc[["4a", "6", "8a"], "missing"] == "gtsrb: no complete pairs of runs").all()
    # An "up to" needs one cell: it is found in the others.
    assert ledger.loc[["5", "6"], "verdict"].tolist() == ["reproduced", "reproduced"]
    assert ledger.loc["5", "missing"] == ""


def test_seeds_between_decided_and_complete_make_it_partly():
    ledger = analysis.claims_ledger(claimed_world(seeds=range(9))).set_index("id")
    assert analysis.fewest_seeds(12) == 9
    assert ledger.loc["4a", "verdict"] == "partly"
    assert ledger.loc["4a", "missing"] == "mnist, cifar10, fashion_mnist, gtsrb: 9 of 10 seeds"
    records = [r for r in claimed_world() if (r["config"]["level"], r["config"]["seed"]) != ("high", 4)]
    assert analysis.claims_ledger(records).set_index("id").loc["6", "missing"] == (
        "cifar10/high, gtsrb/high: 9 of 10 seeds"
    )


def test_measured_but_neither_for_nor_against_is_undecided():
    records = [r for r in world(lambda *cell: 0.0) if r["config"]["dataset"] != "gtsrb"]
    found = verdicts(records)
    assert found["4c"] == found["8a"] == "undecided"


def test_one_cell_against_is_partly_and_named():
    def mixed(method, dataset, level):
        return (-1 if (dataset, level) == ("mnist", "moderate") else 1) * as_claimed(method, dataset, level)

    row = analysis.claims_ledger(world(mixed)).set_index("id").loc["4a"]
    assert row["verdict"] == "partly"
    assert row["result"].endswith("for 11 of 12, against 1 of 12 (mnist/moderate)")


def test_a_gain_that_is_real_but_smaller_is_partly():
    def half(method, dataset, level):
        return 0.4 * as_claimed(method, dataset, level)

    row = analysis.claims_ledger(world(half)).set_index("id").loc["5"]
    assert row["verdict"] == "partly"
    assert "over gcl" in row["result"]
    assert row["result"].startswith("largest gain +")


def test_the_gain_is_over_the_better_rival():
    def mse_is_better(method, dataset, level):
        return {"alcl": 0.06, "mse": 0.05}.get(method, 0.0)

    row = analysis.claims_ledger(world(mse_is_better)).set_index("id").loc["5"]
    assert "over mse" in row["result"]
    assert row["verdict"] == "partly"


def test_tuning_counts_in_the_cost_against_gcl():
    # A run of ALCL takes ten times as long, but 20 tuning runs of a second each precede GCL's.
    ledger = analysis.claims_ledger(claimed_world(seconds={"alcl": 10.0})).set_index("id")
    assert ledger.loc["9a", "verdict"] == "not reproduced"
    assert ledger.loc["9a", "result"].startswith("mean 10.00 times [10.00, 10.00]")
    assert ledger.loc["9b", "verdict"] == "reproduced"
    assert f"{10 / (len(GCL_ALPHAS) * len(GCL_BETAS) + 1):.2f} times" in ledger.loc["9b", "result"]


def test_embedded_sets_are_judged_by_themselves():
    row = analysis.claims_ledger(claimed_world(datasets=EMBEDDED)).set_index("id").loc["4a"]
    assert row["verdict"] == "not yet measured"
    assert row["embedded_verdict"] == "reproduced"
    assert row["embedded"].endswith("for 6 of 6")


def test_the_markdown_has_a_row_a_claim(claimed):
    ledger = analysis.claims_ledger(claimed, EVERY_THEOREM)
    lines = analysis.ledger_markdown(ledger).splitlines()
    assert len(lines) == 2 + len(ledger)
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    for line, row in zip(lines[2:], ledger.itertuples(), strict=True):
        assert line.startswith(f"| {row.id} | {row.claim.split('|')[0]}")
        assert f"**{row.verdict}**" in line


def test_the_synthetic_records_are_what_the_grid_would_record():
    one = record("gcl", alpha=2.0, beta=0.5)
    assert method_of(one["config"]) == "gcl"
    assert one["digest"] == method_run("gcl", "digits", "high", 0, alpha=2.0, beta=0.5).digest
