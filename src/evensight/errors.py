"""What a user reads when something of theirs is wrong: one sentence, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

# What a type takes, as a sentence says it.
WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    list: "a list",
    dict: "a mapping of names to values",
    type(None): "null",
}
# A value or a name that was found is shown with at most this many characters.
MOST_SHOWN = 120
# Names beyond this length are like nothing; difflib's time grows with the square.
_LONGEST_NAME = 200


class _SentenceError(Exception):
    """An exception whose text is one line whatever it quotes: see `one_line`."""

    def __init__(self, sentence: str) -> None:
        super().__init__(one_line(sentence))


class UserError(_SentenceError, ValueError):
    """A mistake of the user's: the key or file, what was found, what is allowed. Ends a command with status 2."""


class RunError(_SentenceError, RuntimeError):
    """The machine or evensight failed (disk full, parity, training not finite). Ends a command with status 4."""


def one_line(text: str) -> str:
    """Returns a text with what does not print (line breaks, terminal codes, bytes that are no UTF-8) as escapes."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's text, or its type's name where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def shown(value: Any) -> str:
    """Writes a value that was found as a user would have written it, cut where it is long."""
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """Returns the allowed name most like `name`, or None when nothing is close."""
    by_lower = {option.lower(): option for option in allowed}
    found = difflib.get_close_matches(str(name)[:_LONGEST_NAME].lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[found[0]] if found else None


def unknown(what: str, name: str, allowed: Iterable[str], like: Iterable[str] | None = None) -> UserError:
    """Builds the sentence for a name that is not in a table.

    Args:
        what: What was named, with its key, e.g. ``"data.reader"``.
        name: What was found.
        allowed: What is allowed there.
        like: Where the nearest is looked for, if not in `allowed`.
    """
    options = sorted(allowed)
    closest = nearest(name, options if like is None else like)
    listed = ", ".join(options[:20]) + (", ..." if len(options) > 20 else "")
    hint = f" Did you mean {closest!r}?" if closest else ""
    return UserError(f"{what}: {shown(name)} is not known; allowed: {listed or 'none'}.{hint}")


def unknown_key(section: str, key: str, allowed: Iterable[str]) -> UserError:
    """Builds the sentence for a key that a section (``"data"``, ``""`` at the root) does not have."""
    prefix = f"{section}." if section else ""
    return unknown("key", f"{prefix}{key}", [f"{prefix}{name}" for name in allowed])


def wrong_value(key: str, found: Any, allowed: str) -> UserError:
    """Builds the sentence for a value that a key does not take; `allowed` goes on after "allowed is"."""
    return UserError(f"{key}: found {shown(found)}, allowed is {allowed}.")


def missing(key: str) -> UserError:
    """Builds the sentence for a key that needs a value and has none."""
    return UserError(f"{key}: a value is needed; write {key}=...")
