"""Runs of notebook 09: classifiers trained against noisy inputs, and regressions on targets with heavy tails.

`InputRun` and `Regression` are frozen configurations with a digest, `run(config) -> record` does either, and both go
to one store, <folder>/input_noise.jsonl, as in `alcl.experiments`. The last epoch counts and test images serve the
final scores alone. Run from a shell, as often as it takes (minutes, half an hour):

    python -m alcl.related.input_runs --profile embedded --records paper_figures/records
    ALCL_DATA=/path/to/mirrors python -m alcl.related.input_runs --profile paper --records paper_figures/records
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base import ResidualLoss
from ..catalogue import make_loss
from ..experiments import sweeps
from ..experiments.configs import Config, environment, one_of, stream_seed, whole
from ..experiments.datasets import DATASETS, Dataset, load_dataset, split_validation
from ..experiments.levels import LEVELS
from ..experiments.records import RecordStore
from ..experiments.training import fit
from .feature_losses import (
    PERTURBATIONS,
    TRAININGS,
    finite_difference_curvature,
    fit_classifier,
    hutchinson_trace,
    input_hessians,
    perturb,
)
from .label_runs import Classifier, make_classifier

#: Raised whenever a change makes old records incomparable with new ones; part of every digest.
PROTOCOL = 1
STUDY = "input_noise"
AUXILIARIES = ("none", "mse", "alcl")

#: Fixed per data set, for all trainings.
SETTINGS: dict[str, dict[str, int]] = {
    "digits": {"width": 16, "hidden": 64, "epochs": 30, "n_train": 1137, "n_validation": 300, "n_test": 360},
    "mnist": {"width": 16, "hidden": 128, "epochs": 15, "n_train": 5_000, "n_validation": 2_000, "n_test": 2_000},
}
#: Exact Hessians up to this many pixels; Hutchinson's estimate everywhere.
EXACT_UP_TO = 64
#: Images whose curvature is measured, draws of random signs or directions an image, noisy views an image.
CURVED, DRAWS, VIEWS = 360, 20, 20


@dataclass(frozen=True)
class InputRun(Config):
    """One classifier. Fields left at None take the data set's entry in `SETTINGS`.

    training: one of `feature_losses.TRAININGS`, with injected noise of standard deviation `sigma`. level: a key of
    `alcl.experiments.levels.LEVELS`, whose noise contaminates the training images themselves, or "none". auxiliary: the
    loss of a linear decoder that has to reproduce the training images from the features, "none", "mse" or "alcl". seed:
    draws weights, batches and all noise, the same for every training.

    Raises ValueError, naming the field and its legal values, when it is made.
    """

    study, protocol = STUDY, PROTOCOL
    kind = "classifier"
    dataset: str
    training: str
    level: str = "none"
    auxiliary: str = "none"
    seed: int = 0
    sigma: float = 0.2
    width: int | None = None
    hidden: int | None = None
    epochs: int | None = None
    batch_size: int = 64
    lr: float = 1e-3
    n_train: int | None = None
    n_validation: int | None = None
    n_test: int | None = None

    def __post_init__(self) -> None:
        one_of("dataset", self.dataset, SETTINGS)
        one_of("training", self.training, TRAININGS)
        one_of("level", self.level, LEVELS)
        one_of("auxiliary", self.auxiliary, AUXILIARIES)
        self._fill(SETTINGS[self.dataset])
        for name in (*SETTINGS[self.dataset], "batch_size"):
            whole(name, getattr(self, name), 1)
        whole("seed", self.seed, 0)
        for name in ("sigma", "lr"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be positive and finite; got {getattr(self, name)!r}")


@dataclass(frozen=True)
class Regression(Config):
    """A linear model of the diabetes table, fitted under every loss of `RIVALS` to one random split.

    noise: scale of the Cauchy noise added to the standardised training targets, >= 0. split: the seed of the split.
    """

    study, protocol = STUDY, PROTOCOL
    kind = "regression"
    noise: float
    split: int = 0
    epochs: int = 150
    lr: float = 0.03
    n_train: int = 342

    def __post_init__(self) -> None:
        if not 0 <= self.noise < float("inf"):
            raise ValueError(f"noise must be at least 0 and finite; got {self.noise!r}")
        for name, least in (("split", 0), ("epochs", 1), ("n_train", 2)):
            whole(name, getattr(self, name), least)
        if not 0 < self.lr < float("inf"):
            raise ValueError(f"lr must be positive and finite; got {self.lr!r}")


def config_of(record: Mapping[str, Any]) -> InputRun | Regression:
    """The configuration of a record; raises ValueError for one of neither kind."""
    kinds = {cls.kind: cls for cls in (InputRun, Regression)}
    kind = record["config"].get("kind")
    one_of("kind", kind, kinds)
    return kinds[kind].from_config(record["config"])


# --- classifiers ----------------------------------------------------------------------------------------------------

_STREAMS = ("weights", "training", "contamination", "perturbation", "curvature", "test")


def stream(seed: int, name: str) -> int:
    """A 63-bit seed for one of the independent random streams of a run's seed."""
    return stream_seed(_STREAMS, name, seed, 9)


