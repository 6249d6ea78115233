"""A run's identity: what of its configuration decides its figures, and how two configurations differ in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from evensight.config import Config
from evensight.files import digest_json

# What does not change the figures of a run: where it is, how it is logged, how many threads feed it, how it is resumed.
NOT_IDENTITY = (
    *("runs_dir", "datasets_dir", "run", "resume", "gate", "logger", "test", "export", "callbacks"),
    *("allow_targets", "audit", "cycle"),
)
NOT_IDENTITY_DATA = ("root", "num_workers", "cache_mb", "eval_batch_size")
NOT_IDENTITY_TRAINER = (
    *("devices", "num_nodes", "accelerator", "strategy", "num_threads", "default_root_dir"),
    *("checkpoint_every", "progress", "profiler", "enable_progress_bar", "enable_model_summary", "log_every_n_steps"),
)
NOT_IDENTITY_FOCUS = ("trial", "force")
MOST_NAMED = 5
_LONGEST = 60  # characters of a value in a sentence


def identity(config: Config) -> str:
    """Returns the digest of what decides a run's figures: its configuration less paths, loggers and devices."""
    return digest_json(deciding(config))


def deciding(config: Config) -> dict[str, Any]:
    """Returns the part of a configuration that decides a run's figures."""
    values = asdict(config)
    for key in NOT_IDENTITY:
        values.pop(key, None)
    sections = {"data": NOT_IDENTITY_DATA, "trainer": NOT_IDENTITY_TRAINER, "focus": NOT_IDENTITY_FOCUS}
    for section, keys in sections.items():
        for key in keys:
            values[section].pop(key, None)
    return values


def differences(recorded: Config, wanted: Config) -> list[str]:
    """Returns a phrase for each key in which two configurations differ, as ``seed (the run has 1, now 2)``."""
    before, after = _flat(deciding(recorded)), _flat(deciding(wanted))
    keys = [*before, *(key for key in after if key not in before)]
    return [
        f"{key} (the run has {_shown(before, key)}, now {_shown(after, key)})"
        for key in keys
        if _text(before, key) != _text(after, key)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _text(values: Mapping[str, Any], key: str) -> str | None:
    return json.dumps(values[key], sort_keys=True, ensure_ascii=False) if key in values else None


def _shown(values: Mapping[str, Any], key: str) -> str:
    text = _text(values, key) or "nothing"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
