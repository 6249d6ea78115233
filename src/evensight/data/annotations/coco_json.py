"""What a COCO file of instances says, from plain JSON values; no image is opened here.

Format: cocodataset.org/#format-data. Ids are whole numbers; texts are taken too, since some tools write them.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from evensight.data.annotations.boxes import Box
from evensight.data.annotations.masks import Mask as Pixels
from evensight.data.annotations.masks import decoded
from evensight.data.annotations.names import known, names_of
from evensight.data.annotations.objects import AnnotatedImage, AnnotatedObject, Mask
from evensight.data.annotations.values import Attributes, Odd, kind, number, scalar_text, side
from evensight.errors import UserError, shown, unknown

LISTS = ("images", "annotations", "categories")
# Keys of an image that are no attribute: what names it, its size, and where the web has it.
_IMAGE_KEYS = ("id", "file_name", "width", "height", "split", "license", "attributes", "coco_url", "flickr_url")

MESSAGES = {
    "no_path": "images without a file_name; not used",
    "unusable_box": "boxes that are not four finite numbers with a width and a height above 0; taken as unknown",
    "crowd": "regions of many objects (iscrowd); left out, data.crowd=keep takes them as one object each",
    **Attributes.MESSAGES,
}


@dataclass(frozen=True)
class Wanted:
    """Which parts of a file are taken."""

    crowds: bool = False  # regions of many objects, as one object each
    masks: bool = False
    max_pixels: int = 40_000_000  # of a mask
    split: str | None = None  # of all images; None takes each image's key ``split``


def parse(value: Any, where: str, wanted: Wanted, odd: Odd) -> list[AnnotatedImage]:
    """Reads the JSON value of a file.

    Args:
        value: As `bounded.read_json` returns it.
        where: Names the file in sentences.
        wanted: What is taken.
        odd: Told of what cannot be used, by the codes of `MESSAGES`.

    Returns:
        The images in the order of the file, those without an object too.

    Raises:
        UserError: It has another shape; an id is reused or unknown; two categories have one name.
    """
    if not isinstance(value, dict):
        raise UserError(f"{where}: holds {kind(value)}; COCO is an object with images, annotations and categories.")
    images, annotations, categories = (_entries(value, key, where) for key in LISTS)
    names = names_of(_named(categories, where), "category", where)
    parents = {entry["id"]: entry.get("supercategory") for entry in categories}
    files = {
        _id(entry, "id", f"{where}: images[{place}]"): entry.get("file_name") for place, entry in enumerate(images)
    }
    if len(files) < len(images):
        _refuse_reused([entry["id"] for entry in images], "image", where)
    _refuse_reused([_id(entry, "id", where) for entry in annotations if "id" in entry], "annotation", where)
    defined = _Defined(files, {entry["id"]: _size(entry) for entry in images}, names, parents)
    attributes = Attributes(where, odd)
    objects = _objects(annotations, f"{where}: annotations", defined, wanted, attributes, odd)
    licences = _licences(value.get("licenses"))
    return [
        AnnotatedImage(
            path=path,
            split=wanted.split or _split(entry),
            size=defined.sizes[entry["id"]],
            attributes=attributes.of(_image_values(entry, licences)),
            objects=tuple(objects.get(entry["id"], ())),
        )
        for place, entry in enumerate(images)
        if (path := _path(entry, f"{where}: images[{place}]", odd)) is not None
    ]


class _Defined(NamedTuple):
    """What annotations refer to, by id."""

    files: Mapping[Hashable, Any]  # of images, as the file says them
    sizes: Mapping[Hashable, tuple[int, int] | None]  # width and height of images
    names: Mapping[Hashable, str]  # of categories
    parents: Mapping[Hashable, Any]  # supercategory of categories


def _objects(
    annotations: list[dict[str, Any]], where: str, defined: _Defined, wanted: Wanted, attributes: Attributes, odd: Odd
) -> dict[Hashable, list[AnnotatedObject]]:
    objects: dict[Hashable, list[AnnotatedObject]] = defaultdict(list)
    for place, entry in enumerate(annotations):
        at = f"{where}[{place}]"
        image, category = _id(entry, "image_id", at), _id(entry, "category_id", at)
        known(image, defined.files, "image", at)
        known(category, defined.names, "category", at)
        if entry.get("iscrowd") in (1, True) and not wanted.crowds:
            odd.add("crowd", f"{at} of {shown(defined.files[image])}")
            continue
        box = box_of(entry.get("bbox"))
        if box is None and entry.get("bbox") not in (None, []):
            odd.add("unusable_box", f"{at} of {shown(defined.files[image])}")
        mask = _mask(entry.get("segmentation"), defined.sizes[image], wanted) if wanted.masks else None
        said = {"supercategory": defined.parents[category], **_mapping(entry.get("attributes"))}
        objects[image].append(AnnotatedObject(defined.names[category], box, attributes.of(said), mask))
    return objects


def box_of(bbox: Any) -> Box | None:
    """Returns x0, y0, x1, y1 of COCO's x, y, width, height; None where these are no box."""
    if not isinstance(bbox, list) or len(bbox) != 4:
        return None
    x, y, width, height = map(number, bbox)
    if x is None or y is None or width is None or height is None or width <= 0 or height <= 0:
        return None
    box = (x, y, x + width, y + height)
    # Beside a far larger x, a width is nothing.
    return box if box[0] < box[2] < float("inf") and box[1] < box[3] < float("inf") else None


