"""What is known of an image besides its class, as columns of a few levels each: attributes, properties, origins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from evensight.audit.data import UNKNOWN, AuditData, Ints
from evensight.data.tables import read_table
from evensight.metrics.association import quantile_levels

Kind = Literal["attribute", "property", "origin"]

MOST_LEVELS = 8  # of a property: of numbers, quantiles; of texts, the most frequent and "others"
MOST_VALUES = 50  # of a column of origins
NONE, OTHERS = "none", "others"
# Of properties.COLUMNS: those a photograph brings along, and not those that only say it is broken.
PROPERTIES = (
    *("mode", "format", "width", "height", "aspect", "orientation", "file_bytes", "jpeg_quality", "greyscale"),
    *("camera", "software", "brightness", "contrast", "sharpness", "dark", "bright"),
)
_HOURS = ("0 to 5 h", "6 to 11 h", "12 to 17 h", "18 to 23 h")


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: Of the attribute, the property or the column of origins.
        kind: Which of the three.
        codes: `[N]` level of each image, -1 where unknown.
        levels: Names of the levels.
    """

    name: str
    kind: Kind
    codes: Ints
    levels: tuple[str, ...]


def columns(data: AuditData) -> list[Column]:
    """Returns every column that takes at least two values; none twice."""
    found = [*_attributes(data), *_properties(data), *_origins(data)]
    unique = {column.name: column for column in reversed(found)}  # an attribute comes before a property of its name
    return [column for column in found if unique[column.name] is column and _varies(column)]


def _varies(column: Column) -> bool:
    known = column.codes[column.codes >= 0]
    return bool(known.size) and int(known.min()) < int(known.max())


def _attributes(data: AuditData) -> Iterator[Column]:
    for name, levels in data.levels.items():
        yield Column(name, "attribute", data.attributes[name], levels)


def _properties(data: AuditData) -> Iterator[Column]:
    table, measured = data.scores.properties, data.scores.measured
    for name in PROPERTIES:
        if name in table.columns and table[name].null_count() < len(table):
            column = table[name]
            made = _of_numbers(column, MOST_LEVELS) if column.dtype.is_numeric() else _of_texts(column, MOST_LEVELS)
            yield Column(name, "property", np.where(measured, made[0], UNKNOWN), made[1])
    if "taken" in table.columns and table["taken"].null_count() < len(table):
        taken = table["taken"].str.to_datetime(strict=False)
        for part, numbers, names in (
            ("taken_hour", taken.dt.hour() // 6, _HOURS),
            ("taken_month", taken.dt.month() - 1, tuple(f"month {month}" for month in range(1, 13))),
        ):
            codes = numbers.cast(pl.Int64).fill_null(len(names)).to_numpy()
            yield Column(part, "property", np.where(measured, codes, UNKNOWN), (*names, NONE))


def _origins(data: AuditData) -> Iterator[Column]:
    table = None if data.manifest is None else read_table(data.manifest.folder, "origins")
    if table is None:
        return
    ids = pl.DataFrame({"row_id": data.row_ids}, schema={"row_id": pl.String})
    known = ids.join(table.frame.unique("row_id", keep="first"), on="row_id", how="left", maintain_order="left")
    for name in known.columns[1:]:
        values = known[name]
        if values.dtype.is_nested() or values.n_unique() > max(MOST_VALUES, len(known) // 5):
            continue  # it names images, not where they come from
        codes, levels = _of_texts(values, MOST_VALUES)
        yield Column(name, "origin", codes, levels)


def _of_numbers(values: pl.Series, most: int) -> tuple[Ints, tuple[str, ...]]:
    """Quantiles; where some have no number (a PNG has no JPEG quality), that is a level too."""
    codes, names = quantile_levels(values.cast(pl.Float64).fill_null(float("nan")).to_numpy(), most)
    absent = values.is_null().to_numpy()
    if not absent.any():
        return codes, tuple(names)
    return np.where(absent, len(names), codes), (*names, NONE)


def _of_texts(values: pl.Series, most: int) -> tuple[Ints, tuple[str, ...]]:
    """The most frequent values, the first by name among equals; no value is a level too."""
    texts = values.cast(pl.String).fill_null(NONE)
    counted = texts.alias("value").value_counts(name="n").sort(["n", "value"], descending=[True, False])
    kept = counted["value"].to_list()
    if len(kept) > most:
        kept = kept[: most - 1]
    levels = tuple(sorted(kept))
    codes = texts.replace_strict(list(levels), list(range(len(levels))), default=len(levels), return_dtype=pl.Int64)
    return codes.to_numpy().astype(np.int64), levels if len(counted) == len(kept) else (*levels, OTHERS)
