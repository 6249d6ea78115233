"""Pools: images measured once, from which data sets with and without a fault are drawn in milliseconds.

A pool holds more images than any draw takes: every class with every level of an attribute. A draw picks rows by class
and level, so the same scores serve a data set without a shortcut and one whose colour is its class.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from evensight import names
from evensight.audit.data import Scores
from evensight.audit.measure import VERSION, measure_images
from evensight.cues import build_cue
from evensight.data.datasets import coloured_mnist, draws, shapes_draw
from evensight.data.datasets.coloured_mnist import COLOURS, DIGITS, MEAN_COLOURS, load_mnist
from evensight.data.datasets.composite import CompositeReader
from evensight.data.datasets.roots import known_root
from evensight.data.datasets.shapes import ShapesReader, scenes_of
from evensight.files import digest_json, replaced
from evensight.progress import silent

Ints = NDArray[np.int64]
Pixels = NDArray[np.uint8]
ALIGNED, OTHER = 160, 32  # images of a cell whose level is its class's own, and of any other


@dataclass(frozen=True)
class Pool:
    """N measured images.

    Attributes:
        name: Of the pool.
        classes: K names.
        levels: Attribute -> its levels.
        labels: int64 `[N]`, -1 where the label is drawn, as for photographs of no class.
        attributes: Attribute -> level of each image `[N]`.
        base: int64 `[N]`: images of one number show the same thing, and a draw takes at most one of them.
        scores: What was measured.
        usual: Attribute -> each class's own level `[K]`.
    """

    name: str
    classes: tuple[str, ...]
    levels: Mapping[str, tuple[str, ...]]
    labels: Ints
    attributes: Mapping[str, Ints]
    base: Ints
    scores: Scores
    usual: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Images:
    """What is measured to make a pool; fields as of `Pool`, `pixels` uint8 `[H, W, 3]` or bytes of a file each."""

    classes: tuple[str, ...]
    labels: Ints
    pixels: list[Pixels | bytes]
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    attributes: Mapping[str, Ints] = field(default_factory=dict)
    base: Ints | None = None
    masks: list[Pixels] | None = None
    boxes: NDArray[np.float64] | None = None
    paths: list[str] | None = None
    usual: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def pool(name: str, folder: Path, make: Callable[[], Images]) -> Pool:
    """Returns a pool, measured now or read from `folder`, where each version of what is measured has its own files."""
    about = {"name": name, "measure": VERSION, "cues": {cue: build_cue(cue).version for cue in names.CUES}}
    file = folder / f"{name}-{digest_json(about)[:12]}.npz"
    if not file.exists():
        images = make()
        scores = measure_images(images.pixels, images.masks, images.boxes, paths=images.paths)
        _write(file, images, scores)
    return _read(name, file)


def _write(file: Path, images: Images, scores: Scores) -> None:
    table = io.BytesIO()
    scores.properties.write_ipc(table)
    base = np.arange(len(images.labels)) if images.base is None else images.base
    arrays: dict[str, Any] = {
        "properties": np.frombuffer(table.getvalue(), np.uint8),
        **{name: getattr(scores, name) for name in ("hashes", "thumbnails", "measured")},
        **{f"cue:{cue}": values for cue, values in scores.features.items()},
        **{f"attribute:{name}": values for name, values in images.attributes.items()},
        **{f"levels:{name}": np.asarray(values) for name, values in images.levels.items()},
        **{f"usual:{name}": np.asarray(values) for name, values in images.usual.items()},
        "labels": images.labels,
        "base": base,
        "classes": np.asarray(images.classes),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    with replaced(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)


def _read(name: str, file: Path) -> Pool:
    with np.load(file, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}

    def part(prefix: str) -> dict[str, Any]:
        return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}

    scores = Scores(
        properties=pl.read_ipc(io.BytesIO(arrays["properties"].tobytes())),
        hashes=arrays["hashes"],
        thumbnails=arrays["thumbnails"],
        features=part("cue:"),
        measured=arrays["measured"],
    )
    return Pool(
        name=name,
        classes=tuple(arrays["classes"].tolist()),
        levels={key: tuple(value.tolist()) for key, value in part("levels:").items()},
        labels=arrays["labels"],
        attributes=part("attribute:"),
        base=arrays["base"],
        scores=scores,
        usual={key: tuple(value.tolist()) for key, value in part("usual:").items()},
    )


def cells(num_classes: int, num_levels: int, aligned: int = ALIGNED, other: int = OTHER) -> tuple[Ints, Ints]:
    """Returns label and level of each image of a pool `[N]`; class k's own level is the k-th."""
    counts = np.full((num_classes, num_levels), other)
    counts[np.arange(num_classes), np.arange(num_classes)] = aligned
    label, level = np.divmod(np.repeat(np.arange(counts.size), counts.ravel()), num_levels)
    return label.astype(np.int64), level.astype(np.int64)


