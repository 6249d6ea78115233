"""How long a whole command takes on an idle machine, from the shell's prompt to its next: data, training, verdicts.

    python scripts/benchmark/command_time.py                            # shapes, focus=shape, 15 epochs; 3 times
    python scripts/benchmark/command_time.py trainer.max_epochs=20      # any further overrides
    python scripts/benchmark/command_time.py --show                     # prints what the file has

Each time is a process of its own in empty folders, so that images are drawn too; the seed is 1, 2, 3. Writes
`benchmarks/command_time.json`: of each command every time with its verdict, their mean with Student's 95 % interval,
the hardware and the versions. The table of bias (`bias.py`) cannot say this: its runs share the machine.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bias_table.jobs import made_on
from bias_table.summary import over_seeds

from evensight.files import write_json

REPOSITORY = Path(__file__).parents[2]
OUT = REPOSITORY / "benchmarks" / "command_time.json"
DEFAULT = ("experiment=shapes", "focus=shape", "trainer.max_epochs=15")


def timed(overrides: list[str], seed: int) -> dict[str, Any]:
    """Returns the seconds of one command and its test verdict, with the accuracy of conflicting images."""
    with tempfile.TemporaryDirectory() as folder:
        places = [f"runs_dir={folder}/runs", f"datasets_dir={folder}/datasets", f"seed={seed}", f"data.seed={seed}"]
        command = [sys.executable, str(REPOSITORY / "train.py"), *overrides, *places]
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - began
        if done.returncode != 0:
            raise SystemExit(f"{shlex.join(overrides)} ended with status {done.returncode}:\n{done.stderr}")
        (file,) = Path(folder).glob("runs/*/2*/verdicts/test.json")
        verdict = json.loads(file.read_text(encoding="utf-8"))
    conflicting = [row for row in verdict["requirements"] if row["label"].startswith("accuracy of conflicting images")]
    rows = [{key: row[key] for key in ("estimate", "low", "high", "n")} for row in conflicting]
    return {"seed": seed, "seconds": round(seconds, 1), "verdict": verdict["verdict"], "conflicting": rows}


def markdown(found: dict[str, Any]) -> str:
    """Returns a line a command."""
    lines = ["| command | seconds | mean | 95 % | verdicts |", "|---" * 5 + "|"]
    for command, one in found.items():
        mean = one["seconds"]
        times = ", ".join(f"{run['seconds']:.0f}" for run in one["runs"])
        verdicts = ", ".join(run["verdict"] for run in one["runs"])
        interval = "" if mean["low"] is None else f"{mean['low']:.0f} to {mean['high']:.0f}"
        lines.append(f"| {command} | {times} | {mean['mean']:.0f} | {interval} | {verdicts} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="after those of shapes with focus=shape and 15 epochs")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    found = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    if not options.show:
        settings = {one.split("=")[0]: one for one in (*DEFAULT, *options.overrides)}
        command = shlex.join(["python", "train.py", *settings.values()])
        runs = []
        for seed in range(1, options.times + 1):
            runs.append(timed(list(settings.values()), seed))
            print(f"{command}: {runs[-1]['seconds']:.1f} s, {runs[-1]['verdict']}", flush=True)
        times = over_seeds([run["seconds"] for run in runs])
        found[command] = {"seconds": times, "runs": runs, "made_on": made_on()}
        write_json(options.out, found)
    print(markdown(found))


if __name__ == "__main__":
    main()
