"""What side tables make of a manifest: attributes of cues, rows left out of training, labels of several annotators.

Nothing on the disk changes. A new run reads the tables that are there; a run that is resumed or judged reads those it
began with, by the digests it recorded.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight.config import DataConfig
from evensight.data.digests import content_digest, content_keys
from evensight.data.findings import Finding, log_findings
from evensight.data.manifest import Manifest
from evensight.data.tables import SideTable, header, read_table, strangers, table_path
from evensight.errors import UserError
from evensight.objective.objective import FROM_DATA, Attribute, Objective

log = logging.getLogger(__name__)

SAYS = "_says"  # ends the name of an attribute that a cue alone suggests
_MOST_NAMED = 3


def with_side_tables(
    manifest: Manifest, objective: Objective, data: DataConfig, recorded: Mapping[str, str] | None = None
) -> tuple[Manifest, Objective]:
    """Joins the side tables that `data.side_tables` names and the data set has.

    - ``soft_labels``, where `data.labels` or `data.contested` asks for it: the label of each row is the likeliest one,
      with ``soft`` the chances are `Manifest.targets`; contested images may be left out of training. The digests are
      of the labels in use.
    - ``cues``: an attribute ``<cue>_says`` whose levels are the classes and whose usual level of a class is the class,
      so that aligned and conflicting images are those that the cue alone gets right and wrong. One that the data has a
      column of is the column.
    - ``quarantine``: its images are left out of training, and stay in validation and test.

    Args:
        manifest: As `prepare` returns it.
        objective: Resolved, likewise.
        data: Which tables are used, and how.
        recorded: Name and digest of each table that a run began with; no other is read. None: a new run.

    Returns:
        Both, with what the tables say.

    Raises:
        UserError: A table is broken, is gone, or says what cannot be; or training is left without a class.
    """
    as_prepared = manifest
    names = [name for name in _wanted(data) if recorded is None or name in recorded]
    tables = {name: table for name in names if (table := read_table(manifest.folder, name)) is not None}
    _check_recorded(manifest, tables, recorded or {})
    findings = [finding for table in tables.values() for finding in strangers(manifest, table)]
    digests = {name: table.digest for name, table in tables.items()}
    manifest = replace(manifest, side_tables=digests, left_out=np.zeros(len(manifest.frame), np.bool_))
    if _needs_labels(data):
        manifest = _labelled(manifest, tables.get("soft_labels"), data)
    if "quarantine" in tables:
        manifest = _without(manifest, tables["quarantine"])
    if "cues" in tables:
        known = recorded is None or recorded["cues"] == tables["cues"].digest
        manifest, objective, more = _with_cues(manifest, objective, tables["cues"], known)
        findings += more
    _check_classes(manifest, as_prepared)
    if manifest.left_out is not None and not manifest.left_out.any():
        manifest = replace(manifest, left_out=None)
    log_findings(log, manifest.name, findings)
    return replace(manifest, findings=[*manifest.findings, *findings]), objective


def computed_attributes(folder: Path, data: DataConfig, recorded: Mapping[str, str] | None = None) -> frozenset[str]:
    """Returns the attributes that the side table ``cues`` of a recipe's folder gives, as `with_side_tables` reads it.

    Raises:
        UserError: The table is broken.
    """
    if "cues" not in data.side_tables or (recorded is not None and "cues" not in recorded):
        return frozenset()
    head = header(folder, "cues")
    return frozenset() if head is None else frozenset(name for name in head["columns"] if _is_computed(str(name)))


def declared(objective: Objective, computed: frozenset[str], classes: tuple[str, ...]) -> Objective:
    """Returns an objective with the levels of the computed attributes that it declares, which are its classes.

    Raises:
        UserError: It gives one of them other levels.
    """
    attributes = dict(objective.attributes)
    for name in sorted(computed & attributes.keys()):
        levels = attributes[name].levels
        if levels not in (FROM_DATA, classes):
            raise UserError(
                f"objective.attributes.{name}.levels: found {', '.join(levels)}; what a cue says is a class, "
                "so they are the classes in their order, or from_data."
            )
        attributes[name] = Attribute(levels=classes)
    return objective.model_copy(update={"attributes": attributes})


def lacking(name: str, folder: Path, data: DataConfig, recorded: Mapping[str, str] | None) -> UserError | None:
    """Returns the sentence for a missing attribute that seems to be of the table ``cues``; None for others."""
    if not _is_computed(name):
        return None
    where = f"objective.attributes: {name!r} is no column in the data"
    if "cues" not in data.side_tables:
        return UserError(f"{where}, and data.side_tables leaves out cues, the side table that has such names.")
    if recorded is not None and "cues" in recorded:
        trained = f"the run was trained with the side table cues of digest {recorded['cues'][:12]}"
        return UserError(f"{where}; {trained}, which is not at {table_path(folder, 'cues')} any more: bring it back.")
    return UserError(f"{where}, and no side table cues has it; write it by: evensight audit, with the same data.")


def _wanted(data: DataConfig) -> list[str]:
    """Returns the tables to read; that of labels only where it is used."""
    if _needs_labels(data) and "soft_labels" not in data.side_tables:
        key = "data.labels" if data.labels != "majority" else "data.contested"
        raise UserError(f"data.side_tables: leaves out soft_labels, which {key} needs; add it, or leave {key} out.")
    return [name for name in data.side_tables if name != "soft_labels" or _needs_labels(data)]


def _needs_labels(data: DataConfig) -> bool:
    return data.labels != "majority" or data.contested != "keep"


def _is_computed(name: str) -> bool:
    return name.endswith(SAYS) and name != SAYS


def _check_recorded(manifest: Manifest, tables: Mapping[str, SideTable], recorded: Mapping[str, str]) -> None:
    for name, digest in recorded.items():
        if name not in tables:
            raise UserError(
                f"data: the run was trained with the side table {name} of digest {digest[:12]}, which is not at "
                f"{table_path(manifest.folder, name)} any more; bring it back."
            )
        if tables[name].digest != digest:
            log.warning(
                "side table %s is another than the run was trained with (digest %s then, %s now)",
                *(name, digest[:12], tables[name].digest[:12]),
            )


def _labelled(manifest: Manifest, table: SideTable | None, data: DataConfig) -> Manifest:
    if table is None:
        key = f"data.labels={data.labels}" if data.labels != "majority" else f"data.contested={data.contested}"
        raise UserError(
            f"{key}: data {manifest.name!r} has no several labels an image by annotators (no side table soft_labels); "
            "read a format that names its annotators, or leave it out."
        )
    chances, contested = _chances(manifest, table)
    known = np.isfinite(chances[:, 0])
    if data.contested == "leave_out":
        manifest = _left_out(manifest, contested)
        log.info(
            "%s: %s contested training images are left out", manifest.name, f"{(_train(manifest) & contested).sum():,}"
        )
    if data.labels == "majority":
        return manifest
    labels = pl.Series("label", np.asarray(manifest.classes, dtype=object)[chances.argmax(axis=1)].tolist(), pl.String)
    frame = manifest.frame.with_columns(pl.when(pl.Series(known)).then(labels).otherwise("label").alias("label"))
    log.info(
        "%s: %s of %s labels are the %s of several annotators, %s other than the majority's",
        *(
            manifest.name,
            f"{known.sum():,}",
            f"{len(frame):,}",
            "consensus" if data.labels == "consensus" else "chances",
        ),
        f"{(frame['label'] != manifest.frame['label']).sum():,}",
    )
    rows = frame.with_columns(content_keys(frame["row_id"]))
    digests = replace(
        manifest.digests,
        content=content_digest(rows, list(manifest.levels)),
        test=content_digest(rows.filter(pl.col("split") == "test"), list(manifest.levels)),
    )
    targets = None
    if data.labels == "soft":
        targets = np.eye(len(manifest.classes), dtype=np.float32)[_indices(frame["label"], manifest.classes)]
        targets[known] = chances[known] / chances[known].sum(axis=1, keepdims=True)
    return replace(manifest, frame=frame, digests=digests, targets=targets)


def _chances(manifest: Manifest, table: SideTable) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Returns the chance of each class `[N,K]`, NaN where unknown, and which rows are contested `[N]`."""
    columns = [f"p:{name}" for name in manifest.classes]
    for name in (*columns, "contested"):
        if name not in table.frame.columns:
            raise UserError(
                f"{table_path(manifest.folder, table.name)}: has no column {name!r}; it has a chance a class."
            )
    rows = _aligned(manifest, table)
    chances = rows.select(pl.col(columns).cast(pl.Float64)).fill_null(float("nan")).to_numpy().astype(np.float64)
    known = np.isfinite(chances).all(axis=1)
    chances[~known] = np.nan
    sums = chances[known].sum(axis=1)
    if (chances[known] < 0).any() or (np.abs(sums - 1) > 1e-3).any():
        raise UserError(
            f"{table_path(manifest.folder, table.name)}: chances of an image are not from 0 to 1 or do not add up to 1."
        )
    return np.where(known[:, None], chances, np.nan), rows["contested"].cast(pl.Boolean).fill_null(False).to_numpy()


