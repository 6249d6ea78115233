"""The container: what its file says, by its instructions, and what its install steps do when they are run."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import sys
from pathlib import Path, PurePosixPath

import pytest
from built_package import REPOSITORY, call
from dockerfile_steps import Instruction, Stage, moved, read

import evensight

FILE = REPOSITORY / "Dockerfile.cuda"
BUILD_TOOLS = r"\b(gcc|g\+\+|clang|make|cmake|build-essential|nvcc|apt-get|apt|git|curl|wget)\b"


@pytest.fixture(scope="module")
def stages() -> list[Stage]:
    return read(FILE.read_text(encoding="utf-8"))


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a file out: the last line that fits it, or a folder it is in, decides."""
    places = [path, *(str(parent) for parent in PurePosixPath(path).parents if str(parent) != ".")]
    out = False
    for line in (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip().removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        # `**/name` fits at any depth, `name` at the top alone.
        parts = [place.rpartition("/")[2] if pattern.startswith("**/") else place for place in places]
        if any(fnmatch.fnmatchcase(part, pattern.removeprefix("**/")) for part in parts):
            out = not line.strip().startswith("!")
    return out


def test_hadolint_finds_nothing() -> None:
    call([str(Path(sys.executable).parent / "hadolint"), str(FILE)], REPOSITORY)


def test_base_is_pinned_by_version_and_digest(stages: list[Stage]) -> None:
    assert [stage.name for stage in stages] == ["build", "final"]
    for stage in stages:
        # A public name without a registry's address, a whole version, the digest of the index.
        assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", stage.image), stage.image


def test_layers_are_ordered_for_the_cache(stages: list[Stage]) -> None:
    build = stages[0].instructions
    copies = [instruction for instruction in build if instruction.name == "COPY"]
    # The installation of the dependencies sees two files alone, and comes before the source is there.
    (heavy,) = (i for i, step in enumerate(build) if "-r requirements.txt" in step.value)
    before = [word for step in copies if build.index(step) < heavy for word in step.words()[:-1]]
    after = [word for step in copies if build.index(step) > heavy for word in step.words()[:-1]]
    assert before == ["pyproject.toml", "constraints.txt"]
    assert set(after) == {"README.md", "LICENSE", "configs", "src"}
    # What differs in every build (version, revision) touches no layer with files in it.
    last = [instruction.name for instruction in stages[1].instructions]
    assert last[-3:] == ["ARG", "ARG", "LABEL"]
    assert "ARG" not in last[:-3]


def test_final_image_has_the_environment_and_no_build_tool(stages: list[Stage]) -> None:
    final = stages[1]
    copies = final.all("COPY")
    assert [(step.flags, step.words()) for step in copies] == [({"from": "build"}, ["/opt/evensight"] * 2)]
    assert not final.all("ADD")
    commands = [step.value for step in final.all("RUN")]
    assert not [command for command in commands if re.search(BUILD_TOOLS, command)]
    (uninstalled,) = re.findall(r"pip uninstall ([^&]+)", " ".join(commands))
    assert {"pip", "setuptools", "wheel"} <= set(uninstalled.split())
    # pip is not in what is copied either.
    assert "--without-pip" in stages[0].all("RUN")[0].value


def test_it_runs_as_a_user_who_owns_where_it_writes(stages: list[Stage]) -> None:
    final = stages[1]
    (user,) = final.all("USER")
    number = user.value.split(":")[0]
    assert number.isdigit()
    assert int(number) > 0
    made = " ".join(step.value for step in final.all("RUN"))
    assert f"useradd --uid {number}" in made
    assert final.instructions.index(user) > max(map(final.instructions.index, final.all("RUN")))
    (place,) = final.all("WORKDIR")
    volumes = final.all("VOLUME")[0].words()
    assert volumes == [f"{place.value}/{name}" for name in ("runs", "datasets")]
    assert re.search(rf"mkdir -p {' '.join(volumes)} && chown -R \w+:\w+ {place.value}$", made)
    # The defaults of runs_dir and datasets_dir lead into those volumes.
    config = evensight.configuration(["experiment=shapes"])
    assert [config.runs_dir, config.datasets_dir] == [PurePosixPath(volume).name for volume in volumes]


def test_it_tells_its_health_and_what_it_is(stages: list[Stage]) -> None:
    final = stages[1]
    (health,) = final.all("HEALTHCHECK")
    assert {"interval", "timeout", "start-period", "retries"} <= set(health.flags)
    assert Instruction("CMD", {}, health.value.removeprefix("CMD ")).words() == ["evensight", "--version"]
    assert final.all("ENTRYPOINT")[0].words() == ["evensight"]
    labels = final.all("LABEL")[0].pairs()
    prefix = "org.opencontainers.image."
    assert {prefix + name for name in ("title", "description", "licenses", "version", "revision")} == set(labels)
    assert labels[prefix + "description"] == evensight.__doc__.splitlines()[0].partition(": ")[2].capitalize()
    assert labels[prefix + "licenses"] == "Apache-2.0"


def test_context_holds_what_is_copied_and_no_more(stages: list[Stage]) -> None:
    wanted = [word for step in stages[0].all("COPY") for word in step.words()[:-1]]
    for name in wanted:
        inside = [name, f"{name}/one.py", f"{name}/a/b/two.yaml"] if (REPOSITORY / name).is_dir() else [name]
        assert not [path for path in inside if ignored(path)]
    for path in (
        *(
            ".git/config",
            ".env",
            ".venv/bin/python",
            "runs/shapes/latest/run.log",
            "datasets/shapes/x.png",
            "wandb/key",
        ),
        *("tests/conftest.py", "src/evensight/__pycache__/cli.pyc", "src/evensight/cli.pyc", "Dockerfile.cuda"),
    ):
        assert ignored(path), path


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_install_steps_work_in_a_clean_environment(stages: list[Stage], tmp_path: Path) -> None:
    """Runs every instruction of the file that installs, in order, under a folder that stands in for the root."""
    build, final = stages
    base = tmp_path / "base"  # the image's Python: its own pip, setuptools and wheel, nothing else
    call([sys.executable, "-m", "venv", str(base)], tmp_path)
    environment = {**build.environment(), "PATH": f"{base / 'bin'}:{os.environ['PATH']}"}
    folder = tmp_path
    ran = []
    for step in build.instructions:
        if step.name == "WORKDIR":
            folder = Path(moved(step.value, tmp_path))
            folder.mkdir()
        elif step.name == "COPY":
            *sources, target = step.words()
            for source in sources:
                copy(REPOSITORY / source, folder / target / source if target == "./" else folder / target)
        elif step.name == "RUN":
            call(["bash", "-euc", moved(step.value, tmp_path)], folder, environment)
            ran.append(step.value)
    assert len(ran) == 3
    shutil.rmtree(tmp_path / "build")  # the final image has the environment alone
    for command in (part for step in final.all("RUN") for part in step.value.split(" && ")):
        if not command.startswith(("useradd", "chown")):  # those are for root in an image
            call(["bash", "-euc", moved(command, tmp_path)], tmp_path, environment)
    installed = tmp_path / "opt" / "evensight" / "bin"
    assert not list(installed.glob("pip*"))
    assert not list((base / "bin").glob("python*-pip")) + list((base / "lib").glob("*/site-packages/pip"))
    health = Instruction("CMD", {}, final.all("HEALTHCHECK")[0].value.removeprefix("CMD ")).words()
    place = tmp_path / "workspace"
    assert call([str(installed / health[0]), *health[1:]], place).strip() == evensight.__version__
    call([str(installed / "evensight"), "train", "experiment=shapes", "debug=fast", "trainer.num_threads=1"], place)
    assert (place / "runs" / "shapes" / "latest" / "report.html").is_file()


def copy(source: Path, target: Path) -> None:
    """Copies as COPY does: what .dockerignore leaves."""
    if source.is_file():
        shutil.copyfile(source, target)
        return
    for path in source.rglob("*"):
        if path.is_file() and not ignored(path.relative_to(REPOSITORY).as_posix()):
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
