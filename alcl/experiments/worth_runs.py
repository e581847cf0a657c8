"""What there is to win at all, and what learning is worth where the scale is not known or does not stay.

Declared here before any of it was run. All runs have all measures; none decides anything about another.

Parts
    ceiling   `known_noise`, the likelihood of the noise itself, at high and extreme, in the four sets and the two
              headline sensors: what a loss could win at most by knowing more. (Clean targets, the other reference, also
              spare the network the noise it fits.) Five seeds, those of the multiverse.
    wide      the same from a wide start (`known_noise_wide`). Declared when 31 runs of `ceiling` had been seen: from
              scratch, that likelihood ends at one image for every input on mnist.
    ssim      GCL at its oracle by SSIM at extreme noise, which the multiverse does not have there and the goal of
              `alcl.experiments.goal` compares with. Ten seeds.
    start     mnist, high, clipped: every scale that is given at the start, learned or not, times 10^-3 to 10^3, and as
              it is where pixels are counted in 255 gray levels: a factor 1/255, since Adam sees no constant before the
              loss. GCL's setting is the multiverse's for all measures ("one") there. Beside them what takes its
              scale from the data: Huber and Welsch with MAD widths, and ALCL by `from_residuals`. Three seeds.
    drift     mnist, clipped: the noise moves during training from low to extreme, or down (as study "drift" of notebook
              10, which is unclipped); GCL as tuned for all measures at low, between and extreme. Five seeds.
    learned   fashion_mnist, extreme: ALCL with its shape capped or frozen, its scale frozen, or both. Declared when
              ALCL had been seen 28 points behind GCL's oracle there, behind the clipping sensor, its shape at 2.6:
              is it what was learned? Five seeds.

The sensor's losses have the settings of `sensor_runs.choice`.

    python -m alcl.experiments worth --parts ceiling wide ssim start drift learned
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from . import reconstruction, sensor_runs, sweeps
from .configs import one_of
from .datasets import load_dataset
from .multiverse import FEW, HEADLINE_SENSORS, SEEDS, SETS, Condition, multiverse_store, setting_of
from .reconstruction import METHODS, Run
from .records import RecordStore

#: Measures of `results` and the factors to their units.
_SHOWN = {"psnr": 1.0, "ssim": 1.0, "restored": 100.0}

Records = Iterable[Mapping[str, Any]]
Named = list[tuple[str, Run]]  # what the run is called, and the run

CEILING_LEVELS = ("high", "extreme")
STARTED = Condition("mnist", "clipped", "high")
#: Factors on every scale at the start. 1/255: pixels counted in gray levels.
FACTORS = (1e-3, 1 / 255, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
START_SEEDS = (0, 1, 2)
DRIFTS = ("drift_up", "drift_down")
#: GCL under drift: at what level it was tuned.
TUNED_AT = ("low", "between", "extreme")
#: ALCL with less to learn, where it falls farthest behind.
LESS = ("alcl_cap2", "alcl_shape_frozen", "alcl_scale_frozen", "alcl_frozen")
FARTHEST = ("fashion_mnist", "extreme")


def ceiling(method: str = "known_noise") -> Named:
    """The noise's own likelihood."""
    return [
        (method, Condition(dataset, sensor, level).run(method, seed))
        for level in CEILING_LEVELS
        for dataset in SETS
        for sensor in HEADLINE_SENSORS
        for seed in FEW
    ]


def oracle_ssim(multiverse: Records, condition: Condition) -> Named:
    """GCL in one condition. Raises LookupError while its tuning is not recorded."""
    own = [record for record in multiverse if record["config"]["dataset"] == condition.dataset]
    setting = setting_of("oracle_ssim", own, condition)
    return [("gcl:oracle_ssim", condition.gcl(setting, seed)) for seed in SEEDS]


