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
# # 08 · Label noise
#
# ALCL is a loss for *regression* with targets that are wrong by large amounts. In classification it is labels that are
# wrong. There is no size of error to be robust against: a wrong label has the same form as a right one. This notebook
# compares the losses that were made for that, above all the joint asymmetric loss (JAL). It is related work, not a part
# of the ALCL paper.
#
# **What you will do.** Spoil labels in five ways. Prove what minimises each loss when labels are wrong, and when
# it is the truth for the asymmetric part of JAL; check it by brute force over the simplex. Show that this part is a
# weighted sum of two old losses. Read the recorded runs of all losses, and train two of them again.
#
# **What you will learn.** Why cross-entropy repeats the noise and absolute error does not; why absolute error learns
# so slowly; how to choose the height $a$ of JAL's target; why no likelihood can tell how many labels are wrong; and why
# a comparison of losses must hold the weight decay fixed.
#
# **What you need.** Cross-entropy and softmax. Nothing of notebooks [01](01_likelihood.ipynb) to
# [07](07_figures.ipynb). The default run takes half a minute; most numbers come from records, which these lines
# complete (they resume where they stopped; minutes, minutes, ten minutes, an hour, hours):
#
# ```
# python -m alcl.experiments labels --profile embedded --records paper_figures/records
# python -m alcl.experiments labels --profile neighbours --records paper_figures/records
# python -m alcl.experiments labels --profile human --records paper_figures/records
# ALCL_DATA=/path/to/mirrors python -m alcl.experiments labels --profile core --records paper_figures/records
# ALCL_DATA=/path/to/mirrors python -m alcl.experiments labels --profile paper --records paper_figures/records
# ```

# %% tags=["parameters"]
records = None  # folder of label_noise.jsonl; None: paper_figures/records
live_seeds = [0]  # of the runs on digits that are trained again

# %% tags=["hide-input"]
import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown
from scipy import optimize

from alcl.experiments.datasets import load_dataset

# %% tags=["hide-input"]
from alcl.paper import figures, neighbours_08
from alcl.paper.neighbours import neighbours_markdown
from alcl.paper.notebook import begin
from alcl.paper.parameters import records_dir
from alcl.related import label_results, label_runs
from alcl.related.label_heights import amse_minimiser, asymmetry_condition, height_for, smallest_height
from alcl.related.label_losses import make_classification_loss
from alcl.related.label_noise import HUMAN, make_label_noise, transition_matrix
from alcl.related.label_results import medians, paired, told
from alcl.related.label_runs import METHODS, NEIGHBOURS, method_of, method_run

save = begin("08_label_noise", ["records", "live_seeds"])
folder = records_dir(records, ["label_noise"])

if not isinstance(live_seeds, list) or any(seed not in label_runs.SEEDS for seed in live_seeds):
    raise ValueError(f"live_seeds must be a list of seeds among {label_runs.SEEDS}; got {live_seeds!r}")

# %%
NAMES = {"ce": "CE", "gce": "GCE", "mae": "MAE", "nce": "NCE", "nfl": "NFL", "nce_rce": "NCE+RCE", "amse": "AMSE"}
NAMES |= {"jal_ce": "JAL-CE", "jal_fl": "JAL-FL", "jal_ce_control": "NCE+MSE+MAE"}
COLORS = {"ce": "#0072B2", "gce": "#009E73", "mae": "#56B4E9", "nce": "#999933", "nfl": "#7A1F5C"}
COLORS |= {"nce_rce": "#CC79A7", "amse": "#6B6B6B", "jal_ce": "#D55E00", "jal_fl": "#E69F00"}
COLORS |= {"jal_ce_control": "#8A2B00"}
assert set(NAMES) == set(COLORS) == set(METHODS)
OTHERS = {"mixture": "mixture, from 0.1", "mixture_half": "mixture, from 0.5", "forward": "forward, told T"}
OTHERS |= {"agce": "AGCE", "aul": "AUL", "ael": "AEL", "nce_agce": "NCE+AGCE", "aldr_kl": "ALDR-KL", "sce": "SCE"}
OTHERS |= {"squentropy": "squentropy", "comp_sum": "comp-sum, tau = 0", "jal_ce_a2": "JAL-CE, a = 2"}
OTHERS |= {"jal_ce_a9": "JAL-CE, a = 9", "jal_ce_q3": "JAL-CE, q = 3, a = 6"}
assert set(OTHERS) == set(NEIGHBOURS)

# %% [markdown]
# ## 1 · Five ways for a label to be wrong
#
# - **Symmetric**: with probability $\eta$ a label becomes one of the other $K - 1$, each alike.
# - **Asymmetric**: some classes are mistaken for one other class that looks like them, with probability $\eta$.
# - **Instance-dependent** (Xia et al., 2020): each image has its own probability to be mislabelled, around $\eta$, and
#   where it goes is a random function of its pixels. **Exact**: a uniform subset of exactly $\eta N$ labels,
#   as in JAL's code.
# - **Human**: the flips that people made on CIFAR-10 (CIFAR-10N, "worse": Wei et al., 2022; 40.2% are wrong), as a
#   matrix, scaled to $\eta$.
#
# > **Our choice.** *(08-A, which classes are mistaken)* Asymmetric noise follows the published pairs for CIFAR-10
# > (truck to automobile, bird to airplane, cat and dog, deer to horse) and, for MNIST and the embedded digits, 7 to
# > 1, 2 to 7, 5 and 6, 3 to 8. Fashion-MNIST's pairs are ours: clothes, and shoes, that look alike. Of human noise
# > the digits get the matrix alone: class 9 is taken for class 1 as trucks are for automobiles, whatever it shows.
#
# **Check.** The same seed gives the same labels; a higher rate only adds wrong labels; and the matrices below, counted
# from labels, are what the definitions say (the tests do that with many more labels).

# %%
digits = load_dataset("digits")
labels, images = digits.y_train.repeat(20), digits.x_train.repeat(20, 1, 1, 1)
shares = {}
counted = {}
for kind in ("symmetric", "asymmetric", "human", "instance", "instance_exact"):
    noisy = make_label_noise(kind, 0.4, "digits")(labels, 10, torch.Generator().manual_seed(0), images=images)
    table = torch.bincount(10 * labels + noisy, minlength=100).reshape(10, 10).double()
    counted[kind] = (table / table.sum(1, keepdim=True)).numpy()
    shares[kind] = (noisy != labels).double().mean().item()
print("rate 0.4; wrong, of all labels:", ", ".join(f"{kind} {share:.3f}" for kind, share in shares.items()))
print(f"CIFAR-10N itself: {1 - np.trace(HUMAN) / np.sum(HUMAN):.3f}")

# %%
fig, axes = plt.subplots(1, 4, figsize=(7.0, 2.3), sharey=True)
for ax, kind in zip(axes, ("symmetric", "asymmetric", "human", "instance"), strict=True):
    image = ax.imshow(counted[kind], cmap="magma_r", vmin=0, vmax=1)
    ax.set(title=kind, xlabel="label given", xticks=range(0, 10, 3), yticks=range(0, 10, 3))
