"""The files a table may be: CSV, TSV, JSON lines, Parquet. Every value is text, null where there is none."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from evensight.data.parquet import read_parquet
from evensight.data.reading import plain_text
from evensight.errors import UserError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_SEPARATORS = (",", ";", "\t", "|")
# A wide character's two bytes, told by the mark that programs write at the beginning.
_WIDE = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_PLAIN = (pl.String, pl.Boolean, pl.Categorical, pl.Enum, pl.Date, pl.Null)


def read_table(path: Path) -> pl.DataFrame:
    """Reads a table of any of `SUFFIXES`.

    Raises:
        UserError: The file is of another kind, broken, empty, or names a column twice.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in (".csv", ".tsv"):
            rows = _read_csv(path, "\t" if suffix == ".tsv" else ",")
        elif suffix == ".parquet":
            rows = _read_parquet(path)
        else:
            rows = _read_json_lines(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (pl.exceptions.PolarsError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a table ({str(error).splitlines()[0]}).") from error
    if rows.is_empty():
        raise UserError(f"{path}: the table has no rows; one row an image is needed.")
    return rows


def _read_csv(path: Path, separator: str) -> pl.DataFrame:
    text = _text(path)
    header = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True), [])
    _check_header(path, header, separator)
    # Kept as text: label 01 is not label 1.
    simple = _simple(text, separator, len(header))
    if simple is None:
        return _by_row(path, text, separator, header)
    rows = pl.read_csv(simple, separator=separator, has_header=False, skip_rows=1, quote_char=None, infer_schema=False)
    return rows.rename(dict(zip(rows.columns, header, strict=True)))


def _text(path: Path) -> str:
    """Returns a file's text without the mark that programs may put before it.

    Raises:
        UserError: It is not UTF-8.
    """
    content = path.read_bytes()
    if content[:2] in _WIDE:
        raise UserError(f"{path}: is {_WIDE[content[:2]]} text; save it as UTF-8.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = content[error.start]
        raise UserError(f"{path}: cannot be read: line {line} is no UTF-8 (byte 0x{found:02x}); save it so.") from error


def _check_header(path: Path, header: Sequence[str], separator: str) -> None:
    if not any(header):
        raise UserError(f"{path}: is empty; a line of column names and one row an image are needed.")
    other = next((mark for mark in _SEPARATORS if mark != separator and mark in header[0]), None)
    if len(header) == 1 and other is not None:
        raise UserError(
            f"{path}: its columns are separated by {other!r}; allowed: {separator!r} in a {path.suffix}, "
            "',' in a .csv, a tab in a .tsv."
        )
    _check_names(path, header)


def _check_names(where: object, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"{where}: column {twice[0]!r} is there twice.")


def _simple(text: str, separator: str, width: int) -> io.BytesIO | None:
    """Returns a text that needs no rule but its separator: no quotes or blank lines, and as many values in each row.

    Such a one polars reads, 30 times as fast as Python's own module, which reads all others and names the line.
    """
    content = text.rstrip("\r\n").replace("\r\n", "\n").encode()
    if b'"' in content or b"\r" in content or b"\n\n" in content or b"\n" not in content:
        return None
    letters = np.frombuffer(content, np.uint8)
    ends = np.append(np.flatnonzero(letters == ord("\n")), len(letters))
    before = np.searchsorted(np.flatnonzero(letters == ord(separator)), ends)
    # A line of one value may be blank in a way that only the slow path sees.
    return io.BytesIO(content) if width > 1 and bool((np.diff(before, prepend=0) == width - 1).all()) else None


def _by_row(path: Path, text: str, separator: str, header: Sequence[str]) -> pl.DataFrame:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    next(reader)
    rows = []
    for row in reader:
        if row and len(row) != len(header):
            raise UserError(
                f"{path}: line {reader.line_num} has {len(row)} values; {len(header)} are needed, one a column."
            )
        if row:
            rows.append([value or None for value in row])
    return pl.DataFrame(rows, schema=dict.fromkeys(header, pl.String), orient="row")


def _read_parquet(path: Path) -> pl.DataFrame:
    rows = read_parquet(path)
    for name, kind in rows.schema.items():
        if not (kind.is_numeric() or kind in _PLAIN):
            raise UserError(f"{path}: column {name!r} holds {kind}; allowed are text, numbers, true, false and null.")
    return rows.select(pl.all().cast(pl.String))


def _read_json_lines(path: Path) -> pl.DataFrame:
    rows: list[dict[str, str | None]] = []
    # Not splitlines(): a JSON text may hold U+2028, which that takes for the end of a line.
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=list)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: line {number} is not JSON ({error}).") from error
        if not line.lstrip().startswith("{"):
            raise UserError(f'{path}: line {number} is not an object such as {{"path": ..., "label": ...}}.')
        where = f"{path}: line {number}"
        _check_names(where, [name for name, _ in value])
        rows.append({plain_text(name, where): _json_text(part, f"{where}, {name!r}") for name, part in value})
    columns = dict.fromkeys(name for row in rows for name in row)
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String))


def _json_text(value: Any, where: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return plain_text(value, where)
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise UserError(f"{where}: found a list or an object; allowed are text, numbers, true, false and null.")
