"""The reader of the prediction log: whatever is left of a file is read as far as it is whole, or told in a sentence."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from known_logs import CLASSES, FIRST, SECOND, entry, write

from evensight.errors import UserError
from evensight.records.prediction_log import Entry, PredictionLog
from evensight.records.traffic import Traffic, read_traffic

NUM = 240


def logged(path: Path, write: Callable[[PredictionLog], object]) -> Traffic:
    log = PredictionLog(path, CLASSES)
    write(log)
    assert log.flush()
    log.close()
    return read_traffic(path)


def test_an_empty_log_has_every_table_and_no_row(tmp_path: Path) -> None:
    read = logged(tmp_path / "log.sqlite", lambda log: None)
    full = logged(tmp_path / "full.sqlite", lambda log: log.add(entry(1)))
    assert read.classes == CLASSES
    assert dict(read.predictions.schema) == {
        name: kind for name, kind in full.predictions.schema.items() if name != "attribute:colour"
    }
    assert read.predictions.schema["probabilities"] == pl.List(pl.Float32)
    assert read.outcomes.schema == full.outcomes.schema
    tables = (read.predictions, read.outcomes, read.rejected, read.swaps)
    assert [len(table) for table in tables] == [0, 0, 0, 0]
    assert (read.describes, read.embeddings, read.identities, read.cut) == ({}, None, {}, None)
    assert (read.unknown_feedback, read.conflicts, read.duplicates, read.late) == (0, 0, 0, 0)


def test_one_class_only(tmp_path: Path) -> None:
    read = logged(
        tmp_path / "log.sqlite",
        lambda log: [
            (log.add(entry(number, winner=2)), log.feedback(entry(number).id, "star", 1.0)) for number in [1, 2]
        ],
    )
    assert read.predictions.select("prediction", "label", "confidence").rows() == [(2, 2, 0.75)] * 2


def test_only_what_was_asked_for(tmp_path: Path) -> None:
    def write(log: PredictionLog) -> None:
        log.swap(100.0, FIRST)
        for number in (3, 1, 2, 5, 4):  # requests end in another order than they began in
            log.add(entry(number, FIRST if number < 3 else SECOND))
            log.feedback(entry(number).id, "star", 300.0)
        log.feedback(entry(1).id, "circle", 300.0)
        log.feedback(entry(4).id, "star", 300.0)
        log.feedback("7" * 32, "star", 300.0)
        log.reject(101.0, "413")
        log.reject(104.0, "415")
        log.swap(103.0, SECOND)

    path = tmp_path / "log.sqlite"
    read = logged(path, write)
    assert [int(id, 16) for id in read.predictions["id"]] == [1, 2, 3, 4, 5]
    assert read.identities == {FIRST: 2, SECOND: 3}
    assert (read.unknown_feedback, read.conflicts, read.duplicates, read.late) == (1, 1, 1, 2)
    of_second = read_traffic(path, artifact=SECOND)
    assert [int(id, 16) for id in of_second.predictions["id"]] == [3, 4, 5]
    assert of_second.identities == {FIRST: 2, SECOND: 3}
    assert (of_second.unknown_feedback, of_second.conflicts, of_second.duplicates, of_second.late) == (1, 0, 1, 0)
    assert of_second.describes["colour"].shape == (3, 5)
    late = read_traffic(path, since=102.0)
    assert [int(id, 16) for id in late.predictions["id"]] == [2, 3, 4, 5]
    assert late.rejected.rows() == [(104.0, "415")]
    assert late.swaps.rows() == [(103.0, SECOND)]
    assert late.identities == {FIRST: 1, SECOND: 3}
    assert len(read_traffic(path, artifact="c" * 64).predictions) == 0


@pytest.mark.parametrize(
    ("swaps", "label_time", "late"),
    [
        ([], 101.5, 0),  # nothing else has answered yet
        ([], 103.0, 1),  # the other has
        ([(99.0, FIRST), (150.0, SECOND)], 149.0, 0),
        ([(99.0, FIRST), (150.0, SECOND)], 150.0, 1),
        ([(99.0, FIRST), (150.0, SECOND), (160.0, FIRST)], 170.0, 0),  # rolled back: it is the newest again
        ([(150.0, SECOND)], 120.0, 1),
        ([(120.0, FIRST), (150.0, SECOND)], 130.0, 0),
    ],
)
def test_a_label_is_late_when_another_model_serves(
    tmp_path: Path, swaps: list[tuple[float, str]], label_time: float, late: int
) -> None:
    """Image 1 is answered by the first model at 101, image 2 by the second at 102."""

    def write(log: PredictionLog) -> None:
        log.add(entry(1, FIRST))
        log.add(entry(2, SECOND))
        for swap in swaps:
            log.swap(*swap)
        log.feedback(entry(1).id, "star", label_time)

    assert logged(tmp_path / "log.sqlite", write).late == late


def test_vectors_of_other_lengths_are_absent(tmp_path: Path) -> None:
    """A log may hold the answers of networks that differ."""
    old = dataclasses.replace(entry(1), embedding=np.ones(7, np.float32), describes={"colour": np.ones(3, np.float32)})
    none = dataclasses.replace(entry(2), embedding=None, describes={})
    read = logged(tmp_path / "log.sqlite", lambda log: [log.add(one) for one in (old, none, entry(3))])
    assert read.embeddings is not None
    assert np.isnan(read.embeddings).all(axis=1).tolist() == [True, True, False]
    assert {cue: np.isnan(values).all(axis=1).tolist() for cue, values in read.describes.items()} == {
        "colour": [True, True, False],
        "frame_size": [True, True, False],
    }
    assert read.describes["colour"].shape == (3, 5)


def test_a_log_that_may_only_be_read(tmp_path: Path) -> None:
    """SQLite wants to put a file of its own beside it; the folder is another user's, or on a medium for reading."""
    if os.geteuid() != 0:
        user, folder = os.geteuid(), tmp_path
    else:
        user, folder = 65_534, Path("/tmp") / f"evensight_{os.getpid()}_read_only"
        folder.mkdir()
    try:
        write(folder / "log.sqlite", range(50))
        folder.chmod(0o555)
        before = sorted(folder.iterdir())
        os.seteuid(user)
        read = read_traffic(folder / "log.sqlite")
    finally:
        os.seteuid(os.getuid())
        folder.chmod(0o755)
    assert (len(read.predictions), read.cut) == (50, None)
    assert sorted(folder.iterdir()) == before
    if folder != tmp_path:
        shutil.rmtree(folder)


