"""If these fail, something that a user can type ends in a traceback, or reads a file that is no configuration.

100 examples a property in CI; `EVENSIGHT_HYPOTHESIS=nightly pytest -m nightly` draws 2,000 new ones of each.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evensight.cli import main
from evensight.compose import compose, config_folder
from evensight.config import Config
from evensight.errors import UserError
from evensight.objective.objective import Objective

VALID = [
    *(
        "experiment=shapes",
        "seed=3",
        "optimizer=sgd",
        "optimizer.lr=1e-3",
        "data.correlation=0.5",
        "~augment.transforms",
    ),
    *("objective.classes=[a,b]", "objective.requirements=[{metric:accuracy,bound:0.9}]", "+data=shapes", "++seed=2"),
    *("trainer.checkpoint_every.minutes=3", "callbacks.x={_target_:torch.nn.Linear}", "model.kwargs={hidden:[3,4]}"),
    *("experiment_name=${data.name}", "trainer.devices=[0,1]", "seed=1,2", "data=glob(*)", "seed=range(1,3)"),
    *("data@other=shapes", "hydra.run.dir=x", "run=x", "resume=true", "model.size=???", "logger.tags=['a b',c]"),
]
PIECES = st.sampled_from(
    [
        *(
            "=",
            "==",
            "+",
            "++",
            "~",
            "@",
            ":",
            ",",
            ".",
            "..",
            "/",
            "\\",
            "'",
            '"',
            "[",
            "]",
            "{",
            "}",
            "(",
            ")",
            "$",
            "${",
        ),
        *(
            "${oc.env:HOME}",
            "${oc.decode:'['}",
            "${hydra:job}",
            "${seed}",
            "???",
            "null",
            "nan",
            "inf",
            "-1",
            "1e999",
            " ",
        ),
        *(
            "\n",
            "\t",
            "\x00",
            "\x1b[31m",
            "\u202e",
            "\ud800",
            "\u00e9",
            "e\u0301",
            "\U0001f600",
            "__class__",
            "_target_",
        ),
        *("int(x)", "range(1,9,0)", "choice(a,b)", "sort(1,b)", "shuffle(a)", "glob(*)", "../../etc/passwd", "a" * 300),
        *("[" * 300, "{a:" * 100, "(" * 100, "9" * 5000, "--help", "-", "0x10", "0b1", "1_0", "true", "on"),
    ]
)


@st.composite
def mutated(draw: Callable[..., Any]) -> str:
    """A valid override with up to four pieces deleted, put in, or swapped."""
    text: str = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.integers(0, 6)))
        piece = draw(st.one_of(PIECES, st.characters()))
        text = draw(
            st.sampled_from([text[:at] + text[end:], text[:at] + piece + text[at:], text[:at] + piece + text[end:]])
        )
    return text


def keys_of(kind: Any, prefix: str = "") -> list[str]:
    """Every key of a dataclass and of those in it."""
    found = []
    for field in dataclasses.fields(kind):
        value = getattr(kind, field.name)
        found += [f"{prefix}{field.name}"]
        found += keys_of(value, f"{prefix}{field.name}.") if dataclasses.is_dataclass(value) else []
    return found


KEYS = keys_of(compose(["experiment=shapes"]))
WORDS = st.sampled_from(
    [
        *(
            "null",
            "true",
            "no",
            "0",
            "-1",
            "1",
            "2.5",
            "nan",
            "inf",
            "-inf",
            "1e400",
            "10000000000000000000",
            "''",
            "a",
            "???",
        ),
        *(
            "${seed}",
            "${objective}",
            "${oc.env:HOME}",
            "${oc.env:NO,3}",
            "${no}",
            "${oc.select:seed}",
            "${hydra:job}",
            "'a b'",
        ),
        *(
            "auto",
            "adamw",
            "shapes",
            "timm/resnet18",
            "torch.nn.Linear",
            "colour",
            "'\u00e9'",
            "2026-01-01",
            "0x10",
            "1:2",
            "'${'",
        ),
    ]
)
VALUES = st.recursive(
    WORDS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: f"[{','.join(parts)}]"),
        st.lists(st.tuples(st.sampled_from(["a", "_target_", "1", "null", "name", "metric"]), inner), max_size=3).map(
            lambda pairs: f"{{{','.join(f'{key}:{value}' for key, value in pairs)}}}"
        ),
    ),
    max_leaves=6,
)


@st.composite
def keyed(draw: Callable[..., Any]) -> str:
    """A key of the schema, or one below it, with a value of any kind."""
    key = draw(st.sampled_from(KEYS)) + draw(st.sampled_from(["", "", "", ".a", ".0", "._target_"]))
    return f"{draw(st.sampled_from(['', '', '+', '++', '~']))}{key}={draw(VALUES)}"


OVERRIDES = st.one_of(keyed(), keyed(), mutated(), st.text(max_size=60), st.lists(PIECES, max_size=8).map("".join))
NAMES = st.one_of(
    st.sampled_from([*(field for field in Objective.model_fields), "colour", "metric", "scope"]), st.text()
)
PLAIN = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.binary(max_size=3)),
        st.sampled_from(
            ["accuracy", "reliance", "advantage", "each_group", "gap", "colour", "from_data", "majority", "test"]
        ),
    ),
    lambda inner: st.one_of(
        *(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=4), st.tuples(inner)),
        st.fixed_dictionaries(
            {"metric": inner}, optional=dict.fromkeys(("scope", "bound", "attribute", "over"), inner)
        ),
    ),
    max_leaves=12,
)
OBJECTIVES = st.one_of(
    PLAIN,
    st.fixed_dictionaries(
        {"name": st.just("a"), "purpose": st.just("b")},
        optional=dict.fromkeys(("classes", "attributes", "requirements", "primary", "confidence"), PLAIN),
    ),
)


@contextmanager
def reads() -> Iterator[list[str]]:
    """Notes every file that is opened within the block."""
    opened: list[str] = []
    watching = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watching[0] and event == "open" and isinstance(arguments[0], str | bytes | Path):
            opened.append(str(arguments[0]))

    sys.addaudithook(hook)  # there is no way to take one away
    try:
        yield opened
    finally:
        watching[0] = False


@pytest.fixture(scope="module")
def opened() -> Iterator[list[str]]:
    """The files that this process opens, one hook for all examples."""
    with reads() as found:
        yield found


def allowed(path: str) -> bool:
    """Configuration of ours, Python's own files, and what the machine says of itself."""
    if path.startswith((str(config_folder()), sys.prefix, sys.base_prefix, "/proc/", "/dev/")):
        return True
    return path.endswith((".py", ".pyc", ".pth", ".so")) or "site-packages" in path or ".hypothesis" in path


