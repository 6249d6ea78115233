"""If these fail, some file or text ends in a traceback, in a hang or in all of the memory.

Two thousand examples each: EVENSIGHT_HYPOTHESIS=nightly pytest -m nightly tests/data/test_data_property.py
"""

from __future__ import annotations

import resource
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from broken_files import TABLE, any_bytes, archives, array_files, image_files, mutated, parquets
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evensight.data import kept
from evensight.data.checks import usable_rows
from evensight.data.readers.arrays import ArraysReader
from evensight.data.readers.table import TableReader
from evensight.data.reading import Reader, Reading, silent
from evensight.data.sources import read_path
from evensight.errors import UserError
from evensight.runtime.decode import DecodeError, decode
from evensight.runtime.predictor import Predictor
from made_artifact import Made

pytestmark = pytest.mark.timeout(7200)  # of 2,000 processes on a busy machine

CODES = {"unreadable", "format", "too_large", "corrupt", "mode", "range"}
LIMIT = 200_000  # pixels
MOST_MEMORY = 2**30  # bytes that all examples of a property together may add to the process


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Holds memory, and lets Pillow warn as it does for users."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_MEMORY


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image, an array and its labels."""
    folder = tmp_path_factory.mktemp("place")
    Image.new("RGB", (5, 4)).save(folder / "a.png")
    (folder / "c d.png").write_bytes((folder / "a.png").read_bytes())
    np.save(folder / "x.npy", np.zeros((3, 4, 5), np.uint8))
    np.save(folder / "y.npy", np.array([0, 1, 2]))
    return folder


@pytest.fixture(scope="module")
def predictor(made: Made) -> Predictor:
    return Predictor(made.artifact.folder, accept_failed=True)


@given(content=any_bytes(image_files()))
def test_any_bytes_as_an_image(content: bytes) -> None:
    try:
        image = decode(content, LIMIT)
    except DecodeError as error:
        assert error.code in CODES and str(error)
        return
    assert image.dtype == torch.uint8 and image.shape[0] == 3
    assert 0 < image.shape[1] * image.shape[2] <= LIMIT


@given(content=any_bytes(image_files()))
def test_any_file_to_predict(content: bytes, place: Path, predictor: Predictor) -> None:
    (place / "any").write_bytes(content)
    from_path, from_bytes = predictor.predict([place / "any", content])
    assert from_path == from_bytes
    if from_path.error is None:
        assert from_path.label in predictor.classes and abs(sum(from_path.probabilities) - 1) < 1e-4
    else:
        assert from_path.error.split(":")[0] in CODES and from_path.label is None


def read_or_refused(reader: Reader, folder: Path) -> None:
    """A reader and the checks behind it give rows that can be used, or one line."""
    try:
        reading = reader.read(folder, None, silent)
        rows, _ = usable_rows(reading, None)
    except UserError as error:
        assert str(error).isprintable() and str(error)
        return
    assert len(rows) and set(rows["split"].drop_nulls()) <= {"train", "validation", "test"}
    assert not rows["label"].is_null().any()
    for path in rows["path"].to_list()[:3]:
        try:
            read_path(reading.root, path)
        except (DecodeError, UserError) as error:
            assert str(error)


@given(
    content=st.one_of(
        mutated((TABLE.encode(),)),
        st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")),
        st.binary(max_size=200),
    ),
    suffix=st.sampled_from((".csv", ".tsv", ".jsonl")),
)
def test_any_text_as_a_table(content: bytes, suffix: str, place: Path) -> None:
    (place / f"t{suffix}").write_bytes(content)
    read_or_refused(TableReader(name="t", table=str(place / f"t{suffix}")), place)


CELL = st.one_of(st.text(max_size=8), st.sampled_from(('"', "\n", "\r", ",", "a.png", "cat", "\0", "\ufeff")))


@given(rows=st.lists(st.lists(CELL, min_size=2, max_size=2), max_size=6), suffix=st.sampled_from((".csv", ".tsv")))
def test_any_cells_in_a_table(rows: list[list[str]], suffix: str, place: Path) -> None:
    separator = "," if suffix == ".csv" else "\t"
    text = "\n".join(separator.join(row) for row in [["path", "label"], *rows])
    (place / f"cells{suffix}").write_bytes(text.encode("utf-8", "replace"))
    read_or_refused(TableReader(name="t", table=str(place / f"cells{suffix}")), place)


VALUE = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(("a.png", "cat"))
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=3,
)
KEY = st.one_of(st.text(max_size=5), st.sampled_from(("path", "label", "split", "mask", "box_x0")))


@given(rows=st.lists(st.dictionaries(KEY, VALUE, max_size=4), max_size=4))
def test_any_json_lines(rows: list[dict[str, object]], place: Path) -> None:
    import json

    (place / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    read_or_refused(TableReader(name="t", table=str(place / "rows.jsonl")), place)


# A process each: a file that ends it must not end the one that asked.
@pytest.mark.slow
@given(content=any_bytes(parquets()))
def test_any_bytes_as_parquet(content: bytes, place: Path) -> None:
    (place / "t.parquet").write_bytes(content)
    read_or_refused(TableReader(name="t", table=str(place / "t.parquet")), place)


@given(content=any_bytes(array_files()))
def test_any_bytes_as_npy(content: bytes, place: Path) -> None:
    (place / "any.npy").write_bytes(content)
    for images, labels in (("any.npy", "y.npy"), ("x.npy", "any.npy")):
        files = {"files": {"train": images}, "label_files": {"train": labels}}
        read_or_refused(ArraysReader(name="a", root=str(place), **files), place)


@given(content=any_bytes(archives()))
def test_any_bytes_as_npz(content: bytes, place: Path) -> None:
    (place / "any.npz").write_bytes(content)
    read_or_refused(ArraysReader(name="a", root=str(place), files={"train": "any.npz"}), place)


HEADER = b'{"schema_version": 1, "key": "k", "table_sha256": "0", "classes": ["a"], "levels": {}, "findings": []}'
PART = st.one_of(
    st.text(max_size=6), st.sampled_from(("..", ".", "a.png", "x.npy#1", "x.npy#9", "/", "\0", "~", "#", ":"))
)


@given(paths=st.lists(st.lists(PART, max_size=4).map("/".join), min_size=1, max_size=5), masks=st.booleans())
def test_any_path_in_a_table(paths: list[str], masks: bool, place: Path) -> None:
    try:
        rows = pl.DataFrame({"path": [*paths, "a.png"], "label": ["cat"] * (len(paths) + 1)})
    except UnicodeEncodeError:  # half a character: no reader makes a table of it
        return
    if masks:
        rows = rows.with_columns(mask="path")
    try:
        usable, _ = usable_rows(Reading(rows=rows, root=place), None)
    except UserError as error:  # rows that contradict each other are all left out
        assert "contradicting_rows" in str(error)
        return
    for path in [*usable["path"], *(usable["mask"].drop_nulls() if masks else [])]:
        assert (place / path.split("#")[0]).resolve().is_relative_to(place.resolve())


@given(name=st.sampled_from((kept.TABLE, kept.HEADER)), content=any_bytes((*parquets(), HEADER)))
def test_what_was_kept_and_is_anything_is_made_anew(name: str, content: bytes, place: Path) -> None:
    (place / name).write_bytes(content)
    assert kept.load(place, "k", "n", place, False) is None
