"""The rooms and who may import whom (ARCHITECTURE.md). If this fails, a wall was moved without saying so."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "evensight"
STAGES = {"audit", "training", "testing", "deploy", "monitor", "update"}
BELOW = {"runtime", "metrics", "cues", "models", "objective", "data", "records"}
# Room -> the rooms it may import besides itself.
ALLOWED: dict[str, set[str]] = {
    "runtime": set(),
    "ranks": set(),
    "metrics": set(),
    "cues": {"metrics"},
    "models": {"runtime", "cues"},
    "objective": {"metrics"},
    "data": {"runtime", "objective", "metrics"},
    "records": {"runtime", "objective", "cues"},
    "report": {"records", "metrics", "objective"},
    **dict.fromkeys(STAGES, BELOW),
    # A decision rests on what the test measures, by its public functions.
    "update": BELOW | {"testing"},
    # It calls what a user would call, in a user's order.
    "cycle": STAGES | BELOW | {"report", "pipeline"},
}
# Any room but the two leaves may import them. Free of torch when they are imported, but for the last.
TOP = {
    *("__version__", "errors", "names", "files", "object_file", "config", "compose", "run", "instantiate", "progress"),
    *("logs", "identity", "environment", "locking", "interruption", "ranks", "options", "statuses", "process"),
    "threads",  # it imports torch, as those do who make a pool
}
ROOMS = sorted(path.name for path in SOURCE.iterdir() if (path / "__init__.py").is_file())


def imported(path: Path) -> set[str]:
    """Returns the dotted evensight modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.ImportFrom):  # `runtime` is copied into services as a whole, so it imports its own so
            assert node.level == 1, f"{path}: a relative import that leaves its folder"
    return {name.removeprefix("evensight.") for name in found if name.startswith("evensight.")}


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_only_what_it_may(room: str) -> None:
    assert room in ALLOWED, f"{room} is a new room: say in ARCHITECTURE.md and here whom it may import"
    for path in sorted((SOURCE / room).rglob("*.py")):
        for module in imported(path):
            other = module.split(".")[0]
            if other == room:
                continue
            allowed = ALLOWED[room] | (TOP if room not in ("runtime", "metrics") else set())
            assert other in allowed, f"{path.relative_to(SOURCE)} imports {module}"


def test_rooms_exist() -> None:
    assert {"runtime", "metrics", "cues", "models", "objective", "data", "training", "deploy", "testing"} <= set(ROOMS)


def test_runtime_needs_torch_numpy_pillow_alone() -> None:
    allowed = {"torch", "numpy", "PIL", "evensight"} | set(sys.stdlib_module_names)
    for path in (SOURCE / "runtime").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            assert {name.split(".")[0] for name in names} <= allowed, path


@pytest.mark.parametrize(
    "module",
    ["evensight.cli", "evensight.compose", "evensight.resuming", "evensight.objective.objective", "evensight.names"],
)
def test_light_modules_do_not_import_torch(module: str) -> None:
    """`--help`, `--cfg job` and a typo are answered in about a second only while this holds."""
    code = f"import sys, {module}; print(sorted({{'torch', 'lightning', 'timm', 'wandb', 'cv2'}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
