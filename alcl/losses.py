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

import copy
import functools
import gc
import math
import sys
import warnings
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import kernels
from .densities import log_normalizer, log_normalizer_in_numbers

REDUCTIONS = ("none", "mean", "sum")
NONFINITE = ("raise", "propagate")
# Forward passes in training mode, without a single optimizer step on the loss parameters, after which we warn.
PATIENCE = 200
# Once in so many forward passes we look whether a scale sits at its floor: within 5 % of it, three times running.
LOOK_EVERY, LOOKS, AT_FLOOR = 100, 3, 0.05
# kappa alpha stays a hair above 1: exactly there Z is infinite, and softplus can round to 0.
_HAIR = 1 + 1e-6


# --- elementwise functions of the residual --------------------------------------------------------------------------


def log_correntropy(residual: Tensor, alpha, beta, kappa=1.0) -> Tensor:
    """Log-correntropy rho(e) = kappa log(1 + |e/beta|^alpha), elementwise (mathematics: Theorem L2).

    Args:
        residual: residuals e, any shape, float32 or float64 (half precisions and integers are computed in float32).
        alpha: shape > 0 (scalar or tensor that broadcasts against `residual`); above 1 the gradient is continuous.
        beta: scale > 0, in the units of the residual.
        kappa: tail weight > 0; the paper's loss is kappa = 1.

    Returns:
        rho >= 0 with the broadcast shape, finite for every finite residual, to a relative error of at most
        2 eps (1 + alpha (|log|e|| + |log beta|)), measured (see `alcl.kernels`). Differentiable twice in all four
        arguments. Its derivative is bounded for alpha >= 1 and falls like kappa alpha / |e| (Theorems I1, I2).
    """
    return kernels.elementwise(kernels.LOG_CORRENTROPY, *_arguments(residual, alpha, beta, kappa))


def correntropy_loss(residual: Tensor, alpha, beta) -> Tensor:
    """Generalized correntropy loss 1 - exp(-|e/beta|^alpha), elementwise (Chen et al., IEEE TSP 64(13), 2016).

    Computed with expm1, so a residual of 1e-4 keeps all its digits in float32. Far outside the kernel the loss is
    exactly 1 and its gradient exactly 0. Arguments as for `log_correntropy`; differentiable twice in all of them.
    """
    return kernels.elementwise(kernels.CORRENTROPY, *_arguments(residual, alpha, beta, 1.0))


# --- functional forms with the signature of torch.nn.functional.mse_loss --------------------------------------------


def alcl_loss(
    input: Tensor, target: Tensor, alpha, beta, kappa=1.0, reduction: str = "mean", normalized: bool = True
) -> Tensor:
    """Adaptive log-correntropy loss: kappa log(1 + |e/beta|^alpha) + log Z(alpha, beta, kappa), reduced.

    Z = (2 beta / alpha) B(1/alpha, kappa - 1/alpha) needs kappa alpha > 1 (Theorem L3). With `normalized=False` log Z
    is left out: fine while alpha and beta are constants, degenerate when they are learned (beta grows without bound).
    The value may be negative; see the module's docstring.
    """
    _check_reduction(reduction)
    residual, alpha, beta, kappa = _enlarged(*_arguments(_residual(input, target), alpha, beta, kappa))
    log_z = log_normalizer(alpha, beta, kappa) if normalized else None
    if reduction == "none":
        rho = log_correntropy(residual, alpha, beta, kappa)
        return rho if log_z is None else rho + log_z
    return _finish(_summed(kernels.LOG_CORRENTROPY, residual, alpha, beta, kappa), log_z, residual, reduction)


def generalized_correntropy_loss(input: Tensor, target: Tensor, alpha=2.0, beta=1.0, reduction: str = "mean") -> Tensor:
    """Generalized correntropy loss of input - target, reduced; see `correntropy_loss`."""
    _check_reduction(reduction)
    residual, alpha, beta, one = _enlarged(*_arguments(_residual(input, target), alpha, beta, 1.0))
    if reduction == "none":
        return correntropy_loss(residual, alpha, beta)
    return _finish(_summed(kernels.CORRENTROPY, residual, alpha, beta, one), None, residual, reduction)


def cauchy_loss(input: Tensor, target: Tensor, scale=1.0, reduction: str = "mean") -> Tensor:
    """Cauchy (Lorentzian) loss log(1 + (e/scale)^2), reduced: log-correntropy at alpha = 2, kappa = 1, fixed scale."""
    _check_reduction(reduction)
    return alcl_loss(input, target, 2.0, scale, reduction=reduction, normalized=False)


# --- modules --------------------------------------------------------------------------------------------------------


