"""Biased Action Recognition: six actions in photographs, whose places differ between training and test.

Nam, Cha, Ahn, Lee, Shin: Learning from Failure: Training Debiased Classifier from Biased Classifier (NeurIPS 2020).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import polars as pl

from evensight.data.datasets.roots import known_root
from evensight.data.findings import found
from evensight.data.readers.listing import listed
from evensight.data.reading import Progress, Reader, Reading
from evensight.errors import UserError

_SPLITS = ("train", "test")


@dataclass
class BarReader(Reader):
    """Reads ``{train,test}/<action>_<n>.jpg`` and the source of each photograph from ``metadata.json``.

    Validation images are taken from the training ones, class by class, by `split_seed` and `validation_fraction`.
    """

    name: str = "bar"  # folder under datasets_dir
    reader: str = "bar"  # a name of names.READERS
    sealed: bool = False  # public, and its results are published
    root: str | None = (
        None  # folder with train, test and metadata.json; null: bar/ under EVENSIGHT_DATA, or beside the clone
    )

    version: ClassVar[int] = 1

    def read(self, folder: Path, classes: tuple[str, ...] | None, progress: Progress) -> Reading:
        """Lists the photographs; see `Reader.read`.

        A photograph without metadata has no source; metadata without a photograph is a row whose file is missing.
        Both are reported.

        Raises:
            UserError: The folder is not there, or the metadata cannot be read.
        """
        root = known_root(self.root, "bar", (*_SPLITS, "metadata.json"))
        metadata = _metadata(root / "metadata.json")
        listings = [listed(root, split) for split in _SPLITS]
        paths = [path for listing in listings for path in listing.images]
        here = {PurePosixPath(path).stem for path in paths}
        paths += [f"{_split(about)}/{name}.jpg" for name, about in metadata.items() if name not in here]
        rows = [_row(path, metadata) for path in paths]
        findings = [finding for listing in listings for finding in listing.findings()]
        findings += found(
            "no_metadata",
            [row["path"] for row in rows if row["source"] is None],
            "photographs whose source metadata.json does not name; their source is unknown",
        )
        schema = dict.fromkeys(("path", "split", "label", "source"), pl.String)
        return Reading(rows=pl.DataFrame(rows, schema=schema), root=root, findings=findings)


def _metadata(file: Path) -> dict[str, Any]:
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as JSON ({error}).") from error
    if not isinstance(metadata, dict) or not all(isinstance(about, dict) for about in metadata.values()):
        raise UserError(f"{file}: found no table of photographs; it maps each name to what is known of it.")
    return metadata


def _split(about: Mapping[str, Any]) -> str:
    return "train" if about.get("train") else "test"


def _row(path: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row: the label is the name up to its last underscore ("pole vaulting_396")."""
    stem = PurePosixPath(path).stem
    source = metadata.get(stem, {}).get("source")
    label = stem.rpartition("_")[0] or None
    return {
        "path": path,
        "split": path.split("/")[0],
        "label": label,
        "source": None if source is None else str(source),
    }
