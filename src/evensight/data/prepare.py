"""From the settings of a data set to its manifest: read, check, name, decode once, split, digest, keep."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
from omegaconf import MISSING

from evensight.data import annotators, kept, side_tables
from evensight.data.checks import check_settings, usable_rows
from evensight.data.digests import BOX, Digests, content_digest, recipe_digest, row_ids
from evensight.data.findings import Finding, found, log_findings
from evensight.data.listed import OWN_COLUMNS, Listed, Names, write_tables
from evensight.data.manifest import Manifest, indices
from evensight.data.places import Stamp
from evensight.data.reading import SPLITS, Progress, Reader, Reading
from evensight.data.scan import UNREADABLE, scan
from evensight.data.seal import locked, seal
from evensight.data.splitting import check_columns, check_splits, looks_for_duplicates, split_rows
from evensight.errors import UserError, nearest
from evensight.files import clear_temporaries
from evensight.objective.conflicting import usual_levels
from evensight.objective.objective import FROM_DATA, Objective
from evensight.progress import shown

logger = logging.getLogger(__name__)

_FOLDER_LENGTH = 16  # characters of the recipe digest that name its folder


def prepare(
    data: Reader,
    objective: Objective,
    datasets_dir: Path,
    progress: Progress | None = None,
    recorded: Mapping[str, str] | None = None,
) -> tuple[Manifest, Objective]:
    """Prepares a data set, or finds it prepared.

    The images are listed anew each time; they are decoded again only where a file's size or times differ.
    Processes that prepare the same data set wait for each other.

    Args:
        data: Settings of a reader.
        objective: Resolved or not.
        datasets_dir: Its folder ``<name>/<recipe>`` takes what is kept.
        progress: Told of what takes time; None shows bars on a terminal.
        recorded: Side tables that a run began with, and their digests, where `objective` is a run's: an attribute that
            one of them gives needs no column; see `side_tables.with_side_tables`, which adds it.

    Returns:
        The manifest, and the objective with what it left to the data filled in.

    Raises:
        UserError: A setting or a file is wrong, the data has no image of a class or no column of an attribute of the
            objective, or a split that training needs is empty.
    """
    check_settings(data)
    folder = recipe_folder(data, datasets_dir)
    classes = None if objective.classes == FROM_DATA else objective.class_names
    with locked(folder), shown(progress) as show:
        clear_temporaries(folder)
        computed = side_tables.computed_attributes(folder, data, recorded)
        reading = annotators.folded(data.read(folder, classes, show))
        rows, findings = usable_rows(reading, classes)
        labels = reading.rows["label"].drop_nulls().unique().to_list()
        limited = _limited(rows, data.limit)
        further = limited.select(name for name in limited.columns if name not in OWN_COLUMNS)
        check_columns(data, further.columns)
        lacking = lambda name: side_tables.lacking(name, folder, data, recorded)  # noqa: E731
        limited, names, more = _named(limited, [str(label) for label in labels], objective, computed, lacking)
        findings = [*reading.findings, *findings, *more]
        # Names are refused before hours of decoding.
        resolved = side_tables.declared(objective, computed, names.classes).resolve(names.classes, names.levels)
        said = None
        if reading.annotations is not None:
            said, more = annotators.checked(reading.annotations, rows, names.classes)
            findings += more
        listed = Listed(limited, further, further.drop(names.levels, strict=False), said, reading.mask_root)
        key = kept.key_of(*listed.key(reading, names, data))
        manifest = kept.load(folder, key, data.name, reading.root, data.sealed, reading.mask_root)
        if manifest is None:
            manifest, tables = _build(data, reading, listed, names, folder, show)
            # An image that could not be read may be readable the next time.
            lasting = not manifest.frame["error"].str.starts_with(UNREADABLE).any()
            kept.keep(manifest, key if lasting else "", tables)
    # A sample taken to try things out is not what has to be kept from view.
    seals = seal(manifest) if data.limit is None else []
    manifest = replace(manifest, findings=[*findings, *manifest.findings, *seals])
    log_findings(logger, data.name, manifest.findings)
    return manifest, resolved


def recipe_folder(data: Reader, datasets_dir: Path) -> Path:
    """Returns where a data set is kept: ``<datasets_dir>/<name>/<the first 16 characters of the recipe digest>``.

    Raises:
        UserError: The name is not fit for a folder.
    """
    if data.name == MISSING:
        raise UserError("data.name is not set: it names the folder under datasets_dir, data.name=<name>.")
    if not data.name.isprintable() or not data.name or data.name.startswith(".") or "/" in data.name:
        raise UserError(f"data.name: {data.name!r} cannot name a folder; use letters, digits, - and _.")
    return Path(datasets_dir).absolute() / data.name / recipe_digest(data)[:_FOLDER_LENGTH]


def _limited(rows: pl.DataFrame, limit: int | None) -> pl.DataFrame:
    """Keeps a fixed sample of at most `limit` rows of each given split, of every class alike."""
    if limit is None:
        return rows
    place = pl.Series("place", [hashlib.sha256(path.encode()).hexdigest() for path in rows["path"]], pl.String)
    turn = pl.col("place").rank("ordinal").over("split", "label").alias("turn")
    # A table of its own: the data may have columns of these names.
    ranked = rows.select("split", "label").with_row_index("row").with_columns(place).with_columns(turn)
    ranked = ranked.sort("turn", "place")
    return rows[ranked.filter(pl.int_range(pl.len()).over("split") < limit)["row"].sort()]


def _named(
    rows: pl.DataFrame,
    labels: Sequence[str],
    objective: Objective,
    computed: frozenset[str],
    lacking: Callable[[str], UserError | None],
) -> tuple[pl.DataFrame, Names, list[Finding]]:
    """Holds the names of the data against the objective's; columns nobody declared are left out."""
    found_classes = sorted(rows["label"].unique().to_list())
    classes = tuple(found_classes) if objective.classes == FROM_DATA else objective.class_names
    for name in classes:
        if name not in found_classes:
            raise _not_in_data("objective.classes", f"class {name!r} has no image", name, "labels", labels)
    columns = [name for name in rows.columns if name not in OWN_COLUMNS]
    findings: list[Finding] = []
    levels: dict[str, tuple[str, ...]] = {}
    for name, attribute in objective.attributes.items():
        if name not in columns and name in computed:
            continue
        if name not in columns:
            absent = _not_in_data("objective.attributes", f"{name!r} is no column", name, "further columns", columns)
            raise lacking(name) or absent
        found_levels = sorted(rows[name].drop_nulls().unique().to_list())
        levels[name] = tuple(found_levels) if isinstance(attribute.levels, str) else attribute.levels
        strange = rows.filter(~pl.col(name).is_in(list(levels[name])))[name].drop_nulls().to_list()
        findings += found(
            "unknown_level", strange, f"values that are no level of {name} in the objective; unknown here"
        )
        empty = [level for level in levels[name] if level not in found_levels]
        findings += found("level_without_images", empty, f"levels of {name} in the objective that no image has")
        if strange:
            rows = rows.with_columns(pl.when(pl.col(name).is_in(list(levels[name]))).then(pl.col(name)).alias(name))
    unused = [name for name in columns if name not in levels]
    findings += found(
        "unused_column", unused, "columns that are no attribute of the objective; kept as the table origins"
    )
    return rows.drop(unused), Names(classes, levels), findings


