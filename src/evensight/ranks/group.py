"""The processes that train one run together: who this one is, and the few words they exchange.

`world()` reads the environment that torchrun, srun or `launching.py` made. Within `joined()` the ranks have a process
group and a second, small one for control on the CPU (gloo), so that agreeing on something never waits for a device.
Outside of it, and in a process alone, every function here is the identity.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from evensight.interruption import Interrupted, ignored
from evensight.ranks import last_words
from evensight.ranks.devices import on_gpu, shared
from evensight.ranks.last_words import LAUNCHER, LostRankError
from evensight.ranks.lifeline import Lifeline
from evensight.ranks.world import World, world

if TYPE_CHECKING:
    from evensight.config import Config

__all__ = ["World", "agreed", "any_rank", "barrier", "gathered", "joined", "leader_first", "parted"]
__all__ += ["rows_of_all", "share_of_images", "summed", "total_of_all", "world"]

T = TypeVar("T")

LEFT = "evensight/left/"  # + rank, in the store: ended before it joined, said by the launcher
_HERE = "evensight/here/"
# A rank may prepare data for hours while the others wait for it; one that died is noticed by the lifeline.
_FOREVER = datetime.timedelta(days=30)
_JOIN_SECONDS = 600.0


@dataclass
class _Group:
    """What a rank holds while the ranks are joined."""

    here: World
    store: Any
    control: Any
    lifeline: Lifeline
    gpu: bool


class _Joined:
    """Of this process."""

    group: _Group | None = None


@contextlib.contextmanager
def joined(config: Config) -> Iterator[World]:
    """Joins the ranks for the length of the block; in a process alone it does nothing.

    It lasts until `parted`, or to the end of the block: every rank waits for all, and the process group is gone. When
    the block raises before that, the other ranks hear of it, and `last_words.voice` tells which of them says why.

    Args:
        config: Says what they train on, and how many images there are in a step.

    Raises:
        UserError: If so many ranks cannot train this.
        LostRankError: If the process of another rank is gone.
        PeerError: If another rank failed, and has said why.
    """
    here = world()
    if here.size == 1:
        yield here
        return
    shared(config.data.batch_size, here.size)
    _end_with_launcher()
    group = _Joined.group = _join(here, on_gpu(config.trainer))
    try:
        yield here
        parted()
    except BaseException as error:
        if _Joined.group is None:  # what happens after the ranks have parted is rank 0's alone
            raise
        meant = last_words.meaning(error, group.lifeline)
        if not isinstance(meant, Interrupted):
            ignored()
        _leave(meant, group)
        if meant is error:
            raise
        raise meant from error
    finally:
        _Joined.group = None


def parted() -> bool:
    """Waits for all ranks and ends what joins them; returns whether this one goes on with what comes after."""
    group = _Joined.group
    if group is not None:
        barrier()
        group.lifeline.close(0)
        _Joined.group = None
        _dist().destroy_process_group()
    return world().leads


def agreed(value: T) -> T:
    """Returns rank 0's value on every rank; it must pickle."""
    group = _Joined.group
    if group is None:
        return value
    box: list[Any] = [value]
    _dist().broadcast_object_list(box, src=0, group=group.control)
    return box[0]  # type: ignore[no-any-return]


def gathered(value: T) -> list[T]:
    """Returns every rank's value, in order of rank, on every rank."""
    group = _Joined.group
    if group is None:
        return [value]
    found: list[Any] = [None] * group.here.size
    _dist().all_gather_object(found, value, group=group.control)
    return found


def any_rank(flag: bool) -> bool:
    """Returns on every rank whether any of them has the flag up. One small message over the CPU, no device."""
    group = _Joined.group
    if group is None:
        return flag
    import torch

    word = torch.tensor([int(flag)], dtype=torch.int32)
    _dist().all_reduce(word, op=_dist().ReduceOp.MAX, group=group.control)
    return bool(word.item())


def summed(value: Any) -> Any:
    """Returns the sum of a tensor over all ranks, on the CPU; exact for integers."""
    total = value.detach().cpu().clone()
    if _Joined.group is not None:
        _dist().all_reduce(total, group=_Joined.group.control)
    return total


