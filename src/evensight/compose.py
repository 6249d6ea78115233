"""From a command line to a checked `Config`: Hydra composes plain YAML, the typed schema answers for every key.

Hydra's own errors are mapped to one sentence. Overrides of values are forced (`++key=value`) so that every key of the
schema can be set whether or not a YAML file mentions it; a key that the schema does not have is refused by the schema.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from evensight import config as schema
from evensight.config import Config
from evensight.errors import UserError, first_line, shown, unknown, unknown_key, wrong_value
from evensight.names import METHODS, READERS, resolve
from evensight.schema import build
from evensight.user_files import check_file, check_files
from evensight.values import RESUME_WHAT, check_values, resume_word

__all__ = ["RESUME_WHAT", "compose", "config_folder", "group_option", "groups", "parse_options", "prepare_overrides"]
__all__ += ["composition_error", "resume_word", "search_path", "to_yaml", "typed"]

# Hydra's parser takes a second for a list of this many characters, and the time grows with the square.
MOST_CHARACTERS = 20_000


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
        if same.is_file() and (not path.is_file() or same.read_bytes() != path.read_bytes()):
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


def prepare_overrides(arguments: list[str], sweep: bool = False) -> list[str]:
    """Checks group options by name and forces value overrides; returns what Hydra is given.

    Args:
        arguments: Hydra overrides.
        sweep: Whether lists of values and Hydra's own settings may stand among them.

    Raises:
        UserError: If an argument is no override, or names an unknown group option or root key.
    """
    options = groups()
    parser = OverridesParser.create()
    prepared = []
    for argument in arguments:
        if len(argument) > MOST_CHARACTERS:
            raise UserError(
                f"{shown(argument)} has {len(argument)} characters, allowed are {MOST_CHARACTERS}; "
                "put long lists into a file of your own under ./configs."
            )
        try:
            override = parser.parse_override(argument)
        except Exception as error:  # Hydra's own, and what its functions raise: int(x), range(a), brackets too deep
            raise UserError(
                f"{shown(argument)} is no override; write key=value, or group=option ({_said(error)})."
            ) from None
        prepared.append(_prepared(argument, override, options, sweep))
    return prepared


def _prepared(argument: str, override: Override, options: dict[str, list[str]], sweep: bool) -> str:
    key = override.key_or_group
    roots = {field.name for field in dataclasses.fields(Config)} | set(options) | ({"hydra"} if sweep else set())
    root = key.split(".")[0].split("/")[0]
    if root == "hydra" and not sweep:
        raise UserError(f"{key}: settings of Hydra's own are for sweeps; add --multirun, or leave {key} out.")
    if root not in roots:
        raise unknown_key("", key, roots)
    if override.package is not None and root != "hydra":
        raise UserError(f"{shown(argument)}: a group has one place here; write {key}=<option>, without '@'.")
    if override.is_sweep_override() and not sweep:
        raise UserError(f"{key}: {shown(argument)} names several values; write one, or add --multirun to try each.")
    if key in options and not override.is_delete():
        return _checked_group(argument, override, options[key])
    if override.is_add() or override.is_force_add() or override.is_delete() or root == "hydra":
        return argument if not override.is_add() or root == "hydra" else "+" + argument
    return f"++{argument}"


def _checked_group(argument: str, override: Override, options: list[str]) -> str:
    group, folder = override.key_or_group, user_folder()
    value = override.value()
    if isinstance(value, Glob):
        values: list[Any] = value.filter(options) or [argument.partition("=")[2]]
    else:
        values = list(override.sweep_iterator()) if override.is_choice_sweep() else [value]
    for value in values:
        for name in value if isinstance(value, list) else [value]:
            if not isinstance(name, str) or name not in options:
                raise unknown(group, name if isinstance(name, str) else shown(name), options)
            if folder is not None and (folder / group / f"{name}.yaml").exists():
                check_file(folder / group / f"{name}.yaml")
    return argument.lstrip("+")


def compose(arguments: list[str]) -> Config:
    """Composes and checks a configuration.

    Args:
        arguments: Hydra overrides, e.g. ``["experiment=shapes", "seed=3"]``.

    Raises:
        UserError: One sentence with the key, what was found and what is allowed.
    """
    return typed(_composed("config", [*prepare_overrides(arguments), *search_path()]))


def _composed(name: str, overrides: list[str]) -> DictConfig:
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
            return hydra_compose(name, overrides=overrides)
    except Exception as error:  # nothing of ours runs in there
        raise composition_error(error) from None


def composition_error(error: Exception) -> UserError:
    """Returns the sentence for what Hydra, OmegaConf or YAML, which know many kinds, raised of what a user wrote."""
    folder = user_folder()
    try:
        if folder is not None:
            check_files(folder)
    except UserError as broken:
        return broken
    return _sentence(error)


def group_option(group: str, option: str) -> dict[str, Any]:
    """Composes one option of a group by itself, as in ``group_option("logger", "csv")``.

    Raises:
        UserError: If the group has no such option.
    """
    (checked,) = prepare_overrides([f"{group}={option}"])
    values = OmegaConf.to_container(_composed(checked.replace("=", "/", 1), search_path()), resolve=True)
    assert isinstance(values, dict)
    return dict(values.get(group) or {})


def typed(composed: DictConfig | dict[str, Any]) -> Config:
    """Merges a composed configuration into the schema and checks choices and ranges.

    Raises:
        UserError: On an unknown key, a wrong type, a missing value, or a value out of range.
    """
    try:
        container = OmegaConf.to_container(composed, resolve=True) if isinstance(composed, DictConfig) else composed
    except (OmegaConfBaseException, RecursionError) as error:
        raise _sentence(error) from None
    assert isinstance(container, dict)
    sections = [field.name for field in dataclasses.fields(Config)]
    for key in container:
        if key not in sections:
            raise unknown_key("", str(key), sections)
    result: Config = build(Config, {str(key): _section(str(key), value) for key, value in container.items()})
    result.resume = resume_word(result.resume)
    check_values(result)
    return result


def to_yaml(config: Config) -> str:
    """Returns the resolved configuration as YAML, which `typed` reads back."""
    return OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(config)))


def parse_options(kind: type, arguments: list[str]) -> Any:
    """Reads `key=value` arguments into a dataclass of `options.py`.

    Raises:
        UserError: On an unknown key, a key given twice, a wrong type or a missing value.
    """
    values: dict[str, Any] = {}
    for argument in arguments:
        key, separator, value = argument.partition("=")
        if not separator:
            allowed = ", ".join(f.name for f in dataclasses.fields(kind))
            raise UserError(f"{shown(argument)}: write key=value; allowed: {allowed}.")
        if key in values:
            raise UserError(f"{key}: is given twice ({shown(values[key])}, {shown(value)}); write it once.")
        values[key] = value
    return build(kind, values)


def _section(name: str, raw: Any) -> Any:
    """Types one section; those whose keys depend on a name pick their dataclass by it."""
    if name in ("data", "method", "optimizer", "logger") and not isinstance(raw, Mapping):
        raise wrong_value(name, raw, f"a mapping; choose one with {name}=<option>")
    kind = _kind(name, raw) if isinstance(raw, Mapping) else None
    return build(kind, raw, f"{name}.") if kind is not None else raw


def _kind(name: str, raw: Mapping[str, Any]) -> type | None:
    if name == "data":
        kind = resolve(READERS, "data.reader", _named("data", "reader", raw))
        assert isinstance(kind, type)
        return kind
    tables = {
        "method": schema.METHOD_SCHEMAS,
        "optimizer": schema.OPTIMIZER_SCHEMAS,
        "logger": schema.LOGGER_SCHEMAS,
    }
    if name not in tables:
        return None
    if name == "optimizer" and "_target_" in raw:
        return None
    chosen = _named(name, "name", raw)
    if name == "method" and chosen in METHODS and chosen not in tables[name]:
        return None  # a method of the user's own: its constructor checks its arguments
    if chosen not in tables[name]:
        raise unknown(f"{name}.name", chosen, {**tables[name], **(METHODS if name == "method" else {})})
    return tables[name][chosen]


def _named(section: str, key: str, raw: Mapping[str, Any]) -> str:
    if not raw.get(key):
        raise UserError(f"{section}.{key}: nothing given; choose one with {section}=<option>.")
    return str(raw[key])


def _option_of(found: re.Match[str]) -> UserError:
    where, group, option = found.groups()
    if group not in groups():  # one of Hydra's own
        return UserError(f"{where}: there is no {group}={option}; is the plugin of that name installed?")
    return unknown(f"{where}: {group}", option, groups()[group])


def _not_there(found: re.Match[str]) -> UserError:
    return UserError(f"~{found[1]}: no file states {found[1]!r}, so there is nothing to take away; leave it out.")


# What Hydra and OmegaConf say, and our sentence for it; anything else is passed on in their words.
_SENTENCES: list[tuple[str, Callable[[re.Match[str]], UserError]]] = [
    (r"In '(.+?)': Could not (?:find|load) '(.+)/(.+?)'", _option_of),
    (r"In '(.+?)': Could not override '(.+?)'", lambda found: unknown(f"{found[1]}: group", found[2], groups())),
    (r"Could not delete(?: from config\.)? '(.+?)'", _not_there),
]


def _sentence(error: Exception) -> UserError:
    text = _said(error)
    for pattern, sentence in _SENTENCES:
        found = re.match(pattern, text)
        if found:
            return sentence(found)
    return UserError(f"{getattr(error, 'full_key', None) or 'configuration'}: {text.replace('++', '')}.")


def _said(error: Exception) -> str:
    """Returns what Hydra or OmegaConf say, without the full stop that our sentence ends with."""
    if isinstance(error, RecursionError):
        return "too many brackets in each other"
    return re.sub(r" expecting .*", "", first_line(error)).rstrip(".")  # the grammar's tokens help nobody
