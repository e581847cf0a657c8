"""What a floor or a cap on the shape changes: ALCL's ablations of the multiverse beside ALCL, paired by seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from .analysis import paired_differences
from .multiverse import ABLATIONS, Condition, declared

__all__ = ["ABLATED", "CLEAN_MEASURES", "ablation_frame", "shape_limits"]

#: Judged against clean images, or on images repaired: what the abstract's words "reconstruction fidelity" can mean.
CLEAN_MEASURES = ("psnr", "ssim", "restored")


#: The conditions in which they were run, in the order of the declaration.
ABLATED: tuple[Condition, ...] = tuple(dict.fromkeys(step.condition for step in declared() if step.part == "ablations"))


def ablation_frame(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The declared ablations that are among the records, a row for each run and measure.

    Columns: dataset, sensor, level, method, seed, measure, value. Measures: `CLEAN_MEASURES`, and "alpha" and "beta",
    the parameters at the end of training. A measure that is not finite counts as -inf.
    """
    there = {record["digest"]: record for record in records}
    rows = []
    for step in declared():
        if step.part != "ablations":
            continue
        condition = step.condition
        for method in ABLATIONS:
            for seed in step.seeds:
                record = there.get(condition.run(method, seed).digest)
                if record is None:
                    continue
                values = {name: record["metrics"][name] for name in CLEAN_MEASURES}
                values |= {name: record["history"][name][-1] for name in ("alpha", "beta")}
                for measure, value in values.items():
                    finite = value is not None and math.isfinite(value)
                    where = [condition.dataset, condition.sensor, condition.level]
                    rows.append([*where, method, seed, measure, value if finite else -math.inf])
    return pd.DataFrame(rows, columns=["dataset", "sensor", "level", "method", "seed", "measure", "value"])


def shape_limits(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Every ablation minus ALCL, paired by seed; above 0, the floor or the cap is ahead.

    A row for each sensor, level, method and measure. Columns: dataset, sensor, level, method, measure, and those of
    `analysis.paired_differences` with `a` the ablation and `b` ALCL; p_holm is adjusted over all comparisons of one
    method and measure.
    """
    frame = ablation_frame(records)
    parts = []
    for method in ABLATIONS[1:]:
        for measure in dict.fromkeys(frame["measure"]):
            # Sensor and level are one condition, by a name that no level has: both are paired and adjusted together.
            conditions = frame.assign(level=frame["sensor"] + "/" + frame["level"])
            part = paired_differences(conditions, method, "alcl", measure)
            parts.append(part.assign(method=method, measure=measure))
    if not parts:
        return pd.DataFrame(columns=["dataset", "sensor", "level", "method", "measure"])
    table = pd.concat(parts, ignore_index=True)
    table[["sensor", "level"]] = table["level"].str.split("/", expand=True)
    first = ["dataset", "sensor", "level", "method", "measure"]
    order = {(condition.sensor, condition.level): i for i, condition in enumerate(ABLATED)}
    table = table[[*first, *(name for name in table if name not in first)]]
    place = [order[sensor, level] for sensor, level in zip(table["sensor"], table["level"], strict=True)]
    return table.iloc[pd.Series(place).sort_values(kind="stable").index].reset_index(drop=True)
