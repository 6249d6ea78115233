"""What must hold within an objective, each broken rule said in one sentence. Called whenever an objective is built."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evensight import names
from evensight.errors import UserError, nearest, shown, unknown
from evensight.objective.requirement import (
    ABOVE_CHANCE,
    ATTRIBUTE_SCOPES,
    EACH,
    SCOPES,
    STAGES,
    Requirement,
    metric_named,
)

if TYPE_CHECKING:
    from evensight.objective.objective import Objective

MAJORITY = "majority"
# Columns every manifest has, and the key of the counts that need no attribute.
RESERVED = (
    *("overall", "index", "row_id", "path", "label", "split", "mask", "pixel_sha256", "width", "height", "error"),
    *("box_x0", "box_y0", "box_x1", "box_y1", "content_key", "file_bytes", "file_mtime_ns"),
)

# Unicode's categories of what no name holds: control characters, breaks of lines and paragraphs, halves of characters.
# Others that cannot be seen are part of words (the joiners of Persian, Hindi and emoji).
_NO_LETTERS = ("Cc", "Zl", "Zp", "Cs")


def key_path(parts: Sequence[int | str]) -> str:
    """Writes a place in the configuration the way a user would: ``objective.requirements[2].bound``."""
    return "objective" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)


def ordered_names(value: Any) -> Any:
    """Passes ``from_data`` and lists of distinct names on, the latter as tuples.

    Raises:
        ValueError: For anything else, in words that follow the key.
    """
    if isinstance(value, str):
        if value != "from_data":
            hint = " Did you mean 'from_data'?" if nearest(value, ["from_data"]) else ""
            raise ValueError(f"{shown(value)} is not a list; allowed: a list of names, or from_data.{hint}")
        return value
    if isinstance(value, Mapping) or not isinstance(value, Sequence):
        raise ValueError(f"{shown(value)} is not a list; allowed: a list of names, or from_data.")
    seen: dict[str, str] = {}  # by the form in which equal letters have equal code points
    for name in value:
        _check_name(name)
        same = unicodedata.normalize("NFC", name)
        if seen.get(same) == name:
            raise ValueError(f"{shown(name)} is listed twice; each name stands once.")
        if same in seen:
            raise ValueError(
                f"{name!a} and {seen[same]!a} are the same letters written with other code points; keep one."
            )
        seen[same] = name
    return tuple(value)


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        kind = "true or false" if isinstance(name, bool) else "a number" if isinstance(name, int | float) else "no text"
        raise ValueError(f'{shown(name)} is {kind} to YAML; write names in quotes, such as "{name}".')
    if not name or name != name.strip():
        raise ValueError(f"{shown(name)} is empty or has spaces at its ends.")
    if any(unicodedata.category(letter) in _NO_LETTERS for letter in name):
        raise ValueError(f"{shown(name)} holds a line break or a control character; write the name without.")


def check(objective: Objective) -> None:
    """Holds every rule that needs more than one key.

    Raises:
        UserError: For the first that is broken.
    """
    if not objective.name.strip():
        raise UserError("objective.name: is empty; it is shown in reports.")
    if not 0.5 < objective.confidence < 1:
        raise UserError(f"objective.confidence: {objective.confidence:g} is out of range; allowed: between 0.5 and 1.")
    if objective.classes != "from_data" and len(objective.classes) < 2:
        raise UserError(f"objective.classes: found {len(objective.classes)}; a classifier needs at least 2.")
    for name, attribute in objective.attributes.items():
        key = f"objective.attributes.{name}"
        if not re.fullmatch(r"[^\W\d][\w-]*", name):
            raise UserError(f"{key}: {name!r} is no name; allowed: letters, digits, _ and -, a letter first.")
        if name in RESERVED:
            raise UserError(f"{key}: {name!r} is taken by evensight; name the attribute something else.")
        if not attribute.levels:
            raise UserError(f"{key}.levels: is empty; list its levels, or write from_data.")
    for position, requirement in enumerate(objective.requirements):
        _check_requirement(requirement, objective, f"objective.requirements[{position}]")
    _check_duplicates(objective.requirements)
    _check_essential(objective)
    _check_primary(objective)


def check_found(classes: Sequence[str], levels: Mapping[str, Sequence[str]]) -> None:
    """Checks what was found in the data for keys that say ``from_data``.

    Raises:
        UserError: If there are fewer than two classes, or an attribute has no known level.
    """
    if len(classes) < 2:
        shown = f" ({classes[0]})" if classes else ""
        raise UserError(f"objective.classes: the data has {len(classes)}{shown}; a classifier needs at least 2.")
    for name, found in levels.items():
        if not found:
            raise UserError(f"objective.attributes.{name}: the data has no value of it; allowed: a column of the data.")


def check_stage(stage: str, key: str) -> None:
    """Raises UserError unless `stage` is one."""
    if stage not in STAGES:
        raise unknown(key, stage, STAGES)


def _check_requirement(requirement: Requirement, objective: Objective, key: str) -> None:
    metric = metric_named(requirement.metric, f"{key}.metric")
    if requirement.scope not in SCOPES:
        raise unknown(f"{key}.scope", requirement.scope, SCOPES)
    if requirement.scope not in metric.scopes:
        instead = metric.use_instead.get(requirement.scope)
        hint = f" {instead}" if instead else ""
        allowed = ", ".join(metric.scopes)
        raise UserError(
            f"{key}.scope: {requirement.metric} has no scope {requirement.scope!r}; allowed: {allowed}.{hint}"
        )
    _check_attribute(requirement, objective, key)
    _check_parameters(requirement, key)
    _check_bound(requirement, key)
    for stage in requirement.stages:
        check_stage(stage, f"{key}.stages")
        if stage not in metric.stages:
            allowed = ", ".join(metric.stages)
            raise UserError(f"{key}.stages: {stage} cannot judge {requirement.metric}; allowed: {allowed}.")
    _distinct(requirement.stages, f"{key}.stages")


def _check_attribute(requirement: Requirement, objective: Objective, key: str) -> None:
    scope, attribute = requirement.scope, requirement.attribute
    if scope not in ATTRIBUTE_SCOPES:
        if attribute is not None:
            allowed = ", ".join(each for each in requirement.measure.scopes if each in ATTRIBUTE_SCOPES) or "none"
            raise UserError(
                f"{key}.attribute: scope {scope!r} takes no attribute, found {attribute!r}; "
                f"remove it, or choose a scope that does: {allowed}."
            )
        return
    if attribute is None:
        declared = ", ".join(objective.attributes) or "none is declared under objective.attributes"
        raise UserError(f"{key}.attribute: is missing; scope {scope!r} needs one; allowed: {declared}.")
    if attribute not in objective.attributes:
        raise unknown(f"{key}.attribute", attribute, objective.attributes)
    if scope in ("gap", "conflicting") and len(objective.attributes[attribute].levels) < 2:
        raise UserError(f"{key}.attribute: {attribute!r} has one level; scope {scope!r} needs at least 2.")


def _check_parameters(requirement: Requirement, key: str) -> None:
    given = {"cue": requirement.cue, "over": requirement.over}
    for name, value in given.items():
        if value and name not in requirement.measure.parameters:
            takers = ", ".join(each for each in names.METRICS if name in metric_named(each).parameters)
            shown = list(value) if isinstance(value, tuple) else value
            raise UserError(
                f"{key}.{name}: {requirement.metric} takes no {name}, found {shown!r}; remove it, or use a metric that "
                f"does: {takers}."
            )
    if "cue" in requirement.measure.parameters:
        if requirement.cue is None:
            raise UserError(f"{key}.cue: is missing; {requirement.metric} needs one; allowed: {', '.join(names.CUES)}.")
        if requirement.cue not in names.CUES:
            raise unknown(f"{key}.cue", requirement.cue, names.CUES)
        if requirement.cue in names.DESCRIBED_ONLY:
            allowed = ", ".join(cue for cue in names.CUES if cue not in names.DESCRIBED_ONLY)
            raise UserError(
                f"{key}.cue: {requirement.cue!r} cannot be taken from another image, so {requirement.metric} on it "
                f"cannot be measured; allowed: {allowed}."
            )
    if "over" in requirement.measure.parameters:
        rivals = [MAJORITY, *names.CUES]
        if not requirement.over:
            raise UserError(f"{key}.over: is missing; {requirement.metric} needs rivals; allowed: {', '.join(rivals)}.")
        for rival in requirement.over:
            if rival not in rivals:
                raise unknown(f"{key}.over", rival, rivals)
        _distinct(requirement.over, f"{key}.over")


def _check_bound(requirement: Requirement, key: str) -> None:
    bound = requirement.bound
    if bound is None:
        return
    if bound == ABOVE_CHANCE:
        if not requirement.measure.has_chance or requirement.scope == "gap":
            raise UserError(f"{key}.bound: {requirement.label} has no chance level; allowed: a number, or null.")
        return
    low, high = (0.0, 1.0) if requirement.scope == "gap" else requirement.measure.bounds
    if requirement.measure.low_end and float(bound) == low:
        return
    if not low < float(bound) < high:
        ends = f"{high:g} excluded" if requirement.measure.low_end else "ends excluded"
        allowed = f"above {low:g}" if high == float("inf") else f"between {low:g} and {high:g}, {ends}"
        raise UserError(f"{key}.bound: {bound:g} is out of range for {requirement.label}; allowed: {allowed}.")


def _check_duplicates(requirements: Sequence[Requirement]) -> None:
    """One figure has one bound at a stage: of two, equal ones say it twice and others contradict each other."""
    for position, later in enumerate(requirements):
        for earlier_position, earlier in enumerate(requirements[:position]):
            shared = set(earlier.stages) & set(later.stages)
            if earlier.identity != later.identity or not shared:
                continue
            key, other = f"objective.requirements[{position}]", f"requirements[{earlier_position}]"
            stages = ", ".join(stage for stage in STAGES if stage in shared)
            if earlier.bound == later.bound:
                raise UserError(f"{key}: {later.label} is stated already in {other} for {stages}; state it once.")
            raise UserError(
                f"{key}.bound: {later.label} is to be {_bound_words(later)} here and {_bound_words(earlier)} in "
                f"{other}, both for {stages}; a figure has one bound, keep one of them."
            )


def _bound_words(requirement: Requirement) -> str:
    bound = requirement.bound
    side = requirement.direction.replace("_", " ")
    return "shown alone" if bound is None else f"{side} {bound if isinstance(bound, str) else f'{bound:g}'}"


def _check_essential(objective: Objective) -> None:
    key = "objective.essential_cues"
    for name in objective.essential_cues:
        if name not in names.CUES:
            raise unknown(key, name, names.CUES)
        bounded = [each for each in objective.requirements if each.cue == name and each.bound is not None]
        if bounded:
            raise UserError(
                f"{key}: {name!r} is what the classes are made of here, and {bounded[0].label} is bounded in the "
                "requirements; keep one of them."
            )
    _distinct(objective.essential_cues, key)


def _check_primary(objective: Objective) -> None:
    primary, key = objective.primary, "objective.primary"
    _check_requirement(primary, objective, key)
    for name, stated in (("bound", primary.bound is not None), ("stages", primary.stages != primary.measure.stages)):
        if stated:
            raise UserError(f"{key}.{name}: the primary metric is maximised, not bounded; put {name} in a requirement.")
    if "validation" not in primary.measure.stages:
        raise UserError(f"{key}: {primary.label} says nothing of a model; choose a metric such as accuracy.")
    if primary.direction != "at_least":
        raise UserError(f"{key}: {primary.label} is better when lower; choose a metric to maximise, such as accuracy.")


def _distinct(values: Iterable[str], key: str) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise UserError(f"{key}: {value!r} is listed twice; each stands once.")
        seen.add(value)


def notes(objective: Objective) -> list[str]:
    """Says what is valid and yet decides less than it seems to: one sentence each."""
    bounded = [requirement for requirement in objective.requirements if requirement.bound is not None]
    found = [] if bounded else ["No requirement has a bound, so every verdict will be NOT_MEASURED."]
    for requirement in bounded:
        beside = [other for other in bounded if set(requirement.stages) & set(other.stages)]
        if requirement.metric == "reliance" and requirement.cue in objective.attributes:
            conflicting = any(o.scope == "conflicting" and o.attribute == requirement.cue for o in beside)
            if not conflicting:
                found.append(
                    f"{requirement.label} stands without accuracy on conflicting images of {requirement.cue}: a model "
                    "trained on a cue's own operator can look free of the cue and not be."
                )
        if requirement.scope == "gap":
            scopes = ("overall", "conflicting", *EACH)
            level = any(o.scope in scopes and "counts" in o.measure.needs and not o.over for o in beside)
            if not level:
                found.append(
                    f"{requirement.label} stands without a level: a model that is equally bad for every "
                    f"{requirement.attribute} would pass it."
                )
    return found
