"""SIGTERM while requests are under way: what was accepted is answered and logged, and the exit status is 0."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from bad_requests import PNG
from server_process import WAIT_S, serving, started_client, until

from evensight.records.traffic import read_traffic


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_all_that_was_accepted_is_answered_and_logged(made, folder, tmp_path):
    images, out = made.run.folder.parent / "images", tmp_path / "out.jsonl"
    with serving(made.artifact.folder, folder) as server:
        client = started_client(server.url, images, 1_000_000, out)
        try:
            until(lambda: len(lines(out)) > 100)
            assert server.stop() == 0
        finally:
            client.wait(WAIT_S)
    found = lines(out)
    # 503: told so; ConnectError: nobody listened any more. Anything else would be a request that was lost.
    assert {line.get("error") for line in found} <= {None, "ConnectError"}
    assert {line["status"] for line in found} <= {200, 503, 0}
    assert {line["answer"]["code"] for line in found if line["status"] == 503} <= {"draining"}
    answered = [line["answer"]["id"] for line in found if line["status"] == 200]
    assert len(answered) == len(set(answered)) > 100
    assert sorted(read_traffic(server.log).predictions["id"].to_list()) == sorted(answered)


@contextlib.contextmanager
def half_a_request(server, image: bytes) -> Iterator[socket.socket]:
    """A request whose second half is not sent yet, and which the server has begun to read."""
    address = urlsplit(server.url)
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(image)}\r\n\r\n"
    with socket.create_connection((address.hostname, address.port), timeout=WAIT_S) as connection:
        connection.sendall(head.encode() + image[:100])
        until(lambda: server.figure("evensight_requests") == 2)  # this one, and the one for the figure
        yield connection


def test_a_request_that_was_begun_is_answered_and_new_ones_are_told(made, folder, images):
    with serving(made.artifact.folder, folder) as server, server.client() as client:
        with half_a_request(server, images[0]) as connection:
            server.process.send_signal(signal.SIGINT)
            until(lambda: "draining: 1 requests" in server.errors.read_text())
            ready, new = client.get("/ready"), client.post("/predict", content=images[1], headers=PNG)
            health = client.get("/health")
            connection.sendall(images[0][100:])
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert (ready.status_code, ready.json()["code"]) == (503, "draining")
        assert (new.status_code, new.json()["code"], new.headers["retry-after"]) == (503, "draining", "5")
        assert health.status_code == 200
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b'"label"' in answer
        assert server.process.wait(WAIT_S) == 0


def test_a_second_signal_ends_it_at_once(made, folder, images):
    with serving(made.artifact.folder, folder) as server, half_a_request(server, images[0]):
        server.process.terminate()
        until(lambda: "draining: 1 requests" in server.errors.read_text())
        assert server.stop() == -signal.SIGTERM
