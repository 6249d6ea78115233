"""The bytes of an image file, taken without waiting and without end."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

MAX_PIXELS = 40_000_000
# Room for four channels of 32 bits, and for what else a file may carry.
_BYTES_A_PIXEL, _FURTHER_BYTES = 16, 64 * 2**20


class DecodeError(ValueError):
    """A file that does not give pixels.

    Attributes:
        code: `unreadable` (cannot be opened, or is no file), `format` (not an image of `decode.FORMATS`), `too_large`,
            `corrupt` (truncated or broken), `mode` (a kind of pixel without a rule), `range` (float values outside
            [0, 1]), `changed` (another image than was prepared).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, str(self))


def read_file(path: Path, max_pixels: int = MAX_PIXELS) -> bytes:
    """Returns a file's bytes.

    Opened without blocking, because a pipe would be waited for and a device read for ever.

    Args:
        path: The file.
        max_pixels: Of the image that is expected; a file with over 16 bytes for each, and 64 MiB, is refused unread.

    Raises:
        DecodeError: `unreadable` or `too_large`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise DecodeError("unreadable", str(getattr(error, "strerror", None) or error)) from error
    try:
        _check(os.fstat(descriptor), max_pixels * _BYTES_A_PIXEL + _FURTHER_BYTES)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    except OSError as error:
        raise DecodeError("unreadable", str(error.strerror or error)) from error
    finally:
        os.close(descriptor)


def _check(status: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise DecodeError("unreadable", f"is {kind}, not a file")
    if status.st_size > limit:
        raise DecodeError("too_large", f"{status.st_size:,} bytes are more than {limit:,}")


def path_text(path: Path) -> str:
    """Returns a path as a text that every file and table takes: bytes of its name that are no UTF-8 are escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()
