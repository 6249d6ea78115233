"""Every call of `torch.jit`, with its deprecation warnings filtered here alone.

TorchScript is deprecated since torch 2.10 (a FutureWarning since 2.15) and still the one format that a process with
nothing but torch loads, in Python and in C++. `model.pt2` is written beside it for the day it goes.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

# torch leaves these without types.
_trace: Any = torch.jit.trace
_trace_module: Any = torch.jit.trace_module
_load: Any = torch.jit.load


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the deprecation warnings of `torch.jit` and nothing else."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", message=r".*torch\.jit.*", category=category)
        yield


def script(module: nn.Module) -> torch.jit.ScriptModule:
    """Compiles a module."""
    with quiet():
        return cast(torch.jit.ScriptModule, torch.jit.script(module))


def trace(module: nn.Module, example: torch.Tensor) -> torch.jit.ScriptModule:
    """Records a module's `forward` on an example; its branches are those the example took."""
    with quiet():
        return cast(torch.jit.ScriptModule, _trace(module, example, check_trace=False))


def trace_module(module: nn.Module, examples: Mapping[str, Any]) -> torch.jit.ScriptModule:
    """Records several methods of a module, each on its example."""
    with quiet():
        return cast(torch.jit.ScriptModule, _trace_module(module, dict(examples), check_trace=False))


def freeze(module: torch.jit.ScriptModule, methods: Sequence[str] = ()) -> torch.jit.ScriptModule:
    """Inlines the weights of a module in eval mode; methods that are not named here (besides `forward`) are dropped."""
    with quiet():
        return cast(torch.jit.ScriptModule, torch.jit.freeze(module, preserved_attrs=list(methods)))


def save(module: torch.jit.ScriptModule, path: Path, extra_files: Mapping[str, str | bytes] | None = None) -> None:
    """Writes a module, with further files inside the archive."""
    # Through memory: where the disk is full, torch's own writer of files ends the process (std::terminate).
    archive = io.BytesIO()
    with quiet():
        torch.jit.save(module, archive, _extra_files=dict(extra_files or {}))
    path.write_bytes(archive.getvalue())


def load(path: Path, device: str | torch.device = "cpu") -> torch.jit.ScriptModule:
    """Reads a module.

    Raises:
        ValueError: If the file is missing or no TorchScript archive.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    try:
        with quiet():
            return cast(torch.jit.ScriptModule, _load(str(path), map_location=device))
    except RuntimeError as error:
        raise ValueError(f"{path}: not a TorchScript file ({str(error).splitlines()[0]})") from error


def load_extra(path: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Reads files kept inside the archive; a missing name raises ValueError, which torch leaves in silence."""
    found: dict[str, Any] = dict.fromkeys(names, "")
    with quiet():
        _load(str(path), map_location="cpu", _extra_files=found)
    for name, content in found.items():
        if not content:
            raise ValueError(f"{path}: holds no file {name!r}")
    return {name: content.encode() if isinstance(content, str) else bytes(content) for name, content in found.items()}
