"""Backbones by name: our own (`names.BACKBONES`), `timm/<name>`, `torchvision/<name>`."""

from __future__ import annotations

import contextlib
import logging
import pickle
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evensight.config import ModelConfig
from evensight.cues import Cue
from evensight.errors import UserError, first_line, nearest, unknown
from evensight.models.network import Network
from evensight.names import BACKBONES, resolve
from evensight.runtime.preprocess import PreprocessSpec

log = logging.getLogger(__name__)

_WAY_OUT = "name a file of weights with model.checkpoint_path=<file>, or train from scratch with model.pretrained=false"
_SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
# What files of weights put before the backbone's own names: data-parallel training, our checkpoints and artifacts.
_PREFIXES = ("", "module.", "model.", "backbone.", "network.backbone.")


@dataclass(frozen=True)
class _Built:
    """A backbone without its head, and what its own configuration says of images."""

    module: nn.Module
    spec: PreprocessSpec


def build_network(model: ModelConfig, num_classes: int, removed: Sequence[Cue] = ()) -> tuple[Network, PreprocessSpec]:
    """Builds the network a configuration names; weights are drawn from torch's global generator.

    Args:
        model: What to build; keys left null are the backbone's own.
        num_classes: C.
        removed: Cues that the network takes away from every image.

    Returns:
        The network, on the CPU, and what it wants of an image.

    Raises:
        UserError: If the name, an argument, the size or the weights do not fit; says what would.
    """
    if model.pretrained and model.checkpoint_path:
        raise UserError("model.pretrained and model.checkpoint_path are both set; only one can give the weights.")
    source, _, name = str(model.backbone).rpartition("/")
    builders: dict[str, Callable[[ModelConfig, str], _Built]] = {"": _own, "timm": _timm, "torchvision": _torchvision}
    if source not in builders:
        raise _unknown_name(model.backbone)
    built = builders[source](model, name)
    if model.checkpoint_path:
        load_weights(built.module, Path(model.checkpoint_path))
    num_features = _num_features(built.module, built.spec.size, model.backbone)
    spec = built.spec
    network = Network(built.module, num_features, num_classes, spec.mean, spec.std, model.drop_rate, removed)
    if model.channels_last:
        network = network.to(memory_format=torch.channels_last)
    return network, spec


def load_weights(module: nn.Module, path: Path) -> None:
    """Fills a backbone from a `.safetensors`, `.pt` or `.pth` file, or a checkpoint of ours.

    Tensors of the file that the backbone has not (its old head) are named in the log.

    Raises:
        UserError: If the file cannot be read, or lacks or misfits a tensor of the backbone.
    """
    found = _read_weights(path)
    wanted = module.state_dict()
    first = next(iter(wanted))
    prefix = next((prefix for prefix in _PREFIXES if prefix + first in found), "")
    given = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
    missing = [name for name in wanted if name not in given and not name.endswith("num_batches_tracked")]
    if missing:
        raise UserError(
            f"model.checkpoint_path: {path} lacks {len(missing)} of {len(wanted)} tensors of the backbone "
            f"({', '.join(missing[:3])}); is it of another backbone?"
        )
    for name, value in wanted.items():
        if name in given and given[name].shape != value.shape:
            shapes = f"{list(given[name].shape)} instead of {list(value.shape)}"
            raise UserError(f"model.checkpoint_path: {path} has {name} of shape {shapes}; is it of another backbone?")
    unused = sorted(set(given) - set(wanted))
    if unused:
        log.info("%s: %d tensors are not of the backbone and left out (%s)", path, len(unused), ", ".join(unused[:4]))
    module.load_state_dict({name: given.get(name, value) for name, value in wanted.items()})


def check_weights(path: Path) -> None:
    """Raises UserError unless there is a file of weights at `path`, with the nearest name beside it."""
    if path.is_file():
        return
    beside = [entry.name for entry in path.parent.glob("*") if entry.suffix in _SUFFIXES]
    closest = nearest(path.name, beside)
    hint = f" Did you mean {str(path.parent / closest)!r}?" if closest else ""
    raise UserError(f"model.checkpoint_path: {path} is not a file; allowed: {', '.join(_SUFFIXES)}.{hint}")


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    check_weights(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        told = re.search(r"GLOBAL (\S+)", str(error))
        raise UserError(
            f"model.checkpoint_path: {path} is a pickle of more than tensors and plain values"
            f"{f' ({told[1]})' if told else ''}, which could run code and is refused; save the state_dict alone, "
            "as .safetensors or with torch.save."
        ) from error
    except Exception as error:  # zip and safetensors each raise their own kinds
        reason = first_line(error).partition(". ")[0]
        raise UserError(f"model.checkpoint_path: {path} cannot be read as weights ({reason}).") from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    named = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(name): value for name, value in named if isinstance(value, torch.Tensor)}
    if not tensors:
        raise UserError(f"model.checkpoint_path: {path} holds no tensors by name; allowed is a state_dict.")
    return tensors


