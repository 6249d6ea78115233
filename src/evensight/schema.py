"""Plain values become a dataclass of the schema; what does not fit is said with the full key and what is allowed."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Union

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from evensight.errors import WORDS, UserError, first_line, missing, unknown_key, wrong_value

_PLURAL: dict[Any, str] = {int: "whole numbers", float: "numbers", bool: "true or false", str: "texts"}


def in_words(hint: Any) -> str:
    """Says what a type takes: ``a whole number or null``, ``a list of numbers``."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(in_words(part) for part in parts))
    if origin is list and parts[0] in _PLURAL:
        return f"a list of {_PLURAL[parts[0]]}"
    if dataclasses.is_dataclass(hint):
        return f"a mapping with the keys {', '.join(field.name for field in dataclasses.fields(hint))}"
    return WORDS.get(origin or hint, "a plain value")


def build(kind: type, values: Mapping[Any, Any], prefix: str = "") -> Any:
    """Merges plain values into a dataclass.

    Args:
        kind: The dataclass; what it holds of dataclasses is built too.
        values: By key; a value that is an instance of a dataclass already is taken as it is.
        prefix: Of the keys in a sentence, as in ``"data."``.

    Raises:
        UserError: A key that the dataclass does not have, a value of another type, or none where one is needed.
    """
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    for key in values:
        if key not in names:
            raise unknown_key(prefix.rstrip("."), str(key), names)
    made: dict[str, Any] = {}
    merged = OmegaConf.structured(kind)
    for name, value in values.items():
        hint = hints[name]
        if dataclasses.is_dataclass(value):
            made[name] = value
        elif dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
            made[name] = build(typing.cast(type, hint), value, f"{prefix}{name}.")
        else:
            try:
                OmegaConf.update(merged, name, value, merge=True)
            except (OmegaConfBaseException, ValueError, TypeError, AssertionError, RecursionError):
                raise wrong_value(f"{prefix}{name}", value, in_words(hint)) from None
    found = {name: made[name] if name in made else _plain(merged, name, prefix) for name in names}
    for name, value in found.items():
        if not _fits(value, hints[name]):  # OmegaConf lets a list of numbers hold a list
            raise wrong_value(f"{prefix}{name}", value, in_words(hints[name]))
    return kind(**found)


def _fits(value: Any, hint: Any) -> bool:
    """Returns whether what a list holds is of its type, as far as the type says one."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if not isinstance(value, list) or origin not in (list, Union, types.UnionType):
        return True
    if origin is not list:
        return any(_fits(value, part) for part in parts if typing.get_origin(part) is list)
    return parts[0] not in _PLURAL or all(isinstance(one, parts[0]) for one in value)


def _plain(merged: Any, name: str, prefix: str) -> Any:
    """Returns one key of what was merged as plain values."""
    node = merged._get_node(name)
    try:
        absent = OmegaConf.missing_keys(node) if OmegaConf.is_config(node) else ()
        if OmegaConf.is_missing(merged, name) or absent:
            raise missing(prefix + (min(absent) if absent else name))
        return OmegaConf.to_object(node) if OmegaConf.is_config(node) else merged[name]
    except OmegaConfBaseException as error:  # an interpolation that reached the schema unresolved
        raise UserError(
            f"{prefix}{getattr(error, 'full_key', None) or name}: {first_line(error).rstrip('.')}."
        ) from None
