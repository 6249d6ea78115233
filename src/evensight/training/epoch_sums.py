"""What an epoch adds up, and its clock: sums on the device, so that no step waits for it."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from evensight.ranks.group import gathered


class EpochSums:
    """The sums of this rank from the beginning of an epoch on.

    Args:
        device: Where they are added up.

    Attributes:
        train: float64 `[4]`: loss x images, images, hits, images with a decision.
        validation: float64 `[2]`: loss x images, images, of the validation that began last.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.train = torch.zeros(4, dtype=torch.float64, device=device)
        self.validation = torch.zeros(2, dtype=torch.float64, device=device)
        self._began = time.perf_counter()
        self._trained: float | None = None  # when validation began

    def begin_validation(self, device: torch.device) -> None:
        """Stops the clock of the training steps and starts the sums of validation."""
        self._trained = time.perf_counter()
        # A sanity check comes before any epoch has begun on the device.
        self.validation = torch.zeros(2, dtype=torch.float64, device=device)

    @property
    def seconds(self) -> float:
        """How long the training steps have taken."""
        return (self._trained or time.perf_counter()) - self._began

    def state_dict(self) -> dict[str, Any]:
        """Returns the sums of every rank `[R, n]` and the clock; to be called on each."""
        return {
            "train": torch.stack(gathered(self.train.cpu())),
            "validation": torch.stack(gathered(self.validation.cpu())),
            "seconds": time.perf_counter() - self._began,
            "seconds_trained": None if self._trained is None else self._trained - self._began,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], rank: int, num_ranks: int, device: torch.device) -> EpochSums:
        """Returns what a rank goes on with; see `own_share`."""
        found = cls(device)
        found.train = own_share(state["train"], rank, num_ranks).to(device)
        found.validation = own_share(state["validation"], rank, num_ranks).to(device)
        found._began -= state["seconds"]
        trained = state["seconds_trained"]
        found._trained = None if trained is None else found._began + trained
        return found


def own_share(sums: Tensor, rank: int, num_ranks: int) -> Tensor:
    """Returns what a rank goes on with of the sums of an epoch `[n]`.

    Args:
        sums: `[R, n]` of the R ranks there were.
        rank: Of this process.
        num_ranks: There are now; where they are not R, rank 0 takes all, and the total is equal to rounding.
    """
    if len(sums) == num_ranks:
        return sums[rank].clone()
    return sums.sum(0) if rank == 0 else torch.zeros_like(sums[0])
