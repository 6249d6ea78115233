"""What was turned off and how: `focus.json` of a run, with its pictures, moves of a controller, figures of a trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evensight.report.charts import number
from evensight.report.folder import RunFiles
from evensight.report.lines import STYLES, Chart, Point, Series, line_chart
from evensight.report.pictures import data_uri

# What each way of `focus.by` does, in words that need no paper.
WAYS = {
    "augment": "training images take it from other images",
    "remove": "the network takes it out of every image, so that it relies on it in nothing",
    "consistency": "two versions of an image must be answered alike",
    "groups": "groups of images are weighed against each other",
    "head": "the last layer is fitted again on images in which it says nothing",
}
MOST_PAIRS = 8


def focus_view(run: RunFiles) -> dict[str, Any] | None:
    """Returns the section: what is turned off, what the network saw, moves, the trial; None without a focus."""
    record = run.focus
    if not record:
        return None
    cues, moves = list(record.get("cues", [])), list(record.get("moves", []))
    return {
        "cues": [cue["name"] for cue in cues],
        "ways": [(way, WAYS.get(way, "")) for way in record.get("by", [])],
        "strength": _strengths(cues),
        "sees": _sees(run),
        "chart": _chart(run, cues, moves),
        "moves": [_move(move) for move in moves],
        "trial": list(_flat(record.get("trial") or {})),
        "notes": [str(note) for note in record.get("notes", [])],
    }


def _strengths(cues: list[Mapping[str, Any]]) -> str:
    values = {cue["name"]: float(cue.get("strength", 1.0)) for cue in cues}
    if len(set(values.values())) == 1:
        return f"{next(iter(values.values())):g}"
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _sees(run: RunFiles) -> list[dict[str, Any]]:
    """Returns the pairs of pictures of each way in which images were changed, as data URIs."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for entry in run.focus.get("sees", []):
        pair = {part: data_uri(run.folder / entry[part]) for part in ("before", "after")}
        by_name.setdefault(str(entry["cue"]), []).append(pair)
    return [{"name": name, "pairs": pairs[:MOST_PAIRS]} for name, pairs in by_name.items()]


def _chart(run: RunFiles, cues: list[Mapping[str, Any]], moves: list[Mapping[str, Any]]) -> Chart | None:
    """Returns the strength in which each epoch trained; none where nothing moved."""
    if not moves or not run.epochs:
        return None
    count = max(int(line["epoch"]) + 1 for line in run.epochs)
    parts = []
    for i, cue in enumerate(cues):
        own = sorted((move for move in moves if move["cue"] == cue["name"]), key=lambda move: int(move["epoch"]))
        strength = float(own[0]["strength_before"] if own else cue.get("strength", 1.0))
        points = []
        for epoch in range(count):
            points.append(Point(epoch + 1, strength))
            for move in own:
                if int(move["epoch"]) == epoch:  # after this epoch, so from the next one on
                    strength = float(move["strength"])
        parts.append(Series(str(cue["name"]), tuple(points), STYLES[i % len(STYLES)]))
    return line_chart("Strength of each cue's focus", parts, count)


def _move(move: Mapping[str, Any]) -> dict[str, str]:
    figures = [f"{name} {float(move[name]):.3f}" for name in ("reliance", "bound") if move.get(name) is not None]
    return {
        "epoch": str(int(move["epoch"]) + 1),
        "what": f"{move['cue']}: {float(move['strength_before']):.3g} to {float(move['strength']):.3g}",
        "figures": ", ".join(figures),
        "why": str(move.get("why", "")),
    }


def _flat(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields name and text of every figure; a mapping with an estimate is one figure, another a group of them."""
    for key, value in figures.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            if {"estimate", "low", "high"} <= set(value):
                images = f", n {value['n']:,}" if "n" in value else ""
                yield name, f"{value['estimate']:.3f} ({value['low']:.3f} to {value['high']:.3f}{images})"
            else:
                yield from _flat(value, f"{name}, ")
        elif value is not None:
            yield name, _said(value)


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_said(part) for part in value)
    return number(value) if isinstance(value, int | float) else str(value)
