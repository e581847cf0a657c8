"""The specification curve: with effects of known size, against scipy and enumeration, and without any effect."""

import itertools
import statistics

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from alcl.experiments import specification
from alcl.experiments.analysis import fewest_seeds
from alcl.experiments.multiverse import (
    FEW,
    LEVELS,
    SEEDS,
    SENSORS,
    SETS,
    Condition,
    final_tuning,
    first_tuning,
    setting_of,
)
from alcl.experiments.readings import ALL_MEASURES, READINGS
from alcl.experiments.specification import (
    AXES,
    FAMILY,
    MEASURES,
    NO_RULE,
    OWN_ORACLE,
    Specifications,
    coverage,
    declared_seeds,
    exchanged,
    exchanges,
    interval_rank,
    joint_tests,
    observations,
    specifications,
)

HERE = Condition("mnist", "clipped", "high")
THERE = Condition("cifar10", "clean", "between")


def observed(value, conditions=(HERE, THERE), lost=()):
    """What `observations` would give: value(condition, method, seed, measure); `lost`: not recorded."""
    rows = []
    for condition in conditions:
        for method, seeds in declared_seeds()[condition].items():
            for seed, measure in itertools.product(seeds, MEASURES):
                gone = (condition, method, seed) in lost
                found = np.nan if gone else value(condition, method, seed, measure)
                key = [condition.sensor, condition.level, condition.dataset, method, seed, measure]
                rows.append([*key, found, f"{condition}{method}{seed}", "run" if gone else ""])
    names = ["sensor", "level", "dataset", "method", "seed", "measure", "value", "digest", "missing"]
    return pd.DataFrame(rows, columns=names)


def noise(condition, method, seed, measure, scale=0.001):
    """Always the same normal number for the same run and measure."""
    key = [sum(map(ord, f"{condition}{method}{measure}")), seed]
    return scale * np.random.default_rng(key).standard_normal()


def at(table, **choices):
    """The one row with these choices."""
    found = table[np.logical_and.reduce([table[name] == value for name, value in choices.items()])]
    assert len(found) == 1
    return found.iloc[0]


# --- what is declared -----------------------------------------------------------------------------------------------


def test_every_choice_is_a_row_with_no_record_at_all():
    specs = specifications(observations([]))
    table = specs.table
    assert not table["complete"].any()
    assert (table["missing"] != "").all()
    assert not table.duplicated(AXES).any()
    assert set(table["sensor"]) == set(SENSORS)
    assert set(table["level"]) == set(LEVELS)
    assert set(table["dataset"]) == set(SETS)
    assert set(table["reading"]) == set(MEASURES)
    assert table["estimate"].isna().all()
    assert np.isnan(specs.pairs).all()
    assert len(joint_tests(specs)) == 0
    # against MSE once, whatever the rule; units: points and relative for readings, one for PSNR
    each = table.groupby(["sensor", "level", "dataset", "reading", "unit"])
    assert set(each["against"].agg(lambda a: (a == "mse").sum())) == {1}
    assert set(table.loc[table["against"] == "mse", "rule"]) == {NO_RULE}
    rules = each["rule"].nunique() - 1
    assert rules.xs("clipped").unique().tolist() == [10]  # all
    assert rules.xs("clamped").unique().tolist() == [9]  # not the public default
    assert rules.xs("clean").unique().tolist() == [8]  # nor the one tuned on noisy targets


def test_seeds_are_those_of_all_declared_steps():
    seeds = declared_seeds()
    assert seeds[HERE]["alcl"] == seeds[HERE]["gcl:kept"] == seeds[HERE]["gcl:public"] == SEEDS
    assert seeds[HERE]["pca"] == FEW
    assert seeds[THERE]["alcl"] == FEW
    assert "gcl:public" not in seeds[THERE]
    assert seeds[Condition("mnist", "clipped", "extreme")]["gcl:one"] == SEEDS  # in two steps


def test_ten_seeds_are_just_enough_for_the_joint_interval():
    assert FAMILY == 24
    assert fewest_seeds(FAMILY) == len(SEEDS)
    assert set(OWN_ORACLE) == set(MEASURES)


# --- from records ---------------------------------------------------------------------------------------------------


def record(config, metrics):
    return {"digest": config.digest, "config": config.config(), "metrics": metrics}