def share_of_images(num: Any) -> Any:
    """Returns what a rank's mean loss is multiplied by, so that the mean over the ranks is that over all their images.

    It is 1 unless some of the images are padding or could not be decoded. One number is reduced where the images are;
    the host does not wait for a device.

    Args:
        num: Images of this rank's share of the step, a tensor of no dimension.

    Returns:
        A tensor, None in a process alone.
    """
    group = _Joined.group
    if group is None:
        return None
    total = num.clone()
    _dist().all_reduce(total)
    return num * group.here.size / total.clamp(min=1)


def rows_of_all(rows: Any) -> Any:
    """Returns the rows of all ranks, one rank's after the other `[B * size, ...]`; every rank has as many.

    It happens where they are; the host does not wait for a device.
    """
    group = _Joined.group
    if group is None:
        return rows
    import torch

    found = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(group.here.size)]
    _dist().all_gather(found, rows.contiguous())
    return torch.cat(found)


def total_of_all(values: Any) -> Any:
    """Returns the sum of a tensor over all ranks, where it is; the host does not wait for a device."""
    if _Joined.group is None:
        return values
    total = values.clone()
    _dist().all_reduce(total)
    return total


def barrier() -> None:
    """Waits until every rank is here."""
    if _Joined.group is not None:
        _dist().barrier(group=_Joined.group.control)


@contextlib.contextmanager
def leader_first() -> Iterator[None]:
    """Rank 0 runs the block first, and the others when it is done: they find what it made."""
    if not world().leads:
        barrier()
    yield
    if world().leads:
        barrier()


def _join(here: World, gpu: bool) -> _Group:
    dist = _dist()
    if here.started_by == "srun":
        from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

        environment = SLURMEnvironment()  # the first host of the job, and a port that follows from its number
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = environment.main_address, str(environment.main_port)
    if here.local_size == here.size and os.path.isdir("/sys/class/net/lo"):  # noqa: PTH112
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the machine's own name may lead anywhere
    wait = datetime.timedelta(seconds=_JOIN_SECONDS)
    store, rank, size = next(dist.rendezvous("env://", here.rank, here.size, timeout=wait))
    _await_all(store, here)
    backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
    dist.init_process_group(backend, store=dist.PrefixStore("evensight/group", store), rank=rank, world_size=size)
    control = dist.new_group(backend="gloo", timeout=_FOREVER)

    def sentence(lost: set[int]) -> str | None:
        return last_words.sentence(lost) if last_words.speaks(here.rank, lost) else None

    lifeline = Lifeline(here.rank, here.size, store, os.environ["MASTER_ADDR"], sentence)
    return _Group(here, store, control, lifeline, gpu)


def _await_all(store: Any, here: World) -> None:
    """Waits for the others in a way that a signal can break into."""
    store.set(f"{_HERE}{here.rank}", "")
    missing, deadline = set(range(here.size)), time.monotonic() + _JOIN_SECONDS
    while missing := {rank for rank in missing if not store.check([f"{_HERE}{rank}"])}:
        gone = {rank for rank in missing if store.check([f"{LEFT}{rank}"])}
        if gone or time.monotonic() > deadline:
            error = LostRankError(last_words.sentence(gone or missing))
            last_words.settle(error, here.rank, store, gone)
            raise error
        time.sleep(0.05)


def _leave(error: BaseException, group: _Group) -> None:
    rank, lost = group.here.rank, group.lifeline.lost
    last_words.announce(error, rank, group.store, group.lifeline)
    if lost:
        last_words.exit_at_once_at_the_end(error)
    else:  # the others notice at once, not when this process is gone
        with contextlib.suppress(RuntimeError):
            _dist().destroy_process_group(group.control if group.gpu else None)
            group.control = None  # its connections close with the last reference
    last_words.settle(error, rank, group.store, lost)


def _end_with_launcher() -> None:
    """Has the kernel send SIGTERM when the process that started this rank is killed: nobody else would end it."""
    launcher = os.environ.get(LAUNCHER)
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if launcher is None or prctl is None:
        return
    prctl(1, int(signal.SIGTERM))  # PR_SET_PDEATHSIG
    if os.getppid() != int(launcher):
        os.kill(os.getpid(), signal.SIGTERM)


def _dist() -> Any:
    import torch.distributed

    return torch.distributed
