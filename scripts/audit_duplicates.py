"""How many seeded near duplicates the audit finds, of each kind, and how many pairs it finds where there are none.

    python scripts/audit_duplicates.py                     # mnist, bar, shapes, composites: 6 minutes on 2 cores
    python scripts/audit_duplicates.py --sets bar shapes   # some of them
    python scripts/audit_duplicates.py --show benchmarks/audit_duplicates.json

Of each data set, first the images as they are: every pair that is found is counted (mnist, shapes and composites have
no near duplicates; in bar, 5 pairs and 13 mirror images were confirmed by eye). Then copies are added, `COPIES` of
each kind, of images drawn without replacement, and all are looked for at once. Rates have two-sided 95 % intervals
(Clopper and Pearson). The limits were set while looking at mnist, bar and composites; what is held out was looked at
afterwards, once. Real images are found through EVENSIGHT_DATA. Writes a JSON file and prints the table.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from evensight.data import similar
from evensight.data.datasets import roots, shapes, shapes_draw
from evensight.environment import environment
from evensight.files import write_json
from evensight.metrics.intervals import clopper_pearson

COPIES = 300
CONFIRMED = {"bar": (5, 13)}  # pairs and mirrored pairs that were looked at and are the same photograph
Image = np.ndarray


def cut(image: Image, rng: np.random.Generator) -> Image:
    """Cuts 2 to 10 % off each side, each by itself."""
    height, width = image.shape[:2]
    top, bottom, left, right = np.rint(rng.uniform(0.02, 0.1, 4) * (height, height, width, width)).astype(int)
    return np.ascontiguousarray(image[top : height - bottom, left : width - right])


def cut_and_resized(image: Image, rng: np.random.Generator) -> Image:
    """Cuts, and enlarges to the old size."""
    return cv2.resize(cut(image, rng), image.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def cut_evenly(image: Image, rng: np.random.Generator) -> Image:
    """Cuts the same share off every side."""
    share = rng.uniform(0.02, 0.1)
    down, across = (max(1, round(share * side)) for side in image.shape[:2])
    return np.ascontiguousarray(image[down:-down, across:-across])


def stored_again(image: Image, rng: np.random.Generator) -> Image:
    """JPEG of quality 30 to 95."""
    quality = int(rng.integers(30, 96))
    _, content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(content, cv2.IMREAD_COLOR_RGB)


def resized(image: Image, rng: np.random.Generator) -> Image:
    """Half to twice the size, evenly on a log scale."""
    scale = 2 ** rng.uniform(-1, 1)
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def brighter(image: Image, rng: np.random.Generator) -> Image:
    """All values times .8 to 1.2."""
    return np.clip(np.rint(image * rng.uniform(0.8, 1.2)), 0, 255).astype(np.uint8)


def curved(image: Image, rng: np.random.Generator) -> Image:
    """Gamma .71 to 1.41."""
    return np.rint(255 * (image / 255) ** (2 ** rng.uniform(-0.5, 0.5))).astype(np.uint8)


KINDS: dict[str, Callable[[Image, np.random.Generator], Image]] = {
    "cut 2 to 10 % a side": cut,
    "the same share on all sides": cut_evenly,
    "cut and enlarged": cut_and_resized,
    "JPEG 30 to 95": stored_again,
    "size x .5 to 2": resized,
    "brightness .8 to 1.2": brighter,
    "gamma .71 to 1.41": curved,
}


def mnist() -> list[Image]:
    """The 10,000 test digits."""
    images = np.load(roots.known_root(None, "mnist", ("test.npz",)) / "test.npz")["images"]
    return [np.repeat(image[..., None], 3, axis=2) for image in images]


def mnist_held_out() -> list[Image]:
    """10,000 other digits, the last of training: no limit was set by them."""
    images = np.load(roots.known_root(None, "mnist", ("train.npz",)) / "train.npz")["images"][50_000:]
    return [np.repeat(image[..., None], 3, axis=2) for image in images]


def bar() -> list[Image]:
    """All photographs."""
    folder = Path(roots.known_root(None, "bar", ("train", "test")))
    files = [file for split in ("train", "test") for file in sorted((folder / split).glob("*.jpg"))]
    return [cv2.imread(str(file), cv2.IMREAD_COLOR_RGB) for file in files]


def drawn(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Shapes and their masks."""
    reader = shapes.ShapesReader(num_train=num, seed=seed)
    scenes = shapes.scenes_of(reader, "train", np.arange(num, dtype=np.int64))
    return shapes_draw.draw(scenes)


def shapes_only() -> list[Image]:
    """5,000 shapes of 64 px."""
    return list(drawn(5000)[0])


