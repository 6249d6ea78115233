"""If these fail, a data set is prepared differently twice, half, or with rows that nobody counted."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from evensight import names
from evensight.data import scan as scan_module
from evensight.data.checks import usable_rows
from evensight.data.prepare import prepare
from evensight.data.readers.arrays import ArraysReader
from evensight.data.readers.folder import FolderReader
from evensight.data.readers.pattern import PatternReader
from evensight.data.readers.table import TableReader
from evensight.data.reading import silent
from evensight.data.sources import read_source
from evensight.errors import UserError
from evensight.objective.objective import Objective


@pytest.fixture
def animals(tmp_path, write_png):
    """Twenty images in two class folders; returns the folder."""
    for number in range(20):
        write_png(tmp_path / "animals" / ("cat" if number % 2 else "dog") / f"{number}.png", number)
    return tmp_path / "animals"


@pytest.fixture
def table(tmp_path, write_png):
    """Writes a table of images of random pixels; rows are (label, split, colour)."""

    def write(rows, seeds=None):
        lines = []
        for number, (label, split, colour) in enumerate(rows):
            write_png(tmp_path / "t" / f"{number}.png", number if seeds is None else seeds[number])
            lines.append({"path": f"{number}.png", "label": label, "split": split, "colour": colour})
        pl.DataFrame(lines, schema=dict.fromkeys(lines[0], pl.String)).write_csv(tmp_path / "t" / "t.csv")
        return TableReader(name="t", table=str(tmp_path / "t" / "t.csv"))

    return write


def codes(manifest):
    return {finding.code: finding.count for finding in manifest.findings}


def done(reader, objective, tmp_path):
    return prepare(reader, objective, tmp_path / "datasets", silent)


def test_a_folder_becomes_a_manifest(tmp_path, animals, make_objective):
    manifest, objective = done(FolderReader(name="animals", root=str(animals)), make_objective(), tmp_path)
    frame = manifest.frame
    assert frame["index"].to_list() == list(range(20))
    assert frame["split"].value_counts(sort=True).rows() == [("train", 12), ("test", 4), ("validation", 4)]
    assert objective.class_names == manifest.classes == ("cat", "dog")
    assert objective.requirements[0].bound == 0.5
    for row in frame.iter_rows(named=True):
        pixels = np.asarray(Image.open(animals / row["path"]))
        assert row["pixel_sha256"] == hashlib.sha256(b"6 8\n" + pixels.tobytes()).hexdigest()
        assert (row["width"], row["height"], row["error"], row["row_id"]) == (8, 6, None, row["pixel_sha256"] + "#0")
    assert read_source(manifest, frame.row(3, named=True)) == (animals / frame["path"][3]).read_bytes()
    assert manifest.folder == tmp_path / "datasets" / "animals" / manifest.digests.recipe[:16]
    assert pl.read_parquet(manifest.folder / "manifest.parquet").equals(frame)


def test_class_order_is_the_objectives(tmp_path, animals, make_objective):
    manifest, _ = done(
        FolderReader(name="animals", root=str(animals)), make_objective(classes=["dog", "cat"]), tmp_path
    )
    assert manifest.classes == ("dog", "cat")
    assert manifest.frame["label"][0] == "cat"
    cats = (manifest.split("train")["label"] == "cat").to_numpy()
    assert (manifest.labels("train") == np.where(cats, 1, 0)).all()


def test_a_class_without_images_is_an_error_and_a_label_without_class_is_counted(tmp_path, animals, make_objective):
    reader = FolderReader(name="animals", root=str(animals))
    with pytest.raises(UserError, match=r"objective\.classes.*'dogg'.*Did you mean 'dog'"):
        done(reader, make_objective(classes=["cat", "dogg"]), tmp_path)
    Path(animals / "cow").mkdir()
    Image.new("RGB", (3, 3)).save(animals / "cow" / "0.png")
    manifest, _ = done(reader, make_objective(classes=["cat", "dog"]), tmp_path)
    assert codes(manifest) == {"unknown_label": 1}
    assert len(manifest.frame) == 20


def test_attributes_are_held_against_the_objective(tmp_path, table, make_objective):
    reader = table([("ab"[n % 2], None, ("red", "blue", "mauve", None)[n // 2 % 4]) for n in range(40)])
    with pytest.raises(UserError, match=r"objective\.attributes.*'color'.*Did you mean 'colour'"):
        done(reader, make_objective(attributes={"color": {"levels": "from_data"}}), tmp_path)
    manifest, _ = done(reader, make_objective(), tmp_path)
    assert codes(manifest) == {"unused_column": 1} and manifest.levels == {}
    stated = make_objective(attributes={"colour": {"levels": ["red", "green", "blue"]}})
    manifest, _ = done(reader, stated, tmp_path)
    assert codes(manifest) == {"unknown_level": 10, "level_without_images": 1, "cell_without_images": 1}
    assert manifest.frame["colour"].null_count() == 20
    found, objective = done(reader, make_objective(attributes={"colour": {"levels": "from_data"}}), tmp_path)
    assert found.levels == objective.levels == {"colour": ("blue", "mauve", "red")}
    assert found.frame["colour"].null_count() == 10


def test_what_cannot_be_decoded_stays_named_and_weightless(tmp_path, animals, make_objective, write_png):
    broken = animals / "dog" / "0.png"
    content = broken.read_bytes()[:60]
    broken.write_bytes(content)
    write_png(animals / "dog" / "large.png", 99, height=50, width=50)
    (animals / "dog" / "words.png").write_text("no image")
    reader = FolderReader(name="animals", root=str(animals), max_pixels=2499)
    manifest, _ = done(reader, make_objective(), tmp_path)
    errors = dict(manifest.frame.filter(pl.col("error").is_not_null()).select("path", "error").iter_rows())
    assert {path: error.split(":")[0] for path, error in errors.items()} == {
        "dog/0.png": "corrupt",
        "dog/large.png": "too_large",
        "dog/words.png": "format",
    }
    assert codes(manifest) == {"undecodable": 3}
    row = manifest.frame.filter(pl.col("path") == "dog/0.png").row(0, named=True)
    assert row["pixel_sha256"] is row["width"] is None
    assert row["row_id"] == "bytes:" + hashlib.sha256(content).hexdigest() + "#0"
    assert sum(manifest.counts(split)["overall"].sum() for split in ("train", "validation", "test")) == 19


def test_a_second_time_decodes_nothing_and_a_changed_file_alone(tmp_path, animals, make_objective, monkeypatch):
    reader = FolderReader(name="animals", root=str(animals))
    first, _ = done(reader, make_objective(), tmp_path)
    read = []
    original = scan_module.read_path
    monkeypatch.setattr(scan_module, "read_path", lambda root, path, *rest: read.append(path) or original(root, path))
    second, _ = done(reader, make_objective(), tmp_path)
    assert second.frame.equals(first.frame) and second.digests == first.digests and read == []
    Image.new("RGB", (9, 9)).save(animals / "cat" / "1.png")
    third, _ = done(reader, make_objective(), tmp_path)
    assert read == ["cat/1.png"]
    assert third.frame.filter(pl.col("path") == "cat/1.png")["width"].item() == 9
    assert third.digests.content != first.digests.content
    before = dict(first.frame.select("path", "split").iter_rows())
    after = dict(third.frame.select("path", "split").iter_rows())
    assert {path for path in before if before[path] != after[path]} <= {"cat/1.png"}


def test_new_images_leave_the_old_ones_where_they_are(tmp_path, animals, make_objective, write_png):
    reader = FolderReader(name="animals", root=str(animals))
    first, _ = done(reader, make_objective(), tmp_path)
    for number in range(100, 140):
        write_png(animals / ("cat" if number % 2 else "dog") / f"{number}.png", number)
    grown, _ = done(reader, make_objective(), tmp_path)
    joined = first.frame.join(grown.frame, on="row_id")
    assert len(joined) == 20 and (joined["split"] == joined["split_right"]).all()
    assert codes(grown) == {"test_split_changed": 12}


def test_the_content_is_the_same_wherever_it_lies(tmp_path, animals, make_objective):
    first, _ = done(FolderReader(name="animals", root=str(animals)), make_objective(), tmp_path)
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    animals.rename(moved)
    (moved / "cat" / "1.png").rename(moved / "cat" / "zz.png")
    second, _ = done(FolderReader(name="moved", root=str(moved)), make_objective(), tmp_path)
    assert (second.digests.content, second.digests.test) == (first.digests.content, first.digests.test)
    assert set(second.frame["row_id"]) == set(first.frame["row_id"])


def test_what_was_kept_and_is_damaged_is_made_anew(tmp_path, animals, make_objective):
    reader = FolderReader(name="animals", root=str(animals))
    first, _ = done(reader, make_objective(), tmp_path)
    for name in ("manifest.parquet", "prepared.json", "pixels.parquet"):
        path = first.folder / name
        path.write_bytes(path.read_bytes()[:40])
        again, _ = done(reader, make_objective(), tmp_path)
        assert again.frame.equals(first.frame) and again.digests == first.digests


def test_a_preparation_that_dies_leaves_nothing_half(tmp_path, animals, make_objective, monkeypatch):
    reader = FolderReader(name="animals", root=str(animals))
    with monkeypatch.context() as patch:
        patch.setattr(pl.DataFrame, "write_parquet", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            done(reader, make_objective(), tmp_path)
    assert not (tmp_path / "datasets").exists()
    assert len(done(reader, make_objective(), tmp_path)[0].frame) == 20


def _prepare_in_process(root, datasets, results):
    objective = Objective.from_config({"name": "o", "purpose": "p"})
    progress = []
    manifest, _ = prepare(
        FolderReader(name="a", root=root), objective, Path(datasets), lambda *step: progress.append(step)
    )
    results.put((manifest.digests.content, len(manifest.frame), bool(progress)))


def test_two_processes_prepare_one_data_set_once(tmp_path, animals):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    arguments = (str(animals), str(tmp_path / "datasets"), results)
    processes = [context.Process(target=_prepare_in_process, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    answers = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert answers[0][:2] == answers[1][:2]
    assert sorted(decoded for *_, decoded in answers) == [False, True]


def test_an_image_that_cannot_be_read_is_tried_again(tmp_path, animals, make_objective, monkeypatch):
    reader = FolderReader(name="animals", root=str(animals))
    original = scan_module.read_path

    def failing(root, path, *rest):
        if path == "cat/1.png":
            raise PermissionError(13, "Permission denied")
        return original(root, path)

    with monkeypatch.context() as patch:
        patch.setattr(scan_module, "read_path", failing)
        manifest, _ = done(reader, make_objective(), tmp_path)
        assert manifest.frame.filter(pl.col("path") == "cat/1.png")["error"].item() == "unreadable: Permission denied"
    assert done(reader, make_objective(), tmp_path)[0].frame["error"].null_count() == 20


def test_given_splits_stay_and_twins_are_named(tmp_path, table, make_objective):
    given = ["train"] * 10 + ["validation"] * 4 + ["test"] * 6
    rows = [("ab"[n % 2], split, None) for n, split in enumerate(given)]
    # Image 19 of the test split has the pixels of image 1 of the training split; 18 those of 17, under another label.
    manifest, _ = done(table(rows, seeds=[*range(18), 17, 1]), make_objective(), tmp_path)
    assert manifest.frame["split"].to_list() == given
    assert codes(manifest) == {"same_pixels_other_label": 1, "same_pixels_other_split": 1, "unused_column": 1}
    assert manifest.frame["row_id"][19] == manifest.frame["pixel_sha256"][1] + "#1"


def test_a_data_set_without_validation_takes_it_from_training(tmp_path, table, make_objective):
    rows = [("ab"[n % 2], "test" if n >= 30 else "train", None) for n in range(40)]
    manifest, _ = done(table(rows), make_objective(), tmp_path)
    assert manifest.frame["split"].to_list()[30:] == ["test"] * 10
    assert codes(manifest)["validation_from_train"] == (manifest.frame["split"] == "validation").sum() == 4


def test_a_split_that_training_needs_is_asked_for(tmp_path, table, make_objective):
    reader = table([("ab"[n % 2], "test" if n % 2 else "train", None) for n in range(20)])
    with pytest.raises(UserError, match="the training split has no image of class 'b'"):
        done(reader, make_objective(), tmp_path)
    reader = table([("ab"[n % 2], "train", None) for n in range(20)])
    reader.validation_fraction = 0.0
    with pytest.raises(UserError, match=r"data\.validation_fraction"):
        done(reader, make_objective(), tmp_path)
    reader.validation_fraction, reader.test_fraction = 0.2, 0.0
    manifest, _ = done(reader, make_objective(), tmp_path)
    assert codes(manifest)["class_without_images"] == 2  # in test


def test_usual_levels_are_found_where_attribute_and_class_go_together(tmp_path, table, make_objective):
    objective = make_objective(attributes={"colour": {"levels": ["red", "blue"]}})
    tied = [("ab"[n % 2], "train", ("blue", "red")[n % 2]) for n in range(40)]
    rest = [("ab"[n % 2], ("validation", "test")[n // 2 % 2], "red") for n in range(8)]
    assert done(table(tied + rest), objective, tmp_path)[0].usual == {"colour": (1, 0)}
    free = [("ab"[n % 2], "train", ("blue", "red")[n // 2 % 2]) for n in range(40)]
    assert done(table(free + rest), objective, tmp_path)[0].usual == {}


READER = """
from dataclasses import dataclass
import numpy as np, polars as pl
from evensight.data.reading import Reader, Reading

