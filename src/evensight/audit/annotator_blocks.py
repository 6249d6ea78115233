"""What the report draws of annotators: coefficients, who agrees with whom, and how each label becomes another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from evensight.audit.annotations import Labels
from evensight.audit.annotator_comparisons import Differs
from evensight.audit.chapter import Bars, Block, Figure, HeatMap, Table
from evensight.audit.data import AuditData, Ints
from evensight.metrics.agreement import Agreement, cohen_kappa, cohen_table, fleiss_kappa, krippendorff_alpha
from evensight.metrics.dawid_skene import DawidSkene
from evensight.metrics.intervals import clopper_pearson

MOST_PAIRED = 12  # annotators with most labels that are compared two by two
LEAST_COMMON = 10  # images both must have labelled
MOST_CLASSES, MOST_LISTED, MOST_CONFUSED = 24, 40, 3
MOST_DRAWN = 100_000  # images that figures by class and group are taken from
_LARGE = 100  # classes, from which fewer pairs are compared


def blocks(
    data: AuditData,
    labels: Labels,
    coefficients: Mapping[str, Agreement],
    agreeing: tuple[int, int],
    found: DawidSkene | None,
    said: Ints,
    annotators: Sequence[Differs],
) -> list[Block]:
    """Draws everything but the gallery.

    Args:
        data: The images.
        labels: Their labels.
        coefficients: Of all of them, by name.
        agreeing: Images on which a random pair agrees, and images with two annotators.
        found: Consensus, where there is one.
        said: `[F]` what the others say of each label's image.
        annotators: Each against the others.
    """
    made: list[Block] = [_coefficients(data, coefficients, agreeing)]
    made += [*_pairs(data, labels), *_by_class(data, labels), *_by_group(data, labels, coefficients)]
    if found is not None:
        made.append(_annotators(data, labels, annotators, found))
        worst = sorted(annotators, key=lambda each: -each.excess)[:MOST_CONFUSED]
        made += [_confusion(data, labels, said, each) for each in worst if each.excess > 0]
    return made


def _figure(name: str, found: Agreement, note: str = "") -> Figure:
    estimate = None if np.isnan(found.estimate) else found.estimate
    return Figure(name, estimate, found.low, found.high, found.items, note)


def _coefficients(data: AuditData, found: Mapping[str, Agreement], agreeing: tuple[int, int]) -> Table:
    x, n = agreeing
    low, high = clopper_pearson(x, n, data.alpha)
    rows: list[list[str | int | float | None]] = [
        [
            name,
            None if np.isnan(each.estimate) else round(each.estimate, 3),
            f"{each.low:.3f} to {each.high:.3f}",
            each.items,
            each.labels,
        ]
        for name, each in found.items()
    ]
    rows.append(["a random pair agrees", round(x / n, 3), f"{float(low):.3f} to {float(high):.3f}", n, 2 * n])
    note = (
        "Of images with two annotators or more. The ordinal one means something only where the order of the classes "
        "does. Intervals take images as drawn at random and annotators as they are."
    )
    return Table("Agreement", ["coefficient", "estimate", "interval", "images", "labels"], rows, note)


def _pairs(data: AuditData, labels: Labels) -> list[Block]:
    """Compares the busiest annotators two by two by Cohen's kappa."""
    item, annotator, label = labels.single
    num = len(labels.annotators)
    most = MOST_PAIRED if len(data.classes) <= _LARGE else MOST_PAIRED // 3
    busy = np.sort(np.argsort(-np.bincount(annotator, minlength=num), kind="stable")[:most]).tolist()
    if len(busy) < 2:
        return []
    given = np.full((len(busy), labels.rows.size), -1, dtype=np.int64)
    for at, who in enumerate(busy):
        mine = annotator == who
        given[at, item[mine]] = label[mine]
    names = [labels.annotators[who] for who in busy]
    shades: list[list[float | None]] = [[None] * len(busy) for _ in busy]
    texts = [[""] * len(busy) for _ in busy]
    rows: list[tuple[float, list[str | int | float | None]]] = []
    for i in range(len(busy)):
        for j in range(i + 1, len(busy)):
            table = cohen_table(given[i], given[j], len(data.classes))
            if table.sum() < LEAST_COMMON:
                continue
            kappa = cohen_kappa(table, data.alpha)
            if np.isnan(kappa.estimate):
                continue
            for one, other in ((i, j), (j, i)):
                shades[one][other] = max(0.0, kappa.estimate)
                texts[one][other] = f"{kappa.estimate:.2f}"
            interval = f"{kappa.low:.3f} to {kappa.high:.3f}"
            rows.append((kappa.estimate, [names[i], names[j], round(kappa.estimate, 3), interval, kappa.items]))
    if not rows:
        return []
    cut = f"The {len(busy)} with most labels of {num:,}." if len(busy) < num else ""
    heat = HeatMap("Cohen's kappa of each pair", names, names, shades, texts, note=cut)
    listed = [row for _, row in sorted(rows, key=lambda pair: pair[0])[:MOST_LISTED]]
    columns = ["one", "other", "kappa", "interval", "images both labelled"]
    return [heat, Table("Pairs of annotators", columns, listed, "The least agreement first.")]


