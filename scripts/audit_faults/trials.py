"""The trials: which fault is put into data sets drawn from which pool, and what a chapter must say to have found it."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import drawing
import numpy as np
import polars as pl
import pools
from numpy.typing import NDArray
from pools import Pool

from evensight import names
from evensight.audit.chapter import AuditFinding, Chapter
from evensight.audit.data import AuditData
from evensight.objective.objective import Objective

Ints = NDArray[np.int64]
STRENGTHS = (0.25, 0.5, 0.75, 0.9, 1.0)
TRAIN, VALIDATION, TEST = 640, 80, 64
BACKGROUNDS = ("background", "surround")
Draw = Callable[[np.random.Generator], AuditData]


@dataclass(frozen=True)
class Trial:
    """One line of the table.

    Attributes:
        chapter: Module of `evensight.audit` whose chapter is run.
        fault: What is put in; for clean draws what is looked for in vain.
        data: Where the images come from.
        strength: Of the fault, shown.
        clean: Whether there is no fault, so that every alarm is false.
        draws: Data sets.
        draw: Makes one.
        found: Whether the chapter says it.
    """

    chapter: str
    fault: str
    data: str
    strength: float | str
    clean: bool
    draws: int
    draw: Draw
    found: Callable[[Chapter], bool]


@dataclass(frozen=True)
class Pools:
    """The pools under one folder, each made when it is first asked for."""

    folder: Path

    def __call__(self, name: str) -> Pool:
        return _pool(self.folder, name)


MAKERS: dict[str, Callable[[], pools.Images]] = {
    "shapes": lambda: pools.shapes("even"),
    "grey shapes": lambda: pools.shapes("vivid", grey=True),
    "coloured digits": pools.coloured_digits,
    "digits": pools.digits,
    "composite": pools.composite,
    "photographs": pools.photographs,
    "marked shapes": lambda: pools.marked("shapes"),
    "marked digits": lambda: pools.marked("digits"),
    "marked photographs": lambda: pools.marked("photographs"),
}


@functools.cache
def _pool(folder: Path, name: str) -> Pool:
    return pools.pool(name.replace(" ", "_"), folder, MAKERS[name])


def trials(pool: Pools, clean: int, faulty: int) -> Iterator[Trial]:
    """Lists the trials whose chapters and cues are there.

    Args:
        pool: The pools.
        clean: Data sets without a fault, of each kind.
        faulty: Data sets with a fault, of each kind and strength.
    """
    makers = (shortcut_trials, association_trials, balance_trials, annotator_trials)
    for trial in (trial for maker in makers for trial in maker(pool, clean, faulty)):
        if importlib.util.find_spec(f"evensight.audit.{trial.chapter}") is not None:
            yield trial


def objective(
    classes: Sequence[str], levels: dict[str, tuple[str, ...]] | None = None, cues: Sequence[str] = ()
) -> Objective:
    """Returns an objective that bounds the reliance on these cues, those that there are."""
    requirements: list[dict[str, Any]] = [{"metric": "accuracy", "bound": 0.9}]
    bounded = [cue for cue in cues if cue not in names.DESCRIBED_ONLY]
    requirements += [{"metric": "reliance", "cue": cue, "bound": 0.05} for cue in bounded]
    attributes = {name: {"levels": list(of)} for name, of in (levels or {}).items()}
    return Objective.from_config(
        {
            "name": "faults",
            "purpose": "Find the faults that were put in.",
            "classes": list(classes),
            "attributes": attributes,
            "requirements": requirements,
        }
    )


def alarms(chapter: Chapter) -> list[AuditFinding]:
    """Returns the findings that are alarms."""
    return [finding for finding in chapter.findings if finding.severity == "alarm"]


def any_alarm(chapter: Chapter) -> bool:
    """Says whether there is an alarm."""
    return bool(alarms(chapter))


def alarm_on(*cues: str) -> Callable[[Chapter], bool]:
    """Says whether an alarm names one of the cues."""
    return lambda chapter: any(finding.evidence.get("cue") in cues for finding in alarms(chapter))


# Shortcuts


def shortcut_trials(pool: Pools, clean: int, faulty: int) -> Iterator[Trial]:
    """A cue tied to the class at several strengths, and data sets where none is."""
    for data, attribute, expected, named in (
        ("shapes", "colour", ("colour",), ("colour",)),
        ("coloured digits", "colour", ("colour",), ("colour",)),
        ("grey shapes", "colour", ("brightness",), ("brightness",)),
        ("composite", "place", BACKGROUNDS, BACKGROUNDS[:1]),
        ("marked shapes", "mark", ("border", *BACKGROUNDS), ()),
        ("marked digits", "mark", ("border", *BACKGROUNDS), ()),
        ("marked photographs", "mark", ("border", *BACKGROUNDS), ()),
    ):
        if not set(expected) & set(names.CUES):
            continue
        fault = f"{expected[0]} tied to the class" + ("" if named else ", not bounded by the objective")
        for strength in STRENGTHS:
            draw = tied_draw(pool, data, attribute, strength, named)
            yield Trial("shortcuts", fault, data, strength, False, faulty, draw, alarm_on(*expected))
    if "frame_size" in names.CUES:
        for strength in STRENGTHS:
            draw = by_property(pool, "width", strength)
            fault = "frame_size tied to the class, not bounded by the objective"
            yield Trial("shortcuts", fault, "photographs", strength, False, faulty, draw, alarm_on("frame_size"))
    every = tuple(names.CUES)
    # Strokes differ between digits in more than colour, so of coloured digits the objective bounds colour alone.
    for data, attribute, named in (
        ("shapes", "colour", every),
        ("composite", "place", every),
        ("coloured digits", "colour", ("colour",)),
    ):
        draw = tied_draw(pool, data, attribute, 0.0, named)
        yield Trial("shortcuts", "none", data, 0.0, True, clean, draw, any_alarm)
    yield Trial("shortcuts", "none", "digits", 0.0, True, clean, plain_digits(pool), any_alarm)
    yield Trial("shortcuts", "none, classes by chance", "photographs", 0.0, True, clean, by_chance(pool), any_alarm)


def tied_draw(pool: Pools, data: str, attribute: str, correlation: float, named: Sequence[str]) -> Draw:
    """Training and validation images whose level is tied to the class, test images whose level is not."""

    def draw(rng: np.random.Generator) -> AuditData:
        of = pool(data)
        scale = 0.5 if data.startswith("marked") else 1.0  # each image is there once, whatever its mark
        sizes = [int(num * scale) for num in (TRAIN, VALIDATION, TEST)]
        taken: set[int] = set()
        tied = [correlation, correlation, 0.0]
        rows = [drawing.tied(of, rng, attribute, c, num, taken) for c, num in zip(tied, sizes, strict=True)]
        stated = objective(of.classes, dict(of.levels), named)
        return drawing.audit_data(of, np.concatenate(rows), drawing.splits_of(*sizes), stated)

    return draw


def plain_digits(pool: Pools) -> Draw:
    """MNIST as it is: strokes differ between digits, which bounds no objective."""

    def draw(rng: np.random.Generator) -> AuditData:
        of = pool("digits")
        rows = rng.choice(len(of), TRAIN + VALIDATION + TEST, replace=False)
        return drawing.audit_data(of, rows, drawing.splits_of(TRAIN, VALIDATION, TEST), objective(of.classes))

    return draw


def by_chance(pool: Pools) -> Draw:
    """Photographs of BAR whose class is drawn: nothing in them can say it; the objective bounds every cue."""

    def draw(rng: np.random.Generator) -> AuditData:
        of = pool("photographs")
        rows = rng.choice(len(of), TRAIN + VALIDATION + TEST, replace=False)
        labels = rng.permutation(np.arange(len(rows)) % len(of.classes))
        stated = objective(of.classes, cues=tuple(names.CUES))
        return drawing.audit_data(of, rows, drawing.splits_of(TRAIN, VALIDATION, TEST), stated, labels=labels)

    return draw


def by_property(pool: Pools, column: str, strength: float) -> Draw:
    """Photographs of BAR whose class goes by a property's quantile with a chance, else by nothing."""

    def draw(rng: np.random.Generator) -> AuditData:
        of = pool("photographs")
        rows = rng.choice(len(of), TRAIN + VALIDATION + TEST, replace=False)
        values = of.scores.properties[column].gather(rows).cast(pl.Float64).fill_null(0.0).to_numpy()
        # Equal values are of one class: a tie that is broken at random would be no tie to the class.
        rank = np.searchsorted(np.sort(values), values)
        own = rank * len(of.classes) // len(rows)
        labels = np.where(rng.random(len(rows)) < strength, own, rng.integers(0, len(of.classes), len(rows)))
        splits = drawing.splits_of(TRAIN, VALIDATION, TEST)
        return drawing.audit_data(of, rows, splits, objective(of.classes), labels=labels.astype(np.int64))

    return draw


