"""If this fails, threads that were to leave the cores to each other fight for them."""

from __future__ import annotations

import threading

import torch

from evensight.threads import single_threaded_pool


def test_a_worker_keeps_one_thread_when_others_have_started_since() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with single_threaded_pool(4, "of_one") as pool:
            everyone = threading.Barrier(4)
            found = list(pool.map(lambda _: (everyone.wait(timeout=30), torch.get_num_threads())[1], range(4)))
        assert found == [1, 1, 1, 1]
    finally:
        torch.set_num_threads(before)
