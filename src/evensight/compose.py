"""From a command line to a checked `Config`: Hydra composes plain YAML, the typed schema answers for every key.

Hydra's own errors are mapped to one sentence. Overrides of values are forced (`++key=value`) so that every key of the
schema can be set whether or not a YAML file mentions it; a key that the schema does not have is refused by the schema.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException, ValidationError

from evensight import config as schema
from evensight.config import Config
from evensight.errors import UserError, first_line, unknown
from evensight.names import BACKBONES, CUES, METHODS, READERS, resolve

# Keys whose values are one of a few words, and keys with a range: (low, high), both allowed; None is open.
CHOICES: dict[str, tuple[str, ...]] = {
    "gate": ("off", "strict"),
    "schedule.name": ("cosine", "constant"),
    "method.class_weights": ("none", "balanced"),
    "logger.mode": ("online", "offline"),
}
RANGES: dict[str, tuple[float | None, float | None]] = {
    "seed": (0, 2**31 - 1),
    "objective.confidence": (0.5, 0.9999),
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
    "method.label_smoothing": (0.0, 0.999),
    "model.drop_rate": (0.0, 0.999),
    "model.size": (1, 4096),
    "model.crop_ratio": (0.01, 1.0),
    "optimizer.lr": (0.0, None),
    "optimizer.weight_decay": (0.0, None),
    "optimizer.momentum": (0.0, 1.0),
    "schedule.warmup_fraction": (0.0, 1.0),
    "schedule.final_fraction": (0.0, 1.0),
    "ema.decay": (0.0, 1.0),
    "reliance.every_n_epochs": (1, None),
    "reliance.max_images": (1, None),
    "reliance.donors_per_class": (1, 2048),
    "trainer.num_threads": (1, 1024),
    "trainer.checkpoint_every.minutes": (0.0, None),
    "trainer.checkpoint_every.steps": (1, None),
    "finite_guard.max_skipped": (1, None),
    "finite_guard.lr_factor": (0.0, 1.0),
    "logger.init_timeout": (1, None),
}


RESUME_WHAT = "resume=true needs the run to continue: write run=<run folder> resume=true."


def config_folder() -> Path:
    """Returns the folder of the framework's own YAML: in the package (a wheel), else beside `src` (a clone)."""
    package = Path(__file__).parent
    for folder in (package / "configs", package.parent.parent / "configs"):
        if (folder / "config.yaml").is_file():
            return folder
    raise UserError(f"configs: no config.yaml found in {package / 'configs'}; reinstall evensight.")


def user_folder() -> Path | None:
    """Returns the user's own `./configs`, whose files add group options, or None when there is none besides ours."""
    folder = Path.cwd() / "configs"
    return folder if folder.is_dir() and folder.resolve() != config_folder().resolve() else None


def search_path() -> list[str]:
    """Returns the override that lets Hydra find the user's own options, none where there are none.

    Raises:
        UserError: If one of them has the name of one of ours and says something else: Hydra would take ours in silence.
    """
    extra, ours = user_folder(), config_folder()
    if extra is None:
        return []
    for path in sorted(extra.glob("*/*.yaml")):
        same = ours / path.relative_to(extra)
        if same.is_file() and same.read_bytes() != path.read_bytes():
            raise UserError(
                f"configs/{path.relative_to(extra)}: evensight has an option of this name, which would be taken; "
                f"rename the file, as in configs/{path.parent.name}/my_{path.name}."
            )
    # From here, not from the root: a folder's name may hold what the grammar of overrides reads as its own.
    return ["hydra.searchpath=[file://configs]"]


def groups() -> dict[str, list[str]]:
    """Returns every group with its options, ours and the user's."""
    found: dict[str, set[str]] = {}
    for root in filter(None, (config_folder(), user_folder())):
        for path in root.glob("*/*.yaml"):
            found.setdefault(path.parent.name, set()).add(path.stem)
    return {group: sorted(options) for group, options in sorted(found.items())}


