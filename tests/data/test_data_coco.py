"""If these fail, COCO's annotations name other classes, boxes or pixels than their authors meant."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotation_documents import around, broken, coco, is_red, read_or_refused, red_patch, written
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evensight.data.annotations.coco_json import MESSAGES, Wanted, parse
from evensight.data.annotations.values import Odd
from evensight.data.digests import BOX
from evensight.data.findings import Finding
from evensight.data.readers.coco import CocoReader
from evensight.data.reading import Reading, silent
from evensight.errors import UserError
from evensight.runtime.decode import decode_array


def codes(findings: list[Finding]) -> dict[str, int]:
    return {finding.code: finding.count for finding in findings}


def image(number: int, **more: Any) -> dict:
    return {"id": number, "file_name": f"{number}.png", "width": 8, "height": 6, **more}


def box(image_id: int, category: int = 10, bbox: Any = (1, 1, 3, 4), **more: Any) -> dict:
    return {"image_id": image_id, "category_id": category, "bbox": list(bbox), **more}


@pytest.fixture
def read(tmp_path: Path, write_png):
    """Reads a document about images 1 to 4."""
    for number in range(1, 5):
        write_png(tmp_path / "images" / f"{number}.png", number)

    def do(document: Any, classes: tuple[str, ...] | None = None, **keys: Any) -> Reading:
        file = written(tmp_path / "instances.json", document)
        reader = CocoReader(**{"name": "c", "root": str(tmp_path / "images"), "annotations": file, **keys})
        return reader.read(tmp_path / "kept", classes, silent)

    return do


def test_rows_of_whole_images(read) -> None:
    licences = [{"id": 1, "name": "CC BY"}, {"id": 2, "name": "CC0"}]
    images = [
        image(1, license=2, site="lab", date_captured="2020-01-02 03:04:05", split="train"),
        image(2, license=9, flickr_url="http://x.org/2", split="val"),
        image(3, attributes={"site": "field", "clear": True, "score": 0.5}),
    ]
    objects = [
        box(2, 20, (0, 0, 8, 6), id=7, attributes={"occluded": False}),
        box(1, 10, id=5),
        box(1, 10, (4.5, 2, 2, 2.5), id=6),
    ]
    reading = read(coco(images, objects, licenses=licences))
    rows = {
        row["path"]: {key: value for key, value in row.items() if value is not None} for row in reading.rows.to_dicts()
    }
    # The box of two objects of one class is around both.
    first = dict(zip(BOX, (1.0, 1.0, 6.5, 5.0), strict=True))
    second = dict(zip(BOX, (0.0, 0.0, 8.0, 6.0), strict=True))
    assert rows["1.png"] == {
        "path": "1.png", "label": "cat", "split": "train", "site": "lab", "license": "CC0",
        "date_captured": "2020-01-02 03:04:05", **first,
    }  # fmt: skip
    assert rows["2.png"] == {"path": "2.png", "label": "dog", "split": "val", "occluded": "false", **second}
    assert rows["3.png"] == {"path": "3.png", "site": "field", "clear": "true", "score": "0.5"}
    assert reading.root.name == "images" and reading.annotations is None
    assert codes(reading.findings) == {"image_without_row": 1}


def test_categories_are_known_by_name_and_the_mapping_is_said(read, caplog: pytest.LogCaptureFixture) -> None:
    document = coco([image(1), image(2)], [box(1, 20), box(2, 10)], names=("dog", "cat"))
    with caplog.at_level(logging.INFO):
        rows = read(document, ("cat", "dog")).rows
    assert dict(rows.select("path", "label").iter_rows()) == {"1.png": "cat", "2.png": "dog"}
    assert "'cat' -> 'cat' (1)" in caplog.text


def test_a_file_a_split_and_folders_below_the_root(tmp_path: Path, write_png) -> None:
    for number, path in enumerate(("train2017/a.png", "val2017/a.png", "val2017/deep/b.png", "val2017/lost.png")):
        write_png(tmp_path / "coco" / path, number)
    size = {"width": 8, "height": 6}
    train = written(tmp_path / "t.json", coco([{"id": 1, "file_name": "a.png", **size}], [box(1, 20)]))
    others = [{"id": 1, "file_name": "a.png", **size}, {"id": 2, "file_name": "deep/b.png", **size}]
    validation = written(tmp_path / "v.json", coco(others, [box(1), box(2)]))
    reader = CocoReader(
        name="c",
        root=str(tmp_path / "coco"),
        annotations={"train": train, "val": validation},
        folders={"train": "train2017", "val": "val2017"},
    )
    reading = reader.read(tmp_path / "kept", None, silent)
    assert sorted(reading.rows.select("path", "label", "split").iter_rows()) == [
        ("train2017/a.png", "dog", "train"),
        ("val2017/a.png", "cat", "val"),
        ("val2017/deep/b.png", "cat", "val"),
    ]
    assert [finding.examples for finding in reading.findings] == [["val2017/lost.png"]]


def test_names_that_lead_out_of_a_folder_are_not_followed(tmp_path: Path, write_png) -> None:
    write_png(tmp_path / "coco" / "in" / "a.png", 0)
    write_png(tmp_path / "secret.png", 1)
    (tmp_path / "coco" / "in" / "link.png").symlink_to(tmp_path / "secret.png")
    bad = [str(tmp_path / "secret.png"), "../../secret.png", "link.png", "https://x.org/a.png", "a\0.png", "C:\\a.png"]
    images = [{"id": place, "file_name": name} for place, name in enumerate(["a.png", *bad])]
    file = written(tmp_path / "c.json", coco(images, [box(place) for place in range(len(images))]))
    reader = CocoReader(name="c", root=str(tmp_path / "coco"), annotations={"all": file}, folders={"all": "in"})
    reading = reader.read(tmp_path / "kept", None, silent)
    assert reading.rows["path"].to_list() == ["in/a.png"]
    assert codes(reading.findings) == {"foreign_path": 1, "outside_root": 5}


def test_objects_of_several_classes(read) -> None:
    document = coco([image(1), image(2)], [box(1, 10, (0, 0, 2, 2)), box(1, 20, (2, 2, 4, 4)), box(2, 10)])
    refused = read(document)
    assert refused.rows["path"].to_list() == ["2.png"] and codes(refused.findings)["several_classes"] == 1
    largest = read(document, several="largest").rows.row(0, named=True)
    assert (largest["label"], *(largest[side] for side in BOX)) == ("dog", 2.0, 2.0, 6.0, 6.0)


def test_crowds_are_left_out_unless_they_are_asked_for(read) -> None:
    runs = {"size": [6, 8], "counts": [0, 48]}
    document = coco([image(1)], [box(1, 10), box(1, 20, (0, 0, 8, 6), iscrowd=1, segmentation=runs)])
    left_out = read(document)
    assert left_out.rows["label"].to_list() == ["cat"] and codes(left_out.findings)["crowd"] == 1
    assert read(document, crowd="keep", several="largest").rows["label"].to_list() == ["dog"]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("frame", ["stored", "upright"])
def test_boxes_and_masks_lie_on_the_object_whatever_the_camera_did(
    tmp_path: Path, orientation: int, frame: str
) -> None:
    stored = (5, 3, 19, 10)
    root = tmp_path / "images"
    root.mkdir()
    red_patch(root / "a.png", orientation, stored)
    decoded = decode_array(root / "a.png")
    red = is_red(decoded)
    # What a tool would write: of the rows as stored, or of the image as people see it.
    inside = np.zeros((24, 40), bool)
    inside[stored[1] : stored[3], stored[0] : stored[2]] = True
    seen = inside if frame == "stored" else red
    x0, y0, x1, y1 = around(seen)
    height, width = seen.shape
    entry = {"id": 1, "file_name": "a.png", "width": width, "height": height}
    polygon = [[x0, y0, x1, y0, x1, y1, x0, y1]]
    document = coco([entry], [box(1, 10, (x0, y0, x1 - x0, y1 - y0), segmentation=polygon)])
    file = written(tmp_path / "c.json", document)
    reader = CocoReader(name="c", root=str(root), annotations=file, masks=True, box_frame=frame)
    reading = reader.read(tmp_path / "kept", None, silent)
    row = reading.rows.row(0, named=True)
    assert tuple(row[side] for side in BOX) == around(red)
    assert np.array_equal(np.array(Image.open(reading.mask_root / row["mask"])) > 0, red)
    # A size that fits one of both decides, whatever the setting says.
    other = CocoReader(name="c", root=str(root), annotations=file, box_frame={"stored": "upright"}.get(frame, "stored"))
    if orientation in (5, 6, 7, 8):
        again = other.read(tmp_path / "kept", None, silent).rows.row(0, named=True)
        assert tuple(again[side] for side in BOX) == around(red)
    cut = CocoReader(name="c", root=str(root), annotations=file, objects="cut", margin=0, box_frame=frame, masks=True)
    objects = cut.read(tmp_path / "cut", None, silent)
    pixels = decode_array(objects.root / objects.rows["path"][0])
    assert is_red(pixels).all() and pixels.shape[0] * pixels.shape[1] == 14 * 7


def test_masks_by_run_lengths_and_several_objects(read) -> None:
    inside = np.zeros((6, 8), bool)
    inside[1:3, 2:5] = True
    runs, value = [0], False
    for pixel in inside.T.reshape(-1):
        if pixel != value:
            runs, value = [*runs, 0], pixel
        runs[-1] += 1
    objects = [
        box(1, segmentation={"size": [6, 8], "counts": runs}),
        box(1, segmentation=[[0, 5, 2, 5, 2, 6, 0, 6]]),
        box(2, segmentation={"size": [6, 7], "counts": [42]}),
        box(3, segmentation=[[1, 1]]),
        box(4),
    ]
    reading = read(coco([image(number) for number in range(1, 5)], objects), masks=True)
    masks = dict(reading.rows.select("path", "mask").iter_rows())
    inside[5:6, 0:2] = True
    assert np.array_equal(np.array(Image.open(reading.mask_root / masks["1.png"])) > 0, inside)
    assert [masks[f"{number}.png"] for number in (2, 3, 4)] == [None] * 3
    broken_masks = next(finding for finding in reading.findings if finding.code == "broken_mask")
    assert broken_masks.count == 2 and "three or more pairs" in " ".join(broken_masks.examples)


def test_a_mask_of_a_giant_image_is_not_drawn(read) -> None:
    giant = image(1, width=2**30, height=2**30)
    reading = read(coco([giant, image(2)], [box(1, segmentation=[[0, 0, 9, 0, 9, 9]]), box(2)]), masks=True)
    assert reading.mask_root is None and codes(reading.findings)["other_size"] == 1


def test_objects_are_cut_out_with_their_attributes(read, tmp_path: Path) -> None:
    document = coco(
        [image(1, site="lab"), image(2)], [box(1, 10, (1, 1, 3, 4), attributes={"tail": "long"}), box(1, 20)]
    )
    reading = read(document, objects="cut", margin=0.0)
    rows = reading.rows.sort("label").to_dicts()
    assert [(row["label"], row["tail"], row["site"], row["source"]) for row in rows] == [
        ("cat", "long", "lab", "1.png"),
        ("dog", None, "lab", "1.png"),
    ]
    whole = decode_array(tmp_path / "images" / "1.png")
    assert np.array_equal(decode_array(reading.root / rows[0]["path"]), whole[1:5, 1:4])
    assert codes(reading.findings)["no_label"] == 1


def test_rows_that_cannot_be_used_are_counted(read) -> None:
    images = [image(1), image(2), image(3), {"id": 8}, {"id": 9, "file_name": ""}, image(4, file_name="no.png")]
    bad = [[1, 2, 3], [1, 2, -3, 4], [0, 0, 0, 5], ["a", 1, 1, 1], [1, 1, 1e308, 1e308], [50, 50, 2, 2], None]
    objects = [box(1 + place % 3, 10, ()) | {"bbox": bbox} for place, bbox in enumerate(bad)]
    objects.append(box(3, 10, (-2, -2, 50, 50), attributes={"polygon": [1], "path": "x", "error": "y", "a\nb": 1}))
    reading = read(coco(images, objects))
    found = codes(reading.findings)
    assert found["no_path"] == 2 and found["missing_image"] == 1
    assert sum(finding.count for finding in reading.findings if finding.code == "unusable_box") == 5
    assert found["clipped_box"] == 2 and found["unusable_attribute"] == 1 and found["nameless_attribute"] == 1
    assert found["renamed_attribute"] == 2
    assert dict(reading.rows.select("path", "label").iter_rows()) == {f"{number}.png": "cat" for number in (1, 2, 3)}


GOOD = coco([image(1), image(2)], [box(1, id=1), box(2, 20, id=2)])


@pytest.mark.parametrize(
    "change, said",
    [
        ({"images": None}, "images is null; a list of objects is needed"),
        ({"images": [1]}, r"images\[0\] is a number"),
        ({"images": [image(1), image(1)]}, "image id 1 is used twice"),
        ({"images": [image(True)]}, r"images\[0\]: its id is true"),
        ({"images": [{"file_name": "1.png"}]}, r"images\[0\]: its id is null"),
        ({"images": [image(1.0)]}, r"images\[0\]: its id is 1\.0"),
        ({"annotations": [box(1, id=3), box(2, id=3)]}, "annotation id 3 is used twice"),
        ({"annotations": [box(7)]}, r"annotations\[0\]: image id 7 is defined nowhere; defined are: 1, 2"),
        ({"annotations": [box(1, 7)]}, r"annotations\[0\]: category id 7 is defined nowhere; defined are: 10, 20"),
        ({"annotations": [{"category_id": 10}]}, r"annotations\[0\]: its image_id is null"),
        (
            {"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]},
            "category id 1 is used twice, for 'a' and 'b'",
        ),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "category 'a' has two ids, 1 and 2"),
        ({"categories": [{"id": 1}]}, r"categories\[0\]: its name is null"),
        ({"images": [image(1, **{f"k{n}": n for n in range(300)})], "annotations": []}, "more than 256 attributes"),
    ],
)
def test_wrong_files(read, change: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read({**GOOD, **change})


@pytest.mark.parametrize(
    "document, said",
    [
        ([], "holds a list; COCO is an object with images, annotations and categories"),
        ({"images": [], "annotation": [], "categories": []}, "'annotations' is not known.*Did you mean 'annotation'"),
        ({}, "'images' is not known; allowed: none"),
    ],
)
def test_files_of_another_shape(read, document: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(document)


@pytest.mark.parametrize(
    "keys, said",
    [
        ({"annotations": "no.json"}, r"data\.annotations: 'no\.json' does not exist"),
        ({"annotations": {"train": "no.json"}}, r"data\.annotations\.train: 'no\.json' does not exist"),
        ({"annotations": {"trian": "no.json"}}, r"data\.annotations: split: 'trian'.*Did you mean 'train'"),
        ({"annotations": {}}, r"data\.annotations: found \{\}"),
        ({"annotations": ["a.json"]}, r"data\.annotations: found \['a\.json'\]"),
        ({"annotations": "???"}, r"data\.annotations: a value is needed"),
        ({"crowd": "drop"}, r"data\.crowd: 'drop'"),
        ({"objects": "cuts"}, r"data\.objects: 'cuts'.*Did you mean 'cut'"),
        ({"folders": {"test": "x"}}, r"data\.folders: split: 'test'"),
        ({"folders": {"all": ".."}}, r"data\.folders\.all: '\.\.' leads out"),
        ({"folders": {"all": "none"}}, r"data\.folders\.all: 'none' is no folder"),
        ({"root": "nowhere"}, r"data\.root: 'nowhere' does not exist"),
    ],
)
def test_wrong_settings(read, keys: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(GOOD, **keys)


# --- any document ---

NAMES = ("cat", "dog", "cafe\u0301", "two words")
OBJECT = st.tuples(
    st.integers(0, len(NAMES) - 1), st.integers(0, 6), st.integers(0, 4), st.integers(1, 9), st.integers(1, 9)
)
PLACE = st.lists(OBJECT, max_size=3)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four images of 8 x 6."""
    folder = tmp_path_factory.mktemp("place")
    for number in range(1, 5):
        pixels = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@given(objects=st.lists(PLACE, max_size=4), order=st.permutations(range(9)))
