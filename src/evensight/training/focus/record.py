"""`focus.json` of a run: what is turned off and how, what the network sees, what a controller and a trial did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from evensight.files import replaced
from evensight.run import Run

SCHEMA_VERSION = 1
FOCUS, PICTURES = "focus.json", "focus"


def focus_record(settings: Mapping[str, Any], trial: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the content of `focus.json` before the fit.

    Args:
        settings: `Focus.plain()`.
        trial: Figures of the trial; None where there was none.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "settings": dict(settings),
        "cues": [
            {"name": cue, "by": list(settings["by"]), "strength": settings["strength"]} for cue in settings["cues"]
        ],
        "by": list(settings["by"]),
        "sees": [],
        "moves": [],
        "trial": None if trial is None else dict(trial),
        "notes": list(settings["notes"]),
    }


def write_focus(run: Run, record: dict[str, Any], before: Tensor, after: Mapping[str, Tensor]) -> None:
    """Writes `focus.json` and its pictures.

    Args:
        run: Whose folder gets them.
        record: From `focus_record`; its `sees` is filled in.
        before: Training images, uint8 `[N, 3, S, S]`.
        after: By what was done to them, the same images as the network sees them.
    """
    folder = run.pictures / PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    originals = _write(run, before, "before")
    record["sees"] = [
        {"cue": name, "before": first, "after": second}
        for name, images in after.items()
        for first, second in zip(originals, _write(run, images, name), strict=True)
    ]
    run.write_json(FOCUS, record)


def add_moves(run: Run, moves: Sequence[Mapping[str, Any]]) -> None:
    """Adds what a controller did during the fit."""
    record = run.read_json(FOCUS)
    if record is not None:
        run.write_json(FOCUS, {**record, "moves": [dict(move) for move in moves]})


def _write(run: Run, images: Tensor, name: str) -> list[str]:
    from PIL import Image

    names = []
    for number, image in enumerate(images):
        path = run.pictures / PICTURES / f"{name}_{number}.png"
        with replaced(path) as temporary:
            Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(temporary, format="PNG")
        names.append(str(path.relative_to(run.folder)))
    return names
