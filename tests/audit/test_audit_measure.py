"""What one pass measures, against each part called by itself, whatever the batch."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from evensight.audit.measure import known_cues, measure_images
from evensight.cues import build_cue
from evensight.cues.regions import box_mask
from evensight.data.similar import hash_and_thumbnail
from evensight.errors import UserError


def images(num: int, height: int = 64, width: int = 64) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (num, 8, 8, 3), dtype=np.uint8)
    return [np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)) for pixels in small]


def test_each_figure_is_that_of_its_own_function() -> None:
    pixels = images(5)
    scores = measure_images(pixels)
    batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    for name in ("colour", "border", "texture"):
        assert np.array_equal(scores.features[name], build_cue(name).describe(batch, {}).numpy())
    for row, image in enumerate(pixels):
        hashed, thumbnail = hash_and_thumbnail(image)
        assert np.array_equal(scores.hashes[row], hashed)
        assert np.array_equal(scores.thumbnails[row], thumbnail)
    assert scores.properties["width"].to_list() == [64] * 5
    assert scores.measured.all()


def test_the_batch_changes_nothing() -> None:
    pixels = images(7, 40, 90)
    one, other = measure_images(pixels, batch_size=7), measure_images(pixels, batch_size=2)
    assert one.properties.equals(other.properties)
    assert all(np.array_equal(one.features[name], other.features[name]) for name in one.features)


def test_bytes_that_are_no_image_have_no_figures() -> None:
    stream = io.BytesIO()
    Image.fromarray(images(1)[0]).save(stream, "PNG")
    scores = measure_images([b"nothing", stream.getvalue()], paths=["a.png", "b.png"])
    assert scores.measured.tolist() == [False, True]
    assert not scores.features["colour"][0].any()
    assert scores.properties["format"].to_list() == [None, "PNG"]
    assert len(measure_images([]).measured) == 0


def test_background_stands_for_surround_where_a_mask_or_a_box_is_known() -> None:
    def listed(*known: str) -> list[str]:
        return [cue.name for cue in known_cues(known)]

    assert "surround" in listed()
    assert "background" not in listed()
    for known in ("mask", "box"):
        assert "background" in listed(known)
        assert "surround" not in listed(known)
    assert [cue.name for cue in known_cues((), ("surround", "colour"))] == ["surround", "colour"]
    with pytest.raises(UserError, match=r"audit.cues: 'color' is not known.*'colour'"):
        known_cues((), ("color",))


def test_a_box_is_the_mask_of_what_lies_in_it() -> None:
    pixels = images(2)
    boxes = np.array([[8.0, 16.0, 40.0, 56.0], [np.nan] * 4])
    boxes[1] = (0, 0, 0, 0)  # unknown
    found = measure_images(pixels, boxes=boxes, cues=["background"]).features["background"]
    mask = box_mask(torch.tensor(boxes, dtype=torch.float32), 64)
    batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    assert np.array_equal(found, build_cue("background").describe(batch, {"mask": mask}).numpy())
