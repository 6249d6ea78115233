"""`evensight update action=...`: one action a call, and what a terminal shows of it."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from evensight.errors import UserError, missing, unknown, wrong_value
from evensight.logs import logged
from evensight.options import UpdateOptions
from evensight.progress import shown
from evensight.records.artifact import Artifact
from evensight.records.registry import artifact_folder
from evensight.run import Run
from evensight.statuses import DONE
from evensight.update.champion import data_of, run_of
from evensight.update.decide import decide
from evensight.update.folders import numbered
from evensight.update.merge import Merged, merge, reopened
from evensight.update.placing import Fractions
from evensight.update.plan import Plan, plan
from evensight.update.promote import promote, rollback
from evensight.update.train import Job, train

Action = Callable[[UpdateOptions, Job], int]


def update(options: UpdateOptions, job: Job) -> int:
    """Does one action.

    Args:
        options: Of the command.
        job: Trains: `pipeline.main_job`.

    Returns:
        0; of `decide` 1 for REFUSE and 3 for INSUFFICIENT.

    Raises:
        UserError: An option is wrong or missing.
    """
    if options.action not in ACTIONS:
        raise unknown("action", options.action, ACTIONS)
    return ACTIONS[options.action](options, job)


def _plan(options: UpdateOptions, job: Job) -> int:
    if options.log is None:
        raise missing("log")
    with logged():
        log_file = Path(options.log)
        beside = log_file.parent / "monitor" / "verdicts" / "monitor.json"
        verdict = Path(options.verdict) if options.verdict else beside if beside.is_file() else None
        made = plan(
            _artifact(options.artifact, options),
            log_file,
            Path(options.out),
            options.budget,
            options.seed,
            verdict,
            options.control,
        )
        print(f"{len(made.asked):,} images to annotate: {made.table}")
        for reason, count in made.by_reason.items():
            print(f"  {count:>6,}  {reason}: {made.value['by_reason'][reason]['what']}")
        recommends = made.value["recommends"]
        for line in (*recommends["because"], f"train with {recommends['setting']}") if recommends else ():
            print(line)
        size = made.value["decide"]
        print(f"a decision on {size['cells']:,} cells takes {size['images_a_cell']} test images of each")
        print(f"then: evensight update action=merge answers=<filled table> out={shlex.quote(options.out)}")
        return DONE


def _merge(options: UpdateOptions, job: Job) -> int:
    if options.answers is None:
        raise missing("answers")
    with logged():
        fractions = _fractions(options)
        asked, run = _newest_plan(options), _run(options)
        with shown() as progress:
            made = merge(asked, Path(options.answers), run, Path(options.out), fractions, options.seed, progress)
        print(f"merged: {made.folder} (content {made.manifest.digests.content[:12]})")
        print("\n".join(made.lines))
        return DONE


def _train(options: UpdateOptions, job: Job) -> int:
    with logged():
        run = _run(options)
        artifact = _artifact(options.artifact, options)
        merged = _newest_merge(options, run)
        focus: str | tuple[str, ...] = options.focus or ""
        if options.focus is None and (plans := numbered(Path(options.out), "plan")):
            focus = Plan.open(Path(options.plan) if options.plan else plans[-1]).focus
    trained = train(run, merged, job, focus, artifact if options.from_champion else None, Path(options.registry))
    print(f"challenger: {trained.folder}")
    return DONE


def _decide(options: UpdateOptions, job: Job) -> int:
    with logged():
        champion, challenger = (_artifact(text, options) for text in (options.artifact, options.challenger))
        run = run_of(challenger, options.run, options.runs_dir)
        with shown() as progress:
            decision = decide(
                champion, challenger, data_of(run).manifest, Path(options.out), options.harm, progress=progress
            )
        print("\n".join(decision.reasons))
        print(f"decision: {decision.folder / 'decision.json'}")
        return decision.status


def _promote(options: UpdateOptions, job: Job) -> int:
    with logged():
        # Said of one artifact, it is that one which takes over.
        text = options.challenger if options.artifact == "registry:champion" else options.artifact
        artifact = _artifact(text, options)
        said = promote(artifact, Path(options.registry), Path(options.out), options.force, options.why)
        print(f"champion: {artifact.identity} ({said})")
        return DONE


def _rollback(options: UpdateOptions, job: Job) -> int:
    with logged():
        print(f"champion: {rollback(Path(options.registry), options.why)}")
        return DONE


ACTIONS: dict[str, Action] = {
    "plan": _plan,
    "merge": _merge,
    "train": _train,
    "decide": _decide,
    "promote": _promote,
    "rollback": _rollback,
}


def _artifact(text: str, options: UpdateOptions) -> Artifact:
    return Artifact.open(artifact_folder(text, options.registry))


def _run(options: UpdateOptions) -> Run:
    return run_of(_artifact(options.artifact, options), options.run, options.runs_dir)


def _fractions(options: UpdateOptions) -> Fractions:
    for name in ("test_share", "validation_share"):
        if not 0.0 <= getattr(options, name) <= 1.0:
            raise wrong_value(name, getattr(options, name), "a share from 0 to 1")
    if options.test_share + options.validation_share > 1.0:
        raise UserError(
            f"test_share, validation_share: {options.test_share} and {options.validation_share} are more than the "
            "whole control sample; together they may be 1."
        )
    return Fractions(options.test_share, options.validation_share)


def _newest_plan(options: UpdateOptions) -> Plan:
    plans = numbered(Path(options.out), "plan")
    if options.plan is None and not plans:
        raise UserError(f"plan: {options.out} holds no plan; write one with: evensight update action=plan log=<log>.")
    return Plan.open(Path(options.plan) if options.plan else plans[-1])


def _newest_merge(options: UpdateOptions, run: Run) -> Merged:
    merges = numbered(Path(options.out), "merged")
    if options.merged is None and not merges:
        raise UserError(f"merged: {options.out} holds no merge; write one with: evensight update action=merge.")
    return reopened(Path(options.merged) if options.merged else merges[-1], run)
