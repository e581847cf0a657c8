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
# # 06 · Benchmark
#
# Does ALCL beat MSE, and a correntropy loss that was tuned as well as it can be? This report is drawn from the
# *records*: one line for every training run ever made, good or bad. Two cameras, three levels of noise, four
# data sets, ten seeds.
#
# **What you will do.** Read the reference condition by condition: which measure answers to the loss, medians, paired
# differences, and where ALCL falls behind.
#
# **What you will learn.** How ALCL stands beside MSE, tuned and untuned GCL, the first moves of a practitioner, and no
# loss at all.
#
# **What you need.** [Notebook 04](04_noise.ipynb) for the noise levels and [notebook 05](05_training.ipynb) for what a
# single run is.

# %% tags=["parameters"]
records = None  # folder of the recorded runs, one file a data set; None: paper_figures/records

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import Markdown, display

# %% tags=["hide-input"]
from alcl.experiments import reference, worth_runs
from alcl.experiments.analysis import fewest_seeds
from alcl.experiments.multiverse import GRID, SETS
from alcl.experiments.reference import MEASURES
from alcl.experiments.specification import read_records
from alcl.experiments.spread import sources
from alcl.paper import reference_figures as report
from alcl.paper.curve_figures import READING_NAMES
from alcl.paper.notebook import begin
from alcl.paper.parameters import records_dir
from alcl.paper.reference_figures import NAMES

save = begin("06_benchmark", ["records"])

# %%
recorded = read_records(records_dir(records, [f"multiverse_{name}" for name in SETS]))
every = [record for found in recorded.values() for record in found]
source = {"records": recorded, "data": {record["config"]["dataset"]: record["data"] for record in every}}
observed = reference.observe(every)
frame = reference.reference_frame(observed)
compared = reference.compare(frame)

# %% tags=["hide-input"]
Markdown(report.in_short(compared))

# %% [markdown]
# ## 1 · The reference
#
# A *condition* is a data set, a sensor and a noise level. In each, every method is trained with the same ten seeds. A
# seed fixes noise, initial weights and batches, so two methods with one seed differ by their loss alone: their
# difference is *paired*. A method counts in a condition when all its seeds are recorded.
#
# > **Our choice.** The abstract names neither data sets nor noise parameters nor the number of runs. Data sets,
# > levels, networks and the number of seeds are ours; they are the same for all methods, and were fixed before the
# > first run (`alcl/experiments/multiverse.py`).
#
# > **Our choice: two sensors.** *unclipped*, where the heavy tails exist at all; and *clipped* to $[0, 1]$, as an 8-bit
# > camera delivers images. Chosen by this argument before either was run.
#
# > **Our choice: how GCL is tuned.** "Optimally tuned" is taken at its word. "GCL (oracle)" has, in each condition, the
# > best setting of a grid of 31 by the *measure itself* on *clean validation images*, which no user of noisy data has;
# > one setting by PSNR serves PSNR and SSIM. The grid at one seed names finalists, three seeds decide among them.
# > (Is it wide enough? [Notebook 12](12_multiverse.ipynb), Section 7.)
# > Beside it: one setting for all measures; the best by *noisy* validation images, as a user must tune; "GCL (kept)",
# > tuned so at the level between moderate and high and then used everywhere; and a public default.
#
# ALCL's settings were fixed once for all conditions, on development conditions.

# %%
assert len(GRID) == 31
covered = reference.coverage(frame)
save(covered, "table06a_conditions", **source)
complete = covered["methods_done"] == covered["methods"]
print(
    f"{complete.sum()} of {len(covered)} conditions have all methods, {(covered['methods_done'] > 0).sum()} have some"
)
covered[~complete & (covered["methods_done"] > 0)].reset_index(drop=True)

# %% [markdown]
# ## 2 · Which measure answers to the loss
#
# Of a measure's spread in one condition, over methods and seeds, what share lies between methods? `by_chance` is what
# methods that do not differ would have, and a measure *responds* where the share is above one half. Accuracy is read
# four ways from the codes of noisy test images and once from reconstructions, by a classifier that was trained on clean
# images. Medians over conditions; `without_mse` leaves out the method that differs most.

# %%
shares = sources(observed)
save(shares, "table06b_responds", **source)
each = shares[shares["measure"] != "all readings"].assign(conditions=1).groupby("measure", sort=False)
how = {"loss": "median", "without_mse": "median", "by_chance": "median", "responds": "sum", "conditions": "sum"}
at_high = shares[shares["level"] == "high"].groupby("measure")[["responds", "without_mse"]].agg(["min", "median"])
assert at_high["responds", "min"][list(MEASURES)].all()  # in every condition
ranked = at_high["without_mse", "median"].drop("all readings").sort_values()
assert set(ranked.index[-len(MEASURES) :]) == set(MEASURES)
each.agg(how).round(2).rename(index=READING_NAMES)

