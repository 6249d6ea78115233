"""If these fail, what goes with the class is not seen, or chance and nature raise alarms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from draws import drawn
from numpy.typing import NDArray
from scipy import stats

from evensight import names
from evensight.audit.association import chapter
from evensight.audit.chapter import AuditFinding, Chapter
from evensight.audit.columns import columns
from evensight.audit.data import AuditData
from evensight.config import AuditConfig
from evensight.data.digests import Digests
from evensight.data.manifest import Manifest
from evensight.data.tables import write_table
from evensight.progress import silent

CONFLICTING = {"metric": "accuracy", "scope": "conflicting", "attribute": "colour", "bound": 0.9}
GAP = {"metric": "accuracy", "scope": "gap", "attribute": "colour", "bound": 0.1}
EACH_GROUP = {"metric": "accuracy", "scope": "each_group", "attribute": "colour", "bound": 0.9}
RELIANCE = {"metric": "reliance", "cue": "colour", "bound": 0.1}


def tied(rng: np.random.Generator, labels: NDArray[Any], strength: float, size: int = 3) -> NDArray[Any]:
    """A column equal to the class with chance `strength`, else drawn: Cramer's V is the strength."""
    return np.where(rng.random(labels.size) < strength, labels % size, rng.integers(0, size, labels.size))


def made(
    strength: float, requirements: list[dict[str, Any]] | None = None, seed: int = 0, num: int = 1500
) -> AuditData:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, num)
    return drawn(
        labels,
        {"colour": tied(rng, labels, strength), "size": rng.integers(0, 3, num)},
        np.where(np.arange(num) % 5 == 0, "validation", "train"),
        levels={"colour": ["red", "blue", "grey"], "size": ["small", "middle", "large"]},
        requirements=requirements or [],
    )


def audited(data: AuditData, **settings: Any) -> Chapter:
    return chapter(data, AuditConfig(**settings), silent)


def of(data: AuditData, name: str) -> AuditFinding | None:
    named = [each for each in audited(data).findings if each.evidence["column"] == name]
    return named[0] if named else None


def test_a_strong_association_is_a_warning_with_its_figures() -> None:
    data = made(0.6)
    finding = of(data, "colour")
    assert finding is not None and finding.severity == "warning"
    training = data.splits == "train"
    table = np.zeros((3, 3))
    np.add.at(table, (data.labels[training], data.attributes["colour"][training]), 1)
    raw = stats.contingency.association(table.astype(int), method="cramer")
    assert finding.evidence["estimate"] == pytest.approx(raw, abs=0.003)
    assert finding.evidence["low"] < 0.6 < finding.evidence["high"]
    assert finding.evidence["n"] == 1200
    assert finding.evidence["validation"] == pytest.approx(0.6, abs=0.1)
    assert of(data, "size") is None


def test_rows_and_pictures_are_of_the_cell_that_is_too_full() -> None:
    data = made(0.6)
    finding = of(data, "colour")
    assert finding is not None
    k = data.classes.index(finding.evidence["class"])
    at = data.levels["colour"].index(finding.evidence["level"])
    assert at == k
    rows = np.array(finding.rows)
    assert (data.labels[rows] == k).all() and (data.attributes["colour"][rows] == at).all()
    assert (data.splits[rows] == "train").all()
    assert len(finding.exhibits) == 3
    for exhibit in finding.exhibits[1:]:
        for picture in exhibit.pictures:
            assert (data.labels[picture.row] == k) != (data.attributes["colour"][picture.row] == at)


@pytest.mark.parametrize("requirement", [CONFLICTING, GAP, RELIANCE])
def test_it_is_an_alarm_where_the_objective_says_the_model_must_not_go_by_it(requirement: dict[str, Any]) -> None:
    finding = of(made(0.6, [requirement]), "colour")
    assert finding is not None and finding.severity == "alarm"
    assert finding.setting == "focus=colour_off"
    weak = of(made(0.2, [requirement], num=4000), "colour")
    assert weak is not None and weak.severity == "warning"


