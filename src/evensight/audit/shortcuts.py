"""Chapter: for each cue, is the label predictable from it alone, and would a model that learns it be wrong elsewhere?

Natural leakage is normal in photographs (the hue histogram alone names 68 % of BAR's actions, 8 border pixels a third
of CIFAR-10), so being predictable raises no alarm by itself. A cue is an alarm where it endangers the objective:

- the objective says that the model must not use it (a bound on its reliance, on its conflicting images or its gap) and
  it explains at least .15 of what the largest class leaves open;
- it does not carry over: from the training split to a declared shifted split, or from the other sources to one, it
  loses at least a third of what it explained;
- it explains at least half, and nothing says that it is what the classes are.

Each needs the permutation test over all cues at `audit.alarm_level` first, and bounds at that level over the number of
cues. A cue that only mirrors a stronger one is named with it and raises no alarm of its own: it is a warning, since
taking the stronger one away leaves it (a grey image still tells vivid colours apart by their luma).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from evensight import names
from evensight.audit.chapter import (
    AuditFinding,
    Bars,
    Block,
    Chapter,
    Exhibit,
    Figure,
    Gallery,
    HeatMap,
    Picture,
    Severity,
    Table,
)
from evensight.audit.cue_evidence import CueEvidence, Elsewhere, Fit, corrected, examine, goes_with, prepared
from evensight.audit.data import AuditData, Ints
from evensight.audit.pictures import reduced
from evensight.config import AuditConfig
from evensight.cues import build_cue
from evensight.errors import UserError, unknown
from evensight.progress import Progress

# What the lower bound of the explained share must reach.
# The first is above what shapes without any shortcut give (.09: the area of the coloured region says a little).
NAMED, SUSPECT, WORTH_A_LOOK = 0.15, 0.50, 0.20
LOST = 1 / 3  # of what was explained, where a cue is carried elsewhere
LEAST_DROP = 0.05
# Form is what classes usually are; texture often is (fur, bark), and is judged where it is carried.
NEVER, CARRIED_ONLY = ("shape",), ("texture",)
MOST_CLASSES = 40
SHOWN = 6

TITLE = "Shortcuts"
LEDE = (
    "For each cue, a small model that sees the cue alone is asked for the class of images it did not learn from. What "
    "it names beyond the largest class, a network may learn instead of what you mean."
)


@dataclass(frozen=True)
class Judged:
    """A cue's evidence with what follows from it."""

    found: CueEvidence
    severity: Severity
    danger: float
    why: str  # fixed word: named, elsewhere, strong, worth_a_look, essential, mirrors, weak
    lost: Elsewhere | None = None


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
    blocks = _blocks(data, fit, judged)
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


def judge_all(data: AuditData, fit: Fit, found: Sequence[CueEvidence], settings: AuditConfig) -> list[Judged]:
    """Returns every cue with its severity, the most dangerous first."""
    ranked = sorted(found, key=lambda each: -each.least_strength)
    seen: list[CueEvidence] = []
    judged = []
    for each in ranked:
        tells = each.p <= settings.alarm_level and each.least_strength > 0 and each.cue not in _named(data)
        mirror = next((other.cue for other in seen if tells and goes_with(fit, other, each)), "")
        one = replace(each, goes_with=mirror)
        judged.append(judge(one, _named(data), data.objective.essential_cues, settings.alarm_level))
        if each.p <= settings.alarm_level and each.cue not in NEVER and each.least_strength >= WORTH_A_LOOK:
            seen.append(each)
    order = {"alarm": 0, "warning": 1, "note": 2}
    return sorted(judged, key=lambda each: (order[each.severity], -each.danger, -each.found.strength))


