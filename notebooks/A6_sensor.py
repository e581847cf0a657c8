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
# # A6 · A likelihood of the sensor, proved
#
# The theorems behind [notebook 11](11_sensor.ipynb). With a learned fraction of contamination every score is bounded,
# far outliers are counted and their distance is forgotten; an exact zero does more harm than in ALCL. A clipped target
# that enters by its probability pulls outwards, within ALCL's bound, and cannot collapse the scale.
#
# **What you will do.** Prove what the fraction does to the scores, to far outliers and to exact zeros; what a clipped
# target pulls; and that the censored likelihood is consistent. Check each claim by another way.
#
# **What you will learn.** Why the constant has units; why the floor on the scale matters more with a fraction; to which
# side the plain loss is biased by clipping.
#
# **What you need.** Notebooks [11](11_sensor.ipynb) and [03](03_adaptation.ipynb): scores, collapse; from appendix
# [A1](A1_joint_likelihood.ipynb) the statement of Theorem J4. Symbols are in the [glossary](glossary.md).

# %% tags=["parameters"]
seed = 0

# %% tags=["hide-input"]
import math

import mpmath
import numpy as np
import pandas as pd
import torch
from scipy import optimize, stats

from alcl import ALCLoss, CensoredALCLoss, ContaminatedALCLoss, GeneralizedT, TobitLoss
from alcl.paper.notebook import begin
from alcl.paper.sensor import clipped, least_expected, mixture_loss

save = begin("A6_sensor", ["seed"], dtype=torch.float64)

# %% [markdown]
# ## 1 · A learned fraction of contamination
#
# The density of a residual is $p(e) = (1 - \epsilon)\,q(e) + \epsilon\,c$, and $w(e) = (1 - \epsilon)\,q(e)/p(e)$ the
# posterior probability that it is *not* contamination (notebook 11, Section 2). Throughout, $q$ is ALCL's density with
# $\kappa\alpha > 1$, $\beta > 0$; $v = |u|^\alpha/(1 + |u|^\alpha)$ with $u = e/\beta$; $Z = 1/q(0)$; and $\psi$,
# $s_\alpha$, $s_{\log\beta}$, $s_\kappa$ are its scores (notebook 03).
#
# **Theorem S1** (the scores are ALCL's times the posterior weight: all bounded, and all but the fraction's redescend).
#
# *Assumptions.* $0 < \epsilon < 1$, $c > 0$; for the bound on the location's score, $\alpha > 1$. For (c): the
# residuals have a symmetric distribution, the estimating equations are solved at location 0 and $\theta^*$, with
# $\theta = (\alpha, \log\beta, \mathrm{logit}\,\epsilon)$, and minus the Jacobian of their means there has nonsingular
# blocks $A$ (location) and $B$ ($\theta$).
#
# (a) The derivatives of $\log p$ are $w\psi$ in the location, $w s_\alpha$, $w s_{\log\beta}$, $w s_\kappa$, and $1 - w
# \,{-}\, \epsilon$ in the logit of $\epsilon$.
#
# (b) As $|e| \to \infty$, $w \sim C|e|^{-\kappa\alpha}$ with $C = (1-\epsilon)\beta^{\kappa\alpha}/(\epsilon c Z)$. So
# $|w\psi| \sim \kappa\alpha\, C|e|^{-(1 + \kappa\alpha)}$, $w s_{\log\beta} \sim (\kappa\alpha - 1)\,
# C|e|^{-\kappa\alpha}$, and $w s_\alpha$, $w s_\kappa$ fall like $|e|^{-\kappa\alpha}\log|e|$. All four are bounded and
# redescend. The fraction's score is bounded, between $-\epsilon$ and $1 - \epsilon$, and tends to $1 - \epsilon$: a far
# residual is counted, and does nothing else.
#
# (c) The influence of the location is $w\psi/A$, which redescends like $|e|^{-(1+\kappa\alpha)}$. That of $\theta$ is
# $B^{-1}(w s_\alpha, w s_{\log\beta}, 1 - w - \epsilon)$, bounded; far out it tends to a constant, $1 - \epsilon$ times
# the last column of $B^{-1}$.
#
# *Proof.* (a) $\partial\log p = (1-\epsilon)\,\partial q/p = w\,\partial\log q$ in each parameter of $q$. In $\epsilon$
# it is $(c - q)/p$, and $d\epsilon/d\,\mathrm{logit} = \epsilon(1 - \epsilon)$; the product is $(1-\epsilon)(1-w) -
# \epsilon w$. (b) $q \sim (\beta/|e|)^{\kappa\alpha}/Z$ and $p \to \epsilon c$. By Theorem A2, $e\psi \to
# \kappa\alpha$, $s_{\log\beta} \to \kappa\alpha - 1$, the other two grow like $\log|e|$, and each is bounded on bounded
# sets. (c) As for Theorem A7: $w\psi$ is odd and the other scores are even, so the Jacobian is block-diagonal, and the
# influence is its inverse times the scores. $\blacksquare$
#
# *Executed check.* (a) by derivatives of the definition in mpmath, (b) by its slopes, (c) by brute force: a millionth
# of a point mass, and the equations solved again.


