"""Images that are no copies and yet not independent: of one subject, or by one camera within seconds, in two splits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from evensight.audit.data import AuditData, Ints
from evensight.data.tables import read_table

# Columns of origins, or attributes, that name whoever is on an image.
SUBJECTS = ("subject", "subject_id", "patient", "patient_id", "person", "person_id", "individual", "identity")
# Where an image comes from: many images come from one, so sharing it is no leak; copies across two are worth a word.
PLACES = ("source", "camera")
SECONDS = 5


@dataclass(frozen=True)
class Shared:
    """One thing that images of several splits share.

    Attributes:
        what: Name of the column, or ``moment``.
        rows: Rows of images that share it with another split, in order.
        values: What each of them shares: a number of the subject or the burst `[len(rows)]`.
    """

    what: str
    rows: Ints
    values: Ints


def known_columns(data: AuditData) -> dict[str, pl.Series]:
    """Returns the columns that say where images come from, by name, each text `[N]`, null where unknown.

    Attributes of the objective come first; of a closed test split they are unknown.
    """
    found: dict[str, pl.Series] = {}
    for name, levels in data.levels.items():
        names = pl.Series([*levels, None], dtype=pl.String)
        found[name] = names.gather(np.where(data.attributes[name] < 0, len(levels), data.attributes[name]))
    table = None if data.manifest is None else read_table(data.manifest.folder, "origins")
    if table is not None:
        ids = pl.DataFrame({"row_id": data.row_ids}, schema={"row_id": pl.String})
        joined = ids.join(table.frame.unique("row_id", keep="first"), on="row_id", how="left", maintain_order="left")
        for name in joined.columns[1:]:
            if not joined[name].dtype.is_nested():
                found.setdefault(name, joined[name].cast(pl.String))
    return {name: column for name, column in found.items() if name.lower() in (*SUBJECTS, *PLACES)}


def shared_subjects(data: AuditData) -> list[Shared]:
    """Returns for each column that names a subject the images whose subject is in several splits."""
    found = []
    for name, column in known_columns(data).items():
        if name.lower() in SUBJECTS:
            frame = pl.DataFrame({"value": column, "split": data.splits}).with_row_index("row").drop_nulls("value")
            found.append(_across(name, frame))
    return [shared for shared in found if len(shared.rows)]


def shared_moments(data: AuditData) -> Shared:
    """Returns the images of bursts (one camera, each within 5 s of the last) that lie in several splits."""
    taken = data.scores.properties.select(
        pl.col("camera"), pl.col("taken").cast(pl.String).str.to_datetime(strict=False, time_unit="ms").alias("taken")
    )
    frame = taken.with_columns(pl.Series("split", data.splits)).with_row_index("row").drop_nulls()
    frame = frame.sort("camera", "taken", "row")
    begins = (pl.col("camera") != pl.col("camera").shift()) | (
        pl.col("taken") - pl.col("taken").shift() > pl.duration(seconds=SECONDS)
    )
    frame = frame.with_columns(begins.fill_null(True).cum_sum().alias("value"))
    return _across("moment", frame)


def _across(what: str, frame: pl.DataFrame) -> Shared:
    several = frame.filter(pl.col("split").n_unique().over("value") > 1)
    several = several.with_columns(pl.col("value").rank("dense").alias("value")).sort("value", "row")
    return Shared(what, several["row"].to_numpy().astype(np.int64), several["value"].to_numpy().astype(np.int64))
