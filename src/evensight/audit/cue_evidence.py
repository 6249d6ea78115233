"""What each cue alone says of the label: accuracy out of fold, by chance, by class, elsewhere, and of which images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evensight.audit import probes
from evensight.audit.data import UNKNOWN, AuditData, Ints
from evensight.metrics.intervals import clopper_pearson, mover_clopper_pearson

# A probe learns what there is to learn from this many training images; of more, a sample.
MOST_IMAGES = 50_000
# The permutation test needs fewer: what matters is far from chance.
MOST_PERMUTED = 2_000
PERMUTATIONS = 99  # the least p is .01, below every level a data set is judged at by default


@dataclass(frozen=True)
class Rate:
    """x of n with its bounds, each at the alpha it was made with."""

    x: int
    n: int
    low: float
    high: float

    @classmethod
    def of(cls, x: int, n: int, alpha: float) -> Rate:
        """Clopper-Pearson."""
        low, high = clopper_pearson(x, n, alpha)
        return cls(int(x), int(n), float(low), float(high))

    @property
    def estimate(self) -> float:
        """The share, 0 where there is nothing."""
        return self.x / self.n if self.n else 0.0


@dataclass(frozen=True)
class Elsewhere:
    """The probe on images that differ from those it learnt from.

    Attributes:
        place: ``test``, or ``source=flickr``.
        there: Its accuracy there.
        here: Its accuracy out of fold on the kind of images it learnt from.
        majority: Accuracy there of always naming the largest training class.
        drop: here - there, with its one-sided bounds.
    """

    place: str
    there: Rate
    here: Rate
    majority: float
    drop: tuple[float, float, float]


@dataclass(frozen=True)
class CueEvidence:
    """One cue's evidence.

    Attributes:
        cue: Its name.
        accuracy: Out of fold on the training images.
        majority: Share of the largest class among them.
        p: Of "the label is independent of the cue", by permutation, corrected for all cues (max-T).
        says: int64 `[N]`, the class the cue alone suggests of every measured image (out of fold in training), -1 else.
        margin: float32 `[N]`, how clearly: the score of that class less the next.
        by_class: Recall of each class by the cue alone.
        by_group: By attribute (or column of origins) and level, the accuracy there.
        elsewhere: Where it was transferred to.
        goes_with: The stronger cue that says the same of the images this one is right about; empty where none does.
    """

    cue: str
    accuracy: Rate
    majority: float
    p: float
    says: Ints
    margin: NDArray[np.float32]
    by_class: list[Rate]
    by_group: Mapping[str, Mapping[str, Rate]] = field(default_factory=dict)
    elsewhere: list[Elsewhere] = field(default_factory=list)
    goes_with: str = ""

    @property
    def strength(self) -> float:
        """Share of what the largest class leaves open that the cue explains: 0 chance, 1 all."""
        return explained(self.accuracy.estimate, self.majority)

    @property
    def least_strength(self) -> float:
        """The lower bound of `strength`."""
        return explained(self.accuracy.low, self.majority)


def explained(accuracy: float, majority: float) -> float:
    """Returns (accuracy - majority) / (1 - majority), at least 0."""
    return max(0.0, (accuracy - majority) / (1.0 - majority)) if majority < 1.0 else 0.0


@dataclass(frozen=True)
class Fit:
    """The training images that probes learn from, the same for every cue."""

    rows: Ints  # [n], positions in the data
    labels: Ints  # [n]
    folds: Ints  # [n]
    num_classes: int
    seed: int
    alpha: float  # of every bound
    permuted: Ints  # [m], positions within `rows` of the permutation test
    orders: Ints  # [P, m]


def prepared(data: AuditData, groups: Ints, seed: int, alpha: float) -> Fit | None:
    """Returns what all probes share, None where the training split has fewer than two classes of 10 images.

    Args:
        data: The data set.
        groups: int64 `[N]`: images of one number are never parted by a fold.
        seed: Of folds, samples and permutations.
        alpha: Of every bound.
    """
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(data.within("train") & (data.labels >= 0))
    if len(rows) > MOST_IMAGES:
        rows = np.sort(rng.choice(rows, MOST_IMAGES, replace=False))
    labels = data.labels[rows]
    num_classes = len(data.classes)
    if (np.bincount(labels, minlength=num_classes) >= 2 * probes.FOLDS).sum() < 2:
        return None
    folds = probes.folds_of(labels, groups[rows], probes.FOLDS, seed)
    permuted = np.arange(len(rows))
    if len(rows) > MOST_PERMUTED:
        permuted = np.sort(rng.choice(len(rows), MOST_PERMUTED, replace=False))
    orders = np.stack([rng.permutation(len(permuted)) for _ in range(PERMUTATIONS)])
    return Fit(rows, labels, folds, num_classes, seed, alpha, permuted, orders)


@dataclass(frozen=True)
class Raw:
    """One cue before its p-value is corrected for the others."""

    evidence: CueEvidence
    hits: int  # of the permutation test's images
    permuted: Ints  # [P]


def examine(data: AuditData, fit: Fit, cue: str, transfer: Sequence[str]) -> Raw:
    """Measures one cue.

    Args:
        data: The data set.
        fit: Of `prepared`.
        cue: A name in `data.scores.features`.
        transfer: Where else: splits, or attributes whose levels are left out in turn.
    """
    features = np.asarray(data.scores.features[cue])
    here = np.asarray(features[fit.rows], np.float32)
    design = probes.Design.of(here, fit.seed)
    columns = design(here)
    whole = probes.Folded(columns, fit.folds)
    scores = whole.scores(probes.one_hot(fit.labels, fit.num_classes))
    decided = scores.argmax(axis=1)
    right = decided == fit.labels
    says, margin = _everywhere(data, fit, features, probes.fit(here, fit.labels, fit.num_classes, fit.seed))
    says[fit.rows], margin[fit.rows] = decided, _margin(scores)
    counts = np.bincount(fit.labels, minlength=fit.num_classes)
    evidence = CueEvidence(
        cue=cue,
        accuracy=Rate.of(int(right.sum()), len(right), fit.alpha),
        majority=float(counts.max() / counts.sum()),
        p=1.0,
        says=says,
        margin=margin,
        by_class=[
            Rate.of(int((right & (fit.labels == k)).sum()), int(counts[k]), fit.alpha) for k in range(fit.num_classes)
        ],
        by_group=_by_group(data, fit, right),
        elsewhere=_elsewhere(data, fit, features, right, transfer),
    )
    part = fit.permuted
    labels = fit.labels[part]
    folded = whole if len(part) == len(fit.rows) else probes.Folded(columns[part], fit.folds[part])
    own = folded.scores(probes.one_hot(labels, fit.num_classes)).argmax(axis=1)
    chance = folded.permuted_hits(labels, fit.num_classes, fit.orders)
    return Raw(evidence, int((own == labels).sum()), chance)


def corrected(found: Sequence[Raw]) -> list[float]:
    """Returns max-T p-values (Westfall and Young): the permutations are the same for all cues."""
    most = np.max([raw.permuted for raw in found], axis=0)
    return [float((1 + (most >= raw.hits).sum()) / (1 + len(most))) for raw in found]


def goes_with(fit: Fit, strong: CueEvidence, weak: CueEvidence) -> bool:
    """Says whether a weaker cue sees no more than a stronger one.

    Of training images that the stronger cue gets wrong, the weaker one, were it a cue of its own, would still name the
    label; if it only mirrors the stronger cue it names what that one says instead.
    """
    contradicts = strong.says[fit.rows] != fit.labels
    if contradicts.sum() < 10:
        # Where the stronger cue explains all, nothing can tell them apart; agreement then counts.
        return float((strong.says[fit.rows] == weak.says[fit.rows]).mean()) > 0.9
    named = weak.says[fit.rows][contradicts]
    follows = int((named == strong.says[fit.rows][contradicts]).sum())
    own = int((named == fit.labels[contradicts]).sum())
    return follows > own


def _everywhere(
    data: AuditData, fit: Fit, features: NDArray[np.float32], probe: probes.CueProbe, block: int = 65_536
) -> tuple[Ints, NDArray[np.float32]]:
    says = np.full(len(data), UNKNOWN, np.int64)
    margin = np.zeros(len(data), np.float32)
    rows = np.flatnonzero(data.scores.measured)
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        scores = probe.scores(np.asarray(features[part], np.float32))
        says[part], margin[part] = scores.argmax(axis=1), _margin(scores)
    return says, margin


def _margin(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    if scores.shape[1] < 2:
        return np.zeros(len(scores), np.float32)
    best = np.partition(scores, -2, axis=1)
    return np.asarray(best[:, -1] - best[:, -2], np.float32)


def _by_group(data: AuditData, fit: Fit, right: NDArray[np.bool_]) -> dict[str, dict[str, Rate]]:
    found: dict[str, dict[str, Rate]] = {}
    for name, levels in data.levels.items():
        level = data.attributes[name][fit.rows]
        found[name] = {
            text: Rate.of(int(right[level == k].sum()), int((level == k).sum()), fit.alpha)
            for k, text in enumerate(levels)
            if (level == k).any()
        }
    return found


def _elsewhere(
    data: AuditData, fit: Fit, features: NDArray[np.float32], right: NDArray[np.bool_], transfer: Sequence[str]
) -> list[Elsewhere]:
    found = []
    for place in transfer:
        if place in data.levels:
            level = data.attributes[place][fit.rows]
            parts = [(f"{place}={text}", level == k) for k, text in enumerate(data.levels[place])]
            for name, held_out in parts:
                learnt = ~held_out & (level >= 0)
                if held_out.sum() >= 10 and len(np.unique(fit.labels[learnt])) >= 2:
                    found.append(_left_out(fit, features, right, name, held_out, learnt))
        else:
            rows = np.flatnonzero(data.within(place) & (data.labels >= 0))
            if len(rows):
                everything = np.ones(len(fit.rows), np.bool_)
                x, majority = _transferred(fit, features, everything, rows, data.labels[rows])
                found.append(_compared(fit, place, x, len(rows), int(right.sum()), len(right), majority))
    return found


def _left_out(
    fit: Fit,
    features: NDArray[np.float32],
    right: NDArray[np.bool_],
    name: str,
    held_out: NDArray[np.bool_],
    learnt: NDArray[np.bool_],
) -> Elsewhere:
    """One source left out: learnt from the others, against what the cue says of that source when it may learn it."""
    x, majority = _transferred(fit, features, learnt, fit.rows[held_out], fit.labels[held_out])
    n = int(held_out.sum())
    return _compared(fit, name, x, n, int(right[held_out].sum()), n, majority)


def _transferred(
    fit: Fit, features: NDArray[np.float32], learnt: NDArray[np.bool_], rows: Ints, labels: Ints
) -> tuple[int, float]:
    train = np.asarray(features[fit.rows[learnt]], np.float32)
    probe = probes.fit(train, fit.labels[learnt], fit.num_classes, fit.seed)
    decided = probe.scores(np.asarray(features[rows], np.float32)).argmax(axis=1)
    largest = np.bincount(fit.labels[learnt], minlength=fit.num_classes).argmax()
    return int((decided == labels).sum()), float((labels == largest).mean())


def _compared(fit: Fit, place: str, x: int, n: int, x_here: int, n_here: int, majority: float) -> Elsewhere:
    low, high = mover_clopper_pearson(x_here, n_here, x, n, fit.alpha)
    drop = (x_here / n_here - x / n, float(low), float(high))
    return Elsewhere(place, Rate.of(x, n, fit.alpha), Rate.of(x_here, n_here, fit.alpha), majority, drop)
