"""The audit's one pass over the images of a manifest: decode, measure, keep; a killed pass goes on where it was."""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight.audit.data import Scores
from evensight.audit.measure import SIZE, VERSION, Seen, known_cues, measured_batch
from evensight.audit.properties import COLUMNS
from evensight.cues import Cue
from evensight.data.digests import BOX
from evensight.data.manifest import Manifest
from evensight.data.originals import Originals
from evensight.data.places import Stamp
from evensight.data.similar import let_go
from evensight.data.sources import read_path
from evensight.errors import UserError
from evensight.files import canonical_json, digest_json, replaced
from evensight.progress import Progress
from evensight.runtime.files import DecodeError
from evensight.runtime.preprocess import Preprocess
from evensight.threads import single_threaded_pool

log = logging.getLogger(__name__)

CHUNK = 256  # images measured at once, and kept in one file: what a kill can cost
_AHEAD = 2  # chunks a thread


@dataclass(frozen=True)
class Pass:
    """What one pass over a manifest measures.

    Attributes:
        manifest: The images.
        cues: What is described.
        known: Names of `extra` that come with the images.
        folder: Where measured chunks are kept.
        max_pixels: Larger images are refused.
    """

    manifest: Manifest
    cues: Sequence[Cue]
    known: tuple[str, ...]
    folder: Path
    max_pixels: int


def score(
    manifest: Manifest,
    wanted: Sequence[str],
    folder: Path,
    max_pixels: int,
    num_workers: int | None,
    progress: Progress,
) -> Scores:
    """Measures every image of a manifest, or reads what was measured of it before.

    Args:
        manifest: The prepared data.
        wanted: Names of cues; empty takes all whose needs the images meet.
        folder: The audit's folder; chunks are kept in ``scores/`` below it.
        max_pixels: Larger images are refused.
        num_workers: Threads; None takes one a core.
        progress: Told of the images done.

    Raises:
        UserError: A cue is not known, or none of the named ones can be described here.
    """
    known = tuple(name for name in ("mask", "box") if (name if name == "mask" else BOX[0]) in manifest.frame.columns)
    cues = known_cues(known, wanted)
    lacking = [name for name in wanted if name not in {cue.name for cue in cues}]
    if lacking:
        raise UserError(f"audit.cues: {lacking[0]!r} needs what these images come without (a mask or a box).")
    about = {"version": VERSION, "size": SIZE, "known": known, "cues": {cue.name: cue.version for cue in cues}}
    job = Pass(manifest, cues, known, folder / "scores" / digest_json(about)[:16], max_pixels)
    job.folder.mkdir(parents=True, exist_ok=True)
    files = _measure_missing(job, num_workers or len(os.sched_getaffinity(0)), progress)
    return _assembled(job, files)


def _measure_missing(job: Pass, num_workers: int, progress: Progress) -> list[Path]:
    """Returns the file of each chunk in order, measuring those that are not there."""
    frame, total = job.manifest.frame, len(job.manifest.frame)
    starts = range(0, total, CHUNK)
    files = [job.folder / f"{_chunk_key(frame.slice(start, CHUNK))}.npz" for start in starts]
    there = {entry.name for entry in os.scandir(job.folder)}
    missing = [start for start, file in zip(starts, files, strict=True) if file.name not in there]
    done = total - sum(min(CHUNK, total - start) for start in missing)
    if missing and done:
        log.info("audit: %s of %s images were measured before", f"{done:,}", f"{total:,}")
    originals = _originals(job, frame) if missing else None
    for start in _ahead(job, originals, missing, files, num_workers):
        done += min(CHUNK, total - start)
        progress("measuring images", done, total)
    for name in there - {file.name for file in files}:
        (job.folder / name).unlink(missing_ok=True)  # of images that are not in the data set any more
    return files


