"""Values of annotation files as the texts and numbers of a table, and what was odd about them."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, ClassVar

from evensight.data.findings import Finding, found
from evensight.data.places import Stamp
from evensight.errors import UserError, shown

# A column has a place for each row: a file that names a new attribute in every line would take all of the memory.
MOST_ATTRIBUTES = 256
# Columns of a manifest that say something else; those of a reading are seen to where rows are made.
RESERVED = frozenset((*Stamp._fields, "index", "row_id", "content_key", "pixel_sha256", "width", "height", "error"))
_KINDS = {list: "a list", dict: "an object", str: "a text", type(None): "null", bool: "true or false"}


def kind(value: Any) -> str:
    """Returns what a JSON value is, in words."""
    return _KINDS.get(type(value), "a number")


def scalar_text(value: Any) -> str | None:
    """Returns a text, number, true or false as a table holds it, None for null and for what is empty.

    Raises:
        ValueError: It is a list or an object.
    """
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise ValueError(kind(value))


def number(value: Any) -> float | None:
    """Returns a finite number, None for anything else; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def side(value: Any) -> int | None:
    """Returns the side of an image in pixels, None for what can be none."""
    size = number(value)
    return int(size) if size is not None and 1 <= size <= 2**31 and size == int(size) else None


class Odd:
    """What was odd in an annotation file, by code, counted to the end of the reading.

    Args:
        messages: Code -> one sentence, of each code there may be.
    """

    def __init__(self, messages: Mapping[str, str]) -> None:
        self._messages = messages
        self._items: dict[str, list[str]] = defaultdict(list)

    def add(self, code: str, item: str) -> None:
        """Counts one more."""
        self._items[code].append(item)

    def findings(self) -> list[Finding]:
        """Returns one finding for each code that was met."""
        codes = [code for code in self._messages if code in self._items]
        return [finding for code in codes for finding in found(code, self._items[code], self._messages[code])]


class Attributes:
    """Makes attributes of what a file says of images and objects, and bounds how many names there are.

    Args:
        where: The file, for sentences.
        odd: Told of ``nameless_attribute`` and ``unusable_attribute``.
    """

    MESSAGES: ClassVar[Mapping[str, str]] = {
        "nameless_attribute": "attributes whose names are empty or do not print; not used",
        "unusable_attribute": "attributes whose values are lists or objects; not used",
    }

    def __init__(self, where: str, odd: Odd) -> None:
        self._where, self._odd = where, odd
        self._names: set[str] = set()
        self._told: set[str] = set()

    def of(self, values: Mapping[Any, Any]) -> dict[str, str | None]:
        """Returns name -> text of what can be an attribute; nulls and empty texts are left out.

        Raises:
            UserError: There are more names than `MOST_ATTRIBUTES`.
        """
        texts: dict[str, str | None] = {}
        for name, value in values.items():
            try:
                text = scalar_text(value)
            except ValueError as error:
                self._tell("unusable_attribute", f"{shown(name)} is {error}", name)
                continue
            if text is None:
                continue
            if not name or not name.isprintable():
                self._tell("nameless_attribute", shown(name), name)
                continue
            if name not in self._names:
                if len(self._names) == MOST_ATTRIBUTES:
                    raise UserError(
                        f"{self._where}: has more than {MOST_ATTRIBUTES} attributes; {shown(name)} is one more."
                    )
                self._names.add(name)
            texts[name] = text
        return texts

    def _tell(self, code: str, item: str, name: str) -> None:
        if name not in self._told and len(self._told) < MOST_ATTRIBUTES:
            self._told.add(name)
            self._odd.add(code, item)
