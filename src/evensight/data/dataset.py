"""A split of a manifest as batches of pixels: decoded, cropped, augmented, by (seed, epoch, index) alone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evensight.config import AugmentConfig, DataConfig
from evensight.data.augment import Augment, Crop, sample_keys, uniforms
from evensight.data.manifest import Manifest
from evensight.data.originals import Originals, Pixels, to_crop
from evensight.errors import UserError, one_line, unknown
from evensight.runtime.decode import MAX_PIXELS, DecodeError
from evensight.runtime.preprocess import Preprocess, PreprocessSpec

log = logging.getLogger(__name__)

Batch = dict[str, Any]
EXTRA = ("mask", "box", "size")
_BOX = ("box_x0", "box_y0", "box_x1", "box_y1")


class ImageDataset:
    """The images of one split. Safe to share between threads.

    A batch is a dict:

    - ``image`` uint8 `[B, 3, S, S]`, channels_last
    - ``label`` int64 `[B]` and ``target`` float32 `[B, C]`, one-hot, or what the annotators say (`data.labels=soft`)
    - ``attributes`` int64 `[B, A]`, -1 unknown
    - ``weight`` float32 `[B]`: 0 for padding, for an image that cannot be decoded and for one that training leaves
      out; the pixels are then those of another image of the batch (a black square would enter batch statistics)
    - ``noise`` float32 `[B, K]`, uniform in [0, 1)
    - ``index`` int64 `[B]`: row of the manifest, -1 for padding
    - ``extra``: what was asked for of ``mask`` uint8 `[B, 1, S, S]` (0 to 255), ``box`` float32 `[B, 4]` (x0, y0, x1,
      y1 in S x S coordinates), ``size`` int64 `[B, 2]` (height, width of the original); 0 everywhere where unknown

    Args:
        manifest: The prepared data.
        split: ``train``, ``validation`` or ``test``.
        spec: What the network wants of an image.
        augment: What training does to an image; None: the centre square, as evaluation sees it.
        seed: Of augmentation and noise.
        noise_size: K.
        cache_mb: Decoded images are kept in memory when they all fit in this many MiB.
        extra: Names of `EXTRA`.
        allow_targets: Further packages that `augment.transforms` may name.
        max_pixels: Larger images are refused.

    Attributes:
        failures: Position -> why, of the images that broke after they were prepared; each is named in the log once.

    Raises:
        UserError: If `extra` names what is not known of these images, or `augment` is wrong.
    """

    def __init__(
        self,
        manifest: Manifest,
        split: str,
        spec: PreprocessSpec,
        augment: AugmentConfig | None,
        seed: int,
        noise_size: int = 0,
        cache_mb: int = 0,
        extra: Sequence[str] = (),
        allow_targets: Sequence[str] = (),
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.manifest = manifest
        self.split = split
        self.spec = spec
        self.seed = seed
        self.noise_size = noise_size
        rows = manifest.split(split)
        self.extra = _check_extra(extra, rows.columns)
        self.paths: list[str] = rows["path"].to_list()
        self.indices: NDArray[np.int64] = rows["index"].to_numpy().astype(np.int64)
        labels = manifest.labels(split)
        self.labels = np.maximum(labels, 0)
        self.attributes = manifest.attributes(split)
        self.usable: NDArray[np.bool_] = rows["error"].is_null().to_numpy() & (labels >= 0)
        if split == "train":
            self.usable &= manifest.trained()
        self.targets = None if manifest.targets is None else manifest.targets[self.indices]
        self.sizes: NDArray[np.int64] = rows.select("height", "width").fill_null(0).to_numpy().astype(np.int64)
        self._boxes = rows.select(_BOX).fill_null(0).to_numpy().astype(np.float64) if "box" in self.extra else None
        self.preprocess = Preprocess(spec.size, spec.crop_ratio)
        self.augment = Augment(augment, spec.size, "box" in self.extra, allow_targets) if augment is not None else None
        random_crop = self.augment is not None and self.augment.random_crop
        masks = "mask" in self.extra
        self.originals = Originals(
            rows, manifest.root, self.preprocess, not random_crop, cache_mb, max_pixels, masks, manifest.mask_root
        )
        self.failures: dict[int, str] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.manifest.classes)

    def sample(self, epoch: int, position: int) -> Batch:
        """Returns one image: a batch without its first dimension."""
        batch = self.batch(epoch, np.array([position]))
        extra = {name: value[0] for name, value in batch.pop("extra").items()}
        return {**{name: value[0] for name, value in batch.items()}, "extra": extra}

    def batch(self, epoch: int, positions: NDArray[np.int64]) -> Batch:
        """Returns the images at `positions` `[B]`, -1 for padding, as the dict above."""
        known = positions >= 0
        rows = np.where(known, positions, 0)
        keys = sample_keys(self.seed, epoch, self.indices[rows])
        images, masks, boxes, weight = self._pixels(rows, keys, known & self.usable[rows])
        labels = torch.from_numpy(np.where(known, self.labels[rows], 0))
        one_hot = torch.nn.functional.one_hot(labels, self.num_classes).float()
        extra = {"mask": masks, "box": boxes, "size": torch.from_numpy(np.where(known[:, None], self.sizes[rows], 0))}
        return {
            "image": images,
            "label": labels,
            "target": one_hot if self.targets is None else torch.from_numpy(self.targets[rows]),
            "attributes": torch.from_numpy(np.where(known[:, None], self.attributes[rows], -1)),
            "weight": weight,
            "noise": torch.from_numpy(uniforms(keys, self.noise_size)),
            "index": torch.from_numpy(np.where(known, self.indices[rows], -1)),
            "extra": {name: extra[name] for name in self.extra},
        }

    def _pixels(
        self, rows: NDArray[np.int64], keys: NDArray[np.uint64], wanted: NDArray[np.bool_]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        num, size = len(rows), self.spec.size
        images = np.zeros((num, size, size, 3), np.uint8)
        masks = np.zeros((num, size, size) if "mask" in self.extra else (num, 0, 0), np.uint8)
        boxes = np.zeros((num, 4), np.float32)
        good = []
        for i in np.flatnonzero(wanted).tolist():
            position = int(rows[i])
            if position in self.failures:
                continue
            try:
                image, mask, box = self._augmented(position, keys[i])
            except (DecodeError, OSError, UserError) as error:
                if isinstance(error, UserError) and str(error).startswith("augment."):
                    raise
                self._failed(position, error)
                continue
            images[i] = image
            if mask is not None:
                masks[i] = mask
            if box is not None:
                boxes[i] = box
            good.append(i)
        weight = np.zeros(num, np.float32)
        weight[good] = 1.0
        if 0 < len(good) < num:
            images[weight == 0] = images[good[0]]
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
        return pixels, torch.from_numpy(masks[:, None]), torch.from_numpy(boxes), torch.from_numpy(weight)

    def _augmented(
        self, position: int, key: np.uint64
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None, NDArray[np.float32] | None]:
        pixels, box = self._cropped(position, key)
        image, mask = (pixels[..., :3], pixels[..., 3]) if pixels.shape[2] == 4 else (pixels, None)
        if self.augment is None:
            return image, mask, box
        return self.augment(key, image, mask, box)

    def _cropped(self, position: int, key: np.uint64) -> tuple[Pixels, NDArray[np.float32] | None]:
        size = self.spec.size
        if self.augment is not None and self.augment.random_crop:
            original = self.originals.original(position)
            crop = self.augment.crop(key, *original.shape[:2])
            pixels = to_crop(original, *crop, size)
        else:
            crop = None
            pixels = self.originals.square(position)
        if self._boxes is None:
            return pixels, None
        crop = crop or self._centre(position)
        return pixels, box_in(self._boxes[position], (crop.left, crop.top, crop.width, crop.height), size)

    def _centre(self, position: int) -> Crop:
        height, width = self.sizes[position].tolist()
        side = self.preprocess.side(height, width)
        return Crop((height - side) // 2, (width - side) // 2, side, side)

    def _failed(self, position: int, error: Exception) -> None:
        with self._lock:
            if position in self.failures:
                return
            code = getattr(error, "code", "unreadable")
            self.failures[position] = f"{code}: {error}"
        log.warning(
            "%s: %s; it counts nowhere from now on", one_line(self.paths[position]), one_line(self.failures[position])
        )


def box_in(box: NDArray[np.float64], window: tuple[int, int, int, int], size: int) -> NDArray[np.float32]:
    """Returns a box of the original in the coordinates of a window that was resized to `size`, cut at its border.

    Args:
        box: x0, y0, x1, y1, pixels of the original; all zeros where unknown.
        window: Left, top, width, height, pixels of the original.
        size: Side after the resize.

    Returns:
        x0, y0, x1, y1; all zeros where nothing of the box lies in the window.
    """
    left, top, width, height = window
    moved = (box - (left, top, left, top)) * size / (width, height, width, height)
    moved = np.clip(moved, 0, size)
    if not box.any() or moved[2] <= moved[0] or moved[3] <= moved[1]:
        return np.zeros(4, np.float32)
    return moved.astype(np.float32)


def _check_extra(extra: Sequence[str], columns: Sequence[str]) -> tuple[str, ...]:
    for name in extra:
        if name not in EXTRA:
            raise unknown("extra", name, EXTRA)
        needed = {"mask": ("mask",), "box": _BOX, "size": ()}[name]
        if not set(needed) <= set(columns):
            raise UserError(f"extra: these images come without {name!r}; the manifest has no {', '.join(needed)}.")
    return tuple(extra)


def known_extra(manifest: Manifest) -> set[str]:
    """Returns which of `EXTRA` are known of any image; a manifest has its columns even where they are empty."""
    frame = manifest.frame
    known = {"mask": "mask", "box": _BOX[0]}
    there = {name for name, column in known.items() if column in frame.columns and frame[column].count() > 0}
    return {"size"} | there


def plain_images(
    manifest: Manifest, split: str, spec: PreprocessSpec, data: DataConfig, extra: Sequence[str] = ()
) -> ImageDataset:
    """Returns a split as evaluation sees it: not augmented, nothing drawn, nothing kept in memory."""
    return ImageDataset(manifest, split, spec, None, seed=0, extra=extra, max_pixels=data.max_pixels)