# %%
def log_p(e, alpha, log_beta, kappa, logit, c=0.5):
    """Log density of the mixture by its definition, in mpmath."""
    beta, eps = mpmath.exp(log_beta), 1 / (1 + mpmath.exp(-logit))
    z = 2 * beta / alpha * mpmath.beta(1 / mpmath.mpf(alpha), kappa - 1 / mpmath.mpf(alpha))
    return mpmath.log((1 - eps) * (1 + (abs(mpmath.mpf(e)) / beta) ** alpha) ** -kappa / z + eps * c)


def slopes_of_log_p(e, at):
    """Minus its derivative in e, and those in alpha, log beta, kappa and the logit."""
    own = [mpmath.diff(lambda x, i=i: log_p(e, *at[:i], x, *at[i + 1 :]), at[i]) for i in range(4)]
    return np.array([-mpmath.diff(lambda x: log_p(x, *at), e), *own], float)


# %% tags=["nbval-check-output"]
# check: S1
for alpha, beta, kappa, eps in [
    (1.5, 0.2, 1.0, 0.1),
    (2.0, 1.0, 1.0, 0.4),
    (3.0, 0.1, 0.7, 0.01),
    (2.0, 0.3, 2.5, 0.2),
]:
    at = (alpha, math.log(beta), kappa, math.log(eps / (1 - eps)))
    loss = ContaminatedALCLoss(alpha, beta, kappa, eps, learn=(), reduction="sum")
    for e in (0.01, 0.3, -1.0, 20.0):
        w = 1 - loss.posterior(torch.tensor([e]), torch.zeros(1)).item()
        scores = GeneralizedT(alpha, beta, kappa).score(torch.tensor(e)).numpy() * [1, 1, beta, 1]
        assert np.allclose(slopes_of_log_p(e, at), [*(w * scores), 1 - w - eps], rtol=1e-6, atol=1e-9)  # (a)
    with mpmath.workdps(60):
        near, far = (slopes_of_log_p(mpmath.mpf(10) ** k, at) for k in (8, 9))
    powers = np.log10(np.abs(far / near))[:3]
    assert np.allclose(powers, [-1 - kappa * alpha, -kappa * alpha, -kappa * alpha], atol=0.1)  # (b)
    assert math.isclose(far[4], 1 - eps, rel_tol=1e-4)
    print(f"kappa alpha = {kappa * alpha:.2f}: powers of location, shape, log-scale far out {powers.round(2)}")


# %%
def even_equations(x, theta, c=0.02):
    """Scores of alpha, log beta and the logit of the mixture, (n, 3); theta = (alpha, log beta, logit)."""
    alpha, beta, eps = theta[0], math.exp(theta[1]), 1 / (1 + math.exp(-theta[2]))
    model = GeneralizedT(alpha, beta, 1.0)
    q, score = model.log_prob(x).exp()[:, None], model.score(x)[:, 1:3]
    w = (1 - eps) * q / ((1 - eps) * q + eps * c)
    return torch.cat([w * score[:, :1], w * beta * score[:, 1:], 1 - w - eps], 1)


def solve_even(x, weight, start=(4.0, 0.3, -3.0)):
    """theta at which the mean scores are zero."""
    found = optimize.root(lambda t: (weight @ even_equations(x, t)).numpy(), start, tol=1e-13)
    assert abs(found.fun).max() < 1e-12
    return found.x


# %% tags=["nbval-check-output"]
# check: S1
bulk, spread = stats.norm.ppf((np.arange(950) + 0.5) / 950), np.linspace(-25, 25, 50)
sample, even = torch.tensor(np.append(bulk, spread)), torch.full((1000,), 1 / 1000)
theta, h, share, ends = solve_even(sample, even), 1e-5, 1e-6, {}
steps = h * np.eye(3)
sides = [[even @ even_equations(sample, theta + sign * d) for sign in (-1, 1)] for d in steps]
B = np.stack([(low - high).numpy() / (2 * h) for low, high in sides], 1)
for x in (1.0, 5.0, 30.0, 1e3, 1e6):
    ends[f"{x:g}"] = predicted = np.linalg.solve(B, even_equations(torch.tensor([x]), theta)[0])
    more, weight = torch.cat([sample, torch.tensor([x])]), torch.cat([(1 - share) * even, torch.tensor([share])])
    brute = (solve_even(more, weight, theta) - theta) / share
    assert np.allclose(brute, predicted, rtol=1e-2, atol=1e-2)  # (c)
limit = (1 - 1 / (1 + math.exp(-theta[2]))) * np.linalg.inv(B)[:, 2]
assert np.allclose(ends["1e+06"], limit, rtol=1e-3)
print(pd.DataFrame(ends, index=["shape", "log-scale", "logit of the fraction"]).T.round(1).to_string())

