"""If this fails, there is more than one way from a file to a probability."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

import made_artifact
from evensight.config import ModelConfig
from evensight.cues.reliance import DonorBank
from evensight.data.dataset import ImageDataset
from evensight.data.digests import Digests
from evensight.data.loader import Loader
from evensight.data.manifest import Manifest
from evensight.deploy.export import export
from evensight.models.backbones import build_network
from evensight.objective.objective import Objective
from evensight.run import Run
from evensight.testing.evaluate import evaluate
from evensight.testing.predict import predict

NUM_IMAGES = 500
CLASSES = ("climbing", "diving", "fishing", "pole vaulting", "racing", "throwing")


def photographs(folder: Path) -> Manifest:
    """The same photographs as validation and as test split, a few of them to train."""
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))[:NUM_IMAGES]
    assert len(paths) == NUM_IMAGES
    rows = []
    for split, chosen in (("train", paths[:60]), ("validation", paths), ("test", paths)):
        for number, path in enumerate(chosen):
            with Image.open(folder / path) as image:
                width, height = image.size
            known = {"row_id": f"{split}{number}", "path": path, "label": CLASSES[number % 6], "split": split}
            rows.append({"index": len(rows), **known, "width": width, "height": height, "error": None})
    frame = pl.DataFrame(rows, schema_overrides={"error": pl.String})
    digests = Digests("1" * 64, "2" * 64, "3" * 64)
    return Manifest("photographs", folder, folder, frame, CLASSES, {}, {}, digests, False, [])


@pytest.mark.slow
@pytest.mark.realdata
def test_validation_test_predict_and_the_loader_agree(real_data: Path, tmp_path: Path) -> None:
    manifest, config, run = photographs(real_data / "bar"), made_artifact.config(tmp_path), Run(tmp_path / "run")
    torch.manual_seed(0)
    network, spec = build_network(ModelConfig(backbone="small_cnn", size=64, crop_ratio=0.875), len(CLASSES))
    stated = {"name": "photographs", "purpose": "to agree", "classes": list(CLASSES)}
    objective = Objective.from_config({**stated, "requirements": [{"metric": "accuracy", "bound": 0.5}]})
    donors = ImageDataset(manifest, "train", spec, None, 0).batch(0, np.arange(60))
    bank = DonorBank(donors["image"].contiguous(), donors["label"], donors["index"])
    artifact = export(run, network.eval(), spec, objective, manifest, bank, config)

    found = {stage: evaluate(artifact, manifest, stage, run).table for stage in ("validation", "test")}
    of_stage = {stage: np.array(table["probabilities"].to_list()) for stage, table in found.items()}
    files = [str(manifest.root / path) for path in found["test"]["path"]]
    predicted = predict(artifact.folder, ",".join(files), accept_failed=True)
    plain = Loader(ImageDataset(manifest, "test", spec, None, 0), 64, False, False, 0, 2)
    with torch.inference_mode():
        logits = torch.cat([network(batch["image"]) for batch in plain]) / artifact.contract.temperature
    of_loader = torch.softmax(logits, dim=1).numpy()

    assert of_loader.shape == (NUM_IMAGES, 6)
    assert np.abs(of_stage["validation"] - of_stage["test"]).max() < 1e-5
    assert np.abs(of_loader - of_stage["test"]).max() < 1e-4
    assert predicted["label"].to_list() == [CLASSES[i] for i in of_loader.argmax(axis=1)]
    assert np.abs(predicted["probability"].to_numpy() - of_stage["test"].max(axis=1)).max() < 1e-4
