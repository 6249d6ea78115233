"""The only place that puts stages in sequence. Each function is a command of `cli.py` and returns its exit status."""

from __future__ import annotations

import logging
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evensight.config import Config
from evensight.errors import UserError
from evensight.logs import logged
from evensight.options import ExportOptions, TestOptions
from evensight.process import uncollected
from evensight.progress import columns, shown
from evensight.ranks.group import joined, leader_first, parted
from evensight.resuming import entered
from evensight.run import ORIGIN, Run
from evensight.statuses import DONE, FAILED, UNDECIDED

if TYPE_CHECKING:
    from evensight.data.manifest import Manifest
    from evensight.objective.objective import Objective
    from evensight.records.artifact import Artifact
    from evensight.training.train import TrainResult

log = logging.getLogger(__name__)

STATUS = {"PASS": DONE, "FAIL": FAILED, "INSUFFICIENT": UNDECIDED, "NOT_MEASURED": UNDECIDED}


def main_job(config: Config, folder: Path | None = None) -> int:
    """Prepares the data, trains, exports, judges through the export, reports: `python train.py experiment=...`.

    Args:
        config: The checked configuration.
        folder: Where the run goes, for a sweep's jobs; otherwise a new folder under `runs_dir`.

    Returns:
        0 when training worked; with `gate=strict` the status of the last verdict.
    """
    if config.run and config.resume is False:
        return repaired_head(config, folder)
    stated = _checked_objective(config)
    if config.resume is False:
        _checked_training(config)
    with logged() as log_to, joined(config) as rank, entered(config, folder) as run:
        if run.finished is not None:
            return _told(run, config, run.finished) if rank.leads else DONE
        log_to(run.log_file)
        with leader_first():
            manifest, objective = _prepared(config, stated, _recorded(run))
        _focused(config, run, manifest, objective)
        if rank.leads and config.resume is not True:
            _say_audit(manifest)
        log.info("run: %s", run.folder)  # from here on it stays: a mistake in the data takes a new folder away
        if rank.leads:
            _begin(run, manifest, objective)
        result = _trained(config, run, manifest, objective)
        return _delivered(config, run, manifest, objective, result) if parted() else DONE


def repaired_head(config: Config, folder: Path | None = None) -> int:
    """Fits the last layer of a finished run anew and goes on as the main job does, in a run of its own.

    `evensight train run=<finished run> focus.by=[head] focus.head=afr`. The old run is read and left as it is.

    Args:
        config: The old run's configuration, with `run` and the `focus` section that asks for a last layer.
        folder: Where the new run goes; otherwise a new folder under `runs_dir`.

    Returns:
        See `main_job`.
    """
    from evensight.training.finished_head import fitted_head, inherit, source_of

    source, own = source_of(config)
    stated = source.objective()
    _check_test(own)
    with logged() as log_to, entered(own, folder) as run:
        inherit(run, source, config)
        log_to(run.log_file)
        manifest, objective = _prepared(own, stated, _recorded(run))
        log.info("run: %s", run.folder)
        _begin(run, manifest, objective)
        return _delivered(own, run, manifest, objective, fitted_head(own, run, manifest, objective))


def _delivered(config: Config, run: Run, manifest: Manifest, objective: Objective, result: TrainResult) -> int:
    """Exports, judges and reports what a fit left; returns the status."""
    verdict = "NOT_MEASURED"
    if config.export:
        artifact = _exported(config, run, manifest, objective, result)
        for stage in ("validation", "test") if config.test else ("validation",):
            verdict = _judged(config, run, manifest, artifact, stage)
    _close(run, config)
    status = STATUS[verdict] if config.gate == "strict" else DONE
    run.finish(verdict, status)
    return status


def test(options: TestOptions) -> int:
    """Opens a run's test split, judges its artifact on it and writes the report again: `evensight test run=...`."""
    run = Run.open(options.run)
    config = run.config()
    from evensight.records.artifact import Artifact
    from evensight.training.checkpoint import check_origin

    objective, artifact = run.objective(), Artifact.open(run.artifact)
    check_origin(artifact, run.checkpoints / "best.ckpt")
    with logged() as log_to, run.worked_on(config):
        log_to(run.log_file)
        manifest, _ = _prepared(config, objective, _recorded(run))
        verdict = _judged(config, run, manifest, artifact, "test")
        _close(run, config)
    return STATUS[verdict]


