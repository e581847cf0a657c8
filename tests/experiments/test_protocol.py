"""Run, its digest, one run end to end on the embedded digits, the sweep, and the tuning of GCL."""

import json
import runpy
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from alcl.experiments import levels, protocol, reconstruction
from alcl.experiments.protocol import PROFILES, condition_runs, oracle, tuning_runs
from alcl.experiments.reconstruction import METHODS, SENSORS, Run, method_of, method_run, run, sweep
from alcl.experiments.records import RecordStore
from alcl.experiments.sweeps import RunsFailed

ROOT = Path(__file__).parents[2]
SMALL = {"epochs": 2, "n_train": 200, "n_test": 100}


# --- configuration ---------------------------------------------------------------------------------------------------


def test_settings_of_the_data_set_fill_what_is_not_given():
    config = Run("mnist", "high")
    assert (config.hidden, config.code, config.epochs, config.n_train) == (256, 32, 20, 10_000)
    assert Run("mnist", "high", epochs=3).epochs == 3
    assert config.loss_lr == config.lr


def test_equal_runs_have_equal_digests_however_they_are_written_down():
    a = Run("digits", "low", "alcl", {"alpha": 2.0, "learn": ("alpha", "beta")})
    b = Run("digits", "low", "alcl", (("learn", ["alpha", "beta"]), ("alpha", 2.0)))
    assert a == b
    assert a.digest == b.digest
    assert Run.from_config(json.loads(json.dumps(a.config()))) == a


def test_every_field_enters_the_digest():
    base = Run("digits", "low")
    changes = {
        "dataset": "digits_rgb",
        "level": "high",
        "loss": "mse",
        "options": {"alpha": 1.5},
        "seed": 1,
        "targets": "clean",
        "evaluate_on": "validation",
        "model": "conv",
        "hidden": 32,
        "code": 8,
        "epochs": 3,
        "batch_size": 16,
        "lr": 2e-3,
        "loss_lr": 2e-3,
        "schedule": "cosine",
        "n_train": 100,
        "n_validation": 200,
        "n_test": 50,
        "sensor": "clipped",
        "measures": "all",
        "start": "data",
    }
    assert set(changes) == {field.name for field in fields(Run)}
    digests = {Run(**{**base.config(), name: value}).digest for name, value in changes.items()}
    assert len(digests | {base.digest}) == len(changes) + 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dataset": "mnits"}, "dataset must be one of digits"),
        ({"level": "huge"}, "level must be one of none, low"),
        ({"loss": "mae"}, "loss must be one of mse"),
        ({"options": {"alpha": 1.0}}, "alpha must exceed 1/kappa"),
        ({"options": {"gamma": 1.0}}, "gamma"),
        ({"sensor": "broken"}, "sensor must be one of unclipped, clamped, clipped"),
        ({"measures": "some"}, "measures must be one of probe, all"),
        ({"targets": "dirty"}, "targets must be one of noisy, clean"),
        ({"evaluate_on": "train"}, "evaluate_on must be one of test, validation"),
        ({"model": "vit"}, "model must be one of mlp, conv"),
        ({"schedule": "step"}, "schedule must be one of constant, cosine"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
        ({"epochs": 2.5}, "epochs must be a whole number"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"lr": 0.0}, "lr must be positive"),
    ],
)
def test_an_illegal_run_does_not_exist(wrong, message):
    with pytest.raises(ValueError, match=message) as caught:
        Run(**{"dataset": "digits", "level": "high", **wrong})
    assert "\n" not in str(caught.value)


def test_fields_that_came_later_leave_older_runs_as_they_were():
    base = Run("digits", "low", seed=3)
    assert base.digest == "7aa31f72ff416bf7"  # as it was without these fields
    assert not {"sensor", "measures"} & set(base.config())
    later = Run("digits", "low", seed=3, sensor="clipped", measures="all")
    assert later.digest == "70cc86e473116070"
    assert later.config() == base.config() | {"sensor": "clipped", "measures": "all"}
    for config in (base, later):
        assert Run.from_config(json.loads(json.dumps(config.config()))) == config


