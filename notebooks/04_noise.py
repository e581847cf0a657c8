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
# # 04 · Noise
#
# When the only images seen in training are noisy, which loss gives the best reconstructions? The answer depends on the
# noise, so it must be known exactly. Here it is built and checked: impulses, then Student-t noise, at five levels. At
# *high* and *extreme* it has no mean. Targets are not clipped: clipping makes residuals that are exactly zero.
#
# **What you will do.** Draw the noise and test every distribution. Prove what it does to means and tails. Clip targets
# and see exact zeros. Fit densities to the noise of every level.
#
# **What you will learn.** How noise is drawn, reproducibly, from uniforms and one seed. Why targets stay unclipped.
#
# **What you need.** [Notebook 01](01_likelihood.ipynb) for the density $p(e) \propto (1 + |e/\beta|^\alpha)^{-\kappa}$;
# Theorem A4 of [notebook 03](03_adaptation.ipynb) for the collapse.

# %% tags=["parameters"]
seed = 0
n_samples = 100_000  # draws behind every distribution that is shown
dataset = "digits"  # gray images that are contaminated
rgb_dataset = "digits_rgb"  # colour images that are contaminated

# %% tags=["hide-input"]
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy import integrate, stats
from scipy.optimize import brentq

# %% tags=["hide-input"]
from alcl.distributions import GeneralizedT
from alcl.experiments.datasets import load_dataset
from alcl.experiments.levels import (
    LEVELS,
    AlphaStableNoise,
    ContaminatedGaussianNoise,
    DriftingNoise,
    LaplaceNoise,
    clamp_for_network,
    signal_to_noise,
)
from alcl.noise import MixedNoise, StudentTNoise
from alcl.paper import noise_figures
from alcl.paper.figures import headline, image_grid
from alcl.paper.notebook import begin

save = begin("04_noise", ["seed", "n_samples", "dataset", "rgb_dataset"])


# %%
parameters = {"seed": seed, "n_samples": n_samples, "dataset": dataset, "rgb_dataset": rgb_dataset}
gray, colour = load_dataset(dataset), load_dataset(rgb_dataset)
data = {d.name: d.checksum for d in (gray, colour)}
noisy_levels = [name for name in LEVELS if name != "none"]


def generator(offset=0):
    return torch.Generator().manual_seed(seed + offset)


def draws(noise, n=n_samples, pixel=0.0, offset=0):
    """n contaminated copies of one pixel, as float64."""
    return noise(torch.full((n,), pixel, dtype=torch.float64), generator(offset)).numpy()


# %% [markdown]
# ## 1 · The contamination
#
# A clean pixel $x \in [0, 1]$ becomes
#
# $$ y = I_p(x) + s\, T_\nu, \qquad
# I_p(x) = \begin{cases} x & \text{with probability } 1 - p \\ 0 & \text{with probability } p/2 \\
# 1 & \text{with probability } p/2, \end{cases} $$
#
# where $T_\nu$ is Student-t with $\nu$ degrees of freedom, and everything is independent from pixel to pixel.
# `MixedNoise(impulse=p, scale=s, dof=nu)` is that equation.
#
# > **Our choice.** The protocol is ours. Impulses come before the additive noise, so no pixel is left untouched. In
# > colour images the three channels of a pixel are hit independently. Five levels, fixed before any training run, range
# > from nothing to Cauchy noise with two pixels in five replaced. $y$ is **not** clipped; section 5 says why.

# %% tags=["nbval-check-output"]
level_table = pd.DataFrame(
    [
        {
            "level": name,
            "impulse p": noise.impulse,
            "scale s": noise.scale,
            "dof": noise.dof or math.nan,
            "E|noise|": "exists" if (noise.dof or 9) > 1 else "infinite",
            "E noise^2": "exists" if (noise.dof or 9) > 2 else "infinite",
        }
        for name, noise in LEVELS.items()
    ]
)
save(level_table, "table04_levels")
print(level_table.to_string(index=False, na_rep="-"))

# %% [markdown]
# ### Drawn from uniforms alone
#
# Each pixel consumes a fixed number of uniforms from one seeded generator. So noise depends on the seed only;
# contaminating batch by batch, in order, equals contaminating at once; and a pixel hit by an impulse at one level is
# hit by the same impulse at every higher level, so that levels can be compared pixel by pixel.