def test_a_bound_that_is_only_shown_or_asks_for_each_group_makes_no_alarm() -> None:
    for requirement in (EACH_GROUP, {**CONFLICTING, "bound": None}):
        finding = of(made(0.6, [requirement]), "colour")
        assert finding is not None and finding.severity == "warning"


def test_a_weak_association_is_a_note() -> None:
    finding = of(made(0.2, num=4000), "colour")
    assert finding is not None and finding.severity == "note" and finding.exhibits == []


def test_a_trifle_is_a_row_of_the_table_however_certain() -> None:
    data = made(0.05, num=40_000)
    figures = audited(data).figures["association"]["colour"]
    assert figures["p_corrected"] <= 0.025
    assert of(data, "colour") is None


def test_chance_alone_is_named_as_seldom_as_stated() -> None:
    """At .05 over all columns, 200 draws: more than 21 happen once in a thousand tests."""
    raised = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        data = drawn(
            rng.integers(0, 3, 300),
            {"colour": rng.integers(0, 3, 300), "size": rng.integers(0, 2, 300)},
            properties={"brightness": rng.random(300), "file_bytes": rng.integers(10, 10_000, 300)},
            requirements=[CONFLICTING],
        )
        raised += bool(audited(data, alarm_level=0.05).findings)
    assert raised <= 21


def test_properties_of_files_and_light_are_compared() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 900)
    data = drawn(
        labels,
        properties={
            "brightness": rng.random(900) + 0.4 * labels,
            "contrast": rng.random(900),
            "mode": np.where(labels == 2, "L", "RGB"),
            "camera": [f"maker {k}" if k else None for k in labels],
            "format": ["JPEG"] * 900,
        },
    )
    found = {each.evidence["column"]: each for each in audited(data).findings}
    assert set(found) == {"brightness", "mode", "camera"}
    assert found["mode"].evidence["estimate"] == pytest.approx(1.0, abs=0.01)
    # No camera in the file is a level: here it gives the class away.
    assert found["camera"].evidence["estimate"] == pytest.approx(1.0, abs=0.01)


def test_a_column_that_says_what_a_stronger_one_says_is_not_named_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(names.CUES, "brightness", names.CUES["colour"])
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 900)
    width = 200 + 100 * labels + rng.integers(0, 60, 900)
    data = drawn(labels, properties={"width": width, "height": 2 * width, "brightness": rng.random(900) + 0.5 * labels})
    by_name = {each.evidence["column"]: each for each in audited(data).findings}
    assert {by_name["width"].severity, by_name["height"].severity} == {"note", "warning"}
    mirrored = next(each for each in by_name.values() if each.evidence["mirrors"])
    assert {mirrored.evidence["column"], mirrored.evidence["mirrors"]} == {"width", "height"}
    # A cue that the objective bounds speaks for itself, whatever it mirrors.
    bounded = drawn(
        labels,
        properties={"width": width, "brightness": width / 1000},
        requirements=[{"metric": "reliance", "cue": "brightness", "bound": 0.1}],
    )
    of_light = of(bounded, "brightness")
    assert of_light is not None and of_light.severity == "alarm"


def test_unmeasured_images_and_unknown_levels_are_left_out() -> None:
    data = made(0.6)
    measured = np.arange(len(data)) % 2 == 0
    colours = np.where(np.arange(len(data)) % 4 == 0, -1, data.attributes["colour"])
    data = replace(
        data, scores=replace(data.scores, measured=measured), attributes={**data.attributes, "colour": colours}
    )
    figures = audited(data).figures["association"]
    training = (data.splits == "train") & measured
    assert figures["size"]["n"] == training.sum()
    assert figures["colour"]["n"] == (training & (colours >= 0)).sum()


