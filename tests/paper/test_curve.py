"""What is said of the multiverse: numbers on the curve, verdicts, sentences, figures; with all, some and no runs."""

import itertools
import re
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from alcl.experiments import multiverse
from alcl.experiments.multiverse import LEVELS, SETS
from alcl.experiments.readings import READINGS
from alcl.experiments.specification import AXES, NO_RULE, Specifications, joint_tests, observations, specifications
from alcl.experiments.spread import variance_comparisons
from alcl.paper import curve, curve_figures
from alcl.paper.curve import CHOICE, answer, both_numbers, claimed, lacking, over_rules, position, verdicts

COLOUR = {"mnist": "gray", "fashion_mnist": "gray", "cifar10": "rgb", "gtsrb": "rgb"}
RATIOS = ["sensor", "level", "dataset", "reading", "against", "rule", "low_all", "high_all"]


def table(**intervals):
    """One choice (clipped, high, the rule "one"): against MSE, GCL and the better of both, readings and PSNR.

    intervals: data set -> (low_all, high_all) of every reading, None for one whose runs are missing; "psnr" likewise
    of PSNR in all data sets (default: ahead); "seeds": how many.
    """
    seeds, psnr, rows = intervals.pop("seeds", 10), intervals.pop("psnr", (0.5, 1.0)), []
    for name, against in itertools.product(SETS, ("mse", "gcl", "better of both")):
        there = intervals.get(name, (-1.0, 1.0))
        for reading, unit in [*itertools.product(READINGS, ("points", "relative")), ("psnr", "dB")]:
            low, high = (np.nan, np.nan) if there is None else psnr if reading == "psnr" else there
            rule = NO_RULE if against == "mse" else "one"
            key = ["clipped", "high", name, rule, reading, unit, against, COLOUR[name]]
            rows.append([*key, seeds, there is not None, (low + high) / 2, low, high, low, high])
    names = [*AXES, "colour", "seeds", "complete", "estimate", "low", "high", "low_all", "high_all"]
    return pd.DataFrame(rows, columns=names)


def said(found, id_, reading="knn", unit=None):
    found = found[(found["id"] == id_) & (found["reading"] == reading)]
    return set(found["verdict"] if unit is None else found.loc[found["unit"] == unit, "verdict"])


def of_claims(variances=None, **intervals):
    return verdicts(table(**intervals), pd.DataFrame(variances or [], columns=RATIOS))


def test_the_abstracts_numbers_come_from_its_claims():
    assert claimed() == {"gray": 4.75, "rgb": 4.51}


# --- verdicts -------------------------------------------------------------------------------------------------------


def test_more_is_shown_where_it_is_in_every_data_set():
    everywhere = dict.fromkeys(SETS, (0.1, 1.0))
    assert said(of_claims(**everywhere), "4a") == said(of_claims(**everywhere), "4c") == {"shown"}
    assert said(of_claims(**everywhere | {"gtsrb": (-0.1, 1.0)}), "4a") == {"not shown"}
    assert said(of_claims(**everywhere | {"gtsrb": (-1.0, -0.1)}), "4a") == {"contradicted"}
    assert said(of_claims(**everywhere | {"gtsrb": None}), "4a") == {"not yet measured"}
    # one data set on the other side decides, whatever the missing ones will say
    assert said(of_claims(mnist=(-1.0, -0.1), gtsrb=None, seeds=10), "4a") == {"contradicted"}
    assert said(of_claims(psnr=(0.1, 0.2)), "4b", "psnr") == {"shown"}
    assert said(of_claims(psnr=(-0.2, -0.1)), "4d", "psnr") == {"contradicted"}


@pytest.mark.parametrize(
    ("mnist", "fashion", "verdict"),
    [
        ((4.0, 5.0), (-1.0, 1.0), "shown"),
        ((5.0, 6.0), (-1.0, 1.0), "shown"),  # more than was claimed
        ((0.5, 4.7), (-1.0, 1.0), "excluded"),
        ((-1.0, 4.7), (-2.0, -1.0), "excluded"),
        ((-1.0, 5.0), (-2.0, -1.0), "not shown"),
        ((-2.0, -1.0), (-2.0, -1.0), "contradicted"),
        ((0.5, 4.7), None, "not yet measured"),
        ((4.0, 5.0), None, "shown"),
    ],
)
def test_a_gain_is_shown_excluded_contradicted_or_not_shown(mnist, fashion, verdict):
    found = of_claims(mnist=mnist, fashion_mnist=fashion, cifar10=(-9.0, 9.0))
    assert said(found, "5", unit="points") == said(found, "5", unit="relative") == {verdict}
    assert said(found, "6") == {"not shown"}  # of the colour sets alone


