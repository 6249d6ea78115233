"""What all mirrors have in common: the run folder is the truth, and a mirror that fails never stops a run."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from evensight.errors import first_line
from evensight.files import write_json
from evensight.run import Run
from evensight.training.callbacks.metrics_file import read_lines

log = logging.getLogger(__name__)

# Mirrors that failed in this process, by name and run folder: one warning is enough, and they are not tried again.
_failed: set[tuple[str, Path]] = set()


class Mirror(ABC):
    """Shows a run elsewhere. Every call is guarded: the first failure is one warning, and the mirror is off from then.

    Args:
        run: The run folder.

    Attributes:
        name: Of the option of `logger`.
        takes_verdicts: Whether it shows more than the figures of epochs.
    """

    name: ClassVar[str]
    takes_verdicts: ClassVar[bool] = False

    def __init__(self, run: Run) -> None:
        self.run = run

    def open(self) -> None:
        """Begins a session and shows what is missing."""
        self._guarded("start", self._open)

    def log(self, line: Mapping[str, Any]) -> None:
        """Shows a line of `metrics.jsonl`."""
        self._guarded("log", lambda: self._log(line))

    def summary(self, values: Mapping[str, Any]) -> None:
        """Sets figures of the run as a whole."""
        self._guarded("write the summary", lambda: self._summary(values))

    def verdicts(self) -> None:
        """Shows what the run was judged to be."""
        self._guarded("show the verdicts", self._verdicts)

    def close(self, exit_code: int = 0) -> None:
        """Ends the session; without this the runs of a sweep would mix."""
        self._guarded("close", lambda: self._close(exit_code))

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _log(self, line: Mapping[str, Any]) -> None: ...

    def _summary(self, values: Mapping[str, Any]) -> None:  # noqa: B027  (not every mirror has a place for them)
        pass

    def _verdicts(self) -> None:  # noqa: B027
        pass

    def _close(self, exit_code: int) -> None:  # noqa: B027
        pass

    def _guarded(self, what: str, call: Callable[[], Any]) -> None:
        place = (self.name, self.run.folder)
        if place in _failed:
            return
        try:
            call()
        except Exception as error:
            _failed.add(place)
            said = "logger=%s could not %s (%s); the run goes on without it, its folder is complete"
            log.warning(said, self.name, what, first_line(error).rstrip("."))
            self._let_go()

    def _let_go(self) -> None:  # noqa: B027
        """Ends what could hold up the process after a failure."""


class Session(Mirror):
    """A mirror that gets each epoch once, over all sessions of a run.

    What it got is kept in `<name>.json` of the run folder. When a session begins it gets the lines of `metrics.jsonl`
    that it lacks, so that neither a kill nor a failure leaves a gap; an epoch that a resumed run trains again is not
    shown again, since it comes out the same.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._kept: dict[str, Any] = {}

    @property
    def next_step(self) -> int:
        """The first epoch that was not shown."""
        return int(self._kept.get("next_step", 0))

    @abstractmethod
    def _begin(self) -> None:
        """Begins a session in which steps from `next_step` on are shown."""

    @abstractmethod
    def _show(self, figures: Mapping[str, float], epoch: int, step: int) -> None:
        """Shows the figures of an epoch, those that are numbers; `step` counts optimizer steps."""

    def _open(self) -> None:
        self._kept = self.run.read_json(f"{self.name}.json") or {"schema_version": 1}
        self._begin()
        for line in read_lines(self.run.metrics_file):
            self._log(line)

    def _log(self, line: Mapping[str, Any]) -> None:
        if line["epoch"] >= self.next_step:
            figures = {name: value for name, value in line["metrics"].items() if value is not None}
            self._show(figures, line["epoch"], line["step"])
            self._keep(next_step=line["epoch"] + 1)

    def _keep(self, **values: Any) -> None:
        self._kept.update(values)
        write_json(self.run.folder / f"{self.name}.json", self._kept)
