"""Twenty and more kinds of broken and odd files, made of photographs, and what the audit is to say of each."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class BrokenKind:
    """A kind of file.

    Attributes:
        name: Shown.
        code: The reason code that is right.
        make: From a photograph uint8 `[H, W, 3]` to the file's bytes.
        ending: Of its name.
    """

    name: str
    code: str
    make: Callable[[Pixels], bytes]
    ending: str = ".jpg"


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _jpeg(pixels: Pixels, **options: object) -> bytes:
    return _saved(Image.fromarray(pixels), "JPEG", quality=85, **options)


def _png(pixels: Pixels) -> bytes:
    return _saved(Image.fromarray(pixels), "PNG")


def _cut(content: bytes, share: float = 0.6) -> bytes:
    return content[: int(len(content) * share)]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _bomb(pixels: Pixels) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + _chunk(b"IDAT", zlib.compress(b"")) + _chunk(b"IEND", b"")


def _damaged(pixels: Pixels) -> bytes:
    content = bytearray(_png(pixels))
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


def _grey(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels).convert("L")


def _alpha(pixels: Pixels) -> bytes:
    alpha = np.linspace(0, 255, pixels.shape[1]).astype(np.uint8)
    return _png(np.dstack([pixels, np.broadcast_to(alpha, pixels.shape[:2])]))


def _blurred(pixels: Pixels) -> bytes:
    image = Image.fromarray(pixels)
    return _saved(image.filter(ImageFilter.GaussianBlur(max(image.size) / 25)), "JPEG", quality=90)


def _long(pixels: Pixels) -> bytes:
    return _jpeg(np.tile(pixels, (1, 6, 1)))


def _huge(pixels: Pixels) -> bytes:
    factor = (9e6 / (pixels.shape[0] * pixels.shape[1])) ** 0.5
    width, height = (round(factor * side) for side in (pixels.shape[1], pixels.shape[0]))
    return _saved(Image.fromarray(pixels).resize((width, height)), "JPEG")


def _several(pixels: Pixels) -> bytes:
    image = Image.fromarray(pixels).quantize(64)
    return _saved(image, "GIF", save_all=True, append_images=[image.rotate(180)])


KINDS: tuple[BrokenKind, ...] = (
    BrokenKind("truncated jpeg", "truncated", lambda pixels: _cut(_jpeg(pixels))),
    BrokenKind("truncated progressive jpeg", "truncated", lambda pixels: _cut(_jpeg(pixels, progressive=True))),
    BrokenKind("truncated png", "truncated", lambda pixels: _cut(_png(pixels)), ".png"),
    BrokenKind("empty", "empty", lambda pixels: b""),
    BrokenKind("html named jpg", "not_an_image", lambda pixels: b"<!DOCTYPE html><html>404 Not Found</html>"),
    BrokenKind("pdf named jpg", "not_an_image", lambda pixels: _saved(Image.fromarray(pixels), "PDF")),
    BrokenKind(
        "heic named jpg", "unsupported_format", lambda pixels: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400)
    ),
    BrokenKind("one byte changed in a png", "corrupt", _damaged, ".png"),
    BrokenKind("bomb header", "bomb", _bomb, ".png"),
    BrokenKind("32-bit integers", "mode", lambda pixels: _saved(_grey(pixels).convert("I"), "TIFF"), ".tif"),
    BrokenKind("jpeg named png", "wrong_extension", _jpeg, ".png"),
    BrokenKind(
        "16 bits", "mode_16_bit", lambda pixels: _png(np.asarray(_grey(pixels)).astype(np.uint16) * 257), ".png"
    ),
    BrokenKind("cmyk", "mode_cmyk", lambda pixels: _saved(Image.fromarray(pixels).convert("CMYK"), "JPEG")),
    BrokenKind("alpha", "mode_alpha", _alpha, ".png"),
    BrokenKind("palette", "mode_palette", lambda pixels: _saved(Image.fromarray(pixels).quantize(64), "PNG"), ".png"),
    BrokenKind("one bit", "mode_one_bit", lambda pixels: _saved(_grey(pixels).convert("1"), "PNG"), ".png"),
    BrokenKind("blank", "blank", lambda pixels: _jpeg(np.full_like(pixels, 127))),
    BrokenKind("blurred", "blurred", _blurred),
    BrokenKind("under-exposed", "under_exposed", lambda pixels: _jpeg((pixels * 0.08).astype(np.uint8))),
    BrokenKind("over-exposed", "over_exposed", lambda pixels: _jpeg((255 - (255 - pixels) * 0.08).astype(np.uint8))),
    BrokenKind("six times as long", "long", _long),
    BrokenKind("tiny", "tiny", lambda pixels: _saved(Image.fromarray(pixels).resize((24, 18)), "JPEG")),
    BrokenKind("huge", "huge", _huge),
    BrokenKind("animated", "several_frames", _several, ".gif"),
)
