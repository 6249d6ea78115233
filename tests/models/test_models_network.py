"""The network and the small backbones: sizes, normalisation and scripts, against arithmetic done here."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from evensight.models.network import Network
from evensight.models.small import MLP, SmallCNN
from evensight.runtime import script


def _images(num: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (num, 3, size, size), generator=torch.manual_seed(0), dtype=torch.uint8)


def test_small_cnn_has_the_parameters_of_the_trial() -> None:
    # shapes-focus.md, counted by hand: convolutions without bias, two numbers a channel in BatchNorm, linear with bias.
    widths = [3, 16, 32, 64, 64, 64]
    by_hand = sum(9 * a * b + 2 * b for a, b in itertools.pairwise(widths)) + 64 * 8 + 8
    network = Network(SmallCNN(64), 64, 8)
    assert sum(p.numel() for p in network.parameters()) == by_hand == 98_200


def test_mlp_is_three_layers_of_100() -> None:
    linear = [m for m in MLP(28).modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(3 * 28 * 28, 100), (100, 100), (100, 100)]


def test_mlp_sees_the_same_image_in_any_memory_format() -> None:
    backbone = MLP(8)
    x = torch.rand(4, 3, 8, 8)
    torch.testing.assert_close(backbone(x.to(memory_format=torch.channels_last)), backbone(x))


@pytest.mark.parametrize(("size", "kwargs"), [(4, {}), (64, {"num_strided": 9}), (64, {"num_strided": -1})])
def test_sizes_that_do_not_fit(size: int, kwargs: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"size|num_strided"):
        SmallCNN(size, **kwargs)


def test_pixels_are_normalised_as_written() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    network = Network(nn.Flatten(), 3 * 4 * 4, 2, mean, std)
    images = _images(2, 4)
    shape = (1, 3, 1, 1)
    expected = (images.numpy() / 255.0 - np.reshape(mean, shape)) / np.reshape(std, shape)
    np.testing.assert_allclose(network.embed(images).numpy(), expected.reshape(2, -1), atol=1e-5)


def test_dropout_acts_in_training_alone() -> None:
    torch.manual_seed(0)
    network = Network(nn.Flatten(), 48, 2, drop_rate=0.9)
    images = _images(2, 4)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))
    logits, embedding = network.forward_features(images)
    torch.testing.assert_close(network.head(embedding), logits)


@pytest.mark.parametrize("backbone", [SmallCNN(16), MLP(16)])
@pytest.mark.parametrize("num", [0, 1, 7])
def test_script_equals_eager(backbone: SmallCNN | MLP, num: int) -> None:
    network = Network(backbone, backbone.num_features, 3).eval()
    scripted = script.script(network)
    images = _images(num, 16)
    with torch.no_grad():
        torch.testing.assert_close(scripted(images), network(images))
        torch.testing.assert_close(scripted.embed(images), network.embed(images))
        assert scripted.forward_features(images)[0].shape == (num, 3)
