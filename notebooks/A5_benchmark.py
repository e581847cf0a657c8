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
# # A5 · Benchmark, continued
#
# Behind the report of [notebook 06](06_benchmark.ipynb): can its records be trusted, and why does ALCL fall behind
# where it does? The runs that are trained again give what was recorded. What ALCL loses in PSNR at extreme noise comes,
# on digits, with the impulses; why it loses accuracy in one condition is not known.
#
# **What you will do.** Train a part of the recorded runs again and compare, number by number. Compare ALCL with single
# settings of GCL. Take the noise apart, and see which part costs PSNR.
#
# **What you will learn.** One setting of GCL is seldom ahead in both measures at once. A kernel that cuts off before
# the impulses leaves less noise in the weights.
#
# **What you need.** Notebook 06; the records in `paper_figures/records`. Where some are missing, this notebook says so.

# %% tags=["parameters"]
records = None  # folder of the recorded runs, one file a data set; None: paper_figures/records
live = True  # train a part of the embedded runs again
live_levels = ["high"]  # at these noise levels
live_seeds = [0]  # with these seeds
jobs = 1  # worker processes; for these few runs, starting a second one takes longer than it saves

# %% tags=["hide-input"]
import itertools
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from IPython.display import display

# %% tags=["hide-input"]
from alcl.experiments import analysis, protocol, reconstruction, tuning
from alcl.experiments.evaluation import in_batches
from alcl.experiments.levels import LEVELS, clamp_for_network
from alcl.experiments.protocol import BENCHMARK, EMBEDDED, MEASURES
from alcl.experiments.records import RecordStore
from alcl.influence import Influence
from alcl.noise import MixedNoise
from alcl.paper import benchmark
from alcl.paper.figures import LABELS
from alcl.paper.notebook import begin
from alcl.paper.parameters import records_dir

save = begin("A5_benchmark", ["records", "live", "live_levels", "live_seeds", "jobs"])

# %%
DATASETS = (*EMBEDDED, *BENCHMARK)
folder = records_dir(records, DATASETS)
committed = {name: protocol.study_store(folder, name).read() for name in DATASETS}
print({name: f"{len(found)} records" for name, found in committed.items()})

# %% [markdown]
# ## 1 · Trained again, here
#
# Records can be wrong: made by older code, or edited. So a part of the embedded runs is trained now, and the numbers
# are compared with the records of the same digest. GCL's settings come from its recorded tuning runs.


# %% tags=["hide-input"]
def live_runs(dataset, level):
    """MSE, ALCL and tuned GCL for every live seed."""
    settings = {"mse": [{}], "alcl": [{}]}
    try:
        settings["gcl"] = [protocol.oracle(committed[dataset], dataset, level, measure) for measure in MEASURES]
    except LookupError as reason:
        print(f"GCL is not trained on {dataset} at {level}: {reason}")
    kinds = [(method, options) for method, found in settings.items() for options in found]
    return [reconstruction.method_run(m, dataset, level, seed, **o) for seed in live_seeds for m, o in kinds]


# %% tags=["hide-input"]
known = {record["digest"]: record["metrics"] for found in committed.values() for record in found}
retrained = []
if live:
    wanted = [run for condition in itertools.product(EMBEDDED, live_levels) for run in live_runs(*condition)]
    with tempfile.TemporaryDirectory() as scratch:
        retrained = reconstruction.sweep(wanted, RecordStore(Path(scratch) / "live.jsonl"), jobs, description="live")
print(f"{len(retrained)} runs trained")

# %% [markdown]
# On the machine and the library versions of the records, every number must come out the same to the last bit. On
# another processor sums are rounded differently, and forty epochs of training amplify that.
#
# > **Our choice.** Tolerance between machines: 0.06 in accuracy and 0.5 dB in PSNR. It is meant to let rounding pass,
# > and not a changed protocol or loss.

