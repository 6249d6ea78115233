"""Two models on the same images, each through its own exported file: what they get right, and their requirements."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evensight.data.dataset import known_extra
from evensight.data.manifest import Manifest
from evensight.errors import UserError
from evensight.objective.evidence import Evidence, judge
from evensight.objective.objective import Objective
from evensight.objective.verdict import Decision as Judged
from evensight.records.artifact import Artifact
from evensight.records.instruments import Instruments, instruments
from evensight.testing.extras import Extras
from evensight.testing.predictions import Progress, Served, silent
from evensight.testing.scores import Scores, evidence, score
from evensight.update.cells import cell_members, members_of
from evensight.update.deciding import Pairs

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class SideBySide:
    """What two models did on the test images that both could decode.

    Attributes:
        names: Of the cells.
        cells: Their counts.
        whole_names: Of the wholes: overall, and the primary metric's images where those are others.
        wholes: Their counts.
        champion: Its requirements, judged on these images.
        challenger: Likewise.
        num_images: That both could decode.
    """

    names: tuple[str, ...]
    cells: Pairs
    whole_names: tuple[str, ...]
    wholes: Pairs
    champion: Judged
    challenger: Judged
    num_images: int


def side_by_side(
    champion: Artifact, challenger: Artifact, manifest: Manifest, alpha: float, progress: Progress = silent
) -> SideBySide:
    """Measures two models on the test split.

    Args:
        champion: Opened.
        challenger: Opened; of the same objective.
        manifest: With the test rows to be looked at.
        alpha: Of every test: 1 - confidence, or less where the test was looked at before.
        progress: Told of the images done.

    Raises:
        UserError: The models have different objectives, or the data is not what they were made for.
    """
    objective = same_objective(champion, challenger, manifest)
    first = _scores(champion, manifest, objective, "champion", progress)
    second = _scores(challenger, manifest, objective, "challenger", progress)
    known = np.intersect1d(first[0].known, second[0].known)
    right = [_right(scores, known) for scores, _ in (first, second)]
    labels, levels = first[0].labels[known], first[0].attributes[known]
    cells = cell_members(objective, labels, levels)
    usual = champion.contract.usual
    wholes = {"overall": np.ones(len(known), dtype=np.bool_)}
    primary = members_of(objective.primary, objective, labels, levels, usual)
    if primary is not None:
        wholes[f"{objective.primary.label}, the primary metric"] = primary
    judged = [_judged(found, objective, alpha) for _, found in (first, second)]
    return SideBySide(
        tuple(cells), _pairs(list(cells.values()), right), tuple(wholes), _pairs(list(wholes.values()), right),
        judged[0], judged[1], len(known),
    )  # fmt: skip


def same_objective(champion: Artifact, challenger: Artifact, manifest: Manifest) -> Objective:
    """Returns the objective of both models.

    Raises:
        UserError: They have different ones, or the data has other classes or levels.
    """
    old, new = (one.contract.stated_objective() for one in (champion, challenger))
    if old.digest() != new.digest():
        raise UserError(
            f"challenger: it has another objective ({new.name}, {new.digest()[:12]}) than the champion ({old.name}, "
            f"{old.digest()[:12]}); only models of one objective can be held against each other."
        )
    if tuple(manifest.classes) != old.class_names or dict(manifest.levels) != dict(old.levels):
        raise UserError(
            f"data: its classes and levels are {list(manifest.classes)} and {manifest.levels}; the models' are "
            f"{list(old.class_names)} and {old.levels}."
        )
    return old


def _scores(
    artifact: Artifact, manifest: Manifest, objective: Objective, who: str, progress: Progress
) -> tuple[Scores, Evidence]:
    contract = artifact.contract
    served, tools = Served(artifact), _named(instruments(artifact, known_extra(manifest)), objective)
    needs = {name for cue in tools.cues for name in cue.needs}
    extras = Extras(manifest, "test", contract, needs)

    def told(what: str, done: int, total: int) -> None:
        progress(f"{what}: {who}", done, total)

    scores = score(served, tools, manifest, "test", contract.majority_class, None, told, extras)
    return scores, evidence(scores, contract, tools.missing, artifact.model_path.stat().st_size)


def _named(tools: Instruments, objective: Objective) -> Instruments:
    """Leaves out the cues that no requirement speaks of: each costs as much as the images themselves."""
    wanted = objective.cue_names(rivals=True)
    return replace(tools, cues=tuple(cue for cue in tools.cues if cue.name in wanted))


def _judged(found: Evidence, objective: Objective, alpha: float) -> Judged:
    """Judges the test's requirements; FAIL stays at the objective's own level (rule 19 of looking again)."""
    own = judge(objective, "test", found)
    if alpha >= objective.alpha:
        return own
    strict = judge(objective.model_copy(update={"confidence": 1 - alpha}), "test", found)
    rows = [
        loose
        if loose.verdict == "FAIL"
        else tight
        if tight.verdict != "FAIL"
        else replace(tight, verdict="INSUFFICIENT")
        for loose, tight in zip(own.rows, strict.rows, strict=True)
    ]
    return Judged(rows, own.verdict if own.verdict == "FAIL" else strict.verdict)


def _right(scores: Scores, known: Ints) -> Bools:
    places = np.searchsorted(scores.known, known)
    found: Bools = scores.predictions[places] == scores.labels[known]
    return found


def _pairs(members: list[Bools], right: list[Bools]) -> Pairs:
    old, new = right
    inside = np.stack(members) if members else np.zeros((0, len(old)), np.bool_)
    b = (inside & (old & ~new)).sum(axis=1)
    return Pairs(b, (inside & (new & ~old)).sum(axis=1), inside.sum(axis=1))
