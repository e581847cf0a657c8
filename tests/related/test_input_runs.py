"""InputRun and Regression, their digests, runs end to end on embedded data, the sweep, and the declared profiles."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes
from sklearn.linear_model import HuberRegressor, LinearRegression

from alcl.experiments.records import RecordStore
from alcl.related import input_runs
from alcl.related.feature_losses import PERTURBATIONS, TRAININGS
from alcl.related.input_runs import (
    AUXILIARIES,
    PROFILES,
    InputRun,
    Regression,
    config_of,
    evaluate,
    regress,
    run,
    sweep,
    train,
)

SMALL = {"epochs": 2, "n_train": 200, "n_test": 40, "width": 4, "hidden": 8}


def small(training="clean", **changes):
    return InputRun("digits", training, **{**SMALL, **changes})


@pytest.fixture(scope="module")
def record():
    return run(small("discriminative", level="high", auxiliary="alcl"))


def test_settings_fill_what_is_not_given():
    config = InputRun("mnist", "both")
    assert (config.epochs, config.n_train, config.hidden, config.batch_size) == (15, 5_000, 128, 64)


def test_every_field_enters_the_digest():
    base = small()
    changes = {"dataset": "mnist", "training": "both", "level": "low", "auxiliary": "mse", "seed": 1, "sigma": 0.1}
    changes |= {"width": 5, "hidden": 9, "epochs": 3, "batch_size": 32, "lr": 0.01, "n_train": 150}
    changes |= {"n_validation": 200, "n_test": 50}
    assert set(changes) == set(asdict(base))
    assert len({base.digest, *(InputRun(**{**asdict(base), k: v}).digest for k, v in changes.items())}) == 15
    other, changes = Regression(0.5), {"noise": 0.1, "split": 1, "epochs": 3, "lr": 0.1, "n_train": 300}
    assert set(changes) == set(asdict(other))
    assert len({other.digest, *(Regression(**{**asdict(other), k: v}).digest for k, v in changes.items())}) == 6


def test_a_run_is_the_same_every_time_and_its_record_can_be_stored(record, tmp_path):
    config = small("discriminative", level="high", auxiliary="alcl")
    assert run(config)["metrics"] == record["metrics"]
    store = RecordStore(tmp_path / "input_noise.jsonl")
    assert store.append(record)
    (stored,) = store.read()
    assert config_of(stored) == config
    assert stored["metrics"] == json.loads(json.dumps(record["metrics"]))
    assert stored["digest"] == config.digest


def test_what_is_measured(record):
    metrics = record["metrics"]
    assert {name: len(values) for name, values in metrics["robust"].items()} == {
        name: len(levels) for name, (_, levels) in PERTURBATIONS.items()
    }
    assert {values[0] for values in metrics["robust"].values()} == {metrics["clean"]}  # level 0 is the clean image
    curved = metrics["curvature"]
    assert curved["trace"] == pytest.approx(curved["trace_exact"], rel=0.2)
    assert curved["square_exact"] <= curved["trace_exact"] ** 2 * 40  # a mean over 40 images
    assert 0.1 <= curved["confidence"] <= 1


def test_large_images_have_no_exact_hessian(monkeypatch):
    monkeypatch.setattr(input_runs, "EXACT_UP_TO", 63)
    config = small(epochs=1)
    found = evaluate(train(config), config)["curvature"]
    assert found["trace_exact"] is found["square_exact"] is None
    assert found["trace"] > 0


def test_trainings_of_a_seed_start_alike_and_see_the_same_perturbed_images(monkeypatch):
    seen = []
    monkeypatch.setattr(
        input_runs, "fit_classifier", lambda model, images, *_, **__: seen.append(images) or model.eval()
    )
    models = [train(small(training)) for training in TRAININGS]
    assert all(torch.equal(a, b) for m in models for a, b in zip(m.parameters(), models[0].parameters(), strict=True))
    assert all(torch.equal(images, seen[0]) for images in seen)
    one, other = (evaluate(models[0], small(training, seed=s))["robust"] for training, s in (("clean", 0), ("both", 0)))
    assert one == other


def test_only_the_training_images_are_contaminated_and_the_decoder_sees_them_unclipped(monkeypatch):
    given = {}
    monkeypatch.setattr(
        input_runs,
        "fit_classifier",
        lambda _, x, y, training, *, auxiliary, **how: given.update(x=x, a=auxiliary),
    )
    train(small("discriminative", level="high", auxiliary="mse"))
    assert 0 <= given["x"].min() <= given["x"].max() <= 1
    targets = given["a"].targets
    assert targets.abs().max() > 1
    torch.testing.assert_close(targets.clamp(0, 1).view_as(given["x"]), given["x"])
    assert given["a"](torch.zeros(3, 8), torch.tensor([0, 5, 7])).ndim == 0


def test_learning_happens():
    config = small("noisy", epochs=20, n_train=1000, hidden=32, n_test=360)
    metrics = run(config)["metrics"]
    assert metrics["clean"] > 0.8
    assert metrics["robust"]["gaussian"][-1] < metrics["clean"]


@pytest.mark.parametrize(
    ("loss", "fit"), [("mse", LinearRegression()), ("huber", HuberRegressor(epsilon=1.0, alpha=0))]
)
def test_regression_against_scikit_learn(loss, fit):
    """Long training reaches scikit-learn's solution of the same problem; Huber's only nearly (it also fits a scale)."""
    config = Regression(0.0, split=3, epochs=4000, lr=0.01)
    bunch = load_diabetes()
    order = torch.randperm(442, generator=torch.Generator().manual_seed(3)).numpy()
    rows, rest = order[:342], order[342:]
    fit.fit(bunch.data[rows] * 21, bunch.target[rows])
    expected = np.abs(fit.predict(bunch.data[rest] * 21) - bunch.target[rest]).mean()
    assert regress(config, loss) == pytest.approx(expected, rel=1e-3 if loss == "mse" else 0.03)


def test_a_robust_loss_stands_the_cauchy_noise_and_squared_error_does_not():
    errors = run(Regression(0.5, split=1))["metrics"]["error"]
    assert set(errors) == set(input_runs.RIVALS)
    assert errors["mse"] > 1.05 * errors["alcl"]


def test_a_killed_sweep_resumes(tmp_path, monkeypatch):
    runs = [Regression(0.0, split, epochs=1) for split in range(3)]
    store = RecordStore(tmp_path / "input_noise.jsonl")
    monkeypatch.setattr(input_runs, "RIVALS", ("mse",))
    sweep(runs[:2], store, progress=False)
    done = []
    monkeypatch.setattr(input_runs, "run", lambda c: done.append(c) or {"digest": c.digest})
    found = sweep([*runs, runs[0]], store, progress=False)
    assert done == runs[2:]
    assert [record["digest"] for record in found] == [config.digest for config in runs]


def test_a_failed_run_does_not_lose_the_others(tmp_path, monkeypatch):
    runs = [Regression(0.0, split) for split in range(9)]

    def breaks(config):
        if config.split == 3:
            raise ArithmeticError("no luck")
        return {"digest": config.digest}

    monkeypatch.setattr(input_runs, "run", breaks)
    monkeypatch.setitem(PROFILES, "embedded", lambda: runs)
    assert input_runs.main(["--records", str(tmp_path)]) == 1
    stored = RecordStore(tmp_path / "input_noise.jsonl").digests()
    assert stored == {config.digest for config in runs if config.split != 3}


def test_the_declared_profiles():
    embedded, paper = PROFILES["embedded"](), PROFILES["paper"]()
    assert len({config.digest for config in (*embedded, *paper)}) == 10 * 8 + 40 + 5 * 8
    condition = [c for c in paper if c.seed == 3]
    assert [(c.training, c.level, c.auxiliary) for c in condition] == [
        *((training, "none", "none") for training in TRAININGS),
        *(("discriminative", "high", auxiliary) for auxiliary in AUXILIARIES),
    ]


def test_the_command_refuses_an_unknown_profile(tmp_path, capsys):
    assert input_runs.main(["--profile", "all", "--records", str(tmp_path)]) == 1
    assert "profile must be one of embedded, paper; got 'all'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InputRun("cifar10", "clean"), "dataset must be one of digits, mnist; got 'cifar10'"),
        (lambda: InputRun("digits", "none"), "training must be one of clean, noisy, both"),
        (lambda: small(level="loud"), "level must be one of .*; got 'loud'"),
        (lambda: small(auxiliary="l1"), "auxiliary must be one of none, mse, alcl; got 'l1'"),
        (lambda: small(epochs=0), "epochs must be a whole number of at least 1; got 0"),
        (lambda: train(small(n_train=2000)), "n_train must be at most 1137"),
        (lambda: small(seed=-1), "seed must be a whole number of at least 0; got -1"),
        (lambda: small(sigma=0.0), "sigma must be positive and finite; got 0.0"),
        (lambda: Regression(-1.0), "noise must be at least 0 and finite; got -1.0"),
        (lambda: Regression(0.5, split=1.5), "split must be a whole number of at least 0; got 1.5"),
        (lambda: Regression(0.5, lr=0.0), "lr must be positive and finite; got 0.0"),
        (lambda: config_of({"config": {"kind": "lasso"}}), "kind must be one of classifier, regression; got 'lasso'"),
        (lambda: config_of({"config": {"kind": "regression", "noise": 0.5, "depth": 3}}), "Regression does not: depth"),
    ],
)
def test_illegal_runs_do_not_exist(make, message):
    with pytest.raises(ValueError, match=message):
        make()
