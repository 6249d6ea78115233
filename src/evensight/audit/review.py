"""Suspect labels as a review task: for Label Studio with a suggestion each, and as CSV."""

from __future__ import annotations

import base64
import csv
import io
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from evensight import __version__
from evensight.files import write_bytes, write_json, write_text

TASKS, TABLE, CONFIG = "label_studio.json", "review.csv", "label_config.xml"
COLUMNS = ("rank", "row_id", "path", "split", "given", "suggested", "quality", "is_issue")


@dataclass(frozen=True)
class Doubt:
    """One label to look at.

    Attributes:
        rank: From 1, the most suspect.
        row_id: Of the manifest.
        path: Of the manifest.
        split: Where the image is.
        given: Its label, a class name.
        suggested: The likelier class.
        quality: 0 to 1.
        is_issue: Whether confident learning prunes it.
        pixels: uint8 `[H, W, 3]` of an array's row, which no other program finds; None for a file.
    """

    rank: int
    row_id: str
    path: str
    split: str
    given: str
    suggested: str
    quality: float
    is_issue: bool
    pixels: NDArray[np.uint8] | None = None


def write_review(folder: Path, doubts: Sequence[Doubt], classes: Sequence[str]) -> None:
    """Writes `TASKS`, `TABLE` and `CONFIG`.

    In Label Studio: a project with `CONFIG` as its labelling interface, local files served with the manifest's root as
    ``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT``, then `TASKS` imported.

    Args:
        folder: Made if it is not there; files of an earlier audit are replaced.
        doubts: The most suspect first.
        classes: The choices, in the objective's order.
    """
    write_json(folder / TASKS, [task(doubt) for doubt in doubts])
    write_text(folder / CONFIG, label_config(classes))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for doubt in doubts:
        writer.writerow([_plain(getattr(doubt, name)) for name in COLUMNS])
    # The mark tells a spreadsheet that this is UTF-8.
    write_bytes(folder / TABLE, text.getvalue().encode("utf-8-sig"))


def task(doubt: Doubt) -> dict[str, Any]:
    """Returns a Label Studio task whose prediction is the suggested class."""
    choice = {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [doubt.suggested]}}
    # Not the path: a second key that looks like an image is one too many for who reads the export.
    about = {name: _plain(getattr(doubt, name)) for name in COLUMNS if name != "path"}
    return {
        "data": {"image": _address(doubt), "question": f"{doubt.given}, or {doubt.suggested}?", **about},
        "predictions": [
            {"model_version": f"evensight {__version__}", "score": round(1 - doubt.quality, 6), "result": [choice]}
        ],
    }


def label_config(classes: Sequence[str]) -> str:
    """Returns the labelling interface: the image, given and suggested label, a choice of the classes."""
    choices = "".join(f"    <Choice value={quoteattr(name)}/>\n" for name in classes)
    return (
        '<View>\n  <Header value="$question"/>\n  <Image name="image" value="$image"/>\n'
        f'  <Choices name="label" toName="image" choice="single-radio" required="true">\n{choices}'
        "  </Choices>\n</View>\n"
    )


def _address(doubt: Doubt) -> str:
    if doubt.pixels is None:
        return f"/data/local-files/?d={urllib.parse.quote(doubt.path)}"
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(doubt.pixels).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _plain(value: Any) -> Any:
    return round(float(value), 6) if isinstance(value, float) else value
