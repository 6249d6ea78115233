"""A made run folder: the files of a run, with figures drawn at random, as later stages write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from made_cues import cue_metrics, write_focus
from PIL import Image

from evensight.objective import verdict_file
from evensight.objective.evidence import Counts, Evidence, Paired, judge
from evensight.objective.objective import Objective

# Names a page has to escape, and one that is long and cannot break.
CLASSES = ("cat <b>&amp;", "dog", "Rindfleischetikettierungsueberwachung")
COLOURS = ("red", "green", "blue")


def objective(classes: tuple[str, ...] = CLASSES) -> Objective:
    return Objective.from_config(
        {
            "name": "made",
            "purpose": "Tell <animals> apart.",
            "classes": list(classes),
            "attributes": {"colour": {"levels": list(COLOURS)}},
            "requirements": [
                {"metric": "accuracy", "bound": 0.7},
                {"metric": "recall", "scope": "each_class", "bound": 0.6},
                {"metric": "accuracy", "scope": "conflicting", "attribute": "colour", "bound": 0.9},
                {"metric": "accuracy", "scope": "gap", "attribute": "colour", "bound": 0.1},
                {"metric": "reliance", "cue": "colour", "bound": 0.05},
                {"metric": "advantage", "over": ["majority", "colour"], "bound": 0.2},
                {"metric": "artifact_size", "bound": None},
            ],
        }
    )


def predictions(num_images: int, num_classes: int, seed: int) -> pl.DataFrame:
    """Three in four right; colour goes with the class for two thirds; one image that could not be decoded."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, num_classes, num_images)
    prediction = np.where(rng.random(num_images) < 0.75, label, rng.integers(0, num_classes, num_images))
    colour = np.where(rng.random(num_images) < 0.66, label % len(COLOURS), rng.integers(0, len(COLOURS), num_images))
    prediction[0] = -1
    known = prediction >= 0
    columns = {
        "index": np.arange(num_images),
        "row_id": [f"row{n}" for n in range(num_images)],
        "path": [f"images/{n}.png" for n in range(num_images)],
        "label": label,
        "prediction": prediction,
        "error": [None if ok else "the file ends early" for ok in known],
        "attribute:colour": colour,
        "rival:majority": np.zeros(num_images, dtype=np.int64),
        "rival:colour": colour,
    }
    for operator, share in (("hue", 0.2), ("hue_luma", 0.3)):
        for kind, chance in (("transplant", share), ("placebo", 0.02)):
            moved = [
                bool(value) if ok else None for value, ok in zip(rng.random(num_images) < chance, known, strict=True)
            ]
            columns[f"reliance:colour:{operator}:{kind}"] = pl.Series(moved, dtype=pl.Boolean)
    return pl.DataFrame(columns)


def evidence(table: pl.DataFrame, num_classes: int) -> Evidence:
    table = table.filter(pl.col("prediction") >= 0)
    right = table["label"] == table["prediction"]
    by_level = np.zeros((len(COLOURS), num_classes, num_classes), dtype=np.int64)
    for label, said, level in table.select("label", "prediction", "attribute:colour").iter_rows():
        by_level[level, label, said] += 1

    def paired(first: pl.Series, second: pl.Series) -> Paired:
        return Paired(np.array((first & ~second).sum()), np.array((second & ~first).sum()), np.array(table.height))

    def operator(name: str) -> Paired:
        return paired(table[f"reliance:colour:{name}:transplant"], table[f"reliance:colour:{name}:placebo"])

    return Evidence(
        counts=Counts(by_level.sum(axis=0), {"colour": by_level}),
        usual={"colour": tuple(k % len(COLOURS) for k in range(num_classes))},
        reliance={"colour": {name: operator(name) for name in ("hue", "hue_luma")}},
        advantage={name: paired(right, table[f"rival:{name}"] == table["label"]) for name in ("majority", "colour")},
        environment={"artifact_bytes": 506_085.0},
    )


