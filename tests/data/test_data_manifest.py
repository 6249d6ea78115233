"""If these fail, counts are of the wrong images, or a digest says equal of what differs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from evensight.data.digests import Digests, content_digest, pixel_digest, recipe_digest, row_ids
from evensight.data.findings import Finding, found
from evensight.data.manifest import Manifest
from evensight.data.readers.folder import FolderReader
from evensight.data.seal import interrupted_opening, num_openings, openings, record_look, record_opening, seal
from evensight.errors import UserError


@pytest.fixture
def manifest(tmp_path):
    rows = [
        ("a", "dog", "train", "red", None, None),
        ("b", "cat", "train", "blue", "s", None),
        ("c", "cat", "train", None, "s", None),
        ("d", "cat", "train", "blue", "t", "corrupt: x"),
        ("e", "dog", "test", "red", "s", None),
        ("f", "dog", "test", "green", "s", None),
    ]
    frame = pl.DataFrame(rows, schema=["row_id", "label", "split", "colour", "site", "error"], orient="row")
    frame = frame.with_row_index("index").with_columns(pl.col("row_id").alias("path"), pl.col("index").cast(pl.Int64))
    return Manifest(
        name="n",
        root=tmp_path,
        folder=tmp_path / "datasets" / "n" / "recipe",
        frame=frame,
        classes=("dog", "cat"),
        levels={"site": ("s", "t"), "colour": ("red", "blue", "green")},
        usual={},
        digests=Digests("r", "c", "t"),
        sealed=True,
        findings=[],
    )


def test_labels_and_attributes_follow_the_declared_orders(manifest):
    assert manifest.labels("train").tolist() == [0, 1, 1, 1]
    assert manifest.attributes("train").tolist() == [[-1, 0], [0, 1], [0, -1], [1, 1]]
    assert manifest.labels("train").dtype == manifest.attributes("test").dtype == np.int64
    assert manifest.split("test")["index"].to_list() == [4, 5]
    assert replace(manifest, levels={}).attributes("train").shape == (4, 0)


def test_counts_leave_out_what_cannot_be_decoded_and_unknown_levels(manifest):
    counts = manifest.counts("train")
    assert counts["overall"].tolist() == [1, 2]
    assert counts["colour"].tolist() == [[1, 0, 0], [0, 1, 0]]
    assert counts["site"].tolist() == [[0, 0], [2, 0]]
    assert manifest.counts("validation")["colour"].tolist() == [[0, 0, 0], [0, 0, 0]]


def test_an_unknown_split_is_answered_with_the_nearest(manifest):
    with pytest.raises(UserError, match="Did you mean 'validation'"):
        manifest.split("validaton")


def test_pixel_digest_is_of_shape_and_bytes():
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    assert pixel_digest(pixels) == hashlib.sha256(b"2 3\n" + bytes(range(18))).hexdigest()
    assert pixel_digest(pixels.reshape(3, 2, 3)) != pixel_digest(pixels)
    assert pixel_digest(pixels[:, ::-1]) == pixel_digest(pixels[:, ::-1].copy())


CONTENT = pl.DataFrame(
    {
        "content_key": ["p", "q", "q"],
        "label": ["cat", "dog", "dog"],
        "split": ["train", "test", "test"],
        "colour": ["red", None, "blue"],
        "path": ["1", "2", "3"],
    }
)


def test_content_digest_knows_no_path_and_no_order():
    digest = content_digest(CONTENT, ["colour"])
    assert content_digest(CONTENT.reverse(), ["colour"]) == digest
    assert content_digest(CONTENT.with_columns(pl.lit("x").alias("path")), ["colour"]) == digest


@pytest.mark.parametrize("column", ["content_key", "label", "split", "colour"])
def test_content_digest_sees_every_other_change(column):
    changed = CONTENT.with_columns(pl.Series(column, ["new", *CONTENT[column].to_list()[1:]]))
    assert content_digest(changed, ["colour"]) != content_digest(CONTENT, ["colour"])


def test_content_digest_counts_equal_rows():
    assert content_digest(pl.concat([CONTENT, CONTENT[:1]]), ["colour"]) != content_digest(CONTENT, ["colour"])


def test_row_ids_number_equals_and_tell_boxes_apart():
    assert row_ids(CONTENT) == ["p#0", "q#0", "q#1"]
    sides = {f"box_{side}": [1.0, None, 2.5] for side in ("x0", "y0", "x1", "y1")}
    assert row_ids(CONTENT.with_columns(**{k: pl.Series(v) for k, v in sides.items()})) == [
        "p@1,1,1,1#0",
        "q#0",
        "q@2.5,2.5,2.5,2.5#0",
    ]


def test_recipe_is_of_what_makes_the_data_alone():
    reader = FolderReader(name="a", root="r")
    for keys in ({"name": "b"}, {"sealed": False}, {"batch_size": 1}, {"num_workers": 0}, {"cache_mb": 0}):
        assert recipe_digest(replace(reader, **keys)) == recipe_digest(reader)
    for keys in ({"root": "s"}, {"layout": "class"}, {"split_seed": 1}, {"test_fraction": 0.1}, {"max_pixels": 9}):
        assert recipe_digest(replace(reader, **keys)) != recipe_digest(reader)


def test_a_finding_shows_a_few_examples_and_counts_all():
    (finding,) = found("code", [f"f{i}" for i in range(9)], "what it is")
    assert (finding.count, finding.examples) == (9, ["f0", "f1", "f2", "f3", "f4"])
    assert str(finding) == "9 x code: what it is (f0, f1, f2, ...)"
    assert Finding(**finding.to_dict()) == finding
    assert found("code", [], "what it is") == []
    json.dumps(found("code", ["\udcff"], "x")[0].to_dict(), ensure_ascii=False).encode()


def test_the_seal_is_made_once_and_names_the_test_split(manifest):
    assert seal(manifest) == []
    written = json.loads((manifest.folder.parent / "seal.json").read_text())
    assert (written["name"], written["content"], written["test"], written["num_test"]) == ("n", "c", "t", 2)
    assert seal(replace(manifest, digests=Digests("r", "other rows", "other attributes"))) == []
    labels = pl.when(pl.col("row_id") == "e").then(pl.lit("cat")).otherwise("label").alias("label")
    (finding,) = seal(replace(manifest, frame=manifest.frame.with_columns(labels)))
    assert finding.code == "test_split_changed" and "data.name" in finding.message
    assert json.loads((manifest.folder.parent / "seal.json").read_text()) == written


def test_an_unsealed_data_set_has_no_seal(manifest):
    assert seal(replace(manifest, sealed=False)) == []
    assert not (manifest.folder.parent / "seal.json").exists()


def test_openings_are_counted_by_image(manifest):
    assert num_openings(manifest) == 0
    assert record_opening(manifest, by="artifact", stage="test", revealed="counts") == 1
    grown = replace(manifest, frame=manifest.frame.with_columns(pl.col("row_id").replace({"e": "new"})))
    assert record_opening(grown, by="artifact", stage="test", revealed="verdict") == 2  # f has been seen twice
    other = replace(manifest, frame=manifest.frame.filter(pl.col("row_id") != "f"))
    assert num_openings(other) == 1  # e was in the first opening alone
    assert [line["rows"] for line in openings(manifest.folder.parent)] == [["e", "f"], ["new", "f"]]


def test_a_broken_ledger_is_not_taken_for_no_opening(manifest):
    record_opening(manifest, by="artifact", stage="test", revealed="counts")
    with (manifest.folder.parent / "ledger.jsonl").open("a") as file:
        file.write('{"half\n')
    with pytest.raises(UserError, match=r"ledger\.jsonl"):
        num_openings(manifest)


def test_a_line_that_a_kill_cut_short_was_no_opening(manifest):
    """It is on the disk, whole, before anything is looked at."""
    record_opening(manifest, by="artifact", stage="test", revealed="counts")
    with (manifest.folder.parent / "ledger.jsonl").open("a") as file:
        file.write('{"half')
    assert num_openings(manifest) == 1
    assert record_opening(manifest, by="artifact", stage="test", revealed="counts") == 2
    assert len(openings(manifest.folder.parent)) == 2


def test_a_look_is_a_line_and_no_opening(manifest):
    assert record_opening(manifest, by="artifact", stage="test", revealed="counts") == 1
    record_look(manifest, stage="audit", what=["labels", "attribute colour"])
    line = openings(manifest.folder.parent)[-1]
    assert (line["stage"], line["what"], line["rows"]) == ("audit", ["labels", "attribute colour"], [])
    assert (line["content"], line["test"], line["schema_version"]) == ("c", "t", 1)
    assert num_openings(manifest) == 1
    # An opening that a kill kept from its verdict is still the artifact's to go on with, and no look is one.
    assert interrupted_opening(manifest, "artifact", "test", delivered=0) == 1
    assert interrupted_opening(manifest, "audit", "test", delivered=0) is None
    assert record_opening(manifest, by="artifact", stage="test", revealed="counts") == 2
