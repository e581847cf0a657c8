"""The experiment, contaminated-target reconstruction: a frozen `Run` and `run(config) -> record`.

    y = sensor(noise(x)); the network sees clamp(y, -1, 2) and is trained to reproduce y. Clean images and labels
    appear in evaluation only (and in tuning GCL, in its favour). So the loss alone decides what is signal.

The sensor is "unclipped" (y is what the noise made), "clamped" (to [-1, 2], as inputs always are) or "clipped" (to
[0, 1], as an 8-bit camera does).

What is run with it, GCL's tuning and the profiles, is in `alcl.experiments.protocol`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..catalogue import LOSSES, OwnLoss, follow, make_loss
from . import baselines, datasets, evaluation, levels, readings, sweeps
from .configs import Config, canonical_options, environment, one_of, stream_seed, whole
from .datasets import DATASETS, Dataset, dataset_name, dataset_spec, is_own, load_dataset, split_validation
from .known_noise import KnownNoiseLoss
from .models import MODELS, make_model
from .own_losses import carrying
from .records import RecordStore
from .training import SCHEDULES, History, fit

#: Raised whenever a change makes old records incomparable with new ones; part of every digest.
PROTOCOL = 1

#: What each data set is trained with. Fixed in advance for all methods and levels; see notebook 05 for the reasons.
_EMBEDDED = {"model": "mlp", "hidden": 64, "code": 16, "epochs": 40, "batch_size": 32}
_EMBEDDED |= {"n_train": 1137, "n_validation": 300, "n_test": 360}
_GRAY = {"model": "mlp", "hidden": 256, "code": 32, "epochs": 20, "batch_size": 128}
_GRAY |= {"n_train": 10_000, "n_validation": 2_000, "n_test": 5_000}
_RGB = {**_GRAY, "model": "conv", "hidden": 16, "code": 64}
SETTINGS: dict[str, dict[str, Any]] = {
    "digits": _EMBEDDED,
    "digits_rgb": _EMBEDDED,
    "mnist": _GRAY,
    "fashion_mnist": _GRAY,
    "cifar10": _RGB,
    "svhn": _RGB,
    # whole tracks are held out, so that validation may exceed its number by a part of a track
    "gtsrb": {**_RGB, "n_validation": 1_900},
}


def settings_of(dataset: str) -> dict[str, Any]:
    """The entry of `SETTINGS`, or for images of one's own: those of the embedded sets up to 16 pixels a side; above,
    those of the gray benchmarks, or of the colour ones if height and width are multiples of 4, as their network needs.
    The numbers of images are at most those, a fifth of the training images for validation, and what there is."""
    if not is_own(dataset):
        return SETTINGS[dataset]
    spec = dataset_spec(dataset)
    height, width, *colours = spec.image_shape
    large = _RGB if colours and height % 4 == width % 4 == 0 else _GRAY
    settings = _EMBEDDED if max(height, width) <= 16 else large
    n_validation = min(settings["n_validation"], max(1, spec.rows[0] // 5))
    n_train = min(settings["n_train"], max(1, spec.rows[0] - n_validation))
    n_test = min(settings["n_test"], spec.rows[1])
    return {**settings, "n_train": n_train, "n_validation": n_validation, "n_test": n_test}


#: Method -> (loss, its options). Untuned methods keep these settings in every condition. Scales are in units of the
#: pixel range; the fixed ones (Huber, Cauchy) are the additive noise scale of the levels moderate and high, which
#: nobody would know. (No favour to Cauchy, which the ledger shows behind ALCL in most conditions.) The learned ones
#: start at 0.5 and learn at the network's rate: `development_choice` of the recorded development runs.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "mse": ("mse", {}),
    "l1": ("l1", {}),
    "huber": ("huber", {"delta": 0.1}),
    "cauchy": ("cauchy", {"scale": 0.1}),
    "student_t": ("student_t", {"dof": 3.0, "scale": 0.5}),
    "barron": ("barron", {"alpha": 1.0, "scale": 0.5}),
    "alcl": ("alcl", {"alpha": 2.0, "beta": 0.5, "kappa": 1.0, "learn": ("alpha", "beta")}),
    "alcl_kappa": ("alcl", {"alpha": 2.0, "beta": 0.5, "kappa": 1.0, "learn": ("alpha", "beta", "kappa")}),
    "alcl_shape_frozen": ("alcl", {"alpha": 2.0, "beta": 0.5, "kappa": 1.0, "learn": ("beta",)}),
    "alcl_scale_frozen": ("alcl", {"alpha": 2.0, "beta": 0.5, "kappa": 1.0, "learn": ("alpha",)}),
    "alcl_frozen": ("alcl", {"alpha": 2.0, "beta": 0.5, "kappa": 1.0, "learn": ()}),
    "alcl_unnormalized": (
        "alcl",
        {"alpha": 2.0, "beta": 0.5, "kappa": 1.0, "learn": ("alpha", "beta"), "normalized": False},
    ),
    "alcl_channels": (
        "alcl",
        {"alpha": 2.0, "beta": 0.5, "kappa": 1.0, "learn": ("alpha", "beta"), "parameter_shape": (3, 1, 1)},
    ),
    "clean": ("mse", {}),  # the reference, and no bound: MSE trained on clean targets
    # What a practitioner tries first: widths from every batch's median absolute residual, at the textbook's factors for
    # 95 % efficiency, and GCL as public code has it, sigma = 0.2 (alpha = 2, beta = 0.2 sqrt 2).
    "huber_mad": ("huber_mad", {}),
    "welsch_mad": ("welsch_mad", {}),
    "gcl_public": ("gcl", {"alpha": 2.0, "beta": 0.2 * 2**0.5}),
    # The theory of joint learning predicts something here: a floor above 1 keeps the shape from imploding, a cap keeps
    # its bias small. (A learned shape starts inside: at cap 2 from 1.9.)
    "alcl_floor": ("alcl", {"alpha": 2.0, "beta": 0.5, "kappa": 1.0, "learn": ("alpha", "beta"), "alpha_min": 1.25}),
    "alcl_cap2": ("alcl", {"alpha": 1.9, "beta": 0.5, "kappa": 1.0, "learn": ("alpha", "beta"), "alpha_max": 2.0}),
    "alcl_cap3": ("alcl", {"alpha": 2.0, "beta": 0.5, "kappa": 1.0, "learn": ("alpha", "beta"), "alpha_max": 3.0}),
    # For the study of neighbours alone (notebook 10). Fixed scales are again 0.1: LMLS turns at 1/sqrt(a).
    "gaussian": ("gaussian", {"scale": 0.5}),
    "generalized_cauchy": ("generalized_cauchy", {"alpha": 2.0, "scale": 0.5}),
    "scheduled_pseudo_huber": ("scheduled_pseudo_huber", {"c": 0.1}),
    "log_cosh": ("log_cosh", {"scale": 0.1}),
    "lmls": ("lmls", {"a": 100.0}),
}


@follow
def _add_method(loss: OwnLoss) -> None:
    METHODS[loss.name] = (loss.name, dict(canonical_options(loss.options)))


#: Methods without a loss, in the same records: see `alcl.experiments.baselines`.
for _name in baselines.BASELINES:
    METHODS[_name] = (_name, {})

#: The likelihood of the noise itself, which its loss takes from the run's level and sensor: see
#: `alcl.experiments.known_noise`. "wide": from a wide start. Of seven pairs of start and until, this one had the lowest
#: training loss on mnist, clipped, at high and extreme, in training for validation (seed 1000).
KNOWN_NOISE = "known_noise"
METHODS[KNOWN_NOISE] = (KNOWN_NOISE, {})
METHODS["known_noise_wide"] = (KNOWN_NOISE, {"start": 3.0, "until": 0.75})

NEIGHBOURS = ("gaussian", "generalized_cauchy", "scheduled_pseudo_huber", "log_cosh", "lmls")


#: What becomes of noisy pixels before anyone sees them; each applies to targets and inputs alike.
SENSORS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "unclipped": lambda y: y,
    "clamped": levels.clamp_for_network,
    "clipped": lambda y: y.clamp(0.0, 1.0),
}
#: Fields that came after records were made, and their defaults.
_LATER = {"sensor": "unclipped", "measures": "probe", "start": "given"}
#: Images whose residuals under the untrained network give a loss its first scale.
START_IMAGES = 1000


@dataclass(frozen=True)
class Run(Config):
    """One training run, fully specified. Fields left at None take the data set's settings, see `settings_of`.

    dataset: a name in `datasets.DATASETS`; or the path of an `.npz` of one's own, which becomes its name by
    content, "faces.npz@1f2e3d4c5b6a7988": wherever the file lies and whatever it is called, the digest is the same. (On
    another machine the run can be made without the file, and trained where `datasets` finds it.) level: a name
    that `alcl.experiments.levels.get_level` knows. loss, options: see `alcl.catalogue.make_loss`. seed: draws noise,
    initialisation and batches, the same for every loss. targets: "noisy", or "clean" for the reference. evaluate_on:
    "test", or "validation" (clean images held out of training, for tuning). start: of the scale, "given" by the
    options, or "data" (`from_residuals` of the untrained network; then there is no beta in the options).

    Raises ValueError, naming the field and its legal values, when it is made; an illegal Run does not exist.
    """

    protocol = PROTOCOL
    dataset: str
    level: str
    loss: str = "alcl"
    options: tuple[tuple[str, Any], ...] = ()
    seed: int = 0
    targets: str = "noisy"
    evaluate_on: str = "test"
    model: str | None = None
    hidden: int | None = None
    code: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float = 1e-3
    loss_lr: float | None = None
    schedule: str = "constant"
    n_train: int | None = None
    n_validation: int | None = None
    n_test: int | None = None
    sensor: str = "unclipped"
    measures: str = "probe"
    start: str = "given"

    def __post_init__(self) -> None:
        if is_own(self.dataset):
            self._set("dataset", dataset_name(self.dataset))
        else:
            one_of("dataset", self.dataset, (*DATASETS, "the path of an .npz"))
        levels.get_level(self.level)
        one_of("loss", self.loss, (*LOSSES, *baselines.BASELINES, KNOWN_NOISE))
        one_of("sensor", self.sensor, SENSORS)
        one_of("measures", self.measures, ("probe", "all"))
        one_of("targets", self.targets, ("noisy", "clean"))
        one_of("evaluate_on", self.evaluate_on, ("test", "validation"))
        one_of("schedule", self.schedule, SCHEDULES)
        one_of("start", self.start, ("given", "data"))
        if any(getattr(self, name) is None for name in _GRAY):
            self._fill(settings_of(self.dataset))
        one_of("model", self.model, MODELS)
        for name in ("hidden", "code", "epochs", "batch_size", "n_train", "n_validation", "n_test"):
            whole(name, getattr(self, name), at_least=1)
        whole("seed", self.seed, at_least=0)
        self._fill({"loss_lr": self.lr})
        for name in ("lr", "loss_lr"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive; got {getattr(self, name)}")
        self._set("options", canonical_options(self.options))
        if self.loss in baselines.BASELINES and self.options:
            raise ValueError(f"options: {self.loss!r} takes none; got {', '.join(dict(self.options))}")
        if self.loss == KNOWN_NOISE:
            for name in dict(self.options):
                one_of(f"options of {KNOWN_NOISE}", name, ("start", "until"))
            KnownNoiseLoss(self.level, self.sensor, **dict(self.options))
        elif self.loss not in baselines.BASELINES:
            make_loss(self.loss, **dict(self.options))  # an illegal option fails here, not after an hour
        if self.start == "data":
            if not hasattr(LOSSES.get(self.loss), "from_residuals"):
                raise ValueError(f"start: {self.loss!r} has no from_residuals, which start='data' needs")
            if "beta" in dict(self.options):
                raise ValueError("options: beta is what start='data' finds; leave it out")

    def config(self) -> dict[str, Any]:
        """The fields as JSON-ready values, those of `_LATER` only where they are not at their defaults."""
        return {k: v for k, v in super().config().items() if k not in _LATER or v != _LATER[k]}

    def _identity(self) -> Mapping[str, Any]:
        """All fields; of a data set of one's own its content counts, and not its file's name."""
        _, at, content = self.dataset.partition(".npz@")
        return self.config() | ({"dataset": f"{at}{content}"} if at else {})


def method_run(method: str, dataset: str, level: str, seed: int = 0, **changes: Any) -> Run:
    """The Run of a method of `METHODS`, or of "gcl" (then give alpha and beta); `changes` override fields of Run."""
    if method == "gcl":
        loss, options = "gcl", {"alpha": float(changes.pop("alpha")), "beta": float(changes.pop("beta"))}
    else:
        one_of("method", method, (*METHODS, "gcl"))
        loss, options = METHODS[method]
    targets = "clean" if method == "clean" else "noisy"
    return Run(dataset, level, **{"loss": loss, "options": options, "seed": seed, "targets": targets, **changes})


def method_of(config: Mapping[str, Any]) -> str:
    """The method's name for a record's config: a key of `METHODS`, or "gcl"; "other" for options of no named method."""
    if config["targets"] == "clean" and config["loss"] == METHODS["clean"][0]:
        return "clean"
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in config["options"].items()}
    for name, (loss, known) in METHODS.items():
        if name != "clean" and loss == config["loss"] and known == options:
            return name
    return "gcl" if config["loss"] == "gcl" else "other"


def method_in(record: Mapping[str, Any]) -> str:
    """The method's name of a record: the one written into it, or for older ones `method_of` its config."""
    return record["method"] if "method" in record else method_of(record["config"])


