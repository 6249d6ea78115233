"""If these fail, a server may follow an alias to no model, to two, or to one that nobody judged."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from known_logs import until
from twins import twin

from evensight.errors import UserError
from evensight.records.artifact import Artifact
from evensight.records.registry import Registry, artifact_folder
from made_artifact import Made

SCRIPT = Path(__file__).parent / "twins.py"


@pytest.fixture(scope="module")
def two(made: Made, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Artifact]:
    return made.artifact, twin(made.artifact, tmp_path_factory.mktemp("twin") / "artifact")


@pytest.fixture
def registry(two: tuple[Artifact, Artifact], tmp_path: Path) -> Registry:
    """With both artifacts, the first the champion."""
    opened = Registry.open(tmp_path / "registry", create=True)
    for artifact in two:
        opened.add(artifact)
    opened.promote(two[0].identity, "the first")
    return opened


@pytest.fixture
def one(two: tuple[Artifact, Artifact]) -> str:
    return two[0].identity


@pytest.fixture
def other(two: tuple[Artifact, Artifact]) -> str:
    return two[1].identity


def environment() -> dict[str, str]:
    """Of a process that imports what the tests import."""
    places = [str(SCRIPT.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(places)}


def test_an_artifact_is_copied_whole(registry: Registry, two: tuple[Artifact, Artifact]) -> None:
    for artifact in two:
        copy = registry.folder / "artifacts" / artifact.identity
        assert Artifact.open(copy).identity == artifact.identity
        files = [path.relative_to(artifact.folder) for path in artifact.folder.rglob("*")]
        assert {path.relative_to(copy) for path in copy.rglob("*")} == set(files)
    assert not list(registry.folder.rglob(".*.tmp"))


def test_what_is_attached_goes_along_also_later(tmp_path: Path, two: tuple[Artifact, Artifact]) -> None:
    artifact = twin(two[0], tmp_path / "artifact", 2)
    artifact.attach("card", {"text": "first"})
    registry = Registry.open(tmp_path / "registry", create=True)
    folder = registry.add(artifact)
    Artifact.open(folder).attach("monitor", {"text": "of the copy"})
    artifact.attach("card", {"text": "second"})
    artifact.attach("verdict_test", {"verdict": "PASS"})
    assert registry.add(artifact) == folder
    attached = Artifact.open(folder).attached
    assert {name: value.get("text") for name, value in attached.items()} == {
        "card": "second",
        "monitor": "of the copy",
        "verdict_test": None,
    }
    assert registry.add(Artifact.open(folder)) == folder
    assert Artifact.open(folder).attached == attached


def test_an_artifact_that_was_altered_is_not_added(tmp_path: Path, two: tuple[Artifact, Artifact]) -> None:
    artifact = twin(two[0], tmp_path / "artifact", 3)
    (artifact.folder / "model.ts").write_bytes(b"other")
    registry = Registry.open(tmp_path / "registry", create=True)
    with pytest.raises(UserError, match=r"model\.ts is missing or was altered"):
        registry.add(artifact)
    assert list((registry.folder / "artifacts").iterdir()) == []


def test_aliases_are_set_promoted_and_rolled_back(registry: Registry, one: str, other: str) -> None:
    assert (registry.identity("champion"), registry.identity("challenger")) == (one, None)
    registry.set("challenger", other, "looks better", {"accuracy": 0.9})
    assert registry.artifact("challenger") == registry.folder / "artifacts" / other
    registry.promote(other, "it is better")
    assert (registry.identity("champion"), registry.identity("challenger")) == (other, other)
    assert registry.rollback("it was not") == one
    assert registry.identity("champion") == one
    assert (registry.folder / "aliases" / "champion").readlink() == Path("..", "artifacts", one)
    lines = [(line["what"], line["alias"], line["identity"], line["previous_identity"]) for line in registry.history()]
    assert lines == [
        ("promote", "champion", one, None),
        ("set", "challenger", other, None),
        ("promote", "champion", other, one),
        ("rollback", "champion", one, other),
    ]
    assert registry.history()[1]["evidence"] == {"accuracy": 0.9}
    assert registry.history()[1]["why"] == "looks better"
    registry.verify()
    with pytest.raises(UserError, match="has had no champion before this one, so none to go back to"):
        registry.rollback("again")
    assert len(registry.history()) == 4


def test_rollback_goes_back_as_often_as_there_was_one_before(registry: Registry, one: str, other: str) -> None:
    for identity in (other, one, other):
        registry.promote(identity, "better")
    assert [registry.rollback("worse") for _ in range(3)] == [one, other, one]
    registry.promote(other, "better")
    assert registry.rollback("worse") == one


def test_promoting_the_champion_changes_nothing(registry: Registry, one: str) -> None:
    registry.promote(one, "again")
    assert len(registry.history()) == 1


def test_what_is_not_there_is_told(registry: Registry, tmp_path: Path, one: str) -> None:
    with pytest.raises(UserError, match=r"has no challenger; aliases that point at an artifact: champion\."):
        registry.artifact("challenger")
    with pytest.raises(UserError, match=r"'champoin' is not known; allowed: challenger, champion. Did you mean 'champ"):
        registry.artifact("champoin")
    for identity in ("../artifacts", "", one[:-1], ".", f"../artifacts/{one}"):
        with pytest.raises(UserError, match=f"is not known; allowed: .*{one}"):
            registry.promote(identity, "why not")
    with pytest.raises(UserError, match="why: a value is needed"):
        registry.promote(one, " ")
    with pytest.raises(UserError, match="there is none at"):
        Registry.open(tmp_path)
    (tmp_path / "registry" / "registry.json").write_text('{"schema_version": 2}')
    with pytest.raises(UserError, match="is of version 2, this evensight reads 1"):
        Registry.open(tmp_path / "registry")
    (tmp_path / "registry" / "registry.json").write_text("[]")
    with pytest.raises(UserError, match="cannot be read"):
        Registry.open(tmp_path / "registry")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"there is none at|cannot be written"):
        Registry.open(tmp_path / "file", create=True)
    assert len(registry.history()) == 1


def test_evidence_that_is_no_json_changes_nothing(registry: Registry, one: str, other: str) -> None:
    for evidence in ({"accuracy": float("nan")}, {"accuracy": object()}):
        with pytest.raises((ValueError, TypeError)):
            registry.promote(other, "better", evidence)
    assert registry.identity("champion") == one
    registry.verify()


def test_the_artifact_of_an_option(registry: Registry, one: str) -> None:
    name = str(registry.folder)
    assert artifact_folder("registry:champion", name) == registry.folder / "artifacts" / one
    assert artifact_folder("runs/digits/latest/artifact", name) == Path("runs/digits/latest/artifact")
    with pytest.raises(UserError, match="has no challenger"):
        artifact_folder("registry:challenger", name)
    with pytest.raises(UserError, match="alias"):
        artifact_folder("registry:", name)


@pytest.mark.parametrize("change", ["altered", "removed", "exchanged"])
def test_an_alias_of_an_artifact_that_was_altered_is_refused(
    registry: Registry, one: str, other: str, change: str
) -> None:
    folder = registry.folder / "artifacts" / one
    if change == "altered":
        (folder / "donors.safetensors").write_bytes(b"other")
    else:
        shutil.rmtree(folder)
    if change == "exchanged":
        shutil.copytree(registry.folder / "artifacts" / other, folder)
    for refused in (
        registry.verify,
        lambda: registry.artifact("champion"),
        lambda: registry.set("challenger", one, "x"),
    ):
        with pytest.raises(UserError, match=r"is missing or was altered|no artifact|it was exchanged|is not known"):
            refused()
    registry.promote(other, "the one that is whole")
    registry.verify()
    with pytest.raises(UserError):
        registry.rollback("back")
    assert registry.identity("champion") == other


def test_a_changed_ledger_is_refused(registry: Registry, other: str) -> None:
    registry.promote(other, "better")
    path = registry.folder / "ledger.jsonl"
    path.write_text(path.read_text().replace("better", "bettre"))
    for refused in (lambda: Registry.open(registry.folder), registry.verify, lambda: registry.rollback("x")):
        with pytest.raises(UserError, match=r"ledger\.jsonl: line 2 was altered"):
            refused()
    assert registry.identity("champion") == other  # what is served goes on being served


def test_a_pointer_that_the_ledger_does_not_know_is_told_and_set_right(
    registry: Registry, one: str, other: str
) -> None:
    link = registry.folder / "aliases" / "champion"
    link.unlink()
    link.symlink_to(f"../artifacts/{other}")
    with pytest.raises(UserError, match=f"points at {other}, the ledger says {one}"):
        registry.verify()
    Registry.open(registry.folder).verify()
    assert registry.identity("champion") == one
    link.unlink()
    link.mkdir()
    with pytest.raises(UserError, match="is no link to an artifact"):
        registry.identity("champion")


@pytest.fixture
def read_only(registry: Registry) -> Iterator[Registry]:
    """The same registry where this process may not write; its last change has not reached the pointer."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    shutil.copytree(registry.folder, folder / "registry", symlinks=True)
    everything = [folder / "registry", *(folder / "registry").rglob("*")]
    for path in everything:
        path.chmod(0o555, follow_symlinks=True)
    if os.geteuid() == 0:
        os.seteuid(65_534)
    yield Registry(folder / "registry")
    os.seteuid(os.getuid())
    for path in everything:
        path.chmod(0o755)
    shutil.rmtree(folder)


