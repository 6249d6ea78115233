"""`evensight audit` as a user runs it: what it finds, what it leaves, what it may not read, and where it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from evensight.cli import main
from evensight.data.seal import openings

SMALL = ("data.num_train=640", "data.num_validation=160", "data.num_test=128")
QUICK = "audit.skip=[label_errors]"


def audited(datasets: Path, *arguments: str) -> tuple[int, dict, Path]:
    status = main(["audit", *arguments, f"datasets_dir={datasets}"])
    (folder,) = datasets.glob("*/*/audit")
    return status, json.loads((folder / "findings.json").read_text(encoding="utf-8")), folder


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict, Path, Path]:
    datasets = tmp_path_factory.mktemp("shapes")
    return *audited(datasets, "experiment=shapes", *SMALL, QUICK, "audit.transfer=test"), datasets


def test_the_founding_example_is_found_before_training(shapes: tuple[int, dict, Path, Path]) -> None:
    status, found, folder, _ = shapes
    first = found["findings"][0]
    assert (first["code"], first["severity"], first["evidence"]["cue"]) == ("shortcut", "alarm", "colour")
    assert first["evidence"]["low"] > 0.85
    there = first["evidence"]["elsewhere"][0]
    assert (there["place"], there["low"] <= 0.125 <= there["high"]) == ("test", True)
    verdict = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    assert (status, verdict["verdict"], verdict["stage"]) == (0, "PASS", "audit")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert first["title"] in page
    assert all((folder / "pictures" / part["file"]).is_file() for part in first["exhibits"][0]["pictures"])


def test_what_the_cue_says_is_a_side_table_and_no_row_changes(shapes: tuple[int, dict, Path, Path]) -> None:
    _, _, folder, _ = shapes
    manifest = pl.read_parquet(folder.parent / "manifest.parquet")
    table = pl.read_parquet(folder.parent / "tables" / "cues.parquet")
    assert "colour_says" in table.columns
    joined = manifest.join(table, on="row_id", how="left")
    # Eight shapes and eight colours in the same order: what the colour says is known here.
    own = dict(
        zip(
            *(joined.filter(pl.col("split") == "train").group_by("label").agg(pl.col("colour").mode().first()))
            .select("colour", "label")
            .get_columns(),
            strict=True,
        )
    )
    said = joined.filter(pl.col("split") == "test").select("colour", "colour_says")
    right = np.mean([own[colour] == says for colour, says in said.iter_rows()])
    assert right > 0.9
    assert "colour_says" not in manifest.columns


def test_training_follows_it_and_names_the_worst_findings(
    shapes: tuple[int, dict, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found, _, datasets = shapes
    arguments = ["experiment=shapes", *SMALL, "debug=fast", "data.limit=null", f"datasets_dir={datasets}"]
    assert main(["train", *arguments, f"runs_dir={tmp_path}", "trainer.max_epochs=1", "test=false"]) == 0
    log = next(tmp_path.glob("shapes/2*/run.log")).read_text(encoding="utf-8")
    assert f"audit: alarm: {found['findings'][0]['title']}" in log
    metrics = next(tmp_path.glob("shapes/2*/metrics.jsonl")).read_text(encoding="utf-8")
    assert "val/conflicting_accuracy/colour_says" in metrics


def test_without_an_audit_training_says_how_to_run_one(tmp_path: Path) -> None:
    arguments = ["experiment=shapes", "debug=fast", f"datasets_dir={tmp_path / 'd'}", f"runs_dir={tmp_path / 'r'}"]
    assert main(["train", *arguments, "trainer.max_epochs=1", "export=false", "test=false"]) == 0
    log = next((tmp_path / "r").glob("*/2*/run.log")).read_text(encoding="utf-8")
    assert "has not been audited" in log
    assert "evensight audit" in log


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photographs of noise in two classes; the first of each is in two splits, one is blank, one is broken."""
    rng = np.random.default_rng(0)
    root = tmp_path / "photos"
    for split, num in (("train", 30), ("validation", 12), ("test", 20)):
        for label in ("cat", "dog"):
            (root / split / label).mkdir(parents=True)
            for i in range(num):
                pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
                image = Image.fromarray(pixels).resize((64, 48), Image.Resampling.BICUBIC)
                image.save(root / split / label / f"{i:02d}.png")
    for label in ("cat", "dog"):
        (root / "test" / label / "00.png").write_bytes((root / "train" / label / "00.png").read_bytes())
    Image.new("RGB", (64, 48), (9, 9, 9)).save(root / "train" / "cat" / "blank.png")
    (root / "train" / "dog" / "page.jpg").write_bytes(b"<!DOCTYPE html><p>not found")
    return root


