"""Size and orientation of image files, from their headers alone; kept beside the manifest by the files' stamps."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, NamedTuple

import polars as pl

from evensight.data.parquet import read_parquet
from evensight.data.places import Stamp
from evensight.data.reading import Progress
from evensight.files import replaced

KEPT = "headers.parquet"
_CHUNK = 256
_ORIENTATION = 0x0112
# What a PNG must hold for Pillow to find an orientation in it: an eXIf chunk, or a text with EXIF or XMP. Asked for it,
# Pillow decodes the whole PNG, since these may come last.
_PNG_MARKS = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
_LYING = (5, 6, 7, 8)
_SCHEMA: dict[str, type[pl.DataType]] = {
    "path": pl.String,
    **dict.fromkeys((*Stamp._fields, "width", "height", "orientation"), pl.Int64),
}


class Header(NamedTuple):
    """What an image's header says: pixels as stored, and what has to be done for them to stand upright."""

    width: int
    height: int
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height of the decoded image."""
        return (self.height, self.width) if self.orientation in _LYING else (self.width, self.height)


def read_header(path: Path) -> Header | None:
    """Returns an image's header, or None where the file is no image that `runtime.decode` would open."""
    # Imported here: it brings torch, which a data set that is already prepared does not need.
    from PIL import Image

    from evensight.runtime.decode import FORMATS

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            with Image.open(file, formats=FORMATS) as image:
                (width, height), orientation = image.size, _orientation(image, file)
                if image.format == "TIFF" and orientation in _LYING:
                    width, height = height, width  # of TIFF, Pillow says the size that it will turn the image to
                return Header(width, height, orientation)
    except Exception:  # as `decode`: a dozen kinds for broken files, and `scan` says of each what it is
        return None


def _orientation(image: object, file: IO[bytes]) -> int:
    from PIL import Image

    assert isinstance(image, Image.Image)
    if image.format == "PNG":
        place = file.tell()
        file.seek(0)
        content = file.read()
        file.seek(place)
        if not any(mark in content for mark in _PNG_MARKS):
            return 1
        image = Image.open(io.BytesIO(content), formats=("PNG",))
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a broken block says nothing about the pixels
        return 1
    return orientation if orientation in range(1, 9) else 1


def headers(root: Path, stamps: Mapping[str, Stamp], folder: Path, progress: Progress) -> dict[str, Header | None]:
    """Returns the header of each image; a file is opened again only where its size or times differ from what was kept.

    Args:
        root: Folder of the paths.
        stamps: Path -> stamp of its file; paths have been checked to lie inside the root.
        folder: Where `KEPT` is.
        progress: Told of the files read.
    """
    kept = _kept(folder / KEPT)
    keys = {path: (path, *stamp) for path, stamp in stamps.items()}
    new = [path for path, key in keys.items() if key not in kept]
    for path, header in zip(new, _read(root, new, progress), strict=True):
        kept[keys[path]] = header
    if new:
        lasting = [(*key, *(kept[key] or (None, None, None))) for key in keys.values()]
        with replaced(folder / KEPT) as temporary:
            pl.DataFrame(lasting, schema=_SCHEMA, orient="row").write_parquet(temporary)
    return {path: kept[key] for path, key in keys.items()}


def _kept(path: Path) -> dict[tuple[object, ...], Header | None]:
    try:
        table = read_parquet(path, list(_SCHEMA))
    except (OSError, pl.exceptions.PolarsError):
        table = pl.DataFrame()
    if table.schema != _SCHEMA:
        return {}  # a broken file of ours costs a second look, nothing else
    return {tuple(row[:4]): None if row[4] is None else Header(*row[4:]) for row in table.iter_rows()}


def _read(root: Path, paths: Sequence[str], progress: Progress) -> list[Header | None]:
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    read: list[Header | None] = []
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        for part in pool.map(lambda chunk: [read_header(root / path) for path in chunk], chunks):
            read += part
            progress("reading headers", len(read), len(paths))
    return read
