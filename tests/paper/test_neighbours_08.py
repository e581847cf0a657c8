"""The ledger of JAL's abstract: verdicts follow from records, and turn when the records do."""

import dataclasses

import pytest

from alcl.paper.neighbours_08 import rows
from alcl.related.label_runs import METHODS, NEIGHBOURS, method_run


def records(accuracy, noises=(("symmetric", 0.8), ("symmetric", 0.2))):
    """Five seeds of every method on the digits, with accuracy(method)."""
    found = []
    for method in (*METHODS, *NEIGHBOURS):
        for noise, rate in noises:
            for seed in range(5):
                config = method_run(method, "digits", noise, rate, seed)
                metrics = {"accuracy": accuracy.get(method, 0.5) + seed / 1000, "memorised": 0.0}
                entry = {"digest": config.digest, "config": config.config(), "metrics": metrics}
                found.append(entry | {"history": {}, "data": "sum"})
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A checkout that states, checks and guards C1."""
    root = tmp_path_factory.mktemp("checkout")
    (root / "notebooks").mkdir()
    (root / "tests").mkdir()
    text = "# %% [markdown]\n# # 08\n# **Theorem C1** (when).\n\n# %%\n# check: C1\nassert True\n"
    (root / "notebooks" / "08_label_noise.py").write_text(text)
    (root / "tests" / "test_it.py").write_text("def test_C1_holds():\n    assert True\n")
    return root


def test_verdicts_turn_with_the_records(root):
    good = {"nce": 0.3, "mae": 0.3, "nce_rce": 0.6, "amse": 0.6, "jal_ce": 0.9, "jal_ce_control": 0.9, "agce": 0.2}
    for_it = [row.verdict for row in rows(records(good), root)]
    assert for_it == ["shown"] * 4 + ["contradicted", "proved", "shown"]
    bad = {"nce": 0.7, "mae": 0.7, "nce_rce": 0.6, "amse": 0.4, "jal_ce": 0.2, "jal_ce_control": 0.3}
    against = [row.verdict for row in rows(records(bad), root)]
    assert against == ["contradicted"] * 4 + ["shown", "proved", "contradicted"]


def test_without_records_and_proofs_nothing_is_claimed(root, tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "tests").mkdir()
    verdicts = [row.verdict for row in rows([], tmp_path)]
    assert verdicts == ["not yet measured"] * 5 + ["not yet proved", "not yet measured"]
    assert all(isinstance(cell, str) and cell for row in rows([], root) for cell in dataclasses.astuple(row))


def test_the_numbers_in_a_finding_are_those_of_the_records(root):
    found = rows(records({"jal_ce": 0.75, "ce": 0.5, "gce": 0.8}), root)[-1].finding
    assert "JAL-CE minus CE: ahead in 2, undecided in 0, behind in 0 of 2" in found
    assert "medians +25.0 to +25.0 points" in found
    one = rows(records({"jal_ce": 0.75}, [("symmetric", 0.8)]), root)[-1].finding
    assert "JAL-CE minus CE: +25.0 points [+25.0, +25.0], ahead, 5 seeds" in one
    assert "JAL-CE minus GCE: ahead in 0, undecided in 0, behind in 2 of 2" in found
