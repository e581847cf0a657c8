"""Which runs notebook 05 makes."""

import pytest
from made_records import BEST, tuning

from alcl.experiments.protocol import tuning_runs
from alcl.experiments.reconstruction import method_run
from alcl.paper import figures
from alcl.paper.chosen_runs import choose_runs


def chosen(methods="all", records=(), jobs=1, level="high"):
    return choose_runs("digits", level, 3, 2, methods, jobs, records)


def test_all_are_those_of_the_benchmark():
    runs = chosen().runs
    assert {"mse", "l1", "gcl", "alcl", "alcl_kappa", "clean"} < set(runs)
    assert {"alcl_frozen", "log_cosh", "alcl_floor"}.isdisjoint(runs)
    assert runs["l1"].digest == method_run("l1", "digits", "high", 3, epochs=2).digest


@pytest.mark.parametrize("methods", ["l1, gcl", ["l1", "gcl"], ("l1", "gcl", "mse")])
def test_mse_and_alcl_are_always_there(methods):
    found = chosen(methods)
    assert list(found.runs) == ["mse", "l1", "gcl", "alcl"]
    assert found.labels["gcl"] == "GCL (untuned)"
    assert dict(found.runs["gcl"].options)["beta"] == 0.5
    assert found.used == []


def test_gcl_is_run_with_the_best_setting_by_each_measure():
    found = chosen("gcl", tuning())
    assert list(found.labels.values()) == ["MSE", "GCL (best accuracy)", "GCL (best PSNR)", "ALCL"]
    settings = [dict(found.runs[key].options) for key in ("gcl", "GCL (best PSNR)")]
    assert [(each["alpha"], each["beta"]) for each in settings] == list(BEST.values())
    assert found.looks["gcl"]["color"] != found.looks["GCL (best PSNR)"]["color"] == figures.COLORS["gcl"]
    assert found.used == [run.digest for run in tuning_runs("digits", "high")]
    one = chosen("gcl", tuning(best=dict.fromkeys(BEST, (2.0, 0.5))))
    assert one.labels == {"mse": "MSE", "gcl": "GCL (tuned)", "alcl": "ALCL"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"methods": 3}, "methods must be 'all', or names"),
        ({"methods": "l3"}, "l3"),
        ({"jobs": 0}, "jobs must be a whole number of at least 1; got 0"),
        ({"jobs": True}, "jobs must be a whole number"),
        ({"level": "loud"}, "loud"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        chosen(**given)
