"""`focus=auto`: bounds are reached, no strength that failed comes back, and what it knows survives a checkpoint."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evensight.errors import UserError
from evensight.objective.objective import Objective
from evensight.training.focus.controller import (
    MOST_MOVES,
    Controller,
    Move,
    Reading,
    bounds_on_reliance,
    meets,
    readings_of,
)

BOUND = 0.05
# Of an epoch and the strength it was trained with.
Response = Callable[[int, float], Reading]
Accuracy = Callable[[int, float], float | None]


def ran(respond: Response, accuracy: Accuracy, num_epochs: int | None, epochs: int) -> tuple[Controller, list[float]]:
    """Fits a model of numbers; returns the controller and the strength that each epoch was trained with."""
    controller, trained = Controller({"colour": BOUND}), []
    for epoch in range(epochs):
        strength = controller.strengths["colour"]
        trained.append(strength)
        controller.step(epoch, num_epochs, {"colour": respond(epoch, strength)}, accuracy(epoch, strength))
    return controller, trained


def exactly(value: float) -> Reading:
    return value, None, None


def needing(least: float) -> Response:
    """A network that relies on the cue unless it is randomized in more than this share of its images."""
    return lambda epoch, strength: exactly(0.0 if strength > least else 0.7)


def costing(epoch: int, strength: float) -> float:
    return 0.99 - 0.2 * strength


def free(epoch: int, strength: float) -> float:
    return 0.9 + 0.001 * epoch


def test_first_violation_raises_to_full_strength_at_once() -> None:
    controller, trained = ran(needing(0.4), free, 10, 10)
    assert trained == [0.0] + [1.0] * 9
    assert [(move.epoch, move.strength_before, move.strength) for move in controller.moves] == [(0, 0.0, 1.0)]
    assert controller.moves[0].reliance == 0.7
    assert "0.700" in controller.moves[0].why and "0.05" in controller.moves[0].why


def test_nothing_moves_while_the_bound_is_met() -> None:
    controller, trained = ran(lambda epoch, strength: exactly(0.01), costing, 10, 10)
    assert controller.moves == []
    assert trained == [0.0] * 10


def test_lowers_where_accuracy_was_lost_and_stops_at_what_meets() -> None:
    # .4 is the least that works: 1 and .5 meet, .25 and .375 fail.
    controller, trained = ran(needing(0.4), costing, 40, 40)
    assert [move.strength for move in controller.moves] == [1.0, 0.5, 0.25, 0.5, 0.375, 0.5]
    assert trained[-14:] == [0.5] * 14


def test_lowers_nothing_in_the_last_third() -> None:
    controller, _ = ran(needing(0.0), costing, 12, 12)
    assert [move.epoch for move in controller.moves if move.strength < move.strength_before]
    assert all(move.epoch + 1 <= 12 - 4 for move in controller.moves if move.strength < move.strength_before)


def test_late_failure_of_a_lowered_strength_goes_to_one() -> None:
    def respond(epoch: int, strength: float) -> Reading:
        return exactly(0.7 if strength == 0 or (strength < 1 and epoch >= 21) else 0.0)

    controller, trained = ran(respond, costing, 30, 30)
    assert trained[20] < 1
    assert trained[-1] == 1.0
    assert controller.moves[-1].epoch == 21


def test_time_to_forget_after_a_move_up() -> None:
    # The cue is forgotten two epochs after the strength has gone up again to what had met before.
    def respond(epoch: int, strength: float) -> Reading:
        low = {0.0: 0.7, 0.25: 0.7}.get(strength, 0.0)
        return exactly(0.3 if epoch in (6, 7) else low)

    controller, _ = ran(respond, costing, 60, 60)
    strengths = [move.strength for move in controller.moves[:4]]
    assert strengths == [1.0, 0.5, 0.25, 0.5]
    assert controller.moves[3].epoch == 5
    assert controller.moves[4].strength < 0.5  # and not 1: .5 was given its time


def test_no_lowering_without_end_without_accuracy_or_without_loss() -> None:
    for accuracy, num_epochs in ((costing, None), (lambda epoch, strength: None, 40), (free, 40)):
        _, trained = ran(needing(0.1), accuracy, num_epochs, 40)
        assert trained[1:] == [1.0] * 39


def test_upper_end_of_the_interval_decides() -> None:
    assert meets((0.04, 0.03, 0.05), 0.05)
    assert not meets((0.04, 0.03, 0.0501), 0.05)
    assert meets((0.04, None, None), 0.05)
    assert meets((0.04, float("nan"), float("nan")), 0.05)


def test_missing_measurements_move_nothing() -> None:
    controller = Controller({"colour": BOUND, "brightness": BOUND})
    before = controller.state_dict()
    assert controller.step(0, 10, {}, 0.5) == []
    assert controller.step(1, 10, {"colour": exactly(float("nan")), "texture": exactly(0.9)}, 0.5) == []
    assert controller.state_dict() == before


def test_last_epoch_moves_nothing_and_says_what_is_not_met(caplog: pytest.LogCaptureFixture) -> None:
    controller = Controller({"colour": BOUND})
    with caplog.at_level(logging.WARNING):
        assert controller.step(9, 10, {"colour": (0.4, 0.3, 0.5)}, 0.9) == []
    assert "reliance on colour at 0.400 (0.300 to 0.500)" in caplog.text
    assert "focus.by=[remove]" in caplog.text


def test_each_move_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Controller({"colour": BOUND}).step(0, 10, {"colour": (0.7, 0.68, 0.72)}, 0.9)
    assert "focus: colour 0 -> 1 after epoch 1: reliance 0.700 (0.680 to 0.720)" in caplog.text


def test_cues_are_raised_together_and_lowered_one_at_a_time() -> None:
    controller = Controller({"colour": BOUND, "brightness": BOUND})
    for epoch in range(60):
        readings = {cue: exactly(0.0 if strength > 0.2 else 0.6) for cue, strength in controller.strengths.items()}
        moves = controller.step(epoch, 60, readings, 0.99 - 0.1 * sum(controller.strengths.values()))
        assert sum(move.strength < move.strength_before for move in moves) <= 1
    assert [move.cue for move in controller.moves[:2]] == ["colour", "brightness"]
    assert controller.strengths == {"colour": 0.25, "brightness": 0.25}


@pytest.mark.parametrize("at", [0, 1, 5, 9, 13, 20])
def test_resumed_controller_goes_on_alike(at: int) -> None:
    whole, _ = ran(needing(0.4), costing, 40, 40)
    first, _ = ran(needing(0.4), costing, 40, at)
    saved = json.loads(json.dumps(first.state_dict()))  # plain values all through
    second = Controller({"colour": BOUND})
    second.load_state_dict(saved)
    for epoch in range(at, 40):
        strength = second.strengths["colour"]
        second.step(epoch, 40, {"colour": needing(0.4)(epoch, strength)}, costing(epoch, strength))
    assert second.moves == whole.moves
    assert second.state_dict() == whole.state_dict()


def test_state_of_other_cues_is_refused() -> None:
    with pytest.raises(UserError, match="steers colour, and the objective bounds reliance on texture"):
        Controller({"texture": 0.1}).load_state_dict(Controller({"colour": 0.1}).state_dict())


READINGS = st.one_of(
    st.builds(lambda x: (x, None, None), st.floats(-1, 1)),
    st.builds(lambda x, w: (x, x - w, x + w), st.floats(-1, 1), st.floats(0, 0.2)),
    st.just((float("nan"), None, None)),
)


def check_moves(moves: list[Move]) -> None:
    """No strength that failed is used again, nor a lower one; so no A, B, A, B, and few moves."""
    failed = -1.0
    for earlier, move in zip([None, *moves], moves, strict=False):
        assert earlier is None or move.strength_before == earlier.strength
        assert move.strength != move.strength_before
        assert 0 <= move.strength <= 1
        if move.strength > move.strength_before:
            failed = max(failed, move.strength_before)
        assert move.strength > failed
    steps = [(move.strength_before, move.strength) for move in moves]
    assert len(set(steps)) == len(steps)
    assert len(moves) <= MOST_MOVES


@given(
    st.lists(st.tuples(READINGS, st.one_of(st.none(), st.floats(0, 1), st.just(math.nan))), max_size=80),
    st.one_of(st.none(), st.integers(1, 80)),
)
def test_whatever_it_reads_it_moves_little_and_never_back(
    epochs: list[tuple[Reading, float | None]], num_epochs: int | None
) -> None:
    controller = Controller({"colour": BOUND})
    for epoch, (reading, accuracy) in enumerate(epochs):
        controller.step(epoch, num_epochs, {"colour": reading}, accuracy)
    check_moves(controller.moves)


@given(st.data(), st.integers(10, 120))
def test_an_adversary_that_sees_the_strength_cannot_make_it_oscillate(data: st.DataObject, num_epochs: int) -> None:
    # Any rule of (strength, times asked): thresholds that flip, non-monotone networks, luck.
    answers: dict[float, list[bool]] = {}
    controller = Controller({"colour": BOUND})
    for epoch in range(num_epochs):
        strength = controller.strengths["colour"]
        met = data.draw(st.booleans()) if strength not in answers or data.draw(st.integers(0, 9)) == 0 else None
        rule = answers.setdefault(strength, [bool(met)])
        rule[0] = rule[0] if met is None else met
        controller.step(epoch, num_epochs, {"colour": exactly(0.0 if rule[0] else 0.7)}, 0.9 - 0.3 * strength)
    check_moves(controller.moves)


@given(st.floats(0, 0.99), st.floats(0, 0.3), st.integers(6, 60), st.integers(0, 2))
def test_a_monotone_network_ends_with_its_bound_met(least: float, cost: float, num_epochs: int, memory: int) -> None:
    """Whose reliance follows the strength up to two epochs late."""
    seen: list[float] = []

    def respond(epoch: int, strength: float) -> Reading:
        seen.append(strength)
        # It relies on the cue where one of its last epochs allowed it to.
        return exactly(0.7 if min(seen[-1 - memory :]) <= least else 0.0)

    controller, trained = ran(respond, lambda epoch, strength: 0.95 - cost * strength, num_epochs, num_epochs)
    check_moves(controller.moves)
    assert trained[-1] > least


@given(st.floats(0.0, 0.9), st.randoms(use_true_random=False))
def test_noisy_reliance_ends_at_a_strength_that_is_enough(least: float, random: object) -> None:
    def respond(epoch: int, strength: float) -> Reading:
        estimate = (0.4 if strength <= least else 0.01) + random.gauss(0, 0.02)  # type: ignore[attr-defined]
        return estimate, estimate - 0.02, estimate + 0.02

    controller, trained = ran(respond, costing, 30, 30)
    check_moves(controller.moves)
    assert trained[-1] > least


def test_readings_come_from_the_figures_of_the_epoch() -> None:
    figures: Mapping[str, float] = {
        "val/reliance/colour": 0.3,
        "val/reliance/colour/hue": 0.2,
        "val/reliance/colour/low": 0.25,
        "val/reliance/colour/high": 0.35,
        "val/reliance/texture": 0.1,
    }
    found = readings_of(figures, ["colour", "texture", "border"])
    assert found == {"colour": (0.3, 0.25, 0.35), "texture": (0.1, None, None)}


def objective(*requirements: dict[str, object]) -> Objective:
    return Objective.from_config(
        {"name": "mine", "purpose": "p", "classes": ["x", "y"], "requirements": list(requirements)}
    )


def test_bounds_come_from_the_objective() -> None:
    found = bounds_on_reliance(
        objective(
            {"metric": "accuracy", "bound": 0.9},
            {"metric": "reliance", "cue": "colour", "bound": 0.1, "stages": ["validation"]},
            {"metric": "reliance", "cue": "colour", "bound": 0.05, "stages": ["test"]},
            {"metric": "reliance", "cue": "texture", "bound": None},
        )
    )
    assert found == {"colour": 0.05}


def test_auto_without_a_bound_says_what_to_state() -> None:
    with pytest.raises(UserError, match=r"objective 'mine' has none; state one in objective.requirements, such as \{"):
        bounds_on_reliance(objective({"metric": "reliance", "cue": "texture", "bound": None}))