# --- one run --------------------------------------------------------------------------------------------------------

# Independent random streams of one seed.
_STREAMS = ("train_noise", "test_noise", "initialisation", "batches", "drift")


def stream(seed: int, name: str) -> int:
    """A 63-bit seed for one of the independent random streams of a run's seed."""
    return stream_seed(_STREAMS, name, seed)


def _generator(seed: int, name: str) -> torch.Generator:
    return torch.Generator().manual_seed(stream(seed, name))


@functools.lru_cache(maxsize=2)
def _load(name: str) -> Dataset:
    return load_dataset(name)


@dataclass(frozen=True)
class Task:
    """The tensors of a run: what the network sees and is told in training, and what it is judged on."""

    train_clean: torch.Tensor
    train_inputs: torch.Tensor
    train_targets: torch.Tensor
    train_labels: torch.Tensor
    eval_inputs: torch.Tensor
    eval_clean: torch.Tensor
    eval_labels: torch.Tensor
    eval_targets: torch.Tensor


def make_task(config: Run) -> Task:
    """Draw the noise of a run. Training and validation images come from the training split, in an order that no seed
    changes; the seed draws the noise only."""
    data = _load(config.dataset)
    train, validation = split_validation(data, config.n_validation, torch.Generator().manual_seed(0))
    for name, wanted, there in (
        ("n_train", config.n_train, len(train)),
        ("n_test", config.n_test if config.evaluate_on == "test" else 1, len(data.x_test)),
    ):
        if wanted > there:
            raise ValueError(f"{name} must be at most {there} for {config.dataset!r}; got {wanted}")
    train = train[: config.n_train]
    contaminate = levels.get_level(config.level)
    if isinstance(contaminate, levels.DriftingNoise):
        contaminate = contaminate.at(1.0)  # judged on the noise at which training ends
    clean = data.x_train[train]
    sensor = SENSORS[config.sensor]
    noisy = sensor(contaminate(clean, _generator(config.seed, "train_noise")))
    if config.evaluate_on == "test":
        eval_clean, eval_labels = data.x_test[: config.n_test], data.y_test[: config.n_test]
    else:
        eval_clean, eval_labels = data.x_train[validation], data.y_train[validation]
    eval_noisy = sensor(contaminate(eval_clean, _generator(config.seed, "test_noise")))
    return Task(
        train_clean=clean,
        train_inputs=levels.clamp_for_network(noisy),
        train_targets=clean if config.targets == "clean" else noisy,
        train_labels=data.y_train[train],
        eval_inputs=levels.clamp_for_network(eval_noisy),
        eval_clean=eval_clean,
        eval_labels=eval_labels,
        eval_targets=eval_noisy,
    )


