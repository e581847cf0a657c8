"""What the abstracts of the neighbours claim, what we find, and a verdict on each: a small ledger of their own.

    python -m alcl.paper.neighbours      the table for the discriminative loss (arXiv 2405.18499), in Markdown

The joint asymmetric loss (notebook 08) has its list in `alcl.paper.neighbours_08`. No number and no verdict is typed:
`discriminative_rows` computes them from the records and the executed proofs of notebook 09, by these rules. A measured
claim is "shown" if on every data set the whole 95 % interval of the paired median lies on the claimed side, "not shown"
if on none, "partly" otherwise. A claim of theory is "proved" if its theorem is checked in an executed
notebook, and "partly" if what it needs is not given where the claim is made.

All of it speaks of small networks on 8x8 digits and on part of MNIST, not of a ResNet on natural images.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from ..experiments.analysis import bootstrap_interval, fewest_seeds, holm
from ..related import input_runs, input_studies
from ..related.feature_losses import PERTURBATIONS, PUBLISHED, TRAININGS
from ..related.input_studies import SAME_LOSS, VARIANTS
from .claims import theorem_index
from .parameters import checkout, records_dir

__all__ = [
    "Row",
    "collapse_verdict",
    "collapses",
    "discriminative_rows",
    "neighbours_markdown",
    "networks",
    "paired",
    "published_forms",
    "published_lead",
    "without_collapse",
]

VERDICTS = ("proved", "shown", "partly", "not shown", "contradicted", "not yet proved", "not yet measured")
#: The whole interval must lie below 0.
BELOW = -math.inf
_KEYS = ["dataset", "training", "seed"]


@dataclass(frozen=True)
class Row:
    """One claim: in the abstract's words, shortened; what we find; one of `VERDICTS`; theorem, section or table."""

    claim: str
    finding: str
    verdict: str
    where: str


