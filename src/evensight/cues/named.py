"""Which cues somebody asks about: every verdict measures these, and training more closely than the rest."""

from __future__ import annotations

from collections.abc import Iterable

from evensight import names
from evensight.config import Config


def named_cues(config: Config, of_objective: Iterable[str] = ()) -> tuple[str, ...]:
    """Returns the cues that `reliance.cues`, the objective or `focus` name, each once.

    Args:
        config: `reliance.cues`; what `focus.ignore` turns off, and colour where `focus.keep` is set.
        of_objective: The cues that the objective's requirements name.
    """
    focus = config.focus
    ignored = [*focus.ignore, *(["colour"] if focus.keep else [])]
    return tuple(
        dict.fromkeys(
            [*config.reliance.cues, *of_objective, *(name for name in ignored if name in names.CUES)],
        )
    )