def prepare_overrides(arguments: list[str]) -> list[str]:
    """Checks group options by name and forces value overrides; returns what Hydra is given.

    Raises:
        UserError: If an argument is no override, or names an unknown group option or root key.
    """
    options = groups()
    roots = {field.name for field in dataclasses.fields(Config)} | set(options) | {"hydra"}
    parser = OverridesParser.create()
    prepared = []
    for argument in arguments:
        try:
            override = parser.parse_override(argument)
        except HydraException as error:
            raise UserError(
                f"{argument!r} is no override; write key=value, or group=option ({_said(error)})."
            ) from None
        prepared.append(_prepared(argument, override, options, roots))
    return prepared


def _prepared(argument: str, override: Override, options: dict[str, list[str]], roots: set[str]) -> str:
    key = override.key_or_group
    root = key.split(".")[0].split("/")[0]
    if root not in roots:
        raise unknown("key", key, roots)
    if key in options and not override.is_delete():
        return _checked_group(argument, override, options[key])
    if override.is_add() or override.is_force_add() or override.is_delete() or root == "hydra":
        return argument if not override.is_add() or root == "hydra" else "+" + argument
    return f"++{argument}"


def _checked_group(argument: str, override: Override, options: list[str]) -> str:
    group = override.key_or_group
    values = override.sweep_string_iterator() if override.is_sweep_override() else [override.value()]
    for value in values:
        names = value if isinstance(value, list) else [value]
        for name in names:
            if name is not None and str(name) not in options:
                raise unknown(group, str(name), options)
    return argument.lstrip("+")


def compose(arguments: list[str]) -> Config:
    """Composes and checks a configuration.

    Args:
        arguments: Hydra overrides, e.g. ``["experiment=shapes", "seed=3"]``.

    Raises:
        UserError: One sentence with the key, what was found and what is allowed.
    """
    overrides = [*prepare_overrides(arguments), *search_path()]
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
            composed = hydra_compose("config", overrides=overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"configuration: {_said(error)}") from None
    return typed(composed)


def group_option(group: str, option: str) -> dict[str, Any]:
    """Composes one option of a group by itself, as in ``group_option("logger", "csv")``.

    Raises:
        UserError: If the group has no such option.
    """
    (checked,) = prepare_overrides([f"{group}={option}"])
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        composed = hydra_compose(checked.replace("=", "/", 1), overrides=search_path())
    values = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(values, dict)
    return dict(values.get(group) or {})


def typed(composed: DictConfig | dict[str, Any]) -> Config:
    """Merges a composed configuration into the schema and checks choices and ranges.

    Raises:
        UserError: On an unknown key, a wrong type, a missing value, or a value out of range.
    """
    try:
        container = OmegaConf.to_container(composed, resolve=True) if isinstance(composed, DictConfig) else composed
    except OmegaConfBaseException as error:
        raise UserError(f"configuration: {_said(error)}") from None
    assert isinstance(container, dict)
    raw: dict[str, Any] = {str(key): value for key, value in container.items()}
    sections = {field.name for field in dataclasses.fields(Config)}
    for key in raw:
        if key not in sections:
            raise unknown("key", key, sections)
    values = {name: _section(name, raw[name]) for name in raw if raw[name] is not None}
    result: Config = _object(Config, values, "")
    _check_values(result)
    return result


def to_yaml(config: Config) -> str:
    """Returns the resolved configuration as YAML, which `typed` reads back."""
    return OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(config)))


def parse_options(kind: type, arguments: list[str]) -> Any:
    """Reads `key=value` arguments into a dataclass of `options.py`.

    Raises:
        UserError: On an unknown key, a wrong type or a missing value.
    """
    values: dict[str, Any] = {}
    for argument in arguments:
        key, separator, value = argument.partition("=")
        if not separator:
            raise UserError(
                f"{argument!r}: write key=value; allowed: {', '.join(f.name for f in dataclasses.fields(kind))}."
            )
        values[key] = value
    return _object(kind, values, "")


def _section(name: str, raw: Any) -> Any:
    """Types one section; those whose keys depend on a name pick their dataclass by it."""
    if not isinstance(raw, dict):
        return raw
    kind = _kind(name, raw)
    return _object(kind, raw, f"{name}.") if kind is not None else raw