# %% [markdown]
# ALCL's own score of the shape, and with it its influence on shape and scale, grows like a logarithm (Theorems A2 and
# A7). The fraction takes that away: what is left of a far outlier is its vote on the fraction, the same at any
# distance.
#
# **Theorem S2** (far outliers are counted, and their distance is forgotten).
#
# *Assumptions.* $\kappa$ fixed, $c > 0$. A share $\delta > 0$ of the residuals has $|e| \ge R$. For (c) the location is
# held, the other residuals are a fixed finite sample without zeros, means over it are written $E$, and $L_\infty =
# (1 - \delta)\,E[-\log p] - \delta\log(\epsilon c)$.
#
# (a) For all legal shapes and scales: $|e|\,q(e) \le \frac12$; $|e|\,q(e) \le \frac{e^{\kappa}}{2\log(|e|/\beta)}$
# where $|e| > \beta$, with Euler's $e$ in the numerator; and $q \le 2^{\kappa - 1}/\beta$.
#
# (b) The fraction of least loss is at least $\delta - \frac{1}{2cR}$, whatever the other residuals are, and whatever
# shape and scale are or become.
#
# (c) If $\inf L_\infty < -\log c$, there are $\beta_0, \beta_1, \tau > 0$ and $R_0$ such that for $R \ge R_0$, wherever
# the far residuals are, minimisers of the loss over all legal parameters have $\beta_0 \le \hat\beta \le \beta_1$ and
# $\kappa\hat\alpha - 1 \ge \tau$. With a cap on the shape they exist, and their limit points as $R \to \infty$ minimise
# $L_\infty$, in which $R$ does not occur. There is no implosion as in Theorem J4.
#
# *Proof.* (a) $q$ falls in $|e|$, so $|e|\,q(e) \le \int_0^{|e|} q \le \frac12$. For the second bound put $x =
# \log|e|$. The logarithm of a residual's size has the density $h(x) = 2\exp(x)\,q(\exp x)$, and $(\log h)' = 1 -
# \kappa\alpha v \le 1 - v \le |u|^{-\alpha}$, whose integral over $x > \log\beta$ is $\frac1\alpha < \kappa$. So $h(y)
# \ge h(x)\exp(-\kappa)$ for $\log\beta \le y \le x$, and $1 \ge \int h \ge (x - \log\beta)\,h(x)\exp(-\kappa)$. The
# third: on $|e| \le \beta$, $q \ge 2^{-\kappa}q(0)$, so $1 \ge 2\beta\,2^{-\kappa}q(0)$.
#
# (b) At given shape and scale the mean loss is convex in $\epsilon$, as $-\log$ of a linear function. If it is least at
# $\hat\epsilon$ with $0 < \hat\epsilon < 1$, the mean of $1 - w - \hat\epsilon$ vanishes, so $\hat\epsilon$ is at least
# $\delta$ times the least $1 - w$ of the far residuals, which by (a) is at least $\hat\epsilon c/(\hat\epsilon c +
# \frac{1}{2R})$. Divide by $\hat\epsilon$. If it is least at 0, its slope there, the mean of $1 - c/q$, is not
# negative, so $1 \ge 2cR\,\delta$. At 1 there is nothing to prove.
#
# (c) Let $\eta$ bound $q$ on the whole sample. Then $L \ge -\log(c + \eta)$. By (a), for $R \to \infty$: $\eta \to 0$
# as $\beta \to 0$ (second bound; the fixed sample has no zeros) and as $\beta \to \infty$ (third), uniformly in the
# shape; and for $\beta$ between two bounds as $\kappa\alpha \to 1$, because $q \le \frac1Z \to 0$. But $L \le L_\infty$
# everywhere, as $p \ge \epsilon c$, so $\inf L < -\log c$ by a margin, and these regions hold no minimiser. What is
# left is compact if $\alpha$ is capped. There $q(e) \to 0$ uniformly for $|e| \ge R \to \infty$; by (b) limit points
# have $\epsilon \ge \delta$, near which $L \to L_\infty$ uniformly. $\blacksquare$
#
# *Executed check.* (c) on the example of Theorem J4, to the largest number of single precision; (b) on random
# residuals, shapes and scales.


# %%
def fit_mixture(log_e, weight, c):
    """alpha, beta and fraction of least loss, from two starts."""
    bounds, starts = [(-30, 4), (-60, 60), (-30, 30)], ([0.0, 0.0, -2.0], [-3.0, -2.0, -1.0])
    options = {"method": "L-BFGS-B", "bounds": bounds, "options": {"ftol": 1e-15, "gtol": 1e-9}}
    fits = [optimize.minimize(mixture_loss, start, (log_e, weight, c), **options) for start in starts]
    t, s, logit = min(fits, key=lambda fit: fit.fun).x
    return 1 + math.exp(t), math.exp(s), 1 / (1 + math.exp(-logit)) if c else 0.0


