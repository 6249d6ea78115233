"""What a stage has to show beside its verdict: tables and pictures, of limited size, from the files of a run.

The limits, for 100 classes and 20 groups and beyond: at most `MAX_ROWS` rows a table and `MAX_PICTURES` pictures of at
most `MAX_SIDE` pixels a side. A stage of 100 classes x 20 groups then stays under `MAX_BYTES`, pictures included
(measured by a test); what is beyond a limit is left out, the rows with most images staying.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from evensight.metrics.intervals import clopper_pearson
from evensight.run import Run

MAX_ROWS = 10_000  # where W&B's own tables end
MAX_PICTURES = 48  # a stage: mistakes first, then transplants
MAX_SIDE = 128  # pixels of a picture; a transplant shows three beside each other
MAX_BYTES = 8_000_000  # a stage in an offline run folder
MAX_EPOCH_BYTES = 50_000  # the figures of an epoch of 100 classes and 20 groups

Row = list[Any]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Table:
    """Rows under named columns; `num_rows` of them before the limit."""

    columns: list[str]
    rows: list[Row]
    num_rows: int


@dataclass(frozen=True)
class Picture:
    """Images shown beside each other, and what they are."""

    paths: list[Path]
    caption: str


@dataclass(frozen=True)
class Judged:
    """A stage: its verdict file, its tables by name, its pictures by kind."""

    stage: str
    verdict: dict[str, Any]
    tables: dict[str, Table]
    pictures: dict[str, list[Picture]]


def judged(run: Run) -> list[Judged]:
    """Reads every stage that has a verdict; tables and pictures are empty where their files are missing."""
    contract = run.read_json("artifact/contract.json") or {}
    confidence = float((run.read_json("objective.json") or {}).get("confidence", 0.95))
    found = []
    for path in sorted(run.verdicts.glob("*.json"), reverse=True):  # validation, test
        stage, verdict = path.stem, json.loads(path.read_text(encoding="utf-8"))
        tables = {"requirements": requirements(verdict["requirements"])}
        predictions = run.predictions / f"{stage}.parquet"
        if contract and predictions.is_file():
            known = pl.read_parquet(predictions).filter(pl.col("prediction") >= 0)
            tables |= counted(known, contract["classes"], contract["attributes"], 1.0 - confidence)
        shown = run.read_json(f"pictures/{stage}.json") or {}
        classes = contract.get("classes", [])
        found.append(Judged(stage, verdict, tables, pictures(shown, run.pictures / stage, classes)))
    return found


def requirements(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Returns a row a requirement, as the verdict file has it."""
    columns = ["label", "verdict", "estimate", "low", "high", "n", "direction", "bound", "worst"]
    return limited(columns, [[row.get(name) for name in columns] for row in rows], None)


def counted(
    known: pl.DataFrame, classes: Sequence[str], attributes: Mapping[str, Sequence[str]], alpha: float
) -> dict[str, Table]:
    """Returns the tables that are counted from predictions: per class, group and cell, and the confusion.

    Args:
        known: `label`, `prediction` and `attribute:<name>`, an image a row, all decodable.
        classes: In the order of the indices.
        attributes: The levels of each, likewise.
        alpha: How often a bound may err on its side; exact bounds (Clopper-Pearson).
    """
    label, prediction = known["label"].to_numpy(), known["prediction"].to_numpy()
    tables = _by_class(label, prediction, classes, alpha)
    per_group: list[Row] = []
    per_cell: list[Row] = []
    for attribute, levels in attributes.items():
        level = known[f"attribute:{attribute}"].to_numpy()
        here, shape = level >= 0, (len(classes), len(levels))
        place, size = label[here] * len(levels) + level[here], len(classes) * len(levels)
        total = np.bincount(place, minlength=size).reshape(shape)
        right = np.bincount(place[(label == prediction)[here]], minlength=size).reshape(shape)
        groups = _rates(right.sum(axis=0), total.sum(axis=0), alpha)
        per_group += [[attribute, name, *groups[index]] for index, name in enumerate(levels)]
        names = [[name, attribute, level_name] for name in classes for level_name in levels]
        cells = _rates(right.ravel(), total.ravel(), alpha)
        per_cell += [[*name, *cell] for name, cell in zip(names, cells, strict=True) if cell[0]]
    rate = ["images", "accuracy", "low", "high"]
    tables["per_group"] = limited(["attribute", "level", *rate], per_group, 2)
    tables["per_cell"] = limited(["class", "attribute", "level", *rate], per_cell, 3)
    return tables