@functools.lru_cache(maxsize=1)
def _last_task(config: Run) -> Task:
    return make_task(config)


def _shared_task(config: Run) -> Task:
    """The task of a run, kept until another is asked for: methods that share condition and seed share their noise."""
    keep = ("dataset", "level", "seed", "targets", "evaluate_on", "n_train", "n_validation", "n_test", "sensor")
    return _last_task(Run(**{name: getattr(config, name) for name in keep}))


def train(config: Run, task: Task | None = None, progress: bool = False):
    """Train one run's model. Returns (model, criterion, History, Task); of a baseline the criterion is None."""
    task = make_task(config) if task is None else task
    shape = task.train_inputs.shape[1:]
    if config.loss in baselines.BASELINES:
        if config.loss == "untrained":
            seed = stream(config.seed, "initialisation")
            model = make_model(config.model, shape, config.hidden, config.code, seed).eval()
        else:
            model = baselines.make_baseline(config.loss, task.train_inputs, config.code)
        return model, None, History(), task
    model = make_model(config.model, shape, config.hidden, config.code, seed=stream(config.seed, "initialisation"))
    # A run that diverges is a result: its metrics are recorded as None, and the condition is not left out.
    criterion = _make_criterion(config, model, task)
    if hasattr(criterion, "nonfinite") and "nonfinite" not in dict(config.options):
        criterion.nonfinite = "propagate"
    noise = levels.get_level(config.level)
    history = fit(
        model,
        criterion,
        task.train_inputs,
        task.train_targets,
        epochs=config.epochs,
        batch_size=config.batch_size,
        lr=config.lr,
        loss_lr=config.loss_lr,
        schedule=config.schedule,
        generator=_generator(config.seed, "batches"),
        progress=progress,
        on_epoch=_drift(config, noise, task) if isinstance(noise, levels.DriftingNoise) else None,
    )
    model.eval()
    return model, criterion, history, task


