"""Chapter: do the annotators agree, and who labels differently for whom?

Where the data set names annotators. Coefficients of agreement with intervals; each annotator against what the others
say of the same images, over all and for each group; what all of them together say (Dawid and Skene), and which images
stay contested.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from evensight.audit.annotations import labels_of
from evensight.audit.annotator_blocks import blocks
from evensight.audit.annotator_evidence import Judged, judge
from evensight.audit.annotator_findings import exhibits_of, findings_of, most_open
from evensight.audit.chapter import Chapter, Gallery, Paragraph
from evensight.audit.data import AuditData
from evensight.config import AuditConfig
from evensight.data.annotators import DECIMALS
from evensight.progress import Progress

TITLE = "Annotators"
LEDE = (
    "How far annotators agree beyond chance (1 is wholly, 0 is as chance would), and whose labels differ from what the "
    "others say of the same images. What differs for one group alone becomes a bias of the model."
)
MOST_SHOWN = 24


def chapter(data: AuditData, settings: AuditConfig, progress: Progress) -> Chapter:
    """Compares annotators; see `audit.chapter`."""
    labels = labels_of(data)
    if labels is None:
        return Chapter("annotators", TITLE, LEDE, skipped="the data names no annotators")
    judged = judge(data, labels, settings, progress)
    agreement = {"x": judged.agreeing[0], "n": judged.agreeing[1]}
    if judged.agreeing[1] == 0:
        why = "no image was labelled by two annotators"
        return Chapter("annotators", TITLE, LEDE, figures={"agreement": agreement}, skipped=why)
    made = blocks(data, labels, judged.coefficients, judged.agreeing, judged.found, judged.said, judged.annotators)
    if judged.found is None:
        made.append(Paragraph("There are too many images, annotators and classes for a consensus; it was not made."))
    elif judged.contested.any():
        made.append(_gallery(data, judged))
    coefficients = {
        name: {"estimate": each.estimate, "low": each.low, "high": each.high, "items": each.items}
        for name, each in judged.coefficients.items()
    }
    return Chapter(
        name="annotators",
        title=TITLE,
        lede=LEDE,
        findings=findings_of(data, judged, settings),
        blocks=made,
        tables=_soft_labels(data, judged),
        figures={"agreement": agreement, "coefficients": coefficients},
    )


def _gallery(data: AuditData, judged: Judged) -> Gallery:
    rows = most_open(judged)
    exhibits = exhibits_of(data, judged.labels, rows[:MOST_SHOWN])
    note = f"{len(exhibits)} of {len(rows):,}, the least certain consensus first."
    return Gallery("Contested images", exhibits, note)


def _soft_labels(data: AuditData, judged: Judged) -> dict[str, pl.DataFrame]:
    """Makes the side table that `prepare` makes of all annotations, of those that can be seen here."""
    if judged.found is None:
        return {}
    chances = np.round(judged.found.posterior, DECIMALS)
    shares = {f"p:{name}": chances[:, k] for k, name in enumerate(data.classes)}
    ids = [data.row_ids[row] for row in judged.labels.rows]
    return {"soft_labels": pl.DataFrame({"row_id": ids, "contested": judged.contested, **shares})}
