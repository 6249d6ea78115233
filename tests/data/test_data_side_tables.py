"""If these fail, training does not follow what an audit found out, or a run is judged by other tables than its own."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from evensight.compose import compose
from evensight.data.dataset import ImageDataset
from evensight.data.digests import BOX, recipe_digest
from evensight.data.manifest import Manifest
from evensight.data.prepare import prepare
from evensight.data.readers.table import TableReader
from evensight.data.reading import Reading, silent
from evensight.data.side_tables import with_side_tables
from evensight.data.tables import read_table, remove_table, write_table
from evensight.errors import UserError
from evensight.objective.objective import Objective
from evensight.runtime.preprocess import PreprocessSpec


@pytest.fixture
def place(tmp_path, write_png, make_objective):
    """Sixty images of three classes in three splits; returns what prepares them, and the reader."""

    def lines(number: int) -> dict[str, object]:
        split = ("train", "train", "train", "validation", "test")[number // 3 % 5]
        return {"path": f"{number}.png", "label": "abc"[number % 3], "split": split, "subject": f"s{number // 2}"}

    for number in range(60):
        write_png(tmp_path / "t" / f"{number}.png", number)
    pl.DataFrame([lines(number) for number in range(60)]).write_csv(tmp_path / "t" / "t.csv")
    reader = TableReader(name="t", table=str(tmp_path / "t" / "t.csv"))

    def done(objective: Objective | None = None, recorded=None, **keys) -> tuple[Manifest, Objective]:
        return prepare(
            replace(reader, **keys), objective or make_objective(), tmp_path / "datasets", silent, recorded=recorded
        )

    return done, reader


def ids(manifest: Manifest) -> list[str]:
    return manifest.frame["row_id"].to_list()


def cues(manifest: Manifest, **says: list[str | None]) -> str:
    """Writes what cues say of each row in its order, and returns the digest."""
    columns = {f"{cue}_says": values for cue, values in says.items()}
    frame = pl.DataFrame({"row_id": ids(manifest), **columns}, schema_overrides=dict.fromkeys(columns, pl.String))
    return write_table(manifest.folder, "cues", frame, {"by": "test"}).digest


def test_a_data_set_without_side_tables_is_as_it_was(place) -> None:
    done, reader = place
    manifest, objective = done()
    after, same = with_side_tables(manifest, objective, reader)
    assert same == objective and after.side_tables == {} and after.left_out is None and after.targets is None
    assert after.frame.equals(manifest.frame) and after.findings == manifest.findings


def test_what_a_cue_says_is_an_attribute_whose_usual_level_is_the_class(place) -> None:
    done, reader = place
    manifest, objective = done()
    said = ["abc"[number * 7 % 3] if number % 5 else None for number in range(60)]
    digest = cues(manifest, texture=said, colour=said[::-1])
    after, stated = with_side_tables(manifest, objective, reader)
    assert list(after.levels) == list(stated.attributes) == ["colour_says", "texture_says"]
    assert after.levels["colour_says"] == ("a", "b", "c") == stated.levels["texture_says"]
    assert after.usual["texture_says"] == (0, 1, 2)
    assert after.side_tables == {"cues": digest} and after.digests == manifest.digests
    expected = [-1 if one is None else "abc".index(one) for one in said]
    train = (after.frame["split"] == "train").to_numpy()
    assert after.attributes("train")[:, 1].tolist() == np.array(expected)[train].tolist()
    batch = ImageDataset(after, "train", PreprocessSpec(8), None, 1).batch(0, np.arange(5))
    assert batch["attributes"][:, 1].tolist() == np.array(expected)[train][:5].tolist()
    assert pl.read_parquet(after.folder / "manifest.parquet").columns == manifest.frame.columns


def test_rows_without_a_line_and_strange_values_are_unknown(place, caplog) -> None:
    done, reader = place
    manifest, objective = done()
    frame = pl.DataFrame({"row_id": [*ids(manifest)[:3], "gone#0"], "colour_says": ["a", "zebra", "b", "c"]})
    write_table(manifest.folder, "cues", frame, {"by": "test"})
    with caplog.at_level(logging.WARNING):
        after, _ = with_side_tables(manifest, objective, reader)
    assert after.frame["colour_says"].to_list() == ["a", None, "b", *[None] * 57]
    new = {finding.code: finding.count for finding in after.findings if finding not in manifest.findings}
    assert new == {"unknown_row_id": 1, "unknown_level": 1}
    assert "unknown_row_id" in caplog.text


def test_a_column_of_the_data_wins(place, make_objective) -> None:
    done, reader = place
    file = Path(reader.table)
    table = pl.read_csv(file)
    table.with_columns(pl.lit("dark").alias("colour_says")).write_csv(file)
    manifest, objective = done(make_objective(attributes={"colour_says": {"levels": "from_data"}}))
    cues(manifest, colour=["a"] * 60)
    after, stated = with_side_tables(manifest, objective, reader)
    assert after.levels == {"colour_says": ("dark",)} == stated.levels


def test_a_run_is_prepared_again_with_the_attributes_it_recorded(place) -> None:
    done, reader = place
    manifest, objective = done()
    digest = cues(manifest, colour=["a"] * 60)
    trained, stated = with_side_tables(manifest, objective, reader)
    recorded = trained.side_tables
    again = with_side_tables(*done(stated, recorded), reader, recorded)
    assert again[1] == stated and again[0].levels == trained.levels and again[0].digests == trained.digests
    assert Objective.from_json(stated.to_json()) == stated
    # Another cue that an audit finds later is none of this run's; a changed table is said.
    cues(manifest, colour=["b"] * 60, texture=["a"] * 60)
    later, same = with_side_tables(*done(stated, recorded), reader, recorded)
    assert same == stated and list(later.levels) == ["colour_says"] and later.side_tables["cues"] != digest


def test_a_run_that_began_before_the_audit_does_not_see_its_tables(place) -> None:
    done, reader = place
    manifest, objective = done()
    cues(manifest, colour=["a"] * 60)
    after, same = with_side_tables(manifest, objective, reader, recorded={})
    assert same == objective and after.levels == {} and after.side_tables == {}


def test_a_table_that_is_gone_is_named_with_its_digest(place) -> None:
    done, reader = place
    manifest, objective = done()
    digest = cues(manifest, colour=["a"] * 60)
    trained, stated = with_side_tables(manifest, objective, reader)
    remove_table(manifest.folder, "cues")
    with pytest.raises(UserError, match=rf"'colour_says'.*side table cues of digest {digest[:12]}.*bring it back"):
        done(stated, trained.side_tables)
    with pytest.raises(UserError, match=rf"side table cues of digest {digest[:12]}.*bring it back"):
        with_side_tables(manifest, objective, reader, trained.side_tables)


@pytest.mark.parametrize(
    ("keys", "sentence"), [({}, "evensight audit"), ({"side_tables": []}, r"data\.side_tables leaves out cues")]
)
def test_a_declared_cue_attribute_without_its_table(place, make_objective, keys, sentence: str) -> None:
    done, _ = place
    with pytest.raises(UserError, match=rf"'colour_says' is no column.*{sentence}"):
        done(make_objective(attributes={"colour_says": {"levels": "from_data"}}), **keys)


def test_a_declared_cue_attribute_takes_the_classes_as_levels(place, make_objective) -> None:
    done, reader = place
    manifest, _ = done()
    cues(manifest, colour=["c"] * 60)
    requirement = {"metric": "accuracy", "scope": "conflicting", "attribute": "colour_says", "bound": 0.5}
    for levels in ("from_data", ["a", "b", "c"]):
        attributes = {"colour_says": {"levels": levels}}
        prepared = done(make_objective(attributes=attributes, requirements=[requirement]))
        after, stated = with_side_tables(*prepared, reader)
        assert stated.levels == {"colour_says": ("a", "b", "c")} == after.levels
    with pytest.raises(UserError, match="found a, zebra"):
        done(make_objective(attributes={"colour_says": {"levels": ["a", "zebra"]}}))


def test_quarantine_has_no_weight_in_training_alone(place, caplog) -> None:
    done, reader = place
    manifest, objective = done()
    listed = [*range(6), 9, 12]  # of training, validation (9) and test (12)
    frame = pl.DataFrame({"row_id": [ids(manifest)[n] for n in listed] + ["gone#0"], "code": ["blank"] * 9})
    digest = write_table(manifest.folder, "quarantine", frame, {"by": "test"}).digest
    with caplog.at_level(logging.INFO):
        after, _ = with_side_tables(manifest, objective, reader)
    assert "6 training images are in quarantine and have weight 0 (blank 6)" in caplog.text
    assert after.side_tables == {"quarantine": digest}
    for split, expected in (("train", set(range(6))), ("validation", set()), ("test", set())):
        dataset = ImageDataset(after, split, PreprocessSpec(8), None, 1)
        batch = dataset.batch(0, np.arange(len(dataset)))
        assert set(batch["index"][batch["weight"] == 0].tolist()) == expected
    off, _ = with_side_tables(manifest, objective, replace(reader, side_tables=["cues"]))
    assert off.left_out is None and off.side_tables == {}


def test_a_class_that_quarantine_empties_is_a_sentence(place) -> None:
    done, reader = place
    manifest, objective = done()
    frame = manifest.frame.filter(pl.col("label") == "b").select("row_id")
    write_table(manifest.folder, "quarantine", frame, {"by": "test"})
    with pytest.raises(UserError, match="leave the training split no image of class 'b'"):
        with_side_tables(manifest, objective, reader)


def soft(manifest: Manifest) -> None:
    """Writes chances: row 0 of class a is most likely b, row 1 is open, row 12 of the test split of class a is c."""
    rows = [(0, False, 0.1, 0.8, 0.1), (1, True, 0.4, 0.5, 0.1), (12, False, 0.0, 0.0, 1.0)]
    frame = pl.DataFrame(
        [(ids(manifest)[number], *rest) for number, *rest in rows],
        schema=["row_id", "contested", "p:a", "p:b", "p:c"],
        orient="row",
    )
    write_table(manifest.folder, "soft_labels", frame, {"by": "test"})


def test_labels_of_several_annotators(place) -> None:
    done, reader = place
    manifest, objective = done()
    soft(manifest)
    plain, _ = with_side_tables(manifest, objective, reader)
    assert plain.side_tables == {} and plain.frame["label"][0] == "a"  # not read, so not listed
    consensus, _ = with_side_tables(manifest, objective, replace(reader, labels="consensus"))
    assert consensus.frame["label"].to_list()[:4] == ["b", "b", "c", "a"] and consensus.frame["label"][12] == "c"
    assert consensus.targets is None and "soft_labels" in consensus.side_tables
    assert consensus.digests.recipe == manifest.digests.recipe
    assert consensus.digests.content != manifest.digests.content and consensus.digests.test != manifest.digests.test
    chances, _ = with_side_tables(manifest, objective, replace(reader, labels="soft", contested="leave_out"))
    assert chances.digests == consensus.digests
    batch = ImageDataset(chances, "train", PreprocessSpec(8), None, 1).batch(0, np.arange(3))
    assert np.allclose(batch["target"], [[0.1, 0.8, 0.1], [0.4, 0.5, 0.1], [0, 0, 1]])
    assert batch["label"].tolist() == [1, 1, 2] and batch["weight"].tolist() == [1, 0, 1]
    assert batch["target"].dtype.is_floating_point and str(batch["target"].dtype) == "torch.float32"


def test_the_digest_of_labels_in_use_is_that_of_data_with_those_labels(place, tmp_path) -> None:
    done, reader = place
    manifest, objective = done()
    soft(manifest)
    consensus, _ = with_side_tables(manifest, objective, replace(reader, labels="consensus"))
    table = pl.read_csv(reader.table)
    changed = table.with_columns(label=pl.Series(["b", "b", *table["label"][2:12], "c", *table["label"][13:]]))
    changed.write_csv(tmp_path / "t" / "u.csv")
    other, _ = done(name="u", table=str(tmp_path / "t" / "u.csv"))
    assert (other.digests.content, other.digests.test) == (consensus.digests.content, consensus.digests.test)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"labels": "soft"}, r"data\.labels=soft: data 't' has no several labels an image"),
        ({"contested": "leave_out"}, r"data\.contested=leave_out: data 't' has no several labels"),
        ({"labels": "soft", "side_tables": ["cues"]}, r"data\.side_tables: leaves out soft_labels, which data\.labels"),
    ],
)
def test_labels_that_nobody_gave_are_a_sentence(place, keys, sentence: str) -> None:
    done, reader = place
    manifest, objective = done()
    with pytest.raises(UserError, match=sentence):
        with_side_tables(manifest, objective, replace(reader, **keys))


def test_a_class_that_the_consensus_empties_is_a_sentence(place) -> None:
    done, reader = place
    manifest, objective = done()
    chances = [pl.lit(value).alias(name) for name, value in (("p:a", 0.0), ("p:b", 0.0), ("p:c", 1.0))]
    frame = manifest.frame.filter(pl.col("label") == "a").select("row_id", pl.lit(False).alias("contested"), *chances)
    write_table(manifest.folder, "soft_labels", frame, {"by": "test"})
    with pytest.raises(UserError, match="leave the training split no image of class 'a'"):
        with_side_tables(manifest, objective, replace(reader, labels="consensus"))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("data.labels=softt", r"data\.labels: 'softt'.*Did you mean 'soft'"),
        ("data.contested=leave", r"data\.contested: 'leave'.*'leave_out'"),
        ("data.near_duplicates=yes", r"data\.near_duplicates: .*allowed: keep_together, part"),
        ("data.side_tables=[cue]", r"data\.side_tables: 'cue'.*Did you mean 'cues'"),
        ("data.keep_together=subject", r"data\.keep_together: found 'subject', allowed is a list of texts"),
    ],
)
def test_words_that_the_settings_do_not_know(override: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        compose(["experiment=shapes", override])


def test_an_array_file_may_still_name_its_labels(tmp_path) -> None:
    """`data.labels` was the member of an .npz once, and is in recorded configurations; its recipe is the same."""
    files = ["experiment=folder", "data=arrays", f"data.root={tmp_path}", "data.files={all: x.npz}"]
    old, new = (compose([*files, f"data.{key}=y"]).data for key in ("labels", "label_member"))
    assert old == new and (old.labels, old.label_member) == ("majority", "y")
    assert recipe_digest(old) == recipe_digest(new)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda frame: frame.drop("p:c"), "no column 'p:c'"),
        (lambda frame: frame.with_columns(pl.lit(0.9).alias("p:c")), "do not add up to 1"),
        (lambda frame: pl.concat([frame, frame[:1]]), "has two lines"),
    ],
)
def test_chances_that_are_none_are_a_sentence(place, change, sentence: str) -> None:
    done, reader = place
    manifest, objective = done()
    soft(manifest)
    table = read_table(manifest.folder, "soft_labels")
    assert table is not None
    write_table(manifest.folder, "soft_labels", change(table.frame), {"by": "test"})
    with pytest.raises(UserError, match=sentence):
        with_side_tables(manifest, objective, replace(reader, labels="soft"))


def test_columns_that_keep_together_need_no_declaration(place) -> None:
    done, reader = place
    file = Path(reader.table)
    pl.read_csv(file).drop("split").write_csv(file)
    manifest, _ = done(keep_together=["subject"])
    origins = read_table(manifest.folder, "origins")
    assert origins is not None and origins.about["by"] == "prepare"
    joined = manifest.frame.join(origins.frame, on="row_id")
    assert (joined.group_by("subject").agg(pl.col("split").n_unique())["split"] == 1).all()
    assert joined["subject"].n_unique() == 30
    parted = done()[0].frame.with_columns(origins.frame["subject"])
    assert (parted.group_by("subject").agg(pl.col("split").n_unique())["split"] == 2).any()  # without the setting
    with pytest.raises(UserError, match=r"data\.keep_together: column: 'subjet'.*Did you mean 'subject'"):
        done(keep_together=["subjet"])
    with pytest.raises(UserError, match=r"data\.stratify: column: 'site' is not known"):
        done(stratify=["site"])


def test_what_was_given_parted_is_reported_and_not_moved(place) -> None:
    done, reader = place
    file = Path(reader.table)
    table = pl.read_csv(file).with_columns(
        pl.when(pl.col("path") == "59.png").then(None).otherwise("split").alias("split")
    )
    table.with_columns(pl.lit("one").alias("subject")).write_csv(file)
    manifest, _ = done(keep_together=["subject"])
    (finding,) = [finding for finding in manifest.findings if finding.code == "parted"]
    assert finding.count == 1 and "rows of one subject" in finding.message
    given = pl.read_csv(file)["split"].to_list()
    assert manifest.frame["split"].to_list()[:59] == given[:59] and manifest.frame["split"][59] == "train"


class Masked(TableReader):
    """Has its masks in a folder of their own."""

    def read(self, folder, classes, progress) -> Reading:
        reading = super().read(folder, classes, progress)
        return replace(reading, mask_root=Path(self.table).parent.parent / "masks")


def test_masks_may_lie_under_a_root_of_their_own(tmp_path, write_png, make_objective) -> None:
    (tmp_path / "masks").mkdir()
    rows = []
    for number in range(12):
        write_png(tmp_path / "t" / f"{number}.png", number, height=8, width=8)
        mask = np.zeros((8, 8), np.uint8)
        mask[:, :4] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"{number}.png")
        split = "validation" if number > 9 else "train"
        rows.append({"path": f"{number}.png", "label": "ab"[number % 2], "split": split, "mask": f"{number}.png"})
    rows[0]["mask"], rows[1]["mask"] = "lost.png", "../t/1.png"
    pl.DataFrame(rows).write_csv(tmp_path / "t" / "t.csv")
    reader = Masked(name="m", table=str(tmp_path / "t" / "t.csv"))
    for _ in range(2):  # the second time from what was kept
        manifest, _ = prepare(reader, make_objective(), tmp_path / "datasets", silent)
        codes = {finding.code for finding in manifest.findings}
        assert {"missing_mask", "outside_root"} <= codes and len(manifest.frame) == 11
        assert manifest.mask_root == tmp_path / "masks" and not set(BOX) & set(manifest.frame.columns)
        dataset = ImageDataset(manifest, "train", PreprocessSpec(8), None, 1, extra=("mask",))
        batch = dataset.batch(0, np.arange(2))
        assert batch["weight"].tolist() == [1, 1]
        assert (batch["extra"]["mask"][0] == 0).all()  # unknown
        assert (batch["extra"]["mask"][1, 0, :, :4] == 255).all() and (batch["extra"]["mask"][1, 0, :, 4:] == 0).all()
