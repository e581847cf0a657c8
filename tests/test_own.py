"""One's own images and losses, all the way: runs, their digests, sweeps with workers, the command line, notebook 05."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import own
import pytest
import torch
from own import nothing_stays  # noqa: F401

from alcl import catalogue
from alcl.catalogue import make_loss, register_loss
from alcl.experiments import datasets, protocol, reconstruction
from alcl.experiments.analysis import benchmark_frame
from alcl.experiments.own_losses import carrying, load_losses
from alcl.experiments.protocol import study_store
from alcl.experiments.reconstruction import METHODS, Run, method_of, method_run, run, settings_of, sweep
from alcl.experiments.records import RecordStore
from alcl.paper import figures

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.usefixtures("nothing_stays")
SMALL = {"epochs": 2, "hidden": 8, "code": 4}


# --- losses ----------------------------------------------------------------------------------------------------------


def test_one_call_makes_a_loss_known_everywhere():
    register_loss("smooth", torch.nn.SmoothL1Loss, {"beta": 0.1}, label="smooth L1", color="#123456")
    assert isinstance(make_loss("smooth", beta=0.3), torch.nn.SmoothL1Loss)
    config = method_run("smooth", "digits", "high", 3)
    assert (config.loss, config.options) == ("smooth", (("beta", 0.1),))
    assert method_of(json.loads(json.dumps(config.config()))) == "smooth"
    look = figures.style("smooth")
    assert (look["label"], look["color"]) == ("smooth L1", "#123456")
    assert set(figures.COLORS) == set(figures.LABELS) == set(figures.MARKERS) == set(figures.LINESTYLES)


def test_losses_without_a_colour_are_grey_and_told_apart():
    names = [f"mine{number}" for number in range(6)]
    for name in names:
        register_loss(name, torch.nn.SmoothL1Loss)
    looks = [figures.style(name) for name in names]
    for look, name in zip(looks, names, strict=True):
        red, green, blue = (look["color"][i : i + 2] for i in (1, 3, 5))
        assert red == green == blue
        assert look["label"] == name
    assert len({(look["color"], str(look["linestyle"])) for look in looks}) == len(names)
    before = figures.style("mine1")
    register_loss("mine1", torch.nn.L1Loss)  # again, as when a cell of a notebook is run again
    assert figures.style("mine1") == before
    assert isinstance(make_loss("mine1"), torch.nn.L1Loss)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("Mine", torch.nn.L1Loss), ValueError, "name must be lower-case letters"),
        (("mse", torch.nn.L1Loss), ValueError, "name: 'mse' is taken"),
        (("mine", 3), TypeError, "factory must be a class or function"),
        (("mine", lambda: {}), TypeError, "factory must make a torch.nn.Module; it made a dict"),
        (("mine", torch.nn.SmoothL1Loss, {"gamma": 2}), ValueError, "loss 'mine' takes .*beta; got gamma"),
        (("mine", torch.nn.L1Loss, {}, "no colour"), ValueError, "color must be one that matplotlib knows"),
    ],
)
def test_an_illegal_registration_is_named_and_changes_nothing(arguments, error, message):
    tables = (catalogue.LOSSES, catalogue.OWN, METHODS, figures.COLORS)
    before = [dict(table) for table in tables]
    *arguments, color = arguments if len(arguments) == 4 else (*arguments, None)
    with pytest.raises(error, match=message):
        register_loss(*arguments, color=color)
    assert [dict(table) for table in tables] == before


@pytest.mark.parametrize("name", [*METHODS, "gcl", "gcl_kept", "all", "other"])
def test_names_of_this_package_are_taken(name):
    with pytest.raises(ValueError, match="is taken by a loss or method of this package"):
        register_loss(name, torch.nn.L1Loss)


def test_losses_come_from_a_file_or_a_module(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "losses_of_a_user.py"
    path.write_text(own.LOSSES)
    assert load_losses(path) == ["welsch", "smooth"]
    assert load_losses("losses_of_a_user") == ["welsch", "smooth"]
    assert figures.style("welsch")["label"] == "Welsch, mine"
    (tmp_path / "nothing_there.py").write_text("")
    (tmp_path / "json.py").write_text(own.LOSSES)
    for where, message in (
        (tmp_path / "nothing_there.py", "registers no loss; it must call alcl.catalogue.register_loss"),
        (tmp_path / "missing.py", "there is no file .*missing.py"),
        ("no_such_module", "cannot import 'no_such_module'"),
        (tmp_path / "json.py", "another module is called 'json'"),
    ):
        with pytest.raises(ValueError, match=message):
            load_losses(where)


def test_a_run_with_a_loss_of_ones_own():
    class Plain(torch.nn.Module):  # knows nothing of this library
        def forward(self, input, target):
            return (input - target).abs().mean()

    register_loss("plain", Plain)
    ours, reference = (run(method_run(name, "digits", "low", **SMALL, n_train=64)) for name in ("plain", "l1"))
    assert ours["metrics"] == pytest.approx(reference["metrics"], rel=1e-3)
    assert benchmark_frame([ours]).empty  # other settings than the grid's
    with pytest.raises(ValueError, match="loss must be one of mse"):
        Run("digits", "low", "plainer")


# --- images ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "rows", "expected"),
    [
        ((12, 16), (60, 30), {"model": "mlp", "hidden": 64, "code": 16, "epochs": 40, "batch_size": 32}),
        ((12, 16, 3), (60, 30), {"model": "mlp", "hidden": 64, "n_train": 48, "n_validation": 12, "n_test": 30}),
        ((28, 17), (20_000, 9_000), {"model": "mlp", "hidden": 256, "code": 32, "epochs": 20, "n_train": 10_000}),
        ((20, 24, 3), (3_000, 90), {"model": "conv", "hidden": 16, "code": 64, "n_train": 2_400, "n_validation": 600}),
        ((20, 22, 3), (60, 30), {"model": "mlp", "hidden": 256, "code": 32}),
    ],
)
def test_settings_follow_from_what_the_file_holds(shape, rows, expected, tmp_path):
    zeros = {"x_train": np.zeros((rows[0], *shape), np.uint8), "y_train": np.zeros(rows[0], int)}
    zeros |= {"x_test": np.zeros((rows[1], *shape), np.uint8), "y_test": np.zeros(rows[1], int)}
    path = own.npz(tmp_path / "zeros.npz", **zeros)
    settings = settings_of(path)
    assert settings.items() >= expected.items()
    config = Run(str(path), "high")
    assert {name: getattr(config, name) for name in settings} == settings
    assert Run(str(path), "high", epochs=3).epochs == 3


def test_the_digest_depends_on_the_content_and_on_nothing_else_of_the_file(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    paths = [tmp_path / "faces.npz", tmp_path / "elsewhere" / "people.npz"]
    first, other = (Run(str(own.npz(path)), "high") for path in paths)
    assert (first.dataset[:10], other.dataset[:11]) == ("faces.npz@", "people.npz@")
    assert first.digest == other.digest
    assert str(tmp_path) not in json.dumps(first.config())
    changed = Run(str(own.npz(tmp_path / "elsewhere" / "faces.npz", seed=1)), "high")
    assert changed.digest != first.digest
    assert Run(paths[0], "high") == first  # a Path is as good


def test_a_record_tells_what_was_run_and_can_be_read_where_the_file_is_not(tmp_path):
    path = own.npz(tmp_path / "faces.npz")
    config = method_run("mse", str(path), "low", **SMALL)
    record = run(config)
    data = datasets.load_dataset(path)
    assert record["data"] == data.checksum
    assert record["config"]["dataset"] == data.name
    assert record["digest"] == config.digest
    stored = RecordStore(tmp_path / "store.jsonl")
    stored.append(record)
    path.rename(tmp_path / "moved.npz")
    datasets.seen.clear()
    again = Run.from_config(stored.read()[0]["config"])
    assert again == config
    assert again.digest == config.digest
    reconstruction._load.cache_clear()
    with pytest.raises(FileNotFoundError, match=r"data set 'faces\.npz@"):
        run(Run.from_config(record["config"] | {"seed": 7}))


def test_methods_do_better_than_chance_on_images_of_ones_own(tmp_path):
    path = own.npz(tmp_path / "faces.npz", rows=(300, 90))
    assert run(method_run("alcl", str(path), "low", epochs=20))["metrics"]["accuracy"] > 0.8


@pytest.mark.parametrize("wrong", [3, ["mnist"], None, "mnits", "faces.npy"])
def test_what_is_no_data_set_is_answered_with_what_is_one(wrong):
    with pytest.raises(ValueError, match=r"dataset must be one of digits, .*gtsrb, the path of an \.npz; got"):
        Run(wrong, "high")


def test_a_file_that_is_missing_or_no_data_set_ends_a_run_before_it_is_made(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        Run(str(tmp_path / "faces.npz"), "high")
    (tmp_path / "faces.npz").write_bytes(b"not an archive")
    with pytest.raises(ValueError, match="not a readable"):
        Run(str(tmp_path / "faces.npz"), "high")


# --- both, in other processes -----------------------------------------------------------------------------------------


def test_workers_know_losses_and_files_of_their_parent(tmp_path):
    class Mine(torch.nn.Module):  # of no module that a worker could import
        def forward(self, input, target):
            return (input - target).square().mean()

    register_loss("mine", Mine)
    path = own.npz(tmp_path / "faces.npz")  # in no folder where a worker would look
    runs = [method_run(method, str(path), "low", **SMALL) for method in ("mine", "mse")]
    mine, mse = sweep(runs, RecordStore(tmp_path / "store.jsonl"), jobs=2, progress=False)
    assert mine["metrics"] == pytest.approx(mse["metrics"], rel=1e-3)
    assert carrying(abs)(-3) == 3


def test_the_command_line(tmp_path, monkeypatch, capsys):
    small = protocol.Profile(("digits",), ("low",), (0,), (("alcl",),))
    monkeypatch.setitem(protocol.PROFILES, "live", small)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "command_line_losses", raising=False)
    (tmp_path / "command_line_losses.py").write_text(own.LOSSES)
    path = own.npz(tmp_path / "faces.npz")
    command = ["--profile", "live", "--records", str(tmp_path / "records"), "--datasets", str(path)]
    command += ["--losses", str(tmp_path / "command_line_losses.py")]
    assert protocol.main([*command, "--methods", "welsch", "mse"]) == 0
    records = study_store(tmp_path / "records", path).read()
    assert [method_of(record["config"]) for record in records] == ["welsch", "mse"]
    frame = benchmark_frame(records)
    assert set(frame["dataset"]) == {datasets.dataset_name(path)}
    assert set(frame["method"]) == {"welsch", "mse"}
    assert protocol.main([*command, "--audit", "1"]) == 0
    assert "1 reruns: 1 equal bit by bit" in capsys.readouterr().out
    assert protocol.main([*command, "--methods", "welhc"]) == 1
    assert "methods must be one of mse, l1" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "wrong"), [("N", "-3"), ("N", "0"), ("SEED", "-1")])
def test_an_audit_of_none_is_one_clear_error(option, wrong, capsys):
    chosen = ["--audit", wrong] if option == "N" else ["--audit", "1", "--seed", wrong]
    assert protocol.main(["--profile", "embedded", "--records", "nowhere", *chosen]) == 1
    least = 1 if option == "N" else 0
    assert capsys.readouterr().err == f"error: {option} must be a whole number of at least {least}; got {wrong}\n"


def test_notebook_05_runs_with_both(tmp_path):
    """As a script, which is quicker than in a kernel."""
    (tmp_path / "notebook_losses.py").write_text(own.LOSSES)
    path = own.npz(tmp_path / "faces.npz", rows=(400, 60))
    given = {"dataset": str(path), "losses": str(tmp_path / "notebook_losses.py"), "methods": "welsch,smooth"}
    source = (ROOT / "notebooks" / "05_training.py").read_text("utf-8")
    for name, value in (given | {"epochs": 1}).items():
        source, found = re.subn(rf"^{name} = .*$", f"{name} = {value!r}", source, count=1, flags=re.MULTILINE)
        assert found == 1
    script = tmp_path / "training.py"
    script.write_text(source, "utf-8")
    environment = os.environ | {"MPLBACKEND": "agg", "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    environment |= {"PYTHONPATH": str(ROOT), "ALCL_FIGURES": str(tmp_path / "figures")}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Figures and the table are" in done.stdout
    assert re.search(r"^Welsch, mine +\d", done.stdout, re.MULTILINE)
    assert re.search(r"^smooth +\d", done.stdout, re.MULTILINE)