# %% tags=["nbval-check-output"]
# check: S2
bulk = np.log(stats.norm.ppf(0.5 + (np.arange(450) + 0.5) / 900))
weight = np.append(np.full(450, 0.9 / 450), 0.1)
for c in (0.0, 0.01, 0.5):
    for power in (2, 8, 38):
        alpha, beta, eps = fit_mixture(np.append(bulk, power * math.log(10)), weight, c)
        print(f"c = {c:4g}, 10% at 1e{power}: alpha {alpha:.2f}, beta {beta:.2f}, fraction {eps:.2f}")
        if c == 0.01:  # (c): R = e^900 stands for infinity
            assert np.allclose([alpha, beta, eps], fit_mixture(np.append(bulk, 900.0), weight, c), rtol=0.05)
alone = fit_mixture(bulk, np.full(450, 1 / 450), 0.0)
print(f"the bulk alone:         alpha {alone[0]:.2f}, beta {alone[1]:.2f}")

# %%
# check: S2
rng = np.random.default_rng(seed)
for _ in range(300):  # (b), and the first bound of (a)
    share, far, c = rng.uniform(0.02, 0.9), 10 ** rng.uniform(1, 6), 10 ** rng.uniform(-3, 1)
    model = GeneralizedT(1.01 + rng.exponential(2), 10 ** rng.uniform(-4, 8), 1.0)
    e = np.append(rng.normal(0, rng.exponential(), 50), far * (1 + rng.exponential(3, 50)))
    mass, q = np.repeat([(1 - share) / 50, share / 50], 50), model.log_prob(torch.tensor(e)).exp().numpy()
    assert (np.abs(e) * q).max() <= 0.5
    cost = lambda eps, q=q, c=c, mass=mass: -mass @ np.log((1 - eps) * q + eps * c)  # noqa: E731
    least = optimize.minimize_scalar(cost, bounds=(1e-9, 1 - 1e-9), method="bounded", options={"xatol": 1e-9}).x
    assert least >= share - 1 / (2 * c * far) - 1e-6

# %% [markdown]
# Without the fraction (first three lines) shape and scale sink as the outliers move away. With it, nothing moves, and
# the fit is near that of the bulk alone. The last three lines show the condition of (c): with $c = \frac12$, normal
# residuals of spread 1 are less likely under any $q$ than under the constant, and everything is called contamination.
# **The constant has units**: $\frac12$ is for images in $[0, 1]$. `from_residuals` sets it by the data.
#
# **Theorem S3** (fraction and tail weight are told apart).
#
# *Assumptions.* $c > 0$ is known; all parameters are legal, and $0 < \epsilon < 1$.
#
# (a) If two such densities $p$ agree on any interval of positive residuals, their four parameters are equal.
#
# (b) The scores of $(\alpha, \log\beta, \kappa, \mathrm{logit}\,\epsilon)$ are linearly independent on every interval
# of positive residuals. So their information matrix, at any distribution with a positive density on such an interval
# and under which it is finite, is nonsingular.
#
# *Proof.* (a) For $e > 0$, $p = (1-\epsilon)q + \epsilon c$ is a real-analytic function. If two agree on an interval
# they agree on $(0, \infty)$. Let $e \to \infty$: $q \to 0$, so the $\epsilon$ are equal, and the $q$. Near 0, with
# $t = |u|^\alpha$, $qZ = 1 - \kappa t + \frac{\kappa(\kappa+1)}{2}t^2 - \dots$: the value at 0 gives $Z$, the power
# $\alpha$, the third coefficient over the square of the second $\frac{\kappa+1}{2\kappa}$ and so $\kappa$, the second
# $\beta$. (b) A combination of scores that vanishes there, times $p$, is analytic and vanishes on $(0, \infty)$. As $e
# \to \infty$, $p\,w = (1 - \epsilon)q$ times each score of $q$ vanishes, and $p(1 - w - \epsilon) \to
# \epsilon(1-\epsilon)c$: the fraction's is not in it. Near 0 the others are, up to constants and to $O(t^3\log t)$,
# $-\frac\kappa\alpha(t - t^2)\log t$, $\kappa\alpha(t - t^2)$ and $-t + \frac{t^2}{2}$: only the first has a logarithm,
# and no combination of the other two is constant. $\blacksquare$
#
# How well are they told apart? Below are standard errors of $\epsilon$ at the model (a uniform part on $[-1, 1]$, $c =
# \frac12$) for one residual; divide by $\sqrt n$.
#
# *Executed check.* (a) by fitting the density of one mixture by others, on $(0, 1)$ alone; (b) by quadrature.


# %%
def information(*at):
    """Fisher information of (alpha, log beta, kappa, eps) by quadrature in log |e|; c = 1/2 within 1, 0 beyond."""
    total, (nodes, gauss) = torch.zeros(4, 4), map(torch.tensor, np.polynomial.legendre.leggauss(1000))
    for low, high, c in ((-20.0, 0.0, 0.5), (0.0, 60.0, 0.0)):
        e = ((high - low) / 2 * nodes + (high + low) / 2).exp()
        raw = [torch.full_like(e, x).requires_grad_() for x in at]
        q = GeneralizedT(raw[0], raw[1].exp(), raw[2], validate_args=False).log_prob(e).exp()
        p = (1 - raw[3]) * q + raw[3] * c
        scores = torch.stack(torch.autograd.grad(p.log().sum(), raw), 1)
        total += (scores * (e * p.detach() * gauss * (high - low))[:, None]).T @ scores
    return total


