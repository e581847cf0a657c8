"""Figures: colours that stay apart, labels that do not overlap, files and a manifest that do not churn."""

import hashlib
import itertools
import json
import os
import subprocess
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from light import light
from matplotlib.colors import to_rgb
from scipy.optimize import minimize

from alcl.experiments.datasets import DATASETS
from alcl.experiments.levels import LEVELS
from alcl.paper import figures, manifest

METHODS = ["mse", "l1", "huber", "cauchy", "gcl", "gcl_kept", "student_t", "barron", "alcl", "alcl_kappa", "clean"]
# Machado, Oliveira & Fernandes (2009), severity 1, acting on linear RGB.
VISION = {
    "full": np.eye(3),
    "red-blind": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "green-blind": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ALCL_FIGURES", str(tmp_path / "out"))
    return tmp_path / "out"


@pytest.fixture
def figure():
    with plt.rc_context():
        figures.use_theme()
        figure, ax = plt.subplots()
        ax.plot([0, 1, 2], [1, 0, 2], **figures.style("alcl"))
        yield figure
        plt.close(figure)


def linear(color):
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def seen(color, vision):
    """CIELAB coordinates (D65) of `color` under a kind of colour vision."""
    t = TO_XYZ @ np.clip(VISION[vision] @ linear(color), 0, 1) / [0.95047, 1.0, 1.08883]
    f = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def least_difference(first, second):
    return min(np.linalg.norm(seen(first, vision) - seen(second, vision)) for vision in VISION)


# ------------------------------------------------------------ colours


def test_difference_measure_knows_confusable_colors():
    # A blue and a magenta far apart in full vision, that look alike without red or green cones: the next test
    # can fail.
    assert np.linalg.norm(seen("#6478AA", "full") - seen("#BE32AA", "full")) > 50
    assert least_difference("#6478AA", "#BE32AA") < 6


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(METHODS, 2)))
def test_methods_differ_in_every_kind_of_vision(first, second):
    # A CIELAB difference of 2.3 is just noticeable side by side; thin lines far apart need several times
    # that.
    assert least_difference(figures.COLORS[first], figures.COLORS[second]) > 12


def test_every_method_has_one_look_of_its_own():
    assert set(METHODS) < set(figures.COLORS)
    keys = [list(table) for table in (figures.COLORS, figures.LABELS, figures.LINESTYLES, figures.MARKERS)]
    assert all(key == keys[0] for key in keys)
    for table in (figures.COLORS, figures.LABELS, figures.MARKERS):
        assert len(set(table.values())) == len(table)


def test_ablations_differ_by_dash_where_the_hue_is_shared():
    family = [method for method in figures.COLORS if method.startswith("alcl")]
    assert len({figures.LINESTYLES[method] for method in family}) == len(family) == 7


def test_style_draws_a_method_and_refuses_others():
    assert figures.style("alcl")["color"] == "#D55E00"
    assert figures.style("alcl")["linewidth"] > figures.style("mse")["linewidth"]
    with pytest.raises(ValueError, match=r"method: 'ALCL' has no style; known: mse"):
        figures.style("ALCL")


@given(st.tuples(*[st.floats(0, 1)] * 3))
def test_text_color_is_readable_and_dark_colors_stay(rgb):
    shown = figures._readable(rgb)
    luminance = TO_XYZ[1] @ linear(shown)
    assert 1.05 / (luminance + 0.05) > 3.9  # 4, less the rounding to eight bits
    if 1.05 / (TO_XYZ[1] @ linear(rgb) + 0.05) > 4.1:
        assert np.allclose(to_rgb(shown), rgb, atol=0.5 / 255 + 1e-9)


# ------------------------------------------------------------ theme, labels, images


def test_theme_sets_what_print_needs():
    with plt.rc_context():
        figures.use_theme()
        rc = matplotlib.rcParams
        assert (rc["pdf.fonttype"], rc["figure.constrained_layout.use"], rc["savefig.dpi"]) == (42, True, 200)
        assert not rc["axes.spines.top"]
        assert not rc["axes.spines.right"]
        assert min(rc["font.size"], rc["xtick.labelsize"], rc["ytick.labelsize"], rc["legend.fontsize"]) >= 9


