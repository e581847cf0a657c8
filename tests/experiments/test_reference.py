"""The reference's tables on numbers with known answers, and on no records at all."""

import itertools

import numpy as np
import pandas as pd
import pytest

from alcl.experiments import multiverse, reference
from alcl.experiments.multiverse import FEW, SEEDS, Condition
from alcl.experiments.specification import CONDITION

HERE = Condition("mnist", "clipped", "high")
KEY = (HERE.sensor, HERE.level, HERE.dataset)


def observed(values, missing=(), condition=KEY):
    """Rows of one condition. values: method -> value(seed), the same for every measure; missing: (method, seed)."""
    rows = []
    for method, value in values.items():
        for seed in SEEDS:
            lacks = (method, seed) in missing
            for measure in ("accuracy", *reference.MEASURES):
                found = np.nan if lacks else value(seed)
                rows.append((*condition, method, seed, measure, found, "x", "run" if lacks else ""))
    names = [*CONDITION, "method", "seed", "measure", "value", "digest", "missing"]
    return pd.DataFrame(rows, columns=names)


def row(table, **where):
    for name, value in where.items():
        table = table[table[name] == value]
    (found,) = table.to_dict("records")
    return found


@pytest.fixture(scope="module")
def nothing():
    return reference.reference_frame(reference.observe([]))


def test_gcl_is_the_oracle_of_the_measure():
    oracles = {"gcl:oracle_psnr": 1.0, "gcl:oracle_ssim": 2.0, "gcl:oracle_restored": 3.0, "gcl:oracle_codes": 4.0}
    frame = reference.reference_frame(observed({m: lambda s, v=v: v for m, v in oracles.items()}))
    assert set(frame["method"]) == {"gcl"}
    assert frame.groupby("measure")["value"].unique().map(list).to_dict() == {
        "psnr": [1.0],
        "ssim": [1.0],
        "restored": [3.0],
    }
    others = ("gcl:one", "gcl:noisy", "gcl:kept", "gcl:public", "gcl:alpha2", "huber", "mse", "pca")
    frame = reference.reference_frame(observed({m: lambda s: 0.0 for m in others}))
    assert list(dict.fromkeys(frame["method"])) == ["gcl_one", "gcl_noisy", "gcl_kept", "gcl_public", "mse", "pca"]


def test_medians_are_of_methods_with_all_seeds_and_in_their_units():
    part = observed({"alcl": lambda s: s / 100, "mse": lambda s: 0.5, "l1": lambda s: -np.inf}, missing={("mse", 3)})
    table = reference.medians(reference.reference_frame(part))
    assert set(table["method"]) == {"alcl", "l1"}
    assert row(table, method="alcl", measure="restored")["median"] == pytest.approx(4.5)
    found = row(table, method="alcl", measure="psnr")
    assert (found["median"], found["q1"], found["q3"]) == pytest.approx((0.045, 0.02, 0.07))
    diverged = row(table, method="l1", measure="psnr")
    assert (diverged["median"], diverged["diverged"]) == (-np.inf, 10)


def test_differences_are_paired_and_adjusted_for_all_conditions():
    spread = np.linspace(0.0, 0.009, 10)
    values = {"alcl": lambda s: 0.5 + spread[s], "mse": lambda s: 0.4 + 2 * spread[s], "l1": lambda s: 0.6}
    frame = reference.reference_frame(observed(values, missing={("l1", 0)}))
    table = reference.compare(frame)
    assert len(table) == 24 * (len(reference.RIVALS) + len(reference.NO_LOSS)) * len(reference.MEASURES)
    found = row(table, sensor="clipped", level="high", dataset="mnist", rival="mse", measure="restored")
    assert found["difference"] == pytest.approx(9.55)
    assert (found["low"], found["high"]) == pytest.approx((9.2, 9.9))  # second smallest and largest of ten
    assert found["p"] == 2**-9
    assert found["p_holm"] == pytest.approx(24 * 2**-9)
    lacks = row(table, sensor="clipped", level="high", dataset="mnist", rival="l1", measure="psnr")
    assert np.isnan([lacks["difference"], lacks["low"], lacks["p_holm"]]).all()
    # another condition with the same sign everywhere: the first one's adjusted p-value does not grow
    more = pd.concat([frame, reference.reference_frame(observed(values, condition=("clipped", "low", "mnist")))])
    again = row(reference.compare(more), sensor="clipped", level="high", dataset="mnist", rival="mse", measure="psnr")
    assert again["p_holm"] <= found["p_holm"]


