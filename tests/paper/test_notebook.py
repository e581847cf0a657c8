"""`begin`: what it sets, what it refuses, and what its `save` writes."""

import json

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from alcl.paper import notebook
from alcl.paper.notebook import begin


@pytest.fixture(autouse=True)
def restored(tmp_path, monkeypatch):
    monkeypatch.setenv("ALCL_FIGURES", str(tmp_path / "paper_figures"))
    monkeypatch.delenv("ALCL_OVERWRITE", raising=False)
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    with plt.rc_context():
        yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
    plt.close("all")


def manifest(folder):
    return json.loads((folder / "paper_figures" / "manifest.json").read_text())


def test_it_sets_torch_and_matplotlib_up():
    torch.set_num_threads(2)
    plt.rcParams["savefig.dpi"] = 55
    begin("01_x")
    assert (torch.get_num_threads(), torch.get_default_dtype(), plt.rcParams["savefig.dpi"]) == (1, torch.float32, 200)
    begin("01_x", dtype=torch.float64)
    assert torch.get_default_dtype() == torch.float64


def test_what_it_returns_saves_figures_and_tables_under_the_notebooks_name(tmp_path):
    save = begin("01_x")
    assert save(plt.figure(), "fig01_a", parameters={"seed": 1}) is None
    assert save(pd.DataFrame({"a": [0.123]}), "table01_b", float_format=".1f") is None
    entries = manifest(tmp_path)
    assert {name: entry["notebook"] for name, entry in entries.items()} == {"fig01_a": "01_x", "table01_b": "01_x"}
    assert entries["fig01_a"]["parameters"] == {"seed": 1}
    assert "0.1 |" in (tmp_path / "paper_figures" / "table01_b.md").read_text()


def test_a_name_that_no_parameter_has_fails(monkeypatch):
    monkeypatch.setattr("alcl.paper.parameters._injected_names", lambda: ["sed"])
    with pytest.raises(ValueError, match="do you mean 'seed'"):
        begin("01_x", ["seed"])
    begin("01_x", ["sed"])


def test_other_parameters_than_the_committed_figures_have(monkeypatch, tmp_path):
    monkeypatch.setattr(notebook, "refusal", lambda name: f"not {name}")
    monkeypatch.setattr("alcl.paper.parameters.refusal", lambda name: f"not {name}")
    with pytest.raises(ValueError, match="not 01_x"):
        begin("01_x")
    save = begin("01_x", refuse=False)
    save(plt.figure(), "fig01_a")  # shown only
    assert not (tmp_path / "paper_figures").exists()
