"""Runs trained at once against the same runs trained one after another."""

import pytest
import torch

from alcl import batched, experiments
from alcl.experiments import Run, method_run

SMALL = {"epochs": 3, "n_train": 200, "n_test": 100}


def runs(method, **changes):
    return [method_run(method, "digits", "high", seed, **{**SMALL, **changes}) for seed in (0, 3)]


MIXED = [
    Run("digits", "low", options={"alpha": 2.0, "beta": beta, "kappa": kappa}, seed=seed, **SMALL)
    for seed, (beta, kappa) in enumerate([(0.5, 1.0), (0.25, 1.5), (1.0, 0.8)])
]


@pytest.mark.parametrize(
    "configs",
    [
        *(runs(method) for method in ("mse", "cauchy", "student_t", "barron", "alcl", "alcl_kappa")),
        runs("alcl", model="conv", hidden=4),
        runs("alcl", loss_lr=0.003, n_train=201),
        MIXED,
    ],
    ids=["mse", "cauchy", "student_t", "barron", "alcl", "alcl_kappa", "conv", "last batch smaller", "settings"],
)
def test_records_are_those_of_the_runs_one_by_one(configs):
    got = batched.run(configs)
    for config, record in zip(configs, got, strict=True):
        expected = experiments.run(config)
        assert {k: record[k] for k in ("digest", "config", "data")} == {
            k: expected[k] for k in ("digest", "config", "data")
        }
        assert record["history"].keys() == expected["history"].keys()
        for name, values in expected["history"].items():
            assert record["history"][name] == pytest.approx(values, rel=1e-3, abs=1e-4), name
        for name, bound in batched.TOLERANCE.items():
            assert abs(record["metrics"][name] - expected["metrics"][name]) <= bound, name
    assert got[0]["metrics"] != got[1]["metrics"]  # and the runs are different ones


def test_weights_are_those_of_the_runs_one_by_one():
    configs = runs("alcl", epochs=1)
    for config, (model, criterion, history, _) in zip(configs, batched.train(configs), strict=True):
        alone, loss, course, _ = experiments.train(config)
        torch.testing.assert_close(model.state_dict(), alone.state_dict(), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(criterion.state_dict(), loss.state_dict(), rtol=1e-4, atol=1e-5)
        assert history.steps == course.steps
        assert not model.training


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        ([], "at least one run"),
        ([*runs("alcl"), *runs("mse")], r"'loss', 'options'\] differ"),
        ([*runs("alcl"), *runs("alcl", epochs=4)], r"\['epochs'\] differ"),
        ([*runs("alcl"), *runs("alcl_shape_frozen")], r"\['options'\] differ"),
        (
            [method_run("gcl", "digits", "high", alpha=2.0, beta=b, **SMALL) for b in (0.5, 1.0)],
            r"\['options'\] differ",
        ),
        (runs("alcl", schedule="cosine"), "schedule must be 'constant'"),
    ],
)
def test_what_cannot_be_trained_at_once_is_refused(configs, message):
    with pytest.raises(ValueError, match=message):
        batched.train(configs)
