"""What the multiverse says of the abstract: its numbers on the curve, verdicts by reading, two sentences.

A *choice* is one sensor, level, rule for GCL, reading, unit and rival; it speaks of the four data sets, with the joint
intervals of `alcl.experiments.specification`. The rules below were written when one of the curve's 32 conditions had
been seen (mnist, clipped, high); 31 were not run.

shown
    A claim of more: every interval lies above 0. Of a gain "up to x": in one data set of its colour the interval lies
    above 0 and reaches x. Of less variance: every interval of the ratio lies below 1.
contradicted
    The opposite is shown: of more, or of less variance, in one data set; of a gain, in all.
excluded
    Of a gain: every interval ends below x. The abstract's number does not hold under this reading.
not shown
    All runs are there, and the intervals decide nothing.
too few seeds
    All runs are there, and by declaration too few for a joint interval (clamped and clean sensors).
not yet measured
    Runs are missing, and those that are there do not decide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..experiments.analysis import fewest_seeds
from ..experiments.multiverse import HEADLINE_SENSORS, overview
from ..experiments.readings import READINGS
from ..experiments.specification import (
    FAMILY,
    NO_RULE,
    OWN_ORACLE,
    Specifications,
    joint_tests,
    observations,
    read_records,
    specifications,
)
from .claims import load_claims

__all__ = [
    "ANSWERS",
    "CHOICE",
    "VERDICTS",
    "answer",
    "answer_from",
    "both_numbers",
    "claimed",
    "lacking",
    "over_rules",
    "position",
    "progress",
    "verdict_table",
    "verdicts",
]

#: The columns that name a choice; the data sets are what it speaks of.
CHOICE = ["sensor", "level", "rule", "reading", "unit", "against"]
ANSWERS = ("yes", "no", "too few seeds", "not yet measured")
VERDICTS = ("shown", "not shown", "excluded", "contradicted", "too few seeds", "not yet measured")


def claimed() -> dict[str, float]:
    """The abstract's gains, in points or per cent: {"gray": 4.75, "rgb": 4.51}, from `claims.json`."""
    gains = {claim["datasets"]: claim["number"] for claim in load_claims() if claim.get("study") == "gain"}
    return {colour: round(100 * number, 6) for colour, number in gains.items()}


def progress(folder: str | Path) -> pd.DataFrame:
    """How many of the declared runs are recorded: a row for every part (`multiverse.overview`), and one for all.

    Columns: part, done, declared (a number; "at most" one while tuning decides how many there are), share (of the
    declared, a lower bound there).
    """
    rows = overview(folder)
    total = {key: sum(row[key] for row in rows) for key in ("done", "declared")}
    rows.append({"part": "all", "exact": all(row["exact"] for row in rows), **total})
    declared = [f"{'' if row['exact'] else 'at most '}{row['declared']}" for row in rows]
    shares = [row["done"] / row["declared"] for row in rows]
    parts, done = ([row[key] for row in rows] for key in ("part", "done"))
    return pd.DataFrame({"part": parts, "done": done, "declared": declared, "share": shares})


def lacking(table: pd.DataFrame) -> pd.DataFrame:
    """What is missing from the table of `Specifications`, and what it waits for: a row for each sensor, level, data
    set, rival and rule, with `specifications` (how many: readings, PSNR and SSIM in their units) and `missing`."""
    found = table[~table["complete"]]
    keys = ["sensor", "level", "dataset", "against", "rule", "missing"]
    return found.groupby(keys, sort=False).size().rename("specifications").reset_index()


