"""`logger=wandb`: a run on Weights & Biases, or offline in the run's `wandb/` until `wandb sync` hands it over."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evensight.config import WandbLogger
from evensight.errors import first_line
from evensight.files import digest_json
from evensight.records.artifact import SUMS, Artifact
from evensight.run import Run
from evensight.training.mirrors.base import Session
from evensight.training.mirrors.judged import Judged, figures, judged, strip
from evensight.training.mirrors.patience import Patience

log = logging.getLogger(__name__)

# Seconds between writes of an offline file. W&B's own 15 lose all epochs of the last 15 s to a kill.
_FLUSH_EVERY = 0.001
# Of `logger.timeout`: in which an epoch has to be in the file. It takes milliseconds; W&B says nothing when its disk is
# full. And what is kept back for going on offline, when the service does not answer.
_WRITTEN_WITHIN = _KEPT_BACK = 1 / 3


class _Process:
    """What this process knows of the service."""

    patience: dict[Path, Patience] = {}  # noqa: RUF012  (of each run)
    offline = False  # it could not be reached, and is not waited for again
    ended = False  # its library hung, and was ended


class WeightsAndBiases(Session):
    """Curves, configuration, summary, verdicts with their tables and pictures, and the artifact.

    The service may hold a run up for `logger.timeout` seconds in all. Where it cannot be reached, or refuses, the run
    goes on offline with one warning. An epoch is in the file of the run when its call returns, so a kill loses none.

    Rows have the epoch as step. A resumed run has the same id, in a folder of its own where it is offline; `wandb sync
    <run>/wandb/offline-run-*` hands these over one after the other, as one run (measured with W&B 0.31). Artifacts name
    files of the run folder by their paths, so hand over where the run was made.

    Args:
        run: The run folder, which keeps the id in `wandb.json`.
        settings: The `logger` section.
        config: The whole configuration, as plain values.
    """

    name = "wandb"
    takes_verdicts = True

    def __init__(self, run: Run, settings: WandbLogger, config: Mapping[str, Any]) -> None:
        super().__init__(run)
        self.settings, self.config = settings, config
        self._session: Any = None
        self._patience = _Process.patience.setdefault(run.folder, Patience(settings.timeout))

    def _begin(self) -> None:
        import wandb

        if _Process.ended:
            raise RuntimeError("W&B hung before in this process")
        if "id" not in self._kept:
            self._keep(id=os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4))
        # W&B reports on itself and waits at the exit of the process, 10 s where nobody answers.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_SILENT", "true")
        mode = self._mode()
        if mode == "online":
            try:
                return self._connect(mode, max(1.0, self._patience.left - _KEPT_BACK * self.settings.timeout))
            except Exception as error:
                if self._patience.left == 0.0:
                    raise
                self._go_offline(first_line(error).rstrip(". "))
                self._patience.call(wandb.teardown)  # what failed still holds the id
                mode = "offline"
        return self._connect(mode, max(1.0, self._patience.left))

    def _show(self, figures: Mapping[str, float], epoch: int, step: int) -> None:
        self._logged({**figures, "epoch": epoch, "step": step}, epoch)

    def _summary(self, values: Mapping[str, Any]) -> None:
        # All of it in each session: the summary of the one that is handed over last stands.
        self._keep(summary={**self._kept.get("summary", {}), **values})
        self._patience.call(lambda: self._session.summary.update(self._kept["summary"]))

    def _verdicts(self) -> None:
        stages = judged(self.run)
        for stage in stages:
            shown, digest = self._kept.get("shown", {}), digest_json(stage.verdict)
            if shown.get(stage.stage) != digest:
                self._stage(stage)
                self._keep(shown={**shown, stage.stage: digest})
        if stages and (self.run.artifact / SUMS).is_file():
            verdicts = {stage.stage: stage.verdict["verdict"] for stage in stages}
            self._patience.call(lambda: self._artifact(Artifact.open(self.run.artifact), verdicts))

    def _close(self, exit_code: int) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._patience.call(lambda: session.finish(exit_code=exit_code))

    def _let_go(self) -> None:
        """Ends W&B's own process where it hung or died: its hook at the exit of ours would wait, or complain."""
        try:
            self._close(1)
            hung = self._patience.left == 0.0
        except Exception:
            hung = True
        if hung:
            _Process.ended = True
            _end_service()

    def _mode(self) -> Any:
        """Returns online only where there is a key: without one W&B would ask for it."""
        asked = self.settings.mode or os.environ.get("WANDB_MODE")
        if asked == "online" or asked is None:
            if _Process.offline or not _has_key():
                if asked == "online" and not _Process.offline:
                    self._go_offline("there is no API key")
                return "offline"
            return "online"
        return asked

    def _go_offline(self, reason: str) -> None:
        _Process.offline = True
        said = "logger=wandb: the service cannot be used (%s); going on offline, hand over later: wandb sync %s"
        log.warning(said, reason, self.run.folder / "wandb" / "offline-run-*")

    def _connect(self, mode: Any, seconds: float) -> None:
        import wandb

        settings = wandb.Settings(
            init_timeout=seconds, silent=True, console="off", x_transaction_log_flush_interval=_FLUSH_EVERY
        )
        self._session = self._patience.call(
            lambda: wandb.init(
                project=self.settings.project or os.environ.get("WANDB_PROJECT") or "evensight",
                entity=self.settings.entity,
                group=self.settings.group or os.environ.get("WANDB_RUN_GROUP"),
                tags=list(self.settings.tags) or None,
                notes=self.settings.notes,
                name=os.environ.get("WANDB_NAME") or self.run.folder.name,
                id=self._kept["id"],
                dir=str(self.run.folder),
                config=dict(self.config),
                resume="allow",
                mode=mode,
                settings=settings,
            )
        )
        for handler in logging.getLogger("wandb").handlers:
            # Else logging prints a traceback for each line of W&B's own log that a full disk has no room for.
            handler.handleError = lambda record: None  # type: ignore[method-assign]
        self._patience.call(lambda: self._session.define_metric("*", step_metric="epoch"))

    def _logged(self, row: Mapping[str, Any], step: int) -> None:
        """Logs a row and waits until it is in W&B's file."""

        def call() -> None:
            files = list(Path(self._session.dir).parent.glob("*.wandb"))
            size = sum(file.stat().st_size for file in files)
            with _staged_in(self.run.folder / "wandb"):
                # With a step of ours W&B would wait for the next one before it writes this one.
                self._session.log(dict(row), step=step, commit=True)
            for file in files:
                _wait_for(file, size + sum(map(len, row)), _WRITTEN_WITHIN * self.settings.timeout)

        self._patience.call(call)

    def _stage(self, stage: Judged) -> None:
        import wandb

        def table(name: str) -> Any:
            found = stage.tables[name]
            if len(found.rows) < found.num_rows:
                log.info("logger=wandb: %s/%s has %d of %d rows", stage.stage, name, len(found.rows), found.num_rows)
            return wandb.Table(columns=list(found.columns), data=found.rows)

        row: dict[str, Any] = {f"{stage.stage}/{name}": table(name) for name in stage.tables if name != "confusion"}
        if "confusion" in stage.tables:
            fields = {name: name for name in stage.tables["confusion"].columns}
            title = {"title": f"{stage.stage}: confusion"}
            spec = "wandb/confusion_matrix/v1"
            row[f"{stage.stage}/confusion"] = wandb.plot_table(spec, table("confusion"), fields, title)
        for kind, pictures in stage.pictures.items():
            if pictures:
                shown = [wandb.Image(strip(picture.paths), caption=picture.caption) for picture in pictures]
                row[f"{stage.stage}/{kind}"] = shown
        step = self.next_step
        self._logged(row, step)
        self._summary(figures(stage.verdict))
        self._keep(next_step=step + 1)

    def _artifact(self, artifact: Artifact, verdicts: Mapping[str, str]) -> None:
        import wandb

        metadata = {"identity": artifact.identity, "verdicts": dict(verdicts)}
        found = wandb.Artifact(f"model-{self._kept['id']}", type="model", metadata=metadata)
        for path in sorted(self.run.artifact.rglob("*")):
            name = path.relative_to(self.run.artifact)
            if path.is_file() and name.parts[0] != "attached":  # which grows after the artifact was made
                # Immutable: named where it lies instead of copied to W&B's folder in the user's home.
                found.add_file(str(path), name=str(name), policy="immutable", skip_cache=True)
        with _staged_in(self.run.folder / "wandb"):
            self._session.log_artifact(found, aliases=["latest", artifact.identity[:12]])


