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
# # 12 · The multiverse
#
# The abstract reports up to +4.75 % accuracy on gray images and +4.51 % on colour images, and leaves open what is
# measured: which camera, which noise, which classifier, points or per cent, against what. So ask under *every* reading
# at once: does the gain recur? The answer below is computed from the runs that are recorded; Section 1 says how many
# of the declared ones those are.
#
# **What you will do**
#
# - see all readings in one figure, each with its interval and the choices that it is made of;
# - test them together, as they share runs, noise and images;
# - read a verdict on every claim under every reading.
#
# **What you will learn**
#
# - which choices the gain depends on, and which measures respond to the loss at all;
# - where the abstract's two numbers lie on the curve;
# - whether ALCL varies less from run to run;
# - how far the sensor's losses get against GCL that an oracle tunes.
#
# **What you need**
#
# - [notebook 04](04_noise.ipynb) for noise levels, [notebook 05](05_training.ipynb) for what a run is, and
#   [notebook 06](06_benchmark.ipynb) for paired differences;
# - the records `paper_figures/records/multiverse_*.jsonl`, complete or not.

# %% tags=["parameters"]
records = None  # folder of the recorded runs, one file a data set; None: paper_figures/records

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown

# %% tags=["hide-input"]
from alcl.catalogue import make_loss
from alcl.experiments import edge_runs, goal, sensor_runs
from alcl.experiments.multiverse import HEADLINE_SENSORS, LEVELS, SETS
from alcl.experiments.readings import READINGS
from alcl.experiments.records import RecordStore
from alcl.experiments.specification import OWN_ORACLE, coverage, joint_tests, observations, read_records, specifications
from alcl.experiments.spread import sources, spread, variance_comparisons
from alcl.experiments.worth_runs import worth_store
from alcl.paper import curve
from alcl.paper.curve_figures import READING_NAMES, draw_curve, draw_effects, draw_spread
from alcl.paper.goal_figures import draw_goal
from alcl.paper.notebook import begin
from alcl.paper.parameters import records_dir

save = begin("12_multiverse", ["records"])
pd.set_option("display.max_rows", 80)

# %%
folder = records_dir(records, [f"multiverse_{name}" for name in SETS])
recorded = read_records(folder)
every = [record for found in recorded.values() for record in found]
source = {"records": recorded, "data": {record["config"]["dataset"]: record["data"] for record in every}}
observed = observations(every)
specs = specifications(observed)
groups = [
    ("unit", "against"),
    ("unit", "against", "reading"),
    ("unit", "against", "sensor"),
    ("unit", "against", "level"),
]
tests = joint_tests(specs, groups)
variances = variance_comparisons(observed)

# %% tags=["hide-input"]
Markdown(f"**{'The answer' if specs.table['complete'].all() else 'So far'}.** {curve.answer(specs, tests)}")

# %% [markdown]
# ## 1 · How much is run
#
# Everything was declared before its first run (`alcl/experiments/multiverse.py`): axes, methods, seeds, tuning. The
# runs are made in that order and take days; this notebook draws whatever is there. While tuning is not recorded, the
# number of runs that will follow from it has an upper bound only.

# %%
done = curve.progress(folder)
save(done, "table12a_progress", **source)
total, hours = done.iloc[-1], sum(record["seconds"]["total"] for record in every) / 3600
print(f"{total['done']} of {total['declared']} declared runs are recorded; they took {hours:.1f} hours of one core")
done.round(2)

# %% [markdown]
# What each sensor and level has: specifications of the curve, and methods (GCL counts once for every rule). Both count
# when *all* their seeds are there: a curve of half the seeds could be looked at until it pleases. Section 8 lists what
# is missing.

# %%
shown = specs.table[specs.table["reading"].isin(READINGS)]
per = shown.groupby(["sensor", "level"], sort=False)["complete"].agg(complete="sum", specifications="size")
covered = coverage(observed).set_index(["sensor", "level"])[["methods_done", "methods"]]
per.join(covered)

