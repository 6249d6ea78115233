"""What every route answers from."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from evensight.deploy.server.engine import Engine
from evensight.deploy.server.exposition import Figures
from evensight.deploy.server.intake import Held
from evensight.deploy.server.recording import Recorder
from evensight.deploy.server.refusals import RefusedError
from evensight.records.contract import Contract
from evensight.threads import single_threaded_pool


@dataclass(frozen=True)
class Limits:
    """What a request may ask for.

    Attributes:
        max_bytes: Of a body.
        max_images: Of a form.
        deadline_s: From the whole request to its answer.
    """

    max_bytes: int
    max_images: int
    deadline_s: float


@dataclass(eq=False)
class Service:
    """What the routes answer from.

    Attributes:
        engine: Judges.
        recorder: Logs; None where no log is kept.
        figures: Counts.
        limits: Of requests.
        token: Bearer token; None where none is asked for.
        keep: Whether encoded images go to the recorder.
        draining: Whether the server is about to end.
        under_way: Requests that are not answered yet.
        answered: Requests that were.
    """

    engine: Engine
    recorder: Recorder | None
    figures: Figures
    limits: Limits
    token: str | None = None
    keep: bool = False
    draining: bool = False
    under_way: int = 0
    answered: int = 0
    held: Held = field(default_factory=Held)
    explainer: ThreadPoolExecutor = field(default_factory=lambda: single_threaded_pool(1, "explain"))
    explaining: int = 0

    @property
    def contract(self) -> Contract:
        """Of the current model."""
        return self.engine.model.artifact.contract

    def refused(self, code: str, logged: bool = False) -> None:
        """Counts what was refused, and logs an image that got no answer."""
        self.figures.error(code)
        if logged and self.recorder is not None:
            self.recorder.reject(code)

    def close(self) -> None:
        """Answers, describes and writes what is under way."""
        self.explainer.shutdown(wait=True, cancel_futures=True)
        self.engine.close()
        if self.recorder is not None:
            self.recorder.close()


def draining() -> RefusedError:
    """Returns the refusal of a request that came after the server was asked to end."""
    return RefusedError(503, "draining", "the server is about to end; send it to another.", {"Retry-After": "5"})
