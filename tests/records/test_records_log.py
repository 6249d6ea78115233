"""The writer of the prediction log: nothing that happens to the file may reach a prediction."""

from __future__ import annotations

import dataclasses
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from known_logs import CLASSES, FIRST, entry, until

from evensight.errors import RunError, UserError
from evensight.records import log_file, prediction_log
from evensight.records.prediction_log import Entry, PredictionLog
from evensight.records.traffic import read_traffic


@pytest.fixture
def log(tmp_path: Path) -> Iterator[PredictionLog]:
    made = PredictionLog(tmp_path / "log" / "predictions.sqlite", CLASSES)
    yield made
    made.close()


def test_what_is_given_is_what_is_read(log: PredictionLog) -> None:
    assert log.swap(99.0, FIRST)
    assert log.add(entry(10)) and log.add(entry(11))
    assert log.reject(111.5, "415")
    assert log.flush()
    read = read_traffic(log.path)
    first, second = read.predictions.rows(named=True)
    assert first == {
        "id": f"{10:032x}",
        "time": 110.0,
        "identity": FIRST,
        "prediction": 1,
        "confidence": 0.75,
        "probabilities": [0.125, 0.75, 0.125],
        "sampled": True,
        "image": "images/10.png",
        "label": None,
        "label_state": "none",
        "label_time": None,
        "attribute:colour": None,
    }
    assert (second["prediction"], second["sampled"], second["image"]) == (2, False, None)
    assert second["attribute:colour"] == "red"
    assert read.outcomes.rows() == [
        (f"{10:032x}", "colour", "tint", 1, True, False),
        (f"{10:032x}", "colour", "recolour", 2, False, True),
    ]
    for place, number in enumerate((10, 11)):
        for cue, value in entry(number).describes.items():
            np.testing.assert_array_equal(read.describes[cue][place], value)
        assert read.embeddings is not None
        np.testing.assert_allclose(read.embeddings[place], entry(number).embedding, rtol=2**-10)
    assert read.rejected.rows() == [(111.5, "415")]
    assert read.swaps.rows() == [(99.0, FIRST)]
    assert (log.written, log.lost, log.failing, log.waiting, read.cut) == (4, 0, None, 0, None)


def test_a_label_is_joined_doubled_in_conflict_or_unknown(log: PredictionLog) -> None:
    log.add(entry(1))
    log.add(entry(2))
    answers = [
        log.feedback(entry(1).id, "star", 200.0),  # of an entry that still waits
        log.feedback(entry(1).id, "star", 201.0),
        log.feedback(entry(2).id, "star", 202.0),
        log.feedback(entry(2).id, "circle", 203.0),
        log.feedback(entry(2).id, "star", 204.0),
        log.feedback(entry(3).id, "circle", 205.0),
    ]
    found = [answer.result(20) for answer in answers]
    assert found == ["joined", "duplicate", "joined", "conflict", "conflict", "unknown"]
    read = read_traffic(log.path)
    labels = read.predictions.select("label", "label_state", "label_time").rows()
    assert labels == [(2, "labelled", 200.0), (None, "conflict", 202.0)]
    assert (read.unknown_feedback, read.conflicts, read.duplicates) == (1, 1, 2)
    log.add(entry(3))  # the label came before its image
    assert log.flush()
    read = read_traffic(log.path)
    assert read.predictions["label"].to_list() == [2, None, 0]
    assert read.unknown_feedback == 0


@pytest.mark.parametrize(
    ("id", "label", "time", "names"),
    [
        ("1" * 32, "sqare", 1.0, "'square'"),
        ("1" * 32, 1, 1.0, "label"),
        ("", "star", 1.0, "id"),
        ("1" * 65, "star", 1.0, "id"),
        ("a\nb", "star", 1.0, "id"),
        ("\udc80", "star", 1.0, "id"),
        (7, "star", 1.0, "id"),
        ("1" * 32, "star", float("nan"), "time"),
    ],
)
def test_a_label_that_is_none_is_refused_before_it_is_queued(
    log: PredictionLog, id: Any, label: Any, time: float, names: str
) -> None:
    with pytest.raises(UserError, match=names):
        log.feedback(id, label, time)
    assert log.waiting == 0


@pytest.mark.parametrize(
    "change",
    [
        {"probabilities": np.ones(2, np.float32)},
        {"probabilities": np.full(3, np.nan, np.float32)},
        {"probabilities": None},
        {"time": float("inf")},
        {"time": "now"},
        {"attributes": {"colour": object()}},
        {"id": "\udc80"},
        {"describes": {"colour": "red"}},
        {"outcomes": (1,)},
    ],
)
def test_an_entry_that_fits_no_log_is_counted_and_others_go_on(log: PredictionLog, change: dict[str, Any]) -> None:
    assert log.add(entry(1))
    assert log.add(dataclasses.replace(entry(2), **change))
    assert log.add(None)  # type: ignore[arg-type]
    assert log.reject(float("nan"), "500")
    assert log.add(entry(3))
    assert log.flush()
    assert (log.written, log.lost, log.failing) == (2, 3, None)
    assert read_traffic(log.path).predictions["id"].to_list() == [entry(1).id, entry(3).id]


