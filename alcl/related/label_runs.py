"""Runs of notebook 08: a small classifier trained on wrong labels, judged on right ones.

A frozen `LabelRun` with a digest, `run(config) -> record`, and profiles, as in `alcl.experiments`; records go to one
store, <folder>/label_noise.jsonl. Test labels are clean and serve the final score alone: no setting, epoch or
checkpoint is chosen by them. Run from a shell, as often as it takes:

    python -m alcl.related.label_runs --profile core --records paper_figures/records --jobs 1
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..experiments import sweeps
from ..experiments.configs import Config, canonical_options, environment, one_of, stream_seed, whole
from ..experiments.datasets import DATASETS, Dataset, load_dataset, split_validation
from ..experiments.records import RecordStore
from .label_losses import CLASSIFICATION_LOSSES, make_classification_loss
from .label_neighbours import MixtureLoss
from .label_noise import KINDS, make_label_noise


class Classifier(nn.Module):
    """features: images -> (N, hidden); head: the last linear layer, (hidden, classes), whose rows are hyperplanes."""

    def __init__(self, features: nn.Module, head: nn.Linear):
        super().__init__()
        self.features, self.head = features, head

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        return self.head(self.features(images))


def small_cnn(
    image_shape: Sequence[int], classes: int, width: int = 16, hidden: int = 128, normalise: bool = True
) -> Classifier:
    """Two strided convolutions (`width`, 2 `width` channels), each with batch normalisation, and one hidden layer.

    normalise=False leaves batch normalisation out, so that no example's output depends on another's input.
    image_shape: (channels, height, width), height and width multiples of 4. Strides instead of pooling: a third of the
    time on a CPU.
    """
    if len(image_shape) != 3 or min(image_shape) < 1 or image_shape[1] % 4 or image_shape[2] % 4:
        raise ValueError(f"image_shape must be (C, H, W) with H and W multiples of 4; got {tuple(image_shape)}")
    for name, value in (("classes", classes), ("width", width), ("hidden", hidden)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}")
    channels, rows, columns = image_shape
    features = nn.Sequential(
        nn.Conv2d(channels, width, 5, stride=2, padding=2, bias=not normalise),
        nn.BatchNorm2d(width) if normalise else nn.Identity(),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=not normalise),
        nn.BatchNorm2d(2 * width) if normalise else nn.Identity(),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * width * rows * columns // 16, hidden),
        nn.ReLU(),
    )
    return Classifier(features, nn.Linear(hidden, classes))


def make_classifier(
    image_shape: Sequence[int], classes: int, width: int, hidden: int, seed: int, normalise: bool = True
) -> Classifier:
    """`small_cnn` with weights drawn from `seed`; the global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return small_cnn(image_shape, classes, width, hidden, normalise)


#: Raised whenever a change makes old records incomparable with new ones; part of every digest.
PROTOCOL = 1
STUDY = "label_noise"
NOISES = ("none", *KINDS)
DECAYS = ("none", "l1", "l2")

_EMBEDDED = {"width": 16, "hidden": 64, "epochs": 60, "batch_size": 32, "n_train": 1137, "n_validation": 300}
_EMBEDDED |= {"n_test": 360}
_GRAY = {"width": 16, "hidden": 128, "epochs": 25, "batch_size": 128, "n_train": 5_000, "n_validation": 2_000}
_GRAY |= {"n_test": 5_000}
_RGB = {**_GRAY, "epochs": 15, "n_train": 10_000}
#: Fixed per data set, for all losses and noises.
SETTINGS: dict[str, dict[str, Any]] = {
    "digits": _EMBEDDED,
    "digits_rgb": _EMBEDDED,
    "mnist": _GRAY,
    "fashion_mnist": _GRAY,
    "cifar10": _RGB,
}

