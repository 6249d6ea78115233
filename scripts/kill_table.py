"""Kills a small run of shapes at random moments, resumes it, and holds it against one that was left alone.

    python scripts/kill_table.py                                   # 20 moments, 20 minutes on 2 cores
    python scripts/kill_table.py --show results/kill_table.json    # prints the table of a file again

Every run is a process of its own with its own folder for data, so drawing the images is among what is killed; kill -9
goes to its whole process group at a moment drawn evenly over the time an uninterrupted run takes. Then every file in
the folder is read, `resume=true` goes on until it finishes, and weights, verdicts, predictions and metrics are compared
to the bit. A moment before the run folder exists, or after the run has finished, is drawn again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file

from evensight.environment import environment
from evensight.files import write_json

REPOSITORY = Path(__file__).parent.parent
# Small batches and a checkpoint every third step, so that many moments fall between two checkpoints of an epoch.
ARGUMENTS = (
    *("experiment=shapes", "debug=fast", "trainer=cpu", "trainer.max_epochs=2", "trainer.num_threads=1"),
    *("data.batch_size=32", "trainer.checkpoint_every.steps=3", "trainer.checkpoint_every.minutes=null"),
    *("model.drop_rate=0.2", "ema.enabled=true", "augment=dihedral"),
)
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")
_POLL = 0.002  # seconds


class Place:
    """Where one run is made: its own runs and data sets."""

    def __init__(self, folder: Path) -> None:
        self.runs, self.datasets = folder / "runs", folder / "datasets"

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts a command in a process group of its own; what it says goes to `said.txt`."""
        self.runs.mkdir(parents=True, exist_ok=True)
        path = [str(REPOSITORY / "src"), os.environ.get("PYTHONPATH", "")]
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), "OMP_NUM_THREADS": "1"}
        with (self.runs / "said.txt").open("ab") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "evensight", "train", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=variables,
                start_new_session=True,
            )

    def begin(self) -> subprocess.Popen[bytes]:
        """Starts a new run."""
        return self.start(*ARGUMENTS, f"runs_dir={self.runs}", f"datasets_dir={self.datasets}")

    @property
    def run(self) -> Path | None:
        """The run folder, once it holds a configuration."""
        found = [path.parent for path in self.runs.glob("shapes/2*/config.yaml")]
        return found[0] if found else None

    def go_on(self) -> subprocess.Popen[bytes]:
        """Starts to go on with the run."""
        return self.start(f"run={self.run}", "resume=true")

    def resume(self) -> int:
        """Goes on with the run until it is finished and returns the process's status."""
        return self.go_on().wait()


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kills a process and all that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until(process: subprocess.Popen[bytes], reached: Callable[[], bool]) -> bool:
    """Waits for something to be true of the folder; returns whether it was before the process ended."""
    while not reached():
        if process.poll() is not None:
            return False
        time.sleep(_POLL)
    return True


def past(moment: float) -> Callable[[], bool]:
    """Returns a function that says whether the clock has passed a moment."""
    return lambda: time.monotonic() >= moment


def stage_of(run: Path) -> str:
    """Names what the run was doing, by the files it had left."""
    metrics = run / "metrics.jsonl"
    epochs = metrics.read_bytes().count(b"\n") if metrics.is_file() else 0
    for stage, done in (
        ("drawing data", (run / "objective.json").is_file()),
        ("preparing", (run / "findings.json").is_file()),
        ("training, no checkpoint yet", (run / "checkpoints" / "last.ckpt").is_file()),
        ("training, epoch 1", epochs >= 1),
        ("training, epoch 2", epochs >= 2),
        ("exporting", (run / "artifact" / "SHA256SUMS").is_file()),
        ("judging validation", (run / "verdicts" / "validation.json").is_file()),
        ("testing", (run / "verdicts" / "test.json").is_file()),
        ("reporting", (run / "report.html").is_file()),
        ("closing", (run / "finished.json").is_file()),
    ):
        if not done:
            return stage
    return "finished"


def _lines(path: Path) -> list[dict[str, Any]]:
    # What follows the last line break was cut short, and is repaired when the run goes on.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def _whole_page(path: Path) -> None:
    if not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
        raise ValueError("cut short")


READERS: dict[str, Callable[[Path], Any]] = {
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".jsonl": _lines,
    ".yaml": OmegaConf.load,
    ".parquet": pl.read_parquet,
    ".ckpt": lambda path: torch.load(path, map_location="cpu", weights_only=True),
    ".safetensors": load_file,
    ".png": lambda path: Image.open(path).load(),
    ".npy": np.load,
    ".html": _whole_page,
}


def unreadable(*folders: Path) -> list[str]:
    """Reads every file that a later stage reads, and returns those that cannot be.

    Images of a data set count once its `drawn.json` says that they are all there: until then they are drawn again.
    """
    broken = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if any(_TEMPORARY.fullmatch(part) for part in path.relative_to(folder).parts) or not path.is_file():
                continue
            if path.parent.parent.name == "images" and not (path.parent.parent.parent / "drawn.json").exists():
                continue
            try:
                READERS.get(path.suffix, Path.read_bytes)(path)
            except Exception as error:
                broken.append(f"{path.relative_to(folder)}: {type(error).__name__}: {error}")
    return broken


