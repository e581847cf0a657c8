"""How much there is to read in the notebooks: words, lines of code, minutes.

    python -m alcl.paper.reading      a row a notebook, in Markdown

A word is anything between spaces in a Markdown cell that holds a letter or a digit, a piece of a formula included. A
line of code is one that is neither empty nor a comment. Lines of cells that the book folds (`alcl.paper.folds`:
parameters, imports, executed checks, the drawing and saving of figures and tables) stand in a column of their own and
take no minutes: who reads for the method reads past them, and who reads them all needs the minutes of that column more.
`WORDS_PER_MINUTE` and `LINES_PER_MINUTE` are the pace of a careful reader of theorems, proofs and code: half that of a
reader of plain text.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .folds import fold
from .theorems import notebook_sources, read_cells

__all__ = ["LINES_PER_MINUTE", "WORDS_PER_MINUTE", "Reading", "reading", "reading_markdown"]

ROOT = Path(__file__).resolve().parents[2]
WORDS_PER_MINUTE = 100
LINES_PER_MINUTE = 20
MAIN_LINE = [f"{number:02d}" for number in range(8)]  # 00 to 07: from the loss to the verdict on every claim


@dataclass(frozen=True)
class Reading:
    """What one notebook, or several together, asks of a reader: `lines` of open code, and `folded` ones."""

    name: str
    words: int
    lines: int
    folded: int = 0

    @property
    def minutes(self) -> float:
        return self.words / WORDS_PER_MINUTE + self.lines / LINES_PER_MINUTE


def reading(root: str | Path) -> list[Reading]:
    """One entry for each notebook of <root>/notebooks, in reading order.

    Raises FileNotFoundError if `root` has no folder `notebooks`.
    """
    found = []
    for path in notebook_sources(root):
        cells = read_cells(path)
        prose = [cell["source"] for cell in cells if cell["cell_type"] == "markdown"]
        counts = {False: 0, True: 0}
        for cell in cells:
            if cell["cell_type"] == "code":
                lines = [line for line in cell["source"].splitlines() if re.match(r"\s*[^\s#]", line)]
                counts[fold(cell) is not None] += len(lines)
        words = sum(bool(re.search(r"[^\W_]", word)) for text in prose for word in text.split())
        found.append(Reading(path.stem, words, counts[False], counts[True]))
    return found


def together(name: str, parts: Iterable[Reading]) -> Reading:
    """The sum of several."""
    parts = list(parts)
    return Reading(name, *(sum(getattr(part, what) for part in parts) for what in ("words", "lines", "folded")))


def reading_markdown(found: Sequence[Reading]) -> str:
    """A Markdown table: a row a notebook, then the main line (00 to 07) and everything."""
    main = together("**00 to 07**", [part for part in found if part.name[:2] in MAIN_LINE])
    rows = [*found, main, together("**all**", found)]
    lines = ["| notebook | words | lines of code | folded | minutes |", "|---|---|---|---|---|"]
    lines += [f"| {row.name} | {row.words:,} | {row.lines:,} | {row.folded:,} | {row.minutes:.0f} |" for row in rows]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    argparse.ArgumentParser("python -m alcl.paper.reading", description=__doc__.splitlines()[0]).parse_args(arguments)
    sys.stdout.write(reading_markdown(reading(root)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
