"""Keeps the computed parts of README.md and of the pages beside the notebooks current: the verdict, the ledger, the
studies, the neighbours, costs and the list of choices.

    python -m alcl.paper.readme           rewrite them from the records, the notebooks and choices.json
    python -m alcl.paper.readme --check   exit 1 if they are stale

A computed part stands between `<!-- name:begin -->` and `<!-- name:end -->`; nothing in between is ever typed.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..experiments import reference
from ..experiments.analysis import (
    SEEDS,
    benchmark_frame,
    in_both_measures,
    paired_differences,
    repair_share,
    sides,
    single_settings,
)
from ..experiments.levels import LEVELS
from ..experiments.protocol import BENCHMARK, EMBEDDED, study_store
from ..related import label_runs
from . import neighbours_08
from .bench import summary
from .choices import choices_markdown
from .claims import claims_ledger, ledger_markdown, load_bench, theorem_index
from .curve import answer_from
from .figures import LABELS
from .neighbours import discriminative_rows, neighbours_markdown
from .reading import reading

SIDES = ["ahead", "unresolved", "behind"]
#: Every page with computed parts, and which.
PAGES = {
    "README.md": ("verdict", "multiverse", "reading"),
    "notebooks/ledger.md": ("claims", "headline"),
    "notebooks/choices.md": ("choices",),
    "notebooks/studies.md": ("studies", "neighbours", "asymmetric", "discriminative"),
    "notebooks/costs.md": ("speed",),
}
#: The claims that the README's verdict shows, in few words.
VERDICT = {
    "3": "influence bounded and redescending",
    "4a": "probe accuracy above MSE's",
    "4b": "PSNR above MSE's",
    "4c": "probe accuracy above tuned GCL's",
    "4d": "PSNR above tuned GCL's",
    "5": "up to +4.75 % accuracy, gray",
    "6": "up to +4.51 % accuracy, RGB",
    "9a": "little cost: at most 1.1 times MSE's",
}
#: What a reader does in each notebook, for the README.
READING = {
    "00_start_here": "see the problem, and the loss in ten lines",
    "01_likelihood": "derive the loss, prove its density",
    "02_influence": 'prove what "bounded and redescending" means',
    "03_adaptation": "see what joint learning is, and how it fails",
    "04_noise": "build the noise, and check it",
    "05_training": "train all methods on one data set",
    "06_benchmark": "compare all methods",
    "07_figures": "find the verdict on every claim",
    "08_label_noise": "meet a neighbour: wrong labels",
    "09_input_noise": "meet another: noisy inputs, curvature",
    "10_beyond": "meet drift, ablations and unseen noise",
    "11_sensor": "count wrong targets, censor clipped ones",
    "12_multiverse": "ask every reading at once",
}
ROOT = Path(__file__).resolve().parents[2]


def blocks(root: Path = ROOT) -> dict[str, str]:
    """The computed parts, by name, as markdown."""
    folder = root / "paper_figures" / "records"
    records = [record for name in (*EMBEDDED, *BENCHMARK) for record in study_store(folder, name).read()]
    frame = benchmark_frame(records)
    theorems = theorem_index(root / "notebooks")
    bench = load_bench(folder)
    ledger = claims_ledger(records, theorems, bench=bench)
    return {
        "headline": "\n".join([headline(frame), one_setting(single_settings(records)), repaired(frame), others(frame)]),
        "verdict": f"{verdict(ledger, bench)}\n\n{restored(root / 'paper_figures')}",
        "multiverse": multiverse(folder),
        "reading": reading_order(root),
        "claims": ledger_markdown(ledger),
        "studies": studies(root / "paper_figures"),
        "neighbours": neighbours(root / "paper_figures"),
        "asymmetric": neighbours_markdown(neighbours_08.rows(label_runs.store(folder).read(), root)),
        "discriminative": neighbours_markdown(discriminative_rows(folder, theorems.index[theorems["checked"]])),
        "speed": costs(bench) if bench else "Not measured yet: `make bench`.",
        "choices": choices_markdown(folder="notebooks"),
    }


def verdict(ledger: pd.DataFrame, bench: Mapping[str, Any] | None = None) -> str:
    """The main claims of the abstract, a row each: what was claimed, what was found, the verdict; with `bench`, what a
    step and the loss alone cost."""
    lines = ["| the abstract, at moderate to extreme noise | what we find | verdict |", "|---|---|---|"]
    for row in ledger[ledger["id"].isin(VERDICT)].itertuples():
        found = re.sub(r" \([^)]*\)", "", row.result)
        if row.kind == "theorem":
            found = row.missing.partition(";")[0] or found
        if row.id == "9a" and bench:
            ratios = summary(bench).set_index("ratio")["measured"]
            step, loss = ratios["training step over MSE's"], ratios["loss over MSE, eager"]
            found += f"; a step {step:.2f} times, the loss alone {loss:.1f} times"
        lines.append(f"| {VERDICT[row.id]} | {found} | **{row.verdict}** |")
    return "\n".join(lines)


def restored(folder: Path) -> str:
    """How ALCL stands in the accuracy that answers to the loss, by the signed-rank test after Holm; the verdicts above
    are of a linear probe's. And beside no loss at all, by medians. From the table of notebook 06 in this folder."""
    table = pd.read_csv(folder / "table06d_differences.csv").query("measure == 'restored'")
    counted = table[(table["p_holm"] <= 0.05) | (table["rival"] == "noisy_images")]
    found = [counted.loc[counted["rival"] == rival, "difference"] for rival in ("mse", "gcl", "noisy_images")]
    mse, gcl, noisy = (_ahead_behind(gaps) for gaps in found)
    return (
        "The probe is linear, nothing clipped. *Restored* accuracy, of reconstructions, answers more to the loss: "
        f"above MSE's in {mse[0]}, below in {mse[1]} of {len(reference.conditions())} conditions; tuned GCL's in "
        f"{gcl[0]} and {gcl[1]}; the noisy images' own, by medians, in {noisy[0]} and {noisy[1]}."
    )


