"""The run folder: what resuming may change, what a mistyped folder is answered with, and what a mistake leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from evensight.compose import compose, group_option
from evensight.config import CsvLogger
from evensight.errors import UserError
from evensight.run import Run, configuration


def created(tmp_path: Path) -> Run:
    return Run.create(compose(["experiment=shapes", f"runs_dir={tmp_path}"]))


def test_a_group_option_stands_when_resuming(tmp_path: Path) -> None:
    """As a bare word it would be read as the whole section, and be ignored."""
    run = created(tmp_path)
    config = configuration([f"run={run.folder}", "resume=yes", "logger=csv", "callbacks=early_stopping"])
    assert config.logger == CsvLogger()
    assert config.callbacks["early_stopping"]["monitor"] == "val/primary"
    with pytest.raises(UserError, match=r"logger.*'csw'.*Did you mean 'csv'"):
        configuration([f"run={run.folder}", "resume=true", "logger=csw"])
    with pytest.raises(UserError, match="optimizer: a resumed run keeps"):
        configuration([f"run={run.folder}", "resume=true", "optimizer=sgd"])


def test_an_empty_option_is_an_empty_section() -> None:
    assert group_option("callbacks", "none") == {}


def test_the_run_that_was_meant_is_named(tmp_path: Path) -> None:
    run = created(tmp_path)
    with pytest.raises(UserError, match=r"Did you mean .*shapes/latest\?"):
        Run.open(run.folder.parent)
    mistyped = run.folder.with_name(run.folder.name[:-1])
    with pytest.raises(UserError, match=f"Did you mean {run.folder}"):
        Run.open(mistyped)


def test_a_discarded_run_leaves_the_one_before_as_the_latest(tmp_path: Path) -> None:
    first, second = created(tmp_path), created(tmp_path)
    latest = tmp_path / "shapes" / "latest"
    assert latest.resolve() == second.folder.resolve()
    second.discard(tmp_path / "shapes")
    assert not second.folder.exists()
    assert latest.resolve() == first.folder.resolve()
    first.discard(tmp_path / "shapes")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_configuration_is_a_mistake_not_a_fault(tmp_path: Path) -> None:
    run = created(tmp_path)
    path = run.folder / "config.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "foo: [", encoding="utf-8")
    with pytest.raises(UserError, match=r"config\.yaml cannot be read"):
        run.config()
