"""Prepares a data set in a process of its own, which may be told where to die: python preparing.py <spec as JSON>.

`die` names a moment: ``progress <words>`` when that much has been drawn or decoded, ``rename <end of the new name>``
when a file is written and has not taken its place. `pause` waits there for a line on stdin instead. The process says
``ready``, waits for a line, prepares, and says what it got as a line of JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from evensight.data.datasets.shapes import ShapesReader
from evensight.data.prepare import prepare
from evensight.data.readers.folder import FolderReader
from evensight.objective.objective import Objective

READERS = {"shapes": ShapesReader, "folder": FolderReader}


def say(word: str) -> None:
    print(word, flush=True)


def main(spec: dict[str, Any]) -> None:
    worked = set()

    def is_named(moment: str, which: str) -> bool:
        kind, _, end = spec.get(which, "").partition(" ")
        return bool(end) and moment.startswith(kind) and moment.endswith(end)

    def met(moment: str) -> None:
        if is_named(moment, "die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if is_named(moment, "pause"):
            del spec["pause"]
            say("paused")
            sys.stdin.readline()

    def progress(what: str, done: int, total: int) -> None:
        worked.add(what)
        met(f"progress {what}")

    def audited(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename":
            met(f"rename {arguments[1]}")

    sys.addaudithook(audited)
    reader = READERS[spec["reader"]](**spec["settings"])
    objective = Objective.from_config({"name": "o", "purpose": "p"})
    say("ready")
    sys.stdin.readline()
    manifest, _ = prepare(reader, objective, Path(spec["datasets"]), progress)
    stamps = [name for name in manifest.frame.columns if name.startswith("file_")]
    rows = manifest.frame.drop(stamps).write_json()
    got = {
        "digests": [manifest.digests.recipe, manifest.digests.content, manifest.digests.test],
        "rows": hashlib.sha256(rows.encode()).hexdigest(),
        "broken": manifest.frame["error"].count(),
        "worked": sorted(worked),
    }
    say(json.dumps(got))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
