"""Spread over seeds, by loss and by reading: against other computations, and where the answer is known."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from alcl.experiments.analysis import variance_ratio_interval
from alcl.experiments.multiverse import Condition
from alcl.experiments.specification import FAMILY, MEASURES, declared_seeds
from alcl.experiments.spread import TRAINED, deviation_interval, sources, spread, variance_comparisons

CONDITION = Condition("mnist", "clipped", "high")
NAMES = ["sensor", "level", "dataset", "method", "seed", "measure", "value", "digest", "missing"]


def observed(value, condition=CONDITION, lost=()):
    """Observations of a condition: value(method, seed, measure); of `lost` methods, seed 0 is not recorded."""
    rows = []
    for method, seeds in declared_seeds()[condition].items():
        for seed in seeds:
            for measure in MEASURES:
                gone = method in lost and seed == 0
                key = [condition.sensor, condition.level, condition.dataset, method, seed, measure]
                rows.append([*key, np.nan if gone else value(method, seed, measure), "", "run" if gone else ""])
    return pd.DataFrame(rows, columns=NAMES)


def normal(method, seed, measure):
    return np.random.default_rng([sum(map(ord, method + measure)), seed]).standard_normal()


def test_the_interval_of_a_deviation_covers():
    rng, inside = np.random.default_rng(0), []
    for n in (5, 10):
        intervals = [deviation_interval(x) for x in rng.standard_normal((2000, n))]
        inside.append(np.mean([low < 1 < high for low, high in intervals]))
    assert inside[0] > 0.91
    assert inside[1] > 0.92


def test_the_interval_of_a_deviation_has_its_unit_and_its_limits():
    x = np.random.default_rng(1).standard_normal(10)
    assert deviation_interval(3 * x - 7) == pytest.approx(3 * np.array(deviation_interval(x)))
    assert deviation_interval(x)[0] < x.std(ddof=1) < deviation_interval(x)[1]
    for bad in ([1.0, 2.0], [1.0, 1.0, 1.0], [1.0, 2.0, -np.inf], [0.0, 0.0, 0.0, 1.0]):
        assert np.isnan(deviation_interval(bad)).all()


def test_spread_is_the_deviation_over_seeds_in_points():
    data = observed(lambda m, s, k: 0.5 + 0.01 * normal(m, s, k), lost=["mse"])
    table = spread(data).set_index(["method", "measure"])
    values = [0.5 + 0.01 * normal("alcl", seed, "knn") for seed in range(10)]
    row = table.loc[("alcl", "knn")]
    assert row["sd"] == pytest.approx(100 * np.std(values, ddof=1))
    assert row["median"] == pytest.approx(100 * np.median(values))
    assert (row["low"], row["high"]) == pytest.approx(deviation_interval(100 * np.array(values)))
    assert table.loc[("alcl", "psnr"), "sd"] == pytest.approx(
        np.std([0.01 * normal("alcl", seed, "psnr") for seed in range(10)], ddof=1)
    )
    assert "mse" not in table.index.get_level_values("method")  # a seed is missing


def test_variances_are_compared_with_all_rivals_that_are_complete():
    deviations = {"alcl": 1.0, "mse": 3.0}
    data = observed(lambda m, s, k: deviations.get(m, 0.5) * normal(m, s, k), lost=["gcl:kept"])
    table = variance_comparisons(data)
    assert set(table["rule"]) == {"none", *(m[4:] for m in declared_seeds()[CONDITION] if m[:4] == "gcl:")} - {"kept"}
    for row in table[table["reading"] == "mlp"].itertuples():
        rival = "mse" if row.against == "mse" else f"gcl:{row.rule}"
        a = np.array([normal("alcl", seed, "mlp") for seed in range(10)])
        b = np.array([deviations.get(rival, 0.5) * normal(rival, seed, "mlp") for seed in range(10)])
        assert row.ratio == pytest.approx(a.var() / b.var())
        assert row.p == pytest.approx(stats.pearsonr(a + b, a - b).pvalue)
        assert row.low_all < row.low < row.ratio < row.high < row.high_all
        pair = np.stack([a, b], axis=1)[:, None]
        assert (row.low_all, row.high_all) == pytest.approx(variance_ratio_interval(pair, 1 - 0.05 / FAMILY))
    assert len(variance_comparisons(data[data["method"] == "alcl"])) == 0


def test_all_the_spread_is_from_where_it_was_put():
    only_loss = sources(observed(lambda m, s, k: 1.0 * len(m))).set_index("measure")
    assert only_loss.loc["all readings", ["loss", "reading", "both", "rest"]].tolist() == pytest.approx([1, 0, 0, 0])
    assert only_loss.loc["psnr", "loss"] == pytest.approx(1)
    only_reading = sources(observed(lambda m, s, k: 1.0 * len(k))).set_index("measure")
    assert only_reading.loc["all readings", "reading"] == pytest.approx(1)
    assert np.isnan(only_reading.loc["knn", "loss"])  # nothing varies
    one = sources(observed(lambda m, s, k: float(m == "mse") + 1e-3 * normal(m, s, k))).set_index("measure")
    assert one.loc["mlp", "loss"] > 0.99
    assert one.loc["mlp", "without_mse"] < 0.4
    assert one.loc["mlp", "p"] < 0.01


def test_shares_are_those_of_the_analysis_of_variance():
    """A sum of squares is what a least-squares fit explains: dummies for every factor, by numpy's solver."""
    data = observed(lambda m, s, k: normal(m, s, k) + len(m) / 5 + (k == "restored") * (m == "alcl"))
    table = sources(data).set_index("measure")
    some = data[data["method"].isin(TRAINED) & data["measure"].isin(MEASURES[:5])]
    few = set.intersection(*(set(part["seed"]) for _, part in some.groupby("method")))
    some = some[some["seed"].isin(few)]
    y = some["value"].to_numpy()

    def explained(*factors):
        design = np.column_stack([np.ones(len(y)), *(pd.get_dummies(f).to_numpy(float) for f in factors)])
        fitted = design @ np.linalg.lstsq(design, y, rcond=None)[0]
        return ((fitted - y.mean()) ** 2).sum() / ((y - y.mean()) ** 2).sum()

    loss, reading = explained(some["method"]), explained(some["measure"])
    both = explained(some["method"] + some["measure"]) - explained(some["method"], some["measure"])
    found = table.loc["all readings", ["loss", "reading", "both", "rest"]].tolist()
    assert found == pytest.approx([loss, reading, both, 1 - loss - reading - both])
    knn = some[some["measure"] == "knn"].pivot(index="seed", columns="method", values="value")
    assert table.loc["knn", "p"] == pytest.approx(stats.friedmanchisquare(*knn.to_numpy().T).pvalue)


def test_without_an_effect_the_share_of_the_loss_is_what_chance_gives():
    rng = np.random.default_rng(0)
    tables = [sources(observed(lambda *_: rng.standard_normal())) for _ in range(12)]
    table = pd.concat(tables)
    one = table[table["measure"] != "all readings"]
    assert one["loss"].mean() == pytest.approx(one["by_chance"].mean(), abs=0.02)
    assert (one["p"] < 0.05).mean() < 0.15


def test_a_run_that_diverged_leaves_no_share_and_no_deviation():
    data = observed(lambda m, s, k: -np.inf if (m, s, k) == ("mse", 0, "psnr") else normal(m, s, k))
    assert np.isnan(sources(data).set_index("measure").loc["psnr", "loss"])
    assert sources(data).set_index("measure").loc["knn", "loss"] > 0
    assert np.isnan(spread(data).set_index(["method", "measure"]).loc[("mse", "psnr"), "sd"])