def ssim(multiverse: Records) -> Named:
    """GCL at its oracle by SSIM, in the headline's conditions at extreme noise."""
    multiverse = list(multiverse)
    return [
        named
        for dataset in SETS
        for sensor in HEADLINE_SENSORS
        for named in oracle_ssim(multiverse, Condition(dataset, sensor, "extreme"))
    ]


def start(multiverse: Records, chosen: Mapping[str, Any]) -> Named:
    """Scales that are wrong by a factor; `scaled` says how a method's options change."""
    alpha, beta = setting_of("one", multiverse, STARTED)
    own = {name: METHODS[name] for name in ("huber", "student_t", "alcl", "alcl_frozen")}
    own |= {"gcl": ("gcl", {"alpha": alpha, "beta": beta})}
    own |= {name: (name, dict(chosen[name])) for name in ("contaminated_alcl", "censored_alcl")}
    found: Named = []
    for seed in START_SEEDS:
        for factor in FACTORS:
            found += [
                (f"{name}, x {factor:.3g}", _started(loss, scaled(options, factor), seed))
                for name, (loss, options) in own.items()
            ]
        found += [(name, STARTED.run(name, seed)) for name in ("huber_mad", "welsch_mad")]
        for name in ("alcl", "contaminated_alcl", "censored_alcl"):
            options = {k: v for k, v in own[name][1].items() if k != "beta"}
            found.append((f"{name}, from the data", _started(name, options, seed, start="data")))
    return found