@pytest.mark.parametrize("evaluate_on", ["test", "validation"])
def test_a_sensor_changes_targets_and_inputs_and_not_the_noise(evaluate_on):
    made = {s: reconstruction.make_task(Run("digits", "high", sensor=s, evaluate_on=evaluate_on)) for s in SENSORS}
    raw = made["unclipped"]
    assert raw.train_targets.min() < -1
    assert raw.train_targets.max() > 2
    for name, (low, high) in {"clamped": (-1, 2), "clipped": (0, 1)}.items():
        task = made[name]
        for noisy, clipped in ((raw.train_targets, task.train_targets), (raw.eval_targets, task.eval_targets)):
            np.testing.assert_array_equal(clipped.numpy(), noisy.numpy().clip(low, high))
        for targets, inputs in ((task.train_targets, task.train_inputs), (task.eval_targets, task.eval_inputs)):
            assert torch.equal(targets, inputs)
        assert torch.equal(task.eval_clean, raw.eval_clean)
    assert torch.equal(made["clamped"].train_inputs, raw.train_inputs)
    clean = reconstruction.make_task(Run("digits", "high", sensor="clipped", targets="clean"))
    assert torch.equal(clean.train_targets, clean.train_clean)
    if evaluate_on == "test":
        assert torch.equal(clean.train_inputs, made["clipped"].train_inputs)


def test_drifting_noise_goes_through_the_sensor():
    config = Run("digits", "drift_up", sensor="clipped", **SMALL)
    task = reconstruction.make_task(config)
    redraw = reconstruction._drift(config, levels.get_level("drift_up"), task)
    inputs, targets = redraw(1)
    assert torch.equal(inputs, targets)
    assert targets.min() == 0
    assert targets.max() == 1


def test_methods_that_share_a_seed_do_not_share_another_sensors_noise():
    tasks = [reconstruction._shared_task(Run("digits", "high", sensor=sensor)) for sensor in SENSORS]
    assert tasks[0].train_targets.max() > tasks[1].train_targets.max() > tasks[2].train_targets.max()


def test_the_name_written_into_a_record_counts():
    record = run(method_run("huber_mad", "digits", "low", **SMALL))
    assert record["method"] == "huber_mad"
    assert reconstruction.method_in(record) == "huber_mad"
    assert reconstruction.method_in(record | {"method": "another"}) == "another"
    del record["method"]
    assert reconstruction.method_in(record) == "huber_mad"


def test_clean_targets_are_the_reference_for_mse_alone():
    assert method_of(method_run("mse", "digits", "low", targets="clean").config()) == "clean"
    assert method_of(method_run("alcl", "digits", "low", targets="clean").config()) == "alcl"


def test_from_config_refuses_unknown_fields():
    with pytest.raises(ValueError, match="epoch"):
        Run.from_config({"dataset": "digits", "level": "low", "epoch": 3})


def development_records(psnr, accuracy):
    """A record of every development run, its metrics given by functions of (beta, rate, dataset)."""
    found = []
    for config in protocol.development_runs():
        setting = (dict(config.options)["beta"], round(config.loss_lr / config.lr, 6))
        metrics = {"psnr": psnr(*setting, config.dataset), "accuracy": accuracy(*setting, config.dataset)}
        found.append({"digest": config.digest, "metrics": metrics})
    return found


def test_the_development_rule_takes_the_best_psnr_near_the_best_accuracy():
    def psnr(beta, rate, dataset):
        return {(0.25, 10.0): 30.0, (0.5, 3.0): 20.0}.get((beta, rate), 10.0)

    def accuracy(beta, rate, dataset):
        return {(0.25, 10.0): 0.8, (1.0, 1.0): 0.9}.get((beta, rate), 0.896)

    assert protocol.development_choice(development_records(psnr, accuracy)) == (0.5, 3.0)


def test_the_development_score_weighs_data_sets_alike():
    records = development_records(lambda b, r, dataset: 9.0 if dataset == "mnist" else 3.0, lambda *_: 0.5)
    assert protocol.development_scores(records)[1.0, 1.0] == {"psnr": 5.0, "accuracy": 0.5}
    with pytest.raises(LookupError, match="1 development runs are not recorded"):
        protocol.development_scores(records[1:])


def test_the_methods_have_the_setting_that_development_chose():
    records = RecordStore(ROOT / "paper_figures" / "records" / "development.jsonl").read()
    beta, rate = protocol.development_choice(records)
    learned = [options for name, (loss, options) in METHODS.items() if loss == "alcl"]
    assert learned
    assert all(options["beta"] == beta for options in learned)
    assert method_run("alcl", "digits", "low").loss_lr == pytest.approx(rate * Run.lr)