def test_an_id_that_is_there_is_not_written_again(log: PredictionLog) -> None:
    log.add(entry(1, winner=0))
    log.add(entry(1, winner=2))
    assert log.flush()
    assert (log.written, log.lost) == (1, 1)
    assert read_traffic(log.path).predictions["prediction"].to_list() == [0]


def test_an_embedding_beyond_float16_stays_finite(log: PredictionLog) -> None:
    log.add(dataclasses.replace(entry(1), embedding=np.array([1e6, -1e6, 0.5, 0], np.float32)))
    assert log.flush()
    embeddings = read_traffic(log.path).embeddings
    assert embeddings is not None
    assert embeddings.tolist() == [[65504.0, -65504.0, 0.5, 0.0]]


def other_version(path: Path) -> None:
    PredictionLog(path, CLASSES).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")


def other_classes(path: Path) -> None:
    PredictionLog(path, ("cat", "dog")).close()


def other_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (value)")


def text(path: Path) -> None:
    path.write_text("id,label\n" * 100)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (other_version, "is a prediction log of version 2, this evensight reads version 1"),
        (other_classes, "is of the classes cat, dog, not of circle, square, star"),
        (other_database, "is an SQLite file, but no prediction log"),
        (text, "file is not a database"),
        (Path.mkdir, "unable to open database file"),
    ],
)
def test_a_file_of_something_else_is_refused_and_left_as_it_was(tmp_path: Path, make: Any, says: str) -> None:
    path = tmp_path / "log.sqlite"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(UserError, match=says):
        PredictionLog(path, CLASSES)
    assert before == (path.read_bytes() if path.is_file() else b"")
    if make is not other_classes:
        with pytest.raises(UserError, match=r"^log: "):
            read_traffic(path)


def overflow(log: PredictionLog, start: int) -> None:
    """Adds until entries are dropped, as under traffic while nothing can be written."""
    number = start
    while log.add(entry(number)):
        number += 1
    assert number < start + 100


def recovered(log: PredictionLog, lost: int) -> pl.DataFrame:
    assert log.flush(30)
    assert (log.failing, log.lost) == (None, lost)
    assert log.feedback(entry(10_000).id, "star", 1.0).result(20) == "unknown"
    return read_traffic(log.path).predictions


