"""Labels images with an artifact, through `runtime/predictor.py`."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import polars as pl

from evensight.data.findings import found, log_findings
from evensight.data.readers.listing import IMAGE_SUFFIXES, listed
from evensight.errors import UserError
from evensight.runtime.files import path_text
from evensight.runtime.predictor import Prediction, Predictor
from evensight.testing.predictions import Progress, silent

log = logging.getLogger(__name__)

BATCH_SIZE = 64


def predict(
    artifact: Path, data: str, accept_failed: bool = False, progress: Progress = silent, device: str = "cpu"
) -> pl.DataFrame:
    """Labels every image of a folder, or the files that are named.

    Args:
        artifact: Its folder.
        data: A file, a folder (searched through), or several of them with commas between.
        accept_failed: Use a model whose test verdict is FAIL; said in the log each time.
        progress: Told of the images done.
        device: Where to run.

    Returns:
        Columns `path`, `label`, `probability` (of that label), `error` (null, or why there is none), a row an image.

    Raises:
        UserError: If the artifact is broken or its test verdict is FAIL, or there is no image at `data`.
    """
    paths = found_images(data)
    try:
        predictor = Predictor(artifact, device, accept_failed)
    except ValueError as error:
        raise UserError(f"artifact: {str(error).rstrip('.')}.") from None
    predictions: list[Prediction] = []
    for start in range(0, len(paths), BATCH_SIZE):
        predictions += predictor.predict(paths[start : start + BATCH_SIZE])
        progress("predicting", len(predictions), len(paths))
    failed = [
        f"{path}: {prediction.error}" for path, prediction in zip(paths, predictions, strict=True) if prediction.error
    ]
    log_findings(log, "data", found("undecodable", failed, f"of {len(paths)} images; they have no label"))
    return pl.DataFrame(
        {
            "path": [path_text(path) for path in paths],
            "label": [prediction.label for prediction in predictions],
            "probability": [max(prediction.probabilities, default=None) for prediction in predictions],
            "error": [prediction.error for prediction in predictions],
        },
        schema={"path": pl.String, "label": pl.String, "probability": pl.Float64, "error": pl.String},
    )


def found_images(data: str) -> list[Path]:
    """Returns the files of `data`, those of a folder sorted by path.

    Raises:
        UserError: If something named is not there, or a folder holds no image.
    """
    one = [data] if os.path.exists(data) else [part.strip() for part in data.split(",")]  # noqa: PTH110
    named = [Path(part) for part in one if part]
    paths: list[Path] = []
    for path in named:
        if os.path.isdir(path):  # noqa: PTH112 (a Path raises where a name is too long)
            listing = listed(path)
            log_findings(log, str(path), listing.findings())
            if not listing.images:
                raise UserError(
                    f"data: {path} holds no image; endings looked for: {', '.join(sorted(IMAGE_SUFFIXES))}."
                )
            paths += sorted(path / image for image in listing.images)
        elif os.path.exists(path):  # noqa: PTH110
            paths.append(path)
        else:
            raise UserError(
                f"data: {path} does not exist; allowed: an image, a folder of images, or several with commas."
            )
    if not paths:
        raise UserError("data: is empty; allowed: an image, a folder of images, or several with commas.")
    return paths
