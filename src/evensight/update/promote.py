"""`evensight update action=promote` and `rollback`: who is in service, with the reason in the ledger."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from evensight.errors import UserError
from evensight.records.artifact import Artifact
from evensight.records.registry import Registry
from evensight.update.decide import decision_of
from evensight.update.deciding import PROMOTE

log = logging.getLogger(__name__)

CHAMPION = "champion"


def promote(artifact: Artifact, registry: Path, out: Path, force: bool = False, why: str | None = None) -> str:
    """Makes an artifact the champion of a registry, which is made where there is none.

    Args:
        artifact: That takes over; it is copied into the registry.
        registry: Its folder.
        out: Where decisions are kept. One that says PROMOTE of this very pair is needed, but for a first champion.
        force: Promote without one; the ledger says so.
        why: A sentence for the ledger, beside what the decision says.

    Returns:
        The sentence that the ledger has.

    Raises:
        UserError: There is no such decision.
    """
    book = Registry.open(registry, create=True)
    before = book.identity(CHAMPION)
    if before == artifact.identity:
        raise UserError(f"promote: {artifact.identity[:12]} is the champion already; nothing changes.")
    sentence, evidence = _grounds(artifact, before, out, force)
    said = f"{why}; {sentence}" if why else sentence
    book.add(artifact)
    book.promote(artifact.identity, said, evidence)
    log.info("champion: %s (%s)", artifact.identity[:12], said)
    return said


def rollback(registry: Path, why: str | None = None) -> str:
    """Makes the champion before this one the champion again, and returns its identity.

    Raises:
        UserError: There is no registry, or none was before.
    """
    identity = Registry.open(registry).rollback(why or "rolled back by hand")
    log.info("champion: %s (rolled back)", identity[:12])
    return identity


def _grounds(artifact: Artifact, before: str | None, out: Path, force: bool) -> tuple[str, dict[str, Any]]:
    """Returns what the ledger says of a promotion, and its evidence."""
    if before is None:
        return "the first champion", {"failed_verdicts": artifact.failures()}
    decision = decision_of(out, before, artifact.identity)
    if decision is not None and decision.result == PROMOTE:
        return f"{decision.folder.name} says {decision.reasons[0]}", decision.evidence
    found = "no decision on it" if decision is None else f"{decision.folder.name}, which says {decision.reasons[0]}"
    if force:
        known = {} if decision is None else decision.evidence
        return f"forced (force=true) over {found}", {"forced": True, **known}
    raise UserError(
        f"promote: in {out} there is {found}; of champion {before[:12]} and challenger {artifact.identity[:12]} a "
        "decision PROMOTE is needed: evensight update action=decide, or force=true, which the ledger tells."
    )
