"""Documents of COCO and Label Studio for tests: small ones, and ones that are broken at random."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from evensight.data.checks import usable_rows
from evensight.data.reading import Reader, Reading, silent
from evensight.errors import UserError

EXIF_ORIENTATION = 0x0112


def written(path: Path, value: Any) -> str:
    path.write_text(json.dumps(value), encoding="utf-8")
    return str(path)


def coco(images: list[dict], annotations: list[dict], names: tuple[str, ...] = ("cat", "dog"), **more: Any) -> dict:
    """A document whose category ids are 10, 20, ...: no position."""
    categories = [{"id": 10 * place, "name": name} for place, name in enumerate(names, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories, **more}


def choice(name: str, control: str = "kind", **more: Any) -> dict:
    return {"from_name": control, "to_name": "image", "type": "choices", "value": {"choices": [name]}, **more}


def rectangle(name: str, x: float, y: float, width: float, height: float, size: tuple[int, int], **more: Any) -> dict:
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": more.pop("rotation", 0)}
    stated = {"original_width": size[0], "original_height": size[1], "image_rotation": 0}
    shaped = {"from_name": "kind", "to_name": "image", "type": "rectanglelabels", **stated}
    return {**shaped, "value": {**value, "rectanglelabels": [name]}, **more}


def task(image: str, *answers: tuple[Any, list[dict]], **more: Any) -> dict:
    """A task; an answer is who gave it and the results."""
    annotations = [{"completed_by": who, "result": results} for who, results in answers]
    return {"data": {"image": image, **more.pop("data", {})}, "annotations": annotations, **more}


def red_patch(path: Path, orientation: int, box: tuple[int, int, int, int], size: tuple[int, int] = (40, 24)) -> None:
    """Writes a grey image with a red rectangle at `box` of the stored pixels, and an orientation."""
    pixels = np.full((size[1], size[0], 3), 90, np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = (255, 0, 0)
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[EXIF_ORIENTATION] = orientation
    image.save(path, exif=exif)


def is_red(pixels: np.ndarray) -> np.ndarray:
    return (pixels[..., 0] > 200) & (pixels[..., 1] < 50)


def around(inside: np.ndarray) -> tuple[float, ...]:
    """x0, y0, x1, y1 of the true pixels of `[H, W]`."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def read_or_refused(reader: Reader, folder: Path, classes: tuple[str, ...] | None = None) -> Reading | None:
    """A reader and the checks behind it give rows that can be used, all below the root, or one line."""
    shutil.rmtree(folder, ignore_errors=True)  # what was kept is read by a process of its own, which takes its time
    try:
        reading = reader.read(folder, classes, silent)
        rows, _ = usable_rows(reading, classes)
    except UserError as error:
        assert str(error).isprintable() and str(error)
        return None
    root = reading.root.resolve()
    assert all((root / path).resolve().is_relative_to(root) for path in rows["path"])
    return reading


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 30),
    st.sampled_from((10**400, -1, 2**63, 1e308, -0.0, "", "../x", "/etc/passwd", "a\0b", "https://x.org/a.png", "é")),
    st.text(max_size=6),
    st.lists(st.integers(-3, 30), max_size=5),
    st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=2),
)


def places_of(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a JSON value with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places_of(value[key])


@st.composite
def broken(draw: st.DrawFn, document: Any) -> Any:
    """A document in which up to four values are replaced, taken out, doubled or exchanged."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 4))):
        places = list(places_of(changed))
        if not places:
            return changed
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        how = draw(st.sampled_from(("junk", "out", "double", "exchange")))
        if how == "out":
            del holder[key]
        elif how == "double" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif how == "exchange":
            other, there = places[draw(st.integers(0, len(places) - 1))]
            holder[key] = copy.deepcopy(other[there])
        else:
            holder[key] = draw(JUNK)
    return changed
