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
# # 01 · Likelihood
#
# A loss decides how strongly each error drives training. Correntropy losses limit the large errors, but their shape
# and scale are set by hand. Why can they not simply be learned? Because the correntropy loss is no likelihood.
# Averaged over its bandwidth and normalised, its kernel becomes a probability density, and minus the logarithm of
# that density is the adaptive log-correntropy loss (ALCL).
#
# **What you will do.** Let a correntropy loss learn its bandwidth, and see it fail. Average over the bandwidth,
# normalise, and recover shape and scale from data.
#
# **What you will learn.** What holds shape and scale in place: the normaliser $\log Z$.
#
# **What you need.** Calculus, the Gamma and Beta functions, maximum likelihood. Each theorem has its assumptions, its
# proof, and a check that runs with the notebook against an oracle that does not share the proof's formula. What is true
# of the density besides stands in appendix [A2_likelihood](A2_likelihood.ipynb); symbols are in the
# [glossary](glossary.md).

# %% tags=["parameters"]
seed = 0
replications = 200  # simulated data sets behind the standard errors of Section 4
sample_size = 2000  # residuals in each

# %% tags=["hide-input"]
import math

import matplotlib.pyplot as plt
import mpmath
import numpy as np
import sympy
import torch
from scipy import integrate, special, stats

from alcl.distributions import GeneralizedT, log_normalizer
from alcl.functional import alcl_loss, generalized_correntropy_loss, log_correntropy
from alcl.paper import figures
from alcl.paper.notebook import begin

save = begin("01_likelihood", ["seed", "replications", "sample_size"], dtype=torch.float64)


