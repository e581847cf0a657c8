"""Losses on residuals: ALCL, generalized correntropy, and the classic losses; each a module beside a functional form.

Every loss here is a function rho of the residual e = input - target, summed or averaged over elements. Where a loss is
the negative log-likelihood of a density with learnable parameters, the log of the density's normaliser is added: that
is what makes joint learning of shape and scale well posed (notebook 03 shows both ways it fails without).

A negative log-likelihood can be NEGATIVE: a density concentrated on a small scale exceeds 1. A negative ALCL value is
no error; compare losses of one method over time, never values of different methods.

A residual that is inf or NaN is no outlier but a failure upstream: a division by zero in the data, an overflow in the
network. No loss can tell what the value should have been, one NaN makes every parameter NaN in one step, and a masked
one would train on unseen to the end. So the modules raise a ValueError that says how many there are and where, before
any gradient exists; finite residuals of any size are never refused. `nonfinite="propagate"` gives what the arithmetic
gives (torch.amp.GradScaler looks at the gradients itself). The functional forms look at nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import _kernels as kernels
from .base import (
    AdaptiveLoss,
    ResidualLoss,
    _any,
    _brief,
    _check_learn,
    _check_parameter_shape,
    _in_numbers,
    _parameter,
    _positive,
)
from .distributions import GeneralizedT, log_normalizer
from .functional import _at_least_float32, correntropy_loss, log_correntropy

# kappa alpha stays a hair above 1: exactly there Z is infinite, and softplus can round to 0.
_HAIR = 1 + 1e-6


class MSELoss(ResidualLoss):
    """Squared error e^2, as `torch.nn.MSELoss`.

    >>> MSELoss()(torch.tensor([1.0, 3.0]), torch.zeros(2))
    tensor(5.)
    """

    bounded = False

    def rho(self, residual: Tensor) -> Tensor:
        return residual.square()


class L1Loss(ResidualLoss):
    """Absolute error |e|, as `torch.nn.L1Loss`.

    >>> L1Loss()(torch.tensor([1.0, -3.0]), torch.zeros(2))
    tensor(2.)
    """

    bounded = False

    def rho(self, residual: Tensor) -> Tensor:
        return residual.abs()


class HuberLoss(ResidualLoss):
    """Huber loss (1964), as `torch.nn.HuberLoss`: e^2 / 2 up to delta > 0, then delta (|e| - delta / 2).

    >>> HuberLoss(delta=1.0, reduction="none")(torch.tensor([1.0, 3.0]), torch.zeros(2))
    tensor([0.5000, 2.5000])
    """

    bounded = False

    def __init__(self, delta: float = 1.0, reduction: str = "mean", nonfinite: str = "raise"):
        super().__init__(reduction, nonfinite)
        self.delta = _positive("delta", delta)

    def rho(self, residual: Tensor) -> Tensor:
        return F.huber_loss(residual, torch.zeros_like(residual), reduction="none", delta=self.delta)

    def extra_repr(self) -> str:
        return f"delta={self.delta}"


class CauchyLoss(ResidualLoss):
    """Cauchy (Lorentzian) loss log(1 + (e/scale)^2) with a fixed scale > 0.

    >>> CauchyLoss(scale=0.5)(torch.tensor([0.5]), torch.zeros(1))  # log 2
    tensor(0.6931)
    """

    bounded = False

    def __init__(self, scale: float = 1.0, reduction: str = "mean", nonfinite: str = "raise"):
        super().__init__(reduction, nonfinite)
        self.scale = _positive("scale", scale)

    def rho(self, residual: Tensor) -> Tensor:
        return log_correntropy(residual, 2.0, self.scale)

    def _setting(self) -> kernels.Setting:
        return kernels.Setting(kernels.LOG_CORRENTROPY, 2.0, self.scale, 1.0)

    def extra_repr(self) -> str:
        return f"scale={self.scale}"


class GeneralizedCorrentropyLoss(ResidualLoss):
    """Generalized correntropy loss 1 - exp(-|e/beta|^alpha), alpha > 0, beta > 0, both fixed (see `correntropy_loss`).

    Static by necessity: learned by gradient, beta would grow without bound, because the loss tends to 0 as
    beta -> infinity whatever the residuals are (Theorem L1).

    >>> GeneralizedCorrentropyLoss(reduction="none")(torch.tensor([0.0, 100.0]), torch.zeros(2))
    tensor([0., 1.])
    """

    def __init__(self, alpha: float = 2.0, beta: float = 1.0, reduction: str = "mean", nonfinite: str = "raise"):
        super().__init__(reduction, nonfinite)
        self.alpha, self.beta = _positive("alpha", alpha), _positive("beta", beta)

    def rho(self, residual: Tensor) -> Tensor:
        return correntropy_loss(residual, self.alpha, self.beta)

    def _setting(self) -> kernels.Setting:
        return kernels.Setting(kernels.CORRENTROPY, self.alpha, self.beta, 1.0)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, beta={self.beta}"


class ALCLoss(AdaptiveLoss):
    """Adaptive log-correntropy loss: the negative log-likelihood of the residual under the generalized t density.

    loss(e) = kappa log(1 + |e/beta|^alpha) + log Z,  Z = (2 beta / alpha) B(1/alpha, kappa - 1/alpha)

    with shape alpha and scale beta learned jointly with the network (kappa = 1 is the paper's loss; this is our
    reconstruction from its abstract). alpha = 2, kappa = 1 is the Cauchy likelihood; alpha = 2 with
    kappa = (nu + 1) / 2 is Student's t. The gradient with respect to the residual is at most
    (kappa / beta) (alpha - 1)^((alpha - 1) / alpha) and falls off like kappa alpha / |e| (Theorems I1, I2).

        criterion = ALCLoss()
        optimizer = torch.optim.Adam(optimizer_groups(model, criterion, lr=1e-3))   # the line people forget

    The loss can be NEGATIVE, as any negative log-likelihood: it is log beta + const when the fit is good.

    Elements that do not count (padding, missing targets) must be left out, not set to zero on both sides: residuals
    that are exactly zero pull beta to its floor (Theorem A4), and the criterion warns where that has happened. Write

        loss = criterion(output[mask], target[mask])
        loss = (criterion(output, target) * mask).sum() / mask.sum()   # or this, with reduction="none"

    Where a mask holds nothing, the value of the first is NaN and all its gradients are 0: training goes on.

    With several processes, put model and criterion into one module, so that the gradients of both are averaged. (Only
    a criterion that learns nothing may stay outside.)

        class WithLoss(torch.nn.Module):
            def __init__(self, model, criterion):
                super().__init__()
                self.model, self.criterion = model, criterion

            def forward(self, input, target):
                return self.criterion(self.model(input), target)

        parallel = DistributedDataParallel(WithLoss(model, criterion))
        parallel(x, y).backward()

    `fully_shard` takes no scalar parameters: give it parameter_shape=(1,).

    Args:
        alpha: initial shape; above 1/kappa (the density needs kappa alpha > 1), above alpha_min where learned.
        beta: initial scale, in the units of the residual; above beta_min where learned. Start at the size of the first
            residuals (`from_residuals`): learning then anneals from near-MSE to robust. From ten times too wide or too
            narrow it may not find back (notebook 11, Section 1).
        kappa: initial tail weight, > 0.
        learn: which of "alpha", "beta", "kappa" are learned; the others stay as given.
        parameter_shape: shape of each parameter; must broadcast against the input without enlarging it, for example
            (3, 1, 1) for per-channel parameters of (N, 3, H, W) images.
        alpha_min: floor of a learned alpha (raised to 1/kappa where kappa is fixed and larger is needed). At 1 the
            influence stays bounded.
        beta_min: floor of a learned beta: gradients are bounded by kappa alpha / beta_min, and it stops the collapse
            that too many exactly zero residuals cause (Theorem A4). Floors and cap belong to the state.
        alpha_max: cap of a learned alpha, or None. A learned shape buys efficiency with bias: under one-sided
            contamination it runs away (appendix A1, maximum bias), and a cap of 2 or 3 limits that. What 2 gains and
            costs on images: notebook 12, Section 6.
        reduction: "mean", "sum" or "none".
        normalized: False leaves log Z out. Then a learned beta grows without bound; for fixed alpha and beta the
            gradients are the same.
        nonfinite: "raise" or "propagate": what is done about residuals that are inf or NaN; see `ResidualLoss`.

    Raises:
        ValueError: naming the argument and its legal values; from `forward`, residuals that are inf or NaN.

    >>> criterion = ALCLoss(beta=0.5)
    >>> loss = criterion(torch.tensor([0.1, -0.2, 9.0]), torch.zeros(3))
    >>> loss.backward()
    >>> sorted(name for name, p in criterion.named_parameters() if p.grad is not None)
    ['raw_alpha', 'raw_beta']
    >>> round(criterion.alpha.item(), 4), round(criterion.beta.item(), 4), criterion.kappa.item()
    (2.0, 0.5, 1.0)
    """

    _shown = ("alpha", "beta", "kappa")
    bounded = False

    def __init__(
        self,
        alpha: float | Tensor = 2.0,
        beta: float | Tensor = 1.0,
        kappa: float | Tensor = 1.0,
        learn: Iterable[str] = ("alpha", "beta"),
        parameter_shape: Sequence[int] = (),
        alpha_min: float = 1.0,
        beta_min: float = 1e-3,
        reduction: str = "mean",
        normalized: bool = True,
        nonfinite: str = "raise",
        alpha_max: float | None = None,
    ):
        super().__init__(reduction, nonfinite)
        learn = _check_learn(learn, ("alpha", "beta", "kappa"))
        shape = _check_parameter_shape(parameter_shape)
        alpha, beta, kappa = (
            _parameter(name, value, shape) for name, value in (("alpha", alpha), ("beta", beta), ("kappa", kappa))
        )
        alpha_min, beta_min = _positive("alpha_min", alpha_min), _positive("beta_min", beta_min)
        if normalized and _any(kappa * alpha <= 1):
            raise ValueError(
                "alpha must exceed 1/kappa, or the density cannot be normalised (alpha > 1 for kappa = 1); got "
                f"alpha={_brief(alpha)}, kappa={_brief(kappa)}"
            )
        floor = torch.full_like(kappa, alpha_min)
        if normalized and "kappa" not in learn:
            floor = (_HAIR / kappa).clamp(min=alpha_min)
        if "alpha" in learn and _any(alpha <= floor):
            raise ValueError(
                f"alpha must exceed alpha_min={_brief(floor)} when it is learned; got alpha={_brief(alpha)}"
            )
        if "beta" in learn and _any(beta <= beta_min):
            raise ValueError(f"beta must exceed beta_min={beta_min:g} when it is learned; got beta={_brief(beta)}")
        if normalized and "kappa" in learn and _any(kappa * alpha <= _HAIR):
            raise ValueError(f"kappa must exceed 1/alpha by 1e-6 of it when it is learned; got kappa={_brief(kappa)}")
        self.alpha_min, self.beta_min, self.alpha_max = alpha_min, beta_min, None
        if alpha_max is not None and "alpha" in learn:
            self.alpha_max = _positive("alpha_max", alpha_max)
            if _any(alpha >= self.alpha_max):
                raise ValueError(f"alpha_max={alpha_max:g} must exceed the initial alpha; got alpha={_brief(alpha)}")
        self.parameter_shape, self.normalized = shape, bool(normalized)
        self._store("alpha", alpha, floor if "alpha" in learn else None, self.alpha_max)
        self._store("beta", beta, self.beta_min if "beta" in learn else None)
        # kappa = 1/alpha + q, q > 0, so that every reachable value is a density (no 1/alpha without normaliser).
        self._store(
            "kappa",
            kappa - _HAIR / alpha if normalized and "kappa" in learn else kappa,
            0.0 if "kappa" in learn else None,
        )

    @classmethod
    def from_residuals(cls, residual: Tensor, **options) -> ALCLoss:
        """The loss with a first scale from the data, for targets in units that nobody normalised.

        beta is set so that the median of |residual| is the density's own, which half of the residuals being outliers
        cannot carry away; its floor, unless given, to a thousandth of that. From the residuals of the untrained model
        the start is wide, as it should be.

            criterion = ALCLoss.from_residuals(model(x) - y)

        Args:
            residual: finite residuals, of any shape that `parameter_shape` broadcasts against.
            options: as for the class, without beta. The density of `ContaminatedALCLoss` is uniform, unless given, on
                the range of these residuals.

        Raises:
            ValueError: no residuals, residuals that are inf or NaN, or of which half or more are exactly zero; a
                `parameter_shape` that does not fit; and what the class raises.

        >>> ALCLoss.from_residuals(torch.tensor([-300.0, 100.0, 200.0]))  # Cauchy: the median of |residual| is beta
        ALCLoss(alpha=2, beta=200, kappa=1, learn=('alpha', 'beta'), reduction='mean')
        """
        if "beta" in options:
            raise ValueError("beta is what the residuals give; leave it out, or make the loss without from_residuals")
        size = residual.detach().abs().float() if residual.dtype.itemsize < 4 else residual.detach().abs()
        if not size.numel() or _any(~size.isfinite()):
            raise ValueError("residual must hold finite numbers, at least one")
        shape = _check_parameter_shape(options.get("parameter_shape", ()))
        own = (1,) * (size.ndim - len(shape)) + tuple(shape)
        if len(own) != size.ndim or any(n not in (1, there) for n, there in zip(own, size.shape, strict=True)):
            raise ValueError(f"parameter_shape={tuple(shape)} must broadcast against residual, {tuple(size.shape)}")
        order = sorted(range(size.ndim), key=lambda i: own[i] == 1)  # the places of parameters first
        places = sum(n != 1 for n in own)
        middle = size.permute(order).flatten(places).median(-1).values if size.ndim > places else size
        if _any(middle == 0):
            raise ValueError("residual must not be exactly zero in half of all places or more; set beta by hand")
        model = GeneralizedT(options.get("alpha", 2.0), 1.0, options.get("kappa", 1.0))
        beta = middle.reshape(shape) / model.icdf(torch.tensor(0.75, device=size.device)).to(size.dtype)
        return cls(**{"beta_min": 1e-3 * beta.min().item(), **cls._from_sizes(size), **options, "beta": beta})

    @classmethod
    def _from_sizes(cls, size: Tensor) -> dict[str, float]:
        """What else the sizes of residuals say about the class's arguments."""
        return {}

    def _kappa_is_one(self) -> bool:
        """Whether the fixed kappa is 1 everywhere, which makes log Z cheaper; False where a look would cost more."""
        kappa = self._buffers.get("fixed_kappa")
        if (
            kappa is None
            or kappa.device.type != "cpu"
            or type(kappa) is not Tensor
            or not kernels.numbers_can_be_read()
        ):
            return False
        return kappa.item() == 1 if kappa.numel() == 1 else bool((kappa == 1).all())

    def _alpha_floor(self, kappa_is_one: bool = False) -> float | Tensor:
        """alpha_min, raised to 1/kappa where kappa is fixed; from the kappa at hand, which may have been loaded."""
        if not self.normalized or "fixed_kappa" not in self._buffers:
            return self.alpha_min
        if kappa_is_one:
            return max(self.alpha_min, _HAIR)
        return (_HAIR / _at_least_float32(self._buffers["fixed_kappa"])).clamp(min=self.alpha_min)

    @property
    def alpha(self) -> Tensor:
        """Current shape, `parameter_shape`, differentiable."""
        return self._value("alpha", self._alpha_floor(self._kappa_is_one()), self.alpha_max)

    @property
    def beta(self) -> Tensor:
        """Current scale in the units of the residual, `parameter_shape`, differentiable."""
        return self._value("beta", self.beta_min)

    @property
    def kappa(self) -> Tensor:
        """Current tail weight, `parameter_shape`, differentiable."""
        return self._kappa_above(self.alpha)

    def _kappa_above(self, alpha: Tensor) -> Tensor:
        return self._value("kappa", _HAIR / alpha if self.normalized and "raw_kappa" in self._parameters else 0.0)

    def rho(self, residual: Tensor) -> Tensor:
        return self._elements(residual)[0]

    def log_normalizer(self) -> Tensor | None:
        return self._current()[1]

    def _elements(self, residual: Tensor) -> tuple[Tensor, Tensor | None]:
        self._check_shape(residual)
        parameters, log_z = self._current()
        return log_correntropy(residual, *parameters), log_z

    def _current(self) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor | None]:
        """alpha, beta and kappa, and log Z of them."""
        (alpha, beta, kappa), tail_index = self._density()
        if not self.normalized:
            return (alpha, beta, kappa), None
        kappa_is_one = self._kappa_is_one()
        return (alpha, beta, kappa), log_normalizer(alpha, beta, 1.0 if kappa_is_one else kappa, tail_index)

    def _density(self) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor | None]:
        """alpha, beta and kappa, and kappa alpha - 1 where it is known to more digits than the product has."""
        kappa_is_one, raw_alpha = self._kappa_is_one(), self._parameters.get("raw_alpha")
        if raw_alpha is None:
            above, alpha = None, _at_least_float32(self._buffers["fixed_alpha"])
        else:
            floor = self._alpha_floor(kappa_is_one)
            above = self._above(raw_alpha, floor, self.alpha_max)
            alpha = floor + above
        beta, kappa = self.beta, self._kappa_above(alpha)
        if not self.normalized:
            return (alpha, beta, kappa), None
        # kappa alpha - 1 from what lies above the floors: near them the product has no digits left for it.
        tail_index = None
        if "raw_kappa" in self._parameters:
            tail_index = alpha * self._above(self._parameters["raw_kappa"]) + (_HAIR - 1)
        elif above is not None and kappa_is_one:
            tail_index = above + (max(self.alpha_min, _HAIR) - 1)
        elif above is not None:
            wide = kappa if kappa.device.type == "mps" else kappa.double()
            tail_index = kappa * above + (wide * self.alpha_min - 1).clamp(min=_HAIR - 1).to(kappa.dtype)
        return (alpha, beta, kappa), tail_index

    def _rows(self) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor | None]:
        return self._current()

    def _setting(self) -> kernels.Setting | None:
        alpha_floor, fixed_kappa = self.alpha_min, self._buffers.get("fixed_kappa")
        if self.normalized and fixed_kappa is not None:
            kappa = fixed_kappa.item()
            alpha_floor = max(alpha_floor, _HAIR / kappa if kappa > 0 else math.inf)
        alpha, d_alpha = self._number("alpha", alpha_floor, self.alpha_max)
        beta, d_beta = self._number("beta", self.beta_min)
        gap = _HAIR / alpha if self.normalized else 0.0
        kappa, d_kappa = self._number("kappa", gap)
        follows = -gap / alpha * d_alpha if "raw_kappa" in self._parameters else 0.0  # kappa's floor moves with alpha
        chain = {"alpha": (d_alpha, 0.0, follows), "beta": (0.0, d_beta, 0.0), "kappa": (0.0, 0.0, d_kappa)}
        links = [chain[name[4:]] for name in self._parameters if name[4:] in chain]  # a subclass learns more
        return _in_numbers(alpha, beta, kappa, self.normalized, links)