def shapes(palette: str, grey: bool = False) -> Images:
    """Shapes in every colour; in grey, what is left of the colour is its brightness."""
    label, colour = cells(8, 8)
    key = draws.keys(11, 0, np.arange(len(label)))
    word = draws.words(key, 2, first=40)
    background, size = draws.below(word[:, 0], 3), draws.below(word[:, 1], 3)
    pixels, covers = drawn_shapes(
        lambda at: shapes_draw.plan(key[at], label[at], colour[at], background[at], size[at], palette), len(label)
    )
    if grey:
        pixels = [np.repeat(np.asarray(Image.fromarray(image).convert("L"))[..., None], 3, axis=2) for image in pixels]
    attributes = {"colour": colour, "background": background, "size": size}
    levels = {"colour": shapes_draw.COLOURS, "background": shapes_draw.BACKGROUNDS, "size": shapes_draw.SIZES}
    return Images(
        shapes_draw.SHAPES, label, list(pixels), levels, attributes, masks=covers, usual={"colour": tuple(range(8))}
    )


def drawn_shapes(plan: Callable[[NDArray[np.int64]], Any], count: int) -> tuple[list[Pixels], list[Pixels]]:
    images, covers = [], []
    for start in range(0, count, 64):
        drawn, cover = shapes_draw.draw(plan(np.arange(start, min(start + 64, count))))
        images += list(drawn)
        covers += list(cover)
    return images, covers


def mnist(which: str) -> tuple[Pixels, Ints]:
    """Returns images `[N, 28, 28]` and labels `[N]` of ``train`` or ``test``."""
    root = known_root(None, "mnist", ("train.npz", "test.npz"))
    return load_mnist(root / f"{which}.npz")


def coloured_digits() -> Images:
    """MNIST digits in every mean colour of the published protocol, each digit image once."""
    images, labels = mnist("train")
    label, colour = cells(10, 10)
    of_digit = [np.flatnonzero(labels == k) for k in range(10)]
    taken = np.zeros(10, np.int64)
    chosen = np.empty(len(label), np.int64)
    for at, k in enumerate(label.tolist()):
        chosen[at] = of_digit[k][taken[k]]
        taken[k] += 1
    noise = draws.normal(draws.keys(12, np.arange(len(label))), 3) * coloured_mnist.SIGMA[4]
    tint = np.clip(np.asarray(MEAN_COLOURS)[colour] + noise, 0.0, 1.0)
    pixels = [np.rint(images[at][..., None] * tint[i]).astype(np.uint8) for i, at in enumerate(chosen.tolist())]
    return Images(
        DIGITS, label, list(pixels), {"colour": COLOURS}, {"colour": colour}, usual={"colour": tuple(range(10))}
    )


def digits(count: int = 10_000) -> Images:
    """MNIST's test digits as they are."""
    images, labels = mnist("test")
    return Images(DIGITS, labels[:count], [rgb(image) for image in images[:count]])


def rgb(grey: Pixels) -> Pixels:
    return np.repeat(grey[..., None], 3, axis=2)


def composite() -> Images:
    """Shapes over photographs of every place, with masks and boxes."""
    parts = []
    for correlation, num in ((1.0, 6 * ALIGNED), (0.0, 36 * 56)):
        reader = CompositeReader(correlation=correlation, num_train=num, num_validation=6, num_test=36, seed=13)
        with tempfile.TemporaryDirectory() as folder:
            reading = reader.read(Path(folder), None, silent)
            rows = reading.rows.filter(pl.col("split") == "train")
            pixels = [np.asarray(Image.open(Path(folder) / path)) for path in rows["path"]]
            masks = np.load(Path(folder) / "masks" / "train.npy")
        parts.append((rows, pixels, masks, reader.class_names(reader.photographs()), reader.photographs().places))
    return _composite_of(parts)


def _composite_of(parts: list[Any]) -> Images:
    _, _, _, classes, places = parts[0]
    frame = pl.concat([part[0] for part in parts])
    levels = {"place": places, "colour": shapes_draw.COLOURS, "size": shapes_draw.SIZES}
    positions = {name: {value: i for i, value in enumerate(of)} for name, of in {"label": classes, **levels}.items()}
    columns = {name: np.asarray([at[value] for value in frame[name]], np.int64) for name, at in positions.items()}
    boxes = frame.select("box_x0", "box_y0", "box_x1", "box_y1").to_numpy()
    return Images(
        classes=classes,
        labels=columns.pop("label"),
        pixels=[image for part in parts for image in part[1]],
        levels=levels,
        attributes=columns,
        masks=[mask for part in parts for mask in part[2]],
        boxes=boxes,
        usual={"place": tuple(range(len(places)))},
    )