#: Method -> (loss, its options). JAL's are the published ones for CIFAR-10.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "ce": ("ce", {}),
    "mae": ("mae", {}),
    "gce": ("gce", {"q": 0.7}),
    "nce": ("nce", {}),
    "nfl": ("nfl", {"gamma": 0.5}),
    "nce_rce": ("nce_rce", {"active": 1.0, "passive": 1.0}),
    "amse": ("amse", {"a": 30.0}),
    "jal_ce": ("jal", {"kind": "ce", "active": 1.0, "passive": 1.0, "a": 30.0}),
    "jal_fl": ("jal", {"kind": "fl", "active": 1.0, "passive": 1.0, "a": 30.0}),
    # the same losses, written as a weighted MSE + MAE
    "jal_ce_control": ("jal", {"kind": "ce", "active": 1.0, "passive": 1.0, "a": 30.0, "control": True}),
}
#: The losses JAL is compared with, and a model of the noise whose fraction is learned, from two starts; published
#: constants (see `label_neighbours`). "forward" is told the kind and rate of the noise, see `method_run`. JAL again
#: with other heights and another power: 80 % symmetric noise asks for a of at least 9 at q = 2 (Theorem C2), 4.8 at 3.
NEIGHBOURS: dict[str, tuple[str, dict[str, Any]]] = {
    "mixture": ("mixture", {"eps": 0.1}),
    "mixture_half": ("mixture", {"eps": 0.5}),
    "forward": ("forward", {}),
    "agce": ("agce", {"a": 0.6, "q": 0.6}),
    "aul": ("aul", {"a": 5.5, "q": 3.0}),
    "ael": ("ael", {"a": 2.5}),
    "nce_agce": ("nce_agce", {"active": 1.0, "passive": 4.0, "a": 6.0, "q": 1.5}),
    "aldr_kl": ("aldr_kl", {"margin": 0.1, "lambda_0": 1.0, "alpha": 2.0}),
    "sce": ("sce", {"alpha": 0.1, "beta": 1.0}),
    "squentropy": ("squentropy", {}),
    "comp_sum": ("comp_sum", {"tau": 0.0}),
    "jal_ce_a2": ("jal", {"kind": "ce", "active": 1.0, "passive": 1.0, "a": 2.0}),
    "jal_ce_a9": ("jal", {"kind": "ce", "active": 1.0, "passive": 1.0, "a": 9.0}),
    "jal_ce_q3": ("jal", {"kind": "ce", "active": 1.0, "passive": 1.0, "a": 6.0, "q": 3.0}),
}
#: The published weight decay of CIFAR-10: L1 for AMSE and ANL, L2 for all other losses.
DECAY_RATES = {"none": 0.0, "l1": 5e-5, "l2": 1e-4}


