"""Before any training: which cues name the action in BAR's photographs, and how little of that carries to its test.

    python scripts/audit_bar.py        # an audit of 2,595 photographs; writes benchmarks/audit_bar.json

Runs `evensight audit experiment=bar audit.transfer=test` and reads its findings back: of each cue the accuracy out of
fold on training photographs, on the official test photographs, and what always naming the largest class would reach.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from evensight.cli import main as evensight
from evensight.environment import environment
from evensight.files import write_json

COMMAND = ("audit", "experiment=bar", "audit.transfer=test")


def table(folder: Path) -> list[dict[str, Any]]:
    """The cues of an audit, the most telling first."""
    found = json.loads((folder / "findings.json").read_text(encoding="utf-8"))
    chapter = next(each for each in found["chapters"] if each["name"] == "shortcuts")
    cues = chapter["figures"]["cues"].values()
    return sorted(cues, key=lambda each: -each["accuracy"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="benchmarks/audit_bar.json")
    parser.add_argument("--datasets", default="datasets")
    parser.add_argument("arguments", nargs="*", help="further settings, as audit.skip=[label_errors]")
    options = parser.parse_args()
    datasets = Path(options.datasets).absolute()
    status = evensight([*COMMAND, f"datasets_dir={datasets}", *options.arguments])
    folder = max((datasets / "bar").glob("*/audit"), key=lambda path: (path / "findings.json").stat().st_mtime)
    cues = table(folder)
    for each in cues:
        there = each["elsewhere"][0]
        print(
            f"{each['cue']:<11} train {each['accuracy']:.3f} "
            f"({each['low']:.3f} to {each['high']:.3f}, n {each['n']:,})  "
            f"test {there['accuracy']:.3f} ({there['low']:.3f} to {there['high']:.3f}, n {there['n']:,}; largest "
            f"training class {there['majority']:.3f})  {each['severity']}"
        )
    found = json.loads((folder / "findings.json").read_text(encoding="utf-8"))
    findings = [{key: each[key] for key in ("chapter", "severity", "danger", "title")} for each in found["findings"]]
    write_json(
        Path(options.out),
        {
            "schema_version": 1,
            "environment": environment(),
            "status": status,
            "verdict": found["verdict"],
            "cues": cues,
            "findings": findings,
        },
    )


if __name__ == "__main__":
    main()
