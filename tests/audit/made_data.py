"""Data sets as arrays: features made to say what a test needs, without a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight.audit.data import AuditData, Scores
from evensight.audit.properties import COLUMNS
from evensight.data.similar import hash_and_thumbnail
from evensight.objective.objective import Objective


def objective_of(num_classes: int, **keys: object) -> Objective:
    requirement = {"metric": "accuracy", "bound": 0.5}
    stated = {"name": "o", "purpose": "p", "requirements": [requirement], **keys}
    return Objective.from_config({**stated, "classes": [f"c{k}" for k in range(num_classes)]})


def scores_of(num: int, features: Mapping[str, NDArray[np.float32]]) -> Scores:
    hashed, thumbnail = hash_and_thumbnail(np.zeros((8, 8, 3), np.uint8))
    rows = dict.fromkeys(COLUMNS, [None] * num)
    return Scores(
        properties=pl.DataFrame(rows, schema=dict(COLUMNS)),
        hashes=np.zeros((num, len(hashed)), np.uint64),
        thumbnails=np.zeros((num, *thumbnail.shape), np.uint8),
        features=features,
        measured=np.ones(num, np.bool_),
    )


def data_of(
    labels: NDArray[np.int64],
    features: Mapping[str, NDArray[np.float32]],
    splits: Sequence[str] | None = None,
    attributes: Mapping[str, NDArray[np.int64]] | None = None,
    objective: Objective | None = None,
    open_test: bool = True,
) -> AuditData:
    num, num_classes = len(labels), int(labels.max()) + 1
    attributes = attributes or {}
    return AuditData(
        classes=tuple(f"c{k}" for k in range(num_classes)),
        levels={name: tuple(f"l{k}" for k in range(int(level.max()) + 1)) for name, level in attributes.items()},
        splits=np.array(splits if splits is not None else ["train"] * num),
        labels=labels,
        attributes=attributes,
        scores=scores_of(num, features),
        objective=objective or objective_of(num_classes),
        open_test=open_test,
        counts={},
        row_ids=[f"r{i}#0" for i in range(num)],
        paths=[f"{i}.png" for i in range(num)],
    )


def cue(labels: NDArray[np.int64], correlation: float, rng: np.random.Generator, num: int = 4) -> NDArray[np.float32]:
    """Features of a cue that agrees with the label with this chance, else says any class alike."""
    num_classes = int(labels.max()) + 1
    own = rng.random(len(labels)) < correlation
    said = np.where(own, labels, rng.integers(0, num_classes, len(labels)))
    centres = np.random.default_rng(7).standard_normal((num_classes, num)) * 3
    return (centres[said] + 0.3 * rng.standard_normal((len(labels), num))).astype(np.float32)
