"""A second artifact, and processes that change a registry until they are killed.

As a script, ``twins.py <registry> <identity> <identity> <number of changes> <file>`` promotes the one and the other in
turn, once the file is there; ``twins.py <registry> <identity> lines <first> <step>`` forks a process for each `step`-th
line of the registry's code that a promotion runs through, which kills itself there, and prints what each left.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from known_logs import until

from evensight import files
from evensight.records import ledger, registry
from evensight.records.artifact import CONTRACT, SUMS, WEIGHTS, Artifact, digest_tensors, identity_of, write_sums
from evensight.records.contract import parse
from evensight.records.registry import CHAMPION, Registry


def twin(artifact: Artifact, folder: Path, number: int = 1) -> Artifact:
    """Copies an artifact, moves its weights by `number`, and signs it anew: another identity."""
    from safetensors.torch import load_file, save_file  # not for the processes that are killed: it brings torch

    shutil.copytree(artifact.folder, folder, ignore=shutil.ignore_patterns("attached"))
    tensors = {name: tensor + number for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS)
    contract = json.loads((folder / CONTRACT).read_text())
    read = parse(json.dumps(contract), "the twin's")
    contract["identity"] = identity_of(digest_tensors(folder / WEIGHTS), read)
    (folder / CONTRACT).write_text(json.dumps(contract))
    (folder / SUMS).unlink()
    write_sums(folder)
    return Artifact.open(folder)


class KillAt:
    """Kills this process at a line, counted over those of the code that changes a registry, each when first met."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.met: set[tuple[str, int]] = set()
        self.watched = {module.__file__ for module in (files, ledger, registry)}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in self.watched:
            return None
        if event == "line":
            self.met.add((frame.f_code.co_filename, frame.f_lineno))
            if len(self.met) == self.line:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def promote_in_turn(folder: Path, identities: list[str], changes: int, go: Path) -> None:
    opened = Registry.open(folder)
    Path(f"{go}.{os.getpid()}").touch()
    until(go.exists)
    for number in range(changes):
        opened.promote(identities[number % 2], f"change {number}")
        print(number, flush=True)


def promote_killed(folder: Path, identity: str, first: int, step: int) -> None:
    line, ended = first, False
    while not ended:
        child = os.fork()
        if child == 0:
            opened = Registry.open(folder)
            before = opened.identity(CHAMPION)
            sys.settrace(KillAt(line))
            opened.rollback("killed") if before == identity else opened.promote(identity, "killed")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        ended = os.WIFEXITED(status)
        before_opening = Registry(folder).identity(CHAMPION)
        opened = Registry.open(folder)
        opened.verify()
        print(json.dumps([line, ended, before_opening, opened.identity(CHAMPION), len(opened.history())]), flush=True)
        line += step


if __name__ == "__main__":
    if sys.argv[3] == "lines":
        promote_killed(Path(sys.argv[1]), sys.argv[2], int(sys.argv[4]), int(sys.argv[5]))
    else:
        promote_in_turn(Path(sys.argv[1]), sys.argv[2:4], int(sys.argv[4]), Path(sys.argv[5]))