class ResidualLoss(nn.Module):
    """A loss on residuals. Subclasses give `rho`, and `log_normalizer` where they are likelihoods; that is all.

    forward(input, target): two tensors of one shape, any shape; returns a scalar for reduction "mean" or "sum", the
    input's shape for "none". Half-precision and integer inputs are computed, and returned, in float32.

    nonfinite: "raise" (default) refuses residuals that are inf or NaN with a ValueError that says how many and where.
    It costs one look at the value, a few bytes; details are worked out only when there is something to report. On a
    CUDA device the look waits for the forward pass, as `loss.item()` does. Inside torch.compile the graph holds the
    assertion (a RuntimeError without the details). "propagate": the value and its gradients are what they are.

    bounded: whether an infinite residual can give a finite value, which then tells nothing of it. True unless a
    subclass says otherwise; the look is then at the residuals, not at the value, at the cost of summing them. A
    subclass whose rho(inf) is infinite and rho(nan) is NaN may set it to False.

    No elements at all: the mean is NaN and the sum 0, as in torch; the gradients of the loss's own parameters are 0.
    """

    nonfinite = "raise"
    bounded = True

    def __init__(self, reduction: str = "mean", nonfinite: str = "raise"):
        super().__init__()
        _check_reduction(reduction)
        if nonfinite not in NONFINITE:
            raise ValueError(f"nonfinite must be one of {', '.join(NONFINITE)}; got {nonfinite!r}")
        self.reduction, self.nonfinite = reduction, nonfinite

    def rho(self, residual: Tensor) -> Tensor:
        """Elementwise loss of the residual, without the normaliser."""
        raise NotImplementedError

    def log_normalizer(self) -> Tensor | None:
        """log Z of the density behind the loss, of the parameters' shape; None for a loss that is no likelihood."""
        return None

    def rho_sum(self, residual: Tensor) -> Tensor:
        """Sum of rho over all residuals; overridden where one pass gives the sum and its gradients."""
        return self.rho(residual).sum()

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        input, target = _pair(input, target)
        if self.reduction != "none" and self._has_numbers(input, target):
            setting = self._setting()
            if setting is not None:
                strict = self.nonfinite != "propagate"
                mean, setting = self.reduction == "mean", setting._replace(strict=strict)
                value = kernels.Whole.apply(input, target, mean, setting, self._again, *self._parameters.values())
                if strict and not math.isfinite(value.item()):
                    self._explain(input.detach() - target.detach(), input, target)
                return value
        residual = input - target
        if self.reduction == "none":
            rho, log_z = self.rho(residual), self.log_normalizer()
            value = rho if log_z is None else rho + log_z
        else:
            value = _finish(*self._terms(residual), residual, self.reduction)
        return value if self.nonfinite == "propagate" else self._checked(value, residual, input, target)

    def _checked(self, value: Tensor, residual: Tensor, input: Tensor, target: Tensor) -> Tensor:
        """`value`, unless residuals, or the loss's own parameters, are inf or NaN."""
        if torch.compiler.is_compiling():
            torch._assert_async(residual.isfinite().all(), "residuals must be finite; some are inf or NaN")
            return value
        # Sums are finite only if all terms are; where finite terms overflow, the closer look finds nothing.
        witness = value.detach().sum()
        if self.bounded or value.ndim:
            witness = witness + residual.detach().sum()
        try:
            if not (witness.is_meta or math.isfinite(witness.item())):
                self._explain(residual, input, target)
        except RuntimeError:  # no numbers: of a fake tensor; or under torch.func.vmap, which shows them to a Function
            if torch._C._are_functorch_transforms_active():
                _Look.apply(witness, *(x.detach() for x in (residual, input, target)))
        return value

    def _explain(self, residual: Tensor, input: Tensor, target: Tensor) -> None:
        """Raise for residuals, or parameters of the loss, that are not finite; nothing where terms only overflowed."""
        _refuse_nonfinite(residual, input, target)
        for name, parameter in self.named_parameters():
            if not parameter.isfinite().all():
                raise ValueError(
                    f"{type(self).__name__}: its parameter {name} is not finite: {_brief(parameter)}. The "
                    "residuals are; look at the learning rate, or at what else writes to the loss's parameters"
                )

    def _terms(self, residual: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.rho_sum(residual), self.log_normalizer()

    def _setting(self) -> kernels.Setting | None:
        """The loss in plain numbers for the shortcut `kernels.Whole`; None where there are none."""
        return None

    def _has_numbers(self, input: Tensor, target: Tensor) -> bool:
        """Whether parameters may be read as numbers: eagerly, outside torch.func, on the CPU, one of each, one type."""
        own = (*self._parameters.values(), *self._buffers.values())
        return (
            kernels.numbers_can_be_read()
            and input.numel() > 0
            and all(x.ndim == 0 for x in own)
            and all(
                x.dtype == input.dtype and x.device.type == "cpu" and type(x) in (Tensor, nn.Parameter)
                for x in (input, target, *own)
            )
        )

    def _again(self, input: Tensor, target: Tensor, *raw: Tensor) -> Tensor:
        """The reduced loss in differentiable operations, at given raw parameters."""
        twin = copy.copy(self)
        twin._parameters = dict(zip(self._parameters, raw, strict=True))
        residual = input - target
        return _finish(*twin._terms(residual), residual, self.reduction)


class MSELoss(ResidualLoss):
    """Squared error e^2, as `torch.nn.MSELoss`."""

    bounded = False

    def rho(self, residual: Tensor) -> Tensor:
        return residual.square()


class L1Loss(ResidualLoss):
    """Absolute error |e|, as `torch.nn.L1Loss`."""

    bounded = False

    def rho(self, residual: Tensor) -> Tensor:
        return residual.abs()


class HuberLoss(ResidualLoss):
    """Huber loss (1964), as `torch.nn.HuberLoss`: e^2 / 2 up to delta > 0, then delta (|e| - delta / 2)."""

    bounded = False

    def __init__(self, delta: float = 1.0, reduction: str = "mean", nonfinite: str = "raise"):
        super().__init__(reduction, nonfinite)
        self.delta = _positive("delta", delta)

    def rho(self, residual: Tensor) -> Tensor:
        return F.huber_loss(residual, torch.zeros_like(residual), reduction="none", delta=self.delta)

    def extra_repr(self) -> str:
        return f"delta={self.delta}"


class CauchyLoss(ResidualLoss):
    """Cauchy (Lorentzian) loss log(1 + (e/scale)^2) with a fixed scale > 0."""

    bounded = False

    def __init__(self, scale: float = 1.0, reduction: str = "mean", nonfinite: str = "raise"):
        super().__init__(reduction, nonfinite)
        self.scale = _positive("scale", scale)

    def rho(self, residual: Tensor) -> Tensor:
        return log_correntropy(residual, 2.0, self.scale)

    def rho_sum(self, residual: Tensor) -> Tensor:
        return _summed(kernels.LOG_CORRENTROPY, residual, 2.0, self.scale, 1.0)

    def _setting(self) -> kernels.Setting:
        return kernels.Setting(kernels.LOG_CORRENTROPY, 2.0, self.scale, 1.0)

    def extra_repr(self) -> str:
        return f"scale={self.scale}"


class GeneralizedCorrentropyLoss(ResidualLoss):
    """Generalized correntropy loss 1 - exp(-|e/beta|^alpha), alpha > 0, beta > 0, both fixed (see `correntropy_loss`).

    Static by necessity: learned by gradient, beta would grow without bound, because the loss tends to 0 as
    beta -> infinity whatever the residuals are (Theorem L1).
    """

    def __init__(self, alpha: float = 2.0, beta: float = 1.0, reduction: str = "mean", nonfinite: str = "raise"):
        super().__init__(reduction, nonfinite)
        self.alpha, self.beta = _positive("alpha", alpha), _positive("beta", beta)

    def rho(self, residual: Tensor) -> Tensor:
        return correntropy_loss(residual, self.alpha, self.beta)

    def rho_sum(self, residual: Tensor) -> Tensor:
        return _summed(kernels.CORRENTROPY, residual, self.alpha, self.beta, 1.0)

    def _setting(self) -> kernels.Setting:
        return kernels.Setting(kernels.CORRENTROPY, self.alpha, self.beta, 1.0)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, beta={self.beta}"


class AdaptiveLoss(ResidualLoss):
    """Base of the losses that learn parameters of their own: storage, warnings about training, the printed form.

    A learned parameter is floor + softplus(raw) with an unconstrained `raw_<name>` (an `nn.Parameter`); a fixed one is
    a buffer holding the value itself. Pass the module's parameters to an optimizer: see `optimizer_groups`.

    The floors, attributes `<name>_min`, belong to the state: a checkpoint brings its own, so that the values come back
    to the last bit whatever floors the loading criterion was made with. One without floors (of an earlier version)
    leaves them as they are. `reset_parameters()` brings back what the constructor made.

    In training mode it warns, once each: when its parameters are never updated and no optimizer holds them; when a
    learned scale sits at its floor; when several processes train (`torch.distributed`) and nothing averages the
    gradients of its parameters.
    """

    def __new__(cls, *args: Any, **options: Any) -> AdaptiveLoss:
        self = super().__new__(cls)
        keep = [x.detach().clone() if isinstance(x, Tensor) else x for x in (*args, *options.values())]
        self._made_with = keep[: len(args)], dict(zip(options, keep[len(args) :], strict=True))
        return self

    def __init__(self, reduction: str = "mean", nonfinite: str = "raise"):
        super().__init__(reduction, nonfinite)
        self._hooked = False  # whether gradients are counted
        self._start_watching()

    def _store(self, name: str, value: Tensor, floor: float | Tensor | None) -> None:
        """Keep `value`: fixed where `floor` is None, else learned above it."""
        if floor is None:
            self.register_buffer(f"fixed_{name}", _placed(value))
            return
        if isinstance(floor, float) and floor > 0:
            setattr(self, f"{name}_min", floor)
        self.register_parameter(f"raw_{name}", nn.Parameter(_placed(_inverse_softplus(value - floor))))

    def _value(self, name: str, floor: float | Tensor) -> Tensor:
        raw = self._parameters.get(f"raw_{name}")
        if raw is None:
            return _at_least_float32(self._buffers[f"fixed_{name}"])
        return floor + kernels.softplus(_at_least_float32(raw))

    def _number(self, name: str, floor: float) -> tuple[float, float]:
        """`_value` of a scalar as a number, and its derivative in the raw parameter (0 where it is fixed)."""
        raw = self._parameters.get(f"raw_{name}")
        if raw is None:
            return self._buffers[f"fixed_{name}"].item(), 0.0
        raw = raw.item()
        tail = math.exp(-abs(raw))
        return floor + max(raw, 0.0) + math.log1p(tail), (1.0 if raw >= 0 else tail) / (1 + tail)

    # -- state ---------------------------------------------------------------------------------------------

    def _floors(self) -> dict[str, float]:
        return {name: value for name, value in sorted(vars(self).items()) if name.endswith("_min")}

    def get_extra_state(self) -> Tensor:
        """The floors in alphabetical order, as the bits of double precision: no device and no cast rounds those."""
        return torch.tensor(list(self._floors().values()), dtype=torch.float64, device="cpu").view(torch.int64)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over the floors of a checkpoint. Raises ValueError if `state` holds no such floors."""
        if state.is_meta:
            return
        names = self._floors()
        values = state.cpu().view(torch.float64).tolist() if state.dtype == torch.int64 else []
        if len(values) != len(names) or not all(0 < value < math.inf for value in values):
            raise ValueError(
                f"{type(self).__name__}: the state must hold {', '.join(names) or 'no floors'} as the int64 bits of "
                f"positive numbers; got {state!r}"
            )
        for name, value in zip(names, values, strict=True):
            setattr(self, name, value)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing_keys, *rest) -> None:
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, *rest)
        if f"{prefix}_extra_state" in missing_keys:  # saved before the floors belonged to the state
            missing_keys.remove(f"{prefix}_extra_state")

    def reset_parameters(self) -> None:
        """Set parameters, buffers and floors to what they were when made: after `to_empty`, or to train afresh."""
        args, options = self._made_with
        with torch.device("cpu"):
            fresh = type(self)(*args, **options)
        self.load_state_dict(fresh.state_dict())
        self._start_watching()

    def _apply(self, fn, recurse=True):
        self._start_watching()  # another type or device: nothing to compare with
        return super()._apply(fn, recurse)

    def __getstate__(self):
        return {**self.__dict__, **_NOTHING_SEEN, "_hooked": False}  # a copy, or another process, counts afresh

    # -- warnings ------------------------------------------------------------------------------------------

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        if self.training and torch.is_grad_enabled():
            if torch.compiler.is_compiling():
                self._watch_gradients()
            else:
                self._watch(level=5)  # the caller's line: above are nn.Module's two
        return super().forward(input, target)

    def _start_watching(self) -> None:
        self.__dict__.update(_NOTHING_SEEN)

    @torch.compiler.assume_constant_result
    def _watch_gradients(self) -> bool:
        """What `_watch` needs where a compiled graph is all that runs: called once, while the graph is traced, it has
        gradients counted as they arrive."""
        learnable = self._learnable()
        if learnable and not self._hooked:
            this = weakref.ref(self)

            def arrived(_: Tensor) -> None:
                criterion = this()
                if criterion is not None and criterion.training:
                    criterion._watch(level=6)  # the line that calls backward

            learnable[0].register_post_accumulate_grad_hook(arrived)
            self._hooked = True
        return True

    def _learnable(self) -> list[nn.Parameter]:
        # torch.func.functional_call puts plain tensors in their place, and no optimizer is to be expected.
        return [p for p in self._parameters.values() if isinstance(p, nn.Parameter) and p.requires_grad]

    def _watch(self, level: int) -> None:
        """Count a step of training, and warn where what is learned cannot be what is meant."""
        learnable = self._learnable()
        if not learnable or learnable[0].is_meta:
            return
        self._passes += 1
        trouble = None
        if self._passes == 1:
            # Values, not version counters: fused optimizers, and those that write to p.data, leave the counters alone.
            self._first = [p.detach().clone() for p in learnable]
            trouble = self._not_shared(learnable)
        elif self._passes == PATIENCE + 1:
            first, self._first = self._first, []
            if len(first) == len(learnable) and all(map(torch.equal, learnable, first)) and not _optimized(learnable):
                trouble = (
                    f"{PATIENCE} forward passes in training mode and its learnable parameters ({self._names()}) were "
                    "never updated. Give them to the optimizer, for example "
                    "torch.optim.Adam(alcl.optimizer_groups(model, criterion, lr=1e-3)), or fix them with learn=()."
                )
        elif self._passes % LOOK_EVERY == 0 and self._looks < LOOKS:
            trouble = self._at_floor()
        if trouble:
            warnings.warn(f"{type(self).__name__}: {trouble}", UserWarning, stacklevel=level)

    def _names(self) -> str:
        return ", ".join(name.removeprefix("raw_") for name in self._parameters)

    def _not_shared(self, learnable: Sequence[nn.Parameter]) -> str | None:
        distributed = torch.distributed
        processes = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
        if processes == 1 or all(map(_gradient_is_awaited, learnable)) or _sharded(self):
            return None
        return (
            f"{processes} processes train, and nothing averages the gradients of its parameters ({self._names()}): "
            "each process would learn its own. Put model and criterion into one module, and that into "
            "DistributedDataParallel; see the documentation of ALCLoss. (Nothing is wrong where all processes see the "
            "same residuals, or where you average the gradients yourself.)"
        )

    def _at_floor(self) -> str | None:
        """What to say if a learned scale has been at its floor in each of the last looks."""
        for name in ("beta", "scale"):
            raw, floor = self._parameters.get(f"raw_{name}"), vars(self).get(f"{name}_min")
            if raw is None or floor is None:
                continue
            low = kernels.softplus(_at_least_float32(raw.detach())) <= AT_FLOOR * floor
            self._looks = self._looks + 1 if low.any() else 0
            if self._looks == LOOKS:
                where = f" in {int(low.sum())} of {low.numel()} places" if low.numel() > 1 else ""
                return (
                    f"{name} has sunk to its floor, {name}_min={floor:g}{where}, and the loss follows ever smaller "
                    "residuals. Usually too many residuals are exactly zero: leave padding out (loss(input[mask], "
                    "target[mask])), train on targets that are not clipped, or raise the floor to the smallest scale "
                    "that matters. If residuals really are that small, rescale the targets or lower the floor."
                )
        return None

    def _shown(self) -> Sequence[str]:
        return ()

    def extra_repr(self) -> str:
        def show(value: Tensor) -> str:
            if value.is_meta:
                return "<meta>"
            return f"{value.item():.4g}" if value.numel() == 1 else f"<{'x'.join(map(str, value.shape))}>"

        learned = [name.removeprefix("raw_") for name, _ in self.named_parameters()]
        with torch.no_grad():
            values = ", ".join(f"{name}={show(getattr(self, name))}" for name in self._shown())
        return f"{values}, learn={tuple(learned)}, reduction={self.reduction!r}"


#: What lies behind an adaptive loss's warnings: steps, the parameters' first values, times at the floor.
_NOTHING_SEEN = {"_passes": 0, "_first": [], "_looks": 0}


def _living(kind: type) -> list:
    """All objects of a class. Looks through everything there is, which takes long: for the moment before a warning."""
    return [x for x in gc.get_objects() if issubclass(type(x), kind)]


def _optimized(parameters: Sequence[Tensor]) -> bool:
    """Whether an optimizer holds any of them: then an update is to come, as where gradients are accumulated."""
    held = {id(p) for x in _living(torch.optim.Optimizer) for group in x.param_groups for p in group["params"]}
    return any(id(p) in held for p in parameters)


def _sharded(criterion: nn.Module) -> bool:
    """Whether `fully_shard` takes care of it."""
    sharded = getattr(sys.modules.get("torch.distributed.fsdp"), "FSDPModule", None)
    return sharded is not None and any(criterion in module.modules() for module in _living(sharded))


def _gradient_is_awaited(parameter: nn.Parameter) -> bool:
    """Whether somebody waits for its gradient, as everything does that averages gradients between processes.

    Hooks say so. DistributedDataParallel hooks into the node of the graph that accumulates the gradient, and keeps that
    node alive, which before the first forward pass nothing else does: so a mark made on the node is still there when
    the node is asked for again.
    """
    if type(parameter) is not nn.Parameter or parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
        return True
    torch.autograd.graph.get_gradient_edge(parameter).node.metadata["alcl"] = True
    return torch.autograd.graph.get_gradient_edge(parameter).node.metadata.pop("alcl", False)


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
        beta: initial scale, in the units of the residual; above beta_min where learned. Start wide: learning then
            anneals from near-MSE to robust.
        kappa: initial tail weight, > 0.
        learn: which of "alpha", "beta", "kappa" are learned; the others stay as given.
        parameter_shape: shape of each parameter; must broadcast against the input without enlarging it, for example
            (3, 1, 1) for per-channel parameters of (N, 3, H, W) images.
        alpha_min: floor of a learned alpha (raised to 1/kappa where kappa is fixed and larger is needed). At 1 the
            influence stays bounded.
        beta_min: floor of a learned beta: gradients are bounded by kappa alpha / beta_min, and it stops the collapse
            that too many exactly zero residuals cause (Theorem A4). Both floors belong to the state (`AdaptiveLoss`).
        reduction: "mean", "sum" or "none".
        normalized: False leaves log Z out. Then a learned beta grows without bound; for fixed alpha and beta the
            gradients are the same.
        nonfinite: "raise" or "propagate": what is done about residuals that are inf or NaN; see `ResidualLoss`.

    Raises:
        ValueError: naming the argument and its legal values; from `forward`, residuals that are inf or NaN.
    """

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
        self.alpha_min, self.beta_min = alpha_min, beta_min
        self.parameter_shape, self.normalized = shape, bool(normalized)
        self._store("alpha", alpha, floor if "alpha" in learn else None)
        self._store("beta", beta, self.beta_min if "beta" in learn else None)
        # kappa = 1/alpha + q, q > 0, so that every reachable value is a density (no 1/alpha without normaliser).
        self._store(
            "kappa",
            kappa - _HAIR / alpha if normalized and "kappa" in learn else kappa,
            0.0 if "kappa" in learn else None,
        )

    def _alpha_floor(self) -> float | Tensor:
        """alpha_min, raised to 1/kappa where kappa is fixed; from the kappa at hand, which may have been loaded."""
        if not self.normalized or "fixed_kappa" not in self._buffers:
            return self.alpha_min
        return (_HAIR / _at_least_float32(self._buffers["fixed_kappa"])).clamp(min=self.alpha_min)

    @property
    def alpha(self) -> Tensor:
        """Current shape, `parameter_shape`, differentiable."""
        return self._value("alpha", self._alpha_floor())

    @property
    def beta(self) -> Tensor:
        """Current scale in the units of the residual, `parameter_shape`, differentiable."""
        return self._value("beta", self.beta_min)

    @property
    def kappa(self) -> Tensor:
        """Current tail weight, `parameter_shape`, differentiable."""
        follows = self.normalized and "raw_kappa" in self._parameters
        return self._value("kappa", _HAIR / self.alpha if follows else 0.0)

    def rho(self, residual: Tensor) -> Tensor:
        self._check_shape(residual)
        return log_correntropy(residual, self.alpha, self.beta, self.kappa)

    def rho_sum(self, residual: Tensor) -> Tensor:
        self._check_shape(residual)
        return _summed(kernels.LOG_CORRENTROPY, residual, self.alpha, self.beta, self.kappa)

    def _check_shape(self, residual: Tensor) -> None:
        own, given = tuple(self.parameter_shape), tuple(residual.shape)
        fits = len(own) <= len(given)
        for i in range(-min(len(own), len(given)), 0):  # a plain loop, which every torch.compile takes
            fits = fits and own[i] in (1, given[i])
        if not fits:
            raise ValueError(
                f"parameter_shape={own} must broadcast against the input without enlarging it; "
                f"got an input of shape {given}"
            )

    def log_normalizer(self) -> Tensor | None:
        return self._log_z(self.alpha, self.beta, self.kappa)

    def _log_z(self, alpha: Tensor, beta: Tensor, kappa: Tensor) -> Tensor | None:
        if not self.normalized:
            return None
        return log_normalizer(alpha, beta, kappa, self._tail_index(alpha, kappa))

    def _tail_index(self, alpha: Tensor, kappa: Tensor) -> Tensor | None:
        """kappa alpha - 1 from what lies above the floors: near them the product has no digits left for it. None where
        nothing is learned that it depends on."""
        raw_alpha, raw_kappa = (self._parameters.get(name) for name in ("raw_alpha", "raw_kappa"))
        if raw_kappa is not None:
            return alpha * kernels.softplus(_at_least_float32(raw_kappa)) + (_HAIR - 1)
        if raw_alpha is None:
            return None
        wide = kappa if kappa.device.type == "mps" else kappa.double()
        at_floor = (wide * self.alpha_min - 1).clamp(min=_HAIR - 1).to(kappa.dtype)
        return kappa * kernels.softplus(_at_least_float32(raw_alpha)) + at_floor

    def _terms(self, residual: Tensor) -> tuple[Tensor, Tensor | None]:
        self._check_shape(residual)
        alpha, beta, kappa = self.alpha, self.beta, self.kappa
        rho_sum = _summed(kernels.LOG_CORRENTROPY, residual, alpha, beta, kappa)
        return rho_sum, self._log_z(alpha, beta, kappa)

    def _setting(self) -> kernels.Setting | None:
        alpha_floor, fixed_kappa = self.alpha_min, self._buffers.get("fixed_kappa")
        if self.normalized and fixed_kappa is not None:
            kappa = fixed_kappa.item()
            alpha_floor = max(alpha_floor, _HAIR / kappa if kappa > 0 else math.inf)
        alpha, d_alpha = self._number("alpha", alpha_floor)
        beta, d_beta = self._number("beta", self.beta_min)
        gap = _HAIR / alpha if self.normalized else 0.0
        kappa, d_kappa = self._number("kappa", gap)
        follows = -gap / alpha * d_alpha if "raw_kappa" in self._parameters else 0.0  # kappa's floor moves with alpha
        chain = {"alpha": (d_alpha, 0.0, follows), "beta": (0.0, d_beta, 0.0), "kappa": (0.0, 0.0, d_kappa)}
        return _in_numbers(alpha, beta, kappa, self.normalized, [chain[name[4:]] for name in self._parameters])

    def _shown(self) -> Sequence[str]:
        return ("alpha", "beta", "kappa")


def optimizer_groups(
    model: nn.Module, criterion: nn.Module, lr: float, loss_lr: float | None = None, weight_decay: float = 0.0
) -> list[dict]:
    """Parameter groups for an optimizer: the model's weights, and the loss's own parameters without weight decay.

    Weight decay on raw loss parameters would pull shape and scale towards arbitrary values, so it is kept off them.
    `loss_lr` defaults to `lr`: a scale that is learned no faster than the network anneals instead of collapsing.
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


# --- helpers --------------------------------------------------------------------------------------------------------


def _at_least_float32(x: Tensor) -> Tensor:
    if x.dtype in (torch.float32, torch.float64):
        return x
    if x.is_complex():
        raise TypeError("residuals must be real; take the modulus, or the two parts, of a complex one")
    return x.float()  # half precisions, and integers: a parameter must not be cut to an integer


def _like(parameter, residual: Tensor) -> Tensor:
    if isinstance(parameter, Tensor):
        return parameter
    return torch.as_tensor(parameter, dtype=residual.dtype, device=residual.device)


def _residual(input: Tensor, target: Tensor) -> Tensor:
    input, target = _pair(input, target)
    return input - target


def _pair(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if input.shape != target.shape:
        raise ValueError(f"input and target must have one shape; got {tuple(input.shape)} and {tuple(target.shape)}")
    # Half precisions are widened before the subtraction: a float16 difference can overflow.
    return _at_least_float32(input), _at_least_float32(target)


def _arguments(residual: Tensor, alpha, beta, kappa) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Residual and parameters as tensors of one floating type, at least float32."""
    residual = _at_least_float32(residual)
    parameters = [_like(p, residual) for p in (alpha, beta, kappa)]
    dtype = functools.reduce(torch.promote_types, (p.dtype for p in parameters), residual.dtype)
    return residual.to(dtype), *(p.to(dtype) for p in parameters)


class _Look(torch.autograd.Function):
    """A look at numbers that are hidden by torch.func.vmap: its rule sees them."""

    @staticmethod
    def forward(witness: Tensor, residual: Tensor, input: Tensor, target: Tensor) -> Tensor:
        if not witness.isfinite().all():
            _refuse_nonfinite(residual, input, target)
        return witness.new_zeros(())

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        pass

    @staticmethod
    def vmap(info, in_dims, *arguments):
        return _Look.apply(*arguments), None


def _refuse_nonfinite(residual: Tensor, input: Tensor, target: Tensor) -> None:
    """Raise ValueError if any residual is inf or NaN, saying how many, where, and which side they came from."""
    bad = ~residual.detach().isfinite()
    count = int(bad.sum())
    if count == 0:
        return
    places = ", ".join(str([i.item() for i in place]) for place in bad.nonzero()[:3])
    sides = {name: int((~x.detach().isfinite()).sum()) for name, x in (("input", input), ("target", target))}
    origin = ", ".join(f"{name} has {number} of its own" for name, number in sides.items() if number)
    origin = origin or "input and target are finite, their difference overflows"
    kinds = f"{int(residual.isnan().sum())} NaN, {int(residual.isinf().sum())} inf"
    raise ValueError(
        f"residuals must be finite; got {count} of {residual.numel()} that are not ({kinds}), "
        f"at {places}{' ...' if count > 3 else ''}; {origin}. "
        'Repair the data or the network; nonfinite="propagate" switches this check off'
    )


def _enlarged(residual: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
    """The residual seen as one element for every value of the parameters too, so that a mean counts them all."""
    shape = torch.broadcast_shapes(residual.shape, *(p.shape for p in parameters))
    return residual.expand(shape), *parameters


def _in_numbers(alpha: float, beta: float, kappa: float, normalized: bool, chain) -> kernels.Setting | None:
    """A log-correntropy setting; None where a parameter has left the density's range, which tensors report better."""
    if not (0 < alpha < math.inf and 0 < beta < math.inf and 0 < kappa < math.inf):
        return None
    if not normalized:
        return kernels.Setting(kernels.LOG_CORRENTROPY, alpha, beta, kappa, chain=chain)
    if kappa * alpha <= 1:
        return None
    log_z, slopes = log_normalizer_in_numbers(alpha, beta, kappa)
    return kernels.Setting(kernels.LOG_CORRENTROPY, alpha, beta, kappa, log_z, slopes, chain)


def _summed(kind: str, residual: Tensor, alpha, beta, kappa) -> Tensor:
    return kernels.summed(kind, *_arguments(residual, alpha, beta, kappa))


def _finish(rho_sum: Tensor, log_z: Tensor | None, residual: Tensor, reduction: str) -> Tensor:
    """Mean or sum from the sum of rho. log Z broadcasts evenly over the elements: its mean over the parameters is its
    mean over the elements."""
    count = residual.numel()
    if reduction == "mean" and count == 0:  # NaN, with the gradients of a sum over nothing
        return _finish(rho_sum, log_z, residual, "sum") + math.nan
    total = rho_sum / count if reduction == "mean" else rho_sum
    if log_z is None:
        return total
    return total + (log_z.mean() if reduction == "mean" else count * log_z.mean())


def _check_reduction(reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}; got {reduction!r}")


def _check_learn(learn: Iterable[str], legal: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(learn, Iterable):
        raise ValueError(f"learn may name {', '.join(legal)}; got {learn!r}")
    learn = (learn,) if isinstance(learn, str) else tuple(learn)
    unknown = [name for name in learn if name not in legal]
    if unknown:
        raise ValueError(f"learn may name {', '.join(legal)}; got {', '.join(map(repr, unknown))}")
    return learn


def _check_parameter_shape(shape: Sequence[int]) -> torch.Size:
    if not isinstance(shape, Sequence) or not all(isinstance(n, int) and n > 0 for n in shape):
        raise ValueError(f"parameter_shape must be a sequence of positive integers, such as (3, 1, 1); got {shape!r}")
    return torch.Size(shape)


def _positive(name: str, value: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be positive and finite; got {value!r}")
    return number


def _parameter(name: str, value, shape: torch.Size) -> Tensor:
    dtype = torch.get_default_dtype()
    try:  # numbers on the CPU, where they can be checked, whatever the default device is
        value = (
            value.detach().to(dtype) if isinstance(value, Tensor) else torch.as_tensor(value, dtype=dtype, device="cpu")
        )
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} must be a positive number or a tensor of them; got {value!r}") from None
    if _any(~(torch.isfinite(value) & (value > 0))):
        raise ValueError(f"{name} must be positive and finite; got {_brief(value)}")
    try:
        return value.broadcast_to(shape).clone()
    except RuntimeError:
        legal = f"does not fit parameter_shape={tuple(shape)}" if shape else "must be a single number"
        raise ValueError(f"{name} {legal}; got shape {tuple(value.shape)}") from None


def _placed(value: Tensor) -> Tensor:
    """On the default device where one is set, such as torch.device("meta"); else where it is."""
    device = torch.get_default_device()
    return value if device.type == "cpu" else value.to(device)


def _any(condition: Tensor) -> bool:
    """Whether it holds anywhere, as far as can be seen: a tensor on the meta device has no numbers."""
    return not condition.is_meta and bool(condition.any())


def _brief(value: Tensor) -> str:
    return f"{value.item():g}" if value.numel() == 1 else f"[{value.min().item():g} .. {value.max().item():g}]"


def _inverse_softplus(value: Tensor) -> Tensor:
    return value + torch.log(-torch.expm1(-value))
