"""What the readers of annotation formats hand on: images with what was said of them, and of the objects in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from evensight.data.annotations.boxes import FRAMES, Box
from evensight.data.reading import Reader
from evensight.errors import unknown, wrong_value

OBJECTS = ("image", "cut")
SEVERAL = ("refuse", "largest")


@dataclass(frozen=True)
class Mask:
    """Pixels of an object, drawn when they are needed."""

    key: str  # tells two masks apart: a digest of what is drawn (polygon, run lengths, a file's name and stamp)
    draw: Callable[[], NDArray[Any]]  # [H, W], 0 outside, in the frame of the boxes; ValueError where it is broken


@dataclass(frozen=True)
class AnnotatedObject:
    """One object of an image."""

    label: str
    box: Box | None = None  # in pixels of the frame that the reader's `box_frame` names
    attributes: Mapping[str, str | None] = field(default_factory=dict)
    mask: Mask | None = None
    votes: tuple[tuple[str, str], ...] = ()  # annotator and label, where the format names them


@dataclass(frozen=True)
class AnnotatedImage:
    """One image as the annotation file tells of it. Its path is not to be trusted."""

    path: str
    label: str | None = None  # of the whole image, where it was given one
    split: str | None = None
    size: tuple[int, int] | None = None  # width and height, as the annotation file states them
    attributes: Mapping[str, str | None] = field(default_factory=dict)
    objects: tuple[AnnotatedObject, ...] = ()
    votes: tuple[tuple[str, str], ...] = ()  # annotator and label of the whole image


# The column that says of which image an object was cut.
CUT_FROM = "cut_from"


@dataclass
class ObjectReader(Reader):
    """Settings of the readers whose images may have objects in them."""

    objects: str = "image"  # image: one row an image, with box and mask; cut: one row an object, cut out of its image
    margin: float = 0.1  # cut: share of an object's longer side that is added around it
    several: str = "refuse"  # image: what becomes of one with objects of several classes; refuse: left out; largest
    box_frame: str = "stored"  # boxes are in pixels as stored, or upright: after EXIF's orientation

    @property
    def tied(self) -> tuple[str, ...]:
        """Objects of one image stay in one split; see `Reader.tied`."""
        return (*super().tied, *((CUT_FROM,) if self.objects == "cut" else ()))

    def check(self) -> None:
        """Raises UserError where a setting cannot be right."""
        for key, allowed in (("objects", OBJECTS), ("several", SEVERAL), ("box_frame", FRAMES)):
            if getattr(self, key) not in allowed:
                raise unknown(f"data.{key}", getattr(self, key), allowed)
        if not 0.0 <= self.margin <= 10.0:
            raise wrong_value("data.margin", self.margin, "a share from 0 to 10")
