"""Mirrors: they hold what the run folder holds, whatever is killed, full, refused or silent, and never stop a run."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from mirrored_run import line
from PIL import Image
from sklearn.metrics import confusion_matrix, precision_score, recall_score
from statsmodels.stats.proportion import proportion_confint
from training_places import Workplace
from wandb_service import WandbService, served

from evensight.cli import main
from evensight.config import WandbLogger
from evensight.run import Run
from evensight.training import mirrors
from evensight.training.callbacks.metrics_file import read_lines
from evensight.training.mirrors import base, judged, weights_and_biases
from evensight.training.mirrors.patience import Patience
from evensight.training.mirrors.tensorboard import TensorboardFiles
from evensight.training.mirrors.weights_and_biases import WeightsAndBiases

REPOSITORY = Path(__file__).parent.parent.parent
KEY = "k" * 40
# Seconds: what works must not be given up because the machine of the tests is busy.
HEALTHY = {"MIRROR_TIMEOUT": "120"}
PATIENT = 30


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the user's reaches W&B, and nothing that failed in another test is remembered."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(base, "_failed", set())
    monkeypatch.setattr(weights_and_biases._Process, "offline", False)
    monkeypatch.setattr(weights_and_biases._Process, "ended", False)


def environment(**more: str) -> dict[str, str]:
    """Of a process that finds us, and no W&B account of the user's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    path = os.pathsep.join([str(REPOSITORY / "src"), kept.get("PYTHONPATH", "")])
    return {**kept, "PYTHONPATH": path, "NETRC": os.devnull, **more}


