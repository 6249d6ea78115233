"""Duplicates: a leak that is not said, or said where there is none, fails here."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest
from draws import drawn
from scipy import stats

from evensight.audit import chapter as words
from evensight.audit.chapter import AuditFinding, Chapter
from evensight.audit.data import AuditData
from evensight.audit.duplicates import chapter
from evensight.config import AuditConfig
from evensight.data import similar
from evensight.data.datasets import roots
from evensight.errors import UserError
from evensight.progress import silent


def pictures(num: int, seed: int = 0) -> list[np.ndarray]:
    """Smooth images that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (num, 9, 9, 3), dtype=np.uint8)
    return [cv2.resize(each, (90, 72), interpolation=cv2.INTER_CUBIC) for each in coarse]


def cropped(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[4:-3, 5:-5])


def seen(images: list[np.ndarray], labels: Any, splits: Any, contents: list[str] | None = None, **kw: Any) -> AuditData:
    """Rows of images; equal contents are numbered, as row ids are."""
    data = drawn(labels, splits=splits, **kw) if "attributes" in kw else drawn(labels, {}, splits, **kw)
    found = [similar.hash_and_thumbnail(image) for image in images]
    contents = contents or [f"c{at:04d}" for at in range(len(images))]
    ids = [f"{content}#{contents[:at].count(content)}" for at, content in enumerate(contents)]
    scores = dataclasses.replace(
        data.scores,
        hashes=np.stack([each for each, _ in found]),
        thumbnails=np.stack([small for _, small in found]),
    )
    return dataclasses.replace(data, scores=scores, row_ids=ids)


def look(data: AuditData) -> tuple[Chapter, dict[str, AuditFinding]]:
    told = chapter(data, AuditConfig(), silent)
    assert len({finding.code for finding in told.findings}) == len(told.findings)
    return told, {finding.code: finding for finding in told.findings}


SPLITS = ["train"] * 40 + ["validation"] * 10 + ["test"] * 20


def test_nothing_is_said_of_different_images():
    told, findings = look(seen(pictures(70), [0] * 70, SPLITS))
    assert findings == {}
    assert told.figures == {"leakage": {"x": 0, "n": 20}}
    assert isinstance(told.blocks[0], words.Paragraph)
    assert all(len(table) == 0 for table in told.tables.values())
    assert told.tables["duplicates"].schema["row_id"] == pl.String
    assert told.tables["quarantine_duplicates"].columns == ["row_id", "code", "reason"]


def test_a_copy_of_a_test_image_in_training_is_an_alarm_and_is_quarantined():
    images = pictures(70)
    images[0] = images[50]  # equal
    images[1] = cropped(images[51])  # nearly
    images[2] = cropped(images[52])
    contents = [f"c{at:04d}" for at in range(70)]
    contents[0] = contents[50]
    told, findings = look(seen(images, [0] * 70, SPLITS, contents))
    leak = findings["leakage"]
    assert leak.severity == "alarm"
    assert leak.evidence["x"] == 3 and leak.evidence["n"] == 20 and leak.evidence["equal"] == 1
    interval = stats.binomtest(3, 20).proportion_ci(0.95, method="exact")
    assert (leak.evidence["low"], leak.evidence["high"]) == pytest.approx((interval.low, interval.high))
    assert sorted(leak.rows) == [50, 51, 52]
    assert told.figures["leakage"] == {"x": 3, "n": 20}
    first = leak.exhibits[0].pictures
    assert [picture.row for picture in first] == [50, 0]
    assert [picture.caption for picture in first] == ["test, cat", "train, cat"]
    quarantined = told.tables["quarantine_duplicates"]
    assert sorted(quarantined.select("row_id", "code").rows()) == [
        ("c0001#0", "leaks_to_test"),
        ("c0002#0", "leaks_to_test"),
        ("c0050#0", "leaks_to_test"),
    ]
    table = told.tables["duplicates"]
    assert sorted(table["kind"].to_list()) == ["equal"] * 2 + ["near"] * 4
    assert table.group_by("cluster").len()["len"].to_list() == [2, 2, 2]


