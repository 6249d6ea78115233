"""Files are whole or as they were: renames, appended lines, what a killed process left, and a disk without room."""

from __future__ import annotations

import errno
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from evensight import files

REPOSITORY = Path(__file__).parent.parent


@contextmanager
def room(num_bytes: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: writes end with EFBIG, as on a full disk with ENOSPC."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


NOISE = np.random.default_rng(0)
WRITERS: dict[str, Callable[[Path], Any]] = {
    "bytes": lambda path: path.write_bytes(NOISE.bytes(40_000)),
    "torch": lambda path: torch.save({"w": torch.rand(10_000)}, path),
    "safetensors": lambda path: save_file({"w": torch.rand(10_000)}, path),
    "polars": lambda path: pl.DataFrame({"x": NOISE.random(10_000)}).write_parquet(path),
    "csv": lambda path: pl.DataFrame({"x": NOISE.random(10_000)}).write_csv(path),
    "pillow": lambda path: Image.fromarray(NOISE.integers(0, 255, (99, 99, 3), np.uint8)).save(path, format="PNG"),
    "numpy": lambda path: NOISE.random(10_000).tofile(path),
}


@pytest.mark.parametrize("library", WRITERS)
def test_a_full_disk_names_the_file_and_leaves_the_old_one(library: str, tmp_path: Path) -> None:
    """torch, polars and safetensors raise errors without a number; only the file's name would be lost with them."""
    path = tmp_path / "kept"
    path.write_bytes(b"old")
    with room(10_000), pytest.raises(OSError, match="File too large") as caught, files.replaced(path) as temporary:
        WRITERS[library](temporary)
    assert files.disk_full(caught.value)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["kept"]


def test_another_fault_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="mine"), files.replaced(tmp_path / "a"):
        raise RuntimeError("mine")
    with pytest.raises(FileNotFoundError), files.replaced(tmp_path / "a"):
        (tmp_path / "absent").read_bytes()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_taken_without_its_name_being_free_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty folder may be a name that a process took for itself: see `evensight.update.folders`."""
    moved = []
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda self, to: (moved.append(self), rename(self, to))[1])
    (tmp_path / "taken").mkdir()
    with files.staged(tmp_path / "taken") as folder:
        (folder / "a.txt").write_text("a")
    assert tmp_path / "taken" not in moved
    assert (tmp_path / "taken" / "a.txt").read_text() == "a"
    assert list(tmp_path.iterdir()) == [tmp_path / "taken"]


def test_a_staged_folder_takes_the_place_of_the_old_one_or_leaves_it(tmp_path: Path) -> None:
    target = tmp_path / "pictures"
    for content in ("one", "two"):
        with files.staged(target) as folder:
            (folder / f"{content}.txt").write_text(content, encoding="utf-8")
    assert [path.name for path in target.iterdir()] == ["two.txt"]
    with room(5_000), pytest.raises(OSError, match="File too large") as caught, files.staged(target) as folder:
        torch.save({"w": torch.rand(10_000)}, folder / "three.pt")
    assert caught.value.filename == str(target)
    assert [path.name for path in target.iterdir()] == ["two.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_lines_are_added_whole(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    files.append_line(path, "a" * 100)
    with room(150), pytest.raises(OSError, match="File too large") as caught:
        files.append_line(path, "b" * 100)
    assert caught.value.filename == str(path)
    assert path.read_text(encoding="utf-8") == "a" * 100 + "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write("torn by a ki")
    files.append_line(path, "ü")
    assert path.read_text(encoding="utf-8") == "a" * 100 + "\nü\n"


@pytest.mark.parametrize("length", [10, 65_536, 200_000])
def test_a_file_of_one_torn_line_begins_anew(length: int, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b"x" * length)
    files.append_line(path, "{}")
    assert path.read_bytes() == b"{}\n"


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """A real process, which ends in the middle of both kinds of writing."""
    code = """
import os, signal, sys
from pathlib import Path
from evensight import files
folder = Path(sys.argv[1])
with files.staged(folder / "inner" / "artifact") as artifact, files.replaced(folder / "last.ckpt") as temporary:
    (artifact / "half").write_text("x")
    temporary.write_text("x")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    kept = [tmp_path / ".hidden", tmp_path / "a.tmp", tmp_path / ".notes.tmp"]
    for path in kept:
        path.write_text("the user's own", encoding="utf-8")
    found = subprocess.run(
        [sys.executable, "-c", code, tmp_path], env={"PYTHONPATH": str(REPOSITORY / "src")}, check=False
    )
    assert found.returncode == -9
    assert len(files.clear_temporaries(tmp_path)) == 2
    assert sorted(tmp_path.rglob("*")) == sorted([*kept, tmp_path / "inner"])


def test_json_refuses_what_other_readers_refuse(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"x": 1}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_known_by_its_number(code: int) -> None:
    assert files.disk_full(OSError(code, "x"))
    assert not files.disk_full(OSError(errno.EACCES, "x"))
    assert not files.disk_full(RuntimeError("No space left on device"))
