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
# # 00 · Start here
#
# A loss decides how strongly each error drives training. With squared error, large errors drive it most; a robust
# loss needs to know how large an error may be before it counts as an outlier. The adaptive log-correntropy loss
# (ALCL) learns that together with the network. This project derives the loss, proves what holds for it and what does
# not, compares it with other losses, and offers it as a small library.
#
# **What you will do.** See the problem in one picture. Put the loss into an ordinary training loop.
#
# **What you will learn.** Where to find what: the reading order, the abstract's claims, the theorems, the choices.
#
# **What you need.** To have trained something with PyTorch. Everything here runs in seconds; nothing is downloaded.
# Symbols are in the [glossary](glossary.md).
#
# > **The paper (abstract).** *ALCL: An Adaptive Log-Correntropy Loss for Robust Learning under Non-Gaussian Noise*
# > (Kundu, Kanjilal, Uysal, arXiv 2606.16050) replaces the fixed kernel parameters of correntropy losses by a
# > logarithmic residual model whose shape and scale are learned jointly with the network. It claims a maximum
# > likelihood formulation, an influence function that is bounded and redescending, and better reconstruction and
# > classification than squared error and tuned generalized correntropy, most of all under strong noise.
#
# That abstract is all we know of the paper. The mathematics in these notebooks is our reconstruction and the
# experiments are our own; Section 6 lists every choice.

# %% tags=["parameters"]
seed = 0
copies = 20  # noisy copies of one picture
steps = 300  # of Adam

# %% tags=["hide-input"]
import math
import warnings

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from scipy import integrate
from sklearn.datasets import load_sample_image
from torch import nn

from alcl import ALCLoss, GeneralizedT, optimizer_groups
from alcl.experiments.evaluation import psnr
from alcl.experiments.levels import LEVELS
from alcl.losses import L1Loss, MSELoss
from alcl.paper import figures
from alcl.paper.notebook import begin

save = begin("00_start_here", ["seed", "copies", "steps"])


# %% [markdown]
# ## 1 · The problem in one picture
#
# Twenty copies of one photograph, with strong noise: three pixels in ten are replaced by black or white, and every
# pixel has additive noise with tails so heavy that it has no mean. The model is a picture whose pixels are the
# weights, fitted to all copies at once. How it fits copies that contradict each other depends on the loss alone.


# %%
class Picture(nn.Module):
    """A picture, gray at first, whose pixels are learned."""

    def __init__(self, shape):
        super().__init__()
        self.pixels = nn.Parameter(torch.full(shape, 0.5))

    def forward(self, count):
        return self.pixels.expand(count, *self.pixels.shape)


photo = torch.tensor(load_sample_image("china.jpg")).float().mean(-1)[:, 100:527] / 255
clean = nn.functional.interpolate(photo[None, None], (128, 128), mode="area")[0]
noisy = LEVELS["high"](clean.expand(copies, *clean.shape), torch.Generator().manual_seed(seed))

# %% [markdown]
# The training loop is anybody's. The lines that matter are the first two:


