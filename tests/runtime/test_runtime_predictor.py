"""The runtime folder alone: a model, a contract and files in; labels out."""

import hashlib
import io
import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import evensight.runtime
from evensight.runtime import script
from evensight.runtime.predictor import Predictor
from evensight.runtime.preprocess import Preprocess


class _Redness(nn.Module):
    """Says `red` where the mean of red is above 127."""

    def __init__(self, broken: bool = False) -> None:
        super().__init__()
        self.resize = Preprocess(8)
        self.broken = broken

    @torch.jit.export
    def preprocess(self, image: Tensor) -> Tensor:
        return self.resize(image)

    @torch.jit.export
    def infer(self, images: Tensor) -> dict[str, Tensor]:
        red = images[:, 0].float().mean(dim=(1, 2)) / 255
        probs = torch.stack([1 - red, red], dim=1)
        return {"probs": probs, "logits": probs.log(), "embedding": probs}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.infer(self.resize.batch(images))

    @torch.jit.export
    def self_test(self) -> float:
        if self.broken:
            raise ValueError("self_test: other figures than were stored")
        return 0.0


def _png(red: int, size: tuple[int, int] = (30, 20)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (red, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def _written(folder: Path, model: _Redness) -> Path:
    folder.mkdir()
    script.save(script.script(model), folder / "model.ts")
    contract = {"classes": ["other", "red"], "limits": {"max_pixels": 1000}}
    (folder / "contract.json").write_text(json.dumps(contract))
    sums = (f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in ("model.ts", "contract.json"))
    (folder / "SHA256SUMS").write_text("".join(sums))
    return folder


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return _written(tmp_path / "artifact", _Redness())


def test_model_that_fails_its_own_test_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fails its own test on this machine"):
        Predictor(_written(tmp_path / "artifact", _Redness(broken=True)))


def test_predicts_in_order_past_broken_files(artifact: Path, tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    path.write_bytes(_png(255, (13, 31)))
    found = Predictor(artifact).predict([_png(0), b"no image", path, _png(255, (100, 100)), _png(204)], batch_size=2)
    assert [one.label for one in found] == ["other", None, "red", None, "red"]
    assert [one.index for one in found] == [0, -1, 1, -1, 1]
    assert [str(one.error).split(":")[0] for one in found] == ["None", "format", "None", "too_large", "None"]
    np.testing.assert_allclose(found[4].probabilities, (0.2, 0.8), atol=1e-6)
    assert Predictor(artifact).predict([]) == []


def test_attached_fail_is_refused_unless_accepted(artifact: Path, caplog: pytest.LogCaptureFixture) -> None:
    (artifact / "attached").mkdir()
    for verdict in ("PASS", "INSUFFICIENT"):
        (artifact / "attached" / "verdict_test.json").write_text(json.dumps({"verdict": verdict}))
        Predictor(artifact)
    (artifact / "attached" / "verdict_test.json").write_text(json.dumps({"verdict": "FAIL"}))
    with pytest.raises(ValueError, match="accept_failed"):
        Predictor(artifact)
    with caplog.at_level(logging.WARNING):
        assert Predictor(artifact, accept_failed=True).predict([_png(255)])[0].label == "red"
    assert "FAIL" in caplog.text


def test_altered_and_incomplete_folders_are_refused(artifact: Path) -> None:
    model = artifact / "model.ts"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(ValueError, match="altered"):
        Predictor(artifact)
    model.unlink()
    with pytest.raises(ValueError, match=r"model\.ts"):
        Predictor(artifact)
    (artifact / "SHA256SUMS").unlink()
    with pytest.raises(ValueError, match="SHA256SUMS"):
        Predictor(artifact)
    (artifact / "contract.json").write_text("[]")
    with pytest.raises(ValueError, match="JSON object"):
        Predictor(artifact)


def test_extra_files_and_freeze(tmp_path: Path) -> None:
    frozen = script.freeze(script.script(_Redness()).eval(), ["preprocess", "infer"])
    script.save(frozen, tmp_path / "m.ts", {"contract.json": '{"a": 1}'})
    assert script.load_extra(tmp_path / "m.ts", ["contract.json"]) == {"contract.json": b'{"a": 1}'}
    with pytest.raises(ValueError, match="nothing"):
        script.load_extra(tmp_path / "m.ts", ["nothing"])
    assert script.load(tmp_path / "m.ts").infer(torch.zeros(0, 3, 8, 8, dtype=torch.uint8))["probs"].shape == (0, 2)
    (tmp_path / "broken.ts").write_bytes(b"hello")
    with pytest.raises(ValueError, match="not a TorchScript file"):
        script.load(tmp_path / "broken.ts")


def test_folder_works_copied_alone(artifact: Path, tmp_path: Path) -> None:
    place = tmp_path / "service"
    source = Path(evensight.runtime.__file__).parent
    shutil.copytree(source, place / "pixels", ignore=shutil.ignore_patterns("__pycache__"))
    (place / "red.png").write_bytes(_png(255))
    program = f"""
import sys
from pathlib import Path
from pixels.predictor import Predictor
print(Predictor({str(artifact)!r}).predict([Path("red.png")])[0].label)
banned = {{"evensight", "torchvision", "timm", "lightning", "cv2", "albumentations", "polars", "scipy", "pydantic"}}
print(sorted(banned & {{name.split(".")[0] for name in sys.modules}}))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=place, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["red", "[]"]
