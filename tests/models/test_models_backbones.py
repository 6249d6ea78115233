"""Backbones by name, their own preprocessing, weights from files, and the sentence for each mistake."""

import logging
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from evensight.config import ModelConfig
from evensight.errors import UserError
from evensight.models.backbones import build_network, load_weights
from evensight.models.small import SmallCNN
from evensight.names import BACKBONES
from evensight.runtime import script
from evensight.runtime.preprocess import PreprocessSpec


def _config(backbone: str, **keys) -> ModelConfig:
    return ModelConfig(backbone=backbone, **keys)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_every_name_of_the_table_builds(name: str) -> None:
    network, spec = build_network(_config(name), 5)
    assert (spec.mean, spec.std, spec.crop_ratio) == ((0.5,) * 3, (0.5,) * 3, 1.0)
    assert network.eval()(torch.zeros(2, 3, spec.size, spec.size, dtype=torch.uint8)).shape == (2, 5)


def test_preprocessing_is_the_backbones_own_unless_set() -> None:
    # Published configuration of timm's resnet18.a1_in1k; torchvision's weights were evaluated at 256 cut to 224.
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    _, spec = build_network(_config("timm/resnet18"), 2)
    assert spec == PreprocessSpec(224, 0.95, *imagenet)
    _, spec = build_network(_config("torchvision/mobilenet_v3_small"), 2)
    assert spec == PreprocessSpec(224, 0.875, *imagenet)
    keys = {"size": 64, "crop_ratio": 1.0, "mean": [0.1, 0.2, 0.3], "std": [1, 2, 3]}
    _, spec = build_network(_config("timm/resnet18", **keys), 2)
    assert spec == PreprocessSpec(64, 1.0, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "timm/resnet18",
        "timm/mobilenetv3_small_100",
        "timm/vit_tiny_patch16_224",
        "timm/convnext_atto",
        "timm/efficientnet_b0",
        "torchvision/resnet18",
        "torchvision/mobilenet_v3_small",
        "torchvision/efficientnet_b0",
    ],
)
def test_backbones_script(name: str) -> None:
    network, spec = build_network(_config(name, size=64 if "vit" in name else 96), 3)
    images = torch.randint(0, 256, (2, 3, spec.size, spec.size), dtype=torch.uint8)
    network.eval()
    with torch.no_grad():
        torch.testing.assert_close(script.script(network)(images), network(images))
        assert network.embed(images).shape == (2, network.num_features)


def test_channels_last_is_as_told() -> None:
    for channels_last in (True, False):
        network, _ = build_network(_config("small_cnn", channels_last=channels_last), 2)
        weight = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d) and m.in_channels > 3).weight
        assert weight.is_contiguous(memory_format=torch.channels_last) == channels_last


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"backbone": "smal_cnn"}, "Did you mean 'small_cnn'"),
        ({"backbone": "resnet18"}, "Did you mean 'timm/resnet18'"),
        ({"backbone": "timm/resnet19"}, "Did you mean 'timm/resnet18'"),
        ({"backbone": "torchvision/resnet_18"}, "Did you mean 'torchvision/resnet18'"),
        ({"backbone": "hub/resnet18"}, "timm/<name>"),
        ({"backbone": "timm/resnet18.no_such_tag"}, "no_such_tag"),
        ({"backbone": "timm/resnet18", "kwargs": {"colour": 1}}, "colour"),
        ({"backbone": "small_cnn", "kwargs": {"colour": 1}}, "colour"),
        ({"backbone": "small_cnn", "size": 4}, "size"),
        ({"backbone": "small_cnn", "pretrained": True}, "no published weights"),
        ({"backbone": "small_cnn", "std": [1.0, 1.0]}, "three numbers"),
        ({"backbone": "small_cnn", "std": [1.0, 1.0, 0.0]}, "three numbers"),
        ({"backbone": "small_cnn", "checkpoint_path": "nothing.pt"}, "not a file"),
        ({"backbone": "timm/resnet18", "pretrained": True, "checkpoint_path": "x"}, "only one"),
        ({"backbone": "torchvision/squeezenet1_0"}, "no linear head"),
        ({"backbone": "torchvision/vit_b_16", "size": 64}, "64 x 64"),
    ],
)
def test_mistakes_are_one_sentence(keys: dict, said: str) -> None:
    with pytest.raises(UserError) as caught:
        build_network(ModelConfig(**keys), 2)
    assert "model." in str(caught.value) and said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["timm/resnet18", "torchvision/resnet18"])
def test_weights_out_of_reach_name_the_way_out(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"model\.checkpoint_path"):
        build_network(_config(name, pretrained=True), 2)


@pytest.mark.parametrize("kind", ["safetensors", "plain", "state_dict", "checkpoint"])
def test_weights_from_a_file(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trained, _ = build_network(_config("small_cnn", size=16), 3)
    state = {name: value.contiguous() for name, value in trained.backbone.state_dict().items()}
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "plain":
        torch.save({**state, "fc.weight": torch.zeros(9, 9)}, path)
    elif kind == "state_dict":
        torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}, path)
    else:  # of ours
        torch.save({"state_dict": {f"network.{name}": value for name, value in trained.state_dict().items()}}, path)
    with caplog.at_level(logging.INFO):
        network, _ = build_network(_config("small_cnn", size=16, checkpoint_path=str(path)), 5)
    for name, value in network.backbone.state_dict().items():
        assert torch.equal(value, state[name])
    assert ("fc.weight" in caplog.text) == (kind == "plain")


def test_weights_of_another_backbone_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(SmallCNN(16, channels=(16, 32, 64)).state_dict(), path)
    with pytest.raises(UserError, match="lacks"):
        load_weights(SmallCNN(16), path)
    torch.save(SmallCNN(16, channels=(8, 32, 64, 64, 64)).state_dict(), path)
    with pytest.raises(UserError, match="shape"):
        load_weights(SmallCNN(16), path)
    path.write_bytes(b"hello")
    with pytest.raises(UserError, match="cannot be read"):
        load_weights(SmallCNN(16), path)
    torch.save({"a": 1}, path)
    with pytest.raises(UserError, match="no tensors"):
        load_weights(SmallCNN(16), path)