def _make_criterion(config: Run, model: torch.nn.Module, task: Task) -> torch.nn.Module:
    if config.loss == KNOWN_NOISE:
        return KnownNoiseLoss(config.level, config.sensor, **dict(config.options))
    if config.start == "given":
        return make_loss(config.loss, **dict(config.options))
    with torch.no_grad():
        residual = model(task.train_inputs[:START_IMAGES]) - task.train_targets[:START_IMAGES]
    return LOSSES[config.loss].from_residuals(residual, **dict(config.options))


def _drift(config: Run, drift: levels.DriftingNoise, task: Task) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """Noise that is drawn anew before every epoch, at the time of that epoch; epoch 0 at t = 0, the last at t = 1."""
    generator = _generator(config.seed, "drift")

    def redraw(epoch: int, *_) -> tuple[torch.Tensor, torch.Tensor]:
        noisy = SENSORS[config.sensor](drift(task.train_clean, generator, epoch / max(config.epochs - 1, 1)))
        return levels.clamp_for_network(noisy), task.train_clean if config.targets == "clean" else noisy

    return redraw


@functools.lru_cache(maxsize=4)
def clean_classifier(dataset: str, n_validation: int) -> torch.nn.Module:
    """The classifier that reads reconstructions of a data set: trained on clean training images, none of validation.

    Trained on the first 30,000 (or all) images of the training split in the order of `split_validation`, without the
    `n_validation` that tuning is judged on; test images have no part in it. Kept in memory for the process.
    """
    data = _load(dataset)
    train, _ = split_validation(data, n_validation, torch.Generator().manual_seed(0))
    train = train[: readings.CLASSIFIER_IMAGES]
    return readings.train_classifier(data.x_train[train], data.y_train[train])