# %% tags=["nbval-check-output"]
x = gray.x_train[:64]
whole, one_generator = LEVELS["high"](x, generator()), generator()
batches = torch.cat([LEVELS["high"](batch, one_generator) for batch in x.split(10)])
print("same seed, same noise:   ", torch.equal(whole, LEVELS["high"](x, generator())))
print("another seed, another:   ", not torch.equal(whole, LEVELS["high"](x, generator(1))))
print("batch by batch, the same:", torch.equal(whole, batches))

few, many = (MixedNoise(impulse=p)(torch.full_like(x, 0.5), generator()) for p in (0.05, 0.4))
kept = torch.equal(many[few != 0.5], few[few != 0.5])
print("impulses are nested:     ", kept)
assert kept
assert torch.equal(whole, batches)

# %% [markdown]
# Student-t draws for *every* $\nu$ come from a formula.
#
# **Theorem N1** (Student-t from two uniforms; Bailey 1994).
# *Assumptions:* $U, V$ independent and uniform on $(0, 1)$, $\nu > 0$.
# *Claim:* $T = \sqrt{\nu\,(U^{-2/\nu} - 1)}\,\cos 2\pi V$ is Student-t with $\nu$ degrees of freedom.
#
# *Proof.* Let $R = \sqrt{\nu (U^{-2/\nu} - 1)}$, so that $U = (1 + R^2/\nu)^{-\nu/2}$. As $U$ is uniform,
# $P(R > r) = (1 + r^2/\nu)^{-\nu/2}$, and $R$ has density $r\,(1 + r^2/\nu)^{-\nu/2 - 1}$. The angle $2\pi V$ is
# uniform and independent of $R$, so the point $(R\cos 2\pi V, R\sin 2\pi V)$ has a density in the plane, that of
# $R$ divided by $2\pi r$:
#
# $$ f(t, w) = \frac{1}{2\pi}\Bigl(1 + \frac{t^2 + w^2}{\nu}\Bigr)^{-\nu/2 - 1}. $$
#
# $T$ is its first coordinate. Since $1 + (t^2 + w^2)/\nu = (1 + t^2/\nu)\,(1 + w^2/(\nu + t^2))$, the substitution
# $w = \sqrt{\nu + t^2}\, z$ gives
#
# $$ \int f(t, w)\, dw = \frac{\sqrt{\nu}}{2\pi}\Bigl(1 + \frac{t^2}{\nu}\Bigr)^{-(\nu + 1)/2}
# \!\int (1 + z^2)^{-\nu/2 - 1} dz \;\propto\; \Bigl(1 + \frac{t^2}{\nu}\Bigr)^{-(\nu + 1)/2}, $$
#
# the density of $t_\nu$; both integrate to one. $\blacksquare$
#
# **Executed check.** The integral over $w$, by quadrature, against scipy's density.


# %% tags=["nbval-check-output"]
def plane_density(w, t, dof):
    return (1 + (t**2 + w**2) / dof) ** (-dof / 2 - 1) / (2 * math.pi)


# check: N1
worst = max(
    abs(integrate.quad(plane_density, -np.inf, np.inf, args=(t, dof), epsabs=0)[0] / stats.t.pdf(t, dof) - 1)
    for dof in (0.7, 1, 2, 3, 30)
    for t in (0.0, 0.5, 2.0, 10.0)
)
print(f"largest relative difference below 1e-6: {worst < 1e-6}")
assert worst < 1e-6

# %% [markdown]
# ## 2 · Every distribution against its reference
#
# There are also alpha-stable, Laplace and contaminated Gaussian noise (`alcl.experiments.levels`). Each is compared
# with scipy's distribution function by the Kolmogorov-Smirnov test. Mixed noise at a pixel $x$ is a mixture of three
# shifted Student-t distributions:
#
# $$ P(y \le a) = (1 - p)\, F_\nu\bigl(\tfrac{a - x}{s}\bigr) + \tfrac p2 F_\nu\bigl(\tfrac{a}{s}\bigr)
# {} + \tfrac p2 F_\nu\bigl(\tfrac{a - 1}{s}\bigr). $$


