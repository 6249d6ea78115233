"""Label errors: planted wrong labels come first; sound labels, small classes and a closed test split are left alone."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score

from evensight.audit import embeddings, label_errors, suspects
from evensight.audit.audit import audit_data
from evensight.audit.data import AuditData, Scores
from evensight.audit.label_doubts import Judged, doubted
from evensight.audit.label_errors import chapter, told
from evensight.config import AuditConfig
from evensight.data.prepare import prepare
from evensight.data.readers.table import TableReader
from evensight.errors import UserError
from evensight.objective.objective import Objective
from evensight.progress import silent

if TYPE_CHECKING:
    from made_artifact import Made

NAMES = [f"digit {number}" for number in range(10)]


def digits(num: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Scikit-learn's handwritten digits at 16 x 16, uint8 `[N, 16, 16, 3]`, and their classes."""
    images, labels = load_digits(return_X_y=True)
    pixels = (images[:num].reshape(-1, 8, 8, 1) * 15.9).astype(np.uint8)
    return pixels.repeat(2, axis=1).repeat(2, axis=2).repeat(3, axis=3), labels[:num].astype(np.int64)


def wrong(labels: np.ndarray, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which a share is another class, any alike, and which those are."""
    generator = np.random.default_rng(seed)
    there = generator.random(len(labels)) < share
    return np.where(there, (labels + generator.integers(1, 10, len(labels))) % 10, labels), there


def precision(found: suspects.Suspects, there: np.ndarray) -> float:
    place = np.empty(len(there))
    place[found.order] = np.arange(len(there))
    return float(average_precision_score(there, -place))


@pytest.fixture(scope="module")
def planted() -> tuple[suspects.Suspects, np.ndarray, np.ndarray]:
    pixels, labels = digits()
    given, there = wrong(labels, 0.05)
    return suspects.suspects(pixels, given, 10, seed=0), labels, there


def test_wrong_labels_come_first(planted: tuple[suspects.Suspects, np.ndarray, np.ndarray]) -> None:
    found, labels, there = planted
    assert precision(found, there) >= 0.8
    assert (found.suggested == labels)[there].mean() >= 0.8
    assert found.is_issue[there].mean() >= 0.5
    assert found.is_issue[~there].mean() <= 0.02
    assert found.order[0] in np.flatnonzero(found.is_issue)
    assert np.allclose(found.probabilities.sum(axis=1), 1, atol=1e-5)


def test_sound_labels_are_believed() -> None:
    pixels, labels = digits()
    found = suspects.suspects(pixels, labels, 10, seed=0)
    assert found.is_issue.mean() <= 0.01
    assert found.accuracy >= 0.95


def clusters(num: int = 600, num_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings in clouds far from one another, and whose they are."""
    generator = np.random.default_rng(4)
    labels = np.arange(num) % num_classes
    return (generator.normal(0, 1, (num, 8)) + 6 * np.eye(8)[labels]).astype(np.float32), labels.astype(np.int64)


def test_embeddings_are_judged_without_a_network() -> None:
    features, labels = clusters()
    given = labels.copy()
    given[[5, 17, 100]] = (labels[[5, 17, 100]] + 1) % 3
    found = suspects.suspects(features, given, 3, seed=0)
    assert sorted(found.order[:3]) == [5, 17, 100]
    assert (found.suggested == labels).all()
    assert (found.quality[[5, 17, 100]] < 0.5).all()


def test_out_of_fold_a_label_has_no_say_in_its_own_probability() -> None:
    """A single wrong label changes the regressions of the other folds alone."""
    features, labels = clusters()
    given = labels.copy()
    given[7] = (labels[7] + 1) % 3
    before, after = (suspects.suspects(features, one, 3, seed=0).probabilities[7] for one in (labels, given))
    assert before.argmax() == after.argmax() == labels[7]


def test_small_classes_are_not_judged() -> None:
    features, labels = clusters()
    given = labels.copy()
    given[:9] = 3
    found = suspects.suspects(features, given, 5, seed=0)
    assert not found.judged[:9].any()
    assert found.judged[9:].all()
    assert (found.quality[:9] == 1).all()
    assert not found.is_issue[:9].any()
    assert (found.probabilities[:, 3:] == 0).all()
    with pytest.raises(ValueError, match="at least 2"):
        suspects.suspects(features[:15], np.zeros(15, np.int64), 2, seed=0)


class KilledError(Exception):
    """The process is gone."""


def dies_at(what: str, done: int) -> Any:
    def progress(now: str, count: int, total: int) -> None:
        if now.endswith(what) and count >= done:
            raise KilledError

    return progress


@pytest.mark.parametrize(("what", "done", "seen"), [("network", 900, 2), ("folds", 2, 0)])
def test_a_killed_audit_goes_on_where_it_was(tmp_path: Path, what: str, done: int, seen: int) -> None:
    pixels, labels = digits(300)
    given, _ = wrong(labels, 0.05)
    whole = suspects.suspects(pixels, given, 10, seed=3)
    with pytest.raises(KilledError):
        suspects.suspects(pixels, given, 10, 3, dies_at(what, done), tmp_path)
    told: list[tuple[str, int]] = []
    again = suspects.suspects(pixels, given, 10, 3, lambda now, count, _: told.append((now, count)), tmp_path)
    network = [count for now, count in told if now.endswith("network")]
    assert min(network) > 600 if seen else not network, "epochs that were done are not done again"
    assert np.array_equal(again.probabilities, whole.probabilities)
    assert np.array_equal(again.order, whole.order)


@pytest.mark.parametrize("name", ["network.pt", "embeddings.npy", "fold-1.npy"])
def test_a_broken_file_of_ours_costs_its_work_again(tmp_path: Path, name: str) -> None:
    pixels, labels = digits(300)
    whole = suspects.suspects(pixels, labels, 10, seed=3, folder=tmp_path)
    assert (tmp_path / name).is_file()
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:50])
    again = suspects.suspects(pixels, labels, 10, seed=3, folder=tmp_path)
    assert np.array_equal(again.probabilities, whole.probabilities)


