"""If these fail, the monitor compares live traffic with something else than the images of the test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import made_artifact
from evensight.records.artifact import Artifact
from evensight.records.reference import read_reference
from evensight.run import Run
from evensight.testing import reference
from evensight.testing.evaluate import evaluate


@pytest.fixture
def tested(copied: Callable[[], Artifact], made: made_artifact.Made, tmp_path: Path) -> Artifact:
    artifact = copied()
    evaluate(artifact, made.manifest, "test", Run(tmp_path / "run"), batch_size=5)
    return artifact


def test_counts_are_those_of_a_model_that_decides_by_colour(tested: Artifact) -> None:
    """18 test images, two a label and a colour: it is right on 6, and every transplant moves it."""
    found = json.loads((tested.folder / "attached" / "reference.json").read_text(encoding="utf-8"))
    assert found["artifact"] == tested.identity
    assert (found["num_images"], found["labels"], found["predictions"]) == (18, [6, 6, 6], [6, 6, 6])
    assert found["groups"] == {"colour": {"n": [6, 6, 6], "correct": [2, 2, 2]}}
    for counts in found["reliance"]["colour"].values():
        assert counts == {"first": 18, "second": 0, "n": 18}
    confidence = found["confidence"]
    assert (sum(confidence["count"]), sum(confidence["correct"])) == (18, 6)
    assert confidence["gap"] == pytest.approx(sum(confidence["confidence"]) / 18 - 6 / 18)


def test_sample_is_what_the_model_and_its_cues_say(tested: Artifact) -> None:
    found = read_reference(tested)
    assert found is not None and not found.missing
    arrays = found.arrays
    assert sorted(arrays["position"].tolist()) == list(range(18))
    assert arrays["embedding"].dtype == np.float16
    # The embedding is the mean of each channel, and the strongest is the decision.
    assert arrays["embedding"].argmax(axis=1).tolist() == arrays["prediction"].tolist()
    assert arrays["describe/colour"].shape[0] == 18
    assert arrays["describe/colour"].dtype == np.float32
    assert (arrays["label"] == arrays["prediction"]).sum() == 6


def test_calibration_bins_hold_what_falls_into_them() -> None:
    confidence, correct = np.array([0.0, 0.26, 0.99, 1.0]), np.array([False, True, True, False])
    found = reference.calibration(confidence, correct)
    assert found["count"] == [1, 0, 0, 0, 0, 1, *[0] * 13, 2]
    assert found["correct"] == [0, 0, 0, 0, 0, 1, *[0] * 13, 1]
    assert found["gap"] == pytest.approx(confidence.mean() - 0.5)
    assert found["gap_error"] == pytest.approx(np.std(confidence - correct) / 2)
    assert reference.calibration(confidence[:0], correct[:0])["gap"] == 0.0


def test_validation_attaches_none(copied: Callable[[], Artifact], made: made_artifact.Made, tmp_path: Path) -> None:
    artifact = copied()
    evaluate(artifact, made.manifest, "validation", Run(tmp_path / "run"))
    assert read_reference(artifact) is None


def test_a_sample_that_was_altered_or_is_gone_is_not_used(tested: Artifact) -> None:
    path = tested.folder / "attached" / "reference.safetensors"
    assert len(load_file(path)) >= 5
    path.write_bytes(path.read_bytes()[:-1] + b"\0\0")
    found = read_reference(tested)
    assert found is not None
    assert not found.arrays and "is not the file" in found.missing
    path.unlink()
    found = read_reference(tested)
    assert found is not None and "is missing" in found.missing
