"""What one rank of `test_ranks_group.py` does: `python rank_script.py <scenario>`, started several times."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import SimpleNamespace

from evensight.config import TrainerConfig
from evensight.errors import UserError
from evensight.interruption import deferred
from evensight.ranks import group as ranks
from evensight.ranks import last_words, lifeline
from evensight.statuses import guarded

CONFIG = SimpleNamespace(data=SimpleNamespace(batch_size=12), trainer=TrainerConfig(accelerator="cpu"))


def work(scenario: str, here: ranks.World) -> None:
    last_words.go_on_with("the hint")
    if scenario == "words":
        import torch

        mine = {"rank": here.rank, "agreed": ranks.agreed(f"of {here.rank}"), "any": ranks.any_rank(here.rank == 1)}
        assert not ranks.any_rank(False)
        total = ranks.summed(torch.tensor([2**60 + here.rank, 1])).tolist()
        share = float(ranks.share_of_images(torch.tensor(float(here.rank))))
        with ranks.leader_first():
            ranks.world()
        words = ranks.gathered({**mine, "total": total, "share": share})
        if here.leads:
            print(words)
    elif scenario == "all ranks are wrong":
        raise UserError("the same mistake.")
    elif scenario == "one rank is wrong" and here.rank == 1:
        raise UserError("a mistake of one.")
    elif scenario == "a bug on one rank" and here.rank == 1:
        raise ZeroDivisionError("a bug")
    elif (scenario, here.rank) in (("killed", 1), ("the leader is killed", 0)):
        os.kill(os.getpid(), signal.SIGKILL)
    elif scenario == "killed while the others hang":
        if here.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        threading.Event().wait()
    elif scenario == "signal to one, asked":
        with deferred() as noted:
            if here.rank == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            while not ranks.any_rank(noted() is not None):
                pass
    elif scenario == "signal to one, broken into" and here.rank == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    ranks.barrier()


def call(scenario: str) -> int:
    with ranks.joined(CONFIG) as here:  # type: ignore[arg-type]
        work(scenario, here)
        if not ranks.parted():
            return 0
    print("rank 0 goes on")
    return 0


if __name__ == "__main__":
    if "hang" in sys.argv[1]:
        lifeline.PATIENCE = 0.5
    sys.exit(guarded(lambda: call(sys.argv[1])))
