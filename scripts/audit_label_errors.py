"""How well the audit finds wrong labels: MNIST digits and photographs with labels changed, and as they are.

    python scripts/audit_label_errors.py [folder of the real images] [--digits 10000] [--seeds 3]

Writes benchmarks/audit_label_errors.json; about 4 minutes of one core. Kinds, each about 5 % of the labels: ``uniform``
(any other class), ``pair`` (a quarter of the 4 called 9 and the other way round), ``annotator`` (one of two annotators
is wrong half of the time on one of two cameras), ``clean`` (as they are). Each seed takes other digits. ``photographs``
are the 1,941 training images of BAR at 64 pixels with labels changed as in ``uniform``, ``photographs_clean`` as they
are. Measured: the average precision of the ranking, recall and precision of the labels that confident learning prunes,
whether the annotator and the group are named, and the seconds that network, embeddings and folds take.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import stats
from sklearn.metrics import average_precision_score

from evensight.audit.data import AuditData, Scores
from evensight.audit.label_doubts import Judged
from evensight.audit.label_errors import told
from evensight.audit.suspects import Suspects, suspects
from evensight.config import AuditConfig
from evensight.data.originals import to_square
from evensight.environment import environment
from evensight.files import write_json
from evensight.metrics.intervals import clopper_pearson
from evensight.objective.objective import Objective
from evensight.runtime.decode import decode_array
from evensight.runtime.preprocess import Preprocess

ROOT = Path(__file__).parent.parent
KINDS = ("uniform", "pair", "annotator", "clean", "photographs", "photographs_clean")
CHANCES = dict(zip(KINDS, (0.05, 0.25, 0.5, 0.0, 0.05, 0.0), strict=True))
SIDE = 64  # of photographs
ALPHA = 0.05
TARGET = 0.8


@dataclass(frozen=True)
class Draw:
    """Digits with their labels as given, and who and what was behind them."""

    pixels: np.ndarray
    labels: np.ndarray
    given: np.ndarray
    annotator: np.ndarray
    camera: np.ndarray


def drawn(images: np.ndarray, labels: np.ndarray, kind: str, num: int, seed: int) -> Draw:
    """Takes digits and changes labels."""
    generator = np.random.default_rng([seed, KINDS.index(kind)])
    chosen = np.random.default_rng(seed).choice(len(labels), num, replace=False)
    truth = labels[chosen].astype(np.int64)
    annotator, camera = generator.integers(0, 2, num), (generator.random(num) < 0.2).astype(np.int64)
    num_classes = int(labels.max()) + 1
    other = (truth + generator.integers(1, num_classes, num)) % num_classes
    changed = generator.random(num) < CHANCES[kind]
    if kind == "pair":
        changed &= np.isin(truth, (4, 9))
        other = 13 - truth
    if kind == "annotator":
        changed &= (annotator == 1) & (camera == 1)
    pixels = images[chosen]
    if pixels.ndim == 3:
        pixels = pixels[..., None].repeat(3, axis=3)
    return Draw(pixels, truth, np.where(changed, other, truth), annotator, camera)


def named(draw: Draw, found: Suspects) -> list[str]:
    """Returns the classes, groups and annotators that the chapter says have more wrong labels."""
    num = len(draw.given)
    classes = tuple(str(number) for number in range(int(draw.labels.max()) + 1))
    people = np.array(["ann", "bob"])[draw.annotator]
    names = [classes[label] for label in draw.given]
    scores = Scores(
        pl.DataFrame(), np.zeros((num, 1), np.uint64), np.zeros((num, 1, 1), np.uint8), {}, np.ones(num, bool)
    )
    data = AuditData(
        classes=classes,
        levels={"camera": ("new", "old")},
        splits=np.array(["train"] * num),
        labels=draw.given,
        attributes={"camera": draw.camera},
        scores=scores,
        objective=Objective.from_config({"name": "digits", "purpose": "a benchmark"}),
        open_test=False,
        counts={},
        row_ids=[str(i) for i in range(num)],
        paths=[f"images.npy#{i}" for i in range(num)],
        annotations=pl.DataFrame({"row": np.arange(num), "annotator": people, "label": names}),
    )
    findings = told(data, AuditConfig(), Judged(np.arange(num), found)).findings
    return [f"{one.evidence['what']}: {one.evidence['level']}" for one in findings if one.code == "label_errors_uneven"]


def measured(draw: Draw, seed: int) -> dict[str, Any]:
    """Judges one draw."""
    start, spent = time.perf_counter(), time.process_time()
    found = suspects(draw.pixels, draw.given, int(draw.labels.max()) + 1, seed)
    seconds, processor = time.perf_counter() - start, time.process_time() - spent
    wrong, place = draw.given != draw.labels, np.empty(len(draw.given))
    place[found.order] = np.arange(len(place))
    return {
        "seed": seed,
        "average_precision": float(average_precision_score(wrong, -place)) if wrong.any() else None,
        "wrong": int(wrong.sum()),
        "pruned": int(found.is_issue.sum()),
        "pruned_and_wrong": int((found.is_issue & wrong).sum()),
        "suggested_right": int((found.suggested == draw.labels)[wrong].sum()),
        "accuracy": round(found.accuracy, 4),
        "clarity": round(found.clarity, 4),
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor, 1),
        "named": named(draw, found),
    }


def photographs(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns BAR at the network's size, uint8 `[N, S, S, 3]`, and its classes; the label is in the file's name."""
    preprocess = Preprocess(SIDE)
    files = sorted(folder.glob("*.jpg"))
    names = [file.stem.rsplit("_", 1)[0] for file in files]
    classes = sorted(set(names))
    pixels = np.stack([to_square(decode_array(file), preprocess) for file in files])
    return pixels, np.array([classes.index(name) for name in names])


