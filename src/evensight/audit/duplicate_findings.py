"""What is said of copies: leaks between splits, contradicting labels, what is there twice, what belongs together."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from evensight.audit.chapter import AuditFinding, Exhibit, Picture
from evensight.audit.copies import TEST, TRAIN, Copies, Mask
from evensight.audit.data import AuditData, Ints
from evensight.audit.moments import SECONDS, Shared, shared_moments, shared_subjects
from evensight.data.reading import SPLITS
from evensight.data.similar import Pairs
from evensight.errors import one_line
from evensight.metrics.intervals import clopper_pearson

_MOST_ROWS, _MOST_SHOWN = 1000, 8
_CONTRADICTED = 0.01  # share of training images whose label is contradicted by an equal image: an alarm


def leaks(data: AuditData, found: Copies, to: int, source: int) -> list[AuditFinding]:
    """Returns whether images of the split `to` have a copy in the split `source`, numbers of `SPLITS`."""
    rows = data.within(SPLITS[to])
    equal = rows & found.rows_with(found.has, source)
    near = rows & found.rows_with(found.near_has, source) & ~equal
    x, n = int((equal | near).sum()), int(rows.sum())
    if x == 0:
        return []
    low, high = (float(bound) for bound in clopper_pearson(x, n, data.alpha / 2))
    where, origin = ("training" if split == TRAIN else SPLITS[split] for split in (to, source))
    exhibits = [_exhibit(data, *pair) for pair in _shown(data, found, to, source)]
    affected = np.concatenate([np.flatnonzero(equal), np.flatnonzero(near)])
    alarm = (to, source) == (TEST, TRAIN)
    action = "Take the copies out of training, or draw the splits anew: a figure on copied images says how well they "
    action += "were remembered."
    return [
        AuditFinding(
            code="leakage" if alarm else f"{SPLITS[to]}_in_{SPLITS[source]}",
            severity="alarm" if alarm else "warning",
            danger=min(1.0, (0.4 if alarm else 0.2) + (5.0 if alarm else 2.0) * x / n),
            title=f"{x:,} of {n:,} {where} images ({x / n:.1%}) have an equal or nearly equal image in {origin}.",
            evidence={"x": x, "n": n, "estimate": x / n, "low": low, "high": high, "equal": int(equal.sum())},
            rows=affected[:_MOST_ROWS].tolist(),
            num_rows=x,
            action=action
            + (" The side table quarantine lists the training copies, and training leaves them out." if alarm else ""),
            exhibits=exhibits,
        )
    ]


def _shown(data: AuditData, found: Copies, one: int, other: int) -> list[tuple[int, int, str]]:
    """Returns the first pairs of rows between two splits, equal ones first: (row of `one`, row of `other`, words)."""
    pairs = [
        (_row_of(data, found, group, one), _row_of(data, found, group, other), "equal")
        for group in np.flatnonzero(found.has[:, one] & found.has[:, other])[:_MOST_SHOWN].tolist()
    ]
    for first, second, similarity in _by_similarity(found.near):
        for left, right in ((first, second), (second, first)):
            if len(pairs) < _MOST_SHOWN and found.has[left, one] and found.has[right, other]:
                words = f"nearly equal, correlation {similarity:.3f}"
                pairs.append((_row_of(data, found, left, one), _row_of(data, found, right, other), words))
        if len(pairs) >= _MOST_SHOWN:
            break
    return pairs


def _by_similarity(pairs: Pairs) -> Iterable[tuple[int, int, float]]:
    """Yields pairs of groups, the most alike last: those are the ones to look at."""
    for at in np.argsort(pairs.similarity, kind="stable").tolist():
        yield int(pairs.first[at]), int(pairs.second[at]), float(pairs.similarity[at])


def _row_of(data: AuditData, found: Copies, group: int, split: int | None = None) -> int:
    rows = np.flatnonzero(found.group == group)
    return int(rows[0] if split is None else rows[data.splits[rows] == SPLITS[split]][0])


def _exhibit(data: AuditData, one: int, other: int, words: str) -> Exhibit:
    return Exhibit([Picture(row, _caption(data, row)) for row in (one, other)], words, _names(data, one, other))


def _names(data: AuditData, *rows: int) -> str:
    return ", ".join(one_line(data.paths[row])[-50:] for row in rows)


def _caption(data: AuditData, row: int) -> str:
    label = int(data.labels[row])
    return f"{data.splits[row]}, {data.classes[label] if label >= 0 else 'label unknown'}"


class Labels:
    """Copies with different labels: of each group of equal images, the least and the greatest label that is known."""

    def __init__(self, data: AuditData, found: Copies) -> None:
        self._data, self._found = data, found
        known = (found.group >= 0) & (data.labels >= 0)
        num = len(found.first)
        self.least, self.most = np.full(num, len(data.classes), np.int64), np.full(num, -1, np.int64)
        np.minimum.at(self.least, found.group[known], data.labels[known])
        np.maximum.at(self.most, found.group[known], data.labels[known])
        self.contradicted = (self.most >= 0) & (self.least != self.most)  # [G]

    def findings(self) -> list[AuditFinding]:
        """Returns what is to be said of equal and of nearly equal images with different labels."""
        return [*self._equal(), *self._near()]

    def rows(self) -> Mask:
        """Returns the rows whose label an equal image contradicts `[N]`."""
        group = self._found.group
        if not len(self.contradicted):
            return group >= 0
        return np.asarray((group >= 0) & self.contradicted[np.maximum(group, 0)] & (self._data.labels >= 0))

    def _equal(self) -> list[AuditFinding]:
        data, rows = self._data, np.flatnonzero(self.rows())
        if not len(rows):
            return []
        train = data.within("train")
        share = float(train[rows].sum() / max(train.sum(), 1))
        groups = np.flatnonzero(self.contradicted)
        exhibits = []
        for group in groups[:_MOST_SHOWN].tolist():
            same = rows[self._found.group[rows] == group]
            other = same[data.labels[same] != data.labels[same[0]]][0]
            exhibits.append(_exhibit(data, int(same[0]), int(other), "equal pixels, two labels"))
        return [
            AuditFinding(
                code="same_image_other_label",
                severity="alarm" if share >= _CONTRADICTED else "warning",
                danger=min(1.0, 0.3 + 3 * share),
                title=f"{len(groups):,} pictures are there with two labels or more: {len(rows):,} images.",
                evidence={"pictures": len(groups), "x": len(rows), "share_of_training": share},
                rows=rows[:_MOST_ROWS].tolist(),
                num_rows=len(rows),
                action="Decide which label is right and keep one copy; until then the side table quarantine keeps them "
                "out of training.",
                exhibits=exhibits,
            )
        ]

    def _near(self) -> list[AuditFinding]:
        data, found, near = self._data, self._found, self._found.near
        known = (self.most[near.first] >= 0) & (self.most[near.second] >= 0)
        differ = known & (
            (self.least[near.first] != self.least[near.second]) | (self.most[near.first] != self.most[near.second])
        )
        if not differ.any():
            return []
        chosen = np.flatnonzero(differ)
        rows = np.unique(np.concatenate([found.first[near.first[chosen]], found.first[near.second[chosen]]]))
        exhibits = []
        for at in chosen[np.argsort(-near.similarity[chosen], kind="stable")][:_MOST_SHOWN].tolist():
            one, other = int(found.first[near.first[at]]), int(found.first[near.second[at]])
            exhibits.append(_exhibit(data, one, other, f"nearly equal, correlation {near.similarity[at]:.3f}"))
        return [
            AuditFinding(
                code="near_image_other_label",
                severity="warning",
                danger=min(1.0, 0.25 + len(rows) / max(len(data), 1)),
                title=f"{len(chosen):,} pairs of nearly equal images have different labels.",
                evidence={"pairs": len(chosen), "label_unknown": int((~known).sum()), "x": len(rows)},
                rows=rows[:_MOST_ROWS].tolist(),
                num_rows=len(rows),
                action="Look at each pair: one of the two labels is wrong, or the picture shows both.",
                exhibits=exhibits,
            )
        ]


def within_training(data: AuditData, found: Copies) -> list[AuditFinding]:
    """Returns whether pictures are in training more than once."""
    train = data.within("train")
    group = found.group[train]
    if not len(group):
        return []
    cluster = found.cluster[group]
    sizes = np.bincount(cluster)
    extra = int(len(cluster) - (sizes > 0).sum())
    if extra == 0:
        return []
    rows = np.flatnonzero(train)[sizes[cluster] > 1]
    several, largest = int((sizes > 1).sum()), int(sizes.max())
    return [
        AuditFinding(
            code="copies_in_training",
            severity="note",
            danger=min(1.0, 0.05 + extra / len(cluster)),
            title=f"{several:,} pictures are in training repeatedly: {extra:,} of {len(cluster):,} images are spare.",
            evidence={"clusters": several, "spare": extra, "n": len(cluster), "largest": largest},
            rows=rows[:_MOST_ROWS].tolist(),
            num_rows=len(rows),
            action="Keep one of each, or count them once: copies weigh what they show more than the rest.",
            exhibits=[_exhibit(data, *pair) for pair in _shown_within(found, cluster, sizes, np.flatnonzero(train))],
        )
    ]


def _shown_within(found: Copies, cluster: Ints, sizes: Ints, rows: Ints) -> list[tuple[int, int, str]]:
    pairs = []
    for number in np.argsort(-sizes, kind="stable")[:_MOST_SHOWN].tolist():
        if sizes[number] > 1:
            one, other = (int(row) for row in rows[cluster == number][:2])
            equal = found.group[one] == found.group[other]
            pairs.append((one, other, f"{'equal' if equal else 'nearly equal'}, {sizes[number]} images in all"))
    return pairs


def mirror_images(data: AuditData, found: Copies) -> list[AuditFinding]:
    """Returns whether images are mirror images of others."""
    pairs = found.mirrored
    if not len(pairs):
        return []
    leaked = data.within("test") & found.rows_with(found.mirrored_has, TRAIN)
    x, n = int(leaked.sum()), int(data.within("test").sum())
    order = np.argsort(-pairs.similarity, kind="stable")[:_MOST_SHOWN].tolist()
    rows = np.unique(np.concatenate([found.first[pairs.first], found.first[pairs.second]]))
    title = f"{len(pairs):,} pairs of images are each other's mirror image"
    return [
        AuditFinding(
            code="mirrored",
            severity="warning" if x else "note",
            danger=min(1.0, 0.1 + (x / n if n else 0)),
            title=f"{title}; {x:,} of {n:,} test images have theirs in training." if x else f"{title}.",
            evidence={"pairs": len(pairs), "x": x, "n": n},
            rows=rows[:_MOST_ROWS].tolist(),
            num_rows=len(rows),
            action="Where training flips images, a mirror image is a copy: keep both on one side of a split.",
            exhibits=[
                _exhibit(data, int(found.first[pairs.first[at]]), int(found.first[pairs.second[at]]), "mirrored")
                for at in order
            ],
        )
    ]


def held_together(data: AuditData) -> list[AuditFinding]:
    """Returns whether a subject, or what one camera took within seconds, lies in several splits."""
    findings = [_together(data, shared, "alarm") for shared in shared_subjects(data)]
    moments = shared_moments(data)
    return [*findings, *([_together(data, moments, "warning")] if len(moments.rows) else [])]


def _together(data: AuditData, shared: Shared, severity: str) -> AuditFinding:
    test = int((data.splits[shared.rows] == "test").sum())
    num, share = len(np.unique(shared.values)), test / max(int(data.within("test").sum()), 1)
    moment = shared.what == "moment"
    what = f"{num:,} bursts of one camera within {SECONDS} seconds" if moment else f"{num:,} values of {shared.what}"
    return AuditFinding(
        code="moment_in_several_splits" if moment else "subject_in_several_splits",
        severity="warning" if severity == "warning" else "alarm",
        danger=min(1.0, (0.2 if moment else 0.4) + share / 2),
        title=f"{what} lie in several splits: {len(shared.rows):,} images, {test:,} of them in test.",
        evidence={"what": shared.what, "values": num, "x": len(shared.rows), "test": test},
        rows=shared.rows[:_MOST_ROWS].tolist(),
        num_rows=len(shared.rows),
        action="Draw the splits so that what belongs together stays together: else the test set says how well known "
        "subjects and moments are recognised again.",
        exhibits=[
            Exhibit([Picture(int(row), _caption(data, int(row))) for row in rows], f"{shared.what} in several splits")
            for rows in _examples(data, shared)
        ],
    )


def _examples(data: AuditData, shared: Shared) -> Iterable[Ints]:
    for value in np.unique(shared.values)[: _MOST_SHOWN // 2]:
        rows = shared.rows[shared.values == value]
        _, first = np.unique(data.splits[rows], return_index=True)
        yield rows[np.sort(first)]
