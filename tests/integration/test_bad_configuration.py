"""If these fail, a mistake of the user's ends in a traceback, in the wrong status, or leaves something half made.

The tables: `wrong_configurations.py` and `wrong_files.py`. Every row is run through `main(argv)` in this process.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import wrong_configurations
import wrong_files
from wrong_place import Place, Wrong, train, tree

from evensight.cli import main

WRONG: dict[str, Wrong] = {
    **wrong_configurations.OBJECTIVES,
    **wrong_configurations.KEYS,
    **wrong_configurations.VALUES,
    **wrong_files.YAML,
    **wrong_files.WEIGHTS,
    **wrong_files.RUNS,
    **wrong_files.ARTIFACTS,
    **wrong_files.FOLDERS,
}
OFFLINE = train("model=timm", "model.backbone=timm/resnet10t", "model.pretrained=true")


def mistake(wrong: Wrong, place: Place, here: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Runs a wrong command line in a folder of its own; returns its one sentence."""
    if wrong.make is not None:
        wrong.make(here, place)
    before = tree(here), tree(place.folder)
    capsys.readouterr()
    status = main(place.filled(wrong.argv))
    said = capsys.readouterr()
    assert status == 2, said.err
    assert said.out == ""
    resumed = f"run: {here / 'run'}\n" if "resume=true" in wrong.argv else ""
    assert said.err.removeprefix(resumed).startswith("evensight: ") and said.err.endswith("\n"), said.err
    assert said.err.removeprefix(resumed).count("\n") == 1, said.err
    after = tree(here), tree(place.folder)
    assert {path for one, other in zip(before, after, strict=True) for path in one.keys() ^ other.keys()} == set()
    changed = {path for one, other in zip(before, after, strict=True) for path in one if one[path] != other[path]}
    assert changed == set()
    return said.err


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    name: str, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sentence = mistake(WRONG[name], place, tmp_path, capsys)
    for part in WRONG[name].parts:
        assert part in sentence, sentence


def test_published_weights_without_a_network(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    sentence = mistake(OFFLINE, place, tmp_path, capsys)
    for part in ("model.pretrained", "timm/resnet10t", "cannot be fetched", "model.checkpoint_path=<file>"):
        assert part in sentence, sentence


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("override", ["trainer=gpu", "trainer.accelerator=gpu"])
def test_a_gpu_that_is_not_there(
    override: str, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sentence = mistake(train(override), place, tmp_path, capsys)
    assert "trainer.accelerator: found 'gpu'" in sentence and "Write trainer=auto or trainer=cpu." in sentence


def test_there_are_at_least_35_kinds() -> None:
    assert len({" ".join(wrong.argv) + str(wrong.make) for wrong in WRONG.values()}) == len(WRONG) >= 35
    assert all(len(wrong.parts) >= 1 for wrong in WRONG.values())
    assert {wrong.argv[0] for wrong in WRONG.values()} >= {"objective", "train", "test", "export", "predict"}
