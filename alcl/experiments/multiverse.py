"""The multiverse: every reading of what the abstract leaves open, as axes of one declared set of runs.

Declared here before any of it was run (Steegen et al. 2016; Simonsohn, Simmons and Nelson 2020 for what is made of it).

Axes
    sensor      unclipped; clamped to [-1, 2]; clipped to [0, 1]; clean targets (denoising)
    level       high, and "between", halfway from moderate to high. In the records that were there before, MSE's deficit
                in probe accuracy is 0.3 to 1.7 points at moderate and 6 to 23 at high, and the abstract's +4.75 and
                +4.51 lie in that gap: a level of this kind of noise at which they were measured must lie there too.
    data set    mnist, fashion_mnist (gray), cifar10, gtsrb (colour)
    rule        what GCL is given: `RULES`
    reading     `readings.READINGS`, beside PSNR and SSIM: all measured in every run
    statistic   points or relative; against MSE, GCL, the better of both: `STATISTICS`, of the same runs

The headline shows two sensors, by argument and not by result: *unclipped*, radiometric data, where the paper's heavy
tails exist at all, and *clipped* to [0, 1], what an 8-bit camera delivers and what every image file holds. (Clamped to
[-1, 2] is a practitioner's preprocessing of the first; clean targets are another task.) It has ten seeds at low, high
and extreme, GCL tuned in each.

GCL's grid is a core, where most optima have been seen, and a ring around it (`on_edge` tells them apart). Of the old
grid's 60 optima (4 sets, 5 levels, 3 measures) 30 lay on its edge: alpha = 1 in 14, alpha = 4 in 3, beta = 0.1 in 6,
beta = 4 in 13 (6 at a corner). So alpha goes on to 0.5 and 8 and beta to 8. Beyond, nothing new can come: for beta far
above the residuals GCL is |e|^alpha (MSE at alpha = 2, L1 at 1), for beta far below them its gradient vanishes and the
network stays as it was, which is the baseline "untrained". Every setting has one tuning seed; the best by any criterion
are finalists and have two more (a race, as successive halving is), and each rule chooses among all finalists by its
mean over three. (Where settings are so close that one seed misses the best, it matters little which is chosen.) What
lies beyond the ring was run later, where a choice lies on it: `edge_runs`.

Size. The two headline sensors have ten seeds at the two levels, the others five; low and extreme have five at first and
the other five at the very end. Methods beside the point and baselines without a network have five (`few`).

Order: the most decisive comes first, and whatever has been run is of use. If every criterion has a best setting of its
own, there are about 7,600 runs, 26 hours of one core, and fewer where they agree: 0.4 for the ablations, 6 for the
headline sensors at high, 5 at between, 3 at extreme, 1 for mnist at low and for longer training there, then the other
sensors (3 and 3), low on the other sets, and the last seeds of low and extreme.
`python -m alcl.experiments multiverse --list` prints what is declared, done and expected (upper bounds, while tuning
has still to say how many settings there are); `SECONDS` has what a run costs. (Costs were measured on seed 0 of mnist
and cifar10 at high, eight methods, and their test measures were seen: among them that Welsch's loss with a MAD width
and GCL at the public default can collapse there. Neither has fewer seeds or conditions than the other methods for it.)
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from . import reconstruction, sweeps
from .configs import one_of
from .datasets import load_dataset
from .readings import CODE_READINGS
from .reconstruction import Run, method_run
from .records import RecordStore

Records = Iterable[Mapping[str, Any]]
Setting = tuple[float, float]  # GCL's alpha and beta

SETS = ("mnist", "fashion_mnist", "cifar10", "gtsrb")
SENSORS = ("unclipped", "clamped", "clipped", "clean")
HEADLINE_SENSORS = ("clipped", "unclipped")
LEVELS = ("between", "high")
#: GCL "kept" is tuned at this level and used at every other; at this one it is what was tuned at high.
KEPT_LEVEL = "between"
SEEDS = tuple(range(10))
#: Baselines without a network: only the noise is drawn, and their measures hardly vary.
FEW = tuple(range(5))
#: Of no evaluation. The first for the whole grid, the others for finalists.
TUNING_SEEDS = (1000, 1001, 1002)
STATISTICS = tuple((unit, against) for unit in ("points", "relative") for against in ("mse", "gcl", "better of both"))

CORE_ALPHAS, CORE_BETAS = (1.0, 1.5, 2.0, 4.0), (0.2, 0.35, 0.5, 1.0, 2.0)
RING: tuple[Setting, ...] = (
    *((0.5, beta) for beta in (0.5, 2.0, 8.0)),
    *((8.0, beta) for beta in (0.35, 0.5, 1.0)),
    *((alpha, 0.1) for alpha in (1.0, 2.0)),
    *((alpha, 8.0) for alpha in (1.0, 1.5, 2.0)),
)
GRID: tuple[Setting, ...] = (*((alpha, beta) for alpha in CORE_ALPHAS for beta in CORE_BETAS), *RING)
#: The middle of the core, by rank in each: the lower one of two.
MEDIAN: Setting = (1.5, 0.5)

#: What tuning is judged by, larger is better. "codes": the mean of the four readings of codes, which measure one thing
#: and are each noisier than their differences between settings. "noisy": minus the mean absolute error against *noisy*
#: validation images, all that a user has (`readings.noisy_error`). "one": minus the mean rank by the first four.
ORACLES = ("psnr", "ssim", "restored", "codes")
CRITERIA = (*ORACLES, "noisy", "one")
#: Rule -> in words. Those of `TUNED` choose among a condition's finalists.
RULES = {
    **{f"oracle_{m}": f"best by {m} on clean validation images of the condition" for m in ORACLES},
    "one": "one setting for all measures of the condition: the best mean rank on clean validation images",
    "kept": "that one setting of another level (KEPT_LEVEL), as it is",
    "noisy": "best by mean absolute error on noisy validation images of the condition, as a user must",
    "alpha2": "alpha = 2 (correntropy proper), one setting for all measures",
    "median": "the middle of the grid, not tuned",
    "public": "the public default, alpha = 2, sigma = 0.2, not tuned",
}
TUNED = (*(f"oracle_{m}" for m in ORACLES), "one", "noisy", "alpha2")

MAIN = ("mse", "l1", "huber_mad", "welsch_mad", "gcl_public", "alcl", "alcl_kappa")
CONTROLS = ("huber", "cauchy", "alcl_frozen", "clean")
CORE = ("mse", "alcl", "alcl_kappa")
ABLATIONS = ("alcl", "alcl_floor", "alcl_cap2", "alcl_cap3")
#: Of GCL at low and extreme.
REFERENCE = ("oracle_psnr", "oracle_restored", "one", "kept", "noisy")
NO_LOSS = ("noisy_images", "pca", "untrained")
LONGER = 60  # epochs, three times as many

#: Seconds of one run with all measures on one thread, as measured when this was declared (two such processes at once).
SECONDS = {"mnist": 9.0, "fashion_mnist": 9.0, "cifar10": 16.0, "gtsrb": 16.0}


@dataclass(frozen=True)
class Condition:
    """One condition: data set, sensor (of `SENSORS`) and level."""

    dataset: str
    sensor: str
    level: str

    def run(self, method: str, seed: int, **changes: Any) -> Run:
        """The run of a method here, with all measures; `changes` override fields of Run, or give GCL's setting.

        Clean targets are a sensor of the multiverse and a field of their own in Run: inputs are unclipped there.
        """
        one_of("sensor", self.sensor, SENSORS)
        clean = {"targets": "clean"} if self.sensor == "clean" else {"sensor": self.sensor}
        return method_run(method, self.dataset, self.level, seed, **{"measures": "all", **clean, **changes})

    def gcl(self, setting: Setting, seed: int, **changes: Any) -> Run:
        return self.run("gcl", seed, alpha=setting[0], beta=setting[1], **changes)


# --- GCL's rules ----------------------------------------------------------------------------------------------------


def on_edge(setting: Setting) -> tuple[str, ...]:
    """The edges of the grid that a setting lies on, of "alpha low", "alpha high", "beta low", "beta high"."""
    alpha, beta = setting
    sides = {
        "alpha low": alpha < CORE_ALPHAS[0],
        "alpha high": alpha > CORE_ALPHAS[-1],
        "beta low": beta < CORE_BETAS[0],
        "beta high": beta > CORE_BETAS[-1],
    }
    return tuple(side for side, there in sides.items() if there)


def first_tuning(condition: Condition) -> list[Run]:
    """The whole grid at the first tuning seed, judged on validation images."""
    return [condition.gcl(setting, TUNING_SEEDS[0], evaluate_on="validation") for setting in GRID]


def final_tuning(records: Records, condition: Condition) -> list[Run]:
    """The finalists at the other tuning seeds. Raises LookupError while `first_tuning` is not recorded."""
    chosen = finalists(records, condition)
    return [condition.gcl(s, seed, evaluate_on="validation") for seed in TUNING_SEEDS[1:] for s in chosen]


def finalists(records: Records, condition: Condition) -> list[Setting]:
    """The best by every criterion, the three best by "one", the best of alpha = 2 by it; in the order of the grid."""
    table = scores(records, condition, GRID, TUNING_SEEDS[:1])
    found = {s for criterion in CRITERIA for s in _best(table, criterion, 3 if criterion == "one" else 1)}
    found |= set(_best({s: row for s, row in table.items() if s[0] == 2.0}, "one", 1))
    return [setting for setting in GRID if setting in found]


def scores(
    records: Records, condition: Condition, settings: Sequence[Setting], seeds: Sequence[int]
) -> dict[Setting, dict[str, float]]:
    """{setting: {criterion: mean over tuning seeds}}; a measure that is not finite counts as -inf.

    Raises LookupError, with their number, while runs are not recorded.
    """
    there = {record["digest"]: record["metrics"] for record in records}
    wanted = {s: [_tuning_digest(condition, s, seed) for seed in seeds] for s in settings}
    missing = sum(digest not in there for digests in wanted.values() for digest in digests)
    if missing:
        raise LookupError(
            f"{missing} tuning runs of {condition.dataset}/{condition.sensor}/{condition.level} are not recorded"
        )
    table = {}
    for setting, digests in wanted.items():
        rows = [_criteria(there[digest]) for digest in digests]
        table[setting] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return table


@functools.cache
def _tuning_digest(condition: Condition, setting: Setting, seed: int) -> str:
    return condition.gcl(setting, seed, evaluate_on="validation").digest


def _criteria(metrics: Mapping[str, float | None]) -> dict[str, float]:
    values = {name: -np.inf if value is None else value for name, value in metrics.items()}
    codes = np.mean([values[name] for name in CODE_READINGS])
    error = metrics["noisy_error"]
    rest = {"codes": float(codes), "noisy": -np.inf if error is None else -error}
    return {name: values[name] for name in ORACLES if name != "codes"} | rest


def _best(table: Mapping[Setting, Mapping[str, float]], criterion: str, number: int) -> list[Setting]:
    """The best settings by a criterion, the best first; of equal ones that with the larger beta, then alpha."""
    if criterion == "one":
        ranks = np.mean([rankdata([-row[m] for row in table.values()]) for m in ORACLES], axis=0)
        values = dict(zip(table, -ranks, strict=True))
    else:
        values = {setting: row[criterion] for setting, row in table.items()}
    return sorted(table, key=lambda s: (values[s], s[1], s[0]), reverse=True)[:number]


def setting_of(rule: str, records: Records, condition: Condition) -> Setting:
    """GCL's setting in a condition by a rule of `RULES`.

    Raises ValueError for another rule; LookupError while tuning runs that it needs are not recorded.
    """
    one_of("rule", rule, RULES)
    records = list(records)
    if rule == "median":
        return MEDIAN
    if rule == "public":
        options = reconstruction.METHODS["gcl_public"][1]
        return options["alpha"], options["beta"]
    if rule == "kept":
        return setting_of(
            "one", records, replace(condition, level="high" if condition.level == KEPT_LEVEL else KEPT_LEVEL)
        )
    return choose(rule, scores(records, condition, finalists(records, condition), TUNING_SEEDS))


def choose(rule: str, table: Mapping[Setting, Mapping[str, float]]) -> Setting:
    """The setting that a rule of `TUNED` takes from these `scores`."""
    if rule == "alpha2":
        table = {setting: row for setting, row in table.items() if setting[0] == 2.0}
    return _best(table, {"alpha2": "one"}.get(rule, rule.removeprefix("oracle_")), 1)[0]


# --- what is declared -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """Some runs of one condition, in the order they are made. kind: "tuning", "finals", or "evaluation".

    methods, rules: of an evaluation, at each of `seeds`; "clean" is left out where all targets are. few: methods at
    those of the seeds that are in `FEW` alone. epochs: None for the data set's.
    """

    part: str
    condition: Condition
    kind: str = "evaluation"
    methods: tuple[str, ...] = ()
    few: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    seeds: tuple[int, ...] = SEEDS
    epochs: int | None = None

    def runs(self, records: Records) -> list[Run]:
        """The step's runs, without repetition. Raises LookupError while tuning that decides them is not recorded."""
        if self.kind == "tuning":
            return first_tuning(self.condition)
        if self.kind == "finals":
            return final_tuning(records, self.condition)
        records = list(records)
        settings = list(dict.fromkeys(setting_of(rule, records, self.condition) for rule in self.rules))
        changes = {} if self.epochs is None else {"epochs": self.epochs}
        found = []
        for seed in self.seeds:
            methods = (*self.methods, *(self.few if seed in FEW else ()))
            found += [self.condition.run(method, seed, **changes) for method in methods]
            found += [self.condition.gcl(setting, seed, **changes) for setting in settings]
        return list({config.digest: config for config in found}.values())

    def most(self) -> int:
        """How many runs there are at most, whatever the tuning says."""
        if self.kind == "tuning":
            return len(GRID)
        if self.kind == "finals":
            return (len(TUNING_SEEDS) - 1) * (len(CRITERIA) + 3)
        return len(self.seeds) * (len(self.methods) + len(self.rules)) + len(self.few) * len({*self.seeds} & {*FEW})


