"""The last layer of a finished run fitted anew, in a run of its own: nothing else of the network is trained.

The new run begins with what the old one recorded of its data, its focus and its epochs, so that whatever reads a run
reads this one too; `origin.json` says where its network is from and how its last layer was fitted. It is written first,
so that a run that is resumed knows that there is nothing to train.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evensight.config import Config
from evensight.data.manifest import Manifest
from evensight.errors import UserError
from evensight.files import replaced
from evensight.identity import differences
from evensight.names import METHODS, resolve
from evensight.objective.objective import Objective
from evensight.ranks.devices import on_gpu
from evensight.ranks.world import world
from evensight.run import ORIGIN, Run
from evensight.training.building import untrained
from evensight.training.checkpoint import check_weights, network_weights, read_checkpoint, write_checkpoint
from evensight.training.classifier import Classifier
from evensight.training.focus.focused import Focused
from evensight.training.focus.prepared import recorded_focus
from evensight.training.focus.record import FOCUS, PICTURES
from evensight.training.focus.settings import Focus, method_section
from evensight.training.methods.facts import data_facts
from evensight.training.methods.last_layer import LastLayer
from evensight.training.train import TrainResult, load_best
from evensight.training.training_images import TrainingImages

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
_RECORDED = ("data.json", "objective.json", FOCUS)


def source_of(config: Config) -> tuple[Run, Config]:
    """Returns the run whose last layer is to be fitted anew, and the configuration of the run that is made of it.

    Args:
        config: The old run's, with `run` and the `focus` section that asks for a last layer.

    Raises:
        UserError: If the run is not finished or has another configuration, or several processes were started.
    """
    source = Run.open(str(config.run))
    if source.finished is None:
        raise UserError(f"run: {source.folder} is not finished, so there is no last layer to fit; {source.hint}.")
    if world().size > 1:
        raise UserError("focus.by=[head] of a finished run takes one process; start it without torchrun or srun.")
    recorded = source.config()
    trainer = dataclasses.replace(config.trainer, devices=1, num_nodes=None, strategy=None)
    own = dataclasses.replace(config, run=None, resume=False, focus=recorded.focus, trainer=trainer)
    named = dataclasses.replace(own, experiment_name=recorded.experiment_name)
    other = differences(recorded, named)
    if other:
        raise UserError(
            f"run: {source.folder} has another configuration: {other[0]}; its last layer alone is fitted anew, so "
            "leave out what differs, or train a new run."
        )
    read_checkpoint(source.checkpoints / "best.ckpt")
    return source, own


def inherit(run: Run, source: Run, config: Config) -> None:
    """Writes to a new run what it has from the old one, and how its last layer is to be fitted."""
    wish = {"head": config.focus.head, "attribute": config.focus.attribute}
    artifact = source.read_json("artifact/contract.json") or {}  # none where the old run was not exported
    known = {"run": str(source.folder), "identity": artifact.get("identity")}
    run.write_json(ORIGIN, {"schema_version": SCHEMA_VERSION, **known, **wish})
    for name in _RECORDED:
        found = source.read_json(name)
        if found is not None:
            run.write_json(name, found)
    if (source.pictures / PICTURES).is_dir():
        shutil.copytree(source.pictures / PICTURES, run.pictures / PICTURES, dirs_exist_ok=True)


def fitted_head(config: Config, run: Run, manifest: Manifest, objective: Objective) -> TrainResult:
    """Fits the last layer of a run that `inherit` began, unless that is done; returns what training returns.

    Raises:
        UserError: If the old run is gone, or the method cannot be carried out.
    """
    best = run.checkpoints / "best.ckpt"
    if not best.is_file():
        _fit(config, run, manifest, objective)
    return load_best(config, run, manifest, objective)


def _fit(config: Config, run: Run, manifest: Manifest, objective: Objective) -> None:
    origin = run.read_json(ORIGIN) or {}
    source = Run.open(origin["run"])
    classifier = untrained(config, manifest, objective, recorded_focus(run))
    path = source.checkpoints / "best.ckpt"
    checkpoint = read_checkpoint(path)
    check_weights(checkpoint, classifier.network, path)
    network = classifier.network
    network.load_state_dict(network_weights(checkpoint))
    network.to("cuda" if on_gpu(config.trainer) else "cpu").eval()

    section, method = _method(config, origin, classifier, manifest, objective)
    positions, held_back = positions_for(classifier, manifest)
    if not held_back:
        log.info(
            "%s: nothing was held back from the network of %s; its training images are used",
            section["name"],
            source.folder,
        )
    method.refit(network, TrainingImages(manifest, classifier.spec, config.data), positions)
    with replaced(run.metrics_file) as temporary:
        shutil.copyfile(source.metrics_file, temporary)
    fitted = {"method": section, "held_back": held_back, "num_images": len(positions)}
    run.write_json(ORIGIN, {**origin, **fitted})
    repaired = {f"network.{name}": value for name, value in network.cpu().state_dict().items()}
    weights = {**checkpoint["state_dict"], **repaired}
    run.checkpoints.mkdir(exist_ok=True)
    write_checkpoint({**checkpoint, "state_dict": weights, "repaired": True}, run.checkpoints / "best.ckpt")


def _method(
    config: Config, origin: dict[str, Any], classifier: Classifier, manifest: Manifest, objective: Objective
) -> tuple[dict[str, Any], LastLayer]:
    """Returns the method that fits the last layer, and its section."""
    wish = dataclasses.replace(config.focus, by=["head"], head=origin["head"], attribute=origin["attribute"])
    focus = Focus(cues=_ignored(classifier), by=("head",))
    section = method_section(dataclasses.replace(config, focus=wish), focus, manifest)
    kind = resolve(METHODS, "focus.head", section["name"])
    options = {key: value for key, value in section.items() if key != "name"}
    method = kind(options, classifier.task, data_facts(manifest, objective))
    assert isinstance(method, LastLayer)
    return section, method


def _ignored(classifier: Classifier) -> tuple[str, ...]:
    """Returns the cues that a classifier ignores."""
    focus = classifier.hparams["focus"]
    return tuple(focus["cues"]) if focus else ()


def positions_for(classifier: Classifier, manifest: Manifest) -> tuple[NDArray[np.int64], bool]:
    """Returns the training images to fit a last layer on: those that the network did not see, else all it saw.

    Returns:
        Positions among the training images `[N]`, and whether they were held back.
    """
    method = classifier.method.inner if isinstance(classifier.method, Focused) else classifier.method
    if isinstance(method, LastLayer) and method.held_back:
        return np.flatnonzero(method.parts(manifest)[1]), True
    return np.flatnonzero(manifest.trained()), False
