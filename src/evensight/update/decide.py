"""`evensight update action=decide`: whether the challenger takes the champion's place, and why."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evensight.data.manifest import Manifest
from evensight.errors import UserError, shown, wrong_value
from evensight.files import digest_file, write_json
from evensight.metrics.multiplicity import holm_adjusted
from evensight.metrics.paired import tango_interval
from evensight.object_file import ObjectFile
from evensight.objective.need import shrunk
from evensight.objective.objective import Objective
from evensight.objective.verdict import STATUSES
from evensight.objective.verdict import Decision as Judged
from evensight.records.artifact import Artifact
from evensight.statuses import DONE, FAILED, UNDECIDED
from evensight.testing.predictions import Progress, silent
from evensight.update.cells import bounds_cells, cell_names
from evensight.update.deciding import HARM, INSUFFICIENT, PROMOTE, REFUSE, RESULTS, Rule, better_p, rule, worse_p
from evensight.update.folders import new_folder, numbered
from evensight.update.openings import Fresh, fresh, pair_of
from evensight.update.power import DISCORDANT, planned
from evensight.update.reasons import reasons
from evensight.update.side_by_side import SideBySide, same_objective, side_by_side

log = logging.getLogger(__name__)

DECISION = "decision.json"
SCHEMA_VERSION = 1
_FILE = ObjectFile(
    "a decision", "decide again", "there is no decision; make one with: evensight update action=decide", SCHEMA_VERSION
)
STATUS = {PROMOTE: DONE, REFUSE: FAILED, INSUFFICIENT: UNDECIDED}
# A loss nearer to `harm` than this takes more images than it is worth to say.
_TOO_NEAR = 0.005


@dataclass(frozen=True)
class Decision:
    """What was decided.

    Attributes:
        folder: `decision-<n>/`.
        value: The whole of `decision.json`.
    """

    folder: Path
    value: Mapping[str, Any]

    @property
    def result(self) -> str:
        """PROMOTE, REFUSE or INSUFFICIENT."""
        return str(self.value["result"])

    @property
    def reasons(self) -> list[str]:
        """The sentences."""
        return list(self.value["reasons"])

    @property
    def status(self) -> int:
        """0 PROMOTE, 1 REFUSE, 3 INSUFFICIENT."""
        return STATUS[self.result]

    @property
    def evidence(self) -> dict[str, Any]:
        """What the ledger keeps of it."""
        said = {name: self.value[name] for name in ("result", "champion", "challenger", "data", "reasons")}
        return {"decision": str(self.folder), "sha256": digest_file(self.folder / DECISION), **said}

    @classmethod
    def open(cls, folder: Path) -> Decision:
        """Reads a decision.

        Raises:
            UserError: There is none, or it cannot be read.
        """
        value = _FILE.read(folder / DECISION)
        if value.get("result") not in RESULTS:
            why = f"result is {shown(value.get('result'))}; allowed: {', '.join(RESULTS)}"
            raise _FILE.broken(folder / DECISION, why)
        return cls(folder, value)


def decide(
    champion: Artifact,
    challenger: Artifact,
    manifest: Manifest,
    out: Path,
    harm: float = HARM,
    progress: Progress = silent,
) -> Decision:
    """Decides by the rule of `deciding` on the test split, and writes `decision-<n>/decision.json` whole.

    Of a sealed test split only rows count that no earlier opening showed, and this is an opening.

    Args:
        champion: In service.
        challenger: Of the same objective.
        manifest: The data with the test split, the newest version.
        out: Where decisions are kept.
        harm: Accuracy that no cell may lose.
        progress: Told of the images done.

    Raises:
        UserError: The two cannot be compared, on this data.
    """
    if not 0.0 < harm < 1.0:
        raise wrong_value("harm", harm, "a share between 0 and 1")
    if champion.identity == challenger.identity:
        raise UserError(
            f"challenger: it is the champion itself ({champion.identity[:12]}); there is nothing to decide."
        )
    objective = same_objective(champion, challenger, manifest)
    pair = pair_of(champion.identity, challenger.identity)
    looked = fresh(manifest, pair)
    alpha = looked.level(objective.alpha)
    head = _head(champion, challenger, manifest, objective, looked, harm, alpha)
    if looked.num_rows == 0:
        return _written(out, {**head, **_nothing_fresh(objective, looked, harm, alpha)})
    looked.record(pair)
    found = side_by_side(champion, challenger, looked.manifest, alpha, progress)
    codes = [_codes(one) for one in (found.champion, found.challenger)]
    decided = rule(found.cells, found.wholes, codes[0], codes[1], alpha, harm, bounds_cells(objective))
    needs = _needs(found, decided, harm, alpha)
    cells, wholes = _comparisons(found, alpha)
    body = {
        "result": RESULTS[int(decided.result)],
        "reasons": reasons(found, decided, objective, needs, harm),
        "num_images": found.num_images,
        "cells": cells,
        "wholes": wholes,
        "requirements": _requirements(found, objective),
        "needs": needs,
    }
    decision = _written(out, {**head, **body})
    log.info("decision: %s (%s)", decision.result, decision.folder)
    return decision


def decision_of(out: Path, champion: str, challenger: str) -> Decision | None:
    """Returns the newest decision on a pair, None where there is none."""
    for folder in reversed(numbered(out, "decision")):
        decision = Decision.open(folder)
        if (decision.value["champion"], decision.value["challenger"]) == (champion, challenger):
            return decision
    return None


def _head(
    champion: Artifact,
    challenger: Artifact,
    manifest: Manifest,
    objective: Objective,
    looked: Fresh,
    harm: float,
    alpha: float,
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "champion": champion.identity,
        "challenger": challenger.identity,
        "objective": objective.digest(),
        "data": manifest.digests.content,
        "sealed": manifest.sealed,
        "rows": {"looked_at": looked.num_rows, "seen_before": looked.num_seen, "look": looked.look},
        "alpha": alpha,
        "harm": harm,
    }


def _nothing_fresh(objective: Objective, looked: Fresh, harm: float, alpha: float) -> dict[str, Any]:
    size = planned(len(cell_names(objective)), harm, DISCORDANT, alpha).n
    needs = [{"cell": name, "images": size, "have": 0} for name in cell_names(objective)]
    seen = f"all {looked.num_seen:,} test images were shown by earlier openings" if looked.num_seen else "there is none"
    reason = (
        f"INSUFFICIENT: {seen}, so no test image is left to decide on; about {size:,} new ones of each of "
        f"{len(needs):,} cells are needed: annotate a control sample (action=plan) and merge it."
    )
    empty: dict[str, Any] = {"cells": [], "wholes": [], "requirements": []}
    return {"result": INSUFFICIENT, "reasons": [reason], "num_images": 0, **empty, "needs": needs}


def _codes(judged: Judged) -> np.ndarray:
    return np.array([-1 if row.verdict is None else STATUSES.index(row.verdict) for row in judged.rows], dtype=np.int8)


def _needs(found: SideBySide, decided: Rule, harm: float, alpha: float) -> list[dict[str, Any]]:
    """Says of each cell in which harm is not excluded how many images more would do.

    The number is planned by simulating the rule, at the share of images on which the two models differ in such cells.
    """
    still_open = np.flatnonzero(~decided.harmless)
    if not len(still_open):
        return []
    n, lost = np.asarray(found.cells.n), np.asarray(found.cells.b - found.cells.c)
    differ = float(shrunk(found.cells.b + found.cells.c, n)[still_open].max()) if n.any() else DISCORDANT
    size = planned(len(found.names), harm, min(differ, 0.5), alpha).n
    needs = []
    for at in still_open.tolist():
        have, hopeless = int(n[at]), lost[at] / max(n[at], 1) >= harm - _TOO_NEAR
        more = None if size is None or hopeless else size - have if size > have else have
        needs.append({"cell": found.names[at], "images": more, "have": have})
    return needs


def _comparisons(found: SideBySide, alpha: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns the counts, p-values and intervals of the cells and of the wholes, each side of an interval at alpha."""
    pairs, count = found.cells.joined(found.wholes), len(found.names)
    low, high = tango_interval(pairs.c, pairs.b, pairs.n, alpha)
    # A loss is looked for in the cells alone, a gain in the wholes as well.
    lost = holm_adjusted(worse_p(found.cells))
    columns = {
        "b": pairs.b, "c": pairs.c, "n": pairs.n, "gain": (pairs.c - pairs.b) / np.maximum(pairs.n, 1), "low": low,
        "high": high, "p_worse": worse_p(pairs), "p_better": better_p(pairs),
        "holm_better": holm_adjusted(better_p(pairs)),
    }  # fmt: skip
    rows = [
        {"name": name, **{key: values[at].item() for key, values in columns.items()}}
        for at, name in enumerate((*found.names, *found.whole_names))
    ]
    cells = [{**row, "holm_worse": float(p)} for row, p in zip(rows[:count], lost, strict=True)]
    return cells, rows[count:]


def _requirements(found: SideBySide, objective: Objective) -> list[dict[str, Any]]:
    rows = zip(objective.requirements, found.champion.rows, found.challenger.rows, strict=True)
    return [
        {
            "label": requirement.label,
            "bound": requirement.bound_value,
            "champion": {"verdict": old.verdict, "estimate": old.estimate, "n": old.n, "worst": old.worst},
            "challenger": {"verdict": new.verdict, "estimate": new.estimate, "n": new.n, "worst": new.worst},
            "need": None if new.need is None else {"images": new.need.images, "of": new.need.of, "note": new.need.note},
        }
        for requirement, old, new in rows
    ]


def _written(out: Path, value: dict[str, Any]) -> Decision:
    with new_folder(out, "decision") as (folder, target):
        write_json(folder / DECISION, value)
    return Decision.open(target)