def judge(found: CueEvidence, named: Sequence[str], essential: Sequence[str], level: float) -> Judged:
    """Says what one cue's evidence means for the objective.

    Args:
        found: Its evidence, bounds at the level over the number of cues.
        named: Cues that the objective says must not be used.
        essential: Cues that the objective says the classes are made of.
        level: Of the permutation test.
    """
    least = found.least_strength
    lost = _lost(found)
    if found.p > level or least <= 0.0:
        return Judged(found, "note", 0.0, "weak")
    if found.cue in essential or found.cue in NEVER:
        return Judged(found, "note", 0.0, "essential")
    if found.goes_with:
        severity: Severity = "warning" if least >= WORTH_A_LOOK else "note"
        return Judged(found, severity, 0.1 * least, "mirrors")
    if found.cue in named and least >= NAMED:
        return Judged(found, "alarm", 0.5 + 0.5 * least, "named", lost)
    if lost is not None and least >= NAMED:
        return Judged(found, "alarm", 0.4 + 0.5 * least, "elsewhere", lost)
    if least >= SUSPECT and found.cue not in CARRIED_ONLY:
        return Judged(found, "alarm", 0.2 + 0.6 * least, "strong")
    if least >= WORTH_A_LOOK:
        return Judged(found, "warning", 0.5 * least, "worth_a_look")
    return Judged(found, "note", 0.2 * least, "weak")


def _lost(found: CueEvidence) -> Elsewhere | None:
    """Returns the place to which the cue carries worst, where it loses too much beyond doubt."""
    lost = []
    for place in found.elsewhere:
        gain = place.here.estimate - found.majority
        drop, low, _ = place.drop
        if low >= LEAST_DROP and gain > 0 and drop >= LOST * gain:
            lost.append(place)
    return max(lost, key=lambda place: place.drop[0], default=None)


def _named(data: AuditData) -> tuple[str, ...]:
    """Cues that the objective bounds: by their reliance, or as an attribute on conflicting images or as a gap."""
    bounded = [each for each in data.objective.requirements if each.bound is not None]
    named = [each.cue for each in bounded if each.cue]
    named += [
        each.attribute for each in bounded if each.scope in ("conflicting", "gap") and each.attribute in names.CUES
    ]
    return tuple(dict.fromkeys(name for name in named if name))


def _finding(data: AuditData, fit: Fit, each: Judged) -> AuditFinding | None:
    found = each.found
    right, n = found.accuracy.x, found.accuracy.n
    contradicting = _contradicting(fit, found)
    title = (
        f"{_words(found.cue)} alone names the class of {_percent(found.accuracy.estimate)} of the training images "
        f"({_percent(found.accuracy.low)} to {_percent(found.accuracy.high)}, n {n:,}; the largest class is "
        f"{_percent(found.majority)})"
    )
    place = each.lost or (found.elsewhere[0] if found.elsewhere else None)
    if place is not None:
        there = f"{_percent(place.there.estimate)} ({_percent(place.there.low)} to {_percent(place.there.high)})"
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
        setting=_setting(found.cue) if each.severity != "note" else "",
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


def _setting(cue: str) -> str:
    """The setting that watches a cue in training, where it can be transplanted."""
    return f"reliance.cues=[{cue}]" if build_cue(cue).operators else ""


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
    for rows, word in ((_spread(data, explains), "explained"), (_spread(data, contradicting), "contradicts")):
        for row in rows:
            said = data.classes[int(found.says[row])]
            caption = data.classes[int(data.labels[row])]
            note = word if word == "explained" else f"its {found.cue} says {said}"
            shown.append(Exhibit([Picture(int(row))], caption, note))
    return shown


def _spread(data: AuditData, rows: Ints, count: int = SHOWN) -> list[int]:
    """The first of each class in turn."""
    turn: dict[int, int] = {}
    keyed = []
    for place, row in enumerate(rows[:2_000].tolist()):
        label = int(data.labels[row])
        keyed.append((turn.get(label, 0), place, row))
        turn[label] = turn.get(label, 0) + 1
    return [row for _, _, row in sorted(keyed)[:count]]


def _blocks(data: AuditData, fit: Fit, judged: Sequence[Judged]) -> list[Block]:
    by_accuracy = sorted(judged, key=lambda each: -each.found.accuracy.estimate)
    majority = judged[0].found.majority
    blocks: list[Block] = [
        Bars(
            "How well each cue alone names the class",
            [_bar(each) for each in by_accuracy],
            majority,
            f"always naming the largest class, {majority:.3f}",
            f"five-fold, out of fold, on {len(fit.rows):,} training images; p by {len(fit.orders)} permutations, "
            "corrected for all cues",
        )
    ]
    places = [place.place for place in by_accuracy[0].found.elsewhere]
    blocks += [_carried(by_accuracy, place) for place in places]
    if len(data.classes) <= MOST_CLASSES:
        blocks.append(_by_class(data, by_accuracy))
    blocks += [_by_level(name, levels, by_accuracy) for name, levels in data.levels.items() if len(levels) <= 12]
    blocks.append(_summary(by_accuracy))
    seen = _seen(data, fit, by_accuracy)
    return blocks + ([seen] if seen is not None else [])


