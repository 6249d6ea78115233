"""What a terminal shows of work that takes time: bars where they can be drawn, now and then a line elsewhere."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

log = logging.getLogger(__name__)

# Called as progress(what, done, total) by whatever takes time; `what` names one bar.
Progress = Callable[[str, int, int], None]

# Below this many columns there is room for words alone.
_ROOM_FOR_A_BAR = 72
# Columns of a bar, and of its count, its time and the spaces between.
_BAR, _NUMBERS = 12, 24
# Seconds between lines where no bar can be drawn: a sign of life, and no more than a few of them.
_SECONDS_BETWEEN_LINES = 30.0
_BEFORE_A_RATE = 1.0


def silent(what: str, done: int, total: int) -> None:
    """Shows nothing."""


def draws() -> bool:
    """Whether stderr is a terminal that moves its cursor: no pipe, no file, and not `TERM=dumb`."""
    return sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def columns(stream: TextIO) -> int | None:
    """Returns the width of the terminal behind a stream (`COLUMNS` wins), None where there is no terminal."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def shortened(text: str, width: int) -> str:
    """Returns a text of at most `width` columns, its middle left out where it is longer; wide letters count twice."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return text
    if width < 3:
        return set_cell_size(text, max(0, width)).rstrip()
    head = (width - 1) // 2
    tail = set_cell_size(text[::-1], width - 1 - head)[::-1]  # pads where a wide letter would be cut in two
    return f"{set_cell_size(text, head)}…{tail.lstrip()}"


def bars(**options: Any) -> Bars:
    """Returns rich's bars on stderr, one line each whatever the width; in colour unless `NO_COLOR` is set.

    Args:
        options: Of `rich.progress.Progress`.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars
    from rich.table import Column

    # Whether it is a terminal is ours to say (`draws`): rich takes FORCE_COLOR for one, in a pipe too.
    console = Console(stderr=True, force_terminal=True)
    room = Column(no_wrap=True, overflow="ellipsis", max_width=max(1, console.width - _BAR - _NUMBERS))
    parts: list[ProgressColumn] = [
        TextColumn("{task.description}", markup=False, table_column=room),
        BarColumn(bar_width=_BAR),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    ]
    if console.width < _ROOM_FOR_A_BAR:
        room = Column(no_wrap=True, overflow="ellipsis")
        parts = [TextColumn("{task.percentage:.0f}% {task.description}", markup=False, table_column=room)]
    return Bars(*parts, console=console, transient=True, **options)


@contextmanager
def shown(progress: Progress | None = None) -> Iterator[Progress]:
    """Yields `progress`; where it is None a bar a task, removed at the end, or lines where no bar can be drawn."""
    if progress is not None:
        yield progress
        return
    if not draws():
        yield Lines()
        return
    tasks: dict[str, tuple[Any, float, int]] = {}  # of each: rich's name, when it began, what was done then
    with bars() as drawn:

        def update(what: str, done: int, total: int) -> None:
            now = time.monotonic()
            if what not in tasks:
                tasks[what] = (drawn.add_task(what, total=total), now, done)
            task, began, first = tasks[what]
            drawn.update(task, description=what + rate(done - first, now - began), completed=done, total=total)

        yield update


def rate(done: int, seconds: float) -> str:
    """Returns how fast a task is, as ", 1,200/s"; an empty text before it can be told, or below one a second."""
    return f", {done / seconds:,.0f}/s" if seconds >= _BEFORE_A_RATE and done >= seconds else ""


class Lines:
    """Progress as lines of the log: one each half minute, none for what is done sooner; its end is in `run.log`.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[str, float] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        """Says how far a task is, if it is time."""
        now = self._clock()
        before = self._said.setdefault(what, now)
        if done >= total:
            log.debug("%s: %s done", what, f"{total:,}")
        elif now - before >= _SECONDS_BETWEEN_LINES:
            self._said[what] = now
            log.info("%s: %s of %s", what, f"{done:,}", f"{total:,}")