def test_following_needs_no_right_to_write(read_only: Registry, one: str, other: str) -> None:
    opened = Registry.open(read_only.folder)
    assert opened.identity("champion") == one
    assert opened.artifact("champion") == read_only.folder / "artifacts" / one
    opened.verify()
    with pytest.raises(UserError, match=r"^registry: .* cannot be written \(Permission denied\)"):
        opened.promote(other, "better")
    with pytest.raises(UserError, match="cannot be written"):
        Registry.open(read_only.folder / "new", create=True)


def test_two_processes_promote_at_once(registry: Registry, one: str, other: str) -> None:
    """Each waits for the other; a third looks on and sees one or the other at every moment."""
    number = 50
    arguments = [sys.executable, str(SCRIPT), str(registry.folder)]
    both = [
        subprocess.Popen([*arguments, *turn, str(number), str(registry.folder / "go")], env=environment())
        for turn in ((one, other), (other, one))
    ]
    until(lambda: len(list(registry.folder.glob("go.*"))) == 2)
    (registry.folder / "go").touch()
    seen = set()
    while any(process.poll() is None for process in both):
        seen.add(registry.identity("champion"))
        assert len(registry.history()) >= 1
    assert [process.returncode for process in both] == [0, 0]
    assert seen == {one, other}
    lines = registry.history()
    registry.verify()
    assert number < len(lines) <= 1 + 2 * number
    assert all(line["previous_identity"] != line["identity"] for line in lines)
    for before, after in itertools.pairwise(lines):
        assert after["previous_identity"] == before["identity"]


