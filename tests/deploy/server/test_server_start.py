"""What is never served: an altered artifact, a failed one, options that make no sense."""

from __future__ import annotations

import contextlib
import socket
import subprocess

import pytest
from bad_requests import PNG
from server_process import command, environment, serving

from evensight import cli
from evensight.deploy.server.card import made_card
from evensight.deploy.server.model import load

FILES = (
    *("model.ts", "model.pt2", "weights.safetensors", "contract.json", "donors.safetensors", "SHA256SUMS"),
    *("golden/0.png", "golden/1.png", "golden/2.png", "golden/3.png", "golden/outputs.safetensors"),
)


def refused(capsys, artifact, *arguments: str) -> str:
    """Runs the command in this process; returns the sentence it ends with."""
    given = {argument.partition("=")[0] for argument in arguments}
    others = [default for default in ("port=0", "log=off") if default.partition("=")[0] not in given]
    assert cli.main(command(artifact, *others, *arguments)[3:]) == 2
    said = capsys.readouterr()
    assert "serving on" not in said.out
    (sentence,) = [line for line in said.err.splitlines() if line.startswith("evensight: ")]
    return sentence


def flip(path) -> None:
    """Flips a bit of the byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def test_every_file_of_an_artifact_is_flipped_below(made):
    """Or a file that exports begin to write would be forgotten here."""
    folder = made.artifact.folder
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there - {name for name in there if name.startswith("attached/")} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_in_any_file_is_never_served(copied, capsys, name):
    folder = copied().folder
    flip(folder / name)
    assert name.rpartition("/")[2] in refused(capsys, folder) or name == "SHA256SUMS"


def test_a_flipped_byte_ends_the_process_with_2(copied):
    """The same as the process of the command says it."""
    folder = copied().folder
    flip(folder / "model.ts")
    done = subprocess.run(command(folder, "log=off"), env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "model.ts is missing or was altered" in done.stderr


def test_a_failed_verdict_is_refused_unless_accepted_and_said_each_time(copied, folder, capsys, images):
    """The card that is attached takes the place of the made one."""
    artifact = copied()
    artifact.attach("verdict_test", {"verdict": "FAIL", "stage": "test", "requirements": []})
    assert made_card(load(artifact, ["verdict_test"]))["verdict"] == "FAIL"
    artifact.attach("card", {"purpose": "written by hand"})
    assert "its test verdict is FAIL" in refused(capsys, artifact.folder)
    with serving(artifact.folder, folder, "accept_failed=true") as server:
        with server.client() as client:
            assert client.post("/predict", content=images[0], headers=PNG).status_code == 200
            about = client.get("/model").json()
        assert about["accepted_failed"] == ["verdict_test"]
        assert about["verdict"]["verdict"] == "FAIL"
        assert about["card"] == {"schema_version": 1, "purpose": "written by hand", "artifact": artifact.identity}
        assert "verdict is FAIL; used because accept_failed=true" in server.errors.read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["port=70000"], ["port", "70000", "65,535"]),
        (["port=http"], ["port", "'http'", "whole number"]),
        (["reliance_sample=1.5"], ["reliance_sample", "1.5", "0 to 1"]),
        (["max_batch=0"], ["max_batch"]),
        (["deadline_s=nan"], ["deadline_s"]),
        (["max_images=300"], ["max_images", "queue (256)"]),
        (["keep_images=true"], ["keep_images", "log=off"]),
        (["token=two words"], ["token", "spaces"]),
        (["host=nowhere.invalid"], ["host", "nowhere.invalid"]),
        (["maxbatch=1"], ["maxbatch", "max_batch"]),
    ],
)
def test_options_that_make_no_sense_are_told(made, capsys, arguments, said):
    sentence = refused(capsys, made.artifact.folder, *arguments)
    assert all(part in sentence for part in said)


def test_a_port_that_is_taken_is_told(made, capsys):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        assert f"{port} cannot be listened on" in refused(capsys, made.artifact.folder, f"port={port}")


@pytest.mark.parametrize("artifact", ["registry:champion", "registry:best"])
def test_a_registry_that_is_not_there_is_told(capsys, tmp_path, artifact):
    assert "registry" in refused(capsys, artifact, f"registry={tmp_path / 'none'}")


def test_a_log_that_is_something_else_is_told(made, capsys, tmp_path):
    (tmp_path / "notes.txt").write_text("not a log" * 1000)
    assert "notes.txt" in refused(capsys, made.artifact.folder, f"log={tmp_path / 'notes.txt'}")
    assert (tmp_path / "notes.txt").read_text().startswith("not a log")


def test_an_open_door_without_a_token_is_warned_of(caplog):
    from evensight.deploy.server.serve import check
    from evensight.options import ServeOptions

    assert check(ServeOptions(artifact="x", host="0.0.0.0")) is None
    assert "no token" in caplog.text
    caplog.clear()
    assert check(ServeOptions(artifact="x", host="0.0.0.0", token="secret")) == "secret"
    for host in ("127.0.0.1", "::1", "localhost"):
        assert check(ServeOptions(artifact="x", host=host)) is None
    assert caplog.text == ""


def test_the_log_has_a_place_of_its_own(made):
    from pathlib import Path

    from evensight.deploy.server.serve import log_path

    assert log_path(None, made.artifact) == Path("log/made/predictions.sqlite")
    assert log_path("a.sqlite", made.artifact) == Path("a.sqlite")
    assert log_path("off", made.artifact) is None
