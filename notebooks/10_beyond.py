# ---
# jupyter:
#   jupytext:
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · Beyond the paper
#
# The abstract speaks of one noise level at a time, one scale for the whole image, and noise of the kind that the method
# was made for. This notebook asks what happens otherwise, and which part of ALCL does the work.
#
# **What you will do**
#
# - let the noise level drift while the network trains, and give every colour channel a noise of its own;
# - take ALCL apart: shape, scale and normaliser away in turn, and its learning rate from a tenth to thirty times;
# - change the number of training images and the width of the code;
# - test three kinds of noise on which nothing here was developed.
#
# **What you will learn**
#
# - where a learned scale is worth more than a tuned one, and where it is not;
# - which of the parts could be left out;
# - what is lost with a scale set wrongly.
#
# **What you need**
#
# - notebooks [05](05_training.ipynb) and [06](06_benchmark.ipynb): what a run is, why seeds are paired, how GCL is
#   tuned;
# - the records in `paper_figures/records`. Nothing is trained here: the runs are declared in `studies.py`, before
#   they were made, and `python -m alcl.experiments studies` makes those that are missing.

# %% tags=["parameters"]
records = None  # folder of the recorded runs; None: paper_figures/records

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display

from alcl.catalogue import make_loss
from alcl.experiments import studies, worth_runs
from alcl.experiments.ablations import ABLATED, ablation_frame, shape_limits
from alcl.experiments.analysis import bootstrap_interval, sides
from alcl.experiments.levels import STUDY_NOISE
from alcl.experiments.multiverse import ABLATIONS, SEEDS, multiverse_store
from alcl.experiments.reconstruction import method_run
from alcl.paper import figures
from alcl.paper.figures import COLORS, LABELS, LEVEL_COLORS
from alcl.paper.notebook import begin
from alcl.paper.parameters import records_dir

save = begin("10_beyond", ["records"])


# %%
folder = records_dir(records, [f"study_{name}" for name in studies.STUDIES])
MEASURES = {"accuracy": (100, "accuracy, points"), "psnr": (1, "PSNR, dB")}  # factor, label
UNITS = MEASURES | {"ssim": (100, "SSIM, hundredths"), "restored": (1, "restored, points")}
frames = {name: studies.study_frame(name, folder) for name in studies.STUDIES}
for name, study in studies.STUDIES.items():
    there = dict.fromkeys(frames[name]["dataset"]) if len(frames[name]) else {}
    missing = [dataset for dataset in study.datasets if dataset not in there]
    print(f"{name:10s}{len(frames[name]):5d} runs on {', '.join(there)}", "| not run:", ", ".join(missing) or "-")

# %% [markdown]
# In every table below a row is a method under one condition: its median over seeds, and the median of the paired
# differences
# **ALCL minus the method** (above 0: ALCL is ahead) with its bootstrap interval. GCL appears as tuned for the measure
# that is shown.
#
# > **Our choice.** All of these studies are ours; the abstract has none of them. Their noise, methods and seeds were
# > declared before they were run, with ALCL's settings from the grid. They decide no claim of the ledger.


# %%
def tables(name, by=("dataset", "level")):
    """A study's comparisons by both measures, saved whole; returns {measure: table}."""
    found = {}
    for measure in MEASURES:
        found[measure] = studies.compare(frames[name], measure, by=by)
        part = {"records": {f"study_{name}": used(name)}, "parameters": {"measure": measure}}
        save(found[measure], f"table10_{name}_{measure}", **part)
    return found


def used(name):
    """The records of a study's own store."""
    return studies.study_store(folder, name).read()


# %% tags=["hide-input"]
def method_label(name):
    return LABELS.get(name, name.replace("gcl", "GCL").replace("alcl", "ALCL"))


def show(table, measure, rows, columns=("dataset", "level")):
    """Medians and differences side by side, one column per condition."""
    factor, label = UNITS[measure]
    text = table.assign(
        shown=[
            f"{factor * r.median:.2f}" + ("" if r.name_ == "alcl" else f"  ({factor * r.difference:+.2f})")
            for r in table.rename(columns={"median": "median", "name": "name_"}).itertuples()
        ]
    )
    wide = text.pivot_table(index="name", columns=list(columns), values="shown", aggfunc="first", sort=False)
    wide = wide.reindex([row for row in rows if row in wide.index]).rename(index=method_label)
    display(Markdown(f"**{label[0].upper()}{label[1:]}**"), wide.rename_axis(index=None))


