"""The reader of the prediction log: what was served, as tables, while the server may be writing on.

A log that was cut short (a copy that broke off, a lost `-wal`) is read as far as it is whole, and `Traffic.cut` says
so; what is read never holds half a row.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight.errors import UserError, first_line
from evensight.records.log_schema import PREDICTION, classes_of, whole

_BUSY_S = 10.0
_OUTCOMES = {
    "id": pl.String,
    "cue": pl.String,
    "operator": pl.String,
    "donor_class": pl.Int64,
    "transplant": pl.Boolean,
    "placebo": pl.Boolean,
}
_REJECTED = {"time": pl.Float64, "code": pl.String}
_SWAPS = {"time": pl.Float64, "identity": pl.String}


@dataclass(frozen=True)
class Traffic:
    """What a log holds of the artifact and the time that were asked for.

    Attributes:
        classes: Names, in the order of the probabilities.
        predictions: In order of (time, id): id, time (seconds since 1970, UTC), identity, prediction (index of the
            class), confidence, probabilities (list of C), sampled, image (path relative to the log's folder, or null),
            label (index, null where there is none or several disagree), label_state ("none", "labelled", "conflict"),
            label_time (of the first label), and attribute:<name> (level or null) for each attribute seen.
        outcomes: Of the sampled predictions: id, cue, operator, donor_class, transplant, placebo.
        describes: By cue, ``[N, F]``, rows as in `predictions`; a row is NaN where the cue was not described, or in
            another length than the newest.
        embeddings: ``[N, D]``, rows as in `predictions`, NaN as in `describes`; None where there are none.
        rejected: Requests that got no prediction: time, code.
        swaps: time, identity.
        identities: How many predictions of the time each artifact gave, that of others too.
        unknown_feedback: Ids with a label and without a prediction, in the whole log.
        conflicts: Predictions here whose labels disagree.
        duplicates: Labels here that repeat one that was there.
        late: Predictions here whose first label came when another model was serving.
        cut: The sentence what could not be read, where the log is not whole.
    """

    classes: tuple[str, ...]
    predictions: pl.DataFrame
    outcomes: pl.DataFrame
    describes: Mapping[str, NDArray[np.float32]]
    embeddings: NDArray[np.float32] | None
    rejected: pl.DataFrame
    swaps: pl.DataFrame
    identities: Mapping[str, int]
    unknown_feedback: int
    conflicts: int
    duplicates: int
    late: int
    cut: str | None = None


def read_traffic(path: Path, artifact: str | None = None, since: float | None = None) -> Traffic:
    """Reads a log; changes nothing in it.

    Args:
        path: The file.
        artifact: Only predictions of this identity.
        since: Only what happened at this time (seconds since 1970, UTC) or later.

    Raises:
        UserError: There is none, it is something else or of another version, or so little of it is there that not
            even its head can be read.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"log: there is no prediction log at {path}.")
    try:
        return _assembled(_read(path), artifact, since)
    except sqlite3.DatabaseError as error:
        if not _broken(error):
            raise UserError(f"log: {path} cannot be read now ({first_line(error)}).") from None
    except OSError as error:
        raise UserError(f"log: {path} cannot be read ({error.strerror}).") from None
    with tempfile.TemporaryDirectory(prefix="evensight_log_") as folder:
        try:
            return _assembled(_read(_whole_pages(path, Path(folder)), rescued=path), artifact, since)
        except (sqlite3.DatabaseError, OSError) as error:
            raise UserError(
                f"log: {path} is no prediction log, or was cut short before anything in it was whole "
                f"({first_line(error)})."
            ) from None


@dataclass
class _Raw:
    """Rows that are whole, without their numbers and checksums."""

    classes: tuple[str, ...]
    predictions: list[Sequence[Any]]
    feedback: list[Sequence[Any]]
    rejections: list[Sequence[Any]]
    swaps: list[Sequence[Any]]
    cut: str | None


