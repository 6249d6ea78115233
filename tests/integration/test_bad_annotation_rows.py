"""If these fail, one wrong row of an annotation file is believed, kept quiet, or costs all the others."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
from bad_annotations import ANNOTATIONS, NUM_IMAGES
from bad_json_annotations import JSON_ANNOTATIONS, ROWS
from test_bad_annotations import CONFIGS, lay_out

from evensight import main
from opened_files import outside, watched

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("name", ROWS)
def test_a_wrong_row_is_counted_and_the_others_are_used(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    at = lay_out(tmp_path)
    with watched() as opened:
        status = main(["objective", f"datasets_dir={at / 'sets'}", *ROWS[name].make(at)])
    said = capfd.readouterr().err
    assert status == 0 and "Traceback" not in said, said
    assert re.search(ROWS[name].said, said), said
    assert outside(opened, [at / "root", at / "sets", CONFIGS]) == []
    (manifest,) = (at / "sets").glob("*/*/manifest.parquet")
    assert len(pl.read_parquet(manifest)) >= NUM_IMAGES - 1


def test_no_kind_is_told_twice() -> None:
    assert not set(JSON_ANNOTATIONS) & {*ROWS}
    assert len({**ANNOTATIONS, **JSON_ANNOTATIONS}) == len(ANNOTATIONS) + len(JSON_ANNOTATIONS) >= 60
