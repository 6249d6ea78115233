"""If these fail, a user whose data is wrong reads a traceback, waits for ever, or trains on what nobody meant."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import polars as pl
import pytest
from bad_images import IMAGES, Strange, pixels
from bad_sets import SETS, Wrong
from bad_tables import TABLES
from PIL import Image

from evensight import UserError, configuration, main, prepare
from evensight.objective.objective import Objective
from evensight.runtime.decode import decode
from made_artifact import Made

# Pillow says so in warnings; a command sends them to run.log, which a test's own filter comes before.
pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning"),
    pytest.mark.filterwarnings("ignore:Truncated File Read:UserWarning"),
]


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """Two classes of twelve images."""
    for number in range(24):
        path = tmp_path / "animals" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(seed=number)).save(path)
    return tmp_path / "animals"


@pytest.mark.parametrize("strange", IMAGES, ids=lambda strange: strange.name)
def test_one_strange_image_among_good_ones(
    strange: Strange, animals: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    strange.make(animals / "cat" / f"strange{strange.ending}")
    status = main(["objective", "experiment=folder", f"data.root={animals}", f"datasets_dir={tmp_path / 'sets'}"])
    said = capfd.readouterr().err
    assert status == 0, said
    assert "Traceback" not in said and "\nevensight:" not in said
    (kept,) = (tmp_path / "sets" / "folder").glob("*/manifest.parquet")
    rows = pl.read_parquet(kept)
    row = rows.filter(pl.col("path").str.contains("strange"))
    assert len(rows) - len(row) == 24 and rows["error"].is_null().sum() >= 24
    if strange.seen:
        assert row.is_empty() and re.search(strange.seen, said), said
        return
    error = row["error"].item()
    assert (error or "").startswith(strange.error or ""), error
    assert (error is None) == (strange.error is None)
    assert ("1 x undecodable" in said) == (error is not None), said


def test_the_same_files_to_predict(made: Made, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for strange in IMAGES:
        strange.make(folder / f"{strange.name}{strange.ending}")
    arguments = [f"artifact={made.artifact.folder}", f"data={folder}", f"out={tmp_path / 'out.parquet'}"]
    assert main(["predict", *arguments, "accept_failed=true"]) == 0
    said, table = capfd.readouterr().err, pl.read_parquet(tmp_path / "out.parquet")
    assert "Traceback" not in said and "unreadable_names" in said and "folder_named_as_image" in said
    found = dict(table.select("path", "error").iter_rows())
    for strange in IMAGES:
        path = folder / f"{strange.name}{strange.ending}"
        if strange.name in ("folder named as an image", "name that is no UTF-8", "link out of the folder"):
            continue  # the first two are said above; a link is whatever it leads to, since the user named the folder
        error = found[str(path)]
        assert (error is None) == (strange.error is None and strange.seen is None), (strange.name, error)
        # The same sentence for users of the Python function.
        if error is not None:
            with pytest.raises(ValueError) as raised:
                decode(path)
            assert error == f"{raised.value.code}: {raised.value}"
            assert error.removeprefix(f"unreadable: {path}").startswith(strange.error or ": ")


@pytest.mark.parametrize("wrong", SETS + TABLES, ids=lambda wrong: wrong.name)
def test_a_wrong_data_set(wrong: Wrong, animals: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folders = [f"datasets_dir={tmp_path / 'sets'}", f"runs_dir={tmp_path / 'runs'}"]
    arguments = [*folders, *wrong.make(tmp_path)]
    before = sorted(tmp_path.rglob("*"))
    status = main(["objective", *arguments])
    said = capfd.readouterr().err
    assert (status, "Traceback" in said) == (wrong.status, False), said
    assert re.search(wrong.said, said), said
    if status == 0:
        return
    assert said.startswith("evensight: ") and said.count("\n") == 1, said
    with pytest.raises(UserError) as raised:
        config = configuration(arguments)
        prepare(config.data, Objective.from_config(asdict(config.objective)), Path(config.datasets_dir))
    assert f"evensight: {raised.value}\n" == said
    # What was learned of the images is kept, whole; nothing else is.
    left = {path.name for path in tmp_path.rglob("*") if path.is_file() and path not in before}
    assert left <= {".lock", "pixels.parquet", "thumbnails.npy"}


@pytest.mark.parametrize(
    "wrong", [wrong for wrong in SETS + TABLES if wrong.status][::12], ids=lambda wrong: wrong.name
)
def test_training_on_it_leaves_no_run(
    wrong: Wrong, animals: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folders = [f"datasets_dir={tmp_path / 'sets'}", f"runs_dir={tmp_path / 'runs'}"]
    assert main(["train", *folders, *wrong.make(tmp_path)]) == 2
    assert re.search(wrong.said, capfd.readouterr().err)
    assert not [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]


def test_the_tables_are_as_long_as_they_should_be() -> None:
    names = [kind.name for kind in (*IMAGES, *SETS, *TABLES)]
    assert len(set(names)) == len(names) >= 35
