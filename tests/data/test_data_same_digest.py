"""If these fail, the same images are another data set because somebody annotated them with another tool.

How each format says the split: folders and patterns by a folder; tables and imagefolder's metadata by a column; arrays
and COCO by a file a split; VOC by lists in ImageSets; Label Studio by the key ``split`` of a task's data; CVAT by an
image's subset. The attribute is `pose`, since VOC's objects have no other of free text; folders have none.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from PIL import Image

from evensight.data.manifest import Manifest
from evensight.data.prepare import prepare
from evensight.data.readers.arrays import ArraysReader
from evensight.data.readers.coco import CocoReader
from evensight.data.readers.cvat import CvatReader
from evensight.data.readers.folder import FolderReader
from evensight.data.readers.imagefolder import ImageFolderReader
from evensight.data.readers.label_studio import LabelStudioReader
from evensight.data.readers.pattern import PatternReader
from evensight.data.readers.table import TableReader
from evensight.data.readers.voc import VocReader
from evensight.data.reading import Reader, silent
from evensight.objective.objective import Objective

WIDTH, HEIGHT = 64, 32
SPLITS = ("train", "validation", "test")


class Row(NamedTuple):
    name: str
    label: str
    split: str
    pose: str | None
    box: tuple[float, float, float, float] | None
    pixels: np.ndarray


def rows_of(boxes: bool) -> list[Row]:
    rows = []
    for number in range(24):
        pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        pose = (None, "Left", "Right", "Left")[number % 4]
        # Eighths of the sides, which percentages hold exactly.
        box = (8.0 * (number % 3), 4.0 * (number % 4), 32.0 + 8 * (number % 2), 24.0)
        split = SPLITS[number // 2 % 3]
        rows.append(Row(f"{number}.png", ("cat", "dog")[number % 2], split, pose, box if boxes else None, pixels))
    return rows


def saved(rows: list[Row], at: Path, path: Callable[[Row], str] = lambda row: row.name) -> None:
    for row in rows:
        (at / path(row)).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(row.pixels).save(at / path(row))


def folder(rows: list[Row], at: Path) -> Reader:
    saved(rows, at, lambda row: f"{row.split}/{row.label}/{row.name}")
    return FolderReader(root=str(at))


def pattern(rows: list[Row], at: Path) -> Reader:
    saved(rows, at, lambda row: f"{row.split}/{row.label}-{row.pose or ''}-{row.name}")
    return PatternReader(root=str(at), pattern=r"(?P<split>\w+)/(?P<label>\w+)-(?P<pose>\w*)-\d+\.png")


def frame(rows: list[Row]) -> pl.DataFrame:
    columns = {
        "path": [row.name for row in rows],
        **{key: [getattr(row, key) for row in rows] for key in ("label", "split")},
    }
    columns["pose"] = [row.pose for row in rows]
    if rows[0].box is not None:
        sides = ("box_x0", "box_y0", "box_x1", "box_y1")
        columns |= {name: [row.box[side] for row in rows] for side, name in enumerate(sides)}
    return pl.DataFrame(columns)


def table(ending: str) -> Callable[[list[Row], Path], Reader]:
    def make(rows: list[Row], at: Path) -> Reader:
        saved(rows, at)
        writes = {"csv": frame(rows).write_csv, "jsonl": frame(rows).write_ndjson, "parquet": frame(rows).write_parquet}
        writes[ending](at / f"t.{ending}")
        return TableReader(table=str(at / f"t.{ending}"))

    return make


def imagefolder(rows: list[Row], at: Path) -> Reader:
    saved(rows, at, lambda row: f"images/{row.name}")
    frame(rows).rename({"path": "file_name"}).write_csv(at / "images" / "metadata.csv")
    return ImageFolderReader(root=str(at))


def arrays(rows: list[Row], at: Path) -> Reader:
    for split in SPLITS:
        held = [row for row in rows if row.split == split]
        poses = np.array([row.pose or "" for row in held])
        labels = np.array([row.label for row in held])
        np.savez(at / f"{split}.npz", images=np.stack([row.pixels for row in held]), labels=labels, pose=poses)
    return ArraysReader(root=str(at), files={split: f"{split}.npz" for split in SPLITS}, attributes={"pose": "pose"})


def coco(rows: list[Row], at: Path) -> Reader:
    saved(rows, at)
    for split in SPLITS:
        images, annotations = [], []
        for number, row in enumerate(row for row in rows if row.split == split):
            images.append({"id": number, "file_name": row.name, "width": WIDTH, "height": HEIGHT})
            said: dict[str, Any] = {
                "id": number,
                "image_id": number,
                "category_id": 3 - ["cat", "dog"].index(row.label),
            }
            if row.box is not None:
                x0, y0, x1, y1 = row.box
                said["bbox"] = [x0, y0, x1 - x0, y1 - y0]
            annotations.append({**said, "attributes": {"pose": row.pose}})
        categories = [{"id": 2, "name": "dog"}, {"id": 3, "name": "cat"}]
        document = {"images": images, "annotations": annotations, "categories": categories}
        (at / f"{split}.json").write_text(json.dumps(document))
    return CocoReader(root=str(at), annotations={split: str(at / f"{split}.json") for split in SPLITS})


def label_studio(rows: list[Row], at: Path) -> Reader:
    saved(rows, at / "photos")
    tasks = []
    for row in rows:
        said: dict[str, Any] = {"from_name": "kind", "type": "choices", "value": {"choices": [row.label]}}
        if row.box is not None:
            x0, y0, x1, y1 = row.box
            place = {"x": 100 * x0 / WIDTH, "y": 100 * y0 / HEIGHT}
            place |= {"width": 100 * (x1 - x0) / WIDTH, "height": 100 * (y1 - y0) / HEIGHT, "rotation": 0}
            said |= {"type": "rectanglelabels", "value": {**place, "rectanglelabels": [row.label]}}
            said |= {"original_width": WIDTH, "original_height": HEIGHT}
        data = {"image": f"/data/local-files/?d=photos/{row.name}", "split": row.split, "pose": row.pose}
        tasks.append({"data": data, "annotations": [{"completed_by": 1, "result": [said]}]})
    (at / "export.json").write_text(json.dumps(tasks))
    return LabelStudioReader(root=str(at), annotations=str(at / "export.json"))


def voc(rows: list[Row], at: Path) -> Reader:
    saved(rows, at / "JPEGImages")
    for name in ("Annotations", "ImageSets/Main"):
        (at / name).mkdir(parents=True)
    for row in rows:
        bounds = ""
        if row.box is not None:
            x0, y0, x1, y1 = row.box
            sides = {"xmin": x0 + 1, "ymin": y0 + 1, "xmax": x1, "ymax": y1}
            bounds = "<bndbox>" + "".join(f"<{name}>{side:g}</{name}>" for name, side in sides.items()) + "</bndbox>"
        pose = f"<pose>{row.pose}</pose>" if row.pose else ""
        size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
        said = f"<object><name>{row.label}</name>{pose}{bounds}</object>"
        (at / "Annotations" / f"{row.name[:-4]}.xml").write_text(
            f"<annotation><filename>{row.name}</filename>{size}{said}</annotation>"
        )
    for split, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        held = [row.name[:-4] for row in rows if row.split == split]
        (at / "ImageSets" / "Main" / f"{name}.txt").write_text("\n".join(held) + "\n")
    return VocReader(root=str(at))


def cvat(rows: list[Row], at: Path) -> Reader:
    saved(rows, at / "images")
    parts = []
    for number, row in enumerate(rows):
        pose = f'<attribute name="pose">{row.pose or ""}</attribute>'
        said = f'<tag label="{row.label}">{pose}</tag>'
        if row.box is not None:
            sides = " ".join(
                f'{name}="{side}"' for name, side in zip(("xtl", "ytl", "xbr", "ybr"), row.box, strict=True)
            )
            said = f'<box label="{row.label}" {sides}>{pose}</box>'
        subset = {"train": "Train", "validation": "Validation", "test": "Test"}[row.split]
        head = f'id="{number}" name="{row.name}" subset="{subset}" width="{WIDTH}" height="{HEIGHT}"'
        parts.append(f"<image {head}>{said}</image>")
    (at / "annotations.xml").write_text(f"<annotations><version>1.1</version>{''.join(parts)}</annotations>")
    return CvatReader(annotations=str(at / "annotations.xml"))


FORMATS: dict[str, Callable[[list[Row], Path], Reader]] = {
    "csv": table("csv"),
    "jsonl": table("jsonl"),
    "parquet": table("parquet"),
    "folder": folder,
    "pattern": pattern,
    "arrays": arrays,
    "imagefolder": imagefolder,
    "coco": coco,
    "label_studio": label_studio,
    "voc": voc,
    "cvat": cvat,
}
WITH_ATTRIBUTE = sorted(set(FORMATS) - {"folder"})
WITH_BOXES = ("csv", "jsonl", "parquet", "imagefolder", "coco", "label_studio", "voc", "cvat")


def prepared(name: str, at: Path, attribute: bool, rows: list[Row]) -> Manifest:
    place = at / name
    place.mkdir()
    reader = FORMATS[name](rows, place)
    reader.name = name
    attributes = {"pose": {"levels": ["Left", "Right"]}} if attribute else {}
    objective = Objective.from_config({"name": "o", "purpose": "p", "attributes": attributes})
    return prepare(reader, objective, at / "datasets", silent)[0]


def digests(manifest: Manifest) -> tuple[str, str]:
    return manifest.digests.content, manifest.digests.test


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool, bool], tuple[str, str]]:
    """The digests of the table, which says all of it outright; and that it says it."""
    known: dict[tuple[bool, bool], tuple[str, str]] = {}

    def of(attribute: bool, boxes: bool) -> tuple[str, str]:
        if (attribute, boxes) not in known:
            rows = rows_of(boxes)
            manifest = prepared("csv", tmp_path_factory.mktemp("expected"), attribute, rows)
            columns = ["label", "split", *(["pose"] if attribute else [])]
            said = sorted(manifest.frame.select("path", *columns).iter_rows())
            assert said == sorted((row.name, *(getattr(row, name) for name in columns)) for row in rows)
            known[attribute, boxes] = digests(manifest)
        return known[attribute, boxes]

    return of


@pytest.mark.parametrize("name", WITH_ATTRIBUTE)
def test_images_labels_splits_and_an_attribute(name: str, expected: Callable[..., object], tmp_path: Path) -> None:
    assert digests(prepared(name, tmp_path, True, rows_of(False))) == expected(True, False)


@pytest.mark.parametrize("name", FORMATS)
def test_images_labels_and_splits(name: str, expected: Callable[..., object], tmp_path: Path) -> None:
    assert digests(prepared(name, tmp_path, False, rows_of(False))) == expected(False, False)


@pytest.mark.parametrize("name", WITH_BOXES)
def test_boxes_too(name: str, expected: Callable[..., object], tmp_path: Path) -> None:
    assert digests(prepared(name, tmp_path, True, rows_of(True))) == expected(True, True)


def test_what_is_said_of_an_image_is_in_the_digest(expected: Callable[..., object], tmp_path: Path) -> None:
    rows = rows_of(True)
    changes = (
        {"label": "dog"},
        {"split": "test"},
        {"pose": "Right"},
        {"box": (0.0, 0.0, 8.0, 9.0)},
        {"pixels": rows[1].pixels},
    )
    for number, change in enumerate(changes):
        (tmp_path / str(number)).mkdir()
        changed = [rows[0]._replace(**change), *rows[1:]]
        assert digests(prepared("coco", tmp_path / str(number), True, changed))[0] != expected(True, True)[0]
