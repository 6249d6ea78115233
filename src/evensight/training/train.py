"""Stage 3: fit the network, watch it group by group, keep the best weights."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import lightning

from evensight.config import Config
from evensight.cues.reliance import DonorBank
from evensight.data.datamodule import ImageDataModule
from evensight.data.findings import found, write_findings
from evensight.data.manifest import Manifest
from evensight.models.network import Network
from evensight.objective.objective import Objective
from evensight.ranks.devices import on_gpu
from evensight.ranks.group import gathered
from evensight.ranks.world import world
from evensight.run import Run
from evensight.runtime.preprocess import PreprocessSpec
from evensight.training.building import build_callbacks, build_classifier, build_datamodule, untrained
from evensight.training.callbacks.metrics_file import cut_back, read_lines
from evensight.training.checkpoint import (
    check_settings,
    check_weights,
    network_weights,
    read_checkpoint,
    write_checkpoint,
)
from evensight.training.classifier import Classifier
from evensight.training.donors import measured_cues, prepare_bank
from evensight.training.focus.focused import Focused
from evensight.training.focus.prepared import prepare_focus, recorded_focus
from evensight.training.focus.record import add_moves
from evensight.training.going_back import going_back
from evensight.training.mirrors import mirrored
from evensight.training.phases import fit
from evensight.training.trainer import build_trainer
from evensight.training.training_images import TrainingImages

log = logging.getLogger(__name__)

FINDINGS = "findings.json"


@dataclass(frozen=True)
class TrainResult:
    """What a fit leaves.

    Attributes:
        network: With the best weights (the average, where one was kept), on the CPU, in evaluation mode.
        spec: What it wants of an image.
        bank: The donors of the run.
        seconds: The fit took, by this process; 0 where it was only read back.
        num_epochs: Epochs done, those before a resume too.
        best_epoch: From 0; None where no checkpoint was kept.
        metrics: Figures of the best epoch, as in `metrics.jsonl`.
    """

    network: Network
    spec: PreprocessSpec
    bank: DonorBank
    seconds: float
    num_epochs: int
    best_epoch: int | None
    metrics: dict[str, float | None]


def train(config: Config, run: Run, manifest: Manifest, objective: Objective) -> TrainResult:
    """Fits a network to the training split and returns it with its best weights.

    Args:
        config: The checked configuration; with `resume`, the fit goes on from the run's `last.ckpt`, or begins where
            there is none.
        run: The run folder, which gets `checkpoints/`, `metrics.jsonl`, `donors.safetensors` and `findings.json`.
        manifest: The prepared data.
        objective: Resolved.

    Raises:
        UserError: If the configuration cannot be carried out.
        RunError: If training is not finite.
        Interrupted: If a signal ended it: after its step, with `last.ckpt` written.
    """
    if config.trainer.seed_everything:
        lightning.seed_everything(config.seed, workers=False, verbose=False)
    focus = prepare_focus(config, run, manifest, objective)
    if focus.bounds:  # a controller goes by every epoch
        config = dataclasses.replace(config, reliance=dataclasses.replace(config.reliance, every_n_epochs=1))
    classifier = build_classifier(config, manifest, objective, focus)
    datamodule = build_datamodule(config, manifest, classifier)
    cues = measured_cues(config, objective, manifest)
    bank = prepare_bank(config, run, manifest, classifier.spec, cues)
    resume = _resumed(config, run, classifier) if config.resume else None

    with mirrored(config, run) as mirror:
        callbacks = build_callbacks(config, run, manifest, objective, classifier, bank, cues, mirror)
        trainer = build_trainer(config, callbacks)
        _write_findings(run, manifest, {})
        start = time.perf_counter()
        going_back(
            trainer,
            classifier,
            run.checkpoints / "last.ckpt",
            fit=lambda checkpoint: fit(trainer, classifier, datamodule, checkpoint),
            forget=lambda epochs: cut_back(run.metrics_file, epochs),
            resume=resume,
        )
        seconds = time.perf_counter() - start
        _write_moves(run, classifier)
        result = _result(config, run, manifest, objective, classifier, bank, seconds)
        _repair(run, classifier, datamodule, result, "cuda" if on_gpu(config.trainer) else "cpu")
        _write_findings(run, manifest, dict(item for one in gathered(datamodule.failures()) for item in one.items()))
        if mirror is not None:
            mirror.summary({**result.metrics, "best_epoch": result.best_epoch, "seconds": seconds})
    return result


def load_best(config: Config, run: Run, manifest: Manifest, objective: Objective) -> TrainResult:
    """Reads back what `train` returned, from the run folder.

    Raises:
        UserError: If the run has no checkpoint.
    """
    read_checkpoint(run.checkpoints / "best.ckpt")
    classifier = untrained(config, manifest, objective, recorded_focus(run))
    bank = prepare_bank(config, run, manifest, classifier.spec, measured_cues(config, objective, manifest))
    return _result(config, run, manifest, objective, classifier, bank, 0.0)


def _write_moves(run: Run, classifier: Classifier) -> None:
    """Records what a controller did, for the report."""
    method = classifier.method
    if world().leads and isinstance(method, Focused) and method.controller is not None:
        add_moves(run, [dataclasses.asdict(move) for move in method.controller.moves])


def _resumed(config: Config, run: Run, classifier: Classifier) -> Path | None:
    """Finds where to go on, and forgets the epochs that the checkpoint does not know of.

    Returns:
        The checkpoint; None where the run was ended before its first, so that it begins again.
    """
    last = run.checkpoints / "last.ckpt"
    found, epochs = last.is_file(), 0
    if found:
        checkpoint = read_checkpoint(last)
        check_weights(checkpoint, classifier.network, last)
        check_settings(checkpoint, classifier.hparams, config.ema.enabled, last)
        epochs = checkpoint["position"]["epochs"]
    elif config.resume is True:
        log.info("%s has no checkpoint yet: training begins again", run.folder)
    if world().leads:
        cut_back(run.metrics_file, epochs)
    return last if found else None


def _write_findings(run: Run, manifest: Manifest, failures: Mapping[str, str]) -> None:
    if world().leads:
        broke = [f"{path} ({reason})" for path, reason in failures.items()]
        message = "images that broke after they were prepared; they count nowhere from then on"
        write_findings(run.folder / FINDINGS, [*manifest.findings, *found("broke_in_training", broke, message)])


def _result(
    config: Config,
    run: Run,
    manifest: Manifest,
    objective: Objective,
    trained: Classifier,
    bank: DonorBank,
    seconds: float,
) -> TrainResult:
    """Puts the best weights into a network without a trace of training: no compiled code, no device, no average."""
    clean, best = untrained(config, manifest, objective, recorded_focus(run)), run.checkpoints / "best.ckpt"
    best_epoch = None
    if best.is_file():
        checkpoint = read_checkpoint(best)
        check_weights(checkpoint, clean.network, best)
        weights, best_epoch = network_weights(checkpoint), int(checkpoint["epoch"])
    else:  # trainer.enable_checkpointing=false
        weights = trained.network.state_dict()
    clean.network.load_state_dict(weights)
    lines = read_lines(run.metrics_file)
    chosen = [line["metrics"] for line in lines if best_epoch in (None, line["epoch"])]
    metrics: dict[str, float | None] = chosen[-1] if chosen else {}
    return TrainResult(clean.network.eval(), clean.spec, bank, seconds, len(lines), best_epoch, metrics)


def _repair(
    run: Run, classifier: Classifier, datamodule: ImageDataModule, result: TrainResult, device: str = "cpu"
) -> None:
    """Lets the method change the best network, and keeps the change in `best.ckpt`; on rank 0."""
    best = run.checkpoints / "best.ckpt"
    if not world().leads:
        return
    datamodule.trainer = None  # rank 0 sees all images, not its share of them
    checkpoint = read_checkpoint(best) if best.is_file() else {}
    if checkpoint.get("repaired"):  # by a process that was killed after it
        return
    images = TrainingImages(datamodule.manifest, datamodule.spec, datamodule.data, datamodule.train_dataloader())
    result.network.to(device)
    changed = classifier.method.repair(result.network, images)
    result.network.cpu().eval()
    if changed and checkpoint:
        repaired = {f"network.{name}": value for name, value in result.network.state_dict().items()}
        weights = {**checkpoint["state_dict"], **repaired}
        write_checkpoint({**checkpoint, "state_dict": weights, "repaired": True}, best)
