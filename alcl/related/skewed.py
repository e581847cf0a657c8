"""A likelihood that is not symmetric: Student-t with another scale on either side of zero.

A candidate where noise is one-sided, as impulses on dark pixels are: does a learned skewness help there? (Notebook 11.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..base import _check_learn
from ..comparators import StudentTLoss
from ..functional import log_correntropy

__all__ = ["SkewedStudentTLoss"]


class SkewedStudentTLoss(StudentTLoss):
    """Negative log-likelihood of the two-piece Student-t of Fernández and Steel (JASA 93(441), 1998).

    p(e) = 2 / (skew + 1/skew) t(e / skew) for a residual e = input - target of at least 0, and t(e skew) below, with t
    the Student-t density. skew = 1 is `StudentTLoss`; above 1 the tail above zero is the longer one, and a fraction
    skew^2 / (1 + skew^2) of the probability lies above. The mode stays at 0, so that a prediction is a mode. The
    influence is Student-t's on either side, with scales scale * skew and scale / skew: bounded and redescending.

    Args:
        skew: initial value, > 0; learned above skew_min.
        dof, scale, learn, dof_min, scale_min, reduction, nonfinite, parameter_shape: as for `StudentTLoss`.

    Raises:
        ValueError: naming the argument and its legal values.

        >>> criterion = SkewedStudentTLoss(dof=3.0, skew=2.0, reduction="none")
        >>> criterion(torch.tensor([2.0, -0.5]), torch.zeros(2)).detach().round(decimals=4)  # equally far, in scales
        tensor([1.7994, 1.7994])
    """

    _shown = ("dof", "scale", "skew")
    skew_min: float

    def __init__(
        self,
        dof: float | Tensor = 3.0,
        scale: float | Tensor = 1.0,
        skew: float | Tensor = 1.0,
        learn: Iterable[str] = ("dof", "scale", "skew"),
        dof_min: float = 0.1,
        scale_min: float = 1e-3,
        skew_min: float = 0.05,
        reduction: str = "mean",
        nonfinite: str = "raise",
        parameter_shape: Sequence[int] = (),
    ):
        learn = _check_learn(learn, ("dof", "scale", "skew"))
        symmetric = [name for name in learn if name != "skew"]
        super().__init__(dof, scale, symmetric, dof_min, scale_min, reduction, nonfinite, parameter_shape)
        self._set({"skew": skew}, {"skew": skew_min}, learn, parameter_shape)

    @property
    def skew(self) -> Tensor:
        """Current skewness, `parameter_shape`."""
        return self._value("skew", self.skew_min)

    def rho(self, residual: Tensor) -> Tensor:
        self._check_shape(residual)
        skew = self.skew
        side = torch.where(residual >= 0, skew, 1 / skew)
        return log_correntropy(residual / side, *self._as_generalized_t())

    def log_normalizer(self) -> Tensor:
        skew = self.skew
        return super().log_normalizer() + ((skew + 1 / skew) / 2).log()

    def _rows(self) -> None:
        return None

    def _setting(self) -> None:
        return None
