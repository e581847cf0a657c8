"""The figure of the goal: what it draws, what it counts, and that it can be drawn of nothing."""

import pandas as pd

from alcl.experiments.goal import MEASURES
from alcl.paper.goal_figures import METHODS, draw_goal


def table(difference):
    """difference(dataset, method, measure); None: not measured."""
    rows = []
    for dataset in ("mnist", "gtsrb"):
        for method in METHODS:
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
    counted = "contaminated ALCL in 1 of 2, censored ALCL in 1 of 2, censored ALCL (round 2) in 1 of 2 conditions run"
    assert f"{counted} (2 declared)" in message(draw_goal(ahead))


def test_a_condition_that_is_not_run_is_not_drawn():
    part = table(lambda dataset, method, measure: None if dataset == "gtsrb" else 0.5)
    figure = draw_goal(part)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["mnist\nhigh, clipped"]
    assert "in 1 of 1" in message(figure)
    drawn = sorted(x for line in figure.axes[0].lines[:-1] for x in line.get_xdata())
    assert drawn == [0.5] * len(METHODS)


def test_nothing_can_be_drawn():
    assert "no loss of the sensor has all its runs yet" in message(draw_goal(table(lambda *_: None)))
