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
# # 01 · The likelihood
#
# Correntropy losses resist outliers, but their shape and scale are set by hand and then kept. This notebook
# asks why they could not simply be learned, repairs what is in the way, and arrives at a probability density:
# the one whose negative log-likelihood is the adaptive log-correntropy loss (ALCL).
#
# **What you will do.** Watch a correntropy loss with a learnable bandwidth destroy itself. Average its kernel
# over the bandwidth instead, and normalise the result. Then take the density apart: normaliser, mixture,
# samples, moments, entropy, relatives, Fisher information. Finally recover its parameters from data, with
# standard errors that are right.
#
# **What you will learn.** Why $\log Z$ is no formality: it is what makes learning shape and scale possible. Why
# the loss may be negative. How well $n$ residuals can determine their own shape.
#
# **What you need.** Calculus, the Gamma and Beta functions, maximum likelihood. The rest is built here, in
# twelve theorems. Each has its assumptions, its proof, and a check that runs when the notebook does, against an
# oracle that does not share the proof's formula: quadrature, arbitrary precision, simulation, SciPy.

# %% tags=["parameters"]
seed = 0
replications = 200  # simulated data sets behind the standard errors of Section 9
sample_size = 2000  # residuals in each

# %%
from alcl.parameters import check_parameters

check_parameters(["seed", "replications", "sample_size"], "01_likelihood")

# %%
import math
from itertools import pairwise

import matplotlib.pyplot as plt
import mpmath
import numpy as np
import pandas as pd
import sympy
import torch
from scipy import integrate, optimize, special, stats

from alcl import figures
from alcl.densities import GeneralizedT, log_normalizer
from alcl.losses import alcl_loss, generalized_correntropy_loss, log_correntropy

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
figures.use_theme()

# %% [markdown]
# ## 1 · Correntropy, and why its bandwidth is set by hand
#
# Write $e$ for a residual, prediction minus target; $\beta > 0$ for a scale in the same units; $u = e/\beta$;
# and $\alpha > 0$ for a shape. *Generalized correntropy* (Chen, Xing, Zhao, Zheng and Príncipe, IEEE
# Transactions on Signal Processing 64(13), 2016) measures how similar prediction and target are by the average
# of the kernel $\exp(-|u|^\alpha)$; classical correntropy has $\alpha = 2$. As a loss,
#
# $$ \mathrm{GCL} = \frac1n \sum_{i=1}^n \bigl(1 - \exp(-|e_i/\beta|^\alpha)\bigr). $$
#
# A residual far outside the kernel costs 1 and no more, so an outlier cannot buy the fit. Everything hangs on
# $\beta$: too narrow, and most data count as outliers; too wide, and none do. The obvious wish is to let
# gradient descent choose $\beta$ together with the network.
#
# > **The paper (abstract).** It notes that correntropy objectives have kernel parameters that are tuned
# > empirically and stay static in training, and proposes a loss whose *shape* and *scale* are learned jointly
# > with the network's weights. The abstract is all of the paper that this project knows: the mathematics below
# > is a reconstruction.
#
# With GCL itself the wish fails, in every obvious form.

# %% [markdown]
# **Theorem L1** (a learned correntropy bandwidth is degenerate).
#
# *Assumptions.* $\alpha > 0$; residuals $e_1, \dots, e_n$, not all zero.
#
# (a) $\beta \mapsto \mathrm{GCL}$ is strictly decreasing on $(0, \infty)$ and tends to $0$ as
# $\beta \to \infty$. There is no minimiser, and the infimum is $0$ whether or not anything has been fitted.
#
# (b) For a single residual, $\exp(-\mathrm{GCL}(e))$ is not integrable: no constant makes the loss a negative
# log-likelihood.
#
# (c) Chen et al. give the kernel a constant, $\gamma = \alpha / (2\beta\,\Gamma(1/\alpha))$. Keep it, and
# minimise $J(\beta) = -\frac{\gamma}{n}\sum_i \exp(-|e_i/\beta|^\alpha)$. Then $\inf_\beta J \to -\infty$ as
# *one* residual tends to $0$, whatever the others are.
#
# *Proof.* (a) For $e \neq 0$ the derivative of $1 - \exp(-|u|^\alpha)$ in $\beta$ is
# $-\frac{\alpha}{\beta}|u|^\alpha \exp(-|u|^\alpha) < 0$; for $e = 0$ the term is $0$ at every $\beta$. As
# $\beta \to \infty$ every $|u_i|^\alpha \to 0$, and with it every term. (b) Since $\mathrm{GCL}(e) < 1$,
# $\exp(-\mathrm{GCL}(e)) > 1/\mathrm{e}$ on the whole line, and that has no finite integral. (c) All terms of
# $J$ have the same sign, so at $\beta = |e_1|$ it is at most
# $-\alpha / (2\,\mathrm{e}\,n\,\Gamma(1/\alpha)\,|e_1|)$, which tends to $-\infty$ as $e_1 \to 0$.
# $\blacksquare$
#
# *Executed check.* Four fifths of the data lie near 0, one fifth are outliers near 5. Gradient descent learns a
# location and the bandwidth, once with GCL and once with ALCL, which Sections 2 and 3 derive.

# %%
torch.manual_seed(seed)
data = torch.cat([0.1 * torch.randn(800), 5 + 0.5 * torch.randn(200)])


def descend(loss, steps=800):
    location, log_beta = torch.zeros(()).requires_grad_(), torch.zeros(()).requires_grad_()
    optimizer, path = torch.optim.Adam([location, log_beta], lr=0.03), []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss(location.expand_as(data), data, 2.0, log_beta.exp())
        value.backward()
        optimizer.step()
        path.append([value.item(), location.item(), math.exp(log_beta.item())])
    return np.array(path).T


with_gcl, with_alcl = descend(generalized_correntropy_loss), descend(alcl_loss)

# %% tags=["nbval-check-output"]
# check: L1
loss, location, beta = with_gcl
assert (np.diff(beta) > 0).all()  # (a): it never turns back
assert beta[-1] > 100 * beta[0]
assert loss[-1] < 1e-2
assert abs(location[-1] - data.mean()) < 0.01
for half_width in (10, 100, 1000):  # (b): the integral grows with the interval
    mass, _ = integrate.quad(lambda e: math.exp(math.expm1(-(e**2))), 0, half_width, points=[1, 5], limit=200)
    assert 2 * mass > 2 * half_width / math.e
print(f"data: mean {data.mean():.2f}, median {data.median():.2f}")
print(f"GCL,  bandwidth learned: location {location[-1]:.2f}, bandwidth still growing")
print(f"ALCL, scale learned:     location {abs(with_alcl[1][-1]):.2f}, scale {with_alcl[2][-1]:.2f}, settled")
assert abs(with_alcl[1][-1]) < 0.02
assert abs(with_alcl[2][-1] / with_alcl[2][-200] - 1) < 1e-3

# %% [markdown]
# As the bandwidth runs away the kernel flattens, GCL turns into a tiny multiple of the squared error, and the
# location drifts to the mean: the loss has unlearned the one thing it was chosen for. Part (c) is the opposite
# failure, and no better: the bandwidth closes in on whichever residual is smallest and forgets the rest.

# %%
# part (c): one residual shrinks, the data stay as they are
grid = np.geomspace(1e-7, 10, 4000)
for nearest in (1e-2, 1e-4, 1e-6):
    e = np.append(data, nearest)
    objective = [-np.exp(-((e / b) ** 2)).mean() / (b * math.sqrt(math.pi)) for b in grid]
    bound = -1 / (math.sqrt(math.pi) * math.e * len(e) * nearest)
    assert min(objective) <= bound * 0.99
    print(f"nearest residual {nearest:.0e}: best bandwidth {grid[np.argmin(objective)]:.1e}")

