"""What training leaves of cues and of a focus, made up, for the sections of the report that show them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def cue_metrics(epoch: int, classes: Sequence[str] = (), colours: Sequence[str] = ()) -> dict[str, float]:
    """Reliance on six cues, of which colour falls from epoch to epoch, as `RelianceMonitor` writes it."""
    cues = ("brightness", "texture", "background", "border", "surround")
    figures = {f"val/reliance/{cue}": 0.01 * (number + 1) for number, cue in enumerate(cues)}
    figures |= {"val/decided_by/colour": 0.8 - 0.1 * epoch, "val/accuracy_against/colour": 0.1 + 0.1 * epoch}
    figures |= {"val/accuracy_without/colour": 0.45, "val/decided_by/texture": 0.125}
    figures |= {f"val/reliance/colour/class={name}": 0.6 for name in classes}
    return figures | {f"val/reliance/colour/colour={name}": 0.7 for name in colours}


def write_focus(folder: Path) -> None:
    """What a run with a focus leaves: settings, pictures, a controller's moves, a trial's figures."""
    pictures = folder / "pictures" / "focus"
    pictures.mkdir(parents=True)
    rng = np.random.default_rng(1)
    sees = []
    for number in range(8):
        entry = {"cue": "colour <all>"}
        for part in ("before", "after"):
            path = pictures / f"{part}_{number}.png"
            Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(path)
            entry[part] = str(path.relative_to(folder))
        sees.append(entry)
    moved = {"cue": "colour", "bound": 0.05}
    record = {
        "schema_version": 1,
        "cues": [{"name": name, "by": ["augment", "remove"], "strength": 0.5} for name in ("colour", "border")],
        "by": ["augment", "remove"],
        "sees": sees,
        "moves": [
            {**moved, "epoch": 1, "strength_before": 0.25, "strength": 0.5, "reliance": 0.4, "why": "it is <above>"},
            {**moved, "epoch": 3, "strength_before": 0.5, "strength": 1.0, "reliance": 0.2, "why": "it still is"},
        ],
        "trial": {
            "expected_loss": {"estimate": 0.0123, "low": 0.01, "high": 0.02, "n": 1234},
            "accuracy": {"with_it": 0.9876, "without": 0.9753},
            "needed": False,
        },
        "notes": ["grey alone gives <nothing> away"],
    }
    (folder / "focus.json").write_text(json.dumps(record))