# Association


SITES = ("north", "south", "east", "west")


def association_trials(pool: Pools, clean: int, faulty: int) -> Iterator[Trial]:
    """An attribute tied to the class, and attributes that are not; classes of photographs drawn by chance."""
    for strength in (0.1, 0.25, 0.5, 0.9):
        draw = site_draw(pool, strength)
        yield Trial(
            "association", "site tied to the class", "photographs", strength, False, faulty, draw, notes("site")
        )
    for strength in (0.25, 0.5, 0.9):
        draw = by_property(pool, "file_bytes", strength)
        fault = "file size tied to the class"
        yield Trial(
            "association", fault, "photographs", strength, False, faulty, draw, notes("file_bytes", "file size")
        )
    yield Trial(
        "association", "none, classes by chance", "photographs", 0.0, True, clean, site_draw(pool, 0.0), anything
    )


def site_draw(pool: Pools, strength: float) -> Draw:
    """Photographs whose class is drawn, with a site tied to it and a camera that is not."""

    def draw(rng: np.random.Generator) -> AuditData:
        of = pool("photographs")
        num = TRAIN + VALIDATION + TEST
        rows = rng.choice(len(of), num, replace=False)
        labels = rng.permutation(np.arange(num) % len(of.classes))
        site = np.where(rng.random(num) < strength, labels % len(SITES), rng.integers(0, len(SITES), num))
        levels = {"site": SITES, "keeper": ("anna", "ben", "carl")}
        attributes = {"site": site.astype(np.int64), "keeper": rng.integers(0, 3, num)}
        stated, splits = objective(of.classes, levels), drawing.splits_of(TRAIN, VALIDATION, TEST)
        return drawing.audit_data(of, rows, splits, stated, labels, attributes, levels)

    return draw