# %%
pairs = [(record["metrics"], known[record["digest"]]) for record in retrained if record["digest"] in known]
gaps = pd.DataFrame([{m: abs(now[m] - then[m]) for m in MEASURES} for now, then in pairs], columns=list(MEASURES))
print(f"{len(pairs)} of them have a record; equal to the last bit: {int((gaps == 0).all(axis=1).sum())}")
print("largest difference:", gaps.max().round(4).to_dict() if len(gaps) else "nothing to compare")
assert (gaps["accuracy"] <= 0.06).all()
assert (gaps["psnr"] <= 0.5).all()

# %% tags=["hide-input"]
every = list(itertools.chain(*committed.values()))
frame, kinds = analysis.benchmark_frame(every), analysis.sort_records(every)
source = {
    "parameters": {"live": live, "live_levels": live_levels, "live_seeds": live_seeds},
    "records": {name: found for name, found in committed.items() if found},
    "data": {record["config"]["dataset"]: record["data"] for record in every},
}

# %% [markdown]
# ## 2 · One setting seldom has both
#
# The oracle takes one setting of GCL for accuracy and another for PSNR: two networks. A user trains one. So compare
# each *single* setting with ALCL in both measures at once, by medians over seeds. Below and to the left of the cross,
# one setting of GCL is ahead in both.

# %%
single = analysis.single_settings(every)
both, neither = analysis.in_both_measures(single)
single[list(MEASURES)] *= -1  # from GCL minus ALCL
save(single, "tableA5_single_settings", **source)
assert not len(single) or both < (len(single) - neither) / 2  # most gains in one measure are paid in the other
print(f"of {len(single)} single settings, ahead of ALCL in both measures: {both}; behind in both: {neither}")
if len(single):
    save(benchmark.settings_figure(single), "figA5a_single_settings", **source)

# %% [markdown]
# ## 3 · Why PSNR is lost at extreme noise
#
# An impulse replaces a pixel by 0 or 1. On a dark pixel a zero changes nothing and a one pulls upwards, from a distance
# of about 1. ALCL's influence falls off like $1/|e|$, so at that distance some pull is left; a correntropy kernel of
# the width that the oracle finds has none. If this is the cause, the gap in PSNR must shrink when impulses are taken
# out of the noise, and stay when they alone remain.
#
# **Check.** On digits: extreme noise whole, its impulses alone, its additive part alone; all networks evaluated on the
# same noisy test images. Their mean squared error is split into the *variance* over networks (same images, another
# training: what the noise of the training targets leaves in the weights) and *the rest* (what all of them have in
# common: blur, and a shift towards the impulses). Each is estimated without bias from two networks.

# %% tags=["hide-input"]
extreme, networks = LEVELS["extreme"], 2
noises = {
    "whole": extreme,
    "impulses alone": MixedNoise(extreme.impulse, 0.0, None),
    "additive alone": MixedNoise(0.0, extreme.scale, extreme.dof),
}


# %% tags=["hide-input"]
def trained(noise, method, **options):
    """Reconstructions (networks, N, C, H, W) of the same noisy test images; the clean ones; the last criterion."""
    found = []
    for seed in range(networks):
        config = reconstruction.method_run(method, "digits", "extreme", seed, **options)
        task = reconstruction.make_task(config)
        noisy = noise(task.train_clean, torch.Generator().manual_seed(1000 + seed))
        task = replace(task, train_inputs=clamp_for_network(noisy), train_targets=noisy)
        model, criterion, _, _ = reconstruction.train(config, task)
        tests = clamp_for_network(noise(task.eval_clean, torch.Generator().manual_seed(0)))
        found.append(in_batches(model.eval(), tests))
    return torch.stack(found), task.eval_clean, criterion


# %% tags=["hide-input"]
def split(images, clean):
    """Mean squared error, its part that is variance over networks (unbiased), the rest; and the mean brightness."""
    error, variance = (images - clean).square().mean().item(), images.var(dim=0).mean().item()
    return {"error": error, "variance": variance, "rest": error - variance, "brightness": images.mean().item()}