def test_observations_find_the_runs_by_rule_and_name_what_is_missing():
    condition, best = Condition("mnist", "clean", "high"), (1.5, 1.0)

    def metrics(config, base=0.5):
        setting = dict(config.options)
        off = abs(np.log(setting["alpha"] / best[0])) + abs(np.log(setting["beta"] / best[1]))
        return dict.fromkeys(ALL_MEASURES, base - off)

    records = [record(config, metrics(config)) for config in first_tuning(condition)]
    records += [record(config, metrics(config)) for config in final_tuning(records, condition)]
    assert setting_of("one", records, condition) == best
    for seed in range(4):
        records.append(record(condition.run("alcl", seed), dict.fromkeys(ALL_MEASURES, 0.7 + seed / 100)))
        records.append(record(condition.gcl(best, seed), dict.fromkeys(ALL_MEASURES, 0.6)))
    records.append(record(condition.run("mse", 0), {**dict.fromkeys(ALL_MEASURES, 0.5), "psnr": None}))
    records.append(record(HERE.run("mse", 0), dict.fromkeys(ALL_MEASURES, 0.9)))  # another condition
    found = observations(records, [condition]).set_index(["method", "seed", "measure"])
    assert found.loc[("alcl", 3, "knn"), "value"] == pytest.approx(0.73)
    assert found.loc[("alcl", 3, "knn"), "digest"] == condition.run("alcl", 3).digest
    assert found.loc[("gcl:one", 2, "mlp"), ["value", "missing"]].tolist() == [0.6, ""]
    assert found.loc[("gcl:oracle_psnr", 2, "psnr"), "digest"] == condition.gcl(best, 2).digest
    assert found.loc[("gcl:median", 2, "psnr"), "missing"] == "run"
    assert found.loc[("gcl:kept", 2, "psnr"), ["missing", "digest"]].tolist() == ["tuning", ""]
    assert found.loc[("mse", 0, "psnr"), "value"] == -np.inf  # diverged
    assert np.isnan(found.loc[("mse", 1, "psnr"), "value"])  # not there
    table = specifications(found.reset_index()).table
    choices = {"reading": "knn", "unit": "points"}
    assert at(table, against="mse", **choices)["missing"] == "alcl: 4 of 5 seeds; mse: 1 of 5 seeds"
    assert at(table, against="gcl", rule="one", **choices)["missing"] == "alcl: 4 of 5 seeds; gcl:one: 4 of 5 seeds"
    assert at(table, against="gcl", rule="kept", **choices)["missing"].endswith("gcl:kept: not tuned")
    row = coverage(found.reset_index()).iloc[0]
    assert row["methods_done"] == 0
    assert row["methods"] == found.index.get_level_values("method").nunique()
    assert row["runs_done"] == 4 + 4 + 1
    assert row["untuned"] == 1


# --- estimates ------------------------------------------------------------------------------------------------------


def test_planted_effects_are_found_with_their_size_and_nothing_else():
    def value(condition, method, seed, measure):
        gain = 0.0475 if (condition, method, measure) == (HERE, "alcl", "knn") else 0.0
        gain += 0.03 if method == "gcl:one" and condition == THERE else 0.0
        return 0.5 + 0.1 * (seed % 3) + gain + noise(condition, method, seed, measure)

    table = specifications(observed(value)).table
    assert table["complete"].all()
    points = table[table["unit"] == "points"]
    planted = points[(points["sensor"] == "clipped") & (points["reading"] == "knn")]
    assert planted["estimate"].between(4.5, 5.0).all()
    assert (planted["low"] > 4.3).all()
    against_one = (points["sensor"] == "clean") & (points["rule"] == "one")
    assert points.loc[against_one, "estimate"].between(-3.2, -2.8).all()
    assert set(points.loc[against_one & (points["against"] == "better of both"), "rival"]) == {"gcl:one"}
    rest = points.drop(planted.index).drop(points[against_one].index)
    assert (rest["estimate"].abs() < 0.3).all()
    # per cent of the rival, seed by seed
    relative = table[(table["unit"] == "relative") & (table["sensor"] == "clipped") & (table["reading"] == "knn")]
    assert relative["estimate"].between(100 * 0.0475 / 0.7, 100 * 0.0475 / 0.5).all()


