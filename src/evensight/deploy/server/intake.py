"""From a request to images and attributes: what is too large or is none is refused before it is held or decoded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from evensight.deploy.server.refusals import RefusedError
from evensight.errors import nearest, shown, unknown

ATTRIBUTE = "attribute."  # begins the name of a query parameter or a form field that is an attribute
MOST_FIELDS = 1000
MOST_FIELD_BYTES = 4096
MOST_JSON_BYTES = 64 * 2**10
READING_S = 60.0  # for a body to arrive
MOST_HELD_BYTES = 2**30  # of all bodies that are being read or waited for


@dataclass(frozen=True)
class Sent:
    """What a request brought.

    Attributes:
        images: Encoded.
        attributes: Of each image, level by name.
        several: Whether they came as a multipart form: the answer is then a list, also of one.
    """

    images: tuple[bytes, ...]
    attributes: tuple[dict[str, str], ...]
    several: bool


class Held:
    """Counts the bytes of all bodies in memory; used on the event loop alone."""

    def __init__(self, most: int = MOST_HELD_BYTES) -> None:
        self.most, self.now = most, 0

    def take(self, count: int) -> None:
        """Counts bytes that arrived.

        Raises:
            RefusedError: If there is no room for them.
        """
        if self.now + count > self.most:
            raise RefusedError(503, "busy", "too much is being sent at once; try again.", {"Retry-After": "1"})
        self.now += count


class Body:
    """The body of a request, counted while it arrives. A context manager: its bytes count as held until it ends.

    Args:
        request: Its body has not been read.
        most: Bytes that are allowed.
        held: Of all requests.
    """

    def __init__(self, request: Request, most: int, held: Held) -> None:
        self._request, self._most, self._held, self._taken = request, most, held, 0

    def __enter__(self) -> Body:
        declared = self._request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._most:
            raise self._too_large(f"{int(declared):,} bytes")
        return self

    def __exit__(self, *_: object) -> None:
        self._held.now -= self._taken

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yields what arrives.

        Raises:
            RefusedError: If it becomes too much, or the client goes away.
        """
        try:
            async for chunk in self._request.stream():
                if self._taken + len(chunk) > self._most:
                    raise self._too_large("more")
                self._held.take(len(chunk))
                self._taken += len(chunk)
                yield chunk
        except ClientDisconnect:
            raise RefusedError(400, "disconnected", "the client went away before all was sent.") from None

    async def whole(self) -> bytes:
        """Returns all of it."""
        return b"".join([chunk async for chunk in self.chunks()])

    def _too_large(self, found: str) -> RefusedError:
        return RefusedError(
            413, "body_too_large", f"the body has {found}; at most {self._most:,} bytes are taken (max_bytes)."
        )


@asynccontextmanager
async def in_time(seconds: float = READING_S) -> AsyncIterator[None]:
    """Within the block a body has to arrive; a client that sends it drop by drop is refused."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise RefusedError(408, "slow", f"the body did not arrive within {seconds:g} s.") from None


async def read_images(
    request: Request, body: Body, attributes: Mapping[str, Sequence[str]], most_images: int, alone: bool = False
) -> Sent:
    """Reads the images of a request and what is sent along.

    Args:
        request: With `Content-Type: image/...`, or several files as `multipart/form-data`.
        body: Its body, entered.
        attributes: Of the contract: levels by name.
        most_images: In a form.
        alone: Whether one image is wanted, so that a form may bring no more.

    Raises:
        RefusedError: If it is no such request.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    pairs = list(request.query_params.multi_items())
    if kind.startswith("image/"):
        content = await body.whole()
        if not content:
            raise RefusedError(400, "empty", "the body is empty; it is to be an image.")
        return Sent((content,), tuple(attributes_of(pairs, attributes, 1)), several=False)
    if kind != "multipart/form-data":
        found = shown(kind) if kind else "nothing"
        raise RefusedError(
            415,
            "content_type",
            f"Content-Type: found {found}, allowed is image/png, image/jpeg and the like for one image, and "
            "multipart/form-data for several.",
        )
    images, fields = await _form(request.headers, body, 1 if alone else most_images)
    if not images:
        raise RefusedError(400, "no_image", "the form holds no file; each image is a part with a file name.")
    return Sent(tuple(images), tuple(attributes_of([*pairs, *fields], attributes, len(images))), several=True)


