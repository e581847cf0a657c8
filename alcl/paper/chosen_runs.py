"""Which runs notebook 05 makes: settled, and refused if they are illegal, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..experiments.protocol import MEASURES, oracle, tuning_runs
from ..experiments.reconstruction import METHODS, NEIGHBOURS, Run, method_run
from . import figures

__all__ = ["ChosenRuns", "choose_runs"]


@dataclass(frozen=True)
class ChosenRuns:
    """Runs by a key, which is a method's name, or a label where a method has several; `labels` and `looks` (keyword
    arguments of a plot) by the same keys. used: digests of the tuning runs that GCL's settings come from."""

    runs: Mapping[str, Run]
    labels: Mapping[str, str]
    looks: Mapping[str, Mapping[str, Any]]
    used: Sequence[str]


def choose_runs(
    dataset: str,
    level: str,
    seed: int,
    epochs: int | None,
    methods: str | Iterable[str],
    jobs: int,
    records: Iterable[Mapping[str, Any]],
) -> ChosenRuns:
    """MSE, what is asked for, and ALCL, in one condition.

    methods: "all", or names, as a list or separated by commas; all are those of the benchmark and of
    `alcl.catalogue.register_loss`. records: of the data set; where they hold GCL's whole tuning, GCL is run with the
    best setting by each measure, else with alpha = 2, beta = 0.5, and is called untuned.

    Raises ValueError, naming the parameter, for what is none of these, and as `method_run` does.
    """
    if not isinstance(methods, (str, list, tuple)):
        raise ValueError(
            f"methods must be 'all', or names of methods, as a list or separated by commas; got {methods!r}"
        )
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise ValueError(f"jobs must be a whole number of at least 1; got {jobs!r}")
    asked = methods.split(",") if isinstance(methods, str) else list(methods)
    asked = _usual() if asked == ["all"] else ["mse", *(name.strip() for name in asked), "alcl"]
    tuned = _tuned(list(records), dataset, level)
    runs, labels, looks = {}, {}, {}
    for name in dict.fromkeys(asked):
        for label, setting in (tuned if name == "gcl" else {figures.LABELS.get(name, name): {}}).items():
            run = method_run(name, dataset, level, seed, epochs=epochs, **setting)
            key = name if name not in runs else label
            runs[key], labels[key], looks[key] = run, label, figures.style(name) | {"label": label}
            if label == "GCL (best accuracy)":  # two curves of one method: the other one has GCL's colour
                looks[key] |= {"color": "#4B2E83", "linestyle": (0, (4, 1.5))}
    used = [] if "GCL (untuned)" in tuned else [run.digest for run in tuning_runs(dataset, level)]
    return ChosenRuns(runs, labels, looks, used)


def _usual() -> list[str]:
    """The methods that have a style, without ALCL's ablations and neighbours: notebook 10 has them."""
    variants = [name for name in METHODS if name.startswith("alcl_") and name != "alcl_kappa"]
    return [name for name in figures.COLORS if name in (*METHODS, "gcl") and name not in (*variants, *NEIGHBOURS)]


def _tuned(records: Sequence[Mapping[str, Any]], dataset: str, level: str) -> dict[str, Mapping[str, float]]:
    """GCL's settings by their labels."""
    try:
        best_by = {measure: oracle(records, dataset, level, measure) for measure in MEASURES}
    except LookupError:
        return {"GCL (untuned)": {"alpha": 2.0, "beta": 0.5}}
    best, *others = best_by.values()
    if all(setting == best for setting in others):  # one setting is best by every measure
        return {"GCL (tuned)": best}
    return {f"GCL (best {'PSNR' if measure == 'psnr' else measure})": best for measure, best in best_by.items()}
