"""`evensight update action=train`: a challenger, by the champion's configuration on the new version of its data.

The fit begins anew unless it is asked to begin from the champion's weights: then the backbone is filled from the
champion's artifact by `model.checkpoint_path`, and the last layer is drawn anew, which no image of the old data biases.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from evensight.compose import group_option, groups, typed
from evensight.config import Config, FocusConfig
from evensight.errors import UserError, unknown
from evensight.names import CUES
from evensight.records.artifact import WEIGHTS, Artifact
from evensight.records.registry import Registry
from evensight.run import Run
from evensight.update.merge import Merged

log = logging.getLogger(__name__)

# A main job: `pipeline.main_job`, which this room may not import.
Job = Callable[[Config, Path | None], int]


def train(
    run: Run,
    merged: Merged,
    job: Job,
    focus: str | Sequence[str] = (),
    champion: Artifact | None = None,
    registry: Path | None = None,
) -> Run:
    """Trains a challenger in a run of its own.

    Args:
        run: Of the champion.
        merged: The new version of its data.
        job: Does the main job: `pipeline.main_job`.
        focus: Cues to turn off, or a `focus=` option; empty keeps the champion's focus.
        champion: Begin from these weights; None begins anew.
        registry: Where the challenger is added, under the alias `challenger`; None: nowhere.

    Returns:
        The challenger's run, finished.

    Raises:
        UserError: The focus is none, or what the main job raises.
    """
    config = challenger_config(run.config(), merged, focus, champion)
    folder = Run.make(config).folder
    job(config, folder)
    trained = Run.open(folder)
    if registry is not None:
        artifact = Artifact.open(trained.artifact)
        book = Registry.open(registry, create=True)
        book.add(artifact)
        book.set("challenger", artifact.identity, f"trained on {merged.folder.name}", {"run": str(trained.folder)})
        log.info("challenger: %s (identity %s)", artifact.folder, artifact.identity[:12])
    return trained


def challenger_config(
    config: Config, merged: Merged, focus: str | Sequence[str] = (), champion: Artifact | None = None
) -> Config:
    """Returns the configuration of a challenger: the champion's, with the new data and what is asked for.

    Args:
        config: The champion's.
        merged: The new version of its data.
        focus: See `train`.
        champion: See `train`.

    Raises:
        UserError: The focus is none.
    """
    changed = dataclasses.replace(
        config,
        data=merged.data,
        run=None,
        resume=False,
        export=True,
        # A sealed test split is opened by `decide`, on rows that nobody saw.
        test=config.test and not merged.data.sealed,
        gate="off",
    )
    wanted = focus_section(focus, config.focus)
    if wanted is not None:
        changed = dataclasses.replace(changed, focus=wanted)
    if champion is not None:
        weights = str((champion.folder / WEIGHTS).resolve())
        model = dataclasses.replace(config.model, pretrained=False, checkpoint_path=weights)
        changed = dataclasses.replace(changed, model=model)
    return typed(dataclasses.asdict(changed))


def focus_section(focus: str | Sequence[str], champion: FocusConfig) -> FocusConfig | None:
    """Returns the focus that is asked for; None where nothing is.

    Args:
        focus: Names of cues (one text with commas, or several), or a `focus=` option such as ``colour_off``.
        champion: The champion's: what it ignores stays ignored where cues are named.

    Raises:
        UserError: A name is neither.
    """
    named = [part.strip() for part in focus.strip("[]").split(",")] if isinstance(focus, str) else list(focus)
    named = [name for name in named if name]
    if not named:
        return None
    options = groups()["focus"]
    if len(named) == 1 and named[0] in options:
        return FocusConfig(**group_option("focus", named[0]))
    for name in named:
        if name not in CUES:
            raise unknown("focus: cue or option", name, [*CUES, *options])
    if champion.auto:
        raise UserError("focus: the champion's own focus.auto=true turns cues off; name a focus= option instead.")
    ignored = list(dict.fromkeys([*champion.ignore, *named]))
    return dataclasses.replace(champion, ignore=ignored)
