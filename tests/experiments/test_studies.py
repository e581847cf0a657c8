"""The studies: declared runs, their own tuning, what is recorded where, and the table that is made of it."""

import pandas as pd
import pytest

from alcl.catalogue import make_loss
from alcl.experiments import protocol, reconstruction, studies
from alcl.experiments.levels import LEVELS, STUDY_NOISE
from alcl.experiments.protocol import tuning_runs
from alcl.experiments.reconstruction import METHODS, Run, method_run


def record(config, value=0.5):
    found = {"digest": config.digest, "config": config.config(), "metrics": dict.fromkeys(protocol.MEASURES, value)}
    return found | {"history": {"loss": [0.1], "alpha": [2.0, 1.5], "beta": [0.5, 0.2]}}


def tuned(dataset, *levels):
    """Tuning records of levels; the best setting is the last of the grid."""
    return [record(c, value=i / 100) for level in levels for i, c in enumerate(tuning_runs(dataset, level))]


@pytest.fixture
def folder(tmp_path):
    """Grid records of digits, as far as the studies need them."""
    for dataset in ("digits", "digits_rgb"):
        for found in tuned(dataset, *LEVELS):
            protocol.study_store(tmp_path, dataset).append(found)
    return tmp_path


def fill(folder, name, dataset):
    """Tuning records of a study."""
    for found in tuned(dataset, *studies.STUDIES[name].tune):
        studies.study_store(folder, name).append(found)


@pytest.mark.parametrize("name", studies.STUDIES)
def test_runs_are_declared_once_each_and_judged_on_test_images(name, folder):
    dataset = studies.STUDIES[name].datasets[0]
    fill(folder, name, dataset)
    found = studies.study_runs(name, dataset, folder)
    keys = [(label, config.level, config.seed, config.n_train, config.code) for label, config in found]
    assert len(set(keys)) == len(keys) > 50
    assert {config.evaluate_on for _, config in found} == {"test"}
    assert {config.seed for _, config in found} <= set(range(10))
    assert any(label == "alcl" for label, _ in found)
    used = {c.level for _, c in found} & set(STUDY_NOISE)
    assert used == {"drift": {"drift_up", "drift_down"}, "channels": {"channels"}, "unseen": set(studies.UNSEEN)}.get(
        name, set()
    )


def test_gcl_takes_its_setting_from_the_named_tuning(folder):
    found = dict(studies.study_runs("drift", "digits", folder))
    best = tuning_runs("digits", "low")[-1].options
    assert found["gcl, tuned at low, by psnr"].options == best
    with pytest.raises(LookupError, match="24 tuning runs of digits/stable are not recorded"):
        studies.study_runs("unseen", "digits", folder)


def test_one_scale_a_channel_is_a_method_of_colour_images():
    assert reconstruction.method_of(method_run("alcl_channels", "digits_rgb", "low").config()) == "alcl_channels"
    loss = make_loss(METHODS["alcl_channels"][0], **METHODS["alcl_channels"][1])
    assert loss.beta.shape == (3, 1, 1)


def test_a_study_runs_what_neither_it_nor_the_grid_has(folder, monkeypatch):
    small = studies.Study(
        lambda dataset, tuning: [
            (f"mse {n}", method_run("mse", dataset, "low", seed, epochs=1, n_train=n, n_test=20))
            for n in (30, 40)
            for seed in (0, 1)
        ],
        ("digits",),
    )
    monkeypatch.setitem(studies.STUDIES, "small", small)
    known = studies.study_runs("small", "digits", folder)[0][1]
    protocol.study_store(folder, "digits").append(record(known))
    studies.run_study("small", "digits", folder, progress=False)
    own = studies.study_store(folder, "small").read()
    assert [r["config"]["n_train"] for r in own] == [30, 40, 40]
    studies.run_study("small", "digits", folder, progress=False)
    assert studies.study_store(folder, "small").read() == own
    frame = studies.study_frame("small", folder)
    assert frame["name"].tolist() == ["mse 30", "mse 30", "mse 40", "mse 40"]
    assert frame.loc[0, "accuracy"] == 0.5
    assert frame.loc[3, "psnr"] == own[-1]["metrics"]["psnr"]


