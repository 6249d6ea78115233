"""Mirrors of a run. The run folder is the truth and complete without them; a mirror that fails never stops a run."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from evensight.config import Config, WandbLogger
from evensight.errors import first_line
from evensight.files import write_json
from evensight.run import Run
from evensight.training.record import Record

log = logging.getLogger(__name__)

# Run folders whose mirror failed in this process: one warning is enough, and the service is not waited for again.
_failed: set[Path] = set()


class Mirror:
    """A run on Weights & Biases: curves, configuration, summary.

    Every call is guarded: the first failure is one warning, and the mirror is off from then on.

    Args:
        settings: The `logger` section.
        run: The run folder, which keeps the service's id of the run, so that a resumed run continues the same curves.
        config: The whole configuration, as plain values.
    """

    def __init__(self, settings: WandbLogger, run: Run, config: Mapping[str, Any]) -> None:
        self.run = run
        self._session: Any = None
        self._guarded("start", lambda: self._open(settings, config))

    def log(self, record: Record, epoch: int, step: int) -> None:
        """Sends the figures of an epoch."""
        figures = {name: value for name, value in record.metrics.items() if value == value}
        self._guarded("log", lambda: self._session.log({**figures, "epoch": epoch, "step": step}))

    def summary(self, values: Mapping[str, Any]) -> None:
        """Sets figures of the run as a whole."""
        self._guarded("write the summary", lambda: self._session.summary.update(dict(values)))

    def close(self, exit_code: int = 0) -> None:
        """Ends the session; without this the runs of a sweep would mix."""
        self._guarded("close", lambda: self._session.finish(exit_code=exit_code))
        self._session = None

    def _open(self, settings: WandbLogger, config: Mapping[str, Any]) -> None:
        import wandb

        self._session = wandb.init(
            project=settings.project or os.environ.get("WANDB_PROJECT") or "evensight",
            entity=settings.entity,
            group=settings.group or os.environ.get("WANDB_RUN_GROUP"),
            tags=list(settings.tags) or None,
            notes=settings.notes,
            name=os.environ.get("WANDB_NAME") or self.run.folder.name,
            id=_kept_id(self.run),
            dir=str(self.run.folder),
            config=dict(config),
            resume="allow",
            mode=_mode(settings),
            settings=wandb.Settings(init_timeout=float(settings.init_timeout), silent=True, console="off"),
        )
        self._session.define_metric("*", step_metric="epoch")

    def _guarded(self, what: str, call: Callable[[], Any]) -> None:
        if self.run.folder in _failed or (self._session is None and what != "start"):
            return
        try:
            call()
        except Exception as error:
            _failed.add(self.run.folder)
            said = "logger=wandb could not %s (%s); the run goes on without it, its folder is complete."
            log.warning(said, what, first_line(error))


@contextlib.contextmanager
def mirrored(config: Config, run: Run) -> Iterator[Mirror | None]:
    """Yields the mirror the configuration asks for, None without one, and closes it whatever happens."""
    from lightning.pytorch.utilities import rank_zero_only

    if not isinstance(config.logger, WandbLogger) or getattr(rank_zero_only, "rank", 0) != 0:
        yield None
        return
    mirror = Mirror(config.logger, run, dataclasses.asdict(config))
    exit_code = 1
    try:
        yield mirror
        exit_code = 0
    finally:
        mirror.close(exit_code)


def mirror_verdicts(config: Config, run: Run) -> None:
    """Adds the verdicts in the run folder to the mirror's summary; does nothing without a mirror."""
    with mirrored(config, run) as mirror:
        if mirror is not None:
            for path in sorted(run.verdicts.glob("*.json")):
                mirror.summary(verdict_summary(json.loads(path.read_text(encoding="utf-8"))))


def verdict_summary(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a verdict file as flat figures: `<stage>/verdict`, and verdict, estimate and n of each requirement."""
    stage = verdict["stage"]
    found = {f"{stage}/verdict": verdict["verdict"]}
    for row in verdict["requirements"]:
        for key in ("verdict", "estimate", "low", "high", "n"):
            if row[key] is not None:
                found[f"{stage}/{row['label']}/{key}"] = row[key]
    return found


def _kept_id(run: Run) -> str:
    """Returns the service's id of the run: the kept one, else a sweep agent's, else a new one, and keeps it."""
    path = run.folder / "wandb.json"
    if path.is_file():
        return str(json.loads(path.read_text(encoding="utf-8"))["id"])
    chosen = os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4)
    write_json(path, {"schema_version": 1, "id": chosen})
    return chosen


def _mode(settings: WandbLogger) -> Any:
    """Returns online only where there is a key: without one, or without a network, online waits and then fails."""
    if settings.mode or os.environ.get("WANDB_MODE"):
        return settings.mode or os.environ["WANDB_MODE"]
    import wandb

    # It says on the terminal that another way is to come, which versions before it lack.
    with contextlib.redirect_stderr(io.StringIO()):
        return "online" if wandb.api.api_key else "offline"
