"""Entries and logs whose every value is known."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from evensight.records.prediction_log import Entry, LoggedOutcome, PredictionLog

CLASSES = ("circle", "square", "star")
FIRST, SECOND = "a" * 64, "b" * 64


def entry(number: int, identity: str = FIRST, winner: int | None = None) -> Entry:
    """Entry `number` answered at second 100 + number; every tenth is sampled, every other one says its colour."""
    generator = np.random.default_rng(number)
    probabilities = np.full(3, 0.125, np.float32)
    probabilities[number % 3 if winner is None else winner] = 0.75
    describes = {"colour": generator.random(5, np.float32), "frame_size": generator.random(2, np.float32)}
    outcomes = (
        LoggedOutcome("colour", "tint", 1, True, False),
        LoggedOutcome("colour", "recolour", 2, False, bool(number % 20)),
    )
    return Entry(
        f"{number:032x}",
        100.0 + number,
        identity,
        probabilities,
        {"colour": "red"} if number % 2 else {},
        describes,
        generator.normal(size=4).astype(np.float32),
        number % 10 == 0,
        outcomes if number % 10 == 0 else (),
        f"images/{number}.png" if number % 5 == 0 else None,
    )


def write(path: Path, numbers: range, labels: bool = True) -> None:
    """Writes entries; each third has its label, each ninth a wrong one too."""
    log = PredictionLog(path, CLASSES)
    log.swap(99.0, FIRST)
    for number in numbers:
        assert log.add(entry(number))
    if labels:
        for number in numbers[::3]:
            log.feedback(f"{number:032x}", CLASSES[number % 3], 1000.0 + number)
        for number in numbers[::9]:
            log.feedback(f"{number:032x}", CLASSES[(number + 1) % 3], 2000.0 + number)
        log.reject(150.0, "415")
    log.close()
    assert log.lost == 0


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Waits until something is so, and fails when that takes too long."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "that never came about"
        time.sleep(0.005)
