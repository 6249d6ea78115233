"""If these fail, copies of training images lie in the test split, or images are decoded for nothing."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from PIL import Image

from evensight.data import scan as scan_module
from evensight.data import thumbnails
from evensight.data.prepare import prepare
from evensight.data.readers.arrays import ArraysReader
from evensight.data.readers.table import TableReader
from evensight.data.reading import silent
from evensight.objective.objective import Objective

NUM = 60


def picture(seed: int) -> np.ndarray:
    """Patches of light and colour, 96 x 96: like nothing else, as photographs are."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (7, 7, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (96, 96), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)


def copied(pixels: np.ndarray, kind: int) -> np.ndarray:
    """Smaller, darker, or cut at its edges."""
    if kind == 0:
        return cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_AREA)
    return (pixels * 0.8).astype(np.uint8) if kind == 1 else pixels[3:-3, 3:-3]


@pytest.fixture
def photos(tmp_path: Path) -> TableReader:
    """Sixty pictures of two classes, and a copy of every other one."""
    (tmp_path / "t").mkdir()
    lines = []
    for number in range(NUM):
        pixels = picture(number)
        Image.fromarray(pixels).save(tmp_path / "t" / f"{number}.png")
        lines.append({"path": f"{number}.png", "label": "ab"[number % 2]})
        if number % 4 < 2:
            Image.fromarray(copied(pixels, number % 3)).save(tmp_path / "t" / f"copy_{number}.jpg", quality=80)
            lines.append({"path": f"copy_{number}.jpg", "label": "ab"[number % 2]})
    pl.DataFrame(lines).write_csv(tmp_path / "t" / "t.csv")
    return TableReader(name="t", table=str(tmp_path / "t" / "t.csv"))


def parted(manifest) -> int:
    """How many copies lie in another split than their original."""
    split = dict(manifest.frame.select("path", "split").iter_rows())
    return sum(one != split[path[5:-4] + ".png"] for path, one in split.items() if path.startswith("copy_"))


def test_copies_lie_in_the_split_of_their_original(tmp_path, photos, make_objective) -> None:
    manifest, _ = prepare(photos, make_objective(), tmp_path / "datasets", silent)
    assert parted(manifest) == 0
    counts = dict(manifest.frame["split"].value_counts().iter_rows())
    assert abs(counts["test"] - 18) <= 2 and abs(counts["validation"] - 13.5) <= 2  # .2 and .15 of 90
    photos.near_duplicates = "part"
    assert parted(prepare(photos, make_objective(), tmp_path / "datasets", silent)[0]) > 3


def test_copies_come_to_the_known_split_of_their_original(tmp_path, photos, make_objective) -> None:
    file = Path(photos.table)
    table = pl.read_csv(file)
    table.filter(~pl.col("path").str.starts_with("copy_")).write_csv(file)
    first, _ = prepare(photos, make_objective(), tmp_path / "datasets", silent)
    table.write_csv(file)
    grown, _ = prepare(photos, make_objective(), tmp_path / "datasets", silent)
    assert parted(grown) == 0
    before = dict(first.frame.select("row_id", "split").iter_rows())
    after = dict(grown.frame.select("row_id", "split").iter_rows())
    assert {row: after[row] for row in before} == before


def test_copies_that_were_given_to_two_splits_are_reported_and_not_moved(tmp_path, photos, make_objective) -> None:
    file = Path(photos.table)
    table = pl.read_csv(file)
    is_copy = pl.col("path").str.starts_with("copy_")
    table.with_columns(split=pl.when(is_copy).then(pl.lit("test")).otherwise(pl.lit("train"))).write_csv(file)
    manifest, _ = prepare(photos, make_objective(), tmp_path / "datasets", silent)  # validation is to be taken
    found = {finding.code: finding for finding in manifest.findings}
    assert found["near_duplicates_parted"].count == 30
    assert "0.png = copy_0.jpg" in found["near_duplicates_parted"].examples
    split = dict(manifest.frame.select("path", "split").iter_rows())
    assert all(split[f"copy_{number}.jpg"] == "test" for number in range(NUM) if number % 4 < 2)
    taken = {path for path, one in split.items() if one == "validation"}
    assert taken and not taken & {f"{number}.png" for number in range(NUM) if number % 4 < 2}


