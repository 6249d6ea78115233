"""What a user reads when something of theirs is wrong: one sentence, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake of the user's: the key or file, what was found, what is allowed. Ends a command with status 2.

    One line whatever it quotes: see `one_line`.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(one_line(sentence))


class RunError(RuntimeError):
    """The machine or evensight failed (disk full, parity, training not finite). Ends a command with status 4."""


def one_line(text: str) -> str:
    """Returns a text with what does not print (line breaks, terminal codes, bytes that are no UTF-8) as escapes."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's text, or its type's name where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """Returns the allowed name most like `name`, or None when nothing is close."""
    by_lower = {option.lower(): option for option in allowed}
    found = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[found[0]] if found else None


def unknown(what: str, name: str, allowed: Iterable[str]) -> UserError:
    """Builds the sentence for a name that is not in a table.

    Args:
        what: What was named, with its key, e.g. ``"data.reader"``.
        name: What was found.
        allowed: What is allowed there.
    """
    options = sorted(allowed)
    closest = nearest(name, options)
    shown = ", ".join(options[:20]) + (", ..." if len(options) > 20 else "")
    hint = f" Did you mean {closest!r}?" if closest else ""
    return UserError(f"{what}: {name!r} is not known; allowed: {shown or 'none'}.{hint}")
