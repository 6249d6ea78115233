"""From what several people said of a Label Studio task to one image, and from its link to a file under the root."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import unquote, unquote_plus

import numpy as np

from evensight.data.annotations.boxes import Box
from evensight.data.annotations.label_studio_json import MESSAGES as OF_RESULTS
from evensight.data.annotations.label_studio_json import Answer, Region
from evensight.data.annotations.masks import Mask as Pixels
from evensight.data.annotations.masks import brush_mask, polygons_mask
from evensight.data.annotations.objects import AnnotatedObject, Mask
from evensight.data.annotations.values import Attributes, Odd
from evensight.data.annotations.votes import majority, matched
from evensight.data.readers.listing import IMAGE_SUFFIXES

MESSAGES = {
    "no_path": "tasks whose data has no image under data.image_key; not used",
    "embedded_image": "images that are part of the annotation file; not used",
    **OF_RESULTS,
    "tied_label": "images or objects that as many gave another label; the first in the order of the classes is taken",
    "tied_attribute": "attributes that as many gave another value; the first by its code points is taken",
    "region_without_label": "regions without a label, of images without one; not used",
    "object_of_few": "objects that not everybody marked who marked objects of the image; used",
    "broken_brush": "brushes that cannot be read; they have no box",
    **Attributes.MESSAGES,
}

_LOCAL = re.compile(r"/?data/local-files/?\?(?:[^#]*&)?d=(?P<path>[^&#]*)")
_UPLOAD = re.compile(r"/?data/(?P<path>(?:media/)?upload/[^?#]+)")
_PREFIX = re.compile(r"[0-9a-f]{8}-")
# By whom, what, and where: the box of a brush is known when it has been drawn.
_Marked = tuple[str | None, Region, Box | None]


@dataclass(frozen=True)
class Wanted:
    """What is made of the answers."""

    order: tuple[str, ...] = ()  # of labels, where as many people gave one as the other
    masks: bool = False
    boxes: bool = True  # whether a brush's box is wanted, for which it has to be drawn
    max_pixels: int = 40_000_000  # of a mask


def combined(
    given: Sequence[Answer], wanted: Wanted, at: str, odd: Odd
) -> tuple[str | None, tuple[tuple[str, str], ...], dict[str, str], tuple[AnnotatedObject, ...]]:
    """Makes one answer of those of several people.

    Args:
        given: One of each person.
        wanted: What is made of them.
        at: Names the task in findings.
        odd: Told of ties, and of what cannot be used.

    Returns:
        The whole image's label and (annotator, label) of each who gave one; its attributes; its objects.
    """
    labelled = [answer for answer in given if answer.label is not None]
    label = _most((str(answer.label) for answer in labelled), wanted.order, "tied_label", at, odd)
    votes = tuple((answer.annotator, str(answer.label)) for answer in labelled if answer.annotator is not None)
    attributes = _attributes([answer.attributes for answer in given], at, odd)
    return label, votes, attributes, _objects(given, wanted, at, odd)


def links(text: str) -> list[str] | None:
    """Returns the paths, relative to the root, that a link of Label Studio's may stand for; None for an image in it.

    - ``/data/local-files/?d=a/b.jpg``: ``a/b.jpg``; the root is Label Studio's LOCAL_FILES_DOCUMENT_ROOT.
    - ``/data/upload/3/1a2b3c4d-name.jpg``: the first that is there of ``upload/3/1a2b3c4d-name.jpg`` (the root is its
      media folder), ``3/1a2b3c4d-name.jpg``, ``1a2b3c4d-name.jpg`` (its exports), ``name.jpg`` (what was uploaded).
    - anything else stands for itself; URLs and absolute paths are refused where paths are looked at.
    """
    if text.startswith("data:"):
        return None
    local, upload = _LOCAL.fullmatch(text), _UPLOAD.fullmatch(text)
    if local:
        return [unquote_plus(local["path"])]
    if not upload:
        return [text]
    path = unquote(upload["path"])
    below = path.partition("upload/")[2]
    name = below.rpartition("/")[2]
    return list(dict.fromkeys((path, f"upload/{below}", below, name, _PREFIX.sub("", name, count=1))))


def chosen(paths: Sequence[str], there: Callable[[str], bool]) -> str:
    """Returns the first of `links` that is there, or the last."""
    return next((path for path in paths if len(paths) > 1 and there(path)), paths[-1])


def looks_like_image(value: Any) -> bool:
    """Says whether a value of a task's data may be a link to an image."""
    if not isinstance(value, str):
        return False
    path = _LOCAL.fullmatch(value)
    name = unquote_plus(path["path"]) if path else value.split("?")[0].split("#")[0]
    dot = name.rfind(".")
    return value.startswith("data:image/") or (dot >= 0 and name[dot:].lower() in IMAGE_SUFFIXES)


