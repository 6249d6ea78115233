"""Findings about annotators: who labels differently, for whom, and which images stay open."""

from __future__ import annotations

from typing import Any

import numpy as np

from evensight.audit.annotations import Labels
from evensight.audit.annotator_comparisons import Differs
from evensight.audit.annotator_evidence import ALPHA, Judged
from evensight.audit.chapter import AuditFinding, Exhibit, Picture, Severity
from evensight.audit.data import AuditData, Ints
from evensight.audit.stakes import judged_by_group
from evensight.config import AuditConfig

# Krippendorff's least alpha from which conclusions may be drawn at all.
TENTATIVE = 0.667
# By how many points labels must differ more, to be worth a look, and the share of all labels that makes it an alarm.
EXCESS, MUCH = 0.05, 0.02
# Of a group's labels, where the objective judges the group.
MUCH_OF_GROUP = 0.05
MANY_CONTESTED = 0.05
MOST_ROWS = 200


def findings_of(data: AuditData, judged: Judged, settings: AuditConfig) -> list[AuditFinding]:
    """Puts what the labels say into findings; tests at `settings.alarm_level`, and from `EXCESS` on."""
    return [
        *_overall(judged),
        *_annotators(data, judged, settings),
        *_groups(data, judged, settings),
        *_apart(data, judged, settings),
        *_contested(judged),
    ]


def _overall(judged: Judged) -> list[AuditFinding]:
    alpha, (x, n) = judged.coefficients[ALPHA], judged.agreeing
    if not alpha.high < TENTATIVE:
        return []
    return [
        AuditFinding(
            code="low_agreement",
            severity="warning",
            danger=float(min(0.6, 0.2 + 0.5 * (TENTATIVE - alpha.estimate))),
            title=f"Annotators agree little: {ALPHA} is {alpha.estimate:.2f} ({alpha.low:.2f} to {alpha.high:.2f}, "
            f"{alpha.items:,} images; {TENTATIVE} is the least to draw conclusions from), and a random pair of labels "
            f"is equal on {x / n:.0%}.",
            evidence={"estimate": alpha.estimate, "low": alpha.low, "high": alpha.high, "n": alpha.items},
            action="Make the classes clearer to the annotators before more images are labelled.",
            setting="data.labels=consensus",
        )
    ]


def _annotators(data: AuditData, judged: Judged, settings: AuditConfig) -> list[AuditFinding]:
    total, findings = int(judged.labels.first.sum()), []
    for each in judged.annotators:
        if each.p > settings.alarm_level or each.excess < EXCESS:
            continue
        name, spoilt = judged.labels.annotators[each.annotator], each.excess * each.n / total
        rows, what = _rows(data, judged, each)
        findings.append(
            AuditFinding(
                code="annotator",
                severity="alarm" if spoilt >= MUCH else "warning",
                danger=float(min(1.0, 0.25 + 0.5 * each.excess + 2 * spoilt)),
                title=f"{name} labels {each.rate:.0%} of {each.n:,} images otherwise than the other annotators say, "
                f"who do so on {each.others:.0%} of such images{what}.",
                evidence=_evidence(data, judged, each),
                rows=rows[:MOST_ROWS].tolist(),
                num_rows=len(rows),
                action="Speak with the annotator, or have these images labelled again; until then, let the others' "
                "labels count more.",
                setting="data.labels=consensus",
                exhibits=exhibits_of(data, judged.labels, rows[:4]),
            )
        )
    return findings


def _named(judged: Judged, settings: AuditConfig) -> list[Differs]:
    return [each for each in judged.groups if each.p <= settings.alarm_level and each.excess >= EXCESS]


def _groups(data: AuditData, judged: Judged, settings: AuditConfig) -> list[AuditFinding]:
    findings = []
    for each in _named(judged, settings):
        level, name = data.levels[each.attribute][each.level], judged.labels.annotators[each.annotator]
        same = [other.n for other in judged.groups if (other.attribute, other.level) == (each.attribute, each.level)]
        spoilt = each.excess * each.n / sum(same)
        endangers = spoilt >= MUCH_OF_GROUP and bool(judged_by_group(data.objective, each.attribute))
        severity: Severity = "alarm" if endangers else "warning"
        rows, what = _rows(data, judged, each)
        findings.append(
            AuditFinding(
                code="annotator_group",
                severity=severity,
                danger=float(min(1.0, 0.3 + 0.3 * each.excess + spoilt)),
                title=f"{name} labels {each.attribute}={level} differently: {each.rate:.0%} of {each.n:,} images "
                f"otherwise than the others say, {each.elsewhere:.0%} elsewhere, and the others {each.others:.0%} "
                f"there{what}.",
                evidence=_evidence(data, judged, each),
                rows=rows[:MOST_ROWS].tolist(),
                num_rows=len(rows),
                action=f"Have the images of {each.attribute}={level} that {name} labelled labelled again, and ask why.",
                setting="data.labels=consensus",
                exhibits=exhibits_of(data, judged.labels, rows[:4]),
            )
        )
    return findings


