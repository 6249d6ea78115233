"""If these fail, a verdict is about something else than the file that ships.

The network decides by colour alone (see made_artifact), so every figure is known: of 18 test images, two a label and a
colour, it is right where the colour is the label's own.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

import made_artifact
from evensight.data.manifest import Manifest
from evensight.errors import RunError, UserError
from evensight.objective import verdict_file
from evensight.records import instruments as measuring
from evensight.records.artifact import Artifact, write_sums
from evensight.run import Run
from evensight.testing.evaluate import Evaluation, evaluate, reliance_of

LABELS = [label for label, _, _ in itertools.product(range(3), range(3), range(2))]
COLOURS = [colour for _, colour, _ in itertools.product(range(3), range(3), range(2))]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> made_artifact.Made:
    """One of this module's own: its test verdict is attached to it, and a model with a FAIL is not served."""
    return made_artifact.make(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("evaluated"))


@pytest.fixture(scope="module")
def found(made: made_artifact.Made, run: Run) -> Evaluation:
    return evaluate(made.artifact, made.manifest, "test", run, made_artifact.Painter(), batch_size=5)


def test_counts_are_those_of_a_model_that_decides_by_colour(found: Evaluation) -> None:
    assert found.evidence.counts is not None
    assert found.evidence.counts.overall.tolist() == [[2, 2, 2]] * 3
    for colour, table in enumerate(found.evidence.counts.by_attribute["colour"]):
        expected = np.zeros((3, 3), int)
        expected[:, colour] = 2
        assert table.tolist() == expected.tolist()


def test_rows_of_the_verdict(found: Evaluation) -> None:
    rows = {row.label: row for row in found.file.requirements}
    assert rows["accuracy"].estimate == pytest.approx(6 / 18)
    assert rows["accuracy of conflicting images (colour)"].estimate == 0.0
    assert rows["accuracy of conflicting images (colour)"].n == 12
    assert rows["reliance on colour"].estimate == 1.0
    assert rows["reliance on colour"].verdict == "FAIL"
    assert {one.name: one.estimate for one in rows["advantage over majority, colour"].comparisons} == {
        "majority": 0.0,
        "colour": 0.0,
    }
    assert rows["artifact size"].estimate == rows["artifact size"].high
    assert found.verdict == "FAIL"


def test_what_decides_the_conflicting_images(found: Evaluation) -> None:
    (entry,) = found.file.extra["decided_by"]
    assert (entry["attribute"], entry["share"], entry["n"]) == ("colour", 1.0, 12)
    assert entry["low"] == pytest.approx(0.05 ** (1 / 12))  # Clopper-Pearson at x = n
    assert entry["chance"] == pytest.approx(1 / 3)


def test_truth_by_redrawing_agrees_with_reliance(found: Evaluation) -> None:
    truth = found.file.extra["truth"]["colour"]
    assert (truth["share"], truth["n"]) == (1.0, 18)
    assert truth["reliance"] == {"hue": 1.0, "hue_luma": 1.0, "tint": 1.0}
    assert found.table["truth:colour"].all()
    assert found.table["truth:colour:prediction"].to_list() == found.table["reliance:colour:hue:donor_class"].to_list()


def test_a_reader_that_redraws_batches_gives_the_same_truth(
    made: made_artifact.Made, found: Evaluation, copied: Callable[[], Artifact], tmp_path: Path
) -> None:
    class Batches(made_artifact.Painter):
        sizes: tuple[int, ...] = ()

        def redraw(self, row: dict[str, Any], attribute: str, level: str) -> Any:
            raise AssertionError

        def redraw_batch(self, rows: list[dict[str, Any]], attribute: str, levels: list[str]) -> Any:
            self.sizes += (len(rows),)
            return [super(Batches, self).redraw(row, attribute, level) for row, level in zip(rows, levels, strict=True)]

    reader = Batches()
    again = evaluate(copied(), made.manifest, "test", Run(tmp_path / "run"), reader)
    assert reader.sizes == (18,)
    assert again.table["truth:colour:prediction"].equals(found.table["truth:colour:prediction"])
    assert again.file.extra["truth"] == found.file.extra["truth"]


def test_table_of_predictions(found: Evaluation, run: Run) -> None:
    table = pl.read_parquet(run.predictions / "test.parquet")
    assert table.equals(found.table)
    assert table["label"].to_list() == LABELS
    assert table["prediction"].to_list() == COLOURS
    assert table["attribute:colour"].to_list() == COLOURS
    assert table["rival:majority"].to_list() == [0] * 18
    assert table["rival:colour"].to_list() == COLOURS
    assert table["error"].is_null().all()
    assert table["probabilities"].list.sum().to_numpy() == pytest.approx(1.0, abs=1e-5)
    assert table["reliance:colour:hue:transplant"].all()
    assert not table["reliance:colour:hue:placebo"].any()


def test_pictures(found: Evaluation, run: Run) -> None:
    index = json.loads((run.pictures / "test.json").read_text())
    wrong = [entry["probability"] for entry in index["mistakes"]]
    assert len(wrong) == 12
    assert wrong == sorted(wrong, reverse=True)
    assert all(entry["label"] != entry["prediction"] for entry in index["mistakes"])
    assert len(index["transplants"]) == 3 * 12
    named = {entry["file"] for entry in index["mistakes"]}
    named |= {entry[part] for entry in index["transplants"] for part in ("image", "donor", "transplanted")}
    assert named == {path.name for path in (run.pictures / "test").iterdir()}
    first = index["transplants"][0]
    assert first["moved"]
    assert first["prediction"] == first["donor_class"] != first["before"]
    with Image.open(run.pictures / "test" / first["transplanted"]) as picture:
        assert picture.size == (32, 32)