# %% [markdown]
# ## 2 · Average over the bandwidth
#
# Could we take the logarithm of the kernel, residual by residual, as one does with a likelihood? The kernel
# $\exp(-|u|^\alpha)$, normalised, is the generalized Gaussian density, and minus its logarithm is $|u|^\alpha$
# plus a constant. That is well posed in $\beta$, but the logarithm has undone the exponential, and the
# robustness with it: for $\alpha > 1$ the gradient grows without bound. We need a kernel that stays robust
# *after* the logarithm.
#
# Take the difficulty at its word: we do not know the bandwidth. So let it be random, and average the kernel
# over it. Multiply the rate $\beta^{-\alpha}$ by a random $\tau > 0$; in other words, let the bandwidth be
# $\beta\,\tau^{-1/\alpha}$. Knowing nothing of $\tau$ but its mean, the law of largest entropy is the
# exponential one. We take the Gamma family around it; its member $\kappa = 1$ is the exponential.
#
# **Theorem L2** (bandwidth averaging).
#
# *Assumptions.* $\alpha, \beta, \kappa > 0$; $\tau \sim \mathrm{Gamma}(\kappa, 1)$.
#
# $$ \mathbb{E}_\tau \exp(-\tau |u|^\alpha) = \bigl(1 + |u|^\alpha\bigr)^{-\kappa}, \qquad\text{so}\qquad
# \rho(e) := -\log \mathbb{E}_\tau \exp(-\tau |e/\beta|^\alpha) = \kappa \log\bigl(1 + |e/\beta|^\alpha\bigr). $$
#
# *Proof.* With $w = |u|^\alpha$, substitute $s = (1 + w)\tau$ in
# $\int_0^\infty \exp(-\tau w)\, \tau^{\kappa - 1} \exp(-\tau)\, d\tau / \Gamma(\kappa)$. It becomes
# $(1 + w)^{-\kappa} \int_0^\infty s^{\kappa-1} \exp(-s)\, ds / \Gamma(\kappa) = (1 + w)^{-\kappa}$.
# $\blacksquare$
#
# *Executed check.* The integral by SymPy, by quadrature (in $\log\tau$), and by Monte Carlo; the loss is the
# library's.

# %% tags=["nbval-check-output"]
# check: L2
tau, w, k = sympy.symbols("tau w kappa", positive=True)
average = sympy.integrate(sympy.exp(-tau * w) * tau ** (k - 1) * sympy.exp(-tau) / sympy.gamma(k), (tau, 0, sympy.oo))
assert sympy.simplify(average - (1 + w) ** (-k)) == 0
print("SymPy:", sympy.simplify(average))
rng = np.random.default_rng(seed)
for alpha, beta, kappa, e in [(2.0, 1.0, 1.0, 0.7), (1.3, 0.1, 0.4, 3.0), (5.0, 2.0, 2.5, -2.8)]:
    rho = float(log_correntropy(torch.tensor(e), alpha, beta, kappa))
    rate = abs(e / beta) ** alpha
    s = np.linspace(-120, 6, 4001)  # log(tau)
    by_quadrature = integrate.trapezoid(np.exp(kappa * s - (1 + rate) * np.exp(s)), s) / special.gamma(kappa)
    draws = np.exp(-rng.gamma(kappa, size=200_000) * rate)
    assert abs(by_quadrature - math.exp(-rho)) < 1e-9
    assert abs(draws.mean() - math.exp(-rho)) < 4 * draws.std() / len(draws) ** 0.5
    print(f"alpha={alpha}, beta={beta}, kappa={kappa}, e={e}: averaged kernel {by_quadrature:.6f}")

# %% [markdown]
# > **Our choice.** *(01-A, the residual model)* The abstract fixes "a logarithmic residual model" with
# > learnable shape and scale, and an influence function that is bounded and redescends. We take
# > $\rho(e) = \kappa\log(1 + |e/\beta|^\alpha)$, because it is minus the log of a correntropy kernel with its
# > bandwidth integrated out, and because it has the stated properties (notebook 02). Other logarithmic models
# > would fit those words too.
#
# > **Departure.** *(01-B, the tail weight)* The abstract speaks of shape and scale only, so the paper's loss is
# > read as $\kappa = 1$, exponential $\tau$. The third parameter $\kappa$ is our extension. It separates the
# > tail from the shape near zero, brings Student's t into the family, and as $\kappa \to \infty$ returns the
# > generalized Gaussian (Theorem L10). It is off unless asked for.
#
# What has averaging done? One kernel per bandwidth is a parabola after the logarithm, or some $|u|^\alpha$;
# their average follows the widest kernels in the tail, and that envelope is a logarithm.

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(7.0, 2.9))
u = np.linspace(0, 6, 400)
for level in (0.1, 0.3, 0.5, 0.7, 0.9):
    rate = stats.expon.ppf(level)
    left.plot(u, np.exp(-rate * u**2), color=figures.COLORS["gcl"], linewidth=1, alpha=0.55)
    right.plot(u, rate * u**2, color=figures.COLORS["gcl"], linewidth=1, alpha=0.55)
left.plot(u, 1 / (1 + u**2), color=figures.COLORS["alcl"], linewidth=2.4)
right.plot(u, np.log1p(u**2), color=figures.COLORS["alcl"], linewidth=2.4)
left.set(xlabel="|u|", ylabel="kernel", xlim=(0, 6), ylim=(0, 1.02))
right.set(xlabel="|u|", ylabel="minus its logarithm", xlim=(0, 6), ylim=(0, 10))
left.text(2.55, 0.62, "kernels exp(−τu²),\nτ exponential", color=figures.COLORS["gcl"])
arrow = {"arrowstyle": "-", "color": figures.COLORS["alcl"], "linewidth": 0.8}
left.annotate("their average,\n1 / (1 + u²)", (3.0, 0.1), (3.9, 0.3), color=figures.COLORS["alcl"], arrowprops=arrow)
right.text(0.12, 8.2, "parabolas\nτu²", color=figures.COLORS["gcl"])
right.text(3.75, 3.5, "log(1 + u²)", color=figures.COLORS["alcl"])
fig.suptitle("Averaging over an unknown bandwidth bends parabolas into a logarithm")
_ = figures.save(fig, "fig01b_bandwidth_averaging", notebook="01_likelihood")

# %% [markdown]
# ## 3 · Normalise it
#
# Averaging makes the loss robust after the logarithm, but alone it does not cure the runaway: as
# $\beta \to \infty$, $u \to 0$ and $\rho$ decreases to 0 as well. What stops $\beta$ is the price of a wide
# density.
#
# **Theorem L3** (the density and its normaliser).
#
# *Assumptions.* $\alpha, \beta, \kappa > 0$.
#
# $\exp(-\rho(e)) = (1 + |e/\beta|^\alpha)^{-\kappa}$ is integrable if and only if $\kappa\alpha > 1$, and then
#
# $$ p(e) = \frac{(1 + |e/\beta|^\alpha)^{-\kappa}}{Z}, \qquad
# Z = \frac{2\beta}{\alpha}\, B\!\Bigl(\frac1\alpha,\, \kappa - \frac1\alpha\Bigr); \qquad
# \kappa = 1:\quad Z = \frac{2\pi\beta}{\alpha\,\sin(\pi/\alpha)}. $$
#
# *Proof.* By symmetry and $t = (e/\beta)^\alpha$, for which $de = \frac{\beta}{\alpha} t^{1/\alpha - 1} dt$,
#
# $$ \int_{-\infty}^{\infty} \bigl(1 + |e/\beta|^\alpha\bigr)^{-\kappa} de
# = \frac{2\beta}{\alpha} \int_0^\infty t^{1/\alpha - 1} (1 + t)^{-\kappa}\, dt. $$
#
# The integrand behaves like $t^{1/\alpha - 1}$ at $0$, always integrable, and like
# $t^{-1 - (\kappa - 1/\alpha)}$ at infinity, integrable iff $\kappa > 1/\alpha$. The integral is Euler's second
# form of $B(1/\alpha, \kappa - 1/\alpha)$. For $\kappa = 1$ it is
# $\Gamma(1/\alpha)\,\Gamma(1 - 1/\alpha) = \pi/\sin(\pi/\alpha)$ by reflection. $\blacksquare$
#
# This is the *generalized t* density of McDonald and Newey (Econometric Theory 4(3), 1988). Throughout,
#
# $$ a = 1/\alpha, \qquad b = \kappa - 1/\alpha, \qquad a + b = \kappa. $$
#
# *Executed check.* The $t$-integral by SymPy; the original integral in $e$ by mpmath to 30 digits; the library
# in float64.

