"""The multiverse: its grid and rules on records with known answers, what is declared, the command."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from alcl.catalogue import make_loss
from alcl.experiments import multiverse, reconstruction
from alcl.experiments.multiverse import (
    GRID,
    RULES,
    SETS,
    TUNING_SEEDS,
    Condition,
    Step,
    declared,
    final_tuning,
    finalists,
    first_tuning,
    on_edge,
    setting_of,
)
from alcl.experiments.readings import ALL_MEASURES

CONDITION = Condition("digits", "clipped", "high")
SMALL = {"epochs": 1, "n_train": 60, "n_test": 40, "n_validation": 40}

#: Where each measure is best: everything falls with the distance from there.
BEST = {
    "psnr": (1.5, 1.0),
    "ssim": (1.0, 0.35),
    "restored": (4.0, 0.5),
    "accuracy": (2.0, 2.0),
    "knn": (2.0, 2.0),
    "mlp": (2.0, 2.0),
    "finetuned": (2.0, 2.0),
    "noisy_error": (8.0, 0.5),
}


def distance(setting, best):
    return float(np.abs(np.log(setting) - np.log(best)).sum())


def record(config, best=BEST):
    setting = tuple(dict(config.options)[name] for name in ("alpha", "beta"))
    metrics = {name: -distance(setting, best[name]) for name in ALL_MEASURES}
    metrics["noisy_error"] *= -1
    return {"digest": config.digest, "config": config.config(), "metrics": metrics}


def tuned(condition=CONDITION, best=BEST):
    records = [record(config, best) for config in first_tuning(condition)]
    return records + [record(config, best) for config in final_tuning(records, condition)]


# --- the grid -------------------------------------------------------------------------------------------------------


def test_the_grid_has_a_core_that_the_ring_surrounds():
    assert len(set(GRID)) == len(GRID) == 31
    inside = [setting for setting in GRID if not on_edge(setting)]
    assert len(inside) == 20
    assert {side for setting in GRID for side in on_edge(setting)} == {
        "alpha low",
        "alpha high",
        "beta low",
        "beta high",
    }
    assert on_edge((0.5, 8.0)) == ("alpha low", "beta high")
    assert on_edge((2.0, 0.1)) == ("beta low",)
    assert on_edge((8.0, 0.5)) == ("alpha high",)
    # the edges of the grid that was there before are inside of this one
    for setting in ((1.0, 0.5), (4.0, 0.5), (2.0, 0.2)):
        assert on_edge(setting) == ()
    assert multiverse.MEDIAN in inside


def test_tuning_is_judged_on_validation_images_with_seeds_of_no_evaluation():
    runs = [*first_tuning(CONDITION), *final_tuning(tuned(), CONDITION)]
    assert {config.evaluate_on for config in runs} == {"validation"}
    assert {config.seed for config in runs} == set(TUNING_SEEDS)
    assert not set(TUNING_SEEDS) & set(multiverse.SEEDS)
    assert {config.sensor for config in runs} == {"clipped"}
    assert {config.measures for config in runs} == {"all"}


# --- rules ----------------------------------------------------------------------------------------------------------


def test_every_oracle_finds_its_measures_best_setting():
    records = tuned()
    assert setting_of("oracle_psnr", records, CONDITION) == (1.5, 1.0)
    assert setting_of("oracle_ssim", records, CONDITION) == (1.0, 0.35)
    assert setting_of("oracle_restored", records, CONDITION) == (4.0, 0.5)
    assert setting_of("oracle_codes", records, CONDITION) == (2.0, 2.0)
    assert setting_of("noisy", records, CONDITION) == (8.0, 0.5)
    assert on_edge(setting_of("noisy", records, CONDITION)) == ("alpha high",)
    assert setting_of("alpha2", records, CONDITION)[0] == 2.0
    assert setting_of("median", (), CONDITION) == (1.5, 0.5)
    assert setting_of("public", (), CONDITION) == (2.0, pytest.approx(0.2828427))


def test_one_setting_for_all_has_the_best_mean_rank():
    records = tuned(best=dict.fromkeys(BEST, (1.5, 0.5)))
    assert setting_of("one", records, CONDITION) == (1.5, 0.5)
    # and where measures disagree: by ranks computed one by one
    records, chosen = tuned(), finalists(tuned(), CONDITION)
    by = {"psnr": "psnr", "ssim": "ssim", "restored": "restored", "codes": "knn"}
    values = {m: [-distance(s, BEST[name]) for s in chosen] for m, name in by.items()}
    ranks = [np.mean([sum(v > values[m][i] for v in values[m]) for m in by]) for i in range(len(chosen))]
    assert ranks[chosen.index(setting_of("one", records, CONDITION))] == min(ranks)


def test_kept_is_what_was_tuned_at_another_level():
    between = replace(CONDITION, level="between")
    here, there = dict.fromkeys(BEST, (1.5, 0.5)), dict.fromkeys(BEST, (4.0, 1.0))
    records = [*tuned(CONDITION, here), *tuned(between, there)]
    assert setting_of("kept", records, CONDITION) == (4.0, 1.0)
    assert setting_of("kept", records, replace(CONDITION, level="extreme")) == (4.0, 1.0)
    assert setting_of("kept", records, between) == (1.5, 0.5)


def test_other_tuning_seeds_may_overrule_the_first():
    records = [record(config) for config in first_tuning(CONDITION)]
    other = dict.fromkeys(BEST, (1.0, 0.35))
    records += [record(config, other) for config in final_tuning(records, CONDITION)]
    assert setting_of("oracle_psnr", records, CONDITION) == (1.0, 0.35)


def test_a_run_that_diverged_is_the_worst():
    records = tuned()
    for found in records:
        if found["config"]["options"] == {"alpha": 1.5, "beta": 1.0}:
            found["metrics"] = dict.fromkeys(ALL_MEASURES)
    assert setting_of("oracle_psnr", records, CONDITION) != (1.5, 1.0)


def test_rules_wait_for_their_records():
    with pytest.raises(LookupError, match="31 tuning runs of digits/clipped/high are not recorded"):
        final_tuning((), CONDITION)
    with pytest.raises(LookupError, match="tuning runs of digits/clipped/high"):
        setting_of("oracle_psnr", [record(config) for config in first_tuning(CONDITION)], CONDITION)
    with pytest.raises(LookupError, match="digits/clipped/between"):
        setting_of("kept", tuned(), CONDITION)
    with pytest.raises(ValueError, match="rule must be one of oracle_psnr"):
        setting_of("best", (), CONDITION)


# --- what is declared -----------------------------------------------------------------------------------------------


def test_a_condition_says_what_its_sensor_is():
    clean = Condition("digits", "clean", "high").run("alcl", 1)
    assert (clean.targets, clean.sensor, clean.measures) == ("clean", "unclipped", "all")
    assert Condition("digits", "clamped", "high").run("alcl", 1).sensor == "clamped"
    with pytest.raises(ValueError, match="sensor must be one of"):
        Condition("digits", "dirty", "high").run("alcl", 1)


def test_all_axes_are_declared_everywhere():
    steps = [step for step in declared() if step.kind == "evaluation" and step.epochs is None]
    for sensor in multiverse.SENSORS:
        for level in multiverse.LEVELS:
            for dataset in SETS:
                condition = Condition(dataset, sensor, level)
                own = [step for step in steps if step.condition == condition]
                rules = {rule for step in own for rule in step.rules}
                missing = {"public"} if sensor != "clean" else {"public", "noisy"}
                assert set(RULES) - rules == missing, condition
                assert {"mse", "alcl", "alcl_kappa"} <= {m for step in own for m in step.methods}
                wanted = multiverse.SEEDS if sensor in multiverse.HEADLINE_SENSORS else multiverse.FEW
                assert set(wanted) <= {s for step in own for s in step.seeds if step.rules}
    for sensor in multiverse.HEADLINE_SENSORS:  # the reference
        for level in ("low", "high", "extreme"):
            for dataset in SETS:
                own = [s for s in steps if s.condition == Condition(dataset, sensor, level) and "mse" in s.methods]
                assert {seed for step in own for seed in step.seeds} == set(multiverse.SEEDS)


def test_ablations_come_first_and_bound_the_shape_as_they_say():
    steps = [step for step in declared() if step.part == "ablations"]
    assert declared()[: len(steps)] == steps
    assert all(config.dataset == "mnist" for step in steps for config in step.runs(()))
    bounds = {"alcl": (1, None), "alcl_floor": (1.25, None), "alcl_cap2": (1, 2), "alcl_cap3": (1, 3)}
    assert set(steps[0].methods) == set(bounds)
    for method, (floor, cap) in bounds.items():
        loss, options = reconstruction.METHODS[method]
        criterion = make_loss(loss, **options)
        for raw, bound in ((-60.0, floor), (60.0, cap)):
            with torch.no_grad():
                criterion.raw_alpha.fill_(raw)
            if bound is not None:
                assert criterion.alpha.item() == pytest.approx(bound, abs=1e-3)
            else:
                assert criterion.alpha.item() > 10


def test_tuning_comes_before_what_it_decides_and_the_size_is_what_the_page_says():
    there, digests = [], set()  # tuned so far, as the records of a made world
    for step in declared():
        runs = step.runs(there)
        assert runs
        assert len(runs) <= step.most()
        if step.kind != "evaluation":
            there += [record(config) for config in runs]
        else:
            assert {config.evaluate_on for config in runs} == {"test"}
        assert all(config.measures == "all" for config in runs)
        digests |= {config.digest for config in runs}
    assert 7_000 < len(digests) < 8_000


@pytest.fixture
def small(monkeypatch):
    """A multiverse of digits that is done in seconds."""
    plain = Condition.run
    monkeypatch.setattr(
        Condition, "run", lambda condition, method, seed, **k: plain(condition, method, seed, **{**SMALL, **k})
    )
    monkeypatch.setattr(multiverse, "GRID", ((1.0, 0.5), (2.0, 0.5), (2.0, 1.0)))
    monkeypatch.setattr(multiverse, "SETS", ("digits",))
    monkeypatch.setattr(multiverse, "SECONDS", {"digits": 36.0})
    steps = [
        Step("methods", CONDITION, methods=("mse", "alcl"), few=("pca",), seeds=(4, 5)),
        Step("gcl", CONDITION, "tuning"),
        Step("gcl", CONDITION, "finals"),
        Step("gcl", CONDITION, rules=("one", "median"), seeds=(0,)),
    ]
    monkeypatch.setattr(multiverse, "declared", lambda: steps)
    multiverse._tuning_digest.cache_clear()
    yield steps
    multiverse._tuning_digest.cache_clear()


def test_the_command_runs_resumes_and_lists(small, tmp_path, capsys, monkeypatch):
    arguments = ["--records", str(tmp_path), "--datasets", "digits"]
    assert multiverse.main([*arguments, "--list"]) == 0
    assert "0 of at most" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert multiverse.main(arguments) == 0
    lines = (tmp_path / "multiverse_digits.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [r["method"] for r in records[:5]] == ["mse", "alcl", "pca", "mse", "alcl"]
    assert {r["method"] for r in records[5:]} == {"gcl"}
    assert all(set(r["metrics"]) == set(ALL_MEASURES) for r in records)
    assert all(r["config"]["sensor"] == "clipped" for r in records)

    def never(config):
        raise AssertionError("is recorded")

    monkeypatch.setattr(reconstruction, "run", never)
    assert multiverse.main(arguments) == 0
    assert multiverse.main([*arguments, "--list"]) == 0
    number = len(records)
    assert f"{number} of {number} runs" in capsys.readouterr().out


def test_a_part_that_fails_does_not_keep_the_others_from_being_run(small, tmp_path, capsys, monkeypatch):
    plain = reconstruction.run

    def breaks(config):
        if config.evaluate_on == "validation":
            raise ArithmeticError("no luck")
        return plain(config)

    monkeypatch.setattr(reconstruction, "run", breaks)
    assert multiverse.main(["--records", str(tmp_path), "--datasets", "digits"]) == 1
    error = capsys.readouterr().err
    assert "3 of 3 runs failed" in error
    assert "gcl: digits/clipped/high, evaluation: 3 tuning runs" in error
    assert len(multiverse.multiverse_store(tmp_path, "digits").read()) == 5


def test_an_unknown_data_set_is_named(tmp_path, capsys):
    assert multiverse.main(["--records", str(tmp_path), "--datasets", "mnits"]) == 1
    assert "datasets must be one of mnist" in capsys.readouterr().err
