"""Requests that no server should answer, and what this one says of each."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

PNG, JSON = {"Content-Type": "image/png"}, {"Content-Type": "application/json"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=line"}


@dataclass(frozen=True)
class Bad:
    """A request, and the status and code of its answer; `says` is in the sentence."""

    status: int
    code: str
    says: str = ""
    content: Any = None
    headers: dict[str, str] = field(default_factory=lambda: PNG)
    path: str = "/predict"
    method: str = "POST"


def picture(kind: str, size: tuple[int, int] = (48, 40), mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(noise).convert(mode).save(stream, kind)
    return stream.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def floats() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.linspace(-3, 900, 64, dtype=np.float32).reshape(8, 8)).save(stream, "TIFF")
    return stream.getvalue()


def form(*parts: tuple[str, bytes], end: bytes = b"--line--\r\n") -> dict[str, Any]:
    """A multipart body of (the parameters of a disposition, content)."""
    body = b"".join(
        b"--line\r\nContent-Disposition: form-data; " + disposition.encode("latin-1") + b"\r\n\r\n" + content + b"\r\n"
        for disposition, content in parts
    )
    return {"content": body + end, "headers": MULTIPART}


def drops(size: int) -> Iterator[bytes]:
    """A body of unsaid length."""
    for _ in range(size // 1000):
        yield b"x" * 1000


def label(**said: Any) -> dict[str, Any]:
    return {"content": json.dumps(said).encode(), "headers": JSON, "path": "/feedback"}


GOOD = picture("PNG")
FILE = 'name="image"; filename="a.png"'
ID = "0" * 32
COLOUR = "/predict?attribute.colour"

IMAGES = {
    "empty": Bad(400, "empty", "empty", b""),
    "no body": Bad(400, "empty", "empty", None),
    "text": Bad(415, "format", "not an image of", b"hello, I am a picture"),
    "html": Bad(415, "format", "not an image of", b"<html><body>no</body></html>"),
    "svg": Bad(
        415,
        "format",
        "not an image of",
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        {"Content-Type": "image/svg+xml"},
    ),
    "pdf": Bad(415, "format", "not an image of", b"%PDF-1.7\n1 0 obj", {"Content-Type": "image/pdf"}),
    "postscript": Bad(415, "format", "not an image of", b"%!PS-Adobe-3.0 EPSF-3.0\n"),
    "icon": Bad(415, "format", "not an image of", picture("ICO")),
    "targa": Bad(415, "format", "not an image of", picture("TGA")),
    "png header alone": Bad(415, "format", "not an image of", GOOD[:8]),
    "png cut": Bad(422, "corrupt", "truncated", GOOD[:2000]),
    "png broken": Bad(422, "corrupt", "", GOOD[:60] + bytes(800) + GOOD[860:]),
    "jpeg cut": Bad(422, "corrupt", "truncated", picture("JPEG")[:700]),
    "webp cut": Bad(422, "corrupt", "", picture("WEBP")[:200]),
    "bomb": Bad(413, "too_large", "pixels", bomb(30_000, 30_000)),
    "bomb just above": Bad(413, "too_large", "40,000,000", bomb(8_000, 5_001)),
    "floats": Bad(422, "range", "[0, 1]", floats()),
    "laboratory colours": Bad(422, "mode", "LAB", picture("TIFF", mode="LAB")),
    "too large, declared": Bad(413, "body_too_large", "200,000", b"x" * 200_001),
    "too large, in pieces": Bad(413, "body_too_large", "200,000", lambda: drops(300_000)),
}
REQUESTS = {
    "json for an image": Bad(415, "content_type", "image/png", b'{"image": 1}', JSON),
    "no content type": Bad(415, "content_type", "nothing", GOOD, {}),
    "address for an image": Bad(415, "content_type", "", b"http://127.0.0.1/a.png", {"Content-Type": "text/uri-list"}),
    "form without boundary": Bad(400, "multipart", "boundary", b"x", {"Content-Type": "multipart/form-data"}),
    "form of another boundary": Bad(400, "multipart", "", b"--other\r\n", MULTIPART),
    "form that is none": Bad(400, "multipart", "", b"hello", MULTIPART),
    "form broken off": Bad(400, "multipart", "breaks off", **form((FILE, GOOD), end=b"")),
    "broken off inside": Bad(400, "multipart", "breaks off", **form((FILE, GOOD), (FILE, GOOD), end=b"--line\r\nCont")),
    "form without files": Bad(400, "no_image", "no file", **form(end=b"--line--\r\n")),
    "form without names": Bad(400, "multipart", "name", **form(("", b"x"))),
    "field for a file": Bad(400, "attribute", "attribute.colour", **form((FILE, GOOD), ('name="image"', b"x"))),
    "form with too many files": Bad(413, "too_many", "at most 8", **form(*[(FILE, GOOD)] * 9)),
    "huge field": Bad(400, "multipart", "", **form((FILE, GOOD), ('name="attribute.colour"', b"x" * 10_000))),
    "form of broken files": Bad(422, "no_image", "none of the 2", **form((FILE, b"no"), (FILE, b""))),
    "NUL in a name": Bad(400, "attribute", "\\x00", **form((FILE, GOOD), ('name="attribute.\x00"', b"red"))),
    "attribute unknown": Bad(400, "attribute", "'attribute.colour'?", GOOD, path="/predict?attribute.color=red"),
    "attribute of no level": Bad(400, "attribute", "'green'?", GOOD, path=f"{COLOUR}=greem"),
    "attribute twice": Bad(400, "attribute", "2 times", GOOD, path=f"{COLOUR}=red&attribute.colour=red"),
    "attribute of NULs": Bad(400, "attribute", "\\x00", GOOD, path="/predict?attribute.%00=%00"),
    "parameter unknown": Bad(400, "attribute", "attribute.colour", GOOD, path="/predict?explain=maybe"),
    "explain several": Bad(413, "too_many", "at most 1 image", **form((FILE, GOOD), (FILE, GOOD)), path="/explain"),
    "explain text": Bad(415, "format", "not an image of", b"hello", path="/explain"),
    "page of another site": Bad(403, "other_site", "other sites", GOOD, {**PNG, "Sec-Fetch-Site": "cross-site"}),
    "path unknown": Bad(404, "path", "Did you mean '/predict'", GOOD, path="/predct"),
    "path that climbs": Bad(404, "path", "nothing here", path="/../../etc/passwd", method="GET"),
    "method unknown": Bad(405, "method", "POST", path="/predict", method="GET"),
    "method odd": Bad(405, "method", "POST", GOOD, method="BREW"),
    "page posted to": Bad(405, "method", "GET", GOOD, path="/"),
}  # fmt: skip
LABELS = {
    "not json": Bad(400, "json", "not JSON", b"{id: 1", JSON, "/feedback"),
    "not text": Bad(400, "json", "not JSON", b"\xff\xfe\x00", JSON, "/feedback"),
    "nested": Bad(400, "json", "", b"[" * 60_000, JSON, "/feedback"),
    "empty": Bad(400, "json", "not JSON", b"", JSON, "/feedback"),
    "a list": Bad(400, "json", "not a JSON object", b"[1, 2]", JSON, "/feedback"),
    "no label": Bad(400, "json", "label: found nothing", **label(id=ID)),
    "a number": Bad(400, "json", "id: found 5", **label(id=5, label="star")),
    "another key": Bad(400, "json", "Did you mean 'label'", **label(id=ID, labels="star")),
    "no class": Bad(400, "feedback", "Did you mean 'circle'", **label(id=ID, label="circel")),
    "no id": Bad(400, "feedback", "id", **label(id="\x00", label="star")),
    "id of nobody": Bad(404, "unknown_id", ID, **label(id=ID, label="star")),
    "a form": Bad(415, "content_type", "application/json", b"id=1", {"Content-Type": "text/plain"}, "/feedback"),
    "too large": Bad(413, "body_too_large", "65,536", **label(id=ID, label="x" * 70_000)),
}
