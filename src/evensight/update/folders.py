"""The numbered folders of `update`: plans, merges and decisions, each whole and never written to again."""

from __future__ import annotations

import re
from pathlib import Path


def numbered(out: Path, name: str) -> list[Path]:
    """Returns the folders `<name>-1`, `<name>-2`, ... of a folder, in the order of their numbers."""
    found = {
        int(match[1]): path
        for path in (out.iterdir() if out.is_dir() else ())
        if (match := re.fullmatch(rf"{name}-([0-9]+)", path.name)) and path.is_dir()
    }
    return [found[number] for number in sorted(found)]


def next_folder(out: Path, name: str) -> Path:
    """Returns the folder that comes after the last of `numbered`."""
    last = numbered(out, name)
    return out / f"{name}-{int(last[-1].name.rpartition('-')[2]) + 1 if last else 1}"
