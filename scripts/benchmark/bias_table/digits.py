"""Lines of coloured MNIST ("Learning from Failure") and of its two-class form (IRM)."""

from __future__ import annotations

from dataclasses import replace

from bias_table.published import IRM, digits
from bias_table.row import BOUND, BY_OBJECTIVE, CUE, GROUPS, NOTHING, Row, Target

# Network: its name, its epochs, its settings, minutes of one seed.
NETWORKS = {
    "cnn": ("small CNN", 10, ("model=small_cnn", "optimizer.lr=3.0e-3", "schedule.warmup_fraction=0.1"), 2.5),
    # Published runs of the MLP have 100 epochs.
    "mlp": ("MLP", 20, ("model=mlp", "optimizer.lr=1.0e-3", "schedule.warmup_fraction=0.1"), 1.5),
}
# Small turns and shifts, so that the few conflicting digits, drawn again and again, are not learnt by heart.
AFFINE = (
    "augment.transforms.affine={_target_: albumentations.Affine, rotate: [-15, 15], shear: [-8, 8], "
    "scale: [0.9, 1.1], translate_percent: [-0.08, 0.08], p: 1.0}"
)
AUDITED_CUES = ("focus.ignore=[audit]",)
_QUICK = ("data.limit=3000", "trainer.max_epochs=3", "reliance.max_images=200")
_RANDOM = 0.9  # of the images with any of the nine other colours: every colour alike


def audited_groups(method: str) -> tuple[str, ...]:
    """Returns the overrides by which a method knows the attribute that an audit computed."""
    return ("focus.by=[groups]", f"focus.groups={method}", "focus.attribute=colour_says")


def _line(
    network: str,
    ratio: float,
    what: str,
    title: str,
    told: str,
    *extra: str,
    last: bool = True,
    epochs: int | None = None,
) -> Row:
    """Returns a line of coloured MNIST with what most of them have.

    Args:
        network: A key of `NETWORKS`.
        ratio: Share of conflicting training and validation images.
        what: Ends the row's name.
        title: What is done, in words.
        told: What the method is told.
        extra: Overrides.
        last: Whether the last epoch is taken: validation runs after it alone, so that nothing can be chosen by it.
        epochs: Where not as many as of `NETWORKS`.
    """
    name, usual, settings, minutes = NETWORKS[network]
    epochs = epochs or usual
    percent = f"{100 * ratio:g}"
    overrides = ("experiment=coloured_mnist", f"trainer.max_epochs={epochs}", "schedule.name=cosine", *settings)
    row = Row(
        name=f"mnist-{network}-{percent}-{what}",
        section=f"Coloured MNIST, {percent} % of training images conflicting",
        title=f"{name}, {title}",
        told=told,
        overrides=(*overrides, f"data.conflict_ratio={ratio}", *extra),
        seeds=3,
        minutes=minutes,
        priority=80,
        sets=("more",),
        published=digits(ratio) if ratio != _RANDOM else (),
        baseline=None if what == "erm" else f"mnist-{network}-{percent}-erm",
        quick=_QUICK,
    )
    if not last:
        return replace(row, selection=BY_OBJECTIVE)
    once = "trainer.check_val_every_n_epoch="
    return replace(row, overrides=(*row.overrides, f"{once}{epochs}"), quick=(*_QUICK, f"{once}3"))


def _erm(network: str, ratio: float) -> Row:
    return _line(network, ratio, "erm", "empirical risk minimisation", NOTHING)


def _shape(network: str, ratio: float) -> Row:
    row = _line(network, ratio, "shape", "focus=shape", CUE, "focus=shape")
    return replace(row, minutes=1.3 * row.minutes)


def _focused() -> list[Row]:
    """`focus=shape`, told to ignore colour, and what it is set against."""
    rows = []
    bounds = {("cnn", 0.005): 0.985, ("cnn", 0.0): 0.965, ("mlp", 0.005): 0.965, ("mlp", 0.0): 0.965}
    for (network, ratio), bound in bounds.items():
        sets = ("headline", "quick") if ratio else ("headline",)
        first = network == "cnn"
        target = (Target("accuracy", bound),)
        shape = replace(_shape(network, ratio), seeds=5, targets=target, sets=sets, priority=10 if first else 12)
        rows += [shape, replace(_erm(network, ratio), sets=sets if first else ("headline",), priority=20)]
    for ratio in (0.01, 0.02, 0.05):
        rows += [_shape(network, ratio) for network in NETWORKS]
        rows += [_erm(network, ratio) for network in NETWORKS if (network, ratio) != ("cnn", 0.05)]
    return [*rows, replace(_erm("cnn", 0.05), sets=("methods",), priority=29)]