def _tuned(part: str, condition: Condition, **evaluation: Any) -> list[Step]:
    return [Step(part, condition, "tuning"), Step(part, condition, "finals"), Step(part, condition, **evaluation)]


def declared() -> list[Step]:
    """Everything, in the order it is run."""
    steps = []
    ablated = [Condition("mnist", sensor, level) for level in ("high", "extreme") for sensor in HEADLINE_SENSORS]
    for seeds in (SEEDS[:5], SEEDS[5:]):
        steps += [Step("ablations", condition, methods=ABLATIONS, seeds=seeds) for condition in ablated]
    here = tuple(rule for rule in RULES if rule not in ("kept", "public"))  # "public" is the method gcl_public
    for sensor in HEADLINE_SENSORS:
        for dataset in SETS:
            condition = Condition(dataset, sensor, "high")
            steps += _tuned(f"high, {sensor}", condition, methods=MAIN, few=(*CONTROLS, *NO_LOSS), rules=here)
    for sensor in HEADLINE_SENSORS:
        for dataset in SETS:
            condition = Condition(dataset, sensor, KEPT_LEVEL)
            few = ("l1", *NO_LOSS)
            methods = (*CORE, "gcl_public")
            steps += _tuned(f"between, {sensor}", condition, methods=methods, few=few, rules=(*here, "kept"))
            steps.append(Step(f"between, {sensor}", replace(condition, level="high"), rules=("kept",)))
    steps += [
        s for sensor in HEADLINE_SENSORS for d in SETS for s in _referred("extreme", Condition(d, sensor, "extreme"))
    ]
    for sensor in HEADLINE_SENSORS:
        condition = Condition("mnist", sensor, "low")
        steps += _referred("low", condition)
        longer = ("l1", "huber_mad", *CORE)
        steps.append(Step("longer", condition, methods=longer, rules=("oracle_psnr",), seeds=FEW, epochs=LONGER))
    for level in LEVELS[::-1]:
        for sensor in ("clamped", "clean"):
            for dataset in SETS:
                # with clean targets nobody tunes on noisy ones, and a baseline without a loss has no targets
                rules = tuple(rule for rule in here if rule != "noisy" or sensor != "clean")
                few = () if sensor == "clean" else NO_LOSS
                condition = Condition(dataset, sensor, level)
                steps += _tuned(f"{level}, {sensor}", condition, methods=CORE, few=few, rules=rules, seeds=FEW)
            if level == KEPT_LEVEL:
                both = [Condition(d, sensor, at) for d in SETS for at in LEVELS]
                steps += [Step(f"{level}, {sensor}", condition, rules=("kept",), seeds=FEW) for condition in both]
    steps += [s for sensor in HEADLINE_SENSORS for d in SETS[1:] for s in _referred("low", Condition(d, sensor, "low"))]
    for level in ("extreme", "low"):
        for sensor in HEADLINE_SENSORS:
            for dataset in SETS:
                condition = Condition(dataset, sensor, level)
                steps.append(Step("seeds 5 to 9", condition, methods=MAIN, rules=REFERENCE, seeds=SEEDS[5:]))
    return steps


