"""A small run that the tests of this room share."""

from __future__ import annotations

import pytest
from wrong_place import SMALL, Place, draw_photos

from evensight.cli import main


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Photographs and a run of one epoch, which takes seconds."""
    found = Place(tmp_path_factory.mktemp("place"))
    draw_photos(found.folder / "photos")
    assert main(["train", *found.filled(SMALL), f"runs_dir={found.folder / 'runs'}", "test=true"]) == 0
    return found
