"""What an artifact promises: `contract.json`, also stored inside `model.ts`."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evensight import __version__
from evensight.errors import UserError, shown
from evensight.files import canonical_json
from evensight.objective.objective import Objective

SCHEMA_VERSION = 1
# What does not change an answer the artifact gives: which run wrote it, and the digest of all the rest.
NOT_IDENTITY = ("run", "identity")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Preprocessing(_Part):
    """From decoded pixels to the network's input; RGB `mean` and `std` are in [0, 1]."""

    size: int = Field(gt=0)
    crop_ratio: float = Field(gt=0, le=1)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Limits(_Part):
    """What is refused before it reaches the network."""

    max_pixels: int = Field(gt=0)
    formats: tuple[str, ...]


class CueContract(_Part):
    """A cue as it was when the artifact was written; another version of it would measure something else."""

    name: str
    version: int
    operators: tuple[str, ...]


class RelianceContract(_Part):
    """How reliance is measured: the seed of the donors drawn, and the digest of the bank and the probes."""

    seed: int
    donors: str


class DataContract(_Part):
    """The data the model was made from: `content` and `test` are the manifest's digests."""

    name: str
    content: str
    test: str


class Contract(_Part):
    """Everything a later stage may know of a model without its run.

    `usual` gives per attribute the index of each class's usual level, `bounds` each requirement's bound by its label,
    `run` where it was made (free-form, not part of the identity), `identity` the artifact's own digest.
    """

    schema_version: Literal[1] = 1
    objective: dict[str, Any]
    classes: tuple[str, ...]
    attributes: dict[str, tuple[str, ...]]
    usual: dict[str, tuple[int, ...]]
    cues: tuple[CueContract, ...]
    bounds: dict[str, float | None]
    reliance: RelianceContract
    preprocessing: Preprocessing
    temperature: float = Field(gt=0)
    limits: Limits
    majority_class: int = Field(ge=0)
    data: DataContract
    graph_version: int
    removed: tuple[CueContract, ...] = ()  # cues that the graph takes away from every image
    run: dict[str, Any] = Field(default_factory=dict)
    identity: str = ""

    def canonical(self) -> str:
        """Returns the one JSON text the identity is taken of: everything but the run and the identity."""
        # Where nothing is removed the text is that of contracts from before there was such a key.
        left_out = {*NOT_IDENTITY, *(() if self.removed else ("removed",))}
        return canonical_json(self.model_dump(mode="json", exclude=left_out))

    def stated_objective(self) -> Objective:
        """Returns the objective that travels inside."""
        return Objective.from_json(canonical_json(self.objective))


def parse(text: str | bytes, where: str) -> Contract:
    """Reads a contract.

    Args:
        text: The content of `contract.json`.
        where: What to call it in a sentence.

    Raises:
        UserError: If it is none, or of a schema this version does not know.
    """
    try:
        version = json.loads(text).get("schema_version", SCHEMA_VERSION)
    except (ValueError, AttributeError, RecursionError):
        raise UserError(f"{where} is no contract: not a JSON object.") from None
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{where} is no contract of schema {SCHEMA_VERSION}: schema_version is {shown(version)}; this evensight "
            f"({__version__}) reads {SCHEMA_VERSION}: use the one that wrote it, or export again."
        )
    try:
        return Contract.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{where} is no contract of schema {SCHEMA_VERSION}: {key}: {first['msg']}.") from None
