"""The small classifiers: shapes, seeding, bad input."""

import pytest
import torch

from alcl.related.label_runs import make_classifier, small_cnn


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28)])
def test_shapes(shape):
    model = small_cnn(shape, 10, width=4, hidden=6)
    images = torch.rand(5, *shape)
    assert model(images).shape == (5, 10)
    assert model.features(images).shape == (5, 6)
    torch.testing.assert_close(model.head(model.features(images)), model(images))


def test_weights_come_from_the_seed_and_nothing_else_is_seeded():
    before = torch.random.get_rng_state()
    first, again, other = (make_classifier((1, 8, 8), 3, 2, 4, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((1, 9, 8), 10), "image_shape must be"),
        (((8, 8), 10), "image_shape must be"),
        (((1, 8, 8), 0), "classes must be at least 1"),
        (((1, 8, 8), 2, 0), "width must be at least 1"),
        (((1, 8, 8), 2, 1, 0), "hidden must be at least 1"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        small_cnn(*arguments)