def test_too_many_images_are_refused_before_training():
    with pytest.raises(ValueError, match="n_train must be at most 1137"):
        run(Run("digits", "low", n_train=5000))


def test_every_named_method_can_be_built_and_recognised():
    for name in METHODS:
        assert method_of(method_run(name, "digits", "low").config()) == name
    assert method_of(method_run("gcl", "digits", "low", alpha=2, beta=1).config()) == "gcl"
    assert method_of(Run("digits", "low", "alcl", {"beta": 0.7}).config()) == "other"
    with pytest.raises(ValueError, match="method must be one of mse"):
        method_run("msee", "digits", "low")


# --- noise that drifts ------------------------------------------------------------------------------------------------


def test_drifting_noise_is_drawn_for_every_epoch_and_judged_at_its_end():
    config = method_run("mse", "digits", "drift_up", 3, epochs=3, n_train=50, n_test=40)
    task = reconstruction.make_task(config)
    end = reconstruction.make_task(method_run("mse", "digits", "extreme", 3, epochs=3, n_train=50, n_test=40))
    assert torch.equal(task.eval_inputs, end.eval_inputs)
    redraw = reconstruction._drift(config, levels.get_level("drift_up"), task)
    spread = []
    for epoch in range(3):
        inputs, targets = redraw(epoch, None, None)
        assert torch.equal(inputs, levels.clamp_for_network(targets))
        spread.append((targets - task.train_clean).abs().mean(dtype=torch.float64).clamp(max=1e3).item())
    assert spread[0] < spread[1] < spread[2]
    assert run(config)["metrics"] == run(config)["metrics"]


# --- one run ---------------------------------------------------------------------------------------------------------


def test_a_run_repeats_bitwise():
    config = method_run("alcl", "digits", "high", **SMALL)
    first, second = run(config), run(config)
    assert first["metrics"] == second["metrics"]
    assert first["history"] == second["history"]
    assert set(first["metrics"]) == {"psnr", "ssim", "accuracy"}
    assert first["digest"] == config.digest
    assert Run.from_config(first["config"]) == config
    json.dumps(first, allow_nan=False)


def test_a_run_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    run(method_run("mse", "digits", "low", **SMALL))
    assert torch.equal(before, torch.get_rng_state())


def test_seeds_are_paired_across_methods_and_differ_across_seeds():
    mse, alcl = (reconstruction.make_task(method_run(m, "digits", "high", 4, **SMALL)) for m in ("mse", "alcl"))
    assert torch.equal(mse.train_targets, alcl.train_targets)
    assert torch.equal(mse.eval_inputs, alcl.eval_inputs)
    other = reconstruction.make_task(method_run("mse", "digits", "high", 5, **SMALL))
    assert not torch.equal(mse.train_targets, other.train_targets)
    assert torch.equal(mse.train_labels, other.train_labels)  # the same images, other noise
    streams = {reconstruction.stream(seed, name) for seed in range(50) for name in reconstruction._STREAMS}
    assert len(streams) == 50 * len(reconstruction._STREAMS)


def test_the_reference_sees_noisy_inputs_and_clean_targets():
    clean, mse = (reconstruction.make_task(method_run(m, "digits", "high", **SMALL)) for m in ("clean", "mse"))
    assert torch.equal(clean.train_inputs, mse.train_inputs)
    assert clean.train_targets.min() >= 0
    assert clean.train_targets.max() <= 1
    assert mse.train_targets.abs().max() > 2


def test_inputs_are_clamped_and_targets_are_not():
    task = reconstruction.make_task(method_run("mse", "digits", "extreme", **SMALL))
    assert task.train_inputs.min() >= -1
    assert task.train_inputs.max() <= 2
    assert task.train_targets.max() > 2


def test_validation_images_are_never_trained_or_tested_on():
    config = method_run("mse", "digits", "none", evaluate_on="validation")
    task = reconstruction.make_task(config)
    rows = {tuple(image.flatten().tolist()) for image in task.train_targets}
    held_out = [tuple(image.flatten().tolist()) in rows for image in task.eval_clean]
    assert len(held_out) == config.n_validation
    # two digits of the data set may coincide pixel by pixel; whole overlap may not
    assert np.mean(held_out) < 0.02
    test = reconstruction.make_task(method_run("mse", "digits", "none"))
    assert test.eval_clean.shape[0] == 360