def mixture_at(p):
    """Log density on (0, 1), and parameters, at p without bounds."""
    parameters = (*np.exp(p[:2]), np.exp(p[2]) + np.exp(-p[0]), 1 / (1 + math.exp(-p[3])))
    q = GeneralizedT(*parameters[:3]).log_prob(torch.linspace(0.001, 1, 300)).exp().numpy()
    return np.log((1 - parameters[3]) * q + parameters[3] / 2), parameters


# %%
# check: S3
exact = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15}
for truth in ([0.7, -2.3, -0.7, -1.4], [0.3, -1.2, -0.3, 0.0]):
    for start in ([1.0, -1.0, 0.5, -2.0], [0.2, -2.5, -0.5, 1.0]):
        off = lambda p, truth=truth: mixture_at(p)[0] - mixture_at(truth)[0]  # noqa: E731
        assert np.allclose(optimize.least_squares(off, start, **exact).x, truth, atol=1e-3)  # (a)

# %% tags=["nbval-check-output"]
# check: S3
rows = {}
for at in [
    (2.0, 0.1, 1.0, 0.2),
    (2.0, 0.1, 1.0, 0.02),
    (2.0, 0.1, 2.0, 0.2),
    (2.0, 0.5, 1.0, 0.2),
    (2.0, 1.0, 1.0, 0.2),
]:
    fisher = information(at[0], math.log(at[1]), *at[2:])
    assert torch.linalg.eigvalsh(fisher).min() > 1e-5  # (b)
    error = lambda keep, fisher=fisher: torch.linalg.inv(fisher[keep][:, keep])[-1, -1].sqrt().item()  # noqa: E731
    rows[str(at)] = {"others known": error([3]), "kappa known": error([0, 1, 3]), "nothing known": error([0, 1, 2, 3])}
table = pd.DataFrame(rows).T.rename_axis("alpha, beta, kappa, eps")
print(table.round(2).to_string())
assert (table["nothing known"] / table["kappa known"]).max() < 1.2

# %% [markdown]
# Learning the tail weight as well raises the fraction's standard error by less than a fifth. What costs is a scale that
# is near the range (last two lines): then a uniform part looks like the peak.
#
# What is worse than in ALCL? Exact zeros.
#
# **Theorem S4** (any exact zero is a singularity).
#
# *Assumptions.* A share $z > 0$ of the residuals is exactly 0; the others are fixed, and $E$ is the mean over them.
#
# (a) At fixed $\alpha$, $\kappa$ and $0 < \epsilon < 1$, the loss tends to $-\infty$ as $\beta \to 0$, with slope $z$
# in $\log\beta$, for **every** $z > 0$. (ALCL at a fixed shape needs $z > 1 - \frac{1}{\kappa\alpha}$: Theorem A4.)
#
# (b) So if a location is learned there is no global optimum, for any sample: put it on a datum.
#
# (c) With a floor the loss is at least $-z\log\bigl(2^{\kappa-1}/\beta_{\min} + c\bigr) - (1 -
# z)\,E\log\bigl(\frac{1}{2|e|} + c\bigr)$, for all legal parameters with $\beta \ge \beta_{\min}$.
#
# *Proof.* (a) The slope in $\log\beta$ is the mean of $w(1 - \kappa\alpha v)$. At $e = 0$, $v = 0$, and $w =
# (1-\epsilon)/(1 - \epsilon + \epsilon cZ) \to 1$ as $Z \to 0$; elsewhere $w \to 0$. (b) is (a) with $z \ge \frac1n$.
# (c) $p \le q + c$, and the bounds of Theorem S2(a). $\blacksquare$
#
# The mixture's spike describes the zeros, and everything else is called contamination, at a cost that does not grow as
# the scale falls. From which share of zeros on does a descent end there? Each starts at scale 1; the other residuals
# are normal.


# %%
def fallen(kind, zeros, **options):
    """Whether descents from scale 1 end near the floor, for every share of zeros among 400 residuals."""
    counts = [400 - round(400 * share) for share in zeros]
    e = [np.append(np.zeros(400 - n), stats.norm.ppf((np.arange(n) + 0.5) / n)) for n in counts]
    e, loss = torch.tensor(np.array(e).T), kind(parameter_shape=(len(zeros),), beta_min=1e-5, **options).eval()
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.05)
    for _ in range(1000):
        optimizer.zero_grad()
        (loss(e, torch.zeros_like(e)) * len(zeros)).backward()
        optimizer.step()
    return (loss.beta < 1e-4).numpy()


# %% tags=["nbval-check-output"]
# check: S4
zeros, c = np.arange(1, 29) / 40, 0.05
for name, learn in {"shape 2": ("beta",), "shape learned": ("alpha", "beta")}.items():
    plain, mixed = (
        fallen(ALCLoss, zeros, learn=learn),
        fallen(ContaminatedALCLoss, zeros, learn=(*learn, "eps"), density=c),
    )
    at = [f"{zeros[row.argmax()]:.3f}" if row.any() else "none" for row in (plain, mixed)]
    print(f"{name:14s} a descent collapses from a share of zeros of: ALCL {at[0]}, with a fraction {at[1]}")
    assert mixed.argmax() <= plain.argmax()
