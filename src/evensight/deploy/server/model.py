"""A model that answers: its artifact, opened and tested, with what it brings to measure with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evensight.errors import UserError
from evensight.records.artifact import Artifact
from evensight.records.instruments import Instruments, instruments
from evensight.runtime.predictor import Predictor

# What the server knows of an image beside its pixels.
KNOWN = ("size",)
# TorchScript compiles a graph again for the shapes it meets first: those requests would wait for it.
WARM = (1, 1, 2, 2)


@dataclass(frozen=True, eq=False)
class Model:
    """An artifact that is ready to answer.

    Attributes:
        artifact: Opened.
        predictor: Whose own test has passed.
        tools: Its donors and cues.
        accepted: Stages whose attached verdict is FAIL, and which is used all the same.
    """

    artifact: Artifact
    predictor: Predictor
    tools: Instruments
    accepted: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """The artifact's."""
        return self.artifact.identity

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the probabilities."""
        return self.predictor.classes

    def judge(self, images: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns probabilities `[N, C]` and embeddings `[N, D]` of preprocessed images, uint8 `[N, 3, S, S]`."""
        answer = self.predictor.infer(images)
        return answer["probs"].float().cpu().numpy(), answer["embedding"].float().cpu().numpy()

    def likeliest(self, images: Tensor) -> Tensor:
        """Returns the likeliest class of each preprocessed image, int64 `[N]`."""
        return self.predictor.infer(images)["probs"].argmax(dim=1).cpu()


def load(artifact: Artifact, accepted: Sequence[str] = ()) -> Model:
    """Loads the model of an opened artifact, runs its own test and warms it up.

    Args:
        artifact: From `opening.checked`.
        accepted: The stages whose FAIL was accepted.

    Raises:
        UserError: If the model fails its own test, or cannot be loaded.
    """
    try:
        predictor = Predictor(artifact.folder, accept_failed=bool(accepted))
    except ValueError as error:
        raise UserError(f"artifact: {str(error).rstrip('.')}.") from None
    size = artifact.contract.preprocessing.size
    for count in WARM:
        predictor.infer(torch.zeros(count, 3, size, size, dtype=torch.uint8))
    return Model(artifact, predictor, instruments(artifact, KNOWN), tuple(accepted))
