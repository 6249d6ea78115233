"""Integrity: files that give no image, images that are odd, and whether either goes with a class or a group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from evensight.audit import broken
from evensight.audit.chapter import (
    AuditFinding,
    Bars,
    Block,
    Chapter,
    Exhibit,
    Figure,
    Gallery,
    Paragraph,
    Picture,
    Table,
)
from evensight.audit.data import AuditData
from evensight.audit.odd import KINDS, Mask, odd
from evensight.config import AuditConfig
from evensight.data.reading import SPLITS
from evensight.errors import one_line
from evensight.metrics.intervals import clopper_pearson
from evensight.metrics.p_values import holm
from evensight.progress import Progress

_MOST_ROWS, _MOST_SHOWN, _MOST_LISTED = 1000, 12, 40


def chapter(data: AuditData, settings: AuditConfig, progress: Progress) -> Chapter:
    """Looks for files without an image, and for images that are odd.

    Args:
        data: The data set.
        settings: `alarm_level`, at which brokenness is said to go with a class or a group.
        progress: Told of the two steps.

    Returns:
        The chapter; side table ``quarantine_integrity`` (``row_id``, ``code``, ``reason``), figure ``unreadable``.
    """
    progress("integrity", 0, 2)
    lost = _lost(data)
    masks = odd(data.scores.properties, data.scores.measured)
    progress("integrity", 1, 2)
    findings = [*_broken_findings(data, lost), *_odd_findings(data, masks), *_uneven(data, masks, settings)]
    blocks: list[Block] = [_summary(data, lost, masks)]
    if not findings:
        blocks.insert(0, Paragraph("Every file gives an image, and none of them is odd."))
    if lost.height:
        blocks += [_listed(data, lost), *_bars(data)]
    blocks += [Gallery(_capital(KINDS[f.code].words), f.exhibits) for f in findings if f.code in KINDS and f.exhibits]
    progress("integrity", 2, 2)
    return Chapter(
        "integrity",
        "Integrity",
        "Files that give no image are not used anywhere; odd images are used, and may teach the oddness. Blur and "
        "exposure are judged by a fixed mark and against the rest of this data set, both.",
        findings,
        blocks,
        {"quarantine_integrity": _quarantine(data, lost, masks)},
        {"unreadable": {"x": lost.height, "n": len(data)}},
    )


def _lost(data: AuditData) -> pl.DataFrame:
    """Returns the rows without an image: ``row``, ``code``, ``reason``."""
    rows = np.flatnonzero(~data.scores.measured)
    if data.manifest is None:
        told = [("unreadable", "it could not be decoded")] * len(rows)
    else:
        errors = data.manifest.frame["error"].gather(rows).fill_null("changed: it could no longer be decoded")
        told = broken.refined(data.manifest.root, [data.paths[row] for row in rows.tolist()], errors.to_list())
    schema = {"code": pl.String, "reason": pl.String}
    return pl.DataFrame(told, schema=schema, orient="row").insert_column(0, pl.Series("row", rows, pl.Int64))


def _broken_findings(data: AuditData, lost: pl.DataFrame) -> list[AuditFinding]:
    findings = []
    for code, words in broken.CODES.items():
        those = lost.filter(pl.col("code") == code)
        if those.height == 0:
            continue
        share = those.height / len(data)
        findings.append(
            AuditFinding(
                code=code,
                severity="alarm" if share >= 0.05 else "warning",
                danger=min(1.0, 0.3 + 10 * share),
                title=f"{_capital(words)}: {_count(those.height, len(data))}.",
                evidence={"n": len(data), "x": those.height, "first_reason": those["reason"][0]},
                rows=those["row"].head(_MOST_ROWS).to_list(),
                num_rows=those.height,
                action="Replace the files or take them out; such rows have weight 0 in training and count nowhere.",
            )
        )
    return findings


def _odd_findings(data: AuditData, masks: dict[str, Mask]) -> list[AuditFinding]:
    findings = []
    for code, kind in KINDS.items():
        rows = _ranked(data.scores.properties, masks[code], kind.column)
        if len(rows) == 0:
            continue
        share = len(rows) / max(int(data.scores.measured.sum()), 1)
        many = share >= 0.05 and kind.quarantined
        findings.append(
            AuditFinding(
                code=code,
                severity="alarm" if many else kind.severity,
                danger=min(1.0, kind.danger + 0.5 * share),
                title=f"{_capital(kind.words)}: {_count(len(rows), int(data.scores.measured.sum()))}.",
                evidence={"n": int(data.scores.measured.sum()), "x": len(rows)},
                rows=rows[:_MOST_ROWS].tolist(),
                num_rows=len(rows),
                action=kind.action,
                exhibits=[_exhibit(data, int(row), kind.column) for row in rows[:_MOST_SHOWN]],
            )
        )
    return findings


def _ranked(properties: pl.DataFrame, mask: Mask, column: str) -> NDArray[np.int64]:
    rows = np.flatnonzero(mask)
    if not column:
        return rows
    values = properties[column.removeprefix("-")].gather(rows).cast(pl.Float64).to_numpy()
    return rows[np.argsort(-values if column.startswith("-") else values, kind="stable")]


def _exhibit(data: AuditData, row: int, column: str) -> Exhibit:
    name = column.removeprefix("-")
    value = data.scores.properties[name][row] if name else None
    said = "" if value is None else f"{name.replace('_', ' ')} {value:.3g}"
    return Exhibit([Picture(row, said)], one_line(data.paths[row])[-60:])


@dataclass(frozen=True)
class Uneven:
    """Images of one kind that are more frequent in one class or group than in the rest."""

    code: str
    attribute: str  # "label" or an attribute
    level: str
    x: int
    n: int
    all_x: int
    all_n: int
    p: float


def unevenness(data: AuditData, masks: dict[str, Mask]) -> list[Uneven]:
    """Tests whether each kind of image is more frequent in each class and group than in the rest.

    One-sided Fisher's exact test of the group against all others, among training and validation images.

    Returns:
        A hypothesis a kind, class and group, those without such images left out.
    """
    fitted = np.isin(data.splits, ("train", "validation"))
    found = []
    for code, mask in {"undecodable": ~data.scores.measured, **masks}.items():
        for attribute, levels, values in _groupings(data):
            known = fitted & (values >= 0) & (data.scores.measured | (code == "undecodable"))
            n = np.bincount(values[known], minlength=len(levels))
            x = np.bincount(values[known & mask], minlength=len(levels))
            p = stats.hypergeom.sf(x - 1, n.sum(), x.sum(), n)
            sums = int(x.sum()), int(n.sum())
            found += [
                Uneven(code, attribute, name, int(x[i]), int(n[i]), *sums, float(p[i]))
                for i, name in enumerate(levels)
                if x[i] and n[i] < n.sum()
            ]
    return found


def _groupings(data: AuditData) -> Iterator[tuple[str, tuple[str, ...], NDArray[np.int64]]]:
    yield "label", data.classes, data.labels
    for name, levels in data.levels.items():
        yield name, levels, data.attributes[name]


def _uneven(data: AuditData, masks: dict[str, Mask], settings: AuditConfig) -> list[AuditFinding]:
    tested = unevenness(data, masks)
    if not tested:
        return []
    falls = holm(np.array([one.p for one in tested]), settings.alarm_level)
    findings = []
    for one in [one for one, fallen in zip(tested, falls, strict=True) if fallen]:
        lost = one.code == "undecodable"
        words = "images that cannot be decoded" if lost else KINDS[one.code].words
        where = f"class {one.level}" if one.attribute == "label" else f"{one.attribute}={one.level}"
        here, there = one.x / one.n, (one.all_x - one.x) / (one.all_n - one.n)
        values = data.labels if one.attribute == "label" else data.attributes[one.attribute]
        level = (data.classes if one.attribute == "label" else data.levels[one.attribute]).index(one.level)
        mask = ~data.scores.measured if lost else masks[one.code]
        rows = np.flatnonzero(mask & (values == level) & np.isin(data.splits, ("train", "validation")))
        findings.append(
            AuditFinding(
                code="uneven_unreadable" if lost else "uneven_quality",
                severity="alarm" if lost else "warning",
                danger=min(1.0, (0.4 if lost else 0.2) + 0.6 * (here - there)),
                title=f"{_capital(words)} are {here:.1%} of {where} and {there:.1%} of the rest.",
                evidence={**asdict(one), "tested": len(tested)},
                rows=rows[:_MOST_ROWS].tolist(),
                num_rows=len(rows),
                action="Get intact images of it: else a model learns the damage as a mark of the class or group."
                if not lost
                else "Get these images again: else the class or group is smaller, and another, than it seems.",
                exhibits=[] if lost else [_exhibit(data, int(row), KINDS[one.code].column) for row in rows[:4]],
            )
        )
    return findings


def _summary(data: AuditData, lost: pl.DataFrame, masks: dict[str, Mask]) -> Table:
    rows: list[list[str | int | float | None]] = []
    counted = {code: lost.filter(pl.col("code") == code)["row"].to_numpy() for code in broken.CODES}
    counted |= {code: np.flatnonzero(mask) for code, mask in masks.items()}
    for code, those in counted.items():
        words = broken.CODES.get(code) or KINDS[code].words
        used = "no" if code in broken.CODES else "left out" if KINDS[code].quarantined else "yes"
        if len(those):
            splits = [int((data.splits[those] == split).sum()) for split in SPLITS]
            rows.append([code, _capital(words), len(those), *splits, used])
    return Table(
        "What was found",
        ["code", "what", "images", *SPLITS, "used"],
        rows or [["-", "Nothing", 0, 0, 0, 0, "yes"]],
        f"{int(data.scores.measured.sum()):,} of {len(data):,} images could be decoded.",
    )


def _listed(data: AuditData, lost: pl.DataFrame) -> Table:
    shown = lost.head(_MOST_LISTED)
    rows: list[list[str | int | float | None]] = [
        [one_line(data.paths[row])[-100:], str(data.splits[row]), code, reason]
        for row, code, reason in shown.iter_rows()
    ]
    more = (
        f"{lost.height - shown.height:,} more are in the side table quarantine_integrity." if lost.height > 40 else ""
    )
    return Table("Files that give no image", ["file", "split", "code", "reason"], rows, more)


def _bars(data: AuditData) -> Iterator[Bars]:
    """Draws the share of each class that cannot be decoded, among training and validation images."""
    known = np.isin(data.splits, ("train", "validation")) & (data.labels >= 0)
    n = np.bincount(data.labels[known], minlength=len(data.classes))
    x = np.bincount(data.labels[known & ~data.scores.measured], minlength=len(data.classes))
    low, high = clopper_pearson(x, n, data.alpha / 2)
    if x.sum():
        figures = [
            Figure(name, int(x[i]) / int(n[i]) if n[i] else None, float(low[i]), float(high[i]), int(n[i]))
            for i, name in enumerate(data.classes)
        ]
        yield Bars("Share of each class that cannot be decoded", figures, float(x.sum() / n.sum()), "all classes")


def _quarantine(data: AuditData, lost: pl.DataFrame, masks: dict[str, Mask]) -> pl.DataFrame:
    tables = [lost]
    for code, kind in KINDS.items():
        if kind.quarantined:
            rows = pl.Series("row", np.flatnonzero(masks[code]), pl.Int64)
            tables.append(pl.DataFrame([rows]).with_columns(code=pl.lit(code), reason=pl.lit(kind.words)))
    together = pl.concat(tables).unique("row", keep="first", maintain_order=True).sort("row")
    ids = pl.Series("row_id", [data.row_ids[row] for row in together["row"].to_list()], pl.String)
    return together.select(ids, "code", "reason")


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def _count(x: int, n: int) -> str:
    return f"{x:,} of {n:,}"