def composites(seed: int = 0, first: int = 0) -> list[Image]:
    """5,000 shapes over the middles of 500 photographs: each photograph is there ten times, never with one figure."""
    figures, masks = drawn(5000, seed)
    grounds = []
    for photograph in bar()[first : first + 500]:
        side = min(photograph.shape[:2])
        top, left = ((length - side) // 2 for length in photograph.shape[:2])
        square = photograph[top : top + side, left : left + side]
        grounds.append(cv2.resize(square, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32))
    cover = masks[..., None].astype(np.float32) / 255
    laid = [f * c + grounds[at % 500] * (1 - c) for at, (f, c) in enumerate(zip(figures, cover, strict=True))]
    return [np.rint(image).astype(np.uint8) for image in laid]


def composites_held_out() -> list[Image]:
    """Other shapes over other photographs: no limit was set by them."""
    return composites(seed=7, first=1000)


SETS: dict[str, Callable[[], list[Image]]] = {
    "mnist": mnist,
    "mnist, held out": mnist_held_out,
    "bar": bar,
    "shapes": shapes_only,
    "composites": composites,
    "composites, held out": composites_held_out,
}


def measured(images: list[Image]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes and thumbnails."""
    found = [similar.hash_and_thumbnail(image) for image in images]
    return np.stack([hashed for hashed, _ in found]), np.stack([small for _, small in found])


def clean(name: str, hashes: np.ndarray, small: np.ndarray) -> dict[str, Any]:
    """Looks at images as they are."""
    started = time.monotonic()
    pairs = similar.near_pairs(hashes, small, mirrored=True)
    mirrored = int(pairs.mirrored.sum())
    true, true_mirrored = CONFIRMED.get(name, (0, 0))
    false = max(0, len(pairs) - mirrored - true), max(0, mirrored - true_mirrored)
    _, upper = clopper_pearson(false[0], len(hashes), 0.025)
    return {
        "images": len(hashes),
        "pairs": len(pairs) - mirrored,
        "mirrored": mirrored,
        "confirmed_by_eye": [true, true_mirrored],
        "false_pairs": false[0],
        "false_mirrored": false[1],
        "false_share_of_images_high": float(upper),
        "seconds": round(time.monotonic() - started, 1),
    }


def seeded(images: list[Image], hashes: np.ndarray, small: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Adds copies of each kind and counts those that are found as copies of their image."""
    rng = np.random.default_rng(seed)
    num = min(COPIES, len(images) // len(KINDS))
    chosen = rng.permutation(len(images))[: num * len(KINDS)]
    kinds = list(KINDS)
    copies = [KINDS[kinds[at // num]](images[image], rng) for at, image in enumerate(chosen.tolist())]
    more_hashes, more_small = measured(copies)
    pairs = similar.near_pairs(np.concatenate([hashes, more_hashes]), np.concatenate([small, more_small]))
    linked = {(int(a), int(b)) for a, b in zip(pairs.first, pairs.second, strict=True)}
    hit = np.array([(int(image), len(images) + at) in linked for at, image in enumerate(chosen)])
    rows = []
    for at, kind in enumerate(kinds):
        found = int(hit[at * num : (at + 1) * num].sum())
        low, high = (float(bound) for bound in clopper_pearson(found, num, 0.025))
        rows.append({"kind": kind, "found": found, "n": num, "recall": found / num, "low": low, "high": high})
    return rows


def table(results: dict[str, Any]) -> str:
    """Returns Markdown: a line a kind, a column a data set."""
    sets = list(results)
    lines = [f"| recall | {' | '.join(sets)} |", "|---" * (len(sets) + 1) + "|"]
    for at, kind in enumerate(KINDS):
        rows = [results[name]["kinds"][at] for name in sets]
        cells = [f"{r['found']} of {r['n']}: {r['recall']:.3f} ({r['low']:.3f} to {r['high']:.3f})" for r in rows]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    lines += ["", "| as they are | images | pairs | mirrored | false pairs | false mirrored | s |", "|---" * 7 + "|"]
    for name, result in results.items():
        c = result["clean"]
        figures = c["images"], c["pairs"], c["mirrored"], c["false_pairs"], c["false_mirrored"], c["seconds"]
        lines.append(f"| {name} | {' | '.join(f'{figure:,}' for figure in figures)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/audit_duplicates.json"))
    parser.add_argument("--show", type=Path, help="prints the table of a file")
    arguments = parser.parse_args()
    if arguments.show:
        print(table(json.loads(arguments.show.read_text(encoding="utf-8"))["results"]))
        return
    results: dict[str, Any] = {}
    for name in arguments.sets:
        images = SETS[name]()
        hashes, small = measured(images)
        kinds = seeded(images, hashes, small, arguments.seed + ("held out" in name))
        results[name] = {"clean": clean(name, hashes, small), "kinds": kinds}
        print(table({name: results[name]}), flush=True)
    command = f"python scripts/audit_duplicates.py --sets {' '.join(repr(n) if ' ' in n else n for n in results)}"
    about = {"command": command, "seed": arguments.seed, "confidence": 0.95}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out, {**about, "environment": environment(), "results": results})
    print(table(results))


if __name__ == "__main__":
    main()
