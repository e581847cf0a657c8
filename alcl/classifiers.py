"""The small classifiers of notebooks 08 and 09: images (N, C, H, W) to penultimate features, and features to logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """features: images -> (N, hidden); head: the last linear layer, (hidden, classes), whose rows are hyperplanes."""

    def __init__(self, features: nn.Module, head: nn.Linear):
        super().__init__()
        self.features, self.head = features, head

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        return self.head(self.features(images))


def small_cnn(
    image_shape: Sequence[int], classes: int, width: int = 16, hidden: int = 128, normalise: bool = True
) -> Classifier:
    """Two strided convolutions (`width`, 2 `width` channels), each with batch normalisation, and one hidden layer.

    normalise=False leaves batch normalisation out, so that no example's output depends on another's input.
    image_shape: (channels, height, width), height and width multiples of 4. Strides instead of pooling: a third of the
    time on a CPU.
    """
    if len(image_shape) != 3 or min(image_shape) < 1 or image_shape[1] % 4 or image_shape[2] % 4:
        raise ValueError(f"image_shape must be (C, H, W) with H and W multiples of 4; got {tuple(image_shape)}")
    for name, value in (("classes", classes), ("width", width), ("hidden", hidden)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}")
    channels, rows, columns = image_shape
    features = nn.Sequential(
        nn.Conv2d(channels, width, 5, stride=2, padding=2, bias=not normalise),
        nn.BatchNorm2d(width) if normalise else nn.Identity(),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=not normalise),
        nn.BatchNorm2d(2 * width) if normalise else nn.Identity(),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * width * rows * columns // 16, hidden),
        nn.ReLU(),
    )
    return Classifier(features, nn.Linear(hidden, classes))


def make_classifier(
    image_shape: Sequence[int], classes: int, width: int, hidden: int, seed: int, normalise: bool = True
) -> Classifier:
    """`small_cnn` with weights drawn from `seed`; the global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return small_cnn(image_shape, classes, width, hidden, normalise)
