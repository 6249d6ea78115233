"""If these fail, a reader loses images without a word, or takes names or paths for what they are not."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from evensight.data.checks import usable_rows
from evensight.data.digests import BOX
from evensight.data.parquet import read_parquet
from evensight.data.readers.arrays import ArraysReader
from evensight.data.readers.folder import FolderReader
from evensight.data.readers.pattern import PatternReader
from evensight.data.readers.table import TableReader
from evensight.data.readers.table_files import read_table
from evensight.data.reading import Reading, silent
from evensight.data.sources import ArrayTables, array_row, as_rgb, read_path
from evensight.errors import UserError


def read(reader, tmp_path, classes=None):
    return reader.read(tmp_path / "kept", classes, silent)


def codes(findings):
    return {finding.code: finding.count for finding in findings}


def triples(reading):
    return set(reading.rows.select("path", "label", "split").iter_rows())


# --- folders ---


def test_class_folders_with_images_at_any_depth(tmp_path, write_png):
    root = tmp_path / "data"
    for number, path in enumerate(("cat/1.png", "cat/deep/2.PNG", "dog/3.png", "loose.png")):
        write_png(root / path, number)
    (root / "cat" / "notes.txt").write_text("x")
    (root / "dog" / ".hidden.png").write_text("x")
    (root / "cow").mkdir()
    reading = read(FolderReader(root=str(root)), tmp_path)
    assert triples(reading) == {("cat/1.png", "cat", None), ("cat/deep/2.PNG", "cat", None), ("dog/3.png", "dog", None)}
    assert codes(reading.findings) == {"other_files": 1, "empty_class_folder": 1, "image_without_row": 1}


@pytest.mark.parametrize("name, split", [("train", "train"), ("val", "val"), ("valid", "valid"), ("Test", "Test")])
def test_split_folders(tmp_path, write_png, name, split):
    root = tmp_path / "data"
    write_png(root / "train" / "cat" / "0.png", 0)
    write_png(root / name / "cat" / "1.png", 1)
    reading = read(FolderReader(root=str(root)), tmp_path)
    assert (f"{name}/cat/1.png", "cat", split) in triples(reading)
    expected = {"train": "train", "val": "validation", "valid": "validation", "Test": "test"}[name]
    rows, _ = usable_rows(reading, None)
    assert dict(rows.select("path", "split").iter_rows())[f"{name}/cat/1.png"] == expected


def test_split_folders_beside_others_are_refused_until_the_layout_is_said(tmp_path, write_png):
    root = tmp_path / "data"
    write_png(root / "test" / "a.png", 0)
    write_png(root / "tube" / "b.png", 1)
    with pytest.raises(UserError, match=r"data\.layout=class"):
        read(FolderReader(root=str(root)), tmp_path)
    assert set(read(FolderReader(root=str(root), layout="class"), tmp_path).rows["label"]) == {"test", "tube"}
    with pytest.raises(UserError, match=r"data\.layout: 'clas' is not known.*'class'"):
        read(FolderReader(root=str(root), layout="clas"), tmp_path)


@pytest.mark.parametrize("root", ["nowhere", "", "file.txt", "empty"])
def test_a_root_that_is_no_folder_of_images_names_the_key(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"data\.root"):
        read(FolderReader(root=root), tmp_path)
    with pytest.raises(UserError, match=r"data\.root is not set"):
        read(FolderReader(), tmp_path)


# --- tables ---

ROWS = [
    {"path": "i/0.png", "label": "01", "split": "train", "site": "x"},
    {"path": "i/1.png", "label": "2", "split": None, "site": None},
]


def write_table(path, rows):
    if path.suffix == ".parquet":
        pl.DataFrame(rows).write_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    else:
        pl.DataFrame(rows).write_csv(path, separator="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_kind_of_table_says_the_same(tmp_path, write_png, suffix):
    for number in range(3):
        write_png(tmp_path / "i" / f"{number}.png", number)
    reading = read(TableReader(table=str(write_table(tmp_path / f"t{suffix}", ROWS))), tmp_path)
    assert reading.rows.select("path", "label", "split", "site").to_dicts() == ROWS
    assert codes(reading.findings) == {"image_without_row": 1}
    assert reading.root == tmp_path.resolve()


def test_columns_have_the_names_the_user_says(tmp_path):
    table = write_table(tmp_path / "t.csv", [{"file": "a.png", "kind": "x", "set": "test", "where": "lab"}])
    reader = TableReader(
        table=str(table), path_column="file", label_column="kind", split_column="set", attributes={"site": "where"}
    )
    assert read(reader, tmp_path).rows.to_dicts() == [{"path": "a.png", "label": "x", "split": "test", "site": "lab"}]


@pytest.mark.parametrize(
    "keys, sentence",
    [
        ({"label_column": "lable"}, r"data\.label_column.*'lable'.*Did you mean 'label'"),
        ({"split_column": "set"}, r"data\.split_column.*'set'"),
        ({"attributes": {"place": "sit"}}, r"data\.attributes\.place.*'sit'.*'site'"),
        ({"label_column": "site"}, "beside the one that is to be label"),
        ({"attributes": {"a": "site", "b": "site"}}, "used twice"),
        ({"table": "t.xlsx"}, r"data\.table: 't\.xlsx'.*\.csv"),
        ({"table": "none.csv"}, r"data\.table: 'none\.csv' does not exist"),
        ({"root": "nowhere"}, r"data\.root"),
    ],
)
def test_wrong_settings_of_a_table(tmp_path, monkeypatch, keys, sentence):
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path / "t.csv", ROWS)
    with pytest.raises(UserError, match=sentence):
        read(TableReader(**{"table": "t.csv", **keys}), tmp_path)


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        ("t.csv", "path,label,label\na,b,c\n", "'label' is there twice"),
        ("t.csv", "", "is empty"),
        ("t.csv", "path,label\n", "no rows"),
        ("t.csv", "path,label\na,b,c,d\n", "line 2 has 4 values; 2 are needed"),
        ("t.csv", b"path,label\n\xff\xfe,b\n", "cannot be read"),
        ("t.jsonl", '{"path": "a", "label": "b"}\n{oops\n', "line 2 is not JSON"),
        ("t.jsonl", "[1]\n", "line 1 is not an object"),
        ("t.jsonl", '{"path": "a", "label": ["b"]}\n', "'label': found a list"),
        ("t.parquet", "not parquet at all", "cannot be read"),
    ],
)
def test_broken_tables_are_named(tmp_path, name, content, sentence):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=sentence):
        read(TableReader(table=str(path)), tmp_path)


# --- patterns ---


def test_pattern_gives_label_split_and_attributes(tmp_path, write_png):
    root = tmp_path / "data"
    for number, name in enumerate(("train/pole vaulting_3@web.png", "test/racing_1@film.png", "test/odd.png")):
        write_png(root / name, number)
    pattern = r"(?P<split>train|test)/(?P<label>.+)_\d+@(?P<source>\w+)\.png"
    reading = read(PatternReader(root=str(root), pattern=pattern), tmp_path)
    assert reading.rows.sort("label").to_dicts() == [
        {"path": "train/pole vaulting_3@web.png", "split": "train", "label": "pole vaulting", "source": "web"},
        {"path": "test/racing_1@film.png", "split": "test", "label": "racing", "source": "film"},
    ]
    assert codes(reading.findings) == {"image_without_row": 1}


@pytest.mark.parametrize(
    "pattern, sentence",
    [
        (r"(?P<label>", "no regular expression"),
        (r"(.+)\.png", "no group named label"),
        (r"(?P<label>.)(?P<path>.)", "group path"),
        (r"(?P<label>\d+)\.jpg", "matches no image.*'a.png'"),
    ],
)
def test_wrong_patterns(tmp_path, write_png, pattern, sentence):
    write_png(tmp_path / "a.png", 0)
    with pytest.raises(UserError, match=sentence):
        read(PatternReader(root=str(tmp_path), pattern=pattern), tmp_path)


# --- arrays ---


def arrays(folder, **members):
    members.setdefault("images", np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6))
    members.setdefault("labels", np.array([0, 1, 1, 0], np.uint8))
    np.savez(folder / "train.npz", **members)


def test_rows_of_an_npz(tmp_path):
    arrays(tmp_path, site=np.array(["x", "y", "x", "y"]))
    reader = ArraysReader(
        root=str(tmp_path), files={"train": "train.npz"}, label_names=["nought", "one"], attributes={"site": "site"}
    )
    reading = read(reader, tmp_path)
    assert reading.rows.row(2, named=True) == {
        "path": "train.npz:images#2",
        "label": "one",
        "split": "train",
        "site": "x",
    }
    grey = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)[2]
    assert np.array_equal(read_path(tmp_path, "train.npz:images#2"), np.dstack([grey, grey, grey]))


def test_rows_of_an_npy(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", colour)
    np.save(tmp_path / "y.npy", np.array(["a", "b", "a"]))
    reader = ArraysReader(root=str(tmp_path), files={"all": "x.npy"}, label_files={"all": "y.npy"})
    reading = read(reader, tmp_path)
    assert list(reading.rows.iter_rows()) == [("x.npy#0", "a", None), ("x.npy#1", "b", None), ("x.npy#2", "a", None)]
    assert np.array_equal(read_path(tmp_path, "x.npy#1"), colour[1])


@pytest.mark.parametrize(
    "members, keys, sentence",
    [
        ({"images": np.zeros((4, 5, 6), np.float32)}, {}, "float32.*uint8"),
        ({"images": np.zeros((4, 3, 6, 6), np.uint8)}, {}, r"\[4, 3, 6, 6\]"),
        ({"labels": np.zeros((3,), np.int64)}, {}, r"shape \[3\].*4 images"),
        ({"labels": np.zeros((4,), np.float32)}, {}, "found float32"),
        ({"labels": np.array([None] * 4, object)}, {}, "pickled objects"),
        ({"labels": np.array([0, 1, 2, 3])}, {"label_names": ["a", "b"]}, r"data\.label_names.*label 2"),
        ({}, {"images": "image"}, "'image' is not known.*'images'"),
        ({}, {"files": {}}, r"data\.files"),
        ({}, {"files": {"tran": "train.npz"}}, "'tran'.*'train'"),
        ({}, {"files": {"train": "../train.npz"}}, r"data\.files\.train.*leads out"),
        ({}, {"files": {"train": "none.npz"}}, "does not exist"),
        ({}, {"files": {"train": "x.npy"}}, r"data\.label_files\.train"),
        ({}, {"label_files": {"train": "y.npy"}}, r"data\.label_files\.train"),
        ({}, {"files": {"train": "x.mat"}}, r"\.npz, \.npy"),
    ],
)
def test_wrong_arrays_and_settings(tmp_path, members, keys, sentence):
    arrays(tmp_path, **members)
    reader = ArraysReader(**{"root": str(tmp_path), "files": {"train": "train.npz"}, **keys})
    with pytest.raises(UserError, match=sentence):
        read(reader, tmp_path)


def test_a_file_that_is_no_array_file_is_named(tmp_path):
    (tmp_path / "train.npz").write_bytes(b"PK not a zip")
    with pytest.raises(UserError, match=r"train\.npz: cannot be read as an array file"):
        read(ArraysReader(root=str(tmp_path), files={"train": "train.npz"}), tmp_path)


def test_tables_load_once_and_see_a_changed_file(tmp_path):
    arrays(tmp_path)
    tables = ArrayTables()
    first = tables.get(tmp_path / "train.npz", "images")
    assert tables.get(tmp_path / "train.npz", "images") is first
    arrays(tmp_path, images=np.zeros((2, 5, 6), np.uint8))
    assert len(tables.get(tmp_path / "train.npz", "images")) == 2


@pytest.mark.parametrize(
    "path, expected",
    [
        ("a.npy#3", ("a.npy", None, 3)),
        ("d/a.npz:images#12", ("d/a.npz", "images", 12)),
        ("a.png", None),
        ("photo #3.png", None),
        ("a.npy#-1", None),
        ("a.npy", None),
    ],
)
def test_array_paths(path, expected):
    assert array_row(path) == expected


def test_grey_becomes_rgb_and_colour_stays():
    grey = np.array([[1, 2]], np.uint8)
    assert as_rgb(grey).tolist() == [[[1, 1, 1], [2, 2, 2]]]
    assert as_rgb(grey[..., None]).tolist() == as_rgb(grey).tolist()


# --- what is checked in every reading ---


def test_rows_that_lead_out_of_the_root_are_counted_and_not_used(tmp_path, write_png):
    root, outside = tmp_path / "root", tmp_path / "outside"
    write_png(outside / "secret.png", 0)
    write_png(root / "ok" / "in.png", 1)
    (root / "link.png").symlink_to(outside / "secret.png")
    (root / "folder").symlink_to(outside)
    (root / "inner.png").symlink_to(root / "ok" / "in.png")
    bad = [str(outside / "secret.png"), "../outside/secret.png", "link.png", "folder/secret.png", "https://x.org/a.png"]
    bad += ["a\0.png", "", "ok/../ok/in.png", "../x.npy#0"]
    rows = pl.DataFrame({"path": [*bad, "ok/in.png", "inner.png", "./ok//in.png"], "label": ["a"] * (len(bad) + 3)})
    usable, findings = usable_rows(Reading(rows=rows, root=root), None)
    assert usable["path"].to_list() == ["ok/in.png", "inner.png"]
    assert codes(findings) == {"no_path": 1, "outside_root": len(bad) - 1, "duplicate_row": 1}


def test_missing_images_and_array_rows_are_counted(tmp_path, write_png):
    write_png(tmp_path / "a.png", 0)
    (tmp_path / "folder.png").mkdir()
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 3), np.uint8))
    paths = ["a.png", "b.png", "folder.png", "x.npy#1", "x.npy#2", "y.npy#0"]
    rows = pl.DataFrame({"path": paths, "label": ["a"] * 6})
    usable, findings = usable_rows(Reading(rows=rows, root=tmp_path), None)
    assert usable["path"].to_list() == ["a.png", "x.npy#1"]
    assert usable["file_bytes"].to_list() == [(tmp_path / n).stat().st_size for n in ("a.png", "x.npy")]
    assert codes(findings) == {"missing_image": 4}
    assert "the array has 2 rows" in " ".join(findings[0].examples)


def test_repeated_contradicting_nameless_and_unknown_rows(tmp_path, write_png):
    for name in "abcdef":
        write_png(tmp_path / f"{name}.png", ord(name))
    rows = pl.DataFrame(
        [
            ("a.png", "cat", "train", "x"),
            ("a.png", "cat", "train", "x"),
            ("b.png", "cat", "train", "x"),
            ("b.png", "dog", "train", "x"),
            ("c.png", None, "train", "x"),
            ("d.png", "catt", "train", "x"),
            ("e.png", "dog", "dev", "x"),
            ("f.png", "dog", " Valid ", ""),
        ],
        schema=["path", "label", "split", "site"],
        orient="row",
    )
    usable, findings = usable_rows(Reading(rows=rows, root=tmp_path), ("cat", "dog"))
    kept = list(usable.select("path", "label", "split", "site").iter_rows())
    assert kept == [("a.png", "cat", "train", "x"), ("f.png", "dog", "validation", None)]
    expected = {"duplicate_row": 1, "contradicting_rows": 2, "no_label": 1, "unknown_label": 1, "unknown_split": 1}
    assert codes(findings) == expected
    assert next(f for f in findings if f.code == "unknown_label").examples == ["'catt' x 1 (perhaps 'cat')"]


def test_names_are_compared_composed_and_alike_names_are_reported(tmp_path, write_png):
    for name in "abc":
        write_png(tmp_path / f"{name}.png", ord(name))
    rows = pl.DataFrame({"path": ["a.png", "b.png", "c.png"], "label": ["caf\u00e9", "cafe\u0301", "Caf\u00e9 "]})
    usable, findings = usable_rows(Reading(rows=rows, root=tmp_path), None)
    assert usable["label"].to_list() == ["caf\u00e9", "caf\u00e9", "Caf\u00e9 "]
    assert codes(findings) == {"unicode_twins": 1, "duplicate_names": 1}


def test_masks_that_lead_out_or_nowhere(tmp_path, write_png):
    for name in "abc":
        write_png(tmp_path / f"{name}.png", ord(name))
    masks = ["b.png", "none.png", "../m.png"]
    rows = pl.DataFrame({"path": ["a.png", "b.png", "c.png"], "label": ["x"] * 3, "mask": masks})
    usable, findings = usable_rows(Reading(rows=rows, root=tmp_path), None)
    assert list(usable.select("path", "mask").iter_rows()) == [("a.png", "b.png"), ("b.png", None)]
    assert codes(findings) == {"outside_root": 1, "missing_mask": 1}


@pytest.mark.parametrize(
    "rows, sentence",
    [
        (pl.DataFrame({"path": [], "label": []}), "no image was found"),
        (pl.DataFrame({"path": ["a"]}), "'label' is missing"),
        (pl.DataFrame({"path": ["nowhere.png"], "label": ["x"]}), "no row can be used.*missing_image"),
        (pl.DataFrame({"path": ["a"], "label": ["x"], "box_x0": ["left"]}), "wrong kind"),
    ],
)
def test_a_reading_without_use_is_refused(tmp_path, rows, sentence):
    with pytest.raises(UserError, match=sentence):
        usable_rows(Reading(rows=rows, root=tmp_path), None)


def test_settings_and_a_prepared_data_set_need_no_torch():
    code = "import sys, evensight.data.prepare as p; from evensight.names import READERS, resolve\n"
    code += "[resolve(READERS, 'data.reader', name) for name in ('folder', 'table', 'pattern', 'arrays')]\n"
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- broken files of polars' ---


def test_a_parquet_that_ends_its_reader_ends_nothing_else(tmp_path):
    path = tmp_path / "t[1].parquet"
    pl.DataFrame({"path": ["a.png"] * 9, "label": ["x"] * 9}).write_parquet(path)
    assert read_parquet(path, ["label"]).to_dicts() == [{"label": "x"}] * 9
    assert read_parquet(path).columns == ["path", "label"]
    with pytest.raises(pl.exceptions.PolarsError):
        read_parquet(path, ["box"])
    path.write_bytes(b"PAR1" + bytes(40) + b"PAR1")
    with pytest.raises(pl.exceptions.PolarsError):
        read_parquet(path)
    with pytest.raises(FileNotFoundError):
        read_parquet(tmp_path / "none.parquet")


@pytest.mark.parametrize("text", ["path,label\na,b\nc,d\n", 'path,label\r\n"a",b\r\n\r\nc,d', "path,label\ra,b\rc,d\r"])
def test_quotes_blank_lines_and_ends_of_lines_change_nothing(tmp_path, text):
    (tmp_path / "t.csv").write_bytes(text.encode())
    rows = read_table(tmp_path / "t.csv")
    assert rows.to_dicts() == [{"path": "a", "label": "b"}, {"path": "c", "label": "d"}]


def test_both_ways_to_read_a_csv_agree(tmp_path):
    lines = ["path,label,split", *(f"{n}.png,{'ab'[n % 2]},{'' if n % 3 else 'train'}" for n in range(50))]
    (tmp_path / "plain.csv").write_text("\n".join(lines))
    (tmp_path / "quoted.csv").write_text("\n".join([*lines[:-1], lines[-1].replace("49.png", '"49.png"')]))
    plain, quoted = read_table(tmp_path / "plain.csv"), read_table(tmp_path / "quoted.csv")
    assert plain.equals(quoted) and plain["split"].null_count() == 33


# --- boxes ---


def test_boxes_that_cannot_be_are_unknown(tmp_path, write_png):
    boxes = [(0, 0, 2, 2), (0, 0, float("nan"), 2), (0, 0, float("inf"), 2), (2, 0, 2, 2), (0, 0, 1, None), (None,) * 4]
    rows = []
    for number, box in enumerate(boxes):
        write_png(tmp_path / f"{number}.png", number)
        rows.append({"path": f"{number}.png", "label": "x", **dict(zip(BOX, box, strict=True))})
    usable, findings = usable_rows(Reading(rows=pl.DataFrame(rows), root=tmp_path), None)
    assert usable.select(BOX).rows() == [(0.0, 0.0, 2.0, 2.0)] + [(None,) * 4] * 5
    assert codes(findings) == {"unusable_box": 4}
