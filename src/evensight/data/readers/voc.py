"""Pascal VOC: one XML file an image in ``Annotations``, photographs in ``JPEGImages``, splits in ``ImageSets/Main``."""

from __future__ import annotations

import posixpath
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import MISSING

from evensight.data.annotations.assemble import assemble
from evensight.data.annotations.bounded import read_bytes, read_xml
from evensight.data.annotations.objects import AnnotatedImage, AnnotatedObject, ObjectReader
from evensight.data.annotations.paths import joined
from evensight.data.annotations.stored_masks import indexed_mask
from evensight.data.annotations.voc_xml import VocImage, parse
from evensight.data.findings import Finding, found
from evensight.data.places import Places, Stamp
from evensight.data.readers.listing import is_image, listed
from evensight.data.reading import Progress, Reading, existing_root
from evensight.errors import UserError, shown, unknown

DIFFICULT = ("keep", "leave_out")
# Names of the lists in ImageSets/Main -> split; trainval counts only for what is in neither of its parts.
_LISTS = {"train": "train", "val": "validation", "test": "test", "trainval": "train"}
_MOST_BYTES = 2**24  # of one image's XML: a hundred times the largest of VOC2012
_MOST_LIST_BYTES = 2**28
_MASKS = "SegmentationObject"

_NOTES = {
    "object_without_label": "objects without a name; not used",
    "difficult_object": "objects marked as difficult; left out, as data.difficult says",
    "zero_based_box": "boxes that begin at 0, where VOC begins at 1: where all do, say data.one_based=false",
}


@dataclass
class VocReader(ObjectReader):
    """Reads a folder as the VOC challenges laid it out."""

    reader: str = "voc"  # a name of names.READERS
    root: str = MISSING  # the folder that holds Annotations and JPEGImages, as in VOCdevkit/VOC2012
    annotations: str = "Annotations"  # folder of the XML files, below root
    images: str = "JPEGImages"  # folder of the images, below root
    sets: str = "ImageSets/Main"  # folder of train.txt, val.txt, trainval.txt, test.txt, below root; need not be there
    difficult: str = "keep"  # objects marked as difficult: keep, or leave_out
    one_based: bool = True  # the first pixel is 1 and boxes hold their last, as in VOC; false: edges from 0 (labelImg)
    masks: bool = True  # take masks from SegmentationObject where it is there

    def check(self) -> None:
        """Raises UserError where a setting cannot be right."""
        super().check()
        if self.difficult not in DIFFICULT:
            raise unknown("data.difficult", self.difficult, DIFFICULT)

    def read(self, folder: Path, classes: tuple[str, ...] | None, progress: Progress) -> Reading:
        """Reads every annotation; see `Reader.read`."""
        self.check()
        root = existing_root(self.root)
        places = Places(root)
        names, findings = _inside(places, _files(places, root, self.annotations, "data.annotations"))
        names = [name for name in names if name.lower().endswith(".xml")]
        if not names:
            raise UserError(
                f"{root / self.annotations}: holds no .xml file; name the folder that does, data.annotations=."
            )
        pictures = _Pictures(self.images, _files(places, root, self.images, "data.images"))
        splits, more = _splits(places, root, self.sets, [_stem(name) for name in names])
        findings += more
        images: list[AnnotatedImage] = []
        notes: dict[str, list[str]] = {code: [] for code in _NOTES}
        for name, parsed in _parsed(root, names, self.one_based, progress):
            stem = _stem(name)
            if stem in splits.several:
                continue
            path = pictures.of(posixpath.relpath(name, self.annotations), parsed.file)
            objects = tuple(self._objects(parsed, path, stem, places, root, notes))
            images.append(AnnotatedImage(path, None, splits.of.get(stem), parsed.size, parsed.attributes, objects))
        for code, message in _NOTES.items():
            findings += found(code, notes[code], message)
        beside = [self.images] if self.images not in ("", ".") else []
        reading = assemble(images, self, root, folder, classes, progress, str(root / self.annotations), beside)
        return replace(reading, findings=[*findings, *reading.findings])

    def _objects(
        self, image: VocImage, path: str, stem: str, places: Places, root: Path, notes: Mapping[str, list[str]]
    ) -> Iterable[AnnotatedObject]:
        segmented = f"{_MASKS}/{stem}.png"
        stamp = places.stamp(segmented, images=False) if self.masks and places.inside(segmented) else ""
        for each in image.objects:
            if each.label is None:
                notes["object_without_label"].append(path)
            elif self.difficult == "leave_out" and each.attributes.get("difficult") == "1":
                notes["difficult_object"].append(path)
            else:
                if each.from_zero:
                    notes["zero_based_box"].append(path)
                mask = None
                if isinstance(stamp, Stamp):
                    mask = indexed_mask(root / segmented, segmented, stamp, each.number, self.max_pixels)
                yield AnnotatedObject(each.label, each.box, each.attributes, mask)


