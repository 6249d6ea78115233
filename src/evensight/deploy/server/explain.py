"""What was looked at: the decision on one image under what a cue says of other images, from the donors inside."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from evensight.cues import Cue
from evensight.cues.reliance import DonorBank, transplanted
from evensight.deploy.server.engine import Answer
from evensight.deploy.server.model import Model

NUM_DONORS = 6  # of other classes than the one predicted, shown for each cue


def explained(answer: Answer) -> list[dict[str, Any]]:
    """Returns, for each cue that can be transplanted, the image with the cue of other images and what became of it.

    Args:
        answer: On the image itself.

    Returns:
        A dict a cue: `cue`, `moved` and `of` (how many pictures were given the class of their donor), and `pictures`:
        a dict each with `picture` (a PNG as data URI), `label`, `confidence`, `donor`, `donor_label`, `operator` and
        `moved`.
    """
    model, image = answer.model, answer.pixels.unsqueeze(0)
    bank = model.tools.bank
    donors = drawn(bank, image, answer.index)
    with torch.inference_mode():
        return [_cue(model, cue, image, donors, answer.size) for cue in model.tools.cues if cue.operators]


def drawn(bank: DonorBank, image: Tensor, prediction: int, count: int = NUM_DONORS) -> list[int]:
    """Draws donors of other classes than the one predicted, as evenly over these as they are; keyed by the image.

    Args:
        bank: The donors.
        image: uint8 `[1, 3, S, S]`.
        prediction: Index of its class.
        count: Of donors; fewer where the bank has no more.

    Returns:
        Positions in the bank.
    """
    digest = hashlib.sha256(image.cpu().contiguous().numpy().tobytes()).hexdigest()

    def key(position: int) -> bytes:
        return hashlib.sha256(f"{digest}:{position}".encode()).digest()

    labels = bank.labels.tolist()
    by_class: dict[int, list[int]] = {}
    for position in sorted(range(len(labels)), key=key):
        if labels[position] != prediction:
            by_class.setdefault(labels[position], []).append(position)
    rounds = max((len(positions) for positions in by_class.values()), default=0)
    ordered = [positions[turn] for turn in range(rounds) for positions in by_class.values() if turn < len(positions)]
    return ordered[:count]


def _cue(model: Model, cue: Cue, image: Tensor, donors: Sequence[int], size: tuple[int, int]) -> dict[str, Any]:
    bank = model.tools.bank
    extra = {"size": torch.tensor([size], dtype=torch.int64)}
    # The operators take turns: a model may be free of the cue under one and not under another.
    operators = [cue.operators[number % len(cue.operators)] for number in range(len(donors))]
    changed = [
        transplanted(cue, operator, image, torch.tensor([donor]), bank, extra)
        for operator, donor in zip(operators, donors, strict=True)
    ]
    pictures = []
    if changed:
        rows, _ = model.judge(torch.cat(changed))
        for operator, donor, pixels, row in zip(operators, donors, changed, rows, strict=True):
            index, donor_class = int(row.argmax()), int(bank.labels[donor])
            pictures.append(
                {
                    "picture": data_uri(pixels[0]),
                    "label": model.classes[index],
                    "confidence": float(row[index]),
                    "donor": data_uri(bank.images[donor]),
                    "donor_label": model.classes[donor_class],
                    "operator": operator,
                    "moved": index == donor_class,
                }
            )
    return {
        "cue": cue.name,
        "moved": sum(picture["moved"] for picture in pictures),
        "of": len(pictures),
        "pictures": pictures,
    }


def data_uri(image: Tensor) -> str:
    """Returns an image, uint8 `[3, S, S]`, as a PNG in a data URI."""
    stream = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy()).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
