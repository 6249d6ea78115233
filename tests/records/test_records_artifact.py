"""If these fail, a broken or altered artifact is taken for the one that was judged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import made_artifact
from evensight.errors import UserError
from evensight.records.artifact import Artifact, digest_tensors, identity_of, write_sums
from evensight.records.contract import Contract, parse


def test_opens_whole(made: made_artifact.Made) -> None:
    assert Artifact.open(made.run.artifact) == made.artifact
    assert len(made.artifact.identity) == 64


def test_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no artifact"):
        Artifact.open(tmp_path)


@pytest.mark.parametrize("name", ["model.ts", "model.pt2", "weights.safetensors", "donors.safetensors", "golden/0.png"])
def test_a_flipped_byte_is_found(copied: Callable[[], Artifact], name: str) -> None:
    path = copied().folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=name):
        copied()


def test_a_missing_file_is_found(copied: Callable[[], Artifact]) -> None:
    (copied().folder / "model.pt2").unlink()
    with pytest.raises(UserError, match=r"model\.pt2 is missing or was altered"):
        copied()


def test_a_contract_of_other_weights_is_found_even_with_new_sums(copied: Callable[[], Artifact]) -> None:
    folder = copied().folder
    contract = json.loads((folder / "contract.json").read_text())
    contract["temperature"] = 2.0
    (folder / "contract.json").write_text(json.dumps(contract))
    (folder / "SHA256SUMS").unlink()
    write_sums(folder)
    with pytest.raises(UserError, match="does not belong to"):
        copied()


def test_digest_is_of_tensors_not_of_the_header(tmp_path: Path) -> None:
    one, two = torch.arange(6.0).reshape(2, 3), torch.tensor([1, 2])
    save_file({"a": one, "b": two}, tmp_path / "plain.safetensors")
    save_file({"b": two, "a": one}, tmp_path / "noted.safetensors", metadata={"written": "later"})
    save_file({"a": one.reshape(3, 2), "b": two}, tmp_path / "reshaped.safetensors")
    save_file({"a": one, "c": two}, tmp_path / "renamed.safetensors")
    digests = {path.stem: digest_tensors(path) for path in tmp_path.iterdir()}
    assert digests["plain"] == digests["noted"]
    assert len({digests["plain"], digests["reshaped"], digests["renamed"]}) == 3


def test_identity_ignores_the_run_alone(made: made_artifact.Made) -> None:
    contract = made.artifact.contract
    elsewhere = contract.model_copy(update={"run": {"folder": "another"}, "identity": ""})
    warmer = contract.model_copy(update={"temperature": contract.temperature * 1.01})
    newer = contract.model_copy(update={"graph_version": contract.graph_version + 1})
    assert identity_of("0" * 64, elsewhere) == identity_of("0" * 64, contract)
    assert identity_of("1" * 64, contract) != identity_of("0" * 64, contract)
    assert identity_of("0" * 64, warmer) != identity_of("0" * 64, contract)
    assert identity_of("0" * 64, newer) != identity_of("0" * 64, contract)


def test_attached_belongs_to_one_identity(copied: Callable[[], Artifact]) -> None:
    artifact = copied()
    artifact.attach("verdict_test", {"verdict": "FAIL"})
    foreign = artifact.folder / "attached" / "card.json"
    foreign.write_text(json.dumps({"artifact": "f" * 64, "verdict": "FAIL"}))
    assert list(copied().attached) == ["verdict_test"]
    assert copied().failures() == ["verdict_test"]
    assert copied().attached["verdict_test"]["artifact"] == artifact.identity


def test_the_objective_inside_is_the_one_stated(made: made_artifact.Made) -> None:
    assert made.artifact.contract.stated_objective().digest() == made_artifact.objective().digest()


def test_unknown_keys_and_schemas_are_refused(made: made_artifact.Made) -> None:
    plain = made.artifact.contract.model_dump(mode="json")
    assert parse(json.dumps(plain), "here") == made.artifact.contract
    with pytest.raises(UserError, match="later"):
        parse(json.dumps({**plain, "later": 1}), "here")
    with pytest.raises(UserError, match="here is no contract of schema 1: schema_version"):
        parse(json.dumps({**plain, "schema_version": 2}), "here")
    assert set(Contract.model_fields) == set(plain)
