"""Which run a command works in: a new one, the one that is resumed, or the newest unfinished one of its identity."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from evensight.compose import RESUME_WHAT, compose, group_option, groups, prepare_overrides, resume_word, typed
from evensight.config import Config, FocusConfig
from evensight.errors import RunError, UserError
from evensight.files import disk_full, full_sentence
from evensight.identity import MOST_NAMED, differences, identity
from evensight.interruption import Interrupted
from evensight.locking import BusyError, locked
from evensight.ranks.group import agreed
from evensight.ranks.last_words import go_on_with
from evensight.ranks.world import world
from evensight.run import ORIGIN, Run

log = logging.getLogger(__name__)


def configuration(arguments: list[str]) -> Config:
    """Composes a configuration, or with `run=<folder> resume=true` takes the one that the run recorded.

    Args:
        arguments: Hydra overrides. Beside `resume=true` they change the run's own configuration, or with
            `experiment=...` compose it anew; either way it must come out with the run's identity. Beside `run` alone
            they ask for a new last layer of a finished run, whose configuration is returned with `run` and `focus`.

    Raises:
        UserError: A wrong key or value, no run, or a configuration that would change the figures of what is resumed.
    """
    prepare_overrides(arguments)
    parser = OverridesParser.create()
    given = {override.key_or_group: override for override in map(parser.parse_override, arguments)}
    resume = given["resume"].value() if "resume" in given else False
    if resume_word(resume) is True and not ("run" in given and given["run"].value()):
        raise UserError(RESUME_WHAT)
    focus = any(key.partition(".")[0] == "focus" for key in given)
    if (
        resume_word(resume) is False
        and "run" in given
        and given["run"].value()
        and (focus or "experiment" not in given)
    ):
        return _of_finished(given)
    if resume_word(resume) is not True or "experiment" in given:
        config = compose(arguments)
        if config.resume is not True:
            return config
        run = Run.open(str(config.run))
    else:
        run = Run.open(str(given["run"].value()))
        config = _changed(run, given)
    found = differences(run.config(), config)
    if found:
        more = f", and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        raise UserError(
            f"resume: {run.folder} has another configuration: {', '.join(found[:MOST_NAMED])}{more}; "
            "leave out what differs, or start a new run."
        )
    return dataclasses.replace(config, run=str(run.folder), resume=True)


@contextlib.contextmanager
def entered(config: Config, folder: Path | None = None) -> Iterator[Run]:
    """Yields the run folder to work in, locked: a new one, or with `resume` one that is there.

    Rank 0 makes and locks it, and tells the others. A new run that a mistake of the user's ends before training is
    removed. What else ends the work (a signal, a full disk) says how to go on.

    Args:
        config: The checked configuration.
        folder: Where a new run goes, for a sweep's jobs; otherwise a new folder under `runs_dir`.

    Raises:
        BusyError: Another process is working in the run.
        RunError: The disk is full.
    """
    if not world().leads:
        run = Run(agreed(Path()))
        go_on_with(run.hint)
        yield run
        return
    with contextlib.ExitStack() as stack:
        found = _resumed(config, stack)
        run = found or Run.make(config, folder)
        try:
            if found is None:
                stack.enter_context(locked(run.folder))
                run.describe(config)
            go_on_with(run.hint)
            agreed(run.folder)
            yield run
        except UserError:
            if found is None and not run.begun:
                run.discard(config)
            raise
        except Interrupted as interrupted:
            interrupted.hint = interrupted.hint or run.hint
            log.debug("%s", interrupted)  # on the terminal it is the last line
            raise
        except OSError as error:
            if not disk_full(error):
                raise
            if found is None and not (run.folder / "environment.json").is_file():  # it could not even begin
                run.discard(config)
                raise
            raise RunError(f"{full_sentence(error)}; make room and {run.hint}.") from error


def _resumed(config: Config, stack: contextlib.ExitStack) -> Run | None:
    """Locks the run to go on with, for as long as the stack holds; None where a new one is to be made."""
    if config.resume is True:
        run = Run.open(str(config.run))
        stack.enter_context(locked(run.folder) if run.finished else run.worked_on(config))
        return run
    if config.resume != "auto":
        return None
    for run in unfinished(config):
        try:
            with contextlib.ExitStack() as held:
                held.enter_context(run.worked_on(config))
                if run.finished is None:  # still
                    stack.push(held.pop_all())
                    log.info("resume=auto: going on with %s", run.folder)
                    return run
        except BusyError as busy:
            log.info("resume=auto: %s", busy)
    log.info("resume=auto: no unfinished run of this configuration; starting a new one")
    return None


def unfinished(config: Config) -> list[Run]:
    """Returns the runs of a configuration's experiment that have its identity and did not finish, newest first."""
    experiment, wanted = Path(config.runs_dir) / config.experiment_name, identity(config)
    paths = [
        path
        for pattern in ("*/config.yaml", "sweep-*/*/config.yaml")
        for path in experiment.glob(pattern)
        if not path.parent.is_symlink()  # `latest`
    ]
    found = []
    for path in sorted(paths, key=lambda path: (path.stat().st_mtime_ns, str(path)), reverse=True):
        run = Run(path.parent.resolve())
        with contextlib.suppress(UserError):  # one that cannot be read is nobody's to go on with
            if run.finished is None and run.read_json(ORIGIN) is None and identity(run.config()) == wanted:
                found.append(run)
    return found


def _of_finished(given: dict[str, Override]) -> Config:
    """Returns the configuration of a finished run, asked to fit its last layer anew."""
    run = Run.open(str(given["run"].value()))
    if "experiment" in given:
        raise UserError(f"experiment: {run.folder} brings its own configuration; leave experiment out.")
    return _changed(run, given, resume=False)


def _changed(run: Run, given: dict[str, Override], resume: bool = True) -> Config:
    """Returns a run's own configuration with the overrides in it; without `resume`, nothing is its focus yet."""
    # What `_target_` may name is the user's to say each time, never a folder's.
    values = {**asdict(run.config()), "allow_targets": [], "run": str(run.folder), "resume": resume}
    if not resume:
        values["focus"] = asdict(FocusConfig())
    changed = OmegaConf.create(values)
    assert isinstance(changed, DictConfig)
    known = groups()
    for key, override in sorted(given.items(), key=lambda item: item[0] not in known):  # an option, then its values
        if key in ("run", "resume", "experiment"):
            continue
        if override.is_sweep_override():
            raise UserError(f"{override.input_line}: a list of values is for --multirun, and a resumed run has one.")
        if override.is_delete() or key == "debug":
            beside = "resume=true this needs experiment=<name>; or" if resume else "run=<run folder> it has no place;"
            raise UserError(f"{override.input_line}: beside {beside} leave it out.")
        if key in known:
            OmegaConf.update(changed, key, group_option(key, str(override.value())), merge=False)
        else:
            OmegaConf.update(changed, key, override.value(), force_add=True)
    return typed(changed)