def test_a_study_that_fails_does_not_keep_the_others_from_being_run(folder, monkeypatch, capsys):
    def declared(method):
        return studies.Study(lambda dataset, tuning: [(method, method_run(method, dataset, "low", 77))], ("digits",))

    def breaks(config):
        if config.loss == "mse":
            raise ArithmeticError("no luck")
        return record(config)

    def untuned(dataset, tuning):
        raise LookupError("24 tuning runs are not recorded")

    found = {"first": declared("mse"), "second": studies.Study(untuned, ("digits",)), "third": declared("l1")}
    monkeypatch.setattr(studies, "STUDIES", found)
    monkeypatch.setattr(reconstruction, "run", breaks)
    arguments = ["--studies", *found, "--datasets", "digits", "--records", str(folder)]
    assert studies.main(arguments) == 1
    error = capsys.readouterr().err
    assert "first on digits: 1 of 1 runs failed" in error
    assert "second on digits: 24 tuning runs are not recorded" in error
    assert len(studies.study_store(folder, "third").read()) == 1
    assert studies.main(["--studies", "third", "--datasets", "digits", "--records", str(folder)]) == 0


def test_the_table_leaves_out_what_is_not_recorded_and_keeps_what_diverged(folder):
    config = dict(studies.study_runs("ablations", "digits", folder))["alcl"]
    diverged = record(config) | {"metrics": {"accuracy": 0.1, "psnr": None}}
    studies.study_store(folder, "ablations").append(diverged)
    frame = studies.study_frame("ablations", folder)
    assert len(frame) == 1
    assert frame.loc[0, "psnr"] == float("-inf")
    assert (frame.loc[0, "alpha"], frame.loc[0, "beta"]) == (1.5, 0.2)


def table(rows):
    columns = ["dataset", "level", "name", "method", "seed", "accuracy", "psnr"]
    return pd.DataFrame([("digits", "high", *row) for row in rows], columns=columns)


def test_comparison_pairs_by_seed_and_takes_gcl_as_tuned_for_the_measure():
    inf = float("inf")
    frame = table(
        [
            *[("alcl", "alcl", seed, 0.5 + seed / 10, 10.0) for seed in (0, 1, 2)],
            *[("mse", "mse", seed, 0.4 + seed / 10, 12.0) for seed in (2, 1)],  # another order, and one seed short
            *[("gcl, kept, by accuracy", "gcl", seed, 0.9, 1.0) for seed in (0, 1, 2)],
            *[("gcl, kept, by psnr", "gcl", seed, 0.1, -inf if seed == 0 else 11.0) for seed in (0, 1, 2)],
        ]
    )
    found = studies.compare(frame, "accuracy").set_index("name")
    assert list(found.index) == ["alcl", "mse", "gcl, kept"]
    assert found.loc["mse", ["seeds", "median"]].tolist() == [2, pytest.approx(0.55)]
    assert found.loc["mse", ["difference", "low", "high"]].tolist() == [pytest.approx(0.1)] * 3  # alcl is ahead
    assert found.loc["gcl, kept", "difference"] == pytest.approx(-0.3)
    assert found.loc["alcl", ["difference", "low", "high"]].tolist() == [0, 0, 0]
    psnr = studies.compare(frame, "psnr").set_index("name").loc["gcl, kept"]
    assert psnr[["difference", "low", "high"]].tolist() == [-1.0, -1.0, inf]
    with pytest.raises(ValueError, match="measure must be one of accuracy, psnr; got 'ssim'"):
        studies.compare(frame, "ssim")
    similar = studies.compare(frame.assign(ssim=frame["psnr"] / 100), "ssim").set_index("name")
    assert similar.loc["mse", "difference"] == pytest.approx(-0.02)


def test_comparison_calls_two_diverged_runs_equal():
    diverged = float("-inf")
    frame = table([(name, name, seed, 0.1, diverged) for name in ("alcl", "mse") for seed in (0, 1)])
    assert studies.compare(frame, "psnr").set_index("name").loc["mse", "difference"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--studies", "drfit"], "no such study: drfit; legal: drift, channels, ablations, sizes, unseen"),
        (["--datasets", "mnits"], "no such data set: mnits; legal: digits"),
    ],
)
def test_bad_names_are_refused_before_any_work(arguments, message, tmp_path, capsys):
    assert studies.main([*arguments, "--records", str(tmp_path / "new")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_legal_values_are_named():
    with pytest.raises(ValueError, match="study must be one of drift"):
        studies.study_runs("drfit", "digits", ".")
    with pytest.raises(ValueError, match="dataset of study 'channels' must be one of digits_rgb, cifar10; got 'mnist'"):
        studies.study_runs("channels", "mnist", ".")


def test_rates_and_sizes_are_legal_runs(folder):
    for name in ("ablations", "sizes"):
        assert all(isinstance(config, Run) for _, config in studies.study_runs(name, "digits", folder))
    codes = {config.code for _, config in studies.study_runs("sizes", "digits", folder)}
    assert codes == {4, 8, 16, 32}


def test_a_cluster_that_is_not_there_is_named_before_any_work(tmp_path, capsys):
    assert studies.main(["--backend", "moon", "--records", str(tmp_path)]) == 1
    assert "backend must be one of loky, dask; got 'moon'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