axes[0].set_ylabel("true class")
fig.colorbar(image, ax=axes, shrink=0.8, label="share")
figures.headline(fig, "A rate of 0.4, in four different ways")
save(fig, "fig08a_noises", data={"digits": digits.checksum})

# %% tags=["nbval-check-output"]
law = make_label_noise("symmetric", 0.4)
once, again = (law(labels, 10, torch.Generator().manual_seed(1)) for _ in range(2))
more = make_label_noise("symmetric", 0.8)(labels, 10, torch.Generator().manual_seed(1))
assert torch.equal(once, again)
assert torch.equal(once[once != labels], more[once != labels])
for kind in ("symmetric", "asymmetric", "human"):
    assert np.abs(counted[kind] - transition_matrix(kind, 0.4, dataset="digits").numpy()).max() < 0.05
assert shares["instance_exact"] == int(0.4 * len(labels)) / len(labels)
flips = {(i, j) for i, j in np.argwhere(counted["asymmetric"] > 0).tolist() if i != j}
assert flips == {(7, 1), (2, 7), (5, 6), (6, 5), (3, 8)}
print("seeded, nested in the rate, and with the stated transition matrices")

# %% [markdown]
# ## 2 · The losses
#
# Let $p$ be the softmax of the logits $z$, and $p_y$ the probability of the label that is given.
#
# | loss | definition |
# |---|---|
# | cross-entropy CE | $-\log p_y$ |
# | generalized cross-entropy GCE | $(1 - p_y^q)/q$, $q = 0.7$ |
# | mean absolute error MAE | $\lVert e_y - p\rVert_1 = 2(1 - p_y)$ |
# | normalised cross-entropy NCE | $\log p_y / \sum_k \log p_k$ |
# | normalised focal loss NFL | the same with $(1 - p_k)^{1/2}\log p_k$, the weights held constant in the gradient |
# | NCE + RCE | NCE $+\ 9.21\,(1 - p_y)$ |
# | asymmetric MSE, AMSE | $\frac1K \lVert a\,e_y - p\rVert_2^2$, $a \ge 1$ |
# | **JAL-CE**, **JAL-FL** | $A$ NCE $+\ B$ AMSE, and $A$ NFL $+\ B$ AMSE; $A = B = 1$, $a = 30$ |
#
# > **Our choice.** *(08-B, constants)* JAL's constants are the published ones for CIFAR-10, NCE + RCE has weights 1 and
# > 1, GCE has its authors' $q$. They are used on every data set; nothing was tuned here.
#
# What does a loss do in training? Its *pull* is $-\partial L/\partial z_y$, the force with which an example raises
# the logit of its label. Below, the other classes share $1 - p_y$ equally, as they do when training begins, at $p_y =
# 1/10$.

# %%
p_y = torch.linspace(0.002, 0.998, 400, dtype=torch.float64)
logits = torch.stack([p_y, *[(1 - p_y) / 9] * 9], 1).log().requires_grad_()
first = torch.zeros(len(p_y), dtype=torch.int64)
shown = ("ce", "gce", "mae", "nce", "nce_rce", "jal_ce")
pulls = {}
for name in shown:
    loss = make_classification_loss(METHODS[name][0], **METHODS[name][1], reduction="none")(logits, first)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    pulls[name] = -gradient[:, 0]

# %% tags=["nbval-check-output"]
start = int((p_y - 0.1).abs().argmin())
ratio = {name: (pulls[name][start] / pulls["mae"][start]).item() for name in shown}
assert ratio["ce"] > 4
assert max(ratio, key=ratio.get) == "ce"
print("pull at the start of training, over MAE's:", ", ".join(f"{NAMES[n]} {r:.1f}" for n, r in ratio.items()))

# %%
fig, ax = plt.subplots(figsize=(7.0, 3.4))
labels = {"nce_rce": (0.5, 5), "jal_ce": (0.5, 5), "ce": (0.3, 5), "mae": (0.7, 5), "gce": (0.5, -12), "nce": (0.25, 3)}
for name, (at, up) in labels.items():
    ax.plot(p_y, pulls[name], color=COLORS[name], lw=2.4 if name == "jal_ce" else 1.5)
    look = {"color": COLORS[name], "fontweight": "bold"}
    where = (at, pulls[name][int((p_y - at).abs().argmin())].item())
    ax.annotate(NAMES[name], where, (0, up), textcoords="offset points", ha="center", **look)
ax.axvline(0.1, color="0.6", lw=0.8, ls=":")
ax.annotate("where training begins", (0.11, 2.5), fontsize=9, color="0.4")
ax.set(xlabel="probability of the given label", ylabel="pull on its logit", ylim=(-0.05, 2.65))
figures.headline(fig, f"Where training begins CE pulls hardest, {ratio['ce']:.1f} times as hard as MAE")
save(fig, "fig08b_losses")

# %% [markdown]
# Cross-entropy pulls with $1 - p_y$: the less probable the given label, the harder it pulls, and wrong labels
# are the least probable ones. MAE pulls with $2 p_y(1 - p_y)$: it hardly acts on improbable labels, nor on right ones
# that are not learned yet. JAL's pull is close to a multiple of MAE's; its height $a$ sets the multiple.
#
# ## 3 · What wrong labels do to a loss
#
# Fix one input. Over many draws its label is $i$ with probability $w_i$; let $m$ be the most frequent one (the truth,
# as long as noise is not stronger than that). A network that can say anything minimises $\sum_i w_i L(p, i)$ over
# $p$.
#
# **Theorem C5** (cross-entropy repeats the noise, GCE sharpens it).
#
# *Assumptions.* All $w_i > 0$, $\sum_i w_i = 1$, $0 < q < 1$.
#
# The minimiser of $\sum_i w_i L(p, i)$ over the simplex is $p = w$ for cross-entropy, and
# $p_i \propto w_i^{1/(1-q)}$ for GCE.
#
# *Proof.* For cross-entropy, $-\sum_i w_i \log p_i + \sum_i w_i \log w_i$ is a Kullback-Leibler divergence: never
# negative, zero at $p = w$ alone. For GCE one maximises $\sum_i w_i p_i^q$, which is strictly concave, with infinite
# slope at the border of the simplex; so the maximum is inside, and there $q\,w_i p_i^{q-1}$ is the same for all $i$
# (Lagrange). $\blacksquare$
#
# *Executed check.* A general optimiser over logits, with autograd's gradients, for random weights.


# %%
def minimiser(loss, weights):
    """argmin over p of the weighted loss, by BFGS over logits."""
    every = torch.arange(len(weights))

    def value(z):
        z = torch.tensor(z, requires_grad=True)
        total = (torch.tensor(weights) * loss(z.expand(len(weights), -1), every)).sum()
        return total.item(), torch.autograd.grad(total, z)[0].numpy()

    z = optimize.minimize(value, np.zeros(len(weights)), jac=True, method="BFGS", options={"gtol": 1e-9}).x
    return torch.tensor(z).softmax(0).numpy()