def test_a_specification_by_hand():
    ours = dict(zip(SEEDS, [0.50, 0.52, 0.61, 0.55, 0.58, 0.53, 0.57, 0.60, 0.51, 0.59], strict=True))
    theirs = dict(zip(SEEDS, [0.40, 0.51, 0.50, 0.50, 0.50, 0.54, 0.50, 0.50, 0.49, 0.50], strict=True))
    numbers = {"alcl": ours, "mse": theirs}
    table = specifications(observed(lambda c, m, s, _: numbers.get(m, {s: 0.3})[s], [HERE])).table
    found = at(table, reading="mlp", unit="points", against="mse")
    d = sorted(100 * (ours[s] - theirs[s]) for s in SEEDS)
    assert found[["estimate", "low", "high", "low_all", "high_all"]].tolist() == pytest.approx(
        [statistics.median(d), d[1], d[-2], d[0], d[-1]]
    )
    relative = at(table, reading="mlp", unit="relative", against="mse")
    assert relative["estimate"] == pytest.approx(statistics.median(100 * (ours[s] / theirs[s] - 1) for s in SEEDS))
    assert at(table, reading="mlp", unit="points", against="better of both", rule="kept")["rival"] == "mse"
    assert at(table, reading="psnr", unit="dB", against="mse")["estimate"] == pytest.approx(found["estimate"] / 100)


@pytest.mark.parametrize("n", [6, 7, 10, 15, 24])
def test_the_interval_is_scipys(n):
    values = np.random.default_rng(n).standard_normal(n)
    k, covered = interval_rank(n)
    theirs = stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    assert (np.sort(values)[k], np.sort(values)[-1 - k]) == pytest.approx((theirs.low, theirs.high))
    assert covered >= 0.95


def test_the_interval_covers_as_often_as_it_says():
    draws = np.sort(np.random.default_rng(0).exponential(size=(20_000, 10)), axis=1)
    k, covered = interval_rank(10)
    inside = (draws[:, k] < np.log(2)) & (draws[:, -1 - k] > np.log(2))
    assert inside.mean() == pytest.approx(covered, abs=0.004)


def test_five_seeds_have_no_joint_interval_and_say_what_theirs_is_worth():
    table = specifications(observed(lambda c, m, s, _: 0.5 + (m == "alcl") / 10 + s / 1000, [THERE])).table
    assert set(table["seeds"]) == {5}
    assert set(table["confidence"]) == {0.9375}
    assert np.isneginf(table["low_all"]).all()
    assert np.isposinf(table["high_all"]).all()


def test_nine_seeds_have_no_joint_interval_and_rivals_are_compared_at_common_seeds():
    data = observed(lambda c, m, s, _: 0.5 + (m == "alcl") * s / 10, [HERE])
    nine = specifications(data[data["seed"] < 9]).table
    assert set(nine["seeds"]) == {9}
    assert np.isneginf(nine["low_all"]).all()
    assert (nine["confidence"] > 0.95).all()
    # a rival that is declared with five seeds is compared at these
    table = specifications(data[(data["method"] != "mse") | data["seed"].isin(FEW)]).table
    found = at(table, reading="knn", unit="points", against="mse")
    assert (found["seeds"], found["estimate"], found["high"]) == (5, pytest.approx(20), pytest.approx(40))
    assert at(table, reading="knn", unit="points", against="gcl", rule="one")["estimate"] == pytest.approx(45)


def test_exchanged_a_relative_gain_is_relative_to_alcl():
    specs = specifications(observed(lambda c, m, s, _: 0.8 if m == "alcl" else 0.5, [HERE]))
    chosen = {"reading": "knn", "against": "mse"}
    relative, points = (specs.pairs[at(specs.table, unit=unit, **chosen).name] for unit in ("relative", "points"))
    assert relative == pytest.approx(np.tile([60.0, -37.5], (10, 1)))  # 0.8 / 0.5, and 0.5 / 0.8
    assert points == pytest.approx(np.tile([30.0, -30.0], (10, 1)))


