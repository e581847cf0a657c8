"""Every kind of noise against scipy, and the contracts of `alcl.noise`: seeding, finiteness, and one clear error."""

import math
from dataclasses import FrozenInstanceError, asdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from alcl import noise as module
from alcl.experiments.levels import (
    LEVELS,
    AlphaStableNoise,
    ContaminatedGaussianNoise,
    DriftingNoise,
    LaplaceNoise,
    get_level,
)
from alcl.noise import MixedNoise, Noise, StudentTNoise

KINDS = [
    MixedNoise(0.3, 0.1, 1),
    MixedNoise(),
    StudentTNoise(0.1, 3),
    AlphaStableNoise(1.5, 0.1),
    AlphaStableNoise(1.0, 0.1, 0.5),
    LaplaceNoise(0.1),
    ContaminatedGaussianNoise(0.1, 0.05, 1.0),
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sample(noise: Noise, n: int = 50_000, seed: int = 0, at: float = 0.0) -> np.ndarray:
    return noise(torch.full((n,), at, dtype=torch.float64), generator(seed)).numpy()


# --- the distributions, against scipy ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dof", [0.3, 1, 2, 3, 7.5, 1e8, math.inf])
def test_N1_student_t_from_two_uniforms_follows_scipy(dof):
    reference = stats.norm if math.isinf(dof) else stats.t(dof)
    assert stats.kstest(sample(StudentTNoise(0.2, dof)) / 0.2, reference.cdf).pvalue > 1e-3


def test_the_ks_test_would_notice_a_wrong_distribution():
    # The test of the tests: at this sample size, neighbouring distributions are told apart.
    assert stats.kstest(sample(StudentTNoise(1.0, 3)), stats.t(2).cdf).pvalue < 1e-6
    assert stats.kstest(sample(LaplaceNoise(1.0)), stats.laplace(scale=1.1).cdf).pvalue < 1e-6


def test_student_t_keeps_its_tail_exponent_far_out():
    # KS is blind to the tail; the exceedance count of a quantile that 1 in 10,000 passes is binomial.
    e = np.abs(sample(StudentTNoise(1.0, 1), n=1_000_000))
    exceedances = int((e > stats.cauchy.isf(0.5e-4)).sum())
    assert stats.binomtest(exceedances, e.size, 1e-4).pvalue > 1e-3


def test_laplace_follows_scipy():
    assert stats.kstest(sample(LaplaceNoise(0.3), at=0.5), stats.laplace(0.5, 0.3).cdf).pvalue > 1e-3


def test_contaminated_gaussian_follows_its_mixture():
    def cdf(e):
        return 0.85 * stats.norm.cdf(e, scale=0.1) + 0.15 * stats.norm.cdf(e, scale=2.0)

    assert stats.kstest(sample(ContaminatedGaussianNoise(0.15, 0.1, 2.0)), cdf).pvalue > 1e-3


@pytest.mark.parametrize("pixel", [0.0, 0.4, 1.0])
def test_mixed_noise_follows_its_mixture(pixel):
    p, scale, dof = 0.3, 0.1, 2

    def cdf(y):
        t = stats.t(dof, scale=scale).cdf
        return (1 - p) * t(y - pixel) + p / 2 * t(y) + p / 2 * t(y - 1)

    assert stats.kstest(sample(MixedNoise(p, scale, dof), at=pixel), cdf).pvalue > 1e-3


def test_impulses_are_salt_and_pepper_with_equal_probability_and_nothing_else():
    y = sample(MixedNoise(0.2), n=100_000, at=0.5)
    assert set(np.unique(y)) == {0.0, 0.5, 1.0}
    for value in (0.0, 1.0):
        assert stats.binomtest(int((y == value).sum()), y.size, 0.1).pvalue > 1e-3


@pytest.mark.parametrize("impulse", [0.0, 1.0])
def test_impulse_probability_reaches_both_ends(impulse):
    y = sample(MixedNoise(impulse), n=10_000, at=0.5)
    assert ((y == 0.5).mean(), np.isin(y, (0.0, 1.0)).mean()) == (1 - impulse, impulse)


def test_channels_of_one_pixel_are_hit_independently():
    x = torch.full((1, 3, 400, 400), 0.5)
    hit = (MixedNoise(0.3)(x, generator()) != 0.5).double().reshape(3, -1).numpy()
    assert np.abs(np.corrcoef(hit) - np.eye(3)).max() < 4 / math.sqrt(hit.shape[1])


STABLE = [(2.0, 0.0), (1.7, 0.0), (1.5, 0.8), (1.2, -1.0), (1.0, 0.0), (1.0, 0.6), (0.7, 0.0), (0.5, -0.4)]


@pytest.mark.parametrize(("stability", "skewness"), STABLE)
def test_alpha_stable_has_its_characteristic_function(stability, skewness):
    # The defining property of S1, independent of the sampler: E exp(i w S) = exp(-|w|^a (1 - i b sign(w) ...)).
    scale, n = 0.7, 200_000
    e = sample(AlphaStableNoise(stability, scale, skewness), n=n)
    for w in (0.3, 1.0, 2.5):
        angle = -2 / np.pi * np.log(w) if stability == 1 else np.tan(np.pi * stability / 2)
        expected = np.exp(-((w * scale) ** stability) * (1 - 1j * skewness * angle))
        assert abs(np.exp(1j * w * e).mean() - expected) < 4 / math.sqrt(n)


@pytest.mark.parametrize(("stability", "skewness"), [(1.5, 0.0), (1.2, 0.7), (1.0, 0.6)])
def test_alpha_stable_follows_scipy(stability, skewness):
    n = 100_000
    e = sample(AlphaStableNoise(stability, 0.5, skewness), n=n)
    points = np.array([-4.0, -1.0, -0.3, 0.0, 0.3, 1.0, 4.0])
    expected = stats.levy_stable.cdf(points, stability, skewness, loc=0, scale=0.5)
    empirical = (e[:, None] <= points).mean(0)
    assert np.all(np.abs(empirical - expected) < 4 * np.sqrt(expected * (1 - expected) / n) + 1e-6)


def test_alpha_stable_at_its_named_members():
    gaussian, cauchy = sample(AlphaStableNoise(2.0, 0.5)), sample(AlphaStableNoise(1.0, 0.5))
    assert stats.kstest(gaussian, stats.norm(scale=0.5 * math.sqrt(2)).cdf).pvalue > 1e-3
    assert stats.kstest(cauchy, stats.cauchy(scale=0.5).cdf).pvalue > 1e-3


@pytest.mark.parametrize("level", ["moderate", "high", "extreme"])
def test_N2_far_residuals_have_the_tail_of_the_additive_noise_whatever_the_impulses(level):
    noise, n, share = LEVELS[level], 1_000_000, 1e-3
    k = stats.t(noise.dof).pdf(0)  # the density far out is k dof^((dof+1)/2) t^(-dof-1); integrate it on both sides
    constant = noise.scale**noise.dof * 2 * k * noise.dof ** ((noise.dof - 1) / 2)
    far = (constant / share) ** (1 / noise.dof)
    assert far > 3
    beyond = int((np.abs(sample(noise, n=n, at=0.3) - 0.3) > far).sum())
    # Impulses shift by at most 1; on both sides together that moves the tail by a relative O(1 / far**2).
    assert abs(beyond / (n * share) - 1) < 4 / math.sqrt(n * share) + noise.impulse / far**2


def test_N3_means_of_cauchy_noise_do_not_settle():
    means = sample(StudentTNoise(1.0, 1), n=2_000_000).reshape(2000, 1000).mean(1)
    assert stats.kstest(means, stats.cauchy.cdf).pvalue > 1e-3


@pytest.mark.parametrize("level", ["low", "moderate", "high", "extreme"])
@pytest.mark.parametrize("pixel", [0.0, 0.5, 1.0])
def test_N4_clipped_targets_have_exact_zeros_at_black_and_white_only(level, pixel):
    noise = LEVELS[level]
    clipped = sample(noise, at=pixel).clip(0, 1)
    z = 0.5 * (1 - noise.impulse / 2) + noise.impulse / 2 * stats.t.cdf(-1 / noise.scale, noise.dof)
    exact = int((clipped == pixel).sum())
    assert exact == 0 if pixel == 0.5 else stats.binomtest(exact, clipped.size, z).pvalue > 1e-3


# --- seeding -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", KINDS, ids=repr)
def test_same_seed_same_noise_and_another_seed_another(noise):
    x = torch.rand(4, 3, 8, 8, generator=generator(1))
    assert torch.equal(noise(x, generator(2)), noise(x, generator(2)))
    if noise != LEVELS["none"]:
        assert not torch.equal(noise(x, generator(2)), noise(x, generator(3)))


@pytest.mark.parametrize("noise", KINDS, ids=repr)
def test_noise_does_not_depend_on_the_number_of_threads(noise):
    x = torch.rand(300_000, generator=generator(1))
    before, noisy = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            noisy.append(noise(x, generator(2)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(noisy[0], noisy[1])
    assert torch.equal(noisy[0], noisy[2])


@pytest.mark.parametrize("noise", KINDS, ids=repr)
def test_batch_by_batch_equals_all_at_once(noise, monkeypatch):
    x = torch.rand(50, 1, 5, 5, generator=generator(1))
    whole, one = noise(x, generator(2)), generator(2)
    assert torch.equal(whole, torch.cat([noise(batch, one) for batch in x.split(7)]))
    # Nor does the size of the working chunk, which divides nothing evenly here, change a value.
    monkeypatch.setattr(module, "CHUNK", 37)
    assert torch.equal(whole, noise(x, generator(2)))


def test_the_global_generator_is_neither_read_nor_moved():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = LEVELS["high"](torch.zeros(100), generator())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(LEVELS["high"](torch.zeros(100), generator()), first)


def test_impulses_of_a_lower_level_are_kept_at_a_higher_one():
    x = torch.full((10_000,), 0.5)
    low, high = (MixedNoise(p)(x, generator()) for p in (0.1, 0.35))
    assert torch.equal(high[low != 0.5], low[low != 0.5])


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_advances_the_generator_alike(level):
    one, other = generator(), generator()
    get_level(level)(torch.zeros(100), one)
    torch.rand(300, dtype=torch.float64, generator=other)
    assert torch.equal(one.get_state(), other.get_state())


# --- tensors in, tensors out ---------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", KINDS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3, 4, 4)])
def test_shape_and_dtype_are_kept_and_the_input_is_left_alone(noise, dtype, shape):
    x = torch.rand(shape, generator=generator(), dtype=torch.float64).to(dtype)
    copy = x.clone()
    y = noise(x, generator())
    assert (y.shape, y.dtype, y.device) == (x.shape, x.dtype, x.device)
    assert torch.equal(x, copy)
    assert x.numel() == 0 or y.data_ptr() != x.data_ptr()


def test_a_view_is_contaminated_as_its_copy_is():
    x = torch.rand(3, 8, 8, generator=generator())
    noise = LEVELS["high"]
    assert torch.equal(noise(x.transpose(1, 2), generator()), noise(x.transpose(1, 2).contiguous(), generator()))


def test_no_noise_changes_nothing():
    x = torch.rand(1000, generator=generator())
    quiet = [LEVELS["none"], StudentTNoise(0, 1), LaplaceNoise(0), AlphaStableNoise(1.5, 0)]
    for noise in [*quiet, ContaminatedGaussianNoise(0.5, 0, 0), MixedNoise(0, 0, 0), MixedNoise(0, 0, 2)]:
        assert torch.equal(noise(x, generator()), x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_wildest_noise_stays_finite(dtype):
    wild = [StudentTNoise(1, 0.01), StudentTNoise(1e30, 0.001), MixedNoise(0.5, 1e20, 0.02)]
    wild += [AlphaStableNoise(0.01, 1e30, b) for b in (-1, 0, 1)] + [AlphaStableNoise(1 + 1e-12, 1, 1)]
    for noise in wild:
        assert torch.isfinite(noise(torch.zeros(20_000, dtype=dtype), generator())).all(), noise


@pytest.mark.parametrize("corner", [0.0, 1 - 2**-53, 0.5, 0.25, 0.75])
@pytest.mark.parametrize("noise", [*KINDS, AlphaStableNoise(0.5, 1, -1), AlphaStableNoise(2, 1)], ids=repr)
def test_corner_uniforms_stay_finite(noise, corner, monkeypatch):
    # The values at which a log, a tangent or a power would be infinite come once in 2**53 draws: force them.
    monkeypatch.setattr(torch, "rand", lambda shape, **k: torch.full(shape, corner, dtype=torch.float64))
    assert torch.isfinite(noise(torch.zeros(3), generator())).all()


def test_a_uniform_of_zero_is_a_far_tail_draw_and_not_an_overflow(monkeypatch):
    # Of 2**54 draws the largest Laplace noise is about 54 log 2 = 37 scales, the largest Gaussian about 9.
    monkeypatch.setattr(torch, "rand", lambda shape, **k: torch.zeros(shape, dtype=torch.float64))
    for noise, largest in ((LaplaceNoise(1), 38), (StudentTNoise(1, math.inf), 9), (AlphaStableNoise(2, 1), 13)):
        assert noise(torch.zeros(1), generator()).abs().item() <= largest


def test_noise_records_no_gradient():
    x = torch.rand(4, requires_grad=True)
    assert not LEVELS["low"](x, generator()).requires_grad


@given(
    impulse=st.floats(0, 1),
    scale=st.floats(0, 1e6),
    dof=st.floats(0.01, 1e9),
    seed=st.integers(0, 2**32),
    n=st.integers(0, 40),
)
def test_mixed_noise_is_total_on_its_legal_range(impulse, scale, dof, seed, n):
    x = torch.linspace(0, 1, n)
    y = MixedNoise(impulse, scale, dof)(x, generator(seed))
    assert y.shape == x.shape
    assert torch.isfinite(y).all()
    assert torch.equal(y, MixedNoise(impulse, scale, dof)(x, generator(seed)))


# --- bad input: one clear error ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "error", "name"),
    [
        (lambda: MixedNoise(-0.1, 0.1, 2), ValueError, "impulse"),
        (lambda: MixedNoise(1.1, 0.1, 2), ValueError, "impulse"),
        (lambda: MixedNoise(math.nan, 0.1, 2), ValueError, "impulse"),
        (lambda: MixedNoise("high"), TypeError, "impulse"),
        (lambda: MixedNoise(True), TypeError, "impulse"),
        (lambda: MixedNoise(0.1, -0.1, 2), ValueError, "scale"),
        (lambda: MixedNoise(0.1, math.inf, 2), ValueError, "scale"),
        (lambda: MixedNoise(0.1, math.nan, 2), ValueError, "scale"),
        (lambda: MixedNoise(0.1, 0.1), ValueError, "dof"),
        (lambda: MixedNoise(0.1, 0.1, 0), ValueError, "dof"),
        (lambda: MixedNoise(0.1, 0.1, math.nan), ValueError, "dof"),
        (lambda: MixedNoise(0.1, 0.0, -1), ValueError, "dof"),
        (lambda: StudentTNoise(0.1, 0), ValueError, "dof"),
        (lambda: StudentTNoise(0.1, None), ValueError, "dof"),
        (lambda: StudentTNoise(0.1, "3"), TypeError, "dof"),
        (lambda: StudentTNoise(-1, 3), ValueError, "scale"),
        (lambda: LaplaceNoise(-0.1), ValueError, "scale"),
        (lambda: AlphaStableNoise(0.0, 0.1), ValueError, "stability"),
        (lambda: AlphaStableNoise(2.1, 0.1), ValueError, "stability"),
        (lambda: AlphaStableNoise(1.5, -0.1), ValueError, "scale"),
        (lambda: AlphaStableNoise(1.5, 0.1, 1.5), ValueError, "skewness"),
        (lambda: ContaminatedGaussianNoise(1.2, 0.1, 1.0), ValueError, "fraction"),
        (lambda: ContaminatedGaussianNoise(0.1, -0.1, 1.0), ValueError, "scale"),
        (lambda: ContaminatedGaussianNoise(0.1, 0.1, -1.0), ValueError, "outlier_scale"),
        (lambda: DriftingNoise(LaplaceNoise(0.1), StudentTNoise(0.1, 3)), TypeError, "start and end"),
        (lambda: DriftingNoise("low", LEVELS["high"]), TypeError, "start"),
        (lambda: DriftingNoise(LEVELS["low"], None), TypeError, "end"),
    ],
)
def test_illegal_arguments_name_themselves(build, error, name):
    with pytest.raises(error, match=rf"^{name} must be"):
        build()


@pytest.mark.parametrize("noise", KINDS, ids=repr)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_pixels_that_are_no_numbers_are_refused_before_the_generator_moves(noise, bad):
    g = generator()
    state = g.get_state()
    with pytest.raises(ValueError, match="x holds NaN or infinite pixels"):
        noise(torch.tensor([0.1, bad]), g)
    assert torch.equal(g.get_state(), state)


@pytest.mark.parametrize("x", [np.zeros(3), [0.0], torch.zeros(3, dtype=torch.uint8), torch.zeros(3).cfloat()])
def test_x_must_be_a_floating_point_tensor(x):
    with pytest.raises(TypeError, match="x must be a floating-point tensor"):
        LEVELS["low"](x, generator())


@pytest.mark.parametrize("bad", [None, 0, np.random.default_rng(0)])
def test_generator_must_be_a_torch_generator(bad):
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator"):
        LEVELS["low"](torch.zeros(3), bad)


def test_noise_is_frozen_comparable_and_plain():
    noise = MixedNoise(0.2, 0.1, 2)
    assert noise == LEVELS["moderate"]
    assert hash(noise) == hash(LEVELS["moderate"])
    assert asdict(noise) == {"impulse": 0.2, "scale": 0.1, "dof": 2}
    with pytest.raises(FrozenInstanceError):
        noise.scale = 1.0
