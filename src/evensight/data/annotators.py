"""Several labels an image, by named annotators: checked, joined to row ids, and made into a consensus."""

from __future__ import annotations

import posixpath
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight.data.checks import sound_boxes
from evensight.data.digests import BOX
from evensight.data.findings import NUM_EXAMPLES, Finding, found
from evensight.data.reading import Reading
from evensight.data.together import codes
from evensight.errors import UserError, nearest
from evensight.metrics.dawid_skene import dawid_skene

COLUMNS = ("path", "annotator", "label")
CONTESTED = 0.9  # of a consensus: below this chance, annotators that disagree have left the label open
DECIMALS = 6  # of a chance: sums in another order differ in the last bits, and digests must not
MOST_CHANCES = 2**27  # annotators x classes x classes: 1 GiB


def folded(reading: Reading) -> Reading:
    """Makes one row of the lines in which several annotators label one image, and annotations of the lines.

    A table with the columns ``path``, ``label`` and ``annotator`` may hold a line a label. The row gets the label of
    most lines (of equals the first by name); other columns stay where all lines agree.
    """
    rows = reading.rows
    if reading.annotations is not None or not {*COLUMNS} <= set(rows.columns):
        return reading
    key = ["path", *(name for name in ("split", "mask", *BOX) if name in rows.columns)]
    several = rows.group_by(key).agg(pl.col("annotator").n_unique().alias("n")).filter(pl.col("n") > 1)
    if several.is_empty():
        return reading
    boxes = [name for name in BOX if name in rows.columns]
    votes = rows.filter(pl.col("label").is_not_null()).group_by([*key, "label"]).agg(pl.len().alias("n"))
    most = votes.sort(["n", "label"], descending=[True, False]).group_by(key, maintain_order=True).first().drop("n")
    others = [name for name in rows.columns if name not in (*key, "label")]
    agreed = [pl.when(pl.col(name).n_unique() == 1).then(pl.col(name).first()).alias(name) for name in others]
    single = rows.group_by(key, maintain_order=True).agg(agreed)
    joined = single.join(most, on=key, how="left", nulls_equal=True, maintain_order="left")
    annotations = rows.select([*COLUMNS, *boxes])
    return replace(reading, rows=joined.select(rows.columns), annotations=annotations)


def checked(
    annotations: pl.DataFrame, rows: pl.DataFrame, classes: Sequence[str]
) -> tuple[pl.DataFrame, list[Finding]]:
    """Checks annotations as rows are checked.

    Args:
        annotations: As a `Reading` has them.
        rows: That can be used, with ``path`` and where known `BOX`.
        classes: Names that labels may have.

    Returns:
        Those that can be used, with names in composed form (NFC) and the box columns that rows have too; what was
        found.

    Raises:
        UserError: A column is missing or of the wrong kind.
    """
    for name in COLUMNS:
        if name not in annotations.columns:
            raise UserError(
                f"column {name!r} is missing from the annotations; found: {', '.join(annotations.columns)}."
            )
    boxes = [name for name in BOX if name in annotations.columns and name in rows.columns]
    try:
        texts = annotations.select(pl.col(COLUMNS).cast(pl.String), pl.col(boxes).cast(pl.Float64))
    except pl.exceptions.PolarsError as error:
        raise UserError(f"a column of the annotations is of the wrong kind: {str(error).splitlines()[0]}.") from None
    for name, form in (("path", posixpath.normpath), ("label", _composed), ("annotator", _composed)):
        values = texts[name].drop_nulls().unique().to_list()
        changed = {value: new for value in values if (new := form(value)) != value}
        if changed:
            texts = texts.with_columns(pl.col(name).replace(changed))
    texts, findings = sound_boxes(texts)
    nobody = texts.filter(pl.col("annotator").is_null())["path"].to_list()
    findings += found("no_annotator", nobody, "annotations that name no annotator; not used")
    texts = texts.filter(pl.col("annotator").is_not_null())
    known = texts["label"].is_in(list(classes)).fill_null(False)
    findings += _unknown(texts.filter(~known)["label"].to_list(), classes)
    texts = texts.filter(known)
    lost = texts.join(rows.select("path"), on="path", how="anti")["path"].to_list()
    findings += found("annotation_without_image", lost, "annotations of images that are not used")
    return texts.join(rows.select("path"), on="path", how="semi", maintain_order="left"), findings


def joined(annotations: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
    """Returns ``row_id``, ``annotator``, ``label`` of what `checked` returned, for the rows of a manifest's frame."""
    boxes = [name for name in BOX if name in annotations.columns]
    key = ["path", *boxes]
    found_rows = annotations.join(
        frame.select("row_id", *key), on=key, how="inner", nulls_equal=True, maintain_order="left"
    )
    return found_rows.select("row_id", "annotator", "label")


def soft_labels(annotations: pl.DataFrame, classes: Sequence[str]) -> tuple[pl.DataFrame | None, list[Finding]]:
    """Returns what the annotators of each image together say (Dawid, Skene 1979), the table ``soft_labels``.

    An image is contested where its annotators disagree, and either no class has a chance of `CONTESTED` or the
    likeliest one has not more than half of the labels.

    Args:
        annotations: Columns ``row_id``, ``annotator``, ``label``.
        classes: In the objective's order.

    Returns:
        ``row_id``, ``contested`` and a chance ``p:<class>`` for each class, a line an image that was annotated; None,
        with a finding, where annotators and classes are too many.
    """
    row, annotator = codes(annotations["row_id"]), codes(annotations["annotator"])
    label = np.asarray(annotations["label"].replace_strict(list(classes), list(range(len(classes)))), np.int64)
    num_annotators, num_classes = int(annotator.max(initial=-1)) + 1, len(classes)
    if num_annotators * num_classes**2 > MOST_CHANCES:
        message = f"{num_annotators:,} annotators and {num_classes:,} classes are too many for a consensus; not made"
        return None, [Finding("no_consensus", num_annotators, [], message)]
    names = annotations["row_id"].unique().sort()
    chances = np.round(dawid_skene(row, annotator, label, len(names), num_classes).posterior, DECIMALS)
    contested = are_contested(row, label, chances)
    shares = {f"p:{name}": chances[:, position] for position, name in enumerate(classes)}
    return pl.DataFrame({"row_id": names, "contested": contested, **shares}), []


def are_contested(row: NDArray[np.int64], label: NDArray[np.int64], chances: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Returns which images `[N]` are contested, as `soft_labels` says.

    Args:
        row: `[M]` image of each label.
        label: `[M]` its class.
        chances: `[N, K]` of the consensus.
    """
    num, num_classes = chances.shape
    votes = np.bincount(row * num_classes + label, minlength=num * num_classes).reshape(num, num_classes)
    number, best = votes.sum(axis=1), chances.argmax(axis=1)
    disagree = votes.max(axis=1, initial=0) < number
    of_best = votes[np.arange(num), best]
    open_still: NDArray[np.bool_] = disagree & ((chances.max(axis=1, initial=0) < CONTESTED) | (2 * of_best <= number))
    return open_still


def _composed(value: str) -> str | None:
    return unicodedata.normalize("NFC", value).strip() or None


def _unknown(labels: Sequence[str | None], classes: Sequence[str]) -> list[Finding]:
    if not labels:
        return []
    examples = []
    for name, count in Counter(labels).most_common(NUM_EXAMPLES):
        closest = nearest(name, classes) if name else None
        examples.append(f"{name!r} x {count}" + (f" (perhaps {closest!r})" if closest else ""))
    return [Finding("unknown_annotation", len(labels), examples, "annotations whose label is no class; not used")]
