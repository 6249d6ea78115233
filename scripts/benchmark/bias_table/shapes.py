"""Lines of shapes: eight shapes in eight colours, drawn anew for each seed."""

from __future__ import annotations

from dataclasses import replace

from bias_table.digits import AUDITED_CUES, audited_groups
from bias_table.row import BOUND, BY_OBJECTIVE, CUE, LAST_EPOCH, NOTHING, Row, Target

EPOCHS = 20  # turning a cue off makes learning slower; the experiment itself has 12
SHORT = 15  # so that the whole command, alone on two cores, ends within three minutes
# Validation after the last epoch alone: nothing about an epoch can be chosen by it.
_LAST, _QUICK_LAST = f"trainer.check_val_every_n_epoch={EPOCHS}", "trainer.check_val_every_n_epoch=3"
_QUICK = (
    "data.num_train=2000",
    "data.num_validation=500",
    "data.num_test=1024",
    "trainer.max_epochs=3",
    "reliance.max_images=200",
)
_FOCUSED = (
    Target("conflicting", 0.995),
    Target("passes", 1.0, every=True),
    Target("reliance", 0.01, at_least=False, every=True),
    Target("redraw", 0.01, at_least=False, every=True),
)


def _line(correlation: float, what: str, title: str, told: str, *extra: str, epochs: int = EPOCHS) -> Row:
    percent = f"{100 * correlation:g}"
    tied = f"Shapes, colour agrees with the shape at {correlation:g} in training"
    return Row(
        name=f"shapes-{percent}-{what}",
        section=tied if correlation else "Negative control: shapes, colours random",
        title=title,
        told=told,
        overrides=("experiment=shapes", f"data.correlation={correlation}", f"trainer.max_epochs={epochs}", *extra),
        seeds=5,
        minutes=2.8,
        priority=80,
        sets=("headline",),
        figure="conflicting",
        baseline=None if what == "erm" else f"shapes-{percent}-erm",
        selection=BY_OBJECTIVE,
        quick=_QUICK,
    )


def _erm(correlation: float) -> Row:
    row = _line(correlation, "erm", "empirical risk minimisation", NOTHING)
    return replace(row, seeds=2, minutes=2.2, priority=21)


def _shape(correlation: float) -> Row:
    return _line(correlation, "shape", "focus=shape", CUE, "focus=shape")


def _short(correlation: float) -> Row:
    title = f"focus=shape, {SHORT} epochs"
    row = _line(correlation, f"shape-{SHORT}", title, CUE, "focus=shape", epochs=SHORT)
    note = "The number of epochs is what three minutes leave time for; 14 and 16 were tried on one seed each."
    return replace(row, minutes=2.2, priority=19, targets=_FOCUSED, baseline=None, note=note)


def _focused() -> list[Row]:
    # Seconds of the whole command have a script of their own (`command_time.py`): these share the machine.
    targets = (*_FOCUSED, Target("epoch_ratio", 1.4, at_least=False))
    quick = ("headline", "quick")
    rows = [replace(_shape(0.95), sets=quick), replace(_erm(0.95), sets=quick)]
    rows += [row for correlation in (0.99, 1.0) for row in (_shape(correlation), _erm(correlation))]
    rows = [replace(row, priority=11, targets=targets) if row.baseline else row for row in rows]
    auto = _line(0.95, "auto", "focus=auto", BOUND, "focus=auto")
    met = Target("reliance", 0.05, at_least=False, every=True)  # the objective's bound
    return [*rows, replace(auto, seeds=3, minutes=3.3, priority=16, targets=(Target("conflicting", 0.96), met))]


def _told_nothing() -> list[Row]:
    """The audit looks first, and what it finds drives training."""
    by_groups = "the audit's computed attribute, class and group resampling"
    groups = _line(0.95, "audit-groups", by_groups, NOTHING, *audited_groups("resample"), _LAST)
    cues = _line(0.95, "audit-cues", "the cues that the audit names are ignored", NOTHING, *AUDITED_CUES, _LAST)
    shared = {"minutes": 3.3, "audit": True, "selection": LAST_EPOCH, "targets": (Target("conflicting", 0.95),)}
    rows = [replace(cues, priority=15, sets=("headline", "quick")), replace(groups, priority=17)]
    return [replace(row, quick=(*_QUICK, _QUICK_LAST), **shared) for row in rows]  # type: ignore[arg-type]


def _label_is_colour() -> Row:
    overrides = ("experiment=shapes", "objective=shapes_by_colour", "data.label=colour", "focus=shape")
    return Row(
        name="shapes-colour-refused",
        section="Shapes whose label is the colour",
        title="focus=shape, which must be refused",
        told=CUE,
        overrides=overrides,
        seeds=1,
        minutes=0.7,
        priority=18,
        sets=("headline", "quick"),
        refused=True,
        conflicting=None,
        targets=(Target("refused", 1.0, every=True),),
        quick=_QUICK[:3],
    )


def _vivid() -> list[Row]:
    """Natural brightness: colours differ in grey too."""
    vivid, told = "data.palette=vivid", "focus.ignore=[colour,brightness]"
    section = "Shapes, vivid palette, colour agrees with the shape at 0.95 in training"
    erm = _line(0.95, "erm", "empirical risk minimisation", NOTHING, vivid)
    augment = _line(0.95, "augment", "colour and brightness ignored by augment", CUE, vivid, told)
    remove = _line(0.95, "remove", "colour and brightness ignored by remove", CUE, vivid, told, "focus.by=[remove]")
    redraw = Target("redraw", 0.02, at_least=False, every=True)
    rows = [
        replace(augment, targets=(Target("conflicting", 0.985), redraw)),
        replace(remove, targets=(Target("conflicting", 0.995), redraw)),
        replace(erm, seeds=2),
    ]
    baseline = "shapes-vivid-95-erm"
    return [
        replace(
            row,
            name=row.name.replace("shapes-", "shapes-vivid-"),
            section=section,
            priority=25,
            sets=("vivid",),
            baseline=baseline if row.baseline else None,
        )
        for row in rows
    ]


def _controls() -> list[Row]:
    """Colours random: what focus costs, and whether the audit keeps quiet."""
    audit = _line(0.0, "audit", "the audit alone", NOTHING)
    quiet, note = Target("alarms", 0.025, at_least=False), "The stated chance of an alarm here is 2.5 %."
    rows = [
        replace(_erm(0.0), seeds=3),
        replace(_shape(0.0), seeds=3, targets=(Target("gain", -0.003),)),
        replace(audit, minutes=0.7, audit=True, trained=False, baseline=None, targets=(quiet,), note=note),
    ]
    return [replace(row, figure="accuracy", priority=34, sets=("controls",)) for row in rows]


ROWS: tuple[Row, ...] = (
    *_focused(),
    *map(_short, (0.95, 0.99, 1.0)),
    *_told_nothing(),
    _label_is_colour(),
    *_vivid(),
    *_controls(),
)
