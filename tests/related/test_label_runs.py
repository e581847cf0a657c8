"""LabelRun and its digest, a run end to end on the embedded digits, the sweep, and the declared profiles."""

import json
import re

import pytest
import torch

from alcl.experiments.records import RecordStore
from alcl.related import label_runs
from alcl.related.label_runs import (
    METHODS,
    NEIGHBOURS,
    PROFILES,
    LabelRun,
    make_task,
    method_of,
    method_run,
    run,
    sweep,
    train,
)

SMALL = {"epochs": 2, "n_train": 200, "n_test": 100, "width": 4, "hidden": 8}


def small(method="ce", noise="symmetric", rate=0.4, **changes):
    return method_run(method, "digits", noise, rate, **{**SMALL, **changes})


def test_settings_fill_what_is_not_given():
    config = LabelRun("cifar10", "symmetric", 0.8)
    assert (config.epochs, config.n_train, config.batch_size) == (15, 10_000, 128)
    assert config.decay_rate == 1e-4
    assert LabelRun("cifar10", "symmetric", 0.8, decay="l1").decay_rate == 5e-5
    assert (config.lr, config.momentum, config.clip) == (0.01, 0.9, 5.0)  # the published recipe


def test_equal_runs_have_equal_digests_and_survive_json():
    a = LabelRun("digits", "symmetric", 0.4, "jal", {"kind": "ce", "a": 30.0})
    b = LabelRun("digits", "symmetric", 0.4, "jal", (("a", 30.0), ("kind", "ce")))
    assert a == b
    assert a.digest == b.digest
    assert LabelRun.from_config(json.loads(json.dumps(a.config()))) == a


def test_every_field_enters_the_digest():
    base = small(evaluate_on="test")
    changes = {"dataset": "digits_rgb", "noise": "instance", "rate": 0.5, "loss": "gce", "options": {"q": 0.5}}
    changes |= {"decay": "l1", "decay_rate": 1e-3, "seed": 1, "evaluate_on": "validation", "width": 5, "hidden": 9}
    changes |= {"epochs": 3, "batch_size": 16, "lr": 0.02, "momentum": 0.8, "clip": 1.0, "n_train": 150}
    changes |= {"n_validation": 200, "n_test": 50}
    assert set(changes) == set(base.config())
    digests = {base.digest}
    for name, value in changes.items():
        start = LabelRun(**{**base.config(), "loss": "gce"}) if name == "options" else base
        digests.add(LabelRun(**{**start.config(), name: value}).digest)
    assert len(digests) == 1 + len(changes)


def test_methods_are_recognised():
    for name in (*METHODS, *NEIGHBOURS):
        assert method_of(json.loads(json.dumps(small(name).config()))) == name
    config = LabelRun("digits", "symmetric", 0.4, "gce", {"q": 0.3}).config()
    assert method_of(config) == "other"


def test_forward_correction_is_told_the_noise_of_its_run():
    told = [dict(small("forward", noise).options)["noise"] for noise in ("symmetric", "human", "instance")]
    assert told == ["symmetric", "human", "symmetric"]
    assert dict(small("forward", rate=0.3).options)["rate"] == 0.3


def test_a_learned_fraction_moves_and_is_recorded():
    fixed = small("mixture", options={"eps": 0.1, "learn": False})
    found = run(small("mixture"))
    assert len(found["history"]["eps"]) == 2
    assert found["history"]["eps"][-1] != 0.1
    assert set(run(fixed)["history"]["eps"]) == {0.1}
    assert "eps" not in run(small())["history"]


def test_a_run_is_the_same_every_time_and_its_record_can_be_stored(tmp_path):
    config = small("jal_ce")
    first, again = run(config), run(config)
    assert first["metrics"] == again["metrics"]
    assert first["history"] == again["history"]
    assert len(first["history"]["accuracy"]) == config.epochs
    store = RecordStore(tmp_path / "label_noise.jsonl")
    assert store.append(first)
    assert LabelRun.from_config(store.read()[0]["config"]).digest == first["digest"] == config.digest


def test_seeds_are_paired_across_losses_and_decays():
    tasks = [make_task(small(method, decay=decay)) for method, decay in (("ce", "l1"), ("jal_fl", "l2"))]
    assert torch.equal(tasks[0].y_given, tasks[1].y_given)
    other = make_task(small(seed=1))
    assert not torch.equal(tasks[0].y_given, other.y_given)
    assert torch.equal(tasks[0].x_train, other.x_train)


def test_labels_are_wrong_in_training_only():
    task = make_task(small(rate=0.8, n_train=1000))
    assert 0.75 < (task.y_given != task.y_true).double().mean() < 0.85
    clean = make_task(small(noise="none", rate=0.0))
    assert torch.equal(clean.y_given, clean.y_true)
    assert torch.equal(task.y_eval, make_task(small(noise="none", rate=0.0)).y_eval)
    validation = make_task(small(evaluate_on="validation", n_validation=150))
    assert len(validation.y_eval) == 150
    for image in validation.x_eval[:20]:  # held out
        assert not (validation.x_train == image).flatten(1).all(1).any()


