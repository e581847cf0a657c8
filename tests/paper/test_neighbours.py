"""The neighbours' ledger: its table, its frames from made records, its rules on frames whose verdict is known."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from alcl.experiments.records import RecordStore
from alcl.paper import neighbours
from alcl.paper.neighbours import Row, collapses, discriminative_rows, neighbours_markdown, paired, without_collapse
from alcl.paper.readme import ROOT
from alcl.related.feature_losses import PERTURBATIONS, TRAININGS
from alcl.related.input_studies import CONFIRMED, NEW_SEEDS, VARIANTS, Stability

RECORDS = ROOT / "paper_figures" / "records"


def test_the_table():
    table = neighbours_markdown([Row("a | b", "x", "proved", "D6"), Row("c", "y", "partly", "Section 1")])
    assert table.splitlines()[2] == "| a \\| b | x | **proved** | D6 |"
    assert len(table.splitlines()) == 4
    with pytest.raises(ValueError, match=r"verdict must be one of proved, shown, .*; got 'true'"):
        neighbours_markdown([Row("a", "x", "true", "D6")])


def made(**better):
    """A frame of 8 seeds on one data set: the discriminative loss is better by what is given, all else is noise."""
    draw = np.random.default_rng(0)
    rows = []
    for training, seed in itertools.product(TRAININGS, range(8)):
        row = {"dataset": "digits", "training": training, "seed": seed, "loss": 0.2, "held": 9, "images": 9}
        for name in ("clean", "robust", "trace", "largest", "change", "bend", "bound", "within", "margin", "aligned"):
            row[name] = 50 + draw.uniform(-0.1, 0.1)
            row[name] *= better.get(name, 1.0) if training == "discriminative" else 1.0
        rows.append(row | {"spread": 2.0, **dict.fromkeys(PERTURBATIONS, row["robust"])})
    return pd.DataFrame(rows).set_index(["dataset", "training", "seed"]).sort_index()


def verdicts(monkeypatch, frame, **how):
    monkeypatch.setattr(neighbours, "networks", lambda _: frame)
    return [row.verdict for row in discriminative_rows("nowhere", **how)]


GOOD = {"robust": 1.2, "largest": 0.5, "within": 0.5, "margin": 2.0}
PROOFS = {"checked": ("D6", "D7")}


def test_verdicts_follow_the_measures(monkeypatch):
    good = made(**GOOD)
    said = "not shown", "shown", "shown", "shown", "shown", "partly", "shown"
    assert verdicts(monkeypatch, good, **PROOFS) == list(said)
    # what is not proved here is not "shown", and without its theorem the converse is no more than a correlation
    assert verdicts(monkeypatch, good)[4:6] == ["partly", "not yet measured"]
    assert verdicts(monkeypatch, good.assign(held=8), **PROOFS)[4] == "partly"
    worse = {"clean": 0.9, "robust": 0.9, "largest": 2.0, "within": 2.0, "margin": 0.5}
    bad = verdicts(monkeypatch, made(**worse), **PROOFS)
    assert bad == ["not shown"] * 5 + ["partly", "not shown"]
    assert verdicts(monkeypatch, made(within=0.5, margin=0.5), **PROOFS)[2] == "partly"


def test_one_data_set_of_two_is_partly(monkeypatch):
    other = made(**{**GOOD, "robust": 0.9}).rename(index={"digits": "mnist"}, level="dataset")
    assert verdicts(monkeypatch, pd.concat([made(**GOOD), other]), **PROOFS)[-1] == "partly"


def test_noise_that_costs_clean_accuracy(monkeypatch):
    frame = made(**GOOD)
    frame["clean"] -= 2 * (frame.index.get_level_values("training") == "noisy")
    assert verdicts(monkeypatch, frame)[0] == "shown"


def test_what_is_not_measured_has_no_verdict(monkeypatch):
    bare = made(**GOOD).drop(columns=["largest", "bound", "within", "margin", "aligned"])
    assert verdicts(monkeypatch, bare, **PROOFS)[2:5] == ["not yet measured"] * 3
    one = made(**GOOD).xs(0, level="seed", drop_level=False)  # one seed has no interval
    assert set(verdicts(monkeypatch, one)) == {"not yet measured"}


def test_paired_against_numpy():
    frame = made(clean=1.1)
    (row,) = paired(frame, "clean", "discriminative", "both").itertuples()
    difference = frame.loc[("digits", "discriminative"), "clean"] - frame.loc[("digits", "both"), "clean"]
    assert row.median == pytest.approx(np.median(difference))
    assert difference.min() <= row.low < row.median < row.high <= difference.max()
    assert row.seeds == 8


@pytest.fixture
def folder(tmp_path):
    """Ten seeds: the recorded recipe collapses at eight, a warm-up and a small weight at none, a low rate at seven."""
    gone = {"recorded": range(8), "warm-up": (), "weight 0.01": (), "rate 3e-4": range(7), "batch norm": range(10)}
    store = RecordStore(tmp_path / "input_studies.jsonl")
    for variant, seed in itertools.product(VARIANTS, range(10)):
        config = Stability("digits", variant, seed)
        collapsed = seed in gone.get(variant, range(8))
        robust = dict.fromkeys(PERTURBATIONS, 0.5 + seed / 100)
        metrics = {"clean": 0.9, "robust": robust, "loss": 2.3, "collapsed": collapsed}
        record = {"digest": config.digest, "study": config.study, "config": config.config(), "metrics": metrics}
        store.append(record | {"seconds": {}, "environment": {}, "data": "x"})
    return tmp_path


def test_collapses_by_hand(folder):
    table = collapses(folder)
    assert list(table.index) == list(VARIANTS)
    assert table["collapsed"].to_dict()["recorded"] == 8
    # Clopper and Pearson by beta quantiles; the sign test by its two tails
    assert table.loc["recorded", "low"] == pytest.approx(stats.beta.ppf(0.025, 8, 3))
    assert table.loc["recorded", "high"] == pytest.approx(stats.beta.ppf(0.975, 9, 2))
    assert table.loc["warm-up", "high"] == pytest.approx(1 - 0.025 ** (1 / 10))
    assert table.loc["warm-up", "p_holm"] == pytest.approx(6 * 2 * 0.5**8)
    assert math.isnan(table.loc["recorded", "p_holm"])
    assert table.loc["rate 3e-4", "p_holm"] == 1
    assert table.loc["warm-up", "robust"] == pytest.approx(54.5)
    assert table.loc["recorded", "robust"] == pytest.approx(58.5)  # of the two that did not
    assert math.isnan(table.loc["batch norm", "clean"])


def test_only_recipes_that_keep_the_loss_can_acquit_the_method(folder):
    table = collapses(folder)
    assert without_collapse(table) == ["warm-up"]
    assert table.loc["weight 0.01", "p_holm"] < 0.05
    worse = table.assign(collapsed=table["collapsed"].where(table.index != "recorded", 0))
    assert without_collapse(worse) == []


def test_the_verdict_on_the_collapse_in_words(folder):
    table = collapses(folder)
    assert neighbours.collapse_verdict(table) == (
        "The recipe's: surely fewer collapse with weight 0.01, warm-up; surely more with none."
    )
    smaller = table.assign(p_holm=table["p_holm"].where(table.index != "warm-up", 0.5))
    assert neighbours.collapse_verdict(smaller).startswith("Not shown to be the recipe's: surely fewer")
    more = table.assign(p_holm=table["p_holm"].where(table.index != "batch norm", 0.01))
    assert neighbours.collapse_verdict(more).endswith("surely more with batch norm.")
    for few in (table.assign(seeds=7), table.iloc[:0]):
        assert neighbours.collapse_verdict(few) == "Undecided: too few networks are recorded."


def test_only_seeds_that_all_recipes_have_count(folder):
    path = folder / "input_studies.jsonl"
    config = Stability("digits", "noise 0.06", 9)
    path.write_text("".join(line for line in path.open() if config.digest not in line))
    assert (collapses(folder)["seeds"] == 9).all()
    assert len(collapses(folder, "mnist")) == 0


def test_the_two_rounds_are_told_apart(folder):
    store = RecordStore(folder / "input_studies.jsonl")
    for variant, seed in itertools.product(CONFIRMED, NEW_SEEDS):
        config = Stability("digits", variant, seed)
        robust = dict.fromkeys(PERTURBATIONS, 0.5)
        metrics = {"clean": 0.9, "robust": robust, "loss": 2.3, "collapsed": variant == "recorded" and seed < 36}
        record = {"digest": config.digest, "study": config.study, "config": config.config(), "metrics": metrics}
        store.append(record | {"seconds": {}, "environment": {}, "data": "x"})
    assert (collapses(folder)["seeds"] == 10).all()
    second = collapses(folder, seeds=NEW_SEEDS)
    assert second["collapsed"].to_dict() == {"recorded": 6, "warm-up": 0}
    assert second.loc["warm-up", "p_holm"] == pytest.approx(2 * 0.5**6)  # one comparison: nothing to correct
    assert without_collapse(second) == ["warm-up"]


def test_the_committed_records_give_the_numbers_of_the_notebooks_table():
    """By two roads: this module's frame, and the table that notebook 09 saved."""
    table = pd.read_csv(ROOT / "paper_figures" / "table09d_verdict.csv")
    frame = neighbours.networks(RECORDS)
    names = {"clean accuracy, points": "clean", "robust accuracy, points": "robust"}
    rows = table[table["measure"].isin(names)]
    assert len(rows) == 8
    for row in rows.itertuples():
        own = paired(frame, names[row.measure], "discriminative", row.rival).loc[row.dataset]
        assert (own["median"], own.low, own.high) == pytest.approx((row.median, row.low, row.high), rel=1e-4)
    text = neighbours_markdown(discriminative_rows(RECORDS))
    assert "nan" not in text
    assert len(text.splitlines()) == 9


def test_a_folder_without_records_has_rows_and_no_verdicts(tmp_path):
    assert {row.verdict for row in discriminative_rows(tmp_path)} == {"not yet measured"}
