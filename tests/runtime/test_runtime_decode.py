"""Each rule of the table in runtime/decode.py, with pixels worked out by hand."""

import io
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evensight.runtime.decode import FORMATS, DecodeError, decode, decode_array


def _file(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def _code(source: bytes | Path, **options) -> str:
    with pytest.raises(DecodeError) as caught:
        decode_array(source, **options)
    return caught.value.code


def test_rgb_comes_back_as_it_went_in(tmp_path: Path) -> None:
    pixels = _noise(5, 9)
    path = tmp_path / "a.png"
    path.write_bytes(_file(Image.fromarray(pixels)))
    for source in (path, path.read_bytes()):
        np.testing.assert_array_equal(decode_array(source), pixels)
        tensor = decode(source)
        assert tensor.dtype == torch.uint8 and tensor.shape == (3, 5, 9) and tensor.is_contiguous()
        np.testing.assert_array_equal(tensor.numpy(), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = _noise(4, 6)
    # EXIF 2.32: where the stored row 0 and column 0 lie in the upright image, undone with numpy.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = _file(Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    np.testing.assert_array_equal(decode_array(file), upright)


# Pillow says so in a warning, which only pytest turns into an error.
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_broken_exif_counts_as_none() -> None:
    file = _file(Image.fromarray(_noise(4, 6)), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert decode_array(file).shape == (4, 6, 3)


def test_alpha_is_composited_on_white() -> None:
    rgba = np.array([[[0, 100, 200, 0], [0, 100, 200, 255], [0, 100, 200, 51]]], dtype=np.uint8)
    # 51 / 255 = 1 / 5: a fifth of the colour and four fifths of 255.
    expected = np.array([[[255, 255, 255], [0, 100, 200], [204, 224, 244]]], dtype=np.uint8)
    np.testing.assert_array_equal(decode_array(_file(Image.fromarray(rgba))), expected)
    grey = np.array([[[100, 51]]], dtype=np.uint8)
    np.testing.assert_array_equal(decode_array(_file(Image.fromarray(grey, "LA"))), [[[224, 224, 224]]])


def test_palette_and_its_transparent_colour() -> None:
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    np.testing.assert_array_equal(decode_array(_file(image)), [[[10, 20, 30], [40, 50, 60]]])
    np.testing.assert_array_equal(decode_array(_file(image, transparency=0)), [[[255] * 3, [40, 50, 60]]])


def test_transparent_colour_of_rgb_and_grey() -> None:
    rgb = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8))
    np.testing.assert_array_equal(decode_array(_file(rgb, transparency=(1, 2, 3))), [[[255] * 3, [4, 5, 6]]])
    grey = Image.fromarray(np.array([[7, 8]], dtype=np.uint8))
    np.testing.assert_array_equal(decode_array(_file(grey, transparency=7)), [[[255] * 3, [8] * 3]])


def test_grey_and_one_bit() -> None:
    np.testing.assert_array_equal(decode_array(_file(Image.fromarray(np.array([[9]], dtype=np.uint8)))), [[[9] * 3]])
    bits = Image.fromarray(np.array([[False, True]]))
    np.testing.assert_array_equal(decode_array(_file(bits)), [[[0] * 3, [255] * 3]])


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_keeps_its_high_byte(format: str) -> None:
    values = np.array([[0, 127 * 257, 65535, 256]], dtype=np.uint16)  # 257 maps 8 bits onto 16
    decoded = decode_array(_file(Image.fromarray(values), format))
    np.testing.assert_array_equal(decoded[0, :, 0], [0, 127, 255, 1])


def test_16_bit_colour_keeps_its_high_byte() -> None:
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    row = b"\x00" + struct.pack(">HHH", 127 * 257, 200 * 257, 65535)
    file = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(decode_array(file), [[[127, 200, 255]]])


def test_float_tiff_is_scaled_or_refused() -> None:
    inside = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)
    np.testing.assert_array_equal(decode_array(_file(Image.fromarray(inside), "TIFF"))[0, :, 0], [0, 128, 255])
    for wrong in (1.5, -0.1, float("nan")):
        assert _code(_file(Image.fromarray(np.array([[wrong]], dtype=np.float32)), "TIFF")) == "range"


def test_32_bit_integers_have_no_rule() -> None:
    assert _code(_file(Image.fromarray(np.array([[7]], dtype=np.int32)), "TIFF")) == "mode"


def test_cmyk_is_converted() -> None:
    cmyk = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    decoded = decode_array(_file(cmyk, "TIFF"))
    np.testing.assert_array_equal(decoded[0, 0], [0, 255, 255])  # cyan


def test_first_frame_of_several() -> None:
    frames = [Image.new("RGB", (3, 3), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    for format in ("GIF", "TIFF", "PNG"):
        file = _file(frames[0], format, save_all=True, append_images=frames[1:])
        np.testing.assert_array_equal(decode_array(file)[0, 0], [255, 0, 0])


def test_other_formats_are_not_opened() -> None:
    for format in ("EPS", "PDF", "TGA", "ICO"):
        assert _code(_file(Image.new("RGB", (32, 32)), format)) == "format"
    assert _code(b"") == "format"
    assert _code(b"hello") == "format"


def test_missing_file_and_folder_are_unreadable(tmp_path: Path) -> None:
    assert _code(tmp_path / "nothing.png") == "unreadable"
    assert _code(tmp_path) == "unreadable"


def test_size_is_checked_before_the_pixels() -> None:
    # A header that claims 60,000 x 60,000, and one just above a limit of ours; neither has the pixels it claims.
    small = _file(Image.new("RGB", (10, 10)))
    for width, limit in ((60_000, 40_000_000), (11, 100)):
        header = bytearray(small)
        header[16:24] = struct.pack(">II", width, width)
        header[29:33] = struct.pack(">I", zlib.crc32(bytes(header[12:29])))
        assert _code(bytes(header), max_pixels=limit) == "too_large"
    assert decode_array(small, max_pixels=100).shape == (10, 10, 3)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated_is_an_error_and_not_grey(format: str, share: float) -> None:
    file = _file(Image.fromarray(_noise(64, 64)), format)
    assert decode_array(file).shape == (64, 64, 3)
    assert _code(file[: int(len(file) * share)]) in ("corrupt", "format")


def test_truncated_progressive_jpeg() -> None:
    file = _file(Image.fromarray(_noise(64, 64)), "JPEG", progressive=True)
    assert _code(file[: len(file) * 2 // 3]) == "corrupt"


def test_any_flipped_byte_gives_pixels_or_a_decode_error() -> None:
    generator = np.random.default_rng(1)
    for format in FORMATS:
        file = _file(Image.fromarray(_noise(16, 16)), format)
        for _ in range(60):
            broken = bytearray(file)
            broken[generator.integers(len(file))] = generator.integers(256)
            try:
                assert decode_array(bytes(broken), max_pixels=100_000).dtype == np.uint8
            except DecodeError as error:
                assert error.code in ("format", "too_large", "corrupt", "mode", "range")


def test_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(DecodeError("corrupt", "why")))
    assert (error.code, str(error)) == ("corrupt", "why")