def read_back(file: Path) -> list[dict[str, Any]]:
    """The records of a `.wandb` file, by W&B's own reader."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(text) for text in done.stdout.splitlines()]


def rows(file: Path) -> list[dict[str, Any]]:
    """The rows that were logged, without what W&B adds."""
    found = [record["history"]["item"] for record in read_back(file) if record["type"] == "history"]
    return [{name: value for name, value in row.items() if not name.startswith("_")} for row in found]


def offline_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))


def hand_over(folder: Path, service: WandbService) -> str:
    """Calls `wandb sync` on everything offline; returns what it said."""
    folders = [str(file.parent) for file in offline_files(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", *folders],
        env=environment(WANDB_BASE_URL=service.url, WANDB_API_KEY=KEY, WANDB_ERROR_REPORTING="false"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


# --- What can go wrong with the service, each in a process of its own ---


@dataclass(frozen=True)
class Outcome:
    """What `mirrored_run.py` left."""

    folder: Path
    lost: float
    said: list[str]
    stderr: str
    service: WandbService | None


def _run(folder: Path, service: WandbService | None = None, **env: str) -> Outcome:
    if service is not None:
        env = {"WANDB_BASE_URL": service.url, "WANDB_API_KEY": KEY, **env}
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("mirrored_run.py")), str(folder)],
        env=environment(**env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    if env.get("BREAK") == "silence" and service is not None:
        assert process.stdout.readline() == "waiting\n"
        service.silent = True
        process.stdin.write("\n")
        process.stdin.flush()
    out, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    found = json.loads(out)
    return Outcome(folder, found["lost"], found["said"], stderr, service)


def _cases() -> dict[str, Callable[[Path], Outcome]]:
    def serving(prepare: Callable[[WandbService], None], **env: str) -> Callable[[Path], Outcome]:
        def run(folder: Path) -> Outcome:
            with served() as service:
                prepare(service)
                return _run(folder, service, **env)

        return run

    # Twice the default, and all of it is used by some: on a busy machine W&B alone takes seconds to start.
    patient = {"MIRROR_TIMEOUT": str(PATIENT)}
    return {
        "answering": serving(lambda service: None, **HEALTHY),
        "no key": lambda folder: _run(folder, **HEALTHY),
        "no key, but online": lambda folder: _run(folder, MODE="online", **patient),
        "no network": lambda folder: _run(folder, WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY=KEY, **patient),
        "key refused": serving(lambda service: setattr(service, "status", 401), **patient),
        "never answers": serving(lambda service: setattr(service, "silent", True), **patient),
        "stops answering": serving(lambda service: None, BREAK="silence", **patient),
        "disk full": lambda folder: _run(folder, BREAK="disk", **patient),
        "its process hangs": lambda folder: _run(folder, BREAK="stopped", **patient),
        "its process is killed": lambda folder: _run(folder, BREAK="killed", **patient),
    }


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Outcome]]:
    """All cases, three at a time: most of them wait."""
    place = tmp_path_factory.mktemp("cases")
    with ThreadPoolExecutor(3) as pool:
        found: dict[str, Future[Outcome]] = {
            name: pool.submit(case, place / str(number)) for number, (name, case) in enumerate(_cases().items())
        }
        yield lambda name: found[name].result()


# Case: whether the run goes on offline, what is said.
BROKEN = {
    "no key, but online": (True, "there is no API key"),
    "no network": (True, "context deadline exceeded"),
    "key refused": (True, "401"),
    "never answers": (True, "deadline exceeded"),
    "stops answering": (False, "could not close (no answer within"),
    "disk full": (False, "does not grow; its disk may be full"),
    "its process hangs": (False, "could not log"),
    "its process is killed": (False, "could not log"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BROKEN)
def test_a_service_that_fails_is_one_warning_and_no_more_than_its_timeout(
    outcomes: Callable[[str], Outcome], case: str
) -> None:
    goes_on_offline, reason = BROKEN[case]
    found = outcomes(case)
    assert len(found.said) == 1, found.said
    assert reason in found.said[0]
    assert "logger=wandb" in found.said[0]
    assert found.lost < PATIENT + 3  # what takes less than a tenth of a second is not counted
    assert found.stderr == ""
    if goes_on_offline:
        assert "wandb sync" in found.said[0]
        (file,) = offline_files(found.folder)
        assert [row["epoch"] for row in rows(file)] == [0, 1, 2]


def test_patience_ends_and_is_not_renewed() -> None:
    """The wait is real and never ends by itself; what is left afterwards is nothing."""
    assert WandbLogger().timeout == 15
    never, patience = threading.Event(), Patience(0.2)
    assert patience.call(lambda: 7) == 7
    with pytest.raises(OSError, match="no route"):
        patience.call(lambda: (_ for _ in ()).throw(OSError("no route")))
    with pytest.raises(TimeoutError, match="no answer within"):
        patience.call(never.wait)
    assert patience.left == 0.0
    with pytest.raises(TimeoutError):
        patience.call(never.wait)
    never.set()


@pytest.mark.slow
def test_without_a_key_the_run_is_offline_and_nothing_is_said(outcomes: Callable[[str], Outcome]) -> None:
    found = outcomes("no key")
    assert (found.said, found.stderr) == ([], "")
    (file,) = offline_files(found.folder)
    expected = [{"train/loss": 1.0 / (n + 1), "val/accuracy": n / 10, "epoch": n, "step": 4 * n + 4} for n in range(3)]
    assert rows(file) == expected


@pytest.mark.slow
def test_a_service_that_answers_gets_every_epoch(outcomes: Callable[[str], Outcome]) -> None:
    found = outcomes("answering")
    assert (found.said, found.stderr) == ([], "")
    assert found.service is not None
    (stored,) = found.service.runs.values()
    assert [(row["epoch"], row["_step"]) for row in stored.history] == [(0, 0), (1, 1), (2, 2)]
    assert stored.summary["best_epoch"] == 1
    assert stored.exit_code == 0
    assert list(found.service.runs) == [json.loads((found.folder / "wandb.json").read_text())["id"]]


@pytest.mark.slow
def test_two_sessions_are_handed_over_as_one_run(tmp_path: Path, outcomes: Callable[[str], Outcome]) -> None:
    """Killed after three epochs, resumed after the second: the third is not sent twice, the rest follows."""
    shutil.copytree(outcomes("no key").folder, tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "run" / "metrics.jsonl").write_text("".join(lines[:2]), encoding="utf-8")
    assert _run(tmp_path / "run", FIRST="2", **HEALTHY).said == []
    files = offline_files(tmp_path / "run")
    assert [[row["epoch"] for row in rows(file)] for file in files] == [[0, 1, 2], [3, 4]]
    with served() as service:
        said = hand_over(tmp_path / "run", service)
        assert said.count("Finished syncing") == 2, said
    (stored,) = service.runs.values()
    assert [(row["epoch"], row["_step"]) for row in stored.history] == [(n, n) for n in range(5)]


# --- A whole run: killed, resumed, handed over ---


@pytest.mark.slow
def test_killed_with_its_children_resumed_and_handed_over(tmp_path: Path) -> None:
    """The file that SIGKILL leaves has every epoch; after the resume W&B takes both files, tables and the artifact."""
    (tmp_path / "killer.py").write_text(
        "import os, signal\n"
        "from lightning.pytorch import Callback\n"
        "class Kill(Callback):\n"
        "    def on_train_epoch_start(self, trainer, module):\n"
        "        if trainer.current_epoch == 2:\n"
        "            os.killpg(0, signal.SIGKILL)\n",
        encoding="utf-8",
    )
    own = ["allow_targets=[killer]", "callbacks.kill={_target_: killer.Kill}", "test=false", "trainer.max_epochs=3"]
    folders = [f"runs_dir={tmp_path / 'runs'}", f"datasets_dir={tmp_path / 'datasets'}"]
    command = [sys.executable, "-m", "evensight", "train"]
    killed = subprocess.run(
        [*command, "experiment=shapes", "debug=fast", "trainer.num_threads=1", "logger=wandb", *folders, *own],
        env=environment(PYTHONPATH=os.pathsep.join([str(tmp_path), str(REPOSITORY / "src")])),
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=500,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run = Run.open(tmp_path / "runs" / "shapes" / "latest")
    (file,) = offline_files(run.folder)
    lines = read_lines(run.metrics_file)
    assert len(lines) == 2
    assert rows(file) == [{**one["metrics"], "epoch": one["epoch"], "step": one["step"]} for one in lines]

    resumed = subprocess.run(
        [*command, f"run={run.folder}", "resume=true", "callbacks.kill=null"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert "wandb" not in resumed.stderr
    files = offline_files(run.folder)
    assert len({file.name for file in files}) == 1  # the id
    with served() as service:
        said = hand_over(run.folder, service)
    assert said.count("Finished syncing") == len(files) == 3
    (stored,) = service.runs.values()
    epochs = [row for row in stored.history if "train/loss" in row]
    assert [(row["epoch"], row["_step"]) for row in epochs] == [(0, 0), (1, 1), (2, 2)]
    steps = [row["_step"] for row in stored.history]
    assert len(set(steps)) == len(steps)
    verdict = json.loads((run.verdicts / "validation.json").read_text(encoding="utf-8"))
    assert stored.summary["validation/verdict"] == verdict["verdict"]
    assert stored.summary["best_epoch"] in (0, 1, 2)
    (last,) = [row for row in stored.history if "validation/per_class" in row]
    assert last["validation/per_class"]["nrows"] == 8
    assert last["validation/mistakes"]["count"] == 24
    models = [one["input"] for one in service.artifacts if one["input"]["artifactTypeName"] == "model"]
    contract = json.loads((run.artifact / "contract.json").read_text(encoding="utf-8"))
    assert json.loads(models[0]["metadata"]) == {
        "identity": contract["identity"],
        "verdicts": {"validation": verdict["verdict"]},
    }


@pytest.mark.slow
def test_the_main_job_goes_on_when_its_key_is_refused(tmp_path: Path) -> None:
    overrides = ["experiment=shapes", "debug=fast", "export=false", "trainer.max_epochs=1", "trainer.num_threads=1"]
    folders = [f"runs_dir={tmp_path / 'runs'}", f"datasets_dir={tmp_path / 'datasets'}"]
    with served() as service:
        service.status = 401
        done = subprocess.run(
            [sys.executable, "-m", "evensight", "train", "logger=wandb", *overrides, *folders],
            env=environment(WANDB_BASE_URL=service.url, WANDB_API_KEY=KEY),
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "wandb" in line][1:] == []
    assert done.stderr.count("warning: logger=wandb: the service cannot be used") == 1


# --- What is shown ---


CLASSES, LEVELS = [f"class {n:03}" for n in range(100)], {"site": [f"site {n:02}" for n in range(20)]}


@pytest.fixture
def large(tmp_path: Path) -> Run:
    """What a stage of 100 classes x 20 groups leaves: every cell and every confusion, 48 pictures of noise."""
    run, generator = Run(tmp_path / "large"), np.random.default_rng(1)
    for folder in ("artifact", "predictions", "pictures/test", "verdicts"):
        (run.folder / folder).mkdir(parents=True)
    run.write_json("artifact/contract.json", {"classes": CLASSES, "attributes": LEVELS})
    run.write_json("objective.json", {"confidence": 0.9})
    pairs = np.tile(np.arange(100 * 100), 10)
    frame = pl.DataFrame(
        {
            "label": pairs // 100,
            "prediction": pairs % 100,
            "attribute:site": generator.integers(-1, 20, len(pairs)),
            "path": [f"{n}.png" for n in range(len(pairs))],
        }
    )
    frame.write_parquet(run.predictions / "test.parquet")
    requirement = {"label": "accuracy", "verdict": "FAIL", "estimate": 0.01, "low": 0.0, "high": 0.02, "n": 100_000}
    rest = {"direction": "at_least", "bound": 0.9, "worst": "overall"}
    run.write_json(
        "verdicts/test.json", {"stage": "test", "verdict": "FAIL", "requirements": [{**requirement, **rest}]}
    )
    names = [f"{n}.png" for n in range(24 + 3 * 24)]
    for name in names:
        pixels = generator.integers(0, 256, (224, 224, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(run.pictures / "test" / name, compress_level=1)
    mistake = {"label": 0, "prediction": 1, "probability": 0.9, "path": "a.png"}
    transplant = {"cue": "colour", "operator": "mix", "before": 0, "prediction": 1, "donor_class": 1, "moved": True}
    parts = [dict(zip(("image", "donor", "transplanted"), names[at : at + 3], strict=True)) for at in range(24, 96, 3)]
    shown = {"mistakes": [{"file": name, **mistake} for name in names[:24]] * 2, "transplants": []}
    run.write_json("pictures/test.json", {**shown, "transplants": [{**part, **transplant} for part in parts]})
    return run


def test_tables_are_those_of_other_libraries(large: Run) -> None:
    (stage,) = judged.judged(large)
    frame = pl.read_parquet(large.predictions / "test.parquet")
    label, prediction = frame["label"].to_numpy(), frame["prediction"].to_numpy()
    per_class = stage.tables["per_class"].rows
    assert [row[2] for row in per_class] == pytest.approx(recall_score(label, prediction, average=None))
    assert [row[6] for row in per_class] == pytest.approx(precision_score(label, prediction, average=None))
    low, high = proportion_confint((label == prediction)[label == 3].sum(), (label == 3).sum(), 0.2, "beta")
    assert per_class[3][3:5] == pytest.approx([low, high])
    matrix = confusion_matrix(label, prediction)
    found = {(row[0], row[1]): row[2] for row in stage.tables["confusion"].rows}
    assert found == {(CLASSES[i], CLASSES[j]): matrix[i, j] for i in range(100) for j in range(100)}
    level = frame["attribute:site"].to_numpy()
    for attribute, name, images, accuracy, _, _ in stage.tables["per_group"].rows:
        here = level == LEVELS[attribute].index(name)
        assert (images, accuracy) == (here.sum(), pytest.approx((label == prediction)[here].mean()))
    cells = stage.tables["per_cell"].rows
    assert len(cells) == 2000
    assert sum(row[3] for row in cells) == (level >= 0).sum()


def test_limits_hold_beyond_them(monkeypatch: pytest.MonkeyPatch, large: Run) -> None:
    monkeypatch.setattr(judged, "MAX_ROWS", 50)
    monkeypatch.setattr(judged, "MAX_PICTURES", 30)
    (stage,) = judged.judged(large)
    table = stage.tables["per_cell"]
    assert (len(table.rows), table.num_rows) == (50, 2000)
    full = judged.counted(pl.read_parquet(large.predictions / "test.parquet"), CLASSES, LEVELS, 0.1)
    assert len(full["per_group"].rows) == 20
    assert sum(map(len, stage.pictures.values())) == 30
    assert judged.strip(stage.pictures["mistakes"][0].paths).size == (judged.MAX_SIDE, judged.MAX_SIDE)


def test_100_classes_and_20_groups_stay_under_the_stated_size(large: Run) -> None:
    """Real W&B, offline: everything of the stage, and an epoch's figures, in bytes of the run folder."""
    names = [f"val/{kind}/{name}" for kind in ("recall", "precision", "f1") for name in CLASSES]
    names += [f"val/group_accuracy/site/{name}" for name in LEVELS["site"]]
    mirror = WeightsAndBiases(large, WandbLogger(mode="offline", timeout=120), {})
    mirror.open()
    (file,) = offline_files(large.folder)
    before = file.stat().st_size
    mirror.log({"epoch": 0, "step": 1, "metrics": {name: 0.123456789 * n for n, name in enumerate(names)}})
    epoch = file.stat().st_size - before
    size = _bytes(large.folder / "wandb")
    mirror.verdicts()
    mirror.verdicts()  # as `evensight test` does of a validation that training has shown
    mirror.close()
    assert weights_and_biases._Process.patience[large.folder].left > 0.0
    assert base._failed == set()
    assert 1_000_000 < _bytes(large.folder / "wandb") - size < judged.MAX_BYTES
    assert 1_000 < epoch < judged.MAX_EPOCH_BYTES
    _, shown = rows(file)
    assert shown["test/per_cell.nrows"] == 2000
    assert shown["test/confusion_table.nrows"] == 10_000
    assert shown["test/mistakes.count"] == 48


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def test_lines_that_a_mirror_missed_are_caught_up(tmp_path: Path) -> None:
    """As when `logger=wandb` is given to a resumed run that began without."""
    lines = [line(epoch) for epoch in range(3)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    mirror = WeightsAndBiases(Run(tmp_path), WandbLogger(mode="offline", timeout=120), {})
    mirror.open()
    mirror.log(line(3))
    mirror.close()
    (file,) = offline_files(tmp_path)
    assert [row["epoch"] for row in rows(file)] == [0, 1, 2, 3]
    assert not any("val/none" in row for row in rows(file))


def test_environment_fills_what_is_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WANDB_PROJECT": "theirs", "WANDB_RUN_GROUP": "g", "WANDB_RUN_ID": "abc123"}.items():
        monkeypatch.setenv(name, value)
    for settings, project in ((WandbLogger(mode="offline"), "theirs"), (WandbLogger(project="o", mode="offline"), "o")):
        folder = tmp_path / project
        folder.mkdir()
        mirror = WeightsAndBiases(Run(folder), settings, {"optimizer": {"lr": 0.1}})
        mirror.open()
        mirror.close()
        (file,) = offline_files(folder)
        (begun,) = [record["run"] for record in read_back(file) if record["type"] == "run"]
        assert (begun["project"], begun["run_group"], begun["run_id"]) == (project, "g", "abc123")
        assert begun["config"]["update"]["optimizer"] == {"lr": 0.1}


def test_ranks_that_do_not_lead_mirror_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Workplace
) -> None:
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with mirrors.mirrored(place.config("logger=csv"), Run(tmp_path)) as mirror:
        assert mirror is None


