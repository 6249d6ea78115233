"""trainer.compile: the steps are compiled, and nothing else changes: resume, export, averages, phases, copies."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from safetensors.torch import load_file
from torch import nn
from training_places import Workplace

from evensight import names
from evensight.cli import main
from evensight.run import Run
from evensight.runtime.script import script
from evensight.training import building
from evensight.training import train as room
from evensight.training.checkpoint import network_weights, read_checkpoint
from evensight.training.compiling import compile_training, explained
from evensight.training.methods.base import Phase
from evensight.training.methods.erm import ERM

pytestmark = [
    pytest.mark.slow,  # the first compilation of a graph takes 5 to 30 s on two cores
    pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler"),
    # Of Python 3.13.0 alone, and its user can do something about it.
    pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning"),  # torch 2.11's own inductor
    pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores"),  # advice for networks in 32 bit, on a GPU
]

REPOSITORY = Path(__file__).parent.parent.parent
COMPILED = "trainer.compile=true"
# Everything that has a state or draws, as in the test of resuming.
OVERRIDES = ("trainer.max_epochs=3", "model.drop_rate=0.3", "ema.enabled=true", "trainer.accumulate_grad_batches=2")


def num_graphs() -> int:
    """Returns how many graphs have been compiled since the count was cleared."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


@pytest.fixture(autouse=True)
def clear() -> None:
    from torch._dynamo.utils import counters

    counters.clear()


class KilledError(RuntimeError):
    pass


