"""The numbered folders of `update`: plans, merges and decisions, each whole and never written to again."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from evensight.errors import UserError
from evensight.files import disk_full, staged


def numbered(out: Path, name: str) -> list[Path]:
    """Returns the folders `<name>-1`, `<name>-2`, ... of a folder that hold anything, in the order of their numbers."""
    found = _all(out, name)
    return [found[number] for number in sorted(found) if any(found[number].iterdir())]


@contextlib.contextmanager
def new_folder(out: Path, name: str) -> Iterator[tuple[Path, Path]]:
    """Yields a temporary folder to write to, and the numbered one that it becomes on a clean exit.

    The number is taken at once, so that of two processes each has its own.

    Raises:
        UserError: The folder cannot be written.
        OSError: The disk is full.
    """
    target = _taken(out, name)
    try:
        with staged(target) as temporary:
            yield temporary, target
    except BaseException:
        with contextlib.suppress(OSError):
            target.rmdir()
        raise


def _taken(out: Path, name: str) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
        while True:
            target = out / f"{name}-{max(_all(out, name), default=0) + 1}"
            with contextlib.suppress(FileExistsError):
                target.mkdir()
                return target
    except OSError as error:
        if disk_full(error):
            raise
        raise UserError(f"out: {out} cannot be written ({error.strerror}); choose another.") from None


def _all(out: Path, name: str) -> dict[int, Path]:
    return {
        int(match[1]): path
        for path in (out.iterdir() if out.is_dir() else ())
        if (match := re.fullmatch(rf"{name}-([0-9]+)", path.name)) and path.is_dir()
    }