def test_no_log(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no prediction log at"):
        read_traffic(tmp_path / "log.sqlite")
    (tmp_path / "log.sqlite").touch()
    with pytest.raises(UserError, match=r"is empty; nothing was ever logged in it"):
        read_traffic(tmp_path / "log.sqlite")


ENDED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from known_logs import CLASSES, entry
from evensight.records.prediction_log import PredictionLog
log = PredictionLog(Path(sys.argv[1]), CLASSES)
for number in range(int(sys.argv[3]), int(sys.argv[4])):
    log.add(entry(number))
    if number % 3 == 0:
        log.feedback(entry(number).id, "star", 5000.0).result()
log.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


class Broken:
    """A log as a killed process leaves it; a test that fails prints none of its bytes."""

    def __init__(self, path: Path) -> None:
        self.main, self.wal, self.folder = path.read_bytes(), Path(f"{path}-wal").read_bytes(), path.parent

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.folder})"


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Broken:
    folder = tmp_path_factory.mktemp("log")
    path, here = folder / "log.sqlite", str(Path(__file__).parent)
    write(path, range(NUM // 2))
    done = subprocess.run([sys.executable, "-c", ENDED, str(path), here, str(NUM // 2), str(NUM)], check=False)
    assert done.returncode == -signal.SIGKILL
    return Broken(path)


def read_left(main: bytes, wal: bytes | None, folder: Path) -> Traffic | None:
    """Reads what is left of a log, and checks all of it against what was written; None for a sentence."""
    path = folder / "left.sqlite"
    for name in folder.glob("left.sqlite*"):
        name.unlink()
    path.write_bytes(main)
    if wal is not None:
        Path(f"{path}-wal").write_bytes(wal)
    try:
        read = read_traffic(path)
    except UserError as error:
        assert str(error).startswith(f"log: {path} ")
        assert "\n" not in str(error)
        return None
    assert (path.read_bytes(), read.classes) == (main, CLASSES)
    for place, row in enumerate(read.predictions.rows(named=True)):
        check_row(read, place, row, entry(int(row["id"], 16)))
    assert read.predictions["id"].is_unique().all()
    outcomes = {row[0]: 0 for row in read.outcomes.rows()}
    assert set(outcomes) == set(read.predictions.filter("sampled")["id"])
    assert len(read.outcomes) == 2 * len(outcomes)
    assert (read.duplicates, read.late) == (0, 0)
    assert set(read.rejected.rows()) <= {(150.0, "415")}
    assert set(read.swaps.rows()) <= {(99.0, FIRST)}
    return read


def check_row(read: Traffic, place: int, row: dict[str, object], made: Entry) -> None:
    probabilities = made.probabilities.tolist()
    assert (row["id"], row["time"], row["identity"]) == (made.id, made.time, made.identity)
    assert (row["probabilities"], row["sampled"], row["image"]) == (probabilities, made.sampled, made.image)
    assert math.isfinite(row["confidence"])  # type: ignore[arg-type]
    for cue, value in made.describes.items():
        np.testing.assert_array_equal(read.describes[cue][place], value)
    assert read.embeddings is not None and made.embedding is not None
    np.testing.assert_array_equal(read.embeddings[place], made.embedding.astype(np.float16))
    number = int(made.id, 16)
    labels = {number % 3, (number + 1) % 3} if number < NUM // 2 else {2}
    assert row["label"] is None or row["label"] in labels
    assert (row["label"] is None) == (row["label_state"] != "labelled")


def test_what_a_killed_writer_left_is_whole(broken: Broken) -> None:
    main, wal, folder = broken.main, broken.wal, broken.folder
    read = read_left(main, wal, folder)
    assert read is not None
    assert (len(read.predictions), read.cut) == (NUM, None)
    assert read.conflicts == len(range(0, NUM // 2, 9))


def test_without_its_wal_a_log_is_read_as_it_was_before(broken: Broken) -> None:
    main, folder = broken.main, broken.folder
    read = read_left(main, None, folder)
    assert read is not None
    assert (len(read.predictions), read.cut) == (NUM // 2, None)


def test_a_wal_cut_short_is_read_to_its_last_whole_transaction(broken: Broken) -> None:
    main, wal, folder = broken.main, broken.wal, broken.folder
    counts = []
    for end in np.linspace(0, len(wal), 40).astype(int):
        read = read_left(main, wal[:end], folder)
        assert read is not None and read.cut is None
        counts.append(len(read.predictions))
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (NUM // 2, NUM)


def test_a_file_cut_short_gives_more_the_more_is_left(broken: Broken) -> None:
    main, folder = broken.main, broken.folder
    counts = []
    for end in range(0, len(main) + 1, 2048):
        read = read_left(main[:end], None, folder)
        assert read is None or end == len(main) or read.cut is not None
        counts.append(len(read.predictions) if read else -1)
    assert counts[0] == -1
    assert counts[-1] == NUM // 2
    assert counts == sorted(counts)
    assert len(set(counts)) > 8


PLACE = st.floats(0, 1)  # 0 is the first byte, 1 the last


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(end=PLACE, wal_end=st.none() | PLACE)
def test_whatever_is_left_is_whole_or_told(broken: Broken, end: float, wal_end: float | None) -> None:
    """`read_left` compares each row with what was written."""
    main, wal, folder = broken.main, broken.wal, broken.folder
    read_left(main[: round(end * len(main))], None if wal_end is None else wal[: round(wal_end * len(wal))], folder)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=PLACE, bits=st.integers(1, 255), with_wal=st.booleans())
def test_an_altered_byte_alters_no_row(broken: Broken, place: float, bits: int, with_wal: bool) -> None:
    main, wal, folder = broken.main, broken.wal, broken.folder
    altered = bytearray(main)
    altered[round(place * (len(main) - 1))] ^= bits
    read_left(bytes(altered), wal if with_wal else None, folder)