e, zero = torch.tensor(np.append(np.zeros(4), stats.norm.ppf((np.arange(96) + 0.5) / 96))), torch.zeros(100)
at = [ContaminatedALCLoss(2.0, b, eps=0.1, density=c, learn=())(e, zero).item() for b in (1e-60, 1e-50)]
assert math.isclose((at[1] - at[0]) / math.log(1e10), 0.04, rel_tol=1e-6)  # (a)
low = -0.04 * math.log(1 / 1e-3 + c) - 0.96 * np.log(1 / (2 * e[4:].abs().numpy()) + c).mean()
draws = [ContaminatedALCLoss(1 + x, 1e-3 + x**4, eps=0.2, density=c, learn=()) for x in rng.exponential(1, 200)]
assert all(loss(e, zero).item() >= low for loss in draws)  # (c)

# %% [markdown]
# The remedies are those of notebook 03: a floor at the smallest scale that matters, and no exact zeros; where they come
# from clipping, by the likelihood of Section 2.
#
# ## 2 · A target at a limit
#
# A sensor delivers $y = \min(\max(x + n, 0), 1)$. A target at a limit enters by its probability, one between them by
# its density (notebook 11, Section 5). Let $S(d) = P(n \ge d)$, and let $d$ be how far a prediction is on the wrong
# side of a target's limit: $d = x$ for a target at 0, $d = 1 - x$ for one at 1. Its loss is $-\log S(d)$, its pull the
# hazard $h(d) = q(d)/S(d)$.
#
# **Theorem S5** (a target at a limit pulls towards it, within ALCL's bound, and redescends).
#
# *Assumptions.* $\alpha > 1$ and $\kappa\alpha > 1$. $\psi$ is ALCL's, with its peak at $d^* =
# \beta(\alpha-1)^{1/\alpha}$.
#
# (a) $h > 0$: a target at a limit never pulls the prediction inwards.
#
# (b) $h \le \sup\psi = \frac\kappa\beta(\alpha-1)^{(\alpha-1)/\alpha}$: it never pulls harder than the hardest pull of
# a target between the limits.
#
# (c) $h$ has one stationary point $d_h$, its peak, where $h = \psi$; $0 < d_h < d^*$. Below it, $\psi < h$; above it,
# $\psi > h$.
#
# (d) $d\,h(d) \to \kappa\alpha - 1$ as $d \to \infty$, and $h \sim q$ as $d \to -\infty$.
#
# For Gaussian noise of standard deviation $\sigma$, (a) holds, and $h(d) > d/\sigma^2$: that pull is unbounded.
#
# *Proof.* (a) is clear. (d) By L'Hôpital's rule $d\,q/S$ has the limit of $-(q + dq')/q = d\psi - 1 \to \kappa\alpha -
# 1$. (b), (c) With $q' = -\psi q$ and $S' = -q$, $h' = h(h - \psi)$. $h$ is positive and vanishes at both ends, so it
# has a maximum, at a stationary point, where $\psi(d) = h > 0$; hence $d > 0$, and (b). At any stationary point $h'' =
# -h\psi'$. Between 0 and $d^*$, $\psi' > 0$: all stationary points there are maxima, so there is at most one. Beyond
# $d^*$, $\psi' < 0$: a stationary point would be a minimum, after which $h$ needs a maximum to return to 0, and there
# is none. At $d^*$, where $h'' = 0$ and $h''' = -h\psi'' > 0$, $h$ would rise on, and need a maximum too. So there is
# one. $h - \psi$ has the sign of $h'$. The last line is Mills' inequality. $\blacksquare$
#
# *Executed check.* The library's gradients against SciPy's Student t and mpmath's incomplete beta function.


# %%
def hazard_of(loss, d):
    """The pull of a target at 0 on predictions d, by autograd."""
    x = torch.tensor(d, requires_grad=True)
    return torch.autograd.grad(loss(x, torch.zeros_like(x)), x)[0].numpy()


def hazard_mpmath(d, alpha, beta, kappa):
    """By its definition."""
    t = (mpmath.mpf(abs(d)) / beta) ** alpha
    a, b = 1 / mpmath.mpf(alpha), kappa - 1 / mpmath.mpf(alpha)
    tail = mpmath.betainc(b, a, 0, 1 / (1 + t), regularized=True) / 2
    q = (1 + t) ** -kappa * alpha / (2 * beta * mpmath.beta(a, b))
    return float(q / (tail if d > 0 else 1 - tail))


