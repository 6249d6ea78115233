"""`focus=auto`: sets how strongly each cue is turned off from how far the network relies on it, epoch by epoch.

A state machine over numbers; no torch. What it reads is the reliance of each cue on validation images and the bound
that the objective puts on it; what it sets is the share of training images whose cue is randomized, from 0 to 1.

The rules, for each cue:

1. **Met** is a reliance whose interval lies at or under the bound up to its upper end (the estimate, where there is no
   interval). An epoch without a measurement moves nothing.
2. **Up.** Strength begins at 0. The first epoch that does not meet the bound raises it to 1 at once: a network learns a
   shortcut in its first epoch, a fit has about ten, and at one half the cue still goes with the class in half of the
   images. A lower strength that fails later goes up to the lowest strength that has met the bound, in the last third of
   the fit to 1. After a move up the network has `SETTLE` epochs to forget before a miss counts.
3. **Down**, to the middle between the highest strength that failed and the present one, only where all of this holds:
   the bound was met in `SETTLE` epochs in a row at this strength; there is something to gain, that is, accuracy is at
   least `LEAST_GAIN` lower than in the epoch before the strength was raised; the last third of the fit has not begun (a
   falling learning rate repairs nothing any more); that middle differs from what is known by at least `FINEST` / 2;
   no other cue was lowered that has not yet been met `SETTLE` times since.
4. **Never twice.** A strength that failed is never used again, nor a lower one. One that met the bound and fails later
   ends the search: the cue goes to 1 and stays. So the bracket [failed, met] halves with each move down, there are at
   most `MOST_MOVES` moves of a cue whatever the network does, and none goes A, B, A, B.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from evensight.errors import UserError
from evensight.objective.objective import Objective

log = logging.getLogger(__name__)

SETTLE = 2  # epochs that a strength is given to show what it does
LEAST_GAIN = 0.01  # of accuracy; less is the noise of a few thousand validation images
FINEST = 0.25  # a bracket narrower than this is not halved: shares of images nearer to each other train alike
# The first move up, at gaps of 1, 1/2 and 1/4 a move down and one up each, and the move that ends the search.
MOST_MOVES = 8

Reading = tuple[float, float | None, float | None]  # estimate, and the ends of its interval where there is one


@dataclass(frozen=True)
class Move:
    """A change of a cue's strength, after the epoch (from 0) whose reliance brought it about."""

    epoch: int
    cue: str
    strength_before: float
    strength: float
    reliance: float
    bound: float
    why: str  # a sentence, without the cue's name


@dataclass
class Steered:
    """What is known of one cue.

    Attributes:
        strength: The present one.
        failed: The highest strength that did not meet the bound; below 0 where none has failed.
        met: The lowest strength that met it; 1 until one has.
        epochs: Measured since the last move.
        held: Epochs in a row, up to now, that met the bound at this strength.
        raised: Whether the last move went up.
        before: Accuracy in the epoch before the first move up.
        ended: Whether the search is over.
    """

    strength: float = 0.0
    failed: float = -1.0
    met: float = 1.0
    epochs: int = 0
    held: int = 0
    raised: bool = False
    before: float | None = None
    ended: bool = False


