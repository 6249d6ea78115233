"""The stage: looks at a prepared data set, chapter by chapter, and leaves findings, side tables, report and verdict."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from evensight import __version__
from evensight.audit.chapter import AuditFinding, Chapter
from evensight.audit.data import AuditData, Scores
from evensight.audit.record import VERDICT, findings_record, ranked, write_findings
from evensight.audit.scoring import score
from evensight.config import AuditConfig, DataConfig
from evensight.data.manifest import Manifest
from evensight.data.reading import SPLITS
from evensight.data.seal import record_look
from evensight.data.tables import read_table, remove_table, write_table
from evensight.errors import unknown
from evensight.names import CUES
from evensight.objective import verdict_file
from evensight.objective.evidence import DataFigures, Evidence, judge
from evensight.objective.objective import Objective
from evensight.objective.verdict_file import VerdictFile
from evensight.progress import Progress

log = logging.getLogger(__name__)

# In the order of the report: what can be read, what is there twice, how much there is, what goes with what.
CHAPTERS = ("integrity", "duplicates", "balance", "association", "shortcuts", "annotators", "label_errors")
FOLDER = "audit"
# What only chapters that read test labels or attributes do; where the test split is open, the ledger says so.
LOOKS = ("labels", "attributes", "annotations")
QUARANTINE = "quarantine"
# Side tables of the audit, and the chapters they come from.
OWNERS: dict[str, tuple[str, ...]] = {
    "cues": ("shortcuts",),
    QUARANTINE: ("integrity", "duplicates"),
    "duplicates": ("duplicates",),
    "label_errors": ("label_errors",),
}


@dataclass(frozen=True)
class AuditResult:
    """What the audit left, and what it says.

    Attributes:
        folder: ``datasets/<name>/<recipe>/audit``.
        verdict: On the requirements of the data.
        findings: The most dangerous first, each with its chapter.
        seconds: Of each step.
    """

    folder: Path
    verdict: VerdictFile
    findings: list[tuple[Chapter, AuditFinding]]
    seconds: dict[str, float]


def audit(
    manifest: Manifest, objective: Objective, data: DataConfig, settings: AuditConfig, progress: Progress
) -> AuditResult:
    """Audits a data set: `evensight audit`.

    Args:
        manifest: Prepared; without side tables that an earlier audit found.
        objective: Resolved, as the user stated it.
        data: Settings of the data set.
        settings: Settings of the audit.
        progress: Told of what takes time.

    Raises:
        UserError: A setting names what there is not.
    """
    check_settings(settings, manifest.levels)
    folder = manifest.folder / FOLDER
    clock = _Clock()
    scores = score(manifest, settings.cues, folder, data.max_pixels, settings.num_workers, progress)
    clock.lap("measuring")
    open_test = settings.open_test if settings.open_test is not None else not manifest.sealed
    seen = audit_data(manifest, objective, scores, open_test)
    chapters = []
    for name in (name for name in CHAPTERS if name not in settings.skip):
        chapters.append(_run(name)(seen, settings, progress))
        clock.lap(name)
    if open_test and manifest.sealed:
        record_look(manifest, "audit", list(LOOKS))
    _write_tables(manifest, chapters)
    verdict = _verdict(seen, manifest, chapters)
    about = _about(manifest, objective, settings, verdict)
    write_findings(folder, findings_record(seen, chapters, folder, about))
    verdict_file.write(folder / VERDICT, verdict)
    clock.lap("writing")
    return AuditResult(folder, verdict, ranked(chapters), clock.seconds)


def check_settings(settings: AuditConfig, attributes: Iterable[str] = ()) -> None:
    """Holds the settings that name something, before any image is looked at.

    Args:
        settings: Of the audit.
        attributes: Those of the objective.

    Raises:
        UserError: One names what there is not.
    """
    for name in settings.cues:
        if name not in CUES:
            raise unknown("audit.cues", name, CUES)
    places = ("validation", "test", *attributes)
    if settings.transfer is not None and settings.transfer not in places:
        raise unknown("audit.transfer", settings.transfer, places)
    for name in settings.skip:
        if name not in CHAPTERS:
            raise unknown("audit.skip", name, CHAPTERS)


def audit_data(manifest: Manifest, objective: Objective, scores: Scores, open_test: bool) -> AuditData:
    """Returns a manifest as chapters see it: of a closed test split, neither labels nor attributes.

    Args:
        manifest: The rows.
        objective: Resolved.
        scores: Of the same rows.
        open_test: Whether test labels and attributes may be read.
    """
    frame = manifest.frame
    splits = frame["split"].to_numpy().astype(np.str_)
    hidden = (splits == "test") & (not open_test)
    labels = _positions(frame["label"], manifest.classes)
    attributes = {name: _positions(frame[name], levels) for name, levels in manifest.levels.items()}
    return AuditData(
        classes=manifest.classes,
        levels=manifest.levels,
        splits=splits,
        labels=np.where(hidden, -1, labels),
        attributes={name: np.where(hidden, -1, level) for name, level in attributes.items()},
        scores=scores,
        objective=objective,
        open_test=open_test,
        counts={split: manifest.counts(split) for split in SPLITS},
        row_ids=frame["row_id"].to_list(),
        paths=frame["path"].to_list(),
        annotations=_annotations(manifest, hidden),
        manifest=manifest,
        usual=manifest.usual,
    )


def _positions(values: pl.Series, names: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Position of each value in `names`, -1 for null or another. In polars: a data set may have a million rows."""
    table = pl.DataFrame(
        {"name": list(names), "at": list(range(len(names)))}, schema={"name": pl.String, "at": pl.Int64}
    )
    joined = pl.DataFrame({"name": values.cast(pl.String)}).join(table, on="name", how="left", maintain_order="left")
    return np.asarray(joined["at"].fill_null(-1).to_numpy(), np.int64)


