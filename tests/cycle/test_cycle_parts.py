"""The parts of a cycle: wrong, the page would tell another story than what server, annotators and log saw."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evensight.cycle.annotators import annotated
from evensight.cycle.client import Answer, Client, Request, requests
from evensight.cycle.live import Live, worst_operators
from evensight.cycle.service import served
from evensight.cycle.story import Story
from evensight.data.datasets.shapes import ShapesReader
from evensight.errors import RunError
from evensight.report.cycle import cycle_summary, read_story, write_cycle_page


class Server(BaseHTTPRequestHandler):
    """Answers as the contract of /predict says; full at first where it is told to be."""

    protocol_version = "HTTP/1.1"
    refusals = 0
    status = 200
    seen: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        cls = type(self)
        cls.seen.append((self.path, body))
        if cls.refusals > 0:
            cls.refusals -= 1
            return self._say(503, {"error": "full", "code": "full"}, {"Retry-After": "0"})
        answer = {"id": f"{len(cls.seen):032x}", "label": "circle", "confidence": 0.75, "identity": "a" * 64}
        return self._say(cls.status, answer, {})

    def _say(self, status: int, value: dict[str, Any], headers: dict[str, str]) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        for name, text in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(refusals: int = 0, status: int = 200) -> Iterator[tuple[str, type[Server]]]:
    handler = type("Handler", (Server,), {"refusals": refusals, "status": status, "seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def drawn(count: int, first: int = 0) -> list[Request]:
    return list(requests(ShapesReader(), "cue_free", 0, count, first))


def test_requests_carry_the_truth_and_what_the_objective_knows() -> None:
    wanted = drawn(9, first=100)
    assert [one.number for one in wanted] == list(range(100, 109))
    assert len({one.label for one in wanted}) > 1
    assert set(wanted[0].attributes) == {"colour", "background", "size"}
    new = list(requests(ShapesReader(), "new_background", 0, 1, 0))
    assert set(new[0].attributes) == {"colour", "size"}


@pytest.mark.parametrize("connections", [1, 4])
def test_answers_come_back_in_the_order_of_the_requests(connections: int) -> None:
    with serving() as (address, handler):
        client = Client(address, connections)
        answers = client.send(drawn(12))
        client.close()
    assert [answer.request.number for answer in answers] == list(range(12))
    assert len({answer.id for answer in answers}) == len(handler.seen) == 12
    assert [answer.right for answer in answers] == [one.label == "circle" for one in drawn(12)]
    assert all("attribute.colour=" in path for path, _ in handler.seen)
    assert all(body.startswith(b"\x89PNG") for _, body in handler.seen)


def test_a_full_server_is_asked_again() -> None:
    with serving(refusals=3) as (address, handler):
        client = Client(address, 1)
        assert len(client.send(drawn(2))) == 2
        client.close()
    assert len(handler.seen) == 5


def test_a_refusal_ends_the_cycle_with_what_the_server_said() -> None:
    with serving(status=400) as (address, _), pytest.raises(RunError, match="answered 400 to POST /predict"):
        client = Client(address, 1)
        try:
            client.send(drawn(1))
        finally:
            client.close()


def test_a_server_that_does_not_start_is_said_with_its_last_line(tmp_path: Path) -> None:
    with (
        pytest.raises(RunError, match=r"did not become ready; it said: .*artifact"),
        served(["artifact=nowhere", "port=0"], tmp_path / "serve.log"),
    ):
        pass


def answers_of(wanted: list[Request]) -> list[Answer]:
    return [Answer(one, f"{one.number:032x}", "circle", 0.5, "a" * 64) for one in wanted]


def test_annotators_answer_by_the_truth_and_leave_unknown_levels_empty(tmp_path: Path) -> None:
    known, new = drawn(3), list(requests(ShapesReader(), "new_background", 5, 1, 50))
    answers = {answer.id: answer for answer in answers_of([*known, *new])}
    table = pl.DataFrame(
        {
            "id": list(answers)[::-1],
            "reason": ["control"] * 4,
            "label": [""] * 4,
            "colour": [""] * 4,
            "background": [""] * 4,
        }
    )
    table.write_csv(tmp_path / "to_annotate.csv")
    assert annotated(tmp_path / "to_annotate.csv", answers, tmp_path / "answers.csv") == 4
    filled = pl.read_csv(tmp_path / "answers.csv", infer_schema=False)
    truth = [*known, *new][::-1]
    assert filled["label"].to_list() == [one.label for one in truth]
    assert filled["colour"].to_list() == [one.attributes["colour"] for one in truth]
    assert filled["background"].to_list()[0] in ("", None)
    assert filled["background"].to_list()[1:] == [one.attributes["background"] for one in truth[1:]]


def test_the_labels_that_come_back_are_the_share_that_was_asked_for() -> None:
    from evensight.config import CycleConfig

    live = Live(CycleConfig(labelled=0.3), ShapesReader(), Client("http://127.0.0.1:1", 1), Path("none"), Story(Path()))
    # Six standard errors of 10,000 draws are .027.
    assert abs(sum(live.labelled(number) for number in range(10_000)) / 10_000 - 0.3) < 0.027
    none = Live(CycleConfig(labelled=0.0), ShapesReader(), Client("http://127.0.0.1:1", 1), Path("none"), Story(Path()))
    assert not any(none.labelled(number) for number in range(1000))


def test_of_a_cue_the_operator_that_pulls_most_is_told() -> None:
    outcomes = pl.DataFrame(
        {
            "cue": ["colour"] * 6,
            "operator": ["hue"] * 3 + ["tint"] * 3,
            "transplant": [True, False, False, True, True, False],
            "placebo": [False, True, False, False, True, False],
        }
    )
    assert worst_operators(outcomes) == {"colour": {"operator": "tint", "first": 1, "second": 0, "n": 3}}
    assert worst_operators(outcomes.clear()) == {}


def told(folder: Path) -> Story:
    story = Story(folder)
    story.facts = {"experiment": "shapes", "ended": "it did not come to its end", "status": 1}
    with story.step("Stage 1: the objective") as said:
        said.append("Tell shapes apart <by their shape>.")
    story.traffic("as_trained", answers_of(drawn(8)), 0)
    story.moment(7, "requirement: reliance on colour", "alarm")
    story.moment(3, "shift: labels", "shift")
    story.write()
    return story


def test_a_cycle_that_did_not_come_to_its_end_is_told_as_far_as_it_came(tmp_path: Path) -> None:
    told(tmp_path)
    story = read_story(tmp_path)
    assert [moment["after"] for moment in story["moments"]] == [3, 7]
    assert story["blocks"][0]["right"] == sum(one.label == "circle" for one in drawn(8))
    page = write_cycle_page(tmp_path).read_text(encoding="utf-8")
    assert "Tell shapes apart &lt;by their shape&gt;." in page
    assert "http" not in page.replace("http://www.w3.org", "")
    lines = cycle_summary(tmp_path, 100).splitlines()
    assert lines[0] == "cycle: it did not come to its end"
    assert "after 3 requests" in lines[1]


def test_a_step_that_fails_is_in_the_story_with_its_time(tmp_path: Path) -> None:
    story = Story(tmp_path)
    with pytest.raises(KeyError), story.step("Stage 2: the audit"):
        raise KeyError("x")
    steps = read_story(tmp_path)["steps"]
    assert steps[0]["name"] == "Stage 2: the audit"
    assert steps[0]["seconds"] >= 0
