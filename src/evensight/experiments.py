"""Keeps what was typed as an experiment file of the user's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from evensight.compose import groups
from evensight.errors import UserError
from evensight.files import disk_full, write_text


def save_experiment(name: str, overrides: list[str]) -> Path:
    """Writes `configs/experiment/<name>.yaml` in the working folder from an experiment and overrides.

    Args:
        name: Letters, digits, `_` and `-`.
        overrides: What was typed, checked already.

    Raises:
        UserError: If the name is unfit, the file exists, or an override cannot stand in it.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise UserError(f"--save: {name!r} is no name; allowed are letters, digits, '_' and '-'.")
    path = Path("configs") / "experiment" / f"{name}.yaml"
    known = groups()
    if path.exists():
        raise UserError(f"--save: {path} exists; choose another name or remove it.")
    if name in known["experiment"]:
        raise UserError(f"--save: {name!r} is an experiment of evensight's own; choose another name.")
    parser = OverridesParser.create()
    defaults: list[Any] = []
    values = OmegaConf.create({})
    for argument in overrides:
        override = parser.parse_override(argument)
        key = override.key_or_group
        if override.is_delete() or key == "debug":
            reason = "takes a key away" if override.is_delete() else "is for trying things out"
            raise UserError(f"--save: {argument} {reason} and cannot be kept; leave it out.")
        if key == "experiment":
            defaults.insert(0, str(override.value()))
        elif key in known:
            defaults.append({f"override /{key}": override.value()})
        else:
            OmegaConf.update(values, key, override.value(), force_add=True)
    if "experiment_name" not in values:
        values["experiment_name"] = name
    body = OmegaConf.to_yaml(OmegaConf.create({"defaults": [*defaults, "_self_"]})) + OmegaConf.to_yaml(values)
    try:
        write_text(path, f"# @package _global_\n# python train.py experiment={name}\n{body}")
    except OSError as error:
        if disk_full(error):
            raise
        raise UserError(f"--save: {path} cannot be written ({error.strerror}).") from None
    return path
