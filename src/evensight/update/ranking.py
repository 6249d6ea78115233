"""The images of the traffic by what makes them worth a label, from what the log says of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from evensight.data import similar
from evensight.records.artifact import Artifact
from evensight.records.instruments import instruments
from evensight.records.traffic import Traffic
from evensight.runtime.decode import DecodeError, decode_array
from evensight.update import choosing
from evensight.update.wanted import Cell

# Near duplicates are looked for among this many times the images that are asked for.
_POOL = 3

Bools = NDArray[np.bool_]


def ranked(
    traffic: Traffic,
    artifact: Artifact,
    cells: Sequence[Cell],
    failing: Sequence[str],
    allowed: Bools,
    order: NDArray[np.uint64],
    parts: Mapping[str, int],
) -> dict[str, choosing.Ints]:
    """Returns the images of each reason but the control, in the order of their worth: some times those asked for.

    Args:
        traffic: Of this artifact.
        artifact: Its probes say what each cue alone would answer.
        cells: That want evidence, the neediest first.
        failing: Cues that a verdict says the model goes by.
        allowed: Images that may be picked `[N]`.
        order: Of `choosing.keyed` `[N]`.
        parts: Images that each reason asks for.
    """
    predictions = traffic.predictions["prediction"].to_numpy()
    members = [allowed & _in_cell(traffic, cell, predictions) for cell in cells]
    moved, at_odds = _cues(traffic, artifact, failing, predictions)
    probabilities = np.array(traffic.predictions["probabilities"].to_list(), dtype=np.float64)
    margins = choosing.of_margins(probabilities)
    found = {
        choosing.CELL: choosing.of_cells(members, order),
        choosing.CUE: choosing.of_cues([one & allowed for one in moved], [one & allowed for one in at_odds], order),
        choosing.UNCERTAIN: margins[allowed[margins]],
    }
    return {reason: positions[: _POOL * parts[reason]] for reason, positions in found.items()}


def _in_cell(traffic: Traffic, cell: Cell, predictions: choosing.Ints) -> Bools:
    inside = np.ones(len(predictions), dtype=np.bool_)
    if cell.label is not None:
        inside &= predictions == traffic.classes.index(cell.label)
    if cell.attribute is not None:
        column = f"attribute:{cell.attribute}"
        if column not in traffic.predictions.columns:
            return np.zeros(len(predictions), dtype=np.bool_)
        inside &= (traffic.predictions[column] == cell.level).fill_null(False).to_numpy()
    return inside


def _cues(
    traffic: Traffic, artifact: Artifact, failing: Sequence[str], predictions: choosing.Ints
) -> tuple[list[Bools], list[Bools]]:
    """Returns, by cue, the images whose decision it moved, and those that it alone gives another class."""
    probes = instruments(artifact, ("mask", "box", "size")).probes
    names = [*failing, *(cue.name for cue in artifact.contract.cues if cue.name not in failing)]
    outcomes = traffic.outcomes.filter(pl.col("transplant") & ~pl.col("placebo"))
    moved, at_odds = [], []
    for name in names:
        by_cue = set(outcomes.filter(pl.col("cue") == name)["id"].to_list())
        moved.append(np.array([one in by_cue for one in traffic.predictions["id"].to_list()], dtype=np.bool_))
        other = np.zeros(len(predictions), dtype=np.bool_)
        features = traffic.describes.get(name)
        if features is not None and name in probes:
            known = np.isfinite(features).all(axis=1)
            with torch.inference_mode():
                said = probes[name].predict(torch.from_numpy(np.ascontiguousarray(features[known])))
            other[known] = said.numpy() != predictions[known]
        at_odds.append(other)
    return moved, at_odds


def alike(
    traffic: Traffic,
    images_in: Path,
    order: NDArray[np.uint64],
    fresh: Bools,
    ranked: Mapping[str, choosing.Ints],
    parts: Mapping[str, int],
) -> choosing.Ints:
    """Returns a number of each image `[N]`, the same for near duplicates among those that are likely to be asked for.

    Args:
        traffic: Names the images.
        images_in: The folder that their paths are relative to.
        order: Of `choosing.keyed` `[N]`.
        fresh: Images that the control sample may have `[N]`.
        ranked: Of `ranked`.
        parts: Images of each reason.
    """
    found = np.arange(len(order), dtype=np.int64)
    by_hash = np.flatnonzero(fresh)[np.argsort(order[np.flatnonzero(fresh)], kind="stable")]
    pool = {int(one) for one in by_hash[: _POOL * parts[choosing.CONTROL]]}
    for positions in ranked.values():
        pool |= {int(one) for one in positions}
    images = traffic.predictions["image"].to_list()
    places, hashes, thumbnails = [], [], []
    for position in sorted(pool):
        try:
            small = similar.hash_and_thumbnail(decode_array(images_in / images[position]))
        except DecodeError:
            continue  # annotators will see that, too
        places.append(position)
        hashes.append(small[0])
        thumbnails.append(small[1])
    if len(places) > 1:
        pairs = similar.near_pairs(np.stack(hashes), np.stack(thumbnails))
        cluster = similar.clusters(len(places), pairs)
        found[places] = np.array(places)[cluster]
    return found
