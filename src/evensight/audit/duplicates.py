"""Duplicates and leakage: the same picture twice, in two splits, or under two labels."""

from __future__ import annotations

import numpy as np
import polars as pl

from evensight.audit.chapter import Block, Chapter, Gallery, Paragraph, Table
from evensight.audit.copies import MOST_MIRRORED, TEST, TRAIN, VALIDATION, Copies, Mask, copies
from evensight.audit.data import AuditData
from evensight.audit.duplicate_findings import Labels, held_together, leaks, mirror_images, within_training
from evensight.audit.moments import PLACES, known_columns
from evensight.config import AuditConfig
from evensight.data.reading import SPLITS
from evensight.progress import Progress


def chapter(data: AuditData, settings: AuditConfig, progress: Progress) -> Chapter:
    """Looks for pictures that are there more than once.

    Labels are compared where they are known: of a closed test split they are not.

    Args:
        data: The data set.
        settings: `seed`.
        progress: Told of the work.

    Returns:
        The chapter; side tables ``duplicates`` (``row_id``, ``cluster``, ``kind``) and ``quarantine_duplicates``
        (``row_id``, ``code``, ``reason``), figure ``leakage``.
    """
    found = copies(data, settings.seed, progress)
    labels = Labels(data, found)
    findings = [
        *leaks(data, found, TEST, TRAIN),
        *leaks(data, found, VALIDATION, TRAIN),
        *leaks(data, found, TEST, VALIDATION),
        *labels.findings(),
        *within_training(data, found),
        *mirror_images(data, found),
        *held_together(data),
    ]
    blocks: list[Block] = [_summary(data, found), *_across_places(data, found)]
    if not findings:
        blocks.insert(0, Paragraph("No picture is there twice."))
    blocks += [Gallery(finding.title, finding.exhibits) for finding in findings if finding.exhibits]
    test = data.within("test")
    leaked = test & (found.rows_with(found.has, TRAIN) | found.rows_with(found.near_has, TRAIN))
    return Chapter(
        "duplicates",
        "Duplicates and leakage",
        "Equal pixels, and pictures that are nearly equal once crop, size, sharpness and brightness are allowed for. "
        "How near is near is set against how alike different images of this data set are.",
        findings,
        blocks,
        {"duplicates": _table(data, found), "quarantine_duplicates": _quarantine(data, found, labels)},
        {"leakage": {"x": int(leaked.sum()), "n": int(test.sum())}},
    )


def _summary(data: AuditData, found: Copies) -> Table:
    rows: list[list[str | int | float | None]] = []
    tables = (("equal", found.has), ("nearly equal", found.near_has), ("mirrored", found.mirrored_has))
    several = found.sizes() > 1
    for words, table in tables:
        for to in (TEST, VALIDATION, TRAIN):
            counts: list[int] = []
            for source in (TRAIN, VALIDATION, TEST):
                with_copy = data.within(SPLITS[to]) & found.rows_with(table, source)
                if table is found.has and to == source:
                    with_copy &= _twice(data, found, several, to)
                counts.append(int(with_copy.sum()))
            rows.append([words, SPLITS[to], int(data.within(SPLITS[to]).sum()), *counts])
    blank = int((data.scores.measured & ~data.scores.hashes.any(axis=1)).sum())
    note = f"{blank:,} blank images are compared for equal pixels alone. " if blank else ""
    if len(found.first) > MOST_MIRRORED:
        note += f"Mirror images are looked for up to {MOST_MIRRORED:,} images."
    columns = [
        "copies",
        "images of",
        "images",
        *(f"with one in {SPLITS[split]}" for split in (TRAIN, VALIDATION, TEST)),
    ]
    return Table("Images with a copy elsewhere", columns, rows, note)


def _twice(data: AuditData, found: Copies, several: Mask, split: int) -> Mask:
    """Which rows have another of their group in the same split `[N]`."""
    here = (data.splits == SPLITS[split]) & (found.group >= 0)
    if not len(several):
        return np.asarray(here)
    return np.asarray(here & (np.bincount(found.group[here], minlength=len(several)) > 1)[np.maximum(found.group, 0)])


def _across_places(data: AuditData, found: Copies) -> list[Block]:
    """Counts the pairs whose two images come from different sources: one picture by two ways."""
    rows: list[list[str | int | float | None]] = []
    for name, column in known_columns(data).items():
        if name.lower() in PLACES and len(found.near):
            one = column.gather(found.first[found.near.first])
            other = column.gather(found.first[found.near.second])
            differ = int((one != other).fill_null(False).sum())
            unknown = int((one.is_null() | other.is_null()).sum())
            rows.append([name, len(found.near), differ, unknown])
    return [Table("Nearly equal images by origin", ["by", "pairs", "of two origins", "unknown"], rows)] if rows else []


def _table(data: AuditData, found: Copies) -> pl.DataFrame:
    """Lists every image that has a copy: ``row_id``, ``cluster``, ``kind`` (equal, near or mirrored)."""
    num = len(found.first)
    near, mirrored = (np.zeros(num, np.bool_) for _ in range(2))
    near[np.concatenate([found.near.first, found.near.second])] = True
    mirrored[np.concatenate([found.mirrored.first, found.mirrored.second])] = True
    kind = np.where(found.sizes() > 1, "equal", np.where(near, "near", np.where(mirrored, "mirrored", "")))
    rows = np.flatnonzero(found.group >= 0)
    rows = rows[kind[found.group[rows]] != ""]
    group = found.group[rows]
    ids = pl.Series("row_id", data.row_ids, pl.String).gather(rows)
    cluster = pl.Series("cluster", found.cluster[group], pl.Int64)
    return pl.DataFrame([ids, cluster, pl.Series("kind", kind[group].tolist(), pl.String)])


def _quarantine(data: AuditData, found: Copies, labels: Labels) -> pl.DataFrame:
    """Lists training copies of test images, and training and validation images that an equal one contradicts."""
    train = data.within("train")
    equal = train & found.rows_with(found.has, TEST)
    near = train & found.rows_with(found.near_has, TEST) & ~equal
    contradicted = labels.rows() & data.within("train", "validation") & ~equal & ~near
    parts = (
        (equal, "leaks_to_test", "equal to a test image"),
        (near, "leaks_to_test", "nearly equal to a test image"),
        (contradicted, "same_image_other_label", "an equal image has another label"),
    )
    ids = pl.Series("row_id", data.row_ids, pl.String)
    lists = [
        ids.gather(np.flatnonzero(mask)).to_frame().with_columns(code=pl.lit(code), reason=pl.lit(reason))
        for mask, code, reason in parts
    ]
    return pl.concat(lists)
