"""What a model said of every image of a split, and the evidence and the table that come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from evensight.cues.reliance import Outcome
from evensight.data.manifest import Manifest
from evensight.metrics.intervals import clopper_pearson_lower, clopper_pearson_upper
from evensight.objective.conflicting import decided_by_attribute
from evensight.objective.evidence import Counts, Evidence, Paired
from evensight.records.contract import Contract
from evensight.records.instruments import Instruments, Outcomes
from evensight.testing.extras import Extras
from evensight.testing.predictions import Batch, Progress, Served, from_rows, judged, silent

Ints = NDArray[np.int64]
MAJORITY = "majority"


@dataclass(frozen=True)
class Scores:
    """The answers to the N images of a split; M of them could be decoded.

    Attributes:
        rows: The manifest's rows.
        labels: [N].
        attributes: [N, A], -1 unknown.
        known: [M], positions of the images that could be decoded.
        probs: float32 [M, C].
        outcomes: By cue and operator, over the M images.
        rivals: By rival, the class it gives each of the M images.
        errors: By position, what is wrong with an image that could not be decoded.
    """

    rows: Sequence[Mapping[str, Any]]
    labels: Ints
    attributes: Ints
    known: Ints
    probs: NDArray[np.float32]
    outcomes: Outcomes
    rivals: dict[str, Ints]
    errors: dict[int, str] = field(default_factory=dict)

    @property
    def predictions(self) -> Ints:
        """The likeliest class of each image that could be decoded [M]."""
        found: Ints = self.probs.argmax(axis=1).astype(np.int64)
        return found


def score(
    served: Served,
    tools: Instruments,
    manifest: Manifest,
    split: str,
    majority_class: int,
    batch_size: int | None = None,
    progress: Progress = silent,
    extras: Extras | None = None,
) -> Scores:
    """Runs a split through the model once: probabilities, reliance on every cue, what every probe says.

    Args:
        served: The model.
        tools: Donors, cues and probes.
        manifest: With the split.
        split: Its name.
        majority_class: Of the training split: a rival that always names it.
        batch_size: Images a call of the model.
        progress: Told of the images done.
        extras: What the cues need of the images; None where they need pixels alone.
    """
    rows = manifest.split(split).to_dicts()
    errors: dict[int, str] = {}
    load = from_rows(manifest, rows, served.max_pixels)

    def work(batch: Batch) -> tuple[Ints, NDArray[np.float32], Outcomes, dict[str, Ints]]:
        extra = extras.at(batch.positions) if extras is not None else {}
        outcomes = tools.outcomes(served.classes, batch.images, batch.predictions, extra)
        return batch.positions, batch.probs.numpy(), outcomes, tools.rivals(tools.described(batch.images, extra))

    parts = list(judged(served, load, len(rows), work, errors, batch_size, progress, f"judging {split}"))
    positions = np.concatenate([np.zeros(0, np.int64), *(known for known, _, _, _ in parts)])
    probs = np.concatenate([np.zeros((0, served.num_classes), np.float32), *(found for _, found, _, _ in parts)])
    said = [by_cue for _, _, _, by_cue in parts]
    by_rival = {name: np.concatenate([part[name] for part in said]) for name in (said[0] if said else {})}
    return Scores(
        rows=rows,
        labels=manifest.labels(split),
        attributes=manifest.attributes(split),
        known=positions,
        probs=probs,
        outcomes=tools.joined([outcomes for _, _, outcomes, _ in parts]),
        rivals={MAJORITY: np.full(len(positions), majority_class, np.int64), **by_rival},
        errors=errors,
    )


def evidence(scores: Scores, contract: Contract, missing: Mapping[str, str], artifact_bytes: int) -> Evidence:
    """Turns answers into what the objective's requirements read. An image that failed is in no rate.

    Args:
        scores: From `score`.
        contract: Of the artifact: names levels and usual levels.
        missing: Why a cue could not be measured.
        artifact_bytes: Of `model.ts`.
    """
    labels = scores.labels[scores.known]
    right = scores.predictions == labels
    return Evidence(
        counts=counts(labels, scores.predictions, scores.attributes[scores.known], contract),
        usual=contract.usual,
        reliance={
            cue: {operator: _paired(*outcome.paired()) for operator, outcome in operators.items()}
            for cue, operators in scores.outcomes.items()
        },
        advantage={
            rival: _paired(int((right & (said != labels)).sum()), int((~right & (said == labels)).sum()), len(labels))
            for rival, said in scores.rivals.items()
        },
        environment={"artifact_bytes": float(artifact_bytes)},
        missing={f"{metric}/{cue}": why for cue, why in missing.items() for metric in ("reliance", "advantage")},
    )


def counts(labels: Ints, predictions: Ints, attributes: Ints, contract: Contract) -> Counts:
    """Counts true class x prediction, overall and by each level of each attribute of the contract."""
    num_classes = len(contract.classes)
    pairs = labels * num_classes + predictions
    overall = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    by_attribute = {}
    for column, (name, levels) in enumerate(contract.attributes.items()):
        known = attributes[:, column] >= 0
        cells = attributes[known, column] * num_classes**2 + pairs[known]
        found = np.bincount(cells, minlength=len(levels) * num_classes**2)
        by_attribute[name] = found.reshape(len(levels), num_classes, num_classes).astype(np.int64)
    return Counts(overall.astype(np.int64), by_attribute)


def decided_by(found: Counts, usual: Mapping[str, Sequence[int]], alpha: float) -> list[dict[str, Any]]:
    """Says how many conflicting images are given a class whose usual level they carry, for each attribute.

    Returns:
        Per attribute: `share`, its interval `low` to `high` (each side at alpha), `n`, and `chance`: the share of
        guesses that would.
    """
    rows = []
    for name, levels in usual.items():
        table, of_class = found.by_attribute[name], np.asarray(levels)
        own = np.arange(table.shape[0])[:, None] == of_class[None]  # [L, K]: is this the usual level of that class?
        conflicting = table * ~own[:, :, None]
        x, n = (int(count) for count in decided_by_attribute(table, levels))
        if n:
            images = conflicting.sum(axis=(1, 2))
            chance = float((images * own.mean(axis=1)).sum() / n)
            low, high = float(clopper_pearson_lower(x, n, alpha)), float(clopper_pearson_upper(x, n, alpha))
            rows.append({"attribute": name, "share": x / n, "low": low, "high": high, "n": n, "chance": chance})
    return rows


def table(scores: Scores, contract: Contract) -> pl.DataFrame:
    """Returns one row an image, in the manifest's order; what was not computed for an image that failed is null."""
    count = len(scores.rows)
    prediction = np.full(count, -1, np.int64)
    prediction[scores.known] = scores.predictions
    probabilities: list[list[float] | None] = [None] * count
    for position, row in zip(scores.known.tolist(), scores.probs.tolist(), strict=True):
        probabilities[position] = row
    columns: dict[str, Any] = {
        **{name: [row[name] for row in scores.rows] for name in ("index", "row_id", "path")},
        "label": scores.labels,
        "prediction": prediction,
        "probabilities": pl.Series(probabilities, dtype=pl.List(pl.Float32)),
        "error": pl.Series([scores.errors.get(position) for position in range(count)], dtype=pl.String),
    }
    for column, name in enumerate(contract.attributes):
        columns[f"attribute:{name}"] = scores.attributes[:, column]
    for name, said in scores.rivals.items():
        columns[f"rival:{name}"] = spread(said, scores)
    for cue, operators in scores.outcomes.items():
        for operator, outcome in operators.items():
            columns |= _columns(f"reliance:{cue}:{operator}", outcome, scores)
    return pl.DataFrame(columns)


def spread(values: NDArray[Any], scores: Scores) -> pl.Series:
    """Puts values of the M images that could be decoded at their places among all N; null elsewhere."""
    found: list[Any] = [None] * len(scores.rows)
    for position, value in zip(scores.known.tolist(), values.tolist(), strict=True):
        found[position] = value
    return pl.Series(found, dtype=pl.Boolean if values.dtype == np.bool_ else pl.Int64)


def _columns(prefix: str, outcome: Outcome, scores: Scores) -> dict[str, pl.Series]:
    kept: dict[str, torch.Tensor] = {
        "transplant": outcome.moved_transplant,
        "placebo": outcome.moved_placebo,
        "donor": outcome.donor,
        "donor_class": outcome.donor_class,
    }
    return {f"{prefix}:{name}": spread(values.numpy(), scores) for name, values in kept.items()}


def _paired(first: int, second: int, n: int) -> Paired:
    return Paired(np.array(first), np.array(second), np.array(n))
