"""One job is one seed of one row: the real commands, each in a process of its own, and a file with what came out."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bias_table import figures
from bias_table.row import Row
from evensight.environment import environment
from evensight.files import write_json

# Figures of the same seed are only the same on as many threads.
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_ONE_THREAD = ("trainer.num_threads=1", "trainer.progress=false")
# Not read for a row that is told nothing: test images, and what the objective says about the cue.
_BLIND = (
    "audit.open_test=false",
    "objective.requirements=[{metric: accuracy, bound: 0.9}]",
    "objective.primary={metric: accuracy}",
)
# Trains networks of its own to doubt labels, which no row asks about.
_AUDIT = ("audit.skip=[label_errors]", "audit.num_workers=1")
_OF_DATA = ("experiment", "data", "objective")
# Results that are kept with the project, so that any clone goes on where another one stopped.
KEPT = tuple(Path(__file__).parents[3] / "results" / name for name in ("bias", "bias_gpu"))
PROGRAM = (sys.executable, "-m", "evensight")
REFUSED = 2  # the status of a wrong setting


@dataclass(frozen=True)
class Job:
    """A seed of a row, and where it works.

    Attributes:
        row: Of the table.
        seed: From 1.
        folder: `--runs-dir`.
        quick: With the row's smaller settings.
    """

    row: Row
    seed: int
    folder: Path
    quick: bool = False

    @property
    def overrides(self) -> list[str]:
        """Returns what the command is given, but for folders: what a stored result must have been made with."""
        row = self.row
        seeds = [f"seed={self.seed}", *([f"data.seed={self.seed}"] if row.data_seed else [])]
        return [*row.overrides, *(row.quick if self.quick else ()), *seeds, *_ONE_THREAD]

    @property
    def name(self) -> str:
        """Returns the experiment's name: of the folder of its runs."""
        return f"bias_{self.row.name}_{self.seed}"

    @property
    def result(self) -> Path:
        """Returns the file that says it is done."""
        return self.folder / "results" / self.row.name / f"{self.seed}.json"

    @property
    def datasets(self) -> Path:
        """Returns where its data is: what an audit leaves beside the data is for its own job alone."""
        return self.folder / (f"audited/{self.name}" if self.row.audit else "datasets")

    def steps(self) -> list[tuple[str, list[str]]]:
        """Returns the commands of evensight with their arguments, in order."""
        steps = []
        if self.row.audit:
            of_data = [one for one in self.overrides if re.split(r"[.=]", one)[0] in _OF_DATA]
            blind = _BLIND if self.row.trained else ()
            steps.append(("audit", [*of_data, *_AUDIT, *blind, f"datasets_dir={self.datasets}"]))
        if self.row.trained:
            folders = [f"runs_dir={self.folder / 'runs'}", f"datasets_dir={self.datasets}"]
            steps.append(("train", [*self.overrides, f"experiment_name={self.name}", *folders]))
        return steps

    def stored(self) -> dict[str, Any] | None:
        """Returns its result, from its folder or of those kept; None where none was made by this command."""
        for path in (self.result, *(kept / self.row.name / f"{self.seed}.json" for kept in KEPT)):
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if isinstance(found, dict) and found.get("overrides") == self.overrides:
                return found
        return None


class Commands:
    """Runs commands of evensight in processes, all of which it ends when it is told to stop."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def run(self, arguments: Sequence[str], log: Path) -> int:
        """Runs `python -m evensight` and returns its status; everything it says goes to a file.

        Raises:
            InterruptedError: It was stopped.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as said:
            with self._lock:
                if self.stopped.is_set():
                    raise InterruptedError
                process = subprocess.Popen(
                    [*PROGRAM, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **THREADS},
                )
                self._running.add(process)
            status = process.wait()
        with self._lock:
            self._running.discard(process)
        if self.stopped.is_set():
            raise InterruptedError
        return status

    def stop(self) -> None:
        """Ends what is running, and lets nothing begin."""
        with self._lock:
            self.stopped.set()
            for process in self._running:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()


