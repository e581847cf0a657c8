"""The computed parts of README.md are current, and the check can fail."""

import json
import re
import subprocess
import sys

import pandas as pd
import pytest

from alcl.experiments.analysis import benchmark_frame, paired_differences
from alcl.experiments.protocol import BENCHMARK, study_store
from alcl.paper import readme
from alcl.paper.claims import claims_ledger, load_bench


def test_the_computed_parts_are_current():
    assert readme.main(["--check"]) == 0


def test_a_stale_part_is_noticed_and_rewritten(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(readme, "blocks", lambda root: {"claims": "| fresh |"})
    monkeypatch.setattr(readme, "PAGES", {"README.md": ("claims",)})
    path = tmp_path / "README.md"
    path.write_text("before\n<!-- claims:begin -->\n| stale |\n<!-- claims:end -->\nafter\n")
    assert readme.main(["--check"], root=tmp_path) == 1
    assert "stale" in capsys.readouterr().err
    assert readme.main([], root=tmp_path) == 0
    assert path.read_text() == "before\n<!-- claims:begin -->\n| fresh |\n<!-- claims:end -->\nafter\n"
    assert readme.main(["--check"], root=tmp_path) == 0


def test_missing_markers_are_an_error():
    with pytest.raises(ValueError, match="claims:begin"):
        readme.rendered("nothing here", {"claims": "x"})


@pytest.mark.parametrize(
    ("sentences", "begins"),
    [
        (
            "None of 3 is done. 3 wait for runs.",
            "**Under every reading, so far** (notebook 12): none of 3 is",
        ),
        (
            "Of the 2 complete ones of 3 none. 1 more has too few seeds.",
            "**Under every reading, so far** (notebook 12): of the 2",
        ),
        (
            "Of all 3 none. Never.",
            "**Under every reading** (notebook 12): of all 3 none.",
        ),
    ],
)
def test_the_multiverses_answer_says_whether_it_is_the_last_word(tmp_path, monkeypatch, sentences, begins):
    monkeypatch.setattr(readme, "answer_from", lambda folder: sentences)
    assert readme.multiverse(tmp_path).startswith(begins)


def test_the_readme_is_one_screen():
    assert len((readme.ROOT / "README.md").read_bytes()) <= 8 * 1024


def test_the_first_example_prints_what_the_text_says():
    text = (readme.ROOT / "README.md").read_text("utf-8")
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    done = subprocess.run([sys.executable, "-c", example], cwd=readme.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    mse, about = re.search(r"prints errors of (\S+) for MSE, about (\S+) for ALCL", text).groups()
    printed = dict(re.findall(r"(MSE|ALCL): +(\S+)", done.stdout))
    assert f"{float(printed['MSE']):.2f}" == mse
    # Where training ends depends on how a processor rounds: 24 perturbations of 1e-6 gave 0.046 to 0.065.
    assert float(printed["ALCL"]) == pytest.approx(float(about), rel=0.4)


def test_what_is_said_of_when_not_to_use_it():
    records = [r for name in BENCHMARK for r in study_store(readme.ROOT / "paper_figures" / "records", name).read()]
    frame = benchmark_frame(records)

    def behind(rival, measure, **where):
        """How many conditions lie surely behind, of how many."""
        table = paired_differences(frame, "alcl", rival, measure)
        for column, value in where.items():
            table = table[table[column] == value]
        return (table["high"] < 0).sum(), len(table)

    # little noise: MSE reconstructs MNIST better; extreme: tuned correntropy reconstructs better, everywhere
    assert [behind("mse", "psnr", dataset="mnist", level=level) for level in ("none", "low")] == [(1, 1), (1, 1)]
    assert behind("gcl", "psnr", level="extreme") == (4, 4)
    # and the baseline PCA, colour images better than every loss of the reference, in PSNR and SSIM
    medians = pd.read_csv(readme.ROOT / "paper_figures" / "table06c_medians.csv")
    medians = medians[(medians["level"] == "low") & medians["dataset"].isin(["cifar10", "gtsrb"])]
    for measure in ("psnr", "ssim"):
        wide = medians[medians["measure"] == measure].pivot(
            index=["sensor", "dataset"], columns="method", values="median"
        )
        losses = wide.drop(columns=["pca", "noisy_images", "untrained"], errors="ignore")
        assert wide.shape[0] == 4
        assert {"mse", "gcl", "l1", "alcl"} <= set(losses.columns)
        assert (wide["pca"] > losses.max(axis=1)).all()
    # and what appendix A5 says first: MSE is beaten at high and extreme noise
    for measure in ("accuracy", "psnr"):
        table = paired_differences(frame, "alcl", "mse", measure)
        assert (table[table["level"].isin(["high", "extreme"])]["low"] > 0).all()
    # Huber and tuned correntropy: mostly not surely behind, in accuracy
    for rival in ("huber", "gcl"):
        table = paired_differences(frame, "alcl", rival, "accuracy")
        assert (table["low"] > 0).sum() < len(table) / 2
    # learning never surely gained accuracy over the loss frozen at its start
    counts = pd.read_csv(readme.ROOT / "paper_figures" / "table10_counts.csv")
    frozen = counts[(counts["method"] == "alcl_frozen") & (counts["measure"] == "accuracy")]
    assert len(frozen)
    assert (frozen["ahead"] == 0).all()


def test_the_verdict_has_the_main_rows_in_few_words():
    names = ["id", "claim", "kind", "evidence", "result", "verdict", "missing", "embedded", "embedded_verdict"]
    rows = [
        ["1", "A", "theorem", "", "proved in 01", "proved", "", "", ""],
        ["3", "B", "theorem", "", "proved in 02", "partly", "only if symmetric; and more", "", ""],
        [
            "4a",
            "C",
            "study",
            "",
            "mean +1 points [0, 2]; for 1 of 2, undecided 1 of 2 (mnist/low)",
            "partly",
            "",
            "",
            "",
        ],
    ]
    assert readme.verdict(pd.DataFrame(rows, columns=names)).splitlines()[2:] == [
        "| influence bounded and redescending | only if symmetric | **partly** |",
        "| probe accuracy above MSE's | mean +1 points [0, 2]; for 1 of 2, undecided 1 of 2 | **partly** |",
    ]


def test_restored_accuracy_counts_what_is_significant_and_answers_more_to_the_loss_than_the_probe(tmp_path):
    rows = [("mse", 2.0, 0.01), ("mse", -1.0, 0.04), ("mse", 3.0, 0.05), ("mse", 9.0, 0.06), ("mse", 1.0, None)]
    rows += [("gcl", -1.0, 0.001), ("gcl", -2.0, 0.02), ("l1", 1.0, 0.01)]
    rows += [("noisy_images", 1.0, 0.2), ("noisy_images", 2.0, 0.9), ("noisy_images", -1.0, 0.2)]
    table = pd.DataFrame([("restored", *row) for row in rows] + [("psnr", "gcl", 1.0, 0.01)])
    table.columns = ["measure", "rival", "difference", "p_holm"]
    table.to_csv(tmp_path / "table06d_differences.csv", index=False)
    text = readme.restored(tmp_path)
    assert text.endswith(
        "above MSE's in 2, below in 1 of 24 conditions; tuned GCL's in 0 and 2; the noisy images' own, by medians, in "
        "2 and 1."
    )
    shares = pd.read_csv(readme.ROOT / "paper_figures" / "table06b_responds.csv").groupby("measure")["without_mse"]
    assert shares.median()["restored"] > shares.median()["accuracy"] + 0.1
    assert shares.min()["restored"] > shares.min()["accuracy"]


def test_the_verdict_tells_what_a_step_and_the_loss_alone_cost():
    bench = load_bench(readme.ROOT / "paper_figures" / "records")
    ledger = claims_ledger([], bench=bench)
    (row,) = [line for line in readme.verdict(ledger, bench).splitlines() if line.startswith("| little cost")]
    of = {(r["what"], r["loss"], r.get("threads"), str(r.get("shape"))): r for r in bench["rows"]}
    step, alone = of["step", "ALCL", 1, "None"]["ratio"], of["loss", "ALCL", 1, "[128, 784]"]["ratio"]
    assert f"a step {step:.2f} times" in row
    assert f"the loss alone {alone:.1f} times" in row


def test_the_reading_order_names_every_notebook():
    text = (readme.ROOT / "README.md").read_text()
    names = {path.stem for path in (readme.ROOT / "notebooks").glob("[0-9][0-9]_*.py")}
    assert names == set(re.findall(r"\| \[(\d\d_\w+)\]\(notebooks/\1\.ipynb\)", text))
    appendices = {path.stem for path in (readme.ROOT / "notebooks").glob("A[0-9]_*.py")}
    assert appendices <= set(re.findall(r"\[A\d\]\(notebooks/(A\d_\w+)\.ipynb\)", text))


def test_the_headline_has_every_complete_benchmark_condition_and_no_other():
    rows = [
        {"dataset": dataset, "level": "high", "method": method, "seed": seed, "measure": measure, "value": value}
        for dataset, seeds in (("mnist", 10), ("cifar10", 9), ("digits", 10))
        for seed in range(seeds)
        for measure in ("accuracy", "psnr")
        for method, value in (("mse", 0.1), ("gcl", 0.3), ("alcl", 0.25))
    ]
    text = readme.headline(pd.DataFrame(rows))
    assert "| mnist, high | +15.00 [+15.00, +15.00] | -5.00 [-5.00, -5.00] | +0.15 [+0.15, +0.15] |" in text
    assert "cifar10" not in text  # a seed is missing
    assert "digits" not in text  # embedded sets decide no claim
    assert "1 of 20" in text
    assert "- against MSE: in accuracy ahead in 1, unresolved in 0, behind in 0 (after Holm 1 and 0); in PSNR" in text
    assert "- against tuned GCL: in accuracy ahead in 0, unresolved in 0, behind in 1 (after Holm 0 and 1);" in text
    assert "ahead in 0, unresolved in 0, behind in 0" in readme.headline(pd.DataFrame(rows[:0], columns=list(rows[0])))


def test_one_setting_counts_what_leads_or_lags_in_both_measures():
    gaps = [("mnist", 0.1, 1.0), ("mnist", -0.1, 1.0), ("gtsrb", -0.1, -1.0), ("gtsrb", -0.2, -1.0), ("digits", 1, 1)]
    table = pd.DataFrame(gaps, columns=["dataset", "accuracy", "psnr"])
    text = readme.one_setting(table)
    assert "of 4 settings" in text  # embedded sets decide nothing here
    assert "1 are ahead of ALCL in both, 2 behind in both" in text


def test_the_share_repaired_is_a_range_over_complete_noisy_benchmark_conditions():
    values = {"mse": 0.2, "clean": 0.6, "alcl": 0.5, "gcl": 0.4}
    rows = [
        {"dataset": dataset, "level": level, "method": method, "seed": seed, "measure": measure, "value": value}
        for dataset, level, seeds, shift in (
            ("mnist", "high", 10, 0.0),
            ("gtsrb", "extreme", 10, 0.1),
            ("cifar10", "high", 9, 9.0),  # a seed is missing
            ("mnist", "moderate", 10, 9.0),  # not high noise
            ("digits", "high", 10, 9.0),  # embedded
        )
        for seed in range(seeds)
        for measure in ("accuracy", "psnr")
        for method, value in (values | {"alcl": values["alcl"] + shift}).items()
    ]
    text = readme.repaired(pd.DataFrame(rows))
    assert "2 conditions" in text
    assert "ALCL 0.75 to 1.00 in accuracy, 0.75 to 1.00 in PSNR; tuned GCL 0.50 to 0.50 and 0.50 to 0.50." in text
    assert readme.repaired(pd.DataFrame(rows[:0], columns=list(rows[0]))) == ""


def test_other_losses_are_counted_over_complete_benchmark_conditions():
    rows = [
        {"dataset": dataset, "level": "high", "method": method, "seed": seed, "measure": measure, "value": value}
        for dataset, method, seeds, value in (
            ("mnist", "alcl", 10, 0.5),
            ("mnist", "huber", 10, 0.25),
            ("mnist", "l1", 9, 0.25),  # a seed is missing
            ("gtsrb", "alcl", 10, 0.5),
            ("gtsrb", "huber", 10, 0.75),
            ("digits", "alcl", 10, 0.5),  # embedded sets do not count
            ("digits", "huber", 10, 0.25),
        )
        for seed in range(seeds)
        for measure in ("accuracy", "psnr")
    ]
    assert readme.others(pd.DataFrame(rows)).splitlines()[5:] == ["| Huber | 2 | 1, 0, 1 | 1, 0, 1 |"]
    assert readme.others(pd.DataFrame(rows[:0], columns=list(rows[0]))) == ""


def test_studies_are_shown_as_counted(tmp_path):
    rows = [
        "drift,mse,accuracy,6,3,2,1",
        "drift,mse,psnr,6,6,0,0",
        "drift,huber,psnr,6,0,0,6",
        "neighbours,mse,psnr,6,0,0,6",
    ]
    rows += ["unseen,alcl_kappa,psnr,9,2,3,4", "unseen,alcl_kappa,accuracy,9,0,9,0"]
    header = "study,method,measure,conditions,ahead,unresolved,behind"
    (tmp_path / "table10_counts.csv").write_text("\n".join([header, *rows]))
    assert readme.studies(tmp_path).splitlines()[2:] == [
        "| drift | MSE | 6 | 3, 2, 1 | 6, 0, 0 |",
        "| unseen | ALCL, κ learned | 9 | 0, 9, 0 | 2, 3, 4 |",
    ]


def test_neighbours_compare_losses_at_equal_decay_only(tmp_path):
    rows = ["mnist,symmetric 0.8,loss alone (both L2),5,21.46,15.2,30,5", "mnist,symmetric 0.8,decay alone,5,1,1,1,5"]
    header = "dataset,condition,what,seeds,difference,low,high,ahead"
    (tmp_path / "table08b_differences.csv").write_text("\n".join([header, *rows]))
    rows = ['digits,clean,"clean accuracy, points",0.97,0,1.53,8 of 10', "digits,both,log10 of tr H,1,1,1,0 of 10"]
    (tmp_path / "table09d_verdict.csv").write_text("\n".join(["dataset,rival,measure,median,low,high,better", *rows]))
    assert readme.neighbours(tmp_path).splitlines()[2:] == [
        "| JAL-CE minus CE | mnist, labels symmetric 0.8 | accuracy, points | +21.5 [+15.2, +30.0] | 5 of 5 |",
        "| discriminative minus clean-only | digits | clean accuracy, points | +0.97 [+0.00, +1.53] | 8 of 10 |",
    ]


def test_costs_stand_beside_their_targets():
    result = json.loads((readme.ROOT / "paper_figures" / "records" / "bench.json").read_text())
    text = readme.costs(result)
    step = {row["loss"]: row["value"] for row in result["rows"] if row["what"] == "step" and row["threads"] == 1}
    assert f"| training step over MSE's | at most 1.05 | {step['ALCL'] / step['MSE']:.2f} |" in text
