"""Stage 4: judges an artifact on a split. Reads the manifest and the artifact, and nothing of the run that made it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from evensight import files
from evensight.data.dataset import known_extra
from evensight.data.manifest import Manifest
from evensight.data.seal import interrupted_opening, record_opening
from evensight.errors import UserError
from evensight.objective import verdict_file as verdicts
from evensight.objective.evidence import Evidence, judge
from evensight.objective.objective import Objective
from evensight.records.artifact import Artifact
from evensight.records.contract import Contract
from evensight.records.instruments import instruments
from evensight.run import Run
from evensight.testing.extras import Extras
from evensight.testing.pictures import write_pictures
from evensight.testing.predictions import Progress, Served, silent
from evensight.testing.reference import attach_reference
from evensight.testing.reliance import reliance_of
from evensight.testing.scores import Scores, decided_by, evidence, score, table
from evensight.testing.truth import Redraws, Truth, redrawn

log = logging.getLogger(__name__)

__all__ = ["Evaluation", "evaluate", "reliance_of"]

MOST_NAMED = 10


@dataclass(frozen=True)
class Evaluation:
    """What one stage found: the verdict file as written, the evidence it went by, and the table of predictions."""

    file: verdicts.VerdictFile
    evidence: Evidence
    table: pl.DataFrame

    @property
    def verdict(self) -> str:
        """PASS, FAIL, INSUFFICIENT or NOT_MEASURED."""
        return self.file.verdict


def evaluate(
    artifact: Artifact,
    manifest: Manifest,
    stage: str,
    run: Run,
    reader: object | None = None,
    split: str | None = None,
    batch_size: int | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Runs a split through the artifact's own file and judges the objective inside the artifact.

    Args:
        artifact: Opened; its donors and probes measure.
        manifest: With the split. An image that cannot be decoded is counted, named and in no rate.
        stage: Judges: "validation" or "test". The test stage counts its opening of a sealed split, and attaches its
            verdict and its figures, for the monitor to compare with, to the artifact.
        run: Receives `verdicts/<stage>.json`, `predictions/<stage>.parquet`, `pictures/<stage>/` with its JSON.
        reader: Of the manifest; one with a `redraw` gives the truth about reliance.
        split: Where not that of the stage's own name.
        batch_size: Images a call of the model.
        progress: Told of the images done.

    Raises:
        UserError: If the manifest's classes or levels are not the artifact's.
        RunError: If the artifact's file fails its own test on this machine.
    """
    started = time.perf_counter()
    contract, split = artifact.contract, split or stage
    objective = contract.stated_objective()
    _check_names(contract, manifest)
    served, tools = Served(artifact), instruments(artifact, known_extra(manifest))
    extras = Extras(manifest, split, contract, {name for cue in tools.cues for name in cue.needs})
    # Counted before anything is seen: a test that is interrupted has opened the split too.
    openings = _opened(manifest, artifact, stage, run) if _counted(manifest, split) else 0
    scores = score(served, tools, manifest, split, contract.majority_class, batch_size, progress, extras)
    _name_failures(scores, split)
    found = evidence(scores, contract, tools.missing, artifact.model_path.stat().st_size)
    truths: dict[str, Truth] = {}
    if isinstance(reader, Redraws) and manifest.digests.content == contract.data.content:
        truths = redrawn(served, tools, manifest, scores, reader, progress)
    verdict = verdicts.verdict_file(
        objective,
        stage,
        judge(objective, stage, found),
        manifest.digests.content,
        artifact.identity,
        _extra(scores, found, truths, objective, contract),
        side_tables=manifest.side_tables,
        sealed=manifest.sealed,
        openings=openings,
    )
    written = _write_table(run.predictions / f"{stage}.parquet", scores, truths, contract)
    write_pictures(run.pictures / stage, served, tools, manifest, scores, extras)
    verdicts.write(run.verdicts / f"{stage}.json", verdict)
    if stage == "test":
        artifact.attach("verdict_test", verdict.model_dump(mode="json"))
        attach_reference(artifact, served, tools, manifest, scores, extras, progress)
    log.info("%s: %s (%d images, %.1f s)", stage, verdict.verdict, len(scores.known), time.perf_counter() - started)
    return Evaluation(verdict, found, written)


def _write_table(path: Path, scores: Scores, truths: Mapping[str, Truth], contract: Contract) -> pl.DataFrame:
    columns = [column for cue, truth in truths.items() for column in truth.columns(cue, scores)]
    written = table(scores, contract).with_columns(columns)
    with files.replaced(path) as temporary:
        written.write_parquet(temporary)
    return written


def _check_names(contract: Contract, manifest: Manifest) -> None:
    if tuple(manifest.classes) != contract.classes:
        raise UserError(
            f"data: its classes are {', '.join(manifest.classes)}; the artifact's are {', '.join(contract.classes)}."
        )
    levels = {name: tuple(levels) for name, levels in manifest.levels.items()}
    if levels != contract.attributes:
        raise UserError(f"data: its attributes are {levels}; the artifact's are {contract.attributes}.")


def _counted(manifest: Manifest, split: str) -> bool:
    return manifest.sealed and split == "test"


def _opened(manifest: Manifest, artifact: Artifact, stage: str, run: Run) -> int:
    """Counts an opening of the test split, and returns its number.

    One that a kill kept from its verdict is gone on with: the same artifact on the same images shows nothing new.
    """
    delivered = 0
    if (path := run.verdicts / f"{stage}.json").is_file():
        before = verdicts.read(path)
        delivered = before.openings if before.artifact == artifact.identity else 0
    number = interrupted_opening(manifest, artifact.identity, stage, delivered)
    return number if number is not None else record_opening(manifest, artifact.identity, stage, "images")


def _name_failures(scores: Scores, split: str) -> None:
    if not scores.errors:
        return
    named = [f"{scores.rows[place]['path']} ({scores.errors[place]})" for place in sorted(scores.errors)[:MOST_NAMED]]
    more = f", and {len(scores.errors) - MOST_NAMED} more" if len(scores.errors) > MOST_NAMED else ""
    log.warning("%s: %d images are in no figure: %s%s", split, len(scores.errors), "; ".join(named), more)


def _extra(
    scores: Scores, found: Evidence, truths: Mapping[str, Truth], objective: Objective, contract: Contract
) -> dict[str, Any]:
    """Figures that no requirement speaks of: failed images, what decides conflicting images, the truth by redrawing."""
    assert found.counts is not None
    failed = sorted(scores.errors)
    examples = [{"path": scores.rows[place]["path"], "error": scores.errors[place]} for place in failed[:MOST_NAMED]]
    reliance = {
        cue: {operator: outcome.estimate() for operator, outcome in operators.items()}
        for cue, operators in scores.outcomes.items()
    }
    return {
        "num_images": len(scores.known),
        "failed": {"count": len(failed), "examples": examples},
        "decided_by": decided_by(found.counts, contract.usual, objective.alpha),
        "truth": {cue: {**truth.summary(objective.alpha), "reliance": reliance[cue]} for cue, truth in truths.items()},
    }