def evaluate(model: torch.nn.Module, task: Task, classifier: torch.nn.Module | None = None) -> dict[str, float]:
    """PSNR (dB) and SSIM of reconstructions of noisy images against the clean ones; accuracy of the probe on codes.

    With a `clean_classifier`, all of `readings.ALL_MEASURES`.
    """
    if classifier is not None:
        return readings.judge(model, task, classifier)
    images = evaluation.in_batches(model, task.eval_inputs)
    train_codes = evaluation.in_batches(model.encode, task.train_inputs)
    eval_codes = evaluation.in_batches(model.encode, task.eval_inputs)
    return {
        "psnr": evaluation.psnr(images, task.eval_clean),
        "ssim": evaluation.ssim(images, task.eval_clean),
        "accuracy": evaluation.probe_accuracy(train_codes, task.train_labels, eval_codes, task.eval_labels),
    }


def run(config: Run, progress: bool = False) -> dict[str, Any]:
    """Train and evaluate one configuration; metrics are bitwise equal on every call on one machine and thread count.

    Returns the record: digest, config, metrics, history (loss and loss parameters by epoch), seconds, environment
    and data checksum. Metrics that are not finite are stored as None.
    """
    start = time.perf_counter()
    model, _, history, task = train(config, _shared_task(config), progress=progress)
    return record_of(config, model, history, task, time.perf_counter() - start)


