"""Accounts for files the other way round: images that lie beside annotated ones and have no row."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from pathlib import Path

from evensight.data.findings import Finding, found
from evensight.data.places import Places
from evensight.data.readers.listing import listed


def without_row(root: Path, paths: Iterable[str], folders: Iterable[str] = ()) -> list[Finding]:
    """Reports images that lie beside listed ones and have no row. No other folder is looked at: root may be a home.

    Args:
        root: What the paths are relative to.
        paths: The listed ones, whatever they are: those that lead out of the root are not followed.
        folders: Folders that are looked at although no listed image may lie in them.
    """
    known = {posixpath.normpath(path) for path in paths}
    places = Places(root)
    beside = {*map(posixpath.dirname, known), *folders}
    inside = {folder for folder in beside if places.inside(posixpath.join(folder, "x"))}
    images = [
        path
        for folder in sorted(inside)
        if os.path.isdir(root / folder)  # noqa: PTH112 (a Path raises where a name is too long)
        for path in listed(root, folder, deep=False).images
        if path not in known
    ]
    return found("image_without_row", images, "images that lie beside listed ones and have no row; not used")