def sentence_of(call: Callable[[], object]) -> str | None:
    """Returns the sentence that a mistake ends with; None where there was none. Anything else is raised."""
    try:
        call()
    except UserError as error:
        assert str(error).isprintable() and str(error), str(error)
        return str(error)
    return None


@pytest.mark.timeout(3600)  # 2,000 compositions of a tenth of a second each, on a busy machine
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.lists(OVERRIDES, min_size=1, max_size=3))
def test_any_overrides_compose_or_are_one_sentence(
    arguments: list[str], opened: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    opened.clear()
    found: list[Config] = []
    said = sentence_of(lambda: found.append(compose(["experiment=shapes", *arguments])))
    assert (said is None) == bool(found)
    assert [path for path in opened if not allowed(path)] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(3600)  # 2,000 compositions of a tenth of a second each, on a busy machine
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.lists(OVERRIDES, max_size=3), command=st.sampled_from(["objective", "train"]))
def test_any_command_line_ends_with_0_or_2(
    arguments: list[str],
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    sweep = {"--multirun", "-m"} & set(arguments)  # would train
    status = main([command, "experiment=shapes", "--cfg", "job", *arguments] if not sweep else ["--help"])
    said = capsys.readouterr()
    assert status in (0, 2), said.err
    assert "Traceback" not in said.err
    assert said.err.count("\n") == (1 if status == 2 else 0), said.err
    assert list(tmp_path.iterdir()) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.lists(OVERRIDES, max_size=3), command=st.sampled_from(["test", "export", "predict"]))
def test_any_arguments_of_the_other_commands_end_with_2(
    arguments: list[str],
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    status = main([command, *arguments])
    said = capsys.readouterr()
    assert status == 2 or {"-h", "--help"} & set(arguments), said.err
    assert said.err.count("\n") == (1 if status == 2 else 0) and "Traceback" not in said.err, said.err
    assert list(tmp_path.iterdir()) == []


@given(value=OBJECTIVES)
def test_any_objective_is_valid_or_one_sentence(value: Any) -> None:
    found: list[Objective] = []
    said = sentence_of(lambda: found.append(Objective.from_config(value)))
    assert (said is None) == bool(found)
    if found:
        assert Objective.from_json(found[0].to_json()) == found[0]


@given(
    text=st.one_of(
        st.text(), st.lists(st.sampled_from(list('{}[]":,0129e-.schema_version1nul\\u')), max_size=60).map("".join)
    )
)
def test_any_text_is_an_objective_or_one_sentence(text: str) -> None:
    sentence_of(lambda: Objective.from_json(text))
