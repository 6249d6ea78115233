"""JSON files that a later command reads: one object of a stated `schema_version`, or one sentence why it is none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evensight.errors import UserError, shown


@dataclass(frozen=True)
class ObjectFile:
    """A kind of JSON file, and what its reader says where one is missing or broken.

    Attributes:
        what: What it is read as: "a plan".
        again: What to do about a broken one: "write it again".
        missing: What is not there, and how to get it; needed by those who use `read`.
        version: The one `schema_version` that is read.
    """

    what: str
    again: str
    missing: str = "it is not there"
    version: int = 1

    def read(self, path: Path) -> dict[str, Any]:
        """Returns the object in a file.

        Raises:
            UserError: There is no file, it cannot be read, is no JSON, holds no object, or one of another version.
        """
        found = self.read_if_there(path)
        if found is None:
            raise UserError(f"{path}: {self.missing}.")
        return found

    def read_if_there(self, path: Path) -> dict[str, Any] | None:
        """Returns the object in a file; None where there is no file.

        Raises:
            UserError: It cannot be read, is no JSON, holds no object, or one of another version.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise self.broken(path, error) from None
        if not isinstance(found, dict):
            raise self.broken(path, "it is no JSON object")
        version = found.get("schema_version")
        if version != self.version:
            raise self.broken(path, f"schema_version is {shown(version)}; allowed: {self.version}")
        return found

    def broken(self, path: Path, why: str | Exception) -> UserError:
        """Builds the sentence for a file that was found and is of no use; a KeyError is of a key that it lacks."""
        said = f"it lacks {why}" if isinstance(why, KeyError) else why
        return UserError(f"{path}: cannot be read as {self.what} ({said}); {self.again}.")