def _drawn(labels: Labels) -> tuple[Ints, Ints]:
    """Returns image and class of each label, of at most `MOST_DRAWN` images, evenly taken."""
    item, _, label = labels.single
    step = -(-labels.rows.size // MOST_DRAWN)
    kept = item % step == 0
    return item[kept], label[kept]


def _by_class(data: AuditData, labels: Labels) -> list[Block]:
    item, label = _drawn(labels)
    there = np.argsort(-np.bincount(label, minlength=len(data.classes)), kind="stable")[:MOST_CLASSES]
    figures = [
        _figure(data.classes[k], fleiss_kappa(item, (label == k).astype(np.int64), 2, data.alpha))
        for k in there.tolist()
    ]
    figures = sorted(figures, key=lambda each: 2.0 if each.estimate is None else each.estimate)
    note = "Fleiss' kappa of the class against all others; the least first."
    return [Bars("Agreement on each class", figures, note=note)]


def _by_group(data: AuditData, labels: Labels, coefficients: Mapping[str, Agreement]) -> list[Block]:
    item, label = _drawn(labels)
    overall = coefficients["Krippendorff's alpha"].estimate
    made: list[Block] = []
    for name, levels in data.levels.items():
        level_of = data.attributes[name][labels.rows[item]]
        figures = []
        for at in range(min(len(levels), MOST_CLASSES)):
            mine = level_of == at
            if mine.any():
                figures.append(
                    _figure(levels[at], krippendorff_alpha(item[mine], label[mine], len(data.classes), data.alpha))
                )
        if figures:
            reference = None if np.isnan(overall) else overall
            made.append(Bars(f"Agreement by {name}", figures, reference, "all images", "Krippendorff's alpha."))
    return made


def _annotators(data: AuditData, labels: Labels, annotators: Sequence[Differs], found: DawidSkene) -> Table:
    rows: list[list[str | int | float | None]] = []
    for each in sorted(annotators, key=lambda one: -one.excess)[:MOST_LISTED]:
        low, high = clopper_pearson(each.x, each.n, data.alpha)
        right = float(found.prior @ np.diagonal(found.confusion[each.annotator]))
        others = None if np.isnan(each.others) else round(each.others, 3)
        interval = f"{float(low):.3f} to {float(high):.3f}"
        name = labels.annotators[each.annotator]
        rows.append([name, each.n, round(each.rate, 3), interval, others, f"{each.p:.2g}", round(right, 3)])
    columns = ["annotator", "labels", "differ", "interval", "the others", "p", "right, by consensus"]
    note = (
        "differ: share of labels that are not what the others say of the image; the others: theirs, on images of the "
        f"same classes; p corrected for {len(annotators):,} annotators; right: chance to name the class, by Dawid and "
        "Skene."
    )
    return Table("Each annotator", columns, rows, note)


def _confusion(data: AuditData, labels: Labels, said: Ints, each: Differs) -> HeatMap:
    """Draws what an annotator calls images of each class, by the word of the others."""
    _, annotator, label = labels.single
    mine = (annotator == each.annotator) & (said >= 0)
    kept = np.sort(np.argsort(-np.bincount(said[mine], minlength=len(data.classes)), kind="stable")[:MOST_CLASSES])
    table = np.zeros((len(data.classes), len(data.classes)), dtype=np.int64)
    np.add.at(table, (said[mine], label[mine]), 1)
    shown = table[np.ix_(kept, kept)]
    names = [data.classes[k] for k in kept.tolist()]
    return HeatMap(
        title=f"What {labels.annotators[each.annotator]} calls it",
        rows=names,
        columns=names,
        shades=(shown / np.maximum(table[kept].sum(axis=1, keepdims=True), 1)).tolist(),
        texts=[[f"{n:,}" if n else "" for n in row] for row in shown.tolist()],
        note="Row: what the others say; column: the label given; shade: share of the row.",
    )