@given(st.lists(st.floats(0, 100).map(lambda x: round(x, 2)), min_size=1, max_size=6), st.floats(1, 30))
def test_dodged_labels_keep_distance_order_and_bounds(wanted, gap):
    placed = figures._dodge(wanted, gap, 0.0, 100.0)
    order = np.argsort(wanted, kind="stable")
    assert (np.diff(placed[order]) >= gap - 1e-9).all()
    if gap * (len(wanted) - 1) <= 100:
        assert placed.min() >= -1e-9
        assert placed.max() <= 100 + 1e-9


def test_dodging_is_the_least_squares_answer():
    wanted, gap = [50.0, 51.0, 52.0, 10.0, 53.5], 8.0
    order = np.argsort(wanted)
    best = minimize(
        lambda x: ((x - np.array(wanted)[order]) ** 2).sum(),
        np.arange(5) * 20.0,
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda x: np.diff(x) - gap},
        bounds=[(0, 100)] * 5,
        options={"ftol": 1e-12},
    )
    assert figures._dodge(wanted, gap, 0.0, 100.0)[order] == pytest.approx(best.x, abs=1e-4)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_direct_labels_do_not_overlap_and_sit_at_their_lines(scale):
    with plt.rc_context():
        figures.use_theme()
        figure, ax = plt.subplots()
        x = np.linspace(0, 1, 20)
        ends = dict(zip(METHODS, [1, 1.01, 1.02, 3, 3.0, 5, 9, 9.5, 1.03, 1.04, 2], strict=True))
        for method, end in ends.items():
            ax.plot(x, 0.5 + (end - 0.5) * x, **figures.style(method))
        ax.plot(x, x + 0.5, label="_hidden")
        ax.plot(x, np.full_like(x, np.nan), label="never seen")
        ax.set_yscale(scale)
        notes = figures.direct_label(ax)
        figure.draw_without_rendering()
        assert [note.get_text() for note in notes] == [figures.LABELS[method] for method in METHODS]
        boxes = [note.get_window_extent() for note in notes]
        for a, b in itertools.combinations(boxes, 2):
            assert min(a.y1, b.y1) - max(a.y0, b.y0) < 0.15 * a.height
        height = [(box.y0 + box.y1) / 2 for box in boxes]
        assert [METHODS[i] for i in np.argsort(height)] == sorted(ends, key=ends.get)  # ties in drawing order
        edge = ax.transData.transform((1, 1))[0]
        assert all(edge < box.x0 < edge + 40 and box.x1 < figure.bbox.x1 for box in boxes)
        plt.close(figure)


def test_direct_labels_of_one_line_need_no_leader_and_take_other_texts():
    figure, ax = plt.subplots()
    ax.plot([0, 1], [0, 1], label="alcl")
    ax.plot([0, 1], [1, 5], label="other")
    (note,) = figures.direct_label(ax, {"alcl": "ours"})
    assert note.get_text() == "ours"
    assert len(ax.texts) == 1
    plt.close(figure)


def test_direct_labels_a_hair_apart_make_room_for_each_other():
    """Shifts of less than half a letter need no leader, but they are made."""
    figure, ax = plt.subplots()
    ax.plot([0, 1], [0, 1.0], label="one")
    ax.plot([0, 1], [0, 1.01], label="other")
    notes = figures.direct_label(ax)
    figure.draw_without_rendering()
    a, b = (note.get_window_extent() for note in notes)
    assert min(a.y1, b.y1) - max(a.y0, b.y0) < 0.15 * a.height
    assert len(ax.texts) == 2
    plt.close(figure)


@pytest.mark.parametrize("width", [3.4, 7.0])
def test_a_headline_fits_its_figure(width):
    with plt.rc_context():
        figures.use_theme()
        figure, _ = plt.subplots(figsize=(width, 2))
        figures.headline(figure, "Under drift each setting of GCL loses somewhere, by up to 18 dB, and wins ELSEWHERE")
        figure.draw_without_rendering()
        box = figure._suptitle.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
        plt.close(figure)


