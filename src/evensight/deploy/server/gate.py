"""What stands around every route: the token, other sites' pages, draining, time, and faults of ours."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Iterable
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evensight.deploy.server.app import PATHS, refused
from evensight.deploy.server.intake import READING_S
from evensight.deploy.server.openapi import FREE
from evensight.deploy.server.refusals import RefusedError
from evensight.deploy.server.service import Service, draining

log = logging.getLogger(__name__)

_OTHERS = "other"  # the path that unknown paths are counted under


class Gate:
    """An ASGI middleware.

    Args:
        app: The routes.
        service: What they answer from.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            return
        service, started = self._service, time.perf_counter()
        sent = _Sent(send, service)
        service.under_way += 1
        try:
            why = self._why_not(scope)
            if why is None:
                await self._app(scope, receive, sent)
            else:
                service.refused(why.code, logged=why.code == "draining" and scope["path"] == "/predict")
                await _discarded(receive, service.limits.max_bytes)
                await refused(why)(scope, receive, sent)
        except Exception:
            log.exception("a request failed, which is a fault of ours: %s %s", scope["method"], scope["path"])
            service.refused("internal", logged=scope["path"] == "/predict")
            if not sent.status:
                fault = RefusedError(500, "internal", "the server failed, which is a fault of ours; see its log.")
                await refused(fault)(scope, receive, sent)
        finally:
            service.under_way -= 1
            service.answered += 1
            path = scope["path"] if scope["path"] in PATHS else _OTHERS
            service.figures.request(path, sent.status, time.perf_counter() - started)

    def _why_not(self, scope: Scope) -> RefusedError | None:
        headers = scope["headers"]
        if scope["method"] == "POST" and _header(headers, b"sec-fetch-site") in (b"cross-site", b"same-site"):
            return RefusedError(403, "other_site", "requests from the pages of other sites are not taken.")
        if self._service.token is not None and scope["path"] not in FREE:
            given = _header(headers, b"authorization")
            if not is_token(given, self._service.token):
                sentence = "Authorization: the bearer token of this server is needed" + (
                    ", and this is another." if given else "."
                )
                return RefusedError(401, "token", sentence, {"WWW-Authenticate": "Bearer"})
        if self._service.draining and scope["method"] == "POST":
            return draining()
        return None


def is_token(header: bytes, token: str) -> bool:
    """Returns whether an `Authorization` header brings the token; takes as long whatever part of it is right."""
    scheme, _, given = header.partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), token.encode("utf-8"))


class _Sent:
    """Passes a response on, and knows its status."""

    def __init__(self, send: Send, service: Service) -> None:
        self._send, self._service, self.status = send, service, 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._service.draining:  # so that clients open no request on a connection that is about to end
                message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
        await self._send(message)


async def _discarded(receive: Receive, most: int) -> None:
    """Reads a body that nobody wants: a connection that is closed before it is read loses the answer on the way."""
    taken = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(READING_S):
            while taken <= most:
                message = await receive()
                taken += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    return next((value for key, value in headers if key == name), b"")
