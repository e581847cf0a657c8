"""Beyond the edge of GCL's grid, on records whose best setting is known."""

import pytest
from test_multiverse import BEST, record, tuned

from alcl.experiments import edge_runs
from alcl.experiments.edge_runs import asked, changes, choices, evaluation_runs, outward, tuning_runs, walk
from alcl.experiments.multiverse import GRID, TUNED, TUNING_SEEDS, Condition, multiverse_store, on_edge, setting_of

HERE = Condition("mnist", "clipped", "high")
INSIDE = dict.fromkeys(BEST, (1.5, 0.5))


def walked(best, rounds=edge_runs.ROUNDS):
    """Records of the grid and of so many rounds."""
    records = tuned(HERE, best)
    for _ in range(rounds):
        there = {r["digest"] for r in records}
        records += [record(run, best) for run in tuning_runs(records, HERE) if run.digest not in there]
    return records


def row(records, rule="oracle_psnr"):
    return choices(records, [HERE]).set_index("rule").loc[rule]


def test_a_step_leads_over_every_edge_that_a_setting_lies_on():
    assert outward((1.5, 0.5)) == []
    assert outward((1.0, 8.0)) == [(1.0, 32.0)]
    assert outward((2.0, 0.1)) == [(2.0, 0.05)]
    assert outward((8.0, 0.5)) == [(16.0, 0.5)]
    assert sorted(outward((0.5, 8.0))) == [(0.25, 8.0), (0.5, 32.0)]
    for setting in GRID:
        assert bool(outward(setting)) == bool(on_edge(setting))
        assert not set(outward(setting)) & set(GRID)


def test_rules_are_asked_where_the_multiverse_evaluates_them():
    assert len(asked()) == 48  # 32 of the curve, and low and extreme of the headline
    assert set(asked()[HERE]) == set(TUNED)
    assert asked()[HERE]["oracle_psnr"] == tuple(range(10))
    assert asked()[Condition("gtsrb", "clamped", "between")]["one"] == tuple(range(5))
    assert "noisy" not in asked()[Condition("gtsrb", "clean", "high")]
    assert sorted(asked()[Condition("mnist", "clipped", "low")]["oracle_psnr"]) == list(range(10))


def test_nothing_is_run_where_all_choices_lie_inside():
    records = walked(INSIDE)
    assert tuning_runs(records, HERE) == evaluation_runs(records, HERE) == []
    assert set(choices(records, [HERE])["end"]) == {"inside"}


@pytest.mark.parametrize(
    ("best", "grid", "new", "end"),
    [
        ((1.0, 9.0), (1.0, 8.0), (1.0, 8.0), "holds"),
        ((1.0, 30.0), (1.0, 8.0), (1.0, 32.0), "moves"),
        ((1.0, 1e4), (1.0, 8.0), (1.0, 128.0), "on the edge"),
        ((20.0, 0.5), (8.0, 0.5), (16.0, 0.5), "moves"),
        ((2.0, 0.04), (2.0, 0.1), (2.0, 0.05), "moves"),
    ],
)
def test_a_choice_on_the_edge_is_followed_until_it_turns_back(best, grid, new, end):
    best = INSIDE | {"psnr": best}
    found = row(walked(best))
    assert (found["alpha"], found["beta"]) == grid == setting_of("oracle_psnr", tuned(HERE, best), HERE)
    assert (found["new_alpha"], found["new_beta"]) == new
    assert found["end"] == end
    assert row(walked(best), "oracle_restored")["end"] == "inside"


def test_mean_ranks_among_more_settings_may_choose_another_of_the_grid(monkeypatch):
    best = INSIDE | {"psnr": (1.0, 9.0)}
    plain = edge_runs.choose
    monkeypatch.setattr(
        edge_runs, "choose", lambda rule, t: (2.0, 0.5) if rule == "one" and (1.0, 32.0) in t else plain(rule, t)
    )
    found = row(walked(best), "one")
    assert found["end"] == "moves inside"
    assert (found["new_alpha"], found["new_beta"]) == (2.0, 0.5)