def test_robust_training_beats_mse_under_heavy_noise():
    # the direction that every other claim rests on; the sizes are in the records
    results = {
        m: run(method_run(m, "digits", "high", epochs=20, evaluate_on="validation"))["metrics"] for m in ("mse", "alcl")
    }
    assert results["alcl"]["psnr"] > results["mse"]["psnr"] + 1


# --- sweeps ----------------------------------------------------------------------------------------------------------


def test_a_sweep_resumes_and_does_not_repeat(tmp_path, monkeypatch):
    runs = [method_run("mse", "digits", "low", seed, **SMALL) for seed in range(3)]
    store = RecordStore(tmp_path / "digits.jsonl")
    sweep(runs[:1], store, progress=False)
    calls = []
    monkeypatch.setattr(reconstruction, "run", lambda config: calls.append(config) or _fake(config, 0.5))
    records = sweep([*runs, runs[0]], store, progress=False)
    assert calls == runs[1:]
    assert [r["digest"] for r in records] == [c.digest for c in runs]
    sweep(runs, store, progress=False, fresh=True)
    assert calls == [*runs[1:], *runs]
    assert len(store.read()) == 3


def test_worker_processes_give_the_same_metrics(tmp_path):
    runs = [method_run("alcl", "digits", "high", seed, **SMALL) for seed in range(2)]
    alone = sweep(runs, RecordStore(tmp_path / "one.jsonl"), jobs=1, progress=False)
    two = sweep(runs, RecordStore(tmp_path / "two.jsonl"), jobs=2, progress=False)
    assert [r["metrics"] for r in alone] == [r["metrics"] for r in two]


def test_a_failed_run_is_named_and_the_others_are_kept(tmp_path, monkeypatch):
    runs = [method_run("mse", "digits", "low", seed, **SMALL) for seed in range(3)]

    def breaks(config):
        if config.seed == 1:
            raise ArithmeticError("no luck")
        return _fake(config, 0.5)

    monkeypatch.setattr(reconstruction, "run", breaks)
    store = RecordStore(tmp_path / "digits.jsonl")
    with pytest.raises(RuntimeError, match=r"1 of 3 runs failed.*\n.*no luck"):
        sweep(runs, store, progress=False)
    assert store.digests() == {runs[0].digest, runs[2].digest}


def test_a_failed_run_of_one_condition_does_not_keep_a_profile_from_the_others(tmp_path, monkeypatch):
    """A tuning run fails: its condition lacks GCL, and everything else is run."""
    small = protocol.Profile(("digits", "digits_rgb"), ("moderate",), (0,), (("mse", "gcl"), ("alcl_kappa",)))
    monkeypatch.setitem(PROFILES, "live", small)

    def breaks(config):
        if config.dataset == "digits" and config.options == (("alpha", 2.0), ("beta", 0.5)):
            raise ArithmeticError("no luck")
        return _fake(config, 0.5)

    monkeypatch.setattr(reconstruction, "run", breaks)
    with pytest.raises(RunsFailed, match=r"^1 of 24 runs failed.*\n.*no luck$") as caught:
        protocol.run_profile("live", tmp_path, progress=False)
    for dataset, judged in (("digits", {"mse", "alcl_kappa"}), ("digits_rgb", {"mse", "gcl", "alcl_kappa"})):
        configs = [record["config"] for record in protocol.study_store(tmp_path, dataset).read()]
        assert {method_of(config) for config in configs if config["evaluate_on"] == "test"} == judged
        assert sum(config["evaluate_on"] == "validation" for config in configs) == 25 - (dataset == "digits")
    assert len(caught.value.records) == 24 + 25 + 2 + 3
    assert protocol.main(["--profile", "live", "--records", str(tmp_path)]) == 1


def test_an_absent_data_set_is_one_clear_error_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("ALCL_DATA", str(tmp_path / "nowhere"))
    reconstruction._load.cache_clear()
    with pytest.raises(FileNotFoundError, match="mnist"):
        protocol.run_profile("first", tmp_path / "records", progress=False)
    assert not (tmp_path / "records").exists()
    with pytest.raises(ValueError, match="profile must be one of live"):
        protocol.run_profile("papr", tmp_path / "records")


