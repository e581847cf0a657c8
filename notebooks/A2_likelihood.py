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
# # A2 · Likelihood, continued
#
# What is true of the density of [notebook 01](01_likelihood.ipynb) beside the main line: what noise it assumes, how to
# draw from it, its tails and moments, its entropy, its relatives, its Fisher information.
#
# **What you will do.** Take the density $p(e) \propto (1 + |e/\beta|^\alpha)^{-\kappa}$ apart.
#
# **What you will learn.** Almost everything follows from one Beta distribution, that of
# $v = |u|^\alpha/(1 + |u|^\alpha)$. Why the loss may be negative. How well $n$ residuals determine their own shape.
#
# **What you need.** [Notebook 01](01_likelihood.ipynb). Symbols are in the [glossary](glossary.md). Throughout,
# $u = e/\beta$, $\kappa\alpha > 1$, $a = 1/\alpha$ and $b = \kappa - 1/\alpha$, so that $a + b = \kappa$; $\psi_0$ and
# $\psi_1$ are the digamma and trigamma functions.

# %% tags=["parameters"]
seed = 0

# %% tags=["hide-input"]
import math
from itertools import pairwise

import mpmath
import numpy as np
import pandas as pd
import torch
from scipy import integrate, optimize, special, stats

from alcl.distributions import GeneralizedT
from alcl.functional import alcl_loss, log_correntropy
from alcl.paper.notebook import begin

save = begin("A2_likelihood", ["seed"], dtype=torch.float64)