def _read(path: Path, rescued: Path | None = None) -> _Raw:
    """Reads all rows at one moment.

    Args:
        path: The file.
        rescued: The file that `path` is a copy of, when as much as there is will do.
    """
    mode = "rw" if rescued else "ro"
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, timeout=_BUSY_S)) as connection:
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        if rescued:  # the one way to make SQLite read a file that is shorter than its head says
            connection.execute("PRAGMA writable_schema = ON")
        connection.execute("BEGIN")
        classes = classes_of(connection, rescued or path)
        if classes is None:
            raise UserError(f"log: {rescued or path} is empty: nothing was ever logged in it.")
        lost: list[str] = []
        rows = {}
        tables = {"predictions": PREDICTION, "feedback": "id, label, time, times, crc"}
        tables |= {"rejections": "time, code, crc", "swaps": "time, identity, crc"}
        for table, columns in tables.items():
            found = list(_rows(connection, f"SELECT {columns} FROM {table}", table, lost, bool(rescued)))
            rows[table] = [row[:-1] for row in found if whole(row)]
            if len(rows[table]) < len(found):
                lost.append(f"{len(found) - len(rows[table])} rows of {table} are not whole")
    cut = (
        f"log: {rescued or path} was cut short or altered, and is read as far as it is whole"
        if rescued or lost
        else None
    )
    return _Raw(classes, cut=cut and f"{cut}: {'; '.join(lost) or 'what it lacks was not needed'}.", **rows)


def _rows(
    connection: sqlite3.Connection, query: str, table: str, lost: list[str], rescuing: bool
) -> Iterator[Sequence[Any]]:
    """Yields rows up to the first that cannot be read; the reason is added to `lost`."""
    try:
        yield from connection.execute(query)
    except sqlite3.DatabaseError as error:
        if not rescuing:
            raise
        lost.append(f"{table} end early ({first_line(error)})")


def _broken(error: sqlite3.DatabaseError) -> bool:
    """Returns whether an error says that the file is not whole, or that SQLite may not put its own files beside it."""
    name = getattr(error, "sqlite_errorname", "") or ""
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY"))


