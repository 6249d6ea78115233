"""What one run gives to the table, read from the files that the real command left: two-sided 95 % intervals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight.metrics.intervals import clopper_pearson
from evensight.metrics.paired import tango_interval

TAIL = 0.025  # of either side

Bools = NDArray[np.bool_]


def rate(right: Bools) -> dict[str, Any] | None:
    """Returns a share with n and its interval (Clopper and Pearson); None of nothing."""
    x, n = int(right.sum()), len(right)
    if n == 0:
        return None
    low, high = clopper_pearson(x, n, TAIL)
    return {"estimate": x / n, "low": float(low), "high": float(high), "n": n}


def difference(first: Bools, second: Bools) -> dict[str, Any]:
    """Returns how much more often the first happened than the second on the same images (Tango's interval)."""
    only_first, only_second, n = int((first & ~second).sum()), int((second & ~first).sum()), len(first)
    low, high = tango_interval(only_first, only_second, n, TAIL)
    return {"estimate": (only_first - only_second) / n, "low": float(low), "high": float(high), "n": n}


def of_run(folder: Path, conflicting: str | None, stage: str = "test") -> dict[str, Any]:
    """Returns every figure of a finished run.

    Args:
        folder: Of the run.
        conflicting: Attribute whose conflicting images are counted.
        stage: Whose images: test or validation.
    """
    contract = json.loads((folder / "artifact" / "contract.json").read_text(encoding="utf-8"))
    table = pl.read_parquet(folder / "predictions" / f"{stage}.parquet").filter(pl.col("prediction").is_not_null())
    label, prediction = (table[name].to_numpy() for name in ("label", "prediction"))
    right = label == prediction
    classes = {name: rate(right[label == place]) for place, name in enumerate(contract["classes"])}
    known = {name: value for name, value in classes.items() if value is not None}
    worst = min(known, key=lambda name: known[name]["estimate"])
    return {
        "accuracy": rate(right),
        "conflicting": _conflicting(table, contract, right, conflicting),
        "worst_class": {**known[worst], "class": worst},
        "classes": {name: {key: value[key] for key in ("estimate", "n")} for name, value in known.items()},
        "reliance": _reliance(table),
        "redraw": _redraw(table),
        **_verdict(folder),
        "training": _training(folder),
    }


def _conflicting(
    table: pl.DataFrame, contract: Mapping[str, Any], right: Bools, attribute: str | None
) -> dict[str, Any] | None:
    """Accuracy of the images whose level is not their class's usual one; images of unknown level are in neither."""
    if attribute is None or attribute not in contract["usual"]:
        return None
    usual = np.array(contract["usual"][attribute])
    level = table[f"attribute:{attribute}"].fill_null(-1).to_numpy()
    other = (level >= 0) & (level != usual[table["label"].to_numpy()])
    found = rate(right[other])
    return None if found is None else {**found, "attribute": attribute}


def _reliance(table: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Returns cue -> operator -> reliance: how much oftener a transplant moves the decision than its placebo."""
    found: dict[str, dict[str, Any]] = {}
    for column in table.columns:
        if not (column.startswith("reliance:") and column.endswith(":transplant")):
            continue
        _, cue, operator, _ = column.split(":")
        both = table.select(first=column, second=column.replace(":transplant", ":placebo")).drop_nulls()
        if len(both):
            moved, placebo = both["first"].to_numpy(), both["second"].to_numpy()
            found.setdefault(cue, {})[operator] = difference(moved, placebo)
    return found


def _redraw(table: pl.DataFrame) -> dict[str, Any]:
    """Returns cue -> share of images that the generator's redraw in the donor's level moves to the donor's class."""
    columns = [name for name in table.columns if name.startswith("truth:") and name.count(":") == 1]
    shares = {name.partition(":")[2]: rate(table[name].drop_nulls().to_numpy()) for name in columns}
    return {cue: share for cue, share in shares.items() if share is not None}


def _verdict(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for stage in ("test", "validation"):
        path = folder / "verdicts" / f"{stage}.json"
        if not path.is_file():
            continue
        file = json.loads(path.read_text(encoding="utf-8"))
        missed = [row["label"] for row in file["requirements"] if row["verdict"] not in ("PASS", None)]
        found[stage] = {"verdict": file["verdict"], "not_passed": missed}
        if stage == "test":
            found["decided_by"] = file["extra"].get("decided_by", [])
    return found


def _training(folder: Path) -> dict[str, Any]:
    """Returns epochs, their seconds and images a second: of an epoch the median, as the first one warms up."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    speeds = [line["metrics"]["train/images_per_second"] for line in lines if _speed(line)]
    seconds = [float(line["seconds"]) for line in lines]  # of each epoch
    return {
        "epochs": len(lines),
        "seconds": round(sum(seconds), 2) if lines else None,
        "epoch_seconds": round(float(np.median(seconds)), 3) if lines else None,
        "images_per_second": round(float(np.median(speeds)), 1) if speeds else None,
    }


def _speed(line: Mapping[str, Any]) -> bool:
    return line["metrics"].get("train/images_per_second") is not None


def of_audit(folder: Path) -> dict[str, Any]:
    """Returns what an audit said: alarms and warnings by code and cue, and its shortcuts, the most dangerous first."""
    findings = json.loads((folder / "findings.json").read_text(encoding="utf-8"))["findings"]
    loud = [one for one in findings if one["severity"] != "note"]
    shortcuts = [
        {key: one["evidence"].get(key) for key in ("cue", "accuracy", "low", "high", "n", "why")}
        | {"severity": one["severity"]}
        for one in loud
        if one["chapter"] == "shortcuts"
    ]
    said = [
        " ".join(filter(None, (one["severity"], one["code"], str(one["evidence"].get("cue", "")))))
        for one in loud
        if one["severity"] == "alarm"
    ]
    return {"alarms": said, "shortcuts": shortcuts}