# --- TensorBoard ---


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Scalars by name as (step, value), by TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"), {"scalars": 0})
    found.Reload()
    return {name: [(event.step, event.value) for event in found.Scalars(name)] for name in found.Tags()["scalars"]}


def test_tensorboard_has_what_metrics_jsonl_has(place: Workplace) -> None:
    fitted = place.fit("logger=tensorboard", "reliance.cues=[colour]")
    lines = read_lines(fitted.run.metrics_file)
    expected: dict[str, list[tuple[int, float]]] = {}
    for one in lines:
        for name, value in one["metrics"].items():
            if value is not None:
                expected.setdefault(name, []).append((one["epoch"], pytest.approx(value, rel=1e-6)))
    assert len(expected) > 30
    assert events(fitted.run.folder) == expected


def test_tensorboard_goes_on_without_a_step_twice(tmp_path: Path) -> None:
    """A process that was killed between the figures of an epoch, and one that goes on with that epoch."""
    first = TensorboardFiles(Run(tmp_path))
    first.open()
    for epoch in range(2):
        first.log(line(epoch))
    first._writer.add_scalar("train/loss", 77.0, 2)
    first._writer.flush()  # and nothing more: the process is gone

    second = TensorboardFiles(Run(tmp_path))
    second.open()
    for epoch in range(1, 4):  # the second epoch again: the checkpoint was older
        second.log(line(epoch))
    second.close()
    first.close()
    found = events(tmp_path)
    assert set(found) == {"train/loss", "val/accuracy"}
    assert found["train/loss"] == [(n, pytest.approx(1.0 / (n + 1))) for n in range(4)]


def test_a_missing_tensorboard_is_told_before_anything_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert main(["train", "experiment=shapes", "logger=tensorboard", f"runs_dir={tmp_path / 'runs'}"]) == 2
    said = capsys.readouterr().err
    assert "pip install 'evensight[tensorboard]'" in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_mirror_that_cannot_write_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file where the folder of the event files should be."""
    monkeypatch.setattr(logging.getLogger("evensight"), "propagate", True)
    (tmp_path / "tensorboard").write_text("", encoding="utf-8")
    mirror = TensorboardFiles(Run(tmp_path))
    with caplog.at_level(logging.WARNING):
        mirror.open()
        mirror.log(line(0))
        mirror.close()
    (said,) = caplog.messages
    assert said.startswith("logger=tensorboard could not start")