def test_image_grid_draws_gray_and_color_and_clips():
    figure = plt.figure()
    gray, color = torch.full((1, 4, 4), 1.7, requires_grad=True), np.zeros((3, 4, 4), dtype=np.float32)
    axes = figures.image_grid(figure, [[gray, color], [gray, color]], ["left", "right"], ["a", "b"])
    assert axes.shape == (2, 2)
    assert axes[0, 0].images[0].get_array().max() == 1.0
    assert axes[0, 1].images[0].get_array().shape == (4, 4, 3)
    assert axes[0, 0].images[0].get_clim() == (0.0, 1.0)
    assert [axes[0, 0].get_title(), axes[1, 1].get_title(), axes[1, 0].get_ylabel()] == ["left", "", "b"]
    plt.close(figure)


@pytest.mark.parametrize(
    ("rows", "titles", "message"),
    [
        ([[torch.zeros(4, 4)]], None, "image: shape must be"),
        ([[torch.full((1, 2, 2), float("nan"))]], None, "image: NaN"),
        ([[torch.zeros(1, 2, 2)], []], None, "rows: every row must hold the same number"),
        ([[torch.zeros(1, 2, 2)]], ["a", "b"], "titles: 1 needed, not 2"),
    ],
)
def test_image_grid_refuses_before_drawing(rows, titles, message):
    figure = plt.figure()
    with pytest.raises(ValueError, match=message):
        figures.image_grid(figure, rows, titles)
    assert figure.axes == []
    plt.close(figure)


def dots(rows, **options):
    """The axes of `difference_dots` for rows of (name, dataset, difference, sure, level)."""
    _, ax = plt.subplots()
    table = pd.DataFrame(rows, columns=["name", "dataset", "difference", "sure", "level"])
    given = {"rows": {"a": "first", "b": "second"}, "colors": figures.LEVEL_COLORS} | options
    figures.difference_dots(ax, table, by="level", label="PSNR, dB", **given)
    return ax


def points(ax):
    """Every point as (difference, row, filled, marker, colour)."""
    lines = [line for line in ax.lines if line.get_marker() not in ("None", None, "")]
    return [
        (*(round(float(v[0])) if k else float(v[0]) for k, v in enumerate(line.get_data())),
         line.get_markerfacecolor() == line.get_color(), line.get_marker(), line.get_color())
        for line in lines
    ]  # fmt: skip


