"""Reading the prediction log's file, while the server may be writing on, and also when it was cut short.

SQLite recovers what a killed writer left. A file that lost its end (a copy that broke off, a lost `-wal`) is copied and
read as far as its pages go; each row's checksum says whether it is whole.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evensight.errors import UserError, first_line
from evensight.records.log_schema import PREDICTION, classes_of, whole

_BUSY_S = 10.0  # how long another process's lock is waited for
# What SQLite says of a file that is not whole, or beside which it may not put its own.
_BROKEN = ("SQLITE_ERROR", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY")
# The second: SQLite quotes an altered table in its message.
_UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
_TABLES = (  # name, what tells rows apart, columns
    ("predictions", "id", PREDICTION),
    ("feedback", "id || label", "id, label, time, times, crc"),
    ("rejections", "number", "time, code, crc"),
    ("swaps", "number", "time, identity, crc"),
)


@dataclass(frozen=True)
class Rows:
    """The rows of a log that are whole, without their checksums.

    Attributes:
        classes: Names, in the order of the probabilities.
        predictions: In the columns of `log_schema.PREDICTION`.
        feedback: id, label (index), time of the first, times.
        rejections: time, code.
        swaps: time, identity.
        cut: The sentence what could not be read, where the log is not whole.
    """

    classes: tuple[str, ...]
    predictions: list[Sequence[Any]]
    feedback: list[Sequence[Any]]
    rejections: list[Sequence[Any]]
    swaps: list[Sequence[Any]]
    cut: str | None


def read_rows(path: Path) -> Rows:
    """Reads the log where it is; where SQLite cannot, a copy; where that is not whole, as much of it as there is.

    Raises:
        UserError: There is none, it is something else or of another version, or not even its head can be read.
    """
    if not path.is_file():
        raise UserError(f"log: there is no prediction log at {path}.")
    try:
        return _read(path, path)
    except _UNREADABLE as error:
        if not (getattr(error, "sqlite_errorname", None) or "SQLITE_CORRUPT").startswith(_BROKEN):
            raise UserError(f"log: {path} cannot be read now ({first_line(error)}).") from None
    with tempfile.TemporaryDirectory(prefix="evensight_log_") as folder:
        try:
            copy = _copied(path, Path(folder))
            with suppress(*_UNREADABLE):
                return _read(copy, path)
            copy = _copied(path, Path(folder))
            _cut_to_pages(copy)
            return _read(copy, path, rescuing=True)
        except OSError as error:
            raise UserError(f"log: {path} cannot be read ({error.strerror}).") from None
        except _UNREADABLE as error:
            raise UserError(
                f"log: {path} is no prediction log, or was cut short before anything in it was whole "
                f"({first_line(error)})."
            ) from None


def _read(path: Path, name: Path, rescuing: bool = False) -> Rows:
    """Reads all rows at one moment.

    Args:
        path: The file.
        name: What errors call it.
        rescuing: Whether as much as there is will do, of a copy.
    """
    address = f"{path.resolve().as_uri()}?mode={'rw' if rescuing else 'ro'}"
    lost: list[str] = []
    with closing(sqlite3.connect(address, uri=True, timeout=_BUSY_S)) as connection:
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        if rescuing:  # the one way to make SQLite read a file that is shorter than its head says
            connection.execute("PRAGMA writable_schema = ON")
        connection.execute("BEGIN")
        classes = classes_of(connection, name)
        if classes is None:
            raise UserError(f"log: {name} is empty; nothing was ever logged in it.")
        tables = [_rows(connection, *table, lost, rescuing) for table in _TABLES]
    cut = None
    if lost or rescuing:
        cut = f"log: {name} was cut short or altered, and is read as far as it is whole"
        cut += f": {'; '.join(lost)}." if lost else "."
    predictions, feedback, rejections, swaps = tables
    return Rows(classes, predictions, feedback, rejections, swaps, cut)


def _rows(
    connection: sqlite3.Connection, table: str, key: str, columns: str, lost: list[str], rescuing: bool
) -> list[Sequence[Any]]:
    """Returns the rows that are whole, up to the first that cannot be read; what is missing is added to `lost`."""
    found: dict[Any, Sequence[Any]] = {}  # by key: an altered page may be met twice
    broken = 0
    try:
        for row in connection.execute(f"SELECT {key}, {columns} FROM {table} NOT INDEXED"):
            if whole(row[1:]):
                found[row[0]] = row[1:-1]
            else:
                broken += 1
    except _UNREADABLE as error:
        if not rescuing:
            raise
        lost.append(f"{table} end early ({first_line(error)})")
    if broken:
        lost.append(f"{broken} of {table} are not whole")
    return list(found.values())


def _copied(path: Path, folder: Path) -> Path:
    """Copies a log with its `-wal` into a folder that SQLite may write to."""
    for old in folder.iterdir():
        old.unlink()
    copy, wal = folder / "log.sqlite", Path(f"{path}-wal")
    shutil.copyfile(path, copy)
    if wal.is_file():
        shutil.copyfile(wal, Path(f"{copy}-wal"))
    return copy


def _cut_to_pages(path: Path) -> None:
    """Takes away a last page that was cut; SQLite would read zeros for what it lacks."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(18)[16:], "big")  # https://www.sqlite.org/fileformat.html#page_size
        size = 65_536 if size == 1 else size
        if size:
            file.truncate(path.stat().st_size // size * size)
