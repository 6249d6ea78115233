"""What one image is beside what it shows: a wrong figure here is a wrong association in the audit."""

from __future__ import annotations

import io
import itertools
import struct
import sys
from pathlib import Path

import cv2
import hypothesis
import numpy as np
import polars as pl
import pytest
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage, stats

from evensight.audit.properties import COLUMNS, exif, extension_format, header, image_properties, statistics, table
from evensight.runtime.decode import DecodeError, decode_array

sys.path.append(str(Path(__file__).parent.parent / "data"))
from broken_files import any_bytes, image_files


def noise(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def measured(content: bytes, path: str = "a/b.jpg") -> dict:
    return image_properties(content, decode_array(content), path)


@pytest.mark.parametrize("quality", [1, 2, 10, 37, 49, 50, 51, 75, 90, 95, 99, 100])
def test_jpeg_quality_is_the_one_it_was_saved_with(quality: int) -> None:
    assert measured(saved(Image.fromarray(noise()), "JPEG", quality=quality))["jpeg_quality"] == quality


@pytest.mark.parametrize(
    ("image", "kind", "options", "mode"),
    [
        (Image.fromarray(noise()), "PNG", {}, "RGB"),
        (Image.fromarray(noise()).convert("L"), "PNG", {}, "L"),
        (Image.fromarray(noise()).convert("1"), "PNG", {}, "1"),
        (Image.fromarray(noise()).quantize(9), "PNG", {}, "P"),
        (Image.fromarray(noise()).convert("RGBA"), "PNG", {}, "RGBA"),
        (Image.fromarray(noise()).convert("CMYK"), "JPEG", {}, "CMYK"),
        (Image.fromarray(noise()[..., 0].astype(np.uint16) * 257), "PNG", {}, "I;16"),
        (Image.fromarray(noise()[..., 0].astype(np.float32) / 255), "TIFF", {}, "F"),
    ],
)
def test_format_and_mode(image: Image.Image, kind: str, options: dict, mode: str) -> None:
    found = measured(saved(image, kind, **options))
    assert (found["format"], found["mode"], found["frames"]) == (kind, mode, 1)
    assert (found["width"], found["height"], found["aspect"]) == (60, 40, 1.5)
    assert found["jpeg_quality"] is None or kind == "JPEG"


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_frames(kind: str) -> None:
    frames = [Image.fromarray(noise(seed=seed)) for seed in range(3)]
    assert measured(saved(frames[0], kind, save_all=True, append_images=frames[1:]))["frames"] == 3


def test_many_frames_of_a_large_file_are_not_counted() -> None:
    frames = [Image.fromarray(noise(1200, 1200, seed)) for seed in range(4)]
    content = saved(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert len(content) > 4 * 2**20
    assert header(content)["frames"] == 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif(kind: str) -> None:
    written = Image.Exif()
    written[0x010F], written[0x0110], written[0x0112], written[0x0131] = "Canon", "EOS 5D", 6, "Darkroom 3"
    if kind == "TIFF":  # Pillow writes no second directory there
        written[0x0132] = "2019:08:07 06:05:04"
    else:
        written[0x0132], written.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00", "2019:08:07 06:05:04"
    found = measured(saved(Image.fromarray(noise()), kind, exif=written))
    assert (found["camera"], found["software"], found["orientation"]) == ("Canon EOS 5D", "Darkroom 3", 6)
    assert found["taken"] == "2019-08-07T06:05:04"
    assert (found["width"], found["height"]) == (40, 60)


def test_make_that_the_model_repeats_is_said_once() -> None:
    written = Image.Exif()
    written[0x010F], written[0x0110] = "NIKON", "NIKON D70"
    assert measured(saved(Image.fromarray(noise()), "JPEG", exif=written))["camera"] == "NIKON D70"


def test_exif_text_is_cut_and_does_not_print_control_codes() -> None:
    written = Image.Exif()
    written[0x0110], written[0x0131] = "x" * 5000, "\x1b[31mred\nline"
    found = measured(saved(Image.fromarray(noise()), "JPEG", exif=written))
    assert found["camera"] == "x" * 64
    assert found["software"] == "\\x1b[31mred\\nline"


@pytest.mark.parametrize("date", ["0000:00:00 00:00:00", "2019:13:01 00:00:00", "yesterday", ""])
def test_dates_that_are_none(date: str) -> None:
    written = Image.Exif()
    written[0x0132] = date
    assert measured(saved(Image.fromarray(noise()), "JPEG", exif=written))["taken"] is None


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif\0\0",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\xff\xff",
        b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x8769, 4, 1, 8),  # a directory that points to itself
        b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x0110, 2, 2**32 - 1, 2**32 - 1),
    ],
)
def test_broken_exif_says_nothing(block: bytes) -> None:
    assert not any(exif(block).values())


@hypothesis.given(st.binary(max_size=300))
def test_no_exif_block_raises(block: bytes) -> None:
    exif(b"II*\0\x08\0\0\0" + block)
    exif(b"MM\0*\0\0\0\x08" + block)


