"""COCO: JSON files of instances (``instances_*.json``) beside folders of images."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from evensight.data.annotations.assemble import assemble
from evensight.data.annotations.bounded import read_json
from evensight.data.annotations.coco_json import MESSAGES, Wanted, parse
from evensight.data.annotations.objects import AnnotatedImage, ObjectReader
from evensight.data.annotations.paths import joined
from evensight.data.annotations.values import Odd
from evensight.data.places import Places
from evensight.data.reading import SPLIT_NAMES, Progress, Reading, existing_file, existing_root
from evensight.errors import UserError, missing, unknown, wrong_value

UNSPLIT = "all"
CROWD = ("leave_out", "keep")


@dataclass
class CocoReader(ObjectReader):
    """Reads COCO files: one row an image, or one an object.

    Categories are known by name. Attributes are the ``attributes`` of annotations and images, any further key of an
    image that holds a text, a number or a truth value, the name of its ``license``, and a category's ``supercategory``.
    A file's images are of the split it is named for; in a file named for none (`all`), each image's key ``split`` says.
    """

    reader: str = "coco"  # a name of names.READERS
    root: str = MISSING  # the folder that holds the images
    annotations: Any = MISSING  # the file, or split: its file; the key all: images without a split, or with a key split
    folders: dict[str, str] = field(default_factory=dict)  # split: folder below root that its file names begin in
    crowd: str = "leave_out"  # regions of many objects (iscrowd): leave_out, or keep as one object each
    masks: bool = True  # whether polygons and run lengths become masks

    def check(self) -> None:
        """Raises UserError where a setting cannot be right."""
        super().check()
        if self.crowd not in CROWD:
            raise unknown("data.crowd", self.crowd, CROWD)
        files = self._files()
        for split in files:
            if split != UNSPLIT and split not in SPLIT_NAMES:
                raise unknown("data.annotations: split", split, (*SPLIT_NAMES, UNSPLIT))
        for split in self.folders:
            if split not in files:
                raise unknown("data.folders: split", split, files)

    def read(self, folder: Path, classes: tuple[str, ...] | None, progress: Progress) -> Reading:
        """Reads each file; see `Reader.read`."""
        self.check()
        root = existing_root(self.root)
        odd = Odd(MESSAGES)
        images: list[AnnotatedImage] = []
        for split, name in self._files().items():
            key = "data.annotations" if isinstance(self.annotations, str) else f"data.annotations.{split}"
            file = existing_file(name, key, f"name the file, {key}=<file>.json")
            below = self._below(root, split)
            wanted = Wanted(self.crowd == "keep", self.masks, self.max_pixels, None if split == UNSPLIT else split)
            named = parse(read_json(file), str(file), wanted, odd)
            images += [replace(image, path=joined(below, image.path)) for image in named] if below else named
        where = ", ".join(self._files().values())
        beside = [self.folders.get(split, "") for split in self._files()]
        reading = assemble(images, self, root, folder, classes, progress, where, beside)
        return replace(reading, findings=[*odd.findings(), *reading.findings])

    def _files(self) -> Mapping[str, str]:
        if self.annotations in (MISSING, None, ""):
            raise missing("data.annotations")
        files = {UNSPLIT: self.annotations} if isinstance(self.annotations, str) else self.annotations
        if not isinstance(files, Mapping) or not files or not all(isinstance(file, str) for file in files.values()):
            raise wrong_value("data.annotations", self.annotations, "a file, or a mapping of splits to files")
        return files

    def _below(self, root: Path, split: str) -> str:
        below = self.folders.get(split, "")
        if below and not Places(root).inside(posixpath.join(below, "x")):
            raise UserError(f"data.folders.{split}: {below!r} leads out of data.root ({root}).")
        if not os.path.isdir(root / below):  # noqa: PTH112 (a Path raises where a name is too long)
            raise UserError(f"data.folders.{split}: {below!r} is no folder in data.root ({root}).")
        return below
