"""A run with its data, its artifact and its traffic, for the tests of this room."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from made_update import Place


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Not to be written to, but for its data sets' folder."""
    import made_update

    return made_update.place(tmp_path_factory.mktemp("update"))


@pytest.fixture(scope="session")
def traffic(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 90 predictions with their images; the first 30 are in the sample of reliance."""
    import made_update

    folder = tmp_path_factory.mktemp("traffic")
    made = made_update.entries(place.artifact, folder, 90, sampled=range(30))
    return made_update.write_log(folder / "predictions.sqlite", made)
