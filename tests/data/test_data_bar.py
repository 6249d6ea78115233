"""Biased Action Recognition: rows from file names and metadata, nothing dropped in silence."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from evensight.data.datasets import roots
from evensight.data.datasets.bar import BarReader
from evensight.data.reading import silent
from evensight.errors import UserError


@pytest.fixture
def bar(tmp_path):
    root = tmp_path / "bar"
    names = ["train/climbing_0", "train/pole vaulting_12", "test/climbing_3", "test/fishing_1"]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(root / f"{name}.jpg")
    sources = ["google", "imSitu", "flickr", "stanford"]
    metadata = {
        Path(name).name: {"source": source, "train": name.startswith("train")}
        for name, source in zip(names, sources, strict=True)
    }
    (root / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    return root


def read(root, tmp_path):
    return BarReader(root=str(root)).read(tmp_path / "out", None, silent)


def test_rows(bar, tmp_path):
    reading = read(bar, tmp_path)
    assert reading.root == bar.resolve()
    assert reading.usual == {}
    assert reading.findings == []
    assert sorted(reading.rows.rows()) == [
        ("test/climbing_3.jpg", "test", "climbing", "flickr"),
        ("test/fishing_1.jpg", "test", "fishing", "stanford"),
        ("train/climbing_0.jpg", "train", "climbing", "google"),
        ("train/pole vaulting_12.jpg", "train", "pole vaulting", "imSitu"),
    ]


def test_the_folder_that_holds_bar_will_do(bar, tmp_path):
    assert read(bar.parent, tmp_path).rows.height == 4


def test_photographs_and_metadata_that_do_not_meet_are_reported(bar, tmp_path):
    metadata = json.loads((bar / "metadata.json").read_text())
    del metadata["fishing_1"]
    metadata["racing_9"] = {"source": "google", "train": False}
    (bar / "metadata.json").write_text(json.dumps(metadata))
    (bar / "train" / "notes.txt").write_text("x")
    reading = read(bar, tmp_path)
    rows = {row[0]: row for row in reading.rows.rows()}
    assert rows["test/fishing_1.jpg"][3] is None
    assert rows["test/racing_9.jpg"] == ("test/racing_9.jpg", "test", "racing", "google")  # found missing by `prepare`
    assert {finding.code: finding.count for finding in reading.findings} == {"no_metadata": 1, "other_files": 1}


def test_what_is_wrong_is_named(bar, tmp_path, monkeypatch):
    (bar / "metadata.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"metadata\.json"):
        read(bar, tmp_path)
    (bar / "metadata.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(UserError, match=r"metadata\.json"):
        read(bar, tmp_path)
    (bar / "metadata.json").unlink()
    with pytest.raises(UserError, match=r"no metadata\.json"):
        read(bar, tmp_path)
    monkeypatch.delenv("EVENSIGHT_DATA", raising=False)
    monkeypatch.setattr(roots, "_BESIDE", tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"data\.root is not set.*EVENSIGHT_DATA"):
        BarReader().read(tmp_path / "out", None, silent)
    monkeypatch.setenv("EVENSIGHT_DATA", str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"EVENSIGHT_DATA: .* does not exist"):
        BarReader().read(tmp_path / "out", None, silent)


@pytest.mark.realdata
def test_the_real_photographs(tmp_path):
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    root = Path(os.environ.get("EVENSIGHT_DATA", beside)) / "bar"
    if not root.is_dir():
        pytest.skip("the photographs of bar are not here")
    reading = read(root, tmp_path)
    counts = dict(reading.rows.group_by("split").len().rows())
    assert counts == {"train": 1941, "test": 654}
    test = reading.rows.filter(pl.col("split") == "test")
    assert dict(test.group_by("label").len().rows()) == {
        "climbing": 105,
        "diving": 159,
        "fishing": 42,
        "pole vaulting": 131,
        "racing": 132,
        "throwing": 85,
    }
    assert set(reading.rows["source"]) == {"google", "imSitu", "flickr", "stanford"}
    assert reading.findings == []
