"""The seal of a test split, and the ledger of its openings: ``datasets/<name>/seal.json`` and ``ledger.jsonl``."""

from __future__ import annotations

import datetime
import fcntl
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from evensight.data.findings import Finding
from evensight.data.manifest import Manifest
from evensight.errors import UserError
from evensight.files import append_line, digest_json, disk_full, write_json

log = logging.getLogger(__name__)

SEAL, LEDGER = "seal.json", "ledger.jsonl"
_LOCK = ".lock"
_MOST_TRIES = 100
SCHEMA_VERSION = 1


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, waiting for it; the system lets go of it when the process ends, however it ends.

    Raises:
        UserError: It cannot be made or written to.
    """
    with _held(folder):
        try:
            yield
        finally:
            _leave_nothing(folder)


def _held(folder: Path) -> TextIO:
    """Waits for the lock; whoever had it may have taken the folder away, and then there is another to be made."""
    failed = 0
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / _LOCK).open("w", encoding="utf-8")
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            failed += 1
            if disk_full(error):
                raise
            # A file system that makes no folders says the same as a folder that was taken away meanwhile.
            if isinstance(error, FileNotFoundError) and failed < _MOST_TRIES:
                continue
            why = getattr(error, "strerror", None) or error
            raise UserError(f"datasets_dir: {folder} cannot be written ({why}); choose another.") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another process that prepares %s", folder)
            fcntl.flock(file, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), (folder / _LOCK).stat()):
                return file
        file.close()


def _leave_nothing(folder: Path) -> None:
    """Takes a folder away in which nothing was made: a mistake in the data leaves no trace."""
    with suppress(OSError):
        if os.listdir(folder) == [_LOCK]:  # noqa: PTH208
            (folder / _LOCK).unlink()
            folder.rmdir()
            folder.parent.rmdir()  # the data set's, where it has no other recipe
            folder.parent.parent.rmdir()  # datasets_dir, where this was to be the first


def seal(manifest: Manifest) -> list[Finding]:
    """Writes the seal of a sealed data set the first time it is prepared, and says when the test split is another now.

    Raises:
        UserError: The seal is there and cannot be read.
    """
    if not manifest.sealed:
        return []
    path = manifest.folder.parent / SEAL
    test = manifest.split("test")
    # Not the test digest: an attribute declared later changes that, and not what is sealed.
    images = digest_json(sorted(test.select("row_id", "label").iter_rows()))
    with locked(path.parent):
        if not path.exists():
            for left in path.parent.glob(f".{SEAL}.*.tmp"):  # by a process that was killed
                left.unlink(missing_ok=True)
            digests = {"content": manifest.digests.content, "test": manifest.digests.test, "images": images}
            head = {"schema_version": SCHEMA_VERSION, "name": manifest.name, "time": _now()}
            write_json(path, {**head, **digests, "num_test": len(test)})
            return []
        sealed = _read_json(path)
    if sealed.get("images") == images:
        return []
    message = (
        f"the test split is not the one sealed in {path}: its images or labels have changed; "
        "if this is another data set, give it a name of its own, data.name=<name>"
    )
    return [Finding("test_split_changed", len(test), [], message)]


def record_opening(manifest: Manifest, by: str, stage: str, revealed: str) -> int:
    """Adds an opening of the test split to the ledger.

    Args:
        manifest: Sealed or not.
        by: Identity of the artifact that was tested.
        stage: The stage that looked.
        revealed: What its user saw: ``"verdict"``, ``"counts"`` or ``"images"``.

    Returns:
        The number of this opening: one more than the openings that saw the image of this split seen most often.
    """
    rows = manifest.split("test")["row_id"].to_list()
    line: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "time": _now(),
        "by": by,
        "stage": stage,
        "revealed": revealed,
    }
    line |= {"content": manifest.digests.content, "test": manifest.digests.test, "rows": rows}
    folder = manifest.folder.parent
    with locked(folder):
        number = num_openings(manifest) + 1
        append_line(folder / LEDGER, json.dumps(line, ensure_ascii=False))
    return number


def record_look(manifest: Manifest, stage: str = "audit", what: Sequence[str] = ()) -> None:
    """Adds a look at labels or attributes of the test split to the ledger. It is no opening: no model was judged.

    Args:
        manifest: Sealed or not.
        stage: The stage that looked.
        what: What was read, as ``labels`` or ``attribute colour``.
    """
    line: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "time": _now(),
        "by": stage,
        "stage": stage,
        "revealed": "look",
        "what": list(what),
        "content": manifest.digests.content,
        "test": manifest.digests.test,
        "rows": [],  # those that openings are counted by
    }
    folder = manifest.folder.parent
    with locked(folder):
        append_line(folder / LEDGER, json.dumps(line, ensure_ascii=False))


def interrupted_opening(manifest: Manifest, by: str, stage: str, delivered: int) -> int | None:
    """Returns the number of an opening that never came to a verdict, which the same artifact may go on with.

    Args:
        manifest: Of the split that was opened.
        by: Identity of the artifact.
        stage: The stage that looked.
        delivered: Number of the artifact's last opening that came to a verdict; 0 where none did.
    """
    lines = openings(manifest.folder.parent)
    for last in range(len(lines), 0, -1):
        line = lines[last - 1]
        if (line["by"], line["stage"], line["test"]) == (by, stage, manifest.digests.test):
            number = _most_seen(manifest, lines[:last])
            return number if number > delivered else None
    return None


def openings(folder: Path) -> list[dict[str, Any]]:
    """Returns the lines of the ledger of a data set's folder, ``datasets/<name>``, oldest first.

    A last line without its end is of a process that was killed before it saw anything, and is left out.

    Raises:
        UserError: A line cannot be read; openings that are not known must not count as none.
    """
    path = folder / LEDGER
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    try:
        return [json.loads(line) for line in lines]
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: line {len(lines)} or one before it is not JSON ({error}).") from error


def num_openings(manifest: Manifest) -> int:
    """Returns how often the image of the test split that was seen most often has been opened."""
    return _most_seen(manifest, openings(manifest.folder.parent))


def _most_seen(manifest: Manifest, lines: Sequence[Mapping[str, Any]]) -> int:
    seen = Counter(row for line in lines for row in set(line["rows"]))
    return max((seen[row] for row in manifest.split("test")["row_id"].to_list()), default=0)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}).") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: is not a JSON object.")
    return value


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
