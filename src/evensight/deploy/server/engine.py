"""From the bytes of images to answers: decoded in threads, judged in micro-batches, swapped between two of them.

An image is bound to the model that is current when it is decoded: the same model preprocesses it, judges it and is
named in its answer, so a swap loses nothing and mixes nothing. Threads that judge have a torch of one thread each, as
everywhere in evensight: a team of OpenMP threads took 60 ms for 32 small images on two busy cores, one thread takes 1.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evensight.deploy.server.model import Model
from evensight.runtime.decode import decode
from evensight.threads import single_threaded_pool

LONGEST_WAIT_S = 60  # that a client is asked to wait before it tries again


class FullError(Exception):
    """No room for more images.

    Attributes:
        retry_after: Whole seconds until there should be.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"try again in {retry_after} s")
        self.retry_after = retry_after


class LateError(Exception):
    """The deadline passed before the image was judged."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model said of one image.

    Attributes:
        model: That said it.
        pixels: As it saw them, uint8 `[3, S, S]`.
        size: Height and width of the image as decoded.
        probabilities: float32 `[C]`.
        embedding: float32 `[D]`.
    """

    model: Model
    pixels: Tensor
    size: tuple[int, int]
    probabilities: NDArray[np.float32]
    embedding: NDArray[np.float32]

    @property
    def label(self) -> str:
        """The likeliest class."""
        return self.model.classes[self.index]

    @property
    def index(self) -> int:
        """Of the likeliest class."""
        return int(self.probabilities.argmax())


@dataclass(eq=False)
class Job:
    """One image on its way."""

    content: bytes
    until: float  # time.monotonic()
    future: Future[Answer] = field(default_factory=Future)
    model: Model | None = None
    pixels: Tensor | None = None
    size: tuple[int, int] = (0, 0)

    def over(self) -> bool:
        """Whether nobody waits for it any more; one that is late is told so."""
        if not self.future.done() and time.monotonic() > self.until:
            settle(self.future, error=LateError())
        return self.future.done()


class Engine:
    """Judges images with the current model.

    Args:
        model: Loaded.
        max_batch: Images a call of the model.
        max_wait_s: How long an image that is ready waits for others that are being decoded.
        most: Images on their way at once.
        max_pixels: Larger images are refused from their header; a contract may allow fewer.
        num_threads: That decode, and as many that judge; None takes the cores of this process.
        on_batch: Told of the number of images of each batch, in the thread that judged it.
    """

    def __init__(
        self,
        model: Model,
        max_batch: int,
        max_wait_s: float,
        most: int,
        max_pixels: int,
        num_threads: int | None = None,
        on_batch: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.max_batch, self.max_wait_s, self.most, self.max_pixels = max_batch, max_wait_s, most, max_pixels
        self._model, self._on_batch = model, on_batch
        self._condition = threading.Condition()
        self._ready: deque[Job] = deque()
        self._decoding = self._under_way = 0
        self._seconds_an_image = 0.0
        self._closing = False
        self._threads = num_threads or len(os.sched_getaffinity(0))
        self._decoders = single_threaded_pool(self._threads, "decode")
        self._judges = single_threaded_pool(self._threads, "judge")
        for _ in range(self._threads):
            self._judges.submit(self._judge)

    @property
    def model(self) -> Model:
        """The current one."""
        return self._model

    @property
    def under_way(self) -> int:
        """Images that are not answered yet."""
        return self._under_way

    def swap(self, model: Model) -> None:
        """Makes another model the current one: for every image that is decoded from now on."""
        self._model = model

    def submit(self, contents: Sequence[bytes], until: float) -> list[Future[Answer]]:
        """Takes encoded images, all or none.

        Args:
            contents: Their bytes.
            until: When nobody waits for the answers any more, as `time.monotonic` tells it.

        Returns:
            The answers to come, or a `DecodeError`, a `LateError` or what else went wrong, one an image.

        Raises:
            FullError: If there is no room for them now.
        """
        with self._condition:
            if self._under_way + len(contents) > self.most:
                seconds = self._seconds_an_image * self._under_way / self._threads
                raise FullError(min(LONGEST_WAIT_S, 1 + int(seconds)))
            self._under_way += len(contents)
            self._decoding += len(contents)
        jobs = [Job(content, until) for content in contents]
        for job in jobs:
            job.future.add_done_callback(self._left)
            self._decoders.submit(self._decode, job)
        return [job.future for job in jobs]

    def close(self) -> None:
        """Answers what is under way and ends the threads."""
        self._decoders.shutdown(wait=True)
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        self._judges.shutdown(wait=True)

    def _left(self, future: Future[Answer]) -> None:
        with self._condition:
            self._under_way -= 1

    def _decode(self, job: Job) -> None:
        try:
            if not job.over():
                model = self._model
                limits = model.artifact.contract.limits
                image = decode(job.content, min(self.max_pixels, limits.max_pixels), limits.formats)
                job.model, job.pixels = model, model.predictor.preprocess(image)
                job.size = (int(image.shape[1]), int(image.shape[2]))
        except Exception as error:
            settle(job.future, error=error)
        job.content = b""
        with self._condition:
            self._decoding -= 1
            if job.pixels is not None:
                self._ready.append(job)
            self._condition.notify(1 if self._decoding else self._threads)

    def _judge(self) -> None:
        while batch := self._gathered():
            batch = [job for job in batch if not job.over()]
            if batch:
                started = time.perf_counter()
                self._on_batch(len(batch))
                judge(batch)
                each = (time.perf_counter() - started) / len(batch)
                self._seconds_an_image += 0.1 * (each - self._seconds_an_image)

    def _gathered(self) -> list[Job]:
        """Waits for the next batch, of one model; empty when the engine is closed."""
        with self._condition:
            while True:
                self._condition.wait_for(lambda: self._ready or self._closing)
                if not self._ready:
                    return []
                # Worth waiting only while another image is on its way here.
                self._condition.wait_for(
                    lambda: len(self._ready) >= self.max_batch or not self._decoding or not self._ready,
                    self.max_wait_s,
                )
                if self._ready:  # else another thread took them
                    break
            batch = [self._ready.popleft()]
            while self._ready and len(batch) < self.max_batch and self._ready[0].model is batch[0].model:
                batch.append(self._ready.popleft())
            if self._ready:
                self._condition.notify()
            return batch


def judge(batch: Sequence[Job]) -> None:
    """Judges preprocessed images of one model and answers them; where that fails, each alone."""
    model = batch[0].model
    assert model is not None
    try:
        probabilities, embeddings = model.judge(torch.stack([job.pixels for job in batch if job.pixels is not None]))
    except Exception as error:
        if len(batch) == 1:
            settle(batch[0].future, error=error)
            return
        for job in batch:
            judge([job])
        return
    for job, row, embedding in zip(batch, probabilities, embeddings, strict=True):
        assert job.pixels is not None
        settle(job.future, Answer(model, job.pixels, job.size, row, embedding))


def settle(future: Future[Answer], answer: Answer | None = None, error: Exception | None = None) -> None:
    """Answers, unless nobody waits any more."""
    try:
        if error is not None:
            future.set_exception(error)
        elif answer is not None:
            future.set_result(answer)
    except InvalidStateError:
        pass
