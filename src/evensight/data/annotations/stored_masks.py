"""Masks that lie in a data set as PNG of indices: object number 3 is where the pixels are 3."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evensight.data.annotations.cut import key_of
from evensight.data.annotations.objects import Mask
from evensight.data.places import Stamp
from evensight.runtime.files import read_file


def indexed_mask(file: Path, name: str, stamp: Stamp, number: int, max_pixels: int) -> Mask:
    """Returns the mask of one object of a PNG of indices (palette or grey), which is opened when the mask is drawn.

    Args:
        file: The PNG, which has been checked to lie inside the root.
        name: Its path relative to the root.
        stamp: Of the file.
        number: The pixels' value.
        max_pixels: Larger ones are refused from their header.
    """
    return Mask(key_of(name, *stamp, number), lambda: _indices(file, max_pixels) == number)


def _indices(file: Path, max_pixels: int) -> NDArray[Any]:
    from PIL import Image

    content = read_file(file, max_pixels)  # a DecodeError is a ValueError
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            if image.mode not in ("P", "L", "1") or image.width * image.height > max_pixels:
                raise ValueError(
                    f"{file}: is {image.width} x {image.height} of {image.mode}; indices of 8 bits are needed"
                )
            return np.asarray(image)
    except ValueError:
        raise
    except Exception as error:  # Pillow's plugins have a dozen kinds between them for a broken file
        raise ValueError(f"{file}: cannot be read as a PNG ({error})") from error
