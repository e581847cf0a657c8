"""The losses JAL is compared with: values in 50 digits, gradients by finite differences, minimisers by a solver."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import optimize

from alcl.related.label_losses import CLASSIFICATION_LOSSES, GCELoss, MAELoss, make_classification_loss
from alcl.related.label_neighbours import (
    AELLoss,
    AGCELoss,
    ALDRKLLoss,
    AULLoss,
    CompSumLoss,
    ForwardCorrectionLoss,
    MixtureLoss,
    NCEAGCELoss,
    SCELoss,
    SquentropyLoss,
    forward_for,
)
from alcl.related.label_noise import transition_matrix

NOISE = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.0, 1.0, 0.0, 0.0], [0.3, 0.0, 0.6, 0.1], [0.2, 0.2, 0.2, 0.4]]).double()


def batch(n=6, classes=4, seed=0, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (n,), generator=generator)


def softmax(z):
    e = [mpmath.exp(x) for x in z]
    return [x / mpmath.fsum(e) for x in e]


def squares(z, y):
    return mpmath.fsum(x**2 for k, x in enumerate(z) if k != y) / (len(z) - 1)


def nce(p, y):
    return mpmath.log(p[y]) / mpmath.fsum(mpmath.log(x) for x in p)


#: name: (loss, formula of logits z, probabilities p and label y); each written down from its paper.
CASES = {
    "agce": (AGCELoss(a=0.6, q=0.6), lambda z, p, y: (mpmath.mpf(1.6) ** 0.6 - (0.6 + p[y]) ** 0.6) / 0.6),
    "agce_high": (AGCELoss(a=4.0, q=2.5), lambda z, p, y: (mpmath.mpf(5) ** 2.5 - (4 + p[y]) ** 2.5) / 2.5),
    "aul": (AULLoss(a=5.5, q=3.0), lambda z, p, y: ((5.5 - p[y]) ** 3 - mpmath.mpf(4.5) ** 3) / 3),
    "aul_low": (AULLoss(a=3.0, q=0.1), lambda z, p, y: ((3 - p[y]) ** 0.1 - mpmath.mpf(2) ** 0.1) / 0.1),
    "ael": (AELLoss(a=2.5), lambda z, p, y: mpmath.exp(-p[y] / 2.5)),
    "nce_agce": (
        NCEAGCELoss(),
        lambda z, p, y: nce(p, y) + 4 * (mpmath.mpf(7) ** 1.5 - (6 + p[y]) ** 1.5) / 1.5,
    ),
    "sce": (SCELoss(), lambda z, p, y: -0.1 * mpmath.log(p[y]) - mpmath.log(1e-4) * (1 - p[y])),
    "comp_sum_0": (CompSumLoss(0.0), lambda z, p, y: mpmath.fsum(mpmath.exp(x - z[y]) for x in z) - 1),
    "comp_sum_0.5": (
        CompSumLoss(0.5),
        lambda z, p, y: (mpmath.fsum(mpmath.exp(x - z[y]) for x in z) ** 0.5 - 1) / 0.5,
    ),
    "comp_sum_1": (CompSumLoss(1.0), lambda z, p, y: mpmath.log(mpmath.fsum(mpmath.exp(x - z[y]) for x in z))),
    "squentropy": (SquentropyLoss(), lambda z, p, y: squares(z, y) - mpmath.log(p[y])),
    "mixture": (MixtureLoss(0.3, learn=False), lambda z, p, y: -mpmath.log(0.7 * p[y] + mpmath.mpf(0.3) / 4)),
    "forward": (
        ForwardCorrectionLoss(NOISE),
        lambda z, p, y: -mpmath.log(mpmath.fsum(p[j] * NOISE[j, y].item() for j in range(4))),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_values_by_high_precision(name):
    loss, formula = CASES[name]
    loss.reduction = "none"
    logits, labels = batch()
    found = loss(logits, labels).tolist()
    rel = 1e-6 if name == "mixture" else 1e-12  # its fraction is held in single precision
    with mpmath.workdps(50):
        for z, y, value in zip(logits.tolist(), labels.tolist(), found, strict=True):
            assert value == pytest.approx(float(formula(z, softmax(z), y)), rel=rel)


@pytest.mark.parametrize("name", CASES)
def test_gradients_by_finite_differences(name):
    loss = CASES[name][0]
    loss.reduction = "none"
    logits, labels = batch(4)
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), logits.requires_grad_())


def test_every_neighbour_of_the_catalogue_is_tested():
    here = {name for name, make in CLASSIFICATION_LOSSES.items() if make.__module__.endswith("label_neighbours")}
    assert here - {name.rpartition("_")[0] for name in CASES} - set(CASES) == {"aldr_kl"}  # which has its own tests


# --- what they minimise -----------------------------------------------------------------------------------------------


def minimiser(loss, weights, seed=0):
    """argmin over p of the weighted loss: the best of several BFGS descents over logits."""
    every, w = torch.arange(len(weights)), torch.tensor(weights)

    def value(z):
        z = torch.tensor(z, requires_grad=True)
        total = (w * loss(z.expand(len(weights), -1), every)).sum()
        return total.item(), torch.autograd.grad(total, z)[0].numpy()

    rng = np.random.default_rng(seed)
    starts = [np.zeros(len(weights)), *(6 * np.eye(len(weights))), *rng.normal(size=(2, len(weights)))]
    ends = [optimize.minimize(value, z, jac=True, method="BFGS", options={"gtol": 1e-10}) for z in starts]
    return torch.tensor(min(ends, key=lambda end: end.fun).x).softmax(0).numpy()


@pytest.mark.parametrize("loss", [AGCELoss(), AULLoss(), AELLoss(), AULLoss(2.0, 3.0), AGCELoss(1.0, 0.5)], ids=repr)
def test_the_least_ratio_is_where_the_minimiser_reaches_the_vertex(loss):
    loss = type(loss)(**{k: getattr(loss, k) for k in ("a", "q") if hasattr(loss, k)}, reduction="none")
    ratio = loss.least_ratio
    assert ratio > 1.2
    for factor, vertex in ((1.05, True), (0.95, False)):
        second = 1 / (1 + factor * ratio + 0.1)
        p = minimiser(loss, [factor * ratio * second, second, 0.1 * second])
        assert (p[0] > 0.999) == vertex


def test_concave_losses_need_no_ratio():
    assert AGCELoss(1.0, 1.5).least_ratio == AULLoss(1.5, 0.9).least_ratio == 1.0
    assert AGCELoss(0.0, 0.5).least_ratio == math.inf
    for loss in (AGCELoss(1.0, 1.5, "none"), AULLoss(1.5, 0.9, "none")):
        assert minimiser(loss, [0.36, 0.33, 0.31])[0] > 0.999


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 1.7])
def test_comp_sum_losses_flatten_or_sharpen(tau):
    weights = np.array([0.5, 0.3, 0.15, 0.05])
    expected = weights ** (1 / (2 - tau))
    np.testing.assert_allclose(
        minimiser(CompSumLoss(tau, "none"), weights), expected / expected.sum(), rtol=1e-4, atol=1e-6
    )


def test_forward_correction_finds_the_distribution_behind_the_noise():
    truth = np.array([0.6, 0.2, 0.15, 0.05])
    given = truth @ NOISE.numpy()
    np.testing.assert_allclose(minimiser(ForwardCorrectionLoss(NOISE, "none"), given), truth, atol=1e-4)


# --- limits and identities --------------------------------------------------------------------------------------------


def test_known_members_of_the_families():
    logits, labels = batch()
    for one, other in (
        (AGCELoss(0.0, 0.7), GCELoss(0.7)),
        (CompSumLoss(1.7), GCELoss(0.7)),
        (CompSumLoss(2.0), lambda z, y: MAELoss()(z, y) / 2),
        (AULLoss(3.0, 1.0), lambda z, y: MAELoss()(z, y) / 2),
        (ForwardCorrectionLoss(torch.eye(4)), torch.nn.CrossEntropyLoss()),
    ):
        torch.testing.assert_close(one(logits, labels), other(logits, labels))


def test_the_fraction_is_learned_only_if_asked():
    loss = MixtureLoss(0.2)
    loss(torch.tensor([[3.0, 0.0]]), torch.tensor([1])).backward()
    assert loss.logit.grad < 0  # a label that is unlikely: more contamination
    assert loss.eps == pytest.approx(0.2)
    assert not list(MixtureLoss(0.2, learn=False).parameters())


# --- adaptive LDR-KL --------------------------------------------------------------------------------------------------


def ldr(temperature, d, loss):
    """The function that adaptive LDR-KL maximises over the temperature, in numpy."""
    stiffness = loss.alpha * math.log(len(d)) / loss.lambda_0
    soft = temperature * np.log(np.exp((d - d.max()) / temperature).mean()) + d.max()
    return soft - stiffness / 2 * (temperature - loss.lambda_0) ** 2


@pytest.mark.parametrize("normalise", [True, False])
def test_adaptive_ldr_kl_by_a_scan_over_temperatures(normalise):
    """Its value is the local maximum nearest below lambda_0; found by walking a fine grid of temperatures uphill."""
    logits, labels = batch(8, scale=0.7)
    loss = ALDRKLLoss(normalise=normalise, steps=300, reduction="none")
    values, temperatures = loss(logits, labels).tolist(), loss.temperatures(logits, labels).tolist()
    for z, y, value, temperature in zip(logits.numpy(), labels.tolist(), values, temperatures, strict=True):
        z = z / np.abs(z).mean() if normalise else z
        d = z - z[y] + 0.1 * (np.arange(4) != y)
        grid = np.arange(loss.lambda_0, 0.01, -1e-4)
        heights = np.array([ldr(t, d, loss) for t in grid])
        peak = int(np.argmax(np.diff(heights) < 0))  # the first step downhill
        assert temperature == pytest.approx(grid[peak], abs=2e-4)
        assert value == pytest.approx(heights[peak], abs=1e-6)
        assert loss.lambda_0 * (1 - 1 / loss.alpha) <= temperature <= loss.lambda_0


@pytest.mark.parametrize("normalise", [True, False])
def test_adaptive_ldr_kl_has_the_gradient_of_its_maximum(normalise):
    logits, labels = batch(5, scale=0.7)
    loss = ALDRKLLoss(normalise=normalise, steps=300, reduction="none")
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), logits.requires_grad_(), atol=1e-5)


def test_clear_examples_have_a_low_temperature():
    logits = torch.tensor([[0.1, 0.0, 0.05], [9.0, 0.0, 1.0]])
    unclear, clear = ALDRKLLoss(normalise=False).temperatures(logits, torch.tensor([0, 0])).tolist()
    assert clear < 0.55 < 0.98 < unclear


def test_adaptive_ldr_kl_depends_on_no_scale_of_the_logits():
    logits, labels = batch()
    torch.testing.assert_close(ALDRKLLoss()(logits, labels), ALDRKLLoss()(7 * logits, labels))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AGCELoss(a=-1), "a must be finite, at least 0; got -1"),
        (lambda: AGCELoss(q=0), "q must be finite, above 0; got 0"),
        (lambda: AULLoss(a=1), "a must be finite, above 1; got 1"),
        (lambda: AELLoss(a=0), "a must be finite, above 0; got 0"),
        (lambda: CompSumLoss(2.5), "tau must be finite, at least 0 and at most 2; got 2.5"),
        (lambda: SCELoss(floor=0), "floor must be finite, above 0"),
        (lambda: ALDRKLLoss(alpha=1), "alpha must be finite, above 1; got 1"),
        (lambda: ALDRKLLoss(steps=0), "steps must be finite, at least 1; got 0"),
        (lambda: MixtureLoss(0), "eps must be finite, above 0"),
        (lambda: MixtureLoss(1), "eps must be finite, above 0 and below 1; got 1"),
        (lambda: ForwardCorrectionLoss(torch.ones(2, 2)), "transition must be of shape"),
        (lambda: ForwardCorrectionLoss(torch.tensor([[1.0, 0.0], [1.0, 0.0]])), "transition must give every label"),
        (lambda: forward_for()(torch.zeros(2, 3), torch.zeros(2).long()), "logits must have the 10 classes"),
        (lambda: forward_for("instance"), "kind must be one of symmetric, asymmetric, human"),
        (lambda: make_classification_loss("mixture", rate=0.1), "loss 'mixture' takes eps, learn, reduction; got rate"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_matrix_of_the_catalogues_forward_correction_is_the_noises():
    found = forward_for("asymmetric", 0.4, "mnist").log_transition.exp()
    torch.testing.assert_close(found, transition_matrix("asymmetric", 0.4, dataset="mnist"))
