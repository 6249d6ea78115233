"""The typed schema of a configuration: every key with its type, default and one comment. Free of heavy imports.

A composed configuration (plain YAML, `compose.py`) is merged into these dataclasses, so a misspelt key or a wrong type
is answered in a sentence before torch is imported. Groups whose keys depend on a name (data by `reader`, optimizer,
method and logger by `name`) pick their dataclass from the tables at the end, or from the reader's own file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from evensight.method_config import METHOD_SCHEMAS as METHOD_SCHEMAS
from evensight.method_config import ErmMethod as ErmMethod


@dataclass
class ObjectiveConfig:
    """What the model is for and what it must meet; checked by `objective.objective.Objective`."""

    name: str = MISSING  # the objective's name, shown in reports
    purpose: str = MISSING  # one sentence in the user's words
    classes: Any = "from_data"  # ordered class names, or from_data
    attributes: dict[str, Any] = field(default_factory=dict)  # name: {levels: [..] or from_data}
    requirements: list[Any] = field(default_factory=list)  # {metric, scope, attribute, cue, over, bound, stages}
    essential_cues: list[str] = field(default_factory=list)  # cues that the classes are made of: never a shortcut
    primary: dict[str, Any] = field(
        default_factory=lambda: {"metric": "accuracy", "scope": "overall"}
    )  # what sweeps maximise
    confidence: float = 0.95  # of every interval and verdict, between .5 and 1


@dataclass
class DataConfig:
    """Keys every data set has; a reader's own dataclass adds to them."""

    name: str = MISSING  # folder under datasets_dir
    reader: str = MISSING  # a name of names.READERS
    sealed: bool = True  # the test split is opened only by `evensight test`, which counts
    split_seed: int = 0  # places rows that come without a split
    validation_fraction: float = 0.15  # of the rows without a split
    test_fraction: float = 0.2  # of the rows without a split
    keep_together: list[str] = field(default_factory=list)  # columns whose equal values stay in one split: [subject]
    stratify: list[str] = field(default_factory=list)  # columns that splits have alike, beside the class: [colour]
    near_duplicates: str = "keep_together"  # of rows without a split: keep_together, or part (not looked for)
    limit: int | None = None  # at most this many images of each split, a fixed sample; to try things out
    batch_size: int = 128  # images in a training step, over all devices
    eval_batch_size: int = 256  # images in an evaluation step
    num_workers: int = 2  # threads that decode and augment; 0 does it in the main thread
    cache_mb: int = 1024  # decoded images kept in memory when they all fit in this many MiB; 0 keeps none
    max_pixels: int = 40_000_000  # larger images are refused from their header
    labels: str = "majority"  # of several annotators: majority, consensus (Dawid-Skene), soft (its chances as target)
    contested: str = "keep"  # images whose annotators come to no consensus: keep, or leave_out of training
    side_tables: list[str] = field(
        default_factory=lambda: ["quarantine", "cues", "soft_labels"]
    )  # what an audit found out that is used; [] uses none


@dataclass
class AugmentConfig:
    """Training augmentation: our crop box first, then albumentations at the network's size."""

    crop_scale: list[float] = field(
        default_factory=lambda: [1.0, 1.0]
    )  # area of the random crop; [1, 1] takes the centre square
    crop_ratio: list[float] = field(default_factory=lambda: [0.75, 1.3333])  # width / height of the random crop
    transforms: dict[str, Any] = field(
        default_factory=dict
    )  # name: {_target_: albumentations..., ...}, applied in this order


@dataclass
class ModelConfig:
    """Backbone and what it wants of an image."""

    backbone: str = MISSING  # small_cnn, mlp, timm/<name> or torchvision/<name>
    pretrained: bool = False  # fetch the published weights
    checkpoint_path: str | None = None  # weights of the backbone from a file (.safetensors, .pt, .pth)
    drop_rate: float = 0.0  # dropout before the head
    kwargs: dict[str, Any] = field(default_factory=dict)  # further arguments of the backbone
    size: int | None = None  # side of the network's input; null takes the backbone's own
    crop_ratio: float | None = None  # side of the centre crop / short side; null takes the backbone's own
    mean: list[float] | None = None  # of RGB in [0, 1]; null takes the backbone's own
    std: list[float] | None = None  # of RGB in [0, 1]; null takes the backbone's own
    channels_last: bool = True  # memory format of the network


@dataclass
class AdamW:
    """Adam with decoupled weight decay."""

    name: str = "adamw"  # adamw or sgd
    lr: float = 1e-3  # peak learning rate
    weight_decay: float = 0.02  # not applied to biases and norms
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])  # decay of the two averages


@dataclass
class SGD:
    """Stochastic gradient descent with momentum."""

    name: str = "sgd"  # adamw or sgd
    lr: float = 0.1  # peak learning rate
    weight_decay: float = 5e-4  # not applied to biases and norms
    momentum: float = 0.9  # of the gradient average
    nesterov: bool = True  # look ahead


