"""Arguments of the commands that read a run or an artifact: `key=value`, one dataclass a command."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class TestOptions:
    """Arguments of `evensight test`."""

    __test__ = False  # not a test of pytest's

    run: str = field(default=MISSING, metadata={"help": "the run folder"})


@dataclass
class ExportOptions:
    """Arguments of `evensight export`."""

    run: str = field(default=MISSING, metadata={"help": "the run folder"})


@dataclass
class PredictOptions:
    """Arguments of `evensight predict`."""

    artifact: str = field(default=MISSING, metadata={"help": "the artifact folder of a run"})
    data: str = field(default=MISSING, metadata={"help": "an image, a folder of images, or several with commas: a,b"})
    out: str | None = field(
        default=None, metadata={"help": "where the table goes: .csv or .parquet; else the terminal"}
    )
    accept_failed: bool = field(default=False, metadata={"help": "use an artifact whose test verdict is FAIL"})
