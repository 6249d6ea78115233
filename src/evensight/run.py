"""The folder a run leaves: written by one stage, read by the next, complete without any service."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from evensight.compose import to_yaml, typed
from evensight.config import Config
from evensight.environment import environment
from evensight.errors import UserError, nearest
from evensight.files import clear_temporaries, disk_full, write_json, write_text
from evensight.locking import locked
from evensight.ranks.world import world

if TYPE_CHECKING:
    from evensight.objective.objective import Objective

FINISHED = "finished.json"
ORIGIN = "origin.json"  # of a run whose network is another one's with a new last layer
_STALE_SECONDS = 60  # after which a link that was to become `latest` is one of a killed process
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A run folder. Properties name its files; none of them need exist yet.

    Attributes:
        folder: Its path.
        made: The folders above it that were made for it, innermost first.
    """

    folder: Path
    made: tuple[Path, ...] = field(default=(), compare=False, repr=False)

    @property
    def checkpoints(self) -> Path:
        """`best.ckpt` and `last.ckpt`."""
        return self.folder / "checkpoints"

    @property
    def verdicts(self) -> Path:
        """One JSON file a stage."""
        return self.folder / "verdicts"

    @property
    def artifact(self) -> Path:
        """What ships."""
        return self.folder / "artifact"

    @property
    def metrics_file(self) -> Path:
        """A line of JSON an epoch."""
        return self.folder / "metrics.jsonl"

    @property
    def report(self) -> Path:
        """The page."""
        return self.folder / "report.html"

    @property
    def log_file(self) -> Path:
        """Everything that this rank logged, tracebacks included."""
        here = world()
        return self.folder / ("run.log" if here.leads else f"run.rank{here.rank}.log")

    @property
    def predictions(self) -> Path:
        """One Parquet table a stage, a row an image."""
        return self.folder / "predictions"

    @property
    def pictures(self) -> Path:
        """Images shown in the report, with their captions as JSON."""
        return self.folder / "pictures"

    @property
    def begun(self) -> bool:
        """Whether training has left anything that a later process goes on from."""
        return self.checkpoints.exists() or self.metrics_file.exists()

    @property
    def finished(self) -> dict[str, Any] | None:
        """What the last stage wrote when everything was done: when, verdict, status; None before that."""
        return self.read_json(FINISHED)

    @property
    def hint(self) -> str:
        """How to go on with the run."""
        return f"go on with: evensight train run={self.folder} resume=true"

    @classmethod
    def create(cls, config: Config, folder: Path | None = None) -> Run:
        """Makes a new run folder and writes its configuration, environment and the link `latest`.

        Args:
            config: The checked configuration.
            folder: Where, for a sweep's numbered jobs; otherwise `<runs_dir>/<experiment_name>/<time>-<4 letters>`.

        Raises:
            UserError: If the folder cannot be made, or `folder` is a run already.
        """
        run = cls.make(config, folder)
        run.describe(config)
        return run

    @classmethod
    def make(cls, config: Config, folder: Path | None = None) -> Run:
        """Makes an empty folder that no other process has; see `create`."""
        experiment = _experiment(config)
        while True:
            stamp = datetime.datetime.now().astimezone().strftime("%Y%m%d_%H%M%S")
            chosen = folder or experiment / f"{stamp}-{secrets.token_hex(2)}"
            above = tuple(path for path in chosen.parents if not path.exists())
            try:
                chosen.mkdir(parents=True, exist_ok=folder is not None)
            except OSError as error:
                if isinstance(error, FileExistsError) and folder is None and chosen.is_dir():
                    continue  # another run of this second drew the same letters
                raise _cannot_write("runs_dir", chosen, error) from None
            if (chosen / "config.yaml").exists():
                raise UserError(f"run: {chosen} is a run already; write to another folder.")
            return cls(chosen, above)

    def describe(self, config: Config) -> None:
        """Writes configuration, environment and the link `latest` of a folder that was just made."""
        try:
            # First, for without it there is nothing to resume.
            write_text(self.folder / "config.yaml", to_yaml(dataclasses.replace(config, run=None, resume=False)))
            write_json(self.folder / "environment.json", {**environment(config), "sessions": []})
            _point_latest(_experiment(config), self.folder)
        except OSError as error:
            raise _cannot_write("runs_dir", self.folder, error) from None

    def add_session(self, config: Config) -> None:
        """Adds what this process runs on to `environment.json`, which begins with the first one."""
        path = self.folder / "environment.json"
        first = self.read_json(path.name) or {}
        sessions = [*first.get("sessions", []), environment(config)]
        write_json(path, {**first, "sessions": sessions})

    @contextlib.contextmanager
    def worked_on(self, config: Config) -> Iterator[None]:
        """Locks an existing run, removes what a killed process left half written, and notes this process.

        Raises:
            BusyError: Another process has it.
        """
        with locked(self.folder):
            for path in clear_temporaries(self.folder):
                _log.debug("removed %s, which a process that was killed had not finished", path)
            self.add_session(config)
            yield

    def finish(self, verdict: str, status: int) -> None:
        """Writes that everything is done: the last file of a run."""
        when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        value = {"schema_version": 1, "time": when, "verdict": verdict, "status": status}
        write_json(self.folder / FINISHED, value)

    def discard(self, config: Config) -> None:
        """Removes a run that a mistake ended before it began; its experiment's `latest` is the newest left again."""
        experiment = _experiment(config)
        shutil.rmtree(self.folder, ignore_errors=True)
        left = [*experiment.glob("2*/config.yaml"), *experiment.glob("sweep-*/*/config.yaml")]
        if left:
            _point_latest(experiment, max(left, key=lambda path: path.stat().st_mtime).parent)
        else:
            (experiment / "latest").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # other things are in it
            for folder in self.made:
                folder.rmdir()

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Opens an existing run folder.

        Raises:
            UserError: If there is none at `path`.
        """
        folder = Path(path)
        if not (folder / "config.yaml").is_file():
            hint = f" Did you mean {closest}?" if (closest := _nearest_run(folder)) else ""
            raise UserError(f"run: {folder} is no run folder (no config.yaml in it).{hint}")
        return cls(folder.resolve())

    def config(self) -> Config:
        """Returns the configuration the run recorded.

        Raises:
            UserError: If the file cannot be read, or holds what no configuration does.
        """
        path = self.folder / "config.yaml"
        try:
            loaded = OmegaConf.to_container(OmegaConf.load(path))
        except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
            raise UserError(f"run: {path} cannot be read ({type(error).__name__}); it is broken.") from error
        if not isinstance(loaded, dict):
            raise UserError(f"run: {path} is no configuration of a run.")
        return typed({str(key): value for key, value in loaded.items()})

    def objective(self) -> Objective:
        """Returns the resolved objective the run recorded.

        Raises:
            UserError: If the run ended before it was written.
        """
        from evensight.objective.objective import Objective

        path = self.folder / "objective.json"
        if not path.is_file():
            raise UserError(f"run: {self.folder} has no objective.json; it ended before its data was prepared.")
        return Objective.from_json(path.read_text(encoding="utf-8"))

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Returns what a JSON file of the run holds; None where there is none, or it cannot be read."""
        try:
            value = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def write_json(self, name: str, value: Any) -> Path:
        """Writes a JSON file of the run, whole or not at all, and returns its path."""
        path = self.folder / name
        write_json(path, value)
        return path