def test_runs_that_diverged_are_the_worst_there_is():
    def value(condition, method, seed, measure):
        return -np.inf if method == "mse" or (method == "gcl:one" and seed < 2) else 0.5

    table = specifications(observed(value, [HERE])).table
    against = table[(table["against"] == "mse")]
    assert np.isposinf(against["estimate"]).all()
    one = table[(table["against"] == "gcl") & (table["rule"] == "one")]
    assert (one["estimate"] == 0).all()
    assert np.isposinf(one["high_all"]).all()
    both = at(table, against="better of both", rule="median", reading="knn", unit="relative")
    assert both["rival"] == "gcl:median"


def test_one_lost_run_takes_away_every_specification_that_needs_it_and_no_other():
    whole = specifications(observed(noise)).table
    table = specifications(observed(noise, lost=[(HERE, "mse", 7)])).table
    needs = (table["sensor"] == "clipped") & (table["against"] != "gcl")
    assert (table["complete"] == ~needs).all()
    assert set(table.loc[needs, "missing"]) == {"mse: 9 of 10 seeds"}
    assert table.loc[needs, "estimate"].isna().all()
    pd.testing.assert_frame_equal(table[~needs], whole[~needs])


# --- the joint test -------------------------------------------------------------------------------------------------


def made(pairs, axes=None):
    """Specifications on the curve from differences, shape (rows, seeds): exchanged, they change their sign."""
    pairs = np.asarray(pairs, dtype=float)
    full = np.full((len(pairs), len(SEEDS)), np.nan)
    full[:, : pairs.shape[1]] = pairs
    table = pd.DataFrame({name: ["x"] * len(pairs) for name in AXES} | {"reading": READINGS[0]} | (axes or {}))
    return Specifications(table.assign(complete=True), np.stack([full, -full], axis=-1))


def correlated(rng, rows, seeds, effect=0.0):
    """Differences with a part that all specifications of a seed share."""
    return effect + 0.8 * rng.standard_normal((1, seeds)) + 0.6 * rng.standard_normal((rows, seeds))


def test_exchanges_are_all_of_them_or_a_fixed_sample():
    few = exchanges(5)
    assert few.shape == (32, 5)
    assert len(np.unique(few, axis=0)) == 32
    assert not few[0].any()
    many = exchanges(20)
    assert many.shape == (1 + specification.RESAMPLES, 20)
    assert not many[0].any()
    assert np.array_equal(many, exchanges(20))
    assert not np.array_equal(many, exchanges(20, seed=1))
    assert many[1:].mean() == pytest.approx(0.5, abs=0.01)


def test_against_enumeration_with_five_and_ten_seeds_together():
    """With ordinary Python: exchange, take medians and intervals, count."""
    rng = np.random.default_rng(3)
    pairs = rng.normal(0.3, 1, (7, 6, 2))
    pairs[:3, 4:] = np.nan  # these have four seeds only
    names = {name: ["x"] * 7 for name in AXES} | {"reading": READINGS[0], "complete": True}
    padded = np.concatenate([pairs, np.full((7, len(SEEDS) - 6, 2), np.nan)], axis=1)
    got = joint_tests(Specifications(pd.DataFrame(names), padded)).set_index("statistic")
    found = []
    for flips in itertools.product((0, 1), repeat=6):
        rows = [[row[s][flip] for s, flip in enumerate(flips) if not np.isnan(row[s][0])] for row in pairs]
        medians = [statistics.median(row) for row in rows]
        ends = [(min(row), max(row)) for row in rows]  # of 4 and of 6 seeds: the extremes
        share = sum(m > 0 for m in medians) / 7
        counts = [sum(low > 0 for low, _ in ends), sum(high < 0 for _, high in ends)]
        found.append([share, statistics.median(medians), *counts])
    for name, values in zip(("share positive", "median", "ahead", "behind"), zip(*found, strict=True), strict=True):
        row = got.loc[name]
        assert row["observed"] == pytest.approx(values[0])
        reached = [sum(v >= values[0] - 1e-12 for v in values) / 64, sum(v <= values[0] + 1e-12 for v in values) / 64]
        ahead, behind = reached[::-1] if name == "behind" else reached
        assert (row["p_ahead"], row["p_behind"]) == pytest.approx((ahead, behind))


