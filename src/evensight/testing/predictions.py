"""An artifact's model file over many images, batch by batch on every core."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evensight.data.manifest import Manifest
from evensight.errors import RunError, UserError
from evensight.records.artifact import Artifact
from evensight.runtime import script
from evensight.runtime.decode import DecodeError, decode
from evensight.threads import single_threaded_pool

# An encoded file's bytes, its path, or decoded RGB pixels uint8 [H, W, 3].
Source = bytes | Path | NDArray[np.uint8]
Load = Callable[[int], Tensor]
LoadBatch = Callable[[range], Sequence[Tensor]]
Progress = Callable[[str, int, int], None]
Result = TypeVar("Result")

# Of a batch, in the network's input: 256 images of 32 x 32, 64 of 64 x 64, 5 of 224 x 224. What lies between the layers
# leaves a core's cache in larger ones: a ResNet-18 takes 1.4 times as long by 256 images of 64 x 64, 64 of 224 x 224.
MOST_PIXELS, MOST_IMAGES = 2**18, 256


def silent(what: str, done: int, total: int) -> None:
    """Shows nothing."""


class Served:
    """The TorchScript file of an artifact, loaded once its own test has passed.

    Raises:
        RunError: If the file answers otherwise than it did when it was written.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.max_pixels = artifact.contract.limits.max_pixels
        self.num_classes = len(artifact.contract.classes)
        self.batch_size = min(MOST_IMAGES, max(1, MOST_PIXELS // artifact.contract.preprocessing.size**2))
        self._model: Any = script.load(artifact.model_path)
        try:
            with torch.inference_mode():
                self._model.self_test()
        except torch.jit.Error as error:
            reason = str(error).strip().splitlines()[-1]
            raise RunError(f"artifact: {artifact.model_path} fails its own test on this machine ({reason})") from None

    def preprocess(self, image: Tensor) -> Tensor:
        """Takes one decoded image, uint8 [3, H, W], to uint8 [3, S, S]."""
        with torch.inference_mode():
            small: Tensor = self._model.preprocess(image)
        return small

    def probabilities(self, images: Tensor) -> Tensor:
        """Returns [B, C] for preprocessed images, uint8 [B, 3, S, S]."""
        with torch.inference_mode():
            answer: Mapping[str, Tensor] = self._model.infer(images)
        return answer["probs"]

    def embedded(self, images: Tensor) -> Tensor:
        """Returns [B, D], what the head sees of preprocessed images, uint8 [B, 3, S, S]."""
        with torch.inference_mode():
            answer: Mapping[str, Tensor] = self._model.infer(images)
        return answer["embedding"]

    def classes(self, images: Tensor) -> Tensor:
        """Returns the likeliest class of each preprocessed image, int64 [B]."""
        return self.probabilities(images).argmax(dim=1)


@dataclass(frozen=True)
class Batch:
    """Images that could be decoded, in their order.

    Attributes:
        positions: int64 [B], among all images asked for.
        images: uint8 [B, 3, S, S], preprocessed.
        probs: float32 [B, C].
    """

    positions: NDArray[np.int64]
    images: Tensor
    probs: Tensor

    @property
    def predictions(self) -> Tensor:
        """The likeliest class of each image, int64 [B]."""
        return self.probs.argmax(dim=1)


def judged(
    served: Served,
    load: Load,
    count: int,
    work: Callable[[Batch], Result],
    errors: dict[int, str],
    batch_size: int | None = None,
    progress: Progress = silent,
    what: str = "judging images",
    load_batch: LoadBatch | None = None,
) -> Iterator[Result]:
    """Judges images 0 to `count` - 1 and yields what `work` makes of each batch, in order.

    Every core takes a batch from the file to the end with a torch of one thread: the cores share nothing and wait for
    nothing, and what is computed does not depend on their number.

    Args:
        served: The model.
        load: From a position to decoded pixels, uint8 [3, H, W]; raises `DecodeError`, OSError or `UserError`.
        count: Of images.
        work: What to do with a batch; called in several threads.
        errors: Receives, by position, `"code: what is wrong"` of each image that could not be loaded.
        batch_size: Images a call of the model; None takes as many as keep a core busy. Changes no figure.
        progress: Told of the images done.
        what: The name of its bar.
        load_batch: Loads the images of a batch where that is faster than one by one. Where it raises what `load` may,
            `load` is asked for each.
    """
    step = batch_size or served.batch_size

    def done(first: int) -> tuple[dict[int, str], Result | None]:
        failed: dict[int, str] = {}
        batch = _batch(served, load, load_batch, range(first, min(first + step, count)), failed)
        return failed, None if batch is None else work(batch)

    num_threads = len(os.sched_getaffinity(0))
    ahead: deque[tuple[int, Future[tuple[dict[int, str], Result | None]]]] = deque()
    pool = single_threaded_pool(num_threads, "judge")
    try:
        starts = iter(range(0, count, step))
        while True:
            ahead.extend(
                (first, pool.submit(done, first)) for first in itertools.islice(starts, 2 * num_threads - len(ahead))
            )
            if not ahead:
                return
            first, future = ahead.popleft()
            failed, result = future.result()
            errors |= failed
            progress(what, min(first + step, count), count)
            if result is not None:
                yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _batch(
    served: Served, load: Load, load_batch: LoadBatch | None, positions: range, failed: dict[int, str]
) -> Batch | None:
    loaded: Sequence[Tensor] | None = None
    if load_batch is not None:
        with contextlib.suppress(DecodeError, OSError, UserError):
            loaded = load_batch(positions)
    images: dict[int, Tensor] = {}
    for number, position in enumerate(positions):
        try:
            image = load(position) if loaded is None else loaded[number]
            images[position] = served.preprocess(image)
        except DecodeError as error:
            failed[position] = f"{error.code}: {error}"
        except (OSError, UserError) as error:
            failed[position] = f"unreadable: {error}"
    if not images:
        return None
    stacked = torch.stack(list(images.values()))
    return Batch(np.array(list(images), dtype=np.int64), stacked, served.probabilities(stacked))


def decoded(source: Source, max_pixels: int) -> Tensor:
    """Returns RGB pixels, uint8 [3, H, W].

    Raises:
        DecodeError: If a file cannot be decoded, or is larger than the artifact allows.
    """
    if isinstance(source, np.ndarray):
        # Rows of a mapped file cannot be written to, which torch warns of.
        return torch.from_numpy(np.require(source, requirements=["C", "W"])).permute(2, 0, 1)
    return decode(source, max_pixels)


def from_rows(manifest: Manifest, rows: Sequence[Mapping[str, Any]], max_pixels: int) -> Load:
    """Returns a loader over rows of a manifest; a row that was in error at preparation stays in error."""

    def load(position: int) -> Tensor:
        row = rows[position]
        if row["error"] is not None:
            code, _, message = str(row["error"]).partition(": ")
            raise DecodeError(code, message)
        return decoded(manifest.read(row), max_pixels)

    return load


def from_sources(sources: Sequence[Source], max_pixels: int) -> Load:
    """Returns a loader over files, bytes or decoded pixels."""
    return lambda position: decoded(sources[position], max_pixels)
