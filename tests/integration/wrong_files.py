"""Wrong files: of the user's own configuration, of weights, of a run, of an artifact. As `wrong_configurations.py`."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from wrong_place import SMALL, Place, Wrong, train

from evensight.records.artifact import write_sums

Make = Callable[[Path, Place], object]
MINE = Wrong(("train", "experiment=mine"))
TEST, EXPORT, RESUME = (
    Wrong(("test", "run=run")),
    Wrong(("export", "run=run")),
    Wrong(("train", "run=run", "resume=true")),
)
PREDICT = Wrong(("predict", "artifact=artifact", "data={place}/photos"))
HEAD = "# @package _global_\n"


class Code:
    """Would make a folder named `ran` if it were unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("ran",)


def written(name: str, content: str | bytes) -> Make:
    def make(here: Path, _: Place) -> None:
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def mine(content: str | bytes) -> Make:
    return written("configs/experiment/mine.yaml", content)


def copied_run(change: Callable[[Path], object]) -> Make:
    def make(here: Path, place: Place) -> None:
        shutil.copytree(place.run.folder, here / "run")
        change(here / "run")

    return make


def copied_artifact(change: Callable[[Path], object]) -> Make:
    def make(here: Path, place: Place) -> None:
        shutil.copytree(place.run.artifact, here / "artifact")
        change(here / "artifact")

    return make


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def summed(artifact: Path, change: Callable[[Path], object]) -> None:
    """Changes an artifact and lets its sums agree again."""
    change(artifact)
    shutil.rmtree(artifact / "attached", ignore_errors=True)
    (artifact / "SHA256SUMS").unlink()
    write_sums(artifact)


def contract(**changes: object) -> Callable[[Path], None]:
    def change(artifact: Path) -> None:
        path = artifact / "contract.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return lambda artifact: summed(artifact, change)


def of_another_run(run: Path) -> None:
    """Replaces the best checkpoint's weights by others of the same shape, as if the artifact came from elsewhere."""
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    state = checkpoint["state_dict"]
    state["network.head.bias"] = state["network.head.bias"] + 1
    torch.save(checkpoint, run / "checkpoints" / "best.ckpt")


