"""If these fail, what annotators said is lost, is of the wrong image, or becomes a label that they did not give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from evensight.data.annotators import checked, folded, joined, soft_labels
from evensight.data.prepare import prepare
from evensight.data.readers.table import TableReader
from evensight.data.reading import Reading, silent
from evensight.data.tables import read_table
from evensight.errors import UserError

BOXES = ("box_x0", "box_y0", "box_x1", "box_y1")


def long(*lines: tuple[str | None, ...]) -> pl.DataFrame:
    return pl.DataFrame(lines, schema=dict.fromkeys(("path", "annotator", "label"), pl.String), orient="row")


def test_a_line_a_label_becomes_a_row_an_image() -> None:
    lines = [
        ("a.png", "ann", "cat", "s"),
        ("a.png", "bob", "dog", "s"),
        ("a.png", "cem", "dog", "s"),
        ("b.png", "ann", "dog", "t"),
        ("c.png", "ann", "dog", "s"),
        ("c.png", "bob", "cat", "u"),
        ("d.png", "ann", None, "s"),
        ("d.png", "bob", None, "s"),
    ]
    rows = pl.DataFrame(lines, schema=["path", "annotator", "label", "site"], orient="row")
    reading = folded(Reading(rows=rows, root=Path("/")))
    assert reading.rows.rows() == [
        ("a.png", None, "dog", "s"),
        ("b.png", "ann", "dog", "t"),
        ("c.png", None, "cat", None),  # a tie: the first by name; two sites are none
        ("d.png", None, None, "s"),
    ]
    assert reading.annotations is not None and reading.annotations.equals(rows.drop("site"))


def test_a_table_with_one_annotator_an_image_stays_as_it_is() -> None:
    rows = pl.DataFrame({"path": ["a", "b"], "label": ["x", "y"], "annotator": ["ann", "bob"]})
    reading = Reading(rows=rows, root=Path("/"))
    assert folded(reading) is reading


def test_annotations_are_checked_as_rows_are() -> None:
    lines = long(
        ("./a.png", "ann", "cat"),
        ("a.png", " ", "cat"),
        ("a.png", None, "dog"),
        ("a.png", "bob", "dgo"),
        ("a.png", "cem", None),
        ("b.png", "e\u0301va", "dog"),
        ("gone.png", "ann", "dog"),
    )
    found, findings = checked(lines, pl.DataFrame({"path": ["a.png", "b.png"]}), ["cat", "dog"])
    assert found.rows() == [("a.png", "ann", "cat"), ("b.png", "\u00e9va", "dog")]
    assert {finding.code: finding.count for finding in findings} == {
        "no_annotator": 2,
        "unknown_annotation": 2,
        "annotation_without_image": 1,
    }
    assert any("perhaps 'dog'" in example for finding in findings for example in finding.examples)


def test_annotations_without_a_column_are_a_sentence() -> None:
    with pytest.raises(UserError, match="column 'annotator' is missing from the annotations"):
        checked(long().drop("annotator"), pl.DataFrame({"path": ["a"]}), ["x"])


def test_annotations_are_joined_by_path_and_box() -> None:
    sides = pl.DataFrame([(0.0, 0.0, 4.0, 4.0), (2.0, 0.0, 6.0, 4.0), (None,) * 4], schema=list(BOXES), orient="row")
    frame = pl.DataFrame({"row_id": ["r0", "r1", "r2"], "path": ["a", "a", "b"]}).hstack(sides)
    annotations = long(("a", "ann", "x"), ("a", "bob", "y"), ("b", "ann", "y"), ("a", "cem", "x")).hstack(
        pl.concat([sides, sides[:1]])
    )
    assert joined(annotations, frame).rows() == [
        ("r0", "ann", "x"),
        ("r1", "bob", "y"),
        ("r2", "ann", "y"),
        ("r0", "cem", "x"),
    ]
    assert len(joined(annotations.drop(BOXES), frame)) == 7  # without boxes they speak of each object of their image


def test_consensus_follows_those_who_are_usually_right() -> None:
    """Three agree on what is seen; a fourth says the contrary. Where one of the three is absent, majority is a tie."""
    rng = np.random.default_rng(0)
    lines, truth = [], {}
    for number in range(200):
        right = "xy"[number % 2]
        truth[f"r{number}"] = right
        wrong = "xy"[1 - number % 2]
        said = {name: right if rng.random() < 0.95 else wrong for name in ("ann", "bob", "cem")}
        said["dan"] = wrong if rng.random() < 0.95 else right
        if number < 40:
            said = {name: said[name] for name in ("ann", "dan")}
        lines += [(f"r{number}", name, label) for name, label in said.items()]
    table = pl.DataFrame(lines, schema=["row_id", "annotator", "label"], orient="row")
    found, findings = soft_labels(table, ("x", "y"))
    assert findings == [] and found is not None
    assert found.columns == ["row_id", "contested", "p:x", "p:y"] and len(found) == 200
    assert np.allclose(found["p:x"] + found["p:y"], 1, atol=2e-6)
    consensus = {row: "x" if chance > 0.5 else "y" for row, chance in found.select("row_id", "p:x").iter_rows()}
    assert np.mean([consensus[row] == right for row, right in truth.items()]) > 0.97
    first = [row for row in truth if int(row[1:]) < 40]
    assert np.mean([consensus[row] == truth[row] for row in first]) > 0.9
    # One of two is no more than half: contested, however sure the consensus is.
    several = table.group_by("row_id").agg(pl.col("label").n_unique(), pl.len())
    tied = set(several.filter((pl.col("label") == 2) & (pl.col("len") == 2))["row_id"])
    assert tied and tied <= set(found.filter("contested")["row_id"])
    agreed = set(several.filter(pl.col("label") == 1)["row_id"])
    assert not agreed & set(found.filter("contested")["row_id"])
    again, _ = soft_labels(table.sample(fraction=1.0, shuffle=True, seed=1), ("x", "y"))
    assert again is not None and again.equals(found)


@pytest.fixture
def annotated(tmp_path, write_png):
    """Forty images of two classes; four annotators, of whom dan says the contrary. Returns the reader."""
    lines = []
    for number in range(40):
        write_png(tmp_path / "t" / f"{number}.png", number)
        right, wrong = ("ab", "ba")[number % 2]
        split = ("train", "train", "train", "validation", "test")[number // 2 % 5]
        said = {"ann": right, "bob": right, "cem": right, "dan": wrong}
        if number < 4:  # the majority is wrong
            said = {"ann": right, "dan": wrong, "eve": wrong}
        lines += [
            {"path": f"{number}.png", "label": label, "annotator": name, "split": split, "site": "s"}
            for name, label in said.items()
        ]
    pl.DataFrame(lines).write_csv(tmp_path / "t" / "t.csv")
    return TableReader(name="t", table=str(tmp_path / "t" / "t.csv"))


def test_annotations_survive_preparation(tmp_path, annotated, make_objective) -> None:
    manifest, _ = prepare(annotated, make_objective(), tmp_path / "datasets", silent)
    said = manifest.annotations
    assert said is not None and len(said) == 4 * 3 + 36 * 4
    paths = dict(manifest.frame.select("row_id", "path").iter_rows())
    assert {(paths[row], name, label) for row, name, label in said.iter_rows() if name == "dan"} == {
        (f"{number}.png", "dan", "ba"[number % 2]) for number in range(40)
    }
    origins = read_table(manifest.folder, "origins")
    assert origins is not None and origins.frame.columns == ["row_id", "annotator", "site"]
    assert origins.frame["row_id"].to_list() == manifest.frame["row_id"].to_list()
    again, _ = prepare(annotated, make_objective(), tmp_path / "datasets", silent)
    assert again.frame.equals(manifest.frame) and again.annotations.equals(said)


def test_annotations_that_change_are_prepared_anew_and_those_that_go_are_taken_away(
    tmp_path, annotated, make_objective
) -> None:
    first, _ = prepare(annotated, make_objective(), tmp_path / "datasets", silent)
    file = tmp_path / "t" / "t.csv"
    table = pl.read_csv(file)
    table.filter(pl.col("annotator") != "dan").write_csv(file)
    second, _ = prepare(annotated, make_objective(), tmp_path / "datasets", silent)
    assert second.annotations is not None and "dan" not in second.annotations["annotator"].to_list()
    assert (second.frame["split"] == first.frame["split"]).all()
    table.unique("path", keep="first", maintain_order=True).drop("annotator", "site").write_csv(file)
    third, _ = prepare(annotated, make_objective(), tmp_path / "datasets", silent)
    assert third.annotations is None and not list((third.folder / "tables").iterdir())


def test_a_side_table_of_ours_that_is_lost_is_written_again(tmp_path, annotated, make_objective) -> None:
    first, _ = prepare(annotated, make_objective(), tmp_path / "datasets", silent)
    (first.folder / "tables" / "annotations.parquet").write_bytes(b"")
    second, _ = prepare(annotated, make_objective(), tmp_path / "datasets", silent)
    assert second.annotations.height == 156


def test_too_many_annotators_and_classes_are_said_and_not_tried() -> None:
    classes = [f"c{number}" for number in range(12_000)]
    table = pl.DataFrame({"row_id": ["r"], "annotator": ["ann"], "label": ["c7"]})
    found, (finding,) = soft_labels(table, classes)
    assert found is None and finding.code == "no_consensus"
