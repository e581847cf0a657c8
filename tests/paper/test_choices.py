"""The list of choices is complete and true to the notebooks' marked boxes, and the checks can fail."""

import json
import re
from pathlib import Path

import pytest

from alcl.paper.choices import TOPICS, choice_gaps, choices_markdown, load_choices, marked_boxes

ROOT = Path(__file__).resolve().parents[2]


def test_every_entry_has_all_fields_a_topic_and_an_id_of_its_own():
    choices = load_choices()  # raises otherwise
    assert choices
    assert {entry["topic"] for entry in choices} == set(TOPICS)


def test_every_place_exists_and_every_marked_box_is_listed():
    assert marked_boxes(ROOT)
    assert choice_gaps(ROOT) == []


def test_the_table_has_a_row_an_entry_and_links_that_lead_somewhere():
    for folder in ("", "notebooks"):
        table = choices_markdown(folder=folder)
        rows = table.splitlines()
        assert len(rows) == 2 + len(load_choices())
        assert {row.replace("\\|", "").count("|") for row in rows} == {6}
        targets = {part.split(")")[0] for part in table.split("](")[1:]}
        sources = {(ROOT / folder / target).resolve() for target in targets}
        sources = {path.with_suffix(".py") if path.suffix == ".ipynb" else path for path in sources}
        assert [path for path in sources if not path.is_file()] == []


# --- a small project, and what can be wrong with it -----------------------------------------------------------------

NOTEBOOK = """# %% [markdown]
# > **Our choice.** *(01-A)* Apples,
# > not pears | plums.
#
# > **The paper (abstract).** Fruit.
#
# > **Departure.** Two
# > **Our choice: three.** words
# text
"""
ENTRY = {"id": "a", "topic": "loss", "abstract": "Fruit.", "choice": "x|y", "why": "So.", "where": ["alcl/a.py"]}


def entry(**changes):
    return ENTRY | changes


@pytest.fixture
def project(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "alcl").mkdir()
    (tmp_path / "alcl" / "a.py").touch()
    (tmp_path / "notebooks" / "01_a.py").write_text(NOTEBOOK)
    return tmp_path


def test_boxes_are_found(project):
    assert marked_boxes(project) == [
        ("notebooks/01_a.py", "**Our choice.** *(01-A)* Apples, not pears | plums."),
        ("notebooks/01_a.py", "**Departure.** Two"),
        ("notebooks/01_a.py", "**Our choice: three.** words"),
    ]


def test_boxes_of_appendices_are_found_and_linked(project):
    (project / "notebooks" / "A1_b.py").write_text("# %% [markdown]\n# > **Our choice.** Plums.\n")
    assert marked_boxes(project)[-1] == ("notebooks/A1_b.py", "**Our choice.** Plums.")
    assert "[appendix A1](notebooks/A1_b.ipynb)" in choices_markdown([entry(where=["notebooks/A1_b.py#Plums"])])


def test_gaps_are_named(project):
    places = [f"notebooks/01_a.py#{words}" for words in ("01-A", "Two", "three")]
    assert choice_gaps(project, [entry(where=places), entry()]) == []
    assert choice_gaps(project, [entry(where=places[:2])]) == [
        "notebooks/01_a.py: no entry of choices.json cites the box '**Our choice: three.** words'"
    ]
    assert choice_gaps(project, [entry(where=[*places, "notebooks/01_a.py#pears and"])]) == [
        "a: no marked box of notebooks/01_a.py says 'pears and'"
    ]
    assert choice_gaps(project, [entry(where=[*places, "alcl/b.py"])]) == ["a: there is no file alcl/b.py"]
    assert len(choice_gaps(project, [entry(where=["notebooks/01_a.py"])])) == 3  # a file is not a box


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([entry(why="")], "choice 1 ('a'): why must be text"),
        ([entry(why=" "), entry(id="b")], "choice 1 ('a'): why must be text"),
        ([entry(choice=3)], "choice must be text"),
        (
            [{k: v for k, v in ENTRY.items() if k != "abstract"}],
            "must have the fields id, topic, abstract, choice, why",
        ),
        ([entry(more="x")], "must have the fields"),
        ([entry(), entry()], "choice 2 ('a'): this id is used twice"),
        ([entry(topic="fruit")], "topic must be one of loss, departure"),
        ([entry(where=[])], "where must be a list of files, at least one"),
        ([entry(where="alcl/a.py")], "where must be a list of files, at least one"),
        ([entry(where=[""])], "where must be a list of files, at least one"),
    ],
)
def test_a_bad_entry_is_named(tmp_path, choices, message):
    path = tmp_path / "choices.json"
    path.write_text(json.dumps(choices))
    with pytest.raises(ValueError, match=re.escape(message)):
        load_choices(path)


def test_markdown_of_an_entry():
    places = ["notebooks/01_a.py#x", "notebooks/01_a.py#y", "alcl/a.py"]
    later, first = entry(topic="noise", id="b"), entry(where=places)
    lines = choices_markdown([later, first]).splitlines()
    link = "[notebook 01](notebooks/01_a.ipynb), [`alcl/a.py`](alcl/a.py)"
    assert lines[2] == rf"| loss | Fruit. | x\|y | So. | {link} |"
    assert lines[3].startswith("| noise |")
    assert "[notebook 01](01_a.ipynb), [`alcl/a.py`](../alcl/a.py)" in choices_markdown([first], folder="notebooks")
