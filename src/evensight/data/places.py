"""Where the paths of a reading lead: inside the root, to a file or an array row that exists, or not."""

from __future__ import annotations

import errno
import os
import posixpath
import re
import stat
import unicodedata
from pathlib import Path
from typing import NamedTuple

from evensight.data.sources import array_row, check_images, file_of
from evensight.errors import UserError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class Stamp(NamedTuple):
    """By what a changed file is known.

    The time of change (ctime) tells a file that was put in the place of another with its size and its time.
    """

    file_bytes: int
    file_mtime_ns: int
    file_ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Returns the stamp of a file."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Places:
    """Looks at paths under one root; a folder's links and an array's length are looked up once."""

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._folders: dict[str, bool] = {}
        self._files: dict[str, bool] = {}
        self._lengths: dict[tuple[str, str | None], int | str] = {}
        self._stamps: dict[str, Stamp | str] = {}

    def inside(self, path: str | None) -> bool:
        """Says whether a path stays under the root: no absolute path, ``..``, URL, NUL or link that leads out."""
        if not path:
            return False
        file = file_of(path)
        if file not in self._files:
            self._files[file] = self._stays(file)
        return self._files[file]

    def stamp(self, path: str, images: bool = True) -> Stamp | str:
        """Returns the stamp of a path's file, or, as text, which path leads nowhere and why.

        Args:
            path: One that is `inside`.
            images: Whether an array must hold images, and the row must be one of them.
        """
        part = array_row(path)
        file = part.file if part else path
        if file not in self._stamps:
            self._stamps[file] = self._stamped(file)
        stamp = self._stamps[file]
        if isinstance(stamp, str):
            return stamp if part is None else f"{path} ({stamp})"
        if part and images:
            length = self._length(part.file, part.member)
            if isinstance(length, str):
                return f"{path} ({length})"
            if part.row >= length:
                return f"{path} (the array has {length} rows)"
        return stamp

    def _stays(self, file: str) -> bool:
        if "\0" in file or file.startswith("/") or _URL.match(file) or ".." in file.split("/"):
            return False
        full = posixpath.join(self._root, file)
        folder = posixpath.dirname(full)
        if folder not in self._folders:
            self._folders[folder] = self._under_root(folder)
        # os.path here and below: a Path a row is half the time of preparing a data set again.
        return self._folders[folder] and (not os.path.islink(full) or self._under_root(full))  # noqa: PTH114

    def _stamped(self, file: str) -> Stamp | str:
        try:
            status = os.stat(posixpath.join(self._root, file))  # noqa: PTH116
        except (OSError, ValueError) as error:
            return file + self._why(file, error)
        return Stamp.of(status) if stat.S_ISREG(status.st_mode) else f"{file} (not a file)"

    def _why(self, file: str, error: Exception) -> str:
        """Says what else than a wrong name it may be."""
        for other in (unicodedata.normalize("NFC", file), unicodedata.normalize("NFD", file)):
            if other != file and os.path.exists(posixpath.join(self._root, other)):  # noqa: PTH110
                return " (there is one of the same letters, written in other Unicode points)"
        reason = error.strerror if isinstance(error, OSError) and error.errno != errno.ENOENT else None
        return f" ({reason})" if reason else ""

    def _length(self, file: str, member: str | None) -> int | str:
        if (file, member) not in self._lengths:
            try:
                self._lengths[file, member] = check_images(Path(self._root) / file, member)
            except UserError as error:
                self._lengths[file, member] = str(error)
        return self._lengths[file, member]

    def _under_root(self, path: str) -> bool:
        real = os.path.realpath(path)
        return real == self._root or real.startswith(self._root.rstrip("/") + "/")
