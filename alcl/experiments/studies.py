"""Studies that go past the paper's abstract: drift, channels, ablations, sizes, noise that no method was
developed on, neighbouring losses.

Each study is a list of `Run`s, declared here before any was made, with its records in <folder>/study_<name>.jsonl. GCL
takes its settings from tuning runs: those of the grid (<folder>/<dataset>.jsonl), or a study's own for its own noise.

From a shell:  python -m alcl.experiments studies --records paper_figures/records --datasets digits digits_rgb --jobs 2
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from . import protocol, reconstruction, sweeps
from .analysis import bootstrap_interval
from .datasets import DATASETS, load_dataset
from .protocol import EMBEDDED, KEPT_LEVEL, MEASURES, oracle, tuning_runs
from .reconstruction import NEIGHBOURS, Run, method_of, method_run
from .records import RecordStore

#: Data sets the studies are declared for.
STUDY_DATASETS = (*EMBEDDED, "mnist", "cifar10")
UNSEEN = ("stable", "laplace", "contaminated")
_PLAIN = ("mse", "l1", "huber", "cauchy", "student_t", "barron", "alcl", "alcl_kappa")

Records = Sequence[Mapping[str, Any]]
Configs = list[tuple[str, Run]]  # what the run is called in the study, and the run


def _seeds(dataset: str) -> range:
    return range(10) if dataset in EMBEDDED else range(5)


def _gcl(names: Mapping[str, str], tuning: Records, dataset: str, level: str, seeds: Iterable[int]) -> Configs:
    """GCL at the settings that are best by accuracy, and by PSNR, in the tuning runs of other levels: name -> level."""
    settings = {(name, m): oracle(tuning, dataset, at, m) for name, at in names.items() for m in MEASURES}
    return [
        (f"{name}, by {measure}", method_run("gcl", dataset, level, seed, **setting))
        for (name, measure), setting in settings.items()
        for seed in seeds
    ]


def drift(dataset: str, tuning: Records) -> Configs:
    """The noise level moves during training, up from low to extreme or down; judged on the noise at its end."""
    found: Configs = []
    for level in ("drift_up", "drift_down"):
        for method in ("mse", "huber", "cauchy", "alcl", "alcl_kappa"):
            found += [(method, method_run(method, dataset, level, seed)) for seed in _seeds(dataset)]
        names = {"gcl, tuned at low": "low", "gcl, tuned at moderate": KEPT_LEVEL, "gcl, tuned at extreme": "extreme"}
        found += _gcl(names, tuning, dataset, level, _seeds(dataset))
    return found


def channels(dataset: str, tuning: Records) -> Configs:
    """Red has low noise, green moderate, blue extreme: one scale for all, or one per channel."""
    found = [
        (method, method_run(method, dataset, "channels", seed))
        for method in ("mse", "huber", "alcl", "alcl_kappa", "alcl_channels", "clean")
        for seed in _seeds(dataset)
    ]
    return found + _gcl({"gcl, tuned here": "channels"}, tuning, dataset, "channels", _seeds(dataset))


def ablations(dataset: str, tuning: Records) -> Configs:
    """What of ALCL does the work: shape, scale, both or the normaliser taken away; and the loss's learning rate."""
    methods = ("mse", "alcl", "alcl_shape_frozen", "alcl_scale_frozen", "alcl_frozen", "alcl_unnormalized")
    found = [
        (method, method_run(method, dataset, level, seed))
        for level in ("low", "high", "extreme")
        for method in methods
        for seed in _seeds(dataset)
    ]
    return found + [
        (f"alcl, rate x {rate:g}", method_run("alcl", dataset, level, seed, loss_lr=rate * Run.lr))
        for level in ("low", "high")
        for rate in (0.1, 0.3, 3.0, 10.0, 30.0)
        for seed in range(5)
    ]


