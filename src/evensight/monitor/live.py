"""The log as arrays, in the order of the images' time: what the monitor's figures are computed from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from evensight.errors import UserError
from evensight.objective.evidence import Counts, Evidence, Paired
from evensight.records.contract import Contract
from evensight.records.instruments import Instruments
from evensight.records.traffic import Traffic

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
UNKNOWN = -1
MAJORITY = "majority"


@dataclass(frozen=True)
class Moves:
    """What one operator did to the sampled images: their places in the log [S], and where the decision went [S]."""

    place: Ints
    transplant: Bools
    placebo: Bools


@dataclass(frozen=True)
class Live:
    """The N predictions of one artifact; -1 stands for what is not known.

    Attributes:
        times: Seconds since 1970 [N], ascending.
        ties: Uniform in [0, 1) [N], keyed by the id of each.
        predictions: Likeliest class [N].
        confidence: Its probability [N].
        labels: [N]; -1 also where labels disagree.
        came: When the label came [N], NaN without one; None: each when its image did.
        attributes: By name, the level [N].
        rivals: By rival of an advantage, the class it gives [N].
        outcomes: By cue and operator.
        described: By cue what it says [N, F], and `embedding` [N, D]; NaN rows where it is not known.
        missing: "reliance/colour", "counts", ...: why something is absent.
    """

    times: NDArray[np.float64]
    ties: NDArray[np.float64]
    predictions: Ints
    confidence: NDArray[np.float64]
    labels: Ints
    came: NDArray[np.float64] | None = None
    attributes: Mapping[str, Ints] = field(default_factory=dict)
    rivals: Mapping[str, Ints] = field(default_factory=dict)
    outcomes: Mapping[str, Mapping[str, Moves]] = field(default_factory=dict)
    described: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.times)

    @property
    def labelled(self) -> Ints:
        """The places of images with one label."""
        return np.flatnonzero(self.labels >= 0)

    def by_arrival(self, place: Ints) -> Ints | None:
        """Returns the order in which the labels of images at `place` came; None where it is that of the images."""
        if self.came is None:
            return None
        order = np.argsort(self.came[place], kind="stable")
        return None if (np.diff(order) == 1).all() else order


def from_traffic(traffic: Traffic, contract: Contract, tools: Instruments) -> Live:
    """Reads a log's tables.

    Args:
        traffic: Of this artifact alone.
        contract: Of the artifact.
        tools: Its probes say what a rival would have named.

    Raises:
        UserError: If the log is of other classes.
    """
    if traffic.classes != contract.classes:
        raise UserError(
            f"log: its classes are {', '.join(traffic.classes)}; the artifact's are {', '.join(contract.classes)}."
        )
    table = traffic.predictions
    described = dict(traffic.describes)
    if traffic.embeddings is not None:
        described["embedding"] = traffic.embeddings
    missing = {f"{metric}/{cue}": why for cue, why in tools.missing.items() for metric in ("reliance", "advantage")}
    return Live(
        times=table["time"].to_numpy().astype(np.float64),
        ties=ties(table["id"].to_list()),
        predictions=table["prediction"].to_numpy().astype(np.int64),
        confidence=table["confidence"].to_numpy().astype(np.float64),
        labels=table["label"].fill_null(UNKNOWN).to_numpy().astype(np.int64),
        came=table["label_time"].fill_null(np.nan).to_numpy().astype(np.float64),
        attributes={name: _levels(table, name, levels) for name, levels in contract.attributes.items()},
        rivals={MAJORITY: np.full(len(table), contract.majority_class), **_rivals(traffic, tools)},
        outcomes=_outcomes(traffic),
        described=described,
        missing=missing,
    )


def ties(ids: Sequence[str]) -> NDArray[np.float64]:
    """Returns a number in [0, 1) for each id: the same one whenever the log is read."""
    digests = b"".join(hashlib.sha256(f"evensight monitor {id}".encode()).digest()[:8] for id in ids)
    return np.asarray((np.frombuffer(digests, "<u8") >> np.uint64(11)) * 2.0**-53, dtype=np.float64)


def evidence(live: Live, contract: Contract) -> Evidence:
    """Counts what the objective's requirements read, over the whole log."""
    places = live.labelled
    missing = {"counts": "no image of the log has a label", "advantage": "no image of the log has a label"}
    missing["reliance"] = "no image of the log is in the reliance sample"
    missing |= {f"counts/{name}": f"no labelled image of the log came with its {name}" for name in contract.attributes}
    if len(places):
        del missing["advantage"]
    missing |= live.missing
    return Evidence(
        counts=_counts(live, places, contract) if len(places) else None,
        usual=contract.usual,
        reliance={
            cue: {operator: _paired(moves.transplant, moves.placebo) for operator, moves in operators.items()}
            for cue, operators in live.outcomes.items()
        },
        advantage={
            rival: _paired(live.predictions[known] == live.labels[known], said[known] == live.labels[known])
            for rival, said in live.rivals.items()
            if len(known := places[said[places] >= 0])
        },
        missing={**missing, "artifact_bytes": "the monitor reads the log"},
    )


def _counts(live: Live, places: Ints, contract: Contract) -> Counts:
    num = len(contract.classes)
    pairs = live.labels[places] * num + live.predictions[places]
    by_attribute = {}
    for name, levels in contract.attributes.items():
        level = live.attributes.get(name, np.full(len(live), UNKNOWN))[places]
        cells = level[level >= 0] * num**2 + pairs[level >= 0]
        by_attribute[name] = np.bincount(cells, minlength=len(levels) * num**2).reshape(len(levels), num, num)
    return Counts(np.bincount(pairs, minlength=num**2).reshape(num, num), by_attribute)


def _paired(first: Bools, second: Bools) -> Paired:
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    return Paired(np.array(only_first), np.array(only_second), np.array(len(first)))


def _levels(table: pl.DataFrame, name: str, levels: Sequence[str]) -> Ints:
    if f"attribute:{name}" not in table.columns:
        return np.full(len(table), UNKNOWN, dtype=np.int64)
    index = {level: place for place, level in enumerate(levels)}
    return np.array([index.get(level, UNKNOWN) for level in table[f"attribute:{name}"].to_list()], dtype=np.int64)


def _rivals(traffic: Traffic, tools: Instruments) -> dict[str, Ints]:
    """Returns what each probe says of what its cue said of each image."""
    found = {}
    for cue in tools.probes:
        features = traffic.describes.get(cue)
        if features is None or features.shape[1] != tools.probes[cue].mean.size(0):
            continue
        said = np.full(len(features), UNKNOWN, dtype=np.int64)
        known = np.flatnonzero(np.isfinite(features).all(axis=1))
        said[known] = tools.rivals({cue: torch.from_numpy(features[known])})[cue]
        found[cue] = said
    return found


def _outcomes(traffic: Traffic) -> dict[str, dict[str, Moves]]:
    place: dict[str, int] = {id: number for number, id in enumerate(traffic.predictions["id"].to_list())}
    found: dict[str, dict[str, Moves]] = {}
    for (cue, operator), rows in traffic.outcomes.group_by(["cue", "operator"], maintain_order=True):
        places = np.array([place[id] for id in rows["id"].to_list()], dtype=np.int64)
        order = np.argsort(places, kind="stable")
        columns: list[Any] = [rows[name].to_numpy().astype(bool)[order] for name in ("transplant", "placebo")]
        found.setdefault(str(cue), {})[str(operator)] = Moves(places[order], *columns)
    return found