# %% tags=["nbval-check-output"]
# check: C5
rng = np.random.default_rng(0)
for q in (0.0, 0.3, 0.7):
    w = 0.02 + 0.9 * rng.dirichlet(np.ones(5))
    loss = (
        make_classification_loss("gce", q=q, reduction="none")
        if q
        else make_classification_loss("ce", reduction="none")
    )
    expected = w ** (1 / (1 - q)) / (w ** (1 / (1 - q))).sum()
    assert np.abs(minimiser(loss, w) - expected).max() < 1e-5
print("minimiser of cross-entropy: w; of GCE: w to the power 1/(1 - q), normalised")

# %% [markdown]
# ## 4 · The asymmetric condition
#
# Zhou et al. (2021) call a loss *asymmetric* for weights $w$ if the weighted loss is minimised exactly where the loss
# of the most frequent label alone is: at its vertex $e_m$. Then noise does not move the minimiser at all.
#
# **Theorem C1** (when AMSE is asymmetric).
#
# *Assumptions.* $a > 1$, $q > 1$; $w_m > w_n = \max_{i \ne m} w_i > 0$.
#
# The minimiser of $R(p) = \sum_i w_i \lVert a\,e_i - p\rVert_q^q$ over the simplex is unique, and it is $e_m$ if and
# only if
#
# $$ \frac{w_m}{w_n} \;\ge\; \frac{a^{q-1} + \sum_{i \ne m} w_i/w_n}{(a-1)^{q-1}}. $$
#
# For $q = 2$ the minimiser is, for every $w$, the Euclidean projection of $a\,w/\sum_i w_i$ onto the simplex.
#
# *Proof.* $R$ is strictly convex, as each $|\cdot|^q$ is, so a point of the simplex is the minimiser if and only if
# no direction into the simplex descends from it. From $e_m$ these are spanned by the $e_n - e_m$. With $W = \sum_i
# w_i$,
#
# $$ \frac1q \frac{\partial R}{\partial p_j} = (W - w_j)\,p_j^{q-1} - w_j\,(a - p_j)^{q-1}, $$
#
# which at $e_m$ is $W - w_m - w_m (a-1)^{q-1}$ for $j = m$, and $-w_n a^{q-1}$ for $j = n \ne m$. So $e_m$ is the
# minimiser iff $w_m (a-1)^{q-1} \ge w_n a^{q-1} + W - w_m$ for all $n \ne m$. The largest $w_n$ decides; divide by
# $w_n (a-1)^{q-1}$. For $q = 2$, $R(p) = W\,\lVert p - a\,w/W\rVert_2^2 + \text{const}$. $\blacksquare$
#
# *Executed check.* Brute force: 12,341 points of the simplex of four classes, 400 random $(w, a)$ for each of three
# $q$. The best point of the grid is the vertex whenever the condition holds; when it fails, a small step away from
# the vertex lowers $R$.


# %%
def simplex_grid(classes, steps):
    """All points of the simplex whose coordinates are multiples of 1/steps."""
    bars = np.array(list(itertools.combinations(range(steps + classes - 1), classes - 1)))
    edges = np.hstack([np.full((len(bars), 1), -1), bars, np.full((len(bars), 1), steps + classes - 1)])
    return (np.diff(edges) - 1) / steps


def risk(w, a, q, p):
    """R at the points p (n, K), by its definition."""
    return sum(w[i] * (np.abs(a * row - p) ** q).sum(1) for i, row in enumerate(np.eye(len(w))))


# %% tags=["nbval-check-output"]
# check: C1
grid, rng, cases = simplex_grid(4, 40), np.random.default_rng(1), []
for q, _ in itertools.product((1.5, 2.0, 3.0), range(400)):
    w, a = rng.dirichlet(np.full(4, 0.6)), rng.uniform(1.05, 12)
    condition = asymmetry_condition(torch.tensor(w), a, q)
    vertex = np.eye(4)[w.argmax()]
    margin = (condition.ratio / condition.threshold).item()
    best = grid[risk(w, a, q, grid).argmin()]
    if condition.holds:
        assert (best == vertex).all()
    elif margin < 1 - 1e-3:
        steps = np.vstack([vertex + h * (np.eye(4) - vertex) for h in (1e-2, 1e-4, 1e-6, 1e-8)])
        assert risk(w, a, q, steps).min() < risk(w, a, q, vertex[None])[0]
    cases.append((q, margin, best.max(), bool(condition.holds)))
print(f"{len(grid)} points, {len(cases)} cases; the condition holds in {sum(case[3] for case in cases)}")

# %% [markdown]
# The second half of the theorem, against a general constrained optimiser; and the picture of both: the largest
# coordinate of the brute-force minimiser reaches 1 where the two sides of the condition meet.

# %%
for _ in range(20):
    w, a = rng.dirichlet(np.ones(6)), rng.uniform(1, 15)
    sums = {"type": "eq", "fun": lambda p: p.sum() - 1}
    found = optimize.minimize(lambda p, w=w, a=a: risk(w, a, 2, p[None])[0], np.full(6, 1 / 6), bounds=[(0, 1)] * 6,
                              constraints=sums, options={"ftol": 1e-13, "maxiter": 300}).x  # fmt: skip
    assert np.abs(amse_minimiser(torch.tensor(w), a).numpy() - found).max() < 2e-3

points = pd.DataFrame(cases, columns=["q", "margin", "height", "holds"])
points = points[(points["q"] == 2) & points["margin"].between(0.03, 30)]
fig, ax = plt.subplots(figsize=(5.2, 3.0))
ax.scatter(points["margin"], points["height"], s=9, c=points["holds"].map({True: "#D55E00", False: "#0072B2"}))
ax.axvline(1, color="0.4", lw=0.8)
for x, text, color in ((0.075, "condition fails", "#0072B2"), (1.2, "condition holds", "#D55E00")):
    ax.annotate(text, (x, 0.93), color=color)
ax.set(xscale="log", xlabel="$w_m / w_n$ over its threshold", ylabel="largest $p$ of the minimiser")
figures.headline(fig, "Past the threshold AMSE's minimiser puts all probability on one label")
save(fig, "fig08c_condition")

# %% [markdown]
# ## 5 · How high must the target be?
#
# **Theorem C2** (height and noise rate).
#
# *Assumptions.* As in Theorem C1 with $q = 2$ and $\sum_i w_i = 1$.
#
# AMSE's minimiser is $e_m$ iff $a \ge 1/(w_m - w_n)$. For symmetric noise of rate $\eta < (K-1)/K$ that is
# $a \ge (K-1)/(K-1-\eta K)$; for asymmetric noise of rate $\eta < 1/2$ it is $a \ge 1/(1 - 2\eta)$.
#
# *Proof.* The condition of Theorem C1, multiplied out: $w_m(a - 1) \ge w_n a + 1 - w_m$, that is $a(w_m - w_n) \ge 1$.
# Symmetric noise has $w_m = 1 - \eta$, $w_n = \eta/(K-1)$; asymmetric noise $1 - \eta$ and $\eta$. $\blacksquare$
#
# *Executed check.* Bisection for the least $a$ at which no grid point of a fine step from the vertex wins; no formula
# of the theorem enters. The published $a = 30$ is past all of these.