def test_every_round_is_named_as_missing_until_it_is_recorded():
    best = INSIDE | {"psnr": (1.0, 1e4)}
    with pytest.raises(LookupError, match="not recorded"):
        walk([], HERE)
    assert choices([], [HERE]).empty
    for rounds, tried in ((0, [(1.0, 32.0)]), (1, [(1.0, 32.0), (1.0, 128.0)])):
        records = walked(best, rounds)
        assert row(records)["end"] == "not run"
        assert walk(records, HERE)[1] == tried
        assert len(tuning_runs(records, HERE)) == len(tried) * len(TUNING_SEEDS)
        with pytest.raises(LookupError, match="not recorded"):
            evaluation_runs(records, HERE)
    assert {run.evaluate_on for run in tuning_runs(records, HERE)} == {"validation"}


def test_what_moved_is_evaluated_with_the_seeds_of_its_condition():
    runs = evaluation_runs(walked(INSIDE | {"psnr": (1.0, 30.0)}), HERE)
    assert [run.seed for run in runs] == list(range(10))
    assert {run.digest for run in runs} == {HERE.gcl((1.0, 32.0), seed).digest for seed in range(10)}
    assert evaluation_runs(walked(INSIDE | {"psnr": (1.0, 9.0)}), HERE) == []


def test_changes_are_paired_medians_in_usual_units():
    records = walked(INSIDE | {"psnr": (1.0, 30.0)})

    def of(run, psnr, restored):
        metrics = {"psnr": psnr, "ssim": 0.5, "restored": restored, "accuracy": 0.5, "knn": 0.5, "mlp": 0.5}
        return {"digest": run.digest, "config": run.config(), "metrics": metrics | {"finetuned": 0.5}}

    for seed in range(10):
        records.append(of(HERE.gcl((1.0, 8.0), seed), 15.0, 0.7))
        records.append(of(HERE.run("alcl", seed), 15.5, 0.8))
    assert changes(records)["gain"].isna().all()
    records += [of(HERE.gcl((1.0, 32.0), seed), 15.0 + seed, 0.75) for seed in range(10)]
    table = changes(records)
    assert set(table["rule"]) == {"oracle_psnr"}
    by = table.set_index("measure")
    assert by["own"].to_dict() == {"psnr": True, "ssim": False, "restored": False, "codes": False}
    assert by.loc["psnr", ["gain", "gain_low", "gain_high"]].tolist() == [4.5, 1.0, 8.0]
    assert by.loc["psnr", ["alcl", "beyond"]].tolist() == [0.5, -4.0]
    assert by.loc["restored", ["gain", "alcl", "beyond"]].tolist() == pytest.approx([5.0, 10.0, 5.0])


def test_the_command_goes_round_by_round_and_then_evaluates(tmp_path, monkeypatch):
    best = INSIDE | {"psnr": (1.0, 1e4)}
    for made in tuned(HERE, best):
        multiverse_store(tmp_path, "mnist").append(made)
    done = []

    def sweep(runs, store, jobs, description, **how):
        done.append(description)
        there = {r["digest"] for r in store.read()}
        for run in runs:
            if run.digest not in there:
                store.append(record(run, best))

    monkeypatch.setattr(edge_runs, "asked", lambda: {HERE: {"oracle_psnr": (0, 1)}})
    monkeypatch.setattr(edge_runs.reconstruction, "sweep", sweep)
    monkeypatch.setattr(edge_runs, "load_dataset", lambda name: None)
    edge_runs.run_edge(tmp_path)
    assert done == ["edge: mnist, round 1", "edge: mnist, round 2", "edge: mnist, evaluation"]
    options = [tuple(r["config"]["options"].values()) for r in edge_runs.edge_store(tmp_path).read()]
    assert options == [(1.0, 32.0)] * 3 + [(1.0, 128.0)] * 5
    records = [*multiverse_store(tmp_path, "mnist").read(), *edge_runs.edge_store(tmp_path).read()]
    assert row(records)["new_beta"] == 128
