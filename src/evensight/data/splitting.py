"""The splits of a reading's rows: what ties them, where they are placed, and what of it a user should hear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight.config import DataConfig
from evensight.data.findings import Finding, found
from evensight.data.reading import SPLITS, Progress, Reader
from evensight.data.splits import Fractions, Placement, open_splits, place
from evensight.data.thumbnails import near_duplicates
from evensight.data.together import codes, parted
from evensight.errors import UserError, unknown

Ints = NDArray[np.int64]
_NEAR = "near duplicates"


def looks_for_duplicates(data: DataConfig, given: Sequence[str | None]) -> bool:
    """Says whether near duplicates are to be known: rows are placed, and are not to be parted."""
    return data.near_duplicates == "keep_together" and bool(open_splits(given, _fractions(data)))


def check_columns(data: DataConfig, columns: Sequence[str]) -> None:
    """Raises UserError where `keep_together` or `stratify` names what is no further column of the data."""
    for key in ("keep_together", "stratify"):
        for name in getattr(data, key):
            if name not in columns:
                raise unknown(f"data.{key}: column", name, columns)


def split_rows(
    rows: pl.DataFrame,
    further: pl.DataFrame,
    data: Reader,
    known: Mapping[str, str],
    folder: Path,
    progress: Progress,
) -> tuple[pl.DataFrame, list[Finding]]:
    """Gives every row a split; see `splits.place`.

    Args:
        rows: Columns ``path``, ``label``, ``split``, ``content_key``.
        further: The further columns of the same rows, as they were read.
        data: Fractions, seed, and what is not parted.
        known: Content -> split in the last version.
        folder: Where the thumbnails are, where `looks_for_duplicates` says so.
        progress: Told of the search for near duplicates.

    Returns:
        The rows with their splits, and findings: splits that were taken from training, and what was given parted.
    """
    relations = {f"rows of one {name}": codes(further[name]) for name in data.tied}
    if looks_for_duplicates(data, rows["split"].to_list()):
        relations[_NEAR] = near_duplicates(folder, rows["content_key"], progress)
    placement = _placed(rows, further, data, known, relations)
    untied: list[Finding] = []
    if _NEAR in relations and _without_images(placement, rows, data):
        # Pictures that differ in brightness alone, or 4 x 4 pixels: all would lie in one split.
        tied = len(np.unique(relations.pop(_NEAR)))
        message = (
            f"images of {tied:,} pictures, placed one by one: kept together as near duplicates they leave a split empty"
        )
        untied = [Finding("near_duplicates_untied", len(rows), [], message)]
        placement = _placed(rows, further, data, known, relations)
    findings = [
        Finding(f"{name}_from_train", count, [], f"images of the training split, taken as {name}: the data gives none")
        for name, count in placement.carved.items()
    ]
    placed = rows.with_columns(pl.Series("split", placement.splits, pl.String))
    return placed, findings + untied + _parted(placed, relations)


def _placed(
    rows: pl.DataFrame, further: pl.DataFrame, data: Reader, known: Mapping[str, str], relations: Mapping[str, Ints]
) -> Placement:
    return place(
        contents=rows["content_key"].to_list(),
        labels=rows["label"].to_list(),
        given=rows["split"].to_list(),
        fractions=_fractions(data),
        seed=data.split_seed,
        known=known,
        together=list(relations.values()),
        strata=_strata(further.select(data.stratify)) if data.stratify else None,
    )


def _without_images(placement: Placement, rows: pl.DataFrame, data: Reader) -> bool:
    """Says whether a split that was to take some of the rows has none."""
    taken = set(placement.splits)
    wanted = open_splits(rows["split"].to_list(), _fractions(data))
    return any(share > 0 and name not in taken for name, share in wanted.items())


def check_splits(rows: pl.DataFrame, classes: Sequence[str], data: DataConfig) -> list[Finding]:
    """Reports classes without an image in a split.

    Raises:
        UserError: The training split lacks a class, or there is no validation image.
    """
    findings = []
    for split in SPLITS:
        present = set(rows.filter((pl.col("split") == split) & pl.col("error").is_null())["label"].to_list())
        absent = [name for name in classes if name not in present]
        if split == "train" and absent:
            broken = rows.filter((pl.col("label") == absent[0]) & pl.col("error").is_not_null())
            example = f", as in {broken['path'][0]}: {broken['error'][0]}" if len(broken) else ""
            raise UserError(
                f"data {data.name!r}: the training split has no image of class {absent[0]!r} "
                f"that can be decoded{example}."
            )
        if split == "validation" and not present:
            raise UserError(
                f"data {data.name!r}: no image is in the validation split; give some rows the split 'validation', "
                f"or set data.validation_fraction above 0 (found {data.validation_fraction})."
            )
        findings += found("class_without_images", absent, f"classes without an image in the {split} split")
    return findings


def _fractions(data: DataConfig) -> Fractions:
    return Fractions(validation=data.validation_fraction, test=data.test_fraction)


def _strata(columns: pl.DataFrame) -> list[str]:
    """Returns one text a row of several columns; none is equal to another's by chance."""
    texts = [pl.col(name).fill_null("\0").str.replace_all("\x1f", "\x1f\x1f", literal=True) for name in columns.columns]
    return columns.select(pl.concat_str(texts, separator="\x1f ").alias("stratum"))["stratum"].to_list()


def _parted(rows: pl.DataFrame, relations: Mapping[str, Ints]) -> list[Finding]:
    """Reports what belongs together and lies in several splits, as it was given or has been since the first version."""
    paths, contents, splits = rows["path"], codes(rows["content_key"]), codes(rows["split"])
    findings = []
    for name, relation in relations.items():
        groups = parted(relation, contents, splits)
        shown = [" = ".join(paths[members[:3]].to_list()) for members in groups[:5]]
        shown += [""] * (len(groups) - len(shown))
        code = "near_duplicates_parted" if name == _NEAR else "parted"
        findings += found(code, shown, f"groups of {name} in different splits, as they were given; all are used")
    return findings
