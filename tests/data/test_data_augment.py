"""If these fail, images are augmented alike, differently at another worker count, or not as the configuration says."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from evensight.config import AugmentConfig
from evensight.data.augment import NUM_CROP_DRAWS, Augment, crop_box, sample_keys, uniforms
from evensight.errors import UserError

HORIZONTAL = {"_target_": "albumentations.HorizontalFlip", "p": 0.5}
VERTICAL = {"_target_": "albumentations.VerticalFlip", "p": 0.5}


def _keys(num: int, seed: int = 1, epoch: int = 0) -> np.ndarray:
    return sample_keys(seed, epoch, np.arange(num))


def test_keys_differ_in_each_part() -> None:
    indices = np.arange(1000)
    keys = np.concatenate([sample_keys(seed, epoch, indices) for seed in range(5) for epoch in range(5)])
    assert len(np.unique(keys)) == 25_000
    np.testing.assert_array_equal(sample_keys(3, 2, indices[5:7]), sample_keys(3, 2, indices)[5:7])


def test_uniforms_are_uniform_and_independent() -> None:
    draws = uniforms(_keys(20_000), 4)
    assert draws.dtype == np.float32 and draws.min() >= 0 and draws.max() < 1
    # Standard errors of mean, variance and correlation at n = 20,000: .002, .0005, .007; five of each.
    np.testing.assert_allclose(draws.mean(axis=0), 1 / 2, atol=0.01)
    np.testing.assert_allclose(draws.var(axis=0), 1 / 12, atol=0.003)
    assert np.abs(np.corrcoef(draws.T) - np.eye(4)).max() < 0.035
    assert np.abs(np.corrcoef(draws[:, 0], uniforms(_keys(20_000), 4, stream=1)[:, 0])[0, 1]) < 0.035
    assert np.abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.035
    assert uniforms(_keys(3), 0).shape == (3, 0)


def test_crops_have_the_share_and_shape_asked_for() -> None:
    draws = uniforms(_keys(500), NUM_CROP_DRAWS)
    shares, shapes = [], []
    for row in draws:
        top, left, height, width = crop_box(300, 400, (0.2, 0.5), (0.75, 4 / 3), row)
        assert 0 <= top <= 300 - height and 0 <= left <= 400 - width
        shares.append(height * width / 120_000)
        shapes.append(width / height)
    # Rounding to whole pixels moves a share by under 1 %.
    assert 0.195 < min(shares) < 0.22 and 0.48 < max(shares) < 0.505 and abs(np.mean(shares) - 0.35) < 0.02
    assert 0.74 < min(shapes) < 0.8 and 1.25 < max(shapes) < 1.35 and abs(np.mean(np.log(shapes))) < 0.05


def test_a_shape_that_cannot_fit_takes_the_middle() -> None:
    draws = uniforms(_keys(1), NUM_CROP_DRAWS)[0]
    assert crop_box(10, 1000, (1.0, 1.0), (0.75, 4 / 3), draws) == (0, (1000 - 13) // 2, 10, 13)
    assert crop_box(1, 1, (0.1, 0.2), (0.75, 4 / 3), draws) == (0, 0, 1, 1)


def test_flips_are_independent_and_even() -> None:
    augment = Augment(AugmentConfig(transforms={"h": HORIZONTAL, "v": VERTICAL}), 2)
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    options = {
        image.tobytes(): 0,
        image[:, ::-1].tobytes(): 1,
        image[::-1].tobytes(): 2,
        image[::-1, ::-1].tobytes(): 3,
    }
    counts = np.zeros(4)
    for key in _keys(2000):
        counts[options[augment(key, image, None, None)[0].tobytes()]] += 1
    # 500 each, standard deviation 19.
    assert np.abs(counts - 500).max() < 100


def test_the_same_key_gives_the_same_image_in_any_thread() -> None:
    config = AugmentConfig(
        transforms={
            "flip": HORIZONTAL,
            "affine": {"_target_": "albumentations.Affine", "rotate": [-30, 30], "scale": [0.8, 1.2], "p": 0.9},
            "colour": {"_target_": "albumentations.ColorJitter", "p": 0.9},
            "noise": {"_target_": "albumentations.GaussNoise", "p": 0.9},
            "one": {
                "_target_": "albumentations.OneOf",
                "transforms": [{"_target_": "albumentations.Blur"}, {"_target_": "albumentations.ToGray"}],
            },
        }
    )
    augment = Augment(config, 16)
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    before = image.copy()
    keys = _keys(120)
    alone = [augment(key, image, None, None)[0].tobytes() for key in keys]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda key: augment(key, image, None, None)[0].tobytes(), keys[::-1]))
    assert alone == together[::-1]
    assert len(set(alone)) > 110
    np.testing.assert_array_equal(image, before)


def test_masks_and_boxes_move_with_the_image() -> None:
    augment = Augment(AugmentConfig(transforms={"h": {**HORIZONTAL, "p": 1.0}}), 8, boxes=True)
    image = np.zeros((8, 8, 3), np.uint8)
    image[1:3, 0:4] = 255
    moved, mask, box = augment(_keys(1)[0], image, image[..., 0], np.array([0, 1, 4, 3], np.float32))
    expected = image[:, ::-1]
    np.testing.assert_array_equal(moved, expected)
    np.testing.assert_array_equal(mask, expected[..., 0])
    np.testing.assert_allclose(box, [4, 1, 8, 3], atol=1e-5)


def test_a_box_that_left_the_image_or_is_unknown_is_zeros() -> None:
    shift = {"_target_": "albumentations.Affine", "translate_px": {"x": 6, "y": 0}, "p": 1.0}
    augment = Augment(AugmentConfig(transforms={"shift": shift}), 8, boxes=True)
    image = np.zeros((8, 8, 3), np.uint8)
    for box in ([4, 1, 8, 3], [0, 0, 0, 0]):
        assert not augment(_keys(1)[0], image, None, np.array(box, np.float32))[2].any()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"crop_scale": [0.0, 1.0]}, "augment.crop_scale"),
        ({"crop_scale": [0.5, 1.1]}, "augment.crop_scale"),
        ({"crop_scale": [1.0, 0.5]}, "augment.crop_scale"),
        ({"crop_ratio": [0.5]}, "augment.crop_ratio"),
        ({"transforms": {"h": {"_target_": "albumentations.HorizontalFlop"}}}, "Did you mean"),
        ({"transforms": {"h": {"_target_": "torch.nn.ReLU"}}}, "augment.transforms.h"),
        ({"transforms": {"h": 3}}, "augment.transforms.h"),
    ],
)
def test_mistakes_are_one_sentence(keys: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Augment(AugmentConfig(**keys), 8)


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "albumentations.CenterCrop", "height": 4, "width": 4},
        {"_target_": "albumentations.ToFloat", "p": 1.0},
    ],
)
def test_a_transform_that_changes_size_or_type_is_refused(node: dict) -> None:
    augment = Augment(AugmentConfig(transforms={"t": node}), 8)
    with pytest.raises(UserError, match=r"augment\.transforms"):
        augment(_keys(1)[0], np.zeros((8, 8, 3), np.uint8), None, None)
