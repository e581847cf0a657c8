"""What all losses share: reductions, the refusal of inf and NaN, learned parameters."""

from __future__ import annotations

import gc
import math
import sys
import warnings
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from . import _kernels as kernels
from . import _rows as rows
from .distributions import log_normalizer_in_numbers
from .functional import _at_least_float32, _check_reduction, _finish, _pair, _plus_normalizer

NONFINITE = ("raise", "propagate")
# Backward passes in training mode, without a single optimizer step on the loss parameters, after which we warn.
PATIENCE = 200
# Once in so many backward passes we look whether a scale sits at its floor: within 5 % of it, three times running.
LOOK_EVERY, LOOKS, AT_FLOOR = 100, 3, 0.05


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

    >>> class Fourth(ResidualLoss):
    ...     def rho(self, residual):
    ...         return residual**4
    >>> Fourth()(torch.tensor([1.0, 2.0]), torch.zeros(2))
    tensor(8.5000)
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

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        input, target = _pair(input, target)
        value = None if self.reduction == "none" else self._in_one_pass(input, target)
        if value is not None and not torch.compiler.is_compiling():
            if self.nonfinite != "propagate" and not math.isfinite(value.item()):
                self._explain(input.detach() - target.detach(), input, target)
            return value
        residual = input - target
        value = self._value_of(residual, input, target) if value is None else value
        return value if self.nonfinite == "propagate" else self._checked(value, residual, input, target)

    def _value_of(self, residual: Tensor, input: Tensor, target: Tensor) -> Tensor:
        """The loss in tensor operations. `input`, `target`: for losses of more than their difference."""
        if self.reduction == "none":
            rho, log_z = self._elements(residual)
            return rho if log_z is None else rho + log_z
        return _finish(*self._terms(residual), residual, self.reduction)

    def _checked(self, value: Tensor, residual: Tensor, input: Tensor, target: Tensor) -> Tensor:
        """`value`, unless residuals, or the loss's own parameters, are inf or NaN."""
        if torch.compiler.is_compiling():
            torch._assert_async(residual.isfinite().all(), "residuals must be finite; some are inf or NaN")
            return value
        # Sums are finite only if all terms are; where finite terms overflow, the closer look finds nothing.
        witness = residual.detach().sum() if self.bounded or value.ndim else value
        if self.bounded and not value.ndim:
            witness = witness + value.detach()  # the loss's own parameters may be what is not finite
        try:
            if not (witness.is_meta or math.isfinite(witness.item())):
                self._explain(residual, input, target)
        except RuntimeError:  # no numbers: of a fake tensor; or under torch.func.vmap, which shows them to a Function
            if torch._C._are_functorch_transforms_active():
                _Look.apply(*(x.detach() for x in (witness, residual, input, target)))
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

    def _elements(self, residual: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.rho(residual), self.log_normalizer()

    def _terms(self, residual: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.rho(residual).sum(), self.log_normalizer()

    def _setting(self) -> kernels.Setting | None:
        """The loss with scalar parameters in plain numbers for `kernels.Whole`; None where there are none."""
        return None

    def _rows(self) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor | None] | None:
        """alpha, beta and kappa of a log-correntropy with other parameters than scalars, and log Z; None for others."""
        return None

    def _in_one_pass(self, input: Tensor, target: Tensor) -> Tensor | None:
        """Mean or sum in a single pass on the CPU; None where there is no such thing."""
        own, mean = (*self._parameters.values(), *self._buffers.values()), self.reduction == "mean"
        if not rows.fit(input, target, *own):
            return None
        if kernels.numbers_can_be_read() and all(x.ndim == 0 for x in own):
            setting = self._setting()
            if setting is None:
                return None
            setting = setting._replace(strict=self.nonfinite != "propagate")
            return kernels.Whole.apply(input, target, mean, setting, self._again, *self._parameters.values())
        found = self._rows()
        if found is None:
            return None
        parameters, log_z = found
        total = rows.reduced(kernels.LOG_CORRENTROPY, input, target, *parameters, mean)
        return _plus_normalizer(total, log_z, input.numel(), self.reduction)

    def _again(self, input: Tensor, target: Tensor, *raw: Tensor) -> Tensor:
        """The reduced loss in differentiable operations, at given raw parameters."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._parameters = dict(zip(self._parameters, raw, strict=True))
        return twin._value_of(input - target, input, target)


class AdaptiveLoss(ResidualLoss):
    """Base of the losses that learn parameters of their own: storage, warnings about training, the printed form.

    A learned parameter is floor + softplus(raw), or with a cap floor + (cap - floor) sigmoid(raw), of an unconstrained
    `raw_<name>` (an `nn.Parameter`); a fixed one is a buffer holding the value itself.
    Pass the module's parameters to an optimizer: see `optimizer_groups`.

    The floors, attributes `<name>_min`, belong to the state: a checkpoint brings its own, so that the values come back
    to the last bit whatever floors the loading criterion was made with. One without floors (of an earlier version)
    leaves them as they are. `reset_parameters()` brings back what the constructor made.

    In training mode it warns, once each: when its parameters are never updated and no optimizer holds them; when a
    learned scale sits at its floor; when several processes train (`torch.distributed`) and nothing averages the
    gradients of its parameters. (The last is seen at the first forward pass, if that is not compiled.)

    >>> from alcl import ALCLoss
    >>> criterion = ALCLoss(beta=0.5)
    >>> isinstance(criterion, AdaptiveLoss), [name for name, _ in criterion.named_parameters()]
    (True, ['raw_alpha', 'raw_beta'])
    >>> criterion.load_state_dict(ALCLoss(beta=2.0).state_dict())
    <All keys matched successfully>
    >>> round(criterion.beta.item(), 4)
    2.0
    """

    parameter_shape = torch.Size()
    _shown: Sequence[str] = ()  # what the printed form tells of

    def __new__(cls, *args: Any, **options: Any) -> AdaptiveLoss:
        self = super().__new__(cls)
        keep = [x.detach().clone() if isinstance(x, Tensor) else x for x in (*args, *options.values())]
        self._made_with = keep[: len(args)], dict(zip(options, keep[len(args) :], strict=True))
        return self

    def __init__(self, reduction: str = "mean", nonfinite: str = "raise"):
        super().__init__(reduction, nonfinite)
        self.__dict__.update(_NOTHING_SEEN)

    def _store(self, name: str, value: Tensor, floor: float | Tensor | None, cap: float | None = None) -> None:
        """Keep `value`: fixed where `floor` is None, else learned above it, and below `cap` where there is one."""
        if floor is None:
            self.register_buffer(f"fixed_{name}", _placed(value))
            return
        if isinstance(floor, float) and floor > 0:
            setattr(self, f"{name}_min", floor)
        above = value - floor
        raw = _inverse_softplus(above) if cap is None else torch.log(above) - torch.log((cap - floor) - above)
        self.register_parameter(f"raw_{name}", nn.Parameter(_placed(raw)))

    def _value(self, name: str, floor: float | Tensor, cap: float | None = None) -> Tensor:
        raw = self._parameters.get(f"raw_{name}")
        if raw is None:
            return _at_least_float32(self._buffers[f"fixed_{name}"])
        return floor + self._above(raw, floor, cap)

    @staticmethod
    def _above(raw: Tensor, floor: float | Tensor = 0.0, cap: float | None = None) -> Tensor:
        raw = _at_least_float32(raw)
        return kernels.softplus(raw) if cap is None else (cap - floor) * torch.sigmoid(raw)

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

    def _number(self, name: str, floor: float, cap: float | None = None) -> tuple[float, float]:
        """`_value` of a scalar as a number, and its derivative in the raw parameter (0 where it is fixed)."""
        raw = self._parameters.get(f"raw_{name}")
        if raw is None:
            return self._buffers[f"fixed_{name}"].item(), 0.0
        raw = raw.item()
        tail = math.exp(-abs(raw))
        inside = (1.0 if raw >= 0 else tail) / (1 + tail)
        if cap is not None:
            return floor + (cap - floor) * inside, (cap - floor) * tail / (1 + tail) ** 2
        return floor + max(raw, 0.0) + math.log1p(tail), inside

    # -- state ---------------------------------------------------------------------------------------------

    def _floors(self) -> dict[str, float]:
        bounds = sorted((name, value) for name, value in vars(self).items() if name.endswith(("_min", "_max")))
        return {name: value for name, value in bounds if value is not None}

    def get_extra_state(self) -> Tensor:
        """The floors (and caps) in alphabetical order, as bits of double precision: no device, no cast rounds those."""
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
        self.__dict__.update(_NOTHING_SEEN)

    # -- warnings ------------------------------------------------------------------------------------------

    # Passes are counted where a gradient arrives at a parameter: a compiled forward pass runs no code of ours.

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        super().register_parameter(name, param)
        self._count_gradients(param)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, **_NOTHING_SEEN})  # a copy, or another process, counts afresh
        self._count_gradients(*self._parameters.values())

    def _apply(self, fn, recurse=True):
        before = list(self._parameters.values())
        super()._apply(fn, recurse)
        self.__dict__.update(_NOTHING_SEEN)  # another type or device: nothing to compare with
        self._count_gradients(*(p for p, old in zip(self._parameters.values(), before, strict=True) if p is not old))
        return self

    def _count_gradients(self, *parameters: nn.Parameter | None) -> None:
        this = weakref.ref(self)

        def arrived(parameter: Tensor) -> None:
            criterion = this()
            if criterion is not None and criterion.training:
                criterion._watch(parameter)

        for parameter in parameters:
            if parameter is not None and parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(arrived)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        if not torch.compiler.is_compiling() and not self._begun and self.training and torch.is_grad_enabled():
            self._begun = True
            self._warn(self._not_shared(), level=5)  # the caller's line: above are nn.Module's two
        return super().forward(input, target)

    def _watch(self, parameter: Tensor) -> None:
        """Count a backward pass, and warn where what is learned cannot be what is meant."""
        for first in self._parameters.values():
            if first is not None and first.requires_grad:
                break
        if parameter is not first:  # once for all of them
            return
        passes = self.__dict__["_passes"] = self._passes + 1  # past nn.Module's slow way of setting
        if 1 < passes != PATIENCE + 1 and passes % LOOK_EVERY:
            return
        learnable, trouble = self._learnable(), None
        if passes == 1:
            # Values, not version counters: fused optimizers, and those that write to p.data, leave the counters alone.
            self._first = [p.detach().clone() for p in learnable]
        elif passes == PATIENCE + 1:
            first, self._first = self._first, []
            if len(first) == len(learnable) and all(map(torch.equal, learnable, first)) and not _optimized(learnable):
                trouble = (
                    f"{PATIENCE} backward passes in training mode and its learnable parameters ({self._names()}) were "
                    "never updated. Give them to the optimizer, for example "
                    "torch.optim.Adam(alcl.optimizer_groups(model, criterion, lr=1e-3)), or fix them with learn=()."
                )
        elif self._looks < LOOKS:
            trouble = self._at_floor()
        self._warn(trouble, level=7)  # the line that calls backward

    def _warn(self, trouble: str | None, level: int) -> None:
        if trouble:
            warnings.warn(f"{type(self).__name__}: {trouble}", UserWarning, stacklevel=level)

    def _learnable(self) -> list[nn.Parameter]:
        # torch.func.functional_call puts plain tensors in their place, and no optimizer is to be expected.
        own = self._parameters.values()
        return [p for p in own if isinstance(p, nn.Parameter) and p.requires_grad and not p.is_meta]

    def _names(self) -> str:
        return ", ".join(name.removeprefix("raw_") for name in self._parameters)

    def _not_shared(self) -> str | None:
        distributed, learnable = torch.distributed, self._learnable()
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

    def extra_repr(self) -> str:
        def show(value: Tensor) -> str:
            if value.is_meta:
                return "<meta>"
            return f"{value.item():.4g}" if value.numel() == 1 else f"<{'x'.join(map(str, value.shape))}>"

        learned = [name.removeprefix("raw_") for name, _ in self.named_parameters()]
        with torch.no_grad():
            values = ", ".join(f"{name}={show(getattr(self, name))}" for name in self._shown)
        return f"{values}, learn={tuple(learned)}, reduction={self.reduction!r}"


class _Likelihood(AdaptiveLoss):
    """A negative log-likelihood with positive parameters, each learned above its floor (`<name>_min`) or fixed."""

    scale_min: float

    def _set(
        self,
        values: Mapping[str, float | Tensor],
        floors: Mapping[str, float],
        learn: Sequence[str],
        parameter_shape: Sequence[int],
    ) -> None:
        self.parameter_shape = _check_parameter_shape(parameter_shape)
        for name, value in values.items():
            value, floor = _parameter(name, value, self.parameter_shape), _positive(f"{name}_min", floors[name])
            if name in learn and bool((value <= floor).any()):
                raise ValueError(f"{name} must exceed {name}_min={floor:g} when it is learned; got {_brief(value)}")
            setattr(self, f"{name}_min", floor)
            self._store(name, value, floor if name in learn else None)

    @property
    def scale(self) -> Tensor:
        """Current scale in the units of the residual, `parameter_shape`."""
        return self._value("scale", self.scale_min)


#: What lies behind an adaptive loss's warnings: whether it was called, backward passes, the parameters' values at the
#: first of them, times at the floor.
_NOTHING_SEEN = {"_begun": False, "_passes": 0, "_first": [], "_looks": 0}


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

    Hooks say so, beside our own. DistributedDataParallel hooks into the node of the graph that accumulates the gradient
    and keeps that node alive, which before the first forward pass nothing else does: a mark that was made on the node
    is then still there when the node is asked for again.
    """
    hooks = len(parameter._backward_hooks or ()) + len(parameter._post_accumulate_grad_hooks or ())
    if type(parameter) is not nn.Parameter or hooks > 1:
        return True
    torch.autograd.graph.get_gradient_edge(parameter).node.metadata["alcl"] = True
    return torch.autograd.graph.get_gradient_edge(parameter).node.metadata.pop("alcl", False)


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


def _parameter(name: str, value, shape: torch.Size, any_number: bool = False) -> Tensor:
    kind, dtype = "number" if any_number else "positive number", torch.get_default_dtype()
    try:  # numbers on the CPU, where they can be checked, whatever the default device is
        value = (
            value.detach().to(dtype) if isinstance(value, Tensor) else torch.as_tensor(value, dtype=dtype, device="cpu")
        )
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} must be a {kind} or a tensor of them; got {value!r}") from None
    if any_number and _any(value.isnan()):
        raise ValueError(f"{name} must be a number, or inf or -inf; got {_brief(value)}")
    if not any_number and _any(~(torch.isfinite(value) & (value > 0))):
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
