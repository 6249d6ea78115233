"""Which rows are meant, in which order, and how long they take."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from bias_table import digits, photographs, shapes
from bias_table.row import Row

ROWS: tuple[Row, ...] = (*digits.ROWS, *shapes.ROWS, *photographs.ROWS)
ALL, MORE = "all", "more"
QUICK_MINUTES = 0.8  # most of it is starting, exporting and judging


def chosen(words: Sequence[str], rows: Sequence[Row] = ROWS) -> list[Row]:
    """Returns the rows that words name, each once, in the order in which they run.

    Args:
        words: Names of rows, patterns of names (`mnist-*-shape`), sets (`headline`), or all; none is all but `more`.
        rows: To choose from.

    Raises:
        SystemExit: A word names none.
    """
    found = {row.name: row for row in rows if not words and MORE not in row.sets}
    for word in words:
        named = [row for row in rows if word == ALL or word in row.sets or fnmatch.fnmatchcase(row.name, word)]
        if not named:
            sets = sorted({name for row in rows for name in row.sets})
            raise SystemExit(
                f"--rows: {word!r} names no row; allowed: {', '.join((*sets, ALL))}, and names: "
                f"{', '.join(row.name for row in rows)}."
            )
        found |= {row.name: row for row in named}
    return sorted(found.values(), key=lambda row: row.priority)


def num_seeds(row: Row, most: int | None) -> int:
    """Returns how many seeds of a row run where no more than `most` are wanted."""
    return row.seeds if most is None else min(row.seeds, most)


def plan(rows: Sequence[Row], most: int | None, num_processes: int, quick: bool = False) -> str:
    """Returns Markdown: what would run, in order, with minutes of one seed and hours up to and with each row."""
    lines = ["| row | told | seeds | minutes a seed | hours so far |", "|---|---|---|---|---|"]
    minutes = 0.0
    for row in rows:
        seeds = num_seeds(row, most)
        each = (1.5 if row.audit else 1.0) * QUICK_MINUTES if quick else row.minutes
        minutes += seeds * each
        hours = minutes / num_processes / 60
        lines.append(f"| {row.name} | {row.told} | {seeds} | {each:.1f} | {hours:.1f} |")
    lines.append(f"\n{len(rows)} rows, {minutes / 60:.1f} hours of one core, in {num_processes} processes.")
    return "\n".join(lines)