# %% tags=["nbval-check-output"]
# check: L3
t, a_, b_ = sympy.symbols("t a b", positive=True)
euler = sympy.integrate(t ** (a_ - 1) * (1 + t) ** (-a_ - b_), (t, 0, sympy.oo), conds="none")
assert sympy.simplify(euler - sympy.gamma(a_) * sympy.gamma(b_) / sympy.gamma(a_ + b_)) == 0
mpmath.mp.dps = 40
for alpha, beta, kappa in [("2", "1", "1"), ("1.2", "0.05", "1"), ("4", "3", "0.6"), ("1.7", "100", "8")]:
    A, B, K = mpmath.mpf(alpha), mpmath.mpf(beta), mpmath.mpf(kappa)
    # e = B exp(s): the integrand then decays exponentially on both sides
    integrand = lambda s, A=A, K=K: mpmath.exp(s) * (1 + mpmath.exp(A * s)) ** -K  # noqa: E731
    by_quadrature = 2 * B * mpmath.quad(integrand, mpmath.linspace(-120, 500, 63))
    closed = 2 * B / A * mpmath.beta(1 / A, K - 1 / A)
    assert abs(by_quadrature / closed - 1) < mpmath.mpf(10) ** -30
    if kappa == "1":
        assert abs(2 * mpmath.pi * B / (A * mpmath.sin(mpmath.pi / A)) / closed - 1) < mpmath.mpf(10) ** -35
    library = log_normalizer(torch.tensor(float(alpha)), float(beta), float(kappa))
    assert abs(float(library) - float(mpmath.log(closed))) < 1e-13
    print(f"alpha={alpha}, beta={beta}, kappa={kappa}: Z = {mpmath.nstr(closed, 30)}")

# %% [markdown]
# The negative log-likelihood of one residual, and so the loss, is
#
# $$ -\log p(e) = \kappa \log\bigl(1 + |e/\beta|^\alpha\bigr) + \log Z(\alpha, \beta, \kappa). $$
#
# > **Our choice.** *(01-C, the normaliser is part of the loss)* The abstract promises a maximum likelihood
# > formulation. We take it literally: $\log Z$ belongs to the loss. While $\alpha$ and $\beta$ are constants it
# > changes nothing for the network; once they are learned, nothing else holds them (notebook 03 removes it and
# > watches).
#
# > **Our choice.** *(01-D, one density for all residuals)* The loss adds up over pixels and images, so it is
# > the likelihood of *independent, identically distributed* residuals, centred at the prediction. Errors of
# > neighbouring pixels are not independent. Point estimates remain meaningful, as those of a composite
# > likelihood do, but the standard errors of Section 9 are for independent residuals, and we claim them for
# > nothing else. The density is symmetric about zero: location is the network's business.
#
# > **Our choice.** *(01-E, the scale's coordinate)* We write the scale as $\beta$, in the residual's units,
# > instead of the rate $\lambda = \beta^{-\alpha}$ of Chen et al., whose units change as $\alpha$ is learned.
#
# What keeps $\alpha$ where the density exists? For $\kappa = 1$ that is $\alpha > 1$. The normaliser itself.

# %% [markdown]
# **Theorem L4** (the normaliser is a barrier).
#
# *Assumptions.* $\kappa > 0$ fixed; $L(\alpha, \beta)$ is the mean negative log-likelihood of residuals
# $e_1, \dots, e_n$; $\alpha > 1/\kappa$.
#
# (a) As $\kappa\alpha \downarrow 1$ with $\kappa$ and $\beta$ fixed,
# $\log Z = \log(2\beta) - \log(\kappa\alpha - 1) + o(1)$: the logarithmic barrier of interior-point methods.
#
# (b) $L(\alpha, \beta) \ge \log Z(\alpha, \beta)$. So with a floor under the scale, $\beta \ge \beta_{\min}$,
# the loss tends to $+\infty$ as $\alpha \downarrow 1/\kappa$, whatever the residuals.
#
# (c) Without a floor, if no residual is zero, then as $\alpha \downarrow 1/\kappa$
#
# $$ \inf_\beta L(\alpha, \beta) \ \ge\ \frac1n\sum_i \log|e_i| +
# \log\Bigl[\frac2\alpha B\Bigl(\frac1\alpha, \kappa - \frac1\alpha\Bigr)\Bigr] \ \to\ +\infty. $$
#
# *Proof.* (a) $B(a, b) = \Gamma(a)\,\Gamma(b+1) / (b\,\Gamma(a + b))$, and as $b \to 0$ with $a \to \kappa$ the
# Gamma functions cancel: $B(a, b) \sim 1/b$. Here $b = (\kappa\alpha - 1)/\alpha$, so
# $Z \sim \frac{2\beta}{\alpha} \cdot \frac{\alpha}{\kappa\alpha - 1}$. (b) $\rho \ge 0$, and $Z$ increases with
# $\beta$; then (a). (c) Because $\kappa\alpha > 1$, we have
# $\kappa\log(1 + |u|^\alpha) \ge \kappa\alpha \max(0, \log|u|) \ge \max(0, \log|e| - \log\beta)$. Adding
# $\log\beta$ gives $\max(\log\beta, \log|e|) \ge \log|e|$: the bound holds for every $\beta$. It tends to
# infinity by (a). $\blacksquare$
#
# *Executed check.* Data whose tails are heavier than any member of the family with $\kappa = 1$ and, say,
# $\alpha = 1.1$: Student's t with a twentieth of a degree of freedom. They pull the shape down; it stops short
# of 1.

# %% tags=["nbval-check-output"]
# check: L4
heavy = torch.tensor(stats.t(0.05).rvs(4000, random_state=seed))
shapes = 1 + np.geomspace(1e-6, 0.5, 25)
profile, bound = [], []
for alpha in shapes:
    best = GeneralizedT.fit(heavy, learn="beta", alpha=alpha)
    profile.append(-float(best.log_prob(heavy).mean()))
    assert profile[-1] >= log_normalizer(best.alpha, best.beta)  # (b)
    bound.append(float(heavy.abs().log().mean() + math.log(2 / alpha * special.beta(1 / alpha, 1 - 1 / alpha))))
assert (np.array(profile) >= bound).all()  # (c)
assert 0 < np.argmin(profile) < len(shapes) - 1  # an interior minimum
assert (np.diff(profile)[: np.argmin(profile)] < 0).all()
for shape in (1 + 1e-3, 1 + 1e-6, 1 + 1e-9):  # (a)
    assert abs(float(log_normalizer(torch.tensor(shape), 3.0)) - math.log(6 / (shape - 1))) < 2 * (shape - 1)
fitted = GeneralizedT.fit(heavy, learn=("alpha", "beta"), alpha=1.2)
print(f"tail index of the data 0.05, fitted alpha {fitted.alpha:.3f}: close to 1, and above it")

