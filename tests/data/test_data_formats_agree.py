"""If these fail, a data set is another one for having been written down by another tool."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from annotation_documents import choice, coco, rectangle, task, written

from annotated_files import Note, write_cvat, write_imagefolder, write_voc
from evensight.data.digests import BOX
from evensight.data.prepare import prepare
from evensight.data.readers.coco import CocoReader
from evensight.data.readers.cvat import CvatReader
from evensight.data.readers.folder import FolderReader
from evensight.data.readers.imagefolder import ImageFolderReader
from evensight.data.readers.label_studio import LabelStudioReader
from evensight.data.readers.table import TableReader
from evensight.data.readers.voc import VocReader
from evensight.data.reading import Reader, silent

SPLITS = ("train", "train", "train", "validation", "test")
SIZE = (12, 10)


@pytest.fixture
def notes(write_png, tmp_path) -> Callable[..., list[Note]]:
    """Twenty lossless images in ``root``, and what is known of them."""

    def make(attributes: bool = False, boxes: bool = False) -> list[Note]:
        made = []
        for number in range(20):
            write_png(tmp_path / "root" / f"{number}.png", number, width=SIZE[0], height=SIZE[1])
            camera = {"camera": "xyz"[number % 3]} if attributes else {}
            box = (number % 4, 1, number % 4 + 5, 9) if boxes else None
            made.append(Note(f"{number}.png", ("cat", "dog")[number % 2], SPLITS[number // 4], camera, box, SIZE))
        return made

    return make


def table(root: Path, notes: list[Note]) -> Reader:
    rows = [
        {"path": note.path, "label": note.label, "split": note.split, **note.attributes}
        | (dict(zip(BOX, note.box, strict=True)) if note.box else {})
        for note in notes
    ]
    pl.DataFrame(rows).write_csv(root / "rows.csv")
    return TableReader(name="table", table=str(root / "rows.csv"))


def folder(root: Path, notes: list[Note]) -> Reader:
    for note in notes:
        place = root / "folders" / str(note.split) / note.label
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / note.path, place)
    return FolderReader(name="folder", root=str(root / "folders"))


def imagefolder(root: Path, notes: list[Note]) -> Reader:
    write_imagefolder(root / "metadata.jsonl", notes)
    return ImageFolderReader(name="imagefolder", root=str(root))


def voc(root: Path, notes: list[Note]) -> Reader:
    write_voc(root, notes)
    shutil.copytree(root, root / "JPEGImages", ignore=shutil.ignore_patterns("[!0-9]*"))
    return VocReader(name="voc", root=str(root))


def cvat(root: Path, notes: list[Note]) -> Reader:
    write_cvat(root / "annotations.xml", notes)
    return CvatReader(name="cvat", file=str(root / "annotations.xml"))


def beside(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Corner, width and height, as COCO and Label Studio write boxes."""
    return box[0], box[1], box[2] - box[0], box[3] - box[1]


def cocos(root: Path, notes: list[Note]) -> Reader:
    ids = {"cat": 10, "dog": 20}
    images, objects = [], []
    for number, note in enumerate(notes):
        stated = {"file_name": note.path, "width": SIZE[0], "height": SIZE[1], "split": note.split}
        images.append({"id": 7 * number, **stated})
        more = {"bbox": list(beside(note.box))} if note.box else {}
        label = {"category_id": ids[note.label], "attributes": dict(note.attributes)}
        objects.append({"id": number, "image_id": 7 * number, **label, **more})
    return CocoReader(name="coco", root=str(root), annotations=written(root / "coco.json", coco(images, objects)))


def label_studio(root: Path, notes: list[Note]) -> Reader:
    tasks = []
    for number, note in enumerate(notes):
        result = choice(note.label)
        if note.box is not None:
            share = [100 * side / SIZE[place % 2] for place, side in enumerate(beside(note.box))]
            result = rectangle(note.label, *share, size=SIZE)
        tasks.append(task(note.path, (1, [result]), data={"split": note.split, **note.attributes}, id=number))
    file = written(root / "tasks.json", tasks)
    return LabelStudioReader(name="label_studio", root=str(root), annotations=file, image_key="image")


PLAIN = (table, folder, imagefolder, voc, cvat, cocos, label_studio)


@pytest.mark.parametrize(
    ("formats", "kept"),
    [
        (PLAIN, {}),
        ((table, imagefolder, voc, cvat, cocos, label_studio), {"attributes": True}),
        ((table, voc, cvat, cocos, label_studio), {"attributes": True, "boxes": True}),
    ],
)
def test_the_same_images_have_the_same_digest_in_every_format(notes, tmp_path, make_objective, formats, kept):
    given = notes(**kept)
    attributes = {"camera": {"levels": "from_data"}} if "attributes" in kept else {}
    objective = make_objective(classes=["cat", "dog"], attributes=attributes)
    manifests = {}
    for write in formats:
        root = tmp_path / write.__name__
        shutil.copytree(tmp_path / "root", root)
        manifests[write.__name__] = prepare(write(root, given), objective, tmp_path / "sets", silent)[0]
    digests = {(manifest.digests.content, manifest.digests.test) for manifest in manifests.values()}
    assert len(digests) == 1, {name: manifest.digests.content[:8] for name, manifest in manifests.items()}
    boxes = {name: manifest.frame.select(BOX).rows() for name, manifest in manifests.items() if "boxes" in kept}
    assert all(sorted(rows) == sorted(note.box for note in given) for rows in boxes.values())


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_objects_cut_out_have_the_same_digest_in_every_format(notes, tmp_path, make_objective, margin):
    given = notes(attributes=True, boxes=True)
    objective = make_objective(classes=["cat", "dog"], attributes={"camera": {"levels": "from_data"}})
    digests = {}
    for write in (voc, cvat, cocos, label_studio):
        root = tmp_path / write.__name__
        shutil.copytree(tmp_path / "root", root)
        reader = write(root, given)
        reader.objects, reader.margin = "cut", margin
        manifest = prepare(reader, objective, tmp_path / "sets", silent)[0]
        assert len(manifest.frame) == len(given) and set(manifest.frame["error"]) == {None}
        digests[write.__name__] = manifest.digests.content
    assert len(set(digests.values())) == 1, digests
