"""Tables of label records: what is left out, pairing by seed, verdicts."""

import pandas as pd
import pytest

from alcl.related import label_results, label_runs
from alcl.related.label_runs import LabelRun, method_run


def record(method, accuracy, seed=0, noise="symmetric", rate=0.8, dataset="digits", **changes):
    config = method_run(method, dataset, noise, rate, seed, **changes)
    metrics = {"accuracy": accuracy, "memorised": 0.1}
    return {"digest": config.digest, "config": config.config(), "metrics": metrics, "history": {}, "data": "sum"}


def test_declared_runs_only():
    runs = [record("ce", 0.5), record("ce", 0.6, epochs=3), record("ce", 0.7, seed=99)]
    found = label_results.frame(runs)
    assert found["accuracy"].tolist() == [0.5]
    assert found["condition"].tolist() == ["symmetric 0.8"]
    assert found["digest"].tolist() == [LabelRun("digits", "symmetric", 0.8).digest]
    assert len(label_results.frame(runs, ["core"])) == 0


def test_differences_are_paired_by_seed_and_in_points():
    ours, theirs = (0.5, 0.6, 0.7, 0.8, 0.9), (0.45, 0.58, 0.6, 0.7, 0.95)
    runs = [record("jal_ce", v, seed) for seed, v in enumerate(ours)]
    runs += [record("ce", v, seed) for seed, v in reversed(list(enumerate(theirs)))]
    runs += [record("jal_ce", 0.1, 0, noise="human", rate=0.4)]  # without a partner
    (row,) = label_results.paired(label_results.frame(runs), ("jal_ce", "l2"), ("ce", "l2")).itertuples()
    assert (row.dataset, row.condition, row.seeds, row.ahead) == ("digits", "symmetric 0.8", 5, 4)
    assert row.difference == pytest.approx(5.0)
    assert row.low == pytest.approx(-5.0)
    assert row.high == pytest.approx(10.0)
    assert row.verdict == "undecided"
    few = label_results.paired(label_results.frame(runs[:2] + runs[5:]), ("jal_ce", "l2"), ("ce", "l2"))
    assert few["verdict"].tolist() == ["too few seeds"]


def test_medians_have_intervals():
    runs = label_results.frame([record("ce", v, seed) for seed, v in enumerate((0.1, 0.2, 0.3, 0.4, 0.9))])
    row = label_results.medians(runs.groupby("method")["accuracy"]).loc["ce"]
    assert (row["seeds"], row["median"]) == (5, 0.3)
    assert 0.1 <= row["low"] < 0.3 < row["high"] <= 0.9


def test_votes_count_no_comparison_with_too_few_seeds():
    table = pd.DataFrame({"verdict": ["ahead", "ahead", "behind", "too few seeds"]})
    assert label_results.votes(table) == {"ahead": 2, "undecided": 0, "behind": 1}
    assert label_results.verdict(len(label_runs.SEEDS), -2, -1) == "behind"