@pytest.mark.parametrize(("num", "epochs"), [(100, 12), (2000, 12), (10_000, 6), (60_000, 3), (10**6, 3)])
def test_epochs(num: int, epochs: int) -> None:
    assert embeddings.num_epochs(num) == epochs


def test_input_side() -> None:
    sides = [([28], [28], 28), ([300, 400], [200, 500], 64), ([1, 1], [5, 9], 16), ([40, 500], [50, 40], 40)]
    for widths, heights, side in sides:
        assert embeddings.input_side(np.array(widths), np.array(heights)) == side


def prepared(folder: Path, given: np.ndarray, pixels: np.ndarray, open_test: bool, **columns: list[str]) -> AuditData:
    """Images of an array in a table with further columns, as the audit sees them."""
    folder.mkdir()
    np.save(folder / "images.npy", pixels)
    table = {"path": [f"images.npy#{i}" for i in range(len(given))], "label": [NAMES[i] for i in given]}
    pl.DataFrame({**table, **columns}).write_csv(folder / "table.csv")
    attributes = {name: {"levels": sorted(set(values))} for name, values in columns.items() if name != "split"}
    objective = Objective.from_config({"name": "o", "purpose": "p", "classes": NAMES, "attributes": attributes})
    reader = TableReader(table=str(folder / "table.csv"), name="d", sealed=not open_test)
    manifest, _ = prepare(reader, objective, folder / "sets", silent)
    num = len(manifest.frame)
    measured = manifest.frame["error"].is_null().to_numpy()
    scores = Scores(pl.DataFrame(), np.zeros((num, 1), np.uint64), np.zeros((num, 2, 2), np.uint8), {}, measured)
    return audit_data(manifest, objective, scores, open_test)


@dataclasses.dataclass
class Case:
    """Digits of which one camera's labels are bad, and what the chapter said."""

    data: AuditData
    wrong: set[str]  # paths
    chapter: Any


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    pixels, labels = digits()
    generator = np.random.default_rng(1)
    camera = generator.choice(["new", "old"], len(labels), p=[0.75, 0.25])
    given, there = wrong(labels, 0.2)
    there &= camera == "old"
    given = np.where(there, given, labels)
    split = np.where(
        np.arange(len(labels)) % 10 < 7, "train", np.where(np.arange(len(labels)) % 10 < 8, "validation", "test")
    )
    folder = tmp_path_factory.mktemp("labels") / "data"
    data = prepared(folder, given, pixels, False, camera=camera.tolist(), split=split.tolist())
    names = {f"images.npy#{i}" for i in np.flatnonzero(there & (split != "test"))}
    return Case(data, names, chapter(data, AuditConfig(), silent))


