"""How large the project is: `make size`, or for another checkout `make size CHECKOUT=path`, for a before and an after.

    python -m alcl.paper.size [CHECKOUT]      rows of Markdown

It reads the checkout's files and imports its `alcl` in a process of its own. The packages are those that this
environment has for the requirements of `pip install .`, and what they require in turn.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ["arrows", "closure", "required", "size", "size_markdown"]

ROOT = Path(__file__).resolve().parents[2]
_IMPORT = "import time; began = time.perf_counter(); import alcl; print(time.perf_counter() - began)"


def size(root: Path) -> list[tuple[str, str]]:
    """(what, how much) of a checkout. Raises FileNotFoundError if it holds no package `alcl`."""
    package = root / "alcl"
    if not package.is_dir():
        raise FileNotFoundError(f"root must be a checkout with a folder alcl; got {str(root)!r}")
    rows = []
    for folder in (package, *sorted(path.parent for path in package.glob("*/__init__.py"))):
        files = list(folder.glob("*.py"))
        rows.append((f"{folder.relative_to(root)}: modules, lines", f"{len(files)}, {_lines(files):,}"))
    needs = required(root / "pyproject.toml")
    rows += [
        ("imports of one module by another", f"{len(arrows(package)):,}"),
        ("packages that `pip install .` brings", f"{len(closure(needs))}, of which {len(needs)} by name"),
        ("seconds of `import alcl`, best of three", f"{_import_seconds(root):.1f}"),
        ("README.md, bytes", f"{(root / 'README.md').stat().st_size:,}"),
        ("tests: lines", f"{_lines((root / 'tests').rglob('*.py')):,}"),
        ("notebooks: lines of source", f"{_lines((root / 'notebooks').glob('[0-9A][0-9]_*.py')):,}"),
    ]
    return rows


def _lines(files: Iterable[Path]) -> int:
    return sum(len(file.read_text("utf-8").splitlines()) for file in files)


def arrows(package: Path) -> set[tuple[str, str]]:
    """(importing, imported) pairs of modules of a package, anywhere in their code."""
    there = {".".join(path.relative_to(package).with_suffix("").parts): path for path in package.rglob("*.py")}
    found = set()
    for name, path in there.items():
        inside = name.split(".")[:-1]
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                targets = [alias.name.split(".") for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = [package.name, *inside[: len(inside) + 1 - node.level]] if node.level else []
                base += node.module.split(".") if node.module else []
                targets = [[*base, alias.name] for alias in node.names]
            else:
                continue
            for target in targets:
                parts = target[1:] if target[0] == package.name else []
                while parts and ".".join(parts) not in there:
                    parts = parts[:-1]  # a name inside a module
                if parts and ".".join(parts) != name:
                    found.add((name, ".".join(parts)))
    return found


def required(pyproject: Path) -> list[str]:
    """Names of the packages in the table `dependencies` of a pyproject.toml."""
    listed = re.search(r"^dependencies = \[(.*?)^\]", pyproject.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [Requirement(text).name for text in re.findall(r'"([^"]+)"', listed[1])] if listed else []


def closure(names: Iterable[str]) -> set[str]:
    """These packages and all that they require, by the metadata of what is installed here."""
    found, waiting = set(), [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # what it requires is not known here
        for need in map(Requirement, needs):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(need.name))
    return found


def _import_seconds(root: Path) -> float:
    """In a process that imports nothing else; the first of three reads the disk."""
    where = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", _IMPORT]
    return min(float(subprocess.check_output(command, env=where, cwd=root, text=True)) for _ in range(3))


def size_markdown(rows: Sequence[tuple[str, str]]) -> str:
    """A Markdown table."""
    return "".join(["| what | how much |\n|---|---:|\n", *(f"| {what} | {much} |\n" for what, much in rows)])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m alcl.paper.size", description=__doc__.splitlines()[0])
    parser.add_argument("checkout", nargs="?", type=Path, default=ROOT, help="default: this one")
    sys.stdout.write(size_markdown(size(parser.parse_args(arguments).checkout.resolve())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