def position(table: pd.DataFrame) -> pd.DataFrame:
    """Where the abstract's numbers lie on the curve: per level, colour, unit and rival.

    table: of `Specifications`. Columns: level, colour, number, unit, against, complete and declared (specifications),
    lowest, median, highest (estimate), reach_it (share of estimates at or above the number), inside and inside_all (how
    many intervals, and joint ones, hold it). Shares and estimates are NaN where nothing is complete.
    """
    rows = []
    on_curve = table[table["reading"].isin(READINGS)]
    for key, part in on_curve.groupby(["level", "colour", "unit", "against"], sort=False):
        number, done = claimed()[key[1]], part[part["complete"]]
        estimates = done["estimate"]
        inside = (done["low"] <= number) & (number <= done["high"])
        bounded = np.isfinite(done["low_all"]) & np.isfinite(done["high_all"])
        inside_all = bounded & (done["low_all"] <= number) & (number <= done["high_all"])
        range_ = [estimates.min(), estimates.median(), estimates.max(), (estimates >= number).mean()]
        rows.append(
            [*key[:2], number, *key[2:], len(done), len(part), *range_, int(inside.sum()), int(inside_all.sum())]
        )
    names = ["complete", "declared", "lowest", "median", "highest", "reach_it", "inside", "inside_all"]
    return pd.DataFrame(rows, columns=["level", "colour", "number", "unit", "against", *names])


# --- the question -----------------------------------------------------------------------------------------------------