def optimizer_groups(
    model: nn.Module, criterion: nn.Module, lr: float, loss_lr: float | None = None, weight_decay: float = 0.0
) -> list[dict]:
    """Parameter groups for an optimizer: the model's weights, and the loss's own parameters without weight decay.

    Weight decay on raw loss parameters would pull shape and scale towards arbitrary values, so it is kept off them.
    `loss_lr` defaults to `lr`: a scale that is learned no faster than the network anneals instead of collapsing.

    >>> groups = optimizer_groups(nn.Linear(3, 1), ALCLoss(), lr=1e-3, weight_decay=0.1)
    >>> [(len(group["params"]), group["lr"], group["weight_decay"]) for group in groups]
    [(2, 0.001, 0.1), (2, 0.001, 0.0)]
    """
    _positive("lr", lr)
    loss_lr = lr if loss_lr is None else _positive("loss_lr", loss_lr)
    if not 0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay must be at least 0 and finite; got {weight_decay!r}")
    own = list(criterion.parameters())
    known = {id(p) for p in own}
    groups = [
        {
            "params": [p for p in model.parameters() if id(p) not in known],
            "lr": lr,
            "weight_decay": weight_decay,
        }
    ]
    if own:
        groups.append({"params": own, "lr": loss_lr, "weight_decay": 0.0})
    return groups