def write_config(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    long_value = "a" * 200
    (folder / "config.yaml").write_text(f"experiment_name: made\nseed: 1\nnote: {long_value}\n")
    environment = {"schema_version": 1, "python": "3.11.7", "packages": {"torch": "2.15.0"}, "command": long_value}
    (folder / "environment.json").write_text(json.dumps(environment))


def write_metrics(folder: Path, num_epochs: int) -> None:
    lines = []
    for epoch in range(num_epochs):
        value = 0.4 + 0.5 * (epoch + 1) / num_epochs
        metrics = {"train/loss": 2 / (epoch + 1), "val/loss": 2.2 / (epoch + 1), "train/accuracy": value}
        metrics |= {"val/accuracy": value, "val/worst_class_recall": value - 0.2, "train/images_per_second": 900.0}
        metrics |= {"val/worst_group_accuracy/colour": value - 0.1, "val/conflicting_accuracy/colour": value - 0.3}
        intervals = {name: [x - 0.05, min(1.0, x + 0.05), 300] for name, x in metrics.items() if "val/" in name}
        floors = {"val/worst_class_recall": {"mean": value - 0.05, "quantile": value - 0.1}}
        if epoch % 3 == 2:
            metrics |= {"val/reliance/colour": 0.3, "val/reliance/colour/hue": 0.2, "val/reliance/colour/hue_luma": 0.3}
            intervals |= {"val/reliance/colour/hue": [0.1, 0.3, 200], "val/reliance/colour/hue_luma": [0.2, 0.4, 200]}
            measured = cue_metrics(epoch, CLASSES, COLOURS)
            metrics |= measured
            intervals |= {name: [x - 0.05, x + 0.05, 64] for name, x in measured.items()}
        line = {
            "epoch": epoch,
            "step": 10,
            "seconds": 2.0,
            "metrics": metrics,
            "intervals": intervals,
            "floors": floors,
        }
        lines.append(json.dumps(line) + "\n")
    (folder / "metrics.jsonl").write_text("".join(lines) + '{"epoch": 99, "met')


def write_pictures(folder: Path, stage: str, side: int) -> None:
    pictures = folder / "pictures" / stage
    pictures.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("mistake", "image", "donor", "hue", "hue_luma"):
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(pictures / f"{name}.png")
    shared = {"cue": "colour", "image": "image.png", "donor": "donor.png", "before": 1, "donor_class": 0}
    transplants = [
        {**shared, "operator": name, "transplanted": f"{name}.png", "prediction": moved, "moved": not moved}
        for moved, name in enumerate(("hue", "hue_luma"))
    ]
    wrong = {"file": "mistake.png", "path": "images/<7>.png", "label": 0, "prediction": 1, "probability": 0.9876}
    content = {"schema_version": 1, "mistakes": [wrong, {**wrong, "file": "lost.png"}], "transplants": transplants}
    (folder / "pictures" / f"{stage}.json").write_text(json.dumps(content))


def write_stage(folder: Path, stage: str, stated: Objective, num_images: int, seed: int) -> None:
    classes = tuple(stated.classes)
    table = predictions(num_images, len(classes), seed)
    (folder / "predictions").mkdir(exist_ok=True)
    table.write_parquet(folder / "predictions" / f"{stage}.parquet")
    extra = {
        "num_images": num_images - 1,
        "failed": {"count": 1, "examples": [{"path": "images/<0>.png", "error": "the file ends early"}]},
        "decided_by": [{"attribute": "colour", "share": 0.4, "low": 0.35, "high": 0.45, "n": 99, "chance": 0.33}],
        "truth": {"colour": {"share": 0.28, "low": 0.25, "high": 0.31, "n": 299, "reliance": {"hue": 0.2}}},
    }
    decision = judge(stated, stage, evidence(table, len(classes)))
    made = verdict_file.verdict_file(stated, stage, decision, "d" * 64, "a" * 64, extra)
    verdict_file.write(folder / "verdicts" / f"{stage}.json", made)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Returns a function that writes a whole run folder."""

    def make(classes: tuple[str, ...] = CLASSES, side: int = 32, num_epochs: int = 6, focus: bool = False) -> Path:
        folder, stated = tmp_path / "run", objective(classes)
        write_config(folder)
        (folder / "objective.json").write_text(json.dumps(stated.canonical()))
        write_metrics(folder, num_epochs)
        write_stage(folder, "validation", stated, 300, 1)
        write_stage(folder, "test", stated, 300, 2)
        write_pictures(folder, "test", side)
        if focus:
            write_focus(folder)
        contract = {
            "classes": list(classes),
            "attributes": {"colour": list(COLOURS)},
            "usual": {"colour": [k % len(COLOURS) for k in range(len(classes))]},
            "identity": "a" * 64,
        }
        (folder / "artifact").mkdir()
        (folder / "artifact" / "contract.json").write_text(json.dumps(contract))
        return folder

    return make
