"""One strange file among good images: what it is, and what becomes of it.

Each maker writes a real file at a path. `error` is how the manifest's column of that name begins, None where the image
is used; `seen` is what the log says of a file that never becomes a row.
"""

from __future__ import annotations

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin


@dataclass(frozen=True)
class Strange:
    """A kind of file."""

    name: str
    make: Callable[[Path], object]
    error: str | None = None
    seen: str | None = None
    ending: str = ".png"


def pixels(height: int = 24, width: int = 24, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def saved(make: Callable[[], Image.Image], kind: str, **options: object) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(encoded(make(), kind, **options))


def photo() -> Image.Image:
    return Image.fromarray(pixels())


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, rows: bytes, *further: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), *further, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def many_scans() -> bytes:
    whole = encoded(Image.new("L", (2000, 2000)), "JPEG", progressive=True)
    last = whole[whole.rfind(b"\xff\xda") : -2]
    return whole[:-2] + last * 5000 + whole[-2:]


def animated(path: Path) -> None:
    frames = [Image.new("RGB", (24, 24), colour) for colour in ("red", "green", "blue")]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


def transparent_palette() -> Image.Image:
    image = Image.fromarray(pixels(channels=1)[..., 0] % 2, "P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.info["transparency"] = 0
    return image


def bad_checksum(path: Path) -> None:
    content = bytearray(png(24, 24, b"".join(b"\0" + bytes(72) for _ in range(24))))
    content[content.index(b"IDAT") + 8] ^= 0xFF
    path.write_bytes(content)


def long_text(path: Path) -> None:
    about = PngImagePlugin.PngInfo()
    about.add_text("comment", "a" * 50_000_000, zip=True)
    photo().save(path, pnginfo=about)


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels(24, 48)).save(path, "JPEG", exif=exif)


def bound(path: Path) -> None:
    # A socket's address has room for 108 letters, a test's folder for more.
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def looped(path: Path) -> None:
    path.symlink_to(path.name)


def whole_png() -> bytes:
    return encoded(photo(), "PNG")


def whole_jpeg() -> bytes:
    return encoded(photo(), "JPEG")


def content(make: Callable[[], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(make())


IMAGES = (
    # Used: each by its declared rule.
    Strange("16-bit png", saved(lambda: Image.fromarray(pixels(channels=1)[..., 0].astype(np.uint16) * 257), "PNG")),
    Strange("cmyk jpeg", saved(lambda: photo().convert("CMYK"), "JPEG"), ending=".jpg"),
    Strange("palette with alpha", saved(transparent_palette, "PNG")),
    Strange("animated gif", animated, ending=".gif"),
    Strange("grey with alpha", saved(lambda: photo().convert("LA"), "PNG")),
    Strange("one bit", saved(lambda: photo().convert("1"), "PNG")),
    Strange("float tiff", saved(lambda: Image.fromarray(np.full((24, 24), 0.5, np.float32)), "TIFF"), ending=".tif"),
    Strange("1 x 1", saved(lambda: Image.new("RGB", (1, 1)), "PNG")),
    Strange("1 x 20000", saved(lambda: Image.new("RGB", (1, 20_000)), "PNG")),
    Strange("20000 x 1", saved(lambda: Image.new("RGB", (20_000, 1)), "PNG")),
    Strange("turned by exif", turned, ending=".jpg"),
    Strange("garbage exif", saved(photo, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"), ending=".jpg"),
    Strange("jpeg named png", saved(photo, "JPEG")),
    Strange("newline in its name", saved(photo, "PNG"), ending="\nevensight: all is well.png"),
    # Rows of weight 0.
    Strange("truncated jpeg", content(lambda: whole_jpeg()[:300]), "corrupt", ending=".jpg"),
    Strange("truncated png", content(lambda: whole_png()[:300]), "corrupt"),
    Strange(
        "zero bytes", content(bytes), "format: not an image of JPEG, PNG, WEBP, BMP, GIF, TIFF, PPM: the file is empty"
    ),
    Strange("html", content(lambda: b"<!DOCTYPE html><html>404</html>"), "format: not an image", ending=".jpg"),
    Strange("text", content(lambda: b"no image"), "format"),
    Strange("eps", saved(photo, "EPS"), "format", ending=".jpg"),
    Strange("pdf", saved(photo, "PDF"), "format", ending=".jpg"),
    Strange("svg", content(lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>'), "format", ending=".jpg"),
    Strange("bomb", content(lambda: png(50_000, 50_000, b"")), "too_large: Image size (2500000000 pixels)"),
    Strange("larger than max_pixels", content(lambda: png(7_000, 7_000, b"")), "too_large: 7000 x 7000 pixels are"),
    Strange("no width", content(lambda: png(0, 24, b"")), "format"),
    Strange("thousands of scans", content(many_scans), "too_large: 5,00", ending=".jpg"),
    Strange("broken checksum", bad_checksum, "corrupt"),
    Strange("50 megabytes of text", long_text, "corrupt"),
    Strange("32-bit integers", saved(lambda: Image.new("I", (24, 24)), "TIFF"), "mode", ending=".tif"),
    Strange("floats up to 7", saved(lambda: Image.new("F", (24, 24), 7.0), "TIFF"), "range", ending=".tif"),
    # Never a row.
    Strange("pipe", lambda path: os.mkfifo(path), seen="missing_image.*not a file"),
    Strange("socket", bound, seen="missing_image.*not a file"),
    Strange("dangling link", lambda path: path.symlink_to("nowhere.png"), seen="missing_image"),
    Strange("link to itself", looped, seen="missing_image.*Too many levels"),
    Strange("link out of the folder", lambda path: path.symlink_to("/etc/hostname"), seen="outside_root"),
    Strange("device", lambda path: path.symlink_to("/dev/zero"), seen="outside_root"),
    Strange("folder named as an image", lambda path: path.mkdir(), seen="folder_named_as_image"),
    Strange("name that is no UTF-8", saved(photo, "PNG"), seen="unreadable_names.*udcff", ending="\udcff.png"),
)