# %%
def mixed_cdf(noise, pixel):
    def cdf(a):
        t = stats.t(noise.dof, scale=noise.scale).cdf
        return (1 - noise.impulse) * t(a - pixel) + noise.impulse / 2 * (t(a) + t(a - 1))

    return cdf


def two_gaussians(e):
    return 0.9 * stats.norm.cdf(e, scale=0.05) + 0.1 * stats.norm.cdf(e, scale=0.5)


references = {
    "Gaussian": (StudentTNoise(0.1, math.inf), stats.norm(scale=0.1).cdf),
    "Student-t, dof 2.5": (StudentTNoise(0.1, 2.5), stats.t(2.5, scale=0.1).cdf),
    "Laplace": (LaplaceNoise(0.1), stats.laplace(scale=0.1).cdf),
    "contaminated Gaussian": (ContaminatedGaussianNoise(0.1, 0.05, 0.5), two_gaussians),
    "alpha-stable 1 (Cauchy)": (AlphaStableNoise(1.0, 0.1), stats.cauchy(scale=0.1).cdf),
}

# %% tags=["nbval-check-output"]
cases = {name: (noise, 0.0, cdf) for name, (noise, cdf) in references.items()}
for name in noisy_levels:
    for pixel in (0.0, 0.3):
        cases[f"mixed, {name}, pixel {pixel}"] = (LEVELS[name], pixel, mixed_cdf(LEVELS[name], pixel))
tests = {
    name: stats.kstest(draws(noise, pixel=pixel, offset=100 + k), cdf)
    for k, (name, (noise, pixel, cdf)) in enumerate(cases.items())
}
for name, test in tests.items():
    print(f"{name:28s} KS distance {test.statistic:.3f}   not rejected at 0.1 %: {test.pvalue > 1e-3}")
assert all(test.pvalue > 1e-3 for test in tests.values())

# %% [markdown]
# The same test on distributions that are slightly wrong:

# %% tags=["nbval-check-output"]
wrong = {
    "dof 2 taken for 1.8": stats.kstest(draws(StudentTNoise(1.0, 2)), stats.t(1.8).cdf),
    "scale 0.1 taken for 0.103": stats.kstest(draws(LaplaceNoise(0.1)), stats.laplace(scale=0.103).cdf),
    "p = 0.2 taken for 0.22": stats.kstest(
        draws(LEVELS["moderate"], pixel=0.3), mixed_cdf(MixedNoise(0.22, 0.1, 2), 0.3)
    ),
}
for name, test in wrong.items():
    print(f"{name:28s} KS distance {test.statistic:.3f}   rejected at 0.1 %: {test.pvalue < 1e-3}")
assert all(test.pvalue < 1e-3 for test in wrong.values())

# %% [markdown]
# Alpha-stable distributions are defined by a *characteristic function*: for the symmetric one with stability $a$ and
# scale $s$, $\mathrm{E}\, e^{i\omega S} = e^{-|s\omega|^a}$. The sample's mean of $e^{i\omega S}$ must agree to
# $4/\sqrt{n}$.

# %% tags=["nbval-check-output"]
for stability in (2.0, 1.7, 1.5, 1.0, 0.7):
    sample = draws(AlphaStableNoise(stability, 0.1))
    gaps = [abs(np.exp(1j * w * sample).mean() - math.exp(-(abs(0.1 * w) ** stability))) for w in (3, 10, 25)]
    print(f"stability {stability}: within the Monte Carlo error: {max(gaps) < 4 / math.sqrt(n_samples)}")
    assert max(gaps) < 4 / math.sqrt(n_samples)

# %% [markdown]
# The Kolmogorov-Smirnov distance does not see the far tail; quantiles do. The gray band holds 95 % of exact samples at
# each probability.

# %%
tails = {"Gaussian": stats.norm, "3 df": stats.t(3), "2 df": stats.t(2), "1 df": stats.t(1)}
samples = {
    name: draws(StudentTNoise(1.0, dof), offset=20 + i)
    for i, (name, dof) in enumerate(zip(tails, (math.inf, 3, 2, 1), strict=True))
}
save(noise_figures.quantiles_figure(samples, tails), "fig04a_quantiles", parameters=parameters)

