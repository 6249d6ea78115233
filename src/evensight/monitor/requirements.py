"""The objective's requirements on live traffic: a row of the verdict file each, and their alarms.

A row's estimate and bounds are of all images of the log, by the same functions as at the test, and hold for one look.
FAIL goes by the sequences alone, whose alarms hold for any number of looks. Nothing is passed for good while traffic
goes on, so a row without an alarm is INSUFFICIENT.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from evensight.metrics.sequential import WINDOW
from evensight.monitor.alarms import REQUIREMENT, Alarm, share
from evensight.monitor.live import Live, evidence
from evensight.monitor.observations import Observations, observed
from evensight.monitor.sequences import Crossing, Watched, watch
from evensight.objective.comparisons import Bounds, bounds, comparison_names, num_comparisons
from evensight.objective.evidence import Evidence, comparisons
from evensight.objective.objective import Objective
from evensight.objective.requirement import Requirement
from evensight.objective.verdict import (
    FAIL,
    INSUFFICIENT,
    NOT_MEASURED,
    Comparisons,
    Decision,
    NotMeasured,
    Row,
    filled_row,
    summarise,
)
from evensight.records.contract import Contract

NO_ALARM = "no alarm; nothing is passed for good while the traffic goes on"


@dataclass(frozen=True)
class Requirements:
    """The rows in the objective's order with the verdict they make, and the alarms in the order of time."""

    decision: Decision
    alarms: list[Alarm]


def judge(objective: Objective, contract: Contract, live: Live, alpha: float, size: int = WINDOW) -> Requirements:
    """Judges what a log shows, in sequence.

    Args:
        objective: Resolved.
        contract: Of the artifact: usual levels.
        live: The log.
        alpha: Of all alarms of every kind; the requirements have their share of it between them.
        size: Of a window, in observations of one comparison.
    """
    judged = [one for one in objective.judged_at("monitor") if one.bound_value is not None]
    each = share(REQUIREMENT, alpha) / max(1, len(judged))
    counted = evidence(live, contract)
    rows, alarms = [], []
    for requirement in objective.requirements:
        row, found = _judged(
            requirement, objective, contract, live, counted, each if requirement in judged else None, size
        )
        rows.append(row)
        alarms += found
    alarms.sort(key=lambda alarm: (alarm.request, alarm.label, alarm.part))
    return Requirements(Decision(rows, summarise(row.verdict for row in rows)), alarms)


def _judged(
    requirement: Requirement,
    objective: Objective,
    contract: Contract,
    live: Live,
    counted: Evidence,
    alpha: float | None,
    size: int,
) -> tuple[Row, list[Alarm]]:
    """Returns the row and the alarms of one requirement; `alpha` is None where it is only shown."""
    found = comparisons(requirement, objective, counted)
    if isinstance(found, NotMeasured):
        return Row(None if alpha is None else NOT_MEASURED, reason=found.reason), []
    if alpha is None:
        return _row(found, None, None, objective.alpha), []
    seen = observed(requirement, objective, dict(contract.usual), live, found)
    if isinstance(seen, str):
        return Row(NOT_MEASURED, reason=seen), []
    arrival = None if requirement.metric == "reliance" else live.by_arrival(seen.place)  # which needs no label
    watched = watch(found, seen, alpha, size, arrival)
    alarms = [_alarm(requirement, live, seen, crossing) for crossing in watched.crossings]
    return _row(found, FAIL if alarms else INSUFFICIENT, watched, objective.alpha), alarms


def _row(found: Comparisons, status: str | None, watched: Watched | None, alpha: float) -> Row:
    spans = bounds(found, alpha)
    p = None
    if watched is not None and len(watched.p):
        p = min(1.0, float(watched.p.min()) * num_comparisons(found))
    worst = _worst(found, spans, watched, comparison_names(found))
    return filled_row(found, spans, worst, status, p=p, reason=NO_ALARM if status == INSUFFICIENT else "")


def _worst(found: Comparisons, spans: Bounds, watched: Watched | None, names: tuple[str, ...]) -> int:
    """Finds the comparison with most evidence against the bound; without any, the one that looks worst."""
    sign = 1.0 if found.direction == "at_least" else -1.0
    looks = np.where(spans.known, sign * spans.estimate, math.inf)
    if watched is None:
        return int(looks.argmin())
    if len(watched.p):
        alarmed = np.array([name not in {one.part for one in watched.crossings} for name in names])
        return int(np.lexsort((looks, watched.p, alarmed))[0])
    if watched.crossings:
        return names.index(max(watched.crossings, key=lambda one: one.least or 0.0).part)
    return int(looks.argmin())


def _alarm(requirement: Requirement, live: Live, seen: Observations, crossing: Crossing) -> Alarm:
    show = requirement.measure.show
    bound = requirement.bound_value
    assert bound is not None  # it was judged
    images = "sampled images" if requirement.metric == "reliance" else "labelled images"
    named = crossing.part not in ("all images", "conflicting images")
    subject = f"{requirement.label} [{crossing.part}]" if named else requirement.label
    told = f"{show(crossing.estimate)} on {crossing.n:,} {images}, required {requirement.direction.replace('_', ' ')}"
    evidence: dict[str, float | None] = {"estimate": crossing.estimate, "bound": bound, "window": crossing.window}
    if crossing.log_e is not None and crossing.log_needed is not None:
        evidence |= {"log10_e": crossing.log_e / math.log(10), "log10_needed": crossing.log_needed / math.log(10)}
    else:
        evidence |= {"least": crossing.least}
    place = int(seen.place[crossing.at])
    return Alarm(
        kind=REQUIREMENT,
        label=requirement.label,
        part=crossing.part,
        what=f"{subject}: {told} {show(bound)}",
        time=float(live.times[place]),
        request=place + 1,
        n=crossing.n,
        evidence=evidence,
    )
