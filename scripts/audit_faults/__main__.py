"""Faults put into data sets, and whether the audit finds them: recall and false alarms of each finder.

    python scripts/audit_faults                                      # all of it, minutes on 2 cores
    python scripts/audit_faults --only shortcuts duplicates          # these finders anew, the others as they stand
    python scripts/audit_faults --only shortcuts --data 'coloured digits'  # of a drawn chapter, these data sets anew
    python scripts/audit_faults --show benchmarks/audit_faults.json  # prints the tables of a file again

Pools of images are measured once and kept under `--pools`; each data set is a draw from them. Real images are looked
for as everywhere: EVENSIGHT_DATA, or shared/data beside the clone. Writes a JSON file with every figure, its interval
and n, the hardware and the versions.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process a core, not a thread a core in each

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import running
import stored
from duplicate_trials import duplicate_rows
from trials import MAKERS, Pools

from evensight.environment import environment
from evensight.files import write_json

CHAPTERS = ("integrity", "duplicates", "balance", "association", "shortcuts", "annotators", "label_errors")


def rows_of(chapter: str, pools: Pools, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Runs the trials of one chapter."""
    tell: Callable[[str], None] = lambda line: print(line, flush=True)  # noqa: E731
    if chapter == "integrity":
        rows = stored.integrity_rows(options.files)
    elif chapter == "duplicates":
        rows = duplicate_rows(options.processes, options.clean)
    elif chapter == "label_errors":
        rows = stored.label_error_rows(options.noisy, options.processes)
    else:
        given = (options.clean, options.faulty, options.processes, tell, options.data)
        return running.run_all(pools, chapter, *given)
    for row in rows:
        tell(running.line_of(row))
    return rows


def main() -> None:
    """Runs what is asked for, writes and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CHAPTERS, default=list(CHAPTERS))
    parser.add_argument("--data", nargs="+", choices=tuple(MAKERS), default=[], help="of drawn chapters; none is all")
    parser.add_argument("--clean", type=int, default=400, help="data sets without a fault, of each kind")
    parser.add_argument("--faulty", type=int, default=40, help="data sets with a fault, of each kind and strength")
    parser.add_argument("--files", type=int, default=20, help="broken files of each kind")
    parser.add_argument(
        "--noisy", type=int, default=2, help="data sets with label noise, each of which trains a network"
    )
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--pools", type=Path, default=Path("datasets/audit_pools"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/audit_faults.json"))
    parser.add_argument("--show", type=Path, default=None)
    options = parser.parse_args()
    if options.show is not None:
        print(table(json.loads(options.show.read_text(encoding="utf-8"))["rows"]))
        return
    kept = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {"rows": [], "runs": {}}
    for chapter in options.only:
        began = time.monotonic()
        rows = rows_of(chapter, Pools(options.pools), options)
        kept["rows"] = _replaced(kept["rows"], rows, chapter, options.data)
        kept["runs"][": ".join([chapter, *options.data])] = {
            "command": shlex.join(["python", "scripts/audit_faults", "--only", chapter, *_further(options)]),
            "seconds": round(time.monotonic() - began, 1),
            "environment": {key: value for key, value in environment().items() if key not in ("command", "host")},
        }
        write_json(options.out, kept)
    print(table(kept["rows"]))


def _replaced(
    old: list[dict[str, Any]], rows: list[dict[str, Any]], chapter: str, data: Sequence[str]
) -> list[dict[str, Any]]:
    """Puts rows in the place of those of the same chapter and, where some are named, the same data sets."""
    left = [row for row in old if row["chapter"] != chapter or (data and row["data"] not in data)]
    after = max((at for at, row in enumerate(left, 1) if row["chapter"] == chapter), default=len(left))
    return [*left[:after], *rows, *left[after:]]


def _further(options: argparse.Namespace) -> list[str]:
    numbers = [f"--{name}={getattr(options, name)}" for name in ("clean", "faulty", "files", "noisy", "processes")]
    return [*(["--data", *options.data] if options.data else []), *numbers]


def table(rows: list[dict[str, Any]]) -> str:
    """Returns Markdown: a line a trial."""
    lines = ["| chapter | fault | data | strength | what | rate | 95 % interval | n |", "|---" * 8 + "|"]
    for row in rows:
        share = "-" if row["rate"] is None else f"{row['rate']:.3f}"
        interval = f"{row['low']:.3f} to {row['high']:.3f}"
        cells = [row["chapter"], row["fault"], row["data"], row["strength"], row["what"], share, interval, row["n"]]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