def perform(job: Job, commands: Commands, at_once: int = 1) -> dict[str, Any]:
    """Does one job from its beginning and stores its result, the last thing it does.

    Args:
        job: Not stored.
        commands: Run it.
        at_once: Processes that share the machine, for the record.

    Raises:
        RuntimeError: A command ended with another status than it should; the message names its log.
        InterruptedError: It was stopped; nothing is stored.
    """
    found: dict[str, Any] = {"seconds": {}}
    made = made_on()
    for command, arguments in job.steps():
        log = job.folder / "logs" / f"{job.name}.{command}.log"
        began = time.monotonic()
        status = commands.run([command, *arguments], log)
        found["seconds"][command] = round(time.monotonic() - began, 1)
        if command == "audit":
            _expect(status in (0, 1, 3), job, command, status, log)
            found["audit"] = figures.of_audit(_audit_folder(job))
            _check_named(job, found["audit"])
        elif job.row.refused:
            found |= {"refused": status == REFUSED, "status": status, "sentence": _last_line(log)}
        else:
            _expect(status == 0, job, command, status, log)
            found |= figures.of_run(job.folder / "runs" / job.name / "latest", job.row.conflicting, job.row.stage)
    result = {"row": job.row.name, "seed": job.seed, "quick": job.quick, "overrides": job.overrides, **found}
    about = ("commit", "dirty", "evensight", "processor", "cores", "gpus")
    result["made_on"] = {**{key: made[key] for key in about}, "torch": made["packages"]["torch"], "at_once": at_once}
    write_json(job.result, result)
    return result


def made_on() -> dict[str, Any]:
    """Returns versions, hardware and commit, and nothing that names a machine or a folder."""
    return {key: value for key, value in environment().items() if key not in ("host", "command", "seeds", "started")}


def _expect(right: bool, job: Job, command: str, status: int, log: Path) -> None:
    if not right:
        raise RuntimeError(
            f"{job.row.name}, seed {job.seed}: {command} ended with status {status}: {_last_line(log)} ({log})"
        )


def _check_named(job: Job, audit: Mapping[str, Any]) -> None:
    """Holds the attribute that a row takes from the audit against what the audit names first: nobody told it."""
    taken = re.search(r"focus\.attribute=(\w+)_says", " ".join(job.overrides))
    first = audit["shortcuts"][0]["cue"] if audit["shortcuts"] else "no cue"
    if taken is not None and first != taken[1]:
        raise RuntimeError(f"{job.row.name}, seed {job.seed}: the audit names {first} first, not {taken[1]}")


def _audit_folder(job: Job) -> Path:
    (found,) = job.datasets.glob("*/*/audit")
    return found


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def run_all(
    jobs: Sequence[Job], num_processes: int, commands: Commands, done: Callable[[Job, Mapping[str, Any]], None]
) -> list[str]:
    """Does jobs in their order, several at once, and returns what went wrong, in sentences.

    Args:
        jobs: Those that are not stored.
        num_processes: At once, one thread each.
        commands: Ends them when told to.
        done: Told of each as it is stored, one at a time.
    """
    failed, telling = [], threading.Lock()

    def one(job: Job) -> None:
        try:
            result = perform(job, commands, num_processes)
        except InterruptedError:
            return
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            with telling:
                failed.append(str(error) if isinstance(error, RuntimeError) else f"{job.name}: {error!r}")
                print(failed[-1], flush=True)
            return
        with telling:
            done(job, result)

    with ThreadPoolExecutor(num_processes) as pool, _ending(commands):
        waited = {pool.submit(one, job) for job in jobs}
        while waited:
            # In turns: a signal that the system hands to another thread does not wake this one.
            finished, waited = wait(waited, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
    return failed


@contextlib.contextmanager
def _ending(commands: Commands) -> Iterator[None]:
    """Ends the commands where the wait for them is broken off."""
    try:
        yield
    except BaseException:
        commands.stop()
        raise
