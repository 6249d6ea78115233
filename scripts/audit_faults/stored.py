"""Trials on data sets of files: broken files of two dozen kinds, and label noise that a small network must see."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pools
from broken_kinds import KINDS
from numpy.typing import NDArray
from running import rate
from sklearn.metrics import average_precision_score

from evensight.audit import integrity, label_errors
from evensight.audit.audit import audit_data
from evensight.audit.chapter import Chapter
from evensight.audit.data import AuditData
from evensight.audit.scoring import score
from evensight.config import AuditConfig
from evensight.data.prepare import prepare
from evensight.data.readers.folder import FolderReader
from evensight.data.readers.table import TableReader
from evensight.data.reading import Reader
from evensight.objective.objective import Objective
from evensight.progress import silent
from evensight.runtime.decode import decode_array

PLAIN = 800  # photographs among the broken files
NOISE = (0.05, 0.10)
KINDS_OF_NOISE = ("uniform", "between two classes", "by one annotator on one group")
DIGITS = 4000  # of a data set with label noise


def prepared(reader: Reader, objective: Objective, folder: Path, cues: list[str]) -> AuditData:
    """Prepares and measures a data set of files."""
    manifest, resolved = prepare(reader, objective, folder / "datasets", silent)
    scores = score(manifest, cues, manifest.folder / "audit", reader.max_pixels, None, silent)
    return audit_data(manifest, resolved, scores, True)


def _objective(**keys: Any) -> Objective:
    return Objective.from_config({"name": "faults", "purpose": "Find the faults that were put in.", **keys})


# Integrity


def integrity_rows(num: int) -> list[dict[str, Any]]:
    """Returns the rows of the table: each kind of file among photographs, and what is said of the photographs."""
    rng = np.random.default_rng(18)
    contents, names, actions = pools.bar_files()
    order = rng.permutation(len(contents)).tolist()
    plain, broken = order[:PLAIN], order[PLAIN : PLAIN + num]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for at in plain:
            _store(folder / "images" / actions[at] / names[at], contents[at])
        for at in broken:
            pixels = decode_array(contents[at])
            for number, kind in enumerate(KINDS):
                path = folder / "images" / actions[at] / f"kind{number}_{at}{kind.ending}"
                _store(path, kind.make(pixels))
        data = prepared(FolderReader(name="broken", root=str(folder / "images")), _objective(), folder, ["colour"])
        codes = _codes(data, integrity.chapter(data, AuditConfig(), silent))
    return list(_integrity_rows(codes, num))


def _store(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _codes(data: AuditData, chapter: Chapter) -> dict[str, set[str]]:
    """Returns what is said of each file, by its name."""
    found: dict[str, set[str]] = {Path(path).name: set() for path in data.paths}
    for finding in chapter.findings:
        for row in finding.rows:
            found[Path(data.paths[row]).name].add(finding.code)
    return found


def _integrity_rows(codes: dict[str, set[str]], num: int) -> Iterator[dict[str, Any]]:
    plain = [said for name, said in codes.items() if not name.startswith("kind")]
    for number, kind in enumerate(KINDS):
        said = [found for name, found in codes.items() if name.startswith(f"kind{number}_")]
        right = sum(kind.code in found for found in said)
        counted = Counter(code for found in said for code in found)
        yield {**_row("integrity", kind.name, "photographs", kind.code, right, num), "said": dict(counted)}
    loud = [found - {"uneven_quality", "uneven_unreadable"} for found in plain]
    false = sum(bool(found) for found in loud)
    counted = Counter(code for found in loud for code in found)
    row = _row("integrity", "none: photographs as they are", "photographs", "", false, len(plain), clean=True)
    yield {**row, "said": dict(counted)}


def _row(
    chapter: str, fault: str, data: str, strength: float | str, x: int, n: int, clean: bool = False
) -> dict[str, Any]:
    return {"chapter": chapter, "fault": fault, "data": data, "strength": strength, **rate(x, n, clean)}


# Label errors


@dataclass(frozen=True)
class Noisy:
    """What the chapter says of one data set with wrong labels.

    Attributes:
        wrong: bool `[N]`, which labels are wrong.
        doubt: `[N]`, higher for labels that are believed less.
        doubted: bool `[N]`, which are called wrong.
        loud: Whether there is an alarm or a warning.
    """

    wrong: NDArray[np.bool_]
    doubt: NDArray[np.float64]
    doubted: NDArray[np.bool_]
    loud: bool


def label_error_rows(draws: int, num_processes: int) -> list[dict[str, Any]]:
    """Returns the rows of the table: recall and average precision by noise; of right labels, how many are doubted."""
    with ProcessPoolExecutor(num_processes, get_context("spawn")) as executor:
        futures = {
            (kind, share): [executor.submit(_noisy, kind, share, turn) for turn in range(draws)]
            for kind, shares in {**dict.fromkeys(KINDS_OF_NOISE, NOISE), "none": (0.0,)}.items()
            for share in shares
        }
        found = {key: [part.result() for part in parts] for key, parts in futures.items()}
    clean = found.pop(("none", 0.0))
    rows = []
    for (kind, share), those in found.items():
        x, n = sum(int((one.doubted & one.wrong).sum()) for one in those), sum(int(one.wrong.sum()) for one in those)
        named = sum(int(one.doubted.sum()) for one in those)
        each = [float(average_precision_score(one.wrong, one.doubt)) for one in those]
        row = _row("label_errors", f"label noise {kind}", "digits", share, x, n)
        precision = {"mean": float(np.mean(each)), "least": min(each), "each": each}
        rows.append({**row, "average_precision": precision, "precision": rate(x, named, False)})
    x, n = sum(int(one.doubted.sum()) for one in clean), sum(len(one.wrong) for one in clean)
    row = _row("label_errors", "none: labels of MNIST as they are, images doubted", "digits", 0.0, x, n, clean=True)
    return [*rows, {**row, "data_sets_with_a_warning": sum(one.loud for one in clean), "data_sets": draws}]


def _noisy(kind: str, share: float, turn: int) -> Noisy:
    """Stores MNIST digits some of whose labels are wrong, and runs the chapter on them."""
    rng = np.random.default_rng([19, turn])
    images, truth = pools.mnist("train")
    rows = rng.choice(len(images), DIGITS, replace=False)
    truth, site = truth[rows], rng.integers(0, 4, DIGITS)
    labels = _with_noise(kind, share, truth, site, rng)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for i, at in enumerate(rows.tolist()):
            _, content = cv2.imencode(".png", images[at])
            _store(folder / "images" / f"{i}.png", content.tobytes())
        split = np.where(np.arange(DIGITS) < DIGITS * 3 // 4, "train", "validation")
        columns = {"path": [f"{i}.png" for i in range(DIGITS)], "label": labels.astype(str), "split": split}
        table = pl.DataFrame({**columns, "site": np.asarray(["north", "south", "east", "west"])[site]})
        table.write_csv(folder / "t.csv")
        reader = TableReader(name="noisy", table=str(folder / "t.csv"), root=str(folder / "images"))
        objective = _objective(attributes={"site": {"levels": "from_data"}})
        data = prepared(reader, objective, folder, ["colour"])
        chapter = label_errors.chapter(data, AuditConfig(seed=turn), silent)
    said = pl.DataFrame({"row_id": data.row_ids}).join(
        chapter.tables["label_errors"], on="row_id", how="left", maintain_order="left"
    )
    number = np.asarray([int(Path(path).stem) for path in data.paths])
    return Noisy(
        wrong=labels[number] != truth[number],
        doubt=1.0 - said["quality"].fill_null(1.0).to_numpy().astype(np.float64),
        doubted=said["is_issue"].fill_null(False).to_numpy().astype(np.bool_),
        loud=any(finding.severity != "note" for finding in chapter.findings),
    )


def _with_noise(
    kind: str, share: float, truth: NDArray[np.int64], site: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Returns labels of which about `share` are wrong."""
    labels = truth.copy()
    if kind == "none":
        return labels
    if kind == "uniform":
        wrong = rng.random(len(truth)) < share
        labels[wrong] = (truth[wrong] + rng.integers(1, 10, wrong.sum())) % 10
        return labels
    among = np.isin(truth, (4, 9)) if kind == "between two classes" else site == 1
    chosen = rng.choice(np.flatnonzero(among), round(share * len(truth)), replace=False)
    if kind == "between two classes":
        labels[chosen] = 13 - truth[chosen]
    else:
        labels[chosen] = (truth[chosen] + rng.integers(1, 10, len(chosen))) % 10
    return labels