# %% tags=["nbval-check-output"]
# check: C2
for kind, rate in [("symmetric", 0.2), ("symmetric", 0.4), ("symmetric", 0.8), ("asymmetric", 0.4)]:
    w = np.full(10, rate / 9) if kind == "symmetric" else np.eye(10)[1] * rate
    w[0] = 1 - rate
    vertex = np.eye(10)[:1]
    beside = vertex + 1e-7 * (np.eye(10)[1:2] - vertex)
    border = optimize.brentq(lambda a, w=w, p=vertex, q=beside: (risk(w, a, 2, p) - risk(w, a, 2, q))[0], 1.0, 1e3)
    formula = 9 / (9 - 10 * rate) if kind == "symmetric" else 1 / (1 - 2 * rate)
    assert abs(border / formula - 1) < 1e-4
    assert abs(smallest_height(torch.tensor(w)).item() / formula - 1) < 1e-9
    print(f"{kind:10s} {rate}: a of at least {border:.2f}")
assert asymmetry_condition(torch.tensor(w), 30.0).holds

# %% [markdown]
# **Advice: how to choose $a$.** Write the noise you suspect as a transition matrix, and take the least height of its
# worst class: `height_for`. More height leaves the minimiser alone and adds weight to MAE (Theorem C3). Which power
# needs least depends on the noise. Older asymmetric losses (Section 9) need only a ratio $w_m/w_n$.

# %%
suspected = [("symmetric", rate) for rate in (0.2, 0.4, 0.6, 0.8)] + [("asymmetric", 0.2), ("asymmetric", 0.4)]
rows = {}
for kind, rate in [*suspected, ("human", 0.4)]:
    matrix = transition_matrix(kind, rate, dataset="cifar10")
    heights = {f"a, q = {q:g}": height_for(matrix, q) for q in (1.5, 2.0, 3.0)}
    hundred = height_for(transition_matrix(kind, rate, 100)) if kind == "symmetric" else np.nan
    ratio = asymmetry_condition(matrix, 30.0).ratio.min().item()
    rows[f"{kind} {rate}"] = {"least ratio": ratio} | heights | {"a, q = 2, 100 classes": hundred}
    for q, a in zip((1.5, 2.0, 3.0), heights.values(), strict=True):  # the worst class decides
        assert asymmetry_condition(matrix, 1.01 * a, q).holds.all()
        assert not asymmetry_condition(matrix, 1 + 0.99 * (a - 1), q).holds.all()
advice = pd.DataFrame(rows).T
save(advice.rename_axis("noise").reset_index(), "table08d_heights")
needed = {name: make_classification_loss(name).least_ratio for name in ("agce", "aul", "ael")}
print("ratio needed:", ", ".join(f"{OTHERS[name]} {ratio:.2f}" for name, ratio in needed.items()))
assert max(needed.values()) < advice["least ratio"].min()  # all noises of the table are within their reach
advice.round(2)

# %% [markdown]
# Putting Theorems C1, C2 and C5 into one picture: how sure of the truth each loss wants to be, under symmetric noise.

# %%
rates = np.linspace(0.0, 0.89, 90)
weights = np.where(np.arange(10) == 0, 1 - rates[:, None], rates[:, None] / 9)
curves = {"CE, and AMSE with a = 1": (weights[:, 0], COLORS["ce"])}
assert np.allclose(weights[:, 0], amse_minimiser(torch.tensor(weights), 1.0)[:, 0])
power = weights ** (1 / 0.3)
curves["GCE, q = 0.7"] = (power[:, 0] / power.sum(1), COLORS["gce"])
for a, color in ((3.0, "0.6"), (9.0, "0.25"), (30.0, COLORS["jal_ce"])):
    curves[f"AMSE, a = {a:g}"] = (amse_minimiser(torch.tensor(weights), a)[:, 0].numpy(), color)
fig, ax = plt.subplots(figsize=(7.0, 3.2))
for label, (height, color) in curves.items():
    ax.plot(100 * rates, height, color=color, label=label, lw=2.4 if "30" in label else 1.5)
ax.set(
    xlabel="wrong labels, % (symmetric, ten classes)", ylabel="probability of the truth", ylim=(0, 1.05), xlim=(0, 89)
)
ax.set_title("Cross-entropy repeats the noise; a high target ignores it")
figures.direct_label(ax)
save(fig, "fig08d_believed")

# %% [markdown]
# AMSE at $a = 1$ is the plain squared error (Brier score), and its minimiser is that of cross-entropy.
#
# ## 6 · The identity
#
# **Theorem C3** (AMSE is a weighted sum of squared and absolute error).
#
# *Assumptions.* $p$ in the simplex, $a \ge 1$.
#
# $$ \tfrac1K\lVert a\,e_y - p\rVert_2^2 \;=\; \tfrac1K\lVert e_y - p\rVert_2^2 + \tfrac{a-1}{K}\,\lVert e_y - p\rVert_1
#    {} + \tfrac{(a-1)^2}{K}. $$
#
# *Proof.* $a\,e_y - p = (a-1)\,e_y + (e_y - p)$, so the left side times $K$ is
# $(a-1)^2 + 2(a-1)(1 - p_y) + \lVert e_y - p\rVert_2^2$; and
# $\lVert e_y - p\rVert_1 = (1 - p_y) + \sum_{k \ne y} p_k = 2(1 - p_y)$. $\blacksquare$
#
# *Executed check.* At random points of the simplex, by the definitions in numpy; then in training: the network that is
# trained with the weighted sum is the network trained with AMSE.

# %% tags=["nbval-check-output"]
# check: C3
rng = np.random.default_rng(2)
for classes, a in itertools.product((2, 10, 100), (1.0, 5.0, 30.0)):
    p, one = rng.dirichlet(np.full(classes, 0.3), 500), np.eye(classes)[rng.integers(classes, size=500)]
    amse = ((a * one - p) ** 2).mean(1)
    mse, mae = ((one - p) ** 2).mean(1), np.abs(one - p).sum(1)
    assert np.allclose(amse, mse + (a - 1) / classes * mae + (a - 1) ** 2 / classes, rtol=1e-12)
print("AMSE = MSE + (a - 1)/K MAE + constant, at 4500 random points")

# %%
short = {"dataset": "digits", "noise": "symmetric", "rate": 0.4, "epochs": 2}
jal, control, other = (
    torch.nn.utils.parameters_to_vector(label_runs.train(method_run(method, **short))[0].parameters())
    for method in ("jal_ce", "jal_ce_control", "ce")
)
gap, scale = (jal - control).norm().item(), (jal - other).norm().item()
assert gap < 1e-2 * scale
print(f"two epochs: weights of JAL-CE and of NCE + MSE + 2.9 MAE differ by {gap:.1e}; of JAL-CE and CE by {scale:.1e}")

