"""What annotators answer. If this fails, an answer nobody can use becomes a label, or a mistake is passed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evensight.errors import UserError
from evensight.update.answers import Answers, read_answers

ASKED = ("i1", "i2", "i3", "i4")
ATTRIBUTES = {"colour": ("red", "green")}


def read(path: Path) -> Answers:
    return read_answers(path, ASKED, ("circle", "star"), ATTRIBUTES)


def table(folder: Path, *lines: str, header: str = "id,label,colour") -> Path:
    path = folder / "answers.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def tasks(folder: Path, *given: tuple[str, list[dict[str, str]]]) -> Path:
    """Label Studio's export: of each task the id, and of each annotation the choices by control."""

    def result(name: str, value: str) -> dict[str, Any]:
        return {"from_name": name, "to_name": "image", "type": "choices", "value": {"choices": [value]}}

    value = [
        {
            "id": number,
            "data": {"id": name, "image": "/data/local-files/?d=a.png"},
            "annotations": [
                {"id": 100 * number + at, "completed_by": at, "result": [result(*item) for item in answer.items()]}
                for at, answer in enumerate(annotations, start=1)
            ],
        }
        for number, (name, annotations) in enumerate(given, start=1)
    ]
    path = folder / "export.json"
    path.write_text(json.dumps(value))
    return path


def test_table(tmp_path: Path) -> None:
    found = read(table(tmp_path, "i1,star,red", "i2, circle ,", "i3,,green", "i4,,"))
    assert found.labels == {"i1": "star", "i2": "circle"}
    assert found.attributes == {"i1": {"colour": "red"}, "i2": {}}
    assert found.empty == ("i3", "i4")
    assert found.notes() == ["answers: 2 images have no label and are left out (i3, i4)"]


def test_label_studio(tmp_path: Path) -> None:
    both = [{"label": "star", "colour": "red"}, {"label": "star"}]
    found = read(tasks(tmp_path, ("i1", both), ("i2", []), ("i3", [{"label": "star"}, {"label": "circle"}])))
    assert found.labels == {"i1": "star"}
    assert found.attributes == {"i1": {"colour": "red"}}
    assert (found.empty, found.conflicting, found.doubled) == (("i2",), ("i3",), ("i1",))


def test_doubled_and_conflicting(tmp_path: Path) -> None:
    lines = ("i1,star,red", "i1,star,green", "i2,star,", "i2,circle,", "i3,,", "i3,circle,red")
    found = read(table(tmp_path, *lines))
    assert found.labels == {"i1": "star", "i3": "circle"}
    assert found.attributes["i1"] == {}  # of the colour nobody knows
    assert (found.doubled, found.conflicting, found.empty) == (("i1",), ("i2",), ())
    assert "several different labels" in " ".join(found.notes())


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("i9,star,", "row 2: id 'i9' is none that the plan asked for"),
        (",star,", "row 2: id '' is none"),
        ("i2,strar,", "row 2: label: 'strar' is not known; allowed: circle, star. Did you mean 'star'"),
        ("i2,star,gren", "row 2: colour: 'gren' is not known.*Did you mean 'green'"),
    ],
)
def test_what_nobody_asked_for_is_refused(tmp_path: Path, line: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read(table(tmp_path, "i1,star,red", line))


def test_files_that_answer_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gives no image a label \(2 are empty\)"):
        read(table(tmp_path, "i1,,", "i2,,red"))
    with pytest.raises(UserError, match="no rows"):
        read(table(tmp_path))
    with pytest.raises(UserError, match="lacks the column: 'label'"):
        read(table(tmp_path, "i1,star", header="id,labl"))
    with pytest.raises(UserError, match="is not a file"):
        read(tmp_path / "none.csv")
    (tmp_path / "answers.txt").write_text("i1")
    with pytest.raises(UserError, match="is no table"):
        read(tmp_path / "answers.txt")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        read(tmp_path / "broken.json")
    (tmp_path / "foreign.json").write_text('[{"id": 1, "data": {"image": "a.png"}, "annotations": []}]')
    with pytest.raises(UserError, match="has no id in its data"):
        read(tmp_path / "foreign.json")