# %% [markdown]
# What follows is in the measures that respond most at high noise: PSNR and SSIM of reconstructions against clean test
# images, and the accuracy of the classifier on them, called *restored*. Accuracies on codes are in
# [notebook 12](12_multiverse.ipynb).
#
# ## 3 · Medians
#
# Medians over seeds. Gray dots are other losses: L1, Huber and Welsch with a width from the batch's MAD, GCL at its
# other settings, ALCL with a learned tail weight.

# %%
medians = reference.medians(frame)
save(medians, "table06c_medians", **source)
save(report.medians_figure(medians, "clipped"), "fig06a_clipped", **source)

# %%
save(report.medians_figure(medians, "unclipped"), "fig06b_unclipped", **source)

# %% [markdown]
# **A tuned setting need not travel.** Where GCL (kept) has less PSNR than the noisy images; ALCL never has.

# %%
by_psnr = medians[medians["measure"] == "psnr"].pivot(
    index=["sensor", "dataset", "level"], columns="method", values="median"
)[["noisy_images", "gcl_kept", "alcl"]]
failed = by_psnr[by_psnr["gcl_kept"] < by_psnr["noisy_images"]]
assert len(failed)
assert not (by_psnr["alcl"] <= by_psnr["noisy_images"]).any()
failed.rename(columns=NAMES).round(2)

# %% [markdown]
# At high noise, all methods:

# %%
for measure in ("restored", "psnr"):
    some = medians[(medians["measure"] == measure) & (medians["level"] == "high")]
    wide = some.pivot(index="method", columns=["sensor", "dataset"], values="median")
    wide = wide.reindex([method for method in reference.METHODS if method in wide.index]).rename(index=NAMES)
    display(Markdown(f"**{report.MEASURE_NAMES[measure]}**"), wide.round(2).rename_axis(None))

# %% [markdown]
# ## 4 · Differences
#
# The median of the paired differences, with an exact 95 % interval for a median, and Wilcoxon's signed-rank test,
# adjusted by Holm's method for the 24 conditions of a rival and measure. Ten seeds of one sign are just
# enough for that; five never are, and what has five counts below by its median alone.

# %%
save(compared, "table06d_differences", **source)
save(report.differences_figure(compared), "fig06c_differences", **source)

# %%
known = compared[compared["difference"].notna()]
sure = (known["p_holm"] <= 0.05) | (known["seeds"] < fewest_seeds(len(reference.conditions())))
signs = known.assign(conditions=1, ahead=sure & (known["difference"] > 0), behind=sure & (known["difference"] < 0))
signs["rival"] = pd.Categorical(
    signs["rival"].map(NAMES), [NAMES[name] for name in (*reference.RIVALS, *reference.NO_LOSS)]
)
counts = signs.groupby(["rival", "seeds", "measure"], observed=True)[["conditions", "ahead", "behind"]].sum()
counts.unstack("measure").swaplevel(axis=1).reindex(columns=list(MEASURES), level=0)

# %% [markdown]
# ## 5 · Where ALCL falls behind
#
# By an interval below zero: the three worst in each measure (all: `table06e_behind`).

# %%
behind = known[known["high"] < 0].sort_values("difference")
save(behind.reset_index(drop=True), "table06e_behind", **source)
print(f"behind in {len(behind)} of {len(known)} comparisons")
worst = (
    behind.drop_duplicates(["measure", "difference"]).groupby("measure", sort=False).head(3).replace({"rival": NAMES})
)
worst.drop(columns="p").sort_values(["measure", "difference"]).round(3).reset_index(drop=True)

# %% [markdown]
# **Behind no loss at all.** On gtsrb, and at low except on fashion_mnist, the noisy images themselves are read better
# than what ALCL, or any other loss, restores.

# %%
restored = medians[medians["measure"] == "restored"].pivot(
    index=["dataset", "level", "sensor"], columns="method", values="median"
)
trained = [name for name in ("alcl", *reference.RIVALS) if name in restored]
beaten = restored[restored["noisy_images"] > restored["alcl"]]
assert (beaten[trained].max(axis=1) < beaten["noisy_images"]).all()
at_low = {(dataset, "low") for dataset in SETS if dataset != "fashion_mnist"}
assert {key[:2] for key in beaten.index} == at_low | {("gtsrb", level) for level in reference.LEVELS}
beaten[["noisy_images", "pca", "alcl", "mse", "gcl"]].rename(columns=NAMES).round(1)