def _kind(name: str, raw: dict[str, Any]) -> type | None:
    if name == "data":
        kind = resolve(READERS, "data.reader", _named("data", "reader", raw))
        assert isinstance(kind, type)
        return kind
    tables = {
        "method": schema.METHOD_SCHEMAS,
        "optimizer": schema.OPTIMIZER_SCHEMAS,
        "logger": schema.LOGGER_SCHEMAS,
    }
    if name in tables:
        if name == "optimizer" and "_target_" in raw:
            return None
        chosen = _named(name, "name", raw)
        if name == "method" and chosen in METHODS and chosen not in tables[name]:
            return None  # a method of the user's own: its constructor checks its arguments
        if chosen not in tables[name]:
            raise unknown(f"{name}.name", chosen, {**tables[name], **(METHODS if name == "method" else {})})
        return tables[name][chosen]
    default = next(field for field in dataclasses.fields(Config) if field.name == name)
    factory = default.default_factory
    return factory if isinstance(factory, type) and dataclasses.is_dataclass(factory) else None


def _named(section: str, key: str, raw: dict[str, Any]) -> str:
    if not raw.get(key):
        raise UserError(f"{section}.{key}: nothing given; choose one with {section}=<option>.")
    return str(raw[key])


def _object(kind: type, values: dict[str, Any], prefix: str) -> Any:
    """Merges plain values into a dataclass; the sentence names the full key."""
    allowed = [field.name for field in dataclasses.fields(kind)]
    for key in values:
        if key not in allowed:
            raise unknown("key", f"{prefix}{key}", [f"{prefix}{name}" for name in allowed])
    nested = {key: value for key, value in values.items() if dataclasses.is_dataclass(value)}
    plain = {key: value for key, value in values.items() if key not in nested}
    current = ""
    try:
        merged = OmegaConf.structured(kind)
        for current, value in plain.items():
            OmegaConf.update(merged, current, value, merge=True)
        missing = [name for name in OmegaConf.missing_keys(merged) if name.split(".")[0] not in nested]
        if missing:
            raise UserError(f"{prefix}{sorted(missing)[0]}: a value is needed; write {prefix}{sorted(missing)[0]}=...")
        found: dict[str, Any] = {}
        for field in dataclasses.fields(kind):
            if field.name not in nested:
                node = merged._get_node(field.name)
                found[field.name] = OmegaConf.to_object(node) if OmegaConf.is_config(node) else merged[field.name]
    except (ConfigKeyError, ValidationError, MissingMandatoryValue, OmegaConfBaseException) as error:
        raise UserError(f"{prefix}{current}: {_said(error)}.") from None
    return kind(**found, **nested)


def _check_values(config: Config) -> None:
    for key, allowed in CHOICES.items():
        value = _lookup(config, key)
        if value is not None and value not in allowed:
            raise unknown(key, str(value), allowed)
    for key, (low, high) in RANGES.items():
        value = _lookup(config, key)
        if value is None:
            continue
        if not (value == value and (low is None or value >= low) and (high is None or value <= high)):
            span = f"at least {low:g}" if high is None else f"from {low:g} to {high:g}"
            raise UserError(f"{key}: found {value}, allowed is {span}.")
    for name in config.reliance.cues:
        if name not in CUES:
            raise unknown("reliance.cues", name, CUES)
    # Names of timm and torchvision are looked up where the network is built: listing them takes seconds.
    if "/" not in config.model.backbone and config.model.backbone not in BACKBONES:
        raise unknown("model.backbone", config.model.backbone, [*BACKBONES, "timm/<name>", "torchvision/<name>"])
    if config.resume and not config.run:
        raise UserError(RESUME_WHAT)
    if config.run and not config.resume:
        raise UserError(f"run: {config.run} is only read with resume=true; write run={config.run} resume=true.")
    check = getattr(config.data, "check", None)
    if check is not None:
        check()


def _lookup(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part) if isinstance(config, dict) else getattr(config, part, None)
    return config


def _said(error: Exception) -> str:
    """Returns what Hydra or OmegaConf say, without the full stop that our sentence ends with."""
    return first_line(error).rstrip(".")