def test_the_table_ranks_training_and_validation(case: Case) -> None:
    table = case.chapter.tables["label_errors"]
    assert table.columns == ["row_id", "quality", "suggested", "is_issue", "rank"]
    by_row = dict(zip(case.data.row_ids, case.data.paths, strict=True))
    ranked = [by_row[name] for name in table.sort("rank")["row_id"].to_list()]
    assert average_precision_score([path in case.wrong for path in ranked], -np.arange(len(ranked))) >= 0.8
    test = {case.data.paths[row] for row in np.flatnonzero(case.data.splits == "test")}
    assert not test & set(ranked), "labels of a closed test split were read"


def test_the_group_with_bad_labels_is_named(case: Case) -> None:
    (main,) = [finding for finding in case.chapter.findings if finding.code == "label_errors"]
    assert main.severity == "warning"
    assert main.evidence["low"] < main.evidence["estimate"] < main.evidence["high"]
    assert main.num_rows == main.evidence["x"] == len(main.rows)
    assert len({case.data.paths[row] for row in main.rows} & case.wrong) >= 0.8 * len(main.rows)
    uneven = [finding for finding in case.chapter.findings if finding.code == "label_errors_uneven"]
    assert [(one.evidence["what"], one.evidence["level"]) for one in uneven] == [("camera", "old")]


def test_the_review_task_holds_the_labels_in_doubt(case: Case) -> None:
    folder = case.data.manifest.folder / "audit" / "review"
    table = pl.read_csv(folder / "review.csv")
    assert table["path"].to_list() == [case.data.paths[row] for row in case.chapter.findings[0].rows]
    assert table["is_issue"].all()
    assert {path.name for path in folder.iterdir()} == {"label_studio.json", "review.csv", "label_config.xml"}


def test_what_the_report_draws(case: Case) -> None:
    kinds = [type(block).__name__ for block in case.chapter.blocks]
    assert kinds == ["Gallery", "HeatMap", "Bars", "Bars"]
    gallery, heat = case.chapter.blocks[:2]
    assert len(gallery.exhibits) == 24
    assert "→" in gallery.exhibits[0].caption
    assert sum(int(text) for line in heat.texts for text in line if text) == case.chapter.figures["label_errors"]["x"]


def test_a_second_audit_reads_what_the_first_kept(case: Case) -> None:
    heard: list[str] = []
    again = chapter(case.data, AuditConfig(), lambda what, done, total: heard.append(what))
    assert set(heard) == {"label errors: folds"}
    assert again.tables["label_errors"].equals(case.chapter.tables["label_errors"])
    assert again.findings == case.chapter.findings


