"""`GET /openapi.json`: the paths of the server as OpenAPI 3.1 says it, with the classes and levels of its model."""

from __future__ import annotations

from typing import Any

from evensight import __version__
from evensight.deploy.server.intake import ATTRIBUTE
from evensight.records.contract import Contract

FREE = ("/", "/health", "/ready")  # need no token


def openapi(contract: Contract, with_token: bool) -> dict[str, Any]:
    """Returns the document.

    Args:
        contract: Of the current model.
        with_token: Whether requests need the bearer token.
    """
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": f"evensight: {contract.stated_objective().name}",
            "version": __version__,
            "description": contract.stated_objective().purpose,
        },
        "paths": {
            "/predict": {"post": _images("Label one image, or several of a form.", contract, _one_or_several())},
            "/explain": {"post": _images("Label one image, and show what was looked at.", contract, _ref("Explained"))},
            "/feedback": {"post": _feedback()},
            "/health": {"get": _get("The process lives.", {"type": "object"})},
            "/ready": {"get": _get("A tested model is loaded and the server is not draining; else 503.", {})},
            "/model": {"get": _get("Identity, contract, test verdict and card of the current model.", {})},
            "/metrics": {"get": _text("Figures for Prometheus.", "text/plain")},
            "/openapi.json": {"get": _get("This document.", {})},
            "/": {"get": _text("A page to drop a picture on.", "text/html")},
        },
        "components": {"schemas": _schemas(contract)},
    }
    if with_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        for path in FREE:
            document["paths"][path]["get"]["security"] = []
    return document


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _get(summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": _json(schema, "OK"), "default": _error()}}


def _text(summary: str, kind: str) -> dict[str, Any]:
    content = {kind: {"schema": {"type": "string"}}}
    return {"summary": summary, "responses": {"200": {"description": "OK", "content": content}}}


def _error() -> dict[str, Any]:
    return _json(_ref("Error"), "Refused: 4xx where the request is at fault, 503 and 504 where the server is busy.")


def _one_or_several() -> dict[str, Any]:
    several = {"type": "array", "items": {"oneOf": [_ref("Prediction"), _ref("Error")]}}
    return {"oneOf": [_ref("Prediction"), several]}


def _images(summary: str, contract: Contract, answer: dict[str, Any]) -> dict[str, Any]:
    binary = {"type": "string", "format": "binary"}
    form = {"type": "object", "properties": {"image": {"type": "array", "items": binary}}}
    return {
        "summary": summary,
        "parameters": [
            {"name": f"{ATTRIBUTE}{name}", "in": "query", "schema": {"type": "string", "enum": list(levels)}}
            for name, levels in contract.attributes.items()
        ],
        "requestBody": {
            "required": True,
            "content": {"image/*": {"schema": binary}, "multipart/form-data": {"schema": form}},
        },
        "responses": {"200": _json(answer, "OK"), "default": _error()},
    }


def _feedback() -> dict[str, Any]:
    return {
        "summary": "Tell the label that an image should have had.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("Feedback")}}},
        "responses": {
            "200": _json(_ref("Joined"), "The label is joined to its prediction."),
            "404": _json(_ref("Error"), "No prediction has this id; the label is kept and counts once one has."),
            "409": _json(_ref("Error"), "Another label was given before; both are kept, and none counts."),
            "default": _error(),
        },
    }


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _schemas(contract: Contract) -> dict[str, Any]:
    text, share = {"type": "string"}, {"type": "number", "minimum": 0, "maximum": 1}
    label = {"type": "string", "enum": list(contract.classes)}
    probabilities = _object(**dict.fromkeys(contract.classes, share))
    said = {"label": label, "confidence": share, "probabilities": probabilities, "identity": text}
    picture = _object(
        picture=text,
        label=label,
        confidence=share,
        donor=text,
        donor_label=label,
        operator=text,
        moved={"type": "boolean"},
    )
    count = {"type": "integer", "minimum": 0}
    cue = _object(cue=text, moved=count, of=count, pictures={"type": "array", "items": picture})
    return {
        "Prediction": _object(id=text, **said),
        "Explained": _object(**said, picture=text, looked_at={"type": "array", "items": cue}),
        "Feedback": _object(id=text, label=label),
        "Joined": _object(id=text, state={"type": "string", "enum": ["joined", "duplicate"]}),
        "Error": _object(error=text, code=text),
    }
