"""The contract of a reader: a dataclass of settings whose `read` lists the images of one data set.

A new reader is one file with a subclass of `Reader` and one line in `names.READERS`. It says what each image is; it
decodes nothing, splits nothing and maps no label to a number: `prepare` does these the same way for all readers.
"""

from __future__ import annotations

import abc
import errno
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import polars as pl
from omegaconf import MISSING

from evensight.config import DataConfig
from evensight.data.findings import Finding
from evensight.errors import UserError
from evensight.progress import Progress, silent

__all__ = [
    "SPLITS",
    "SPLIT_NAMES",
    "Finding",
    "Progress",
    "Reader",
    "Reading",
    "existing_file",
    "existing_root",
    "plain_text",
    "silent",
]

SPLITS = ("train", "validation", "test")

# What folders and columns call a split, in lower case -> the split.
SPLIT_NAMES: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Reading:
    """What a reader found.

    `rows` has one line an image, all columns text, null where unknown:

    - ``path``: relative to `root`; ``file.npy#row`` or ``file.npz:member#row`` for a row of an array file
      (uint8 `[N,H,W]`, `[N,H,W,1]` or `[N,H,W,3]`)
    - ``label``: the class's name
    - ``split`` (optional): a name of `SPLIT_NAMES`; rows without one are placed by `splits.place`
    - ``mask`` (optional): the path of a mask, written as ``path`` is
    - ``box_x0, box_y0, box_x1, box_y1`` (optional, float): pixels of the original
    - any other column is an attribute

    `annotations` has one line a label that somebody gave an image, where a format names its annotators: ``path``,
    ``annotator``, ``label``, and the box columns where rows have boxes. The ``label`` of `rows` is then the majority's.

    Paths outside the root, files that do not exist and repeated rows are found by `prepare`, for every reader alike.
    """

    rows: pl.DataFrame
    root: Path
    usual: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # attribute -> class -> its usual level
    findings: list[Finding] = field(default_factory=list)
    annotations: pl.DataFrame | None = None
    mask_root: Path | None = None  # folder of the masks, where it is another than `root`


@dataclass
class Reader(DataConfig, abc.ABC):
    """Settings of a data set and the method that reads it. Subclasses are dataclasses and import no torch.

    A reader may have ``check()``, which raises UserError for values that cannot be right, before any file is looked at,
    and ``redraw(row, attribute, level)``, which draws an image again with another level, and beside it
    ``redraw_batch(rows, attribute, levels)`` where several at once are faster.
    """

    version: ClassVar[int] = 1  # of what `read` makes of its settings; part of the recipe

    @property
    def tied(self) -> tuple[str, ...]:
        """Columns whose equal values stay in one split: what the user names, and what the reader knows of."""
        return tuple(self.keep_together)

    @abc.abstractmethod
    def read(self, folder: Path, classes: tuple[str, ...] | None, progress: Progress) -> Reading:
        """Lists the images.

        Args:
            folder: ``datasets/<name>/<recipe>/``, where a reader may keep files it generates (write them whole).
                Nobody else writes there meanwhile: `prepare` holds the folder's lock.
            classes: The objective's classes in their order, or None where they come from the data.
            progress: Told about anything that takes time.

        Raises:
            UserError: A setting is wrong, or there is nothing to read.
        """


def existing_root(root: str | None, key: str = "data.root") -> Path:
    """Returns the folder a key names, with links resolved.

    Raises:
        UserError: The key is not set, or names no folder.
    """
    if root is None or root in ("", MISSING):
        raise UserError(f"{key} is not set: name the folder of your images, {key}=<folder>.")
    hint = f"{key} names the folder that holds the images, as in {key}=<folder>"
    return _existing(root, key, stat.S_ISDIR, hint).resolve()


def existing_file(file: str, key: str, hint: str) -> Path:
    """Returns the file a key names.

    Raises:
        UserError: It names no file; `hint` says what to do.
    """
    return _existing(file, key, stat.S_ISREG, hint)


def plain_text(value: str, where: str) -> str:
    """Returns a text that a table can hold.

    Raises:
        UserError: It holds half of a pair of code units, which is no character.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise UserError(f"{where}: {value!r} is no text; it holds half a character.")
    return value


def _existing(name: str, key: str, wanted: Callable[[int], bool], hint: str) -> Path:
    try:
        path = Path(name).expanduser()
        mode = path.stat().st_mode
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in the name; ~somebody who has no home
        code = getattr(error, "errno", None)
        lost = "does not exist" if code == errno.ENOENT else f"cannot be used ({getattr(error, 'strerror', error)})"
        raise UserError(f"{key}: {name!r} {lost}; {hint}.") from error
    if not wanted(mode):
        kind = "is a folder" if stat.S_ISDIR(mode) else "is a file" if stat.S_ISREG(mode) else "is a pipe or a device"
        raise UserError(f"{key}: {name!r} {kind}; {hint}.")
    return path