def scaled(options: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Options with the scale at the start times `factor`, and the floor of a learned one a thousandth of it."""
    changed = dict(options)
    for name in ("beta", "scale", "delta"):
        if name in options:
            changed[name] = options[name] * factor
            if name in options.get("learn", (name,) if name == "scale" else ()):
                changed[f"{name}_min"] = changed[name] * 1e-3
    return changed


def _started(loss: str, options: Mapping[str, Any], seed: int, **changes: Any) -> Run:
    return sensor_runs.sensor_run(loss, options, STARTED.dataset, STARTED.level, STARTED.sensor, seed, **changes)


def drift(multiverse: Records, chosen: Mapping[str, Any]) -> Named:
    """Noise whose level moves while the network learns."""
    multiverse = list(multiverse)
    found: Named = []
    for level in DRIFTS:
        here = Condition("mnist", "clipped", level)
        for seed in FEW:
            methods = ("mse", "l1", "huber", "huber_mad", "cauchy", "alcl", "alcl_kappa")
            found += [(method, here.run(method, seed)) for method in methods]
            found += [
                (method, sensor_runs.sensor_run(method, chosen[method], "mnist", level, "clipped", seed))
                for method in ("contaminated_alcl", "censored_alcl", "tobit")
            ]
            for tuned_at in TUNED_AT:
                setting = setting_of("one", multiverse, Condition("mnist", "clipped", tuned_at))
                found.append((f"gcl, tuned at {tuned_at}", here.gcl(setting, seed)))
    return found


def learned() -> Named:
    """ALCL with a limit on its shape, or with shape, scale or both as they were at the start."""
    dataset, level = FARTHEST
    return [
        (method, Condition(dataset, sensor, level).run(method, seed))
        for sensor in HEADLINE_SENSORS
        for seed in FEW
        for method in LESS
    ]


def learned_frame(folder: str | Path) -> pd.DataFrame:
    """What is recorded of part `learned`, and of ALCL there, which is the multiverse's: one row a run.

    Columns: sensor, method, seed, psnr (dB), ssim, restored (points), alpha, beta (where they end); a measure that is
    not finite is -inf. Runs that are not recorded have no row.
    """
    dataset, level = FARTHEST
    plain = [("alcl", Condition(dataset, s, level).run("alcl", seed)) for s in HEADLINE_SENSORS for seed in FEW]
    there = {r["digest"]: r for r in (*_multiverse(folder, dataset), *worth_store(folder).read())}
    rows = []
    for method, run in (*plain, *learned()):
        if run.digest in there:
            metrics, history = there[run.digest]["metrics"], there[run.digest]["history"]
            values = [-math.inf if metrics[m] is None else metrics[m] * factor for m, factor in _SHOWN.items()]
            rows.append((run.sensor, method, run.seed, *values, history["alpha"][-1], history["beta"][-1]))
    table = pd.DataFrame(rows, columns=["sensor", "method", "seed", *_SHOWN, "alpha", "beta"])
    return table.sort_values("sensor", kind="stable", ignore_index=True)


def _multiverse(folder: str | Path, *datasets: str) -> list[Mapping[str, Any]]:
    return [record for dataset in datasets for record in multiverse_store(folder, dataset).read()]


def _chosen(folder: str | Path) -> Mapping[str, Any]:
    return sensor_runs.choice(RecordStore(Path(folder) / sensor_runs.STORE).read())


#: Part -> its runs, by what is recorded in a folder. Raises LookupError while what decides settings is not.
PARTS: dict[str, Callable[[str | Path], Named]] = {
    "ceiling": lambda folder: ceiling(),
    "wide": lambda folder: ceiling("known_noise_wide"),
    "ssim": lambda folder: ssim(_multiverse(folder, *SETS)),
    "start": lambda folder: start(_multiverse(folder, "mnist"), _chosen(folder)),
    "drift": lambda folder: drift(_multiverse(folder, "mnist"), _chosen(folder)),
    "learned": lambda folder: learned(),
}


def worth_store(folder: str | Path) -> RecordStore:
    """<folder>/worth.jsonl"""
    return RecordStore(Path(folder) / "worth.jsonl")


def results(part: str, folder: str | Path) -> pd.DataFrame:
    """What is recorded of a part: one row a declared run.

    Columns: name (what the run is called), method (the name up to a comma), factor (on the scale at the start; NaN if
    none is given), sensor, level, seed, psnr (dB), ssim, restored (points); NaN where the run is missing, -inf for a
    measure that is not finite. Raises LookupError while what decides settings is not recorded.
    """
    one_of("part", part, PARTS)
    there = {record["digest"]: record["metrics"] for record in worth_store(folder).read()}
    rows = []
    for name, run in PARTS[part](folder):
        metrics = there.get(run.digest)
        values = [math.nan] * len(_SHOWN) if metrics is None else [metrics[measure] for measure in _SHOWN]
        values = [-math.inf if v is None else v * factor for v, factor in zip(values, _SHOWN.values(), strict=True)]
        method, _, start = name.partition(", x ")
        rows.append((name, method.partition(",")[0], float(start or "nan"), run.sensor, run.level, run.seed, *values))
    return pd.DataFrame(rows, columns=["name", "method", "factor", "sensor", "level", "seed", *_SHOWN])


def run_worth(folder: str | Path, parts: Sequence[str] = tuple(PARTS), jobs: int = 1, **how: Any) -> None:
    """Run what `folder` does not hold of these parts.

    jobs, how: as for `sweeps.sweep`. Raises RunsFailed, after everything else has run, if runs failed or a part's
    settings are not decided.
    """
    for part in parts:
        one_of("parts", part, PARTS)
    failures: list[str] = []
    for part in parts:
        try:
            runs = [config for _, config in PARTS[part](folder)]
            for dataset in sorted({config.dataset for config in runs}):
                load_dataset(dataset)
            reconstruction.sweep(runs, worth_store(folder), jobs, description=f"worth: {part}", **how)
        except LookupError as error:
            failures.append(f"{part}: {error}")
        except sweeps.RunsFailed as error:
            failures.append(str(error))
    if failures:
        raise sweeps.RunsFailed("\n".join(failures), [])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m alcl.experiments worth", description="What learning is worth.")
    parser.add_argument("--parts", nargs="+", default=tuple(PARTS), help=f"of {', '.join(PARTS)}")
    sweeps.add_arguments(parser)
    options = parser.parse_args(arguments)

    def work() -> None:
        torch.set_num_threads(1)
        run_worth(options.records, options.parts, **sweeps.how(options))

    return sweeps.command(work)
