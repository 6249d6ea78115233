"""Embeddings of images: of a small network trained here on the labels as given, or of a finished run's artifact.

The network sees each image's given label; what judges a label later is a regression that did not (`suspects`). On
10,000 MNIST digits with 5 % of the labels wrong, one network and that regression found them with an average precision
of .98 to .99; three networks, each judging the fold it did not see, with .97 to .98 in twice the time and more.

What the network must not do is learn single wrong labels by heart. Each image is shifted anew each time it is seen:
on 1,000 small digits 67 % of the wrong labels were then pruned, and none without; on 2,000 of MNIST 80 and 19 %.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evensight.files import replaced
from evensight.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from evensight.audit.data import AuditData
    from evensight.data.dataset import ImageDataset

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

CHANNELS = (16, 32, 64, 64)
LARGEST = 64  # side of the network's input, pixels
_CHUNK = 128  # images decoded, or embedded, at once
_RATE, _DECAY = 3e-3, 1e-2
# Images seen in all epochs together, and the bounds of the epochs: 12 of 2,000 images, 6 of 10,000, 3 of 60,000.
_SEEN, _FEWEST_EPOCHS, _MOST_EPOCHS = 60_000, 3, 12
_SHIFT = 0.1  # of the side, each way
_NETWORK = "network.pt"


def input_side(widths: NDArray[np.int64], heights: NDArray[np.int64]) -> int:
    """Returns the side of the network's input for images of these sizes: the median short side, 16 to `LARGEST`."""
    return int(np.clip(np.median(np.minimum(widths, heights)), 16, LARGEST))


def num_epochs(num_images: int) -> int:
    """Returns how often the network sees each image."""
    return int(np.clip(round(_SEEN / max(num_images, 1)), _FEWEST_EPOCHS, _MOST_EPOCHS))


def loaded(
    data: AuditData, rows: NDArray[np.int64], side: int, num_workers: int | None, progress: Progress
) -> tuple[Pixels, NDArray[np.bool_]]:
    """Decodes images as evaluation sees them.

    Args:
        data: With a manifest.
        rows: Positions in the manifest `[M]`.
        side: S.
        num_workers: Threads; None takes one a core.
        progress: Told of the images done.

    Returns:
        Pixels uint8 `[M, S, S, 3]`, and which could be decoded `[M]`.
    """
    pixels = np.zeros((len(rows), side, side, 3), np.uint8)
    good = np.zeros(len(rows), np.bool_)
    for places, images, weight in _chunks(data, rows, side, 1.0, num_workers, progress):
        pixels[places] = images.permute(0, 2, 3, 1).numpy()
        good[places] = weight
    return pixels, good


def of_run(
    data: AuditData, rows: NDArray[np.int64], run: str, num_workers: int | None, progress: Progress
) -> tuple[Floats, NDArray[np.bool_]]:
    """Embeds images by the network of a finished run, through its artifact; arguments and shapes as `loaded`.

    The run has learned from the labels: where it learned wrong ones by heart, they are not found.

    Returns:
        Embeddings float32 `[M, D]`, and which images could be decoded `[M]`.

    Raises:
        UserError: There is no artifact, or it was altered.
    """
    import torch

    from evensight.records.artifact import Artifact
    from evensight.runtime import script

    artifact = Artifact.open(Path(run) / "artifact")
    model: Any = script.load(artifact.model_path)
    spec = artifact.contract.preprocessing
    good = np.zeros(len(rows), np.bool_)
    found: Floats = np.zeros((len(rows), 0), np.float32)
    with torch.inference_mode():
        for places, images, weight in _chunks(data, rows, spec.size, spec.crop_ratio, num_workers, progress):
            embedding = model.infer(images)["embedding"].float().numpy()
            if found.shape[1] == 0:
                found = np.zeros((len(rows), embedding.shape[1]), np.float32)
            found[places], good[places] = embedding, weight
    return found, good


def _chunks(
    data: AuditData, rows: NDArray[np.int64], side: int, crop_ratio: float, num_workers: int | None, progress: Progress
) -> Iterator[tuple[NDArray[np.int64], Tensor, NDArray[np.bool_]]]:
    """Yields positions in `rows`, uint8 `[B, 3, S, S]` and which of them were decoded."""
    from evensight.threads import single_threaded_pool

    assert data.manifest is not None
    work = []
    for split in np.unique(data.splits[rows]).tolist():
        dataset = _dataset(data, split, side, crop_ratio)
        here = np.flatnonzero(data.splits[rows] == split)
        position = np.searchsorted(dataset.indices, rows[here])
        work += [(dataset, here[i : i + _CHUNK], position[i : i + _CHUNK]) for i in range(0, len(here), _CHUNK)]
    threads = num_workers or len(os.sched_getaffinity(0))
    done = 0
    with single_threaded_pool(threads, "embed") as pool:
        for start in range(0, len(work), 2 * threads):  # so many chunks are held at once
            part = work[start : start + 2 * threads]
            batches = pool.map(lambda item: item[0].batch(0, item[2]), part)
            for (_, places, _), batch in zip(part, batches, strict=True):
                done += len(places)
                progress("label errors: images", done, len(rows))
                yield places, batch["image"], batch["weight"].numpy() > 0


