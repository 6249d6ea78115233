"""How often the monitor alarms: on a model that sorts by colour, and on one that does not.

    python scripts/benchmark/monitor_streams.py biased=<artifact> unbiased=<artifact>
    # both tested, so that they have their reference figures; about 8 minutes, writes benchmarks/monitor_streams.json

Each artifact answers a pool of new images once, with every transplant and placebo; streams are drawn from the pool and
go through the monitor's own code. Streams of the biased model are watched without a label; those of the unbiased one
with every label, where most can alarm falsely.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evensight import names
from evensight.data.traffic import WAVES, traffic_of
from evensight.environment import environment
from evensight.errors import UserError
from evensight.files import write_json
from evensight.metrics.intervals import clopper_pearson_upper
from evensight.monitor.alarms import REQUIREMENT
from evensight.monitor.live import MAJORITY, Live, Moves
from evensight.monitor.monitor import ALPHA
from evensight.monitor.requirements import judge
from evensight.monitor.shift import compare
from evensight.objective.objective import Objective
from evensight.objective.verdict import Decision
from evensight.records.artifact import Artifact
from evensight.records.instruments import Outcomes, instruments
from evensight.records.reference import Reference, read_reference
from evensight.testing.predictions import Batch, Served, from_sources, judged

OUT = Path(__file__).parents[2] / "benchmarks" / "monitor_streams.json"
WAVE = WAVES[1]  # colour and shape drawn independently, as in the test split
POOL, BLOCK = 20_000, 2_000
UNBIASED = {"streams": 200, "requests": 5_000, "sampled": 250}
BIASED = {"streams": 20, "requests": 1_500, "share": 0.05}


@dataclass(frozen=True)
class Pool:
    """What an artifact answered to P images."""

    probs: NDArray[np.float32]  # [P, C]
    labels: NDArray[np.int64]  # [P]
    attributes: dict[str, NDArray[np.int64]]  # [P] each
    described: dict[str, NDArray[np.float32]]  # [P, F] each
    rivals: dict[str, NDArray[np.int64]]  # [P] each
    moves: dict[str, dict[str, NDArray[np.bool_]]]  # cue: operator: [P, 2], transplant and placebo

    def stream(self, rng: np.random.Generator, requests: int, sampled: NDArray[np.int64], labelled: bool) -> Live:
        """Draws a stream of different images of the pool.

        Args:
            rng: Draws.
            requests: N.
            sampled: Which of them are in the reliance sample.
            labelled: Whether labels come back.
        """
        chosen = rng.permutation(len(self.labels))[:requests]
        probs = self.probs[chosen]
        unknown = np.full(requests, -1)
        return Live(
            times=np.arange(requests, dtype=np.float64),
            ties=rng.random(requests),
            predictions=probs.argmax(axis=1).astype(np.int64),
            confidence=probs.max(axis=1).astype(np.float64),
            labels=self.labels[chosen] if labelled else unknown,
            attributes={name: levels[chosen] if labelled else unknown for name, levels in self.attributes.items()},
            rivals={name: said[chosen] for name, said in self.rivals.items()},
            outcomes={
                cue: {name: Moves(sampled, *moved[chosen[sampled]].T) for name, moved in operators.items()}
                for cue, operators in self.moves.items()
            },
            described={name: values[chosen] for name, values in self.described.items()},
        )


def _level(known: tuple[str, ...], level: str | None) -> int:
    return -1 if level is None else known.index(level)


def scored(artifact: Artifact, count: int = POOL) -> Pool:
    """Draws the pool from the data set's generator and asks the artifact once."""
    contract = artifact.contract
    reader = traffic_of(names.resolve(names.READERS, "data", contract.data.name)())
    served, tools = Served(artifact), instruments(artifact)
    parts, labels, levels = [], [], []

    def work(batch: Batch) -> tuple[Any, ...]:
        described = tools.described(batch.images)
        outcomes = tools.outcomes(served.classes, batch.images, batch.predictions)
        return batch.probs.numpy(), described, served.embedded(batch.images).half().float(), outcomes

    for start in range(0, count, BLOCK):
        drawn = reader.draw_traffic(WAVE, start, BLOCK)
        load = from_sources(list(drawn.images), served.max_pixels)
        parts += list(judged(served, load, BLOCK, work, {}))
        labels += [contract.classes.index(label) for label in drawn.labels]
        levels.append(drawn.attributes)
        print(f"{start + BLOCK:,} of {count:,} images", file=sys.stderr)
    described = {name: torch.cat([part[1][name] for part in parts]) for name in parts[0][1]}
    joined: Outcomes = tools.joined([part[3] for part in parts])
    return Pool(
        probs=np.concatenate([part[0] for part in parts]),
        labels=np.array(labels),
        attributes={
            # What an audit computed of training images nobody knows of traffic.
            name: np.array([_level(known, level) for block in levels for level in block.get(name, [None] * BLOCK)])
            for name, known in contract.attributes.items()
        },
        described={
            **{name: values.numpy() for name, values in described.items()},
            "embedding": torch.cat([part[2] for part in parts]).numpy(),
        },
        rivals={**tools.rivals(described), MAJORITY: np.full(count, contract.majority_class)},
        moves={
            cue: {
                name: torch.stack([found.moved_transplant, found.moved_placebo], dim=1).numpy()
                for name, found in operators.items()
            }
            for cue, operators in joined.items()
        },
    )


