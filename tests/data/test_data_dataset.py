"""If these fail, a batch holds other pixels, labels or weights than the manifest and the runtime say."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evensight.config import AugmentConfig
from evensight.data.dataset import ImageDataset, box_in
from evensight.errors import UserError
from evensight.runtime.decode import decode
from evensight.runtime.preprocess import Preprocess, PreprocessSpec

FLIPS = AugmentConfig(
    transforms={
        "h": {"_target_": "albumentations.HorizontalFlip", "p": 0.5},
        "v": {"_target_": "albumentations.VerticalFlip", "p": 0.5},
    }
)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (20, 33), (41, 12)])
@pytest.mark.parametrize("crop_ratio", [1.0, 0.8])
@pytest.mark.parametrize("cache_mb", [0, 16])
def test_evaluation_sees_what_the_runtime_makes_of_the_file(prepared, height, width, crop_ratio, cache_mb) -> None:
    manifest = prepared(height=height, width=width)
    dataset = ImageDataset(manifest, "train", PreprocessSpec(16, crop_ratio), None, 1, cache_mb=cache_mb)
    for _ in range(2):  # the second time from the cache
        batch = dataset.batch(0, np.arange(len(dataset)))
        for i, row in enumerate(manifest.split("train").iter_rows(named=True)):
            expected = Preprocess(16, crop_ratio)(decode(manifest.root / row["path"]))
            assert torch.equal(batch["image"][i], expected)


def test_the_batch_is_the_contract(prepared) -> None:
    manifest = prepared()
    dataset = ImageDataset(manifest, "train", PreprocessSpec(16), FLIPS, 1, noise_size=3)
    batch = dataset.batch(0, np.array([4, 0, -1]))
    assert sorted(batch) == ["attributes", "extra", "image", "index", "label", "noise", "target", "weight"]
    assert batch["image"].dtype == torch.uint8 and batch["image"].shape == (3, 3, 16, 16)
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)
    rows = manifest.split("train")
    names = [manifest.classes[i] for i in batch["label"][:2].tolist()]
    assert names == [rows["label"][4], rows["label"][0]] == ["b", "a"]
    assert batch["target"].tolist() == [[0, 1, 0], [1, 0, 0], [1, 0, 0]] and batch["target"].dtype == torch.float32
    level = manifest.levels["colour"].index("red")
    assert batch["attributes"].tolist() == [[-1], [level], [-1]] and batch["attributes"].dtype == torch.int64
    assert batch["weight"].tolist() == [1, 1, 0] and batch["weight"].dtype == torch.float32
    assert batch["index"].tolist() == [rows["index"][4], rows["index"][0], -1]
    assert batch["noise"].shape == (3, 3) and batch["noise"].dtype == torch.float32
    assert batch["extra"] == {}


def test_a_sample_is_a_row_of_any_batch(prepared) -> None:
    dataset = ImageDataset(prepared(masks=True), "train", PreprocessSpec(8), FLIPS, 1, 2, extra=("mask", "size"))
    batch = dataset.batch(3, np.array([7, 2, 5]))
    sample = dataset.sample(3, 2)
    for name in ("image", "label", "target", "attributes", "weight", "noise", "index"):
        assert torch.equal(sample[name], batch[name][1]), name
    for name in ("mask", "size"):
        assert torch.equal(sample["extra"][name], batch["extra"][name][1]), name


def test_epochs_and_seeds_differ_and_evaluation_does_not(prepared) -> None:
    manifest = prepared()
    positions = np.arange(20)
    trained = [ImageDataset(manifest, "train", PreprocessSpec(16), FLIPS, seed, 2) for seed in (1, 1, 2)]
    first, again = (one.batch(0, positions) for one in trained[:2])
    assert torch.equal(first["image"], again["image"]) and torch.equal(first["noise"], again["noise"])
    for other in (trained[0].batch(1, positions), trained[2].batch(0, positions)):
        assert not torch.equal(first["image"], other["image"]) and not torch.equal(first["noise"], other["noise"])
    plain = ImageDataset(manifest, "train", PreprocessSpec(16), None, 1)
    assert torch.equal(plain.batch(0, positions)["image"], plain.batch(1, positions)["image"])


@pytest.mark.parametrize("cache_mb", [0, 16])
def test_a_random_crop_is_a_part_of_the_image_by_the_runtimes_resize(prepared, cache_mb) -> None:
    from evensight.data.augment import sample_keys
    from evensight.runtime.preprocess import resize

    manifest = prepared(height=30, width=50)
    dataset = ImageDataset(
        manifest, "train", PreprocessSpec(16), AugmentConfig(crop_scale=[0.3, 0.6]), 1, cache_mb=cache_mb
    )
    batch = dataset.batch(2, np.arange(10))
    for i, row in enumerate(manifest.split("train").head(10).iter_rows(named=True)):
        top, left, height, width = dataset.augment.crop(sample_keys(1, 2, np.array([row["index"]]))[0], 30, 50)
        part = decode(manifest.root / row["path"])[:, top : top + height, left : left + width]
        assert torch.equal(batch["image"][i], resize(part[None], 16)[0])


def test_masks_boxes_and_sizes_follow_the_crop(prepared) -> None:
    manifest = prepared(height=20, width=40, masks=True)
    dataset = ImageDataset(manifest, "train", PreprocessSpec(10), None, 1, extra=("mask", "box", "size"))
    extra = dataset.batch(0, np.array([0, -1]))["extra"]
    # The square is columns 10 to 30; the object, columns 0 to 20, is its left half.
    assert extra["mask"].shape == (2, 1, 10, 10) and extra["mask"].dtype == torch.uint8
    assert bool((extra["mask"][0, 0, :, :4] == 255).all()) and bool((extra["mask"][0, 0, :, 6:] == 0).all())
    assert extra["box"].tolist() == [[0, 0, 5, 10], [0, 0, 0, 0]]
    assert extra["size"].tolist() == [[20, 40], [0, 0]]


def test_masks_and_boxes_turn_with_the_image(prepared) -> None:
    flip = AugmentConfig(transforms={"h": {"_target_": "albumentations.HorizontalFlip", "p": 1.0}})
    dataset = ImageDataset(prepared(masks=True), "train", PreprocessSpec(16), flip, 1, extra=("mask", "box"))
    extra = dataset.batch(0, np.array([0]))["extra"]
    assert bool((extra["mask"][0, 0, :, 8:] == 255).all()) and bool((extra["mask"][0, 0, :, :8] == 0).all())
    np.testing.assert_allclose(extra["box"].numpy(), [[8, 0, 16, 16]], atol=1e-4)


def test_box_in_a_window() -> None:
    box = np.array([10.0, 10.0, 30.0, 20.0])
    np.testing.assert_allclose(box_in(box, (20, 0, 20, 20), 10), [0, 5, 5, 10])
    np.testing.assert_allclose(box_in(box, (0, 0, 40, 20), 20), [5, 10, 15, 20])
    assert not box_in(box, (31, 0, 5, 5), 10).any()
    assert not box_in(np.zeros(4), (0, 0, 5, 5), 10).any()


def test_extra_that_is_not_known_is_refused(prepared) -> None:
    for name in ("mask", "box"):
        with pytest.raises(UserError, match=name):
            ImageDataset(prepared(), "train", PreprocessSpec(16), None, 1, extra=(name,))
    with pytest.raises(UserError, match="mask"):
        ImageDataset(prepared(), "train", PreprocessSpec(16), None, 1, extra=("musk",))


def test_a_file_that_breaks_later_counts_nowhere(prepared, caplog: pytest.LogCaptureFixture) -> None:
    manifest = prepared()
    paths = [manifest.root / path for path in manifest.split("train")["path"]]
    dataset = ImageDataset(manifest, "train", PreprocessSpec(16), FLIPS, 1)
    paths[2].unlink()
    paths[5].write_bytes(paths[5].read_bytes()[:200])
    with caplog.at_level(logging.WARNING):
        for epoch in range(2):
            batch = dataset.batch(epoch, np.arange(8))
            assert batch["weight"].tolist() == [1, 1, 0, 1, 1, 0, 1, 1]
            # No black square, which would enter batch statistics.
            assert torch.equal(batch["image"][2], batch["image"][0])
    assert sorted(dataset.failures) == [2, 5]
    assert dataset.failures[2].startswith("unreadable") and dataset.failures[5].startswith("corrupt")
    for path in (paths[2].name, paths[5].name):
        assert caplog.text.count(f"{path}: ") == 1


def test_all_images_broken_is_weight_zero(prepared) -> None:
    manifest = prepared()
    dataset = ImageDataset(manifest, "validation", PreprocessSpec(16), None, 1)
    for path in manifest.split("validation")["path"]:
        (manifest.root / path).unlink()
    assert dataset.batch(0, np.arange(2))["weight"].tolist() == [0, 0]


def test_rows_in_error_at_preparation_are_not_tried_again(prepared, caplog: pytest.LogCaptureFixture) -> None:
    manifest = prepared(broken=(3,))
    dataset = ImageDataset(manifest, "train", PreprocessSpec(16), None, 1)
    position = manifest.split("train")["path"].to_list().index("3.png")
    caplog.clear()
    weight = dataset.batch(0, np.arange(len(dataset)))["weight"]
    assert weight[position] == 0 and weight.sum() == len(dataset) - 1
    assert dataset.failures == {} and caplog.text == ""


def test_a_broken_mask_is_a_broken_image(prepared) -> None:
    manifest = prepared(masks=True)
    dataset = ImageDataset(manifest, "train", PreprocessSpec(16), None, 1, extra=("mask",))
    (manifest.root / "mask_1.png").write_bytes(b"no mask")
    assert dataset.batch(0, np.arange(3))["weight"].tolist() == [1, 0, 1]


def test_the_cache_is_read_once_and_only_where_all_fits(prepared, tmp_path: Path) -> None:
    manifest = prepared(height=600, width=600)
    for cache_mb, kept in ((1, False), (40, True)):  # 20 images of 1.03 MiB
        crop = ImageDataset(manifest, "train", PreprocessSpec(16), AugmentConfig(crop_scale=[0.5, 1.0]), 1, 0, cache_mb)
        square = ImageDataset(manifest, "train", PreprocessSpec(16), FLIPS, 1, 0, cache_mb)
        assert crop.originals.kept is kept
        assert square.originals.kept  # 20 x 768 bytes
    first = [one.batch(0, np.arange(20))["image"] for one in (crop, square)]
    for path in manifest.split("train")["path"]:
        (manifest.root / path).unlink()
    for one, before in zip((crop, square), first, strict=True):
        assert torch.equal(one.batch(0, np.arange(20))["image"], before)


def test_an_image_that_was_changed_after_it_was_prepared_counts_nowhere(prepared) -> None:
    manifest = prepared()
    paths = [manifest.root / path for path in manifest.split("train")["path"]]
    dataset = ImageDataset(manifest, "train", PreprocessSpec(16), FLIPS, 1)
    times = paths[1].stat()
    content = paths[2].read_bytes()
    # Another good image, with the time of the old one.
    Image.fromarray(np.full((16, 16, 3), 7, np.uint8)).save(paths[1])
    os.utime(paths[1], ns=(times.st_atime_ns, times.st_mtime_ns))
    paths[2].write_bytes(content)  # the same pixels at another time
    assert dataset.batch(0, np.arange(4))["weight"].tolist() == [1, 0, 1, 1]
    assert dataset.failures == {1: "changed: holds other pixels than when the data was prepared"}


def test_a_mask_of_another_size_breaks_its_image_alone(prepared) -> None:
    manifest = prepared(masks=True)
    dataset = ImageDataset(manifest, "train", PreprocessSpec(16), FLIPS, 1, extra=("mask",))
    Image.new("L", (9, 9)).save(manifest.root / manifest.split("train")["mask"][3])
    assert dataset.batch(0, np.arange(5))["weight"].tolist() == [1, 1, 1, 0, 1]
    assert dataset.failures[3].endswith("is [9, 9] and the image [16, 16]")