# %% [markdown]
# ## 3 · What heavy tails do to residuals
#
# Suppose the network has learned the clean image perfectly. Its residuals then *are* the noise, $e = y - x$.
#
# **Theorem N2** (the tail of a residual is the tail of the additive noise).
# *Assumptions:* $e = y - x$ from the contamination of section 1, with $s > 0$,
# $\nu < \infty$. *Claim:* $P(|e| > a)\; a^\nu \to C$ as $a \to \infty$, with
#
# $$ C = s^\nu\; \frac{2\,\Gamma(\frac{\nu+1}{2})\,\nu^{\nu/2 - 1}}{\sqrt{\pi}\;\Gamma(\frac \nu 2)}, $$
#
# whatever the impulse probability. Hence $\mathrm{E}|e|^m$ is finite if and only if $m < \nu$.
#
# *Proof.* The density of $T_\nu$ is $K (1 + t^2/\nu)^{-(\nu+1)/2}$ with
# $K = \Gamma(\frac{\nu+1}{2}) / (\sqrt{\nu\pi}\,\Gamma(\frac\nu2))$, and behaves as
# $K \nu^{(\nu+1)/2}\, t^{-\nu-1}$ for large $t$. Integrating from $a/s$ to infinity, on both sides,
# $P(s|T| > a) \sim 2 K \nu^{(\nu+1)/2} \nu^{-1} (a/s)^{-\nu} = C a^{-\nu}$. An impulse moves $e$ by
# $d = I_p(x) - x$, with $|d| \le 1$, so $P(s|T| > a + 1) \le P(|e| > a) \le P(s|T| > a - 1)$, and
# $(a \pm 1)^{-\nu} / a^{-\nu} \to 1$. For the moments, $\mathrm{E}|e|^m = \int_0^\infty m a^{m-1} P(|e| > a)\, da$
# converges at infinity if and only if $m - 1 - \nu < -1$. $\blacksquare$
#
# **Executed check.** The limit against scipy's exact tail, far out, for every level; impulses included.


# %% tags=["nbval-check-output"]
def tail_constant(noise):
    log_ratio = math.lgamma((noise.dof + 1) / 2) - math.lgamma(noise.dof / 2)
    return noise.scale**noise.dof * 2 * math.exp(log_ratio) * noise.dof ** (noise.dof / 2 - 1) / math.sqrt(math.pi)


def exact_tail(noise, a, pixel):
    t = stats.t(noise.dof, scale=noise.scale)
    shares = {0.0: 1 - noise.impulse, -pixel: noise.impulse / 2, 1 - pixel: noise.impulse / 2}
    return sum(share * (t.sf(a - d) + t.cdf(-a - d)) for d, share in shares.items())


# check: N2
for name in noisy_levels:
    noise = LEVELS[name]
    ratio = exact_tail(noise, 1e4, pixel=0.3) * 1e4**noise.dof / tail_constant(noise)
    print(f"{name:9s} dof {noise.dof}: exact tail / (C a^-dof) at a = 10,000: {ratio:.3f}")
    assert abs(ratio - 1) < 1e-3

# %%
asymptotes = {name: (LEVELS[name].dof, tail_constant(LEVELS[name])) for name in noisy_levels}
noise_alone = {name: draws(LEVELS[name], pixel=0.3) - 0.3 for name in noisy_levels}
save(noise_figures.tails_figure(noise_alone, asymptotes), "fig04b_tails", parameters=parameters)

# %% [markdown]
# Up to $a = 1$ the impulses dominate; beyond it samples (solid) follow the asymptotes of Theorem N2 (dotted).
#
# ### Moments that do not settle
#
# Squared error estimates a mean. **Theorem N3** (means of Cauchy noise do not settle). *The mean of $n$ independent
# standard Cauchy variables is standard Cauchy.* *Proof.* The characteristic function is $e^{-|\omega|}$; that of
# the mean is $(e^{-|\omega|/n})^n = e^{-|\omega|}$. $\blacksquare$
#
# So at the levels high and extreme the mean of many noisy copies of a pixel is as far from the truth as a single one
# (impulses aside). **Executed check:** the means of 1000 draws, tested against the distribution of one.

