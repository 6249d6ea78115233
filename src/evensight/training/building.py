"""What a fit is made of, built from the configuration: the LightningModule, the loaders, and what watches them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback

from evensight.config import Config
from evensight.cues import Cue
from evensight.cues.reliance import DonorBank
from evensight.data.datamodule import ImageDataModule
from evensight.data.manifest import Manifest
from evensight.objective.objective import Objective
from evensight.run import Run
from evensight.training.callbacks.best_checkpoint import BestCheckpoint
from evensight.training.callbacks.bias_monitor import BiasMonitor
from evensight.training.callbacks.ema import AverageWeights
from evensight.training.callbacks.finite_guard import FiniteGuard
from evensight.training.callbacks.last_checkpoint import LastCheckpoint
from evensight.training.callbacks.metrics_file import MetricsFile
from evensight.training.callbacks.progress import Progress
from evensight.training.classifier import Classifier
from evensight.training.focus.focused import Focused
from evensight.training.focus.settings import Focus, method_section
from evensight.training.methods.facts import data_facts
from evensight.training.mirrors.base import Mirror
from evensight.training.trainer import user_callbacks
from evensight.training.watching import reliance_monitor


def build_classifier(
    config: Config, manifest: Manifest, objective: Objective | None = None, focus: Focus | None = None
) -> Classifier:
    """Builds the LightningModule from plain values; the objective may name the attribute that a method goes by."""
    focus = focus or Focus()
    return Classifier(
        model=_plain(config.model),
        classes=list(manifest.classes),
        method=method_section(config, focus, manifest),
        optimizer=_plain(config.optimizer),
        schedule=_plain(config.schedule),
        facts=_plain(data_facts(manifest, objective)),
        seed=config.seed if config.trainer.seed_everything else None,
        allow_targets=list(config.allow_targets),
        compile=config.trainer.compile,
        focus=focus.plain(),
    )


def untrained(config: Config, manifest: Manifest, objective: Objective, focus: Focus) -> Classifier:
    """A classifier whose weights are about to be replaced: nothing is fetched for it."""
    model = dataclasses.replace(config.model, pretrained=False, checkpoint_path=None)
    trainer = dataclasses.replace(config.trainer, compile=False)
    return build_classifier(dataclasses.replace(config, model=model, trainer=trainer), manifest, objective, focus)


def build_datamodule(config: Config, manifest: Manifest, classifier: Classifier) -> ImageDataModule:
    """Builds the loaders, with what the method needs of an image."""
    method = classifier.method
    return ImageDataModule(
        manifest,
        config.data,
        config.augment,
        classifier.spec,
        config.seed,
        noise_size=method.noise_size,
        extra=method.needs,
        allow_targets=config.allow_targets,
    )


def build_callbacks(
    config: Config,
    run: Run,
    manifest: Manifest,
    objective: Objective,
    classifier: Classifier,
    bank: DonorBank,
    cues: Sequence[Cue],
    mirror: Mirror | None,
) -> list[Callback]:
    """Builds what watches the fit, in the order in which it runs at the end of an epoch.

    First comes what keeps steps that are not finite from all others. What measures comes before the average, which
    gives the weights back when validation ends; then come the user's own callbacks, the files they are written to, and
    last the checkpoint, which holds them all.
    """
    confidence = objective.confidence
    class_counts = classifier.method.facts.class_counts
    settings, steered = config.finite_guard, _steered(classifier)
    guard = FiniteGuard(settings.max_skipped, settings.lr_factor) if settings.enabled else None
    callbacks: list[Callback] = [] if guard is None else [guard]
    every_epoch = None
    if cues:
        reliance = reliance_monitor(config, run, manifest, objective, classifier.spec, bank, cues)
        every_epoch = reliance if reliance.every_n_epochs == 1 else None
        callbacks.append(reliance)
    # After reliance, which counts among the requirements that an epoch meets.
    names = manifest.classes, manifest.levels, manifest.usual
    bias = BiasMonitor(*names, confidence, objective, class_counts, every_epoch, steered)
    callbacks.append(bias)
    callbacks += user_callbacks(config)
    if config.ema.enabled:
        callbacks.append(AverageWeights(config.ema.decay, guard))
    metrics = MetricsFile(run.metrics_file, mirror)
    callbacks.append(metrics)
    if config.trainer.progress and not config.trainer.enable_progress_bar:
        callbacks.append(Progress(metrics))
    if config.trainer.enable_checkpointing is not False and not config.trainer.barebones:
        callbacks.append(BestCheckpoint(run.checkpoints / "best.ckpt", bias))
        within = config.trainer.checkpoint_every
        callbacks.append(LastCheckpoint(run.checkpoints / "last.ckpt", run.hint, within.minutes, within.steps))
    return callbacks


def _plain(section: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(section) and not isinstance(section, type):
        return dataclasses.asdict(section)
    return {str(key): value for key, value in section.items()}


def _steered(classifier: Classifier) -> dict[str, float]:
    """Returns the bounds on reliance that a controller steers by, by cue; none where there is no controller."""
    method = classifier.method
    controller = method.controller if isinstance(method, Focused) else None
    return {} if controller is None else dict(controller.bounds)
