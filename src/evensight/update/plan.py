"""`evensight update action=plan`: which images of the traffic people should look at next, and why."""

from __future__ import annotations

import datetime
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evensight.data.side_tables import SAYS
from evensight.errors import UserError, wrong_value
from evensight.files import replaced, write_json, write_text
from evensight.object_file import ObjectFile
from evensight.objective import verdict_file
from evensight.objective.verdict_file import VerdictFile
from evensight.records.artifact import Artifact
from evensight.records.contract import Contract
from evensight.records.traffic import Traffic, read_traffic
from evensight.update import choosing, ranking, wanted
from evensight.update.cells import cell_names
from evensight.update.folders import new_folder, numbered
from evensight.update.power import planned
from evensight.update.tasks import (
    CONTROLS,
    TABLE,
    TASKS,
    Asked,
    label_studio_controls,
    label_studio_tasks,
    table,
)

log = logging.getLogger(__name__)

PLAN = "plan.json"
SCHEMA_VERSION = 1
_FILE = ObjectFile(
    "a plan", "write it again", "there is no plan; write one with: evensight update action=plan", SCHEMA_VERSION
)
CONTROL_SHARE = 0.4

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Plan:
    """What was asked of the annotators.

    Attributes:
        folder: With `plan.json`, the table and the tasks.
        artifact: Identity of the model that saw the traffic.
        images_in: The folder that paths are relative to.
        asked: The images.
        focus: Cues to turn off in the next training, as verdicts say.
        value: The whole of `plan.json`.
    """

    folder: Path
    artifact: str
    images_in: Path
    asked: tuple[Asked, ...]
    focus: tuple[str, ...]
    value: Mapping[str, Any]

    @property
    def table(self) -> Path:
        """The table to fill in."""
        return self.folder / TABLE

    @property
    def by_reason(self) -> dict[str, int]:
        """How many images each reason asks for."""
        counted = Counter(one.reason for one in self.asked)
        return {reason: counted[reason] for reason in choosing.REASONS}

    @classmethod
    def open(cls, folder: Path) -> Plan:
        """Reads a plan.

        Raises:
            UserError: There is none, it is broken, or it is of another version.
        """
        value = _FILE.read(folder / PLAN)
        try:
            asked = tuple(Asked.from_plain(one) for one in value["images"])
            focus = tuple((value["recommends"] or {}).get("ignore", ()))
            return cls(folder, value["artifact"], Path(value["images_in"]), asked, focus, value)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _FILE.broken(folder / PLAN, error) from None


def plan(
    artifact: Artifact,
    log_file: Path,
    out: Path,
    budget: int = 200,
    seed: int = 0,
    monitor_verdict: VerdictFile | Path | None = None,
    control: float = CONTROL_SHARE,
) -> Plan:
    """Chooses images of the traffic for annotators, and writes `plan-<n>/` whole.

    Args:
        artifact: The model that saw the traffic.
        log_file: The prediction log; images can be asked for where the server kept them beside it.
        out: Where plans are kept.
        budget: Images in all.
        seed: Of the control sample.
        monitor_verdict: Of this model, or its file; cells and cues are then the monitor's before the test's.
        control: Share of the budget that is a uniform sample of the traffic.

    Raises:
        UserError: A number is out of its range, there is no traffic of this model, or none of its images was kept.
    """
    if budget < 1:
        raise wrong_value("budget", budget, "a number of images from 1")
    if not 0.0 < control <= 1.0:
        raise wrong_value("control", control, "a share above 0, up to 1")
    traffic = read_traffic(log_file, artifact.identity)
    if traffic.cut is not None:
        log.warning("%s", traffic.cut)
    images_in = log_file.parent.resolve()
    kept = _kept(traffic, images_in, log_file, artifact)
    verdicts = _verdicts(artifact, monitor_verdict)
    before = earlier(out)
    ids: list[str] = traffic.predictions["id"].to_list()
    order = choosing.keyed(ids, seed)
    fresh = kept & ~np.isin(np.array(ids), [one.id for one in before if one.reason == choosing.CONTROL])
    unseen = kept & ~np.isin(np.array(ids), [one.id for one in before])
    unseen &= (traffic.predictions["label_state"] == "none").to_numpy()
    cells, cues = wanted.open_cells(verdicts, artifact.contract), wanted.relied_on(verdicts)
    parts = choosing.budgets(budget, control)
    failing = [one.cue for one in cues]
    ranked = ranking.ranked(traffic, artifact, cells, failing, unseen, order, parts)
    alike = ranking.alike(traffic, images_in, order, fresh, ranked, parts)
    chosen = choosing.choose(order, fresh, ranked, parts, alike)
    asked = _asked(traffic, artifact.contract, chosen)
    value = {
        "schema_version": SCHEMA_VERSION,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "artifact": artifact.identity,
        "log": str(log_file),
        "images_in": str(images_in),
        "seed": seed,
        "budget": budget,
        "traffic": {"predictions": len(ids), "images_kept": int(kept.sum()), "asked_before": len(before)},
        "by_reason": {
            name: {"planned": parts[name], "asked": sum(one.reason == name for one in asked), "what": _WHAT[name]}
            for name in choosing.REASONS
        },
        "cells": [{"name": cell.name, "attribute": cell.attribute, "images_judged": cell.n} for cell in cells],
        "recommends": wanted.recommended(cues),
        "decide": _decision_size(artifact.contract),
        "images": [one.plain() for one in asked],
    }
    folder = _written(out, value, asked, artifact.contract)
    return Plan.open(folder)


