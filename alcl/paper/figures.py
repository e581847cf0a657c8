"""Look and bookkeeping of the figures: one theme, one colour a method, and a manifest that says where each
came from.

Every figure and table of the companion is written by `save` or `save_table`, which put the files into one
folder together with an entry in its `manifest.json`: the notebook that drew it, the parameters it was drawn
with, and digests of the runs and data sets behind it. Running a notebook again without a change leaves every
byte as it was, so a difference in version control is a difference in content.

This module draws and writes; it never trains.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.optimize import isotonic_regression

from ..catalogue import OWN, OwnLoss, follow

# ------------------------------------------------------------ one look a method, everywhere

# Okabe & Ito's colour-blind-safe palette (2008), with four additions chosen so that the eleven methods stay
# apart in full, red-blind and green-blind vision (tests/test_figures.py measures it). ALCL has the strongest
# colour; its learned-kappa variant is the same hue, darker; the ablations are lighter tints of it, told apart
# by dash and marker.
_STYLES: dict[str, tuple[str, str, Any, str]] = {
    # method: (label, colour, line style, marker)
    "mse": ("MSE", "#0072B2", "-", "s"),
    "l1": ("L1", "#56B4E9", "-", "v"),
    "huber": ("Huber", "#009E73", "-", "^"),
    "cauchy": ("Cauchy", "#999933", "-", "D"),
    "gcl": ("GCL (oracle)", "#CC79A7", "-", "P"),
    "gcl_kept": ("GCL (kept)", "#7A1F5C", (0, (5, 1.5)), "X"),
    "student_t": ("Student-t", "#E69F00", "-", "<"),
    "barron": ("Barron", "#6B6B6B", "-", ">"),
    "alcl": ("ALCL", "#D55E00", "-", "o"),
    "alcl_kappa": ("ALCL, κ learned", "#8A2B00", (0, (4, 1.2, 1, 1.2)), "h"),
    "clean": ("clean targets", "#000000", (0, (3, 2)), "_"),
    "alcl_shape_frozen": ("ALCL, shape frozen", "#E8874A", (0, (1, 1)), "d"),
    "alcl_scale_frozen": ("ALCL, scale frozen", "#B98A6A", (0, (5, 1, 1, 1, 1, 1)), "p"),
    "alcl_frozen": ("ALCL, both frozen", "#F2B38C", (0, (2, 1)), "*"),
    "alcl_unnormalized": ("ALCL, no normalizer", "#7D6A5E", (0, (7, 3)), "x"),
    "gaussian": ("Gaussian, scale learned", "#7FB2DC", (0, (3, 1)), "1"),
    "generalized_cauchy": ("generalized Cauchy", "#C8C873", (0, (2, 2)), "2"),
    "scheduled_pseudo_huber": ("pseudo-Huber, scheduled", "#66C5A9", (0, (1, 2)), "3"),
    "log_cosh": ("log-cosh", "#8FD3F4", (0, (6, 2)), "4"),
    "lmls": ("LMLS", "#B5B5B5", (0, (1, 3)), "+"),
    "alcl_channels": ("ALCL, one scale per channel", "#A63D00", (0, (1, 1, 4, 1)), "H"),
    "contaminated_alcl": ("contaminated ALCL", "#8C6BB1", "-", "8"),
    "censored_alcl": ("censored ALCL", "#1B7837", "-", "$c$"),
    "tobit": ("Tobit (censored Gaussian)", "#1F3A93", (0, (5, 2)), "$t$"),
    "huber_mad": ("Huber, MAD width", "#00795A", (0, (4, 2)), "$h$"),
    "welsch_mad": ("Welsch, MAD width", "#E3A6CC", (0, (4, 2)), "$w$"),
}
LABELS: dict[str, str] = {method: row[0] for method, row in _STYLES.items()}
COLORS: dict[str, str] = {method: row[1] for method, row in _STYLES.items()}
LINESTYLES: dict[str, Any] = {method: row[2] for method, row in _STYLES.items()}
MARKERS: dict[str, str] = {method: row[3] for method, row in _STYLES.items()}

#: Of losses of one's own that come without a colour, in turn; no two are alike.
_GREYS, _DASHES = ("#4D4D4D", "#7F7F7F", "#A6A6A6"), ((0, (4, 2)), (0, (2, 1.5)), (0, (6, 1.5, 1, 1.5)), "-")


@follow
def _add_style(loss: OwnLoss) -> None:
    """Label, colour, dash and marker of a loss that `alcl.catalogue.register_loss` was given."""
    number = list(OWN).index(loss.name)
    LABELS[loss.name] = loss.label or loss.name
    COLORS[loss.name] = to_hex(loss.color) if loss.color else _GREYS[number % len(_GREYS)]
    LINESTYLES[loss.name] = _DASHES[number % len(_DASHES)]
    MARKERS[loss.name] = f"${chr(ord('a') + number % 26)}$"


def style(method: str) -> dict[str, Any]:
    """Keyword arguments that draw `method` the way every figure does: `ax.plot(x, y, **style("alcl"))`.

    Returns color, linestyle and label; ALCL is drawn thicker and on top. Markers are in `MARKERS`, for plots
    with few points. Raises ValueError for a method that has no style.
    """
    if method not in COLORS:
        known = ", ".join(COLORS)
        raise ValueError(f"method: {method!r} has no style; known: {known}; alcl.catalogue.register_loss gives one")
    strong = method == "alcl"
    return {
        "color": COLORS[method],
        "linestyle": LINESTYLES[method],
        "label": LABELS[method],
        "linewidth": 2.4 if strong else 1.5,
        "zorder": 3 if strong else 2.2,
    }


def use_theme() -> None:
    """Set matplotlib's defaults for every figure of the companion.

    Text of 9 to 10 points at the printed size of 7 inches (two columns) or 3.4 inches (one), no top and right
    spine, constrained layout, 200 dpi PNG, and TrueType text in PDF, so that it can be searched and edited.
    """
    import seaborn as sns  # here, because it takes longer to import than the rest of this module together

    sns.set_theme(context="paper", style="ticks", font="DejaVu Sans")
    mpl.rcParams.update(
        {
            "figure.figsize": (7.0, 3.2),
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "savefig.dpi": 200,
            "savefig.facecolor": "white",
            "font.size": 9.5,
            "axes.titlesize": 10.5,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.titlepad": 8.0,
            "axes.labelsize": 9.5,
            "figure.titlesize": 11.5,
            "figure.titleweight": "bold",
            "xtick.labelsize": 9.0,
            "ytick.labelsize": 9.0,
            "legend.fontsize": 9.0,
            "legend.frameon": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.8,
            "lines.linewidth": 1.6,
            "lines.markersize": 5.0,
            "pdf.fonttype": 42,
            "image.cmap": "gray",
        }
    )


# ------------------------------------------------------------ conditions, and differences over many of them

#: One marker per data set, in every figure that tells them apart this way; any other has a star.
DATASET_MARKERS: dict[str, str] = {
    "digits": "o",
    "digits_rgb": "s",
    "mnist": "D",
    "fashion_mnist": "v",
    "cifar10": "^",
    "gtsrb": "P",
    "svhn": "<",
}
#: One colour per noise level: the more noise, the darker.
LEVEL_COLORS: dict[str, str] = {
    "none": "#A9A9A9",
    "low": "#E77E63",
    "moderate": "#D64F5F",
    "high": "#AA3A6E",
    "extreme": "#7A2E70",
}


def difference_dots(
    ax: Axes, table: pd.DataFrame, rows: Mapping[str, str], colors: Mapping[str, str], *, by: str, label: str
) -> None:
    """ALCL minus its rivals in many conditions: a row per rival, a point per condition, right of 0 where ALCL is ahead.

    The axis is linear from -1 to 1 and logarithmic beyond, so that differences of 0.1 and of 30 show side by side. A
    point is filled where `sure`, else hollow; its marker is the data set's, and data sets lie below one another. A
    difference that is not finite (a run diverged) stands at the axis's end, marked as infinite; NaN is left out.

    table: one comparison per line, with the columns name, dataset, difference (ALCL minus the rival, in the unit of
    `label`), sure (bool), and `by`, which gives the colour. rows: name -> text of its row, from top to bottom; names
    that are not in it are left out. colors: value of `by` -> colour. label: what is compared, with its unit. Raises
    ValueError, before anything is drawn, for a value of `by` without a colour.
    """
    table = table[table["name"].isin(list(rows)) & table["difference"].notna()]
    if bare := sorted(set(table[by]) - set(colors)):
        raise ValueError(f"colors: no colour for {', '.join(map(str, bare))} of {by!r}; there are: {', '.join(colors)}")
    finite = table["difference"][np.isfinite(table["difference"])].to_numpy(float)
    left, right = (1.25 * np.max(sign * finite, initial=1.0) for sign in (-1, 1))
    datasets, names = list(dict.fromkeys(table["dataset"])), list(rows)
    points = table[["name", "dataset", "difference", "sure", by]]
    for name, dataset, difference, sure, kind in points.itertuples(index=False):
        y = names.index(name) + 0.7 * ((datasets.index(dataset) + 0.5) / len(datasets) - 0.5)
        look = {"color": colors[kind], "mfc": colors[kind] if sure else "white", "ms": 4.2, "mew": 0.9, "zorder": 3}
        x = float(np.clip(difference, -left, right))
        ax.plot(x, y, DATASET_MARKERS.get(dataset, "*"), **look)
        if not np.isfinite(difference):
            ax.annotate("∞", (x, y), (0, 3), textcoords="offset points", ha="center", fontsize=8)
    for y in np.arange(len(names) - 1) + 0.5:
        ax.axhline(y, color="0.9", lw=0.6, zorder=0)
    ax.axvline(0, color="0.3", lw=0.8, zorder=1)
    ax.set_xscale("symlog", linthresh=1.0, linscale=1.0)
    marks = [mark for mark in (-30, -10, -3, -1, 0, 1, 3, 10, 30) if -left <= mark <= right]
    ax.set_xticks(marks, [f"{mark:+d}" if mark else "0" for mark in marks])
    ax.minorticks_off()
    ax.set(xlim=(-left, right), ylim=(len(names) - 0.5, -0.5))
    ax.set_xlabel(f"ALCL minus the rival, {label}\n(> 0: ALCL is ahead)")
    ax.set_yticks(range(len(names)), list(rows.values()))
    ax.tick_params(axis="y", length=0)


def condition_legend(figure: Figure, datasets: Iterable[str], colors: Mapping[str, str], hollow: str) -> None:
    """The legend of `difference_dots`, below the panels: data sets by marker, `colors` by text, what hollow means."""
    look = {"color": "0.35", "lw": 0, "ms": 5}
    above = [Line2D([], [], marker=DATASET_MARKERS.get(name, "*"), label=name, **look) for name in datasets]
    below = [Line2D([], [], color=color, lw=5, label=text) for text, color in colors.items()]
    below.append(Line2D([], [], marker="o", label=hollow, **look | {"mfc": "white"}))
    columns = max(len(above), len(below))
    for row in (above, below):
        row += [Line2D([], [], lw=0, label=" ")] * (columns - len(row))
    handles = [handle for pair in zip(above, below, strict=True) for handle in pair]  # legends fill column by column
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8.5, handlelength=1.2)


def headline(figure: Figure, message: str) -> None:
    """Set the figure's one message above all panels, from its left edge, in as many lines as its width asks for."""
    message = textwrap.fill(message, int(10 * figure.get_figwidth()), break_on_hyphens=False)
    figure.suptitle(message, x=0.01, ha="left")


