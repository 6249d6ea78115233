"""Artifacts to serve, and a server that many tests ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from server_process import Server, serving
from torch import Tensor, nn

import made_artifact
from evensight.deploy.export import export
from evensight.records.artifact import Artifact
from evensight.run import Run
from evensight.runtime.predictor import Predictor
from made_artifact import Made


class Slow(nn.Module):
    """The mean of each channel, after some hundredths of a second of work."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.eye(256))

    def forward(self, x: Tensor) -> Tensor:
        y = self.weights
        for _ in range(64):
            y = y @ self.weights
        return x.mean(dim=(2, 3)) * y[0, 0]


@pytest.fixture(scope="session")
def other(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Artifact]:
    """Exports another network on the same data: its head turned by some classes, or with another backbone."""
    known: dict[tuple[int, bool], Artifact] = {}

    def make(turn: int = 0, slow: bool = False) -> Artifact:
        if (turn, slow) not in known:
            network = made_artifact.network(Slow() if slow else None)
            with torch.no_grad():
                network.head.weight.copy_(torch.roll(torch.eye(3) * 4, turn, 0))
                network.head.bias.copy_(torch.arange(3) * 0.1 * turn)
            run = Run(tmp_path_factory.mktemp("other") / "run")
            run.folder.mkdir()
            bank, stated = made_artifact.bank(made.manifest), made_artifact.objective()
            spec = made_artifact.SPEC
            known[turn, slow] = export(run, network, spec, stated, made.manifest, bank, made.config)
        return known[turn, slow]

    return make


@pytest.fixture(scope="session")
def predictor(made: Made) -> Predictor:
    return Predictor(made.artifact.folder)


@pytest.fixture(scope="session")
def images(made: Made) -> list[bytes]:
    """Every image of the data set, encoded, in the order of their names."""
    return [path.read_bytes() for path in sorted((made.run.folder.parent / "images").iterdir())]


@pytest.fixture(scope="session")
def server(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that most tests share: it keeps images, and measures reliance on every one of them."""
    options = ("max_images=8", "max_bytes=200000", "keep_images=true", "reliance_sample=1.0")
    with serving(made.artifact.folder, tmp_path_factory.mktemp("shared"), *options) as one:
        yield one


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "served"
