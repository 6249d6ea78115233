"""`evensight serve`: opens an artifact, tests it, answers until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from evensight.deploy.server.listening import bound, is_loopback, listen
from evensight.deploy.server.opening import checked
from evensight.errors import UserError, wrong_value
from evensight.options import ServeOptions
from evensight.records.artifact import Artifact
from evensight.records.registry import PREFIX, Registry, artifact_folder

if TYPE_CHECKING:
    from evensight.deploy.server.following import Follower
    from evensight.deploy.server.model import Model
    from evensight.deploy.server.recording import Recorder
    from evensight.deploy.server.service import Service

log = logging.getLogger(__name__)

TOKEN = "EVENSIGHT_TOKEN"  # the environment's, so that the token is in no list of processes
LOGS = Path("log")
OFF = "off"
MISSING = "evensight serve needs Starlette and uvicorn; install them with: pip install 'evensight[serve]'."

# Key: least, most.
_RANGES: dict[str, tuple[float, float]] = {
    "port": (0, 65_535),
    "reliance_sample": (0, 1),
    "max_batch": (1, 4096),
    "max_wait_ms": (0, 10_000),
    "queue": (1, 100_000),
    "deadline_s": (0.001, 3600),
    "max_bytes": (1, 2**40),
    "max_pixels": (1, 178_956_970),
    "max_images": (1, 10_000),
    "follow_s": (0.01, 86_400),
}


def serve(options: ServeOptions) -> int:
    """Serves until SIGTERM or SIGINT, then answers what is under way, writes the log and returns 0.

    A second signal ends it at once.

    Raises:
        UserError: If the options, the artifact, the registry or the log are not to be served with.
    """
    with prepared(options) as (service, listener):
        answered = asyncio.run(listen(service, listener, print_ready))
    print(f"drained: {answered:,} requests were answered", flush=True)
    return 0


@contextlib.contextmanager
def prepared(options: ServeOptions) -> Iterator[tuple[Service, socket.socket]]:
    """Yields what answers, with a model that has passed its own test, and the socket it is to listen on.

    At the end everything that was answered is in the log.

    Raises:
        UserError: See `serve`.
    """
    token = check(options)
    artifact, failed = checked(artifact_folder(options.artifact, options.registry), options.accept_failed)
    with contextlib.closing(bound(options.host, options.port)) as listener:
        service, follower = _service(options, artifact, failed, token)
        for cue, why in service.engine.model.tools.missing.items():
            log.warning("reliance on %s is not logged: %s", cue, why)
        try:
            if follower is not None:
                follower.start()
            yield service, listener
        finally:
            if follower is not None:
                follower.close()
            service.close()


def check(options: ServeOptions) -> str | None:
    """Checks what can be checked before anything is opened, and returns the bearer token.

    Raises:
        UserError: If a value is out of its range, the token is none, or the extra is not installed.
    """
    for key, (least, most) in _RANGES.items():
        value = getattr(options, key)
        if not least <= value <= most:  # false for NaN
            raise wrong_value(key, value, f"a number from {least:g} to {most:,g}")
    if options.max_images > options.queue:
        raise wrong_value("max_images", options.max_images, f"at most the queue ({options.queue})")
    if options.keep_images and options.log == OFF:
        raise UserError("keep_images: images are kept beside the log, and log=off keeps none; leave one of them out.")
    token = options.token if options.token is not None else os.environ.get(TOKEN)
    if token is not None and (not token or not token.isascii() or not token.isprintable() or " " in token):
        raise UserError(f"token: allowed are ASCII characters without spaces; leave it (and {TOKEN}) out for none.")
    try:
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise UserError(MISSING) from None
    if token is None and not is_loopback(options.host):
        log.warning("%s is open to other machines, and no token is asked for (%s, token=)", options.host, TOKEN)
    return token


def log_path(stated: str | None, artifact: Artifact) -> Path | None:
    """Returns where the prediction log is: as stated, or `log/<experiment>/predictions.sqlite`; None for `off`."""
    if stated == OFF:
        return None
    if stated is not None:
        return Path(stated)
    name = str(artifact.contract.run.get("experiment") or artifact.contract.objective.get("name") or artifact.identity)
    return LOGS / (re.sub(r"[^\w.-]+", "_", name).strip(".") or artifact.identity) / "predictions.sqlite"


def print_ready(url: str, identity: str) -> None:
    """Tells that requests are taken."""
    print(f"serving on {url} (identity {identity[:12]})", flush=True)


def _service(
    options: ServeOptions, artifact: Artifact, failed: tuple[str, ...], token: str | None
) -> tuple[Service, Follower | None]:
    # Here, since torch takes seconds: an altered artifact is refused before.
    from evensight.deploy.server.engine import Engine
    from evensight.deploy.server.exposition import Figures
    from evensight.deploy.server.model import load
    from evensight.deploy.server.service import Limits, Service

    model = load(artifact, failed)
    recorder = _recorder(options, model)
    figures = Figures()
    engine = Engine(
        model,
        options.max_batch,
        options.max_wait_ms / 1000.0,
        options.queue,
        options.max_pixels,
        on_batch=figures.batch,
    )
    limits = Limits(options.max_bytes, options.max_images, options.deadline_s)
    service = Service(engine, recorder, figures, limits, token, options.keep_images)
    figures.watch(service)
    return service, _follower(options, service)


def _recorder(options: ServeOptions, model: Model) -> Recorder | None:
    from evensight.deploy.server.recording import Recorder
    from evensight.records.prediction_log import PredictionLog

    path = log_path(options.log, model.artifact)
    if path is None:
        return None
    journal = PredictionLog(path, model.classes)
    log.info("log: %s", path)
    return Recorder(journal, options.reliance_sample, options.keep_images)


def _follower(options: ServeOptions, service: Service) -> Follower | None:
    from evensight.deploy.server.following import Follower

    if not options.artifact.startswith(PREFIX):
        return None

    def swap(model: Model) -> None:
        service.engine.swap(model)
        service.figures.swaps += 1
        if service.recorder is not None:
            service.recorder.swapped(model.identity)

    def refuse() -> None:
        service.figures.refused_swaps += 1

    registry = Registry.open(Path(options.registry))
    alias = options.artifact.removeprefix(PREFIX)
    return Follower(registry, alias, service.engine.model, options.follow_s, options.accept_failed, swap, refuse)