@pytest.mark.parametrize("decay", ["none", "l1", "l2"])
def test_decay_is_the_gradient_of_its_penalty(decay):
    """One step of plain SGD without clipping, against autograd of loss + penalty."""
    config = small(decay=decay, decay_rate=0.01 if decay != "none" else 0.0, epochs=1, n_train=32, batch_size=32,
                   momentum=0.0, clip=1e9)  # fmt: skip
    model, _, task = train(config)
    start = label_runs.make_classifier(
        (1, 8, 8), 10, config.width, config.hidden, label_runs.stream(0, "initialisation")
    ).train()
    order = torch.randperm(32, generator=torch.Generator().manual_seed(label_runs.stream(0, "batches")))
    loss = torch.nn.functional.cross_entropy(start(task.x_train[order]), task.y_given[order])
    weights = list(start.parameters())
    penalty = {"none": 0.0, "l1": 0.01 * sum(w.abs().sum() for w in weights)}
    penalty["l2"] = 0.005 * sum(w.square().sum() for w in weights)
    gradients = torch.autograd.grad(loss + penalty[decay], weights)
    for after, before, gradient in zip(model.parameters(), weights, gradients, strict=True):
        torch.testing.assert_close(after, before - config.lr * gradient, rtol=1e-4, atol=1e-6)


def test_learning_happens():
    config = small("ce", noise="none", rate=0.0, epochs=15, n_train=1000, hidden=32, n_test=360)
    assert run(config)["metrics"]["accuracy"] > 0.9


def test_a_killed_sweep_resumes(tmp_path, monkeypatch):
    runs = [small(seed=seed) for seed in range(3)]
    store = RecordStore(tmp_path / "label_noise.jsonl")
    sweep(runs[:2], store, progress=False)
    done = []
    monkeypatch.setattr(label_runs, "run", lambda c: done.append(c) or {"digest": c.digest, "config": c.config()})
    found = sweep([*runs, runs[0]], store, progress=False)
    assert done == runs[2:]
    assert [record["digest"] for record in found] == [config.digest for config in runs]


def test_a_failed_run_does_not_lose_the_others_and_another_sweeps_record_counts(tmp_path, monkeypatch):
    runs = [small(seed=seed) for seed in range(9)]
    store = RecordStore(tmp_path / "label_noise.jsonl")

    def breaks(config):
        if config.seed == 3:
            raise ArithmeticError("no luck")
        if config.seed == 5:  # a second process was faster
            RecordStore(store.path).append({"digest": config.digest, "seconds": 1})
        return {"digest": config.digest, "seconds": 2}

    monkeypatch.setattr(label_runs, "run", breaks)
    monkeypatch.setitem(PROFILES, "core", lambda: runs)
    assert label_runs.main(["--records", str(tmp_path)]) == 1
    assert store.digests() == {config.digest for config in runs if config.seed != 3}


def test_the_declared_profiles():
    core, paper = PROFILES["core"](), PROFILES["paper"]()
    assert len({config.digest for config in core}) == 2 * 2 * 2 * 2 * 5
    assert {config.evaluate_on for config in paper} == {"test"}
    assert {config.digest for config in core} <= {config.digest for config in paper}
    assert {(c.noise, c.rate) for c in core} == {("symmetric", 0.8), ("asymmetric", 0.4)}
    for seed in range(5):
        condition = [c for c in core if (c.dataset, c.noise, c.seed) == ("cifar10", "symmetric", seed)]
        assert {(method_of(c.config()), c.decay) for c in condition} == {
            (method, decay) for method in ("ce", "jal_ce") for decay in ("l1", "l2")
        }


def test_the_neighbours_profile_has_every_neighbour_beside_cross_entropy_with_five_seeds():
    runs = PROFILES["neighbours"]()
    assert {c.dataset for c in runs} == {"digits"}
    assert {c.decay for c in runs} == {"l2"}
    cells = {}
    for c in runs:
        cells.setdefault((method_of(c.config()), c.noise, c.rate), set()).add(c.seed)
    assert set(NEIGHBOURS) <= {method for method, _, _ in cells}
    assert all(seeds == {0, 1, 2, 3, 4} for seeds in cells.values())
    assert ("ce", "human", 0.4) in cells


def test_human_noise_is_run_on_the_images_that_people_labelled():
    runs = PROFILES["human"]()
    assert {(run.dataset, run.noise, run.rate) for run in runs} == {("cifar10", "human", 0.4)}
    assert {(method_of(run.config()), run.seed) for run in runs} == {
        (method, seed) for method in ("ce", "gce", "nce_rce", "jal_ce", "mixture", "forward") for seed in range(5)
    }
    assert len({run.digest for run in runs}) == 30


def test_the_command_refuses_an_unknown_profile(tmp_path, capsys):
    assert label_runs.main(["--profile", "all", "--records", str(tmp_path)]) == 1
    assert "profile must be one of core, embedded, neighbours, human, paper; got 'all'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "gtsrb"}, "dataset must be one of digits"),
        (
            {"noise": "pair"},
            "noise must be one of none, symmetric, asymmetric, instance, human, instance_exact; got",
        ),
        ({"noise": "none"}, "rate must be 0 for noise 'none'"),
        ({"rate": 1.2}, "rate must lie in [0, 1]; got 1.2"),
        ({"rate": 0}, "rate must be 0 for noise 'none' and above 0 for any other"),
        ({"loss": "mse"}, "loss must be one of ce"),
        ({"loss": "gce", "options": {"a": 3}}, "loss 'gce' takes q, reduction; got a"),
        ({"decay": "l3"}, "decay must be one of none, l1, l2; got 'l3'"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1; got 0"),
        ({"seed": -1}, "seed must be a whole number of at least 0; got -1"),
        ({"lr": 0.0}, "lr must be positive and finite; got 0.0"),
        ({"evaluate_on": "train"}, "evaluate_on must be one of test, validation"),
    ],
)
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        LabelRun(**{"dataset": "digits", "noise": "symmetric", "rate": 0.4, **changes})


def test_too_many_images_are_refused():
    with pytest.raises(ValueError, match="n_train must be at most 1137"):
        make_task(small(n_train=2000))
