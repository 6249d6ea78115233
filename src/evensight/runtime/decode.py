"""From the bytes of a file to uint8 RGB pixels, by declared rules.

| what the file holds | what comes out |
|---|---|
| EXIF orientation | applied; a broken EXIF block counts as none |
| alpha, or a transparent colour | composited on white, in the file's own values |
| palette, one bit, greyscale | the RGB they stand for |
| CMYK, YCbCr | Pillow's plain conversion; ICC profiles are not applied |
| 16 bits a channel | the high byte of the full range 0 to 65,535, for grey as for colour |
| 32-bit float | x 255 where every value lies in [0, 1]; else refused |
| several frames | the first |
| anything else (32-bit integer, LAB, other formats, truncated, too large, no file) | `DecodeError` |

The size is checked in the header, before any pixel is decoded. Left alone, Pillow clips 16 bits, turns floats to black,
ignores the orientation, and hands PostScript to an interpreter.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from .files import MAX_PIXELS, DecodeError, path_text, read_file

__all__ = ["FORMATS", "MAX_PIXELS", "DecodeError", "decode", "decode_array"]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")

# Each scan of a progressive JPEG passes over all its pixels, and takes 50 bytes to ask for: a megabyte of them is
# minutes of work. Encoders write about ten.
MAX_SCANS = 100
_SCAN = b"\xff\xda"

_ORIENTATION = 0x0112
# EXIF 2.32, table of tag Orientation: what has to be done for the stored rows to stand upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(source: bytes | Path, max_pixels: int = MAX_PIXELS, formats: Sequence[str] = FORMATS) -> torch.Tensor:
    """Decodes an image file.

    Args:
        source: The file's bytes, or its path.
        max_pixels: Larger images are refused from their header. Pillow's own limit, 178,956,970, stays in force.
        formats: Those of `FORMATS` that are allowed.

    Returns:
        RGB, uint8 `[3, H, W]`, contiguous.

    Raises:
        DecodeError: If the file cannot be read, is no image of `formats`, is too large, broken, or has no rule.
    """
    return torch.from_numpy(decode_array(source, max_pixels, formats)).permute(2, 0, 1).contiguous()


def decode_array(
    source: bytes | Path, max_pixels: int = MAX_PIXELS, formats: Sequence[str] = FORMATS
) -> NDArray[np.uint8]:
    """Decodes an image file to RGB, uint8 `[H, W, 3]`, contiguous and writable; else as `decode`."""
    content = source if isinstance(source, bytes) else _read(source, max_pixels)
    with _explained(content, formats):
        image = _header(content, max_pixels, formats)
        image.load()
        return np.ascontiguousarray(_upright(image, _rgb(image)))


def _read(path: Path, max_pixels: int) -> bytes:
    try:
        return read_file(path, max_pixels)
    except DecodeError as error:
        raise DecodeError(error.code, f"{path_text(path)}: {error}") from error


@contextmanager
def _explained(content: bytes, formats: Sequence[str]) -> Iterator[None]:
    """Pillow's plugins raise a dozen kinds of error on broken files; each becomes a `DecodeError`."""
    try:
        yield
    except (DecodeError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        found = f"begins with {content[:12]!r}" if content else "is empty"
        raise DecodeError("format", f"not an image of {', '.join(formats)}: the file {found}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DecodeError("too_large", str(error)) from error
    except Exception as error:
        raise DecodeError("corrupt", f"{type(error).__name__}: {error}") from error


def _header(content: bytes, max_pixels: int, formats: Sequence[str]) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=tuple(formats))
    width, height = image.size
    if width * height == 0:
        raise DecodeError("corrupt", f"{width} x {height} pixels are none")
    if width * height > max_pixels:
        raise DecodeError("too_large", f"{width} x {height} pixels are more than {max_pixels:,}")
    if image.format in ("JPEG", "MPO") and content.count(_SCAN) > MAX_SCANS:
        raise DecodeError("too_large", f"{content.count(_SCAN):,} scans are more than {MAX_SCANS}")
    return image


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Returns `[H, W, 3]` in the stored orientation."""
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format == "PPM"):  # PPM of 16 bits opens as I
        return _from_16_bits(image)
    if mode == "F":
        return _from_float(image)
    if mode in ("I", "LAB"):
        raise DecodeError("mode", f"pixels of mode {mode} have no declared range")
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _on_white(image)
    return np.array(image if mode == "RGB" else image.convert("RGB"))


def _on_white(image: Image.Image) -> NDArray[np.uint8]:
    straight = image.convert("LA") if image.mode == "La" else image  # La converts to LA alone
    pixels = np.asarray(straight.convert("RGBA")).astype(np.uint16)
    colour, alpha = pixels[..., :3], pixels[..., 3:]
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _from_16_bits(image: Image.Image) -> NDArray[np.uint8]:
    values = np.asarray(image).astype(np.int32)
    grey = np.clip(values >> 8, 0, 255)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey = np.where(values == transparent, 255, grey)
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def _from_float(image: Image.Image) -> NDArray[np.uint8]:
    values = np.asarray(image)
    if not bool(np.all((values >= 0) & (values <= 1))):  # false for NaN
        raise DecodeError("range", f"float pixels from {values.min():g} to {values.max():g} do not lie in [0, 1]")
    return np.repeat(np.rint(values * 255).astype(np.uint8)[..., None], 3, axis=2)


def _upright(image: Image.Image, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # whatever a broken block raises: it says nothing about the pixels
        return pixels
    if orientation not in _UPRIGHT:
        return pixels
    return np.array(Image.fromarray(pixels).transpose(_UPRIGHT[orientation]))
