"""Linear regressions with any loss of the library, and data sets whose outliers are known (notebook 11).

The data sets are those that statsmodels ships. They are small, and nobody has added noise to them: what is known of
their outliers is known from fifty years of robust regression.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import optimize
from torch import Tensor, nn

__all__ = ["CLASSICS", "Classic", "fit_linear", "load_classic"]

#: name -> (target, regressors, labels of the observations that are known not to fit)
CLASSICS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "stackloss": ("STACKLOSS", ("AIRFLOW", "WATERTEMP", "ACIDCONC"), ("1", "3", "4", "21")),
    "statecrime": ("murder", ("urban", "poverty", "hs_grad", "single"), ("District of Columbia",)),
    "engel": ("foodexp", ("income",), ()),
}


@dataclass(frozen=True)
class Classic:
    """x: (n, 1 + regressors), float64, a column of ones first, the others with mean 0 and standard deviation 1.
    y: (n,), the target minus its median, in units of 1.4826 median absolute deviations. labels: one an observation.
    known: the positions of the observations that are known not to fit."""

    x: Tensor
    y: Tensor
    labels: tuple[str, ...]
    known: tuple[int, ...]


def load_classic(name: str) -> Classic:
    """One of `CLASSICS`, from statsmodels. Raises ValueError for another name."""
    if name not in CLASSICS:
        raise ValueError(f"name must be one of {', '.join(CLASSICS)}; got {name!r}")
    from statsmodels import datasets  # here: nothing else in the companion needs it

    target, regressors, known = CLASSICS[name]
    frame = getattr(datasets, name).load_pandas().data
    x, y = frame[list(regressors)].to_numpy(float), frame[target].to_numpy(float)
    x = np.column_stack([np.ones(len(y)), (x - x.mean(0)) / x.std(0)])
    y = y - np.median(y)
    y = y / (1.482602218505602 * np.median(np.abs(y)))
    # Observations without a name are numbered from 1, as in the literature.
    labels = [str(i) if isinstance(i, str) else str(n + 1) for n, i in enumerate(frame.index)]
    return Classic(torch.tensor(x), torch.tensor(y), tuple(labels), tuple(labels.index(each) for each in known))


def fit_linear(x: Tensor, y: Tensor, criterion: nn.Module, start: Tensor | None = None) -> Tensor:
    """Weights (p,) of least criterion(x @ weights, y), near `start`; the criterion's parameters are learned with them.

    BFGS on all of them together; then, where the gradient is not zero yet, because it is not that of the value (losses
    with a width from the batch), a root of the gradient.

    Args:
        x, y: float64, (n, p) and (n,).
        criterion: of float64; it is left with what it has learned.
        start: (p,), by default least squares.

    Raises RuntimeError where a largest slope above 1e-5 is left.

    >>> x = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    >>> fit_linear(x, x @ torch.tensor([2.0, 3.0], dtype=torch.float64), nn.MSELoss()).round(decimals=6)
    tensor([2., 3.], dtype=torch.float64)
    """
    start = torch.linalg.lstsq(x, y[:, None]).solution[:, 0] if start is None else start
    learned = [p for p in criterion.parameters() if p.requires_grad]
    evaluate = _evaluator(x, y, criterion, learned)
    begin = torch.cat([start, *(p.detach().flatten() for p in learned)]).numpy()
    found = optimize.minimize(evaluate, begin, jac=True, method="BFGS", options={"gtol": 1e-7, "maxiter": 2000}).x
    if np.abs(evaluate(found)[1]).max() > 1e-6:
        found = optimize.root(lambda at: evaluate(at)[1], found, method="hybr", options={"xtol": 1e-12}).x
    left = np.abs(evaluate(found)[1]).max()
    if not left <= 1e-5:
        raise RuntimeError(f"{type(criterion).__name__}: no minimum was found; a slope of {left:.1e} is left")
    return torch.tensor(found[: x.shape[1]])


def _evaluator(
    x: Tensor, y: Tensor, criterion: nn.Module, learned: list[nn.Parameter]
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Value and gradient at weights and raw parameters in one row, which the criterion is left with."""
    sizes = [x.shape[1], *(p.numel() for p in learned)]

    def evaluate(at: np.ndarray) -> tuple[float, np.ndarray]:
        weights, *raw = torch.tensor(at).split(sizes)
        with torch.no_grad():
            for parameter, values in zip(learned, raw, strict=True):
                parameter.copy_(values.reshape(parameter.shape))
        weights.requires_grad_()
        value = criterion(x @ weights, y)
        slopes = torch.autograd.grad(value, [weights, *learned])
        return value.item(), torch.cat([slope.flatten() for slope in slopes]).numpy()

    return evaluate
