"""The routes: what each of them answers."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from evensight.deploy.server import intake, page
from evensight.deploy.server.card import about
from evensight.deploy.server.engine import Answer, FullError
from evensight.deploy.server.explain import data_uri, explained
from evensight.deploy.server.exposition import CONTENT_TYPE
from evensight.deploy.server.openapi import openapi
from evensight.deploy.server.recording import Given
from evensight.deploy.server.refusals import RefusedError, late, refusal
from evensight.deploy.server.service import Service, draining
from evensight.errors import RunError, UserError

log = logging.getLogger(__name__)

MOST_EXPLAINED = 4  # under way at once; each costs dozens of images


PATHS = ("/", "/predict", "/explain", "/feedback", "/health", "/ready", "/model", "/metrics", "/openapi.json")


def routes(service: Service) -> Starlette:
    """Returns the application, without what `gate.py` puts around it."""
    served = _Routes(service)
    return Starlette(
        routes=[
            Route("/", served.page, methods=["GET"]),
            Route("/predict", served.predict, methods=["POST"]),
            Route("/explain", served.explain, methods=["POST"]),
            Route("/feedback", served.feedback, methods=["POST"]),
            Route("/health", served.health, methods=["GET"]),
            Route("/ready", served.ready, methods=["GET"]),
            Route("/model", served.model, methods=["GET"]),
            Route("/metrics", served.metrics, methods=["GET"]),
            Route("/openapi.json", served.openapi, methods=["GET"]),
        ],
        exception_handlers={RefusedError: served.refuse, HTTPException: served.no_route},
    )


class _Routes:
    """One method a route."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._page = page.html()

    async def predict(self, request: Request) -> Response:
        service, limits = self._service, self._service.limits
        try:
            with intake.Body(request, limits.max_bytes, service.held) as body:
                async with intake.in_time():
                    levels = service.contract.attributes
                    sent = await intake.read_images(request, body, levels, limits.max_images)
                answers = await self._answers(sent.images)
        except RefusedError as error:
            service.refused(error.code, logged=True)
            return refused(error)
        said = [self._said(sent, number, answer) for number, answer in enumerate(answers)]
        if not sent.several:
            return refused(answers[0]) if isinstance(answers[0], RefusedError) else JSONResponse(said[0])
        if all(isinstance(answer, RefusedError) for answer in answers):
            sentence = f"none of the {len(answers)} images could be judged."
            return JSONResponse({"error": sentence, "code": "no_image", "images": said}, 422)
        return JSONResponse(said)

    def _said(self, sent: intake.Sent, number: int, answer: Answer | RefusedError) -> dict[str, Any]:
        """Counts and logs what an image got, and returns what the client is told."""
        service = self._service
        if isinstance(answer, RefusedError):
            service.refused(answer.code, logged=True)
            return answer.content()
        service.figures.prediction(answer.label)
        id = secrets.token_hex(16)
        if service.recorder is not None:
            content = sent.images[number] if service.keep else b""
            service.recorder.add(Given(id, time.time(), answer, sent.attributes[number], content))
        return {"id": id, **prediction(answer)}

    async def _answers(self, images: Sequence[bytes]) -> list[Answer | RefusedError]:
        """Judges images; one that fails is refused alone.

        Raises:
            RefusedError: If there is no room for them, or the deadline passed: then for all of them.
        """
        deadline_s = self._service.limits.deadline_s
        try:
            futures = self._service.engine.submit(images, time.monotonic() + deadline_s)
        except FullError as error:
            refused_all = refusal(error, deadline_s)
            assert refused_all is not None
            raise refused_all from None
        waiting = [asyncio.wrap_future(future) for future in futures]
        _, unfinished = await asyncio.wait(waiting, timeout=deadline_s)
        found = [late(deadline_s) if one in unfinished else self._answer(one) for one in waiting]
        for one in unfinished:
            one.cancel()
        for answer in found:
            if isinstance(answer, RefusedError) and answer.code == "deadline":
                raise answer
        return found

    def _answer(self, done: asyncio.Future[Answer]) -> Answer | RefusedError:
        error = done.exception()
        if error is None:
            return done.result()
        said = refusal(error, self._service.limits.deadline_s)
        if said is None:
            log.error("an image failed, which is a fault of ours", exc_info=error)
            said = RefusedError(
                500, "internal", "the image could not be judged, which is a fault of ours; see the log."
            )
        return said

    async def explain(self, request: Request) -> Response:
        """Answers as `predict`, with what was looked at. It is no traffic: nothing of it is logged."""
        service, limits = self._service, self._service.limits
        if service.explaining >= MOST_EXPLAINED:
            raise RefusedError(503, "busy", "others are being explained; try again in 2 s.", {"Retry-After": "2"})
        service.explaining += 1
        try:
            with intake.Body(request, limits.max_bytes, service.held) as body:
                async with intake.in_time():
                    sent = await intake.read_images(request, body, service.contract.attributes, 1, alone=True)
                answer = (await self._answers(sent.images))[0]
            if isinstance(answer, RefusedError):
                raise answer
            async with asyncio.timeout(limits.deadline_s):
                looked_at = await asyncio.get_running_loop().run_in_executor(service.explainer, explained, answer)
        except TimeoutError:
            raise late(limits.deadline_s) from None
        finally:
            service.explaining -= 1
        return JSONResponse({**prediction(answer), "picture": data_uri(answer.pixels), "looked_at": looked_at})

    async def feedback(self, request: Request) -> Response:
        service = self._service
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":  # a form of another site's page could be sent without asking
            raise RefusedError(415, "content_type", "Content-Type: allowed is application/json alone.")
        with intake.Body(request, intake.MOST_JSON_BYTES, service.held) as body:
            async with intake.in_time():
                given = await intake.read_json(body, {"id": str, "label": str})
        if service.recorder is None:
            raise RefusedError(409, "no_log", "this server keeps no log (log=off), so that no label can be joined.")
        try:
            future = service.recorder.feedback(given["id"], given["label"])
        except UserError as error:
            raise RefusedError(400, "feedback", str(error)) from None
        return _joined(given["id"], given["label"], await self._state(future))

    async def _state(self, future: Future[str]) -> str:
        deadline_s = self._service.limits.deadline_s
        try:
            async with asyncio.timeout(deadline_s):
                return await asyncio.wrap_future(future)
        except UserError as error:
            raise RefusedError(400, "feedback", str(error)) from None
        except (TimeoutError, RunError) as error:
            said = str(error).rstrip(".") or f"log: nothing could be written within {deadline_s:g} s"
            raise RefusedError(503, "log", f"{said}; send the label again.", {"Retry-After": "5"}) from None

    async def health(self, request: Request) -> Response:
        return JSONResponse({"alive": True})

    async def ready(self, request: Request) -> Response:
        if self._service.draining:
            raise draining()
        return JSONResponse({"ready": True, "identity": self._service.engine.model.identity})

    async def model(self, request: Request) -> Response:
        return JSONResponse(about(self._service.engine.model))

    async def metrics(self, request: Request) -> Response:
        return Response(self._service.figures.text(), media_type=CONTENT_TYPE)

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(openapi(self._service.contract, self._service.token is not None))

    async def page(self, request: Request) -> Response:
        return HTMLResponse(self._page, headers=page.HEADERS)

    async def refuse(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError)
        self._service.refused(error.code)
        return refused(error)

    async def no_route(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "")
            said = RefusedError(405, "method", f"{request.url.path}: allowed is {allowed}.", error.headers)
        else:
            said = RefusedError(404, "path", intake.nearest_path(request.url.path, PATHS))
        self._service.refused(said.code)
        return refused(said)


def prediction(answer: Answer) -> dict[str, Any]:
    """Returns what a client is told of an image."""
    shares = dict(zip(answer.model.classes, answer.probabilities.tolist(), strict=True))
    return {
        "label": answer.label,
        "confidence": shares[answer.label],
        "probabilities": shares,
        "identity": answer.model.identity,
    }


def refused(error: RefusedError) -> Response:
    """Returns the response of a refusal."""
    return JSONResponse(error.content(), error.status, error.headers)


def _joined(id: str, label: str, state: str) -> Response:
    """Returns the response to a label that is in the log."""
    if state == "unknown":
        raise RefusedError(
            404, "unknown_id", f"id: no prediction has {id!r}; the label is kept, and counts once one has."
        )
    if state == "conflict":
        raise RefusedError(
            409, "conflict", f"id: {id} has another label than {label!r} already; both are kept, and none counts."
        )
    return JSONResponse({"id": id, "state": state})
