"""If these fail, a box lies where its object is not, or an object is not the one that was annotated."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from evensight.data.annotations.assemble import assemble
from evensight.data.annotations.boxes import clipped, frame_of, upright_box, upright_mask, widened
from evensight.data.annotations.headers import Header, headers, read_header
from evensight.data.annotations.objects import AnnotatedImage, AnnotatedObject, Mask, ObjectReader
from evensight.data.digests import BOX
from evensight.data.places import Stamp
from evensight.data.reading import Reading, silent
from evensight.errors import UserError
from evensight.runtime.decode import decode_array

ORIENTATION = 0x0112


def codes(findings):
    return {finding.code: finding.count for finding in findings}


# --- boxes ---


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_and_a_mask_lie_where_the_decoder_puts_their_object(tmp_path, orientation):
    width, height, box = 13, 7, (2, 1, 9, 4)
    stored = np.zeros((height, width), np.uint8)
    stored[box[1] : box[3], box[0] : box[2]] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    decoded = decode_array(tmp_path / "a.png")[..., 0]
    rows, columns = np.nonzero(decoded)
    seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert upright_box(box, width, height, orientation) == seen
    assert np.array_equal(upright_mask(stored, orientation), decoded)
    header = read_header(tmp_path / "a.png")
    assert header == Header(width, height, orientation) and header.upright == decoded.shape[::-1]


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_headers_say_what_the_decoder_does(tmp_path, ending):
    for orientation in (None, 1, 3, 6, 0, 9):
        exif = Image.Exif()
        if orientation is not None:
            exif[ORIENTATION] = orientation
        path = tmp_path / f"{orientation}.{ending}"
        Image.new("RGB", (12, 5)).save(path, exif=exif)
        header = read_header(path)
        assert header.upright == decode_array(path).shape[1::-1]
        assert header.orientation == (orientation if orientation in (1, 3, 6) else 1)


def test_an_orientation_in_a_png_is_found_wherever_it_is(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    Image.new("RGB", (12, 5)).save(tmp_path / "xmp.png", pnginfo=info)
    exif = Image.Exif()
    exif[ORIENTATION] = 8
    Image.new("RGB", (12, 5)).save(tmp_path / "early.png", exif=exif)
    content = (tmp_path / "early.png").read_bytes()
    start, end = content.index(b"eXIf") - 4, content.index(b"IDAT") - 4
    last = content.index(b"IEND") - 4
    moved = content[:start] + content[end:last] + content[start:end] + content[last:]
    (tmp_path / "late.png").write_bytes(moved)
    for name, orientation in (("xmp", 6), ("early", 8), ("late", 8)):
        assert read_header(tmp_path / f"{name}.png") == Header(12, 5, orientation)
        assert decode_array(tmp_path / f"{name}.png").shape[:2] == (12, 5)


def test_headers_of_what_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "a.png").write_bytes(b"no image")
    for name in ("pipe.png", "a.png", "none.png"):
        assert read_header(tmp_path / name) is None


def test_headers_are_kept_until_a_file_changes(tmp_path, write_png, monkeypatch):
    write_png(tmp_path / "a.png", 1)
    (tmp_path / "b.png").write_bytes(b"no image")

    def read():
        stamps = {name: Stamp.of((tmp_path / name).stat()) for name in ("a.png", "b.png")}
        return headers(tmp_path, stamps, tmp_path / "kept", silent)

    first = read()
    assert first == {"a.png": Header(8, 6, 1), "b.png": None}
    opened = []
    monkeypatch.setattr("evensight.data.annotations.headers.read_header", lambda path: opened.append(path.name))
    assert read() == first and not opened
    write_png(tmp_path / "a.png", 2, width=20)
    assert read()["a.png"] is None and opened == ["a.png"]


def test_a_stated_size_decides_the_frame():
    turned, square = Header(30, 20, 6), Header(20, 20, 6)
    assert frame_of((30, 20), turned, "upright") == "stored"
    assert frame_of((20, 30), turned, "stored") == "upright"
    assert frame_of((31, 20), turned, "stored") is None
    assert frame_of(None, turned, "upright") == "upright"
    assert frame_of((20, 20), square, "stored") == "stored" and frame_of((20, 20), square, "upright") == "upright"


def test_boxes_end_at_the_edge():
    assert clipped((-3, 2, 50, 8), 10, 20) == (0, 2, 10, 8)
    for box in ((10, 0, 12, 5), (3, 3, 3, 5), (5, 5, 4, 9), (0, 0, math.nan, 1), (0, 0, math.inf, 1)):
        assert clipped(box, 10, 20) is None
    assert widened((2.2, 3.0, 4.9, 4.0), 0.0, 10, 20) == (2, 3, 5, 4)
    assert widened((2, 4, 6, 6), 0.25, 10, 20) == (1, 3, 7, 7)
    assert widened((2, 4, 6, 6), 9, 10, 20) == (0, 0, 10, 20)


# --- rows ---


@pytest.fixture
def work(tmp_path, write_png):
    """Assembles what is said of images of 12 x 10 random pixels, which are written where they are missing."""

    def make(*images: AnnotatedImage, classes=("cat", "dog"), **settings) -> Reading:
        for number, image in enumerate(images):
            if not (tmp_path / "root" / image.path).exists():
                write_png(tmp_path / "root" / image.path, number, height=10, width=12)
        reader = ObjectReaderOf(name="x", **settings)
        return assemble(list(images), reader, tmp_path / "root", tmp_path / "made", classes, silent, "file")

    return make


class ObjectReaderOf(ObjectReader):
    def read(self, folder, classes, progress):
        raise NotImplementedError


def thing(label: str, *box: float, **more) -> AnnotatedObject:
    return AnnotatedObject(label, tuple(box) if box else None, **more)


def square(*box: int, key: str = "k", height: int = 10, width: int = 12) -> Mask:
    def draw() -> np.ndarray:
        mask = np.zeros((height, width), np.uint8)
        mask[box[1] : box[3], box[0] : box[2]] = 1
        return mask

    return Mask(key, draw)


def test_one_row_an_image(work):
    reading = work(
        AnnotatedImage("one.png", objects=(thing("cat", 1, 1, 4, 5, attributes={"pose": "left"}),), split="train"),
        AnnotatedImage("same.png", objects=(thing("dog", 1, 1, 4, 5, attributes={"pose": "left", "n": "1"}),
                                            thing("dog", 6, 0, 8, 3, attributes={"pose": "left", "n": "2"}))),
        AnnotatedImage("torn.png", objects=(thing("dog", 1, 1, 4, 5), thing("cat", 1, 1, 2, 2))),
        AnnotatedImage("beside.png", objects=(thing("dog", 1, 1, 4, 5), thing("tree", 0, 0, 9, 9))),
        AnnotatedImage("tree.png", objects=(thing("tree", 1, 1, 4, 5),)),
        AnnotatedImage("bare.png"),
        AnnotatedImage("whole.png", label="cat", attributes={"camera": "x"}),
        AnnotatedImage("named.png", label="cat", objects=(thing("dog", 1, 1, 4, 5), thing("cat", 0, 0, 2, 2))),
    )  # fmt: skip
    rows = {row["path"]: row for row in reading.rows.iter_rows(named=True)}
    assert {path: row["label"] for path, row in rows.items()} == {
        "one.png": "cat", "same.png": "dog", "beside.png": "dog", "tree.png": "tree", "bare.png": None,
        "whole.png": "cat", "named.png": "cat",
    }  # fmt: skip
    boxes = {path: tuple(row[side] for side in BOX) for path, row in rows.items() if row["box_x0"] is not None}
    assert boxes == {
        "one.png": (1, 1, 4, 5),
        "same.png": (1, 0, 8, 5),
        "beside.png": (1, 1, 4, 5),
        "named.png": (0, 0, 2, 2),
    }
    assert (rows["same.png"]["pose"], rows["same.png"]["n"], rows["whole.png"]["camera"]) == ("left", None, "x")
    assert codes(reading.findings) == {"several_classes": 1} and reading.mask_root is None
    (row,) = work(AnnotatedImage("torn.png", objects=(thing("dog", 1, 1, 4, 5), thing("cat", 1, 1, 2, 2))),
                  several="largest").rows.iter_rows(named=True)  # fmt: skip
    assert row["label"] == "dog" and row["box_x1"] == 4


def test_masks_of_whole_images(work, tmp_path):
    both = (
        thing("cat", 0, 0, 2, 2, mask=square(0, 0, 2, 2, key="a")),
        thing("cat", 5, 5, 9, 8, mask=square(5, 5, 9, 8, key="b")),
    )
    half = (both[0], thing("cat", 5, 5, 9, 8))
    wrong = (thing("dog", 0, 0, 3, 3, mask=square(0, 0, 1, 1, width=99)),)
    reading = work(
        AnnotatedImage("a.png", objects=both),
        AnnotatedImage("b.png", objects=half),
        AnnotatedImage("c.png", objects=wrong),
    )
    assert reading.mask_root == tmp_path / "made" / "image_masks"
    masks = dict(reading.rows.select("path", "mask").iter_rows())
    assert masks["b.png"] is None and masks["c.png"] is None and codes(reading.findings)["broken_mask"] == 1
    pixels = np.asarray(Image.open(reading.mask_root / masks["a.png"]))
    assert (
        np.array_equal(pixels > 0, (square(0, 0, 2, 2).draw() + square(5, 5, 9, 8).draw()) > 0) and pixels.max() == 255
    )
    again = work(AnnotatedImage("a.png", objects=(both[0],)))
    assert [path.name for path in again.mask_root.iterdir()] == [again.rows["mask"][0]] != [masks["a.png"]]


def test_objects_are_cut_out_once_and_again_when_their_image_changes(work, tmp_path, write_png):
    inner, edge = (2.0, 3.0, 6.0, 5.0), (9.0, 0.0, 12.0, 9.0)
    images = (
        AnnotatedImage(
            "a.png", objects=(thing("cat", *inner, mask=square(2, 3, 6, 5)), thing("dog", *edge)), split="test"
        ),
    )
    reading = work(*images, objects="cut", margin=0.25)
    pixels = decode_array(tmp_path / "root" / "a.png")
    rows = list(reading.rows.iter_rows(named=True))
    assert [(row["label"], row["split"], row["source"]) for row in rows] == [
        ("cat", "test", "a.png"),
        ("dog", "test", "a.png"),
    ]
    assert np.array_equal(decode_array(reading.root / rows[0]["path"]), pixels[2:6, 1:7])
    assert np.array_equal(decode_array(reading.root / rows[1]["path"]), pixels[0:10, 6:12])
    assert tuple(rows[0][side] for side in BOX) == (1, 1, 5, 3) and tuple(rows[1][side] for side in BOX) == (3, 0, 6, 9)
    mask = np.asarray(Image.open(reading.mask_root / rows[0]["mask"]))
    assert (
        np.array_equal(mask, np.where(square(1, 1, 5, 3, height=4, width=6).draw() > 0, 255, 0))
        and rows[1]["mask"] is None
    )
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "made").rglob("*.png")}
    assert len(before) == 3
    assert work(*images, objects="cut", margin=0.25).rows.equals(reading.rows)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "made").rglob("*.png")} == before
    write_png(tmp_path / "root" / "a.png", 99, height=10, width=12)
    changed = work(*images, objects="cut", margin=0.25)
    assert not set(changed.rows["path"]) & set(reading.rows["path"])
    assert len(list((tmp_path / "made").rglob("*.png"))) == 3, "what nobody asks for is removed"
    assert np.array_equal(
        decode_array(changed.root / changed.rows["path"][0]), decode_array(tmp_path / "root" / "a.png")[2:6, 1:7]
    )


def test_what_cannot_be_cut_is_counted(work, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "text.png").write_text("no image")
    Image.effect_noise((40, 40), 99).save(tmp_path / "root" / "cut.jpg")
    objects = (thing("cat", 0, 0, 3, 3), thing("tree", 0, 0, 3, 3), thing("cat"), thing("dog", 20, 0, 30, 3))
    (tmp_path / "root" / "cut.jpg").write_bytes((tmp_path / "root" / "cut.jpg").read_bytes()[:-60])
    reading = work(
        AnnotatedImage("a.png", objects=objects),
        AnnotatedImage("text.png", objects=(thing("cat", 0, 0, 3, 3),)),
        AnnotatedImage("cut.jpg", objects=(thing("cat", 0, 0, 3, 3), thing("dog", 0, 0, 3, 3))),
        AnnotatedImage("bare.png"),
        objects="cut",
        margin=0.0,
    )  # fmt: skip
    assert len(reading.rows) == 1 and "box_x0" not in reading.rows.columns
    assert codes(reading.findings) == {
        "unknown_label": 1, "object_without_box": 3, "undecodable": 1, "no_label": 1, "unusable_box": 1
    }  # fmt: skip


def test_attributes_never_take_the_place_of_a_column(work):
    cat = thing("cat", 0, 0, 3, 3, attributes={"camera": "other", "source": "web"})
    given = {"label": "x", "camera": "y", "width": "3", "": "z"}
    image = AnnotatedImage("a.png", label="cat", attributes=given, objects=(cat,))
    reading = work(image)
    (row,) = reading.rows.iter_rows(named=True)
    assert row["label"] == "cat" and row["attribute_label"] == "x" and row["attribute_width"] == "3"
    assert (row["camera"], row["object_camera"], row["source"]) == ("y", "other", "web")
    assert codes(reading.findings)["renamed_attribute"] == 4
    with pytest.raises(UserError, match="has more than 256 attributes"):
        work(AnnotatedImage("a.png", label="cat", attributes={f"n{number}": "1" for number in range(300)}))


def test_votes_become_annotations(work):
    reading = work(
        AnnotatedImage("a.png", label="cat", votes=(("ann", "cat"), ("bob", "dog"))),
        AnnotatedImage("b.png", objects=(thing("dog", 0, 0, 3, 3, votes=(("ann", "dog"),)),)),
    )
    assert reading.annotations.select("path", "annotator", "label").rows() == [
        ("a.png", "ann", "cat"), ("a.png", "bob", "dog"), ("b.png", "ann", "dog")
    ]  # fmt: skip
    assert reading.annotations["box_x1"].to_list() == [None, None, 3.0]


@pytest.mark.parametrize("setting", ["stored", "upright"])
def test_boxes_follow_the_orientation_that_their_stated_size_shows(tmp_path, work, setting):
    (tmp_path / "root").mkdir()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for name in ("stored", "upright", "open", "other"):
        Image.new("RGB", (12, 10)).save(tmp_path / "root" / f"{name}.jpg", exif=exif)
    sizes = {"stored": (12, 10), "upright": (10, 12), "open": None, "other": (24, 20)}
    images = [
        AnnotatedImage(f"{name}.jpg", size=size, objects=(thing("cat", 0, 0, 4, 2),)) for name, size in sizes.items()
    ]
    reading = work(*images, box_frame=setting)
    turned, same = (8.0, 0.0, 10.0, 4.0), (0.0, 0.0, 4.0, 2.0)
    boxes = {path.removesuffix(".jpg"): tuple(box) for path, *box in reading.rows.select("path", *BOX).iter_rows()}
    assert boxes == {
        "stored": turned,
        "upright": same,
        "open": turned if setting == "stored" else same,
        "other": (None,) * 4,
    }
    assert codes(reading.findings) == {"box_frame": 1, "other_size": 1}


def test_settings_that_cannot_be_right():
    for key, value in (
        ("objects", "crop"),
        ("several", "first"),
        ("box_frame", "exif"),
        ("margin", -0.1),
        ("margin", 11.0),
    ):
        with pytest.raises(UserError, match=f"data.{key}"):
            ObjectReaderOf(name="x", **{key: value}).check()
