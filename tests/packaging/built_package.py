"""The package as others get it: built, and installed where the clone cannot be seen."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Built:
    wheel: Path
    sdist: Path


def build(source: Path, target: Path) -> Built:
    """Builds both from a source tree with the environment's own hatchling, so without a network."""
    call([sys.executable, "-m", "hatchling", "build", "--directory", str(target)], source)
    (wheel,), (sdist,) = target.glob("*.whl"), target.glob("*.tar.gz")
    return Built(wheel, sdist)


def call(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    """Runs a command in `folder` and returns what it said; what went wrong fails the test."""
    found = _run(command, folder, environment)
    assert found.returncode == 0, f"{command}\n{found.stdout[-4000:]}\n{found.stderr[-4000:]}"
    return found.stdout


def refused(command: list[str], folder: Path) -> tuple[int, str]:
    """Runs a command and returns its status and what it said on stderr."""
    found = _run(command, folder, None)
    return found.returncode, found.stderr


def _run(command: list[str], folder: Path, environment: dict[str, str] | None) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        command,
        cwd=folder,
        env={**kept, "PYTHONNOUSERSITE": "1", **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=3000,
    )


def contents(archive: Path) -> dict[str, bytes]:
    """Returns the files of a wheel or an sdist (without its one outer folder)."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            return {name: opened.read(name) for name in opened.namelist() if not name.endswith("/")}
    found = {}
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            if (file := tar.extractfile(member)) is not None:
                found[member.name.partition("/")[2]] = file.read()
    return found


def environment(folder: Path, wheel: Path) -> Path:
    """Makes an environment that holds the wheel alone and borrows what it depends on; returns its `bin`.

    A path in a .pth file is searched for packages but its own .pth files are not read: the clone, which an editable
    install would add there, stays out of sight.
    """
    call([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder.parent)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps"]
    call([*install, str(wheel)], folder.parent)
    paths = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", vars=paths))
    (site / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    return folder / "bin"


@functools.cache
def source_files() -> dict[str, bytes]:
    """Returns what a wheel has to hold, by its place in the wheel."""
    found = {}
    for folder, place in (("src/evensight", "evensight"), ("configs", "evensight/configs")):
        for path in (REPOSITORY / folder).rglob("*"):
            if path.is_file() and path.parent.name != "__pycache__":
                found[f"{place}/{path.relative_to(REPOSITORY / folder).as_posix()}"] = path.read_bytes()
    return found
