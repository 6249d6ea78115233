"""`evensight update action=decide`, promote, rollback. If this fails, a model goes into service that should not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

import made_artifact
from evensight.cli import main
from evensight.data.manifest import Manifest
from evensight.data.seal import openings, record_opening
from evensight.deploy.export import export
from evensight.errors import UserError
from evensight.models.network import Network
from evensight.objective.objective import Objective
from evensight.records.artifact import Artifact
from evensight.records.registry import Registry
from evensight.run import Run
from evensight.update.decide import Decision, decide, decision_of
from evensight.update.promote import promote, rollback
from made_artifact import CLASSES, COLOURS, SPEC, draw, network

PER_CLASS = 100
OBJECTIVE = Objective.from_config(
    {
        "name": "by class",
        "purpose": "to know every answer",
        "classes": list(CLASSES),
        "requirements": [{"metric": "accuracy", "bound": 0.5}, {"metric": "reliance", "cue": "colour", "bound": 0.05}],
    }
)
# Reliance on colour is all these networks have, so an objective that bounds it FAILs them.
FREE = OBJECTIVE.model_copy(update={"requirements": OBJECTIVE.requirements[:1]})


def data(folder: Path, sealed: bool = False) -> Manifest:
    """Images whose class is their colour: 8 a class to train on, 4 to validate on, 100 to test on."""
    made = made_artifact.manifest(folder / "images")
    rows = made.frame.filter(pl.col("split") != "test").to_dicts()
    for number in range(3 * PER_CLASS):
        index, path = len(rows), f"{2000 + number}.png"
        Image.fromarray(draw(2000 + number, COLOURS[number % 3])).save(folder / "images" / path)
        known = {"row_id": f"{path}#0", "path": path, "label": CLASSES[number % 3], "split": "test"}
        rows.append({**rows[0], "index": index, **known, "colour": COLOURS[number % 3]})
    frame = pl.DataFrame(rows, schema=made.frame.schema)
    own = folder / "datasets" / "made" / "recipe"
    own.mkdir(parents=True)
    return dataclasses.replace(made, frame=frame, folder=own, sealed=sealed, levels={}, usual={})


def blind(name: str) -> Network:
    """A network that never says one class, and is right of the others."""
    made = network()
    with torch.no_grad():
        made.head.bias[CLASSES.index(name)] = -9.0
    return made


def first_tests(manifest: Manifest, count: int) -> Manifest:
    """The same data with the first test images alone."""
    kept = (pl.col("split") != "test") | (pl.col("index") < 36 + count)
    return dataclasses.replace(manifest, frame=manifest.frame.filter(kept))


def exported(folder: Path, manifest: Manifest, made: Network, objective: Objective = FREE) -> Artifact:
    run = Run(folder)
    run.folder.mkdir(parents=True)
    return export(
        run, made, SPEC, objective, manifest, made_artifact.bank(manifest), made_artifact.config(folder), probes={}
    )


@dataclasses.dataclass(frozen=True)
class Models:
    manifest: Manifest
    right: Artifact
    alike: Artifact  # right as well, of other weights
    no_star: Artifact
    no_circle: Artifact


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("decide")
    manifest, sharper = data(folder), network()
    with torch.no_grad():
        sharper.head.weight.mul_(2)
    made = {"right": network(), "alike": sharper, "no_star": blind("star"), "no_circle": blind("circle")}
    return Models(manifest, **{name: exported(folder / name, manifest, one) for name, one in made.items()})


def test_a_better_one_is_promoted_and_the_reasons_are_counted(models: Models, tmp_path: Path) -> None:
    decision = decide(models.no_star, models.right, models.manifest, tmp_path)
    assert (decision.result, decision.status) == ("PROMOTE", 0)
    value = json.loads((tmp_path / "decision-1" / "decision.json").read_text())
    assert (value["champion"], value["challenger"]) == (models.no_star.identity, models.right.identity)
    cells = {cell["name"]: (cell["b"], cell["c"], cell["n"]) for cell in value["cells"]}
    assert cells == {"circle": (0, 0, 100), "square": (0, 0, 100), "star": (0, 100, 100)}
    assert [(whole["name"], whole["b"], whole["c"], whole["n"]) for whole in value["wholes"]] == [
        ("overall", 0, 100, 300)
    ]
    (row,) = value["requirements"]
    assert (row["champion"]["estimate"], row["challenger"]["estimate"]) == (pytest.approx(2 / 3), 1.0)
    assert value["rows"] == {"looked_at": 300, "seen_before": 0, "look": 0}
    assert any(
        line.startswith("PROMOTE: it is significantly better: star (+1.000 of 100)") for line in value["reasons"]
    )
    assert Decision.open(decision.folder) == decision


def test_one_that_loses_a_class_is_refused_whatever_it_gains(models: Models, tmp_path: Path) -> None:
    lost = decide(models.right, models.no_star, models.manifest, tmp_path)
    assert (lost.result, lost.status) == ("REFUSE", 1)
    assert "significantly worse in star: of 100 images 100 are right under the champion alone" in lost.reasons[0]
    swapped = decide(models.no_circle, models.no_star, models.manifest, tmp_path)
    assert swapped.result == "REFUSE"
    assert any("significantly better" in line for line in swapped.reasons)


def test_one_that_is_the_same_has_no_reason(models: Models, tmp_path: Path) -> None:
    decision = decide(models.right, models.alike, models.manifest, tmp_path)
    assert decision.result == "REFUSE"
    assert decision.reasons == ["REFUSE: nothing is shown to be better, so the champion stays"]


def test_too_few_images_decide_nothing_and_say_how_many(models: Models, tmp_path: Path) -> None:
    manifest = first_tests(models.manifest, 120)
    decision = decide(models.no_star, models.right, manifest, tmp_path)
    assert (decision.result, decision.status) == ("INSUFFICIENT", 3)
    assert {need["cell"] for need in decision.value["needs"]} == {"circle", "square"}
    for need in decision.value["needs"]:
        assert need["have"] == 40
        assert 150 < need["images"] < 400
    assert "a loss of 0.05 or more is not excluded in 2 cells" in decision.reasons[0]
    wider = decide(models.no_star, models.right, manifest, tmp_path, harm=0.15)
    assert wider.result == "PROMOTE"


def test_a_requirement_that_it_fails_refuses_it(models: Models, tmp_path: Path) -> None:
    champion = exported(tmp_path / "a", models.manifest, blind("star"), OBJECTIVE)
    challenger = exported(tmp_path / "b", models.manifest, network(), OBJECTIVE)
    decision = decide(champion, challenger, models.manifest, tmp_path)
    assert decision.result == "REFUSE"
    assert decision.reasons[0].startswith("REFUSE: the challenger FAILs: reliance on colour")
    with pytest.raises(UserError, match="another objective"):
        decide(models.no_star, challenger, models.manifest, tmp_path)


def test_one_that_meets_a_bound_on_each_cell_replaces_one_that_does_not(models: Models, tmp_path: Path) -> None:
    """40 images a class exclude no loss of five points, and show a recall above one half."""
    bound = {"metric": "recall", "scope": "each_class", "bound": 0.5}
    value = {key: part for key, part in FREE.canonical().items() if key != "schema_version"}
    objective = Objective.from_config({**value, "requirements": [*value["requirements"], bound]})
    champion = exported(tmp_path / "a", models.manifest, blind("star"), objective)
    challenger = exported(tmp_path / "b", models.manifest, network(), objective)
    decision = decide(champion, challenger, first_tests(models.manifest, 120), tmp_path)
    assert decision.result == "PROMOTE"
    assert decision.reasons[0] == "PROMOTE: the champion FAILs and the challenger does not: recall of each class"
    assert "PASSes all of it, the bound on each cell included" in decision.reasons[1]
    assert "a loss of 0.05 or more is not excluded in 2 cells" in decision.reasons[-1]


def test_what_cannot_be_compared_is_said(models: Models, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it is the champion itself"):
        decide(models.right, models.right, models.manifest, tmp_path)
    with pytest.raises(UserError, match="harm: found 0"):
        decide(models.right, models.alike, models.manifest, tmp_path, harm=0.0)
    other = dataclasses.replace(models.manifest, levels={"colour": COLOURS})
    with pytest.raises(UserError, match="its classes and levels are"):
        decide(models.right, models.alike, other, tmp_path)
    assert not (tmp_path / "decision-1").exists()


def test_an_image_that_broke_is_in_no_count(models: Models, tmp_path: Path) -> None:
    last = models.manifest.frame["index"].max()
    broken = pl.when(pl.col("index") == last).then(pl.lit("corrupt: gone")).otherwise(pl.col("error")).alias("error")
    manifest = dataclasses.replace(models.manifest, frame=models.manifest.frame.with_columns(broken))
    decision = decide(models.no_star, models.right, manifest, tmp_path)
    assert decision.value["num_images"] == 299
    assert {cell["name"]: cell["n"] for cell in decision.value["cells"]}["star"] == 99


def test_sealed_rows_are_shown_once(models: Models, tmp_path: Path) -> None:
    folder = tmp_path / "datasets" / "made" / "recipe"
    folder.mkdir(parents=True)
    whole = dataclasses.replace(models.manifest, sealed=True, folder=folder)
    early = dataclasses.replace(
        whole, frame=whole.frame.filter((pl.col("split") != "test") | (pl.col("index") < 36 + 150))
    )
    record_opening(early, models.no_star.identity, "test", "images")  # the champion's own test
    first = decide(models.no_star, models.right, whole, tmp_path)
    assert first.value["rows"] == {"looked_at": 150, "seen_before": 150, "look": 1}
    assert first.value["alpha"] == pytest.approx(0.05)
    lines = openings(folder.parent)
    assert [line["stage"] for line in lines] == ["test", "decide"]
    assert len(lines[1]["rows"]) == 150
    # Again: the same rows, the same decision, nothing counted.
    second = decide(models.no_star, models.right, whole, tmp_path)
    assert len(openings(folder.parent)) == 2
    same = ("result", "reasons", "cells", "rows", "alpha", "needs")
    assert {name: second.value[name] for name in same} == {name: first.value[name] for name in same}
    # Another challenger finds nothing left.
    other = decide(models.no_star, models.alike, whole, tmp_path)
    assert (other.result, other.value["num_images"]) == ("INSUFFICIENT", 0)
    assert "all 300 test images were shown by earlier openings" in other.reasons[0]
    assert {need["cell"] for need in other.value["needs"]} == set(CLASSES)
    assert len(openings(folder.parent)) == 2  # nobody looked


def test_new_rows_are_a_second_look_at_a_smaller_level(models: Models, tmp_path: Path) -> None:
    folder = tmp_path / "datasets" / "made" / "recipe"
    folder.mkdir(parents=True)
    whole = dataclasses.replace(models.manifest, sealed=True, folder=folder)
    early = dataclasses.replace(
        whole, frame=whole.frame.filter((pl.col("split") != "test") | (pl.col("index") < 36 + 90))
    )
    assert decide(models.no_star, models.right, early, tmp_path).result == "INSUFFICIENT"
    second = decide(models.no_star, models.right, whole, tmp_path)
    assert second.value["rows"] == {"looked_at": 300, "seen_before": 0, "look": 2}
    assert second.value["alpha"] == pytest.approx(0.025)  # .05 / (2 * 1)


def test_promotion_goes_by_the_decision_of_this_very_pair(models: Models, tmp_path: Path) -> None:
    registry, out = tmp_path / "registry", tmp_path / "update"
    assert promote(models.no_star, registry, out) == "the first champion"
    with pytest.raises(UserError, match=r"no decision on it.*action=decide, or force=true"):
        promote(models.right, registry, out)
    decide(models.right, models.no_star, models.manifest, out)  # the other way round says nothing of this
    with pytest.raises(UserError, match="no decision on it"):
        promote(models.right, registry, out)
    made = decide(models.no_star, models.right, models.manifest, out)
    assert decision_of(out, models.no_star.identity, models.right.identity) == made
    said = promote(models.right, registry, out, why="as agreed on Monday")
    assert said.startswith("as agreed on Monday; decision-2 says PROMOTE: it is significantly better")
    book = Registry.open(registry)
    assert book.identity("champion") == models.right.identity
    line = book.history()[-1]
    assert line["evidence"]["result"] == "PROMOTE"
    assert len(line["evidence"]["sha256"]) == 64
    with pytest.raises(UserError, match="is the champion already"):
        promote(models.right, registry, out)
    decide(models.right, models.no_star, models.manifest, out)
    with pytest.raises(UserError, match="which says REFUSE"):
        promote(models.no_star, registry, out)
    assert "forced (force=true) over decision-3, which says REFUSE" in promote(
        models.no_star, registry, out, force=True
    )
    assert Registry.open(registry).history()[-1]["evidence"]["forced"] is True
    assert rollback(registry, "it was worse") == models.right.identity
    Registry.open(registry).verify()


def test_commands(models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"registry={tmp_path / 'registry'}", f"out={tmp_path / 'update'}"]
    assert main(["update", "action=promote", f"artifact={models.no_star.folder}", *words]) == 0
    assert main(["update", "action=promote", f"challenger={models.right.folder}", *words]) == 2
    assert main(["update", "action=promote", f"challenger={models.right.folder}", "force=true", *words]) == 0
    assert main(["update", "action=rollback", "why=a mistake", *words]) == 0
    assert main(["update", "action=rollback", *words]) == 2
    assert main(["update", "action=decide", *words]) == 2
    told = capsys.readouterr()
    assert f"champion: {models.no_star.identity}" in told.out
    assert "a decision PROMOTE is needed" in told.err
    assert "no challenger" in told.err
    assert np.all([line["alias"] == "champion" for line in Registry.open(tmp_path / "registry").history()])
