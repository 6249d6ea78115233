"""How a learning rate is chosen: by worst-class accuracy on validation images that carry the training bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bias_table.jobs import Commands, Job, run_all
from bias_table.row import Row

CANDIDATES = (1.0e-3, 3.0e-3, 6.0e-3)
SEED = 101  # of no row


def candidates(row: Row, folder: Path) -> list[Job]:
    """Returns the row's command with each learning rate; the test split is not looked at.

    The settings come after the row's own, whose later word counts.
    """
    rows = [
        replace(
            row,
            name=f"{row.name}-lr-{lr:g}",
            overrides=(*row.overrides, f"optimizer.lr={lr}", "test=false"),
            stage="validation",
        )
        for lr in CANDIDATES
    ]
    return [Job(one, SEED, folder / "select") for one in rows]


def select(rows: Sequence[Row], folder: Path, num_processes: int, commands: Commands) -> int:
    """Trains what is not stored, prints each rate with its validation figures, and returns the exit status."""
    failed = []
    for row in rows:
        left = [job for job in candidates(row, folder) if job.stored() is None]
        failed += run_all(left, num_processes, commands, lambda job, result: None)
        print(table(row, tried(row, folder)))
    return 1 if failed else 0


def tried(row: Row, folder: Path) -> list[tuple[float, dict[str, Any]]]:
    """Returns the learning rates that were tried for a row, each with its figures on validation images."""
    results = [(lr, job.stored()) for lr, job in zip(CANDIDATES, candidates(row, folder), strict=True)]
    return [(lr, result) for lr, result in results if result is not None]


def table(row: Row, results: Sequence[tuple[float, Mapping[str, Any]]]) -> str:
    """Returns Markdown: a line a learning rate, the best worst class first."""
    lines = [
        f"{row.name}, validation images, seed {SEED}:",
        "| learning rate | worst class | n | accuracy |",
        "|---" * 4 + "|",
    ]
    for lr, result in sorted(results, key=lambda pair: -pair[1]["worst_class"]["estimate"]):
        worst = result["worst_class"]
        cells = (f"{lr:g}", f"{worst['estimate']:.4f}", worst["n"], f"{result['accuracy']['estimate']:.4f}")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)
