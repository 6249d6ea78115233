"""Reliance of an artifact, from its own donors alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from evensight.records.artifact import Artifact
from evensight.records.instruments import Outcomes, instruments
from evensight.testing.predictions import Batch, Progress, Served, Source, from_sources, judged, silent

log = logging.getLogger(__name__)


def reliance_of(
    artifact: Artifact, images: Sequence[Source], batch_size: int | None = None, progress: Progress = silent
) -> Outcomes:
    """Measures an artifact's reliance on images without labels, from the artifact folder alone.

    Args:
        artifact: Opened.
        images: Files, their bytes, or RGB pixels uint8 [H, W, 3]; one that cannot be decoded is named in the log and
            left out.
        batch_size: Images a call of the model; changes no outcome.
        progress: Told of the images done.

    Returns:
        By cue and operator, the outcomes of the images that could be decoded, in their order: the same to the image as
        those of a verdict on the same images. A cue that needs more than pixels is named in the log and left out.
    """
    served, tools = Served(artifact), instruments(artifact)
    for cue, why in tools.missing.items():
        log.warning("reliance on %s is not measured: %s", cue, why)
    errors: dict[int, str] = {}
    load = from_sources(images, served.max_pixels)

    def work(batch: Batch) -> Outcomes:
        return tools.outcomes(served.classes, batch.images, batch.predictions)

    parts = list(judged(served, load, len(images), work, errors, batch_size, progress, "measuring reliance"))
    for position, error in errors.items():
        log.warning("image %d left out of reliance: %s", position, error)
    return tools.joined(parts)
