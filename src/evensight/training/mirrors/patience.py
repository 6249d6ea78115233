"""Calls of a library that may never come back, and how long a run waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# A call that takes less is no loss: what counts is the waiting, not the work of every epoch.
_NO_LOSS = 0.1


class Patience:
    """Seconds that a run waits, in all.

    Args:
        seconds: To begin with.

    Attributes:
        left: Of them.
    """

    def __init__(self, seconds: float) -> None:
        self.left = float(seconds)

    def call(self, call: Callable[[], T]) -> T:
        """Returns what `call` returns, or raises what it raises; it runs in a thread of its own.

        Raises:
            TimeoutError: If it takes longer than is left. The thread is abandoned.
        """
        results: list[T] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                results.append(call())
            except BaseException as error:  # also an exit that a library asks for
                errors.append(error)

        thread, start, allowed = threading.Thread(target=work, daemon=True), time.monotonic(), self.left
        thread.start()
        thread.join(allowed)
        took = time.monotonic() - start
        if took > _NO_LOSS:
            self.left = max(0.0, allowed - took)
        if thread.is_alive():
            self.left = 0.0
            raise TimeoutError(f"no answer within {allowed:.0f} s")
        if errors:
            raise errors[0] if isinstance(errors[0], Exception) else RuntimeError(repr(errors[0]))
        return results[0]