def test_difference_dots_puts_every_comparison_in_its_row():
    ax = dots(
        [
            ("a", "digits", 2.5, True, "low"),
            ("b", "digits", -0.25, False, "high"),
            ("b", "mnist", 30.0, True, "high"),
            ("c", "mnist", 1.0, True, "low"),  # not among the rows
            ("a", "mnist", np.nan, False, "low"),
        ]
    )
    low, high, marks = figures.LEVEL_COLORS["low"], figures.LEVEL_COLORS["high"], figures.DATASET_MARKERS
    assert points(ax) == [
        (2.5, 0, True, marks["digits"], low),
        (-0.25, 1, False, marks["digits"], high),
        (30.0, 1, True, marks["mnist"], high),
    ]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["first", "second"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # from top to bottom
    assert ax.get_xlim()[0] <= -1
    assert ax.get_xlim()[1] > 30
    assert "> 0: ALCL is ahead" in ax.get_xlabel()
    plt.close(ax.figure)


def test_difference_dots_shows_a_diverged_run_at_the_end_of_the_axis():
    ax = dots([("a", "digits", 2.0, True, "low"), ("a", "own", np.inf, True, "low")])
    assert [point[0] for point in points(ax)] == [2.0, ax.get_xlim()[1]]
    assert points(ax)[1][3] == "*"  # a data set of one's own
    assert [text.get_text() for text in ax.texts] == ["∞"]
    plt.close(ax.figure)


def test_difference_dots_refuses_a_condition_without_a_colour():
    with pytest.raises(ValueError, match="colors: no colour for huge of 'level'; there are: none, low"):
        dots([("a", "digits", 1.0, True, "huge")])
    assert not plt.gca().lines
    plt.close("all")


def test_levels_are_told_apart_and_data_sets_have_markers_of_their_own():
    for first, second in itertools.combinations(figures.LEVEL_COLORS.values(), 2):
        assert least_difference(first, second) > 12
    assert list(figures.LEVEL_COLORS) == list(LEVELS)
    assert set(DATASETS) == set(figures.DATASET_MARKERS)
    assert len(set(figures.DATASET_MARKERS.values())) == len(DATASETS)


def test_the_legend_names_every_condition():
    figure = plt.figure()
    figures.condition_legend(figure, ["digits", "own"], {"low": "red"}, "hollow: not known")
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["digits", "low", "own", "hollow: not known"]  # column by column
    plt.close(figure)


# ------------------------------------------------------------ files and the manifest


def test_save_writes_both_files_and_an_entry(figure, folder):
    used = [{"digest": "bb", "x": 1}, {"digest": "aa"}, "aa"]
    done = manifest.save(
        figure,
        "fig03b_curves",
        notebook="03_name",
        parameters={"seed": np.int64(3), "rates": (0.1, torch.tensor(0.25))},
        records={"grid": used},
        data={"digits": "c0ffee"},
    )
    assert done is None  # which a notebook does not echo
    path = folder / "fig03b_curves.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    assert (folder / "fig03b_curves.pdf").read_bytes().startswith(b"%PDF")
    entry = json.loads((folder / "manifest.json").read_text())["fig03b_curves"]
    assert entry == {
        "notebook": "03_name",
        "parameters": {"seed": 3, "rates": [0.1, 0.25]},
        "records": {"grid": {"count": 2, "sha256": hashlib.sha256(b"aa\nbb").hexdigest()}},
        "data": {"digits": "c0ffee"},
        "files": ["fig03b_curves.pdf", "fig03b_curves.png"],
        "sha256": {
            f"fig03b_curves.{kind}": hashlib.sha256(path.with_suffix(f".{kind}").read_bytes()).hexdigest()
            for kind in ("pdf", "png")
        },
    }


SCRIPT = """
import matplotlib; matplotlib.use("Agg")
import matplotlib.pyplot as plt
from alcl.paper import figures, manifest
figures.use_theme()
for name in ("fig02_b", "fig01_a"):
    figure, ax = plt.subplots()
    ax.plot([0, 1, 3], [1, 2, 0], **figures.style("alcl_kappa"))
    ax.set_title("$\\\\alpha$ and κ")
    figures.direct_label(ax)
    manifest.save(figure, name, notebook="01_x", parameters={"b": 1, "a": 2}, records={"s": {"x", "y", "z"}})
"""


def test_running_again_changes_no_byte_and_touches_no_file(folder, monkeypatch):
    """Here, and in another process with another hash seed and another date: neither may show."""

    def elsewhere():
        environment = os.environ | {"PYTHONHASHSEED": "1", "SOURCE_DATE_EPOCH": "1500000000"}
        subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=True)

    def here():
        with plt.rc_context():
            exec(SCRIPT, {})
        plt.close("all")

    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    states = []
    for run in (here, elsewhere):
        run()
        states.append({p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir() if p.suffix != ".lock"})
    files = {"fig01_a.pdf", "fig01_a.png", "fig02_b.pdf", "fig02_b.png", "manifest.json"}
    assert set(states[0]) == files  # beside the lock, which some versions of filelock write anew
    assert states[0] == states[1]
    assert list(json.loads(states[0]["manifest.json"][0])) == ["fig01_a", "fig02_b"]


def test_invisible_differences_leave_the_pdf_alone_but_not_a_damaged_one(figure, folder, monkeypatch):
    manifest.save(figure, "fig01_a", notebook="01_x")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    (line,) = figure.axes[0].lines
    line.set_ydata([1 + 1e-6, 0, 2])
    monkeypatch.setenv("ALCL_FIGURES", str(folder.parent / "fresh"))
    manifest.save(figure, "fig01_a", notebook="01_x")
    other = (folder.parent / "fresh" / "fig01_a.pdf").read_bytes()
    assert other != before["fig01_a.pdf"]  # so that there is something to leave alone
    monkeypatch.setenv("ALCL_FIGURES", str(folder))
    manifest.save(figure, "fig01_a", notebook="01_x")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    (folder / "fig01_a.pdf").write_bytes(b"damaged")
    manifest.save(figure, "fig01_a", notebook="01_x")
    assert (folder / "fig01_a.pdf").read_bytes() == other
    line.set_ydata([2, 0, 2])
    manifest.save(figure, "fig01_a", notebook="01_x")
    assert (folder / "fig01_a.pdf").read_bytes() not in (before["fig01_a.pdf"], other)