def bar_files(split: str = "train") -> tuple[list[bytes], list[str], list[str]]:
    """Returns the files of BAR's photographs, their names and their actions."""
    root = known_root(None, "bar", ("train", "test"))
    paths = sorted((root / split).iterdir())
    return (
        [path.read_bytes() for path in paths],
        [path.name for path in paths],
        [path.stem.rpartition("_")[0] for path in paths],
    )


def photographs() -> Images:
    """BAR's training photographs as they are stored; their class is drawn."""
    content, paths, actions = bar_files()
    classes = tuple(sorted(set(actions)))
    labels = np.asarray([classes.index(action) for action in actions], np.int64)
    return Images(classes, labels, list(content), paths=paths)


MARKED = 480  # images that are marked


def marked(which: str) -> Images:
    """Each image without a mark and with each class's mark, a short line at the border, the same grey for all.

    Args:
        which: ``shapes``, ``digits`` or ``photographs``.
    """
    pixels, labels, classes = {"shapes": _plain_shapes, "digits": _plain_digits, "photographs": _small_photographs}[
        which
    ]()
    num = len(classes)
    each = [[image, *(mark(image, k, num) for k in range(num))] for image in pixels]
    return Images(
        classes=classes,
        labels=np.repeat(labels, num + 1),
        pixels=[image for images in each for image in images],
        levels={"mark": (*(f"mark{k}" for k in range(num)), "none")},
        attributes={"mark": np.tile(np.asarray([num, *range(num)], np.int64), len(pixels))},
        base=np.repeat(np.arange(len(pixels)), num + 1),
        usual={"mark": tuple(range(num))},
    )


def mark(pixels: Pixels, k: int, num: int) -> Pixels:
    """Draws class k's mark: a line of two pixels at the border, white and black, at the k-th of `num` places around."""
    image = Image.fromarray(pixels)
    side = image.width
    pen = ImageDraw.Draw(image)
    length, around = side // 5, 4 * (side - 1)
    edge, at = divmod(k * around // num, side - 1)
    at = min(at, side - 1 - length)
    box = {0: (at, 0, at + length, 1), 1: (side - 2, at, side - 1, at + length),
           2: (at, side - 2, at + length, side - 1), 3: (0, at, 1, at + length)}[edge]  # fmt: skip
    pen.rectangle(box, fill=(255, 255, 255))
    inner = (box[0], box[1], box[2], box[1]) if edge in (0, 2) else (box[0], box[1], box[0], box[3])
    pen.rectangle(inner, fill=(0, 0, 0))
    return np.asarray(image)


def _plain_shapes() -> tuple[list[Pixels], Ints, tuple[str, ...]]:
    reader = ShapesReader(correlation=0.0, seed=14)
    pixels, _ = drawn_shapes(lambda at: scenes_of(reader, "train", at), MARKED)
    return pixels, np.arange(MARKED, dtype=np.int64) % 8, shapes_draw.SHAPES


def _plain_digits() -> tuple[list[Pixels], Ints, tuple[str, ...]]:
    images, labels = mnist("test")
    order = np.argsort(_turn(labels), kind="stable")[:MARKED]
    return [rgb(images[at]) for at in order], labels[order], DIGITS


def _turn(labels: Ints) -> Ints:
    """Returns how many earlier images have each image's label."""
    turn = np.zeros(len(labels), np.int64)
    for value in np.unique(labels):
        members = np.flatnonzero(labels == value)
        turn[members] = np.arange(len(members))
    return turn


def _small_photographs() -> tuple[list[Pixels], Ints, tuple[str, ...]]:
    content, _, actions = bar_files()
    classes = tuple(sorted(set(actions)))
    labels = np.asarray([classes.index(action) for action in actions], np.int64)
    order = np.argsort(_turn(labels), kind="stable")[:MARKED]
    return [squared(content[at], 64) for at in order], labels[order], classes


def squared(content: bytes, side: int) -> Pixels:
    """Returns the centre square of a photograph, RGB `[side, side, 3]`."""
    from evensight.runtime.decode import decode_array

    pixels = decode_array(content)
    height, width = pixels.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    square = pixels[top : top + short, left : left + short]
    return np.asarray(cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
