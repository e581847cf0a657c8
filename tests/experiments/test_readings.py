"""Every reading against an independent computation, and one run that has them all."""

import copy

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from torch import nn

from alcl.experiments import baselines, readings, reconstruction
from alcl.experiments.models import make_model
from alcl.experiments.reconstruction import Run, make_task, method_run, run, train

SMALL = {"epochs": 2, "n_train": 300, "n_test": 150}


@pytest.fixture(scope="module")
def task():
    return make_task(Run("digits", "low", **SMALL))


@pytest.fixture(scope="module")
def classifier():
    return reconstruction.clean_classifier("digits", 300)


def clusters(n=200, classes=4, size=6, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, size)) * 2
    labels = rng.integers(classes, size=2 * n)
    codes = centres[labels] + rng.normal(size=(2 * n, size)) * 1.5
    codes[:, 0] *= 100  # only standardised codes give every dimension its say
    codes, labels = torch.tensor(codes, dtype=torch.float32), torch.tensor(labels)
    return codes[:n], labels[:n], codes[n:], labels[n:]


def standardised(train_codes, test_codes):
    a, b = train_codes.double().numpy(), test_codes.double().numpy()
    return (a - a.mean(0)) / a.std(0), (b - a.mean(0)) / a.std(0)


def test_neighbours_vote_in_standardised_codes():
    codes = clusters()
    a, b = standardised(codes[0], codes[2])
    nearest = np.argsort(cdist(b, a), axis=1)[:, :5]
    votes = [np.bincount(row, minlength=4).argmax() for row in codes[1].numpy()[nearest]]
    expected = np.mean(votes == codes[3].numpy())
    assert 0.5 < expected < 1
    assert readings.neighbours_accuracy(*codes) == pytest.approx(expected, abs=1e-9)
    raw = codes[1].numpy()[np.argsort(cdist(codes[2].numpy(), codes[0].numpy()), axis=1)[:, :5]]
    assert np.mean([np.bincount(row, minlength=4).argmax() for row in raw] == codes[3].numpy()) < expected


def test_the_perceptron_is_scikit_learns():
    codes = clusters()
    a, b = standardised(codes[0], codes[2])
    perceptron = MLPClassifier((64,), batch_size=200, max_iter=20, random_state=20_260)
    with pytest.warns(match="Maximum iterations"):
        perceptron.fit(a.astype(np.float32), codes[1].numpy())
    expected = perceptron.score(b.astype(np.float32), codes[3].numpy())
    assert readings.mlp_accuracy(*codes) == pytest.approx(expected, abs=0.011)  # float32 or float64 standardisation


@pytest.mark.parametrize("reading", [readings.neighbours_accuracy, readings.mlp_accuracy])
def test_codes_that_are_not_finite_support_no_decision(reading):
    a, labels, b, test_labels = clusters(40)
    b = b.clone()
    b[3, 2] = torch.nan
    assert reading(a, labels, b, test_labels) == 0


def test_fine_tuning_a_linear_encoder_reaches_logistic_regression_and_leaves_the_encoder_alone(monkeypatch):
    # A linear encoder with a softmax on top is a softmax regression on what goes in, convex: one optimum.
    a, labels, b, test_labels = clusters(400)
    a, b = a / torch.tensor([100.0, 1, 1, 1, 1, 1]), b / torch.tensor([100.0, 1, 1, 1, 1, 1])
    encoder = nn.Linear(6, 6)
    nn.init.eye_(encoder.weight)
    before = copy.deepcopy(encoder.state_dict())
    monkeypatch.setattr(readings, "FINETUNE_EPOCHS", 200)
    found = readings.finetuned_accuracy(encoder, a, labels, b, test_labels)
    expected = LogisticRegression(C=1e3, max_iter=1000).fit(a.numpy(), labels.numpy()).score(b.numpy(), test_labels)
    assert found == pytest.approx(expected, abs=0.01)
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_fine_tuning_changes_the_encoder_that_is_judged(task):
    """A constant encoder could classify nothing without being trained itself."""
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 16))
    nn.init.normal_(encoder[1].weight, std=1e-3, generator=torch.Generator().manual_seed(0))
    arguments = (task.train_inputs, task.train_labels, task.eval_inputs, task.eval_labels)
    assert readings.finetuned_accuracy(encoder, *arguments) > 0.5
    nn.init.constant_(encoder[1].weight, torch.nan)
    assert readings.finetuned_accuracy(encoder, *arguments) == 0


def test_the_classifier_knows_clean_images_it_has_not_seen_and_is_always_the_same(task, classifier):
    assert readings.classified(classifier, task.eval_clean, task.eval_labels) > 0.9
    again = readings.train_classifier(task.train_clean, task.train_labels, epochs=1)
    other = readings.train_classifier(task.train_clean, task.train_labels, epochs=1)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), other.parameters(), strict=True))
    scores = classifier(task.eval_clean).detach().numpy()
    expected = np.mean(scores.argmax(1) == task.eval_labels.numpy())
    assert readings.classified(classifier, task.eval_clean, task.eval_labels) == pytest.approx(expected)
    assert readings.classified(classifier, task.eval_clean * torch.nan, task.eval_labels) == 0


