"""The sensor's losses in the multiverse: what is declared, the rule on records with known answers, one run of each."""

import numpy as np
import pytest

from alcl.catalogue import make_loss
from alcl.experiments import multiverse, protocol, reconstruction, sensor_runs
from alcl.experiments.multiverse import Condition
from alcl.experiments.sensor_runs import CANDIDATES, SECOND, SENSORS, choice, development_runs, evaluation_runs


def records(score, development=sensor_runs.FIRST):
    """Of every development run; score(method, options, run) to (restored, psnr)."""
    found = []
    for method, candidates in development.candidates.items():
        for options in candidates if len(candidates) > 1 else ():
            for run in sensor_runs.candidate_runs(method, options, development):
                restored, psnr = score(method, options, run)
                found.append({"digest": run.digest, "metrics": {"restored": restored, "psnr": psnr}})
    return found


def test_candidates_are_legal_and_differ():
    for method, candidates in CANDIDATES.items():
        made = [repr(make_loss(method, **options)) + str(options.get("atom")) for options in candidates]
        bounded = [(text, options.get("alpha_max")) for text, options in zip(made, candidates, strict=True)]
        assert len(set(bounded)) == len(candidates)


def test_development_has_no_image_of_an_evaluation():
    runs = development_runs()
    assert len(runs) == len({run.digest for run in runs})
    assert {run.evaluate_on for run in runs} == {"validation"}
    assert {(run.dataset, run.level) for run in runs} == set(protocol.DEVELOPMENT_CONDITIONS)
    assert not {run.seed for run in runs} & set(multiverse.SEEDS)
    conditions = {(run.dataset, run.level) for d in multiverse.SETS for run in evaluation_runs(choice_of_first(), d)}
    assert not conditions & set(protocol.DEVELOPMENT_CONDITIONS)


def test_the_second_round_is_at_the_goals_levels_in_sets_of_no_evaluation():
    runs = development_runs(SECOND)
    digests = {run.digest for run in runs}
    assert len(runs) == len(digests)
    assert {run.evaluate_on for run in runs} == {"validation"}
    assert {run.level for run in runs} == {"high", "extreme"}
    assert not {run.dataset for run in runs} & set(multiverse.SETS)
    assert not {run.seed for run in runs} & set(multiverse.SEEDS)
    before = len(digests & {run.digest for run in development_runs()})
    assert f"{len(runs)} runs, {before} of them the first's" in sensor_runs.__doc__
    for method, candidates in SECOND.candidates.items():
        assert set(map(str, CANDIDATES.get(method, ()))) <= set(map(str, candidates))
    held, capped, learned = (
        sensor_runs.sensor_run("alcl", o, "mnist", "high", "clipped", 0) for o in SECOND.candidates["alcl"]
    )
    assert held.digest == Condition("mnist", "clipped", "high").run("alcl_shape_frozen", 0).digest
    assert capped.digest == Condition("mnist", "clipped", "high").run("alcl_cap2", 0).digest
    assert learned.digest == Condition("mnist", "clipped", "high").run("alcl", 0).digest


def test_the_third_round_is_at_a_level_of_no_evaluation():
    runs = development_runs(sensor_runs.THIRD)
    assert len(runs) == len({run.digest for run in runs})
    assert f"{len(runs)} runs\n" in sensor_runs.__doc__
    assert {run.evaluate_on for run in runs} == {"validation"}
    assert {run.level for run in runs} == {"severe"}
    assert not {"severe"} & {step.condition.level for step in multiverse.declared()}
    assert not {run.seed for run in runs} & set(multiverse.SEEDS)


def choice_of_first():
    return {method: candidates[0] for method, candidates in CANDIDATES.items()}