# %% [markdown]
# On gray images at high noise clipping costs ALCL SSIM beside tuned GCL: what a sensor has cut off says only
# "here or beyond", and ALCL's likelihood does not know it. At extreme noise SSIM is behind for both sensors.
# [Notebook 11](11_sensor.ipynb) has losses that know of both, and [notebook 12](12_multiverse.ipynb), Section 6, their
# results here. Appendix [A5_benchmark](A5_benchmark.ipynb) finds the second cause, on digits: at extreme
# noise impulses keep some of ALCL's pull, and none of a tuned kernel's.

# %%
beside_gcl = known[(known["rival"] == "gcl") & (known["measure"] == "ssim") & known["dataset"].isin(SETS[:2])]
beside_gcl = beside_gcl.pivot(index=["level", "dataset"], columns="sensor", values="difference")
assert (beside_gcl.loc["high", "clipped"] < beside_gcl.loc["high", "unclipped"] - 5).all()
assert (beside_gcl.loc["extreme"] < 0).all(axis=None)
assert beside_gcl.loc[["high", "extreme"]].notna().all(axis=None)
beside_gcl.round(1)

# %% [markdown]
# **Is it what ALCL learned?** It is farthest behind on fashion_mnist at extreme, clipped. Variants that learn less,
# declared when that had been seen (`alcl/experiments/worth_runs.py`); medians over five seeds, and where shape and
# scale end:

# %%
less = worth_runs.learned_frame(records_dir(records))
ended = less.groupby(["sensor", "method"], sort=False)[["psnr", "ssim", "restored", "alpha", "beta"]].median()
own = {"worth": worth_runs.worth_store(records_dir(records)).read()}
save(ended.reset_index(), "table06g_learned", **source | {"records": recorded | own})
ended.rename(index=NAMES | {"alcl_cap2": "ALCL, shape at most 2"}).round(2)

# %% [markdown]
# It is the shape. Free, it rises to 2.62, and the scale stays wide: a core flatter than squared error's, in which
# impulses count in full. Held at 2 it lets the scale go down to 0.2, and two thirds of what was lost return. Holding
# the scale as well loses all of it again: of the two, the scale is what pays to learn. Theory names the price: learning
# the shape buys efficiency with bias ([A1_joint_likelihood](A1_joint_likelihood.ipynb), Section 4). On mnist the trade
# is smaller ([notebook 10](10_beyond.ipynb), Section 3).

# %%
if len(less):
    per_seed = less.pivot(index=["sensor", "seed"], columns="method", values="restored").loc["clipped"]
    here = "dataset == 'fashion_mnist' and sensor == 'clipped' and level == 'extreme' and measure == 'restored'"
    lost = medians.query(here).set_index("method")["median"]["gcl"] - per_seed["alcl"].median()
    held, both = (per_seed[name] - per_seed["alcl"] for name in ("alcl_shape_frozen", "alcl_frozen"))
    print(f"{lost:.1f} points behind; shape held {held.median():+.1f}, scale held too {both.median():+.1f}")
    assert held.min() > 0.6 * lost
    assert both.max() < 0
    assert ended.loc[("clipped", "alcl"), "alpha"] > 2.5
    assert ended.loc[("clipped", "alcl_shape_frozen"), "beta"] < 0.2

# %% [markdown]
# **Is it undertraining?** MNIST at low noise, also trained three times as long: ALCL minus its rivals in PSNR, dB,
# medians over five seeds.

# %%
longer = reference.longer(every)
save(longer, "table06f_longer", **source)
others = longer[longer["rival"] != "alcl_kappa"]
assert (others["longer_difference"] < others["difference"] - 0.5).all()
longer.replace({"rival": NAMES}).round(3)

# %% [markdown]
# No: all but ALCL with κ learned gain on it. Its scale falls from 0.12 to 0.024, clipped to 0.012: what is still wrong
# counts as an outlier. SSIM rises.

# %%
own = reference.longer_alcl(every)
save(own, "table06h_longer_alcl", **source)
change = own.groupby("sensor")[["ssim", "beta"]].agg(["first", "last"])
assert (change["ssim", "last"] > change["ssim", "first"] + 0.5).all()
assert (change["beta", "last"] < change["beta", "first"] / 5).all()
own.round(3)

# %% [markdown]
# ## What to take away
#
# - A measure that does not answer to the loss cannot tell losses apart.
# - The first grid, with five levels and a linear probe, and what tuning, variance and time cost there, are in
#   [A5_benchmark](A5_benchmark.ipynb). The abstract's claims are decided in [notebook 07](07_figures.ipynb).
