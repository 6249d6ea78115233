"""Files that later stages read are written whole: a temporary file beside it, fsync, rename, fsync the folder."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# What a write ends with when there is no room: on the disk, in the quota, under the limit of a file's size.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# `replaced` and `staged` write here; what a killed process leaves has such a name.
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")
_PROBE = 2**20  # bytes


@contextlib.contextmanager
def replaced(path: Path, sync: bool = True) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on a clean exit it takes the place of `path`, else it is removed.

    Args:
        path: The file.
        sync: Whether its bytes are on the disk before it takes the place. For thousands of files that are made at once
            each sync takes longer than the file: leave it out, and `os.sync()` once before what vouches for them.

    Raises:
        OSError: Of a full disk, with the name of `path`, also where a library hid it; `path` is as it was.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with writing(path, temporary):
            yield temporary
            if sync:
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
            # mkstemp makes files private; a run folder is read by colleagues.
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
            if sync:
                sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def staged(path: Path, complete: Callable[[Path], bool] | None = None) -> Iterator[Path]:
    """Yields a temporary folder beside `path`; on a clean exit it takes the place of `path`, else it is removed.

    Args:
        path: The folder.
        complete: Says of the temporary folder whether it is to take the place; else it is removed.

    Raises:
        OSError: Of a full disk, with the name of `path`, also where a library hid it; `path` is as it was.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    old = temporary.with_name(f"{temporary.name[:-4]}_.tmp")
    try:
        with writing(path, temporary):
            yield temporary
            if complete is None or complete(temporary):
                _sync_files(temporary)
                temporary.chmod(0o777 & ~_umask())  # mkdtemp makes folders private; a run folder is read by colleagues
                _take_place(temporary, path, old)
                sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _take_place(temporary: Path, path: Path, old: Path) -> None:
    """Renames a folder to `path`; what is there goes to `old`, but for an empty folder, whose name is never free."""
    try:
        temporary.rename(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        path.rename(old)
        temporary.rename(path)


def append_line(path: Path, line: str) -> None:
    """Adds a line of UTF-8 text, on the disk when this returns. A last line that was cut short is taken away first.

    Raises:
        OSError: The line could not be written; the file has the whole lines it had.
    """
    content = f"{line}\n".encode()
    with writing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            whole = _whole_lines(descriptor)
            try:
                os.ftruncate(descriptor, whole)
                written = 0
                while written < len(content):
                    written += os.pwrite(descriptor, content[written:], whole + written)
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, whole)
                raise
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def writing(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Within the block a full disk is an OSError that names `path`, whichever library met it.

    Args:
        path: What is being written.
        temporary: The file or folder that is written to meanwhile. Libraries that write in their own language (torch,
            polars, numpy) raise errors without a number; a few bytes more, written here, tell why.
    """
    try:
        yield
    except Exception as error:
        code = _full(error)
        told = getattr(error, "errno", None) is not None or isinstance(error, ValueError)
        if code is None and temporary is not None and not told:
            code = _probed(temporary)
        if code is None:
            raise
        raise OSError(code, os.strerror(code), str(path)) from error


def disk_full(error: BaseException) -> bool:
    """Returns whether there was no room for what was being written."""
    return isinstance(error, OSError) and error.errno in FULL


def full_sentence(error: OSError) -> str:
    """Says which file there was no room for, without a full stop."""
    where = f" in {Path(error.filename).parent}" if error.filename else ""
    what = Path(error.filename).name if error.filename else "a file"
    return f"{what}{where} could not be written: {(error.strerror or str(error)).lower()}; the old file stands"


def clear_temporaries(folder: Path) -> list[Path]:
    """Removes what `replaced` and `staged` of a killed process left in a folder and below, and returns it.

    Only for who holds the folder's lock: another process may be writing there.
    """
    found = []
    for parent, folders, names in os.walk(folder):
        for name in [name for name in (*folders, *names) if _TEMPORARY.fullmatch(name)]:
            path = Path(parent) / name
            if name in folders and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
                folders.remove(name)
            else:
                path.unlink(missing_ok=True)
            found.append(path)
    return found


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` whole or not at all."""
    with replaced(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Writes UTF-8 text whole or not at all."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON whole or not at all; NaN and infinity are refused, since other readers refuse them."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def canonical_json(value: Any) -> str:
    """Returns the one JSON text of a value (sorted keys, no spaces), which digests are taken of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_json(value: Any) -> str:
    """Returns the SHA-256 (hex) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()


def digest_file(path: Path) -> str:
    """Returns the SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _full(error: BaseException | None) -> int | None:
    """Returns the number of the full disk among an error and those it came from."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


def _probed(place: Path) -> int | None:
    """Returns why no more can be written to a file, or to the largest file of a folder; None where it can."""
    if place.is_dir():
        files = [path for path in place.rglob("*") if path.is_file()]
        place = max(files, key=lambda path: path.stat().st_size, default=place / "probe")
    try:
        with place.open("ab") as file:
            file.write(bytes(_PROBE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return _full(error)
    return None


def _whole_lines(descriptor: int) -> int:
    """Returns where the last line break ends: a line that was cut short has none."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - 65_536)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _sync_files(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Puts the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
