"""The goal's verdicts on numbers with known answers, and on the records that there are."""

import itertools

import numpy as np
import pandas as pd
import pytest

from alcl.experiments import goal, sensor_runs
from alcl.experiments.goal import BOUNDS, MEASURES
from alcl.experiments.multiverse import SEEDS, Condition

CHOSEN = {method: candidates[0] for method, candidates in sensor_runs.CANDIDATES.items()}
HERE = Condition("mnist", "clipped", "high")


def frame(**values):
    """Observations of one condition: method ("gcl" for every oracle) to value(seed), the same for every measure."""
    rows = []
    for method, value in values.items():
        for measure, seed in itertools.product(MEASURES, SEEDS):
            names = [f"gcl:oracle_{m}" for m in MEASURES] if method == "gcl" else [method]
            rows += [(HERE.sensor, HERE.level, HERE.dataset, name, seed, measure, value(seed)) for name in names]
    return pd.DataFrame(rows, columns=["sensor", "level", "dataset", "method", "seed", "measure", "value"])


def verdicts(table, method="censored_alcl"):
    here = (table["dataset"] == HERE.dataset) & (table["sensor"] == HERE.sensor) & (table["level"] == HERE.level)
    part = table[here & (table["method"] == method)]
    return {(row.rival, row.measure): row.verdict for row in part.itertuples()}


def test_verdicts_go_by_the_median_and_are_sure_by_the_interval():
    spread = np.linspace(-0.004, 0.004, 10)
    table = goal.goal(
        frame(
            censored_alcl=lambda s: 0.5,
            gcl=lambda s: 0.5 - 0.001 - spread[s],
            l1=lambda s: 0.5,
            alcl=lambda s: 0.506,
        )
    )
    found = verdicts(table)
    assert {found["gcl", measure] for measure in MEASURES} == {"met"}  # ahead by less than its spread
    assert {found["l1", measure] for measure in MEASURES} == {"missed"}  # equal is not above
    assert found["alcl", "psnr"] == "surely met"  # 0.006 dB behind
    assert found["alcl", "restored"] == "surely missed"  # 0.6 points behind
    assert ("alcl", "ssim") not in found
    rest = table[table["dataset"] != HERE.dataset]
    assert set(rest["verdict"]) == {"not yet measured"}


def test_a_bound_is_met_when_it_is_reached_but_l1_must_be_passed():
    found = verdicts(goal.goal(frame(censored_alcl=lambda s: 0.5, gcl=lambda s: 0.5, l1=lambda s: 0.4)))
    assert found["gcl", "ssim"] == "surely met"
    assert found["l1", "ssim"] == "surely met"
    assert found["alcl", "psnr"] == "not yet measured"


def test_one_missing_seed_leaves_no_verdict():
    part = frame(censored_alcl=lambda s: np.nan if s == 7 else 1.0, gcl=lambda s: 0.0)
    assert set(verdicts(goal.goal(part)).values()) == {"not yet measured"}


def test_a_diverged_run_counts_as_the_worst():
    part = frame(censored_alcl=lambda s: -np.inf, gcl=lambda s: 0.0, alcl=lambda s: -np.inf)
    found = verdicts(goal.goal(part))
    assert found["gcl", "psnr"] == "surely missed"
    assert found["alcl", "psnr"] == "surely met"  # both diverged: no difference


@pytest.fixture(scope="module")
def of_nothing():
    return goal.observed([], CHOSEN)


def test_every_condition_rival_and_measure_has_a_row(of_nothing):
    table = goal.goal(of_nothing)
    assert len(goal.conditions()) == 16
    bounds = sum(len(measures) for measures in BOUNDS.values())
    # contaminated with both sensors; censored and Tobit with the clipped one
    assert len(table) == (16 + 8 + 8) * bounds
    assert set(table["verdict"]) == {"not yet measured"}
    counted = goal.summary(table)
    assert counted["not yet measured"].sum() == len(table)
    assert set(counted["method"]) == set(sensor_runs.SENSORS)