def _not_in_data(key: str, what: str, name: str, kind: str, found_names: Sequence[str]) -> UserError:
    closest = nearest(name, found_names)
    shown_names = ", ".join(sorted(found_names)[:20]) + (", ..." if len(found_names) > 20 else "")
    hint = f" Did you mean {closest!r}?" if closest else ""
    return UserError(f"{key}: {what} in the data, whose {kind} are: {shown_names or 'none'}.{hint}")


def _build(
    data: Reader, reading: Reading, listed: Listed, names: Names, folder: Path, progress: Progress
) -> tuple[Manifest, list[str]]:
    """Returns the manifest, and the names of the side tables that were written with it."""
    rows = listed.rows
    smalls = looks_for_duplicates(data, rows["split"].to_list())
    rows = scan(reading.root, rows, folder, data.max_pixels, progress, smalls)
    errors = [f"{path}: {error}" for path, error in rows.select("path", "error").iter_rows() if error]
    findings = found("undecodable", errors, "images that cannot be decoded; kept as rows of weight 0")
    findings += _equal_pixels(rows)
    rows, more = split_rows(rows, listed.further, data, kept.known_splits(folder), folder, progress)
    findings += more + check_splits(rows, names.classes, data) + _empty_cells(rows, names)
    digests = Digests(
        recipe=recipe_digest(data),
        content=content_digest(rows, list(names.levels)),
        test=content_digest(rows.filter(pl.col("split") == "test"), list(names.levels)),
    )
    optional = [name for name in ("mask", *BOX) if name in rows.columns]
    learned = ("pixel_sha256", "width", "height", "error", *Stamp._fields)
    frame = (
        rows.with_columns(pl.Series("row_id", row_ids(rows), pl.String))
        .with_row_index("index")
        .select(pl.col("index").cast(pl.Int64), "row_id", "path", "label", "split", *names.levels, *optional, *learned)
    )
    usual, notes = _usual(frame, reading.usual, names)
    tables, more = write_tables(folder, frame, listed, names.classes, digests.content)
    manifest = Manifest(
        name=data.name,
        root=reading.root,
        folder=folder,
        frame=frame,
        classes=names.classes,
        levels=names.levels,
        usual=usual,
        digests=digests,
        sealed=data.sealed,
        findings=findings + notes + more,
        mask_root=listed.mask_root,
    )
    return manifest, tables


