"""Predictions of an artifact folder, in a process with torch, numpy and Pillow alone."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import script
from .decode import MAX_PIXELS, DecodeError, decode

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1  # of contract.json


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    Attributes:
        label: The likeliest class, or None where the image failed.
        index: Its position in `Predictor.classes`, -1 where the image failed.
        probabilities: One a class, in class order; empty where the image failed.
        error: `code: message` of the failure, or None.
    """

    label: str | None
    index: int
    probabilities: tuple[float, ...]
    error: str | None = None


class Predictor:
    """The model of an artifact folder.

    Args:
        artifact: The folder with `model.ts` and `contract.json`.
        device: Where to run.
        accept_failed: Also run a model whose attached test verdict is FAIL; said in the log each time.

    Attributes:
        classes: Class names, in the order of the probabilities.
        contract: The whole of `contract.json`.

    Raises:
        ValueError: If the folder is incomplete or altered, its test verdict is FAIL, or this machine computes other
            probabilities than the model stored of itself.
    """

    def __init__(self, artifact: Path | str, device: str = "cpu", accept_failed: bool = False) -> None:
        folder = Path(artifact)
        if not (folder / "contract.json").is_file():
            raise ValueError(f"{folder}: holds no contract.json; it is not the artifact folder of a run")
        self.contract = _json(folder / "contract.json")
        check_contract(self.contract, folder / "contract.json")
        self.classes: tuple[str, ...] = tuple(self.contract["classes"])
        self.max_pixels = int(self.contract.get("limits", {}).get("max_pixels", MAX_PIXELS))
        self.device = torch.device(device)
        check_sums(folder)
        check_verdict(folder, accept_failed)
        self.model: Any = script.load(folder / "model.ts", self.device)
        self.model.eval()
        try:
            with torch.inference_mode():
                self.model.self_test()
        except torch.jit.Error as error:
            reason = str(error).strip().splitlines()[-1]
            raise ValueError(f"{folder / 'model.ts'} fails its own test on this machine ({reason})") from None

    def preprocess(self, image: Tensor) -> Tensor:
        """Takes one decoded image, uint8 `[3, H, W]`, to the network's input, uint8 `[3, S, S]`."""
        with torch.inference_mode():
            result: Tensor = self.model.preprocess(image.to(self.device))
        return result

    def infer(self, images: Tensor) -> dict[str, Tensor]:
        """Takes network inputs, uint8 `[N, 3, S, S]`, to `probs` `[N, C]`, `logits` `[N, C]`, `embedding` `[N, D]`."""
        with torch.inference_mode():
            result: dict[str, Tensor] = self.model.infer(images.to(self.device))
        return result

    def predict(self, images: Sequence[bytes | Path], batch_size: int = 64) -> list[Prediction]:
        """Predicts files, each given as its bytes or its path.

        A file that cannot be decoded is a `Prediction` with `error`; the others are not touched by it.
        """
        found: list[Prediction] = []
        for start in range(0, len(images), batch_size):
            found += self._batch(images[start : start + batch_size])
        return found

    def _batch(self, sources: Sequence[bytes | Path]) -> list[Prediction]:
        results: dict[int, Prediction] = {}
        ready: dict[int, Tensor] = {}
        for position, source in enumerate(sources):
            try:
                ready[position] = self.preprocess(decode(source, self.max_pixels))
            except DecodeError as error:
                results[position] = Prediction(None, -1, (), f"{error.code}: {error}")
        if ready:
            probabilities = self.infer(torch.stack(list(ready.values())))["probs"].cpu()
            for position, row in zip(ready, probabilities, strict=True):
                index = int(row.argmax())
                results[position] = Prediction(self.classes[index], index, tuple(row.tolist()))
        return [results[position] for position in range(len(sources))]


def check_contract(contract: Mapping[str, Any], where: Path) -> None:
    """Holds a contract to what a predictor reads of it.

    Raises:
        ValueError: If it is of another schema, or names no classes.
    """
    version = contract.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise ValueError(f"{where}: schema_version is {version!r}; this evensight reads {SCHEMA_VERSION}")
    classes = contract.get("classes")
    if not isinstance(classes, list) or len(classes) < 2 or not all(isinstance(name, str) for name in classes):
        raise ValueError(f"{where}: classes is {str(classes)[:60]!r}; allowed is a list of at least 2 names")
    limits = contract.get("limits", {})
    pixels = limits.get("max_pixels", MAX_PIXELS) if isinstance(limits, dict) else None
    if not isinstance(pixels, int) or pixels < 1:
        raise ValueError(f"{where}: limits.max_pixels is {pixels!r}; allowed is a whole number above 0")


def check_sums(folder: Path) -> None:
    """Compares `model.ts` and `contract.json` with the folder's `SHA256SUMS`; torch loads an altered file in silence.

    Raises:
        ValueError: If a file is missing, altered or not listed.
    """
    listed = folder / "SHA256SUMS"
    if not listed.is_file():
        raise ValueError(f"{folder}: holds no SHA256SUMS; it is not a complete artifact")
    lines = (line.partition(" ") for line in listed.read_text(encoding="utf-8", errors="replace").splitlines())
    sums = {name.strip().lstrip("*"): digest for digest, _, name in lines}
    for name in ("model.ts", "contract.json"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder}: holds no {name}")
        with (folder / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if sums.get(name) != found:
            raise ValueError(f"{folder / name}: differs from what SHA256SUMS says; the artifact was altered")


def check_verdict(folder: Path, accept_failed: bool) -> None:
    """Refuses an artifact whose test verdict is FAIL, or says in the log that it is used all the same.

    Raises:
        ValueError: If the verdict is FAIL and `accept_failed` is not set.
    """
    attached = folder / "attached" / "verdict_test.json"
    if not attached.is_file() or _json(attached).get("verdict") != "FAIL":
        return
    if not accept_failed:
        raise ValueError(f"{folder}: its test verdict is FAIL; accept_failed=true uses it all the same")
    log.warning("%s: its test verdict is FAIL; used because accept_failed=true", folder)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds no JSON object")
    return content
