"""Which test rows a decision may look at: those of a sealed split that no earlier opening showed, each pair once.

The same two models on the same rows give the same decision, so that a decision that was interrupted is made again and
not counted twice. With rows added since, it is another look of the same pair, at a smaller level (rule 19 of looking
again): alpha / (k (k - 1)) at the k-th.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from evensight.data.manifest import Manifest
from evensight.data.seal import openings, record_opening

STAGE = "decide"


@dataclass(frozen=True)
class Fresh:
    """What a decision looks at.

    Attributes:
        manifest: Its test split is what may be looked at.
        num_seen: Test rows that earlier openings showed.
        look: Which look of this pair it is, from 1; 0 where nothing is counted.
        recorded: Whether this very look is in the ledger already.
    """

    manifest: Manifest
    num_seen: int
    look: int
    recorded: bool

    @property
    def num_rows(self) -> int:
        """Test rows that may be looked at."""
        return self.manifest.split("test").height

    def level(self, alpha: float) -> float:
        """Returns the level of this look."""
        return alpha if self.look < 2 else alpha / (self.look * (self.look - 1))

    def record(self, pair: str) -> None:
        """Counts the opening, before anything is seen."""
        if self.look and not self.recorded:
            record_opening(self.manifest, pair, STAGE, "counts")


def pair_of(champion: str, challenger: str) -> str:
    """Returns how the ledger names two models."""
    return f"{champion}+{challenger}"


def fresh(manifest: Manifest, pair: str) -> Fresh:
    """Returns what a pair may look at; the whole test split where the data set is not sealed.

    Args:
        manifest: Of the data set.
        pair: Of `pair_of`.
    """
    if not manifest.sealed:
        return Fresh(manifest, 0, 0, False)
    lines = openings(manifest.folder.parent)
    own = [frozenset(line["rows"]) for line in lines if line["by"] == pair and line["rows"]]
    others = {row for line in lines if line["by"] != pair for row in line["rows"]}
    seen = (pl.col("split") == "test") & pl.col("row_id").is_in(list(others))
    left = replace(manifest, frame=manifest.frame.filter(~seen))
    rows = frozenset(left.split("test")["row_id"].to_list())
    looks = list(dict.fromkeys(own))
    recorded = rows in looks
    look = looks.index(rows) + 1 if recorded else len(looks) + 1
    return Fresh(left, manifest.frame.filter(seen).height, look, recorded)
