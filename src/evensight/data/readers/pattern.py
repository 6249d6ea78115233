"""Images whose names say what they are: label, split and attributes from the groups of a pattern."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from omegaconf import MISSING

from evensight.data.findings import found
from evensight.data.readers.listing import listed
from evensight.data.reading import Progress, Reader, Reading, existing_root
from evensight.errors import UserError


@dataclass
class PatternReader(Reader):
    r"""Reads images by their paths under the root, as in ``(?P<split>train|test)/(?P<label>.+)_\d+\.jpg``."""

    reader: str = "pattern"  # a name of names.READERS
    root: str = MISSING  # the folder that holds the images, at any depth
    pattern: str = MISSING  # regular expression of a whole path under root; groups label, split (optional), attributes

    def check(self) -> None:
        """Raises UserError where the pattern is none or has no group ``label``."""
        groups = self._compiled().groupindex
        if "label" not in groups:
            raise UserError(f"data.pattern: {self.pattern!r} has no group named label; write (?P<label>...).")
        if "path" in groups:
            raise UserError(
                f"data.pattern: {self.pattern!r} names a group path, which is taken; name it something else."
            )

    def read(self, folder: Path, classes: tuple[str, ...] | None, progress: Progress) -> Reading:
        """Lists the images whose paths match; the others are reported. See `Reader.read`."""
        self.check()
        root = existing_root(self.root)
        listing = listed(root)
        pattern = self._compiled()
        matches = [(path, pattern.fullmatch(path)) for path in listing.images]
        rows = [{"path": path, **match.groupdict()} for path, match in matches if match]
        if not rows:
            example = f"; the first of {len(matches)} images is {matches[0][0]!r}" if matches else "; there is no image"
            raise UserError(f"data.pattern: {self.pattern!r} matches no image under {root}{example}.")
        strange = [path for path, match in matches if not match]
        findings = found("image_without_row", strange, "images whose path does not match data.pattern; not used")
        schema = dict.fromkeys(("path", *pattern.groupindex), pl.String)
        return Reading(rows=pl.DataFrame(rows, schema=schema), root=root, findings=[*findings, *listing.findings()])

    def _compiled(self) -> re.Pattern[str]:
        try:
            return re.compile(self.pattern)
        except re.error as error:
            raise UserError(f"data.pattern: {self.pattern!r} is no regular expression ({error}).") from error
