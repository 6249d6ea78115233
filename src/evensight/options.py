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


@dataclass
class MonitorOptions:
    """Arguments of `evensight monitor`."""

    artifact: str = field(default=MISSING, metadata={"help": "the artifact folder, or registry:<alias>"})
    log: str = field(default=MISSING, metadata={"help": "the prediction log that evensight serve writes"})
    registry: str = field(default="registry", metadata={"help": "the registry folder, for artifact=registry:<alias>"})
    out: str | None = field(
        default=None, metadata={"help": "folder of the verdict and the page; else monitor/ beside the log"}
    )
    watch: bool = field(default=False, metadata={"help": "look again and again until interrupted (Ctrl-C)"})
    every_s: float = field(default=60.0, metadata={"help": "seconds between two looks of watch=true"})
    alpha: float = field(
        default=0.025,
        metadata={"help": "the chance that a good model ever raises a false alarm, at any number of looks"},
    )
    most_rejected: float = field(
        default=0.05, metadata={"help": "the share of requests without a prediction that is taken for normal"}
    )


@dataclass
class UpdateOptions:
    """Arguments of `evensight update`."""

    action: str = field(default=MISSING, metadata={"help": "plan, merge, train, decide, promote or rollback"})
    artifact: str = field(
        default="registry:champion",
        metadata={"help": "the model in service: its folder, or registry:champion; of promote the one that takes over"},
    )
    registry: str = field(default="registry", metadata={"help": "the folder of the registry"})
    challenger: str = field(
        default="registry:challenger", metadata={"help": "decide, promote: the other model, its folder or alias"}
    )
    log: str | None = field(default=None, metadata={"help": "plan: the prediction log; images must be kept beside it"})
    verdict: str | None = field(
        default=None, metadata={"help": "plan: the monitor's verdict; null: monitor/verdicts/monitor.json by the log"}
    )
    budget: int = field(default=200, metadata={"help": "plan: images to annotate"})
    control: float = field(default=0.4, metadata={"help": "plan: share of them drawn uniformly from the traffic"})
    answers: str | None = field(
        default=None, metadata={"help": "merge: the filled table (.csv), or Label Studio's export (.json)"}
    )
    plan: str | None = field(default=None, metadata={"help": "merge, train: the plan's folder; null: the newest"})
    test_share: float = field(default=0.5, metadata={"help": "merge: share of the control sample that is tested on"})
    validation_share: float = field(
        default=0.2, metadata={"help": "merge: share of the control sample that is validated on"}
    )
    run: str | None = field(
        default=None,
        metadata={"help": "the run that made the model (of decide: the challenger); null: where its contract says"},
    )
    runs_dir: str = field(default="runs", metadata={"help": "where run folders are looked for"})
    merged: str | None = field(default=None, metadata={"help": "train: the folder of the merge; null: the newest"})
    focus: str | None = field(
        default=None,
        metadata={"help": "train: cues to turn off (colour,texture), or a focus option; null: what the plan says"},
    )
    from_champion: bool = field(
        default=False, metadata={"help": "train: begin with the champion's backbone, else anew; the head is new"}
    )
    harm: float = field(default=0.05, metadata={"help": "decide: accuracy that no cell may lose"})
    force: bool = field(default=False, metadata={"help": "promote without a decision; the ledger says so"})
    why: str | None = field(default=None, metadata={"help": "promote, rollback: a sentence for the ledger"})
    seed: int = field(default=0, metadata={"help": "plan, merge: of what is drawn and placed by hashes"})
    out: str = field(default="update", metadata={"help": "the folder of plans, merges and decisions"})
