"""`report.html`: one page, self-contained, of everything a run folder knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from evensight.files import write_text
from evensight.report.folder import read_folder
from evensight.report.page import page

TEMPLATES = Path(__file__).parent / "templates"


def write_report(run_folder: Path) -> Path:
    """Writes `report.html` of a run folder and returns its path.

    The page needs no network and no other file; it follows the reader's light or dark setting. A file that the run did
    not leave leaves its section out.

    Raises:
        UserError: If `run_folder` is no run folder.
    """
    # Resolved, so that a page written through `latest` has the run's own name.
    folder = Path(run_folder).resolve()
    content = page(read_folder(folder))
    path = folder / "report.html"
    write_text(path, render("report.html", content))
    return path


def render(template: str, content: dict[str, Any]) -> str:
    """Fills in a template of this room; everything is escaped but the style sheet."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    return environment.get_template(template).render(style=style, **content)