def _wait_for(file: Path, size: int, seconds: float) -> None:
    """Returns when a file has at least `size` bytes and no more are coming.

    Raises:
        OSError: If that does not happen.
    """
    end, before = time.monotonic() + seconds, -1
    while (now := file.stat().st_size) < size or now != before:
        if time.monotonic() > end:
            raise OSError(f"{file} does not grow; its disk may be full, or W&B ended")
        before = now
        time.sleep(10 * _FLUSH_EVERY)


def _end_service() -> None:
    """Kills the process that W&B's library talks to, and takes away the library's hook that waits for it."""
    import wandb

    with contextlib.suppress(Exception):
        connection: Any = wandb.setup()._connection
        connection._cleanup()
        connection._proc._process.kill()


def _has_key() -> bool:
    """Whether W&B knows who the user is."""
    if os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    import wandb

    # It says on the terminal that another way is to come, which versions before it lack.
    with contextlib.redirect_stderr(io.StringIO()):
        return bool(wandb.api.api_key)


@contextlib.contextmanager
def _staged_in(folder: Path) -> Iterator[None]:
    """Lets W&B keep what it has yet to hand over in the run folder, and not in the user's home."""
    before = os.environ.get("WANDB_DATA_DIR")
    if before is not None:
        yield
        return
    os.environ["WANDB_DATA_DIR"] = str(folder)
    try:
        yield
    finally:
        del os.environ["WANDB_DATA_DIR"]
