"""The autoencoders: shapes, range of the outputs, seeds, and what happens to the generators around them."""

import math

import pytest
import torch
from torch import nn

from alcl.experiments.models import MODELS, Autoencoder, Upconvolution, conv_autoencoder, make_model, mlp_autoencoder

SHAPES = [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 32, 32), (2, 12, 20)]
models = pytest.mark.parametrize("name", MODELS)


def images(shape, number=3, seed=0):
    return torch.rand(number, *shape, generator=torch.Generator().manual_seed(seed))


@models
@pytest.mark.parametrize("shape", SHAPES)
def test_images_in_images_out(name, shape):
    model = make_model(name, shape, hidden=6, code=5, seed=0)
    x = images(shape)
    output = model(x)
    assert output.shape == x.shape
    assert model.encode(x).shape == (3, 5)
    assert torch.equal(model.decoder(model.encode(x)), output)
    assert model(x[:0]).shape == (0, *shape)


@models
def test_outputs_lie_between_0_and_1_whatever_goes_in(name):
    model = make_model(name, (1, 8, 8), hidden=6, code=5, seed=0)
    output = model(1e4 * (images((1, 8, 8)) - 0.5))
    assert output.min() >= 0
    assert output.max() <= 1
    assert output.std() > 0


@models
def test_every_weight_gets_a_gradient(name):
    model = make_model(name, (1, 8, 8), hidden=6, code=5, seed=0)
    model(images((1, 8, 8), 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_the_mlp_is_the_documented_one():
    layers = [m for m in mlp_autoencoder((1, 28, 28)).modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in layers] == [(784, 256), (256, 32), (32, 256), (256, 784)]


def test_the_convolutional_one_has_one_wide_convolution_and_its_transpose():
    model = conv_autoencoder((3, 32, 32), hidden=16, code=64)
    (down,) = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    (up,) = [m for m in model.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [(m.in_channels, m.out_channels) for m in (down, up)] == [(3, 16), (16, 3)]
    assert all(m.kernel_size == (8, 8) and m.stride == (4, 4) for m in (down, up))
    assert model.encoder[-1].in_features == model.decoder[0].out_features == 16 * 8 * 8


@pytest.mark.parametrize("stride", [2, 4])
def test_the_upconvolution_is_torchs_transposed_convolution(stride):
    torch.manual_seed(0)
    ours = Upconvolution(5, 3, stride).double()
    torch.manual_seed(0)
    torchs = nn.ConvTranspose2d(5, 3, 2 * stride, stride, padding=stride // 2).double()
    images = torch.randn(2, 5, 4, 6, dtype=torch.float64, requires_grad=True)
    ours.load_state_dict(torchs.state_dict())  # the same names and shapes
    torch.testing.assert_close(ours(images), torchs(images))
    weights = torch.randn(2, 3, 4 * stride, 6 * stride, dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad((ours(images) * weights).sum(), (images, *ours.parameters())),
        torch.autograd.grad((torchs(images) * weights).sum(), (images, *torchs.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_both_derivatives_of_the_upconvolution():
    layer = Upconvolution(2, 1, 2).double()
    images = torch.randn(
        1, 2, 2, 3, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(0)
    )

    def output(images, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (images,))

    assert torch.autograd.gradcheck(output, (images, layer.weight, layer.bias))
    assert torch.autograd.gradgradcheck(output, (images, layer.weight, layer.bias))


@pytest.mark.parametrize("stride", [0, 1, 3])
def test_the_upconvolution_needs_an_even_stride(stride):
    with pytest.raises(ValueError, match=f"stride must be a positive even number; got {stride}"):
        Upconvolution(2, 1, stride)


@models
def test_the_seed_decides_the_weights(name):
    one, same, other = (make_model(name, (1, 8, 8), hidden=6, code=5, seed=s) for s in (7, 7, 8))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@models
def test_the_global_generator_neither_moves_nor_matters(name):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    one = make_model(name, (1, 8, 8), hidden=6, code=5, seed=7)
    assert torch.equal(torch.rand(3), expected)
    two = make_model(name, (1, 8, 8), hidden=6, code=5, seed=7)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_the_generators_of_accelerators_are_left_alone(monkeypatch):
    """torch.manual_seed seeds them too, and fork_rng(devices=[]) does not put them back."""
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    make_model("mlp", (1, 8, 8), hidden=6, code=5, seed=7)
    assert seeded == []
    torch.manual_seed(0)
    assert seeded == [0]  # the patch does see what it should


@models
def test_the_generator_is_put_back_after_an_error(name):
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="hidden"):
        make_model(name, (1, 8, 8), hidden=0, code=5, seed=7)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "shape", "sizes", "message"),
    [
        ("resnet", (1, 8, 8), (6, 5), "model must be one of mlp, conv; got 'resnet'"),
        ("mlp", (8, 8), (6, 5), r"image_shape must be \(channels, height, width\), all positive; got \(8, 8\)"),
        ("mlp", (1, 0, 8), (6, 5), r"image_shape must be .* all positive; got \(1, 0, 8\)"),
        ("conv", (1, 8, -8), (6, 5), "image_shape must be .* all positive"),
        (
            "conv",
            (1, 8, 10),
            (6, 5),
            r"image_shape must have height and width that are multiples of 4; got \(1, 8, 10\)",
        ),
        ("conv", (1, 6, 8), (6, 5), "multiples of 4"),
        ("mlp", (1, 8, 8), (0, 5), "hidden must be a positive number of units; got 0"),
        ("conv", (1, 8, 8), (6, -1), "code must be a positive number of units; got -1"),
    ],
)
def test_what_is_wrong_is_named(name, shape, sizes, message):
    with pytest.raises(ValueError, match=message):
        make_model(name, shape, hidden=sizes[0], code=sizes[1], seed=0)


def test_the_mlp_takes_any_height_and_width():
    assert mlp_autoencoder((1, 5, 7), hidden=4, code=2)(images((1, 5, 7))).shape == (3, 1, 5, 7)


@models
def test_an_autoencoder_can_learn_its_input(name):
    """Eight images are learned by heart: the gradient reaches where it must."""
    model = make_model(name, (1, 8, 8), hidden=32, code=16, seed=0)
    x = (images((1, 8, 8), 8) > 0.5).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(200):
        optimizer.zero_grad()
        loss = (model(x) - x).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.02
    assert math.isfinite(loss.item())


def test_any_encoder_and_decoder_make_an_autoencoder():
    model = Autoencoder(nn.Flatten(), nn.Unflatten(1, (1, 8, 8)))
    x = images((1, 8, 8))
    assert torch.equal(model(x), x)
