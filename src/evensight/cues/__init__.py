"""What a model may look at: one file a cue, the probe that learns from a cue alone, and reliance on it."""

from __future__ import annotations

from collections.abc import Iterable

from evensight import names
from evensight.cues.base import Cue


def build_cue(name: str, key: str = "reliance.cues") -> Cue:
    """Returns the cue that `names.CUES` knows by `name`.

    Args:
        name: A name of the table.
        key: The configuration key that named it, for the sentence.

    Raises:
        UserError: If there is no such cue.
    """
    cue = names.resolve(names.CUES, key, name)()
    assert isinstance(cue, Cue)
    return cue


def build_cues(wanted: Iterable[str]) -> list[Cue]:
    """Returns the cues of these names, each once, in their order."""
    return [build_cue(name) for name in dict.fromkeys(wanted)]


__all__ = ["Cue", "build_cue", "build_cues"]
