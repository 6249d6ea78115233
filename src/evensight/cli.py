"""The table of commands. A stage is imported when it is called, so that help and mistakes are answered at once."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from evensight.errors import UserError, unknown
from evensight.process import leave
from evensight.ranks.world import world
from evensight.statuses import DONE, guarded

# OpenMP's threads spin while they wait, which is fine on an idle machine and ruinous beside other processes: the small
# network's steps fell from 3,300 to 200 images/s on 2 busy cores, and to 600 to 1,100 with this. Read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@dataclass(frozen=True)
class Command:
    """One line of the table.

    Attributes:
        target: `module:function`, imported when called; takes a `Config` or the options, returns a status.
        summary: One line of help.
        options: `module:dataclass` of the arguments; None for a command that composes a configuration.
        example: What to type.
        ranks: Whether several processes can do it together; any other command is rank 0's.
        sweeps: Whether it can be done for each job of a sweep.
        short: Arguments that stand for a longer key here.
    """

    target: str
    summary: str
    options: str | None
    example: str
    ranks: bool = False
    sweeps: bool = False
    short: Mapping[str, str] = field(default_factory=dict)


COMMANDS: dict[str, Command] = {
    "objective": Command(
        "evensight.pipeline:objective",
        "check the objective and print how much evidence it will take",
        None,
        "evensight objective experiment=shapes",
    ),
    "audit": Command(
        "evensight.pipeline:audit",
        "look at images and annotations before training: bias, leakage, labels",
        None,
        "evensight audit experiment=shapes",
        short={"run": "audit.run"},
    ),
    "train": Command(
        "evensight.pipeline:main_job",
        "prepare the data, train, export, judge, report",
        None,
        "evensight train experiment=shapes",
        ranks=True,
        sweeps=True,
    ),
    "test": Command(
        "evensight.pipeline:test",
        "open the test split of a run and judge its artifact on it",
        "evensight.options:TestOptions",
        "evensight test run=runs/shapes/latest",
    ),
    "export": Command(
        "evensight.pipeline:export",
        "write a run's artifact again from its best checkpoint",
        "evensight.options:ExportOptions",
        "evensight export run=runs/shapes/latest",
    ),
    "cycle": Command(
        "evensight.cycle.cycle:cycle",
        "all six stages, once around: release, traffic, alarm, update, promotion",
        None,
        "evensight cycle experiment=shapes",
    ),
    "predict": Command(
        "evensight.commands:predict",
        "label images with an artifact",
        "evensight.options:PredictOptions",
        "evensight predict artifact=runs/shapes/latest/artifact data=<folder or file>",
    ),
    "monitor": Command(
        "evensight.commands:monitor",
        "judge a served model by its prediction log, in the objective's terms",
        "evensight.options:MonitorOptions",
        "evensight monitor artifact=runs/shapes/latest/artifact log=<predictions.sqlite>",
    ),
    "update": Command(
        "evensight.commands:update",
        "what to annotate next, a new version of the data, champion against challenger, promotion",
        "evensight.options:UpdateOptions",
        "evensight update action=plan log=<prediction log> budget=200",
    ),
    "serve": Command(
        "evensight.commands:serve",
        "answer over HTTP, and log every prediction",
        "evensight.options:ServeOptions",
        "evensight serve artifact=runs/shapes/latest/artifact    (or artifact=registry:champion)",
    ),
}


def run(*before: str) -> NoReturn:
    """The console script: ends the process with the command's status.

    Args:
        before: Stand before what was typed, e.g. ``train``.
    """
    leave(main([*before, *sys.argv[1:]]))


def main(argv: Sequence[str]) -> int:
    """Runs one command and returns its exit status; never raises for a mistake of the user's.

    Args:
        argv: The command and its arguments, e.g. ``["train", "experiment=shapes"]``.

    Returns:
        0 done, 1 FAIL (of `monitor`: an alarm), 3 INSUFFICIENT or NOT_MEASURED, 2 a wrong configuration or file, 4 the
        machine or evensight failed, 130 and 143 interrupted.
    """
    return guarded(lambda: _dispatch(list(argv)))


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview())
        return DONE
    if argv[0] == "--version":
        from evensight import __version__

        print(__version__)
        return DONE
    name, arguments = argv[0], argv[1:]
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    command = COMMANDS[name]
    if any(argument in ("-h", "--help") for argument in arguments):
        print(_help(name, command))
        return DONE
    if not command.ranks and not world().leads:
        return DONE
    if command.options is not None:
        return int(_load(command.target)(_options(command, arguments)))
    return _composed(name, command, arguments)


def _composed(name: str, command: Command, arguments: list[str]) -> int:
    """Runs a command that composes a configuration, once or (`--multirun`) for each job of a sweep."""
    from evensight.compose import groups, to_yaml
    from evensight.resuming import configuration

    overrides = [_long(argument, command) for argument in arguments if not argument.startswith("-")]
    flags = [argument for argument in arguments if argument.startswith("-")]
    allowed = ("--help", "--cfg", "--multirun", "-m", "--save=<name>")
    if "--cfg" in flags:
        overrides = [argument for argument in overrides if argument not in ("job", "hydra", "all")]
    for flag in flags:
        if flag not in ("--cfg", "--multirun", "-m") and not flag.startswith("--save="):
            raise unknown("option", flag, allowed)
    if not overrides:
        raise UserError(
            f"experiment: none given; write experiment=<name>; allowed: {', '.join(groups()['experiment'])}."
        )
    if "--multirun" in flags or "-m" in flags:
        if not command.sweeps:
            raise UserError(f"--multirun: {name} looks at one configuration; leave it out, or write train.")
        from evensight.sweep import multirun

        return multirun(overrides, _load(command.target))
    config = configuration(overrides)
    if "--cfg" in flags:
        print(to_yaml(config), end="")
        return DONE
    for flag in flags:
        if flag.startswith("--save="):
            from evensight.experiments import save_experiment

            print(f"saved: {save_experiment(flag.removeprefix('--save='), overrides)}")
            return DONE
    if command.ranks:
        from evensight.ranks.launching import launched

        status = launched(config, [name, *arguments])
        if status is not None:
            return status
    return int(_load(command.target)(config))


def _long(argument: str, command: Command) -> str:
    key, equals, value = argument.partition("=")
    return f"{command.short.get(key, key)}{equals}{value}"


def _options(command: Command, arguments: list[str]) -> Any:
    """Reads `key=value` arguments into a command's own dataclass."""
    from evensight.compose import parse_options

    assert command.options is not None
    return parse_options(_load(command.options), arguments)