# %% [markdown]
# So whatever AMSE does, a weighted sum of squared and absolute error does, in single precision up to rounding. With
# $a = 30$ and $K = 10$ the weight of MAE is 2.9, against 1 for a squared error that is at most $2/K$: AMSE is MAE
# with a pinch of MSE, and a fair study has this control in it.
#
# ## 7 · Symmetric parts, and the joint loss
#
# **Theorem C4** (symmetric losses, and what they add to AMSE).
#
# *Assumptions.* (a) $\eta < (K-1)/K$. (c) $A, B > 0$ and the condition of Theorem C1 with $q = 2$.
#
# (a) MAE, NCE and NFL are *symmetric*: $\sum_k L(p, k)$ is a constant $C$. Under symmetric noise of rate $\eta$ their
# expected loss is $\bigl(1 - \tfrac{\eta K}{K-1}\bigr) L(p, y) + \tfrac{\eta\,C}{K-1}$: the same minimisers as
# without noise. (b) But NCE is no measure of being right: its infimum 0 is approached wherever the probability of
# *one* other class tends to zero, whatever $p_y$ is. (c) The infimum of JAL-CE's weighted loss over the simplex is
# approached at $e_m$, and nowhere else, for every kind of noise.
#
# *Proof.* (a) $2\sum_k (1 - p_k) = 2(K-1)$; the normalised losses sum to 1 by construction. The expectation is
# $(1-\eta)L(p,y) + \frac{\eta}{K-1}(C - L(p,y))$. (b) The denominator of $\log p_y/\sum_k \log p_k$ tends to
# $-\infty$. (c) $s_i = \log p_i/\sum_k \log p_k$ is a point of the simplex, so $\sum_i w_i s_i \ge \min_i w_i = w_j$;
# the AMSE part is at least its value at $e_m$. Let $p_i = e^{-t}$ for $i \ne m, j$ and $p_j = e^{-t^2}$: as $t \to
# \infty$, $p \to e_m$ and $s \to e_j$, so both bounds are approached together. A sequence that approaches the sum's
# infimum must approach the infimum of the AMSE part, which is continuous and has one minimiser, $e_m$. $\blacksquare$
#
# *Executed check.* Sums over labels at random logits; NCE at $p_y = 1/2$; and 60,000 random points, none of which beats
# the approach to the vertex while the condition holds, and some of which do when it does not.

# %% tags=["nbval-check-output"]
# check: C4
z = torch.randn(60_000, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
z *= torch.tensor([1.0, 4.0, 20.0]).repeat(20_000)[:, None]
for name, constant in (("mae", 6.0), ("nce", 1.0), ("nfl", 1.0)):
    loss = make_classification_loss(name, reduction="none")
    assert torch.allclose(sum(loss(z, torch.full((len(z),), k)) for k in range(4)), torch.tensor(constant).double())
half = torch.tensor([[0.0, 0.0, -1e6, -1.0]], dtype=torch.float64)  # p_y is below one half
assert make_classification_loss("nce")(half, torch.tensor([0])) < 1e-5
w = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
approach = torch.tensor([[0.0, -1e4, -1e4, -1e9]], dtype=torch.float64)
for a in (30.0, 1.5):
    loss = make_classification_loss("jal", a=a, reduction="none")
    points, end = (sum(w[k] * loss(x, torch.full((len(x),), k)) for k in range(4)) for x in (z, approach))
    holds = bool(asymmetry_condition(w, a).holds)
    assert bool((points < end - 1e-6).any()) == (not holds)
    print(f"a = {a:g}: the condition {'holds' if holds else 'fails'}")

# %% [markdown]
# Two warnings follow. NCE alone can be satisfied without being right, which is why it is never used alone. And
# theorems on minimisers say nothing about *reaching* them: MAE has the right minimiser too, and hardly pulls (Section
# 2).
#
# ## 8 · All losses, all noises
#
# Every loss at every noise: clean test labels, five seeds, the same L2 weight decay, and the last epoch counts. All
# losses share noise, initial weights and batches seed by seed.

# %%
stored = label_runs.store(folder).read()
frame = label_results.frame(stored)
print(frame.groupby("dataset").size().to_dict(), "records")

# %%
again = [method_run(method, "digits", "symmetric", 0.8, seed) for seed in live_seeds for method in ("ce", "jal_ce")]
recorded = frame.set_index("digest")["accuracy"]
for config in again:
    now, then = label_runs.run(config)["metrics"]["accuracy"], recorded.get(config.digest, np.nan)
    print(f"{NAMES[method_of(config.config())]:7s} seed {config.seed}: trained now {now:.4f}, recorded {then:.4f}")
    assert not abs(now - then) > 0.06  # what rounding may do, amplified by training

# %%
everything = label_results.frame(stored, ["embedded", "paper"]).query("decay == 'l2'")
all_losses = medians(everything.groupby(["dataset", "condition", "method"])["accuracy"]).reset_index()
origin = {"records": {label_runs.STUDY: everything["digest"].tolist()},
          "data": dict(zip(everything["dataset"], everything["data"], strict=True))}  # fmt: skip
if len(all_losses):
    save(all_losses, "table08c_all_losses", **origin)
middle = all_losses.pivot(index=["dataset", "method"], columns="condition", values="median")
middle.rename(index=NAMES, level="method").round(3)


# %%
NOISES = [f"{kind} {rate}" for kind, rate in sorted(label_runs.CONDITIONS, reverse=True)]


def dots(ax, runs, noise, methods):
    """Every seed's accuracy at this noise a point, the median a bar; a row a loss, the first one on top."""
    for y, method in enumerate(reversed(methods)):
        part = 100 * runs[(runs["condition"] == noise) & (runs["method"] == method)]["accuracy"]
        ax.plot(part, [y] * len(part), "o", color=COLORS.get(method, "0.45"), ms=4, alpha=0.7, mew=0)
        ax.plot([part.median()], [y], "|", color="0.15", ms=9)
    ax.grid(axis="y", color="0.9", lw=0.8)
    ax.set_title(noise.replace(" ", "\n"), fontsize=9.5)
    labels = [(NAMES | OTHERS)[method] for method in reversed(methods)]
    ax.set(yticks=range(len(methods)), yticklabels=labels, ylim=(-0.6, len(methods) - 0.4))


# %%
lowest = everything.groupby(["dataset", "condition", "method"])["accuracy"].median().unstack().idxmin(axis=1)
if "digits" in lowest:
    assert (lowest["digits"].drop("asymmetric 0.4", errors="ignore") == "ce").all()
    fig, axes = plt.subplots(1, len(NOISES), figsize=(7.0, 3.2), sharey=True, sharex=True)
    for ax, noise in zip(axes, NOISES, strict=True):
        dots(ax, everything[everything["dataset"] == "digits"], noise, list(COLORS))
    fig.supxlabel("accuracy on clean test labels, % (one point per seed; bar: the median)", fontsize=9.5)
    figures.headline(fig, "Digits: cross-entropy is last, except under asymmetric noise")
    save(fig, "fig08e_digits", **origin)

# %% [markdown]
# The larger images, by medians over seeds (all of them, with intervals, are in `table08c_all_losses`):

# %%
mirrors = [name for name in ("mnist", "fashion_mnist", "cifar10") if name in lowest]
rows = [(d, noise) for d, noise in itertools.product(mirrors, NOISES) if noise in middle.columns]
if rows:
    fig, ax = plt.subplots(figsize=(7.0, 1.4 + 0.22 * len(rows)))
    for y, (dataset, noise) in enumerate(rows):
        part = 100 * middle.loc[dataset, noise].dropna()
        ax.plot(part, [y] * len(part), "o", color="0.75", ms=4)
        for method, marker in (("ce", "s"), ("gce", "^"), ("jal_ce", "o")):
            ax.plot(part.get(method), y, marker, color=COLORS[method], ms=6, label=NAMES[method] if not y else "_")
        ax.axhline(y - 0.5, color="0.4" if y and not y % len(NOISES) else "0.93", lw=0.8, zorder=0)
    ax.plot([], [], "o", color="0.75", ms=4, label="each other loss")
    ax.set_yticks(range(len(rows)), [", ".join(row) for row in rows])
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel="median accuracy on clean test labels, %")
    fig.legend(loc="outside lower center", ncols=4)
    both = middle.loc[mirrors].unstack("method").stack("condition", future_stack=True)[["ce", "jal_ce"]].dropna()
    ahead = int((both["jal_ce"] > both["ce"]).sum())
    figures.headline(fig, f"Larger images: JAL-CE is above cross-entropy in {ahead} of {len(both)} conditions")
    save(fig, "fig08h_mirrors", **origin)

