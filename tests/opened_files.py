"""Tells which files this process opens or lists: Python's own audit events, so that no way through Python is missed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_EVENTS = ("open", "os.listdir", "os.scandir")
_watching: list[list[str]] = []
_hooked: list[bool] = []


def _heard(event: str, arguments: tuple[object, ...]) -> None:
    if _watching and event in _EVENTS and arguments and isinstance(arguments[0], str | bytes | os.PathLike):
        for opened in _watching:
            opened.append(os.fsdecode(arguments[0]))


@contextmanager
def watched() -> Iterator[list[str]]:
    """Yields a list that grows with each path that is opened, in the order of opening; descriptors are no paths."""
    if not _hooked:
        sys.addaudithook(_heard)  # there is no way to take a hook away
        _hooked.append(True)
    opened: list[str] = []
    _watching.append(opened)
    try:
        yield opened
    finally:
        _watching.remove(opened)


def outside(opened: Iterable[str], allowed: Iterable[Path]) -> list[str]:
    """Returns the paths that lead, links followed, out of all of `allowed` and of Python's own folders."""
    import evensight

    own = [Path(sys.prefix), Path(sys.base_prefix), Path(evensight.__file__).parent, Path(__file__).parent]
    own += [Path(path) for path in sys.path if path]
    # Of the system: what the loader, the resolver of locales and the random numbers of Python read.
    system = [Path(name) for name in ("/proc", "/sys", "/dev/null", "/dev/urandom", "/usr", "/lib", "/etc/localtime")]
    homes = [path.resolve() for path in (*own, *system, *allowed)]
    return [path for path in opened if not any(Path(path).resolve().is_relative_to(home) for home in homes)]
