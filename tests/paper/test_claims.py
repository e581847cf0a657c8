"""The ledger: its verdicts in made worlds, and theorems that count only where executed."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_records import as_claimed, claimed_world, world

from alcl.experiments import analysis
from alcl.experiments.levels import LEVELS
from alcl.experiments.protocol import EMBEDDED, GCL_ALPHAS, GCL_BETAS
from alcl.experiments.reconstruction import method_of
from alcl.paper import claims
from alcl.paper.theorems import find_theorems


@pytest.fixture(scope="module")
def claimed():
    return claimed_world()


def theorems(*ids, checked=True):
    table = {"id": ids, "notebook": "01_likelihood", "title": "", "checked": checked}
    return pd.DataFrame(table).set_index("id")


STUDIES = ["4a", "4b", "4c", "4d", "5", "6", "7a", "7b", "8a", "8b", "9b"]
EVERY_THEOREM = theorems(*{t for c in claims.load_claims() for t in [*c.get("theorems", []), *c.get("limits", [])]})


def verdicts(records, index=None):
    """Without 9a, which no record of a run decides."""
    return claims.claims_ledger(records, index).set_index("id")["verdict"].drop("9a")


# --- theorems -------------------------------------------------------------------------------------------------------


def notebook(root, name, *cells):
    """A pair of source and executed notebook, in <root>/notebooks; each cell (kind, source[, what became of it])."""
    made, lines, number = [], [], 0
    for kind, source, *outcome in cells:
        cell = {"cell_type": kind, "source": source.splitlines(keepends=True)}
        if kind == "markdown":
            lines += ["# %% [markdown]", *(f"# {line}" for line in source.splitlines())]
        else:
            ran, number = outcome[0] if outcome else "ok", number + 1
            cell["execution_count"] = None if ran == "not run" else number
            cell["outputs"] = [{"output_type": "error"}] if ran == "error" else []
            lines += ["# %%", source]
        made.append(cell)
    folder = root / "notebooks"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text("\n".join(lines) + "\n")
    (folder / f"{name}.ipynb").write_text(json.dumps({"cells": made}))
    return folder / f"{name}.ipynb"


def test_theorem_index_believes_only_executed_assertions(tmp_path):
    path = notebook(
        tmp_path,
        "01_first",
        ("markdown", "**Theorem L1** (a name,\nover two lines). Let x."),
        ("code", "# check: L1\nassert True"),
        ("markdown", "**Theorem L2** (not executed)."),
        ("code", "# check: L2\nassert True", "not run"),
        ("markdown", "**Theorem L3** (failed). See Theorem L1."),
        ("code", "# check: L3\nassert False", "error"),
        ("markdown", "**Theorem L4** (asserts nothing)."),
        ("code", "# check: L4\nprint('assertive')"),
        ("markdown", "**Theorem L5** (has no check)."),
        ("code", "assert True"),
    )
    notebook(
        tmp_path,
        "02_second",
        ("markdown", "**Theorem I1** (one)"),
        ("markdown", "**Theorem I2** (two)"),
        ("code", "# check: I1, I2\nassert 1"),
    )
    table = claims.theorem_index(tmp_path / "notebooks")
    passed = {"L1": True, "L2": False, "L3": False, "L4": False, "L5": False, "I1": True, "I2": True}
    assert table["checked"].to_dict() == passed
    assert table.loc["L1"].tolist() == ["01_first", "A name, over two lines", True]
    # An executed notebook that is not the one of the source proves nothing, and neither does its absence.
    path.write_text(path.read_text().replace("# check: L1", "# check: L9"))
    assert not claims.theorem_index(tmp_path / "notebooks").loc["L1", "checked"]
    path.unlink()
    assert not claims.theorem_index(tmp_path / "notebooks").loc["L1", "checked"]


def test_theorem_claims():
    made = [
        {"id": "1", "claim": "c", "kind": "theorem", "theorems": ["L1", "L2"]},
        {"id": "2", "claim": "d", "kind": "theorem", "theorems": ["L1"], "limits": ["A2"], "limit": "not the shape"},
    ]

    def judge(index):
        return claims.claims_ledger([], index, made)[["verdict", "missing"]].values.tolist()

    assert judge(theorems("L1", "L2", "A2")) == [["proved", ""], ["partly", "not the shape"]]
    assert judge(theorems("L1", "A2"))[0] == ["not yet proved", "no executed check of L2"]
    assert judge(theorems("L1", "L2"))[1] == ["not yet proved", "no executed check of A2"]
    assert {row[0] for row in judge(theorems("L1", "L2", "A2", checked=False))} == {"not yet proved"}
    assert {row[0] for row in judge(None)} == {"not yet proved"}


# --- verdicts of studies --------------------------------------------------------------------------------------------


def test_the_claims_are_the_abstracts_and_legal():
    every = claims.load_claims()
    assert [c["id"] for c in every] == [*"123", *STUDIES[:-1], "9a", "9b"]
    assert {c["id"]: c["number"] for c in every if "number" in c} == {"5": 0.0475, "6": 0.0451}
    for claim in every:
        if claim["kind"] == "theorem":
            assert claim["theorems"]
            assert bool(claim.get("limits")) == bool(claim.get("limit"))
        elif claim["kind"] == "bench":
            assert claim["limit"] == 1.1
        else:
            assert claim["study"] in ("superiority", "gain", "equivalence", "variance", "cost")
            assert set(claim["levels"]) <= set(LEVELS)
            assert claim["measure"] in analysis.TUNED_BY
            assert claim["datasets"] in ("all", "gray", "rgb")
    text = json.dumps(every)
    assert not any(word in text for word in claims.VERDICTS)  # verdicts are computed


def test_every_theorem_that_a_claim_names_is_stated():
    stated = {theorem.id for theorem in find_theorems(Path(__file__).resolve().parents[2])}
    assert set(EVERY_THEOREM.index) - stated == set()


def test_without_records_nothing_is_measured_or_proved():
    assert set(verdicts([])) == {"not yet measured", "not yet proved"}
    ledger = claims.claims_ledger([])
    assert (ledger.loc[ledger["kind"] == "study", "result"] == "no records").all()


def test_a_world_as_claimed_is_shown(claimed):
    found = verdicts(claimed, EVERY_THEOREM)
    expected = {"1": "proved", "2": "partly", "3": "partly", **dict.fromkeys(STUDIES, "shown")}
    assert found.to_dict() == expected  # 2 and 3 are limited by theorems
    ledger = claims.claims_ledger(claimed).set_index("id")
    assert (ledger.drop(["1", "2", "3", "9a"])["missing"] == "").all()
    assert set(ledger.drop(["1", "2", "3", "9a"])["embedded_verdict"]) == {"not yet measured"}
    # +0.03, +0.06 and +0.05 at three levels
    assert float(ledger.loc["4a", "result"].split()[1]) == pytest.approx(100 * (0.03 + 0.06 + 0.05) / 3, abs=0.1)
    assert ledger.loc["4a", "result"].endswith("for 12 of 12")
    assert "shape and scale both moved in 200 of 200" in ledger.loc["1", "result"]


def test_the_ledger_depends_on_neither_order_nor_repetition(claimed):
    shuffled = [claimed[i] for i in np.random.default_rng(0).permutation(len(claimed))]
    pd.testing.assert_frame_equal(claims.claims_ledger(shuffled + claimed), claims.claims_ledger(claimed))


def test_a_world_upside_down_contradicts():
    def reverse(method, dataset, level):
        return -as_claimed(method, dataset, level) - (0.05 if level == "low" and method == "alcl" else 0)

    slow = {"alcl": 30.0}
    found = verdicts(world(reverse, spread={"mse": 0.001, "gcl": 0.001, "alcl": 0.02}, seconds=slow))
    assert set(found.drop(["1", "2", "3"])) == {"contradicted"}


def test_a_rival_that_always_diverges_is_beaten():
    records = claimed_world(datasets=EMBEDDED)
    for one in records:
        if method_of(one["config"]) == "mse":
            one["metrics"]["psnr"] = None
    ledger = claims.claims_ledger(records).set_index("id")
    assert ledger.loc["4b", "embedded_verdict"] == "shown"
    assert ledger.loc["4b", "embedded"].startswith("mean +inf dB")


def test_no_difference_is_not_superiority_but_is_small():
    found = verdicts(world(lambda *cell: 0.0))
    assert set(found[["4a", "4b", "4c", "4d"]]) == {"not shown"}
    assert set(found[["5", "6"]]) == {"excluded"}  # every interval is [0, 0], below the number and not below 0
    assert set(found[["7a", "7b"]]) == {"shown"}


def test_few_seeds_decide_nothing_and_are_named():
    records = claimed_world(seeds=range(3))
    ledger = claims.claims_ledger(records).set_index("id")
    assert set(ledger.loc["4a":, "verdict"]) == {"not yet measured"}
    assert ledger.loc["4a", "missing"] == "mnist, cifar10, fashion_mnist, gtsrb: 3 of 10 seeds"
    # Numbers are shown, without an interval and without a verdict.
    assert ledger.loc["4a", "result"].startswith("too few seeds; so far mean +4.")
    assert ledger.loc["5", "result"].startswith("too few seeds; so far largest gain +")
    assert ledger.loc["4a", "result"].endswith("over 12 of 12 comparisons")
    assert "[" not in "".join(ledger.loc["4a":, "result"])
    one = claims.claims_ledger(claimed_world(seeds=[0])).set_index("id").loc["4a"]
    assert (one["verdict"], one["result"]) == ("not yet measured", "too few seeds")


def test_a_missing_data_set_makes_it_partly_and_is_named():
    records = [r for r in claimed_world() if r["config"]["dataset"] != "gtsrb"]
    ledger = claims.claims_ledger(records).set_index("id")
    assert set(ledger.loc[["4a", "4d", "7a", "8a", "9b"], "verdict"]) == {"partly"}
    assert (ledger.loc[["4a", "6", "8a"], "missing"] == "gtsrb: no complete pairs of runs").all()
    # An "up to" needs one condition: it is found in the others.
    assert ledger.loc[["5", "6"], "verdict"].tolist() == ["shown", "shown"]
    assert ledger.loc["5", "missing"] == ""


def test_seeds_between_decided_and_complete_make_it_partly():
    ledger = claims.claims_ledger(claimed_world(seeds=range(9))).set_index("id")
    assert analysis.fewest_seeds(12) == 9
    assert ledger.loc["4a", "verdict"] == "partly"
    assert ledger.loc["4a", "missing"] == "mnist, cifar10, fashion_mnist, gtsrb: 9 of 10 seeds"
    records = [r for r in claimed_world() if (r["config"]["level"], r["config"]["seed"]) != ("high", 4)]
    assert claims.claims_ledger(records).set_index("id").loc["6", "missing"] == (
        "cifar10/high, gtsrb/high: 9 of 10 seeds"
    )


def test_measured_but_neither_for_nor_against_is_undecided():
    records = [r for r in world(lambda *cell: 0.0) if r["config"]["dataset"] != "gtsrb"]
    found = verdicts(records)
    assert found["4c"] == found["8a"] == "undecided"


def test_one_condition_against_is_partly_and_named():
    def mixed(method, dataset, level):
        return (-1 if (dataset, level) == ("mnist", "moderate") else 1) * as_claimed(method, dataset, level)

    row = claims.claims_ledger(world(mixed)).set_index("id").loc["4a"]
    assert row["verdict"] == "partly"
    assert row["result"].endswith("for 11 of 12, against 1 of 12 (mnist/moderate)")


def test_a_gain_that_is_real_but_smaller_is_partly():
    def half(method, dataset, level):
        return 0.4 * as_claimed(method, dataset, level)

    row = claims.claims_ledger(world(half)).set_index("id").loc["5"]
    assert row["verdict"] == "partly"
    assert "over gcl" in row["result"]
    assert row["result"].startswith("largest gain +")


def test_the_gain_is_over_the_better_rival():
    def mse_is_better(method, dataset, level):
        return {"alcl": 0.06, "mse": 0.05}.get(method, 0.0)

    row = claims.claims_ledger(world(mse_is_better)).set_index("id").loc["5"]
    assert "over mse" in row["result"]
    assert row["verdict"] == "partly"


def test_tuning_counts_in_the_cost_against_gcl():
    # A run of ALCL takes ten times as long, but 20 tuning runs of a second each precede GCL's.
    ledger = claims.claims_ledger(claimed_world(seconds={"alcl": 10.0})).set_index("id")
    assert ledger.loc["9b", "verdict"] == "shown"
    assert f"{10 / (len(GCL_ALPHAS) * len(GCL_BETAS) + 1):.2f} times" in ledger.loc["9b", "result"]


def test_a_gain_that_noise_could_hide_is_not_shown_and_one_that_is_a_loss_is_contradicted():
    noisy = verdicts(world(lambda *cell: 0.0, spread=dict.fromkeys(("alcl", "mse", "gcl"), 0.05)))
    assert set(noisy[["5", "6"]]) == {"not shown"}
    behind = verdicts(world(lambda method, *cell: -0.1 if method == "alcl" else 0.0))
    assert set(behind[["5", "6"]]) == {"contradicted"}


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(1.02, 1.08, "shown"), (1.05, 1.15, "not shown"), (1.12, 1.2, "contradicted")],
)
def test_the_cost_beside_mse_is_the_benchmarks(low, high, verdict):
    row = {"what": "epoch", "loss": "ALCL", "threads": 1, "ratio": 1.1, "low": low, "high": high}
    ledger = claims.claims_ledger([], bench={"rows": [{"what": "epoch", "loss": "MSE"}, row]}).set_index("id")
    assert ledger.loc["9a", "verdict"] == verdict
    assert f"1.10 times [{low:.2f}, {high:.2f}]" in ledger.loc["9a", "result"]


def test_without_an_interval_the_cost_is_not_measured():
    row = {"what": "epoch", "loss": "ALCL", "threads": 1, "ratio": 1.1}
    for bench in (None, {"rows": [row]}):
        ledger = claims.claims_ledger([], bench=bench).set_index("id")
        assert ledger.loc["9a", "verdict"] == "not yet measured"
        assert "make bench" in ledger.loc["9a", "missing"]


def test_embedded_sets_are_judged_by_themselves():
    row = claims.claims_ledger(claimed_world(datasets=EMBEDDED)).set_index("id").loc["4a"]
    assert row["verdict"] == "not yet measured"
    assert row["embedded_verdict"] == "shown"
    assert row["embedded"].endswith("for 6 of 6")


def test_the_markdown_has_a_row_a_claim(claimed):
    ledger = claims.claims_ledger(claimed, EVERY_THEOREM)
    lines = claims.ledger_markdown(ledger).splitlines()
    assert len(lines) == 2 + len(ledger)
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    for line, row in zip(lines[2:], ledger.itertuples(), strict=True):
        assert line.startswith(f"| {row.id} | {row.claim.split('|')[0]}")
        assert f"**{row.verdict}**" in line