def neighbours_markdown(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table.

    >>> print(neighbours_markdown([Row("It helps.", "+1 [0, 2]", "partly", "Section 6")]))
    | claim of the abstract | what we find | verdict | where |
    |---|---|---|---|
    | It helps. | +1 [0, 2] | **partly** | Section 6 |
    """
    lines = ["| claim of the abstract | what we find | verdict | where |", "|---|---|---|---|"]
    for row in rows:
        if row.verdict not in VERDICTS:
            raise ValueError(f"verdict must be one of {', '.join(VERDICTS)}; got {row.verdict!r}")
        cells = [row.claim, row.finding, f"**{row.verdict}**", row.where]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


# --- the records as frames -------------------------------------------------------------------------------------------


def networks(folder: str | Path) -> pd.DataFrame:
    """One row a network trained on clean images, index dataset, training, seed: what both stores say of it.

    clean, robust (the mean over levels and perturbations) and every perturbation, in points; loss, trace, published
    measure and what noise adds, from the runs; from the studies, NaN where there are none yet, largest eigenvalue,
    share of the trace, the factors of Theorem D6 and their product, the published measure in its own unit
    (published_own), and the features' measures. Folder without a store of either kind: an empty frame.
    """
    rows = []
    for record in input_runs.store(folder).read():
        config = record["config"]
        if config["kind"] != "classifier" or config["level"] != "none":
            continue
        metrics = record["metrics"]
        robust = {name: 100 * float(np.mean(metrics["robust"][name][1:])) for name in PERTURBATIONS}
        rows.append(
            {name: config[name] for name in _KEYS}
            | {"clean": 100 * metrics["clean"], "robust": float(np.mean(list(robust.values()))), **robust}
            | {name: metrics["curvature"][name] for name in ("loss", "trace", "published", "noise_adds")}
        )
    names = [*_KEYS, "clean", "robust", *PERTURBATIONS, "loss", "trace", "published", "noise_adds"]
    frame = pd.DataFrame(rows, columns=names)
    more = []
    for record in input_studies.store(folder).read():
        if record["config"]["kind"] == "curvature":
            metrics = record["metrics"]
            values = {name: v for name, v in metrics.items() if not isinstance(v, dict)} | metrics["features"]
            values["published_own"], values["exact_trace"] = values.pop("published"), values.pop("trace")
            more.append({name: record["config"][name] for name in _KEYS} | values)
    frame = frame.set_index(_KEYS)
    return frame.join(pd.DataFrame(more).set_index(_KEYS).astype(float)) if more else frame


def paired(frame: pd.DataFrame, measure: str, a: str, b: str) -> pd.DataFrame:
    """Training `a` minus training `b`, by data set: median over seeds, its 95 % bootstrap interval, number of seeds."""
    rows = []
    for dataset, part in frame[measure].dropna().groupby("dataset", sort=False):
        wide = part.droplevel("dataset").unstack("training").reindex(columns=[a, b]).dropna()
        difference = (wide[a] - wide[b]).to_numpy()
        if len(difference):
            low, high = bootstrap_interval(difference)
            rows.append([dataset, float(np.median(difference)), low, high, len(difference)])
    return pd.DataFrame(rows, columns=["dataset", "median", "low", "high", "seeds"]).set_index("dataset")


def published_forms(folder: str | Path) -> pd.DataFrame:
    """Accuracy in points under the published forms: columns dataset, perturbation, level, training, seed, accuracy."""
    rows = []
    for record in input_studies.store(folder).read():
        if record["config"]["kind"] == "curvature":
            key = {name: record["config"][name] for name in _KEYS}
            for name, (_, levels) in PUBLISHED.items():
                values = zip(levels, record["metrics"]["published_forms"][name], strict=True)
                rows += [key | {"perturbation": name, "level": x, "accuracy": 100 * value} for x, value in values]
    return pd.DataFrame(rows, columns=[*_KEYS, "perturbation", "level", "accuracy"])


def published_lead(forms: pd.DataFrame, dataset: str = "digits") -> str:
    """In words: at how many levels above 0 of `published_forms` the discriminative loss's median is ahead of others."""
    part = forms[(forms["dataset"] == dataset) & (forms["level"] > 0)]
    wide = part.groupby(["perturbation", "level", "training"])["accuracy"].median().unstack("training")
    if not len(wide):
        return "no records"
    counts = {rival: int((wide["discriminative"] > wide[rival]).sum()) for rival in ("clean", "both")}
    return (
        f"the discriminative loss is ahead of clean only at {counts['clean']}, of both views at {counts['both']} "
        f"of {len(wide)} levels"
    )


def collapses(folder: str | Path, dataset: str = "digits", seeds: Collection[int] | None = None) -> pd.DataFrame:
    """Stability training by recipe, one row a variant that has records, over those of `seeds` that all of them have.

    seeds: by default those of the first round, `input_studies.SEEDS`; the second has `input_studies.NEW_SEEDS`.

    Columns: collapsed and seeds (counts), low and high (exact 95 % interval of the share, Clopper & Pearson), p_holm
    (sign test against the recorded recipe over the seeds that differ, two-sided, Holm over the variants; NaN for the
    recorded one), clean and robust (medians of accuracy in points over the networks that did not collapse).
    """
    runs: dict[str, dict[int, dict]] = {}
    chosen = input_studies.SEEDS[dataset] if seeds is None else seeds
    for record in input_studies.store(folder).read():
        config = record["config"]
        if config["kind"] == "stability" and config["dataset"] == dataset and config["seed"] in chosen:
            runs.setdefault(config["variant"], {})[config["seed"]] = record["metrics"]
    found = [variant for variant in VARIANTS if variant in runs]
    common = sorted(set.intersection(*(set(runs[variant]) for variant in found))) if "recorded" in found else []
    rows = []
    for variant in found if common else ():
        own = np.array([runs[variant][seed]["collapsed"] for seed in common])
        base = np.array([runs["recorded"][seed]["collapsed"] for seed in common])
        interval = stats.binomtest(int(own.sum()), len(own)).proportion_ci(method="exact")
        differ, fewer = int((own != base).sum()), int((base & ~own).sum())
        p = math.nan if variant == "recorded" else stats.binomtest(fewer, differ).pvalue if differ else 1.0
        kept = [runs[variant][seed] for seed, gone in zip(common, own, strict=True) if not gone]
        clean = np.median([100 * m["clean"] for m in kept]) if kept else math.nan
        robust = np.median([100 * np.mean(list(m["robust"].values())) for m in kept]) if kept else math.nan
        rows.append([variant, int(own.sum()), len(own), interval.low, interval.high, p, clean, robust])
    names = ["variant", "collapsed", "seeds", "low", "high", "p_holm", "clean", "robust"]
    table = pd.DataFrame(rows, columns=names).set_index("variant")
    return table.assign(p_holm=holm(table["p_holm"].to_numpy()))


def without_collapse(table: pd.DataFrame) -> list[str]:
    """The recipes of `collapses` that keep the method's loss and surely collapse less: the rule of `input_studies`."""
    recorded = table["collapsed"].get("recorded", 0)
    fewer = (table["p_holm"] < 0.05) & (table["collapsed"] < recorded)
    return [variant for variant in table.index[fewer] if variant in SAME_LOSS]


def collapse_verdict(table: pd.DataFrame) -> str:
    """In words: whose the collapse is, by the rule of `input_studies`, and which recipes surely have fewer or more.

    table: of `collapses`, of either round.
    """
    if not len(table) or table["seeds"].max() < fewest_seeds(len(table) - 1):
        return "Undecided: too few networks are recorded."
    recorded, sure = table.loc["recorded", "collapsed"], table["p_holm"] < 0.05
    named = {
        "fewer": ", ".join(table.index[sure & (table["collapsed"] < recorded)]) or "none",
        "more": ", ".join(table.index[sure & (table["collapsed"] > recorded)]) or "none",
    }
    whose = "The recipe's" if without_collapse(table) else "Not shown to be the recipe's"
    return f"{whose}: surely fewer collapse with {named['fewer']}; surely more with {named['more']}."


# --- the ledger of arXiv 2405.18499 ----------------------------------------------------------------------------------


def _shown(table: pd.DataFrame, unit: str, digits: int = 1) -> str:
    """For example: digits +1.0 points [+0.2, +1.9], mnist ..."""
    form = f"+.{digits}f"
    parts = [f"{d} {r['median']:{form}} {unit} [{r.low:{form}}, {r.high:{form}}]" for d, r in table.iterrows()]
    return ", ".join(parts)


def _ratios(table: pd.DataFrame) -> str:
    """Differences of log10 as ratios: digits 0.46 times [0.42, 0.48]."""
    back = 10 ** table[["median", "low", "high"]]
    return ", ".join(f"{d} {r['median']:.2f} times [{r.low:.2f}, {r.high:.2f}]" for d, r in back.iterrows())


def _verdict(*claimed: tuple[pd.DataFrame, float]) -> str:
    """claimed: tables of `paired`, each with the bound that its whole interval must lie above; negated: below.

    A data set with too few seeds for an interval does not count.
    """
    ends = [(bound, row.low, row.high) for table, bound in claimed for row in table[table["low"].notna()].itertuples()]
    holds = [high < 0 if bound == BELOW else low > bound for bound, low, high in ends]
    if not holds:
        return "not yet measured"
    return "shown" if all(holds) else "partly" if any(holds) else "not shown"


def discriminative_rows(folder: str | Path, checked: Collection[str] = ()) -> list[Row]:
    """The ledger of the discriminative loss with noise injection.

    folder: of the records. checked: the theorems of notebook 09 whose checks were executed without an error.
    """
    frame = networks(folder)
    return [
        _injection(frame),
        _kept(frame),
        _geometry(frame),
        _alignment(frame),
        _stable_to_flat(frame, "D6" in checked),
        _flat_to_robust(frame, "D7" in checked),
        _robust(frame),
    ]


def _logs(frame: pd.DataFrame, *measures: str) -> pd.DataFrame:
    """log10 of measures, NaN where they are not positive: a collapsed network."""
    columns = [m for m in measures if m in frame]
    return frame.assign(**{m: np.log10(frame[m].where(frame[m] > 0)) for m in columns})


def _injection(frame: pd.DataFrame) -> Row:
    only, both = (paired(frame, "clean", training, "clean") for training in ("noisy", "both"))
    finding = f"Noisy images alone, minus clean only: {_shown(only, 'points')}. Both views: {_shown(both, 'points')}."
    claim = "Naive noise injection often degrades accuracy on clean data."
    return Row(claim, finding, _verdict((only, BELOW)), "notebook 09, Section 5")


def _kept(frame: pd.DataFrame) -> Row:
    table = paired(frame, "clean", "discriminative", "clean")
    finding = f"Minus clean only: {_shown(table, 'points')}; held to be kept from -1 point on."
    return Row("It maintains high accuracy on clean data.", finding, _verdict((table, -1.0)), "Section 6")


def _measured(frame: pd.DataFrame, *measures: str) -> bool:
    return all(measure in frame and frame[measure].notna().any() for measure in measures)


def _geometry(frame: pd.DataFrame) -> Row:
    claim = "The loss enforces compact classes and larger margins to the analytic decision boundaries."
    if not _measured(frame, "within", "margin"):
        return Row(claim, "No records.", "not yet measured", "Section 6")
    within = paired(_logs(frame, "within"), "within", "discriminative", "clean")
    margin = paired(_logs(frame, "margin"), "margin", "discriminative", "clean")
    finding = (
        f"On test images, in units of the features' own spread, against clean only: variance within classes "
        f"{_ratios(within)}; margin of the means {_ratios(margin)}."
    )
    return Row(claim, finding, _verdict((within, BELOW), (margin, 0.0)), "Section 6")


def _alignment(frame: pd.DataFrame) -> Row:
    claim = "The alignment brings noisy clusters closer to their clean counterparts."
    if not _measured(frame, "aligned", "margin"):
        return Row(claim, "No records.", "not yet measured", "Section 6")
    frame = frame.assign(near=frame["aligned"] / frame["margin"] ** 2, absolute=frame["aligned"] * frame["spread"])
    frame = _logs(frame, "near", "absolute", "aligned")
    near, raw, spread = (paired(frame, m, "discriminative", "clean") for m in ("near", "absolute", "aligned"))
    finding = (
        f"Squared shift of a class's mean under noise, against clean only: {_ratios(raw)}. But its features are also "
        f"smaller: in units of their spread {_ratios(spread)}, of the margin, which counts for errors, {_ratios(near)}."
    )
    return Row(claim, finding, _verdict((near, BELOW)), "Section 6")


def _stable_to_flat(frame: pd.DataFrame, proved: bool) -> Row:
    claim = (
        "Stable features under Gaussian noise implicitly reduce the curvature of the softmax loss in input space, "
        "as measured by Hessian eigenvalues."
    )
    where = "Theorem D6, Section 6"
    if not _measured(frame, "largest", "bound"):
        return Row(claim, "No records.", "not yet measured", where)
    logs = _logs(frame, "largest", "change", "bend")
    largest, change, bend = (paired(logs, m, "discriminative", "clean") for m in ("largest", "change", "bend"))
    both = paired(logs, "largest", "discriminative", "both")
    held, images = int(frame["held"].sum()), int(frame["images"].sum())
    finding = (
        f"{'Proved' if proved else 'No executed proof'} for ReLU networks, as a bound by the product of the features' "
        f"change and the last layer's bend; it holds on {held:,} of {images:,} images. Against clean only: change "
        f"{_ratios(change)}, bend {_ratios(bend)}, largest eigenvalue {_ratios(largest)}; against training on both "
        f"views {_ratios(both)}."
    )
    measured = _verdict((largest, BELOW))
    sound = proved and held == images
    return Row(claim, finding, measured if sound or measured != "shown" else "partly", where)


def _flat_to_robust(frame: pd.DataFrame, proved: bool) -> Row:
    claim = "Conversely, lower curvature leads to more robust models."
    parts = []
    for dataset, part in frame.groupby("dataset", sort=False):
        seeing = part[(part["loss"] - math.log(10)).abs() >= input_studies.BLIND]
        rho = [stats.spearmanr(-each["trace"], each["robust"]).statistic for each in (part, seeing)]
        parts.append(f"{dataset} {rho[0]:+.2f}, without collapsed networks {rho[1]:+.2f}")
    finding = (
        f"{'Proved' if proved else 'No executed proof'}, with an explicit radius, where curvature is bounded all "
        "around the input; false for curvature at the input alone, which is what is measured. Rank "
        f"correlation of flatness and robust accuracy over networks: {'; '.join(parts)}."
    )
    return Row(claim, finding, "partly" if proved else "not yet measured", "Theorem D7, Section 6")


def _robust(frame: pd.DataFrame) -> Row:
    table = paired(frame, "robust", "discriminative", "clean")
    both = paired(frame, "robust", "discriminative", "both")
    first = []
    for dataset, part in frame.groupby("dataset", sort=False):
        best = part.groupby("training")[list(PERTURBATIONS)].median().idxmax()
        first.append(f"{int((best == 'discriminative').sum())} of {len(PERTURBATIONS)} on {dataset}")
    finding = (
        f"Mean over perturbations, minus clean only: {_shown(table, 'points')}; minus both views: "
        f"{_shown(both, 'points')}. First of {len(TRAININGS)} trainings under {', '.join(first)}."
    )
    claim = "It significantly reinforces robustness to various perturbations."
    return Row(claim, finding, _verdict((table, 0.0)), "Section 5")


def main() -> None:
    theorems = theorem_index(checkout() / "notebooks")
    print(neighbours_markdown(discriminative_rows(records_dir(), theorems.index[theorems["checked"]])))


if __name__ == "__main__":
    main()
