"""What the XML file of one image says in Pascal VOC; no image is opened here.

Everingham, Winn: The PASCAL Visual Object Classes Challenge 2012 Development Kit, section 4. Boxes are 1-based and
inclusive there: ``xmin`` 1 to ``xmax`` 10 are ten pixels, here 0 to 10.
"""

from __future__ import annotations

from typing import NamedTuple
from xml.etree.ElementTree import Element

from evensight.data.annotations.boxes import Box
from evensight.data.annotations.xml_values import decimal, flag, size_of, text
from evensight.errors import UserError, shown

_FLAGS = ("difficult", "truncated", "occluded")


class VocObject(NamedTuple):
    """An ``object``."""

    number: int  # from 1, in the file's order: its value in SegmentationObject
    label: str | None
    box: Box | None  # not finite where a side is no number
    from_zero: bool  # the box begins at 0, where VOC begins at 1
    attributes: dict[str, str | None]


class VocImage(NamedTuple):
    """An ``annotation``."""

    file: str | None  # as the file says it: not to be trusted
    size: tuple[int, int] | None  # width, height
    attributes: dict[str, str | None]
    objects: list[VocObject]


def parse(tree: Element, where: str, one_based: bool = True) -> VocImage:
    """Reads the element of a file.

    Args:
        tree: As `bounded.read_xml` returns it.
        where: Names the file in sentences.
        one_based: Whether the first pixel is 1 and a box holds its last one, as VOC says; else sides are edges from 0.

    Raises:
        UserError: It is no ``annotation``.
    """
    if tree.tag != "annotation":
        raise UserError(f"{where}: holds the element {shown(tree.tag)}; a file of Pascal VOC holds an 'annotation'.")
    size = {name: text(tree, f"size/{name}") for name in ("width", "height")}
    database = text(tree, "source/database")
    objects = [_object(element, number, one_based) for number, element in enumerate(tree.findall("object"), start=1)]
    return VocImage(text(tree, "filename"), size_of(size), {"database": database} if database else {}, objects)


def _object(element: Element, number: int, one_based: bool) -> VocObject:
    attributes = {name: flag(text(element, name)) for name in _FLAGS if element.find(name) is not None}
    if element.find("pose") is not None:
        attributes["pose"] = text(element, "pose")
    # How CVAT and others add attributes of their own.
    for more in element.findall("attributes/attribute"):
        attributes.setdefault(text(more, "name") or "", text(more, "value"))
    bounds = element.find("bndbox")
    box, from_zero = None, False
    if bounds is not None:
        sides = [decimal(text(bounds, name)) for name in ("xmin", "ymin", "xmax", "ymax")]
        x0, y0, x1, y1 = (float("nan") if side is None else side for side in sides)
        from_zero = one_based and 0.0 in (x0, y0)
        box = (x0 - 1, y0 - 1, x1, y1) if one_based else (x0, y0, x1, y1)
    return VocObject(number, text(element, "name"), box, from_zero, attributes)