def _entries(value: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    if key not in value:
        raise unknown(f"{where}: COCO's key", key, value)
    entries = value[key]
    if not isinstance(entries, list):
        raise UserError(f"{where}: {key} is {kind(entries)}; a list of objects is needed.")
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise UserError(f"{where}: {key}[{place}] is {kind(entry)}; an object is needed.")
    return entries


def _id(entry: Mapping[str, Any], key: str, where: str) -> Hashable:
    id = entry.get(key)
    # 1, 1.0 and true are one key of a dict.
    if isinstance(id, bool) or not isinstance(id, int | str):
        raise UserError(f"{where}: its {key} is {shown(id)}; a whole number is needed.")
    return id


def _named(entries: list[dict[str, Any]], where: str) -> list[tuple[Hashable, str]]:
    pairs = []
    for place, entry in enumerate(entries):
        at, name = f"{where}: categories[{place}]", entry.get("name")
        if not isinstance(name, str) or not name:
            raise UserError(f"{at}: its name is {shown(name)}; a text is needed.")
        pairs.append((_id(entry, "id", at), name))
    return pairs


def _refuse_reused(ids: list[Any], what: str, where: str) -> None:
    seen: set[Hashable] = set()
    for id in ids:
        if id in seen:
            raise UserError(f"{where}: {what} id {shown(id)} is used twice; each {what} needs one of its own.")
        seen.add(id)


def _size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = side(entry.get("width")), side(entry.get("height"))
    return (width, height) if width and height else None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _split(entry: Mapping[str, Any]) -> str | None:
    try:
        return scalar_text(entry.get("split"))
    except ValueError as error:
        return str(error)  # no name of a split, and said to be none where splits are looked at


def _path(entry: Mapping[str, Any], where: str, odd: Odd) -> str | None:
    file = entry.get("file_name")
    if isinstance(file, str) and file:
        return file
    odd.add("no_path", where)
    return None


def _image_values(entry: Mapping[str, Any], licences: Mapping[Hashable, str]) -> dict[str, Any]:
    values = {key: value for key, value in entry.items() if key not in _IMAGE_KEYS}
    licence = entry.get("license")
    values["license"] = licences.get(licence) if isinstance(licence, int | str) else None
    return {**values, **_mapping(entry.get("attributes"))}


def _licences(entries: Any) -> dict[Hashable, str]:
    """Licence id -> name; what is wrong here costs an attribute and nothing else."""
    names: dict[Hashable, str] = {}
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("id"), int | str) and isinstance(entry.get("name"), str):
            names.setdefault(entry["id"], entry["name"])
    return names


def _mask(segmentation: Any, size: tuple[int, int] | None, wanted: Wanted) -> Mask | None:
    if segmentation in (None, [], {}, ""):
        return None
    drawn = json.dumps([segmentation, size], sort_keys=True)
    key = hashlib.sha256(drawn.encode("utf-8", "surrogatepass")).hexdigest()
    return Mask(key, partial(_drawn, segmentation, size, wanted.max_pixels))


def _drawn(segmentation: Any, size: tuple[int, int] | None, max_pixels: int) -> Pixels:
    if size is None:
        raise ValueError("its image has no width and height")
    width, height = size
    if width * height > max_pixels:
        raise ValueError(f"{width} x {height} pixels are more than {max_pixels:,}")
    mask = decoded(segmentation, height, width)
    assert mask is not None
    return mask
