"""The prediction log's file: its tables, its version, and how an entry becomes a row and a row an entry again.

An image is one row, with everything that is known of it but the label: a row is there whole or not at all. Each row
ends with a CRC-32 of the others, so that a file that was cut inside a row is not taken for a whole one.
"""

from __future__ import annotations

import json
import math
import sqlite3
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evensight.errors import UserError, shown, unknown

SCHEMA_VERSION = 1
APPLICATION = 0x45565347  # "EVSG" in the file's header: https://www.sqlite.org/fileformat.html#application_id
LONGEST_ID = 64  # characters; the server's have 32

TABLES = (
    "CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER) WITHOUT ROWID",
    """CREATE TABLE predictions (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, time REAL NOT NULL, identity TEXT NOT NULL,
        probabilities BLOB NOT NULL, sampled INTEGER NOT NULL, attributes TEXT NOT NULL, outcomes TEXT NOT NULL,
        image TEXT, described TEXT NOT NULL, describes BLOB NOT NULL, embedding BLOB, crc INTEGER)""",
    """CREATE TABLE feedback (id TEXT NOT NULL, label INTEGER NOT NULL, time REAL NOT NULL, times INTEGER NOT NULL,
        crc INTEGER, PRIMARY KEY (id, label)) WITHOUT ROWID""",
    "CREATE TABLE rejections (number INTEGER PRIMARY KEY, time REAL NOT NULL, code TEXT NOT NULL, crc INTEGER)",
    "CREATE TABLE swaps (number INTEGER PRIMARY KEY, time REAL NOT NULL, identity TEXT NOT NULL, crc INTEGER)",
)
PREDICTION = (
    "id, time, identity, probabilities, sampled, attributes, outcomes, image, described, describes, embedding, crc"
)


@dataclass(frozen=True)
class LoggedOutcome:
    """What a transplant from one donor and its placebo did to a prediction.

    Attributes:
        cue: The cue that was transplanted.
        operator: How.
        donor_class: Index of the donor's class.
        transplant: Whether the prediction became the donor's class.
        placebo: Whether the placebo did that too.
    """

    cue: str
    operator: str
    donor_class: int
    transplant: bool
    placebo: bool


@dataclass(frozen=True)
class Entry:
    """A prediction as it is logged; its arrays are not to be changed once it was given to the log.

    Attributes:
        id: 32 hexadecimal digits, given by the server and returned to the client.
        time: Seconds since 1970, UTC.
        identity: Of the artifact that answered.
        probabilities: ``[C]``, float32.
        attributes: What was sent along: level by attribute, both of the contract.
        describes: By cue, what `Cue.describe` says, ``[F]``, float32.
        embedding: ``[D]``; the log keeps float16.
        sampled: Whether the image is in the keyed sample that reliance is measured on.
        outcomes: Empty unless sampled.
        image: Path of the kept image, relative to the log's folder.
    """

    id: str
    time: float
    identity: str
    probabilities: NDArray[np.float32]
    attributes: Mapping[str, str]
    describes: Mapping[str, NDArray[np.float32]]
    embedding: NDArray[np.floating[Any]] | None
    sampled: bool
    outcomes: tuple[LoggedOutcome, ...] = ()
    image: str | None = None


def create(connection: sqlite3.Connection, classes: Sequence[str]) -> None:
    """Makes the tables, in the transaction that is open."""
    for statement in TABLES:
        connection.execute(statement)
    about = {"schema_version": str(SCHEMA_VERSION), "classes": json.dumps(list(classes), ensure_ascii=False)}
    rows = [(*row, checksum(row)) for row in about.items()]
    connection.executemany("INSERT INTO about VALUES (?, ?, ?)", rows)
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def classes_of(connection: sqlite3.Connection, path: Path) -> tuple[str, ...] | None:
    """Returns the classes that a log was made for, or None for a file without tables.

    Raises:
        UserError: The file is no prediction log, or one of another version.
        sqlite3.Error: It cannot be read.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application == 0 and version == 0:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if tables == 0:
            return None
    if application != APPLICATION:
        raise UserError(f"log: {path} is an SQLite file, but no prediction log; name another file.")
    if version != SCHEMA_VERSION:
        raise UserError(
            f"log: {path} is a prediction log of version {version}, this evensight reads version {SCHEMA_VERSION}; "
            "name another file, or use the evensight that wrote it."
        )
    row = connection.execute("SELECT key, value, crc FROM about WHERE key = 'classes'").fetchone()
    if row is None or not whole(row):
        raise UserError(f"log: {path} does not say which classes it is of; it was cut short or altered.")
    return tuple(json.loads(row[1]))


def checksum(values: Iterable[Any]) -> int:
    """Returns the CRC-32 of a row's values: bytes as they are, others as Python writes them."""
    crc = 0
    for value in values:
        crc = zlib.crc32(value if isinstance(value, bytes) else repr(value).encode("utf-8", "surrogatepass"), crc)
    return crc


def row_of(entry: Entry, num_classes: int) -> tuple[Any, ...]:
    """Returns the row of an entry, in the order of `PREDICTION`.

    Raises:
        ValueError: Something in it cannot be logged.
    """
    probabilities = np.ascontiguousarray(entry.probabilities, dtype="<f4")
    if probabilities.shape != (num_classes,):
        raise ValueError(f"{num_classes} probabilities are needed, found shape {list(probabilities.shape)}")
    if not np.isfinite(probabilities).all() or not math.isfinite(entry.time):
        raise ValueError("a probability or the time is not finite")
    describes = {cue: np.ascontiguousarray(value, dtype="<f4").ravel() for cue, value in entry.describes.items()}
    outcomes = [
        [one.cue, one.operator, int(one.donor_class), int(one.transplant), int(one.placebo)] for one in entry.outcomes
    ]
    row = (
        str(entry.id),
        float(entry.time),
        str(entry.identity),
        probabilities.tobytes(),
        int(entry.sampled),
        json.dumps(dict(entry.attributes)) if entry.attributes else "{}",
        json.dumps(outcomes) if outcomes else "[]",
        None if entry.image is None else str(entry.image),
        json.dumps({cue: len(value) for cue, value in describes.items()}),
        b"".join(value.tobytes() for value in describes.values()),
        None if entry.embedding is None else half(entry.embedding).tobytes(),
    )
    return (*row, checksum(row))


def half(embedding: NDArray[np.floating[Any]]) -> NDArray[np.float16]:
    """Returns an embedding as float16; what is too large for it becomes the largest it has."""
    largest = float(np.finfo(np.float16).max)
    clipped: NDArray[np.float16] = np.clip(np.asarray(embedding).ravel(), -largest, largest).astype("<f2")
    return clipped


def whole(row: Sequence[Any]) -> bool:
    """Returns whether a row is as it was written: its last value is the checksum of the others."""
    return bool(row[-1] == checksum(row[:-1]))


def label_index(label: str, classes: Sequence[str]) -> int:
    """Returns the index of a class.

    Raises:
        UserError: It is none, with the nearest.
    """
    if not isinstance(label, str) or label not in classes:
        raise unknown("label", label if isinstance(label, str) else shown(label), classes)
    return list(classes).index(label)