def _nearest_run(folder: Path) -> Path | None:
    """Returns the run folder that was most likely meant: the latest one inside, or one beside of a like name."""
    if (folder / "latest" / "config.yaml").is_file():
        return folder / "latest"
    beside = {path.parent.name: path.parent for path in folder.parent.glob("*/config.yaml")}
    closest = nearest(folder.name, beside)
    return beside[closest] if closest else None


def _experiment(config: Config) -> Path:
    return Path(config.runs_dir) / config.experiment_name


def _cannot_write(key: str, folder: Path, error: OSError) -> Exception:
    """A mistake of the user's, or the disk's fault, which stays what it is."""
    if disk_full(error):
        return error if error.filename else OSError(error.errno, error.strerror, str(folder))
    return UserError(f"{key}: {folder} cannot be written ({error.strerror}); choose another {key}.")


def _point_latest(experiment: Path, folder: Path) -> None:
    """Points `latest` at the newest run by a rename, so that no reader ever finds it missing."""
    for left in experiment.glob(".latest-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.lstat().st_mtime > _STALE_SECONDS:
                left.unlink()
    temporary = experiment / f".latest-{secrets.token_hex(4)}"
    try:
        temporary.symlink_to(os.path.relpath(folder, experiment))
        temporary.replace(experiment / "latest")
    except OSError:  # a file system without symbolic links: the run is complete without it
        temporary.unlink(missing_ok=True)
