"""The levels of the experiments, noise that drifts or differs by channel, and what the network sees of it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alcl.experiments.levels import (
    LEVELS,
    STUDY_NOISE,
    ChannelNoise,
    DriftingNoise,
    LaplaceNoise,
    clamp_for_network,
    get_level,
    signal_to_noise,
)
from alcl.noise import MixedNoise, StudentTNoise


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_levels_are_those_of_the_protocol():
    assert {name: (noise.impulse, noise.scale, noise.dof) for name, noise in LEVELS.items()} == {
        "none": (0, 0, None),
        "low": (0.05, 0.02, 3),
        "moderate": (0.2, 0.1, 2),
        "high": (0.3, 0.1, 1),
        "extreme": (0.4, 0.2, 1),
    }
    assert all(get_level(name) is noise for name, noise in LEVELS.items())


@pytest.mark.parametrize("bad", ["hihg", "", None, 3, ["low"]])
def test_an_unknown_level_is_answered_with_the_legal_ones(bad):
    with pytest.raises(ValueError, match="level must be one of none, low, moderate, high, extreme"):
        get_level(bad)


def test_drift_starts_at_start_and_ends_at_end():
    drift = DriftingNoise(LEVELS["low"], LEVELS["extreme"])
    x = torch.rand(100, generator=generator(1))
    for t, noise in ((0, LEVELS["low"]), (1.0, LEVELS["extreme"])):
        assert drift.at(t) == noise
        assert torch.equal(drift(x, generator(), t), noise(x, generator()))


def test_drift_interpolates_levels_linearly_and_tails_in_one_over_dof():
    noise = DriftingNoise(MixedNoise(0.1, 0.02, 4), MixedNoise(0.3, 0.1, 1)).at(0.25)
    assert noise.impulse == pytest.approx(0.15)
    assert noise.scale == pytest.approx(0.04)
    assert noise.dof == pytest.approx(16 / 7)  # 1/dof = 3/4 * 1/4 + 1/4 * 1
    gaussian_end = DriftingNoise(StudentTNoise(0.1, math.inf), StudentTNoise(0.1, 2))
    assert gaussian_end.at(0.5).dof == pytest.approx(4)
    assert DriftingNoise(gaussian_end.start, gaussian_end.start).at(0.5).dof == math.inf


@pytest.mark.parametrize("quiet", [LEVELS["none"], MixedNoise(0, 0, 0)])
def test_drift_from_or_to_no_noise_borrows_the_other_tail(quiet):
    for drift in (DriftingNoise(quiet, LEVELS["high"]), DriftingNoise(LEVELS["high"], quiet)):
        assert drift.at(0.5) == MixedNoise(0.15, 0.05, 1)
    assert DriftingNoise(quiet, quiet).at(0.5).scale == 0


@given(t=st.floats(0, 1), names=st.tuples(st.sampled_from(list(LEVELS)), st.sampled_from(list(LEVELS))))
def test_drift_between_levels_stays_between_them(t, names):
    start, end = (LEVELS[name] for name in names)
    noise = DriftingNoise(start, end).at(t)
    for field in ("impulse", "scale"):
        low, high = sorted((getattr(start, field), getattr(end, field)))
        assert low - 1e-12 <= getattr(noise, field) <= high + 1e-12


@pytest.mark.parametrize(
    ("bad", "error"), [(-0.1, ValueError), (1.1, ValueError), (math.nan, ValueError), ("0", TypeError)]
)
def test_drift_time_outside_the_unit_interval_is_refused(bad, error):
    with pytest.raises(error, match="t must be a"):
        DriftingNoise(LEVELS["none"], LEVELS["high"]).at(bad)


def test_clamp_for_network_clamps_to_its_range_only():
    y = torch.tensor([-1e30, -1.5, -1.0, -0.3, 0.0, 0.7, 1.0, 1.9, 2.0, 2.5, 1e30])
    expected = torch.tensor([-1.0, -1.0, -1.0, -0.3, 0.0, 0.7, 1.0, 1.9, 2.0, 2.0, 2.0])
    assert torch.equal(clamp_for_network(y), expected)


def test_signal_to_noise_in_known_cases():
    x = torch.ones(3, 1, 4, 4)
    y = x.clone()
    y[1] += 0.1
    y[2] += 1.0
    assert signal_to_noise(x, y).tolist() == pytest.approx([math.inf, 20.0, 0.0], abs=1e-5)
    with pytest.raises(ValueError, match="x and y must be tensors of one shape"):
        signal_to_noise(x, y[:2])


def test_signal_to_noise_of_gaussian_noise_is_its_variance_ratio():
    x = torch.full((2000, 1, 16, 16), 0.5)
    y = StudentTNoise(0.1, math.inf)(x, generator())
    # E of the mean squared noise is 0.01; its log over 256 pixels is biased by about -1/256 of 4.34 dB.
    assert signal_to_noise(x, y).mean().item() == pytest.approx(10 * math.log10(0.25 / 0.01), abs=0.05)


# --- the studies' noise -----------------------------------------------------------------------------------------------


def test_channel_noise_gives_every_channel_its_own():
    channels = (LaplaceNoise(0.1), MixedNoise(1.0, 0.0, None), StudentTNoise(0.5, 3))
    x = torch.full((40, 3, 8, 8), 0.5)
    y = ChannelNoise(channels)(x, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    for c, noise in enumerate(channels):
        assert torch.equal(y[:, c], noise(x[:, c], generator))
    assert set(y[:, 1].unique().tolist()) == {0.0, 1.0}
    assert y[:, 2].std() > 3 * y[:, 0].std()


@pytest.mark.parametrize("shape", [(40, 1, 8, 8), (3, 8, 8)])
def test_channel_noise_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"x must have shape \(N, 2, H, W\), one channel for each noise of `channels`"):
        ChannelNoise((LaplaceNoise(0.1),) * 2)(torch.zeros(shape), torch.Generator())
    with pytest.raises(TypeError, match="channels must be one noise for each channel"):
        ChannelNoise(())


def test_study_noise_is_found_by_name_and_is_no_level_of_the_grid():
    assert not set(STUDY_NOISE) & set(LEVELS)
    for name, noise in STUDY_NOISE.items():
        assert get_level(name) is noise