# %%
for (dataset, noise), part in all_losses.groupby(["dataset", "condition"]):
    part = part.set_index("method")["median"].sort_values(ascending=False)
    best, worst = (f"{NAMES[part.index[i]]} {100 * part.iloc[i]:.1f}" for i in (0, -1))
    ours = ", ".join(f"{NAMES[m]} {100 * part[m]:.1f}" for m in ("ce", "jal_ce") if m in part)
    print(f"{dataset:14s}{noise:15s} best of {len(part)}: {best:16s} {ours}; last: {worst}")

# %% [markdown]
# ## 9 · The losses JAL is compared with
#
# | loss | definition | source |
# |---|---|---|
# | AGCE | $((a+1)^q - (a+p_y)^q)/q$ | Zhou et al., 2021 |
# | AUL | $((a-p_y)^q - (a-1)^q)/q$ | the same |
# | AEL | $e^{-p_y/a}$ | the same |
# | NCE + AGCE | NCE $+\ 4$ AGCE | the same |
# | SCE | $0.1$ CE $+\ 9.21\,(1-p_y)$ | Wang et al., 2019 |
# | comp-sum | $(p_y^{\tau-1} - 1)/(1-\tau)$; CE at $\tau = 1$, GCE above, here $\tau = 0$ | Mao et al., 2023 |
# | squentropy | CE $+\ \frac{1}{K-1}\sum_{k \ne y} z_k^2$ | Hui et al., 2023 |
# | ALDR-KL | $\max_\lambda \lambda\log\frac1K\sum_k e^{d_k/\lambda} - c\,(\lambda-\lambda_0)^2$ | Zhu et al., 2023 |
#
# In ALDR-KL $d_k = z_k - z_y + 0.1$ for $k \ne y$, $d_y = 0$: a cross-entropy with a temperature $\lambda$ of each
# example, high where the network is unsure: ALCL's idea for labels. Comp-sum extends Theorem C5 to $q = \tau - 1 < 0$,
# where the minimiser is *flatter* than the noise.
#
# > **Departure.** *(08-F, temperatures)* The published ALDR-KL keeps each example's temperature between epochs and
# > takes one step, without the margin, when it comes up again. Ours takes 20 steps each time, to the formula's
# > stationary point. $c = \alpha \log K/(2\lambda_0)$, $\lambda_0 = 1$, $\alpha = 2$, as published.
#
# On the digits, same settings, JAL-CE minus each other loss:

# %%
rivals = ["gce", "ce"]
rivals += [name for question in ("asymmetric", "others", "height") for name in label_runs.QUESTIONS[question][0]]
on_digits = frame[(frame["dataset"] == "digits") & (frame["decay"] == "l2")]
source = {"records": {label_runs.STUDY: on_digits["digest"].tolist()}, "data": {"digits": digits.checksum}}
declared = {run.digest for run in label_runs.PROFILES["neighbours"]()}
there = len(declared & set(on_digits["digest"]))
print(
    f"{there} of the {len(declared)} records of Sections 9 and 10" + (": INCOMPLETE" if there < len(declared) else "")
)

# %%
seen = ["symmetric 0.8", "asymmetric 0.4"]
compared = [paired(on_digits, ("jal_ce", "l2"), (name, "l2")).assign(loss=(NAMES | OTHERS)[name]) for name in rivals]
compared = pd.concat(compared)[["condition", "loss", *label_results.COMPARED[2:]]]
compared = compared[compared["condition"].isin(seen)].sort_values(["condition", "difference"], ignore_index=True)
if len(compared):
    save(compared, "table08e_neighbours", **source)
compared.round(1)

# %%
if len(compared):
    fig, axes = plt.subplots(1, 2, figsize=(7.0, 3.8), sharey=True)
    for ax, noise in zip(axes, seen, strict=True):
        dots(ax, on_digits, noise, ["jal_ce", *rivals])
    fig.supxlabel("accuracy on clean test labels, % (one point per seed; bar: the median)", fontsize=9.5)
    sides = label_results.votes(compared)
    message = f"JAL-CE is ahead in {sides['ahead']} of {len(compared)} comparisons, behind in {sides['behind']}"
    figures.headline(fig, message)
    save(fig, "fig08i_neighbours", **source)

# %% [markdown]
# Theorem C2 bounds minimisers, not training: at $a = 2$, below the bound of 9, JAL-CE does better here. Less height
# leaves more weight to the active part. So take no more height than the bound asks for, and try less.

# %%
for row in compared[compared["loss"].str.startswith("JAL-CE")].itertuples():
    print(f"{row.condition}, JAL-CE at a = 30 minus {row.loss}: {told(row)}")
    assert row.loss != "JAL-CE, a = 2" or row.verdict in ("behind", "too few seeds")
# the noises that people make, and of an exact number of labels beside a random one
for row in paired(on_digits, ("jal_ce", "l2"), ("ce", "l2")).itertuples():
    if row.condition.startswith(("human", "instance")):
        print(f"{row.condition}, JAL-CE minus CE: {told(row)}")

