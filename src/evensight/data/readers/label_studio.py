"""Label Studio: its JSON export, with the answers of several people to an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from evensight.data.annotations.assemble import assemble
from evensight.data.annotations.bounded import read_json
from evensight.data.annotations.label_studio_images import (
    MESSAGES,
    Wanted,
    chosen,
    combined,
    links,
    looks_like_image,
)
from evensight.data.annotations.label_studio_json import answers, controls, tasks_of
from evensight.data.annotations.objects import AnnotatedImage, ObjectReader
from evensight.data.annotations.values import Attributes, Odd, scalar_text
from evensight.data.places import Places
from evensight.data.reading import Progress, Reading, existing_file, existing_root
from evensight.errors import UserError, shown, unknown


@dataclass
class LabelStudioReader(ObjectReader):
    """Reads Label Studio's JSON export (not JSON-MIN): one row an image, or one an object.

    The label of an image, or object, is the one most people gave; everybody's own are kept beside the rows. Boxes of
    several people are of one object where they overlap by half; one without a name has its annotator's of the image.
    Attributes are what other controls asked, and any key of a task's data that holds a text, a number or a truth value.
    `links` says which file a link stands for.
    """

    reader: str = "label_studio"  # a name of names.READERS
    root: str = MISSING  # the folder that the links lead to
    annotations: str = MISSING  # the file: Label Studio's export as JSON
    image_key: str | None = None  # key of a task's data that holds the image; null: the only one that looks like it
    from_name: str | None = None  # control whose names are the classes; null: the only one that names something
    split_key: str = "split"  # key of a task's data that holds train, validation or test
    masks: bool = True  # whether brushes and polygons become masks
    box_frame: str = "upright"  # boxes are in pixels as stored, or upright: after EXIF's orientation

    def read(self, folder: Path, classes: tuple[str, ...] | None, progress: Progress) -> Reading:
        """Reads the export; see `Reader.read`."""
        self.check()
        root = existing_root(self.root)
        file = existing_file(self.annotations, "data.annotations", "name the file, data.annotations=<file>.json")
        where = str(file)
        tasks = tasks_of(read_json(file), where)
        key, control = self._image_key(tasks, where), self._control(tasks, where)
        wanted = Wanted(classes or (), self.masks, self.objects == "cut" or self.masks, self.max_pixels)
        odd, places = Odd(MESSAGES), Places(root)
        attributes = Attributes(where, odd)
        images = []
        for place, task in enumerate(tasks):
            at = f"task {shown(task.get('id', place))}"
            path = self._path(task["data"].get(key), places, at, odd)
            if path is not None:
                images.append(self._image(task, path, key, control, wanted, attributes, at, odd))
        reading = assemble(images, self, root, folder, classes, progress, where)
        return replace(reading, findings=[*odd.findings(), *reading.findings])

    def _image(
        self,
        task: dict[str, Any],
        path: str,
        key: str,
        control: str,
        wanted: Wanted,
        attributes: Attributes,
        at: str,
        odd: Odd,
    ) -> AnnotatedImage:
        given = answers(task, control, at, odd)
        label, votes, asked, objects = combined(given, wanted, at, odd)
        data = {name: value for name, value in task["data"].items() if name not in (key, self.split_key)}
        sizes = (region.size for answer in given for region in answer.regions if region.size is not None)
        return AnnotatedImage(
            path=path,
            label=label,
            split=_split(task["data"].get(self.split_key)),
            size=next(sizes, None),
            attributes={**attributes.of(data), **attributes.of(asked)},
            objects=tuple(replace(each, attributes=attributes.of(each.attributes)) for each in objects),
            votes=votes,
        )

    def _path(self, link: Any, places: Places, at: str, odd: Odd) -> str | None:
        if not isinstance(link, str) or not link:
            odd.add("no_path", at)
            return None
        paths = links(link)
        if paths is None:
            odd.add("embedded_image", at)
            return None

        def there(path: str) -> bool:
            return places.inside(path) and not isinstance(places.stamp(path), str)

        return chosen(paths, there)

    def _image_key(self, tasks: Sequence[dict[str, Any]], where: str) -> str:
        keys: dict[str, None] = dict.fromkeys(key for task in tasks for key in task["data"])
        if self.image_key is not None:
            if self.image_key not in keys:
                raise unknown(f"data.image_key: key of the data in {where}", self.image_key, keys)
            return self.image_key
        alike = {key for task in tasks for key, value in task["data"].items() if looks_like_image(value)}
        images = [key for key in keys if key in alike]
        if len(images) != 1:
            found = (
                f"several look like images: {', '.join(map(shown, images))}" if images else "none looks like an image"
            )
            raise UserError(
                f"data.image_key: is not set, and of the keys of the data in {where} ({_listed(keys)}) {found}; "
                "name one, data.image_key=<key>."
            )
        return images[0]

    def _control(self, tasks: list[dict[str, Any]], where: str) -> str:
        named = controls(tasks)
        if self.from_name is not None:
            if self.from_name not in named:
                raise unknown(f"data.from_name: control in {where}", self.from_name, named)
            return self.from_name
        if not named:
            raise UserError(
                f"{where}: no annotation names a class; choices, labels of regions or a taxonomy are needed."
            )
        if len(named) > 1:
            listed = ", ".join(f"{shown(name)} ({type})" for name, type in list(named.items())[:20])
            raise UserError(
                f"data.from_name: is not set, and {where} has several controls: {listed}; "
                "name the one whose names are the classes, data.from_name=<name>."
            )
        return next(iter(named))


def _split(value: Any) -> str | None:
    try:
        return scalar_text(value)
    except ValueError as error:
        return str(error)  # no name of a split, and said to be none where splits are looked at


def _listed(names: Any) -> str:
    return ", ".join(shown(name) for name in list(names)[:20]) or "none"
