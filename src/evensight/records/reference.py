"""The reference figures attached to an artifact (`testing/reference.py` writes them), read back by the monitor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evensight.files import digest_file
from evensight.records.artifact import ATTACHED, Artifact

REFERENCE, ARRAYS = "reference", "reference.safetensors"


@dataclass(frozen=True)
class Reference:
    """What was seen at the test.

    Attributes:
        figures: The counts of `reference.json`.
        arrays: The sample, by name: `describe/<cue>`, `embedding`, ...; empty where it is missing or altered.
        missing: Why there are no arrays, else empty.
    """

    figures: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    missing: str = ""


def read_reference(artifact: Artifact) -> Reference | None:
    """Returns what was attached at the test; None where the artifact was never tested by this evensight."""
    figures = artifact.attached.get(REFERENCE)
    if figures is None:
        return None
    path = artifact.folder / ATTACHED / ARRAYS
    if not path.is_file():
        return Reference(figures, {}, f"{path} is missing")
    if digest_file(path) != figures.get("sample", {}).get("sha256"):
        return Reference(figures, {}, f"{path} is not the file that {REFERENCE}.json was written with")
    from safetensors.numpy import load_file

    return Reference(figures, {name: np.asarray(values) for name, values in load_file(path).items()})