def _ahead_behind(gaps: pd.Series) -> tuple[int, int]:
    return int((gaps > 0).sum()), int((gaps < 0).sum())


def multiverse(folder: Path) -> str:
    """What all readings of the abstract say together, in two sentences."""
    sentences = answer_from(folder)
    far = "" if sentences.startswith("Of all ") else ", so far"  # "too few seeds" can be all that is left to wait for
    return f"**Under every reading{far}** (notebook 12): {sentences[0].lower()}{sentences[1:]}"


def reading_order(root: Path) -> str:
    """The main line and what follows it, a row each, with the minutes that `alcl.paper.reading` counts."""
    minutes = {part.name: part.minutes for part in reading(root)}
    lines = ["| notebook | you will | minutes |", "|---|---|---|"]
    lines += [f"| [{name}](notebooks/{name}.ipynb) | {what} | {minutes[name]:.0f} |" for name, what in READING.items()]
    return "\n".join(lines)


def headline(frame: pd.DataFrame) -> str:
    """Every benchmark condition that has all its seeds, in one row: ALCL's median paired differences with intervals;
    then how many of the intervals lie above and below zero, and how many differences are significant after Holm."""
    columns = {("accuracy", "mse"): 100, ("accuracy", "gcl"): 100, ("psnr", "mse"): 1, ("psnr", "gcl"): 1}
    frame = frame[frame["dataset"].isin(BENCHMARK)]
    table = pd.concat(
        paired_differences(frame, "alcl", rival, measure).assign(measure=measure, rival=rival)
        for measure, rival in columns
    )
    table = table[table["seeds"] >= len(SEEDS)]
    whole = table.groupby(["dataset", "level"])["measure"].transform("size") == len(columns)
    counts = sides(table[whole], ["measure", "rival"]).reindex(list(columns), fill_value=0)
    sure = table[whole & (table["p_holm"] <= 0.05)]
    found: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for row in table[whole].itertuples():
        factor = columns[row.measure, row.rival]
        text = f"{factor * row.difference:+.2f} [{factor * row.low:+.2f}, {factor * row.high:+.2f}]"
        found.setdefault((row.dataset, row.level), {})[row.measure, row.rival] = text
    conditions = [condition for condition in ((d, level) for d in BENCHMARK for level in LEVELS) if condition in found]

    def count(measure: str, rival: str) -> str:
        """For example: ahead in 3, unresolved in 1, behind in 0 (after Holm 2 and 0)."""
        alone = ", ".join(f"{side} in {counts.loc[(measure, rival), side]}" for side in SIDES)
        gaps = sure.loc[(sure["measure"] == measure) & (sure["rival"] == rival), "difference"]
        ahead, behind = _ahead_behind(gaps)
        return f"{alone} (after Holm {ahead} and {behind})"

    lines = [
        "| ALCL minus | MSE, accuracy in points | tuned GCL, accuracy | MSE, PSNR in dB | tuned GCL, PSNR |",
        "|---|---|---|---|---|",
        *(
            "| " + ", ".join(condition) + " | " + " | ".join(found[condition][column] for column in columns) + " |"
            for condition in conditions
        ),
        "",
        f"Conditions with all {len(SEEDS)} seeds of all three methods: {len(conditions)} of "
        f"{len(BENCHMARK) * len(LEVELS)}. By the side of zero on which the interval lies, ALCL is in these conditions "
        "(in brackets, ahead and behind by the signed-rank test, adjusted for the number of conditions)",
        "",
        *(
            f"- against {name}: in accuracy {count('accuracy', rival)}; in PSNR {count('psnr', rival)}."
            for name, rival in (("MSE", "mse"), ("tuned GCL", "gcl"))
        ),
    ]
    return "\n".join(lines)