# %%
def learn(criterion, targets):
    model = Picture(clean.shape)
    optimizer = torch.optim.Adam(optimizer_groups(model, criterion, lr=0.02))  # the line people forget
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = criterion(model(len(targets)), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model.pixels.detach(), losses


criteria = {"mse": MSELoss(), "l1": L1Loss(), "alcl": ALCLoss()}
learned = {name: learn(criterion, noisy)[0] for name, criterion in criteria.items()}
quality = {name: psnr(picture.clamp(0, 1)[None], clean[None]) for name, picture in learned.items()}

# %%
pictures = [clean, noisy[0], learned["mse"], learned["alcl"]]
titles = ["the truth", f"one of {copies} copies", f"MSE: {quality['mse']:.1f} dB", f"ALCL: {quality['alcl']:.1f} dB"]
fig = plt.figure(figsize=(7.2, 2.3))
figures.image_row(fig, pictures, titles)
fig.suptitle("Squared error averages the noise; ALCL learns to leave it out")
save(fig, "fig00a_problem",
                 parameters={"seed": seed, "copies": copies, "steps": steps})  # fmt: skip

# %% [markdown]
# Squared error gives the mean of the copies, which one wild copy can move anywhere. ALCL gives a value where most
# copies are. It starts at $\beta = 1$, the whole range of gray, and learns the scale of the noise.
#
# **Check.** Squared error's picture is the mean, computed directly (where Adam's steps could carry it that far). ALCL's
# $\alpha$ and $\beta$ are close to those that maximum likelihood, by Newton's method, finds for the same residuals.

# %% tags=["nbval-check-output"]
mean = noisy.mean(0)
near = (mean - 0.5).abs() < 0.005 * steps
assert (learned["mse"] - mean)[near].abs().median() < 1e-4
criterion = criteria["alcl"]
residuals = (learned["alcl"] - noisy).flatten().double()
best = GeneralizedT.fit(residuals, learn=("alpha", "beta"))
assert abs(criterion.alpha / best.alpha - 1) < 0.1
assert abs(criterion.beta / best.beta - 1) < 0.25
assert quality["alcl"] > quality["mse"] + 6
print("squared error finds the mean; ALCL finds its shape and scale")

# %%
print(f"ALCL learned alpha {criterion.alpha.item():.2f}, beta {criterion.beta.item():.3f}; "
      f"by Newton's method alpha {best.alpha.item():.2f}, beta {best.beta.item():.3f}")  # fmt: skip
print(", ".join(f"{figures.LABELS[name]} {value:.1f} dB" for name, value in quality.items()))

# %% [markdown]
# Absolute error (L1), which has nothing to tune or to learn, comes close here. Whether and where ALCL is better than
# other *robust* losses is the question of notebooks [05](05_training.ipynb) to [07](07_figures.ipynb).
#
# ## 2 · Ten lines in your own loop
#
# ```python
# from alcl import ALCLoss, optimizer_groups
#
# criterion = ALCLoss()                                                       # alpha and beta are learned
# optimizer = torch.optim.Adam(optimizer_groups(model, criterion, lr=1e-3))   # <- the line people forget
#
# for x, y in loader:
#     optimizer.zero_grad()
#     loss = criterion(model(x), y)                                           # like nn.MSELoss
#     loss.backward()
#     optimizer.step()
# ```
#
# The loss has parameters of its own. An optimizer that is given `model.parameters()` alone never moves them; training
# still runs, and shape and scale stay where they were. `optimizer_groups` includes them, without weight decay. If it is
# forgotten, the loss warns, once:

# %% tags=["nbval-check-output"]
forgetful, model = ALCLoss(), Picture(clean.shape)
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)  # forgotten
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(250):
        optimizer.zero_grad()
        forgetful(model(2), noisy[:2]).backward()
        optimizer.step()
(warning,) = caught
assert forgetful.beta.item() == ALCLoss().beta.item()
print(warning.category.__name__)
print(str(warning.message).replace(". ", ".\n"))

# %% [markdown]
# Three habits to keep:
#
# - **Start at the data's scale.** `beta=1` should be about the size of your residuals at the start, and learning
#   narrows it. In any other units `ALCLoss.from_residuals(model(x) - y)` finds it.
# - **Do not hurry the loss.** Its learning rate is the network's unless you pass `loss_lr`. A scale that shrinks faster
#   than the network learns makes everything an outlier (appendix A4).
# - **Do not clip targets.** Residuals that are exactly zero pull the scale to zero
#   ([notebook 03](03_adaptation.ipynb)). There is a floor, `beta_min`, for data that have them anyway.
#
# ## 3 · The loss may be negative
#
# A printed loss below zero is no error. ALCL is minus the logarithm of a *density*,
#
# $$ \ell(e) = \kappa \log\bigl(1 + |e/\beta|^\alpha\bigr) + \log Z(\alpha, \beta, \kappa), $$
#
# and a density may exceed 1: a narrow one must, because the area under it is 1. When residuals shrink tenfold, the best
# density is ten times as narrow and as high, and the loss is smaller by $\log 10 \approx 2.3$.

