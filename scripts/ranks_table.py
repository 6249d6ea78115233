"""One run by 1, 2 and 3 processes on the CPU (gloo): what is equal exactly, what to rounding, what cannot be.

    python scripts/ranks_table.py                                   # 13 small runs of shapes, 8 minutes on 2 cores
    python scripts/ranks_table.py --show results/ranks_table.json   # prints the table of a file again

Each setting at the same 96 images a step, against one process with one thread: GroupNorm and BatchNorm in training, and
weights that do not change (a trained backbone with a head as it began: the arithmetic of counts and verdicts alone).
What rounding alone becomes in as many steps, one process with two threads shows. Writes every figure, the hardware and
the versions, and prints the table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback

from evensight.cli import main
from evensight.environment import environment
from evensight.files import write_json

SMALL = (
    *("experiment=shapes", "trainer=ddp_cpu", "data.correlation=0.5"),
    *("data.num_train=2400", "data.num_validation=1501", "data.num_test=1024"),
    *("data.batch_size=96", "data.eval_batch_size=100", "model.size=32", "model.kwargs.channels=[16,32,32]"),
    *("model.kwargs.num_strided=2", "model.drop_rate=0.0", "trainer.max_epochs=4"),
    *("reliance.every_n_epochs=2", "reliance.max_images=500", "allow_targets=[ranks_table]"),
)
# What each setting adds, and by how many processes and threads it runs; the first is what the others are compared with.
SETTINGS: dict[str, tuple[str, ...]] = {
    "GroupNorm, AdamW": ("model.kwargs.norm=group",),
    "GroupNorm, SGD": ("model.kwargs.norm=group", "optimizer=sgd", "optimizer.lr=0.05"),
    "GroupNorm, fixed weights": ("model.kwargs.norm=group", "optimizer.lr=0.0", "model.checkpoint_path={trained}"),
    "BatchNorm, AdamW": ("model.kwargs.norm=batch",),
}
WAYS = {"GroupNorm, AdamW": ((1, 1), (1, 2), (2, 1), (3, 1))}
USUAL_WAYS = ((1, 1), (2, 1), (3, 1))
ROW = ("label", "estimate", "low", "high", "n", "verdict")


class Recorder(Callback):
    """Writes what a rank was shown and its loss, a line a batch, and the histograms of each validation.

    Args:
        folder: A file a rank.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        shown = batch["index"][batch["weight"] > 0].tolist()
        loss = float(outputs["loss"])
        self._write(trainer, {"epoch": trainer.current_epoch, "batch": batch_idx, "shown": shown, "loss": loss})

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        self._write(trainer, {"validated": batch["index"][batch["weight"] > 0].tolist()})

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        (confusion,) = (callback.confusion for callback in trainer.callbacks if hasattr(callback, "confusion"))
        counts = {name: table.tolist() for name, table in confusion.compute().items()}
        self._write(trainer, {"histograms": counts})

    def _write(self, trainer: Any, line: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{trainer.global_rank}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def trained(setting: str, size: int, threads: int, runs_dir: Path) -> dict[str, Any]:
    """Runs the main job by `size` processes and returns what is compared."""
    name = f"{named(setting)}_{size}_{threads}"
    folder = runs_dir / name / "latest"
    recorded = runs_dir / name / "recorded"
    for old in recorded.glob("*.jsonl"):
        old.unlink()
    recorder = f"callbacks.recorder={{_target_: ranks_table.Recorder, folder: {recorded}}}"
    best = runs_dir / f"{named('GroupNorm, AdamW')}_1_1" / "latest" / "checkpoints" / "best.ckpt"
    chosen = [argument.format(trained=best) for argument in SETTINGS[setting]]
    arguments = [*SMALL, *chosen, f"experiment_name={name}", recorder]
    arguments += [f"trainer.devices={size}", f"trainer.num_threads={threads}"]
    status = main(["train", *arguments, f"runs_dir={runs_dir}"])
    if status != 0:
        raise SystemExit(f"{setting} by {size} processes ended with status {status}")
    ranks = [
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in sorted(recorded.glob("*.jsonl"))
    ]
    verdicts = {
        stage: json.loads((folder / "verdicts" / f"{stage}.json").read_text(encoding="utf-8"))
        for stage in ("validation", "test")
    }
    histograms = [[line["histograms"] for line in rank if "histograms" in line] for rank in ranks]
    if any(other != histograms[0] for other in histograms):
        raise SystemExit(f"{setting}: the ranks disagree about the histograms")
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "steps": steps(ranks),
        "validated": sorted(index for rank in ranks for line in rank for index in line.get("validated", [])),
        "histograms": histograms[0],
        "reliance": [
            [line["metrics"].get("val/reliance/colour"), line["intervals"].get("val/reliance/colour")]
            for line in metrics
        ],
        "verdicts": {
            stage: [{key: row[key] for key in ROW} for row in verdict["requirements"]]
            for stage, verdict in verdicts.items()
        },
    }


