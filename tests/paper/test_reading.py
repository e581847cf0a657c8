"""What the notebooks ask of a reader: the count, and the limits that the main line keeps."""

from pathlib import Path

import pytest

from alcl.paper import reading

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("number", ["01", "02", "03"])
def test_a_notebook_of_theorems_is_read_in_three_quarters_of_an_hour(number):
    (found,) = [part for part in reading.reading(ROOT) if part.name.startswith(number)]
    assert found.words <= 3500
    assert found.minutes <= 45


@pytest.mark.parametrize(("number", "minutes"), [("04", 19.5), ("06", 10.5), ("11", 25)])
def test_a_report_is_as_short_as_it_says(number, minutes):
    (found,) = [part for part in reading.reading(ROOT) if part.name.startswith(number)]
    assert found.minutes < minutes


def test_the_main_line_is_read_in_three_hours():
    main = reading.together("", [p for p in reading.reading(ROOT) if p.name[:2] in reading.MAIN_LINE])
    assert main.words <= 16_000
    assert main.minutes <= 180


# --- a small project, counted by hand ---------------------------------------------------------------------------------

NOTEBOOK = """# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 01 · Two words
#
# > a formula $x = 1$ and a mark -- here
#
# $$ y = x^2 $$

# %% tags=["parameters"]
seed = 0

# %%
import math

save = math.pi

# %%

# a comment
x = math.pi  # counted
y = 2 * x

# %%
fig, ax = plt.subplots()
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_a.py").write_text(NOTEBOOK)
    (tmp_path / "notebooks" / "08_b.py").write_text(NOTEBOOK)
    (tmp_path / "notebooks" / "A1_c.py").write_text(NOTEBOOK)
    (tmp_path / "notebooks" / "execute.py").write_text("x = 1\n")
    return tmp_path


def test_words_and_lines_are_those_counted_by_hand(project):
    first, *others = reading.reading(project)
    # 01, Two, words; a, formula, $x, 1$, and, a, mark, here; y, x^2
    assert (first.name, first.words) == ("01_a", 13)
    assert (first.lines, first.folded) == (2, 4)  # x and y; seed, the two lines of imports, the axes
    assert first.minutes == 13 / reading.WORDS_PER_MINUTE + 2 / reading.LINES_PER_MINUTE
    assert [other.name for other in others] == ["08_b", "A1_c"]


def test_the_table_sums_the_main_line_and_everything(project, capsys):
    assert reading.main([], root=project) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| 01_a | 13 | 2 | 4 | 0 |"
    assert lines[-2:] == ["| **00 to 07** | 13 | 2 | 4 | 0 |", "| **all** | 39 | 6 | 12 | 1 |"]


def test_a_root_without_notebooks_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no folder notebooks"):
        reading.reading(tmp_path)
