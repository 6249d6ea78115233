"""Label errors: the images whose given label is the least believed, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight.audit import embeddings, suspects
from evensight.audit.chapter import AuditFinding, Block, Chapter, Severity
from evensight.audit.data import AuditData, Ints
from evensight.audit.label_doubts import Judged, bars, confusion, doubted, exhibit, gallery, tables
from evensight.audit.review import Doubt, write_review
from evensight.config import AuditConfig
from evensight.data.sources import array_row
from evensight.errors import one_line
from evensight.files import digest_json
from evensight.metrics.intervals import clopper_pearson
from evensight.metrics.p_values import holm
from evensight.progress import Progress
from evensight.records.artifact import Artifact

NAME, TITLE = "label_errors", "Label errors"
# More images than these are drawn from; pixels are held in memory while the network is trained.
MOST_IMAGES, MOST_BYTES = 60_000, 400_000_000
_FEWEST_IMAGES = 100
_MOST_ROWS, _MOST_EXPORTED = 1000, 5000
# Below this `clarity` most suspects are images that are hard to tell, not labels that are wrong: with 5 % of the labels
# changed it is .98 on MNIST, where 94 % of the pruned are changed ones, and .91 on BAR, where 43 % are
# (benchmarks/audit_label_errors.json).
WEAK = 0.95
# Shares of labels in doubt from which on the finding is a warning, and an alarm.
_WARNING, _ALARM = 0.01, 0.1
# How much more often than elsewhere, and by how much, labels of a class or group must be in doubt to be said so.
_TIMES, _MORE = 2.0, 0.01


def chapter(data: AuditData, settings: AuditConfig, progress: Progress) -> Chapter:
    """Judges the labels of training and validation, and of test where it is open.

    Args:
        data: The data set, with a manifest: images are decoded here.
        settings: `run`, whose network embeds the images; `seed`; `num_workers`; `alarm_level`.
        progress: Told of images, epochs and folds.

    Returns:
        The chapter; side table ``label_errors`` (``row_id``, ``quality``, ``suggested``, ``is_issue``, ``rank``).

    Raises:
        UserError: `settings.run` has no artifact.
    """
    if data.manifest is None:
        return _skipped("There are no image files here to look at.")
    if not suspects.available():
        return _skipped(suspects.MISSING)
    rows, side = _chosen(data, settings)
    if len(rows) < _FEWEST_IMAGES:
        return _skipped(f"{len(rows)} labelled images are too few; {_FEWEST_IMAGES} are needed.")
    judged = _judge(data, settings, rows, side, progress)
    if judged is None:
        return _skipped(f"Fewer than two classes have {suspects.FEWEST} images that can be decoded.")
    _export(data, judged)
    return told(data, settings, judged)


def told(data: AuditData, settings: AuditConfig, judged: Judged) -> Chapter:
    """Returns the chapter of what was judged."""
    x, n = len(judged.issues), int(judged.suspects.judged.sum())
    uneven = _uneven(data, judged, settings)
    blocks: list[Block] = [gallery(data, judged)]
    if x:
        blocks += [confusion(data, judged), *bars(data, judged), *tables(data, judged)]
    accuracy = judged.suspects.accuracy
    return Chapter(
        NAME,
        TITLE,
        "Each label is judged by a regression on embeddings that was not told this label; those it believes least come "
        f"first. Shares count hard images too: it agrees with {accuracy:.1%} of the labels.",
        [*_main_finding(data, judged), *uneven],
        blocks,
        {NAME: _table(data, judged)},
        {NAME: {"x": x, "n": n, "accuracy": accuracy, "low": _bounds(data, x, n)[0], "high": _bounds(data, x, n)[1]}},
    )


def _skipped(why: str) -> Chapter:
    return Chapter(NAME, TITLE, "Which labels look wrong.", skipped=why)


def _chosen(data: AuditData, settings: AuditConfig) -> tuple[Ints, int]:
    """Returns the rows to judge, drawn where they are too many, and the side of the network's input."""
    assert data.manifest is not None
    rows = np.flatnonzero(data.within("train", "validation", "test") & (data.labels >= 0)).astype(np.int64)
    if len(rows) == 0:
        return rows, embeddings.LARGEST
    sizes = data.manifest.frame.select("width", "height").fill_null(0).to_numpy()[rows]
    side = embeddings.input_side(sizes[:, 0], sizes[:, 1])
    most = min(MOST_IMAGES, MOST_BYTES // (3 * side * side))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(settings.seed).choice(rows, most, replace=False))
    return rows, side


def _judge(data: AuditData, settings: AuditConfig, rows: Ints, side: int, progress: Progress) -> Judged | None:
    assert data.manifest is not None
    folder = _folder(data, settings, rows, side)
    images: NDArray[np.uint8] | NDArray[np.float32]
    good = folder / "decoded.npy"
    if (folder / "embeddings.npy").is_file() and good.is_file():
        usable = np.load(good, allow_pickle=False)
        images = np.load(folder / "embeddings.npy", allow_pickle=False)
    else:
        if settings.run is None:
            images, usable = embeddings.loaded(data, rows, side, settings.num_workers, progress)
        else:
            images, usable = embeddings.of_run(data, rows, settings.run, settings.num_workers, progress)
        images = images if usable.all() else images[usable]
        suspects.keep(folder, "decoded.npy", usable)
        if settings.run is not None:
            suspects.keep(folder, "embeddings.npy", images)
    rows = rows[usable]
    if (np.bincount(data.labels[rows]) >= suspects.FEWEST).sum() < 2:
        return None
    found = suspects.suspects(images, data.labels[rows], len(data.classes), settings.seed, progress, folder)
    return Judged(rows, found)


def _folder(data: AuditData, settings: AuditConfig, rows: Ints, side: int) -> Path:
    """Returns where epochs and folds are kept: by the images, their labels and the settings."""
    assert data.manifest is not None
    run = None if settings.run is None else Artifact.open(Path(settings.run) / "artifact").identity
    ids = [data.row_ids[row] for row in rows.tolist()]
    about = {"ids": ids, "labels": data.labels[rows].tolist(), "side": side, "run": run, "seed": settings.seed}
    name = digest_json({**about, "version": suspects.VERSION})[:16]
    return data.manifest.folder / "audit" / NAME / name


def _bounds(data: AuditData, x: int, n: int) -> tuple[float, float]:
    low, high = clopper_pearson(x, n, data.alpha / 2)
    return float(low), float(high)


def _main_finding(data: AuditData, judged: Judged) -> Iterator[AuditFinding]:
    issues, n = judged.issues, int(judged.suspects.judged.sum())
    if len(issues) == 0:
        return
    share, clear = len(issues) / n, judged.suspects.clarity >= WEAK
    low, high = _bounds(data, len(issues), n)
    severity: Severity = "note"
    title = f"{len(issues):,} of {n:,} labels are in doubt, many of them of images that are hard to tell."
    words = "The network tells these classes too poorly to say more than where to look first."
    if clear:
        severity = "alarm" if low >= _ALARM else "warning" if share >= _WARNING else "note"
        title = f"{share:.1%} of the labels look wrong ({low:.1%} to {high:.1%}): {len(issues):,} of {n:,}."
        words = "Correct them at their source."
    yield AuditFinding(
        code="label_errors",
        severity=severity,
        danger=min(1.0, 5 * share) * (1.0 if clear else 0.3),
        title=title,
        evidence={
            "x": len(issues),
            "n": n,
            "estimate": share,
            "low": low,
            "high": high,
            "accuracy": judged.suspects.accuracy,
        },
        rows=judged.rows[issues[:_MOST_ROWS]].tolist(),
        num_rows=len(issues),
        action=f"Look through audit/review/ from the top, in Label Studio or as a table. {words}",
        exhibits=[exhibit(data, judged, int(i)) for i in issues[:8]],
    )


def _uneven(data: AuditData, judged: Judged, settings: AuditConfig) -> list[AuditFinding]:
    """Says which class, group or annotator has its labels in doubt at least twice as often as the rest."""
    tested = [one for one in doubted(data, judged) if one.x and one.n < one.all_n]
    if not tested or judged.suspects.clarity < WEAK:
        return []
    falls = holm(np.array([one.p for one in tested]), settings.alarm_level)
    findings = []
    for one in [one for one, fallen in zip(tested, falls, strict=True) if fallen]:
        here, there = one.x / one.n, (one.all_x - one.x) / (one.all_n - one.n)
        if here < _TIMES * there or here - there < _MORE:
            continue
        whose = {"label": f"class {one.level}", "annotator": f"annotator {one.level}"}.get(one.what)
        whose = whose or (one.level if " x " in one.what else f"{one.what}={one.level}")
        findings.append(
            AuditFinding(
                code="label_errors_uneven",
                severity="warning",
                danger=min(1.0, 0.1 + 2 * (here - there)),
                title=f"Labels of {one_line(whose)} look wrong more often: {here:.1%}, and {there:.1%} of the rest.",
                evidence={**asdict(one), "tested": len(tested)},
                num_rows=one.x,
                action="Have these labelled again first, by somebody else."
                if "annotator" in one.what
                else "Look at these first: the labels are worse there, or the images harder.",
            )
        )
    return findings


def _table(data: AuditData, judged: Judged) -> pl.DataFrame:
    found = judged.suspects
    rank = np.empty(len(judged.rows), np.int64)
    rank[found.order] = np.arange(1, len(rank) + 1)
    names = np.array(data.classes, dtype=object)
    return pl.DataFrame(
        {
            "row_id": pl.Series([data.row_ids[row] for row in judged.rows.tolist()], dtype=pl.String),
            "quality": found.quality,
            "suggested": pl.Series(names[found.suggested].tolist(), dtype=pl.String),
            "is_issue": found.is_issue,
            "rank": rank,
        }
    )


def _export(data: AuditData, judged: Judged) -> None:
    """Writes the labels in doubt as a task for people, beside the report."""
    assert data.manifest is not None
    found, doubts = judged.suspects, []
    for rank, i in enumerate(judged.issues[:_MOST_EXPORTED].tolist(), 1):
        row = int(judged.rows[i])
        stored = data.manifest.read({"path": data.paths[row]}) if array_row(data.paths[row]) else b""
        doubts.append(
            Doubt(
                rank,
                data.row_ids[row],
                data.paths[row],
                str(data.splits[row]),
                data.classes[found.given[i]],
                data.classes[found.suggested[i]],
                float(found.quality[i]),
                bool(found.is_issue[i]),
                None if isinstance(stored, bytes) else stored,
            )
        )
    write_review(data.manifest.folder / "audit" / "review", doubts, data.classes)
