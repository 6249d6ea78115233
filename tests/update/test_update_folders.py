"""Numbered folders. If this fails, of two processes one overwrites what the other wrote."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from evensight.errors import UserError
from evensight.update.folders import new_folder, numbered


def write(out: Path, who: int) -> None:
    for turn in range(10):
        with new_folder(out, "plan") as (folder, _):
            (folder / "who.txt").write_text(f"{who} {turn}")


def test_processes_never_share_a_number(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write, args=(tmp_path / "out", who)) for who in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    found = numbered(tmp_path / "out", "plan")
    assert [path.name for path in found] == [f"plan-{number}" for number in range(1, 41)]
    assert len({(path / "who.txt").read_text() for path in found}) == 40


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path, "plan") as (folder, _):
        (folder / "half.txt").write_text("half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with new_folder(tmp_path, "plan") as (folder, target):
        (folder / "whole.txt").write_text("whole")
    assert (target / "whole.txt").read_text() == "whole"
    (tmp_path / "plan-7").mkdir()  # of a process that was killed: its number is spent, and it counts as none
    with new_folder(tmp_path, "plan") as (folder, target):
        (folder / "whole.txt").write_text("whole")
    assert target.name == "plan-8"
    assert [path.name for path in numbered(tmp_path, "plan")] == ["plan-1", "plan-8"]
    assert numbered(tmp_path / "none", "plan") == []


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"out: .*file cannot be written"), new_folder(tmp_path / "file", "plan"):
        pass
