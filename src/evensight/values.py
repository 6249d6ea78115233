"""What values a key takes beside its type: one of a few words, a range, a name that a folder can have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from evensight.config import Config, FocusConfig
from evensight.errors import UserError, unknown, wrong_value
from evensight.focus_values import check_focus
from evensight.names import BACKBONES, CUES, DESCRIBED_ONLY, FOCUS_BY, FOCUS_METHODS

RESUME_WHAT = (
    "resume=true needs the run to continue: write run=<run folder> resume=true, or resume=auto for the newest "
    "unfinished run of this configuration."
)

# Keys whose values are one of a few words, and keys with a range: (low, high), both allowed; None is open.
CHOICES: dict[str, tuple[str, ...]] = {
    "gate": ("off", "strict"),
    "data.near_duplicates": ("keep_together", "part"),
    "data.labels": ("majority", "consensus", "soft"),
    "data.contested": ("keep", "leave_out"),
    "data.side_tables": ("quarantine", "cues", "soft_labels"),
    "schedule.name": ("cosine", "constant"),
    "method.class_weights": ("none", "balanced"),
    "method.penalty": ("l1", "l2"),
    "method.over": ("class", "group", "cell"),
    "focus.keep": ("shape",),
    "focus.by": FOCUS_BY,
    "focus.groups": FOCUS_METHODS["groups"],
    "focus.head": FOCUS_METHODS["head"],
    "logger.mode": ("online", "offline"),
    "trainer.deterministic": ("true", "false", "warn"),
}
RANGES: dict[str, tuple[float | None, float | None]] = {
    "seed": (0, 2**31 - 1),
    "data.validation_fraction": (0.0, 0.9),
    "data.test_fraction": (0.0, 0.9),
    "data.limit": (1, None),
    "data.batch_size": (1, None),
    "data.eval_batch_size": (1, None),
    "data.num_workers": (0, 256),
    "data.cache_mb": (0, None),
    "data.max_pixels": (1, None),
    "data.correlation": (0.0, 1.0),
    "data.num_train": (1, None),
    "data.num_validation": (1, None),
    "data.num_test": (1, None),
    "data.conflict_ratio": (0.0, 1.0),
    "data.label_noise": (0.0, 1.0),
    "data.test_agreement": (0.0, 1.0),
    "method.label_smoothing": (0.0, 0.999),
    "method.held_back": (0.0, 0.9),
    "method.strength": (1e-6, 1e6),
    "method.num_subsets": (1, 1000),
    "method.cell_images": (1, None),
    "method.gamma": (0.0, 100.0),
    "method.tau": (0.0, None),
    "method.smoothing": (1e-6, None),
    "method.eta": (0.0, None),
    "method.adjustment": (0.0, None),
    "method.identify_epochs": (1, None),
    "method.upweight": (1.0, None),
    "method.q": (0.01, 1.0),
    "method.decay": (0.0, 0.999),
    "method.bias_epochs": (1, None),
    "method.select_epochs": (0, None),
    "method.select": (0.0, 1.0),
    "model.drop_rate": (0.0, 0.999),
    "model.size": (1, 4096),
    "model.crop_ratio": (0.01, 1.0),
    "optimizer.lr": (0.0, None),
    "optimizer.weight_decay": (0.0, None),
    "optimizer.momentum": (0.0, 1.0),
    "schedule.warmup_fraction": (0.0, 1.0),
    "schedule.final_fraction": (0.0, 1.0),
    "ema.decay": (0.0, 1.0),
    "focus.strength": (0.0, 1.0),
    "reliance.every_n_epochs": (1, None),
    "reliance.max_images": (1, None),
    "reliance.donors_per_class": (1, 2048),
    "audit.alarm_level": (0.01, 0.2),
    "audit.seed": (0, 2**31 - 1),
    "audit.num_workers": (1, 256),
    "cycle.requests": (10, 1_000_000),
    "cycle.look_every": (1, 1_000_000),
    "cycle.labelled": (0.0, 1.0),
    "cycle.budget": (1, 1_000_000),
    "cycle.connections": (1, 64),
    "trainer.num_threads": (1, 1024),
    "trainer.checkpoint_every.minutes": (0.0, None),
    "trainer.checkpoint_every.steps": (1, None),
    "trainer.num_nodes": (1, None),
    "trainer.max_epochs": (1, None),
    "trainer.min_epochs": (0, None),
    "trainer.max_steps": (1, None),
    "trainer.min_steps": (0, None),
    "trainer.check_val_every_n_epoch": (1, None),
    "trainer.log_every_n_steps": (0, None),
    "trainer.accumulate_grad_batches": (1, None),
    "trainer.gradient_clip_val": (0.0, None),
    "finite_guard.max_skipped": (1, None),
    "finite_guard.lr_factor": (0.0, 1.0),
    "logger.timeout": (1, None),
}
# Lightning's word for "no limit" is -1.
UNLIMITED = ("trainer.max_epochs", "trainer.max_steps")
# What YAML and Hydra read as true and as false, and the third word that `resume` takes.
_RESUME: dict[str, bool | str] = {
    **dict.fromkeys(("true", "yes", "on", "y", "1"), True),
    **dict.fromkeys(("false", "no", "off", "n", "0", "none"), False),
    "auto": "auto",
}


def resume_word(value: Any) -> bool | str:
    """Returns what `resume` says: True, False or "auto".

    Raises:
        UserError: If it is none of them.
    """
    word = str(value).lower()
    if word not in _RESUME:
        raise unknown("resume", str(value), ("false", "true", "auto"))
    return _RESUME[word]


def check_values(config: Config) -> None:
    """Holds a typed configuration against the tables.

    Raises:
        UserError: For the first value that is not allowed.
    """
    _check_tables(config)
    _check_folder_name("experiment_name", config.experiment_name)
    for position, name in enumerate(config.reliance.cues):
        if name not in CUES:
            raise unknown("reliance.cues", name, CUES)
        if name in DESCRIBED_ONLY:
            allowed = [cue for cue in CUES if cue not in DESCRIBED_ONLY]
            raise UserError(
                f"reliance.cues: {name!r} cannot be taken from another image, so reliance on it cannot be measured; "
                f"allowed: {', '.join(allowed)}."
            )
        if name in config.reliance.cues[:position]:
            raise UserError(f"reliance.cues: {name!r} is listed twice; each stands once.")
    check_focus(config)
    # Names of timm and torchvision are looked up where the network is built: listing them takes seconds.
    if "/" not in config.model.backbone and config.model.backbone not in BACKBONES:
        raise unknown("model.backbone", config.model.backbone, [*BACKBONES, "timm/<name>", "torchvision/<name>"])
    _check_resume(config)
    check = getattr(config.data, "check", None)
    if check is not None:
        check()


def _check_tables(config: Config) -> None:
    for key, allowed in CHOICES.items():
        value = _lookup(config, key)
        for one in value if isinstance(value, list) else [value]:
            word = str(one).lower() if isinstance(one, bool) else one
            if one is not None and word not in allowed:
                raise unknown(key, str(one), allowed)
    for key, (low, high) in RANGES.items():
        value = _lookup(config, key)
        if value is None or (key in UNLIMITED and value == -1):
            continue
        if not (math.isfinite(value) and (low is None or value >= low) and (high is None or value <= high)):
            span = f"at least {low:.10g}" if high is None else f"from {low:.10g} to {high:.10g}"
            raise wrong_value(key, value, f"{span}, or -1 (no limit)" if key in UNLIMITED else span)
    if config.trainer.limit_train_batches == 0:
        raise wrong_value("trainer.limit_train_batches", 0, "a number of batches from 1, or a share of them above 0")
    betas: Sequence[float] | None = _lookup(config, "optimizer.betas")
    if betas is not None and (len(betas) != 2 or not all(0 <= beta < 1 for beta in betas)):
        raise wrong_value("optimizer.betas", list(betas), "two numbers from 0 to below 1")


def _check_folder_name(key: str, name: str) -> None:
    """A name becomes a folder: of one part, of visible characters, not hidden."""
    fits = name and name == name.strip() and name.isprintable() and len(name.encode("utf-8", "replace")) <= 200
    if not fits or "/" in name or name.startswith("."):
        raise wrong_value(key, name, "the name of a folder: letters, digits, '-' and '_', no '/', no '.' first")


def _check_resume(config: Config) -> None:
    if config.resume is True and not config.run:
        raise UserError(RESUME_WHAT)
    if config.run and config.resume == "auto":
        raise UserError("run: resume=auto finds the run by itself; leave run out, or write resume=true.")
    if config.run and not config.resume:
        wish = FocusConfig(by=["head"], head=config.focus.head, attribute=config.focus.attribute)
        if "head" not in config.focus.by:
            raise UserError(
                f"run: {config.run} is only read with resume=true, or to fit its last layer anew; write "
                f"run={config.run} resume=true, or, when it is finished, run={config.run} focus.by=[head]."
            )
        if config.focus != wish:
            raise UserError(
                "focus: of a finished run only the last layer is fitted; beside run=<run folder> and focus.by=[head] "
                "only focus.head and focus.attribute are allowed."
            )


def _lookup(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part) if isinstance(config, dict) else getattr(config, part, None)
    return config