# %% tags=["hide-input"]
oracle = tuning.chosen(kinds["validation"], "digits", "extreme", "psnr").get("*")  # None: nothing to compare with
parts, kernels = [], {}
for name, noise in noises.items() if live and oracle else ():
    for method, options in (("alcl", {}), ("gcl", oracle)):
        images, clean, kernels[name, method] = trained(noise, method, **options)
        parts.append({"noise": name, "method": method} | split(images, clean))
causes = pd.DataFrame(parts, columns=["noise", "method", "error", "variance", "rest", "brightness"])
print(f"GCL: {oracle}; {networks} networks each" if len(causes) else "skipped: no live training, or GCL is not tuned")
causes.round(4)

# %% tags=["hide-input"]
gaps = causes.pivot(index="noise", columns="method", values=["error", "variance"])
gaps = gaps.xs("alcl", axis=1, level="method") - gaps.xs("gcl", axis=1, level="method") if len(gaps) else gaps
if len(gaps):
    assert gaps.loc["additive alone", "error"] < gaps.loc["whole", "error"] / 2 < gaps.loc["impulses alone", "error"]
    share = gaps.loc["whole", "variance"] / gaps.loc["whole", "error"]
    assert share > 0.5
    print(f"of the gap under the whole noise, {100 * share:.0f} % is variance over networks")
    for (name, method), criterion in kernels.items():
        influence = Influence(criterion)
        pull = influence.psi(torch.ones(())).item() / influence.supremum().value
        assert pull > 0.2 if method == "alcl" else pull < 0.01
        print(f"{name:15s} {LABELS[method]:13s} pull of a residual of 1, as a share of the strongest: {pull:.3f}")

# %%
if len(causes):
    save(benchmark.causes_figure(causes), "figA5b_causes", **source)

# %% [markdown]
# So the gap is the price of a kernel that does not depend on where outliers are. ALCL's scale is that of the *noise*,
# found by likelihood; the oracle's kernel is the one that reconstructs clean validation images best, and it cuts off
# before the impulses begin. On other data sets the cause was not taken apart.
#
# ## 4 · Where accuracy is lost
#
# The benchmark condition in which ALCL is behind tuned GCL in accuracy by most, and what GCL's scale does there:
# medians over its shapes, on clean validation images, beside ALCL and the scale that it learned.

# %% tags=["hide-input"]
on_benchmark = frame[frame["dataset"].isin(BENCHMARK)]
lost = analysis.paired_differences(on_benchmark, "alcl", "gcl", "accuracy").query("high < 0")
if len(lost):
    at = tuple(lost.sort_values("difference").iloc[0][["dataset", "level"]])
    runs = [reconstruction.method_run("alcl", *at, seed).digest for seed in analysis.SEEDS]
    learned = [record["history"]["beta"][-1] for record in kinds["evaluation"] if record["digest"] in runs]
    validation = kinds["validation"]
    by_scale = pd.DataFrame({m: analysis.tuning_landscape(validation, *at, m).median() for m in MEASURES})
    by_scale.index = [f"GCL, β = {beta:g}" for beta in by_scale.index]
    by_scale.loc[f"ALCL, β = {pd.Series(learned).median():.2f} (learned)"] = [
        tuning.untuned(validation, *at, m) for m in MEASURES
    ]
    print(", ".join(at), f"| best for accuracy: {by_scale['accuracy'].idxmax()} | PSNR: {by_scale['psnr'].idxmax()}")
    display(by_scale.round(4))

# %% [markdown]
# One tuning run stands behind each of GCL's numbers. Why a kernel of another width makes better codes there was not
# taken apart; whether it makes better images as well, the second column says.

# %% [markdown]
# ## What to take away
#
# - What is trained again agrees with what was recorded.
# - Single settings of GCL that are ahead of ALCL in one measure mostly pay in the other.
# - At extreme noise, on digits, a tuned kernel that cuts off before the impulses reconstructs better than ALCL, whose
#   pull on them falls off but does not end.
# - Why accuracy is lost in one condition is not known.
#
# Back to [notebook 06](06_benchmark.ipynb), or on to [notebook 07](07_figures.ipynb).