def test_observed_finds_the_runs_that_are_declared(of_nothing):
    runs = {run.digest for d in ("mnist", "gtsrb") for run in sensor_runs.evaluation_runs(CHOSEN, d)}
    own = of_nothing[of_nothing["method"].isin(CHOSEN) & of_nothing["dataset"].isin(["mnist", "gtsrb"])]
    assert set(own["digest"]) == runs
    assert set(of_nothing.loc[of_nothing["method"].isin(CHOSEN), "seed"]) == set(SEEDS)
    run = sensor_runs.evaluation_runs(CHOSEN, "mnist")[0]
    metrics = {"psnr": 20.0, "ssim": None, "restored": 0.5}
    record = {"digest": run.digest, "metrics": metrics, "config": run.config()}
    seen = goal.observed([record], CHOSEN).query(f"digest == '{run.digest}'").set_index("measure")["value"]
    assert seen.to_dict() == {"psnr": 20.0, "ssim": -np.inf, "restored": 0.5}
    undecided = goal.observed([], None)
    assert set(undecided.loc[undecided["method"].isin(CHOSEN), "missing"]) == {"tuning"}


def test_beside_compares_with_other_rules_and_the_ceiling(of_nothing):
    table = goal.beside(of_nothing)
    at_extreme = of_nothing[(of_nothing["level"] == "extreme") & (of_nothing["method"] == "gcl:oracle_ssim")]
    assert len(at_extreme) == 8 * len(SEEDS) * len(MEASURES)  # from records of their own
    assert {*goal.CEILINGS, "gcl:one", "gcl:noisy"} < set(table["rival"])
    assert set(table.loc[table["rival"].isin(goal.CEILINGS), "seeds"]) == {5}
    assert "alcl" in set(table["method"])


def test_together_counts_conditions_in_which_no_measure_is_behind():
    def rows(method, rival, *conditions):
        return [
            ("clipped", "high", f"set {i}", method, rival, measure, value)
            for i, values in enumerate(conditions)
            for measure, value in zip(MEASURES, values, strict=True)
        ]

    names = ["sensor", "level", "dataset", "method", "rival", "measure", "difference"]
    table = pd.DataFrame(
        [
            *rows("later", "gcl", (0.1, 0.0, 0.2), (0.1, -0.1, 9.0), (0.1, np.nan, 0.2), (-1.0, -np.inf, -1.0)),
            *rows("later", "l1", (1.0, 1.0, 1.0)),
            *rows("a first", "gcl", (np.nan, np.nan, np.nan)),
        ],
        columns=names,
    )
    found = [tuple(row) for row in goal.together(table).itertuples(index=False)]
    assert found == [("later", "gcl", 3, 1, 1), ("later", "l1", 1, 1, 0), ("a first", "gcl", 0, 0, 0)]
    nothing = goal.together(table[table["difference"].isna() & table["method"].eq("a first")])
    assert nothing["conditions"].tolist() == [0]


def test_milder_levels_are_observed_and_compared_on_demand(of_nothing):
    there = of_nothing[of_nothing["level"].isin(goal.MILDER)]
    assert set(there["level"]) == set(goal.MILDER)
    assert not set(goal.CEILINGS) & set(there["method"])  # the noise's own likelihood is not declared there
    table = goal.goal(of_nothing, goal.MILDER)
    assert set(table["level"]) == set(goal.MILDER)
    assert set(table["verdict"]) == {"not yet measured"}


def test_cells_are_medians_of_complete_methods_in_the_order_of_levels():
    low = frame(alcl=lambda s: s / 10, l1=lambda s: np.nan if s == 3 else 0.5).assign(level="low", missing="")
    low.loc[low["value"].isna(), "missing"] = "run"
    table = goal.cells(pd.concat([low.assign(level="high"), low]))
    assert table["level"].tolist() == ["low", "low", "high", "high"]
    alcl, l1 = (table[table["method"] == method].iloc[0] for method in ("alcl", "l1"))
    assert (alcl["seeds"], alcl["missing"], alcl["psnr"], alcl["restored"]) == (10, 0, 0.45, 45.0)
    assert (l1["seeds"], l1["missing"]) == (10, 1)
    assert l1[["psnr", "ssim", "restored"]].isna().all()