# %% [markdown]
# Part (c) needs residuals that are not zero, and that is no technicality: residuals that are *exactly* zero,
# more than a fraction $1 - 1/(\kappa\alpha)$ of them, make the likelihood unbounded as $\beta \to 0$. Clipped
# images do this. Notebook 03 states the theorem, shows the collapse, and compares the cures. For continuous
# data it does not arise.
#
# ## 4 · What the density assumes about noise
#
# Section 2 averaged a *kernel*. Averaging a *density* is a different statement, since the generalized Gaussian
# carries a normaliser that depends on $\tau$. It holds too, with another Gamma law, and it says what kind of
# noise the loss expects.
#
# **Theorem L5** (scale mixture).
#
# *Assumptions.* $\kappa\alpha > 1$.
#
# If $\tau \sim \mathrm{Gamma}(\kappa - 1/\alpha,\, 1)$, and given $\tau$ the residual is generalized Gaussian
# with shape $\alpha$ and scale $\beta\,\tau^{-1/\alpha}$, then the residual has the density $p$ of Theorem L3.
#
# *Proof.* The generalized Gaussian with scale $s$ is
# $\frac{\alpha}{2 s\,\Gamma(1/\alpha)} \exp(-|e/s|^\alpha)$. With $s = \beta\tau^{-1/\alpha}$ its constant
# brings in a factor $\tau^{1/\alpha}$, which lifts the Gamma exponent from $\kappa - 1/\alpha - 1$ to
# $\kappa - 1$:
#
# $$ \frac{\alpha}{2\beta\,\Gamma(\frac1\alpha)\,\Gamma(\kappa - \frac1\alpha)}
# \int_0^\infty \tau^{\kappa - 1} \exp\bigl(-\tau(1 + |u|^\alpha)\bigr)\, d\tau
# = \frac{\alpha}{2\beta}\,\frac{\Gamma(\kappa)}{\Gamma(\frac1\alpha)\,\Gamma(\kappa - \frac1\alpha)}\,
# (1 + |u|^\alpha)^{-\kappa} = p(e). \qquad\blacksquare $$
#
# So the model is noise of one shape whose *precision* $\tau$ *varies* from residual to residual: small $\tau$,
# strong noise. With $\alpha = 2$ it is Gaussian noise with a random variance, the classical construction of
# Student's t.
#
# *Executed check.* The mixture integral, built from SciPy's own generalized Gaussian and Gamma densities; then
# a simulation of the two-stage recipe, tested against the closed-form distribution function
# (Kolmogorov-Smirnov).

# %% tags=["nbval-check-output"]
# check: L5
for alpha, beta, kappa in [(2.0, 1.0, 1.0), (1.3, 0.2, 1.0), (3.0, 5.0, 2.0)]:
    density, mixing = GeneralizedT(alpha, beta, kappa), stats.gamma(kappa - 1 / alpha)
    for e in (0.0, 0.3 * beta, 4 * beta):

        def integrand(s, e=e, alpha=alpha, beta=beta, mixing=mixing):  # tau = exp(s)
            tau = math.exp(s)
            return stats.gennorm.pdf(e, alpha, scale=beta * tau ** (-1 / alpha)) * mixing.pdf(tau) * tau

        mixture, _ = integrate.quad(integrand, -60, 6, limit=300)
        assert abs(mixture / float(density.log_prob(torch.tensor(e)).exp()) - 1) < 1e-6
    precision = mixing.rvs(50_000, random_state=seed)
    noise = stats.gennorm.rvs(alpha, scale=beta * precision ** (-1 / alpha), size=50_000, random_state=seed + 1)
    p_value = stats.kstest(noise, lambda e, d=density: d.cdf(torch.as_tensor(e)).numpy()).pvalue
    assert p_value > 1e-3
    print(f"alpha={alpha}, beta={beta}, kappa={kappa}: mixture integral agrees; KS test passed")

# %% [markdown]
# If every residual has its own precision $\tau$, we may ask what a residual tells us about it.
#
# **Theorem L6** (posterior precision; EM).
#
# *Assumptions.* The mixture of Theorem L5, with $\alpha$ and $\kappa$ fixed.
#
# (a) Given $e$, $\tau \sim \mathrm{Gamma}(\kappa,\ \text{rate } 1 + |u|^\alpha)$, with mean
# $w(e) = \kappa / (1 + |e/\beta|^\alpha)$.
#
# (b) The loss's gradient is the generalized Gaussian's, times that mean:
# $\rho'(e) = w(e)\,\frac{d}{de}|e/\beta|^\alpha$ for $e \neq 0$.
#
# (c) With weights $w_i$ computed at the current parameters, the step
# $\beta^\alpha \leftarrow \frac{\alpha}{n}\sum_i w_i |e_i|^\alpha$ never lowers the likelihood; nor does any
# change of the predictions that lowers $\sum_i w_i|e_i|^\alpha$.
#
# *Proof.* (a) As a function of $\tau$, the integrand of Theorem L5 is
# $\tau^{\kappa-1}\exp(-\tau(1 + |u|^\alpha))$. (b) $\rho' = \kappa\,(|u|^\alpha)' / (1 + |u|^\alpha)$. (c) The
# terms of the joint log density of $(e, \tau)$ that depend on predictions and scale are
# $-\log\beta - \tau|e/\beta|^\alpha$. They are linear in $\tau$, so their posterior mean, summed over
# residuals, is $Q = -n\log\beta - \sum_i w_i|e_i/\beta|^\alpha$. Setting $\partial Q/\partial\beta = 0$ gives
# the step, the maximum of $Q$ since $Q \to -\infty$ at both ends. By Jensen's inequality the log-likelihood
# rises by at least as much as $Q$ does: with primes for the new parameters,
#
# $$ \log\frac{p'(e)}{p(e)} = \log \mathbb{E}\Bigl[\frac{p'(e, \tau)}{p(e, \tau)} \,\Big|\, e\Bigr]
# \ge \mathbb{E}\Bigl[\log\frac{p'(e, \tau)}{p(e, \tau)} \,\Big|\, e\Bigr]. \qquad\blacksquare $$
#
# *Executed check.* The posterior mean by Bayes' rule and quadrature; gradients by autograd; EM for the scale,
# which must climb monotonically to the maximum that a derivative-free optimiser finds.

# %% tags=["nbval-check-output"]
# check: L6
alpha, beta, kappa = 1.5, 0.7, 1.2
mixing, taus = stats.gamma(kappa - 1 / alpha), np.exp(np.linspace(-40, 5, 20_000))
for e in (0.2, 1.0, 9.0):
    posterior = stats.gennorm.pdf(e, alpha, scale=beta * taus ** (-1 / alpha)) * mixing.pdf(taus) * taus
    weight = kappa / (1 + (e / beta) ** alpha)
    assert abs((posterior * taus).sum() / posterior.sum() / weight - 1) < 1e-9
    x = torch.tensor(e, requires_grad=True)
    slope, power = (torch.autograd.grad(f, x)[0] for f in (log_correntropy(x, alpha, beta, kappa), (x / beta) ** alpha))
    assert abs(float(slope / power) - weight) < 1e-12
    print(f"residual {e / beta:5.2f} scales out: posterior mean precision {weight:.3f}")

# %%
# part (c)
torch.manual_seed(seed)
e = GeneralizedT(alpha, beta, kappa).sample((5000,))
scale, likelihood = 20.0, []
for _ in range(200):
    likelihood.append(float(GeneralizedT(alpha, scale, kappa).log_prob(e).mean()))
    weights = kappa / (1 + (e.abs() / scale) ** alpha)
    scale = float((alpha * (weights * e.abs() ** alpha).mean()) ** (1 / alpha))
assert (np.diff(likelihood) > -1e-13).all()
search = optimize.minimize_scalar(
    lambda s: -float(GeneralizedT(alpha, math.exp(s), kappa).log_prob(e).mean()),
    bounds=(-5, 5),
    options={"xatol": 1e-9},
)
assert abs(scale / math.exp(search.x) - 1) < 1e-5

# %% [markdown]
# So the loss weights each residual by the precision it seems to have, given its size. That is (b) in words: an
# outlier is read as a residual from a very noisy pixel. Notebook 02 turns the same weights into iteratively
# reweighted least squares.
#
# ## 5 · Draw from it, and measure its tails
#
# One substitution opens everything else: $v = |u|^\alpha / (1 + |u|^\alpha)$, the fraction of the denominator
# that the residual supplies. It runs from 0 (a perfect prediction) to 1 (an outlier), and
# $1 - v = w(e)/\kappa$.
#
# **Theorem L7** (the Beta law behind the density).
#
# *Assumptions.* $\kappa\alpha > 1$; $e \sim p$.
#
# $v \sim \mathrm{Beta}(a, b)$ with $a = 1/\alpha$, $b = \kappa - 1/\alpha$, and $v$ is independent of the sign
# of $e$, which is fair. Hence $|e| = \beta\,(v/(1 - v))^{1/\alpha}$ with a random sign is an exact sampler, and
#
# $$ P(\text{residual} \le e) = \tfrac12 + \tfrac12\,\mathrm{sign}(e)\, I_{v(e)}(a, b), $$
#
# where $I$ is the regularized incomplete Beta function.
#
# *Proof.* By the substitution of Theorem L3, $t = |u|^\alpha$ has density $t^{a-1}(1 + t)^{-(a+b)}/B(a, b)$.
# With $t = v/(1-v)$, $1 + t = 1/(1-v)$ and $dt = dv/(1-v)^2$ it becomes
# $v^{a-1}(1-v)^{-(a-1) + (a + b) - 2}/B(a, b) = v^{a-1}(1-v)^{b-1}/B(a, b)$. The density is even, so the sign
# is fair and independent of $|e|$. As $v$ increases with $|e|$,
# $P(|\text{residual}| \le |e|) = I_{v(e)}(a, b)$. $\blacksquare$
#
# *Executed check.* Samples, mapped to $v$, against SciPy's Beta law; the distribution function against an
# integral of the density; quantiles against their definition.