def record_of(config: Run, model: torch.nn.Module, history: History, task: Task, seconds: float) -> dict[str, Any]:
    """Evaluate a trained model; the record of its run. `seconds`: what drawing the noise and training took."""
    classifier = clean_classifier(config.dataset, config.n_validation) if config.measures == "all" else None
    trained = time.perf_counter()
    metrics = evaluate(model, task, classifier)
    evaluated = time.perf_counter() - trained
    return {
        "digest": config.digest,
        "method": method_of(config.config()),
        "config": config.config(),
        "metrics": {name: _finite(value) for name, value in metrics.items()},
        "history": {
            "loss": [_finite(v, 6) for v in history.loss],
            **{name: [_finite(v, 6) for v in values] for name, values in history.parameters.items()},
        },
        "seconds": {
            "fit": round(history.seconds, 3),
            "evaluate": round(evaluated, 3),
            "total": round(seconds + evaluated, 3),
        },
        "environment": environment(),
        "data": _load(config.dataset).checksum,
    }


# --- sweeps ---------------------------------------------------------------------------------------------------------


def sweep(runs: Iterable[Run], store: RecordStore, jobs: int = 1, **how: Any) -> list[dict[str, Any]]:
    """Run what `store` does not hold yet, in the order given; see `alcl.experiments.sweeps.sweep`, also for `how`."""
    told = functools.partial(_run_told, run, datasets.seen)  # by now `runs` may have seen files
    return sweeps.sweep(list(runs), store, carrying(told), jobs, **{"prepare": _load_all, **how})


def _run_told(run: Callable[[Run], dict[str, Any]], seen: Mapping[str, str], config: Run) -> dict[str, Any]:
    """`run(config)` where other processes' files have been seen."""
    datasets.seen.update(seen)
    return run(config)


def _load_all(runs: Iterable[Run]) -> None:
    """A missing data set is one clear error, before any work."""
    for name in sorted({config.dataset for config in runs}):
        _load(name)


# --- helpers --------------------------------------------------------------------------------------------------------


def _finite(value: float, digits: int | None = None) -> float | None:
    if not np.isfinite(value):
        return None
    return float(value) if digits is None else float(f"{value:.{digits}g}")
