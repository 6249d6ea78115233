"""`evensight update action=merge`. If this fails, an old row moves, or a test image is trained on."""

from __future__ import annotations

import json
from pathlib import Path

import made_update
import numpy as np
import polars as pl
import pytest
from made_update import Place
from PIL import Image

from evensight.cli import main
from evensight.data.datamodule import ImageDataModule
from evensight.data.prepare import prepare
from evensight.data.side_tables import with_side_tables
from evensight.data.tables import write_table
from evensight.errors import UserError
from evensight.objective.objective import Objective
from evensight.update.champion import run_of
from evensight.update.merge import merge, reopened
from evensight.update.placing import Fractions
from evensight.update.plan import Plan, plan


@pytest.fixture
def planned(place: Place, traffic: Path, tmp_path: Path) -> Plan:
    return plan(place.artifact, traffic, tmp_path / "update", budget=40)


@pytest.fixture
def answers(planned: Plan, tmp_path: Path) -> Path:
    return made_update.filled(planned.table, tmp_path / "answers.csv")


def test_old_rows_keep_their_split_and_picked_images_are_trained_on(
    place: Place, planned: Plan, answers: Path, tmp_path: Path
) -> None:
    made = merge(planned, answers, place.run, tmp_path / "update")
    known = ["row_id", "label", "split", "colour"]
    old, new = made.manifest.frame[: len(place.manifest.frame)], made.manifest.frame[len(place.manifest.frame) :]
    assert old.select(known).equals(place.manifest.frame.select(known))
    origins = pl.read_parquet(made.folder / "additions.parquet")
    picked = origins.filter(pl.col("added_for") != "control")
    assert set(picked["split"]) == {"train"}
    assert {"train", "validation", "test"} == set(origins["split"])
    reasons = {one.id: one.reason for one in planned.asked}
    assert dict(origins.select("added_id", "added_for").iter_rows()) == {
        name: reasons[name] for name in origins["added_id"]
    }
    for label, colour, name in origins.select("label", "colour", "added_id").iter_rows():
        assert (label, colour) == made_update.truth(int(name, 16))
    assert new["split"].value_counts().height == 3
    assert sum(made.added.values()) == len(new) == 40
    assert made.manifest.usual == place.manifest.usual
    assert made.manifest.digests.content != place.manifest.digests.content
    # the difference by cell, counted from the two manifests
    cells = {(cell["split"], cell["name"]): (cell["before"], cell["after"]) for cell in made.value["cells"]}
    for (split, name), (before, after) in cells.items():
        label, _, level = name.partition(" x ")
        for frame, count in ((place.manifest.frame, before), (made.manifest.frame, after)):
            chosen = frame.filter((pl.col("split") == split) & (pl.col("label") == label))
            assert chosen.filter(pl.col("colour") == level).height == count if level else chosen.height == count
    assert "train       circle" in "\n".join(made.lines)


