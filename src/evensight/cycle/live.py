"""Live traffic and those who watch it: waves of requests, labels that come back, and the monitor that looks."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from evensight.config import CycleConfig
from evensight.cycle.client import Answer, Client, requests
from evensight.cycle.story import Story
from evensight.data.traffic import DrawsTraffic
from evensight.errors import RunError
from evensight.monitor.alarms import Alarm
from evensight.monitor.monitor import Monitored, monitor
from evensight.records.artifact import Artifact
from evensight.records.traffic import read_traffic
from evensight.report.monitor import write_monitor_report

log = logging.getLogger(__name__)

SETTLED_SECONDS = 60.0
MOST_BLOCKS_FOR_A_SWAP = 40


@dataclass
class Live:
    """The traffic of a cycle.

    Attributes:
        settings: How much of it.
        source: Draws it.
        client: Sends it.
        log: The prediction log that the server writes.
        story: Receives what happened.
        answers: All there were, by id.
    """

    settings: CycleConfig
    source: DrawsTraffic
    client: Client
    log: Path
    story: Story
    answers: dict[str, Answer] = field(default_factory=dict)
    _next: dict[str, int] = field(default_factory=dict)  # first image of a wave that was not sent
    _told: set[tuple[str, str]] = field(default_factory=set)  # identity and label of the alarms that are in the story

    @property
    def sent(self) -> int:
        """How many requests were answered."""
        return len(self.answers)

    def wave(self, name: str, artifact: Artifact, out: Path) -> Monitored:
        """Sends a wave; the monitor looks after each block.

        Args:
            name: Of the wave.
            artifact: Whose predictions the monitor judges.
            out: Where it writes.

        Returns:
            What the last look found.
        """
        left = self.settings.requests
        while True:
            self.block(name, min(self.settings.look_every, left))
            left -= self.settings.look_every
            found = self.look(artifact, out)
            if left <= 0:
                return found

    def block(self, wave: str, count: int, answered: Callable[[Answer], None] | None = None) -> list[Answer]:
        """Sends requests of a wave, and the labels of some of them."""
        start = self._next.get(wave, 0)
        self._next[wave] = start + count
        first = self.sent
        found = self.client.send(list(requests(self.source, wave, start, count, first)), answered)
        self.answers |= {answer.id: answer for answer in found}
        self.client.feedback([answer for answer in found if self.labelled(answer.request.number)])
        self.story.traffic(wave, found, first)
        return found

    def until_swapped(self, wave: str, identity: str, promote: Callable[[], None]) -> None:
        """Sends requests while a promotion happens, until the answers come from the model that was promoted.

        Raises:
            RunError: If they never do.
        """
        came: list[int] = []
        begun: list[bool] = []

        def answered(answer: Answer) -> None:
            came.append(answer.request.number)
            if not begun and len(came) >= self.settings.look_every // 2:
                begun.append(True)
                promote()

        for _ in range(MOST_BLOCKS_FOR_A_SWAP):
            found = self.block(wave, self.settings.look_every, answered)
            new = [answer.request.number for answer in found if answer.identity == identity]
            if new:
                self.story.moment(min(new), f"the server swapped to the challenger {identity[:12]}", "swap")
                return
        raise RunError(f"the server did not swap to {identity[:12]} within {len(came):,} requests.")

    def look(self, artifact: Artifact, out: Path) -> Monitored:
        """Lets the monitor look once everything that was answered is in the log, and records new alarms."""
        self._settled()
        found = monitor(artifact, self.log, out)
        write_monitor_report(out)
        self.story.looks.append(
            {
                "after": self.sent,
                "artifact": artifact.identity,
                "verdict": found.verdict.verdict,
                "alarms": [_plain(alarm) for alarm in found.alarms],
            }
        )
        first_of = {alarm.label: alarm for alarm in reversed(found.alarms)}
        for label, first in sorted(first_of.items(), key=lambda item: item[0]):
            if (artifact.identity, label) in self._told:
                continue
            self._told.add((artifact.identity, label))
            kind = "alarm" if first.kind == "requirement" else "shift"
            cue = _cue_of(artifact, label) if kind == "alarm" else None
            self.story.moment(self._place(artifact, first), f"{first.kind}: {first.what}", kind, cue)
        return found

    def measure_blocks(self) -> None:
        """Adds to each block of the story what the transplants did to its sampled images, from the log alone."""
        outcomes = read_traffic(self.log).outcomes
        numbers = {name: answer.request.number for name, answer in self.answers.items()}
        known = outcomes.filter(pl.col("id").is_in(list(numbers)))
        placed = known.with_columns(pl.col("id").replace_strict(numbers, return_dtype=pl.Int64).alias("number"))
        for block in self.story.blocks:
            own = placed.filter(pl.col("number").is_between(block["first"], block["first"] + block["n"] - 1))
            block["reliance"] = worst_operators(own)

    def labelled(self, number: int) -> bool:
        """Whether the label of a request comes back: by a hash, so that no class or wave has more of them."""
        word = int.from_bytes(hashlib.sha256(f"label {number}".encode()).digest()[:8])
        return word < self.settings.labelled * 2.0**64

    def _place(self, artifact: Artifact, alarm: Alarm) -> int:
        """Returns after how many requests of the whole traffic an alarm came."""
        own = sorted(a.request.number for a in self.answers.values() if a.identity == artifact.identity)
        return own[min(alarm.request, len(own)) - 1] + 1

    def _settled(self) -> None:
        """Waits until the server has written down all that it answered: it does so after it answers."""
        deadline = time.monotonic() + SETTLED_SECONDS
        while (found := read_traffic(self.log).predictions.height) < self.sent:
            if time.monotonic() > deadline:
                log.warning("the log has %d of %d answers after %.0f s", found, self.sent, SETTLED_SECONDS)
                return
            time.sleep(0.1)


def _plain(alarm: Alarm) -> dict[str, Any]:
    return {"kind": alarm.kind, "label": alarm.label, "part": alarm.part, "what": alarm.what, "request": alarm.request}


def _cue_of(artifact: Artifact, label: str) -> str | None:
    """Returns the cue of a requirement on reliance, by its label."""
    objective = artifact.contract.stated_objective()
    return next((one.cue for one in objective.requirements if one.label == label and one.metric == "reliance"), None)


def worst_operators(outcomes: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Returns for each cue the counts of its operator with the largest pull."""
    moved = (pl.col("transplant") & ~pl.col("placebo")).sum().alias("first")
    placebo = (pl.col("placebo") & ~pl.col("transplant")).sum().alias("second")
    counted = outcomes.group_by("cue", "operator").agg(moved, placebo, pl.len().alias("n")).sort("cue", "operator")
    found: dict[str, dict[str, Any]] = {}
    for row in counted.to_dicts():
        pull = row["first"] - row["second"]
        best = found.get(row["cue"])
        if best is None or pull > best["first"] - best["second"]:
            found[row["cue"]] = {name: row[name] for name in ("operator", "first", "second", "n")}
    return found