def notes(*words: str) -> Callable[[Chapter], bool]:
    """Says whether any finding speaks of one of the words."""
    return lambda chapter: any(_speaks(finding, words) for finding in chapter.findings)


def anything(chapter: Chapter) -> bool:
    """Says whether there is any finding."""
    return bool(chapter.findings)


def says(*words: str) -> Callable[[Chapter], bool]:
    """Says whether an alarm or a warning speaks of one of the words."""
    return lambda chapter: any(_speaks(finding, words) for finding in chapter.findings if finding.severity != "note")


def _speaks(finding: AuditFinding, words: Sequence[str]) -> bool:
    return any(word in f"{finding.title} {finding.evidence}" for word in words)


def any_warning(chapter: Chapter) -> bool:
    """Says whether there is an alarm or a warning."""
    return any(finding.severity != "note" for finding in chapter.findings)


# Balance


def balance_trials(pool: Pools, clean: int, faulty: int) -> Iterator[Trial]:
    """A cell of class and colour that is empty, or much smaller than the others; and even cells."""
    for share in (0.0, 0.1, 0.25):
        fault = "an empty cell" if share == 0.0 else "an under-represented cell"
        draw = cell_draw(pool, share)
        yield Trial("balance", fault, "shapes", share, False, faulty, draw, says("star x cyan", "star", "cyan"))
    yield Trial("balance", "none, even cells", "shapes", 1.0, True, clean, cell_draw(pool, 1.0), any_warning)