def of_another_model(name: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        checkpoint = torch.load(run / "checkpoints" / name, weights_only=True)
        checkpoint["state_dict"]["network.head.weight"] = torch.zeros(2, 7)
        torch.save(checkpoint, run / "checkpoints" / name)
        (run / "finished.json").unlink()

    return change


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def replaced(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content) and None


def other_weights(here: Path, _: Place) -> None:
    torch.save({"layers.0.weight": torch.zeros(2)}, here / "weights.pt")


def misfit_weights(here: Path, place: Place) -> None:
    state = load_file(place.run.artifact / "weights.safetensors")
    wide = {name: value.repeat_interleave(2, 0) if value.ndim else value for name, value in state.items()}
    save_file(wide, here / "weights.safetensors")


def code(here: Path, _: Place) -> None:
    torch.save({"layers.0.weight": torch.zeros(2), "more": Code()}, here / "weights.pt")


YAML = {
    "YAML with a bracket left open": MINE.given(mine(f"{HEAD}defaults:\n  - shapes\nseed: [1\nx: 3\n")).says(
        "configs/experiment/mine.yaml", "line 5", "not YAML"
    ),
    "a key twice": MINE.given(mine(f"{HEAD}seed: 3\nseed: 4\n")).says("mine.yaml", "line 3", "duplicate key seed"),
    "an experiment that is a folder": MINE.given(
        lambda here, _: (here / "configs/experiment/mine.yaml").mkdir(parents=True)
    ).says("mine.yaml", "cannot be read", "directory"),
    "an empty experiment": MINE.given(mine("")).says("mine.yaml", "empty"),
    "an experiment that is a list": MINE.given(mine("- a\n- b\n")).says("mine.yaml", "no mapping", "seed: 3"),
    "an experiment that is a sentence": MINE.given(mine("hello\n")).says("mine.yaml", "# @package _global_"),
    "an experiment in Latin-1": MINE.given(mine(b"# caf\xe9\nseed: 3\n")).says("mine.yaml", "byte 5", "UTF-8"),
    "an experiment that holds itself": MINE.given(mine(f"{HEAD}a: &a [*a]\n")).says("mine.yaml", "holds itself"),
    "an experiment without its first line": MINE.given(mine("seed: 3\n")).says("mine.yaml", "# @package _global_"),
    "an experiment with a misspelt key": MINE.given(mine(f"{HEAD}defaults:\n  - shapes\nsede: 3\n")).says(
        "'sede'", "Did you mean 'seed'"
    ),
    "an experiment of an unknown one": MINE.given(mine(f"{HEAD}defaults:\n  - shaps\n")).says(
        "experiment/mine", "'shaps'", "Did you mean 'shapes'"
    ),
    "an experiment with an unknown option": MINE.given(mine(f"{HEAD}defaults:\n  - override /data: shaps\n")).says(
        "data", "'shaps'", "Did you mean 'shapes'"
    ),
    "an experiment with an unknown group": MINE.given(mine(f"{HEAD}defaults:\n  - override /dat: shapes\n")).says(
        "experiment/mine", "'dat'", "Did you mean 'data'"
    ),
    "an objective with an unknown key": Wrong(("objective", *SMALL, "objective=mine"))
    .given(written("configs/objective/mine.yaml", "name: a\npurpose: b\nclases: [a, b]\n"))
    .says("'objective.clases'", "Did you mean 'objective.classes'"),
    "a broken file that a sweep reaches": Wrong(("train", "experiment=mine", "--multirun", "seed=1,2"))
    .given(
        lambda here, place: (
            mine(f"{HEAD}defaults:\n  - shapes\n  - override /model: mine\n")(here, place),
            written("configs/model/mine.yaml", "backbone: [\n")(here, place),
        )
    )
    .says("configs/model/mine.yaml", "line 2", "not YAML"),
    "a folder that cannot be made for --save": Wrong(("train", "experiment=shapes", "--save=mine"))
    .given(written("configs", ""))
    .says("--save", "configs/experiment/mine.yaml", "cannot be written"),
    "a file of the user's with a name of ours": train("optimizer=sgd")
    .given(written("configs/optimizer/sgd.yaml", "name: sgd\nlr: 3.0\n"))
    .says("configs/optimizer/sgd.yaml", "rename"),
}

WEIGHTS = {
    "no weights": train("model.checkpoint_path=weight.pt")
    .given(other_weights)
    .says("model.checkpoint_path", "weight.pt is not a file", "Did you mean 'weights.pt'"),
    "weights of another architecture": train("model.checkpoint_path=weights.pt")
    .given(other_weights)
    .says("model.checkpoint_path", "weights.pt lacks 5 of 6", "another backbone"),
    "weights of another width": train("model.checkpoint_path=weights.safetensors")
    .given(misfit_weights)
    .says("model.checkpoint_path", "layers.0.weight of shape [200, 192] instead of [100, 192]"),
    "weights with code": train("model.checkpoint_path=weights.pt")
    .given(code)
    .says("model.checkpoint_path", "posix.mkdir", "could run code and is refused"),
    "a pickle with code": train("model.checkpoint_path=weights.pt")
    .given(written("weights.pt", pickle.dumps(Code())))
    .says("model.checkpoint_path", "could run code and is refused"),
    "weights that are a text": train("model.checkpoint_path=weights.safetensors")
    .given(written("weights.safetensors", "hello"))
    .says("model.checkpoint_path", "weights.safetensors cannot be read as weights"),
}

RUNS = {
    "a run that is not there": Wrong(("test", "run={place}/runs/folder/latst")).says("run", "latst", "latest?"),
    "a run that is none": Wrong(("export", "run={place}/photos")).says("run", "photos is no run folder", "config.yaml"),
    "a run without its key": Wrong(("test", "rum=x")).says("'rum'", "Did you mean 'run'"),
    "a run's configuration that is broken": TEST.given(copied_run(replaced("config.yaml", "a: [\n"))).says(
        "run/config.yaml", "broken"
    ),
    "a run's configuration with an unknown key": TEST.given(copied_run(replaced("config.yaml", "extra: 3\n"))).says(
        "'extra'", "Did you mean 'export'"
    ),
    "a run's objective that is broken": EXPORT.given(copied_run(replaced("objective.json", "{"))).says(
        "objective.json", "not JSON"
    ),
    "a run's objective of a later schema": TEST.given(
        copied_run(replaced("objective.json", '{"schema_version": 9}'))
    ).says("objective.json", "schema_version is 9", "reads 1"),
    "a run without an artifact": TEST.given(copied_run(lambda run: shutil.rmtree(run / "artifact"))).says(
        "run/artifact", "no artifact"
    ),
    "a run with the artifact of another": TEST.given(copied_run(of_another_run)).says(
        "run/artifact is of another run", "best.ckpt", "export again"
    ),
    "a run without a checkpoint": EXPORT.given(copied_run(without("checkpoints/best.ckpt"))).says(
        "best.ckpt does not exist"
    ),
    "a checkpoint that is a text": EXPORT.given(copied_run(replaced("checkpoints/best.ckpt", "hello"))).says(
        "best.ckpt cannot be read", "broken or foreign"
    ),
    "a checkpoint of another model": EXPORT.given(copied_run(of_another_model("best.ckpt"))).says(
        "best.ckpt is of another model", "head.weight is [2, 7]", "[2, 100]"
    ),
    "resuming from a checkpoint of another model": RESUME.given(copied_run(of_another_model("last.ckpt"))).says(
        "last.ckpt is of another model", "head.weight is [2, 7]", "[2, 100]"
    ),
    "resuming with the classes in another order": Wrong(
        ("train", "run={place}/runs/folder/latest", "resume=true", "objective.classes=[dog,cat]")
    ).says("another configuration", "objective.classes", "dog"),
    "resuming with another configuration": Wrong(
        ("train", "run={place}/runs/folder/latest", "resume=true", "seed=5")
    ).says("another configuration", "seed"),
}

ARTIFACTS = {
    "no artifact": Wrong(("predict", "artifact=nowhere", "data={place}/photos")).says("nowhere", "contract.json"),
    "a flipped byte": PREDICT.given(copied_artifact(lambda artifact: flipped(artifact / "model.ts"))).says(
        "artifact/model.ts", "SHA256SUMS", "altered"
    ),
    "a flipped byte of the weights": TEST.given(
        copied_run(lambda run: flipped(run / "artifact" / "weights.safetensors"))
    ).says("weights.safetensors", "altered", "export again"),
    "a model that is gone": PREDICT.given(copied_artifact(without("model.ts"))).says("artifact", "no model.ts"),
    "sums that are none": PREDICT.given(copied_artifact(replaced("SHA256SUMS", "hello\n"))).says(
        "SHA256SUMS", "altered"
    ),
    "sums that are none, of a run": TEST.given(copied_run(replaced("artifact/SHA256SUMS", "hello\n"))).says(
        "SHA256SUMS", "line 1", "'hello'"
    ),
    "sums without the weights": TEST.given(copied_run(replaced("artifact/SHA256SUMS", ""))).says(
        "SHA256SUMS", "does not list model.ts"
    ),
    "a contract of a later schema": PREDICT.given(copied_artifact(contract(schema_version=2))).says(
        "contract.json", "schema_version is 2", "reads 1"
    ),
    "a contract of a later schema, of a run": TEST.given(
        copied_run(lambda run: contract(schema_version=2)(run / "artifact"))
    ).says("contract.json", "schema_version is 2", "reads 1"),
    "a contract without classes": PREDICT.given(copied_artifact(contract(classes=None))).says(
        "contract.json", "classes", "None", "at least 2"
    ),
    "a contract that is no JSON": PREDICT.given(
        copied_artifact(lambda artifact: summed(artifact, replaced("contract.json", "{")))
    ).says("contract.json", "JSON"),
    "a model that is a text": PREDICT.given(
        copied_artifact(lambda artifact: summed(artifact, replaced("model.ts", "hello")))
    ).says("model.ts", "not a TorchScript file"),
    "a verdict that is no JSON": PREDICT.given(copied_artifact(replaced("attached/verdict_test.json", "{"))).says(
        "verdict_test.json", "JSON"
    ),
    "images that are not there": Wrong(
        ("predict", "artifact={place}/runs/folder/latest/artifact", "data=nowhere")
    ).says("data", "nowhere does not exist"),
    "a table with an unknown ending": Wrong(
        ("predict", "artifact={place}/runs/folder/latest/artifact", "data={place}/photos", "out=x.xls")
    ).says("out", "'x.xls'", ".csv, .parquet"),
    "a table in no folder": Wrong(
        ("predict", "artifact={place}/runs/folder/latest/artifact", "data={place}/photos", "out=no/x.csv")
    ).says("out", "'no/x.csv'", "does not exist"),
    "a folder in the place of a table": Wrong(
        ("predict", "artifact={place}/runs/folder/latest/artifact", "data={place}/photos", "out=x.csv")
    )
    .given(lambda here, _: (here / "x.csv").mkdir())
    .says("out", "'x.csv'", "directory"),
}

# Tests run as root, whom no permission stops: a file where a folder should be is refused to everybody.
FOLDERS = {
    "runs that cannot be written": train("runs_dir=file")
    .given(written("file", ""))
    .says("runs_dir", "file", "cannot be"),
    "data sets that cannot be written": train("datasets_dir=file")
    .given(written("file", ""))
    .says("datasets_dir", "file", "cannot be written"),
    "data that is not there": train("data.root=nowhere").says("data.root", "'nowhere'", "does not exist"),
}
