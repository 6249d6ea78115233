"""From annotated images to a `Reading`: the end of every reader whose images may have objects in them."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight.data.annotations.account import without_row
from evensight.data.annotations.boxes import Box, area, clipped, frame_of, hull, upright_box
from evensight.data.annotations.cut import IMAGE_MASKS, OBJECT_MASKS, OBJECTS, Cut, cut_out, drawn, key_of, write_masks
from evensight.data.annotations.headers import Header, headers
from evensight.data.annotations.names import log_mapping, map_classes
from evensight.data.annotations.objects import CUT_FROM, AnnotatedImage, AnnotatedObject, ObjectReader
from evensight.data.annotations.paths import trusted
from evensight.data.annotations.values import MOST_ATTRIBUTES, RESERVED
from evensight.data.checks import unknown_labels
from evensight.data.digests import BOX
from evensight.data.findings import Finding, found
from evensight.data.places import Stamp
from evensight.data.reading import Progress, Reading
from evensight.errors import UserError, shown

# Columns that say something else: those of a reading, and those a manifest adds.
_TAKEN = frozenset(("path", "label", "split", "mask", *BOX)) | RESERVED
_Row = dict[str, Any]


def assemble(
    images: Sequence[AnnotatedImage],
    reader: ObjectReader,
    root: Path,
    folder: Path,
    classes: tuple[str, ...] | None,
    progress: Progress,
    where: str,
    beside: Iterable[str] = (),
) -> Reading:
    """Turns what an annotation file says into rows, one an image or one an object.

    Labels are mapped by name and the mapping is logged; paths are checked before anything is opened; boxes are turned
    upright and clipped; files are accounted for both ways.

    Args:
        images: In the order of the file.
        reader: Its settings.
        root: Folder that the paths are relative to, links resolved.
        folder: The recipe's, where objects and masks are kept.
        classes: The objective's, or None.
        progress: Told of what takes time.
        where: The annotation file, for sentences.
        beside: Folders whose images without a row are reported although no row may lie in them.

    Raises:
        UserError: No label is a class of the objective, or no image or object can be used.
    """
    counts = Counter(label for image in images for label in _labels(image))
    mapping = map_classes(counts, classes, where)
    stamps, findings = trusted((image.path for image in images), root, where)
    findings += without_row(root, [image.path for image in images], beside)
    images = [image for image in images if image.path in stamps]
    measured = {
        image.path: stamps[image.path] for image in images if any(each.box or each.mask for each in image.objects)
    }
    sizes = headers(root, measured, folder, progress) if measured else {}
    placed, more = _placed(images, sizes, reader.box_frame, reader.max_pixels)
    work = _Work(reader, root, folder, mapping, stamps, progress, where, findings + more)
    reading = work.cut(placed) if reader.objects == "cut" else work.whole(placed)
    log_mapping(counts, mapping, classes, where)
    return reading


def _labels(image: AnnotatedImage) -> list[str]:
    return [*([image.label] if image.label else []), *(each.label for each in image.objects)]


@dataclass(frozen=True)
class _Placed:
    """An image whose boxes are within the decoded image."""

    image: AnnotatedImage
    size: tuple[int, int] | None  # of the decoded image
    turned: int  # orientation that still has to be applied to masks


def _placed(
    images: Iterable[AnnotatedImage], sizes: Mapping[str, Header | None], setting: str, max_pixels: int
) -> tuple[list[_Placed], list[Finding]]:
    """Turns boxes upright and clips them; those that cannot be placed are unknown."""
    placed = []
    other, decided, cut_off, unusable = [], [], [], []
    for image in images:
        header = sizes.get(image.path)
        if header is None:
            objects = tuple(replace(each, box=None, mask=None) for each in image.objects)
            placed.append(_Placed(replace(image, objects=objects), None, 1))
            continue
        frame = frame_of(image.size, header, setting)
        if frame is None:
            other.append(f"{image.path}: {image.size} stated, {header.width} x {header.height} found")
        elif frame != setting:
            decided.append(image.path)
        turned = header.orientation if frame == "stored" else 1
        objects_placed: list[AnnotatedObject] = []
        for each in image.objects:
            box = each.box
            if box is not None:
                turned_box = upright_box(box, header.width, header.height, turned)
                box = None if frame is None else clipped(turned_box, *header.upright)
                if box is None and frame is not None:
                    unusable.append(image.path)
                elif box is not None and _differs(box, turned_box):
                    cut_off.append(image.path)
            # A mask is drawn at its image's size, which a header may claim to be anything.
            drawable = frame is not None and header.width * header.height <= max_pixels
            objects_placed.append(replace(each, box=box, mask=each.mask if drawable else None))
        placed.append(_Placed(replace(image, objects=tuple(objects_placed)), header.upright, turned))
    return placed, [
        *found("other_size", other, "images of another size than their annotation says; their boxes are not used"),
        *found(
            "box_frame", decided, f"images whose stated size shows that their boxes are not {setting}; taken as such"
        ),
        *found("clipped_box", cut_off, "boxes that lead over their image's edge; clipped"),
        *found(
            "unusable_box", unusable, "boxes that are empty, not finite or outside of their image; taken as unknown"
        ),
    ]


def _differs(box: Box, other: Box) -> bool:
    # Half a pixel over the edge is how tools round.
    return any(abs(side - whole) > 0.5 for side, whole in zip(box, other, strict=True))


@dataclass
class _Work:
    """What making rows needs, and what it found."""

    reader: ObjectReader
    root: Path
    folder: Path
    mapping: Mapping[str, str]
    stamps: Mapping[str, Stamp]
    progress: Progress
    where: str
    findings: list[Finding] = field(default_factory=list)
    votes: list[_Row] = field(default_factory=list)
    renamed: set[str] = field(default_factory=set)
    columns: set[str] = field(default_factory=set)

    def whole(self, placed: Sequence[_Placed]) -> Reading:
        """Returns one row an image."""
        rows: list[_Row] = []
        several: list[str] = []
        masks: dict[str, Callable[[], NDArray[np.uint8]]] = {}
        for each in placed:
            label, objects = self._chosen(each.image)
            if label is not None and not objects and self._torn(each.image):
                several.append(f"{each.image.path}: {', '.join(sorted(self._used(each.image)))}")
                continue
            row = self._row(each.image, objects) | {"path": each.image.path, "label": label}
            boxes = [one.box for one in objects if one.box is not None]
            if boxes and len(boxes) == len(objects):
                row |= dict(zip(BOX, hull(boxes), strict=True))
            row["mask"] = self._mask(each, objects, masks)
            # Who marked two objects of an image has given it one label.
            self._vote(row, dict.fromkeys([*each.image.votes, *(vote for one in objects for vote in one.votes)]))
            rows.append(row)
        broken = write_masks(masks, self.folder, self.progress)
        self.findings += found(
            "several_classes", several, "images with objects of several classes; not used (data.several=largest)"
        )
        return self._reading(rows, self.root, IMAGE_MASKS, broken)

    def cut(self, placed: Sequence[_Placed]) -> Reading:
        """Returns one row an object, cut out of its image."""
        cuts: list[Cut] = []
        rows: list[_Row] = []
        unused: list[str] = []
        bare, boxless, votes = [], [], []
        for each in placed:
            if not each.image.objects:
                bare.append(each.image.path)
            for one in each.image.objects:
                if one.label not in self.mapping:
                    unused.append(one.label)
                elif one.box is None or each.size is None:
                    boxless.append(each.image.path)
                else:
                    stamp = self.stamps[each.image.path]
                    cut = Cut(each.image.path, stamp, one.box, self.reader.margin, each.size, one.mask, each.turned)
                    row = self._row(each.image, [one]) | {"path": cut.name, "label": one.label, "mask": cut.mask_name}
                    row.setdefault("source", each.image.path)
                    row[CUT_FROM] = each.image.path  # by this they are never parted, whatever `source` says
                    if self.reader.margin > 0:
                        row |= dict(zip(BOX, cut.inner, strict=True))
                    cuts.append(cut)
                    rows.append(row)
                    votes.append(one.votes)
        errors, broken = cut_out(cuts, self.root, self.folder, self.reader.max_pixels, self.progress)
        kept = [i for i, cut in enumerate(cuts) if cut.path not in errors]
        for i in kept:
            self._vote(rows[i], votes[i])
        self.findings += [
            *unknown_labels(unused, sorted(set(self.mapping.values()))),
            *found("no_label", bare, "images without an object; not used"),
            *found("object_without_box", boxless, "objects whose box is not known; not cut out"),
            *found("undecodable", _reasons(errors), "images that cannot be decoded; their objects are not used"),
        ]
        broken = {str(cut.mask_name): broken[cut.name] for cut in cuts if cut.name in broken}
        return self._reading([rows[i] for i in kept], self.folder / OBJECTS, OBJECT_MASKS, broken)

    def _used(self, image: AnnotatedImage) -> set[str]:
        return {self.mapping[one.label] for one in image.objects if one.label in self.mapping}

    def _torn(self, image: AnnotatedImage) -> bool:
        return image.label is None and len(self._used(image)) > 1

    def _chosen(self, image: AnnotatedImage) -> tuple[str | None, list[AnnotatedObject]]:
        """Returns an image's label and the objects it is of; no objects where several classes are refused."""
        label = image.label
        used = [one for one in image.objects if one.label in self.mapping]
        if label is None and not used:
            # A label that is no class: the row is set aside and counted by `usable_rows`, as everywhere.
            return (_largest(image.objects).label if image.objects else None), []
        if label is None:
            if self.reader.several == "refuse" and self._torn(image):
                return used[0].label, []
            label = _largest(used).label
        name = unicodedata.normalize("NFC", label)
        return label, [one for one in used if self.mapping[one.label] == name]

    def _row(self, image: AnnotatedImage, objects: Sequence[AnnotatedObject]) -> _Row:
        """Returns the attributes of an image, and of its objects where these agree."""
        row = {self._column(name): value for name, value in image.attributes.items()} | {"split": image.split}
        for name in dict.fromkeys(name for one in objects for name in one.attributes):
            values = {one.attributes.get(name) for one in objects}
            row[self._column(name, image.attributes)] = values.pop() if len(values) == 1 else None
        return row

    def _column(self, name: str, taken: Iterable[str] = ()) -> str:
        """Returns the name of an attribute's column, which may be another where that name says something else."""
        column = f"attribute_{name}" if name in _TAKEN or not name else f"object_{name}" if name in taken else name
        if column != name:
            self.renamed.add(f"{name} -> {column}")
        if column not in self.columns:
            self.columns.add(column)
            if len(self.columns) > MOST_ATTRIBUTES:
                raise UserError(f"{self.where}: has more than {MOST_ATTRIBUTES} attributes; {shown(name)} is one more.")
        return column

    def _mask(
        self, each: _Placed, objects: Sequence[AnnotatedObject], masks: dict[str, Callable[[], NDArray[np.uint8]]]
    ) -> str | None:
        parts = [one.mask for one in objects if one.mask is not None]
        if not parts or len(parts) < len(objects) or each.size is None:
            return None
        size, turned = each.size, each.turned
        name = f"{key_of(each.image.path, *self.stamps[each.image.path], turned, *(part.key for part in parts))}.png"
        masks[name] = lambda: np.maximum.reduce([drawn(part, size, turned) for part in parts])
        return name

    def _vote(self, row: _Row, votes: Iterable[tuple[str, str]]) -> None:
        box = {name: row[name] for name in BOX if name in row}
        self.votes += [{"path": row["path"], "annotator": who, "label": label, **box} for who, label in votes]

    def _reading(self, rows: list[_Row], root: Path, masks: str, broken: Mapping[str, str]) -> Reading:
        if not rows:
            what = "object can be cut out" if self.reader.objects == "cut" else "image can be used"
            raise UserError(f"{self.where}: no {what}: {'; '.join(map(str, self.findings)) or 'it names none'}.")
        for row in rows:
            if row["mask"] in broken:
                row["mask"] = None
        columns = _schema(dict.fromkeys(name for row in rows for name in row) or ("path", "label", "split"))
        frame = pl.DataFrame(rows, schema=columns)
        unknown = [name for name in ("split", "mask") if name in frame.columns and frame[name].is_null().all()]
        votes = _schema(("path", "annotator", "label", *(name for name in BOX if name in columns)))
        self.findings += [
            *found("broken_mask", _reasons(broken), "masks that cannot be drawn; their rows are used without"),
            *found("renamed_attribute", sorted(self.renamed), "attributes named as other columns are; renamed"),
        ]
        return Reading(
            rows=frame.drop(unknown),
            root=root,
            findings=self.findings,
            annotations=pl.DataFrame(self.votes, schema=votes) if self.votes else None,
            mask_root=self.folder / masks if "mask" in frame.columns and "mask" not in unknown else None,
        )


def _schema(names: Iterable[str]) -> dict[str, type[pl.DataType]]:
    return {name: pl.Float64 if name in BOX else pl.String for name in names}


def _largest(objects: Sequence[AnnotatedObject]) -> AnnotatedObject:
    return max(objects, key=lambda one: area(one.box) if one.box else 0.0)


def _reasons(errors: Mapping[str, str]) -> list[str]:
    return [f"{name}: {why}" for name, why in sorted(errors.items())]
