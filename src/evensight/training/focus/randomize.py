"""Training images whose ignored cues are those of other images of the batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from evensight.cues import Cue
from evensight.training.methods.base import Batch

# Of a cue's columns of the noise: the first sorts the batch, which pairs each image with a donor; the second says
# whether the image is changed at all; then come those that the cue itself uses.
OWN_COLUMNS = 2
# On a CPU so many images are changed at once: what a step makes then stays in the processor's cache (half the time of
# 128 images of 64 x 64).
AT_ONCE = 32
# What moves pixels from place to place comes before what changes their tone, which would be moved with them otherwise.
ORDER = ("background", "surround", "border", "texture", "brightness", "colour")


def in_order(cues: Sequence[str]) -> tuple[str, ...]:
    """Returns names of cues in the order in which they are randomized, each once."""
    return tuple(sorted(dict.fromkeys(cues), key=lambda name: (ORDER.index(name) if name in ORDER else -1, name)))


def noise_columns(cues: Sequence[Cue]) -> int:
    """Returns how many numbers an image needs to be randomized once."""
    return sum(OWN_COLUMNS + cue.noise_size for cue in cues)


def randomized(batch: Batch, cues: Sequence[Cue], strength: Tensor, noise: Tensor) -> Tensor:
    """Returns the batch's images, uint8 `[B, 3, S, S]`, each cue of each taken from another image of the batch.

    Whose cue an image gets, and whether, follows from the noise alone: no generator is asked, and the same batch gets
    the same pixels on any device.

    Args:
        batch: With `image` and the `extra` that the cues need.
        cues: In the order in which they act; each has donors of its own.
        strength: Share of the images that are changed, by cue `[len(cues)]`.
        noise: `[B, noise_columns(cues)]`, uniform in [0, 1).
    """
    # Cues' arithmetic on one channel takes up to twice as long in channels_last.
    image: Tensor = batch["image"].contiguous()
    extra: dict[str, Tensor] = batch["extra"]
    start = 0
    for number, cue in enumerate(cues):
        own = noise[:, start : start + OWN_COLUMNS + cue.noise_size]
        start += own.size(1)
        donor = own[:, 0].argsort()
        changed = _from_donors(cue, image, donor, own[:, OWN_COLUMNS:], {name: extra[name] for name in cue.needs})
        chosen = (own[:, 1] < strength[number]).to(torch.uint8)[:, None, None, None]
        image = changed.sub_(image).mul_(chosen).add_(image)  # modulo 256: exact, and a tenth of the time of `where`
    return image


def _from_donors(cue: Cue, image: Tensor, donor: Tensor, noise: Tensor, extra: dict[str, Tensor]) -> Tensor:
    size = image.size(0) if image.is_cuda else AT_ONCE
    slices = [slice(start, start + size) for start in range(0, image.size(0), size)]
    if cue.reads:
        read = torch.cat([cue.read(image[own]) for own in slices])
        return torch.cat([cue.give(image[own], read[own], read[donor[own]]) for own in slices])
    parts = []
    for own in slices:
        others = donor[own]
        own_extra = {name: x[own] for name, x in extra.items()}
        donor_extra = {name: x[others] for name, x in extra.items()}
        parts.append(cue.randomize(image[own], image[others], noise[own], own_extra, donor_extra))
    return torch.cat(parts)