def test_the_classifier_has_seen_no_image_of_validation(monkeypatch):
    seen = []
    monkeypatch.setattr(readings, "train_classifier", lambda images, labels: seen.append(images) or nn.Flatten())
    reconstruction.clean_classifier.__wrapped__("digits", 300)
    validation = make_task(Run("digits", "low", evaluate_on="validation", **SMALL)).eval_clean
    test = make_task(Run("digits", "low", **SMALL)).eval_clean
    known = {image.numpy().tobytes() for image in seen[0]}
    assert len(seen[0]) == 1137
    assert not known & {image.numpy().tobytes() for image in (*validation, *test)}


def test_the_noisy_error_is_a_mean_of_absolute_differences():
    images, noisy = torch.rand(3, 1, 4, 4), torch.rand(3, 1, 4, 4)
    noisy[0, 0, 0, 0] = 1e9
    expected = np.abs(images.double().numpy() - noisy.double().numpy()).mean()
    assert readings.noisy_error(images, noisy) == pytest.approx(expected, rel=1e-12)


# --- baselines ------------------------------------------------------------------------------------------------------


def test_pca_codes_and_reconstructions_are_scikit_learns(task):
    model = baselines.make_baseline("pca", task.train_inputs, 16)
    pca = PCA(16).fit(task.train_inputs.flatten(1).numpy())
    expected = pca.inverse_transform(pca.transform(task.eval_inputs.flatten(1).numpy())).clip(0, 1)
    with torch.no_grad():
        found = model(task.eval_inputs)
        codes = model.encode(task.eval_inputs)
    assert found.shape == task.eval_inputs.shape
    assert np.abs(found.flatten(1).numpy() - expected).max() < 0.05  # the randomized solver
    assert np.abs(found.flatten(1).numpy() - expected).mean() < 5e-3
    assert codes.var(0).sum() == pytest.approx(
        pca.transform(task.eval_inputs.flatten(1).numpy()).var(0).sum(), rel=0.02
    )
    with pytest.raises(ValueError, match="code must be at most 64"):
        baselines.make_baseline("pca", task.train_inputs, 65)
    with pytest.raises(ValueError, match="baseline must be one of"):
        baselines.make_baseline("ica", task.train_inputs, 5)


def test_the_noisy_images_are_their_own_reconstruction_and_code(task):
    model, criterion, history, _ = train(method_run("noisy_images", "digits", "low", **SMALL), task)
    assert criterion is None
    assert history.steps == 0
    assert torch.equal(model(task.eval_inputs), task.eval_inputs.clamp(0, 1))
    assert torch.equal(model.encode(task.eval_inputs), task.eval_inputs.flatten(1))


def test_the_untrained_network_is_the_one_that_training_starts_from(task):
    config = method_run("untrained", "digits", "low", seed=3, **SMALL)
    model, *_ = train(config, task)
    start = make_model("mlp", (1, 8, 8), 64, 16, reconstruction.stream(3, "initialisation"))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), start.parameters(), strict=True))


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_a_baseline_is_a_method_with_a_record_of_its_own(name):
    record = run(method_run(name, "digits", "low", measures="all", sensor="clipped", **SMALL))
    assert record["method"] == name
    assert set(record["metrics"]) == set(readings.ALL_MEASURES)
    assert record["history"] == {"loss": []}
    with pytest.raises(ValueError, match="takes none"):
        Run("digits", "low", name, {"alpha": 1.0})


# --- one run, every measure -----------------------------------------------------------------------------------------


def test_a_run_with_all_measures_trains_the_same_network_and_is_deterministic():
    one = run(method_run("alcl", "digits", "low", **SMALL))
    every = run(method_run("alcl", "digits", "low", measures="all", **SMALL))
    again = run(method_run("alcl", "digits", "low", measures="all", **SMALL))
    assert every["metrics"] == again["metrics"]
    assert set(every["metrics"]) == set(readings.ALL_MEASURES)
    assert {name: every["metrics"][name] for name in one["metrics"]} == one["metrics"]
    assert every["history"] == one["history"]
    assert every["digest"] != one["digest"]


def test_judge_reads_what_it_says(task, classifier):
    model, *_ = train(method_run("mse", "digits", "low", **SMALL), task)
    found = readings.judge(model, task, classifier)
    with torch.no_grad():
        images, codes = model(task.eval_inputs), [model.encode(x) for x in (task.train_inputs, task.eval_inputs)]
    coded = (codes[0], task.train_labels, codes[1], task.eval_labels)
    assert found["knn"] == readings.neighbours_accuracy(*coded)
    assert found["mlp"] == readings.mlp_accuracy(*coded)
    assert found["restored"] == readings.classified(classifier, images, task.eval_labels)
    assert found["noisy_error"] == readings.noisy_error(images, task.eval_targets)
    assert len({found[name] for name in readings.READINGS}) == len(readings.READINGS)
