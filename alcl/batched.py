"""Several runs of one cell trained as one: seeds, and settings of one loss, stacked along a first dimension.

`torch.func` turns one network's loss into that of S networks with stacked weights, and Adam, which is elementwise,
trains them at once. Each run keeps its own noise, initialisation and batches, so that its record is the sequential
one up to rounding: sums run in another order, and training magnifies that. `TOLERANCE` is what tests allow.

It pays where a step is launches rather than arithmetic, as on a GPU (not measured here). On one CPU core, five runs at
once took 0.8 times the time of five in turn with MSE on the digits, and 1.0 to 1.4 times with ALCL, whose scalar
shortcut vmap cannot take; so sweeps train run by run. Time `train` against `experiments.train` before you use it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from . import experiments, noise
from .catalogue import make_loss
from .experiments import Run, Task, make_task, stream
from .losses import AdaptiveLoss
from .models import make_model
from .training import TRACKED, History

#: How far a batched run's metrics may be from the sequential run's (PSNR in dB; the others are fractions).
TOLERANCE = {"psnr": 0.05, "ssim": 0.005, "accuracy": 0.015}
#: Options that differ as numbers held in tensors; what else differs would make another program.
_NUMBERS = ("alpha", "beta", "kappa", "dof", "scale")


def train(configs: Sequence[Run]) -> list[tuple[nn.Module, nn.Module, History, Task]]:
    """Train all `configs` at once; the result of `experiments.train` for each, in order.

    Raises:
        ValueError: the runs differ in more than their seed and the numbers of one adaptive loss, or their noise
            drifts, or a rate decays.
    """
    _check(configs)
    first, count = configs[0], len(configs)
    tasks = [make_task(config) for config in configs]
    shape = tasks[0].train_inputs.shape[1:]
    models = [
        make_model(c.model, shape, c.hidden, c.code, seed=stream(c.seed, "initialisation")).train() for c in configs
    ]
    criteria = [make_loss(c.loss, **dict(c.options)).train() for c in configs]
    weights, _ = stack_module_state(models)
    settings, fixed = stack_module_state(criteria)

    def loss(weights: dict, settings: dict, fixed: dict, input: Tensor, target: Tensor) -> Tensor:
        output = functional_call(models[0], weights, (input,))
        return functional_call(criteria[0], (settings, fixed), (output, target))

    step = vmap(grad_and_value(loss, argnums=(0, 1)), in_dims=(0, 0, 0 if fixed else None, 0, 0))
    learned = [*weights.values(), *settings.values()]
    groups = [{"params": list(weights.values()), "lr": first.lr}]
    if settings:
        groups.append({"params": list(settings.values()), "lr": first.loss_lr})
    optimizer = torch.optim.Adam(groups, fused=True)
    inputs, targets = (torch.stack([getattr(t, name) for t in tasks]) for name in ("train_inputs", "train_targets"))
    generators = [torch.Generator().manual_seed(stream(c.seed, "batches")) for c in configs]
    rows, length = torch.arange(count)[:, None], inputs.shape[1]
    tracked = [name for name in TRACKED if isinstance(getattr(criteria[0], name, None), Tensor)]
    histories = [History(parameters={name: [] for name in tracked}) for _ in configs]

    def track() -> None:
        _unstack(criteria, settings)
        for criterion, history in zip(criteria, histories, strict=True):
            for name in tracked:
                history.parameters[name].append(getattr(criterion, name).detach().mean().item())

    track()
    start = time.perf_counter()
    for _ in range(first.epochs):
        order = torch.stack([torch.randperm(length, generator=g) for g in generators])
        total = torch.zeros(count)
        for index in order.split(first.batch_size, dim=1):
            gradients, losses = step(weights, settings, fixed, inputs[rows, index], targets[rows, index])
            for value, gradient in zip(learned, [g for part in gradients for g in part.values()], strict=True):
                value.grad = gradient
            optimizer.step()
            total += losses.detach() * index.shape[1]
        for history, value in zip(histories, total.tolist(), strict=True):
            history.loss.append(value / length)
        track()
    seconds = time.perf_counter() - start
    _unstack(models, weights)
    for model, history in zip(models, histories, strict=True):
        model.eval()
        history.steps, history.seconds = first.epochs * math.ceil(length / first.batch_size), seconds / count
    return list(zip(models, criteria, histories, tasks, strict=True))


def run(configs: Sequence[Run]) -> list[dict]:
    """The records of `configs`, trained at once; `seconds` are each run's share."""
    start, trained = time.perf_counter(), train(configs)
    share = (time.perf_counter() - start) / len(trained)
    return [
        experiments.record_of(config, model, history, task, share)
        for config, (model, _, history, task) in zip(configs, trained, strict=True)
    ]


@torch.no_grad()
def _unstack(modules: Sequence[nn.Module], stacked: dict[str, Tensor]) -> None:
    for k, module in enumerate(modules):
        for name, parameter in module.named_parameters():
            parameter.copy_(stacked[name][k])


def _check(configs: Sequence[Run]) -> None:
    if not configs:
        raise ValueError("configs must hold at least one run; got none")

    def common(config: Run) -> dict:
        adaptive = isinstance(make_loss(config.loss, **dict(config.options)), AdaptiveLoss)
        options = {k: v for k, v in config.options if not (adaptive and k in _NUMBERS)}
        return {**config.config(), "options": options, "seed": None}

    for config in configs[1:]:
        if common(config) != common(configs[0]):
            names = [name for name, value in common(config).items() if value != common(configs[0])[name]]
            raise ValueError(f"configs may differ in seed and in the numbers of an adaptive loss; {names} differ")
    if isinstance(noise.get_level(configs[0].level), noise.DriftingNoise):
        raise ValueError(f"level must not drift to be trained at once; got {configs[0].level!r}")
    if configs[0].schedule != "constant":
        raise ValueError(f"schedule must be 'constant' to train at once; got {configs[0].schedule!r}")
