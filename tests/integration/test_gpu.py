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
