"""The user's own `./configs`: what is wrong with a file is said by its name and line."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from evensight.errors import UserError, first_line

# Groups whose files say something of the whole configuration, and the line that tells Hydra so.
WHOLE = ("experiment", "debug")
_HEADER = re.compile(r"\A(?:[ \t]*(?:#[^\n]*)?\n)*#[ \t]*@package[ \t]+_global_[ \t]*(?:\n|\Z)")


def options(folder: Path) -> Iterator[Path]:
    """Yields the files of a folder of configs that are options of a group: `<group>/<option>.yaml`."""
    yield from sorted(folder.glob("*/*.yaml"))


def check_file(path: Path) -> None:
    """Checks what can be said of one file by itself.

    Raises:
        UserError: It cannot be read, is not YAML, holds no mapping, or lacks the line that its group needs.
    """
    shown = os.path.relpath(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = OmegaConf.load(io.StringIO(text))
    except UnicodeDecodeError as error:
        raise UserError(f"{shown}: byte {error.start} is not UTF-8 text; save the file as UTF-8.") from None
    except MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}" if error.problem_mark else "the text"
        raise UserError(f"{shown}: {line} is not YAML ({error.problem or first_line(error)}).") from None
    except (YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{shown}: is not YAML ({first_line(error)}).") from None
    except RecursionError:
        raise UserError(f"{shown}: holds itself, or too many brackets in each other.") from None
    except OSError as error:
        if error.errno is not None:
            raise UserError(f"{shown}: cannot be read ({error.strerror}).") from None
        content = OmegaConf.create([])  # OmegaConf's word for a file that is a text or a number
    if not isinstance(content, DictConfig):
        raise UserError(f"{shown}: holds no mapping; allowed are lines such as 'seed: 3'.")
    whole = path.parent.name in WHOLE
    if whole and not content:
        raise UserError(f"{shown}: is empty; write '# @package _global_', its defaults and its values.")
    if whole and not _HEADER.match(text):
        raise UserError(f"{shown}: its first line must be '# @package _global_'; without it nothing in it is used.")


def check_files(folder: Path) -> None:
    """Raises UserError for the first file of a folder that `check_file` finds wrong."""
    for path in options(folder):
        check_file(path)
