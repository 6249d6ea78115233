"""Pictures of the traffic, and what each model of a cycle says of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evensight.cycle.client import Answer
from evensight.cycle.live import Live
from evensight.data.traffic import WAVES
from evensight.files import write_bytes
from evensight.records.artifact import Artifact
from evensight.runtime.predictor import Predictor

EACH = 8  # pictures of a wave


def pictures(folder: Path, live: Live, models: Sequence[tuple[str, Artifact]]) -> list[dict[str, Any]]:
    """Writes `pictures/` of a cycle and returns what its page shows of them.

    The first of each wave, that are of different classes.

    Args:
        folder: Of the cycle.
        live: Its traffic.
        models: Names and artifacts.
    """
    chosen = [answer for wave in WAVES for answer in _first(live, wave)]
    entries: list[dict[str, Any]] = []
    for answer in chosen:
        file = f"pictures/{answer.request.number:06d}.png"
        write_bytes(folder / file, answer.request.png)
        entries.append({"file": file, "wave": answer.request.wave, "label": answer.request.label, "answers": []})
    for name, artifact in models:
        said = Predictor(artifact.folder, accept_failed=True).predict([answer.request.png for answer in chosen])
        for entry, prediction in zip(entries, said, strict=True):
            entry["answers"].append({"model": name, "label": prediction.label})
    return entries


def _first(live: Live, wave: str) -> list[Answer]:
    own = sorted((a for a in live.answers.values() if a.request.wave == wave), key=lambda a: a.request.number)
    by_label: dict[str, Answer] = {}
    for answer in own:
        by_label.setdefault(answer.request.label, answer)
    return list(by_label.values())[:EACH]