def _annotations(manifest: Manifest, hidden: np.ndarray[Any, np.dtype[np.bool_]]) -> pl.DataFrame | None:
    """The labels each annotator gave, by position; none of a closed test split."""
    table = read_table(manifest.folder, "annotations")
    if table is None:
        return None
    rows = manifest.frame.select("row_id", pl.col("index").alias("row")).filter(pl.Series(~hidden))
    known = table.frame.join(rows, on="row_id", how="inner")
    return known.select("row", "annotator", "label").sort("row", "annotator", "label")


def _run(name: str) -> Callable[[AuditData, AuditConfig, Progress], Chapter]:
    # Imported when it runs: scikit-learn and the like belong to one chapter each.
    function: Callable[[AuditData, AuditConfig, Progress], Chapter] = importlib.import_module(
        f"evensight.audit.{name}"
    ).chapter
    return function


def _write_tables(manifest: Manifest, chapters: Sequence[Chapter]) -> None:
    """Writes what training follows, and takes away what an earlier audit said that this one does not.

    Quarantined rows of all chapters are one table, each row with its first reason.
    """
    tables: dict[str, pl.DataFrame] = {}
    quarantine = []
    for chapter in chapters:
        for name, frame in chapter.tables.items():
            if name.startswith(QUARANTINE):
                quarantine.append(frame.select("row_id", "code", "reason"))
            elif name in OWNERS:
                tables[name] = frame
    if any(len(frame) for frame in quarantine):
        tables[QUARANTINE] = pl.concat(quarantine).unique("row_id", keep="first", maintain_order=True)
    ran = {chapter.name for chapter in chapters if not chapter.skipped}
    for name, owners in OWNERS.items():
        if name in tables:
            about = {"by": "audit", "version": __version__, "content": manifest.digests.content}
            write_table(manifest.folder, name, tables[name], about)
        elif ran >= set(owners):
            remove_table(manifest.folder, name)


def _verdict(seen: AuditData, manifest: Manifest, chapters: Sequence[Chapter]) -> VerdictFile:
    figures: dict[str, Any] = {}
    for chapter in chapters:
        figures |= chapter.figures
    missing = {
        key: f"the audit left out the chapter {name} (audit.skip)"
        for key, name in (("unreadable", "integrity"), ("leakage", "duplicates"), ("agreement", "annotators"))
        if name not in {chapter.name for chapter in chapters}
    }
    evidence = _evidence(seen, figures, missing)
    decision = judge(seen.objective, "audit", evidence)
    return verdict_file.verdict_file(
        seen.objective,
        "audit",
        decision,
        manifest.digests.content,
        sealed=manifest.sealed,
        extra={"open": seen.open_test},
    )


def _evidence(seen: AuditData, figures: Mapping[str, Any], missing: Mapping[str, str]) -> Evidence:
    def counted(name: str) -> tuple[int, int] | None:
        found = figures.get(name)
        return None if found is None else (int(found["x"]), int(found["n"]))

    of_data = DataFigures(counted("unreadable"), counted("leakage"), counted("agreement"), seen.counts["test"])
    return Evidence(data=of_data, usual=seen.usual, missing=missing)


def _about(manifest: Manifest, objective: Objective, settings: AuditConfig, verdict: VerdictFile) -> dict[str, Any]:
    return {
        "version": __version__,
        "name": manifest.name,
        "objective": objective.digest(),
        "objective_name": objective.name,
        "purpose": objective.purpose,
        "data": manifest.digests.content,
        "sealed": manifest.sealed,
        "settings": {key: value for key, value in asdict(settings).items() if key != "num_workers"},
        "verdict": verdict.verdict,
        "prepared": [finding.to_dict() for finding in manifest.findings],
    }


class _Clock:
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now
