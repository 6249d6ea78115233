"""Figures of what a network does with each cue, from counts: pure functions, no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evensight.metrics.intervals import clopper_pearson
from evensight.metrics.paired import tango_interval
from evensight.names import focus_setting
from evensight.training.record import Record

# Above this a cue is said to win where the objective states no bound on it: the level of the design's alarms.
USUAL_LEVEL = 0.10

Paired = tuple[int, int, int]  # images that the transplant alone moved, that the placebo alone moved, all


@dataclass(frozen=True)
class CueCounts:
    """What was counted of one cue in one epoch.

    Attributes:
        moved: Operator to its counts over all images.
        parts: Operator to part ("class=circle", "colour=red") to its counts.
        decided: Of the images whose cue says another class than the label: those decided as the cue says, those
            decided right, and all.
        without: Images decided right where the cue is removed, and all; None where it cannot be removed.
    """

    moved: Mapping[str, Paired]
    parts: Mapping[str, Mapping[str, Paired]]
    decided: Paired | None = None
    without: tuple[int, int] | None = None

    @property
    def largest(self) -> str | None:
        """The operator of the largest reliance, which counts; None without images."""
        rates = {name: (first - second) / n for name, (first, second, n) in self.moved.items() if n}
        return max(rates, key=rates.__getitem__) if rates else None


def reliance_figures(cue: str, counts: Mapping[str, Paired], confidence: float, prefix: str = "val") -> Record:
    """Returns reliance by each operator, and the largest, which counts; intervals are two-sided (Tango's score).

    Args:
        cue: Name of the cue.
        counts: Operator to images that it alone moved to the donor's class, that the placebo alone moved, and all.
        confidence: Of the intervals.
        prefix: First part of every name.
    """
    record = Record()
    _add_reliance(record, f"{prefix}/reliance/{cue}", counts, confidence)
    largest = CueCounts(counts, {}).largest
    if largest is not None:
        name = f"{prefix}/reliance/{cue}/{largest}"
        record.add(f"{prefix}/reliance/{cue}", record.metrics[name], record.intervals[name])
    return record


def cue_figures(cue: str, counts: CueCounts, confidence: float, prefix: str = "val") -> Record:
    """Returns all figures of a cue, each with its interval and its images.

    They are `<prefix>/reliance/<cue>` and by operator; by class and group, `<prefix>/reliance/<cue>/class=<class>` and
    `.../<attribute>=<level>`, by the operator that counts; `<prefix>/decided_by/<cue>` and
    `<prefix>/accuracy_against/<cue>`, the shares of the images whose cue contradicts the label that are decided as the
    cue says, and right; `<prefix>/accuracy_without/<cue>`, where the cue is removed.
    """
    record, tail = reliance_figures(cue, counts.moved, confidence, prefix), (1 - confidence) / 2
    if counts.largest is not None:
        _add_reliance(record, f"{prefix}/reliance/{cue}", counts.parts.get(counts.largest, {}), confidence)
    if counts.decided is not None:
        followed, right, n = counts.decided
        _add_rate(record, f"{prefix}/decided_by/{cue}", followed, n, tail)
        _add_rate(record, f"{prefix}/accuracy_against/{cue}", right, n, tail)
    if counts.without is not None:
        _add_rate(record, f"{prefix}/accuracy_without/{cue}", *counts.without, tail)
    return record


def wins(counts: CueCounts, level: float, tail: float) -> bool:
    """Says whether a cue wins over what the label is about.

    It does where reliance on it is above `level` beyond chance, and more of the images whose cue contradicts the label
    are decided as the cue says than are decided right. Where no image contradicts the label, nothing but reliance can
    tell, and it decides alone. A network that is right where the cue misleads has not lost to it, however far a
    transplant pulls: where the cue is part of what the classes are, a transplant changes the class.

    Args:
        counts: Of the cue in this epoch.
        level: Reliance that is tolerated.
        tail: Chance of a false lower end of the interval, over all that is looked at.
    """
    if counts.largest is None:
        return False
    low, _ = tango_interval(*counts.moved[counts.largest], tail)
    followed, right, n = counts.decided or (0, 0, 0)
    return float(low) > level and (n == 0 or followed > right)


def sentence(cue: str, counts: CueCounts, record: Record, ignored: Sequence[str], prefix: str = "val") -> str:
    """Says that a cue wins, by its figures, and which setting acts on it.

    Args:
        cue: That wins.
        counts: Of the cue.
        record: Its figures, from `cue_figures`.
        ignored: The cues that focus turns off already.
        prefix: First part of every name.
    """
    name = f"{prefix}/reliance/{cue}"
    low, high, n = record.intervals[name]
    text = (
        f"{cue} decides: that of another image pulls {record.metrics[name]:.3f} ({low:.3f} to {high:.3f}, n {n:,}) of "
        "the decisions to that image's class"
    )
    if counts.decided is not None:
        followed, right, against = counts.decided
        if against:
            text += (
                f", and of {against:,} images whose {cue} contradicts the label {followed / against:.3f} go with the "
                f"{cue} and {right / against:.3f} are right"
            )
        else:
            text += f"; no validation image's {cue} contradicts its label, so accuracy cannot show it"
    return f"{text}; {setting(cue, ignored)}"


def setting(cue: str, ignored: Sequence[str]) -> str:
    """Says which setting acts on a cue: the one that turns it off, or what turns it off harder."""
    if cue in ignored:
        return "it is ignored already: raise focus.strength, or combine ways of focus.by"
    return f"to turn it off: {focus_setting(cue) or f'focus.ignore=[{cue}]'}"


def _add_reliance(record: Record, prefix: str, counts: Mapping[str, Paired], confidence: float) -> None:
    known = {name: paired for name, paired in counts.items() if paired[2]}
    if not known:
        return
    first, second, n = zip(*known.values(), strict=True)
    low, high = tango_interval(first, second, n, (1 - confidence) / 2)
    for i, name in enumerate(known):
        record.add(f"{prefix}/{name}", (first[i] - second[i]) / n[i], (float(low[i]), float(high[i]), n[i]))


def _add_rate(record: Record, name: str, x: int, n: int, tail: float) -> None:
    if n:
        low, high = clopper_pearson(x, n, tail)
        record.add(name, x / n, (float(low), float(high), n))