def _generator(config: InputRun, name: str) -> torch.Generator:
    return torch.Generator().manual_seed(stream(config.seed, name))


@functools.lru_cache(maxsize=1)
def _load(name: str) -> Dataset:
    return load_dataset(name)


class Reconstruction(nn.Module):
    """A linear decoder of the features and a loss of its own, which `fit_classifier` adds to the classifier's."""

    def __init__(self, criterion: ResidualLoss, features: int, targets: Tensor):
        super().__init__()
        self.targets = targets.flatten(1)
        self.decoder, self.criterion = nn.Linear(features, self.targets.shape[1]), criterion

    def forward(self, features: Tensor, index: Tensor) -> Tensor:
        return self.criterion(self.decoder(features), self.targets[index])


def train(config: InputRun, normalise: bool = False, **changes: Any) -> Classifier:
    """The trained classifier, without batch normalisation: no example's output depends on another's input.

    normalise, and `changes` to the arguments of `fit_classifier`, are for studies of the recipe
    (`alcl.related.input_studies`), whose records they stand in: a run of this module's never has any.
    """
    data = _load(config.dataset)
    rows, _ = split_validation(data, config.n_validation, torch.Generator().manual_seed(0))
    for name, there in (("n_train", len(rows)), ("n_test", len(data.x_test))):
        if getattr(config, name) > there:
            raise ValueError(f"{name} must be at most {there} for {config.dataset!r}; got {getattr(config, name)}")
    rows = rows[: config.n_train]
    images, labels = data.x_train[rows], data.y_train[rows]
    noisy = LEVELS[config.level](images, _generator(config, "contamination"))
    seed = stream(config.seed, "weights")
    classes = DATASETS[config.dataset].classes
    model = make_classifier(images.shape[1:], classes, config.width, config.hidden, seed=seed, normalise=normalise)
    auxiliary = None
    if config.auxiliary != "none":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            # what is to be reproduced is not clipped: the loss alone decides what is signal
            auxiliary = Reconstruction(make_loss(config.auxiliary), config.hidden, noisy)
    how = {"sigma": config.sigma, "epochs": config.epochs, "batch_size": config.batch_size, "lr": config.lr, **changes}
    generator = _generator(config, "training")
    fit_classifier(model, noisy.clamp(0, 1), labels, config.training, auxiliary=auxiliary, generator=generator, **how)
    return model