def _bar(each: Judged) -> Figure:
    found = each.found
    note = {"mirrors": f"goes with {found.goes_with}", "essential": "what the classes are"}.get(each.why, "")
    rate = found.accuracy
    said = f"explains {_percent(found.strength)}, p {found.p:.3g}"
    return Figure(found.cue, rate.estimate, rate.low, rate.high, rate.n, "; ".join(filter(None, [said, note])))


def _carried(judged: Sequence[Judged], place: str) -> Block:
    figures = []
    for each in judged:
        one = next(part for part in each.found.elsewhere if part.place == place)
        here, there = one.here, one.there
        figures.append(Figure(f"{each.found.cue}, here", here.estimate, here.low, here.high, here.n))
        figures.append(Figure(f"{each.found.cue}, {place}", there.estimate, there.low, there.high, there.n))
        majority = one.majority
    return Bars(
        f"What carries to {place}",
        figures,
        majority,
        f"always naming the largest training class there, {majority:.3f}",
        "what is lost between the two lines of a cue was true of these training images, not of the classes",
    )


def _by_class(data: AuditData, judged: Sequence[Judged]) -> Block:
    shades: list[list[float | None]] = [[rate.estimate for rate in each.found.by_class] for each in judged]
    texts = [[f"{rate.estimate:.2f}" if rate.n else "" for rate in each.found.by_class] for each in judged]
    return HeatMap(
        "Recall of each class by each cue alone",
        [each.found.cue for each in judged],
        list(data.classes),
        shades,
        texts,
        note="a cue that knows some classes and not others makes them unequal",
    )


def _by_level(name: str, levels: Sequence[str], judged: Sequence[Judged]) -> Block:
    rows = [[each.found.by_group.get(name, {}).get(level) for level in levels] for each in judged]
    return HeatMap(
        f"How evenly each cue works over {name}",
        [each.found.cue for each in judged],
        list(levels),
        [[rate.estimate if rate is not None else None for rate in row] for row in rows],
        [[f"{rate.estimate:.2f}" if rate is not None else "" for rate in row] for row in rows],
        note=f"accuracy of the cue alone on the training images of each {name}",
    )


def _summary(judged: Sequence[Judged]) -> Block:
    rows: list[list[str | int | float | None]] = []
    for each in judged:
        found = each.found
        rows.append(
            [
                found.cue,
                f"{found.accuracy.estimate:.3f}",
                f"{found.strength:.3f}",
                found.accuracy.x,
                found.accuracy.n - found.accuracy.x,
                f"{found.p:.3g}",
                found.goes_with or None,
                each.severity,
            ]
        )
    columns = ["cue", "accuracy", "explains", "images it explains", "images that contradict it", "p", "goes with", ""]
    return Table("Each cue in figures", columns, rows)


def _seen(data: AuditData, fit: Fit, judged: Sequence[Judged]) -> Block | None:
    """What each cue sees: images beside themselves reduced to the cue."""
    if data.manifest is None:
        return None
    rows = _spread(data, fit.rows, 4)
    exhibits = []
    for each in judged:
        pictures = reduced(data.manifest, rows, each.found.cue)
        pairs = [Picture(-1, "", pixels) for pixels in pictures]
        exhibits.append(Exhibit(pairs, each.found.cue, f"explains {_percent(each.found.strength)}"))
    own = Exhibit([Picture(row) for row in rows], "the images")
    return Gallery("What each cue sees", [own, *exhibits], "the same training images, reduced to what a cue is told of")


def _says_table(data: AuditData, judged: Sequence[Judged]) -> pl.DataFrame | None:
    """The attribute `<cue>_says` of every image, for each cue that is worth following."""
    followed = [each.found for each in judged if each.severity != "note"]
    if not followed:
        return None
    classes = np.array([*data.classes, None], dtype=object)  # -1 is the last: unknown
    columns = {f"{found.cue}_says": pl.Series(classes[found.says].tolist(), dtype=pl.String) for found in followed}
    return pl.DataFrame({"row_id": data.row_ids, **columns})


def _words(cue: str) -> str:
    return cue.replace("_", " ").capitalize()


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
