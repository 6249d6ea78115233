"""The artifact's reader: opens the folder, checks that it is whole, and keeps what is learned of it later beside it."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evensight.errors import UserError, first_line, shown
from evensight.files import canonical_json, digest_file, digest_json, write_json
from evensight.records.contract import Contract, parse

if TYPE_CHECKING:
    from torch import Tensor

MODEL, PROGRAM, WEIGHTS = "model.ts", "model.pt2", "weights.safetensors"
CONTRACT, DONORS, GOLDEN, SUMS, ATTACHED = "contract.json", "donors.safetensors", "golden", "SHA256SUMS", "attached"
_SUM = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>.+)")


@dataclass(frozen=True)
class Artifact:
    """A model as it ships: an immutable folder, and `attached/` with what was learned of it since."""

    folder: Path
    contract: Contract

    @classmethod
    def open(cls, folder: str | Path) -> Artifact:
        """Opens an artifact after checking every file against `SHA256SUMS` and the contract against its identity.

        Raises:
            UserError: If there is none at `folder`, or a file is missing or altered.
        """
        folder = Path(folder)
        if not (folder / CONTRACT).is_file() or not (folder / SUMS).is_file():
            raise UserError(f"artifact: {folder} is no artifact (a folder with {CONTRACT} and {SUMS}).")
        broken = altered(folder)
        if broken:
            raise UserError(f"artifact: {folder / broken[0]} is missing or was altered since the export; export again.")
        contract = parse((folder / CONTRACT).read_bytes(), str(folder / CONTRACT))
        if identity_of(digest_tensors(folder / WEIGHTS), contract) != contract.identity:
            raise UserError(f"artifact: {folder / CONTRACT} does not belong to {WEIGHTS} beside it; export again.")
        return cls(folder, contract)

    @property
    def identity(self) -> str:
        """SHA-256 (hex) of the weights, the contract less the run, and the version of the graph's code."""
        return self.contract.identity

    @property
    def model_path(self) -> Path:
        """The TorchScript file that every verdict is measured through."""
        return self.folder / MODEL

    @property
    def attached(self) -> dict[str, dict[str, Any]]:
        """What was attached to this very artifact, by name; files that name another identity are left out."""
        found = {}
        for path in sorted((self.folder / ATTACHED).glob("*.json")):
            try:
                value = json.loads(path.read_bytes())
            except (ValueError, RecursionError):
                raise UserError(f"artifact: {path} is not JSON; remove it, or write it again.") from None
            if isinstance(value, dict) and value.get("artifact") == self.identity:
                found[path.stem] = value
        return found

    def donors(self) -> dict[str, Tensor]:
        """Returns the tensors of `donors.safetensors`: the bank (`bank/...`) and the probes (`probe/<cue>/...`)."""
        from safetensors.torch import load_file

        tensors: dict[str, Tensor] = load_file(self.folder / DONORS)
        return tensors

    def attach(self, name: str, value: dict[str, Any]) -> Path:
        """Writes `attached/<name>.json`, with the identity it belongs to, and returns its path."""
        path = self.folder / ATTACHED / f"{name}.json"
        write_json(path, {"schema_version": 1, **value, "artifact": self.identity})
        return path

    def failures(self) -> list[str]:
        """Returns the stages whose attached verdict is FAIL."""
        return [name for name, value in self.attached.items() if value.get("verdict") == "FAIL"]


def identity_of(weights: str, contract: Contract) -> str:
    """Returns the identity of an artifact from the digest of its weights (`digest_tensors`) and its contract.

    The contract holds the version of the graph's code.
    """
    return digest_json({"weights": weights, "contract": json.loads(contract.canonical())})


def digest_tensors(path: Path) -> str:
    """Returns the SHA-256 (hex) of the tensors in a safetensors file: name, type, shape and bytes, in order of name.

    The file's own digest would change with the writer's layout of its header.

    Raises:
        UserError: If the file is not one.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size:
                raise ValueError("the header is longer than the file")
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            for name in sorted(header):
                start, end = header[name]["data_offsets"]
                digest.update(canonical_json([name, header[name]["dtype"], header[name]["shape"]]).encode("utf-8"))
                file.seek(8 + length + start)
                digest.update(file.read(end - start))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError, struct.error) as error:
        raise UserError(f"artifact: {path} is no safetensors file ({first_line(error)}).") from None
    return digest.hexdigest()


def write_sums(folder: Path) -> None:
    """Writes `SHA256SUMS` (the format of `sha256sum`) over every file of a folder that is to become an artifact."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{digest_file(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def altered(folder: Path) -> list[str]:
    """Returns the files of `SHA256SUMS` that are missing or have other bytes, in its order.

    Raises:
        UserError: If a line is none of `sha256sum`, or a file that every artifact has is not listed.
    """
    path, found, listed = folder / SUMS, [], set()
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        parts = _SUM.fullmatch(line)
        if parts is None or ".." in Path(parts["name"]).parts or parts["name"].startswith("/"):
            raise UserError(f"artifact: {path}: line {number} is no digest and file name, but {shown(line)}.")
        listed.add(parts["name"])
        file = folder / parts["name"]
        if not file.is_file() or digest_file(file) != parts["digest"]:
            found.append(parts["name"])
    for name in (MODEL, PROGRAM, WEIGHTS, CONTRACT, DONORS):
        if name not in listed:
            raise UserError(f"artifact: {path} does not list {name}, so nobody knows what it was; export again.")
    return found
