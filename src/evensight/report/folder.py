"""What a report reads of a run folder. Every file may be missing: a run without export leaves no verdict."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import OmegaConf

from evensight.errors import UserError
from evensight.objective import verdict_file
from evensight.objective.verdict_file import RequirementRecord, VerdictFile
from evensight.run import ORIGIN

# In the order of a model's life; the last one there is the one the report opens with.
STAGES = ("validation", "test", "pilot", "monitor")


@dataclass(frozen=True)
class Stage:
    """What one stage left: its verdict, and where there are any its predictions and pictures."""

    name: str
    verdict: VerdictFile
    predictions: pl.DataFrame | None
    pictures: dict[str, Any]
    pictures_folder: Path


@dataclass(frozen=True)
class RunFiles:
    """A run folder, read. `stages` are those with a verdict, in order; the rest is empty where a file is missing."""

    folder: Path
    config: dict[str, Any]
    config_text: str
    environment: dict[str, Any]
    objective: dict[str, Any]
    contract: dict[str, Any]
    findings: list[dict[str, Any]]
    epochs: list[dict[str, Any]]
    stages: list[Stage]
    focus: dict[str, Any]
    origin: dict[str, Any]

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the network's outputs; empty where they were never resolved."""
        names = self.contract.get("classes") or self.objective.get("classes") or []
        return list(names) if not isinstance(names, str) else []

    @property
    def levels(self) -> dict[str, list[str]]:
        """The levels of each attribute, in the order they are counted in."""
        if self.contract:
            return {name: list(levels) for name, levels in self.contract["attributes"].items()}
        attributes = self.objective.get("attributes", {})
        return {name: list(part["levels"]) for name, part in attributes.items() if part["levels"] != "from_data"}

    @property
    def usual(self) -> dict[str, list[int]]:
        """Of each attribute, the index of every class's usual level."""
        return {name: list(levels) for name, levels in self.contract.get("usual", {}).items()}

    @property
    def requirements(self) -> list[RequirementRecord]:
        """The rows of the first verdict; none without one."""
        return self.stages[0].verdict.requirements if self.stages else []

    def rules(self, metric: str, scope: str, **parameters: str) -> list[tuple[float, str]]:
        """Returns value and words of the bound on a figure, if a requirement has one."""
        for row in self.requirements:
            named = all(row.parameters.get(key) == value for key, value in parameters.items())
            if row.metric == metric and row.scope == scope and named and row.bound is not None:
                sign = "≥" if row.direction == "at_least" else "≤"
                return [(row.bound, f"{row.label} {sign} {row.bound:g}")]
        return []

    @property
    def alpha(self) -> float:
        """How often a bound may err on its side."""
        return 1.0 - float(self.objective.get("confidence", 0.95))


def read_folder(folder: Path) -> RunFiles:
    """Reads a run folder.

    Raises:
        UserError: If it is none (no `config.yaml`), or a verdict in it is not a verdict file.
    """
    if not (folder / "config.yaml").is_file():
        raise UserError(f"run: {folder} is no run folder (no config.yaml in it).")
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    return RunFiles(
        folder=folder,
        config=_yaml(folder / "config.yaml"),
        config_text=text,
        environment=_json(folder / "environment.json"),
        objective=_json(folder / "objective.json"),
        contract=_json(folder / "artifact" / "contract.json"),
        findings=list(_json(folder / "findings.json").get("findings", [])),
        epochs=_lines(folder / "metrics.jsonl"),
        stages=[_stage(folder, name) for name in STAGES if (folder / "verdicts" / f"{name}.json").is_file()],
        focus=_json(folder / "focus.json"),
        origin=_json(folder / ORIGIN),
    )


def _stage(folder: Path, name: str) -> Stage:
    table = folder / "predictions" / f"{name}.parquet"
    return Stage(
        name,
        verdict_file.read(folder / "verdicts" / f"{name}.json"),
        pl.read_parquet(table) if table.is_file() else None,
        _json(folder / "pictures" / f"{name}.json"),
        folder / "pictures" / name,
    )


def _yaml(path: Path) -> dict[str, Any]:
    value = OmegaConf.to_container(OmegaConf.load(path))
    return {str(key): part for key, part in value.items()} if isinstance(value, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return value if isinstance(value, dict) else {}


def _lines(path: Path) -> list[dict[str, Any]]:
    """Returns the whole lines; a last one without its line break was cut short."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1] if line]
