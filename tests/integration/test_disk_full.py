"""No room for a file: the old one stands, one sentence, status 4; or training goes on and says what it lacks.

The writes are real. While the file that a case names is being written, no file of this process may grow beyond a few
bytes (RLIMIT_FSIZE), so the write ends with EFBIG where a full disk would say ENOSPC; one case fills a real small disk.
"""

from __future__ import annotations

import logging
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evensight import files
from evensight.cli import main
from evensight.run import Run

FEW = 16  # bytes
SMALL = (
    *("experiment=shapes", "trainer=cpu", "data.num_train=256", "data.num_validation=256", "data.num_test=64"),
    *("model.size=24", "model.kwargs.channels=[8,16]", "model.kwargs.num_strided=2", "data.batch_size=64"),
    *("data.num_workers=0", "reliance.max_images=32", "reliance.donors_per_class=4", "test=false"),
)


class Disk:
    """Has no room for the files whose path ends so, until it has turned some away."""

    def __init__(self, ending: str, num_bytes: int = FEW, times: int = 1_000_000) -> None:
        self.ending, self.num_bytes, self.times = ending, num_bytes, times
        self.met: list[Path] = []

    @contextmanager
    def writing(self, path: Path, temporary: Path | None = None) -> Iterator[None]:
        whole = files_writing(path, temporary)
        if not str(path).endswith(self.ending) or len(self.met) >= self.times:
            with whole:
                yield
            return
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.num_bytes, hard))
        try:
            with whole:
                yield
        except OSError:
            self.met.append(path)
            raise
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


files_writing = files.writing


@pytest.fixture
def small(tmp_path: Path, datasets: Path) -> list[str]:
    """The command of a small run in the test's own folder."""
    return ["train", *SMALL, "trainer.max_epochs=1", f"runs_dir={tmp_path / 'runs'}", f"datasets_dir={datasets}"]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("datasets")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, datasets: Path) -> Run:
    """A run that found room for everything."""
    folder = tmp_path_factory.mktemp("whole")
    arguments = ["train", *SMALL, "trainer.max_epochs=1", "test=true"]
    assert main([*arguments, f"runs_dir={folder / 'runs'}", f"datasets_dir={datasets}"]) == 0
    return Run.open(folder / "runs" / "shapes" / "latest")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def the_sentence(said: str, disk: Disk) -> str:
    """The last line names the file and the folder, and there is no traceback."""
    assert disk.met, "the case wrote no such file"
    assert "Traceback" not in said
    assert "Logging error" not in said
    line = said.splitlines()[-1]
    assert line.startswith("evensight: ")
    assert disk.met[0].name in line
    assert str(disk.met[0].parent) in line
    assert "file too large; the old file stands" in line
    return line