@dataclass
class StripesReader(Reader):
    reader: str = "stripes"
    count: int = 12

    def read(self, folder, classes, progress):
        np.save(folder / "stripes.npy", np.arange(self.count * 48, dtype=np.uint8).reshape(self.count, 4, 4, 3))
        numbers = range(self.count)
        rows = {"path": [f"stripes.npy#{n}" for n in numbers], "label": ["ab"[n % 2] for n in numbers],
                "lean": ["lr"[n % 2] for n in numbers]}
        return Reading(rows=pl.DataFrame(rows), root=folder, usual={"lean": {"a": "r", "b": "l"}})
"""


def test_a_reader_is_one_file_and_one_line(tmp_path, monkeypatch, make_objective):
    (tmp_path / "my_stripes.py").write_text(READER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(names.READERS, "stripes", "my_stripes:StripesReader")
    reader = names.resolve(names.READERS, "data.reader", "stripes")(name="s")
    manifest, _ = done(reader, make_objective(attributes={"lean": {"levels": "from_data"}}), tmp_path)
    assert manifest.frame["path"][0] == "stripes.npy#0" and manifest.frame["error"].null_count() == 12
    assert manifest.usual == {"lean": (1, 0)}  # what the data set declares wins over what training shows
    assert np.array_equal(manifest.read({"path": "stripes.npy#1"}).ravel(), np.arange(48, 96))


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "???"])
def test_a_name_that_is_no_folder_is_refused(tmp_path, animals, make_objective, name):
    with pytest.raises(UserError, match=r"data\.name"):
        done(FolderReader(name=name, root=str(animals)), make_objective(), tmp_path)


def test_the_seal_comes_with_preparation(tmp_path, animals, make_objective):
    manifest, _ = done(FolderReader(name="animals", root=str(animals)), make_objective(), tmp_path)
    written = json.loads((tmp_path / "datasets" / "animals" / "seal.json").read_text())
    assert (written["content"], written["test"]) == (manifest.digests.content, manifest.digests.test)


@pytest.mark.realdata
def test_mnist_by_the_arrays_reader(tmp_path, real_data, make_objective):
    data = np.load(real_data / "mnist" / "test.npz")
    reader = ArraysReader(
        name="mnist", root=str(real_data / "mnist"), files={"all": "test.npz"}, near_duplicates="part"
    )
    manifest, objective = done(reader, make_objective(), tmp_path)
    assert objective.class_names == tuple("0123456789")
    counts = sum(manifest.counts(split)["overall"] for split in ("train", "validation", "test"))
    assert counts.tolist() == np.bincount(data["labels"]).tolist()
    row = manifest.split("test").row(5, named=True)
    number = int(row["path"].split("#")[1])
    assert row["label"] == str(data["labels"][number])
    assert np.array_equal(read_source(manifest, row)[..., 1], data["images"][number])


@pytest.mark.realdata
def test_photographs_by_the_pattern_reader(tmp_path, real_data, make_objective):
    root = tmp_path / "bar"
    for split in ("train", "test"):
        (root / split).mkdir(parents=True)
        for action in ("pole vaulting", "fishing", "racing"):
            for path in sorted((real_data / "bar" / split).glob(f"{action}_*.jpg"))[:6]:
                (root / split / path.name).write_bytes(path.read_bytes())
    reader = PatternReader(name="bar", root=str(root), pattern=r"(?P<split>train|test)/(?P<label>.+)_\d+\.jpg")
    manifest, objective = done(reader, make_objective(), tmp_path)
    assert objective.class_names == ("fishing", "pole vaulting", "racing")
    assert manifest.counts("test")["overall"].tolist() == [6, 6, 6]
    assert manifest.frame["error"].null_count() == 36
    first = manifest.frame.row(0, named=True)
    with Image.open(root / first["path"]) as image:
        assert {first["width"], first["height"]} == set(image.size)


def test_a_limit_takes_every_class_alike_and_seals_nothing(tmp_path, animals, make_objective):
    reader = FolderReader(name="animals", root=str(animals), limit=8)
    manifest, _ = done(reader, make_objective(), tmp_path)
    assert sorted(manifest.frame["label"].to_list()) == ["cat"] * 4 + ["dog"] * 4
    assert done(reader, make_objective(), tmp_path)[0].frame.equals(manifest.frame)
    assert not (tmp_path / "datasets" / "animals" / "seal.json").exists()


def test_a_file_in_the_place_of_another_with_its_size_and_time_is_seen(tmp_path, animals, make_objective):
    reader = FolderReader(name="animals", root=str(animals))
    path = animals / "cat" / "1.png"
    first, _ = done(reader, make_objective(), tmp_path)
    old = path.stat()
    pixels = np.array(Image.open(path))
    pixels[0, 0] ^= 255
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[: old.st_size].ljust(old.st_size, b"\0"))  # a PNG may have bytes behind its end
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (old.st_size, old.st_mtime_ns)
    second, _ = done(reader, make_objective(), tmp_path)
    assert second.digests.content != first.digests.content


def test_an_image_that_vanishes_between_listing_and_decoding(tmp_path, animals, make_objective):
    reading = FolderReader(name="animals", root=str(animals)).read(tmp_path, None, silent)
    rows, _ = usable_rows(reading, None)
    (animals / "cat" / "1.png").unlink()
    (animals / "cat" / "3.png").unlink()
    os.mkfifo(animals / "cat" / "3.png")  # must not be waited for
    scanned = scan_module.scan(animals, rows, tmp_path, 10**6, silent)
    errors = dict(scanned.filter(pl.col("error").is_not_null()).select("path", "error").iter_rows())
    assert errors == {
        "cat/1.png": "unreadable: No such file or directory",
        "cat/3.png": "unreadable: is a pipe or a device, not a file",
    }
    assert len(pl.read_parquet(tmp_path / scan_module.KEPT)) == 18  # they may be readable the next time


@pytest.mark.parametrize(
    "keys, sentence",
    [
        ({"limit": 0}, r"data\.limit: found 0"),
        ({"max_pixels": 0}, r"data\.max_pixels: found 0"),
        ({"test_fraction": -0.1}, r"data\.test_fraction: found -0\.1"),
        ({"validation_fraction": float("nan")}, r"data\.validation_fraction: found nan"),
        ({"validation_fraction": 0.6, "test_fraction": 0.5}, "0.6 and 0.5, which leave nothing to train on"),
        ({"name": "a\nb"}, r"data\.name: 'a\\nb' cannot name a folder"),
    ],
)
def test_settings_that_cannot_be_right(tmp_path, animals, make_objective, keys, sentence):
    with pytest.raises(UserError, match=sentence):
        done(FolderReader(**{"name": "animals", "root": str(animals), **keys}), make_objective(), tmp_path)
    assert not (tmp_path / "datasets").exists()


def test_names_are_refused_before_anything_is_decoded(tmp_path, table, make_objective):
    reader = table([("a", None, None), ("a ", None, None)] * 5)
    with pytest.raises(UserError, match="'a ' is empty or has spaces"):
        done(reader, make_objective(), tmp_path)
    assert not list((tmp_path / "datasets").rglob("*.parquet"))