def _whole_pages(path: Path, folder: Path) -> Path:
    """Copies a log with its `-wal` into a folder, without a last page that was cut."""
    copy = folder / "log.sqlite"
    shutil.copyfile(path, copy)
    wal = Path(f"{path}-wal")
    if wal.is_file():
        shutil.copyfile(wal, folder / "log.sqlite-wal")
    with copy.open("r+b") as file:
        head = file.read(18)
        size = int.from_bytes(head[16:18], "big")  # https://www.sqlite.org/fileformat.html#page_size
        size = 65_536 if size == 1 else size
        if size:
            file.truncate(copy.stat().st_size // size * size)
    return copy


def _assembled(raw: _Raw, artifact: str | None, since: float | None) -> Traffic:
    number = len(raw.classes)
    first = -np.inf if since is None else since
    known = {row[0] for row in raw.predictions}
    recent = sorted((row for row in raw.predictions if row[1] >= first), key=lambda row: (row[1], row[0]))
    rows = [row for row in recent if artifact is None or row[2] == artifact]
    probabilities = _stacked([row[3] for row in rows], "<f4", number)
    labels = _labels(raw, rows)
    columns: dict[str, Any] = {
        "id": pl.Series([row[0] for row in rows], dtype=pl.String),
        "time": pl.Series([row[1] for row in rows], dtype=pl.Float64),
        "identity": pl.Series([row[2] for row in rows], dtype=pl.String),
        "prediction": pl.Series(probabilities.argmax(1) if number else [], dtype=pl.Int64),
        "confidence": pl.Series(probabilities.max(1) if number else [], dtype=pl.Float32),
        "probabilities": pl.Series(probabilities, dtype=pl.Array(pl.Float32, number)).arr.to_list(),
        "sampled": pl.Series([bool(row[4]) for row in rows], dtype=pl.Boolean),
        "image": pl.Series([row[7] for row in rows], dtype=pl.String),
        **labels.columns,
        **_attributes([row[5] for row in rows]),
    }
    outcomes = [(row[0], *outcome) for row in rows if row[6] != "[]" for outcome in json.loads(row[6])]
    return Traffic(
        raw.classes,
        pl.DataFrame(columns),
        pl.DataFrame([(*one[:4], bool(one[4]), bool(one[5])) for one in outcomes], schema=_OUTCOMES, orient="row"),
        _describes([(row[8], row[9]) for row in rows]),
        _padded([None if row[10] is None else np.frombuffer(row[10], "<f2") for row in rows]),
        pl.DataFrame([row for row in raw.rejections if row[0] >= first], schema=_REJECTED, orient="row"),
        pl.DataFrame([row for row in raw.swaps if row[0] >= first], schema=_SWAPS, orient="row"),
        dict(Counter(row[2] for row in recent)),
        len({row[0] for row in raw.feedback} - known),
        labels.conflicts,
        labels.duplicates,
        labels.late,
        raw.cut,
    )


@dataclass(frozen=True)
class _Labels:
    columns: dict[str, pl.Series]
    conflicts: int
    duplicates: int
    late: int


def _labels(raw: _Raw, rows: Sequence[Sequence[Any]]) -> _Labels:
    """Joins the labels to the predictions."""
    given = defaultdict(list)
    for id, label, time, times in raw.feedback:
        given[id].append((label, time, times))
    label, state, when, duplicates, late = [], [], [], 0, 0
    serving = _Serving(raw)
    for row in rows:
        found = given.get(row[0], [])
        first = min((time for _, time, _ in found), default=None)
        label.append(found[0][0] if len(found) == 1 else None)
        state.append(("none", "labelled", "conflict")[min(len(found), 2)])
        when.append(first)
        duplicates += sum(times - 1 for _, _, times in found)
        late += first is not None and serving.at(first) not in (None, row[2])
    columns = {
        "label": pl.Series(label, dtype=pl.Int64),
        "label_state": pl.Series(state, dtype=pl.String),
        "label_time": pl.Series(when, dtype=pl.Float64),
    }
    return _Labels(columns, state.count("conflict"), duplicates, late)


class _Serving:
    """Which model was the newest at a time: the last that was swapped in; before any swap, the last that answered."""

    def __init__(self, raw: _Raw) -> None:
        swaps = sorted((time, identity) for time, identity in raw.swaps)
        first = swaps[0][0] if swaps else np.inf
        answers = sorted((row[1], row[2]) for row in raw.predictions if row[1] < first)
        self._times = np.array([time for time, _ in (*answers, *swaps)])
        self._identities = [identity for _, identity in (*answers, *swaps)]

    def at(self, time: float) -> str | None:
        place = int(np.searchsorted(self._times, time, side="right"))
        return self._identities[place - 1] if place else None


def _attributes(texts: Sequence[str]) -> dict[str, pl.Series]:
    values = [json.loads(text) if text != "{}" else {} for text in texts]
    names = sorted({name for value in values for name in value})
    return {f"attribute:{name}": pl.Series([value.get(name) for value in values], dtype=pl.String) for name in names}


def _describes(texts: Sequence[tuple[str, bytes]]) -> dict[str, NDArray[np.float32]]:
    """Unpacks what each cue said of each image."""
    found: dict[str, list[NDArray[Any] | None]] = {}
    lengths = {text: json.loads(text) for text in {text for text, _ in texts}}
    for place, (text, packed) in enumerate(texts):
        values, start = np.frombuffer(packed, "<f4"), 0
        for cue, length in lengths[text].items():
            found.setdefault(cue, [None] * len(texts))[place] = values[start : start + length]
            start += length
    stacked = {cue: _padded(values) for cue, values in sorted(found.items())}
    return {cue: values for cue, values in stacked.items() if values is not None}


def _padded(values: Sequence[NDArray[Any] | None]) -> NDArray[np.float32] | None:
    """Stacks vectors to ``[N, D]``, of the last one's length; NaN for one that is missing or of another length."""
    length = next((len(value) for value in reversed(values) if value is not None), None)
    if length is None:
        return None
    stacked = np.full((len(values), length), np.nan, np.float32)
    places = [place for place, value in enumerate(values) if value is not None and len(value) == length]
    if places:
        stacked[places] = np.stack([values[place] for place in places])  # type: ignore[misc]
    return stacked


def _stacked(values: Sequence[bytes], kind: str, length: int) -> NDArray[np.float32]:
    return np.frombuffer(b"".join(values), kind).reshape(len(values), length).astype(np.float32)
