"""The theorems of the notebooks, read from their sources: what each says, its check and its guards.

A theorem is a bold `**Theorem L1** (title)` in a Markdown cell. It is *checked* by a code cell of the same notebook
that holds the comment `# check: L1` and an assertion, and *guarded* by tests called `test_L1_...`. `find_theorems`
collects all that, `gaps` says what is missing, and notebook 00 shows the table.
"""

from __future__ import annotations

import ast
import json
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Theorem", "find_theorems", "gaps", "notebook_sources", "read_cells", "theorems_markdown"]

_ID = r"[A-Z]\d+"
_STATED = re.compile(rf"(?:\*\*|^#{{1,6}} +)Theorem ({_ID})\b", re.MULTILINE)
_PARENTHESIS = re.compile(r"[.:]?\s*\(((?:[^()]|\([^()]*\))*)\)")
_CHECK = re.compile(r"^\s*# check: *(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Theorem:
    """One theorem. `section`: the heading it stands under. `check`: the number that Jupyter shows, In [check], beside
    the cell that checks it, where the notebook was run from first cell to last; None if there is none. `asserts`:
    whether that cell asserts anything. `guards`: tests as "test_file.py::test_name".
    """

    id: str
    title: str
    notebook: str
    section: str
    check: int | None = None
    asserts: bool = False
    guards: tuple[str, ...] = ()


def notebook_sources(root: str | Path) -> list[Path]:
    """Sources of the notebooks in reading order: <root>/notebooks/NN_*.py, then the appendices A1_*.py to A9_*.py.

    Raises FileNotFoundError if `root` has no folder `notebooks`.
    """
    folder = Path(root) / "notebooks"
    if not folder.is_dir():
        raise FileNotFoundError(f"root: {root} has no folder notebooks")
    return [path for pattern in ("[0-9][0-9]_*.py", "A[0-9]_*.py") for path in sorted(folder.glob(pattern))]


def find_theorems(root: str | Path) -> list[Theorem]:
    """The theorems of the notebooks in <root>, in reading order, with the guards found in <root>/tests/test_*.py.

    A theorem that is stated twice is listed twice (see `gaps`). Reads sources only: nothing is run.

    Raises FileNotFoundError if `root` has no folder `notebooks`.
    """
    root = Path(root)
    sources = notebook_sources(root)
    guards: dict[str, list[str]] = {}
    for name, theorem in _guards(root):
        guards.setdefault(theorem, []).append(name)
    theorems = []
    for path in sources:
        cells = _cells(path)
        checks = {theorem: cell for cell in cells for theorem in cell.checks}
        section = ""
        for cell in cells:
            for match in _STATED.finditer(cell.source) if cell.markdown else ():
                heading = re.findall(r"^#+ +(.+)$", cell.source[: match.start()], re.MULTILINE)
                check = checks.get(match[1])
                theorems.append(
                    Theorem(
                        id=match[1],
                        title=_title(cell.source[match.end() :]),
                        notebook=path.stem,
                        section=heading[-1] if heading else section,
                        check=check.number if check else None,
                        asserts=bool(check) and _asserts(check.source),
                        guards=tuple(sorted(guards.get(match[1], ()))),
                    )
                )
            if cell.markdown:
                section = (re.findall(r"^#+ +(?!Theorem )(.+)$", cell.source, re.MULTILINE) or [section])[-1]
    return theorems


def gaps(root: str | Path) -> list[str]:
    """What is missing, a line each: titles, checks, assertions, guards; and theorems that are stated twice, or nowhere.

    References are read in the notebooks, in <root>/alcl and in <root>/tests. An empty list: there are no gaps.
    """
    theorems = find_theorems(root)
    problems = []
    for theorem in theorems:
        where = f"{theorem.notebook}: Theorem {theorem.id}"
        if sum(other.id == theorem.id for other in theorems) > 1:
            problems.append(f"{where} is stated more than once")
        if re.match(r"Assumptions?\b|$", theorem.title):
            problems.append(f"{where} has no title: write **Theorem {theorem.id}** (what it says).")
        if theorem.check is None:
            problems.append(f'{where} has no check: no code cell of this notebook says "# check: {theorem.id}"')
        elif not theorem.asserts:
            problems.append(f"{where}: its check, In [{theorem.check}], asserts nothing")
        if not theorem.guards:
            problems.append(f"{where} has no guard: no test in tests/ is called test_{theorem.id}_...")
    known = {theorem.id for theorem in theorems}
    for where, theorem in _references(Path(root)):
        if theorem not in known:
            problems.append(f"{where} refers to Theorem {theorem}, which no notebook states")
    return list(dict.fromkeys(problems))


def theorems_markdown(theorems: Iterable[Theorem], folder: str = "") -> str:
    """A Markdown table: theorem, where it stands, the cell that checks it, the tests that guard it.

    Links work from `folder`, a path from the root. What is missing reads "missing".
    """
    lines = ["| | theorem | stands in | checked by | guarded by |", "|---|---|---|---|---|"]
    for theorem in theorems:
        link = posixpath.relpath(f"notebooks/{theorem.notebook}.ipynb", folder or ".")
        cells = [
            f"**{theorem.id}**",
            theorem.title,
            f"[{theorem.notebook}]({link}), {theorem.section}",
            f"In [{theorem.check}]" if theorem.check and theorem.asserts else "**missing**",
            ", ".join(f"`{guard}`" for guard in theorem.guards) or "**missing**",
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


# --- reading --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cell:
    source: str
    markdown: bool
    number: int | None  # of a code cell, from 1

    @property
    def checks(self) -> list[str]:
        """Ids of the theorems that a code cell says it checks."""
        lines = [] if self.markdown else _CHECK.findall(self.source)
        return [theorem for line in lines for theorem in re.findall(rf"\b{_ID}\b", line)]


def read_cells(path: str | Path) -> list[dict[str, Any]]:
    """The cells of a notebook's source, each with cell_type ("markdown" or "code"), source and metadata (its tags).

    Of the percent format what these notebooks use. jupytext, which knows all of it, takes seconds for all of them.
    """
    _, *parts = re.split(r"^# %%(.*)\n", Path(path).read_text("utf-8"), flags=re.MULTILINE)
    cells = []
    for head, source in zip(parts[::2], parts[1::2], strict=True):
        markdown, source = "[markdown]" in head, source.strip("\n")
        if markdown:
            source = re.sub(r"^# ?", "", source, flags=re.MULTILINE)
        tags = re.search(r"tags=(\[.*?\])", head)
        metadata = {"tags": json.loads(tags[1])} if tags else {}
        cells.append({"cell_type": "markdown" if markdown else "code", "source": source, "metadata": metadata})
    return cells


def _cells(path: Path) -> list[_Cell]:
    cells, number = [], 0
    for cell in read_cells(path):
        if cell["cell_type"] == "markdown":
            cells.append(_Cell(cell["source"], True, None))
        else:
            number += 1
            cells.append(_Cell(cell["source"], False, number))
    return cells


def _title(text: str) -> str:
    """The title that follows "**Theorem L1": what stands in parentheses, else the first sentence."""
    text = re.sub(r"\s+", " ", text.split("\n\n")[0].replace("**", ""))
    if match := _PARENTHESIS.match(text):
        title = match[1]
    else:
        title = re.split(r"(?<=[a-z)$*])\.(?:\*)?(?= |$)", text.lstrip(".:*— "), maxsplit=1)[0].strip("* ")
    title = title.strip().rstrip(".")
    return title[:1].upper() + title[1:]


def _asserts(source: str) -> bool:
    """Whether Python source holds an assert statement, or a call of something named assert..."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name.startswith("assert"):
                return True
    return False


def _guards(root: Path) -> list[tuple[str, str]]:
    """(test, theorem) for every function called test_<id>_... in the tests, methods of classes included."""
    found = []
    for path in sorted((root / "tests").rglob("test_*.py")):
        body = ast.parse(path.read_text("utf-8")).body
        for node in [*body, *(each for part in body if isinstance(part, ast.ClassDef) for each in part.body)]:
            match = isinstance(node, ast.FunctionDef) and re.match(rf"test_({_ID})(?:_|$)", node.name)
            if match:
                found.append((f"{path.name}::{node.name}", match[1]))
    return found


def _references(root: Path) -> list[tuple[str, str]]:
    """(where, theorem) for every theorem that is mentioned, checked or guarded anywhere."""
    found = []
    for path in [*notebook_sources(root), *sorted(root.glob("alcl/**/*.py"))]:
        text = re.sub(r"\s*\n\s*#?\s*", " ", path.read_text("utf-8"))
        for mention in re.findall(rf"\bTheorems? ((?:{_ID}(?:, | and | to | or )?)+)", text):
            found += [(path.name, theorem) for theorem in re.findall(_ID, mention)]
    for path in notebook_sources(root):
        found += [(path.name, theorem) for cell in _cells(path) for theorem in cell.checks]
    return found + _guards(root)
