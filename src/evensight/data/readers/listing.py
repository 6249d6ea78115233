"""Lists the files of a folder, in one order on every machine."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from evensight.data.findings import Finding, found
from evensight.errors import UserError

# Of the formats that `runtime.decode` reads; whether a file really is one is seen when it is decoded.
IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
)


@dataclass
class Listing:
    """Paths under a root, relative to it, with forward slashes."""

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # files that are no image by their name, hidden files and folders
    links: list[str] = field(default_factory=list)  # linked folders, which are not entered: they may lead in circles
    unnamed: list[str] = field(default_factory=list)  # files and folders whose names are no UTF-8
    folders: list[str] = field(default_factory=list)  # folders that are named like images

    def findings(self) -> list[Finding]:
        """Returns what was passed over."""
        return [
            *found("other_files", self.others, "files that are no image by their name, or hidden; not used"),
            *found("unreadable_names", self.unnamed, "files and folders whose names are no UTF-8 text; not used"),
            *found("folder_named_as_image", self.folders, "folders that are named like images; listed as folders"),
            *found("linked_folders", self.links, "folders that are links; not entered"),
        ]


def is_image(name: str) -> bool:
    """Says whether a file's name is that of an image."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 (once a file)


def listed(root: Path, below: str = "", deep: bool = True) -> Listing:
    """Lists a folder.

    Args:
        root: What the paths are relative to.
        below: The folder, relative to `root`.
        deep: Whether to list the folders in it too.

    Raises:
        UserError: A folder may not be read.
    """
    listing = Listing()
    for folder, folders, names in os.walk(root / below, onerror=_refuse):
        prefix = os.path.relpath(folder, root).replace(os.sep, "/") + "/"
        prefix = "" if prefix == "./" else prefix
        for name in sorted(names):
            if not is_text(prefix + name):
                listing.unnamed.append(ascii(prefix + name))
            else:
                (listing.images if is_image(name) else listing.others).append(prefix + name)
        hidden = [name for name in folders if name.startswith(".")]
        links = [name for name in folders if name not in hidden and (Path(folder) / name).is_symlink()]
        unnamed = [name for name in folders if not is_text(name)]
        if deep:
            listing.others += [f"{prefix}{name}/" for name in sorted(hidden)]
            listing.links += [prefix + name for name in sorted(links)]
            listing.unnamed += [ascii(f"{prefix}{name}/") for name in sorted(unnamed)]
            listing.folders += [f"{prefix}{name}/" for name in sorted(folders) if is_image(name)]
        passed_over = {*hidden, *links, *unnamed}
        folders[:] = sorted(name for name in folders if name not in passed_over) if deep else []
    return listing


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be listed ({error.strerror}).") from error


def is_text(name: str) -> bool:
    """Says whether a file's name is UTF-8."""
    # Bytes that are no UTF-8 arrive as lone surrogates, which no table can hold.
    return not any("\ud800" <= letter <= "\udfff" for letter in name)
