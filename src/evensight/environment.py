"""What a process runs on: versions, hardware, the state of the working folder, seeds, the command."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from evensight import __version__
from evensight.config import Config

# The direct dependencies, by the names they are installed under; held against pyproject.toml by a test.
PACKAGES = (
    *("torch", "torchvision", "lightning", "hydra-core", "albumentations", "albucore", "torchmetrics", "wandb"),
    *("timm", "polars", "numpy", "scipy", "pillow", "opencv-python-headless", "pydantic", "safetensors", "pyyaml"),
    *("jinja2", "matplotlib", "rich"),
)
# Where a container's limit stands, for either version of control groups.
_MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# A repository on a slow network drive must not hold up a run; its state is then unknown.
_GIT_SECONDS = 5


def environment(config: Config | None = None) -> dict[str, Any]:
    """Returns what this process runs on, as `environment.json` has it.

    Args:
        config: Its seeds are named.
    """
    return {
        "schema_version": 1,
        "evensight": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": memory_bytes(),
        "gpus": gpus(),
        "driver": _driver(),
        "packages": {package: _version(package) for package in PACKAGES},
        **git_state(),
        "seeds": {} if config is None else seeds(config),
        "command": shlex.join(sys.argv),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def seeds(config: Config) -> dict[str, int]:
    """Returns every seed of a configuration by its key."""
    sections = {"": config, "data.": config.data, "reliance.": config.reliance}
    return {
        f"{prefix}{name}": int(value)
        for prefix, section in sections.items()
        for name, value in vars(section).items()
        if name in ("seed", "split_seed") and value is not None
    }


def git_state(folder: Path | None = None) -> dict[str, Any]:
    """Returns commit, branch and whether tracked files were changed, of the repository a folder is in.

    Args:
        folder: None is the working folder.

    Returns:
        `commit`, `branch` and `dirty`; all None outside a repository, or where git is missing or slow.
    """
    command = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    # Not to take git's own lock: another git may be at work in the folder.
    variables = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    found: dict[str, Any] = {"commit": None, "branch": None, "dirty": None}
    try:
        said = subprocess.run(
            command,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return found
    if said.returncode != 0:
        return found
    lines = said.stdout.splitlines()
    for line in lines:
        for name, head in (("commit", "# branch.oid "), ("branch", "# branch.head ")):
            if line.startswith(head) and not line.endswith(("(initial)", "(detached)")):
                found[name] = line.removeprefix(head)
    found["dirty"] = any(not line.startswith("#") for line in lines)
    return found


def processor() -> str:
    """Returns the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def memory_bytes() -> int | None:
    """Returns what memory the process may use: the machine's, or its container's where that is less."""
    try:
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (OSError, ValueError):
        return None
    for path in _MEMORY_LIMITS:
        try:
            found.append(int(Path(path).read_text(encoding="ascii")))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return min(found)


def gpus() -> list[str]:
    """Names the NVIDIA devices by the driver's own files, so that torch need not be imported."""
    found = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        found += [line.split(":", 1)[1].strip() for line in lines if line.startswith("Model")]
    return found


def _driver() -> str | None:
    try:
        return Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace").splitlines()[0]
    except (OSError, IndexError):
        return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