def _referred(part: str, condition: Condition) -> list[Step]:
    """A condition of the reference that is not of the multiverse; seeds 5 to 9 come last of all."""
    return _tuned(part, condition, methods=MAIN, few=NO_LOSS, rules=REFERENCE, seeds=FEW)


def multiverse_store(folder: str | Path, dataset: str) -> RecordStore:
    """The record store of a data set: <folder>/multiverse_<dataset>.jsonl."""
    return RecordStore(Path(folder) / f"multiverse_{dataset}.jsonl")


def run_multiverse(
    folder: str | Path,
    jobs: int = 1,
    datasets: Sequence[str] = SETS,
    steps: Sequence[Step] | None = None,
    **how: Any,
) -> None:
    """Run what `folder` does not hold of the declared steps of these data sets, in their order.

    jobs, how: as for `sweeps.sweep`. Raises its RunsFailed after everything else has run, if runs failed; steps that
    need what failed are left out and named.
    """
    for dataset in datasets:
        one_of("datasets", dataset, SETS if steps is None else {step.condition.dataset for step in steps})
        load_dataset(dataset)  # a missing one is one clear error, before any work
    failures: list[str] = []
    for step in declared() if steps is None else steps:
        if step.condition.dataset not in datasets:
            continue
        store = multiverse_store(folder, step.condition.dataset)
        name = f"{step.part}: {step.condition.dataset}/{step.condition.sensor}/{step.condition.level}, {step.kind}"
        try:
            reconstruction.sweep(step.runs(store.read()), store, jobs, description=name, **how)
        except LookupError as error:
            failures.append(f"{name}: {error}")
        except sweeps.RunsFailed as error:
            failures.append(str(error))
    if failures:
        raise sweeps.RunsFailed("\n".join(failures), [])


