"""A run that was ended anywhere and went on gives the weights and figures of one that was not, to the bit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import Kept, KilledError, Moment, assert_same, end, found_by, go_on, lines_without_times, states
from training_places import Workplace

from evensight.data.manifest import Manifest
from evensight.errors import UserError
from evensight.objective.objective import Objective
from evensight.run import Run
from evensight.training import train as room
from evensight.training.callbacks.best_checkpoint import BestCheckpoint
from evensight.training.callbacks.last_checkpoint import LastCheckpoint
from evensight.training.checkpoint import read_checkpoint, write_checkpoint

# Five batches an epoch. Everything that has a state or draws is in BASE: dropout, a norm, momentum, the average, a
# warm-up, label smoothing, and accumulation whose last window is shorter (2 + 2 + 1).
BASE = (
    *("data.batch_size=48", "trainer.max_epochs=3", "trainer.checkpoint_every.steps=1"),
    *("model.drop_rate=0.3", "ema.enabled=true", "method.label_smoothing=0.1", "schedule.warmup_fraction=0.3"),
    *("trainer.accumulate_grad_batches=2", "augment=dihedral", "data.eval_batch_size=64", "trainer.progress=false"),
)
PLAIN = (*BASE, "reliance.cues=[colour]", "trainer.accumulate_grad_batches=1", "trainer.max_epochs=2")
STOPPING = (
    *("callbacks=early_stopping", "callbacks.early_stopping.patience=2"),
    "callbacks.early_stopping.min_delta=10",  # no epoch is so much better
)
STEPS, VALIDATION, EPOCH = "on_train_batch_end", "on_validation_batch_end", "on_train_epoch_end"

CASES: dict[str, tuple[tuple[str, ...], list[Moment]]] = {
    "everything": (
        (*BASE, "reliance.every_n_epochs=2"),
        [Moment(STEPS, n) for n in (9, 2, 3, 5, 6, 15)] + [Moment(VALIDATION, n) for n in (1, 4, 7)],
    ),
    "checkpoints now and then": ((*BASE, "trainer.checkpoint_every.steps=4"), [Moment(STEPS, n) for n in (5, 9, 14)]),
    "validation within the epoch": (
        # After batches 2 and 4: the epoch ends with the figures of its second validation.
        (*PLAIN, "trainer.val_check_interval=2"),
        [Moment(STEPS, n) for n in (10, 3, 5, 7)] + [Moment(VALIDATION, n) for n in (1, 6)] + [Moment(EPOCH, 1)],
    ),
    "figures of a validation within the epoch": (
        # After batch 3 alone: what it measured is written at the end of the epoch.
        (*BASE, "trainer.accumulate_grad_batches=1", "trainer.max_epochs=2", "trainer.val_check_interval=3"),
        [Moment(STEPS, n) for n in (5, 10)],
    ),
    "validation within an optimizer step": (
        (*PLAIN, "trainer.val_check_interval=3", "trainer.accumulate_grad_batches=2", *STOPPING),
        [Moment(STEPS, n) for n in (8, 3, 4, 5)] + [Moment(VALIDATION, 2)],
    ),
    "validation every second epoch": (
        (*PLAIN, "trainer.check_val_every_n_epoch=2", "trainer.max_epochs=3"),
        [Moment(STEPS, n) for n in (4, 8, 12)] + [Moment(VALIDATION, 3)],
    ),
    "early stopping": (
        (*PLAIN, *STOPPING, "trainer.max_epochs=6"),
        [Moment(STEPS, n) for n in (15, 2, 8)] + [Moment(VALIDATION, 9), Moment(EPOCH, 2), Moment(EPOCH, 3)],
    ),
    "early stopping held up": (
        (*PLAIN, *STOPPING, "callbacks.early_stopping.patience=1", "trainer.max_epochs=6", "trainer.min_epochs=4"),
        [Moment(STEPS, n) for n in (8, 13, 18)] + [Moment(VALIDATION, 11)],
    ),
    "a number of steps": (
        # The last epoch ends within, after its second step of three.
        (*PLAIN, "trainer.max_epochs=-1", "trainer.max_steps=8", "trainer.accumulate_grad_batches=2"),
        [Moment(STEPS, n) for n in (6, 4, 5, 14)] + [Moment(VALIDATION, n) for n in (1, 5)] + [Moment(EPOCH, 1)],
    ),
    "part of the batches": ((*PLAIN, "trainer.limit_train_batches=3"), [Moment(STEPS, n) for n in (1, 3, 4, 6)]),
    "the same batches": (
        (*PLAIN, "trainer.overfit_batches=2", "trainer.max_epochs=3"),
        [Moment(STEPS, n) for n in (2, 3, 5)],
    ),
    "sgd that is clipped": (
        (*PLAIN, "optimizer=sgd", "trainer.gradient_clip_val=0.1", "trainer.reload_dataloaders_every_n_epochs=1"),
        [Moment(STEPS, n) for n in (4, 7)],
    ),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, data: tuple[Manifest, Objective]) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("whole"), *data)


@pytest.fixture(scope="module")
def whole(shared: Workplace) -> Kept:
    """Returns the run of some overrides that was not ended, fitted once."""
    kept: dict[tuple[str, ...], Run] = {}

    def fit(*overrides: str) -> Run:
        if overrides not in kept:
            kept[overrides] = shared.fit(*overrides).run
        return kept[overrides]

    return fit


QUICK = (
    *("everything", "validation within the epoch", "figures of a validation within the epoch"),
    *("validation within an optimizer step", "early stopping", "a number of steps"),
)


def drawn() -> list[Any]:
    """Every case at every moment, 2 s each: the first of some at once, two of each kind where slow tests are run."""
    found = []
    for case, (_, moments) in CASES.items():
        for number, one in enumerate(moments):
            of_its_kind = sum(before.hook == one.hook for before in moments[:number])
            at_once = case in QUICK and number == 0
            marks = [] if at_once else [pytest.mark.slow if of_its_kind < 2 else pytest.mark.nightly]
            found.append(pytest.param(case, one, id=f"{case}-{one}", marks=marks))
    return found


@pytest.mark.parametrize(("case", "moment"), drawn())
def test_a_fit_killed_anywhere_goes_on_to_the_bit(case: str, moment: Moment, place: Workplace, whole: Kept) -> None:
    overrides = CASES[case][0]
    ended = end(place, moment, *overrides)
    assert isinstance(ended.error, KilledError)
    go_on(place, ended)
    assert_same(whole(*overrides), ended.run)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("moment", [Moment(STEPS, 9), Moment(VALIDATION, 4)], ids=str)
def test_a_fit_killed_on_a_gpu_goes_on_to_the_bit(precision: str, moment: Moment, place: Workplace) -> None:
    overrides = (*BASE, "trainer=gpu", f"trainer.precision={precision}", "trainer.deterministic=true")
    ended = end(place, moment, *overrides)
    go_on(place, ended)
    assert_same(place.fit(*overrides).run, ended.run)


@pytest.mark.parametrize("workers", [(4, 0), *(pytest.param(one, marks=pytest.mark.slow) for one in ((0, 4), (1, 4)))])
def test_the_number_of_workers_may_change(workers: tuple[int, int], place: Workplace, whole: Kept) -> None:
    """The loader has drawn batches ahead when the fit is killed; they are not consumed."""
    before, after = workers
    ended = end(place, Moment(STEPS, 8), *PLAIN, f"data.num_workers={before}")
    assert found_by(ended.run) == {"epochs": 1, "batches": 2, "validation": False}
    go_on(place, ended, f"data.num_workers={after}")
    assert_same(whole(*PLAIN), ended.run)


@pytest.mark.slow
def test_a_fit_killed_again_and_again_comes_to_the_same(place: Workplace, whole: Kept) -> None:
    ended = end(place, Moment(STEPS, 2), *PLAIN)
    for _ in range(6):
        ended = end(place, Moment(STEPS, 2), run=ended.run, config=ended.config)
    go_on(place, ended)
    assert_same(whole(*PLAIN), ended.run)


@pytest.mark.parametrize("epoch", [1, 2])
def test_killed_between_best_and_last(epoch: int, place: Workplace, whole: Kept, monkeypatch: Any) -> None:
    """The epoch whose figures are in `metrics.jsonl` and whose weights are in `best.ckpt` is validated again."""
    calls = []

    def killed(self: LastCheckpoint, *_: Any) -> None:
        calls.append(1)
        if len(calls) == epoch:
            raise KilledError
        write(self, *_)

    write = LastCheckpoint.on_train_epoch_end
    with monkeypatch.context() as patch:
        patch.setattr(LastCheckpoint, "on_train_epoch_end", killed)
        ended = end(place, Moment(EPOCH, 99), *PLAIN)
    assert len(lines_without_times(ended.run)) == epoch
    assert found_by(ended.run) == {"epochs": epoch - 1, "batches": 5, "validation": True}
    go_on(place, ended)
    assert_same(whole(*PLAIN), ended.run)


def test_killed_while_best_is_written_for_the_first_time(place: Workplace, whole: Kept, monkeypatch: Any) -> None:
    """There is no checkpoint to go on from: the fit begins again, in the same folder."""

    def killed(*_: Any) -> None:
        raise KilledError

    every = tuple(one for one in PLAIN if "checkpoint_every" not in one)
    with monkeypatch.context() as patch:
        patch.setattr(LastCheckpoint, "on_train_epoch_end", killed)
        ended = end(place, Moment(EPOCH, 99), *every)
    assert [path.name for path in ended.run.checkpoints.iterdir()] == ["best.ckpt"]
    assert len(lines_without_times(ended.run)) == 1
    go_on(place, ended)
    assert_same(whole(*PLAIN), ended.run)


@pytest.mark.parametrize("case", ["everything", "a number of steps", "early stopping"])
def test_a_fit_that_is_complete_returns_at_once(case: str, shared: Workplace, whole: Kept, monkeypatch: Any) -> None:
    """As when the process is killed in the export."""
    run = whole(*CASES[case][0])
    before = {path.name: path.read_bytes() for path in (run.metrics_file, *run.checkpoints.iterdir())}
    config = dataclasses.replace(shared.config(*CASES[case][0]), resume=True, run=str(run.folder))

    def forbidden(*_: Any) -> None:
        raise AssertionError("a batch of a fit that is complete")

    monkeypatch.setattr(room.Classifier, "training_step", forbidden)
    monkeypatch.setattr(room.Classifier, "validation_step", forbidden)
    result = room.train(config, run, shared.manifest, shared.objective)
    assert {path.name: path.read_bytes() for path in (run.metrics_file, *run.checkpoints.iterdir())} == before
    best = read_checkpoint(run.checkpoints / "best.ckpt")
    assert (result.best_epoch, result.num_epochs) == (best["epoch"], len(lines_without_times(run)))
    assert result.metrics == json.loads(before["metrics.jsonl"].splitlines()[best["epoch"]])["metrics"]
    for name, value in result.network.state_dict().items():
        assert torch.equal(value, best["state_dict"][f"network.{name}"]), name


def test_a_checkpoint_counts_what_was_consumed_and_sums_what_was_seen(place: Workplace) -> None:
    """Four threads build ahead: the loader is beyond the third step."""
    ended = end(place, Moment("on_train_batch_start", 4), *PLAIN, "data.num_workers=4")
    saved = read_checkpoint(ended.run.checkpoints / "last.ckpt")
    assert saved["position"] == {"epochs": 0, "batches": 3, "validation": False}
    assert (saved["epoch"], saved["global_step"]) == (0, 3)
    assert saved["sums"]["train"].shape == (1, 4)
    assert saved["sums"]["train"][0, 1] == saved["sums"]["train"][0, 3] == 3 * 48  # images
    assert "combined_loader" not in saved["loops"]["fit_loop"]["state_dict"]


def test_no_checkpoint_in_the_middle_of_accumulation(place: Workplace) -> None:
    """Gradients that wait for others are in no checkpoint."""
    seen = []
    write = LastCheckpoint._save

    def noted(self: LastCheckpoint, trainer: Any) -> None:
        write(self, trainer)
        seen.append(tuple(read_checkpoint(self.path)["position"].values()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LastCheckpoint, "_save", noted)
        place.fit(*BASE, "reliance.cues=[colour]", "trainer.max_epochs=1")
    assert seen == [(0, 2, False), (0, 4, False), (0, 5, True), (1, 0, False)]


@pytest.mark.parametrize(("every", "expected"), [("minutes=1", 1), ("minutes=0.0000001", 5), ("steps=2", 3)])
def test_checkpoints_by_time_and_by_step(every: str, expected: int, place: Workplace, monkeypatch: Any) -> None:
    calls = []
    write = LastCheckpoint._save
    monkeypatch.setattr(LastCheckpoint, "_save", lambda self, trainer: (calls.append(1), write(self, trainer)))
    overrides = [one for one in PLAIN if "checkpoint_every" not in one]
    place.fit(*overrides, f"trainer.checkpoint_every.{every}", "trainer.max_epochs=1", "trainer.limit_val_batches=0")
    assert len(calls) == expected


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(place: Workplace, whole: Kept) -> None:
    every = tuple(one for one in PLAIN if "checkpoint_every" not in one)
    ended = end(place, Moment(STEPS, 3), *every)
    assert not ended.run.checkpoints.exists()
    ended.run.metrics_file.write_text('{"epoch": 0, "step": 5, "met', encoding="utf-8")  # torn by the same kill
    go_on(place, ended)
    assert_same(whole(*PLAIN), ended.run)


def test_a_torn_line_is_repaired_before_anything_is_added(place: Workplace, whole: Kept) -> None:
    ended = end(place, Moment(STEPS, 8), *PLAIN)
    content = ended.run.metrics_file.read_bytes()
    ended.run.metrics_file.write_bytes(content + content[:100] + "é".encode()[:1])  # cut within a character
    go_on(place, ended)
    assert_same(whole(*PLAIN), ended.run)


def other_shapes(checkpoint: dict[str, Any]) -> None:
    checkpoint["state_dict"]["network.head.weight"] = torch.zeros(8, 7)


def other_settings(checkpoint: dict[str, Any]) -> None:
    checkpoint["hyper_parameters"]["optimizer"]["lr"] = 0.5


def no_average(checkpoint: dict[str, Any]) -> None:
    del checkpoint["current_model_state"]


def no_position(checkpoint: dict[str, Any]) -> None:
    del checkpoint["position"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (other_shapes, r"last.ckpt is of another model: head.weight is \[8, 7\] in it and \[8, 16\] in this run's"),
        (other_settings, r"last.ckpt is of another configuration: optimizer.lr is 0.5 in it and 0.006 here"),
        (no_average, r"last.ckpt is of another configuration: ema.enabled is False in it and True here"),
        (no_position, r"last.ckpt is none of evensight's: it has no 'position'"),
    ],
)
def test_a_checkpoint_of_something_else_is_one_sentence(
    change: Any, sentence: str, shared: Workplace, whole: Kept, tmp_path: Path
) -> None:
    run = Run(tmp_path)
    checkpoint = read_checkpoint(whole(*PLAIN).checkpoints / "last.ckpt")
    change(checkpoint)
    write_checkpoint(checkpoint, run.checkpoints / "last.ckpt")
    with pytest.raises(UserError, match=sentence):
        room.train(dataclasses.replace(shared.config(*PLAIN), resume=True), run, shared.manifest, shared.objective)


def test_resuming_does_not_depend_on_lightnings_counters(place: Workplace, whole: Kept) -> None:
    """They are at rest in every checkpoint: nothing is begun that is not done."""
    ended = end(place, Moment(STEPS, 8), *PLAIN)
    loop = read_checkpoint(ended.run.checkpoints / "last.ckpt")["loops"]["fit_loop"]
    assert loop["epoch_progress"]["current"] == {"ready": 2, "started": 2, "processed": 1, "completed": 1}
    assert loop["epoch_loop.batch_progress"]["current"] == {"ready": 2, "started": 2, "processed": 2, "completed": 2}
    assert loop["epoch_loop.batch_progress"]["total"]["completed"] == 7
    loop = read_checkpoint(whole(*PLAIN).checkpoints / "last.ckpt")["loops"]["fit_loop"]
    assert loop["epoch_progress"]["current"] == {"ready": 2, "started": 2, "processed": 2, "completed": 2}
    assert not any(loop["epoch_loop.batch_progress"]["current"].values())


def test_best_without_validation_is_the_last_also_when_resumed(place: Workplace, whole: Kept) -> None:
    overrides = (*PLAIN, "trainer.limit_val_batches=0")
    ended = end(place, Moment(STEPS, 7), *overrides)
    assert go_on(place, ended).best_epoch == 1
    assert_same(whole(*overrides), ended.run)
    assert BestCheckpoint(Path("best.ckpt")).state_dict() == {"key": None, "epoch": None, "validated": False}


def test_two_runs_that_differ_are_told_apart(place: Workplace, whole: Kept) -> None:
    """Otherwise the comparison above would say nothing."""
    other = place.fit(*PLAIN, "seed=2").run
    with pytest.raises(AssertionError):
        assert_same(whole(*PLAIN), other)
    last = whole(*PLAIN).checkpoints / "last.ckpt"
    names = states(last)
    for part in (".state_dict.network", ".current_model_state", ".averaging_state", ".optimizer_states.0.state.0"):
        assert any(name.startswith(part) for name in names), part
