"""What a run's focus comes to: the words of the `focus` section, answered by the objective and the data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch

from evensight import names
from evensight.config import Config, DataConfig, FocusConfig
from evensight.cues import build_cue
from evensight.cues.probing import Described, described, fit_probes, joined
from evensight.data.dataset import plain_images
from evensight.data.manifest import Manifest
from evensight.data.mapped import mapped
from evensight.data.side_tables import SAYS
from evensight.errors import UserError, unknown
from evensight.objective.objective import Objective
from evensight.runtime.preprocess import PreprocessSpec
from evensight.training.donors import lacking_needs
from evensight.training.focus.controller import bounds_on_reliance
from evensight.training.focus.randomize import in_order

RANDOMIZING = ("augment", "consistency")
# Of what is to be known of the label beyond the largest class, the share that grey must give away to be ignored too.
# shapes: 0 with the even palette, .52 with the vivid one; digits in ten colours .98.
GIVEN_AWAY = 0.25
NUM_PROBED = 2000  # images of each split
_BATCH = 128
PROBED_SIDE = 64  # pixels


@dataclass(frozen=True)
class Focus:
    """What a fit ignores, and how.

    Attributes:
        cues: Ignored, in the order in which they are randomized.
        by: Words of `names.FOCUS_BY`.
        strength: To begin with.
        bounds: Where a controller sets the strength: the bound on reliance by cue; else empty.
        notes: What the log and the report say of how these were chosen.
    """

    cues: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    strength: float = 1.0
    bounds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def randomized(self) -> tuple[str, ...]:
        """Returns the cues that training images take from each other."""
        return self.cues if any(word in self.by for word in RANDOMIZING) else ()

    @property
    def removed(self) -> tuple[str, ...]:
        """Returns the cues that the network takes away; colour first, of which outlines keep nothing."""
        return self.cues[::-1] if "remove" in self.by else ()

    def plain(self) -> dict[str, Any]:
        """Returns plain values, from which `Focus.from_plain` makes the same again."""
        return {**asdict(self), **{name: list(getattr(self, name)) for name in ("cues", "by", "notes")}}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Focus:
        """Returns what `plain` was taken of."""
        lists = {name: tuple(values[name]) for name in ("cues", "by", "notes")}
        return cls(strength=float(values["strength"]), bounds=dict(values["bounds"]), **lists)


def resolve(config: Config, objective: Objective, manifest: Manifest) -> Focus:
    """Answers the `focus` section with the objective and the data.

    Args:
        config: Checked; its data and focus sections are read.
        objective: Resolved; bounds reliance.
        manifest: Training and validation images, for `focus.keep`.

    Raises:
        UserError: There is no audit to go by, no bound to meet, or a cue needs what the images come without.
    """
    focus = config.focus
    bounds: dict[str, float] = {}
    if focus.auto:
        bounds = bounds_on_reliance(objective)
        cues, notes = list(focus.ignore or bounds), [f"the objective bounds reliance on {', '.join(bounds)}"]
        for cue in cues:
            if cue not in bounds:
                raise unknown(
                    "focus.ignore: with focus.auto=true each cue needs a bound in the objective;", cue, bounds
                )
        bounds = {cue: bounds[cue] for cue in cues}
    else:
        cues, notes = _stated(focus, manifest)
    if focus.keep:
        more, said = _beside_shape(manifest, config.data)
        cues, notes = [*cues, *more], [*notes, *said]
    for cue in cues:
        _check_needs(cue, manifest)
    by = tuple(word for word in names.FOCUS_BY if word in focus.by) if cues or not _of_cues(focus) else ()
    return Focus(in_order(cues), by, 0.0 if focus.auto else focus.strength, bounds, tuple(notes))


def method_section(config: Config, focus: Focus, manifest: Manifest) -> dict[str, Any]:
    """Returns the `method` section to train with: that of the configuration, or what `focus.by` puts in its place.

    Raises:
        UserError: `focus.attribute` names none.
    """
    section = dict(config.method) if isinstance(config.method, Mapping) else asdict(config.method)
    chosen = {"groups": config.focus.groups, "head": config.focus.head}
    names_of = [chosen[word] for word in ("groups", "head") if word in focus.by]
    if not names_of:
        return section
    kind = names.resolve(names.METHODS, "focus.by", names_of[0])
    given = {"label_smoothing": section.get("label_smoothing", 0.0), "attribute": _attribute(config, focus, manifest)}
    return {"name": names_of[0], **{key: value for key, value in given.items() if key in kind.allowed}}


def _attribute(config: Config, focus: Focus, manifest: Manifest) -> str | None:
    """Returns the attribute whose levels are the groups; None leaves it to the method."""
    wanted, levels = config.focus.attribute, manifest.levels
    if wanted == names.AUDITED:
        said = [name for cue in audited(manifest, "focus.attribute") if (name := cue + SAYS) in levels]
        if not said:
            raise UserError("focus.attribute: the audit of these images gave them no attribute; name one of the data.")
        return said[0]  # findings come with the most dangerous first
    if wanted is not None:
        if wanted not in levels:
            raise unknown("focus.attribute", wanted, [*levels, names.AUDITED])
        return wanted
    own = [name for cue in focus.cues for name in (cue, cue + SAYS) if name in levels]
    return own[0] if own else None


def _of_cues(focus: FocusConfig) -> bool:
    return any(word in (*RANDOMIZING, "remove") for word in focus.by)


def _stated(focus: FocusConfig, manifest: Manifest) -> tuple[list[str], list[str]]:
    cues = [name for name in focus.ignore if name != names.AUDITED]
    if names.AUDITED not in focus.ignore:
        return cues, []
    found = audited(manifest)
    said = f"the audit names {', '.join(found)}" if found else "the audit names no cue that gives the label away"
    return [*cues, *found], [said]


def audited(manifest: Manifest, key: str = "focus.ignore") -> list[str]:
    """Returns the cues that the audit of this data warns of, and that can be transplanted; the worst first.

    Args:
        manifest: Whose audit it is.
        key: The configuration key that asked, for the sentence.

    Raises:
        UserError: There is no audit, it is broken, or it is of other data.
    """
    path = manifest.folder / "audit" / "findings.json"
    run = "run: evensight audit, with the same data."
    if not path.is_file():
        raise UserError(f"{key}: this data has not been audited, so nothing is named; {run}")
    try:
        findings = json.loads(path.read_text(encoding="utf-8"))
        cues = [
            str(each["evidence"]["cue"])
            for each in findings["findings"]
            if each["chapter"] == "shortcuts" and each["severity"] != "note" and "cue" in each["evidence"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{key}: {path} cannot be read ({error}); {run}") from None
    if findings.get("data") != manifest.digests.content:
        raise UserError(f"{key}: the data has changed since {path} was written; {run}")
    return [cue for cue in dict.fromkeys(cues) if cue in names.CUES and cue not in names.DESCRIBED_ONLY]


def _beside_shape(manifest: Manifest, data: DataConfig) -> tuple[list[str], list[str]]:
    """Returns what is to be ignored for the shape to count: colour, and brightness where grey says the label."""
    share = grey_gives_away(manifest, data)
    words = f"brightness alone gives {share:.0%} of the label away"
    if share < GIVEN_AWAY:
        return ["colour"], [f"focus on shape ignores colour; {words}, so it stays"]
    return ["colour", "brightness"], [f"focus on shape ignores colour and brightness: {words}"]


def grey_gives_away(manifest: Manifest, data: DataConfig) -> float:
    """Returns how much of the label brightness alone says, of what the largest class leaves to be said; 0 to 1.

    By a probe of the brightness cue, fitted on a sample of training images and judged on validation images; on as many
    other training images where there is no validation split.
    """
    cue, spec = build_cue("brightness"), PreprocessSpec(PROBED_SIDE)

    def seen(split: str, seed: int) -> list[Described]:
        images = plain_images(manifest, split, spec, data)
        return mapped(images, partial(described, [cue]), _BATCH, NUM_PROBED, seed)

    known = seen("train", 0)
    judged = joined(seen("validation" if len(manifest.labels("validation")) else "train", 1))
    said = fit_probes(known, len(manifest.classes), 0)[cue.name].predict(judged.features[cue.name])
    right = float((said == judged.labels).float().mean())
    largest = float((judged.labels == torch.mode(joined(known).labels).values).float().mean())
    return max(0.0, (right - largest) / max(1.0 - largest, 1e-9))


def _check_needs(name: str, manifest: Manifest) -> None:
    if lacking := lacking_needs(build_cue(name), manifest):
        instead = " (focus.ignore=[surround] goes without)" if name == "background" else ""
        raise UserError(f"focus: {name} needs a {lacking[0]} of each image, and these come without{instead}.")