def test_the_command_line_reports_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ALCL_DATA", str(tmp_path / "nowhere"))
    reconstruction._load.cache_clear()
    assert protocol.main(["--profile", "first", "--records", str(tmp_path / "records")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_run_as_a_module_the_work_is_done_under_the_modules_own_name(monkeypatch):
    # as "__main__" its classes cannot be unpickled in worker processes
    called = []
    monkeypatch.setattr("sys.argv", ["alcl.experiments", "--profile", "live"])
    monkeypatch.setattr(protocol, "main", lambda given: called.append(given) or 7)
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("alcl.experiments", run_name="__main__")
    assert caught.value.code == 7
    assert called == [["--profile", "live"]]


def test_an_audit_passes_what_repeats_and_fails_what_does_not():
    records = [run(method_run(m, "digits", "high", **SMALL)) for m in ("mse", "alcl")]
    report = protocol.audit(records, sample=5, progress=False)
    assert len(report) == 2
    assert all(entry["equal"] and entry["passed"] for entry in report)
    records[0]["metrics"]["accuracy"] += 0.05
    assert sorted(entry["passed"] for entry in protocol.audit(records, 2, progress=False)) == [False, True]
    records[1]["metrics"]["psnr"] = None
    assert not any(entry["passed"] for entry in protocol.audit(records, 2, progress=False))
    with pytest.raises(ValueError, match="records must hold at least one"):
        protocol.audit([], 2)


# --- tuning ----------------------------------------------------------------------------------------------------------


def _fake(config, accuracy, psnr=10.0):
    return {
        "digest": config.digest,
        "config": config.config(),
        "metrics": {"accuracy": accuracy, "psnr": psnr, "ssim": 0.1},
        "history": {},
        "seconds": {"fit": 1.0, "evaluate": 0.0, "total": 1.0},
    }


def test_the_oracle_is_the_best_validation_setting_of_each_measure():
    runs = tuning_runs("digits", "high")
    assert len({dict(c.options)["alpha"] for c in runs}) >= 4
    assert len({dict(c.options)["beta"] for c in runs}) >= 4
    assert all(c.evaluate_on == "validation" for c in runs)
    records = [_fake(c, accuracy=0.1, psnr=5.0) for c in runs]
    records[3]["metrics"]["accuracy"] = 0.9
    records[7]["metrics"]["psnr"] = 50.0
    records[8]["metrics"]["psnr"] = None  # a run that diverged can be the best of nothing
    assert oracle(records, "digits", "high", "accuracy") == dict(runs[3].options)
    assert oracle(records, "digits", "high", "psnr") == dict(runs[7].options)
    with pytest.raises(LookupError, match="1 tuning runs of digits/high"):
        oracle(records[1:], "digits", "high", "psnr")


def test_tuning_seeds_are_no_evaluation_seeds():
    for profile in PROFILES.values():
        assert not set(profile.seeds) & set(protocol.TUNING_SEEDS)


def test_a_condition_runs_every_method_once_a_seed_and_gcl_at_its_tuned_settings():
    records = [_fake(c, accuracy=0.1) for at in ("high", "moderate") for c in tuning_runs("digits", at)]
    records[3]["metrics"]["accuracy"] = 0.9
    runs = condition_runs(("mse", "gcl"), records, "digits", "high", (0, 1))
    assert sum(c.loss == "mse" for c in runs) == 2
    assert len(runs) == len({c.digest for c in runs})
    assert records[3]["config"]["options"] in [c.config()["options"] for c in runs if c.seed == 0]


def test_the_audits_tolerance_covers_what_was_measured():
    """determinism.json, by `make determinism`: the same runs with two threads, and without vector instructions."""
    table = json.loads((Path(__file__).parents[1] / "determinism.json").read_text("utf-8"))
    for name in ("two threads", "another processor"):
        assert len(table[name]) == len(table["metrics"]) == len(table["runs"]) > 0
        for difference in table[name]:
            assert set(difference) == set(protocol.AUDIT_TOLERANCE)
            assert all(difference[m] <= bound / 10 for m, bound in protocol.AUDIT_TOLERANCE.items())
