"""What the monitor compares live traffic with: the figures of the test, attached to the artifact they belong to.

`attached/reference.json` holds counts; `attached/reference.safetensors` a sample of what the cues said of test images,
and their embeddings, as the prediction log keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from evensight import files
from evensight.data.manifest import Manifest
from evensight.records.artifact import ATTACHED, Artifact
from evensight.records.contract import Contract
from evensight.records.instruments import Instruments
from evensight.records.reference import ARRAYS, REFERENCE
from evensight.testing.extras import Extras
from evensight.testing.predictions import Batch, Progress, Served, from_rows, judged, silent
from evensight.testing.scores import Scores

MOST_SAMPLED = 2000
NUM_BINS = 20  # of the histogram of confidence, of equal width


def attach_reference(
    artifact: Artifact,
    served: Served,
    tools: Instruments,
    manifest: Manifest,
    scores: Scores,
    extras: Extras | None = None,
    progress: Progress = silent,
) -> None:
    """Attaches the reference figures of a test to its artifact.

    Args:
        artifact: That was tested.
        served: Its model.
        tools: Its cues.
        manifest: Of the images.
        scores: Of the test split.
        extras: What the cues need of the images; None where they need pixels alone.
        progress: Told of the images done.
    """
    arrays = sampled(served, tools, manifest, scores, artifact.contract.reliance.seed, extras, progress)
    content = save(arrays)
    # The arrays first: a JSON file without them would be one that vouches for nothing.
    files.write_bytes(artifact.folder / ATTACHED / ARRAYS, content)
    digest = files.digest_file(artifact.folder / ATTACHED / ARRAYS)
    count = int(arrays["position"].size(0))
    found = {
        "data": manifest.digests.content,
        "split": "test",
        **figures(scores, artifact.contract),
        "sample": {"file": ARRAYS, "sha256": digest, "count": count},
    }
    artifact.attach(REFERENCE, found)


def figures(scores: Scores, contract: Contract) -> dict[str, Any]:
    """Returns counts of the test images that could be decoded, as plain values.

    Returns:
        `num_images`; `labels` and `predictions`: images of each class, `[K]`; `confidence`: by bin of the likeliest
        class's probability its images `count`, those that were `correct`, and the sum of their `confidence`, `[20]`
        each, and the mean `gap` of confidence and correctness with its standard error; `groups`: by attribute images
        `n` and those `correct` of each level; `reliance`: by cue and operator the images that `first` the transplant
        alone and `second` the placebo alone moved, of `n`.
    """
    labels, predictions = scores.labels[scores.known], scores.predictions
    correct, confidence = predictions == labels, scores.probs.max(axis=1, initial=0.0).astype(np.float64)
    num_classes = len(contract.classes)
    return {
        "num_images": len(scores.known),
        "labels": np.bincount(labels, minlength=num_classes).tolist(),
        "predictions": np.bincount(predictions, minlength=num_classes).tolist(),
        "confidence": calibration(confidence, correct),
        "groups": {
            name: _groups(scores.attributes[scores.known, column], correct, len(levels))
            for column, (name, levels) in enumerate(contract.attributes.items())
        },
        "reliance": {
            cue: {
                operator: dict(zip(("first", "second", "n"), outcome.paired(), strict=True))
                for operator, outcome in operators.items()
            }
            for cue, operators in scores.outcomes.items()
        },
    }


def calibration(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> dict[str, Any]:
    """Returns the histogram of confidence and how far it lies above correctness, see `figures`; 0 without images."""
    bins = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    difference = confidence - correct
    n = len(difference)
    return {
        "count": np.bincount(bins, minlength=NUM_BINS).tolist(),
        "correct": np.bincount(bins[correct], minlength=NUM_BINS).tolist(),
        "confidence": np.bincount(bins, confidence, minlength=NUM_BINS).tolist(),
        "gap": float(difference.mean()) if n else 0.0,
        "gap_error": float(difference.std() / np.sqrt(n)) if n else 0.0,
    }


def sampled(
    served: Served,
    tools: Instruments,
    manifest: Manifest,
    scores: Scores,
    seed: int,
    extras: Extras | None = None,
    progress: Progress = silent,
) -> dict[str, Tensor]:
    """Draws test images, in random order, and returns what is compared of them.

    Returns:
        `position` int64 `[M]` in the split, `describe/<cue>` float32 `[M, F]`, `embedding` float16 `[M, D]` (as the
        prediction log keeps it), `prediction` and `label` int64 `[M]`, `confidence` float32 `[M]`; M is at most 2,000.
    """
    chosen = np.random.default_rng(seed).permutation(len(scores.known))[:MOST_SAMPLED]
    rows = [scores.rows[int(scores.known[place])] for place in chosen]
    errors: dict[int, str] = {}

    def work(batch: Batch) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        extra = extras.at(scores.known[chosen[batch.positions]]) if extras is not None else {}
        return torch.from_numpy(batch.positions), served.embedded(batch.images), tools.described(batch.images, extra)

    load = from_rows(manifest, rows, served.max_pixels)
    parts = list(judged(served, load, len(rows), work, errors, progress=progress, what="reference figures"))
    # An image that cannot be read any more is left out.
    kept = chosen[torch.cat([torch.zeros(0, dtype=torch.int64), *(places for places, _, _ in parts)]).numpy()]
    arrays = {
        "position": torch.from_numpy(scores.known[kept]),
        "prediction": torch.from_numpy(scores.predictions[kept]),
        "label": torch.from_numpy(scores.labels[scores.known[kept]]),
        "confidence": torch.from_numpy(scores.probs[kept].max(axis=1, initial=0.0)),
    }
    if parts:
        arrays["embedding"] = torch.cat([found for _, found, _ in parts]).half()
        arrays |= {f"describe/{cue}": torch.cat([said[cue] for _, _, said in parts]).float() for cue in parts[0][2]}
    return {name: values.contiguous() for name, values in arrays.items()}


def _groups(levels: NDArray[np.int64], correct: NDArray[np.bool_], num_levels: int) -> dict[str, list[int]]:
    known = levels >= 0
    n = np.bincount(levels[known], minlength=num_levels)
    right = np.bincount(levels[known & correct], minlength=num_levels)
    return {"n": n.tolist(), "correct": right.tolist()}
