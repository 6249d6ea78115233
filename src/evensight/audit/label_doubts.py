"""Of which classes, groups and annotators the labels in doubt are, and how the report shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import stats

from evensight.audit.chapter import Bars, Exhibit, Figure, Gallery, HeatMap, Picture, Table
from evensight.audit.data import AuditData, Ints
from evensight.audit.suspects import Suspects
from evensight.errors import one_line
from evensight.metrics.intervals import clopper_pearson

_MOST_SHOWN, _MOST_NAMES = 24, 40


@dataclass(frozen=True)
class Judged:
    """The images that were judged: their rows in the manifest `[M]`, and what came out."""

    rows: Ints
    suspects: Suspects

    @property
    def issues(self) -> Ints:
        """Positions in `rows` of the labels in doubt, the most suspect first."""
        order = self.suspects.order
        return order[self.suspects.is_issue[order]]


@dataclass(frozen=True)
class Doubted:
    """Labels in doubt of one class, group or annotator, and of all others."""

    what: str  # "label", an attribute, "annotator", or "annotator x <attribute>"
    level: str
    x: int
    n: int
    all_x: int
    all_n: int
    p: float  # one-sided, Fisher's exact test


def doubted(data: AuditData, judged: Judged) -> list[Doubted]:
    """Counts the labels in doubt of each class, group, annotator, and annotator in each group."""
    found = []
    for what, levels, at, values in _groupings(data, judged):
        issue = judged.suspects.is_issue[at]
        known = (values >= 0) & judged.suspects.judged[at]
        n = np.bincount(values[known], minlength=len(levels))
        x = np.bincount(values[known & issue], minlength=len(levels))
        p = stats.hypergeom.sf(x - 1, n.sum(), x.sum(), n)
        found += [
            Doubted(what, levels[i], int(x[i]), int(n[i]), int(x.sum()), int(n.sum()), float(p[i]))
            for i in np.flatnonzero(n).tolist()
        ]
    return found


def _groupings(data: AuditData, judged: Judged) -> Iterator[tuple[str, list[str], Ints, Ints]]:
    """Yields a name, its levels, and for each label a position in `judged.rows` and its level."""
    every = np.arange(len(judged.rows))
    yield "label", list(data.classes), every, judged.suspects.given
    for name, levels in data.levels.items():
        yield name, list(levels), every, data.attributes[name][judged.rows]
    if data.annotations is None or data.annotations.height == 0:
        return
    # Who gave the label that stands is answerable for it.
    place = pl.DataFrame({"row": judged.rows, "at": every, "given": judged.suspects.given})
    names = pl.DataFrame({"label": list(data.classes), "given": np.arange(len(data.classes))})
    theirs = data.annotations.join(place, on="row").join(names, on=["label", "given"]).sort("at", "annotator")
    people = theirs["annotator"].unique().sort().to_list()
    who = theirs["annotator"].replace_strict(people, range(len(people)), return_dtype=pl.Int64).to_numpy()
    at = theirs["at"].to_numpy()
    yield "annotator", [str(person) for person in people], at, who
    for name, levels in data.levels.items():
        level = data.attributes[name][judged.rows[at]]
        both = [f"{person} x {name}={one}" for person in people for one in levels]
        yield f"annotator x {name}", both, at, np.where(level >= 0, who * len(levels) + level, -1)


def exhibit(data: AuditData, judged: Judged, position: int) -> Exhibit:
    """Returns the image at a position of `judged.rows`, its label and the likelier one."""
    found = judged.suspects
    given, better = data.classes[found.given[position]], data.classes[found.suggested[position]]
    row = int(judged.rows[position])
    said = f"{given} → {better}" if given != better else given
    return Exhibit([Picture(row)], one_line(said), f"quality {found.quality[position]:.2f}, {data.splits[row]}")


def gallery(data: AuditData, judged: Judged) -> Gallery:
    """Returns the least believed labels."""
    shown = judged.suspects.order[:_MOST_SHOWN]
    return Gallery(
        "The least believed labels",
        [exhibit(data, judged, int(i)) for i in shown if judged.suspects.quality[i] < 1],
        "Given → suggested, the most suspect first. All are in audit/review/.",
    )


def confusion(data: AuditData, judged: Judged) -> HeatMap:
    """Given x suggested, of the labels in doubt; classes without any are left out."""
    num, issues = len(data.classes), judged.issues
    pairs = judged.suspects.given[issues] * num + judged.suspects.suggested[issues]
    counts = np.bincount(pairs, minlength=num * num).reshape(num, num)
    weight = counts.sum(axis=1) + counts.sum(axis=0)
    shown = np.sort(np.argsort(-weight, kind="stable")[: min(_MOST_NAMES, int((weight > 0).sum()))])
    part, names = counts[np.ix_(shown, shown)], [data.classes[i] for i in shown]
    most = max(int(part.max(initial=0)), 1)
    return HeatMap(
        "Labels in doubt: given (rows) and suggested (columns)",
        names,
        names,
        [[float(value / most) if value else None for value in line] for line in part.tolist()],
        [[str(value) if value else "" for value in line] for line in part.tolist()],
    )


def bars(data: AuditData, judged: Judged) -> Iterator[Bars]:
    """Yields the share in doubt by class, by each attribute and by annotator, the largest first."""
    by_name: dict[str, list[Doubted]] = {}
    for one in doubted(data, judged):
        by_name.setdefault(one.what, []).append(one)
    for what, ones in by_name.items():
        if " x " in what:
            continue
        shown = sorted(ones, key=lambda one: -one.x / one.n)[:_MOST_NAMES]
        low, high = clopper_pearson([one.x for one in shown], [one.n for one in shown], data.alpha / 2)
        figures = [
            Figure(one.level, one.x / one.n, float(low[i]), float(high[i]), one.n) for i, one in enumerate(shown)
        ]
        title = "Share of labels in doubt by " + {"label": "class"}.get(what, what)
        yield Bars(title, figures, ones[0].all_x / max(ones[0].all_n, 1), "all")


def tables(data: AuditData, judged: Judged) -> Iterator[Table]:
    """Yields what each annotator did in each group, the least likely to be chance first."""
    ones = [one for one in doubted(data, judged) if " x " in one.what and one.x]
    if ones:
        worst = sorted(ones, key=lambda one: one.p)[:_MOST_NAMES]
        rows: list[list[str | int | float | None]] = [
            [
                one.level,
                one.x,
                one.n,
                round(one.x / one.n, 4),
                round((one.all_x - one.x) / max(one.all_n - one.n, 1), 4),
            ]
            for one in worst
        ]
        yield Table("By annotator and group", ["who, and where", "in doubt", "labels", "share", "of the rest"], rows)