def cell_draw(pool: Pools, share: float, each: int = 20) -> Draw:
    """Shapes with as many images in each cell of class and colour, but for one (star, cyan), which has a share."""

    def draw(rng: np.random.Generator) -> AuditData:
        of = pool("shapes")
        counts = rng.multinomial(each * 64, np.full(64, 1 / 64)).reshape(8, 8).clip(max=pools.OTHER - 6)
        counts[of.classes.index("star"), of.levels["colour"].index("cyan")] = round(share * each)
        label, colour = np.divmod(np.repeat(np.arange(64), counts.ravel()), 8)
        test_label, test_colour = np.divmod(np.repeat(np.arange(64), 4), 8)
        taken: set[int] = set()
        rows = [
            drawing.pick(of, rng, part, {"colour": level}, taken)
            for part, level in ((label, colour), (test_label, test_colour))
        ]
        splits = drawing.splits_of(len(label), 0, len(test_label))
        return drawing.audit_data(of, np.concatenate(rows), splits, objective(of.classes, dict(of.levels)))

    return draw


# Annotators


ANNOTATORS = ("ann1", "ann2", "ann3", "ann4", "ann5")


def annotator_trials(pool: Pools, clean: int, faulty: int) -> Iterator[Trial]:
    """One of five annotators makes more mistakes than the others: everywhere, between two classes, or of one group."""
    for fault, rates in (
        ("everywhere", (0.15, 0.3)),
        ("between two classes", (0.3, 0.6)),
        ("of one group", (0.3, 0.6)),
    ):
        for rate in rates:
            draw = annotated(pool, fault, rate)
            name = f"mistakes by one annotator {fault}"
            yield Trial("annotators", name, "photographs", rate, False, faulty, draw, says("ann3"))
    draw = annotated(pool, "nowhere", 0.0)
    yield Trial("annotators", "none, all alike", "photographs", 0.05, True, clean, draw, any_warning)


def annotated(pool: Pools, fault: str, rate: float, usual: float = 0.05, votes: int = 3) -> Draw:
    """Photographs with three labels each, of five annotators who err at `usual`; the third also as the fault says."""

    def draw(rng: np.random.Generator) -> AuditData:
        of = pool("photographs")
        num, num_classes = TRAIN + VALIDATION + TEST, len(of.classes)
        rows = rng.choice(len(of), num, replace=False)
        truth, site = of.labels[rows], rng.integers(0, len(SITES), num)
        who = np.argsort(rng.random((num, len(ANNOTATORS))), axis=1)[:, :votes]
        said = np.repeat(truth[:, None], votes, axis=1)
        wrong = rng.random(said.shape) < usual
        third = who == 2
        if fault == "everywhere":
            wrong |= third & (rng.random(said.shape) < rate)
        if fault == "of one group":
            wrong |= third & (site == 1)[:, None] & (rng.random(said.shape) < rate)
        said = np.where(wrong, (said + rng.integers(1, num_classes, said.shape)) % num_classes, said)
        if fault == "between two classes":
            swapped = third & (truth < 2)[:, None] & (rng.random(said.shape) < rate)
            said = np.where(swapped, 1 - truth[:, None], said)
        labels = _majority(said, num_classes)
        table = pl.DataFrame(
            {
                "row": np.repeat(np.arange(num), votes),
                "annotator": np.asarray(ANNOTATORS)[who.ravel()],
                "label": np.asarray(of.classes)[said.ravel()],
            }
        )
        levels, splits = {"site": SITES}, drawing.splits_of(TRAIN, VALIDATION, TEST)
        stated = objective(of.classes, levels)
        return drawing.audit_data(
            of, rows, splits, stated, labels, {"site": site}, levels, annotations=table.sort("row", "annotator")
        )

    return draw


def _majority(said: Ints, num_classes: int) -> Ints:
    votes = np.zeros((len(said), num_classes), np.int64)
    for column in said.T:
        votes[np.arange(len(said)), column] += 1
    return votes.argmax(axis=1)
