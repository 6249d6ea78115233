"""What a user's own script sees of an installed evensight: its public names, at no cost, and its types."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from built_package import REPOSITORY, call

import evensight

# The example in the module's docstring as a script, small, and with an image that is there.
FAST = '["experiment=shapes", "debug=fast", "trainer.max_epochs=1", "trainer.num_threads=1"]'
IMAGE = 'next(Path(config.datasets_dir).glob("shapes/*/images/test/*"))'
EXAMPLE = [line.strip() for line in str(evensight.__doc__).splitlines() if line.startswith("    ")]
SCRIPT = "\n".join(["import dataclasses", "from pathlib import Path", "import evensight", *EXAMPLE, ""])
SCRIPT = SCRIPT.replace('["experiment=shapes"]', FAST).replace('Path("one.png")', IMAGE)
REVEALED = {
    "config.seed": "int",
    "objective.classes": "tuple[str, ...] | Literal['from_data']",
    "manifest.classes": "tuple[str, ...]",
    "result.best_epoch": "int | None",
    "result.network": "evensight.models.network.Network",
    "artifact": "evensight.records.artifact.Artifact",
    "verdict": "str",
    "predictions": "list[evensight.runtime.predictor.Prediction]",
    "evensight.main": "def (argv: typing.Sequence[str]) -> int",
    "evensight.__version__": "str",
}
WRONG = "evensight.configuraton([])\nevensight.main(3)\n"


def test_every_public_name_is_found_where_the_type_checker_finds_it() -> None:
    tree = ast.parse(Path(evensight.__file__).read_text(encoding="utf-8"))
    (guard,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imports = [node for node in guard.body if isinstance(node, ast.ImportFrom)]
    typed = {alias.name: node.module for node in imports for alias in node.names}
    assert set(evensight.__all__) == {*typed, "__version__"}
    assert set(evensight.__all__) <= set(dir(evensight))
    for name, module in typed.items():
        found = getattr(evensight, name)
        assert found.__name__ == name
        assert found.__module__ == module


def test_no_public_name_is_a_modules() -> None:
    """`evensight.train` would be one thing before `import evensight.train` and another after it."""
    package = Path(evensight.__file__).parent
    modules = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert not modules & set(evensight.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'configuraton'"):
        evensight.configuraton  # type: ignore[attr-defined] # noqa: B018


@pytest.mark.parametrize("used", ["", "evensight.main, evensight.configuration, evensight.Run, evensight.UserError"])
def test_import_does_not_bring_torch(used: str) -> None:
    heavy = ["torch", "lightning", "timm", "wandb", "cv2", "numpy", "polars"] if not used else ["torch", "lightning"]
    code = f"import sys, evensight\n{used}\nprint(sorted(set({heavy!r}) & set(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "[]"


@pytest.mark.slow
def test_example_of_the_module_runs_where_the_wheel_is_installed(programs: Path, tmp_path: Path) -> None:
    assert len(EXAMPLE) == 8
    shown = "print(verdict, predictions[0].label in manifest.classes)\n"
    (tmp_path / "script.py").write_text(SCRIPT + shown, encoding="utf-8")
    said = call([str(programs / "python"), "script.py"], tmp_path).split()
    assert said[-2] in ("FAIL", "INSUFFICIENT")  # after one epoch
    assert said[-1] == "True"


@pytest.mark.nightly
def test_types_reach_a_strict_script(programs: Path, tmp_path: Path) -> None:
    reveals = "".join(f"reveal_type({expression})\n" for expression in REVEALED)
    (tmp_path / "script.py").write_text(SCRIPT + reveals, encoding="utf-8")
    (tmp_path / "wrong.py").write_text(f"import evensight\n{WRONG}", encoding="utf-8")
    checker = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(programs / "python")]
    said = call([*checker, "script.py"], tmp_path)
    revealed = [line.partition('Revealed type is "')[2].rstrip('"') for line in said.splitlines() if "Revealed" in line]
    assert [text.replace("builtins.", "") for text in revealed] == list(REVEALED.values())
    mistakes = subprocess.run([*checker, "wrong.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert 'Module has no attribute "configuraton"' in mistakes.stdout
    assert 'incompatible type "int"; expected "Sequence[str]"' in mistakes.stdout