# %%
def integral(density, m, low, high):
    """Of |e|^m p(e) over low < |e| < high: Simpson's rule in log|e|."""
    s = np.linspace(math.log(low), math.log(high), 20_001)
    log_p = density.log_prob(torch.as_tensor(np.exp(s))).numpy()
    return 2 * integrate.simpson(np.exp((m + 1) * s + log_p), x=s)


# %% tags=["nbval-check-output"]
# check: L7
torch.manual_seed(seed)
for alpha, beta, kappa in [(2.0, 1.0, 1.0), (1.2, 0.01, 1.0), (6.0, 10.0, 0.5), (1.5, 1.0, 4.0)]:
    density = GeneralizedT(alpha, beta, kappa)
    samples = density.sample((20_000,)).numpy()
    v = special.expit(alpha * np.log(np.abs(samples) / beta))
    assert stats.kstest(v, stats.beta(1 / alpha, kappa - 1 / alpha).cdf).pvalue > 1e-3
    assert abs(stats.spearmanr(v, np.sign(samples)).statistic) < 4 / len(samples) ** 0.5
    for level in (0.6, 0.9, 0.995):
        quantile = float(density.icdf(torch.tensor(level)))
        assert abs(0.5 + 0.5 * integral(density, 0, 1e-20 * beta, quantile) - level) < 1e-8
    print(f"alpha={alpha}, kappa={kappa}: 99% of residuals within {quantile / beta:.3g} scales of the median")

# %% [markdown]
# > **Our choice.** *(01-F, sampling in logarithms)* A Beta variate within $10^{-16}$ of 1 is rounded to 1, and
# > with heavy tails that happens to many draws. The library draws $v/(1-v)$ as a ratio of two Gamma variates,
# > in logarithms. The law is that of Theorem L7; the rounding is gone.
#
# How heavy are the tails, and which moments exist?
#
# **Theorem L8** (tail index and moments).
#
# *Assumptions.* $\kappa\alpha > 1$; $m > -1$. Let $\nu = \kappa\alpha - 1$, the *tail index*.
#
# $P(|e| > x) \sim \frac{2\beta}{\nu Z}(x/\beta)^{-\nu}$ as $x \to \infty$. The moment $\mathbb{E}|e|^m$ is
# finite iff $m < \nu$, and then
#
# $$ \mathbb{E}|e|^m = \beta^m\, \frac{B\bigl(\frac{m+1}{\alpha},\ \kappa - \frac{m+1}{\alpha}\bigr)}
# {B\bigl(\frac1\alpha,\ \kappa - \frac1\alpha\bigr)}. $$
#
# *Proof.* As $x \to \infty$, $p(x) \sim (x/\beta)^{-\kappa\alpha}/Z$; integrate twice this from $x$ on. With
# $t = |u|^\alpha$,
# $\mathbb{E}|e|^m = \beta^m\int_0^\infty t^{m/\alpha}\, t^{a - 1}(1+t)^{-\kappa}dt / B(a, b)$. That is Theorem
# L3's integral with $a$ replaced by $(m+1)/\alpha$ and $\kappa$ unchanged, so it converges iff
# $\kappa > (m + 1)/\alpha$. $\blacksquare$
#
# For the paper's $\kappa = 1$ the tail index is $\alpha - 1$: there is a mean only for $\alpha > 2$ and a
# variance only for $\alpha > 3$. The Cauchy law sits at $\alpha = 2$. Nothing in the likelihood needs those
# moments.
#
# *Executed check.* Moments by quadrature of the density; the tail's slope; and at $m = \nu$ the divergence
# itself, each further decade of $|e|$ adding the same amount to the integral.

# %% tags=["nbval-check-output"]
# check: L8
for alpha, beta, kappa, m in [(4.0, 2.0, 1.0, 1.5), (2.0, 1.0, 3.0, 1.0), (1.5, 0.1, 1.0, 0.2), (1.5, 0.1, 1.0, -0.4)]:
    density = GeneralizedT(alpha, beta, kappa)
    tail_index = kappa * alpha - 1
    assert abs(integral(density, m, 1e-40, 1e60) / float(density.moment(m)) - 1) < 1e-7
    beyond = 2 * density.cdf(torch.tensor([-1e4 * beta, -1e5 * beta]))
    assert abs(math.log10(beyond[0] / beyond[1]) - tail_index) < 1e-3
    decades = [integral(density, tail_index, 10.0**d, 10.0 ** (d + 1)) for d in (6, 7, 8)]
    assert np.ptp(decades) < 1e-4 * decades[0]
    assert torch.isinf(density.moment(tail_index))
    print(
        f"alpha={alpha}, kappa={kappa}: tail index {tail_index:.1f}, E|e/beta|^{m} = {density.moment(m) / beta**m:.4f}"
    )

# %% [markdown]
# ## 6 · Why the loss may be negative
#
# Sooner or later a user sees the training loss cross zero and suspects a bug. There is none: a density is not a
# probability, and where it exceeds 1 its negative logarithm is below 0.
#
# **Theorem L9** (entropy, and the sign of the loss).
#
# *Assumptions.* $\kappa\alpha > 1$; residuals drawn from $p$. Write $\psi$ for the digamma function.
#
# The expected loss, at the parameters the residuals come from, is the entropy
#
# $$ h(\alpha, \beta, \kappa) = \log Z + \kappa\,\bigl[\psi(\kappa) - \psi(\kappa - \tfrac1\alpha)\bigr]
# = \log\beta + h(\alpha, 1, \kappa). $$
#
# It takes every real value as $\beta$ varies, and is negative iff $\beta < \exp(-h(\alpha, 1, \kappa))$. At any
# other parameters the expected loss is larger.
#
# *Proof.*
# $\mathbb{E}[-\log p] = \log Z + \kappa\,\mathbb{E}\log(1 + t) = \log Z - \kappa\,\mathbb{E}\log(1 - v)$. For
# $v \sim \mathrm{Beta}(a, b)$, $\mathbb{E}\log(1 - v) = \partial_b \log B(a, b) = \psi(b) - \psi(a + b)$. Since
# $Z$ is proportional to $\beta$, the rest does not involve it. The last sentence is Gibbs' inequality, strict
# because different parameters give different densities (Theorem L12). $\blacksquare$
#
# *Executed check.* The average loss of simulated residuals, and the entropy integral, against the closed form.

# %% tags=["nbval-check-output"]
# check: L9
torch.manual_seed(seed)
for alpha, beta, kappa in [(2.0, 1.0, 1.0), (2.0, 0.02, 1.0), (1.3, 0.02, 1.0), (5.0, 0.1, 2.0)]:
    density = GeneralizedT(alpha, beta, kappa)
    e = density.sample((200_000,))
    each = alcl_loss(e, torch.zeros_like(e), alpha, beta, kappa, reduction="none")
    assert abs(each.mean() - density.entropy()) < 4 * each.std() / len(e) ** 0.5
    s = np.linspace(-200, 700, 200_001)  # log|e / beta|
    log_p = density.log_prob(torch.as_tensor(beta * np.exp(np.minimum(s, 690)))).numpy()
    by_quadrature = integrate.trapezoid(-2 * beta * log_p * np.exp(s + log_p), s)
    assert abs(by_quadrature - float(density.entropy())) < 1e-6
    critical = beta * math.exp(-density.entropy())
    assert (
        GeneralizedT(alpha, 0.99 * critical, kappa).entropy()
        < 0
        < GeneralizedT(alpha, 1.01 * critical, kappa).entropy()
    )
    print(f"alpha={alpha}, kappa={kappa}, beta={beta}: mean loss {density.entropy():+.3f}, zero at beta {critical:.3f}")