def test_evaluation_covers_all_conditions_with_the_seeds_of_the_others_and_the_docstring_counts_right():
    chosen, total = choice_of_first(), 0
    for dataset in multiverse.SETS:
        runs = evaluation_runs(chosen, dataset)
        total += len({run.digest for run in runs})
        for method, sensors in SENSORS.items():
            own = {(run.sensor, run.level, run.seed) for run in runs if run.loss == method}
            levels = ("high", "extreme", "between", "low")
            assert own == {(s, level, seed) for s in sensors for level in levels for seed in range(10)}
        other = {multiverse.Condition(dataset, r.sensor, r.level).run("alcl", r.seed).digest for r in runs}
        assert not other & {run.digest for run in runs}
    page = sensor_runs.__doc__
    assert f"{len(development_runs())} runs" in page
    assert f"{total:,} runs" in page


def test_the_best_psnr_counts_among_those_within_half_a_point():
    candidates = CANDIDATES["censored_alcl"]
    restored = {0: 0.8, 1: 0.7951, 2: 0.7949}
    psnr = {0: 15.0, 1: 16.0, 2: 17.0}

    def score(method, options, run):
        i = CANDIDATES[method].index(options)
        return (restored.get(i, 0.5), psnr.get(i, 20.0)) if method == "censored_alcl" else (0.5, -i)

    chosen = choice(records(score))
    assert chosen["censored_alcl"] == candidates[1]
    assert chosen["contaminated_alcl"] == CANDIDATES["contaminated_alcl"][0]
    assert chosen["tobit"] == {"scale": 0.5}


def test_a_later_choice_is_evaluated_only_where_it_is_another():
    def score(method, options, run):
        capped = options.get("alpha_max") == 2.0 and "eps" not in options
        return 0.5, {"censored_alcl": 1.0 if capped else 0.0, "alcl": float("alpha" in options["learn"])}.get(method, 0)

    there = [*records(score), *records(score, SECOND), *records(score, sensor_runs.THIRD)]
    first, both = choice(there), sensor_runs.settings(there)
    assert set(both) - set(first) == {"censored_alcl_second", "alcl_second"}
    assert both["censored_alcl_second"]["alpha_max"] == 2.0
    assert {method: both[method] for method in first} == first
    runs = evaluation_runs(both, "mnist")
    assert len({run.digest for run in runs}) == len(runs) == 160 + 40 + 80
    with pytest.raises(LookupError, match="development runs of the sensor's losses are not recorded"):
        sensor_runs.settings(records(score))


def test_every_sensor_and_data_set_counts_alike():
    """mnist has one development condition, digits three: a mean over runs would let digits decide."""

    def score(method, options, run):
        i = CANDIDATES[method].index(options)
        return 0.5, {0: 10.0 if run.dataset == "mnist" else 0.0, 1: 0.0 if run.dataset == "mnist" else 4.0}.get(i, -1.0)

    assert choice(records(score))["contaminated_alcl"] == CANDIDATES["contaminated_alcl"][0]


def test_a_candidate_that_diverged_is_not_chosen_and_missing_runs_are_counted():
    def score(method, options, run):
        return (None, None) if CANDIDATES[method].index(options) == 0 else (0.5, 1.0)

    there = records(score)
    assert choice(there)["censored_alcl"] == CANDIDATES["censored_alcl"][1]
    with pytest.raises(LookupError, match="2 development runs of the sensor's losses are not recorded"):
        choice(there[2:])


@pytest.mark.parametrize("method", SENSORS)
def test_a_run_measures_everything(method):
    small = {"epochs": 1, "n_train": 60, "n_test": 40, "n_validation": 40}
    run = sensor_runs.sensor_run(method, CANDIDATES[method][-1], "digits", "high", "clipped", 0, **small)
    metrics = reconstruction.run(run)["metrics"]
    assert all(np.isfinite(metrics[name]) for name in ("psnr", "ssim", "restored"))


def test_the_command_wants_development_first(tmp_path, capsys):
    assert sensor_runs.main(["--records", str(tmp_path), "--datasets", "emnist"]) == 1
    assert "datasets must be one of" in capsys.readouterr().err
    with pytest.raises(LookupError, match="672 development runs"):
        sensor_runs.run_sensor(tmp_path)
