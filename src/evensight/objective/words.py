"""An objective in plain words, and its figures as text: one manner for the terminal, the report and the card."""

from __future__ import annotations

from evensight.objective.objective import FROM_DATA, Objective
from evensight.objective.requirement import ABOVE_CHANCE, Requirement


def bound_words(requirement: Requirement) -> str:
    """Says which values are good: ``at least 0.950``, or that the figure is only shown."""
    bound = requirement.bound
    if bound is None:
        return "shown, not judged"
    side = requirement.direction.replace("_", " ")
    if bound == ABOVE_CHANCE:
        return f"{side} one over the number of classes"
    return f"{side} {requirement.measure.show(float(bound))}"


def sentence(requirement: Requirement) -> str:
    """Reads one requirement back: ``The recall of every class is at least 0.900.``"""
    subject = requirement.measure.subject(requirement)
    return f"{subject[0].upper()}{subject[1:]} is {bound_words(requirement)}."


def objective_words(objective: Objective) -> list[str]:
    """Reads an objective back: a paragraph an element, without the requirements."""
    levels = [f"{name} ({_list(part.levels)})" for name, part in objective.attributes.items()]
    return [
        f"{objective.name}: {objective.purpose}",
        f"Classes: {_list(objective.classes)}.",
        f"Attributes: {'; '.join(levels) or 'none'}.",
        f"Maximised: {objective.primary.measure.subject(objective.primary)}.",
        f"Confidence: {objective.confidence:g}; a bound errs with a chance of at most {objective.alpha:g}.",
    ]


def stage_words(requirement: Requirement) -> str:
    """Names the stages that judge a requirement where they are fewer than could; else says nothing."""
    fewer = requirement.stages != requirement.measure.stages
    return f" Judged at {', '.join(requirement.stages)} alone." if fewer else ""


def _list(values: tuple[str, ...] | str) -> str:
    return "whatever the data holds" if values == FROM_DATA else ", ".join(values)
