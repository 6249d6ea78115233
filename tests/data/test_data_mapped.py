"""One pass over a split: if this fails, what is fitted before an export depends on cores, or on images left out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from evensight.config import DataConfig
from evensight.data.dataset import plain_images
from evensight.data.manifest import Manifest
from evensight.data.mapped import mapped
from evensight.runtime.preprocess import PreprocessSpec


def asked(manifest: Manifest, batch_size: int, most: int | None = None, seed: int = 0) -> list[list[int]]:
    images = plain_images(manifest, "train", PreprocessSpec(8), DataConfig())
    return mapped(images, lambda batch: batch["index"].tolist(), batch_size, most, seed)


def test_every_usable_image_once_in_order(prepared: Callable[..., Manifest]) -> None:
    manifest = prepared(num=24, broken=(3,))
    rows = manifest.split("train")
    usable = rows.filter(rows["error"].is_null())["index"].to_list()
    assert len(usable) < len(rows)
    found = asked(manifest, 7)
    assert [len(part) for part in found[:-1]] == [7] * (len(found) - 1)
    assert [index for part in found for index in part] == usable
    assert asked(manifest, 7, most=len(usable)) == found


def test_a_draw_follows_from_its_seed_and_not_from_the_batches(prepared: Callable[..., Manifest]) -> None:
    manifest = prepared(num=24)
    drawn = [index for part in asked(manifest, 4, most=10) for index in part]
    assert len(set(drawn)) == 10
    assert drawn == sorted(drawn)
    assert [index for part in asked(manifest, 3, most=10) for index in part] == drawn
    assert [index for part in asked(manifest, 4, most=10, seed=1) for index in part] != drawn


def test_no_gradients_and_a_torch_of_one_thread(prepared: Callable[..., Manifest]) -> None:
    images = plain_images(prepared(num=24), "train", PreprocessSpec(8), DataConfig())
    found = mapped(images, lambda batch: (torch.is_inference_mode_enabled(), torch.get_num_threads()), 4)
    assert set(found) == {(True, 1)}


def test_what_goes_wrong_in_a_thread_is_heard(prepared: Callable[..., Manifest]) -> None:
    images = plain_images(prepared(num=24), "train", PreprocessSpec(8), DataConfig())
    with pytest.raises(ZeroDivisionError):
        mapped(images, lambda batch: 1 // 0, 4)
