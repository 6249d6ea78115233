"""The folder a run leaves: written by one stage, read by the next, complete without any service."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import os
import platform
import secrets
import shlex
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from evensight import __version__
from evensight.compose import RESUME_WHAT, compose, group_option, groups, to_yaml, typed
from evensight.config import Config
from evensight.errors import UserError, nearest
from evensight.files import digest_json, write_json, write_text

if TYPE_CHECKING:
    from evensight.objective.objective import Objective

# What does not change the figures of a run: where it is, how it is logged, how many threads feed it, how it is resumed.
NOT_IDENTITY = ("runs_dir", "datasets_dir", "run", "resume", "gate", "logger", "test", "export", "callbacks")
NOT_IDENTITY_DATA = ("root", "num_workers", "cache_mb", "eval_batch_size")
NOT_IDENTITY_TRAINER = (
    *("devices", "num_nodes", "accelerator", "strategy", "num_threads", "default_root_dir"),
    *("checkpoint_every", "progress", "profiler", "enable_progress_bar", "enable_model_summary", "log_every_n_steps"),
)
# What YAML and Hydra read as true.
_TRUE = ("true", "yes", "on", "y", "1")
PACKAGES = ("torch", "torchvision", "lightning", "hydra-core", "albumentations", "timm", "numpy", "polars", "pillow")


@dataclass(frozen=True)
class Run:
    """A run folder. Properties name its files; none of them need exist yet."""

    folder: Path

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
        """Everything that was logged, tracebacks included."""
        return self.folder / "run.log"

    @property
    def predictions(self) -> Path:
        """One Parquet table a stage, a row an image."""
        return self.folder / "predictions"

    @property
    def pictures(self) -> Path:
        """Images shown in the report, with their captions as JSON."""
        return self.folder / "pictures"

    @classmethod
    def create(cls, config: Config, folder: Path | None = None) -> Run:
        """Makes a new run folder and writes its configuration, environment and the link `latest`.

        Args:
            config: The checked configuration.
            folder: Where, for a sweep's numbered jobs; otherwise `<runs_dir>/<experiment_name>/<time>-<4 letters>`.

        Raises:
            UserError: If the folder cannot be made.
        """
        experiment = Path(config.runs_dir) / config.experiment_name
        stamp = datetime.datetime.now().astimezone().strftime("%Y%m%d_%H%M%S")
        chosen = folder or experiment / f"{stamp}-{secrets.token_hex(2)}"
        try:
            chosen.mkdir(parents=True, exist_ok=folder is not None)
            run = cls(chosen)
            write_text(chosen / "config.yaml", to_yaml(config))
            write_json(chosen / "environment.json", environment())
            _point_latest(experiment, chosen)
        except OSError as error:
            raise UserError(
                f"runs_dir: {chosen} cannot be written ({error.strerror}); choose another runs_dir."
            ) from None
        return run

    def discard(self, experiment: Path) -> None:
        """Removes a run that a mistake ended before it began; `latest` of `experiment` goes back to the newest left."""
        shutil.rmtree(self.folder, ignore_errors=True)
        left = [*experiment.glob("2*/config.yaml"), *experiment.glob("sweep-*/*/config.yaml")]
        if left:
            _point_latest(experiment, max(left, key=lambda path: path.stat().st_mtime).parent)
        else:
            (experiment / "latest").unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # other things are in it
                experiment.rmdir()

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

    def write_json(self, name: str, value: Any) -> Path:
        """Writes a JSON file of the run, whole or not at all, and returns its path."""
        path = self.folder / name
        write_json(path, value)
        return path


def configuration(arguments: list[str]) -> Config:
    """Composes a configuration, or with `run=<folder> resume=true` takes the one that the run recorded.

    Args:
        arguments: Hydra overrides. Beside `resume=true` only keys that do not change a run's figures may stand.

    Raises:
        UserError: A wrong key or value, no run, or a key that would change what is resumed.
    """
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    if given.get("resume", "false").lower() not in _TRUE:
        return compose(arguments)
    if not given.get("run"):
        raise UserError(RESUME_WHAT)
    run = Run.open(given["run"])
    values = asdict(run.config())
    changed: DictConfig | ListConfig = OmegaConf.create(values)
    known = groups()
    for key, value in given.items():
        section, _, name = key.partition(".")
        free = {"data": NOT_IDENTITY_DATA, "trainer": NOT_IDENTITY_TRAINER}.get(section, ())
        if section not in NOT_IDENTITY and name not in free:
            raise UserError(
                f"{key}: a resumed run keeps its configuration ({run.folder / 'config.yaml'}); "
                f"leave {key} out, or start a new run."
            )
        if key in known:
            OmegaConf.update(changed, key, group_option(key, value), merge=False)
        else:
            changed = OmegaConf.merge(changed, OmegaConf.from_dotlist([f"{key}={value}"]))
    assert isinstance(changed, DictConfig)
    changed["run"] = str(run.folder)
    return typed(changed)


def identity(config: Config) -> str:
    """Returns the digest of what decides a run's figures: its configuration less paths, loggers and devices."""
    values = asdict(config)
    for key in NOT_IDENTITY:
        values.pop(key, None)
    for section, keys in (("data", NOT_IDENTITY_DATA), ("trainer", NOT_IDENTITY_TRAINER)):
        for key in keys:
            values[section].pop(key, None)
    return digest_json(values)


def environment() -> dict[str, Any]:
    """Returns what the run ran on: versions, processor, command line, commit of the working folder."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "schema_version": 1,
        "evensight": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "gpus": _gpus(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "packages": versions,
        "command": shlex.join(sys.argv),
        "commit": _commit(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _nearest_run(folder: Path) -> Path | None:
    """Returns the run folder that was most likely meant: the latest one inside, or one beside of a like name."""
    if (folder / "latest" / "config.yaml").is_file():
        return folder / "latest"
    beside = {path.parent.name: path.parent for path in folder.parent.glob("*/config.yaml")}
    closest = nearest(folder.name, beside)
    return beside[closest] if closest else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """Names the NVIDIA devices by the driver's own files, so that torch need not be imported."""
    found = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        found += [line.split(":", 1)[1].strip() for line in lines if line.startswith("Model")]
    return found


def _commit() -> str | None:
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def _point_latest(experiment: Path, folder: Path) -> None:
    """Points `latest` at the newest run by a rename, so that no reader ever finds it missing."""
    temporary = experiment / f".latest-{secrets.token_hex(4)}"
    try:
        temporary.symlink_to(os.path.relpath(folder, experiment))
        temporary.replace(experiment / "latest")
    except OSError:  # a file system without symbolic links: the run is complete without it
        temporary.unlink(missing_ok=True)
