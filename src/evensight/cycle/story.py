"""What happened in a cycle, as plain values: `cycle.json`, which the page is drawn from."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evensight.cycle.client import Answer
from evensight.files import write_json

FILE = "cycle.json"
SCHEMA_VERSION = 1


@dataclass
class Story:
    """The record of a cycle, written anew after each step, so that one that fails is told as far as it went.

    Attributes:
        folder: Where `cycle.json` goes.
        facts: What the page opens with.
        steps: What was done, in order: name, seconds, sentences, and the pages that show it.
        blocks: The traffic, cut where the monitor looked: wave, requests, right answers, identities.
        looks: Of the monitor: after how many requests, and the alarms there were.
        moments: What happened between two requests: after how many, and in a few words.
    """

    folder: Path
    facts: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    blocks: list[dict[str, Any]] = field(default_factory=list)
    looks: list[dict[str, Any]] = field(default_factory=list)
    moments: list[dict[str, Any]] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Records a step; the block adds its sentences to the list it is given."""
        began = time.perf_counter()
        entry: dict[str, Any] = {"name": name, "said": [], "pages": {}}
        self.steps.append(entry)
        try:
            yield entry["said"]
        finally:
            entry["seconds"] = round(time.perf_counter() - began, 1)
            self.write()

    def show(self, name: str, page: Path) -> None:
        """Names a page that shows the step that is going on."""
        self.steps[-1]["pages"][name] = page.relative_to(self.folder).as_posix()

    def traffic(self, wave: str, answers: Sequence[Answer], first: int) -> None:
        """Records the answers to a block of requests that begins after `first` others."""
        by = sorted({answer.identity for answer in answers})
        self.blocks.append(
            {
                "wave": wave,
                "first": first,
                "n": len(answers),
                "right": sum(answer.right for answer in answers),
                "confidence": sum(answer.confidence for answer in answers) / max(1, len(answers)),
                "identities": {name: sum(answer.identity == name for answer in answers) for name in by},
            }
        )

    def moment(self, after: int, what: str, kind: str, cue: str | None = None) -> None:
        """Records what happened after so many requests; `cue`: that whose reliance was alarmed."""
        self.moments.append({"after": after, "what": what, "kind": kind, **({"cue": cue} if cue else {})})

    def write(self) -> None:
        """Writes `cycle.json`."""
        write_json(
            self.folder / FILE,
            {
                "schema_version": SCHEMA_VERSION,
                "seconds": round(time.perf_counter() - self.started, 1),
                **self.facts,
                "steps": self.steps,
                "blocks": self.blocks,
                "looks": self.looks,
                "moments": sorted(self.moments, key=lambda moment: moment["after"]),
            },
        )
