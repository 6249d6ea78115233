"""Data sets without files for tests of the audit: labels, attributes and annotations as they are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from evensight.audit.data import AuditData, Scores
from evensight.audit.properties import COLUMNS
from evensight.objective.objective import Objective


def objective_of(
    classes: Sequence[str], levels: Mapping[str, Sequence[str]], requirements: Sequence[Mapping[str, Any]] = ()
) -> Objective:
    """Returns a resolved objective."""
    return Objective.from_config(
        {
            "name": "o",
            "purpose": "Tell them apart.",
            "classes": list(classes),
            "attributes": {name: {"levels": list(each)} for name, each in levels.items()},
            "requirements": [dict(each) for each in requirements],
        }
    )


def drawn(
    labels: Any,
    attributes: Mapping[str, Any] | None = None,
    splits: Any = "train",
    *,
    classes: Sequence[str] = ("cat", "dog", "owl"),
    levels: Mapping[str, Sequence[str]] | None = None,
    requirements: Sequence[Mapping[str, Any]] = (),
    properties: Mapping[str, Any] | None = None,
    annotations: pl.DataFrame | None = None,
    open_test: bool = True,
) -> AuditData:
    """Returns rows as the audit sees them; labels and attributes of test rows are hidden unless the split is open."""
    true = np.asarray(labels, dtype=np.int64)
    num = len(true)
    where = np.array([splits] * num) if isinstance(splits, str) else np.asarray(splits)
    known = {name: np.asarray(column, dtype=np.int64) for name, column in (attributes or {}).items()}
    names = dict(levels or {name: [f"{name}{i}" for i in range(int(c.max()) + 1)] for name, c in known.items()})
    levels_of = {name: tuple(names[name]) for name in sorted(names)}
    hidden = (where == "test") & (not open_test)
    nothing: dict[str, Any] = {name: pl.Series(name, [None] * num, kind) for name, kind in COLUMNS.items()}
    measured = {**nothing, **{name: pl.Series(name, column) for name, column in (properties or {}).items()}}
    return AuditData(
        classes=tuple(classes),
        levels=levels_of,
        splits=where,
        labels=np.where(hidden, -1, true),
        attributes={name: np.where(hidden, -1, known[name]) for name in levels_of},
        scores=Scores(
            pl.DataFrame(measured),
            np.zeros((num, 1), np.uint64),
            np.zeros((num, 1, 1), np.uint8),
            {},
            np.ones(num, np.bool_),
        ),
        objective=objective_of(classes, levels_of, requirements),
        open_test=open_test,
        counts={
            split: _counts(
                true[where == split],
                {name: known[name][where == split] for name in levels_of},
                len(classes),
                {name: len(each) for name, each in levels_of.items()},
            )
            for split in ("train", "validation", "test")
        },
        row_ids=[f"row-{at}" for at in range(num)],
        paths=[f"x.npy#{at}" for at in range(num)],
        annotations=annotations,
    )


def _counts(
    labels: Any, attributes: Mapping[str, Any], num_classes: int, num_levels: Mapping[str, int]
) -> dict[str, Any]:
    counts = {"overall": np.bincount(labels, minlength=num_classes).astype(np.int64)}
    for name, column in attributes.items():
        table = np.zeros((num_classes, num_levels[name]), dtype=np.int64)
        np.add.at(table, (labels[column >= 0], column[column >= 0]), 1)
        counts[name] = table
    return counts