def _ahead(
    job: Pass, originals: Originals | None, starts: Sequence[int], files: Sequence[Path], num_workers: int
) -> Iterator[int]:
    """Measures chunks by threads and yields the start of each when its file is whole."""
    if originals is None:
        return
    pending: deque[tuple[int, Future[None]]] = deque()
    pool = single_threaded_pool(num_workers, "audit")
    try:
        for start in starts:
            pending.append((start, pool.submit(_measure_chunk, job, originals, start, files[start // CHUNK])))
            if len(pending) > _AHEAD * num_workers:
                ready, future = pending.popleft()
                future.result()
                yield ready
        while pending:
            ready, future = pending.popleft()
            future.result()
            yield ready
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _measure_chunk(job: Pass, originals: Originals, start: int, file: Path) -> None:
    rows = job.manifest.frame.slice(start, CHUNK)
    usable, paths = rows["error"].is_null().to_list(), rows["path"].to_list()
    boxes = rows.select(BOX).to_numpy() if "box" in job.known else None
    batch = [
        _seen(job, originals, start + i, path, None if boxes is None else boxes[i]) if good else None
        for i, (good, path) in enumerate(zip(usable, paths, strict=True))
    ]
    found = measured_batch(batch, job.cues, job.known)
    properties = io.BytesIO()
    pl.DataFrame(found.pop("properties"), schema=dict(COLUMNS), orient="row").write_ipc(properties)
    found["properties"] = np.frombuffer(properties.getvalue(), np.uint8)
    with replaced(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **found)


def _seen(job: Pass, originals: Originals, position: int, path: str, box: NDArray[np.float64] | None) -> Seen | None:
    try:
        pixels = originals.original(position)
        source = read_path(job.manifest.root, path, job.max_pixels)
    except (DecodeError, OSError, UserError) as error:
        log.warning("%s: %s; it could be decoded when the data was prepared", path, error)
        return None
    return Seen(source, pixels, path, box if box is not None and np.isfinite(box).all() else None)


def _originals(job: Pass, frame: pl.DataFrame) -> Originals:
    masks = "mask" in job.known
    preprocess, mask_root = Preprocess(SIZE, 1.0), job.manifest.mask_root
    return Originals(frame, job.manifest.root, preprocess, False, 0, job.max_pixels, masks=masks, mask_root=mask_root)


def _chunk_key(rows: pl.DataFrame) -> str:
    """Returns the digest of what decides the figures of these rows."""
    columns = ["path", "pixel_sha256", *Stamp._fields, *(name for name in ("mask", *BOX) if name in rows.columns)]
    digest = hashlib.sha256(canonical_json(columns).encode())
    for row in rows.select(columns).iter_rows():
        digest.update(b"\n" + repr(row).encode())
    return digest.hexdigest()[:32]


def _assembled(job: Pass, files: Sequence[Path]) -> Scores:
    """Joins the chunks. Thumbnails and features become files that are mapped: a million images have 2 GB of them."""
    total = len(job.manifest.frame)
    arrays: dict[str, NDArray[Any]] = {}
    frames = []
    start = 0
    for file in files:
        with np.load(file) as part:
            frames.append(pl.read_ipc(io.BytesIO(part["properties"].tobytes())))
            size = len(part["measured"])
            for name in part.files:
                if name == "properties":
                    continue
                value = part[name]
                if name not in arrays:
                    arrays[name] = _room(job, name, (total, *value.shape[1:]), value.dtype)
                arrays[name][start : start + size] = value
            start += size
        if start % _WRITTEN_BACK < CHUNK:
            _let_go(arrays)
    _let_go(arrays)
    return Scores(
        properties=pl.concat(frames),
        hashes=arrays["hashes"],
        thumbnails=arrays["thumbnails"],
        features={cue.name: arrays[f"cue:{cue.name}"] for cue in job.cues},
        measured=arrays["measured"],
    )


def _let_go(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes mapped arrays back, so that what was filled in takes no memory."""
    for array in arrays.values():
        if isinstance(array, np.memmap):
            array.flush()
            let_go(array)


def _room(job: Pass, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Returns an array to fill: in memory, or where it is large in an unnamed file that goes with the process."""
    num_bytes = int(np.prod(shape)) * dtype.itemsize
    if num_bytes < _LARGE:
        return np.empty(shape, dtype)
    path = job.folder / f".{os.getpid()}.{name.replace(':', '-')}.map"
    mapped = np.memmap(path, dtype, "w+", shape=shape)
    path.unlink()
    return mapped


_LARGE = 256 * 2**20
_WRITTEN_BACK = 100 * CHUNK  # rows filled in between
