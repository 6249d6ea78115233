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


@dataclass
class ServeOptions:
    """Arguments of `evensight serve`."""

    artifact: str = field(
        default=MISSING, metadata={"help": "the artifact folder of a run, or registry:champion, which is followed"}
    )
    registry: str = field(default="registry", metadata={"help": "the registry's folder"})
    log: str | None = field(
        default=None, metadata={"help": "the prediction log; log/<experiment>/predictions.sqlite unless set; off: none"}
    )
    host: str = field(default="127.0.0.1", metadata={"help": "where to listen; 0.0.0.0 lets other machines in"})
    port: int = field(default=8000, metadata={"help": "0 takes a free one"})
    accept_failed: bool = field(default=False, metadata={"help": "serve an artifact whose verdict is FAIL"})
    token: str | None = field(
        default=None, metadata={"help": "bearer token that requests need; rather in the environment: EVENSIGHT_TOKEN"}
    )
    keep_images: bool = field(default=False, metadata={"help": "store the images under images/ beside the log"})
    reliance_sample: float = field(default=0.05, metadata={"help": "share of the images that reliance is measured on"})
    max_batch: int = field(default=32, metadata={"help": "images a call of the model"})
    max_wait_ms: float = field(default=5.0, metadata={"help": "how long an image waits for others that are decoded"})
    queue: int = field(default=256, metadata={"help": "images under way; more are answered 503"})
    deadline_s: float = field(default=10.0, metadata={"help": "for a request; later ones are answered 504"})
    max_bytes: int = field(default=20 * 2**20, metadata={"help": "of a request's body"})
    max_pixels: int = field(default=40_000_000, metadata={"help": "of an image; the artifact may allow fewer"})
    max_images: int = field(default=64, metadata={"help": "of a form"})
    follow_s: float = field(default=1.0, metadata={"help": "how often to look where registry:champion points"})
