"""Who this process is among those that train one run together, from the environment alone."""

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
        local_size: Processes of this machine.
        started_by: ``torchrun`` (or what sets the same variables), ``srun``, or None.
    """

    rank: int = 0
    local_rank: int = 0
    size: int = 1
    local_size: int = 1
    started_by: str | None = None

    @property
    def leads(self) -> bool:
        """Whether this process writes, prints and logs for all."""
        return self.rank == 0

    @property
    def num_nodes(self) -> int:
        """Machines."""
        return max(1, self.size // self.local_size)


def world() -> World:
    """Returns who this process is: what torchrun or srun put into the environment, else one process alone.

    A shell within a SLURM job (``srun --pty bash``) and a batch script have SLURM's variables too and are one process.
    """
    found = os.environ.get
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        size = int(os.environ["WORLD_SIZE"])
        local_size = int(found("LOCAL_WORLD_SIZE", size))
        rank = int(os.environ["RANK"])
        return World(rank, int(found("LOCAL_RANK", rank % local_size)), size, local_size, "torchrun")
    step = "SLURM_STEP_ID" in os.environ or "SLURM_STEPID" in os.environ
    if "SLURM_PROCID" in os.environ and step and found("SLURM_JOB_NAME") not in ("bash", "interactive"):
        size = int(found("SLURM_NTASKS", 1))
        local_size = max(1, size // int(found("SLURM_NNODES", 1)))
        return World(int(os.environ["SLURM_PROCID"]), int(found("SLURM_LOCALID", 0)), size, local_size, "srun")
    return World()