def overview(folder: str | Path, datasets: Sequence[str] = SETS) -> list[dict[str, Any]]:
    """What is declared and done, a row a part: part, declared (runs; at most, where tuning still decides), done,
    exact (whether nothing is left to be decided), hours (of one core, for all that is declared)."""
    records = {dataset: multiverse_store(folder, dataset).read() for dataset in datasets}
    done = {dataset: {record["digest"] for record in found} for dataset, found in records.items()}
    rows: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    for step in declared():
        dataset = step.condition.dataset
        if dataset not in datasets:
            continue
        row = rows.setdefault(step.part, {"part": step.part, "declared": 0, "done": 0, "exact": True, "hours": 0.0})
        try:
            digests = {config.digest for config in step.runs(records[dataset])} - seen
            seen |= digests
            number = len(digests)
            row["done"] += len(digests & done[dataset])
        except LookupError:
            number, row["exact"] = step.most(), False
        row["declared"] += number
        row["hours"] += number * SECONDS[dataset] * (step.epochs or 20) / 20 / 3600
    return list(rows.values())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m alcl.experiments multiverse", description="Run the multiverse.")
    parser.add_argument("--datasets", nargs="+", default=SETS, help=f"of {', '.join(SETS)}")
    parser.add_argument("--list", action="store_true", help="print what is declared and done, and run nothing")
    sweeps.add_arguments(parser)
    options = parser.parse_args(arguments)

    def work() -> None:
        for dataset in options.datasets:
            one_of("datasets", dataset, SETS)
        if options.list:
            rows = overview(options.records, options.datasets)
            total = {"part": "all", "exact": all(row["exact"] for row in rows)}
            total |= {key: sum(row[key] for row in rows) for key in ("done", "declared", "hours")}
            for row in (*rows, total):
                most = "" if row["exact"] else "at most "
                print(f"{row['part']:20} {row['done']:5d} of {most}{row['declared']} runs, {row['hours']:.1f} hours")
            return
        torch.set_num_threads(1)
        run_multiverse(options.records, datasets=options.datasets, **sweeps.how(options))

    return sweeps.command(work)