def _load(target: str) -> Any:
    module, attribute = target.split(":")
    return getattr(importlib.import_module(module), attribute)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "evensight: image recognition models that are right for every class and group, and for the right reason.",
            "",
            "usage: evensight <command> key=value ...    (evensight <command> --help)",
            "",
            *lines,
            "",
            "exit status: 0 done or PASS, 1 FAIL, 3 INSUFFICIENT or NOT_MEASURED, 2 wrong input, 4 the machine failed,",
            "130 or 143 interrupted",
        ]
    )


def _help(name: str, command: Command) -> str:
    lines = [f"{name}: {command.summary}", "", f"  {command.example}", ""]
    if command.options is not None:
        import dataclasses

        lines.append("arguments:")
        fields = dataclasses.fields(_load(command.options))
        lines += [f"  {field.name}=...  {field.metadata.get('help', '')}" for field in fields]
        return "\n".join(lines)
    from evensight.compose import groups

    lines.append("groups (group=option):")
    lines += [f"  {group:<11}{' | '.join(options)}" for group, options in groups().items()]
    lines += [
        "",
        "every value can be set (optimizer.lr=1e-3); --cfg job prints the whole configuration with its keys,",
        "--multirun seed=1,2,3 runs a sweep, --save=<name> keeps these settings as configs/experiment/<name>.yaml,",
        "run=<run folder> resume=true goes on with a run, resume=auto with the newest unfinished one, or starts one",
    ]
    return "\n".join(lines)
