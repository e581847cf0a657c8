"""Which code cells of a notebook are machinery: the book folds them, and `alcl.paper.reading` counts them apart.

What a cell does decides, so that notebooks carry few tags; the tag `hide-input` folds what cannot be told.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["fold"]

# The comment that names the theorems of an executed check: `# check: L3, L4`.
CHECK = re.compile(r"^\s*# check: *(.+)$", re.MULTILINE)
_DRAWN_ON = {"plt", "ax", "axes"}


def fold(cell: Mapping[str, Any]) -> str | None:
    """What the fold of a code cell says ("the imports"); None for a cell of text, and for code that is the method.

    Folded are parameters, imports, executed checks, what draws or saves figures and tables, and what is tagged.

    >>> fold({"cell_type": "code", "source": "import math", "metadata": {}})
    'the imports'
    """
    if cell["cell_type"] != "code":
        return None
    tags = cell["metadata"].get("tags", [])
    return "the parameters" if "parameters" in tags else _by_content("".join(cell["source"]), "hide-input" in tags)


def _by_content(source: str, tagged: bool) -> str | None:
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a magic of IPython
        return None
    nodes = list(ast.walk(tree))
    called = {node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
              for node in nodes if isinstance(node, ast.Call)}  # fmt: skip
    names = {node.id if isinstance(node, ast.Name) else node.arg for node in nodes
             if isinstance(node, ast.Name | ast.arg)}  # fmt: skip
    if CHECK.search(source):
        return "the check"
    if _DRAWN_ON & names:
        return "how it is drawn"
    if {"save", "save_table"} & called:
        return "how it is drawn" if re.search(r"[\"']fig\d", source) else "how the table is made"
    run = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    if any(isinstance(node, ast.Assert) for each in run for node in ast.walk(each)):
        return "the check"
    if tree.body and isinstance(tree.body[0], ast.Import | ast.ImportFrom):
        return "the imports"
    return "the code" if tagged else None