# %% tags=["nbval-check-output"]
# check: S5
d = np.append(-np.geomspace(1e3, 1e-3, 1500), np.geomspace(1e-3, 1e3, 1500))
for alpha, beta, kappa in [(2.0, 0.3, 1.0), (1.3, 0.3, 1.0), (4.0, 1.0, 0.8), (2.0, 0.1, 3.0)]:
    h = hazard_of(CensoredALCLoss(alpha, beta, kappa, learn=(), reduction="sum"), d)
    t = stats.t(2 * kappa - 1, scale=beta / math.sqrt(2 * kappa - 1))
    assert alpha != 2 or np.allclose(h, t.pdf(d) / t.sf(d), rtol=1e-7)
    assert np.allclose(h[::200], [hazard_mpmath(x, alpha, beta, kappa) for x in d[::200]], rtol=1e-7)
    psi = kappa * alpha * np.abs(d) ** alpha / (beta**alpha + np.abs(d) ** alpha) / d
    peak = h.argmax()
    assert (h > 0).all()  # (a)
    assert h.max() <= kappa / beta * (alpha - 1) ** ((alpha - 1) / alpha)  # (b)
    assert (np.diff(h)[:peak] > 0).all()  # (c)
    assert (np.diff(h)[peak:] < 0).all()
    assert (
        np.sign(psi - h)[np.abs(d / d[peak] - 1) > 0.02] == np.sign(d - d[peak])[np.abs(d / d[peak] - 1) > 0.02]
    ).all()
    assert 0 < d[peak] < beta * (alpha - 1) ** (1 / alpha)
    print(f"alpha {alpha}, kappa {kappa}: peak {h[peak]:6.3f} at {d[peak]:.3f}; d h(d) far out {d[-1] * h[-1]:.3f}")
assert math.isclose(hazard_of(TobitLoss(0.3, learn=(), reduction="sum"), d)[-1], 1e3 / 0.3**2, rel_tol=1e-3)

# %% [markdown]
# With a fraction of contamination that may stand at a limit (`atom` above 0), the pull is that times a posterior
# weight, and keeps its sign. By default it may not stand there, and the pull is as above.
#
# **Theorem S6** (clipped targets cannot collapse the scale).
#
# *Assumptions.* Predictions are given. A share $i > 0$ of the targets lies between the limits, and $E$ is the mean over
# these; a share $z_0$ of all targets lies there and is fitted exactly. A share $g$ of all is at a limit with the
# prediction on the wrong side ($d > 0$); the rest is at a limit with $d \le 0$.
#
# (a) If $z_0 = 0$, the loss is at least $i\,E\log(2|e|)$, for all legal shapes, scales and tail weights, learned or
# not: there is no collapse, **whatever** share stands at the limits, and however exactly it is fitted.
#
# (b) At a fixed shape the slope of the loss in $\log\beta$ tends to $\kappa\alpha z_0 - (\kappa\alpha - 1)(i + g)$ as
# $\beta \to 0$. So the scale collapses if $z_0 > \bigl(1 - \frac1{\kappa\alpha}\bigr)(i + g)$, and not if $z_0$ is
# less. That is Theorem A4 for the targets that lie between the limits or are predicted on the wrong side; the others do
# not count.
#
# *Proof.* (a) Probabilities are at most 1, so targets at a limit contribute $-\log S \ge 0$; for the others $q \le
# \frac{1}{2|e|}$, by Theorem S2(a). (b) By Theorem A4(a) the density's part has slope $i - \kappa\alpha(i - z_0)$. The
# slope of $-\log S(d)$ in $\log\beta$ is $-d\,h(d)$; for $d > 0$ it tends to $-(\kappa\alpha - 1)$ by S5(d), as
# $d/\beta \to \infty$, and for $d \le 0$ to 0. $\blacksquare$
#
# *Executed check.* Most of the targets at a limit and fitted exactly; the plain loss beside the censored one.

# %% tags=["nbval-check-output"]
# check: S6
rng = np.random.default_rng(seed)
target = torch.tensor(np.append(np.zeros(60), rng.uniform(0.05, 0.95, 40)))
noise = torch.tensor(rng.normal(0, 0.1, 100))
for beyond, exact in ((0, 0), (20, 0), (20, 15), (0, 35)):
    output = target + noise * (torch.arange(100) >= 60 + exact)
    output[:beyond] = 0.2
    for alpha, kappa in ((2.0, 1.0), (1.5, 2.0)):
        at = [CensoredALCLoss(alpha, beta, kappa, learn=())(output, target).item() for beta in (1e-45, 1e-35)]
        predicted = kappa * alpha * exact / 100 - (kappa * alpha - 1) * (0.4 + beyond / 100)
        assert math.isclose((at[1] - at[0]) / math.log(1e10), predicted, abs_tol=1e-6)  # (b)
output = torch.where(target > 0, target + noise, 0.0)
bound = 0.4 * (2 * (output - target)[60:].abs()).log().mean().item()
for beta in (1e-200, 1e-50, 1e-6, 0.1, 10.0):
    plain, censored = (kind(2.0, beta, learn=())(output, target).item() for kind in (ALCLoss, CensoredALCLoss))
    print(f"scale {beta:g}: plain {plain:8.2f}, censored {censored:8.2f}, bound {bound:.2f}")
    assert censored >= bound  # (a)
    assert beta > 1e-100 or plain < bound - 50