def rate(x: int, n: int) -> dict[str, Any]:
    low, high = clopper_pearson(x, n, ALPHA / 2)
    return {"x": x, "n": n, "estimate": x / n if n else None, "low": float(low), "high": float(high)}


def summary(kind: str, runs: list[dict[str, Any]], num: int) -> dict[str, Any]:
    """Puts the draws of one kind together; digits of several draws overlap, so rates are a little less certain."""
    total = {
        name: sum(run[name] for run in runs) for name in ("wrong", "pruned", "pruned_and_wrong", "suggested_right")
    }
    sound = num * len(runs) - total["wrong"]
    found: dict[str, Any] = {"false_alarms": rate(total["pruned"] - total["pruned_and_wrong"], sound)}
    if total["wrong"]:
        points = [run["average_precision"] for run in runs]
        middle, half = statistics.mean(points), 1.0
        if len(points) > 1:
            half = float(stats.t.ppf(1 - ALPHA / 2, len(points) - 1)) * statistics.stdev(points) / len(points) ** 0.5
        found["average_precision"] = {
            "mean": middle,
            "low": max(0.0, middle - half),
            "high": min(1.0, middle + half),
            "draws": points,
        }
        found["recall"] = rate(total["pruned_and_wrong"], total["wrong"])
        found["precision"] = rate(total["pruned_and_wrong"], total["pruned"])
        found["suggested_right"] = rate(total["suggested_right"], total["wrong"])
        if kind != "photographs":
            found["meets_target"] = min(points) >= TARGET
    found["accuracy"], found["clarity"] = ([run[name] for run in runs] for name in ("accuracy", "clarity"))
    found["seconds"] = [run["seconds"] for run in runs]
    found["processor_seconds"] = [run["processor_seconds"] for run in runs]
    found["named"] = [run["named"] for run in runs]
    return found


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("EVENSIGHT_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(default))
    parser.add_argument("--digits", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    with np.load(given.folder / "mnist" / "train.npz") as arrays:
        digits = arrays["images"], arrays["labels"].astype(np.int64)
    pictures = photographs(given.folder / "bar" / "train")
    kinds = {}
    for kind in KINDS:
        (images, labels), num = (pictures, len(pictures[1])) if "photographs" in kind else (digits, given.digits)
        runs = []
        for seed in range(given.seeds):
            runs.append(measured(drawn(images, labels, kind, num, seed), seed))
            print(kind, json.dumps(runs[-1]), flush=True)
        kinds[kind] = summary(kind, runs, num)
    write_json(
        ROOT / "benchmarks" / "audit_label_errors.json",
        {
            "schema_version": 1,
            "command": f"python scripts/audit_label_errors.py --digits {given.digits} --seeds {given.seeds}",
            "what": "MNIST training digits and BAR training photographs, about 5 % of the labels changed; intervals at "
            "95 %: average precision by draws (t), rates of pooled draws (Clopper-Pearson)",
            "target": f"average precision at least {TARGET} in every draw of digits",
            "digits": given.digits,
            "kinds": kinds,
            "environment": {key: value for key, value in environment().items() if key not in ("command", "host")},
            "extra": {name: importlib.metadata.version(name) for name in ("cleanlab", "scikit-learn")},
        },
    )


if __name__ == "__main__":
    main()
