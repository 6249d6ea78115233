"""Pools of threads that leave the cores to each other."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import torch


def single_threaded_pool(num_threads: int, name: str) -> ThreadPoolExecutor:
    """Returns a pool whose threads each see a torch of one thread.

    A team of OpenMP threads for each worker would fight with the training step for the cores.

    Args:
        num_threads: Workers.
        name: Prefix of their names.
    """
    return ThreadPoolExecutor(num_threads, name, initializer=_one_torch_thread, initargs=(torch.get_num_threads(),))


def _one_torch_thread(of_others: int) -> None:
    """Sets this thread's torch to one thread and leaves `of_others` to threads that start later.

    OpenMP keeps the number by thread, and torch hands the latest one to threads that start later; so a short-lived
    thread sets that back. Every worker sets back the number of the thread that made the pool: what a worker finds
    itself may be another worker's 1. Torch hands a thread that number when it first asks, also after it was set: so
    each asks first.
    """
    torch.get_num_threads()
    torch.set_num_threads(1)
    restore = threading.Thread(target=torch.set_num_threads, args=(of_others,))
    restore.start()
    restore.join()