# %% tags=["nbval-check-output"]
# check: N3
cauchy_draws = draws(StudentTNoise(1.0, 1), n=1000 * 1000, offset=1).reshape(1000, 1000)
test = stats.kstest(cauchy_draws.mean(1), stats.cauchy.cdf)
print(f"means of 1000 Cauchy draws are Cauchy: not rejected at 0.1 %: {test.pvalue > 1e-3}")
spread_one, spread_mean, spread_median = (
    stats.iqr(v) for v in (cauchy_draws[:, 0], cauchy_draws.mean(1), np.median(cauchy_draws, 1))
)
print(f"interquartile range: {spread_one:.1f} of one, {spread_mean:.1f} of means, {spread_median:.2f} of medians")
assert test.pvalue > 1e-3

# %% [markdown]
# Kurtosis does not measure these tails. With $a_i = e_i^2$ the sample kurtosis (about zero) is $n \sum a_i^2 / (\sum
# a_i)^2 \le n$, and of the order of $n$ as soon as one residual carries a fair share of the sum of squares. For Cauchy
# noise it always does.


# %%
def kurtosis(e):
    """Sample kurtosis about zero of each row."""
    return (e**4).mean(1) / (e**2).mean(1) ** 2


sizes = np.geomspace(100, n_samples, 7).astype(int)
rows = {}
for name in noisy_levels:
    e = draws(LEVELS[name], n=30 * sizes[-1], pixel=0.3, offset=2).reshape(30, -1) - 0.3
    rows[name] = [np.median(kurtosis(e[:, :n])) for n in sizes]
kurtosis_table = pd.DataFrame(rows, index=sizes)

# %% tags=["nbval-check-output"]
print("median sample kurtosis by sample size (Gaussian: 3)")
print(kurtosis_table.iloc[[0, 2, 4, 6]].map(lambda v: f"{v:.2g}").to_string())
growth = np.polyfit(np.log(sizes[2:]), np.log(kurtosis_table["extreme"].to_numpy()[2:]), 1)[0]
print(f"at the level extreme it grows like n^{growth:.2f}")
assert growth > 0.8
assert (kurtosis_table <= sizes[:, None]).to_numpy().all()

# %% [markdown]
# At the level low the statistic does not change over these sizes: its Student-t part is so small that far larger
# samples would be needed to see it.

# %%
cauchy = [draws(StudentTNoise(1.0, 1), offset=10 + offset) for offset in range(4)]
light = draws(StudentTNoise(1.0, 3), offset=10)
save(noise_figures.moments_figure(kurtosis_table, cauchy, light), "fig04c_moments", parameters=parameters)

# %% [markdown]
# ## 4 · What it looks like
#
# Values outside $[0, 1]$ are shown clipped: on a true scale a single Cauchy pixel would leave all others gray.
#
# > **Our choice.** The colour set follows the MNIST-M recipe, $|\text{patch} - \text{digit}|$ with patches of two
# > photographs, at 8x8: a larger size would only interpolate the digits. Train and test patches come from disjoint
# > strips of the photographs.

# %%
levels = list(LEVELS)
chosen = [torch.cat([(gray.y_test == k).nonzero()[0] for k in (0, 3, 5)]), torch.tensor([2, 13, 54])]
rows = []
for source, picked in zip((gray, colour), chosen, strict=True):
    x = source.x_test[picked]
    columns = [LEVELS[name](x, generator(3)) for name in levels]
    rows += [[column[i] for column in columns] for i in range(len(picked))]
fig = plt.figure(figsize=(5.2, 6.2))
image_grid(fig, rows, titles=levels)
headline(fig, "From clean images to two pixels in five replaced")
save(fig, "fig04d_noise_examples", parameters=parameters, data=data)

# %% [markdown]
# ### Signal-to-noise ratio
#
# Per image, $\mathrm{SNR} = 10 \log_{10} (\sum x^2 / \sum (y - x)^2)$ in dB. Where the noise has no variance its *mean*
# is a matter of luck; quantiles are not.

