"""If these fail, a user of the Python functions is told something else than a user of the command, or nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wrong_configurations
import wrong_files
from wrong_place import SMALL, Place, Wrong

from evensight.cli import main
from evensight.compose import compose
from evensight.config import AugmentConfig, Config, ModelConfig
from evensight.data.augment import Augment
from evensight.data.prepare import prepare
from evensight.data.readers.folder import FolderReader
from evensight.instantiate import instantiate
from evensight.metrics import intervals, paired
from evensight.models.backbones import build_network
from evensight.objective.objective import Objective
from evensight.objective.verdict_file import read
from evensight.records.artifact import Artifact
from evensight.run import Run
from evensight.runtime.predictor import Predictor
from evensight.training.checkpoint import read_checkpoint
from evensight.training.trainer import build_trainer, user_callbacks

# The default objective with one key changed, as the rows of the first table type it.
PLAIN: dict[str, Any] = {"name": "a", "purpose": "b"}
COLOUR = {"attributes": {"colour": {"levels": ["red", "blue"]}}}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "classes in words": {"classes": "cat"},
    "classes as a mapping": {"classes": {"cat": 1}},
    "a class twice": {"classes": ["cat", "dog", "cat"]},
    "an empty class": {"classes": ["cat", ""]},
    "one class": {"classes": ["cat"]},
    "a class that YAML reads as a number": {"classes": [1, 2]},
    "one class in two forms of Unicode": {"classes": ["caf\u00e9", "cafe\u0301"]},
    "a line break in a class": {"classes": ["a\nb", "c"]},
    "a requirement without its attribute": {"requirements": [{"metric": "accuracy", "scope": "each_group"}], **COLOUR},
    "an unknown metric": {"requirements": [{"metric": "acuracy"}]},
    "a bound above one": {"requirements": [{"metric": "accuracy", "bound": 1.2}]},
    "a bound in words": {"requirements": [{"metric": "accuracy", "bound": "90%"}]},
    "contradictory requirements": {
        "requirements": [{"metric": "accuracy", "bound": 0.9}, {"metric": "accuracy", "bound": 0.8}]
    },
    "reliance without a cue": {"requirements": [{"metric": "reliance", "bound": 0.1}]},
    "an unknown key of a requirement": {"requirements": [{"metric": "accuracy", "bond": 0.9}]},
    "confidence out of range": {"confidence": 95},
    "a level twice": {"attributes": {"colour": {"levels": ["red", "red"]}}},
    "no level": {"attributes": {"colour": {"levels": []}}},
    "an unknown primary metric": {"primary": {"metric": "f1"}},
    "an unknown key of the objective": {"clases": ["a"]},
    "nothing for a name": {"name": None},
}


def composed(place: Place, *overrides: str) -> Config:
    return compose([*place.filled(SMALL), *overrides])


def prepared(place: Place, **changes: Any) -> object:
    """Prepares the photographs of a place as a user of the functions would."""
    stated = Objective.from_config(
        {**PLAIN, **{key: changes.pop(key) for key in ("classes", "attributes") if key in changes}}
    )
    settings = {"name": "folder", "root": str(place.folder / "photos"), **changes}
    return prepare(FolderReader(**settings), stated, place.folder / "datasets")


def model(**changes: Any) -> object:
    return build_network(ModelConfig(**{"backbone": "mlp", "size": 8, **changes}), 2)


def callback(place: Place, node: Any) -> object:
    return user_callbacks(dataclasses.replace(composed(place), callbacks={"x": node}))


def trainer(place: Place, override: str) -> object:
    return build_trainer(composed(place, override), [])


STOPPING = "lightning.pytorch.callbacks.EarlyStopping"
FLIP = "albumentations.HorizontalFlip"
# A row of the first table, and the function that says the same of the same mistake.
FUNCTIONS: dict[str, Callable[[Place, Path], object]] = {
    "a class that the data does not have": lambda place, _: prepared(place, classes=["cat", "dgo"]),
    "an attribute that the data does not have": lambda place, _: prepared(place, **COLOUR),
    "data that is not there": lambda place, _: prepared(place, root="nowhere"),
    "a data set's name that leaves the folder": lambda place, _: prepared(place, name="../x"),
    "a misspelt option": lambda place, _: composed(place, "optimizer=adam"),
    "a misspelt key two below": lambda place, _: composed(place, "trainer.checkpoint_every.minuts=3"),
    "text for a number": lambda place, _: composed(place, "data.batch_size=many"),
    "a batch of nought": lambda place, _: composed(place, "data.batch_size=0"),
    "resume=maybe": lambda place, _: composed(place, "resume=maybe"),
    "an interpolation of nothing": lambda place, _: composed(place, "seed=${nothing}"),
    "nonsense for a precision": lambda place, _: trainer(place, "trainer.precision=17"),
    "an unknown accelerator": lambda place, _: trainer(place, "trainer.accelerator=quantum"),
    "a callback that is none": lambda place, _: callback(
        place, {"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 2}
    ),
    "a missing argument of a callback": lambda place, _: callback(place, {"_target_": STOPPING}),
    "a target that is not allowed": lambda _, __: instantiate(
        {"_target_": "os.system", "command": "true"}, key="callbacks.x"
    ),
    "a wrong argument of a callback": lambda _, __: instantiate(
        {"_target_": STOPPING, "monitr": "x"}, key="callbacks.x"
    ),
    "a wrong value of a transform": lambda _, __: Augment(
        AugmentConfig(transforms={"f": {"_target_": FLIP, "p": 5}}), 8
    ),
    "a crop larger than the image": lambda _, __: Augment(AugmentConfig(crop_scale=[2.0, 3.0]), 8),
    "an unknown backbone of ours": lambda _, __: model(backbone="smal_cnn"),
    "an unknown backbone of timm": lambda _, __: model(backbone="timm/resnet18x"),
    "a wrong argument of a backbone": lambda _, __: model(kwargs={"hiden": [3]}),
    "a deviation of nought": lambda _, __: model(std=[0.0, 1.0, 1.0]),
    "published weights of a network of ours": lambda _, __: model(pretrained=True),
    "no weights": lambda _, __: model(checkpoint_path="weight.pt"),
    "weights of another architecture": lambda _, __: model(checkpoint_path="weights.pt"),
    "weights with code": lambda _, __: model(checkpoint_path="weights.pt"),
    "a run that is none": lambda place, _: Run.open(place.folder / "photos"),
    "a run's configuration that is broken": lambda _, here: Run.open(here / "run").config(),
    "a run's objective that is broken": lambda _, here: Run.open(here / "run").objective(),
    "a run without an artifact": lambda _, here: Artifact.open(here / "run" / "artifact"),
    "a contract of a later schema, of a run": lambda _, here: Artifact.open(here / "run" / "artifact"),
    "a checkpoint that is a text": lambda _, here: read_checkpoint(here / "run" / "checkpoints" / "best.ckpt"),
}
# The predictor is copied into services: its sentences have neither the key nor the full stop that the command adds.
PREDICTORS = (
    "no artifact",
    "a flipped byte",
    "a model that is gone",
    "a contract of a later schema",
    "a model that is a text",
)
TABLE: dict[str, Wrong] = {
    **wrong_configurations.OBJECTIVES,
    **wrong_configurations.KEYS,
    **wrong_configurations.VALUES,
    **wrong_files.WEIGHTS,
    **wrong_files.RUNS,
    **wrong_files.ARTIFACTS,
    **wrong_files.FOLDERS,
}


@pytest.fixture
def said(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """Makes the files of a row and returns what the command says of it, without its own name before."""
    monkeypatch.chdir(tmp_path)

    def say(name: str) -> str:
        wrong = TABLE[name]
        if wrong.make is not None:
            wrong.make(tmp_path, place)
        capsys.readouterr()
        assert main(place.filled(wrong.argv)) == 2
        return capsys.readouterr().err.removeprefix("evensight: ").removesuffix("\n")

    return say


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_is_answered_as_on_the_command_line(name: str, said: Callable[[str], str]) -> None:
    with pytest.raises(ValueError) as caught:
        Objective.from_config({**PLAIN, **OBJECTIVES[name]})
    assert str(caught.value) == said(name)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_says_what_the_command_says(
    name: str, place: Place, tmp_path: Path, said: Callable[[str], str]
) -> None:
    sentence = said(name)
    with pytest.raises(ValueError) as caught:
        FUNCTIONS[name](place, tmp_path)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("name", PREDICTORS)
def test_the_predictor_says_what_the_command_says(name: str, said: Callable[[str], str]) -> None:
    sentence = said(name)
    with pytest.raises(ValueError) as caught:
        Predictor(Path("nowhere" if name == "no artifact" else "artifact"))
    assert f"artifact: {str(caught.value).rstrip('.')}." == sentence


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda: intervals.clopper_pearson(5, 4, 0.05), ["5 successes of 4", "0 <= x <= n"]),
        (lambda: intervals.clopper_pearson(-1, 4, 0.05), ["-1 successes", "0 <= x <= n"]),
        (lambda: intervals.clopper_pearson([1, 2.5], 4, 0.05), ["counts", "2.5", "whole numbers"]),
        (lambda: intervals.clopper_pearson("many", 4, 0.05), ["counts", "many", "whole numbers"]),
        (lambda: intervals.clopper_pearson(float("nan"), 4, 0.05), ["counts", "nan", "whole numbers"]),
        (lambda: intervals.clopper_pearson(1, 4, 95), ["a: found 95", "from 0 to 1"]),
        (lambda: intervals.wilson(1, 4, float("nan")), ["a: found nan", "from 0 to 1"]),
        (lambda: paired.tango_interval(3, 2, 4, 0.05), ["b + c > n"]),
        (lambda: paired.tango_interval(1, 1, 4, -0.1), ["a: found -0.1", "from 0 to 1"]),
        (lambda: paired.tango_z(-1, 1, 4, 0.0), ["b < 0"]),
        (lambda: read(Path("no.json")), ["no.json", "no verdict file"]),
        (lambda: read(Path(__file__).parent), ["cannot be read", "directory"]),
        (lambda: read(Path(__file__)), ["test_bad_arguments.py", "not a verdict file of version 1"]),
        (lambda: Objective.from_config(3), ["objective", "found 3", "a mapping"]),  # type: ignore[arg-type]
    ],
)
def test_what_no_command_takes_is_a_sentence_too(call: Callable[[], object], parts: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value), str(caught.value)
