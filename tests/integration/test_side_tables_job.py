"""If this fails, what an audit found out does not reach training, its verdicts or the commands that read a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from evensight.cli import main
from evensight.compose import compose
from evensight.data.manifest import Manifest
from evensight.data.prepare import prepare
from evensight.data.reading import silent
from evensight.data.tables import read_table, remove_table, write_table
from evensight.objective.objective import Objective
from evensight.run import Run

pytestmark = pytest.mark.slow
SMALL = ["experiment=shapes", "debug=fast", "data.limit=256", "trainer.max_epochs=1", "trainer.num_threads=1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("side_tables")


@pytest.fixture(scope="module")
def manifest(place: Path) -> Manifest:
    """Shapes with a table of what colour says, by the colour that each class usually has, and ten images left out."""
    config = compose([*SMALL, f"datasets_dir={place / 'datasets'}"])
    objective = Objective.from_config(vars(config.objective))
    found, _ = prepare(config.data, objective, place / "datasets", silent)
    usual = {
        found.levels["colour"][level]: name for name, level in zip(found.classes, found.usual["colour"], strict=True)
    }
    says = found.frame.select("row_id", pl.col("colour").replace_strict(usual).alias("colour_says"))
    write_table(found.folder, "cues", says, {"by": "test", "content": found.digests.content})
    out = found.split("train").head(10).select("row_id", pl.lit("blank").alias("code"))
    write_table(found.folder, "quarantine", out, {"by": "test", "content": found.digests.content})
    return found


@pytest.fixture(scope="module")
def run(place: Path, manifest: Manifest) -> Run:
    folders = [f"runs_dir={place / 'runs'}", f"datasets_dir={place / 'datasets'}"]
    assert main(["train", *SMALL, *folders]) == 0
    return Run.open(place / "runs" / "shapes" / "latest")


def verdict(run: Run, stage: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((run.verdicts / f"{stage}.json").read_text(encoding="utf-8"))
    return found


def digests(manifest: Manifest) -> dict[str, str]:
    tables = {name: read_table(manifest.folder, name) for name in ("cues", "quarantine")}
    return {name: table.digest for name, table in tables.items() if table is not None}


def test_conflicting_images_of_the_cue_are_those_of_the_colour(run: Run, manifest: Manifest) -> None:
    """Both are the images whose colour is another class's, counted by two ways."""
    line = json.loads(run.metrics_file.read_text(encoding="utf-8").splitlines()[-1])["metrics"]
    assert line["val/conflicting_accuracy/colour_says"] == line["val/conflicting_accuracy/colour"]
    for stage in ("validation", "test"):
        decided = {row["attribute"]: row for row in verdict(run, stage)["extra"]["decided_by"]}  # type: ignore[index]
        says, colour = (dict(decided[name]) for name in ("colour_says", "colour"))
        says.pop("attribute"), colour.pop("attribute")
        assert says == colour and says["n"] > 0


def test_run_and_verdicts_list_the_tables(run: Run, manifest: Manifest) -> None:
    assert run.read_json("data.json")["side_tables"] == digests(manifest)  # type: ignore[index]
    assert verdict(run, "validation")["side_tables"] == verdict(run, "test")["side_tables"] == digests(manifest)
    assert run.objective().levels["colour_says"] == manifest.classes
    assert "10 training images are in quarantine" in run.log_file.read_text(encoding="utf-8")


def test_a_tested_run_is_judged_by_its_own_attributes(run: Run, place: Path) -> None:
    shutil.copytree(run.folder, place / "tested")
    before = verdict(run, "test")
    main(["test", f"run={place / 'tested'}"])
    after = verdict(Run(place / "tested"), "test")
    assert after["requirements"] == before["requirements"] and after["side_tables"] == before["side_tables"]


def test_an_exported_run_is_the_same_artifact(run: Run, place: Path) -> None:
    from evensight.records.artifact import Artifact

    shutil.copytree(run.folder, place / "exported")
    shutil.rmtree(place / "exported" / "artifact")
    assert main(["export", f"run={place / 'exported'}"]) == 0
    assert Artifact.open(place / "exported" / "artifact").identity == Artifact.open(run.artifact).identity


def test_tables_that_change_or_go_are_said(
    run: Run, place: Path, manifest: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = place / "unfinished"
    shutil.copytree(run.folder, folder)
    (folder / "finished.json").unlink()
    cues = read_table(manifest.folder, "cues")
    assert cues is not None
    try:
        write_table(manifest.folder, "cues", cues.frame.head(5), {"by": "test"})
        assert main(["train", f"run={folder}", "resume=true"]) == 2
        assert "side tables of 'shapes' are not those that" in capsys.readouterr().err
        remove_table(manifest.folder, "cues")
        for command in (["test", f"run={folder}"], ["train", f"run={folder}", "resume=true"]):
            assert main(command) == 2
            assert f"side table cues of digest {cues.digest[:12]}" in capsys.readouterr().err
    finally:
        write_table(manifest.folder, "cues", cues.frame, cues.about)
    write_table(manifest.folder, "soft_labels", cues.frame.head(1), {"by": "test"})  # not read, so nobody minds
    assert main(["train", f"run={folder}", "resume=true"]) == 0
