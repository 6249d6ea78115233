"""`evensight update action=merge`: the answers become a new version of the data set."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from evensight.config import DataConfig
from evensight.data.manifest import Manifest
from evensight.data.prepare import prepare, recipe_folder
from evensight.data.readers import merged as tables
from evensight.data.readers.merged import ORIGINS, MergedReader
from evensight.data.reading import SPLITS, Reader
from evensight.data.side_tables import with_side_tables
from evensight.errors import UserError
from evensight.files import digest_file, replaced, write_bytes, write_json
from evensight.objective.objective import Objective
from evensight.progress import Progress, silent
from evensight.run import Run
from evensight.update.answered import Image, answered_images, near
from evensight.update.answers import Answers, read_answers
from evensight.update.carried import carry_over, own_levels
from evensight.update.champion import RunData, data_of
from evensight.update.folders import new_folder
from evensight.update.placing import Addition, Fractions, Known, Placed, in_words, placed
from evensight.update.plan import Plan

log = logging.getLogger(__name__)

IMAGES = "images"


@dataclass(frozen=True)
class Merged:
    """A new version of a data set.

    Attributes:
        folder: `merged-<n>/`: the new images, the tables of old and new rows, `merge.json`.
        data: The settings of its reader: what `data` is in a training run's configuration.
        manifest: Prepared.
        objective: Resolved.
        value: The whole of `merge.json`.
    """

    folder: Path
    data: MergedReader
    manifest: Manifest
    objective: Objective
    value: Mapping[str, Any]

    @property
    def added(self) -> dict[str, int]:
        """How many images each split got."""
        return dict(self.value["added"])

    @property
    def lines(self) -> list[str]:
        """What a terminal shows of it: the difference by cell, and what was left out."""
        lines = [f"{name}: {count:,} images more" for name, count in self.added.items()]
        lines += [
            f"  {cell['split']:<10}  {cell['name']:<30}  {cell['before']:>7,} -> {cell['after']:>7,}"
            for cell in self.value.get("cells", ())
        ]
        return lines + list(self.value.get("notes", ()))


def merge(
    plan: Plan,
    answers: Path,
    run: Run,
    out: Path,
    fractions: Fractions | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Merged:
    """Writes a new version of the data of a run, with what was answered, and prepares it.

    Old rows keep their split. Where an image goes is decided by `placing.placed`.

    Args:
        plan: What was asked.
        answers: A filled table or an export of Label Studio's.
        run: Of the model whose data grows.
        out: Where `merged-<n>/` goes.
        fractions: Of the control sample; None: half is tested on, a fifth validated on.
        seed: Of the hash that places it.
        progress: Told of the test images that the answers are held against.

    Raises:
        UserError: The answers are wrong, or one of them equals or nearly equals an image of the sealed test split and
            would be trained on; or nothing is left to be added.
    """
    before = data_of(run)
    said = read_answers(answers, [one.id for one in plan.asked], before.manifest.classes, own_levels(before.manifest))
    images, notes = answered_images(plan, said)
    result = _placed(images, said, before.manifest, fractions or Fractions(), seed, progress)
    _refuse_leaks(result, before.manifest, images, answers)
    if not result.splits:
        raise UserError(f"answers: {answers} adds nothing: {'; '.join(in_words(result.left_out.values()))}.")
    notes += [*said.notes(), *in_words(result.left_out.values()), *_lost(before.config.data)]
    folder, head = _written(out, plan, images, said, result, before, seed, fractions or Fractions())
    data = _settings(before, folder, head["digest"])
    try:
        manifest, objective = _prepared(data, before)
    except UserError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    value = {**head, "cells": difference(before.manifest, manifest), "notes": notes}
    write_json(folder / tables.HEAD, value)
    for note in notes:
        log.info("%s", note)
    return Merged(folder, data, manifest, objective, value)


def reopened(folder: Path, run: Run) -> Merged:
    """Reads a merge back.

    Args:
        folder: `merged-<n>/`.
        run: Of the model whose data grew.

    Raises:
        UserError: It was altered, or is of another version of the data.
    """
    head, before = tables.read_head(folder), data_of(run)
    if head["base"]["content"] != before.manifest.digests.content:
        raise UserError(
            f"merged: {folder} adds to other data (content {str(head['base']['content'])[:12]}) than {run.folder} "
            f"was trained on ({before.manifest.digests.content[:12]}); merge again."
        )
    data = _settings(before, folder, head["digest"])
    manifest, objective = _prepared(data, before)
    return Merged(folder, data, manifest, objective, head)


def difference(before: Manifest, after: Manifest) -> list[dict[str, Any]]:
    """Returns the cells whose number of decodable images changed, by split: classes, then class x level."""
    found = []
    for split in SPLITS:
        old, new = before.counts(split), after.counts(split)
        for name, table in new.items():
            levels = after.levels.get(name)
            cells = (
                [f"{label} x {level}" for label in after.classes for level in levels] if levels else list(after.classes)
            )
            for cell, was, now in zip(cells, old[name].ravel().tolist(), table.ravel().tolist(), strict=True):
                if was != now:
                    attribute = name if levels else None
                    found.append({"split": split, "attribute": attribute, "name": cell, "before": was, "after": now})
    return found


def _placed(
    images: Sequence[Image],
    said: Answers,
    manifest: Manifest,
    fractions: Fractions,
    seed: int,
    progress: Progress,
) -> Placed:
    alike, near_test = near(images, manifest, progress)
    additions = [
        Addition(one.asked.id, one.asked.reason, said.labels[one.asked.id], one.pixels, number, near)
        for one, number, near in zip(images, alike, near_test, strict=True)
    ]
    rows = manifest.frame.select("pixel_sha256", "split", "label", "path").drop_nulls("pixel_sha256")
    # Of equal old images in several splits the test image counts.
    ordered = rows.sort(pl.col("split") == "test", maintain_order=True)
    old = {pixels: Known(split, label, path) for pixels, split, label, path in ordered.iter_rows()}
    return placed(additions, old, fractions, seed)


def _refuse_leaks(result: Placed, manifest: Manifest, images: Sequence[Image], answers: Path) -> None:
    """Raises UserError where a sealed test image would be trained on; of an open one the addition is left out."""
    if not manifest.sealed or not result.leaks:
        return
    paths = {one.asked.id: one.asked.path for one in images}
    name, test = next(iter(result.leaks.items()))
    more = f" (and {len(result.leaks) - 1:,} more such)" if len(result.leaks) > 1 else ""
    raise UserError(
        f"answers: {answers}: image {name} ({paths[name]}) equals, or nearly equals, the sealed test image "
        f"{test}{more}; trained on, it would give the test away: take its line out."
    )


def _lost(data: DataConfig) -> list[str]:
    if data.labels == "majority" and data.contested == "keep":
        return []
    return [
        f"the labels in use are those of data.labels={data.labels}, data.contested={data.contested}; "
        "what each annotator said does not travel with them"
    ]


def _written(
    out: Path,
    plan: Plan,
    images: Sequence[Image],
    said: Answers,
    result: Placed,
    before: RunData,
    seed: int,
    fractions: Fractions,
) -> tuple[Path, dict[str, Any]]:
    """Writes the folder of a merge, whole or not at all; returns it and its head."""
    manifest = before.manifest
    with new_folder(out, "merged") as (folder, target):
        rows = []
        for one in images:
            name = one.asked.id
            if name not in result.splits:
                continue
            path = f"{IMAGES}/{name}{Path(one.asked.path).suffix}"
            (folder / IMAGES).mkdir(exist_ok=True)
            write_bytes(folder / path, one.content)
            # What annotators say of an attribute counts before what was sent along.
            levels = {**one.asked.attributes, **said.attributes[name]}
            own = {key: levels[key] for key in own_levels(manifest) if key in levels}
            origin = dict(zip(ORIGINS, (name, one.asked.reason, plan.folder.name), strict=True))
            here = {"path": path, "label": said.labels[name], "split": result.splits[name]}
            rows.append(here | own | origin)
        schema = dict.fromkeys(("path", "label", "split", *own_levels(manifest), *ORIGINS), pl.String)
        new = pl.DataFrame(rows, schema=schema)
        for name, table in (
            (tables.BASE, tables.base_table(manifest.frame, own_levels(manifest))),
            (tables.ADDITIONS, new),
        ):
            with replaced(folder / name) as temporary:
                table.write_parquet(temporary)
        head = _head(folder, plan, manifest, result, images)
        head |= {"seed": seed, "fractions": dataclasses.asdict(fractions)}
        write_json(folder / tables.HEAD, head)
    return target, head


def _head(folder: Path, plan: Plan, manifest: Manifest, result: Placed, images: Sequence[Image]) -> dict[str, Any]:
    sums = {name: digest_file(folder / name) for name in (tables.BASE, tables.ADDITIONS)}
    usual = {
        name: {
            label: manifest.levels[name][level]
            for label, level in zip(manifest.classes, own, strict=True)
            if level >= 0
        }
        for name, own in manifest.usual.items()
    }
    by_split, reasons = Counter(result.splits.values()), {one.asked.id: one.asked.reason for one in images}
    return {
        "schema_version": tables.SCHEMA_VERSION,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "plan": plan.folder.name,
        "artifact": plan.artifact,
        "base": {
            "name": manifest.name,
            "content": manifest.digests.content,
            "test": manifest.digests.test,
            "root": str(manifest.root),
            "mask_root": None if manifest.mask_root is None else str(manifest.mask_root),
        },
        "usual": usual,
        "tables": sums,
        "digest": tables.merge_digest(sums, usual),
        "added": {split: by_split[split] for split in SPLITS},
        "added_for": dict(Counter(reasons[name] for name in result.splits)),
        "left_out": result.left_out,
    }


def _settings(before: RunData, folder: Path, digest: str) -> MergedReader:
    """Returns the settings of the new version: those that every reader has are the old one's."""
    old: Reader = before.config.data
    shared = {each.name: getattr(old, each.name) for each in dataclasses.fields(DataConfig)}
    # Every row has its split, and its label is the one in use.
    shared |= {"reader": "merged", "limit": None, "keep_together": [], "stratify": [], "near_duplicates": "part"}
    shared |= {"labels": "majority", "contested": "keep"}
    tables_used = [name for name in old.side_tables if name != "soft_labels"]
    if before.manifest.left_out is not None and "quarantine" not in tables_used:
        tables_used.append("quarantine")  # images that were contested
    return MergedReader(**{**shared, "side_tables": tables_used}, additions=str(folder.resolve()), digest=digest)


def _prepared(data: MergedReader, before: RunData) -> tuple[Manifest, Objective]:
    """Prepares the new version, with what was found out about the old images beside them."""
    datasets = Path(before.config.datasets_dir)
    carry_over(before.manifest, recipe_folder(data, datasets))
    manifest, objective = prepare(data, before.objective, datasets)
    return with_side_tables(manifest, objective, data)
