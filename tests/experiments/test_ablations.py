"""A floor and caps on the shape, on records with known answers."""

import numpy as np
import pytest

from alcl.experiments import multiverse
from alcl.experiments.ablations import ABLATED, CLEAN_MEASURES, ablation_frame, shape_limits

EFFECT = {"alcl": 0.0, "alcl_floor": 0.5, "alcl_cap2": -1.0, "alcl_cap3": 0.0}


@pytest.fixture(scope="module")
def records():
    """Every declared ablation: a method's effect, twice as large if clipped, on what a seed gives to all methods."""
    found = []
    for number, condition in enumerate(ABLATED):
        for method in multiverse.ABLATIONS:
            for seed in multiverse.SEEDS:
                value = 10 * number + np.sin(seed) + EFFECT[method] * (2 if condition.sensor == "clipped" else 1)
                metrics = dict.fromkeys(CLEAN_MEASURES, value)
                history = {"alpha": [2.0, 2.0 + EFFECT[method]], "beta": [0.5, 0.1]}
                found.append({"digest": condition.run(method, seed).digest, "metrics": metrics, "history": history})
    return found


def test_the_declared_runs_are_two_sensors_at_two_levels():
    assert {(condition.dataset, condition.sensor, condition.level) for condition in ABLATED} == {
        ("mnist", sensor, level) for sensor in ("unclipped", "clipped") for level in ("high", "extreme")
    }


def test_a_row_for_each_run_and_measure_and_others_are_left_out(records):
    frame = ablation_frame([*records, {"digest": "0" * 16}])
    assert len(frame) == 4 * 4 * 10 * 5
    assert not frame.duplicated(["sensor", "level", "method", "seed", "measure"]).any()
    assert frame[frame["measure"] == "alpha"].groupby("method")["value"].first()["alcl_cap2"] == 1.0
    broken = dict(records[0], metrics=dict.fromkeys(CLEAN_MEASURES))
    assert np.isneginf(ablation_frame([broken]).query("measure == 'psnr'")["value"]).all()


def test_differences_are_variant_minus_alcl_in_each_condition(records):
    table = shape_limits(records)
    assert len(table) == 4 * 3 * 5
    for row in table[table["measure"].isin(CLEAN_MEASURES)].itertuples():
        expected = EFFECT[row.method] * (2 if row.sensor == "clipped" else 1)
        assert (row.seeds, row.dataset) == (10, "mnist")
        assert [row.difference, row.low, row.high] == pytest.approx([expected] * 3, abs=1e-9)
        assert row.median_a - row.median_b == pytest.approx(expected, abs=1e-9)
        assert row.p_holm == pytest.approx(1.0 if expected == 0 else 4 * 2 / 2**10)
    assert list(dict.fromkeys(zip(table["sensor"], table["level"], strict=True))) == [
        (condition.sensor, condition.level) for condition in ABLATED
    ]


def test_without_records_there_is_nothing():
    assert shape_limits([]).empty
