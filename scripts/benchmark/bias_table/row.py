"""What a line of the table is: the real commands it runs, what its method was told, and what it must reach."""

from __future__ import annotations

from dataclasses import dataclass

NOTHING = "nothing"
CUE = "the cue's name"
BIAS_TYPE = "the bias type"
GROUPS = "group labels"
BOUND = "the objective's bound"

# Figures are only compared with published ones of the same kind of information.
KINDS = {
    NOTHING: "label-free",
    CUE: "told the cue",
    BIAS_TYPE: "told the cue",
    GROUPS: "told the groups",
    BOUND: "told a bound",
}

# What chose the weights that are judged; see `SELECTED` for what chose the hyperparameters.
LAST_EPOCH = "the last epoch: validation images are looked at once, after training"
BY_OBJECTIVE = "the epoch that meets most of the objective on validation images, which are tied as training is"

SELECTED = (
    "Hyperparameters are fixed in the table, and no figure of a test split chose any. Learning rates are those of "
    "empirical risk minimisation with the best worst class on validation images that carry the training bias, tried "
    "with a seed that no row uses (`--select`); every method on a network has the same. A method's own are its paper's."
)
UNSELECTED = (
    "Hyperparameters are fixed in the table, and no figure of a test split chose any. Learning rates are the published "
    "protocol's and those of the experiments, for every method on a network the same; whether others are better on "
    "validation images was not tried (`--select`). A method's own are its paper's."
)


@dataclass(frozen=True)
class Published:
    """A published figure, in percent.

    Attributes:
        method: Its name and where it stands.
        value: Mean.
        told: What the method was told, one of the constants above.
        spread: Half width as published (standard deviation), None where none is given.
    """

    method: str
    value: float
    told: str
    spread: float | None = None


@dataclass(frozen=True)
class Target:
    """A bound on one figure of a row.

    Attributes:
        figure: A figure of `figures.py`, or one of a row against its baseline (`gain`, `epoch_ratio`).
        bound: In the figure's own unit.
        at_least: Whether more is better.
        every: Every seed must meet it, not their mean.
    """

    figure: str
    bound: float
    at_least: bool = True
    every: bool = False


@dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        name: Short and unique: the folder of its results.
        section: Heading it stands under.
        title: What is trained, in words.
        told: What the method was told.
        overrides: Of `evensight train`, less seeds and folders.
        seeds: How many, counted from 1.
        minutes: One seed takes on one core beside another such process.
        priority: Lower runs first.
        sets: Names it is asked for by.
        audit: The audit looks at the data first; its side tables are for this row and its like alone.
        trained: False: the audit is all there is.
        refused: The command must end with status 2; its sentence is what is recorded.
        figure: What the row is judged by and compared with published figures.
        conflicting: Attribute whose conflicting images are counted; None where the data has none.
        cue: Whose reliance is judged.
        stage: Whose images are judged: those of the test split, but where a learning rate is chosen.
        targets: What it must reach.
        published: Figures of others for the same data.
        baseline: Name of the row it is set against, seed by seed.
        selection: What chose the weights that are judged.
        data_seed: Whether each seed has a data set of its own too.
        note: Said below the row.
        quick: Further overrides of `--quick`.
    """

    name: str
    section: str
    title: str
    told: str
    overrides: tuple[str, ...]
    seeds: int
    minutes: float
    priority: int
    sets: tuple[str, ...] = ()
    audit: bool = False
    trained: bool = True
    refused: bool = False
    figure: str = "accuracy"
    conflicting: str | None = "colour"
    cue: str = "colour"
    stage: str = "test"
    targets: tuple[Target, ...] = ()
    published: tuple[Published, ...] = ()
    baseline: str | None = None
    selection: str = LAST_EPOCH
    data_seed: bool = True
    note: str = ""
    quick: tuple[str, ...] = ()