# %% tags=["nbval-check-output"]
snr = {}
for source in (gray, colour):
    for name in noisy_levels:
        x = source.x_train
        snr[source.name, name] = signal_to_noise(x, LEVELS[name](x, generator(4))).numpy()
quantiles = {key: np.quantile(v, (0.05, 0.25, 0.5, 0.75, 0.95)) for key, v in snr.items()}
snr_table = pd.DataFrame(quantiles, index=["5 %", "25 %", "median", "75 %", "95 %"]).T
snr_table.index.names = ["dataset", "level"]
save(snr_table, "table04_snr", parameters=parameters, data=data, float_format=".1f")
print("SNR in dB\n" + snr_table.round(0).astype(int).to_string())
assert snr_table["median"].groupby("dataset").apply(lambda v: v.is_monotonic_decreasing).all()

# %% [markdown]
# ## 5 · Why targets are not clipped
#
# A camera clips $y$ to $[0, 1]$. That puts point masses on 0 and on 1, and so makes residuals that are *exactly* zero
# wherever the clean pixel is black or white.
#
# **Theorem N4** (clipped targets have exact zeros).
# *Assumptions:* the contamination of section 1 with $s > 0$, then clipped to $[0, 1]$; a clean pixel
# $x = 0$. *Claim:* with probability $z_0 = \frac12 (1 - \frac p2) + \frac p2 F_\nu(-\frac1s)$ the clipped value is
# exactly $x$. The same holds at $x = 1$; for $0 < x < 1$ the probability is zero.
#
# *Proof.* The clipped value is 0 iff $y \le 0$. With probability $1 - p/2$ the pixel is 0 before the additive noise,
# and $y = sT \le 0$ has probability $\frac12$ by symmetry; with probability $p/2$ it is 1, and $1 + sT \le 0$ has
# probability $F_\nu(-1/s)$. The case $x = 1$ is the mirror image. For $0 < x < 1$, being clipped gives 0 or 1 and
# not $x$; not being clipped leaves a continuous distribution, which hits $x$ with probability zero. $\blacksquare$

# %% tags=["nbval-check-output"]
# check: N4
black_or_white = ((gray.x_train == 0) | (gray.x_train == 1)).double().mean().item()
clipped_share = {}
for name in noisy_levels:
    noise = LEVELS[name]
    z0 = 0.5 * (1 - noise.impulse / 2) + noise.impulse / 2 * stats.t.cdf(-1 / noise.scale, noise.dof)
    zeros = int((draws(noise).clip(0, 1) == 0).sum())
    assert stats.binomtest(zeros, n_samples, z0).pvalue > 1e-3
    clipped_share[name] = z0 * black_or_white
    print(f"{name:9s} z0 = {z0:.2f}; of all pixels of {dataset}: {clipped_share[name]:.2f} have residual zero")

# %% [markdown]
# By Theorem A4 ([notebook 03](03_adaptation.ipynb)) the likelihood with a learned scale and $\kappa = 1$ then falls to
# $-\infty$ as $\beta \to 0$ if and only if the share $z$ of exact zeros exceeds $1 - 1/\alpha$: its slope in
# $\log\beta$ tends to $1 - \alpha(1 - z)$. With the shape learned as well, **any** share will do. Unclipped noise has
# $z = 0$. **Executed check:** the slope, on real digits.


# %% tags=["nbval-check-output"]
clean = gray.x_train[:2000].double()


def residuals(name, clip):
    """Residuals of a network that reproduces every clean pixel."""
    y = LEVELS[name](clean, generator(5))
    return ((y.clamp(0, 1) if clip else y) - clean).flatten()


def negative_log_likelihood(e, alpha, beta):
    return -GeneralizedT(torch.tensor(alpha).double(), torch.tensor(beta).double()).log_prob(e).mean().item()


for clip in (False, True):
    e = residuals("high", clip)
    z = (e == 0).double().mean().item()
    profile = [negative_log_likelihood(e, 1.2, beta) for beta in (1e-12, 1e-10)]
    slope = (profile[1] - profile[0]) / math.log(100)
    print(f"clipped {clip!s:5}: share of zeros {z:.2f}, slope {slope:+.2f}, predicted {1 - 1.2 * (1 - z):+.2f}")
    assert abs(slope - (1 - 1.2 * (1 - z))) < 0.02

