"""If these fail, an epoch holds other images, or the same in another order, than its key says."""

import threading

import numpy as np
import pytest
import torch

from evensight.config import AugmentConfig
from evensight.data.dataset import ImageDataset
from evensight.data.loader import Loader, epoch_order, num_batches, shard
from evensight.errors import UserError
from evensight.runtime.preprocess import PreprocessSpec

AUGMENT = AugmentConfig(
    crop_scale=[0.5, 1.0],
    transforms={
        "h": {"_target_": "albumentations.HorizontalFlip", "p": 0.5},
        "noise": {"_target_": "albumentations.GaussNoise", "p": 0.5},
    },
)


@pytest.fixture
def dataset(prepared) -> ImageDataset:
    return ImageDataset(prepared(num=44), "train", PreprocessSpec(16), AUGMENT, 1, 2)  # 40 of training


def _same(one: list, other: list) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in ("image", "noise", "index")
    )


def _indices(batches: list) -> list[int]:
    return [index for batch in batches for index in batch["index"].tolist()]


def test_the_stream_is_the_same_at_any_worker_count(dataset) -> None:
    loaders = [Loader(dataset, 8, True, True, 7, workers) for workers in (0, 1, 4)]
    epochs = []
    for epoch in range(2):
        streams = []
        for loader in loaders:
            loader.set_epoch(epoch)
            streams.append(list(loader))
        assert _same(streams[0], streams[1]) and _same(streams[0], streams[2])
        epochs.append(streams[0])
    assert not _same(*epochs)
    first, second = (sorted(_indices(batches)) for batches in epochs)
    assert first == second == sorted(dataset.indices.tolist())


def test_length_and_the_partial_batch() -> None:
    assert [num_batches(40, 16, drop) for drop in (True, False)] == [2, 3]
    assert [num_batches(10, 16, drop) for drop in (True, False)] == [1, 1]  # the only one is kept
    assert num_batches(0, 16, False) == num_batches(0, 16, True) == 0


def test_length_is_what_comes(dataset) -> None:
    for batch_size in (7, 40, 100):
        for drop_last in (True, False):
            loader = Loader(dataset, batch_size, False, drop_last, 1, 2)
            sizes = [len(batch["label"]) for batch in loader]
            assert len(sizes) == len(loader)
            assert sum(sizes) == (35 if batch_size == 7 and drop_last else 40)


def test_without_shuffling_the_order_is_the_manifests(dataset) -> None:
    assert _indices(list(Loader(dataset, 16, False, False, 1, 2))) == dataset.indices.tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_goes_on_where_another_stopped(dataset, workers) -> None:
    whole = Loader(dataset, 8, True, True, 7, workers)
    whole.set_epoch(3)
    expected = list(whole)
    stopped = Loader(dataset, 8, True, True, 7, workers)
    stopped.set_epoch(3)
    iterator = iter(stopped)
    first = [next(iterator), next(iterator)]
    state = stopped.state_dict()
    assert state == {"epoch": 3, "batches": 2}
    resumed = Loader(dataset, 8, True, True, 7, 1)
    resumed.load_state_dict(state)
    resumed.set_epoch(3)  # as Lightning does
    assert _same(first + list(resumed), expected)
    assert resumed.state_dict() == {"epoch": 3, "batches": 5}
    # Only the first iteration leaves anything out.
    assert len(list(resumed)) == 5


def test_after_a_whole_epoch_the_next_one_begins(dataset) -> None:
    loader = Loader(dataset, 8, True, True, 7)
    list(loader)
    resumed = Loader(dataset, 8, True, True, 7)
    resumed.load_state_dict(loader.state_dict())
    assert resumed.state_dict() == {"epoch": 1, "batches": 0}
    loader.set_epoch(1)
    assert _same(list(resumed), list(loader))


@pytest.mark.parametrize(
    ("num", "batch_size", "world_size"), [(40, 4, 3), (37, 4, 3), (2, 4, 3), (40, 10, 4), (13, 1, 5)]
)
def test_ranks_take_each_image_once(num, batch_size, world_size) -> None:
    order = epoch_order(num, 1, 0, True)
    steps = num_batches(num, batch_size, False, world_size)
    seen = []
    for number in range(steps):
        parts = [shard(order, number, batch_size, rank, world_size) for rank in range(world_size)]
        assert len({len(part) for part in parts}) == 1
        joined = np.concatenate(parts)
        # What all ranks do together is the step of one process with a batch as large.
        together = order[number * batch_size * world_size : (number + 1) * batch_size * world_size]
        np.testing.assert_array_equal(joined[joined >= 0], together)
        seen += joined[joined >= 0].tolist()
    assert sorted(seen) == list(range(num))


def test_padding_has_no_weight(dataset) -> None:
    loaders = [Loader(dataset, 9, False, False, 1, 0, rank, 2) for rank in range(2)]  # 40 = 2 x 18 + 4
    batches = [list(loader) for loader in loaders]
    assert [len(one) for one in batches] == [3, 3]
    assert sum(float(batch["weight"].sum()) for one in batches for batch in one) == 40
    loaders = [Loader(dataset, 9, False, False, 1, 0, rank, 3) for rank in range(3)]  # 40 = 27 + 13: 5, 5, 3 and 2
    last = [list(loader)[-1] for loader in loaders]
    assert [batch["weight"].tolist() for batch in last] == [[1] * 5, [1] * 5, [1, 1, 1, 0, 0]]
    assert last[2]["index"].tolist()[3:] == [-1, -1]


def test_weighted_drawing_follows_the_weights() -> None:
    weights = np.array([0.0, 1.0, 3.0, 0.0])
    drawn = epoch_order(4, 1, 0, True, weights)
    np.testing.assert_array_equal(drawn, epoch_order(4, 1, 0, True, weights))
    many = np.concatenate([epoch_order(4, 1, epoch, True, weights) for epoch in range(1000)])
    counts = np.bincount(many, minlength=4)
    assert counts[0] == counts[3] == 0
    assert abs(counts[2] / 4000 - 0.75) < 0.035  # five standard errors


def test_weights_that_do_not_fit_are_refused(dataset) -> None:
    for weights in (np.ones(3), np.zeros(40), -np.ones(40), np.full(40, np.nan)):
        with pytest.raises(UserError, match="sample weights"):
            Loader(dataset, 8, True, True, 1, weights=weights)
    weights = np.zeros(40)
    weights[3] = 1.0
    assert set(_indices(list(Loader(dataset, 8, True, True, 1, weights=weights)))) == {int(dataset.indices[3])}


def test_stopping_early_leaves_no_thread(dataset) -> None:
    iterator = iter(Loader(dataset, 4, True, True, 1, 3))
    next(iterator)
    iterator.close()
    for thread in threading.enumerate():
        if thread.name.startswith("loader"):
            thread.join(timeout=30)
    assert not any(thread.name.startswith("loader") for thread in threading.enumerate())


def test_workers_leave_torchs_threads_as_they_were(dataset) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        for _ in range(5):  # workers that start at once must not take each other's number for the one to restore
            list(Loader(dataset, 2, True, True, 1, 8))
        found = [torch.get_num_threads()]
        thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert found == [3, 3]
    finally:
        torch.set_num_threads(before)


def test_an_error_of_a_worker_is_raised(dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "batch", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(Loader(dataset, 8, True, True, 1, 2))
