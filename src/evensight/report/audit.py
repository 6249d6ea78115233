"""`audit/report.html` and the audit's last lines, from `findings.json`, `verdict.json` and the pictures beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evensight.files import write_text
from evensight.object_file import ObjectFile
from evensight.objective import verdict_file
from evensight.report.charts import BarChart, rates_scale
from evensight.report.figures import Bar
from evensight.report.pictures import data_uri
from evensight.report.report import render
from evensight.report.summary import shown_path, wrapped
from evensight.report.verdicts import MEANING, WORDS, stage_view

FINDINGS, VERDICT, REPORT, PICTURES = "findings.json", "verdict.json", "report.html", "pictures"
_FINDINGS = ObjectFile("an audit", "run the audit again", "there is no audit; run: evensight audit experiment=<name>")
SEVERITY_WORDS = {"alarm": "alarm", "warning": "look at this", "note": "as it is"}
NUM_FIRST = 12  # findings shown in full at the top; the others are lines
NUM_WORST = 3


def read_findings(folder: Path) -> dict[str, Any]:
    """Reads the `findings.json` of an audit's folder.

    Raises:
        UserError: There is none, or it is broken.
    """
    return _FINDINGS.read(folder / FINDINGS)


def worst_findings(folder: Path, content: str | None = None) -> list[str] | None:
    """Returns the worst findings of an audit that exists, a line each; None where there is none.

    Args:
        folder: ``datasets/<name>/<recipe>/audit``.
        content: Content digest of the data now; an audit of other data is said to be.
    """
    if not (folder / FINDINGS).is_file():
        return None
    found = read_findings(folder)
    wanted = [each for each in found["findings"] if each["severity"] != "note"][:NUM_WORST]
    lines = [f"{each['severity']}: {each['title']}" for each in wanted] or ["nothing that endangers the objective"]
    if content is not None and found["data"] != content:
        lines.append("the data has changed since that audit; run it again")
    return lines


def write_audit_report(folder: Path) -> Path:
    """Writes `report.html` of an audit's folder and returns its path.

    The page needs no network and no other file, and follows the reader's light or dark setting.

    Raises:
        UserError: The folder holds no audit.
    """
    found = read_findings(folder)
    verdict = verdict_file.read(folder / VERDICT)
    path = folder / REPORT
    write_text(path, render("audit.html", _content(folder, found, verdict)))
    return path


def audit_summary(folder: Path, width: int | None = None) -> str:
    """Returns the last lines of an audit: verdict, worst findings, where the report is and what to do next.

    Args:
        folder: ``datasets/<name>/<recipe>/audit``.
        width: Columns of the terminal; None: there is none, nothing is cut.
    """
    found, verdict = read_findings(folder), verdict_file.read(folder / VERDICT)
    counts = _severities(found)
    lines = [f"audit: {verdict.verdict}  ({counts['alarm']} alarms, {counts['warning']} warnings)"]
    judged = [row for row in stage_view("audit", verdict).rows if row.verdict]
    size = max((len(row.label) for row in judged), default=0)
    lines += [f"  {row.verdict or '':<12}  {row.label:<{size}}  {row.estimate:>7}  {row.bound}" for row in judged]
    worst = [each for each in found["findings"] if each["severity"] != "note"][:NUM_WORST]
    for number, each in enumerate(worst, start=1):
        text = wrapped(f"{number}. {each['severity']}: {each['title']}", width)
        lines += [text[0], *(f"   {line}" for line in text[1:])]
        if each["setting"]:
            lines.append(f"   setting   {each['setting']}")
    lines.append(f"report    {shown_path(folder / REPORT)}")
    return "\n".join(lines)


def _severities(found: Mapping[str, Any]) -> dict[str, int]:
    return {name: sum(each["severity"] == name for each in found["findings"]) for name in SEVERITY_WORDS}


def _content(folder: Path, found: dict[str, Any], verdict: verdict_file.VerdictFile) -> dict[str, Any]:
    pictures = _Pictures(folder / PICTURES)
    shown = [_finding(each, pictures) for each in found["findings"]]
    titles = {chapter["name"]: chapter["title"] for chapter in found["chapters"]}
    view = stage_view("audit", verdict)
    split = found["num_images"]
    facts = [
        ("images", f"{sum(split.values()):,}"),
        ("training / validation / test", f"{split['train']:,} / {split['validation']:,} / {split['test']:,}"),
        ("classes", f"{len(found['classes'])}"),
        ("test labels", "read" if found["open_test"] else "closed: counts alone were read"),
    ]
    return {
        "version": found["version"],
        "name": found["name"],
        "purpose": found["purpose"],
        "words": WORDS,
        "meaning": MEANING[verdict.verdict],
        "verdict": verdict.verdict,
        "stage": view,
        "rows": [row for row in view.rows if row.verdict],
        "others": [_other(row) for row in verdict.requirements if "audit" not in row.stages],
        "facts": facts,
        "severities": SEVERITY_WORDS,
        "counts": _severities(found),
        "first": [each for each in shown if each["severity"] != "note"][:NUM_FIRST],
        "rest": _rest(shown),
        "titles": titles,
        "chapters": [_chapter(chapter, shown, pictures) for chapter in found["chapters"]],
        "prepared": found.get("prepared", []),
        "identities": [("data (content)", found["data"]), ("objective", found["objective"])],
        "settings": json.dumps(found["settings"], indent=1),
    }


def _rest(shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    serious = [each for each in shown if each["severity"] != "note"]
    return serious[NUM_FIRST:] + [each for each in shown if each["severity"] == "note"]


def _other(row: verdict_file.RequirementRecord) -> tuple[str, str]:
    sign = ">=" if row.direction == "at_least" else "<="
    bound = "shown" if row.bound is None else f"{sign} {row.bound:g}"
    return row.label, f"{bound}, judged at {', '.join(row.stages)}"


class _Pictures:
    """Pictures inside the page, each read once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, str | None] = {}

    def uri(self, name: str | None) -> str | None:
        if name is None or "/" in name:
            return None
        if name not in self._known:
            self._known[name] = data_uri(self._folder / name)
        return self._known[name]

    def exhibit(self, exhibit: Mapping[str, Any]) -> dict[str, Any]:
        shown = [{"uri": self.uri(one["file"]), "caption": one["caption"]} for one in exhibit["pictures"]]
        return {**exhibit, "pictures": shown}


def _finding(each: dict[str, Any], pictures: _Pictures) -> dict[str, Any]:
    title = each["title"][:1].upper() + each["title"][1:]
    return {**each, "title": title, "exhibits": [pictures.exhibit(one) for one in each["exhibits"]]}


def _chapter(chapter: dict[str, Any], shown: list[dict[str, Any]], pictures: _Pictures) -> dict[str, Any]:
    own = [each for each in shown if each["chapter"] == chapter["name"]]
    blocks = [_block(block, pictures) for block in chapter["blocks"]]
    return {**chapter, "findings": own, "blocks": blocks}


def _block(block: dict[str, Any], pictures: _Pictures) -> dict[str, Any]:
    if block["kind"] == "bars":
        bars = [Bar(**figure) for figure in block["figures"]]
        axis = rates_scale(bars, [block["reference"]])
        chart = BarChart(block["title"], bars, axis, block["reference"], block["reference_words"], block["note"])
        return {"kind": "bars", "chart": chart}
    if block["kind"] == "gallery":
        return {**block, "exhibits": [pictures.exhibit(one) for one in block["exhibits"]]}
    if block["kind"] == "heat_map":
        return {**block, "marked": {tuple(pair) for pair in block["marked"]}}
    return block
