"""Values out of XML elements: texts without the space around them, finite numbers, yes and no."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from xml.etree.ElementTree import Element

# What float() takes beside this (underscores, "nan", digits of other scripts) no annotation tool writes.
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_YES, _NO = ("1", "true", "yes"), ("0", "false", "no")


def text(element: Element, path: str) -> str | None:
    """Returns the text of the first element at a path, None where there is none or nothing in it."""
    return (element.findtext(path) or "").strip() or None


def decimal(value: str | None) -> float | None:
    """Returns a finite number, or None where the text is none."""
    value = (value or "").strip()
    if len(value) > 64 or not _DECIMAL.fullmatch(value):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def flag(value: str | None) -> str | None:
    """Returns ``1`` or ``0`` for what tools write as yes and no, any other text as it is."""
    lower = (value or "").strip().lower()
    return "1" if lower in _YES else "0" if lower in _NO else (value or "").strip() or None


def size_of(values: Mapping[str, str | None]) -> tuple[int, int] | None:
    """Returns ``width`` and ``height`` as whole numbers from 1; None where they are not stated (some tools write 0)."""
    width, height = (decimal(values.get(name)) for name in ("width", "height"))
    if width is None or height is None or min(width, height) < 1 or max(width, height) > 2**31:
        return None
    return round(width), round(height)