# %% tags=["hide-input"]
reported = {}


def report(name, by=("dataset", "level")):
    """A study's tables, saved and shown; returns {measure: table}, and keeps it in `reported`."""
    reported[name] = found = tables(name, by)
    for measure, table in found.items():
        show(table, measure, dict.fromkeys(table["name"]), by)
    return found


# %% [markdown]
# The figures show the differences of a whole study, a row per method and a point per condition: filled where the
# interval excludes zero. The embedded sets have ten seeds, the others five, and so have all runs with other sizes or
# other learning rates. The interval of five goes from the smallest difference to the largest: there, a filled point
# says that all five agree.

# %%
assert bootstrap_interval(np.array([3.0, 1.0, 5.0, 2.0, 4.0])) == (1.0, 5.0)


# %%
def dots(found, title, colors):
    """ALCL minus every method of a study, one panel per measure; colors: level -> (text in the legend, colour)."""
    rows = {n: method_label(n) for n in dict.fromkeys(found["psnr"]["name"]) if n not in ("alcl", "clean")}
    figure, axes = plt.subplots(1, 2, figsize=(7.0, 1.5 + 0.34 * len(rows)), sharey=True)
    for ax, (measure, table) in zip(axes, found.items(), strict=True):
        factor, label = UNITS[measure]
        sure = (table["low"] > 0) | (table["high"] < 0)
        table = table.assign(difference=factor * table["difference"], sure=sure)
        look = {level: color for level, (_, color) in colors.items()}
        figures.difference_dots(ax, table, rows, look, by="level", label=label)
    figures.condition_legend(figure, dict.fromkeys(found["psnr"]["dataset"]), dict(colors.values()), "interval holds 0")
    figures.headline(figure, title)
    return figure


def levels(*names):
    return {name: (f"{name} noise", LEVEL_COLORS[name]) for name in names}


# %% [markdown]
# ## 1 · Noise that drifts
#
# The level moves while the network trains: every epoch sees new noise, from *low* to *extreme* (up), or back (down).
# What counts is the noise at the end. GCL has its best settings for low, for moderate and for extreme noise, each tuned
# on clean images of that level; ALCL has its one start.

# %%
if len(frames["drift"]):
    drift = report("drift")

# %%
where = {"drift_up": "noise grows", "drift_down": "noise fades"}
directions = {"drift_up": (where["drift_up"], LEVEL_COLORS["extreme"])}
directions |= {"drift_down": (where["drift_down"], LEVEL_COLORS["low"])}
if len(frames["drift"]):
    gcl = drift["psnr"][drift["psnr"]["name"].str.startswith("gcl")]
    assert gcl.groupby("name")["low"].max().gt(0).all()  # each setting is behind ALCL somewhere, by its whole interval
    assert gcl.groupby("name")["high"].min().lt(0).all()  # and ahead somewhere
    lost = gcl["difference"].max()
    title = f"Under drift each setting of GCL loses somewhere, by up to {lost:.1f} dB, and wins elsewhere"
    figure = dots(drift, title, directions)
    save(figure, "fig10a_drift", records={"study_drift": used("drift")})

# %% [markdown]
# Does the learned scale follow the noise? The course of $\beta$ in the recorded runs, up and down:


# %%
def course(level, dataset, parameter="beta"):
    """The parameter after every epoch in ALCL's recorded runs: (seeds, epochs + 1)."""
    wanted = {c.digest for n, c in studies.study_runs("drift", dataset, folder) if n == "alcl" and c.level == level}
    return np.array([r["history"][parameter] for r in used("drift") if r["digest"] in wanted])


def ended(level, dataset):
    """The scale after the last epoch, median over seeds."""
    return np.median(course(level, dataset)[:, -1])


