"""The figures of appendix A5 show what their tables say."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from alcl.experiments.analysis import SEEDS
from alcl.paper import benchmark
from alcl.paper.figures import COLORS, LABELS


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def summary(**medians):
    """`analysis.summary` of one data set: the given medians at the level "low", ten better at "none"."""
    rows = []
    for method, value in medians.items():
        for level, gain in (("none", 10.0), ("low", 0.0)):
            for measure in ("accuracy", "psnr"):
                seeds = 3 if level == "low" and method == "gcl" else len(SEEDS)
                rows.append(["mnist", level, method, measure, seeds, value + gain])
    return pd.DataFrame(rows, columns=["dataset", "level", "method", "measure", "seeds", "median"])


def title(figure):
    return " ".join(figure._suptitle.get_text().split())


def test_medians_have_a_row_a_condition_and_a_column_a_method():
    table = pd.concat([summary(mse=1.0, alcl=2.0), summary(alcl=5.0).assign(dataset="digits")])
    found = benchmark.pivoted(table, "psnr", ["alcl", "gcl", "mse"])
    assert list(found.index) == [("digits", "none"), ("digits", "low"), ("mnist", "none"), ("mnist", "low")]
    assert list(found) == [LABELS["alcl"], LABELS["mse"]]
    assert found.loc[("mnist", "low")].tolist() == [2.0, 1.0]


def test_the_figure_of_medians_says_who_is_behind_and_where_seeds_are_missing():
    table = summary(mse=1.0, gcl=4.5, alcl=4.0, huber=3.0, clean=6.0)
    figure = benchmark.medians_figure(table, "psnr", 1, "PSNR, dB", "dB")
    assert title(figure) == "MSE is up to 3.0 dB behind ALCL, ALCL at most 0.5 behind tuned GCL"
    lines = figure.axes[0].lines
    (curve,) = [line for line in lines if line.get_label() == LABELS["gcl"]]
    assert list(curve.get_ydata()[:2]) == [14.5, 4.5]
    faces = [to_hex(line.get_markerfacecolor()) for line in lines
             if len(line.get_xdata()) == 1 and to_hex(line.get_color()) == to_hex(COLORS["gcl"])]  # fmt: skip
    assert faces[:2] == [to_hex(COLORS["gcl"]), "#ffffff"]
    without = benchmark.medians_figure(summary(mse=1.0, alcl=2.0), "accuracy", 100, "accuracy, %", "points")
    assert title(without) == "Probe accuracy by noise level"


def differences(d, p, rival="gcl"):
    rows = [["mnist", "low", rival, measure, d, d - 1, d + 1, p] for measure in ("accuracy", "psnr")]
    return pd.DataFrame(rows, columns=["dataset", "level", "rival", "measure", "difference", "low", "high", "p_holm"])


def test_the_figure_of_differences_counts_what_is_significant():
    table = pd.concat([differences(2.0, 0.01, "mse"), differences(-2.0, 0.01), differences(-3.0, 0.2)])
    figure = benchmark.differences_figure(table)
    gcl = "against tuned GCL ahead in 0 and behind in 2 of 4"
    assert title(figure) == f"Against MSE ALCL is significantly ahead in 2 and behind in 0 of 2, {gcl}"
    points = [line for line in figure.axes[1].lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in points] == [-200.0, -300.0]
    assert [to_hex(line.get_markerfacecolor()) for line in points] == [to_hex(COLORS["gcl"]), "#ffffff"]


def test_the_other_figures_say_their_counts():
    shares = pd.DataFrame(
        [["mnist", "high", 10, s, 0.1, m, measure] for m, s in (("alcl", 0.9), ("gcl", 0.5), ("l1", 0.2))
         for measure in ("accuracy", "psnr")],
        columns=["dataset", "level", "seeds", "share", "low", "method", "measure"],
    )  # fmt: skip
    figure = benchmark.shares_figure(shares)
    assert "a share of 0.90 to 0.90 in accuracy" in title(figure)
    single = pd.DataFrame([["accuracy", -0.1, -1.0], ["psnr", 0.1, -1.0]], columns=["tuned_by", "accuracy", "psnr"])
    assert title(benchmark.settings_figure(single)).endswith("in both measures in 1 of 2 cases")
    gap = pd.DataFrame([[0.1, -0.02], [0.3, -0.01]], index=[1.0, 2.0], columns=[0.1, 0.2])
    figure = benchmark.tuning_figure({("mnist", "low"): gap}, {("mnist", "low"): {"*": {"alpha": 2.0, "beta": 0.1}}})
    assert "ahead of 2 of 4 settings of GCL tried; the worst costs 30 points" in title(figure)
    (star,) = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert star.get_xdata()[0] == pytest.approx(30)
    costs = pd.DataFrame(
        [["mnist", "mse", 2, 2, 1.0], ["mnist", "gcl", 2, 50, 1.5]],
        columns=["dataset", "method", "levels", "runs", "times_mse"],
    )
    assert [text.get_text() for text in benchmark.costs_figure(costs).axes[0].texts] == ["25", "1"]
    causes = pd.DataFrame([["a", "alcl", 0.1, 0.2], ["a", "gcl", 0.2, 0.3], ["b", "alcl", 0.1, 0.1]],
                          columns=["noise", "method", "variance", "rest"])  # fmt: skip
    figure = benchmark.causes_figure(causes)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == pytest.approx([0.2, 0.1, 0.3, 0.2])


def test_other_losses_are_counted_where_they_are_sure():
    ahead, unsure = differences(2.0, 0.01, "l1").assign(sure=True), differences(-2.0, 0.5, "huber").assign(sure=False)
    said = title(benchmark.others_figure(pd.concat([ahead, unsure])))
    assert said == "Beside the other losses ALCL is ahead in 2 and behind in 0 of 4 comparisons"
