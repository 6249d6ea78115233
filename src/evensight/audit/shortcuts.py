"""Chapter: for each cue, is the label predictable from it alone, and would a model that learns it be wrong elsewhere?

What follows from a cue's evidence is in `judging`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from evensight.audit.chapter import AuditFinding, Chapter, Exhibit, Picture
from evensight.audit.cue_evidence import CueEvidence, Fit, corrected, examine, prepared
from evensight.audit.data import AuditData, Ints
from evensight.audit.judging import Judged, judge_all
from evensight.audit.shortcut_blocks import blocks_of, percent, spread, words
from evensight.config import AuditConfig
from evensight.errors import UserError, unknown
from evensight.names import focus_setting
from evensight.progress import Progress

TITLE = "Shortcuts"
LEDE = (
    "For each cue, a small model that sees the cue alone is asked for the class of images it did not learn from. What "
    "it names beyond the largest class, a network may learn instead of what you mean."
)


def chapter(data: AuditData, settings: AuditConfig, progress: Progress) -> Chapter:
    """Looks for shortcuts; see `audit.chapter`."""
    transfer = transfers(data, settings)
    features = data.scores.features
    fit = prepared(data, content_groups(data), settings.seed, settings.alarm_level / max(len(features), 1))
    if fit is None or not features:
        why = "the training split has fewer than two classes of ten images" if features else "no cue can be described"
        return Chapter("shortcuts", TITLE, LEDE, skipped=why)
    raw = []
    for number, cue in enumerate(features):
        raw.append(examine(data, fit, cue, transfer))
        progress("looking for shortcuts", number + 1, len(features))
    found = [replace(each.evidence, p=p) for each, p in zip(raw, corrected(raw), strict=True)]
    judged = judge_all(data, fit, found, settings)
    findings = [_finding(data, fit, each) for each in judged if each.why != "weak"]
    blocks = blocks_of(data, fit, judged)
    table = _says_table(data, judged)
    return Chapter(
        name="shortcuts",
        title=TITLE,
        lede=LEDE,
        findings=[each for each in findings if each is not None],
        blocks=blocks,
        tables={"cues": table} if table is not None else {},
        figures={"cues": {each.found.cue: _figures(fit, each) for each in judged}},
    )


def transfers(data: AuditData, settings: AuditConfig) -> list[str]:
    """Returns where the cues are carried to.

    Raises:
        UserError: `audit.transfer` names no split and no attribute, or the closed test split.
    """
    wanted = settings.transfer
    if wanted is None:
        return []
    if wanted not in ("validation", "test", *data.levels):
        raise unknown("audit.transfer", wanted, ["validation", "test", *data.levels])
    if wanted == "test" and not data.open_test:
        raise UserError(
            "audit.transfer: the test split is sealed, so its labels are not read; add audit.open_test=true (the look "
            "is written to the ledger), or name validation or an attribute."
        )
    return [wanted]


def content_groups(data: AuditData) -> Ints:
    """Returns a number for each image `[N]`, the same for images of the very same pixels."""
    contents = pl.Series([row_id.partition("#")[0].partition("@")[0] for row_id in data.row_ids], dtype=pl.String)
    return contents.rank("dense").fill_null(0).to_numpy().astype(np.int64)


def _finding(data: AuditData, fit: Fit, each: Judged) -> AuditFinding | None:
    found = each.found
    right, n = found.accuracy.x, found.accuracy.n
    contradicting = _contradicting(fit, found)
    title = (
        f"{words(found.cue)} alone names the class of {percent(found.accuracy.estimate)} of the training images "
        f"({percent(found.accuracy.low)} to {percent(found.accuracy.high)}, n {n:,}; the largest class is "
        f"{percent(found.majority)})"
    )
    place = each.lost or (found.elsewhere[0] if found.elsewhere else None)
    if place is not None:
        there = f"{percent(place.there.estimate)} ({percent(place.there.low)} to {percent(place.there.high)})"
        title += f", and of {there} of {place.place}"
    code = {"named": "shortcut", "elsewhere": "shortcut", "strong": "shortcut", "mirrors": "mirrored_cue"}
    return AuditFinding(
        code=code.get(each.why, "predictive_cue"),
        severity=each.severity,
        danger=each.danger,
        title=title + ".",
        evidence=_figures(fit, each),
        rows=contradicting[:200].tolist(),
        num_rows=len(contradicting),
        action=_action(each, n - right),
        setting=focus_setting(found.cue) if each.severity != "note" else "",
        exhibits=_exhibits(data, fit, found, contradicting) if each.severity != "note" else [],
    )


def _action(each: Judged, contradicting: int) -> str:
    cue = each.found.cue
    follow = (
        f"Its {contradicting:,} contradicting training images are what can teach otherwise: the side table gives every "
        f"image the attribute {cue}_says, which training and test follow from now on"
    )
    return {
        "named": f"The objective bounds this cue, and these images teach it. {follow}.",
        "elsewhere": f"What it says here is not true there: a model that learns it fails elsewhere. {follow}.",
        "strong": (
            f"If the classes are not made of this, it is a shortcut: bound reliance on {cue} in the objective; if they "
            f"are, say essential_cues: [{cue}]. {follow}."
        ),
        "worth_a_look": (
            f"It may belong to the classes or to how they were collected; audit.transfer=<source> would tell. {follow}."
        ),
        "essential": "Nothing to do: this is what the classes are made of.",
        "mirrors": (
            f"It says what {each.found.goes_with} says, of the same images: an image without its "
            f"{each.found.goes_with} still gives the class away by this. Watch the two together."
        ),
    }.get(each.why, "")


def _figures(fit: Fit, each: Judged) -> dict[str, object]:
    found = each.found
    return {
        "cue": found.cue,
        "accuracy": found.accuracy.estimate,
        "low": found.accuracy.low,
        "high": found.accuracy.high,
        "n": found.accuracy.n,
        "majority": found.majority,
        "explained": found.strength,
        "least_explained": found.least_strength,
        "p": found.p,
        "why": each.why,
        "severity": each.severity,
        "goes_with": found.goes_with,
        "contradicting": found.accuracy.n - found.accuracy.x,
        "recall": {str(k): rate.estimate for k, rate in enumerate(found.by_class)},
        "elsewhere": [
            {
                "place": place.place,
                "accuracy": place.there.estimate,
                "low": place.there.low,
                "high": place.there.high,
                "n": place.there.n,
                "majority": place.majority,
                "here": place.here.estimate,
                "drop": place.drop[0],
                "drop_low": place.drop[1],
                "drop_high": place.drop[2],
            }
            for place in found.elsewhere
        ],
    }


def _contradicting(fit: Fit, found: CueEvidence) -> Ints:
    """Training images of which the cue says another class, the clearest first."""
    says = found.says[fit.rows]
    wrong = np.flatnonzero(says != fit.labels)
    order = np.argsort(-found.margin[fit.rows[wrong]], kind="stable")
    return np.asarray(fit.rows[wrong[order]])


def _exhibits(data: AuditData, fit: Fit, found: CueEvidence, contradicting: Ints) -> list[Exhibit]:
    explains = fit.rows[found.says[fit.rows] == fit.labels]
    explains = explains[np.argsort(-found.margin[explains], kind="stable")]
    shown = []
    for rows, word in ((spread(data, explains), "explained"), (spread(data, contradicting), "contradicts")):
        for row in rows:
            said = data.classes[int(found.says[row])]
            caption = data.classes[int(data.labels[row])]
            note = word if word == "explained" else f"its {found.cue} says {said}"
            shown.append(Exhibit([Picture(int(row))], caption, note))
    return shown


def _says_table(data: AuditData, judged: Sequence[Judged]) -> pl.DataFrame | None:
    """The attribute `<cue>_says` of every image, for each cue that is worth following."""
    followed = [each.found for each in judged if each.severity != "note"]
    if not followed:
        return None
    classes = np.array([*data.classes, None], dtype=object)  # -1 is the last: unknown
    columns = {f"{found.cue}_says": pl.Series(classes[found.says].tolist(), dtype=pl.String) for found in followed}
    return pl.DataFrame({"row_id": data.row_ids, **columns})