# %% [markdown]
# ## 10 · Does a learned fraction of wrong labels help?
#
# In regression, ALCL beside a constant density learns what fraction of residuals tells nothing. For labels that is the
# mixture $L_\varepsilon = -\log\bigl((1-\varepsilon)\,p_y + \varepsilon/K\bigr)$, $\varepsilon$ learned
# with the network. *Forward correction* (Patrini et al., 2017) is told the transition matrix: $-\log\sum_j p_j T_{jy}$.
#
# **Theorem C6** (the data do not fix the fraction).
#
# *Assumptions.* $w_i \ge 0$, $\sum_i w_i = 1$, $0 < \varepsilon < 1$.
#
# The minimum over the simplex of $\sum_i w_i L_\varepsilon(p, i)$ is the same for all $\varepsilon \le K \min_i w_i$:
# the entropy of $w$, attained at $p = (w - \varepsilon/K)/(1 - \varepsilon)$ alone. Above, it grows with
# $\varepsilon$. For symmetric noise of rate $\eta$ the edge is $\varepsilon = \eta K/(K-1)$, where $p = e_m$ and
# $L_\varepsilon$ is forward correction.
#
# *Proof.* $u = (1-\varepsilon)\,p + \varepsilon/K$ runs through the points of the simplex with all $u_i \ge
# \varepsilon/K$, and $-\sum_i w_i \log u_i$ is least at $u = w$ alone, which is among them iff $\varepsilon \le K
# \min_i w_i$. Above, take the minimiser of a larger fraction: a small step from it towards $w$ descends, and stays in
# the set of a smaller one. At the edge $T_{jy} = (1 - \varepsilon)[j = y] + \varepsilon/K$. $\blacksquare$
#
# And in a training set each image has one label: $w$ is a vertex, the edge is 0, and a network that memorises lowers
# $\varepsilon$. Only what it cannot fit holds $\varepsilon$ up. It starts at 0.1 or at 0.5 here.

# %% tags=["nbval-check-output"]
# check: C6
rng = np.random.default_rng(4)
w = 0.4 / 4 + 0.6 * rng.dirichlet(np.ones(4))
edge, entropy = 4 * w.min(), -(w * np.log(w)).sum()
least = []
for eps in (0.02, 0.5 * edge, 0.99 * edge, edge + 0.1, edge + 0.2):
    p = minimiser(make_classification_loss("mixture", eps=eps, learn=False, reduction="none"), w)
    least.append(-(w * np.log((1 - eps) * p + eps / 4)).sum() - entropy)
assert np.abs(least[:3]).max() < 1e-6
assert 1e-4 < least[3] < least[4]
print("up to the edge every fraction attains the entropy; above it the risk grows")

# %%
pairs = itertools.product(("mixture", "mixture_half"), ("ce", "gce", "forward"))
against = pd.concat(
    paired(on_digits, (a, "l2"), (b, "l2")).assign(what=f"{OTHERS[a]} minus {(NAMES | OTHERS)[b]}") for a, b in pairs
)
against = against[["condition", "what", *label_results.COMPARED[2:]]]
against = against.sort_values(["condition", "what"], ignore_index=True)
if len(against):
    save(against, "table08f_fraction", **source)
against.round(1)

# %% [markdown]
# On CIFAR-10 itself, whose labels people gave (class by class, as CIFAR-10N's matrix counts them):

# %%
people = frame[(frame["dataset"] == "cifar10") & (frame["noise"] == "human") & (frame["decay"] == "l2")]
verdicts = {}
for a, b in (("jal_ce", "ce"), ("jal_ce", "gce"), ("mixture", "ce"), ("mixture", "gce"), ("mixture", "forward")):
    for row in paired(people, (a, "l2"), (b, "l2")).itertuples():
        verdicts[a, b] = row.verdict
        print(f"{(NAMES | OTHERS)[a]} minus {(NAMES | OTHERS)[b]}: {told(row)}")
assert verdicts.get(("mixture", "ce"), "ahead") == "ahead"
assert verdicts.get(("mixture", "gce"), "behind") == "behind"
fraction = against[against["what"].str.startswith("mixture") & against["what"].str.endswith(" CE")]
assert (fraction["verdict"] != "ahead").all()  # on the digits nowhere

# %%
starts = {"mixture": ("0.1", "#0072B2"), "mixture_half": ("0.5", "#D55E00")}
learned = on_digits[on_digits["method"].isin(list(starts))]
ends = {}
fig, axes = plt.subplots(1, max(learned["condition"].nunique(), 1), figsize=(7.0, 2.7), sharey=True, squeeze=False)
for ax, (noise, part) in zip(axes[0], learned.groupby("condition"), strict=False):
    for run in part.itertuples():
        start, color = starts[run.method]
        ax.plot(range(1, run.epochs + 1), run.history["eps"], color=color, alpha=0.7)
        ends.setdefault(start, []).append(run.history["eps"][-1])
        assert run.history["eps"][-1] < float(start)
    if noise.startswith("symmetric"):
        ax.axhline(part["rate"].iloc[0] * 10 / 9, color="0.4", lw=0.8, ls=":")
    ax.set(title=noise, xlabel="epoch", ylim=(0, 1))
axes[0, 0].set_ylabel("learned fraction\n(dotted: the edge)")
text = " and ".join(f"from {start} to {np.median(values):.2f}" for start, values in ends.items())
figures.headline(fig, f"The learned fraction falls {text} (medians)")
if ends:
    save(fig, "fig08j_fraction", **source)
else:
    plt.close(fig)

# %% [markdown]
# ## 11 · Recorded: MNIST and CIFAR-10
#
# The question of this notebook: JAL-CE against CE at 80% symmetric and 40% asymmetric noise. Each under *both* weight
# decays, five seeds.
#
# > **Departure.** *(08-C, scale)* The published runs train an 8-layer network for 120 epochs on all 50,000 images of
# > CIFAR-10, with augmentation, and report 65.4% for JAL-CE and 19.7% for CE at 80% symmetric noise. Ours is a
# > network of two convolutions and two linear layers: 25 epochs on 5,000 images (MNIST), 15 epochs on 10,000 images
# > of an offline subset decoded from JPEG (CIFAR-10), no augmentation. Optimiser, learning rate, batch size, cosine
# > schedule, clipping and weight decays are the published ones. So the published *numbers* cannot recur here, and
# > what needs long training, such as memorising every wrong label, shows only in part.
#
# > **Our choice.** *(08-D, matched weight decay)* In the published code the runs with AMSE use L1 weight decay (5e-5
# > for CIFAR-10), the other losses L2 (1e-4): loss and decay change together. We run both losses under both. The
# > comparison at *equal* decay is the one that says something about the loss.
#
# > **Our choice.** *(08-E, no choosing on test labels)* Every number is that of the last epoch. No checkpoint,
# > constant or length of training was chosen by test labels; settings are published ones or were fixed by what two
# > cores can do.

