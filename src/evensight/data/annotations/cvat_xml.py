"""What an XML file of CVAT for images 1.1 says; no image is opened here.

Format: docs.cvat.ai, "CVAT for image", "Annotation specification": shapes in pixels, edges from 0; rotation in degrees
clockwise around the shape's centre; run lengths of masks row by row, beginning with what is outside.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from evensight.data.annotations.boxes import Box
from evensight.data.annotations.masks import polygons_mask, runs_mask
from evensight.data.annotations.names import names_of
from evensight.data.annotations.objects import Mask
from evensight.data.annotations.xml_values import decimal, flag, size_of, text
from evensight.errors import UserError, shown, unknown

VERSION = "1.1"
_NAN = float("nan")


class CvatAttribute(NamedTuple):
    """A declared attribute."""

    kind: str  # select, radio, checkbox, number or text
    values: tuple[str, ...]

    def holds(self, value: str) -> bool:
        """Says whether a value is one of those declared."""
        if self.kind in ("select", "radio"):
            return value in self.values
        if self.kind == "number":
            return decimal(value) is not None
        return self.kind != "checkbox" or flag(value) in ("0", "1")


class CvatShape(NamedTuple):
    """A tag, which has no box, or something drawn."""

    kind: str
    label: str
    box: Box | None  # not finite where it is broken
    mask: Mask | None
    attributes: dict[str, str | None]


class CvatImage(NamedTuple):
    """An ``image``."""

    file: str  # as the file says it: not to be trusted
    split: str | None
    size: tuple[int, int] | None  # width, height
    attributes: dict[str, str | None]
    shapes: list[CvatShape]


class CvatFile(NamedTuple):
    """One file, and what was wrong with values in it."""

    images: list[CvatImage]
    labels: list[str]
    wrong_values: list[str]


def parse(tree: Element, where: str) -> CvatFile:
    """Reads the element of a file.

    Args:
        tree: As `bounded.read_xml` returns it.
        where: Names the file in sentences.

    Raises:
        UserError: It is of another kind or version; an id is reused; a label is declared twice or not declared.
    """
    if tree.tag != "annotations":
        raise UserError(f"{where}: holds the element {shown(tree.tag)}; CVAT for images holds 'annotations'.")
    version = text(tree, "version")
    if version != VERSION:
        raise UserError(f"{where}: its version is {shown(version)}; allowed is {VERSION}, CVAT for images.")
    if tree.find("track") is not None:
        raise UserError(f"{where}: holds tracks of a video; export it from CVAT as 'CVAT for images 1.1'.")
    labels = _labels(tree, where)
    wrong: list[str] = []
    ids: dict[tuple[str | None, str], str] = {}
    images = []
    for element in tree.findall("image"):
        image = _image(element, labels, where, wrong)
        number = element.get("id")
        if number is not None and (element.get("task_id"), number) in ids:
            other = ids[element.get("task_id"), number]
            raise UserError(
                f"{where}: image id {shown(number)} is used twice, by {shown(other)} and {shown(image.file)}."
            )
        if number is not None:
            ids[element.get("task_id"), number] = image.file
        images.append(image)
    return CvatFile(images, list(labels), wrong)


def _labels(tree: Element, where: str) -> dict[str, dict[str, CvatAttribute]]:
    """Returns label -> its attributes. A project's head has its labels, a task's or a job's has its own."""
    labels: dict[str, dict[str, CvatAttribute]] = {}
    elements = next(
        (found for kind in ("project", "task", "job") if (found := tree.findall(f"meta/{kind}/labels/label"))), []
    )
    declared = [(element, text(element, "name") or "") for element in elements]
    # The format writes no ids of labels: a name is one.
    names_of(((name, name) for _, name in declared), "label", where)
    for element, name in declared:
        labels[name] = {}
        for each in element.findall("attributes/attribute"):
            values = tuple(line.strip() for line in (each.findtext("values") or "").splitlines() if line.strip())
            labels[name][text(each, "name") or ""] = CvatAttribute(text(each, "input_type") or "text", values)
    return labels


def _image(
    element: Element, labels: Mapping[str, Mapping[str, CvatAttribute]], where: str, wrong: list[str]
) -> CvatImage:
    name = element.get("name")
    if not name:
        raise UserError(f"{where}: the image of id {shown(element.get('id'))} has no name, which is its file's path.")
    size = size_of(element.attrib)
    task = element.get("task_id")
    shapes = []
    for child in element:
        reads = _SHAPES.get(child.tag)
        if reads is None:
            continue
        label = child.get("label") or ""
        if not label:
            raise UserError(f"{where}: a {child.tag} of {shown(name)} has no label.")
        if labels and label not in labels:
            raise unknown(f"{where}: label of a {child.tag} of {shown(name)}", label, labels)
        attributes = _attributes(child, labels.get(label, {}), name, wrong)
        box, mask = reads(child, size)
        shapes.append(CvatShape(child.tag, label, box, mask, attributes))
    return CvatImage(name, element.get("subset") or None, size, {"task_id": task} if task else {}, shapes)


