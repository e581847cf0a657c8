"""Label noise: the laws by their counts, seeding, nesting in the rate, and bad input."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from alcl.related.label_noise import (
    FLIPS,
    HUMAN,
    KINDS,
    AsymmetricLabelNoise,
    ExactInstanceDependentLabelNoise,
    HumanLabelNoise,
    InstanceDependentLabelNoise,
    SymmetricLabelNoise,
    make_label_noise,
    transition_matrix,
)

N, K = 40_000, 10
LABELS = torch.arange(N) % K


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def counts(noisy):
    """(true, given) -> number."""
    return torch.bincount(LABELS * K + noisy, minlength=K * K).reshape(K, K).double().numpy()


@pytest.mark.parametrize("rate", [0.2, 0.4, 0.8])
def test_symmetric_noise_has_its_transition_matrix(rate):
    expected = np.full((K, K), rate / (K - 1))
    np.fill_diagonal(expected, 1 - rate)
    table = counts(SymmetricLabelNoise(rate)(LABELS, K, generator()))
    assert stats.chisquare(table.ravel(), (expected * N / K).ravel(), ddof=K - 1).pvalue > 1e-3


@pytest.mark.parametrize("dataset", FLIPS)
def test_asymmetric_noise_flips_the_named_classes_only(dataset):
    table = counts(make_label_noise("asymmetric", 0.4, dataset)(LABELS, K, generator()))
    for label in range(K):
        wrong = np.flatnonzero(table[label] * (np.arange(K) != label))
        if label in FLIPS[dataset]:
            assert wrong.tolist() == [FLIPS[dataset][label]]
            flipped = int(table[label, wrong[0]])
            assert stats.binomtest(flipped, N // K, 0.4).pvalue > 1e-3
        else:
            assert len(wrong) == 0


def test_cifar10s_flips_are_the_published_ones():
    assert FLIPS["cifar10"] == {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}


def images(seed=1):
    return torch.rand(N, 1, 4, 4, generator=generator(seed))


def test_instance_dependent_noise_has_its_mean_rate():
    noisy = InstanceDependentLabelNoise(0.4)(LABELS, K, generator(), images=images())
    assert stats.binomtest(int((noisy != LABELS).sum()), N, 0.4).pvalue > 1e-3


def test_instance_dependent_rates_are_a_truncated_normal():
    rates = InstanceDependentLabelNoise(0.2, 0.3).rates(LABELS, K, generator()).numpy()
    law = stats.truncnorm(-0.2 / 0.3, 0.8 / 0.3, loc=0.2, scale=0.3)
    assert stats.kstest(rates, law.cdf).pvalue > 1e-3


def test_instance_dependent_flips_depend_on_the_image():
    """Two groups of equal images: within a group one law, and another law in the other group. Symmetric noise, by the
    same test, knows no groups."""
    x = images().flatten(1)[:2].repeat(N // 2, 1)
    labels = torch.zeros(N, dtype=torch.int64)

    def p_value(law):
        noisy = law(labels, K, generator(), images=x)
        table = torch.stack([torch.bincount(noisy[i::2], minlength=K) for i in range(2)])[:, 1:]
        return stats.chi2_contingency(table.numpy() + 1).pvalue

    assert p_value(InstanceDependentLabelNoise(0.4)) < 1e-6
    assert p_value(SymmetricLabelNoise(0.4)) > 1e-3


def test_human_noise_has_the_published_matrix():
    """The facts of CIFAR-10N's "worse" set: 40.208 % wrong, largest flips truck-automobile, its reverse, cat-dog; and
    the labels that are drawn follow it."""
    table = np.array(HUMAN)
    assert (table.sum(1) == 5000).all()
    assert 1 - np.trace(table) / table.sum() == pytest.approx(0.40208, abs=1e-9)
    flips = table * (1 - np.eye(K, dtype=int))
    largest = np.dstack(np.unravel_index(np.argsort(-flips.ravel())[:3], (K, K)))[0]
    assert largest.tolist() == [[9, 1], [1, 9], [3, 5]]
    expected = N / K * table / 5000
    assert (
        stats.chisquare(
            counts(HumanLabelNoise(0.40208)(LABELS, K, generator())).ravel(), expected.ravel(), ddof=K - 1
        ).pvalue
        > 1e-3
    )
    matrix = HumanLabelNoise(0.2).matrix().numpy()
    assert 1 - matrix.diagonal().mean() == pytest.approx(0.2)
    np.testing.assert_allclose(matrix[0, 1:] / matrix[0, 1], table[0, 1:] / table[0, 1])


@pytest.mark.parametrize("kind", ["symmetric", "asymmetric", "human"])
def test_transition_matrices_are_the_counted_ones(kind):
    matrix = transition_matrix(kind, 0.3, K, "mnist").numpy()
    np.testing.assert_allclose(matrix.sum(1), 1)
    table = counts(make_label_noise(kind, 0.3, "mnist")(LABELS, K, generator()))
    assert (table[matrix == 0] == 0).all()
    deviation = np.sqrt(matrix * (1 - matrix) * K / N) + 1e-12
    assert (np.abs(table / (N / K) - matrix) / deviation).max() < 4.5


@pytest.mark.parametrize(
    ("rate", "n", "wrong"), [(0.0, 999, 0), (0.4, 999, 399), (0.7, 1000, 700), (0.29, 100, 29), (1.0, 999, 999)]
)
def test_exact_noise_flips_an_exact_number_and_no_image_more_often(rate, n, wrong):
    noise = ExactInstanceDependentLabelNoise(rate)
    labels, x = LABELS[:n], images()[:n]
    hits = torch.stack([noise(labels, K, generator(seed), images=x) != labels for seed in range(50)])
    assert (hits.sum(1) == wrong).all()
    if 0 < rate < 1 and n > 100:  # 50 draws for each image: binomial if the subset is uniform
        assert stats.kstest(stats.zscore(hits.sum(0).double().numpy()), "norm").statistic < 0.12
        assert hits.double().mean(0).var().item() == pytest.approx(rate * (1 - rate) / 50, rel=0.25)


def test_exact_noise_differs_from_the_other_in_which_flip_not_in_where_to():
    x = images().flatten(1)[:1].repeat(N, 1)
    labels = torch.zeros(N, dtype=torch.int64)
    one, other = (
        torch.bincount(make_label_noise(kind, 0.4)(labels, K, generator(), images=x), minlength=K)
        for kind in ("instance", "instance_exact")
    )
    assert other[0] == N - int(0.4 * N)
    assert one[0] != other[0]


LAWS = [make_label_noise(kind, 0.3, "mnist") for kind in KINDS]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_a_seed_gives_the_same_labels_and_another_seed_others(law):
    first, again, other = (law(LABELS, K, generator(seed), images=images()) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.int64
    assert torch.equal(LABELS, torch.arange(N) % K)  # left alone


@pytest.mark.parametrize("kind", ["symmetric", "asymmetric", "human"])
def test_a_higher_rate_only_adds_flips(kind):
    low, high = (make_label_noise(kind, rate, "mnist")(LABELS, K, generator()) for rate in (0.2, 0.6))
    flipped = low != LABELS
    assert torch.equal(low[flipped], high[flipped])
    assert (high != LABELS).sum() > 2 * flipped.sum()


@pytest.mark.parametrize("kind", ["symmetric", "instance"])
def test_the_ends_of_the_range(kind):
    x = images()
    every = make_label_noise(kind, 1.0)(LABELS, K, generator(), images=x)
    if kind == "symmetric":
        assert torch.equal(SymmetricLabelNoise(0.0)(LABELS, K, generator()), LABELS)
        assert (every != LABELS).all()
    assert every.min() >= 0
    assert every.max() < K
    assert set(SymmetricLabelNoise(1.0)(LABELS % 2, 2, generator()).tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SymmetricLabelNoise(1.5), r"rate must be a probability in \[0, 1\]; got 1.5"),
        (lambda: SymmetricLabelNoise(math.nan), "rate must be a probability"),
        (lambda: SymmetricLabelNoise(True), "rate must be a probability"),
        (lambda: InstanceDependentLabelNoise(0.4, 0.0), r"spread must be in \(0, 1\]"),
        (lambda: AsymmetricLabelNoise(0.4), "flips must map classes to other classes"),
        (lambda: AsymmetricLabelNoise(0.4, ((1, 1),)), "flips must map"),
        (lambda: AsymmetricLabelNoise(0.4, ((1, 9),))(LABELS % 3, 3, generator()), "flips name classes beyond the 3"),
        (
            lambda: make_label_noise("pair", 0.4),
            "kind must be one of symmetric, asymmetric, instance, human",
        ),
        (lambda: make_label_noise("asymmetric", 0.4, "gtsrb"), "dataset must be one of cifar10, mnist"),
        (lambda: HumanLabelNoise(0.8), "rate must be at most 0.784 for human noise; got 0.8"),
        (lambda: HumanLabelNoise(0.4)(LABELS, 11, generator()), "classes must be 10 for human noise; got 11"),
        (
            lambda: transition_matrix("instance", 0.4),
            "kind must be one of symmetric, asymmetric, human for a",
        ),
        (lambda: SymmetricLabelNoise(0.4)(LABELS, 5, generator()), r"each in \[0, 4\]"),
        (lambda: SymmetricLabelNoise(0.4)(LABELS, 1, generator()), "classes must be a whole number of at least 2"),
        (lambda: SymmetricLabelNoise(0.4)(LABELS.float(), 10, generator()), "labels must be int64"),
        (lambda: SymmetricLabelNoise(0.4)(LABELS, 10, 0), "generator must be a torch.Generator; got int"),
        (lambda: InstanceDependentLabelNoise(0.4)(LABELS, 10, generator()), "images must be floating point"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
