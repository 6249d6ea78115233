"""The reader of the prediction log: what was served, as tables, while the server may be writing on.

A log that was cut short (a copy that broke off, a lost `-wal`) is read as far as it is whole, and `Traffic.cut` says
so; what is read never holds half a row.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight.records.log_reading import Rows, read_rows

_OUTCOMES = {
    "id": pl.String,
    "cue": pl.String,
    "operator": pl.String,
    "donor_class": pl.Int64,
    "transplant": pl.Boolean,
    "placebo": pl.Boolean,
}
_REJECTED = {"time": pl.Float64, "code": pl.String}
_SWAPS = {"time": pl.Float64, "identity": pl.String}


@dataclass(frozen=True)
class Traffic:
    """What a log holds of the artifact and the time that were asked for.

    Attributes:
        classes: Names, in the order of the probabilities.
        predictions: In order of (time, id): id, time (seconds since 1970, UTC), identity, prediction (index of the
            class), confidence, probabilities (list of C), sampled, image (path relative to the log's folder, or null),
            label (index, null where there is none or several disagree), label_state ("none", "labelled", "conflict"),
            label_time (of the first label), and attribute:<name> (level or null) for each attribute seen.
        outcomes: Of the sampled predictions: id, cue, operator, donor_class, transplant, placebo.
        describes: By cue, ``[N, F]``, rows as in `predictions`; a row is NaN where the cue was not described, or in
            another length than the newest.
        embeddings: ``[N, D]``, rows as in `predictions`, NaN as in `describes`; None where there are none.
        rejected: Requests that got no prediction: time, code.
        swaps: time, identity.
        identities: How many predictions of the time each artifact gave, that of others too.
        unknown_feedback: Ids with a label and without a prediction, in the whole log.
        conflicts: Predictions here whose labels disagree.
        duplicates: Labels here that repeat one that was there.
        late: Predictions here whose first label came when another model was serving.
        cut: The sentence what could not be read, where the log is not whole.
    """

    classes: tuple[str, ...]
    predictions: pl.DataFrame
    outcomes: pl.DataFrame
    describes: Mapping[str, NDArray[np.float32]]
    embeddings: NDArray[np.float32] | None
    rejected: pl.DataFrame
    swaps: pl.DataFrame
    identities: Mapping[str, int]
    unknown_feedback: int
    conflicts: int
    duplicates: int
    late: int
    cut: str | None = None


def read_traffic(path: Path, artifact: str | None = None, since: float | None = None) -> Traffic:
    """Reads a log; changes nothing in it.

    Args:
        path: The file.
        artifact: Only predictions of this identity.
        since: Only what happened at this time (seconds since 1970, UTC) or later.

    Raises:
        UserError: There is none, it is something else or of another version, or so little of it is there that not
            even its head can be read.
    """
    return _assembled(read_rows(Path(path)), artifact, since)


def _assembled(raw: Rows, artifact: str | None, since: float | None) -> Traffic:
    number = len(raw.classes)
    first = -np.inf if since is None else since
    known = {row[0] for row in raw.predictions}
    recent = sorted((row for row in raw.predictions if row[1] >= first), key=lambda row: (row[1], row[0]))
    rows = [row for row in recent if artifact is None or row[2] == artifact]
    probabilities = _stacked([row[3] for row in rows], "<f4", number)
    labels = _labels(raw, rows)
    columns: dict[str, Any] = {
        "id": pl.Series([row[0] for row in rows], dtype=pl.String),
        "time": pl.Series([row[1] for row in rows], dtype=pl.Float64),
        "identity": pl.Series([row[2] for row in rows], dtype=pl.String),
        "prediction": pl.Series(probabilities.argmax(1) if number else [], dtype=pl.Int64),
        "confidence": pl.Series(probabilities.max(1) if number else [], dtype=pl.Float32),
        "probabilities": pl.Series(probabilities, dtype=pl.Array(pl.Float32, number)).arr.to_list(),
        "sampled": pl.Series([bool(row[4]) for row in rows], dtype=pl.Boolean),
        "image": pl.Series([row[7] for row in rows], dtype=pl.String),
        **labels.columns,
        **_attributes([row[5] for row in rows]),
    }
    outcomes = [(row[0], *outcome) for row in rows if row[6] != "[]" for outcome in json.loads(row[6])]
    return Traffic(
        raw.classes,
        pl.DataFrame(columns),
        pl.DataFrame([(*one[:4], bool(one[4]), bool(one[5])) for one in outcomes], schema=_OUTCOMES, orient="row"),
        _describes([(row[8], row[9]) for row in rows]),
        _padded([None if row[10] is None else np.frombuffer(row[10], "<f2") for row in rows]),
        pl.DataFrame([row for row in raw.rejections if row[0] >= first], schema=_REJECTED, orient="row"),
        pl.DataFrame([row for row in raw.swaps if row[0] >= first], schema=_SWAPS, orient="row"),
        dict(Counter(row[2] for row in recent)),
        len({row[0] for row in raw.feedback} - known),
        labels.conflicts,
        labels.duplicates,
        labels.late,
        raw.cut,
    )


@dataclass(frozen=True)
class _Labels:
    columns: dict[str, pl.Series]
    conflicts: int
    duplicates: int
    late: int


def _labels(raw: Rows, rows: Sequence[Sequence[Any]]) -> _Labels:
    """Joins the labels to the predictions."""
    given = defaultdict(list)
    for id, label, time, times in raw.feedback:
        given[id].append((label, time, times))
    label, state, when, duplicates, late = [], [], [], 0, 0
    serving = _Serving(raw)
    for row in rows:
        found = given.get(row[0], [])
        first = min((time for _, time, _ in found), default=None)
        label.append(found[0][0] if len(found) == 1 else None)
        state.append(("none", "labelled", "conflict")[min(len(found), 2)])
        when.append(first)
        duplicates += sum(times - 1 for _, _, times in found)
        late += first is not None and serving.at(first) not in (None, row[2])
    columns = {
        "label": pl.Series(label, dtype=pl.Int64),
        "label_state": pl.Series(state, dtype=pl.String),
        "label_time": pl.Series(when, dtype=pl.Float64),
    }
    return _Labels(columns, state.count("conflict"), duplicates, late)


class _Serving:
    """Which model was the newest at a time: the last that was swapped in; before any swap, the last that answered."""

    def __init__(self, raw: Rows) -> None:
        swaps = sorted((time, identity) for time, identity in raw.swaps)
        first = swaps[0][0] if swaps else np.inf
        answers = sorted((row[1], row[2]) for row in raw.predictions if row[1] < first)
        self._times = np.array([time for time, _ in (*answers, *swaps)])
        self._identities = [identity for _, identity in (*answers, *swaps)]

    def at(self, time: float) -> str | None:
        place = int(np.searchsorted(self._times, time, side="right"))
        return self._identities[place - 1] if place else None


def _attributes(texts: Sequence[str]) -> dict[str, pl.Series]:
    values = [json.loads(text) if text != "{}" else {} for text in texts]
    names = sorted({name for value in values for name in value})
    return {f"attribute:{name}": pl.Series([value.get(name) for value in values], dtype=pl.String) for name in names}


def _describes(texts: Sequence[tuple[str, bytes]]) -> dict[str, NDArray[np.float32]]:
    """Unpacks what each cue said of each image."""
    found: dict[str, list[NDArray[Any] | None]] = {}
    lengths = {text: json.loads(text) for text in {text for text, _ in texts}}
    for place, (text, packed) in enumerate(texts):
        values, start = np.frombuffer(packed, "<f4"), 0
        for cue, length in lengths[text].items():
            if cue not in found:
                found[cue] = [None] * len(texts)
            found[cue][place] = values[start : start + length]
            start += length
    stacked = {cue: _padded(values) for cue, values in sorted(found.items())}
    return {cue: values for cue, values in stacked.items() if values is not None}


def _padded(values: Sequence[NDArray[Any] | None]) -> NDArray[np.float32] | None:
    """Stacks vectors to ``[N, D]``, of the last one's length; NaN for one that is missing or of another length."""
    length = next((len(value) for value in reversed(values) if value is not None), None)
    if length is None:
        return None
    stacked = np.full((len(values), length), np.nan, np.float32)
    places = [place for place, value in enumerate(values) if value is not None and len(value) == length]
    if places:
        stacked[places] = np.stack([values[place] for place in places])  # type: ignore[misc]
    return stacked


def _stacked(values: Sequence[bytes], kind: str, length: int) -> NDArray[np.float32]:
    return np.frombuffer(b"".join(values), kind).reshape(len(values), length).astype(np.float32)
