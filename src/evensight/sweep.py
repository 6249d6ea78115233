"""`--multirun`: Hydra sweeps, each job a run of its own in the sweep's folder, the worst status wins."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from evensight.compose import composition_error, config_folder, prepare_overrides, search_path, typed
from evensight.config import Config
from evensight.environment import gpus
from evensight.errors import RunError, UserError
from evensight.files import disk_full
from evensight.ranks.world import world
from evensight.statuses import INTERRUPTED, ORDER, TERMINATED, guarded

_ONE_BY_ONE = (
    "whose jobs run in one process: write trainer.devices=1, or start the runs one by one, as in "
    "`for seed in 1 2 3; do evensight train experiment=shapes seed=$seed trainer.devices=2; done`."
)


class _Ended(BaseException):
    """No further job is wanted; carries why, if not a signal. An `Exception` Hydra would keep until all are done."""


def multirun(overrides: list[str], command: Callable[..., int]) -> int:
    """Runs every job of a sweep in turn and returns the worst of their statuses.

    Args:
        overrides: Hydra overrides with lists, e.g. ``["experiment=shapes", "seed=1,2,3"]``.
        command: Takes a `Config` and the job's folder.

    Raises:
        UserError: If the sweep cannot be composed, or resumes a run.
        RunError: If Hydra's launcher reported no job, as one that runs elsewhere does when it fails to start.
    """
    for argument in overrides:
        if argument.partition("=")[0].lstrip("+") in ("run", "resume"):
            raise UserError(f"{argument}: a sweep starts new runs; resume each by itself, without --multirun.")
    if world().size > 1:
        raise UserError(f"--multirun: started as {world().size} ranks, {_ONE_BY_ONE}")
    statuses: list[int] = []

    def job(composed: DictConfig) -> None:
        folder = Path(HydraConfig.get().runtime.output_dir)

        def call() -> int:
            config: Config = typed(composed)
            return int(command(config, folder))

        devices = OmegaConf.select(composed, "trainer.devices")
        if num_devices(devices) > 1 and "BasicLauncher" in str(HydraConfig.get().launcher.get("_target_")):
            # A rank that is started from here would read the command again and sweep by itself.
            raise _Ended(UserError(f"trainer.devices: {devices} with --multirun, {_ONE_BY_ONE}"))
        statuses.append(guarded(call))
        _leave_nothing(folder.parent)
        if statuses[-1] in (INTERRUPTED, TERMINATED):
            raise _Ended

    arguments = [*prepare_overrides(overrides, sweep=True), *search_path()]
    before = sys.argv
    sys.argv = [before[0], "--multirun", *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else hydra.main prints its errors itself and exits with status 1
    try:
        hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")(job)()
    except (UserError, RunError):
        raise
    except Exception as error:  # of Hydra: what a job raises is told and counted in it
        if disk_full(error):
            raise
        raise UserError(f"--multirun: {composition_error(error)}") from None
    except _Ended as ended:
        if ended.args:
            raise ended.args[0] from None
    finally:
        sys.argv = before
        del os.environ["HYDRA_FULL_ERROR"]
    if not statuses:
        raise RunError("--multirun: no job reported back; see the launcher's own log.")
    return max(statuses, key=ORDER.index)


def _leave_nothing(folder: Path) -> None:
    """Takes a sweep's folder away in which no job has made anything."""
    if not folder.name.startswith("sweep-") or any(
        path.is_file() and path.name != "multirun.yaml"
        for path in folder.rglob("*")  # that one is Hydra's
    ):
        return
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # other things are in them
        folder.parent.rmdir()
        folder.parent.parent.rmdir()


def num_devices(devices: Any) -> int:
    """Returns how many devices a value of `trainer.devices` names: a number, a list, or all there are (auto, -1)."""
    if isinstance(devices, str):
        devices = [part for part in devices.strip("[] ").split(",") if part.strip()]
        devices = devices if len(devices) != 1 else devices[0].strip()
    if devices in ("auto", "-1", -1):
        return len(gpus())
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        return len(devices)
    return int(devices) if str(devices).isdigit() else 1
