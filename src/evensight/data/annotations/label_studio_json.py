"""What Label Studio's JSON export says, from plain JSON values; no image is opened here.

Format: labelstud.io/guide/task_format. A task is an image; an annotation is what one person said of it; a result is one
answer, or one part of a region: those of a region have its `id` in common. The control that asked is its `from_name`.
"""

from __future__ import annotations

import math
import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from evensight.data.annotations.boxes import Box, hull
from evensight.data.annotations.values import Odd, kind, number, side
from evensight.errors import UserError, shown

# Types of a result whose value, under the same name, is a list of names.
_NAMES = ("choices", "rectanglelabels", "polygonlabels", "brushlabels", "labels")
LABELLING = (*_NAMES, "taxonomy", "rating")
_ATTRIBUTES = (*LABELLING, "number")
_GEOMETRY = ("rectangle", "polygon", "brush")
_FARTHEST = 1e9  # pixels
MOST_RESULTS = 20_000  # of a task: those of one person are compared with those of another
_SHAPES = {"x": "rectangle", "points": "polygon", "rle": "brush"}

MESSAGES = {
    "skipped_annotation": "annotations that their annotators skipped (was_cancelled); not used",
    "predictions": "predictions of a model; not used",
    "no_annotator": "annotations that do not say by whom; they count for the label and for no annotator",
    "repeated_annotator": "annotations of somebody who has a later one of the same image; not used",
    "several_choices": "answers that name several at once; not used",
    "unused_result": "results of a type that is not read; not used",
    "rotated_box": "rectangles that are turned; the upright box around each is used",
    "rotated_image": "regions of images that were turned in Label Studio; their boxes are taken as unknown",
    "unusable_box": "boxes that are incomplete, empty or not finite; taken as unknown",
}


class Region(NamedTuple):
    """A part of an image that somebody marked."""

    label: str | None
    box: Box | None  # in pixels of the image's stated size
    size: tuple[int, int] | None  # width and height as stated
    shape: tuple[str, Any] | None  # "polygon" and its corners in percent, or "brush" and its code
    attributes: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """What one person said of one image."""

    annotator: str | None
    label: str | None  # of the whole image
    regions: list[Region] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)  # what other controls asked of the whole image


def tasks_of(value: Any, where: str) -> list[dict[str, Any]]:
    """Returns the tasks of an export.

    Raises:
        UserError: It has another shape, an id of a task or an annotation is used twice, or a task has more than
            `MOST_RESULTS`.
    """
    if not isinstance(value, list):
        raise UserError(f"{where}: holds {kind(value)}; Label Studio's JSON export is a list of tasks.")
    seen: dict[str, set[Hashable]] = {"task": set(), "annotation": set()}
    for place, task in enumerate(value):
        at = f"{where}: task [{place}]"
        if not isinstance(task, dict):
            raise UserError(f"{at} is {kind(task)}; an object is needed.")
        if "data" not in task and "annotation_id" in task:
            raise UserError(f"{where}: is an export of Label Studio's as JSON-MIN; export as JSON, which keeps all.")
        if not isinstance(task.get("data"), dict):
            raise UserError(f"{at}: its data is {kind(task.get('data'))}; an object is needed.")
        if not isinstance(task.get("annotations"), list):
            raise UserError(f"{at}: its annotations are {kind(task.get('annotations'))}; a list is needed.")
        _once(task, "task", seen, at)
        for number_, annotation in enumerate(task["annotations"]):
            if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
                raise UserError(f"{at}: annotation [{number_}] has no list of results.")
            if not all(isinstance(result, dict) for result in annotation["result"]):
                raise UserError(f"{at}: annotation [{number_}] has a result that is no object.")
            _once(annotation, "annotation", seen, at)
        num_results = sum(len(annotation["result"]) for annotation in task["annotations"])
        if num_results > MOST_RESULTS:
            raise UserError(f"{at}: has {num_results:,} results; at most {MOST_RESULTS:,} are read of one image.")
    return value


def controls(tasks: list[dict[str, Any]]) -> dict[str, str]:
    """Returns the controls that name something: `from_name` -> type of the first result."""
    found: dict[str, str] = {}
    for task in tasks:
        for annotation in task["annotations"]:
            for result in annotation["result"]:
                name = result.get("from_name")
                if isinstance(name, str) and result.get("type") in LABELLING:
                    found.setdefault(name, result["type"])
    return found


def answers(task: Mapping[str, Any], control: str, at: str, odd: Odd) -> list[Answer]:
    """Returns what each person said of a task.

    Args:
        task: One of `tasks_of`.
        control: Whose names are the labels; those of others are attributes.
        at: Names the task in findings.
        odd: Told of what cannot be used, by the codes of `MESSAGES`.
    """
    for _ in task.get("predictions") or () if isinstance(task.get("predictions"), list) else ():
        odd.add("predictions", at)
    last: dict[str, Answer] = {}
    for place, annotation in enumerate(task["annotations"]):
        if annotation.get("was_cancelled") is True:
            odd.add("skipped_annotation", at)
            continue
        who = annotator_of(annotation.get("completed_by"))
        if who is None:
            odd.add("no_annotator", at)
        # Taken out and put in again: the later answer has the later place.
        if who is not None and last.pop(f"by {who}", None) is not None:
            odd.add("repeated_annotator", f"{at}: {shown(who)}")
        last[f"[{place}]" if who is None else f"by {who}"] = _answer(annotation["result"], who, control, at, odd)
    return list(last.values())


