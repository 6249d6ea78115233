"""Objects from configuration: `{_target_: package.module.Class, argument: value}`, from an allow-list of packages.

Only what a user typed or keeps in their own files is given to this; never what was read from a run or an artifact.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import os
import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from evensight.errors import UserError, first_line, shown, unknown

ALLOWED = ("evensight", "torch", "timm", "torchvision", "albumentations", "lightning")

# Functions of these are refused, classes are not: they hold functions that run what they read (torch.load, torch.hub).
_CLASSES_ONLY = ("torch", "lightning")


def instantiate(node: Any, allow_targets: Sequence[str] = (), key: str = "", **arguments: Any) -> Any:
    """Builds what a configuration node names, and the nodes inside it.

    Args:
        node: A mapping with `_target_` (and `_partial_: true` for a function that waits for the rest); lists and
            mappings without `_target_` are walked through; anything else is returned as it is.
        allow_targets: Further packages (or modules) of the user's own.
        key: The configuration key of the node, for the sentence.
        **arguments: Further keyword arguments of the outermost object.

    Raises:
        UserError: If the target is not allowed, does not exist, or does not take the arguments.
    """
    if isinstance(node, Mapping):
        values = {
            str(name): instantiate(value, allow_targets, f"{key}.{name}" if key else str(name))
            for name, value in node.items()
            if name not in ("_target_", "_partial_")
        }
        if "_target_" not in node:
            return values
        target = locate(node["_target_"], allow_targets, f"{key}._target_" if key else "_target_")
        return _call(target, {**values, **arguments}, bool(node.get("_partial_", False)), key)
    if isinstance(node, (list, tuple)):
        return [instantiate(value, allow_targets, f"{key}[{i}]") for i, value in enumerate(node)]
    return node


def check(node: Any, allow_targets: Sequence[str], key: str, kind: type, what: str, given: Sequence[str] = ()) -> None:
    """Holds a node against its target without building it: a constructor may open files.

    Args:
        node: As of `instantiate`.
        allow_targets: As of `instantiate`.
        key: The configuration key of the node.
        kind: What a class that the target names must be.
        what: The kind in words, as in ``"a Lightning callback"``.
        given: Arguments that are added later.

    Raises:
        UserError: As of `instantiate`, or if the target is of another kind.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise UserError(f"{key}: found {shown(node)}, allowed is {what}: {{_target_: package.module.Class, ...}}.")
    target = locate(node["_target_"], allow_targets, f"{key}._target_")
    if inspect.isclass(target) and not issubclass(target, kind):
        raise UserError(f"{key}._target_: {node['_target_']!r} is not {what}.")
    arguments = {name: None for name in node if name not in ("_target_", "_partial_")} | dict.fromkeys(given)
    name = f"{target.__module__}.{target.__qualname__}"
    _check_names(target, arguments, key, name)
    try:
        inspect.signature(target).bind(**arguments)
    except TypeError as error:
        raise UserError(f"{key}: {name} cannot be built with {_shown(node)}: {_one_line(error)}.") from None
    except ValueError:  # some compiled callables have no signature
        return


def locate(target: Any, allow_targets: Sequence[str] = (), key: str = "_target_") -> Any:
    """Imports the class or function a dotted name stands for.

    Raises:
        UserError: If the name is not text, its package is not allowed, or there is no such class or function.
    """
    allowed = (*ALLOWED, *allow_targets)
    if not isinstance(target, str) or "." not in target:
        raise UserError(f"{key}: {target!r} is not the dotted name of a class, such as albumentations.HorizontalFlip.")
    _check_allowed(target, allowed, key)
    found = _walk(target, key)
    if not (inspect.isclass(found) or inspect.isroutine(found)):
        raise UserError(f"{key}: {target!r} is a {type(found).__name__}; a class or a function is allowed.")
    # torch.os.system is os.system: what counts is where it comes from.
    origin = f"{getattr(found, '__module__', None) or ''}.{getattr(found, '__qualname__', '')}"
    _check_allowed(origin, allowed, key)
    if not inspect.isclass(found) and origin.split(".")[0] in _CLASSES_ONLY:
        raise UserError(f"{key}: {target!r} is a function; of {' and '.join(_CLASSES_ONLY)} only classes are allowed.")
    return found


def _check_allowed(name: str, allowed: Sequence[str], key: str) -> None:
    if not any(name == package or name.startswith(f"{package}.") for package in allowed):
        raise UserError(
            f"{key}: {name!r} is not in a package that is allowed ({', '.join(allowed)}); "
            f"allow_targets=[{name.split('.')[0]}] adds one of your own."
        )


def _walk(target: str, key: str) -> Any:
    first, *rest = target.split(".")
    found = _import(first, key)
    path = first
    for name in rest:
        path = f"{path}.{name}"
        if name.startswith("_"):
            raise UserError(f"{key}: {target!r} is private ({name!r}).")
        if isinstance(found, ModuleType) and not hasattr(found, name) and _has_module(path):
            found = _import(path, key)
        elif hasattr(found, name):
            found = getattr(found, name)
        else:
            public = [option for option in dir(found) if not option.startswith("_")]
            raise unknown(key, target, [f"{path.rpartition('.')[0]}.{option}" for option in public])
    return found


def _has_module(path: str) -> bool:
    try:
        return importlib.util.find_spec(path) is not None
    except (ImportError, ValueError):
        return False


def _import(path: str, key: str) -> ModuleType:
    # albumentations asks its server for its newest version on import unless told not to.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    try:
        return importlib.import_module(path)
    except Exception as error:  # a user's own module raises what it likes
        raise UserError(f"{key}: {path!r} cannot be imported ({type(error).__name__}: {first_line(error)}).") from error


def _call(target: Any, arguments: dict[str, Any], partial: bool, key: str) -> Any:
    where = key or "configuration"
    name = f"{target.__module__}.{target.__qualname__}"
    _check_names(target, arguments, where, name)
    if partial:
        return functools.partial(target, **arguments)
    try:
        with warnings.catch_warnings():
            # albumentations warns of an argument it ignores; a setting that is ignored is an error here.
            warnings.filterwarnings("error", message=r"Argument\(s\) .* are not valid", category=UserWarning)
            return target(**arguments)
    except UserError:
        raise
    except Exception as error:  # what a constructor raises for its arguments is its own
        raise UserError(f"{where}: {name} cannot be built with {_shown(arguments)}: {_one_line(error)}") from error


def _check_names(target: Any, arguments: Mapping[str, Any], where: str, name: str) -> None:
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):  # some compiled callables have none
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for argument in arguments:
        if argument not in parameters:
            raise unknown(f"{where}: argument of {name}", argument, parameters)


def _shown(arguments: Mapping[str, Any]) -> str:
    return (
        ", ".join(f"{name}={value!r}" for name, value in arguments.items() if name != "_target_")[:200]
        or "no arguments"
    )


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    # The last line of a pydantic error is the address of its documentation.
    return " ".join(line for line in lines if line and not line.startswith("For further information"))[:300]