# %% [markdown]
# ## 2 · All specifications
#
# A *specification* is one way to ask: a sensor, a level of noise (high, or halfway between moderate and high), a data
# set, a rule that gives GCL its setting, a reading of "accuracy", points or per cent, and a rival. For each: the median
# over seeds of ALCL minus its rival, paired by seed, and an exact interval for a median. Below the curve stand the
# choices ([Simonsohn, Simmons and Nelson 2020](https://doi.org/10.1038/s41562-020-0912-z)).
#
# > **Our choice.** What counts, which interval is used, and how all specifications are tested together was committed
# > when one of the 32 conditions of the curve was nearly run (mnist, clipped, high), and before it was analysed
# > (`alcl/experiments/specification.py`). What each verdict means, and how spread is compared, was written when that
# > condition had been seen and the other 31 were not run (`alcl/paper/curve.py`, `alcl/experiments/spread.py`).

# %%
save(draw_curve(specs), "fig12a_curve", **source)

# %% [markdown]
# **All together.** The specifications share runs, so how many are ahead says little by itself. If ALCL and its rival
# were the same, exchanging the two in all runs of a seed would change nothing. So exchange them, in every set of seeds,
# in all specifications at once, and see how often the curve comes out as extreme. `null_low` and `null_high` hold the
# middle of what exchanges give; `p_ahead` is the share of exchanges with at least what was observed, `p_behind` with at
# most that (for the number behind, the other way round). `all` counts specifications; those in which rules of GCL chose
# the same networks count once in `distinct`.

# %%
save(tests, "table12c_joint", **source)
declared = {f"points, {rival}" for rival in ("mse", "gcl", "better of both")}
shown = tests[tests["group"].isin(declared)].rename(columns={"specifications": "all"})
shown.round(3).set_index(["group", "statistic"])

# %% [markdown]
# ## 3 · The abstract's two numbers
#
# Where they lie among the estimates of their colour, per level. `reach_it` is the share of estimates at or above the
# number, `inside` how many intervals hold it, and `inside_all` how many joint ones do: a joint interval holds for all
# data sets, all readings and PSNR of one choice at once, and needs ten seeds.

# %%
places = curve.position(specs.table)
save(places, "table12d_position", **source)
shown = places[places["complete"] > 0].drop(columns=["number", "declared", "lowest"])
shown.round(2).set_index(["level", "colour", "unit", "against"])

# %% [markdown]
# The question itself, choice by choice: is there a gray data set whose joint interval lies above zero and holds +4.75,
# and one in colour for +4.51, with PSNR ahead in each?

# %%
both = curve.both_numbers(specs.table)
keys = ["sensor", "level", "reading", "unit", "against"]
answers = both.groupby([*keys, "answer"], sort=False).size().unstack(fill_value=0)
answers = answers.reindex(columns=list(curve.ANSWERS), fill_value=0)
save(answers, "table12e_both_numbers", **source)
print(answers.sum().rename_axis(None).to_string())
answers.assign(rules=answers.sum(axis=1)).loc[answers["yes"] > 0, ["yes", "rules"]].rename_axis(
    columns=None
).reset_index()

# %% [markdown]
# ## 4 · What the answer depends on
#
# Every reading by every sensor, in points; GCL is tuned by the oracle of the measure itself, which is what "optimally"
# says.

# %%
save(draw_effects(specs), "fig12b_effects", **source)

# %% [markdown]
# Verdicts on the abstract's claims, by reading, for the two sensors of the headline. "Excluded" means that every
# interval ends below the claimed gain; "contradicted" that the opposite is shown. Claims by their numbers in
# [the ledger](ledger.md): 4a and 4b are accuracy and PSNR against MSE, 4c and 4d against tuned GCL, 5 and 6 the two
# gains, 8a and 8b variance. How many rules for GCL give each verdict is in `table12f_verdicts`.

# %%
found = curve.verdicts(specs.table, variances)
save(curve.over_rules(found), "table12f_verdicts", **source)
table = curve.verdict_table(found)
waits = (table.iloc[:, 3:] == "not yet measured").all(axis=1)
print(f"{waits.sum()} of {len(table)} rows are not yet measured in any column, and not shown")
table[~waits].reset_index(drop=True)

# %% [markdown]
# **Does the measure respond to the loss?** Shares of each measure's spread: between losses (`loss`), between readings,
# both together, and the rest, between seeds. A measure responds where more of its spread is due to the loss than to
# the seed; `without_mse` leaves the largest difference out, and `by_chance` is what equal losses would have.