@dataclass(frozen=True)
class LabelRun(Config):
    """One training run. Fields left at None take the data set's entry in `SETTINGS`.

    dataset: a key of `SETTINGS`. noise: one of `NOISES`, with `rate` in [0, 1]. loss,
    options: see `label_losses.make_classification_loss`. decay: "none", "l1" (decay_rate times the sum of |w|
    added to the loss) or "l2" (decay_rate/2 times the sum of w^2), over all weights. seed: draws noise, initial weights
    and batches, the same for every loss. evaluate_on: "test", or "validation" (clean labels held out of training).

    Raises ValueError, naming the field and its legal values, when it is made.
    """

    study, protocol = STUDY, PROTOCOL
    dataset: str
    noise: str = "symmetric"
    rate: float = 0.0
    loss: str = "ce"
    options: tuple[tuple[str, Any], ...] = ()
    decay: str = "l2"
    decay_rate: float | None = None
    seed: int = 0
    evaluate_on: str = "test"
    width: int | None = None
    hidden: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float = 0.01
    momentum: float = 0.9
    clip: float = 5.0
    n_train: int | None = None
    n_validation: int | None = None
    n_test: int | None = None

    def __post_init__(self) -> None:
        one_of("dataset", self.dataset, SETTINGS)
        one_of("noise", self.noise, NOISES)
        one_of("loss", self.loss, CLASSIFICATION_LOSSES)
        one_of("decay", self.decay, DECAYS)
        one_of("evaluate_on", self.evaluate_on, ("test", "validation"))
        self._fill({**SETTINGS[self.dataset], "decay_rate": DECAY_RATES[self.decay]})
        for name in (*SETTINGS[self.dataset], "seed"):
            whole(name, getattr(self, name), at_least=int(name != "seed"))
        for name, low, high in (("rate", 0, 1), ("decay_rate", 0, 1), ("momentum", 0, 0.999)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must lie in [{low}, {high}]; got {getattr(self, name)!r}")
        for name in ("lr", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite; got {getattr(self, name)!r}")
        if (self.noise == "none") != (self.rate == 0):
            raise ValueError(
                f"rate must be 0 for noise 'none' and above 0 for any other; got {self.noise}, {self.rate}"
            )
        self._set("options", canonical_options(self.options))
        make_classification_loss(self.loss, **dict(self.options))  # an illegal option fails here


def method_run(method: str, dataset: str, noise: str, rate: float, seed: int = 0, **changes: Any) -> LabelRun:
    """The run of a method of `METHODS` or `NEIGHBOURS`; `changes` override fields of LabelRun (such as decay="l1").

    "forward" is told the noise of the run; where that depends on the image, it is told symmetric noise of that rate.
    """
    one_of("method", method, (*METHODS, *NEIGHBOURS))
    loss, options = (METHODS | NEIGHBOURS)[method]
    if method == "forward":
        told = noise if noise in ("symmetric", "asymmetric", "human") else "symmetric"
        options = {"noise": told, "rate": rate, "dataset": dataset}
    return LabelRun(dataset, noise, rate, **{"loss": loss, "options": options, "seed": seed, **changes})


def method_of(config: Mapping[str, Any]) -> str:
    """The method's name for a record's config, or "other"."""
    if config["loss"] == "forward":
        return "forward"
    for name, (loss, options) in (METHODS | NEIGHBOURS).items():
        if loss == config["loss"] and options == config["options"]:
            return name
    return "other"


# --- one run --------------------------------------------------------------------------------------------------------

_STREAMS = ("noise", "initialisation", "batches")


def stream(seed: int, name: str) -> int:
    """A 63-bit seed for one of the independent random streams of a run's seed."""
    return stream_seed(_STREAMS, name, seed, 8)


@functools.lru_cache(maxsize=2)
def _load(name: str) -> Dataset:
    return load_dataset(name)


@dataclass(frozen=True)
class LabelTask:
    """Images standardised by the training images' mean and deviation a channel; labels as given, and as they are."""

    x_train: Tensor
    y_given: Tensor
    y_true: Tensor
    x_eval: Tensor
    y_eval: Tensor
    classes: int


def make_task(config: LabelRun) -> LabelTask:
    """The tensors of a run. Which images are used depends on no seed; the seed draws the wrong labels."""
    data = _load(config.dataset)
    train, validation = split_validation(data, config.n_validation, torch.Generator().manual_seed(0))
    for name, there in (("n_train", len(train)), ("n_test", len(data.x_test))):
        if getattr(config, name) > there:
            raise ValueError(f"{name} must be at most {there} for {config.dataset!r}; got {getattr(config, name)}")
    train = train[: config.n_train]
    x, y = data.x_train[train], data.y_train[train]
    classes = DATASETS[config.dataset].classes
    given = y
    if config.noise != "none":
        noise = make_label_noise(config.noise, config.rate, config.dataset)
        given = noise(y, classes, torch.Generator().manual_seed(stream(config.seed, "noise")), images=x)
    test = config.evaluate_on == "test"
    x_eval = data.x_test[: config.n_test] if test else data.x_train[validation]
    y_eval = data.y_test[: config.n_test] if test else data.y_train[validation]
    mean, deviation = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    return LabelTask((x - mean) / deviation, given, y, (x_eval - mean) / deviation, y_eval, classes)


@torch.no_grad()
def predict(model: nn.Module, images: Tensor) -> Tensor:
    """Predicted classes (N,), in evaluation mode; the model's mode is restored."""
    mode = model.training
    model.eval()
    found = torch.cat([model(part).argmax(1) for part in images.split(1000)])
    model.train(mode)
    return found


def train(config: LabelRun, task: LabelTask | None = None) -> tuple[Classifier, dict[str, list[float]], LabelTask]:
    """Train one run's classifier by SGD with momentum, cosine decay to 0 and gradient clipping (the published recipe).

    Returns (model, history, task); history holds, after each epoch, the mean loss, the share of the wrongly labelled
    training images on which the network predicts the wrong label it was given ("memorised"), and the accuracy on the
    first 1000 evaluation images. The latter is for looking at: nothing is chosen by it. A loss with a parameter learns
    it by the same optimizer, without decay or clipping; of the mixture's fraction history holds each epoch's ("eps").
    """
    task = make_task(config) if task is None else task
    seed = stream(config.seed, "initialisation")
    model = make_classifier(task.x_train.shape[1:], task.classes, config.width, config.hidden, seed)
    criterion = make_classification_loss(config.loss, **dict(config.options))
    parameters = list(model.parameters())
    groups = [{"params": group} for group in (parameters, list(criterion.parameters())) if group]
    optimizer = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    steps = config.epochs * math.ceil(len(task.x_train) / config.batch_size)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(stream(config.seed, "batches"))
    wrong = task.y_given != task.y_true
    history: dict[str, list[float]] = {"loss": [], "memorised": [], "accuracy": []}
    for _ in range(config.epochs):
        model.train()
        total = 0.0
        for index in torch.randperm(len(task.x_train), generator=generator).split(config.batch_size):
            optimizer.zero_grad(set_to_none=True)
            loss = criterion(model(task.x_train[index]), task.y_given[index])
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, config.clip)
            _decay(parameters, config)
            optimizer.step()
            scheduler.step()
            total += loss.item() * len(index)
        history["loss"].append(total / len(task.x_train))
        if isinstance(criterion, MixtureLoss):
            history.setdefault("eps", []).append(criterion.eps)
        found = predict(model, task.x_eval[:1000])
        history["accuracy"].append(float((found == task.y_eval[:1000]).double().mean()))
        if wrong.any():
            kept = predict(model, task.x_train[wrong][:1000]) == task.y_given[wrong][:1000]
            history["memorised"].append(float(kept.double().mean()))
    return model.eval(), history, task


def _decay(parameters: Iterable[Tensor], config: LabelRun) -> None:
    """Add the gradient of the decay: after clipping, for L1 and L2 alike, so that the two differ in nothing else."""
    if config.decay == "none":
        return
    for p in parameters:
        p.grad.add_(p.detach().sign() if config.decay == "l1" else p.detach(), alpha=config.decay_rate)


def run(config: LabelRun) -> dict[str, Any]:
    """Train and evaluate one configuration; returns the record (see `records`). Metrics are those of the last
    epoch: accuracy on clean labels, and the share of wrong training labels that the network has memorised."""
    start = time.perf_counter()
    model, history, task = train(config)
    fitted = time.perf_counter()
    accuracy = float((predict(model, task.x_eval) == task.y_eval).double().mean())
    wrong = task.y_given != task.y_true
    memorised = (
        float((predict(model, task.x_train[wrong]) == task.y_given[wrong]).double().mean()) if wrong.any() else None
    )
    return {
        "digest": config.digest,
        "study": STUDY,
        "config": config.config(),
        "metrics": {"accuracy": accuracy, "memorised": memorised, "wrong_labels": float(wrong.double().mean())},
        "history": {name: [float(f"{v:.4g}") for v in values] for name, values in history.items()},
        "seconds": {"fit": round(fitted - start, 3), "total": round(time.perf_counter() - start, 3)},
        "environment": environment(),
        "data": _load(config.dataset).checksum,
    }


# --- profiles -------------------------------------------------------------------------------------------------------

SEEDS = (0, 1, 2, 3, 4)
#: (noise, rate) of the study.
CONDITIONS = (
    ("symmetric", 0.8),
    ("asymmetric", 0.4),
    ("symmetric", 0.4),
    ("symmetric", 0.2),
    ("instance", 0.4),
)


def core_runs(datasets: Iterable[str]) -> list[LabelRun]:
    """The headline: JAL-CE and CE under both weight decays, at symmetric 0.8 and asymmetric 0.4, five seeds."""
    return [
        method_run(method, dataset, noise, rate, seed, decay=decay)
        for seed in SEEDS
        for noise, rate in CONDITIONS[:2]
        for dataset in datasets
        for method in ("jal_ce", "ce")
        for decay in ("l1", "l2")
    ]


def wide_runs(datasets: Iterable[str]) -> list[LabelRun]:
    """Every method in every condition, all with the same (L2) weight decay, five seeds."""
    return [
        method_run(method, dataset, noise, rate, seed)
        for noise, rate in CONDITIONS
        for seed in SEEDS
        for dataset in datasets
        for method in METHODS
    ]


#: What each loss of `NEIGHBOURS` is run at on the embedded digits, (methods, conditions), the questions in this order:
#: does a learned fraction of noise help; JAL against the asymmetric losses before it; the heights of Theorem C2; the
#: other losses; and instance-dependent noise of an exact number of labels.
QUESTIONS: dict[str, tuple[tuple[str, ...], tuple[tuple[str, float], ...]]] = {
    "fraction": (
        ("mixture", "mixture_half", "forward", "ce", "gce", "jal_ce"),
        (("symmetric", 0.8), ("human", 0.4), ("asymmetric", 0.4)),
    ),
    "asymmetric": (("agce", "aul", "ael", "nce_agce"), (("symmetric", 0.8), ("asymmetric", 0.4))),
    "height": (("jal_ce_a2", "jal_ce_a9", "jal_ce_q3"), (("symmetric", 0.8),)),
    "others": (("aldr_kl", "sce", "squentropy", "comp_sum"), (("symmetric", 0.8), ("asymmetric", 0.4))),
    "exact": (("ce", "jal_ce"), (("instance_exact", 0.4),)),
}


def neighbour_runs() -> list[LabelRun]:
    """`QUESTIONS`, one after another, five seeds, all with the same (L2) weight decay."""
    return [
        method_run(method, "digits", noise, rate, seed)
        for methods, conditions in QUESTIONS.values()
        for seed in SEEDS
        for noise, rate in conditions
        for method in methods
    ]


def human_runs() -> list[LabelRun]:
    """CIFAR-10 with the wrong labels that people gave it in CIFAR-10N, as a matrix: what is asked there of the digits
    under "fraction", and APL. Five seeds, L2 weight decay."""
    methods = ("ce", "gce", "nce_rce", "jal_ce", "mixture", "forward")
    return [method_run(method, "cifar10", "human", 0.4, seed) for seed in SEEDS for method in methods]


#: What a profile runs, in this order. "core" first: it alone answers the question of the headline. "embedded" and
#: "neighbours" and "human" take minutes, "paper" hours.
PROFILES: dict[str, Callable[[], list[LabelRun]]] = {
    "core": lambda: core_runs(("mnist", "cifar10")),
    "embedded": lambda: wide_runs(("digits",)),
    "neighbours": neighbour_runs,
    "human": human_runs,
    "paper": lambda: [*core_runs(("mnist", "cifar10")), *wide_runs(("mnist", "cifar10", "fashion_mnist"))],
}


def store(folder: str | Path) -> RecordStore:
    """The record store of the study: <folder>/label_noise.jsonl."""
    return RecordStore(Path(folder) / f"{STUDY}.jsonl")


def sweep(runs: Iterable[LabelRun], to: RecordStore, jobs: int = 1, **how: Any) -> list[dict[str, Any]]:
    """Run what `to` does not hold, in the order given; see `alcl.experiments.sweeps.sweep`, also for `how`."""
    return sweeps.sweep(runs, to, run, jobs, **{"description": STUDY, "prepare": _load_all, **how})


def _load_all(runs: Iterable[LabelRun]) -> None:
    """A missing data set is one clear error, before any work."""
    for name in sorted({config.dataset for config in runs}):
        _load(name)


def main(arguments: Sequence[str] | None = None) -> int:
    about = "Run a profile of notebook 08."
    return sweeps.profile_command(arguments, "python -m alcl.experiments labels", about, PROFILES, "core", store, sweep)