def _own(model: ModelConfig, name: str) -> _Built:
    if name not in BACKBONES:
        raise _unknown_name(name)
    if model.pretrained:
        raise UserError(f"model.pretrained: {name} has no published weights; {_WAY_OUT}.")
    backbone = resolve(BACKBONES, "model.backbone", name)
    spec = _spec(model, PreprocessSpec(backbone.default_size))
    return _Built(_arguments(model, lambda: backbone(spec.size, **model.kwargs)), spec)


def _timm(model: ModelConfig, name: str) -> _Built:
    import timm
    from timm.data.config import resolve_model_data_config

    if not timm.is_model(name.partition(".")[0]):
        raise _unknown_name(model.backbone)

    def create() -> Any:
        arguments = dict(model.kwargs)
        published = timm.get_pretrained_cfg(name)
        if model.size is not None and published is not None and published.fixed_input_size:
            arguments.setdefault("img_size", model.size)
        return timm.create_model(name, model.pretrained, num_classes=0, **arguments)

    module: nn.Module = _arguments(model, create)
    own: dict[str, Any] = resolve_model_data_config(module)  # type: ignore[no-untyped-call]
    spec = PreprocessSpec(own["input_size"][-1], own["crop_pct"], _three(own["mean"]), _three(own["std"]))
    return _Built(module, _spec(model, spec))


def _torchvision(model: ModelConfig, name: str) -> _Built:
    from torchvision import models

    if f"torchvision/{name}" not in _torchvision_names():
        raise _unknown_name(model.backbone)
    published = models.get_model_weights(name).DEFAULT
    weights = published if model.pretrained else None
    module: nn.Module = _arguments(model, lambda: models.get_model(name, weights=weights, **model.kwargs))
    _remove_head(module, name)
    own = published.transforms()
    size, resized = own.crop_size[0], own.resize_size[0]
    spec = PreprocessSpec(size, min(1.0, size / resized), _three(own.mean), _three(own.std))
    return _Built(module, _spec(model, spec))


def _remove_head(module: nn.Module, name: str) -> None:
    """Puts the identity in the place of the last linear layer of a torchvision classifier."""
    for attribute in ("fc", "classifier", "heads", "head"):
        head = getattr(module, attribute, None)
        if isinstance(head, nn.Linear):
            setattr(module, attribute, nn.Identity())
            return
        if isinstance(head, nn.Sequential) and isinstance(head[-1], nn.Linear):
            head[-1] = nn.Identity()
            return
    raise UserError(f"model.backbone: torchvision/{name} has no linear head; use timm/<name> or another backbone.")


def _spec(model: ModelConfig, own: PreprocessSpec) -> PreprocessSpec:
    """Returns the backbone's own preprocessing with the keys that are set in the configuration."""
    for key in ("mean", "std"):
        values = getattr(model, key)
        if values is not None and (len(values) != 3 or (key == "std" and min(values) <= 0)):
            raise UserError(f"model.{key}: {list(values)} is not allowed; three numbers, of red, green and blue.")
    return PreprocessSpec(
        size=own.size if model.size is None else model.size,
        crop_ratio=float(own.crop_ratio if model.crop_ratio is None else model.crop_ratio),
        mean=own.mean if model.mean is None else _three(model.mean),
        std=own.std if model.std is None else _three(model.std),
    )


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _num_features(module: nn.Module, size: int, name: str) -> int:
    """Asks the backbone itself: some name another width in their attributes than they give."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            out = module(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UserError(f"model.size: {name} does not take images of {size} x {size} ({reason}).") from error
    module.train(training)
    if not isinstance(out, torch.Tensor) or out.ndim != 2:
        raise UserError(f"model.backbone: {name} does not give one vector an image; use another backbone.")
    return int(out.shape[1])


def _arguments(model: ModelConfig, create: Callable[[], Any]) -> Any:
    """Calls a constructor; an argument it does not take and a failed download are answered in a sentence."""
    try:
        with _short_wait(model.pretrained):
            return create()
    except UserError:
        raise
    except OSError as error:  # of urllib, requests and huggingface_hub alike
        reason = f"{type(error).__name__}: {first_line(error)[:100]}"
        raise UserError(
            f"model.pretrained: the weights of {model.backbone} cannot be fetched ({reason}); {_WAY_OUT}."
        ) from error
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise UserError(
            f"model.kwargs: {model.backbone} with {dict(model.kwargs)}, size {model.size or 'of its own'} "
            f"cannot be built ({str(error).splitlines()[0][:200]})."
        ) from error


@contextlib.contextmanager
def _short_wait(needed: bool) -> Iterator[None]:
    """Without a name server huggingface_hub tries for 50 s; then only its cache is looked at."""
    if not needed:
        yield
        return
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    try:
        socket.getaddrinfo("huggingface.co", 443)
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _timm_names() -> list[str]:
    import timm

    return [f"timm/{name}" for name in timm.list_models()]


def _torchvision_names() -> list[str]:
    from torchvision import models

    # These two give tuples in training.
    return [f"torchvision/{name}" for name in models.list_models(module=models, exclude=["inception_v3", "googlenet"])]


def _unknown_name(name: str) -> UserError:
    allowed = [*BACKBONES, "timm/<name>", "torchvision/<name>"]
    return unknown("model.backbone", name, allowed, like=[*BACKBONES, *_timm_names(), *_torchvision_names()])
