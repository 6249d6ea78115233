"""Micro-batches, the bounded queue and the deadline."""

from __future__ import annotations

import json
import time

import pytest
from bad_requests import PNG
from server_process import WAIT_S, serving, started_client

from evensight.deploy.server.engine import Engine, FullError, LateError
from evensight.deploy.server.model import load
from evensight.records.traffic import read_traffic
from evensight.runtime.decode import DecodeError
from evensight.runtime.predictor import Predictor


@pytest.fixture(scope="module")
def model(made):
    return load(made.artifact)


def far() -> float:
    return time.monotonic() + WAIT_S


def test_images_that_come_together_are_judged_together_and_stay_themselves(model, predictor, images):
    """64 images, one in three broken: as the predictor says of each, in fewer calls than images."""
    batches: list[int] = []
    engine = Engine(model, 16, 0.2, 100, 10**6, num_threads=1, on_batch=batches.append)
    sent = [b"broken" if number % 3 == 1 else images[number % len(images)] for number in range(64)]
    futures = engine.submit(sent, far())
    for one, future in zip(predictor.predict(sent), futures, strict=True):
        error = future.exception(WAIT_S)
        if one.error is not None:
            assert isinstance(error, DecodeError)
        else:
            assert error is None
            assert future.result().probabilities == pytest.approx(one.probabilities, abs=1e-6)
            assert future.result().size == (40, 48)
    engine.close()
    assert sum(batches) == sum(one != b"broken" for one in sent)
    assert max(batches) <= 16
    assert len(batches) < sum(batches)
    assert engine.under_way == 0


def test_a_model_that_is_swapped_in_answers_for_itself(model, other, images):
    """Whatever is under way at the swap keeps the model that preprocessed it, and says so."""
    engine = Engine(model, 4, 0.01, 1000, 10**6)
    second = load(other(1))
    futures = []
    for number in range(60):
        if number == 30:
            engine.swap(second)
        futures += engine.submit([images[number % len(images)]], far())
    answers = [future.result(WAIT_S) for future in futures]
    engine.close()
    known = {one.identity: Predictor(one.artifact.folder) for one in (model, second)}
    for number, answer in enumerate(answers):
        (one,) = known[answer.model.identity].predict([images[number % len(images)]])
        assert answer.probabilities == pytest.approx(one.probabilities, abs=1e-6)
    assert {answer.model.identity for answer in answers[30:]} == {second.identity}


def test_a_full_queue_takes_none_of_a_form_and_says_when(model, images):
    engine = Engine(model, 4, 0.01, 3, 10**6)
    with pytest.raises(FullError) as full:
        engine.submit(images[:4], far())
    assert full.value.retry_after >= 1
    assert [future.result(WAIT_S).label for future in engine.submit(images[:3], far())]
    engine.close()


def test_what_is_late_is_not_judged(model, images):
    batches: list[int] = []
    engine = Engine(model, 4, 0.01, 100, 10**6, on_batch=batches.append)
    futures = engine.submit(images[:5], time.monotonic() - 1)
    assert {type(future.exception(WAIT_S)) for future in futures} == {LateError}
    engine.close()
    assert batches == []
    assert engine.under_way == 0


def test_fewer_pixels_and_formats_are_the_limit(model, images):
    """The smaller of the server's and the contract's limit holds, and the contract's formats."""
    import dataclasses

    contract = model.artifact.contract
    png = contract.model_copy(update={"limits": contract.limits.model_copy(update={"formats": ("JPEG",)})})
    small = contract.model_copy(update={"limits": contract.limits.model_copy(update={"max_pixels": 1919})})
    cases = [(contract, 1919, "too_large"), (small, 10**6, "too_large"), (png, 10**6, "format"), (contract, 1920, None)]
    for stated, most, code in cases:
        artifact = dataclasses.replace(model.artifact, contract=stated)
        engine = Engine(dataclasses.replace(model, artifact=artifact), 4, 0.01, 100, most)
        error = engine.submit(images[:1], far())[0].exception(WAIT_S)
        engine.close()
        assert getattr(error, "code", None) == code


def test_a_full_server_says_503_and_a_late_one_504(other, made, folder, tmp_path, images):
    """A model that takes some hundredths of a second, a deadline of 5 ms, a queue of one image."""
    out = tmp_path / "out.jsonl"
    options = ("queue=1", "max_images=1", "deadline_s=0.005")
    with serving(other(slow=True).folder, folder, *options) as server:
        with server.client() as client:
            late = client.post("/predict", content=images[0], headers=PNG)
            assert (late.status_code, late.json()["code"]) == (504, "deadline")
            assert client.post("/explain", content=images[0], headers=PNG).status_code == 504
        # 16 at once: the client ends at its first 503.
        assert started_client(server.url, made.run.folder.parent / "images", 100_000, out).wait(WAIT_S) == 0
        said = [line for line in map(json.loads, out.read_text().splitlines()) if line["status"] == 503]
        assert said
        assert {line["answer"]["code"] for line in said} == {"busy"}
        assert all(int(line["retry_after"]) >= 1 for line in said)
        assert server.figure('evensight_errors_total{code="busy"}') == len(said)
        with server.client() as client:
            assert client.get("/ready").status_code == 200
        assert server.stop() == 0
    traffic = read_traffic(server.log)
    assert traffic.predictions.height == 0
    assert set(traffic.rejected["code"]) == {"deadline", "busy"}
