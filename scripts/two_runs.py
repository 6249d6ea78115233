"""The README's first picture: shapes trained as it is, and with the setting that turns the model to shape.

    python scripts/two_runs.py                       # trains both, 4 to 5 minutes on 2 cores, and draws
    python scripts/two_runs.py --show runs/two_runs  # draws two runs again that are there

Writes `results/two_runs.png` and the figures in it as `results/two_runs.json`. The test images are the first
conflicting one of each shape, chosen by nothing else.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib
import polars as pl
from PIL import Image

from evensight.cli import main
from evensight.environment import environment
from evensight.files import write_json

matplotlib.use("Agg")

RUNS = {"as_it_is": ("experiment=shapes",), "shape": ("experiment=shapes", "focus=shape")}
SHOWN = ("accuracy", "accuracy of conflicting images (colour)", "reliance on colour")
RIGHT, WRONG = "#1a7f37", "#b42318"


def trained(folder: Path) -> None:
    """Trains the two runs of the picture, on the same images."""
    for name, overrides in RUNS.items():
        places = [f"experiment_name={name}", f"runs_dir={folder}", f"datasets_dir={folder / 'datasets'}"]
        if main(["train", *overrides, "reliance.every_n_epochs=1", *places]) != 0:
            raise SystemExit(f"{' '.join(overrides)} failed")


def figures(run: Path) -> dict[str, Any]:
    """Returns the test verdict's figures and reliance on colour by epoch."""
    verdict = json.loads((run / "verdicts" / "test.json").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = {row["label"]: {key: row[key] for key in ("estimate", "low", "high", "n")}
            for row in verdict["requirements"] if row["label"] in SHOWN}  # fmt: skip
    measured = [line for line in lines if "val/reliance/colour" in line["metrics"]]
    return {
        "verdict": verdict["verdict"],
        "rows": rows,
        "epochs": [line["epoch"] + 1 for line in measured],
        "reliance": [line["metrics"]["val/reliance/colour"] for line in measured],
    }


def chosen(run: Path) -> list[dict[str, Any]]:
    """Returns the first conflicting test image of each class with what the run's artifact says of it."""
    contract = json.loads((run / "artifact" / "contract.json").read_text(encoding="utf-8"))
    classes, colours = contract["classes"], contract["attributes"]["colour"]
    usual = [colours[level] for level in contract["usual"]["colour"]]
    table = pl.read_parquet(run / "predictions" / "test.parquet")
    found = []
    for label, own in enumerate(usual):
        row = table.filter((pl.col("label") == label) & (pl.col("attribute:colour") != colours.index(own))).row(
            0, named=True
        )
        found.append({"path": row["path"], "label": classes[label], "says": classes[row["prediction"]]})
    return found


def draw(folder: Path, out: Path) -> dict[str, Any]:
    """Draws the two runs one above the other; returns the figures."""
    from matplotlib import pyplot as plt

    (images,) = {path.parents[1] for path in (folder / "datasets").glob("shapes/*/images/test")}
    found: dict[str, Any] = {}
    figure = plt.figure(figsize=(12, 5.4), dpi=110)
    parts = figure.subfigures(2, 1, hspace=0.02)
    for part, (name, overrides) in zip(parts, RUNS.items(), strict=True):
        run = (folder / name / "latest").resolve()
        found[name] = figures(run)
        verdict, rows = found[name]["verdict"], found[name]["rows"]
        part.suptitle(
            f"python train.py {' '.join(overrides)}    {verdict}    "
            f"conflicting images right: {rows[SHOWN[1]]['estimate']:.3f}    reliance on colour: "
            f"{rows[SHOWN[2]]['estimate']:.3f}",
            x=0.01, ha="left", fontsize=10.5, weight="bold", color=RIGHT if verdict == "PASS" else WRONG,
        )  # fmt: skip
        grid = part.add_gridspec(2, 13, left=0.01, right=0.985, top=0.84, bottom=0.13, wspace=0.15, hspace=0.45)
        for place, path in enumerate(seen(run, folder / "shape" / "latest")):
            axis = part.add_subplot(grid[place // 4, place % 4])
            _show(axis, path, "the network sees in training" if place == 0 else "", "black", "left")
        for place, each in enumerate(chosen(run)):
            axis = part.add_subplot(grid[place // 4, 4 + place % 4])
            right = each["says"] == each["label"]
            _show(
                axis, images / "images" / each["path"].removeprefix("images/"), each["says"], RIGHT if right else WRONG
            )
        axis = part.add_subplot(grid[:, 9:])
        axis.plot(found[name]["epochs"], found[name]["reliance"], marker="o", markersize=3, color="#0969da")
        axis.axhline(0.05, color=WRONG, linestyle="--", linewidth=1)
        axis.set(ylim=(-0.03, 1), title="reliance on colour by epoch; the bound is .05")
        axis.title.set_fontsize(9)
        axis.tick_params(labelsize=8)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
    return found


def seen(run: Path, focused: Path) -> list[Path]:
    """Returns eight training images as a run's network sees them; the same eight for both runs."""
    record = json.loads((focused / "focus.json").read_text(encoding="utf-8"))
    key = "after" if run.resolve() == focused.resolve() else "before"
    return [focused / pair[key] for pair in record["sees"]][:8]


def _show(axis: Any, path: Path, title: str, colour: str, place: str = "center") -> None:
    axis.imshow(Image.open(path))
    axis.set_axis_off()
    axis.set_title(title, fontsize=8.5, color=colour, loc=place, pad=2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=Path("results/two_runs.png"))
    options = parser.parse_args()
    place = options.show or Path("runs/two_runs")
    if options.show is None:
        trained(place)
    result = draw(place, options.out)
    made_on = {key: value for key, value in environment().items() if key not in ("host", "command")}
    write_json(options.out.with_suffix(".json"), {"environment": made_on, "runs": result})
