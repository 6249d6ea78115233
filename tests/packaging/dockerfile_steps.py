"""A Dockerfile as the instructions it holds, and its install steps as commands for another folder than `/`."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from string import Template


@dataclass(frozen=True)
class Instruction:
    """One instruction: ``RUN``, its flags (``--from=build``) and the rest as written, continued lines joined."""

    name: str
    flags: dict[str, str]
    value: str

    def words(self) -> list[str]:
        """Returns the arguments of the exec form (a JSON list), else those a shell would see."""
        return list(json.loads(self.value)) if self.value.startswith("[") else shlex.split(self.value)

    def pairs(self) -> dict[str, str]:
        """Returns the `key=value` pairs of ENV, LABEL or ARG."""
        return dict(word.split("=", 1) if "=" in word else (word, "") for word in shlex.split(self.value))


@dataclass
class Stage:
    """From one FROM to the next."""

    image: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, name: str) -> list[Instruction]:
        """Returns the instructions of one name, in order."""
        return [instruction for instruction in self.instructions if instruction.name == name]

    def environment(self) -> dict[str, str]:
        """Returns what its ENV instructions set, `$NAME` left as written."""
        return {key: value for instruction in self.all("ENV") for key, value in instruction.pairs().items()}


def read(text: str) -> list[Stage]:
    """Parses a Dockerfile; ARGs before the first FROM are filled in where a FROM names them."""
    stages: list[Stage] = []
    arguments: dict[str, str] = {}
    for instruction in instructions(text):
        if instruction.name == "FROM":
            parts = re.split(r"(?i)\s+as\s+", instruction.value)
            image, name = parts[0], parts[1] if len(parts) > 1 else ""
            stages.append(Stage(Template(image).substitute(arguments), name))
        elif not stages:
            assert instruction.name == "ARG", f"{instruction.name} before the first FROM"
            arguments |= instruction.pairs()
        else:
            stages[-1].instructions.append(instruction)
    return stages


def instructions(text: str) -> list[Instruction]:
    """Splits a Dockerfile into instructions."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    found = []
    for line in joined.splitlines():
        name, rest = line.split(None, 1)
        flags = {}
        while match := re.match(r"--([\w-]+)(?:=(\S+))?\s+", rest):
            flags[match[1]] = match[2] or ""
            rest = rest[match.end() :]
        found.append(Instruction(name.upper(), flags, rest.strip()))
    return found


def moved(command: str, root: Path) -> str:
    """Returns a shell command with its absolute places under `root` instead of `/`."""
    return re.sub(r"(?<![\w./])/(build|opt|workspace)\b", lambda found: f"{root}/{found[1]}", command)
