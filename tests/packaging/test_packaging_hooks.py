"""The hooks of a commit: programs of the development environment, whose versions are in constraints.txt alone."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import yaml
from built_package import REPOSITORY, call
from packaging.requirements import Requirement

CONFIG = REPOSITORY / ".pre-commit-config.yaml"
PROGRAMS = Path(sys.executable).parent


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    return found


def test_pre_commit_accepts_the_file() -> None:
    call([str(PROGRAMS / "pre-commit"), "validate-config", str(CONFIG)], REPOSITORY)


def test_every_hook_is_a_program_of_the_development_environment(config: dict[str, Any]) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = [Requirement(line).name for line in project["optional-dependencies"]["dev"]]
    constrained = re.findall(r"^([\w.-]+)==", (REPOSITORY / "constraints.txt").read_text(encoding="utf-8"), re.M)
    brought = {
        path.name: name for name in extra for path in distribution(name).files or () if path.parent.name == "bin"
    }
    (repo,) = config["repos"]
    assert repo["repo"] == "local"
    for hook in repo["hooks"]:
        program = hook["entry"].split()[0]
        assert hook["language"] == "system", hook["id"]
        assert program in brought, f"{hook['id']}: no package of the extra dev brings {program}"
        assert brought[program].lower().replace("_", "-") in constrained
    assert {"ruff-check", "ruff-format", "mypy", "hadolint", "end-of-file-fixer"} <= {h["id"] for h in repo["hooks"]}


def test_oldest_pre_commit_is_the_one_that_is_asked_for(config: dict[str, Any]) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (line,) = (line for line in project["optional-dependencies"]["dev"] if Requirement(line).name == "pre-commit")
    oldest = config["minimum_pre_commit_version"]
    assert Requirement(line).specifier.contains(oldest)
    assert oldest.startswith(line.partition(">=")[2])


def test_small_hooks_find_what_they_are_for(config: dict[str, Any], tmp_path: Path) -> None:
    """Each is run as the file says, on a file with the fault."""
    faults = {
        "end-of-file-fixer": ("a.txt", "no newline"),
        "trailing-whitespace": ("a.txt", "space \n"),
        "check-yaml": ("a.yaml", "a: [1\n"),
        "check-toml": ("a.toml", "a = \n"),
        "debug-statements": ("a.py", "import pdb\n"),
        "ruff-check": ("a.py", "import os\n"),
        "hadolint": ("Dockerfile", "FROM debian\n"),
    }
    entries = {hook["id"]: hook["entry"].split() for hook in config["repos"][0]["hooks"]}
    for hook, (name, text) in faults.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        program, *options = entries[hook]
        with pytest.raises(AssertionError, match=re.escape(name)):
            call([str(PROGRAMS / program), *options, name], tmp_path)
