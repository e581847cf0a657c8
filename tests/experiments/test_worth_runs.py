"""What is declared of what learning is worth; a start from the data."""

import math
from pathlib import Path

import pytest
import torch

from alcl.experiments import multiverse, reconstruction, sensor_runs, worth_runs
from alcl.experiments.multiverse import multiverse_store
from alcl.experiments.reconstruction import Run, method_run, run
from alcl.experiments.worth_runs import FACTORS, PARTS, START_SEEDS, scaled

CHOSEN = {method: candidates[0] for method, candidates in sensor_runs.CANDIDATES.items()}


def test_ceiling_covers_the_headline_at_high_and_extreme():
    runs = [run for method in ("known_noise", "known_noise_wide") for _, run in worth_runs.ceiling(method)]
    assert len({run.digest for run in runs}) == len(runs) == 2 * 2 * 4 * 2 * 5
    assert {run.measures for run in runs} == {"all"}


def test_less_is_learned_with_both_sensors_where_alcl_is_farthest_behind():
    named = worth_runs.learned()
    assert len({run.digest for _, run in named}) == len(named) == 4 * 2 * 5
    assert {(run.dataset, run.level) for _, run in named} == {("fashion_mnist", "extreme")}
    assert {run.sensor for _, run in named} == {"clipped", "unclipped"}
    learns = {name: dict(run.options)["learn"] for name, run in named}
    assert learns["alcl_shape_frozen"] == ("beta",)
    assert learns["alcl_scale_frozen"] == ("alpha",)
    assert not learns["alcl_frozen"]


def test_what_was_learned_stands_beside_alcl_and_only_where_it_is_recorded(tmp_path):
    method, first = worth_runs.learned()[0]
    plain = multiverse.Condition("fashion_mnist", first.sensor, "extreme").run("alcl", 3)
    metrics, history = {"psnr": 13.0, "ssim": None, "restored": 0.5}, {"alpha": [2.0, 1.5], "beta": [0.5, 0.25]}
    for run_, store in ((first, worth_runs.worth_store), (plain, lambda f: multiverse_store(f, "fashion_mnist"))):
        record = {"digest": run_.digest, "config": run_.config(), "metrics": metrics, "history": history}
        store(tmp_path).append(record)
    table = worth_runs.learned_frame(tmp_path)
    assert table.values.tolist() == [
        [first.sensor, "alcl", 3, 13.0, -math.inf, 50.0, 1.5, 0.25],
        [first.sensor, method, first.seed, 13.0, -math.inf, 50.0, 1.5, 0.25],
    ]


def test_starts_cover_the_factors_and_share_noise_and_network():
    records = multiverse_store(Path(__file__).parents[2] / "paper_figures/records", "mnist").read()
    named = worth_runs.start(records, CHOSEN)
    assert len({run.digest for _, run in named}) == len(named)
    assert {run.seed for _, run in named} == set(START_SEEDS)
    assert {(run.dataset, run.sensor, run.level) for _, run in named} == {("mnist", "clipped", "high")}
    for factor in FACTORS:
        betas = [dict(run.options)["beta"] for name, run in named if name == f"alcl, x {factor:.3g}"]
        assert betas == [pytest.approx(0.5 * factor)] * len(START_SEEDS)
    as_given = [run.digest for name, run in named if name == "gcl, x 1"]
    setting = multiverse.setting_of("one", records, worth_runs.STARTED)
    assert as_given == [worth_runs.STARTED.gcl(setting, seed).digest for seed in START_SEEDS]


def test_scaled_changes_scales_and_the_floors_of_learned_ones():
    options = {"alpha": 2.0, "beta": 0.5, "learn": ("alpha", "beta")}
    assert scaled(options, 1e-3) == {**options, "beta": 5e-4, "beta_min": pytest.approx(5e-7)}
    assert scaled({**options, "learn": ()}, 10.0) == {**options, "learn": (), "beta": 5.0}
    assert scaled({"delta": 0.1}, 10.0) == {"delta": 1.0}
    assert scaled({"dof": 3.0, "scale": 0.5}, 2.0) == {"dof": 3.0, "scale": 1.0, "scale_min": 1e-3}


