"""What the abstract fixes and what this project chose, as a list that a program can read: choices.json.

Every entry says what the abstract fixes (`abstract`), what we did (`choice`), why, and `where`: files of this
repository. A choice that stands in a marked box of a notebook (`> **Our choice.**` or `> **Departure.**`) cites it as
"notebooks/NN_name.py#words of the box". `choice_gaps` finds boxes that no entry cites, and entries that cite nothing.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .theorems import notebook_sources

__all__ = ["TOPICS", "choice_gaps", "choices_markdown", "load_choices", "marked_boxes"]

PATH = Path(__file__).with_name("choices.json")
TOPICS = ("loss", "departure", "numerics", "noise", "data", "training", "comparators", "evaluation")
_TEXTS = ("id", "topic", "abstract", "choice", "why")


def load_choices(path: str | Path = PATH) -> list[dict[str, Any]]:
    """The entries of choices.json: dicts of id, topic, abstract, choice, why (text) and where (a list of text).

    Raises ValueError naming the entry and what is wrong with it: a field missing, unknown or empty, an id used twice, a
    topic that is not in `TOPICS`.
    """
    choices = json.loads(Path(path).read_text("utf-8"))
    seen: set[str] = set()
    for number, entry in enumerate(choices, start=1):
        name = f"choice {number} ({entry.get('id')!r})"
        if set(entry) != {*_TEXTS, "where"}:
            raise ValueError(f"{name}: must have the fields {', '.join(_TEXTS)}, where; has {', '.join(entry)}")
        empty = [field for field in _TEXTS if not isinstance(entry[field], str) or not entry[field].strip()]
        if empty:
            raise ValueError(f"{name}: {', '.join(empty)} must be text that is not empty")
        where = entry["where"]
        if not isinstance(where, list) or not where or not all(isinstance(place, str) and place for place in where):
            raise ValueError(f"{name}: where must be a list of files, at least one")
        if entry["topic"] not in TOPICS:
            raise ValueError(f"{name}: topic must be one of {', '.join(TOPICS)}; got {entry['topic']!r}")
        if entry["id"] in seen:
            raise ValueError(f"{name}: this id is used twice")
        seen.add(entry["id"])
    return choices


def marked_boxes(root: str | Path) -> list[tuple[str, str]]:
    """(notebook, text) of every box marked "Our choice" or "Departure" in <root>/notebooks, in order.

    The notebook is its path from the root; the text is on one line, without the marks of the blockquote.
    """
    boxes = []
    for path in notebook_sources(root):
        text: list[str] | None = None
        for line in [*path.read_text("utf-8").splitlines(), ""]:
            quoted = re.fullmatch(r"# ?> ?(.*)", line)
            begins = quoted is not None and re.match(r"\*\*(Our choice|Departure)\b", quoted[1])
            if text is not None and (quoted is None or begins):
                boxes.append((f"notebooks/{path.name}", " ".join(" ".join(text).split())))
                text = None
            if begins:
                text = []
            if text is not None:
                text.append(quoted[1])
    return boxes


def choice_gaps(root: str | Path, choices: Sequence[Mapping[str, Any]] | None = None) -> list[str]:
    """What does not fit together, one line each: files that do not exist, words that are in no box, boxes not cited."""
    choices = load_choices() if choices is None else choices
    boxes = marked_boxes(root)
    problems, cited = [], set()
    for entry in choices:
        for place in entry["where"]:
            path, _, words = place.partition("#")
            found = [box for box in boxes if box[0] == path and words in box[1]]
            if not (Path(root) / path).is_file():
                problems.append(f"{entry['id']}: there is no file {path}")
            elif words and not found:
                problems.append(f"{entry['id']}: no marked box of {path} says {words!r}")
            elif words:
                cited.update(found)
    for path, text in boxes:
        if (path, text) not in cited:
            problems.append(f"{path}: no entry of choices.json cites the box {text[:90]!r}")
    return problems


def choices_markdown(choices: Sequence[Mapping[str, Any]] | None = None, folder: str = "") -> str:
    """The choices as a Markdown table, in the order of the topics. Links work from `folder`, a path from the root."""
    choices = load_choices() if choices is None else choices
    lines = ["| | what the abstract fixes | what we chose | why | where |", "|---|---|---|---|---|"]
    for entry in sorted(choices, key=lambda entry: TOPICS.index(entry["topic"])):
        where = ", ".join(dict.fromkeys(_link(place.partition("#")[0], folder) for place in entry["where"]))
        cells = [entry["topic"], entry["abstract"], entry["choice"], entry["why"]]
        lines.append("| " + " | ".join([*(cell.replace("|", "\\|") for cell in cells), where]) + " |")
    return "\n".join(lines) + "\n"


def _link(path: str, folder: str) -> str:
    """A link to a file; to the executed notebook where it is a notebook's source."""
    notebook = re.fullmatch(r"notebooks/((\d\d|A\d)_\w+)\.py", path)
    target = f"notebooks/{notebook[1]}.ipynb" if notebook else path
    kind = "appendix" if notebook and notebook[2].startswith("A") else "notebook"
    label = f"{kind} {notebook[2]}" if notebook else f"`{path}`"
    return f"[{label}]({posixpath.relpath(target, folder or '.')})"