# ------------------------------------------------------------ labels at the lines, and images


def _readable(color: Any) -> str:
    """`color`, darkened just enough for text on white: contrast of at least 4 (WCAG 2 relative luminance)."""
    rgb = np.array(to_rgb(color))
    while True:
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        if 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) >= 4.0:
            return to_hex(rgb)
        rgb = rgb * 0.95


def _dodge(wanted: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Positions at least `gap` apart and in the order of `wanted`, nearest to it in least squares; within
    [low, high] if they all fit there."""
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(order))
    # Less the steps, "at least gap apart" reads "not decreasing", which is isotonic regression.
    level = isotonic_regression(np.asarray(wanted, dtype=float)[order] - steps).x
    if low <= high - gap * (len(order) - 1):
        level = np.clip(level, low, high - gap * (len(order) - 1))
    placed = np.empty(len(order))
    placed[order] = level + steps
    return placed


def direct_label(
    ax: Axes,
    labels: Mapping[str, str] | None = None,
    *,
    fontsize: float | None = None,
    pad: float = 4.0,
    spacing: float = 1.15,
) -> list[Any]:
    """Write each line's label at its right end, in its colour, instead of a legend; labels never overlap.

    Call it last, when limits and scales are final. Lines without a label (or whose label begins with "_") are
    left alone. Where labels had to move to make room, thin lines join them to their lines' ends.

    Args: ax: the axes. labels: text to show for a line's label; a line that is not among its keys is left
        alone. Default: the label
            itself, or `LABELS` where it names a method.
        fontsize: points; default the tick labels' size.
        pad: distance from the line's end, in points.
        spacing: least distance of two labels' middles, in font sizes.

    Returns the annotations, in the order of the lines.
    """
    figure = ax.figure
    size = mpl.font_manager.FontProperties(size=fontsize or mpl.rcParams["ytick.labelsize"]).get_size_in_points()
    notes, ends = [], []
    x_low, x_high = sorted(ax.get_xlim())
    y_low, y_high = sorted(ax.get_ylim())
    for line in ax.get_lines():
        label = str(line.get_label())
        if label.startswith("_") or (labels is not None and label not in labels):
            continue
        x = np.ma.filled(np.ma.asarray(line.get_xdata(orig=False), dtype=float), np.nan)
        y = np.ma.filled(np.ma.asarray(line.get_ydata(orig=False), dtype=float), np.nan)
        seen = np.flatnonzero(np.isfinite(x) & np.isfinite(y) & (x >= x_low) & (x <= x_high))
        if not seen.size:
            continue
        last = seen[np.argmax(x[seen])]
        end = (x[last], float(np.clip(y[last], y_low, y_high)))
        notes.append(
            ax.annotate(
                (labels if labels is not None else LABELS).get(label, label),
                end,
                xytext=(pad, 0.0),
                textcoords="offset points",
                va="center",
                ha="left",
                fontsize=size,
                color=_readable(line.get_color()),
                annotation_clip=False,
            )
        )
        ends.append(end)
    if not notes:
        return notes

    figure.draw_without_rendering()  # settles the layout, so that distances in points are known
    points = 72.0 / figure.dpi
    boxes = [note.get_window_extent() for note in notes]
    height = ax.transData.transform(ends)[:, 1] * points
    low, high = (ax.get_window_extent().y0 * points, ax.get_window_extent().y1 * points)
    # Labels compete for room only with those they meet horizontally.
    groups: list[list[int]] = []
    for index in sorted(range(len(notes)), key=lambda i: boxes[i].x0):
        if groups and boxes[index].x0 < max(boxes[i].x1 for i in groups[-1]):
            groups[-1].append(index)
        else:
            groups.append([index])
    for group in groups:
        shifts = _dodge([height[i] for i in group], spacing * size, low, high) - height[group]
        if np.abs(shifts).max() <= 0.5 * size:  # still beside its line: no need of a leader
            for index, shift in zip(group, shifts, strict=True):
                notes[index].xyann = (pad, shift)
            continue
        for index, shift in zip(group, shifts, strict=True):
            notes[index].xyann = (pad + size, shift)
            leader = {"arrowstyle": "-", "linewidth": 0.6, "color": notes[index].get_color(), "shrinkA": 0}
            _ = ax.annotate(
                "",
                ends[index],
                xytext=(pad + size - 1.0, shift),
                textcoords="offset points",
                annotation_clip=False,
                arrowprops=leader | {"shrinkB": 1.0},
            )
    return notes


def _pixels(image: Any) -> np.ndarray:
    """A (C, H, W) tensor or array as matplotlib wants it: (H, W) gray or (H, W, 3), within [0, 1]."""
    array = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image, dtype=np.float64)
    if array.ndim != 3 or array.shape[0] not in (1, 3):
        raise ValueError(f"image: shape must be (1, H, W) or (3, H, W), not {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("image: NaN or infinite pixels cannot be shown")
    array = np.clip(array, 0.0, 1.0)
    return array[0] if array.shape[0] == 1 else array.transpose(1, 2, 0)


def show_image(ax: Axes, image: Any, title: str | None = None) -> None:
    """Draw one image, (1, H, W) or (3, H, W), on `ax`, without axes. Pixels outside [0, 1], which noise may
    have, are clipped for display. Raises ValueError for another shape and for NaN.
    """
    ax.imshow(_pixels(image), cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
    if title:
        ax.set_title(title, loc="center", fontsize=mpl.rcParams["xtick.labelsize"], fontweight="normal", pad=3)


def image_row(figure: Figure, images: Sequence[Any], titles: Sequence[str] | None = None) -> np.ndarray:
    """Draw (C, H, W) images side by side on an empty figure (or subfigure), with `titles` above. Returns the
    axes (n,).
    """
    return image_grid(figure, [images], titles)[0]


def image_grid(
    figure: Figure,
    rows: Sequence[Sequence[Any]],
    titles: Sequence[str] | None = None,
    row_labels: Sequence[str] | None = None,
) -> np.ndarray:
    """Draw rows of (C, H, W) images on an empty figure (or subfigure).

    Args:
        figure: where to draw; its constrained layout closes the gaps.
        rows: as many images in each row; values in [0, 1], clipped for display.
        titles: one a column, above the first row.
        row_labels: one a row, at its left.

    Returns the axes, shape (rows, columns). Raises ValueError for rows of unequal length, for a wrong number
    of titles or labels, and for what `show_image` refuses.
    """
    rows = [list(row) for row in rows]
    columns = len(rows[0]) if rows else 0
    if not columns or any(len(row) != columns for row in rows):
        raise ValueError(f"rows: every row must hold the same number of images, not {[len(row) for row in rows]}")
    for name, given, wanted in (("titles", titles, columns), ("row_labels", row_labels, len(rows))):
        if given is not None and len(given) != wanted:
            raise ValueError(f"{name}: {wanted} needed, not {len(given)}")
    for row in rows:
        for image in row:
            _pixels(image)  # refuse before anything is drawn
    if isinstance(figure, Figure):  # a subfigure has its parent's layout
        figure.set_layout_engine("compressed", wspace=0.03, hspace=0.03, w_pad=0.0, h_pad=0.0)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            show_image(axes[i, j], image, titles[j] if titles is not None and i == 0 else None)
        if row_labels is not None:
            axes[i, 0].set_ylabel(row_labels[i], rotation=0, ha="right", va="center", labelpad=6)
    return axes