def sizes(dataset: str, tuning: Records) -> Configs:
    """Fewer training images, and narrower and wider codes, at high noise; GCL as tuned once at the usual size."""
    own = reconstruction.SETTINGS[dataset]
    images = (100, 300, own["n_train"]) if dataset in EMBEDDED else (1_000, 3_000, own["n_train"])
    changes = [{"n_train": n} for n in images] + [{"code": own["code"] * k // 4} for k in (1, 2, 8)]
    settings = {f"gcl, kept, by {m}": oracle(tuning, dataset, KEPT_LEVEL, m) for m in MEASURES}
    found: Configs = []
    for change in changes:
        for seed in range(5):
            found += [(method, method_run(method, dataset, "high", seed, **change)) for method in ("mse", "alcl")]
            found += [
                (name, method_run("gcl", dataset, "high", seed, **setting, **change))
                for name, setting in settings.items()
            ]
    return found


def unseen(dataset: str, tuning: Records) -> Configs:
    """Alpha-stable, Laplace and contaminated Gaussian noise: nothing was developed on it. GCL tuned there, or kept."""
    found: Configs = []
    for noise in UNSEEN:
        found += [(m, method_run(m, dataset, noise, seed)) for m in (*_PLAIN, "clean") for seed in _seeds(dataset)]
        found += _gcl({"gcl, tuned here": noise, "gcl, kept": KEPT_LEVEL}, tuning, dataset, noise, _seeds(dataset))
    return found


def neighbours(dataset: str, tuning: Records) -> Configs:
    """Robust losses that the grid does not have: a learned Gaussian scale alone, generalized Cauchy, pseudo-Huber by
    the clock, log-cosh, LMLS."""
    found: Configs = []
    for level in ("low", "high", "extreme"):
        for method in ("mse", *NEIGHBOURS, "alcl"):
            found += [(method, method_run(method, dataset, level, seed)) for seed in _seeds(dataset)]
        found += _gcl({"gcl, tuned here": level}, tuning, dataset, level, _seeds(dataset))
    return found


@dataclass(frozen=True)
class Study:
    """`runs(dataset, tuning records)` on `datasets`; GCL is tuned for the study on the noise named in `tune`."""

    runs: Callable[[str, Records], Configs]
    datasets: tuple[str, ...]
    tune: tuple[str, ...] = ()


STUDIES: dict[str, Study] = {
    "drift": Study(drift, ("digits", "digits_rgb", "mnist")),
    "channels": Study(channels, ("digits_rgb", "cifar10"), ("channels",)),
    "ablations": Study(ablations, ("digits", "digits_rgb", "mnist")),
    "sizes": Study(sizes, ("digits", "mnist")),
    "unseen": Study(unseen, ("digits", "digits_rgb", "mnist"), UNSEEN),
    "neighbours": Study(neighbours, ("digits", "digits_rgb", "mnist")),
}


def study_runs(name: str, dataset: str, folder: str | Path) -> Configs:
    """The runs of a study on one data set, with their names.

    Raises:
        ValueError: unknown study, or a data set the study is not declared for.
        LookupError: tuning runs that decide GCL's settings are not recorded.
    """
    if name not in STUDIES:
        raise ValueError(f"study must be one of {', '.join(STUDIES)}; got {name!r}")
    if dataset not in STUDIES[name].datasets:
        raise ValueError(
            f"dataset of study {name!r} must be one of {', '.join(STUDIES[name].datasets)}; got {dataset!r}"
        )
    tuning = [*protocol.study_store(folder, dataset).read(), *study_store(folder, name).read()]
    return STUDIES[name].runs(dataset, tuning)


def study_store(folder: str | Path, name: str) -> RecordStore:
    """The record store of a study: <folder>/study_<name>.jsonl."""
    return RecordStore(Path(folder) / f"study_{name}.jsonl")


def run_study(
    name: str,
    dataset: str,
    folder: str | Path,
    jobs: int = 1,
    progress: bool = True,
    backend: str = "loky",
    scheduler: str | None = None,
) -> None:
    """Run what is not recorded of one study on one data set; first the tuning of GCL for the study's own noise.

    jobs, progress, backend, scheduler: as for `sweeps.sweep`. Raises its RunsFailed: after everything else has
    run where an evaluation failed, after the tuning where a tuning run did.
    """
    load_dataset(dataset)  # a missing data set is one clear error here, before any work
    store = study_store(folder, name)
    where = {"jobs": jobs, "progress": progress, "backend": backend, "scheduler": scheduler}
    for level in STUDIES[name].tune:
        reconstruction.sweep(tuning_runs(dataset, level), store, description=f"tuning: {level}", **where)
    wanted = [config for _, config in study_runs(name, dataset, folder)]
    grid = {record["digest"] for record in protocol.study_store(folder, dataset).read()}
    todo = [config for config in wanted if config.digest not in grid]  # some runs are the grid's own
    reconstruction.sweep(todo, store, description=f"{name} on {dataset}", **where)


def study_frame(name: str, folder: str | Path) -> pd.DataFrame:
    """One row for every recorded run of a study.

    Columns: dataset, level, name (the run's in the study), method, seed, n_train, code, loss_lr, accuracy, psnr, and
    the last recorded alpha and beta of adaptive losses (None for others). Data sets whose tuning is not recorded, and
    runs that are not, are absent; metrics that are not finite (a run that diverged) are -inf.
    """
    rows, own = [], study_store(folder, name).read()
    for dataset in STUDIES[name].datasets:
        if not any(record["config"]["dataset"] == dataset for record in own):
            continue  # not begun: what the grid has of it is no study
        grid = protocol.study_store(folder, dataset).read()
        known = {record["digest"]: record for record in (*grid, *own)}
        try:
            wanted = STUDIES[name].runs(dataset, [*grid, *own])
        except LookupError:
            continue
        for label, config in wanted:
            record = known.get(config.digest)
            if record is None:
                continue
            metrics = {m: float("-inf") if record["metrics"][m] is None else record["metrics"][m] for m in MEASURES}
            last = {p: record["history"].get(p, [None])[-1] for p in ("alpha", "beta")}
            rows.append(
                {"dataset": dataset, "level": config.level, "name": label, "method": method_of(config.config())}
                | {"seed": config.seed, "n_train": config.n_train, "code": config.code, "loss_lr": config.loss_lr}
                | metrics
                | last
            )
    return pd.DataFrame(rows)


def compare(
    frame: pd.DataFrame, measure: str, reference: str = "alcl", by: Sequence[str] = ("dataset", "level")
) -> pd.DataFrame:
    """`reference` against every run name of a study table, paired by seed, within the conditions that `by` makes.

    frame: as of `study_frame`. measure: its accuracy or psnr, or ssim or restored where it has them. GCL that was tuned
    by another measure than this one is left out, and ", by <measure>" is dropped from its name.

    Columns: those of `by`, name, method, seeds (pairs), median (of the name's own values), difference (median of
    reference minus name over pairs: above 0 the reference is ahead), low, high (its 95 % bootstrap interval).
    """
    legal = [name for name in (*MEASURES, "ssim", "restored") if name in frame]
    if measure not in legal:
        raise ValueError(f"measure must be one of {', '.join(legal)}; got {measure!r}")
    other = [f", by {name}" for name in legal if name != measure]
    frame = frame[~frame["name"].str.endswith(tuple(other))]
    frame = frame.assign(name=frame["name"].str.removesuffix(f", by {measure}"))
    rows = []
    for condition, part in frame.groupby(list(by), sort=False):
        base = part[part["name"] == reference].set_index("seed")[measure]
        for name, own in part.groupby("name", sort=False):
            values = own.set_index("seed")[measure]
            pairs = pd.concat([base, values], axis=1, join="inner").to_numpy()
            both_diverged = (pairs == float("-inf")).all(axis=1)
            gaps = np.where(both_diverged, 0.0, np.subtract(*pairs.T, where=~both_diverged, out=np.zeros(len(pairs))))
            low, high = bootstrap_interval(gaps)
            median = float(np.median(gaps)) if len(gaps) else float("nan")
            rows.append([*condition, name, own["method"].iloc[0], len(gaps), float(values.median()), median, low, high])
    return pd.DataFrame(rows, columns=[*by, "name", "method", "seeds", "median", "difference", "low", "high"])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m alcl.experiments studies", description="Run the studies beyond the paper."
    )
    parser.add_argument("--studies", nargs="*", default=list(STUDIES), help=f"of {', '.join(STUDIES)}")
    parser.add_argument("--datasets", nargs="*", default=list(STUDY_DATASETS), help=f"of {', '.join(STUDY_DATASETS)}")
    sweeps.add_arguments(parser)
    options = parser.parse_args(arguments)
    cluster = {"backend": options.backend, "scheduler": options.scheduler}

    def work() -> int:
        sweeps.check_backend(**cluster)
        for name, legal, kind in (("studies", STUDIES, "study"), ("datasets", DATASETS, "data set")):
            unknown = [value for value in getattr(options, name) if value not in legal]
            if unknown:
                raise ValueError(f"--{name}: no such {kind}: {', '.join(unknown)}; legal: {', '.join(legal)}")
        failures = 0
        for dataset in options.datasets:
            for name in options.studies:
                if dataset in STUDIES[name].datasets:
                    try:
                        run_study(name, dataset, options.records, options.jobs, **cluster)
                    except (sweeps.RunsFailed, LookupError) as error:  # the other studies do not rest on it
                        print(f"error: {name} on {dataset}: {error}", file=sys.stderr)
                        failures += 1
        return int(failures > 0)

    return sweeps.command(work)