def test_thumbnails_are_learned_once_and_only_where_rows_are_placed(
    tmp_path, photos, make_objective, monkeypatch
) -> None:
    decoded = []
    original = scan_module.read_path
    monkeypatch.setattr(
        scan_module, "read_path", lambda root, path, *rest: decoded.append(path) or original(root, path)
    )
    file = Path(photos.table)
    table = pl.read_csv(file).with_row_index("n")
    splits = pl.Series(["train", "validation", "test"])
    stated = table.with_columns(split=splits.gather(table["n"] % 3)).drop("n")
    stated.write_csv(file)
    first, _ = prepare(photos, make_objective(), tmp_path / "datasets", silent)
    assert len(decoded) == 90 and not (first.folder / thumbnails.KEPT).exists()
    table.drop("n").write_csv(file)  # now they are to be placed: those images are decoded once more
    second, _ = prepare(photos, make_objective(), tmp_path / "datasets", silent)
    assert len(decoded) == 180 and (second.frame["split"] == first.frame["split"]).all()
    kept = thumbnails.kept(second.folder)
    assert len(set(kept["key"].tolist()) - {b""}) == 90
    Image.fromarray(picture(999)).save(file.parent / "1.png")
    third, _ = prepare(photos, make_objective(), tmp_path / "datasets", silent)
    assert decoded[180:] == ["1.png"] and len(third.frame) == 90
    (third.folder / thumbnails.KEPT).write_bytes(b"broken")
    Image.fromarray(picture(998)).save(file.parent / "2.png")
    fourth, _ = prepare(photos, make_objective(), tmp_path / "datasets", silent)
    assert len(decoded) == 181 + 90 and len(thumbnails.kept(fourth.folder)) == 90


def test_the_order_of_rows_is_of_no_account(tmp_path, photos, make_objective) -> None:
    manifest, _ = prepare(photos, make_objective(), tmp_path / "datasets", silent)
    file = Path(photos.table)
    pl.read_csv(file).sample(fraction=1.0, shuffle=True, seed=3).write_csv(file)
    turned, _ = prepare(photos, make_objective(), tmp_path / "elsewhere", silent)
    assert turned.digests.content == manifest.digests.content


@pytest.mark.slow
@pytest.mark.realdata
def test_photographs_and_digits_lie_where_they_would_without_looking(tmp_path, real_data, make_objective) -> None:
    """MNIST-like data raises no false alarm: no digit is tied to another."""
    from evensight.data.readers.arrays import ArraysReader

    found = {}
    for near in ("keep_together", "part"):
        reader = ArraysReader(
            name="mnist", root=str(real_data / "mnist"), files={"all": "test.npz"}, near_duplicates=near
        )
        found[near] = prepare(reader, make_objective(), tmp_path / "datasets", silent)[0]
    one, other = (manifest.frame["split"].to_list() for manifest in found.values())
    assert sum(a != b for a, b in zip(one, other, strict=True)) == 0


def test_pictures_that_are_all_alike_are_placed_one_by_one(tmp_path: Path) -> None:
    """Ramps that differ in brightness alone are one picture; kept together they would leave no validation image."""
    images = np.stack([np.tile(np.arange(64, dtype=np.uint8)[None] * 2 + i, (64, 1)) for i in range(60)])
    np.save(tmp_path / "ramps.npy", images)
    np.save(tmp_path / "labels.npy", np.arange(60) % 2)
    files = {"files": {"all": "ramps.npy"}, "label_files": {"all": "labels.npy"}}
    stated = {"name": "o", "purpose": "p", "requirements": [{"metric": "accuracy", "bound": 0.5}]}
    reader = ArraysReader(name="ramps", root=str(tmp_path), **files)
    manifest, _ = prepare(reader, Objective.from_config(stated), tmp_path / "datasets", silent)
    assert set(manifest.frame["split"]) == {"train", "validation", "test"}
    assert "near_duplicates_untied" in [finding.code for finding in manifest.findings]
