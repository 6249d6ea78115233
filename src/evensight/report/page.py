"""Everything the page shows, as plain values: the templates hold no arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evensight import __version__
from evensight.report import figures
from evensight.report.charts import bar_chart
from evensight.report.cues import cues_view
from evensight.report.figures import Bar, Cell, RelianceFigures
from evensight.report.focus import focus_view
from evensight.report.folder import RunFiles, Stage
from evensight.report.origin import origin_view
from evensight.report.pictures import data_uri
from evensight.report.summary import standing_out
from evensight.report.training import curves, speed
from evensight.report.verdicts import MEANING, WORDS, stage_view

# More columns than this are listed, not drawn.
MOST_CLASSES = 24
MOST_TRANSPLANTS = 8
MOST_MISTAKES = 18


@dataclass(frozen=True)
class HeatMap:
    """Accuracy of each class (rows) at each level (columns)."""

    attribute: str
    levels: list[str]
    rows: list[tuple[str, list[Cell]]]
    marked: bool
    note: str


def page(run: RunFiles) -> dict[str, Any]:
    """Returns what the templates need."""
    last = run.stages[-1] if run.stages else None
    views = [stage_view(stage.name, stage.verdict) for stage in reversed(run.stages)]
    return {
        "version": __version__,
        "experiment": run.config.get("experiment_name", run.folder.name),
        "folder": run.folder.name,
        "purpose": run.objective.get("purpose", ""),
        "words": WORDS,
        "meaning": MEANING,
        "stages": views,
        "standing_out": _sentence(last),
        "facts": _facts(run, last),
        "origin": origin_view(run),
        "looks": _looks(run, last) if last else None,
        "focus": focus_view(run),
        "curves": curves(run),
        "cues": cues_view(run),
        "confidence": f"{1 - run.alpha:.0%}".replace("%", " %"),
        "parts": _parts(run, last) if last else None,
        "mistakes": _mistakes(run, last) if last else [],
        "failed": last.verdict.extra.get("failed", {}) if last else {},
        "findings": run.findings,
        "identities": _identities(run, last),
        "environment": _environment(run),
        "config_text": run.config_text,
    }


def _sentence(last: Stage | None) -> str:
    text = standing_out(last.verdict.model_dump(mode="json")) if last else ""
    return text[:1].upper() + text[1:]


def _facts(run: RunFiles, last: Stage | None) -> list[tuple[str, str]]:
    facts = []
    if last:
        facts.append(("judged on", f"{last.verdict.extra.get('num_images', 0):,} {last.name} images"))
    if run.classes:
        facts.append(("classes", f"{len(run.classes)}"))
    facts.append(("training", speed(run)))
    facts.append(("started", str(run.environment.get("started", "")).replace("T", " ").replace("+00:00", " UTC")))
    return [(name, value) for name, value in facts if value]


def _looks(run: RunFiles, last: Stage) -> dict[str, Any]:
    """What the model looks at: reliance on each cue, who decides conflicting images, what a rival would score."""
    table = figures.decided(last.predictions) if last.predictions is not None else None
    found = figures.reliance(table, run.classes, run.alpha) if table is not None and run.classes else []
    names = dict.fromkeys(part.cue for part in found)
    cues = [_cue(run, last, cue, [part for part in found if part.cue == cue]) for cue in names]
    conflicts = []
    if table is not None:
        for name, usual in run.usual.items():
            bars = figures.aligned(table, name, usual, run.alpha)
            bound = _bound(last, "accuracy", "conflicting", attribute=name)
            conflicts.append(bar_chart(f"Accuracy by whether the {name} is the class's usual one", bars, bound))
    decided = last.verdict.extra.get("decided_by", [])
    rivals = figures.rivals(table, run.alpha) if table is not None else []
    chart = bar_chart("Accuracy beside that of simple rivals", rivals) if len(rivals) > 1 else None
    return {"cues": cues, "conflicts": conflicts, "decided": decided, "rivals": chart}


def _cue(run: RunFiles, last: Stage, cue: str, found: list[RelianceFigures]) -> dict[str, Any]:
    truth = last.verdict.extra.get("truth", {}).get(cue)
    bars = [
        Bar(
            f"operator {part.operator}",
            part.overall.estimate,
            part.overall.low,
            part.overall.high,
            part.overall.n,
            f"{part.transplant:.3f} transplanted less {part.placebo:.3f} placebo",
        )
        for part in found
    ]
    if truth and truth.get("share") is not None:
        words = "the same images drawn anew with the donor's level"
        bars.append(Bar("the truth, by redrawing", truth["share"], truth["low"], truth["high"], truth["n"], words))
    bound = _bound(last, "reliance", "overall", cue=cue)
    by_class = bar_chart(f"By true class, operator {found[0].operator}", found[0].by_class, bound, signed=True)
    return {
        "name": cue,
        "overall": bar_chart(f"Reliance on {cue}", bars, bound, signed=True),
        "by_class": by_class,
        "pictures": _transplants(run, last, cue),
    }


def _parts(run: RunFiles, last: Stage) -> dict[str, Any] | None:
    """Classes and groups, the confusion matrix, class x group."""
    if last.predictions is None or not run.classes:
        return None
    table, classes, alpha = figures.decided(last.predictions), run.classes, run.alpha
    counts = figures.confusion(table, len(classes))
    charts = [
        bar_chart("Recall of each class", figures.recall(counts, classes, alpha), _bound(last, "recall", "each_class")),
        bar_chart(
            "Precision of each class",
            figures.precision(counts, classes, alpha),
            _bound(last, "precision", "each_class"),
        ),
    ]
    maps = []
    for name in figures.usual_counts(run.levels, run.usual):
        levels = run.levels[name]
        bound = _bound(last, "accuracy", "each_group", attribute=name)
        charts.append(bar_chart(f"Accuracy of each {name}", figures.groups(table, name, levels, alpha), bound))
        if len(levels) <= MOST_CLASSES and len(classes) <= MOST_CLASSES:
            maps.append(_heat_map(run, table, name))
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    return {
        "charts": charts,
        "maps": maps,
        "classes": classes,
        "matrix": _matrix(classes, counts.tolist(), shares.tolist()) if len(classes) <= MOST_CLASSES else None,
        "confusions": figures.confusions(counts, classes, alpha),
    }


def _matrix(classes: Sequence[str], counts: list[list[int]], shares: list[list[float]]) -> list[tuple[str, int, Any]]:
    rows = zip(classes, counts, shares, strict=True)
    return [(name, sum(row), list(zip(row, share, strict=True))) for name, row, share in rows]


def _heat_map(run: RunFiles, table: Any, name: str) -> HeatMap:
    usual = run.usual.get(name)
    rows = figures.cells(table, name, run.classes, run.levels[name], usual, run.alpha)
    known = [cell.bar for row in rows for cell in row]
    low, high = min(bar.n for bar in known), max(bar.n for bar in known)
    each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    widest = max(known, key=lambda bar: bar.high - bar.low)
    wide = f"{widest.name}, {widest.low:.2f} to {widest.high:.2f}"
    return HeatMap(
        name,
        run.levels[name],
        list(zip(run.classes, rows, strict=True)),
        usual is not None,
        f"{len(known)} cells of {each} images; the widest interval is that of {wide}",
    )


def _bound(last: Stage, metric: str, scope: str, **parameters: str) -> tuple[float, str] | None:
    for row in last.verdict.requirements:
        same = all(row.parameters.get(key) == value for key, value in parameters.items())
        if row.metric == metric and row.scope == scope and same and row.bound is not None:
            sign = "≥" if row.direction == "at_least" else "≤"
            return row.bound, f"required {sign} {row.bound:g}"
    return None


def _transplants(run: RunFiles, last: Stage, cue: str) -> list[dict[str, Any]]:
    """Returns image, donor and what became of it by each operator, a card an image."""
    cards: dict[str, dict[str, Any]] = {}
    for entry in last.pictures.get("transplants", []):
        if entry["cue"] != cue:
            continue
        card = cards.setdefault(
            entry["image"],
            {
                "image": data_uri(last.pictures_folder / entry["image"]),
                "donor": data_uri(last.pictures_folder / entry["donor"]),
                "before": _name(run, entry.get("before")),
                "donor_class": _name(run, entry["donor_class"]),
                "changed": [],
            },
        )
        picture = data_uri(last.pictures_folder / entry["transplanted"])
        said = {"operator": entry["operator"], "prediction": _name(run, entry["prediction"]), "moved": entry["moved"]}
        card["changed"].append({"picture": picture, **said})
    return list(cards.values())[:MOST_TRANSPLANTS]


def _mistakes(run: RunFiles, last: Stage) -> list[dict[str, Any]]:
    return [
        {
            "picture": data_uri(last.pictures_folder / entry["file"]),
            "path": entry["path"],
            "label": _name(run, entry["label"]),
            "prediction": _name(run, entry["prediction"]),
            "probability": f"{entry['probability']:.3f}",
        }
        for entry in last.pictures.get("mistakes", [])[:MOST_MISTAKES]
    ]


def _name(run: RunFiles, index: int | None) -> str:
    if index is None or not 0 <= index < len(run.classes):
        return "–"
    return run.classes[index]


def _identities(run: RunFiles, last: Stage | None) -> list[tuple[str, str]]:
    pairs = [
        ("artifact", run.contract.get("identity")),
        ("its network, of the artifact", run.origin.get("identity")),
        ("run configuration", run.contract.get("run", {}).get("identity")),
        ("data (content)", last.verdict.data if last else None),
        ("test rows", run.contract.get("data", {}).get("test")),
        ("objective", last.verdict.objective if last else None),
        ("donors and probes", run.contract.get("reliance", {}).get("donors")),
        ("commit", run.environment.get("commit")),
    ]
    return [(name, str(value)) for name, value in pairs if value]


def _environment(run: RunFiles) -> list[tuple[str, str]]:
    packages = ", ".join(f"{name} {found}" for name, found in run.environment.get("packages", {}).items() if found)
    names = {"evensight": "evensight", "python": "Python", "platform": "platform", "processor": "processor"}
    pairs = [(said, run.environment.get(key)) for key, said in names.items()]
    pairs += [
        ("cores", run.environment.get("cores")),
        ("packages", packages),
        ("command", run.environment.get("command")),
    ]
    return [(name, str(value)) for name, value in pairs if value]
