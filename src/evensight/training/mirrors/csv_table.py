"""`logger=csv`: the figures as a table for spreadsheets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evensight.files import write_text
from evensight.training.callbacks.metrics_file import as_csv, read_lines
from evensight.training.mirrors.base import Mirror


class CsvTable(Mirror):
    """Writes `metrics.csv` from all of `metrics.jsonl` after each epoch: a row an epoch, a column a figure."""

    name = "csv"

    def _open(self) -> None:
        if self.run.metrics_file.is_file():
            self._write()

    def _log(self, line: Mapping[str, Any]) -> None:
        self._write()

    def _write(self) -> None:
        write_text(self.run.folder / "metrics.csv", as_csv(read_lines(self.run.metrics_file)))
