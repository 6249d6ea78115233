"""Does the objective need a cue that is about to be turned off? A few seconds of training say so before the fit.

Where the label *is* the colour, a network that must not see colour learns whatever goes with the label instead, and a
validation set in which that holds as well shows nothing of it (shapes at correlation .95: .95 overall, .01 on
conflicting images). So two small networks are trained, one on the images as they are and one with the cues randomized,
and compared on **conflicting validation images**: those whose attribute is not the usual one of their class, of every
attribute that has a usual table; where none has, those that contradict what the cue itself says of the label.

A cue is **refused** where accuracy on such images falls by more than `LARGE`, with confidence: the lower bound of the
fall (Tango's score interval of the same images under both networks, at the objective's alpha over the number of
comparisons) lies above it. That must hold a second time for a network that may train `LONGER` times as long without the
cue: turning a cue off makes learning slower, and slow is not lost. So for the two networks at hand a cue whose fall is
at most .10 is refused with a chance of at most alpha (.05); that two trainings differ by themselves is what the .10 is
for. A cue that is learnt in minutes and not in seconds is not seen to be needed: "harmless" says that a trial of
seconds found no such loss.

Where no validation image contradicts the cue (correlation 1), **nothing can tell** two labels apart that always go
together: the trial says so, and the user's word counts (`objective.essential_cues`). A cue that is refused may be such
a one (on BAR, where each action has its place in training and validation alike): the sentence says that as well.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from evensight.config import Config
from evensight.cues import Cue
from evensight.data.manifest import Manifest
from evensight.errors import UserError
from evensight.objective.objective import Objective
from evensight.threads import single_threaded_pool
from evensight.training.focus.trial_cells import Bools, Comparison, TrialImages, share
from evensight.training.focus.trial_fit import LARGEST_SIDE

log = logging.getLogger(__name__)

LONGER = 3
LARGE = 0.10  # a fall of accuracy that two trainings of the same kind do not differ by

REFUSED, HARMLESS, CANNOT_TELL = "refused", "harmless", "cannot_tell"


@dataclass(frozen=True)
class Trial:
    """What a trial found.

    Attributes:
        verdict: ``refused``, ``harmless`` or ``cannot_tell``.
        sentence: What it says to the user.
        cues: That were turned off.
        needed: Those of them that are refused.
        untold: Those that no validation image contradicts.
        comparisons: On conflicting images.
        num_train: Training images.
        num_validation: Validation images.
        accuracy_without_focus: On all of these.
        accuracy_with_focus: On all of these.
    """

    verdict: str
    sentence: str
    cues: tuple[str, ...]
    needed: tuple[str, ...]
    untold: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    num_train: int
    num_validation: int
    accuracy_without_focus: float
    accuracy_with_focus: float

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)


def trial(
    manifest: Manifest, objective: Objective, cues: Sequence[Cue], config: Config, seed: int, size: int | None = None
) -> Trial:
    """Trains with and without the cues and says what turning them off costs; see above.

    Two trainings of 100 steps of 64 images at 64 x 64 pixels or less; two more for each cue where a loss is found. The
    same seed gives the same trial.

    Args:
        manifest: Training and validation images.
        objective: Resolved: its confidence, and the cues that it says are essential.
        cues: That are turned off, in the order in which they are randomized; what they need is known of the images.
        config: How images are read and cropped; `focus.strength`, unless a controller sets that.
        seed: Of the sample, the weights, the order and the noise.
        size: Side of the network's input; None takes `model.size`.
    """
    side = min(size or config.model.size or LARGEST_SIDE, LARGEST_SIDE)
    strength = 1.0 if config.focus.auto else config.focus.strength
    images = TrialImages.prepared(manifest, cues, config, side, seed)
    # Side by side, each on a thread of its own: steps this small gain little from a second one.
    with single_threaded_pool(min(2, torch.get_num_threads()), "trial") as pool:
        before, after = pool.map(lambda ignored: images.judged(ignored, strength), ((), cues))
    alpha = 1 - objective.confidence
    found = images.compared(before, after, alpha)
    needed: list[str] = []
    if _lost(found):
        after = images.judged(cues, strength, LONGER)
        found = images.compared(before, after, alpha)
        if _lost(found):
            needed = _needed(images, cues, strength, before, alpha)
    result = Trial(
        verdict=HARMLESS,
        sentence="",
        cues=tuple(cue.name for cue in cues),
        needed=tuple(needed),
        untold=tuple(cue.name for cue in cues if not images.contradicted(cue)),
        comparisons=tuple(found),
        num_train=len(images.train.labels),
        num_validation=len(before),
        accuracy_without_focus=share(before),
        accuracy_with_focus=share(after),
    )
    return _concluded(result, objective.essential_cues)


def enforce(found: Trial, force: bool) -> None:
    """Ends the command where a trial refuses, and says in the log what else it found.

    Args:
        found: The trial.
        force: `focus.force`: the user wants to train all the same, and is told what it costs.

    Raises:
        UserError: Refused, and not forced.
    """
    if found.verdict == REFUSED and not force:
        raise UserError(
            f"focus: {found.sentence}; leave {_listed(found.needed)} to the model, or train all the same with "
            "focus.force=true."
        )
    level = logging.INFO if found.verdict == HARMLESS else logging.WARNING
    log.log(level, "focus: %s%s", found.sentence, "; focus.force=true" if found.verdict == REFUSED else "")


def refuse_essential(objective: Objective, cues: Sequence[str], force: bool) -> None:
    """Ends the command where a cue that the objective calls essential is turned off and no trial is wanted.

    Raises:
        UserError: It is, and `focus.force` does not say to train all the same.
    """
    stated = [cue for cue in cues if cue in objective.essential_cues]
    if stated and not force:
        raise UserError(
            f"focus: the objective says that its classes are made of {_listed(stated)} (essential_cues); leave "
            f"{_listed(stated)} to the model, or train all the same with focus.force=true; focus.trial=true would show "
            "what it costs."
        )


def _needed(images: TrialImages, cues: Sequence[Cue], strength: float, before: Bools, alpha: float) -> list[str]:
    """The cues whose loss is there when they are turned off alone; all of them where it takes them together."""
    if len(cues) == 1:
        return [cues[0].name]
    level = alpha / len(cues)
    alone = [cue.name for cue in cues if _lost(images.compared(before, images.judged([cue], strength, LONGER), level))]
    return alone or [cue.name for cue in cues]


def _lost(found: Sequence[Comparison]) -> bool:
    return any(each.low > LARGE for each in found)


def _concluded(result: Trial, essential: Sequence[str]) -> Trial:
    """Fills in the verdict and its sentence."""
    stated = tuple(cue for cue in result.cues if cue in essential)
    if stated:
        words = f"the objective says that its classes are made of {_listed(stated)} (essential_cues); {_falls(result)}"
        return replace(result, verdict=REFUSED, needed=stated, sentence=words)
    if result.needed:
        words = f"the objective needs {_listed(result.needed)}: {_falls(result)}"
        both_ways = [cue for cue in result.needed if cue in result.untold]
        if both_ways:
            words += f"; unless these images too are misled by {_listed(both_ways)}, which none of them contradicts"
        return replace(result, verdict=REFUSED, sentence=words)
    if result.untold:
        words = (
            f"nothing in this data can tell whether the classes are made of {_listed(result.untold)}, which no "
            f"validation image contradicts: only you can; if they are, name it in objective.essential_cues"
        )
        return replace(result, verdict=CANNOT_TELL, sentence=words)
    return replace(result, sentence=f"a trial shows no loss from turning off {_listed(result.cues)}: {_falls(result)}")


def _falls(result: Trial) -> str:
    """Says the worst comparison in figures, or that of all images where nothing conflicts."""
    known = [each for each in result.comparisons if each.n]
    start = f"in a trial without {_listed(result.cues)}"
    if not known:
        return (
            f"{start}, accuracy on {result.num_validation:,} validation images goes from "
            f"{result.accuracy_without_focus:.3f} to {result.accuracy_with_focus:.3f}"
        )
    worst = max(known, key=lambda each: each.low)
    verb = "falls" if worst.low > 0 else "goes"
    return (
        f"{start}, accuracy on {worst.n:,} validation images that conflict ({worst.attribute}) {verb} from "
        f"{worst.without_focus:.3f} to {worst.with_focus:.3f} (a fall of {worst.without_focus - worst.with_focus:.3f}, "
        f"{worst.low:.3f} to {worst.high:.3f})"
    )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
