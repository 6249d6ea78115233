"""`evensight update action=train`. If this fails, a challenger has other data or weights than were asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import made_update
import pytest
import torch
from made_update import Place
from safetensors.torch import load_file

from evensight.cli import main
from evensight.compose import typed
from evensight.config import Config, FocusConfig
from evensight.data.readers.merged import MergedReader
from evensight.errors import UserError
from evensight.models.backbones import build_network
from evensight.records.artifact import Artifact
from evensight.records.registry import Registry
from evensight.run import Run
from evensight.update.merge import Merged, merge
from evensight.update.plan import plan
from evensight.update.train import challenger_config, focus_section


@pytest.fixture(scope="module")
def merged(place: Place, traffic: Path, tmp_path_factory: pytest.TempPathFactory) -> Merged:
    out = tmp_path_factory.mktemp("merged")
    planned = plan(place.artifact, traffic, out, budget=40)
    return merge(planned, made_update.filled(planned.table, out / "answers.csv"), place.run, out)


def test_only_the_data_is_another(place: Place, merged: Merged) -> None:
    champion = place.run.config()
    config = challenger_config(champion, merged)
    assert isinstance(config.data, MergedReader)
    assert config.data == merged.data
    same = [each.name for each in dataclasses.fields(Config) if each.name not in ("data", "run", "resume")]
    assert {name: getattr(config, name) for name in same} == {name: getattr(champion, name) for name in same}
    assert (config.data.batch_size, config.data.name) == (12, "made")
    assert typed(dataclasses.asdict(config)) == config  # what a run records of it is read back


def test_focus_is_what_is_asked_for(place: Place, merged: Merged) -> None:
    champion = place.run.config()
    assert challenger_config(champion, merged, ("colour",)).focus.ignore == ["colour"]
    assert challenger_config(champion, merged, "colour_off").focus.ignore == ["colour"]
    assert challenger_config(champion, merged, "colour, texture").focus.ignore == ["colour", "texture"]
    assert challenger_config(champion, merged, "[brightness]").focus.ignore == ["brightness"]
    before = FocusConfig(ignore=["texture"], by=["augment", "consistency"])
    after = focus_section(["colour", "texture"], before)
    assert after == dataclasses.replace(before, ignore=["texture", "colour"])  # what was turned off stays so
    assert focus_section("none", before) == FocusConfig()
    assert focus_section("", before) is None
    with pytest.raises(UserError, match=r"'colur' is not known.*Did you mean 'colour'"):
        challenger_config(champion, merged, "colur")
    with pytest.raises(UserError, match=r"focus\.auto=true"):
        focus_section("colour", FocusConfig(auto=True))
    with pytest.raises(UserError, match="surround"):  # what the focus section takes is checked as ever
        challenger_config(champion, merged, "colour,frame_size")


def test_a_sealed_test_split_is_left_to_the_decision(place: Place, merged: Merged) -> None:
    champion = dataclasses.replace(place.run.config(), test=True)
    assert challenger_config(champion, merged).test
    sealed = dataclasses.replace(merged, data=dataclasses.replace(merged.data, sealed=True))
    assert not challenger_config(champion, sealed).test


@pytest.mark.slow
def test_once_around(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Plan, merge, train, decide, promote; then once more from the champion's weights, on the merged data."""
    here = made_update.place(tmp_path / "place")
    log = made_update.write_log(tmp_path / "log.sqlite", made_update.entries(here.artifact, tmp_path, 60))
    words = [f"registry={tmp_path / 'registry'}", f"out={tmp_path / 'update'}", f"runs_dir={here.config.runs_dir}"]

    def update(action: str, *more: str) -> int:
        return main(["update", f"action={action}", *words, *more])

    assert update("promote", f"artifact={here.artifact.folder}") == 0
    assert update("plan", f"log={log}", "budget=30") == 0
    answers = made_update.filled(tmp_path / "update" / "plan-1" / "to_annotate.csv", tmp_path / "answers.csv")
    assert update("merge", f"answers={answers}") == 0
    assert update("train", "focus=colour") == 0
    registry = Registry.open(tmp_path / "registry")
    challenger = Artifact.open(registry.artifact("challenger"))
    run = Run.open(Path(here.config.runs_dir) / "made" / "latest")
    assert run.finished is not None
    assert Artifact.open(run.artifact).identity == challenger.identity
    assert run.config().focus.ignore == ["colour"]
    assert run.config().data.reader == "merged"
    head = run.read_json("data.json")
    assert head is not None
    assert head["content"] == challenger.contract.data.content != here.manifest.digests.content
    assert len(registry.history()) == 2
    assert update("decide") == 1  # after one epoch it knows nothing, and FAILs
    assert update("promote") == 2
    assert update("promote", "force=true") == 0
    told = capsys.readouterr()
    assert "REFUSE: the challenger FAILs: accuracy" in told.out
    assert "a decision PROMOTE is needed" in told.err

    # Once more, from the new champion and the data it was trained on.
    folder = tmp_path / "second"
    second = made_update.write_log(folder / "log.sqlite", made_update.entries(challenger, folder, 40))
    assert update("plan", f"log={second}", "budget=10") == 0
    answers = made_update.filled(tmp_path / "update" / "plan-2" / "to_annotate.csv", folder / "answers.csv")
    assert update("merge", f"answers={answers}") == 0
    assert update("train", "from_champion=true") == 0
    again = Run.open(Path(here.config.runs_dir) / "made" / "latest")
    assert again.folder != run.folder
    assert again.config().focus.ignore == ["colour"]  # the champion's own, as no plan says otherwise
    weights = load_file(challenger.folder / "weights.safetensors")
    network, _ = build_network(again.config().model, 3)
    for name, value in network.backbone.state_dict().items():
        assert torch.equal(value, weights[f"backbone.{name}"]), name
    assert update("rollback") == 0
    assert Registry.open(tmp_path / "registry").identity("champion") == here.artifact.identity
