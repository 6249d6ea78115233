"""What the audit leaves: side tables, `findings.json`, `verdict.json` and the pictures that the report shows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evensight.audit.chapter import SEVERITIES, AuditFinding, Block, Chapter, Exhibit, Gallery
from evensight.audit.data import AuditData
from evensight.audit.pictures import Album
from evensight.files import write_json

SCHEMA_VERSION = 1
FINDINGS, VERDICT, PICTURES = "findings.json", "verdict.json", "pictures"
MOST_ROWS = 200  # of a finding, named in the file; the side tables have them all
_KINDS = {"Bars": "bars", "Table": "table", "HeatMap": "heat_map", "Gallery": "gallery", "Paragraph": "paragraph"}


def ranked(chapters: Sequence[Chapter]) -> list[tuple[Chapter, AuditFinding]]:
    """Returns every finding with its chapter, the most dangerous to the objective first."""
    found = [(chapter, finding) for chapter in chapters for finding in chapter.findings]
    return sorted(found, key=lambda pair: (SEVERITIES.index(pair[1].severity), -pair[1].danger, pair[1].title))


def findings_record(
    data: AuditData, chapters: Sequence[Chapter], folder: Path, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the content of `findings.json`, and writes the pictures it names.

    Args:
        data: What was looked at.
        chapters: In the order of the report.
        folder: ``audit/``; pictures go to ``pictures/`` below it.
        about: What else the file says: name, digests, settings, times.
    """
    album = Album(folder / PICTURES, data.manifest)
    pairs = ranked(chapters)
    return {
        "schema_version": SCHEMA_VERSION,
        **about,
        "classes": list(data.classes),
        "open_test": data.open_test,
        "num_images": {split: int((data.splits == split).sum()) for split in ("train", "validation", "test")},
        "findings": [_finding(data, chapter, finding, album) for chapter, finding in pairs],
        "chapters": [_chapter(chapter, album) for chapter in chapters],
    }


def write_findings(folder: Path, record: Mapping[str, Any]) -> Path:
    """Writes `findings.json`, whole or not at all, and takes away pictures that it does not name."""
    path = folder / FINDINGS
    write_json(path, dict(record))
    kept = set(_files(record))
    for picture in (folder / PICTURES).glob("*.png"):
        if picture.name not in kept:
            picture.unlink(missing_ok=True)
    return path


def plain(value: Any) -> Any:
    """Returns a value as JSON takes it: numpy's numbers as Python's, what is not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _finding(data: AuditData, chapter: Chapter, finding: AuditFinding, album: Album) -> dict[str, Any]:
    rows = finding.rows[:MOST_ROWS]
    return {
        "chapter": chapter.name,
        "code": finding.code,
        "severity": finding.severity,
        "danger": round(float(finding.danger), 4),
        "title": finding.title,
        "action": finding.action,
        "setting": finding.setting,
        "num_rows": max(finding.num_rows, len(finding.rows)),
        "row_ids": [data.row_ids[row] for row in rows],
        "paths": [data.paths[row] for row in rows],
        "evidence": plain(finding.evidence),
        "exhibits": [_exhibit(exhibit, album) for exhibit in finding.exhibits],
    }


def _chapter(chapter: Chapter, album: Album) -> dict[str, Any]:
    return {
        "name": chapter.name,
        "title": chapter.title,
        "lede": chapter.lede,
        "skipped": chapter.skipped,
        "figures": plain(chapter.figures),
        "blocks": [_block(block, album) for block in chapter.blocks],
    }


def _block(block: Block, album: Album) -> dict[str, Any]:
    kind = {"kind": _KINDS[type(block).__name__]}
    if isinstance(block, Gallery):
        exhibits = [_exhibit(exhibit, album) for exhibit in block.exhibits]
        return {**kind, "title": block.title, "note": block.note, "exhibits": exhibits}
    return {**kind, **{key: plain(value) for key, value in dataclasses.asdict(block).items()}}


def _exhibit(exhibit: Exhibit, album: Album) -> dict[str, Any]:
    pictures = [{"file": album.name(picture), "caption": picture.caption} for picture in exhibit.pictures]
    return {"pictures": pictures, "caption": exhibit.caption, "note": exhibit.note}


def _files(record: Any) -> list[str]:
    if isinstance(record, Mapping):
        own = [record["file"]] if isinstance(record.get("file"), str) else []
        return own + [name for part in record.values() for name in _files(part)]
    if isinstance(record, list):
        return [name for part in record for name in _files(part)]
    return []