def _tensors(path: Path) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def _epochs(path: Path) -> list[dict[str, Any]]:
    lines = _lines(path)
    for line in lines:
        line.pop("seconds")
        line["metrics"].pop("train/images_per_second", None)
    return lines


def checkpoint_digest(path: Path) -> str:
    """Returns the SHA-256 of a checkpoint's weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(torch.load(path, map_location="cpu", weights_only=True)["state_dict"].items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def results_of(run: Path) -> dict[str, Any]:
    """Returns what two runs are compared by: all of it must be equal to the bit."""
    found: dict[str, Any] = {
        "weights": _tensors(run / "artifact" / "weights.safetensors"),
        "donors": _tensors(run / "artifact" / "donors.safetensors"),
        "identity": json.loads((run / "artifact" / "contract.json").read_text(encoding="utf-8"))["identity"],
        "best.ckpt": checkpoint_digest(run / "checkpoints" / "best.ckpt"),
        "last.ckpt": checkpoint_digest(run / "checkpoints" / "last.ckpt"),
        "metrics.jsonl": _epochs(run / "metrics.jsonl"),
        "objective.json": (run / "objective.json").read_text(encoding="utf-8"),
    }
    for stage in ("validation", "test"):
        found[f"verdict {stage}"] = json.loads((run / "verdicts" / f"{stage}.json").read_text(encoding="utf-8"))
        table = pl.read_parquet(run / "predictions" / f"{stage}.parquet")
        found[f"predictions {stage}"] = table.write_json()
    return found


def differing(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Returns the names of the parts that are not equal."""
    return [name for name in expected if found.get(name) != expected[name]]


def finish(place: Place, process: subprocess.Popen[bytes], expected: dict[str, Any]) -> dict[str, Any] | None:
    """Kills a run, reads its folder, resumes it and compares; None if it had no folder yet, or had finished."""
    if process.poll() is None:
        kill(process)
    run = place.run
    if run is None or (run / "finished.json").exists():
        return None
    row: dict[str, Any] = {
        "stage": stage_of(run),
        "files": len([path for path in run.rglob("*") if path.is_file()]),
        "temporaries": len([path for path in place.runs.parent.rglob(".*.tmp") if _TEMPORARY.fullmatch(path.name)]),
        "unreadable": unreadable(run, place.datasets),
    }
    row["status"] = place.resume()
    row["left"] = sorted(path.name for path in run.rglob(".*.tmp"))
    row["differs"] = differing(expected, results_of(run)) if row["status"] == 0 else ["it did not finish"]
    row["equal"] = not (row["differs"] or row["unreadable"] or row["left"])
    return row


def uninterrupted(place: Place) -> tuple[dict[str, Any], float]:
    """Returns what a run that is left alone comes to, and how many seconds it takes."""
    started = time.monotonic()
    process = place.begin()
    if process.wait() != 0:
        raise SystemExit((place.runs / "said.txt").read_text(encoding="utf-8"))
    seconds = time.monotonic() - started
    assert place.run is not None
    return results_of(place.run), seconds


def table(found: dict[str, Any]) -> str:
    """Returns Markdown: a line a moment."""
    heads = ("killed after", "in", "files", "half written", "all readable", "resumed", "equal to the bit")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in sorted(found["moments"], key=lambda row: row["seconds"]):
        readable = "yes" if not row["unreadable"] else "; ".join(row["unreadable"])
        equal = "yes" if row["equal"] else f"no: {', '.join([*row['differs'], *row['left']])}"
        cells = (
            f"{row['seconds']:.2f} s",
            row["stage"],
            row["files"],
            row["temporaries"],
            readable,
            row["status"],
            equal,
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    equal = sum(row["equal"] for row in found["moments"])
    lines.append(f"\n{equal} of {len(found['moments'])} equal; an uninterrupted run takes {found['whole']:.1f} s")
    return "\n".join(lines)


def measure(count: int, seed: int) -> dict[str, Any]:
    """Kills `count` runs at moments drawn with `seed`."""
    draw, rows, again = random.Random(seed), [], 0
    with tempfile.TemporaryDirectory() as folder:
        expected, whole = uninterrupted(Place(Path(folder) / "whole"))
        while len(rows) < count:
            moment = draw.uniform(0.0, whole)
            place = Place(Path(folder) / f"{len(rows)}-{again}")
            started = time.monotonic()
            process = place.begin()
            wait_until(process, past(started + moment))
            row = finish(place, process, expected)
            shutil.rmtree(Path(folder) / f"{len(rows)}-{again}", ignore_errors=True)
            if row is None:
                again += 1
                continue
            rows.append({"seconds": round(moment, 3), **row})
            print(f"{len(rows)}/{count}", rows[-1], flush=True)
    return {"environment": environment(), "whole": whole, "drawn_again": again, "seed": seed, "moments": rows}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/kill_table.json"))
    parser.add_argument("--show", type=Path, default=None)
    options = parser.parse_args()
    measured = (
        json.loads(options.show.read_text(encoding="utf-8")) if options.show else measure(options.moments, options.seed)
    )
    if options.show is None:
        write_json(options.out, measured)
    print(table(measured))
    raise SystemExit(0 if all(row["equal"] for row in measured["moments"]) else 1)
