"""One requirement, followed from its line in the configuration to the alarm that it raised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evensight.config import Config
from evensight.files import canonical_json
from evensight.objective import verdict_file
from evensight.objective.verdict_file import RequirementRecord, VerdictFile
from evensight.records.artifact import Artifact
from evensight.run import Run


def walked(config: Config, artifact: Artifact, run: Run, watch: Path) -> list[dict[str, Any]]:
    """Returns where a requirement stands, stage by stage: what is there, and the digest of the objective it is part of.

    It is one on reliance that the monitor alarmed for, else the first that it did, else the first that it judged.

    Args:
        config: With the objective as it was stated.
        artifact: That carried it.
        run: That made the artifact.
        watch: What the monitor wrote.
    """
    objective = artifact.contract.stated_objective()
    test = verdict_file.read(run.verdicts / "test.json")
    monitored = verdict_file.read(watch / "verdicts" / "monitor.json")
    row = _chosen(monitored)
    place = next(k for k, one in enumerate(objective.requirements) if one.label == row.label)
    stated = config.objective.requirements[place]
    return [
        {"where": "the objective's line", "what": canonical_json(stated), "digest": objective.digest()},
        {
            "where": "artifact/contract.json",
            "what": canonical_json(artifact.contract.objective["requirements"][place]),
            "digest": objective.digest(),
        },
        _line("verdicts/test.json", test, row.label),
        _line(f"{watch.name}/verdicts/monitor.json", monitored, row.label),
    ]


def _chosen(monitored: VerdictFile) -> RequirementRecord:
    judged = [row for row in monitored.requirements if row.verdict is not None]
    alarmed = [row for row in judged if row.verdict == "FAIL"]
    return next((row for row in alarmed if row.metric == "reliance"), (alarmed or judged)[0])


def _line(where: str, found: VerdictFile, label: str) -> dict[str, Any]:
    row = found.row(label)
    figures = {"estimate": row.estimate, "low": row.low, "high": row.high, "n": row.n, "bound": row.bound}
    said = {"label": label, "verdict": row.verdict, **figures}
    return {"where": where, "what": canonical_json(said), "digest": found.objective}