# %%
betas = np.geomspace(1e-8, 10, 40)
profiles = [
    np.array([negative_log_likelihood(e, 1.2, beta) for beta in betas])
    for e in (residuals("high", clip) for clip in (False, True))
]
origin = {"parameters": parameters, "data": {gray.name: gray.checksum}}
save(noise_figures.clipping_figure(betas, *profiles), "fig04e_clipping", **origin)

# %% [markdown]
# A real network only approaches black pixels. That delays the collapse and does not prevent it: as the fit improves,
# the scale follows the residuals down.
#
# ## 6 · What the network sees, and what it is asked for
#
# *Inputs* are another matter: a pixel of $10^4$ would saturate a network and test architectures, not losses. So the
# network sees $\mathrm{clamp}(y, -1, 2)$: the legal range and one full range on either side.
#
# > **Our choice.** The clamp is wide on purpose. Clipping inputs to $[0, 1]$ would already be a denoiser, and the
# > comparison would measure it. The share of pixels the clamp moves:

# %% tags=["nbval-check-output"]
for name in noisy_levels:
    noise, e = LEVELS[name], draws(LEVELS[name], pixel=0.3)
    seen = clamp_for_network(torch.from_numpy(e)).numpy()
    exact = mixed_cdf(noise, 0.3)(-1.0) + 1 - mixed_cdf(noise, 0.3)(2.0)
    moved = int((seen != e).sum())
    assert stats.binomtest(moved, n_samples, exact).pvalue > 1e-3
    extreme = np.quantile(np.abs(e), 0.9999)
    print(f"{name:9s} clamped: {100 * exact:.2f} % of pixels; 1 in 10,000 has |y| beyond {extreme:.2g}")

# %%
image = gray.x_test[chosen[0][1]]
y = LEVELS["extreme"](image, generator(9))
save(noise_figures.input_figure(image, y), "fig04f_network_input", **origin)

# %% [markdown]
# ## 7 · Which density fits the noise?
#
# Squared error stands for a Gaussian, absolute error for a Laplace density, ALCL for the generalized t. Each is fitted,
# by maximum likelihood, to the noise of one half of the images, and evaluated on the other half, in nats per pixel.


# %%
def fit_densities(e):
    """Maximum-likelihood fits, centred at zero; each as a function that gives log-densities."""
    gaussian = torch.distributions.Normal(0.0, e.square().mean().sqrt())
    laplace = torch.distributions.Laplace(0.0, e.abs().mean())
    paper = GeneralizedT.fit(e, learn=("alpha", "beta"))
    full = GeneralizedT.fit(e, learn=("alpha", "beta", "kappa"))
    return {"mse": gaussian, "l1": laplace, "alcl": paper, "alcl_kappa": full}


names = {"mse": "Gaussian", "l1": "Laplace", "alcl": "generalized t, κ = 1", "alcl_kappa": "generalized t, κ fitted"}
fits, held_out = {}, {}
for name in noisy_levels:
    first, second = residuals(name, clip=False).chunk(2)
    fits[name] = fit_densities(first)
    held_out[name] = {names[m]: -d.log_prob(second).mean().item() for m, d in fits[name].items()}

# %% tags=["nbval-check-output"]
fit_table = pd.DataFrame(held_out).T
fit_table[["alpha", "beta"]] = [
    [fits[name]["alcl"].alpha.item(), fits[name]["alcl"].beta.item()] for name in noisy_levels
]
fit_table.index.name = "level"
save(fit_table, "table04_fit", **origin, float_format=".2f")
print("negative log-likelihood on held-out images, nats per pixel; fitted alpha, beta for κ = 1")
print(fit_table.round(2).to_string())
assert (fit_table["generalized t, κ = 1"] < fit_table[["Gaussian", "Laplace"]].min(axis=1)).all()

# %%
shown = {name: residuals(name, clip=False).numpy() for name in noisy_levels}
save(noise_figures.fit_figure(shown, fits, names), "fig04g_fit", **origin)