# %%
if len(frames["drift"]):
    sets = list(dict.fromkeys(frames["drift"]["dataset"]))
    figure, axes = plt.subplots(1, len(sets), figsize=(7.0, 2.7), squeeze=False, sharey=True)
    for ax, dataset in zip(axes[0], sets, strict=True):
        for level, dash in (("drift_up", "-"), ("drift_down", (0, (4, 2)))):
            betas = course(level, dataset)
            ax.plot(betas.T, color=COLORS["alcl"], lw=0.5, alpha=0.4)
            line = np.median(betas, axis=0)
            ax.plot(line, color=COLORS["alcl"], ls=dash, lw=2)
            at, above = (len(line) - 1, True) if dash == "-" else (3 * len(line) // 4, False)
            look = {"textcoords": "offset points", "ha": "right", "va": "bottom" if above else "top"}
            ax.annotate(where[level], (at, line[at]), (0, 4 if above else -4), **look)
        ax.set(title=dataset, xlabel="epoch", yscale="log")
        ax.set_yticks(ticks := [0.1, 0.2, 0.5], map(str, ticks))
        ax.minorticks_off()
    axes[0, 0].set_ylabel("scale β")
    wider = min(ended("drift_up", dataset) / ended("drift_down", dataset) for dataset in sets)
    assert wider > 1
    figures.headline(figure, f"Where noise grows, the scale ends {wider:.1f} times as wide as where it fades, or wider")
    save(figure, "fig10b_tracking", records={"study_drift": used("drift")})

# %% [markdown]
# **Where the sensor clips.** The same drift on mnist, every noisy pixel clipped to $[0, 1]$, judged as in
# [notebook 06](06_benchmark.ipynb) by PSNR, SSIM and restored accuracy. Beside the methods above stand the losses that
# know what contaminates and clips ([notebook 11](11_sensor.ipynb)), with the settings they have there, and GCL as tuned
# for all measures at three levels. Declared in `alcl/experiments/worth_runs.py`; five seeds.

# %%
own = records_dir(None, ["worth"])
part_of = {"records": {"worth": worth_runs.worth_store(own).read()}}
clipped = worth_runs.results("drift", own).assign(dataset="mnist")
assert np.isfinite(clipped[["psnr", "ssim", "restored"]]).all(axis=None)
behind_sensor = {measure: studies.compare(clipped, measure) for measure in ("psnr", "ssim", "restored")}
for measure, table in behind_sensor.items():
    save(table, f"table10_clipped_drift_{measure}", **part_of, parameters={"measure": measure})
    show(table, measure, dict.fromkeys(table["name"]))

# %%
lead = behind_sensor["restored"].set_index(["level", "name"])["difference"]["drift_up"]
title = (
    f"Clipped, and growing noise: ALCL is {lead['gcl, tuned at low']:.1f} points ahead of GCL as tuned at low, "
    f"{-lead['censored_alcl']:.1f} behind censored ALCL"
)
figure = dots({measure: behind_sensor[measure] for measure in ("psnr", "restored")}, title, directions)
save(figure, "fig10h_clipped_drift", **part_of)

# %% [markdown]
# Where noise grows, censored ALCL is ahead of every other loss in PSNR, at every seed. Where it fades, Tobit and GCL as
# tuned at low lead in PSNR, MSE and GCL as tuned at low in restored accuracy. Of GCL's settings the one for the level
# between moderate and high has the mildest worst case beside ALCL in PSNR, and L1 a milder one than that.

# %%
censored = studies.compare(clipped, "psnr", reference="censored_alcl")
assert (censored.query("level == 'drift_up' and name != 'censored_alcl'")["low"] > 0).all()
fading = clipped[clipped["level"] == "drift_down"].groupby("name")[["psnr", "restored"]].median()
assert set(fading["psnr"].nlargest(2).index) == {"tobit", "gcl, tuned at low"}
assert set(fading["restored"].nlargest(2).index) == {"mse", "gcl, tuned at low"}
worst = behind_sensor["psnr"].groupby("name")["difference"].max()  # how far behind ALCL, where it is furthest behind
assert worst[worst.index.str.startswith("gcl")].idxmin() == "gcl, tuned at between"
assert worst["l1"] < worst["gcl, tuned at between"]

# %% [markdown]
# ## 2 · Channels that differ
#
# Red has low noise, green moderate, blue extreme. One scale must serve all three; `parameter_shape=(3, 1, 1)` gives
# each channel its own shape and scale.

# %%
if len(frames["channels"]):
    channels = report("channels")

# %%
if len(frames["channels"]):
    own = channels["psnr"][channels["psnr"]["name"] == "alcl_channels"].set_index("dataset")
    assert own.loc["digits_rgb", "high"] < 0 < own.loc["cifar10", "low"]
    title = "One scale per channel gains PSNR on digits_rgb and loses it on cifar10"
    figure = dots(channels, title, {"channels": ("low, moderate, extreme noise by channel", LEVEL_COLORS["high"])})
    save(figure, "fig10c_channels", records={"study_channels": used("channels")})

# %% [markdown]
# ## 3 · Which part does the work?
#
# The shape frozen at 2 (a Cauchy likelihood with a learned scale), the scale frozen at its start, both frozen (a fixed
# Cauchy loss), and the normaliser left out.

# %%
if len(frames["ablations"]):
    plain = frames["ablations"][~frames["ablations"]["name"].str.contains("rate")]
    everything = frames["ablations"]
    frames["ablations"] = plain
    ablations = report("ablations")
    frames["ablations"] = everything

# %%
if len(frames["ablations"]):
    frozen = [ablations[m].query("name == 'alcl_frozen'")["difference"].abs().max() for m in MEASURES]
    title = (
        f"With both frozen at their start, ALCL changes by at most {100 * frozen[0]:.1f} points and {frozen[1]:.2f} dB"
    )
    figure = dots(ablations, title, levels("low", "high", "extreme"))
    save(figure, "fig10d_ablations", records={"study_ablations": used("ablations")})

# %% [markdown]
# What became of the scale without the normaliser? By Theorem A5 (appendix [A4_adaptation](A4_adaptation.ipynb)) it
# grows without end.

# %%
if len(frames["ablations"]):
    ends = plain[plain["name"].isin(["alcl", "alcl_unnormalized"])].dropna(subset="beta")
    wide = ends.pivot_table(index=["dataset", "level"], columns="name", values="beta", aggfunc="median", sort=False)
    display(wide.round(3))
    assert (wide["alcl_unnormalized"] > wide["alcl"]).all()
    assert (wide["alcl_unnormalized"] > 0.5).all()  # wider than its start

# %% [markdown]
# ### How fast should the loss learn?
#
# ALCL's learning rate for shape and scale, as a multiple of the network's.

# %%
if len(frames["ablations"]):
    rates = everything[(everything["name"] == "alcl") | everything["name"].str.contains("rate")]
    rates = rates[rates["level"].isin(["low", "high"]) & (rates["seed"] < 5)]
    part = {"records": {"study_ablations": used("ablations")}}
    learned = {measure: studies.compare(rates, measure) for measure in MEASURES}
    for measure, table in learned.items():
        save(table, f"table10_rates_{measure}", **part)
        show(table, measure, ["alcl", *dict.fromkeys(table["name"])])


# %%
def rate_lines(ax, table, level):
    """ALCL at the network's rate minus ALCL at other rates, a line per data set."""
    for dataset, line in table[table["level"] == level].groupby("dataset", sort=False):
        look = {"marker": figures.DATASET_MARKERS[dataset], "color": LEVEL_COLORS[level], "label": dataset}
        ax.plot(line["rate"], line["difference"], **look)
    ax.axhline(0, color="0.3", lw=0.8)
    ax.set(title=f"{level} noise", xscale="log", xlabel="learning rate of shape and scale,\ntimes the network's")
    ax.set_xticks(ticks := [0.1, 0.3, 1, 3, 10, 30], [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    figures.direct_label(ax)


# %%
if len(frames["ablations"]):
    table = learned["psnr"][learned["psnr"]["name"] != "alcl"]
    table = table.assign(rate=table["name"].str.removeprefix("alcl, rate x ").astype(float))
    fast = table[(table["rate"] > 1) & (table["level"] == "low")]
    assert (fast["low"] > 0).all()
    figure, axes = plt.subplots(1, 2, figsize=(7.0, 2.8), sharey=True)
    lost = f"{fast['difference'].min():.1f} to {fast['difference'].max():.1f} dB"
    figures.headline(figure, f"A loss that learns faster than the network loses {lost} at low noise")
    for ax, level in zip(axes, ("low", "high"), strict=True):
        rate_lines(ax, table, level)
    axes[0].set_ylabel("ALCL at the network's rate\nminus this rate, PSNR in dB")
    save(figure, "fig10g_rates", **part)

# %% [markdown]
# A loss that learns faster than the network loses PSNR at low noise, on every set, and its scale ends narrower. The
# mechanism is in appendix A4: what the network has not learned yet is taken for outliers.

# %%
if len(frames["ablations"]):
    faster = [f"alcl, rate x {k}" for k in (3, 10, 30)]
    scale = rates[rates["level"] == "low"].pivot_table(index="name", columns="dataset", values="beta", aggfunc="median")
    assert (scale.loc[faster] < scale.loc["alcl"]).all(axis=None)
    display(scale.round(3))

# %% [markdown]
# ### A floor and caps on the shape
#
# Theory says what limits on the shape should do. Outliers far away pull the learned shape to $1/\kappa$ and the scale
# to zero with it; a floor $\alpha_{\min} > 1/\kappa$ stops that (Theorem J5). Learning the shape buys efficiency with
# bias, and a cap takes some of both back (appendix A1, Section 4). Three variants were declared before they were run:
# a floor of 1.25, a cap of 2, a cap of 3, on mnist, with targets as they are and clipped to $[0, 1]$ by the sensor.
# Below, medians over ten seeds of *variant minus ALCL* (above 0: the limit helps), with intervals. What counts is
# measured against clean images: PSNR, SSIM, and the accuracy on repaired images of a classifier that was trained on
# clean ones.
#
# These runs belong to the multiverse (`alcl/experiments/multiverse.py`), and decide no claim either.


# %% tags=["hide-input"]
def with_interval(row, factor, digits):
    """A difference and its interval, as text."""
    numbers = [round(factor * x, digits) + 0.0 for x in (row.difference, row.low, row.high)]  # + 0.0: no minus zero
    difference, low, high = (f"{x:+.{digits}f}" for x in numbers)
    return f"{difference} [{low}, {high}]"


# %%
store = multiverse_store(folder, "mnist").read()
limits = shape_limits(store)
runs = {condition.run(method, seed).digest for condition in ABLATED for method in ABLATIONS for seed in SEEDS}
used_here = [record for record in store if record["digest"] in runs]
save(limits, "table10_shape_limits", records={"multiverse_mnist": used_here})
units = {
    "psnr": (1, 2, "PSNR, dB"),  # factor, digits, label
    "ssim": (1, 3, "SSIM"),
    "restored": (100, 1, "restored accuracy, points"),
}
shown = limits[limits["measure"].isin(list(units))]
shown = shown.assign(
    measure=[units[measure][2] for measure in shown["measure"]],
    variant=shown["method"].map({"alcl_floor": "floor 1.25", "alcl_cap2": "cap 2", "alcl_cap3": "cap 3"}),
    text=[with_interval(row, *units[row.measure][:2]) for row in shown.itertuples()],
)
wide = shown.pivot_table(
    index=["measure", "variant"], columns=["sensor", "level"], values="text", aggfunc="first", sort=False
)
display(wide)

# %% [markdown]
# **The floor has nothing to cure.** No run comes near implosion: with both sensors and at both levels the learned
# shape ends above 2, and the floor changes little. The theorem is about outliers farther away than these, and the runs
# neither support nor refute it. **The cap of 2 binds, and trades as predicted:** under high noise, where efficiency
# counts, it loses PSNR; under extreme noise, where bias does, it gains; SSIM is higher throughout. The cap of 3 lies
# above the shapes that are learned, and changes less.

# %%
if len(limits):
    runs = ablation_frame(store)
    shapes = runs[(runs["method"] == "alcl") & (runs["measure"] == "alpha")].groupby(["sensor", "level"])["value"]
    place = limits.set_index(["method", "measure", "level", "sensor"]).sort_index()
    largest = limits[limits["measure"] == "psnr"].groupby("method")["difference"].agg(lambda d: d.abs().max())
    print("shape of ALCL at the end, least and largest:\n", shapes.agg(["min", "max"]).round(2), sep="")
    print("largest change of PSNR, dB:", largest.round(2).to_dict())
    assert (shapes.min() > 2).all()
    assert (shapes.max() < 3).all()
    assert largest["alcl_floor"] < 0.1
    assert (place.loc[("alcl_cap2", "psnr", "high")]["high"] < 0).all()
    assert (place.loc[("alcl_cap2", "psnr", "extreme")]["low"] > 0).all()
    assert (place.loc[("alcl_cap2", "ssim")]["low"] > 0).all()

# %% [markdown]
# ## 4 · Fewer images, other codes
#
# At high noise. GCL as tuned once, at moderate noise and the usual size.

# %%
if len(frames["sizes"]):
    sizes = report("sizes", by=("dataset", "n_train", "code"))

# %% [markdown]
# Whatever the number of images and the width of the code, ALCL is surely ahead of squared error, in both measures.

# %%
if len(frames["sizes"]):
    for table in sizes.values():
        assert (table.loc[table["name"] == "mse", "low"] > 0).all()

# %% [markdown]
# ## 5 · Noise that nothing was developed on
#
# Three distributions that appear nowhere else in training or tuning of ALCL, each about as harmful as the high level:

# %%
for name in studies.UNSEEN:
    print(f"{name:13s}{STUDY_NOISE[name]}")

# %%
if len(frames["unseen"]):
    unseen = report("unseen")

# %%
if len(frames["unseen"]):
    tuned = unseen["psnr"].query("name == 'gcl, tuned here'")["difference"]
    title = f"On noise never used in development ALCL is at most {max(-tuned.min(), 0):.2f} dB behind tuned GCL"
    colors = dict(zip(studies.UNSEEN, ("#7A2E70", "#4C9F70", "#B8860B"), strict=True))
    figure = dots(unseen, title, {name: (name, color) for name, color in colors.items()})
    save(figure, "fig10e_unseen", records={"study_unseen": used("unseen")})

# %% [markdown]
# ## 6 · Neighbours
#
# Robust losses that the grid of [notebook 06](06_benchmark.ipynb) does not have. A Gaussian likelihood with a learned
# scale asks whether the scale alone does ALCL's work. Generalized Cauchy has a learned shape and scale too, tied
# otherwise. The scheduled pseudo-Huber narrows by the clock, not by the data. Log-cosh and LMLS do not redescend
# (appendix [A3_influence](A3_influence.ipynb), Section 7).

# %%
if len(frames["neighbours"]):
    neighbours = report("neighbours")

# %%
if len(frames["neighbours"]):
    alone = neighbours["psnr"].query("name == 'gaussian' and level != 'low'")["difference"]
    least, most = alone.min(), alone.max()
    assert least > 0
    span = f"{least:.1f} to {most:.1f} dB behind at high and extreme noise"
    title = f"A learned scale alone is not enough: the Gaussian is {span}"
    figure = dots(neighbours, title, levels("low", "high", "extreme"))
    save(figure, "fig10f_neighbours", records={"study_neighbours": used("neighbours")})

# %% [markdown]
# The answer to the first question is no: at high and extreme noise ALCL is ahead of the Gaussian with a learned scale
# by the whole interval, for both measures.

# %%
if len(frames["neighbours"]):
    for measure, table in neighbours.items():
        alone = table[(table["name"] == "gaussian") & table["level"].isin(["high", "extreme"])]
        assert len(alone)
        assert (alone["low"] > 0).all()
        print(f"{MEASURES[measure][1]}: ALCL minus Gaussian at least {MEASURES[measure][0] * alone['low'].min():.2f}")

# %% [markdown]
# ## 7 · Counted
#
# In how many conditions is ALCL ahead of a method, or behind it, with the whole interval on one side? The table
# that is saved has the least and the largest difference over the conditions too.

# %%
conditions = [t.assign(study=study, measure=m) for study, found in reported.items() for m, t in found.items()]
if conditions:
    conditions = pd.concat(conditions)
    conditions = conditions[~conditions["name"].isin(["alcl", "clean"])]
    groups = ["study", "name", "measure"]
    counts = sides(conditions, groups).join(conditions.groupby(groups)["difference"].agg(least="min", most="max"))
    counts = counts.rename_axis(["study", "method", "measure"])
    every = {f"study_{study}": used(study) for study in reported}
    save(counts.reset_index(), "table10_counts", records=every)
    display(counts.unstack("measure")[["ahead", "unresolved", "behind"]])

# %% [markdown]
# ## What to take away
#
# Four statements, each with its check. The checks hold for the recorded runs; they would stop this notebook if other
# runs said otherwise.


# %%
def part(study, method, measure):
    """The rows of `conditions` of one study and measure, of the methods whose name begins so."""
    rows = conditions[(conditions["study"] == study) & (conditions["measure"] == measure)]
    return rows[rows["name"].str.startswith(method)]


def said(rows, factor, unit):
    """Least and largest difference of ALCL to a method, and on which side the intervals lie."""
    count = sides(rows.assign(all=""), ["all"]).iloc[0]
    least, most = factor * rows["difference"].min(), factor * rows["difference"].max()
    return f"{least:+.2f} to {most:+.2f} {unit}; " + ", ".join(f"{k} {v}" for k, v in count.items())


# %% [markdown]
# **Under drift, no fixed setting is safe.** In PSNR, each of GCL's three settings is surely behind ALCL in some
# condition and surely ahead in another. In accuracy, none is surely ahead anywhere.

# %%
if "drift" in reported:
    for method in ("gcl, tuned at low", "gcl, tuned at moderate", "gcl, tuned at extreme"):
        psnr, accuracy = part("drift", method, "psnr"), part("drift", method, "accuracy")
        print(f"{method:24s}{said(psnr, 1, 'dB')}\n{'':24s}{said(accuracy, 100, 'points')}")
        assert (psnr["low"] > 0).any()
        assert (psnr["high"] < 0).any()
        assert not (accuracy["high"] < 0).any()

# %% [markdown]
# **Learning pays little where the start is good.** Frozen at its start, which was chosen in development, the loss is in
# accuracy nowhere surely behind the one that learns, and in PSNR it is surely ahead in some conditions and surely
# behind in others. Which scale it is held at matters: the Cauchy loss of this project is the same loss, frozen at a
# narrower scale, and under drift it is surely behind ALCL in PSNR in all conditions but one.

# %%
if "ablations" in reported:
    for method in ("alcl_frozen", "alcl_shape_frozen", "alcl_scale_frozen", "alcl_unnormalized"):
        psnr, accuracy = part("ablations", method, "psnr"), part("ablations", method, "accuracy")
        print(f"{method_label(method):20s}{said(psnr, 1, 'dB')}\n{'':20s}{said(accuracy, 100, 'points')}")
    frozen = {m: part("ablations", "alcl_frozen", m) for m in MEASURES}
    assert not (frozen["accuracy"]["low"] > 0).any()
    assert (frozen["psnr"]["low"] > 0).any()
    assert (frozen["psnr"]["high"] < 0).any()

# %%
scale = method_run("cauchy", "digits", "low", 0).config()["options"]["scale"]
held = method_run("alcl_frozen", "digits", "low", 0).config()["options"]
assert scale < held["beta"]
residual = torch.linspace(-3, 3, 101, requires_grad=True)
pulls = []
for loss in (make_loss("cauchy", scale=scale), make_loss("alcl", **held | {"beta": scale})):
    pulls += torch.autograd.grad(loss(residual, torch.zeros(101)), residual)
torch.testing.assert_close(*pulls)  # the same loss but for a constant
if "drift" in reported:
    narrow = part("drift", "cauchy", "psnr")
    print(f"{'Cauchy, drift':20s}{said(narrow, 1, 'dB')}")
    assert (narrow["low"] > 0).sum() == len(narrow) - 1

# %% [markdown]
# **On noise that it was not developed on, ALCL does as well.** GCL may be tuned on that noise, or kept from another:
# in accuracy it is nowhere surely ahead. In PSNR it is, in most conditions, by the tenths of a decibel shown here.

# %%
if "unseen" in reported:
    for method in ("gcl, tuned here", "gcl, kept"):
        psnr, accuracy = part("unseen", method, "psnr"), part("unseen", method, "accuracy")
        print(f"{method_label(method):20s}{said(psnr, 1, 'dB')}\n{'':20s}{said(accuracy, 100, 'points')}")
        assert not (accuracy["high"] < 0).any()
        assert (psnr["high"] < 0).mean() > 0.5

# %% [markdown]
# **One scale per channel need not gain.** It is ahead of one scale for all on one data set, by PSNR, and behind it on
# the other, although the channels' noise differs on both.

# %%
if "channels" in reported:
    for measure, (factor, label) in MEASURES.items():
        print(f"{label:18s}{said(part('channels', 'alcl_channels', measure), factor, label.split(', ')[1])}")
    own = part("channels", "alcl_channels", "psnr").set_index("dataset")
    assert own.loc["digits_rgb", "high"] < 0 < own.loc["cifar10", "low"]

# %% [markdown]
# - The tables above are whole: every declared run that is recorded is in them; the list at the top says what is not.
# - To make the missing runs: `python -m alcl.experiments studies`. It resumes where it stopped.
