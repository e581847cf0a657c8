"""The gate over the theorems, and that it can fail."""

from pathlib import Path

import jupytext
import pytest

from alcl.paper.theorems import find_theorems, gaps, notebook_sources, read_cells, theorems_markdown

ROOT = Path(__file__).resolve().parents[2]


def test_every_theorem_is_stated_once_checked_and_guarded():
    assert find_theorems(ROOT)
    assert gaps(ROOT) == []


@pytest.mark.parametrize("path", notebook_sources(ROOT), ids=lambda path: path.stem)
def test_cells_are_those_of_jupytext(path):
    found = [(cell.cell_type, cell.source, cell.metadata.get("tags")) for cell in jupytext.read(path).cells]
    assert [(cell["cell_type"], cell["source"], cell["metadata"].get("tags")) for cell in read_cells(path)] == found
    assert len(found) > 10


# --- a small project, and what can be wrong with it -----------------------------------------------------------------

NOTEBOOK = """# %% [markdown]
# # 01 · A title
#
# ## 1 · Squares
#
# **Theorem L1** (squares (of reals) are not
# negative).
#
# *Assumptions.* None. See Theorem L2.

# %%
import math

# %%
# check: L1
assert math.pi**2 >= 0

# %% [markdown]
# ### 1.1 · More
# Text. **Theorem L2.** *A sum of squares is 0 iff $x = 0$.* *Proof.* By Theorems L1 and L1.

# %%
# check: L2
np.testing.assert_allclose(1, 1)
"""
TESTS = """
def test_L1_squares():
    assert 1 >= 0


class TestMore:
    def test_L2(self):
        assert 1

    def test_other(self):
        assert 1
"""


@pytest.fixture
def project(tmp_path):
    for folder in ("notebooks", "tests", "alcl"):
        (tmp_path / folder).mkdir()
    (tmp_path / "notebooks" / "01_a.py").write_text(NOTEBOOK)
    (tmp_path / "tests" / "test_a.py").write_text(TESTS)
    (tmp_path / "alcl" / "losses.py").write_text('"""See Theorem L1."""\n')
    return tmp_path


def test_what_is_found(project):
    first, second = find_theorems(project)
    assert gaps(project) == []
    assert (first.id, first.notebook, first.section, first.check) == ("L1", "01_a", "1 · Squares", 2)
    assert first.title == "Squares (of reals) are not negative"
    assert first.guards == ("test_a.py::test_L1_squares",)
    assert (second.id, second.section, second.check, second.asserts) == ("L2", "1.1 · More", 3, True)
    assert second.title == "A sum of squares is 0 iff $x = 0$"
    assert second.guards == ("test_a.py::test_L2",)


@pytest.mark.parametrize(
    ("stated", "title"),
    [
        ("**Theorem L1** (a title). *Assumptions.*", "A title"),
        ("**Theorem L1 (a title).** Statement.", "A title"),
        ("**Theorem L1.** (a title) Statement.", "A title"),
        ("### Theorem L1 (a title)", "A title"),
        ("### Theorem L1: a title", "A title"),
        ("**Theorem L1.** *Every $x$ in $[0, 1.5]$ is small.* *Proof.* So.", "Every $x$ in $[0, 1.5]$ is small"),
    ],
)
def test_headings_may_be_written_in_several_ways(project, stated, title):
    path = project / "notebooks" / "01_a.py"
    path.write_text(NOTEBOOK.replace("**Theorem L1** (squares (of reals) are not\n# negative).", stated))
    assert (find_theorems(project)[0].id, find_theorems(project)[0].title) == ("L1", title)
    assert gaps(project) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        # the check is gone, or no longer asserts
        (
            "notebooks/01_a.py",
            "# check: L1\n",
            "",
            "01_a: Theorem L1 has no check: no code cell",
        ),
        ("notebooks/01_a.py", "assert math", "math", "01_a: Theorem L1: its check, In [2], asserts nothing"),
        ("notebooks/01_a.py", "assert math", "# assert math", "01_a: Theorem L1: its check, In [2], asserts nothing"),
        ("notebooks/01_a.py", "# %%\n# check: L2", "# # check: L2", "01_a: Theorem L2 has no check"),
        # the guard is gone
        ("tests/test_a.py", "test_L1_squares", "test_squares", "01_a: Theorem L1 has no guard"),
        ("tests/test_a.py", "test_L1_squares", "test_L10_squares", "01_a: Theorem L1 has no guard"),
        ("tests/test_a.py", "def test_L2", "def check_L2", "01_a: Theorem L2 has no guard"),
        # the theorem is gone, named twice, or has no title
        ("notebooks/01_a.py", "**Theorem L2.**", "**Theorem.**", "01_a.py refers to Theorem L2, which no notebook"),
        ("notebooks/01_a.py", "**Theorem L2.**", "**Theorem L1.**", "01_a: Theorem L1 is stated more than once"),
        ("notebooks/01_a.py", " (squares (of reals) are not\n# negative)", "", "01_a: Theorem L1 has no title"),
        # a reference to nothing
        ("alcl/losses.py", "L1", "L3", "losses.py refers to Theorem L3, which no notebook states"),
        (
            "alcl/losses.py",
            "Theorem L1",
            "Theorems L1,\n    I2",
            "losses.py refers to Theorem I2, which",
        ),
        ("tests/test_a.py", "test_other", "test_A3_other", "test_a.py::test_A3_other refers to Theorem A3, which no"),
        ("notebooks/01_a.py", "check: L1", "check: L1, A7", "01_a.py refers to Theorem A7, which no notebook states"),
    ],
)
def test_the_gate_names_what_is_wrong(project, file, old, new, problem):
    text = (project / file).read_text()
    assert text.count(old) >= 1
    (project / file).write_text(text.replace(old, new))
    assert [line for line in gaps(project) if line.startswith(problem)], gaps(project)


def test_a_check_in_another_notebook_does_not_count(project):
    path = project / "notebooks" / "01_a.py"
    path.write_text(NOTEBOOK.replace("# check: L1\n", ""))
    (project / "notebooks" / "02_b.py").write_text("# %%\n# check: L1\nassert True\n")
    assert [line for line in gaps(project) if "has no check" in line]


def test_table_shows_links_and_what_is_missing(project):
    lines = theorems_markdown(find_theorems(project), folder="notebooks").splitlines()
    assert lines[2] == (
        "| **L1** | Squares (of reals) are not negative | [01_a](01_a.ipynb), 1 · Squares | In [2] "
        "| `test_a.py::test_L1_squares` |"
    )
    assert "[01_a](notebooks/01_a.ipynb)" in theorems_markdown(find_theorems(project))
    (project / "tests" / "test_a.py").write_text("")
    (project / "notebooks" / "01_a.py").write_text(NOTEBOOK.replace("assert math", "math").replace("of reals", "|x|"))
    lines = theorems_markdown(find_theorems(project)).splitlines()
    assert lines[2].endswith("| **missing** | **missing** |")
    assert lines[3].endswith("| In [3] | **missing** |")
    assert r"Squares (\|x\|) are" in lines[2]


def test_appendices_are_read_after_the_numbered_notebooks(project):
    notebook = NOTEBOOK.replace("L1", "A2").replace("L2", "A3")
    (project / "notebooks" / "A1_more.py").write_text(notebook)
    assert [theorem.id for theorem in find_theorems(project)] == ["L1", "L2", "A2", "A3"]
    assert [line for line in gaps(project) if "A1_more: Theorem A2 has no guard" in line]


def test_a_root_without_notebooks_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no folder notebooks"):
        find_theorems(tmp_path)
