"""The main job as a user runs it, small: every stage, the files it leaves, and what reads them afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from evensight.cli import main
from evensight.run import Run

REPOSITORY = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one small run of shapes has been made."""
    return tmp_path_factory.mktemp("main_job")


@pytest.fixture(scope="session")
def run(workplace: Path) -> Run:
    arguments = ["experiment=shapes", "debug=fast", "trainer.num_threads=1"]
    folders = [f"runs_dir={workplace / 'runs'}", f"datasets_dir={workplace / 'datasets'}"]
    assert main(["train", *arguments, *folders]) == 0
    return Run.open(workplace / "runs" / "shapes" / "latest")


def verdict(run: Run, stage: str) -> dict[str, object]:
    found = json.loads((run.verdicts / f"{stage}.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def test_run_folder_is_complete(run: Run) -> None:
    for name in (
        *("config.yaml", "objective.json", "environment.json", "metrics.jsonl", "report.html", "run.log"),
        *("checkpoints/best.ckpt", "checkpoints/last.ckpt", "verdicts/validation.json", "verdicts/test.json"),
        *("artifact/model.ts", "artifact/model.pt2", "artifact/weights.safetensors", "artifact/contract.json"),
        *("artifact/donors.safetensors", "artifact/SHA256SUMS", "predictions/test.parquet"),
        *("data.json", "finished.json", "findings.json", "donors.safetensors"),
    ):
        assert (run.folder / name).is_file(), name
    assert run.config().experiment_name == "shapes"


def test_metrics_have_a_line_an_epoch_with_the_fixed_names(run: Run) -> None:
    lines = [json.loads(line) for line in run.metrics_file.read_text(encoding="utf-8").splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1]
    names = set(lines[-1]["metrics"])
    for name in (
        *("train/loss", "val/loss", "val/accuracy", "val/primary", "val/worst_class_recall"),
        *("val/worst_group_accuracy/colour", "val/gap/colour", "val/conflicting_accuracy/colour"),
        *("val/reliance/colour", "val/recall/circle", "val/group_accuracy/colour/red"),
    ):
        assert name in names, name


def test_verdict_lists_the_objective(run: Run) -> None:
    found = verdict(run, "test")
    rows = found["requirements"]
    assert isinstance(rows, list)
    assert len([row for row in rows if row["bound"] is not None and row["stages"] != ["audit"]]) == 8
    assert found["verdict"] in ("FAIL", "INSUFFICIENT")


def test_strict_gate_gives_the_verdicts_status(run: Run, workplace: Path) -> None:
    arguments = ["experiment=shapes", "debug=fast", "trainer.max_epochs=1", "gate=strict", "trainer.num_threads=1"]
    folders = [f"runs_dir={workplace / 'strict'}", f"datasets_dir={workplace / 'datasets'}"]
    status = main(["train", *arguments, *folders])
    assert (
        status
        == {"PASS": 0, "FAIL": 1, "INSUFFICIENT": 3, "NOT_MEASURED": 3}[
            str(verdict(Run.open(workplace / "strict" / "shapes" / "latest"), "test")["verdict"])
        ]
    )


def test_test_command_repeats_the_verdict_from_the_folder_alone(run: Run, workplace: Path) -> None:
    copied = workplace / "copied"
    shutil.copytree(run.folder, copied)
    before = verdict(run, "test")
    main(["test", f"run={copied}"])
    after = verdict(Run(copied), "test")
    assert after["requirements"] == before["requirements"]


def test_predict_agrees_with_the_run(run: Run, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pl.read_parquet(run.predictions / "test.parquet")
    images = next((workplace / "datasets" / "shapes").glob("*/images/test"))
    out = workplace / "predicted.parquet"
    arguments = [f"artifact={run.artifact}", f"data={images}", f"out={out}", "accept_failed=true"]
    assert main(["predict", *arguments]) == 0
    predicted = pl.read_parquet(out).with_columns(pl.col("path").str.split("/").list.last().alias("file"))
    expected = table.with_columns(pl.col("path").str.split("/").list.last().alias("file"))
    joined = expected.join(predicted, on="file", suffix="_cli")
    assert joined.height == table.height
    probabilities = joined["probabilities"].to_numpy()
    best = [float(max(row)) for row in probabilities]
    assert max(abs(a - b) for a, b in zip(best, joined["probability"].to_list(), strict=True)) < 1e-4


def test_artifact_with_torch_and_pillow_alone(run: Run, workplace: Path) -> None:
    """Another process, where evensight cannot be imported, gives the run's own probabilities."""
    table = pl.read_parquet(run.predictions / "test.parquet").head(20)
    root = next((workplace / "datasets" / "shapes").glob("*/images")).parent
    code = f"""
import sys, json
sys.modules["evensight"] = None
import numpy, torch
from PIL import Image
model = torch.jit.load({str(run.artifact / "model.ts")!r})
for path in {table["path"].to_list()!r}:
    pixels = numpy.asarray(Image.open({str(root)!r} + "/" + path).convert("RGB"))
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
    print(json.dumps(model(image)["probs"][0].tolist()))
"""
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    for line, expected in zip(found.stdout.splitlines(), table["probabilities"].to_list(), strict=True):
        assert max(abs(a - b) for a, b in zip(json.loads(line), expected, strict=True)) < 1e-4


def test_export_again_gives_the_same_identity(run: Run, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from evensight.records.artifact import Artifact

    copied = workplace / "again"
    shutil.copytree(run.folder, copied)
    shutil.rmtree(copied / "artifact")
    assert main(["export", f"run={copied}"]) == 0
    assert Artifact.open(copied / "artifact").identity == Artifact.open(run.artifact).identity


def test_objective_command_reads_it_back(workplace: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["objective", "experiment=shapes", "data.limit=512", f"datasets_dir={workplace / 'datasets'}"]) == 0
    shown = capsys.readouterr().out
    assert "reliance on colour" in shown
    assert "conflicting" in shown


def test_last_lines_are_at_most_15(run: Run) -> None:
    from evensight.report.summary import summary

    lines = summary(run.folder).splitlines()
    assert len(lines) <= 15
    assert lines[0].startswith("test: ")
    assert any(line.startswith("report ") for line in lines)
    assert any(line.startswith("next ") for line in lines)


@pytest.mark.slow
def test_multirun_makes_numbered_runs(workplace: Path) -> None:
    arguments = ["experiment=shapes", "debug=fast", "export=false", "test=false", "trainer.max_epochs=1"]
    arguments += ["trainer.num_threads=1", "seed=1,2", "--multirun"]
    folders = [f"runs_dir={workplace / 'sweep'}", f"datasets_dir={workplace / 'datasets'}"]
    assert main(["train", *arguments, *folders]) == 0
    found = sorted((workplace / "sweep" / "shapes").glob("sweep-*/*/metrics.jsonl"))
    assert [path.parent.name for path in found] == ["0", "1"]


def test_killed_run_resumes_to_the_same_weights(run: Run, workplace: Path) -> None:
    """A real process, killed at the start of its second epoch by a callback of the user's own, and resumed."""
    (workplace / "killer.py").write_text(
        "import os, signal\n"
        "from lightning.pytorch import Callback\n"
        "class Kill(Callback):\n"
        "    def on_train_epoch_start(self, trainer, module):\n"
        "        if trainer.current_epoch == 1:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n",
        encoding="utf-8",
    )
    arguments = ["experiment=shapes", "debug=fast", "trainer.num_threads=1", f"runs_dir={workplace / 'killed'}"]
    own = ["allow_targets=[killer]", "callbacks.kill={_target_: killer.Kill}", "test=false"]
    found = subprocess.run(
        [sys.executable, "-m", "evensight", "train", *arguments, *own, f"datasets_dir={workplace / 'datasets'}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(workplace), str(REPOSITORY / "src")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == -signal.SIGKILL, found.stderr
    killed = Run.open(workplace / "killed" / "shapes" / "latest")
    assert not killed.artifact.exists()
    assert main(["train", f"run={killed.folder}", "resume=true", "callbacks.kill=null"]) == 0
    one, other = (load_file(folder / "artifact" / "weights.safetensors") for folder in (run.folder, killed.folder))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert len(killed.metrics_file.read_text(encoding="utf-8").splitlines()) == 2


def test_a_finished_run_resumed_does_nothing_and_says_so(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.folder.rglob("*") if path.is_file()}
    assert main(["train", f"run={run.folder}", "resume=true"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].startswith(f"{run.folder} finished at ")
    assert shown.splitlines()[0].endswith("; nothing to do.")
    assert shown.splitlines()[1].startswith("test: ")
    said = {"PASS": 0, "FAIL": 1, "INSUFFICIENT": 3, "NOT_MEASURED": 3}[str(verdict(run, "test")["verdict"])]
    assert main(["train", f"run={run.folder}", "resume=true", "gate=strict"]) == said
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.folder.rglob("*") if path.is_file()}
    assert {path for path in after if after[path] != before.get(path)} <= {run.folder / "run.lock"}


def test_the_run_is_there_before_its_data_and_goes_when_the_data_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from evensight import pipeline
    from evensight.config import Config
    from evensight.errors import UserError

    seen = []

    def prepared(config: Config, *rest: object) -> None:
        seen.extend((tmp_path / "runs" / "shapes").glob("2*/config.yaml"))
        raise UserError("data: wrong.")

    monkeypatch.setattr(pipeline, "_prepared", prepared)
    assert main(["train", "experiment=shapes", f"runs_dir={tmp_path / 'runs'}"]) == 2
    assert len(seen) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_does_not_go_on_with_other_data(
    run: Run, workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(run.folder, copied)
    (copied / "finished.json").unlink()
    data = json.loads((copied / "data.json").read_text(encoding="utf-8"))
    (copied / "data.json").write_text(json.dumps({**data, "content": "0" * 64}), encoding="utf-8")
    assert main(["train", f"run={copied}", "resume=true"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "content 000000000000 then" in said
    assert str(data["content"])[:12] in said
    assert copied.is_dir()


def test_resume_refuses_what_would_change_the_run(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", f"run={run.folder}", "resume=true", "optimizer.lr=1"]) == 2
    assert "optimizer.lr" in capsys.readouterr().err
