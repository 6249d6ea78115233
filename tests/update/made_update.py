"""A run whose data was prepared, its artifact, and a log of traffic with kept images: all known by heart.

Images and network are those of `made_artifact`: the network decides by colour alone. In training and validation colour
and label agree, in the test split and in the traffic they do not.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from evensight.config import AdamW, Config, ErmMethod, NoLogger, ObjectiveConfig
from evensight.data.manifest import Manifest
from evensight.data.prepare import prepare
from evensight.data.readers.table import TableReader
from evensight.data.side_tables import with_side_tables
from evensight.data.tables import write_table
from evensight.deploy.export import export
from evensight.objective.objective import Objective
from evensight.records.artifact import Artifact
from evensight.records.instruments import instruments
from evensight.records.prediction_log import Entry, LoggedOutcome, PredictionLog
from evensight.run import Run
from evensight.testing.predictions import Served
from made_artifact import CLASSES, COLOURS, SPEC, bank, draw, network

STATED: dict[str, Any] = {
    "name": "made",
    "purpose": "to know every answer",
    "classes": list(CLASSES),
    "attributes": {"colour": {"levels": list(COLOURS)}},
    "requirements": [
        {"metric": "accuracy", "bound": 0.6},
        {"metric": "accuracy", "scope": "each_cell", "attribute": "colour", "bound": 0.5},
        {"metric": "reliance", "cue": "colour", "bound": 0.05},
    ],
}
FIRST_OF_TRAFFIC = 1000  # numbers of drawn images: those of the traffic are no image of the data


@dataclass(frozen=True)
class Place:
    """A run with its data and its artifact."""

    folder: Path
    run: Run
    config: Config
    manifest: Manifest
    objective: Objective
    artifact: Artifact


def write_data(folder: Path) -> Path:
    """Draws 24 training, 12 validation and 18 test images and lists them in a table."""
    (folder / "images").mkdir(parents=True)
    test = list(itertools.product(CLASSES, COLOURS, range(2)))
    rows = []
    for number in range(54):
        label, colour = CLASSES[number % 3], COLOURS[number % 3]
        split = "train" if number < 24 else "validation" if number < 36 else "test"
        if split == "test":
            label, colour, _ = test[number - 36]
        Image.fromarray(draw(number, colour)).save(folder / "images" / f"{number}.png")
        rows.append({"path": f"images/{number}.png", "label": label, "split": split, "colour": colour})
    with (folder / "data.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "data.csv"


def config_of(folder: Path, sealed: bool = False) -> Config:
    data = TableReader(name="made", table=str(folder / "data.csv"), sealed=sealed, num_workers=0, eval_batch_size=8)
    config = Config(
        experiment_name="made", data=data, method=ErmMethod(), optimizer=AdamW(), logger=NoLogger(),
        objective=ObjectiveConfig(**STATED), runs_dir=str(folder / "runs"), datasets_dir=str(folder / "datasets"),
    )  # fmt: skip
    config.model.backbone, config.model.size = "small_cnn", 16
    config.model.kwargs = {"channels": [4, 8], "num_strided": 2}
    config.data.batch_size, config.trainer.max_epochs, config.trainer.accelerator = 12, 1, "cpu"
    config.trainer.num_threads, config.trainer.progress, config.trainer.num_sanity_val_steps = 1, False, 0
    config.reliance.max_images, config.reliance.donors_per_class = 12, 4
    config.test = not sealed
    return config


def place(folder: Path, sealed: bool = False, cues: bool = False) -> Place:
    """Makes all of it in a folder; with `cues`, an audit found out what colour alone says of each image."""
    write_data(folder)
    config = config_of(folder, sealed)
    manifest, objective = prepare(config.data, Objective.from_config(STATED), Path(config.datasets_dir))
    if cues:
        said = manifest.frame["colour"].replace_strict(dict(zip(COLOURS, CLASSES, strict=True)))
        table = manifest.frame.select("row_id").with_columns(said.alias("colour_says"))
        write_table(manifest.folder, "cues", table, {"by": "audit", "content": manifest.digests.content})
    manifest, objective = with_side_tables(manifest, objective, config.data)
    run = Run.create(config)
    digests = {"name": "made", "content": manifest.digests.content, "test": manifest.digests.test}
    run.write_json("data.json", {"schema_version": 1, **digests, "side_tables": manifest.side_tables})
    run.write_json("objective.json", objective.canonical())
    artifact = export(run, network(), SPEC, objective, manifest, bank(manifest), config)
    return Place(folder, run, config, manifest, objective, artifact)


def truth(number: int) -> tuple[str, str]:
    """Label and colour of image `number` of the traffic: they have nothing to do with each other."""
    return CLASSES[number % 3], COLOURS[(number // 3) % 3]


def entries(
    artifact: Artifact, folder: Path, count: int, sampled: Sequence[int] = (), kept: bool = True
) -> list[Entry]:
    """Serves `count` images; those kept are written to `folder/images`."""
    served, tools = Served(artifact), instruments(artifact)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(count):
        _, colour = truth(number)
        pixels = draw(FIRST_OF_TRAFFIC + number, colour)
        name = f"images/{number:032x}.png"
        if kept:
            Image.fromarray(pixels).save(folder / name)
        image = served.preprocess(torch.from_numpy(pixels).permute(2, 0, 1).contiguous())[None]
        probs = served.probabilities(image)
        described = {cue: values[0].numpy() for cue, values in tools.described(image).items()}
        outcomes: list[LoggedOutcome] = []
        if number in sampled:
            for cue, operators in tools.outcomes(served.classes, image, probs.argmax(1)).items():
                for operator, one in operators.items():
                    moved = bool(one.moved_transplant[0]), bool(one.moved_placebo[0])
                    outcomes.append(LoggedOutcome(cue, operator, int(one.donor_class[0]), *moved))
        made.append(
            Entry(
                id=f"{number:032x}", time=1.7e9 + number, identity=artifact.identity,
                probabilities=probs[0].numpy().astype(np.float32), attributes={"colour": colour}, describes=described,
                embedding=None, sampled=number in sampled, outcomes=tuple(outcomes), image=name if kept else None,
            )
        )  # fmt: skip
    return made


def write_log(path: Path, made: Sequence[Entry]) -> Path:
    log = PredictionLog(path, CLASSES)
    for entry in made:
        assert log.add(entry)
    log.close()
    return path


def filled(table: Path, out: Path, **changes: dict[str, str]) -> Path:
    """Answers a plan's table by the truth; `changes` are cells by id (a leading x) and column."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["label"], row["colour"] = truth(int(row["id"], 16))
        row.update(changes.get(f"x{row['id']}", {}))
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return out