def attributes_of(
    pairs: Iterable[tuple[str, str]], known: Mapping[str, Sequence[str]], count: int
) -> list[dict[str, str]]:
    """Reads the attributes that are sent along.

    Args:
        pairs: `attribute.<name>` and a level. A name that is given once is of every image; one that is given as often
            as there are images is of each in turn.
        known: Levels by name, of the contract.
        count: Of images.

    Returns:
        Of each image, level by name.

    Raises:
        RefusedError: If something is not known, with the nearest that is.
    """
    given: dict[str, list[str]] = {}
    for key, level in pairs:
        name = key.removeprefix(ATTRIBUTE)
        if name == key or name not in known:
            allowed = [f"{ATTRIBUTE}{one}" for one in known]
            raise RefusedError(400, "attribute", str(unknown("parameter", key, allowed)))
        if level not in known[name]:
            raise RefusedError(400, "attribute", str(unknown(key, level, known[name])))
        given.setdefault(name, []).append(level)
    for name, levels in given.items():
        if len(levels) not in (1, count):
            times = f"once, or {count} times: once for each image" if count > 1 else "once"
            sentence = f"{ATTRIBUTE}{name}: is given {len(levels)} times; allowed is {times}."
            raise RefusedError(400, "attribute", sentence)
    return [{name: levels[number % len(levels)] for name, levels in given.items()} for number in range(count)]


async def read_json(body: Body, keys: Mapping[str, type]) -> dict[str, Any]:
    """Reads a JSON object.

    Args:
        body: Entered.
        keys: Those that it has to have, no more and no fewer, with the type of each.

    Raises:
        RefusedError: If it is none.
    """
    wanted = ", ".join(keys)
    try:
        value = json.loads(await body.whole())
    except (ValueError, RecursionError):
        raise RefusedError(400, "json", f"the body is not JSON; it is to be an object with {wanted}.") from None
    if not isinstance(value, dict):
        raise RefusedError(400, "json", f"the body is not a JSON object; it is to have {wanted}.")
    for key in value:
        if key not in keys:
            raise RefusedError(400, "json", str(unknown("key", key, keys)))
    for key, kind in keys.items():
        if not isinstance(value.get(key), kind):
            found = shown(value[key]) if key in value else "nothing"
            raise RefusedError(400, "json", f"{key}: found {found}, allowed is text.")
    return value


def nearest_path(path: str, allowed: Iterable[str]) -> str:
    """Says which path was meant."""
    options = sorted(allowed)
    closest = nearest(path, options)
    hint = f" Did you mean {closest!r}?" if closest else ""
    return f"{shown(path)}: there is nothing here; allowed: {', '.join(options)}.{hint}"


class _Parser(MultiPartParser):
    """Starlette's, in memory alone (the body has been counted), and aware of a form that breaks off."""

    spool_max_size = 2**62
    ended = False

    def on_end(self) -> None:
        """The last boundary."""
        self.ended = True


async def _form(headers: Headers, body: Body, most_images: int) -> tuple[list[bytes], list[tuple[str, str]]]:
    """Returns the files of a form and its other fields."""
    chunks = body.chunks()
    parser = _Parser(headers, chunks, max_files=most_images, max_fields=MOST_FIELDS, max_part_size=MOST_FIELD_BYTES)
    images, fields = [], []
    try:
        form = await parser.parse()
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                images.append(await value.read())
            else:
                fields.append((name, value))
        await form.close()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            images_allowed = "1 image is" if most_images == 1 else f"{most_images} images are"
            raise RefusedError(413, "too_many", f"the form holds more files; at most {images_allowed} taken.") from None
        raise RefusedError(400, "multipart", f"the form cannot be read: {error.message.rstrip('.')}.") from None
    finally:
        await chunks.aclose()
    if not parser.ended:
        raise RefusedError(400, "multipart", "the form breaks off before its last boundary.")
    return images, fields
