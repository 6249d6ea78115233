"""What annotators answered: a filled table, or an export of Label Studio; one label an image, or none.

An image that is answered twice alike counts once; one that is answered in two ways, or not at all, is left out and
counted. An id, a class or a level that nobody asked for is a mistake of the file's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evensight.data.annotations.bounded import read_json
from evensight.data.annotations.label_studio_images import MESSAGES
from evensight.data.annotations.label_studio_json import answers as people
from evensight.data.annotations.label_studio_json import tasks_of
from evensight.data.annotations.values import Odd
from evensight.data.findings import Finding
from evensight.data.readers.table_files import SUFFIXES, read_table
from evensight.errors import UserError, shown, unknown
from evensight.update.tasks import LABEL

_MOST_NAMED = 5


@dataclass(frozen=True)
class Answers:
    """One answer an image.

    Attributes:
        labels: Class by id.
        attributes: By id, the levels that were given.
        empty: Ids without a label.
        conflicting: Ids with several.
        doubled: Ids that were answered several times alike.
        findings: What else was odd in the file.
    """

    labels: dict[str, str]
    attributes: dict[str, dict[str, str]]
    empty: tuple[str, ...] = ()
    conflicting: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = field(default=())

    def notes(self) -> list[str]:
        """Returns a sentence for each kind of image that was left out or counted once."""
        told = [
            (self.empty, "images have no label and are left out"),
            (self.conflicting, "images have several different labels and are left out"),
            (self.doubled, "images are answered several times alike and count once"),
        ]
        return [f"answers: {len(ids):,} {what} ({_listed(ids)})" for ids, what in told if ids]


@dataclass(frozen=True)
class _Line:
    """One answer as it was read: which image, its label, its levels, and where it stands."""

    id: str
    label: str | None
    attributes: Mapping[str, str]
    at: str


def read_answers(
    path: Path, asked: Iterable[str], classes: Sequence[str], attributes: Mapping[str, Sequence[str]]
) -> Answers:
    """Reads a filled table (.csv, .tsv, .jsonl, .parquet) or Label Studio's export (.json).

    Args:
        path: The file.
        asked: Ids of the plan.
        classes: Labels that may be given.
        attributes: Levels that may be given, by attribute.

    Raises:
        UserError: The file cannot be read, names an id, a class or a level that is not known, or answers nothing.
    """
    if not path.is_file():
        raise UserError(f"answers: {path} is not a file; allowed: {', '.join(SUFFIXES)}, or Label Studio's .json.")
    findings: tuple[Finding, ...] = ()
    if path.suffix.lower() == ".json":
        lines, findings = _of_label_studio(path, attributes)
    elif path.suffix.lower() in SUFFIXES:
        lines = _of_table(path, attributes)
    else:
        raise UserError(f"answers: {path} is no table; allowed: {', '.join(SUFFIXES)}, or Label Studio's .json.")
    _check(lines, path, set(asked), classes, attributes)
    return _joined(lines, path, findings)


def _of_table(path: Path, attributes: Mapping[str, Sequence[str]]) -> list[_Line]:
    rows = read_table(path)
    for name in ("id", LABEL):
        if name not in rows.columns:
            raise unknown(f"answers: {path} lacks the column", name, rows.columns)
    given = [name for name in attributes if name in rows.columns]
    lines = []
    for number, row in enumerate(rows.iter_rows(named=True), start=1):
        levels = {name: row[name].strip() for name in given if row[name] and row[name].strip()}
        label = (row[LABEL] or "").strip() or None
        lines.append(_Line((row["id"] or "").strip(), label, levels, f"row {number}"))
    return lines


def _of_label_studio(path: Path, attributes: Mapping[str, Sequence[str]]) -> tuple[list[_Line], tuple[Finding, ...]]:
    where, odd = str(path), Odd(MESSAGES)
    lines = []
    for place, task in enumerate(tasks_of(read_json(path), where)):
        at = f"task {shown(task.get('id', place))}"
        name: Any = task["data"].get("id")
        if not isinstance(name, str):
            raise UserError(f"answers: {path}: {at} has no id in its data; export the tasks that the plan wrote.")
        given = people(task, LABEL, at, odd)
        for answer in given:
            levels = {key: value for key, value in answer.attributes.items() if key in attributes}
            lines.append(_Line(name, answer.label, levels, at))
        if not given:
            lines.append(_Line(name, None, {}, at))
    return lines, tuple(odd.findings())


def _check(
    lines: Sequence[_Line],
    path: Path,
    asked: set[str],
    classes: Sequence[str],
    attributes: Mapping[str, Sequence[str]],
) -> None:
    for line in lines:
        where = f"answers: {path}, {line.at}"
        if line.id not in asked:
            raise UserError(f"{where}: id {shown(line.id)} is none that the plan asked for; answer its own table.")
        if line.label is not None and line.label not in classes:
            raise unknown(f"{where}: label", line.label, classes)
        for name, level in line.attributes.items():
            if level not in attributes[name]:
                raise unknown(f"{where}: {name}", level, attributes[name])


def _joined(lines: Sequence[_Line], path: Path, findings: tuple[Finding, ...]) -> Answers:
    by_id: dict[str, list[_Line]] = defaultdict(list)
    for line in lines:
        by_id[line.id].append(line)
    labels: dict[str, str] = {}
    levels: dict[str, dict[str, str]] = {}
    empty, conflicting, doubled = [], [], []
    for name, own in by_id.items():
        given = [line for line in own if line.label is not None]
        if not given:
            empty.append(name)
        elif len({line.label for line in given}) > 1:
            conflicting.append(name)
        else:
            labels[name] = str(given[0].label)
            levels[name] = _agreed(given)
            doubled += [name] if len(given) > 1 else []
    if not labels:
        raise UserError(f"answers: {path} gives no image a label ({len(empty):,} are empty); fill in {LABEL!r}.")
    return Answers(labels, levels, tuple(empty), tuple(conflicting), tuple(doubled), findings)


def _agreed(lines: Sequence[_Line]) -> dict[str, str]:
    """Returns the levels of which nobody said another."""
    said: dict[str, Counter[str]] = defaultdict(Counter)
    for line in lines:
        for name, level in line.attributes.items():
            said[name][level] += 1
    return {name: next(iter(levels)) for name, levels in said.items() if len(levels) == 1}


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_MOST_NAMED]) + (", ..." if len(ids) > _MOST_NAMED else "")
