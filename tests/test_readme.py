"""The computed parts of README.md are current, and the check can fail."""

import re

import pytest

from alcl import readme


def test_the_computed_parts_are_current():
    assert readme.main(["--check"]) == 0


def test_a_stale_part_is_noticed_and_rewritten(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(readme, "blocks", lambda root: {"claims": "| fresh |"})
    path = tmp_path / "README.md"
    path.write_text("before\n<!-- claims:begin -->\n| stale |\n<!-- claims:end -->\nafter\n")
    assert readme.main(["--check"], root=tmp_path) == 1
    assert "stale" in capsys.readouterr().err
    assert readme.main([], root=tmp_path) == 0
    assert path.read_text() == "before\n<!-- claims:begin -->\n| fresh |\n<!-- claims:end -->\nafter\n"
    assert readme.main(["--check"], root=tmp_path) == 0


def test_missing_markers_are_an_error():
    with pytest.raises(ValueError, match="claims:begin"):
        readme.rendered("nothing here", {"claims": "x"})


def test_the_reading_order_names_every_notebook():
    text = (readme.ROOT / "README.md").read_text()
    names = {path.stem for path in (readme.ROOT / "notebooks").glob("[0-9][0-9]_*.py")}
    assert names == set(re.findall(r"\| \[(\d\d_\w+)\]\(notebooks/\1\.ipynb\)", text))
