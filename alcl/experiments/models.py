"""The autoencoders of the experiments: images (N, C, H, W) in, images in [0, 1] of the same shape out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight


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


class Upconvolution(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d(in, out, 2 stride, stride, padding=stride // 2)` with another way to the same sums on a CPU.

    With few output channels the transposed convolution took half of a training step. Every output pixel sees two kernel
    positions a dimension, so that a 3 x 3 convolution with an output channel for each pixel of a stride x stride block
    does in a third of the time (Shi et al., "Is the deconvolution layer the same as a convolutional layer?", 2016).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        if stride < 2 or stride % 2:
            raise ValueError(f"stride must be a positive even number; got {stride}")
        super().__init__(in_channels, out_channels, 2 * stride, stride, padding=stride // 2)

    def forward(self, images: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, stride H, stride W)."""
        if images.device.type != "cpu":
            return super().forward(images)
        return _Upconvolve.apply(images, self.weight, self.bias, self.stride[0])


class _Upconvolve(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
        inner, outer = weight.shape[:2]
        # Output 4 j + r (stride 4) sums input i times kernel 4 (j - i) + r + 2 for i = j - 1, j, j + 1: zeros where the
        # kernel ends. Axes: inner, outer, (j - i, r) for rows, (j - i, r) for columns; a convolution counts i - j.
        taps = F.pad(weight, [stride // 2] * 4).view(inner, outer, 3, stride, 3, stride).permute(1, 3, 5, 0, 2, 4)
        kernel = taps.flip(4, 5).reshape(outer * stride**2, inner, 3, 3)
        return F.pixel_shuffle(F.conv2d(images, kernel, bias.repeat_interleave(stride**2), padding=1), stride)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.stride = inputs[3]

    @staticmethod
    def backward(ctx, gradient: Tensor):
        """A transposed convolution is the adjoint of a convolution, whose own kernels are fast."""
        images, weight = ctx.saved_tensors
        options = {"stride": ctx.stride, "padding": ctx.stride // 2}
        by_images = F.conv2d(gradient, weight, **options) if ctx.needs_input_grad[0] else None
        by_weight = conv2d_weight(gradient, weight.shape, images, **options)
        return by_images, by_weight, gradient.sum((0, 2, 3)), None


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
        Upconvolution(hidden, channels, stride=4),
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
