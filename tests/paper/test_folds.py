"""What the book folds."""

import pytest

from alcl.paper.folds import fold


def cell(source, *tags, kind="code"):
    return {"cell_type": kind, "source": source, "metadata": {"tags": list(tags)} if tags else {}}


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import math\n\nx = 1", "the imports"),
        ("from math import pi", "the imports"),
        ("# check: I1\nassert f()", "the check"),
        ("x = 1\nassert x", "the check"),
        ("for x in y:\n    print(x)\n    assert x", "the check"),
        ("def f(x):\n    assert x\n    return x", None),
        ("fig = plot()\nmanifest.save(fig, 'fig01a_x', notebook='y')", "how it is drawn"),
        ('save(figure_of(table), "fig01a_x")', "how it is drawn"),
        ('save(table, "table01a_x")', "how the table is made"),
        ("fig, axes = plt.subplots()", "how it is drawn"),
        ("def draw(ax, x):\n    ax.plot(x)", "how it is drawn"),
        ("axis = 1\nx.sum(axis)", None),
        ("%matplotlib inline", None),
        ("x = 1", None),
    ],
)
def test_what_a_cell_does_decides(source, what):
    assert fold(cell(source)) == what
    assert fold(cell(source.splitlines(keepends=True)) | {"source": source.splitlines(keepends=True)}) == what


def test_tags_fold_what_cannot_be_told():
    assert fold(cell("x = 1", "hide-input")) == "the code"
    assert fold(cell("import math", "hide-input")) == "the imports"
    assert fold(cell("seed = 0", "parameters")) == "the parameters"
    assert fold(cell("x = 1", "nbval-check-output")) is None


def test_text_is_open():
    assert fold(cell("import math", kind="markdown")) is None