@pytest.mark.parametrize("ending", ["config.yaml", "environment.json"])
def test_a_run_that_cannot_begin_leaves_nothing(
    ending: str, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = Disk(ending)
    monkeypatch.setattr(files, "writing", disk.writing)
    assert main(small) == 4
    the_sentence(capsys.readouterr().err, disk)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "ending",
    ["images/train/000010.png", "masks/validation.npy", "pixels.parquet", "manifest.parquet", "prepared.json"],
)
def test_a_data_set_that_finds_no_room_is_prepared_when_there_is(
    ending: str, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = Disk(ending)
    arguments = [*small, f"datasets_dir={tmp_path / 'datasets'}"]
    with monkeypatch.context() as patch:
        patch.setattr(files, "writing", disk.writing)
        assert main(arguments) == 4
    line = the_sentence(capsys.readouterr().err, disk)
    (run,) = (tmp_path / "runs" / "shapes").glob("2*")
    assert line.endswith(f"make room and go on with: evensight train run={run} resume=true.")
    assert not list(tmp_path.rglob(".*.tmp"))
    again = ["objective", *SMALL, f"datasets_dir={tmp_path / 'datasets'}"]
    assert main(again) == 0


@pytest.mark.parametrize("ending", ["data.json", "objective.json", "donors.safetensors", "findings.json", "best.ckpt"])
def test_a_run_that_cannot_go_on_says_how_to(
    ending: str, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = Disk(ending)
    monkeypatch.setattr(files, "writing", disk.writing)
    assert main([*small, "export=false"]) == 4
    line = the_sentence(capsys.readouterr().err, disk)
    (run,) = (tmp_path / "runs" / "shapes").glob("2*")
    assert f"evensight train run={run} resume=true" in line
    assert not disk.met[0].exists()
    assert not list(run.rglob(".*.tmp"))


def test_a_log_that_cannot_be_written_goes_quiet(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python's own handler would print a traceback for each line."""
    emit = logging.FileHandler.emit

    def in_a_full_disk(self: logging.FileHandler, record: logging.LogRecord) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
        try:
            emit(self, record)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    monkeypatch.setattr(logging.FileHandler, "emit", in_a_full_disk)
    assert main([*small, "export=false"]) == 0
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said.count("run.log can no longer be written (File too large); the run goes on without it") == 1
    log = Run.open(tmp_path / "runs" / "shapes" / "latest").log_file
    assert 0 < log.stat().st_size <= 500


@pytest.mark.parametrize(
    "ending",
    [
        *("predictions/test.parquet", "pictures/test", "pictures/test.json", "verdicts/test.json"),
        *("attached/verdict_test.json", "report.html", "environment.json"),
    ],
)
def test_a_stage_that_finds_no_room_leaves_the_old_file(
    ending: str, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole.folder, tmp_path / "run")
    disk, old = Disk(ending), contents(tmp_path / "run")
    monkeypatch.setattr(files, "writing", disk.writing)
    assert main(["test", f"run={tmp_path / 'run'}"]) == 4
    the_sentence(capsys.readouterr().err, disk)
    new = contents(tmp_path / "run")
    assert new.keys() == old.keys()
    for name in (name for name in old if name.startswith(ending)):
        assert new[name] == old[name], name


@pytest.mark.parametrize("failing", ["weights.safetensors", "model.ts", "model.pt2"])
def test_an_export_that_finds_no_room_leaves_the_old_folder(
    failing: str, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """torch's own writers of the two models end the process (std::terminate) where there is no room."""
    shutil.copytree(whole.folder, tmp_path / "run")
    artifact = tmp_path / "run" / "artifact"
    disk = Disk("artifact", (artifact / failing).stat().st_size - 1000)
    (artifact / "golden" / "0.png").unlink()  # so that there is something to write again
    old = contents(artifact)
    monkeypatch.setattr(files, "writing", disk.writing)
    assert main(["export", f"run={tmp_path / 'run'}"]) == 4
    the_sentence(capsys.readouterr().err, disk)
    assert contents(artifact) == old
    assert not list((tmp_path / "run").rglob(".*.tmp"))
    monkeypatch.undo()
    assert main(["export", f"run={tmp_path / 'run'}"]) == 0
    assert (artifact / "golden" / "0.png").is_file()


def test_a_finished_run_without_room_to_say_so_is_not_finished(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole.folder, tmp_path / "run")
    (tmp_path / "run" / "finished.json").unlink()
    disk = Disk("finished.json", times=1)
    monkeypatch.setattr(files, "writing", disk.writing)
    resume = ["train", f"run={tmp_path / 'run'}", "resume=true"]
    assert main(resume) == 4
    the_sentence(capsys.readouterr().err, disk)
    assert not (tmp_path / "run" / "finished.json").exists()
    assert main(resume) == 0
    assert Run.open(tmp_path / "run").finished is not None


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_is_really_full(tiny_disk: Path, small: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*small, f"runs_dir={tiny_disk / 'runs'}"]) == 4
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "no space left on device; the old file stands" in said.splitlines()[-1]
    (run,) = (tiny_disk / "runs" / "shapes").glob("2*")
    assert f"evensight train run={run} resume=true" in said.splitlines()[-1]
    assert not list(run.rglob(".*.tmp"))
    assert run.joinpath("objective.json").is_file()