# %% [markdown]
# **Theorem S7** (under clipping the censored likelihood is consistent; the plain one is biased, and not always to the
# same side).
#
# *Assumptions.* $y = \min(\max(x_0 + n, 0), 1)$, where $n$ has ALCL's density at $\theta_0 = (\alpha_0, \beta_0,
# \kappa_0)$. For (a) and (b): $0 < x_0 < 1$, or $\alpha_0$ and $\kappa_0$ are known. For (c): $\alpha_0 > 1$; $\psi$,
# $S$, $h$ and $d_h$ are those of $\theta_0$.
#
# (a) The expected censored loss is least at $(x_0, \theta_0)$ and nowhere else.
#
# (b) Over a compact set of parameters with $(x_0, \theta_0)$ in it, censored maximum likelihood is consistent.
#
# (c) The slope of the expected **plain** loss in the prediction, at the truth, is $g(x_0) - g(1 - x_0)$ with $g(d) =
# S(d)\bigl(\psi(d) - h(d)\bigr)$. So a limit at distance $d$, the other being far, makes the plain loss pull away from
# the limit if $d < d_h$ and towards it if $d > d_h$.
#
# (d) For squared error and Gaussian noise the same holds with their $\psi$ and $h$, and $g < 0$ for every $d > 0$:
# always away from the limit.
#
# *Proof.* (a) The censored loss is $-\log$ of the distribution of $y$: a density between the limits, and two atoms. So
# its expectation exceeds that at the truth by a Kullback-Leibler divergence, which is 0 only if the distributions are
# the same. If shape and tail weight are known, the atoms give $x/\beta$ and $(1 - x)/\beta$, because $S$ is strictly
# monotone, and so both. Otherwise the density between the limits has its only maximum at $x_0$, and its values on any
# interval beside it give $\theta_0$, as in the proof of Theorem S3(a). (b) is Wald's theorem (van der Vaart,
# *Asymptotic Statistics*, Theorem 5.14). (c) The slope is the mean of $\psi(x_0 - y)$. Unclipped it is 0. At the limit
# 0, noise below $-x_0$ gives $\psi(x_0)$ instead of $\psi(-n)$, which changes the mean by $S(x_0)\psi(x_0) -
# \int_{x_0}^\infty\psi q = S(x_0)\psi(x_0) - q(x_0) = g(x_0)$, since $\psi q = -q'$; likewise at 1, with the other
# sign. The sign of $g$ is that of S5(c). (d) Mills' inequality. $\blacksquare$
#
# *Executed check.* (a) by minimising expectations, by quadrature; (c) by the derivative of another quadrature.


# %% tags=["nbval-check-output"]
# check: S7
cauchy, every = stats.cauchy(scale=0.1), ("alpha", "beta", "kappa")
for place, start in ((0.15, 0.4), (0.5, 0.3)):
    y, mass = clipped(place, cauchy)
    criterion = CensoredALCLoss(2.6, 0.3, 1.4, learn=every, reduction="none").eval()
    found = [least_expected(criterion, y, mass, start), *(getattr(criterion, name).item() for name in every)]
    print(f"true value {place}: found {found[0]:.2f}, alpha {found[1]:.2f}, beta {found[2]:.2f}, kappa {found[3]:.2f}")
    assert np.allclose(found, [place, 2, 0.1, 1], rtol=2e-2)  # (a)

# %% tags=["nbval-check-output"]
# check: S7
g = lambda d: cauchy.sf(d) * 2 * d / (0.01 + d**2) - cauchy.pdf(d)  # noqa: E731
plain = ALCLoss(2.0, 0.1, learn=(), reduction="none")
for place in (0.02, 0.05, 0.1, 0.3):
    y, mass = clipped(place, cauchy)
    x = torch.tensor(place, requires_grad=True)
    (slope,) = torch.autograd.grad(mass @ plain(x.expand_as(y), y), x)
    assert math.isclose(slope, g(place) - g(1 - place), rel_tol=1e-6, abs_tol=1e-9)  # (c)
print(
    f"Cauchy noise of scale 0.1: the plain loss turns at a distance of {optimize.brentq(g, 0.01, 0.2):.3f} from a limit"
)
normal = stats.norm(scale=0.2)
assert all(normal.sf(d) * d / 0.04 < normal.pdf(d) for d in np.geomspace(1e-3, 2, 50))  # (d)

# %% [markdown]
# ## What to take away
#
# | question | answer | where |
# |---|---|---|
# | Are all scores bounded? | yes, and all redescend but the fraction's, which counts | S1 |
# | Do far outliers implode the scale? | no, if the constant suits the units | S2 |
# | Does the fraction compete with the tail weight? | hardly | S3 |
# | What is worse than in ALCL? | exact zeros, at any share: the floor matters more | S4 |
# | What does a clipped target pull? | outwards, within ALCL's bound, redescending | S5 |
# | Do clipped images collapse the scale? | not that of the censored loss | S6 |
# | Is it consistent under clipping? | yes; the plain loss and squared error are biased | S7 |
#
# Back to [notebook 11](11_sensor.ipynb).