# %% [markdown]
# > **Where this loss comes from.** *Correntropy* as a measure of similarity: Liu, Pokharel and Príncipe (2007); with
# > a free shape: Chen et al. (2016); as a regression loss, with its consistency: Feng et al. (2015). *Autoencoders*
# > trained with it: R-SAE (Qi et al., 2014), CSAE (Chen et al., 2016), GC-SAE (Chen et al., 2017). *The density* is
# > the generalized t of McDonald and Newey (1988). Robust fits: Lange, Little and Taylor (1989) for Student's t; for
# > the density itself, as redescending M-estimates by an EM algorithm, a symposium paper of Arslan and Genç; Arslan and
# > Genç (2009) for a skew relative, with the warning that estimated shapes have an unbounded influence.
# > *One optimum or several*: Copas (1975), Kent and Tyler (1991); *no maximum*: Fernández and Steel (1999).
# > M-estimates of location and scale, and their breakdown: Maronna et al. (2019). A *shape learned with the network*
# > is the idea of Barron (2019), for another family. Full references, with what could not be checked:
# > [references.bib](references.bib).
#
# > **The paper (abstract).** It notes that correntropy objectives have kernel parameters that are tuned empirically and
# > stay static in training, and proposes a loss whose *shape* and *scale* are learned jointly with the network's
# > weights. The abstract is all of the paper that this project knows: the mathematics here is a reconstruction.
#
# ## 1 · Correntropy, and why its bandwidth is set by hand
#
# Write $e$ for a residual, prediction minus target; $\beta > 0$ for a scale in the same units; $u = e/\beta$; and
# $\alpha > 0$ for a shape. *Generalized correntropy* (Chen, Xing, Zhao, Zheng and Príncipe, IEEE Transactions on Signal
# Processing 64(13), 2016) measures how similar prediction and target are by the average of the kernel
# $\exp(-|u|^\alpha)$; classical correntropy has $\alpha = 2$. As a loss,
#
# $$ \mathrm{GCL} = \frac1n \sum_{i=1}^n \bigl(1 - \exp(-|e_i/\beta|^\alpha)\bigr). $$
#
# A residual far outside the kernel costs 1 and no more. Everything depends on $\beta$: too narrow, and most data count
# as outliers; too wide, and none do. Let gradient descent choose it, together with the network? In each of the three
# forms in which one would try this first, it fails.
#
# **Theorem L1** (a learned correntropy bandwidth is degenerate).
#
# *Assumptions.* $\alpha > 0$; residuals $e_1, \dots, e_n$, not all zero.
#
# (a) $\beta \mapsto \mathrm{GCL}$ is strictly decreasing on $(0, \infty)$ and tends to $0$ as $\beta \to \infty$. There
# is no minimiser, and the infimum is $0$ whether or not anything has been fitted.
#
# (b) For a single residual, $\exp(-\mathrm{GCL}(e))$ is not integrable: no constant makes the loss a negative
# log-likelihood.
#
# (c) Chen et al. give the kernel a constant, $\gamma = \alpha / (2\beta\,\Gamma(1/\alpha))$. Keep it, and minimise
# $J(\beta) = -\frac{\gamma}{n}\sum_i \exp(-|e_i/\beta|^\alpha)$. Then $\inf_\beta J \to -\infty$ as *one* residual
# tends to $0$, whatever the others are.
#
# *Proof.* (a) For $e \neq 0$ the derivative of $1 - \exp(-|u|^\alpha)$ in $\beta$ is
# $-\frac{\alpha}{\beta}|u|^\alpha \exp(-|u|^\alpha) < 0$; for $e = 0$ the term is $0$ at every $\beta$. As
# $\beta \to \infty$ every $|u_i|^\alpha \to 0$. (b) Since $\mathrm{GCL}(e) < 1$,
# $\exp(-\mathrm{GCL}(e)) > 1/\mathrm{e}$ on the whole line. (c) All terms of $J$ have the same sign, so at
# $\beta = |e_1|$ it is at most $-\alpha / (2\,\mathrm{e}\,n\,\Gamma(1/\alpha)\,|e_1|)$, which tends to $-\infty$ as
# $e_1 \to 0$. $\blacksquare$
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
# As the bandwidth grows, GCL turns into a tiny multiple of the squared error, and the location goes to the mean. Part
# (c) is the opposite failure: the bandwidth shrinks to whichever residual is smallest.

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
# Take the logarithm of the kernel, residual by residual, as in a likelihood? The kernel $\exp(-|u|^\alpha)$,
# normalised, is the generalized Gaussian density. That is well posed in $\beta$, but the logarithm undoes the
# exponential: for $\alpha > 1$ the gradient grows without bound. We need a kernel that is still robust *after* the
# logarithm.
#
# The bandwidth is unknown. So let it be random, and average the kernel over it: multiply the rate $\beta^{-\alpha}$
# by a random $\tau > 0$. Of all distributions of $\tau$ with a given mean, the exponential has the largest entropy.
# We take the Gamma family around it; $\kappa = 1$ is the exponential.
#
# **Theorem L2** (bandwidth averaging).
#
# *Assumptions.* $\alpha, \beta, \kappa > 0$; $\tau \sim \mathrm{Gamma}(\kappa, 1)$.
#
# $$ \mathbb{E}_\tau \exp(-\tau |u|^\alpha) = \bigl(1 + |u|^\alpha\bigr)^{-\kappa}, $$
#
# so that
#
# $$ \rho(e) := -\log \mathbb{E}_\tau \exp(-\tau |e/\beta|^\alpha) = \kappa \log\bigl(1 + |e/\beta|^\alpha\bigr). $$
#
# *Proof.* With $w = |u|^\alpha$, substitute $s = (1 + w)\tau$ in
# $\int_0^\infty \exp(-\tau w)\, \tau^{\kappa - 1} \exp(-\tau)\, d\tau / \Gamma(\kappa)$. It becomes
# $(1 + w)^{-\kappa} \int_0^\infty s^{\kappa-1} \exp(-s)\, ds / \Gamma(\kappa) = (1 + w)^{-\kappa}$. $\blacksquare$
#
# *Executed check.* The integral by SymPy, by quadrature (in $\log\tau$), and by Monte Carlo; the loss is the library's.

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
# > **Our choice.** *(01-A, the residual model)* The abstract fixes "a logarithmic residual model" with learnable
# > shape and scale, and an influence function that is bounded and redescends. We take
# > $\rho(e) = \kappa\log(1 + |e/\beta|^\alpha)$: minus the log of a correntropy kernel with its bandwidth integrated
# > out. Other logarithmic models would fit those words too.
#
# > **Departure.** *(01-B, the tail weight)* The abstract speaks of shape and scale only, so the paper's loss is read as
# > $\kappa = 1$. The third parameter $\kappa$ is our extension: it separates the tail from the shape near zero, and
# > brings in Student's t and, as $\kappa \to \infty$, the generalized Gaussian (Theorem L10 of appendix A2). It is off
# > unless asked for.
#
# One kernel is a parabola after the logarithm, or some $|u|^\alpha$. Their average follows the widest kernels in the
# tail, and that envelope is a logarithm.

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
save(fig, "fig01b_bandwidth_averaging")

