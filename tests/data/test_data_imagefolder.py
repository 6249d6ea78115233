"""If these fail, a data set of Hugging Face's ImageFolder is read otherwise than its metadata says."""

from __future__ import annotations

import json
import os

import polars as pl
import pytest

from evensight.data.checks import usable_rows
from evensight.data.readers.imagefolder import ImageFolderReader
from evensight.data.reading import silent
from evensight.errors import UserError


def codes(findings):
    return {finding.code: finding.count for finding in findings}


@pytest.fixture
def hub(tmp_path, write_png):
    """Writes images and texts below a root, and reads it."""

    def make(images=(), files=None, classes=None, **settings):
        root = tmp_path / "root"
        for number, name in enumerate(images):
            write_png(root / name, number)
        for name, content in (files or {}).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content, encoding="utf-8")
        return ImageFolderReader(name="i", root=str(root), **settings).read(tmp_path / "made", classes, silent)

    return make


def test_the_layout_of_the_documentation(hub):
    # huggingface.co/docs/datasets/image_dataset: metadata beside the images of each split.
    reading = hub(
        ["train/0001.png", "train/0002.png", "test/sub/1.png", "train/9.png"],
        {
            "train/metadata.csv": "file_name,label,camera\n0001.png,cat,x\n0002.png,dog,\n",
            "test/metadata.jsonl": json.dumps({"file_name": "sub/1.png", "label": "cat", "extra": 5}) + "\n",
            "README.md": "",
        },
    )
    assert reading.rows.select("path", "label", "split", "camera", "extra").sort("path").rows() == [
        ("test/sub/1.png", "cat", "test", None, "5"),
        ("train/0001.png", "cat", "train", "x", None),
        ("train/0002.png", "dog", "train", None, None),
    ]
    assert codes(reading.findings) == {"image_without_row": 1, "other_files": 1}
    assert len(usable_rows(reading, ("cat", "dog"))[0]) == 3


def test_one_table_for_all_splits(hub, tmp_path):
    (tmp_path / "root").mkdir()
    pl.DataFrame({"image_file_name": ["train/a.png", "valid/b.png", "c.png"], "label": [0, 1, 1]}).write_parquet(
        tmp_path / "root" / "metadata.parquet"
    )
    reading = hub(["train/a.png", "valid/b.png", "c.png"], label_names=["cat", "dog"])
    assert reading.rows.select("path", "label", "split").rows() == [
        ("train/a.png", "cat", "train"), ("valid/b.png", "dog", "valid"), ("c.png", "dog", None)
    ]  # fmt: skip


def test_a_column_of_splits_is_before_folders(hub):
    reading = hub(["train/a.png"], {"metadata.csv": "file_name,label,split\ntrain/a.png,cat,test\n"})
    assert reading.rows["split"].to_list() == ["test"]


def test_masks_and_labels_of_folders(hub):
    reading = hub(
        ["cat/a.png", "dog/b.png", "m.png"],
        {"metadata.csv": "file_name,mask_file_name,light\ncat/a.png,m.png,day\ndog/b.png,,night\n"},
        label_column=None,
    )
    assert reading.rows.select("label", "mask", "light").rows() == [("cat", "m.png", "day"), ("dog", None, "night")]
    assert "image_without_row" not in codes(reading.findings), "a mask is no image that was forgotten"


def test_without_metadata_it_is_class_folders(hub):
    reading = hub(["train/cat/a.png", "test/dog/b.png"])
    assert reading.rows.select("path", "label", "split").sort("path").rows() == [
        ("test/dog/b.png", "dog", "test"), ("train/cat/a.png", "cat", "train")
    ]  # fmt: skip


def test_only_files_below_the_root_are_used(hub):
    names = ["../x.png", "/etc/hostname", "file:///x.png", "C:\\x.png", "lost.png", ""]
    lines = "".join(json.dumps({"file_name": name, "label": "cat"}) + "\n" for name in ["a.png", *names])
    reading = hub(["a.png"], {"metadata.jsonl": lines})
    assert codes(reading.findings) == {"foreign_path": 1, "outside_root": 3, "missing_image": 1}
    rows, findings = usable_rows(reading, None)
    assert rows["path"].to_list() == ["a.png"] and codes(findings) == {"no_path": 1}


def table(name: str, head: str, line: str = "a.png,cat") -> dict:
    return {name: f"{head}\n{line}\n"}


@pytest.mark.parametrize(
    ("files", "settings", "said"),
    [
        (table("metadata.csv", "name,label"), {}, "data.file_column: .*'file_name' is not known; allowed: label, name"),
        (table("metadata.csv", "a_file_name,b_file_name"), {}, "has a_file_name, b_file_name; name the column"),
        (table("metadata.csv", "file_name,class"), {}, "data.label_column: .*'label' is not known; allowed: class"),
        (table("metadata.csv", "file_name,label"), {"mask_column": "mask"}, "data.mask_column: .*'mask' is not known"),
        (table("metadata.csv", "file_name,label"), {"label_column": "file_name"}, "'file_name' .* is path already"),
        (table("metadata.csv", "file_name,label,path", "a.png,cat,x"), {}, "a column 'path' beside the one"),
        (table("metadata.csv", "file_name,label"), {"label_column": None}, "a column 'label' beside the one"),
        (
            table("metadata.csv", "file_name,label", "a.png,2"),
            {"label_names": ["x", "y"]},
            "label '2'; 2 names are given",
        ),
        (table("metadata.csv", "file_name,label") | {"metadata.jsonl": "{}"}, {}, "several files of metadata"),
        ({"metadata.jsonl": '{"file_name": "a.png", "label": ["cat"]}'}, {}, "found a list or an object"),
        ({"metadata.csv": ""}, {}, "is empty"),
        ({}, {}, "holds no folders"),
    ],
)
def test_what_is_refused(hub, files, settings, said):
    with pytest.raises(UserError, match=said):
        hub(["a.png"], files, **settings)


def test_metadata_that_is_no_file_of_the_folder(hub, tmp_path):
    (tmp_path / "secret.csv").write_text("file_name,label\n")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "metadata.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(UserError, match="leads out of the data's folder"):
        hub(["a.png"])
    (tmp_path / "root" / "metadata.csv").unlink()
    os.mkfifo(tmp_path / "root" / "metadata.csv")
    with pytest.raises(UserError, match="it is not a file"):
        hub(["a.png"])
