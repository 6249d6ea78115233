"""The model card: what the model is for, and what was decided about it, in words that people read."""

from __future__ import annotations

from typing import Any

from evensight.deploy.server.model import Model
from evensight.objective.words import sentence

VERDICT = "verdict_test"


def card(model: Model) -> dict[str, Any]:
    """Returns the card that is attached to the artifact, or one made of its contract and its test verdict."""
    attached = model.artifact.attached
    return dict(attached["card"]) if "card" in attached else made_card(model)


def made_card(model: Model) -> dict[str, Any]:
    """Returns a card made of the contract and the attached test verdict."""
    contract = model.artifact.contract
    objective = contract.stated_objective()
    verdict = verdict_of(model)
    rows = {row["label"]: row for row in (verdict or {}).get("requirements", [])}
    return {
        "schema_version": 1,
        "artifact": model.identity,
        "name": objective.name,
        "purpose": objective.purpose,
        "classes": list(contract.classes),
        "attributes": {name: list(levels) for name, levels in contract.attributes.items()},
        "usual": {
            name: {contract.classes[row]: contract.attributes[name][level] for row, level in enumerate(levels)}
            for name, levels in contract.usual.items()
        },
        "data": contract.data.name,
        "verdict": None if verdict is None else verdict.get("verdict"),
        "confidence": objective.confidence,
        "accepted_failed": list(model.accepted),
        "requirements": [
            {
                "label": requirement.label,
                "sentence": sentence(requirement),
                "bound": requirement.bound_value,
                "direction": requirement.direction,
                "stages": list(requirement.stages),
                **{
                    key: rows.get(requirement.label, {}).get(key) for key in ("estimate", "low", "high", "n", "verdict")
                },
            }
            for requirement in objective.requirements
        ],
        "looks_at": sorted({cue.name for cue in model.tools.cues if cue.operators}),
    }


def verdict_of(model: Model) -> dict[str, Any] | None:
    """Returns the test verdict that is attached to the artifact."""
    return model.artifact.attached.get(VERDICT)


def about(model: Model) -> dict[str, Any]:
    """Returns the answer of `GET /model`."""
    verdict = verdict_of(model)
    counted = ("stage", "verdict", "objective", "confidence", "data", "openings")
    return {
        "identity": model.identity,
        "accepted_failed": list(model.accepted),
        "verdict": None if verdict is None else {key: verdict.get(key) for key in counted},
        "card": card(model),
        "contract": model.artifact.contract.model_dump(mode="json"),
    }
