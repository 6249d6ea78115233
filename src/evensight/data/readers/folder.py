"""Images in folders named after their classes: ``root/class/*`` or ``root/split/class/*``."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from omegaconf import MISSING

from evensight.data.findings import Finding, found
from evensight.data.readers.listing import IMAGE_SUFFIXES, Listing, is_text, listed
from evensight.data.reading import SPLIT_NAMES, Progress, Reader, Reading, existing_root
from evensight.errors import UserError, unknown

LAYOUTS = ("auto", "class", "split")


@dataclass
class FolderReader(Reader):
    """Reads class folders; images may lie in further folders below a class's."""

    reader: str = "folder"  # a name of names.READERS
    root: str = MISSING  # the folder of class folders, or of split folders (train, validation, test) that hold them
    layout: str = (
        "auto"  # class: root/class; split: root/split/class; auto: split where all folders are named as splits
    )

    def check(self) -> None:
        """Raises UserError where a setting cannot be right."""
        if self.layout not in LAYOUTS:
            raise unknown("data.layout", self.layout, LAYOUTS)

    def read(self, folder: Path, classes: tuple[str, ...] | None, progress: Progress) -> Reading:
        """Lists the images of each class folder; see `Reader.read`."""
        self.check()
        root = existing_root(self.root)
        top = _folders(root)
        names, passed_over = top.names, top
        if not names:
            links = f" but links ({', '.join(top.links[:5])}), which are not entered" if top.links else ""
            raise UserError(
                f"data.root: {self.root!r} holds no folders{links}; it needs one folder of images for each class."
            )
        parts: list[tuple[str | None, str]] = [(None, name) for name in names]
        if self._has_splits(names):
            inside = {split: _folders(root, split) for split in names}
            parts = [(split, f"{split}/{name}") for split in names for name in inside[split].names]
            for each in inside.values():
                passed_over = passed_over.joined(each)
        rows: list[tuple[str, str, str | None]] = []
        findings = passed_over.findings()
        for split, below in parts:
            listing = listed(root, below)
            rows += [(path, below.rsplit("/", 1)[-1], split) for path in listing.images]
            findings += listing.findings()
            if not listing.images:
                findings += found("empty_class_folder", [below], "class folders without an image")
        above = {"", *(split for split, _ in parts if split)}
        loose = [path for below in sorted(above) for path in listed(root, below, deep=False).images]
        findings += found("image_without_row", loose, "images outside of any class folder; not used")
        if not rows:
            hint = f"endings looked for: {', '.join(sorted(IMAGE_SUFFIXES))}"
            raise UserError(
                f"data.root: {self.root!r} holds no image in its class folders ({', '.join(names[:5])}); {hint}."
            )
        schema = {"path": pl.String, "label": pl.String, "split": pl.String}
        return Reading(rows=pl.DataFrame(rows, schema=schema, orient="row"), root=root, findings=findings)

    def _has_splits(self, names: list[str]) -> bool:
        if self.layout != "auto":
            return self.layout == "split"
        named = [name for name in names if name.lower() in SPLIT_NAMES]
        if named and len(named) < len(names):
            other = next(name for name in names if name not in named)
            raise UserError(
                f"data.root: {self.root!r} holds split folders ({', '.join(named)}) beside others ({other!r}); "
                "say data.layout=split if these are splits, data.layout=class if these are classes."
            )
        return bool(named)


@dataclass(frozen=True)
class _Folders:
    """Folders in a folder: the names of those that count, and the paths of those that do not."""

    names: list[str]
    links: list[str]
    unnamed: list[str]

    def joined(self, other: _Folders) -> _Folders:
        return _Folders(self.names, self.links + other.links, self.unnamed + other.unnamed)

    def findings(self) -> list[Finding]:
        return Listing(links=self.links, unnamed=self.unnamed).findings()


def _folders(root: Path, below: str = "") -> _Folders:
    try:
        with os.scandir(root / below) as entries:
            found_here = sorted((entry.name, entry.is_symlink()) for entry in entries if entry.is_dir())
    except OSError as error:
        raise UserError(f"data.root: {root / below} cannot be listed ({error.strerror}).") from error
    seen = [(name, is_link) for name, is_link in found_here if not name.startswith(".")]
    return _Folders(
        names=[name for name, is_link in seen if not is_link and is_text(name)],
        # A linked class folder may hold the images of another class, or all of them.
        links=[posixpath.join(below, name) for name, is_link in seen if is_link],
        unnamed=[
            ascii(posixpath.join(below, name) + "/") for name, is_link in seen if not is_link and not is_text(name)
        ],
    )