# %%
quiet = LEVELS["low"](clean.expand(copies, *clean.shape), torch.Generator().manual_seed(seed))
sharp = ALCLoss()
_, losses = learn(sharp, quiet)
fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.8))
left.plot(losses, color=figures.COLORS["alcl"], lw=2)
left.axhline(0, color="0.6", lw=0.8)
left.set(xlabel="step", ylabel="ALCL", title="The loss passes zero ...")
e = torch.linspace(-0.15, 0.15, 601)
density = GeneralizedT(sharp.alpha.detach(), sharp.beta.detach())
right.plot(e, density.log_prob(e).exp(), color=figures.COLORS["alcl"], lw=2)
right.axhline(1, color="0.6", lw=0.8)
right.text(-0.15, 1.3, "density 1", color="0.4", fontsize=9)
right.set(xlabel="residual", ylabel="density", title="... because a narrow density is high")
save(fig, "fig00b_negative_loss",
                 parameters={"seed": seed, "copies": copies, "steps": steps})  # fmt: skip

# %% [markdown]
# **Check.** The area under the learned density is 1, by quadrature; a residual of zero costs minus the logarithm of the
# peak, and that is below zero.

# %% tags=["nbval-check-output"]
alpha, beta = sharp.alpha.item(), sharp.beta.item()
area, _ = integrate.quad(lambda e: 1 / (1 + abs(e / beta) ** alpha), 0, math.inf, limit=200)  # half, without 1 / Z
zero = torch.zeros(1)
cost_of_zero = sharp(zero, zero).item()
assert abs(math.log(2 * area) - cost_of_zero) < 1e-4
assert cost_of_zero < 0
assert losses[-1] < 0 < losses[0]
print("a residual of zero costs minus the log of the peak density: below zero")

# %% [markdown]
# So compare ALCL values of one method over time, never with another method's. Methods can be compared by what none of
# them optimises, such as PSNR against clean images.
#
# ## 4 · Reading order
#
# | notebook | you will | you need |
# |---|---|---|
# | [01_likelihood](01_likelihood.ipynb) | derive the loss from correntropy, prove its density, fit it | calculus |
# | [02_influence](02_influence.ipynb) | prove what "bounded and redescending" means, here and for the rivals | 01 |
# | [03_adaptation](03_adaptation.ipynb) | see what learning shape and scale together gives, and how it fails | 01, 02 |
# | [04_noise](04_noise.ipynb) | draw the noise and check every distribution | nothing |
# | [05_training](05_training.ipynb) | train every method on one data set at one level, of your choice | 04 |
# | [06_benchmark](06_benchmark.ipynb) | compare methods over the grid of recorded runs, with intervals and tests | 05 |
# | [07_figures](07_figures.ipynb) | find the final figures, and the verdict on every claim | 06 |
# | [08_label_noise](08_label_noise.ipynb) | meet a neighbour: losses for wrong labels | nothing |
# | [09_input_noise](09_input_noise.ipynb) | meet another: noisy inputs, a loss on features, curvature | nothing |
# | [10_beyond](10_beyond.ipynb) | go past the paper: drift, channels, parts taken away, unseen noise | 06 |
# | [11_sensor](11_sensor.ipynb) | count wrong targets and censor clipped ones: what learning is worth | 03 |
# | [12_multiverse](12_multiverse.ipynb) | ask every reading of the abstract at once | 06 |
#
# - *In an hour, with a loss to try:* Sections 1 to 3 above, then Section 3 of appendix A4, then 05.
# - *For the proofs:* 01, 02, 03 in this order. Each theorem has its assumptions, its proof and an executed check.
# - *For the numbers:* 04, 05, 06, 07.
#
# Off this line, in appendices: [A1_joint_likelihood](A1_joint_likelihood.ipynb), [A2_likelihood](A2_likelihood.ipynb),
# [A3_influence](A3_influence.ipynb), [A4_adaptation](A4_adaptation.ipynb), [A5_benchmark](A5_benchmark.ipynb),
# [A6_sensor](A6_sensor.ipynb).
#
# `make book` makes a website of all this, to search, to click through and to explore, in `build/book`; the file
# `.github/workflows/book.yml` publishes it.

