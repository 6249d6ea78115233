"""From a row's path to what is stored there: the bytes of a file, or one image of an array file."""

from __future__ import annotations

import math
import os
import re
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evensight.errors import UserError, first_line, unknown
from evensight.runtime.files import MAX_PIXELS, read_file

if TYPE_CHECKING:
    from evensight.data.manifest import Manifest

_ARRAY_ROW = re.compile(r"(?P<file>.+\.np[yz])(?::(?P<member>[^:#]+))?#(?P<row>[0-9]{1,18})")
MAX_TABLES = 16


class ArrayRow(NamedTuple):
    """The parts of ``file.npy#row`` or ``file.npz:member#row``."""

    file: str
    member: str | None
    row: int


def array_row(path: str) -> ArrayRow | None:
    """Returns the parts of an array row's path, or None for the path of a file."""
    match = _ARRAY_ROW.fullmatch(path) if "#" in path else None
    return ArrayRow(match["file"], match["member"], int(match["row"])) if match else None


def file_of(path: str) -> str:
    """Returns the file that a path is in, as the path says it."""
    part = array_row(path)
    return part.file if part else path


def read_source(manifest: Manifest, row: Mapping[str, Any]) -> bytes | NDArray[np.uint8]:
    """Returns what a row's ``path`` names: a file's bytes, or an array row as RGB uint8 `[H,W,3]`.

    Raises:
        DecodeError: The file cannot be read, or is no file.
        OSError: The array file is not there.
        UserError: The array file is broken or has no such row.
    """
    return read_path(manifest.root, row["path"])


def read_path(root: Path, path: str, max_pixels: int = MAX_PIXELS) -> bytes | NDArray[np.uint8]:
    """As `read_source`, for a path relative to `root`, which has been checked to lie inside it."""
    part = array_row(path)
    if part is None:
        return read_file(root / path, max_pixels)
    images = TABLES.get(root / part.file, part.member)
    if part.row >= len(images):
        raise UserError(f"{path}: there is no such row; the array has {len(images)}.")
    return as_rgb(images[part.row])


def as_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns one stored image `[H,W]`, `[H,W,1]` or `[H,W,3]` as contiguous RGB `[H,W,3]`."""
    grey = image[..., None] if image.ndim == 2 else image
    return np.ascontiguousarray(np.broadcast_to(grey, (*grey.shape[:2], 3)))


def array_header(file: Path, member: str | None) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Returns shape and type of an array in a file without reading its values.

    Raises:
        UserError: The file is no array file, has no such member, or holds pickled objects, which are never loaded.
    """
    with _opened(file, member) as (stream, num_bytes):
        return _header(stream, num_bytes)


@contextmanager
def _opened(file: Path, member: str | None) -> Iterator[tuple[IO[bytes], int]]:
    """Opens an array and says how many bytes it has; whatever is wrong with it becomes a sentence."""
    try:
        if file.suffix == ".npy":
            with file.open("rb") as stream:
                yield stream, os.fstat(stream.fileno()).st_size
            return
        with zipfile.ZipFile(file) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            if member not in names:
                raise unknown(f"{file}: array", str(member), names)
            with archive.open(f"{member}.npy") as stream:
                yield stream, archive.getinfo(f"{member}.npy").file_size
    except UserError:
        raise
    except Exception as error:  # numpy, zipfile and zlib have a dozen kinds between them for a broken file
        raise UserError(f"{file}: cannot be read as an array file ({first_line(error)}).") from error


def _header(stream: IO[bytes], num_bytes: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects, which are never loaded")
    stated, there = math.prod(shape) * dtype.itemsize, num_bytes - stream.tell()
    if min(shape, default=0) < 0 or stated != there:
        raise ValueError(f"its header says {dtype} {list(shape)}, {stated:,} bytes, and {there:,} are there")
    return shape, dtype


def load_array(file: Path, member: str | None) -> NDArray[Any]:
    """Loads one array; a ``.npy`` file is mapped, not read. Nothing is ever unpickled.

    Raises:
        UserError: As `array_header`; or the array does not fit into the memory of this machine.
    """
    _check_fits(file, member, *array_header(file, member))
    with _opened(file, member) as (stream, _):
        if file.suffix == ".npy":
            mapped: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
            return mapped
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        return array


def _check_fits(file: Path, member: str | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    size, memory = math.prod(shape) * dtype.itemsize, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if member is not None and size > memory:
        raise UserError(
            f"{file}: its array {member!r} takes {size:,} bytes and this machine has {memory:,}; "
            "save it as an .npy file, which is not read at once."
        )


def check_images(file: Path, member: str | None) -> int:
    """Returns the number of images of an array.

    Raises:
        UserError: It is not uint8 `[N,H,W]`, `[N,H,W,1]` or `[N,H,W,3]`; or as `load_array`.
    """
    shape, dtype = array_header(file, member)
    if dtype != np.uint8 or len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        where = f"{file}:{member}" if member else str(file)
        raise UserError(f"{where}: found {dtype} {list(shape)}; images are uint8 [N,H,W], [N,H,W,1] or [N,H,W,3].")
    _check_fits(file, member, shape, dtype)
    return int(shape[0])


class ArrayTables:
    """Opened arrays, each loaded once however many threads ask; the `MAX_TABLES` used last are kept.

    A file that changed on disk is loaded anew.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arrays: OrderedDict[tuple[Path, str | None, int, int], NDArray[Any]] = OrderedDict()

    def get(self, file: Path, member: str | None) -> NDArray[np.uint8]:
        """Returns the images of an array file.

        Raises:
            OSError: The file is not there.
            UserError: As `check_images`.
        """
        status = file.stat()
        key = (file, member, status.st_mtime_ns, status.st_size)
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
            else:
                check_images(file, member)
                self._arrays[key] = load_array(file, member)
                if len(self._arrays) > MAX_TABLES:
                    self._arrays.popitem(last=False)
            return self._arrays[key]


TABLES = ArrayTables()