def _equal_pixels(rows: pl.DataFrame) -> list[Finding]:
    """Reports equal images under two labels, and equal images that were given to two splits."""
    findings = []
    for column, message in (
        ("label", "images with the very same pixels under different labels; all are used"),
        ("split", "images with the very same pixels in different splits, as they were given; all are used"),
    ):
        several = rows.filter(pl.col("pixel_sha256").is_not_null() & pl.col(column).is_not_null())
        several = several.group_by("pixel_sha256", maintain_order=True).agg(pl.col(column).n_unique(), pl.col("path"))
        groups = [" = ".join(paths[:3]) for paths in several.filter(pl.col(column) > 1)["path"].to_list()]
        findings += found(f"same_pixels_other_{column}", groups, message)
    return findings


def _empty_cells(rows: pl.DataFrame, names: Names) -> list[Finding]:
    """Reports pairs of a class and a level that no image of a split shows: nothing can be said of them there."""
    findings = []
    shown_rows = rows.filter(pl.col("error").is_null())
    for attribute, levels in names.levels.items():
        for split in SPLITS:
            part = shown_rows.filter(pl.col("split") == split)
            here, there = set(part["label"].to_list()), set(part[attribute].drop_nulls().to_list())
            full = set(part.select("label", attribute).iter_rows())
            # A class or a level without any image is reported as such.
            pairs = [(name, level) for name in names.classes for level in levels if name in here and level in there]
            empty = [f"{name} x {level}" for name, level in pairs if (name, level) not in full]
            findings += found(
                "cell_without_images", empty, f"pairs of class and {attribute} without an image in the {split} split"
            )
    return findings


def _usual(
    frame: pl.DataFrame, declared: Mapping[str, Mapping[str, str]], names: Names
) -> tuple[dict[str, tuple[int, ...]], list[Finding]]:
    """Returns the usual level of each class, declared by the data set or found in the training split."""
    train = frame.filter(pl.col("split") == "train")
    labels = indices(train["label"], names.classes)
    usual: dict[str, tuple[int, ...]] = {}
    findings: list[Finding] = []
    for attribute, levels in names.levels.items():
        table = declared.get(attribute)
        stated = None
        if table is not None:
            strange = [name for name in names.classes if table.get(name) not in levels]
            findings += found(
                "usual_level_unknown", strange, f"classes whose usual level of {attribute} is not declared"
            )
            stated = [levels.index(table[name]) if name not in strange else -1 for name in names.classes]
        level_indices = indices(train[attribute], levels)
        result = usual_levels(labels, level_indices, len(names.classes), len(levels), declared=stated)
        if result is not None:
            usual[attribute] = result
    return usual, findings