def export(options: ExportOptions) -> int:
    """Writes a run's artifact from its best checkpoint: `evensight export run=...`."""
    run = Run.open(options.run)
    config = run.config()
    from evensight.training.checkpoint import read_checkpoint
    from evensight.training.train import load_best

    objective = run.objective()
    read_checkpoint(run.checkpoints / "best.ckpt")  # before its data is looked at
    with logged() as log_to, run.worked_on(config):
        log_to(run.log_file)
        manifest, _ = _prepared(config, objective, _recorded(run))
        artifact = _exported(config, run, manifest, objective, load_best(config, run, manifest, objective))
    print(f"artifact  {artifact.folder}  (identity {artifact.identity[:12]})")
    return DONE


def objective(config: Config) -> int:
    """Reads the objective back and prints how much evidence it will take: `evensight objective experiment=...`."""
    from evensight.objective.command import objective_command

    stated = _checked_objective(config)
    with logged():
        manifest, resolved = _prepared(config, stated)
    counts = {split: manifest.counts(split) for split in ("train", "validation", "test")}
    print(objective_command(resolved, counts, usual=manifest.usual))
    return DONE


def audit(config: Config) -> int:
    """Looks at images and annotations before training: `evensight audit experiment=...`.

    Returns:
        The status of the verdict on what the objective requires of the data.
    """
    from evensight.audit.audit import audit as look
    from evensight.audit.audit import check_settings
    from evensight.report.audit import audit_summary, write_audit_report

    stated = _checked_objective(config)
    check_settings(config.audit, stated.attributes)
    with logged(), shown() as progress:
        manifest, resolved = _prepared(_without_findings(config, stated), stated)
        result = look(manifest, resolved, config.data, config.audit, progress)
        write_audit_report(result.folder)
    print(audit_summary(result.folder, columns(sys.stdout)))
    return STATUS[result.verdict.verdict]


def _without_findings(config: Config, stated: Objective) -> Config:
    """The data as its annotators left it: what an earlier audit found out must not be found again, unless declared."""
    from evensight.data.side_tables import SAYS

    declared = any(name.endswith(SAYS) for name in stated.attributes)
    kept = ("soft_labels", "cues") if declared else ("soft_labels",)
    own = [name for name in config.data.side_tables if name in kept]
    return replace(config, data=replace(config.data, side_tables=own))


def _checked_objective(config: Config) -> Objective:
    """Checks what can be checked before anything is written or heavy is imported."""
    from evensight.objective.objective import Objective

    _check_test(config)
    return Objective.from_config(asdict(config.objective))


def _check_test(config: Config) -> None:
    """Refuses to look at a sealed test split on the way."""
    if config.test and config.data.sealed:
        raise UserError(
            "test: the test split of this data set is sealed (data.sealed=true), so training does not look at it; "
            "leave test=false and open it later with: evensight test run=<run folder>."
        )


def _checked_training(config: Config) -> None:
    """Builds what can be built without data, and throws it away: mistakes are told before anything is made."""
    with uncollected():
        from evensight.training.preflight import preflight

    preflight(config)


def _prepared(
    config: Config, stated: Objective, recorded: Mapping[str, str] | None = None
) -> tuple[Manifest, Objective]:
    """Prepares the data, and joins its side tables: those that a run has `recorded`, or for a new one all there are."""
    from evensight.data.prepare import prepare
    from evensight.data.side_tables import with_side_tables

    manifest, objective = prepare(config.data, stated, Path(config.datasets_dir), recorded=recorded)
    return with_side_tables(manifest, objective, config.data, recorded)


def _recorded(run: Run) -> dict[str, str] | None:
    """Returns name and digest of the side tables that a run began with; None before it began."""
    data = run.read_json("data.json")
    return None if data is None else dict(data.get("side_tables", {}))


