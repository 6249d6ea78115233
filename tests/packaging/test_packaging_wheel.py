"""What is published: the wheel holds the package, its configs and its types, and nothing else, and works by itself."""

from __future__ import annotations

import email
import json
import re
import sys
import tarfile
import tomllib
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from built_package import REPOSITORY, Built, build, call, contents, refused, source_files
from packaging.requirements import Requirement

import evensight

# An experiment of a user's own with a group option of their own, which no file of ours knows of.
OWN = {
    "experiment/mine.yaml": """\
# @package _global_
defaults:
  - shapes
  - override /optimizer: gentle
  - _self_
experiment_name: mine
data: {num_train: 128, num_validation: 256, num_test: 256}
""",
    "optimizer/gentle.yaml": "name: adamw\nweight_decay: 0.125\n",
}


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    return found


def metadata(built: Built) -> Message:
    (name,) = (name for name in contents(built.wheel) if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(contents(built.wheel)[name])


def without_metadata(wheel: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(wheel).items() if ".dist-info/" not in name}


def test_wheel_holds_package_and_configs_and_nothing_else(built: Built) -> None:
    found = without_metadata(built.wheel)
    assert found == source_files()
    # The list above comes from the tree; these must be in it whatever the tree says.
    assert {"evensight/py.typed", "evensight/configs/config.yaml", "evensight/configs/experiment/shapes.yaml"} <= set(
        found
    )
    assert "evensight/report/templates/report.html" in found
    assert not [name for name in found if re.search(r"__pycache__|\.pyc$|tests|~$|\.orig$", name)]


def test_wheel_of_the_sdist_is_the_wheel_of_the_clone(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    again = build(source, tmp_path / "again")
    first, second = contents(built.wheel), contents(again.wheel)
    assert first == second
    # And the sdist can be tested: it carries the tests and what they look at.
    carried = set(contents(built.sdist))
    assert {"pyproject.toml", "constraints.txt", "train.py", "tests/conftest.py", "Dockerfile.cuda"} <= carried


def test_version_is_written_once(built: Built) -> None:
    assert metadata(built)["Version"] == evensight.__version__
    assert built.wheel.name == f"evensight-{evensight.__version__}-py3-none-any.whl"
    assert "version" not in project()["project"]


def test_metadata_says_what_an_installer_needs(built: Built) -> None:
    found = metadata(built)
    assert found["Name"] == "evensight"
    assert found["License-Expression"] == "Apache-2.0"
    assert found["Requires-Python"] == "<3.14,>=3.11"
    assert found["Description-Content-Type"] == "text/markdown"
    assert set(found.get_all("Provides-Extra") or []) == set(project()["project"]["optional-dependencies"])
    needed = [Requirement(line) for line in found.get_all("Requires-Dist") or []]
    plain = {requirement.name for requirement in needed if requirement.marker is None}
    assert {"torch", "torchvision", "lightning", "hydra-core", "albumentations", "pyyaml"} <= plain
    assert not plain & {"pytest", "ruff", "mypy", "hatchling", "pre-commit"}
    (points,) = (data for name, data in contents(built.wheel).items() if name.endswith("entry_points.txt"))
    assert points.decode().split() == ["[console_scripts]", "evensight", "=", "evensight.cli:run"]


def test_constraints_hold_every_dependency_within_its_bounds() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pinned = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    section = project()["project"]
    extras = section["optional-dependencies"].values()
    for line in [*section["dependencies"], *(line for lines in extras for line in lines)]:
        requirement = Requirement(line)
        name = requirement.name.lower().replace("_", "-")
        assert name in pinned, f"{line}: constraints.txt has no version of it"
        assert requirement.specifier.contains(pinned[name]), f"{line}: constraints.txt has {pinned[name]}"


def test_installed_program_answers_far_from_the_clone(programs: Path, tmp_path: Path) -> None:
    assert call([str(programs / "evensight"), "--version"], tmp_path).strip() == evensight.__version__
    shown = call([str(programs / "evensight"), "train", "experiment=shapes", "--cfg", "job"], tmp_path)
    assert "experiment_name: shapes" in shown
    code = "import evensight, evensight.compose as c; print(evensight.__file__); print(c.config_folder())"
    places = call([str(programs / "python"), "-c", code], tmp_path).split()
    assert all(Path(place).is_relative_to(programs.parent) for place in places), places
    assert list(tmp_path.iterdir()) == []


# A folder's name can hold what Hydra's grammar reads as its own.
@pytest.mark.parametrize(
    "name", ["plain", "with a space", "a,b=c [d] {e} 'f' (g)", "été ${h} %20 #i", 'back\\slash "q"']
)
def test_own_options_are_found_in_any_folder(programs: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    write_own(folder)
    shown = call([str(programs / "evensight"), "train", "experiment=mine", "--cfg", "job"], folder)
    assert "experiment_name: mine" in shown
    assert "weight_decay: 0.125" in shown
    assert "mine" in call([str(programs / "evensight"), "train", "--help"], folder)


def test_own_file_with_a_name_of_ours_is_not_passed_over_in_silence(programs: Path, tmp_path: Path) -> None:
    write_own(tmp_path)
    ours = source_files()["evensight/configs/model/mlp.yaml"]
    (tmp_path / "configs" / "model").mkdir()
    (tmp_path / "configs" / "model" / "mlp.yaml").write_bytes(ours)  # a copy says the same
    call([str(programs / "evensight"), "train", "experiment=mine", "--cfg", "job"], tmp_path)
    (tmp_path / "configs" / "model" / "mlp.yaml").write_bytes(ours + b"drop_rate: 0.5\n")
    status, said = refused([str(programs / "evensight"), "train", "experiment=mine", "--cfg", "job"], tmp_path)
    assert status == 2
    assert said == (
        "evensight: configs/model/mlp.yaml: evensight has an option of this name, which would be taken; "
        "rename the file, as in configs/model/my_mlp.yaml.\n"
    )
    status, said = refused([str(programs / "evensight"), "train", "experiment=bar", "--save=shapes"], tmp_path)
    assert status == 2
    assert not (tmp_path / "configs" / "experiment" / "shapes.yaml").exists()


@pytest.mark.slow
def test_installed_wheel_trains_from_an_empty_folder(programs: Path, tmp_path: Path) -> None:
    write_own(tmp_path)
    train(programs, tmp_path)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_wheel_in_an_empty_environment(built: Built, tmp_path: Path) -> None:
    """Everything comes from the package registry, as it does for a user; gigabytes, so not in every run."""
    call([sys.executable, "-m", "venv", "empty"], tmp_path)
    programs = tmp_path / "empty" / "bin"
    constraints = ["-c", str(REPOSITORY / "constraints.txt")]
    call([str(programs / "python"), "-m", "pip", "install", "--quiet", *constraints, str(built.wheel)], tmp_path)
    call([str(programs / "python"), "-m", "pip", "check"], tmp_path)
    place = tmp_path / "anywhere"
    write_own(place)
    train(programs, place)


def write_own(folder: Path) -> None:
    for name, text in OWN.items():
        (folder / "configs" / name).parent.mkdir(parents=True)
        (folder / "configs" / name).write_text(text, encoding="utf-8")


def train(programs: Path, folder: Path) -> None:
    """Runs the user's own experiment and looks at what the folder holds afterwards."""
    said = call(
        [str(programs / "evensight"), "train", "experiment=mine", "debug=fast", "trainer.num_threads=1"], folder
    )
    run = folder / "runs" / "mine" / "latest"
    assert json.loads((run / "verdicts" / "test.json").read_text(encoding="utf-8"))["verdict"]
    assert (run / "artifact" / "model.ts").is_file()
    assert (run / "report.html").is_file()
    assert "report" in said
    assert {path.name for path in folder.iterdir()} == {"configs", "runs", "datasets"}
    labels = call(
        [
            *(str(programs / "evensight"), "predict", f"artifact={run / 'artifact'}", "accept_failed=true"),
            f"data={next((folder / 'datasets' / 'shapes').glob('*/images/test'))}",
        ],
        folder,
    )
    assert len(labels.splitlines()) > 100
