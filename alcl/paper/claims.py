"""The claims of the abstract, and a verdict on each: from the records and the executed proofs.

No verdict is typed: `claims_ledger` computes them by rules that were fixed before the grid was run.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..experiments.analysis import (
    CONDITION,
    CONFIDENCE,
    SEEDS,
    benchmark_frame,
    bootstrap_interval,
    differences,
    fewest_seeds,
    median_interval,
    sort_records,
    tuning_records,
    variance_ratio,
    variance_ratio_interval,
)
from ..experiments.datasets import DATASETS
from ..experiments.protocol import BENCHMARK, EMBEDDED
from ..experiments.reconstruction import method_in
from .theorems import find_theorems

__all__ = ["VERDICTS", "claims_ledger", "ledger_markdown", "load_bench", "load_claims", "theorem_index"]

#: Of theorems, then of studies and the bench; as in `alcl.paper.curve` where they are the same words.
VERDICTS = (
    *("proved", "partly", "not yet proved"),
    *("shown", "not shown", "excluded", "contradicted", "undecided", "not yet measured"),
)


def load_claims() -> list[dict[str, Any]]:
    """The abstract's claims, split where one sentence makes several, with what decides each: `claims.json`."""
    return json.loads(Path(__file__).with_name("claims.json").read_text("utf-8"))


def load_bench(folder: str | Path) -> dict[str, Any] | None:
    """What `make bench` wrote into a folder of records; None if it was not run."""
    path = Path(folder) / "bench.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def theorem_index(folder: str | Path) -> pd.DataFrame:
    """The theorems of a folder `notebooks`: index id, columns notebook, title, checked.

    A theorem is checked if the cell that checks it (see `theorems`) asserts something, and was executed without an
    error in the notebook's .ipynb, in which the cell has the same place as in the source.
    """
    rows = []
    for theorem in find_theorems(Path(folder).resolve().parent):
        path = Path(folder) / f"{theorem.notebook}.ipynb"
        checked = theorem.asserts and path.exists() and _passed(path, theorem.id, theorem.check)
        rows.append([theorem.id, theorem.notebook, theorem.title, bool(checked)])
    return pd.DataFrame(rows, columns=["id", "notebook", "title", "checked"]).set_index("id")


def _passed(path: Path, theorem: str, number: int | None) -> bool:
    """Whether an executed notebook's code cell In [number] says that it checks a theorem, and ran without an error."""
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code" and cell["execution_count"] == number:
            says = re.search(rf"^\s*# check:.*\b{theorem}\b", "".join(cell["source"]), re.MULTILINE)
            return bool(says) and not any(output["output_type"] == "error" for output in cell["outputs"])
    return False


@dataclass(frozen=True)
class _Unit:
    """One comparison that a claim requires: a condition, or a data set with its levels together.

    samples: shape (n, ...), one row a seed of `seeds`; statistic: (B, n, ...) -> (B,). The interval, by `interval_of`,
    holds jointly for all `comparisons` of the claim.
    """

    name: str
    seeds: tuple[int, ...]
    samples: np.ndarray
    statistic: Callable[[np.ndarray], np.ndarray]
    interval_of: Callable[[np.ndarray, float], tuple[float, float]]
    comparisons: int

    @property
    def measured(self) -> bool:
        return len(self.seeds) >= fewest_seeds(self.comparisons)

    @property
    def complete(self) -> bool:
        return self.measured and set(self.seeds) >= set(SEEDS)

    @functools.cached_property
    def estimate(self) -> float:
        with np.errstate(all="ignore"):
            return float(self.statistic(self.samples[None])[0])

    @functools.cached_property
    def interval(self) -> tuple[float, float]:
        return self.interval_of(self.samples, 1 - (1 - CONFIDENCE) / self.comparisons)

    def decided(self, region: tuple[float, float]) -> str:
        """Where the interval lies: inside the claimed region ("for"), outside ("against"), or across ("undecided")."""
        low, high = self.interval
        if region[0] < low and (high < region[1] or region[1] == math.inf):
            return "for"
        return "against" if high <= region[0] or low >= region[1] else "undecided"