def test_against_scipys_permutation_test_of_pairs():
    """scipy exchanges the members of pairs; given the places of the values as data, it exchanges for all at once."""
    pairs = np.random.default_rng(5).normal(0.4, 1, (9, 7, 2))
    pairs[..., 1] += 0.5 * pairs[..., 0]  # not the negative: as relative gains are

    def median(first, second):
        chosen = np.asarray(second < first, dtype=int)  # 1 where exchanged
        return np.median(np.median(pairs[:, np.arange(7), chosen], axis=1))

    places = (np.arange(7), np.arange(7) + 7)
    how = {"permutation_type": "samples", "vectorized": False, "alternative": "greater"}
    theirs = stats.permutation_test(places, median, **how)
    names = {name: ["x"] * 9 for name in AXES} | {"reading": READINGS[0], "complete": True}
    padded = np.concatenate([pairs, np.full((9, len(SEEDS) - 7, 2), np.nan)], axis=1)
    got = joint_tests(Specifications(pd.DataFrame(names), padded)).set_index("statistic").loc["median"]
    assert got["observed"] == pytest.approx(theirs.statistic)
    assert got["p_ahead"] == pytest.approx(theirs.pvalue)
    null = np.median(exchanged(padded, exchanges(len(SEEDS)))["estimate"], axis=1)  # each of scipy's 8 times
    assert np.sort(null) == pytest.approx(np.sort(theirs.null_distribution).repeat(8))


def test_memory_in_pieces_changes_nothing():
    specs = made(correlated(np.random.default_rng(0), 11, 10))
    whole, pieces = (exchanged(specs.pairs, exchanges(10), size=size) for size in (10**7, 1))
    assert all(np.array_equal(whole[name], pieces[name]) for name in whole)


def test_without_an_effect_p_values_are_uniform_however_dependent_specifications_are():
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        table = joint_tests(made(correlated(rng, 8, 8))).set_index("statistic")
        found.append([*table.loc[["share positive", "median", "ahead"], "p_ahead"], table.loc["behind", "p_behind"]])
    p = np.array(found)
    assert stats.kstest(p[:, 1], "uniform").pvalue > 0.01  # the median: nearly continuous
    for column in p.T:  # counts are coarse: never too small too often
        for level in (0.02, 0.05, 0.1, 0.5):
            assert (column <= level).mean() <= level + 3 * np.sqrt(level * (1 - level) / len(p))
    # what the dependence would do to a test that takes specifications for independent ones
    naive = [stats.binomtest(int((d > 0).sum()), 8).pvalue for d in (correlated(rng, 8, 8)[:, 0] for _ in range(300))]
    assert np.mean(np.array(naive) <= 0.05) > 0.15


def test_an_effect_is_found_and_its_side():
    rng = np.random.default_rng(1)
    differences = np.concatenate([correlated(rng, 6, 10, 3.0), correlated(rng, 6, 10, -3.0)])
    specs = made(differences, {"against": ["mse"] * 6 + ["gcl"] * 6, "unit": "points"})
    table = joint_tests(specs, [("against",), ("unit",)]).set_index(["group", "statistic"])
    for name in ("median", "ahead"):
        assert table.loc[("mse", name), "p_ahead"] <= 11 / 1024
        assert table.loc[("mse", name), "p_behind"] > 0.9
    for name in ("median", "behind"):
        assert table.loc[("gcl", name), "p_behind"] <= 11 / 1024
    # as they depend on each other, all have one sign often enough without any effect
    assert table.loc[("mse", "share positive"), "observed"] == 1
    assert table.loc[("mse", "share positive"), "p_ahead"] > 0.2
    assert table.loc[("mse", "ahead"), "observed"] == table.loc[("gcl", "behind"), "observed"] == 6
    assert table.loc[("points", "median"), "p_ahead"] > 0.1  # together they cancel
    assert table.loc[("points", "median"), "specifications"] == 12


def test_what_is_incomplete_or_beside_the_curve_is_in_no_test():
    specs = made(correlated(np.random.default_rng(2), 6, 10))
    specs.table.loc[1, "complete"], specs.table.loc[2, "reading"] = False, "psnr"
    assert set(joint_tests(specs)["specifications"]) == {4}


def test_rules_that_chose_the_same_networks_are_counted_as_one_thing():
    rows = correlated(np.random.default_rng(2), 3, 10)
    assert set(joint_tests(made(rows[[0, 0, 1, 2]]))["distinct"]) == {3}


def test_groups_are_axes():
    with pytest.raises(ValueError, match="groups must be one of sensor, level"):
        joint_tests(made(np.ones((2, 10))), [("seed",)])
