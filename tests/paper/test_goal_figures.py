"""The figure of the goal: what it draws, what it counts, and that it can be drawn of nothing."""

import pandas as pd

from alcl.experiments.goal import MEASURES
from alcl.paper.figures import COLORS
from alcl.paper.goal_figures import METHODS, draw_goal


def table(difference, methods=METHODS):
    """difference(dataset, method, measure); None: not measured."""
    rows = []
    for dataset in ("mnist", "gtsrb"):
        for method in methods:
            for measure in MEASURES:
                value = difference(dataset, method, measure)
                value = float("nan") if value is None else value
                ends = (value - 0.1, value + 0.1)
                rows.append(("clipped", "high", dataset, method, "gcl", measure, 10, 0.0, value, *ends))
    names = ["sensor", "level", "dataset", "method", "rival", "measure", "seeds", "value", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=names)


def message(figure):
    return " ".join(figure.get_suptitle().split())


def test_conditions_in_which_all_measures_are_level_are_counted():
    ahead = table(lambda dataset, method, measure: -1.0 if (dataset, measure) == ("gtsrb", "ssim") else 0.5)
    counted = "contaminated ALCL in 1 of 2, censored ALCL in 1 of 2 conditions run (2 declared)"
    assert counted in message(draw_goal(ahead))


def test_the_setting_of_the_last_round_counts_and_those_before_are_hollow():
    methods = (*METHODS, "censored_alcl_third")
    later = table(lambda dataset, method, measure: 0.5 if method.endswith("third") else -0.5, methods)
    figure = draw_goal(later)
    assert "contaminated ALCL in 0 of 2, censored ALCL in 2 of 2 conditions run" in message(figure)
    dots = {line.get_xdata()[0]: line.get_markerfacecolor() for line in figure.axes[0].lines[1:3]}
    assert dots == {-0.5: "white", 0.5: COLORS["censored_alcl"]}
    assert len(figure.legends[0].get_texts()) == len(METHODS)


def test_a_condition_that_is_not_run_is_not_drawn():
    part = table(lambda dataset, method, measure: None if dataset == "gtsrb" else 0.5)
    figure = draw_goal(part)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["mnist\nhigh, clipped"]
    assert "in 1 of 1" in message(figure)
    drawn = sorted(x for line in figure.axes[0].lines[:-1] for x in line.get_xdata())
    assert drawn == [0.5] * len(METHODS)


def test_nothing_can_be_drawn():
    assert "no loss of the sensor has all its runs yet" in message(draw_goal(table(lambda *_: None)))