def claims_ledger(
    records: Iterable[Mapping[str, Any]],
    theorems: pd.DataFrame | None = None,
    claims: Sequence[Mapping[str, Any]] | None = None,
    bench: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """The verdict on every claim of the abstract, computed by these rules, which were fixed before the grid was run.

    **Theorems** (`theorems` is `theorem_index` of the notebooks). "proved": every theorem that the claim names is
    stated and checked in an executed notebook. "partly": so it is, and so is a theorem that limits the claim; the
    column `missing` says what the limit is. "not yet proved": otherwise.

    **Studies.** A claim requires one comparison per condition, over all data sets and levels it speaks of: ALCL with
    what the claim compares it with, paired by seed. A claim about variance or cost requires one per data set, over its
    levels together. Each comparison has a region in which the claim holds:

    - superiority: median difference above 0;
    - equivalence ("small differences"): median difference within the margin (accuracy: 1 percentage point);
    - variance: geometric mean over levels of var(ALCL)/var(other) below 1;
    - cost: median ratio of training times, GCL's including the tuning of its condition, below 1;
    - gain ("up to"): median difference to the better of MSE and tuned GCL above 0; see below.

    It has an interval: exact for medians (`median_interval`), jackknife for variances (`variance_ratio_interval`),
    bootstrap for times; all intervals of one claim hold jointly at 95 % (Bonferroni). A comparison is *for* the claim
    if its interval lies inside the region, *against* if outside, else undecided. It counts as measured from
    `fewest_seeds` on, and as complete with all `SEEDS`; the column `missing` names whatever is not complete.

    - "shown": all required comparisons are complete and for the claim;
    - "partly": some measured comparison is for it, but not all are, or some are not complete;
    - "contradicted": none is for it, and one is against it;
    - "not shown": all are complete, and none is for or against it;
    - "undecided": some are measured, none is for or against it, and not all are complete;
    - "not yet measured": none is measured.

    A gain "up to x" needs one condition only: "shown" if in the measured condition with the largest gain the interval
    lies above 0 and reaches x; "partly" if it lies above 0 and ends below x. Else, where all are complete:
    "contradicted" if every interval ends below 0, "excluded" if every one ends below x (so that the number does not
    hold under this reading), or "not shown".

    **Bench** (`bench` is records/bench.json). A training run costs at most 1.1 times one with MSE: the ratio of two
    epochs that took turns on an idle machine, with an exact interval for its median over the turns. "shown" if the
    interval ends below the limit, "contradicted" if it begins above, else "not shown". (Seconds of recorded runs depend
    on what else their machine did.)

    All this is judged twice: on the benchmark data sets (two gray, two RGB), which alone decide `verdict`, and on the
    embedded ones (`embedded`, `embedded_verdict`), which are small stand-ins.

    Returns one row a claim: id, claim, kind, evidence, result, verdict, missing, embedded, embedded_verdict.
    """
    records = list(records)
    frame = benchmark_frame(records)
    tuning = _tuning_seconds(records)
    moved = _learned(records)
    rows = []
    for claim in load_claims() if claims is None else claims:
        if claim["kind"] == "theorem":
            evidence, result, verdict, missing = _judge_theorem(claim, theorems)
            result += f"; {moved}" if claim["id"] == "1" and moved else ""
            rows.append([claim["id"], claim["claim"], "theorem", evidence, result, verdict, missing, "", ""])
            continue
        if claim["kind"] == "bench":
            rows.append([claim["id"], claim["claim"], "bench", "make bench", *_judge_bench(claim, bench), "", ""])
            continue
        judged = [_judge_study(claim, frame, tuning, datasets) for datasets in (BENCHMARK, EMBEDDED)]
        (result, verdict, missing), (embedded, embedded_verdict, gaps) = judged
        embedded += f" (missing: {gaps})" if gaps else ""
        evidence = f"{claim['study']}, {', '.join(claim['levels'])}"
        rows.append(
            [claim["id"], claim["claim"], "study", evidence, result, verdict, missing, embedded, embedded_verdict]
        )
    names = ["id", "claim", "kind", "evidence", "result", "verdict", "missing", "embedded", "embedded_verdict"]
    return pd.DataFrame(rows, columns=names)


def ledger_markdown(ledger: pd.DataFrame) -> str:
    """The ledger as a Markdown table: claim, evidence and numbers, verdict; then the embedded data sets' verdict."""
    lines = ["| | claim of the abstract | what we find | verdict | on the embedded sets |", "|---|---|---|---|---|"]
    for row in ledger.itertuples(index=False):
        found = row.result + (f" *Missing or limited:* {row.missing}." if row.missing else "")
        embedded = f"**{row.embedded_verdict}**: {row.embedded}" if row.embedded_verdict else ""
        cells = [row.id, row.claim, f"{row.evidence}: {found}", f"**{row.verdict}**", embedded]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _judge_theorem(claim: Mapping[str, Any], theorems: pd.DataFrame | None) -> tuple[str, str, str, str]:
    named = [*claim["theorems"], *claim.get("limits", [])]
    checked = {} if theorems is None else theorems.loc[theorems["checked"], "notebook"].to_dict()
    open_ = [name for name in named if name not in checked]
    evidence = "Theorems " + ", ".join(claim["theorems"])
    if claim.get("limits"):
        evidence += f", limited by {', '.join(claim['limits'])}"
    books = ", ".join(sorted({checked[name] for name in named if name in checked}))
    result = f"stated, proved and checked in {books}" if books else "no executed proof found"
    if open_:
        return evidence, result, "not yet proved", f"no executed check of {', '.join(open_)}"
    return evidence, result, "partly" if claim.get("limits") else "proved", claim.get("limit", "")


def _judge_bench(claim: Mapping[str, Any], bench: Mapping[str, Any] | None) -> tuple[str, str, str]:
    """(result, verdict, missing)"""
    rows = bench["rows"] if bench else []
    measured = [row for row in rows if (row["what"], row["loss"], row.get("threads")) == ("epoch", "ALCL", 1)]
    if not measured or "low" not in measured[0]:
        return "no records", "not yet measured", "`make bench` on an idle machine"
    ratio, low, high = (measured[0][name] for name in ("ratio", "low", "high"))
    verdict = "shown" if high <= claim["limit"] else "contradicted" if low > claim["limit"] else "not shown"
    result = f"an epoch of gray images takes {ratio:.2f} times [{low:.2f}, {high:.2f}] MSE's, on one thread"
    return result, verdict, ""


def _judge_study(
    claim: Mapping[str, Any], frame: pd.DataFrame, tuning: Mapping[tuple[str, str], float], datasets: Sequence[str]
) -> tuple[str, str, str]:
    """(result, verdict, missing) of one claim on these data sets."""
    channels = {"gray": 2, "rgb": 3}.get(claim["datasets"])
    chosen = [d for d in datasets if channels in (None, len(DATASETS[d].image_shape))]
    units = _units(claim, frame, tuning, chosen)
    measured = [unit for unit in units if unit.measured]
    missing = _missing(units)
    if not measured:
        return _so_far(claim, units), "not yet measured", missing
    if claim["study"] == "gain":
        return *_judge_gain(claim, units, measured), missing
    region = {
        "superiority": (0.0, math.inf),
        "equivalence": (-claim.get("margin", 0.0), claim.get("margin", 0.0)),
        "variance": (-math.inf, 1.0),
        "cost": (-math.inf, 1.0),
    }[claim["study"]]
    votes: dict[str, list[str]] = {"for": [], "against": [], "undecided": []}
    for unit in measured:
        votes[unit.decided(region)].append(unit.name)
    complete = all(unit.complete for unit in units)
    if votes["for"]:
        verdict = "shown" if complete and len(votes["for"]) == len(units) else "partly"
    elif votes["against"]:
        verdict = "contradicted"
    else:
        verdict = "not shown" if complete else "undecided"
    return f"{_mean(claim, measured)}; {_tally(votes)}", verdict, missing


def _judge_gain(claim: Mapping[str, Any], units: Sequence[_Unit], measured: Sequence[_Unit]) -> tuple[str, str]:
    best = max(measured, key=lambda unit: unit.estimate)
    low, high = best.interval
    if low > 0:
        verdict = "shown" if high >= claim["number"] else "partly"
    elif not all(unit.complete for unit in units):
        verdict = "undecided"
    else:
        upper = max(unit.interval[1] for unit in units)
        verdict = "contradicted" if upper < 0 else "excluded" if upper < claim["number"] else "not shown"
    return f"largest gain {_shown(claim, best.estimate, low, high)}, at {best.name}", verdict


def _units(
    claim: Mapping[str, Any], frame: pd.DataFrame, tuning: Mapping[tuple[str, str], float], datasets: Sequence[str]
) -> list[_Unit]:
    """What a claim requires, recorded or not: one comparison per condition, or one a data set for variance and cost."""
    table = frame[frame["measure"] == claim["measure"]]
    values = table.pivot(index=[*CONDITION, "seed"], columns="method", values="value")
    seconds = table.pivot(index=[*CONDITION, "seed"], columns="method", values="seconds")
    levels = list(claim["levels"])

    def condition(wide: pd.DataFrame, dataset: str, level: str, methods: Sequence[str]) -> pd.DataFrame:
        """Columns `methods`, one row for each seed that all of them have."""
        wide = wide.reindex(columns=list(methods))
        there = (dataset, level) in wide.index.droplevel("seed")
        return wide.loc[(dataset, level)].dropna() if there else wide.iloc[:0].droplevel(CONDITION)

    def difference(dataset: str, level: str) -> tuple[str, pd.DataFrame, np.ndarray]:
        name = f"{dataset}/{level}"
        if claim["study"] != "gain":
            pair = condition(values, dataset, level, ["alcl", claim["against"]])
            return name, pair, differences(pair["alcl"].to_numpy(), pair[claim["against"]].to_numpy())
        three = condition(values, dataset, level, ["alcl", "mse", "gcl"])
        rival = "gcl" if three["gcl"].median() >= three["mse"].median() else "mse"
        found = differences(three["alcl"].to_numpy(), three[rival].to_numpy())
        return f"{name} over {rival}", three, found

    def together(dataset: str) -> tuple[str, pd.DataFrame, np.ndarray]:
        """Samples (n, levels, 2) of values or seconds, of ALCL and of the other, at the seeds that every level has."""
        wide = values if claim["study"] == "variance" else seconds
        parts = [condition(wide, dataset, level, ["alcl", claim["against"]]) for level in levels]
        seeds = sorted(set.intersection(*(set(part.index) for part in parts)))
        samples = np.stack([part.loc[seeds].to_numpy() for part in parts], axis=1)
        if claim["study"] == "cost":
            samples[..., 1] += [tuning.get((dataset, level), 0.0) for level in levels]
        return dataset, pd.DataFrame(index=seeds), samples

    if claim["study"] in ("variance", "cost"):
        found = [together(dataset) for dataset in datasets]
    else:
        found = [difference(dataset, level) for dataset in datasets for level in levels]
    how = {"variance": (variance_ratio, variance_ratio_interval), "cost": (_time_ratio, _time_ratio_interval)}
    chosen = how.get(claim["study"], (_median, median_interval))
    return [_Unit(name, tuple(seeds.index), samples, *chosen, len(found)) for name, seeds, samples in found]


def _median(samples: np.ndarray) -> np.ndarray:
    return np.median(samples, axis=1)


def _time_ratio(samples: np.ndarray) -> np.ndarray:
    """Median over seeds and levels of ALCL's time divided by the other's; samples (B, n, levels, 2) to (B,)."""
    return np.median(samples[..., 0] / samples[..., 1], axis=(1, 2))


def _time_ratio_interval(samples: np.ndarray, confidence: float) -> tuple[float, float]:
    return bootstrap_interval(samples, confidence, _time_ratio)


def _mean(claim: Mapping[str, Any], measured: Sequence[_Unit]) -> str:
    """The mean of the comparisons with its 95 % interval; the seeds that all of them have are resampled together,
    because the levels of a data set share their random numbers."""
    seeds = sorted(set.intersection(*(set(unit.seeds) for unit in measured)))
    chosen = [unit.samples[[unit.seeds.index(seed) for seed in seeds]] for unit in measured]

    def mean(rows: np.ndarray) -> np.ndarray:
        rows = rows.astype(int)
        return np.mean([unit.statistic(x[rows]) for unit, x in zip(measured, chosen, strict=True)], axis=0)

    if len(seeds) < fewest_seeds():
        estimate = _center(claim, [unit.estimate for unit in measured])
        return f"mean {_shown(claim, estimate)} (no interval: too few common seeds)"
    if claim["study"] == "variance":
        conditions = np.concatenate(chosen, axis=1)
        shown = _shown(claim, float(variance_ratio(conditions)), *variance_ratio_interval(conditions))
    else:
        every = np.arange(len(seeds))
        shown = _shown(claim, float(mean(every[None])[0]), *bootstrap_interval(every, CONFIDENCE, mean))
    return shown if len(measured) == 1 else f"mean {shown}"


def _shown(claim: Mapping[str, Any], value: float, *interval: float) -> str:
    """A number in the unit of its claim: points of accuracy, dB, or times."""
    if claim["study"] in ("variance", "cost"):
        form, unit = (lambda v: f"{v:.2f}" if v >= 0.1 else f"{v:.2g}"), "times"
    elif claim["measure"] == "accuracy":
        form, unit = (lambda v: f"{100 * v:+.2f}"), "points"
    else:
        form, unit = (lambda v: f"{v:+.2f}"), "dB"
    return f"{form(value)} {unit}" + (f" [{', '.join(map(form, interval))}]" if interval else "")


def _tally(votes: Mapping[str, Sequence[str]]) -> str:
    total = sum(map(len, votes.values()))
    named = {
        side: f" ({', '.join(names)})" if 0 < len(names) <= 4 and side != "for" else "" for side, names in votes.items()
    }
    return ", ".join(f"{side} {len(names)} of {total}{named[side]}" for side, names in votes.items() if names)


def _so_far(claim: Mapping[str, Any], units: Sequence[_Unit]) -> str:
    """What is there where nothing has enough seeds: a number, without an interval and without a verdict."""
    begun = [unit for unit in units if len(unit.seeds) > 1 and math.isfinite(unit.estimate)]
    if not begun:
        return "too few seeds" if any(unit.seeds for unit in units) else "no records"
    estimates = [unit.estimate for unit in begun]
    if claim["study"] == "gain":
        number = f"largest gain {_shown(claim, max(estimates))}"
    else:
        number = f"mean {_shown(claim, _center(claim, estimates))}"
    return f"too few seeds; so far {number}, over {len(begun)} of {len(units)} comparisons"


def _center(claim: Mapping[str, Any], estimates: Sequence[float]) -> float:
    """The mean; of ratios of variances the geometric mean."""
    with np.errstate(all="ignore"):
        mean = np.exp(np.mean(np.log(estimates))) if claim["study"] == "variance" else np.mean(estimates)
    return float(mean)


def _missing(units: Sequence[_Unit]) -> str:
    """What is not complete, by name; data sets together where all their conditions lack the same."""
    of: dict[str, dict[str, int]] = {}
    for unit in units:
        name = unit.name.split(" ")[0]
        of.setdefault(name.split("/")[0], {})[name] = len(unit.seeds) if not unit.complete else len(SEEDS)
    alike: dict[int, list[str]] = {}
    for dataset, seeds in of.items():
        whole = len(set(seeds.values())) == 1
        for name, n in ({dataset: next(iter(seeds.values()))} if whole else seeds).items():
            alike.setdefault(n, []).append(name)
    lack = {n: f"{n} of {len(SEEDS)} seeds" if n else "no complete pairs of runs" for n in alike if n < len(SEEDS)}
    return "; ".join(f"{', '.join(alike[n])}: {text}" for n, text in sorted(lack.items(), reverse=True))


def _tuning_seconds(records: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """Training seconds of all of GCL's recorded tuning runs, by (dataset, level)."""
    total: dict[tuple[str, str], float] = {}
    for record in tuning_records(records):
        condition = (record["config"]["dataset"], record["config"]["level"])
        total[condition] = total.get(condition, 0.0) + record["seconds"]["fit"]
    return total


def _learned(records: Iterable[Mapping[str, Any]]) -> str:
    """In how many of the recorded ALCL runs shape and scale both moved; empty without such a run."""
    runs = [r["history"] for r in sort_records(records)["evaluation"] if method_in(r) == "alcl"]
    moved = sum(all(len(set(run.get(name, []))) > 1 for name in ("alpha", "beta")) for run in runs)
    return f"shape and scale both moved in {moved} of {len(runs)} recorded runs" if runs else ""
