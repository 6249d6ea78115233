"""One crop and one resize: the same bytes eager, scripted and exported, and close to Pillow's."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.export import Dim

from evensight.runtime import script
from evensight.runtime.preprocess import Preprocess, resize

SIZES = [(0, 50, 80), (1, 80, 50), (7, 64, 64), (2, 300, 211), (1, 2, 9), (3, 33, 33)]


def _images(num: int, height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (num, 3, height, width), generator=torch.manual_seed(0), dtype=torch.uint8)


class _Batch(nn.Module):
    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()
        self.preprocess = preprocess

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.preprocess.batch(images)


@pytest.mark.parametrize("crop_ratio", [1.0, 0.875])
def test_eager_script_and_export_agree(crop_ratio: float) -> None:
    preprocess = Preprocess(32, crop_ratio)
    scripted = script.script(preprocess)
    shapes = {"images": {0: Dim("n", min=0), 2: Dim("height"), 3: Dim("width")}}
    exported = torch.export.export(_Batch(preprocess), (_images(2, 50, 80),), dynamic_shapes=shapes).module()
    for num, height, width in SIZES:
        images = _images(num, height, width)
        expected = preprocess.batch(images)
        assert expected.shape == (num, 3, 32, 32) and expected.dtype == torch.uint8
        assert torch.equal(scripted.batch(images), expected)
        assert torch.equal(exported(images), expected)
        for image, one in zip(images, expected, strict=True):
            assert torch.equal(preprocess(image), one)
            assert torch.equal(scripted(image), one)


@pytest.mark.parametrize(("height", "width"), [(50, 80), (80, 50), (64, 64), (301, 200)])
def test_close_to_pillow(height: int, width: int) -> None:
    pixels = np.kron(np.random.default_rng(0).integers(0, 256, (8, 8, 3)), np.ones((50, 50, 1)))[:height, :width]
    pixels = pixels.astype(np.uint8)
    short = min(height, width)
    left, top = (width - short) // 2, (height - short) // 2
    square = Image.fromarray(pixels).crop((left, top, left + short, top + short))
    expected = np.asarray(square.resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
    ours = Preprocess(32)(torch.from_numpy(pixels).permute(2, 0, 1)).permute(1, 2, 0).numpy().astype(int)
    # Pillow rounds to uint8 after each of its two passes.
    assert np.abs(ours - expected).max() <= 1
    assert np.abs(ours - expected).mean() < 0.1


def test_crop_ratio_takes_the_middle() -> None:
    image = torch.zeros(3, 100, 160, dtype=torch.uint8)
    image[:, 25:75, 55:105] = 200
    assert bool((Preprocess(10, 0.5)(image) == 200).all())


@pytest.mark.parametrize("size", [1, 28, 64, 224])
def test_the_networks_own_size_is_left_as_it_is(size: int) -> None:
    # The dataset skips the resize of such images; this equality is what allows it.
    images = _images(3, size, size)
    assert torch.equal(Preprocess(size).batch(images), images)
    assert torch.equal(resize(images, size), images)


@pytest.mark.parametrize(("size", "crop_ratio"), [(0, 1.0), (8, 0.0), (8, 1.1), (8, -1.0)])
def test_values_out_of_range(size: int, crop_ratio: float) -> None:
    with pytest.raises(ValueError, match="is not allowed"):
        Preprocess(size, crop_ratio)