@dataclass
class ScheduleConfig:
    """Learning rate over the steps of a run."""

    name: str = "cosine"  # cosine or constant
    warmup_fraction: float = 0.1  # share of the steps that climb to the peak
    final_fraction: float = 0.0  # learning rate at the end / at the peak (cosine)


@dataclass
class EmaConfig:
    """Average of the weights, used by validation, best, export and verdicts when on."""

    enabled: bool = False  # keep an average
    decay: float = 0.999  # min(decay, (1 + t) / (10 + t)) is used at step t


@dataclass
class RelianceConfig:
    """How reliance on each cue is measured."""

    # Names of names.CUES; empty: all whose needs the images meet. Verdicts look at those that are named here, by the
    # objective or by focus.ignore.
    cues: list[str] = field(default_factory=list)
    every_n_epochs: int = 3  # in training, and after the last epoch
    max_images: int = 1000  # validation images in training, a fixed sample (256 for a cue that nothing names)
    seed: int = 0  # of the donors drawn
    donors_per_class: int = 32  # size of the bank: at most this many a class, 2,048 in all, 64 MB


@dataclass
class FocusConfig:
    """What the model must not look at, and how it is turned away from it."""

    keep: str | None = None  # shape: ignore colour, and brightness where grey alone gives the label away
    ignore: list[str] = field(default_factory=list)  # cues turned off: names of names.CUES; audit: those an audit names
    by: list[str] = field(default_factory=lambda: ["augment"])  # augment, remove, consistency, groups, head; combinable
    strength: float = 1.0  # share of the images whose cues are randomized; weight of consistency
    auto: bool = False  # a controller sets the strength of each cue by the objective's bound on reliance
    groups: str = "resample"  # method of by=[groups]
    head: str = "dfr"  # method of by=[head]
    attribute: str | None = None  # groups of by=[groups] and dfr; null: that of the cue, else of the primary metric
    trial: bool = True  # a few seconds of training before the fit show whether the objective needs an ignored cue
    force: bool = False  # train also where the trial shows that it does


@dataclass
class FiniteGuardConfig:
    """What happens when a loss or a gradient is not finite: skip the step, go back once, stop."""

    enabled: bool = True  # skip steps whose loss or gradient is not finite
    max_skipped: int = 8  # this many in a row go back to the last checkpoint; the second time the run stops
    lr_factor: float = 0.5  # the learning rate after going back / before


@dataclass
class CheckpointEvery:
    """When `last.ckpt` is written within an epoch; at the end of every epoch it is written anyway."""

    minutes: float | None = 15.0  # of training since the last one; null: not by time
    steps: int | None = None  # optimizer steps since the last one; null: not by steps


@dataclass
class TrainerConfig:
    """Arguments of `lightning.Trainer`, by their own names; null is Lightning's default. The first five are ours."""

    checkpoint_every: CheckpointEvery = field(default_factory=CheckpointEvery)  # checkpoints within an epoch
    compile: bool = False  # training steps through torch.compile: 1.4 times as many a second for shapes on 2 cores
    seed_everything: bool = True  # seed torch, numpy and random from `seed` before building the network
    num_threads: int | None = None  # torch's CPU threads; null leaves torch's choice
    progress: bool = True  # progress bar: rich on a terminal, a line an epoch elsewhere
    accelerator: Any = None  # cpu, gpu, auto
    strategy: Any = None  # auto, ddp, ...
    devices: Any = None  # a number, a list, auto
    num_nodes: int | None = None  # machines
    precision: Any = None  # 32-true, bf16-mixed, 16-mixed
    fast_dev_run: bool | int | None = None  # run n batches of everything
    max_epochs: int | None = None  # passes over the training split
    min_epochs: int | None = None  # before early stopping may act
    max_steps: int | None = None  # optimizer steps; -1 no limit
    min_steps: int | None = None  # before early stopping may act
    max_time: Any = None  # DD:HH:MM:SS
    limit_train_batches: int | float | None = None  # share or number
    limit_val_batches: int | float | None = None  # share or number
    limit_test_batches: int | float | None = None  # share or number
    limit_predict_batches: int | float | None = None  # share or number
    overfit_batches: int | float | None = None  # share or number of training batches used again and again
    val_check_interval: int | float | None = None  # validate within an epoch
    check_val_every_n_epoch: int | None = None  # validate each n epochs
    num_sanity_val_steps: int | None = None  # validation batches before training
    log_every_n_steps: int | None = None  # rows of the logger
    enable_checkpointing: bool | None = None  # write checkpoints
    enable_progress_bar: bool | None = None  # see progress
    enable_model_summary: bool | None = None  # print the layers
    accumulate_grad_batches: int | None = None  # batches an optimizer step
    gradient_clip_val: float | None = None  # largest gradient norm
    gradient_clip_algorithm: str | None = None  # norm or value
    deterministic: Any = None  # refuse nondeterministic operators
    benchmark: bool | None = None  # let cuDNN choose by timing
    inference_mode: bool | None = None  # in evaluation
    use_distributed_sampler: bool | None = None  # ours shards by itself
    profiler: Any = None  # simple, advanced, pytorch
    detect_anomaly: bool | None = None  # trace NaN to its operator
    barebones: bool | None = None  # Lightning without loops' extras
    plugins: Any = None  # instantiated
    sync_batchnorm: bool | None = None  # over devices
    reload_dataloaders_every_n_epochs: int | None = None  # 0 never
    default_root_dir: str | None = None  # where Lightning writes what we do not
    enable_autolog_hparams: bool | None = None  # Lightning's own logging of hyperparameters
    model_registry: str | None = None  # Lightning's model registry


