"""If these fail, a side table is joined to the wrong images, is believed when it is broken, or has another digest."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evensight.data.tables import (
    header,
    read_table,
    read_tables,
    remove_table,
    strangers,
    table_digest,
    write_table,
)
from evensight.errors import UserError

FRAME = pl.DataFrame(
    {
        "row_id": ["c#0", "a#0", "b#0"],
        "text": ["x", None, "yz"],
        "number": [1, None, 3],
        "share": [0.1, None, 0.3],
        "flag": [True, False, None],
        "words": [[1, 2], None, []],
    },
    schema_overrides={"words": pl.List(pl.UInt64)},
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written = write_table(tmp_path, "hashes", FRAME, {"by": "audit", "content": "c0"})
    read = read_table(tmp_path, "hashes")
    assert read is not None and read.frame.equals(FRAME)
    assert (read.name, read.digest, read.about) == ("hashes", table_digest(FRAME), {"by": "audit", "content": "c0"})
    assert written.digest == read.digest
    head = json.loads((tmp_path / "tables" / "hashes.json").read_text())
    assert (head["schema_version"], head["num_rows"], head["columns"]) == (1, 3, FRAME.columns)
    assert header(tmp_path, "hashes") == head
    remove_table(tmp_path, "hashes")
    assert read_table(tmp_path, "hashes") is None and not list((tmp_path / "tables").iterdir())


def test_a_table_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_table(tmp_path, "cues") is None and header(tmp_path, "cues") is None


@given(order=st.permutations(range(3)), columns=st.permutations(FRAME.columns))
def test_the_digest_knows_no_order(order: list[int], columns: list[str]) -> None:
    assert table_digest(FRAME[order].select(columns)) == table_digest(FRAME)


@pytest.mark.parametrize(
    "changed",
    [
        FRAME.with_columns(text=pl.Series(["x", "", "yz"])),  # empty is not unknown
        FRAME.with_columns(text=pl.Series(["xy", None, "z"])),  # the same letters, divided otherwise
        FRAME.with_columns(number=pl.Series([1, 0, 3])),
        FRAME.with_columns(share=pl.Series([0.1, None, 0.3000001])),
        FRAME.with_columns(flag=pl.Series([True, False, False])),
        FRAME.with_columns(words=pl.Series([[1, 2], None, [0]], dtype=pl.List(pl.UInt64))),
        FRAME.with_columns(number=pl.col("number").cast(pl.Float64)),
        FRAME.rename({"text": "texts"}),
        FRAME[:2],
        FRAME.with_columns(row_id=pl.Series(["a#0", "c#0", "b#0"])),
    ],
)
def test_the_digest_sees_every_change(changed: pl.DataFrame) -> None:
    assert table_digest(changed) != table_digest(FRAME)


@pytest.mark.parametrize(("name", "frame"), [("../up", FRAME), ("Cues", FRAME), ("cues", FRAME.drop("row_id"))])
def test_what_is_no_side_table_is_not_written(tmp_path: Path, name: str, frame: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="row_id"):
        write_table(tmp_path, name, frame, {})


BREAKS = {
    "other bytes": lambda folder: (folder / "cues.parquet").write_bytes(b"PAR1"),
    "no rows": lambda folder: (folder / "cues.parquet").unlink(),
    "no JSON": lambda folder: (folder / "cues.json").write_text("{half"),
    "a list": lambda folder: (folder / "cues.json").write_text("[1]"),
    "nothing said": lambda folder: (folder / "cues.json").write_text('{"schema_version": 1}'),
    "another schema": lambda folder: (folder / "cues.json").write_text('{"schema_version": 9}'),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_a_broken_table_is_one_sentence(tmp_path: Path, kind: str) -> None:
    write_table(tmp_path, "cues", FRAME, {"by": "audit"})
    BREAKS[kind](tmp_path / "tables")
    with pytest.raises(UserError, match=r"tables/cues\.(parquet|json): cannot be read as a side table") as caught:
        read_table(tmp_path, "cues")
    assert "\n" not in str(caught.value) and "evensight audit" in str(caught.value)


def test_a_table_written_by_others_meanwhile_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit takes the place of both files, one after the other."""
    from evensight.data import tables

    write_table(tmp_path, "cues", FRAME, {"by": "old"})
    original = tables.digest_file

    def digest(path: Path) -> str:
        monkeypatch.setattr(tables, "digest_file", original)
        write_table(tmp_path, "cues", FRAME[:1], {"by": "new"})
        return original(path)

    monkeypatch.setattr(tables, "digest_file", digest)
    read = read_table(tmp_path, "cues")
    assert read is not None and read.about == {"by": "new"} and len(read.frame) == 1


def test_lines_about_other_images_are_reported(prepared) -> None:
    manifest = prepared(num=12)
    ids = [*manifest.frame["row_id"][:3], "gone#0", "gone#1"]
    write_table(manifest.folder, "quarantine", pl.DataFrame({"row_id": ids, "code": ["blank"] * 5}), {"by": "test"})
    (table,) = [table for name, table in read_tables(manifest).items() if name == "quarantine"]
    (finding,) = strangers(manifest, table)
    assert (finding.code, finding.count, finding.examples) == ("unknown_row_id", 2, ["gone#0", "gone#1"])
