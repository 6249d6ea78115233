"""The export: a trained network becomes a folder that needs neither its run nor evensight."""

from __future__ import annotations

import dataclasses
import io
import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from evensight import __version__
from evensight import files as whole
from evensight.config import Config
from evensight.cues import Cue, build_cues
from evensight.cues.named import named_cues
from evensight.cues.probe import Probe
from evensight.cues.reliance import DonorBank
from evensight.data.dataset import known_extra, plain_images
from evensight.data.manifest import Manifest
from evensight.deploy.fitting import fitted_probes, judged
from evensight.deploy.graph import GRAPH_VERSION, ServedModel, build, compile_program, compile_script
from evensight.deploy.parity import check_files, reference
from evensight.deploy.temperature import fit_temperature
from evensight.errors import UserError
from evensight.identity import identity as run_identity
from evensight.models.network import Network
from evensight.objective.objective import Objective
from evensight.records import artifact as files
from evensight.records.artifact import Artifact, digest_tensors, identity_of, write_sums
from evensight.records.contract import Contract, CueContract, DataContract, Limits, Preprocessing, RelianceContract
from evensight.run import Run
from evensight.runtime import script
from evensight.runtime.decode import FORMATS, DecodeError, decode
from evensight.runtime.preprocess import PreprocessSpec

log = logging.getLogger(__name__)

NUM_GOLDEN = 4
# Golden images are cut to this height and width: model.ts carries them.
MOST_GOLDEN = (96, 128)


