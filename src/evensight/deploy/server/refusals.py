"""What a client is told when it gets no answer: a status, a short code, one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evensight.deploy.server.engine import FullError, LateError
from evensight.errors import one_line
from evensight.runtime.decode import DecodeError

# Of `DecodeError.code`; others are 422: an image was sent, and nothing can be made of it.
DECODE_STATUS = {"format": 415, "too_large": 413}
LONGEST_SENTENCE = 400  # characters


class RefusedError(Exception):
    """A request, or one image of it, that gets no answer.

    Args:
        status: Of HTTP.
        code: Short and stable: programs go by it, the log and `/metrics` count by it.
        sentence: What was found and what is allowed, for people.
        headers: Of the response.
    """

    def __init__(self, status: int, code: str, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.code, self.headers = status, code, dict(headers or {})
        self.sentence = one_line(sentence)[:LONGEST_SENTENCE]

    def content(self) -> dict[str, Any]:
        """What is sent as JSON."""
        return {"error": self.sentence, "code": self.code}


def refusal(error: BaseException, deadline_s: float) -> RefusedError | None:
    """Returns what a client is told of what went wrong with an image, or None where it is a fault of ours.

    Args:
        error: Raised on the way of the image.
        deadline_s: For the sentence.
    """
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, DecodeError):
        return RefusedError(DECODE_STATUS.get(error.code, 422), error.code, f"image: {_without_type(str(error))}.")
    if isinstance(error, LateError):
        return late(deadline_s)
    if isinstance(error, FullError):
        return RefusedError(
            503,
            "busy",
            f"too many images are under way; try again in {error.retry_after} s.",
            {"Retry-After": str(error.retry_after)},
        )
    if isinstance(error, MemoryError):
        return RefusedError(503, "memory", "there is not enough memory for this image now.", {"Retry-After": "5"})
    return None


def late(deadline_s: float) -> RefusedError:
    """Returns the refusal of a request whose deadline passed."""
    return RefusedError(504, "deadline", f"there was no answer within {deadline_s:g} s (deadline_s).")


def _without_type(sentence: str) -> str:
    """Leaves out the name of a Python exception that a sentence of the decoder begins with."""
    first, colon, rest = sentence.partition(": ")
    if colon and first.isidentifier() and first.endswith(("Error", "Exception", "Warning")):
        sentence = rest or "it is broken"
    return sentence.strip().rstrip(".")
