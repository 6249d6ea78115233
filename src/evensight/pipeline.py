"""The only place that puts stages in sequence. Each function is a command of `cli.py` and returns its exit status."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from evensight.config import Config
from evensight.errors import UserError
from evensight.files import replaced
from evensight.logs import logged
from evensight.options import ExportOptions, PredictOptions, TestOptions
from evensight.progress import shown
from evensight.run import Run
from evensight.statuses import DONE, FAILED, UNDECIDED

if TYPE_CHECKING:
    from evensight.data.manifest import Manifest
    from evensight.objective.objective import Objective

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
    stated = _checked_objective(config)
    with logged() as log_to:
        manifest, objective = _prepared(config, stated)
        run = Run(Path(str(config.run))) if config.resume else Run.create(config, folder)
        log_to(run.log_file)
        log.info("run: %s", run.folder)
        for note in objective.notes():
            log.warning("%s", note)
        run.write_json("objective.json", objective.canonical())

        from evensight.training.train import train

        try:
            result = train(config, run, manifest, objective)
        except UserError:
            if not config.resume and not run.checkpoints.exists():
                run.discard(Path(config.runs_dir) / config.experiment_name)
            raise
        verdict = "NOT_MEASURED"
        if config.export:
            from evensight.deploy.export import export as write_artifact
            from evensight.testing.evaluate import evaluate

            artifact = write_artifact(run, result.network, result.spec, objective, manifest, result.bank, config)
            with shown() as progress:
                for stage in ("validation", "test") if config.test else ("validation",):
                    verdict = evaluate(artifact, manifest, stage, run, reader=config.data, progress=progress).verdict
        _close(run, config)
    return STATUS[verdict] if config.gate == "strict" else DONE


def test(options: TestOptions) -> int:
    """Opens a run's test split, judges its artifact on it and writes the report again: `evensight test run=...`."""
    run = Run.open(options.run)
    config = run.config()
    from evensight.records.artifact import Artifact
    from evensight.testing.evaluate import evaluate

    with logged() as log_to:
        log_to(run.log_file)
        manifest, _ = _prepared(config, run.objective())
        artifact = Artifact.open(run.artifact)
        with shown() as progress:
            verdict = evaluate(artifact, manifest, "test", run, reader=config.data, progress=progress).verdict
        _close(run, config)
    return STATUS[verdict]


def export(options: ExportOptions) -> int:
    """Writes a run's artifact from its best checkpoint: `evensight export run=...`."""
    run = Run.open(options.run)
    config = run.config()
    from evensight.deploy.export import export as write_artifact
    from evensight.training.train import load_best

    with logged() as log_to:
        log_to(run.log_file)
        objective = run.objective()
        manifest, _ = _prepared(config, objective)
        result = load_best(config, run, manifest, objective)
        artifact = write_artifact(run, result.network, result.spec, objective, manifest, result.bank, config)
    print(f"artifact  {artifact.folder}  (identity {artifact.identity[:12]})")
    return DONE


def predict(options: PredictOptions) -> int:
    """Labels images with an artifact: `evensight predict artifact=... data=...`."""
    from evensight.testing.predict import predict as label

    if options.out is not None and Path(options.out).suffix not in (".csv", ".parquet"):
        raise UserError(f"out: {options.out!r} has no known ending; allowed: .csv, .parquet.")
    if options.out is not None and not Path(options.out).absolute().parent.is_dir():
        raise UserError(f"out: the folder of {options.out!r} does not exist; make it first.")
    with logged(), shown() as progress:
        table = label(Path(options.artifact), options.data, accept_failed=options.accept_failed, progress=progress)
    if options.out is None:
        print(table.write_csv(), end="")
        return DONE
    try:
        with replaced(Path(options.out)) as temporary:
            (table.write_csv if options.out.endswith(".csv") else table.write_parquet)(temporary)
    except OSError as error:
        raise UserError(f"out: {options.out!r} cannot be written ({error.strerror or error}).") from None
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


def _checked_objective(config: Config) -> Objective:
    """Checks what can be checked before anything is written or heavy is imported."""
    from evensight.objective.objective import Objective

    if config.test and config.data.sealed:
        raise UserError(
            "test: the test split of this data set is sealed (data.sealed=true), so training does not look at it; "
            "leave test=false and open it later with: evensight test run=<run folder>."
        )
    return Objective.from_config(asdict(config.objective))


def _prepared(config: Config, stated: Objective) -> tuple[Manifest, Objective]:
    from evensight.data.prepare import prepare

    return prepare(config.data, stated, Path(config.datasets_dir))


def _close(run: Run, config: Config) -> None:
    """Writes the report, mirrors the verdicts and prints the last lines."""
    from evensight.report.report import write_report
    from evensight.report.summary import summary
    from evensight.training.loggers import mirror_verdicts

    write_report(run.folder)
    mirror_verdicts(config, run)
    print(summary(run.folder))