def one_setting(table: pd.DataFrame) -> str:
    """How often one setting of GCL is ahead of ALCL, or behind, in both measures; benchmark conditions alone."""
    table = table[table["dataset"].isin(BENCHMARK)]
    ahead, behind = in_both_measures(table)
    return (
        "- The oracle tunes GCL for each measure on its own. One network has one setting: of "
        f"{len(table)} settings, tuned for one measure and judged in both by medians, {ahead} are ahead of ALCL in "
        f"both, {behind} behind in both."
    )


def repaired(frame: pd.DataFrame) -> str:
    """The range, over benchmark conditions at high and extreme noise that have all seeds, of the share of MSE's damage
    that ALCL and tuned GCL repair."""
    frame = frame[frame["dataset"].isin(BENCHMARK) & frame["level"].isin(["high", "extreme"])]
    found = []
    for method in ("alcl", "gcl"):
        for measure in ("accuracy", "psnr"):
            table = repair_share(frame, method, measure)
            share = table.loc[table["seeds"] >= len(SEEDS), "share"]
            found.append(f"{share.min():.2f} to {share.max():.2f}")
    if not len(share):
        return ""
    return (
        "- Share of the damage repaired, 0 being MSE and 1 MSE trained on clean targets (a reference, no bound), in "
        f"the {len(share)} conditions at high and extreme noise: ALCL {found[0]} in accuracy, {found[1]} in PSNR; "
        f"tuned GCL {found[2]} and {found[3]}."
    )


def others(frame: pd.DataFrame) -> str:
    """ALCL against the losses that the abstract does not name, counted over benchmark conditions with all seeds."""
    frame, rows = frame[frame["dataset"].isin(BENCHMARK)], []
    for rival in (method for method in LABELS if method in set(frame["method"]) - {"mse", "gcl", "gcl_kept", "alcl"}):
        counts = []
        for measure in ("accuracy", "psnr"):
            table = paired_differences(frame, "alcl", rival, measure)
            table = table[table["seeds"] >= len(SEEDS)]
            gaps = table.loc[table["p_holm"] <= 0.05, "difference"]
            ahead, behind = _ahead_behind(gaps)
            counts.append(f"{ahead}, {len(table) - ahead - behind}, {behind}")
        if len(table):
            name = "MSE on clean targets" if rival == "clean" else LABELS[rival]
            rows.append(f"| {name} | {len(table)} | {' | '.join(counts)} |")
    if not rows:
        return ""
    lead = (
        "What the abstract does not compare with, in the conditions that have all seeds, by the signed-rank test after "
        "Holm; clean targets are a reference:"
    )
    head = "| ALCL against | conditions | accuracy: ahead, unresolved, behind | PSNR: ahead, unresolved, behind |"
    return "\n".join(["", lead, "", head, "|---|---|---|---|", *rows])


