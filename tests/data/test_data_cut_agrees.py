"""If these fail, objects cut out are others for having been annotated in another tool."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from annotation_documents import coco, rectangle, task, written
from PIL import Image

from annotated_files import Note, write_cvat, write_voc
from evensight.data.prepare import prepare
from evensight.data.readers.coco import CocoReader
from evensight.data.readers.cvat import CvatReader
from evensight.data.readers.label_studio import LabelStudioReader
from evensight.data.readers.voc import VocReader
from evensight.data.reading import Reader, silent
from evensight.objective.objective import Objective

SPLITS = ("train", "train", "train", "validation", "test")
SIZE = (12, 10)


@pytest.fixture
def notes(write_png, tmp_path) -> list[Note]:
    """Twenty lossless images in ``root``, and what is known of the object in each."""
    made = []
    for number in range(20):
        write_png(tmp_path / "root" / f"{number}.png", number, width=SIZE[0], height=SIZE[1])
        box = (number % 4, 1, number % 4 + 5, 9)
        camera = {"camera": "xyz"[number % 3]}
        made.append(Note(f"{number}.png", ("cat", "dog")[number % 2], SPLITS[number // 4], camera, box, SIZE))
    return made


def voc(root: Path, notes: list[Note]) -> Reader:
    write_voc(root, notes)
    shutil.copytree(root, root / "JPEGImages", ignore=shutil.ignore_patterns("[!0-9]*"))
    return VocReader(name="voc", root=str(root))


def cvat(root: Path, notes: list[Note]) -> Reader:
    write_cvat(root / "annotations.xml", notes)
    return CvatReader(name="cvat", annotations=str(root / "annotations.xml"))


def beside(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Corner, width and height, as COCO and Label Studio write boxes."""
    return box[0], box[1], box[2] - box[0], box[3] - box[1]


def cocos(root: Path, notes: list[Note]) -> Reader:
    ids = {"cat": 10, "dog": 20}
    images, objects = [], []
    for number, note in enumerate(notes):
        stated = {"file_name": note.path, "width": SIZE[0], "height": SIZE[1], "split": note.split}
        images.append({"id": 7 * number, **stated})
        more = {"bbox": list(beside(note.box))}
        label = {"category_id": ids[note.label], "attributes": dict(note.attributes)}
        objects.append({"id": number, "image_id": 7 * number, **label, **more})
    return CocoReader(name="coco", root=str(root), annotations=written(root / "coco.json", coco(images, objects)))


def label_studio(root: Path, notes: list[Note]) -> Reader:
    tasks = []
    for number, note in enumerate(notes):
        share = [100 * side / SIZE[place % 2] for place, side in enumerate(beside(note.box))]
        result = rectangle(note.label, *share, size=SIZE)
        tasks.append(task(note.path, (1, [result]), data={"split": note.split, **note.attributes}, id=number))
    file = written(root / "tasks.json", tasks)
    return LabelStudioReader(name="label_studio", root=str(root), annotations=file, image_key="image")


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_objects_cut_out_have_the_same_digest_in_every_format(notes, tmp_path, make_objective, margin):
    objective = make_objective(classes=["cat", "dog"], attributes={"camera": {"levels": "from_data"}})
    digests = {}
    for write in (voc, cvat, cocos, label_studio):
        root = tmp_path / write.__name__
        shutil.copytree(tmp_path / "root", root)
        reader = write(root, notes)
        reader.objects, reader.margin = "cut", margin
        manifest = prepare(reader, objective, tmp_path / "sets", silent)[0]
        assert len(manifest.frame) == len(notes) and set(manifest.frame["error"]) == {None}
        digests[write.__name__] = manifest.digests.content
    assert len(set(digests.values())) == 1, digests


def test_objects_of_one_image_stay_in_one_split(tmp_path: Path) -> None:
    """Two objects of each of 40 photographs: what shows one photograph is never in two splits."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(40):
        pixels = rng.integers(0, 256, (40, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 80, "height": 40})
        for part in range(2):
            box = [40 * part, 0, 40, 40]
            annotations.append({"id": 2 * number + part, "image_id": number, "category_id": part, "bbox": box})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8")
    reader = CocoReader(name="c", root=str(tmp_path), annotations=str(tmp_path / "a.json"), objects="cut", margin=0.0)
    stated = {
        "name": "o",
        "purpose": "p",
        "classes": ["a", "b"],
        "requirements": [{"metric": "accuracy", "bound": 0.5}],
    }
    manifest, _ = prepare(reader, Objective.from_config(stated), tmp_path / "datasets", silent)
    origins = pl.read_parquet(manifest.folder / "tables" / "origins.parquet")
    joined = manifest.frame.join(origins, on="row_id")
    assert len(joined) == 80
    assert joined.group_by("cut_from").agg(pl.col("split").n_unique())["split"].to_list() == [1] * 40
    assert set(joined["split"]) == {"train", "validation", "test"}
