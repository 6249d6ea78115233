"""What raises an alarm, and how the promised rate of false ones is shared out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

REQUIREMENT, SHIFT, REJECTED = "requirement", "shift", "rejected"
KINDS = (REQUIREMENT, SHIFT, REJECTED)
# Of the chance of any false alarm in the life of a log. Half is the objective's; shift is looked for in many places.
SHARES: Mapping[str, float] = {REQUIREMENT: 0.5, SHIFT: 0.4, REJECTED: 0.1}


@dataclass(frozen=True)
class Alarm:
    """Something that was shown beyond chance, however often one looked.

    Attributes:
        kind: Of `KINDS`; a requirement's alarm makes the verdict FAIL, the others do not.
        label: The requirement's, or what has shifted.
        part: The comparison: a class, group, cell, pair of groups, operator or rival; else empty.
        what: One sentence with the figures.
        time: Of the image that gave the last of the evidence, seconds since 1970, UTC.
        request: Its number among the artifact's predictions, from 1.
        n: Images that the evidence is of: those of its window, up to that one.
        evidence: Figures: log10 of E and of what it had to reach, window, estimate, bound.
    """

    kind: str
    label: str
    part: str
    what: str
    time: float
    request: int
    n: int
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> tuple[str, str, str]:
        """What makes it the same alarm in a later look."""
        return (self.kind, self.label, self.part)

    def plain(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return asdict(self)


def share(kind: str, alpha: float) -> float:
    """Returns the part of `alpha` that alarms of a kind have between them."""
    return alpha * SHARES[kind]
