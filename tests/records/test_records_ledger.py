"""If these fail, a line of the ledger can be changed, lost or moved without anybody noticing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evensight.errors import UserError
from evensight.records import ledger

NUM = 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    for number in range(NUM):
        ledger.append(tmp_path / "ledger.jsonl", {"what": "promote", "why": f"reason {number} é", "n": 0.5})
    return tmp_path / "ledger.jsonl"


def test_lines_hold_each_other(path: Path) -> None:
    """The digest as anyone would take it: SHA-256 of the line's JSON, keys sorted, no spaces, without `digest`."""
    previous = "0" * 64
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = json.loads(text)
        digest = line.pop("digest")
        content = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert digest == hashlib.sha256(content.encode()).hexdigest()
        assert (line["seq"], line["previous"], line["schema_version"]) == (number, previous, 1)
        assert line["why"] == f"reason {number - 1} é"
        previous = digest
    assert [line["seq"] for line in ledger.read(path)] == [1, 2, 3, 4, 5]


def test_there_is_none_yet(tmp_path: Path) -> None:
    assert ledger.read(tmp_path / "ledger.jsonl") == []
    ledger.verify(tmp_path / "ledger.jsonl")


def test_own_keys_cannot_be_set(path: Path) -> None:
    ledger.append(path, {"seq": 1, "digest": "mine", "previous": "mine", "time": "never", "what": "x"})
    ledger.verify(path)
    assert ledger.read(path)[-1]["seq"] == NUM + 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), bits=st.integers(1, 255))
def test_a_changed_byte_is_found_and_its_line_named(path: Path, place: float, bits: int) -> None:
    content = path.read_bytes()
    changed = bytearray(content)
    at = round(place * (len(content) - 1))
    changed[at] ^= bits
    path.write_bytes(changed)
    number = content[:at].count(b"\n") + 1
    with pytest.raises(UserError, match=rf"^ledger: .*ledger\.jsonl: line {number} "):
        ledger.verify(path)
    path.write_bytes(content)
    ledger.verify(path)


@pytest.mark.parametrize("removed", range(NUM))
def test_a_removed_line_is_found(path: Path, removed: int) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:removed] + lines[removed + 1 :]))
    with pytest.raises(UserError, match=f"line {removed + 1} "):
        ledger.read(path)
    with pytest.raises(UserError, match="line"):
        ledger.append(path, {"what": "more"})


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 3), (3, 4)])
def test_moved_lines_are_found(path: Path, one: int, other: int) -> None:
    lines = path.read_text().splitlines(keepends=True)
    lines[one], lines[other] = lines[other], lines[one]
    path.write_text("".join(lines))
    with pytest.raises(UserError, match=f"line {one + 1} "):
        ledger.read(path)


def test_a_line_twice_is_found(path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[-1]]))
    with pytest.raises(UserError, match="line 6 "):
        ledger.read(path)


@pytest.mark.parametrize("end", ["{", '{"schema_version":1', ""])
def test_a_line_that_a_killed_process_began_never_happened(path: Path, end: str) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + end.encode())
    assert len(ledger.read(path)) == NUM
    ledger.append(path, {"what": "next"})
    assert [line["seq"] for line in ledger.read(path)] == [1, 2, 3, 4, 5, 6]
    assert path.read_bytes().startswith(whole)


def test_a_line_whose_head_was_not_written_stands(path: Path) -> None:
    """The moment between the two files: a kill there loses neither."""
    head = path.with_name("ledger.jsonl.head")
    before = head.read_bytes()
    ledger.append(path, {"what": "next"})
    head.write_bytes(before)
    assert len(ledger.read(path)) == NUM + 1
    ledger.note_head(path)
    assert json.loads(head.read_bytes())["seq"] == NUM + 1


@pytest.mark.parametrize("content", [b"", b"[]", b'{"seq": 0, "digest": ""}', b'{"seq": "5", "digest": ""}', b"\xff"])
def test_an_altered_head_is_told(path: Path, content: bytes) -> None:
    path.with_name("ledger.jsonl.head").write_bytes(content)
    with pytest.raises(UserError, match=r"ledger\.jsonl\.head was altered"):
        ledger.read(path)


def test_another_chain_of_the_same_length_is_found(path: Path, tmp_path: Path) -> None:
    for number in range(NUM):
        ledger.append(tmp_path / "forged.jsonl", {"n": number})
    path.write_bytes((tmp_path / "forged.jsonl").read_bytes())
    with pytest.raises(UserError, match=r"line 5 is not the one that ledger\.jsonl\.head holds"):
        ledger.read(path)


def test_reading_while_a_line_is_added_finds_nothing_wrong(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process adds one between the reads of the two files, whichever is read first."""
    content, head = ledger._content, ledger._head

    def then_appended(read: Any) -> Any:
        def reading(path: Path) -> Any:
            found = read(path)
            with monkeypatch.context() as patch:
                patch.setattr(ledger, "_content", content)
                patch.setattr(ledger, "_head", head)
                ledger.append(path, {"what": "by another process"})
            return found

        return reading

    for name, read in (("_content", content), ("_head", head)):
        before = len(ledger.read(path))
        with monkeypatch.context() as patch:
            patch.setattr(ledger, name, then_appended(read))
            assert len(ledger.read(path)) in (before, before + 1)
        ledger.verify(path)
