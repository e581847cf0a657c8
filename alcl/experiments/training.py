"""`fit`: the one training loop. It knows a model, a criterion and two tensors, and nothing of data sets or noise."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Integral

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..losses import optimizer_groups

#: Loss parameters whose course is recorded, where the criterion has them.
TRACKED = ("alpha", "beta", "kappa", "dof", "scale", "skew")
SCHEDULES = ("constant", "cosine")


@dataclass
class History:
    """What `fit` saw. One entry an epoch in every list; `parameters` holds the criterion's values after each epoch,
    preceded by their values before the first."""

    loss: list[float] = field(default_factory=list)
    parameters: dict[str, list[float]] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0


def fit(
    model: nn.Module,
    criterion: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    loss_lr: float | None = None,
    weight_decay: float = 0.0,
    schedule: str = "constant",
    generator: torch.Generator | None = None,
    progress: bool = False,
    on_epoch: Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
) -> History:
    """Train `model` to map `inputs` to `targets` under `criterion` with Adam; model and criterion learn together.

    Args:
        model: any module, `inputs[batch] -> targets[batch].shape`.
        criterion: any loss module; its own parameters, if any, learn at `loss_lr` (default `lr`), no weight decay. One
            with a schedule of its own has a method `advance(t)`, called before every step with t = step / steps.
        inputs, targets: tensors with the same first dimension N; never copied whole.
        epochs: passes over the data, >= 1.
        batch_size: examples a step, >= 1. The last batch of an epoch may be smaller; it counts by its size in the loss.
        lr, loss_lr: Adam's learning rates, > 0.
        schedule: "constant", or "cosine" decay of both rates to 0 over all steps.
        generator: draws the batches (the only randomness here).
        progress: show a bar with the time left. TQDM_DISABLE=1 silences it everywhere.
        on_epoch: called before epoch k as on_epoch(k, inputs, targets) and returns the tensors to use from then on; for
            noise that drifts during training.

    Returns:
        History with the mean loss of every epoch and the course of the loss parameters.

    Raises:
        ValueError: naming the argument and its legal values, before anything is trained.
    """
    _check(inputs, targets, epochs, batch_size, schedule)
    epochs, batch_size = int(epochs), int(batch_size)  # torch takes no numpy integers
    # fused: one pass over each tensor instead of eight, a quarter of a step of the small networks
    groups = optimizer_groups(model, criterion, lr, loss_lr, weight_decay)
    if len(groups) == 2 and groups[0]["lr"] == groups[1]["lr"] and weight_decay == 0:
        groups = [{**groups[0], "params": groups[0]["params"] + groups[1]["params"]}]  # each group costs a launch
    optimizer = torch.optim.Adam(groups, fused=True)
    count = len(inputs)
    total, step = epochs * math.ceil(count / batch_size), 0
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total) if schedule == "cosine" else None
    tracked = [name for name in TRACKED if isinstance(getattr(criterion, name, None), Tensor)]
    scheduled = hasattr(criterion, "advance")  # a loss that changes by the clock
    history = History(parameters={name: [] for name in tracked})

    def track() -> None:
        for name in tracked:
            history.parameters[name].append(getattr(criterion, name).detach().mean().item())

    model.train()
    criterion.train()
    track()
    start = time.perf_counter()
    for epoch in tqdm(range(epochs), desc="epochs", disable=None if progress else True, leave=False):
        if on_epoch is not None:
            inputs, targets = on_epoch(epoch, inputs, targets)
        # Drawn on the CPU whatever the device: the same batches everywhere.
        order = torch.randperm(count, generator=generator).to(inputs.device)
        epoch_loss = torch.zeros((), device=inputs.device)
        for index in order.split(batch_size):
            optimizer.zero_grad(set_to_none=True)
            if scheduled:
                criterion.advance(step / total)
                step += 1
            loss = criterion(model(inputs[index]), targets[index])
            loss.backward()
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
            epoch_loss += loss.detach() * len(index)
        history.loss.append(epoch_loss.item() / count)
        track()
    history.steps, history.seconds = total, time.perf_counter() - start
    return history


def _check(inputs: Tensor, targets: Tensor, epochs: int, batch_size: int, schedule: str) -> None:
    if len(inputs) != len(targets) or len(inputs) == 0:
        raise ValueError(
            f"inputs and targets must hold the same number of examples, at least one; got {len(inputs)}, {len(targets)}"
        )
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} must be an integer, at least 1; got {value!r}")
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}; got {schedule!r}")
