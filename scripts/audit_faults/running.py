"""Runs trials on all cores and counts what was found."""

from __future__ import annotations

import importlib
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from trials import Pools, Trial, trials

from evensight.config import AuditConfig
from evensight.metrics.intervals import clopper_pearson
from evensight.progress import silent

CHUNK = 25  # data sets a process takes at once
_TRIALS: list[Trial] = []  # of a process: draws are closures, which cannot be sent, so each process lists them anew


@dataclass(frozen=True)
class Counted:
    """Of some data sets of one trial."""

    found: int
    num: int
    said: Counter[str]  # findings by severity, code and cue
    seconds: float


def run_all(
    pools: Pools,
    chapter: str,
    clean: int,
    faulty: int,
    num_processes: int,
    tell: Callable[[str], None],
    data: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Runs the trials of one chapter.

    Args:
        pools: What is drawn from.
        chapter: Name of the chapter.
        clean: Data sets without a fault, of each kind.
        faulty: Data sets with a fault, of each kind and strength.
        num_processes: How many draw at once.
        tell: Told of each row.
        data: Data sets to draw from; none is all.

    Returns:
        A row of the table for each trial.
    """
    given = _listed(pools, chapter, clean, faulty, data)
    for trial in given:
        trial.draw(np.random.default_rng(0))  # makes the pool, before several processes would
    rows = []
    # Spawned: a forked polars waits forever for threads that it lost.
    with ProcessPoolExecutor(
        num_processes, get_context("spawn"), _begin, (pools.folder, chapter, clean, faulty, data)
    ) as executor:
        futures = [
            [executor.submit(_chunk, number, start) for start in range(0, trial.draws, CHUNK)]
            for number, trial in enumerate(given)
        ]
        for trial, parts in zip(given, futures, strict=True):
            counted = [part.result() for part in parts]
            rows.append(row_of(trial, counted))
            tell(line_of(rows[-1]))
    return rows


def _listed(pools: Pools, chapter: str, clean: int, faulty: int, data: Sequence[str]) -> list[Trial]:
    listed = [each for each in trials(pools, clean, faulty) if each.chapter == chapter]
    return [each for each in listed if not data or each.data in data]


def _begin(folder: Path, chapter: str, clean: int, faulty: int, data: Sequence[str]) -> None:
    import torch

    torch.set_num_threads(1)
    _TRIALS[:] = _listed(Pools(folder), chapter, clean, faulty, data)


def _chunk(number: int, start: int) -> Counted:
    trial = _TRIALS[number]
    look = importlib.import_module(f"evensight.audit.{trial.chapter}").chapter
    name = zlib.crc32(f"{trial.chapter} {trial.fault} {trial.data} {trial.strength}".encode())
    found, said, began = 0, Counter[str](), time.perf_counter()
    turns = range(start, min(start + CHUNK, trial.draws))
    for turn in turns:
        chapter = look(trial.draw(np.random.default_rng([name, turn])), AuditConfig(seed=turn), silent)
        found += trial.found(chapter)
        for finding in chapter.findings:
            said[" ".join([finding.severity, finding.code, str(finding.evidence.get("cue", ""))]).strip()] += 1
    return Counted(found, len(turns), said, time.perf_counter() - began)


def row_of(trial: Trial, counted: Sequence[Counted]) -> dict[str, Any]:
    """Returns what is kept of a trial."""
    x, n = sum(part.found for part in counted), sum(part.num for part in counted)
    said: Counter[str] = Counter()
    for part in counted:
        said.update(part.said)
    return {
        "chapter": trial.chapter,
        "fault": trial.fault,
        "data": trial.data,
        "strength": trial.strength,
        **rate(x, n, trial.clean),
        "said": dict(said.most_common(8)),
        "seconds": round(sum(part.seconds for part in counted), 1),
    }


def rate(x: int, n: int, clean: bool) -> dict[str, Any]:
    """Returns a share with its 95 % interval (Clopper and Pearson, 2.5 % a side)."""
    low, high = clopper_pearson(x, n, 0.025)
    return {
        "what": "false alarms" if clean else "recall",
        "x": int(x),
        "n": int(n),
        "rate": round(x / n, 4) if n else None,
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }


def line_of(row: dict[str, Any]) -> str:
    """Returns a row in words."""
    share = "-" if row["rate"] is None else f"{row['rate']:.3f} ({row['low']:.3f} to {row['high']:.3f}, n {row['n']:,})"
    return f"{row['chapter']:12} {row['what']:12} {row['data']:18} {row['fault']} [{row['strength']}]: {share}"
