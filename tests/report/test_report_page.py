from __future__ import annotations

import html
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from evensight.errors import UserError
from evensight.objective import verdict_file
from evensight.report.report import write_report


class Text(HTMLParser):
    """Collects the visible text, the tags and what they refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.references: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.references += [value for name, value in attrs if name in ("src", "href") and value]
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


def read(path) -> tuple[str, Text]:
    parser = Text()
    parser.feed(path.read_text(encoding="utf-8"))
    assert parser.open == []  # every tag is closed, in order
    return re.sub(r"\s+", " ", " ".join(parser.text)), parser


def test_every_requirement_is_there_with_its_interval_n_and_verdict(make_run):
    folder = make_run()
    text, _ = read(write_report(folder))
    verdict = verdict_file.read(folder / "verdicts" / "test.json")
    assert f"{verdict.verdict} on test" in text
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", (folder / "report.html").read_text(encoding="utf-8"))
    assert headings[:3] == ["Verdict on test", "What the model looks at", "Training"]
    for row in verdict.requirements:
        assert row.label in text
        if row.metric != "artifact_size":
            assert f"{row.estimate:.3f} {row.low:.3f} to {row.high:.3f} n {row.n:,}" in text
    assert "506.1 kB" in text and "Verdict on validation" in text
    assert "The model decides 40 % of the conflicting images by their colour (35 % to 45 %, n 99)" in text


def test_the_figures_are_those_of_the_verdict(make_run):
    # The page counts from the predictions; the verdict was judged on counts made elsewhere. They must agree.
    folder = make_run()
    text, _ = read(write_report(folder))
    for label in ("recall of each class", "reliance on colour", "accuracy of conflicting images (colour)"):
        for one in verdict_file.read(folder / "verdicts" / "test.json").row(label).comparisons:
            assert f"{one.estimate:.3f} ({one.low:.3f} to {one.high:.3f}, n {one.n:,})" in text, (label, one)


def test_names_are_escaped_and_nothing_is_fetched(make_run):
    path = write_report(make_run())
    text, parser = read(path)
    assert "cat <b>&amp;" in text and "images/<0>.png" in text and "Tell <animals> apart." in text
    assert html.escape("cat <b>&amp;") in path.read_text(encoding="utf-8")
    assert all(reference.startswith(("data:", "#")) for reference in parser.references)
    assert not re.search(r"@import|url\(|<script", path.read_text(encoding="utf-8"))


def test_pictures_are_inside_and_a_lost_one_leaves_a_blank(make_run):
    path = write_report(make_run(side=32))
    page = path.read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 5  # image, donor, two operators, one mistake
    assert page.count('class="blank"') == 1
    assert "moved" in page and "0.988" in page


def test_photographs_are_shrunk(make_run):
    path = write_report(make_run(side=224))
    assert "data:image/jpeg;base64," in path.read_text(encoding="utf-8")
    assert path.stat().st_size < 250_000


@pytest.mark.parametrize(
    "missing", ["artifact", "predictions", "pictures", "metrics.jsonl", "objective.json", "verdicts"]
)
def test_a_missing_file_leaves_its_section_out(make_run, missing):
    folder = make_run()
    if (folder / missing).is_dir():
        shutil.rmtree(folder / missing)
    else:
        (folder / missing).unlink()
    text, _ = read(write_report(folder))
    assert ("No verdict" in text) == (missing == "verdicts")
    assert ("Recall of each class" in text) == (missing not in ("predictions", "verdicts"))
    assert ("Worst mistakes" in text) == (missing not in ("pictures", "verdicts"))
    assert ("Loss" in text) == (missing != "metrics.jsonl")


def test_a_run_that_has_only_begun_has_a_page(make_run):
    folder = make_run()
    for entry in folder.iterdir():
        if entry.name != "config.yaml":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    text, _ = read(write_report(folder))
    assert "No verdict" in text and "experiment_name: made" in text


def test_many_classes_are_listed_not_drawn(make_run):
    text, _ = read(write_report(make_run(classes=tuple(f"class {k}" for k in range(60)))))
    assert "the worst 40 of 60" in text
    assert "True class (rows)" not in text and "Most frequent confusions" in text


def test_one_epoch_has_curves(make_run):
    text, _ = read(write_report(make_run(num_epochs=1)))
    assert "Loss" in text and "Reliance on colour" in text


def test_a_row_that_was_not_measured_says_why(make_run):
    folder = make_run()
    path = folder / "verdicts" / "test.json"
    content = json.loads(path.read_text())
    nothing = {"estimate": None, "low": None, "high": None, "n": 0, "comparisons": [], "verdict": "NOT_MEASURED"}
    content["requirements"][4] |= {**nothing, "worst": "", "reason": "the donors are all of one class"}
    content["verdict"] = "NOT_MEASURED"
    path.write_text(json.dumps(content))
    text, _ = read(write_report(folder))
    assert "not measured: the donors are all of one class" in text and "NOT MEASURED on test" in text


def test_not_a_run_folder_is_said(tmp_path):
    with pytest.raises(UserError, match="no run folder"):
        write_report(tmp_path)


def test_what_was_found_in_the_data_is_in_the_page(make_run):
    folder = make_run()
    finding = {"code": "undecodable", "count": 7, "examples": ["a/<b>.jpg: format"], "message": "cannot be decoded"}
    (folder / "findings.json").write_text(json.dumps({"schema_version": 1, "findings": [finding]}))
    text = write_report(folder).read_text(encoding="utf-8")
    assert "What was found in the data" in text
    assert "a/&lt;b&gt;.jpg: format" in text and "cannot be decoded" in text
