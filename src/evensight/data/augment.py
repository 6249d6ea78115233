"""Training augmentation: our crop box, then albumentations at the network's size, all drawn from one key an image.

albumentations seeds itself by process, so that workers repeat each other's draws and epochs repeat themselves; with a
seed for the whole `Compose`, flips are no longer independent. Here each thread has its own `Compose`, whose generators
are set before each image from (seed, epoch, index): the same image gets the same draws whatever the worker count.
"""

from __future__ import annotations

import copy
import os
import random
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evensight.config import AugmentConfig
from evensight.errors import UserError
from evensight.instantiate import instantiate

# SplitMix64 (Steele, Lea, Flood 2014): a counter, these steps, and a good 64-bit hash of it.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)

CROP_TRIES = 10
NUM_CROP_DRAWS = 2 * CROP_TRIES + 2
_CROP = 1  # its stream of draws; noise has 0


class Crop(NamedTuple):
    """A box of whole pixels of the original."""

    top: int
    left: int
    height: int
    width: int


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


def sample_keys(seed: int, epoch: int, indices: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Returns a key for each image `[B]`, a hash of (seed, epoch, index)."""
    keys = np.zeros(len(indices), np.uint64)
    for part in (seed, epoch, indices):
        keys = _mix((keys ^ np.asarray(part).astype(np.uint64)) + _GOLDEN)
    return keys


def uniforms(keys: NDArray[np.uint64], num: int, stream: int = 0) -> NDArray[np.float32]:
    """Returns `num` numbers in [0, 1) for each key `[B, num]`; another `stream` gives others."""
    counters = np.arange(1, num + 1, dtype=np.uint64) * _GOLDEN
    bits = _mix(_mix(keys + np.uint64(stream))[:, None] + counters) >> np.uint64(40)
    return (bits.astype(np.float32)) * np.float32(2.0**-24)


def crop_box(
    height: int, width: int, scale: Sequence[float], ratio: Sequence[float], draws: NDArray[np.float32]
) -> Crop:
    """Chooses a crop as `RandomResizedCrop` does (Szegedy et al. 2015): its share of the area, then its shape.

    Args:
        height: Of the image.
        width: Of the image.
        scale: Least and largest share of the area.
        ratio: Least and largest width / height, drawn on a log scale.
        draws: Uniform in [0, 1), `[NUM_CROP_DRAWS]`.

    Returns:
        The first of ten shapes that fits, anywhere; if none does, the largest that is allowed, in the middle.
    """
    low, high = np.log(ratio[0]), np.log(ratio[1])
    for share, shape in zip(draws[:CROP_TRIES].tolist(), draws[CROP_TRIES : 2 * CROP_TRIES].tolist(), strict=True):
        area = height * width * (scale[0] + share * (scale[1] - scale[0]))
        aspect = float(np.exp(low + shape * (high - low)))
        crop_width, crop_height = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(draws[-2] * (height - crop_height + 1))
            left = int(draws[-1] * (width - crop_width + 1))
            return Crop(top, left, crop_height, crop_width)
    aspect = min(max(width / height, ratio[0]), ratio[1])
    crop_height, crop_width = min(height, round(width / aspect)), min(width, round(height * aspect))
    return Crop((height - crop_height) // 2, (width - crop_width) // 2, max(crop_height, 1), max(crop_width, 1))


class Augment:
    """What training does to an image, by a key.

    Args:
        config: The `augment` section.
        size: S.
        boxes: Whether images come with a box.
        allow_targets: Further packages `_target_` may name.

    Attributes:
        random_crop: Whether a crop is drawn at all; else training sees the centre square, as evaluation does.

    Raises:
        UserError: If a value is out of range or a transform does not exist or does not take its arguments.
    """

    def __init__(
        self, config: AugmentConfig, size: int, boxes: bool = False, allow_targets: Sequence[str] = ()
    ) -> None:
        self.config = config
        self.size = size
        self.boxes = boxes
        self.allow_targets = tuple(allow_targets)
        _check_range("augment.crop_scale", config.crop_scale, 1.0)
        _check_range("augment.crop_ratio", config.crop_ratio, float("inf"))
        self.random_crop = list(config.crop_scale) != [1.0, 1.0]
        self._local = threading.local()
        self._first = self._build()

    def crop(self, key: np.uint64, height: int, width: int) -> Crop:
        """Draws the crop of an image."""
        draws = uniforms(np.array([key], np.uint64), NUM_CROP_DRAWS, _CROP)[0]
        return crop_box(height, width, self.config.crop_scale, self.config.crop_ratio, draws)

    def __call__(
        self, key: np.uint64, image: NDArray[np.uint8], mask: NDArray[np.uint8] | None, box: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None, NDArray[np.float32] | None]:
        """Applies the transforms.

        Args:
            key: Of the image in this epoch.
            image: `[S, S, 3]`; left as it is.
            mask: `[S, S]`, or None.
            box: x0, y0, x1, y1 in S x S coordinates, or None.

        Returns:
            The same three; a box that has left the image is all zeros.

        Raises:
            UserError: If a transform changes the size or the type.
        """
        if not self.config.transforms:
            return image, mask, box
        given: dict[str, Any] = {"image": image.copy()}
        if mask is not None:
            given["mask"] = mask.copy()
        if self.boxes:
            given["bboxes"] = np.zeros((0, 4), np.float32) if box is None or not box.any() else box[None]
        compose = self._compose()
        compose.set_random_state(np.random.default_rng(int(key)), random.Random(int(key)))
        result = compose(**given)
        image = result["image"]
        if image.shape != (self.size, self.size, 3) or image.dtype != np.uint8:
            raise UserError(
                f"augment.transforms: an image came out as {image.dtype} {list(image.shape)}; transforms that keep "
                f"uint8 [{self.size}, {self.size}, 3] are allowed (the crop is crop_scale, the network normalises)."
            )
        if box is not None:
            moved = result["bboxes"]
            box = np.asarray(moved[0][:4], np.float32) if len(moved) else np.zeros(4, np.float32)
        return image, result.get("mask"), box

    def _compose(self) -> Any:
        """Returns this thread's own `Compose`: one that threads share is not reproducible."""
        if not hasattr(self._local, "compose"):
            self._local.compose = copy.deepcopy(self._first)
        return self._local.compose

    def _build(self) -> Any:
        if not self.config.transforms:
            return None
        os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else it asks its server for its newest version
        import albumentations

        transforms = []
        for name, node in self.config.transforms.items():
            transform = instantiate(node, self.allow_targets, f"augment.transforms.{name}")
            if not isinstance(transform, (albumentations.BasicTransform, albumentations.BaseCompose)):
                raise UserError(f"augment.transforms.{name}: {node!r} is not a transform of albumentations.")
            transforms.append(transform)
        boxes = albumentations.BboxParams(format="pascal_voc", label_fields=[], clip=True) if self.boxes else None
        return albumentations.Compose(transforms, bbox_params=boxes)


def _check_range(key: str, values: Sequence[float], largest: float) -> None:
    if len(values) != 2 or not 0.0 < values[0] <= values[1] <= largest:
        limit = "" if largest == float("inf") else f" and at most {largest:g}"
        raise UserError(f"{key}: {list(values)} is not allowed; two numbers, the least first, above 0{limit}.")