# %% tags=["nbval-check-output"]
from alcl.paper.parameters import checkout
from alcl.paper.theorems import find_theorems, notebook_sources, theorems_markdown

root = checkout()
here = (root / "notebooks" / "00_start_here.py").read_text("utf-8")
others = [path.stem for path in notebook_sources(root)][1:]
missing = [name for name in others if f"[{name}]({name}.ipynb)" not in here]
assert missing == []
print("every notebook is linked above")

# %% [markdown]
# ## 5 · The abstract's claims, and where each is settled
#
# A claim about the loss is settled by theorems, a claim about results by the recorded runs, under rules that were fixed
# before the runs were made (`alcl/paper/claims.json`, `alcl.paper.claims.claims_ledger`). The verdicts are computed, in
# [notebook 07](07_figures.ipynb) and on [a page of their own](ledger.md).

# %%
from alcl.paper.claims import load_claims

theorems = find_theorems(root)


def proofs(ids):
    """Links to the theorems called `ids`, gathered by notebook."""
    found = {name: [t.id for t in theorems if t.notebook == name and t.id in ids] for name in others}
    named = {name: f"Theorem{'s' * (len(there) > 1)} {', '.join(there)}" for name, there in found.items() if there}
    return "; ".join(f"{text} in [{name}]({name}.ipynb)" for name, text in named.items())


# %% tags=["hide-input"]
def settled_by(claim):
    if claim["kind"] == "theorem":
        limits = f". Limited by {proofs(claim['limits'])}" if claim.get("limits") else ""
        return f"{proofs(claim['theorems'])}{limits}"
    if claim["kind"] == "bench":
        return "`make bench`: an epoch of ALCL and of MSE, on the [costs page](costs.md)"
    rival = {"mse": "MSE", "gcl": "tuned GCL"}.get(claim.get("against"), "the better of MSE and tuned GCL")
    what = "training time" if claim["study"] == "cost" else {"psnr": "PSNR"}.get(claim["measure"], claim["measure"])
    return f"runs in [A5_benchmark](A5_benchmark.ipynb): {what} of ALCL and {rival}; {', '.join(claim['levels'])}"


# %%
rows = [f"| {claim['id']} | {claim['claim']} | {settled_by(claim)} |" for claim in load_claims()]
display(Markdown("\n".join(["| | claim of the abstract | settled by |", "|---|---|---|", *rows])))

# %% [markdown]
# ### Theorems
#
# Every theorem is stated in a notebook, proved there, and *checked* there by a cell that runs with the notebook:
# against quadrature, arbitrary precision, simulation, finite differences or scipy, never by the proof's own formula.
# In [n] is the number of that cell. It is *guarded* by tests that run without any notebook. The table is read from
# the sources by `alcl.paper.theorems`; a test fails if a theorem has no check, no assertion or no guard.

# %%
display(Markdown(theorems_markdown(theorems, folder="notebooks")))

# %% [markdown]
# ## 6 · What the abstract fixes and what we chose
#
# Wherever the abstract leaves something open, we had to choose. Each choice stands in a marked box where it is made,
# and all of them in [one list](choices.md); a test fails if a box is not on it.

# %% [markdown]
# ## What to take away
#
# - The loss is a likelihood. It has parameters, which an optimizer must be given.
# - Its value may be negative, and is not comparable between methods.
# - What is proved, what is measured, and what was chosen is on three lists, each kept true by a test.
#
# Next: [notebook 01](01_likelihood.ipynb) derives the loss.
