"""What annotators are given: a table to fill in, and the same as tasks of Label Studio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import polars as pl

TABLE, TASKS, CONTROLS = "to_annotate.csv", "label_studio.json", "label_studio.xml"
LABEL = "label"  # column of the answer, and the control of Label Studio that asks for it


@dataclass(frozen=True)
class Asked:
    """One image that annotators are asked for.

    Attributes:
        id: The server's.
        path: Of the image, relative to the folder of the log.
        reason: Of `choosing.REASONS`.
        predicted: Name of the class that the model gave it.
        confidence: Of that class.
        attributes: What was sent along, by name.
    """

    id: str
    path: str
    reason: str
    predicted: str
    confidence: float
    attributes: dict[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Returns plain values for a JSON file."""
        return asdict(self)

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> Asked:
        """Reads what `plain` returned."""
        return cls(**{**value, "attributes": dict(value["attributes"])})


def table(asked: Sequence[Asked], attributes: Sequence[str]) -> pl.DataFrame:
    """Returns the table to fill in: a line an image, with an empty `label` and an empty column an attribute."""
    columns: dict[str, list[str]] = {
        "id": [one.id for one in asked],
        "path": [one.path for one in asked],
        "reason": [one.reason for one in asked],
        "predicted": [one.predicted for one in asked],
        "confidence": [f"{one.confidence:.4f}" for one in asked],
        LABEL: [""] * len(asked),
        **{name: [""] * len(asked) for name in attributes},
    }
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def label_studio_tasks(asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """Returns the tasks of an import of Label Studio's; its LOCAL_FILES_DOCUMENT_ROOT is the folder of the log."""
    return [
        {
            "data": {
                "image": f"/data/local-files/?d={quote(one.path)}",
                "id": one.id,
                "reason": one.reason,
                "predicted": one.predicted,
                "confidence": round(one.confidence, 4),
                **{f"sent_{name}": level for name, level in one.attributes.items()},
            }
        }
        for one in asked
    ]


def label_studio_controls(classes: Sequence[str], attributes: Mapping[str, Sequence[str]]) -> str:
    """Returns Label Studio's labelling interface: the image, a choice of the class, and one an attribute."""
    lines = ["<View>", '  <Image name="image" value="$image"/>', '  <Text name="reason" value="$reason"/>']
    for name, options in {LABEL: classes, **attributes}.items():
        lines.append(f'  <Choices name={quoteattr(name)} toName="image" choice="single">')
        lines += [f"    <Choice value={quoteattr(option)}/>" for option in options]
        lines.append("  </Choices>")
    return "\n".join([*lines, "</View>"]) + "\n"
