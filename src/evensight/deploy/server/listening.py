"""The socket and the loop: uvicorn with our own way to end, which answers what is under way and returns."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from evensight.errors import UserError, shown

if TYPE_CHECKING:
    from evensight.deploy.server.service import Service

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 75.0
BACKLOG = 1024
# After SIGTERM, clients that are connecting get an answer for this long before nobody listens any more.
DRAIN_S = 0.5


def bound(host: str, port: int) -> socket.socket:
    """Returns a socket bound to an address; nothing connects to it until someone listens.

    Raises:
        UserError: If the address is not to be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, UnicodeError) as error:
        listener.close()
        said = getattr(error, "strerror", None) or str(error)
        raise UserError(f"host, port: {shown(host)}, {port} cannot be listened on ({said}).") from None
    return listener


def is_loopback(host: str) -> bool:
    """Returns whether an address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def listen(service: Service, listener: socket.socket, ready: Callable[[str, str], None]) -> int:
    """Answers until the service drains, and returns how many requests were answered.

    uvicorn's own handlers would end the process by the signal once it has drained, which a supervisor takes for a
    failure; ours take their place while it listens. For the main thread alone, as handlers are.

    Args:
        service: What answers.
        listener: From `bound`.
        ready: Told of the address and the identity once requests are taken.
    """
    import uvicorn

    from evensight.deploy.server.app import routes
    from evensight.deploy.server.gate import Gate

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            with _drained_by_signals(service):
                yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready(url_of(listener), service.engine.model.identity)

        async def on_tick(self, counter: int) -> bool:
            await super().on_tick(counter)
            return service.draining and await _drained(service)

    for name in ("uvicorn.error", "python_multipart"):  # they warn of each broken request, which would fill a log
        logging.getLogger(name).setLevel(logging.ERROR)
    settings: dict[str, Any] = {"log_config": None, "access_log": False, "server_header": False, "lifespan": "off"}
    config = uvicorn.Config(
        Gate(routes(service), service),
        timeout_keep_alive=KEEP_ALIVE_S,  # type: ignore[arg-type]
        backlog=BACKLOG,
        http="h11",
        ws="none",
        loop="asyncio",
        **settings,
    )
    await Server(config).serve([listener])
    return service.answered


async def _drained(service: Service) -> bool:
    """Waits until what is under way is answered."""
    await asyncio.sleep(DRAIN_S)
    while service.under_way:
        await asyncio.sleep(0.01)
    return True


@contextlib.contextmanager
def _drained_by_signals(service: Service) -> Iterator[None]:
    """Within the block the first SIGTERM or SIGINT lets the service drain, and the second ends the process."""
    loop = asyncio.get_running_loop()
    signums = (signal.SIGTERM, signal.SIGINT)
    before = {signum: signal.getsignal(signum) for signum in signums}

    def received(signum: int) -> None:
        if service.draining:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        service.draining = True
        log.info("draining: %d requests are under way; once more ends at once", service.under_way)

    for signum in signums:
        loop.add_signal_handler(signum, received, signum)
    try:
        yield
    finally:
        for signum, handler in before.items():
            loop.remove_signal_handler(signum)
            signal.signal(signum, handler)


def url_of(listener: socket.socket) -> str:
    """Returns the address that clients connect to."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