# %% [markdown]
# Rescaling the data by a factor $c$ shifts the loss by $\log c$, so its zero means nothing. *Differences* of
# the loss on the same data do: they are log-likelihood ratios.
#
# ## 7 · Relatives
#
# Which familiar losses are inside the family, and which only on its boundary?
#
# **Theorem L10** (special and limiting cases).
#
# *Assumptions.* $\kappa\alpha > 1$; $s > 0$.
#
# (a) $\alpha = 2$ is Student's t with $2\kappa - 1$ degrees of freedom and t-scale $\beta/\sqrt{2\kappa - 1}$;
# with $\kappa = 1$, Cauchy with scale $\beta$.
#
# (b) $\kappa = 2/\alpha$ is the generalized Cauchy density of Carrillo, Aysal and Barner (2010); $\alpha = 1$ a
# two-sided Lomax (Pareto) law; $\kappa = 1 + 1/\alpha$ a two-sided Burr III law.
#
# (c) Let $\kappa \to \infty$ with $\beta = s\,\kappa^{1/\alpha}$. Then $p$ tends to the generalized Gaussian
# density with shape $\alpha$ and scale $s$: Laplace for $\alpha = 1$, Gaussian with standard deviation
# $s/\sqrt2$ for $\alpha = 2$. On bounded sets $\log p$ converges uniformly, with error $O(1/\kappa)$.
#
# (d) As $\beta \to \infty$ with $\alpha$ and $\kappa$ fixed, $\beta^\alpha\rho(e)/\kappa \to |e|^\alpha$: a
# very wide loss with $\alpha = 2$ is the squared error, up to a factor.
#
# *Proof.* (a) Student's t density is proportional to $(1 + e^2/(\nu s^2))^{-(\nu + 1)/2}$; match exponent and
# scale. Equal up to a constant, densities are equal. (b) is the same argument: generalized Cauchy is
# proportional to $(\beta^\alpha + |e|^\alpha)^{-2/\alpha}$, Lomax to $(1 + |e|/\beta)^{-\kappa}$, and Burr III
# with parameters $(\alpha, 1/\alpha)$ to
# $x^{-\alpha - 1}(1 + x^{-\alpha})^{-1 - 1/\alpha} = (1 + x^\alpha)^{-1 - 1/\alpha}$. (c) From
# $x - x^2/2 \le \log(1 + x) \le x$ with $x = |e/s|^\alpha/\kappa$,
# $0 \le |e/s|^\alpha - \rho(e) \le |e/s|^{2\alpha}/(2\kappa)$. And
# $Z = \frac{2s}{\alpha}\Gamma(\frac1\alpha)\cdot\kappa^{1/\alpha}\,\Gamma(\kappa - \frac1\alpha)/\Gamma(\kappa)$,
# where the last factor is $1 + O(1/\kappa)$ by Stirling's formula. (d) $\log(1 + x)/x \to 1$ as
# $x = |e/\beta|^\alpha \to 0$. $\blacksquare$
#
# *Executed check.* Log densities against SciPy and `torch.distributions`, which know nothing of our formula;
# for the limits, the error must fall tenfold when $\kappa$ grows tenfold.


# %%
def carrillo(x, p, sigma):
    """Log of the generalized Cauchy density, in the form of Carrillo, Aysal and Barner."""
    constant = p * special.gamma(2 / p) / (2 * special.gamma(1 / p) ** 2)
    return np.log(constant * sigma * (sigma**p + np.abs(x) ** p) ** (-2 / p))


e, half = np.linspace(0.05, 8, 160), math.log(2)  # Lomax and Burr live on the positive half-line
x = torch.as_tensor(e)
relatives = {
    "Cauchy": ((2, 1.3, 1), torch.distributions.Cauchy(0.0, 1.3).log_prob(x)),
    "Student-t, 5 degrees of freedom": ((2, 0.8 * 5**0.5, 3), torch.distributions.StudentT(5.0, 0.0, 0.8).log_prob(x)),
    "Student-t, 0.4 degrees of freedom": ((2, 0.8 * 0.4**0.5, 0.7), stats.t(0.4, scale=0.8).logpdf(e)),
    "generalized Cauchy": ((1.4, 0.6, 2 / 1.4), carrillo(e, 1.4, 0.6)),
    "two-sided Lomax": ((1, 1.3, 2.5), stats.lomax(1.5, scale=1.3).logpdf(e) - half),
    "two-sided Burr III": ((3, 1.3, 4 / 3), stats.burr(3, 1 / 3, scale=1.3).logpdf(e) - half),
}

# %%
# check: L10
# (a), (b): exact relatives
rows = []
for name, (parameters, oracle) in relatives.items():
    density = GeneralizedT(*(torch.tensor(float(value)) for value in parameters))
    assert np.abs(density.log_prob(x).numpy() - np.asarray(oracle)).max() < 1e-10
    rows.append([name, *(f"{value:.4g}" for value in parameters)])
pd.DataFrame(rows, columns=["agrees to 1e-10", "alpha", "beta", "kappa"]).set_index("agrees to 1e-10")

# %%
# check: L10
# (c): the error falls tenfold as kappa grows tenfold; (d): a wide loss is the squared error
limits = {"Laplace": (1, stats.laplace()), "Gaussian": (2, stats.norm(scale=0.5**0.5)), "cubic": (3, stats.gennorm(3))}
near = e[e < 2]
for name, (alpha, limit) in limits.items():
    gaps = []
    for kappa in (1e3, 1e4, 1e5):
        density = GeneralizedT(float(alpha), torch.tensor(kappa ** (1 / alpha)), kappa)
        gaps.append(np.abs(density.log_prob(torch.as_tensor(near)).numpy() - limit.logpdf(near)).max())
    assert all(9 < before / after < 11 for before, after in pairwise(gaps))
    print(
        f"{name:9} (alpha = {alpha}): largest gap in log p at kappa = 1e3, 1e4, 1e5:", *(f"{gap:.1e}" for gap in gaps)
    )
assert np.allclose(1e8 * log_correntropy(x, 2.0, 1e4).numpy(), e**2, rtol=1e-6)

# %% [markdown]
# The two shape parameters act at different ends. On the left the tail is the same for all, on the right the
# shape.

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(7.0, 3.2))
shades = plt.get_cmap("flare")(np.linspace(0.05, 0.95, 4))
u = torch.linspace(-3, 3, 801)
for alpha, shade in zip((1.0, 1.5, 2.5, 8.0), shades, strict=True):
    left.plot(u, GeneralizedT(alpha, 1.0, 2 / alpha).log_prob(u).exp(), color=shade, label=f"α = {alpha:g}")
left.set(xlabel="residual / scale", ylabel="density", xlim=(-3, 3), ylim=(0, 0.55))
left.set_title("Same tail index, 1")
left.legend(loc="upper right", handlelength=1.2, borderaxespad=0)
x = torch.logspace(-1, 3, 400)
for kappa, shade in zip((0.6, 1.0, 2.0, 4.0), shades, strict=True):
    survival = 2 * GeneralizedT(2.0, 1.0, kappa).cdf(-x)
    right.loglog(x[survival > 4e-7], survival[survival > 4e-7], color=shade, label=f"index {2 * kappa - 1:.2g}")
right.set(xlabel="x / scale", ylabel="P(|residual| > x)", xlim=(0.1, 1e3), ylim=(1e-7, 1.5))
right.set_title("Same shape, α = 2")
figures.direct_label(right)
fig.suptitle("α shapes the peak, κα − 1 sets the tail")
_ = figures.save(fig, "fig01a_density_family", notebook="01_likelihood")

