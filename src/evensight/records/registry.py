"""The registry: whole copies of artifacts, and the aliases `champion` and `challenger` that point at two of them.

    artifacts/<identity>/   an artifact, with its attached/
    aliases/champion        a relative symbolic link, swapped by a rename: at every moment it points at one artifact
    ledger.jsonl            each change of an alias, see ledger.py

A change is a line in the ledger first, and then the pointer. A process that is killed between the two leaves a pointer
that is one line behind; `Registry.open` sets it to what the ledger says.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evensight.errors import UserError, missing, shown, unknown
from evensight.files import disk_full, staged, sync_folder, write_bytes, write_json
from evensight.records import ledger
from evensight.records.artifact import ATTACHED, Artifact

SCHEMA_VERSION = 1
CHAMPION, CHALLENGER = "champion", "challenger"
ALIASES = (CHAMPION, CHALLENGER)
PREFIX = "registry:"
_MARK, _LEDGER, _LOCK = "registry.json", "ledger.jsonl", ".lock"


@dataclass(frozen=True)
class Registry:
    """A folder of artifacts with aliases.

    Following an alias (`identity`, `artifact`) takes no lock and no right to write; what changes something holds the
    folder's lock, and waits for it.
    """

    folder: Path

    @classmethod
    def open(cls, folder: Path, create: bool = False) -> Registry:
        """Opens a registry, and completes what a killed process left undone where it may write.

        Args:
            folder: The registry's.
            create: Whether it is made where there is none.

        Raises:
            UserError: There is none, it is of another version, or its ledger was altered.
        """
        registry = cls(Path(folder))
        mark = registry.folder / _MARK
        if create and not mark.exists():
            registry._create()
        try:
            version = json.loads(mark.read_bytes())["schema_version"]
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"registry: there is none at {registry.folder}; "
                "`evensight update action=promote artifact=<folder>` makes one."
            ) from None
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise UserError(f"registry: {mark} cannot be read ({error}).") from None
        if version != SCHEMA_VERSION:
            raise UserError(
                f"registry: {registry.folder} is of version {shown(version)}, this evensight reads {SCHEMA_VERSION}."
            )
        registry._complete()
        return registry

    def add(self, artifact: Artifact) -> Path:
        """Copies an artifact into the registry, or what was attached since where it is there; returns its folder.

        Raises:
            UserError: The artifact was altered, or the registry cannot be written.
            OSError: The disk is full.
        """
        with self._locked():
            target = self._place(artifact.identity)
            if not target.exists():
                with staged(target) as temporary:
                    # Another process may be attaching something meanwhile.
                    ignored = shutil.ignore_patterns(".*.tmp")
                    shutil.copytree(artifact.folder, temporary, dirs_exist_ok=True, ignore=ignored)
                    _checked(temporary, artifact.identity)
                return target
            _checked(target, artifact.identity)
            if not target.samefile(artifact.folder):
                for path in sorted((artifact.folder / ATTACHED).glob("[!.]*")):
                    write_bytes(target / ATTACHED / path.name, path.read_bytes())
            return target

    def identity(self, alias: str) -> str | None:
        """Returns the identity that an alias points at now; None while it points at none.

        Raises:
            UserError: There is no such alias, or something else stands in its place.
        """
        link = self._link(alias)
        try:
            return link.readlink().name
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"registry: {link} is no link to an artifact ({error.strerror}); remove it.") from None

    def artifact(self, alias: str) -> Path:
        """Returns the folder of the artifact that an alias points at, every byte of it checked.

        Raises:
            UserError: The alias points at none, or its artifact was altered.
        """
        identity = self.identity(alias)
        if identity is None:
            given = [name for name in ALIASES if self.identity(name)]
            raise UserError(
                f"registry: {self.folder} has no {alias}; aliases that point at an artifact: "
                f"{', '.join(given) or 'none'}."
            )
        return _checked(self._place(identity), identity).folder

    def set(self, alias: str, identity: str, why: str, evidence: Mapping[str, Any] | None = None) -> None:
        """Points an alias at an artifact of the registry; does nothing where it does already.

        Args:
            alias: ``"champion"`` or ``"challenger"``.
            identity: Of an artifact that was added.
            why: A sentence for the ledger.
            evidence: What the change rests on, JSON, for the ledger.

        Raises:
            UserError: There is no such alias or artifact, or the artifact was altered.
        """
        self._change("set", alias, identity, why, evidence)

    def promote(self, identity: str, why: str, evidence: Mapping[str, Any] | None = None) -> None:
        """Makes an artifact the champion; `rollback` knows the one before. As `set`."""
        self._change("promote", CHAMPION, identity, why, evidence)

    def rollback(self, why: str) -> str:
        """Makes the champion before this one the champion again, and returns its identity.

        Raises:
            UserError: There was none before.
        """
        with self._locked():
            before = champions(self.history())[:-1]
            if not before:
                raise UserError(f"registry: {self.folder} has had no champion before this one, so none to go back to.")
            self._write("rollback", CHAMPION, before[-1], why, None)
        return before[-1]

    def history(self) -> list[dict[str, Any]]:
        """Returns the lines of the ledger, oldest first, after checking them."""
        return ledger.read(self.folder / _LEDGER)

    def verify(self) -> None:
        """Checks the ledger, the aliases against it, and every byte of the artifacts they point at.

        Raises:
            UserError: One is not as it should be.
        """
        told = pointed(self.history())
        for alias in ALIASES:
            found = self.identity(alias)
            if found != told.get(alias):
                raise UserError(f"registry: {self._link(alias)} points at {found}, the ledger says {told.get(alias)}.")
            if told.get(alias):
                self.artifact(alias)

    def _create(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in ("artifacts", "aliases"):
                (self.folder / name).mkdir(exist_ok=True)
            write_json(self.folder / _MARK, {"schema_version": SCHEMA_VERSION})
        except OSError as error:
            if disk_full(error):
                raise
            raise UserError(f"registry: {self.folder} cannot be written ({error.strerror}); choose another.") from None

    def _change(self, what: str, alias: str, identity: str, why: str, evidence: Mapping[str, Any] | None) -> None:
        self._link(alias)  # an unknown alias is told first
        if not why.strip():
            raise missing("why")
        with self._locked():
            if self.identity(alias) != identity:
                self._write(what, alias, identity, why, evidence)

    def _write(self, what: str, alias: str, identity: str, why: str, evidence: Mapping[str, Any] | None) -> None:
        """The line, then the pointer; the lock is held."""
        there = [path.name for path in (self.folder / "artifacts").glob("[!.]*")]
        if identity not in there:
            raise unknown("registry: artifact", str(identity), there)
        _checked(self._place(identity), identity)
        previous = self.identity(alias)
        line = {"what": what, "alias": alias, "identity": identity, "previous_identity": previous, "why": why}
        ledger.append(self.folder / _LEDGER, {**line, "evidence": dict(evidence or {})})
        self._point(alias, identity)

    def _point(self, alias: str, identity: str) -> None:
        link = self._link(alias)
        link.parent.mkdir(exist_ok=True)
        # `_clear` takes such a name away after a kill.
        temporary = link.with_name(f".{alias}.{uuid.uuid4().hex[:8]}.tmp")
        temporary.symlink_to(Path("..") / "artifacts" / identity, target_is_directory=True)
        temporary.replace(link)
        sync_folder(link.parent)

    def _complete(self) -> None:
        """Sets the pointers to what the ledger says; who may only read leaves them as they are."""
        told = pointed(self.history())
        if all(self.identity(alias) == told.get(alias) for alias in ALIASES):
            return
        try:
            with self._locked():
                pass
        except UserError:
            if os.access(self.folder, os.W_OK):
                raise

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Holds the lock of the folder, waiting for it; within, everything is as the ledger says."""
        try:
            file = (self.folder / _LOCK).open("w", encoding="utf-8")
        except OSError as error:
            if disk_full(error):
                raise
            raise UserError(f"registry: {self.folder} cannot be written ({error.strerror}).") from None
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._clear()
            ledger.note_head(self.folder / _LEDGER)
            for alias, identity in pointed(self.history()).items():
                if self.identity(alias) != identity:
                    self._point(alias, identity)
            yield

    def _clear(self) -> None:
        """Takes away what a killed process left half made. Not below an artifact: others attach to it meanwhile."""
        for place in (self.folder, self.folder / "artifacts", self.folder / "aliases"):
            for path in place.glob(".*.tmp"):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def _link(self, alias: str) -> Path:
        if alias not in ALIASES:
            raise unknown("registry: alias", alias, ALIASES)
        return self.folder / "aliases" / alias

    def _place(self, identity: str) -> Path:
        return self.folder / "artifacts" / identity


def artifact_folder(text: str, registry: str) -> Path:
    """Returns the folder that an option `artifact=` names: a folder, or ``registry:<alias>`` of the registry given.

    Raises:
        UserError: There is no registry, or its alias points at no artifact.
    """
    if not text.startswith(PREFIX):
        return Path(text)
    return Registry.open(Path(registry)).artifact(text.removeprefix(PREFIX))


def pointed(lines: list[dict[str, Any]]) -> dict[str, str]:
    """Returns where the aliases point after the lines of a ledger."""
    return {line["alias"]: line["identity"] for line in lines}


def champions(lines: list[dict[str, Any]]) -> list[str]:
    """Returns the champions that led to the present one, which is the last; what was rolled back is left out."""
    found: list[str] = []
    for line in lines:
        if line["alias"] == CHAMPION:
            found = found[:-1] if line["what"] == "rollback" else [*found, line["identity"]]
    return found


def _checked(folder: Path, identity: str) -> Artifact:
    artifact = Artifact.open(folder)
    if artifact.identity != identity:
        raise UserError(f"registry: {folder} holds the artifact {artifact.identity}; it was exchanged.")
    return artifact
