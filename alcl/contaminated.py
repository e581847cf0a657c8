"""ALCL beside a constant density: the loss of residuals of which an unknown fraction tells nothing.

The model of gross errors, p = (1 - eps) q + eps u (Tukey 1960; Huber 1964), with ALCL's density for q and a constant
for u: uniform on the known range of residuals, or, where there is none, the improper constant of a noise component
(Banfield and Raftery 1993; Coretto and Hennig 2016). The fraction is learned beside shape and scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from . import _kernels as kernels
from . import _rows as rows
from ._mixtures import LEAST, MOST, Setting
from .base import _any, _brief, _check_learn, _parameter, _placed, _positive
from .distributions import GeneralizedT
from .functional import _arguments, _at_least_float32, _finish, _pair
from .losses import ALCLoss

__all__ = ["ContaminatedALCLoss", "ContaminatedT"]


class ContaminatedALCLoss(ALCLoss):
    """Negative log-likelihood of (1 - eps) q(e; alpha, beta, kappa) + eps u: ALCL with a learned fraction of outliers.

    loss(e) = -log((1 - eps) exp(-ALCL(e)) + eps density)

    A residual pulls with ALCL's influence times w(e), the posterior probability that it is no contamination, which
    falls like |e|^-(kappa alpha): a far residual tells of the fraction, and of nothing else (Theorem S1). `posterior`
    gives 1 - w, a map of the residuals that the loss has given up.

        >>> criterion = ContaminatedALCLoss(beta=0.5)
        >>> criterion.posterior(torch.tensor([0.0, 0.9]), torch.zeros(2)).round(decimals=3)
        tensor([0.0800, 0.2700])

    As in every mixture, residuals that are exactly zero are a singularity of the likelihood, at any fraction of them
    (Theorem S4), so beta_min matters more than in ALCL. The largest value of the loss is log(1/(eps density)).

    Args:
        alpha, beta, kappa: initial values of ALCL's parameters, as for `ALCLoss`.
        eps: initial fraction of contamination, in (0, 1).
        learn: which of "alpha", "beta", "kappa", "eps" are learned; the others stay as given.
        density: the constant u > 0. 1/(2R) where residuals lie in [-R, R]: 0.5, the default, for images in [0, 1]. Any
            other number is an improper density, and says how likely a residual must be to count as none.
        parameter_shape, alpha_min, beta_min, alpha_max, reduction, nonfinite: as for `ALCLoss`.

    Raises:
        ValueError: naming the argument and its legal values; from `forward`, residuals that are inf or NaN.
    """

    _shown = ("alpha", "beta", "kappa", "eps")
    bounded = True

    def __init__(
        self,
        alpha: float | Tensor = 2.0,
        beta: float | Tensor = 1.0,
        kappa: float | Tensor = 1.0,
        eps: float | Tensor = 0.1,
        learn: Iterable[str] = ("alpha", "beta", "eps"),
        density: float = 0.5,
        parameter_shape: Sequence[int] = (),
        alpha_min: float = 1.0,
        beta_min: float = 1e-3,
        reduction: str = "mean",
        nonfinite: str = "raise",
        alpha_max: float | None = None,
    ):
        learn = _check_learn(learn, ("alpha", "beta", "kappa", "eps"))
        super().__init__(
            alpha, beta, kappa, [name for name in learn if name != "eps"], parameter_shape, alpha_min, beta_min,
            reduction, True, nonfinite, alpha_max,
        )  # fmt: skip
        self.density = _positive("density", density)
        self._store_eps(eps, "eps" in learn)

    @classmethod
    def _from_sizes(cls, size: Tensor) -> dict[str, float]:
        return {"density": 0.5 / size.max().item()}  # uniform on the range of these residuals

    def _store_eps(self, eps: float | Tensor, learned: bool) -> None:
        eps = _parameter("eps", eps, self.parameter_shape)
        if _any(eps >= 1):
            raise ValueError(f"eps must be above 0 and below 1; got {_brief(eps)}")
        if learned:
            self.register_parameter("raw_eps", nn.Parameter(_placed(torch.logit(eps))))
        else:
            self.register_buffer("fixed_eps", _placed(eps))

    @property
    def eps(self) -> Tensor:
        """Current fraction of contamination, `parameter_shape`, differentiable."""
        return torch.sigmoid(self._logit())

    def _logit(self) -> Tensor:
        raw = self._parameters.get("raw_eps")
        return torch.logit(_at_least_float32(self._buffers["fixed_eps"])) if raw is None else _at_least_float32(raw)

    def log_normalizer(self) -> None:
        """None: the normaliser is inside the sum of the two densities."""
        return None

    def posterior(self, input: Tensor, target: Tensor) -> Tensor:
        """P(contamination | residual) of every element, in [0, 1], of the input's shape; no gradient.

        Raises ValueError if the shapes of input, target and `parameter_shape` do not fit.
        """
        with torch.no_grad():
            input, target = _pair(input, target)
            residual = input - target
            return torch.sigmoid(self._logit() + self._log_other(target) - self._log_core(residual, input, target))

    # -- the two parts, elementwise -------------------------------------------------------------------------

    def _log_density(self, residual: Tensor) -> Tensor:
        """log q of residuals."""
        self._check_shape(residual)
        parameters, log_z = self._current()
        return -rows.each(*_arguments(residual, *parameters)) - log_z

    def _log_core(self, residual: Tensor, input: Tensor, target: Tensor) -> Tensor:
        """What ALCL's part gives to every element."""
        return self._log_density(residual)

    def _log_other(self, target: Tensor) -> float | Tensor:
        """What the contamination gives."""
        return math.log(self.density)

    def _mixture(self, log_core: Tensor, log_other: float | Tensor) -> Tensor:
        logit = self._logit()
        log_core = log_core + nn.functional.logsigmoid(-logit)
        log_other = (nn.functional.logsigmoid(logit) + log_other).to(log_core.dtype)
        # torch.logaddexp has no second derivatives where one part is far below the other. From the larger part: beside
        # the smaller one, its digits would be lost.
        gap = log_other - log_core
        core_counts = log_core + kernels.softplus(gap.clamp(-80.0, 0.0))
        return torch.where(gap > 0, log_other + kernels.softplus((-gap).clamp(-80.0, 0.0)), core_counts)

    def _value_of(self, residual: Tensor, input: Tensor, target: Tensor) -> Tensor:
        log_p = self._mixture(self._log_core(residual, input, target), self._log_other(target))
        return -log_p if self.reduction == "none" else _finish(-log_p.sum(), None, log_p, self.reduction)

    def _elements(self, residual: Tensor) -> tuple[Tensor, None]:
        return -self._mixture(self._log_density(residual), math.log(self.density)), None

    def _terms(self, residual: Tensor) -> tuple[Tensor, None]:
        return self._elements(residual)[0].sum(), None

    # -- in numbers -----------------------------------------------------------------------------------------

    def _rows(self) -> None:
        return None

    def _setting(self) -> Setting | None:
        core = super()._setting()
        if core is None:
            return None
        raw = self._parameters.get("raw_eps")
        fixed = self._buffers.get("fixed_eps")
        eps = 0.0
        if raw is not None:
            eps = 1 / (1 + math.exp(-raw.item())) if raw.item() > -700 else 0.0
        elif fixed is not None:
            eps = fixed.item()
        if not _comfortable(core, eps, self.density, raw is not None or fixed is not None):
            return None
        links = iter(core.chain)
        chain = [(0.0, 0.0, 0.0, 1.0) if name == "raw_eps" else (*next(links), 0.0) for name in self._parameters]
        core = core._replace(chain=())
        return Setting(core, chain, eps, self.density, **self._at_limits())

    def _at_limits(self) -> dict[str, Any]:
        return {}


