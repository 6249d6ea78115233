"""The main job on a GPU: mixed precision in training, the same artifact, the same probabilities as on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from evensight.cli import main
from evensight.run import Run
from evensight.runtime.predictor import Predictor

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]


def test_main_job_takes_the_gpu_and_its_artifact_agrees_with_the_cpu(tmp_path: Path) -> None:
    folders = [f"runs_dir={tmp_path / 'runs'}", f"datasets_dir={tmp_path / 'datasets'}"]
    assert main(["train", "experiment=shapes", "debug=fast", *folders]) == 0
    run = Run.open(tmp_path / "runs" / "shapes" / "latest")
    table = pl.read_parquet(run.predictions / "test.parquet")
    root = next((tmp_path / "datasets" / "shapes").glob("*/images")).parent
    found = Predictor(run.artifact, "cuda", accept_failed=True).predict([root / path for path in table["path"]])
    expected = np.array(table["probabilities"].to_list())
    # TF32 in convolutions is worth about 1e-3 of a logit.
    assert np.abs(np.array([one.probabilities for one in found]) - expected).max() < 5e-3


@pytest.mark.parametrize(
    "focus",
    [
        ["focus=colour_off"],
        ["focus=background_off", "focus.by=[consistency]"],
        ["focus.ignore=[colour,brightness]", "focus.by=[remove]"],
        ["focus.by=[groups]", "focus.groups=lff"],
        ["focus.by=[head]", "focus.head=dfr"],
    ],
)
def test_every_way_of_focus_trains_on_the_gpu(focus: list[str], tmp_path: Path) -> None:
    folders = [f"runs_dir={tmp_path / 'runs'}", f"datasets_dir={tmp_path / 'datasets'}"]
    assert main(["train", "experiment=shapes", "debug=fast", "focus.trial=false", *focus, *folders]) == 0
    run = Run.open(tmp_path / "runs" / "shapes" / "latest")
    assert run.artifact.is_dir()


def test_cues_are_the_same_pixels_on_the_gpu() -> None:
    """A network trained on one device meets on the other what it was trained to ignore."""
    from evensight.cues import build_cues
    from evensight.training.focus.randomize import noise_columns, randomized

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (32, 3, 64, 64), dtype=torch.uint8, generator=generator)
    for cue in build_cues(["colour", "brightness", "border", "surround", "texture"]):
        noise = torch.rand(32, noise_columns([cue]), generator=generator)
        found = [
            randomized({"image": images.to(device), "extra": {}}, [cue], torch.ones(1, device=device), noise.to(device))
            for device in ("cpu", "cuda")
        ]
        different = (found[0].int() - found[1].cpu().int()).abs()
        assert different.max() <= 1, cue.name
        assert (different > 0).float().mean() < 0.001, cue.name
