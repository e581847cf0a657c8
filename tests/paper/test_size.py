"""What `make size` counts, on a small checkout whose sizes are known."""

from pathlib import Path

import pytest

from alcl.paper import size as module
from alcl.paper.size import arrows, closure, main, required, size

FILES = {
    "alcl/__init__.py": "from . import losses\nfrom .losses import X\n",
    "alcl/losses.py": "import math\n\nX = math.pi\n\n\ndef f():\n    import alcl.paper.words\n",
    "alcl/paper/__init__.py": "",
    "alcl/paper/words.py": "from .. import losses\nfrom ..losses import X\nfrom alcl.losses import f\n",
    "notebooks/01_a.py": "1\n",
    "notebooks/execute.py": "1\n",
    "tests/test_x.py": "1\n2\n",
    "tests/paper/test_y.py": "3\n",
    "README.md": "é",
    "pyproject.toml": 'dependencies = [\n    "numpy>=1",\n    "None-Such",\n]\n[x]\nother = ["scipy"]\n',
}


@pytest.fixture
def checkout(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def test_a_checkout_of_known_size(checkout, capsys):
    found = dict(size(checkout))
    assert 0 <= float(found.pop("seconds of `import alcl`, best of three")) < 60
    assert found == {
        "alcl: modules, lines": "2, 9",
        "alcl/paper: modules, lines": "2, 3",
        "imports of one module by another": "3",
        "packages that `pip install .` brings": "2, of which 2 by name",
        "README.md, bytes": "2",
        "tests: lines": "3",
        "notebooks: lines of source": "1",
    }
    assert main([str(checkout)]) == 0
    assert "| README.md, bytes | 2 |" in capsys.readouterr().out


def test_each_import_counts_once_and_in_its_direction(checkout):
    assert arrows(checkout / "alcl") == {
        ("__init__", "losses"),
        ("losses", "paper.words"),
        ("paper.words", "losses"),
    }


def test_packages_are_followed_to_what_they_require(monkeypatch, checkout):
    needs = {"a": ["B_c>=1", "d; extra == 'x'", "e; python_version < '3'"], "b-c": None}
    monkeypatch.setattr(module.metadata, "requires", needs.get)
    assert closure(["A"]) == {"a", "b-c"}
    assert required(checkout / "pyproject.toml") == ["numpy", "None-Such"]


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="root must be a checkout with a folder alcl"):
        size(Path(tmp_path))