_WHAT = {
    choosing.CONTROL: "a uniform sample of the images that were kept, by a keyed hash: the only one to be tested on",
    choosing.CELL: "images the model puts into cells in which a requirement is undecided for want of images",
    choosing.CUE: "images whose decision another image's cue moved, or whose cue alone says another class",
    choosing.UNCERTAIN: "images whose two likeliest classes are nearest to each other",
}


def _decision_size(contract: Contract) -> dict[str, Any]:
    """Returns how many test images of each cell it takes to decide between this model and the next."""
    objective = contract.stated_objective()
    found = planned(len(cell_names(objective)), alpha=objective.alpha)
    assumed = {"cells": found.cells, "harm": found.harm, "discordant": found.discordant}
    return {**assumed, "images_a_cell": found.n}


def earlier(out: Path) -> list[Asked]:
    """Returns what earlier plans asked for; a plan that cannot be read counts as none."""
    found: list[Asked] = []
    for folder in numbered(out, "plan"):
        try:
            found += Plan.open(folder).asked
        except UserError as error:
            log.warning("%s", error)
    return found


def _kept(traffic: Traffic, images_in: Path, log_file: Path, artifact: Artifact) -> Bools:
    """Returns which predictions have their image on the disk `[N]`."""
    if traffic.predictions.is_empty():
        others = ", ".join(f"{name[:12]} ({count:,})" for name, count in traffic.identities.items())
        had = f"; it has predictions of {others}" if others else ""
        raise UserError(f"log: {log_file} has no prediction of this artifact ({artifact.identity[:12]}){had}.")
    names = traffic.predictions["image"].to_list()
    kept = np.array([name is not None and (images_in / name).is_file() for name in names], dtype=np.bool_)
    if not kept.any():
        gone = sum(name is not None for name in names)
        why = f"the {gone:,} images it names are gone" if gone else "the server kept none of the images"
        raise UserError(f"log: {log_file}: {why}, so there is nothing to annotate; serve with keep_images=true.")
    return kept


def _verdicts(artifact: Artifact, monitor: VerdictFile | Path | None) -> list[VerdictFile]:
    """Returns the verdicts on this model, the monitor's first."""
    found: list[VerdictFile] = []
    if isinstance(monitor, Path):
        monitor = verdict_file.read(monitor)
    if monitor is not None:
        if monitor.artifact != artifact.identity:
            log.warning("the verdict of the monitor is on another artifact (%s) and not used", monitor.artifact)
        else:
            found.append(monitor)
    attached = artifact.attached.get("verdict_test")
    if attached is not None:
        found.append(VerdictFile.model_validate(attached))
    return found


def _asked(traffic: Traffic, contract: Contract, chosen: Mapping[int, str]) -> list[Asked]:
    rows = traffic.predictions
    sent = [name for name in contract.attributes if f"attribute:{name}" in rows.columns]
    asked = []
    for position, reason in chosen.items():
        row = rows.row(position, named=True)
        levels = {name: row[f"attribute:{name}"] for name in sent if row[f"attribute:{name}"] is not None}
        predicted = traffic.classes[row["prediction"]]
        asked.append(Asked(row["id"], row["image"], reason, predicted, float(row["confidence"]), levels))
    return asked


def _written(out: Path, value: Mapping[str, Any], asked: Sequence[Asked], contract: Contract) -> Path:
    """Writes the folder of a plan, whole or not at all."""
    attributes = {name: levels for name, levels in contract.attributes.items() if not name.endswith(SAYS)}
    with new_folder(out, "plan") as (folder, target):
        with replaced(folder / TABLE) as temporary:
            table(asked, list(attributes)).write_csv(temporary)
        write_json(folder / TASKS, label_studio_tasks(asked))
        write_text(folder / CONTROLS, label_studio_controls(contract.classes, attributes))
        write_json(folder / PLAN, value)
    return target