def test_copies_between_the_other_splits_are_warnings():
    images = pictures(70)
    images[0] = cropped(images[45])  # training, validation
    images[46] = cropped(images[60])  # validation, test
    told, findings = look(seen(images, [0] * 70, SPLITS))
    assert findings.keys() == {"validation_in_train", "test_in_validation"}
    assert {finding.severity for finding in findings.values()} == {"warning"}
    assert told.figures["leakage"] == {"x": 0, "n": 20}
    assert len(told.tables["quarantine_duplicates"]) == 0


def test_two_labels_of_one_picture():
    images, labels = pictures(70), [0] * 70
    images[0], images[2] = images[1], cropped(images[3])
    labels[0], labels[2] = 1, 2
    contents = [f"c{at:04d}" for at in range(70)]
    contents[0] = contents[1]
    told, findings = look(seen(images, labels, SPLITS, contents))
    assert findings.keys() == {"same_image_other_label", "near_image_other_label", "copies_in_training"}
    assert findings["same_image_other_label"].severity == "alarm"  # 2 of 40 are contradicted
    assert findings["same_image_other_label"].rows == [0, 1]
    assert findings["near_image_other_label"].rows == [2, 3]
    assert findings["copies_in_training"].evidence == {"clusters": 2, "spare": 2, "n": 40, "largest": 2}
    quarantined = told.tables["quarantine_duplicates"]
    assert quarantined["code"].to_list() == ["same_image_other_label"] * 2


def test_labels_of_a_closed_test_split_are_unknown():
    images, labels = pictures(70), [0] * 70
    images[0], images[1] = images[50], cropped(images[51])
    labels[50], labels[51] = 1, 1
    contents = [f"c{at:04d}" for at in range(70)]
    contents[0] = contents[50]
    told, findings = look(seen(images, labels, SPLITS, contents, open_test=False))
    assert findings.keys() == {"leakage"}  # and nothing of labels
    assert findings["leakage"].exhibits[0].pictures[0].caption == "test, label unknown"
    assert told.figures["leakage"]["x"] == 2
    _, opened = look(seen(images, labels, SPLITS, contents))
    assert {"same_image_other_label", "near_image_other_label"} <= opened.keys()


def test_two_boxes_of_one_picture_are_no_copies():
    images = pictures(70)
    images[1] = images[0]
    contents = [f"c{at:04d}" for at in range(70)]
    contents[0], contents[1] = "photo@0,0,9,9", "photo@5,5,20,20"
    _, findings = look(seen(images, [0, 1] + [0] * 68, SPLITS, contents))
    assert findings == {}


def test_mirror_images_are_told_apart():
    images = pictures(70)
    images[0] = np.ascontiguousarray(images[60][:, ::-1])
    told, findings = look(seen(images, [0] * 70, SPLITS))
    assert findings.keys() == {"mirrored"}
    assert findings["mirrored"].severity == "warning" and findings["mirrored"].evidence["x"] == 1
    assert told.figures["leakage"]["x"] == 0
    assert told.tables["duplicates"]["kind"].to_list() == ["mirrored"] * 2


def test_images_that_could_not_be_decoded_are_left_out():
    images = pictures(70)
    images[0] = images[50]
    contents = [f"c{at:04d}" for at in range(70)]
    contents[0] = contents[50]
    data = seen(images, [0] * 70, SPLITS, contents)
    measured = np.ones(70, np.bool_)
    measured[50] = False
    told, findings = look(dataclasses.replace(data, scores=dataclasses.replace(data.scores, measured=measured)))
    assert findings == {}
    assert told.figures["leakage"] == {"x": 0, "n": 19}
    told, findings = look(dataclasses.replace(data, scores=dataclasses.replace(data.scores, measured=measured & False)))
    assert findings == {} and told.figures["leakage"] == {"x": 0, "n": 0}


