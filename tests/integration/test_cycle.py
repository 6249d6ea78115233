"""The cycle as a user runs it: all six stages, a real server, and the page. `-m nightly` runs it in full."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chromium import in_browser, opened
from evensight.cli import main
from evensight.objective.verdict_file import RequirementRecord, read
from evensight.records.artifact import Artifact
from evensight.records.registry import Registry
from evensight.records.traffic import read_traffic

MINUTE = 60


@dataclass(frozen=True)
class Told:
    """A cycle that ended: its status, what it printed, its folder and its story."""

    status: int
    lines: list[str]
    folder: Path
    story: dict[str, Any]

    @property
    def champion(self) -> Artifact:
        return Artifact.open(Registry.open(self.folder / "registry").artifact("champion"))


def cycled(place: Path, arguments: Sequence[str]) -> Told:
    command = [sys.executable, "-m", "evensight", "cycle", *arguments]
    folders = [f"runs_dir={place / 'runs'}", f"datasets_dir={place / 'datasets'}"]
    done = subprocess.run([*command, *folders], capture_output=True, text=True, check=False, timeout=60 * MINUTE)
    folders_made = sorted((place / "runs" / "shapes").glob("cycle-*"))
    assert len(folders_made) == 1, done.stderr[-3000:]
    story = json.loads((folders_made[0] / "cycle.json").read_text(encoding="utf-8"))
    return Told(done.returncode, done.stdout.splitlines(), folders_made[0], story)


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return cycled(tmp_path_factory.mktemp("cycle"), ["experiment=shapes", "debug=fast", "trainer.num_threads=1"])


@pytest.mark.slow
def test_the_status_and_the_last_lines_say_what_happened(fast: Told) -> None:
    """Two epochs on 512 images teach no shape, so the challenger stays where it is; a status of 0 would be a lie."""
    assert fast.status == fast.story["status"] == 1
    assert fast.story["decision"] in ("REFUSE", "INSUFFICIENT")
    end = fast.lines[-(2 + len(fast.story["moments"])) :]
    assert end[0].startswith("cycle: the challenger was not promoted: ")
    assert end[-1].endswith("cycle.html")
    assert [step["name"][:8] for step in fast.story["steps"]][:3] == ["Stage 1:", "Stage 2:", "Stages 3"]


@pytest.mark.slow
def test_every_answer_is_in_the_log_and_in_the_story(fast: Told) -> None:
    sent = sum(block["n"] for block in fast.story["blocks"])
    traffic = read_traffic(fast.folder / "log" / "predictions.sqlite")
    assert traffic.predictions.height == sent == 3 * 80
    assert traffic.predictions["id"].n_unique() == sent
    labelled = traffic.predictions.filter(traffic.predictions["label_state"] == "labelled")
    assert sent / 4 - 40 < labelled.height < sent / 4 + 40  # six standard errors of 240 draws
    assert traffic.swaps.height == 0  # of nothing but the champion
    assert traffic.rejected.height == 0


@pytest.mark.slow
def test_a_requirement_keeps_its_digest_and_its_schema_from_its_line_to_its_alarm(fast: Told) -> None:
    artifact = fast.champion
    objective = artifact.contract.stated_objective()
    test = read(fast.folder / fast.story["models"][0]["verdict"])
    monitored = read(fast.folder / "monitor-1" / "verdicts" / "monitor.json")
    assert {objective.digest(), test.objective, monitored.objective} == {objective.digest()}
    assert test.artifact == monitored.artifact == artifact.identity
    assert [row.label for row in test.requirements] == [row.label for row in monitored.requirements]
    for one, other in zip(test.requirements, monitored.requirements, strict=True):
        same = ("metric", "scope", "parameters", "bound", "direction", "stages")
        assert [getattr(one, name) for name in same] == [getattr(other, name) for name in same]
        assert isinstance(other, RequirementRecord)
    walk = fast.story["walk"]
    assert len(walk) == 4
    assert {row["digest"] for row in walk} == {objective.digest()}


@pytest.mark.slow
def test_the_first_model_is_released_in_the_open_and_stays_champion(fast: Told) -> None:
    history = Registry.open(fast.folder / "registry").history()
    assert "its test verdict is FAIL" in history[0]["why"]
    assert history[0]["identity"] == fast.champion.identity
    Registry.open(fast.folder / "registry").verify()


@pytest.mark.slow
@in_browser
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_fits_and_fetches_nothing(fast: Told, browser, width: int) -> None:
    path = fast.folder / "cycle.html"
    page = opened(browser, path, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.said == []
    assert [url for url in page.fetched if not url.startswith("data:")] == [path.as_uri()]
    assert page.locator("svg.lines").count() == 2
    assert page.locator("figure img").count() == len(fast.story["pictures"]) == 24
    for link in page.locator("a").all():
        target = link.get_attribute("href")
        assert target.startswith("#") or (fast.folder / target).is_file(), target
    page.close()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["experiment=composite"], "data: the reader 'composite' cannot draw traffic"),
        (["experiment=shapes", "data.sealed=true", "test=false"], "data.sealed: a cycle looks at the test split twice"),
        (["experiment=shapes", "export=false"], "export: a cycle needs the artifact"),
        (["experiment=shapes", "cycle.requests=3"], "cycle.requests: found 3, allowed is from 10"),
        (["experiment=shapes", "cycle.request=30"], "cycle.request"),
    ],
)
def test_what_cannot_be_gone_through_is_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cycle", *arguments, f"runs_dir={tmp_path / 'runs'}", f"datasets_dir={tmp_path / 'datasets'}"]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.nightly
@pytest.mark.timeout(60 * MINUTE)
def test_in_full_the_model_is_caught_answered_and_swapped(tmp_path: Path) -> None:
    told = cycled(tmp_path, ["experiment=shapes"])
    assert told.status == 0, told.lines[-20:]
    by_name = {one["name"]: read(told.folder / one["verdict"]) for one in told.story["models"]}
    assert by_name["champion"].verdict == "FAIL"
    assert by_name["challenger"].verdict == "PASS"
    caught = [one for one in told.story["moments"] if one.get("cue") == "colour"]
    assert caught
    assert caught[0]["after"] <= 1500
    swaps = [one for one in told.story["moments"] if one["kind"] == "swap"]
    assert len(swaps) == 1
    second = read(told.folder / "monitor-2" / "verdicts" / "monitor.json")
    assert second.artifact == told.champion.identity != by_name["champion"].artifact
    kinds = {alarm["kind"] for alarm in second.extra["alarms"]}
    assert "requirement" not in kinds
    assert "shift" in kinds
