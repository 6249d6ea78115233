"""If these fail, Label Studio's answers name other classes, boxes, people or files than were meant."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from annotation_documents import around, broken, choice, is_red, read_or_refused, rectangle, red_patch, task, written
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evensight.data.annotations.label_studio_images import Wanted, combined, links
from evensight.data.annotations.label_studio_json import annotator_of, answers, tasks_of
from evensight.data.annotations.values import Odd
from evensight.data.annotations.votes import majority, matched
from evensight.data.digests import BOX
from evensight.data.findings import Finding
from evensight.data.readers.label_studio import MESSAGES, LabelStudioReader
from evensight.data.reading import Reading, silent
from evensight.errors import UserError
from evensight.runtime.decode import decode_array

SIZE = (8, 6)


def codes(findings: list[Finding]) -> dict[str, int]:
    return {finding.code: finding.count for finding in findings}


@pytest.fixture
def read(tmp_path: Path, write_png):
    """Reads tasks about images 1 to 4."""
    for number in range(1, 5):
        write_png(tmp_path / "images" / f"{number}.png", number)

    def do(tasks: Any, classes: tuple[str, ...] | None = None, **keys: Any) -> Reading:
        file = written(tmp_path / "export.json", tasks)
        reader = LabelStudioReader(**{"name": "l", "root": str(tmp_path / "images"), "annotations": file, **keys})
        return reader.read(tmp_path / "kept", classes, silent)

    return do


def rows_of(reading: Reading, *columns: str) -> list[tuple[Any, ...]]:
    return list(reading.rows.select(columns).iter_rows())


# --- labels and annotators ---


def test_the_label_of_most_and_everybodys_own(read) -> None:
    ann, bob = {"id": 3, "email": "ann@x.org", "first_name": "Ann"}, {"id": 4, "username": "bob"}
    tasks = [
        task("1.png", (ann, [choice("cat")]), (bob, [choice("dog")]), (7, [choice("dog")]), data={"split": "test"}),
        task("2.png", (ann, [choice("dog")]), data={"split": "train", "site": "lab", "age": 3, "fresh": True}),
        task("3.png", ("carl", [choice("cat")]), ("carl", [choice("dog")]), (None, [choice("dog")])),
    ]
    reading = read(tasks)
    assert rows_of(reading, "path", "label", "split", "site", "age", "fresh") == [
        ("1.png", "dog", "test", None, None, None),
        ("2.png", "dog", "train", "lab", "3", "true"),
        ("3.png", "dog", None, None, None, None),
    ]
    assert reading.annotations.columns == ["path", "annotator", "label"]
    assert list(reading.annotations.iter_rows()) == [
        ("1.png", "ann@x.org", "cat"),
        ("1.png", "bob", "dog"),
        ("1.png", "7", "dog"),
        ("2.png", "ann@x.org", "dog"),
        ("3.png", "carl", "dog"),
    ]
    assert codes(reading.findings) == {"repeated_annotator": 1, "no_annotator": 1, "image_without_row": 1}


def test_ties_go_to_the_first_in_the_order_of_the_classes(read) -> None:
    tasks = [task("1.png", (1, [choice("cat")]), (2, [choice("dog")])), task("2.png", (1, [choice("cat")]))]
    for classes, label in ((("dog", "cat"), "dog"), (("cat", "dog"), "cat"), (None, "cat")):
        reading = read(tasks, classes)
        assert rows_of(reading, "path", "label") == [("1.png", label), ("2.png", "cat")]
        tied = next(finding for finding in reading.findings if finding.code == "tied_label")
        assert (tied.count, tied.examples) == (1, ["task 0: cat / dog"])


def test_what_is_no_answer_is_counted(read) -> None:
    skipped = {"completed_by": 1, "was_cancelled": True, "result": [choice("cat")]}
    tasks = [
        {**task("1.png", (2, [choice("dog")])), "predictions": [{"result": [choice("cat")]}] * 2},
        {**task("2.png"), "annotations": [skipped, {"completed_by": 2, "was_cancelled": False, "result": []}]},
        task("3.png", (1, [{**choice("cat"), "value": {"choices": ["cat", "dog"]}}, {"type": "textarea"}])),
        {**task("x"), "data": {"image": None}},
        task("data:image/png;base64,AAAA"),
    ]
    reading = read(tasks)
    assert rows_of(reading, "path", "label") == [("1.png", "dog"), ("2.png", None), ("3.png", None)]
    assert list(reading.annotations.iter_rows()) == [("1.png", "2", "dog")]
    found = codes(reading.findings)
    assert found == {
        "predictions": 2, "skipped_annotation": 1, "several_choices": 1, "unused_result": 1, "no_path": 1,
        "embedded_image": 1, "image_without_row": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "completed_by, name",
    [
        (5, "5"),
        ("ann", "ann"),
        ({"id": 5}, "5"),
        ({"id": 5, "email": ""}, "5"),
        ({"id": 5, "email": "a@x.org", "username": "a"}, "a@x.org"),
        (None, None),
        ("", None),
        (True, None),
        ([5], None),
        ({}, None),
    ],
)
def test_who_answered(completed_by: Any, name: str | None) -> None:
    assert annotator_of(completed_by) == name


def test_other_controls_are_attributes(read) -> None:
    def light(name: str) -> dict:
        return choice(name, "light")

    stars = {"from_name": "stars", "type": "rating", "value": {"rating": 4}}
    tree = {"from_name": "where", "type": "taxonomy", "value": {"taxonomy": [["farm", "field"]]}}
    tasks = [
        task("1.png", (1, [choice("cat"), light("dim"), stars]), (2, [choice("cat"), light("dim")])),
        task("2.png", (1, [choice("dog"), light("dim"), tree]), (2, [light("bright")])),
    ]
    reading = read(tasks, from_name="kind")
    assert rows_of(reading, "label", "light", "stars", "where") == [
        ("cat", "dim", "4", None),
        ("dog", "bright", None, "farm/field"),
    ]
    assert codes(reading.findings)["tied_attribute"] == 1
    by_light = read(tasks, from_name="light")
    assert rows_of(by_light, "label", "kind") == [("dim", "cat"), ("bright", "dog")]
    with pytest.raises(UserError, match=r"data\.from_name: is not set.*'kind' \(choices\), 'light' \(choices\)"):
        read(tasks)
    with pytest.raises(UserError, match=r"data\.from_name: .*'knd' is not known.*Did you mean 'kind'"):
        read(tasks, from_name="knd")


# --- boxes ---


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("frame", ["stored", "upright"])
def test_boxes_lie_on_the_object_whatever_the_camera_did(tmp_path: Path, orientation: int, frame: str) -> None:
    root = tmp_path / "images"
    root.mkdir()
    stored = (4, 3, 20, 9)
    red_patch(root / "a.png", orientation, stored)
    red = is_red(decode_array(root / "a.png"))
    inside = np.zeros((24, 40), bool)
    inside[stored[1] : stored[3], stored[0] : stored[2]] = True
    seen = inside if frame == "stored" else red
    (x0, y0, x1, y1), (height, width) = around(seen), seen.shape
    shares = (100 * x0 / width, 100 * y0 / height, 100 * (x1 - x0) / width, 100 * (y1 - y0) / height)
    tasks = [task("a.png", (1, [rectangle("cat", *shares, (width, height))]))]
    file = written(tmp_path / "e.json", tasks)
    reading = LabelStudioReader(name="l", root=str(root), annotations=file, box_frame=frame).read(
        tmp_path / "kept", None, silent
    )
    for table in (reading.rows, reading.annotations):
        assert table.select(BOX).row(0) == pytest.approx(around(red))
    reader = LabelStudioReader(name="l", root=str(root), annotations=file, box_frame=frame, objects="cut", margin=0.0)
    objects = reader.read(tmp_path / "cut", None, silent)
    assert is_red(decode_array(objects.root / objects.rows["path"][0])).all()


@pytest.mark.parametrize("turn", [0, 30, 90, -45, 200])
def test_a_turned_rectangle_lies_in_its_box(turn: float) -> None:
    # Label Studio turns about the upper left corner, clockwise as seen: OpenCV's matrix turns the other way.
    width, height = 400, 200
    x, y, across, down = 200.0, 90.0, 80.0, 30.0
    matrix = cv2.getRotationMatrix2D((x, y), -turn, 1.0)
    corners = np.array([[x, y], [x + across, y], [x, y + down], [x + across, y + down]])
    turned = corners @ matrix[:, :2].T + matrix[:, 2]
    result = rectangle("cat", 50, 45, 20, 15, (width, height), rotation=turn)
    odd = Odd(MESSAGES)
    (answer,) = answers(task("a", (1, [result])), "kind", "task", odd)
    assert answer.regions[0].box == pytest.approx((*turned.min(axis=0), *turned.max(axis=0)), abs=1e-9)
    assert codes(odd.findings()) == ({"rotated_box": 1} if turn else {})


GOOD_BOX = rectangle("cat", 0, 0, 50, 50, SIZE)


@pytest.mark.parametrize(
    "result, code",
    [
        (rectangle("cat", 0, 0, 0, 50, SIZE), "unusable_box"),
        (rectangle("cat", 0, 0, -5, 50, SIZE), "unusable_box"),
        (rectangle("cat", None, 0, 5, 50, SIZE), "unusable_box"),
        (rectangle("cat", 0, 1e308, 5, 1e308, SIZE), "unusable_box"),
        (rectangle("cat", 0, 0, 5, 5, SIZE, rotation="left"), "unusable_box"),
        ({key: value for key, value in GOOD_BOX.items() if key != "original_width"}, "unusable_box"),
        ({**GOOD_BOX, "original_height": -6}, "unusable_box"),
        ({**GOOD_BOX, "image_rotation": 90}, "rotated_image"),
        ({**GOOD_BOX, "value": {"points": [[0, 0], [1]], "rectanglelabels": ["cat"]}}, "unusable_box"),
    ],
)
def test_boxes_that_are_none(result: dict, code: str) -> None:
    odd = Odd(MESSAGES)
    (answer,) = answers(task("a", (1, [result])), "kind", "task", odd)
    assert [(region.label, region.box) for region in answer.regions] == [("cat", None)]
    assert code in codes(odd.findings())


def test_a_rectangle_beyond_a_hundred_percent_is_clipped(read) -> None:
    tasks = [task("1.png", (1, [rectangle("cat", 50, 50, 80, 20, SIZE)])), task("2.png", (1, []))]
    tasks.append(task("3.png", (1, [rectangle("cat", 120, 50, 80, 20, SIZE)])))
    reading = read(tasks)
    assert reading.rows.select(BOX).rows() == [(4.0, 3.0, 8.0, 4.2), (None,) * 4, (None,) * 4]
    assert codes(reading.findings) | {"image_without_row": 1} == {
        "clipped_box": 1, "unusable_box": 1, "image_without_row": 1,
    }  # fmt: skip


def test_labels_and_rectangles_in_controls_of_their_own(read) -> None:
    shaped = rectangle("", 0, 0, 50, 100, SIZE)
    place = {key: shaped["value"][key] for key in ("x", "y", "width", "height", "rotation")}
    parts = [
        {**shaped, "id": "r1", "type": "rectangle", "from_name": "where", "value": place},
        {**shaped, "id": "r1", "type": "labels", "value": {**place, "labels": ["dog"]}},
        {**shaped, "id": "r1", "type": "choices", "from_name": "pose", "value": {**place, "choices": ["sitting"]}},
        {**shaped, "id": "r2", "type": "rectangle", "from_name": "where", "value": place},
    ]
    reading = read([task("1.png", (1, parts)), task("2.png", (1, [choice("far", "distance")]))], from_name="kind")
    assert rows_of(reading, "label", "pose", "distance", *BOX) == [
        ("dog", "sitting", None, 0.0, 0.0, 4.0, 6.0),
        (None, None, "far", None, None, None, None),
    ]
    assert codes(reading.findings)["region_without_label"] == 1


def test_a_box_without_a_name_has_that_of_its_image(read) -> None:
    def place(x: float) -> dict:
        return {**rectangle("here", x, 0, 50, 100, SIZE), "from_name": "where"}

    tasks = [
        task("1.png", ("a", [choice("dog"), place(0), place(50)]), ("b", [place(0), choice("dog")])),
        task("2.png", ("a", [choice("cat"), place(50)]), ("b", [choice("dog"), place(50)]), ("c", [choice("cat")])),
        task("3.png", ("a", [choice("cat")])),
    ]
    reading = read(tasks, from_name="kind")
    assert rows_of(reading, "label", *BOX, "where") == [
        ("dog", 0.0, 0.0, 8.0, 6.0, "here"),
        ("cat", 4.0, 0.0, 8.0, 6.0, "here"),
        ("cat", None, None, None, None, None),
    ]
    said = [(row["path"], row["annotator"], row["label"]) for row in reading.annotations.to_dicts()]
    assert said == [
        ("1.png", "a", "dog"), ("1.png", "b", "dog"),
        ("2.png", "a", "cat"), ("2.png", "b", "dog"), ("2.png", "c", "cat"), ("3.png", "a", "cat"),
    ]  # fmt: skip


def test_boxes_of_several_people_are_one_object(read, tmp_path: Path) -> None:
    def cat(x: float, name: str = "cat") -> dict:
        return rectangle(name, x, 0, 50, 50, SIZE)

    tasks = [
        task("1.png", ("a", [cat(0)]), ("b", [cat(12.5, "dog")]), ("c", [cat(12.5, "dog")])),
        task("2.png", ("a", [cat(0), cat(50)]), ("b", [cat(50)])),
    ]
    reading = read(tasks, objects="cut", margin=0.0)
    boxes = {"1.png": ["dog"], "2.png": ["cat", "cat"]}
    assert reading.rows.group_by("source", maintain_order=True).agg("label").to_dict(as_series=False) == {
        "source": list(boxes),
        "label": list(boxes.values()),
    }
    first = reading.rows.row(0, named=True)
    pixels = decode_array(tmp_path / "images" / "1.png")[0:3, 1:5]
    assert np.array_equal(decode_array(reading.root / first["path"]), pixels)
    said = [row["annotator"] + " " + row["label"] for row in reading.annotations.to_dicts()]
    assert said == ["a cat", "b dog", "c dog", "a cat", "a cat", "b cat"]
    assert [len(reading.annotations.filter(path=path)) for path in reading.rows["path"]] == [3, 1, 2]
    assert codes(reading.findings)["object_of_few"] == 1


def test_polygons_and_brushes_become_masks(read) -> None:
    from test_data_masks import coded

    inside = np.zeros((6, 8), np.uint8)
    inside[2:5, 1:7] = 1
    stated = {"original_width": 8, "original_height": 6, "image_rotation": 0, "from_name": "kind", "to_name": "image"}
    points = [[12.5, 100 / 3], [87.5, 100 / 3], [87.5, 500 / 6], [12.5, 500 / 6]]
    polygon = {**stated, "type": "polygonlabels", "value": {"points": points, "polygonlabels": ["cat"]}}
    brush = {**stated, "type": "brushlabels", "value": {"format": "rle", "rle": coded(inside), "brushlabels": ["cat"]}}
    cut_short = {**brush, "value": {**brush["value"], "rle": coded(inside)[:-2]}}
    tasks = [task(f"{number}.png", (1, [result])) for number, result in enumerate((polygon, brush, cut_short), start=1)]
    reading = read(tasks, masks=True)
    for row in reading.rows.to_dicts()[:2]:
        mask = np.array(Image.open(reading.mask_root / row["mask"]))
        assert np.array_equal(mask > 0, inside > 0)
        assert tuple(row[side] for side in BOX) == pytest.approx((1.0, 2.0, 7.0, 5.0))
    assert reading.rows["mask"][2] is None and codes(reading.findings)["broken_brush"] == 1
    assert "mask" not in read(tasks, masks=False).rows.columns


# --- one answer of several; oracles by counting ---


@given(labels=st.lists(st.sampled_from("abc"), min_size=1, max_size=9), order=st.permutations("abc"))
def test_a_majority_is_what_counting_says(labels: list[str], order: list[str]) -> None:
    counts = sorted(Counter(labels).values())
    label, tied = majority(labels, order)
    assert labels.count(label) == counts[-1] and tied == (len(counts) > 1 and counts[-2] == counts[-1])
    assert not any(labels.count(other) == counts[-1] for other in order[: order.index(label)])


CORNERS = st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 5), st.integers(1, 5))
PERSON = st.lists(CORNERS.map(lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])), max_size=4)


def pixels_shared(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Intersection over union by counting pixels."""
    masks = np.zeros((2, 12, 12), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, (one, other), strict=True):
        mask[y0:y1, x0:x1] = True
    return float((masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum())


@given(boxes=st.lists(PERSON, max_size=4))
def test_matched_boxes_overlap_and_each_is_in_one_object(boxes: list[list[tuple[int, ...]]]) -> None:
    objects = matched(boxes)
    assert sorted(box for group in objects for box in group) == [
        (person, place) for person, drawn in enumerate(boxes) for place in range(len(drawn))
    ]
    for group in objects:
        people = [person for person, _ in group]
        assert len(set(people)) == len(people) and people == sorted(people)
        first = boxes[group[0][0]][group[0][1]]
        assert all(pixels_shared(first, boxes[person][place]) >= 0.5 for person, place in group[1:])
    # A box that began an object had none before it that it could have joined.
    for number, group in enumerate(objects):
        person, place = group[0]
        for other in objects[:number]:
            mine = [at for who, at in other if who == person]
            taken = bool(mine) and mine[0] < place
            before = other[0][0] < person
            overlap = pixels_shared(boxes[other[0][0]][other[0][1]], boxes[person][place])
            assert taken or not before or overlap < 0.5


# --- files ---


@pytest.mark.parametrize(
    "link, paths",
    [
        ("a/b.jpg", ["a/b.jpg"]),
        ("/data/local-files/?d=a/b%20c.jpg", ["a/b c.jpg"]),
        ("/data/local-files/?d=../x.jpg", ["../x.jpg"]),
        ("/data/local-files/?d=%2Fetc/passwd", ["/etc/passwd"]),
        (
            "/data/upload/3/1a2b3c4d-my_cat.jpg",
            ["upload/3/1a2b3c4d-my_cat.jpg", "3/1a2b3c4d-my_cat.jpg", "1a2b3c4d-my_cat.jpg", "my_cat.jpg"],
        ),
        ("/data/upload/3/cat.jpg", ["upload/3/cat.jpg", "3/cat.jpg", "cat.jpg"]),
        ("https://x.org/data/upload/3/cat.jpg", ["https://x.org/data/upload/3/cat.jpg"]),
        ("s3://bucket/cat.jpg", ["s3://bucket/cat.jpg"]),
        ("data:image/png;base64,AA", None),
    ],
)
def test_links(link: str, paths: list[str] | None) -> None:
    assert links(link) == paths


def test_links_lead_to_files_below_the_root_or_nowhere(tmp_path: Path, write_png) -> None:
    root = tmp_path / "media"
    for number, path in enumerate(("a/b.png", "upload/3/0000aaaa-c.png", "d.png")):
        write_png(root / path, number)
    write_png(tmp_path / "secret.png", 9)
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    good = ["/data/local-files/?d=a/b.png", "/data/upload/3/0000aaaa-c.png", "/data/upload/9/12345678-d.png"]
    bad = [
        "/data/local-files/?d=../secret.png",
        "/data/upload/../../secret.png",
        f"/data/local-files/?d={tmp_path}/secret.png",
        "/data/local-files/?d=a%00.png",
        "https://x.org/a.png",
        "s3://bucket/a.png",
        "gs://bucket/a.png",
        "link.png",
    ]
    tasks = [task(link, (1, [choice("cat")])) for link in [*good, *bad]]
    file = written(tmp_path / "e.json", tasks)
    reading = LabelStudioReader(name="l", root=str(root), annotations=file).read(tmp_path / "kept", None, silent)
    assert reading.rows["path"].to_list() == ["a/b.png", "upload/3/0000aaaa-c.png", "d.png"]
    assert codes(reading.findings)["outside_root"] >= 6


def test_the_key_of_the_image(read) -> None:
    tasks = [task("1.png", (1, [choice("cat")]), data={"note": "no image", "pages": [1]})]
    assert read(tasks).rows["path"].to_list() == ["1.png"]
    two = [task("1.png", (1, [choice("cat")]), data={"thumb": "2.png"})]
    with pytest.raises(UserError, match=r"data\.image_key: is not set.*several look like images: 'image', 'thumb'"):
        read(two)
    assert read(two, image_key="thumb").rows["path"].to_list() == ["2.png"]
    with pytest.raises(UserError, match=r"data\.image_key: .*'imgae' is not known.*Did you mean 'image'"):
        read(two, image_key="imgae")
    with pytest.raises(UserError, match=r"data\.image_key: .*\('text'\) none looks like an image"):
        read([{"data": {"text": "x"}, "annotations": []}])


GOOD = task("1.png", (1, [choice("cat")]))


@pytest.mark.parametrize(
    "document, said",
    [
        ({}, "holds an object; Label Studio's JSON export is a list of tasks"),
        ([1], r"task \[0\] is a number"),
        ([{"annotations": []}], r"task \[0\]: its data is null"),
        ([{"data": {"image": "1.png"}}], r"task \[0\]: its annotations are null"),
        ([{"image": "1.png", "annotation_id": 1, "annotator": 1}], "JSON-MIN; export as JSON"),
        ([{**GOOD, "id": 5}, {**GOOD, "id": 5}], r"task \[1\]: task id 5 is used twice"),
        ([{**GOOD, "id": 5.0}], r"task \[0\]: the id of its task is 5\.0"),
        ([{**GOOD, "annotations": [{"id": 1, "result": []}] * 2}], "annotation id 1 is used twice"),
        ([{**GOOD, "annotations": [{"result": {}}]}], r"annotation \[0\] has no list of results"),
        ([{**GOOD, "annotations": [None]}], r"annotation \[0\] has no list of results"),
        ([{**GOOD, "annotations": [{"result": [1]}]}], "has a result that is no object"),
        ([task("1.png", (1, [choice("cat")] * 20_001))], "has 20,001 results; at most 20,000 are read"),
        ([{**GOOD, "annotations": []}], "no annotation names a class"),
        ([{**GOOD, "data": {"image": "1.png", **{f"k{n}": n for n in range(300)}}}], "more than 256 attributes"),
    ],
)
def test_wrong_files(read, document: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(document)


# --- any document ---

WHO = st.sampled_from((1, "ann", {"id": 2, "email": "b@x.org"}, None))
SAID = st.lists(
    st.tuples(WHO, st.sampled_from(("cat", "dog", "cafe\u0301"))), max_size=4, unique_by=lambda said: str(said[0])
)


@given(said=SAID)
def test_any_answers_come_back_as_they_were(said: list[tuple[Any, str]]) -> None:
    tasks = tasks_of(
        json.loads(json.dumps([task("a.png", *((who, [choice(name)]) for who, name in said))])), "any.json"
    )
    odd = Odd(MESSAGES)
    label, votes, attributes, objects = combined(answers(tasks[0], "kind", "t", odd), Wanted(), "t", odd)
    names = [name.replace("e\u0301", "\xe9") for _, name in said]
    assert (label in names) if said else label is None
    who = {"1": 1, "ann": "ann", "b@x.org": {"id": 2, "email": "b@x.org"}}
    assert [(who[annotator], name) for annotator, name in votes] == [
        (given, name) for (given, _), name in zip(said, names, strict=True) if given is not None
    ]
    assert not attributes and not objects


RICH = [
    task("1.png", (1, [choice("cat"), choice("dim", "light")]), ({"email": "a@x.org"}, [choice("dog")]), id=1),
    task("/data/local-files/?d=2.png", ("b", [rectangle("dog", 0, 0, 50, 50, SIZE, id="r", rotation=10)]), id=2),
    task(
        "3.png",
        (
            2,
            [
                {
                    **rectangle("cat", 0, 0, 5, 5, SIZE),
                    "value": {"points": [[0, 0], [50, 0], [50, 60]], "labels": ["cat"]},
                }
            ],
        ),
        (3, [{"type": "taxonomy", "from_name": "kind", "value": {"taxonomy": [["a", "b"]]}}]),
        data={"split": "train", "site": "x"},
        predictions=[{}],
    ),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    for number in range(1, 5):
        Image.fromarray(np.full((6, 8, 3), number, np.uint8)).save(folder / f"{number}.png")
    return folder


@given(document=broken(RICH), masks=st.booleans(), objects=st.sampled_from(("image", "cut")))
def test_any_broken_document_is_read_or_refused(document: Any, masks: bool, objects: str, place: Path) -> None:
    file = written(place / "broken.json", document)
    keys = {"root": str(place), "annotations": file, "image_key": "image", "from_name": "kind", "several": "largest"}
    reader = LabelStudioReader(name="l", masks=masks, objects=objects, **keys)
    read_or_refused(reader, place / "kept")


@given(content=st.one_of(st.binary(max_size=60), st.integers(0, 300)))
def test_any_bytes_are_read_or_refused(content: bytes | int, place: Path) -> None:
    text = json.dumps(RICH).encode()
    (place / "bytes.json").write_bytes(text[:-content] if isinstance(content, int) else content)
    reader = LabelStudioReader(name="l", root=str(place), annotations=str(place / "bytes.json"), from_name="kind")
    read_or_refused(reader, place / "kept")
