"""Checkpoints are written whole: a crash or a full disk leaves the old file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from safetensors.torch import load_file

from evensight.errors import RunError, UserError
from evensight.files import replaced
from evensight.records.artifact import WEIGHTS, Artifact
from evensight.training.finite import all_finite, tensors_in

# What every checkpoint of ours has.
KEYS = ("state_dict", "epoch", "phase", "position")
# Where one that is not finite would do harm.
_FINITE = ("state_dict", "current_model_state", "averaging_state", "optimizer_states")
# Hyperparameters that change no figure.
_FREE = ("allow_targets", "compile")


class NotFiniteError(RunError):
    """A checkpoint was not written, since a value in it is not finite."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, syncs and renames; reads tensors and plain containers only.

    Lightning's own writer goes through TMPDIR: where that is another file system, kill -9 left 3 files of 12 broken.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Writes a checkpoint, or leaves what was there."""
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any | None = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Reads a checkpoint; see `read_checkpoint`."""
        return read_checkpoint(Path(path), map_location)


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Writes a checkpoint, whole or not at all.

    Raises:
        NotFiniteError: If a weight, an average or a part of the optimizer's state is NaN or infinite.
        OSError: If there is no room for it, with its name.
    """
    for key in _FINITE:
        if not all_finite(list(tensors_in(checkpoint.get(key)))):
            raise NotFiniteError(
                f"{path.name} in {path.parent} is not written: {_culprit(checkpoint[key], key)} is not finite; "
                "what was there stands"
            )
    with replaced(path) as temporary:
        torch.save(checkpoint, temporary)


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Reads a checkpoint, which runs no code of the file's.

    Raises:
        UserError: If there is none, or it is not a checkpoint.
    """
    if not path.is_file():
        raise UserError(f"checkpoint: {path} does not exist; the run has not finished an epoch.")
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # torch raises many kinds for a broken or foreign file
        raise UserError(
            f"checkpoint: {path} cannot be read ({type(error).__name__}); it is broken or foreign."
        ) from error
    lacking = [key for key in KEYS if not isinstance(checkpoint, dict) or key not in checkpoint]
    if lacking:
        raise UserError(f"checkpoint: {path} is none of evensight's: it has no {lacking[0]!r}.")
    return checkpoint


def check_weights(checkpoint: dict[str, Any], network: torch.nn.Module, path: Path) -> None:
    """Raises UserError unless a checkpoint holds every weight of a network in its shape."""
    found, wanted = network_weights(checkpoint), network.state_dict()
    other = [name for name, value in wanted.items() if name not in found or found[name].shape != value.shape]
    other += [name for name in found if name not in wanted]
    if other:
        name = other[0]
        shapes = [list(of[name].shape) if name in of else "nothing" for of in (found, wanted)]
        raise UserError(
            f"checkpoint: {path} is of another model: {name} is {shapes[0]} in it and {shapes[1]} in this run's "
            "configuration; bring the run's own checkpoint back."
        )


def check_settings(checkpoint: Mapping[str, Any], hparams: Mapping[str, Any], average: bool, path: Path) -> None:
    """Raises UserError if a checkpoint is of another configuration than the one that is to go on from it.

    Args:
        checkpoint: As it was read.
        hparams: Of the classifier that goes on.
        average: Whether it keeps an average of its weights.
        path: Of the checkpoint, for the sentence.
    """
    saved, wanted = (
        {**dict(_leaves({key: value for key, value in of.items() if key not in _FREE})), "ema.enabled": kept}
        for of, kept in (
            (checkpoint.get("hyper_parameters", {}), "current_model_state" in checkpoint),
            (hparams, average),
        )
    )
    for key, value in wanted.items():
        if saved.get(key) != value:
            raise UserError(
                f"checkpoint: {path} is of another configuration: {key} is {saved.get(key)} in it and {value} here; "
                "bring the run's own checkpoint back, or start a new run."
            )


def check_origin(artifact: Artifact, checkpoint: Path) -> None:
    """Raises UserError unless an artifact has the very weights of a checkpoint, where there still is one."""
    if not checkpoint.is_file():
        return
    ours, theirs = network_weights(read_checkpoint(checkpoint)), load_file(artifact.folder / WEIGHTS)
    if ours.keys() != theirs.keys() or not all(torch.equal(ours[name], theirs[name]) for name in ours):
        raise UserError(
            f"artifact: {artifact.folder} is of another run: its weights are not those of {checkpoint}; "
            "export again, or judge it within its own run."
        )


def network_weights(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Returns the weights of the network alone: the average where one was kept."""
    prefix = "network."
    return {name[len(prefix) :]: value for name, value in checkpoint["state_dict"].items() if name.startswith(prefix)}


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yields dotted names and values of nested mappings."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(part, f"{name}.{key}" if name else str(key))
    else:
        yield name, list(value) if isinstance(value, tuple) else value


def _culprit(value: Any, name: str) -> str:
    """Returns the name of the first tensor that is not finite."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, part in parts:
        if not all_finite(list(tensors_in(part))):
            return _culprit(part, f"{name}.{key}")
    return name
