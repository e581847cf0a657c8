"""A guard for notebooks run through papermill, which only warns of a parameter that no notebook has.

Called in the cell after the one tagged `parameters`, `check_parameters` makes a misspelt name fail there and then,
instead of letting the notebook run for minutes with a default that nobody asked for.
"""

from __future__ import annotations

import ast
import difflib
import sys
from collections.abc import Iterable

__all__ = ["check_parameters"]

_INJECTED = "# Parameters"  # the first line of the cell that papermill puts below the one tagged `parameters`


def check_parameters(known: Iterable[str]) -> None:
    """Fail if papermill injected a parameter whose name is not among `known`.

    Outside IPython, and where papermill has injected nothing, it does nothing.

    Args:
        known: the names that the cell tagged `parameters` sets.

    Raises ValueError naming the unknown parameters, the nearest legal name of each, and all legal names; TypeError
    if `known` is a single string.
    """
    if isinstance(known, str):
        raise TypeError(f"known: must be a collection of names, not the string {known!r}")
    legal = sorted(set(known))
    unknown = [name for name in _injected_names() if name not in legal]
    if unknown:
        nearest = {name: difflib.get_close_matches(name, legal, n=1) for name in unknown}
        named = ", ".join(
            f"{name!r}" + (f" (do you mean {near[0]!r}?)" if near else "") for name, near in nearest.items()
        )
        raise ValueError(f"unknown parameter {named}; this notebook has: {', '.join(legal) or 'none'}")


def _injected_names() -> list[str]:
    """The names that papermill's injected cell assigns, found in IPython's history of executed cells."""
    ipython = sys.modules.get("IPython")  # if nobody has imported it, this is no notebook
    shell = ipython.get_ipython() if ipython else None
    names: list[str] = []
    for source in shell.user_ns.get("In", []) if shell else []:
        if source.lstrip().startswith(_INJECTED):
            targets = (node.targets for node in ast.parse(source).body if isinstance(node, ast.Assign))
            names += [target.id for group in targets for target in group if isinstance(target, ast.Name)]
    return list(dict.fromkeys(names))
