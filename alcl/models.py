"""The autoencoders of the experiments: images (N, C, H, W) in, images in [0, 1] of the same shape out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor, nn


class Autoencoder(nn.Module):
    """encoder: images -> codes (N, code); decoder: codes -> images through a sigmoid, so that outputs lie in (0, 1)."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, images: Tensor) -> Tensor:
        """Codes (N, code) of images (N, C, H, W)."""
        return self.encoder(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.decoder(self.encoder(images))


def mlp_autoencoder(image_shape: Sequence[int], hidden: int = 256, code: int = 32) -> Autoencoder:
    """Fully connected: pixels - hidden - code - hidden - pixels with ReLU (784-256-32-256-784 at 28 x 28 gray)."""
    channels, height, width = _image_shape(image_shape)
    _sizes(hidden=hidden, code=code)
    pixels = channels * height * width
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, code))
    decoder = nn.Sequential(
        nn.Linear(code, hidden),
        nn.ReLU(),
        nn.Linear(hidden, pixels),
        nn.Sigmoid(),
        nn.Unflatten(1, (channels, height, width)),
    )
    return Autoencoder(encoder, decoder)


def conv_autoencoder(image_shape: Sequence[int], hidden: int = 16, code: int = 64) -> Autoencoder:
    """Small convolutional: one 8 x 8 convolution of stride 4 with `hidden` channels, a linear code, and back.

    Height and width must be multiples of 4. One wide stride instead of two narrow ones costs half the time a step on a
    CPU and reconstructs as well: the code, not the convolutions, is the bottleneck.
    """
    channels, height, width = _image_shape(image_shape)
    _sizes(hidden=hidden, code=code)
    if height % 4 or width % 4:
        raise ValueError(f"image_shape must have height and width that are multiples of 4; got {tuple(image_shape)}")
    small = (hidden, height // 4, width // 4)
    encoder = nn.Sequential(
        nn.Conv2d(channels, hidden, 8, stride=4, padding=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(prod(small), code),
    )
    decoder = nn.Sequential(
        nn.Linear(code, prod(small)),
        nn.ReLU(),
        nn.Unflatten(1, small),
        nn.ConvTranspose2d(hidden, channels, 8, stride=4, padding=2),
        nn.Sigmoid(),
    )
    return Autoencoder(encoder, decoder)


MODELS: dict[str, Callable[..., Autoencoder]] = {"mlp": mlp_autoencoder, "conv": conv_autoencoder}


def make_model(name: str, image_shape: Sequence[int], hidden: int, code: int, seed: int) -> Autoencoder:
    """The autoencoder called `name` with weights drawn from `seed`; the global generator stays as it was."""
    if name not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}; got {name!r}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed accelerators too
        return MODELS[name](image_shape, hidden=hidden, code=code)


def _image_shape(image_shape: Sequence[int]) -> tuple[int, int, int]:
    if len(image_shape) != 3 or any(n < 1 for n in image_shape):
        raise ValueError(f"image_shape must be (channels, height, width), all positive; got {tuple(image_shape)}")
    channels, height, width = image_shape
    return int(channels), int(height), int(width)


def _sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be a positive number of units; got {size}")
