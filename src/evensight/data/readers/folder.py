"""Images in folders named after their classes: ``root/class/*`` or ``root/split/class/*``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl
from omegaconf import MISSING

from evensight.data.findings import Finding, found
from evensight.data.readers.listing import listed
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
        names = _folders(root)
        if not names:
            raise UserError(f"data.root: {self.root!r} holds no folders; it needs one folder of images for each class.")
        parts: list[tuple[str | None, str]] = [(None, name) for name in names]
        if self._has_splits(names):
            parts = [(split, f"{split}/{name}") for split in names for name in _folders(root / split)]
        rows: list[tuple[str, str, str | None]] = []
        findings: list[Finding] = []
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
            raise UserError(f"data.root: {self.root!r} holds no image in its class folders ({', '.join(names[:5])}).")
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


def _folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