def test_less_variance_is_of_the_ratio():
    def ratios(low, high):
        keys = itertools.product(SETS, READINGS)
        return [["clipped", "high", name, reading, "mse", NO_RULE, low, high] for name, reading in keys]

    assert said(of_claims(ratios(0.1, 0.9)), "8a") == {"shown"}
    assert said(of_claims(ratios(0.1, 1.1)), "8a") == {"not shown"}
    assert said(of_claims(ratios(1.1, 9.0)), "8a") == {"contradicted"}
    assert said(of_claims(ratios(0.1, 0.9)), "8b") == {"not shown"}  # no ratio against GCL: nothing is shown


def test_five_seeds_are_too_few_for_any_verdict():
    found = of_claims(seeds=5, **dict.fromkeys(SETS, (0.1, 9.0)))
    assert set(found["verdict"]) == {"too few seeds"}
    assert "not yet measured" in set(of_claims(seeds=5, mnist=None)["verdict"])


def test_rules_are_counted_and_the_optimal_one_is_named():
    some = of_claims(**dict.fromkeys(SETS, (0.1, 9.0)))
    some.loc[(some["id"] == "4c") & (some["reading"] == "knn"), "rule"] = "oracle_codes"
    other = some.assign(verdict="not shown", rule=some["rule"].replace("oracle_codes", "public"))
    counted = over_rules(pd.concat([some, other[other["id"] == "4c"]])).set_index(["id", "reading", "unit"])
    row = counted.loc[("4c", "knn", "points")]
    assert (row["optimal"], row["shown"], row["not shown"]) == ("shown", 1, 1)
    assert counted.loc[("4a", "knn", "points"), "optimal"] == "shown"


# --- both numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, "yes"),
        ({"mnist": (4.8, 6.0)}, "no"),  # ahead by more than the number
        ({"cifar10": (-0.1, 6.0)}, "no"),  # the interval holds it, and 0
        ({"psnr": (-0.1, 1.0)}, "no"),
        ({"mnist": (4.8, 6.0), "fashion_mnist": (1.0, 6.0)}, "yes"),  # another gray set
        ({"fashion_mnist": None}, "yes"),  # it could not take it back
        ({"cifar10": None}, "not yet measured"),
        ({"seeds": 5}, "too few seeds"),
    ],
)
def test_both_numbers_recur_only_together_and_with_psnr(changes, found):
    ends = {"mnist": (4.0, 5.0), "cifar10": (4.0, 5.0)}
    answers = both_numbers(table(**ends | changes))
    assert set(answers["answer"]) == {found}
    assert not answers.duplicated(CHOICE).any()
    if not changes:
        assert set(answers["gray"]) == {"mnist"}
        assert set(answers["rgb"]) == {"cifar10"}


def test_positions_are_counted_by_colour():
    places = position(table(mnist=(4.0, 5.0), fashion_mnist=(9.0, 10.0), gtsrb=None))
    gray = places[(places["colour"] == "gray") & (places["against"] == "mse") & (places["unit"] == "points")].iloc[0]
    assert (gray["complete"], gray["declared"], gray["reach_it"]) == (10, 10, 0.5)
    assert (gray["lowest"], gray["highest"], gray["inside"], gray["inside_all"]) == (4.5, 9.5, 5, 5)
    rgb = places[places["colour"] == "rgb"].iloc[0]
    assert (rgb["complete"], rgb["declared"], rgb["number"]) == (5, 10, 4.51)


# --- with all, some and no runs -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def declared():
    found = observations([])
    return found[found["sensor"].isin(["clipped", "clean"]) & found["level"].isin(LEVELS)]


@pytest.fixture(scope="module")
def worlds(declared):
    """{name: (observed, specifications)}: nothing is run, half of the data sets, everything; ALCL is 0.05 ahead."""
    rng, found = np.random.default_rng(0), {}
    full = declared.copy()
    full["value"] = 0.6 + 0.05 * (full["method"] == "alcl") + 0.01 * rng.standard_normal(len(full))
    full["digest"] = [f"{'/'.join(key)}" for key in full[["sensor", "level", "dataset", "method"]].to_numpy()]
    full["missing"] = ""
    half = full.copy()
    half.loc[half["dataset"].isin(SETS[1:]), ["value", "digest", "missing"]] = [np.nan, "", "tuning"]
    for name, observed in (("none", declared), ("half", half), ("all", full)):
        found[name] = observed, specifications(observed)
    return found


