"""What a cue's evidence means for the objective: alarm, warning or note.

Natural leakage is normal in photographs (the hue histogram alone names 68 % of BAR's actions, 8 border pixels a third
of CIFAR-10), so being predictable raises no alarm by itself. A cue is an alarm where it endangers the objective:

- the objective says that the model must not use it (a bound on its reliance, on its conflicting images or its gap) and
  it explains at least .15 of what the largest class leaves open;
- it does not carry over: from the training split to a declared shifted split, or from the other sources to one, it
  loses at least a third of what it explained;
- it explains at least half, and nothing says that it is what the classes are.

Each needs the permutation test over all cues at `audit.alarm_level` first, and bounds at that level over the number of
cues. A cue that only mirrors a stronger one is named with it and raises no alarm of its own: it is a warning, since
taking the stronger one away leaves it (a grey image still tells vivid colours apart by their luma).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evensight import names
from evensight.audit.chapter import Severity
from evensight.audit.cue_evidence import CueEvidence, Elsewhere, Fit, goes_with
from evensight.audit.data import AuditData
from evensight.config import AuditConfig

# What the lower bound of the explained share must reach.
# The first is above what data without any shortcut gives for a cue that says something of the form besides.
NAMED, SUSPECT, WORTH_A_LOOK = 0.15, 0.50, 0.20
LOST = 1 / 3  # of what was explained, where a cue is carried elsewhere
LEAST_DROP = 0.05
# Form is what classes usually are; texture often is (fur, bark), and is judged where it is carried.
NEVER, CARRIED_ONLY = ("shape",), ("texture",)


@dataclass(frozen=True)
class Judged:
    """A cue's evidence with what follows from it."""

    found: CueEvidence
    severity: Severity
    danger: float
    why: str  # fixed word: named, elsewhere, strong, worth_a_look, essential, mirrors, weak
    lost: Elsewhere | None = None


def judge_all(data: AuditData, fit: Fit, found: Sequence[CueEvidence], settings: AuditConfig) -> list[Judged]:
    """Returns every cue with its severity, the most dangerous first."""
    named = _named(data)
    ranked = sorted(found, key=lambda each: -each.least_strength)
    seen: list[CueEvidence] = []
    judged = []
    for each in ranked:
        tells = each.p <= settings.alarm_level and each.least_strength > 0 and each.cue not in named
        mirror = next((other.cue for other in seen if tells and goes_with(fit, other, each)), "")
        one = replace(each, goes_with=mirror)
        judged.append(judge(one, named, data.objective.essential_cues, settings.alarm_level))
        if each.p <= settings.alarm_level and each.cue not in NEVER and each.least_strength >= WORTH_A_LOOK:
            seen.append(each)
    order = {"alarm": 0, "warning": 1, "note": 2}
    return sorted(judged, key=lambda each: (order[each.severity], -each.danger, -each.found.strength))


def judge(found: CueEvidence, named: Sequence[str], essential: Sequence[str], level: float) -> Judged:
    """Says what one cue's evidence means for the objective.

    Args:
        found: Its evidence, bounds at the level over the number of cues.
        named: Cues that the objective says must not be used.
        essential: Cues that the objective says the classes are made of.
        level: Of the permutation test.
    """
    least = found.least_strength
    lost = _lost(found)
    if found.p > level or least <= 0.0:
        return Judged(found, "note", 0.0, "weak")
    if found.cue in essential or found.cue in NEVER:
        return Judged(found, "note", 0.0, "essential")
    if found.goes_with:
        severity: Severity = "warning" if least >= WORTH_A_LOOK else "note"
        return Judged(found, severity, 0.1 * least, "mirrors")
    if found.cue in named and least >= NAMED:
        return Judged(found, "alarm", 0.5 + 0.5 * least, "named", lost)
    if lost is not None and least >= NAMED:
        return Judged(found, "alarm", 0.4 + 0.5 * least, "elsewhere", lost)
    if least >= SUSPECT and found.cue not in CARRIED_ONLY:
        return Judged(found, "alarm", 0.2 + 0.6 * least, "strong")
    if least >= WORTH_A_LOOK:
        return Judged(found, "warning", 0.5 * least, "worth_a_look")
    return Judged(found, "note", 0.2 * least, "weak")


def _lost(found: CueEvidence) -> Elsewhere | None:
    """Returns the place to which the cue carries worst, where it loses too much beyond doubt."""
    lost = []
    for place in found.elsewhere:
        gain = place.here.estimate - found.majority
        drop, low, _ = place.drop
        if low >= LEAST_DROP and gain > 0 and drop >= LOST * gain:
            lost.append(place)
    return max(lost, key=lambda place: place.drop[0], default=None)


def _named(data: AuditData) -> tuple[str, ...]:
    """Cues that the objective bounds: by their reliance, or as an attribute on conflicting images or as a gap."""
    bounded = [each for each in data.objective.requirements if each.bound is not None]
    named = [each.cue for each in bounded if each.cue]
    named += [
        each.attribute for each in bounded if each.scope in ("conflicting", "gap") and each.attribute in names.CUES
    ]
    return tuple(dict.fromkeys(name for name in named if name))
