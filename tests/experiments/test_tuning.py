"""GCL's settings beside ALCL, on records with known answers."""

import pytest
from made_records import BEST, record, tuning

from alcl.experiments import analysis
from alcl.experiments.protocol import GCL_ALPHAS, GCL_BETAS, KEPT_LEVEL, TUNING_SEEDS
from alcl.experiments.tuning import at_one_setting, beside_tuning, chosen, gaps, wrong_bandwidth

OURS = {"seed": TUNING_SEEDS[0], "evaluate_on": "validation"}


def test_the_run_beside_tuning_is_judged_as_tuning_is():
    run = beside_tuning("digits", "high")
    assert (run.evaluate_on, run.seed) == ("validation", TUNING_SEEDS[0])
    assert run.digest == record("alcl", **OURS)["digest"]


def test_gaps_are_alcl_minus_every_setting():
    records = [*tuning(), record("alcl", accuracy=0.7, **OURS), record("alcl", accuracy=0.1)]
    found = gaps(records, "digits", "high", "accuracy")
    grid = analysis.tuning_landscape(records, "digits", "high", "accuracy")
    assert found.shape == (len(GCL_ALPHAS), len(GCL_BETAS))
    assert found.loc[BEST["accuracy"]] == pytest.approx(0.7 - grid.loc[BEST["accuracy"]])
    assert found.stack().idxmin() == BEST["accuracy"]
    assert at_one_setting(records, "digits", "high", "accuracy") == 0.7


@pytest.mark.parametrize("records", [[], tuning(), [record("alcl", **OURS)]])
def test_where_one_side_is_not_recorded_there_are_no_gaps(records):
    assert gaps(records, "digits", "high", "accuracy").size == 0
    assert wrong_bandwidth(records, ["digits"]).empty


def test_chosen_is_the_oracle_here_and_the_kept_setting():
    kept = {"accuracy": (1.0, 0.25), "psnr": (1.0, 2.0)}
    records = [*tuning(), *tuning(level=KEPT_LEVEL, best=kept)]
    found = chosen(records, "digits", "high", "psnr")
    assert {marker: (best["alpha"], best["beta"]) for marker, best in found.items()} == {
        "*": (4.0, 1.0),
        "x": (1.0, 2.0),
    }
    assert list(chosen(tuning(), "digits", "high", "psnr")) == ["*"]
    assert chosen([], "digits", "high", "psnr") == {}


def test_wrong_bandwidth_counts_in_points_and_in_decibels():
    records = [*tuning(), record("alcl", accuracy=0.7, psnr=5.0, **OURS)]
    table = wrong_bandwidth(records, ["mnist", "digits"]).set_index("measure")
    assert table[["dataset", "level"]].drop_duplicates().to_numpy().tolist() == [["digits", "high"]]
    for measure, factor, ours in (("accuracy", 100, 0.7), ("psnr", 1, 5.0)):
        grid = analysis.tuning_landscape(records, "digits", "high", measure).to_numpy()
        row = table.loc[measure]
        assert row["settings"] == grid.size
        assert row["at_least_ALCL"] == (grid >= ours).sum()
        assert row["ALCL_minus_best"] == pytest.approx(factor * (ours - grid.max()))
        assert row["minus_worst"] == pytest.approx(factor * (ours - grid.min()))