def named(setting: str) -> str:
    return f"ranks_table_{setting.replace(', ', '_').replace(' ', '_')}"


def steps(ranks: list[list[dict[str, Any]]]) -> list[tuple[list[int], float]]:
    """Returns the images of each step and their mean loss, over all ranks."""
    shown: dict[tuple[int, int], list[int]] = defaultdict(list)
    total: dict[tuple[int, int], float] = defaultdict(float)
    for line in (line for rank in ranks for line in rank if "shown" in line):
        key = line["epoch"], line["batch"]
        shown[key] += line["shown"]
        total[key] += line["loss"] * len(line["shown"])
    return [(sorted(shown[key]), total[key] / len(shown[key])) for key in sorted(shown)]


def compared(setting: str, size: int, threads: int, one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Returns a row of the table."""
    differences = [abs(a[1] - b[1]) for a, b in zip(one["steps"], other["steps"], strict=True)]
    epochs = len(one["histograms"])
    unique = sorted(set(one["validated"]))
    rows = [
        (a, b)
        for stage in one["verdicts"]
        for a, b in zip(one["verdicts"][stage], other["verdicts"][stage], strict=True)
    ]
    cells = [
        (a, b)
        for left, right in zip(one["histograms"], other["histograms"], strict=True)
        for name in left
        for a, b in zip(flat(left[name]), flat(right[name]), strict=True)
    ]
    return {
        "setting": setting,
        "ranks": size,
        "threads": threads,
        "steps": len(differences),
        "steps_with_the_same_images": sum(a[0] == b[0] for a, b in zip(one["steps"], other["steps"], strict=True)),
        "loss_difference_first_step": differences[0],
        "loss_difference_first_10_steps": max(differences[:10]),
        "loss_difference_largest": max(differences),
        "validation_images_each_counted_once": other["validated"] == sorted(unique * epochs),
        "histogram_cells": len(cells),
        "histogram_cells_equal": sum(a == b for a, b in cells),
        "reliance_equal": one["reliance"] == other["reliance"],
        "verdict_rows": len(rows),
        "verdict_rows_equal": sum(a == b for a, b in rows),
        "verdicts_equal": sum(a["verdict"] == b["verdict"] for a, b in rows),
    }


def flat(values: Any) -> list[int]:
    return [one for value in values for one in flat(value)] if isinstance(values, list) else [values]


def table(rows: list[dict[str, Any]]) -> str:
    """Returns Markdown: a line a setting and number of processes, each against one process."""
    heads = (
        "setting",
        "ranks",
        "steps of the same images",
        "each validation image once",
        "histogram cells equal",
        "reliance equal",
        "verdict rows equal",
        "largest difference of a step's loss: first step, first 10, all",
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        cells = (
            row["setting"],
            str(row["ranks"]) + (f", {row['threads']} threads" if row["threads"] > 1 else ""),
            f"{row['steps_with_the_same_images']} of {row['steps']}",
            "yes" if row["validation_images_each_counted_once"] else "no",
            f"{row['histogram_cells_equal']:,} of {row['histogram_cells']:,}",
            "yes" if row["reliance_equal"] else "no",
            f"{row['verdict_rows_equal']} of {row['verdict_rows']}",
            ", ".join(
                f"{row[f'loss_difference_{steps}']:.1e}" for steps in ("first_step", "first_10_steps", "largest")
            ),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/ranks_table.json"))
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    parser.add_argument("--show", type=Path, default=None)
    options = parser.parse_args()
    if options.show is not None:
        print(table(json.loads(options.show.read_text(encoding="utf-8"))["results"]))
        sys.exit(0)
    found = []
    for setting in SETTINGS:
        ways = WAYS.get(setting, USUAL_WAYS)
        one, *others = (trained(setting, *way, options.runs_dir) for way in ways)
        found += [compared(setting, *way, one, other) for way, other in zip(ways[1:], others, strict=True)]
    write_json(options.out, {"environment": environment(), "settings": {"all": SMALL, **SETTINGS}, "results": found})
    print(table(found))