def test_one_subject_in_several_splits_is_an_alarm_and_a_source_is_not():
    subject = np.arange(70)
    subject[[3, 44, 55]] = 3
    subject[10] = -1  # unknown
    subject[60] = -1
    attributes = {"subject": subject, "source": np.arange(70) % 2}
    _, findings = look(seen(pictures(70), [0] * 70, SPLITS, attributes=attributes))
    assert findings.keys() == {"subject_in_several_splits"}
    found = findings["subject_in_several_splits"]
    assert (found.severity, found.rows, found.evidence["test"]) == ("alarm", [3, 44, 55], 1)
    _, closed = look(seen(pictures(70), [0] * 70, SPLITS, attributes=attributes, open_test=False))
    assert closed["subject_in_several_splits"].rows == [3, 44]  # attributes of a closed test split are unknown


def test_copies_from_two_sources_are_counted():
    images = pictures(70)
    images[0], images[2] = cropped(images[1]), cropped(images[4])
    told, _ = look(seen(images, [0] * 70, SPLITS, attributes={"source": np.arange(70) % 2}))
    table = next(block for block in told.blocks if getattr(block, "title", "") == "Nearly equal images by origin")
    assert table.rows == [["source", 2, 1, 0]]


def test_a_burst_of_one_camera_on_both_sides_of_a_split():
    taken: list[str | None] = [None] * 70
    camera: list[str | None] = [None] * 70
    for row, second, name in ((0, 0, "A"), (1, 4, "A"), (50, 8, "A"), (2, 20, "A"), (51, 21, "B"), (52, 0, None)):
        taken[row], camera[row] = f"2024-05-01T10:00:{second:02d}", name
    taken[3], camera[3] = "no date", "A"
    data = seen(pictures(70), [0] * 70, SPLITS, properties={"taken": taken, "camera": camera})
    _, findings = look(data)
    assert findings.keys() == {"moment_in_several_splits"}
    assert findings["moment_in_several_splits"].rows == [0, 1, 50]
    assert findings["moment_in_several_splits"].severity == "warning"


def test_the_danger_grows_with_the_share():
    images = pictures(70)
    images[0] = cropped(images[50])
    _, few = look(seen(list(images), [0] * 70, SPLITS))
    for at in range(1, 5):
        images[at] = cropped(images[50 + at])
    _, many = look(seen(images, [0] * 70, SPLITS))
    assert few["leakage"].danger < many["leakage"].danger <= 1
    assert few["leakage"].evidence["x"] == 1 and many["leakage"].evidence["x"] == 5


def test_the_same_is_said_whatever_the_order_of_rows():
    images = pictures(70)
    images[0], images[1] = cropped(images[50]), cropped(images[41])
    data = seen(images, [0] * 70, SPLITS)
    order = np.random.default_rng(0).permutation(70)
    scores = dataclasses.replace(
        data.scores, hashes=data.scores.hashes[order], thumbnails=data.scores.thumbnails[order]
    )
    turned = dataclasses.replace(
        data, splits=data.splits[order], scores=scores, row_ids=[data.row_ids[at] for at in order]
    )
    one, other = look(data), look(turned)
    assert one[0].figures == other[0].figures
    assert {code: finding.title for code, finding in one[1].items()} == {c: f.title for c, f in other[1].items()}
    assert sorted(one[0].tables["duplicates"]["row_id"]) == sorted(other[0].tables["duplicates"]["row_id"])


@pytest.mark.realdata
@pytest.mark.slow
def test_crops_of_test_photographs_hidden_in_training_are_found():
    try:
        folder = Path(roots.known_root(None, "bar", ("train", "test")))
    except UserError as error:
        pytest.skip(str(error))
    train, test = (sorted((folder / split).glob("*.jpg"))[:300] for split in ("train", "test"))
    images = [cv2.imread(str(file), cv2.IMREAD_COLOR_RGB) for file in [*train, *test]]
    rng, hidden = np.random.default_rng(0), []
    for image in images[300:400]:
        edge = [round(float(share) * side) for share, side in zip(rng.uniform(0.02, 0.1, 2), image.shape, strict=False)]
        hidden.append(np.ascontiguousarray(image[edge[0] : -edge[0], edge[1] : -edge[1]]))
    data = seen([*images, *hidden], [0] * 700, ["train"] * 300 + ["test"] * 300 + ["train"] * 100)
    told, _ = look(data)
    assert 95 <= told.figures["leakage"]["x"] <= 100
