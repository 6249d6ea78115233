"""Why a file gives no image: the manifest's error, told finer by the first and last bytes of the file."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from evensight.data.sources import array_row
from evensight.errors import one_line

# Code -> what it means, in the words of a report.
CODES: dict[str, str] = {
    "empty": "files of no bytes",
    "truncated": "files cut off before their end",
    "corrupt": "damaged files",
    "not_an_image": "files that hold something else than an image",
    "unsupported_format": "images of a format that is not read",
    "bomb": "small files that unpack to something huge",
    "too_large": "images of more pixels than data.max_pixels",
    "mode": "images whose pixels have no declared range",
    "range": "float images with values outside 0 to 1",
    "changed": "files changed since the data was prepared",
    "missing": "files that are gone",
    "unreadable": "files that cannot be opened",
}

# Headers are looked at for this many files; the rest go by the manifest's words alone.
MOST_OPENED = 20_000
_HEAD, _TAIL = 512, 4096
_MOST_SHOWN = 200
# Deflate packs 1,032 to 1: a photograph of RGB has below 10 pixels a byte, a blank PNG below 350.
_BOMB = 1000
_DECLARED = re.compile(r"(?:(\d+) x (\d+) pixels are|Image size \((\d+) pixels\))")

# What files begin with: of images that are not read, of what is no image, and of those that are read.
_OTHER_IMAGES = (
    *(b"8BPS", b"\0\0\1\0", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"v/1\x01", b"SIMPLE  =", b"\xff\x0a", b"qoif"),
    *(b"\0\0\0\x0cJXL ", b"DDS ", b"FUJIFILM", b"IIU\0", b"#?RADIANCE"),
)
_OUR_IMAGES = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"RIFF", b"II*\0", b"MM\0*", b"BM", *(b"P%d" % i for i in range(1, 7)))
_BRANDS = (b"heic", b"heix", b"heif", b"mif1", b"msf1", b"avif", b"avis")


def refined(root: Path, paths: Sequence[str], errors: Sequence[str]) -> list[tuple[str, str]]:
    """Returns a code of `CODES` and a reason for each row in error.

    Args:
        root: Folder of the paths, which lie inside it.
        paths: Of the manifest.
        errors: Of the manifest: ``"code: what is wrong"``.
    """
    found = []
    for number, (path, error) in enumerate(zip(paths, errors, strict=True)):
        code, _, reason = error.partition(": ")
        ends = _ends(root / path) if number < MOST_OPENED and array_row(path) is None else None
        found.append((_code(code, reason, ends), one_line(reason or error)[:_MOST_SHOWN]))
    return found


def _code(code: str, reason: str, ends: tuple[int, bytes, bytes] | None) -> str:
    size, head, tail = ends or (0, b"", b"")
    if code == "format":
        return _no_image(ends, reason)
    if code == "corrupt":
        if "MAX_TEXT" in reason or "Decompressed data too large" in reason:
            return "bomb"
        return "truncated" if _cut_off(size, head, tail) or "truncated" in reason.lower() else "corrupt"
    if code == "too_large":
        match = _DECLARED.search(reason.replace(",", ""))
        pixels = int(match[3] or int(match[1]) * int(match[2])) if match else 0
        return "bomb" if "scans" in reason or (size and pixels > _BOMB * size) else "too_large"
    if code == "unreadable" and re.search(r"No such file|there is no such", reason):
        return "missing"
    return code if code in CODES else "corrupt"


def _no_image(ends: tuple[int, bytes, bytes] | None, reason: str) -> str:
    if ends is None:
        return "empty" if reason.endswith("is empty") else "not_an_image"
    size, head, tail = ends
    if size == 0:
        return "empty"
    if head.startswith(_OTHER_IMAGES) or (head[4:8] == b"ftyp" and head[8:12] in _BRANDS):
        return "unsupported_format"
    if head.startswith(_OUR_IMAGES) and (head[:4] != b"RIFF" or head[8:12] == b"WEBP"):
        return "truncated" if _cut_off(size, head, tail) else "corrupt"
    return "not_an_image"


def _cut_off(size: int, head: bytes, tail: bytes) -> bool:
    """Says whether a file lacks the end that its format prescribes, or is shorter than its header says."""
    if head.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in tail
    if head.startswith(b"\x89PNG"):
        return b"IEND" not in tail
    if head.startswith(b"GIF8"):
        return not tail.rstrip(b"\0").endswith(b";")
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return size < 8 + int.from_bytes(head[4:8], "little")
    if head.startswith(b"BM") and len(head) >= 6:
        return size < int.from_bytes(head[2:6], "little")
    return False


def _ends(path: Path) -> tuple[int, bytes, bytes] | None:
    """Returns size, first and last bytes of a file; None where it is none, or cannot be opened."""
    with contextlib.suppress(OSError, ValueError):
        # Not blocking: a pipe would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                tail = os.pread(descriptor, _TAIL, max(0, status.st_size - _TAIL))
                return status.st_size, os.pread(descriptor, _HEAD, 0), tail
        finally:
            os.close(descriptor)
    return None
