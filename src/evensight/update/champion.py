"""The run that made a model: its configuration and its data, which the next model is trained on with additions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evensight.config import Config
from evensight.data.manifest import Manifest
from evensight.data.prepare import prepare
from evensight.data.side_tables import with_side_tables
from evensight.errors import UserError
from evensight.objective.objective import Objective
from evensight.records.artifact import Artifact
from evensight.run import Run


@dataclass(frozen=True)
class RunData:
    """What a run was trained on, as it is prepared now."""

    config: Config
    objective: Objective
    manifest: Manifest


def run_of(artifact: Artifact, run: str | None, runs_dir: str) -> Run:
    """Returns the run that an artifact was made in.

    Args:
        artifact: Opened.
        run: Its folder; None looks beside the artifact, and under `runs_dir` where the contract says.
        runs_dir: Where run folders are made.

    Raises:
        UserError: There is none, or the one that is named made another artifact.
    """
    if run is not None:
        found = Run.open(run)
        if (identity := _identity(found)) != artifact.identity:
            raise UserError(
                f"run: {found.folder} made another artifact (identity {(identity or 'none')[:12]}, this one is "
                f"{artifact.identity[:12]}); name the run of this artifact."
            )
        return found
    made = artifact.contract.run
    stated = Path(runs_dir) / str(made.get("experiment", "")) / str(made.get("folder", ""))
    for folder in (artifact.folder.resolve().parent, stated):
        if (folder / "config.yaml").is_file() and _identity(Run(folder)) == artifact.identity:
            return Run.open(folder)
    raise UserError(
        f"run: the run that made this artifact ({artifact.identity[:12]}) is not at {stated}; "
        "name its folder, run=<run folder>."
    )


def data_of(run: Run) -> RunData:
    """Prepares the data of a run as it began with it.

    Raises:
        UserError: The data is gone, or is not what the run began with.
    """
    config, objective = run.config(), run.objective()
    began = run.read_json("data.json") or {}
    recorded = dict(began.get("side_tables", {}))
    manifest, objective = prepare(config.data, objective, Path(config.datasets_dir), recorded=recorded)
    manifest, objective = with_side_tables(manifest, objective, config.data, recorded)
    if began.get("content") not in (None, manifest.digests.content):
        raise UserError(
            f"data: {manifest.name!r} is not what {run.folder} began with (content {str(began['content'])[:12]} then, "
            f"{manifest.digests.content[:12]} now); bring the old files back."
        )
    return RunData(config, objective, manifest)


def _identity(run: Run) -> str | None:
    try:
        return Artifact.open(run.artifact).identity
    except UserError:
        return None
