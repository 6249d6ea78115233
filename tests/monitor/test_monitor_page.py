"""If these fail, the monitor's page or its last lines do not say what `verdicts/monitor.json` holds."""

from __future__ import annotations

import dataclasses
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import logged
import pytest

import made_artifact
from chromium import in_browser, opened
from evensight.monitor.monitor import monitor
from evensight.objective import verdict_file
from evensight.records.artifact import Artifact
from evensight.report.monitor import monitor_summary, write_monitor_report
from evensight.report.monitor_charts import clock
from evensight.run import Run
from evensight.testing.evaluate import evaluate


@pytest.fixture(scope="module")
def looked(made: made_artifact.Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the monitor wrote to: reliance alarms, half of the images have labels, some requests failed."""
    folder = tmp_path_factory.mktemp("looked")
    shutil.copytree(made.artifact.folder, folder / "artifact")
    shutil.rmtree(folder / "artifact" / "attached", ignore_errors=True)
    artifact = Artifact.open(folder / "artifact")
    evaluate(artifact, made.manifest, "test", Run(folder / "run"))
    entries, truth = logged.answers(artifact, made.manifest), logged.truth(made.manifest)
    many = list(logged.again(entries, 12))
    labels = {number: truth[number % len(entries)] for number in range(0, len(many), 2)}
    log = logged.write(folder / "log.sqlite", many, labels)
    log.reject(logged.START + 7, "<script>alert(1)</script>")
    log.close()
    monitor(artifact, folder / "log.sqlite", folder / "monitor")
    write_monitor_report(folder / "monitor")
    return folder / "monitor"


class Seen(HTMLParser):
    """Collects the text of a page, and what it would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.fetched, self.tags = "", [], []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [str(value) for name, value in attrs if name in ("src", "href") and value]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page(looked: Path) -> Seen:
    seen = Seen()
    seen.feed((looked / "report.html").read_text(encoding="utf-8"))
    return seen


def test_page_has_every_requirement_and_every_alarm(page: Seen, looked: Path) -> None:
    verdict = verdict_file.read(looked / "verdicts" / "monitor.json")
    text = " ".join(page.text.split()).lower()
    assert verdict.extra["alarms"]
    for alarm in verdict.extra["alarms"]:
        assert alarm["what"].lower() in text
        assert f"after {alarm['request']:,} requests" in text
    for row in verdict.requirements:
        assert row.label.lower() in text
    assert "nothing is passed for good" in text
    assert verdict.artifact in text


def test_page_draws_time_lines_and_needs_no_other_file(page: Seen) -> None:
    assert page.tags.count("svg") >= 5  # the brand, accuracy, reliance, predicted classes, requests
    assert all(one.startswith(("#", "data:")) for one in page.fetched)
    assert "script" not in page.tags  # what a client sends is shown, never run
    assert "rejected: <script>alert(1)</script>" in page.text


def test_last_lines_say_verdict_alarms_and_page(looked: Path) -> None:
    lines = monitor_summary(looked, 100).splitlines()
    assert len(lines) <= 15
    assert lines[0].startswith("monitor: FAIL  (")
    assert "216 requests, 108 labelled" in " ".join(lines[:2])
    assert any(re.match(r"alarm +after [\d,]+ requests: reliance on colour \[\w+\]", line) for line in lines)
    assert max(len(line) for line in lines[:-1]) <= 100
    assert lines[-1].endswith("report.html")


def test_a_quiet_log_has_a_page_too(made: made_artifact.Made, tmp_path: Path) -> None:
    entries = [
        dataclasses.replace(entry, sampled=False, outcomes=()) for entry in logged.answers(made.artifact, made.manifest)
    ]
    for name, some in (("one", entries[:1]), ("none", [])):
        log = logged.write(tmp_path / f"{name}.sqlite", some)
        log.swap(logged.START, made.artifact.identity)
        log.close()
        monitor(made.artifact, tmp_path / f"{name}.sqlite", tmp_path / name)
        page = write_monitor_report(tmp_path / name).read_text(encoding="utf-8")
        assert "NOT MEASURED" in page
        assert monitor_summary(tmp_path / name).startswith("monitor: NOT_MEASURED  (no alarm")


def test_a_clock_that_is_far_off_is_no_failure() -> None:
    assert clock(0.0) == "1970-01-01 00:00:00 UTC"
    assert clock(1e30) == f"{1e30:.0f} s"


@in_browser
@pytest.mark.parametrize("width", [360, 1280])
def test_page_fits_the_screen(looked: Path, browser: Any, width: int) -> None:
    page = opened(browser, looked / "report.html", width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("svg.lines line.mark.alarm").count() >= 1
    assert page.said == []
    page.close()