def test_a_folder_of_photographs(folder: Path, tmp_path: Path) -> None:
    status, found, place = audited(tmp_path / "datasets", "experiment=folder", f"data.root={folder}", QUICK)
    codes = {each["code"]: each for each in found["findings"]}
    assert status == 1  # 2 of 40 test images lie in training: more than one in a hundred
    row = {row["label"]: row for row in json.loads((place / "verdict.json").read_text())["requirements"]}
    assert row["leakage"]["estimate"] == pytest.approx(2 / 40)
    assert row["unreadable"]["estimate"] == pytest.approx(1 / 126)
    assert any("leak" in code for code in codes)
    quarantine = pl.read_parquet(place.parent / "tables" / "quarantine.parquet")
    paths = pl.read_parquet(place.parent / "manifest.parquet").join(quarantine, on="row_id")["path"].to_list()
    assert {"train/cat/blank.png", "train/cat/00.png", "train/dog/00.png"} <= set(paths)


def test_a_sealed_test_split_is_counted_and_not_read(folder: Path, tmp_path: Path) -> None:
    """Names in a closed test split change no finding; opened, the ledger has a line that is no opening."""
    _, first, place = audited(tmp_path / "one", "experiment=folder", f"data.root={folder}", QUICK)
    assert first["open_test"] is False
    # The same pixels under the other name.
    cat, dog = folder / "test" / "cat", folder / "test" / "dog"
    for name in sorted(path.name for path in cat.iterdir())[1:]:
        (cat / name).rename(folder / "x.png")
        (dog / name).rename(cat / name)
        (folder / "x.png").rename(dog / name)
    _, second, _ = audited(tmp_path / "two", "experiment=folder", f"data.root={folder}", QUICK)
    titles = [[(each["code"], each["title"]) for each in found["findings"]] for found in (first, second)]
    assert titles[0] == titles[1]
    assert openings(place.parent.parent) == []
    main(
        [
            "audit",
            "experiment=folder",
            f"data.root={folder}",
            QUICK,
            "audit.open_test=true",
            f"datasets_dir={tmp_path / 'one'}",
        ]
    )
    (line,) = openings(place.parent.parent)
    assert (line["stage"], line["rows"]) == ("audit", [])


@pytest.mark.slow
def test_a_killed_audit_goes_on_where_it_was(tmp_path: Path) -> None:
    arguments = ["experiment=shapes", "data.num_train=1600", "data.num_validation=160", "data.num_test=128", QUICK]
    datasets = tmp_path / "datasets"
    command = [sys.executable, "-m", "evensight", "audit", *arguments, f"datasets_dir={datasets}"]
    with (tmp_path / "said.txt").open("w") as said:
        process = subprocess.Popen([*command, "audit.num_workers=1"], stdout=said, stderr=said)
    while process.poll() is None and len(list(datasets.glob("*/*/audit/scores/*/*.npz"))) < 2:
        time.sleep(0.01)
    assert process.poll() is None, (tmp_path / "said.txt").read_text()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in datasets.glob("*/*/audit/scores/*/[!.]*.npz")}
    assert 2 <= len(kept) < 8
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "images were measured before" in again.stderr
    assert all(path.stat().st_mtime_ns == then for path, then in kept.items())
    (place,) = datasets.glob("*/*/audit")
    whole = audited(tmp_path / "whole", *arguments)[2]
    assert (place / "findings.json").read_bytes() == (whole / "findings.json").read_bytes()


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("audit.cues=[color]", r"audit.cues: 'color' is not known; allowed: .*Did you mean 'colour'"),
        ("audit.cues=[frame]", r"audit.cues: 'frame' is not known"),
        ("audit.skip=[shortcut]", r"audit.skip: 'shortcut' is not known; .*Did you mean 'shortcuts'"),
        ("audit.transfer=tset", r"audit.transfer: 'tset' is not known"),
        ("audit.alarm_level=2", r"audit.alarm_level: found 2"),
        ("audit.opentest=true", r"key: 'audit.opentest' is not known"),
    ],
)
def test_wrong_settings_are_one_sentence(
    argument: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    assert main(["audit", "experiment=shapes", argument, f"datasets_dir={tmp_path}"]) == 2
    text = capsys.readouterr().err
    assert re.search(said, text), text
    assert len(text.strip().splitlines()) == 1
    assert not any(tmp_path.iterdir())
