"""The last lines of a run: at most 15, the worst first, and the sentence about what decides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from evensight.report.summary import number, standing_out, summary


def row(label: str, verdict: str | None, estimate: float | None = 0.5) -> dict[str, Any]:
    return {
        "label": label, "verdict": verdict, "estimate": estimate, "low": 0.4, "high": 0.6, "n": 100, "bound": 0.9,
        "direction": "at_least", "worst": "red", "comparisons": [{"name": "red"}, {"name": "blue"}], "reason": "",
    }  # fmt: skip


def decided(share: float, low: float) -> dict[str, Any]:
    return {
        "decided_by": [{"attribute": "colour", "share": share, "low": low, "high": 0.8, "n": 5264, "chance": 0.125}]
    }


def write(folder: Path, stage: str, rows: list[dict[str, Any]], extra: dict[str, Any]) -> None:
    (folder / "verdicts").mkdir(exist_ok=True)
    verdict = {"verdict": "FAIL", "sealed": False, "requirements": rows, "extra": extra}
    (folder / "verdicts" / f"{stage}.json").write_text(json.dumps(verdict), encoding="utf-8")


def test_at_most_15_lines_and_no_fail_is_hidden(tmp_path: Path) -> None:
    rows = [row(f"r{i}", "PASS") for i in range(20)] + [row("broken", "FAIL")]
    write(tmp_path, "validation", rows, {})
    write(tmp_path, "test", rows, decided(0.73, 0.7))
    lines = summary(tmp_path).splitlines()
    assert len(lines) <= 15
    assert lines[0].startswith("test: FAIL")
    assert "validation: FAIL" in lines[0]
    assert any("broken" in line for line in lines)
    assert any("more in the report" in line for line in lines)


def test_what_decides_is_named_with_its_interval() -> None:
    text = standing_out({"requirements": [], "extra": decided(0.731, 0.7)})
    assert text.startswith("the model decides 73 % of the conflicting images by their colour")
    assert "70 % to 80 %" in text
    assert "5,264" in text


def test_chance_is_not_called_a_decision() -> None:
    """A model that guesses gives an eighth of the conflicting images the class of their colour."""
    assert standing_out({"requirements": [row("accuracy", "PASS")], "extra": decided(0.13, 0.12)}) == ""


def test_without_a_cue_the_row_furthest_from_its_bound_is_named() -> None:
    rows = [row("accuracy", "PASS"), row("recall", "FAIL", 0.3), row("precision", "FAIL", 0.6)]
    found = standing_out({"requirements": rows, "extra": {}})
    assert found == "furthest from its bound: recall [red], .300 against .900."


def test_what_was_not_measured_comes_with_its_reason_unless_something_failed() -> None:
    unmeasured = [row(name, "NOT_MEASURED", None) | {"reason": "no donors"} for name in ("reliance", "advantage")]
    rows = [row("accuracy", "PASS"), *unmeasured, row("gap", "NOT_MEASURED", None) | {"reason": "one group"}]
    found = standing_out({"requirements": rows, "extra": {}})
    assert found == "not measured: reliance, advantage: no donors."
    assert standing_out({"requirements": [*rows, row("recall", "FAIL")], "extra": {}}).startswith("furthest from")


def test_a_users_own_folder_is_told_how_to_keep_its_settings(tmp_path: Path) -> None:
    write(tmp_path, "validation", [row(f"r{i}", "PASS") for i in range(20)], {})
    command = "train.py experiment=folder 'data.root=my photos' debug=fast"
    (tmp_path / "environment.json").write_text(json.dumps({"command": command}), encoding="utf-8")
    lines = summary(tmp_path).splitlines()
    assert lines[-1] == "keep      python train.py experiment=folder 'data.root=my photos' --save=<name>"
    assert len(lines) <= 15


def test_what_is_next_can_be_typed_after_a_fail(tmp_path: Path) -> None:
    """predict refuses a model that failed its test unless it is told."""
    write(tmp_path, "test", [row("accuracy", "FAIL")], {})
    assert summary(tmp_path).endswith("data=<folder> accept_failed=true")


def test_openings_of_a_sealed_split_are_said(tmp_path: Path) -> None:
    write(tmp_path, "test", [row("accuracy", "PASS")], {})
    path = tmp_path / "verdicts" / "test.json"
    verdict = json.loads(path.read_text(encoding="utf-8")) | {"sealed": True, "openings": 2, "verdict": "PASS"}
    path.write_text(json.dumps(verdict), encoding="utf-8")
    lines = summary(tmp_path).splitlines()
    assert lines[0] == "test: PASS  (opening 2 of the sealed test split)"
    assert lines[-1].endswith("data=<folder>")


def test_without_verdicts_it_says_so(tmp_path: Path) -> None:
    assert "export=false" in summary(tmp_path)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.9731, ".973"), (1.0, "1.000"), (-0.00004, ".000"), (-0.02, "-.020"), (506085, "506,085"), (None, "-")],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def long_rows() -> list[dict[str, Any]]:
    """Labels beyond any window, one of them in wide letters."""
    names = ["accuracy of each class x colour", "recall of each " + "very " * 30 + "long class", "正確度" * 30, "short"]
    return [row(name, "FAIL" if number % 2 else "INSUFFICIENT") for number, name in enumerate(names)]


@pytest.mark.parametrize("width", [80, 100])
def test_every_line_fits_the_window(tmp_path: Path, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "shapes" / "20261124_045604-fce3"
    run.mkdir(parents=True)
    write(run, "test", long_rows() * 4, decided(0.73, 0.7))
    lines = summary(run, width).splitlines()
    assert len(lines) <= 15
    assert max(cell_len(line) for line in lines) <= width
    assert any(line.lstrip().startswith("FAIL") and ".500 (.400, .600) n 100 >= .900" in line for line in lines)
    command = " ".join(line.removesuffix(" \\").strip() for line in lines[-2:])
    assert command.split() == summary(run).splitlines()[-1].split()


@pytest.mark.parametrize("width", [1, 20, 40, 60])
def test_a_narrow_window_is_no_error(tmp_path: Path, width: int) -> None:
    write(tmp_path, "test", long_rows() * 4, decided(0.73, 0.7))
    lines = summary(tmp_path, width).splitlines()
    assert len(lines) <= 15
    assert any("FAIL" in line for line in lines[1:])


def test_without_a_terminal_nothing_is_cut(tmp_path: Path) -> None:
    write(tmp_path, "test", long_rows(), {})
    assert all(any(one["label"] in line for line in summary(tmp_path).splitlines()) for one in long_rows())