# %%
shares = sources(observed)
save(shares, "table12g_sources", **source)
shares = shares[shares["level"].isin(LEVELS)]
columns = ["sensor", "level", "dataset", "methods", "loss", "reading", "both", "rest"]
shares.loc[shares["measure"] == "all readings", columns].round(2).reset_index(drop=True)

# %% [markdown]
# Measure by measure, over the conditions that are complete: the median share of the loss, with and without MSE among
# the losses, and in how many conditions the measure responds.

# %%
each = shares[shares["measure"] != "all readings"].assign(conditions=1).groupby(["dataset", "measure"], sort=False)
how = {"loss": "median", "without_mse": "median", "by_chance": "median", "responds": "sum", "conditions": "sum"}
each.agg(how).round(2).rename(index=READING_NAMES)

# %% [markdown]
# Medians and deviations of all methods at both levels are in `table12h_spread`, the baselines without a loss among
# them; [notebook 06](06_benchmark.ipynb) shows those of the level high.

# %%
medians = spread(observed)
own = "gcl:" + medians["measure"].map(OWN_ORACLE)
kept = ~medians["method"].str.startswith("gcl:oracle") | (medians["method"] == own)
save(medians[kept & medians["level"].isin(LEVELS)], "table12h_spread", **source)

# %% [markdown]
# ## 5 · Less variance across runs?
#
# ALCL's standard deviation over seeds divided by its rival's; intervals are a jackknife's. The deviations themselves,
# with intervals, are in `table12h_spread`. The figure shows the two levels of the curve, the count below it all levels
# that are run.

# %%
save(draw_spread(variances), "fig12c_spread", **source)

# %%
optimal = (variances["against"] == "mse") | (variances["rule"] == variances["reading"].map(OWN_ORACLE))
save(variances[optimal].reset_index(drop=True), "table12i_variances", **source)
counted = variances[optimal].assign(comparisons=1, less=variances["high"] < 1, more=variances["low"] > 1)
counted = counted.groupby(["reading", "against"], sort=False)[["comparisons", "less", "more"]].sum()
counted.rename(index=READING_NAMES)

# %% [markdown]
# ## 6 · The sensor's losses in the same conditions
#
# [Notebook 11](11_sensor.ipynb) has losses that know what contaminates and clips. Here they train the same networks on
# the same noise, at high and extreme, with *one* setting for all conditions. The goal, set before any of these runs: at
# or above GCL tuned *for each measure in each condition* by an oracle, above L1, and nowhere behind ALCL by more than
# 0.1 dB or half a point (`alcl/experiments/goal.py`).
#
# > **Our choice: three rounds.** Settings are chosen on development conditions (`alcl/experiments/sensor_runs.py`),
# > validation images and other seeds. The first round has no extreme noise. Its evaluation fell short, and two more
# > were declared: digits at the goal's levels, then gray images of full size at a level halfway from high to extreme.
# > What a later round changed stands beside what was before, marked `_second` or `_third`.

# %%
developed, worth = RecordStore(folder / sensor_runs.STORE).read(), worth_store(folder).read()
drawn = {**source, "records": {**recorded, "sensor_development": developed, "worth": worth}}
try:
    chosen = sensor_runs.settings(developed)
    print(*(f"{method}: {dict(options)}" for method, options in chosen.items()), sep="\n")
except LookupError as error:
    chosen = None
    print(f"no setting is chosen yet: {error}")
compared = goal.observed(every, chosen, worth)
verdicts = goal.goal(compared)
save(verdicts, "table12j_goal", **drawn)
goal.summary(verdicts).set_index(["method", "rival", "measure"])

# %%
beside_oracle = goal.against_oracle(compared)
save(draw_goal(beside_oracle), "fig12d_goal", **drawn)

# %% [markdown]
# Full dots are settings of the last round, hollow ones of those before.
#
# What later rounds bought, on fashion_mnist at extreme, clipped, where the first left most: median restored accuracy
# minus that of GCL's oracle, in points. A cap of 2 on the shape alone brings ALCL back by three quarters; the censored
# loss has it too, and a fraction.

# %%
there = "dataset == 'fashion_mnist' and level == 'extreme' and sensor == 'clipped' and measure == 'restored'"
gap = beside_oracle.query(there).set_index("method")["difference"]
if {"alcl_third", "censored_alcl_third"} <= set(gap.dropna().index):
    print(gap.round(1).to_string())
    assert chosen["alcl_third"]["alpha_max"] == chosen["censored_alcl_third"]["alpha_max"] == 2
    assert gap["alcl_third"] > 0.27 * gap["alcl"]
    assert gap["censored_alcl_third"] > gap["alcl_third"]

