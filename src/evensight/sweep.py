"""`--multirun`: Hydra sweeps, each job a run of its own in the sweep's folder, the worst status wins."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from evensight.compose import config_folder, prepare_overrides, search_path, typed
from evensight.config import Config
from evensight.errors import RunError, UserError, first_line
from evensight.statuses import ORDER, guarded


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
    statuses: list[int] = []

    def job(composed: DictConfig) -> None:
        folder = Path(HydraConfig.get().runtime.output_dir)

        def call() -> int:
            config: Config = typed(composed)
            return int(command(config, folder))

        statuses.append(guarded(call))

    arguments = [*prepare_overrides(overrides), *search_path()]
    before = sys.argv
    sys.argv = [before[0], "--multirun", *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else hydra.main prints its errors itself and exits with status 1
    try:
        hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")(job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"--multirun: {first_line(error)}") from None
    finally:
        sys.argv = before
        del os.environ["HYDRA_FULL_ERROR"]
    if not statuses:
        raise RunError("--multirun: no job reported back; see the launcher's own log.")
    return max(statuses, key=ORDER.index)
