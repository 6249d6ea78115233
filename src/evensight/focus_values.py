"""What the `focus` section may say, as far as no data is needed to tell."""

from __future__ import annotations

from evensight.config import Config, FocusConfig
from evensight.errors import UserError, unknown
from evensight.names import AUDITED, CUES, DESCRIBED_ONLY, REMOVABLE


def check_focus(config: Config) -> None:
    """Holds the section against itself and against `method`.

    Raises:
        UserError: For the first value that is not allowed.
    """
    focus = config.focus
    _check_cues(focus)
    _check_ways(focus)
    if focus.auto:
        _check_auto(focus)
    method = config.method.get("name") if isinstance(config.method, dict) else config.method.name
    of_finished = config.run and not config.resume  # whatever trained it
    replaced = [word for word in ("groups", "head") if word in focus.by]
    if replaced and method != "erm" and not of_finished:
        raise UserError(
            f"focus.by: {replaced[0]} puts a method of its own in the place of method={method}; leave one out."
        )
    if len(replaced) == 2:
        raise UserError("focus.by: groups and head are a method each, and one trains; leave one of the two out.")
    if focus.attribute is not None and not replaced:
        raise UserError("focus.attribute: names the groups of focus.by=[groups] or [head], which are not asked for.")


def _check_cues(focus: FocusConfig) -> None:
    for position, name in enumerate(focus.ignore):
        if name == "shape":
            raise UserError(
                "focus.ignore: shape is what remains when the other cues are ignored, and cannot be ignored itself."
            )
        allowed = [*(cue for cue in CUES if cue not in DESCRIBED_ONLY), AUDITED]
        if name not in allowed:
            raise unknown("focus.ignore", name, allowed)
        if name in focus.ignore[:position]:
            raise UserError(f"focus.ignore: {name!r} is listed twice; each stands once.")


def _check_ways(focus: FocusConfig) -> None:
    if not focus.by:
        raise UserError("focus.by: names no way; allowed: augment, remove, consistency, groups, head.")
    cues = bool(focus.ignore or focus.keep or focus.auto)
    ways = [word for word in focus.by if word in ("augment", "remove", "consistency")]
    if ways and not cues and focus.by != ["augment"]:
        raise UserError(f"focus.by: {ways[0]} needs a cue to turn off; name it, as in focus=colour_off or focus=shape.")
    if "remove" in ways:
        for name in focus.ignore:
            if name not in (*REMOVABLE, AUDITED):
                raise UserError(
                    f"focus.by: {name} cannot be taken away without putting another in its place; "
                    f"remove is for {', '.join(REMOVABLE)}: use focus.by=[augment]."
                )
        if focus.strength != 1.0 and len(ways) == 1:
            raise UserError("focus.strength: focus.by=[remove] takes a cue away whole and has none; leave it out.")


def _check_auto(focus: FocusConfig) -> None:
    if focus.keep or AUDITED in focus.ignore:
        raise UserError("focus.auto: turns off what the objective bounds; leave out focus.keep and audit.")
    if "augment" not in focus.by and "consistency" not in focus.by:
        raise UserError("focus.auto: sets a strength, which focus.by=[augment] or [consistency] has; add one of them.")
    if focus.strength != 1.0:
        raise UserError("focus.strength: focus.auto=true sets it; leave it out.")
