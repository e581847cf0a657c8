"""The figures of notebook 06 show what their tables say, of some conditions and of none."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from alcl.experiments import reference
from alcl.experiments.reference import MEASURES, NO_LOSS, RIVALS
from alcl.paper import reference_figures as report
from alcl.paper.figures import COLORS, LABELS


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def title(figure):
    return " ".join(figure._suptitle.get_text().split())


def medians(**values):
    """Of mnist, clipped, at low and high; ten less at high."""
    rows = [
        ("clipped", level, "mnist", method, measure, value - less)
        for (method, value), measure in itertools.product(values.items(), MEASURES)
        for level, less in (("low", 0.0), ("high", 10.0))
    ]
    return pd.DataFrame(rows, columns=["sensor", "level", "dataset", "method", "measure", "median"])


def differences(gaps):
    """gaps: (dataset, rival) -> (difference, p_holm); everything else is not run."""
    rows = []
    for condition in reference.conditions():
        for rival, measure in itertools.product((*RIVALS, *NO_LOSS), MEASURES):
            here = (condition.sensor, condition.level) == ("clipped", "high")
            found = gaps.get((condition.dataset, rival), (np.nan, np.nan)) if here else (np.nan, np.nan)
            rows.append((condition.sensor, condition.level, condition.dataset, rival, measure, *found))
    names = ["sensor", "level", "dataset", "rival", "measure", "difference", "p_holm"]
    return pd.DataFrame(rows, columns=names)


def test_medians_are_lines_of_some_methods_and_points_of_the_others():
    figure = report.medians_figure(medians(mse=50.0, gcl=75.0, alcl=71.0, l1=60.0, noisy_images=20.0), "clipped")
    assert title(figure) == (
        "Sensor clipped: in restored accuracy MSE is up to 21.0 points behind ALCL, ALCL up to 4.0 behind tuned GCL"
    )
    first = figure.axes[0]
    (alcl,) = [line for line in first.lines if line.get_label() == LABELS["alcl"]]
    assert list(alcl.get_ydata()[:2]) == [71.0, 61.0]
    assert np.isnan(alcl.get_ydata()[2])
    gray = [line for line in first.lines if to_hex(line.get_color()) == to_hex("0.7")]
    assert [list(line.get_ydata()[:2]) for line in gray] == [[60.0, 50.0]]
    assert [text.get_text() for text in figure.axes[1].texts] == ["not run yet"]


def test_of_another_sensor_nothing_is_drawn():
    figure = report.medians_figure(medians(alcl=1.0), "unclipped")
    assert title(figure) == "Sensor unclipped: medians of what is run"
    assert all(text.get_text() == "not run yet" for ax in figure.axes for text in ax.texts)


def test_differences_are_counted_where_they_are_significant():
    gaps = {("mnist", "mse"): (3.0, 0.04), ("cifar10", "mse"): (-2.0, 0.2), ("mnist", "gcl"): (-1.0, 0.01)}
    figure = report.differences_figure(differences(gaps))
    assert title(figure) == (
        "ALCL is significantly ahead of MSE in 3 and behind in 0 of 6 comparisons, "
        "of tuned GCL in 0 and behind in 3 of 3"
    )
    points = [line for line in figure.axes[0].lines if line.get_marker() not in ("None", "")]
    filled = {line.get_xdata()[0]: to_hex(line.get_markerfacecolor()) != "#ffffff" for line in points}
    assert filled == {3.0: True, -2.0: False, -1.0: True}


def test_nothing_can_be_drawn_and_said():
    nothing = differences({})
    assert title(report.differences_figure(nothing)) == "ALCL minus its rivals: nothing is run yet"
    assert report.in_short(nothing) == "**So far** neither MSE nor tuned GCL is run in any condition."


def test_the_headline_has_gains_and_the_abstracts_numbers():
    table = differences({("mnist", "mse"): (30.0, 0.04), ("gtsrb", "gcl"): (-2.0, 0.2)})
    table = table.assign(low=table["difference"] - 1, high=table["difference"] + 5)
    figure = report.headline_figure(table, {"gray": 4.75, "rgb": 4.51})
    assert title(figure) == (
        "In restored accuracy ALCL gains +30.0 to +30.0 points over MSE, -2.0 to -2.0 over tuned GCL"
    )
    gray, rgb = figure.axes[:2]
    faces = [
        {line.get_ydata()[0]: to_hex(line.get_markerfacecolor()) for line in ax.lines if len(line.get_ydata()) == 1}
        for ax in (gray, rgb)
    ]
    assert faces == [{30.0: to_hex(COLORS["mse"])}, {-2.0: "#ffffff"}]
    texts = [text.get_text() for text in gray.texts]
    assert texts == ["not run", "not run"]  # at low and extreme
    assert figure.legends[0].get_texts()[-1].get_text() == "abstract: up to\n+4.75 gray, +4.51 RGB"
    assert title(report.headline_figure(table[:0], {"gray": 4.75, "rgb": 4.51})) == "No gain is measured yet"


def test_what_is_said_first_has_the_spans():
    table = {("mnist", "mse"): (3.0, 0.04), ("gtsrb", "mse"): (-2.0, 0.2), ("cifar10", "alcl_kappa"): (9.0, 0.2)}
    text = report.in_short(differences(table))
    assert text == (
        "**So far** ALCL differs from MSE, in 2 of 24 conditions, by -2.0 to +3.0 dB, -2.0 to +3.0 hundredths of SSIM, "
        "-2.0 to +3.0 points of accuracy. Above zero ALCL is ahead."
    )
    assert report.in_short(differences({("mnist", "l1"): (3.0, 0.04)})).startswith("**So far** neither MSE nor")
    table |= {("mnist", "noisy_images"): (-1.0, 0.2), ("gtsrb", "noisy_images"): (2.0, 0.2), ("mnist", "pca"): (0.1, 1)}
    assert report.in_short(differences(table)) == (
        f"{text} What it restores is read better than noisy images as they are in 1 of 2, than PCA's reconstructions "
        "in 1 of 1."
    )


def test_what_is_said_first_is_short_only_when_both_rivals_are_run_everywhere():
    rows = [
        differences({(c.dataset, rival): (1.0, 0.2)}).assign(sensor=c.sensor, level=c.level)
        for c in report.conditions()
        for rival in ("mse", "gcl")
    ]
    whole = pd.concat(rows, ignore_index=True)
    assert report.in_short(whole).startswith("**In short** ALCL differs from MSE, in 24 of 24 conditions,")
    assert report.in_short(whole[whole["rival"] == "mse"]).startswith("**So far**")  # not: every condition has a run


def test_every_method_has_a_name():
    assert set(reference.METHODS) <= set(report.NAMES)
    assert {"alcl", "mse", "gcl", "gcl_kept"} <= set(COLORS)