# %% [markdown]
# ## 1 · What the density assumes about noise
#
#
# [Notebook 01](01_likelihood.ipynb) averaged a *kernel*. Averaging a *density* is a different statement, since the
# generalized Gaussian carries a normaliser that depends on $\tau$. It holds too, with another Gamma distribution, and
# it says what kind of noise the loss expects.
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
# $$ \begin{aligned}
# & \frac{\alpha}{2\beta\,\Gamma(\frac1\alpha)\,\Gamma(\kappa - \frac1\alpha)}
# \int_0^\infty \tau^{\kappa - 1} \exp\bigl(-\tau(1 + |u|^\alpha)\bigr)\, d\tau \\
# &\quad = \frac{\alpha}{2\beta}\,\frac{\Gamma(\kappa)}{\Gamma(\frac1\alpha)\,\Gamma(\kappa - \frac1\alpha)}\,
# (1 + |u|^\alpha)^{-\kappa} = p(e). \qquad\blacksquare
# \end{aligned} $$
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
# So the loss weights each residual by the precision it seems to have, given its size. An outlier is taken for a
# residual from a very noisy pixel. Theorem I6 (appendix A3) uses the same weights in iteratively reweighted least
# squares.
#
# ## 2 · Draw from it, and measure its tails
#
# Everything else follows from one substitution: $v = |u|^\alpha / (1 + |u|^\alpha)$, the fraction of the denominator
# that the residual supplies. It runs from 0 (a perfect prediction) to 1 (an outlier), and
# $1 - v = w(e)/\kappa$.
#
# **Theorem L7** (the Beta distribution behind the density).
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
# *Executed check.* Samples, mapped to $v$, against SciPy's Beta distribution; the distribution function against an
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
# > in logarithms. The distribution is that of Theorem L7; the rounding is gone.
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
# variance only for $\alpha > 3$. The Cauchy distribution is at $\alpha = 2$. Nothing in the likelihood needs those
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
# ## 3 · Why the loss may be negative
#
# A training loss below zero is no bug: a density is not a probability, and where it exceeds 1 its negative logarithm is
# below 0.
#
# **Theorem L9** (entropy, and the sign of the loss).
#
# *Assumptions.* $\kappa\alpha > 1$; residuals drawn from $p$.
#
# The expected loss, at the parameters the residuals come from, is the entropy
#
# $$ h(\alpha, \beta, \kappa) = \log Z + \kappa\,\bigl[\psi_0(\kappa) - \psi_0(\kappa - \tfrac1\alpha)\bigr]
# = \log\beta + h(\alpha, 1, \kappa). $$
#
# It takes every real value as $\beta$ varies, and is negative iff $\beta < \exp(-h(\alpha, 1, \kappa))$. At any
# other parameters the expected loss is larger.
#
# *Proof.*
# $\mathbb{E}[-\log p] = \log Z + \kappa\,\mathbb{E}\log(1 + t) = \log Z - \kappa\,\mathbb{E}\log(1 - v)$. For
# $v \sim \mathrm{Beta}(a, b)$, $\mathbb{E}\log(1 - v) = \partial_b \log B(a, b) = \psi_0(b) - \psi_0(a + b)$. Since
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
# ## 4 · Relatives
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
# two-sided Lomax (Pareto) distribution; $\kappa = 1 + 1/\alpha$ a two-sided Burr III distribution.
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
# *Executed check.* Log densities against SciPy and `torch.distributions`, which do not use our formula;
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
# ## 5 · How much a residual says about each parameter
#
# How precisely can data determine the shape? A *score* is a derivative of $\log p$ in a parameter, and the covariance
# of the scores is the Fisher information. The location $\mu$ stands for a network's output: the density of a target
# $y$ is $p(y - \mu)$.
#
# **Theorem L11** (scores and Fisher information).
#
# *Assumptions.* $\kappa\alpha > 1$, $\beta > 0$; $\alpha > \frac12$ for the entry of the location, and $e \ne 0$ in
# (a).
#
# (a) With $v = |u|^\alpha/(1 + |u|^\alpha)$ the scores are
#
# $$ s_\mu = \frac{\kappa\alpha\,v}{e}, \qquad
# s_\beta = \frac{\kappa\alpha v - 1}{\beta}, \qquad
# s_\alpha = -\kappa v\log|u| + a^2[\psi_0(a + 1) - \psi_0(b)], $$
#
# $$ s_\kappa = \log(1 - v) + \psi_0(\kappa) - \psi_0(b). $$
#
# (b) With $D = \psi_0(a + 1) - \psi_0(b)$, one residual carries the information
#
# $$ I_{\mu\mu} = \frac{\kappa^2\alpha^2}{\beta^2}\,\frac{B(2 - a,\ \kappa + a)}{B(a, b)}, \qquad
# I_{\mu\alpha} = I_{\mu\beta} = I_{\mu\kappa} = 0, $$
#
# $$ I_{\beta\beta} = \frac{\kappa\alpha - 1}{\beta^2(\kappa + 1)}, \qquad
# I_{\beta\kappa} = -\frac{1}{\beta\kappa}, \qquad
# I_{\kappa\kappa} = \psi_1(b) - \psi_1(\kappa), $$
#
# $$ I_{\alpha\beta} = -\frac{a\,(bD + \kappa)}{\beta(\kappa + 1)}, \qquad
# I_{\alpha\kappa} = a^2\Bigl[\psi_1(b) + \frac{D}{\kappa}\Bigr], $$
#
# $$ I_{\alpha\alpha} = \frac{a^3}{\kappa + 1}\Bigl[bD^2 + 2\kappa D +
# \kappa(a + 1)\bigl(\psi_1(a + 1) + \psi_1(b)\bigr)\Bigr], $$
#
# and the matrix of $(\alpha, \beta, \kappa)$ is nonsingular. For $\alpha \le \frac12$, $I_{\mu\mu} = \infty$.
#
# (c) For $\kappa = 1$, $I_{\alpha\beta} < 0$ for every $\alpha > 1$: shape and scale are never orthogonal.
#
# *Proof.* (a) $\log p = -\kappa \log(1 + |u|^\alpha) - \log Z$. With $w = |u|^\alpha$, $d\log(1 + w) = v\, d\log w$,
# and $\log w = \alpha(\log|e| - \log\beta)$ has the derivatives $\alpha/e$ in $e$, $-\alpha/\beta$ in $\beta$ and
# $\log|u|$ in $\alpha$; as $e = y - \mu$, $s_\mu$ carries the opposite sign of the derivative in $e$. (With residuals
# written as prediction minus target, as elsewhere here, only the sign of $s_\mu$ changes: $p$ is even.) For the
# normaliser, $\frac{1}{\alpha}\Gamma(a) = \Gamma(a + 1)$, so
# $\log Z = \log 2\beta + \log\Gamma(a+1) + \log\Gamma(b) - \log\Gamma(\kappa)$. Its derivative in $\beta$ is
# $1/\beta$; with $\partial a/\partial\alpha = -a^2$ and $\partial b/\partial\alpha = a^2$, in $\alpha$ it is
# $-a^2(\psi_0(a+1) - \psi_0(b))$; in $\kappa$ it is $\psi_0(b) - \psi_0(\kappa)$, and $\log(1 - v) = -\log(1 + w)$.
#
# (b) *Location.* $s_\mu$ is odd in $e$ and the other scores are even, so their products integrate to zero. As
# $e^2 = \beta^2 (v/(1-v))^{2a}$,
# $\mathbb{E}s_\mu^2 = \frac{\kappa^2\alpha^2}{\beta^2}\mathbb{E}[v^{2 - 2a}(1-v)^{2a}]$, a ratio of Beta functions,
# finite iff $2 - a > 0$.
#
# *The rest.* Write $\mathbb{E}_{p,q}$ under $\mathrm{Beta}(p, q)$, and $\ell = \log\frac{v}{1-v} = \alpha\log|u|$. Two
# facts suffice. First, $v$ tilts: $\mathbb{E}_{a,b}[v f] = \frac{a}{\kappa}\mathbb{E}_{a+1,b}f$ and
# $\mathbb{E}_{a,b}[v^2 f] = \frac{a(a+1)}{\kappa(\kappa+1)}\mathbb{E}_{a+2,b}f$. Second, by differentiating
# $\log B(p, q)$, under $\mathrm{Beta}(p, q)$: $\mathbb{E}\log(1-v) = \psi_0(q) - \psi_0(p+q)$,
# $\mathbb{E}\,\ell = \psi_0(p) - \psi_0(q)$, $\mathrm{Var}\log(1-v) = \psi_1(q) - \psi_1(p+q)$,
# $\mathrm{Var}\,\ell = \psi_1(p) + \psi_1(q)$, $\mathrm{Cov}(\ell, \log(1-v)) = -\psi_1(q)$. Recall also
# $\psi_0(x+1) = \psi_0(x) + 1/x$ and $\psi_1(x+1) = \psi_1(x) - 1/x^2$.
#
# - $\beta\beta$: $\mathrm{Var}\,v = \frac{ab}{\kappa^2(\kappa+1)}$, times $\kappa^2\alpha^2/\beta^2$.
# - $\kappa\kappa$: $\mathrm{Var}\log(1 - v)$.
# - $\beta\kappa$:
#   $\mathrm{Cov}(v, \log(1-v)) = \frac a\kappa\bigl[\psi_0(\kappa) - \psi_0(\kappa+1)\bigr] = -\frac{a}{\kappa^2}$,
#   times $\kappa\alpha/\beta$.
# - $\alpha\beta$: $\mathbb{E}[v^2\ell] = \frac{a(a+1)}{\kappa(\kappa+1)}\bigl(D + \frac1{a+1}\bigr)$ and
#   $\mathbb{E}[v]\,\mathbb{E}[v\ell] = \frac{a^2}{\kappa^2}D$, so
#   $\mathrm{Cov}(v\ell, v) = \frac{a}{\kappa^2(\kappa+1)}(bD + \kappa)$, times
#   $-\kappa a\cdot\kappa\alpha/\beta$.
# - $\alpha\kappa$:
#   $\mathbb{E}[v\ell\log(1-v)] = \frac a\kappa\bigl[D\,(\psi_0(b) - \psi_0(\kappa+1)) - \psi_1(b)\bigr]$; less
#   $\mathbb{E}[v\ell]\,\mathbb{E}\log(1-v)$ it is $-\frac a\kappa\bigl[\frac D\kappa + \psi_1(b)\bigr]$, times
#   $-\kappa a$.
# - $\alpha\alpha$: $\mathbb{E}[v^2\ell^2] = \frac{a(a+1)}{\kappa(\kappa+1)}\,\mathbb{E}_{a+2,b}\,\ell^2$ with
#   $\mathbb{E}_{a+2,b}\,\ell^2 = (D + \frac1{a+1})^2 + \psi_1(a+1) - \frac1{(a+1)^2} + \psi_1(b)$; less
#   $\frac{a^2}{\kappa^2}D^2$, times $\kappa^2a^2$.
#
# *Nonsingular.* Suppose $c_1 v\log|u| + c_2 v + c_3\log(1 - v) + c_4 = 0$ for all $u$. As $u \to 0$, all but
# $c_4$ vanish, so $c_4 = 0$; next $|u|^\alpha\log|u|$ dominates, so $c_1 = 0$. As $|u| \to \infty$, $\log(1-v)$
# is unbounded and $v$ is not, so $c_3 = 0$, and then $c_2 = 0$. The scores are linearly independent.
#
# (c) For $\kappa = 1$, $b = 1 - a$, and the recurrence and reflection of the digamma function give
# $D = \psi_0(1+a) - \psi_0(1-a) = \frac1a - \pi\cot\pi a$. This is positive on $(0,1)$, because $\tan\pi a > \pi a$
# where the tangent is positive and the cotangent is not positive elsewhere. So $bD + \kappa > 1$. $\blacksquare$
#
# *Executed check.* (a) by arbitrary-precision numerical differentiation of a log-density whose normaliser is an
# integral, done numerically. (b) by quadrature of the outer product of scores from automatic differentiation, after
# $\log|u| = \sinh(x)/\alpha$, which makes heavy tails harmless. (c) is read off.


