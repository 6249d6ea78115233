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
    for row in rows:
        jobs = candidates(row, folder)
        run_all([job for job in jobs if job.stored() is None], num_processes, commands, lambda job, result: None)
        results = [(lr, job.stored()) for lr, job in zip(CANDIDATES, jobs, strict=True)]
        print(table(row, [(lr, result) for lr, result in results if result is not None]))
    return 0


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
