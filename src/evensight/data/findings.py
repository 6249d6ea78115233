"""What reading a data set found out about its rows and images: counted, with examples, never dropped in silence."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evensight.errors import one_line
from evensight.files import write_json

NUM_EXAMPLES = 5
NOTES = ("unused_column", "validation_from_train", "test_from_train", "other_files")


@dataclass(frozen=True)
class Finding:
    """One kind of trouble and what became of the rows it touches."""

    code: str  # fixed word, e.g. "missing_image"
    count: int  # rows, files or names it touches
    examples: list[str] = field(default_factory=list)  # at most NUM_EXAMPLES
    message: str = ""  # one sentence: what it is and what was done about it

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for a JSON file."""
        return asdict(self)

    def __str__(self) -> str:
        shown = ", ".join(self.examples[:3]) + (", ..." if self.count > 3 and self.examples else "")
        return f"{self.count} x {self.code}: {self.message}" + (f" ({shown})" if shown else "")


def found(code: str, items: Sequence[object], message: str) -> list[Finding]:
    """Returns one finding with the first examples of `items`, or an empty list where there are none."""
    if not items:
        return []
    # A file's name may hold line breaks, terminal codes and bytes that are no text.
    examples = [one_line(str(item)) for item in items[:NUM_EXAMPLES]]
    return [Finding(code, len(items), examples, message)]


def write_findings(path: Path, findings: Iterable[Finding]) -> None:
    """Writes what was found as JSON, whole or not at all, for the report."""
    write_json(path, {"schema_version": 1, "findings": [finding.to_dict() for finding in findings]})


def log_findings(logger: logging.Logger, name: str, findings: Iterable[Finding]) -> None:
    """Logs each finding of data set `name`: as a warning, but for `NOTES`, which are as they should be."""
    for finding in findings:
        logger.log(logging.INFO if finding.code in NOTES else logging.WARNING, "%s: %s", name, finding)