# %% [markdown]
# An oracle for each measure is three networks of GCL in a condition. A user has one: `gcl:one` is the setting with the
# best mean rank over all measures on clean validation images, an oracle still. Against it no loss of the sensor is
# ahead throughout either; at its last setting each more often wins in one measure what it loses in another (`reached`:
# no measure behind, by the medians; `behind`: every one).

# %%
beside = goal.beside(compared)
save(beside, "table12k_beside", **drawn)
one = goal.together(beside[beside["rival"] == "gcl:one"]).assign(
    mixed=lambda t: t["conditions"] - t["reached"] - t["behind"]
)
last = one[one["method"].str.endswith("_third") & (one["conditions"] > 0)]
assert (last["mixed"] > last["reached"]).all()
assert (one["reached"] < one["conditions"].clip(lower=1)).all()
one.drop(columns="rival").set_index("method")

# %% [markdown]
# What the last round costs, whose settings were chosen on gray images alone: where one of them is surely behind ALCL by
# more than the goal allows.

# %%
beside_alcl = verdicts[verdicts["method"].str.endswith("_third") & verdicts["rival"].eq("alcl")]
costs = beside_alcl[beside_alcl["verdict"] == "surely missed"].sort_values(["method", "difference"])
save(costs.reset_index(drop=True), "table12l_costs", **drawn)
assert {dataset for dataset, _ in sensor_runs.THIRD.conditions} == set(SETS[:2])
costs[["method", "measure", "level", "sensor", "dataset", "difference", "low", "high"]].round(2).reset_index(drop=True)

# %% [markdown]
# The cap alone is in that list on colour images only: PSNR on cifar10 at high, clipped, and restored accuracy on gtsrb.
# At extreme it surely gains PSNR everywhere. So `ALCLoss` leaves the shape free, as the abstract has it; the cap
# is an argument, for extreme noise.

# %%
capped = beside_alcl[(beside_alcl["method"] == "alcl_third") & beside_alcl["difference"].notna()]
lost = capped[capped["verdict"] == "surely missed"]
assert set(zip(lost["dataset"], lost["measure"], strict=True)) <= {("cifar10", "psnr"), ("gtsrb", "restored")}
assert len(lost.query("dataset == 'cifar10' and not (level == 'high' and sensor == 'clipped')")) == 0
gains = capped[(capped["measure"] == "psnr") & (capped["level"] == "extreme")]
assert (gains["low"] > 0).all()
gains[["sensor", "level", "dataset", "difference", "low", "high"]].round(2).reset_index(drop=True)

# %% [markdown]
# And how much is there to win at all? The likelihood that *knows* the noise, its parameters given, would be a ceiling
# if training found its optimum. From scratch (`known_noise`) it does not: on MNIST at high the classifier guesses, as
# it does with ALCL from too narrow a start ([notebook 11](11_sensor.ipynb), Section 1). From a wide start that narrows
# down to the noise (`known_noise_wide`) it comes further. But **it misses the goal too**, nearly everywhere (medians of
# five seeds): GCL's oracles choose by the measure itself, and a likelihood is not made for PSNR, SSIM or a classifier.

# %%
knowing = goal.compare(compared, dict.fromkeys(goal.CEILINGS, HEADLINE_SENSORS), ["gcl"])
save(knowing, "table12m_ceiling", **drawn)
at = compared["level"].eq("high") & compared["dataset"].eq("mnist") & compared["measure"].eq("restored")
cold, wide = (compared.loc[at & compared["method"].eq(method), "value"] for method in goal.CEILINGS)
assert cold.max() < 0.12 < 0.7 < wide.min()
reach = goal.together(knowing).set_index("method")
assert (reach["reached"] <= reach["conditions"] / 8).all()
reach

# %% [markdown]
# How far are the losses that learn the noise from the one that knows it? At the settings of the last round, by the
# median over conditions, within 0.2 dB and 0.05 of SSIM, and not behind in restored accuracy. What keeps them from the
# goal is more than what they do not know. (Every condition, and other rules for GCL: `table12k_beside`.)

