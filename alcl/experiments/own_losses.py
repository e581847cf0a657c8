"""Losses of one's own in experiments: from a file that registers them, and in the worker processes of a sweep.

A loss that is defined in a notebook or script goes to the workers whole, one of a module is imported there by name.
`load_losses` makes the calls of `alcl.catalogue.register_loss` that a file holds, for command lines and papermill.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import catalogue
from ..catalogue import OwnLoss

__all__ = ["carrying", "load_losses"]

_loaded: set[str] = set()


def carrying(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with the losses that are registered now, which it registers in the process where it is called.

    >>> import torch
    >>> from alcl import make_loss, register_loss
    >>> register_loss("smooth_l1", torch.nn.SmoothL1Loss)
    >>> carrying(make_loss)("smooth_l1")
    SmoothL1Loss()
    """
    return functools.partial(_call_with, tuple(catalogue.OWN.values()), function) if catalogue.OWN else function


def _call_with(own: tuple[OwnLoss, ...], function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    for loss in own:
        catalogue._announce(loss)
    return function(*arguments, **options)


def load_losses(where: str | Path) -> list[str]:
    """Import a Python file (by its path, ending in .py) or module (by its name) that calls `register_loss`.

    The file's folder goes to the front of `sys.path`, so that worker processes on this machine find it too; on a
    cluster it must be importable. Returns the names of all losses of one's own.

    Raises:
        ValueError: there is no such file or module, or it registers nothing.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "my_losses.py"
    ...     _ = path.write_text("import alcl, torch; alcl.register_loss('mine', torch.nn.SmoothL1Loss)")
    ...     load_losses(path)
    ['mine']
    """
    before, name, path = dict(catalogue.OWN), str(where), None
    if name.endswith(".py"):
        path = Path(name).expanduser().resolve()
        if not path.is_file():
            raise ValueError(f"losses: there is no file {path}")
        name = path.stem
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(f"losses: cannot import {name!r} ({error})") from error
    if path is not None and path != Path(module.__file__ or "").resolve():
        raise ValueError(f"losses: another module is called {name!r} ({module.__file__}); give {path} another name")
    if before == catalogue.OWN and name not in _loaded:
        raise ValueError(f"losses: {where} registers no loss; it must call alcl.catalogue.register_loss")
    _loaded.add(name)
    return list(catalogue.OWN)
