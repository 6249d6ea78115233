"""A ledger: lines of JSON in which each holds the digest of the one before, so that none can be altered or taken away.

Each line has `schema_version`, `seq` (from 1), `time` (UTC), the caller's own keys, `previous` (the digest of the line
before) and `digest` (SHA-256 of the line's canonical JSON without it). A chain cannot tell that its end is missing, so
`<name>.head` beside it holds the number and the digest of the last line. Who can write both files can forge both: this
finds accidents and careless hands, not a determined forger.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evensight.errors import UserError
from evensight.files import append_line, canonical_json, digest_json, write_json

SCHEMA_VERSION = 1
FIRST = "0" * 64  # `previous` of the first line
_OWN = ("schema_version", "seq", "time", "previous", "digest")


def append(path: Path, value: Mapping[str, Any]) -> str:
    """Adds a line, on the disk when this returns; only for who holds the lock of the folder.

    Args:
        path: The ledger.
        value: What the line says; JSON.

    Returns:
        The line's digest.

    Raises:
        UserError: A line that is there was altered.
        OSError: It cannot be written; the ledger is as it was.
    """
    lines = read(path)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    previous = lines[-1]["digest"] if lines else FIRST
    line = {key: one for key, one in value.items() if key not in _OWN}
    line |= {"schema_version": SCHEMA_VERSION, "seq": len(lines) + 1, "time": now, "previous": previous}
    digest = digest_json(line)
    append_line(path, canonical_json({**line, "digest": digest}))
    note_head(path)
    return digest


def read(path: Path) -> list[dict[str, Any]]:
    """Returns the lines, oldest first, after checking each.

    A last line without its end is of a process that was killed: what it was to say never happened. It is left out.

    Raises:
        UserError: A line was altered, taken away or moved, with its number.
    """
    head = _head(path)  # first: another process may add a line meanwhile
    return _checked(path, _content(path), head)


def verify(path: Path) -> None:
    """Checks every line; see `read`."""
    read(path)


def note_head(path: Path) -> None:
    """Writes down which line is the last, where that is not known: after a line, and after a process was killed."""
    lines = read(path)
    if lines and _head(path) != (len(lines), lines[-1]["digest"]):
        head = {"schema_version": SCHEMA_VERSION, "seq": len(lines), "digest": lines[-1]["digest"]}
        write_json(_head_path(path), head)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UserError(f"ledger: {path} cannot be read ({error.strerror}).") from None


def _checked(path: Path, content: bytes, head: tuple[int, str]) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    previous = FIRST
    for number, text in enumerate(content.split(b"\n")[:-1], 1):
        line = _parsed(text)
        if line is None:
            raise UserError(f"ledger: {path}: line {number} was altered.")
        if line.get("seq") != number or line.get("previous") != previous:
            raise UserError(f"ledger: {path}: line {number} does not follow the one before; one was removed or moved.")
        previous = line["digest"]
        lines.append(line)
    last, digest = head
    if last > len(lines):
        raise UserError(f"ledger: {path}: line {last} is missing; it was removed or cut short.")
    if last and lines[last - 1]["digest"] != digest:
        raise UserError(f"ledger: {path}: line {last} is not the one that {_head_path(path).name} holds.")
    return lines


def _parsed(text: bytes) -> dict[str, Any] | None:
    """Returns a line when it is, byte by byte, as it was written; else None."""
    try:
        line = json.loads(text)
        if not isinstance(line, dict) or line.get("schema_version") != SCHEMA_VERSION:
            return None
        content = {key: value for key, value in line.items() if key != "digest"}
        same = canonical_json(line).encode("utf-8") == text and digest_json(content) == line.get("digest")
    except (ValueError, RecursionError):
        return None
    return line if same else None


def _head_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.head")


def _head(path: Path) -> tuple[int, str]:
    """Returns number and digest of the last line that was noted; (0, "") where none was."""
    head = _head_path(path)
    try:
        value = json.loads(head.read_bytes())
        if value["seq"] < 1:
            raise ValueError
        return int(value["seq"]), str(value["digest"])
    except FileNotFoundError:
        return 0, ""
    except OSError as error:
        raise UserError(f"ledger: {head} cannot be read ({error.strerror}).") from None
    except (ValueError, LookupError, TypeError, RecursionError):
        raise UserError(
            f"ledger: {head} was altered; remove it, if `{path.name}` beside it is known to be whole."
        ) from None
