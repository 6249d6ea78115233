"""The table of cues beside what the cues are."""

from __future__ import annotations

import pytest

from evensight import names
from evensight.compose import compose
from evensight.cues import build_cue
from evensight.errors import UserError
from evensight.objective.objective import Objective


def test_the_table_knows_which_cues_cannot_be_transplanted() -> None:
    assert [name for name in names.CUES if not build_cue(name).operators] == list(names.DESCRIBED_ONLY)


@pytest.mark.parametrize("cue", names.DESCRIBED_ONLY)
def test_reliance_on_one_is_refused_where_it_is_written(cue: str) -> None:
    with pytest.raises(UserError, match=rf"reliance.cues: '{cue}' cannot be taken from another image"):
        compose(["experiment=shapes", f"reliance.cues=[{cue}]"])
    stated = {"name": "o", "purpose": "p", "classes": ["a", "b"]}
    with pytest.raises(UserError, match=rf"requirements\[0\].cue: '{cue}' cannot be taken from another image"):
        Objective.from_config({**stated, "requirements": [{"metric": "reliance", "cue": cue, "bound": 0.1}]})
