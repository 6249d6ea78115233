"""One pass over the images: decodes each once and keeps what it learned beside the manifest.

An image is decoded again only when its file's size or times differ from what was kept.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight.data import similar, thumbnails
from evensight.data.digests import pixel_digest
from evensight.data.parquet import read_parquet
from evensight.data.places import Stamp
from evensight.data.reading import Progress
from evensight.data.sources import read_path
from evensight.errors import UserError
from evensight.files import replaced
from evensight.runtime.files import DecodeError

KEPT = "pixels.parquet"
UNREADABLE = "unreadable"
_CHUNK = 64  # images a thread takes at once; the bar moves by as many
_KEY = ("path", *Stamp._fields)
_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "path": pl.String,
    **dict.fromkeys(Stamp._fields, pl.Int64()),
    "content_key": pl.String,
    "pixel_sha256": pl.String,
    "width": pl.Int64,
    "height": pl.Int64,
    "error": pl.String,
}
# content, pixel_sha256, width, height, error
_Learned = tuple[str, str | None, int | None, int | None, str | None]
_Small = tuple[str, NDArray[np.uint8]]  # content, thumbnail


def scan(
    root: Path, rows: pl.DataFrame, folder: Path, max_pixels: int, progress: Progress, with_thumbnails: bool = False
) -> pl.DataFrame:
    """Decodes the images of `rows` and adds what they are.

    Args:
        root: Folder of the paths.
        rows: Columns ``path`` and those of `places.Stamp`.
        folder: Where `KEPT` is.
        max_pixels: Larger images are refused from their header.
        progress: Told of the images done.
        with_thumbnails: Whether `thumbnails.KEPT` is to have a line for each image that can be decoded.

    Returns:
        `rows` with ``content_key`` (pixel digest; of an image that cannot be decoded ``bytes:`` and the digest of its
        bytes, of one that cannot be read ``path:`` and the digest of its path), ``pixel_sha256``, ``width``,
        ``height`` and ``error``.
    """
    kept = _kept(folder / KEPT)
    stamps = list(rows.select(_KEY).iter_rows())
    new = {stamp for stamp in stamps if stamp not in kept}
    places, without = _thumbnails(folder, kept, stamps) if with_thumbnails else (np.zeros(0, np.int64), set())
    if wanted := sorted(new | without):
        paths = [path for path, *_ in wanted]
        adding = thumbnails.adding(folder, places, len(paths)) if with_thumbnails else nullcontext(_forget)
        with adding as add:
            for stamp, (learned, small) in zip(
                wanted, _learn(root, paths, max_pixels, progress, with_thumbnails), strict=True
            ):
                kept[stamp] = learned
                add(small)
            lasting = [(*stamp, *kept[stamp]) for stamp in dict.fromkeys(stamps) if not _passing(kept[stamp])]
            with replaced(folder / KEPT) as temporary:
                pl.DataFrame(lasting, schema=_SCHEMA, orient="row").write_parquet(temporary)
    columns = {name: kind for name, kind in _SCHEMA.items() if name not in _KEY}
    added = pl.DataFrame([kept[stamp] for stamp in stamps], schema=columns, orient="row")
    return pl.concat([rows, added], how="horizontal")


def _kept(path: Path) -> dict[tuple[Any, ...], _Learned]:
    try:
        table = read_parquet(path, list(_SCHEMA))
    except (OSError, pl.exceptions.PolarsError):
        table = pl.DataFrame()
    if table.schema != _SCHEMA:
        return {}  # a broken file of ours costs a second pass, nothing else
    return {row[: len(_KEY)]: row[len(_KEY) :] for row in table.iter_rows()}


def _passing(learned: _Learned) -> bool:
    """Says whether an error may be gone the next time, so that it is not kept."""
    return learned[4] is not None and learned[4].startswith(UNREADABLE)


def _thumbnails(
    folder: Path, kept: dict[tuple[Any, ...], _Learned], stamps: Sequence[tuple[Any, ...]]
) -> tuple[NDArray[np.int64], set[tuple[Any, ...]]]:
    """Returns where the thumbnails of these images are kept, and the images known before that have none."""
    here = {kept[stamp][0]: stamp for stamp in stamps if stamp in kept and kept[stamp][4] is None}
    keys = [key.decode() for key in thumbnails.kept(folder)["key"].tolist()]
    places = np.array([place for place, key in enumerate(keys) if key in here], np.int64)
    return places, {here[content] for content in here.keys() - set(keys)}


def _forget(small: _Small | None) -> None:
    """Stands in for what keeps thumbnails."""


def _learn(
    root: Path, paths: Sequence[str], max_pixels: int, progress: Progress, with_thumbnails: bool
) -> Iterator[tuple[_Learned, _Small | None]]:
    # Imported here: it brings torch, which a data set that is already prepared does not need.
    from evensight.runtime.decode import decode_array

    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]

    def learn(chunk: Sequence[str]) -> list[tuple[_Learned, _Small | None]]:
        return [_learn_one(root, path, max_pixels, decode_array, with_thumbnails) for path in chunk]

    done = 0
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        for part in pool.map(learn, chunks):
            done += len(part)
            progress("decoding images", done, len(paths))
            yield from part


def _learn_one(
    root: Path, path: str, max_pixels: int, decode: Callable[..., NDArray[np.uint8]], with_thumbnail: bool
) -> tuple[_Learned, _Small | None]:
    try:
        source = read_path(root, path, max_pixels)
    except (OSError, UserError, DecodeError) as error:
        message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        code = getattr(error, "code", UNREADABLE)
        return ("path:" + _sha256(path.encode()), None, None, None, f"{code}: {message}"), None
    if isinstance(source, bytes):
        try:
            pixels = decode(source, max_pixels=max_pixels)
        except ValueError as error:
            code = getattr(error, "code", "corrupt")
            return ("bytes:" + _sha256(source), None, None, None, f"{code}: {error}"), None
    else:
        pixels = source
    height, width, _ = pixels.shape
    if height * width > max_pixels:
        message = f"too_large: {width} x {height} pixels are more than {max_pixels:,}"
        return ("bytes:" + _sha256(pixels.tobytes()), None, None, None, message), None
    digest = pixel_digest(pixels)
    return (digest, digest, width, height, None), (digest, similar.thumbnail(pixels)) if with_thumbnail else None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
