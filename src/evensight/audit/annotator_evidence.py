"""What the labels of several annotators say: how far they agree, who differs from the others, what stays contested."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evensight.audit.annotations import Labels, consensus_of, said_by_others
from evensight.audit.annotator_comparisons import Differs, by_annotator, by_group, groups_apart
from evensight.audit.data import AuditData, Ints
from evensight.config import AuditConfig
from evensight.data.annotators import DECIMALS, are_contested
from evensight.metrics.agreement import Agreement, agreeing_pairs, fleiss_kappa, krippendorff_alpha
from evensight.metrics.dawid_skene import DawidSkene
from evensight.progress import Progress

ALPHA = "Krippendorff's alpha"


@dataclass(frozen=True)
class Judged:
    """What the labels say.

    Attributes:
        labels: All of them.
        coefficients: By name.
        agreeing: Images on which a random pair agrees, and images with two annotators.
        found: Consensus; None where there is too much for one, and all that follows is empty.
        said: `[F]` what the others say of each label's image, -1 where there are none.
        annotators: Each against the others.
        groups: Each on each group.
        apart: Groups on whose images annotators disagree more than on others of the same class.
        contested: bool `[N]`.
    """

    labels: Labels
    coefficients: dict[str, Agreement]
    agreeing: tuple[int, int]
    found: DawidSkene | None
    said: Ints
    annotators: list[Differs]
    groups: list[Differs]
    apart: list[tuple[str, int, int, int, float, float]]
    contested: NDArray[np.bool_]


def judge(data: AuditData, labels: Labels, settings: AuditConfig, progress: Progress) -> Judged:
    """Works everything out.

    Args:
        data: The images.
        labels: Their labels.
        settings: `seed` draws the pair of labels of each image.
        progress: Told of the steps.
    """
    num_classes, (item, annotator, label) = len(data.classes), labels.single
    coefficients = {
        "Fleiss' kappa": fleiss_kappa(item, label, num_classes, data.alpha),
        ALPHA: krippendorff_alpha(item, label, num_classes, data.alpha),
        f"{ALPHA}, ordinal": krippendorff_alpha(item, label, num_classes, data.alpha, level="ordinal"),
    }
    keys = np.random.default_rng(settings.seed).random(item.size)
    agreeing = agreeing_pairs(item, label, keys, num_classes)
    progress("comparing annotators", 1, 3)
    nobody = np.full(item.size, -1)
    if agreeing[1] == 0 or (found := consensus_of(labels, num_classes)) is None:
        none = np.zeros(labels.rows.size, dtype=np.bool_)
        return Judged(labels, coefficients, agreeing, None, nobody, [], [], [], none)
    progress("comparing annotators", 2, 3)
    said = said_by_others(labels, found)
    kept = said >= 0
    differs = label[kept] != said[kept]
    rows = labels.rows[item[kept]]
    attributes = {name: (data.attributes[name][rows], len(levels)) for name, levels in data.levels.items()}
    num = len(labels.annotators)
    contested = are_contested(labels.item, labels.label, np.round(found.posterior, DECIMALS))
    return Judged(
        labels=labels,
        coefficients=coefficients,
        agreeing=agreeing,
        found=found,
        said=said,
        annotators=by_annotator(annotator[kept], said[kept], differs, num),
        groups=by_group(annotator[kept], said[kept], differs, attributes, num) if attributes else [],
        apart=_groups_apart(data, labels, found, keys),
        contested=contested,
    )


def _groups_apart(
    data: AuditData, labels: Labels, found: DawidSkene, keys: NDArray[np.float64]
) -> list[tuple[str, int, int, int, float, float]]:
    item, _, label = labels.single
    order = np.lexsort((keys, item))
    item, label = item[order], label[order]
    first = np.flatnonzero(np.r_[True, item[1:] != item[:-1]])
    first = first[np.diff(np.r_[first, item.size]) >= 2]
    rows = labels.rows[item[first]]
    attributes = {name: (data.attributes[name][rows], len(levels)) for name, levels in data.levels.items()}
    return (
        groups_apart(label[first] != label[first + 1], found.consensus[item[first]], attributes) if attributes else []
    )