def test_verdict_is_written_and_attached(made: made_artifact.Made, found: Evaluation, run: Run) -> None:
    assert verdict_file.read(run.verdicts / "test.json") == found.file
    assert found.file.artifact == made.artifact.identity
    assert made.artifact.attached["verdict_test"]["verdict"] == "FAIL"


def test_reliance_from_the_folder_and_the_images_alone(made: made_artifact.Made, found: Evaluation) -> None:
    artifact = Artifact.open(made.artifact.folder)
    paths = [made.manifest.root / path for path in found.table["path"]]
    order = np.random.default_rng(0).permutation(len(paths))
    for chosen, batch_size in ((np.arange(18), 256), (order, 4)):
        outcomes = reliance_of(artifact, [paths[i] for i in chosen], batch_size)["colour"]
        for operator in ("hue", "hue_luma", "tint"):
            prefix = f"reliance:colour:{operator}"
            kept = found.table[chosen.tolist()]
            assert outcomes[operator].moved_transplant.tolist() == kept[f"{prefix}:transplant"].to_list()
            assert outcomes[operator].moved_placebo.tolist() == kept[f"{prefix}:placebo"].to_list()
            assert outcomes[operator].donor.tolist() == kept[f"{prefix}:donor"].to_list()


def test_validation_attaches_nothing(made: made_artifact.Made, copied: Callable[[], Artifact], tmp_path: Path) -> None:
    found = evaluate(copied(), made.manifest, "validation", Run(tmp_path / "run"))
    assert found.file.extra["decided_by"] == []  # no conflicting image in validation
    assert found.file.extra["truth"] == {}
    assert not (tmp_path / "artifact" / "attached").exists()


def test_an_image_that_breaks_is_counted_named_and_in_no_rate(
    copied: Callable[[], Artifact], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = made_artifact.manifest(tmp_path / "images", broken=4)
    found = evaluate(copied(), broken, "test", Run(tmp_path / "run"), made_artifact.Painter(), batch_size=3)
    name = f"{made_artifact.NUM_TRAIN + made_artifact.NUM_VALIDATION + 4}.png"
    assert found.evidence.counts is not None
    assert found.evidence.counts.overall.sum() == 17
    assert found.file.row("reliance on colour").n == 17
    assert found.file.extra["failed"]["count"] == 1
    assert found.file.extra["failed"]["examples"][0]["path"] == name
    assert name in caplog.text
    row = found.table.row(4, named=True)
    assert (row["prediction"], row["probabilities"]) == (-1, None)
    assert row["error"].startswith("format: ")
    assert row["truth:colour"] is None


def test_openings_of_a_sealed_split_are_counted(
    made: made_artifact.Made, copied: Callable[[], Artifact], tmp_path: Path
) -> None:
    values = {**vars(made.manifest), "folder": tmp_path / "datasets" / "made" / "recipe", "sealed": True}
    sealed, run = Manifest(**values), Run(tmp_path / "run")
    assert evaluate(copied(), sealed, "validation", run).file.openings == 0
    assert [evaluate(copied(), sealed, "test", run).file.openings for _ in range(2)] == [1, 2]


def test_an_opening_that_was_killed_before_its_verdict_is_gone_on_with(
    made: made_artifact.Made, copied: Callable[[], Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed twice, it is one opening; what came to a verdict and is tested again is another."""
    values = {**vars(made.manifest), "folder": tmp_path / "datasets" / "made" / "recipe", "sealed": True}
    sealed, run, artifact = Manifest(**values), Run(tmp_path / "run"), copied()

    class KilledError(Exception):
        pass

    def kill(*arguments: object) -> None:
        raise KilledError

    for expected in (1, 2):
        with monkeypatch.context() as patch:
            patch.setattr("evensight.testing.evaluate.write_pictures", kill)
            for _ in range(2):
                with pytest.raises(KilledError):
                    evaluate(artifact, sealed, "test", run)
        assert evaluate(artifact, sealed, "test", run).file.openings == expected
        assert len((tmp_path / "datasets" / "made" / "ledger.jsonl").read_text().splitlines()) == expected


def test_data_of_other_classes_is_refused(made: made_artifact.Made, tmp_path: Path) -> None:
    other = Manifest(**{**vars(made.manifest), "classes": ("circle", "square", "heart")})
    with pytest.raises(UserError, match="its classes are circle, square, heart"):
        evaluate(made.artifact, other, "test", Run(tmp_path))


def test_a_cue_of_another_version_is_not_measured(
    made: made_artifact.Made, copied: Callable[[], Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = measuring.build_cue("colour")
    written = newer.version
    newer.version = 99  # type: ignore[misc]
    monkeypatch.setattr(measuring, "build_cue", lambda name: newer)
    found = evaluate(copied(), made.manifest, "test", Run(tmp_path / "run"))
    for label in ("reliance on colour", "advantage over majority, colour"):
        assert found.file.row(label).verdict == "NOT_MEASURED"
        assert f"has version {written} of the cue, this evensight 99" in found.file.row(label).reason


def test_a_model_that_fails_its_own_test_is_not_judged(
    made: made_artifact.Made, copied: Callable[[], Artifact], tmp_path: Path
) -> None:
    from evensight.runtime import script

    artifact = copied()
    model = script.load(artifact.model_path)
    model.tolerance = -1.0
    script.save(model, artifact.model_path)
    (artifact.folder / "SHA256SUMS").unlink()
    write_sums(artifact.folder)
    with pytest.raises(RunError, match="fails its own test"):
        evaluate(copied(), made.manifest, "test", Run(tmp_path / "run"))