# %%
shown = beside["method"].eq("alcl") | beside["method"].str.endswith("_third")
left = beside[shown & beside["rival"].eq("known_noise_wide") & beside["difference"].notna()]
left = left.groupby(["method", "measure"], sort=False)["difference"].agg(
    conditions="size", level_or_ahead=lambda gaps: (gaps >= 0).sum(), median="median", worst="min", best="max"
)
medians = left["median"].drop("alcl").unstack()
assert medians["psnr"].min() > -0.2
assert medians["ssim"].min() > -0.05
assert medians["restored"].min() >= 0
left.round(3)

# %% [markdown]
# The goal speaks of high and extreme. All cells, low and between among them, stand in `table12n_cells`: medians of the
# sensor's losses beside ALCL (kappa learned as well), L1 and GCL under every rule. How often are they behind ALCL by
# more than 0.1 dB or half a point where there is less noise?

# %%
save(goal.cells(compared), "table12n_cells", **drawn)
milder = goal.goal(compared, goal.MILDER)
milder = milder[milder["rival"] == "alcl"].reset_index(drop=True)
save(milder, "table12o_milder", **drawn)
goal.summary(milder).drop(columns="rival").set_index(["method", "measure"])

# %% [markdown]
# A cap has its price there. At low, ALCL's shape climbs from 2 to 2.8 or 2.9 and still rises as training ends. The
# last round's settings keep it at 2 or below. On gray images they are surely behind in PSNR by more than 0.1 dB, all of
# them (0.17 to 0.83 dB); the first round's contaminated loss, its shape free, is not.

# %%
milder = milder[milder["difference"].notna()]
third, gray = milder["method"].str.endswith("_third"), milder["dataset"].isin(SETS[:2])
low = gray & milder["level"].eq("low") & milder["measure"].eq("psnr")
held, free = milder[third & low], milder[low & milder["method"].eq("contaminated_alcl")]
assert held["verdict"].eq("surely missed").all()
assert held["difference"].between(-0.85, -0.15).all()
assert free["verdict"].isin(["met", "surely met"]).all()
digests = set(compared.query("method == 'alcl' and level == 'low'")["digest"])
shapes = [record["history"]["alpha"] for record in every if record["digest"] in digests]
assert all((np.diff(shape) > 0).all() and 2.8 < shape[-1] < 2.9 for shape in shapes)
held[["method", "sensor", "dataset", "difference", "low", "high"]].round(2).reset_index(drop=True)

# %% [markdown]
# On colour images none of them is surely behind by as much in PSNR, at low or between, and none on cifar10 by half a
# point in restored accuracy. On gtsrb all restore less than ALCL, by one to 3.4 points, and surely by more than half a
# point in 8 of 10 comparisons.

# %%
colour = milder[third & ~gray]
sure = colour[colour["verdict"] == "surely missed"]
assert set(zip(sure["dataset"], sure["measure"], strict=True)) <= {("gtsrb", "restored")}
signs = colour[colour["dataset"].eq("gtsrb") & colour["measure"].eq("restored")]
assert signs["difference"].between(-3.45, -1).all()
assert len(signs) < 10 or len(sure) == 8
signs[["method", "sensor", "level", "difference", "low", "high", "verdict"]].round(2).reset_index(drop=True)

# %% [markdown]
# ## 7 · Is GCL tuned as well as it can be?
#
# About a quarter of the choices on GCL's grid lie on its edge. So it is continued there, step by step until a
# choice turns back, two steps at most (`alcl/experiments/edge_runs.py`, declared when the results above had been seen).
# How many are *inside*; *hold* against what lies beyond; *move* there; *move inside*, to another setting of the grid,
# as mean ranks can do; or are *on the edge* still, at a limit: L1 ($\alpha = 1$, scale 128), or a box (shape 32).

# %%
edge = edge_runs.edge_store(folder).read()
edged = {**source, "records": {**recorded, "edge": edge}}
choices = edge_runs.choices([*every, *edge])
save(choices, "table12p_edge", **edged)
still = choices[choices["end"] == "on the edge"]
assert (still["new_alpha"].eq(32) | (still["new_alpha"].eq(1) & still["new_beta"].eq(128))).all()
on_edge = [bool(edge_runs.outward(setting)) for setting in zip(choices["alpha"], choices["beta"], strict=True)]
assert not on_edge or 0.2 < np.mean(on_edge) < 0.3
choices.groupby(["rule", "end"]).size().unstack(fill_value=0)

