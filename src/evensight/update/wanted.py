"""What verdicts ask of the next round: cells that want evidence, and cues that the model must stop going by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evensight import names
from evensight.objective.verdict_file import RequirementRecord, VerdictFile
from evensight.records.contract import Contract


@dataclass(frozen=True)
class Cell:
    """A class, a level of an attribute, or both, of which too few images were judged.

    Attributes:
        label: Name of the class; None: any.
        attribute: None where the class alone counts.
        level: Of the attribute.
        n: Images that were judged.
    """

    label: str | None
    attribute: str | None
    level: str | None
    n: int

    @property
    def name(self) -> str:
        """As verdicts write it."""
        return " x ".join(part for part in (self.label, self.level) if part is not None)


@dataclass(frozen=True)
class Turned:
    """A cue that a verdict says the model goes by, and the sentence that says so."""

    cue: str
    why: str


def open_cells(verdicts: Sequence[VerdictFile], contract: Contract) -> list[Cell]:
    """Returns the cells that leave a requirement INSUFFICIENT, those with the fewest images first.

    Args:
        verdicts: Of the model, the one to go by first: a cell that it speaks of is not taken from the others.
        contract: Names classes and levels.
    """
    found: dict[tuple[Any, ...], Cell] = {}
    spoken: set[str] = set()
    for verdict in verdicts:
        here = [row for row in verdict.requirements if row.verdict is not None and row.label not in spoken]
        spoken |= {row.label for row in here}
        for row in here:
            if row.verdict == "INSUFFICIENT":
                for cell in _of_row(row, contract):
                    found.setdefault((cell.label, cell.attribute, cell.level), cell)
    return sorted(found.values(), key=lambda cell: cell.n)


def relied_on(verdicts: Sequence[VerdictFile]) -> list[Turned]:
    """Returns the cues on which reliance FAILs, each once, in the order of the verdicts."""
    found: dict[str, Turned] = {}
    for verdict in verdicts:
        for row in verdict.requirements:
            cue = str(row.parameters.get("cue"))
            if row.metric == "reliance" and row.verdict == "FAIL" and cue not in found:
                estimate = "" if row.estimate is None else f": {row.estimate:.3f} where {row.bound:.3f} is allowed"
                found[cue] = Turned(cue, f"{row.label} FAILs at the stage {verdict.stage}{estimate} (n {row.n:,})")
    return list(found.values())


def recommended(cues: Sequence[Turned]) -> dict[str, Any] | None:
    """Returns the focus that turns cues off, as settings of a training run and in words; None where there is none."""
    if not cues:
        return None
    ignored = [one.cue for one in cues]
    setting = names.focus_setting(ignored[0]) if len(ignored) == 1 else ""
    return {
        "ignore": ignored,
        "setting": setting or f"focus.ignore=[{','.join(ignored)}]",
        "because": [one.why for one in cues],
    }


def _of_row(row: RequirementRecord, contract: Contract) -> list[Cell]:
    """Returns the comparisons of a row that do not meet its bound yet."""
    known = _named(row.scope, row.parameters.get("attribute"), contract)
    if row.bound is None or row.direction != "at_least":
        return []
    short = [one for one in row.comparisons if one.name in known and (one.low is None or one.low < row.bound)]
    return [Cell(*known[one.name], one.n) for one in short]


def _named(
    scope: str, attribute: str | None, contract: Contract
) -> Mapping[str, tuple[str | None, str | None, str | None]]:
    levels = contract.attributes.get(attribute or "", ())
    if scope == "each_class":
        return {name: (name, None, None) for name in contract.classes}
    if scope == "each_group":
        return {level: (None, attribute, level) for level in levels}
    if scope == "each_cell":
        return {f"{name} x {level}": (name, attribute, level) for name in contract.classes for level in levels}
    return {}