# %% [markdown]
# ## 8 · How much a residual says about each parameter
#
# To learn the shape from data we should know how precisely data can determine it. The unit of that is Fisher
# information, the covariance of the *scores*, the derivatives of $\log p$. For a location $\theta$ (at $0$),
# $\alpha$, $\beta$ and $\kappa$, with $a, b, v$ as before:
#
# $$ s_\theta = \kappa\alpha\,\frac{v}{e}, \qquad
# s_\beta = \frac{\kappa\alpha v - 1}{\beta}, \qquad
# s_\alpha = -\kappa v\log|u| + a + a^2[\psi(a) - \psi(b)], \qquad
# s_\kappa = \log(1 - v) + \psi(\kappa) - \psi(b). $$
#
# Here $\psi$ is digamma, $\psi'$ trigamma, and $\log|u| = a \log\frac{v}{1-v}$, so all but the first are
# functions of $v$.
#
# **Theorem L11** (Fisher information).
#
# *Assumptions.* $\kappa\alpha > 1$; $\alpha > 1$ for the entries of the location, $\alpha > 0$ for the others.
#
# With $D = \psi(a + 1) - \psi(b)$, one residual carries
#
# $$ I_{\theta\theta} = \frac{\kappa^2\alpha^2}{\beta^2}\,\frac{B(2 - a,\ \kappa + a)}{B(a, b)}, \qquad
# I_{\theta\alpha} = I_{\theta\beta} = I_{\theta\kappa} = 0, $$
#
# $$ I_{\beta\beta} = \frac{\kappa\alpha - 1}{\beta^2(\kappa + 1)}, \qquad
# I_{\beta\kappa} = -\frac{1}{\beta\kappa}, \qquad
# I_{\kappa\kappa} = \psi'(b) - \psi'(\kappa), $$
#
# $$ I_{\alpha\beta} = -\frac{a\,(bD + \kappa)}{\beta(\kappa + 1)}, \qquad
# I_{\alpha\kappa} = a^2\Bigl[\psi'(b) + \frac{D}{\kappa}\Bigr], \qquad
# I_{\alpha\alpha} = \frac{a^3}{\kappa + 1}\Bigl[bD^2 + 2\kappa D +
# \kappa(a + 1)\bigl(\psi'(a + 1) + \psi'(b)\bigr)\Bigr], $$
#
# and the matrix of $(\alpha, \beta, \kappa)$ is nonsingular.
#
# *Proof.* *Location.* $s_\theta$ is odd in $e$ and the other scores are even, so their products integrate to
# zero. As $e^2 = \beta^2 (v/(1-v))^{2a}$,
# $\mathbb{E}s_\theta^2 = \frac{\kappa^2\alpha^2}{\beta^2}\mathbb{E}[v^{2 - 2a}(1-v)^{2a}]$, a ratio of Beta
# functions.
#
# *The rest.* Write $\mathbb{E}_{p,q}$ under $\mathrm{Beta}(p, q)$, and $\ell = \log\frac{v}{1-v}$. Two facts
# suffice. First, $v$ tilts: $\mathbb{E}_{a,b}[v f] = \frac{a}{\kappa}\mathbb{E}_{a+1,b}f$ and
# $\mathbb{E}_{a,b}[v^2 f] = \frac{a(a+1)}{\kappa(\kappa+1)}\mathbb{E}_{a+2,b}f$. Second, by differentiating
# $\log B(p, q)$, under $\mathrm{Beta}(p, q)$: $\mathbb{E}\log(1-v) = \psi(q) - \psi(p+q)$,
# $\mathbb{E}\,\ell = \psi(p) - \psi(q)$, $\mathrm{Var}\log(1-v) = \psi'(q) - \psi'(p+q)$,
# $\mathrm{Var}\,\ell = \psi'(p) + \psi'(q)$, $\mathrm{Cov}(\ell, \log(1-v)) = -\psi'(q)$. Recall also
# $\psi(x+1) = \psi(x) + 1/x$ and $\psi'(x+1) = \psi'(x) - 1/x^2$.
#
# - $\beta\beta$: $\mathrm{Var}\,v = \frac{ab}{\kappa^2(\kappa+1)}$, times $\kappa^2\alpha^2/\beta^2$.
# - $\kappa\kappa$: $\mathrm{Var}\log(1 - v)$.
# - $\beta\kappa$:
#   $\mathrm{Cov}(v, \log(1-v)) = \frac a\kappa\bigl[\psi(\kappa) - \psi(\kappa+1)\bigr] = -\frac{a}{\kappa^2}$,
#   times $\kappa\alpha/\beta$.
# - $\alpha\beta$: $\mathbb{E}[v^2\ell] = \frac{a(a+1)}{\kappa(\kappa+1)}\bigl(D + \frac1{a+1}\bigr)$ and
#   $\mathbb{E}[v]\,\mathbb{E}[v\ell] = \frac{a^2}{\kappa^2}D$, so
#   $\mathrm{Cov}(v\ell, v) = \frac{a}{\kappa^2(\kappa+1)}(bD + \kappa)$, times
#   $-\kappa a\cdot\kappa\alpha/\beta$.
# - $\alpha\kappa$:
#   $\mathbb{E}[v\ell\log(1-v)] = \frac a\kappa\bigl[D\,(\psi(b) - \psi(\kappa+1)) - \psi'(b)\bigr]$; less
#   $\mathbb{E}[v\ell]\,\mathbb{E}\log(1-v)$ it is $-\frac a\kappa\bigl[\frac D\kappa + \psi'(b)\bigr]$, times
#   $-\kappa a$.
# - $\alpha\alpha$: $\mathbb{E}[v^2\ell^2] = \frac{a(a+1)}{\kappa(\kappa+1)}\,\mathbb{E}_{a+2,b}\,\ell^2$ with
#   $\mathbb{E}_{a+2,b}\,\ell^2 = (D + \frac1{a+1})^2 + \psi'(a+1) - \frac1{(a+1)^2} + \psi'(b)$; less
#   $\frac{a^2}{\kappa^2}D^2$, times $\kappa^2a^2$.
#
# *Nonsingular.* Suppose $c_1 v\log|u| + c_2 v + c_3\log(1 - v) + c_4 = 0$ for all $u$. As $u \to 0$, all but
# $c_4$ vanish, so $c_4 = 0$; next $|u|^\alpha\log|u|$ dominates, so $c_1 = 0$. As $|u| \to \infty$, $\log(1-v)$
# is unbounded and $v$ is not, so $c_3 = 0$, and then $c_2 = 0$. The scores are linearly independent.
# $\blacksquare$
#
# *Executed check.* The scores by autograd, their covariance by quadrature after $\log|u| = \sinh(x)/\alpha$,
# which makes heavy tails harmless.


# %%
def information_by_quadrature(alpha, beta, kappa):
    x = torch.linspace(-1, 1, 4001) * math.asinh(600 * alpha)
    positive = beta * torch.exp(torch.sinh(x) / alpha)
    e, step = torch.cat([positive, -positive]), x[1] - x[0]
    parameters = [torch.full_like(e, value).requires_grad_() for value in (0.0, alpha, beta, kappa)]
    log_p = GeneralizedT(*parameters[1:]).log_prob(e - parameters[0])
    scores = torch.stack(torch.autograd.grad(log_p.sum(), parameters), dim=1)
    mass = log_p.exp() * e.abs() * torch.cosh(torch.cat([x, x])) / alpha * step
    return (scores.T * mass) @ scores, mass.sum()


# %% tags=["nbval-check-output"]
# check: L11
for parameters in [(2.0, 1.0, 1.0), (1.3, 0.2, 1.0), (4.0, 3.0, 0.5), (1.8, 0.05, 5.0)]:
    by_quadrature, total = information_by_quadrature(*parameters)
    closed = GeneralizedT(*map(torch.tensor, parameters)).fisher_information()
    unit = closed.diagonal().sqrt().outer(closed.diagonal().sqrt())
    assert abs(total - 1) < 1e-9
    assert ((closed - by_quadrature) / unit).abs().max() < 1e-8
    assert torch.linalg.eigvalsh(closed / unit)[0] > 1e-5  # nonsingular
