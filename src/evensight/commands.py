"""Commands of one stage, on an artifact and its log. Each is one of `cli.py` and returns its exit status."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from evensight.errors import UserError, wrong_value
from evensight.files import disk_full, replaced
from evensight.logs import logged
from evensight.options import MonitorOptions, PredictOptions, ServeOptions, UpdateOptions
from evensight.progress import columns, shown
from evensight.statuses import DONE

if TYPE_CHECKING:
    from evensight.monitor.monitor import Monitored


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
        if disk_full(error):
            raise
        raise UserError(f"out: {options.out!r} cannot be written ({error.strerror or error}).") from None
    return DONE


def serve(options: ServeOptions) -> int:
    """Answers over HTTP until it is told to end: `evensight serve artifact=...`."""
    from evensight.deploy.server.serve import serve as answer

    with logged():
        return answer(options)


def monitor(options: MonitorOptions) -> int:
    """Judges a served model by its prediction log: `evensight monitor artifact=... log=...`.

    Returns:
        1 where anything alarms, else 0.
    """
    from evensight.monitor.monitor import check, watch
    from evensight.monitor.monitor import monitor as look
    from evensight.records.artifact import Artifact
    from evensight.records.registry import artifact_folder
    from evensight.report.monitor import monitor_summary, write_monitor_report

    check(options.alpha, options.most_rejected)
    if not options.every_s > 0:
        raise wrong_value("every_s", options.every_s, "a number of seconds above 0")
    path = Path(options.log)
    out = path.parent / "monitor" if options.out is None else Path(options.out)
    artifact = Artifact.open(artifact_folder(options.artifact, options.registry))

    def once() -> Monitored:
        found = look(artifact, path, out, options.alpha, options.most_rejected)
        write_monitor_report(out)
        return found

    with logged():
        found = watch(once, options.every_s, lambda told: print(told, flush=True)) if options.watch else once()
    print(monitor_summary(out, columns(sys.stdout)))
    return found.status


def update(options: UpdateOptions) -> int:
    """Plans annotations, merges them, trains a challenger, decides, promotes: `evensight update action=...`.

    Returns:
        Of `decide` 0 PROMOTE, 1 REFUSE, 3 INSUFFICIENT; else 0.
    """
    from evensight.pipeline import main_job
    from evensight.update.update import update as act

    return act(options, main_job)