def test_without_the_extra_the_chapter_names_it(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cleanlab" else whole(name))
    assert "pip install 'evensight[audit]'" in chapter(case.data, AuditConfig(), silent).skipped


def test_what_cannot_be_judged_is_skipped_with_a_reason(case: Case) -> None:
    few = dataclasses.replace(case.data, labels=np.where(np.arange(len(case.data)) < 50, case.data.labels, -1))
    assert "too few" in chapter(few, AuditConfig(), silent).skipped
    one = dataclasses.replace(case.data, labels=np.where(case.data.labels >= 0, 4, -1))
    assert "two classes" in chapter(one, AuditConfig(), silent).skipped
    assert chapter(dataclasses.replace(case.data, manifest=None), AuditConfig(), silent).skipped


def test_more_images_than_the_limit_are_drawn_from(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_errors, "MOST_IMAGES", 200)
    table = chapter(case.data, AuditConfig(), silent).tables["label_errors"]
    assert len(table) == 200


def judged_by_hand(data: AuditData) -> Judged:
    generator = np.random.default_rng(8)
    rows = np.flatnonzero(data.labels >= 0)
    nothing = np.zeros((len(rows), 10), np.float32)
    issue = generator.random(len(rows)) < np.where(data.attributes["camera"][rows] == 1, 0.3, 0.05)
    given = data.labels[rows]
    quality = np.where(issue, 0.3, 0.9)
    found = suspects.Suspects(quality, given, (given + issue) % 10, issue, nothing, np.ones(len(rows), bool))
    return Judged(rows, found)


def test_shares_by_class_group_and_annotator(case: Case) -> None:
    """Counted by hand and by scipy's Fisher test; whoever gave the label that stands is answerable for it."""
    judged = judged_by_hand(case.data)
    generator = np.random.default_rng(9)
    lines = []
    for row in range(len(case.data)):
        for person in ("ann", "bob"):
            mistaken = generator.random() < 0.1
            label = (case.data.labels[row] + mistaken) % 10
            lines.append((row, person, NAMES[label]))
    annotations = pl.DataFrame(lines, schema=["row", "annotator", "label"], orient="row")
    data = dataclasses.replace(case.data, annotations=annotations)
    found = {(one.what, one.level): one for one in doubted(data, judged)}
    issue = dict(zip(judged.rows.tolist(), judged.suspects.is_issue.tolist(), strict=True))
    stood = [
        (row, person) for row, person, label in lines if row in issue and case.data.labels[row] == NAMES.index(label)
    ]
    cameras = data.attributes["camera"]
    for person, camera in itertools.product(("ann", "bob"), (None, 0, 1)):
        mine = [who == person and camera in (None, cameras[row]) for row, who in stood]
        here = [row for (row, _), is_mine in zip(stood, mine, strict=True) if is_mine]
        rest = [row for (row, _), is_mine in zip(stood, mine, strict=True) if not is_mine]
        name = ("annotator", person)
        if camera is not None:
            name = ("annotator x camera", f"{person} x camera={('new', 'old')[camera]}")
        one = found[name]
        assert (one.x, one.n) == (sum(issue[r] for r in here), len(here))
        counted = [[sum(issue[r] for r in part), sum(not issue[r] for r in part)] for part in (here, rest)]
        assert one.p == pytest.approx(stats.fisher_exact(counted, alternative="greater").pvalue, rel=1e-6)
    assert found["camera", "old"].n == (case.data.attributes["camera"][judged.rows] == 1).sum()
    assert sum(one.n for (what, _), one in found.items() if what == "label") == len(judged.rows)
    kinds = [type(block).__name__ for block in told(data, AuditConfig(), judged).blocks]
    assert kinds == ["Gallery", "HeatMap", "Bars", "Bars", "Bars", "Table"]


def test_a_network_that_tells_nothing_raises_no_alarm(case: Case) -> None:
    judged = judged_by_hand(case.data)
    blind = dataclasses.replace(judged.suspects, suggested=(judged.suspects.given + 1) % 10)
    findings = told(case.data, AuditConfig(), Judged(judged.rows, blind)).findings
    assert [(one.code, one.severity) for one in findings] == [("label_errors", "note")]


def test_embeddings_of_a_finished_run(made: Made) -> None:
    """The made network's embedding is the mean of each channel: red images lie on the axis of red."""
    num = len(made.manifest.frame)
    objective = Objective.from_config({"name": "o", "purpose": "p", "classes": list(made.manifest.classes)})
    scores = Scores(
        pl.DataFrame(), np.zeros((num, 1), np.uint64), np.zeros((num, 2, 2), np.uint8), {}, np.ones(num, bool)
    )
    data = audit_data(made.manifest, objective, scores, True)
    rows = np.arange(num)[::-1].copy()
    found, good = embeddings.of_run(data, rows, str(made.run.folder), 1, silent)
    assert found.shape == (num, 3)
    assert good.all()
    assert np.array_equal(found.argmax(axis=1), data.attributes["colour"][rows])


def test_a_run_without_an_artifact_is_a_sentence(case: Case, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no artifact"):
        chapter(case.data, AuditConfig(run=str(tmp_path)), silent)


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["uniform", "pair"])
def test_wrong_labels_of_mnist(real_data: Path, kind: str) -> None:
    """The target of scripts/audit_label_errors.py, on fewer digits; there it is measured on 10,000."""
    with np.load(real_data / "mnist" / "train.npz") as arrays:
        pixels, labels = arrays["images"][:3000, ..., None].repeat(3, axis=3), arrays["labels"][:3000].astype(np.int64)
    given, there = wrong(labels, 0.05)
    if kind == "pair":
        there = np.isin(labels, (4, 9)) & (np.random.default_rng(0).random(3000) < 0.25)
        given = np.where(there, 13 - labels, labels)
    assert precision(suspects.suspects(pixels, given, 10, seed=0), there) >= 0.8
