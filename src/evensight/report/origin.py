"""Where a run's network is from, if it is another run's with a new last layer: `origin.json` of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from evensight.report.folder import RunFiles


def origin_view(run: RunFiles) -> dict[str, Any] | None:
    """Returns run, identity and method in words; None for a run that trained its own network."""
    origin = run.origin
    if not origin.get("run"):
        return None
    # What was asked for is there from the beginning, the method with its settings once the layer was fitted.
    method = origin.get("method") or {"name": origin.get("head", ""), "attribute": origin.get("attribute")}
    return {
        "run": "/".join(PurePath(str(origin["run"])).parts[-2:]),
        "identity": str(origin.get("identity") or ""),
        "method": str(method.get("name", "")),
        "settings": _settings(method),
        "images": _images(origin),
    }


def _settings(method: Mapping[str, Any]) -> str:
    given = {key: value for key, value in method.items() if key != "name" and value}  # what is null or 0 is off
    return ", ".join(f"{key} {value}" for key, value in given.items())


def _images(origin: Mapping[str, Any]) -> str:
    if "num_images" not in origin:
        return ""
    which = "held back from the network" if origin.get("held_back") else "that the network was trained on, too"
    return f"{int(origin['num_images']):,} training images {which}"
