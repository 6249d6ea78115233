"""Fixtures shared by all rooms."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from evensight.records.artifact import Artifact
    from made_artifact import Made

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in cli.py
# Workers on every core: one thread each. Two of two threads on two cores wake each other for every small step, and take
# three times as long (test_training_phases.py: 125 and 42 s on a busy machine). Read when torch loads.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
REPOSITORY = Path(__file__).parent.parent

# 100 examples a property, the same ones each time; EVENSIGHT_HYPOTHESIS=nightly draws 2,000 new ones. No deadline: a
# busy machine is no fault of the code's.
hypothesis.settings.register_profile("ci", max_examples=100, deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("nightly", max_examples=2000, deadline=None, print_blob=True)
PROFILE = os.environ.get("EVENSIGHT_HYPOTHESIS", "ci")
hypothesis.settings.load_profile(PROFILE)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With 2,000 examples a property takes minutes: EVENSIGHT_HYPOTHESIS=nightly pytest -m nightly."""
    for item in items:
        if PROFILE == "nightly" and hypothesis.is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.nightly)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images; skips where there is none."""
    folder = Path(os.environ.get("EVENSIGHT_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "mnist" / "train.npz").is_file():
        pytest.skip(f"no real images at {folder}; set EVENSIGHT_DATA")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, of the tests marked by `chromium.in_browser`."""
    import chromium

    yield from chromium.started()


@pytest.fixture(scope="session")
def made() -> Iterator[Made]:
    """A run with its artifact; not to be written to, since tests come in any order."""
    import made_artifact

    shared = made_artifact.shared()
    yield shared
    assert not (shared.artifact.folder / "attached").exists(), "a test attached something to the artifact of all tests"


@pytest.fixture
def copied(made: Made, tmp_path: Path) -> Callable[[], Artifact]:
    """Opens a copy of the artifact that may be written to."""
    from evensight.records.artifact import Artifact

    shutil.copytree(made.artifact.folder, tmp_path / "artifact")
    shutil.rmtree(tmp_path / "artifact" / "attached", ignore_errors=True)
    return lambda: Artifact.open(tmp_path / "artifact")