def _apart(data: AuditData, judged: Judged, settings: AuditConfig) -> list[AuditFinding]:
    findings = []
    explained = {(each.attribute, each.level) for each in _named(judged, settings)}  # by one annotator
    for attribute, level, x, n, rest, p in judged.apart:
        if p > settings.alarm_level or not x / n - rest >= EXCESS or (attribute, level) in explained:
            continue
        where = f"{attribute}={data.levels[attribute][level]}"
        findings.append(
            AuditFinding(
                code="group_agreement",
                severity="warning",
                danger=float(min(0.7, 0.2 + x / n - rest)),
                title=f"Annotators disagree more on {where}: a random pair of labels differs on {x / n:.0%} of {n:,} "
                f"images, and on {rest:.0%} of others of the same classes.",
                evidence={"attribute": attribute, "level": data.levels[attribute][level], "x": x, "n": n, "p": p},
                action=f"Find out what makes {where} hard to label: its labels are noisier, in training and in test.",
            )
        )
    return findings


def _contested(judged: Judged) -> list[AuditFinding]:
    number, n = int(judged.contested.sum()), judged.labels.rows.size
    if number == 0:
        return []
    rows = most_open(judged)
    return [
        AuditFinding(
            code="contested",
            severity="warning" if number / n >= MANY_CONTESTED else "note",
            danger=float(min(0.5, number / n)),
            title=f"{number:,} of {n:,} annotated images stay contested when all annotators are weighed.",
            evidence={"x": number, "n": n},
            rows=rows[:MOST_ROWS].tolist(),
            num_rows=number,
            action="Have them labelled by one who decides, train with the chances as target (data.labels=soft), or "
            "leave them out.",
            setting="data.contested=leave_out",
        )
    ]


def _rows(data: AuditData, judged: Judged, each: Differs) -> tuple[Ints, str]:
    """Returns the rows that an annotator labels otherwise, and its most frequent mistake in words."""
    item, annotator, label = judged.labels.single
    mask = (annotator == each.annotator) & (judged.said >= 0) & (label != judged.said)
    if each.attribute:
        mask &= data.attributes[each.attribute][judged.labels.rows[item]] == each.level
    pairs, counts = np.unique(judged.said[mask] * len(data.classes) + label[mask], return_counts=True)
    if not pairs.size:
        return np.zeros(0, dtype=np.int64), ""
    truth, given = divmod(int(pairs[counts.argmax()]), len(data.classes))
    what = f", most often {data.classes[truth]} as {data.classes[given]} ({counts.max():,})"
    # The pair that is confused most comes first: it is what the finding says.
    order = np.argsort(judged.said[mask] * len(data.classes) + label[mask] != pairs[counts.argmax()], kind="stable")
    return judged.labels.rows[item[mask]][order], what


def _evidence(data: AuditData, judged: Judged, each: Differs) -> dict[str, Any]:
    where = {"attribute": each.attribute, "level": data.levels[each.attribute][each.level]} if each.attribute else {}
    return {
        "annotator": judged.labels.annotators[each.annotator],
        **where,
        "estimate": each.rate,
        "x": each.x,
        "n": each.n,
        "elsewhere": each.elsewhere,
        "others": each.others,
        "p": each.p,
    }


def exhibits_of(data: AuditData, labels: Labels, rows: Ints) -> list[Exhibit]:
    """Shows images, each with who says what of it."""
    return [Exhibit([Picture(int(row))], _said(data, labels, int(row))) for row in rows]


def _said(data: AuditData, labels: Labels, row: int) -> str:
    """Writes who says what of one image."""
    at = int(np.searchsorted(labels.rows, row))
    first, last = np.searchsorted(labels.item, [at, at + 1])
    each = [f"{labels.annotators[labels.annotator[i]]}: {data.classes[labels.label[i]]}" for i in range(first, last)]
    return ", ".join(each[:6]) + (", ..." if len(each) > 6 else "")


def most_open(judged: Judged) -> Ints:
    """Contested rows, the least certain consensus first."""
    assert judged.found is not None
    items = np.flatnonzero(judged.contested)
    order = np.argsort(judged.found.posterior[items].max(axis=1), kind="stable")
    return judged.labels.rows[items[order]]
