"""A user's own folder of photographs: no file written, no other setting; and every way to a probability agrees."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from evensight.cli import main
from evensight.run import Run

pytestmark = [pytest.mark.realdata, pytest.mark.slow]
NUM_A_CLASS = 100
CLASSES = ("climbing", "diving", "racing", "throwing")


@pytest.fixture(scope="module")
def folders(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 of BAR's photographs in class folders."""
    root = tmp_path_factory.mktemp("photographs")
    for name in CLASSES:
        (root / "photos" / name).mkdir(parents=True)
        for path in sorted((real_data / "bar" / "train").glob(f"{name}_*.jpg"))[:NUM_A_CLASS]:
            shutil.copy(path, root / "photos" / name / path.name)
    return root


@pytest.fixture(scope="module")
def run(folders: Path) -> Run:
    arguments = ["experiment=folder", f"data.root={folders / 'photos'}", "trainer.max_epochs=2"]
    assert main(["train", *arguments, f"runs_dir={folders / 'runs'}", f"datasets_dir={folders / 'datasets'}"]) == 0
    return Run.open(folders / "runs" / "folder" / "latest")


def test_classes_come_from_the_folders(run: Run) -> None:
    assert json.loads((run.folder / "objective.json").read_text(encoding="utf-8"))["classes"] == sorted(CLASSES)


def test_test_split_is_sealed_and_openings_are_counted(run: Run, folders: Path) -> None:
    assert not (run.verdicts / "test.json").exists()
    main(["test", f"run={run.folder}"])
    found = json.loads((run.verdicts / "test.json").read_text(encoding="utf-8"))
    assert found["sealed"] is True
    assert found["openings"] == 1


def test_verdict_predict_and_loader_agree(run: Run, folders: Path) -> None:
    """The verdict's probabilities, the command's and those of the training loader's images differ by less than 1e-4."""
    import torch

    from evensight.data.datamodule import ImageDataModule
    from evensight.data.prepare import prepare
    from evensight.records.artifact import Artifact
    from evensight.runtime import script
    from evensight.runtime.preprocess import PreprocessSpec

    config = run.config()
    table = pl.read_parquet(run.predictions / "validation.parquet").sort("index")
    out = folders / "predicted.parquet"
    arguments = [f"artifact={run.artifact}", f"data={folders / 'photos'}", f"out={out}", "accept_failed=true"]
    assert main(["predict", *arguments]) == 0
    predicted = pl.read_parquet(out).with_columns(pl.col("path").str.split("/").list.last().alias("file"))
    joined = table.with_columns(pl.col("path").str.split("/").list.last().alias("file")).join(
        predicted, on="file", suffix="_c"
    )
    assert joined.height == table.height
    verdict_probabilities = np.array(joined.sort("index")["probabilities"].to_list())
    assert np.abs(verdict_probabilities.max(1) - joined.sort("index")["probability"].to_numpy()).max() < 1e-4

    manifest, _ = prepare(config.data, run.objective(), Path(config.datasets_dir), None)
    contract = Artifact.open(run.artifact).contract.preprocessing
    spec = PreprocessSpec(contract.size, contract.crop_ratio, tuple(contract.mean), tuple(contract.std))
    module = ImageDataModule(manifest, config.data, config.augment, spec, seed=1, noise_size=0)
    model = script.load(run.artifact / "model.ts")
    by_index = {}
    for batch in module.val_dataloader():
        with torch.inference_mode():
            probabilities = model.infer(batch["image"].contiguous())["probs"].numpy()
        by_index |= {int(i): p for i, p, w in zip(batch["index"], probabilities, batch["weight"], strict=True) if w > 0}
    loaded = np.stack([by_index[index] for index in joined.sort("index")["index"].to_list()])
    assert np.abs(loaded - verdict_probabilities).max() < 1e-4