class KillAfter(Callback):
    """Ends a run inside an epoch, as a crash would."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == self.epoch and batch_idx == 2:
            raise KilledError


def tensors(value: Any) -> dict[str, torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return {"": value}
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return {f"{name}.{rest}": found for name, part in parts for rest, found in tensors(part).items()}


def test_one_graph_whatever_sizes_validation_has(place: Workplace) -> None:
    # 256 validation images in batches of 100 end with one of 56; reliance looks at 32; training has batches of 64.
    fitted = place.fit(COMPILED, "data.eval_batch_size=100")
    assert num_graphs() == 1
    eager = place.fit("data.eval_batch_size=100")
    one, other = (read_checkpoint(each.run.checkpoints / "last.ckpt") for each in (fitted, eager))
    assert list(one["state_dict"]) == list(other["state_dict"])
    assert one.keys() == other.keys()
    # Another order of the same sums: the loss of two epochs is the same to rounding, the weights nearly so.
    assert fitted.result.metrics["train/loss"] == pytest.approx(eager.result.metrics["train/loss"], rel=1e-3)
    for name, value in network_weights(one).items():
        assert torch.allclose(value.float(), network_weights(other)[name].float(), atol=0.02), name


@pytest.mark.parametrize("resumable", [("trainer.checkpoint_every.steps=1",), ()])
def test_resumed_run_equals_the_uninterrupted_one(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, resumable: tuple[str, ...]
) -> None:
    """From a checkpoint within the epoch and from the end of one; a new compilation gives the same kernels."""
    whole = place.fit(COMPILED, *OVERRIDES, *resumable).run
    assert num_graphs() == 1
    config = place.config(COMPILED, *OVERRIDES, *resumable)
    run, build = Run.create(config), building.user_callbacks
    with monkeypatch.context() as patch:
        patch.setattr(building, "user_callbacks", lambda config: [*build(config), KillAfter(1)])
        with pytest.raises(KilledError):
            room.train(config, run, place.manifest, place.objective)
    # Two steps an epoch; the kill came after the first of the second epoch.
    assert read_checkpoint(run.checkpoints / "last.ckpt")["global_step"] == (3 if resumable else 2)
    again = dataclasses.replace(config, resume=True, run=str(run.folder))
    room.train(again, run, place.manifest, place.objective)
    assert num_graphs() == 3
    for name in ("last.ckpt", "best.ckpt"):
        expected, found = (read_checkpoint(each.checkpoints / name) for each in (whole, run))
        for key in ("state_dict", "current_model_state", "averaging_state", "optimizer_states"):
            left, right = tensors(expected[key]), tensors(found[key])
            assert left.keys() == right.keys()
            for tensor, value in left.items():
                assert torch.equal(value, right[tensor]), f"{name} {key} {tensor}"


class HeadFirst(ERM):
    """Trains the head alone, then everything."""

    def phases(self) -> list[Phase]:
        return [Phase("head", 1, trainable=("network.head.*",)), Phase("all", 1)]


def test_phases_train_what_they_say(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "HeadFirst", HeadFirst)
    monkeypatch.setitem(names.METHODS, "head_first", f"{__name__}:HeadFirst")
    seen: list[dict[str, torch.Tensor]] = []

    class Look(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append({name: value.clone() for name, value in pl_module.network.state_dict().items()})

    build = building.user_callbacks
    monkeypatch.setattr(building, "user_callbacks", lambda config: [*build(config), Look()])
    for overrides in ((COMPILED,), ()):
        place.fit(*overrides, method={"name": "head_first"})
    assert num_graphs() == 2  # one a phase: what learns has changed
    compiled_head, compiled_all, head, everything = seen
    for name, value in head.items():
        if not name.startswith("head."):
            assert torch.equal(compiled_head[name], value), name  # frozen, its statistics too
        assert torch.allclose(compiled_head[name].float(), value.float(), atol=0.02), name
        assert torch.allclose(compiled_all[name].float(), everything[name].float(), atol=0.02), name
    assert not torch.equal(compiled_all["backbone.layers.0.weight"], compiled_head["backbone.layers.0.weight"])


class Tiny(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.drop, self.last = nn.Linear(3, width), nn.Dropout(0.5), nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.last(self.drop(torch.relu(self.first(x))))
        return found


def test_copies_pickles_and_scripts_are_of_the_network_itself() -> None:
    network, images = Tiny(4), torch.randn(5, 3)
    expected = network.eval()(images)
    compile_training(network)
    network.train()(images).sum().backward()
    assert num_graphs() == 1
    assert torch.equal(script(network.eval())(images), expected)
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network)), network):
        assert list(twin.state_dict()) == ["first.weight", "first.bias", "last.weight", "last.bias"]
        assert torch.equal(twin.eval()(images), expected)
    copy.deepcopy(network).train()(images)  # a copy is eager, in training too
    assert num_graphs() == 1


def test_a_later_network_of_a_process_is_compiled_too() -> None:
    """torch leaves code eager after so many graphs (eight); the jobs of a sweep share the code."""
    with torch._dynamo.config.patch(recompile_limit=2):
        for width in (2, 3, 4, 5):
            network = Tiny(width)
            compile_training(network)
            network(torch.randn(4, 3)).sum().backward()
    assert num_graphs() == 4


# A g++ that finds no header of Python, as on a system without python3-dev.
NO_HEADERS = """\
#!/bin/bash
for word in "$@"; do case "$word" in *include/python*) ;; *) kept+=("$word") ;; esac; done
exec {program} "${{kept[@]}}"
"""


@pytest.mark.parametrize(
    ("text", "status", "sentence"),
    [
        (None, 2, "found no working compiler (CXX, else g++; on a GPU also CC, else gcc); install one, or train"),
        (NO_HEADERS, 4, "failed (CppCompileError: fatal error: Python.h: No such file or directory); train"),
    ],
)
def test_missing_compiler_is_a_sentence(tmp_path: Path, text: str | None, status: int, sentence: str) -> None:
    """A process of its own whose compiler is missing, or compiles nothing."""
    small = ["data.num_train=64", "data.num_validation=64", "data.num_test=64", "trainer.num_threads=1"]
    program = tmp_path / "g++"
    if text is not None:
        program.write_text(text.format(program=shutil.which("g++")), encoding="utf-8")
        program.chmod(0o755)
    found = subprocess.run(
        [sys.executable, "-m", "evensight", "train", "experiment=shapes", "debug=fast", *small, COMPILED],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY / "src"),
            "CXX": str(program),
            "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == status, found.stderr
    said = found.stderr.strip().splitlines()[-1]
    assert said.startswith("evensight: trainer.compile: torch.compile")
    assert sentence in said
    assert said.endswith("trainer.compile=false.")
    assert "Traceback" not in found.stderr
    if status == 2:  # a mistake leaves no run behind
        assert not list((tmp_path / "runs").glob("*/*/config.yaml"))


def test_other_failures_are_left_alone() -> None:
    assert explained(ValueError("expected 3 channels")) is None
    assert explained(torch.OutOfMemoryError("2 GiB")) is None


def test_killed_process_resumes_to_the_bit_and_its_artifact_agrees(tmp_path: Path) -> None:
    """Kill -9 within the second epoch; the export compares the artifact with the network and refuses a difference."""
    (tmp_path / "killer.py").write_text(
        "import os, signal\n"
        "from lightning.pytorch import Callback\n"
        "class Kill(Callback):\n"
        "    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):\n"
        "        if trainer.current_epoch == 1 and batch_idx == 1:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n",
        encoding="utf-8",
    )
    arguments = ["experiment=shapes", "debug=fast", "test=false", "trainer.num_threads=1", COMPILED]
    arguments += ["trainer.checkpoint_every.steps=1", f"datasets_dir={tmp_path / 'datasets'}"]
    assert main(["train", *arguments, f"runs_dir={tmp_path / 'whole'}"]) == 0
    own = ["allow_targets=[killer]", "callbacks.kill={_target_: killer.Kill}", f"runs_dir={tmp_path / 'killed'}"]
    found = subprocess.run(
        [sys.executable, "-m", "evensight", "train", *arguments, *own],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY / "src")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == -signal.SIGKILL, found.stderr
    whole, killed = (Run.open(tmp_path / name / "shapes" / "latest") for name in ("whole", "killed"))
    assert main(["train", f"run={killed.folder}", "resume=true", "callbacks.kill=null"]) == 0
    one, other = (load_file(run.artifact / "weights.safetensors") for run in (whole, killed))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_compiled_on_a_gpu(tmp_path: Path) -> None:
    folders = [f"runs_dir={tmp_path / 'runs'}", f"datasets_dir={tmp_path / 'datasets'}"]
    assert main(["train", "experiment=shapes", "debug=fast", "trainer.deterministic=true", COMPILED, *folders]) == 0
    assert num_graphs() == 1
