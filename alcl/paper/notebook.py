"""How a notebook begins, in one call: parameters checked, one look for figures, one name for all that it saves.

save = begin("03_adaptation", ["seed"], dtype=torch.float64)
...
save(figure, "fig03a_scores")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd
import torch

from . import figures, manifest
from .parameters import check_parameters, refusal

__all__ = ["begin"]


def begin(
    notebook: str, parameters: Iterable[str] = (), *, dtype: torch.dtype | None = None, refuse: bool = True
) -> Callable[..., None]:
    """Check the parameters, set torch and matplotlib up, and return the function that saves what the notebook makes.

    One thread: notebooks run side by side, and sums in another order would change the last digits of the results.

    Args:
        notebook: its name, "NN_name".
        parameters: the names that the cell tagged `parameters` sets.
        dtype: torch's default type from here on; None leaves it.
        refuse: fail at once where other parameters would replace committed figures (`parameters.refusal`). False: what
            may not be saved is shown only.

    Returns `save(what, name, **origin)`, which writes a figure by `manifest.save` or a table by `manifest.save_table`
    under this notebook's name, and returns None. Raises what `parameters.check_parameters` does.
    """
    check_parameters(parameters, notebook if refuse else None)
    torch.set_num_threads(1)
    if dtype is not None:
        torch.set_default_dtype(dtype)
    figures.use_theme()

    def save(what: Any, name: str, **origin: Any) -> None:
        if not refuse and refusal(notebook):
            return
        write = manifest.save_table if isinstance(what, pd.DataFrame) else manifest.save
        write(what, name, notebook=notebook, **origin)

    return save
