"""As much of Weights & Biases' service as its client needs to hand over runs, on this machine."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class StoredRun:
    """What the service holds of one run, by its id."""

    def __init__(self) -> None:
        self.files: dict[str, dict[int, str]] = {}  # of the stream: name: line number: text
        self.config: dict[str, Any] = {}
        self.exit_code: int | None = None
        self.upserts = 0

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows logged, in the order of their lines."""
        lines = self.files.get("wandb-history.jsonl", {})
        return [json.loads(lines[number]) for number in sorted(lines)]

    @property
    def summary(self) -> dict[str, Any]:
        """As the client sent it last."""
        lines = self.files.get("wandb-summary.json", {})
        return dict(json.loads(lines[max(lines)])) if lines else {}


class WandbService:
    """What was handed over, and how requests are answered.

    Attributes:
        runs: By id.
        artifacts: Names, types and metadata of artifacts announced.
        status: Of every answer; 200 answers properly.
        silent: Connections are taken and never answered.
        requests: Paths and names of operations, in order.
    """

    def __init__(self) -> None:
        self.runs: dict[str, StoredRun] = {}
        self.artifacts: list[dict[str, Any]] = []
        self.uploaded: dict[str, int] = {}
        self.status, self.silent = 200, False
        self.requests: list[str] = []
        self.released = threading.Event()
        self.url = ""

    def answer(self, path: str, body: Any) -> Any:
        """Returns the answer to a request and keeps what it brought."""
        if path.endswith("/file_stream"):
            return self._stream(path.split("/")[-2], body)
        name, given = body.get("operationName", ""), body.get("variables", {})
        self.requests.append(name)
        answers = {
            "RunResumeStatus": self._resume_status,
            "UpsertBucket": self._upsert_run,
            "CreateRunFiles": self._create_files,
            "CreateArtifact": self._create_artifact,
        }
        return {"data": answers[name](given) if name in answers else {}}

    def _stream(self, run: str, body: dict[str, Any]) -> dict[str, Any]:
        self.requests.append("file_stream")
        stored = self.runs.setdefault(run, StoredRun())
        for name, part in body.get("files", {}).items():
            lines = stored.files.setdefault(name, {})
            lines.update({part["offset"] + number: text for number, text in enumerate(part["content"])})
        if body.get("complete"):
            stored.exit_code = body.get("exitcode")
        return {}

    def _resume_status(self, given: dict[str, Any]) -> dict[str, Any]:
        stored = self.runs.get(given["name"])
        bucket = None
        if stored is not None:
            lines = {key: stored.files.get(f"wandb-{key}.jsonl", {}) for key in ("history", "events")}
            tails = {key: json.dumps([part[max(part)]] if part else []) for key, part in lines.items()}
            bucket = {
                "id": "id",
                "name": given["name"],
                "displayName": "shown",
                "tags": [],
                "notes": None,
                "summaryMetrics": json.dumps(stored.summary),
                "config": json.dumps(stored.config),
                "historyTail": tails["history"],
                "eventsTail": tails["events"],
                "wandbConfig": "{}",
                "historyLineCount": len(lines["history"]),
                "eventsLineCount": len(lines["events"]),
                "logLineCount": 0,
            }
        return {"model": {"id": "id", "name": "p", "entity": {"id": "id", "name": "us"}, "bucket": bucket}}

    def _upsert_run(self, given: dict[str, Any]) -> dict[str, Any]:
        inserted = given["name"] not in self.runs
        stored = self.runs.setdefault(given["name"], StoredRun())
        stored.upserts += 1
        stored.config = json.loads(given["config"] or "{}")
        project = {"id": "id", "name": given["project"] or "p", "entity": {"id": "id", "name": "us"}}
        bucket = {"id": "id", "name": given["name"], "displayName": "shown", "project": project, "config": "{}"}
        return {"upsertBucket": {"bucket": {**bucket, "historyLineCount": len(stored.history)}, "inserted": inserted}}

    def _create_files(self, given: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.url}/storage/{name}"} for name in given["files"]]
        return {"createRunFiles": {"runID": "id", "uploadHeaders": [], "files": files}}

    def _create_artifact(self, given: dict[str, Any]) -> dict[str, Any]:
        self.artifacts.append(given)
        # Known already, so that nothing of it is asked for.
        artifact = {"id": "id", "state": "COMMITTED", "artifactSequence": {"id": "id", "latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}


@contextmanager
def served() -> Iterator[WandbService]:
    """Runs the service on a port of this machine until the block ends."""
    service = WandbService()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if service.silent:
                service.released.wait()
                return
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            answer: Any = {"errors": [{"message": "refused"}], "data": None}
            if service.status == 200:
                known = self.path.endswith(("/graphql", "/file_stream"))
                answer = service.answer(self.path, json.loads(body)) if known else {}
                if self.path.startswith("/storage/"):
                    service.uploaded[self.path.removeprefix("/storage/")] = len(body)
            content = json.dumps(answer).encode()
            self.send_response(service.status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_PUT = do_POST  # noqa: N815  (http.server's own name)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads, block_on_close = True, False

        def handle_error(self, *_: Any) -> None:  # a client that went away
            pass

    server = Server(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
