"""What was answered goes to the prediction log, with what cues say of it, after the client has its answer.

Each answer waits in memory until one thread has described it. On the keyed sample of images that thread also measures
what transplants and placebos do. Where it cannot keep up, answers are logged at once and bare: without descriptions and
outside the sample. The sample has half of the room to itself, so that it is the last thing to suffer. A process that is
killed loses what waits here, and what waits in the log.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time as clock
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from evensight.deploy.server.engine import Answer
from evensight.deploy.server.model import Model
from evensight.errors import RunError, first_line
from evensight.records.prediction_log import Entry, LoggedOutcome, PredictionLog
from evensight.threads import single_threaded_pool

log = logging.getLogger(__name__)

MOST_WAITING = 1024  # answers that wait to be described
MOST_BYTES = 256 * 2**20  # of their pixels and, where images are kept, of their files
AT_ONCE = 32  # described in one go
CLOSING_S = 5.0  # for what waits to be described when the server ends; the rest is logged bare
IMAGES = "images"  # folder of the kept images, beside the log
_ENDINGS = {b"\xff\xd8": "jpg", b"\x89P": "png", b"RI": "webp", b"BM": "bmp", b"GI": "gif", b"II": "tif", b"MM": "tif"}


@dataclass(frozen=True, eq=False)
class Given:
    """An answer that a client was given.

    Attributes:
        id: Given with it.
        time: Of the answer, seconds since 1970.
        answer: Probabilities, pixels, model.
        attributes: Level by attribute, as sent along.
        content: The encoded image, where it is to be kept.
    """

    id: str
    time: float
    answer: Answer
    attributes: Mapping[str, str]
    content: bytes = b""

    @property
    def num_bytes(self) -> int:
        """What waits in memory of it."""
        return self.answer.pixels.numel() + len(self.content)


def in_sample(id: str, seed: int, share: float) -> bool:
    """Returns whether an image is in the keyed sample that reliance is measured on.

    The SHA-256 of (reliance seed of the artifact, id of the answer), read as a number in [0, 1), falls below the share.
    Ids are random, so an image that is sent again counts anew.
    """
    digest = hashlib.sha256(f"evensight sample {seed}:{id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2.0**64


def entry_of(given: Given) -> Entry:
    """Returns what is logged of an answer before anything is measured on it."""
    answer = given.answer
    levels = answer.model.artifact.contract.attributes
    return Entry(
        id=given.id,
        time=given.time,
        identity=answer.model.identity,
        probabilities=answer.probabilities,
        # A model that was swapped in meanwhile may know fewer.
        attributes={name: level for name, level in given.attributes.items() if level in levels.get(name, ())},
        describes={},
        embedding=answer.embedding,
        sampled=False,
    )


def measured(model: Model, given: Sequence[Given], share: float) -> list[Entry]:
    """Returns the entries of answers of one model: described, and those of the sample with their outcomes."""
    pixels = torch.stack([one.answer.pixels for one in given])
    sizes = torch.tensor([one.answer.size for one in given], dtype=torch.int64)
    described = {cue: rows.numpy() for cue, rows in model.tools.described(pixels, {"size": sizes}).items()}
    entries = [
        replace(entry_of(one), describes={cue: rows[row] for cue, rows in described.items()})
        for row, one in enumerate(given)
    ]
    seed = model.artifact.contract.reliance.seed
    chosen = [row for row, one in enumerate(given) if in_sample(one.id, seed, share)]
    if chosen:
        outcomes = _outcomes(model, [given[row].answer for row in chosen])
        for row, found in zip(chosen, outcomes, strict=True):
            entries[row] = replace(entries[row], sampled=True, outcomes=found)
    return entries


def _outcomes(model: Model, answers: Sequence[Answer]) -> list[tuple[LoggedOutcome, ...]]:
    pixels = torch.stack([answer.pixels for answer in answers])
    predictions = torch.tensor([answer.index for answer in answers])
    sizes = torch.tensor([answer.size for answer in answers], dtype=torch.int64)
    found = model.tools.outcomes(model.likeliest, pixels, predictions, {"size": sizes})
    return [
        tuple(
            LoggedOutcome(
                cue,
                operator,
                int(outcome.donor_class[row]),
                bool(outcome.moved_transplant[row]),
                bool(outcome.moved_placebo[row]),
            )
            for cue, operators in found.items()
            for operator, outcome in operators.items()
        )
        for row in range(len(answers))
    ]


class Recorder:
    """Hands answers to the log.

    Args:
        journal: The log; closed with this.
        share: Of the images that reliance is measured on.
        keep: Whether the encoded images are stored, under `images/` beside the log.
        most: Answers that may wait to be described.

    Attributes:
        bare: Answers that were logged without descriptions.
        unkept: Images that could not be stored.
    """

    def __init__(self, journal: PredictionLog, share: float, keep: bool = False, most: int = MOST_WAITING) -> None:
        self.journal, self.share, self.keep, self.most = journal, share, keep, most
        self.bare = self.unkept = 0
        self._waiting: deque[Given] = deque()
        self._bytes = 0
        self._pending: dict[str, list[_Label]] = {}
        self._condition = threading.Condition()
        self._closing = self._told = False
        self._until = 0.0  # while closing, when to stop describing
        self._pool = single_threaded_pool(1, "record")
        self._pool.submit(self._run)

    @property
    def waiting(self) -> int:
        """Answers that wait to be described."""
        return len(self._waiting)

    def add(self, given: Given) -> None:
        """Takes an answer, at once."""
        seed = given.answer.model.artifact.contract.reliance.seed
        share_of_room = 1.0 if in_sample(given.id, seed, self.share) else 0.5
        with self._condition:
            full = len(self._waiting) >= self.most * share_of_room
            full = full or self._bytes + given.num_bytes > MOST_BYTES * share_of_room
            if not full and not self._closing:
                self._waiting.append(given)
                self._bytes += given.num_bytes
                self._pending[given.id] = []
                self._condition.notify()
                return
        self._add_bare([given])

    def reject(self, code: str) -> None:
        """Logs that an image got no answer."""
        self.journal.reject(clock.time(), code)

    def swapped(self, identity: str) -> None:
        """Logs that a model was swapped in."""
        self.journal.swap(clock.time(), identity)

    def feedback(self, id: str, label: str) -> Future[str]:
        """Logs a label, after the answer of its id. See `PredictionLog.feedback`."""
        time = clock.time()
        with self._condition:
            if id in self._pending:
                waiting = _Label(label, time, Future())
                self._pending[id].append(waiting)
                return waiting.state
        return self.journal.feedback(id, label, time)

    def close(self) -> None:
        """Describes what waits as far as there is time, writes it, and closes the log."""
        with self._condition:
            self._closing, self._until = True, clock.monotonic() + CLOSING_S
            self._condition.notify()
        self._pool.shutdown(wait=True)
        self.journal.close()

    def _run(self) -> None:
        while given := self._gathered():
            if self._closing and clock.monotonic() > self._until:
                self._add_bare(given)
                continue
            for part in _by_model(given):
                self._record(part)

    def _gathered(self) -> list[Given]:
        with self._condition:
            self._condition.wait_for(lambda: self._waiting or self._closing)
            batch = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
            self._bytes -= sum(one.num_bytes for one in batch)
            return batch

    def _record(self, given: Sequence[Given]) -> None:
        try:
            entries = measured(given[0].answer.model, given, self.share)
        except Exception as error:  # whatever it is, the answers were given and are logged
            if not self._told:
                log.exception("log: answers are logged without descriptions: %s", first_line(error))
            self._told = True
            self._add_bare(given)
            return
        for entry, one in zip(entries, given, strict=True):
            self.journal.add(replace(entry, image=self._kept(one)))
        self._release(given)

    def _add_bare(self, given: Sequence[Given]) -> None:
        with self._condition:
            self.bare += len(given)
        for one in given:
            self.journal.add(entry_of(one))
        self._release(given)

    def _release(self, given: Sequence[Given]) -> None:
        """Hands on the labels that came before their answers were logged."""
        for one in given:
            with self._condition:
                labels = self._pending.pop(one.id, [])
            for label in labels:
                _hand_on(self.journal, one.id, label)

    def _kept(self, given: Given) -> str | None:
        if not self.keep or not given.content:
            return None
        ending = _ENDINGS.get(given.content[:2], "ppm" if given.content[:1] == b"P" else "bin")
        name = f"{IMAGES}/{given.id[:2]}/{given.id}.{ending}"
        path = Path(self.journal.path).parent / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(given.content)
        except OSError as error:
            if not self.unkept:
                log.warning("images: %s cannot be written (%s); predictions go on", path, error.strerror)
            self.unkept += 1
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        return name


@dataclass(frozen=True, eq=False)
class _Label:
    """A label that came before the answer it belongs to was logged."""

    label: str
    time: float
    state: Future[str]


def _hand_on(journal: PredictionLog, id: str, label: _Label) -> None:
    def done(inner: Future[str]) -> None:
        error = inner.exception()
        with suppress(Exception):  # nobody waits any more
            if error is None:
                label.state.set_result(inner.result())
            else:
                label.state.set_exception(error)

    try:
        journal.feedback(id, label.label, label.time).add_done_callback(done)
    except (ValueError, RunError) as error:
        label.state.set_exception(error)


def _by_model(given: Iterable[Given]) -> list[list[Given]]:
    parts: dict[int, list[Given]] = {}
    for one in given:
        parts.setdefault(id(one.answer.model), []).append(one)
    return list(parts.values())