def test_saving_leaves_the_environment_as_it_was(figure, folder, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "77")
    manifest.save(figure, "fig01_a", notebook="01_x")
    assert os.environ["SOURCE_DATE_EPOCH"] == "77"
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    manifest.save(figure, "fig01_a", notebook="01_x")
    assert "SOURCE_DATE_EPOCH" not in os.environ


def test_figures_of_appendices_are_saved_too(figure, folder):
    manifest.save(figure, "figA2a_curves", notebook="A2_name")
    assert (folder / "figA2a_curves.png").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "curves"}, r'name: must look like "fig03_what_it_shows"'),
        ({"name": "fig1_curves"}, "name: must look like"),
        ({"name": "fig01_Curves"}, "name: must look like"),
        ({"name": "../fig01_x"}, "name: must look like"),
        ({"notebook": "01_x.ipynb"}, "notebook: must be a notebook's name"),
        ({"parameters": {"lr": float("nan")}}, "parameters: must hold plain JSON values"),
        ({"parameters": {"model": object()}}, "parameters: must hold plain JSON values"),
        ({"records": {"grid": [{"seed": 1}]}}, r"records\['grid'\]: must hold digests"),
    ],
)
def test_bad_input_gets_one_error_and_nothing_is_written(figure, folder, change, message):
    arguments = {"name": "fig01_curves", "notebook": "01_x"} | change
    with pytest.raises(ValueError, match=message):
        manifest.save(figure, **arguments)
    assert not folder.exists()


def test_folder_that_cannot_be_written_is_named(figure, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ALCL_FIGURES", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"cannot write fig01_a into .*file"):
        manifest.save(figure, "fig01_a", notebook="01_x")
    assert (tmp_path / "file").read_text() == "in the way"


def test_full_disk_leaves_the_old_figure_whole(figure, folder, monkeypatch):
    manifest.save(figure, "fig01_a", notebook="01_x")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    figure.axes[0].plot([0, 1], [0, 1])

    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 1:  # the second of the two files, so that the first must be taken back
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot write fig01_a into .*: No space left"):
        manifest.save(figure, "fig01_a", notebook="01_x")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert len(calls) == 2


def test_broken_manifest_is_reported_and_kept(figure, folder):
    folder.mkdir()
    (folder / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest\.json is not JSON .* nothing was written"):
        manifest.save(figure, "fig01_a", notebook="01_x")
    assert sorted(p.name for p in folder.iterdir()) == ["manifest.json", "manifest.json.lock"]
    assert (folder / "manifest.json").read_text() == "{"


def test_two_processes_saving_at_once_keep_both_entries(folder, tmp_path):
    """Tables, which are written as figures are and sooner drawn."""
    script = """
import sys, pandas
from alcl.paper import manifest
for i in range(int(sys.argv[1]), int(sys.argv[1]) + 20):
    manifest.save_table(pandas.DataFrame({"a": [i]}), f"table{i}_x", notebook="01_x")
"""
    here = light(tmp_path / "light")
    workers = [subprocess.Popen([sys.executable, "-c", script, start], cwd=here) for start in ("10", "40")]
    assert [worker.wait() for worker in workers] == [0, 0]
    names = [f"table{i}_x" for i in (*range(10, 30), *range(40, 60))]
    assert list(json.loads((folder / "manifest.json").read_text())) == names


def test_save_table_writes_csv_and_markdown(folder):
    frame = pd.DataFrame(
        {"level": ["low", "a|b"], "psnr": [20.123456789, float("nan")], "runs": [3, 4]},
        index=pd.Index(["alcl", "mse"], name="method"),
    )
    assert manifest.save_table(frame, "table01_scores", notebook="07_figures") is None
    read = pd.read_csv(folder / "table01_scores.csv", index_col="method")
    pd.testing.assert_frame_equal(read, frame, rtol=1e-5)
    assert (folder / "table01_scores.md").read_text() == (
        "| method | level | psnr | runs |\n| --- | --- | ---: | ---: |\n"
        "| alcl | low | 20.12 | 3 |\n| mse | a\\|b |  | 4 |\n"
    )
    entry = json.loads((folder / "manifest.json").read_text())["table01_scores"]
    assert entry["files"] == ["table01_scores.csv", "table01_scores.md"] == sorted(entry["sha256"])
    with pytest.raises(ValueError, match='name: must look like "table03_what_it_shows"'):
        manifest.save_table(frame, "fig01_scores", notebook="07_figures")


def test_save_table_flattens_column_levels(folder):
    frame = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("psnr", "median"), ("psnr", "iqr")]))
    manifest.save_table(frame, "table02_x", notebook="07_figures")
    assert (folder / "table02_x.csv").read_text() == "psnr median,psnr iqr\n1,2\n"


