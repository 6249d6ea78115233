"""File names out of annotation files: which lead to a file under the root, and which may not even be looked at."""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from evensight.data.findings import Finding, found
from evensight.data.places import Places, Stamp
from evensight.errors import UserError, shown

_DRIVE = re.compile(r"[A-Za-z]:")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def joined(folder: str, name: str) -> str:
    """Joins a folder and a name in it. What is absolute, or a URL, stays what it is, and is refused as that."""
    return name if _URL.match(name) else posixpath.join(folder, name)


def trusted(names: Iterable[str], root: Path, where: str) -> tuple[dict[str, Stamp], list[Finding]]:
    """Looks at file names that a stranger wrote.

    A name is checked as a text and for links before the file system is asked about its file, so that nothing outside
    of `root` is opened or even measured.

    Args:
        names: As the annotation file writes them, with forward slashes, relative to `root`.
        root: The folder that holds the images, links resolved.
        where: The annotation file, for sentences.

    Returns:
        Name -> stamp of its file, of the names that may be used, and what was wrong with the others.

    Raises:
        UserError: It names no image, or none that can be used.
    """
    places = Places(root)
    stamps: dict[str, Stamp] = {}
    outside, foreign, missing = [], [], []
    for name in dict.fromkeys(names):
        if "\\" in name or _DRIVE.match(name):
            foreign.append(shown(name))
        elif not places.inside(name):
            outside.append(shown(name))
        else:
            stamp = places.stamp(name)
            if isinstance(stamp, str):
                missing.append(stamp)
            else:
                stamps[name] = stamp
    twins, same = _twins(list(stamps), root)
    usable = {name: stamp for name, stamp in stamps.items() if name not in same}
    findings = [
        *found("foreign_path", foreign, "paths with a backslash or a drive letter; write '/'; not used"),
        *found(
            "outside_root",
            outside,
            "paths that lead out of the data's folder (absolute, '..', a URL, a link); their rows are not used",
        ),
        *found("missing_image", missing, "rows whose image does not exist; not used"),
        *found("name_twins", twins, "paths that differ only in case or Unicode points: one file on some systems"),
        *found("same_file", sorted(same), "paths under several names that are one file; none of them is used"),
    ]
    if not usable and not findings:
        raise UserError(f"{where}: names no image; it needs one entry an image.")
    if not usable:
        raise UserError(f"{where}: none of its images can be used below {root}: {'; '.join(map(str, findings))}.")
    return usable, findings


def _twins(names: list[str], root: Path) -> tuple[list[str], set[str]]:
    """Returns groups of names alike, and the names of one group that lead to one file."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        plain = posixpath.normpath(name)
        alike[plain if plain.isascii() and plain.islower() else _folded(plain)].append(name)
    groups = [group for group in alike.values() if len(group) > 1]
    same: set[str] = set()
    for group in groups:
        by_file: dict[tuple[int, int], list[str]] = defaultdict(list)
        for name in group:
            status = os.stat(root / name)  # noqa: PTH116 (a Path's own is this one)
            by_file[status.st_dev, status.st_ino].append(name)
        # One file under two spellings of one path (a.png, ./a.png) is no contradiction: they are the same path.
        for several in by_file.values():
            if len({posixpath.normpath(name) for name in several}) > 1:
                same |= set(several)
    different = [group for group in groups if len({posixpath.normpath(name) for name in group}) > 1]
    return [" / ".join(ascii(name) for name in group) for group in different], same


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
