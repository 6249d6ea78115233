"""Pictures inside the page, small: the report is one file that opens anywhere."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

# A photograph is shown no larger than this; pixels of small images stay as they are.
MOST_PIXELS = 176
SMALL = 96


def data_uri(path: Path) -> str | None:
    """Returns a picture as a data URI, None where the file is missing.

    Images up to 96 pixels a side stay PNG to the bit; larger ones become JPEG of at most 176 pixels.
    """
    if not path.is_file():
        return None
    content, kind = path.read_bytes(), "png"
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        if max(image.size) > SMALL:
            shown = image.convert("RGB")
            shown.thumbnail((MOST_PIXELS, MOST_PIXELS))
            stream = io.BytesIO()
            shown.save(stream, "JPEG", quality=85)
            content, kind = stream.getvalue(), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