def test_sentences_are_right_with_any_set_of_runs(worlds):
    texts = {name: answer(specs) for name, (_, specs) in worlds.items()}
    declared, choices = 2 * 4 * 10 * (21 + 17), {"clipped": 2 * 10 * 21, "clean": 2 * 10 * 17}
    assert texts["none"].startswith(
        f"None of the {declared:,} declared specifications has all its runs yet. Whether +4.75"
    )
    waiting = f"{choices['clipped']} wait for runs, {choices['clean']} have too few seeds"
    assert f"not decided yet under any choice: {waiting}" in texts["none"]
    assert texts["half"].startswith(
        f"Of the {declared // 4:,} complete ones of {declared:,} declared specifications, ALCL's"
    )
    assert texts["all"].startswith(
        f"Of all {declared:,} declared specifications, ALCL's estimate is above that of MSE in 1"
    )
    assert "MSE in 100 %" in texts["all"]
    assert "joint p = 0.002" in texts["all"]  # the least that ten seeds can give: 2 of 1,024
    answers = both_numbers(worlds["all"][1].table)["answer"].value_counts()
    assert f"under {answers['yes']} of the {choices['clipped']} decided choices (" in texts["all"]
    # whom they recur against: MSE has one choice where GCL has one a rule
    by_rival = {name: int(n) for n, name in re.findall(r"(\d+) against ([^:]+): ", texts["all"])}
    assert sum(by_rival.values()) == answers["yes"] > 0
    assert list(by_rival) == ["MSE", "GCL", "the better of both"]
    assert by_rival["MSE"] < by_rival["GCL"]
    assert " against " not in texts["none"]
    assert answer(worlds["half"][1], joint_tests(worlds["half"][1])) == texts["half"]


def test_what_is_lacking_and_what_is_there_are_everything(worlds):
    for _, specs in worlds.values():
        assert lacking(specs.table)["specifications"].sum() + specs.table["complete"].sum() == len(specs.table)
    assert set(lacking(worlds["half"][1].table)["dataset"]) == set(SETS[1:])


@pytest.mark.parametrize("name", ["none", "half", "all"])
def test_verdicts_and_figures_take_any_set_of_runs(worlds, name):
    observed, specs = worlds[name]
    variances = variance_comparisons(observed[observed["level"] == "high"])
    found = verdicts(specs.table, variances)
    assert set(found["verdict"]) <= set(curve.VERDICTS)
    assert len(curve.verdict_table(found)) == len(curve.verdict_table(found).drop_duplicates(["id", "reading", "unit"]))
    drawn = [curve_figures.draw_curve(specs), curve_figures.draw_effects(specs), curve_figures.draw_spread(variances)]
    titles = [figure.get_suptitle().replace("\n", " ") for figure in drawn]
    number = int(specs.on_curve().sum())
    assert (f"{number:,} " in titles[0]) if number else titles[0] == "No specification has all its runs yet"
    top, below = drawn[0].axes
    assert sum(len(dots.get_offsets()) for dots in top.collections[1:]) == number
    # every specification has one mark in every group of the dashboard, but for rules: MSE has "no GCL"
    assert sum(len(dots.get_offsets()) for dots in below.collections) == len(curve_figures.DASHBOARD) * number
    empty = [text.get_text() for ax in drawn[1].axes for text in ax.texts]
    assert len(empty) == (4 if name == "none" else 2)  # sensors
    for figure in drawn:
        plt.close(figure)


def test_the_figures_show_the_numbers_of_the_table(worlds):
    _, specs = worlds["half"]
    figure = curve_figures.draw_curve(specs)
    heights = figure.axes[0].collections[1].get_offsets()[:, 1]
    assert np.asarray(heights) == pytest.approx(np.sort(specs.table.loc[specs.on_curve(), "estimate"]))
    lines = [line.get_ydata()[0] for line in figure.axes[0].lines]
    assert set(claimed().values()) <= set(lines)
    plt.close(figure)


def test_the_effects_say_that_runs_are_missing_until_none_is(worlds):
    specs = worlds["half"][1]
    whole = specs.table.assign(complete=True, estimate=2.0, low=1.0, high=3.0)
    said = "Median gain over MSE"
    for rows, words in ((specs.table, f"{said} in what is run: "), (whole, f"{said}: +2.0 points")):
        figure = curve_figures.draw_effects(replace(specs, table=rows))
        assert figure.get_suptitle().startswith(words)
        plt.close(figure)


def test_progress_counts_what_is_declared(tmp_path):
    none = curve.progress(tmp_path)
    assert none["done"].sum() == 0
    assert none.iloc[-1]["part"] == "all"
    rows = multiverse.overview(tmp_path)
    assert none.iloc[-1]["declared"] == f"at most {sum(row['declared'] for row in rows)}"
    assert none.iloc[0]["declared"] == "160"  # ablations are tuned by nobody


def test_a_sentence_from_a_folder(tmp_path):
    run = multiverse.Condition("mnist", "clipped", "high").run("alcl", 0)
    record = {"digest": run.digest, "config": run.config(), "metrics": {}}
    multiverse.multiverse_store(tmp_path, "mnist").append(record)
    assert curve.answer_from(tmp_path).startswith("None of the 6,240")


def test_without_a_seed_in_common_a_row_is_not_on_the_curve():
    specs = Specifications(table(mnist=None).assign(digests=""), np.full((4 * 3 * 11, 10, 2), np.nan))
    assert int(specs.on_curve().sum()) == 3 * 3 * 10
