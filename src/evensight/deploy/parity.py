"""The gate of an export: the written files answer as the trained network does, or nothing ships."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from evensight.deploy.graph import TOLERANCE
from evensight.errors import RunError
from evensight.models.network import Network
from evensight.runtime import script
from evensight.runtime.preprocess import Preprocess, PreprocessSpec

BATCHES = (0, 1, 7)
# Height and width in pixels: odd, portrait and landscape, smaller and larger than a usual network's input.
SIZES = ((37, 53), (131, 64), (75, 301))

Answer = dict[str, Tensor]


def reference(network: Network, spec: PreprocessSpec, temperature: float) -> Callable[[Tensor], Answer]:
    """Returns what the trained network says of uint8 [N, 3, H, W], written without any part of the exported graph."""
    pixels = Preprocess(spec.size, spec.crop_ratio)

    def answer(images: Tensor) -> Answer:
        logits, embedding = network.forward_features(pixels.batch(images))
        return {"probs": torch.softmax(logits / temperature, dim=1), "logits": logits, "embedding": embedding}

    return answer


def load_program(path: Path) -> nn.Module:
    """Loads `model.pt2` as a module."""
    with warnings.catch_warnings():
        # torch 2.11 reads constants from bytes that it does not write to, and warns that they are not writable.
        warnings.filterwarnings("ignore", message="The given buffer is not writable", category=UserWarning)
        module: nn.Module = torch.export.load(path).module()
    return module


def check_files(model: Path, program: Path, trained: Callable[[Tensor], Answer], images: Sequence[Tensor]) -> float:
    """Compares `model.ts` and `model.pt2` as written with the trained network.

    Args:
        model: The TorchScript file: `forward`, `preprocess` + `infer`, and its own `self_test` are run.
        program: The file of `torch.export`.
        trained: From `reference`.
        images: Real images, uint8 [3, H, W] of any sizes; each is judged as it is, and cut or tiled to odd sizes in
            batches of 0, 1 and 7.

    Returns:
        The largest difference of a probability.

    Raises:
        RunError: If an answer differs by more than the tolerance; says which, on what, by how much.
    """
    scripted = script.load(model)
    exported = load_program(program)
    worst = 0.0
    with torch.inference_mode():
        for batch in cases(images):
            expected = trained(batch)
            worst = max(worst, compare(model.name, batch, scripted(batch), expected))
            worst = max(worst, compare(program.name, batch, exported(batch), expected))
            small = [scripted.preprocess(image) for image in batch]
            if small:
                worst = max(worst, compare(f"{model.name} infer", batch, scripted.infer(torch.stack(small)), expected))
        try:
            worst = max(worst, float(scripted.self_test()))
        except torch.jit.Error as error:
            raise RunError(f"export: {model.name} fails its own test ({str(error).strip().splitlines()[-1]})") from None
    return worst


def cases(images: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yields batches uint8 [N, 3, H, W]: every image as it is, then N of 0, 1 and 7 at each odd size."""
    for image in images:
        yield image.unsqueeze(0)
    for height, width in SIZES:
        for count in BATCHES:
            chosen = [_tile(images[i % len(images)], height, width) for i in range(count)]
            yield torch.stack(chosen) if chosen else torch.zeros(0, 3, height, width, dtype=torch.uint8)


def compare(what: str, batch: Tensor, found: Answer, expected: Answer) -> float:
    """Returns the largest difference of a probability between two answers to the same batch.

    Logits and embeddings are allowed the tolerance times their own scale where that is above 1.

    Raises:
        RunError: If shapes differ or a difference is beyond the tolerance.
    """
    for key, value in expected.items():
        if found[key].shape != value.shape:
            shapes = f"{tuple(found[key].shape)} for {tuple(value.shape)}"
            raise RunError(
                f"export: {what} gives {key} of shape {shapes} on a batch {tuple(batch.shape)}; nothing was written"
            )
        if not value.numel():
            continue
        difference = float((found[key] - value).abs().max())
        allowed = TOLERANCE * max(1.0, float(value.abs().max()))
        if not difference <= allowed:
            raise RunError(
                f"export: {what} differs from the trained network by {difference:.3g} in {key} on a batch "
                f"{tuple(batch.shape)} (at most {allowed:.3g}); nothing was written"
            )
    probs = expected["probs"]
    return float((found["probs"] - probs).abs().max()) if probs.numel() else 0.0


def _tile(image: Tensor, height: int, width: int) -> Tensor:
    """Cuts an image to a size, repeating it where it is too small: real pixels, no resize."""
    rows = torch.arange(height) % image.shape[1]
    columns = torch.arange(width) % image.shape[2]
    return image[:, rows][:, :, columns].contiguous()
