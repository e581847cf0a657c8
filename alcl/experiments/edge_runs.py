"""Beyond the edge of GCL's grid: is "optimally tuned" still true where the best setting lies on it?

The multiverse's grid was widened once, by a ring. Of the 252 choices that its rules had made in 36 of its 48 conditions
when this was declared, 67 lay on that ring, most of them at the scale 8. There GCL is nearly |e|^alpha, its limit for
large scales, and little new can come; but that was argued and not run. So the grid goes on where a choice lies on its
edge, and nowhere else, until the choice turns back.

The walk
    step        from a choice on an edge one further out: scale times 4 or half of it, shape doubled or halved
    round       all settings one step beyond the rules' choices, at the three tuning seeds, judged on validation images;
                every rule then chooses among finalists and all of these. At most ROUNDS rounds (the scale 8 becomes
                128, the shape 8 becomes 32).
    evaluation  where a rule that the multiverse evaluates chose beyond the grid: the new setting, with the seeds of the
                condition, beside what the multiverse has

Declared when the multiverse was nearly complete and its results had been seen; it decides nothing there. The tables of
the multiverse keep the grid's choices, and `changes` says what the others would be. ("kept" carries a choice of "one"
to another level and is not walked.)

    python -m alcl.experiments edge
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from . import reconstruction, sweeps
from .analysis import differences, median_interval
from .datasets import load_dataset
from .multiverse import (
    TUNED,
    TUNING_SEEDS,
    Condition,
    Setting,
    choose,
    declared,
    finalists,
    multiverse_store,
    on_edge,
    scores,
)
from .readings import CODE_READINGS
from .reconstruction import Run
from .records import RecordStore
from .specification import measured

Records = Sequence[Mapping[str, Any]]

#: Edge -> what shape and scale are multiplied by.
STEPS = {"alpha low": (0.5, 1.0), "alpha high": (2.0, 1.0), "beta low": (1.0, 0.5), "beta high": (1.0, 4.0)}
ROUNDS = 2
#: Measure -> the factor to its unit: dB, hundredths, points. "codes": mean accuracy of the readings of codes.
MEASURES = {"psnr": 1.0, "ssim": 100.0, "restored": 100.0, "codes": 100.0}


@functools.cache
def asked() -> dict[Condition, dict[str, tuple[int, ...]]]:
    """Condition -> {rule of `TUNED` that the multiverse evaluates there: seeds}, in the order they are declared."""
    found: dict[Condition, dict[str, tuple[int, ...]]] = {}
    for step in declared():
        if step.epochs is None:
            for rule in (rule for rule in step.rules if rule in TUNED):
                seeds = found.setdefault(step.condition, {})
                seeds[rule] = (*seeds.get(rule, ()), *step.seeds)
    return found


def outward(setting: Setting) -> list[Setting]:
    """One step beyond every edge that a setting lies on; nothing for one inside."""
    alpha, beta = setting
    return [(alpha * STEPS[side][0], beta * STEPS[side][1]) for side in on_edge(setting)]


def walk(records: Records, condition: Condition) -> tuple[list[dict[str, Setting]], list[Setting], bool]:
    """The rules' choices, from the grid's on round by round as far as recorded; all settings beyond it so far; whether
    all rounds are recorded.

    If not, the last settings are those of the next round. Raises LookupError while the grid's tuning is not recorded.
    """
    grid, beyond = finalists(records, condition), []
    rounds = [_choices(records, condition, grid)]
    while len(rounds) <= ROUNDS:
        further = {step for setting in rounds[-1].values() for step in outward(setting)} - {*beyond}
        if not further:
            break
        beyond += sorted(further)
        try:
            rounds.append(_choices(records, condition, [*grid, *beyond]))
        except LookupError:
            return rounds, beyond, False
    return rounds, beyond, True


def _choices(records: Records, condition: Condition, settings: Sequence[Setting]) -> dict[str, Setting]:
    table = scores(records, condition, settings, TUNING_SEEDS)
    rules = [rule for rule in TUNED if rule != "noisy" or condition.sensor != "clean"]
    return {rule: choose(rule, table) for rule in rules}


def tuning_runs(records: Records, condition: Condition) -> list[Run]:
    """Every setting beyond the grid that is known to be tried, at the tuning seeds. Raises as `walk`."""
    beyond = walk(records, condition)[1]
    return [condition.gcl(s, seed, evaluate_on="validation") for s in beyond for seed in TUNING_SEEDS]


def evaluation_runs(records: Records, condition: Condition) -> list[Run]:
    """What rules chose beyond the grid, at the seeds of the condition. Raises LookupError while a round is missing."""
    rounds, _, done = walk(records, condition)
    if not done:
        raise LookupError(f"a round of {condition.dataset}/{condition.sensor}/{condition.level} is not recorded")
    moved = {rule: rounds[-1][rule] for rule in rounds[0] if rounds[-1][rule] != rounds[0][rule]}
    runs = [condition.gcl(moved[r], seed) for r, seeds in asked()[condition].items() if r in moved for seed in seeds]
    return list({run.digest: run for run in runs}.values())


def edge_store(folder: str | Path) -> RecordStore:
    """<folder>/edge.jsonl"""
    return RecordStore(Path(folder) / "edge.jsonl")


def choices(records: Records, conditions: Iterable[Condition] | None = None) -> pd.DataFrame:
    """Every choice of a rule: of the grid, and where the walk ends. Conditions that lack the grid's tuning have none.

    records: of the multiverse's stores and `edge_store`. Columns: sensor, level, dataset, rule, alpha, beta (of the
    grid), new_alpha, new_beta, end: "inside" (not on an edge), "holds" (it is better than what lies beyond), "moves"
    (to a setting beyond, and what lies further out is worse again), "moves inside" (to another setting of the grid, by
    mean ranks among more settings), "on the edge" (still, after all rounds), "not run".
    """
    rows = []
    for condition in asked() if conditions is None else conditions:
        own = _own(records, condition)
        try:
            rounds, beyond, done = walk(own, condition)
        except LookupError:
            continue
        for rule, setting in rounds[0].items():
            new = rounds[-1][rule]
            tried = all(step in beyond for step in outward(new))
            moves = "moves" if new in beyond else "moves inside"
            end = "on the edge" if not tried else moves if new != setting else "holds" if on_edge(new) else "inside"
            end = end if done or end == "inside" else "not run"
            rows.append([condition.sensor, condition.level, condition.dataset, rule, *setting, *new, end])
    names = ["sensor", "level", "dataset", "rule", "alpha", "beta", "new_alpha", "new_beta", "end"]
    return pd.DataFrame(rows, columns=names)


def changes(records: Records) -> pd.DataFrame:
    """What the choices beyond the grid change, on test images: medians over seeds, paired, with exact intervals.

    records: as for `choices`. A row for each choice that moved and is evaluated, and each measure of `MEASURES`.
    Columns: sensor, level, dataset, rule, measure, own (whether the rule chooses by it), seeds, gain, gain_low,
    gain_high (GCL's, beyond minus grid), alcl, alcl_low, alcl_high (ALCL minus GCL, grid), beyond, beyond_low,
    beyond_high (ALCL minus GCL, beyond); NaN where runs are missing. dB, hundredths, points.
    """
    there = {record["digest"]: record["metrics"] for record in records}
    rows = []
    for condition, rules in asked().items():
        table = choices(records, [condition]).set_index("rule")
        for rule, seeds in rules.items():
            if rule not in table.index or table.loc[rule, "end"] in ("inside", "holds", "not run"):
                continue
            chosen = table.loc[rule]
            settings = [(chosen["alpha"], chosen["beta"]), (chosen["new_alpha"], chosen["new_beta"])]
            runs = [[condition.gcl(setting, seed) for seed in seeds] for setting in settings]
            runs.append([condition.run("alcl", seed) for seed in seeds])
            for measure, factor in MEASURES.items():
                old, new, alcl = (np.array([_value(there.get(r.digest), measure) for r in of]) * factor for of in runs)
                pairs = ((new, old), (alcl, old), (alcl, new))
                found = [value for pair in pairs for value in _median(differences(*pair))]
                own = rule.removeprefix("oracle_") in (measure, "one", "alpha2")
                rows.append([*chosen[["sensor", "level", "dataset"]], rule, measure, own, len(seeds), *found])
    found = [f"{name}{end}" for name in ("gain", "alcl", "beyond") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["sensor", "level", "dataset", "rule", "measure", "own", "seeds", *found])


def _own(records: Records, condition: Condition) -> list[Mapping[str, Any]]:
    return [record for record in records if record["config"]["dataset"] == condition.dataset]


def _value(metrics: Mapping[str, float | None] | None, measure: str) -> float:
    return float(np.mean([measured(metrics, name) for name in (CODE_READINGS if measure == "codes" else (measure,))]))


def _median(gaps: np.ndarray) -> tuple[float, float, float]:
    return (math.nan,) * 3 if np.isnan(gaps).any() else (float(np.median(gaps)), *median_interval(gaps))


def run_edge(folder: str | Path, jobs: int = 1, **how: Any) -> None:
    """Run what `folder` does not hold: the rounds of every condition whose grid is tuned, then the evaluation.

    jobs, how: as for `sweeps.sweep`. Raises RunsFailed, after everything else has run, if runs failed.
    """
    failures: list[str] = []
    for kind, make in [*((f"round {n + 1}", tuning_runs) for n in range(ROUNDS)), ("evaluation", evaluation_runs)]:
        for dataset in dict.fromkeys(condition.dataset for condition in asked()):
            load_dataset(dataset)
            records = [*multiverse_store(folder, dataset).read(), *edge_store(folder).read()]
            runs: list[Run] = []
            for condition in (condition for condition in asked() if condition.dataset == dataset):
                try:
                    runs += make(_own(records, condition), condition)
                except LookupError as error:
                    failures.append(f"{kind}: {error}")
            try:
                reconstruction.sweep(runs, edge_store(folder), jobs, description=f"edge: {dataset}, {kind}", **how)
            except sweeps.RunsFailed as error:
                failures.append(str(error))
    if failures:
        raise sweeps.RunsFailed("\n".join(failures), [])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m alcl.experiments edge", description="Beyond the edge of the grid.")
    sweeps.add_arguments(parser)
    options = parser.parse_args(arguments)

    def work() -> None:
        torch.set_num_threads(1)
        run_edge(options.records, **sweeps.how(options))

    return sweeps.command(work)