def test_a_merge_is_read_back_and_refused_for_other_data(
    place: Place, planned: Plan, answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = merge(planned, answers, place.run, tmp_path / "update")
    again = reopened(made.folder, place.run)
    assert again.data == made.data
    assert again.manifest.digests == made.manifest.digests
    head = json.loads((made.folder / "merge.json").read_text())
    (made.folder / "merge.json").write_text(json.dumps({**head, "base": {**head["base"], "content": "0" * 64}}))
    with pytest.raises(UserError, match="adds to other data"):
        reopened(made.folder, place.run)
    # the images of the new version load as those of any other
    module = ImageDataModule(made.manifest, made.data, place.config.augment, made_update.SPEC, 0)
    seen = sum(int((batch["weight"] > 0).sum()) for batch in module.val_dataloader())
    assert seen == made.manifest.split("validation").height


def test_what_an_audit_found_out_stays_a_side_table(tmp_path: Path) -> None:
    """As a column it would make another objective, and the two models could not be held against each other."""
    own = made_update.place(tmp_path / "place", cues=True)
    assert list(own.objective.attributes) == ["colour", "colour_says"]
    log = made_update.write_log(tmp_path / "log.sqlite", made_update.entries(own.artifact, tmp_path, 20))
    planned = plan(own.artifact, log, tmp_path / "update", budget=10)
    assert planned.table.read_text().splitlines()[0].endswith("label,colour")
    made = merge(planned, made_update.filled(planned.table, tmp_path / "answers.csv"), own.run, tmp_path / "update")
    assert "colour_says" not in pl.read_parquet(made.folder / "base.parquet").columns
    assert made.objective.digest() == own.objective.digest()
    assert made.manifest.levels == own.manifest.levels
    count = len(own.manifest.frame)
    assert made.manifest.frame["colour_says"][:count].equals(own.manifest.frame["colour_says"])
    assert made.manifest.frame["colour_says"][count:].null_count() == 10
    # As training prepares it, from the configuration's own objective, which does not speak of it.
    stated = Objective.from_config(made_update.STATED)
    manifest, objective = prepare(made.data, stated, Path(own.config.datasets_dir))
    manifest, objective = with_side_tables(manifest, objective, made.data)
    assert objective.digest() == own.artifact.contract.stated_objective().digest()
    assert manifest.digests.content == made.manifest.digests.content


def test_images_left_out_of_training_stay_so(tmp_path: Path) -> None:
    own = made_update.place(tmp_path / "place")
    bad = own.manifest.frame.filter(pl.col("split") == "train")[:2].select("row_id")
    table = bad.with_columns(code=pl.lit("label"), reason=pl.lit("wrong"))
    write_table(own.manifest.folder, "quarantine", table, {"by": "audit", "content": own.manifest.digests.content})
    quarantined, _ = with_side_tables(own.manifest, own.objective, own.config.data)
    before = {**(own.run.read_json("data.json") or {}), "side_tables": quarantined.side_tables}
    own.run.write_json("data.json", before)
    log = made_update.write_log(tmp_path / "log.sqlite", made_update.entries(own.artifact, tmp_path, 20))
    planned = plan(own.artifact, log, tmp_path / "update", budget=10)
    made = merge(planned, made_update.filled(planned.table, tmp_path / "answers.csv"), own.run, tmp_path / "update")
    left = made.manifest.left_out
    assert left is not None
    assert made.manifest.frame.filter(pl.Series(left))["row_id"].to_list() == bad["row_id"].to_list()


def test_fractions_are_stated_and_kept(place: Place, planned: Plan, answers: Path, tmp_path: Path) -> None:
    control = planned.by_reason["control"]
    all_tested = merge(planned, answers, place.run, tmp_path / "a", Fractions(1.0, 0.0))
    assert all_tested.added == {"train": 40 - control, "validation": 0, "test": control}
    none = merge(planned, answers, place.run, tmp_path / "b", Fractions(0.0, 0.0))
    assert none.added == {"train": 40, "validation": 0, "test": 0}
    assert none.value["fractions"] == {"test": 0.0, "validation": 0.0}


def test_an_empty_column_falls_back_on_what_was_sent(place: Place, planned: Plan, tmp_path: Path) -> None:
    first = planned.asked[0]
    changes = {f"x{one.id}": {"colour": ""} for one in planned.asked[1:]}
    changes[f"x{first.id}"] = {"colour": "blue" if first.attributes["colour"] != "blue" else "red"}
    path = made_update.filled(planned.table, tmp_path / "answers.csv", **changes)
    made = merge(planned, path, place.run, tmp_path / "update")
    rows = dict(pl.read_parquet(made.folder / "additions.parquet").select("added_id", "colour").iter_rows())
    assert rows.pop(first.id) == changes[f"x{first.id}"]["colour"]
    assert rows == {one.id: one.attributes["colour"] for one in planned.asked[1:]}


@pytest.mark.parametrize("sealed", [True, False])
def test_a_sealed_test_image_is_refused_and_an_open_one_left_out(tmp_path: Path, sealed: bool) -> None:
    own = made_update.place(tmp_path / "place", sealed)
    log = made_update.write_log(tmp_path / "log.sqlite", made_update.entries(own.artifact, tmp_path, 40))
    planned = plan(own.artifact, log, tmp_path / "update", budget=20)
    path = made_update.filled(planned.table, tmp_path / "answers.csv")
    picked = [one for one in planned.asked if one.reason != "control"][:2]
    # One is a test image, the other nearly is one.
    for one, brighter in zip(picked, (0, 3), strict=True):
        pixels = np.asarray(Image.open(own.folder / "images" / f"{40 + brighter}.png")).astype(int)
        Image.fromarray(np.clip(pixels + brighter, 0, 255).astype(np.uint8)).save(planned.images_in / one.path)
    if not sealed:
        made = merge(planned, path, own.run, tmp_path / "update")
        assert made.value["left_out"] == {
            picked[0].id: "the test split has the very same pixels",
            picked[1].id: "nearly equal to a test image",
        }
        return
    for one, test in zip(picked, ("40", "43"), strict=True):
        said = rf"image {one.id} .*the sealed test image images/{test}.png.*take its line out"
        with pytest.raises(UserError, match=said):
            merge(planned, path, own.run, tmp_path / "update")
        assert not (tmp_path / "update" / "merged-1").exists()
        lines = [line for line in path.read_text().splitlines() if one.id not in line]  # as the sentence says
        path.write_text("\n".join(lines) + "\n")
    assert sum(merge(planned, path, own.run, tmp_path / "update").added.values()) == 18


def test_what_is_in_the_data_already_and_what_is_no_image_is_left_out(place: Place, tmp_path: Path) -> None:
    log = made_update.write_log(tmp_path / "log.sqlite", made_update.entries(place.artifact, tmp_path, 40))
    planned = plan(place.artifact, log, tmp_path / "update", budget=20)
    first, second = planned.asked[0], planned.asked[1]
    (planned.images_in / first.path).write_bytes((place.folder / "images" / "3.png").read_bytes())
    (planned.images_in / second.path).write_bytes(b"no image")
    path = made_update.filled(planned.table, tmp_path / "answers.csv")
    made = merge(planned, path, place.run, tmp_path / "update")
    assert made.value["left_out"] == {first.id: "the train split has the very same pixels"}
    assert sum(made.added.values()) == 18
    assert any("cannot be decoded" in note and second.path in note for note in made.value["notes"])


def test_answers_that_add_nothing_leave_nothing(place: Place, tmp_path: Path) -> None:
    log = made_update.write_log(tmp_path / "log.sqlite", made_update.entries(place.artifact, tmp_path, 6))
    planned = plan(place.artifact, log, tmp_path / "update", budget=3)
    for one in planned.asked:
        (planned.images_in / one.path).write_bytes((place.folder / "images" / "3.png").read_bytes())
    path = made_update.filled(planned.table, tmp_path / "answers.csv")
    with pytest.raises(UserError, match="adds nothing: 3 answered images are left out"):
        merge(planned, path, place.run, tmp_path / "update")
    for one in planned.asked:
        (planned.images_in / one.path).unlink()
    with pytest.raises(UserError, match=r"cannot be decoded.*nothing is left"):
        merge(planned, path, place.run, tmp_path / "update")
    assert not (tmp_path / "update" / "merged-1").exists()


def test_the_run_is_found_where_the_contract_says(place: Place, tmp_path: Path, copied) -> None:
    assert run_of(place.artifact, None, "nowhere").folder == place.run.folder.resolve()
    other = copied()
    with pytest.raises(UserError, match=r"run: the run that made this artifact .* is not at .*; name its folder"):
        run_of(other, None, str(tmp_path))
    with pytest.raises(UserError, match="made another artifact"):
        run_of(other, str(place.run.folder), "runs")


def test_command(
    place: Place, planned: Plan, answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["update", "action=merge", f"artifact={place.artifact.folder}", f"out={tmp_path / 'update'}"]
    assert main([*words, f"answers={answers}", "test_share=0.3"]) == 0
    told = capsys.readouterr().out
    assert "images more" in told
    assert "circle x" in told
    assert main(words) == 2
    assert main([*words, f"answers={answers}", "test_share=0.9", "validation_share=0.2"]) == 2
    assert main([*words[:3], f"out={tmp_path / 'none'}", f"answers={answers}"]) == 2
    told = capsys.readouterr().err
    assert "answers: a value is needed" in told
    assert "more than the whole control sample" in told
    assert "holds no plan" in told
