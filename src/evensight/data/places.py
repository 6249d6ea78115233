"""Where the paths of a reading lead: inside the root, to a file or an array row that exists, or not."""

from __future__ import annotations

import os
import posixpath
import re
import stat
from pathlib import Path
from typing import NamedTuple

from evensight.data.sources import array_row, check_images
from evensight.errors import UserError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class Stamp(NamedTuple):
    """By what a changed file is known."""

    file_bytes: int
    file_mtime_ns: int


class Places:
    """Looks at paths under one root; a folder's links and an array's length are looked up once."""

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._folders: dict[str, bool] = {}
        self._lengths: dict[tuple[str, str | None], int | str] = {}
        self._stamps: dict[str, Stamp | str] = {}

    def inside(self, path: str | None) -> bool:
        """Says whether a path stays under the root: no absolute path, ``..``, URL, NUL or link that leads out."""
        if not path or "\0" in path or path.startswith("/") or _URL.match(path) or ".." in path.split("/"):
            return False
        file = self._file(path)
        folder = posixpath.dirname(file)
        if folder not in self._folders:
            self._folders[folder] = self._under_root(folder)
        return self._folders[folder] and (not Path(file).is_symlink() or self._under_root(file))

    def stamp(self, path: str, images: bool = True) -> Stamp | str:
        """Returns the stamp of a path's file, or, as text, which path leads nowhere and why.

        Args:
            path: One that is `inside`.
            images: Whether an array must hold images, and the row must be one of them.
        """
        if path not in self._stamps:
            self._stamps[path] = self._looked_up(path, images)
        return self._stamps[path]

    def _looked_up(self, path: str, images: bool) -> Stamp | str:
        try:
            status = os.stat(self._file(path))  # noqa: PTH116 (once a row)
        except (OSError, ValueError):
            return path
        if not stat.S_ISREG(status.st_mode):
            return f"{path} (not a file)"
        part = array_row(path)
        if part and images:
            length = self._length(part.file, part.member)
            if isinstance(length, str):
                return f"{path} ({length})"
            if part.row >= length:
                return f"{path} (the array has {length} rows)"
        return Stamp(status.st_size, status.st_mtime_ns)

    def _length(self, file: str, member: str | None) -> int | str:
        if (file, member) not in self._lengths:
            try:
                self._lengths[file, member] = check_images(Path(self._root) / file, member)
            except UserError as error:
                self._lengths[file, member] = str(error)
        return self._lengths[file, member]

    def _file(self, path: str) -> str:
        part = array_row(path)
        return posixpath.join(self._root, part.file if part else path)

    def _under_root(self, path: str) -> bool:
        real = os.path.realpath(path)
        return real == self._root or real.startswith(self._root.rstrip("/") + "/")