@dataclass
class NoLogger:
    """The run folder alone, which is complete by itself."""

    name: str = "none"  # none, csv, tensorboard or wandb


@dataclass
class CsvLogger:
    """Also writes `metrics.csv`."""

    name: str = "csv"  # none, csv, tensorboard or wandb


@dataclass
class TensorboardLogger:
    """Also writes event files for TensorBoard to `tensorboard/` of the run folder."""

    name: str = "tensorboard"  # none, csv, tensorboard or wandb


@dataclass
class WandbLogger:
    """Mirrors the run to Weights & Biases; `WANDB_*` variables win where a key is null."""

    name: str = "wandb"  # none, csv, tensorboard or wandb
    project: str | None = None  # null: WANDB_PROJECT, else evensight
    entity: str | None = None  # team or user
    group: str | None = None  # null: WANDB_RUN_GROUP
    tags: list[str] = field(default_factory=list)  # labels of the run
    notes: str | None = None  # free text
    mode: str | None = None  # online or offline; null: online with an API key, else offline
    timeout: int = 15  # seconds that the service may hold a run up in all, before it goes on without it


@dataclass
class AuditConfig:
    """What `evensight audit` looks at, before training."""

    open_test: bool | None = None  # read labels and attributes of test images; null: only where data.sealed=false
    transfer: str | None = None  # where cues must hold too: test, validation, or an attribute (each level left out)
    cues: list[str] = field(default_factory=list)  # names of names.CUES; empty takes all whose needs the data meets
    skip: list[str] = field(default_factory=list)  # chapters left out, e.g. [label_errors]
    run: str | None = None  # a finished run whose network embeds the images for label errors; null trains a small one
    alarm_level: float = 0.025  # chance that a data set without a shortcut raises an alarm
    seed: int = 0  # of folds, permutations and samples
    num_workers: int | None = None  # threads that decode and measure; null: one a core


@dataclass
class CycleConfig:
    """How much `evensight cycle` simulates."""

    requests: int = 1000  # of each wave of traffic
    look_every: int = 250  # requests between two looks of the monitor
    labelled: float = 0.25  # share of the answers whose true label comes back
    budget: int = 400  # images that the annotators are asked for
    connections: int = 4  # that send requests at once
    accept_failed: bool = True  # release the first model although it fails its test, as the story has it


@dataclass
class Config:
    """The root."""

    experiment_name: str = MISSING  # runs/<experiment_name>/...
    seed: int = 1  # of weights, order, augmentation and noise
    test: bool = False  # after training, judge on the test split too (refused where the data set is sealed)
    export: bool = True  # write the artifact and the verdicts, which are measured through it
    gate: str = "off"  # off, or strict: the exit status is the verdict's
    run: str | None = None  # an existing run folder, to resume or to read
    resume: Any = False  # true: continue `run`; auto: continue the newest unfinished run of this configuration
    runs_dir: str = "runs"  # where run folders are made
    datasets_dir: str = "datasets"  # where prepared data sets are kept
    allow_targets: list[str] = field(default_factory=list)  # further packages `_target_` may name
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    data: Any = MISSING  # a reader's dataclass
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    method: Any = MISSING  # a method's dataclass
    focus: FocusConfig = field(default_factory=FocusConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: Any = MISSING  # AdamW or SGD, or {_target_: ...}
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    reliance: RelianceConfig = field(default_factory=RelianceConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    cycle: CycleConfig = field(default_factory=CycleConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    finite_guard: FiniteGuardConfig = field(default_factory=FiniteGuardConfig)
    callbacks: dict[str, Any] = field(default_factory=dict)  # name: {_target_: ...}, added to ours
    logger: Any = MISSING  # a logger's dataclass


OPTIMIZER_SCHEMAS: dict[str, type] = {"adamw": AdamW, "sgd": SGD}
LOGGER_SCHEMAS: dict[str, type] = {
    "none": NoLogger,
    "csv": CsvLogger,
    "tensorboard": TensorboardLogger,
    "wandb": WandbLogger,
}
