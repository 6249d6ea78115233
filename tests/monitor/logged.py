"""Real logs of the made artifact's answers to its own test images, as a server would have written them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import made_artifact
from evensight.data.manifest import Manifest
from evensight.records.artifact import Artifact
from evensight.records.instruments import instruments
from evensight.records.prediction_log import Entry, LoggedOutcome, PredictionLog
from evensight.testing.predictions import Batch, Served, from_rows, judged

START = 1_790_000_000.0


def answers(artifact: Artifact, manifest: Manifest, sampled: bool = True) -> list[Entry]:
    """Answers the test images, each a second after the one before; every one of them is in the reliance sample."""
    served, tools = Served(artifact), instruments(artifact)
    rows = manifest.split("test").to_dicts()

    def work(batch: Batch) -> list[Entry]:
        described, embeddings = tools.described(batch.images), served.embedded(batch.images)
        outcomes = tools.outcomes(served.classes, batch.images, batch.predictions)
        return [
            Entry(
                id=f"{position:032x}",
                time=START + position,
                identity=artifact.identity,
                probabilities=batch.probs[at].numpy(),
                attributes={"colour": rows[position]["colour"]},
                describes={cue: said[at].numpy() for cue, said in described.items()},
                embedding=embeddings[at].numpy(),
                sampled=sampled,
                outcomes=tuple(
                    LoggedOutcome(
                        cue,
                        operator,
                        int(found.donor_class[at]),
                        bool(found.moved_transplant[at]),
                        bool(found.moved_placebo[at]),
                    )
                    for cue, operators in outcomes.items()
                    for operator, found in operators.items()
                    if sampled
                ),
            )
            for at, position in enumerate(batch.positions.tolist())
        ]

    return list(itertools.chain(*judged(served, from_rows(manifest, rows, served.max_pixels), len(rows), work, {})))


def again(entries: list[Entry], times: int) -> Iterator[Entry]:
    """The same answers several times over, each with an id and a second of its own."""
    for number, entry in enumerate(itertools.chain(*[entries] * times)):
        fields = {name: getattr(entry, name) for name in Entry.__dataclass_fields__}
        yield Entry(**{**fields, "id": f"{number:032x}", "time": START + number})


def write(path: Path, entries: list[Entry], labels: dict[int, str] | None = None) -> PredictionLog:
    """Writes entries in an order of its own, with labels by number of the id; the log is left open."""
    log = PredictionLog(path, made_artifact.CLASSES)
    for number in np.random.default_rng(0).permutation(len(entries)):
        assert log.add(entries[number])
    for number, label in (labels or {}).items():
        log.feedback(f"{number:032x}", label, START + 1e6)
    assert log.flush()
    return log


def truth(manifest: Manifest) -> dict[int, str]:
    """The label of each test image, by its number."""
    return dict(enumerate(row["label"] for row in manifest.split("test").to_dicts()))
