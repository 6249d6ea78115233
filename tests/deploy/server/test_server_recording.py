"""What of an answer is logged: the keyed sample with its outcomes, and what happens where there is no room for it."""

from __future__ import annotations

import hashlib
import sqlite3
import time

import numpy as np
import pytest
from bad_requests import PNG
from server_process import WAIT_S, serving, until

from evensight.deploy.server.engine import Engine
from evensight.deploy.server.model import load
from evensight.deploy.server.recording import Given, Recorder, in_sample
from evensight.records.prediction_log import PredictionLog
from evensight.records.traffic import read_traffic


def test_the_sample_is_keyed_by_seed_and_id_and_as_large_as_asked_for():
    """SHA-256 as a number below the share, computed here by other means; 10,000 ids at 5 % within 4 sd."""
    ids = [hashlib.md5(str(number).encode()).hexdigest() for number in range(10_000)]
    chosen = [id for id in ids if in_sample(id, 7, 0.05)]
    assert abs(len(chosen) - 500) < 4 * (10_000 * 0.05 * 0.95) ** 0.5
    for id in ids[:200]:
        number = int(hashlib.sha256(f"evensight sample 7:{id}".encode()).hexdigest()[:16], 16)
        assert in_sample(id, 7, 0.05) == (number / 2**64 < 0.05)
    assert {in_sample(id, 7, 1.0) for id in ids} == {True}
    assert {in_sample(id, 7, 0.0) for id in ids} == {False}
    assert chosen != [id for id in ids if in_sample(id, 8, 0.05)]
    assert set(chosen) <= {id for id in ids if in_sample(id, 7, 0.2)}


def test_where_there_is_no_room_answers_are_logged_bare_and_counted(made, images, tmp_path):
    """There is room for two that wait, and 240 come at once."""
    model = load(made.artifact)
    engine = Engine(model, 8, 0.001, 64, 10**6)
    answers = [future.result(WAIT_S) for future in engine.submit(images[:12], time.monotonic() + WAIT_S)] * 20
    engine.close()
    recorder = Recorder(PredictionLog(tmp_path / "log.sqlite", model.classes), share=0.0, most=2)
    for number, answer in enumerate(answers):
        recorder.add(Given(f"{number:032x}", 1.0 + number, answer, {}))
    state = recorder.feedback(f"{0:032x}", "star")
    recorder.close()
    assert state.result(WAIT_S) == "joined"
    traffic = read_traffic(tmp_path / "log.sqlite")
    assert traffic.predictions.height == 240  # every answer is there
    described = np.isfinite(traffic.describes["colour"]).all(axis=1).sum()
    assert described == 240 - recorder.bare
    assert recorder.bare > 0
    assert not traffic.predictions["sampled"].any()


@pytest.mark.parametrize("how", ["locked", pytest.param("removed", marks=pytest.mark.slow)])
def test_predictions_go_on_while_the_log_cannot_be_written(made, folder, images, how):
    """Another process holds the file's lock, or somebody removed the folder: counted, shown, and made good."""
    with serving(made.artifact.folder, folder, "deadline_s=3") as server, server.client() as client:
        first = client.post("/predict", content=images[0], headers=PNG).json()
        until(lambda: first["id"] in read_traffic(server.log).predictions["id"].to_list())
        moved = folder.with_name("moved")
        if how == "locked":
            holder = sqlite3.connect(server.log, isolation_level=None)
            holder.execute("BEGIN IMMEDIATE")
        else:
            folder.rename(moved)
            folder.write_text("in the way")
        said = [client.post("/predict", content=one, headers=PNG).json() for one in images[:20]]
        assert all("label" in one for one in said)
        until(lambda: server.figure("evensight_log_failing") == 1)
        late = client.post("/feedback", json={"id": said[0]["id"], "label": "star"})
        assert (late.status_code, late.json()["code"]) == (503, "log")
        assert client.post("/predict", content=images[0], headers=PNG).status_code == 200
        assert client.get("/ready").status_code == 200
        if how == "locked":
            holder.execute("ROLLBACK")
            holder.close()
        else:
            folder.unlink()
            moved.rename(folder)
        until(lambda: server.figure("evensight_log_failing") == 0)
        ids = {one["id"] for one in said}
        until(lambda: ids <= set(read_traffic(server.log).predictions["id"].to_list()))
        assert server.figure("evensight_log_lost_total") == 0
