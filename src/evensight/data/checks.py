"""What is looked at in every reading, whatever the reader: paths, files, repeated rows, labels, splits.

A row that cannot be used is set aside, counted and named in a finding.
"""

from __future__ import annotations

import math
import posixpath
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import polars as pl

from evensight.config import DataConfig
from evensight.data.digests import BOX
from evensight.data.findings import NUM_EXAMPLES, Finding, found
from evensight.data.places import Places, Stamp
from evensight.data.reading import SPLIT_NAMES, Reading
from evensight.errors import UserError, nearest, shown, unknown, wrong_value

Checked = tuple[pl.DataFrame, list[Finding]]


def check_settings(data: DataConfig) -> None:
    """Checks the settings that every reader has.

    Raises:
        UserError: One of them cannot be right.
    """
    for key, value in vars(data).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise wrong_value(f"data.{key}", value, "a finite number")
    for key in ("validation_fraction", "test_fraction"):
        value = getattr(data, key)
        if not 0.0 <= value < 1.0:
            raise wrong_value(f"data.{key}", value, "a share from 0 up to 1, less than 1")
    if data.validation_fraction + data.test_fraction >= 1.0:
        raise UserError(
            f"data.validation_fraction, data.test_fraction: found {data.validation_fraction} and "
            f"{data.test_fraction}, which leave nothing to train on; together they must be below 1."
        )
    for key, allowed in (
        ("near_duplicates", ("keep_together", "part")),
        ("labels", ("majority", "consensus", "soft")),
        ("contested", ("keep", "leave_out")),
    ):
        if getattr(data, key) not in allowed:
            raise unknown(f"data.{key}", str(getattr(data, key)), allowed)
    for key in ("limit", "max_pixels"):
        value = getattr(data, key)
        if value is not None and value < 1:
            raise wrong_value(f"data.{key}", value, "a whole number from 1")


def usable_rows(reading: Reading, classes: Sequence[str] | None) -> Checked:
    """Checks every row of a reading.

    Args:
        reading: What a reader found.
        classes: Names the labels must have, or None where the data says.

    Returns:
        The rows that can be used, in their order, ``split`` null where it is open, with the columns of
        `places.Stamp` added; and what was found. Texts are in Unicode's composed form (NFC), empty ones null.

    Raises:
        UserError: There are no rows, a column is missing, or no row can be used.
    """
    rows = _typed(reading.rows)
    if rows.is_empty():
        raise UserError(f"{reading.root}: no image was found there; check the folder and the settings under data.")
    places = Places(reading.root)
    masks = places if reading.mask_root is None else Places(reading.mask_root)
    findings = _similar_names(reading.rows["label"].cast(pl.String).drop_nulls().unique().to_list())
    steps = (
        _named,
        lambda rows: _inside_root(rows, places, masks),
        lambda rows: _existing(rows, places, masks),
        _repeated,
        lambda rows: _labelled(rows, classes),
        _known_splits,
        sound_boxes,
    )
    for step in steps:
        rows, more = step(rows)
        findings += more
        if rows.is_empty():
            raise UserError(f"{reading.root}: no row can be used: {'; '.join(str(finding) for finding in findings)}.")
    return rows, findings


def _typed(rows: pl.DataFrame) -> pl.DataFrame:
    """Returns rows with the columns and types a `Reading` promises, names composed, empty texts null."""
    for name in ("path", "label"):
        if name not in rows.columns:
            raise UserError(f"column {name!r} is missing from the data; found: {', '.join(rows.columns) or 'none'}.")
    if "split" not in rows.columns:
        rows = rows.with_columns(pl.lit(None, pl.String).alias("split"))
    texts = [name for name in rows.columns if name not in BOX]
    boxes = [name for name in BOX if name in rows.columns]
    try:
        rows = rows.with_columns(pl.col(texts).cast(pl.String), pl.col(boxes).cast(pl.Float64))
    except pl.exceptions.PolarsError as error:
        raise UserError(f"a column of the data has values of the wrong kind: {str(error).splitlines()[0]}.") from error
    # File systems keep a name's bytes as they are, so the paths stay.
    for name in (name for name in texts if name not in ("path", "mask")):
        values = rows[name].drop_nulls().unique().to_list()
        composed = {value: unicodedata.normalize("NFC", value) or None for value in values}
        changed = {old: new for old, new in composed.items() if old != new}
        if changed:
            rows = rows.with_columns(pl.col(name).replace(changed))
    return rows


def _similar_names(labels: Iterable[str]) -> list[Finding]:
    spelt: dict[str, list[str]] = defaultdict(list)
    for label in sorted(labels):
        spelt[unicodedata.normalize("NFC", label)].append(label)
    twins = [" / ".join(ascii(label) for label in group) for group in spelt.values() if len(group) > 1]
    alike: dict[str, list[str]] = defaultdict(list)
    for label in spelt:
        alike["".join(label.casefold().split())].append(label)
    groups = [" / ".join(repr(label) for label in group) for group in alike.values() if len(group) > 1]
    return [
        *found("unicode_twins", twins, "labels of the same letters in different Unicode points; taken as one name"),
        *found("duplicate_names", groups, "labels that differ only in case or spaces; kept as different names"),
    ]


def _named(rows: pl.DataFrame) -> Checked:
    """Sets aside rows that name no image, and refuses names that no list or report could show."""
    reasons = [None if path else f"row {number}" for number, path in enumerate(rows["path"].to_list(), start=1)]
    labels = rows["label"].drop_nulls().unique().to_list()
    strange = sorted(label for label in labels if not label.isprintable())
    if strange:
        raise UserError(
            f"labels: {shown(strange[0])} holds what does not print (a line break, a tab, a NUL); "
            "a class's name is letters, digits, spaces and signs."
        )
    return _without(rows, reasons, "no_path", "rows that name no image; not used")


