"""The audit's page and last lines, from files alone."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chromium import in_browser, opened
from evensight.errors import UserError
from evensight.objective.evidence import DataFigures, Evidence, judge
from evensight.objective.objective import Objective
from evensight.objective.verdict_file import verdict_file, write
from evensight.report.audit import audit_summary, worst_findings, write_audit_report

HOSTILE = "<script>alert(1)</script>"


def finding(number: int, severity: str, **keys: Any) -> dict[str, Any]:
    base = {
        "chapter": "shortcuts",
        "code": "shortcut",
        "severity": severity,
        "danger": 1 - number / 100,
        "title": f"Finding {number} of 0.913 (0.90 to 0.92, n 1,000).",
        "action": "Do something about it.",
        "setting": "focus=colour_off",
        "num_rows": 2,
        "row_ids": ["a#0", "b#0"],
        "paths": [f"{HOSTILE}.png", "b.png"],
        "evidence": {"p": 0.005},
        "exhibits": [{"pictures": [{"file": "row0.png", "caption": "train"}], "caption": "circle", "note": "red"}],
    }
    return {**base, **keys}


@pytest.fixture
def make_audit(tmp_path: Path):
    """An audit's folder with every kind of block and a name that is not to be trusted."""

    def make(findings: list[dict[str, Any]] | None = None, name: str = "shapes") -> Path:
        folder = tmp_path / "audit"
        (folder / "pictures").mkdir(parents=True)
        Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(folder / "pictures" / "row0.png")
        stated = [{"metric": "leakage", "bound": 0.0}, {"metric": "accuracy", "bound": 0.9}]
        classes = ["circle", "square"]
        objective = Objective.from_config({"name": "o", "purpose": "p", "classes": classes, "requirements": stated})
        evidence = Evidence(data=DataFigures(leakage=(3, 300), images={"overall": np.array([150, 150])}))
        write(folder / "verdict.json", verdict_file(objective, "audit", judge(objective, "audit", evidence), "d" * 64))
        exhibit = finding(0, "note")["exhibits"][0]
        figure = {"name": "colour", "estimate": 0.9, "low": 0.88, "high": 0.92, "n": 1000, "note": "explains 88 %"}
        empty = {"name": "border", "estimate": None, "low": 0.0, "high": 1.0, "n": 0, "note": ""}
        blocks = [
            {
                "kind": "bars",
                "title": "Bars",
                "figures": [figure, empty],
                "reference": 0.5,
                "reference_words": "guess",
                "note": "",
            },
            {
                "kind": "table",
                "title": "Table",
                "columns": ["a", "b"],
                "rows": [["x", 1234], [None, 0.25]],
                "note": "n",
            },
            {
                "kind": "heat_map",
                "title": "Heat",
                "rows": ["circle", HOSTILE],
                "columns": ["red", "green"],
                "shades": [[0.1, None], [1.0, 0.5]],
                "texts": [["1", ""], ["10", "5"]],
                "marked": [[0, 0]],
                "note": "",
            },
            {
                "kind": "gallery",
                "title": "Gallery",
                "exhibits": [exhibit, {**exhibit, "pictures": exhibit["pictures"] * 4}],
                "note": "",
            },
            {"kind": "paragraph", "text": "Words."},
        ]
        chapters = [
            {"name": "shortcuts", "title": "Shortcuts", "lede": "l", "skipped": "", "figures": {}, "blocks": blocks},
            {
                "name": "label_errors",
                "title": "Label errors",
                "lede": "",
                "skipped": "cleanlab is missing",
                "figures": {},
                "blocks": [],
            },
        ]
        record = {
            "schema_version": 1,
            "version": "0",
            "name": name,
            "objective": "e" * 64,
            "objective_name": "o",
            "purpose": "Tell shapes apart.",
            "data": "d" * 64,
            "sealed": False,
            "settings": {"seed": 0},
            "verdict": "FAIL",
            "prepared": [{"code": "c", "count": 2, "examples": ["x"], "message": "two of them"}],
            "classes": classes,
            "open_test": True,
            "num_images": {"train": 10, "validation": 5, "test": 300},
            "findings": [finding(0, "alarm"), finding(1, "warning"), finding(2, "note")]
            if findings is None
            else findings,
            "chapters": chapters,
        }
        (folder / "findings.json").write_text(json.dumps(record), encoding="utf-8")
        return folder

    return make


class Tags(HTMLParser):
    """Counts elements, and checks that those that need an end have one."""

    VOID = ("meta", "link", "img", "line", "circle", "path", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)


def test_page_is_whole_and_trusts_no_name(make_audit) -> None:
    text = write_audit_report(make_audit(name=HOSTILE)).read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert "script" not in tags.seen
    assert HOSTILE not in text
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text)  # nothing is fetched
    assert text.index("Finding 0") < text.index("Finding 1")
    for said in ("focus=colour_off", "cleanlab is missing", "1,234", "two of them", "FAIL"):
        assert said in text


def test_findings_without_danger_are_said_to_be_none(make_audit) -> None:
    text = write_audit_report(make_audit([finding(0, "note")])).read_text(encoding="utf-8")
    assert "Nothing was found that endangers the objective" in text
    assert "1 further findings" in text


def test_last_lines_name_verdict_worst_findings_and_report(make_audit) -> None:
    many = [finding(k, "alarm") for k in range(5)]
    lines = audit_summary(make_audit(many)).splitlines()
    assert lines[0] == "audit: FAIL  (5 alarms, 0 warnings)"
    assert lines[1].split() == ["FAIL", "leakage", "0.0100", "≤", "0"]
    assert [line for line in lines if line.startswith("3. ")] != []
    assert [line for line in lines if line.startswith("4. ")] == []
    assert lines[-1].endswith("report.html")


def test_lines_fit_the_terminal(make_audit) -> None:
    lines = audit_summary(make_audit([finding(0, "alarm", title="word " * 60)]), 80).splitlines()
    assert max(len(line) for line in lines if not line.startswith("report")) <= 80 + 3


def test_training_is_told_the_three_worst_and_that_the_data_has_changed(make_audit, tmp_path: Path) -> None:
    assert worst_findings(tmp_path / "none") is None
    folder = make_audit([finding(k, "warning") for k in range(5)])
    assert len(worst_findings(folder, "d" * 64)) == 3
    assert worst_findings(folder, "0" * 64)[-1] == "the data has changed since that audit; run it again"


def test_broken_files_are_one_sentence(make_audit, tmp_path: Path) -> None:
    folder = make_audit()
    (folder / "findings.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"findings\.json: cannot be read .*run the audit again"):
        write_audit_report(folder)
    with pytest.raises(UserError, match="there is no audit; run: evensight audit"):
        write_audit_report(tmp_path)


@in_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_page_fits_and_says_nothing(browser, make_audit, width: int) -> None:
    long = "Donaudampfschifffahrt" * 3
    path = write_audit_report(make_audit([finding(0, "alarm", title=long, paths=[long * 3] * 9)]))
    for scheme in ("light", "dark"):
        page = opened(browser, path, width, scheme)
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.said == []
        assert [url for url in page.fetched if not url.startswith("data:")] == [path.as_uri()]
        page.close()
