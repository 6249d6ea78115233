"""How fast an audit is beside decoding and hashing alone, and what a million rows take.

    python scripts/audit_speed.py               # bar, 64-pixel shapes, then 10,000 and 1,000,000 rows; 6 minutes
    python scripts/audit_speed.py --only rows   # the rows alone

Images: `data.scan` decodes, digests and hashes every image of a prepared data set anew; an audit without embeddings
(`audit.skip=[label_errors]`) decodes them, measures, and runs every chapter. Both several times in turn; the medians
are compared, by the clock and by processor time, which other work on the machine changes little. Rows: every chapter
that reads no pixels, on synthetic rows, in a process of its own for each size, whose largest resident memory is read.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from evensight.audit.audit import CHAPTERS, audit
from evensight.audit.data import AuditData, Scores
from evensight.audit.properties import COLUMNS
from evensight.audit.scoring import score
from evensight.compose import compose
from evensight.config import AuditConfig
from evensight.data.prepare import prepare
from evensight.data.scan import scan
from evensight.data.similar import hash_and_thumbnail, let_go
from evensight.environment import environment
from evensight.files import write_json
from evensight.objective.objective import Objective
from evensight.progress import silent

SETS = {"bar": ("experiment=bar",), "shapes, 64 px": ("experiment=shapes",)}
SIZES = (10_000, 1_000_000)
OF_FILES = ("label_errors",)  # reads pixels


def images(repeats: int, folder: Path) -> dict[str, Any]:
    """Times both on each data set."""
    found = {}
    for name, overrides in SETS.items():
        config = compose(list(overrides))
        manifest, objective = prepare(config.data, Objective.from_config(asdict(config.objective)), folder, silent)
        settings = AuditConfig(skip=["label_errors"])
        alone, whole, measuring = [], [], []
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as empty:
                rows = manifest.frame.drop("pixel_sha256", "width", "height", "error")
                start, used = time.perf_counter(), time.process_time()
                scan(manifest.root, rows, Path(empty), config.data.max_pixels, silent)
                alone.append((time.perf_counter() - start, time.process_time() - used))
            shutil.rmtree(manifest.folder / "audit", ignore_errors=True)
            start, used = time.perf_counter(), time.process_time()
            result = audit(manifest, objective, config.data, settings, silent)
            whole.append((time.perf_counter() - start, time.process_time() - used))
            shutil.rmtree(manifest.folder / "audit", ignore_errors=True)
            start, used = time.perf_counter(), time.process_time()
            score(manifest, [], manifest.folder / "audit", config.data.max_pixels, None, silent)
            measuring.append((time.perf_counter() - start, time.process_time() - used))
        num = len(manifest.frame)
        seconds = {"decode_and_hash": alone, "audit": whole, "measuring": measuring}
        wall = {key: statistics.median(pair[0] for pair in pairs) for key, pairs in seconds.items()}
        used_by = {key: statistics.median(pair[1] for pair in pairs) for key, pairs in seconds.items()}
        found[name] = {
            "images": num,
            "seconds_and_processor_seconds": seconds,
            "chapters_seconds": result.seconds,
            "images_per_second_alone": num / wall["decode_and_hash"],
            "images_per_second_audit": num / wall["audit"],
            "share_of_speed": wall["decode_and_hash"] / wall["audit"],
            "share_of_speed_measuring": wall["decode_and_hash"] / wall["measuring"],
            "share_by_processor": used_by["decode_and_hash"] / used_by["audit"],
            "share_by_processor_measuring": used_by["decode_and_hash"] / used_by["measuring"],
        }
        shown = {key: round(value, 3) for key, value in found[name].items() if isinstance(value, float)}
        print(name, shown, flush=True)
    return found


def synthetic(num: int, folder: Path, seed: int = 0) -> AuditData:
    """Rows of ten classes with two attributes, three annotators a tenth of them, and a cue that says the class of half.

    Features and thumbnails are files, mapped, as they are of a real data set of this size.
    """
    rng = np.random.default_rng(seed)
    objective = Objective.from_config(asdict(compose(["experiment=shapes"]).objective))
    labels = rng.integers(0, 8, num)
    levels = objective.levels
    attributes = {name: rng.integers(0, len(names), num) for name, names in levels.items()}
    attributes["colour"] = np.where(rng.random(num) < 0.5, labels, attributes["colour"])
    splits = np.array(["train", "validation", "test"])[rng.choice(3, num, p=(0.7, 0.1, 0.2))]
    hashed, thumbnail = hash_and_thumbnail(np.zeros((8, 8, 3), np.uint8))
    thumbnails = np.memmap(folder / "thumbnails", np.uint8, "w+", shape=(num, *thumbnail.shape))
    features = np.memmap(folder / "colour", np.float32, "w+", shape=(num, 24))
    for start in range(0, num, 50_000):
        part = slice(start, min(start + 50_000, num))
        thumbnails[part] = rng.integers(0, 256, thumbnails[part].shape, np.uint8)
        features[part] = rng.standard_normal(features[part].shape) + np.eye(24)[attributes["colour"][part]] * 5
        for mapped in (thumbnails, features):  # as `audit.scoring` leaves them
            mapped.flush()
            let_go(mapped)
    hashes = rng.integers(0, 2**63, (num, len(hashed)), np.int64).astype(np.uint64)
    counts = {}
    for split in ("train", "validation", "test"):
        here = splits == split
        counts[split] = {"overall": np.bincount(labels[here], minlength=8)}
        for name, names in levels.items():
            cell = labels[here] * len(names) + attributes[name][here]
            counts[split][name] = np.bincount(cell, minlength=8 * len(names)).reshape(8, len(names))
    labelled = rng.choice(num, num // 10, replace=False)
    classes = np.array(objective.class_names)
    annotations = pl.DataFrame(
        {
            "row": np.tile(labelled, 3),
            "annotator": np.repeat(np.array(["anna", "ben", "cleo"]), len(labelled)),
            "label": classes[np.where(rng.random(3 * len(labelled)) < 0.1, 0, np.tile(labels[labelled], 3))],
        }
    )
    return AuditData(
        classes=objective.class_names,
        levels=levels,
        splits=splits,
        labels=labels,
        attributes=attributes,
        scores=Scores(_properties(num, rng), hashes, thumbnails, {"colour": features}, np.ones(num, np.bool_)),
        objective=objective,
        open_test=True,
        counts=counts,
        row_ids=[f"{i:064x}#0" for i in range(num)],
        paths=[f"{i}.jpg" for i in range(num)],
        annotations=annotations,
    )


def _properties(num: int, rng: np.random.Generator) -> pl.DataFrame:
    made = {
        pl.String: lambda name: {"taken": "2026-01-01T10:00:00"}.get(name, "JPEG" if "format" in name else "RGB"),
        pl.Boolean: lambda name: False,
    }
    columns = []
    for name, kind in COLUMNS.items():
        if kind == pl.Float64:
            columns.append(pl.Series(name, rng.uniform(0.3, 0.7, num)))
        elif kind == pl.Int64:
            columns.append(pl.Series(name, rng.integers(400, 600, num)))
        else:
            columns.append(pl.Series(name, [made[kind](name)], kind).extend_constant(made[kind](name), num - 1))
    return pl.DataFrame(columns)


def rows_of(num: int) -> dict[str, Any]:
    """Runs the chapters on synthetic rows in this process."""
    import importlib

    with tempfile.TemporaryDirectory() as folder:
        data = synthetic(num, Path(folder))
        made = _resident()
        seconds, used_by, most = {}, {}, {}
        for name in (name for name in CHAPTERS if name not in OF_FILES):
            start, used = time.perf_counter(), time.process_time()
            importlib.import_module(f"evensight.audit.{name}").chapter(data, AuditConfig(), silent)
            seconds[name] = round(time.perf_counter() - start, 3)
            used_by[name] = round(time.process_time() - used, 3)
            most[name] = _resident()
    return {
        "rows": num,
        "seconds": seconds,
        "processor_seconds": used_by,
        "resident_bytes_after": most,
        "resident_bytes_made": made,
        "resident_bytes": _resident(),
    }


def _resident() -> int:
    # Not ru_maxrss, which begins at what the process that started this one had.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def rows() -> dict[str, Any]:
    """Runs each size in a process of its own."""
    found = []
    for num in SIZES:
        command = [sys.executable, __file__, "--rows", str(num)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found.append(json.loads(told.splitlines()[-1]))
        print(found[-1], flush=True)
    more = found[-1]["resident_bytes"] - found[0]["resident_bytes"]
    total = {key: sum(found[-1][key].values()) for key in ("seconds", "processor_seconds")}
    return {"sizes": found, "resident_bytes_more": more, **total}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="benchmarks/audit_speed.json")
    parser.add_argument("--datasets", default="datasets")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=("images", "rows"))
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rows:
        print(json.dumps(rows_of(options.rows)))
        return
    result: dict[str, Any] = {"schema_version": 1}
    if options.only != "rows":
        result["images"] = images(options.repeats, Path(options.datasets).absolute())
    if options.only != "images":
        result["rows"] = rows()
    known = environment()
    kept = ("evensight", "python", "processor", "cores", "memory_bytes", "packages", "commit", "command", "started")
    write_json(Path(options.out), {**result, "environment": {key: known[key] for key in kept}})


if __name__ == "__main__":
    main()
