"""The photographs behind the figures of `composite`: which there are, of which place, and in which split."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from evensight.data.datasets import composite_draw as drawing
from evensight.data.datasets.roots import known_root
from evensight.data.readers.listing import listed
from evensight.data.reading import SPLITS, existing_root
from evensight.errors import UserError
from evensight.files import digest_json
from evensight.runtime.files import DecodeError

# Of the photographs of each place; no photograph is behind figures of two splits.
SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}
FEWEST = 8  # photographs that make a place: at least one a split, four to train on


@dataclass(frozen=True)
class Photographs:
    """The photographs by split and place.

    Attributes:
        root: Folder of the paths.
        places: Kinds of place in code-point order, P.
        paths: Split -> for each place `[P]` the photographs of that split, relative to `root`.
        digest: Of what was listed: names and sizes of files.
    """

    root: Path
    places: tuple[str, ...]
    paths: dict[str, tuple[tuple[str, ...], ...]]
    digest: str


def photographs(folder: str | None, most: int, seed: int) -> Photographs:
    """Lists the photographs and places them in the splits.

    Args:
        folder: The setting ``data.photos``; None looks for the training photographs of bar.
        most: Places that can be used; of more, those with the most photographs are.
        seed: Of the splits. A photograph's place in the order is its own, whatever others there are.

    Raises:
        UserError: The folder is not there, or fewer than two places have `FEWEST` photographs.
    """
    root = existing_root(folder, "data.photos") if folder else known_root(None, "bar", ("train",), "data.photos")
    root = root if folder else root / "train"
    by_place: dict[str, list[str]] = {}
    for path in listed(root).images:
        place = place_of(path)
        if place:
            by_place.setdefault(place, []).append(path)
    large = [place for place, paths in by_place.items() if len(paths) >= FEWEST]
    if len(large) < 2:
        raise UserError(
            f"data.photos: {root} has {len(large)} kinds of place with {FEWEST} photographs or more; two are needed, "
            "each a folder of its own or named as in <place>_<n>.jpg."
        )
    places = tuple(sorted(sorted(large, key=lambda place: (-len(by_place[place]), place))[:most]))
    placed = [_placed(by_place[place], seed) for place in places]
    sizes = [[path, (root / path).stat().st_size] for place in places for path in by_place[place]]
    return Photographs(
        root=root,
        places=places,
        paths={split: tuple(parts[split] for parts in placed) for split in SPLITS},
        digest=digest_json(sizes),
    )


def place_of(path: str) -> str:
    """Returns a photograph's kind of place: its folder's name, else its own up to the last underscore; "" for none."""
    parts = PurePosixPath(path)
    return parts.parent.name or parts.stem.rpartition("_")[0]


def opened(root: Path, path: str) -> Image.Image:
    """Decodes a photograph and reduces it.

    Raises:
        UserError: It cannot be decoded.
    """
    # Imported here: it brings torch, which a data set that is already drawn does not need.
    from evensight.runtime.decode import decode_array

    try:
        return drawing.reduced(decode_array(root / path))
    except DecodeError as error:
        raise UserError(f"data.photos: {root / path}: {error}; take the file out of its folder.") from error


# Redrawing looks at the photographs of one place and split again and again.
reopened = functools.lru_cache(maxsize=512)(opened)


def _placed(paths: Sequence[str], seed: int) -> dict[str, tuple[str, ...]]:
    """Returns the photographs of one place by split, in an order of their own."""
    ordered = sorted(paths, key=lambda path: hashlib.sha256(f"{seed} {path}".encode()).digest())
    ends = np.floor(np.cumsum([SHARES[split] for split in SPLITS]) * len(paths) + 1e-9).astype(int).tolist()
    return {split: tuple(ordered[first:last]) for split, first, last in zip(SPLITS, [0, *ends[:-1]], ends, strict=True)}