def _by_class(label: Ints, prediction: Ints, classes: Sequence[str], alpha: float) -> dict[str, Table]:
    count = len(classes)
    pairs = np.bincount(label * count + prediction, minlength=count**2)
    confusion = pairs.reshape(count, count)
    right = np.diagonal(confusion)
    recall, precision = _rates(right, confusion.sum(axis=1), alpha), _rates(right, confusion.sum(axis=0), alpha)
    columns = ["class", "images", "recall", "recall low", "recall high"]
    columns += ["predicted", "precision", "precision low", "precision high"]
    rows = [[name, *recall[k], *precision[k]] for k, name in enumerate(classes)]
    most = np.argsort(-pairs, kind="stable")[: np.count_nonzero(pairs)].tolist()
    confused = [[classes[place // count], classes[place % count], int(pairs[place])] for place in most]
    return {
        "per_class": limited(columns, rows, 1),
        "confusion": limited(["Actual", "Predicted", "nPredictions"], confused, 2),
    }


def limited(columns: list[str], rows: list[Row], images: int | None) -> Table:
    """Returns a table of at most `MAX_ROWS` rows: those with most images, by the column `images`, in their order."""
    if len(rows) <= MAX_ROWS:
        return Table(columns, rows, len(rows))
    order = list(range(len(rows)))
    if images is not None:
        order.sort(key=lambda place: -rows[place][images])
    kept = sorted(order[:MAX_ROWS])
    return Table(columns, [rows[place] for place in kept], len(rows))


def pictures(shown: Mapping[str, Any], folder: Path, classes: Sequence[str]) -> dict[str, list[Picture]]:
    """Returns mistakes and transplants of a stage's `pictures/<stage>.json`, at most `MAX_PICTURES` in all."""
    mistakes = [
        Picture(
            [folder / entry["file"]],
            f"{classes[entry['label']]} taken for {classes[entry['prediction']]} ({entry['probability']:.3f}): "
            f"{entry['path']}",
        )
        for entry in shown.get("mistakes", [])[:MAX_PICTURES]
    ]
    transplants = [
        Picture(
            [folder / entry[part] for part in ("image", "donor", "transplanted")],
            f"{entry['cue']} of {classes[entry['donor_class']]} by {entry['operator']}: "
            f"{classes[entry['before']]} becomes {classes[entry['prediction']]}{', moved' if entry['moved'] else ''}",
        )
        for entry in shown.get("transplants", [])
    ]
    room = MAX_PICTURES - len(mistakes)
    places = sorted(set(np.linspace(0, len(transplants) - 1, min(room, len(transplants))).astype(int).tolist()))
    return {"mistakes": mistakes, "transplants": [transplants[place] for place in places]}


def strip(paths: Sequence[Path]) -> Image.Image:
    """Returns images beside each other, each at most `MAX_SIDE` pixels a side."""
    parts = []
    for path in paths:
        with Image.open(path) as image:
            part = image.convert("RGB")
        part.thumbnail((MAX_SIDE, MAX_SIDE))
        parts.append(part)
    joined = Image.new("RGB", (sum(part.width for part in parts), max(part.height for part in parts)))
    left = 0
    for part in parts:
        joined.paste(part, (left, 0))
        left += part.width
    return joined


def figures(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a verdict file as flat figures: `<stage>/verdict`, and verdict, estimate and n of each requirement."""
    stage = verdict["stage"]
    found = {f"{stage}/verdict": verdict["verdict"]}
    for row in verdict["requirements"]:
        for key in ("verdict", "estimate", "low", "high", "n"):
            if row[key] is not None:
                found[f"{stage}/{row['label']}/{key}"] = row[key]
    return found


def _rates(x: Ints, n: Ints, alpha: float) -> list[Row]:
    """Returns images, rate and bounds of each x of n; no rate where there are no images."""
    low, high = clopper_pearson(x, n, alpha)
    return [
        [int(images), float(right / images) if images else None, float(a), float(b)]
        for right, images, a, b in zip(x, n, low, high, strict=True)
    ]
