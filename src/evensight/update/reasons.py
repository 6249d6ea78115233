"""What decided between two models, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evensight.objective.objective import Objective
from evensight.objective.verdict import Row
from evensight.update.deciding import INSUFFICIENT, PROMOTE, REFUSE, RESULTS, Rule
from evensight.update.side_by_side import SideBySide

_MOST_NAMED = 5


def reasons(
    found: SideBySide, decided: Rule, objective: Objective, needs: Sequence[Mapping[str, Any]], harm: float
) -> list[str]:
    """Says in sentences what decided, the result's own reasons first."""
    labels = [one.label for one in objective.requirements]
    fails = [f"the challenger FAILs: {_figures(labels[at], found.challenger.rows[at])}" for at in _at(decided.fails)]
    worse = [
        f"it is significantly worse in {found.names[at]}: of {found.cells.n[at]:,} images {found.cells.b[at]:,} are "
        f"right under the champion alone and {found.cells.c[at]:,} under the challenger alone"
        for at in _at(decided.worse)
    ]
    undecided = [
        f"the champion PASSes and the challenger does not yet: {_figures(labels[at], found.challenger.rows[at])}"
        for at in _at(decided.undecided)
    ]
    repaired = [f"the champion FAILs and the challenger does not: {labels[at]}" for at in _at(decided.repaired)]
    if decided.meets:
        repaired.append(
            "the champion FAILs the objective and the challenger PASSes all of it, the bound on each cell included"
        )
    gains = _gains(found, decided)
    better = [f"it is significantly better: {_listed(gains)}"] if gains else []
    unshown = [_unshown(needs, harm)] if needs else []
    none = [] if repaired or better else ["nothing is shown to be better, so the champion stays"]
    by_result = {
        REFUSE: [*fails, *worse] or none,
        INSUFFICIENT: [*undecided, *unshown],
        PROMOTE: [*repaired, *better],
    }
    result = RESULTS[int(decided.result)]
    first = by_result[result]
    rest = [line for line in (*fails, *worse, *undecided, *unshown, *repaired, *better) if line not in first]
    return [f"{result}: {line}" for line in first] + rest


def _gains(found: SideBySide, decided: Rule) -> list[str]:
    """Returns where the challenger is significantly better, the largest gain first."""
    names, both = (*found.names, *found.whole_names), found.cells.joined(found.wholes)
    gain = (both.c - both.b) / np.maximum(both.n, 1)
    places = sorted(_at(decided.better), key=lambda at: -gain[at])
    return [f"{names[at]} (+{gain[at]:.3f} of {both.n[at]:,})" for at in places]


def _unshown(needs: Sequence[Mapping[str, Any]], harm: float) -> str:
    missing = [f"{one['cell']} ({_more(one)})" for one in sorted(needs, key=lambda one: -(one["images"] or 0))]
    cells = "1 cell" if len(needs) == 1 else f"{len(needs):,} cells"
    return f"a loss of {harm:.3g} or more is not excluded in {cells}: {_listed(missing)}"


def _at(found: np.ndarray) -> list[int]:
    places: list[int] = np.flatnonzero(found).tolist()
    return places


def _figures(label: str, row: Row) -> str:
    if row.estimate is None:
        return f"{label} ({row.reason or 'no image'})"
    need = "" if row.need is None or row.need.images is None else f"; {row.need.images:,} images more of {row.need.of}"
    return f"{label} ({row.estimate:.3f}, n {row.n:,}{', ' + row.worst if row.worst else ''}{need})"


def _more(need: Mapping[str, Any]) -> str:
    more = f"{need['images']:,} more needed" if need["images"] else "more would more likely refuse it"
    return f"{need['have']:,} images, {more}"


def _listed(parts: Sequence[str]) -> str:
    more = f", and {len(parts) - _MOST_NAMED:,} more" if len(parts) > _MOST_NAMED else ""
    return ", ".join(parts[:_MOST_NAMED]) + more