def test_two_that_diverged_do_not_differ():
    frame = reference.reference_frame(observed({"alcl": lambda s: -np.inf, "mse": lambda s: -np.inf}))
    found = row(reference.compare(frame, ["mse"]), sensor="clipped", level="high", dataset="mnist", measure="psnr")
    assert (found["difference"], found["p"]) == (0.0, 1.0)


def test_of_no_records_everything_is_missing_and_named(nothing):
    table = reference.coverage(nothing)
    assert len(table) == len(reference.conditions()) == 24
    assert (table["methods_done"] == 0).all()
    # ALCL and its rivals; with clamped targets MSE stands beside the unclipped sensor at high alone
    clamped = (table["sensor"] == "unclipped") & (table["level"] == "high")
    assert (table["methods"] == len(reference.RIVALS) + clamped).all()
    assert set(table["first_missing"]) == {"alcl: 0 of 10 seeds"}
    assert reference.medians(nothing).empty
    assert reference.compare(nothing)["difference"].isna().all()


def test_clamped_targets_are_a_rival_where_nothing_is_clipped():
    here = Condition("mnist", "clamped", "high")
    record = {
        "digest": here.run("mse", 0).digest,
        "config": {"dataset": "mnist"},
        "metrics": dict.fromkeys(("accuracy", "knn", "mlp", "finetuned", "restored", "psnr", "ssim"), 0.7),
    }
    frame = reference.reference_frame(reference.observe([record]))
    found = frame[frame["method"] == "mse_clamped"]
    assert set(found["sensor"]) == {"unclipped"}
    assert set(found["level"]) == {"high"}
    there = found[found["missing"] == ""]
    assert there[["dataset", "seed", "measure", "value"]].to_numpy().tolist() == [
        ["mnist", 0, measure, 0.7] for measure in there["measure"]
    ]
    assert set(there["measure"]) == set(reference.MEASURES)


def test_coverage_says_what_is_missing_first():
    frame = reference.reference_frame(observed({"alcl": lambda s: 1.0, "mse": lambda s: 1.0}, missing={("mse", 3)}))
    found = row(reference.coverage(frame), sensor="clipped", level="high", dataset="mnist")
    assert (found["methods_done"], found["methods"], found["first_missing"]) == (1, 2, "mse: 9 of 10 seeds")


def test_longer_training_is_compared_at_both_lengths():
    (step, other) = [step for step in multiverse.declared() if step.epochs is not None]
    assert {step.condition.sensor, other.condition.sensor} == {"clipped", "unclipped"}
    psnr = {"alcl": (20.0, 21.0), "mse": (20.5, 21.1), "l1": (19.0, None)}
    records = []
    for method, values in psnr.items():
        for epochs, value in zip((None, step.epochs), values, strict=True):
            changes = {} if epochs is None else {"epochs": epochs}
            records += [
                {
                    "digest": step.condition.run(method, seed, **changes).digest,
                    "config": {"dataset": "mnist"},
                    "metrics": {"psnr": value},
                }
                for seed in FEW
            ]
    table = reference.longer(records)
    mse = row(table, sensor=step.condition.sensor, rival="mse")
    assert (mse["epochs"], mse["longer_epochs"]) == (20, step.epochs)
    assert (mse["difference"], mse["longer_difference"]) == pytest.approx((-0.5, -0.1))
    assert row(table, sensor=step.condition.sensor, rival="l1")["longer_difference"] == np.inf
    assert np.isnan(row(table, sensor=step.condition.sensor, rival="gcl")["difference"])
    assert table[table["sensor"] == other.condition.sensor]["difference"].isna().all()


def test_alcl_itself_is_told_at_the_lengths_that_are_run():
    step = next(step for step in multiverse.declared() if step.epochs is not None)
    ends, records = {20: (2.8, 0.12), 60: (2.0, 0.01)}, []
    for (epochs, (alpha, beta)), seed in itertools.product(ends.items(), FEW):
        metrics = {"psnr": None if seed == FEW[0] else epochs + seed, "ssim": 0.5, "restored": 0.9}
        digest = step.condition.run("alcl", seed, epochs=epochs).digest
        history = {"alpha": [2.0, alpha], "beta": [0.5, beta + seed]}
        records.append({"digest": digest, "metrics": metrics, "history": history})
    table = reference.longer_alcl(records)
    assert table["epochs"].tolist() == [20, 60]
    assert set(table["sensor"]) == {step.condition.sensor}
    assert table[["psnr", "ssim", "restored", "alpha", "beta"]].to_numpy() == pytest.approx(
        np.array([[22.5, 50, 90, 2.8, 2.12], [62.5, 50, 90, 2.0, 2.01]])
    )
    assert reference.longer_alcl(records[:-1])["epochs"].tolist() == [20]
    assert reference.longer_alcl([]).empty