def _dataset(data: AuditData, split: str, side: int, crop_ratio: float) -> ImageDataset:
    from evensight.data.dataset import ImageDataset
    from evensight.runtime.files import MAX_PIXELS
    from evensight.runtime.preprocess import PreprocessSpec

    assert data.manifest is not None
    sizes = data.manifest.frame.select("width", "height").fill_null(0).to_numpy()
    # What was prepared under a larger data.max_pixels is read here too.
    most = max(MAX_PIXELS, int(sizes.prod(axis=1).max(initial=0)))
    return ImageDataset(data.manifest, split, PreprocessSpec(side, crop_ratio), None, seed=0, max_pixels=most)


def trained(
    pixels: Pixels,
    labels: NDArray[np.int64],
    num_classes: int,
    seed: int,
    progress: Progress,
    folder: Path | None = None,
) -> Floats:
    """Trains a small network on the labels as given and returns its embeddings, float32 `[N, D]`.

    Args:
        pixels: uint8 `[N, S, S, 3]`.
        labels: `[N]`, 0 to C - 1.
        num_classes: C.
        seed: Of weights and order.
        progress: Told of the images seen.
        folder: Where the network is kept after each epoch, so that a killed audit goes on from there.
    """
    import torch

    threads = torch.get_num_threads()
    # The same to the bit on any number of cores; and where other processes share them, threads that wait for each other
    # took nine times the processor's time.
    torch.set_num_threads(1)
    try:
        return _trained(pixels, labels, num_classes, seed, progress, folder)
    finally:
        torch.set_num_threads(threads)


def _trained(
    pixels: Pixels, labels: NDArray[np.int64], num_classes: int, seed: int, progress: Progress, folder: Path | None
) -> Floats:
    import torch

    from evensight.models.network import Network
    from evensight.models.small import SmallCNN

    side = pixels.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = SmallCNN(side, CHANNELS, 3 if side > 48 else 2)
        network = Network(backbone, CHANNELS[-1], num_classes).to(memory_format=torch.channels_last)
    _fit(network, pixels, torch.from_numpy(labels), seed, progress, folder)
    network.eval()
    with torch.inference_mode():
        parts = [network.embed(_batch(pixels[i : i + _CHUNK])) for i in range(0, len(pixels), _CHUNK)]
    found: Floats = torch.cat(parts).numpy()
    return found


def _fit(network: Any, pixels: Pixels, labels: Tensor, seed: int, progress: Progress, folder: Path | None) -> None:
    import torch
    import torch.nn.functional as F

    num, epochs = len(pixels), num_epochs(len(pixels))
    size = min(128, max(16, num // 16))
    steps = num // size
    optimizer = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=epochs * steps)
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
    network.train()
    for epoch in range(_restore(folder, parts), epochs):
        generator = np.random.default_rng([seed, epoch])
        order = generator.permutation(num)
        for step in range(steps):
            chosen = order[step * size : (step + 1) * size]
            loss = F.cross_entropy(network(_batch(_shifted(pixels[chosen], generator))), labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            progress("label errors: network", epoch * steps * size + (step + 1) * size, epochs * steps * size)
        if folder is not None:
            with replaced(folder / _NETWORK) as temporary:
                torch.save({"epoch": epoch + 1, **{name: part.state_dict() for name, part in parts.items()}}, temporary)


def _restore(folder: Path | None, parts: dict[str, Any]) -> int:
    """Brings the parts to where a killed audit left them and returns the epochs done."""
    import torch

    if folder is None or not (folder / _NETWORK).is_file():
        return 0
    try:
        kept = torch.load(folder / _NETWORK, weights_only=True)
    except Exception:  # a broken file of ours costs the epochs again, nothing else
        return 0
    for name, part in parts.items():
        part.load_state_dict(kept[name])
    return int(kept["epoch"])


def _shifted(pixels: Pixels, generator: np.random.Generator) -> Pixels:
    """Moves each image `[B, S, S, 3]` by up to `_SHIFT` of its side; its edges are repeated."""
    side, most = pixels.shape[1], max(1, round(pixels.shape[1] * _SHIFT))
    padded = np.pad(pixels, ((0, 0), (most, most), (most, most), (0, 0)), "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))  # [B, 2m+1, 2m+1, 3, S, S]
    down, right = generator.integers(0, 2 * most + 1, (2, len(pixels)))
    moved: Pixels = windows[np.arange(len(pixels)), down, right].transpose(0, 2, 3, 1)
    return moved


def _batch(pixels: Pixels) -> Tensor:
    """uint8 `[B, S, S, 3]` to `[B, 3, S, S]`, channels_last without a copy."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