# %%
def log_p(e, location, alpha, log_beta, kappa):
    """Log-density in arbitrary precision; the normaliser is integrated, not looked up."""
    beta = mpmath.exp(log_beta)
    mass = mpmath.quad(lambda t: (1 + t**alpha) ** -kappa, [0, 1, mpmath.inf])
    return -kappa * mpmath.log(1 + (abs(e - location) / beta) ** alpha) - mpmath.log(2 * beta * mass)


def numerical_score(e, theta):
    """Central differences in (location, alpha, log beta, kappa) at 30 digits."""
    with mpmath.workdps(30):
        return [float(mpmath.diff(lambda x, k=k: log_p(e, *theta[:k], x, *theta[k + 1 :]), theta[k])) for k in range(4)]


# %% tags=["nbval-check-output"]
# check: L11
theta = (0.0, 1.7, math.log(0.6), 1.4)  # location, alpha, log beta, kappa
residuals = [0.01, 0.5, -0.9, 40.0]
oracle = np.array([numerical_score(e, theta) for e in residuals])
model = GeneralizedT(1.7, 0.6, 1.4)
score = model.score(torch.tensor(residuals)).numpy() * [1, 1, 0.6, 1]  # d/d log beta = beta d/d beta
assert np.allclose(score, oracle, rtol=1e-9, atol=1e-9)
print(pd.DataFrame(score.round(3), index=residuals, columns=["location", "alpha", "log beta", "kappa"]))


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
heavy_to_light = GeneralizedT(torch.tensor([1.01, 1.5, 4.0, 50.0]), 1.0, 1.0).fisher_information()
assert (heavy_to_light[:, 1, 2] < 0).all()  # (c)
cauchy = GeneralizedT(2.0, 1.0).fisher_information()
print("Cauchy, in the order location, alpha, beta, kappa:")
print(np.array2string(cauchy.numpy(), precision=4, suppress_small=True))