def studies(folder: Path) -> str:
    """What notebook 10 counted, from the table it wrote: ALCL against MSE, GCL, and parts of ALCL.

    Its last study, of losses that are not in the grid, stays in the notebook.
    """
    counts = pd.read_csv(folder / "table10_counts.csv", keep_default_na=False)
    counts = counts[counts["method"].str.startswith(("mse", "gcl", "alcl")) & (counts["study"] != "neighbours")]
    lines = [
        "| study | ALCL against | conditions | accuracy: ahead, unresolved, behind | PSNR |",
        "|---|---|---|---|---|",
    ]
    for (study, method), part in counts.groupby(["study", "method"], sort=False):
        part = part.set_index("measure")
        sides_ = [", ".join(str(part.loc[m, side]) for side in SIDES) for m in ("accuracy", "psnr")]
        name = LABELS.get(method, method.replace("gcl", "GCL"))
        lines.append(f"| {study} | {name} | {part['conditions'].iloc[0]} | {' | '.join(sides_)} |")
    return "\n".join(lines)


def neighbours(folder: Path) -> str:
    """The answers of notebooks 08 and 09, from the tables they wrote: paired medians with intervals."""
    lines = ["| | on | measure | median difference | in favour |", "|---|---|---|---|---|"]
    labels = pd.read_csv(folder / "table08b_differences.csv")
    for row in labels[labels["what"] == "loss alone (both L2)"].itertuples():
        interval = f"{row.difference:+.1f} [{row.low:+.1f}, {row.high:+.1f}]"
        where = f"{row.dataset}, labels {row.condition}"
        lines.append(f"| JAL-CE minus CE | {where} | accuracy, points | {interval} | {row.ahead} of {row.seeds} |")
    inputs = pd.read_csv(folder / "table09d_verdict.csv")
    for row in inputs[inputs["rival"] == "clean"].itertuples():
        interval = f"{row.median:+.2f} [{row.low:+.2f}, {row.high:+.2f}]"
        lines.append(f"| discriminative minus clean-only | {row.dataset} | {row.measure} | {interval} | {row.better} |")
    return "\n".join(lines)


def costs(result: Mapping[str, Any]) -> str:
    """The benchmark's ratios beside their targets, and the machine."""
    machine, table = result["machine"], summary(result)
    lines = ["| | target | one thread | two |", "|---|---|---|---|"]
    for row in table.itertuples():
        two = "" if math.isnan(row.two_threads) else f"{row.two_threads:.2f}"
        lines.append(f"| {row.ratio} | {row.target} | {row.measured:.2f} | {two} |")
    where = f"{machine['processor']}, {machine['vector_instructions']}, torch {machine['torch']}"
    gpu = "no GPU was measured" if machine["gpu"].startswith("none") else machine["gpu"]
    return "\n".join([*lines, "", f"float32, {where}; {gpu}."])


def rendered(text: str, parts: Mapping[str, str]) -> str:
    """`text` with every computed part replaced.

    Raises:
        ValueError: a part's markers are missing or appear twice.
    """
    for name, content in parts.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"the page must hold the markers {begin} and {end} once each")
        pattern = re.escape(begin) + ".*?" + re.escape(end)
        replacement = f"{begin}\n{content.strip()}\n{end}"
        text = re.sub(pattern, lambda _, r=replacement: r, text, flags=re.DOTALL)
    return text


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(prog="python -m alcl.paper.readme", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if README.md is stale")
    options = parser.parse_args(arguments)
    parts, stale = blocks(root), []
    for page, names in PAGES.items():
        path = root / page
        old = path.read_text(encoding="utf-8")
        new = rendered(old, {name: parts[name] for name in names})
        if new != old:
            stale.append(page)
            if not options.check:
                path.write_text(new, encoding="utf-8")
    if options.check and stale:
        print(f"{', '.join(stale)}: stale; run python -m alcl.paper.readme", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
