"""No room for a checkpoint or a line of figures: what is there stands, training goes on or says how to."""

from __future__ import annotations

import logging
import math
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import assert_same, found_by, lines_without_times
from training_places import Workplace

from evensight.errors import RunError
from evensight.files import disk_full
from evensight.training.callbacks.best_checkpoint import BestCheckpoint
from evensight.training.callbacks.last_checkpoint import LastCheckpoint
from evensight.training.callbacks.metrics_file import MetricsFile
from evensight.training.checkpoint import NotFiniteError, read_checkpoint, write_checkpoint

SETTINGS = (
    "reliance.cues=[colour]",
    "trainer.checkpoint_every.steps=2",
    "trainer.progress=false",
)  # four steps an epoch


@contextmanager
def no_room() -> Iterator[None]:
    """Within the block no file of this process grows beyond a few bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def without_room(kind: type, name: str, when: Any, patch: pytest.MonkeyPatch) -> list[int]:
    """Lets calls of a method find no room; returns the list that counts all its calls."""
    calls: list[int] = []
    write = getattr(kind, name)

    def tried(self: Any, *arguments: Any) -> None:
        calls.append(len(calls))
        if when(calls[-1]):
            with no_room():
                write(self, *arguments)
        else:
            write(self, *arguments)

    patch.setattr(kind, name, tried)
    return calls


def test_training_goes_on_without_room_for_last(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The second of four, within the first epoch, and the last one: the third stands."""
    whole = place.fit(*SETTINGS).run
    calls = without_room(LastCheckpoint, "_save", lambda call: call in (1, 5), monkeypatch)
    with caplog.at_level(logging.WARNING):
        run = place.fit(*SETTINGS).run
    assert len(calls) == 6
    said = [line.getMessage() for line in caplog.records if "last.ckpt" in line.getMessage()]
    assert len(said) == 2
    assert all(
        line.startswith(f"last.ckpt in {run.checkpoints} could not be written: file too large; the old file stands")
        for line in said
    )
    assert found_by(run) == {"epochs": 1, "batches": 4, "validation": True}
    assert lines_without_times(run) == lines_without_times(whole)
    best = [read_checkpoint(one.checkpoints / "best.ckpt")["state_dict"] for one in (run, whole)]
    assert all(torch.equal(value, best[1][name]) for name, value in best[0].items())
    assert {path.name for path in run.checkpoints.iterdir()} == {"best.ckpt", "last.ckpt"}


def test_a_run_without_room_for_best_ends_and_names_it(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """How to go on is added where the run is known: see the tests of the whole command."""
    without_room(BestCheckpoint, "on_train_epoch_end", lambda call: True, monkeypatch)
    with pytest.raises(OSError, match=r"best\.ckpt") as caught:
        place.fit(*SETTINGS)
    assert disk_full(caught.value)


def test_a_line_that_found_no_room_is_written_with_the_next(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = place.fit(*SETTINGS, "trainer.max_epochs=3").run
    without_room(MetricsFile, "_write", lambda call: call == 0, monkeypatch)
    with caplog.at_level(logging.WARNING):
        run = place.fit(*SETTINGS, "trainer.max_epochs=3").run
    assert [line.getMessage() for line in caplog.records if "metrics.jsonl" in line.getMessage()] == [
        f"metrics.jsonl in {run.folder} could not be written: file too large; the old file stands; "
        "training goes on, and the line of the epoch will be written later"
    ]
    assert_same(whole, run)


def test_a_line_of_the_last_epoch_is_tried_again_at_the_end(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = place.fit(*SETTINGS).run
    without_room(MetricsFile, "_write", lambda call: call == 1, monkeypatch)
    fitted = place.fit(*SETTINGS)
    assert lines_without_times(fitted.run) == lines_without_times(whole)
    assert fitted.result.num_epochs == 2


def test_a_line_that_found_no_room_survives_in_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [{"epoch": epoch, "metrics": {}} for epoch in range(2)]
    first = MetricsFile(tmp_path / "metrics.jsonl")
    first._unwritten = list(lines)
    state = first.state_dict()
    with no_room():
        first._write()
    assert not first.path.exists() or first.path.read_bytes() == b""
    second = MetricsFile(first.path)
    second.load_state_dict(state)
    second._write()
    third = MetricsFile(first.path)  # from the same checkpoint, when the lines are there
    third.load_state_dict(state)
    third._write()
    assert first.path.read_text(encoding="utf-8").count("\n") == 2


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("key", "state", "named"),
    [
        ("state_dict", {"network.head.bias": None}, "state_dict.network.head.bias"),
        ("current_model_state", {"network.head.bias": None}, "current_model_state.network.head.bias"),
        ("optimizer_states", [{"state": {3: {"exp_avg": None}}}], "optimizer_states.0.state.3.exp_avg"),
    ],
)
def test_what_is_not_finite_is_never_written(key: str, state: Any, named: str, value: float, tmp_path: Path) -> None:
    def filled(part: Any) -> Any:
        if part is None:
            return torch.tensor([0.0, value])
        if isinstance(part, dict):
            return {name: filled(inner) for name, inner in part.items()}
        return [filled(inner) for inner in part]

    path = tmp_path / "last.ckpt"
    good = {"state_dict": {}, "epoch": 0, "phase": {}, "position": {}, "callbacks": {"best": torch.tensor(math.inf)}}
    write_checkpoint(good, path)
    before = path.read_bytes()
    with pytest.raises(NotFiniteError, match=rf"last.ckpt in .* is not written: {named} is not finite"):
        write_checkpoint({**good, key: filled(state)}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_without_the_guard_no_checkpoint_holds_what_is_not_finite(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A learning rate that overflows at once: `last.ckpt` is never written, and the run ends before `best.ckpt` is."""
    overrides = ("optimizer=sgd", "optimizer.lr=1e30", "finite_guard.enabled=false", "schedule=constant")
    with caplog.at_level(logging.WARNING), pytest.raises(RunError, match="not finite"):
        place.fit(*SETTINGS, *overrides, "schedule.warmup_fraction=0")
    assert any("is not finite" in line.getMessage() for line in caplog.records)
    (run,) = (place.folder / "runs" / "shapes").glob("2*")
    assert not (run / "checkpoints" / "best.ckpt").exists()
    for path in run.glob("checkpoints/*.ckpt"):
        assert all(value.isfinite().all() for value in read_checkpoint(path)["state_dict"].values())