def test_images(config: InputRun) -> tuple[Tensor, Tensor]:
    """The clean test images of a run, and their labels."""
    data = _load(config.dataset)
    return data.x_test[: config.n_test], data.y_test[: config.n_test]


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images that `model` classifies correctly."""
    found = torch.cat([model(part).argmax(1) for part in images.split(1000)])
    return (found == labels).double().mean().item()


def evaluate(model: Classifier, config: InputRun) -> dict[str, Any]:
    """Accuracy on clean test images, on ones contaminated as the training images were, and under every perturbation
    ({name: a value a level}); curvature of the loss in its input, see `curvature`."""
    x, y = test_images(config)
    contaminated = LEVELS[config.level](x, _generator(config, "test")).clamp(0, 1)
    robust: dict[str, list[float]] = {}
    for name, (_, levels) in PERTURBATIONS.items():
        generator = _generator(config, "perturbation")
        robust[name] = [accuracy(model, perturb(x, name, level, generator), y) for level in levels]
    return {
        "clean": accuracy(model, x, y),
        "contaminated": accuracy(model, contaminated, y),
        "robust": robust,
        "curvature": curvature(model, x[:CURVED], y[:CURVED], config.sigma, _generator(config, "curvature")),
    }


def curvature(
    model: Classifier, images: Tensor, labels: Tensor, sigma: float, generator: torch.Generator
) -> dict[str, float | None]:
    """Means over images of the curvature of the cross-entropy in its input, and what noise of `sigma` adds to it.

    trace: tr H by Hutchinson's estimate. trace_exact, square_exact: tr H and tr H^2 from Hessians, None for images of
    more than `EXACT_UP_TO` pixels. published: the finite-difference measure. confidence: largest probability. loss:
    cross-entropy. noise_adds: what noise adds to it.
    """
    estimate = hutchinson_trace(model, images, labels, DRAWS, generator)
    published = finite_difference_curvature(model, images, labels, generator, draws=DRAWS)
    exact = {"trace_exact": None, "square_exact": None}
    if images[0].numel() <= EXACT_UP_TO:
        h = input_hessians(model, images, labels)
        exact = {"trace_exact": h.diagonal(dim1=1, dim2=2).sum(1), "square_exact": h.square().sum((1, 2))}
    with torch.no_grad():
        logits = model(images)
        loss = F.cross_entropy(logits, labels).item()
        views = (images + sigma * torch.randn(images.shape, generator=generator) for _ in range(VIEWS))
        under_noise = sum(F.cross_entropy(model(view), labels).item() for view in views) / VIEWS
    return {
        "trace": estimate.mean().item(),
        **{name: None if value is None else value.mean().item() for name, value in exact.items()},
        "published": published.mean().item(),
        "confidence": logits.softmax(1).amax(1).mean().item(),
        "loss": loss,
        "noise_adds": under_noise - loss,
    }


# --- regression -----------------------------------------------------------------------------------------------------

#: The losses of the regression by their names in `alcl.catalogue`, each with its defaults: scale 1, learned or fixed.
RIVALS: tuple[str, ...] = (
    "mse",
    "l1",
    "huber",
    "log_cosh",
    "pseudo_huber",
    "scheduled_pseudo_huber",
    "lmls",
    "gaussian",
    "student_t",
    "barron",
    "generalized_cauchy",
    "alcl",
)


@functools.lru_cache(maxsize=1)
def _diabetes() -> tuple[Tensor, Tensor, str]:
    """Standardised inputs (442, 10), targets (442,), and a checksum of both."""
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes()
    inputs, targets = torch.tensor(bunch.data * len(bunch.data) ** 0.5).float(), torch.tensor(bunch.target).float()
    content = bunch.data.tobytes() + bunch.target.tobytes()
    return inputs, targets, hashlib.sha256(content).hexdigest()[:16]


def regress(config: Regression, loss: str) -> float:
    """Mean absolute error, in the data's unit, on the untouched targets of the split's test part.

    Training targets are standardised by their median and median absolute deviation (times 1.4826) before noise is
    added; the linear model starts at zero and is fitted on the whole training part at once.
    """
    inputs, targets, _ = _diabetes()
    generator = torch.Generator().manual_seed(config.split)
    order = torch.randperm(len(inputs), generator=generator)
    train, test = order[: config.n_train], order[config.n_train :]
    center = targets[train].median()
    unit = 1.4826 * (targets[train] - center).abs().median()
    cauchy = torch.tan(torch.pi * (torch.rand(len(train), generator=generator) - 0.5))
    noisy = (targets[train] - center) / unit + config.noise * cauchy
    model = nn.Linear(inputs.shape[1], 1)
    for p in model.parameters():
        nn.init.zeros_(p)
    how = {"epochs": config.epochs, "batch_size": len(train), "lr": config.lr, "generator": generator}
    fit(model, make_loss(loss), inputs[train], noisy[:, None], **how)
    with torch.no_grad():
        return (unit * model(inputs[test])[:, 0] + center - targets[test]).abs().mean().item()


# --- records --------------------------------------------------------------------------------------------------------


def run(config: InputRun | Regression) -> dict[str, Any]:
    """Train and evaluate one configuration; returns the record (see `alcl.experiments.records`)."""
    start = time.perf_counter()
    if isinstance(config, Regression):
        metrics: dict[str, Any] = {"error": {name: regress(config, name) for name in RIVALS}}
        data = _diabetes()[2]
    else:
        metrics, data = evaluate(train(config), config), _load(config.dataset).checksum
    return record_of(config, STUDY, metrics, start, data)


def record_of(config: Config, study: str, metrics: dict[str, Any], start: float, data: str) -> dict[str, Any]:
    """The record of a run that began at `start` (of `time.perf_counter`), of a study, on data of this checksum."""
    return {
        "digest": config.digest,
        "study": study,
        "config": config.config(),
        "metrics": metrics,
        "seconds": {"total": round(time.perf_counter() - start, 3)},
        "environment": environment(),
        "data": data,
    }


#: Seeds of a data set; splits of the table.
SEEDS = {"digits": tuple(range(10)), "mnist": tuple(range(5))}
SPLITS = tuple(range(20))
NOISES = (0.0, 0.5)


def classifier_runs(dataset: str) -> list[InputRun]:
    """Every training on clean images; and the discriminative one on images of level "high", with every auxiliary."""
    return [
        config
        for seed in SEEDS[dataset]
        for config in (
            *(InputRun(dataset, training, seed=seed) for training in TRAININGS),
            *(InputRun(dataset, "discriminative", "high", auxiliary, seed) for auxiliary in AUXILIARIES),
        )
    ]


def regressions() -> list[Regression]:
    """Every split with clean and with noisy training targets."""
    return [Regression(noise, split) for noise in NOISES for split in SPLITS]


PROFILES: dict[str, Callable[[], list[InputRun | Regression]]] = {
    "embedded": lambda: [*classifier_runs("digits"), *regressions()],
    "paper": lambda: classifier_runs("mnist"),
}


def store(folder: str | Path) -> RecordStore:
    """The record store of the study: <folder>/input_noise.jsonl."""
    return RecordStore(Path(folder) / f"{STUDY}.jsonl")


def sweep(runs: Iterable[InputRun | Regression], to: RecordStore, jobs: int = 1, **how: Any) -> list[dict[str, Any]]:
    """Run what `to` does not hold, in the order given; see `alcl.experiments.sweeps.sweep`, also for `how`."""
    return sweeps.sweep(runs, to, run, jobs, **{"description": STUDY, "prepare": _load_all, **how})


def _load_all(runs: Iterable[InputRun | Regression]) -> None:
    """A missing data set is one clear error, before any work."""
    for name in sorted({config.dataset for config in runs if isinstance(config, InputRun)}):
        _load(name)


def main(arguments: Sequence[str] | None = None) -> int:
    about = "Run a profile of notebook 09."
    return sweeps.profile_command(
        arguments, "python -m alcl.experiments inputs", about, PROFILES, "embedded", store, sweep
    )