# %% [markdown]
# ## 3 · Normalise it
#
# Alone, averaging does not cure the runaway: as $\beta \to \infty$, $\rho$ still decreases to 0. What stops $\beta$ is
# the price of a wide density.
#
# **Theorem L3** (the density and its normaliser).
#
# *Assumptions.* $\alpha, \beta, \kappa > 0$.
#
# $\exp(-\rho(e)) = (1 + |e/\beta|^\alpha)^{-\kappa}$ is integrable if and only if $\kappa\alpha > 1$, and then
#
# $$ p(e) = \frac{(1 + |e/\beta|^\alpha)^{-\kappa}}{Z}, \qquad
# Z = \frac{2\beta}{\alpha}\, B\!\Bigl(\frac1\alpha,\, \kappa - \frac1\alpha\Bigr). $$
#
# For $\kappa = 1$ this is $Z = \frac{2\pi\beta}{\alpha\,\sin(\pi/\alpha)}$.
#
# *Proof.* By symmetry and $t = (e/\beta)^\alpha$, for which $de = \frac{\beta}{\alpha} t^{1/\alpha - 1} dt$,
#
# $$ \int_{-\infty}^{\infty} \bigl(1 + |e/\beta|^\alpha\bigr)^{-\kappa} de
# = \frac{2\beta}{\alpha} \int_0^\infty t^{1/\alpha - 1} (1 + t)^{-\kappa}\, dt. $$
#
# The integrand behaves like $t^{1/\alpha - 1}$ at $0$, always integrable, and like $t^{-1 - (\kappa - 1/\alpha)}$ at
# infinity, integrable iff $\kappa > 1/\alpha$. The integral is Euler's second form of $B(1/\alpha, \kappa - 1/\alpha)$.
# For $\kappa = 1$ it is $\Gamma(1/\alpha)\,\Gamma(1 - 1/\alpha) = \pi/\sin(\pi/\alpha)$ by reflection. $\blacksquare$
#
# This is the *generalized t* density of McDonald and Newey (Econometric Theory 4(3), 1988). Its tail is a power,
# $P(|e| > x) \sim \mathrm{const}\cdot x^{-\nu}$ with the *tail index* $\nu = \kappa\alpha - 1$: for $\kappa = 1$ one
# number, $\alpha$, sets both the peak and the tail. Moments, entropy, sampling and relatives (Cauchy, Student-t,
# Laplace, Gaussian) are in appendix A2, Theorems L5 to L10.
#
# *Executed check.* The $t$-integral by SymPy; the original integral in $e$ by mpmath to 30 digits; the library in
# float64.

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
# In the figure, the tail is the same for all on the left, and the shape on the right.

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
save(fig, "fig01a_density_family")