def both_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Does the abstract recur, choice by choice: +4.75 in a gray set and +4.51 in a colour set, and PSNR ahead there?

    A data set answers yes if the joint interval of the gain lies above 0 and holds the number of its colour, and the
    joint interval of PSNR, against the same rival, lies above 0. Columns: `CHOICE`, gray and rgb (the data sets that
    do, in words), answer ("yes", "no", "too few seeds" or "not yet measured").
    """
    found = _with_psnr(table)
    number = found["colour"].map(claimed())
    holds = (found["low_all"] > 0) & (found["low_all"] <= number) & (number <= found["high_all"]) & found["psnr_ahead"]
    enough = found["seeds"] >= fewest_seeds(FAMILY)
    found = found.assign(holds=(holds & found["complete"] & enough).astype(bool), few=~enough)
    groups = found.groupby(CHOICE, sort=False)
    answers = groups.agg(few=("few", "any"), complete=("complete", "all"))
    for colour in ("gray", "rgb"):
        there = found[found["holds"] & (found["colour"] == colour)]
        named = there.groupby(CHOICE, sort=False)["dataset"].agg(", ".join)
        answers[colour] = named.reindex(answers.index).fillna("") if len(named) else ""
    yes = (answers["gray"] != "") & (answers["rgb"] != "")
    chosen = [yes, answers["few"], answers["complete"]]
    answers["answer"] = np.select(chosen, ["yes", "too few seeds", "no"], "not yet measured")
    return answers.reset_index()[[*CHOICE, "gray", "rgb", "answer"]]


def _with_psnr(table: pd.DataFrame) -> pd.DataFrame:
    """The accuracies' rows, with whether ALCL is ahead in PSNR against the same rival (False while it is missing).

    Where the rival is the better of both in accuracy, PSNR is compared with the better of both in PSNR.
    """
    keys = ["sensor", "level", "dataset", "rule", "against"]
    psnr = table[table["reading"] == "psnr"].set_index(keys)["low_all"] > 0
    found = table[table["reading"].isin(READINGS)].copy()
    found["psnr_ahead"] = psnr.reindex(pd.MultiIndex.from_frame(found[keys])).to_numpy()
    return found


# --- verdicts ---------------------------------------------------------------------------------------------------------


def verdicts(table: pd.DataFrame, variances: pd.DataFrame) -> pd.DataFrame:
    """A verdict on each claim of accuracy, PSNR, gain and variance under every choice, by the rules of this module.

    table: of `Specifications`. variances: `spread.variance_comparisons`. Columns: id, claim, `CHOICE`, sets (data sets
    that are complete, "2 of 4"), verdict. A claim of MSE has rule "none"; gains are judged against the better of both,
    as in the ledger, in both units.
    """
    rows = []
    for claim in load_claims():
        study = claim.get("study")
        if study not in ("superiority", "gain", "variance"):
            continue
        measures = READINGS if claim["measure"] == "accuracy" else (claim["measure"],)
        rival = claim.get("against", "better of both")
        part = table[table["reading"].isin(measures) & (table["against"] == rival)]
        if study != "gain":
            part = part[part["unit"] != "relative"]  # the signs are the same
        elif claim["datasets"] != "all":
            part = part[part["colour"] == claim["datasets"]]
        if study == "variance":
            keys = ["sensor", "level", "dataset", "reading", "against", "rule"]
            ends = variances.set_index(keys)[["low_all", "high_all"]].astype(float)
            part = part.drop(columns=["low_all", "high_all"]).join(ends, on=keys)
        decide = _RULES[study]
        for key, sets in part.groupby(CHOICE, sort=False):
            counted = f"{int(sets['complete'].sum())} of {len(sets)}"
            rows.append([claim["id"], claim["claim"], *key, counted, decide(sets, 100 * claim.get("number", 0.0))])
    return pd.DataFrame(rows, columns=["id", "claim", *CHOICE, "sets", "verdict"])


def _decided(above: pd.Series, below: pd.Series, sets: pd.DataFrame) -> str:
    """Of a claim that must hold in every data set: above, below: where it, and where the opposite, is shown."""
    if below.any():
        return "contradicted"
    if not sets["complete"].all():
        return "not yet measured"
    return "shown" if above.all() else "not shown"


def _superiority(sets: pd.DataFrame, _: float) -> str:
    return _few(sets) or _decided(sets["low_all"] > 0, sets["high_all"] < 0, sets)


def _variance(sets: pd.DataFrame, _: float) -> str:
    # The jackknife has an interval with five seeds as well; but the declaration has one rule for all.
    return _few(sets) or _decided(sets["high_all"] < 1, sets["low_all"] > 1, sets)


def _gain(sets: pd.DataFrame, number: float) -> str:
    if few := _few(sets):
        return few
    if ((sets["low_all"] > 0) & (sets["high_all"] >= number)).any():
        return "shown"
    if not sets["complete"].all():
        return "not yet measured"
    if (sets["high_all"] < 0).all():
        return "contradicted"
    return "excluded" if (sets["high_all"] < number).all() else "not shown"


def _few(sets: pd.DataFrame) -> str:
    if (sets["seeds"] >= fewest_seeds(FAMILY)).all():
        return ""
    return "too few seeds" if sets["complete"].all() else "not yet measured"


_RULES: Mapping[str, Callable[[pd.DataFrame, float], str]] = {
    "superiority": _superiority,
    "variance": _variance,
    "gain": _gain,
}


def over_rules(found: pd.DataFrame) -> pd.DataFrame:
    """The verdicts without GCL's rule as an axis: `optimal`, the verdict where GCL is tuned as "optimally" says (by the
    oracle of the measure itself, `OWN_ORACLE`; of a claim against MSE the only one), and how many rules give each of
    `VERDICTS`. found: `verdicts`."""
    keys = ["id", *(name for name in CHOICE if name != "rule")]
    counts = found.groupby([*keys, "verdict"], sort=False).size().unstack(fill_value=0)
    optimal = found[_optimal(found)].set_index(keys)["verdict"].rename("optimal")
    order = list(dict.fromkeys(found[keys].itertuples(index=False, name=None)))
    table = optimal.to_frame().join(counts.reindex(columns=list(VERDICTS), fill_value=0))
    return table.reindex(pd.MultiIndex.from_tuples(order, names=keys)).reset_index()


def _optimal(found: pd.DataFrame) -> pd.Series:
    return (found["rule"] == found["reading"].map(OWN_ORACLE)) | (found["rule"] == NO_RULE)


def verdict_table(found: pd.DataFrame) -> pd.DataFrame:
    """The verdicts to read: a row for each claim, reading and unit, a column for each headline sensor and level.

    GCL is tuned as "optimally" says (see `over_rules`).
    """
    shown = found[_optimal(found) & found["sensor"].isin(HEADLINE_SENSORS)]
    shown = shown.assign(place=[f"{sensor}, {level}" for sensor, level in shown[["sensor", "level"]].to_numpy()])
    index = ["id", "reading", "unit"]
    wide = shown.pivot(index=index, columns="place", values="verdict")
    rows = list(dict.fromkeys(shown[index].itertuples(index=False, name=None)))
    wide = wide.reindex(index=pd.MultiIndex.from_tuples(rows, names=index), columns=list(dict.fromkeys(shown["place"])))
    return wide.rename_axis(columns=None).reset_index()


# --- in two sentences -------------------------------------------------------------------------------------------------


def answer(specs: Specifications, tests: pd.DataFrame | None = None) -> str:
    """The multiverse in two sentences, right with any set of records: what the curve says; whether the abstract recurs.

    tests: `joint_tests(specs)`, computed here if it is not given.

    >>> from alcl.experiments.specification import observations, specifications
    >>> print(answer(specifications(observations([]))).partition(". ")[0])
    None of the 6,240 declared specifications has all its runs yet
    """
    table = specs.table[specs.table["reading"].isin(READINGS)]
    done = table[table["complete"]]
    tests = joint_tests(specs) if tests is None else tests
    if len(done):
        which = "all" if len(done) == len(table) else f"the {len(done):,} complete ones of"
        parts = filter(None, (_against(tests, rival) for rival in ("mse", "gcl")))
        first = f"Of {which} {len(table):,} declared specifications, ALCL's estimate is above {' and '.join(parts)}"
    else:
        first = f"None of the {len(table):,} declared specifications has all its runs yet"
    found = both_numbers(specs.table)
    counts = found["answer"].value_counts()
    yes, no = (int(counts.get(name, 0)) for name in ("yes", "no"))
    gray, rgb = claimed().values()
    numbers = f"+{gray:g} (gray) and +{rgb:g} (RGB)"
    if yes + no:
        where = [
            f"{len(part)} against {_NAMES[rival]}: {', '.join(part['reading'].unique())}"
            for rival, part in found[found["answer"] == "yes"].groupby("against", sort=False)
        ]
        rivals = f" ({'; '.join(where)})" if where else ""
        second = (
            f"{numbers} lie inside joint intervals above zero, with PSNR ahead as well, under {yes:,} of the "
            f"{yes + no:,} decided choices{rivals}"
        )
    else:
        second = f"Whether {numbers} recur is not decided yet under any choice"
    more, colon = (" more", "; ") if yes + no else ("", ": ")
    rest = [f"{counts[name]:,}{more} {text}" for name, text in _REST.items() if name in counts]
    return f"{first}. {second}{colon if rest else ''}{', '.join(rest)}."


def answer_from(folder: str | Path) -> str:
    """`answer` from the records in `folder`."""
    records = [record for found in read_records(folder).values() for record in found]
    return answer(specifications(observations(records)))


_NAMES = {"mse": "MSE", "gcl": "GCL", "better of both": "the better of both"}
_REST = {"not yet measured": "wait for runs", "too few seeds": "have too few seeds"}


def _against(tests: pd.DataFrame, rival: str) -> str:
    """For example: "that of MSE in 80 % (median +0.97 points, joint p = 0.016)"."""
    part: Any = tests[tests["group"] == f"points, {rival}"].set_index("statistic")
    if not len(part):
        return ""
    share, median = part.loc["share positive", "observed"], part.loc["median"]
    p = min(1.0, 2 * min(median["p_ahead"], median["p_behind"]))
    return (
        f"that of {_NAMES[rival]} in {100 * share:.0f} % (median {median['observed']:+.2f} points, joint p = {p:.2g})"
    )
