"""What a notebook is run with: its parameters, and the folders it reads from and writes to.

Papermill only warns of a parameter that no notebook has. `check_parameters`, called in the cell after the one tagged
`parameters`, makes a misspelt name fail there and then, instead of letting the notebook run for minutes with a default
that nobody asked for; and a run whose figures would replace committed ones drawn with other parameters, likewise.

Folders do not depend on the working directory, which is the notebook's under Jupyter and the caller's under papermill.
"""

from __future__ import annotations

import ast
import difflib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["REMEDY", "check_parameters", "checkout", "figures_dir", "overwriting", "records_dir", "refusal"]

_INJECTED = "# Parameters"  # the first line of the cell that papermill puts below the one tagged `parameters`
_TAGGED = re.compile(r'^# %% tags=\["parameters"\]\n(.*?)(?=^# %%|\Z)', re.MULTILINE | re.DOTALL)
_WITHOUT_EFFECT = {"jobs"}  # parameters on which no result depends
#: What to do about a refusal.
REMEDY = "Set ALCL_FIGURES to another folder, or ALCL_OVERWRITE=1 to replace it all the same"


# ------------------------------------------------------------ folders


def checkout() -> Path:
    """The checkout this package lies in; where it lies in none, the current folder."""
    here = Path(__file__).resolve().parents[2]
    return here if (here / "pyproject.toml").is_file() else Path.cwd()


def figures_dir() -> Path:
    """Where figures go: `$ALCL_FIGURES`, else `paper_figures` of the checkout."""
    return Path(os.environ.get("ALCL_FIGURES") or checkout() / "paper_figures")


def records_dir(folder: str | os.PathLike[str] | None = None, studies: Iterable[str] = ()) -> Path:
    """Where records are read from.

    Args:
        folder: None is `paper_figures/records` of the checkout; another path counts from the current folder.
        studies: names of stores, `<study>.jsonl`, of which at least one must hold something.

    Raises ValueError for a folder that does not exist, or that holds none of `studies`.
    """
    found = Path(folder).expanduser() if folder is not None else checkout() / "paper_figures" / "records"
    remedy = "None stands for paper_figures/records of the checkout"
    if not found.is_dir():
        raise ValueError(f"records: there is no folder {str(found)!r} (from {str(Path.cwd())!r}); {remedy}")
    files = [found / f"{study}.jsonl" for study in studies]
    if files and not any(file.is_file() and file.stat().st_size for file in files):
        names = ", ".join(file.name for file in files)
        raise ValueError(f"records: the folder {str(found)!r} holds no record of {names}; {remedy}")
    return found


# ------------------------------------------------------------ parameters


def check_parameters(known: Iterable[str], notebook: str | None = None) -> None:
    """Fail if papermill injected a parameter whose name is not among `known`, or if `refusal(notebook)` objects.

    Outside IPython, and where papermill has injected nothing, every name passes.

    Args:
        known: the names that the cell tagged `parameters` sets.
        notebook: the notebook's name, "NN_name", if it saves figures whatever its parameters are.

    Raises ValueError naming the unknown parameters, the nearest legal name of each, and all legal names, or with the
    text of `refusal`; TypeError if `known` is a single string.
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
    if notebook is not None and (reason := refusal(notebook)):
        raise ValueError(reason)


def refusal(notebook: str, given: Mapping[str, Any] | None = None) -> str | None:
    """Why figures of `notebook` may not go into `figures_dir()` with the present parameters; None if they may.

    Figures that lie beside a folder `notebooks`, as the committed ones do, show what the sources in it say: they are
    drawn with the defaults of `notebooks/<notebook>.py` and with nothing else. A default that is changed there changes
    them; a value given to papermill, or typed into an open notebook, does not. `jobs` may have any value.

    Args:
        notebook: "NN_name"; without such a source, as for a module, there are no defaults to depart from.
        given: further parameters, those that `save` is called with; names that the source does not have are passed.
    """
    source = figures_dir().resolve().parent / "notebooks" / f"{notebook}.py"
    if overwriting() or not source.is_file():
        return None
    cell = _TAGGED.search(source.read_text("utf-8"))
    shell = _shell()
    values = {**(shell.user_ns if shell else {}), **(given or {})}
    other = [
        f"{name}={values[name]!r}"
        for name, default in (_assigned(cell[1]) if cell else {}).items()
        if name in values and name not in _WITHOUT_EFFECT and values[name] != ast.literal_eval(default)
    ]
    if not other:
        return None
    return (
        f"{notebook} with {', '.join(other)} may not replace what lies in {str(figures_dir())!r}, drawn with the "
        f"defaults of {source.name}. {REMEDY}"
    )


def overwriting() -> bool:
    """Whether what is committed may be replaced by anything: ALCL_OVERWRITE=1, or `make figures OVERWRITE=1`."""
    return os.environ.get("ALCL_OVERWRITE", "") not in ("", "0")


def _assigned(source: str) -> dict[str, ast.expr]:
    """The names that a cell assigns, with the expressions on the right."""
    assignments = (node for node in ast.parse(source).body if isinstance(node, ast.Assign))
    return {t.id: node.value for node in assignments for t in node.targets if isinstance(t, ast.Name)}


def _shell() -> Any:
    ipython = sys.modules.get("IPython")  # if nobody has imported it, this is no notebook
    return ipython.get_ipython() if ipython else None


def _injected_names() -> list[str]:
    """The names that papermill's injected cell assigns, found in IPython's history of executed cells."""
    shell = _shell()
    names: list[str] = []
    for source in shell.user_ns.get("In", []) if shell else []:
        if source.lstrip().startswith(_INJECTED):
            names += _assigned(source)
    return list(dict.fromkeys(names))