# %% [markdown]
# The zeros in the first row say that, to first order, not knowing the shape costs the location nothing. Theorem A7 in
# [notebook 03](03_adaptation.ipynb) makes a statement about estimates of it, for symmetric noise of any distribution.
#
# The other off-diagonal entries are not zero. Their price is the same for every sample size: how much wider an error
# bar becomes because other parameters are unknown too.

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
print("standard error times sqrt(n), at the Cauchy distribution (- where not learned):")
print(price.to_string(float_format="{:.2f}".format, na_rep="-"))

# %% [markdown]
# Shape and scale, learned together, each cost the other about half again its error bar. Adding $\kappa$ makes the
# shape's error bar several times as wide: $\alpha$ and $\kappa$ share the tail, where only their product counts. That
# is a statistical reason to leave $\kappa = 1$ alone unless data are plentiful.
#
# ## What to take away
#
# - The noise that the loss assumes is generalized Gaussian with a precision that varies from residual to residual (L5),
#   and each residual is weighted by its expected precision (L6).
# - One Beta distribution (L7) gives tails and moments (L8), entropy, and why the loss may be negative (L9), the
#   relatives (L10), the scores and the information (L11).
#
# Back to [notebook 01](01_likelihood.ipynb), or on to appendix [A3_influence](A3_influence.ipynb).
