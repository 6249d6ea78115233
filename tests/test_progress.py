"""What a bar says beside how far a task is."""

from __future__ import annotations

import pytest

from evensight.progress import rate


@pytest.mark.parametrize(
    ("done", "seconds", "said"),
    [(0, 5.0, ""), (10, 0.1, ""), (3, 6.0, ""), (2400, 2.0, ", 1,200/s"), (7, 2.0, ", 4/s")],
)
def test_a_rate_is_said_once_it_can_be_told(done: int, seconds: float, said: str) -> None:
    assert rate(done, seconds) == said
