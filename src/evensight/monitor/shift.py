"""Whether the traffic is still like the images of the test: classes, groups, confidence, what cues say, embeddings.

Never a verdict: a model may be as right as ever on other images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evensight.metrics import exchangeability
from evensight.metrics.intervals import FloatArray
from evensight.metrics.sequential import log_threshold
from evensight.monitor.alarms import SHIFT, Alarm, share
from evensight.monitor.live import Ints, Live
from evensight.records.reference import Reference

# A class beyond these, by images of the reference, is told from the others only together with the rest.
MOST_CLASSES = 24
LEAST_SAMPLE = 20  # reference images that what is said of features is learnt from


@dataclass(frozen=True)
class Stream:
    """One thing that is compared with the reference.

    Attributes:
        label: Of an alarm.
        place: Images of the log [n].
        reference: Scores [M, S].
        live: Scores [n, S], in order.
        split: See `exchangeability.log_e_drift`.
        arrival: Order in which the labels of these images came, where that is another; see `sequences`.
        then: Figures of the reference, to be shown beside `now`.
        now: Figures of the log.
    """

    label: str
    place: Ints
    reference: FloatArray
    live: FloatArray
    split: FloatArray | None = None
    arrival: Ints | None = None
    then: list[float] = field(default_factory=list)
    now: list[float] = field(default_factory=list)


def compare(
    live: Live, reference: Reference | None, num_classes: int, alpha: float
) -> tuple[list[dict[str, Any]], list[Alarm]]:
    """Compares a log with the reference figures of its artifact.

    Args:
        live: The log.
        reference: What was attached at the test; None where nothing was.
        num_classes: K.
        alpha: Of all alarms of every kind; shift has its share of it, evenly between what is compared.

    Returns:
        A record of each thing compared (`label`, `n`, `log10_e` and `log10_needed` where the one came nearest the
        other, `alarmed`, figures `then` and `now`), and the alarms.
    """
    if reference is None:
        return [], []
    streams = _streams(live, reference, num_classes)
    each = share(SHIFT, alpha) / max(1, len(streams))
    records, alarms = [], []
    for stream in streams:
        record, alarm = _compared(stream, live, each)
        records.append(record)
        alarms += [alarm] if alarm else []
    alarms.sort(key=lambda alarm: (alarm.request, alarm.label))
    return records, alarms


def _streams(live: Live, reference: Reference, num_classes: int) -> list[Stream]:
    """Returns all that the reference speaks of, whether or not the log has any of it: their number shares out alpha."""
    figures, arrays = reference.figures, reference.arrays
    everywhere = np.arange(len(live))
    streams = [
        _classes("predicted classes", live.predictions, everywhere, figures["predictions"], num_classes),
        replace(
            _classes("classes by label", live.labels, live.labelled, figures["labels"], num_classes),
            arrival=live.by_arrival(live.labelled),
        ),
    ]
    for name, group in figures["groups"].items():
        level = live.attributes.get(name, np.zeros(0, dtype=np.int64))
        streams.append(_classes(f"{name} sent along", level, np.flatnonzero(level >= 0), group["n"], len(group["n"])))
    if "confidence" in arrays:
        before, now = arrays["confidence"].astype(np.float64), live.confidence
        streams.append(Stream("confidence", everywhere, before[:, None], now[:, None]))
    for name, sample in _samples(arrays).items():
        features = live.described.get(name)
        if features is None or features.shape[1] != sample.shape[1]:
            features = np.zeros((0, sample.shape[1]), dtype=np.float32)
        known = np.flatnonzero(np.isfinite(features).all(axis=1))
        half = len(sample) // 2
        scorer = exchangeability.Scorer.fit(sample[:half])
        label = "embedding" if name == "embedding" else f"what {name} says"
        streams.append(Stream(label, known, scorer.scores(sample[half:]), scorer.scores(features[known])))
    return streams


def _samples(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    named = {name.removeprefix("describe/"): values for name, values in arrays.items() if name.startswith("describe/")}
    if "embedding" in arrays:
        named["embedding"] = arrays["embedding"]
    finite = {name: values[np.isfinite(values).all(axis=1)] for name, values in named.items()}
    return {name: values for name, values in finite.items() if len(values) >= 2 * LEAST_SAMPLE}


def _classes(label: str, classes: Ints, place: Ints, counts: list[int], num_classes: int) -> Stream:
    then = np.asarray(counts, dtype=np.float64)
    kept = np.argsort(-then, kind="stable")[:MOST_CLASSES]
    column = np.full(num_classes, len(kept))  # the rest, together
    column[kept] = np.arange(len(kept))
    width = len(kept) + (num_classes > len(kept))
    before = exchangeability.one_hot(np.repeat(column, np.asarray(counts, dtype=np.int64)), width)
    now = exchangeability.one_hot(column[classes[place]], width)
    shares = np.bincount(classes[place], minlength=num_classes) / max(1, len(place))
    total = max(1.0, float(then.sum()))
    split = before.sum(axis=0) / total
    return Stream(label, place, before, now, split, None, (then / total).tolist(), shares.tolist())


def _compared(stream: Stream, live: Live, alpha: float) -> tuple[dict[str, Any], Alarm | None]:
    ties = live.ties[stream.place]
    log_e = exchangeability.log_e_drift(stream.reference, stream.live, ties, split=stream.split)
    window = exchangeability.window_of(len(log_e))
    needed = log_threshold(window, 1, alpha)
    record: dict[str, Any] = {"label": stream.label, "n": len(log_e), "alarmed": False}
    record |= {"then": stream.then, "now": stream.now}
    if not len(log_e):
        return {**record, "log10_e": None, "log10_needed": None}, None
    nearest = int((log_e - needed).argmax())
    record |= {"log10_e": log_e[nearest] / math.log(10), "log10_needed": needed[nearest] / math.log(10)}
    crossed = np.flatnonzero(log_e >= needed)
    if not len(crossed) or not _crossed_by_arrival(stream, ties, needed):
        return record, None
    at = int(crossed[0])
    n = at - exchangeability.WINDOW * (int(window[at]) - 1) + 1
    figures = {
        "window": int(window[at]),
        "log10_e": float(log_e[at] / math.log(10)),
        "log10_needed": float(needed[at] / math.log(10)),
    }
    place = int(stream.place[at])
    what = f"{stream.label} of {n:,} images are not those of the test"
    alarm = Alarm(SHIFT, stream.label, "", what, float(live.times[place]), place + 1, n, figures)
    return {**record, "alarmed": True}, alarm


def _crossed_by_arrival(stream: Stream, ties: FloatArray, needed: FloatArray) -> bool:
    """Returns whether labels show as much in the order in which they came; True where that is their own."""
    if stream.arrival is None:
        return True
    came, of_came = stream.live[stream.arrival], ties[stream.arrival]
    log_e = exchangeability.log_e_drift(stream.reference, came, of_came, split=stream.split)
    return bool((log_e >= needed).any())
