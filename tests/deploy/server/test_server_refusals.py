"""Everything wrong that can be sent: a 4xx with one sentence, and nobody else notices."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import pytest
from bad_requests import FILE, GOOD, IMAGES, LABELS, PNG, REQUESTS, Bad, form
from server_process import until

from evensight.records.traffic import read_traffic

ALL = {
    **{f"image: {name}": bad for name, bad in IMAGES.items()},
    **{f"request: {name}": bad for name, bad in REQUESTS.items()},
    **{f"label: {name}": bad for name, bad in LABELS.items()},
}


@pytest.mark.parametrize("name", ALL)
def test_a_bad_request_is_told_why_in_one_sentence(server, name):
    bad: Bad = ALL[name]
    content = bad.content() if callable(bad.content) else bad.content
    with server.client() as client:
        answer = client.request(bad.method, bad.path, content=content, headers=bad.headers)
        after = client.post("/predict", content=GOOD, headers=PNG)
    assert (answer.status_code, answer.json()["code"]) == (bad.status, bad.code), answer.text
    sentence = answer.json()["error"]
    assert bad.says in sentence
    assert sentence.isprintable()
    assert sentence.endswith((".", "?"))
    assert len(sentence) <= 400
    assert "Traceback" not in answer.text
    assert after.status_code == 200


def test_there_are_20_kinds_of_bad_images_and_bodies():
    assert len(IMAGES) >= 20
    assert {bad.status // 100 for bad in ALL.values()} == {4}


def test_a_declared_length_is_refused_before_a_byte_is_sent(server):
    """Or a client would send gigabytes first."""
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 99999999999\r\n\r\n"
    assert spoken(server, head.encode()).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_goes_away_leaves_the_server_well(server):
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n" + GOOD[:100]
    spoken(server, head, listen=False)
    assert spoken(server, b"\x00\x01\x02 nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    with server.client() as client:
        assert client.post("/predict", content=GOOD, headers=PNG).status_code == 200
        assert client.get("/ready").json()["ready"] is True


def test_neighbours_of_bad_images_are_answered_as_if_alone(server, predictor, images):
    """A broken file in a form, or in the same batch, changes nothing for the others."""
    broken = [
        bad.content for name, bad in IMAGES.items() if isinstance(bad.content, bytes) and len(bad.content) < 9_000
    ]
    sent = []
    for number, one in enumerate(broken):
        sent += [one, images[number % len(images)]]
    for start in range(0, len(sent), 8):
        part = sent[start : start + 8]
        with server.client() as client:
            answer = client.post("/predict", **form(*[(FILE, one) for one in part]))
        assert answer.status_code == 200
        expected = predictor.predict(part)
        assert [("label" in said) for said in answer.json()] == [one.error is None for one in expected]
        for said, one in zip(answer.json(), expected, strict=True):
            if one.error is None:
                assert said["label"] == one.label
                assert list(said["probabilities"].values()) == pytest.approx(one.probabilities, abs=1e-6)
            else:
                assert set(said) == {"error", "code"}


def test_what_was_refused_is_counted_and_logged(server):
    before = server.figure('evensight_errors_total{code="format"}')
    with server.client() as client:
        client.post("/predict", content=b"no image", headers=PNG)
        client.post("/predict", **form((FILE, b"no image"), (FILE, GOOD)))
    assert server.figure('evensight_errors_total{code="format"}') == before + 2
    until(lambda: (read_traffic(server.log).rejected["code"] == "format").sum() >= 2)


def spoken(server, sent: bytes, listen: bool = True) -> bytes:
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.sendall(sent)
        return connection.recv(4096) if listen else b""


def test_json_is_what_every_answer_is(server):
    with server.client() as client:
        for path in ("/health", "/ready", "/model", "/openapi.json", "/nowhere"):
            answer = client.get(path)
            assert answer.headers["content-type"] == "application/json"
            json.loads(answer.content)
