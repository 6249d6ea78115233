"""A registry's alias, followed: a promotion brings another model in between two batches."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from evensight.deploy.server.model import Model, load
from evensight.deploy.server.opening import checked
from evensight.errors import UserError, first_line

if TYPE_CHECKING:
    from evensight.records.registry import Registry

log = logging.getLogger(__name__)

AGAIN_S = 60.0  # between two tries to load what could not be loaded


class Follower:
    """Looks at an alias, and loads aside what it points to now.

    Args:
        registry: Opened.
        alias: Its name.
        current: The model that answers now.
        every_s: How often to look.
        accept_failed: Whether a model whose verdict is FAIL is swapped in.
        swap: Brings a model in.
        refuse: Told of each try that failed.
    """

    def __init__(
        self,
        registry: Registry,
        alias: str,
        current: Model,
        every_s: float,
        accept_failed: bool,
        swap: Callable[[Model], None],
        refuse: Callable[[], None],
    ) -> None:
        self._registry, self._alias, self._current = registry, alias, current
        self._every_s, self._accept_failed = every_s, accept_failed
        self._swap, self._refuse = swap, refuse
        self._failed: tuple[str, float] | None = None  # identity that could not be loaded, and when
        self._told = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follow", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def close(self) -> None:
        """Ends."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            self.look()

    def look(self) -> None:
        """Looks once. What cannot be loaded is named in the log, and the current model goes on."""
        identity = None
        try:
            identity = self._registry.identity(self._alias)
            if identity is None or identity == self._current.identity or self._waits(identity):
                return
            model = self._loaded(identity)
        except Exception as error:
            self._refused(identity or "", error)
            return
        self._swap(model)
        log.info("%s: %s answers from now on, after %s", self._alias, identity[:12], self._current.identity[:12])
        self._current, self._failed, self._told = model, None, ""

    def _loaded(self, identity: str) -> Model:
        folder = self._registry.artifact(self._alias)
        artifact, failed = checked(folder, self._accept_failed)
        if artifact.identity != identity:
            raise UserError(f"registry: {folder} holds {artifact.identity[:12]}, not {identity[:12]}.")
        if artifact.contract.classes != self._current.classes:
            raise UserError(
                f"artifact: {folder}: its classes are {', '.join(artifact.contract.classes)}; clients and the log of "
                f"this server know {', '.join(self._current.classes)}. Start it anew to serve others."
            )
        return load(artifact, failed)

    def _waits(self, identity: str) -> bool:
        return self._failed is not None and self._failed[0] == identity and time.monotonic() < self._failed[1]

    def _refused(self, identity: str, error: Exception) -> None:
        self._failed = (identity, time.monotonic() + AGAIN_S)
        self._refuse()
        said = first_line(error)
        if said != self._told:
            log.warning("%s is not followed to %s: %s", self._alias, identity[:12] or "its model", said)
        self._told = said
