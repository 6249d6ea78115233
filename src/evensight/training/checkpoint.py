"""Checkpoints are written whole: a crash or a full disk leaves the old file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from safetensors.torch import load_file

from evensight.errors import UserError
from evensight.files import replaced
from evensight.records.artifact import WEIGHTS, Artifact

# What every checkpoint of ours has.
KEYS = ("state_dict", "epoch", "phase")


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
    """Writes a checkpoint, whole or not at all."""
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


def copy_checkpoint(source: Path, target: Path) -> None:
    """Copies a checkpoint, whole or not at all."""
    with replaced(target) as temporary:
        shutil.copyfile(source, temporary)


def network_weights(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Returns the weights of the network alone: the average where one was kept."""
    prefix = "network."
    return {name[len(prefix) :]: value for name, value in checkpoint["state_dict"].items() if name.startswith(prefix)}