# %%
core = [run.digest for run in label_runs.PROFILES["core"]()]
there = frame["digest"].isin(core).sum()
print(f"{there} of the {len(core)} records of the core study" + ("" if there == len(core) else ": INCOMPLETE"))

# %%
core_frame = frame[frame["digest"].isin(core)].copy()
source = {
    "parameters": {},
    "records": {label_runs.STUDY: core_frame["digest"].tolist()},
    "data": dict(zip(core_frame["dataset"], core_frame["data"], strict=True)),
}
keys = ["dataset", "condition", "method", "decay"]
summary = medians(core_frame.groupby(keys)["accuracy"])
summary["memorised"] = core_frame.groupby(keys)["memorised"].median()
if len(summary):
    save(summary, "table08a_medians", **source)
summary.round(3)

# %% [markdown]
# Accuracy on clean test labels, medians over seeds with bootstrap intervals of confidence `analysis.CONFIDENCE`.
# (Of five values such an interval is seldom wider than from the least to the largest, which covers the median with
# probability $1 - 2^{-4}$ at best.) `memorised` is the share of wrong training labels that the network predicts.
# Differences are paired: same noise, same initial weights, same batches.

# %%
comparisons = {
    "loss alone (both L2)": (("jal_ce", "l2"), ("ce", "l2")),
    "loss alone (both L1)": (("jal_ce", "l1"), ("ce", "l1")),
    "decay alone (both CE)": (("ce", "l1"), ("ce", "l2")),
    "decay alone (both JAL)": (("jal_ce", "l1"), ("jal_ce", "l2")),
    "as published (both change)": (("jal_ce", "l1"), ("ce", "l2")),
}
table = [paired(core_frame, *sides).assign(what=what) for what, sides in comparisons.items()]
table = pd.concat(table, ignore_index=True)[["dataset", "condition", "what", *label_results.COMPARED[2:]]]
if len(table):
    save(table, "table08b_differences", **source)
table.round(2)

# %%
conditions = sorted({(row.dataset, row.condition) for row in table.itertuples()}, reverse=True)
fig, axes = plt.subplots(1, max(len(conditions), 1), figsize=(7.0, 3.0), sharey=True, sharex=True, squeeze=False)
for ax, key in zip(axes[0], conditions, strict=False):
    part = table[(table["dataset"] == key[0]) & (table["condition"] == key[1])].set_index("what")
    for y, what in enumerate(list(comparisons)[::-1]):
        color = "#D55E00" if what.startswith("loss") else "0.45" if what.startswith("decay") else "#0072B2"
        if what in part.index:
            row = part.loc[what]
            ax.hlines(y, row["low"], row["high"], color=color, lw=1.8)
            ax.plot(row["difference"], y, "o", color=color, ms=5)
    ax.axvline(0, color="0.3", lw=0.8)
    ax.set_title("\n".join((key[0], *key[1].split())), fontsize=9.5)
    ax.set_yticks(range(len(comparisons)), list(comparisons)[::-1])
fig.supxlabel("accuracy, points (> 0: JAL-CE, or L1 decay, is ahead)", fontsize=9.5)
sizes = table["difference"].abs().groupby(table["what"].str.split().str[0]).max()
if {"loss", "decay"} <= set(sizes.index):
    moved = f"by up to {sizes['loss']:.1f} points, the decay alone by at most {sizes['decay']:.1f}"
    figures.headline(fig, f"The loss alone moves accuracy {moved}")
if len(table):
    save(fig, "fig08f_confound", **source)

# %% [markdown]
# How the runs got there: accuracy on clean test labels, and the share of wrong training labels that are repeated,
# epoch by epoch, at equal (L2) decay; medians over seeds.

# %%
matched = core_frame[core_frame["decay"] == "l2"]
shown_sets = sorted(matched["dataset"].unique(), reverse=True)
fig, axes = plt.subplots(2, 2, figsize=(7.0, 4.4), sharey="row", squeeze=False)
for (row, measure), (column, dataset) in itertools.product(enumerate(("accuracy", "memorised")), enumerate(shown_sets)):
    ax = axes[row, column]
    for (method, condition), part in matched[matched["dataset"] == dataset].groupby(["method", "condition"]):
        curve = 100 * np.median(np.array([history[measure] for history in part["history"]]), axis=0)
        look = {"ls": "-" if "sym" in condition[:3] else "--", "color": COLORS[method]}
        ax.plot(range(1, len(curve) + 1), curve, label=f"{NAMES[method]}, {condition}", **look)
    ax.set(title=dataset if row == 0 else None, ylabel="")
    ax.set_xlabel("epoch" if row else "")
axes[0, 0].set_ylabel("accuracy, %")
axes[1, 0].set_ylabel("wrong labels\nrepeated, %")
fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
if len(matched):
    last = 100 * matched.groupby(["method", "dataset", "condition"])["memorised"].median()
    texts = [f"{last[m].min():.0f} to {last[m].max():.0f} %" for m in ("ce", "jal_ce")]
    figures.headline(fig, f"In the end cross-entropy repeats {texts[0]} of the wrong labels, JAL-CE {texts[1]}")
    save(fig, "fig08g_curves", **source)

# %% [markdown]
# ## 12 · The verdict, computed
#
# JAL-CE against CE. "Ahead" means that the interval of the paired median difference at equal (L2) decay lies above
# zero, "behind" below; else it is "undecided".

# %%
fair = table[table["what"] == "loss alone (both L2)"]
for row in fair.sort_values(["dataset", "condition"], ascending=False).itertuples():
    interval = f"{row.difference:+.1f} points [{row.low:+.1f}, {row.high:+.1f}]"
    print(f"{row.dataset}, {row.condition}: {row.verdict}; {interval}, ahead in {row.ahead} of {row.seeds} seeds")

# %% [markdown]
# The claims of JAL's abstract, by all records above: five seeds, small networks, 1,137 to 10,000 images. That cannot
# refute a claim on large networks and long training.

# %% tags=["hide-input"]
claims = neighbours_08.rows(stored)
save(pd.DataFrame(claims), "table08g_ledger", records={label_runs.STUDY: frame["digest"].tolist()})
Markdown(neighbours_markdown(claims))

# %% [markdown]
# ## What to take away
#
# - Wrong labels are not outliers. What counts is the minimiser of the *expected* loss: cross-entropy repeats the
#   noise, MAE and AMSE with a high enough target predict the most frequent label ($a \ge 1/(w_m - w_n)$;
#   `height_for` gives $a$ for the noise you suspect).
# - AMSE is a weighted sum of MSE and MAE, to the last digit. Its robustness is MAE's; what JAL adds is an active part
#   that pulls where MAE does not.
# - The likelihood does not say how many labels are wrong: a learned fraction falls as the network memorises them. It
#   is ahead of CE in one condition of those run, human noise on CIFAR-10, and behind GCE there.
# - Right minimisers do not make fast learners. At a small scale the ranking depends on the noise, on the length of
#   training and on the decay; compare losses with everything else equal.
