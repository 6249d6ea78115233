"""The table of bias: methods, ratios and seeds, each row trained, exported and judged by the real command.

    python scripts/benchmark/bias.py --plan                       # what would run, and how long it takes
    python scripts/benchmark/bias.py                              # all but the set `more`, hours on 2 cores
    python scripts/benchmark/bias.py --rows headline,bar-*        # sets and rows by name
    python scripts/benchmark/bias.py --quick                      # a dozen small rows, under 10 minutes on 2 cores
    python scripts/benchmark/bias.py --show                       # the table and the page from what is there
    python scripts/benchmark/bias.py --select mnist-cnn-0.5-erm   # learning rates on validation images alone
    python scripts/benchmark/bias.py --trainer gpu --jobs 12      # a table of its own, on one GPU in mixed precision

Several processes of one thread each. A finished row and seed is stored under `--runs-dir`, or kept in `results/bias`
and `results/bias_gpu`, and never runs again, unless its command has changed; one that was interrupted starts again.
Writes a JSON file with every run, its intervals, the hardware and the versions, and a page beside it. Real images are
looked for as everywhere: EVENSIGHT_DATA, or shared/data beside the clone.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bias_table import page, rates
from bias_table.jobs import Commands, Job, run_all
from bias_table.record import line_of, markdown, record, text
from bias_table.row import Row
from bias_table.selection import ROWS, chosen, num_seeds, plan

from evensight.files import write_text

QUICK = "quick"


def main(arguments: Sequence[str], rows: Sequence[Row] = ROWS) -> int:
    """Does what is asked for; returns 1 where a run failed, 130 where it was interrupted."""
    options = _parser().parse_args(arguments)
    name = "_".join(filter(None, ("bias", options.trainer, QUICK if options.quick else None)))
    folder = options.runs_dir or Path("runs") / name
    out = options.out or Path("benchmarks") / f"{name}.json"
    if options.trainer:
        rows = [replace(row, overrides=(*row.overrides, f"trainer={options.trainer}")) for row in rows]
    wanted = chosen(options.rows or ([QUICK] if options.quick else []), rows)
    most = 1 if options.quick and options.seeds is None else options.seeds
    if options.plan:
        print(plan(wanted, most, options.jobs, options.quick))
        return 0
    commands = Commands()
    signal.signal(signal.SIGTERM, lambda *_: _interrupted())
    if options.select is not None:
        return rates.select(chosen([options.select], rows), folder, options.jobs, commands)
    jobs = [Job(row, seed, folder, options.quick) for row in wanted for seed in range(1, num_seeds(row, most) + 1)]
    left = [] if options.show else [job for job in jobs if job.stored() is None]
    command = shlex.join(["python", "scripts/benchmark/bias.py", *arguments])

    def write() -> dict[str, Any]:
        """Writes what is stored of every row, also of those that were not asked for this time."""
        found = record(rows, folder, options.quick, command)
        write_text(out, text(found))
        write_text(out.with_suffix(".html"), page.page(found).rstrip() + "\n")
        return found

    def done(job: Job, result: Mapping[str, Any]) -> None:
        print(line_of(job, result), flush=True)
        write()

    if not options.show:
        print(f"{len(jobs)} runs, of which {len(jobs) - len(left)} are stored", flush=True)
    try:
        failed = run_all(left, options.jobs, commands, done)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", flush=True)
        return 130
    print(markdown(write()))
    for sentence in failed:
        print(f"failed: {sentence}")
    return 1 if failed else 0


def _interrupted() -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = lambda text: [word for word in text.split(",") if word]  # noqa: E731
    parser.add_argument("--rows", type=words, default=[], help="names, patterns and sets, with commas")
    parser.add_argument("--seeds", type=int, default=None, help="at most this many of each row")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once, one thread each")
    parser.add_argument("--trainer", choices=("cpu", "gpu"), default=None, help="of every run; names the files too")
    parser.add_argument("--quick", action="store_true", help="fewer images, epochs, rows and seeds; other files")
    parser.add_argument("--out", type=Path, default=None, help="benchmarks/bias.json; the page goes beside it")
    parser.add_argument("--runs-dir", type=Path, default=None, help="runs/bias: runs, data, logs and results")
    parser.add_argument("--plan", action="store_true", help="print what would run")
    parser.add_argument("--show", action="store_true", help="run nothing")
    parser.add_argument("--select", default=None, metavar="ROW", help="try learning rates, by validation images")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
