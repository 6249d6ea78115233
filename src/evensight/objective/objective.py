"""The objective: what a model is for and what it must meet, written once and carried through every stage."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictStr,
    ValidationError,
    field_validator,
    model_validator,
)

from evensight.errors import WORDS, UserError, missing, shown, unknown, unknown_key, wrong_value
from evensight.files import canonical_json, digest_json
from evensight.names import CUES
from evensight.objective import checks
from evensight.objective.requirement import ABOVE_CHANCE, Requirement

FROM_DATA: Literal["from_data"] = "from_data"
SCHEMA_VERSION = 1
Names = tuple[StrictStr, ...] | Literal["from_data"]


class Attribute(BaseModel):
    """A column of the manifest that says something about an image; its levels are groups."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    levels: Names = FROM_DATA  # ordered names, or from_data

    @field_validator("levels", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return checks.ordered_names(value)


class Objective(BaseModel):
    """Purpose, classes, attributes and requirements, valid as soon as it exists.

    Build one with `from_config` or `from_json`, which turn every mistake into one sentence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: StrictStr  # shown in reports
    purpose: StrictStr  # one sentence in the user's words
    classes: Names = FROM_DATA  # in the order of the network's outputs, or from_data
    attributes: dict[StrictStr, Attribute] = Field(default_factory=dict)
    requirements: tuple[Requirement, ...] = ()
    essential_cues: tuple[StrictStr, ...] = ()  # cues that the classes are made of: the audit takes none for a shortcut
    primary: Requirement = Requirement(metric="accuracy")  # what sweeps maximise; without bound or stages
    confidence: StrictFloat = 0.95  # of every interval and verdict

    @field_validator("classes", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return checks.ordered_names(value)

    @field_validator("attributes", mode="after")
    @classmethod
    def _sorted(cls, value: dict[str, Attribute]) -> dict[str, Attribute]:
        """One order, by name, because canonical JSON keeps no other and positions of attributes are stored."""
        return dict(sorted(value.items()))

    @field_validator("requirements", "essential_cues", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if isinstance(value, Mapping | str) or not isinstance(value, Sequence):
            raise ValueError(f"found {shown(value)}, allowed is a list.")
        return tuple(value)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        checks.check(self)
        return self

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Objective:
        """Builds an objective from the plain values of the `objective` group.

        Raises:
            UserError: For anything that is not valid: one sentence with the key, what was found, what is allowed.
        """
        if not isinstance(config, Mapping):
            raise wrong_value("objective", config, WORDS[dict])
        try:
            return cls.model_validate(dict(config))
        except ValidationError as error:
            raise _sentence(error) from None

    @classmethod
    def from_json(cls, text: str) -> Objective:
        """Reads what `to_json` wrote.

        Raises:
            UserError: If the text is not such an objective.
        """
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(f"objective.json: not JSON ({error}).") from None
        if not isinstance(value, dict):
            raise UserError(f"objective.json: found {type(value).__name__}, must be an object.")
        version = value.pop("schema_version", None)
        if version != SCHEMA_VERSION:
            raise UserError(f"objective.json: schema_version is {version!r}; this evensight reads {SCHEMA_VERSION}.")
        return cls.from_config(value)

    def to_json(self) -> str:
        """Returns the canonical JSON text, of which the digest is taken."""
        return canonical_json(self.canonical())

    def canonical(self) -> dict[str, Any]:
        """Returns plain values, defaults filled in, that mean the same objective wherever they are read."""
        value = self.model_dump(mode="json")
        value["primary"] = {key: part for key, part in value["primary"].items() if key not in ("bound", "stages")}
        return {"schema_version": SCHEMA_VERSION, **value}

    def digest(self) -> str:
        """Returns the SHA-256 (hex) of the canonical JSON: the identity that verdicts and artifacts name."""
        return digest_json(self.canonical())

    @property
    def resolved(self) -> bool:
        """Whether nothing is left to be read from the data."""
        return (
            self.classes != FROM_DATA
            and all(attribute.levels != FROM_DATA for attribute in self.attributes.values())
            and all(requirement.bound != ABOVE_CHANCE for requirement in self.requirements)
        )

    def resolve(self, classes: Sequence[str], levels: Mapping[str, Sequence[str]]) -> Objective:
        """Fills in what was left to the data: names in code-point order, `above_chance` as one over the classes.

        Args:
            classes: Names found among the labels; not used where the objective states its own.
            levels: For each attribute the names found; not used where the objective states its own.

        Raises:
            UserError: If the data has fewer than two classes, or no level of an attribute that needs its levels.
        """
        known = tuple(sorted(set(classes))) if self.classes == FROM_DATA else self.class_names
        attributes = {
            name: Attribute(levels=tuple(sorted(set(levels.get(name, ()))))) if part.levels == FROM_DATA else part
            for name, part in self.attributes.items()
        }
        checks.check_found(known, {name: part.levels for name, part in attributes.items()})
        requirements = tuple(
            requirement.model_copy(update={"bound": 1 / len(known)})
            if requirement.bound == ABOVE_CHANCE
            else requirement
            for requirement in self.requirements
        )
        update = {"classes": known, "attributes": attributes, "requirements": requirements}
        try:
            return Objective.model_validate({**dict(self), **update})
        except ValidationError as error:
            raise _sentence(error) from None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The ordered classes.

        Raises:
            ValueError: If they are still to be read from the data.
        """
        return _known(self.classes, "classes")

    @property
    def levels(self) -> dict[str, tuple[str, ...]]:
        """The ordered levels of each attribute.

        Raises:
            ValueError: If some are still to be read from the data.
        """
        return {name: _known(part.levels, f"attributes.{name}.levels") for name, part in self.attributes.items()}

    @property
    def num_classes(self) -> int:
        """How many classes a resolved objective has."""
        return len(self.class_names)

    @property
    def alpha(self) -> float:
        """What `confidence` leaves: the level of every test."""
        return round(1 - self.confidence, 12)

    def class_index(self, name: str, key: str = "class") -> int:
        """Returns the position of a class.

        Raises:
            UserError: If there is no such class, naming `key` and the nearest.
        """
        if name not in self.class_names:
            raise unknown(key, name, self.class_names)
        return self.class_names.index(name)

    def level_index(self, attribute: str, name: str, key: str = "level") -> int:
        """Returns the position of a level of an attribute.

        Raises:
            UserError: If there is no such attribute or level, naming `key` and the nearest.
        """
        if attribute not in self.attributes:
            raise unknown(f"{key}: attribute", attribute, self.attributes)
        levels = _known(self.attributes[attribute].levels, f"attributes.{attribute}.levels")
        if name not in levels:
            raise unknown(f"{key}: level of {attribute}", name, levels)
        return levels.index(name)

    def cue_names(self, rivals: bool = False) -> tuple[str, ...]:
        """The cues that requirements on reliance name, and with `rivals` those whose probe is to be beaten."""
        named = [requirement.cue for requirement in self.requirements if requirement.cue]
        if rivals:
            named += [name for requirement in self.requirements for name in requirement.over if name in CUES]
        return tuple(dict.fromkeys(named))

    def judged_at(self, stage: str) -> tuple[Requirement, ...]:
        """The requirements a stage judges or shows, in their order.

        Raises:
            UserError: If there is no such stage.
        """
        checks.check_stage(stage, "stage")
        return tuple(requirement for requirement in self.requirements if stage in requirement.stages)

    def notes(self) -> list[str]:
        """Sentences on what is valid and yet decides less than it seems to."""
        return checks.notes(self)


def _known(values: tuple[str, ...] | str, key: str) -> tuple[str, ...]:
    if isinstance(values, str):
        raise ValueError(f"objective.{key} is from_data: call resolve() with what the data holds first")
    return values


# pydantic's word for what it wanted -> ours, the same as of any other key of a configuration.
_WANTED = {
    "string_type": WORDS[str],
    "string_unicode": "text of whole characters",
    "float_type": WORDS[float],
    "dict_type": WORDS[dict],
    "model_type": WORDS[dict],
    "model_attributes_type": WORDS[dict],
    "invalid_key": "a mapping whose names are text",
}


def _sentence(error: ValidationError) -> UserError:
    """The first of pydantic's errors, said as every other mistake is."""
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, UserError):
        return cause
    *parents, last = first["loc"] or ("",)
    key = checks.key_path(first["loc"])
    if first["type"] == "extra_forbidden":
        owner: type[BaseModel] = Objective
        if parents:
            owner = Attribute if parents[0] == "attributes" else Requirement
        return unknown_key(checks.key_path(tuple(parents)), str(last), owner.model_fields)
    if first["type"] == "missing":
        return missing(key)
    if cause is not None:
        return UserError(f"{key}: {cause}")
    if first["type"] in _WANTED:
        return wrong_value(key, first["input"], _WANTED[first["type"]])
    return UserError(f"{key}: found {shown(first['input'])}; {first['msg'][0].lower()}{first['msg'][1:]}.")
