"""The sweep file, through the code of W&B's own agent, without a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from evensight.compose import compose

REPOSITORY = Path(__file__).parent.parent.parent
SWEEP = REPOSITORY / "scripts" / "sweeps" / "shapes.yaml"


def chosen(parameters: dict[str, dict[str, Any]], last: bool) -> dict[str, dict[str, Any]]:
    """Returns what the server would send for one run: a value of each parameter, here one end of its range."""
    end = -1 if last else 0
    return {
        name: {"value": part["values"][end] if "values" in part else part["max" if last else "min"]}
        for name, part in parameters.items()
    }


def command(last: bool) -> list[str]:
    """Returns the command line as the agent builds it."""
    sweep = yaml.safe_load(SWEEP.read_text(encoding="utf-8"))
    arguments = create_sweep_command_args({"args": chosen(sweep["parameters"], last)})
    filled: list[str] = []
    for part in create_sweep_command(sweep["command"]):
        if part == "${env}":
            filled += ["/usr/bin/env"]
        elif part == "${interpreter}":
            filled += [sys.executable]
        elif part == "${program}":
            filled += [sweep["program"]]
        elif part.startswith("${args"):
            filled += arguments[part[2:-1]]
        else:
            filled.append(part)
    return filled


@pytest.mark.parametrize("last", [False, True])
def test_every_override_of_the_sweep_is_known(last: bool) -> None:
    line = command(last)
    program = line.index("train.py")
    config = compose(line[program + 1 :])
    sweep = yaml.safe_load(SWEEP.read_text(encoding="utf-8"))
    end = -1 if last else 0
    assert config.seed == sweep["parameters"]["seed"]["values"][end]
    assert config.optimizer.lr == sweep["parameters"]["optimizer.lr"]["max" if last else "min"]
    assert (config.test, config.logger.name) == (False, "wandb")


def test_the_sweep_maximises_the_primary_metric() -> None:
    sweep = yaml.safe_load(SWEEP.read_text(encoding="utf-8"))
    assert sweep["metric"] == {"name": "val/primary", "goal": "maximize"}
    assert (REPOSITORY / sweep["program"]).is_file()


@pytest.mark.slow
def test_a_run_of_the_sweep(tmp_path: Path) -> None:
    line = [
        *command(last=False),
        "debug=fast",
        f"runs_dir={tmp_path / 'runs'}",
        f"datasets_dir={tmp_path / 'datasets'}",
    ]
    source = str(REPOSITORY / "src")
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SWEEP_ID": "s1", "WANDB_RUN_ID": "sweep0001"}
    environment["PYTHONPATH"] = os.pathsep.join([source, environment.get("PYTHONPATH", "")])
    done = subprocess.run(
        line, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run = (tmp_path / "runs" / "shapes" / "latest").resolve()
    assert json.loads((run / "wandb.json").read_text(encoding="utf-8"))["id"] == "sweep0001"
    assert list(run.glob("wandb/offline-run-*/run-sweep0001.wandb"))
    lines = [json.loads(text) for text in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all("val/primary" in one["metrics"] for one in lines)
