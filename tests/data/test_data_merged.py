"""An older version and what was added to it. If this fails, an old row moves, or an altered merge is trained on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from evensight.data.manifest import Manifest
from evensight.data.prepare import prepare
from evensight.data.readers.merged import (
    ADDITIONS,
    BASE,
    HEAD,
    ORIGINS,
    MergedReader,
    base_table,
    below,
    merge_digest,
    read_head,
)
from evensight.data.tables import read_table
from evensight.errors import UserError
from evensight.files import digest_file
from evensight.objective.objective import Objective

Prepared = Callable[..., Manifest]
COLOURS = {"colour": {"levels": "from_data"}}


def write_merge(folder: Path, base: Manifest, added: list[dict[str, Any]], usual: Any = None) -> Path:
    """Writes what `update action=merge` writes, from the contract of the reader alone."""
    (folder / "images").mkdir(parents=True)
    for row in added:
        pixels = np.random.default_rng(row.pop("draw")).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / row["path"])
    base_table(base.frame, base.levels).write_parquet(folder / BASE)
    schema = dict.fromkeys(("path", "label", "split", "colour", *ORIGINS), pl.String)
    pl.DataFrame(added, schema=schema).write_parquet(folder / ADDITIONS)
    sums = {name: digest_file(folder / name) for name in (BASE, ADDITIONS)}
    head = {
        "schema_version": 1,
        "base": {"root": str(base.root), "mask_root": None if base.mask_root is None else str(base.mask_root)},
        "usual": usual or {},
        "tables": sums,
        "digest": merge_digest(sums, usual or {}),
    }
    (folder / HEAD).write_text(json.dumps(head))
    return folder


def addition(number: int, split: str = "train", label: str = "a", **more: Any) -> dict[str, Any]:
    origin = dict(zip(ORIGINS, (f"i{number}", "control", "plan-1"), strict=True))
    return {"path": f"images/{number}.png", "label": label, "split": split, "draw": 900 + number, **origin, **more}


@pytest.fixture
def base(prepared: Prepared) -> Manifest:
    return prepared()


@pytest.fixture
def merged(tmp_path: Path, base: Manifest, make_objective: Callable[..., Objective]) -> Callable[..., Manifest]:
    def make(reader: MergedReader, **keys: Any) -> Manifest:
        return prepare(reader, make_objective(attributes=COLOURS), tmp_path / "datasets", **keys)[0]

    return make


ADDED = [addition(0, "train", colour="red"), addition(1, "test", "b"), addition(2, "validation", "c", colour="green")]


def added() -> list[dict[str, Any]]:
    return [dict(row) for row in ADDED]


def test_old_rows_stay_as_they_are_and_new_ones_follow(tmp_path: Path, base: Manifest, merged) -> None:
    folder = write_merge(tmp_path / "merged-1", base, added(), {"colour": {"a": "red", "b": "green"}})
    manifest = merged(MergedReader(name=base.name, additions=str(folder)))
    known = ["row_id", "label", "split", "colour", "pixel_sha256", "width", "height"]
    assert manifest.frame[: len(base.frame)].select(known).equals(base.frame.select(known))
    new = manifest.frame[len(base.frame) :]
    assert new.select("label", "split", "colour").rows() == [
        *(("a", "train", "red"), ("b", "test", None), ("c", "validation", "green"))
    ]
    assert manifest.usual["colour"] == (1, 0, -1)  # levels are green, red; of c nothing is declared
    assert (manifest.levels, manifest.classes) == (base.levels, base.classes)
    assert manifest.digests.content != base.digests.content
    assert manifest.digests.test != base.digests.test
    assert manifest.digests.recipe != base.digests.recipe
    # Why each was added is kept beside the rows.
    origins = read_table(manifest.folder, "origins")
    assert origins is not None
    assert origins.frame.join(new.select("row_id"), on="row_id")["added_for"].to_list() == ["control"] * 3
    # Every image can be read from where it lies.
    assert all(manifest.read(row) for row in manifest.frame.iter_rows(named=True))


def test_only_the_new_images_are_decoded(tmp_path: Path, base: Manifest, merged) -> None:
    worked: list[tuple[str, int]] = []
    reader = MergedReader(name=base.name, additions=str(write_merge(tmp_path / "merged-1", base, added())))
    merged(reader, progress=lambda what, done, total: worked.append((what, total)))
    assert ("decoding images", 3) in worked
    assert max(total for what, total in worked if what == "decoding images") == 3


def test_an_old_image_that_changed_is_decoded_again(tmp_path: Path, base: Manifest, merged) -> None:
    reader = MergedReader(name=base.name, additions=str(write_merge(tmp_path / "merged-1", base, added())))
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(base.root / "3.png")
    manifest = merged(reader)
    assert manifest.frame.row(3, named=True)["width"] == 7


def test_masks_and_boxes_stay(prepared: Prepared, tmp_path: Path, merged) -> None:
    base = prepared(masks=True)
    reader = MergedReader(name=base.name, additions=str(write_merge(tmp_path / "merged-1", base, added())))
    manifest = merged(reader)
    old = manifest.frame[: len(base.frame)]
    assert old.select("box_x0", "box_x1").equals(base.frame.select("box_x0", "box_x1"))
    assert old["mask"].null_count() == 0
    assert all((manifest.root / name).is_file() for name in old["mask"])
    assert manifest.frame["mask"][len(base.frame) :].null_count() == 3  # of the new ones nobody drew one


def test_a_merge_of_a_merge(tmp_path: Path, base: Manifest, merged) -> None:
    first = merged(MergedReader(name=base.name, additions=str(write_merge(tmp_path / "merged-1", base, added()))))
    folder = write_merge(tmp_path / "merged-2", first, [addition(5, "test", "c")])
    second = merged(MergedReader(name=base.name, additions=str(folder)))
    assert second.frame["split"].to_list() == [*first.frame["split"].to_list(), "test"]
    assert second.frame["row_id"][: len(first.frame)].equals(first.frame["row_id"])


def test_moved_images_are_found_where_they_are_said_to_be(tmp_path: Path, base: Manifest, merged) -> None:
    folder = write_merge(tmp_path / "merged-1", base, added())
    moved = tmp_path / "elsewhere" / "images"
    shutil.copytree(base.root, moved)
    shutil.rmtree(base.root)
    with pytest.raises(UserError, match=r"data.base: .* does not exist"):
        merged(MergedReader(name=base.name, additions=str(folder)))
    manifest = merged(MergedReader(name=base.name, additions=str(folder), base=str(moved)))
    assert manifest.frame["error"].null_count() == len(base.frame) + 3


@pytest.mark.parametrize("name", [BASE, ADDITIONS, HEAD])
def test_an_altered_merge_is_refused(tmp_path: Path, base: Manifest, merged, name: str) -> None:
    folder = write_merge(tmp_path / "merged-1", base, added())
    if name == HEAD:
        head = json.loads((folder / HEAD).read_text())
        (folder / HEAD).write_text(json.dumps({**head, "usual": {"colour": {"a": "green"}}}))
    else:
        frame = pl.read_parquet(folder / name)
        frame.with_columns(split=pl.lit("train")).write_parquet(folder / name)
    with pytest.raises(UserError, match="was altered since it was merged"):
        merged(MergedReader(name=base.name, additions=str(folder)))


def test_what_is_no_merge_is_said(tmp_path: Path, base: Manifest, merged) -> None:
    folder = write_merge(tmp_path / "merged-1", base, added())
    with pytest.raises(UserError, match=r"data.additions is not set"):
        merged(MergedReader(name=base.name))
    with pytest.raises(UserError, match=r"merge\.json: there is no merge; data\.additions names what .*=merge wrote"):
        merged(MergedReader(name=base.name, additions=str(tmp_path)))
    with pytest.raises(UserError, match="holds another merge"):
        merged(MergedReader(name=base.name, additions=str(folder), digest="f" * 64))
    (folder / HEAD).write_text('{"schema_version": 2}')
    with pytest.raises(UserError, match="schema_version is 2; allowed: 1"):
        read_head(folder)
    for text in ("{", "[]", '{"schema_version": 1}'):
        (folder / HEAD).write_text(text)
        with pytest.raises(UserError, match="cannot be read as the head of a merge"):
            read_head(folder)


def test_paths_below_a_root() -> None:
    paths = pl.Series("path", ["a.png", None, "b/c.npy#3"])
    assert below(paths, Path("/x/y/z"), Path("/x")).to_list() == ["y/z/a.png", None, "y/z/b/c.npy#3"]
    assert below(paths, Path("/x"), Path("/x")).to_list() == paths.to_list()