def _told_nothing() -> list[Row]:
    """The audit looks first, and what it finds drives training; the controller is told a bound."""
    target = (Target("accuracy", 0.95),)
    by_groups = "the audit's computed attribute, class and group resampling, affine"
    groups = _line("cnn", 0.005, "audit-groups", by_groups, NOTHING, *audited_groups("resample"), AFFINE)
    note = "Affine: small turns and shifts, which the published rows do without."
    by_odds = "the audit's computed attribute, logit adjustment, affine"
    adjusted = _line("cnn", 0.005, "audit-adjusted", by_odds, NOTHING, *audited_groups("logit_adjustment"), AFFINE)
    seen = f"{note} Taken up after it had led with true groups on the test split."
    cues = _line("cnn", 0.005, "audit-cues", "the cues that the audit names are ignored", NOTHING, *AUDITED_CUES)
    affine = _line("cnn", 0.005, "erm-affine", "empirical risk minimisation, affine", NOTHING, AFFINE)
    auto = _line("cnn", 0.005, "auto", "focus=auto", BOUND, "focus=auto", last=False)
    met = Target("reliance", 0.10, at_least=False, every=True)
    first, second = ("headline", "quick"), ("headline",)
    return [
        replace(groups, seeds=5, minutes=4.5, priority=13, sets=first, audit=True, targets=target, note=note),
        replace(adjusted, seeds=5, minutes=9.0, priority=23, sets=second, audit=True, targets=target, note=seen),
        replace(cues, seeds=5, minutes=4.5, priority=22, sets=second, audit=True, targets=target),
        replace(affine, minutes=3.0, priority=45, sets=("methods",), note="What affine does by itself."),
        replace(auto, seeds=5, minutes=4.0, priority=14, sets=first, targets=(Target("accuracy", 0.96), met)),
    ]


# Name; as published, else in words; what it is told; its overrides; minutes; whether it is a must.
_METHODS = (
    ("group_dro", "GroupDRO", GROUPS, ("method=group_dro",), 2.5, True),
    ("jtt", "JTT", NOTHING, ("method=jtt",), 3.5, True),
    ("lff", "LfF", NOTHING, ("method=lff",), 4.5, True),
    ("dfr", "DFR", GROUPS, ("focus.by=[head]", "focus.head=dfr", "focus.attribute=colour"), 3.0, True),
    ("logit_adjustment", "logit adjustment", GROUPS, ("method=logit_adjustment",), 2.5, False),
    ("resample", "resampling", GROUPS, ("method=resample",), 2.5, False),
    ("fg_ccdb", "FG-CCDB", NOTHING, ("method=fg_ccdb",), 4.0, False),
    ("lisa", "LISA", GROUPS, ("method=lisa",), 3.0, False),
    ("afr", "AFR", NOTHING, ("focus.by=[head]", "focus.head=afr"), 3.0, False),
)


def _methods() -> list[Row]:
    """Methods of others, each against what is published of it."""
    rows = []
    note = "The published figure is of the MLP after 100 epochs."
    for ratio in (0.005, 0.05):
        known = {one.method: one for one in digits(ratio)}
        for name, title, told, overrides, minutes, must in _METHODS:
            row = _line("cnn", ratio, name, title, told, *overrides)
            if title in known:
                bound = (known[title].value - (known[title].spread or 0.0)) / 100
                row = replace(row, targets=(Target("accuracy", bound),), note=note)
            sets = ("methods",) if must or ratio == 0.005 else ("more",)
            rows.append(replace(row, minutes=minutes, priority=30 if must else 60, sets=sets))
    return [*rows, *_why_behind()]


def _why_behind() -> list[Row]:
    """Whether FG-CCDB lacks epochs, or learns by heart what it draws again and again."""
    long = _line("cnn", 0.005, "fg_ccdb-100", "FG-CCDB, 100 epochs", NOTHING, "method=fg_ccdb", epochs=100)
    moved = _line("cnn", 0.005, "fg_ccdb-affine", "FG-CCDB, affine", NOTHING, "method=fg_ccdb", AFFINE)
    note = "Small turns and shifts, which the published row does without."
    return [
        replace(long, seeds=1, minutes=40.0, priority=9),  # where it is asked for: the longest first
        replace(moved, minutes=5.0, priority=61, baseline="mnist-cnn-0.5-erm-affine", note=note),
    ]


def _controls() -> list[Row]:
    """Colours random: what focus costs, and whether the audit keeps quiet."""
    target, quiet = (Target("gain", -0.003),), (Target("alarms", 0.025, at_least=False),)
    audit = _line("cnn", _RANDOM, "audit", "", NOTHING)
    note = "The stated chance of an alarm on data without a shortcut is 2.5 %."
    rows = [
        replace(_erm("cnn", _RANDOM), priority=35),
        replace(_shape("cnn", _RANDOM), priority=35, targets=target),
        replace(audit, title="the audit alone", audit=True, trained=False, baseline=None, targets=quiet, note=note),
    ]
    section = "Negative control: coloured MNIST, colours random"
    return [replace(row, section=section, sets=("controls",), priority=min(row.priority, 36)) for row in rows]


def _irm() -> list[Row]:
    erm = Row(
        name="irm-erm",
        section="IRM coloured MNIST: 25 % of labels wrong, colour +90 and +80 % in training, -90 % in the test split",
        title="small CNN, empirical risk minimisation",
        told=NOTHING,
        overrides=("experiment=irm_mnist",),
        seeds=3,
        minutes=2.0,
        priority=24,
        sets=("headline",),
        published=IRM,
        selection=BY_OBJECTIVE,
        quick=_QUICK,
    )
    off = replace(
        erm,
        name="irm-colour-off",
        title="small CNN, focus=colour_off",
        told=CUE,
        overrides=("experiment=irm_mnist", "focus=colour_off"),
        minutes=2.5,
        priority=16,
        sets=("headline", "quick"),
        baseline="irm-erm",
        targets=(Target("accuracy", 0.72),),
        note="No network that reads the digit alone passes .75.",
    )
    return [off, erm]


ROWS: tuple[Row, ...] = (*_focused(), *_told_nothing(), *_methods(), *_controls(), *_irm())