class Controller:
    """Steers the strengths of several cues; see the rules above.

    Args:
        bounds: Cue to the largest reliance that the objective allows, as `bounds_on_reliance` gives them.

    Attributes:
        bounds: As given.
        moves: All moves so far.
    """

    def __init__(self, bounds: Mapping[str, float]) -> None:
        self.bounds = dict(bounds)
        self.moves: list[Move] = []
        self._cues = {cue: Steered() for cue in self.bounds}

    @property
    def strengths(self) -> dict[str, float]:
        """The strength of each cue, in the order of the bounds."""
        return {cue: state.strength for cue, state in self._cues.items()}

    def step(
        self, epoch: int, num_epochs: int | None, readings: Mapping[str, Reading], accuracy: float | None = None
    ) -> list[Move]:
        """Takes in what an epoch measured, changes strengths for the next one, and says so in the log.

        Args:
            epoch: That ended, from 0.
            num_epochs: Of the whole fit; None where it has no end: then nothing is ever lowered.
            readings: Cue to reliance and the ends of its interval; a cue that was not measured is absent or NaN.
            accuracy: Of the epoch, by the figure that turning a cue off may cost; None or NaN where not measured.

        Returns:
            The moves of this epoch; none after the last one.
        """
        known = {cue: reading for cue, reading in readings.items() if cue in self._cues and math.isfinite(reading[0])}
        left = None if num_epochs is None or num_epochs < 0 else num_epochs - epoch - 1
        if left is not None and left <= 0:
            self._say_at_the_end(known)
            return []
        late = left is None or num_epochs is None or left < math.ceil(num_epochs / 3)
        accuracy = accuracy if accuracy is not None and math.isfinite(accuracy) else None
        for cue, reading in known.items():
            self._take_in(cue, reading)
        moves = [self._up(epoch, cue, known[cue], accuracy, late and left is not None) for cue in known]
        found = [move for move in moves if move is not None]
        if not late and (move := self._down(epoch, known, accuracy)) is not None:
            found.append(move)
        for move in found:
            log.info("focus: %s", sentence(move))
        self.moves += found
        return found

    def state_dict(self) -> dict[str, Any]:
        """Returns all that it knows as plain values, for a checkpoint."""
        cues = {cue: dataclasses.asdict(state) for cue, state in self._cues.items()}
        return {"cues": cues, "moves": [dataclasses.asdict(move) for move in self.moves]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` gave.

        Raises:
            UserError: If that is of other cues.
        """
        if list(state["cues"]) != list(self._cues):
            raise UserError(
                f"focus: the checkpoint steers {', '.join(state['cues']) or 'no cue'}, and the objective bounds "
                f"reliance on {', '.join(self._cues)}; bring the run's own objective back, or start a new run."
            )
        self._cues = {cue: Steered(**known) for cue, known in state["cues"].items()}
        self.moves = [Move(**move) for move in state["moves"]]

    def _take_in(self, cue: str, reading: Reading) -> None:
        state = self._cues[cue]
        state.epochs += 1
        state.held = state.held + 1 if meets(reading, self.bounds[cue]) else 0
        if state.held >= SETTLE:
            state.met = min(state.met, state.strength)

    def _up(self, epoch: int, cue: str, reading: Reading, accuracy: float | None, last_third: bool) -> Move | None:
        state = self._cues[cue]
        forgetting = state.raised and state.epochs <= SETTLE and not last_third
        if state.held or state.strength >= 1 or forgetting:
            return None
        if state.before is None:
            state.before = accuracy
        # What once met the bound no longer does: no strength below 1 is to be trusted.
        state.ended = state.ended or state.strength >= state.met
        state.failed = state.strength
        higher = 1.0 if state.ended or last_third else state.met
        why = f"reliance {_words(reading)} is not at or under its bound {self.bounds[cue]:g}"
        if state.ended:
            why += f", although {state.strength:g} met it before; it stays at 1"
        return self._move(epoch, cue, higher, reading, why)

    def _down(self, epoch: int, readings: Mapping[str, Reading], accuracy: float | None) -> Move | None:
        trying = any(not s.raised and s.strength > 0 and s.held < SETTLE for s in self._cues.values())
        ready = [cue for cue in readings if self._to_gain(self._cues[cue], accuracy)]
        if trying or not ready:
            return None
        # The cue about which least is known.
        cue = max(ready, key=lambda name: self._cues[name].strength - self._cues[name].failed)
        state = self._cues[cue]
        why = (
            f"reliance {_words(readings[cue])} meets its bound {self.bounds[cue]:g} in {state.held} epochs, and "
            f"accuracy is {accuracy:.3f} where it was {state.before:.3f} before; less may do"
        )
        return self._move(epoch, cue, (state.strength + state.failed) / 2, readings[cue], why)

    def _to_gain(self, state: Steered, accuracy: float | None) -> bool:
        settled = state.raised or state.strength > 0  # at 0 there is nothing to lower
        if not settled or state.ended or state.held < SETTLE or state.strength - state.failed < FINEST:
            return False
        return accuracy is not None and state.before is not None and accuracy <= state.before - LEAST_GAIN

    def _move(self, epoch: int, cue: str, strength: float, reading: Reading, why: str) -> Move:
        state = self._cues[cue]
        move = Move(epoch, cue, state.strength, strength, reading[0], self.bounds[cue], why)
        state.raised, state.strength = strength > state.strength, strength
        state.epochs = state.held = 0
        return move

    def _say_at_the_end(self, readings: Mapping[str, Reading]) -> None:
        for cue, reading in readings.items():
            if not meets(reading, self.bounds[cue]):
                log.warning(
                    "focus: the fit ends with reliance on %s at %s, not at or under its bound %g, at strength %g; "
                    "focus.by=[remove] takes the cue out of every image, where it can be removed",
                    *(cue, _words(reading), self.bounds[cue], self._cues[cue].strength),
                )


def bounds_on_reliance(objective: Objective) -> dict[str, float]:
    """Returns what `focus=auto` steers by: cue to the lowest bound that a requirement puts on reliance on it.

    Raises:
        UserError: If there is none.
    """
    bounds: dict[str, float] = {}
    for requirement in objective.requirements:
        if requirement.cue and requirement.metric == "reliance" and requirement.bound_value is not None:
            bounds[requirement.cue] = min(requirement.bound_value, bounds.get(requirement.cue, math.inf))
    if not bounds:
        raise UserError(
            f"focus: auto steers by the objective's bounds on reliance, and objective {objective.name!r} has none; "
            "state one in objective.requirements, such as {metric: reliance, cue: colour, bound: 0.05}."
        )
    return bounds


def readings_of(measurements: Mapping[str, float], cues: Iterable[str]) -> dict[str, Reading]:
    """Returns the reliance of each cue that was measured, from an epoch's figures by name.

    Args:
        measurements: ``val/reliance/<cue>`` and, where known, ``.../low`` and ``.../high``, the ends of its interval.
        cues: Names.
    """
    found: dict[str, Reading] = {}
    for cue in cues:
        name = f"val/reliance/{cue}"
        if name in measurements:
            found[cue] = measurements[name], measurements.get(f"{name}/low"), measurements.get(f"{name}/high")
    return found


def meets(reading: Reading, bound: float) -> bool:
    """Returns whether a reliance lies at or under its bound: by the upper end of its interval, where it has one."""
    estimate, _, high = reading
    return (estimate if high is None or not math.isfinite(high) else high) <= bound


def sentence(move: Move) -> str:
    """Says what a move does and why."""
    return f"{move.cue} {move.strength_before:g} -> {move.strength:g} after epoch {move.epoch + 1}: {move.why}"


def _words(reading: Reading) -> str:
    estimate, low, high = reading
    return f"{estimate:.3f}" if low is None or high is None else f"{estimate:.3f} ({low:.3f} to {high:.3f})"
