"""The review task: what Label Studio and a spreadsheet read is what was doubted."""

from __future__ import annotations

import base64
import csv
import io
import json
import urllib.parse
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evensight.audit.review import COLUMNS, Doubt, write_review
from evensight.data.readers.label_studio import LabelStudioReader
from evensight.objective.objective import Objective
from evensight.progress import silent

CLASSES = ("cat", 'dog "small" & <wet>', "Füchsin")
PATHS = ["train/a b&c#1?.png", "x/ü.png"]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    doubts = [
        Doubt(1, "r-1", PATHS[0], "train", CLASSES[0], CLASSES[1], 0.125, True),
        Doubt(2, "r-2", PATHS[1], "validation", CLASSES[1], CLASSES[2], 0.25, True),
        Doubt(3, "r-3", "images.npy#7", "train", CLASSES[2], CLASSES[0], np.float64(1 / 3), False, pixels),
    ]
    write_review(tmp_path / "review", doubts, CLASSES)
    return tmp_path / "review"


def test_tasks(written: Path) -> None:
    tasks = json.loads((written / "label_studio.json").read_bytes())
    assert [task["data"]["row_id"] for task in tasks] == ["r-1", "r-2", "r-3"]
    assert [task["data"]["given"] for task in tasks] == list(CLASSES)
    for task, suggested, quality in zip(tasks, (CLASSES[1], CLASSES[2], CLASSES[0]), (0.125, 0.25, 1 / 3), strict=True):
        (prediction,) = task["predictions"]
        assert prediction["result"][0]["value"] == {"choices": [suggested]}
        assert prediction["score"] == pytest.approx(1 - quality, abs=1e-6)
        assert task["data"]["suggested"] == suggested
    served = [urllib.parse.parse_qs(urllib.parse.urlsplit(task["data"]["image"]).query) for task in tasks[:2]]
    assert served == [{"d": [PATHS[0]]}, {"d": [PATHS[1]]}]


def test_images_of_arrays_travel_in_the_task(written: Path) -> None:
    kind, _, content = json.loads((written / "label_studio.json").read_bytes())[2]["data"]["image"].partition(",")
    assert kind == "data:image/png;base64"
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert np.array_equal(shown, np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8))


def test_the_interface_offers_the_classes_and_fits_the_predictions(written: Path) -> None:
    view = ElementTree.fromstring((written / "label_config.xml").read_text(encoding="utf-8"))
    choices = view.find("Choices")
    assert [choice.get("value") for choice in choices] == list(CLASSES)
    result = json.loads((written / "label_studio.json").read_bytes())[0]["predictions"][0]["result"][0]
    assert (choices.get("name"), choices.get("toName")) == (result["from_name"], result["to_name"])
    assert view.find("Image").get("name") == result["to_name"]


def test_the_table(written: Path) -> None:
    with (written / "review.csv").open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == list(COLUMNS)
    assert [line["path"] for line in lines] == [*PATHS, "images.npy#7"]
    assert [line["suggested"] for line in lines] == [CLASSES[1], CLASSES[2], CLASSES[0]]
    assert [float(line["quality"]) for line in lines] == pytest.approx([0.125, 0.25, 1 / 3], abs=1e-6)
    assert [line["is_issue"] for line in lines] == ["True", "True", "False"]


def test_the_answers_come_back_as_a_data_set(written: Path, tmp_path: Path) -> None:
    """Answered in Label Studio and exported, the task is read by our own reader: same file, the corrected label."""
    tasks = json.loads((written / "label_studio.json").read_bytes())[:2]
    for number, (task, path) in enumerate(zip(tasks, PATHS, strict=True)):
        (tmp_path / "images" / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (number, 0, 0)).save(tmp_path / "images" / path)
        task["annotations"] = [{"completed_by": 1, "result": task["predictions"][0]["result"]}]
    (tmp_path / "export.json").write_text(json.dumps(tasks), encoding="utf-8")
    reader = LabelStudioReader(root=str(tmp_path / "images"), annotations=str(tmp_path / "export.json"), name="r")
    objective = Objective.from_config({"name": "o", "purpose": "p", "classes": list(CLASSES)})
    reading = reader.read(tmp_path / "out", objective.classes, silent)
    rows = {row["path"]: (row["label"], row["split"]) for row in reading.rows.iter_rows(named=True)}
    assert rows == {PATHS[0]: (CLASSES[1], "train"), PATHS[1]: (CLASSES[2], "validation")}


def test_nothing_in_doubt_is_an_empty_task(tmp_path: Path) -> None:
    write_review(tmp_path, [], CLASSES)
    assert json.loads((tmp_path / "label_studio.json").read_bytes()) == []
    assert (tmp_path / "review.csv").read_text(encoding="utf-8-sig").strip() == ",".join(COLUMNS)
