"""SIGTERM and SIGINT in a fit: the step is finished, `last.ckpt` written, and the run goes on to the bit."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest
from interruptions import Kept, Moment, assert_same, end, found_by, go_on
from training_places import Workplace

from evensight.data.manifest import Manifest
from evensight.interruption import Interrupted
from evensight.objective.objective import Objective
from evensight.run import Run
from evensight.training.checkpoint import read_checkpoint

# Five batches an epoch, and no checkpoint within one but what a signal asks for.
SETTINGS = (
    *(
        "data.batch_size=48",
        "trainer.max_epochs=2",
        "model.drop_rate=0.3",
        "ema.enabled=true",
        "reliance.cues=[colour]",
    ),
    *("trainer.accumulate_grad_batches=2", "data.eval_batch_size=64", "trainer.progress=false"),
)
STEPS, VALIDATION = "on_train_batch_end", "on_validation_batch_end"


def at(epochs: int, batches: int, validation: bool) -> dict[str, Any]:
    return {"epochs": epochs, "batches": batches, "validation": validation}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: tuple[Manifest, Objective]) -> Kept:
    place = Workplace(tmp_path_factory.mktemp("whole"), *data)
    kept: dict[tuple[str, ...], Run] = {}

    def fit(*overrides: str) -> Run:
        if overrides not in kept:
            kept[overrides] = place.fit(*overrides).run
        return kept[overrides]

    return fit


@pytest.mark.parametrize(
    ("moment", "overrides", "position"),
    [
        # In the first batch of a window of two: its gradients are not lost, the window is finished.
        (Moment(STEPS, 1), (), at(0, 2, False)),
        pytest.param(Moment(STEPS, 9), (), at(1, 4, False), marks=pytest.mark.slow),
        # Validation of an epoch: broken off after its first batch, with the average and the weights in their places.
        pytest.param(Moment(STEPS, 5), (), at(0, 5, True), marks=pytest.mark.slow),
        (Moment(VALIDATION, 2), (), at(0, 5, True)),
        # Of the last epoch: nothing is known yet of its figures.
        pytest.param(Moment(VALIDATION, 5), (), at(1, 5, True), marks=pytest.mark.slow),
        # Within a window: finished first, and the window too.
        (Moment(VALIDATION, 1), ("trainer.val_check_interval=3",), at(0, 4, False)),
        # With the last of the steps: finished, since Lightning would not go on with it.
        (Moment(VALIDATION, 5), ("trainer.max_steps=6", "trainer.max_epochs=-1"), at(2, 0, False)),
        pytest.param(Moment(STEPS, 5), ("trainer.limit_val_batches=0",), at(1, 0, False), marks=pytest.mark.slow),
        pytest.param(Moment("on_train_epoch_end", 1), (), at(1, 0, False), marks=pytest.mark.slow),
        (Moment("on_train_end", 1), (), at(2, 0, False)),
    ],
)
def test_the_step_is_finished_and_the_run_goes_on_to_the_bit(
    moment: Moment, overrides: tuple[str, ...], position: dict[str, Any], place: Workplace, whole: Kept
) -> None:
    before = [signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)]
    ended = end(place, moment, *SETTINGS, *overrides, signum=signal.SIGTERM)
    assert isinstance(ended.error, Interrupted)
    assert (ended.error.signum, ended.error.status) == (signal.SIGTERM, 143)
    assert ended.error.hint == f"go on with: evensight train run={ended.run.folder} resume=true"
    assert found_by(ended.run) == position
    assert [signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)] == before
    go_on(place, ended)
    assert_same(whole(*SETTINGS, *overrides), ended.run)


def test_an_interrupt_from_the_keyboard_is_the_same(place: Workplace) -> None:
    ended = end(place, Moment(STEPS, 3), *SETTINGS, signum=signal.SIGINT)
    assert isinstance(ended.error, Interrupted)
    assert ended.error.status == 130
    assert found_by(ended.run) == at(0, 4, False)


def test_a_signal_before_the_first_step_ends_the_fit_there(place: Workplace, whole: Kept) -> None:
    ended = end(place, Moment("on_train_start", 1), *SETTINGS, signum=signal.SIGTERM)
    assert isinstance(ended.error, Interrupted)
    assert not ended.run.checkpoints.exists()
    go_on(place, ended)
    assert_same(whole(*SETTINGS), ended.run)


def test_a_signal_in_the_sanity_check_writes_nothing(place: Workplace) -> None:
    ended = end(place, Moment(VALIDATION, 1), *SETTINGS, "trainer.num_sanity_val_steps=2", signum=signal.SIGTERM)
    assert isinstance(ended.error, Interrupted)
    assert not ended.run.checkpoints.exists()


def test_without_checkpoints_a_signal_ends_the_fit_at_once(place: Workplace) -> None:
    ended = end(place, Moment(STEPS, 1), *SETTINGS, "trainer.enable_checkpointing=false", signum=signal.SIGTERM)
    assert isinstance(ended.error, Interrupted)
    assert ended.error.hint is None


def test_the_weights_of_a_step_are_saved_and_not_the_average(place: Workplace) -> None:
    """Within validation the network holds the average: in the checkpoint both are under their own names."""
    within = end(place, Moment(VALIDATION, 1), *SETTINGS, signum=signal.SIGTERM)
    before = end(place, Moment(STEPS, 5), *SETTINGS, "trainer.checkpoint_every.steps=1", signum=signal.SIGTERM)
    one, other = (read_checkpoint(ended.run.checkpoints / "last.ckpt") for ended in (within, before))
    for key in ("state_dict", "current_model_state"):
        assert all((one[key][name] == value).all() for name, value in other[key].items())
    weight = "network.head.weight"
    assert (one["state_dict"][weight] != one["current_model_state"][weight]).any()


def test_a_fit_in_a_thread_is_left_alone(place: Workplace) -> None:
    """Python allows no handlers there."""
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(place.fit(*SETTINGS, "trainer.max_epochs=1")))
    thread.start()
    thread.join()
    assert done[0].result.num_epochs == 1