def test_any_objects_come_back_as_they_were(objects: list[list[tuple[int, ...]]], order: list[int]) -> None:
    ids = [10 * place - 30 for place in order]  # neither positions nor in order
    images = [image(ids[place], file_name=f"{place}.png") for place in range(len(objects))]
    annotations = [
        box(ids[place], 10 + 10 * name, sides) for place, held in enumerate(objects) for name, *sides in held
    ]
    document = json.loads(json.dumps(coco(images, annotations, NAMES)))
    found = parse(document, "any.json", Wanted(), Odd(MESSAGES))
    assert [each.path for each in found] == [f"{place}.png" for place in range(len(objects))]
    for each, held in zip(found, objects, strict=True):
        assert [(one.label, one.box) for one in each.objects] == [
            (NAMES[name], (x, y, x + width, y + height)) for name, x, y, width, height in held
        ]


RICH = coco(
    [image(1, license=1, split="train", attributes={"a": 1}), image(2, site="x"), image(3)],
    [
        box(1, id=1, iscrowd=0, segmentation=[[1, 1, 4, 1, 4, 5]], attributes={"b": "c"}),
        box(2, 20, id=2, segmentation={"size": [6, 8], "counts": "03h0"}),
        box(2, 20, id=3, iscrowd=1, segmentation={"size": [6, 8], "counts": [2, 40, 6]}),
    ],
    licenses=[{"id": 1, "name": "CC0"}],
)


@given(
    document=broken(RICH), masks=st.booleans(), objects=st.sampled_from(("image", "cut")), given_classes=st.booleans()
)
def test_any_broken_document_is_read_or_refused(
    document: Any, masks: bool, objects: str, given_classes: bool, place: Path
) -> None:
    keys = {"root": str(place), "annotations": written(place / "broken.json", document), "several": "largest"}
    reader = CocoReader(name="c", masks=masks, objects=objects, crowd="keep", **keys)
    read_or_refused(reader, place / "kept", ("cat", "dog") if given_classes else None)


@given(
    content=st.one_of(
        st.binary(max_size=60),
        st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
        st.integers(0, 300),
    )
)
def test_any_bytes_are_read_or_refused(content: bytes | int, place: Path) -> None:
    text = json.dumps(RICH).encode()
    (place / "bytes.json").write_bytes(text[:-content] if isinstance(content, int) else content)
    read_or_refused(CocoReader(name="c", root=str(place), annotations=str(place / "bytes.json")), place / "kept")
