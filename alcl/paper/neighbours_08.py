"""The claims of the abstract of "Joint Asymmetric Loss for Learning with Noisy Labels" (arXiv 2507.17692), judged.

Numbers are computed from the records of notebook 08; a verdict follows from them by the rule of its row. A comparison
is ahead or behind where the interval of its paired median difference excludes 0 (five seeds, equal L2 weight decay).
Scale: small networks, 1,137 to 10,000 images; the published experiments are larger (notebook 08, box 08-C).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..related import label_results
from ..related.label_heights import height_for
from ..related.label_noise import transition_matrix
from .neighbours import Row
from .theorems import find_theorems

__all__ = ["rows"]

ROOT = Path(__file__).resolve().parents[2]


def rows(records: Iterable[Mapping[str, Any]], root: Path = ROOT) -> list[Row]:
    """The ledger from records of `label_runs` and the theorems of the checkout `root`.

    Verdicts: "shown" if every comparison is as claimed, "partly" if some are, "contradicted" if none is and some are
    decided, "not shown" if none is decided, "not yet measured" without any; "proved" for a theorem that is stated,
    checked and guarded by tests, else "not yet proved".
    """
    runs = label_results.frame(records)
    theorems = {theorem.id: theorem for theorem in find_theorems(root)}

    def minus(one: str, other: str) -> pd.DataFrame:
        return label_results.paired(runs, (one, "l2"), (other, "l2"))

    low = [minus(name, "ce") for name in ("nce", "mae")]
    low_noise = pd.concat([table[table["condition"] == "symmetric 0.2"] for table in low])
    joint = pd.concat([minus("nce_rce", "nce"), minus("nce_rce", "mae")])
    asymmetric = minus("amse", "mae")
    older, alone = minus("jal_ce", "nce_agce"), minus("nce_agce", "agce")
    control, over_ce, over_gce = minus("jal_ce", "jal_ce_control"), minus("jal_ce", "ce"), minus("jal_ce", "gce")
    heights = {
        "80 % symmetric": height_for(transition_matrix("symmetric", 0.8)),
        "40 % asymmetric": height_for(transition_matrix("asymmetric", 0.4, dataset="cifar10")),
        "human": height_for(transition_matrix("human", 0.40208)),
    }
    high = ", ".join(f"{a:.1f} for {noise} noise" for noise, a in heights.items())
    below = minus("jal_ce_a2", "jal_ce")
    return [
        Row(
            "symmetric losses usually suffer from the underfitting issue due to the overly strict constraint",
            f"NCE and MAE minus CE at 20 % symmetric noise: {_told(low_noise)}",
            _verdict(low_noise, "behind"),
            "notebook 08, Section 8",
        ),
        Row(
            "the Active Passive Loss jointly optimizes an active and a passive loss to mutually enhance the overall "
            "fitting ability",
            f"NCE + RCE minus each of its parts: {_told(joint)}",
            _verdict(joint, "ahead"),
            "notebook 08, Section 8",
        ),
        Row(
            "asymmetric losses ... possess superior properties compared to symmetric losses",
            f"AMSE minus MAE: {_told(asymmetric)}",
            _verdict(asymmetric, "ahead"),
            "notebook 08, Sections 6 and 8",
        ),
        Row(
            "existing asymmetric losses are not compatible with advanced optimization frameworks such as APL",
            "NCE + AGCE is of 2021, and in the authors' own comparison. "
            f"JAL-CE minus NCE + AGCE: {_told(older)}; NCE + AGCE minus AGCE: {_told(alone)}",
            _verdict(older, "ahead"),
            "notebook 08, Section 9",
        ),
        Row(
            "the Asymmetric Mean Square Error (AMSE), a novel asymmetric loss",
            f"it is MSE + MAE, weighted, to the last digit (Theorem C3); JAL-CE minus that control: {_told(control)}",
            _verdict(control, "undecided", "contradicted", "shown"),
            "notebook 08, Section 6",
        ),
        Row(
            "we rigorously establish the necessary and sufficient condition under which AMSE satisfies the asymmetric "
            "condition",
            f"proved for every power q > 1 (Theorem C1); at q = 2 a must be at least {high}. It is one on "
            f"minimisers: below it, JAL-CE with a = 2 minus a = 30 at 80 % symmetric noise: {_told(below)}",
            "proved" if "C1" in theorems and theorems["C1"].asserts and theorems["C1"].guards else "not yet proved",
            "notebook 08, Sections 4 and 5",
        ),
        Row(
            "extensive experiments demonstrate the effectiveness of our method in mitigating label noise",
            f"JAL-CE minus CE: {_told(over_ce)}; JAL-CE minus GCE: {_told(over_gce)}",
            _verdict(over_ce, "ahead"),
            "notebook 08, Sections 8 to 12",
        ),
    ]


def _told(table: pd.DataFrame) -> str:
    """A `paired` table in words."""
    if table.empty:
        return "no records"
    if len(table) == 1:
        (row,) = table.itertuples()
        return label_results.told(row)
    sides = label_results.votes(table)
    least, most = table["difference"].min(), table["difference"].max()
    return (
        f"ahead in {sides['ahead']}, undecided in {sides['undecided']}, behind in {sides['behind']} of {len(table)} "
        f"comparisons, medians {least:+.1f} to {most:+.1f} points"
    )


def _verdict(table: pd.DataFrame, claimed: str, every: str = "shown", none: str = "contradicted") -> str:
    sides = label_results.votes(table)
    if not sum(sides.values()):
        return "not yet measured"
    if sides[claimed] == len(table):
        return every
    if sides[claimed]:
        return "partly"
    return none if sum(sides.values()) > sides["undecided"] else "not shown"