# ------------------------------------------------------------ what is committed is not replaced by less, or by others


@pytest.fixture
def committed(folder, monkeypatch):
    """A folder of figures beside notebooks, as in a checkout, in which `save` has put one."""
    (folder.parent / "notebooks").mkdir()
    (folder.parent / "notebooks" / "05_x.py").write_text('# %% tags=["parameters"]\nlevel = "high"\n\n# %%\nlevel\n')
    monkeypatch.delenv("ALCL_OVERWRITE", raising=False)
    keep(folder, {"level": "high"}, {"mnist": "abc", "digits": "d"})
    return folder


def keep(folder, parameters, records):
    """Save a table whose content is what it is drawn from; returns the manifest's entry."""
    frame = pd.DataFrame({"from": [json.dumps([parameters, records])]})
    manifest.save_table(frame, "table05_x", notebook="05_x", parameters=parameters, records=records)
    return json.loads((folder / "manifest.json").read_text())["table05_x"]


@pytest.mark.parametrize(
    ("parameters", "records", "reason"),
    [
        ({"level": "high"}, {"mnist": "ab", "digits": "d"}, "drawn from 3 records of mnist, and now from 2"),
        ({"level": "high"}, {"mnist": "abc"}, "drawn from 1 records of digits, and now from 0"),
        ({"level": "high"}, {}, "drawn from 1 records of digits, and now from 0"),
        ({"level": "high"}, {"mnist": "abz", "digits": "d"}, "drawn from 3 records of mnist, and now from other ones"),
        ({"level": "low"}, {"mnist": "abc", "digits": "d"}, "05_x with level='low' may not replace"),
    ],
)
def test_a_committed_table_is_not_replaced_by_less_or_by_others(committed, monkeypatch, parameters, records, reason):
    before = {p.name: p.read_bytes() for p in committed.iterdir()}
    with pytest.raises(ValueError, match=f"table05_x: .*{reason}.* Set ALCL_FIGURES to another folder"):
        keep(committed, parameters, records)
    assert {p.name: p.read_bytes() for p in committed.iterdir()} == before
    monkeypatch.setenv("ALCL_OVERWRITE", "1")
    assert keep(committed, parameters, records)["parameters"] == parameters
    assert {p.name: p.read_bytes() for p in committed.iterdir()} != before


def test_a_committed_figure_is_not_replaced_either(committed, figure):
    manifest.save(figure, "fig05_x", notebook="05_x", records={"mnist": "ab"})
    with pytest.raises(ValueError, match="fig05_x: drawn from 2 records of mnist, and now from 1"):
        manifest.save(figure, "fig05_x", notebook="05_x", records={"mnist": "a"})


def test_more_records_and_another_default_in_the_source_are_welcome(committed):
    entry = keep(committed, {"level": "high"}, {"mnist": "abcd", "digits": "d", "gtsrb": "e"})
    assert {study: used["count"] for study, used in entry["records"].items()} == {"mnist": 4, "digits": 1, "gtsrb": 1}
    source = committed.parent / "notebooks" / "05_x.py"
    source.write_text(source.read_text().replace("high", "low"))
    assert keep(committed, {"level": "low"}, {"mnist": "abcd", "digits": "d", "gtsrb": "e"})["parameters"] != entry


def test_a_folder_of_ones_own_takes_anything(folder):
    keep(folder, {"level": "high"}, {"mnist": "abc"})
    assert keep(folder, {"level": "low"}, {})["records"] == {}
