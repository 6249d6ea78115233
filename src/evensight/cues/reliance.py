"""Reliance: how far a cue, transplanted from another image, pulls the decision to that image's class.

For each image a donor is drawn from the bank among the classes not predicted, and the cue is transplanted by each of
the cue's operators. An image counts when its decision moves to the donor's class. The placebo is the same operation
with the donor whose cue is nearest to the image's own: what it moves, the operation moves by itself. Reliance is the
difference of the two shares, over all images; of several operators the largest counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evensight.cues.bank import DonorBank, Scale, described, draw_bank
from evensight.cues.base import Cue

__all__ = ["DonorBank", "Outcome", "draw_bank", "examples", "measure"]

PLACEBO_CANDIDATES = 64

Predict = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Outcome:
    """What one operator did to each image; tensors `[N]` on the CPU.

    Attributes:
        moved_transplant: bool, the decision went to the donor's class.
        moved_placebo: bool, it went to that same class under the placebo.
        donor: int64, position in the bank of the transplant's donor.
        donor_class: int64.
        placebo: int64, position in the bank of the placebo's donor.
    """

    moved_transplant: Tensor
    moved_placebo: Tensor
    donor: Tensor
    donor_class: Tensor
    placebo: Tensor

    def paired(self, where: Tensor | None = None) -> tuple[int, int, int]:
        """Returns the images that moved only under the transplant, only under the placebo, and all images.

        Args:
            where: bool `[N]`: count these alone, e.g. the images of one class.
        """
        chosen = torch.ones_like(self.moved_transplant) if where is None else where.cpu()
        first = self.moved_transplant & ~self.moved_placebo & chosen
        second = self.moved_placebo & ~self.moved_transplant & chosen
        return int(first.sum()), int(second.sum()), int(chosen.sum())

    def estimate(self, where: Tensor | None = None) -> float:
        """Returns the reliance, in [-1, 1]; 0 where there are no images."""
        first, second, n = self.paired(where)
        return (first - second) / n if n else 0.0


def measure(
    predict: Predict,
    images: Tensor | Iterable[Tensor],
    predictions: Tensor,
    bank: DonorBank,
    cue: Cue,
    seed: int,
    extra: Mapping[str, Tensor] | None = None,
    batch_size: int = 256,
) -> dict[str, Outcome]:
    """Measures the reliance of a model on a cue.

    The draws of an image are keyed by (seed, SHA-256 of its bytes in C order, channels first): the outcome of an image
    is the same whatever its batch, its place or the process.

    Args:
        predict: uint8 `[B, 3, S, S]` to classes int64 `[B]`.
        images: uint8 `[N, 3, S, S]`, or batches of them in order.
        predictions: int64 `[N]`, what `predict` says of the images as they are.
        bank: The donors, of at least two classes.
        cue: A cue with operators.
        seed: The reliance seed.
        extra: What the cue needs of the images, each `[N, ...]`.
        batch_size: Images a call of `predict`, where `images` is one tensor.

    Returns:
        An `Outcome` for each of the cue's operators.

    Raises:
        ValueError: If the bank holds fewer than two classes, a tensor the cue needs is missing, or images and
            predictions are not as many.
    """
    _check(bank, cue, extra or {})
    features, scale = described(bank, cue)
    parts: dict[str, list[list[Tensor]]] = {operator: [] for operator in cue.operators}
    start = 0
    for image in _batches(images, batch_size):
        chosen = slice(start, start + image.size(0))
        start += image.size(0)
        if start > predictions.size(0):
            raise ValueError(f"more images than the {predictions.size(0)} predictions")
        image_extra = {name: x[chosen] for name, x in (extra or {}).items()}
        donor, placebo = draw(image, predictions[chosen], image_extra, bank, cue, seed, features, scale)
        donor_class = bank.labels.cpu()[donor]
        for operator, rows in parts.items():
            moved = [
                predict(transplanted(cue, operator, image, source, bank, image_extra)).cpu() == donor_class
                for source in (donor, placebo)
            ]
            rows.append([*moved, donor, donor_class, placebo])
    if start < predictions.size(0):
        raise ValueError(f"{start} images, but {predictions.size(0)} predictions")
    return {operator: _joined(rows) for operator, rows in parts.items()}


def transplanted(
    cue: Cue, operator: str, image: Tensor, donor: Tensor, bank: DonorBank, extra: dict[str, Tensor]
) -> Tensor:
    """Returns the images `[B, 3, S, S]` with their cue from the donors at `[B]` positions of the bank."""
    positions = donor.to(bank.images.device)
    donor_extra = {name: x[positions].to(image.device) for name, x in bank.extra.items()}
    return cue.transplant(operator, image, bank.images[positions].to(image.device), extra, donor_extra)


def draw(
    image: Tensor,
    predictions: Tensor,
    extra: dict[str, Tensor],
    bank: DonorBank,
    cue: Cue,
    seed: int,
    features: Tensor,
    scale: Scale,
) -> tuple[Tensor, Tensor]:
    """Draws each image's donor and placebo, int64 `[B]` positions of the bank on the CPU.

    Args:
        image: uint8 `[B, 3, S, S]`.
        predictions: int64 `[B]`; a donor's class is never the one predicted.
        extra: What the cue needs of the images.
        bank: The donors.
        cue: The cue.
        seed: The reliance seed.
        features: The donors' features in whole steps, `described(bank, cue)`.
        scale: The scale of the steps.
    """
    count = min(PLACEBO_CANDIDATES, len(bank))
    stream = _streams(image, seed, 1 + count)
    donor = _other_class(stream[:, 0], predictions.cpu().numpy(), bank)
    candidates = torch.from_numpy(_without_replacement(stream[:, 1:], len(bank)))
    steps = scale.steps(cue.describe(image, extra).to(scale.mean.device)).cpu()
    distance = (features.cpu()[candidates] - steps.unsqueeze(1)).square().sum(dim=2)
    # argmin promises nothing among equals; the place in the draw decides.
    nearest = (distance * count + torch.arange(count)).argmin(dim=1, keepdim=True)
    return torch.from_numpy(donor), candidates.gather(1, nearest).squeeze(1)


def examples(
    images: Tensor,
    outcome: Outcome,
    operator: str,
    positions: Iterable[int],
    bank: DonorBank,
    cue: Cue,
    extra: Mapping[str, Tensor] | None = None,
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Returns pictures for a report: (image, donor, transplanted), each uint8 `[3, S, S]` on the CPU.

    Args:
        images: uint8 `[N, 3, S, S]`, those measured.
        outcome: What `measure` returned for `operator`.
        operator: One of the cue's operators.
        positions: Which images to show.
        bank: The donors.
        cue: The cue.
        extra: What the cue needs of the images.
    """
    pictures = []
    for position in positions:
        one = slice(position, position + 1)
        image, donor = images[one], outcome.donor[one]
        changed = transplanted(cue, operator, image, donor, bank, {name: x[one] for name, x in (extra or {}).items()})
        pictures.append((image[0].cpu(), bank.images[donor.to(bank.images.device)][0].cpu(), changed[0].cpu()))
    return pictures