def _comfortable(core: kernels.Setting, eps: float, density: float, mixed: bool) -> bool:
    """Whether a mixture keeps its digits with its factors in the open; near the ends, logarithms are worked with."""
    factors = [core.beta]
    if mixed:
        height = (1 - eps) * math.exp(-core.log_z) if core.log_z > -100 else math.inf
        factors += [eps, 1 - eps, eps * density, height]
        # Beyond the largest power of a residual that float32 holds, q must be nothing beside the contamination.
        if height * math.exp(-85 * core.kappa) > 1e-8 * eps * density:
            return False
    return all(LEAST < factor < MOST for factor in factors)


class ContaminatedT(Distribution):
    """(1 - eps) GeneralizedT(alpha, beta, kappa) + eps Uniform(-radius, radius), behind `ContaminatedALCLoss`.

    `density=1/(2 radius)` of the loss. For residuals within the radius the loss is -log_prob.

    Args:
        alpha, beta, kappa: as for `GeneralizedT`.
        eps: fraction of contamination, in (0, 1).
        radius: half the width of the uniform part, > 0.

    Raises:
        ValueError: a parameter outside its range, named in the message.

        >>> ContaminatedT(2.0, 0.1, 1.0, eps=0.2, radius=1.0).cdf(torch.tensor([0.0, 2.0])).round(decimals=4)
        tensor([0.5000, 0.9873])
    """

    arg_constraints = {  # noqa: RUF012  (the base class's own form)
        "eps": constraints.unit_interval,
        "radius": constraints.positive,
    }
    support = constraints.real

    def __init__(
        self,
        alpha: float | Tensor,
        beta: float | Tensor,
        kappa: float | Tensor = 1.0,
        eps: float | Tensor = 0.1,
        radius: float | Tensor = 1.0,
    ):
        core = GeneralizedT(alpha, beta, kappa)
        eps, radius = (torch.as_tensor(x, dtype=core.alpha.dtype, device=core.alpha.device) for x in (eps, radius))
        if _any(~((eps > 0) & (eps < 1))):
            raise ValueError(f"eps must be above 0 and below 1; got {_brief(eps)}")
        if _any(~((radius > 0) & radius.isfinite())):
            raise ValueError(f"radius must be positive and finite; got {_brief(radius)}")
        shape = torch.broadcast_shapes(core.batch_shape, eps.shape, radius.shape)
        self.core, self.eps, self.radius = core.expand(shape), eps.expand(shape), radius.expand(shape)
        super().__init__(shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of residuals."""
        core = self.core.log_prob(value) + torch.log1p(-self.eps)
        other = (self.eps / (2 * self.radius)).log().expand(core.shape)
        return torch.where(value.abs() <= self.radius, torch.logaddexp(core, other), core)

    def posterior(self, value: Tensor) -> Tensor:
        """P(contamination | residual); 0 beyond the radius."""
        core = self.core.log_prob(value) + torch.log1p(-self.eps)
        return torch.where(value.abs() <= self.radius, torch.sigmoid((self.eps / (2 * self.radius)).log() - core), 0.0)

    def cdf(self, value: Tensor) -> Tensor:
        """P(residual <= value); gradients as those of `GeneralizedT.cdf`."""
        uniform = ((value / self.radius + 1) / 2).clamp(0, 1)
        return (1 - self.eps) * self.core.cdf(value) + self.eps * uniform

    def sample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        """Draws of shape `sample_shape + batch_shape` from torch's global generator."""
        with torch.no_grad():
            core = self.core.sample(torch.Size(sample_shape))
            uniform = (2 * torch.rand_like(core) - 1) * self.radius
            return torch.where(torch.rand_like(core) < self.eps, uniform, core)

    def moment(self, m: float) -> Tensor:
        """Absolute moment E|e|^m for real m > -1; inf where m >= kappa alpha - 1."""
        return (1 - self.eps) * self.core.moment(m) + self.eps * self.radius**m / (m + 1)

    @property
    def mean(self) -> Tensor:
        """0 where kappa alpha > 2, else nan."""
        return self.core.mean

    @property
    def variance(self) -> Tensor:
        """`moment(2)`; inf where 2 < kappa alpha <= 3, nan where there is no mean."""
        return torch.where(self.core.mean == 0, self.moment(2), torch.nan)