# %% [markdown]
# The negative log-likelihood of one residual, and so the loss, is
#
# $$ -\log p(e) = \kappa \log\bigl(1 + |e/\beta|^\alpha\bigr) + \log Z(\alpha, \beta, \kappa). $$
#
# > **Our choice.** *(01-C, the normaliser is part of the loss)* The abstract promises a maximum likelihood formulation.
# > We take it literally: $\log Z$ belongs to the loss. While $\alpha$ and $\beta$ are constants it changes nothing for
# > the network; once they are learned, nothing else holds them.
#
# > **Our choice.** *(01-D, one density for all residuals)* The loss adds up over pixels and images, so it is the
# > likelihood of *independent, identically distributed* residuals, centred at the prediction. Errors of neighbouring
# > pixels are not independent. Point estimates remain meaningful, as those of a composite likelihood do; the standard
# > errors of Section 4 are for independent residuals only.
#
# > **Our choice.** *(01-E, the scale's coordinate)* We write the scale as $\beta$, in the residual's units, instead of
# > the rate $\lambda = \beta^{-\alpha}$ of Chen et al., whose units change as $\alpha$ is learned.
#
# What keeps $\alpha$ where the density exists? For $\kappa = 1$ that is $\alpha > 1$. The normaliser itself.
#
# **Theorem L4** (the normaliser is a barrier).
#
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
# Part (c) needs residuals that are not zero. Residuals that are *exactly* zero, more than a fraction
# $1 - 1/(\kappa\alpha)$ of them, make the likelihood unbounded as $\beta \to 0$ (Theorem A4 in
# [notebook 03](03_adaptation.ipynb)). Clipped images have such zeros. Continuous data have none while the prediction is
# fixed; but a model that can pass through one of its targets makes a zero of its own, and with it an infinite
# likelihood. [Notebook 03](03_adaptation.ipynb) draws the consequence: maximum likelihood here means a *local* maximum,
# or a search in a bounded set. The next theorem takes the second way.
#
# ## 4 · Learn the parameters from data
#
# **Theorem L12** (maximum likelihood).
#
# *Assumptions.* Residuals independent with density $p$ at $\vartheta_0 = (\alpha_0, \beta_0, \kappa_0)$, an interior
# point of a compact set $K \subset \lbrace \alpha, \beta, \kappa > 0,\ \kappa\alpha > 1 \rbrace$;
# $\hat\vartheta_n$ maximises the likelihood over $K$.
#
# $\hat\vartheta_n \to \vartheta_0$ in probability, and
# $\sqrt n\,(\hat\vartheta_n - \vartheta_0) \to \mathcal N(0,\ I(\vartheta_0)^{-1})$ in distribution, with $I$ the
# Fisher information of Theorem L11 (appendix A2). With $\kappa$ (or another parameter) known, the same holds with its
# row and column removed.
#
# *Proof.* We verify the conditions of van der Vaart, *Asymptotic Statistics* (1998). *Identifiability*: as $e \to 0$,
# $\log p(0) - \log p(e) \sim \kappa|e/\beta|^\alpha$ reveals $\alpha$; as $|e| \to \infty$, $p$ falls like
# $|e|^{-\kappa\alpha}$, which reveals $\kappa$; then $\kappa\beta^{-\alpha}$ reveals $\beta$. *Consistency*: on $K$,
# $\log p$ is continuous in $\vartheta$ and bounded in modulus by $C(1 + |\log|e||)$, which is integrable, because
# $\log|e|$ has moments of every order (Theorem L7). A uniform law of large numbers follows, and with identifiability
# consistency (Theorem 5.7). *Normality*: $\vartheta \mapsto \sqrt{p(e)}$ is continuously differentiable for every $e$
# and $I$ is continuous, so the family is differentiable in quadratic mean (Lemma 7.6). On $K$ the scores of Theorem
# L11 are bounded by $C(1 + |\log|e||)$ too, so $\log p$ is Lipschitz in $\vartheta$ (on convex neighbourhoods of
# $\vartheta_0$) with a square-integrable constant. $I$ is nonsingular (Theorem L11), and Theorem 5.39 applies.
# $\blacksquare$
#
# > **Our choice.** *(01-G, the estimator here)* `GeneralizedT.fit` maximises the likelihood by Newton's method within
# > a trust region, in coordinates where every value is legal. It is for samples at hand. Training uses the same
# > likelihood and gradient descent (notebook 03).
#
# *Executed check.* Many simulated data sets. For each, the estimate, and its distance from the truth in standard errors
# computed *from that data set*, as a practitioner would. If the theorem holds at this sample size, those distances are
# standard normal, and the 95% ellipses cover the truth about 95% of the time.

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
save(fig, "fig01c_recovery", parameters=drawn_with)

# %% [markdown]
# ## What to take away
#
# - A correntropy bandwidth cannot be learned from the correntropy loss (L1). Averaging over it gives
#   $\kappa\log(1 + |e/\beta|^\alpha)$ (L2).
# - Normalised, that is the likelihood of a generalized t density (L3). $\log Z$ stops the scale from growing, and keeps
#   the shape off its limit (L4).
# - Shape and scale can be estimated from residuals, with error bars that are right (L12).
#
# Next, [02_influence](02_influence.ipynb): what one residual can do to the fit.