# %% tags=["hide-input"]
error = torch.tensor([0.1, 0.4, 0.6, 1.0])
l1, box = (
    make_loss("gcl", **limit, reduction="none")(error, error * 0)
    for limit in ({"alpha": 1, "beta": 128}, {"alpha": 32, "beta": 0.5})
)
torch.testing.assert_close(l1 / l1[-1], error, rtol=0.01, atol=0)
torch.testing.assert_close(box / box[-1], torch.tensor([0.0, 0.0, 1.0, 1.0]), rtol=0.01, atol=0.01)

# %% [markdown]
# GCL beyond the grid minus GCL on it (`gain`), and ALCL minus GCL on the grid (`alcl`) and beyond it (`beyond`), on
# test images. With ten seeds, oracles for one measure gain less than a tenth of a decibel, where they move, and one
# verdict changes: on MNIST, between, clipped, ALCL, undecided before, is behind by 0.02 dB. The grid was wide enough.

# %%
changes = edge_runs.changes([*every, *edge])
save(changes, "table12q_beyond", **edged)
side = {name: (changes[f"{name}_low"] > 0) * 1 - (changes[f"{name}_high"] < 0) * 1 for name in ("alcl", "beyond")}
changes["changed"] = side["alcl"] != side["beyond"]
sure = changes[changes["own"] & changes["seeds"].eq(10)].drop(columns=["own", "seeds"]).round(2)
oracles = sure[sure["rule"].str.startswith("oracle")]
assert set(oracles["measure"]) <= {"psnr"}
assert (oracles["gain"] < 0.1).all()
if len(oracles):
    flipped = oracles[oracles["changed"]].set_index(["dataset", "level", "sensor"])["beyond"]
    assert flipped.to_dict() == {("mnist", "between", "clipped"): -0.02}
oracles.drop(columns=["rule", "alcl_low", "alcl_high"]).reset_index(drop=True)

# %% [markdown]
# Mean ranks weigh order and not size, and more candidates can tip them. On gtsrb at high, clipped, the one setting for
# all measures becomes L1 in all but name: 4 dB more, 8 points of restored accuracy less. ALCL is 4 dB ahead of the
# first of these compromises, and level with an oracle for PSNR.

# %%
tipped = sure[sure["rule"].eq("one") & sure["dataset"].eq("gtsrb") & sure["sensor"].eq("clipped")].set_index("measure")
if len(tipped):
    assert 4 < tipped.loc["psnr", "gain"] < 4.5
    assert -8.5 < tipped.loc["restored", "gain"] < -7.5
    by_psnr = observed[observed["level"].eq("high") & observed["measure"].eq("psnr")]
    by_psnr = by_psnr[by_psnr["dataset"].eq("gtsrb") & by_psnr["sensor"].eq("clipped")]
    level = by_psnr.groupby("method")["value"].median()[["alcl", "gcl:oracle_psnr", "gcl:one"]]
    assert abs(level["alcl"] - level["gcl:oracle_psnr"]) < 0.1 < 4 < level["alcl"] - level["gcl:one"]
tipped[["gain", "gain_low", "gain_high", "alcl", "beyond", "changed"]]

# %% [markdown]
# ## 8 · What is missing
#
# Specifications that lack runs, PSNR and SSIM among them, and what the first of them in each condition waits for; all
# are in `table12b_missing`. None is left out in silence.

# %%
lacks = curve.lacking(specs.table)
save(lacks, "table12b_missing", **source)
print(f"{lacks['specifications'].sum()} of {len(specs.table)} lack runs")
lacks.groupby(["sensor", "level", "dataset"], sort=False).agg({"specifications": "sum", "missing": "first"})

# %% [markdown]
# ## What to take away
#
# - The curve, the tests and the verdicts follow from the records alone. More records change this notebook by
#   `make figures`; nothing in it is chosen by result.
# - A gain that is quoted without its reading cannot be checked: the figure shows how far one experiment's answers lie
#   apart.
# - The sensor's losses come close to the likelihood that knows the noise; GCL's oracles, which choose by the
#   measure, are mostly out of reach of both.
# - To make more of the declared runs: `python -m alcl.experiments multiverse`. It resumes where it stopped.