def _without(manifest: Manifest, table: SideTable) -> Manifest:
    listed = manifest.frame["row_id"].is_in(table.frame["row_id"].unique().to_list()).to_numpy()
    left = listed & _train(manifest)
    if left.any():
        codes = table.frame.select("row_id", "code").unique("row_id") if "code" in table.frame.columns else None
        told = ""
        if codes is not None:
            here = manifest.frame.filter(pl.Series(left)).select("row_id").join(codes, on="row_id")["code"]
            counted = Counter(str(code) for code in here.to_list())
            told = " (" + ", ".join(f"{code} {number:,}" for code, number in counted.most_common(_MOST_NAMED)) + ")"
        log.info(
            "%s: %s training images are in quarantine and have weight 0%s; validation and test keep theirs",
            *(manifest.name, f"{left.sum():,}", told),
        )
    return _left_out(manifest, listed)


def _left_out(manifest: Manifest, rows: NDArray[np.bool_]) -> Manifest:
    assert manifest.left_out is not None
    return replace(manifest, left_out=manifest.left_out | (rows & _train(manifest)))


def _with_cues(
    manifest: Manifest, objective: Objective, table: SideTable, known: bool
) -> tuple[Manifest, Objective, list[Finding]]:
    """Adds the attributes; where the table is `known` to be the one of the run, those that the objective lacks too."""
    named = [name for name in table.frame.columns if _is_computed(name) and name not in manifest.levels]
    named = [name for name in named if known or name in objective.attributes]
    gone = [name for name in objective.attributes if _is_computed(name) and name not in (*named, *manifest.levels)]
    if gone:
        raise UserError(
            f"{table_path(manifest.folder, table.name)}: has no column {gone[0]!r}, an attribute of the run."
        )
    rows, classes, findings = _aligned(manifest, table), manifest.classes, []
    columns = []
    for name in named:
        said = rows[name].cast(pl.String)
        strange = said.filter(~said.is_in(list(classes))).drop_nulls()
        if len(strange):
            message = f"values of {name} in the side table {table.name} that are no class; unknown here"
            findings.append(Finding("unknown_level", len(strange), strange.unique().sort().to_list()[:5], message))
        columns.append(pl.when(said.is_in(list(classes))).then(said).alias(name))
    own = dict.fromkeys(named, classes)
    attributes = {name: Attribute(levels=classes) for name in named}
    usual = {name: tuple(range(len(classes))) for name in named}
    manifest = replace(
        manifest,
        frame=manifest.frame.with_columns(columns),
        levels=dict(sorted({**manifest.levels, **own}.items())),  # in the order of the objective
        usual={**manifest.usual, **usual},
    )
    stated = {**objective.attributes, **attributes}
    return manifest, objective.model_copy(update={"attributes": dict(sorted(stated.items()))}), findings


