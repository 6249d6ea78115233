"""Those who send pictures to the server: a few connections that stay open, and drawn images of known truth."""

from __future__ import annotations

import http.client
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import numpy as np
from PIL import Image

from evensight.data.traffic import Drawn, DrawsTraffic
from evensight.errors import RunError

TIMEOUT_SECONDS = 60
_MOST_TRIES = 20
_CHUNK = 128  # images drawn at once
_IDLE_SECONDS = 2.0  # after which a connection is not trusted to be open still: servers close them after five


@dataclass(frozen=True)
class Request:
    """An image on its way: its place in the whole traffic, the wave it is of, and the truth about it."""

    number: int
    wave: str
    png: bytes
    label: str
    attributes: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """What the server said of a request.

    Attributes:
        request: What was sent.
        id: The server's name of the image, for feedback.
        label: The class it gave.
        confidence: Of that class.
        identity: Of the artifact that answered.
    """

    request: Request
    id: str
    label: str
    confidence: float
    identity: str

    @property
    def right(self) -> bool:
        """Whether the class is the true one."""
        return self.label == self.request.label


def requests(source: DrawsTraffic, wave: str, start: int, count: int, first: int) -> Iterator[Request]:
    """Draws requests.

    Args:
        source: Draws them.
        wave: Of `data.traffic.WAVES`.
        start: First image of the wave.
        count: Of requests.
        first: Number of the first request in the whole traffic.
    """
    for begin in range(0, count, _CHUNK):
        drawn = source.draw_traffic(wave, start + begin, min(_CHUNK, count - begin))
        for place, request in enumerate(_of(drawn)):
            yield Request(first + begin + place, wave, *request)


class Client:
    """Sends requests by several connections at once and returns the answers in the order of the requests.

    Args:
        address: ``http://host:port``.
        connections: At once.
    """

    def __init__(self, address: str, connections: int) -> None:
        self.address = urlsplit(address)
        self._pool = ThreadPoolExecutor(connections)
        self._own = threading.local()
        self._opened: list[http.client.HTTPConnection] = []

    def send(self, wanted: Sequence[Request], answered: Callable[[Answer], None] | None = None) -> list[Answer]:
        """Sends requests and waits for all answers.

        Args:
            wanted: In order.
            answered: Told of each answer as it comes, in the threads of the connections.

        Raises:
            RunError: If the server refuses one, or cannot be reached.
        """

        def one(request: Request) -> Answer:
            answer = self._predict(request)
            if answered is not None:
                answered(answer)
            return answer

        return list(self._pool.map(one, wanted))

    def feedback(self, answers: Sequence[Answer]) -> None:
        """Sends the true labels of answered images."""
        for answer in answers:
            body = json.dumps({"id": answer.id, "label": answer.request.label}).encode()
            self._call("POST", "/feedback", body, "application/json")

    def model(self) -> dict[str, Any]:
        """Returns what the server says of its model."""
        return self._call("GET", "/model", b"", "application/json")

    def close(self) -> None:
        """Closes the connections."""
        self._pool.shutdown(cancel_futures=True)
        for connection in self._opened:
            connection.close()

    def _predict(self, request: Request) -> Answer:
        query = urlencode({f"attribute.{name}": level for name, level in request.attributes.items()}, quote_via=quote)
        said = self._call("POST", f"/predict?{query}", request.png, "image/png")
        return Answer(request, said["id"], said["label"], float(said["confidence"]), said["identity"])

    def _call(self, method: str, path: str, body: bytes, kind: str) -> dict[str, Any]:
        for _ in range(_MOST_TRIES):
            status, after, content = self._exchange(method, path, body, kind)
            if status == 503:  # the queue is full, and says when to come again
                time.sleep(after)
                continue
            if status >= 300:
                raise RunError(f"the server answered {status} to {method} {path.split('?')[0]}: {content[:200]!r}.")
            found: dict[str, Any] = json.loads(content)
            return found
        raise RunError(f"the server was full at each of {_MOST_TRIES} tries of {method} {path.split('?')[0]}.")

    def _exchange(self, method: str, path: str, body: bytes, kind: str) -> tuple[int, float, bytes]:
        connection = self._connection()
        try:
            connection.request(method, path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, float(answer.getheader("Retry-After") or 1.0), answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise RunError(f"the server at {self.address.netloc} cannot be reached ({error!r}).") from error

    def _connection(self) -> http.client.HTTPConnection:
        """Returns this thread's own connection, open or to be opened."""
        now = time.monotonic()
        if hasattr(self._own, "connection"):
            if now - self._own.used > _IDLE_SECONDS:
                self._own.connection.close()  # opens itself with the next request
        else:
            host, port = self.address.hostname or "127.0.0.1", self.address.port
            self._own.connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
            self._opened.append(self._own.connection)
        self._own.used = now
        found: http.client.HTTPConnection = self._own.connection
        return found


def _of(drawn: Drawn) -> Iterator[tuple[bytes, str, dict[str, str]]]:
    for place, (image, label) in enumerate(zip(drawn.images, drawn.labels, strict=True)):
        levels = {name: column[place] for name, column in drawn.attributes.items()}
        yield _png(image), label, {name: level for name, level in levels.items() if level is not None}


def _png(image: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()