cauchy = GeneralizedT(2.0, 1.0).fisher_information()
print("Cauchy, in the order location, alpha, beta, kappa:")
print(np.array2string(cauchy.numpy(), precision=4, suppress_small=True))

# %% [markdown]
# The zeros in the first row matter most. To first order, not knowing the shape costs the location nothing: the
# network's output and the loss's parameters are learned side by side, not against each other. It is symmetry
# that buys this, and notebook 02 builds on it.
#
# The other off-diagonal entries are not zero, and they have a price, the same for every sample size: how much
# wider an error bar becomes because other parameters are unknown too.

# %% tags=["nbval-check-output"]
information = GeneralizedT(2.0, 1.0).fisher_information()
index = {"alpha": 1, "beta": 2, "kappa": 3}
prices = []
for learned in (["alpha"], ["beta"], ["alpha", "beta"], ["alpha", "beta", "kappa"]):
    rows = [index[name] for name in learned]
    errors = torch.linalg.inv(information[rows][:, rows]).diagonal().sqrt()
    prices.append(pd.Series(errors.numpy(), index=learned, name=", ".join(learned)))
price = pd.DataFrame(prices)
assert 1.3 < price.loc["alpha, beta", "alpha"] / price.loc["alpha", "alpha"] < 1.6
assert price.loc["alpha, beta, kappa", "alpha"] > 5 * price.loc["alpha, beta", "alpha"]
print("standard error times sqrt(n), at the Cauchy law (- where not learned):")
print(price.to_string(float_format="{:.2f}".format, na_rep="-"))

# %% [markdown]
# Shape and scale, learned together, each cost the other about half again its error bar. Adding $\kappa$ makes
# the shape's error bar several times as wide, because $\alpha$ and $\kappa$ share the tail, which sees only
# their product. That is a statistical reason to leave $\kappa = 1$ alone unless data are plentiful.
#
# ## 9 · Learn the parameters from data
#
# **Theorem L12** (maximum likelihood).
#
# *Assumptions.* Residuals independent with density $p$ at $\vartheta_0 = (\alpha_0, \beta_0, \kappa_0)$, an
# interior point of a compact set $K \subset \lbrace \alpha, \beta, \kappa > 0,\ \kappa\alpha > 1 \rbrace$;
# $\hat\vartheta_n$ maximises the likelihood over $K$.
#
# $\hat\vartheta_n \to \vartheta_0$ in probability, and
# $\sqrt n\,(\hat\vartheta_n - \vartheta_0) \to \mathcal N(0,\ I(\vartheta_0)^{-1})$ in law, with $I$ the block
# of Theorem L11. With $\kappa$ (or another parameter) known, the same holds with its row and column removed.
#
# *Proof.* We verify the conditions of van der Vaart, *Asymptotic Statistics* (1998). *Identifiability*: as
# $e \to 0$, $\log p(0) - \log p(e) \sim \kappa|e/\beta|^\alpha$ reveals $\alpha$; as $|e| \to \infty$, $p$
# falls like $|e|^{-\kappa\alpha}$, which reveals $\kappa$; then $\kappa\beta^{-\alpha}$ reveals $\beta$.
# *Consistency*: on $K$, $\log p$ is continuous in $\vartheta$ and bounded in modulus by $C(1 + |\log|e||)$.
# That is integrable, because $\log|u| = a\log\frac{v}{1-v}$ has moments of every order (Theorem L7). A uniform
# law of large numbers follows, and with identifiability consistency (Theorem 5.7). *Normality*:
# $\vartheta \mapsto \sqrt{p(e)}$ is continuously differentiable for every $e$ and $I$ is continuous, so the
# family is differentiable in quadratic mean (Lemma 7.6). On $K$ the scores of Section 8 are bounded by
# $C(1 + |\log|e||)$ too, so $\log p$ is Lipschitz in $\vartheta$ (on convex neighbourhoods of $\vartheta_0$)
# with a square-integrable constant. $I$ is nonsingular (Theorem L11), and Theorem 5.39 applies. $\blacksquare$
#
# > **Our choice.** *(01-G, the estimator here)* `GeneralizedT.fit` maximises the likelihood by Newton's method
# > within a trust region, in coordinates where every value is legal. It is for samples at hand, as in this
# > section. Training uses the same likelihood and gradient descent; notebook 03 takes that up.
#
# *Executed check.* Many simulated data sets. For each, the estimate, and its distance from the truth in
# standard errors computed *from that data set*: a practitioner's situation. If the theorem is worth anything at
# this sample size, those distances are standard normal, and the 95% ellipses cover the truth about 95% of the
# time.

# %%
torch.manual_seed(seed)
truth = torch.tensor([1.6, 0.3])
estimates, deviations, covered = [], [], []
for _ in range(replications):
    e = GeneralizedT(*truth).sample((sample_size,))
    fitted = GeneralizedT.fit(e, learn=("alpha", "beta"))
    error = torch.stack([fitted.alpha, fitted.beta]) - truth
    information = sample_size * fitted.fisher_information()[1:3, 1:3]
    estimates.append(error + truth)
    deviations.append(error / torch.linalg.inv(information).diagonal().sqrt())
    covered.append(error @ information @ error < stats.chi2(2).ppf(0.95))
estimates, z, covered = torch.stack(estimates), torch.stack(deviations), torch.stack(covered).double()

# %%
# check: L12
assert (z.mean(0).abs() < 4 / replications**0.5).all()
assert ((z.var(0) - 1).abs() < 4 * (2 / replications) ** 0.5).all()
assert abs(covered.mean() - 0.95) < 4 * (0.95 * 0.05 / replications) ** 0.5
assert all(stats.kstest(column.numpy(), stats.norm.cdf).pvalue > 1e-3 for column in z.T)
for name, column in zip(("alpha", "beta"), z.T, strict=True):
    print(f"{name}: mean z {column.mean():+.2f}, standard deviation {column.std():.2f}")
print(f"95% ellipses that cover the truth: {covered.mean():.1%} of {replications}")

# %%
fig, ax = plt.subplots(figsize=(4.6, 3.4))
covariance = torch.linalg.inv(sample_size * GeneralizedT(*truth).fisher_information()[1:3, 1:3])
turn = torch.linspace(0, 2 * math.pi, 200)
circle = torch.stack([turn.cos(), turn.sin()]) * math.sqrt(stats.chi2(2).ppf(0.95))
ellipse = truth[:, None] + torch.linalg.cholesky(covariance) @ circle
ax.plot(*estimates.T, ".", color=figures.COLORS["alcl"], markersize=4, alpha=0.6)
ax.plot(*ellipse, color="0.15")
ax.plot(*truth, "+", color="0.15", markersize=11, markeredgewidth=1.6)
ax.text(0.97, 0.06, "ellipse: 95% region\nfrom Theorem L11", transform=ax.transAxes, ha="right", color="0.15")
ax.set(xlabel="estimated shape α", ylabel="estimated scale β")
ax.set_title("Estimates scatter as the information predicts")
drawn_with = {"seed": seed, "replications": replications, "sample_size": sample_size}
_ = figures.save(fig, "fig01c_recovery", notebook="01_likelihood", parameters=drawn_with)

# %% [markdown]
# ## What to take away
#
# - A correntropy bandwidth cannot be learned from the correntropy loss (L1). Averaging over it gives
#   $\kappa\log(1 + |e/\beta|^\alpha)$ (L2).
# - Normalised, that is the generalized t likelihood (L3). $\log Z$ holds the scale, and keeps the shape off its
#   limit (L4).
# - The noise it describes is generalized Gaussian with a precision that varies from residual to residual (L5),
#   and each residual is weighted by its expected precision (L6).
# - Everything follows from one Beta law (L7): tails and moments (L8), entropy, and why the loss may be negative
#   (L9), its relatives (L10), the information (L11), and estimates with honest error bars (L12).
#
# Next, [02_influence](02_influence.ipynb): what one residual can do to the fit, and why learning the shape does
# not spoil it.