def test_a_locked_file_holds_up_no_prediction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "BUSY_S", 0.05)
    log = PredictionLog(tmp_path / "log.sqlite", CLASSES, most_waiting=50)
    log.add(entry(0))
    assert log.flush()
    with closing(sqlite3.connect(log.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        log.add(entry(1))
        until(lambda: log.failing)
        assert log.failing == (f"log: {log.path} cannot be written (database is locked); predictions go on without it.")
        overflow(log, 2)
        answer = log.feedback(entry(0).id, "star", 1.0)
        with pytest.raises(RunError, match="database is locked"):
            answer.result(0)
        assert (log.waiting, log.lost) == (50, 2)
        other.execute("ROLLBACK")
    assert len(recovered(log, 2)) == 51
    log.close()


def test_a_full_disk_holds_up_no_prediction(tmp_path: Path) -> None:
    """The process may write no file over 60 kB: SQLite meets that where a full disk would end it."""
    log = PredictionLog(tmp_path / "log.sqlite", CLASSES, most_waiting=50)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        number = 0
        while log.failing is None:
            number += log.add(entry(number))
            log.flush(0.05)
        overflow(log, number)
        dropped = log.lost
        assert "cannot be written (disk I/O error)" in log.failing
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    found = recovered(log, dropped)
    assert len(found) == log.written - 1
    assert len(found) >= number
    log.close()


@pytest.mark.parametrize("what", ["file", "folder", "wal", "replaced"])
def test_a_file_that_is_taken_away_is_made_anew(log: PredictionLog, what: str) -> None:
    log.add(entry(1))
    assert log.flush()
    if what == "folder":
        shutil.rmtree(log.path.parent)
    elif what == "wal":
        Path(f"{log.path}-wal").unlink()
    else:
        log.path.unlink()
        if what == "replaced":
            log.path.touch()
    log.add(entry(2))
    kept = [entry(1).id] if what == "wal" else []
    assert recovered(log, 0)["id"].to_list() == [*kept, entry(2).id]


@contextmanager
def nobody() -> Iterator[Path]:
    """Runs as a user who may not write everywhere, in a folder that this user may read."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65_534)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def permit(folder: Path, mode: int) -> None:
    user = os.geteuid()
    if user == 65_534:
        os.seteuid(0)
    folder.chmod(mode)
    os.seteuid(user)


def test_a_folder_that_may_not_be_written_to() -> None:
    with nobody() as folder:
        permit(folder, 0o555)
        path = folder / "log.sqlite"
        with pytest.raises(UserError, match=r"^log: .* cannot be written \(unable to open database file\); name"):
            PredictionLog(path, CLASSES)
        permit(folder, 0o777)
        log = PredictionLog(path, CLASSES, most_waiting=50)
        log.add(entry(1))
        assert log.flush()
        for path_there in folder.iterdir():
            path_there.unlink()
        permit(folder, 0o555)
        log.add(entry(2))
        until(lambda: log.failing and "unable to open" in log.failing)
        overflow(log, 3)
        permit(folder, 0o777)
        assert recovered(log, 1)["id"].to_list() == [entry(number).id for number in range(2, 52)]
        log.close()


def test_close_writes_what_waits(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path / "log.sqlite", CLASSES)
    for number in range(3000):
        log.add(entry(number))
    log.close()
    log.close()
    assert len(read_traffic(log.path).predictions) == log.written == 3000
    assert not log.add(entry(4000))
    assert log.lost == 1
    with pytest.raises(RunError):
        log.feedback(entry(1).id, "star", 1.0).result(0)


def test_close_ends_although_the_file_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_log, "_LAST_TRIES_S", 0.2)
    monkeypatch.setattr(log_file, "BUSY_S", 0.05)
    with closing(sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN EXCLUSIVE")
        log = PredictionLog(tmp_path / "log.sqlite", CLASSES)  # a server starts although the file is locked
        assert log.failing is not None
        for number in range(1500):
            log.add(entry(number))
        answer = log.feedback(entry(1).id, "star", 1.0)
        log.close()
    assert (log.written, log.lost, log.waiting) == (0, 1501, 0)
    with pytest.raises(RunError, match="cannot be written"):
        answer.result(0)


def test_what_is_read_while_it_is_written_is_a_beginning(log: PredictionLog) -> None:
    def write() -> None:
        for number in range(3000):
            log.add(entry(number))
            log.feedback(entry(number).id, "star", 5000.0)

    writer = threading.Thread(target=write)
    writer.start()
    seen = [0]
    while seen[-1] < 3000:
        read = read_traffic(log.path)
        assert read.predictions["id"].to_list() == [entry(number).id for number in range(len(read.predictions))]
        assert read.unknown_feedback == 0
        assert read.cut is None
        seen.append(len(read.predictions))
        assert log.failing is None
    writer.join()
    assert seen == sorted(seen)
    assert log.lost == 0


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from known_logs import CLASSES, entry
from evensight.records.prediction_log import PredictionLog
log = PredictionLog(Path(sys.argv[1]), CLASSES)
number = int(sys.argv[3])
while True:
    for _ in range(7):
        log.add(entry(number))
        number += 1
    if log.feedback(entry(number - 1).id, "star", 5000.0).result() == "joined":
        print(number, flush=True)
"""


def test_a_killed_writer_loses_only_what_waited(tmp_path: Path) -> None:
    path, start, generator = tmp_path / "log.sqlite", 0, np.random.default_rng(0)
    for _ in range(4):
        arguments = [sys.executable, "-c", WRITER, str(path), str(Path(__file__).parent), str(start)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            promised = 0
            for _ in range(int(generator.integers(1, 200))):
                promised = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            rest = writer.stdout.read().split()
        promised = int(rest[-1]) if rest else promised
        read = read_traffic(path)
        found = read.predictions["id"].to_list()
        assert found == [entry(number).id for number in range(len(found))]
        assert promised <= len(found) <= promised + 7
        assert read.predictions["label"].drop_nulls().len() in (promised // 7, promised // 7 + 1)
        assert read.cut is None
        start = len(found) // 7 * 7
        if len(found) % 7:
            start = len(found) + 7 - len(found) % 7
            log = PredictionLog(path, CLASSES)  # a restarted server goes on in the same file
            for number in range(len(found), start):
                log.add(entry(number))
            log.feedback(entry(start - 1).id, "star", 5000.0).result(20)
            log.close()


def test_two_writers_share_a_file(log: PredictionLog) -> None:
    """A server that is started before the old one has ended."""
    other = PredictionLog(log.path, CLASSES)
    for number in range(0, 1000, 2):
        log.add(entry(number))
        other.add(entry(number + 1))
    assert log.flush(30) and other.flush(30)
    assert other.feedback(entry(0).id, "star", 1.0).result(20) == "joined"
    assert log.feedback(entry(0).id, "star", 1.0).result(20) == "duplicate"
    other.close()
    assert len(read_traffic(log.path).predictions) == 1000
    assert log.lost == other.lost == 0


def test_no_pixel_is_in_the_log(log: PredictionLog) -> None:
    """Whoever adds a field to an entry has to think of this."""
    assert {field.name for field in dataclasses.fields(Entry)} == {
        *("id", "time", "identity", "probabilities", "attributes", "describes", "embedding", "sampled", "outcomes"),
        "image",
    }
