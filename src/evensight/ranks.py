"""The processes that train one run together: who this one is, from the environment alone."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class World:
    """This process among the ranks of a run.

    Attributes:
        rank: Of this process, from 0; rank 0 writes the run folder.
        local_rank: Among the processes of this machine.
        size: Processes in all; 1 where there are no others.
    """

    rank: int = 0
    local_rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes, prints and logs for all."""
        return self.rank == 0


def world() -> World:
    """Returns who this process is: what torchrun or srun put into the environment, else one process alone."""
    for rank, local_rank, size in (
        ("RANK", "LOCAL_RANK", "WORLD_SIZE"),
        ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS"),
    ):
        if rank in os.environ and size in os.environ:
            return World(int(os.environ[rank]), int(os.environ.get(local_rank, 0)), int(os.environ[size]))
    return World()
