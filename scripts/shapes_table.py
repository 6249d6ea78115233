"""The README's table: shapes trained with and without the shortcut, several seeds, judged on the test split.

    python scripts/shapes_table.py                                    # 5 seeds x 2 correlations, 15 minutes on 2 cores
    python scripts/shapes_table.py --show results/shapes_table.json   # prints the table of a file again

Each seed draws its own images (`data.seed`) and its own weights and order (`seed`). Writes a JSON file with every
figure, its interval and n, the hardware and the versions, and prints the table.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from evensight.cli import main
from evensight.environment import environment
from evensight.files import write_json

SHOWN = ("accuracy", "accuracy of conflicting images (colour)", "reliance on colour")


def one(seed: int, correlation: float, runs_dir: str) -> dict[str, Any]:
    """Trains, exports and judges one model, and returns what the table needs of its test verdict."""
    started = time.monotonic()
    name = f"shapes_table_{correlation:g}_{seed}"
    arguments = ["train", "experiment=shapes", f"seed={seed}", f"data.seed={seed}", f"data.correlation={correlation}"]
    status = main([*arguments, f"experiment_name={name}", f"runs_dir={runs_dir}"])
    if status != 0:
        raise SystemExit(f"{' '.join(arguments)} ended with status {status}")
    verdict = json.loads((Path(runs_dir) / name / "latest" / "verdicts" / "test.json").read_text(encoding="utf-8"))
    rows = {row["label"]: {key: row[key] for key in ("estimate", "low", "high", "n", "verdict", "bound")}
            for row in verdict["requirements"]}  # fmt: skip
    return {
        "seed": seed,
        "correlation": correlation,
        "verdict": verdict["verdict"],
        "seconds": round(time.monotonic() - started, 1),
        "rows": rows,
        "decided_by": verdict.get("extra", {}).get("decided_by", []),
        "truth": verdict.get("extra", {}).get("truth", {}),
    }


def table(results: list[dict[str, Any]]) -> str:
    """Returns Markdown: a line a correlation; each figure as its range over seeds, with the outermost interval ends."""
    heads = ("correlation", "verdicts", *SHOWN, "the same by redrawing", "conflicting decided by colour", "seconds")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for correlation in sorted({result["correlation"] for result in results}):
        chosen = [result for result in results if result["correlation"] == correlation]
        verdicts = [result["verdict"] for result in chosen]
        counted = ", ".join(f"{verdicts.count(name)} of {len(verdicts)} {name}" for name in sorted(set(verdicts)))
        cells = [span([result["rows"][label] for result in chosen], "estimate") for label in SHOWN]
        cells.append(span([result["truth"]["colour"] for result in chosen], "share"))
        cells.append(span([result["decided_by"][0] for result in chosen], "share"))
        seconds = [result["seconds"] for result in chosen]
        lines.append(
            f"| {correlation:g} | {counted} | {' | '.join(cells)} | {min(seconds):.0f} to {max(seconds):.0f} |"
        )
    return "\n".join(lines)


def span(rows: list[dict[str, Any]], key: str) -> str:
    """Returns the smallest and largest figure, then the outermost ends of their intervals and n."""
    low, high = min(row[key] for row in rows), max(row[key] for row in rows)
    ends = f"{max(0.0, min(row['low'] for row in rows)):.3f} to {max(row['high'] for row in rows):.3f}"
    return f"{low:.3f} to {high:.3f} ({ends}; n {rows[0]['n']:,})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results/shapes_table.json"))
    parser.add_argument("--runs-dir", default="runs")
    parser.add_argument("--show", type=Path, default=None)
    options = parser.parse_args()
    if options.show is not None:
        print(table(json.loads(options.show.read_text(encoding="utf-8"))["results"]))
        raise SystemExit(0)
    found = [one(seed, correlation, options.runs_dir) for correlation in (0.0, 0.95)
             for seed in range(1, options.seeds + 1)]  # fmt: skip
    write_json(options.out, {"environment": environment(), "results": found})
    print(table(found))
