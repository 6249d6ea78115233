"""The pictures of the report: images of the data set as files, and images reduced to what a cue says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from evensight.audit.chapter import Picture
from evensight.audit.measure import SIZE, Seen, extras, squared
from evensight.cues import build_cue
from evensight.data.digests import BOX
from evensight.data.manifest import Manifest
from evensight.data.originals import Originals
from evensight.errors import UserError
from evensight.files import replaced
from evensight.runtime.decode import DecodeError
from evensight.runtime.files import MAX_PIXELS
from evensight.runtime.preprocess import Preprocess

# The report is one file: a photograph is kept no larger than this.
MOST_SIDE = 176


def decoded(manifest: Manifest, rows: Sequence[int], masks: bool = False) -> list[NDArray[np.uint8] | None]:
    """Returns images of a manifest `[H, W, 3]` (with `masks` `[H, W, 4]`), None where one cannot be decoded."""
    frame = manifest.frame[list(rows)]
    originals = Originals(
        frame, manifest.root, Preprocess(SIZE, 1.0), False, 0, MAX_PIXELS, masks=masks, mask_root=manifest.mask_root
    )
    found: list[NDArray[np.uint8] | None] = []
    for position, error in enumerate(frame["error"].to_list()):
        try:
            found.append(None if error is not None else originals.original(position))
        except (DecodeError, OSError, UserError):
            found.append(None)
    return found


def reduced(manifest: Manifest, rows: Sequence[int], cue: str) -> list[NDArray[np.uint8]]:
    """Returns images reduced to what a cue says of them, uint8 `[S, S, 3]` each; those that decode."""
    columns = manifest.frame.columns
    known = [name for name, column in (("mask", "mask"), ("box", BOX[0])) if column in columns]
    seen = []
    for row, pixels in zip(rows, decoded(manifest, rows, "mask" in known), strict=True):
        box = manifest.frame[[row]].select(BOX).to_numpy()[0] if "box" in known else None
        if pixels is not None:
            seen.append(Seen(b"", pixels, "", box if box is not None and np.isfinite(box).all() else None))
    squares, boxes, sizes = squared(seen, SIZE)
    image = torch.from_numpy(squares[..., :3]).permute(0, 3, 1, 2).contiguous()
    with torch.inference_mode():
        shown = build_cue(cue).reduce(image, extras(squares, boxes, sizes, known))
    return list(shown.permute(0, 2, 3, 1).contiguous().numpy())


@dataclass
class Album:
    """Writes pictures under a folder, each image of the data set once.

    Attributes:
        folder: ``audit/pictures``.
        manifest: Of the images; None where only given pixels can be written.
    """

    folder: Path
    manifest: Manifest | None
    _names: dict[int, str | None] = field(default_factory=dict)
    _made: int = 0

    def name(self, picture: Picture) -> str | None:
        """Returns the file of a picture, written the first time; None where its image cannot be decoded."""
        if picture.pixels is not None:
            self._made += 1
            return self._write(f"made{self._made:04d}.png", picture.pixels)
        if picture.row not in self._names:
            self._names[picture.row] = self._image(picture.row)
        return self._names[picture.row]

    def _image(self, row: int) -> str | None:
        if self.manifest is None or row < 0:
            return None
        (pixels,) = decoded(self.manifest, [row])
        return None if pixels is None else self._write(f"row{row:07d}.png", pixels)

    def _write(self, name: str, pixels: NDArray[np.uint8]) -> str:
        image = Image.fromarray(pixels)
        if max(image.size) > MOST_SIDE:
            image.thumbnail((MOST_SIDE, MOST_SIDE), Image.Resampling.BOX)
        self.folder.mkdir(parents=True, exist_ok=True)
        with replaced(self.folder / name) as temporary:
            image.save(temporary, "PNG")
        return name
