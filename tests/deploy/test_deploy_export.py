"""If these fail, what a run ships is incomplete, not what was trained, or another thing each time."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import made_artifact
from evensight.deploy import export as exporting
from evensight.deploy.export import export
from evensight.errors import RunError, UserError
from evensight.models.network import Network
from evensight.records.artifact import Artifact
from evensight.run import Run
from evensight.runtime import script
from evensight.runtime.predictor import Predictor
from evensight.testing.predictions import Served, decoded


def export_to(folder: Path, made: made_artifact.Made, network: Network | None = None) -> Artifact:
    folder.mkdir(exist_ok=True)
    trained = network or made_artifact.network()
    stated, bank = made_artifact.objective(), made_artifact.bank(made.manifest)
    return export(Run(folder), trained, made_artifact.SPEC, stated, made.manifest, bank, made.config)


def test_files_and_their_sums(made: made_artifact.Made) -> None:
    folder = made.artifact.folder
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    names = {name for name in names if not name.startswith("attached/")}
    golden = {f"golden/{number}.png" for number in range(4)} | {"golden/outputs.safetensors"}
    models = {"model.ts", "model.pt2", "weights.safetensors"}
    assert names == models | golden | {"contract.json", "donors.safetensors", "SHA256SUMS"}
    checked = subprocess.run(["sha256sum", "-c", "--quiet", "--strict", "SHA256SUMS"], cwd=folder, check=False)
    assert checked.returncode == 0


def test_contract(made: made_artifact.Made) -> None:
    contract = made.artifact.contract
    assert contract.classes == made_artifact.CLASSES
    assert contract.usual == {"colour": (0, 1, 2)}
    assert [(cue.name, cue.operators) for cue in contract.cues] == [("colour", ("hue", "hue_luma", "tint"))]
    assert contract.bounds["reliance on colour"] == 0.05
    assert contract.preprocessing.size == 32
    inside = script.load_extra(made.artifact.model_path, ["contract.json"])["contract.json"]
    assert inside == (made.artifact.folder / "contract.json").read_bytes()


def test_exporting_again_gives_the_same_identity(made: made_artifact.Made, tmp_path: Path) -> None:
    again = export_to(tmp_path / "again", made)
    assert again.identity == made.artifact.identity
    assert again.contract.run["folder"] != made.artifact.contract.run["folder"]


def test_an_equal_artifact_is_left_alone_and_another_is_refused(made: made_artifact.Made, tmp_path: Path) -> None:
    first = export_to(tmp_path / "run", made)
    first.attach("verdict_test", {"verdict": "PASS"})
    written = first.model_path.stat().st_mtime_ns
    assert export_to(tmp_path / "run", made) == first
    assert first.model_path.stat().st_mtime_ns == written

    other = made_artifact.network()
    with torch.no_grad():
        other.head.bias[1] += 1
    with pytest.raises(UserError, match="holds another model"):
        export_to(tmp_path / "run", made, other)

    first.model_path.write_bytes(b"altered")  # what is broken is written anew, what was attached stays
    mended = export_to(tmp_path / "run", made)
    assert mended.identity == first.identity
    assert list(mended.attached) == ["verdict_test"]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["artifact"]


def test_parity_stops_the_export_and_leaves_nothing(
    made: made_artifact.Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = exporting.compile_script

    def skewed(served: exporting.ServedModel, size: int) -> torch.jit.ScriptModule:
        compiled = honest(served, size)
        with torch.no_grad():
            compiled.network.head.bias[0] += 0.05
        return compiled

    monkeypatch.setattr(exporting, "compile_script", skewed)
    with pytest.raises(RunError, match=r"model\.ts differs from the trained network by"):
        export_to(tmp_path / "run", made)
    assert list((tmp_path / "run").iterdir()) == []


def test_golden_outputs_are_those_of_the_pictures(made: made_artifact.Made) -> None:
    served, folder = Served(made.artifact), made.artifact.folder / "golden"
    outputs = load_file(folder / "outputs.safetensors")
    for number in range(4):
        small = served.preprocess(decoded(folder / f"{number}.png", 10**6))
        assert torch.allclose(served.probabilities(small[None])[0], outputs["probs"][number], atol=1e-6)


def test_donors_hold_the_bank_and_the_probes(made: made_artifact.Made) -> None:
    donors = made.artifact.donors()
    assert donors["bank/images"].shape == (made_artifact.NUM_TRAIN, 3, 32, 32)
    assert donors["bank/labels"].tolist() == [number % 3 for number in range(made_artifact.NUM_TRAIN)]
    assert donors["probe/colour/weight"].shape[0] == 3


ALONE = """
import json, sys
sys.modules["evensight"] = None
import numpy, torch
from PIL import Image
model = torch.jit.load(sys.argv[1])
model.self_test()
for path in sys.argv[2:]:
    image = torch.from_numpy(numpy.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
    whole = model(image[None])["probs"][0].tolist()
    parts = model.infer(model.preprocess(image)[None])["probs"][0].tolist()
    print(json.dumps([whole, parts]))
"""


def test_torch_and_pillow_alone_give_the_same_probabilities(made: made_artifact.Made, tmp_path: Path) -> None:
    paths = []
    for number, size in enumerate([(64, 64), (33, 97), (150, 61), (301, 200), (32, 32)]):
        pixels = made_artifact.draw(number, made_artifact.COLOURS[number % 3])
        content = io.BytesIO()
        Image.fromarray(pixels).resize(size).save(content, "JPEG", quality=85)
        paths.append(tmp_path / f"{number}.jpg")
        paths[-1].write_bytes(content.getvalue())
    arguments = [str(made.artifact.model_path), *map(str, paths)]
    command = [sys.executable, "-I", "-W", "ignore", "-c", ALONE, *arguments]
    alone = subprocess.run(command, capture_output=True, text=True, check=True)
    served, predictions = Served(made.artifact), Predictor(made.artifact.folder, accept_failed=True).predict(paths)
    for path, line, prediction in zip(paths, alone.stdout.splitlines(), predictions, strict=True):
        expected = served.probabilities(served.preprocess(decoded(path, 10**6))[None])[0].numpy()
        for found in (*json.loads(line), prediction.probabilities):
            assert np.abs(np.array(found) - expected).max() < 1e-4
            assert int(np.argmax(found)) == int(expected.argmax())