def _check(bank: DonorBank, cue: Cue, extra: Mapping[str, Tensor]) -> None:
    if len(torch.unique(bank.labels)) < 2:
        raise ValueError("the donors are all of one class; reliance needs at least two")
    missing = [name for name in cue.needs if name not in extra or name not in bank.extra]
    if missing:
        raise ValueError(f"the cue {cue.name} needs {', '.join(missing)} of the images and of the donors")


def _batches(images: Tensor | Iterable[Tensor], batch_size: int) -> Iterator[Tensor]:
    if isinstance(images, Tensor):
        for start in range(0, images.size(0), batch_size):
            yield images[start : start + batch_size]
    else:
        yield from images


def _joined(rows: list[list[Tensor]]) -> Outcome:
    if not rows:
        empty, none = torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool)
        return Outcome(none, none, empty, empty, empty)
    return Outcome(*(torch.cat(column) for column in zip(*rows, strict=True)))


def _streams(image: Tensor, seed: int, count: int) -> NDArray[np.uint64]:
    """Returns `count` random 64-bit numbers an image, `[B, count]`: SHAKE-256 of the seed and the image's SHA-256."""
    key = f"evensight reliance {seed}:".encode()
    rows = np.empty((image.size(0), count), dtype=np.uint64)
    for row, pixels in zip(rows, image.cpu().contiguous().numpy(), strict=True):
        digest = hashlib.sha256(pixels).digest()
        row[:] = np.frombuffer(hashlib.shake_256(key + digest).digest(8 * count), dtype="<u8")
    return rows


def _other_class(numbers: NDArray[np.uint64], predictions: NDArray[np.int64], bank: DonorBank) -> NDArray[np.int64]:
    """Draws one position among the donors whose label is not the predicted class, all alike."""
    ordered = bank.labels.cpu().numpy()[bank.by_label]
    first = np.searchsorted(ordered, predictions, side="left")
    barred = np.searchsorted(ordered, predictions, side="right") - first
    rank = (numbers % (len(bank) - barred).astype(np.uint64)).astype(np.int64)
    return bank.by_label[rank + np.where(rank >= first, barred, 0)]


def _without_replacement(numbers: NDArray[np.uint64], size: int) -> NDArray[np.int64]:
    """Draws as many different numbers below `size` as there are columns: the first steps of Fisher and Yates."""
    count = numbers.shape[1]
    places = np.tile(np.arange(size), (len(numbers), 1))
    rows = np.arange(len(numbers))
    for step in range(count):
        other = step + (numbers[:, step] % np.uint64(size - step)).astype(np.int64)
        places[rows, step], places[rows, other] = places[rows, other], places[rows, step].copy()
    return places[:, :count]