def test_a_closed_test_split_changes_nothing() -> None:
    data = made(0.6)
    rng = np.random.default_rng(9)
    splits = np.where(rng.random(len(data)) < 0.2, "test", data.splits)
    shut = np.where(splits == "test", -1, data.labels)
    opened, closed = replace(data, splits=splits), replace(data, splits=splits, labels=shut, open_test=False)
    assert audited(opened).figures == audited(closed).figures


def test_origins_are_read_from_their_side_table(tmp_path: Path) -> None:
    data = made(0.0)
    rng = np.random.default_rng(3)
    origins = pl.DataFrame(
        {
            "row_id": data.row_ids,
            "site": [f"site {label}" if rng.random() < 0.8 else "site 9" for label in data.labels],
            "name": [f"image {at}" for at in range(len(data))],
            "year": rng.integers(2001, 2004, len(data)),
        }
    )
    write_table(tmp_path, "origins", origins[::-1], {"by": "test", "content": "c"})
    with_files = replace(data, manifest=manifest_in(tmp_path, data))
    known = {each.name: each for each in columns(with_files)}
    assert known["site"].kind == "origin" and known["year"].kind == "origin"
    assert "name" not in known
    first = known["site"].levels[known["site"].codes[0]]
    assert first == origins["site"][0]
    finding = of(with_files, "site")
    assert finding is not None and finding.severity == "warning"
    assert of(with_files, "year") is None


def manifest_in(folder: Path, data: AuditData) -> Manifest:
    frame = pl.DataFrame({"row_id": data.row_ids, "path": data.paths, "split": data.splits.tolist()})
    return Manifest(
        name="m",
        root=folder,
        folder=folder,
        frame=frame,
        classes=data.classes,
        levels=dict(data.levels),
        usual={},
        digests=Digests("r", "c", "t"),
        sealed=False,
        findings=[],
    )


def test_attributes_that_go_together_are_listed() -> None:
    rng = np.random.default_rng(4)
    labels, colour = rng.integers(0, 3, 900), rng.integers(0, 3, 900)
    data = drawn(labels, {"colour": colour, "site": tied(rng, colour, 0.7), "size": rng.integers(0, 3, 900)})
    table = next(each for each in audited(data).blocks if "go together" in getattr(each, "title", ""))
    assert [sorted(row[:2]) for row in table.rows] == [["colour", "site"]]
    assert table.rows[0][2] == pytest.approx(0.7, abs=0.06)


def test_images_of_which_nothing_is_known_are_skipped() -> None:
    assert "nothing is known" in audited(drawn([0, 1, 2] * 20)).skipped
    assert "fewer than two classes" in audited(drawn([0] * 20, {"colour": [0, 1] * 10})).skipped


def test_columns_have_few_levels_and_time_is_parted() -> None:
    rng = np.random.default_rng(5)
    num = 1000
    taken = [f"2020-{1 + at % 12:02d}-03T{at % 24:02d}:00:00" if at % 5 else None for at in range(num)]
    data = drawn(
        rng.integers(0, 3, num),
        properties={
            "camera": [f"c{at % 30}" for at in range(num)],
            "brightness": rng.random(num),
            "jpeg_quality": [None if at % 4 else 90 for at in range(num)],
            "taken": taken,
        },
    )
    found = {each.name: each for each in columns(data)}
    assert set(found) == {"camera", "brightness", "jpeg_quality", "taken_hour", "taken_month"}
    assert len(found["camera"].levels) == 8 and found["camera"].levels[-1] == "others"
    assert np.bincount(found["brightness"].codes).tolist() == [125] * 8
    assert found["jpeg_quality"].levels == ("90", "none")
    for at in range(1, 30):
        hour, month = found["taken_hour"], found["taken_month"]
        if taken[at] is None:
            assert hour.levels[hour.codes[at]] == month.levels[month.codes[at]] == "none"
        else:
            low, high = hour.levels[hour.codes[at]].removesuffix(" h").split(" to ")
            assert int(low) <= at % 24 <= int(high)
            assert month.levels[month.codes[at]] == f"month {1 + at % 12}"
