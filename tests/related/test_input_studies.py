"""The two studies beside notebook 09: digests, what is measured, what a variant changes, the declared profiles."""

import itertools
import json
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from alcl.experiments.records import RecordStore
from alcl.related import input_runs, input_studies
from alcl.related.feature_losses import PUBLISHED, TRAININGS, fit_classifier
from alcl.related.input_runs import InputRun
from alcl.related.input_studies import PROFILES, SAME_LOSS, VARIANTS, Curvature, Stability, config_of, run
from alcl.related.label_runs import make_classifier

SMALL = {"width": 4, "hidden": 8, "epochs": 2, "n_train": 200, "n_validation": 300, "n_test": 40}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(input_runs.SETTINGS, "digits", SMALL)


def test_every_field_enters_the_digest():
    one = [Curvature("digits", "clean"), Curvature("mnist", "clean"), Curvature("digits", "both")]
    one += [Curvature("digits", "clean", 1), Stability("digits"), Stability("mnist"), Stability("digits", "warm-up")]
    one += [Stability("digits", seed=1)]
    assert len({config.digest for config in one}) == 8


def test_a_record_can_be_stored_and_made_again(small, tmp_path):
    store = RecordStore(tmp_path / "input_studies.jsonl")
    for config in (Curvature("digits", "both"), Stability("digits", "weight 0.1")):
        record = run(config)
        assert store.append(record)
        assert config_of(record) == config
        assert run(config)["metrics"] == record["metrics"]
    assert store.read()[-1]["metrics"] == json.loads(json.dumps(record["metrics"]))


def test_the_networks_are_those_of_the_recorded_runs(small):
    """The same seed, the same weights: what is measured belongs to the record of notebook 09."""
    for config, training in ((Curvature("digits", "stability", 3), "stability"), (Stability("digits", seed=3), None)):
        own, _ = config.trained()
        theirs = input_runs.train(InputRun("digits", training or "stability", seed=3))
        for a, b in zip(own.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)


def test_curvature_of_a_record_against_the_recorded_run(small):
    metrics = run(Curvature("digits", "noisy"))["metrics"]
    other = input_runs.run(InputRun("digits", "noisy"))["metrics"]["curvature"]
    assert metrics["trace"] == pytest.approx(other["trace_exact"], rel=1e-4)  # by the logits' Jacobian; by Hessians
    assert metrics["largest"] == pytest.approx(metrics["largest_exact"], rel=1e-4)
    assert metrics["largest"] <= metrics["trace"] <= metrics["bound"]
    assert metrics["held"] == metrics["images"] == 40
    # the published measure in inputs of unit variance: tr(H^2) times scale^4, where the step crosses no kink
    assert metrics["published"] == pytest.approx(other["published"] * metrics["scale"] ** 4, rel=0.5)
    assert set(metrics["published_forms"]) == set(PUBLISHED)


