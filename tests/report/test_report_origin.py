"""A run whose network is another's: if this fails, its page passes the old run's training off as its own."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evensight.report.report import write_report

ORIGIN = {
    "schema_version": 1,
    "run": "/somewhere/runs/sh<a>pes/20260101_000000-abcd",
    "identity": "b" * 64,
    "head": "dfr",
    "attribute": None,
}
FITTED = {
    "method": {"name": "dfr", "attribute": "colour", "label_smoothing": 0.0},
    "held_back": True,
    "num_images": 1234,
}


def page(folder: Path, origin: dict[str, Any] | None) -> str:
    if origin is not None:
        (folder / "origin.json").write_text(json.dumps(origin))
    text = write_report(folder).read_text(encoding="utf-8")
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", text)))


def test_run_identity_and_method_are_named(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    said = page(folder, {**ORIGIN, **FITTED})
    assert (
        "The network is that of the run sh<a>pes/20260101_000000-abcd (artifact bbbbbbbbbbbb); its last layer alone "
        "was fitted anew by dfr (attribute colour), on 1,234 training images held back from the network."
    ) in said
    assert "b" * 64 in said  # in full, among the identities
    assert "These are the epochs of sh<a>pes/20260101_000000-abcd" in said
    assert "/somewhere" not in said
    assert "sh<a>pes" not in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ({**ORIGIN, **FITTED, "held_back": False}, "1,234 training images that the network was trained on, too."),
        ({**ORIGIN, **FITTED, "identity": None}, "the run sh<a>pes/20260101_000000-abcd; its last layer"),
        (ORIGIN, "its last layer alone was fitted anew by dfr."),  # ended before the layer was fitted
    ],
)
def test_what_is_not_known_is_left_out(origin: dict[str, Any], words: str, make_run: Callable[..., Path]) -> None:
    assert words in page(make_run(), origin)


def test_a_run_that_trained_its_own_network_says_nothing_of_it(make_run: Callable[..., Path]) -> None:
    said = page(make_run(), None)
    assert "fitted anew" not in said
    assert "its network, of the artifact" not in said
