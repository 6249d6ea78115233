"""Images in array files: ``.npz`` with images and labels, or ``.npy`` of images beside ``.npy`` of labels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from omegaconf import MISSING

from evensight.data.places import Places
from evensight.data.reading import SPLIT_NAMES, Progress, Reader, Reading, existing_root, plain_text
from evensight.data.sources import check_images, load_array
from evensight.errors import UserError, unknown

UNSPLIT = "all"


@dataclass
class ArraysReader(Reader):
    """Reads arrays of images, uint8 `[N,H,W]` or `[N,H,W,3]`. Nothing is ever unpickled."""

    reader: str = "arrays"  # a name of names.READERS
    root: str = MISSING  # the folder that holds the files
    files: dict[str, str] = field(default_factory=dict)  # split: its file of images; the key all: rows without a split
    images: str = "images"  # member of an .npz that holds the images
    label_member: str = "labels"  # member of an .npz that holds the labels [N]: whole numbers or names
    label_files: dict[str, str] = field(default_factory=dict)  # split: .npy of labels [N], where the images are .npy
    label_names: list[str] = field(default_factory=list)  # name of label 0, 1, ...; empty: the number itself
    attributes: dict[str, str] = field(default_factory=dict)  # attribute: member of the .npz that holds its values [N]

    def __post_init__(self) -> None:
        """Takes a member's name in `labels`, where it once was and still is in recorded configurations."""
        if self.labels not in ("majority", "consensus", "soft"):
            self.label_member, self.labels = self.labels, "majority"

    def check(self) -> None:
        """Raises UserError where a setting cannot be right."""
        if not self.files:
            raise UserError("data.files: names no file; write data.files={train: train.npz, test: test.npz}.")
        for split, file in self.files.items():
            if split != UNSPLIT and split not in SPLIT_NAMES:
                raise unknown("data.files: split", split, (*SPLIT_NAMES, UNSPLIT))
            if not file.endswith((".npy", ".npz")):
                raise UserError(f"data.files.{split}: {file!r} is no array file; allowed: .npz, .npy.")
            if file.endswith(".npy") and split not in self.label_files:
                raise UserError(f"data.label_files.{split}: is missing; {file!r} is an .npy and holds no labels.")
            if file.endswith(".npy") and self.attributes:
                raise UserError(
                    f"data.attributes: {file!r} is an .npy and holds none; put images and attributes in an .npz."
                )
        for split in self.label_files:
            if not self.files.get(split, "").endswith(".npy"):
                raise UserError(
                    f"data.label_files.{split}: data.files.{split} is no .npy; an .npz holds its labels itself."
                )

    def read(self, folder: Path, classes: tuple[str, ...] | None, progress: Progress) -> Reading:
        """Lists the rows of each file; see `Reader.read`."""
        self.check()
        root = existing_root(self.root)
        parts = [self._rows(root, split, file) for split, file in self.files.items()]
        return Reading(rows=pl.concat(parts), root=root)

    def _rows(self, root: Path, split: str, file: str) -> pl.DataFrame:
        images = _inside(root, file, f"data.files.{split}")
        member = self.images if file.endswith(".npz") else None
        num_images = check_images(images, member)
        if member is None:
            labels = load_array(_inside(root, self.label_files[split], f"data.label_files.{split}"), None)
        else:
            labels = load_array(images, self.label_member)
        columns: dict[str, list[str | None]] = {
            "label": self._named(_texts(labels, num_images, f"labels of {images}"), images),
            "split": [None if split == UNSPLIT else split] * num_images,
        }
        for name, source in self.attributes.items():
            columns[name] = list(_texts(load_array(images, source), num_images, f"{images}:{source}"))
        prefix = f"{file}:{member}" if member else file
        paths = [f"{prefix}#{row}" for row in range(num_images)]
        return pl.DataFrame({"path": paths, **columns}, schema_overrides=dict.fromkeys(("path", *columns), pl.String))

    def _named(self, labels: list[str], file: Path) -> list[str | None]:
        if not self.label_names:
            return list(labels)
        names: Mapping[str, str] = {str(number): name for number, name in enumerate(self.label_names)}
        strange = sorted(set(labels) - set(names))
        if strange:
            raise UserError(f"data.label_names: has {len(names)} names, and {file} holds the label {strange[0]}.")
        return [names[label] for label in labels]


def _texts(values: NDArray[Any], length: int, what: str) -> list[str]:
    if values.shape != (length,):
        raise UserError(
            f"{what}: found shape {list(values.shape)}; one value for each of the {length} images is needed."
        )
    if not (np.issubdtype(values.dtype, np.integer) or values.dtype.kind in "U"):
        raise UserError(f"{what}: found {values.dtype}; allowed are whole numbers and text.")
    try:
        return [plain_text(str(value), what) for value in values.tolist()]
    except UserError:
        raise
    except (ValueError, SystemError) as error:  # numpy's two ways to say that four bytes stand for no character
        raise UserError(f"{what}: cannot be read as text ({error}).") from error


def _inside(root: Path, file: str, key: str) -> Path:
    if not Places(root).inside(file):
        raise UserError(f"{key}: {file!r} leads out of data.root ({root}); allowed is a path below it.")
    if not os.path.isfile(root / file):  # noqa: PTH113 (a Path raises where a name is too long)
        raise UserError(f"{key}: {file!r} does not exist in data.root ({root}).")
    return root / file