def _attributes(
    element: Element, declared: Mapping[str, CvatAttribute], image: str, wrong: list[str]
) -> dict[str, str | None]:
    values: dict[str, str | None] = {}
    if element.get("occluded") is not None:
        values["occluded"] = flag(element.get("occluded"))
    for each in element.findall("attribute"):
        name, value = each.get("name") or "", (each.text or "").strip() or None
        if value is not None and name in declared and not declared[name].holds(value):
            wrong.append(f"{image}: {shown(name)} is {shown(value)}")
            value = None
        values[name] = value
    return values


# --- shapes: each reader takes the element and the stated size, and returns box and mask ---

Shape = tuple[Box | None, Mask | None]
Size = tuple[int, int] | None


def _tag(element: Element, size: Size) -> Shape:
    return None, None


def _numbers(element: Element, *names: str) -> list[float]:
    return [_NAN if (value := decimal(element.get(name))) is None else value for name in names]


def _box(element: Element, size: Size) -> Shape:
    x0, y0, x1, y1 = _numbers(element, "xtl", "ytl", "xbr", "ybr")
    return _turned((x0, y0, x1, y1), element), None


def _ellipse(element: Element, size: Size) -> Shape:
    cx, cy, rx, ry = _numbers(element, "cx", "cy", "rx", "ry")
    return _turned((cx - rx, cy - ry, cx + rx, cy + ry), element), None


def _turned(box: Box, element: Element) -> Box:
    """Returns the upright box around a box that was turned by its ``rotation``."""
    degrees = decimal(element.get("rotation", "0"))
    if not degrees:
        return box if degrees is not None else (_NAN,) * 4
    angle = math.radians(degrees)
    cosine, sine = abs(math.cos(angle)), abs(math.sin(angle))
    x0, y0, x1, y1 = box
    half_x = ((x1 - x0) * cosine + (y1 - y0) * sine) / 2
    half_y = ((x1 - x0) * sine + (y1 - y0) * cosine) / 2
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return x - half_x, y - half_y, x + half_x, y + half_y


def _points(element: Element) -> NDArray[np.float64]:
    """Returns the corners `[P, 2]` of ``points="x,y;x,y"``, not a number where one is none."""
    pairs = [pair.split(",") for pair in (element.get("points") or "").split(";")]
    values = [[decimal(value) for value in pair] if len(pair) == 2 else [None, None] for pair in pairs]
    return np.array(values, np.float64)


def _polygon(element: Element, size: Size) -> Shape:
    corners = _points(element)
    (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    mask = None
    if size is not None and len(corners) > 2:
        key = hashlib.sha256(corners.tobytes()).hexdigest()
        mask = Mask(f"polygon {key} {size}", partial(polygons_mask, [corners], size[1], size[0]))
    return (x0, y0, x1, y1), mask


def _cuboid(element: Element, size: Size) -> Shape:
    names = [f"{axis}{side}{end}{depth}" for axis in "xy" for side in "tb" for end in "lr" for depth in "12"]
    values = _numbers(element, *names)
    x, y = values[:8], values[8:]
    broken = any(map(math.isnan, values))
    return ((_NAN,) * 4 if broken else (min(x), min(y), max(x), max(y))), None


def _mask(element: Element, size: Size) -> Shape:
    left, top, width, height = _numbers(element, "left", "top", "width", "height")
    box = (left, top, left + width, top + height)
    inside = size is not None and 0 <= left < box[2] <= size[0] and 0 <= top < box[3] <= size[1]
    if size is None or not inside or not all(side == int(side) for side in box):
        return box, None
    code = element.get("rle") or ""
    x0, y0, x1, y1 = map(int, box)
    key = hashlib.sha256(code.encode()).hexdigest()
    return box, Mask(f"runs {key} {box} {size}", partial(_drawn, code, (x0, y0, x1, y1), size))


def _drawn(code: str, box: tuple[int, int, int, int], size: tuple[int, int]) -> NDArray[np.uint8]:
    parts = [part.strip() for part in code.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 12 for part in parts):
        raise ValueError("its run lengths are no whole numbers")
    x0, y0, x1, y1 = box
    mask = np.zeros((size[1], size[0]), np.uint8)
    # `runs_mask` counts down the columns, as COCO does, and CVAT along the rows.
    mask[y0:y1, x0:x1] = runs_mask(np.array(parts, np.int64), x1 - x0, y1 - y0).T
    return mask


# What has no extent (points, lines, skeletons) says that the object is there, and not where.
_SHAPES: dict[str, Callable[[Element, Size], Shape]] = {
    "tag": _tag,
    "box": _box,
    "ellipse": _ellipse,
    "polygon": _polygon,
    "cuboid": _cuboid,
    "mask": _mask,
    **dict.fromkeys(("points", "polyline", "skeleton"), _tag),
}
