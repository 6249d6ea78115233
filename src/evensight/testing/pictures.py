"""Pictures for the report: the worst mistakes, and images with another image's cue."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from evensight.cues.reliance import Outcome, examples
from evensight.data.manifest import Manifest
from evensight.files import staged, write_json
from evensight.records.instruments import Instruments
from evensight.testing.extras import Extras
from evensight.testing.predictions import Served, from_rows
from evensight.testing.scores import Scores

NUM_MISTAKES = 24
NUM_TRANSPLANTS = 12


def write_pictures(
    folder: Path,
    served: Served,
    tools: Instruments,
    manifest: Manifest,
    scores: Scores,
    extras: Extras | None = None,
) -> None:
    """Writes `<folder>/*.png`, every image as the network sees it, and `<folder>.json`, which says what they show.

    The mistakes are the most confident ones; the transplants are evenly spread over the split, none is chosen.
    """
    with staged(folder) as temporary:
        shown = _draw(temporary, served, tools, manifest, scores, extras)
    write_json(folder.with_name(f"{folder.name}.json"), {"schema_version": 1, **shown})


def _draw(
    folder: Path, served: Served, tools: Instruments, manifest: Manifest, scores: Scores, extras: Extras | None
) -> dict[str, Any]:
    load = from_rows(manifest, scores.rows, served.max_pixels)

    def pixels(place: int) -> Tensor:
        return served.preprocess(load(int(scores.known[place])))

    mistakes = []
    for number, place in enumerate(worst_mistakes(scores, NUM_MISTAKES)):
        file = f"mistake_{number:02}.png"
        _save(folder / file, pixels(place))
        row, predicted = scores.rows[int(scores.known[place])], int(scores.predictions[place])
        probability = float(scores.probs[place, predicted])
        label = int(scores.labels[scores.known[place]])
        said = {"label": label, "prediction": predicted, "probability": probability}
        mistakes.append({"file": file, "path": row["path"], **said})

    count = len(scores.known)
    places = np.unique(np.linspace(0, count - 1, min(NUM_TRANSPLANTS, count)).astype(int)).tolist()
    images = torch.stack([pixels(place) for place in places]) if places else None
    extra = {} if extras is None else extras.at(scores.known[places])
    transplants = [] if images is None else _transplants(folder, served, tools, scores, places, images, extra)
    return {"mistakes": mistakes, "transplants": transplants}


def worst_mistakes(scores: Scores, count: int) -> list[int]:
    """Returns places among the decodable images that are wrong, the most confident first."""
    wrong = np.flatnonzero(scores.predictions != scores.labels[scores.known])
    order = np.argsort(-scores.probs[wrong].max(axis=1, initial=0.0), kind="stable")
    chosen: list[int] = wrong[order][:count].tolist()
    return chosen


def _transplants(
    folder: Path,
    served: Served,
    tools: Instruments,
    scores: Scores,
    places: list[int],
    images: Tensor,
    extra: Mapping[str, Tensor],
) -> list[dict[str, Any]]:
    cues = {cue.name: cue for cue in tools.cues}
    entries = []
    for name, operators in scores.outcomes.items():
        for operator, outcome in operators.items():
            chosen = _at(outcome, places)
            shown = examples(images, chosen, operator, range(len(places)), tools.bank, cues[name], extra)
            decided = served.classes(torch.stack([changed for _, _, changed in shown]))
            for number, (image, donor, changed) in enumerate(shown):
                names = {part: f"{name}_{number:02}_{part}.png" for part in ("image", "donor")}
                names["transplanted"] = f"{name}_{number:02}_{operator}.png"
                for part, value in zip(names.values(), (image, donor, changed), strict=True):
                    _save(folder / part, value)
                said = {"prediction": int(decided[number]), "donor_class": int(chosen.donor_class[number])}
                said |= {"before": int(scores.predictions[places[number]])}
                moved = bool(chosen.moved_transplant[number])
                entries.append({"cue": name, "operator": operator, **names, **said, "moved": moved})
    return entries


def _at(outcome: Outcome, places: list[int]) -> Outcome:
    index = torch.tensor(places, dtype=torch.int64)
    return Outcome(
        outcome.moved_transplant[index],
        outcome.moved_placebo[index],
        outcome.donor[index],
        outcome.donor_class[index],
        outcome.placebo[index],
    )


def _save(path: Path, image: Tensor) -> None:
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(path)
