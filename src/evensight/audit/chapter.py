"""What a part of the audit returns: findings, blocks for the report, side tables and figures. Plain values throughout.

A chapter is one file with one public function ``chapter(data, settings, progress) -> Chapter``. It reads `AuditData`
alone, so it runs on a data set of files and on a draw from scored pools alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

Severity = Literal["alarm", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("alarm", "warning", "note")


@dataclass(frozen=True)
class Picture:
    """One picture of the report: an image of the data set, or pixels made of one.

    Attributes:
        row: Position in the manifest of the image shown; -1 where `pixels` are of none.
        caption: A few words under it.
        pixels: uint8 `[H, W, 3]` to show instead of the image itself; None shows the image.
    """

    row: int
    caption: str = ""
    pixels: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Figure:
    """A figure with its bounds, each erring at most alpha on its side; no estimate where there is nothing to count."""

    name: str
    estimate: float | None
    low: float
    high: float
    n: int
    note: str = ""


@dataclass(frozen=True)
class Bars:
    """Dots with intervals on one axis; `reference` is drawn as a dashed line."""

    title: str
    figures: list[Figure]
    reference: float | None = None
    reference_words: str = ""
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers; None is shown as a dash."""

    title: str
    columns: list[str]
    rows: list[list[str | int | float | None]]
    note: str = ""


@dataclass(frozen=True)
class HeatMap:
    """A table of shades.

    Attributes:
        title: What it shows.
        rows: Names of the rows.
        columns: Names of the columns.
        shades: `[R][C]`, 0 to 1, None for an empty field.
        texts: `[R][C]`, what stands in each field.
        marked: Fields that are outlined, as (row, column).
        note: Under it.
    """

    title: str
    rows: list[str]
    columns: list[str]
    shades: list[list[float | None]]
    texts: list[list[str]]
    marked: list[tuple[int, int]] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class Exhibit:
    """Pictures that belong together (a pair of duplicates, an image and what a cue sees of it), and what is said."""

    pictures: list[Picture]
    caption: str
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    """Exhibits side by side."""

    title: str
    exhibits: list[Exhibit]
    note: str = ""


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


Block = Bars | Table | HeatMap | Gallery | Paragraph


@dataclass(frozen=True)
class AuditFinding:
    """Something a team should know before training.

    Attributes:
        code: Fixed word, e.g. ``shortcut``, ``leakage``, ``empty_cell``.
        severity: ``alarm``: it endangers the objective; ``warning``: worth a look; ``note``: as things are.
        danger: 0 to 1, how much it endangers the objective: what findings are ranked by within a severity.
        title: One sentence that stands alone, with its figures.
        evidence: Plain values a machine can read: estimate, low, high, n, p and what they are of.
        rows: Positions in the manifest of the images it speaks of, worst first.
        num_rows: How many images it speaks of; `rows` may be cut.
        action: One sentence: what to do about it.
        setting: The override that acts on it, as ``focus=colour_off``; empty where there is none.
        exhibits: A few pictures that show it.
    """

    code: str
    severity: Severity
    danger: float
    title: str
    evidence: dict[str, Any] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)
    num_rows: int = 0
    action: str = ""
    setting: str = ""
    exhibits: list[Exhibit] = field(default_factory=list)


@dataclass(frozen=True)
class Chapter:
    """One part of the audit.

    Attributes:
        name: Fixed word: integrity, duplicates, balance, association, shortcuts, annotators, label_errors.
        title: Heading in the report.
        lede: One or two sentences under it: how to read it.
        findings: What was found, in any order.
        blocks: What the report draws, in this order.
        tables: Side tables of the data set, by name; each has the column ``row_id``.
        figures: What requirements and other stages read, plain values.
        skipped: Why the chapter did not look; empty where it did.
    """

    name: str
    title: str
    lede: str
    findings: list[AuditFinding] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    skipped: str = ""
