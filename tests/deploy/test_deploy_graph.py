"""If these fail, what ships does not compute what was trained, or does not notice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import made_artifact
from evensight.config import ModelConfig
from evensight.deploy.graph import ServedModel, build, compile_program, compile_script
from evensight.deploy.parity import cases, check_files, compare, reference
from evensight.errors import RunError
from evensight.models.backbones import build_network
from evensight.runtime import script

TEMPERATURE = 1.7


def images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in ((40, 48), (91, 33))]


class Unscriptable(nn.Module):
    """The mean of each channel, in a way that TorchScript refuses."""

    def forward(self, x: Tensor, **options: Any) -> Tensor:
        return x.mean(dim=tuple({2: "rows", 3: "columns"}))


@pytest.mark.parametrize("backbone", [made_artifact.MeanColour(), Unscriptable()])
def test_compiled_forms_answer_as_the_network(
    tmp_path: Path, backbone: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    trained = made_artifact.network(backbone)
    served, _ = build(trained, made_artifact.SPEC, TEMPERATURE, images())
    script.save(compile_script(served, made_artifact.SPEC.size), tmp_path / "model.ts")
    torch.export.save(compile_program(served, made_artifact.SPEC.size), tmp_path / "model.pt2")
    answer = reference(trained, made_artifact.SPEC, TEMPERATURE)
    assert check_files(tmp_path / "model.ts", tmp_path / "model.pt2", answer, images()) <= 1e-6
    assert ("it is traced" in caplog.text) == isinstance(backbone, Unscriptable)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small_cnn", "timm/mobilenetv3_small_050", "torchvision/shufflenet_v2_x0_5"])
def test_backbones_compile(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    trained, spec = build_network(ModelConfig(backbone=name, size=64), num_classes=5)
    served, _ = build(trained.eval(), spec, TEMPERATURE, images())
    script.save(compile_script(served, spec.size), tmp_path / "model.ts")
    torch.export.save(compile_program(served, spec.size), tmp_path / "model.pt2")
    answer = reference(trained, spec, TEMPERATURE)
    assert check_files(tmp_path / "model.ts", tmp_path / "model.pt2", answer, images()) <= 1e-5


def test_probabilities_are_those_of_the_network_at_the_temperature() -> None:
    trained = made_artifact.network()
    served, _ = build(trained, made_artifact.SPEC, TEMPERATURE)
    answer = served(images()[0][None])
    small = served.preprocess(images()[0])
    assert small.shape == (3, 32, 32)
    assert small.dtype == torch.uint8
    logits = trained(small[None])
    exponentials = torch.exp(logits / TEMPERATURE)
    assert torch.allclose(answer["probs"], exponentials / exponentials.sum(), atol=1e-6)
    assert torch.equal(answer["logits"], logits)
    assert torch.allclose(answer["embedding"], trained.embed(small[None]))


def test_cases_are_batches_of_0_1_and_7_at_odd_sizes() -> None:
    shapes = [tuple(batch.shape) for batch in cases(images())]
    assert shapes[:2] == [(1, 3, 40, 48), (1, 3, 91, 33)]
    assert {shape[0] for shape in shapes[2:]} == {0, 1, 7}
    assert any(shape[2] < shape[3] for shape in shapes[2:])
    assert any(shape[2] > shape[3] for shape in shapes[2:])


def test_other_weights_are_found_and_said(tmp_path: Path) -> None:
    trained = made_artifact.network()
    served, _ = build(trained, made_artifact.SPEC, TEMPERATURE, images())
    script.save(compile_script(served, made_artifact.SPEC.size), tmp_path / "model.ts")
    torch.export.save(compile_program(served, made_artifact.SPEC.size), tmp_path / "model.pt2")
    with torch.no_grad():
        trained.head.bias[0] += 0.01
    with pytest.raises(RunError, match=r"model\.ts differs from the trained network by 0\.00\d+ in probs"):
        answer = reference(trained, made_artifact.SPEC, TEMPERATURE)
        check_files(tmp_path / "model.ts", tmp_path / "model.pt2", answer, images())


def test_nan_and_wrong_shapes_are_no_parity() -> None:
    batch = torch.zeros(2, 3, 8, 8)
    good = {"probs": torch.full((2, 3), 1 / 3)}
    with pytest.raises(RunError, match="differs"):
        compare("model.ts", batch, {"probs": good["probs"] * torch.nan}, good)
    with pytest.raises(RunError, match="shape"):
        compare("model.ts", batch, {"probs": good["probs"][:1]}, good)


def test_self_test_fails_where_the_machine_computes_something_else() -> None:
    served, outputs = build(made_artifact.network(), made_artifact.SPEC, TEMPERATURE, images())
    assert served.self_test() == 0.0
    off = [probs + 0.001 for probs in outputs]
    broken = ServedModel(served.pixels, served.network, TEMPERATURE, images(), off).eval()
    with pytest.raises(ValueError, match="self_test"):
        broken.self_test()
    with pytest.raises(torch.jit.Error, match="self_test"):
        compile_script(broken, made_artifact.SPEC.size).self_test()