def test_parts_that_rest_on_other_records_say_so(tmp_path):
    for part in ("ssim", "start", "drift"):
        with pytest.raises(LookupError, match="not recorded"):
            PARTS[part](tmp_path)
    with pytest.raises(ValueError, match=f"parts must be one of {', '.join(PARTS)}"):
        worth_runs.run_worth(tmp_path, ["finish"])


def test_results_have_a_row_a_declared_run_in_usual_units(tmp_path):
    (_, first), (_, second), *rest = worth_runs.ceiling()
    metrics = {"psnr": 15.0, "ssim": None, "restored": 0.5}
    store = tmp_path / "worth.jsonl"
    line = {"digest": first.digest, "config": first.config(), "metrics": metrics}
    worth_runs.worth_store(tmp_path).append(line)
    assert store.is_file()
    table = worth_runs.results("ceiling", tmp_path)
    assert len(table) == 2 + len(rest)
    assert table.loc[0, ["psnr", "ssim", "restored"]].tolist() == [15.0, -math.inf, 50.0]
    assert table.loc[1:, "psnr"].isna().all()
    assert (table.loc[1, "method"], table.loc[1, "seed"]) == ("known_noise", second.seed)
    with pytest.raises(ValueError, match="part must be one of"):
        worth_runs.results("finish", tmp_path)


def test_the_factor_is_read_from_the_name(monkeypatch, tmp_path):
    runs = [("alcl, x 0.00392", 0.00392), ("alcl, from the data", math.nan), ("huber_mad", math.nan)]
    config = worth_runs.STARTED.run("alcl", 0)
    monkeypatch.setitem(worth_runs.PARTS, "start", lambda folder: [(name, config) for name, _ in runs])
    table = worth_runs.results("start", tmp_path)
    assert table["method"].tolist() == ["alcl", "alcl", "huber_mad"]
    assert table["factor"].tolist() == pytest.approx([factor for _, factor in runs], nan_ok=True)


def test_a_start_from_the_data_is_from_residuals_of_the_untrained_network():
    options = {"alpha": 2.0, "learn": ("alpha", "beta")}
    config = Run("digits", "high", loss="alcl", options=options, start="data", epochs=1)
    _, _, history, task = reconstruction.train(config)
    seed = reconstruction.stream(0, "initialisation")
    model = reconstruction.make_model(config.model, task.train_inputs.shape[1:], config.hidden, config.code, seed)
    with torch.no_grad():
        residual = (model(task.train_inputs[:1000]) - task.train_targets[:1000]).abs()
    assert history.parameters["beta"][0] == pytest.approx(residual.median().item(), rel=1e-3)  # Cauchy's own median
    assert config.digest != Run("digits", "high", loss="alcl", options=options, epochs=1).digest


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"start": "guess"}, "start must be one of given, data"),
        ({"start": "data", "options": {"beta": 0.5}}, "beta is what start='data' finds"),
        ({"start": "data", "loss": "huber"}, "has no from_residuals"),
    ],
)
def test_a_start_that_cannot_be_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        Run("digits", "high", **fields)


def test_a_run_takes_the_noise_from_its_level_and_sensor():
    config = method_run("known_noise", "digits", "high", sensor="clipped", epochs=1)
    assert run(config)["method"] == "known_noise"
    wide = method_run("known_noise_wide", "digits", "high", sensor="clipped", epochs=2)
    record = run(wide)
    assert record["method"] == "known_noise_wide"
    assert reconstruction.train(wide)[1].scale == pytest.approx(0.1, rel=0.01)  # narrowed down
    with pytest.raises(ValueError, match="options of known_noise must be one of start, until; got 'scale'"):
        Run("digits", "high", loss="known_noise", options={"scale": 1.0})
    with pytest.raises(ValueError, match="until must be positive and at most 1; got 2"):
        Run("digits", "high", loss="known_noise", options={"start": 1.0, "until": 2.0})
    with pytest.raises(ValueError, match="level must be mixed noise"):
        Run("digits", "none", loss="known_noise")


def test_gray_levels_are_among_the_factors():
    assert any(math.isclose(factor, 1 / 255) for factor in FACTORS)
