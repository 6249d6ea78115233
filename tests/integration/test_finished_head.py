"""`evensight train run=<finished run> focus.by=[head]`: a new run whose last layer alone is another one."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from evensight.cli import main
from evensight.compose import compose
from evensight.resuming import unfinished
from evensight.run import Run
from evensight.training.checkpoint import network_weights, read_checkpoint

SMALL = (
    *("experiment=shapes", "data.num_train=256", "data.num_validation=256", "data.num_test=64", "model.size=24"),
    *("model.kwargs.channels=[8,16]", "model.kwargs.num_strided=2", "data.batch_size=64", "data.num_workers=0"),
    *("reliance.max_images=32", "reliance.donors_per_class=4", "trainer.max_epochs=2", "trainer=cpu"),
    *("trainer.num_threads=1", "trainer.progress=false", "test=false"),
)
QUICK = ("focus.by=[head]", "focus.head=afr")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finished_head")


def folders(place: Path) -> list[str]:
    return [f"runs_dir={place / 'runs'}", f"datasets_dir={place / 'datasets'}"]


@pytest.fixture(scope="module")
def finished(place: Path) -> Run:
    """A run that took colour away inside the network."""
    words = ["focus=colour_off", "focus.by=[remove]", "focus.trial=false", "experiment_name=grey"]
    assert main(["train", *SMALL, *words, *folders(place)]) == 0
    return Run.open(place / "runs" / "grey" / "latest")


@pytest.fixture(scope="module")
def repaired(finished: Run, place: Path) -> Run:
    before = contents(finished.folder)
    assert main(["train", f"run={finished.folder}", *QUICK, "experiment_name=repaired", "test=true"]) == 0
    assert contents(finished.folder) == before
    return Run.open(place / "runs" / "repaired" / "latest")


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def weights(run: Run) -> dict[str, torch.Tensor]:
    return network_weights(read_checkpoint(run.checkpoints / "best.ckpt"))


def test_only_the_last_layer_is_another(finished: Run, repaired: Run) -> None:
    old, new = weights(finished), weights(repaired)
    assert old.keys() == new.keys()
    for name, value in old.items():
        assert torch.equal(value, new[name]) != name.startswith("head."), name
    shipped = load_file(repaired.artifact / "weights.safetensors")
    assert all(torch.equal(shipped[name], value) for name, value in new.items())


def test_the_new_run_is_complete_and_says_where_it_is_from(finished: Run, repaired: Run) -> None:
    for name in (
        "report.html",
        "verdicts/validation.json",
        "verdicts/test.json",
        "finished.json",
        "donors.safetensors",
    ):
        assert (repaired.folder / name).is_file(), name
    assert repaired.metrics_file.read_bytes() == finished.metrics_file.read_bytes()
    # What the network takes away by itself is the old run's, whatever was asked of its last layer.
    assert repaired.config().focus == finished.config().focus
    assert repaired.read_json("focus.json") == finished.read_json("focus.json")
    origin = repaired.read_json("origin.json")
    assert origin is not None
    assert origin["run"] == str(finished.folder)
    assert origin["identity"] == (finished.read_json("artifact/contract.json") or {})["identity"]
    assert origin["method"]["name"] == "afr"
    assert (origin["held_back"], origin["num_images"]) == (False, 256)
    assert "nothing was held back" in repaired.log_file.read_text(encoding="utf-8")
    page = repaired.report.read_text(encoding="utf-8")
    for words in (
        f"grey/{finished.folder.name}",
        origin["identity"],
        "fitted anew by <b>afr</b>",
        "256 training images",
    ):
        assert words in page, words
    assert "fitted anew" not in finished.report.read_text(encoding="utf-8")


def test_what_reads_a_run_reads_this_one(repaired: Run, tmp_path: Path) -> None:
    copied = Run(tmp_path / "copied")
    shutil.copytree(repaired.folder, copied.folder)
    before = json.loads((copied.verdicts / "test.json").read_text(encoding="utf-8"))
    assert main(["test", f"run={copied.folder}"]) in (0, 1, 3)
    after = json.loads((copied.verdicts / "test.json").read_text(encoding="utf-8"))
    assert after["requirements"] == before["requirements"]
    shutil.rmtree(copied.artifact)
    assert main(["export", f"run={copied.folder}"]) == 0
    assert torch.equal(load_file(copied.artifact / "weights.safetensors")["head.bias"], weights(repaired)["head.bias"])


def test_ended_before_the_fit_and_gone_on_with(repaired: Run, tmp_path: Path) -> None:
    """A run that is resumed must not begin to train: it has no last.ckpt, and nothing of its own to train on."""
    ended = Run(tmp_path / "ended")
    shutil.copytree(repaired.folder, ended.folder)
    for name in ("artifact", "checkpoints", "verdicts", "predictions"):
        shutil.rmtree(ended.folder / name)
    (ended.folder / "finished.json").unlink()
    ended.metrics_file.unlink()
    origin = ended.read_json("origin.json") or {}
    begun = ("schema_version", "run", "identity", "head", "attribute")
    ended.write_json("origin.json", {key: origin[key] for key in begun})
    assert main(["train", f"run={ended.folder}", "resume=true"]) == 0
    assert ended.finished is not None
    assert ended.read_json("origin.json") == origin
    for name, value in weights(repaired).items():
        assert torch.equal(value, weights(ended)[name]), name


def test_resume_auto_leaves_it_alone(repaired: Run, place: Path) -> None:
    words = ["focus=colour_off", "focus.by=[remove]", "focus.trial=false", "experiment_name=repaired", "test=true"]
    (repaired.folder / "finished.json").rename(place / "aside")
    try:
        assert unfinished(compose([*SMALL, *words, *folders(place)])) == []
    finally:
        (place / "aside").rename(repaired.folder / "finished.json")


def test_what_a_method_held_back_is_what_the_last_layer_is_fitted_on(place: Path) -> None:
    options = ["method=dfr", "method.num_subsets=1", "method.strength=10", "experiment_name=dfr", "export=false"]
    assert main(["train", *SMALL, *options, *folders(place)]) == 0
    old = Run.open(place / "runs" / "dfr" / "latest")
    assert main(["train", f"run={old.folder}", *QUICK, "experiment_name=dfr_afr"]) == 0
    new = Run.open(place / "runs" / "dfr_afr" / "latest")
    origin = new.read_json("origin.json") or {}
    assert origin["held_back"]
    assert 256 * 0.15 < origin["num_images"] < 256 * 0.35
    assert not torch.equal(weights(old)["head.weight"], weights(new)["head.weight"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["focus.by=[head]", "seed=5"], ["another configuration", "seed"]),
        (["focus.by=[head]", "focus.ignore=[colour]"], ["focus", "only focus.head and focus.attribute"]),
        (["focus=colour_off"], ["resume=true", "focus.by=[head]"]),
        (["focus.by=[head,augment]"], ["focus.by", "augment"]),
        (["focus.by=[head]", "focus.head=dfo"], ["focus.head", "dfr"]),
        (["focus.by=[head]", "focus.attribute=color"], ["focus.attribute", "colour"]),
        (["focus.by=[head]", "experiment=shapes"], ["experiment", "leave experiment out"]),
        (["focus.by=[head]", "model.kwargs.channels=[8]"], ["another configuration", "model"]),
        ([], ["resume=true", "focus.by=[head]"]),
    ],
)
def test_what_is_wrong_is_named(
    finished: Run, place: Path, arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted((place / "runs").rglob("*"))
    assert main(["train", f"run={finished.folder}", *arguments]) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert sorted((place / "runs").rglob("*")) == before


def test_an_unfinished_run_is_not_repaired(finished: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copied = tmp_path / "unfinished"
    shutil.copytree(finished.folder, copied)
    (copied / "finished.json").unlink()
    assert main(["train", f"run={copied}", *QUICK]) == 2
    assert "is not finished" in capsys.readouterr().err
    assert main(["train", "run=no/such/run", *QUICK]) == 2
    assert "no run folder" in capsys.readouterr().err