def _without(rows: pl.DataFrame, reasons: Sequence[str | None], code: str, message: str) -> Checked:
    """Sets aside the rows that have a reason, and reports them by it."""
    findings = found(code, [reason for reason in reasons if reason is not None], message)
    return (rows.filter(pl.Series([reason is None for reason in reasons])) if findings else rows), findings


def _inside_root(rows: pl.DataFrame, places: Places, of_masks: Places) -> Checked:
    reasons = [None if places.inside(path) else shown(path) for path in rows["path"].to_list()]
    if "mask" in rows.columns:
        masks = rows["mask"].to_list()
        reasons = [
            reason or (None if mask is None or of_masks.inside(mask) else shown(mask))
            for reason, mask in zip(reasons, masks, strict=True)
        ]
    message = "paths that lead out of the data's folder (absolute, '..', a URL, a link); their rows are not used"
    rows, findings = _without(rows, reasons, "outside_root", message)
    paths = rows["path"].to_list()
    plain = [posixpath.normpath(path) for path in paths]
    return (rows.with_columns(pl.Series("path", plain)) if plain != paths else rows), findings


def _existing(rows: pl.DataFrame, places: Places, of_masks: Places) -> Checked:
    stamps = [places.stamp(path) for path in rows["path"].to_list()]
    reasons = [stamp if isinstance(stamp, str) else None for stamp in stamps]
    rows, findings = _without(rows, reasons, "missing_image", "rows whose image does not exist; not used")
    if "mask" in rows.columns:
        masks = rows["mask"].to_list()
        lost = {mask for mask in masks if mask and isinstance(of_masks.stamp(mask, images=False), str)}
        findings += found("missing_mask", sorted(lost), "masks that do not exist; their images are used without")
        if lost:
            rows = rows.with_columns(pl.Series("mask", [None if mask in lost else mask for mask in masks], pl.String))
    kept = [stamp for stamp in stamps if not isinstance(stamp, str)]
    added = pl.DataFrame(kept, schema=dict.fromkeys(Stamp._fields, pl.Int64), orient="row")
    return rows.hstack(added), findings


def _repeated(rows: pl.DataFrame) -> Checked:
    """Keeps the first of equal rows, and none of those that contradict each other about one image."""
    key = ["path", *(name for name in BOX if name in rows.columns)]
    if not rows.select(key).is_duplicated().any():
        return rows, []
    first = rows.select(pl.struct(pl.all()).is_first_distinct()).to_series()
    repeated = rows.filter(~first)["path"].to_list()
    findings = found("duplicate_row", repeated, "rows that repeat another; the first is kept")
    rows = rows.filter(first)
    contradicting = rows.select(key).is_duplicated()
    paths = rows.filter(contradicting)["path"].to_list()
    message = "rows that say different things about one image; none of them is used"
    return rows.filter(~contradicting), findings + found("contradicting_rows", paths, message)


def _labelled(rows: pl.DataFrame, classes: Sequence[str] | None) -> Checked:
    none = [path if label is None else None for path, label in rows.select("path", "label").iter_rows()]
    rows, findings = _without(rows, none, "no_label", "rows without a label; not used")
    if classes is None:
        return rows, findings
    unknown = unknown_labels(rows["label"].to_list(), classes)
    return (rows.filter(pl.col("label").is_in(list(classes))) if unknown else rows), findings + unknown


def unknown_labels(labels: Iterable[str], classes: Sequence[str]) -> list[Finding]:
    """Reports the labels that are no class of the objective, each with the nearest that is."""
    known = set(classes)
    unknown = Counter(label for label in labels if label not in known)
    if not unknown:
        return []
    examples = [f"{name!r} x {count}{_hint(name, classes)}" for name, count in unknown.most_common(NUM_EXAMPLES)]
    message = "rows whose label is no class of the objective; not used"
    return [Finding("unknown_label", unknown.total(), examples, message)]


def _hint(name: str, allowed: Sequence[str]) -> str:
    closest = nearest(name, allowed)
    return f" (perhaps {closest!r})" if closest else ""


def sound_boxes(rows: pl.DataFrame) -> Checked:
    """Takes a box that is incomplete, empty or not finite as unknown."""
    if not set(BOX) <= set(rows.columns):
        return rows, []
    sides = [pl.col(name) for name in BOX]
    sound = pl.all_horizontal(side.is_finite() for side in sides)
    sound &= (pl.col("box_x0") < pl.col("box_x1")) & (pl.col("box_y0") < pl.col("box_y1"))
    stated = pl.any_horizontal(side.is_not_null() for side in sides)
    wrong = rows.filter(stated & ~sound.fill_null(False))["path"].to_list()
    rows = rows.with_columns(pl.when(sound.fill_null(False)).then(side) for side in sides)
    return rows, found("unusable_box", wrong, "boxes that are incomplete, empty or not finite; taken as unknown")


def _known_splits(rows: pl.DataFrame) -> Checked:
    found_names = {value: SPLIT_NAMES.get(value.strip().lower()) for value in rows["split"].drop_nulls().unique()}
    values = rows["split"].to_list()
    reasons = [value if value is not None and found_names[value] is None else None for value in values]
    message = f"rows of an unknown split (known are {', '.join(SPLIT_NAMES)}); not used"
    rows, findings = _without(rows, reasons, "unknown_split", message)
    known = {value: name for value, name in found_names.items() if name is not None}
    return (rows.with_columns(pl.col("split").replace(known)) if known else rows), findings