def check_after_kill(registry: Registry, identities: set[str]) -> None:
    """One champion that opens, and a ledger that verifies."""
    assert registry.identity("champion") in identities  # before anything is put right
    opened = Registry.open(registry.folder)
    opened.verify()
    champion = opened.identity("champion")
    assert champion == opened.history()[-1]["identity"]
    assert Artifact.open(opened.artifact("champion")).identity == champion
    assert [path.name for path in (registry.folder / "aliases").glob("[!.]*")] == ["champion"]


@pytest.mark.slow
def test_kill_at_twenty_moments(registry: Registry, one: str, other: str, tmp_path: Path) -> None:
    """A process that promotes back and forth is killed at any time within some changes of the start."""
    generator = np.random.default_rng(7)
    for _ in range(20):
        arguments = [sys.executable, str(SCRIPT), str(registry.folder), other, one, "100000", str(tmp_path)]
        with subprocess.Popen(arguments, env=environment(), stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            at = len(registry.history()) + int(generator.integers(0, 3))
            until(lambda at=at: (registry.folder / "ledger.jsonl").read_bytes().count(b"\n") >= at)  # type: ignore[misc]
            for _ in range(int(generator.integers(0, 4000))):
                pass
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        check_after_kill(registry, {one, other})
    assert len(registry.history()) > 20


@pytest.mark.slow
def test_kill_at_each_line_of_a_change(registry: Registry, one: str, other: str) -> None:
    """Whatever line of the registry's code a process dies at: the change happened or did not."""
    arguments = [sys.executable, str(SCRIPT), str(registry.folder), other, "lines", "1", "1"]
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) > 30
    assert [ended for _, ended, *_ in told] == [False] * (len(told) - 1) + [True]
    before, length = one, 1
    behind = 0
    for _, _, found, champion, lines in told:
        assert found in (before, champion)  # never a third, never none
        assert lines in (length, length + 1)
        assert champion == (before if lines == length else ({one, other} - {before}).pop())
        behind += found != champion
        before, length = champion, lines
    assert behind > 0  # between the line and the pointer; opening sets it right
    check_after_kill(registry, {one, other})


def test_kill_while_an_artifact_is_added(registry: Registry, two: tuple[Artifact, Artifact], other: str) -> None:
    """What a kill leaves of a copy is no artifact, and is gone with the next change."""
    left = registry.folder / "artifacts" / f".{'c' * 64}.abcdefgh.tmp"
    shutil.copytree(two[0].folder, left)
    pointer = registry.folder / "aliases" / ".champion.12345678.tmp"
    pointer.symlink_to(f"../artifacts/{other}")
    with pytest.raises(UserError, match="is not known"):
        Registry.open(registry.folder).promote(left.name, "why not")
    registry.promote(other, "better")
    assert not left.exists()
    assert not pointer.is_symlink()
    registry.verify()
