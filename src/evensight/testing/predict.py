"""Labels images with an artifact, through `runtime/predictor.py`."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from evensight.data.readers.listing import IMAGE_SUFFIXES, is_image
from evensight.errors import UserError
from evensight.runtime.predictor import Predictor
from evensight.testing.predictions import Progress, silent

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
    predictions = []
    for start in range(0, len(paths), BATCH_SIZE):
        predictions += predictor.predict(paths[start : start + BATCH_SIZE])
        progress("predicting", len(predictions), len(paths))
    return pl.DataFrame(
        {
            "path": [str(path) for path in paths],
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
    whole = Path(data)
    named = [whole] if _is_there(whole) else [Path(part.strip()) for part in data.split(",") if part.strip()]
    paths: list[Path] = []
    for path in named:
        if path.is_file():
            paths.append(path)
        elif path.is_dir():
            inside = sorted(file for file in path.rglob("*") if is_image(file.name) and file.is_file())
            if not inside:
                raise UserError(
                    f"data: {path} holds no image; endings looked for: {', '.join(sorted(IMAGE_SUFFIXES))}."
                )
            paths += inside
        else:
            raise UserError(
                f"data: {path} does not exist; allowed: an image, a folder of images, or several with commas."
            )
    if not paths:
        raise UserError("data: is empty; allowed: an image, a folder of images, or several with commas.")
    return paths


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # many names with commas are too long for one
        return False