def _aligned(manifest: Manifest, table: SideTable) -> pl.DataFrame:
    """Returns the table's line of each row of the manifest, nulls where it has none."""
    if table.frame["row_id"].is_duplicated().any():
        twice = table.frame.filter(pl.col("row_id").is_duplicated())["row_id"][0]
        raise UserError(f"{table_path(manifest.folder, table.name)}: row_id {twice} has two lines; each has one.")
    return manifest.frame.select("row_id").join(table.frame, on="row_id", how="left", maintain_order="left")


def _check_classes(manifest: Manifest, before: Manifest) -> None:
    """Raises UserError where a class had images to train on, and none is left."""
    left, there = (
        np.bincount(one.labels("train")[one.trained()], minlength=len(one.classes)) for one in (manifest, before)
    )
    emptied = (left == 0) & (there > 0)
    if emptied.any():
        name = manifest.classes[int(emptied.argmax())]
        names = ", ".join(manifest.side_tables)
        raise UserError(
            f"data {manifest.name!r}: the side tables ({names}) leave the training split no image of class {name!r}; "
            "look at them, or take one out of data.side_tables."
        )


def _train(manifest: Manifest) -> NDArray[np.bool_]:
    train: NDArray[np.bool_] = (manifest.frame["split"] == "train").to_numpy()
    return train


def _indices(values: pl.Series, names: tuple[str, ...]) -> NDArray[np.int64]:
    return np.asarray(values.replace_strict(list(names), list(range(len(names)))), np.int64)