class _Pictures:
    """Finds the image that an annotation is of, by the name it says, in the folder that mirrors the annotation's."""

    def __init__(self, folder: str, paths: Iterable[str]) -> None:
        self._folder = folder
        self._paths = {path for path in paths if is_image(posixpath.basename(path))}
        self._by_stem = {posixpath.splitext(path)[0]: path for path in sorted(self._paths, reverse=True)}

    def of(self, annotation: str, stated: str | None) -> str:
        """Returns a path relative to the root, which need not be there and is not to be trusted.

        Args:
            annotation: The XML file, relative to the folder of annotations.
            stated: The ``filename`` in it; the first challenges left out its ending, and some tools all of it.
        """
        name = stated or _stem(annotation)
        mirrored = posixpath.join(self._folder, posixpath.dirname(annotation))
        wanted = [joined(mirrored, name), joined(self._folder, name)]
        for path in map(posixpath.normpath, wanted):
            if path in self._paths:
                return path
            if path in self._by_stem and not is_image(name):
                return self._by_stem[path]
        return wanted[-1]


@dataclass(frozen=True)
class _Splits:
    """The split of each annotation by its name without ending, and those that are in several."""

    of: Mapping[str, str]
    several: frozenset[str]


def _splits(places: Places, root: Path, folder: str, stems: Iterable[str]) -> tuple[_Splits, list[Finding]]:
    names = {f"{posixpath.normpath(posixpath.join(folder, name))}.txt": split for name, split in _LISTS.items()}
    of: dict[str, str] = {}
    several: set[str] = set()
    known = set(stems)
    there = False
    for name, split in names.items():
        if not places.inside(name):
            raise UserError(f"data.sets: {shown(name)} leads out of the data's folder, {root}.")
        if isinstance(places.stamp(name, images=False), str):
            continue
        there = True
        for stem in _listed_stems(root / name, known):
            if name.endswith("/trainval.txt"):
                of.setdefault(stem, split)
            elif of.setdefault(stem, split) != split:
                several.add(stem)
    return _Splits(of, frozenset(several)), [
        *found("several_splits", sorted(several), "names that are in the lists of several splits; not used"),
        *found("listed_without_annotation", sorted(set(of) - known), "names in the lists that have no annotation"),
        *(
            found("unlisted", sorted(known - set(of)), "annotations in no list; placed as without a split")
            if there
            else []
        ),
    ]


def _listed_stems(path: Path, known: Container[str]) -> Iterable[str]:
    try:
        text = read_bytes(path, _MOST_LIST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no UTF-8 text (byte 0x{error.object[error.start]:02x}).") from error
    for line in text.splitlines():
        name = line.strip()
        # The lists of one class say after each name whether the class is in the image: 1, -1, or 0 for difficult.
        first, _, sign = name.rpartition(" ")
        if name:
            yield first.strip() if first and sign in ("1", "-1", "0") and name not in known else name


def _files(places: Places, root: Path, folder: str, key: str) -> list[str]:
    """Lists a folder below the root, at any depth, without leaving the root."""
    if not places.inside(posixpath.join(folder, "x")):
        raise UserError(f"{key}: {shown(folder)} leads out of the data's folder, {root}.")
    if not (root / folder).is_dir():
        raise UserError(f"{key}: {root / folder} is no folder; name the one below data.root, {key}=<folder>.")
    listing = listed(root, folder)
    return sorted(listing.images + [name for name in listing.others if not name.endswith("/")])


def _inside(places: Places, names: Iterable[str]) -> tuple[list[str], list[Finding]]:
    names = list(names)
    outside = [name for name in names if not places.inside(name)]
    message = "annotation files that are links out of the data's folder; not opened"
    return [name for name in names if places.inside(name)], found("outside_root", outside, message)


def _parsed(root: Path, names: list[str], one_based: bool, progress: Progress) -> Iterable[tuple[str, VocImage]]:
    """Parses every file, and refuses the data set only then: whoever has to mend ten files is told of all ten."""
    errors: list[UserError] = []
    for number, name in enumerate(names, start=1):
        try:
            yield name, parse(read_xml(root / name, _MOST_BYTES), str(root / name), one_based)
        except UserError as error:
            errors.append(error)
        if number % 256 == 0 or number == len(names):
            progress("reading annotations", number, len(names))
    if errors:
        if len(errors) == 1:
            raise errors[0]
        raise UserError(f"{str(errors[0]).rstrip('.')}; {len(errors) - 1:,} more files cannot be used either.")


def _stem(path: str) -> str:
    return posixpath.splitext(posixpath.basename(path))[0]
