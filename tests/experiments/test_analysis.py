"""Records with known answers, and statistics against oracles that share no formula with them."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from made_records import BEST, as_claimed, record, tuning, world
from scipy import stats

from alcl.experiments import analysis
from alcl.experiments.levels import LEVELS
from alcl.experiments.protocol import BENCHMARK, GCL_ALPHAS, GCL_BETAS, KEPT_LEVEL, tuning_runs
from alcl.experiments.reconstruction import METHODS, SETTINGS, method_of, method_run


@pytest.fixture(scope="module")
def claimed_frame():
    return analysis.benchmark_frame(world(as_claimed))


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
    conditions = analysis.complete_conditions(frame, ["digits"], ["high"], ["mse", "gcl"], seeds=[0])
    assert conditions["missing"].tolist() == ["gcl: none"]


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


def test_incomplete_conditions_are_named():
    runs = [record("mse", level=level, seed=s) for level in ("low", "high") for s in range(3)]
    runs += [record("alcl", level="low", seed=s) for s in range(2)]
    conditions = analysis.complete_conditions(
        analysis.benchmark_frame(runs), ["digits", "mnist"], ["low", "high"], ["mse", "alcl"], range(3)
    )
    assert conditions.values.tolist() == [
        ["digits", "low", False, "alcl: 2 of 3 seeds"],
        ["digits", "high", False, "alcl: none"],
        ["mnist", "low", False, "no records"],
        ["mnist", "high", False, "no records"],
    ]
    frame = analysis.benchmark_frame(runs)
    assert analysis.complete_conditions(frame, ["digits"], ["low"], ["mse"], range(3))["complete"].tolist() == [True]


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
    # One condition: pseudo-values of log s_a^2 - log s_b^2, written out.
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
    condition = claimed_frame.query("dataset == 'cifar10' and level == 'high' and measure == 'accuracy'")
    a, b = (condition[condition["method"] == m].sort_values("seed")["value"].to_numpy() for m in ("alcl", "mse"))
    assert row["difference"] == pytest.approx(np.median(a - b))
    assert row["p"] == pytest.approx(stats.wilcoxon(a, b).pvalue)
    assert row["low"] <= row["difference"] <= row["high"]
    assert (row["ahead"], row["behind"], row["tied"]) == (10, 0, 0)
    # Pairing is what makes it sharp: seeds alone spread far more than the difference does.
    assert row["high"] - row["low"] < 0.2 * np.ptp(a)
    # 20 conditions at 10 seeds can be significant: 2^-9 x 20 < 0.05. At 3 seeds nothing can, and the table says so.
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


def test_sides_are_those_of_the_whole_interval():
    ends = [("b", 0.1, 0.2), ("a", -0.1, 0.2), ("b", -0.2, -0.1), ("a", 0.0, 0.2), ("a", np.nan, np.nan), ("b", 1, 2)]
    counts = analysis.sides(pd.DataFrame(ends, columns=["rival", "low", "high"]), ["rival"])
    assert counts.reset_index().to_numpy().tolist() == [["b", 3, 2, 0, 1], ["a", 3, 0, 3, 0]]
    assert counts.columns.tolist() == ["conditions", "ahead", "unresolved", "behind"]


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


def test_the_synthetic_records_are_what_the_grid_would_record():
    one = record("gcl", alpha=2.0, beta=0.5)
    assert method_of(one["config"]) == "gcl"
    assert one["digest"] == method_run("gcl", "digits", "high", 0, alpha=2.0, beta=0.5).digest