def test_features_by_hand():
    """Two classes on a line, means at -1 and 1, each sample half a unit off; the plane at 0.5; no noise to speak of."""

    class Line(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.head = nn.Flatten(), nn.Linear(1, 2)

    model = Line().eval()
    with torch.no_grad():
        model.head.weight.copy_(torch.tensor([[-1.0], [1.0]]))
        model.head.bias.copy_(torch.tensor([0.5, -0.5]))  # equal logits at 1/2
    x = torch.tensor([0.0, 0.4, 0.6, 1.0]).view(4, 1, 1, 1)
    found = input_studies.measure_features(model, x, torch.tensor([0, 0, 1, 1]), 1e-9, torch.Generator())
    assert found["spread"] == pytest.approx(0.13)  # means 0.2 and 0.8: 0.3 squared and 0.2 squared
    assert found["within"] == pytest.approx(0.04 / 0.13)
    assert found["margin"] == pytest.approx(0.3 / math.sqrt(0.13))
    assert max(found["moved"], found["aligned"]) < 1e-6
    noisy = input_studies.measure_features(model, x, torch.tensor([0, 0, 1, 1]), 0.1, torch.Generator().manual_seed(0))
    assert 0 < noisy["aligned"] < noisy["moved"] < 0.2
    flat = input_studies.measure_features(
        model, torch.zeros_like(x), torch.tensor([0, 0, 1, 1]), 1e-9, torch.Generator()
    )
    assert flat["within"] is flat["margin"] is None


def test_the_pull_to_zero_is_the_slope_of_the_loss_in_the_scale_of_the_features():
    """The loss itself, at features scaled by a small c and by 0."""
    model = make_classifier((1, 8, 8), 4, 4, 8, seed=0, normalise=False).double().eval()
    x = torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.arange(30) % 4
    gain, pull = input_studies.pull_to_zero(model, x, y, 0.2, torch.Generator().manual_seed(1))
    g = torch.Generator().manual_seed(1)
    noisy = (x + 0.2 * torch.randn(x.shape, generator=g)).clamp(0, 1)
    loss = {}
    with torch.no_grad():
        last = model.features[-2]  # before the last ReLU: scaling it scales the features
        weight, bias = last.weight.clone(), last.bias.clone()
        for c in (0.0, 1e-5):
            last.weight.copy_(c * weight), last.bias.copy_(c * bias)
            distance = (model.features(x) - model.features(noisy)).norm(dim=1).mean()
            loss[c] = (F.cross_entropy(model(x), y).item(), distance.item())
    slopes = [(loss[1e-5][k] - loss[0.0][k]) / 1e-5 for k in (0, 1)]
    assert slopes == pytest.approx([-gain, pull], rel=1e-3)
    assert gain != 0


def test_variants_change_one_thing_each(small, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        input_runs, "fit_classifier", lambda model, *_, generator, **how: seen.update(model=model, **how)
    )
    found = {}
    for name in VARIANTS:
        seen.clear()
        Stability("digits", name).trained()
        norm = any(isinstance(part, nn.BatchNorm2d) for part in seen.pop("model").modules())
        found[name] = {**seen, "norm": norm}
    base = found["recorded"]
    changed = {name: {k: v for k, v in how.items() if base.get(k) != v} for name, how in found.items()}
    assert changed == {
        "recorded": {},
        "weight 0.1": {"weight": 0.1},
        "weight 0.01": {"weight": 0.01},
        "warm-up": {"warm_up": 3},
        "rate 3e-4": {"lr": 3e-4},
        "noise 0.06": {"sigma": 0.06},
        "batch norm": {"norm": True},
    }
    assert set(VARIANTS) - set(SAME_LOSS) == {"recorded", "weight 0.1", "weight 0.01"}


def test_a_warm_up_is_clean_training_until_it_ends():
    images = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(40) % 2

    def weights(training, epochs, **how):
        model = make_classifier((1, 8, 8), 2, 4, 8, seed=0, normalise=False)
        # noise is drawn by every training, so that batches stay the same
        how = {"sigma": 0.2, "epochs": epochs, "batch_size": 10, "generator": torch.Generator().manual_seed(0), **how}
        fit_classifier(model, images, labels, training, **how)
        return nn.utils.parameters_to_vector(model.parameters())

    assert torch.equal(weights("stability", 2, warm_up=2), weights("clean", 2))
    assert not torch.equal(weights("stability", 3, warm_up=2), weights("clean", 3))
    assert not torch.equal(weights("stability", 3, warm_up=2), weights("stability", 3))


def test_a_blind_network_has_collapsed_and_a_seeing_one_has_not(small):
    config = InputRun("digits", "stability")
    model = make_classifier((1, 8, 8), 10, 4, 8, seed=0, normalise=False).eval()
    with torch.no_grad():
        model.features[-2].bias.fill_(-100.0)
        model.head.bias.zero_()
    found = input_studies.evaluate(model, config)
    assert found["collapsed"]
    assert found["alive"] == found["spread"] == 0
    assert found["loss"] == pytest.approx(math.log(10))
    trained = input_runs.train(InputRun("digits", "clean", epochs=20, n_train=600))
    seeing = input_studies.evaluate(trained, config)
    assert not seeing["collapsed"]
    assert seeing["clean"] > 0.3
    assert seeing["alive"] > 0
    assert set(seeing["robust"]) == set(input_runs.PERTURBATIONS)


def test_the_declared_profiles():
    embedded, paper = PROFILES["embedded"](), PROFILES["paper"]()
    assert len({config.digest for config in (*embedded, *paper)}) == 10 * 5 + 30 * 7 + 30 * 2 + 5 * 5 + 5 * 7
    first = list(itertools.islice((c for c in embedded if isinstance(c, Curvature)), 6))
    assert [(c.training, c.seed) for c in first] == [*((training, 0) for training in TRAININGS), ("clean", 1)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Curvature("cifar10", "clean"), "dataset must be one of digits, mnist; got 'cifar10'"),
        (lambda: Curvature("digits", "none"), "training must be one of clean, noisy, both"),
        (lambda: Curvature("digits", "clean", -1), "seed must be a whole number of at least 0; got -1"),
        (lambda: Stability("digits", "cold"), "variant must be one of recorded, weight 0.1"),
        (lambda: Stability("digits", seed=0.5), "seed must be a whole number of at least 0; got 0.5"),
        (lambda: config_of({"config": {"kind": "run"}}), "kind must be one of curvature, stability; got 'run'"),
    ],
)
def test_illegal_runs_do_not_exist(make, message):
    with pytest.raises(ValueError, match=message):
        make()