def _say_audit(manifest: Manifest) -> None:
    """Names the worst findings of an audit of this data, or how to run one."""
    from evensight.report.audit import worst_findings

    folder = manifest.folder / "audit"
    try:
        worst = worst_findings(folder, manifest.digests.content)
    except UserError as error:  # training does not need the audit
        log.warning("%s", error)
        return
    if worst is None:
        log.info("this data has not been audited; to look at it before training: %s", _audit_command())
        return
    for line in worst:
        log.info("audit: %s", line)
    log.info("audit: %s", folder / "report.html")


def _audit_command() -> str:
    """The command that audits what this command trains on."""
    of_data = ("experiment", "data", "objective", "datasets_dir")
    arguments = [each for each in sys.argv[1:] if "=" in each and re.split(r"[.=]", each)[0] in of_data]
    return shlex.join(["evensight", "audit", *arguments]) if arguments else "evensight audit experiment=<name>"


def _begin(run: Run, manifest: Manifest, objective: Objective) -> None:
    """Writes what the run is about, and refuses to go on with other data than it began with."""
    for note in objective.notes():
        log.warning("%s", note)
    data = {"name": manifest.name, "content": manifest.digests.content, "test": manifest.digests.test}
    tables, before = manifest.side_tables, run.read_json("data.json")
    if before is not None and {name: before.get(name) for name in data} != data:
        raise UserError(
            f"data: {manifest.name!r} is not what {run.folder} began with (content {str(before.get('content'))[:12]} "
            f"then, {data['content'][:12]} now); bring the old files back, or start a new run."
        )
    if before is not None and before.get("side_tables", {}) != tables:
        other = [name for name, digest in before["side_tables"].items() if tables.get(name) != digest]
        raise UserError(
            f"data: the side tables of {manifest.name!r} are not those that {run.folder} began with "
            f"({', '.join(other)}); bring the old ones back, or start a new run."
        )
    run.write_json("data.json", {"schema_version": 1, **data, "side_tables": tables})
    run.write_json("objective.json", objective.canonical())


def _focused(config: Config, run: Run, manifest: Manifest, objective: Objective) -> None:
    """Decides what is turned off; a refusal comes before the run begins."""
    from evensight.training.focus.prepared import prepare_focus

    prepare_focus(config, run, manifest, objective)


def _trained(config: Config, run: Run, manifest: Manifest, objective: Objective) -> TrainResult:
    if run.read_json(ORIGIN) is not None:  # resumed: its network is another run's, with a new last layer
        from evensight.training.finished_head import fitted_head

        return fitted_head(config, run, manifest, objective)
    from evensight.training.train import train

    return train(config, run, manifest, objective)


def _exported(config: Config, run: Run, manifest: Manifest, objective: Objective, result: TrainResult) -> Artifact:
    from evensight.deploy.export import export as write_artifact

    return write_artifact(run, result.network, result.spec, objective, manifest, result.bank, config)


def _judged(config: Config, run: Run, manifest: Manifest, artifact: Artifact, stage: str) -> str:
    from evensight.testing.evaluate import evaluate

    with shown() as progress:
        return evaluate(artifact, manifest, stage, run, reader=config.data, progress=progress).verdict


def _told(run: Run, config: Config, finished: dict[str, Any]) -> int:
    """Says that a run is finished and what came out."""
    from evensight.report.summary import summary

    for wanted, missing, command in (
        (config.export, run.artifact, "export"),
        (config.test, run.verdicts / "test.json", "test"),
    ):
        if wanted and not missing.exists():
            log.warning(
                "%s=true: the run is finished without it; write: evensight %s run=%s", command, command, run.folder
            )
    print(f"{run.folder} finished at {finished.get('time')}; nothing to do.")
    print(summary(run.folder, columns(sys.stdout)))
    return STATUS[str(finished.get("verdict"))] if config.gate == "strict" else DONE


def _close(run: Run, config: Config) -> None:
    """Writes the report, mirrors the verdicts and prints the last lines."""
    from evensight.report.report import write_report
    from evensight.report.summary import summary
    from evensight.training.mirrors import mirror_verdicts

    write_report(run.folder)
    mirror_verdicts(config, run)
    print(summary(run.folder, columns(sys.stdout)))