def _most(labels: Iterable[str], order: Sequence[str], code: str, at: str, odd: Odd) -> str | None:
    found = list(labels)
    if not found:
        return None
    label, tied = majority(found, order)
    if tied:
        odd.add(code, f"{at}: {' / '.join(sorted(set(found)))}")
    return label


def _attributes(said: Sequence[Mapping[str, str]], at: str, odd: Odd) -> dict[str, str]:
    values: dict[str, list[str]] = defaultdict(list)
    for one in said:
        for name, value in one.items():
            values[name].append(value)
    chosen_values = {name: _most(found, (), "tied_attribute", at, odd) for name, found in values.items()}
    return {name: value for name, value in chosen_values.items() if value is not None}


def _objects(given: Sequence[Answer], wanted: Wanted, at: str, odd: Odd) -> tuple[AnnotatedObject, ...]:
    people: list[tuple[str | None, list[tuple[Region, Box | None]]]] = []
    for answer in given:
        # A region without a name of its own has the one that its annotator gave the whole image.
        named = [region._replace(label=region.label or answer.label) for region in answer.regions]
        regions = [region for region in named if region.label is not None]
        for _ in range(len(answer.regions) - len(regions)):
            odd.add("region_without_label", at)
        if regions:
            people.append((answer.annotator, [(region, _box(region, wanted, at, odd)) for region in regions]))
    boxed = [[(region, box) for region, box in regions if box is not None] for _, regions in people]
    groups = matched([[box for _, box in regions] for regions in boxed])
    found: list[list[_Marked]] = [
        [(people[person][0], *boxed[person][place]) for person, place in group] for group in groups
    ]
    # What has no box is like nothing else.
    found += [[(who, region, None)] for who, regions in people for region, box in regions if box is None]
    for group in found:
        if len(group) < len(people):
            odd.add("object_of_few", f"{at}: {len(group)} of {len(people)}")
    return tuple(_object(group, wanted, at, odd) for group in found)


def _object(group: Sequence[_Marked], wanted: Wanted, at: str, odd: Odd) -> AnnotatedObject:
    label = _most((str(region.label) for _, region, _ in group), wanted.order, "tied_label", at, odd)
    assert label is not None
    # The place of the first who agree with the label.
    _, region, box = next(one for one in group if one[1].label == label)
    return AnnotatedObject(
        label=label,
        box=box,
        attributes=_attributes([region.attributes for _, region, _ in group], at, odd),
        mask=_mask(region, wanted) if wanted.masks else None,
        votes=tuple((who, str(region.label)) for who, region, _ in group if who is not None),
    )


def _box(region: Region, wanted: Wanted, at: str, odd: Odd) -> Box | None:
    if region.box is not None or region.shape is None or not wanted.boxes:
        return region.box
    try:
        mask = _drawn(region.shape, region.size, wanted.max_pixels)
    except ValueError as error:
        odd.add("broken_brush", f"{at}: {error}")
        return None
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _mask(region: Region, wanted: Wanted) -> Mask | None:
    if region.shape is None:
        return None
    key = hashlib.sha256(json.dumps([region.shape, region.size]).encode("utf-8", "surrogatepass")).hexdigest()
    return Mask(key, partial(_drawn, region.shape, region.size, wanted.max_pixels))


def _drawn(shape: tuple[str, Any], size: tuple[int, int] | None, max_pixels: int) -> Pixels:
    if size is None:
        raise ValueError("its original_width and original_height are missing")
    width, height = size
    if width * height > max_pixels:
        raise ValueError(f"{width} x {height} pixels are more than {max_pixels:,}")
    kind, drawing = shape
    if kind == "brush":
        return brush_mask(drawing, height, width)
    return polygons_mask([np.array(drawing, np.float64)], height, width)
