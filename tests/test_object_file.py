"""If these fail, a broken file of an earlier command ends the next one in a traceback, or is read as something else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evensight.errors import UserError
from evensight.files import write_json
from evensight.object_file import ObjectFile

PLAN = ObjectFile("a plan", "write it again", "there is no plan; make one", 2)


def test_an_object_of_the_version_is_returned_as_it_was_written(tmp_path: Path) -> None:
    value = {"schema_version": 2, "name": "Ä", "images": [1, None]}
    write_json(tmp_path / "plan.json", value)
    assert PLAN.read(tmp_path / "plan.json") == value == PLAN.read_if_there(tmp_path / "plan.json")


def test_where_there_is_none_the_sentence_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"plan\.json: there is no plan; make one\.$"):
        PLAN.read(tmp_path / "plan.json")
    assert PLAN.read_if_there(tmp_path / "plan.json") is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "Expecting property name"),
        (b"", "Expecting value"),
        (b"\xff\xfe{}", "utf-8"),
        (b"[" * 100_000, "recursion"),
        (b"[1]", "it is no JSON object"),
        (b"{}", "schema_version is null; allowed: 2"),
        (b'{"schema_version": 1}', "schema_version is 1; allowed: 2"),
        (json.dumps({"schema_version": "\x1b[31m" * 99}).encode(), "schema_version is '.*; allowed: 2"),
    ],
)
def test_what_is_broken_is_one_sentence_with_file_reason_and_remedy(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    for read in (PLAN.read, PLAN.read_if_there):
        with pytest.raises(UserError, match=rf"plan\.json: cannot be read as a plan \(.*{why}.*\); write it again\.$"):
            read(path)


def test_a_folder_in_its_place_and_a_key_that_is_lacking_are_said_too(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read as a plan \(.*directory.*\); write it again\.$"):
        PLAN.read(tmp_path)
    with pytest.raises(KeyError) as caught:
        {}["images"]
    assert str(PLAN.broken(tmp_path, caught.value)).endswith("as a plan (it lacks 'images'); write it again.")