def covered(objective: Objective, decision: Decision, at_test: Any) -> list[bool]:
    """Says of each operator whether the reliance of the test lies in the stream's interval (each side at 5 %)."""
    found = []
    for requirement, row in zip(objective.requirements, decision.rows, strict=True):
        for one in row.comparisons if requirement.metric == "reliance" else ():
            counts = at_test[requirement.cue][one.name]
            found.append(one.low <= (counts["first"] - counts["second"]) / counts["n"] <= one.high)
    return found


def reference_of(artifact: Artifact) -> Reference:
    """Returns the figures of the test.

    Raises:
        UserError: If there are none.
    """
    reference = read_reference(artifact)
    if reference is None or reference.missing:
        raise UserError(f"{artifact.folder} has no reference figures; run evensight test first.")
    return reference


def biased_streams(artifact: Artifact, pool: Pool) -> dict[str, Any]:
    """Watches streams of a model that follows colour, without a label: when does the alarm on reliance come?"""
    objective, requests = artifact.contract.stated_objective(), int(BIASED["requests"])
    came, sampled_by_then, inside = [], [], []
    at_test = reference_of(artifact).figures["reliance"]
    for number in range(int(BIASED["streams"])):
        rng = np.random.default_rng([1, number])
        sampled = np.flatnonzero(rng.random(requests) < BIASED["share"])
        found = judge(objective, artifact.contract, pool.stream(rng, requests, sampled, labelled=False), ALPHA)
        inside += covered(objective, found.decision, at_test)
        first = [alarm.request for alarm in found.alarms if alarm.label.startswith("reliance")]
        came.append(min(first, default=None))
        sampled_by_then.append(int((sampled < came[-1]).sum()) if came[-1] else None)
    known = [request for request in came if request is not None]
    return {
        **BIASED,
        "alarmed": len(known),
        "reliance_of_the_test_in_interval": float(np.mean(inside)),
        "first_alarm_after_requests": came,
        "sampled_images_by_then": sampled_by_then,
        "median_requests": float(np.median(known)) if known else None,
    }


def unbiased_streams(artifact: Artifact, pool: Pool) -> dict[str, Any]:
    """Watches streams of a model that meets its objective, with every label: how many alarm?"""
    objective, reference, inside = artifact.contract.stated_objective(), reference_of(artifact), []
    streams, requests = int(UNBIASED["streams"]), int(UNBIASED["requests"])
    alarms: dict[str, int] = {}
    counts = {"any": 0, "requirement": 0, "reliance": 0, "shift": 0}
    for number in range(streams):
        rng = np.random.default_rng([0, number])
        sampled = np.sort(rng.permutation(requests)[: int(UNBIASED["sampled"])])
        live = pool.stream(rng, requests, sampled, labelled=True)
        judged_live = judge(objective, artifact.contract, live, ALPHA)
        inside += covered(objective, judged_live.decision, reference.figures["reliance"])
        found = judged_live.alarms + compare(live, reference, len(artifact.contract.classes), ALPHA)[1]
        for label in {alarm.label for alarm in found}:
            alarms[label] = alarms.get(label, 0) + 1
        counts["any"] += bool(found)
        counts["requirement"] += any(alarm.kind == REQUIREMENT for alarm in found)
        counts["reliance"] += any(alarm.label.startswith("reliance") for alarm in found)
        counts["shift"] += any(alarm.kind != REQUIREMENT for alarm in found)
        print(f"{number + 1} of {streams} streams: {counts}", file=sys.stderr)
    upper = {name: round(float(clopper_pearson_upper(x, streams, 0.05)), 4) for name, x in counts.items()}
    return {
        **UNBIASED,
        "stated_rate": ALPHA,
        "alarmed": counts,
        "upper_limit_95": upper,
        "by_label": alarms,
        "reliance_of_the_test_in_interval": float(np.mean(inside)),
    }


def main() -> None:
    """Scores both pools, runs the streams and writes the figures."""
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    started = time.perf_counter()
    found: dict[str, Any] = {"schema_version": 1}
    for name, run in (("biased", biased_streams), ("unbiased", unbiased_streams)):
        if name in given:
            artifact = Artifact.open(given[name])
            pool = scored(artifact)
            accuracy = float((pool.probs.argmax(axis=1) == pool.labels).mean())
            reliance = {
                cue: {operator: float(moved[:, 0].mean() - moved[:, 1].mean()) for operator, moved in operators.items()}
                for cue, operators in pool.moves.items()
            }
            about = {"identity": artifact.identity, "pool": POOL, "accuracy": accuracy, "reliance": reliance}
            found[name] = {**about, **run(artifact, pool)}
    machine = {key: value for key, value in environment().items() if key not in ("host", "command")}
    found |= {"seconds": round(time.perf_counter() - started), "environment": machine}
    write_json(Path(given.get("out", OUT)), found)
    print(f"written: {given.get('out', OUT)}")


if __name__ == "__main__":
    main()
