"""CVAT for images 1.1: one XML file of images with their tags, boxes and polygons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import MISSING

from evensight.data.annotations.assemble import assemble
from evensight.data.annotations.bounded import read_xml
from evensight.data.annotations.cvat_xml import CvatImage, parse
from evensight.data.annotations.objects import AnnotatedImage, AnnotatedObject, ObjectReader
from evensight.data.findings import found
from evensight.data.reading import Progress, Reading, existing_file, existing_root


@dataclass
class CvatReader(ObjectReader):
    """Reads what CVAT exports as "CVAT for images 1.1": labels from tags or from shapes, splits from subsets."""

    reader: str = "cvat"  # a name of names.READERS
    annotations: str = MISSING  # the annotations.xml
    root: str | None = None  # folder the names are relative to; null: images beside the file, else the file's own
    subsets: bool = True  # take the split from an image's subset (Train, Validation, Test)
    masks: bool = True  # take masks from polygons and brushes

    def read(self, folder: Path, classes: tuple[str, ...] | None, progress: Progress) -> Reading:
        """Reads the file; see `Reader.read`."""
        self.check()
        file = existing_file(
            self.annotations,
            "data.annotations",
            "name the file that CVAT exported, data.annotations=<annotations.xml>",
        )
        beside = file.parent / "images"
        root = existing_root(self.root or str(beside if beside.is_dir() else file.parent))
        progress("reading annotations", 0, 1)
        parsed = parse(read_xml(file), str(file))
        progress("reading annotations", 1, 1)
        several: list[str] = []
        images = [image for each in parsed.images if (image := self._image(each, classes, several)) is not None]
        reading = assemble(images, self, root, folder, classes, progress, str(file))
        findings = [
            *found("several_classes", several, "images with tags of several classes; not used"),
            *found(
                "unknown_attribute_value",
                parsed.wrong_values,
                "values that the file's own labels do not allow for their attribute; unknown here",
            ),
        ]
        return replace(reading, findings=[*findings, *reading.findings])

    def _image(self, image: CvatImage, classes: Sequence[str] | None, several: list[str]) -> AnnotatedImage | None:
        """Returns an image; None where its tags are of several classes. Tags that are no class say nothing of it."""
        tags = [shape for shape in image.shapes if shape.kind == "tag"]
        named = {shape.label for shape in tags if classes is None or shape.label in classes}
        if len(named) > 1:
            several.append(f"{image.file}: {', '.join(sorted(named))}")
            return None
        label = next(iter(named or [shape.label for shape in tags]), None)
        attributes = dict(image.attributes)
        for tag in tags:
            attributes |= tag.attributes
        objects = [
            AnnotatedObject(shape.label, shape.box, shape.attributes, shape.mask if self.masks else None)
            for shape in image.shapes
            if shape.kind != "tag"
        ]
        split = image.split if self.subsets and image.split not in ("default", "Default") else None
        return AnnotatedImage(image.file, label, split, image.size, attributes, tuple(objects))
