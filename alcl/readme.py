"""Keeps the computed parts of README.md current: the claims ledger and the list of choices.

    python -m alcl.readme           rewrite them from the records, the notebooks and choices.json
    python -m alcl.readme --check   exit 1 if they are stale

A computed part stands between `<!-- name:begin -->` and `<!-- name:end -->`; nothing in between is ever typed.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .analysis import claims_ledger, ledger_markdown, theorem_index
from .choices import choices_markdown
from .experiments import BENCHMARK, EMBEDDED, study_store

ROOT = Path(__file__).resolve().parent.parent


def blocks(root: Path = ROOT) -> dict[str, str]:
    """The computed parts, by name, as markdown."""
    folder = root / "paper_figures" / "records"
    records = [record for name in (*EMBEDDED, *BENCHMARK) for record in study_store(folder, name).read()]
    ledger = claims_ledger(records, theorem_index(root / "notebooks"))
    return {"claims": ledger_markdown(ledger), "choices": choices_markdown()}


def rendered(text: str, parts: Mapping[str, str]) -> str:
    """`text` with every computed part replaced.

    Raises:
        ValueError: a part's markers are missing or appear twice.
    """
    for name, content in parts.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"README.md must hold the markers {begin} and {end} once each")
        pattern = re.escape(begin) + ".*?" + re.escape(end)
        replacement = f"{begin}\n{content.strip()}\n{end}"
        text = re.sub(pattern, lambda _, r=replacement: r, text, flags=re.DOTALL)
    return text


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(prog="python -m alcl.readme", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if README.md is stale")
    options = parser.parse_args(arguments)
    path = root / "README.md"
    old = path.read_text(encoding="utf-8")
    new = rendered(old, blocks(root))
    if new == old:
        return 0
    if options.check:
        print("README.md is stale: run python -m alcl.readme", file=sys.stderr)
        return 1
    path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