# %% [markdown]
# The gray area is the noise; its two bumps near $-1$ and $+1$ are impulses on black and white pixels. No density of the
# four has bumps, so none is *the* distribution of the noise: the generalized t's tail has to hold the impulses as well,
# and lies above the noise beyond them. It fits best because it can be narrow at the centre and heavy in the tails.
#
# Without noise there is nothing to fit: every residual is zero, and the likelihood has no maximum.

# %% tags=["nbval-check-output"]
try:
    GeneralizedT.fit(torch.zeros(100))
except (ValueError, RuntimeError) as error:
    print(type(error).__name__)
else:
    raise AssertionError("a density was fitted to zeros")

# %% [markdown]
# ## 8 · Other distributions, for comparison
#
# Five distributions with one interquartile range, 0.1. They differ in the tail alone.

# %% tags=["nbval-check-output"]
target = 0.1
unit = {"Laplace": 2 * math.log(2), "Gaussian": 2 * stats.norm.ppf(0.75), "Cauchy": 2.0}
stable_iqr = stats.iqr(draws(AlphaStableNoise(1.5, 1.0)))
core = brentq(lambda s: 0.9 * stats.norm.cdf(target / 2, scale=s) + 0.1 * stats.norm.cdf(target / 2) - 0.75, 1e-3, 1)
other = {
    "Gaussian": StudentTNoise(target / unit["Gaussian"], math.inf),
    "Laplace": LaplaceNoise(target / unit["Laplace"]),
    "contaminated Gaussian": ContaminatedGaussianNoise(0.1, core, 1.0),
    "stable 1.5": AlphaStableNoise(1.5, target / stable_iqr),
    "Cauchy": StudentTNoise(target / unit["Cauchy"], 1),
}
for name, noise in other.items():
    e = draws(noise)
    size = np.quantile(np.abs(e), 0.999)
    print(f"{name:22s} interquartile range {stats.iqr(e):.2f}, 1 in 1000 beyond {size:7.2g}")
    assert abs(stats.iqr(e) / target - 1) < 0.03

# %%
flat, digit = torch.full((1, 24, 24), 0.5), gray.x_test[chosen[0][1]]
rows = [[x] + [noise(x, generator(6)) for noise in other.values()] for x in (flat, digit)]
fig = plt.figure(figsize=(6.6, 2.7))
titles = ["clean", "Gaussian", "Laplace", "contaminated\nGaussian", "stable 1.5", "Cauchy"]
image_grid(fig, rows, titles=titles)
headline(fig, "One interquartile range, five tails")
save(fig, "fig04h_other_noise", **origin)

# %% [markdown]
# ## 9 · A level that drifts
#
# `DriftingNoise(start, end)` interpolates impulse probability and scale linearly in a
# time $t \in [0, 1]$, and the degrees of freedom linearly in $1/\nu$, so that even Gaussian noise ($1/\nu = 0$) is a
# legal end.

# %%
drift = DriftingNoise(LEVELS["low"], LEVELS["extreme"])
times = np.linspace(0, 1, 11)
x = gray.x_train
path = np.array([np.quantile(signal_to_noise(x, drift(x, generator(7), t)), (0.05, 0.5, 0.95)) for t in times])

# %% tags=["nbval-check-output"]
for t in (0.0, 0.5, 1.0):
    noise = drift.at(t)
    median = round(path[int(10 * t), 1]) + 0.0  # + 0.0: no minus zero
    print(f"t = {t}: p = {noise.impulse:.3f}, s = {noise.scale:.2f}, dof = {noise.dof:.2f}, median SNR {median:.0f} dB")
assert torch.equal(drift(x, generator(7), 0), LEVELS["low"](x, generator(7)))
assert (np.diff(path[:, 1]) < 0).all()

# %%
save(noise_figures.drift_figure(times, path), "fig04i_drift", **origin)

# %% [markdown]
# ## What to take away
#
# - The noise is impulses, then Student-t noise, unclipped; each part passed a test that could have failed.
# - At *high* and *extreme* it has no mean (Theorem N2), and averaging does not help (Theorem N3).
# - Clipped targets have residuals that are exactly zero (Theorem N4), and a learned scale falls into them. Only
#   inputs are clamped, widely.
# - Of four densities the generalized t fits best at every level, although it is the distribution of none.
#
# Next: [05_training](05_training.ipynb).
