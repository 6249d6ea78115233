"""Stage 6: what a prediction log says of the model that made it, in the terms of the objective inside the artifact.

Everything is computed anew from the log at every look, so a monitor that was restarted says what it would have said.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evensight.errors import UserError, shown
from evensight.interruption import Interrupted, deferred
from evensight.monitor.alarms import REQUIREMENT, SHARES, Alarm, share
from evensight.monitor.estimate import assumption, estimated, gap_of
from evensight.monitor.live import Live, from_traffic
from evensight.monitor.requirements import judge
from evensight.monitor.shift import compare
from evensight.monitor.timelines import groups, timelines
from evensight.monitor.volume import too_many_rejected, volume
from evensight.objective import verdict_file as verdicts
from evensight.objective.verdict_file import VerdictFile
from evensight.records.artifact import Artifact
from evensight.records.instruments import instruments
from evensight.records.reference import Reference, read_reference
from evensight.records.traffic import Traffic, read_traffic

log = logging.getLogger(__name__)

ALPHA = 0.025
MOST_REJECTED = 0.05
# What a server knows of an image beside its pixels.
KNOWN = ("size",)
VERDICT = Path("verdicts") / "monitor.json"


@dataclass(frozen=True)
class Monitored:
    """What one look found.

    Attributes:
        verdict: As written; FAIL where a requirement alarmed.
        alarms: Of every kind, in the order of the requests they came after.
    """

    verdict: VerdictFile
    alarms: list[Alarm]

    @property
    def status(self) -> int:
        """1 where there is an alarm of any kind, else 0."""
        return int(bool(self.alarms))

    @property
    def requirement_alarms(self) -> list[Alarm]:
        """The alarms that make the verdict FAIL."""
        return [alarm for alarm in self.alarms if alarm.kind == REQUIREMENT]


def monitor(
    artifact: Artifact,
    log: Path,
    out: Path,
    alpha: float = ALPHA,
    most_rejected: float = MOST_REJECTED,
    since: float | None = None,
) -> Monitored:
    """Judges a model by its log, and writes `verdicts/monitor.json`; the page is made from it by `report/monitor.py`.

    Args:
        artifact: Opened; predictions of other artifacts in the log are counted and not judged.
        log: The prediction log; it may be written to meanwhile.
        out: Folder of what is written.
        alpha: The chance that a model that meets its objective, on traffic like the test, ever raises any alarm,
            however often one looks (where labels come late: as long as how late does not depend on the answer).
        most_rejected: The share of requests without a prediction that is taken for normal.
        since: Only what happened at this time (seconds since 1970, UTC) or later.

    Raises:
        UserError: If there is no log, or it is of other classes.
    """
    check(alpha, most_rejected)
    traffic = read_traffic(log, artifact.identity, since)
    contract = artifact.contract
    objective = contract.stated_objective()
    live = from_traffic(traffic, contract, instruments(artifact, KNOWN))
    reference = read_reference(artifact)
    found = judge(objective, contract, live, alpha)
    shifts, shift_alarms = compare(live, reference, len(contract.classes), alpha)
    rejected = traffic.rejected.sort("time", "code")
    lost = rejected["time"].to_numpy().astype(float)
    alarms = [*found.alarms, *shift_alarms, *too_many_rejected(live.times, lost, most_rejected, alpha)]
    alarms.sort(key=lambda alarm: alarm.request)
    verdict = verdicts.verdict_file(
        objective,
        "monitor",
        found.decision,
        _digest(traffic),
        artifact.identity,
        {
            "purpose": objective.purpose,
            "log": str(log),
            "alpha": {"all": alpha, **{kind: share(kind, alpha) for kind in SHARES}},
            "alarms": [alarm.plain() for alarm in alarms],
            "shift": {"compared": shifts, "missing": _no_shift(reference)},
            "volume": volume(live.times, lost, rejected["code"].to_list()),
            **_read(traffic, artifact.identity, live),
            **_figures(live, artifact, reference, objective.alpha),
        },
    )
    verdicts.write(out / VERDICT, verdict)
    return Monitored(verdict, alarms)


def watch(look: Callable[[], Monitored], every_s: float, say: Callable[[str], None]) -> Monitored:
    """Looks again and again until interrupted, and says each alarm once.

    Args:
        look: One look.
        every_s: Seconds from the end of a look to the next.
        say: Receives a line for each new alarm.

    Returns:
        What the last look found.
    """
    told: set[tuple[str, str, str]] = set()

    def tell(found: Monitored) -> None:
        for alarm in found.alarms:
            if alarm.name not in told:
                told.add(alarm.name)
                say(line(alarm))

    last = look()
    try:
        while True:
            with deferred():  # a signal cuts no line in two
                tell(last)
            time.sleep(every_s)
            last = look()
    except (Interrupted, KeyboardInterrupt):
        tell(last)
        return last


def line(alarm: Alarm) -> str:
    """Says an alarm in a line."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(alarm.time))
    return f"{when} UTC  request {alarm.request:,}  {alarm.kind} alarm: {alarm.what}"


def check(alpha: float, most_rejected: float) -> None:
    """Refuses settings that mean nothing.

    Raises:
        UserError: If one is no chance strictly between 0 and 1.
    """
    for key, value in (("alpha", alpha), ("most_rejected", most_rejected)):
        if not 0 < value < 1:
            raise UserError(f"{key}: found {shown(value)}, allowed is a number above 0 and below 1.")


def _digest(traffic: Traffic) -> str:
    """Returns the SHA-256 of the ids that were read, in their order: the data of this verdict."""
    return hashlib.sha256("".join(f"{id}\n" for id in traffic.predictions["id"].to_list()).encode()).hexdigest()


def _no_shift(reference: Reference | None) -> str:
    """Says why some or all of it was not compared, else nothing."""
    if reference is None:
        return "the artifact has no reference figures; evensight test run=<run folder> attaches them"
    return reference.missing


def _read(traffic: Traffic, identity: str, live: Live) -> dict[str, Any]:
    """What the log held, and what of it is in no figure."""
    others = {name: count for name, count in sorted(traffic.identities.items()) if name != identity}
    return {
        "num_images": len(live),
        "labels": {
            "labelled": len(live.labelled),
            "conflicting": traffic.conflicts,
            "repeated": traffic.duplicates,
            "late": traffic.late,
            "of_unknown_ids": traffic.unknown_feedback,
        },
        "identities": {identity: traffic.identities.get(identity, 0), **others},
        "swaps": traffic.swaps.sort("time").to_dicts(),
        "cut": traffic.cut,
    }


def _figures(live: Live, artifact: Artifact, reference: Reference | None, alpha: float) -> dict[str, Any]:
    """Figures that no requirement speaks of, and those the page draws."""
    gap = gap_of(reference)
    at_test: Mapping[str, Any] = reference.figures if reference is not None else {}
    return {
        "estimated": {**estimated(live.confidence, gap, alpha), "assumption": assumption(reference)},
        "groups": groups(live, artifact.contract, gap, alpha),
        "timelines": timelines(live, artifact.contract, gap, alpha),
        "classes": list(artifact.contract.classes),
        "at_test": {name: at_test[name] for name in ("num_images", "labels", "groups", "reliance") if name in at_test},
    }