def export(
    run: Run,
    network: Network,
    spec: PreprocessSpec,
    objective: Objective,
    manifest: Manifest,
    bank: DonorBank,
    config: Config,
    probes: Mapping[str, Probe] | None = None,
) -> Artifact:
    """Writes `artifact/` of a run: fits what has to be fitted, compiles, checks parity, renames into place.

    Args:
        run: Where it goes.
        network: Trained, with the weights that ship.
        spec: What the network wants of an image.
        objective: Resolved.
        manifest: The training split fits the probes, the validation split the temperature.
        bank: Donors, drawn before fit.
        config: Of the run.
        probes: By cue; fitted here where not given.

    Returns:
        The artifact. Where the run already has an intact one of equal identity, that one, untouched.

    Raises:
        RunError: If a written file does not answer as the trained network does; nothing is left behind.
        UserError: If the run already has an artifact of another identity.
    """
    started = time.perf_counter()
    network = network.cpu().eval()
    cues = build_cues(named_cues(config, objective.cue_names(rivals=True)))
    if probes is None:
        needs = sorted({name for cue in cues for name in cue.needs} & known_extra(manifest))
        images = plain_images(manifest, "train", spec, config.data, needs)
        probes = fitted_probes(cues, images, config.reliance.seed, config.data.eval_batch_size)
    validation = plain_images(manifest, "validation", spec, config.data)
    temperature = fit_temperature(*judged(network, validation, config.data.eval_batch_size))
    real = real_images(manifest, NUM_GOLDEN)
    served, _ = build(network, spec, temperature, [_cut(image) for image in real])

    with staged(run.artifact) as folder:
        _write_tensors(folder, network, bank, probes)
        contract = _contract(
            run, network, spec, objective, manifest, config, cues, temperature, digest_tensors(folder / files.DONORS)
        )
        contract = contract.model_copy(
            update={"identity": identity_of(digest_tensors(folder / files.WEIGHTS), contract)}
        )
        kept = _existing(run.artifact, contract.identity)
        if kept is not None:
            log.info("artifact: %s is there already (identity %s)", run.artifact, contract.identity[:12])
            return kept
        _write_models(folder, served, contract, spec.size)
        _write_golden(folder / files.GOLDEN, served)
        worst = check_files(folder / files.MODEL, folder / files.PROGRAM, reference(network, spec, temperature), real)
        write_sums(folder)
    seconds = time.perf_counter() - started
    log.info("artifact: %s (parity %.1e, temperature %.3g, %.1f s)", run.artifact, worst, temperature, seconds)
    return Artifact.open(run.artifact)


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `target`; on a clean exit a complete one takes its place, else it is removed.

    A folder that was left without sums is not complete, and is removed too. What was attached to the folder that gives
    way moves over.
    """

    def complete(temporary: Path) -> bool:
        if not (temporary / files.SUMS).is_file():
            return False
        if (target / files.ATTACHED).is_dir():
            shutil.copytree(target / files.ATTACHED, temporary / files.ATTACHED)
        return True

    with whole.staged(target, complete) as temporary:
        yield temporary


def real_images(manifest: Manifest, count: int) -> list[Tensor]:
    """Returns up to `count` decoded images, uint8 [3, H, W], evenly spread over the validation split.

    The training split stands in where there is no validation split.

    Raises:
        UserError: If none can be decoded.
    """
    frame = manifest.split("validation")
    frame = frame if frame.height else manifest.split("train")
    found: list[Tensor] = []
    for position in np.unique(np.linspace(0, frame.height - 1, min(4 * count, frame.height)).astype(int)):
        try:
            found.append(_decoded(manifest, frame.row(int(position), named=True)))
        except (DecodeError, OSError, UserError):
            continue
    if not found:
        raise UserError("data: no image of the validation split can be decoded, so an export cannot be checked.")
    return found[:: max(1, len(found) // count)][:count]


def _decoded(manifest: Manifest, row: Mapping[str, Any]) -> Tensor:
    source = manifest.read(row)
    if isinstance(source, bytes):
        return decode(source)
    return torch.from_numpy(np.require(source, requirements=["C", "W"])).permute(2, 0, 1).contiguous()


def _existing(folder: Path, identity: str) -> Artifact | None:
    """Returns the artifact already there if it is intact and equal; None where there is none, or it was altered."""
    if not folder.exists():
        return None
    try:
        there = Artifact.open(folder)
    except UserError:
        return None
    if there.identity != identity:
        raise UserError(
            f"artifact: {folder} holds another model (identity {there.identity[:12]}, this one is {identity[:12]}); "
            "an artifact is never overwritten: move that folder away first."
        )
    return there


def _contract(
    run: Run,
    network: Network,
    spec: PreprocessSpec,
    objective: Objective,
    manifest: Manifest,
    config: Config,
    cues: Sequence[Cue],
    temperature: float,
    donors: str,
) -> Contract:
    training = np.bincount(manifest.labels("train"), minlength=objective.num_classes)
    return Contract(
        objective=objective.canonical(),
        classes=objective.class_names,
        attributes=objective.levels,
        usual={name: tuple(map(int, levels)) for name, levels in manifest.usual.items()},
        cues=_as_written(cues),
        bounds={requirement.label: requirement.bound_value for requirement in objective.requirements},
        reliance=RelianceContract(seed=config.reliance.seed, donors=donors),
        preprocessing=Preprocessing(**dataclasses.asdict(spec)),
        temperature=temperature,
        limits=Limits(max_pixels=config.data.max_pixels, formats=FORMATS),
        majority_class=int(training.argmax()),
        data=DataContract(name=manifest.name, content=manifest.digests.content, test=manifest.digests.test),
        graph_version=GRAPH_VERSION,
        removed=_as_written(cue for cue in network.removed if isinstance(cue, Cue)),
        run={
            "folder": run.folder.name,
            "experiment": config.experiment_name,
            "seed": config.seed,
            "identity": run_identity(config),
            "evensight": __version__,
            "torch": torch.__version__,
        },
    )


def _as_written(cues: Iterable[Cue]) -> tuple[CueContract, ...]:
    return tuple(CueContract(name=cue.name, version=cue.version, operators=cue.operators) for cue in cues)


def _write_tensors(folder: Path, network: Network, bank: DonorBank, probes: Mapping[str, Probe]) -> None:
    # Copies: tied weights share memory, which safetensors refuses.
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    whole.write_bytes(folder / files.WEIGHTS, save(weights))
    donors = {f"bank/{name}": value.contiguous() for name, value in bank.state().items()}
    for cue, probe in probes.items():
        donors |= {f"probe/{cue}/{name}": value.contiguous() for name, value in probe.state().items()}
    whole.write_bytes(folder / files.DONORS, save(donors))


def _write_models(folder: Path, served: ServedModel, contract: Contract, size: int) -> None:
    text = contract.model_dump_json(indent=2) + "\n"
    (folder / files.CONTRACT).write_text(text, encoding="utf-8")
    script.save(compile_script(served, size), folder / files.MODEL, {files.CONTRACT: text})
    # Through memory: where the disk is full, torch's own writer of files ends the process (std::terminate).
    archive = io.BytesIO()
    torch.export.save(compile_program(served, size), archive)
    (folder / files.PROGRAM).write_bytes(archive.getvalue())


def _write_golden(folder: Path, served: ServedModel) -> None:
    """Writes the golden images as PNG and what the model says of them, for loaders in any language."""
    folder.mkdir()
    outputs: dict[str, list[Tensor]] = {"probs": [], "logits": [], "embedding": []}
    with torch.inference_mode():
        for number, image in enumerate(served.golden_images):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
            answer = served(image.unsqueeze(0))
            for name, values in outputs.items():
                values.append(answer[name][0])
    whole.write_bytes(
        folder / "outputs.safetensors", save({name: torch.stack(values) for name, values in outputs.items()})
    )


def _cut(image: Tensor) -> Tensor:
    return image[:, : MOST_GOLDEN[0], : MOST_GOLDEN[1]].contiguous()
