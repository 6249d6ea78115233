"""If these fail, what a model makes of the background is not judged where images come with masks, or judged wrongly.

The network says the strongest mean channel. A small grey object stands on a ground of one colour, so the ground decides
alone, and another image's background decides every image.
"""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file

import made_artifact
from evensight.cues.reliance import DonorBank
from evensight.data.dataset import ImageDataset
from evensight.data.digests import Digests
from evensight.data.manifest import Manifest
from evensight.deploy.export import export
from evensight.objective.objective import Objective
from evensight.records.artifact import Artifact
from evensight.records.instruments import instruments
from evensight.run import Run
from evensight.runtime import script
from evensight.testing.evaluate import evaluate, reliance_of
from evensight.testing.extras import Extras

CLASSES = made_artifact.CLASSES
GROUNDS = list(made_artifact.RGB.values())
NUM_TRAIN, NUM_TEST = 18, 18


def drawn(number: int, ground: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A grey object somewhere on its ground, 40 x 48, and its mask of 0 and 255."""
    rng = np.random.default_rng(number)
    pixels = np.empty((40, 48, 3), np.uint8)
    pixels[:] = np.clip(np.array(GROUNDS[ground]) + rng.integers(-8, 8, (40, 48, 1)), 0, 255)
    mask = np.zeros((40, 48), np.uint8)
    top, left = rng.integers(8, 18), rng.integers(12, 22)
    mask[top : top + 12, left : left + 12] = 255
    pixels[mask > 0] = 120
    return pixels, mask


def manifest(folder: Path, masks: bool = True) -> Manifest:
    """In training the ground is the class's own; in validation and test every class has every ground."""
    test = list(itertools.product(range(3), range(3), range(2)))
    aligned = [(k, k) for k in range(3)] * (NUM_TRAIN // 3)
    crossed = [(label, ground) for label, ground, _ in test]
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    for split, cells in (("train", aligned), ("validation", crossed), ("test", crossed)):
        for label, ground in cells:
            number = len(rows)
            pixels, mask = drawn(number, ground)
            Image.fromarray(pixels).save(folder / f"{number}.png")
            Image.fromarray(mask).save(folder / f"{number}_mask.png")
            row = {"row_id": f"{number}#0", "path": f"{number}.png", "label": CLASSES[label], "split": split}
            row |= {"mask": f"{number}_mask.png" if masks else None, "width": 48, "height": 40, "error": None}
            rows.append({"index": number, **row})
    frame = pl.DataFrame(rows, schema_overrides={"error": pl.String, "mask": pl.String})
    digests = Digests("1" * 64, "2" * 64, "3" * 64)
    return Manifest("grounds", folder, folder, frame, CLASSES, {}, {}, digests, False, [])


def objective() -> Objective:
    return Objective.from_config(
        {
            "name": "grounds",
            "purpose": "Know every answer.",
            "classes": list(CLASSES),
            "requirements": [
                {"metric": "reliance", "cue": "background", "bound": 0.1},
                {"metric": "advantage", "over": ["background"], "bound": 0.1},
            ],
        }
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> made_artifact.Made:
    folder = tmp_path_factory.mktemp("masks")
    images, config, run = manifest(folder / "images"), made_artifact.config(folder), Run(folder / "run")
    config.reliance.cues = ["background"]
    run.folder.mkdir()
    batch = ImageDataset(images, "train", made_artifact.SPEC, None, 0, extra=["mask"]).batch(0, np.arange(NUM_TRAIN))
    bank = DonorBank(batch["image"].contiguous(), batch["label"], batch["index"], batch["extra"])
    written = export(run, made_artifact.network(), made_artifact.SPEC, objective(), images, bank, config)
    return made_artifact.Made(run, images, written, config)


def test_the_artifact_carries_the_masks_of_its_donors(made: made_artifact.Made) -> None:
    tensors = load_file(made.artifact.folder / "donors.safetensors")
    assert tensors["bank/extra.mask"].shape == (NUM_TRAIN, 1, 32, 32)
    assert any(name.startswith("probe/background/") for name in tensors)


@pytest.mark.parametrize("stage", ["validation", "test"])
def test_a_network_that_reads_the_background_fails(made: made_artifact.Made, stage: str, tmp_path: Path) -> None:
    found = evaluate(made.artifact, made.manifest, stage, Run(tmp_path), batch_size=5)
    row = found.file.row("reliance on background")
    assert (row.estimate, row.verdict, row.n) == (1.0, "FAIL", 18)
    assert found.table["reliance:background:swap:transplant"].all()
    assert not found.table["reliance:background:swap:placebo"].any()
    # The probe of the background says what the network says: the ground's class.
    assert found.table["rival:background"].to_list() == found.table["prediction"].to_list()
    assert found.file.row("advantage over background").estimate == 0.0
    with Image.open(tmp_path / "pictures" / stage / "background_00_swap.png") as picture:
        assert picture.size == (32, 32)


def test_images_without_masks_are_not_measured_and_it_says_why(made: made_artifact.Made, tmp_path: Path) -> None:
    bare = manifest(tmp_path / "bare", masks=False)
    found = evaluate(made.artifact, bare, "test", Run(tmp_path / "run"))
    row = found.file.row("reliance on background")
    assert row.verdict == "NOT_MEASURED"
    assert "mask" in str(row)
    assert not [name for name in found.table.columns if "background" in name]


def test_raw_files_come_without_masks(made: made_artifact.Made, caplog: pytest.LogCaptureFixture) -> None:
    files = [made.manifest.root / path for path in made.manifest.split("test")["path"]]
    with caplog.at_level(logging.WARNING):
        assert reliance_of(Artifact.open(made.artifact.folder), files) == {}
    assert "reliance on background is not measured: the cue needs the mask of each image" in caplog.text


def test_donors_without_masks_are_told(made: made_artifact.Made, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {name: value for name, value in made.artifact.donors().items() if name != "bank/extra.mask"}
    monkeypatch.setattr(Artifact, "donors", lambda self: kept)
    assert instruments(made.artifact, {"mask"}).missing == {
        "background": "the artifact's donors come without their mask"
    }


def test_masks_are_cropped_and_resized_as_their_images_are(made: made_artifact.Made) -> None:
    """An image that is white where its mask is 255 must come out as its mask does."""
    contract = made.artifact.contract
    positions = np.array([3, 0, 17])
    masks = Extras(made.manifest, "test", contract, ["mask"]).at(positions)["mask"]
    served: Any = script.load(made.artifact.model_path)
    for position, mask in zip(positions.tolist(), masks, strict=True):
        number = int(made.manifest.split("test")["index"][position])
        white = torch.from_numpy(np.repeat(drawn(number, 0)[1][None], 3, axis=0))
        assert torch.equal(served.preprocess(white)[:1], mask)
    assert Extras(made.manifest, "test", contract, []).at(positions) == {}