def annotator_of(completed_by: Any) -> str | None:
    """Returns who that is: an id, or of an object its e-mail address, user name or id; None where nobody is named."""
    if isinstance(completed_by, dict):
        parts = (annotator_of(completed_by.get(key)) for key in ("email", "username", "id"))
        return next((part for part in parts if part is not None), None)
    if isinstance(completed_by, bool) or not isinstance(completed_by, int | str):
        return None
    return str(completed_by).strip() or None


def _once(entry: Mapping[str, Any], what: str, seen: Mapping[str, set[Hashable]], at: str) -> None:
    id = entry.get("id")
    if id is None:
        return
    if isinstance(id, bool) or not isinstance(id, int | str):
        raise UserError(f"{at}: the id of its {what} is {shown(id)}; a whole number is needed.")
    if id in seen[what]:
        raise UserError(f"{at}: {what} id {shown(id)} is used twice; each {what} needs one of its own.")
    seen[what].add(id)


def _answer(results: list[dict[str, Any]], who: str | None, control: str, at: str, odd: Odd) -> Answer:
    regions: dict[str, list[dict[str, Any]]] = defaultdict(list)
    label, attributes = None, {}
    for place, result in enumerate(results):
        shaped = _shape(result) is not None
        if result.get("type") not in (*_ATTRIBUTES, *_GEOMETRY):
            odd.add("unused_result", f"{at}: {shown(result.get('type'))}")
        elif shaped or result["type"] in _GEOMETRY:
            id = result.get("id")
            regions[id if isinstance(id, str) else f"[{place}]"].append(result)
        else:
            name, value = result.get("from_name"), _named(result, at, odd)
            if name == control:
                label = value
            elif isinstance(name, str) and value is not None:
                attributes[name] = value
    return Answer(who, label, [_region(parts, control, at, odd) for parts in regions.values()], attributes)


def _named(result: Mapping[str, Any], at: str, odd: Odd) -> str | None:
    """Returns the one name, or number, that a result gives."""
    if result.get("type") not in _ATTRIBUTES:
        return None
    value = result.get("value")
    given = value.get(result["type"]) if isinstance(value, dict) else None
    if number(given) is not None and result["type"] in ("rating", "number"):
        return f"{given:g}" if isinstance(given, float) else str(given)
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list) or not given:
        return None
    if len(given) > 1:
        odd.add("several_choices", at)
        return None
    path = given[0] if result["type"] == "taxonomy" and isinstance(given[0], list) else given
    if not path or not all(isinstance(part, str) and part for part in path):
        return None
    return unicodedata.normalize("NFC", "/".join(path))


def _shape(result: Mapping[str, Any]) -> str | None:
    value = result.get("value")
    return next((shape for key, shape in _SHAPES.items() if key in value), None) if isinstance(value, dict) else None


def _region(parts: list[dict[str, Any]], control: str, at: str, odd: Odd) -> Region:
    label, attributes = None, {}
    for part in parts:
        name, value = part.get("from_name"), _named(part, at, odd)
        if value is not None and name == control:
            label = value
        elif value is not None and isinstance(name, str):
            attributes[name] = value
    first = next((part for part in parts if _shape(part)), parts[0])
    width, height = side(first.get("original_width")), side(first.get("original_height"))
    size = (width, height) if width and height else None
    kept, value = _shape(first), first.get("value")
    box, shape = None, None
    if number(first.get("image_rotation") or 0) != 0:
        odd.add("rotated_image", at)
    elif isinstance(value, dict) and kept == "brush":
        shape = ("brush", value["rle"])
    elif isinstance(value, dict) and size is not None:
        corners = _corners(value, size) if kept == "rectangle" else _points(value.get("points"), size)
        box = _around(corners)
        shape = ("polygon", corners) if kept == "polygon" and box else None
        if box is not None and kept == "rectangle" and number(value.get("rotation") or 0) != 0:
            odd.add("rotated_box", at)
    if box is None and shape is None:
        odd.add("unusable_box", at)
    return Region(label, box, size, shape, attributes)


def _corners(value: Mapping[str, Any], size: tuple[int, int]) -> list[tuple[float, float]] | None:
    """Returns the corners of a rectangle in pixels; it is turned clockwise about its first."""
    given = [number(value.get(key)) for key in ("x", "y", "width", "height")]
    turn = number(value.get("rotation") or 0)
    x, y, across, down = given
    if x is None or y is None or across is None or down is None or turn is None or across <= 0 or down <= 0:
        return None
    x, y, across, down = x * size[0] / 100, y * size[1] / 100, across * size[0] / 100, down * size[1] / 100
    if turn == 0:
        return [(x, y), (x + across, y + down)]
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    return [
        (x + i * across * cos - j * down * sin, y + i * across * sin + j * down * cos) for i in (0, 1) for j in (0, 1)
    ]


def _points(points: Any, size: tuple[int, int]) -> list[tuple[float, float]] | None:
    if not isinstance(points, list) or len(points) < 3:
        return None
    corners = []
    for point in points:
        x, y = map(number, point) if isinstance(point, list) and len(point) == 2 else (None, None)
        if x is None or y is None:
            return None
        corners.append((x * size[0] / 100, y * size[1] / 100))
    return corners


def _around(corners: list[tuple[float, float]] | None) -> Box | None:
    if not corners:
        return None
    box = hull([(x, y, x, y) for x, y in corners])
    far = max(map(abs, box)) > _FARTHEST
    return box if box[0] < box[2] and box[1] < box[3] and not far else None
