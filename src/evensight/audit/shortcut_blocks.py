"""What the report draws of shortcuts: how well each cue names the class, where that carries, and what each cue sees."""

from __future__ import annotations

from collections.abc import Sequence

from evensight.audit.chapter import Bars, Block, Exhibit, Figure, Gallery, HeatMap, Picture, Table
from evensight.audit.cue_evidence import Fit
from evensight.audit.data import AuditData, Ints
from evensight.audit.judging import Judged
from evensight.audit.pictures import reduced

MOST_CLASSES = 40
SHOWN = 6


def blocks_of(data: AuditData, fit: Fit, judged: Sequence[Judged]) -> list[Block]:
    """Returns the blocks of the chapter, in their order."""
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
    said = f"explains {percent(found.strength)}, p {found.p:.3g}"
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
    rows = spread(data, fit.rows, 4)
    exhibits = []
    for each in judged:
        pictures = reduced(data.manifest, rows, each.found.cue)
        pairs = [Picture(-1, "", pixels) for pixels in pictures]
        exhibits.append(Exhibit(pairs, each.found.cue, f"explains {percent(each.found.strength)}"))
    own = Exhibit([Picture(row) for row in rows], "the images")
    return Gallery("What each cue sees", [own, *exhibits], "the same training images, reduced to what a cue is told of")


def spread(data: AuditData, rows: Ints, count: int = SHOWN) -> list[int]:
    """Returns the first of each class in turn."""
    turn: dict[int, int] = {}
    keyed = []
    for place, row in enumerate(rows[:2_000].tolist()):
        label = int(data.labels[row])
        keyed.append((turn.get(label, 0), place, row))
        turn[label] = turn.get(label, 0) + 1
    return [row for _, _, row in sorted(keyed)[:count]]


def words(cue: str) -> str:
    """Returns a cue as a sentence begins with it."""
    return cue.replace("_", " ").capitalize()


def percent(share: float) -> str:
    """Returns a share as a percentage."""
    return f"{100 * share:.1f} %"