@hypothesis.settings(max_examples=150)
@hypothesis.given(any_bytes(image_files()))
def test_no_file_raises(content: bytes) -> None:
    """What Pillow opens has a header that is read, whatever was done to it; the table takes every value."""
    try:
        pixels = decode_array(content, max_pixels=100_000)
    except DecodeError:
        pixels = noise(4, 4)
    found = image_properties(content, pixels, "a.png")
    assert table([found, None]).schema == pl.Schema(COLUMNS)


@pytest.mark.parametrize(
    ("path", "claimed"),
    [
        ("a.JPG", "JPEG"),
        ("a.b/c.jpeg", "JPEG"),
        ("x.tif", "TIFF"),
        ("x.pgm", "PPM"),
        ("noending", None),
        ("a.jpg/x", None),
        ("images.npy#3", None),
        ("pictures.npz:member.png#3", None),
    ],
)
def test_extension(path: str, claimed: str | None) -> None:
    assert extension_format(path) == claimed


def test_rows_of_arrays_have_no_file() -> None:
    found = image_properties(noise(), noise(), "images.npy#3")
    assert found["format"] == "array"
    assert [found[name] for name in ("extension_format", "mode", "file_bytes", "jpeg_quality", "camera")] == [None] * 5


def test_statistics_of_a_small_image_by_scipy() -> None:
    """At most 128 pixels: nothing is reduced, so each figure has a plain definition."""
    pixels = noise(50, 70)
    pixels[:20] = 0
    pixels[20:30] = 255
    luma = np.array(Image.fromarray(pixels).convert("L"))  # Pillow's Rec. 601, within one grey level of OpenCV's
    found = statistics(pixels)
    assert found["brightness"] == pytest.approx(luma.mean() / 255, abs=1e-3)
    assert found["contrast"] == pytest.approx(luma.std() / 255, abs=1e-3)
    assert found["dark"] == pytest.approx((luma <= 5).mean(), abs=2e-3)
    assert found["bright"] == pytest.approx((luma >= 250).mean(), abs=2e-3)
    assert found["entropy"] == pytest.approx(stats.entropy(np.bincount(luma.ravel()), base=2), abs=0.05)
    laplacian = ndimage.laplace(luma.astype(float), mode="mirror")
    assert found["sharpness"] == pytest.approx(laplacian.var() / luma.var(), rel=0.01)
    assert found["luma_low"] == pytest.approx(np.quantile(luma, 0.05, method="inverted_cdf") / 255, abs=0.005)
    assert found["luma_high"] == pytest.approx(np.quantile(luma, 0.95, method="inverted_cdf") / 255, abs=0.005)
    assert found["span"] == 1.0
    assert found["greyscale"] is False


def test_a_gradient_is_no_blur() -> None:
    """A diver in open water: nearly all variance is the water's, and the diver is sharp."""
    water = np.linspace(0, 200, 96)[:, None, None] * np.ones((1, 128, 3))
    water[40:60, 50:70] = noise(20, 20)
    sharp = water.astype(np.uint8)
    assert statistics(sharp)["detail"] > 0.3
    assert statistics(cv2.GaussianBlur(sharp, (0, 0), 2))["detail"] < 0.13


def test_sharpness_falls_with_blur_whatever_the_resolution() -> None:
    blurred = [cv2.GaussianBlur(noise(128, 128).astype(float), (0, 0), sigma) for sigma in (0.5, 1, 2, 4)]
    stretched = [cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8) for image in blurred]
    found = [statistics(image)["sharpness"] for image in stretched]
    assert all(2 * after < before for before, after in itertools.pairwise(found))
    details = [statistics(image)["detail"] for image in stretched]
    assert sorted(details, reverse=True) == details
    large = cv2.resize(stretched[2], (1280, 1280), interpolation=cv2.INTER_CUBIC)
    assert statistics(large)["sharpness"] == pytest.approx(found[2], rel=0.1)


@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (1, 20_000, 3), (20_000, 1, 3), (2, 5000, 3), (129, 127, 3), (3000, 2000, 3)]
)
def test_any_size(shape: tuple[int, int, int]) -> None:
    found = statistics(np.full(shape, 77, np.uint8))
    assert found["brightness"] == pytest.approx(77 / 255)
    assert (found["span"], found["entropy"], found["sharpness"], found["greyscale"]) == (0, 0, None, True)


def test_colours_of_one_luma_are_not_blank() -> None:
    pixels = np.zeros((10, 10, 3), np.uint8)
    pixels[:5, :, 0], pixels[5:, :, 1] = 100, 51  # .299 x 100 = .587 x 51
    assert statistics(pixels)["span"] == pytest.approx(100 / 255)


def test_one_coloured_pixel_is_not_grey() -> None:
    pixels = np.repeat(noise(700, 900)[..., :1], 3, axis=2)
    assert statistics(pixels)["greyscale"] is True
    pixels[333, 555, 0] ^= 1
    assert statistics(pixels)["greyscale"] is False


def test_luma_at_hand_gives_the_same() -> None:
    content = saved(Image.fromarray(noise(300, 200)), "JPEG")
    pixels = decode_array(content)
    luma = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    assert image_properties(content, pixels, "a.jpg", luma) == image_properties(content, pixels, "a.jpg")
