"""What is checked of an artifact before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path

from evensight.errors import UserError
from evensight.records.artifact import Artifact


def checked(folder: Path, accept_failed: bool) -> tuple[Artifact, tuple[str, ...]]:
    """Opens an artifact after checking the digest of every file.

    Returns:
        The artifact, and the stages whose attached verdict is FAIL.

    Raises:
        UserError: If it is none or was altered, or a verdict is FAIL and `accept_failed` is not set.
    """
    artifact = Artifact.open(folder)
    failed = tuple(artifact.failures())
    if failed and not accept_failed:
        names = ", ".join(name.removeprefix("verdict_") for name in failed)
        raise UserError(
            f"artifact: {folder}: its {names} verdict is FAIL; it is not served. accept_failed=true serves it all the "
            "same, and says so in the log each time."
        )
    return artifact, failed
