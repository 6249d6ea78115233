"""If this fails, the report shows other pictures or moves than training wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from evensight.report.focus import focus_view
from evensight.report.folder import read_folder
from evensight.run import Run
from evensight.training.focus.record import add_moves, focus_record, write_focus


def test_the_report_shows_what_training_wrote(tmp_path: Path) -> None:
    run = Run(tmp_path)
    (tmp_path / "config.yaml").write_text("experiment_name: made\n")
    before = torch.arange(2 * 3 * 8 * 8, dtype=torch.int64).remainder(256).to(torch.uint8).reshape(2, 3, 8, 8)
    settings = {"cues": ["colour"], "by": ["augment", "remove"], "strength": 0.5, "notes": ["why"]}
    write_focus(run, focus_record(settings, None), before, {"colour": 255 - before, "removed": before // 2})
    move = {"epoch": 0, "cue": "colour", "strength_before": 0.5, "strength": 1.0, "reliance": 0.3, "bound": 0.1}
    add_moves(run, [{**move, "why": "it is above its bound"}])

    files = read_folder(tmp_path)
    view = focus_view(files)
    assert view is not None
    assert (view["cues"], view["strength"], view["notes"]) == (["colour"], "0.5", ["why"])
    assert [way for way, words in view["ways"] if words] == ["augment", "remove"]
    assert [(seen["name"], len(seen["pairs"])) for seen in view["sees"]] == [("colour", 2), ("removed", 2)]
    assert [shown["what"] for shown in view["moves"]] == ["colour: 0.5 to 1"]
    for entry, expected in zip(files.focus["sees"], [255 - before[0], 255 - before[1], before[0] // 2], strict=False):
        with Image.open(tmp_path / entry["after"]) as picture:
            assert np.array_equal(np.asarray(picture).transpose(2, 0, 1), expected.numpy())
